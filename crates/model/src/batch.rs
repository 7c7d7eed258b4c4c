//! What one forward pass works on: tokens, where they stand, and where their keys lie.

use crate::config::Config;
use nurture_kernels::{Ahead, KEY_PANEL, KvLayer, KvType, Pool, Span};

/// New tokens of one or more sequences.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// token ids `[T]`
    pub tokens: Vec<u32>,
    /// position of each token in its sequence `[T]`
    pub positions: Vec<u32>,
    /// runs of tokens with the rows of their keys: rows of a [`KvCache`], or of the batch itself in training
    pub spans: Vec<Span>,
}

impl Batch {
    /// Appends a run of tokens that begin at `position`; `keys` as in [`Span::keys`]; `tree` as in [`Span::tree`].
    pub fn push(&mut self, tokens: &[u32], position: usize, keys: Vec<(usize, usize)>, tree: usize) {
        let row = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((0..tokens.len()).map(|i| (position + i) as u32));
        self.spans.push(Span { row, len: tokens.len(), keys, tree });
    }

    /// Appends tokens that follow span `after` of this batch, or begin a sequence, with the batch's own rows as keys:
    /// they see that span's tokens, what it follows, and themselves. Gives the number of the new span.
    ///
    /// The spans of a tree must be appended one after the other (ancestors first, in any order otherwise).
    ///
    /// # Panics
    /// If there is no span `after`.
    pub fn follow(&mut self, after: Option<usize>, tokens: &[u32]) -> usize {
        let (row, number) = (self.tokens.len(), self.spans.len());
        let (mut keys, tree) = match after {
            Some(parent) => (self.spans[parent].keys.clone(), self.spans[parent].tree),
            None => (Vec::new(), number),
        };
        let position = keys.iter().map(|k| k.1).sum();
        match keys.last_mut() {
            // a first child lies behind its parent: one stretch
            Some(last) if last.0 + last.1 == row => last.1 += tokens.len(),
            _ => keys.push((row, tokens.len())),
        }
        self.push(tokens, position, keys, tree);
        number
    }

    /// Number of tokens `T`.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Keys and values of past tokens: rows that the owner hands out as he likes.
#[derive(Debug)]
pub struct KvCache {
    rows: usize,
    width: usize,
    /// bytes of the keys and values of a token in all layers
    token_bytes: usize,
    pub(crate) layers: Vec<KvLayer>,
}

impl KvCache {
    /// Room for `rows` tokens in float32. Memory is taken as rows are first written.
    pub fn new(config: &Config, rows: usize) -> KvCache {
        KvCache::of(KvType::F32, config, rows)
    }

    /// The same with numbers stored as `kind` says.
    pub fn of(kind: KvType, config: &Config, rows: usize) -> KvCache {
        let layer = || KvLayer::new(kind, rows, config.kv_heads, config.head_dim);
        KvCache {
            rows,
            width: config.kv_width(),
            token_bytes: KvCache::token_bytes(kind, config),
            layers: (0..config.layers).map(|_| layer()).collect(),
        }
    }

    /// Bytes of the keys and values of one token.
    pub fn token_bytes(kind: KvType, config: &Config) -> usize {
        2 * config.layers * kind.row_bytes(config.kv_heads, config.head_dim)
    }

    /// Tokens that fit.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes when full.
    pub fn bytes(&self) -> usize {
        self.rows.next_multiple_of(KEY_PANEL) * self.token_bytes
    }

    /// Copies the new rows of a layer to where their spans say they live.
    pub(crate) fn store(&mut self, pool: &Pool, layer: usize, spans: &[Span], k: &[f32], v: &[f32]) {
        let w = self.width;
        for (row, from, n) in spans.iter().flat_map(places) {
            let of = from * w..(from + n) * w;
            self.layers[layer].store(pool, row, &k[of.clone()], &v[of]);
        }
    }

    /// Adds the places of the new rows of a layer.
    pub(crate) fn expect(&self, layer: usize, spans: &[Span], ahead: &mut Ahead) {
        let Some(layer) = self.layers.get(layer) else { return };
        for (row, _, n) in spans.iter().flat_map(places) {
            layer.expect(row..row + n, ahead);
        }
    }
}

/// Where the new rows of a span live: `(row of the cache, row of the batch, count)`.
fn places(span: &Span) -> impl Iterator<Item = (usize, usize, usize)> {
    // the last `len` keys of the chain are the span's own
    let (mut at, before) = (0, span.key_count() - span.len);
    span.keys.iter().filter_map(move |&(row, count)| {
        let skip = before.saturating_sub(at).min(count);
        let from = span.row + at + skip - before.min(at + skip);
        at += count;
        (count > skip).then_some((row + skip, from, count - skip))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_sees_its_ancestors() {
        let mut batch = Batch::default();
        let trunk = batch.follow(None, &[1, 2, 3]);
        let left = batch.follow(Some(trunk), &[4]);
        batch.follow(Some(left), &[5, 6]);
        let right = batch.follow(Some(trunk), &[7]);
        batch.follow(Some(right), &[8]);
        batch.follow(None, &[9]);
        let spans: Vec<_> = batch.spans.iter().map(|s| (s.row, s.len, s.keys.as_slice(), s.tree)).collect();
        let want: [(_, _, &[_], _); 6] = [
            (0, 3, &[(0, 3)], 0),
            (3, 1, &[(0, 4)], 0),
            (4, 2, &[(0, 6)], 0),
            (6, 1, &[(0, 3), (6, 1)], 0),
            (7, 1, &[(0, 3), (6, 2)], 0),
            (8, 1, &[(8, 1)], 5),
        ];
        assert_eq!(spans, want);
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 5, 3, 4, 0]);
    }
}
