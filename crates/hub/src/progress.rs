//! What a pull tells its caller while it works.

use crate::catalogue::Entry;
use crate::error::Attempt;

/// One step of a pull. Byte counts are those of the transfer and may come many times a second.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Before the first source is tried: whose licence applies. Show `entry.notice` where there is one.
    Licence {
        /// The catalogue entry.
        entry: &'a Entry,
    },
    /// Another process or thread pulls the same file; this one waits for it.
    Waiting,
    /// A source is tried.
    Trying {
        /// The source in words.
        source: &'a str,
    },
    /// The transfer goes on from bytes that an earlier pull left.
    Resuming {
        /// Bytes that are already here.
        from: u64,
    },
    /// Bytes of the running transfer.
    Bytes {
        /// Bytes here so far.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
    },
    /// The transfer broke off and is tried again at the same source.
    Retrying {
        /// Why it broke off.
        reason: &'a str,
    },
    /// A source failed; the next one, if any, is tried.
    Failed {
        /// The source and the reason.
        attempt: &'a Attempt,
    },
    /// Bytes on disk are hashed.
    Hashing {
        /// Bytes hashed so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something in the store was wrong and is put right.
    Repaired {
        /// What was wrong and what was done.
        what: &'a str,
    },
}

/// Where progress goes.
pub(crate) type Tell<'a> = dyn FnMut(Progress<'_>) + 'a;
