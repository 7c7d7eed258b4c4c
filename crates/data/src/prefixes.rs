//! What the sequences of a set begin with alike, kept without their tokens: their order, and how far neighbours in it
//! agree. In sorted order two sequences agree as far as the least agreeing pair of neighbours between them (as in a
//! suffix array with its longest-common-prefix array; Manber, Myers: Suffix Arrays, 1993).

/// Shortest common beginning that is worth a branch. One that is shorter (a token that opens every sequence) saves
/// less than the separate trees gain by running beside each other.
pub(crate) const MIN_SHARED: usize = 8;

/// Tokens that two different sequences share as they are laid out, from the tokens they begin with alike.
///
/// Monotone, so that sorted neighbours still tell about all pairs.
pub(crate) fn worth_sharing(alike: usize) -> usize {
    if alike < MIN_SHARED { 0 } else { alike }
}

/// Tokens that two sequences begin with alike.
pub(crate) fn alike(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Places of the sequences in sorted order, and least agreements over ranges of it.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes {
    /// place of each sequence; empty: nothing is shared
    rank: Vec<u32>,
    /// minimum tree: leaf `n + i` is the agreement of the sequences at places `i - 1` and `i`
    least: Vec<u32>,
}

impl Prefixes {
    /// Of sequences that shall share nothing.
    pub(crate) fn apart() -> Prefixes {
        Prefixes { rank: Vec::new(), least: Vec::new() }
    }

    /// Of these sequences.
    pub(crate) fn new(sequences: &[&[u32]]) -> Prefixes {
        let n = sequences.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| sequences[a].cmp(sequences[b]).then(a.cmp(&b)));
        let mut rank = vec![0; n];
        order.iter().enumerate().for_each(|(place, &at)| rank[at] = place as u32);
        let mut least = vec![0; 2 * n];
        for (place, pair) in order.windows(2).enumerate() {
            least[n + place + 1] = alike(sequences[pair[0]], sequences[pair[1]]) as u32;
        }
        for node in (1..n).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Prefixes { rank, least }
    }

    /// Sort key of a sequence: those that begin alike stand together. Equal for all where nothing is shared.
    pub(crate) fn rank(&self, at: usize) -> u32 {
        self.rank.get(at).copied().unwrap_or(0)
    }

    /// Tokens that sequence `b` has in common with `a`, which stands before it in sorted order.
    pub(crate) fn alike(&self, a: usize, b: usize) -> usize {
        let n = self.rank.len();
        let (mut from, mut to) = (self.rank(a) as usize + 1 + n, self.rank(b) as usize + 1 + n);
        let mut least = u32::MAX;
        while from < to && to <= 2 * n {
            if from % 2 == 1 {
                least = least.min(self.least[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                least = least.min(self.least[to]);
            }
            (from, to) = (from / 2, to / 2);
        }
        if least == u32::MAX { 0 } else { least as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;

    #[test]
    fn agreements_are_those_of_the_tokens() {
        let mut rng = Rng::new(3);
        for n in [1usize, 2, 3, 7, 8, 33] {
            let sequences: Vec<Vec<u32>> =
                (0..n).map(|_| (0..rng.below(12)).map(|_| rng.below(2) as u32).collect()).collect();
            let views: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let prefixes = Prefixes::new(&views);
            for a in 0..n {
                for b in (0..n).filter(|&b| prefixes.rank(a) < prefixes.rank(b)) {
                    assert!(sequences[a] <= sequences[b]);
                    assert_eq!(prefixes.alike(a, b), alike(&sequences[a], &sequences[b]), "{n}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn apart_means_nothing_in_common() {
        let apart = Prefixes::apart();
        assert_eq!((apart.rank(0), apart.rank(5), apart.alike(0, 5)), (0, 0, 0));
    }
}
