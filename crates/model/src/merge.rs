//! A network and what was taught to it as one set of weights, row by row, so that nothing is ever held twice.
//!
//! `W' = W + s B A`, and with magnitudes (DoRA) `W' = m / ‖W + s B A‖ · (W + s B A)` by rows; rows of own tokens stand in the
//! place of the embedding's.

use crate::adapter::Adapter;
use crate::decoder::Decoder;
use crate::parameters::Slot;
use nurture_kernels::{Pool, untile};
use std::sync::Mutex;

impl Decoder {
    /// Fills `out` with whole rows of a parameter, from row `first` on, in Hugging Face's order, merged with `adapter`;
    /// a vector is one row.
    ///
    /// # Panics
    /// If `out` is not whole rows that are there.
    pub fn merged_rows(
        &self,
        pool: &Pool,
        adapter: Option<&Adapter>,
        slot: Slot,
        first: usize,
        out: &mut [f32],
    ) {
        let Some(weight) = self.weight_at(slot) else {
            out.copy_from_slice(self.vector(slot).unwrap_or_default());
            return;
        };
        let cols = weight.cols();
        let pair = match slot {
            Slot::Weight(l, p) => adapter.and_then(|a| a.pair(l, p)),
            _ => None,
        };
        let factors = match slot {
            Slot::Weight(l, p) => adapter.and_then(|a| a.magnitude(l, p)).map(|m| m.factors()),
            _ => None,
        };
        let rows: Vec<Mutex<&mut [f32]>> = out.chunks_exact_mut(cols).map(Mutex::new).collect();
        const GROUP: usize = 16;
        pool.run(rows.len().div_ceil(GROUP), |group| {
            let mut sums = vec![0f64; cols];
            for (i, row) in rows.iter().enumerate().skip(group * GROUP).take(GROUP) {
                let mut out = row.lock().unwrap_or_else(|e| e.into_inner());
                let row = first + i;
                match weight.floats() {
                    Some(tiles) => untile(tiles, cols, row, &mut out),
                    None => weight.row_into(row, &mut out),
                }
                if let (Slot::Embed, Some(own)) = (slot, adapter.and_then(|a| a.tokens().row(row as u32))) {
                    out.copy_from_slice(own);
                }
                let Some(pair) = pair else { continue };
                let rank = pair.rank();
                sums.fill(0.0);
                for (b, a) in pair.b()[row * rank..][..rank].iter().zip(pair.a().chunks_exact(cols)) {
                    let b = f64::from(*b) * f64::from(pair.scale());
                    sums.iter_mut().zip(a).for_each(|(s, a)| *s += b * f64::from(*a));
                }
                let factor = factors.map_or(1.0, |f| f64::from(f[row]));
                out.iter_mut().zip(&sums).for_each(|(o, s)| *o = (factor * (f64::from(*o) + s)) as f32);
            }
        });
    }
}
