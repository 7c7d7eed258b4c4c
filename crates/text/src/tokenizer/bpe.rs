//! Byte pair encoding over ids.
//!
//! The merges are a table from a pair of ids to (rank, id of the whole); a word starts as its characters and the pair
//! of lowest rank, the leftmost among equals, is merged until none is left. This is the order of the `tokenizers`
//! crate, and the tests compare token by token. It is written here and not taken from the crate because it needs no
//! strings in its tables (Gemma's 262k pieces and their merges load in a quarter of a second), because merges from a
//! hostile file cannot make it panic, and because special tokens can be kept out of its reach altogether.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::hash::Seed;
use super::lookup::Lookup;

const NONE: u32 = u32::MAX;

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// One piece of a word while it is being merged: its id and how many bytes of the word it covers.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// A piece of the result: id and byte range in the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What to do besides merging.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BpeOptions {
    /// Unknown characters become `<0xNN>` pieces.
    pub(super) byte_fallback: bool,
    /// Neighbouring unknown pieces become one.
    pub(super) fuse_unk: bool,
    /// A word that is a piece as a whole is taken without merging.
    pub(super) ignore_merges: bool,
    /// The id for what nothing else covers; without it such characters vanish.
    pub(super) unk: Option<u32>,
}

/// The model: characters to ids, and pairs to wholes.
pub(super) struct Bpe {
    pub(super) pieces: Vec<String>,
    pub(super) lookup: Lookup,
    merges: HashMap<u64, (u32, u32), Seed>,
    bytes: Option<Box<[u32; 256]>>,
    ascii: [u32; 128],
    /// Never produced from text.
    barred: Vec<bool>,
    options: BpeOptions,
}

impl Bpe {
    /// `merges` in order of rank: left, right, whole. `barred[id]`: a special token, which no text may become.
    pub(super) fn new(
        pieces: Vec<String>,
        lookup: Lookup,
        merges: impl Iterator<Item = (u32, u32, u32)>,
        barred: Vec<bool>,
        options: BpeOptions,
    ) -> Self {
        let is_barred = |id: u32| barred.get(id as usize).copied().unwrap_or(false);
        let mut table = HashMap::with_capacity_and_hasher(merges.size_hint().0, Seed::new());
        for (rank, (left, right, whole)) in merges.enumerate() {
            if !is_barred(whole) {
                // A pair given twice keeps its last rank, as in the reference.
                table.insert(pair(left, right), (rank as u32, whole));
            }
        }
        let mut ascii = [NONE; 128];
        for (byte, slot) in (0u8..).zip(ascii.iter_mut()) {
            let mut buffer = [0; 4];
            if let Some(id) = lookup.get(&pieces, char::from(byte).encode_utf8(&mut buffer)) {
                *slot = if is_barred(id) { NONE } else { id };
            }
        }
        let bytes = options.byte_fallback.then(|| {
            let mut bytes = Box::new([NONE; 256]);
            for (byte, slot) in bytes.iter_mut().enumerate() {
                *slot = lookup.get(&pieces, &format!("<0x{byte:02X}>")).unwrap_or(NONE);
            }
            bytes
        });
        Bpe { pieces, lookup, merges: table, bytes, ascii, barred, options }
    }

    /// Vocabulary, merges in order of rank and options, as `tokenizer.json` lists them; `spelt` gives a token's text.
    /// Where a piece stands twice, the one that texts become is listed.
    pub(super) fn parts<'a>(
        &'a self,
        spelt: impl Fn(u32) -> Option<&'a str>,
    ) -> (BTreeMap<&'a str, u32>, Vec<[&'a str; 2]>, BpeOptions) {
        let mut vocab = BTreeMap::new();
        for id in 0..self.pieces.len() as u32 {
            let Some(text) = spelt(id).filter(|t| !t.is_empty()) else { continue };
            if self.id(text).is_none_or(|winner| winner == id) || !vocab.contains_key(text) {
                vocab.insert(text, id);
            }
        }
        let mut merges: Vec<(u32, u64)> =
            self.merges.iter().map(|(&pair, &(rank, _))| (rank, pair)).collect();
        merges.sort_unstable();
        let piece = |id: u32| self.pieces.get(id as usize).map(String::as_str).unwrap_or_default();
        let merges = merges.into_iter().map(|(_, p)| [piece((p >> 32) as u32), piece(p as u32)]).collect();
        (vocab, merges, self.options)
    }

    /// The id of a piece, special or not.
    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.lookup.get(&self.pieces, piece)
    }

    fn allowed(&self, piece: &str) -> Option<u32> {
        self.id(piece).filter(|&id| !self.barred.get(id as usize).copied().unwrap_or(false))
    }

    /// Splits one word of the pre-tokenizer. Offsets are bytes of `word`.
    pub(super) fn encode(&self, word: &str) -> Vec<Piece> {
        if self.options.ignore_merges
            && let Some(id) = self.allowed(word)
        {
            return vec![Piece { id, start: 0, end: word.len() }];
        }
        let mut symbols = self.symbols(word);
        if symbols.len() <= 24 {
            self.merge_short(&mut symbols)
        } else {
            self.merge_long(&mut symbols)
        }
        let mut start = 0;
        symbols
            .iter()
            .filter(|s| s.len > 0)
            .map(|s| {
                let piece = Piece { id: s.id, start, end: start + s.len as usize };
                start = piece.end;
                piece
            })
            .collect()
    }

    /// The word as characters, with fallback for those the vocabulary lacks.
    fn symbols(&self, word: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut push =
            |id: u32, len: usize| symbols.push(Symbol { id, len: len as u32, prev: NONE, next: NONE });
        let mut after_unk = false;
        let mut pending: Option<(u32, usize)> = None;
        let mut buffer = [0; 4];
        for c in word.chars() {
            let text: &str = c.encode_utf8(&mut buffer);
            let known = match self.ascii.get(c as usize) {
                Some(&NONE) => None,
                Some(&id) => Some(id),
                None => self.allowed(text),
            };
            if let Some(id) = known {
                if let Some((unk, len)) = pending.take() {
                    push(unk, len);
                }
                push(id, text.len());
                after_unk = false;
                continue;
            }
            if let Some(bytes) = &self.bytes {
                let id_of = |b: u8| bytes.get(usize::from(b)).copied().unwrap_or(NONE);
                if text.bytes().all(|b| id_of(b) != NONE) {
                    if let Some((unk, len)) = pending.take() {
                        push(unk, len);
                    }
                    text.bytes().for_each(|b| push(id_of(b), 1));
                    after_unk = false;
                    continue;
                }
            }
            if let Some(unk) = self.options.unk {
                pending = match pending {
                    Some((id, len)) if self.options.fuse_unk && after_unk => Some((id, len + text.len())),
                    Some((id, len)) => {
                        push(id, len);
                        Some((unk, text.len()))
                    }
                    None => Some((unk, text.len())),
                };
                after_unk = true;
            }
        }
        if let Some((unk, len)) = pending {
            push(unk, len);
        }
        symbols
    }

    /// Few symbols: look through all pairs each time. Merged symbols keep length 0.
    fn merge_short(&self, symbols: &mut Vec<Symbol>) {
        loop {
            let mut best: Option<(u32, usize, u32)> = None;
            for (i, two) in symbols.windows(2).enumerate() {
                if let [left, right] = two
                    && let Some(&(rank, whole)) = self.merges.get(&pair(left.id, right.id))
                    && best.is_none_or(|(r, ..)| rank < r)
                {
                    best = Some((rank, i, whole));
                }
            }
            let Some((_, i, whole)) = best else { return };
            let right = symbols.remove(i + 1);
            if let Some(left) = symbols.get_mut(i) {
                left.id = whole;
                left.len += right.len;
            }
        }
    }

    /// Many symbols (a vocabulary without pre-tokenizer sees a whole text as one word): a heap of candidate pairs over
    /// a linked list, n log n.
    fn merge_long(&self, symbols: &mut [Symbol]) {
        let n = symbols.len() as u32;
        for (i, s) in symbols.iter_mut().enumerate() {
            let i = i as u32;
            s.prev = i.checked_sub(1).unwrap_or(NONE);
            s.next = if i + 1 < n { i + 1 } else { NONE };
        }
        let candidate = |symbols: &[Symbol], left: u32| {
            let l = symbols.get(left as usize)?;
            let r = symbols.get(l.next as usize)?;
            let &(rank, whole) = self.merges.get(&pair(l.id, r.id))?;
            Some(Reverse((rank, left, whole)))
        };
        let mut heap: BinaryHeap<_> = (0..n).filter_map(|i| candidate(symbols, i)).collect();
        while let Some(Reverse((rank, left, whole))) = heap.pop() {
            // Entries whose pair has changed since are stale.
            let Some(&l) = symbols.get(left as usize).filter(|l| l.len > 0) else { continue };
            let Some(&r) = symbols.get(l.next as usize) else { continue };
            if self.merges.get(&pair(l.id, r.id)) != Some(&(rank, whole)) {
                continue;
            }
            if let Some(gone) = symbols.get_mut(l.next as usize) {
                gone.len = 0;
            }
            if let Some(l) = symbols.get_mut(left as usize) {
                l.id = whole;
                l.len += r.len;
                l.next = r.next;
            }
            if let Some(after) = symbols.get_mut(r.next as usize) {
                after.prev = left;
            }
            heap.extend(candidate(symbols, left));
            if l.prev != NONE {
                heap.extend(candidate(symbols, l.prev));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pieces: &[&str], merges: &[(&str, &str)]) -> Bpe {
        let pieces: Vec<String> = pieces.iter().map(ToString::to_string).collect();
        let lookup = Lookup::new(&pieces);
        let id = |s: &str| lookup.get(&pieces, s).unwrap();
        let merges: Vec<_> = merges.iter().map(|(a, b)| (id(a), id(b), id(&format!("{a}{b}")))).collect();
        Bpe::new(pieces.clone(), Lookup::new(&pieces), merges.into_iter(), vec![], BpeOptions::default())
    }

    #[test]
    fn short_and_long_ways_agree() {
        let m = model(
            &["a", "b", "ab", "aa", "aab", "ba", "abab", "bb"],
            &[("a", "b"), ("a", "a"), ("aa", "b"), ("b", "a"), ("ab", "ab"), ("b", "b")],
        );
        let mut state = 7u64;
        for n in 1..60 {
            let word: String = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if state >> 63 == 0 { 'a' } else { 'b' }
                })
                .collect();
            let ids = |s: Vec<Symbol>| s.into_iter().filter(|s| s.len > 0).map(|s| s.id).collect::<Vec<_>>();
            let (mut short, mut long) = (m.symbols(&word), m.symbols(&word));
            m.merge_short(&mut short);
            m.merge_long(&mut long);
            assert_eq!(ids(short), ids(long), "{word}");
        }
    }
}
