//! What the rules at work may take in memory together.
//!
//! The machine of a rule grows while it is asked: a hostile one to tens of megabytes, many of them to all there is. Each rule
//! holds a share of what all may take. What a rule may always have is set aside when it is made, so that an ordinary one
//! never fails for what others took; the part beyond is given while there is some.

use crate::InferError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that each rule is given when it is made.
pub const RULE_BYTES: usize = 512 << 10;

/// What all rules may take; clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct RuleMemory {
    most: usize,
    taken: Arc<AtomicUsize>,
}

impl RuleMemory {
    pub(crate) fn new(most: usize) -> RuleMemory {
        RuleMemory { most, taken: Arc::default() }
    }

    /// Bytes that are given away.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// The share of a new rule.
    pub(crate) fn share(&self) -> Result<Share, InferError> {
        let mut share = Share { memory: self.clone(), bytes: 0 };
        share.grow(RULE_BYTES)?;
        Ok(share)
    }
}

/// What one rule takes, given back with this.
#[derive(Debug)]
pub(crate) struct Share {
    memory: RuleMemory,
    bytes: usize,
}

impl Share {
    /// Makes it so large, if it is not already; never smaller.
    pub(crate) fn grow(&mut self, to: usize) -> Result<(), InferError> {
        let more = to.saturating_sub(self.bytes);
        let fits = |taken: usize| taken.checked_add(more).filter(|&all| all <= self.memory.most);
        if more > 0 && self.memory.taken.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return Err(InferError::RuleMemory { most: self.memory.most });
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_rule_waits_and_an_ordinary_one_never_fails() {
        let memory = RuleMemory::new(10 * RULE_BYTES);
        let mut large = memory.share().unwrap();
        let mut small: Vec<Share> = (0..3).map(|_| memory.share().unwrap()).collect();
        large.grow(7 * RULE_BYTES).unwrap();
        large.grow(RULE_BYTES).unwrap();
        assert_eq!(memory.taken(), 10 * RULE_BYTES);
        // beyond that nothing is given, to those at work as to new ones; what was set aside is there
        assert!(matches!(large.grow(7 * RULE_BYTES + 1), Err(InferError::RuleMemory { .. })));
        assert!(memory.share().is_err());
        small[0].grow(RULE_BYTES).unwrap();
        assert_eq!(memory.taken(), 10 * RULE_BYTES);
        drop(large);
        memory.share().unwrap().grow(7 * RULE_BYTES).unwrap();
        drop(small);
        assert_eq!(memory.taken(), 0, "all is given back");
    }
}
