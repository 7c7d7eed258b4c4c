//! A network with random weights: the beginning of everything.
//!
//! Embeddings and heads are normal with deviation 0.02 (Radford et al. 2019), so that the first guesses are nearly even: the
//! first loss is about `ln V`. Projections are normal with deviation `1 / √inputs`, which keeps the size of what passes
//! through them; those that write into the residual stream (`o`, `down`) are smaller by `√(2 L)`, as all `2 L` of them add
//! up there. Norms are 1.

use crate::adapter::{PROJECTIONS, Projection};
use crate::config::{Config, Family};
use crate::decoder::{Block, Decoder, Projected};
use nurture_kernels::{Activation, Rng, Weight};

/// Deviation of embeddings and heads.
const EMBED: f64 = 0.02;

/// The shape of a new network of the Llama form; the rest of its configuration follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// vocabulary `V`
    pub vocab: usize,
    /// number of blocks
    pub layers: usize,
    /// width of the residual stream `D`
    pub width: usize,
    /// query heads `H`
    pub heads: usize,
    /// key/value heads `K`
    pub kv_heads: usize,
    /// width of the MLP `F`
    pub ffn: usize,
    /// longest context
    pub context: usize,
}

impl Shape {
    /// Refuses what no network can be, with the key and what is wrong.
    ///
    /// # Errors
    /// `(key, problem)`.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Shape { width, heads, kv_heads, .. } = *self;
        let positive = [
            ("vocab", self.vocab),
            ("depth", self.layers),
            ("width", width),
            ("heads", heads),
            ("kv_heads", kv_heads),
            ("ffn", self.ffn),
            ("context", self.context),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, n)| *n == 0) {
            return Err((key, "0".to_string()));
        }
        if !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
            return Err((
                "heads",
                format!("{heads}: a width of {width} does not part into {heads} heads of an even width"),
            ));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(("kv_heads", format!("{kv_heads}: {heads} heads do not share {kv_heads} evenly")));
        }
        Ok(())
    }

    /// The whole configuration.
    pub fn config(&self) -> Config {
        let head_dim = self.width / self.heads.max(1);
        Config {
            family: Family::Llama,
            vocab: self.vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim,
            ffn: self.ffn,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            local_rope_theta: None,
            windows: vec![None; self.layers],
            activation: Activation::Silu,
            attention_scale: (head_dim as f32).powf(-0.5),
            embed_scale: 1.0,
            qk_norm: false,
            post_norms: false,
            context: self.context,
        }
    }
}

impl Decoder {
    /// A network of this shape with random F32 weights, a pure function of shape and seed. `tied`: its head is its embedding.
    pub fn newborn(shape: &Shape, tied: bool, seed: u64) -> Decoder {
        let c = shape.config();
        // each matrix has its own stream: another vocabulary changes no block
        let matrix = |stream: u64, rows: usize, cols: usize, deviation: f64| {
            let mut normal = Normal(Rng::stream(seed, stream), None);
            let values: Vec<f32> = (0..rows * cols).map(|_| (normal.next() * deviation) as f32).collect();
            Weight::from_f32(rows, cols, &values)
        };
        let into_stream = 1.0 / (2.0 * c.layers as f64).sqrt();
        let block = |l: usize| {
            let projected = |p: Projection| {
                let (inputs, outputs) = p.shape(&c);
                let scale = if matches!(p, Projection::O | Projection::Down) { into_stream } else { 1.0 };
                let stream = 16 + (l * PROJECTIONS.len() + p as usize) as u64;
                let weight = matrix(stream, outputs, inputs, scale / (inputs as f64).sqrt());
                Projected { weight, bias: None }
            };
            Block {
                attn_norm: vec![1.0; c.width],
                q: projected(Projection::Q),
                k: projected(Projection::K),
                v: projected(Projection::V),
                o: projected(Projection::O),
                q_norm: None,
                k_norm: None,
                post_attn_norm: None,
                ffn_norm: vec![1.0; c.width],
                gate: projected(Projection::Gate),
                up: projected(Projection::Up),
                down: projected(Projection::Down),
                post_ffn_norm: None,
            }
        };
        let embed = matrix(1, c.vocab, c.width, EMBED);
        let head = (!tied).then(|| matrix(2, c.vocab, c.width, EMBED));
        let blocks = (0..c.layers).map(block).collect();
        let (norm, (rope, local_rope)) = (vec![1.0; c.width], c.ropes());
        Decoder { config: c, embed, head, blocks, norm, rope, local_rope }
    }
}

/// Normal numbers (Box & Muller 1958): two from each pair of uniform ones.
struct Normal(Rng, Option<f64>);

impl Normal {
    fn next(&mut self) -> f64 {
        if let Some(kept) = self.1.take() {
            return kept;
        }
        // never the logarithm of zero
        let (u, v) = (1.0 - self.0.uniform(), self.0.uniform());
        let (radius, angle) = ((-2.0 * u.ln()).sqrt(), 2.0 * std::f64::consts::PI * v);
        self.1 = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape { vocab: 300, layers: 3, width: 64, heads: 4, kv_heads: 2, ffn: 160, context: 64 };

    fn deviation(w: &Weight) -> f64 {
        let mut row = vec![0f32; w.cols()];
        let mut squares = 0f64;
        for r in 0..w.rows() {
            w.row_into(r, &mut row);
            squares += row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        }
        (squares / (w.rows() * w.cols()) as f64).sqrt()
    }

    #[test]
    fn weights_are_as_large_as_they_are_said_to_be() {
        let net = Decoder::newborn(&SHAPE, true, 7);
        let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.05, "{got}, not {want}");
        near(deviation(&net.embed), 0.02);
        for b in &net.blocks {
            near(deviation(&b.q.weight), 64f64.powf(-0.5));
            near(deviation(&b.gate.weight), 64f64.powf(-0.5));
            near(deviation(&b.down.weight), (160.0 * 6.0f64).powf(-0.5));
        }
        assert!(net.head.is_none() && Decoder::newborn(&SHAPE, false, 7).head.is_some());
    }

    #[test]
    fn a_pure_function_of_shape_and_seed() {
        let floats = |net: &Decoder| -> Vec<f32> {
            let all = net.parameter_list();
            all.iter().flat_map(|p| net.floats(p.slot).unwrap().to_vec()).collect()
        };
        let one = floats(&Decoder::newborn(&SHAPE, true, 7));
        assert_eq!(one, floats(&Decoder::newborn(&SHAPE, true, 7)));
        assert_ne!(one, floats(&Decoder::newborn(&SHAPE, true, 8)));
        let wider = Shape { vocab: 400, ..SHAPE };
        let (a, b) = (Decoder::newborn(&SHAPE, true, 7), Decoder::newborn(&wider, true, 7));
        assert_eq!(a.blocks[2].up.weight.floats(), b.blocks[2].up.weight.floats());
    }

    #[test]
    fn shapes_that_cannot_be_are_named() {
        let key = |s: Shape| s.check().unwrap_err().0;
        assert_eq!(SHAPE.check(), Ok(()));
        assert_eq!(key(Shape { heads: 5, ..SHAPE }), "heads");
        assert_eq!(key(Shape { heads: 64, kv_heads: 64, ..SHAPE }), "heads");
        assert_eq!(key(Shape { kv_heads: 3, ..SHAPE }), "kv_heads");
        assert_eq!(key(Shape { ffn: 0, ..SHAPE }), "ffn");
    }
}
