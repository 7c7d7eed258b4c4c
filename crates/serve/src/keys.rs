//! Keys: kept as hashes, compared in constant time.

use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The keys that open the door. Without any key the door is open.
#[derive(Clone, Default)]
pub struct Keys(Vec<[u8; 32]>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// From the text of a key file: a key a line; empty lines and those that begin with `#` are left out, and so is a key that
    /// stood there already.
    pub fn parse(text: &str) -> Keys {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let mut seen = HashSet::new();
        Keys(lines.map(|key| Sha256::digest(key).into()).filter(|hash| seen.insert(*hash)).collect())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a key, from 1 on. Takes the same time wherever it differs and whichever it is.
    pub fn find(&self, key: &str) -> Option<u64> {
        self.find_hash(&Sha256::digest(key).into())
    }

    pub(crate) fn find_hash(&self, given: &[u8; 32]) -> Option<u64> {
        let mut found = 0u64;
        for (i, known) in self.0.iter().enumerate() {
            // the first place counts
            found += u64::from(found == 0) * u64::from(same(known, given)) * (i as u64 + 1);
        }
        (found > 0).then_some(found)
    }

    /// The hash of the key in a place.
    pub(crate) fn hash(&self, place: u64) -> Option<[u8; 32]> {
        self.0.get(usize::try_from(place).ok()?.checked_sub(1)?).copied()
    }
}

/// Whether two hashes are the same; takes the same time wherever they differ.
pub(crate) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differs = a.iter().zip(b).fold(0u8, |d, (a, b)| d | (a ^ b));
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whole() {
        let keys = Keys::parse("# team\nalpha\n\n  beta \n");
        assert_eq!((keys.find("alpha"), keys.find("beta")), (Some(1), Some(2)));
        for wrong in ["", "alph", "alphaa", "# team", "Alpha"] {
            assert_eq!(keys.find(wrong), None);
        }
        let twice = Keys::parse("alpha\nbeta\nalpha\nbeta\ngamma\n");
        assert_eq!(["alpha", "beta", "gamma"].map(|k| twice.find(k)), [Some(1), Some(2), Some(3)]);
        assert_eq!(twice.hash(3), Keys::parse("gamma").hash(1));
        let doubled = Keys([&twice.0[..], &twice.0].concat());
        assert_eq!(["alpha", "beta", "gamma"].map(|k| doubled.find(k)), [Some(1), Some(2), Some(3)]);
        assert!(Keys::parse("\n#\n").is_empty() && !format!("{keys:?}").contains("alpha"));
    }
}
