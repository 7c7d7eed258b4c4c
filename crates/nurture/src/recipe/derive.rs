//! What the one dial means for this data: every value that the recipe leaves open, each with its reason.
//!
//! Purely derived from the recipe, the data and the base model, never from a measured speed, so that the same
//! recipe gives the same run on every machine.
use serde::{Deserialize, Serialize};

use super::fields::{Effort, Exam, ExamKind, Method, Optimiser, Recipe, Schedule};
use crate::lang::Said;
use crate::said;
use nurture_eval::stats::{INDEPENDENT_DISCORDANT_RATE, minimum_detectable};

/// What a setting of the dial stands for.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// The setting.
    pub effort: Effort,
    /// Tokens to process in training, repeated passes counted.
    pub tokens: f64,
    /// Passes that are made in any case.
    pub min_epochs: f64,
    /// Passes that are never exceeded, however small the data: beyond them it is learnt by heart.
    pub max_epochs: f64,
    /// Items drawn from each exam; `None` is all.
    pub exam_items: Option<usize>,
}

/// The dial, one row a setting.
pub const DIALS: [Dial; 3] = [
    Dial { effort: Effort::Quick, tokens: 180e3, min_epochs: 0.0, max_epochs: 4.0, exam_items: Some(400) },
    Dial { effort: Effort::Normal, tokens: 700e3, min_epochs: 0.0, max_epochs: 6.0, exam_items: None },
    Dial { effort: Effort::Thorough, tokens: 700e3, min_epochs: 3.0, max_epochs: 8.0, exam_items: None },
];

/// Peak learning rates of LoRA: up to this many parameters of the base, this rate.
const RATES: [(f64, f64); 3] = [(0.6e9, 1e-3), (2e9, 5e-4), (f64::INFINITY, 2e-4)];
/// The same for full training, whose every weight moves by about the rate in each step. The first is for newborns: they have
/// little to forget.
const FULL_RATES: [(f64, f64); 4] = [(0.02e9, 1e-3), (0.6e9, 5e-5), (2e9, 2e-5), (f64::INFINITY, 1e-5)];
/// Rate of a preference as a share of that of supervised fine-tuning.
const PREFERENCE_RATE: f64 = 0.2;
const BATCH: usize = 16;
/// Below this many steps the batch is halved: too few steps learn nothing, however good each is.
const FEW_STEPS: f64 = 32.0;
const SMALLEST_BATCH: usize = 4;
/// Prompts of a step of practice, and its steps by effort: each is answered several times.
const PROMPTS: usize = 8;
const ROUNDS: [(Effort, f64); 3] =
    [(Effort::Quick, 60.0), (Effort::Normal, 200.0), (Effort::Thorough, 600.0)];
/// Practice moves more gently than lessons: its gradients are noisy.
const GENTLER: f64 = 0.2;
const MICRO_TOKENS: usize = 1024;
/// The weights of full training fill the memory already.
const FULL_MICRO_TOKENS: usize = 512;
const MAX_LEN: usize = 2048;
const WARMUP: f64 = 0.05;
const CLIP: f64 = 1.0;
const WEIGHT_DECAY: f64 = 0.0;
/// Tokens of a window of general text that is kept.
const KEEP_WINDOW: usize = 128;
const SHORTEST_KEEP_WINDOW: usize = 32;
/// Tokens between two checkpoints: about a minute or two of work that a crash may cost.
const CHECKPOINT_TOKENS: f64 = 24e3;
/// The same for full training, whose checkpoints are three times the network: some seconds each.
const FULL_CHECKPOINT_TOKENS: f64 = 96e3;

/// What preparing the data found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFacts {
    /// Training examples.
    pub train_examples: usize,
    /// Tokens of all training examples together.
    pub train_tokens: usize,
    /// Those of them that carry loss.
    pub trained_tokens: usize,
    /// Tokens of the longest example.
    pub longest_tokens: usize,
    /// Tokens that must be worked on at once: of pairs, those of the widest pair.
    pub widest_tokens: usize,
    /// Different labels; 0 where the data is not labelled.
    pub labels: usize,
    /// Items of each exam that has items, in the order of [`Recipe::exams`].
    pub exam_items: Vec<usize>,
}

/// What is known of the base model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// Parameters.
    pub params: u64,
    /// Longest context in tokens.
    pub context: usize,
}

/// One value of the run with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// The recipe's key (or `steps`, which follows from several).
    pub key: String,
    /// The value as it would be written in TOML.
    pub value: String,
    /// Why it is so.
    pub reason: Said,
    /// Whether the recipe gave it.
    pub given: bool,
}

/// How many items of an exam are sat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamPlan {
    /// The exam's name.
    pub name: String,
    /// Items drawn.
    pub items: usize,
    /// Items there are.
    pub of: usize,
    /// Whether every label gives the same share.
    pub stratified: bool,
}

/// A run with nothing left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Optimiser steps.
    pub steps: usize,
    /// Passes over the data.
    pub epochs: f64,
    /// Peak learning rate.
    pub rate: f64,
    /// Examples per step.
    pub batch: usize,
    /// Tokens worked on at once.
    pub micro_tokens: usize,
    /// Longest example in tokens.
    pub max_len: usize,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Share of the steps that is warm-up.
    pub warmup: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Largest gradient norm.
    pub clip: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Windows of general text in each step, and the tokens of each.
    pub keep_windows: (usize, usize),
    /// Factor on their divergence from the base.
    pub keep_strength: f64,
    /// Seed.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// LoRA alpha.
    pub alpha: f64,
    /// The exams.
    pub exams: Vec<ExamPlan>,
    /// All of it for people, in the order in which it was derived.
    pub values: Vec<Derived>,
}

impl Resolved {
    /// Works on more tokens at once, because examples share much; nothing else changes.
    pub fn at_once(&mut self, micro_tokens: usize) {
        self.micro_tokens = micro_tokens;
        if let Some(value) = self.values.iter_mut().find(|v| v.key == "train.micro_tokens") {
            value.value = micro_tokens.shown();
            value.reason = said!(
                "so that what the examples of a step share is computed once",
                "好让一步里样本共有的部分只算一次"
            );
        }
    }

    /// The recipe with every derived value written in.
    pub fn apply(&self, recipe: &Recipe) -> Recipe {
        let mut full = recipe.clone();
        full.train.epochs = Some(self.epochs);
        full.train.rate = Some(self.rate);
        full.train.batch = Some(self.batch);
        full.train.micro_tokens = Some(self.micro_tokens);
        full.train.max_len = Some(self.max_len);
        full.train.warmup = Some(self.warmup);
        full.train.schedule = Some(self.schedule);
        full.train.clip = Some(self.clip);
        full.train.weight_decay = Some(self.weight_decay);
        full.train.checkpoint_every = Some(self.checkpoint_every);
        if recipe.train.method.compares() && recipe.train.method != Method::Reward {
            full.train.preference.beta = Some(recipe.train.beta());
        }
        if let Some(adapter) = &mut full.train.adapter {
            adapter.alpha = Some(self.alpha);
        }
        full.plan_items(self.exams.iter().map(|plan| plan.items));
        full
    }
}

/// The longest example that is allowed, known before the data is: needed to prepare it.
pub fn max_len(recipe: &Recipe, base: &BaseFacts) -> usize {
    let context = if base.context == 0 { MAX_LEN } else { base.context };
    recipe.train.max_len.unwrap_or(MAX_LEN).min(context)
}

/// Derives everything that the recipe leaves open.
pub fn derive(recipe: &Recipe, data: &DataFacts, base: &BaseFacts) -> Resolved {
    let train = &recipe.train;
    let word = train.effort.word();
    let dial = DIALS.iter().find(|dial| dial.effort == train.effort).unwrap_or(&DIALS[0]);
    let mut notes = Notes::default();
    let (examples, tokens) = (data.train_examples, data.train_tokens.max(1) as f64);

    let practises = train.method == Method::Grpo;
    let rounds =
        ROUNDS.iter().find(|(effort, _)| *effort == train.effort).map_or(60.0, |(_, rounds)| *rounds);
    let budget = dial.tokens.max(dial.min_epochs * tokens);
    let derived_epochs = match practises {
        true => rounds * train.batch.unwrap_or(PROMPTS).min(examples.max(1)) as f64 / examples.max(1) as f64,
        false => (budget / tokens).min(dial.max_epochs),
    };
    let epochs = notes.choose("train.epochs", train.epochs, derived_epochs, |_| {
        if practises {
            return said!("effort {word} practises {rounds} steps", "力度 {word} 练习 {rounds} 步");
        }
        let (max, per_pass, goal) = (dial.max_epochs, tokens, thousands(budget));
        let pass = thousands(per_pass);
        if budget / tokens > dial.max_epochs {
            said!(
                "the data has {pass} tokens; more than {max} passes would only learn it by heart",
                "数据共 {pass} 个词元；超过 {max} 遍只会死记硬背"
            )
        } else if dial.min_epochs > 0.0 && budget > dial.tokens {
            let min = dial.min_epochs;
            said!(
                "effort {word} makes {min} passes over {pass} tokens",
                "力度 {word}：{pass} 个词元过 {min} 遍"
            )
        } else {
            said!(
                "effort {word} processes about {goal} tokens; one pass has {pass}",
                "力度 {word} 约处理 {goal} 个词元；一遍有 {pass} 个"
            )
        }
    });

    let mut derived_batch = if practises { PROMPTS } else { BATCH }.min(examples.max(1));
    while !practises
        && derived_batch > SMALLEST_BATCH
        && epochs * examples as f64 / (derived_batch as f64) < FEW_STEPS
    {
        derived_batch = (derived_batch / 2).max(SMALLEST_BATCH);
    }
    let batch = notes.choose("train.batch", train.batch, derived_batch, |batch| {
        if practises {
            let samples = train.practice.samples;
            return said!("prompts, each answered {samples} times", "每步的提示数，每个作答 {samples} 次");
        }
        if batch == BATCH {
            said!("steady gradients without wasting passes", "梯度够稳，又不浪费遍数")
        } else {
            said!(
                "little data: smaller batches make at least about {FEW_STEPS} steps",
                "数据少：批小一些，好凑够约 {FEW_STEPS} 步"
            )
        }
    });
    // The tiny subtraction keeps 3 × 16 / 16 at 3 when the fraction of an epoch was rounded upwards.
    let steps = ((epochs * examples as f64 / batch.max(1) as f64 - 1e-9).ceil() as usize).max(1);
    notes.state(
        "steps",
        steps.to_string(),
        said!("epochs × {examples} examples / batch", "轮数 × {examples} 个样本 / 批"),
    );

    let params = base.params as f64;
    let full = train.adapter.is_none();
    let rates = if full { &FULL_RATES[..] } else { &RATES[..] };
    let usual = rates.iter().find(|(up_to, _)| params <= *up_to).map_or(1e-5, |(_, rate)| *rate);
    let compares = train.method.compares();
    let derived_rate = match (compares, practises) {
        (true, _) => usual * PREFERENCE_RATE,
        (_, true) => usual * GENTLER,
        _ => usual,
    };
    let rate = notes.choose("train.rate", train.rate, derived_rate, |_| {
        let millions = (params / 1e6).round();
        if compares {
            let share = (1.0 / PREFERENCE_RATE).round();
            said!(
                "a preference pushes answers apart without end: 1/{share} of the rate of supervised fine-tuning",
                "偏好会不停地把答案推开：用监督微调学习率的 1/{share}"
            )
        } else if full {
            said!(
                "all {millions} million weights move by about the rate in each step",
                "{millions} 百万个权重每步都移动约一个学习率"
            )
        } else {
            said!(
                "the usual LoRA rate for a base of {millions} million parameters",
                "{millions} 百万参数的基座，LoRA 常用的学习率"
            )
        }
    });
    let warmup = notes.choose("train.warmup", train.warmup, WARMUP, |_| {
        said!("AdamW's averages need some steps before full speed", "AdamW 的均值要先走几步才可全速")
    });
    let warmup_steps = ((warmup * steps as f64).round() as usize).clamp(usize::from(warmup > 0.0), steps);
    let free = train.optimiser == Optimiser::ScheduleFree;
    let schedule = train.schedule.unwrap_or(if free { Schedule::Constant } else { Schedule::Cosine });
    notes.add("train.schedule", format!("{:?}", schedule.word()), train.schedule.is_some(), || match free {
        true => {
            said!("an average of the way takes the place of a falling rate", "沿途的平均代替了下降的学习率")
        }
        false => {
            said!(
                "ends gently at zero, so that the last step is the best",
                "平缓降到零，最后一步就是最好的一步"
            )
        }
    });
    let clip = notes.choose("train.clip", train.clip, CLIP, |_| {
        said!("one odd batch cannot throw the weights off", "个别异常的批不会带偏权重")
    });
    let weight_decay = notes.choose("train.weight_decay", train.weight_decay, WEIGHT_DECAY, |_| {
        said!("a short LoRA run has little to decay", "短时间的 LoRA 没什么可衰减")
    });

    if compares && train.method != Method::Reward {
        notes.choose("train.preference.beta", train.preference.beta, train.beta(), |_| {
            let method = train.method.word();
            said!("the usual value of {method}", "{method} 的常用值")
        });
    }

    let max_len = max_len(recipe, base);
    notes.add("train.max_len", max_len.to_string(), train.max_len == Some(max_len), || {
        let (longest, context) = (data.longest_tokens, base.context);
        said!(
            "the base's context is {context} tokens; the longest example has {longest}",
            "基座的上下文是 {context} 个词元；最长样本有 {longest} 个"
        )
    });
    let micro = if full { FULL_MICRO_TOKENS } else { MICRO_TOKENS };
    let answer = if practises { train.practice.max_tokens } else { 0 };
    let widest = micro.max(data.longest_tokens.min(max_len) + answer).max(data.widest_tokens);
    let micro_tokens = notes.choose("train.micro_tokens", train.micro_tokens, widest, |_| {
        said!("bounds the memory; gradients add up to the whole batch", "限定内存；梯度会累加成整批")
    });
    let per_step = (tokens / examples.max(1) as f64 * batch as f64).max(1.0);
    let per_step = per_step + (batch * train.practice.samples * answer) as f64;
    let lost = if full { FULL_CHECKPOINT_TOKENS } else { CHECKPOINT_TOKENS };
    let keep_tokens = train.keep.share * per_step;
    let on = keep_tokens > 0.0 && train.keep.strength > 0.0 && !train.keep.text.is_empty();
    let keep_windows = match on {
        false => (0, KEEP_WINDOW),
        true => {
            let count = ((keep_tokens / KEEP_WINDOW as f64).round() as usize).max(1);
            let len = (keep_tokens / count as f64).round() as usize;
            (count, len.clamp(SHORTEST_KEEP_WINDOW, KEEP_WINDOW).min(micro_tokens))
        }
    };
    notes.state(
        "keep",
        format!("{} × {}", keep_windows.0, if on { keep_windows.1 } else { 0 }),
        match on {
            true => said!(
                "windows × tokens of general text in each step, on which the model is held to its base",
                "每一步的通用文本：窗口数 × 词元数，在其上让模型贴近基座"
            ),
            false if train.method == Method::Reward => {
                said!("off: a reward model never speaks", "未用：奖励模型从不作答")
            }
            false => said!("off: nothing holds the model to its breadth", "未用：没有什么保住模型的广度"),
        },
    );
    let every = ((lost / per_step).round() as usize).clamp(1, steps);
    let checkpoint_every = notes.choose("train.checkpoint_every", train.checkpoint_every, every, |_| {
        let goal = thousands(lost);
        said!(
            "about every {goal} tokens: so much work may be lost to a crash",
            "约每 {goal} 个词元存一次：崩溃最多损失这些工作"
        )
    });
    let adapter = train.adapter.clone().unwrap_or_default();
    let alpha = match full {
        true => adapter.alpha(),
        false => notes.choose("train.adapter.alpha", adapter.alpha, adapter.alpha(), |_| {
            said!("twice the rank, the usual scale", "秩的两倍，通常的比例")
        }),
    };

    let mut counts = data.exam_items.iter().copied();
    let mut of = |exam: &Exam| if exam.has_items() { counts.next().unwrap_or(0) } else { 0 };
    let exams =
        recipe.exams().iter().map(|(key, exam, _)| plan(exam, key, of(exam), dial, &mut notes)).collect();
    let seed = train.seed;
    Resolved {
        steps,
        epochs,
        rate,
        batch,
        micro_tokens,
        max_len,
        warmup_steps,
        warmup,
        schedule,
        clip,
        weight_decay,
        keep_windows,
        keep_strength: train.keep.strength,
        seed,
        checkpoint_every,
        alpha,
        exams,
        values: notes.0,
    }
}

fn plan(exam: &Exam, key: &str, of: usize, dial: &Dial, notes: &mut Notes) -> ExamPlan {
    if !exam.has_items() {
        let name = exam.name.clone().unwrap_or_default();
        return ExamPlan { name, items: 0, of: 0, stratified: exam.stratified };
    }
    let items = exam.items.or(dial.exam_items).unwrap_or(of).min(of);
    let name = exam.name.clone().unwrap_or_default();
    notes.add(&format!("{key}.items"), items.to_string(), exam.items == Some(items), || {
        // Half the widest 95 % interval of a share, in points.
        let half = (98.0 / (items.max(1) as f64).sqrt()).ceil();
        let graded = exam.kind.is_none_or(|k| k == ExamKind::Free) && exam.score.scorer().is_graded();
        let drawn = if items < of {
            said!("drawn from {of}", "从 {of} 题中抽取")
        } else {
            said!("all items", "全部题目")
        };
        let (what, zh) = if graded { ("a mean score", "平均得分") } else { ("an accuracy", "正确率") };
        let (en, of_zh) = (&drawn.en, &drawn.zh);
        let known = said!(
            "{en}: {what} is known to about ±{half} points or better",
            "{of_zh}：{zh}的误差约 ±{half} 个百分点以内"
        );
        if graded {
            // the gain below is one of right and wrong answers
            return known;
        }
        // the worst case of two models that have nothing to do with each other
        let power = match minimum_detectable(items, INDEPENDENT_DISCORDANT_RATE) {
            Some(least) => {
                let least = (least * 1e3).ceil() / 10.0;
                said!(
                    "; a gain of {least} points or more is found in four runs of five",
                    "；{least} 个百分点以上的增益，五次中有四次能看出来"
                )
            }
            None => said!("; so few items cannot show any gain", "；题目太少，看不出任何增益"),
        };
        Said::new(known.en + &power.en, known.zh + &power.zh)
    });
    ExamPlan { name, items, of, stratified: exam.stratified }
}

/// The values as they are decided.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Vec<Derived>);

impl Notes {
    pub(crate) fn choose<T: Copy + Shown>(
        &mut self,
        key: &str,
        given: Option<T>,
        or: T,
        why: impl FnOnce(T) -> Said,
    ) -> T {
        let value = given.unwrap_or(or);
        self.add(key, value.shown(), given.is_some(), || why(value));
        value
    }

    pub(crate) fn add(&mut self, key: &str, value: String, given: bool, why: impl FnOnce() -> Said) {
        let reason = if given { Said::new("given by the recipe", "配方给出") } else { why() };
        self.0.push(Derived { key: key.to_string(), value, reason, given });
    }

    pub(crate) fn state(&mut self, key: &str, value: String, reason: Said) {
        self.0.push(Derived { key: key.to_string(), value, reason, given: false });
    }
}

/// A value for people: a fraction of an epoch to three digits, everything else as it is.
pub(crate) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for f64 {
    fn shown(&self) -> String {
        if *self != 0.0 && self.abs() < 0.01 {
            format!("{self:e}")
        } else {
            format!("{}", (self * 1e3).round() / 1e3)
        }
    }
}

/// `123456` as `123 k`.
pub(crate) fn thousands(count: f64) -> String {
    if count < 1e4 { format!("{count:.0}") } else { format!("{:.0}k", count / 1e3) }
}
