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
}
