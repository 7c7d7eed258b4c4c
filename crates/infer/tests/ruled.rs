//! Rules and drafts: the generator and the engine write the same, and what the rule says.

use nurture_formats::ModelFile;
use nurture_infer::engine::{self, Engine, EngineConfig, Event};
use nurture_infer::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Mode};
use std::sync::{Arc, Mutex};

const STOP: u32 = 5;

/// Blocks of three tokens of 20..40, the forced tokens 7, 8, 9 and 50 or 60; a block once begun is finished.
#[derive(Clone)]
struct Blocks {
    at: usize,
    mask: TokenMask,
}

impl Blocks {
    fn new() -> Blocks {
        Blocks { at: 0, mask: TokenMask::default() }
    }

    fn allowed(&self) -> Vec<u32> {
        match self.at % 7 {
            0 => (20..40).chain((self.at > 0).then_some(STOP)).collect(),
            1 | 2 => (20..40).collect(),
            3..6 => vec![self.at as u32 % 7 + 4],
            _ => vec![50, 60],
        }
    }
}

impl Constraint for Blocks {
    fn forced(&mut self) -> Result<Vec<u32>, InferError> {
        Ok((self.at % 7..6).filter(|a| self.at % 7 >= 3 && *a >= 3).map(|a| a as u32 + 4).collect())
    }
    fn mask(&mut self) -> Result<&TokenMask, InferError> {
        self.mask = TokenMask::none(160);
        self.allowed().into_iter().for_each(|t| self.mask.allow(t));
        Ok(&self.mask)
    }
    fn accept(&mut self, token: u32) -> Result<(), InferError> {
        assert!(self.allowed().contains(&token), "{token} at {}", self.at);
        self.at += 1;
        Ok(())
    }
    fn done(&mut self) -> bool {
        self.at == 70
    }
    fn fits(&mut self, token: u32, room: usize) -> bool {
        let mut after = self.clone();
        after.at += usize::from(token != STOP);
        after.ending(room).is_some()
    }
    fn ending(&mut self, within: usize) -> Option<Vec<u32>> {
        let mut rest = self.clone();
        let mut way = Vec::new();
        while rest.at == 0 || !rest.at.is_multiple_of(7) {
            way.push(rest.allowed()[0]);
            rest.at += 1;
        }
        (way.len() <= within).then_some(way)
    }
}

fn said(model: &Arc<Decoder>, cpu: &Arc<Cpu>, prompt: &[u32], most: usize, picker: Ruled) -> Vec<u32> {
    told(model, cpu, prompt, most, picker).into_iter().map(|pick| pick.token).collect()
}

fn told(model: &Arc<Decoder>, cpu: &Arc<Cpu>, prompt: &[u32], most: usize, picker: Ruled) -> Vec<Pick> {
    let mut engine = Engine::new(
        model.clone(),
        cpu.clone(),
        EngineConfig { mode: Mode::Exact, ..EngineConfig::default() },
    );
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let request =
        engine::Request { picker: Box::new(picker), ..engine::Request::new(prompt.to_vec(), most, &[]) };
    engine
        .submit(request, move |event: Event| {
            if let Event::Token(pick) = event {
                told.lock().unwrap().push(pick);
            }
            true
        })
        .unwrap();
    engine.run();
    std::mem::take(&mut *heard.lock().unwrap())
}

#[test]
fn generator_and_engine_agree() {
    let cpu = Arc::new(Cpu::new(2));
    let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
    let model = Arc::new(Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap());
    let mut rng = Rng::new(2);
    for round in 0..18 {
        let prompt: Vec<u32> = (0..1 + rng.below(40)).map(|_| rng.below(160) as u32).collect();
        let (temperature, seed) = ([0.0, 1.0, 2.0][round % 3], round as u64);
        // a presence penalty keeps greedy texts from going round
        let how = Sampling { temperature, seed, presence_penalty: 0.5, ..Sampling::default() };
        let most = [7, 20, 33, 90][round % 4];
        let write = |rule: Option<&mut dyn Constraint>| {
            let mut g = Generator::new(&model, None, &cpu, Mode::Exact, 200);
            let (mut sampler, mut stop) = (Sampler::new(how.clone()), StopIds(vec![STOP]));
            let (sampler, stop) = (&mut sampler, &mut stop);
            g.run(Request { prompt: &prompt, most, sampler, stop, constraint: rule, drafts: None }, |_| true)
                .unwrap()
        };
        let ruled = |rule: Option<Box<dyn Constraint + Send>>, drafts| {
            Ruled::new(Sampler::new(how.clone()), vec![STOP], most, rule, drafts)
        };
        let want = write(Some(&mut Blocks::new()));
        assert_eq!(want.finish, Finish::Stop);
        assert!(want.tokens.len() % 7 == 0 && !want.tokens.is_empty(), "{:?}", want.tokens);
        let got = said(&model, &cpu, &prompt, most, ruled(Some(Box::new(Blocks::new())), None));
        assert_eq!(got, want.tokens);
        let free = write(None).tokens;
        let corpus = Arc::new(Ngrams::new([&[&prompt[..], &free].concat()[..]]));
        assert_eq!(said(&model, &cpu, &prompt, most, ruled(None, Some(Drafts::new(Some(corpus))))), free);
    }
}

/// With figures asked for the text is the same, and tokens that had to come are told as likely as the model finds them.
#[test]
fn forced_tokens_have_figures_of_their_own() {
    let cpu = Arc::new(Cpu::new(2));
    let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
    let model = Arc::new(Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap());
    for (round, most) in [20, 33, 90].into_iter().enumerate() {
        let prompt: Vec<u32> = (1..=10 + round as u32).collect();
        let picker = |logprobs| {
            let how = Sampling { temperature: 1.0, seed: round as u64, logprobs, ..Sampling::default() };
            let rule: Box<dyn Constraint + Send> = Box::new(Blocks::new());
            Ruled::new(Sampler::new(how), vec![STOP], most, Some(rule), None)
        };
        let plain = said(&model, &cpu, &prompt, most, picker(None));
        let picks = told(&model, &cpu, &prompt, most, picker(Some(2)));
        assert_eq!(picks.iter().map(|p| p.token).collect::<Vec<_>>(), plain);
        assert!(plain.contains(&7), "{plain:?}");
        let mut generator = Generator::new(&model, None, &cpu, Mode::Exact, 200);
        let mut text = prompt.clone();
        for pick in picks {
            let (logits, _) = generator.read(&text).unwrap();
            let sum = logits.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
            let want = f64::from(logits[pick.token as usize]) - sum;
            let got = f64::from(pick.log_probability.unwrap());
            assert!((got - want).abs() < 1e-4, "{}: {got} instead of {want}", pick.token);
            assert_eq!(pick.top.len(), 2);
            text.push(pick.token);
        }
    }
}
