//! Many at once against one at a time: the same bits in any company, nothing shared that must not be, everyone comes to an end.

use nurture_formats::ModelFile;
use nurture_infer::engine::*;
use nurture_infer::{Constraint, Generator, InferError, Pick, Ruled, Sampler, Sampling, StopIds, TokenMask};
use nurture_kernels::Rng;
use nurture_model::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CONTEXT: usize = 400;

fn load(name: &str) -> (Arc<Decoder>, Arc<Cpu>) {
    let cpu = Cpu::new(2);
    let dir = nurture_testing::repository(&format!("crates/model/tests/goldens/{name}"));
    let model = Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap();
    (Arc::new(model), Arc::new(cpu))
}

fn config() -> EngineConfig {
    EngineConfig { mode: Mode::Exact, tokens: 4096, context: CONTEXT, ..EngineConfig::default() }
}

/// An adapter that changes what the model says.
fn adapter(model: &Decoder, seed: u64) -> Adapter {
    let mut rng = Rng::stream(seed, 7);
    let rank = 3 + seed as usize % 4;
    Adapter::build(model.config(), |l, p| {
        let (d, n) = p.shape(model.config());
        let mut floats = |n: usize| (0..n).map(|_| (rng.uniform() - 0.5) as f32).collect::<Vec<_>>();
        // not every projection of every adapter
        (!(l + p as usize + seed as usize).is_multiple_of(5))
            .then(|| (rank, 0.7, floats(rank * d), floats(n * rank)))
    })
}

fn tokens(rng: &mut Rng, n: usize) -> Vec<u32> {
    (0..n).map(|_| rng.below(150) as u32).collect()
}

/// The bits of all logits that a request saw.
type Seen = Arc<Mutex<Vec<u64>>>;

struct Watched {
    inner: Sampled,
    seen: Seen,
}

fn digest(logits: &[f32]) -> u64 {
    logits
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, l| (h ^ u64::from(l.to_bits())).wrapping_mul(0x100_0000_01b3))
}

impl Picker for Watched {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        self.seen.lock().unwrap().push(digest(logits));
        self.inner.pick(logits, past)
    }
}

/// What a request is made of, to be made again.
#[derive(Clone)]
struct Recipe {
    prompt: Vec<u32>,
    most: usize,
    seed: u64,
    adapter: Option<Arc<Loaded>>,
    tenant: u64,
}

impl Recipe {
    fn request(&self, seen: &Seen) -> Request {
        let how = Sampling { temperature: 0.8, top_p: 0.95, seed: self.seed, ..Sampling::default() };
        let inner = Sampled::new(how, &[5]);
        Request {
            picker: Box::new(Watched { inner, seen: seen.clone() }),
            adapter: self.adapter.clone(),
            tenant: self.tenant,
            ..Request::new(self.prompt.clone(), self.most, &[])
        }
    }
}

#[derive(Default, Clone)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    fn sink(&self) -> impl FnMut(Event) -> bool + Send + 'static {
        let heard = self.0.clone();
        move |event| {
            heard.lock().unwrap().push(event);
            true
        }
    }

    fn tokens(&self) -> Vec<u32> {
        let token = |e: &Event| match e {
            Event::Token(pick) => Some(pick.token),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(token).collect()
    }

    fn done(&self) -> Option<(Finish, Usage)> {
        match self.0.lock().unwrap().last() {
            Some(Event::Done(finish, usage)) => Some((finish.clone(), *usage)),
            _ => None,
        }
    }

    fn usage(&self) -> Usage {
        self.done().expect("it has ended").1
    }
}

fn answer(engine: &mut Engine, request: Request) -> Heard {
    let heard = Heard::default();
    engine.submit(request, heard.sink()).unwrap();
    engine.run();
    heard
}

#[test]
fn the_same_bits_in_any_company() {
    for (family, mode, kv) in [
        ("qwen3", Mode::Exact, KvType::F32),
        ("gemma3", Mode::Exact, KvType::Q8),
        ("qwen2", Mode::Fast, KvType::F16),
        ("llama", Mode::Exact, KvType::F32),
    ] {
        let (model, cpu) = load(family);
        let adapters: Vec<_> = (0..3).map(|i| Loaded::new(format!("a{i}"), adapter(&model, i))).collect();
        let mut rng = Rng::new(11);
        let shared = tokens(&mut rng, 70);
        let recipes: Vec<Recipe> = (0..24)
            .map(|i| {
                let (n, common) = (1 + rng.below(90), [0, 33, 64, 70][rng.below(4)]);
                let prompt = shared[..common].iter().copied().chain(tokens(&mut rng, n)).collect();
                let which = rng.below(4);
                let adapter = adapters.get(which).cloned();
                Recipe { prompt, most: 1 + rng.below(60), seed: i, adapter, tenant: rng.below(2) as u64 }
            })
            .collect();
        let alone: Vec<_> = recipes
            .iter()
            .map(|r| {
                let plain = EngineConfig { mode, kv: Some(kv), sharing: false, ..config() };
                let mut engine = Engine::new(model.clone(), cpu.clone(), plain);
                let seen = Seen::default();
                let heard = answer(&mut engine, r.request(&seen));
                (heard.tokens(), heard.done().unwrap().0, seen)
            })
            .collect();
        // plenty of room; a pool in which pages are taken away; steps of one page; all of them without a tree
        let roomy = EngineConfig { mode, ..config() };
        let tight = EngineConfig { tokens: 420, step_tokens: 64, ..roomy.clone() };
        let narrow = EngineConfig { step_tokens: 1, step_time: Duration::ZERO, ..roomy.clone() };
        let bare = EngineConfig { sharing: false, running: 5, ..roomy.clone() };
        for (name, config) in [("roomy", roomy), ("tight", tight), ("narrow", narrow), ("bare", bare)] {
            let config = EngineConfig { kv: Some(kv), ..config };
            let mut engine = Engine::new(model.clone(), cpu.clone(), config);
            let mut order: Vec<usize> = (0..recipes.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, rng.below(i + 1));
            }
            let mut heard: HashMap<usize, (Heard, Seen)> = HashMap::new();
            for i in order {
                let (h, seen) = (Heard::default(), Seen::default());
                engine.submit(recipes[i].request(&seen), h.sink()).unwrap();
                heard.insert(i, (h, seen));
                for _ in 0..rng.below(4) {
                    engine.step();
                }
            }
            engine.run();
            let stats = engine.stats();
            match name {
                "tight" => assert!(stats.preempted > 0, "nobody had to give way"),
                "roomy" => assert!(stats.cached > 0, "nothing was shared"),
                _ => {}
            }
            for (i, (tokens, finish, seen)) in alone.iter().enumerate() {
                let (h, s) = &heard[&i];
                let what = format!("{family}, {name}, request {i}");
                assert_eq!(&h.tokens(), tokens, "{what}");
                assert_eq!(&h.done().unwrap().0, finish, "{what}");
                assert_eq!(*s.lock().unwrap(), *seen.lock().unwrap(), "logits of {what}");
            }
            // all pages are free or kept, and what is kept can be given back
            assert_eq!(stats.pages_free + stats.pages_kept, stats.pages, "{family}, {name}");
            engine.forget_all();
            assert_eq!(engine.stats().pages_free, stats.pages, "{family}, {name}: a page was lost");
        }
    }
}

#[test]
fn the_engine_says_what_the_generator_says() {
    let (model, cpu) = load("qwen3");
    let mut rng = Rng::new(3);
    for n in [1, 31, 32, 33, 64, 150] {
        let prompt = tokens(&mut rng, n);
        for adapter in [None, Some(Loaded::new("a", adapter(&model, 1)))] {
            let mut generator =
                Generator::new(&model, adapter.as_ref().map(|a| a.adapter()), &cpu, Mode::Exact, CONTEXT);
            let (mut sampler, mut stop) = (Sampler::new(Sampling::default()), StopIds(vec![5]));
            let want = generator.generate(&prompt, 40, &mut sampler, &mut stop, |_| true).unwrap();
            let mut engine = Engine::new(model.clone(), cpu.clone(), config());
            let request = Request { adapter, ..Request::new(prompt.clone(), 40, &[5]) };
            assert_eq!(answer(&mut engine, request).tokens(), want.tokens);
        }
    }
}

#[test]
fn nothing_kept_crosses_adapters_tenants_or_generations() {
    let (model, cpu) = load("qwen3");
    let prompt = tokens(&mut Rng::new(5), 100);
    let ask = |adapter: Option<&Arc<Loaded>>, tenant: u64| Request {
        adapter: adapter.cloned(),
        tenant,
        ..Request::new(prompt.clone(), 12, &[])
    };
    // what each must say, in an engine that has seen nothing
    let fresh = |adapter: Option<&Arc<Loaded>>| {
        answer(&mut Engine::new(model.clone(), cpu.clone(), config()), ask(adapter, 0)).tokens()
    };
    let first = Loaded::new("pupil", adapter(&model, 1));
    let second = Loaded::new("pupil", adapter(&model, 2));
    let copy = Loaded::new("pupil", adapter(&model, 1));
    assert!(first.generation() != second.generation() && first.generation() != copy.generation());
    let wanted = [None, Some(&first), Some(&second), Some(&copy)].map(fresh);
    assert!(wanted[0] != wanted[1] && wanted[1] != wanted[2], "the adapters change nothing");
    assert_eq!(wanted[1], wanted[3]);
    let mut engine = Engine::new(model.clone(), cpu.clone(), config());
    for tenant in 0..3 {
        for (who, want) in [None, Some(&first), Some(&second), Some(&copy)].into_iter().zip(&wanted) {
            let heard = answer(&mut engine, ask(who, tenant));
            let name = who.map(|a| a.generation());
            assert_eq!(
                heard.usage().cached,
                0,
                "tenant {tenant}, generation {name:?} was given foreign pages"
            );
            assert_eq!(&heard.tokens(), want);
        }
    }
    for tenant in 0..3 {
        for (who, want) in [None, Some(&first), Some(&second), Some(&copy)].into_iter().zip(&wanted) {
            let heard = answer(&mut engine, ask(who, tenant));
            assert_eq!(heard.usage().cached, 96, "its own pages are kept");
            assert_eq!(&heard.tokens(), want);
        }
    }
    let kept = engine.stats().pages_kept;
    engine.forget(&first);
    assert!(engine.stats().pages_kept < kept);
    assert_eq!(answer(&mut engine, ask(Some(&first), 0)).usage().cached, 0);
    assert_eq!(answer(&mut engine, ask(Some(&second), 0)).usage().cached, 96);
}

#[test]
fn those_who_begin_alike_compute_it_once() {
    let (model, cpu) = load("qwen3");
    let mut engine = Engine::new(model, cpu, config());
    let mut rng = Rng::new(6);
    let start = tokens(&mut rng, 128);
    let all: Vec<Heard> = (0..6)
        .map(|_| {
            let heard = Heard::default();
            let own = tokens(&mut rng, 9);
            let prompt = start.iter().copied().chain(own).collect();
            engine.submit(Request::new(prompt, 4, &[]), heard.sink()).unwrap();
            heard
        })
        .collect();
    engine.run();
    let cached: Vec<_> = all.iter().map(|h| h.usage().cached).collect();
    assert_eq!(cached, [0, 128, 128, 128, 128, 128], "all came at once");
    assert_eq!(engine.stats().read, 128 + 6 * 9);
}

#[test]
fn the_least_recently_used_goes_first() {
    let (model, cpu) = load("qwen3");
    let mut engine = Engine::new(model, cpu, EngineConfig { tokens: 10 * PAGE, ..config() });
    let mut rng = Rng::new(7);
    let prompts: Vec<_> = (0..3).map(|_| tokens(&mut rng, 3 * PAGE + 1)).collect();
    let mut cached = |i: usize| answer(&mut engine, Request::new(prompts[i].clone(), 1, &[])).usage().cached;
    assert_eq!([cached(0), cached(1), cached(0)], [0, 0, 3 * PAGE]);
    // 6 of 10 pages are kept, the third takes 4 more, so nothing goes yet; a fourth prompt would
    assert_eq!([cached(2), cached(0)], [0, 3 * PAGE]);
    let other = tokens(&mut Rng::new(8), 3 * PAGE + 1);
    answer(&mut engine, Request::new(other, 1, &[]));
    let mut cached = |i: usize| answer(&mut engine, Request::new(prompts[i].clone(), 1, &[])).usage().cached;
    assert_eq!(cached(0), 3 * PAGE, "used last");
    assert!(cached(1) < 3 * PAGE, "used first");
}

#[test]
fn a_long_prompt_does_not_stall_others() {
    let (model, cpu) = load("qwen3");
    let small = EngineConfig { step_tokens: 64, ..config() };
    let mut engine = Engine::new(model, cpu, small);
    let mut rng = Rng::new(9);
    let talks = Heard::default();
    engine.submit(Request::new(tokens(&mut rng, 5), 30, &[]), talks.sink()).unwrap();
    engine.step();
    let (long, short) = (Heard::default(), Heard::default());
    engine.submit(Request::new(tokens(&mut rng, 380), 4, &[]), long.sink()).unwrap();
    engine.submit(Request::new(tokens(&mut rng, 20), 4, &[]), short.sink()).unwrap();
    for step in 1..=6 {
        engine.step();
        assert_eq!(talks.tokens().len(), 1 + step, "a token a step, whatever is read beside it");
    }
    assert!(short.done().is_some(), "the short one passed the long one");
    assert!(long.tokens().is_empty());
    engine.run();
    assert_eq!(long.tokens().len(), 4);
}

#[test]
fn every_ending_is_told_and_frees_its_pages() {
    let (model, cpu) = load("qwen3");
    let mut engine = Engine::new(model, cpu, EngineConfig { sharing: false, ..config() });
    let mut rng = Rng::new(10);
    let prompt = tokens(&mut rng, 50);
    let all = engine.stats().pages;
    let told = |h: &Heard| h.done().unwrap().0;
    let heard = answer(&mut engine, Request::new(prompt.clone(), 5, &[]));
    assert_eq!((told(&heard), heard.tokens().len()), (Finish::Length, 5));
    let stop = heard.tokens()[3];
    let at = heard.tokens().iter().position(|&t| t == stop).unwrap();
    let heard = answer(&mut engine, Request::new(prompt.clone(), 50, &[stop]));
    assert_eq!((told(&heard), heard.tokens().len()), (Finish::Stop, at));
    let heard = answer(&mut engine, Request::new(tokens(&mut rng, CONTEXT - 3), 50, &[]));
    assert_eq!((told(&heard), heard.tokens().len()), (Finish::Context, 3));
    // cancelled while it generates: free at the next step
    let heard = Heard::default();
    let cancel = engine.submit(Request::new(prompt.clone(), 300, &[]), heard.sink()).unwrap();
    let beside = Heard::default();
    engine.submit(Request::new(prompt.clone(), 8, &[]), beside.sink()).unwrap();
    (0..3).for_each(|_| _ = engine.step());
    cancel.cancel();
    engine.step();
    assert_eq!(told(&heard), Finish::Cancelled);
    assert_eq!(engine.stats().running, 1);
    engine.run();
    assert_eq!(beside.tokens().len(), 8);
    // a receiver that wants no more
    let mut left = 3;
    let sink = move |_| {
        left -= 1;
        left > 0
    };
    engine.submit(Request::new(prompt.clone(), 300, &[]), sink).unwrap();
    (0..5).for_each(|_| _ = engine.step());
    assert!(engine.idle(), "it went on for nobody");
    // late: while it runs, and before it ever ran
    let heard = Heard::default();
    let soon = Some(Instant::now() + Duration::from_millis(30));
    engine
        .submit(Request { deadline: soon, ..Request::new(prompt.clone(), 340, &[]) }, heard.sink())
        .unwrap();
    engine.step();
    std::thread::sleep(Duration::from_millis(40));
    engine.run();
    assert_eq!(told(&heard), Finish::Deadline);
    assert!(!heard.tokens().is_empty());
    let past = Some(Instant::now());
    let heard = answer(&mut engine, Request { deadline: past, ..Request::new(prompt, 3, &[]) });
    assert_eq!((told(&heard), heard.tokens().len()), (Finish::Deadline, 0));
    assert_eq!(engine.stats().pages_free, all);
    assert_eq!(engine.stats().ended, [1, 2, 1, 2, 2, 0]);
}

#[test]
fn what_can_never_fit_is_refused_with_the_counts() {
    let (model, cpu) = load("qwen3");
    let tiny = EngineConfig { tokens: 64, waiting: 2, ..config() };
    let mut engine = Engine::new(model.clone(), cpu, tiny);
    let mut ask = |request: Request| engine.submit(request, |_| true).map(|_| ());
    let of = |n: usize| Request::new(vec![1; n], 5, &[]);
    assert_eq!(ask(of(0)), Err(Refused::Empty));
    assert_eq!(ask(of(CONTEXT)), Err(Refused::TooLong { tokens: CONTEXT, context: CONTEXT }));
    assert_eq!(ask(of(64)), Err(Refused::NeverFits { tokens: 64, room: 64 }));
    let vocab = model.config().vocab;
    let refused = Refused::Token { token: vocab as u32, place: 1, vocab };
    assert_eq!(ask(Request::new(vec![1, vocab as u32], 5, &[])), Err(refused));
    let foreign = Loaded::new("foreign", adapter(&load("gemma3").0, 1));
    assert!(matches!(ask(Request { adapter: Some(foreign), ..of(3) }), Err(Refused::Adapter { .. })));
    assert_eq!([ask(of(63)), ask(of(63))], [Ok(()), Ok(())]);
    assert_eq!(ask(of(1)), Err(Refused::QueueFull { waiting: 2 }));
    engine.run();
    assert_eq!(engine.stats().ended[2], 2, "both fill the pool, one after the other");
}

struct Guesses {
    inner: Sampled,
    text: Vec<u32>,
    rng: Rng,
    wrong: usize,
}

impl Picker for Guesses {
    fn pick(&mut self, logits: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        self.inner.pick(logits, past)
    }

    fn guess(&mut self, past: Past<'_>, most: usize) -> Vec<u32> {
        let right = self.text.iter().skip(past.text.len()).take(most);
        right.map(|&t| if self.rng.below(10) < self.wrong { (t + 1) % 160 } else { t }).collect()
    }
}

#[test]
fn guesses_change_the_pace_and_nothing_else() {
    let (model, cpu) = load("qwen3");
    let prompt = tokens(&mut Rng::new(12), 40);
    let how = Sampling { temperature: 0.9, seed: 4, ..Sampling::default() };
    let mut plain = Engine::new(model.clone(), cpu.clone(), config());
    let want = answer(&mut plain, Request::sampled(prompt.clone(), 60, how.clone(), &[])).tokens();
    let steps = plain.stats().steps;
    for wrong in [0, 3, 10] {
        let mut engine = Engine::new(model.clone(), cpu.clone(), config());
        let inner = Sampled::new(how.clone(), &[]);
        let picker = Guesses { inner, text: want.clone(), rng: Rng::new(1), wrong };
        let request = Request { picker: Box::new(picker), ..Request::new(prompt.clone(), 60, &[]) };
        let heard = answer(&mut engine, request);
        assert_eq!(heard.tokens(), want, "{wrong} of 10 guesses are wrong");
        let (guessed, right) = heard.usage().guessed;
        match wrong {
            0 => assert!(guessed == right && engine.stats().steps * 5 < steps),
            10 => assert!(right == 0 && engine.stats().steps == steps),
            _ => assert!(right > 0 && right < guessed),
        }
    }
}

/// Begins with 7 7, then one of three tokens, then forty nines, then three of a hundred.
#[derive(Clone)]
struct Rule {
    text: Vec<u32>,
    mask: TokenMask,
}

impl Rule {
    fn new() -> Rule {
        Rule { text: Vec::new(), mask: TokenMask::default() }
    }
}

impl Constraint for Rule {
    fn forced(&mut self) -> Result<Vec<u32>, InferError> {
        Ok(match self.text.len() {
            0 => vec![7, 7],
            3 => vec![9; 40],
            _ => vec![],
        })
    }

    fn mask(&mut self) -> Result<&TokenMask, InferError> {
        self.mask = TokenMask::none(160);
        let allowed = if self.text.len() == 2 { vec![70, 3] } else { (20..120).collect() };
        allowed.into_iter().for_each(|t| self.mask.allow(t));
        Ok(&self.mask)
    }

    fn accept(&mut self, token: u32) -> Result<(), InferError> {
        self.text.push(token);
        Ok(())
    }

    fn done(&mut self) -> bool {
        self.text.len() == 46
    }
}

#[test]
fn a_rule_holds_and_what_it_forces_costs_one_step() {
    let (model, cpu) = load("qwen3");
    for most in [200, 46, 45, 10, 2, 1] {
        for temperature in [0.0, 1.0] {
            let how = Sampling { temperature, seed: 3, ..Sampling::default() };
            let mut generator = Generator::new(&model, None, &cpu, Mode::Exact, CONTEXT);
            let (mut sampler, mut stop, mut rule) =
                (Sampler::new(how.clone()), StopIds::default(), Rule::new());
            let request = nurture_infer::Request {
                prompt: &[1, 2, 3],
                most,
                sampler: &mut sampler,
                stop: &mut stop,
                constraint: Some(&mut rule),
                drafts: None,
            };
            let want = generator.run(request, |_| true).unwrap();
            let mut engine = Engine::new(model.clone(), cpu.clone(), config());
            let picker = Ruled::new(Sampler::new(how), vec![], most, Some(Box::new(Rule::new())), None);
            let request = Request { picker: Box::new(picker), ..Request::new(vec![1, 2, 3], most, &[]) };
            let heard = answer(&mut engine, request);
            assert_eq!(heard.tokens(), want.tokens, "at most {most}");
            let finish =
                if want.finish == nurture_infer::Finish::Stop { Finish::Stop } else { Finish::Length };
            assert_eq!(heard.done().unwrap().0, finish, "at most {most}");
            assert!(engine.stats().steps <= 6, "{} steps", engine.stats().steps);
        }
    }
}

#[test]
fn scores_and_hidden_states_are_those_of_the_plain_pass() {
    let (model, cpu) = load("qwen3");
    let (width, vocab) = (model.config().width, model.config().vocab);
    let prompt = tokens(&mut Rng::new(13), 77);
    let mut batch = Batch::default();
    batch.push(&prompt, 0, vec![(0, prompt.len())], 0);
    let (mut cache, mut buffers) = (KvCache::new(model.config(), prompt.len()), Buffers::new());
    let x = model.forward(&cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
    let mut logits = vec![0f32; prompt.len() * vocab];
    model.logits(&cpu, None, Mode::Exact, x, &mut logits);
    let normed = model.last_norm(&cpu, x);
    for step_tokens in [32, 256] {
        let mut engine = Engine::new(model.clone(), cpu.clone(), EngineConfig { step_tokens, ..config() });
        // kept pages must not swallow scores
        answer(&mut engine, Request::new(prompt.clone(), 1, &[]));
        for pooling in [Pooling::Last, Pooling::Mean] {
            let request =
                Request { scores: Some(2), hidden: Some(pooling), ..Request::new(prompt.clone(), 0, &[]) };
            let heard = answer(&mut engine, request);
            let events = heard.0.lock().unwrap();
            let [Event::Scores(scores), Event::Hidden(hidden), Event::Done(Finish::Length, usage)] =
                &events[..]
            else {
                panic!("{events:?}")
            };
            assert_eq!((scores.len(), usage.generated, usage.cached), (prompt.len() - 1, 0, 0));
            for (i, score) in scores.iter().enumerate() {
                let row = &logits[i * vocab..][..vocab];
                let lse = row.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
                assert_eq!(score.token, prompt[i + 1]);
                let want = f64::from(row[score.token as usize]) - lse;
                assert!((f64::from(score.log_probability.unwrap()) - want).abs() < 1e-4);
                let best = row.iter().copied().fold(f32::MIN, f32::max);
                assert!(score.top.len() == 2 && row[score.top[0].0 as usize] == best);
                assert!(score.top[0].1 >= score.top[1].1);
            }
            for (d, h) in hidden.iter().enumerate() {
                let want = match pooling {
                    Pooling::Last => f64::from(normed[(prompt.len() - 1) * width + d]),
                    Pooling::Mean => {
                        normed.iter().skip(d).step_by(width).map(|&v| f64::from(v)).sum::<f64>() / 77.0
                    }
                };
                assert!((f64::from(*h) - want).abs() < 1e-5);
            }
        }
    }
}

struct Breaks;

impl Picker for Breaks {
    fn pick(&mut self, _: &mut [f32], past: Past<'_>) -> Result<Picked, InferError> {
        assert!(past.text.len() < 3, "wanted");
        Ok(Picked::Token(Pick::bare(4), Forced::default()))
    }
}

struct Lost;

impl Picker for Lost {
    fn pick(&mut self, _: &mut [f32], _: Past<'_>) -> Result<Picked, InferError> {
        Ok(Picked::Token(Pick::bare(1 << 20), Forced::default()))
    }
}

#[test]
fn a_fault_of_one_is_not_a_fault_of_others() {
    let (model, cpu) = load("qwen3");
    let mut engine = Engine::new(model, cpu, config());
    let prompt = tokens(&mut Rng::new(14), 20);
    let want = answer(&mut engine, Request::new(prompt.clone(), 20, &[])).tokens();
    let [breaks, lost, well] = [(); 3].map(|()| Heard::default());
    let with = |picker: Box<dyn Picker>| Request { picker, ..Request::new(prompt.clone(), 20, &[]) };
    engine.submit(with(Box::new(Breaks)), breaks.sink()).unwrap();
    engine.submit(with(Box::new(Lost)), lost.sink()).unwrap();
    engine.submit(Request::new(prompt.clone(), 20, &[]), |_| -> bool { panic!("wanted") }).unwrap();
    engine.submit(Request::new(prompt.clone(), 20, &[]), well.sink()).unwrap();
    engine.run();
    assert_eq!(well.tokens(), want);
    for heard in [breaks, lost] {
        assert!(matches!(heard.done(), Some((Finish::Failed(_), _))));
    }
    assert_eq!((engine.stats().ended[3], engine.stats().ended[5]), (1, 2));
    engine.forget_all();
    assert_eq!(engine.stats().pages_free, engine.stats().pages);
}

#[test]
fn a_handle_serves_many_threads() {
    let (model, cpu) = load("qwen3");
    let mut lone = Engine::new(model.clone(), cpu.clone(), config());
    let mut rng = Rng::new(15);
    let prompts: Vec<_> = (0..16)
        .map(|_| {
            let n = 1 + rng.below(60);
            tokens(&mut rng, n)
        })
        .collect();
    let want: Vec<_> =
        prompts.iter().map(|p| answer(&mut lone, Request::new(p.clone(), 25, &[])).tokens()).collect();
    let engine = EngineHandle::start(model, cpu, config()).unwrap();
    std::thread::scope(|s| {
        for (prompt, want) in prompts.iter().zip(&want) {
            let engine = engine.clone();
            s.spawn(move || {
                let gone = engine.submit(Request::new(prompt.clone(), 300, &[])).unwrap();
                let ticket = engine.submit(Request::new(prompt.clone(), 25, &[])).unwrap();
                drop(gone);
                assert_eq!(ticket.wait().tokens, *want);
            });
        }
    });
    engine.drain();
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting), (0, 0));
    assert_eq!(stats.ended[1] + stats.ended[3], 32);
    assert_eq!(engine.submit(Request::new(vec![1], 1, &[])).map(|_| ()), Err(Refused::Closing));
}

#[test]
fn a_replaced_adapter_serves_those_who_came_before() {
    let (model, cpu) = load("qwen3");
    let prompt = tokens(&mut Rng::new(16), 60);
    let engine = EngineHandle::start(model.clone(), cpu.clone(), config()).unwrap();
    let with = |a: Arc<Loaded>| Request { adapter: Some(a), ..Request::new(prompt.clone(), 200, &[]) };
    let mut lone = Engine::new(model.clone(), cpu, config());
    let [want_old, want_new] =
        [1, 2].map(|seed| answer(&mut lone, with(Loaded::new("x", adapter(&model, seed)))).tokens());
    let old = engine.load_adapter("pupil", adapter(&model, 1)).unwrap();
    let running = engine.submit(with(engine.adapter("pupil").unwrap())).unwrap();
    assert!(matches!(running.next_event(), Some(Event::Token(_))));
    let new = engine.load_adapter("pupil", adapter(&model, 2)).unwrap();
    assert!(new.generation() > old.generation());
    assert_eq!(engine.adapter("pupil").unwrap().generation(), new.generation());
    let later = engine.submit(with(new)).unwrap();
    let (later, earlier) = (later.wait(), running.wait());
    assert_eq!(earlier.tokens, want_old[1..]);
    assert_eq!(later.tokens, want_new);
    assert!(engine.unload_adapter("pupil") && !engine.unload_adapter("pupil"));
    assert!(engine.adapter("pupil").is_none());
    assert!(engine.load_adapter("foreign", adapter(&load("gemma3").0, 1)).is_err());
}

/// Real weights, stored quantised, in both modes: what the generator says alone, the engine says in company, with four
/// adapters and none in the batch.
#[test]
fn a_real_model_says_the_same_in_company() {
    let Some(path) = nurture_testing::model(nurture_testing::SMOLLM2) else { return };
    let cpu = Arc::new(Cpu::new(2));
    let model = Arc::new(Decoder::load(&ModelFile::open(path).unwrap(), cpu.pool()).unwrap());
    let spec = LoraSpec { rank: 8, alpha: 16.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let adapters: Vec<_> = (0..3)
        .map(|seed| {
            let mut adapter = Adapter::new(model.config(), &spec, seed);
            let mut rng = Rng::new(seed);
            for pair in adapter.iter_mut() {
                pair.update(|_, b| b.iter_mut().for_each(|b| *b = (rng.uniform() as f32 - 0.5) * 0.02));
            }
            Loaded::new("a", adapter)
        })
        .collect();
    let mut rng = Rng::new(21);
    let vocab = model.config().vocab;
    let prompts: Vec<Vec<u32>> = [7, 33, 64, 100, 5, 150, 21, 40]
        .into_iter()
        .map(|n| (0..n).map(|_| rng.below(vocab) as u32).collect())
        .collect();
    for mode in [Mode::Exact, Mode::Fast] {
        let mut engine =
            Engine::new(model.clone(), cpu.clone(), EngineConfig { mode, step_tokens: 96, ..config() });
        let heard: Vec<Heard> = prompts
            .iter()
            .enumerate()
            .map(|(i, prompt)| {
                let heard = Heard::default();
                let adapter = adapters.get(i % 4).cloned();
                engine
                    .submit(Request { adapter, ..Request::new(prompt.clone(), 24, &[]) }, heard.sink())
                    .unwrap();
                engine.step();
                heard
            })
            .collect();
        engine.run();
        for (i, (prompt, heard)) in prompts.iter().zip(&heard).enumerate() {
            let adapter = adapters.get(i % 4).map(|a| a.adapter());
            let mut generator = Generator::new(&model, adapter, &cpu, mode, CONTEXT);
            let (mut sampler, mut stop) = (Sampler::new(Sampling::default()), StopIds::default());
            let want = generator.generate(prompt, 24, &mut sampler, &mut stop, |_| true).unwrap();
            assert_eq!(heard.tokens(), want.tokens, "{} mode, prompt {i}", mode.name());
        }
    }
}
