//! What a text must be.

use crate::{InferError, TokenMask};

/// A rule that every token must follow. A state machine of one request: [`Constraint::accept`] moves it on, the others only ask.
pub trait Constraint {
    /// Tokens that must come next because the rule leaves no choice, possibly several, possibly none. They need no look at the
    /// network; they are accepted one by one like any others.
    ///
    /// # Errors
    /// A limit of the rule's machinery.
    fn forced(&mut self) -> Result<Vec<u32>, InferError>;

    /// Tokens that may come next; where the text may end, stop tokens are among them.
    ///
    /// # Errors
    /// A limit of the rule's machinery.
    fn mask(&mut self) -> Result<&TokenMask, InferError>;

    /// `token` came.
    ///
    /// # Errors
    /// A token that was not allowed; a limit of the rule's machinery.
    fn accept(&mut self, token: u32) -> Result<(), InferError>;

    /// Whether the text is complete and nothing may follow.
    fn done(&mut self) -> bool;

    /// Whether the text can still come to its end within `room` tokens after `token`. Asked before a chosen token is accepted; may
    /// answer yes without looking where a token rarely makes the way longer.
    fn fits(&mut self, token: u32, room: usize) -> bool {
        let _ = (token, room);
        true
    }

    /// Some short way from here to a text that may end, of at most `within` tokens, if one is found.
    fn ending(&mut self, within: usize) -> Option<Vec<u32>> {
        let _ = within;
        None
    }
}

/// Watches that a constrained text comes to its end within its room.
///
/// The way to the end is looked for seldom while there is much room, and at every token when it is scarce; where it takes all
/// that is left, it is taken.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// the next look is due where no more room than this is left
    look: usize,
    /// length of the way from the beginning
    whole: Option<usize>,
}

/// Tokens left over when the way is taken.
const SLACK: usize = 4;

impl Deadline {
    pub(crate) fn new() -> Deadline {
        Deadline { look: usize::MAX, whole: None }
    }

    /// The tokens that end the text, if there is room for nothing else. `room` is the number of tokens that may still come.
    pub(crate) fn due(&mut self, rule: &mut dyn Constraint, room: usize) -> Option<Vec<u32>> {
        if room > self.look {
            return None;
        }
        let way = rule.ending(room)?;
        let whole = *self.whole.get_or_insert(way.len());
        if way.len() + SLACK >= room {
            return Some(way);
        }
        // one token seldom makes the way more than a few longer
        self.look = room - 1 - room.saturating_sub(way.len() + whole + 16) / 4;
        None
    }
}
