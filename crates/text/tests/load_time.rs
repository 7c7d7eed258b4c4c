//! How long loading takes, which comes before a chat: SmolLM2's 49k pieces and Gemma 3's 262k.
//! `cargo test --release -p nurture-text --test load_time -- --ignored --nocapture`

mod common;

use std::time::Instant;

use common::{gguf, model};
use nurture_text::Tokenizer;

fn check(file: &str) {
    let Some(path) = model(file) else { return };
    let keys = gguf::Keys::read(&path);
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            let tokenizer = Tokenizer::from_gguf(&keys.tokenizer_keys()).unwrap();
            let took = start.elapsed();
            assert!(tokenizer.vocab_size() > 0);
            took
        })
        .min()
        .unwrap();
    println!("{file}: {best:?}");
}

#[test]
#[ignore = "measures, judges nothing: a busy machine is no fault of the code"]
fn smollm2_and_gemma3_load_quickly() {
    check("SmolLM2-135M-Instruct.Q4_1.gguf");
    check("gemma-3-270m-q4_k_m.gguf");
}
