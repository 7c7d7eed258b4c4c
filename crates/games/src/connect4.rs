//! Connect-4: seven columns of six places; who first has four in a row wins.
//!
//! A side's discs are bits of a word: column `c`, height `h` is bit `7 c + h`; the seventh bit of each column stays empty, so
//! that shifts by 1, 6, 7 and 8 do not run from one column into the next.

use crate::game::{Game, Outcome, Side};

const COLUMNS: usize = 7;
const HEIGHT: u32 = 6;

/// A position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connect4 {
    /// discs of the first and of the second side
    discs: [u64; 2],
    plies: u32,
    won: Option<Side>,
}

impl Connect4 {
    fn height(&self, column: usize) -> u32 {
        ((self.discs[0] | self.discs[1]) >> (7 * column) & 0x7f).count_ones()
    }

    fn four(discs: u64) -> bool {
        [1, 6, 7, 8].iter().any(|&way| {
            let pairs = discs & discs >> way;
            pairs & pairs >> (2 * way) != 0
        })
    }
}

impl Game for Connect4 {
    const MOVES: usize = COLUMNS;
    const WORDS: usize = 2 * COLUMNS * HEIGHT as usize;
    const LONGEST: usize = 42;
    const SYMMETRIES: usize = 2;

    fn start() -> Self {
        Connect4 { discs: [0; 2], plies: 0, won: None }
    }

    fn to_move(&self) -> Side {
        if self.plies.is_multiple_of(2) { Side::First } else { Side::Second }
    }

    fn legal(&self, into: &mut Vec<u16>) {
        into.clear();
        if self.won.is_none() {
            into.extend((0..COLUMNS as u16).filter(|&c| self.height(c as usize) < HEIGHT));
        }
    }

    /// Whose disc, and the place where it falls.
    fn word(&self, mv: u16) -> u16 {
        let place = COLUMNS as u32 * self.height(mv as usize) + u32::from(mv);
        (place + COLUMNS as u32 * HEIGHT * self.to_move() as u32) as u16
    }

    fn play(&mut self, mv: u16) {
        let column = mv as usize;
        assert!(
            self.won.is_none() && column < COLUMNS && self.height(column) < HEIGHT,
            "column {mv} cannot be played"
        );
        let side = self.to_move();
        self.discs[side as usize] |= 1 << (7 * column as u32 + self.height(column));
        if Connect4::four(self.discs[side as usize]) {
            self.won = Some(side);
        }
        self.plies += 1;
    }

    fn outcome(&self) -> Option<Outcome> {
        match self.won {
            Some(side) => Some(Outcome::Win(side)),
            None => (self.plies as usize == Self::LONGEST).then_some(Outcome::Draw),
        }
    }

    fn turned(mv: u16, s: usize) -> u16 {
        if s == 0 { mv } else { (COLUMNS - 1) as u16 - mv }
    }
}

impl std::fmt::Display for Connect4 {
    /// The board, the highest row first.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for h in (0..HEIGHT as usize).rev() {
            for c in 0..COLUMNS {
                let bit = 1u64 << (7 * c + h);
                let disc = match (self.discs[0] & bit != 0, self.discs[1] & bit != 0) {
                    (true, _) => 'x',
                    (_, true) => 'o',
                    _ => '.',
                };
                write!(f, "{disc} ")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "0 1 2 3 4 5 6")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(moves: &[u16]) -> Connect4 {
        let mut game = Connect4::start();
        moves.iter().for_each(|&m| game.play(m));
        game
    }

    /// Games of exactly `depth` plies, those that end before not counted.
    fn count(game: &Connect4, depth: usize) -> u64 {
        if depth == 0 {
            return 1;
        }
        let mut legal = Vec::new();
        game.legal(&mut legal);
        legal
            .iter()
            .map(|&m| {
                let mut next = *game;
                next.play(m);
                count(&next, depth - 1)
            })
            .sum()
    }

    #[test]
    fn lines_of_four_win_in_every_direction() {
        let wins = |moves: &[u16]| after(moves).outcome();
        assert_eq!(wins(&[0, 1, 0, 1, 0, 1, 0]), Some(Outcome::Win(Side::First)), "upright");
        assert_eq!(wins(&[0, 0, 1, 1, 2, 2, 3]), Some(Outcome::Win(Side::First)), "level");
        assert_eq!(wins(&[0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3]), Some(Outcome::Win(Side::First)), "rising");
        assert_eq!(wins(&[6, 3, 2, 2, 1, 6, 1, 1, 0, 0, 0, 0]), Some(Outcome::Win(Side::Second)), "falling");
        assert_eq!(wins(&[0, 0, 1, 1, 2, 2]), None);
        // three on top of a column and one at the foot of the next are no line
        assert_eq!(wins(&[0, 0, 0, 1, 2, 0, 2, 0, 3, 0]), None);
    }

    #[test]
    fn the_number_of_games_is_the_known_one() {
        let start = Connect4::start();
        // 7⁷ less the seven that put a seventh disc into one column; at eight plies the first games have ended
        assert_eq!(count(&start, 6), 117_649);
        assert_eq!(count(&start, 7), 823_536);
        assert_eq!(count(&start, 8), 5_673_234);
    }

    #[test]
    fn a_full_board_without_a_line_is_a_draw() {
        // columns filled in pairs so that no four stand together
        let mut game = Connect4::start();
        let order = [
            0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 2, 3, 2, 3, 3, 2, 3, 2, 2, 3, 2, 3, 4, 5, 4, 5, 5, 4, 5, 4,
            4, 5, 4, 5,
        ];
        order.iter().for_each(|&m| game.play(m));
        assert_eq!(game.outcome(), None);
        for _ in 0..6 {
            game.play(6);
        }
        assert_eq!(game.outcome(), Some(Outcome::Draw), "{game}");
        let mut legal = vec![1];
        game.legal(&mut legal);
        assert!(legal.is_empty());
    }

    #[test]
    fn a_word_says_whose_disc_falls_where() {
        let mut game = after(&[3, 3, 3]);
        assert_eq!([0, 3, 6].map(|m| game.word(m)), [42, 42 + 3 * 7 + 3, 42 + 6]);
        game.play(0);
        assert_eq!([0, 3, 6].map(|m| game.word(m)), [7, 3 * 7 + 3, 6]);
    }

    #[test]
    #[should_panic(expected = "column 0 cannot be played")]
    fn a_full_column_takes_nothing() {
        after(&[0; 7]);
    }
}
