//! What one dial means for a newborn: every size that the recipe leaves open, each with its reason.

use super::form;
use crate::lang::Said;
use crate::recipe::{Effort, Newborn, Notes, thousands};
use crate::said;
use nurture_model::Shape;
use nurture_train::{Optimiser, RunLength, Schedule, TrainConfig};

/// Width for each block (GPT-2 to Llama: 64 to 128; the narrow end suits small models).
const WIDTH_PER_BLOCK: usize = 64;
/// Width of a head.
const HEAD: usize = 64;
/// Bytes of text for each token of the vocabulary.
const BYTES_PER_TOKEN: usize = 150;
const SMALLEST_VOCAB: usize = 512;
const LARGEST_VOCAB: usize = 1 << 15;
const CONTEXT: usize = 512;
/// Tokens for each parameter (Hoffmann et al. 2022).
const TOKENS_PER_PARAMETER: usize = 20;
/// Steps that are wanted.
const STEPS: usize = 400;
const SMALLEST_BATCH: usize = 2048;
const LARGEST_BATCH: usize = 1 << 16;
/// The rate at the width of 256, the lower end of what is good there (`docs/lab-book.md`); it falls with the root of the width.
const RATE: f64 = 3e-3;
const WARMUP: f64 = 0.03;
const WEIGHT_DECAY: f64 = 0.1;
/// Tokens computed at once.
const MICRO_TOKENS: usize = 2048;
/// Tokens between two checkpoints: about a minute of work.
const CHECKPOINT_TOKENS: usize = 400_000;

/// Passes over the text at most: up to four are nearly as good as new text, beyond sixteen they are worth little
/// (Muennighoff et al. 2023).
fn passes(effort: Effort) -> usize {
    match effort {
        Effort::Quick => 4,
        Effort::Normal => 8,
        Effort::Thorough => 16,
    }
}

/// The largest power of two up to `n`.
fn power_of_two(n: usize) -> usize {
    1 << n.max(1).ilog2()
}

/// The network's shape, for so many bytes of text.
pub(super) fn shape(new: &Newborn, bytes: usize, notes: &mut Notes) -> Shape {
    let depth = new.depth;
    notes.state("model.new.depth", depth.to_string(), said!("the dial of the size", "大小的旋钮"));
    let width = notes.choose("model.new.width", new.width, WIDTH_PER_BLOCK * depth.max(2), |_| {
        said!("{WIDTH_PER_BLOCK} for each block, at least two", "每层 {WIDTH_PER_BLOCK}，至少按两层")
    });
    let even = |heads: &usize| width.is_multiple_of(*heads) && (width / heads).is_multiple_of(2);
    let most = (1..=(width / HEAD).max(1)).rev().find(even).unwrap_or(1);
    let heads = notes.choose("model.new.heads", new.heads, most, |heads| {
        let each = width / heads.max(1);
        said!("each {each} wide", "每头宽 {each}")
    });
    let kv_heads = notes.choose("model.new.kv_heads", new.kv_heads, heads, |_| {
        said!("each head its own: little to save in a small model", "每头各有一份：模型小，省不了多少")
    });
    let mut shape = form::form(new, width, notes);
    (shape.layers, shape.width, shape.heads, shape.kv_heads) = (depth, width, heads, kv_heads);
    // rows of the embedding that weigh as much as the blocks
    let blocks = depth as u64 * shape.config(new.tie).block_weights().0 / width.max(1) as u64;
    let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
    let by_text = power_of_two(bytes / BYTES_PER_TOKEN);
    let fitting = by_text.min(power_of_two(blocks)).clamp(SMALLEST_VOCAB, LARGEST_VOCAB);
    let vocab = notes.choose("model.new.vocab", new.vocab, fitting, |_| {
        let text = thousands(bytes as f64);
        if fitting < by_text {
            said!(
                "no larger a table than the blocks together, though {text} bytes of text would bear more",
                "词表的参数不超过各层之和；{text} 字节的文本本可更大"
            )
        } else {
            said!(
                "a token for each {BYTES_PER_TOKEN} or more of {text} bytes of text, so that each is seen dozens of times a pass",
                "文本共 {text} 字节，每 {BYTES_PER_TOKEN} 字节以上一个词元，每遍各见几十次"
            )
        }
    });
    let context = notes.choose("model.new.context", new.context, CONTEXT, |_| {
        said!(
            "pages rather than books: a small model uses little of what is far away",
            "够几页而非一本书：小模型很少用到远处的内容"
        )
    });
    (shape.vocab, shape.context) = (vocab, context);
    form::windows(new, context, &mut shape, notes);
    shape
}

/// What there is to learn from, once the vocabulary is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lessons {
    /// parameters of the network
    pub(super) parameters: usize,
    /// sequences of one pass
    pub(super) sequences: usize,
    /// their tokens
    pub(super) tokens: usize,
    /// tokens of the longest
    pub(super) longest: usize,
}

/// How the language is learnt.
pub(super) fn course(
    new: &Newborn,
    shape: &Shape,
    effort: Effort,
    seed: u64,
    lessons: Lessons,
    notes: &mut Notes,
) -> TrainConfig {
    let Lessons { parameters, sequences, tokens: pass, longest } = lessons;
    let (best, most) = (TOKENS_PER_PARAMETER * parameters, passes(effort));
    let tokens = notes.choose("model.new.tokens", new.tokens, best.min(most * pass), |_| {
        let (pass, best) = (thousands(pass as f64), thousands(best as f64));
        if most * lessons.tokens < TOKENS_PER_PARAMETER * parameters {
            let word = effort.word();
            said!(
                "effort {word}: {most} passes over {pass} tokens; {TOKENS_PER_PARAMETER} for each parameter would be {best}, more text than there is",
                "力度 {word}：{pass} 个词元过 {most} 遍；按每参数 {TOKENS_PER_PARAMETER} 个要 {best} 个，文本没有那么多"
            )
        } else {
            said!(
                "{TOKENS_PER_PARAMETER} for each parameter: the most that a given amount of work can learn",
                "每参数 {TOKENS_PER_PARAMETER} 个：同样的计算量学得最多"
            )
        }
    });
    let wanted = power_of_two(tokens / STEPS).clamp(SMALLEST_BATCH, LARGEST_BATCH);
    let batch_tokens = notes.choose("model.new.batch_tokens", new.batch_tokens, wanted, |_| {
        said!("about {STEPS} steps or more, each of enough text", "约 {STEPS} 步以上，每步的文本又够多")
    });
    let mean = (pass as f64 / sequences.max(1) as f64).max(1.0);
    let batch = ((batch_tokens as f64 / mean).round() as usize).clamp(1, sequences.max(1));
    let steps = ((tokens as f64 / (batch as f64 * mean)).round() as usize).max(1);
    notes.state(
        "steps",
        steps.to_string(),
        said!(
            "tokens / {batch} sequences of {mean:.0} tokens",
            "词元数 / 每步 {batch} 条、每条约 {mean:.0} 词元"
        ),
    );
    let rate = RATE * (256.0 / shape.width as f64).sqrt();
    let rate = notes.choose("model.new.rate", new.rate, (rate * 1e5).round() / 1e5, |_| {
        said!(
            "at a width of 256, 3e-3 and 6e-3 learnt alike, 1.5e-3 worse; wider networks take smaller steps",
            "宽 256 时，3e-3 与 6e-3 效果相近，1.5e-3 较差；越宽步子越小"
        )
    });
    notes.state(
        "model.new.optimiser",
        "muon".to_string(),
        Said::new(
            "Muon for the projections, AdamW for the rest; the rate stays up and falls in the last fifth (WSD)",
            "投影用 Muon，其余用 AdamW；学习率保持不变，最后五分之一下降（WSD）",
        ),
    );
    TrainConfig {
        length: RunLength::Steps(steps as u64),
        batch,
        micro_tokens: MICRO_TOKENS.max(longest),
        optimiser: Optimiser::Muon,
        rate,
        warmup: (WARMUP * steps as f64).ceil() as u64,
        schedule: Schedule::Wsd,
        betas: (0.9, 0.95),
        weight_decay: WEIGHT_DECAY,
        seed,
        checkpoint_every: (CHECKPOINT_TOKENS as f64 / (batch as f64 * mean)).ceil() as u64,
        ..TrainConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dial_gives_a_network_and_every_value_its_reason() {
        for depth in [1, 2, 3, 4, 6, 12, 24] {
            let mut notes = Notes::default();
            let new = Newborn { depth, ..Newborn::default() };
            let shape = shape(&new, 1_200_000, &mut notes);
            shape.check().unwrap();
            // 8,000 by the text; a network of one or two blocks bears less
            assert_eq!(
                (shape.vocab, shape.width),
                (if depth < 3 { [1024, 2048][depth - 1] } else { 4096 }, 64 * depth.max(2))
            );
            let lessons = Lessons { parameters: 4_000_000, sequences: 900, tokens: 400_000, longest: 512 };
            let config = course(&new, &shape, Effort::Quick, 1, lessons, &mut notes);
            config.check().unwrap();
            // four passes: the text is short for so many parameters
            let learnt = config.total_steps(900) as f64 * config.batch as f64 * 400_000.0 / 900.0;
            assert!((learnt / 1.6e6 - 1.0).abs() < 0.02, "{learnt}");
            for value in &notes.0 {
                assert!(
                    !value.given && value.reason.en.len() > 10 && !value.reason.zh.is_ascii(),
                    "{value:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_given_stays() {
        let new = Newborn {
            width: Some(96),
            heads: Some(3),
            kv_heads: Some(1),
            ffn: Some(200),
            vocab: Some(700),
            context: Some(64),
            tokens: Some(10_000),
            batch_tokens: Some(640),
            rate: Some(0.01),
            ..Newborn::default()
        };
        let mut notes = Notes::default();
        let shape = shape(&new, 1_200_000, &mut notes);
        let want = Shape {
            vocab: 700,
            layers: 4,
            width: 96,
            heads: 3,
            kv_heads: 1,
            ffn: 200,
            context: 64,
            ..Shape::default()
        };
        assert_eq!(shape, want);
        let lessons = Lessons { parameters: 4_000_000, sequences: 1000, tokens: 64_000, longest: 64 };
        let config = course(&new, &shape, Effort::Normal, 1, lessons, &mut notes);
        assert_eq!((config.batch, config.total_steps(1000), config.rate), (10, 16, 0.01));
        assert_eq!(notes.0.iter().filter(|v| v.given).count(), 9);
    }
}
