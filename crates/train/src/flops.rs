//! Useful floating-point operations of LoRA training: what the mathematics asks for, whatever the engine does.

use crate::error::TrainError;
use crate::subject::Subject;
use nurture_data::{PrefixTree, TokenExample};
use nurture_model::{Config, LoraSpec};

/// Operations of one token of a sequence; a multiply-add is two.
///
/// `useful = frozen + head + attention` is the count behind every "useful GFLOP/s" of this project:
///
/// * each frozen weight: 2 forward and 2 backward to its input (`dY·W`); it has no gradient of its own;
/// * the vocabulary projection: the same, but only for tokens that carry loss;
/// * attention: a token sees half of the sequence on average (causal), `Q·Kᵀ` and `P·V` forward (2 products) and
///   `dP`, `dV`, `dQ`, `dK` backward (4);
/// * nothing is counted twice: no recomputation of activations, scores or dequantised weights;
/// * norms, rotations, activations, soft-max and the optimiser are not counted (about 1 %), and neither are the LoRA
///   pairs' own products (`lora`, 5 % at rank 16), so that runs of different ranks compare on the same work.
///
/// SmolLM2-135M, 512 tokens, loss on each: 4 · 134.48 M + 6 · 2 · 576 · 256 · 30 = 0.591 GFLOP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlopsPerToken {
    /// The frozen projections of all blocks, forward and backward.
    pub frozen: f64,
    /// The vocabulary projection, forward and backward, of a token that carries loss.
    pub head: f64,
    /// Attention, forward and backward, of an average token.
    pub attention: f64,
}

impl FlopsPerToken {
    /// The counts for sequences of `tokens` tokens.
    pub fn new(c: &Config, tokens: usize) -> FlopsPerToken {
        // of experts those that work on the token
        let (_, weights) = c.block_weights();
        let keys: f64 = (0..c.layers)
            .map(|l| match c.windows.get(l).copied().flatten() {
                // the first `w` tokens see half of `w` on average, the others `w`
                Some(w) if w < tokens => w as f64 * (1.0 - w as f64 / (2.0 * tokens as f64)),
                _ => tokens as f64 / 2.0,
            })
            .sum();
        FlopsPerToken {
            frozen: 4.0 * (c.layers as u64 * weights) as f64,
            head: 4.0 * (c.vocab * c.width) as f64,
            attention: 6.0 * 2.0 * c.q_width() as f64 * keys,
        }
    }

    /// The products of the LoRA pairs, forward and backward: 6 a trained value. Not part of the useful count.
    pub fn lora(c: &Config, lora: &LoraSpec) -> f64 {
        6.0 * lora.parameters(c) as f64
    }

    /// Operations of a whole micro-batch: what its sequences share is done once.
    pub fn tree(c: &Config, tree: &PrefixTree<'_>) -> f64 {
        // attention of the first `n` tokens of a sequence; a segment adds what its tokens add to it
        let attention = |n: usize| if n == 0 { 0.0 } else { FlopsPerToken::new(c, n).attention * n as f64 };
        let segments = tree.segments.iter().map(|s| attention(s.start + s.tokens.len()) - attention(s.start));
        let one = FlopsPerToken::new(c, 1);
        one.frozen * tree.rows() as f64 + segments.sum::<f64>() + one.head * tree.losses.len() as f64
    }

    /// The same with the gradients of the network's own weights (`Subject::own_flop`).
    pub(crate) fn packed(c: &Config, tree: &PrefixTree<'_>, blocks: f64, head: f64) -> f64 {
        FlopsPerToken::tree(c, tree) + blocks * tree.rows() as f64 + head * tree.losses.len() as f64
    }

    /// The same without the way back: half of each weight's work, a third of attention's.
    pub(crate) fn tree_forward(c: &Config, tree: &PrefixTree<'_>) -> f64 {
        let one = FlopsPerToken::new(c, 1);
        let weights = one.frozen * tree.rows() as f64 + one.head * tree.losses.len() as f64;
        weights / 2.0 + (FlopsPerToken::tree(c, tree) - weights) / 3.0
    }

    /// Useful operations of a window of general text on which breadth is kept: the vocabulary projection at each of
    /// its tokens, and the base's beside it (forward alone, half of forward and backward).
    pub(crate) fn kept(c: &Config, tokens: usize) -> f64 {
        let one = FlopsPerToken::new(c, tokens);
        (one.frozen + one.attention + 1.5 * one.head) * tokens as f64
    }

    /// Useful operations of the base's own pass over such a window, done once.
    pub(crate) fn read_once(c: &Config, tokens: usize) -> f64 {
        let one = FlopsPerToken::new(c, tokens);
        (one.frozen + one.attention) / 2.0 * tokens as f64
    }
}

/// Useful operations of one pass over these micro-batches, what their examples share (where `sharing` is on) done once;
/// the gradients of the network's own weights, where they train, are among them.
///
/// # Errors
/// Parts to freeze that are not there.
pub fn useful_flop(
    c: &Config,
    subject: &Subject,
    packs: &[&[&TokenExample]],
    sharing: bool,
) -> Result<f64, TrainError> {
    let (blocks, head) = subject.own_flop(c)?;
    let one = |pack: &&[&TokenExample]| {
        let tree = PrefixTree::new(pack, sharing);
        FlopsPerToken::packed(c, &tree, blocks, head)
    };
    Ok(packs.iter().map(one).sum())
}

/// Useful GFLOP of a token in a sequence of `tokens` tokens that all carry loss; see [`FlopsPerToken`].
/// Does not depend on the adapter: its own products are not counted.
pub fn useful_gflop_per_token(c: &Config, tokens: usize) -> f64 {
    let one = FlopsPerToken::new(c, tokens);
    (one.frozen + one.head + one.attention) * 1e-9
}
