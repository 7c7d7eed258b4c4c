//! What drafts gain: the same answers with and without them, by turns.
//!
//! `cargo run --release -p nurture --example draft_speed -- MODEL.gguf DATA [--adapter DIR] [--system TEXT] [--draft-from DATA]
//! [--items 24] [--max-tokens 128] [--temperature 0] [--exact] [--isa NAME] [--rewrite] [--control]`
//!
//! DATA holds conversations whose last question is asked. With `--rewrite` it is a text, whose paragraphs are to be written again
//! with their errors corrected. With `--control` neither run has drafts: the spread of the clock. Prints one JSON object; that both texts are the same is checked.

use anyhow::{Context, bail, ensure};
use nurture::data::{LoadOptions as DataOptions, SourceSpec, load_training};
use nurture::engine::{LoadOptions, Model};
use nurture::infer::{Drafts, Generator, Request, Sampler, Sampling, StopIds};
use nurture::kernels::{Isa, force_isa};
use nurture::model::Mode;
use nurture::text::Message;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let (mut paths, mut items, mut most, mut temperature) = (Vec::<PathBuf>::new(), 24, 128, 0.0);
    let (mut mode, mut rewrite, mut control, mut system) = (Mode::Fast, false, false, None::<String>);
    let (mut adapter, mut corpus) = (None::<PathBuf>, Vec::<PathBuf>::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--items" => items = value()?.parse()?,
            "--max-tokens" => most = value()?.parse()?,
            "--temperature" => temperature = value()?.parse()?,
            "--exact" => mode = Mode::Exact,
            "--rewrite" => rewrite = true,
            "--control" => control = true,
            "--isa" => {
                let name = value()?;
                ensure!(
                    Isa::named(&name).is_some_and(force_isa),
                    "{name} is not an instruction set of this machine"
                );
            }
            "--system" => system = Some(value()?),
            "--adapter" => adapter = Some(value()?.into()),
            "--draft-from" => corpus.push(value()?.into()),
            _ => paths.push(word.into()),
        }
    }
    let [path, data] = &paths[..] else { bail!("a model and data are needed") };
    let model = Model::load(path, &LoadOptions::default())?;
    let adapter = adapter.map(|dir| model.adapter(&dir)).transpose()?;
    let corpus = if corpus.is_empty() { None } else { Some(Arc::new(model.conversations(&corpus)?)) };
    let questions: Vec<Vec<Message>> = if rewrite {
        let text = std::fs::read_to_string(data)?;
        let paragraphs = text.split("\n\n").filter(|p| (200..1500).contains(&p.len()));
        let ask = |p: &str| format!("Correct the errors in this text and write it again:\n\n{p}");
        paragraphs.map(|p| vec![Message::new("user", ask(p))]).collect()
    } else {
        let loaded = load_training(&[SourceSpec::new(data)], &DataOptions::default())?;
        loaded.examples.iter().map(|e| e.prompt().to_vec()).collect()
    };
    let stops = model.tokenizer().stop_ids().to_vec();
    let mut generator = Generator::new(model.decoder(), adapter.as_ref(), model.cpu(), mode, 2048);
    let (mut seconds, mut tokens, mut ratios) = ([0.0; 2], 0, Vec::new());
    let (mut drafted, mut accepted, mut asked) = (0, 0, 0);
    for (n, question) in questions.iter().take(items).enumerate() {
        let head = system.iter().map(|s| Message::new("system", s.clone()));
        let prompt =
            model.renderer().prompt(&head.chain(question.iter().cloned()).collect::<Vec<_>>())?.tokens;
        let mut texts = Vec::new();
        let mut took = [0.0; 2];
        // who goes first changes from item to item
        for with in [n % 2 == 0, n % 2 == 1] {
            let mut sampler = Sampler::new(Sampling { temperature, seed: n as u64, ..Sampling::default() });
            let mut stop = StopIds(stops.clone());
            let mut drafts = Drafts::new(corpus.clone());
            let used = (with && !control).then_some(&mut drafts);
            let (sampler, stop) = (&mut sampler, &mut stop);
            generator.read(&prompt)?; // the prompt is not what is measured
            let begin = Instant::now();
            let out = generator.run(
                Request { prompt: &prompt, most, sampler, stop, constraint: None, drafts: used },
                |_| true,
            )?;
            took[usize::from(with)] = begin.elapsed().as_secs_f64();
            drafted += drafts.figures().drafted;
            accepted += drafts.figures().accepted;
            texts.push(out.tokens);
        }
        ensure!(texts[0] == texts[1], "question {n}: drafts changed the text");
        if texts[0].len() >= 8 {
            asked += 1;
            tokens += texts[0].len();
            (seconds[0], seconds[1]) = (seconds[0] + took[0], seconds[1] + took[1]);
            ratios.push(took[0] / took[1]);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios.get((share * (ratios.len().saturating_sub(1)) as f64) as usize).copied();
    println!(
        "{}",
        json!({
            "model": path, "data": data, "mode": mode.name(), "isa": nurture::kernels::isa().name(), "temperature": temperature,
            "items": asked, "tokens": tokens, "plain_tok_s": tokens as f64 / seconds[0], "drafts_tok_s": tokens as f64 / seconds[1],
            "gain": seconds[0] / seconds[1], "gain_median": at(0.5), "gain_worst_tenth": at(0.1), "gain_best_tenth": at(0.9),
            "drafted": drafted, "accepted": accepted,
        })
    );
    Ok(())
}
