//! What one new token's attention over a cache costs: microseconds a layer and bytes of keys and values a second, for each way
//! to store them. The layers of SmolLM2-135M (or of Gemma-3-270M) by turns; between two tokens 96 MB of other memory are
//! read, as the weights are when a model decodes.
//!
//! `cargo run --release -p nurture-kernels --example attention_speed -- [ISA [THREADS [gemma] [warm]]]`: `warm` is one layer out of the
//! caches of the processor.

use nurture_kernels::*;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(isa) = args.first().and_then(|name| Isa::named(name)) {
        force_isa(isa);
    }
    let threads = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(2);
    let pool = Pool::new(threads);
    let memory = vec![1f32; 24 << 20];
    println!("{} with {threads} threads", isa().name());
    let said = |word: &str| args.iter().any(|a| a == word);
    let warm = said("warm");
    let (heads, kv_heads, head_dim, layers) = if said("gemma") { (4, 1, 256, 18) } else { (9, 3, 64, 30) };
    let layers = if warm { 1 } else { layers };
    let shape = AttentionShape { heads, kv_heads, head_dim, scale: 0.125, window: None };
    let width = kv_heads * head_dim;
    let mut rng = Rng::new(1);
    let mut noise = |n: usize| (0..n).map(|_| rng.uniform() as f32 - 0.5).collect::<Vec<f32>>();
    let q = noise(heads * head_dim);
    let mut o = vec![0f32; q.len()];
    for keys in [64, 512, 2048] {
        let mut line = format!("{keys:5} keys");
        for kind in KvType::ALL {
            let (k, v) = (noise(keys * width), noise(keys * width));
            let layer = || {
                let mut layer = KvLayer::new(kind, keys, kv_heads, head_dim);
                layer.store(&Pool::new(1), 0, &k, &v);
                layer
            };
            let caches: Vec<KvLayer> = (0..layers).map(|_| layer()).collect();
            let span = [Span { row: 0, len: 1, keys: vec![(0, keys)], tree: 0 }];
            let mut times: Vec<f64> = Vec::new();
            for _ in 0..25 {
                if !warm {
                    read_rate(&pool, &memory);
                }
                let begin = Instant::now();
                for cache in &caches {
                    attention_forward(&pool, &shape, &span, &q, Keys::Held(cache), &[], &mut o, &mut []);
                }
                times.push(begin.elapsed().as_secs_f64() / layers as f64);
            }
            times.sort_by(f64::total_cmp);
            let (time, bytes) = (times[times.len() / 2], 2 * keys * kind.row_bytes(kv_heads, head_dim));
            line +=
                &format!("   {} {:6.1} us {:5.1} GB/s", kind.name(), time * 1e6, bytes as f64 / time / 1e9);
        }
        println!("{line}");
    }
}
