//! An objective of whole sequences: the tree that shares their beginnings changes nothing, and a constant factor is
//! cross-entropy.

mod common;

use common::{close, config, lora, prompted, tiny};
use nurture_data::TokenExample;
use nurture_model::{Adapter, Cpu};
use nurture_train::{Found, Learner, Objective, TrainConfig};

/// Lowers `Σ s² / 200` over the sums `s` of the sequences, which no weight known beforehand could.
struct Squares {
    packs: Vec<usize>,
}

impl Objective for Squares {
    fn weigh(&mut self, pack: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        self.packs.push(pack);
        let sums = found.sums();
        for (factors, sum) in factors.iter_mut().zip(&sums) {
            factors.fill((sum / 100.0) as f32);
        }
        sums.iter().map(|s| s * s / 200.0).sum()
    }
}

struct Mean(f32);

impl Objective for Mean {
    fn weigh(&mut self, _: usize, found: &Found, factors: &mut [Vec<f32>]) -> f64 {
        factors.iter_mut().for_each(|f| f.fill(-self.0));
        -f64::from(self.0) * found.sums().iter().sum::<f64>()
    }
}

#[test]
fn a_constant_factor_is_cross_entropy() {
    let cpu = Cpu::new(2);
    let model = tiny(&cpu);
    let all = prompted(12);
    let packs: Vec<Vec<&TokenExample>> = all.chunks(5).map(|c| c.iter().collect()).collect();
    let trained: usize = all.iter().map(|e| e.trained_tokens()).sum();
    let config = TrainConfig { micro_tokens: 200, ..config() };
    let begin = || Learner::new(&cpu, &model, Adapter::new(model.config(), &lora(), 3));
    let (mut plain, mut deferred) = (begin(), begin());
    for step in 1..4 {
        let a = plain.update(&config, step, 1e-2, &packs).unwrap();
        let mut mean = Mean((1.0 / trained as f64) as f32);
        let b = deferred.update_deferred(&config, step, 1e-2, &packs, &[], &mut mean).unwrap();
        assert!((a.loss - b.loss).abs() < 1e-6 * a.loss, "{} {}", a.loss, b.loss);
        assert_eq!(
            (a.tokens, a.trained_tokens, a.computed_tokens),
            (b.tokens, b.trained_tokens, b.computed_tokens)
        );
        for ((ga, gb), (wa, wb)) in deferred.gradients().iter().zip(plain.gradients().iter()) {
            close(ga, wa, 1e-5, "dA");
            close(gb, wb, 1e-5, "dB");
        }
    }
}

#[test]
fn sequences_of_a_tree_are_weighed_as_if_each_stood_alone() {
    let cpus = [Cpu::new(2), Cpu::new(1)];
    let mut kept: Option<Vec<Vec<f32>>> = None;
    for cpu in &cpus {
        let model = tiny(cpu);
        let all = prompted(11);
        let pack: Vec<&TokenExample> = all.iter().chain(&all[2..4]).collect(); // two stand there twice
        let alone: Vec<Vec<&TokenExample>> = pack.iter().map(|e| vec![*e]).collect();
        let config = TrainConfig { micro_tokens: 400, ..config() };
        let begin = || Learner::new(cpu, &model, Adapter::new(model.config(), &lora(), 3));
        let (mut tree, mut apart) = (begin(), begin());
        let mut objective = Squares { packs: Vec::new() };
        let a =
            tree.update_deferred(&config, 1, 1e-2, std::slice::from_ref(&pack), &[], &mut objective).unwrap();
        assert_eq!(objective.packs, [0]);
        let b = apart.update_deferred(&config, 1, 1e-2, &alone, &[], &mut objective).unwrap();
        assert_eq!(objective.packs[1..], (0..13).collect::<Vec<_>>());
        assert!(a.computed_tokens < b.computed_tokens);
        assert!((a.loss - b.loss).abs() < 1e-9 * a.loss, "{} {}", a.loss, b.loss);
        for ((ga, gb), (wa, wb)) in tree.gradients().iter().zip(apart.gradients().iter()) {
            close(ga, wa, 1e-5, "dA");
            close(gb, wb, 1e-5, "dB");
        }
        // log-probabilities alone and together, of the base and of the learner
        let options = Default::default();
        for of_base in [true, false] {
            let together = tree.score(&config, &pack, of_base, options).unwrap();
            let one: Vec<Vec<f32>> = alone
                .iter()
                .map(|p| tree.score(&config, p, of_base, options).unwrap().logp.remove(0))
                .collect();
            assert_eq!(together.logp, one, "to the bit");
            assert_eq!(together.logp[2], together.logp[11]);
            if of_base {
                let first = kept.get_or_insert_with(|| together.logp.clone());
                assert_eq!(*first, together.logp, "threads change nothing");
            } else {
                assert_ne!(Some(&together.logp), kept.as_ref(), "the learner has moved");
            }
        }
    }
}
