//! Where did this text go on the last time? An index over token sequences.

use std::collections::HashMap;

/// Fewest tokens that must agree.
const LEAST: usize = 2;

/// Places that are compared; of a frequent pair only the newest count.
const PLACES: usize = 48;

/// Tokens beyond which more agreement says nothing more.
const LONG: usize = 24;

/// Stands between sequences: no token.
const BORDER: u32 = u32::MAX;

/// Token sequences, found by what stands in them.
#[derive(Clone, Debug, Default)]
pub struct Ngrams {
    tokens: Vec<u32>,
    /// last two tokens: the newest place behind them
    newest: HashMap<[u32; LEAST], u32>,
    /// of each place the one before it with the same two tokens in front, or 0
    older: Vec<u32>,
}

impl Ngrams {
    /// An index of sequences, none of which goes on in the next.
    pub fn new<'s>(sequences: impl IntoIterator<Item = &'s [u32]>) -> Ngrams {
        let mut this = Ngrams::default();
        for sequence in sequences {
            this.extend(sequence);
            this.end();
        }
        this
    }

    /// Number of tokens and borders.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What is in it.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Goes on with the last sequence. At most 2³² - 1 tokens are taken.
    pub fn extend(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let Ok(place) = u32::try_from(self.tokens.len() + 1) else { return };
            self.tokens.push(token);
            let mut older = 0;
            if let Some(&last) = self.tokens.last_chunk::<LEAST>()
                && !last.contains(&BORDER)
            {
                older = self.newest.insert(last, place).unwrap_or(0);
            }
            self.older.push(older);
        }
    }

    /// Ends the last sequence.
    pub fn end(&mut self) {
        self.extend(&[BORDER]);
    }

    /// The place behind the longest stretch that `text` ends with, the newest of equals, and its length; places from
    /// `before` on do not count.
    pub(crate) fn find(&self, text: &[u32], before: usize) -> Option<(usize, usize)> {
        let mut place = *self.newest.get(text.last_chunk::<LEAST>()?)? as usize;
        let mut best = None;
        for _ in 0..PLACES {
            if place == 0 {
                break;
            }
            if place < before && self.tokens.get(place).is_some_and(|&t| t != BORDER) {
                let same = self.tokens[..place].iter().rev().zip(text.iter().rev());
                let length = same.take(LONG).take_while(|(a, b)| a == b).count();
                if best.is_none_or(|(_, longest)| length > longest) {
                    best = Some((place, length));
                }
            }
            place = self.older[place - 1] as usize;
        }
        best
    }

    /// Up to `most` tokens from a place on, to the end of its sequence. Where the place lies in the text that is being continued,
    /// a draft may run into itself: then it goes round.
    pub(crate) fn from(&self, place: usize, most: usize, round: bool) -> Vec<u32> {
        let mut out: Vec<u32> = Vec::with_capacity(most);
        for i in 0..most {
            let at = place + i;
            let token = match self.tokens.get(at) {
                Some(&t) => t,
                None if round => out[at - self.tokens.len()],
                None => break,
            };
            if token == BORDER {
                break;
            }
            out.push(token);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;

    #[test]
    fn the_longest_agreement_is_found() {
        let n = Ngrams::new([&[1u32, 2, 3, 4, 5][..], &[9, 2, 3, 7, 8], &[6, 1, 2, 3, 11, 12], &[2, 3]]);
        assert_eq!(
            n.find(&[0, 2, 3], usize::MAX).map(|(p, l)| (n.tokens()[p], l)),
            Some((11, 2)),
            "the newest"
        );
        assert_eq!(n.find(&[9, 2, 3], usize::MAX).map(|(p, l)| (n.tokens()[p], l)), Some((7, 3)));
        assert_eq!(n.find(&[5, 6], usize::MAX), None, "sequences do not go on in the next");
        assert_eq!(n.find(&[3], usize::MAX), None);
        let (place, _) = n.find(&[9, 2, 3], usize::MAX).unwrap();
        assert_eq!(n.from(place, 9, false), [7, 8]);
        assert_eq!(n.from(place, 1, false), [7]);
    }

    #[test]
    fn a_search_equals_looking_everywhere() {
        let mut rng = Rng::new(5);
        for _ in 0..300 {
            // few places for each pair, so that none is left out
            let text: Vec<u32> = (0..60).map(|_| rng.below(5) as u32).collect();
            let mut own = Ngrams::default();
            own.extend(&text);
            let agree = |place: usize| {
                text[..place]
                    .iter()
                    .rev()
                    .zip(text.iter().rev())
                    .take(LONG)
                    .take_while(|(a, b)| a == b)
                    .count()
            };
            let want = (1..text.len()).map(agree).filter(|&n| n >= LEAST).max();
            assert_eq!(own.find(&text, text.len()).map(|f| f.1), want);
        }
    }

    #[test]
    fn a_draft_goes_round() {
        let mut own = Ngrams::default();
        own.extend(&[7, 1, 2, 3, 1, 2, 3]);
        let (place, _) = own.find(&[7, 1, 2, 3, 1, 2, 3], 7).unwrap();
        assert_eq!(own.from(place, 8, true), [1, 2, 3, 1, 2, 3, 1, 2]);
    }
}
