//! Several adapters in one batch against one at a time, bit for bit, under every instruction set and number of threads.

mod common;

use common::*;
use nurture_kernels::*;

fn pair(rng: &mut Rng, rank: usize, d: usize, n: usize) -> LoraPair {
    LoraPair::new(rank, d, n, 0.7, floats(rng, rank * d, 1.0), floats(rng, n * rank, 1.0))
}

/// Rows `first ..` of `x` through the weight with its pair.
fn plain(cpu: &Cpu, w: &Weight, bias: &[f32], lora: Option<&LoraPair>, x: &[f32]) -> Vec<f32> {
    let t = x.len() / w.cols();
    let mut y = vec![f32::NAN; t * w.rows()];
    let mut h = vec![f32::NAN; t * lora.map_or(0, |l| l.rank())];
    let linear = Linear { weight: w, bias: Some(bias), lora };
    linear_forward(cpu, x, t, &mut [Forward { linear, y: &mut y, h: &mut h }]);
    y
}

#[test]
fn each_group_of_rows_has_the_bits_of_its_own_adapter() {
    let _guard = hold();
    let mut rng = Rng::new(1);
    for (d, n) in [(33, 20), (64, 300), (160, 16)] {
        let (w, bias) = (Weight::from_f32(n, d, &floats(&mut rng, n * d, 1.0)), floats(&mut rng, n, 1.0));
        let pairs = [1, 8, 17].map(|rank| pair(&mut rng, rank, d, n));
        // groups of one row to many, in any order, with rows of the base between and behind them
        let groups = [(20, 13, &pairs[0]), (0, 1, &pairs[1]), (3, 8, &pairs[2]), (11, 2, &pairs[1])];
        let t = 40;
        let x = floats(&mut rng, t * d, 1.0);
        for threads in [1, 3] {
            let cpu = Cpu::new(threads);
            for isa in isas() {
                force_isa(isa);
                let mut y = plain(&cpu, &w, &bias, None, &x);
                let mut other = y.clone();
                let want: Vec<f32> = (0..t)
                    .flat_map(|row| {
                        let own = groups.iter().find(|g| (g.0..g.0 + g.1).contains(&row)).map(|g| g.2);
                        plain(&cpu, &w, &bias, own, &x[row * d..][..d])
                    })
                    .collect();
                let mut parts = [
                    LoraRows { groups: groups.to_vec(), y: &mut y },
                    LoraRows { groups: vec![(39, 1, &pairs[0])], y: &mut other },
                ];
                lora_rows(&cpu, &x, d, &mut parts);
                same_bits(&y, &want, &format!("[{n}, {d}], {threads} threads, {}", isa.name()));
                let last = plain(&cpu, &w, &bias, Some(&pairs[0]), &x[39 * d..]);
                same_bits(&other[39 * n..], &last, "the second part");
            }
        }
    }
}

#[test]
#[should_panic(expected = "in two groups")]
fn a_row_has_one_adapter() {
    let mut rng = Rng::new(2);
    let pair = pair(&mut rng, 2, 16, 16);
    let groups = vec![(0, 3, &pair), (2, 2, &pair)];
    lora_rows(&Cpu::new(1), &[0.0; 64], 16, &mut [LoraRows { groups, y: &mut [0.0; 64] }]);
}
