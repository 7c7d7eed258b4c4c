//! What fast mode costs, with bytes as activations and its own keys and values: how far its predictions lie from those of exact mode on
//! real text.

mod windows;

use nurture::model::Mode;

/// Most that fast mode may change of the perplexity: a thousandth.
const PERPLEXITY: f64 = 1e-3;

/// Most that the predictions may differ, KL(exact ‖ fast) in nats a token. With bytes alone, the loud
/// columns among them, it is 2e-3.
const DIVERGENCE: f64 = 6e-4;

fn predictions_stay(file: &str) {
    let Some((model, ids)) = windows::model_and_text(file, 24) else { return };
    let (mut divergence, mut same, mut count) = (0f64, 0f64, 0f64);
    let forms = [Mode::Exact, Mode::Fast].map(|mode| (mode, mode.kv()));
    let [exact, fast] = windows::read(&model, forms, &ids, |[p, q], _| {
        let gap = |(&p, &q): (&f32, &f32)| f64::from(p).exp() * (f64::from(p) - f64::from(q));
        divergence += p.iter().zip(q).map(gap).sum::<f64>();
        let likeliest = |p: &[f32]| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
        same += f64::from(u8::from(likeliest(p) == likeliest(q)));
        count += 1.0;
    });
    let (divergence, same) = (divergence / count, same / count);
    let change = fast / exact - 1.0;
    println!(
        "{file}: perplexity {exact:.4} exact, {fast:.4} fast, {:+.4} %; KL {divergence:.2e}; likeliest token the same {:.2} %",
        change * 100.0,
        same * 100.0
    );
    assert!(change.abs() < PERPLEXITY, "fast mode changes the perplexity of {file} from {exact} to {fast}");
    assert!(divergence < DIVERGENCE, "fast mode predicts otherwise: {divergence}");
    assert!(divergence > 0.0, "both modes are the same arithmetic");
    assert!(same > 0.98, "{same}");
}

#[test]
fn smollm2_reads_as_well_with_bytes() {
    predictions_stay(nurture_testing::SMOLLM2);
}

#[test]
fn gemma3_reads_as_well_with_bytes() {
    predictions_stay(nurture_testing::GEMMA3);
}
