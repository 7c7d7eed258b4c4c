//! Several adapters (LoRA, DoRA, none) in one batch: each token has the bits of a pass with its own adapter alone. With quantised weights too,
//! where what a product in fast mode leaves of its input must serve adapters, experts and every form of block.

use crate::decoder::{Buffers, Mlp, Projected};
use crate::*;
use nurture_formats::ModelFile;
use nurture_kernels::{Cpu, DType, Pool, Rng, Weight};
use std::convert::Infallible;

const RUN: usize = 32;

/// `w` as Q8_0, with powers of two for scales.
fn q8(w: &Weight) -> Weight {
    let mut row_values = vec![0f32; w.cols()];
    let mut bytes = Vec::new();
    for row in 0..w.rows() {
        w.row_into(row, &mut row_values);
        for values in row_values.chunks(RUN) {
            let top = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            let exponent = if top > 0.0 { (top / 127.0).log2().ceil().clamp(-14.0, 15.0) as i32 } else { 0 };
            bytes.extend((((exponent + 15) as u16) << 10).to_le_bytes());
            bytes.extend(values.iter().map(|v| (v / (exponent as f32).exp2()).round() as i8 as u8));
        }
    }
    let row_bytes = bytes.len() / w.rows();
    let read = |first: usize, out: &mut [u8]| -> Result<(), Infallible> {
        out.copy_from_slice(&bytes[first * row_bytes..][..out.len()]);
        Ok(())
    };
    let Ok(weight) = Weight::read(&Pool::new(1), DType::Q8_0, w.rows(), w.cols(), read);
    weight
}

fn quantised(shape: &Shape) -> Decoder {
    let mut model = Decoder::newborn(shape, true, 5);
    model.embed = q8(&model.embed);
    for block in &mut model.blocks {
        let experts = match &mut block.mlp {
            Mlp::Gated { gate, up, down } => vec![gate, up, down],
            Mlp::Plain { up, down } => vec![up, down],
            Mlp::Experts(m) => {
                m.experts.iter_mut().flat_map(|e| [&mut e.gate, &mut e.up, &mut e.down]).collect()
            }
        };
        let attention = [&mut block.q, &mut block.k, &mut block.v, &mut block.o];
        for Projected { weight, .. } in attention.into_iter().chain(experts) {
            *weight = q8(weight);
        }
    }
    model
}

/// Of several ranks, on some projections, one of them with magnitudes (DoRA).
fn adapter(cpu: &Cpu, model: &Decoder, seed: u64, scale: f64) -> Adapter {
    let mut rng = Rng::stream(seed, 1);
    let rank = 2 + seed as usize;
    let made = Adapter::build(model.config(), |l, p| {
        let (d, n) = p.shape(model.config());
        let mut floats = |n: usize| (0..n).map(|_| (rng.uniform() - 0.5) as f32).collect::<Vec<_>>();
        ((l + p as usize) % 4 != seed as usize).then(|| (rank, scale, floats(rank * d), floats(n * rank)))
    });
    match seed {
        2 => made.with_magnitudes(cpu, model, |_, p| {
            Some((0..p.shape(model.config()).1).map(|i| 0.5 + (i % 7) as f32 * 0.1).collect())
        }),
        _ => made,
    }
}

fn alone(cpu: &Cpu, mode: Mode, model: &Decoder, adapter: Option<&Adapter>, tokens: &[u32]) -> Vec<f32> {
    let mut batch = Batch::default();
    batch.push(tokens, 0, vec![(0, tokens.len())], 0);
    let mut cache = KvCache::of(mode.kv(), model.config(), tokens.len());
    let mut buffers = Buffers::new();
    model.forward(cpu, mode, adapter, &batch, &mut cache, &mut buffers).unwrap().to_vec()
}

/// `‖a - b‖ / ‖b‖`
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let length = |of: &mut dyn Iterator<Item = f32>| of.map(|v| v * v).sum::<f32>().sqrt();
    length(&mut a.iter().zip(b).map(|(a, b)| a - b)) / length(&mut b.iter().copied())
}

/// Sequences of these lengths in one batch, of the base, three adapters, one of them again, and the base: each must have the bits that it has
/// alone, which `alone_is` looks at too.
fn company(
    cpu: &Cpu,
    mode: Mode,
    model: &Decoder,
    adapters: &[Adapter],
    lengths: [usize; 6],
    mut alone_is: impl FnMut(Option<&Adapter>, &[u32], &[f32]),
) {
    let own =
        [None, Some(0), Some(1), Some(2), Some(0), None].map(|i: Option<usize>| i.map(|i| &adapters[i]));
    let (c, mut rng) = (model.config(), Rng::new(4));
    let mut batch = Batch::default();
    let (mut groups, mut sequences) = (Vec::new(), Vec::new());
    for (i, (n, own)) in lengths.into_iter().zip(own).enumerate().filter(|(_, (n, _))| *n > 0) {
        let tokens: Vec<u32> = (0..n).map(|_| rng.below(c.vocab) as u32).collect();
        let row = batch.len();
        batch.push(&tokens, 0, vec![(row, n)], i);
        groups.extend(own.map(|adapter| AdapterRows { rows: row..batch.len(), adapter }));
        sequences.push((row, own, tokens));
    }
    let mut cache = KvCache::of(mode.kv(), c, batch.len());
    let mut buffers = Buffers::new();
    let x = model.forward_mixed(cpu, mode, &groups, &batch, &mut cache, &mut buffers).unwrap();
    for (row, own, tokens) in sequences {
        let want = alone(cpu, mode, model, own, &tokens);
        assert!(x[row * c.width..][..want.len()] == want, "{mode:?}: {} tokens in company", tokens.len());
        alone_is(own, &tokens, &want);
    }
}

/// Few rows and many.
const LENGTHS: [[usize; 6]; 3] = [[3, 1, 9, 20, 2, 5], [1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]];

#[test]
fn each_row_has_the_bits_of_its_own_adapter() {
    let cpu = Cpu::new(2);
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        let dir = nurture_testing::repository(&format!("crates/model/tests/goldens/{family}"));
        let model = Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
        let adapters: Vec<_> = (0..3).map(|seed| adapter(&cpu, &model, seed, 0.9)).collect();
        for mode in [Mode::Exact, Mode::Fast] {
            for lengths in LENGTHS {
                company(&cpu, mode, &model, &adapters, lengths, |_, _, _| ());
            }
        }
    }
}

#[test]
fn fast_mode_serves_every_form_with_quantised_weights() {
    let cpu = Cpu::new(2);
    let experts = Experts { count: 5, active: 2, ffn: 32, normalise: true, balance: 0.0 };
    let of = |form: Form| Shape {
        vocab: 96,
        layers: 3,
        width: 64,
        heads: 4,
        kv_heads: if form == Form::GPT2 { 4 } else { 2 },
        ffn: 96,
        context: 64,
        form,
        ..Shape::default()
    };
    let shapes = [
        ("llama", of(Form::LLAMA)),
        ("qwen3", of(Form::QWEN3)),
        ("gemma3", Shape { window: Some(8), global_every: 3, ..of(Form::GEMMA3) }),
        ("gpt2", of(Form::GPT2)),
        ("experts", Shape { experts: Some(experts), ..of(Form::QWEN3) }),
    ];
    for (name, shape) in shapes {
        let model = quantised(&shape);
        let adapters: Vec<_> = (0..3).map(|seed| adapter(&cpu, &model, seed, 0.3)).collect();
        for lengths in LENGTHS {
            company(&cpu, Mode::Fast, &model, &adapters, lengths, |own, tokens, fast| {
                let exact = alone(&cpu, Mode::Exact, &model, own, tokens);
                let far = distance(fast, &exact);
                assert!(far < 0.06, "{name}: fast mode is {far} from exact");
                if own.is_some() {
                    let base = alone(&cpu, Mode::Exact, &model, None, tokens);
                    let changed = distance(&base, &exact);
                    assert!(changed > 0.2, "{name}: the adapter changes only {changed}");
                }
            });
        }
    }
}
