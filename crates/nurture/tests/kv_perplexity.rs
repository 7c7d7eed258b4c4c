//! What smaller keys and values cost: perplexity of real text with half floats, bfloat16 and bytes in the cache, on the same windows.

mod windows;

use nurture::model::{KvType, Mode};

/// Most that half floats, bfloat16 and bytes may change of the perplexity.
const BOUNDS: [f64; 3] = [1e-3, 1e-3, 1e-2];

fn perplexity_stays(file: &str) {
    let Some((model, ids)) = windows::model_and_text(file, 12) else { return };
    let forms = KvType::ALL.map(|keys| (Mode::Exact, keys));
    let [exact, smaller @ ..] = windows::read(&model, forms, &ids, |_, _| {});
    for ((value, kind), bound) in smaller.into_iter().zip(&KvType::ALL[1..]).zip(BOUNDS) {
        let name = kind.name();
        let change = value / exact - 1.0;
        println!("{file}: perplexity {exact:.4} with f32, {value:.4} with {name}, {:+.4} %", change * 100.0);
        assert!(change.abs() < bound, "{name} changes the perplexity of {file} from {exact} to {value}");
        assert_ne!(value, exact, "{name} is the same arithmetic");
    }
}

#[test]
fn smollm2_reads_as_well_with_smaller_keys() {
    perplexity_stays(nurture_testing::SMOLLM2);
}

#[test]
fn gemma3_reads_as_well_with_smaller_keys() {
    perplexity_stays(nurture_testing::GEMMA3);
}
