//! From a prefix tree to the batch that the network trains on.

use nurture_data::PrefixTree;
use nurture_model::{LossRow, TrainBatch};

/// The batch of a tree: a span a segment, a token's position is its depth, and a loss that `n` sequences have in common
/// weighs `n · weight`. Losses stand in the order of [`PrefixTree::losses`].
pub fn lay_out(tree: &PrefixTree<'_>, weight: f32) -> TrainBatch {
    let mut out = TrainBatch::default();
    for segment in &tree.segments {
        // a span a segment: they have the same numbers
        out.batch.follow(segment.parent, segment.tokens);
    }
    let loss = |l: &nurture_data::TreeLoss| LossRow {
        row: l.row,
        target: l.target,
        weight: weight * l.count as f32,
    };
    out.losses = tree.losses.iter().map(loss).collect();
    out
}
