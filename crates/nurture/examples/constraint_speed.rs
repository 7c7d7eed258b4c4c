//! What a JSON schema costs: the time that a token's mask takes beside the time of a decoding step.
//!
//! `cargo run --release -p nurture --example constraint_speed -- MODEL.gguf`

use nurture::engine::{LoadOptions, Model};
use nurture::infer::{
    Constraint, Generator, Grammar, InferError, Request, Rule, Sampler, Sampling, StopIds, TokenMask,
};
use nurture::model::Mode;
use nurture::text::Message;
use std::time::Instant;

/// Counts what a rule takes.
struct Timed {
    rule: Grammar,
    seconds: f64,
    forced: usize,
}

impl Timed {
    fn time<T>(seconds: &mut f64, f: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let out = f();
        *seconds += begin.elapsed().as_secs_f64();
        out
    }
}

impl Constraint for Timed {
    fn forced(&mut self) -> Result<Vec<u32>, InferError> {
        let forced = Timed::time(&mut self.seconds, || self.rule.forced())?;
        self.forced += forced.len();
        Ok(forced)
    }
    fn mask(&mut self) -> Result<&TokenMask, InferError> {
        Timed::time(&mut self.seconds, || self.rule.mask())
    }
    fn accept(&mut self, token: u32) -> Result<(), InferError> {
        Timed::time(&mut self.seconds, || self.rule.accept(token))
    }
    fn done(&mut self) -> bool {
        self.rule.done()
    }
    fn fits(&mut self, token: u32, room: usize) -> bool {
        Timed::time(&mut self.seconds, || self.rule.fits(token, room))
    }
    fn ending(&mut self, within: usize) -> Option<Vec<u32>> {
        Timed::time(&mut self.seconds, || self.rule.ending(within))
    }
}

const SCHEMAS: [(&str, &str); 3] = [
    (
        "person",
        r#"{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":120},
        "city":{"type":"string"},"hobbies":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":5}},
        "required":["name","age","city","hobbies"],"additionalProperties":false}"#,
    ),
    (
        "label and reason",
        r#"{"type":"object","properties":{"label":{"enum":["question","complaint","order","other"]},"urgent":{"type":"boolean"},
        "reason":{"type":"string","maxLength":200}},"required":["label","urgent","reason"],"additionalProperties":false}"#,
    ),
    ("any JSON object", r#"{"type":"object"}"#),
];

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("which model?"))?;
    let model = Model::load(path.as_ref(), &LoadOptions::default())?;
    let begin = Instant::now();
    let grammars = model.grammars()?;
    println!(
        "vocabulary of {} tokens: {:.0} ms once",
        model.tokenizer().vocab_size(),
        begin.elapsed().as_secs_f64() * 1e3
    );
    let question = "Invent a customer of a lamp shop and describe the person as JSON.";
    let prompt = model.renderer().prompt(&[Message::new("user", question)])?.tokens;
    let mut generator = Generator::new(model.decoder(), None, model.cpu(), Mode::Fast, 1024);
    let stops = model.tokenizer().stop_ids().to_vec();
    let mut run = |constraint: Option<&mut dyn Constraint>| -> anyhow::Result<(usize, f64)> {
        generator.read(&prompt)?;
        let mut sampler = Sampler::new(Sampling::default());
        let mut stop = StopIds(stops.clone());
        let begin = Instant::now();
        let request = Request {
            prompt: &prompt,
            most: 128,
            sampler: &mut sampler,
            stop: &mut stop,
            constraint,
            drafts: None,
        };
        let out = generator.run(request, |_| true)?;
        Ok((out.tokens.len(), begin.elapsed().as_secs_f64()))
    };
    run(None)?;
    for (name, schema) in SCHEMAS {
        let (mut free, mut held, mut share, mut each) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut made, mut all, mut forced) = (0.0, 0, 0);
        for _ in 0..5 {
            let (tokens, seconds) = run(None)?;
            free.push(tokens as f64 / seconds);
            let begin = Instant::now();
            let rule = grammars.rule(Rule::JsonSchema(schema))?;
            made = begin.elapsed().as_secs_f64() * 1e3;
            let mut timed = Timed { rule, seconds: 0.0, forced: 0 };
            let (tokens, seconds) = run(Some(&mut timed))?;
            held.push(tokens as f64 / seconds);
            share.push(timed.seconds / (seconds - timed.seconds) * 100.0);
            each.push(timed.seconds / tokens as f64 * 1e6);
            (all, forced) = (tokens, timed.forced);
        }
        let median = |v: &mut Vec<f64>| {
            v.sort_by(f64::total_cmp);
            v[v.len() / 2]
        };
        println!(
            "{name}: made in {made:.1} ms; {:.0} µs a token, {:.1} % of decoding; {all} tokens, {forced} forced; {:.0} tok/s, free {:.0}",
            median(&mut each),
            median(&mut share),
            median(&mut held),
            median(&mut free)
        );
    }
    Ok(())
}
