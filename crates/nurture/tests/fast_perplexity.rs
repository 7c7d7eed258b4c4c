//! What bytes as activations cost: perplexity of real text in fast mode against exact mode, on the same windows.

mod windows;

use nurture::model::{KvType, Mode};

/// Most that fast mode may change of the perplexity: with one plane of bytes before some products it was 1e-4 to 3e-3.
const BOUND: f64 = 2e-5;

fn perplexity_stays(file: &str) {
    let Some((model, ids)) = windows::model_and_text(file, 24) else { return };
    let [exact, fast] =
        [Mode::Exact, Mode::Fast].map(|mode| windows::perplexity(&model, mode, KvType::F32, &ids));
    let change = fast / exact - 1.0;
    println!("{file}: perplexity {exact:.4} exact, {fast:.4} fast, {:+.4} %", change * 100.0);
    assert!(change.abs() < BOUND, "fast mode changes the perplexity of {file} from {exact} to {fast}");
    assert_ne!(exact, fast, "both modes are the same arithmetic");
}

#[test]
fn smollm2_reads_as_well_with_bytes() {
    perplexity_stays(nurture_testing::SMOLLM2);
}

#[test]
fn gemma3_reads_as_well_with_bytes() {
    perplexity_stays(nurture_testing::GEMMA3);
}
