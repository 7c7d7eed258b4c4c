//! The most likely answer of a tree, exactly, without looking at most of the tree.
//!
//! **Normalisation.** At each node the probabilities of the tokens that the tree allows there add up to 1 (what constrained
//! decoding samples from); a token without a rival has probability 1. So the probabilities of all answers add up to 1, and only
//! the allowed rows of the vocabulary are ever multiplied.
//!
//! **Search.** A node is at least as likely as any answer below it, so the likeliest nodes are opened first, and the first answer
//! that comes to the front is the best of all (uniform-cost search, Dijkstra 1959). [`Chooser::choose`] instead takes the best
//! token at each node and never looks back: it gives what greedy decoding under the constraint would, which need not be the
//! most likely answer.
//!
//! Many prompts go forward together; where there are few, each opens several nodes at once.

use crate::InferError;
use crate::choose::{Chooser, Trees};
use crate::trie::Trie;
use nurture_kernels::log_softmax;
use nurture_model::{Batch, KvCache};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nodes that are opened in one pass at most, if there are as many prompts or fewer.
const NODES_AT_ONCE: usize = 4;

/// An exact decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// the answers that were reached, the most likely first, with the logarithms of their probabilities; the probabilities of
    /// answers that were not reached are at most that of the last, and add up to `rest`
    pub ranking: Vec<(usize, f64)>,
    /// probability of all other answers together
    pub rest: f64,
    /// nodes that were opened: places at which the network was asked
    pub opened: usize,
}

impl Decision {
    /// The most likely answer.
    pub fn answer(&self) -> usize {
        self.ranking.first().map_or(0, |r| r.0)
    }

    /// The logarithm of its probability among all answers.
    pub fn log_probability(&self) -> f64 {
        self.ranking.first().map_or(f64::NEG_INFINITY, |r| r.1)
    }
}

/// A node that waits, or an answer.
#[derive(Clone, Debug)]
struct Open {
    log_probability: f64,
    node: usize,
    /// tokens from the nearest ancestor that went through the network
    new: Vec<u32>,
    /// rows of the prompt's own part and of the ancestors
    keys: Vec<(usize, usize)>,
}

impl PartialEq for Open {
    fn eq(&self, other: &Open) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Open {}
impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Open) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Open {
    /// The likeliest is the greatest; of equals the node that is further down, where answers are, then the first.
    fn cmp(&self, other: &Open) -> Ordering {
        self.log_probability
            .total_cmp(&other.log_probability)
            .then(self.new.is_empty().cmp(&other.new.is_empty()))
            .then(other.node.cmp(&self.node))
    }
}

/// One prompt's search.
struct Search {
    prompt: usize,
    waiting: BinaryHeap<Open>,
    found: Vec<(usize, f64)>,
    mass: f64,
    opened: usize,
    /// first free row of the cache
    row: usize,
}

impl Search {
    /// Takes answers off the front. Whether the search is over.
    fn settle(&mut self, trie: &Trie, wanted: f64) -> bool {
        while let Some(front) = self.waiting.peek() {
            let Some(answer) = trie.nodes[front.node].answer else { return false };
            self.found.push((answer, front.log_probability));
            self.mass += front.log_probability.exp();
            self.waiting.pop();
            if self.mass >= wanted {
                return true;
            }
        }
        true
    }

    fn decision(self) -> Decision {
        let rest = self.waiting.iter().map(|o| o.log_probability.exp()).sum();
        Decision { ranking: self.found, rest, opened: self.opened }
    }
}

impl Chooser<'_> {
    /// For each prompt the most likely answer of its tree (`tries[i]` for `prompts[i]`, or one tree for all), and further answers
    /// until those found hold the probability `mass` together: 0 stops at the best, 1 gives all of them. `done` hears how many
    /// are decided.
    ///
    /// # Errors
    /// As [`Chooser::choose`].
    pub fn best(
        &mut self,
        prompts: &[Vec<u32>],
        tries: &[Trie],
        mass: f64,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Decision>, InferError> {
        let trees = Trees(tries);
        let mut out: Vec<Option<Decision>> = vec![None; prompts.len()];
        self.in_groups(prompts, trees.depth(), trees.tokens(), |this, cache, prefix, group| {
            let mut searches: Vec<Search> = group
                .iter()
                .map(|&(prompt, row)| {
                    let (forced, node) = trees.at(prompt).forced(0);
                    let new = prompts[prompt][prefix..].iter().copied().chain(forced).collect();
                    let root = Open { log_probability: 0.0, node, new, keys: vec![(0, prefix)] };
                    let waiting = BinaryHeap::from([root]);
                    Search { prompt, waiting, found: Vec::new(), mass: 0.0, opened: 0, row }
                })
                .collect();
            loop {
                let mut going = Vec::with_capacity(searches.len());
                for mut s in searches {
                    if s.settle(trees.at(s.prompt), mass) {
                        let place = s.prompt;
                        out[place] = Some(s.decision());
                    } else {
                        going.push(s);
                    }
                }
                searches = going;
                if searches.is_empty() {
                    break;
                }
                this.open(cache, &mut searches, &trees, prompts)?;
            }
            done(group.len());
            Ok(())
        })?;
        let none = Decision { ranking: Vec::new(), rest: 1.0, opened: 0 };
        Ok(out.into_iter().map(|d| d.unwrap_or_else(|| none.clone())).collect())
    }

    /// Opens the likeliest nodes of each search in one pass through the network.
    fn open(
        &mut self,
        cache: &mut KvCache,
        searches: &mut [Search],
        trees: &Trees<'_>,
        prompts: &[Vec<u32>],
    ) -> Result<(), InferError> {
        let most = (NODES_AT_ONCE / searches.len()).max(1);
        let mut batch = Batch::default();
        // (search, node, its last row in the batch)
        let mut opened: Vec<(usize, Open, usize)> = Vec::new();
        for (i, s) in searches.iter_mut().enumerate() {
            for _ in 0..most {
                // nodes behind an answer may never be needed
                let inner = |o: &&Open| trees.at(s.prompt).nodes[o.node].answer.is_none();
                if s.waiting.peek().filter(inner).is_none() {
                    break;
                }
                let Some(mut open) = s.waiting.pop() else { break };
                let position = open.keys.iter().map(|k| k.1).sum();
                match open.keys.last_mut() {
                    Some(last) if last.0 + last.1 == s.row => last.1 += open.new.len(),
                    _ => open.keys.push((s.row, open.new.len())),
                }
                s.row += open.new.len();
                s.opened += 1;
                batch.push(&open.new, position, open.keys.clone(), i);
                opened.push((i, open, batch.len() - 1));
            }
        }
        let width = self.model.config().width;
        let x = self.model.forward(self.cpu, self.mode, self.adapter, &batch, cache, &mut self.buffers)?;
        // searches at the same node of the same tree look at the same tokens
        let key = |o: &(usize, Open, usize)| (trees.number(searches[o.0].prompt), o.1.node);
        opened.sort_by_key(key);
        let mut children: Vec<(usize, Open)> = Vec::new();
        for group in opened.chunk_by(|a, b| key(a) == key(b)) {
            let trie = trees.at(searches[group[0].0].prompt);
            let next = &trie.nodes[group[0].1.node].next;
            let ids: Vec<u32> = next.iter().map(|n| n.0).collect();
            let some: Vec<f32> =
                group.iter().flat_map(|o| x[o.2 * width..][..width].iter().copied()).collect();
            let mut logits = vec![0f32; group.len() * ids.len()];
            self.model.logits_at(self.cpu, self.adapter, self.mode, &some, &ids, &mut logits);
            for ((i, open, _), row) in group.iter().zip(logits.chunks_exact_mut(ids.len())) {
                if row.iter().any(|l| l.is_nan()) {
                    return Err(InferError::NotFinite { tokens: prompts[searches[*i].prompt].len() });
                }
                log_softmax(self.cpu.pool(), row, ids.len());
                for (&(token, next), &l) in next.iter().zip(&*row) {
                    let (forced, node) = trie.forced(next);
                    let mut new = Vec::new();
                    if trie.nodes[node].answer.is_none() {
                        new.extend(std::iter::once(token).chain(forced));
                    }
                    let log_probability = open.log_probability + f64::from(l);
                    children.push((*i, Open { log_probability, node, new, keys: open.keys.clone() }));
                }
            }
        }
        for (i, child) in children {
            searches[i].waiting.push(child);
        }
        Ok(())
    }
}
