//! The prefix tree of a micro-batch: what its sequences begin with alike stands there once.
//!
//! A compressed trie (Morrison: PATRICIA, 1968). A segment is a run of tokens without a branch; segments stand in
//! depth-first order, so that the ancestors of each stand before it and each tree is contiguous. A token's
//! position is its depth. A row whose next token is to be learnt by several sequences has one loss with their number;
//! where they go on differently, one for each next token.

use crate::prefixes::{alike, worth_sharing};
use crate::tokens::TokenExample;

/// A run of tokens without a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The segment that it follows, or `None` at the beginning of sequences.
    pub parent: Option<usize>,
    /// Row of its first token in the layout.
    pub row: usize,
    /// Position of its first token in the sequences.
    pub start: usize,
    /// Its tokens.
    pub tokens: &'a [u32],
}

/// A next token that is to be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeLoss {
    /// Row whose output predicts.
    pub row: usize,
    /// The token that follows.
    pub target: u32,
    /// Sequences that learn it there.
    pub count: u32,
}

/// The layout of a micro-batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixTree<'a> {
    /// Depth first; parents before children.
    pub segments: Vec<Segment<'a>>,
    /// By row, then by target.
    pub losses: Vec<TreeLoss>,
}

/// Where the sequences of a tree stand in it, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// For each sequence the index in [`PrefixTree::losses`] of each of its trained tokens, in their order. What several
    /// sequences learn alike has one index.
    pub losses: Vec<Vec<usize>>,
    /// Row of each sequence's last token.
    pub ends: Vec<usize>,
}

/// Sequences `from..to` of the sorted ones, the first `depth` tokens of which are laid out, the last in `parent`.
struct Group {
    from: usize,
    to: usize,
    depth: usize,
    parent: Option<usize>,
}

impl<'a> PrefixTree<'a> {
    /// The tree of these sequences. Without `sharing` each one stands for itself, in the given order.
    pub fn new(examples: &[&'a TokenExample], sharing: bool) -> PrefixTree<'a> {
        PrefixTree::build(examples, sharing, |_, _, _, _| ())
    }

    /// The same, and where each sequence stands in it.
    pub fn with_paths(examples: &[&'a TokenExample], sharing: bool) -> (PrefixTree<'a>, Paths) {
        // each sequence's pieces: first row, and the positions that stand there
        let mut pieces: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new(); examples.len()];
        let tree = PrefixTree::build(examples, sharing, |at, row, from, to| pieces[at].push((row, from, to)));
        let mut paths = Paths::default();
        for (example, pieces) in examples.iter().zip(&pieces) {
            let mut losses = Vec::new();
            let mut end = 0;
            for &(row, from, to) in pieces {
                for i in (from..to.min(example.tokens.len()))
                    .filter(|&i| example.trained.get(i + 1) == Some(&true) && i + 1 < example.tokens.len())
                {
                    let key = (row + i - from, example.tokens[i + 1]);
                    losses.extend(tree.losses.binary_search_by(|l| (l.row, l.target).cmp(&key)));
                }
                if example.tokens.len() > from {
                    end = row + to.min(example.tokens.len()) - from - 1;
                }
            }
            paths.losses.push(losses);
            paths.ends.push(end);
        }
        (tree, paths)
    }

    /// Tells `laid` of each example, by its index, which of its positions `from..to` stand from which row on (some of
    /// them behind its end).
    fn build(
        examples: &[&'a TokenExample],
        sharing: bool,
        mut laid: impl FnMut(usize, usize, usize, usize),
    ) -> PrefixTree<'a> {
        let mut order: Vec<(usize, &TokenExample)> = examples.iter().copied().enumerate().collect();
        // stable: equal ones stay in order, and without sharing all do
        if sharing {
            order.sort_by(|a, b| a.1.tokens.cmp(&b.1.tokens));
        }
        let units: Vec<&[(usize, &TokenExample)]> =
            order.chunk_by(|a, b| sharing && a.1.tokens == b.1.tokens).collect();
        let tokens: Vec<&[u32]> = units.iter().map(|unit| unit[0].1.tokens.as_slice()).collect();
        let shared: Vec<usize> = (0..units.len())
            .map(|i| if sharing && i > 0 { worth_sharing(alike(tokens[i - 1], tokens[i])) } else { 0 })
            .collect();

        let mut tree = PrefixTree::default();
        let mut groups = vec![Group { from: 0, to: units.len(), depth: 0, parent: None }];
        while let Some(Group { from, to, depth, mut parent }) = groups.pop() {
            if from == to {
                continue;
            }
            // how far this run goes without a branch; sequences that end inside it are no branch
            let mut first = from;
            let end = loop {
                let Some(end) = shared[first + 1..to].iter().copied().min() else {
                    break tokens[first].len();
                };
                let branches = shared[first + 1..to].iter().filter(|&&s| s == end).count();
                if tokens[first].len() > end || branches > 1 {
                    break end;
                }
                first += 1;
            };
            if end > depth {
                let row = tree.rows();
                tree.segments.push(Segment { parent, row, start: depth, tokens: &tokens[first][depth..end] });
                parent = Some(tree.segments.len() - 1);
                for (at, example) in units[from..to].iter().flat_map(|unit| unit.iter()) {
                    tree.learn(example, row, depth, end);
                    laid(*at, row, depth, end);
                }
            }
            // the branches, the first on top of the stack
            let mut stop = to;
            for at in (first..to).rev() {
                if at == first || shared[at] == end {
                    // a sequence that ends here does not go on
                    let ended = tokens[at].len() == end;
                    groups.push(Group { from: at + usize::from(ended), to: stop, depth: end, parent });
                    stop = at;
                }
            }
        }
        tree.losses.sort_unstable();
        tree.losses.dedup_by(|next, kept| {
            let same = (next.row, next.target) == (kept.row, kept.target);
            kept.count += if same { next.count } else { 0 };
            same
        });
        tree
    }

    /// Notes what an example learns in the rows of its positions `from..to`.
    fn learn(&mut self, example: &TokenExample, row: usize, from: usize, to: usize) {
        let next = example.tokens.iter().zip(&example.trained).skip(from + 1).take(to - from);
        let learnt = next.enumerate().filter(|(_, (_, on))| **on);
        self.losses.extend(learnt.map(|(i, (&target, _))| TreeLoss { row: row + i, target, count: 1 }));
    }

    /// The first of these sequences (those that the tree was made of) that has a loss.
    pub fn learner<'e>(&self, loss: &TreeLoss, examples: &[&'e TokenExample]) -> Option<&'e TokenExample> {
        let mut at = self.segments.iter().rposition(|s| s.row <= loss.row)?;
        let mut history: Vec<u32> = Vec::new();
        history.extend(self.segments[at].tokens[..=loss.row - self.segments[at].row].iter().rev());
        while let Some(parent) = self.segments[at].parent {
            history.extend(self.segments[parent].tokens.iter().rev());
            at = parent;
        }
        let n = history.len();
        let has = |e: &TokenExample| {
            e.tokens.get(n) == Some(&loss.target)
                && e.trained.get(n) == Some(&true)
                && e.tokens[..n].iter().rev().eq(&history)
        };
        examples.iter().copied().find(|e| has(e))
    }

    /// Tokens that are computed.
    pub fn rows(&self) -> usize {
        self.segments.last().map_or(0, |s| s.row + s.tokens.len())
    }

    /// Length of the longest sequence.
    pub fn longest(&self) -> usize {
        self.segments.iter().map(|s| s.start + s.tokens.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;
    use std::collections::BTreeMap;

    fn example(tokens: Vec<u32>, trained: Vec<bool>) -> TokenExample {
        TokenExample { id: String::new(), source: 0, tokens, trained }
    }

    /// Trains all but the first token.
    fn all(tokens: &[u32]) -> TokenExample {
        example(tokens.to_vec(), (0..tokens.len()).map(|i| i > 0).collect())
    }

    fn tree<'a>(examples: &'a [TokenExample], sharing: bool) -> PrefixTree<'a> {
        PrefixTree::new(&examples.iter().collect::<Vec<_>>(), sharing)
    }

    /// `(parent, start, tokens)` of each segment.
    fn shape<'a>(tree: &PrefixTree<'a>) -> Vec<(Option<usize>, usize, &'a [u32])> {
        tree.segments.iter().map(|s| (s.parent, s.start, s.tokens)).collect()
    }

    const TRUNK: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    fn after_trunk(rest: &[u32]) -> TokenExample {
        all(&[&TRUNK, rest].concat())
    }

    #[test]
    fn levels_repetitions_and_endings() {
        let examples = [
            after_trunk(&[20, 21]),
            after_trunk(&[10, 11, 12]),
            after_trunk(&[20, 21]),     // repeated
            after_trunk(&[10, 11, 13]), // branches one level deeper
            all(&TRUNK[..5]),           // too short to share
            after_trunk(&[]),           // the beginning of others
            after_trunk(&[20]),         // ends inside a run
        ];
        let t = tree(&examples, true);
        let want: [(_, _, &[u32]); 6] = [
            (None, 0, &TRUNK[..5]),
            (None, 0, &TRUNK),
            (Some(1), 8, &[10, 11]),
            (Some(2), 10, &[12]),
            (Some(2), 10, &[13]),
            (Some(1), 8, &[20, 21]),
        ];
        assert_eq!(shape(&t), want);
        assert_eq!((t.rows(), t.longest()), (5 + 8 + 2 + 1 + 1 + 2, 11));
        let at =
            |row| t.losses.iter().filter(|l| l.row == row).map(|l| (l.target, l.count)).collect::<Vec<_>>();
        assert_eq!(at(5), [(2, 6)], "six sequences learn the trunk");
        assert_eq!(at(12), [(10, 2), (20, 3)], "and part at its end");
        assert_eq!(at(14), [(12, 1), (13, 1)]);
        assert_eq!(at(17), [(21, 2)], "the repeated one counts twice, the one that ended does not");
        assert!(at(18).is_empty());
    }

    #[test]
    fn a_token_that_one_sequence_learns_and_another_does_not() {
        let both = [example(TRUNK.to_vec(), vec![false; 8]), after_trunk(&[9])];
        let t = tree(&both, true);
        assert_eq!(t.segments.len(), 1, "no branch");
        assert_eq!(t.losses.len(), 8);
        assert!(t.losses.iter().all(|l| l.count == 1));
    }

    #[test]
    fn without_sharing_each_stands_for_itself() {
        let examples = [after_trunk(&[9]), after_trunk(&[9]), all(&[4, 5])];
        let t = tree(&examples, false);
        assert_eq!(
            t.segments.iter().map(|s| (s.parent, s.row, s.start)).collect::<Vec<_>>(),
            [(None, 0, 0), (None, 9, 0), (None, 18, 0)]
        );
        assert!(t.losses.iter().all(|l| l.count == 1) && t.losses.len() == 17);
        assert_eq!(tree(&[], true), PrefixTree::default());
        assert_eq!(tree(&[all(&[])], true), PrefixTree::default());
    }

    /// Sequences that branch and end at random, with random masks.
    pub(crate) fn random(rng: &mut Rng, count: usize) -> Vec<TokenExample> {
        let mut all: Vec<TokenExample> = Vec::new();
        for _ in 0..count {
            let mut tokens = Vec::new();
            if !all.is_empty() && rng.below(4) > 0 {
                let from = &all[rng.below(all.len())].tokens;
                tokens.extend_from_slice(&from[..rng.below(from.len() + 1)]);
            }
            tokens.extend((0..rng.below(12)).map(|_| rng.below(3) as u32));
            let trained = tokens.iter().map(|_| rng.below(2) == 0).collect();
            all.push(example(tokens, trained));
        }
        all
    }

    #[test]
    fn every_sequence_is_a_path_with_its_own_losses() {
        let mut rng = Rng::new(17);
        for round in 0..300 {
            let examples = random(&mut rng, 1 + round % 20);
            for sharing in [true, false] {
                let t = tree(&examples, sharing);
                // every row's whole history, found by walking up
                let mut rows: Vec<Vec<u32>> = Vec::new();
                for (n, s) in t.segments.iter().enumerate() {
                    assert!(!s.tokens.is_empty() && s.row == rows.len() && s.parent.is_none_or(|p| p < n));
                    let mut history = match s.parent {
                        Some(p) => {
                            let parent = &t.segments[p];
                            rows[parent.row + parent.tokens.len() - 1].clone()
                        }
                        None => Vec::new(),
                    };
                    assert_eq!(history.len(), s.start);
                    for &token in s.tokens {
                        history.push(token);
                        rows.push(history.clone());
                    }
                }
                // what is learnt after which history, how often: as in the separate sequences
                let mut want: BTreeMap<(&[u32], u32), u32> = BTreeMap::new();
                for e in &examples {
                    for i in (1..e.tokens.len()).filter(|&i| e.trained[i]) {
                        *want.entry((&e.tokens[..i], e.tokens[i])).or_default() += 1;
                    }
                }
                let mut got: BTreeMap<(&[u32], u32), u32> = BTreeMap::new();
                for l in &t.losses {
                    *got.entry((&rows[l.row], l.target)).or_default() += l.count;
                }
                assert_eq!(got, want);
                let refs: Vec<&TokenExample> = examples.iter().collect();
                for l in &t.losses {
                    let e = t.learner(l, &refs).unwrap();
                    let n = rows[l.row].len();
                    assert!(e.tokens[..n] == rows[l.row] && e.tokens[n] == l.target && e.trained[n]);
                }
                assert!(t.losses.is_sorted() && t.losses.iter().all(|l| l.count > 0));
                let (same, paths) = PrefixTree::with_paths(&refs, sharing);
                assert_eq!(same, t);
                let mut counts = vec![0; t.losses.len()];
                for ((e, path), &end) in refs.iter().zip(&paths.losses).zip(&paths.ends) {
                    let learnt: Vec<usize> = (1..e.tokens.len()).filter(|&i| e.trained[i]).collect();
                    assert_eq!(path.len(), learnt.len());
                    for (&at, i) in path.iter().zip(learnt) {
                        counts[at] += 1;
                        assert!(
                            rows[t.losses[at].row] == e.tokens[..i] && t.losses[at].target == e.tokens[i]
                        );
                    }
                    assert!(e.tokens.is_empty() || rows[end] == e.tokens);
                }
                assert!(counts.iter().zip(&t.losses).all(|(n, l)| *n == l.count));
                let lengths: usize = examples.iter().map(|e| e.tokens.len()).sum();
                assert!(t.rows() <= lengths && (sharing || t.rows() == lengths));
                // nothing that is worth sharing stands twice
                rows.sort();
                let twice = rows.windows(2).filter(|p| p[0] == p[1]).map(|p| p[0].len()).max();
                assert!(!sharing || twice.is_none_or(|len| len < crate::prefixes::MIN_SHARED));
            }
        }
    }
}
