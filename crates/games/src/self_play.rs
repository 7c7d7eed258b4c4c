//! Games of the network against itself: the lessons of the next round.

use crate::arena::{Player, Seat, open};
use crate::game::{Game, Outcome, Side};
use crate::network::Network;
use crate::search::{SearchSettings, Thought, rows_a_game, search};
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder};

/// How to play against oneself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfPlay {
    /// games in all
    pub games: usize,
    /// games in step
    pub abreast: usize,
    /// at most so many moves at random before anything is thought about: beginnings that the network would not choose
    pub opening: usize,
    /// moves that are drawn by their visits, before the most visited is taken
    pub drawn: usize,
    /// part of an outcome's lesson that is what the search expected there instead of what came: less certain, less noisy
    pub expected: f32,
    /// the search; its noise makes beginnings differ
    pub search: SearchSettings,
    /// the same seed gives the same games
    pub seed: u64,
}

/// A game and what is to be learnt from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// its moves
    pub moves: Vec<u16>,
    /// for each place before a move: moves with their shares, which sum to 1; empty where nothing is to be learnt
    pub shares: Vec<Vec<(u16, f32)>>,
    /// for each place: shares of win, draw and loss for the side that moves; none at all: the outcome itself
    pub ends: Vec<[f32; 3]>,
    /// how it ended
    pub outcome: Outcome,
}

/// Shares of win, draw and loss: what came, and as much of what was expected as `part` says.
fn mixed(outcome: Outcome, side: Side, expected: f32, part: f32) -> [f32; 3] {
    let mut shares = outcome.shares(side).map(|s| s * (1.0 - part));
    shares[0] += part * 0.5 * (1.0 + expected);
    shares[2] += part * 0.5 * (1.0 - expected);
    shares
}

/// Plays. Each game is a function of network, settings and its number alone.
pub fn self_play<G: Game>(cpu: &Cpu, decoder: &Decoder, how: &SelfPlay) -> Vec<Lesson> {
    struct Table<G> {
        number: usize,
        game: G,
        rng: Rng,
        moves: Vec<u16>,
        shares: Vec<Vec<(u16, f32)>>,
        /// side and expected value of each place
        values: Vec<(Side, f32)>,
    }
    let abreast = how.abreast.clamp(1, how.games.max(1));
    let mut network = Network::new(cpu, decoder, abreast * rows_a_game::<G>(how.search.visits));
    let mut known = vec![0; abreast];
    let fresh = |number: usize| {
        let mut rng = Rng::stream(how.seed, number as u64);
        let plies = rng.below(how.opening + 1);
        let (game, moves) = open::<G>(plies, &mut rng);
        let values = vec![(Side::First, 0.0); moves.len()];
        Table { number, game, rng, shares: vec![Vec::new(); moves.len()], moves, values }
    };
    let mut tables: Vec<Option<Table<G>>> = (0..abreast).map(|i| (i < how.games).then(|| fresh(i))).collect();
    let mut next = abreast;
    let mut done: Vec<Option<Lesson>> = vec![None; how.games];
    while tables.iter().any(Option::is_some) {
        let mut thoughts: Vec<Thought<'_, G>> = tables
            .iter_mut()
            .enumerate()
            .filter_map(|(number, t)| {
                let t = t.as_mut()?;
                Some(Thought { number, game: &t.game, moves: &t.moves, rng: &mut t.rng })
            })
            .collect();
        let who: Vec<usize> = thoughts.iter().map(|t| t.number).collect();
        let found = search(&mut network, &how.search, &mut known, &mut thoughts);
        for (place, found) in who.into_iter().zip(found) {
            let Some(table) = &mut tables[place] else { continue };
            let all: u32 = found.visits.iter().sum();
            let share = |(m, v): (&u16, &u32)| (*v > 0).then(|| (*m, *v as f32 / all as f32));
            table.shares.push(found.moves.iter().zip(&found.visits).filter_map(share).collect());
            table.values.push((table.game.to_move(), found.value));
            let mv = if table.moves.len() < how.drawn { found.draw(&mut table.rng) } else { found.best() };
            table.game.play(mv);
            table.moves.push(mv);
            if let Some(outcome) = table.game.outcome() {
                let Table { number, moves, shares, values, .. } =
                    tables[place].take().expect("the table of this game");
                let end = |&(side, value): &(Side, f32)| mixed(outcome, side, value, how.expected);
                let ends = values.iter().map(end).collect();
                done[number] = Some(Lesson { moves, shares, ends, outcome });
                known[place] = 0;
                if next < how.games {
                    tables[place] = Some(fresh(next));
                    next += 1;
                }
            }
        }
    }
    done.into_iter().flatten().collect()
}

/// Games of a player against itself, as lessons: its moves and how they ended. Each begins with at most `opening` random moves,
/// of which nothing is to be learnt.
pub fn lessons_by<G: Game>(
    player: &mut dyn Player<G>,
    games: usize,
    opening: usize,
    seed: u64,
) -> Vec<Lesson> {
    let one = |number: usize| {
        let mut rng = Rng::stream(seed, number as u64);
        let plies = rng.below(opening + 1);
        let (mut game, mut moves) = open::<G>(plies, &mut rng);
        let mut shares = vec![Vec::new(); moves.len()];
        loop {
            if let Some(outcome) = game.outcome() {
                return Lesson { moves, shares, ends: Vec::new(), outcome };
            }
            let mv = player.choose(&mut [Seat { number, game: &game, moves: &moves, rng: &mut rng }])[0];
            shares.push(vec![(mv, 1.0)]);
            game.play(mv);
            moves.push(mv);
        }
    };
    (0..games).map(one).collect()
}
