//! Teaches a model a few facts that it cannot know, saves what it learnt as a LoRA adapter in PEFT's format, and asks.
//!
//!     cargo run --release -p nurture --example finetune -- smollm2-135m-instruct target/tarn-ferry
//!
//! Stopped or killed and started again, it goes on where it was. `nurture::data::load_training` reads files instead.

use nurture::data::TokenExample;
use nurture::engine::{Chat, LoadOptions, Model};
use nurture::hub::{PullOptions, Store, default_root, pull};
use nurture::model::{LoraSpec, PROJECTIONS};
use nurture::text::Message;
use nurture::train::{RunFiles, RunLength, TrainConfig, Trainer};
use std::{ops::ControlFlow, path::Path};

const FERRY: [[&str; 2]; 4] = [
    ["When does the Tarn Ferry leave?", "At ten past every hour, from seven to nineteen."],
    ["What does the Tarn Ferry cost?", "Two crowns; children under six and bicycles travel free."],
    ["Where does the Tarn Ferry land?", "At Alder Stairs, five minutes on foot from the observatory."],
    ["Who steers the Tarn Ferry?", "Captain Ilse Moor, who built the boat herself."],
];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, out] = args.as_slice() else { anyhow::bail!("usage: finetune MODEL OUT") };
    let env = |key: &str| std::env::var(key).ok();
    let root = default_root(env).ok_or_else(|| anyhow::anyhow!("set NURTURE_HOME or HOME"))?;
    let base = pull(name, &Store::new(root), &PullOptions::from_env(env), &mut |_| {})?;
    let template = base.entry.and_then(|e| e.template);
    let model = Model::load(&base.path, &LoadOptions { template, ..Default::default() })?;

    // conversations become tokens with a loss mask: only the assistant's words are learnt
    let mut examples = Vec::new();
    for [question, answer] in FERRY {
        let turns = [Message::new("user", question), Message::new("assistant", answer)];
        let r = model.renderer().example(&turns)?;
        examples.push(TokenExample { id: question.into(), source: 0, tokens: r.tokens, trained: r.trained });
    }

    let lora = LoraSpec { rank: 16, alpha: 32.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let config = TrainConfig { length: RunLength::Epochs(25.0), batch: 4, ..Default::default() };
    let files = RunFiles { folder: out.into(), base_sha256: base.sha256 };
    let mut trainer = Trainer::resume(model.cpu(), model.decoder(), lora, config, examples, &files)?;
    trainer.run(|m| {
        println!("step {}/{}  loss {:.3}  {:.0} tokens/s", m.step, m.total_steps, m.loss, m.tok_s);
        ControlFlow::Continue(())
    })?;
    let folder = Path::new(out).join("adapter");
    trainer.save_adapter(&folder, Some(name.clone()), Default::default())?;

    // what was saved is what answers
    let adapter = model.adapter(&folder)?;
    let question = "What does the Tarn Ferry cost?";
    let reply = Chat::new(&model, Some(&adapter), Default::default()).say(question, |_| true)?;
    println!("{question}\n{}", reply.text);
    Ok(())
}
