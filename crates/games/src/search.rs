//! Monte-Carlo tree search with a network's guesses (PUCT: Rosin 2011; Silver et al. 2017, "Mastering the game of Go without
//! human knowledge"), for many games in step: each round takes one leaf of every tree into one batch.
//!
//! A tree lives as long as the choice of one move. Its nodes keep the row of the cache that holds the keys and values of
//! their move, so that a leaf costs one token, however long the game. A game's choices do not depend on the games beside it.

use crate::game::Game;
use crate::network::{Network, Step};
use crate::players::winning;
use crate::tokens;
use nurture_kernels::Rng;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchSettings {
    /// leaves a move
    pub visits: usize,
    /// weight of the network's shares against what was found
    pub explore: f32,
    /// part of the root's shares that is noise, for self-play; 0 for none
    pub noise: f32,
    /// concentration of that noise (Dirichlet): smaller is rougher
    pub concentration: f64,
    /// whether the rules are asked before the network: where a move wins at once, the position is won
    pub ends: bool,
}

impl Default for SearchSettings {
    fn default() -> Self {
        SearchSettings { visits: 64, explore: 1.5, noise: 0.0, concentration: 1.0, ends: true }
    }
}

/// What a search found: legal moves and the visits of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// legal moves, ascending
    pub moves: Vec<u16>,
    /// visits of each
    pub visits: Vec<u32>,
    /// mean value for the side that moves
    pub value: f32,
}

impl Found {
    /// The most visited move; of equals the first.
    pub fn best(&self) -> u16 {
        let most = self.visits.iter().copied().max().unwrap_or(0);
        let place = self.visits.iter().position(|&v| v == most).unwrap_or(0);
        self.moves[place]
    }

    /// A move drawn by its share of the visits.
    pub fn draw(&self, rng: &mut Rng) -> u16 {
        let all: u32 = self.visits.iter().sum();
        let mut left = rng.below(all.max(1) as usize) as u32;
        for (&mv, &visits) in self.moves.iter().zip(&self.visits) {
            if left < visits {
                return mv;
            }
            left -= visits;
        }
        self.best()
    }
}

struct Edge {
    mv: u16,
    share: f32,
    visits: u32,
    /// sum of the values for the side that makes this move
    total: f32,
    child: usize,
}

const NO_CHILD: usize = usize::MAX;

struct Node {
    edges: Vec<Edge>,
    /// the value that the network gave it, for the side that moves
    value: f32,
    row: usize,
}

/// One game's search.
struct Tree<'g, G> {
    game: &'g G,
    /// rows of the game so far
    history: (usize, usize),
    /// first row for nodes below the root
    free: usize,
    nodes: Vec<Node>,
    /// nodes and edges from the root to the leaf that waits
    path: Vec<(usize, usize)>,
    waiting: Option<G>,
    done: usize,
    legal: Vec<u16>,
}

impl<G: Game> Tree<'_, G> {
    /// Goes down to a leaf. An end of the game is counted at once; a new position waits for the network.
    fn descend(&mut self, settings: &SearchSettings) -> Option<Step> {
        let explore = settings.explore;
        let mut game = self.game.clone();
        self.path.clear();
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            let all: u32 = node.edges.iter().map(|e| e.visits).sum();
            let root = (all.max(1) as f32).sqrt();
            // what was not tried yet counts a little less than the position itself
            let mean = {
                let (visits, total) =
                    node.edges.iter().fold((1.0, node.value), |(n, t), e| (n + e.visits as f32, t + e.total));
                total / visits - 0.2
            };
            let (mut best, mut top) = (0, f32::NEG_INFINITY);
            for (i, e) in node.edges.iter().enumerate() {
                let known = if e.visits == 0 { mean } else { e.total / e.visits as f32 };
                let score = known + explore * e.share * root / (1 + e.visits) as f32;
                if score > top {
                    (best, top) = (i, score);
                }
            }
            let mover = game.to_move();
            let edge = &node.edges[best];
            self.path.push((at, best));
            let token = tokens::of_move(&game, edge.mv);
            game.play(edge.mv);
            if let Some(outcome) = game.outcome() {
                self.count(outcome.value(mover));
                return None;
            }
            if edge.child == NO_CHILD {
                if settings.ends {
                    game.legal(&mut self.legal);
                    if winning(&game, &self.legal).is_some() {
                        self.count(-1.0);
                        return None;
                    }
                }
                let own = self.free + self.nodes.len() - 1;
                let mut rows = vec![self.history];
                let below = self.path[1..].iter().map(|&(node, _)| self.nodes[node].row);
                for row in below.chain([own]) {
                    match rows.last_mut() {
                        Some(last) if last.0 + last.1 == row => last.1 += 1,
                        _ => rows.push((row, 1)),
                    }
                }
                self.waiting = Some(game);
                return Some(Step { tokens: vec![token], rows });
            }
            at = edge.child;
        }
    }

    /// Takes in what the network says of the leaf.
    fn expand(&mut self, logits: &[f32]) {
        let game = self.waiting.take().expect("a leaf waits");
        let row = self.free + self.nodes.len() - 1;
        let node = node::<G>(&game, logits, row);
        let value = node.value;
        let (parent, edge) = *self.path.last().expect("a leaf has a parent");
        self.nodes[parent].edges[edge].child = self.nodes.len();
        self.nodes.push(node);
        // the value is the opponent's of who moved there
        self.count(-value);
    }

    /// Adds a value, for the side that made the last move of the path, to all edges of the path.
    fn count(&mut self, mut value: f32) {
        for &(node, edge) in self.path.iter().rev() {
            let edge = &mut self.nodes[node].edges[edge];
            edge.visits += 1;
            edge.total += value;
            value = -value;
        }
        self.done += 1;
    }
}

fn node<G: Game>(game: &G, logits: &[f32], row: usize) -> Node {
    let mut legal = Vec::new();
    game.legal(&mut legal);
    let (shares, value) = tokens::read(game, logits, &legal);
    let edge = |(mv, share)| Edge { mv, share, visits: 0, total: 0.0, child: NO_CHILD };
    Node { edges: legal.into_iter().zip(shares).map(edge).collect(), value, row }
}

/// A game to be thought about: its number (which has rows of its own), position, moves so far, and random numbers.
pub struct Thought<'g, G> {
    /// below the number of games that the network has rows for
    pub number: usize,
    /// not over
    pub game: &'g G,
    /// all moves
    pub moves: &'g [u16],
    /// for noise
    pub rng: &'g mut Rng,
}

/// Rows that each game needs for searches of so many visits.
pub fn rows_a_game<G: Game>(visits: usize) -> usize {
    G::LONGEST + 1 + visits
}

/// Searches all positions at once.
///
/// `known[number]` are the moves whose rows the network holds already (their count); it is brought up to date.
///
/// # Panics
/// If the network has too few rows, or a game is over.
pub fn search<G: Game>(
    network: &mut Network<'_>,
    settings: &SearchSettings,
    known: &mut [usize],
    thoughts: &mut [Thought<'_, G>],
) -> Vec<Found> {
    let each = rows_a_game::<G>(settings.visits);
    assert!(thoughts.iter().all(|t| (t.number + 1) * each <= network.rows()), "rows for every game");
    // what the network does not hold yet of the games themselves; the last token is the root's, whose logits are wanted even
    // where its row is there
    let steps: Vec<Step> = thoughts
        .iter()
        .map(|t| {
            let all = tokens::of_game::<G>(t.moves);
            let from = known[t.number].min(t.moves.len());
            known[t.number] = t.moves.len();
            Step { tokens: all[from..].to_vec(), rows: vec![(t.number * each, all.len())] }
        })
        .collect();
    network.say(&steps);
    let mut end = 0;
    let mut trees: Vec<Tree<'_, G>> = thoughts
        .iter_mut()
        .zip(&steps)
        .map(|(t, step)| {
            end += step.tokens.len();
            let mut root = node::<G>(t.game, network.row(end - 1), 0);
            let moves: Vec<u16> = root.edges.iter().map(|e| e.mv).collect();
            let won = if settings.ends { winning(t.game, &moves) } else { None };
            if let Some(won) = won {
                root.edges.iter_mut().for_each(|e| e.share = f32::from(u8::from(e.mv == won)));
            } else if settings.noise > 0.0 {
                let noise = dirichlet(t.rng, settings.concentration, root.edges.len());
                for (e, n) in root.edges.iter_mut().zip(noise) {
                    e.share += settings.noise * (n - e.share);
                }
            }
            let first = t.number * each;
            Tree {
                game: t.game,
                history: (first, t.moves.len() + 1),
                free: first + G::LONGEST + 1,
                nodes: vec![root],
                path: Vec::new(),
                waiting: None,
                done: 0,
                legal: Vec::new(),
            }
        })
        .collect();
    loop {
        let (mut steps, mut who) = (Vec::new(), Vec::new());
        for (i, tree) in trees.iter_mut().enumerate() {
            while tree.done < settings.visits && tree.waiting.is_none() {
                if let Some(step) = tree.descend(settings) {
                    steps.push(step);
                    who.push(i);
                }
            }
        }
        if steps.is_empty() {
            break;
        }
        network.say(&steps);
        for (row, i) in who.into_iter().enumerate() {
            trees[i].expand(network.row(row));
        }
    }
    trees
        .into_iter()
        .map(|tree| {
            let root = &tree.nodes[0];
            let total: f32 = root.edges.iter().map(|e| e.total).sum();
            Found {
                moves: root.edges.iter().map(|e| e.mv).collect(),
                visits: root.edges.iter().map(|e| e.visits).collect(),
                value: total / settings.visits.max(1) as f32,
            }
        })
        .collect()
}

/// A point of the simplex: gamma numbers over their sum.
fn dirichlet(rng: &mut Rng, concentration: f64, n: usize) -> Vec<f32> {
    let draws: Vec<f64> = (0..n).map(|_| gamma(rng, concentration)).collect();
    let sum: f64 = draws.iter().sum();
    draws.iter().map(|d| if sum > 0.0 { (d / sum) as f32 } else { 1.0 / n as f32 }).collect()
}

/// Marsaglia & Tsang 2000, "A simple method for generating gamma variables".
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let u = 1.0 - rng.uniform();
        return gamma(rng, shape + 1.0) * u.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let (u1, u2) = (1.0 - rng.uniform(), rng.uniform());
        let x = (-2.0 * u1.ln()).sqrt() * (2.0 * std::f64::consts::PI * u2).cos();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_numbers_have_their_mean_and_variance() {
        for shape in [0.3, 1.0, 4.5] {
            let mut rng = Rng::stream(9, 1);
            let n = 40_000;
            let draws: Vec<f64> = (0..n).map(|_| gamma(&mut rng, shape)).collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n as f64;
            // five standard errors
            assert!((mean - shape).abs() < 5.0 * (shape / n as f64).sqrt(), "{shape}: mean {mean}");
            assert!((variance / shape - 1.0).abs() < 0.1, "{shape}: variance {variance}");
        }
    }
}
