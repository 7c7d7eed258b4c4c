//! Decisions and generation against the plain way: one prompt at a time, the whole vocabulary, no cache.

use nurture_formats::ModelFile;
use nurture_infer::*;
use nurture_kernels::Rng;
use nurture_model::*;

fn model(cpu: &Cpu) -> Decoder {
    let dir = nurture_testing::repository("crates/model/tests/goldens/qwen3");
    Decoder::load(&ModelFile::open(dir).unwrap(), cpu.pool()).unwrap()
}

/// Log-probabilities after each token of one sequence, `[T][V]`.
fn plain(cpu: &Cpu, model: &Decoder, ids: &[u32]) -> Vec<Vec<f64>> {
    let mut batch = Batch::default();
    batch.push(ids, 0, vec![(0, ids.len())], 0);
    let mut cache = KvCache::new(model.config(), ids.len());
    let mut buffers = Buffers::new();
    let x = model.forward(cpu, Mode::Exact, None, &batch, &mut cache, &mut buffers).unwrap();
    let vocab = model.config().vocab;
    let mut out = vec![0f32; ids.len() * vocab];
    model.logits(cpu, Mode::Exact, x, &mut out);
    out.chunks_exact(vocab)
        .map(|row| {
            let lse = row.iter().map(|&l| (l as f64).exp()).sum::<f64>().ln();
            row.iter().map(|&l| l as f64 - lse).collect()
        })
        .collect()
}

fn prompts(rng: &mut Rng, n: usize, shared: usize) -> Vec<Vec<u32>> {
    let start: Vec<u32> = (0..shared).map(|_| rng.below(160) as u32).collect();
    (0..n)
        .map(|_| {
            let own = 1 + rng.below(12);
            start.iter().copied().chain((0..own).map(|_| rng.below(160) as u32)).collect()
        })
        .collect()
}

fn answers() -> Vec<Vec<u32>> {
    [&[7u32, 8, 9, 3][..], &[7, 8, 10, 3], &[7, 11, 3], &[20, 3], &[21, 22, 23, 24, 3], &[21, 22, 23, 25, 3]]
        .iter()
        .map(|a| a.to_vec())
        .collect()
}

#[test]
fn the_walk_equals_greedy_decoding_under_the_constraint() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let mut rng = Rng::new(1);
    let answers = answers();
    let trie = Trie::new(&answers).unwrap();
    for shared in [0, 1, 30] {
        let prompts = prompts(&mut rng, 150, shared);
        let mut decided = 0;
        let got = Chooser::new(&model, None, &cpu, Mode::Exact)
            .choose(&prompts, std::slice::from_ref(&trie), |n| decided += n)
            .unwrap();
        assert_eq!(decided, prompts.len());
        for (prompt, got) in prompts.iter().zip(&got) {
            let mut alive: Vec<usize> = (0..answers.len()).collect();
            let (mut text, mut depth, mut log_p) = (prompt.clone(), 0, 0.0);
            while alive.len() > 1 {
                let row = plain(&cpu, &model, &text).pop().unwrap();
                let mut allowed: Vec<u32> = alive.iter().map(|&a| answers[a][depth]).collect();
                allowed.sort();
                allowed.dedup();
                let best =
                    *allowed.iter().max_by(|&&a, &&b| row[a as usize].total_cmp(&row[b as usize])).unwrap();
                let sum: f64 = allowed.iter().map(|&a| row[a as usize].exp()).sum();
                log_p += row[best as usize] - sum.ln();
                alive.retain(|&a| answers[a][depth] == best);
                text.push(best);
                depth += 1;
            }
            assert_eq!(got.answer, alive[0], "prompt {prompt:?}");
            assert!((got.log_probability - log_p).abs() < 1e-4, "{} {log_p}", got.log_probability);
        }
    }
}

#[test]
fn scores_are_the_likelihoods_of_the_separate_sequences() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let prompts = prompts(&mut Rng::new(2), 20, 9);
    let answers = answers();
    let got = Chooser::new(&model, None, &cpu, Mode::Exact)
        .score(&prompts, &[Trie::new(&answers).unwrap()], |_| ())
        .unwrap();
    for (prompt, got) in prompts.iter().zip(&got) {
        for (a, answer) in answers.iter().enumerate() {
            let text = [&prompt[..], answer].concat();
            let rows = plain(&cpu, &model, &text);
            let want: f64 = (0..answer.len()).map(|i| rows[prompt.len() + i - 1][answer[i] as usize]).sum();
            assert!(
                (got.log_likelihoods[a] - want).abs() < 1e-4,
                "answer {a}: {} {want}",
                got.log_likelihoods[a]
            );
        }
        assert!((got.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_prompt_is_scored_as_the_whole_sequence_is() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let mut rng = Rng::new(6);
    for n in [1usize, 2, 255, 256, 257, 520] {
        let ids: Vec<u32> = (0..n).map(|_| rng.below(160) as u32).collect();
        let rows = plain(&cpu, &model, &ids);
        let got = Generator::new(&model, None, &cpu, Mode::Exact, n).score(&ids, 3).unwrap();
        assert_eq!(got.len(), n - 1);
        for (i, pick) in got.iter().enumerate() {
            let want = rows[i][ids[i + 1] as usize];
            assert_eq!(pick.token, ids[i + 1]);
            assert!((f64::from(pick.log_probability.unwrap()) - want).abs() < 1e-4, "token {i} of {n}");
            let mut best: Vec<usize> = (0..rows[i].len()).collect();
            best.sort_by(|&a, &b| rows[i][b].total_cmp(&rows[i][a]));
            assert_eq!(pick.top[0].0 as usize, best[0]);
            assert_eq!(pick.top.len(), 3);
        }
    }
    assert!(Generator::new(&model, None, &cpu, Mode::Exact, 4).score(&[1, 99_999], 0).is_err());
}

#[test]
fn generation_goes_on_from_the_cache_and_stops() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let prompt = [5u32, 9, 77, 3];
    let mut greedy = prompt.to_vec();
    for _ in 0..12 {
        let row = plain(&cpu, &model, &greedy).pop().unwrap();
        greedy.push((0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32);
    }
    let mut g = Generator::new(&model, None, &cpu, Mode::Exact, 40);
    let mut s = Sampler::new(Sampling::default());
    let mut heard = Vec::new();
    let out = g
        .generate(&prompt, 12, &mut s, &mut StopIds(vec![]), |t| {
            heard.push(t);
            true
        })
        .unwrap();
    assert_eq!((&out.tokens[..], out.finish, out.prefilled), (&greedy[4..], Finish::Length, 4));
    assert_eq!(heard, out.tokens);
    // a second turn computes only what is new
    let more = [&greedy[..], &[8, 8]].concat();
    assert_eq!(g.read(&more).unwrap().1, 3);
    let stop = greedy[8];
    let first = greedy[4..].iter().position(|&t| t == stop).unwrap();
    let out = g.generate(&prompt, 12, &mut s, &mut StopIds(vec![stop]), |_| true).unwrap();
    assert_eq!((&out.tokens[..], out.finish), (&greedy[4..4 + first], Finish::Stop));
    let out = g.generate(&prompt, 100, &mut s, &mut StopIds(vec![]), |_| true).unwrap();
    assert_eq!((out.tokens.len(), out.finish), (36, Finish::Context));
    assert!(matches!(g.read(&[1; 41]), Err(InferError::TooLong { tokens: 41, context: 40, .. })));
    assert!(matches!(g.read(&[]), Err(InferError::Empty)));
}
