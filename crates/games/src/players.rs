//! Players: those that need no learning, from which a ladder is made, and those that ask a network.

use crate::arena::{Player, Seat};
use crate::game::Game;
use crate::network::Network;
use crate::search::{SearchSettings, Thought, rows_a_game, search};
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder};

/// Any legal move.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl<G: Game> Player<G> for Random {
    fn name(&self) -> String {
        "random".to_string()
    }

    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16> {
        seats.iter_mut().map(|s| any(s.game, s.rng)).collect()
    }
}

fn any<G: Game>(game: &G, rng: &mut Rng) -> u16 {
    let mut legal = Vec::new();
    game.legal(&mut legal);
    legal[rng.below(legal.len())]
}

/// Wins where one move wins, else avoids moves after which the opponent wins at once; of the rest any.
#[derive(Clone, Copy, Debug)]
pub struct OnePly;

impl<G: Game> Player<G> for OnePly {
    fn name(&self) -> String {
        "one ply".to_string()
    }

    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16> {
        seats.iter_mut().map(|s| one_ply(s.game, s.rng)).collect()
    }
}

/// A move that wins at once, for whoever is to move.
pub(crate) fn winning<G: Game>(game: &G, legal: &[u16]) -> Option<u16> {
    legal.iter().copied().find(|&mv| {
        let mut next = game.clone();
        next.play(mv);
        next.outcome().is_some_and(|o| o.value(game.to_move()) > 0.0)
    })
}

fn one_ply<G: Game>(game: &G, rng: &mut Rng) -> u16 {
    let (mut legal, mut replies) = (Vec::new(), Vec::new());
    game.legal(&mut legal);
    if let Some(mv) = winning(game, &legal) {
        return mv;
    }
    let safe: Vec<u16> = legal
        .iter()
        .copied()
        .filter(|&mv| {
            let mut next = game.clone();
            next.play(mv);
            next.legal(&mut replies);
            winning(&next, &replies).is_none()
        })
        .collect();
    let from = if safe.is_empty() { &legal } else { &safe };
    from[rng.below(from.len())]
}

/// Tree search without a network (UCT: Kocsis & Szepesvári 2006): leaves are valued by playing at random to the end.
#[derive(Clone, Copy, Debug)]
pub struct Uct {
    /// random games a move
    pub playouts: usize,
}

impl<G: Game> Player<G> for Uct {
    fn name(&self) -> String {
        format!("UCT, {} playouts", self.playouts)
    }

    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16> {
        seats.iter_mut().map(|s| uct(s.game, self.playouts, s.rng)).collect()
    }
}

struct Node {
    /// move, visits, points for who makes it, child
    edges: Vec<(u16, f64, f64, usize)>,
    visits: f64,
}

fn uct<G: Game>(root: &G, playouts: usize, rng: &mut Rng) -> u16 {
    let mut legal = Vec::new();
    let fresh = |game: &G, legal: &mut Vec<u16>| {
        game.legal(legal);
        Node { edges: legal.iter().map(|&m| (m, 0.0, 0.0, usize::MAX)).collect(), visits: 0.0 }
    };
    let mut nodes = vec![fresh(root, &mut legal)];
    for _ in 0..playouts.max(1) {
        let (mut game, mut at, mut path) = (root.clone(), 0, Vec::new());
        while game.outcome().is_none() {
            let log = (nodes[at].visits + 1.0).ln();
            let untried = nodes[at].edges.iter().filter(|e| e.1 == 0.0).count();
            let best = if untried > 0 {
                let nth = rng.below(untried);
                nodes[at].edges.iter().enumerate().filter(|(_, e)| e.1 == 0.0).nth(nth).map_or(0, |(i, _)| i)
            } else {
                let score = |e: &(u16, f64, f64, usize)| e.2 / e.1 + (2.0 * log / e.1).sqrt();
                let edges = nodes[at].edges.iter().enumerate();
                edges.max_by(|a, b| score(a.1).total_cmp(&score(b.1))).map_or(0, |(i, _)| i)
            };
            path.push((at, best, game.to_move()));
            game.play(nodes[at].edges[best].0);
            if untried > 0 {
                break;
            }
            if nodes[at].edges[best].3 == usize::MAX {
                nodes[at].edges[best].3 = nodes.len();
                nodes.push(fresh(&game, &mut legal));
            }
            at = nodes[at].edges[best].3;
        }
        while game.outcome().is_none() {
            game.legal(&mut legal);
            game.play(legal[rng.below(legal.len())]);
        }
        let outcome = game.outcome();
        for (node, edge, side) in path {
            let value = outcome.map_or(0.0, |o| f64::from(o.value(side)));
            nodes[node].visits += 1.0;
            nodes[node].edges[edge].1 += 1.0;
            nodes[node].edges[edge].2 += value;
        }
    }
    let edges = &nodes[0].edges;
    edges.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |e| e.0)
}

/// The network's first thought: its likeliest legal move, without looking ahead.
pub struct Instinct<'a> {
    network: Network<'a>,
}

impl<'a> Instinct<'a> {
    /// A player that asks `decoder`.
    pub fn new<G: Game>(cpu: &'a Cpu, decoder: &'a Decoder) -> Self {
        Instinct { network: Network::new(cpu, decoder, G::LONGEST + 1) }
    }
}

impl<G: Game> Player<G> for Instinct<'_> {
    fn name(&self) -> String {
        "network alone".to_string()
    }

    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16> {
        let mut legal = Vec::new();
        seats
            .iter()
            .map(|s| {
                s.game.legal(&mut legal);
                let (shares, _) = self.network.guess(s.game, s.moves, &legal);
                let most = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                legal[shares.iter().position(|&p| p == most).unwrap_or(0)]
            })
            .collect()
    }
}

/// The network with a search ([`search`]): the most visited move.
pub struct Searcher<'a> {
    cpu: &'a Cpu,
    decoder: &'a Decoder,
    settings: SearchSettings,
    network: Option<Network<'a>>,
    known: Vec<usize>,
}

impl<'a> Searcher<'a> {
    /// A player that searches with `decoder`.
    pub fn new(cpu: &'a Cpu, decoder: &'a Decoder, settings: SearchSettings) -> Self {
        Searcher { cpu, decoder, settings, network: None, known: Vec::new() }
    }
}

/// Games searched at once: more would need more memory for keys and values and gain nothing.
const ABREAST: usize = 64;

impl<G: Game> Player<G> for Searcher<'_> {
    fn name(&self) -> String {
        format!("network and search, {} visits", self.settings.visits)
    }

    fn begin(&mut self, _: usize) {
        let rows = ABREAST * rows_a_game::<G>(self.settings.visits);
        self.network = Some(Network::new(self.cpu, self.decoder, rows));
    }

    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16> {
        let rows = ABREAST * rows_a_game::<G>(self.settings.visits);
        let network = self.network.get_or_insert_with(|| Network::new(self.cpu, self.decoder, rows));
        let mut chosen = Vec::with_capacity(seats.len());
        for seats in seats.chunks_mut(ABREAST) {
            // who sat on these rows before is not known: games come and go
            self.known.clear();
            self.known.resize(ABREAST, 0);
            let mut thoughts: Vec<Thought<'_, G>> = seats
                .iter_mut()
                .enumerate()
                .map(|(number, s)| Thought { number, game: s.game, moves: s.moves, rng: s.rng })
                .collect();
            let found = search(network, &self.settings, &mut self.known, &mut thoughts);
            chosen.extend(found.iter().map(|f| f.best()));
        }
        chosen
    }
}
