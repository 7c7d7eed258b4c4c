//! The network learns from lessons: at each place of a game the distribution over moves that the search found, and the
//! outcome.
//!
//! Half of a place's mass is on moves, half on outcomes ([`tokens`]); the loss is the cross-entropy to that mixture. All
//! places of a game are one sequence, computed at once.

use crate::game::Game;
use crate::self_play::Lesson;
use crate::tokens;
use nurture_kernels::{AdamW, Rng, adamw, sum_of_squares};
use nurture_model::{Cpu, Decoder, Freeze, LossRow, ModelError, ModelGrads, Slot, TrainBatch, TrainBuffers};

/// Why nothing could be learnt.
#[derive(Debug, thiserror::Error)]
pub enum LessonError {
    /// The pass failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A loss or gradient is no number.
    #[error("step {step}: the loss or a gradient is not finite: a lower rate than {rate} may help")]
    NotFinite {
        /// number of the step
        step: u64,
        /// its rate
        rate: f64,
    },
}

/// What a step found, in nats a place: the cross-entropies of moves and of outcomes. Each has `ln 2` less than its tokens'
/// own, which is what the choice between the two questions costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// of moves
    pub moves: f64,
    /// of outcomes
    pub outcomes: f64,
}

/// A network that learns by AdamW.
pub struct Learner<'a> {
    cpu: &'a Cpu,
    network: Decoder,
    gradients: ModelGrads,
    /// moments of each parameter
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    buffers: TrainBuffers,
    step: u64,
}

/// Norm to which gradients are clipped.
const CLIP: f64 = 1.0;

impl<'a> Learner<'a> {
    /// A copy of `network` that learns.
    pub fn new(cpu: &'a Cpu, network: &Decoder) -> Self {
        let free = Freeze::default();
        let network = network.to_trainable(cpu.pool(), &free);
        let gradients = ModelGrads::zeros(network.trainable(&free));
        let moments = gradients.iter().map(|(_, g)| (vec![0.0; g.len()], vec![0.0; g.len()])).collect();
        Learner { cpu, network, gradients, moments, buffers: TrainBuffers::default(), step: 0 }
    }

    /// The network as it stands.
    pub fn network(&self) -> &Decoder {
        &self.network
    }

    /// One step on the lessons, each turned by a symmetry that `rng` draws.
    ///
    /// # Errors
    /// What is not finite; nothing has changed then.
    pub fn learn<G: Game>(
        &mut self,
        lessons: &[&Lesson],
        rate: f64,
        rng: &mut Rng,
    ) -> Result<Learned, LessonError> {
        let places: usize = lessons.iter().flat_map(|l| &l.shares).filter(|s| !s.is_empty()).count();
        let share = 1.0 / places.max(1) as f32;
        let mut batch = TrainBatch::default();
        for lesson in lessons {
            lay_out::<G>(lesson, rng.below(G::SYMMETRIES), share, &mut batch);
        }
        self.gradients.clear();
        let losses = self.network.train_full(
            self.cpu,
            &self.network,
            &batch,
            &mut self.buffers,
            &mut self.gradients,
        )?;
        self.step += 1;
        let first = tokens::outcomes::<G>()[0];
        let mut found = [-std::f64::consts::LN_2; 2];
        for (loss, row) in losses.iter().zip(&batch.losses) {
            found[usize::from(row.target >= first)] += 2.0 * f64::from(*loss) * f64::from(row.weight);
        }
        let [moves, outcomes] = found;
        let squares: f64 = self.gradients.iter().map(|(_, g)| sum_of_squares(self.cpu.pool(), g)).sum();
        if !((moves + outcomes).is_finite() && squares.is_finite()) {
            return Err(LessonError::NotFinite { step: self.step, rate });
        }
        let grad_scale = (CLIP / (squares.sqrt() + 1e-6)).min(1.0);
        for ((parameter, g), (m, v)) in self.gradients.iter().zip(&mut self.moments) {
            let slot: Slot = parameter.slot;
            let how = AdamW {
                rate,
                beta1: 0.9,
                beta2: 0.99,
                eps: 1e-8,
                weight_decay: if parameter.is_matrix() { 0.01 } else { 0.0 },
                step: self.step,
                grad_scale,
            };
            if let Some(values) = self.network.floats_mut(slot) {
                adamw(self.cpu.pool(), &how, values, g, m, v);
            }
        }
        Ok(Learned { moves, outcomes })
    }
}

/// Appends one lesson: its tokens, and at each place what is to be said.
fn lay_out<G: Game>(lesson: &Lesson, symmetry: usize, share: f32, into: &mut TrainBatch) {
    let moves: Vec<u16> = lesson.moves.iter().map(|&m| G::turned(m, symmetry)).collect();
    let first = into.batch.len();
    // the last move predicts nothing: the game is over
    into.batch.follow(None, &tokens::of_game::<G>(&moves[..moves.len().saturating_sub(1)]));
    let mut game = G::start();
    for (place, (shares, &mv)) in lesson.shares.iter().zip(&moves).enumerate() {
        let row = first + place;
        let mut say = |target: u32, part: f32| {
            if part > 0.0 {
                into.losses.push(LossRow { row, target, weight: share * 0.5 * part });
            }
        };
        if !shares.is_empty() {
            for &(mv, part) in shares {
                say(tokens::of_move(&game, G::turned(mv, symmetry)), part);
            }
            let ends = match lesson.ends.get(place) {
                Some(ends) => *ends,
                None => lesson.outcome.shares(game.to_move()),
            };
            tokens::outcomes::<G>().into_iter().zip(ends).for_each(|(target, part)| say(target, part));
        }
        game.play(mv);
    }
}
