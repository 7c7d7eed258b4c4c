//! The memory table: what a training step holds, sized before it runs.

use crate::adapter::{LoraSpec, Projection};
use crate::config::Config;
use crate::keep::keep_rows;
use crate::loss::logit_rows;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRow {
    /// what it is
    pub name: &'static str,
    /// its bytes
    pub bytes: u64,
}

/// What the sizes depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingShape {
    /// most tokens of a micro-batch `T`
    pub tokens: usize,
    /// most loss rows of a micro-batch
    pub loss_rows: usize,
    /// longest sequence of a micro-batch
    pub longest: usize,
    /// threads that work
    pub threads: usize,
    /// bytes of the base model's weights in memory
    pub base_bytes: u64,
}

/// What trains, as far as memory depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// the adapter, where one trains
    pub lora: Option<LoraSpec>,
    /// floats of the network's own parameters that train, where it trains itself
    pub floats: u64,
    /// bytes that the optimiser remembers for each float that trains
    pub moment_bytes: f64,
    /// whether blocks are computed again in the backward pass
    pub recompute: bool,
    /// whether an average of the values is kept beside them
    pub average: bool,
}

impl From<&LoraSpec> for Learning {
    /// An adapter that learns by AdamW.
    fn from(lora: &LoraSpec) -> Learning {
        Learning { lora: Some(lora.clone()), floats: 0, moment_bytes: 8.0, recompute: false, average: false }
    }
}

/// Bytes that the vocabulary's part of a window of `tokens` tokens of general text takes: its logits beside those of
/// the base.
pub fn keep_memory(c: &Config, tokens: usize) -> [(&'static str, u64); 1] {
    let rows = keep_rows(c.vocab).min(tokens) as u64;
    [("logits", 4 * 2 * rows * c.vocab as u64)]
}

/// Sizes every large buffer of training in bytes; their sum is the forecast of the peak.
pub fn memory_table(c: &Config, learning: impl Into<Learning>, s: &TrainingShape) -> Vec<MemoryRow> {
    let learning: Learning = learning.into();
    let none = LoraSpec { rank: 0, alpha: 1.0, rslora: false, targets: Vec::new() };
    let lora = learning.lora.as_ref().unwrap_or(&none);
    let t = s.tokens as u64;
    let (d, q, kv, f) = (c.width as u64, c.q_width() as u64, c.kv_width() as u64, c.mlp_width() as u64);
    let inside = if c.has(Projection::Up) && !c.has(Projection::Gate) { f } else { 2 * f };
    // probabilities, choices and outputs of experts; their inputs stand once for all layers
    let (routed, sent) = c.experts.map_or((0, 0), |e| {
        let (all, active) = (e.count as u64, e.active as u64);
        (all + 4 * active + active * d, all + active + active * d)
    });
    let ranks = (lora.rank * lora.targets.iter().filter(|p| c.has(**p)).count()) as u64;
    let qk = if c.qk_norm { q + kv + (c.heads + c.kv_heads) as u64 } else { 0 };
    let post = if c.post_norms { 2 * d + 2 } else { 0 };
    let layer = 2 * d + 2 + 2 * q + 2 * kv + c.heads as u64 + inside + ranks + qk + post + routed;
    let trained = lora.parameters(c) as u64 + learning.floats;
    // both transposes of a pair, padded to whole vectors, are kept beside it
    let padded = |n: usize| n.next_multiple_of(16);
    let transposes: usize = lora
        .targets
        .iter()
        .filter(|p| c.has(**p))
        .map(|p| {
            let (d, n) = p.shape(c);
            d * padded(lora.rank) + lora.rank * padded(n)
        })
        .sum();
    let head_rows = logit_rows(c.vocab).min(s.loss_rows.max(1)) as u64;
    // a weight's gradient packs its input
    let own_packed = if learning.floats > 0 { t * f.max(q).max(d) } else { 0 };
    let scores =
        s.threads as u64 * (2 * 128 * s.longest as u64 + 2 * (s.longest * c.head_dim) as u64 + 600_000);
    let row = |name, floats: u64| MemoryRow { name, bytes: 4 * floats };
    let own = if learning.lora.is_some() { "adapter" } else { "trained weights" };
    let moments = (trained as f64 * learning.moment_bytes) as u64;
    let average = if learning.average { trained } else { 0 };
    // an adapter's checkpoint is written from a copy while training goes on
    let snapshot = if learning.lora.is_some() { 4 * (trained + average) + moments } else { 0 };
    // with recomputation: the input of each block, and one block's activations
    let kept = match learning.recompute {
        true => t * (layer + d * c.layers as u64),
        false => t * layer * c.layers as u64,
    };
    let mut table = vec![
        MemoryRow { name: "base weights", bytes: s.base_bytes },
        row(own, trained + (transposes * c.layers) as u64),
        row("gradients", trained),
        MemoryRow { name: "optimiser moments", bytes: moments },
        row("average of the weights", average),
        MemoryRow { name: "checkpoint on its way", bytes: snapshot },
        row("kept activations", kept),
        row("stream and its gradients", t * (3 * d + f + sent) + t * (2 * d + f + 2 * q + 2 * kv)),
        row("packed operands", t * ranks + own_packed),
        row("logits", head_rows * c.vocab as u64),
        row("panels and scores", scores),
    ];
    table.retain(|row| row.bytes > 0);
    table
}
