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
    model.logits(cpu, None, Mode::Exact, x, &mut out);
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

/// Probability of each answer, at each place among the tokens that the answers allow there, all computed apart.
fn allowed_probabilities(cpu: &Cpu, model: &Decoder, prompt: &[u32], answers: &[Vec<u32>]) -> Vec<f64> {
    answers
        .iter()
        .map(|answer| {
            let rows = plain(cpu, model, &[prompt, answer].concat());
            (0..answer.len())
                .map(|i| {
                    let mut allowed: Vec<u32> =
                        answers.iter().filter(|a| a.starts_with(&answer[..i])).map(|a| a[i]).collect();
                    allowed.sort();
                    allowed.dedup();
                    let row = &rows[prompt.len() + i - 1];
                    row[answer[i] as usize].exp()
                        / allowed.iter().map(|&t| row[t as usize].exp()).sum::<f64>()
                })
                .product()
        })
        .collect()
}

#[test]
fn the_best_answer_is_the_best_of_all() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let mut rng = Rng::new(9);
    let mut other = 0;
    let mut chooser = Chooser::new(&model, None, &cpu, Mode::Exact);
    for round in 0..6 {
        // random trees: answers of 1 to 5 tokens over few tokens share many beginnings; the last token ends them
        let mut answers: Vec<Vec<u32>> = (0..14)
            .map(|_| (0..rng.below(5)).map(|_| 20 + rng.below(4) as u32).chain([3]).collect())
            .collect();
        answers.sort();
        answers.dedup();
        let trie = Trie::new(&answers).unwrap();
        // one prompt alone opens several nodes at once
        let some = prompts(&mut rng, [1, 2, 40][round % 3], [0, 20][round / 3]);
        let tries = std::slice::from_ref(&trie);
        let best = chooser.best(&some, tries, 0.0, |_| ()).unwrap();
        let all = chooser.best(&some, tries, 1.1, |_| ()).unwrap();
        let most = chooser.best(&some, tries, 0.8, |_| ()).unwrap();
        let greedy = chooser.choose(&some, tries, |_| ()).unwrap();
        for (i, prompt) in some.iter().enumerate() {
            let want = allowed_probabilities(&cpu, &model, prompt, &answers);
            assert!((want.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let top = want.iter().copied().fold(0.0, f64::max);
            assert!((best[i].log_probability() - top.ln()).abs() < 1e-4);
            assert!((want[best[i].answer()] / top - 1.0).abs() < 1e-4);
            assert_eq!(best[i].ranking.len(), 1);
            assert!((best[i].rest - (1.0 - top)).abs() < 1e-4);
            assert!(want[greedy[i].answer] <= top * 1.0001);
            assert!((greedy[i].log_probability - want[greedy[i].answer].ln()).abs() < 1e-4);
            other += usize::from(greedy[i].answer != best[i].answer());
            // all of them, in order
            assert_eq!(all[i].ranking.len(), answers.len());
            assert!(all[i].rest < 1e-9 && all[i].ranking.is_sorted_by(|a, b| a.1 >= b.1));
            for &(a, l) in &all[i].ranking {
                assert!((l - want[a].ln()).abs() < 1e-4, "answer {a}: {l}, {}", want[a].ln());
            }
            let held: f64 = most[i].ranking.iter().map(|r| r.1.exp()).sum();
            assert!(held >= 0.8 && (held + most[i].rest - 1.0).abs() < 1e-4);
            assert!(held - most[i].ranking.last().unwrap().1.exp() < 0.8, "no more than needed");
        }
    }
    assert!(other > 0, "greedy decoding is not always the best answer");
}

/// The context bounds how deep a tree stands behind a prompt, not how many tokens it has.
#[test]
fn many_answers_fit_where_each_fits() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let answers: Vec<Vec<u32>> = (0..400).map(|i| vec![20 + i / 20, 60 + i % 20, 3]).collect();
    let tries = [Trie::new(&answers).unwrap()];
    let context = model.config().context;
    assert!(answers.len() > context);
    let prompt: Vec<u32> = (0..context as u32 - 3).map(|i| i % 160).collect();
    let prompts = [prompt];
    let mut chooser = Chooser::new(&model, None, &cpu, Mode::Exact);
    let scores = chooser.score(&prompts, &tries, |_| ()).unwrap();
    let best = chooser.best(&prompts, &tries, 1.1, |_| ()).unwrap();
    assert_eq!((scores[0].log_likelihoods.len(), best[0].ranking.len()), (400, 400));
    let want = plain(&cpu, &model, &[&prompts[0][..], &answers[399]].concat());
    let want: f64 = (0..3).map(|i| want[context - 4 + i][answers[399][i] as usize]).sum();
    assert!(
        (scores[0].log_likelihoods[399] - want).abs() < 1e-3,
        "{} {want}",
        scores[0].log_likelihoods[399]
    );
    let longer = [[&prompts[0][..], &[1]].concat()];
    assert!(matches!(chooser.best(&longer, &tries, 0.0, |_| ()), Err(InferError::TooLong { .. })));
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
fn drafts_change_nothing_but_the_passes() {
    let cpu = Cpu::new(2);
    let model = model(&cpu);
    let mut rng = Rng::new(12);
    let mut passes = DraftFigures::default();
    for (round, mode) in [Mode::Exact, Mode::Fast].into_iter().cycle().take(16).enumerate() {
        let prompt: Vec<u32> = (0..4 + rng.below(30)).map(|_| rng.below(160) as u32).collect();
        let how = Sampling {
            temperature: [0.0, 0.05, 1.0][round % 3],
            repeat_penalty: [1.0, 1.2][round % 2],
            logprobs: (round % 4 == 0).then_some(2),
            seed: round as u64,
            ..Sampling::default()
        };
        let write = |drafts: Option<&mut Drafts>, stop: Vec<u32>, most: usize| {
            let mut g = Generator::new(&model, None, &cpu, mode, 100);
            let (mut sampler, mut stop) = (Sampler::new(how.clone()), StopIds(stop));
            let mut picks = Vec::new();
            let (sampler, stop) = (&mut sampler, &mut stop);
            let request = Request { prompt: &prompt, most, sampler, stop, constraint: None, drafts };
            let out = g
                .run(request, |p| {
                    picks.push(p);
                    true
                })
                .unwrap();
            (out, picks)
        };
        let plain = write(None, vec![], 80);
        // the text itself as the corpus: much of it is drafted; another text: little is
        let corpus =
            std::sync::Arc::new(Ngrams::new([&[&prompt[..], &plain.0.tokens].concat()[..], &[1, 2, 3]]));
        let mut drafts = Drafts::new(Some(corpus));
        assert_eq!(write(Some(&mut drafts), vec![], 80), plain);
        assert_eq!(write(Some(&mut Drafts::new(None)), vec![], 80), plain);
        passes.accepted += drafts.figures().accepted;
        passes.passes += drafts.figures().passes;
        // ends of every kind come where they came
        let stop = vec![plain.0.tokens[plain.0.tokens.len() / 2]];
        assert_eq!(write(Some(&mut drafts.clone()), stop.clone(), 80), write(None, stop, 80));
        assert_eq!(write(Some(&mut drafts.clone()), vec![], 200), write(None, vec![], 200));
        assert_eq!(write(Some(&mut drafts), vec![], 33), write(None, vec![], 33));
    }
    // how many depends on the clock
    assert!(passes.accepted > 20, "{passes:?}");
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
