//! Writing targets token by token: the encoder's states are computed once, keys and values of what was written are kept.
//!
//! What several hypotheses have in common stands once: a hypothesis is a list of rows, and one that goes on from another
//! takes its list. Rows of hypotheses that were given up stay until the end; targets are short.

use super::Seq2Seq;
use super::attention::{Group, attend_rows, each};
use super::parts::Around;
use crate::error::ModelError;
use nurture_kernels::Cpu;
use std::ops::Range;

/// What has been written of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// which source it is of
    pub source: usize,
    /// rows of its tokens' keys, in order
    rows: Vec<u32>,
}

impl Hypothesis {
    /// The beginning of a target of source number `source`.
    pub fn of(source: usize) -> Hypothesis {
        Hypothesis { source, rows: Vec::new() }
    }
}

/// Keys and values of a layer.
#[derive(Debug, Default)]
struct Kv {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Sources that were read, and what was written of their targets.
#[derive(Debug)]
pub struct Decoding<'n> {
    network: &'n Seq2Seq,
    /// keys and values of the sources in each block
    cross: Vec<Kv>,
    sources: Vec<Range<usize>>,
    own: Vec<Kv>,
    written: usize,
}

impl Seq2Seq {
    /// Reads sources.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a source beyond the positions that the network knows.
    pub fn read(&self, cpu: &Cpu, sources: &[&[u32]]) -> Result<Decoding<'_>, ModelError> {
        let mut at = 0;
        let place = |s: &&[u32]| {
            at += s.len();
            at - s.len()..at
        };
        let ranges: Vec<Range<usize>> = sources.iter().map(place).collect();
        let flat = sources.concat();
        let positions = sources.iter().flat_map(|s| 0..s.len());
        let group = |r: &Range<usize>| Group { q: r.clone(), k: r.clone(), causal: false };
        let groups: Vec<Group> = ranges.iter().map(group).collect();
        let memory = self.encoded(cpu, &flat, positions, &groups)?;
        let blocks = &self.ids.decoder.blocks;
        let kv = |b: &super::layout::BlockIds| {
            let Some(cross) = &b.cross else { return Kv::default() };
            let [k, v] = self.project(cpu, &memory, flat.len(), [cross.k, cross.v]);
            Kv { k, v }
        };
        let cross = blocks.iter().map(kv).collect();
        let own = blocks.iter().map(|_| Kv::default()).collect();
        Ok(Decoding { network: self, cross, sources: ranges, own, written: 0 })
    }
}

impl Decoding<'_> {
    /// Writes one more token of each hypothesis; gives the logits of what follows `[hypotheses, V]`. The bits of a hypothesis
    /// are those of the whole pass, whatever is written beside it.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a target beyond the positions that the network knows.
    pub fn write(
        &mut self,
        cpu: &Cpu,
        hypotheses: &mut [Hypothesis],
        tokens: &[u32],
    ) -> Result<Vec<f32>, ModelError> {
        let net = self.network;
        let (ids, c, h) = (&net.ids.decoder, &net.config, net.heads());
        let (t, w) = (hypotheses.len(), c.inner());
        let positions = hypotheses.iter().map(|h| h.rows.len());
        let mut x = net.embedded(cpu, ids, c.target_vocab, tokens, positions)?;
        for hypothesis in hypotheses.iter_mut() {
            hypothesis.rows.push(self.written as u32);
            self.written += 1;
        }
        let (relative, hypotheses) = (net.relative(false), &*hypotheses);
        let sources: Vec<Vec<u32>> =
            self.sources.iter().map(|r| (r.start as u32..r.end as u32).collect()).collect();
        let mut around = Around::default();
        for (l, b) in ids.blocks.iter().enumerate() {
            let n = net.enter(cpu, b.own.norm, &x, &mut []);
            let [q, k, v] = net.project(cpu, &n, t, [b.own.q, b.own.k, b.own.v]);
            self.own[l].k.extend_from_slice(&k);
            self.own[l].v.extend_from_slice(&v);
            let mut a = vec![0f32; q.len()];
            let kv = &self.own[l];
            each(cpu.pool(), a.chunks_exact_mut(w).collect(), |i, out: &mut [f32]| {
                let rows = &hypotheses[i].rows;
                attend_rows(&h, relative, rows.len() - 1, &q[i * w..(i + 1) * w], &kv.k, &kv.v, rows, out);
            });
            let [y] = net.project(cpu, &a, t, [b.own.o]);
            x = net.leave(cpu, b.own.norm, &x, y, &mut around);
            if let Some(ids) = &b.cross {
                let n = net.enter(cpu, ids.norm, &x, &mut []);
                let [q] = net.project(cpu, &n, t, [ids.q]);
                let kv = &self.cross[l];
                each(cpu.pool(), a.chunks_exact_mut(w).collect(), |i, out: &mut [f32]| {
                    let rows = &sources[hypotheses[i].source];
                    attend_rows(&h, None, 0, &q[i * w..(i + 1) * w], &kv.k, &kv.v, rows, out);
                });
                let [y] = net.project(cpu, &a, t, [ids.o]);
                x = net.leave(cpu, ids.norm, &x, y, &mut around);
            }
            x = net.mlp(cpu, &b.mlp, x).0;
        }
        if let Some(n) = ids.last {
            x = net.norm(cpu, n, &x, &mut []);
        }
        Ok(net.head_logits(cpu, &x))
    }
}
