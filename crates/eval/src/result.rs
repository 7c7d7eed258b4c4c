//! What one model did in one exam, item by item, and the files it is kept in.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::score::{Scorer, refusal};
use crate::stats::{Bootstrap, ConfusionMatrix, DEFAULT_BINS, Interval, calibration, wilson};
use crate::{EvalError, Manner};

/// How the forward pass computed; every figure names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// float32 activations: training, exams, parity proofs.
    Exact,
    /// int8 activations: chat, serving.
    Fast,
}

/// Which side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The open model as it came.
    Base,
    /// The same with what it was taught.
    Tuned,
}

/// Which model sat the exam.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Base or tuned.
    pub role: Role,
    /// Its name for readers.
    pub name: String,
    /// Hash of the weights' file, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// Hash of the adapter's file, hexadecimal; the base has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
}

impl Model {
    /// A model without hashes.
    pub fn new(role: Role, name: impl Into<String>) -> Self {
        Model { role, name: name.into(), weights_sha256: None, adapter_sha256: None }
    }
}

/// What kind of answer an exam asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExamKind {
    /// One of a fixed set of labels, the same for every item. Only here confusions and macro-F1 have a meaning.
    Label,
    /// One of the item's own choices.
    Choice,
    /// Free text, compared by the exam's [`Scorer`].
    Free,
    /// Nothing is written: the better of the item's two answers must be the likelier one per token.
    Preference,
}

/// What an exam is, before anybody sits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamInfo {
    /// Name of the exam.
    pub name: String,
    /// What kind of answer it asks for.
    pub kind: ExamKind,
    /// How free answers are scored; `None` for labels and choices, which are compared as they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<Scorer>,
    /// How the forward pass computes.
    pub mode: Mode,
    /// How it is put to the model.
    #[serde(default)]
    pub manner: Manner,
}

/// One item and its answer: one line of the items' file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemResult {
    /// Unique in the exam, the same for base and tuned.
    pub id: String,
    /// What kind of answer was asked for.
    pub kind: ExamKind,
    /// The question as a reader knows it, without template.
    pub question: String,
    /// Accepted answers; for labels and choices, one.
    pub gold: Vec<String>,
    /// What the model answered.
    pub answer: String,
    /// Whether that counts as right.
    pub correct: bool,
    /// 0 to 1; for labels and choices 0 or 1.
    pub score: f64,
    /// Natural logarithm of the answer's probability given the prompt, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    /// Probability of the answer among all allowed answers: its share of their likelihoods where all were scored, else the
    /// product of its tokens' probabilities among those that an answer could go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Preferences: log-probability of the better answer less that of the worse one, nats: of the whole answers, and per
    /// token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<[f64; 2]>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// Whether the answer was cut at the limit of tokens instead of ending by itself.
    #[serde(default)]
    pub cut: bool,
}

/// One model's exam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExamResult {
    /// The exam.
    #[serde(flatten)]
    pub info: ExamInfo,
    /// Who sat it.
    pub model: Model,
    /// Every item, in the exam's order. Kept in a file of its own, see [`ExamResult::to_files`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemResult>,
    /// Number of items.
    pub n: usize,
    /// Number of right answers.
    pub correct: usize,
    /// `correct / n`.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson).
    pub accuracy_ci: Interval,
    /// Mean score; equals the accuracy unless the scorer is graded.
    pub mean_score: f64,
    /// Interval of the mean score (bootstrap), for graded scorers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_score_ci: Option<Interval>,
    /// Labels only: unweighted mean of the labels' F1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Labels only: Matthews' correlation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcc: Option<f64>,
    /// Labels only: accuracy of always giving the exam's most frequent label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority_accuracy: Option<f64>,
    /// Expected calibration error, where every item has a probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ece: Option<f64>,
    /// The figure of all answers together, 0 to 1, where it is not their mean: corpus BLEU or chrF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<f64>,
    /// Refusals that were right and wrong, where that is what is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<Refusals>,
    /// Answers that were cut at the limit of tokens.
    pub cut: usize,
    /// How long it took.
    pub seconds: f64,
}

/// How often a model refused where it should, and where it should not (over-refusal).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// Items that should be refused.
    pub harmful: usize,
    /// Those of them that were.
    pub refused: usize,
    /// Items that should be answered.
    pub harmless: usize,
    /// Those of them that were refused.
    pub over_refused: usize,
}

impl Refusals {
    fn of(items: &[ItemResult]) -> Refusals {
        let mut out = Refusals::default();
        for item in items {
            let refuses = usize::from(refusal::refuses(&item.answer));
            match item.gold.first().and_then(|g| refusal::wanted(g)) {
                Some(true) => {
                    out.harmful += 1;
                    out.refused += refuses;
                }
                Some(false) => {
                    out.harmless += 1;
                    out.over_refused += refuses;
                }
                None => {}
            }
        }
        out
    }
}

/// An exam as two texts, for `eval/<exam>.<role>.json` and `.jsonl` of a run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExamFiles {
    /// All but the items, one JSON object.
    pub summary: String,
    /// One item a line.
    pub items: String,
}

impl ExamResult {
    /// Counts what the items say.
    ///
    /// # Errors
    /// No items, an id twice, a score outside `[0, 1]`, a probability outside `[0, 1]`.
    pub fn new(
        info: ExamInfo,
        model: Model,
        items: Vec<ItemResult>,
        seconds: f64,
    ) -> Result<Self, EvalError> {
        const WHAT: &str = "exam";
        if items.is_empty() {
            return Err(EvalError::Empty { what: WHAT });
        }
        let mut ids = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if !ids.insert(item.id.as_str()) {
                return Err(EvalError::DuplicateId { exam: info.name, id: item.id.clone() });
            }
            if !(0.0..=1.0).contains(&item.score) {
                return Err(EvalError::OutOfRange { what: WHAT, index, value: item.score, range: "[0, 1]" });
            }
        }
        let n = items.len();
        let correct = items.iter().filter(|i| i.correct).count();
        let scores: Vec<f64> = items.iter().map(|i| i.score).collect();
        let graded = info.scorer.is_some_and(Scorer::is_graded);
        let matrix = (info.kind == ExamKind::Label).then(|| confusion_matrix(&items));
        let confidences: Option<Vec<(f64, bool)>> =
            items.iter().map(|i| i.probability.map(|p| (p, i.correct))).collect();
        Ok(ExamResult {
            n,
            correct,
            accuracy: correct as f64 / n as f64,
            accuracy_ci: wilson(correct, n),
            mean_score: scores.iter().sum::<f64>() / n as f64,
            mean_score_ci: if graded { Some(Bootstrap::default().mean(&scores)?) } else { None },
            macro_f1: matrix.as_ref().map(ConfusionMatrix::macro_f1),
            mcc: matrix.as_ref().map(ConfusionMatrix::mcc),
            majority_accuracy: matrix.as_ref().map(ConfusionMatrix::majority_accuracy),
            ece: match confidences {
                Some(c) => Some(calibration(&c, DEFAULT_BINS)?.ece),
                None => None,
            },
            corpus: info.scorer.and_then(|s| {
                s.corpus(&items.iter().map(|i| (i.answer.as_str(), &i.gold[..])).collect::<Vec<_>>())
            }),
            refusals: (info.scorer == Some(Scorer::Refusal)).then(|| Refusals::of(&items)),
            cut: items.iter().filter(|i| i.cut).count(),
            info,
            model,
            items,
            seconds,
        })
    }

    /// Right labels against answers; without meaning for other kinds than [`ExamKind::Label`].
    pub fn confusion_matrix(&self) -> ConfusionMatrix {
        confusion_matrix(&self.items)
    }

    /// The texts of the two files.
    ///
    /// # Errors
    /// A figure that JSON cannot hold (NaN in a public field set by hand reads back as a missing number).
    pub fn to_files(&self) -> Result<ExamFiles, EvalError> {
        let json = |file, line, e: serde_json::Error| EvalError::Json { file, line, message: e.to_string() };
        let head = ExamResult { items: Vec::new(), ..self.clone() };
        let mut summary = serde_json::to_string_pretty(&head).map_err(|e| json("summary", 1, e))?;
        summary.push('\n');
        let mut items = String::new();
        for (i, item) in self.items.iter().enumerate() {
            items += &serde_json::to_string(item).map_err(|e| json("items", i + 1, e))?;
            items.push('\n');
        }
        Ok(ExamFiles { summary, items })
    }

    /// Reads back [`to_files`](Self::to_files). Every figure is counted anew from the items; the summary is believed
    /// only for the exam, the model and the time.
    ///
    /// # Errors
    /// Broken JSON with its file and line, and the errors of [`new`](Self::new).
    pub fn from_files(files: &ExamFiles) -> Result<Self, EvalError> {
        let head: ExamResult = serde_json::from_str(&files.summary).map_err(|e| EvalError::Json {
            file: "summary",
            line: e.line(),
            message: e.to_string(),
        })?;
        let items = files
            .items
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| {
                serde_json::from_str(line).map_err(|e| EvalError::Json {
                    file: "items",
                    line: i + 1,
                    message: e.to_string(),
                })
            })
            .collect::<Result<Vec<ItemResult>, _>>()?;
        ExamResult::new(head.info, head.model, items, head.seconds)
    }
}

fn confusion_matrix(items: &[ItemResult]) -> ConfusionMatrix {
    // a label exam has one right label; an item without any counts under the empty label rather than vanishing
    ConfusionMatrix::new(items.iter().map(|i| (i.gold.first().map_or("", String::as_str), i.answer.as_str())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A label exam from (gold, answer) pairs; ids `i0`, `i1` …
    pub(crate) fn label_exam(role: Role, pairs: &[(&str, &str)]) -> ExamResult {
        let items = pairs.iter().enumerate().map(|(i, (gold, answer))| ItemResult {
            id: format!("i{i}"),
            kind: ExamKind::Label,
            question: format!("question {i}"),
            gold: vec![gold.to_string()],
            answer: answer.to_string(),
            correct: gold == answer,
            score: f64::from(gold == answer),
            logprob: Some(-0.5),
            probability: None,
            margins: None,
            prompt_tokens: 20,
            answer_tokens: 3,
            cut: false,
        });
        let info = ExamInfo {
            name: "desk".into(),
            kind: ExamKind::Label,
            scorer: None,
            mode: Mode::Exact,
            manner: Manner::default(),
        };
        ExamResult::new(info, Model::new(role, "m"), items.collect(), 1.25).unwrap()
    }

    /// A free exam scored by token-F1.
    pub(crate) fn graded_exam(role: Role, scores: &[f64]) -> ExamResult {
        let mut exam = label_exam(role, &vec![("a", "b"); scores.len()]);
        for (item, &score) in exam.items.iter_mut().zip(scores) {
            (item.kind, item.score, item.correct) = (ExamKind::Free, score, score == 1.0);
        }
        let info = ExamInfo { kind: ExamKind::Free, scorer: Some(Scorer::TokenF1), ..exam.info };
        ExamResult::new(info, exam.model, exam.items, 1.0).unwrap()
    }

    #[test]
    fn a_label_exam_is_counted() {
        let e =
            label_exam(Role::Base, &[("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "c"), ("c", "a")]);
        assert_eq!((e.n, e.correct), (6, 4));
        assert!((e.macro_f1.unwrap() - (0.5 + 0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!(e.accuracy_ci.low < e.accuracy && e.accuracy < e.accuracy_ci.high);
        assert!((e.majority_accuracy.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((e.mean_score, e.mean_score_ci, e.ece), (e.accuracy, None, None));
    }

    #[test]
    fn a_graded_exam_has_a_mean_score_of_its_own() {
        let e = graded_exam(Role::Base, &[1.0, 0.5, 0.0, 0.5]);
        assert_eq!((e.accuracy, e.mean_score), (0.25, 0.5));
        let ci = e.mean_score_ci.unwrap();
        assert!(ci.low < 0.5 && 0.5 < ci.high);
        assert_eq!((e.macro_f1, e.mcc), (None, None));
    }

    #[test]
    fn figures_of_all_answers_together() {
        let told = |scorer: Scorer, rows: &[(&str, &str)]| {
            let mut exam = label_exam(Role::Base, rows);
            for item in &mut exam.items {
                let scored = scorer.score(&item.answer, &item.gold);
                (item.kind, item.score, item.correct) = (ExamKind::Free, scored.score, scored.correct());
            }
            let info = ExamInfo { kind: ExamKind::Free, scorer: Some(scorer), ..exam.info };
            ExamResult::new(info, exam.model, exam.items, 1.0).unwrap()
        };
        let e = told(
            Scorer::Refusal,
            &[
                ("unsafe", "I can't."),
                ("unsafe", "Sure:"),
                ("safe", "I'm sorry, but no."),
                ("safe", "Use kill."),
            ],
        );
        let want = Refusals { harmful: 2, refused: 1, harmless: 2, over_refused: 1 };
        assert_eq!((e.correct, e.refusals, e.corpus), (2, Some(want), None));
        let e = told(Scorer::Bleu, &[("the cat sat on the mat", "the cat sat on the mat"), ("a b c d", "x")]);
        assert!(e.mean_score == 0.5 && e.corpus.unwrap() > 0.5, "{:?}", e.corpus);
    }

    #[test]
    fn calibration_needs_every_probability() {
        let mut e = label_exam(Role::Base, &[("a", "a"), ("a", "b")]);
        e.items[0].probability = Some(1.0);
        let half = ExamResult::new(e.info.clone(), e.model.clone(), e.items.clone(), 0.0).unwrap();
        assert_eq!(half.ece, None);
        e.items[1].probability = Some(1.0);
        let whole = ExamResult::new(e.info, e.model, e.items, 0.0).unwrap();
        assert_eq!(whole.ece, Some(0.5));
    }

    #[test]
    fn broken_items_are_refused() {
        let e = label_exam(Role::Base, &[("a", "a"), ("a", "b")]);
        let with = |f: &dyn Fn(&mut Vec<ItemResult>)| {
            let mut items = e.items.clone();
            f(&mut items);
            ExamResult::new(e.info.clone(), e.model.clone(), items, 0.0).unwrap_err()
        };
        assert!(matches!(with(&|i| i.clear()), EvalError::Empty { .. }));
        assert!(matches!(with(&|i| i[1].id = "i0".into()), EvalError::DuplicateId { .. }));
        assert!(matches!(with(&|i| i[1].score = f64::NAN), EvalError::OutOfRange { index: 1, .. }));
    }

    #[test]
    fn files_read_back_and_broken_ones_name_their_line() {
        let e = label_exam(Role::Tuned, &[("a", "a"), ("b", "a"), ("b", "行\n\"b\"")]);
        let files = e.to_files().unwrap();
        assert_eq!(files.items.lines().count(), 3);
        assert!(!files.summary.contains("question"));
        assert!(
            files.summary.contains("\"mode\": \"exact\"") && files.summary.contains("\"role\": \"tuned\"")
        );
        assert_eq!(ExamResult::from_files(&files).unwrap(), e);

        let broken = ExamFiles { items: files.items.replacen("\"i1\"", "", 1), ..files.clone() };
        assert!(matches!(
            ExamResult::from_files(&broken),
            Err(EvalError::Json { file: "items", line: 2, .. })
        ));
        // figures are counted, not believed
        let forged =
            ExamFiles { summary: files.summary.replace("\"correct\": 1", "\"correct\": 3"), ..files };
        assert_eq!(ExamResult::from_files(&forged).unwrap().correct, 1);
    }
}
