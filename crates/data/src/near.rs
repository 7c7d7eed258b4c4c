//! Near duplicates without comparing all with all: MinHash signatures (Broder 1997) in bands (Indyk & Motwani 1998).
//!
//! What is special: one permutation gives the whole signature (Li et al. 2012; empty bins borrow from others as in
//! Shrivastava 2017), so a row costs one hash a window; a signature keeps a byte of each of its 128 bins (b-bit MinHash,
//! Li & König 2010); a band is then a few bytes of the signature itself, and the table of all bands holds row numbers
//! only. So a kept row takes the same bytes however long its text is, and the first of several alike is the one that stays.
//!
//! Left out on purpose: clusters. A row is compared with rows that were kept, never with a dropped one, so that a chain
//! of small changes does not join texts that differ.

use crate::units::{NEAR_WINDOW, mix, units, windows};

/// Bins of a signature.
const BINS: usize = 128;
/// Rows that are looked at for one row; more would only come from data made to be slow.
const MOST_CANDIDATES: usize = 64;
/// Entries of one band with the same bytes; further ones are found by their other bands.
const MOST_ALIKE: usize = 8;
const CHUNK: usize = 1 << 14;
const NOBODY: u32 = u32::MAX;

/// What stands for a text: one byte a bin.
pub type Signature = [u8; BINS];

/// Adds the hash of each window of five words (characters in scripts without spaces) of a text to `out`: what
/// [`NearIndex::signature`] takes.
pub fn near_windows(text: &str, seed: u64, out: &mut Vec<u64>) {
    let mut all = Vec::with_capacity(text.len() / 4);
    units(text, &mut all);
    windows(&all, NEAR_WINDOW, seed, out);
}

/// The rows that were kept so far.
#[derive(Clone, Debug)]
pub struct NearIndex {
    seed: u64,
    similarity: f64,
    /// Bins of a band.
    width: usize,
    bands: usize,
    /// In chunks, so that growing copies nothing.
    signatures: Vec<Vec<Signature>>,
    rows: u32,
    /// Row numbers by hash of band and its bytes; open addressing.
    table: Vec<u32>,
    entries: usize,
}

impl NearIndex {
    /// An empty index for texts of at least this similarity (Jaccard of windows, 0.5 to 1), with room for `rows`.
    ///
    /// Bands are as wide as can be while nine of ten pairs at the border are still found.
    pub fn new(similarity: f64, seed: u64, rows: usize) -> NearIndex {
        let similarity = similarity.clamp(0.5, 1.0);
        let found = |width: usize| {
            let band = similarity.powi(width as i32);
            1.0 - (1.0 - band).powi((BINS / width) as i32)
        };
        let width = (3..=8).rev().find(|w| found(*w) >= 0.9).unwrap_or(3);
        let bands = BINS / width;
        let slots = rows.saturating_mul(bands) / 4 * 5;
        NearIndex {
            seed,
            similarity,
            width,
            bands,
            signatures: Vec::new(),
            rows: 0,
            table: vec![NOBODY; slots.max(1024)],
            entries: 0,
        }
    }

    /// Rows kept.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes that the index holds.
    pub fn bytes(&self) -> usize {
        self.signatures.iter().map(|c| c.capacity() * BINS).sum::<usize>() + 4 * self.table.capacity()
    }

    /// The signature of a set of window hashes; `None` where the set is empty.
    pub fn signature(&self, windows: &[u64]) -> Option<Signature> {
        let mut least = [u64::MAX; BINS];
        for window in windows {
            let hash = mix(window ^ self.seed);
            let bin = &mut least[(hash >> 57) as usize];
            *bin = (*bin).min(hash << 7 >> 7);
        }
        if windows.is_empty() {
            return None;
        }
        let mut out = [0; BINS];
        for (at, byte) in out.iter_mut().enumerate() {
            let (mut from, mut tries) = (at, 0u64);
            // some bin is filled, and the sequence reaches every bin
            while least[from] == u64::MAX {
                tries += 1;
                from = (mix((at as u64) << 32 | tries) >> 57) as usize;
            }
            *byte = mix(least[from]) as u8;
        }
        Some(out)
    }

    /// The first kept row that `same` agrees to: it is given the number of a row that shares a band, and the similarity
    /// that the signatures suggest.
    pub fn find(&self, signature: &Signature, mut same: impl FnMut(u32, f64) -> bool) -> Option<u32> {
        let mut seen: Vec<u32> = Vec::new();
        for band in 0..self.bands {
            for slot in self.slots(signature, band) {
                let row = self.table.get(slot).copied().unwrap_or(NOBODY);
                if row == NOBODY {
                    break;
                }
                let Some(other) = self.row(row) else { break };
                if seen.contains(&row) || self.band(other, band) != self.band(signature, band) {
                    continue;
                }
                if same(row, estimate(signature, other)) {
                    return Some(row);
                }
                seen.push(row);
                if seen.len() >= MOST_CANDIDATES {
                    return None;
                }
            }
        }
        None
    }

    /// As [`NearIndex::find`], trusting the signatures alone: for texts that are no longer at hand.
    pub fn find_by_signature(&self, signature: &Signature) -> Option<u32> {
        self.find(signature, |_, similarity| similarity >= self.similarity)
    }

    /// Keeps a row and gives its number; `None` after four thousand million of them.
    pub fn insert(&mut self, signature: &Signature) -> Option<u32> {
        if self.rows == NOBODY {
            return None;
        }
        if (self.entries + self.bands) * 20 > self.table.len() * 17 {
            self.grow();
        }
        let row = self.rows;
        if self.signatures.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.signatures.push(Vec::with_capacity(CHUNK));
        }
        self.signatures.last_mut()?.push(*signature);
        self.rows += 1;
        self.enter(row, signature);
        Some(row)
    }

    fn enter(&mut self, row: u32, signature: &Signature) {
        for band in 0..self.bands {
            let mut alike = 0;
            let mut free = None;
            for slot in self.slots(signature, band) {
                let held = self.table.get(slot).copied().unwrap_or(NOBODY);
                if held == NOBODY {
                    free = Some(slot);
                    break;
                }
                alike += usize::from(
                    self.row(held).is_some_and(|h| self.band(h, band) == self.band(signature, band)),
                );
                if alike == MOST_ALIKE {
                    break;
                }
            }
            if let Some(slot) = free.and_then(|slot| self.table.get_mut(slot)) {
                *slot = row;
                self.entries += 1;
            }
        }
    }

    fn grow(&mut self) {
        self.table = vec![NOBODY; self.table.len() * 2];
        self.entries = 0;
        for row in 0..self.rows {
            if let Some(signature) = self.row(row).copied() {
                self.enter(row, &signature);
            }
        }
    }

    fn row(&self, row: u32) -> Option<&Signature> {
        self.signatures.get(row as usize / CHUNK)?.get(row as usize % CHUNK)
    }

    fn band<'a>(&self, signature: &'a Signature, band: usize) -> &'a [u8] {
        signature.get(band * self.width..(band + 1) * self.width).unwrap_or_default()
    }

    /// The places where a band may stand, nearest first.
    fn slots(&self, signature: &Signature, band: usize) -> impl Iterator<Item = usize> + use<> {
        let bytes = self.band(signature, band).iter().fold(0u64, |key, b| key << 8 | u64::from(*b));
        let hash = mix(mix(bytes ^ self.seed).wrapping_add(band as u64));
        let len = self.table.len();
        // the high part of a product spreads over any length, not only powers of two
        let start = ((u128::from(hash) * len as u128) >> 64) as usize;
        (start..len).chain(0..start)
    }
}

/// The similarity of two sets from their signatures: a byte of different bins is the same once in 256.
fn estimate(a: &Signature, b: &Signature) -> f64 {
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / BINS as f64;
    ((same - 1.0 / 256.0) / (1.0 - 1.0 / 256.0)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;

    /// Two sets of `size` with about the Jaccard similarity `share`.
    fn pair(rng: &mut Rng, size: usize, share: f64) -> (Vec<u64>, Vec<u64>) {
        let shared = (2.0 * size as f64 * share / (1.0 + share)).round() as usize;
        let draw = |rng: &mut Rng, n: usize| (0..n).map(|_| rng.next_u64()).collect::<Vec<_>>();
        let both = draw(rng, shared);
        let whole = |rng: &mut Rng| [both.clone(), draw(rng, size - shared)].concat();
        (whole(rng), whole(rng))
    }

    #[test]
    fn alike_is_found_and_unlike_is_not() {
        let mut rng = Rng::new(7);
        for (size, share, least, most) in
            [(200, 0.95, 190, 200), (200, 0.8, 170, 200), (200, 0.4, 0, 10), (12, 0.85, 150, 200)]
        {
            let found = (0..200)
                .filter(|_| {
                    let mut index = NearIndex::new(0.8, 3, 4);
                    let (a, b) = pair(&mut rng, size, share);
                    index.insert(&index.signature(&a).unwrap()).unwrap();
                    // any shared band counts: whether they are alike is for the caller to say
                    index.find(&index.signature(&b).unwrap(), |_, _| true) == Some(0)
                })
                .count();
            assert!((least..=most).contains(&found), "size {size}, similarity {share}: {found} of 200");
        }
    }

    #[test]
    fn signatures_estimate_similarity() {
        let mut rng = Rng::new(1);
        let index = NearIndex::new(0.8, 0, 0);
        for share in [0.0, 0.3, 0.6, 0.9] {
            let mean = (0..60)
                .map(|_| {
                    let (a, b) = pair(&mut rng, 300, share);
                    estimate(&index.signature(&a).unwrap(), &index.signature(&b).unwrap())
                })
                .sum::<f64>()
                / 60.0;
            assert!((mean - share).abs() < 0.02, "{mean} for {share}");
        }
        assert_eq!(index.signature(&[]), None);
    }

    #[test]
    fn growing_loses_nobody_and_bytes_a_row_are_fixed() {
        let mut rng = Rng::new(5);
        let mut index = NearIndex::new(0.8, 9, 0);
        let rows: Vec<Vec<u64>> = (0..3000).map(|_| (0..40).map(|_| rng.next_u64()).collect()).collect();
        for row in &rows {
            index.insert(&index.signature(row).unwrap());
        }
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(index.find_by_signature(&index.signature(row).unwrap()), Some(at as u32));
        }
        let known = NearIndex::new(0.8, 9, 100_000);
        assert_eq!(known.bytes(), 100_000 * 16 * 5 / 4 * 4, "80 bytes of table a row at 16 bands");
    }

    #[test]
    fn rows_all_alike_do_not_make_it_slow() {
        let mut index = NearIndex::new(0.8, 9, 0);
        let signature = index.signature(&[1, 2, 3]).unwrap();
        for _ in 0..20_000 {
            index.insert(&signature);
        }
        let mut asked = 0;
        let found = index.find(&signature, |_, _| {
            asked += 1;
            false
        });
        assert!(found.is_none() && asked <= MOST_CANDIDATES, "{asked}");
    }

    #[test]
    fn wider_bands_for_higher_similarity() {
        let width = |s| NearIndex::new(s, 0, 0).width;
        assert_eq!((width(0.95), width(0.8)), (8, 8));
        assert!(width(0.5) < width(0.7));
    }
}
