//! Small seeded random numbers, the same on every machine: SplitMix64 (Steele, Lea, Flood 2014).

/// A stream of random numbers, a pure function of its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// A stream of its own for `(seed, stream)`, so that consumers do not depend on each other's draws.
    pub fn stream(seed: u64, stream: u64) -> Rng {
        let mut r = Rng(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        r.next_u64();
        r
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`, without bias (Lemire: Fast Random Integer Generation in an Interval, 2019); 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        let bound = n as u64;
        let reject_below = if bound == 0 { 0 } else { bound.wrapping_neg() % bound };
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= reject_below {
                return (wide >> 64) as usize;
            }
        }
    }

    /// Fisher–Yates shuffle: every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_splitmix64() {
        // reference values of the published algorithm for seed 1234567
        let mut r = Rng::new(1_234_567);
        assert_eq!(r.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(r.next_u64(), 3_203_168_211_198_807_973);
        assert_eq!(r.next_u64(), 9_817_491_932_198_370_423);
        assert_eq!(r.next_u64(), 4_593_380_528_125_082_431);
        assert_eq!(r.next_u64(), 16_408_922_859_458_223_821);
    }

    #[test]
    fn a_bound_that_does_not_divide_leaves_no_bias() {
        // two thirds of all numbers: without rejection the lower half would come twice as often
        let bound = (u64::MAX / 3 * 2) as usize;
        let mut r = Rng::new(3);
        let low = (0..30_000).filter(|_| r.below(bound) < bound / 2).count();
        // 15,000 expected, standard deviation 87: five of them
        assert!((14_567..15_433).contains(&low), "{low}");
        assert_eq!(r.below(0), 0);
    }

    #[test]
    fn shuffles_are_uniform() {
        let mut counts = std::collections::BTreeMap::new();
        let mut r = Rng::new(1);
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            r.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected, standard deviation 31: five of them.
        assert!(counts.values().all(|n| (845..1155).contains(n)), "{counts:?}");
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut v: Vec<usize> = (0..100).collect();
        Rng::new(7).shuffle(&mut v);
        assert_ne!(v, (0..100).collect::<Vec<_>>());
        v.sort();
        assert_eq!(v, (0..100).collect::<Vec<_>>());
    }
}
