//! Loading is fast enough not to be noticed before a chat. Measured: SmolLM2's 49k pieces and Gemma 3's 262k.

mod common;

use std::time::{Duration, Instant};

use common::{gguf, model};
use nurture_text::Tokenizer;

fn check(file: &str, limit: Duration) {
    let Some(path) = model(file) else { return };
    let keys = gguf::Keys::read(&path);
    // The best of a few, because other tests run beside it.
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
    eprintln!("{file}: {best:?}");
    assert!(cfg!(debug_assertions) || best < limit, "{file}: {best:?}");
}

#[test]
fn smollm2_and_gemma3_load_quickly() {
    check("SmolLM2-135M-Instruct.Q4_1.gguf", Duration::from_millis(150));
    check("gemma-3-270m-q4_k_m.gguf", Duration::from_secs(1));
}
