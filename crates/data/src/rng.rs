//! Chance for each purpose: a stream of its own, so that a new use of chance does not move the ones that exist.

use nurture_kernels::Rng;

use crate::digest::{Digest, Parts};

/// The stream of one purpose under a run's seed, for example `("epoch", 3)`.
pub fn stream(seed: u64, purpose: &str, index: u64) -> Rng {
    Rng::new(hash64(seed, &[purpose.as_bytes(), &index.to_le_bytes()]))
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
    fn streams_differ() {
        let first = |seed, purpose, index| stream(seed, purpose, index).next_u64();
        assert_ne!(first(1, "a", 0), first(2, "a", 0));
        assert_ne!(first(1, "a", 0), first(1, "b", 0));
        assert_ne!(first(1, "a", 0), first(1, "a", 1));
    }

    #[test]
    fn orders_stay_what_they_were() {
        // what runs of earlier versions drew: an order that changes would break their resumption
        let order = |seed, epoch| {
            let mut order: Vec<u32> = (0..10).collect();
            stream(seed, "epoch", epoch).shuffle(&mut order);
            order
        };
        assert_eq!(order(0, 0), [5, 2, 1, 3, 4, 8, 9, 0, 7, 6]);
        assert_eq!(order(7, 3), [9, 3, 4, 5, 2, 0, 8, 1, 6, 7]);
    }
}
