//! A text as the units that comparison counts: words in scripts with spaces, single characters in scripts without
//! (Chinese, Japanese kana, Thai and their kin). Case, width, punctuation and white space do not count.
//!
//! Left out on purpose: word segmentation. Windows of characters find what is copied, and need no dictionary.

/// Units of a window in the comparison of near duplicates.
pub(crate) const NEAR_WINDOW: usize = 5;

/// Whether words of this character's script are written without spaces between them.
pub(crate) fn unspaced(c: char) -> bool {
    matches!(c as u32,
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F | 0x1780..=0x17FF // Myanmar, Khmer
        | 0x3040..=0x30FF | 0x31F0..=0x31FF // kana
        | 0x2E80..=0x2FDF | 0x3005..=0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// A full-width letter, digit or sign as the half-width one.
pub(crate) fn narrow(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        '\u{3000}' => ' ',
        other => other,
    }
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output.
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Adds the hash of each unit of `text` to `out`, in order.
pub(crate) fn units(text: &str, out: &mut Vec<u64>) {
    const EMPTY: u64 = 0xCBF2_9CE4_8422_2325;
    let step = |hash: u64, c: char| (hash ^ c as u64).wrapping_mul(0x0000_0100_0000_01B3);
    let mut word = EMPTY;
    for c in text.chars() {
        let c = narrow(c);
        if c.is_ascii() {
            if c.is_ascii_alphanumeric() {
                word = step(word, c.to_ascii_lowercase());
                continue;
            }
        } else if !unspaced(c) && c.is_alphanumeric() {
            word = c.to_lowercase().fold(word, step);
            continue;
        }
        if word != EMPTY {
            out.push(mix(word));
            word = EMPTY;
        }
        if unspaced(c) {
            out.push(mix(step(EMPTY, c)));
        }
    }
    if word != EMPTY {
        out.push(mix(word));
    }
}

/// The hash of each window of `size` units; one of all units where there are fewer, none where there are none.
pub(crate) fn windows(units: &[u64], size: usize, seed: u64, out: &mut Vec<u64>) {
    let hash = |window: &[u64]| window.iter().fold(mix(seed), |hash, unit| mix(hash.rotate_left(7) ^ unit));
    if units.is_empty() {
        return;
    }
    if units.len() < size {
        out.push(hash(units));
    } else {
        out.extend(units.windows(size).map(hash));
    }
}

/// The set of windows of `units`, ascending, each once.
pub(crate) fn window_set(units: &[u64], size: usize, seed: u64) -> Vec<u64> {
    let mut set = Vec::with_capacity(units.len());
    windows(units, size, seed, &mut set);
    set.sort_unstable();
    set.dedup();
    set
}

/// Shared members of two ascending sets over all members (Jaccard); 0 where both are empty.
pub(crate) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let all = a.len() + b.len() - shared;
    shared as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<u64> {
        let mut out = Vec::new();
        units(text, &mut out);
        out
    }

    #[test]
    fn words_and_characters() {
        assert_eq!(of("Open the Valve!").len(), 3);
        assert_eq!(of("打开阀门").len(), 4);
        assert_eq!(of("在 pump2 上打开阀门。").len(), 7);
        assert_eq!(of("ＯＰＥＮ, the\tvalve"), of("open the VALVE"));
        assert!(of(" …— ").is_empty());
        assert_ne!(of("阀门"), of("门阀"));
        assert_eq!(of("Füße ΣΑΣ").len(), 2);
    }

    #[test]
    fn sets_of_windows() {
        let set = |text: &str| window_set(&of(text), NEAR_WINDOW, 1);
        assert_eq!(set("one two three four five six").len(), 2);
        assert_eq!(set("short").len(), 1);
        assert_eq!(set("").len(), 0);
        let (a, b) = (set("a b c d e f"), set("a b c d e g"));
        assert!((jaccard(&a, &b) - 1.0 / 3.0).abs() < 1e-12);
        assert!((jaccard(&a, &a) - 1.0).abs() < 1e-12);
        assert_eq!(jaccard(&[], &[]), 0.0);
    }
}
