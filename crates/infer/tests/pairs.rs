//! Targets of tiny encoder-decoders against transformers' `generate` (`tools/goldens/tiny_seq2seq.py`): greedy and beams; sampling
//! by seed; company changes nothing. And a decoder's beams (`tools/goldens/beams_decoder.py`).

use nurture_formats::ModelFile;
use nurture_infer::{Beams, InferError, Sampling, Written, beam_search, continue_by_beams, write_targets};
use nurture_model::seq2seq::Seq2Seq;
use nurture_model::{Cpu, Decoder, Mode};
use serde_json::Value;

const MODELS: [&str; 3] = ["t5", "t5_gated", "marian"];

fn open(name: &str, cpu: &Cpu) -> (Seq2Seq, Vec<Vec<u32>>, Value) {
    let folder = nurture_testing::repository("crates/model/tests/goldens").join(name);
    let golden: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let sources = serde_json::from_value(golden["sources"].clone()).unwrap();
    (Seq2Seq::open(folder, cpu.pool()).unwrap(), sources, golden)
}

fn slices(all: &[Vec<u32>]) -> Vec<&[u32]> {
    all.iter().map(|s| &s[..]).collect()
}

/// Tokens as transformers gives them: with the end.
fn whole(w: &Written) -> Vec<u32> {
    w.tokens.iter().copied().chain(w.ended.then_some(1)).collect()
}

#[test]
fn greedy_and_beams_equal_transformers() {
    let cpu = Cpu::new(2);
    let (mut short, mut cases) = (0, 0);
    for name in MODELS {
        let (net, sources, golden) = open(name, &cpu);
        let longest = golden["longest"].as_u64().unwrap() as usize;
        let greedy = write_targets(&cpu, &net, &slices(&sources), &Sampling::default(), longest).unwrap();
        for (i, want) in golden["written"].as_array().unwrap().iter().enumerate() {
            let row: Vec<u32> = serde_json::from_value(want["greedy"].clone()).unwrap();
            assert_eq!(whole(&greedy[i]), row, "{name}: source {i}, greedy");
            for want in want["beams"].as_array().unwrap() {
                let how = Beams { count: 4, length_penalty: want["penalty"].as_f64().unwrap() };
                let all = beam_search(&cpu, &net, &slices(&sources), &how, longest).unwrap();
                let alone = beam_search(&cpu, &net, &[&sources[i]], &how, longest).unwrap();
                assert_eq!(alone[0], all[i], "{name}: company changed source {i}");
                let rows: Vec<Vec<u32>> = serde_json::from_value(want["rows"].clone()).unwrap();
                let scores: Vec<f64> = serde_json::from_value(want["scores"].clone()).unwrap();
                let got: Vec<Vec<u32>> = all[i].iter().map(whole).collect();
                assert_eq!(got, rows, "{name}: source {i}, {how:?}");
                for (got, want) in all[i].iter().zip(scores) {
                    assert!(
                        (got.score - want).abs() < 1e-4 * want.abs().max(1.0),
                        "{name} {i}: {got:?}, {want}"
                    );
                    short += usize::from(got.ended);
                }
                cases += 1;
            }
        }
    }
    assert!(cases == 24 && short > 20, "{cases} cases, {short} targets came to their end");
}

#[test]
fn one_beam_is_greedy_and_a_seed_gives_the_same_target() {
    let cpu = Cpu::new(2);
    for name in MODELS {
        let (net, sources, _) = open(name, &cpu);
        let greedy = write_targets(&cpu, &net, &slices(&sources), &Sampling::default(), 9).unwrap();
        let one =
            beam_search(&cpu, &net, &slices(&sources), &Beams { count: 1, length_penalty: 0.0 }, 9).unwrap();
        for (beam, greedy) in one.iter().zip(&greedy) {
            // a beam that could end may go on where that is likelier; it never finds less
            assert!(beam[0].score >= greedy.score - 1e-6, "{name}: {beam:?} {greedy:?}");
        }
        let warm = |seed| Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let draw = |seed| write_targets(&cpu, &net, &slices(&sources), &warm(seed), 9).unwrap();
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        assert!(beam_search(&cpu, &net, &[], &Beams::default(), 9).unwrap().is_empty());
    }
}

#[test]
fn beams_of_a_decoder_equal_transformers() {
    let cpu = Cpu::new(2);
    let file = ModelFile::open(nurture_testing::repository("crates/model/tests/goldens/llama")).unwrap();
    let model = Decoder::load(&file, cpu.pool()).unwrap();
    let path = nurture_testing::repository("crates/infer/tests/goldens/beams_llama.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let ends: Vec<u32> = serde_json::from_value(golden["ends"].clone()).unwrap();
    let longest = golden["longest"].as_u64().unwrap() as usize;
    let all = golden["written"].as_array().unwrap();
    let mut short = 0;
    for penalty in [0.5, 2.0] {
        let some: Vec<&Value> = all.iter().filter(|w| w["penalty"] == penalty).collect();
        let prompts: Vec<Vec<u32>> =
            some.iter().map(|w| serde_json::from_value(w["prompt"].clone()).unwrap()).collect();
        let how = Beams { count: 4, length_penalty: penalty };
        let by = |prompts: &[&[u32]]| {
            continue_by_beams(&cpu, Mode::Exact, &model, None, prompts, &ends, &how, longest)
        };
        let got = by(&slices(&prompts)).unwrap();
        for (i, want) in some.iter().enumerate() {
            assert_eq!(by(&[&prompts[i]]).unwrap()[0], got[i], "company changed prompt {i}");
            let rows: Vec<Vec<u32>> = serde_json::from_value(want["rows"].clone()).unwrap();
            let scores: Vec<f64> = serde_json::from_value(want["scores"].clone()).unwrap();
            assert_eq!(got[i].len(), rows.len());
            for ((got, row), score) in got[i].iter().zip(rows).zip(scores) {
                let body = row.strip_suffix(&row[row.len() - usize::from(got.ended)..]).unwrap();
                assert_eq!(got.tokens, body, "prompt {i}, {how:?}");
                assert!((got.score - score).abs() < 1e-4 * score.abs().max(1.0), "{got:?}, {score}");
                short += usize::from(got.ended);
            }
        }
    }
    assert!(short >= 4, "{short} came to their end");
    let refused = |prompt: &[u32]| {
        continue_by_beams(&cpu, Mode::Exact, &model, None, &[prompt], &ends, &Beams::default(), 9)
    };
    assert!(matches!(refused(&[]), Err(InferError::Empty)));
    assert!(matches!(refused(&[3; 100_000]), Err(InferError::TooLong { .. })));
}
