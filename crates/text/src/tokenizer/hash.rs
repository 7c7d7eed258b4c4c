//! A fast hash for the two big tables of a vocabulary, seeded anew in every process so that no file can be built to
//! collide. Folded multiplication, as in wyhash.

use std::hash::{BuildHasher, Hasher, RandomState};

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Builds hashers of one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new() -> Self {
        Seed(RandomState::new().hash_one(0u8) | 1)
    }

    /// Hash of a string's bytes.
    pub(super) fn text(self, text: &str) -> u64 {
        let mut hash = self.0 ^ (text.len() as u64).wrapping_mul(MULTIPLIER);
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), MULTIPLIER ^ self.0);
        }
        let last = rest.iter().fold(0u64, |last, &byte| last << 8 | u64::from(byte));
        fold(hash ^ last, MULTIPLIER ^ self.0)
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;
    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Hashes numbers; the merge table's keys are one `u64`.
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(u64::from(b)));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = fold(self.0 ^ n, MULTIPLIER);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
