//! Games under rules: what AlphaGo teaches about learning, with the brain that also learns to speak.
//!
//! A game is a sequence of moves, so a decoder plays it as it writes: the moves so far are its tokens, what it says next
//! is a distribution over moves, and beside it, in the same softmax, over the outcomes ([`tokens`]). The rules
//! ([`Game`]) say which moves there are; a tree search ([`search`]) looks ahead with the network's guesses; playing
//! against itself ([`self_play`]) makes the lessons that the network learns from ([`Learner`]). How good it has become is measured in
//! games against players that need no learning ([`players`]), as Elo with intervals ([`elo`]).
//!
//! The nodes of a search share the keys and values of the moves they have in common: a leaf costs one token.
//!
//! Left out on purpose: boards as pictures and convolutions. The network sees what a speaker hears: one move after the
//! other.

#![forbid(unsafe_code)]

mod arena;
mod connect4;
pub mod elo;
mod game;
mod go;
mod learner;
mod network;
pub mod players;
pub mod search;
mod self_play;
mod sgf;
pub mod tokens;

pub use arena::{Match, Player, Seat, play_match};
pub use connect4::Connect4;
pub use game::{Game, Outcome, Side};
pub use go::Go;
pub use learner::{Learned, Learner, LessonError};
pub use network::{Network, Step};
pub use self_play::{Lesson, SelfPlay, lessons_by, self_play};
pub use sgf::{Record, SgfError, read_record};
