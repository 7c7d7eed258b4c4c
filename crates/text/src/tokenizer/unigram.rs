//! Unigram (Kudo 2018, "Subword regularization"): each piece has a log-probability, and a word becomes the pieces whose sum is
//! the greatest, found by one walk over its ends (Viterbi).
//!
//! Sums, ties and the price of what is unknown are those of the `tokenizers` crate, and the tests compare token by token. As with
//! [`bpe`](super::bpe), it is written here so that special tokens are out of reach of any text.

use super::bpe::Piece;
use super::lookup::Lookup;

/// How much less likely an unknown character is than the least likely piece.
const UNKNOWN: f64 = 10.0;

/// The model: pieces with scores.
pub(super) struct Unigram {
    pub(super) pieces: Vec<String>,
    pub(super) lookup: Lookup,
    scores: Vec<f64>,
    /// Never produced from text.
    barred: Vec<bool>,
    /// Bytes of the longest piece.
    longest: usize,
    unknown_score: f64,
    unk: Option<u32>,
    bytes: Option<Box<[Option<u32>; 256]>>,
}

/// The best way to an end.
#[derive(Clone, Copy)]
struct End {
    score: f64,
    start: usize,
    /// `None`: an unknown character.
    id: Option<u32>,
}

/// Keeps the better way; of equals the first.
fn improve(slot: Option<&mut Option<End>>, new: End) {
    if let Some(slot) = slot
        && slot.is_none_or(|old| new.score > old.score)
    {
        *slot = Some(new);
    }
}

impl Unigram {
    /// `scores` of the first pieces; what has none (tokens that were added behind the vocabulary) is no piece of any text.
    pub(super) fn new(
        pieces: Vec<String>,
        lookup: Lookup,
        scores: Vec<f64>,
        barred: Vec<bool>,
        unk: Option<u32>,
        byte_fallback: bool,
    ) -> Self {
        let bytes = byte_fallback.then(|| {
            let mut bytes = Box::new([None; 256]);
            for (byte, slot) in bytes.iter_mut().enumerate() {
                *slot = lookup.get(&pieces, &format!("<0x{byte:02X}>"));
            }
            bytes
        });
        let longest = pieces.iter().take(scores.len()).map(String::len).max().unwrap_or(0);
        let unknown_score = scores.iter().copied().fold(f64::INFINITY, f64::min) - UNKNOWN;
        Unigram { pieces, lookup, scores, barred, longest, unknown_score, unk, bytes }
    }

    /// The id of a piece, special or not.
    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.lookup.get(&self.pieces, piece)
    }

    /// Pieces with their scores, the unknown one and whether bytes stand in, as `tokenizer.json` lists them.
    pub(super) fn parts(&self) -> (Vec<(&str, f64)>, Option<u32>, bool) {
        let listed = self.pieces.iter().zip(&self.scores).map(|(p, s)| (p.as_str(), *s));
        (listed.collect(), self.unk, self.bytes.is_some())
    }

    fn allowed(&self, piece: &str) -> Option<(u32, f64)> {
        let id = self.id(piece)?;
        let barred = self.barred.get(id as usize).copied().unwrap_or(false);
        self.scores.get(id as usize).filter(|_| !barred).map(|&score| (id, score))
    }

    /// Splits one word of the pre-tokenizer. Offsets are bytes of `word`.
    pub(super) fn encode(&self, word: &str) -> Vec<Piece> {
        let mut ends: Vec<Option<End>> = vec![None; word.len() + 1];
        let bounds: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
        let mut till_here = 0.0;
        for (i, &start) in bounds.iter().enumerate() {
            let following = bounds.get(i + 1..).unwrap_or_default();
            let mut single = false;
            for (n, &end) in following.iter().enumerate().take_while(|(_, end)| **end - start <= self.longest)
            {
                if let Some((id, score)) = word.get(start..end).and_then(|piece| self.allowed(piece)) {
                    improve(ends.get_mut(end), End { score: score + till_here, start, id: Some(id) });
                    single |= n == 0;
                }
            }
            let Some(&next) = following.first() else { break };
            if !single {
                improve(ends.get_mut(next), End { score: self.unknown_score + till_here, start, id: None });
            }
            // known or not, the character by itself leads there
            till_here = ends.get(next).copied().flatten().map_or(0.0, |end| end.score);
        }
        let (mut path, mut at) = (Vec::new(), word.len());
        while at > 0 {
            let Some(end) = ends.get(at).copied().flatten() else { break };
            path.push((end.id, end.start, at));
            at = end.start;
        }
        path.reverse();
        self.spelt(word, &path)
    }

    /// The pieces of a path; unknown characters that follow each other are one, or their bytes.
    fn spelt(&self, word: &str, path: &[(Option<u32>, usize, usize)]) -> Vec<Piece> {
        let mut out = Vec::with_capacity(path.len());
        let unknown = |id: Option<u32>| id.is_none();
        for run in path.chunk_by(|a, b| unknown(a.0) && unknown(b.0)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (start, end) = (first.1, last.2);
            if let Some(id) = first.0 {
                out.push(Piece { id, start, end });
                continue;
            }
            let of_byte = |b: u8| self.bytes.as_ref()?.get(usize::from(b)).copied().flatten();
            let bytes: Option<Vec<u32>> =
                word.get(start..end).unwrap_or_default().bytes().map(of_byte).collect();
            match (bytes, self.unk) {
                // all bytes carry the place of the whole, as in the reference
                (Some(ids), _) => out.extend(ids.into_iter().map(|id| Piece { id, start, end })),
                (None, Some(id)) => out.push(Piece { id, start, end }),
                (None, None) => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pieces: &[(&str, f64)], barred: &[&str]) -> Unigram {
        let names: Vec<String> = pieces.iter().map(|p| p.0.to_string()).collect();
        let lookup = Lookup::new(&names);
        let barred = names.iter().map(|n| barred.contains(&n.as_str())).collect();
        Unigram::new(names, lookup, pieces.iter().map(|p| p.1).collect(), barred, Some(0), false)
    }

    fn words<'a>(m: &Unigram, text: &'a str) -> Vec<&'a str> {
        m.encode(text).iter().map(|p| &text[p.start..p.end]).collect()
    }

    /// The best sum over all ways to cut a text, by trying each.
    fn best(m: &Unigram, text: &str) -> f64 {
        if text.is_empty() {
            return 0.0;
        }
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.enumerate()
            .filter_map(|(n, end)| {
                let score = match (m.allowed(&text[..end]), n) {
                    (Some((_, score)), _) => score,
                    (None, 0) => m.unknown_score,
                    (None, _) => return None,
                };
                Some(score + best(m, &text[end..]))
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn the_likeliest_way_is_taken() {
        let m = model(
            &[("<unk>", 0.0), ("a", -1.5), ("b", -1.0), ("ab", -2.0), ("bab", -2.25), ("水", -3.0)],
            &["<unk>"],
        );
        for text in ["ab", "abab", "babab", "aab水b", "abxyb水水", "ääb"] {
            let path = m.encode(text);
            assert_eq!(words(&m, text).concat(), text);
            let score = |p: &Piece| match p.id {
                0 => m.unknown_score * text[p.start..p.end].chars().count() as f64,
                id => m.scores[id as usize],
            };
            let sum: f64 = path.iter().map(score).sum();
            assert!((sum - best(&m, text)).abs() < 1e-9, "{text}: {sum} {path:?}");
        }
        assert_eq!(words(&m, "bab"), ["bab"]);
        assert_eq!(words(&m, "axyb"), ["a", "xy", "b"]);
    }

    #[test]
    fn what_is_barred_is_never_spelt() {
        let pieces = [("<unk>", 0.0), ("</s>", 0.0), ("<", -5.0), ("/", -5.0), ("s", -5.0), (">", -5.0)];
        assert_eq!(words(&model(&pieces, &[]), "</s>"), ["</s>"]);
        assert_eq!(words(&model(&pieces, &["<unk>", "</s>"]), "</s>"), ["<", "/", "s", ">"]);
    }
}
