//! Tokens of an adapter's own: rows that stand in the place of the embedding's, and of the head's where the head is the
//! embedding (PEFT's `trainable_token_indices`). A company's words and marks get a meaning of their own, and the base
//! stays as it is.
//!
//! The table of the base is never copied. Forward: rows of `x` and columns of the logits are written over. Backward: the
//! columns' gradients are taken out before the head's product sees them, and joined by the own rows.

use crate::adapter::Adapter;
use crate::batch::Batch;
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::parameters::Slot;
use crate::product::Mode;
use nurture_kernels::{
    Backward, Cpu, Forward, Linear, Quantised, Scales, linear_at, linear_backward, linear_fast,
    linear_fast_at, linear_forward,
};
use std::ops::Range;

/// Rows of tokens, ids ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRows {
    ids: Vec<u32>,
    /// `[ids, D]`
    rows: Vec<f32>,
}

impl TokenRows {
    /// Rows `[ids, D]` of these tokens, in any order.
    ///
    /// # Panics
    /// If a token stands there twice or the rows do not fit.
    pub fn new(ids: &[u32], rows: &[f32]) -> TokenRows {
        if ids.is_empty() {
            return TokenRows::default();
        }
        assert!(rows.len().is_multiple_of(ids.len()), "rows of tokens");
        let d = rows.len() / ids.len();
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&i| ids[i]);
        assert!(order.windows(2).all(|w| ids[w[0]] != ids[w[1]]), "a token twice");
        TokenRows {
            ids: order.iter().map(|&i| ids[i]).collect(),
            rows: order.iter().flat_map(|&i| rows[i * d..][..d].iter().copied()).collect(),
        }
    }

    /// The tokens, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Their rows `[ids, D]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    pub(crate) fn rows_mut(&mut self) -> &mut [f32] {
        &mut self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn width(&self) -> usize {
        self.rows.len() / self.ids.len().max(1)
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// The row of a token, where it is an own one.
    pub fn row(&self, id: u32) -> Option<&[f32]> {
        self.place(id).map(|i| &self.rows[i * self.width()..][..self.width()])
    }

    /// Logits of the own tokens, over those of the base: `n` `[T, D]` normed, `logits` `[T, V]`.
    fn write_over(&self, n: &[f32], logits: &mut [f32]) {
        let (d, t) = (self.width(), n.len() / self.width().max(1));
        let vocab = logits.len() / t.max(1);
        for (n, logits) in n.chunks_exact(d).zip(logits.chunks_exact_mut(vocab)) {
            for (&id, row) in self.ids.iter().zip(self.rows.chunks_exact(d)) {
                logits[id as usize] = dot(n, row);
            }
        }
    }
}

/// Summed in one order, in double precision: the same bits whatever stands beside it.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}

impl Adapter {
    /// The same adapter with own rows for these tokens, which begin as the base's.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn with_tokens(mut self, cpu: &Cpu, model: &Decoder, ids: &[u32]) -> Result<Adapter, ModelError> {
        let (d, vocab) = (model.config().width, model.config().vocab);
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        if let Some(place) = ids.iter().position(|&id| id as usize >= vocab) {
            return Err(ModelError::Token { token: ids[place], place, vocab });
        }
        let mut rows = vec![0f32; ids.len() * d];
        for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(d)) {
            model.merged_rows(cpu.pool(), None, Slot::Embed, id as usize, row);
        }
        self.tokens = TokenRows::new(&ids, &rows);
        Ok(self)
    }

    /// Its own tokens.
    pub fn tokens(&self) -> &TokenRows {
        &self.tokens
    }

    /// Calls `change` with the rows of its own tokens, where there are any.
    pub fn update_tokens(&mut self, change: impl FnOnce(&mut [f32])) {
        if !self.tokens.is_empty() {
            change(self.tokens.rows_mut());
        }
    }
}

impl Decoder {
    /// Puts own rows in the place of embedded tokens: rows `range` of `x` `[T, D]`, before positions are added.
    pub(crate) fn embed_own(&self, own: &TokenRows, batch: &Batch, range: Range<usize>, x: &mut [f32]) {
        if own.is_empty() {
            return;
        }
        let (d, scale) = (self.config.width, self.config.embed_scale);
        for at in range {
            if let Some(row) = own.row(batch.tokens[at]) {
                x[at * d..][..d].iter_mut().zip(row).for_each(|(x, r)| *x = scale * r);
            }
        }
    }

    /// Own columns of the head: only a head that is the embedding has them.
    fn own_columns<'a>(&self, adapter: Option<&'a Adapter>) -> Option<&'a TokenRows> {
        adapter.map(|a| &a.tokens).filter(|t| self.tied() && !t.is_empty())
    }

    /// Logits `[m, V]` of normed rows `n` `[m, D]`, float32.
    pub(crate) fn head_forward(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        n: &[f32],
        m: usize,
        logits: &mut [f32],
    ) {
        let linear = Linear { weight: self.head(), bias: None, lora: None };
        linear_forward(cpu, n, m, &mut [Forward { linear, y: logits, h: &mut [] }]);
        if let Some(own) = self.own_columns(adapter) {
            own.write_over(n, logits);
        }
    }

    /// From the gradient of the logits `[m, V]` to that of their normed input, `dn` `[m, D]` (written), and of the own
    /// rows (`into`, added to). The gradients of own columns are zero afterwards.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn head_backward(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        n: &[f32],
        m: usize,
        dlogits: &mut [f32],
        dn: &mut [f32],
        into: Option<&mut [f32]>,
    ) {
        let (d, vocab) = (self.config.width, self.config.vocab);
        let own = self.own_columns(adapter);
        let mut columns: Vec<f32> = Vec::new();
        if let Some(own) = own {
            for row in dlogits.chunks_exact_mut(vocab).take(m) {
                columns.extend(own.ids.iter().map(|&id| std::mem::take(&mut row[id as usize])));
            }
        }
        let linear = Linear { weight: self.head(), bias: None, lora: None };
        let part = Backward { linear, dy: dlogits, h: &[], grads: None };
        linear_backward(cpu, n, m, &mut [part], Some(dn), false);
        let Some(own) = own else { return };
        let mut into = into;
        for (at, g) in columns.chunks_exact(own.ids.len()).enumerate() {
            let (n, dn) = (&n[at * d..][..d], &mut dn[at * d..][..d]);
            for (k, (&g, row)) in g.iter().zip(own.rows.chunks_exact(d)).enumerate() {
                dn.iter_mut().zip(row).for_each(|(dn, r)| *dn += g * r);
                if let Some(into) = &mut into {
                    into[k * d..][..d].iter_mut().zip(n).for_each(|(dr, n)| *dr += g * n);
                }
            }
        }
    }

    /// Adds to `into` the gradient of own rows as embedded tokens, from that of the stream below the first block.
    pub(crate) fn embed_own_backward(&self, own: &TokenRows, batch: &Batch, dx: &[f32], into: &mut [f32]) {
        let (d, scale) = (self.config.width, self.config.embed_scale);
        for (token, dx) in batch.tokens.iter().zip(dx.chunks_exact(d)) {
            if let Some(k) = own.place(*token) {
                into[k * d..][..d].iter_mut().zip(dx).for_each(|(dr, dx)| *dr += scale * dx);
            }
        }
    }

    /// Logits `[T, V]` of rows of the residual stream `x` `[T, D]`, with the own tokens of `adapter`.
    pub fn logits(&self, cpu: &Cpu, adapter: Option<&Adapter>, mode: Mode, x: &[f32], out: &mut [f32]) {
        let n = self.last_norm(cpu, x);
        let t = n.len() / self.config.width;
        match mode {
            Mode::Exact => self.head_forward(cpu, adapter, &n, t, out),
            Mode::Fast => {
                let linear = Linear { weight: self.head(), bias: None, lora: None };
                let mut bytes = Quantised::default();
                bytes.set(cpu.pool(), &n, self.config.width, Scales::of([self.head()]));
                linear_fast(cpu, &n, &bytes, t, &mut [Forward { linear, y: out, h: &mut [] }]);
                if let Some(own) = self.own_columns(adapter) {
                    own.write_over(&n, out);
                }
            }
        }
    }

    /// Writes the logits of an adapter's own tokens over those of the base: what [`Decoder::logits`] gives with the adapter,
    /// from what it gave without.
    pub fn own_logits(&self, cpu: &Cpu, adapter: &Adapter, x: &[f32], out: &mut [f32]) {
        if let Some(own) = self.own_columns(Some(adapter)) {
            own.write_over(&self.last_norm(cpu, x), out);
        }
    }

    /// Logits of the tokens `ids` only, `[T, ids.len()]`: the same bits as [`Decoder::logits`] gives there.
    pub fn logits_at(
        &self,
        cpu: &Cpu,
        adapter: Option<&Adapter>,
        mode: Mode,
        x: &[f32],
        ids: &[u32],
        out: &mut [f32],
    ) {
        let n = self.last_norm(cpu, x);
        match mode {
            Mode::Exact => linear_at(cpu, self.head(), &n, ids, out),
            Mode::Fast => {
                let mut bytes = Quantised::default();
                bytes.set(cpu.pool(), &n, self.config.width, Scales::of([self.head()]));
                linear_fast_at(cpu, self.head(), &n, &bytes, ids, out);
            }
        }
        let Some(own) = self.own_columns(adapter) else { return };
        for (n, out) in n.chunks_exact(self.config.width).zip(out.chunks_exact_mut(ids.len().max(1))) {
            for (&id, out) in ids.iter().zip(out) {
                if let Some(row) = own.row(id) {
                    *out = dot(n, row);
                }
            }
        }
    }
}
