//! A game as tokens: one that begins, one for each word of its moves ([`Game::word`]), one for each outcome.
//!
//! After any number of moves the network says, in one softmax, what is played next and how the game ends for the side
//! that moves. Lessons give half of the mass to each question; what is read is each half by itself.

use crate::game::Game;

/// The token before the first move.
pub const BEGIN: u32 = 0;

/// The token of a move that is made now.
pub fn of_move<G: Game>(game: &G, mv: u16) -> u32 {
    1 + u32::from(game.word(mv))
}

/// Tokens of the outcomes as seen by the side that moves: win, draw, loss.
pub fn outcomes<G: Game>() -> [u32; 3] {
    [1, 2, 3].map(|place| G::WORDS as u32 + place)
}

/// Number of tokens `V`.
pub fn vocabulary<G: Game>() -> usize {
    1 + G::WORDS + 3
}

/// `BEGIN` and the moves from the first position on.
///
/// # Panics
/// If the rules do not allow one.
pub fn of_game<G: Game>(moves: &[u16]) -> Vec<u32> {
    let mut game = G::start();
    let word = |&mv: &u16| {
        let token = of_move(&game, mv);
        game.play(mv);
        token
    };
    let words: Vec<u32> = moves.iter().map(word).collect();
    std::iter::once(BEGIN).chain(words).collect()
}

/// What a row of logits `[V]` says about a position: a share for each legal move (they sum to 1), and the value for the side
/// that moves, chance of a win less that of a loss.
pub fn read<G: Game>(game: &G, logits: &[f32], legal: &[u16]) -> (Vec<f32>, f32) {
    let outcomes = outcomes::<G>().map(|t| logits[t as usize]);
    let top = outcomes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = outcomes.iter().map(|o| (o - top).exp()).collect();
    let value = (shares[0] - shares[2]) / shares.iter().sum::<f32>();
    let mut moves: Vec<f32> = legal.iter().map(|&m| logits[of_move(game, m) as usize]).collect();
    let top = moves.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    moves.iter_mut().for_each(|m| *m = (*m - top).exp());
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
        let start = Connect4::start();
        logits[of_move(&start, 2) as usize] = 2f32.ln();
        // a mass that is not asked for changes nothing
        logits[of_move(&start, 6) as usize] = 50.0;
        logits[outcomes::<Connect4>()[0] as usize] = 3f32.ln();
        let (moves, value) = read(&start, &logits, &[1, 2, 3]);
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        [0.25, 0.5, 0.25].iter().zip(&moves).for_each(|(want, got)| near(*got, *want));
        near(value, (3.0 - 1.0) / 5.0);
    }

    #[test]
    fn the_same_move_is_another_token_for_another_side() {
        assert_eq!(of_game::<Connect4>(&[3, 3, 4]), [BEGIN, 1 + 3, 1 + 42 + 10, 1 + 4]);
        assert_eq!(outcomes::<Connect4>(), [85, 86, 87]);
        assert_eq!(vocabulary::<Connect4>(), 88);
    }
}
