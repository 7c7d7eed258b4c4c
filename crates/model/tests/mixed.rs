//! Several adapters (LoRA, DoRA, none) in one batch: each token has the bits of a pass with its own adapter alone.

use nurture_formats::ModelFile;
use nurture_kernels::Rng;
use nurture_model::*;

fn adapter(cpu: &Cpu, model: &Decoder, seed: u64) -> Adapter {
    let mut rng = Rng::stream(seed, 1);
    let rank = 2 + seed as usize;
    let made = Adapter::build(model.config(), |l, p| {
        let (d, n) = p.shape(model.config());
        let mut floats = |n: usize| (0..n).map(|_| (rng.uniform() - 0.5) as f32).collect::<Vec<_>>();
        ((l + p as usize) % 4 != seed as usize).then(|| (rank, 0.9, floats(rank * d), floats(n * rank)))
    });
    match seed {
        2 => made.with_magnitudes(cpu, model, |_, p| {
            Some((0..p.shape(model.config()).1).map(|i| 0.5 + (i % 7) as f32 * 0.1).collect())
        }),
        _ => made,
    }
}

#[test]
fn each_row_has_the_bits_of_its_own_adapter() {
    let cpu = Cpu::new(2);
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        let dir = nurture_testing::repository(&format!("crates/model/tests/goldens/{family}"));
        let model = Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
        let (c, width) = (model.config(), model.config().width);
        let adapters: Vec<_> = (0..3).map(|i| adapter(&cpu, &model, i)).collect();
        let mut rng = Rng::new(4);
        // base, three adapters, one of them twice, base
        let own = [None, Some(0), Some(1), Some(2), Some(0), None];
        let sequences: Vec<Vec<u32>> =
            [3, 1, 9, 20, 2, 5].iter().map(|&n| (0..n).map(|_| rng.below(150) as u32).collect()).collect();
        let mut batch = Batch::default();
        let mut groups = Vec::new();
        for (i, (tokens, own)) in sequences.iter().zip(own).enumerate() {
            let row = batch.len();
            batch.push(tokens, 0, vec![(row, tokens.len())], i);
            groups.extend(own.map(|a| AdapterRows { rows: row..batch.len(), adapter: &adapters[a] }));
        }
        for mode in [Mode::Exact, Mode::Fast] {
            let mut cache = KvCache::new(c, batch.len());
            let mut buffers = Buffers::new();
            let x = model.forward_mixed(&cpu, mode, &groups, &batch, &mut cache, &mut buffers).unwrap();
            let mut row = 0;
            for (tokens, own) in sequences.iter().zip(own) {
                let mut alone = Batch::default();
                alone.push(tokens, 0, vec![(0, tokens.len())], 0);
                let mut cache = KvCache::new(c, tokens.len());
                let mut buffers = Buffers::new();
                let own_adapter = own.map(|a| &adapters[a]);
                let want = model.forward(&cpu, mode, own_adapter, &alone, &mut cache, &mut buffers).unwrap();
                assert!(x[row * width..][..want.len()] == *want, "{family}, {mode:?}, adapter {own:?}");
                row += tokens.len();
            }
        }
    }
}
