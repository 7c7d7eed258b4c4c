//! Attention written plainly in f64: every token looks at a list of rows. The lists come from a forest of runs of
//! tokens, from which the spans are made too.

use nurture_kernels::*;

/// Runs of tokens in the order of the batch; each continues its parent (an earlier run of the same tree).
pub(crate) struct Forest(pub(crate) Vec<(Option<usize>, usize)>);

impl Forest {
    /// Sequences side by side.
    pub(crate) fn packed(lens: &[usize]) -> Forest {
        Forest(lens.iter().map(|&n| (None, n)).collect())
    }

    pub(crate) fn tokens(&self) -> usize {
        self.0.iter().map(|n| n.1).sum()
    }

    /// Rows of run `i` in the batch.
    pub(crate) fn rows(&self, i: usize) -> std::ops::Range<usize> {
        let first = self.0[..i].iter().map(|n| n.1).sum();
        first..first + self.0[i].1
    }

    /// Runs from the root to `i`.
    pub(crate) fn line(&self, i: usize) -> Vec<usize> {
        let mut line = self.0[i].0.map_or(Vec::new(), |parent| self.line(parent));
        line.push(i);
        line
    }

    /// Runs that nobody continues: each ends one whole sequence.
    pub(crate) fn leaves(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|&i| self.0.iter().all(|n| n.0 != Some(i))).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let span = |i: usize| {
            let line = self.line(i);
            let keys = line.iter().map(|&j| (self.rows(j).start, self.0[j].1)).collect();
            Span { row: self.rows(i).start, len: self.0[i].1, keys, tree: line[0] }
        };
        (0..self.0.len()).map(span).collect()
    }

    /// The rows that each token sees without a window, by position, its own last.
    pub(crate) fn seen(&self) -> Vec<Vec<usize>> {
        let mut seen = Vec::new();
        for i in 0..self.0.len() {
            let line = self.line(i);
            let mut rows: Vec<usize> =
                line[..line.len() - 1].iter().flat_map(|&ancestor| self.rows(ancestor)).collect();
            for row in self.rows(i) {
                rows.push(row);
                seen.push(rows.clone());
            }
        }
        seen
    }
}

/// Weights of one token's head: `(key row, weight)`, and the logarithm of the softmax's sum.
fn weights(
    s: &AttentionShape,
    seen: &[usize],
    q: &[f64],
    k: &[f64],
    t: usize,
    h: usize,
) -> (Vec<(usize, f64)>, f64) {
    let (d, kv) = (s.head_dim, h / (s.heads / s.kv_heads));
    let rows = &seen[seen.len() - s.window.unwrap_or(usize::MAX).min(seen.len())..];
    let query = &q[(t * s.heads + h) * d..][..d];
    let score = |row: usize| {
        let key = &k[(row * s.kv_heads + kv) * d..][..d];
        s.scale as f64 * query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>()
    };
    let scores: Vec<f64> = rows.iter().map(|&r| score(r)).collect();
    let top = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let lse = top + scores.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    (rows.iter().zip(&scores).map(|(&r, x)| (r, (x - lse).exp())).collect(), lse)
}

/// `(o, lse)`.
pub(crate) fn forward(
    s: &AttentionShape,
    seen: &[Vec<usize>],
    q: &[f64],
    k: &[f64],
    v: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let d = s.head_dim;
    let mut o = vec![0.0; seen.len() * s.heads * d];
    let mut lses = Vec::new();
    for (t, rows) in seen.iter().enumerate() {
        for h in 0..s.heads {
            let (p, lse) = weights(s, rows, q, k, t, h);
            lses.push(lse);
            for (row, p) in p {
                let at = (row * s.kv_heads + h / (s.heads / s.kv_heads)) * d;
                for x in 0..d {
                    o[(t * s.heads + h) * d + x] += p * v[at + x];
                }
            }
        }
    }
    (o, lses)
}

/// `[dq, dk, dv]`, by the derivative of the softmax.
pub(crate) fn backward(
    s: &AttentionShape,
    seen: &[Vec<usize>],
    [q, k, v]: [&[f64]; 3],
    d_o: &[f64],
) -> [Vec<f64>; 3] {
    let d = s.head_dim;
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for (t, rows) in seen.iter().enumerate() {
        for h in 0..s.heads {
            let (p, _) = weights(s, rows, q, k, t, h);
            let at = (t * s.heads + h) * d;
            let kv = |row: usize| (row * s.kv_heads + h / (s.heads / s.kv_heads)) * d;
            let dp: Vec<f64> =
                p.iter().map(|&(row, _)| (0..d).map(|x| d_o[at + x] * v[kv(row) + x]).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p.1 * dp).sum();
            for (&(row, p), dp) in p.iter().zip(&dp) {
                let ds = p * (dp - mean) * s.scale as f64;
                for x in 0..d {
                    dq[at + x] += ds * k[kv(row) + x];
                    dk[kv(row) + x] += ds * q[at + x];
                    dv[kv(row) + x] += p * d_o[at + x];
                }
            }
        }
    }
    [dq, dk, dv]
}
