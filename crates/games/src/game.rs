//! What a game is: sides that move in turn under rules until there is an outcome. No chance, nothing hidden.

/// Who moves first, or second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// moves first
    First,
    /// moves second
    Second,
}

impl Side {
    /// The opponent.
    pub fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }
}

/// How a game ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// this side won
    Win(Side),
    /// nobody did
    Draw,
}

impl Outcome {
    /// 1 where `side` won, -1 where it lost, 0 for a draw.
    pub fn value(self, side: Side) -> f32 {
        match self {
            Outcome::Win(winner) if winner == side => 1.0,
            Outcome::Win(_) => -1.0,
            Outcome::Draw => 0.0,
        }
    }

    /// Shares of win, draw and loss for `side`: one of them is 1.
    pub fn shares(self, side: Side) -> [f32; 3] {
        match self {
            Outcome::Win(winner) if winner == side => [1.0, 0.0, 0.0],
            Outcome::Win(_) => [0.0, 0.0, 1.0],
            Outcome::Draw => [0.0, 1.0, 0.0],
        }
    }
}

/// A position of a game with its rules.
pub trait Game: Clone + Send + Sync {
    /// Moves are numbers below this.
    const MOVES: usize;
    /// Words for moves are numbers below this.
    const WORDS: usize;
    /// No game is longer.
    const LONGEST: usize;
    /// Ways to turn or mirror the board, the identity counted.
    const SYMMETRIES: usize;

    /// The first position.
    fn start() -> Self;
    /// Who moves.
    fn to_move(&self) -> Side;
    /// Moves that the rules allow, ascending; none once there is an outcome. `into` is cleared first.
    fn legal(&self, into: &mut Vec<u16>);
    /// What the network hears of a move that is made now. The best word says all that happens: whose stone, on which place.
    /// A network that has to count for itself whose move was whose, or how high a column stands, learns that long before it
    /// learns to play.
    fn word(&self, mv: u16) -> u16;
    /// Makes a move.
    ///
    /// # Panics
    /// If the rules do not allow it.
    fn play(&mut self, mv: u16);
    /// The outcome, once the game is over.
    fn outcome(&self) -> Option<Outcome>;
    /// What a move becomes under symmetry `s` (0 is the identity).
    fn turned(mv: u16, s: usize) -> u16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_seen_from_a_side() {
        let win = Outcome::Win(Side::Second);
        assert_eq!(
            [win.value(Side::Second), win.value(Side::First), Outcome::Draw.value(Side::First)],
            [1.0, -1.0, 0.0]
        );
        for (outcome, side) in [(win, Side::Second), (win, Side::First), (Outcome::Draw, Side::First)] {
            let [wins, draws, losses] = outcome.shares(side);
            assert_eq!((wins - losses, wins + draws + losses), (outcome.value(side), 1.0));
        }
    }
}
