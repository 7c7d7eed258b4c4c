//! A request on its way: its tokens, its pages, where it stands in the tree of shared pages.

use super::adapters::Loaded;
use super::compute::guarded;
use super::pages::{PAGE, Page, Pages, pages_of};
use super::picker::{Forced, Past, Picker};
use super::radix::{NodeId, Radix, Space};
use super::request::{Cancel, Event, Finish, Pooling, Request, Sink, Usage};
use crate::Pick;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Sequence {
    /// order of arrival
    pub(crate) number: u64,
    /// prompt, then what was generated or forced
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// tokens whose keys stand in `pages`
    pub(crate) computed: usize,
    pub(crate) pages: Vec<Page>,
    /// the first so many pages stand in the tree too, the last of them at `place`
    shared: usize,
    place: Option<NodeId>,
    /// whether the tree may still be asked and filled
    sharing: bool,
    pub(crate) space: Space,
    pub(crate) adapter: Option<Arc<Loaded>>,
    pub(crate) picker: Box<dyn Picker>,
    sink: Box<dyn Sink>,
    cancel: Cancel,
    pub(crate) deadline: Option<Instant>,
    /// generated tokens that were told
    pub(crate) told: usize,
    pub(crate) most: usize,
    pub(crate) wanted_scores: Option<usize>,
    pub(crate) hidden: Option<Pooling>,
    /// rows of the prompt that scores and hidden state have already seen
    pub(crate) seen: usize,
    pub(crate) scores: Vec<Pick>,
    pub(crate) mean: Vec<f64>,
    /// whether scores and hidden state were sent
    pub(crate) answered: bool,
    /// the guess that goes through the network in this step
    pub(crate) guess: Vec<u32>,
    /// how it ends when its prompt has been read: its text was forced
    pub(crate) early: Option<Finish>,
    pub(crate) arrived: Instant,
    pub(crate) started: bool,
    pub(crate) usage: Usage,
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, prompt, all, done) = (self.number, self.prompt, self.tokens.len(), self.computed);
        write!(f, "Sequence({n}: {prompt} of {all} tokens are prompt, {done} computed)")
    }
}

impl Sequence {
    pub(crate) fn new(number: u64, request: Request, sink: Box<dyn Sink>, cancel: Cancel) -> Sequence {
        let generation = request.adapter.as_ref().map_or(0, |a| a.generation());
        let prompt = request.prompt.len();
        Sequence {
            number,
            prompt,
            tokens: request.prompt,
            computed: 0,
            pages: Vec::new(),
            shared: 0,
            place: None,
            // every row of the prompt is wanted where it is scored: nothing can be taken over
            sharing: request.scores.is_none() && request.hidden != Some(Pooling::Mean),
            space: Space { generation, tenant: request.tenant },
            adapter: request.adapter,
            picker: request.picker,
            sink,
            cancel,
            deadline: request.deadline,
            told: 0,
            most: request.most,
            wanted_scores: request.scores,
            hidden: request.hidden,
            seen: 0,
            scores: Vec::new(),
            mean: Vec::new(),
            answered: request.scores.is_none() && request.hidden.is_none(),
            guess: Vec::new(),
            early: None,
            arrived: Instant::now(),
            started: false,
            usage: Usage { prompt, ..Usage::default() },
        }
    }

    pub(crate) fn without_sharing(mut self) -> Sequence {
        self.sharing = false;
        self
    }

    /// Known tokens that have no keys yet.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether it reads its prompt (or reads all of it again) rather than continues.
    pub(crate) fn reads(&self) -> bool {
        self.computed < self.prompt || self.pending() > PAGE
    }

    pub(crate) fn picker_and_past(&mut self) -> (&mut dyn Picker, Past<'_>) {
        let past = Past { prompt: &self.tokens[..self.prompt], text: &self.tokens[self.prompt..] };
        (&mut *self.picker, past)
    }

    /// Why it must end now, if it must.
    pub(crate) fn over(&self, now: Instant) -> Option<Finish> {
        if self.cancel.is_set() {
            return Some(Finish::Cancelled);
        }
        self.deadline.is_some_and(|d| d <= now).then_some(Finish::Deadline)
    }

    /// Tells an event; a receiver that wants no more, or panics, cancels.
    pub(crate) fn tell(&mut self, event: Event) {
        if !guarded(|| self.sink.put(event)).unwrap_or(false) {
            self.cancel.cancel();
        }
    }

    /// Appends a choice and what must follow it, and tells of both.
    pub(crate) fn take(&mut self, pick: Option<Pick>, forced: Forced) -> Option<Finish> {
        for pick in pick.into_iter().chain(forced.tokens.into_iter().map(Pick::bare)) {
            if self.told == self.most {
                return Some(Finish::Length);
            }
            self.told += 1;
            self.tokens.push(pick.token);
            let now = self.arrived.elapsed();
            self.usage.first.get_or_insert(now);
            self.tell(Event::Token(pick));
        }
        match () {
            () if forced.last => Some(Finish::Stop),
            () if self.told == self.most => Some(Finish::Length),
            () => None,
        }
    }

    /// Ends it: tells so and gives its pages back.
    pub(crate) fn end(mut self, pages: &mut Pages, finish: Finish) {
        self.release(pages);
        self.usage.generated = self.told;
        self.usage.began = self.started;
        self.usage.total = self.arrived.elapsed();
        let usage = self.usage;
        self.tell(Event::Done(finish, usage));
    }

    /// Gives all pages back; what was computed is forgotten, unless the tree still has it.
    pub(crate) fn release(&mut self, pages: &mut Pages) {
        for page in self.pages.drain(..) {
            pages.release(page);
        }
        (self.computed, self.shared, self.place) = (0, 0, None);
    }

    /// Takes over pages that the tree has for the next tokens. At least the last token stays to be computed.
    pub(crate) fn adopt(&mut self, radix: &mut Radix, pages: &mut Pages) {
        while self.in_step_with_tree() && self.computed + PAGE < self.tokens.len() {
            let next = &self.tokens[self.computed..][..PAGE];
            let Some((node, page)) = radix.next(self.space, self.place, next) else { return };
            pages.hold(page);
            // pages taken for these rows before are not needed
            if let Some(own) = self.pages.get_mut(self.shared) {
                pages.release(std::mem::replace(own, page));
            } else {
                self.pages.push(page);
            }
            self.place = Some(node);
            self.shared += 1;
            self.computed += PAGE;
            if self.computed <= self.prompt && self.usage.preempted == 0 {
                self.usage.cached += PAGE;
            }
        }
    }

    fn in_step_with_tree(&self) -> bool {
        self.sharing && self.computed == self.shared * PAGE
    }

    /// Whether `other`, which computes its tokens up to `until` in this step, computes this one's next page.
    pub(crate) fn will_be_computed_by(&self, other: &Sequence, until: usize) -> bool {
        let end = self.computed + PAGE;
        self.in_step_with_tree()
            && other.sharing
            && (self.space, self.shared, self.place) == (other.space, other.shared, other.place)
            && end < self.tokens.len()
            && end <= until
            && self.tokens[self.computed..end] == other.tokens[self.computed..end]
    }

    /// Pages that the tree has for its tokens.
    pub(crate) fn known(&self, radix: &Radix) -> usize {
        match self.sharing {
            true => radix.depth(self.space, &self.tokens[..self.tokens.len().saturating_sub(1)]),
            false => 0,
        }
    }

    /// Puts whole computed pages into the tree.
    pub(crate) fn share(&mut self, radix: &mut Radix, pages: &mut Pages) {
        while self.sharing && (self.shared + 1) * PAGE <= self.computed {
            let own = self.pages[self.shared];
            let tokens = &self.tokens[self.shared * PAGE..][..PAGE];
            let Some((node, page)) = radix.insert(pages, self.space, self.place, tokens, own) else {
                self.sharing = false; // its place is gone: the adapter was replaced
                return;
            };
            if page != own {
                // another computed the same beside it: one copy is enough
                pages.hold(page);
                self.pages[self.shared] = page;
                pages.release(own);
            }
            self.place = Some(node);
            self.shared += 1;
        }
    }

    /// Pages still missing for `tokens` tokens in all.
    pub(crate) fn missing(&self, tokens: usize) -> usize {
        pages_of(tokens).saturating_sub(self.pages.len())
    }

    /// The rows of its first `tokens` keys, as spans want them.
    pub(crate) fn keys(&self, tokens: usize) -> Vec<(usize, usize)> {
        let mut keys: Vec<(usize, usize)> = Vec::with_capacity(pages_of(tokens));
        for (i, &page) in self.pages.iter().enumerate().take(pages_of(tokens)) {
            let (row, count) = (page as usize * PAGE, PAGE.min(tokens - i * PAGE));
            match keys.last_mut() {
                Some(last) if last.0 + last.1 == row => last.1 += count,
                _ => keys.push((row, count)),
            }
        }
        keys
    }
}
