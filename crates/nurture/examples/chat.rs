//! Asks a model one question and writes the answer as it comes.
//!
//!     cargo run --release -p nurture --example chat -- smollm2-135m-instruct "Why is the sky blue?"
//!
//! The model is a name in the catalogue (pulled if it is not here yet) or the path of a GGUF file.

use nurture::engine::{Chat, ChatOptions, LoadOptions, Model};
use nurture::hub::{PullOptions, Store, default_root, pull};
use std::io::Write;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, question] = args.as_slice() else { anyhow::bail!("usage: chat MODEL QUESTION") };

    // the library never reads the environment: a program hands it what it may know
    let env = |key: &str| std::env::var(key).ok();
    let root = default_root(env).ok_or_else(|| anyhow::anyhow!("set NURTURE_HOME or HOME"))?;
    let pulled = pull(name, &Store::new(root), &PullOptions::from_env(env), &mut |_| {})?;

    // a base model without a chat template of its own gets the one that the catalogue names
    let template = pulled.entry.and_then(|e| e.template);
    let model = Model::load(&pulled.path, &LoadOptions { template, ..Default::default() })?;
    let mut chat = Chat::new(&model, None, ChatOptions { max_tokens: 200, ..Default::default() });
    let reply = chat.say(question, |piece| {
        print!("{piece}");
        std::io::stdout().flush().is_ok()
    })?;
    println!("\n[{} tokens, {:?}]", reply.tokens, reply.finish);
    Ok(())
}
