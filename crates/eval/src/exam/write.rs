//! Free answers: several sequences at once, each its best token at every step. Ends at a stop token, at the limit, or, in
//! plain text, at a blank line.

use super::{Ask, Examinee, Item, SitError};
use crate::score::Scorer;
use crate::{ExamInfo, ItemResult};
use nurture_infer::InferError;
use nurture_model::{Adapter, Batch, Buffers, Cpu, Decoder, KvCache, Mode};

/// Sequences that generate together at most: more share each reading of the weights, and more wait for the longest.
const TOGETHER: usize = 16;
/// Rows of keys and values at most, where that leaves room for one sequence.
const ROWS: usize = 16 * 1024;
/// Tokens of a prompt that go through the network at once.
const CHUNK: usize = 256;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// its tokens, without the one that ended it
    pub(crate) tokens: Vec<u32>,
    /// whether the limit ended it
    pub(crate) cut: bool,
}

/// A network that writes.
pub(crate) struct Writer<'m> {
    pub(crate) decoder: &'m Decoder,
    pub(crate) adapter: Option<&'m Adapter>,
    pub(crate) cpu: &'m Cpu,
}

struct Seat {
    prompt: usize,
    row: usize,
    /// tokens whose keys stand behind the shared ones
    len: usize,
    last: u32,
    written: Vec<u32>,
}

impl Writer<'_> {
    /// Greedy continuations of all prompts, of at most `most` tokens. `ends` tells for the tokens so far whether they are
    /// complete (the last of them then belongs to the answer no more); `done(prompt, written)` hears each as it ends.
    pub(crate) fn write(
        &self,
        prompts: &[Vec<u32>],
        most: usize,
        ends: &dyn Fn(&[u32]) -> bool,
        mut done: impl FnMut(usize, Written) -> Result<(), SitError>,
        failed: &dyn Fn(InferError) -> SitError,
    ) -> Result<(), SitError> {
        let config = self.decoder.config();
        let Some(first) = prompts.first() else { return Ok(()) };
        for p in prompts {
            match p.len() {
                0 => return Err(failed(InferError::Empty)),
                n if n >= config.context => {
                    let room = config.context - 1;
                    return Err(failed(InferError::TooLong { tokens: n, room, context: config.context }));
                }
                _ => {}
            }
        }
        // what all prompts begin with stands there once; each keeps a token of its own
        let alike = prompts
            .iter()
            .fold(first.len(), |n, p| p.iter().zip(&first[..n]).take_while(|(a, b)| a == b).count());
        let shared = alike.min(prompts.iter().map(Vec::len).min().unwrap_or(1) - 1);
        let limit = |p: usize| most.min(config.context - prompts[p].len());
        let need = (0..prompts.len()).map(|p| prompts[p].len() - shared + limit(p)).max().unwrap_or(1);
        let seats = (ROWS.saturating_sub(shared) / need).clamp(1, TOGETHER).min(prompts.len());
        let mut cache = KvCache::new(config, shared + seats * need);
        let mut buffers = Buffers::new();
        let mut logits = vec![0f32; seats * config.vocab];
        let mut at = 0;
        for chunk in first[..shared].chunks(CHUNK) {
            let mut batch = Batch::default();
            batch.push(chunk, at, vec![(0, at + chunk.len())], 0);
            at += chunk.len();
            self.decoder
                .forward(self.cpu, Mode::Exact, self.adapter, &batch, &mut cache, &mut buffers)
                .map_err(|e| failed(e.into()))?;
        }
        let mut free: Vec<usize> = (0..seats).rev().map(|s| shared + s * need).collect();
        let mut waiting = 0..prompts.len();
        let mut working: Vec<Seat> = Vec::new();
        loop {
            while let Some(row) = free.pop() {
                let Some(prompt) = waiting.next() else { break };
                let mut seat = Seat { prompt, row, len: 0, last: 0, written: Vec::new() };
                for chunk in prompts[prompt][shared..].chunks(CHUNK) {
                    seat.last = self
                        .step(shared, &mut [&mut seat], &[chunk], &mut cache, &mut buffers, &mut logits)
                        .map_err(failed)?[0];
                }
                working.push(seat);
            }
            if working.is_empty() {
                return Ok(());
            }
            // the token that was chosen last ends its answer, or goes on to the next step
            let mut over = Vec::new();
            for (s, seat) in working.iter_mut().enumerate() {
                seat.written.push(seat.last);
                let complete = ends(&seat.written);
                if complete {
                    seat.written.pop();
                }
                if complete || seat.written.len() >= limit(seat.prompt) {
                    over.push((s, !complete));
                }
            }
            for (s, cut) in over.into_iter().rev() {
                let seat = working.swap_remove(s);
                free.push(seat.row);
                done(seat.prompt, Written { tokens: seat.written, cut })?;
            }
            if working.is_empty() {
                continue;
            }
            let tokens: Vec<[u32; 1]> = working.iter().map(|s| [s.last]).collect();
            let new: Vec<&[u32]> = tokens.iter().map(|t| &t[..]).collect();
            let mut seated: Vec<&mut Seat> = working.iter_mut().collect();
            let next = self
                .step(shared, &mut seated, &new, &mut cache, &mut buffers, &mut logits)
                .map_err(failed)?;
            seated.into_iter().zip(next).for_each(|(seat, token)| seat.last = token);
        }
    }

    /// Runs new tokens of some seats; the best token after the last of each.
    fn step(
        &self,
        shared: usize,
        seats: &mut [&mut Seat],
        new: &[&[u32]],
        cache: &mut KvCache,
        buffers: &mut Buffers,
        logits: &mut [f32],
    ) -> Result<Vec<u32>, InferError> {
        let (width, vocab) = (self.decoder.config().width, self.decoder.config().vocab);
        let mut batch = Batch::default();
        let mut last = Vec::with_capacity(seats.len());
        for (tree, (seat, new)) in seats.iter_mut().zip(new).enumerate() {
            let keys = [(0, shared), (seat.row, seat.len + new.len())];
            let keys = keys.into_iter().filter(|k| k.1 > 0).collect();
            batch.push(new, shared + seat.len, keys, tree);
            seat.len += new.len();
            last.push(batch.len() - 1);
        }
        let x = self.decoder.forward(self.cpu, Mode::Exact, self.adapter, &batch, cache, buffers)?;
        let rows: Vec<f32> = last.iter().flat_map(|&r| x[r * width..][..width].iter().copied()).collect();
        let logits = &mut logits[..seats.len() * vocab];
        self.decoder.logits(self.cpu, Mode::Exact, &rows, logits);
        let tokens = |seat: &Seat| shared + seat.len;
        logits
            .chunks_exact(vocab)
            .zip(seats.iter())
            .map(|(row, seat)| best(row).ok_or(InferError::NotFinite { tokens: tokens(seat) }))
            .collect()
    }
}

/// The first of the greatest logits; `None` where one is no number.
fn best(row: &[f32]) -> Option<u32> {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &l) in row.iter().enumerate() {
        if l.is_nan() {
            return None;
        }
        if l > best.1 {
            best = (i, l);
        }
    }
    best.1.is_finite().then_some(best.0 as u32)
}

impl Examinee<'_> {
    pub(super) fn write(
        &self,
        info: &ExamInfo,
        items: &[&Item],
        prompts: &[Vec<u32>],
        max_tokens: usize,
        keep: &mut dyn FnMut(Vec<ItemResult>) -> Result<(), SitError>,
    ) -> Result<(), SitError> {
        let scorer = info.scorer.unwrap_or(Scorer::Exact);
        for item in items {
            for gold in &item.gold {
                scorer.check(gold).map_err(|problem| SitError::Gold {
                    id: item.id.clone(),
                    gold: gold.chars().take(80).collect(),
                    problem,
                })?;
            }
        }
        let tokenizer = self.renderer.tokenizer();
        let plain = info.manner.ask == Ask::Plain;
        let ends = |tokens: &[u32]| {
            let Some(last) = tokens.last() else { return false };
            // the last two tokens are enough to see a blank line behind some text
            let tail = &tokens[tokens.len().saturating_sub(2)..];
            tokenizer.stop_ids().contains(last)
                || (plain
                    && tokenizer.decode_plain(tail).contains("\n\n")
                    && !tokenizer.decode_plain(tokens).trim().is_empty())
        };
        let writer = Writer { decoder: self.decoder, adapter: self.adapter, cpu: self.cpu };
        let failed = |source| SitError::Infer { exam: info.name.clone(), source };
        let done = |i: usize, written: Written| {
            let item = items[i];
            let mut answer = tokenizer.decode_plain(&written.tokens).trim().to_string();
            if let (true, Some(end)) = (plain, answer.find("\n\n")) {
                answer.truncate(end);
            }
            let scored = scorer.score(&answer, &item.gold);
            keep(vec![ItemResult {
                id: item.id.clone(),
                kind: info.kind,
                question: item.question.clone(),
                gold: item.gold.clone(),
                answer,
                correct: scored.correct(),
                score: scored.score,
                logprob: None,
                probability: None,
                margins: None,
                prompt_tokens: prompts[i].len(),
                answer_tokens: written.tokens.len(),
                cut: written.cut,
            }])
        };
        writer.write(prompts, max_tokens, &ends, done, &failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_infer::{Finish, Generator, Sampler, Sampling, StopIds};
    use nurture_kernels::Rng;

    /// Together, in any order of ending, each answer is the one that the generator gives alone.
    #[test]
    fn company_changes_no_answer() {
        let cpu = Cpu::new(2);
        let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
        let decoder = Decoder::load(&nurture_formats::ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
        let mut rng = Rng::new(3);
        let (most, stop) = (12, [5u32, 9, 40, 77]);
        for (count, shared) in [(1, 0), (3, 2), (40, 9)] {
            let begin: Vec<u32> = (0..shared).map(|_| rng.below(160) as u32).collect();
            let prompts: Vec<Vec<u32>> = (0..count)
                .map(|_| {
                    let own = 1 + rng.below(9);
                    begin.iter().copied().chain((0..own).map(|_| rng.below(160) as u32)).collect()
                })
                .collect();
            let mut got = vec![None; count];
            let writer = Writer { decoder: &decoder, adapter: None, cpu: &cpu };
            let ends = |tokens: &[u32]| tokens.last().is_some_and(|t| stop.contains(t));
            let failed = |source| SitError::Infer { exam: "t".into(), source };
            let done = |i: usize, w: Written| {
                assert!(got[i].replace(w).is_none(), "{i} ended twice");
                Ok(())
            };
            writer.write(&prompts, most, &ends, done, &failed).unwrap();
            let mut generator = Generator::new(&decoder, None, &cpu, Mode::Exact, 64);
            let mut stopped = 0;
            for (i, prompt) in prompts.iter().enumerate() {
                let want = generator
                    .generate(
                        prompt,
                        most,
                        &mut Sampler::new(Sampling::default()),
                        &mut StopIds(stop.to_vec()),
                        |_| true,
                    )
                    .unwrap();
                let cut = want.finish != Finish::Stop;
                stopped += usize::from(!cut);
                assert_eq!(got[i], Some(Written { tokens: want.tokens, cut }), "{i} of {count}");
            }
            assert!(count < 40 || (1..40).contains(&stopped), "{stopped}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let cpu = Cpu::new(1);
        let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
        let decoder = Decoder::load(&nurture_formats::ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
        let writer = Writer { decoder: &decoder, adapter: None, cpu: &cpu };
        let failed = |source| SitError::Infer { exam: "t".into(), source };
        let try_with = |prompts: &[Vec<u32>]| {
            writer.write(prompts, 4, &|_| false, |_, _| Ok(()), &failed).map_err(|e| e.to_string())
        };
        assert!(try_with(&[vec![1], vec![]]).unwrap_err().contains("exam \"t\""));
        let long = vec![1; decoder.config().context];
        assert!(try_with(&[vec![1], long]).is_err() && try_with(&[vec![1_000_000]]).is_err());
        assert_eq!(try_with(&[]), Ok(()));
    }
}
