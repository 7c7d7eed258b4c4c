//! A game as tokens: one that begins, one for each move, one for each outcome.
//!
//! After any number of moves the network says, in one softmax, what is played next and how the game ends for the side
//! that moves. Lessons give half of the mass to each question; what is read is each half by itself.

use crate::game::{Game, Outcome, Side};

/// The token before the first move.
pub const BEGIN: u32 = 0;

/// The token of a move.
pub fn of_move(mv: u16) -> u32 {
    1 + u32::from(mv)
}

/// The token of an outcome as seen by `side`: win, draw, loss.
pub fn of_outcome<G: Game>(outcome: Outcome, side: Side) -> u32 {
    let place = match outcome.value(side) {
        v if v > 0.0 => 0,
        0.0 => 1,
        _ => 2,
    };
    1 + G::MOVES as u32 + place
}

/// Number of tokens `V`.
pub fn vocabulary<G: Game>() -> usize {
    1 + G::MOVES + 3
}

/// `BEGIN` and the moves.
pub fn of_game(moves: &[u16]) -> Vec<u32> {
    std::iter::once(BEGIN).chain(moves.iter().map(|&m| of_move(m))).collect()
}

/// What a row of logits `[V]` says about a position: a share for each legal move (they sum to 1), and the value for the side
/// that moves, chance of a win less that of a loss.
pub fn read<G: Game>(logits: &[f32], legal: &[u16]) -> (Vec<f32>, f32) {
    let outcomes = &logits[1 + G::MOVES..][..3];
    let top = outcomes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = outcomes.iter().map(|o| (o - top).exp()).collect();
    let value = (shares[0] - shares[2]) / shares.iter().sum::<f32>();
    let of = |m: &u16| logits[of_move(*m) as usize];
    let top = legal.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
    let mut moves: Vec<f32> = legal.iter().map(|m| (of(m) - top).exp()).collect();
    let sum: f32 = moves.iter().sum();
    moves.iter_mut().for_each(|m| *m /= sum);
    (moves, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect4::Connect4;

    #[test]
    fn what_is_read_are_two_distributions() {
        let mut logits = vec![0.0f32; vocabulary::<Connect4>()];
        logits[of_move(2) as usize] = 2f32.ln();
        // a mass that is not asked for changes nothing
        logits[of_move(6) as usize] = 50.0;
        logits[1 + Connect4::MOVES] = 3f32.ln();
        let (moves, value) = read::<Connect4>(&logits, &[1, 2, 3]);
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        [0.25, 0.5, 0.25].iter().zip(&moves).for_each(|(want, got)| near(*got, *want));
        near(value, (3.0 - 1.0) / 5.0);
    }

    #[test]
    fn outcomes_are_seen_from_the_side_that_moves() {
        let win = Outcome::Win(Side::Second);
        assert_eq!(of_outcome::<Connect4>(win, Side::Second), 8);
        assert_eq!(of_outcome::<Connect4>(win, Side::First), 10);
        assert_eq!(of_outcome::<Connect4>(Outcome::Draw, Side::First), 9);
        assert_eq!(vocabulary::<Connect4>(), 11);
    }
}
