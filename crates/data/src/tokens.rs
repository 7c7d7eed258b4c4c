//! Token sequences before training: lengths are made to fit, and a row with nothing to learn from stops the run.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ledger::{Fate, Ledger};

/// One rendered example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenExample {
    /// `file:line`.
    pub id: String,
    /// Index of its source in the ledger.
    pub source: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Same length: whether the token carries loss, that is, whether it is predicted from those before it. The first
    /// token has none before it and never counts.
    pub trained: Vec<bool>,
}

impl TokenExample {
    /// How many tokens carry loss.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().skip(1).filter(|t| **t).count()
    }
}

/// What to do with sequences that are longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLong {
    /// Stop, with the counts.
    #[default]
    Error,
    /// Leave them out, and count them in the ledger.
    Drop,
    /// Cut off the end; stop where the prompt alone fills the limit.
    Cut,
}

/// Which sequences may be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthPolicy {
    /// Longest sequence, in tokens.
    pub max_tokens: usize,
    /// What to do with longer ones.
    pub over_long: OverLong,
    /// Whether rows without one trained token are left out (and counted) rather than stopping the run.
    pub allow_untrained: bool,
}

/// Sequences that stop the run.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Tokens and mask of different length: a fault of the renderer.
    #[error("{id}: {tokens} tokens but {flags} loss flags")]
    Mask {
        /// The row.
        id: String,
        /// Number of tokens.
        tokens: usize,
        /// Number of flags.
        flags: usize,
    },
    /// Rows above the limit under `over_long = "error"`.
    #[error(
        "{count} of {rows} rows are longer than {max_tokens} tokens, the longest {longest} ({ids}); raise \
         train.max_len, or set data.over_long = \"cut\" or \"drop\""
    )]
    TooLong {
        /// How many rows.
        count: usize,
        /// Out of how many.
        rows: usize,
        /// The limit.
        max_tokens: usize,
        /// Tokens of the longest row.
        longest: usize,
        /// The first ids.
        ids: String,
    },
    /// Rows whose prompt alone fills the limit, so that cutting leaves nothing to learn.
    #[error(
        "the prompt alone fills {max_tokens} tokens in {count} of {rows} rows ({ids}), so that cutting leaves nothing \
         to learn; raise train.max_len, shorten the prompts, or set data.over_long = \"drop\""
    )]
    PromptTooLong {
        /// How many rows.
        count: usize,
        /// Out of how many.
        rows: usize,
        /// The limit.
        max_tokens: usize,
        /// The first ids.
        ids: String,
    },
    /// Rows in which no token carries loss.
    #[error(
        "{count} of {rows} rows have no trained token ({ids}): nothing can be learnt from them; give each one \
         an answer, or take it out"
    )]
    Untrained {
        /// How many rows.
        count: usize,
        /// Out of how many.
        rows: usize,
        /// The first ids.
        ids: String,
    },
}

/// The ledger's reason for rows above the limit.
pub const TOO_LONG: &str = "too_long";
/// The ledger's reason for rows in which no token carries loss.
pub const NO_TRAINED_TOKENS: &str = "no_trained_tokens";

/// Applies the policy. On success every sequence has from 2 to `max_tokens` tokens and at least one that is trained,
/// and the ledger says what happened to the others; on an error the ledger is unchanged.
pub fn fit_lengths(
    examples: Vec<TokenExample>,
    policy: LengthPolicy,
    ledger: &mut Ledger,
) -> Result<Vec<TokenExample>, TokenError> {
    fit_groups(examples.into_iter().map(|e| [e]).collect(), policy, ledger)
}

/// The same for rows of several sequences (a pair of answers): what happens to one of them happens to its row, which the
/// ledger counts once. The sequences follow each other in the result.
pub fn fit_groups<const N: usize>(
    rows: Vec<[TokenExample; N]>,
    policy: LengthPolicy,
    ledger: &mut Ledger,
) -> Result<Vec<TokenExample>, TokenError> {
    let count = rows.len();
    let (mut long, mut stuck, mut untrained) = (Vec::new(), Vec::new(), Vec::new());
    let mut longest = 0;
    let mut kept = Vec::with_capacity(N * count);
    let mut moves: Vec<(usize, Fate, String)> = Vec::new();
    for mut row in rows {
        let Some((id, source)) = row.first().map(|e| (e.id.clone(), e.source)) else { continue };
        if let Some(e) = row.iter().find(|e| e.tokens.len() != e.trained.len()) {
            return Err(TokenError::Mask { id, tokens: e.tokens.len(), flags: e.trained.len() });
        }
        if row.iter().any(|e| e.trained_tokens() == 0) {
            moves.push((source, Fate::Dropped(NO_TRAINED_TOKENS.into()), id.clone()));
            untrained.push(id);
            continue;
        }
        let tokens = row.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
        if tokens > policy.max_tokens {
            longest = longest.max(tokens);
            long.push(id.clone());
            if policy.over_long != OverLong::Cut {
                moves.push((source, Fate::Dropped(TOO_LONG.into()), id));
                continue;
            }
            for example in &mut row {
                example.tokens.truncate(policy.max_tokens);
                example.trained.truncate(policy.max_tokens);
            }
            if row.iter().any(|e| e.trained_tokens() == 0) {
                stuck.push(id);
                continue;
            }
            moves.push((source, Fate::Cut, id));
        }
        kept.extend(row);
    }
    let (rows, max_tokens) = (count, policy.max_tokens);
    if !untrained.is_empty() && !policy.allow_untrained {
        return Err(TokenError::Untrained { count: untrained.len(), rows, ids: first_ids(&untrained) });
    }
    if !stuck.is_empty() {
        let ids = first_ids(&stuck);
        return Err(TokenError::PromptTooLong { count: stuck.len(), rows, max_tokens, ids });
    }
    if !long.is_empty() && policy.over_long == OverLong::Error {
        let ids = first_ids(&long);
        return Err(TokenError::TooLong { count: long.len(), rows, max_tokens, longest, ids });
    }
    for (source, fate, id) in moves {
        // False only for rows that this ledger never counted: then there is nothing to move.
        let _moved = ledger.move_used(source, &fate, &id);
    }
    Ok(kept)
}

fn first_ids(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `prompt` tokens without loss, then `answer` tokens with it.
    fn rows(shapes: &[(usize, usize)]) -> (Vec<TokenExample>, Ledger) {
        let mut ledger = Ledger::new(["t.csv"], 3);
        let examples = shapes.iter().enumerate().map(|(at, &(prompt, answer))| {
            let id = format!("t.csv:{}", at + 1);
            ledger.count(0, &Fate::Used, &id);
            let trained = (0..prompt + answer).map(|t| t >= prompt).collect();
            TokenExample { id, source: 0, tokens: vec![1; prompt + answer], trained }
        });
        (examples.collect(), ledger)
    }

    fn policy(over_long: OverLong) -> LengthPolicy {
        LengthPolicy { max_tokens: 10, over_long, allow_untrained: false }
    }

    #[test]
    fn over_long_rows_stop_leave_or_are_cut() {
        let shapes = [(4, 4), (8, 8), (9, 1)];
        let (examples, mut ledger) = rows(&shapes);
        let error = fit_lengths(examples, policy(OverLong::Error), &mut ledger).unwrap_err();
        let expected =
            TokenError::TooLong { count: 1, rows: 3, max_tokens: 10, longest: 16, ids: "t.csv:2".into() };
        assert_eq!(error, expected);
        assert_eq!(ledger.sources[0].used, 3, "an error leaves the ledger as it was");

        let (examples, mut ledger) = rows(&shapes);
        assert_eq!(fit_lengths(examples, policy(OverLong::Drop), &mut ledger).unwrap().len(), 2);
        assert_eq!(ledger.sources[0].dropped[TOO_LONG], 1);
        assert!(ledger.adds_up());

        let (examples, mut ledger) = rows(&shapes);
        let kept = fit_lengths(examples, policy(OverLong::Cut), &mut ledger).unwrap();
        assert_eq!((kept[1].tokens.len(), kept[1].trained_tokens()), (10, 2));
        assert_eq!((ledger.sources[0].used, ledger.sources[0].cut), (2, 1));
        assert!(ledger.adds_up());
    }

    #[test]
    fn a_pair_is_dropped_or_cut_as_one_row() {
        // chosen and rejected of three rows; the second row's rejected answer is too long
        let shapes = [(4, 4), (4, 5), (4, 4), (4, 9), (4, 2), (4, 3)];
        let pairs = || {
            let (examples, _) = rows(&shapes);
            let mut ledger = Ledger::new(["t.csv"], 3);
            let mut examples = examples.into_iter();
            let mut pairs = Vec::new();
            while let (Some(mut a), Some(mut b)) = (examples.next(), examples.next()) {
                let id = format!("t.csv:{}", pairs.len() + 1);
                ledger.count(0, &Fate::Used, &id);
                (a.id, b.id) = (id.clone(), id);
                pairs.push([a, b]);
            }
            (pairs, ledger)
        };
        let (all, mut ledger) = pairs();
        let error = fit_groups(all, policy(OverLong::Error), &mut ledger).unwrap_err();
        assert!(
            matches!(&error, TokenError::TooLong { count: 1, rows: 3, longest: 13, ids, .. } if ids == "t.csv:2")
        );
        let (all, mut ledger) = pairs();
        let kept = fit_groups(all, policy(OverLong::Drop), &mut ledger).unwrap();
        assert_eq!(
            kept.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(),
            ["t.csv:1", "t.csv:1", "t.csv:3", "t.csv:3"]
        );
        assert_eq!((ledger.sources[0].used, ledger.sources[0].dropped[TOO_LONG]), (2, 1));
        assert!(ledger.adds_up());
        let (all, mut ledger) = pairs();
        let kept = fit_groups(all, policy(OverLong::Cut), &mut ledger).unwrap();
        assert_eq!((kept.len(), kept[3].tokens.len(), ledger.sources[0].cut), (6, 10, 1));
        assert!(ledger.adds_up());
    }

    #[test]
    fn cutting_never_leaves_a_row_without_its_answer() {
        let (examples, mut ledger) = rows(&[(12, 4), (4, 4)]);
        let error = fit_lengths(examples, policy(OverLong::Cut), &mut ledger).unwrap_err();
        let expected = TokenError::PromptTooLong { count: 1, rows: 2, max_tokens: 10, ids: "t.csv:1".into() };
        assert_eq!(error, expected);
    }

    #[test]
    fn rows_with_nothing_to_learn_stop_the_run() {
        // The third has one flag, on a first token that nothing predicts.
        let (examples, mut ledger) = rows(&[(4, 4), (4, 0), (0, 1), (0, 0)]);
        let error = fit_lengths(examples.clone(), policy(OverLong::Error), &mut ledger).unwrap_err();
        assert_eq!(
            error,
            TokenError::Untrained { count: 3, rows: 4, ids: "t.csv:2, t.csv:3, t.csv:4".into() }
        );
        let allowed = LengthPolicy { allow_untrained: true, ..policy(OverLong::Error) };
        assert_eq!(fit_lengths(examples, allowed, &mut ledger).unwrap().len(), 1);
        assert_eq!(ledger.sources[0].dropped[NO_TRAINED_TOKENS], 3);
        assert!(ledger.adds_up());
    }
}
