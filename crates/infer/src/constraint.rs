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
/// that is left, it is taken. A search costs as many steps as the way is long, and stands in the way of whoever else is served:
/// so long ways are looked for less often, at most 128 steps for each token of the text, and are taken a little earlier.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// the next look is due where no more room than this is left
    look: usize,
    /// length of the way from the beginning
    whole: Option<usize>,
    /// the last search found no way
    lost: bool,
}

/// Tokens left over when the way is taken, beside one for so many of the way.
const SLACK: usize = 4;
const SLACK_OF: usize = 64;

impl Deadline {
    pub(crate) fn new() -> Deadline {
        Deadline { look: usize::MAX, whole: None, lost: false }
    }

    /// The tokens that end the text, if there is room for nothing else. `room` is the number of tokens that may still come.
    pub(crate) fn due(&mut self, rule: &mut dyn Constraint, room: usize) -> Option<Vec<u32>> {
        if room > self.look {
            return None;
        }
        let way = self.search(rule, room)?;
        let whole = *self.whole.get_or_insert(way.len());
        if way.len() + SLACK + way.len() / SLACK_OF >= room {
            return Some(way);
        }
        // one token seldom makes the way more than a few longer; a long way has the slack for one each
        let few = room.saturating_sub(way.len() + whole + 16) / 4;
        self.look = room - 1 - few.max(way.len() / SLACK_OF / 2);
        None
    }

    /// The tokens that end the text in place of the chosen `token`, if after it they would not fit into `room` any more.
    pub(crate) fn instead(&mut self, rule: &mut dyn Constraint, token: u32, room: usize) -> Option<Vec<u32>> {
        match self.lost || rule.fits(token, room.saturating_sub(1)) {
            true => None,
            false => self.search(rule, room),
        }
    }

    fn search(&mut self, rule: &mut dyn Constraint, room: usize) -> Option<Vec<u32>> {
        let way = rule.ending(room);
        self.lost = way.is_none();
        if self.lost {
            // the next tokens take room too, and seldom shorten the way by more
            self.look = room.saturating_sub(1 + room / 8);
        }
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that needs `left` more tokens, and counts how often and how far its end was looked for.
    struct Long {
        left: usize,
        looks: usize,
        steps: usize,
        mask: TokenMask,
    }

    impl Long {
        fn new(left: usize) -> Long {
            Long { left, looks: 0, steps: 0, mask: TokenMask::none(2) }
        }
    }

    impl Constraint for Long {
        fn forced(&mut self) -> Result<Vec<u32>, InferError> {
            Ok(Vec::new())
        }
        fn mask(&mut self) -> Result<&TokenMask, InferError> {
            Ok(&self.mask)
        }
        fn accept(&mut self, _: u32) -> Result<(), InferError> {
            Ok(())
        }
        fn done(&mut self) -> bool {
            false
        }
        fn fits(&mut self, _: u32, room: usize) -> bool {
            self.ending(room).is_some()
        }
        fn ending(&mut self, within: usize) -> Option<Vec<u32>> {
            self.looks += 1;
            self.steps += self.left.min(within);
            (self.left <= within).then(|| vec![1; self.left])
        }
    }

    #[test]
    fn an_end_that_never_fits_is_seldom_looked_for() {
        let (mut rule, mut deadline) = (Long::new(9000), Deadline::new());
        for room in (1..=8000).rev() {
            assert_eq!(deadline.due(&mut rule, room), None);
            assert_eq!(deadline.instead(&mut rule, 0, room), None);
        }
        assert!(rule.looks < 80 && rule.steps < 9 * 8000, "{} looks, {} steps", rule.looks, rule.steps);
    }

    #[test]
    fn an_end_that_fits_is_reached_in_time() {
        for left in [0, 1, 7, 60, 300, 3000] {
            for more in [0, 1, 5, 40, 2000] {
                // each token takes the end nearer, leaves it where it is, or further away
                for step in [-4isize, 0, 1] {
                    let (mut rule, mut deadline) = (Long::new(left), Deadline::new());
                    let begin = left + more;
                    let mut room = begin;
                    let way = loop {
                        if let Some(way) = deadline.due(&mut rule, room) {
                            break way;
                        }
                        assert!(room > 0, "{left}, {more}, {step}");
                        room -= 1;
                        rule.left = rule.left.saturating_add_signed(step);
                    };
                    assert!(way.len() == rule.left && way.len() <= room, "{left}, {more}, {step}: {room}");
                    let bound = 2 * begin + 130 * (begin - room);
                    assert!(rule.steps <= bound, "{left}, {more}, {step}: {} steps", rule.steps);
                }
            }
        }
    }
}
