//! The one source of chance of this crate: small, the same on every machine, and free of order of use.
//!
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). Each purpose draws
//! from a stream of its own (`Rng::stream`), so that a new use of chance does not move the ones that exist.

use crate::digest::{Digest, Parts};

/// A generator of 64-bit numbers; not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator that starts from this state.
    pub fn new(state: u64) -> Self {
        Rng { state }
    }

    /// The stream of one purpose under a run's seed, for example `("epoch", 3)`.
    pub fn stream(seed: u64, purpose: &str, index: u64) -> Self {
        Rng::new(hash64(seed, &[purpose.as_bytes(), &index.to_le_bytes()]))
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform below `bound`, without bias (Lemire: Fast Random Integer Generation in an Interval, 2019); 0 for a
    /// bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= reject_below {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Fisher–Yates: every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// A uniform number that depends on the seed and the parts only.
pub(crate) fn hash64(seed: u64, parts: &[&[u8]]) -> u64 {
    let start = Parts::default().add(&seed.to_le_bytes());
    let digest: Digest = parts.iter().fold(start, |hash, part| hash.add(part)).finish();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        // First outputs for state 1234567, as in the reference implementation's widely used test vector.
        let mut rng = Rng::new(1_234_567);
        let found: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        assert_eq!(
            found,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn shuffles_are_uniform() {
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = Rng::stream(1, "test", 0);
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected, standard deviation 31: five of them.
        assert!(counts.values().all(|n| (845..1155).contains(n)), "{counts:?}");
    }

    #[test]
    fn streams_differ() {
        let first = |seed, purpose, index| Rng::stream(seed, purpose, index).next_u64();
        assert_ne!(first(1, "a", 0), first(2, "a", 0));
        assert_ne!(first(1, "a", 0), first(1, "b", 0));
        assert_ne!(first(1, "a", 0), first(1, "a", 1));
    }
}
