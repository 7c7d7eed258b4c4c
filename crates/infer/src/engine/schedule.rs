//! Who goes into the next step: joining, leaving, sharing out tokens and pages.
//!
//! Requests run in the order of their arrival. Every step takes one token of each sequence that generates (and its guess),
//! then parts of prompts as far as tokens are left: half of them for the oldest that reads, the rest for the shortest, so
//! that a long prompt stalls nobody and nobody waits for ever. When pages run out, kept ones that nobody uses go first, least
//! recently used first; then the youngest sequence gives up its pages and waits at the head of the queue; what it has said
//! stays said, and reading it again gives the same bits. The oldest is never touched, and a request that could not run
//! alone is refused at the door: so there is always one that goes on.

use super::adapters::Loaded;
use super::compute::{Compute, Share, guarded, to_page};
use super::config::{EngineConfig, page_bytes};
use super::gate::Gate;
use super::pages::{PAGE, Pages, pages_of};
use super::radix::Radix;
use super::request::{Cancel, Finish, Refused, Request, Sink};
use super::sequence::Sequence;
use super::stats::Stats;
use nurture_model::{Cpu, Decoder, KvCache};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Many sequences at once over one network. Usually owned by the thread of an [`EngineHandle`](super::EngineHandle).
#[derive(Debug)]
pub struct Engine {
    model: Arc<Decoder>,
    cpu: Arc<Cpu>,
    config: EngineConfig,
    gate: Arc<Gate>,
    compute: Compute,
    pages: Pages,
    radix: Radix,
    /// by number
    waiting: VecDeque<Sequence>,
    /// by number, all smaller than those that wait
    running: Vec<Sequence>,
    next: u64,
    /// tokens a second of steps that read, as measured
    pace: Option<f64>,
    stats: Stats,
}

impl Engine {
    /// An engine; memory for keys and values is taken as it is first written.
    pub fn new(model: Arc<Decoder>, cpu: Arc<Cpu>, config: EngineConfig) -> Engine {
        let (pages, longest) = (config.pages(), config.longest(model.config()));
        let cache = KvCache::of(config.kv(), model.config(), pages * PAGE);
        let gate = Arc::new(Gate::new(&config, model.config()));
        let stats = Stats { page_bytes: page_bytes(config.kv(), model.config()), pages, ..Stats::default() };
        Engine {
            compute: Compute::new(config.mode, cache, longest),
            pages: Pages::new(pages),
            radix: Radix::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            next: 0,
            pace: None,
            stats,
            gate,
            model,
            cpu,
            config,
        }
    }

    /// Tokens that the model knows.
    pub fn vocabulary(&self) -> usize {
        self.model.config().vocab
    }

    /// Its bounds.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Takes a request; its events go to `sink` during the following steps.
    ///
    /// # Errors
    /// A prompt that is empty, over-long or can never fit; an adapter of another base; a full queue.
    pub fn submit(&mut self, request: Request, sink: impl Sink + 'static) -> Result<Cancel, Refused> {
        self.gate.enter(&request, self.model.config())?;
        let cancel = Cancel::default();
        self.accept(request, Box::new(sink), cancel.clone());
        Ok(cancel)
    }

    /// Takes a request that has passed the gate.
    pub(crate) fn accept(&mut self, request: Request, sink: Box<dyn Sink>, cancel: Cancel) {
        self.next += 1;
        let seq = Sequence::new(self.next, request, sink, cancel);
        self.waiting.push_back(if self.config.sharing { seq } else { seq.without_sharing() });
    }

    /// Whether there is nothing to do.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// What it did so far.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            pages_free: self.pages.free(),
            pages_kept: self.radix.len(),
            ..self.stats.clone()
        }
    }

    /// Drops all pages that were kept of an adapter which is no longer in service.
    pub fn forget(&mut self, adapter: &Loaded) {
        let generation = adapter.generation();
        self.radix.forget(&mut self.pages, |s| s.generation == generation);
    }

    /// Drops all pages that were kept for later requests.
    pub fn forget_all(&mut self) {
        self.radix.forget(&mut self.pages, |_| true);
    }

    /// One step: one forward pass for everyone who is in it. `false` when nothing is left to do.
    pub fn step(&mut self) -> bool {
        let begin = Instant::now();
        self.reap(begin);
        self.admit();
        let shares = self.plan();
        if !shares.is_empty() {
            let before: Vec<_> = self.running.iter().map(|s| (s.told, s.computed, s.usage.guessed)).collect();
            match self.compute.run(&self.model, &self.cpu, &mut self.running, &shares) {
                Ok(ended) => {
                    self.count(&shares, &before, begin);
                    for s in &mut self.running {
                        s.share(&mut self.radix, &mut self.pages);
                    }
                    for (number, finish) in ended {
                        self.end(number, finish);
                    }
                }
                Err(e) => {
                    for share in &shares {
                        self.end(share.number, Finish::Failed(e.to_string()));
                    }
                }
            }
        }
        !self.idle()
    }

    /// Steps until nothing is left.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Ends everything that runs or waits, and forgets what was computed.
    pub(crate) fn fail_all(&mut self, why: &str) {
        let waiting = std::mem::take(&mut self.waiting);
        for s in std::mem::take(&mut self.running).into_iter().chain(waiting) {
            self.finish(s, Finish::Failed(why.to_string()));
        }
        // nobody knows how far the last step came
        (self.pages, self.radix) = (Pages::new(self.config.pages()), Radix::default());
    }

    fn finish(&mut self, seq: Sequence, finish: Finish) {
        if !seq.started {
            self.gate.leave();
        }
        self.stats.end(&finish);
        self.stats.cached += seq.usage.cached as u64;
        seq.end(&mut self.pages, finish);
    }

    fn end(&mut self, number: u64, finish: Finish) {
        if let Ok(at) = self.running.binary_search_by_key(&number, |s| s.number) {
            let seq = self.running.remove(at);
            self.finish(seq, finish);
        }
    }

    /// Ends those who are cancelled or late.
    fn reap(&mut self, now: Instant) {
        let over: Vec<_> = self.running.iter().filter_map(|s| Some((s.number, s.over(now)?))).collect();
        for (number, finish) in over {
            self.end(number, finish);
        }
        let mut at = 0;
        while at < self.waiting.len() {
            match self.waiting[at].over(now) {
                None => at += 1,
                Some(finish) => {
                    if let Some(seq) = self.waiting.remove(at) {
                        self.finish(seq, finish);
                    }
                }
            }
        }
    }

    /// Lets those in who wait, as far as there is room for what they and all others have still to read.
    fn admit(&mut self) {
        while self.running.len() < self.config.running {
            let Some(seq) = self.waiting.front() else { return };
            if !self.running.is_empty() {
                let known = seq.known(&self.radix);
                let need = pages_of(seq.tokens.len() + 1) - known;
                let promised: usize = self.running.iter().map(|s| s.missing(s.tokens.len() + 1)).sum();
                let mut room = self.pages.free();
                if room < need + promised {
                    room += self.radix.evictable(&self.pages).saturating_sub(known);
                }
                if room < need + promised {
                    return;
                }
            }
            let Some(mut seq) = self.waiting.pop_front() else { return };
            if !seq.started {
                seq.started = true;
                seq.usage.queued = seq.arrived.elapsed();
                self.gate.leave();
                if let Some(finish) = self.begin(&mut seq) {
                    self.finish(seq, finish);
                    continue;
                }
            }
            seq.adopt(&mut self.radix, &mut self.pages);
            self.running.push(seq);
        }
    }

    /// Tells the tokens with which every answer must begin.
    fn begin(&self, seq: &mut Sequence) -> Option<Finish> {
        if seq.most == 0 {
            return None;
        }
        let forced = match guarded(|| seq.picker.begin()) {
            Some(Ok(forced)) => forced,
            Some(Err(e)) => return Some(Finish::of(e)),
            None => return Some(Finish::Failed("the choice of a token panicked".into())),
        };
        let (vocab, room) = (self.model.config().vocab, self.compute.longest - seq.tokens.len());
        if let Some(t) = forced.tokens.iter().find(|&&t| t as usize >= vocab) {
            return Some(Finish::Failed(format!("token {t} is beyond the vocabulary of {vocab}")));
        }
        let over = seq.take(None, forced).or((seq.told >= room).then_some(Finish::Context))?;
        if seq.answered {
            return Some(over);
        }
        // the prompt must be read all the same
        seq.early = Some(over);
        None
    }

    /// Who computes how many tokens. Every share has its pages.
    fn plan(&mut self) -> Vec<Share> {
        let mut shares = Vec::new();
        let mut taken = 0;
        for number in self.numbers(|s| !s.reads()) {
            let Some(at) = self.place(number) else { continue };
            self.guess(at);
            let s = &self.running[at];
            let (tokens, guess) = (s.pending(), s.guess.len());
            if self.make_room(number, s.computed + tokens + guess, &mut shares) {
                shares.push(Share { number, tokens });
                taken += tokens + guess;
            }
        }
        let generating = !shares.is_empty();
        let mut left = self.budget(generating).saturating_sub(taken).max(PAGE);
        for s in &mut self.running {
            if s.reads() {
                s.adopt(&mut self.radix, &mut self.pages);
            }
        }
        let mut readers = self.numbers(Sequence::reads);
        if let [_, others @ ..] = &mut readers[..] {
            let running = &self.running;
            others.sort_by_key(|n| running.iter().find(|s| s.number == *n).map_or(0, Sequence::pending));
        }
        for (i, number) in readers.into_iter().enumerate() {
            let Some(at) = self.place(number) else { continue };
            let s = &self.running[at];
            // the oldest leaves half to the others, if there are others
            let most = if i == 0 && self.running.iter().filter(|s| s.reads()).count() > 1 {
                left.div_ceil(2)
            } else {
                left
            };
            let tokens = to_page(s.computed, s.pending().min(most), s.pending());
            let until = |share: &Share| {
                let other = &self.running[self.place(share.number)?];
                s.will_be_computed_by(other, other.computed + share.tokens).then_some(())
            };
            if tokens == 0 || shares.iter().any(|share| until(share).is_some()) {
                continue;
            }
            if self.make_room(number, s.computed + tokens, &mut shares) {
                shares.push(Share { number, tokens });
                left -= tokens;
            }
            if left == 0 {
                break;
            }
        }
        shares
    }

    fn numbers(&self, which: impl Fn(&Sequence) -> bool) -> Vec<u64> {
        self.running.iter().filter(|s| which(s)).map(|s| s.number).collect()
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.running.binary_search_by_key(&number, |s| s.number).ok()
    }

    /// Asks a sequence's picker for a guess.
    fn guess(&mut self, at: usize) {
        let (vocab, longest) = (self.model.config().vocab, self.compute.longest);
        let s = &mut self.running[at];
        let most = (self.config.guess)
            .min(s.most.saturating_sub(s.told + 1))
            .min(longest - s.tokens.len().min(longest));
        s.guess.clear();
        if most > 0 {
            let (picker, past) = s.picker_and_past();
            let mut guess = guarded(|| picker.guess(past, most)).unwrap_or_default();
            guess.truncate(most);
            if guess.iter().all(|&t| (t as usize) < vocab) {
                s.guess = guess;
            }
        }
    }

    /// Tokens of the next step.
    fn budget(&self, generating: bool) -> usize {
        let time = self.config.step_time.mul_f64(if generating { 1.0 } else { 2.0 });
        let by_time = self.pace.map_or(usize::MAX, |pace| (pace * time.as_secs_f64()) as usize);
        by_time.clamp(PAGE, self.config.step_tokens.max(PAGE))
    }

    /// Gives a sequence the pages for `tokens` tokens, taking them from the tree or from younger ones. `false` where it had
    /// to give way itself.
    fn make_room(&mut self, number: u64, tokens: usize, shares: &mut Vec<Share>) -> bool {
        loop {
            let Some(at) = self.place(number) else { return false };
            let missing = self.running[at].missing(tokens);
            while self.pages.free() < missing && self.radix.evict(&mut self.pages) {}
            if self.pages.free() >= missing {
                let new = (0..missing).filter_map(|_| self.pages.take());
                self.running[at].pages.extend(new);
                return true;
            }
            let Some(mut youngest) = self.running.pop() else { return false };
            shares.retain(|s| s.number != youngest.number);
            youngest.release(&mut self.pages);
            youngest.guess.clear();
            youngest.usage.preempted += 1;
            self.stats.preempted += 1;
            self.waiting.push_front(youngest);
        }
    }

    /// Counts a step; `before`: told, computed and guessed of all that run.
    fn count(&mut self, shares: &[Share], before: &[(usize, usize, (usize, usize))], begin: Instant) {
        for (s, (told, computed, guessed)) in self.running.iter().zip(before) {
            self.stats.generated += (s.told - told) as u64;
            self.stats.read += (s.computed.min(s.prompt) - computed.min(&s.prompt)) as u64;
            self.stats.guessed.0 += (s.usage.guessed.0 - guessed.0) as u64;
            self.stats.guessed.1 += (s.usage.guessed.1 - guessed.1) as u64;
        }
        let took = begin.elapsed();
        self.stats.steps += 1;
        self.stats.busy += took;
        self.stats.last_step = took;
        let tokens: usize = shares.iter().map(|s| s.tokens).sum();
        if tokens >= PAGE {
            let now = tokens as f64 / took.max(Duration::from_micros(1)).as_secs_f64();
            self.pace = Some(self.pace.map_or(now, |pace| 0.8 * pace + 0.2 * now));
        }
    }
}
