//! The merges: the most frequent pair of neighbours becomes one, again and again.
//!
//! Counts are kept up to date where a merge changes them. The heap holds a pair with the count that it had when it was
//! pushed; one that has changed since is pushed again when it comes up.

use super::TrainBpe;
use super::split::begins_han;
use crate::error::{Result, TextError};
use crate::tokenizer::Seed;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Merges between two reports of progress.
const REPORT: usize = 64;

/// Two pieces that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) whole: u32,
}

/// A word: where its pieces stand, and how often it occurs.
struct Word {
    start: usize,
    len: usize,
    count: i64,
}

/// How often a pair stands side by side, and in which words it may.
#[derive(Default)]
struct Pair {
    count: i64,
    words: Vec<u32>,
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

struct State<'a> {
    how: &'a TrainBpe,
    /// pieces of all words
    symbols: Vec<u32>,
    words: Vec<Word>,
    pairs: HashMap<u64, Pair, Seed>,
    /// bytes of each piece
    bytes: Vec<Vec<u8>>,
}

impl State<'_> {
    /// Whether the two may become one piece.
    fn allowed(&self, left: u32, right: u32) -> bool {
        let part = |id: u32| self.bytes.get(id as usize).map(Vec::as_slice).unwrap_or_default();
        let (l, r) = (part(left), part(right));
        let most = match l.first() {
            Some(&first) if begins_han(first) => self.how.longest_han,
            _ => self.how.longest,
        };
        l.len() + r.len() <= most
    }

    fn change(&mut self, left: u32, right: u32, by: i64, word: u32, grown: &mut Vec<u64>) {
        let at = key(left, right);
        if by < 0 {
            if let Some(pair) = self.pairs.get_mut(&at) {
                pair.count += by;
            }
        } else if self.allowed(left, right) {
            let pair = self.pairs.entry(at).or_default();
            pair.count += by;
            if pair.words.last() != Some(&word) {
                pair.words.push(word);
            }
            grown.push(at);
        }
    }

    /// Merges a pair in one word.
    fn merge_in(&mut self, index: u32, m: Merge, grown: &mut Vec<u64>) {
        let Some(&Word { start, len, count }) = self.words.get(index as usize) else { return };
        let old: Vec<u32> = self.symbols.get(start..start + len).unwrap_or_default().to_vec();
        let mut new: Vec<u32> = Vec::with_capacity(len);
        let mut at = 0;
        while let Some(&symbol) = old.get(at) {
            if symbol != m.left || old.get(at + 1) != Some(&m.right) {
                new.push(symbol);
                at += 1;
                continue;
            }
            if let Some(&before) = new.last() {
                self.change(before, m.left, -count, index, grown);
                self.change(before, m.whole, count, index, grown);
            }
            if let Some(&after) = old.get(at + 2) {
                self.change(m.right, after, -count, index, grown);
                self.change(m.whole, after, count, index, grown);
            }
            new.push(m.whole);
            at += 2;
        }
        if let Some(place) = self.symbols.get_mut(start..start + new.len()) {
            place.copy_from_slice(&new);
        }
        if let Some(word) = self.words.get_mut(index as usize) {
            word.len = new.len();
        }
    }
}

/// Learns the merges of these words.
pub(super) fn merges(
    counted: Vec<(Box<str>, u64)>,
    byte_ids: &[u32; 256],
    how: &TrainBpe,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<Merge>> {
    let first = how.specials.len();
    let mut bytes = vec![Vec::new(); first + 256];
    for (byte, &id) in (0..=255u8).zip(byte_ids) {
        if let Some(piece) = bytes.get_mut(id as usize) {
            *piece = vec![byte];
        }
    }
    let mut state = State {
        how,
        symbols: Vec::new(),
        words: Vec::new(),
        pairs: HashMap::with_hasher(Seed::new()),
        bytes,
    };
    for (word, count) in counted.iter().filter(|(word, _)| word.len() > 1) {
        let start = state.symbols.len();
        let ids = word.bytes().filter_map(|b| byte_ids.get(usize::from(b)));
        state.symbols.extend(ids);
        state.words.push(Word { start, len: word.len(), count: *count as i64 });
    }
    // each text stands in its bytes now
    drop(counted);
    for (index, word) in state.words.iter().enumerate() {
        let symbols = state.symbols.get(word.start..word.start + word.len).unwrap_or_default();
        for pair in symbols.windows(2) {
            let [left, right] = *pair else { continue };
            let pair = state.pairs.entry(key(left, right)).or_default();
            pair.count += word.count;
            if pair.words.last() != Some(&(index as u32)) {
                pair.words.push(index as u32);
            }
        }
    }
    let mut heap: BinaryHeap<(i64, Reverse<u64>)> =
        state.pairs.iter().map(|(&at, pair)| (pair.count, Reverse(at))).collect();
    let mut whole_of: HashMap<Vec<u8>, u32> =
        state.bytes.iter().enumerate().skip(first).map(|(id, b)| (b.clone(), id as u32)).collect();
    let (mut out, mut grown) = (Vec::new(), Vec::new());
    while state.bytes.len() < how.vocab_size {
        let Some((count, Reverse(at))) = heap.pop() else { break };
        let Some(pair) = state.pairs.get_mut(&at) else { continue };
        if pair.count != count {
            if pair.count > 0 {
                heap.push((pair.count, Reverse(at)));
            }
            continue;
        }
        if count < (how.min_count as i64).max(1) {
            break;
        }
        let words = std::mem::take(&mut pair.words);
        pair.count = 0;
        let (left, right) = ((at >> 32) as u32, at as u32);
        let part = |id: u32| state.bytes.get(id as usize).cloned().unwrap_or_default();
        let text = [part(left), part(right)].concat();
        // the same bytes may come about in two ways; they are one piece
        let whole = *whole_of.entry(text.clone()).or_insert(state.bytes.len() as u32);
        if whole as usize == state.bytes.len() {
            state.bytes.push(text);
        }
        let merge = Merge { left, right, whole };
        out.push(merge);
        for index in words {
            state.merge_in(index, merge, &mut grown);
        }
        grown.sort_unstable();
        grown.dedup();
        for at in grown.drain(..) {
            let count = state.pairs.get(&at).map_or(0, |p| p.count);
            if count > 0 {
                heap.push((count, Reverse(at)));
            }
        }
        if out.len().is_multiple_of(REPORT) && !progress(state.bytes.len(), how.vocab_size) {
            return Err(TextError::Stopped);
        }
    }
    progress(state.bytes.len(), how.vocab_size);
    Ok(out)
}
