//! Perplexity on real text and real files, by llama.cpp's rule, against PyTorch's float32 run of the same weights and
//! against llama.cpp's own figures.

use nurture::engine::{LoadOptions, Model};
use nurture::eval::{Examinee, Model as Named, Role, WindowScheme, llama_cpp_windows};
use nurture_testing::{GEMMA3, SMOLLM2, repository};

const WINDOW: usize = 512;

/// `(perplexity, sums of the windows)` of the first `most` windows; `None` where model or text is missing.
fn measure(file: &str, text: &str, most: usize) -> Option<(f64, Vec<f64>)> {
    let model = nurture_testing::model(file)?;
    let text = nurture_testing::data(text)?;
    let model = Model::load(&model, &LoadOptions::default()).unwrap();
    // bytes, not lines: a file with carriage returns keeps them
    let text = String::from_utf8(std::fs::read(text).unwrap()).unwrap();
    let ids = model.tokenizer().encode(&text, false).unwrap();
    let windows = llama_cpp_windows(&ids, WINDOW, model.tokenizer().bos(), Some(most)).unwrap();
    let examinee =
        Examinee { decoder: model.decoder(), adapter: None, cpu: model.cpu(), renderer: model.renderer() };
    let scheme = WindowScheme::LlamaCpp { n_ctx: WINDOW };
    let result =
        examinee.read("text", Named::new(Role::Base, file), scheme, &windows, |_| 1, |_, _| true).unwrap();
    Some((result.ppl, result.per_window.iter().map(|w| w.nll).collect()))
}

fn as_pytorch(file: &str, folder: &str, text: &str) {
    let path = repository("crates/model/tests/goldens/real").join(folder).join("perplexity.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts = json["texts"].as_array().unwrap();
    let name = text.rsplit('/').next().unwrap();
    let golden = texts.iter().find(|t| t["text_file"] == name).unwrap();
    let want: Vec<f64> = serde_json::from_value(golden["nll_sums"].clone()).unwrap();
    let Some((ppl, sums)) = measure(file, text, want.len()) else { return };
    for (i, (got, want)) in sums.iter().zip(&want).enumerate() {
        assert!((got - want).abs() < 1e-4 * want, "{file} {text} window {i}: {got} instead of {want}");
    }
    println!("{file} {text}: {ppl:.4} over {} windows, as PyTorch gives", sums.len());
}

#[test]
fn smollm2_reads_english_as_pytorch_does() {
    as_pytorch(SMOLLM2, "smollm2", "text-wikitext2/valid.txt");
}

#[test]
fn gemma_reads_english_and_chinese_as_pytorch_does() {
    as_pytorch(GEMMA3, "gemma3", "text-wikitext2/valid.txt");
    as_pytorch(GEMMA3, "gemma3", "text-zh-novels/xiyouji.txt");
}

/// The long form, for `docs/lab-book.md`: `cargo test --release -p nurture --test perplexity -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the short form runs always"]
fn within_half_a_percent_of_llama_cpp() {
    for (file, text, windows, want, bound) in [
        (SMOLLM2, "text-wikitext2/valid.txt", 60, 16.956, 0.005),
        (GEMMA3, "text-wikitext2/valid.txt", 40, 11.431, 0.005),
        // on this one llama.cpp itself is two per cent from float32, to which the short form holds us
        (GEMMA3, "text-zh-novels/xiyouji.txt", 40, 189.82, 0.02),
    ] {
        let Some((ppl, _)) = measure(file, text, windows) else { continue };
        println!("{file} {text}: {ppl:.4} over {windows} windows, llama.cpp {want}, ratio {:.4}", ppl / want);
        assert!((ppl / want - 1.0).abs() < bound, "{file} {text}: {ppl}, llama.cpp {want}");
    }
}
