//! Which tokens may come next.

/// A set of tokens, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    len: usize,
}

impl TokenMask {
    /// No token of `len`.
    pub fn none(len: usize) -> TokenMask {
        TokenMask { words: vec![0; len.div_ceil(32)], len }
    }

    /// From words of 32 bits, the lowest bit first; bits from `len` on are dropped, missing words forbid.
    pub fn from_words(words: &[u32], len: usize) -> TokenMask {
        let mut words: Vec<u32> = words.to_vec();
        words.resize(len.div_ceil(32), 0);
        if let (Some(last), 1..) = (words.last_mut(), len % 32) {
            *last &= (1 << (len % 32)) - 1;
        }
        TokenMask { words, len }
    }

    /// Allows a token; one beyond the set is left out.
    pub fn allow(&mut self, token: u32) {
        if (token as usize) < self.len {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
    }

    /// Whether a token may come.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.len && self.words[token as usize / 32] >> (token % 32) & 1 == 1
    }

    /// Number of tokens that may come.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The tokens that may come, ascending.
    pub fn tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(i as u32 * 32 + bit)
            })
        })
    }

    /// Makes the logits of all other tokens -∞. Logits beyond the set are forbidden.
    pub fn apply(&self, logits: &mut [f32]) {
        for (word, part) in self.words.iter().zip(logits.chunks_mut(32)) {
            match *word {
                u32::MAX => {}
                0 => part.fill(f32::NEG_INFINITY),
                word => {
                    for (i, l) in part.iter_mut().enumerate() {
                        *l = if word >> i & 1 == 1 { *l } else { f32::NEG_INFINITY };
                    }
                }
            }
        }
        if let Some(beyond) = logits.get_mut(self.len..) {
            beyond.fill(f32::NEG_INFINITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_logits_follow_the_bits() {
        for len in [1usize, 31, 32, 33, 70, 96] {
            let mut mask = TokenMask::none(len);
            let wanted: Vec<u32> = (0..len as u32).filter(|t| t % 7 == 3 || *t >= 64 || *t == 0).collect();
            wanted.iter().for_each(|&t| mask.allow(t));
            mask.allow(len as u32);
            assert_eq!(mask.tokens().collect::<Vec<_>>(), wanted);
            assert_eq!(mask.count(), wanted.len());
            let mut logits = vec![1.0f32; len + 5];
            mask.apply(&mut logits);
            for (t, l) in logits.iter().enumerate() {
                assert_eq!(*l == 1.0, wanted.contains(&(t as u32)), "token {t} of {len}");
                assert_eq!(mask.allows(t as u32), *l == 1.0);
            }
            assert_eq!(TokenMask::from_words(&[u32::MAX; 9], len).count(), len);
            assert_eq!(TokenMask::from_words(&[], len).count(), 0);
        }
    }
}
