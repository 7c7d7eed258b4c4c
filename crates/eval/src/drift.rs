//! How far a tuned model has moved from its base where nobody asked it to: on the base's own answers to general prompts.
//!
//! The base answers; then both read what it said. At each token of an answer `KL(base ‖ tuned)` says how differently they
//! would go on (0: not at all), and their perplexities say how well each expects what the base said. No right answers are
//! needed, so no public exam is: what was lost shows even where no exam looks.

use serde::{Deserialize, Serialize};

use crate::stats::{Bootstrap, Interval};
use crate::{EvalError, Mode, Model};

/// One prompt with the base's answer, read by both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftItem {
    /// Unique among the prompts.
    pub id: String,
    /// The ability that it asks for.
    pub group: String,
    /// What was asked.
    pub prompt: String,
    /// What the base answered.
    pub answer: String,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Sum of `KL(base ‖ tuned)` over them, nats.
    pub kl: f64,
    /// Sum of their negative log-likelihoods under the base, nats.
    pub base_nll: f64,
    /// The same under the tuned model.
    pub tuned_nll: f64,
    /// Tokens that the tuned model finds most likely too.
    pub agree: usize,
}

/// One ability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftGroup {
    /// Its name.
    pub group: String,
    /// Prompts.
    pub prompts: usize,
    /// Tokens of their answers.
    pub tokens: usize,
    /// Mean `KL(base ‖ tuned)` a token, nats.
    pub kl: f64,
    /// Share of tokens on which both agree.
    pub agree: f64,
}

/// All prompts of one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Name of the set.
    pub name: String,
    /// How both forward passes computed.
    pub mode: Mode,
    /// The base.
    pub base: Model,
    /// The tuned model.
    pub tuned: Model,
    /// Tokens of all answers.
    pub tokens: usize,
    /// Mean `KL(base ‖ tuned)` a token, nats.
    pub kl: f64,
    /// Its 95 % interval; answers are resampled.
    pub kl_ci: Interval,
    /// Perplexity of the base on its own answers.
    pub base_ppl: f64,
    /// Perplexity of the tuned model on them.
    pub tuned_ppl: f64,
    /// Share of tokens that the tuned model would have said too.
    pub agree: f64,
    /// By ability, in the order of the prompts.
    pub groups: Vec<DriftGroup>,
    /// Every prompt.
    pub items: Vec<DriftItem>,
}

impl Drift {
    /// Sums up what the prompts gave.
    ///
    /// # Errors
    /// No prompts; an answer without tokens; a figure that is no number or below zero.
    pub fn new(name: &str, base: Model, tuned: Model, items: Vec<DriftItem>) -> Result<Drift, EvalError> {
        const WHAT: &str = "divergence";
        for (index, i) in items.iter().enumerate() {
            let bad = |value| EvalError::OutOfRange { what: WHAT, index, value, range: "[0, ∞)" };
            if let Some(&value) =
                [i.kl, i.base_nll, i.tuned_nll].iter().find(|v| !(v.is_finite() && **v >= 0.0))
            {
                return Err(bad(value));
            }
            if i.tokens == 0 {
                return Err(EvalError::Empty { what: WHAT });
            }
        }
        let sum = |of: &dyn Fn(&DriftItem) -> f64| items.iter().map(of).sum::<f64>();
        let tokens: usize = items.iter().map(|i| i.tokens).sum();
        if tokens == 0 {
            return Err(EvalError::Empty { what: WHAT });
        }
        let each = |of: &dyn Fn(&DriftItem) -> f64| items.iter().map(of).collect::<Vec<f64>>();
        let kl_ci = Bootstrap::default().ratio(&each(&|i| i.kl), &each(&|i| i.tokens as f64))?;
        let mut names: Vec<&str> = Vec::new();
        for i in &items {
            if !names.contains(&i.group.as_str()) {
                names.push(&i.group);
            }
        }
        let groups = names
            .into_iter()
            .map(|name| {
                let of: Vec<&DriftItem> = items.iter().filter(|i| i.group == name).collect();
                let tokens: usize = of.iter().map(|i| i.tokens).sum();
                DriftGroup {
                    group: name.to_string(),
                    prompts: of.len(),
                    tokens,
                    kl: of.iter().map(|i| i.kl).sum::<f64>() / tokens as f64,
                    agree: of.iter().map(|i| i.agree).sum::<usize>() as f64 / tokens as f64,
                }
            })
            .collect();
        let n = tokens as f64;
        Ok(Drift {
            name: name.to_string(),
            mode: Mode::Exact,
            base,
            tuned,
            tokens,
            kl: sum(&|i| i.kl) / n,
            kl_ci,
            base_ppl: (sum(&|i| i.base_nll) / n).exp(),
            tuned_ppl: (sum(&|i| i.tuned_nll) / n).exp(),
            agree: items.iter().map(|i| i.agree).sum::<usize>() as f64 / n,
            groups,
            items,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn item(group: &str, tokens: usize, kl: f64) -> DriftItem {
        DriftItem {
            id: format!("{group}{tokens}"),
            group: group.into(),
            prompt: "p".into(),
            answer: "a".into(),
            tokens,
            kl,
            base_nll: tokens as f64 * 2f64.ln(),
            tuned_nll: tokens as f64 * 4f64.ln(),
            agree: tokens / 2,
        }
    }

    #[test]
    fn tokens_weigh_the_same() {
        let models = || (Model::new(Role::Base, "m"), Model::new(Role::Tuned, "m"));
        let of = |items| {
            let (b, t) = models();
            Drift::new("general", b, t, items)
        };
        let d = of(vec![item("code", 10, 1.0), item("facts", 30, 9.0), item("code", 20, 2.0)]).unwrap();
        assert!((d.kl - 12.0 / 60.0).abs() < 1e-12 && d.kl_ci.low <= d.kl && d.kl <= d.kl_ci.high);
        assert!((d.base_ppl - 2.0).abs() < 1e-12 && (d.tuned_ppl - 4.0).abs() < 1e-12 && d.agree == 0.5);
        let groups: Vec<_> = d.groups.iter().map(|g| (g.group.as_str(), g.prompts, g.tokens)).collect();
        assert_eq!(groups, [("code", 2, 30), ("facts", 1, 30)]);
        assert!((d.groups[0].kl - 0.1).abs() < 1e-12);
        assert!(matches!(of(vec![]), Err(EvalError::Empty { .. })));
        assert!(of(vec![item("code", 0, 0.0)]).is_err() && of(vec![item("code", 3, f64::NAN)]).is_err());
    }
}
