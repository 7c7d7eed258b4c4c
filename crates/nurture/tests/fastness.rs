mod windows;
use nurture::kernels::cross_entropy;
use nurture::model::{Batch, Buffers, KvCache, KvType, Mode};
fn logits(model: &nurture::engine::Model, mode: Mode, window: &[u32]) -> Vec<f32> {
    let (decoder, cpu) = (model.decoder(), model.cpu());
    let c = decoder.config();
    let mut cache = KvCache::of(KvType::F32, c, 512);
    let mut buffers = Buffers::new();
    let mut tokens = window.to_vec();
    if let Some(bos) = model.tokenizer().bos() { tokens[0] = bos; }
    let mut batch = Batch::default();
    batch.push(&tokens, 0, vec![(0, 512)], 0);
    let x = decoder.forward(cpu, mode, None, &batch, &mut cache, &mut buffers).unwrap();
    let rows = 96;
    let mut out = vec![0f32; rows * c.vocab];
    decoder.logits(cpu, None, mode, &x[(511 - rows) * c.width..][..rows * c.width], &mut out);
    out
}
fn stat(file: &str) {
    let n = std::env::var("WINDOWS").ok().and_then(|v| v.parse().ok()).unwrap_or(12);
    let Some((model, ids)) = windows::model_and_text(file, n) else { return };
    let v = model.decoder().config().vocab;
    let (mut kl, mut agree, mut count, mut la, mut lb, mut err) = (0f64, 0usize, 0usize, 0f64, 0f64, 0f64);
    for w in ids.chunks_exact(512) {
        let (a, b) = (logits(&model, Mode::Exact, w), logits(&model, Mode::Fast, w));
        for (i, (x, y)) in a.chunks_exact(v).zip(b.chunks_exact(v)).enumerate() {
            let lse = |x: &[f32]| { let m = x.iter().cloned().fold(f32::MIN, f32::max) as f64; m + x.iter().map(|&t| (t as f64 - m).exp()).sum::<f64>().ln() };
            let (sx, sy) = (lse(x), lse(y));
            kl += x.iter().zip(y).map(|(&p, &q)| (p as f64 - sx).exp() * ((p as f64 - sx) - (q as f64 - sy))).sum::<f64>();
            let top = |x: &[f32]| (0..x.len()).max_by(|&i, &j| x[i].total_cmp(&x[j])).unwrap();
            agree += usize::from(top(x) == top(y));
            let t = w[512 - 96 + i] as usize;
            la += sx - x[t] as f64; lb += sy - y[t] as f64;
            err += x.iter().zip(y).map(|(&p,&q)| { let d=(p as f64-sx)-(q as f64-sy); d*d }).sum::<f64>() / v as f64;
            count += 1;
        }
    }
    let _ = cross_entropy;
    use std::sync::atomic::Ordering::Relaxed;
    let n = count as f64;
    println!("RESULT {file} kappa {:?} tau {:?} only {:?}: ppl {:+.4} %  KL {:.2e}  rms dlogp {:.4}  top1 {:.4}  loud {:.3}", std::env::var("KAPPA").ok(), std::env::var("TAU").ok(), std::env::var("ONLY").ok(), ((lb - la) / n).exp_m1() * 100.0, kl / n, (err / n).sqrt(), agree as f64 / n,
        nurture::kernels::LOUD.load(Relaxed) as f64 / nurture::kernels::TOTAL.load(Relaxed) as f64);
}
#[test] fn smol() { stat(nurture_testing::SMOLLM2); }
#[test] fn gemma() { stat(nurture_testing::GEMMA3); }
