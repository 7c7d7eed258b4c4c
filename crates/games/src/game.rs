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
}

/// A position of a game with its rules.
pub trait Game: Clone + Send + Sync {
    /// Moves are numbers below this.
    const MOVES: usize;
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
