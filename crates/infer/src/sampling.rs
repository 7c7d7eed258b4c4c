//! How tokens are chosen: the settings of a request.

/// Lowest temperature at which anything but the best token is drawn; what logits are divided by must not leave float32.
pub const COLDEST: f32 = 1e-6;

/// How to choose a token. The steps, in this order, on one row of logits:
///
/// 1. tokens that a constraint forbids are taken out;
/// 2. `logit_bias` is added (OpenAI's `logit_bias`);
/// 3. the repetition penalty (Keskar et al. 2019, as llama.cpp and vLLM have it): logits of recent tokens are divided by it where
///    positive, multiplied where negative;
/// 4. `frequency_penalty · count + presence_penalty` is taken off the logit of each token of the history (OpenAI's definition);
/// 5. logits are divided by `temperature`;
/// 6. `top_k`; of what is left `top_p` (Holtzman et al. 2019); of that `min_p` (Nguyen et al. 2024). Each looks at probabilities
///    after the temperature, as OpenAI, vLLM and transformers do (llama.cpp divides by the temperature last);
/// 7. one draw from what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 (or below [`COLDEST`]): always the best token; else logits are divided by it
    pub temperature: f32,
    /// only the best so many tokens (0: all)
    pub top_k: usize,
    /// only the best tokens whose probabilities add up to this much (1: all)
    pub top_p: f32,
    /// only tokens at least this fraction as likely as the best (0: all)
    pub min_p: f32,
    /// logits of recent tokens are divided (or multiplied, below 0) by this (1: off)
    pub repeat_penalty: f32,
    /// how many recent tokens that concerns
    pub repeat_window: usize,
    /// taken off the logit of every token that the history has (0: off)
    pub presence_penalty: f32,
    /// taken off the logit of a token for each time that the history has it (0: off)
    pub frequency_penalty: f32,
    /// added to the logits of these tokens
    pub logit_bias: Vec<(u32, f32)>,
    /// `Some(n)`: tell the log-probability of each chosen token and the `n` likeliest tokens in its place
    pub logprobs: Option<usize>,
    /// seed of the choice
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_window: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Whether the choice looks at the tokens before.
    pub fn looks_back(&self) -> bool {
        self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// A chosen token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pick {
    /// the token
    pub token: u32,
    /// `ln p(token)` as the model gives it: over the whole vocabulary at temperature 1, before penalties, bias, filters and
    /// constraint. Only where [`Sampling::logprobs`] asks
    pub log_probability: Option<f32>,
    /// the likeliest tokens in its place with their log-probabilities, best first
    pub top: Vec<(u32, f32)>,
}

impl Pick {
    /// A token without figures.
    pub fn bare(token: u32) -> Pick {
        Pick { token, ..Pick::default() }
    }
}
