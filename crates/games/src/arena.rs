//! Matches: pairs of games from the same short random opening, colours changed, all games in step.

use crate::game::{Game, Outcome, Side};
use nurture_kernels::Rng;

/// A game in which a player is to move.
pub struct Seat<'g, G> {
    /// the game's number in its match
    pub number: usize,
    /// the position
    pub game: &'g G,
    /// all moves so far
    pub moves: &'g [u16],
    /// the game's random numbers
    pub rng: &'g mut Rng,
}

/// Who chooses moves.
pub trait Player<G: Game> {
    /// The name in tables.
    fn name(&self) -> String;
    /// A legal move for each seat. A seat's move must not depend on the other seats.
    fn choose(&mut self, seats: &mut [Seat<'_, G>]) -> Vec<u16>;
    /// A match of so many games begins.
    fn begin(&mut self, games: usize) {
        let _ = games;
    }
}

/// Games between two players, counted for the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// value of each game for the first player: 1, 0, -1
    pub games: Vec<i8>,
}

impl Match {
    /// Wins, draws and losses.
    pub fn counts(&self) -> [usize; 3] {
        [1, 0, -1].map(|v| self.games.iter().filter(|&&g| g == v).count())
    }

    /// Share of the points, draws half.
    pub fn score(&self) -> f64 {
        let points: f64 = self.games.iter().map(|&g| (f64::from(g) + 1.0) / 2.0).sum();
        points / self.games.len().max(1) as f64
    }
}

/// Plays `pairs` pairs of games. Each pair has an opening of `opening` random moves, from which either player begins once.
pub fn play_match<G: Game>(
    a: &mut dyn Player<G>,
    b: &mut dyn Player<G>,
    pairs: usize,
    opening: usize,
    seed: u64,
) -> Match {
    struct Table<G> {
        game: G,
        moves: Vec<u16>,
        rng: Rng,
        /// the side of the first player
        side: Side,
    }
    let mut tables: Vec<Table<G>> = (0..2 * pairs)
        .map(|i| {
            let mut draws = Rng::stream(seed, (i / 2) as u64);
            let (game, moves) = open::<G>(opening, &mut draws);
            let side = if i % 2 == 0 { game.to_move() } else { game.to_move().other() };
            Table { game, moves, rng: Rng::stream(seed ^ 0x5eed, i as u64), side }
        })
        .collect();
    a.begin(tables.len());
    b.begin(tables.len());
    loop {
        let mut any = false;
        for first in [true, false] {
            let player: &mut dyn Player<G> = if first { &mut *a } else { &mut *b };
            let mut who = Vec::new();
            let mut seats = Vec::new();
            for (number, table) in tables.iter_mut().enumerate() {
                if table.game.outcome().is_none() && (table.game.to_move() == table.side) == first {
                    who.push(number);
                    seats.push(Seat { number, game: &table.game, moves: &table.moves, rng: &mut table.rng });
                }
            }
            if seats.is_empty() {
                continue;
            }
            any = true;
            let chosen = player.choose(&mut seats);
            for (number, mv) in who.into_iter().zip(chosen) {
                tables[number].game.play(mv);
                tables[number].moves.push(mv);
            }
        }
        if !any {
            break;
        }
    }
    let value = |t: &Table<G>| t.game.outcome().unwrap_or(Outcome::Draw).value(t.side) as i8;
    Match { games: tables.iter().map(value).collect() }
}

/// A position after random moves that is not over.
pub(crate) fn open<G: Game>(plies: usize, rng: &mut Rng) -> (G, Vec<u16>) {
    let mut legal = Vec::new();
    loop {
        let (mut game, mut moves) = (G::start(), Vec::new());
        for _ in 0..plies {
            game.legal(&mut legal);
            if legal.is_empty() {
                break;
            }
            let mv = legal[rng.below(legal.len())];
            game.play(mv);
            moves.push(mv);
        }
        if game.outcome().is_none() {
            return (game, moves);
        }
    }
}
