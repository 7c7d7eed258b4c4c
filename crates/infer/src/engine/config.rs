//! How large an engine is.

use super::pages::{PAGE, pages_of};
use nurture_model::{Config, KvCache, KvType, Mode};
use std::time::Duration;

/// The bounds of an engine. They change when a request is answered, not what; arithmetic and storage aside.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// arithmetic of the products
    pub mode: Mode,
    /// how keys and values are stored; `None`: as the mode has it ([`Mode::kv`])
    pub kv: Option<KvType>,
    /// tokens whose keys and values fit, in all (rounded up to whole pages)
    pub tokens: usize,
    /// longest sequence, prompt and answer; 0: as long as the model knows
    pub context: usize,
    /// most sequences that run at once
    pub running: usize,
    /// most requests that wait
    pub waiting: usize,
    /// most tokens of a step
    pub step_tokens: usize,
    /// how long a step may take while others generate: prompts are cut so that it does. Bounds the pause between two
    /// tokens, and the time until a cancelled request is gone
    pub step_time: Duration,
    /// most guessed tokens a sequence may put into a step
    pub guess: usize,
    /// whether pages are kept for later requests that begin alike
    pub sharing: bool,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            mode: Mode::Fast,
            kv: None,
            tokens: 32 * 1024,
            context: 0,
            running: 64,
            waiting: 256,
            step_tokens: 256,
            step_time: Duration::from_millis(80),
            guess: 8,
            sharing: true,
        }
    }
}

impl EngineConfig {
    /// As many tokens as fit into `bytes`.
    pub fn within(mut self, model: &Config, bytes: usize) -> EngineConfig {
        self.tokens = (bytes / page_bytes(self.kv(), model)).max(1) * PAGE;
        self
    }

    /// How keys and values are stored.
    pub fn kv(&self) -> KvType {
        self.kv.unwrap_or(self.mode.kv())
    }

    pub(crate) fn pages(&self) -> usize {
        pages_of(self.tokens.max(1))
    }

    /// Longest sequence.
    pub(crate) fn longest(&self, model: &Config) -> usize {
        let own = if self.context == 0 { model.context } else { self.context };
        own.min(self.pages() * PAGE)
    }
}

/// Bytes of a page: keys and values of [`PAGE`] tokens in all layers.
pub(crate) fn page_bytes(kind: KvType, model: &Config) -> usize {
    PAGE * KvCache::token_bytes(kind, model)
}
