//! Decisions: which of a set of answers does the model give? Many prompts at once, their common beginning computed
//! once and kept from call to call, only the tokens that can follow looked at.
//!
//! Three figures, from cheap to dear:
//!
//! * [`Chooser::choose`]: the answer that *greedy decoding* gives when it can give nothing else;
//! * [`Chooser::best`]: the *most likely* answer of all, and as many runners-up as wanted; probabilities are normalised among the
//!   tokens that the tree allows;
//! * [`Chooser::score`]: `ln p` of every answer over the *whole vocabulary*, each of its tokens counted.

use crate::InferError;
use crate::trie::Trie;
use nurture_kernels::log_softmax;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, Mode};

/// New tokens that go through the network at once.
const TOKENS_AT_ONCE: usize = 768;

/// Rows of the cache beyond what a call needs.
const ROOM: usize = 1024;

/// A greedy decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// index of the answer
    pub answer: usize,
    /// product of the probabilities of its tokens, each among the tokens that were allowed in its place (logarithm)
    pub log_probability: f64,
}

/// All answers of one prompt, scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// `ln p(answer | prompt)` over the whole vocabulary, by answer
    pub log_likelihoods: Vec<f64>,
}

impl Scores {
    /// Probabilities of the answers among themselves.
    pub fn probabilities(&self) -> Vec<f64> {
        let top = self.log_likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = self.log_likelihoods.iter().map(|l| (l - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }
}

/// Decides for many prompts.
#[derive(Debug)]
pub struct Chooser<'m> {
    pub(crate) model: &'m Decoder,
    pub(crate) adapter: Option<&'m Adapter>,
    pub(crate) cpu: &'m Cpu,
    pub(crate) mode: Mode,
    pub(crate) buffers: Buffers,
    /// keys and values, and the tokens of its first rows: the common beginning of the last prompts
    kept: Option<(KvCache, Vec<u32>)>,
}

/// One tree for all prompts, or one for each.
pub(crate) struct Trees<'t>(pub(crate) &'t [Trie]);

impl<'t> Trees<'t> {
    /// The number of a prompt's tree.
    pub(crate) fn number(&self, prompt: usize) -> usize {
        if self.0.len() == 1 { 0 } else { prompt }
    }

    /// A prompt's tree.
    pub(crate) fn at(&self, prompt: usize) -> &'t Trie {
        &self.0[self.number(prompt)]
    }

    /// Most tokens from a root to an answer: that many positions lie behind a prompt.
    pub(crate) fn depth(&self) -> usize {
        self.0.iter().map(Trie::depth).max().unwrap_or(0)
    }

    /// Most tokens that a tree has: that many rows of the cache they may take.
    pub(crate) fn tokens(&self) -> usize {
        self.0.iter().map(|t| t.nodes.len()).max().unwrap_or(0)
    }
}

/// A prompt on its way through the tree.
struct Walker {
    prompt: usize,
    /// first row of its own keys, and how many stand there
    row: usize,
    len: usize,
    node: usize,
    log_probability: f64,
    /// tokens that go through the network next
    new: Vec<u32>,
}

impl<'m> Chooser<'m> {
    /// A chooser.
    pub fn new(model: &'m Decoder, adapter: Option<&'m Adapter>, cpu: &'m Cpu, mode: Mode) -> Chooser<'m> {
        Chooser { model, adapter, cpu, mode, buffers: Buffers::new(), kept: None }
    }

    /// For each prompt the answer that greedy decoding gives among those of its tree (`tries[i]` for `prompts[i]`, or
    /// one tree for all). `done` hears how many are decided.
    ///
    /// # Errors
    /// An empty or over-long prompt, a token beyond the vocabulary, a logit that is not a number.
    pub fn choose(
        &mut self,
        prompts: &[Vec<u32>],
        tries: &[Trie],
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Choice>, InferError> {
        let trees = Trees(tries);
        let trie = |i: usize| trees.at(i);
        let depth = trees.depth();
        let mut choices: Vec<Option<Choice>> = vec![None; prompts.len()];
        self.in_groups(prompts, depth, depth, |this, cache, prefix, group| {
            let mut walkers: Vec<Walker> = group
                .iter()
                .map(|&(i, row)| {
                    let (forced, node) = trie(i).forced(0);
                    let mut new = prompts[i][prefix..].to_vec();
                    new.extend(forced);
                    Walker { prompt: i, row, len: 0, node, log_probability: 0.0, new }
                })
                .collect();
            loop {
                walkers.retain(|w| match trie(w.prompt).nodes[w.node].answer {
                    Some(answer) => {
                        choices[w.prompt] = Some(Choice { answer, log_probability: w.log_probability });
                        false
                    }
                    None => true,
                });
                if walkers.is_empty() {
                    break;
                }
                this.step(cache, prefix, &mut walkers, &trie, prompts)?;
            }
            done(group.len());
            Ok(())
        })?;
        Ok(choices
            .into_iter()
            .map(|c| c.unwrap_or(Choice { answer: 0, log_probability: f64::NEG_INFINITY }))
            .collect())
    }

    /// Runs the walkers' new tokens and moves each on to its next node.
    fn step<'t>(
        &mut self,
        cache: &mut KvCache,
        prefix: usize,
        walkers: &mut [Walker],
        trie: &impl Fn(usize) -> &'t Trie,
        prompts: &[Vec<u32>],
    ) -> Result<(), InferError> {
        let width = self.model.config().width;
        let mut batch = Batch::default();
        let mut last = Vec::new();
        for (i, w) in walkers.iter_mut().enumerate() {
            let keys = vec![(0, prefix), (w.row, w.len + w.new.len())];
            batch.push(&w.new, prefix + w.len, keys, i);
            w.len += w.new.len();
            last.push(batch.len() - 1);
        }
        let x = self.model.forward(self.cpu, self.mode, self.adapter, &batch, cache, &mut self.buffers)?;
        let rows: Vec<f32> = last.iter().flat_map(|&r| x[r * width..][..width].iter().copied()).collect();
        // walkers at the same node of the same tree look at the same tokens
        let mut order: Vec<usize> = (0..walkers.len()).collect();
        let key = |w: &Walker| (trie(w.prompt) as *const Trie as usize, w.node);
        order.sort_by_key(|&i| key(&walkers[i]));
        let groups: Vec<Vec<usize>> =
            order.chunk_by(|&a, &b| key(&walkers[a]) == key(&walkers[b])).map(<[usize]>::to_vec).collect();
        for group in groups {
            let w = &walkers[group[0]];
            let next = &trie(w.prompt).nodes[w.node].next;
            let ids: Vec<u32> = next.iter().map(|n| n.0).collect();
            let some: Vec<f32> =
                group.iter().flat_map(|&i| rows[i * width..][..width].iter().copied()).collect();
            let mut logits = vec![0f32; group.len() * ids.len()];
            self.model.logits_at(self.cpu, self.adapter, self.mode, &some, &ids, &mut logits);
            for (&i, logits) in group.iter().zip(logits.chunks_exact_mut(ids.len())) {
                let tokens = prompts[walkers[i].prompt].len();
                if logits.iter().any(|l| l.is_nan()) {
                    return Err(InferError::NotFinite { tokens });
                }
                log_softmax(self.cpu.pool(), logits, ids.len());
                let best = crate::sampler::best(logits).ok_or(InferError::NotFinite { tokens })? as usize;
                let (token, node) = next[best];
                let (forced, node) = trie(walkers[i].prompt).forced(node);
                let w = &mut walkers[i];
                w.log_probability += logits[best] as f64;
                w.node = node;
                w.new = std::iter::once(token).chain(forced).collect();
            }
        }
        Ok(())
    }

    /// The likelihood of every answer of the tree for each prompt, over the whole vocabulary. Dearer than
    /// [`Chooser::choose`]: each token of the tree goes through the network.
    ///
    /// # Errors
    /// As [`Chooser::choose`].
    pub fn score(
        &mut self,
        prompts: &[Vec<u32>],
        tries: &[Trie],
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Scores>, InferError> {
        let trees = Trees(tries);
        let trie = |i: usize| trees.at(i);
        let mut out = vec![Scores { log_likelihoods: Vec::new() }; prompts.len()];
        self.in_groups(prompts, trees.depth(), trees.tokens(), |this, cache, prefix, group| {
            for &(i, row) in group {
                out[i] = this.score_one(cache, prefix, row, &prompts[i], trie(i))?;
            }
            done(group.len());
            Ok(())
        })?;
        Ok(out)
    }

    fn score_one(
        &mut self,
        cache: &mut KvCache,
        prefix: usize,
        row: usize,
        prompt: &[u32],
        trie: &Trie,
    ) -> Result<Scores, InferError> {
        let (width, vocab) = (self.model.config().width, self.model.config().vocab);
        let own = &prompt[prefix..];
        let mut batch = Batch::default();
        batch.push(own, prefix, vec![(0, prefix), (row, own.len())], 0);
        // every inner node's token is a span of one that sees its ancestors; leaves are only scored
        let mut place = vec![usize::MAX; trie.nodes.len()];
        let mut chains: Vec<Vec<(usize, usize)>> = vec![Vec::new(); trie.nodes.len()];
        place[0] = own.len() - 1;
        chains[0] = vec![(0, prefix), (row, own.len())];
        for node in 0..trie.nodes.len() {
            for &(token, next) in &trie.nodes[node].next {
                if trie.nodes[next].next.is_empty() {
                    continue;
                }
                let mut keys = chains[node].clone();
                place[next] = batch.len();
                keys.push((row + batch.len(), 1));
                let position = keys.iter().map(|k| k.1).sum::<usize>() - 1;
                batch.push(&[token], position, keys.clone(), 0);
                chains[next] = keys;
            }
        }
        let x =
            self.model.forward(self.cpu, self.mode, self.adapter, &batch, cache, &mut self.buffers)?.to_vec();
        let mut total = vec![0f64; trie.nodes.len()];
        let mut out = vec![f64::NEG_INFINITY; trie.len()];
        let mut logits = vec![0f32; vocab];
        for node in 0..trie.nodes.len() {
            if let Some(a) = trie.nodes[node].answer {
                out[a] = total[node];
            }
            if trie.nodes[node].next.is_empty() {
                continue;
            }
            self.model.logits(
                self.cpu,
                self.adapter,
                self.mode,
                &x[place[node] * width..][..width],
                &mut logits,
            );
            log_softmax(self.cpu.pool(), &mut logits, vocab);
            for &(token, next) in &trie.nodes[node].next {
                let l = logits[token as usize] as f64;
                if l.is_nan() {
                    return Err(InferError::NotFinite { tokens: prompt.len() });
                }
                total[next] = total[node] + l;
            }
        }
        Ok(Scores { log_likelihoods: out })
    }

    /// Computes the common beginning of all prompts once, then hands out groups of prompts `(index, first row)` with
    /// `extra` rows of the cache each, for tokens at up to `depth` positions behind the prompt.
    pub(crate) fn in_groups(
        &mut self,
        prompts: &[Vec<u32>],
        depth: usize,
        extra: usize,
        mut work: impl FnMut(&mut Self, &mut KvCache, usize, &[(usize, usize)]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let Some(first) = prompts.first() else { return Ok(()) };
        if prompts.iter().any(Vec::is_empty) {
            return Err(InferError::Empty);
        }
        let context = self.model.config().context;
        if let Some(long) = prompts.iter().map(Vec::len).find(|n| n + depth > context) {
            return Err(InferError::TooLong { tokens: long, room: context.saturating_sub(depth), context });
        }
        let mut prefix = prompts
            .iter()
            .fold(first.len(), |n, p| p.iter().zip(&first[..n]).take_while(|(a, b)| a == b).count());
        // every prompt keeps a token of its own, whose output decides
        prefix = prefix.min(prompts.iter().map(Vec::len).min().unwrap_or(1) - 1);
        let longest = prompts.iter().map(|p| p.len() - prefix + extra).max().unwrap_or(0);
        let rows =
            prefix + longest.max(TOKENS_AT_ONCE + TOKENS_AT_ONCE * extra / 8).min(64 * 1024).max(longest);
        let (mut cache, mut past) = match self.kept.take() {
            Some((cache, past)) if cache.rows() >= rows => (cache, past),
            // room for a longer beginning, so that the next call need not start anew
            _ => (KvCache::new(self.model.config(), rows + ROOM), Vec::new()),
        };
        let rows = cache.rows();
        past.truncate(past.iter().zip(&first[..prefix]).take_while(|(a, b)| a == b).count());
        for chunk in first[past.len()..prefix].chunks(256) {
            let at = past.len();
            let mut batch = Batch::default();
            batch.push(chunk, at, vec![(0, at + chunk.len())], 0);
            self.model.forward(self.cpu, self.mode, self.adapter, &batch, &mut cache, &mut self.buffers)?;
            past.extend_from_slice(chunk);
        }
        let mut group: Vec<(usize, usize)> = Vec::new();
        let (mut row, mut tokens) = (prefix, 0);
        for (i, p) in prompts.iter().enumerate() {
            let need = p.len() - prefix + extra;
            if !group.is_empty() && (row + need > rows || tokens + p.len() - prefix > TOKENS_AT_ONCE) {
                work(self, &mut cache, prefix, &group)?;
                group.clear();
                (row, tokens) = (prefix, 0);
            }
            group.push((i, row));
            row += need;
            tokens += p.len() - prefix;
        }
        work(self, &mut cache, prefix, &group)?;
        self.kept = Some((cache, past));
        Ok(())
    }
}
