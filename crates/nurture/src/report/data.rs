//! Everything that a report says, as plain data: filled from ledger, metrics, exams and forecast, saved as
//! `report.json`, and shown without asking anything else.
//!
//! Accuracies, shares and gains are fractions (0.5 is 50 %); memory is bytes; time is seconds.
use nurture_eval::Verdict;
use serde::{Deserialize, Serialize};

use crate::lang::Said;
use crate::recipe::{Derived, InputHash, Override};

/// What a `report.json` is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// A run that raises a base: [`ReportData`].
    #[default]
    Run,
    /// An encoder-decoder that learns pairs: [`PairReport`](crate::pipeline::PairReport).
    Pairs,
}

/// A whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportData {
    /// What it is of: always [`ReportKind::Run`].
    pub kind: ReportKind,
    /// Headline, in the words of the recipe's owner; empty takes the run's name.
    pub title: String,
    /// Name of the run.
    pub run: String,
    /// When, as it should be shown: `2026-11-23 17:50 UTC`.
    pub created: String,
    /// Version of the program.
    pub version: String,
    /// The base model.
    pub base: BaseInfo,
    /// What was trained.
    pub adapter: AdapterInfo,
    /// Where it was trained.
    pub machine: MachineInfo,
    /// The recipe's text.
    pub recipe: String,
    /// Overrides from the command line.
    pub overrides: Vec<Override>,
    /// Every value of the run with its reason.
    pub derived: Vec<Derived>,
    /// What became of each row of each source.
    pub ledger: Vec<LedgerSource>,
    /// What cleaning found and did in the training rows.
    pub cleaning: nurture_data::CleanReport,
    /// The training, step by step.
    pub curve: Vec<CurvePoint>,
    /// What was predicted before the run.
    pub forecast: Cost,
    /// What it took.
    pub outcome: Cost,
    /// Tokens processed in training, repeated passes counted.
    pub trained_tokens: u64,
    /// Training examples, each counted once.
    pub train_examples: u64,
    /// Exams with right and wrong answers.
    pub exams: Vec<ExamReport>,
    /// Texts of the own field, by perplexity.
    pub depth_texts: Vec<TextReport>,
    /// General texts, by perplexity.
    pub breadth: Vec<TextReport>,
    /// Exams of other fields.
    pub breadth_exams: Vec<ExamReport>,
    /// General prompts, by divergence from the base.
    pub drifts: Vec<DriftReport>,
    /// The judgement.
    pub verdict: Verdict,
    /// What to type to repeat the run, and to talk to the model.
    pub commands: Vec<Command>,
    /// The files that went in.
    pub inputs: Vec<InputHash>,
    /// What the same recipe reached with other seeds, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<SeedsReport>,
    /// Whether rows of the data and folders were cut out, see [`ReportData::public`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// What a reader must know.
    pub warnings: Vec<Said>,
    /// How the base model was born, where this program made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birth: Option<BirthReport>,
    /// The stages, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageReport>,
}

/// One stage of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageReport {
    /// Its name, which is that of its folder.
    pub name: String,
    /// How it taught: the word of the recipe.
    pub method: String,
    /// Its own report; base is that of the whole run. What the whole tells once is not in it.
    pub report: ReportData,
    /// Each exam of the own field against what the stage before reached.
    pub since: Vec<Option<Since>>,
}

/// What a stage gained on an exam against the stage before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Since {
    /// Paired difference of accuracy, or of the score of a graded exam.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Its two-sided p-value.
    pub p: f64,
}

/// One recipe with several seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeedsReport {
    /// The runs, this one first.
    pub runs: Vec<String>,
    /// Mean gain of each over its exams of the field.
    pub gains: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Its 95 % interval over runs (Student's t).
    pub ci: [f64; 2],
    /// Greatest rise of bits per byte of each; empty where breadth was not measured.
    pub rises: Vec<f64>,
}

/// How a base model was born.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BirthReport {
    /// Parameters.
    pub parameters: u64,
    /// Tokens of the vocabulary.
    pub vocab: u64,
    /// Every size with its reason.
    pub derived: Vec<Derived>,
    /// The languages of the text.
    pub languages: Vec<LanguageReport>,
    /// The training, thinned out.
    pub curve: Vec<CurvePoint>,
    /// Tokens learnt from, repeated passes counted.
    pub tokens: u64,
    /// What learning took.
    pub seconds: f64,
    /// What was predicted.
    pub forecast_seconds: Option<f64>,
    /// Useful operations of the learning.
    pub flop: f64,
    /// Smaller ones that were raised first, and what they said.
    pub ladder: Option<LadderReport>,
}

/// A ladder of newborns: loss against computation, and what it predicts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LadderReport {
    /// From the smallest on.
    pub rungs: Vec<RungReport>,
    /// `b` of `loss = floor + a · C^-b`.
    pub exponent: f64,
    /// The part that no computation takes away, where the rungs tell it.
    pub floor: Option<f64>,
    /// Operations of the model itself.
    pub flop: f64,
    /// Bits per byte that the law says of it.
    pub predicted: f64,
    /// Within 95 %, where there are rungs enough.
    pub interval: Option<(f64, f64)>,
    /// What it reached.
    pub came: Option<f64>,
}

/// A smaller newborn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RungReport {
    /// Number of blocks.
    pub depth: u64,
    /// Parameters.
    pub parameters: u64,
    /// Tokens learnt from.
    pub tokens: u64,
    /// Useful operations.
    pub flop: f64,
    /// Bits per byte of all held-out text.
    pub bits_per_byte: f64,
}

/// A language of a newborn's text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LanguageReport {
    /// `zh`, or `other` for text that is not mostly Chinese.
    pub name: String,
    /// Bytes learnt from.
    pub train_bytes: u64,
    /// Bytes held out, which nothing learnt from: neither the vocabulary nor the network.
    pub held_bytes: u64,
    /// Bytes of held-out text for each of its tokens.
    pub bytes_per_token: f64,
    /// Bits per byte on held-out text with random weights.
    pub before: Option<f64>,
    /// And with what was learnt.
    pub after: Option<f64>,
}

/// The base model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BaseInfo {
    /// Its name in the catalogue, or the path that was given.
    pub name: String,
    /// The file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Element types in the file: `Q4_1 ×180, F32 ×61`.
    pub dtypes: String,
    /// Parameters.
    pub params: u64,
    /// Licence of the weights, empty if unknown.
    pub licence: String,
    /// Chat template: the model's own, or the name of the one that was used.
    pub template: String,
}

/// What was trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterInfo {
    /// `lora`, or [`FULL`].
    pub kind: String,
    /// Rank; 0 where the network itself was trained.
    pub rank: u64,
    /// Alpha.
    pub alpha: f64,
    /// Whether it scales by the root of the rank.
    pub rslora: bool,
    /// The projections that carry it; where the network itself was trained, the parts that were frozen.
    pub targets: Vec<String>,
    /// Trained parameters.
    pub params: u64,
    /// Its file, as seen from the run's folder.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// [`AdapterInfo::kind`] where the network itself was trained.
pub const FULL: &str = "full";
/// [`ExamReport::kind`] of pairs that a reward model told apart.
pub const REWARD: &str = "pairs, by reward";

impl AdapterInfo {
    /// Whether the network itself was trained.
    pub fn is_full(&self) -> bool {
        self.kind == FULL
    }
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineInfo {
    /// Name of the processor.
    pub cpu: String,
    /// Threads used.
    pub threads: u64,
    /// Instruction set used: `avx2+fma`, `scalar`.
    pub isa: String,
}

/// What became of the rows of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerSource {
    /// The file.
    pub path: String,
    /// `train`, `depth`, `breadth`.
    pub role: String,
    /// Rows read.
    pub rows: u64,
    /// Buckets; their counts add up to `rows`.
    pub buckets: Vec<LedgerBucket>,
    /// Rows whose sensitive values were replaced; they stand among the others.
    pub redacted: u64,
    /// Tokens of the used rows.
    pub tokens: u64,
    /// Those of them that carry loss.
    pub trained_tokens: u64,
}

/// Rows with the same fate for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerBucket {
    /// `used`, `cut`, `dropped` …
    pub fate: Said,
    /// Why; empty where it needs no reason.
    pub reason: Said,
    /// How many rows.
    pub count: u64,
}

/// One step of training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurvePoint {
    /// Step, from 1.
    pub step: u64,
    /// Mean loss per trained token, nats.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second.
    pub tok_s: f64,
    /// How the answers were rewarded, of a preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred: Option<nurture_train::Rewards>,
    /// What the answers of practice were worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewards: Option<nurture_train::RewardMetrics>,
}

/// What a run takes. `None` where it was not predicted or not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Peak memory.
    pub memory_bytes: Option<f64>,
    /// Time of training.
    pub seconds: Option<f64>,
    /// Time of the whole run with its exams.
    pub total_seconds: Option<f64>,
}

/// An exam of right and wrong answers, sat by both models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExamReport {
    /// Name.
    pub name: String,
    /// `label`, `choice` or `free`.
    pub kind: String,
    /// Arithmetic mode: `exact`.
    pub mode: String,
    /// Items sat.
    pub items: u64,
    /// Items in the file.
    pub of: u64,
    /// Whether the items were drawn evenly from each label.
    pub stratified: bool,
    /// Items that the training data hold too.
    pub overlap: Vec<nurture_data::Overlap>,
    /// Whether those were left out.
    pub overlap_left_out: bool,
    /// Different labels; 0 where there are none.
    pub labels: u64,
    /// How free answers are scored, in the recipe's word; empty for others.
    pub scorer: String,
    /// How it was put to the models.
    pub manner: nurture_eval::Manner,
    /// Confidence against accuracy of base and tuned model, in bins; empty where there were no probabilities.
    pub calibration: [Vec<nurture_eval::stats::CalibrationBin>; 2],
    /// Whether answers get a score between wrong and right (token F1): then `accuracy` is the mean score, and
    /// `paired` compares scores.
    pub graded: bool,
    /// Accuracy of always giving the most frequent label.
    pub majority_accuracy: Option<f64>,
    /// The base model.
    pub base: Mark,
    /// The tuned model.
    pub tuned: Mark,
    /// Both compared item by item.
    pub paired: Paired,
    /// What the base most often took for what.
    pub confusions_base: Vec<Confusion>,
    /// What the tuned model most often takes for what.
    pub confusions_tuned: Vec<Confusion>,
    /// Items that the two answered differently; the first ten are shown.
    pub changed: Vec<Changed>,
    /// The items in their order, at most [`MOST_ITEMS`] of them, long texts cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<ItemRow>,
    /// Each label by itself.
    pub per_label: Vec<LabelRow>,
    /// How far apart better and worse answers stand, of a preference exam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<Preferred>,
}

/// How far apart the better and the worse answers of an exam stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferred {
    /// Mean margin per token by the base, nats.
    pub base: f64,
    /// The same by the tuned model.
    pub tuned: f64,
    /// Items in which the better answer gained on the worse one.
    pub towards: u64,
    /// By how much on average, nats of the whole answers: DPO's reward margin, but for β.
    pub moved: f64,
}

/// How one model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// Right answers.
    pub correct: u64,
    /// Share of right answers.
    pub accuracy: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Macro-averaged F1 over the labels.
    pub macro_f1: Option<f64>,
    /// Matthews' correlation of the labels.
    pub mcc: Option<f64>,
    /// Figure of all answers together: corpus BLEU or chrF, 0 to 1.
    pub corpus: Option<f64>,
    /// Refusals, right and wrong, where they are scored.
    pub refusals: Option<nurture_eval::Refusals>,
    /// Expected calibration error, where probabilities were computed.
    pub ece: Option<f64>,
}

/// The difference between two models on the same items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paired {
    /// Accuracy of the tuned model minus the base's.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// p-value of McNemar's exact test.
    pub p: f64,
    /// Items that only the base answered right.
    pub only_base: u64,
    /// Items that only the tuned model answered right.
    pub only_tuned: u64,
    /// The least true gain that so many items find with a probability of 80 %.
    pub minimum_detectable: Option<f64>,
}

/// One label taken for another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confusion {
    /// The right label.
    pub gold: String,
    /// The label that was given.
    pub predicted: String,
    /// How often.
    pub count: u64,
}

/// How many items of an exam a report holds; the files of the exam hold all.
pub const MOST_ITEMS: usize = 1000;

/// An item with both answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemRow {
    /// Question, right answer, both answers.
    #[serde(flatten)]
    pub item: Changed,
    /// How sure base and tuned model were of their answers, where that was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sure: Option<[f64; 2]>,
}

/// An item that the two models answered differently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changed {
    /// The question.
    pub question: String,
    /// The right answer.
    pub gold: String,
    /// The base's answer.
    pub base: String,
    /// The tuned model's answer.
    pub tuned: String,
    /// Whether the base's counts as right.
    pub base_right: bool,
    /// Whether the tuned model's counts as right.
    pub tuned_right: bool,
}

/// One label of an exam.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelRow {
    /// The label.
    pub label: String,
    /// Its items.
    pub items: u64,
    /// Those that the base answered right.
    pub base_correct: u64,
    /// Those that the tuned model answered right.
    pub tuned_correct: u64,
}

/// A text read by both models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextReport {
    /// Name.
    pub name: String,
    /// Tokens scored.
    pub tokens: u64,
    /// Bytes they stand for.
    pub bytes: u64,
    /// Perplexity of the base.
    pub base_ppl: f64,
    /// Perplexity of the tuned model.
    pub tuned_ppl: f64,
    /// Bits per byte of the base.
    pub base_bpb: f64,
    /// Bits per byte of the tuned model.
    pub tuned_bpb: f64,
    /// Bits per byte, tuned minus base: above zero is a loss.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
}

impl TextReport {
    /// A comparison as an exam by perplexity gives it, each pair base before tuned; `ratio_ci` is the 95 % interval
    /// of tuned / base perplexity. Bits per byte are the logarithm of the perplexity, so its interval follows.
    pub fn new(name: &str, tokens: u64, ppl: [f64; 2], bpb: [f64; 2], ratio_ci: [f64; 2]) -> Self {
        let bpb_per_nat = bpb[0] / ppl[0].ln();
        let bytes = tokens as f64 / (bpb_per_nat * std::f64::consts::LN_2);
        TextReport {
            name: name.into(),
            tokens,
            bytes: bytes.round() as u64, // a cast of what is no number gives 0
            base_ppl: ppl[0],
            tuned_ppl: ppl[1],
            base_bpb: bpb[0],
            tuned_bpb: bpb[1],
            diff: bpb[1] - bpb[0],
            ci: ratio_ci.map(|end| end.ln() * bpb_per_nat),
        }
    }

    /// Rise of bits per byte relative to the base (0.05 is 5 % worse).
    pub fn rise(&self) -> f64 {
        self.diff / self.base_bpb
    }

    /// The interval of [`TextReport::rise`].
    pub fn rise_ci(&self) -> [f64; 2] {
        self.ci.map(|end| end / self.base_bpb)
    }
}

/// General prompts: the base's answers, read by both models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftReport {
    /// Name of the set.
    pub name: String,
    /// Prompts.
    pub prompts: u64,
    /// Tokens of the answers.
    pub tokens: u64,
    /// Mean divergence from the base, nats a token.
    pub kl: f64,
    /// Its 95 % interval.
    pub ci: [f64; 2],
    /// Perplexity of the base on its own answers.
    pub base_ppl: f64,
    /// Perplexity of the tuned model on them.
    pub tuned_ppl: f64,
    /// Share of tokens that the tuned model finds most likely too.
    pub agree: f64,
    /// By ability.
    pub groups: Vec<nurture_eval::DriftGroup>,
    /// The answers that were moved most.
    pub moved: Vec<MovedAnswer>,
}

/// An answer of the base that the tuned model would give otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MovedAnswer {
    /// What was asked.
    pub prompt: String,
    /// What the base answered.
    pub answer: String,
    /// Mean divergence on it, nats a token.
    pub kl: f64,
}

/// Something to type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// What it does.
    pub does: Said,
    /// The command.
    pub text: String,
}
