//! Which examples take part: stratified subsets and the hold-out. Everything depends on the seed and the data only.

use std::collections::{BTreeMap, HashSet};

use crate::digest::question;
use crate::example::Example;
use crate::ledger::{Fate, Ledger};
use crate::rng::hash64;
use nurture_kernels::Rng;

/// The ledger's reason for rows that a subset leaves out.
pub const NOT_SAMPLED: &str = "not_sampled";

/// Indices, ascending, of `n` items that keep the shares of the strata; all items if there are no more than `n`.
///
/// Where `n` allows, every stratum gets one item first, so that a rare label does not vanish; the rest goes by share
/// (largest remainder; ties by a hash of seed and stratum). Which items of a stratum are taken is a shuffle of its
/// own, so that a larger `n` keeps nearly all that a smaller one had.
pub fn stratified(strata: &[&str], n: usize, seed: u64) -> Vec<usize> {
    if strata.len() <= n {
        return (0..strata.len()).collect();
    }
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, stratum) in strata.iter().enumerate() {
        groups.entry(stratum).or_default().push(at);
    }
    let first = usize::from(n >= groups.len());
    let seats = (n - first * groups.len()) as u128;
    let weight = |group: &Vec<usize>| (group.len() - first) as u128;
    let all: u128 = groups.values().map(weight).sum::<u128>().max(1);

    let mut shares: Vec<(&str, usize, u128)> = groups
        .iter()
        .map(|(name, group)| {
            let product = seats * weight(group);
            (*name, first + (product / all) as usize, product % all)
        })
        .collect();
    let given: usize = shares.iter().map(|(_, share, _)| share).sum();
    shares.sort_by_key(|(name, _, rest)| {
        (std::cmp::Reverse(*rest), hash64(seed, &[b"tie", name.as_bytes()]), *name)
    });
    for (_, share, _) in shares.iter_mut().take(n.saturating_sub(given)) {
        *share += 1;
    }

    let mut chosen = Vec::with_capacity(n);
    for (name, share, _) in shares {
        let Some(group) = groups.get_mut(name) else { continue };
        Rng::new(hash64(seed, &[b"stratum", name.as_bytes()])).shuffle(group);
        chosen.extend(group.iter().take(share));
    }
    chosen.sort_unstable();
    chosen
}

/// Keeps a stratified subset of `n` examples (by label or right option); the others leave the ledger's `used` for
/// `not_sampled`.
pub fn keep_sample(examples: Vec<Example>, n: usize, seed: u64, ledger: &mut Ledger) -> Vec<Example> {
    let strata: Vec<&str> = examples.iter().map(Example::stratum).collect();
    let kept: HashSet<usize> = stratified(&strata, n, seed).into_iter().collect();
    let left_out = Fate::Dropped(NOT_SAMPLED.to_string());
    part(examples, |at, _| kept.contains(&at), &left_out, ledger).0
}

/// How much is held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HoldOutSize {
    /// About this share of the rows: rows added later do not move the others.
    Share(f64),
    /// At least this many rows, whole groups.
    Count(usize),
}

/// What is never parted between training and hold-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldOutBy {
    /// Rows that ask the same.
    Question,
    /// Rows of one group (the mapping's `group` field); rows without one, as `Question`.
    #[default]
    Group,
    /// Rows of one file or document.
    Document,
}

/// Parts training from hold-out: first what stays, second what is held out.
///
/// A row's side depends on its group, document or normalised question, the size and the seed alone (of a count also on the
/// other rows).
pub fn hold_out(
    examples: Vec<Example>,
    size: HoldOutSize,
    by: HoldOutBy,
    seed: u64,
    ledger: &mut Ledger,
) -> (Vec<Example>, Vec<Example>) {
    let key = |example: &Example| match (by, &example.group) {
        (HoldOutBy::Group, Some(group)) => hash64(seed, &[b"group", group.as_bytes()]),
        (HoldOutBy::Document, _) => hash64(seed, &[b"document", document(example).as_bytes()]),
        _ => hash64(seed, &[b"question", question(example).as_bytes()]),
    };
    // a key up to this one is held out
    let last = match size {
        // 2^64 as a float; the cast saturates
        HoldOutSize::Share(share) if share > 0.0 => Some((share * 18_446_744_073_709_551_616.0) as u64),
        HoldOutSize::Count(count) if count > 0 => {
            let mut keys: Vec<u64> = examples.iter().map(key).collect();
            keys.sort_unstable();
            keys.get(count - 1).or(keys.last()).copied()
        }
        _ => None,
    };
    part(examples, |_, example| last.is_none_or(|last| key(example) > last), &Fate::HeldOut, ledger)
}

/// The document that an example comes from: of generated questions their document, else the file.
fn document(example: &Example) -> &str {
    example.id.rsplit_once(':').map_or(example.id.as_str(), |(file, _)| file)
}

fn part(
    examples: Vec<Example>,
    mut stays: impl FnMut(usize, &Example) -> bool,
    fate: &Fate,
    ledger: &mut Ledger,
) -> (Vec<Example>, Vec<Example>) {
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for (at, example) in examples.into_iter().enumerate() {
        if stays(at, &example) {
            kept.push(example);
        } else {
            // False only for examples that this ledger never counted: then there is nothing to move.
            let _moved = ledger.move_used(example.source, fate, &example.id);
            left.push(example);
        }
    }
    (kept, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<'a>(strata: &[&'a str], chosen: &[usize]) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        for &at in chosen {
            *counts.entry(strata[at]).or_default() += 1;
        }
        counts
    }

    #[test]
    fn shares_are_kept_and_no_label_vanishes() {
        let names: Vec<String> = (0..77).map(|n| format!("label_{n}")).collect();
        let strata: Vec<&str> = (0..1540).map(|at| names[at / 20].as_str()).collect();
        let chosen = stratified(&strata, 400, 7);
        assert_eq!(chosen.len(), 400);
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(counts(&strata, &chosen).values().all(|n| (5..=6).contains(n)));

        let mut uneven = vec!["common"; 990];
        uneven.extend(["rare"; 9]);
        uneven.push("once");
        let found = counts(&uneven, &stratified(&uneven, 100, 7));
        assert_eq!((found["common"], found["rare"], found["once"]), (97, 2, 1));
        assert_eq!(stratified(&uneven, 2, 7).len(), 2, "fewer seats than labels");
        assert_eq!(stratified(&uneven, 5000, 7).len(), 1000);
        assert_eq!(stratified(&[], 5, 7).len(), 0);
        assert_eq!(stratified(&uneven, 0, 7).len(), 0);
    }

    #[test]
    fn the_seed_decides_and_a_larger_sample_keeps_the_smaller_one() {
        let strata: Vec<&str> = (0..1000).map(|at| if at % 3 == 0 { "a" } else { "b" }).collect();
        assert_eq!(stratified(&strata, 100, 1), stratified(&strata, 100, 1));
        assert_ne!(stratified(&strata, 100, 1), stratified(&strata, 100, 2));
        let large: HashSet<usize> = stratified(&strata, 200, 1).into_iter().collect();
        assert!(stratified(&strata, 100, 1).iter().all(|at| large.contains(at)));
        // Pinned: a change of generator or hash would move every user's sample.
        assert_eq!(stratified(&strata, 5, 1), PINNED);
    }

    /// Worked out by a second program from the descriptions of SHA-256, SplitMix64 and Fisher–Yates alone.
    const PINNED: [usize; 5] = [85, 362, 684, 903, 931];
}
