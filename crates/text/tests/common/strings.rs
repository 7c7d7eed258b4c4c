//! The same strings as `strings` and `id_lists` in tools/goldens/text.py make.

use sha2::{Digest, Sha256};

/// Knuth's 64-bit linear congruential generator; the upper 32 bits are given out.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        random.below(1);
        random
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as usize % n
    }
}

const RANGES: [(u32, u32); 12] = [
    (0x20, 0x7E),
    (0x4E00, 0x9FFF),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x5FF),
    (0x900, 0xDFF),
    (0x1F300, 0x1FAFF),
    (0xAC00, 0xD7A3),
    (0x2000, 0x2BFF),
    (0x0, 0x1F),
    (0x10000, 0x10FFFF),
    (0x3040, 0x30FF),
];

/// `count` strings: fragments of mixed kinds, single random characters, runs of one character.
pub fn strings(count: usize) -> Vec<String> {
    let fragments = super::golden_json("fragments.json");
    let kinds: Vec<Vec<&str>> = fragments
        .as_object()
        .unwrap()
        .values()
        .map(|kind| kind.as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect())
        .collect();
    (0..count)
        .map(|i| {
            let mut r = Random::new(i as u64);
            let mut out = String::new();
            let focus = r.below(kinds.len() * 2);
            for _ in 0..1 + r.below(24) {
                match r.below(10) {
                    0 => {
                        let (low, high) = RANGES[r.below(RANGES.len())];
                        out.push(char::from_u32(low + r.below((high - low + 1) as usize) as u32).unwrap());
                    }
                    1 => {
                        let kind = &kinds[r.below(kinds.len())];
                        let fragment = kind[r.below(kind.len())];
                        let first: String = fragment.chars().take(1).collect();
                        out.push_str(&first.repeat(1 + r.below(40)));
                    }
                    _ => {
                        let kind =
                            if focus < kinds.len() { &kinds[focus] } else { &kinds[r.below(kinds.len())] };
                        out.push_str(kind[r.below(kind.len())]);
                    }
                }
                if r.below(3) == 0 {
                    out.push(' ');
                }
            }
            out
        })
        .collect()
}

/// Random ids, so that decoding meets every kind of broken UTF-8.
pub fn id_lists(count: usize, vocab: usize) -> Vec<Vec<u32>> {
    (0..count)
        .map(|i| {
            let mut r = Random::new(1_000_000 + i as u64);
            let low_only = r.below(2) == 1;
            (0..1 + r.below(20)).map(|_| r.below(if low_only { 600 } else { vocab }) as u32).collect()
        })
        .collect()
}

/// One short hash for every `block` items.
pub fn hashes<T>(items: &[T], block: usize, to_bytes: impl Fn(&T) -> Vec<u8>) -> Vec<String> {
    items
        .chunks(block)
        .map(|chunk| {
            let mut hash = Sha256::new();
            for item in chunk {
                let data = to_bytes(item);
                hash.update((data.len() as u32).to_le_bytes());
                hash.update(&data);
            }
            hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
        })
        .collect()
}

/// Ids as little-endian bytes.
pub fn id_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}
