//! A network with random weights: the beginning of everything.
//!
//! Embeddings and heads are normal with deviation 0.02 (Radford et al. 2019), so that the first guesses are nearly even: the
//! first loss is about `ln V`. Projections are normal with deviation `1 / √inputs`, which keeps the size of what passes
//! through them; those that write into the residual stream (`o`, `down`) are smaller by `√(2 L)`, as all `2 L` of them add
//! up there. Norms are 1, biases 0.

use crate::adapter::{PROJECTIONS, Projection};
use crate::config::Positions;
use crate::decoder::{Block, Decoder, Mlp, Projected};
use crate::moe::{Expert, Mixture};
use crate::norm::NormWeights;
use crate::shape::Shape;
use nurture_kernels::{Rng, Weight};

/// Deviation of embeddings, heads, learned positions and routers.
const EMBED: f64 = 0.02;
/// First random streams of routers and experts, far from those of all other parts.
const ROUTERS: u64 = 1 << 32;
const EXPERTS: u64 = 1 << 33;

impl Decoder {
    /// A network of this shape with random F32 weights, a pure function of shape and seed. `tied`: its head is its embedding.
    pub fn newborn(shape: &Shape, tied: bool, seed: u64) -> Decoder {
        let c = shape.config(tied);
        // each matrix has its own stream: another vocabulary changes no block
        let matrix = |stream: u64, rows: usize, cols: usize, deviation: f64| {
            let mut normal = Normal::new(Rng::stream(seed, stream));
            let values: Vec<f32> = (0..rows * cols).map(|_| (normal.draw() * deviation) as f32).collect();
            Weight::from_f32(rows, cols, &values)
        };
        let into_stream = 1.0 / (2.0 * c.layers as f64).sqrt();
        let block = |l: usize| {
            let projected = |p: Projection| {
                let (inputs, outputs) = p.shape(&c);
                let scale = if matches!(p, Projection::O | Projection::Down) { into_stream } else { 1.0 };
                let stream = 16 + (l * PROJECTIONS.len() + p as usize) as u64;
                let weight = matrix(stream, outputs, inputs, scale / (inputs as f64).sqrt());
                Projected { weight, bias: c.biases.then(|| vec![0.0; outputs]) }
            };
            let norm = || NormWeights::new(c.norm, c.width);
            let mlp = match (&c.experts, c.has(Projection::Gate)) {
                (Some(e), _) => {
                    let stream = |i: usize, p: usize| EXPERTS + ((l * e.count + i) * 3 + p) as u64;
                    let one = |i: usize, p: usize, rows: usize, cols: usize, scale: f64| {
                        let weight = matrix(stream(i, p), rows, cols, scale / (cols as f64).sqrt());
                        Projected { weight, bias: None }
                    };
                    let expert = |i: usize| Expert {
                        gate: one(i, 0, e.ffn, c.width, 1.0),
                        up: one(i, 1, e.ffn, c.width, 1.0),
                        down: one(i, 2, c.width, e.ffn, into_stream),
                    };
                    let router = matrix(ROUTERS + l as u64, e.count, c.width, EMBED);
                    Mlp::Experts(Mixture { router, experts: (0..e.count).map(expert).collect() })
                }
                (None, true) => Mlp::Gated {
                    gate: projected(Projection::Gate),
                    up: projected(Projection::Up),
                    down: projected(Projection::Down),
                },
                (None, false) => {
                    Mlp::Plain { up: projected(Projection::Up), down: projected(Projection::Down) }
                }
            };
            Block {
                attn_norm: norm(),
                q: projected(Projection::Q),
                k: projected(Projection::K),
                v: projected(Projection::V),
                o: projected(Projection::O),
                q_norm: c.qk_norm.then(|| vec![1.0; c.head_dim]),
                k_norm: c.qk_norm.then(|| vec![1.0; c.head_dim]),
                post_attn_norm: c.post_norms.then(norm),
                ffn_norm: norm(),
                mlp,
                post_ffn_norm: c.post_norms.then(norm),
            }
        };
        let embed = matrix(1, c.vocab, c.width, EMBED);
        let head = (!tied).then(|| matrix(2, c.vocab, c.width, EMBED));
        let blocks = (0..c.layers).map(block).collect();
        let positions = match c.positions {
            Positions::Learned => Some(matrix(3, c.context, c.width, EMBED)),
            Positions::Sinusoidal => Some(sinusoids(c.context, c.width)),
            Positions::Rope | Positions::None => None,
        };
        let (norm, (rope, local_rope)) = (NormWeights::new(c.norm, c.width), c.ropes());
        Decoder { config: c, embed, positions, head, blocks, norm, rope, local_rope }
    }
}

/// The vectors of positions of Vaswani et al. 2017: sines in the even places, cosines in the odd ones, wavelengths from 2π to
/// 10,000 · 2π.
pub(crate) fn sinusoids(context: usize, width: usize) -> Weight {
    let value = |at: usize| {
        let (position, i) = (at / width, at % width);
        let angle = position as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
        if i.is_multiple_of(2) { angle.sin() as f32 } else { angle.cos() as f32 }
    };
    let values: Vec<f32> = (0..context * width).map(value).collect();
    Weight::from_f32(context, width, &values)
}

/// Normal numbers (Box & Muller 1958): two from each pair of uniform ones.
pub(crate) struct Normal(Rng, Option<f64>);

impl Normal {
    pub(crate) fn new(rng: Rng) -> Normal {
        Normal(rng, None)
    }

    pub(crate) fn draw(&mut self) -> f64 {
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
    use crate::{Experts, Family, Form};

    const SHAPE: Shape = Shape {
        vocab: 300,
        layers: 3,
        width: 64,
        heads: 4,
        kv_heads: 2,
        ffn: 160,
        context: 64,
        form: Form::LLAMA,
        window: None,
        global_every: 0,
        experts: None,
    };

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
            near(deviation(&b.projected(Projection::Gate).unwrap().weight), 64f64.powf(-0.5));
            near(deviation(&b.projected(Projection::Down).unwrap().weight), (160.0 * 6.0f64).powf(-0.5));
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
        let up = |net: &Decoder| net.floats(crate::Slot::Weight(2, Projection::Up)).unwrap().to_vec();
        assert_eq!(up(&a), up(&b));
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

    #[test]
    fn forms_are_the_families_that_they_are_named_after() {
        let experts = Some(Experts { count: 4, active: 2, ffn: 32, normalise: true, balance: 0.01 });
        let even = Shape { kv_heads: 4, ..SHAPE };
        for (form, family) in [
            (Form::LLAMA, Family::Llama),
            (Form::GPT2, Family::Gpt2),
            (Form::QWEN3, Family::Qwen3),
            (Form::GEMMA3, Family::Gemma3),
        ] {
            let shape = Shape { form, ..even };
            let net = Decoder::newborn(&shape, true, 3);
            assert_eq!(net.config.family, family);
            let counted: usize = net.parameter_list().iter().map(|p| p.count()).sum();
            assert_eq!(net.parameters(), counted as u64, "{family:?}");
        }
        let moe = Shape { form: Form::QWEN3, experts, ..even };
        let net = Decoder::newborn(&moe, false, 3);
        assert_eq!(net.config.family, Family::Qwen3Moe);
        let counted: usize = net.parameter_list().iter().map(|p| p.count()).sum();
        assert_eq!(net.parameters(), counted as u64);
        assert_eq!(net.parameters() - net.config.active_parameters(false), 3 * 2 * 3 * 64 * 32);
        let mixed = Shape { form: Form { norm: crate::NormKind::Layer, ..Form::LLAMA }, ..even };
        assert_eq!(mixed.family(), Family::Own);
        assert_eq!(Shape { form: Form::GPT2, ..SHAPE }.family(), Family::Own, "grouped heads");
        assert_eq!(Shape { form: Form::GPT2, ..even }.config(false).family, Family::Own, "a head of its own");
        let refused = |s: Shape| s.check().unwrap_err().0;
        assert_eq!(refused(Shape { form: Form::GPT2, experts, ..even }), "experts");
        assert_eq!(refused(Shape { window: Some(0), ..even }), "window");
    }
}
