//! What an engine did so far and does now.

use super::request::Finish;
use std::time::Duration;

/// Counters from the start on, and the present state. A copy: reading it never waits for a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// steps
    pub steps: u64,
    /// time spent in steps
    pub busy: Duration,
    /// time of the last step
    pub last_step: Duration,
    /// tokens of prompts that were computed
    pub read: u64,
    /// tokens of prompts whose keys were kept from before
    pub cached: u64,
    /// tokens generated
    pub generated: u64,
    /// tokens guessed, and how many of them were right
    pub guessed: (u64, u64),
    /// sequences whose pages were taken away for older ones
    pub preempted: u64,
    /// requests ended by: stop, length, context, cancelled, deadline, failed
    pub ended: [u64; 6],
    /// sequences that run
    pub running: usize,
    /// requests that wait
    pub waiting: usize,
    /// pages of the pool
    pub pages: usize,
    /// pages that nobody holds
    pub pages_free: usize,
    /// pages in the tree of shared beginnings
    pub pages_kept: usize,
    /// bytes of a page
    pub page_bytes: usize,
}

impl Stats {
    pub(crate) fn end(&mut self, finish: &Finish) {
        let which = match finish {
            Finish::Stop => 0,
            Finish::Length => 1,
            Finish::Context => 2,
            Finish::Cancelled => 3,
            Finish::Deadline => 4,
            Finish::Ruled(_) | Finish::Crowded(_) | Finish::Failed(_) => 5,
        };
        self.ended[which] += 1;
    }
}
