//! One forward pass for the sequences of a step, and what is made of its rows: scores, hidden states, choices.

use super::pages::PAGE;
use super::picker::Picked;
use super::request::{Event, Finish, Pooling};
use super::sequence::Sequence;
use crate::row::Row;
use crate::{InferError, Pick};
use nurture_model::{AdapterRows, Batch, Buffers, Cpu, Decoder, KvCache, Mode, ModelError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Rows of logits that are made at once.
const LOGIT_ROWS: usize = 32;

/// Runs code of a request's owner; `None` where it panics.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// A sequence's part of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// its number
    pub(crate) number: u64,
    /// known tokens that go through (a guess comes on top)
    pub(crate) tokens: usize,
}

/// What computes, with its buffers.
#[derive(Debug)]
pub(crate) struct Compute {
    pub(crate) mode: Mode,
    pub(crate) cache: KvCache,
    pub(crate) longest: usize,
    buffers: Buffers,
    /// residual rows whose logits are wanted `[rows, D]`
    rows: Vec<f32>,
    /// `[LOGIT_ROWS or more, V]`
    logits: Vec<f32>,
}

/// A sequence that waits for its choice.
struct Chooses<'a> {
    seq: &'a mut Sequence,
    /// its first row in `rows`, and how many
    row: usize,
    rows: usize,
    few: Option<Vec<u32>>,
    failed: bool,
}

/// The same with its logits.
struct Job<'a> {
    seq: &'a mut Sequence,
    logits: &'a mut [f32],
    finish: Option<Finish>,
}

impl Compute {
    pub(crate) fn new(mode: Mode, cache: KvCache, longest: usize) -> Compute {
        Compute { mode, cache, longest, buffers: Buffers::new(), rows: Vec::new(), logits: Vec::new() }
    }

    /// Computes `shares` of `running` (both in order of arrival) and gives the sequences that ended.
    pub(crate) fn run(
        &mut self,
        model: &Decoder,
        cpu: &Cpu,
        running: &mut [Sequence],
        shares: &[Share],
    ) -> Result<Vec<(u64, Finish)>, ModelError> {
        let width = model.config().width;
        let mut members: Vec<(&mut Sequence, usize)> = running
            .iter_mut()
            .filter_map(|s| {
                let tokens = shares.iter().find(|p| p.number == s.number)?.tokens;
                Some((s, tokens))
            })
            .collect();
        // rows of one adapter side by side
        members.sort_by_key(|(s, _)| s.space.generation);
        let mut batch = Batch::default();
        let mut first = Vec::with_capacity(members.len());
        for (i, (s, n)) in members.iter().enumerate() {
            let mut new = s.tokens[s.computed..s.computed + n].to_vec();
            new.extend(&s.guess);
            first.push(batch.len());
            batch.push(&new, s.computed, s.keys(s.computed + new.len()), i);
        }
        let adapters: Vec<_> = members.iter().map(|(s, _)| s.adapter.clone()).collect();
        let mut groups: Vec<AdapterRows<'_>> = Vec::new();
        for (i, adapter) in adapters.iter().enumerate() {
            let Some(adapter) = adapter else { continue };
            let end = first.get(i + 1).copied().unwrap_or(batch.len());
            match groups.last_mut() {
                Some(last) if std::ptr::eq(last.adapter, adapter.adapter()) => last.rows.end = end,
                _ => groups.push(AdapterRows { rows: first[i]..end, adapter: adapter.adapter() }),
            }
        }
        let x = model.forward_mixed(cpu, self.mode, &groups, &batch, &mut self.cache, &mut self.buffers)?;
        self.rows.clear();
        let mut choosers = Vec::new();
        let mut ended = Vec::new();
        for ((seq, n), &row) in members.into_iter().zip(&first) {
            let own = &x[row * width..][..n * width];
            if let Some(finish) = read_prompt(model, cpu, self.mode, seq, own, &mut self.logits) {
                ended.push((seq.number, finish));
                continue;
            }
            let whole = n == seq.pending();
            seq.computed += n;
            if !whole {
                continue;
            }
            if seq.most == 0 || seq.early.is_some() {
                ended.push((seq.number, seq.early.take().unwrap_or(Finish::Length)));
                continue;
            }
            let rows = 1 + seq.guess.len();
            let at = self.rows.len() / width;
            self.rows.extend_from_slice(&x[(row + n - 1) * width..][..rows * width]);
            choosers.push(Chooses { seq, row: at, rows, few: None, failed: false });
        }
        self.choose(model, cpu, choosers, &mut ended);
        Ok(ended)
    }

    fn choose(
        &mut self,
        model: &Decoder,
        cpu: &Cpu,
        mut choosers: Vec<Chooses<'_>>,
        ended: &mut Vec<(u64, Finish)>,
    ) {
        let vocab = model.config().vocab;
        // with a guess, more than one place is looked at
        for c in choosers.iter_mut().filter(|c| c.rows == 1) {
            match guarded(|| c.seq.picker.few(vocab)) {
                // a token beyond the vocabulary is never computed, so never picked
                Some(few) => c.few = few.filter(|few| few.iter().all(|&t| (t as usize) < vocab)),
                None => c.failed = true,
            }
        }
        let mut rest = choosers.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut part, mut rows) = (Vec::new(), 0);
            while let Some(c) = rest.next_if(|c| part.is_empty() || rows + c.rows <= LOGIT_ROWS) {
                rows += c.rows;
                part.push(c);
            }
            self.logits_of(model, cpu, &part, rows);
            let mut logits = &mut self.logits[..rows * vocab];
            let mut jobs = Vec::with_capacity(part.len());
            for c in part {
                let (own, more) = logits.split_at_mut(c.rows * vocab);
                logits = more;
                match c.failed {
                    true => ended.push((c.seq.number, Finish::Failed(PANICKED.into()))),
                    false => jobs.push(Mutex::new(Job { seq: c.seq, logits: own, finish: None })),
                }
            }
            let longest = self.longest;
            cpu.pool().run(jobs.len(), |i| {
                let mut job = jobs[i].lock().unwrap_or_else(|e| e.into_inner());
                let job = &mut *job;
                let finish = guarded(|| pick(job.seq, job.logits, vocab, longest));
                job.finish = finish.unwrap_or(Some(Finish::Failed(PANICKED.into())));
            });
            for job in jobs {
                let job = job.into_inner().unwrap_or_else(|e| e.into_inner());
                ended.extend(job.finish.map(|f| (job.seq.number, f)));
            }
        }
    }

    /// Fills `logits` for a few sequences: in one product, or token by token where few tokens are allowed.
    fn logits_of(&mut self, model: &Decoder, cpu: &Cpu, part: &[Chooses<'_>], rows: usize) {
        let (width, vocab) = (model.config().width, model.config().vocab);
        if self.logits.len() < rows * vocab {
            self.logits.resize(rows * vocab, 0.0);
        }
        let first = part.first().map_or(0, |c| c.row);
        if part.iter().all(|c| c.few.is_none()) {
            let x = &self.rows[first * width..][..rows * width];
            model.logits(cpu, None, self.mode, x, &mut self.logits[..rows * vocab]);
            for c in part {
                let Some(adapter) = &c.seq.adapter else { continue };
                let x = &self.rows[c.row * width..][..c.rows * width];
                model.own_logits(
                    cpu,
                    adapter.adapter(),
                    x,
                    &mut self.logits[(c.row - first) * vocab..][..c.rows * vocab],
                );
            }
            return;
        }
        for c in part {
            let x = &self.rows[c.row * width..][..c.rows * width];
            let out = &mut self.logits[(c.row - first) * vocab..][..c.rows * vocab];
            let adapter = c.seq.adapter.as_ref().map(|a| a.adapter());
            match &c.few {
                None => model.logits(cpu, adapter, self.mode, x, out),
                Some(ids) => {
                    let mut some = vec![0f32; ids.len()];
                    model.logits_at(cpu, adapter, self.mode, x, ids, &mut some);
                    out.fill(f32::NEG_INFINITY);
                    for (&id, l) in ids.iter().zip(some) {
                        out[id as usize] = l;
                    }
                }
            }
        }
    }
}

const PANICKED: &str = "the choice of a token panicked";

/// Takes tokens by their logits as long as the guess holds.
fn pick(seq: &mut Sequence, logits: &mut [f32], vocab: usize, longest: usize) -> Option<Finish> {
    let guess = std::mem::take(&mut seq.guess);
    seq.usage.guessed.0 += guess.len();
    for (i, row) in logits.chunks_exact_mut(vocab).enumerate() {
        let (picker, past) = seq.picker_and_past();
        let (pick, forced) = match picker.pick(row, past) {
            Ok(Picked::Token(pick, forced)) => (pick, forced),
            Ok(Picked::End) => return Some(Finish::Stop),
            Err(e) => return Some(Finish::of(e)),
        };
        if let Some(t) = forced.tokens.iter().chain([&pick.token]).find(|&&t| t as usize >= vocab) {
            return Some(Finish::Failed(format!("token {t} is beyond the vocabulary of {vocab}")));
        }
        let right = guess.get(i) == Some(&pick.token) && forced.tokens.is_empty();
        if let Some(finish) = seq.take(Some(pick), forced) {
            return Some(finish);
        }
        if seq.tokens.len() >= longest {
            return Some(Finish::Context);
        }
        if !right {
            break;
        }
        seq.computed += 1;
        seq.usage.guessed.1 += 1;
    }
    None
}

/// Scores and hidden state of the prompt's rows `x` `[n, D]`, which begin at the first token that is not computed yet.
fn read_prompt(
    model: &Decoder,
    cpu: &Cpu,
    mode: Mode,
    seq: &mut Sequence,
    x: &[f32],
    logits: &mut Vec<f32>,
) -> Option<Finish> {
    if seq.answered {
        return None;
    }
    let (width, vocab) = (model.config().width, model.config().vocab);
    let end = (seq.computed + x.len() / width).min(seq.prompt);
    let from = seq.seen.max(seq.computed);
    let row = |at: usize| &x[(at - seq.computed) * width..];
    let loaded = seq.adapter.clone();
    let adapter = loaded.as_ref().map(|a| a.adapter());
    if let Some(top) = seq.wanted_scores {
        let mut seen = Row::default();
        let last = end.min(seq.prompt - 1); // the last token says nothing about the prompt
        for at in (from..last).step_by(LOGIT_ROWS) {
            let rows = LOGIT_ROWS.min(last - at);
            if logits.len() < rows * vocab {
                logits.resize(rows * vocab, 0.0);
            }
            let logits = &mut logits[..rows * vocab];
            model.logits(cpu, adapter, mode, &row(at)[..rows * width], logits);
            for (i, line) in logits.chunks_exact(vocab).enumerate() {
                let token = seq.tokens[at + i + 1];
                let Some(best) = seen.look(line) else {
                    return Some(Finish::Failed(InferError::NotFinite { tokens: at + i + 1 }.to_string()));
                };
                let sum = best + seen.log_sum(line, best);
                seen.best_k(line, top);
                seq.scores.push(Pick {
                    token,
                    log_probability: Some(line[token as usize] - sum),
                    top: seen.order.iter().map(|&i| (i, line[i as usize] - sum)).collect(),
                });
            }
        }
    }
    match seq.hidden {
        Some(Pooling::Mean) if from < end => {
            seq.mean.resize(width, 0.0);
            for line in model.last_norm(cpu, &row(from)[..(end - from) * width]).chunks_exact(width) {
                seq.mean.iter_mut().zip(line).for_each(|(m, &v)| *m += f64::from(v));
            }
        }
        Some(Pooling::Last) if end == seq.prompt && from < end => {
            let last = model.last_norm(cpu, &row(end - 1)[..width]);
            seq.mean = last.into_iter().map(f64::from).collect();
        }
        _ => {}
    }
    seq.seen = seq.seen.max(end);
    if end < seq.prompt {
        return None;
    }
    seq.answered = true;
    if seq.wanted_scores.is_some() {
        let scores = std::mem::take(&mut seq.scores);
        seq.tell(Event::Scores(scores));
    }
    if let Some(pooling) = seq.hidden {
        let by = if pooling == Pooling::Mean { seq.prompt as f64 } else { 1.0 };
        let hidden = std::mem::take(&mut seq.mean).into_iter().map(|v| (v / by) as f32).collect();
        seq.tell(Event::Hidden(hidden));
    }
    None
}

/// Cuts a share so that it ends with a page, where it can.
pub(crate) fn to_page(computed: usize, tokens: usize, pending: usize) -> usize {
    let beyond = (computed + tokens) % PAGE;
    if tokens < pending && beyond < tokens { tokens - beyond } else { tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_end_with_pages() {
        assert_eq!(to_page(0, 100, 200), 96);
        assert_eq!(to_page(90, 20, 200), 6);
        assert_eq!(to_page(0, 20, 200), 20, "less than a page");
        assert_eq!(to_page(0, 100, 100), 100, "all that is left");
    }
}
