//! Sources mixed by weight: below 1 a share of their rows takes part, above 1 rows are seen more often in each pass.
//!
//! Everything depends on the seed and the rows only, and the share is the same in each pass; a larger share keeps what a
//! smaller one had. The weight is a source's, also where it is a folder of many files.

use std::collections::{HashMap, HashSet};

use crate::example::Example;
use crate::ledger::Fate;
use crate::load::{Loaded, SourceFound};
use crate::rng::hash64;
use crate::sample::NOT_SAMPLED;
use crate::tokens::TokenExample;

/// Takes out what weights below 1 leave out. `weights`: of each source of the recipe. The ledger counts those rows as
/// `not_sampled`.
pub fn sample_by_weight(loaded: &mut Loaded, weights: &[f64], seed: u64) {
    let rows = loaded.examples.iter().map(|e| (spec_of(&loaded.sources, e.source), e.id.as_str()));
    let chosen = chosen(rows, |spec| weight(weights, spec).min(1.0), seed);
    let mut at = 0;
    let ledger = &mut loaded.ledger;
    loaded.examples.retain(|example: &Example| {
        let stays = chosen.contains(&at);
        at += 1;
        if !stays {
            // false only for rows that this ledger never counted
            let _moved =
                ledger.move_used(example.source, &Fate::Dropped(NOT_SAMPLED.to_string()), &example.id);
        }
        stays
    });
}

/// Stands between a row's id and the number of its copy.
const AGAIN: &str = " (again ";

/// The id of the row that a copy was made of.
pub fn without_copy(id: &str) -> &str {
    let copied = id.strip_suffix(')').and_then(|id| id.rsplit_once(AGAIN));
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    copied.filter(|(_, n)| number(n)).map_or(id, |(row, _)| row)
}

/// Puts copies of sequences behind the others for weights above 1, so that a pass sees them so much more often. The ledger
/// says how many. `together` sequences are one row (a pair of answers) and stay side by side.
pub fn repeat_by_weight(
    mut tokens: Vec<TokenExample>,
    together: usize,
    loaded: &mut Loaded,
    weights: &[f64],
    seed: u64,
) -> Vec<TokenExample> {
    let mut again: Vec<TokenExample> = Vec::new();
    let more = |spec: usize| (weight(weights, spec) - 1.0).max(0.0);
    let together = together.max(1);
    let rows = tokens.iter().step_by(together).map(|t| (spec_of(&loaded.sources, t.source), t.id.as_str()));
    let extra = chosen(rows, |spec| more(spec).fract(), seed);
    for (at, row) in tokens.chunks(together).enumerate() {
        let Some(first) = row.first() else { continue };
        let copies = more(spec_of(&loaded.sources, first.source)) as usize + usize::from(extra.contains(&at));
        if let Some(source) = loaded.ledger.sources.get_mut(first.source) {
            source.repeated += copies as u64;
        }
        for n in 0..copies {
            let copy =
                |t: &TokenExample| TokenExample { id: format!("{}{AGAIN}{})", t.id, n + 1), ..t.clone() };
            again.extend(row.iter().map(copy));
        }
    }
    tokens.append(&mut again);
    tokens
}

fn weight(weights: &[f64], spec: usize) -> f64 {
    weights.get(spec).copied().filter(|w| w.is_finite() && *w >= 0.0).unwrap_or(1.0)
}

fn spec_of(sources: &[SourceFound], source: usize) -> usize {
    sources.get(source).map_or(source, |s| s.spec)
}

/// The places of a share of each source's rows, rounded, and never none of a source that has a share: those whose hashes
/// are smallest.
fn chosen<'a>(
    rows: impl Iterator<Item = (usize, &'a str)>,
    share: impl Fn(usize) -> f64,
    seed: u64,
) -> HashSet<usize> {
    let mut sources: HashMap<usize, Vec<(u64, usize)>> = HashMap::new();
    for (at, (spec, id)) in rows.enumerate() {
        sources.entry(spec).or_default().push((hash64(seed, &[b"weight", id.as_bytes()]), at));
    }
    let mut out = HashSet::new();
    for (spec, mut rows) in sources {
        let share = share(spec);
        let least = usize::from(share > 0.0);
        let n = ((rows.len() as f64 * share).round() as usize).max(least);
        rows.sort_unstable();
        out.extend(rows.into_iter().take(n).map(|(_, at)| at));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{LoadOptions, load_training};
    use crate::rows::SourceSpec;

    fn loaded() -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: usize| {
            let path = folder.path().join(name);
            let row = |n| format!("{{\"question\": \"{name} {n}\", \"answer\": \"{n}\"}}\n");
            std::fs::write(&path, (0..rows).map(row).collect::<String>()).unwrap();
            SourceSpec::new(path)
        };
        load_training(&[write("a.jsonl", 40), write("b.jsonl", 10)], &LoadOptions::default()).unwrap()
    }

    fn tokens(loaded: &Loaded) -> Vec<TokenExample> {
        let one = |e: &Example| TokenExample {
            id: e.id.clone(),
            source: e.source,
            tokens: vec![1, 2],
            trained: vec![false, true],
        };
        loaded.examples.iter().map(one).collect()
    }

    #[test]
    fn only_the_number_of_a_copy_is_taken_off() {
        let check = |id: &str, want: &str| assert_eq!(without_copy(id), want);
        check("a.jsonl:3", "a.jsonl:3");
        check("a.jsonl:3 (again 12)", "a.jsonl:3");
        check("feedback (again 2).jsonl:1", "feedback (again 2).jsonl:1");
        check("feedback (again 2).jsonl:1 (again 1)", "feedback (again 2).jsonl:1");
        check("a (again and again)", "a (again and again)");
        check("a (again )", "a (again )");
    }

    #[test]
    fn shares_and_repetitions_are_exact_and_the_ledger_says_so() {
        let run = |weights: &[f64], seed| {
            let mut data = loaded();
            sample_by_weight(&mut data, weights, seed);
            let sampled = tokens(&data);
            let all = repeat_by_weight(sampled, 1, &mut data, weights, seed);
            assert!(data.ledger.adds_up());
            (all.iter().map(|t| t.id.clone()).collect::<Vec<_>>(), data.ledger)
        };
        let (ids, ledger) = run(&[0.5, 2.5], 1);
        let of = |ids: &[String], name: &str| ids.iter().filter(|id| id.starts_with(name)).count();
        assert_eq!((of(&ids, "a."), of(&ids, "b.")), (20, 25));
        assert_eq!((ledger.sources[0].dropped[NOT_SAMPLED], ledger.sources[0].used), (20, 20));
        assert_eq!(
            (ledger.sources[1].repeated, ledger.sources[1].used, ledger.total().repeated),
            (15, 10, 15)
        );
        assert_eq!(run(&[0.5, 2.5], 1).0, ids, "the seed decides");
        assert_ne!(run(&[0.5, 2.5], 2).0, ids);
        // a larger share keeps the smaller one
        let more: HashSet<String> = run(&[0.75, 1.0], 1).0.into_iter().collect();
        assert!(ids.iter().filter(|id| id.starts_with("a.")).all(|id| more.contains(id)));
        assert_eq!(run(&[1.0, 1.0], 1).0.len(), 50);
        assert_eq!(of(&run(&[0.001, 1.0], 1).0, "a."), 1, "never none");
    }
}
