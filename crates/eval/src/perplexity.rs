//! Perplexity of a text under one model, and of base against tuned on the same windows.

use serde::{Deserialize, Serialize};

use crate::stats::{Bootstrap, Interval, PairedMean, finite};
use crate::{EvalError, Gain, Mode, Model, WindowScheme};

/// What one window gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowNll {
    /// Scored tokens.
    pub tokens: usize,
    /// Bytes of the text of the scored tokens.
    pub bytes: usize,
    /// Sum of the scored tokens' negative log-likelihoods, nats.
    pub nll: f64,
}

/// Perplexity of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerplexityResult {
    /// Name of the text.
    pub name: String,
    /// How the forward pass computed.
    pub mode: Mode,
    /// Whose perplexity it is.
    pub model: Model,
    /// How the text was cut.
    pub windows: WindowScheme,
    /// SHA-256 of the whole text, where whoever had it read says so.
    #[serde(default)]
    pub text_sha256: Option<String>,
    /// Scored tokens.
    pub tokens_scored: usize,
    /// Bytes of the text of the scored tokens.
    pub bytes: usize,
    /// Sum of all negative log-likelihoods, nats.
    pub nll_sum: f64,
    /// `exp(nll_sum / tokens_scored)`. Compares only between models with the same tokenizer.
    pub ppl: f64,
    /// `nll_sum / ln 2 / bytes`: compares between tokenizers. `None` if no bytes were counted.
    pub bits_per_byte: Option<f64>,
    /// Every window, in order of the text.
    pub per_window: Vec<WindowNll>,
    /// How long it took.
    pub seconds: f64,
}

impl PerplexityResult {
    /// Sums up what the windows gave.
    ///
    /// # Errors
    /// No windows; a window without tokens; a loss that is negative, NaN or so large that the perplexity overflows.
    pub fn new(
        name: impl Into<String>,
        mode: Mode,
        model: Model,
        windows: WindowScheme,
        per_window: Vec<WindowNll>,
        seconds: f64,
    ) -> Result<Self, EvalError> {
        const WHAT: &str = "perplexity";
        let bad = |index: usize, value: f64, range| EvalError::OutOfRange { what: WHAT, index, value, range };
        if per_window.is_empty() {
            return Err(EvalError::Empty { what: WHAT });
        }
        for (i, w) in per_window.iter().enumerate() {
            if w.tokens == 0 {
                return Err(bad(i, 0.0, "one scored token or more"));
            }
            if !(w.nll.is_finite() && w.nll >= 0.0) {
                return Err(bad(i, w.nll, "[0, ∞)"));
            }
        }
        let tokens_scored = per_window.iter().map(|w| w.tokens).sum();
        let bytes: usize = per_window.iter().map(|w| w.bytes).sum();
        let nll_sum: f64 = per_window.iter().map(|w| w.nll).sum();
        let ppl = (nll_sum / tokens_scored as f64).exp();
        if !ppl.is_finite() {
            return Err(bad(0, nll_sum / tokens_scored as f64, "losses whose exponential is finite"));
        }
        let bits_per_byte = (bytes > 0).then(|| nll_sum / std::f64::consts::LN_2 / bytes as f64);
        Ok(PerplexityResult {
            name: name.into(),
            mode,
            model,
            windows,
            text_sha256: None,
            tokens_scored,
            bytes,
            nll_sum,
            ppl,
            bits_per_byte,
            per_window,
            seconds,
        })
    }
}

/// Perplexity of base and tuned on the same windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerplexityComparison {
    /// Name of the text.
    pub name: String,
    /// How both forward passes computed.
    pub mode: Mode,
    /// Number of windows.
    pub windows: usize,
    /// Scored tokens.
    pub tokens_scored: usize,
    /// Perplexity of the base.
    pub base: f64,
    /// Perplexity of the tuned model.
    pub tuned: f64,
    /// Bits per byte of the base.
    pub base_bits_per_byte: Option<f64>,
    /// Bits per byte of the tuned model.
    pub tuned_bits_per_byte: Option<f64>,
    /// `tuned / base`: above 1 the tuned model knows the text less well.
    pub ratio: f64,
    /// 95 % interval of the ratio. Windows are resampled as pairs and weighted by their tokens; neighbouring windows
    /// are taken as independent, which is nearly so for differences of two models.
    pub ratio_ci: Interval,
    /// Difference per window of the mean loss of a token (nats), each window counting the same; with its p-value.
    pub loss: PairedMean,
}

impl PerplexityComparison {
    /// What a verdict goes by on a text of the field: the fall of the mean loss of a token, nats.
    pub fn gain(&self) -> Gain {
        let ci = Interval { low: -self.ratio_ci.high.ln(), high: -self.ratio_ci.low.ln() };
        Gain { diff: -self.ratio.ln(), ci, p: self.loss.p }
    }

    /// Rise of the bits per byte relative to the base (0.05 is 5 % worse): that of the loss, as both read the same bytes.
    pub fn rise(&self) -> f64 {
        self.ratio.ln() / self.base.ln()
    }

    /// Compares two results on the same text.
    ///
    /// # Errors
    /// Another text, mode, scheme or number of tokens in a window; figures that are not finite.
    pub fn new(
        base: &PerplexityResult,
        tuned: &PerplexityResult,
        bootstrap: Bootstrap,
    ) -> Result<Self, EvalError> {
        crate::same("name of the text", &base.name, &tuned.name)?;
        crate::same("text", &base.text_sha256, &tuned.text_sha256)?;
        crate::same("mode", &base.mode, &tuned.mode)?;
        crate::same("window scheme", &base.windows, &tuned.windows)?;
        crate::same("number of windows", &base.per_window.len(), &tuned.per_window.len())?;
        for (b, t) in base.per_window.iter().zip(&tuned.per_window) {
            crate::same("scored tokens of a window", &b.tokens, &t.tokens)?;
        }
        let tokens: Vec<f64> = base.per_window.iter().map(|w| w.tokens as f64).collect();
        let nll = |r: &PerplexityResult| r.per_window.iter().map(|w| w.nll).collect::<Vec<f64>>();
        let (nll_base, nll_tuned) = (nll(base), nll(tuned));
        let difference: Vec<f64> = nll_base.iter().zip(&nll_tuned).map(|(b, t)| t - b).collect();
        let log_ratio = bootstrap.ratio(&difference, &tokens)?;
        let mean = |nll: &[f64]| nll.iter().zip(&tokens).map(|(l, n)| l / n).collect::<Vec<f64>>();
        let ratio = (difference.iter().sum::<f64>() / tokens.iter().sum::<f64>()).exp();
        let ratio_ci = Interval { low: log_ratio.low.exp(), high: log_ratio.high.exp() };
        finite("perplexity ratio", &[ratio, ratio_ci.low, ratio_ci.high])?;
        Ok(PerplexityComparison {
            name: base.name.clone(),
            mode: base.mode,
            windows: tokens.len(),
            tokens_scored: base.tokens_scored,
            base: base.ppl,
            tuned: tuned.ppl,
            base_bits_per_byte: base.bits_per_byte,
            tuned_bits_per_byte: tuned.bits_per_byte,
            ratio,
            ratio_ci,
            loss: bootstrap.paired_mean(&mean(&nll_base), &mean(&nll_tuned))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn result(role: Role, windows: &[(usize, usize, f64)]) -> Result<PerplexityResult, EvalError> {
        let per_window =
            windows.iter().map(|&(tokens, bytes, nll)| WindowNll { tokens, bytes, nll }).collect();
        let scheme = WindowScheme::Strided { n_ctx: 512 };
        PerplexityResult::new("general", Mode::Exact, Model::new(role, "m"), scheme, per_window, 0.5)
    }

    #[test]
    fn a_uniform_guess_has_the_perplexity_of_its_choices() {
        // 30 tokens, each one of 16: 4 bits a token over 60 bytes
        let r = result(Role::Base, &[(10, 20, 10.0 * 16f64.ln()), (20, 40, 20.0 * 16f64.ln())]).unwrap();
        assert!((r.ppl - 16.0).abs() < 1e-9);
        assert!((r.bits_per_byte.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!((r.tokens_scored, r.bytes), (30, 60));
        assert_eq!(result(Role::Base, &[(10, 0, 1.0)]).unwrap().bits_per_byte, None);
    }

    #[test]
    fn broken_windows_are_refused() {
        assert!(matches!(result(Role::Base, &[]), Err(EvalError::Empty { .. })));
        for w in [(0, 1, 1.0), (1, 1, f64::NAN), (1, 1, -0.1), (1, 1, 1e6)] {
            assert!(matches!(result(Role::Base, &[w]), Err(EvalError::OutOfRange { .. })), "{w:?}");
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_perplexities() {
        let base: Vec<_> =
            (0..40).map(|i| (50 + i, 100, (50 + i) as f64 * (2.0 + 0.01 * i as f64))).collect();
        let worse: Vec<_> = base.iter().map(|&(n, b, l)| (n, b, l + n as f64 * 1.2f64.ln())).collect();
        let (b, t) = (result(Role::Base, &base).unwrap(), result(Role::Tuned, &worse).unwrap());
        let c = PerplexityComparison::new(&b, &t, Bootstrap::default()).unwrap();
        assert!((c.ratio - t.ppl / b.ppl).abs() < 1e-9);
        // the same on every window, so nothing is uncertain
        assert!((c.ratio_ci.low - 1.2).abs() < 1e-9 && (c.ratio_ci.high - 1.2).abs() < 1e-9);
        assert!((c.loss.diff - 1.2f64.ln()).abs() < 1e-9 && c.loss.p < 0.001);
        let same = PerplexityComparison::new(&b, &b, Bootstrap::default()).unwrap();
        assert_eq!((same.ratio, same.loss.p), (1.0, 1.0));
    }

    #[test]
    fn other_windows_do_not_compare() {
        let b = result(Role::Base, &[(10, 20, 30.0)]).unwrap();
        let t = result(Role::Tuned, &[(11, 20, 30.0)]).unwrap();
        let e = PerplexityComparison::new(&b, &t, Bootstrap::default()).unwrap_err();
        assert!(matches!(e, EvalError::Incomparable { field: "scored tokens of a window", .. }));
    }
}
