//! Which tokens are scored in which context when a text's perplexity is measured.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How a text was cut into windows. Perplexities compare only under the same scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "snake_case")]
pub enum WindowScheme {
    /// [`llama_cpp_windows`].
    LlamaCpp {
        /// Tokens of a window.
        n_ctx: usize,
    },
    /// [`strided_windows`].
    Strided {
        /// Tokens of a window at most.
        n_ctx: usize,
    },
}

/// Tokens to run through the model together, and which of them to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The input, a BOS token in front where the vocabulary asks for one.
    pub tokens: Vec<u32>,
    /// Positions in `tokens` whose token is scored: token `i` is predicted by the logits of position `i − 1`, so the
    /// range starts at 1 or later. Never empty.
    pub scored: Range<usize>,
    /// Which document it is from.
    pub document: usize,
    /// The same scored tokens as positions in the document (which holds no BOS); to count their bytes.
    pub source: Range<usize>,
}

/// The windows of llama.cpp's perplexity tool over one text.
///
/// The stream is the text's tokens, with `bos` in front where the vocabulary adds one (`text` itself is without).
/// It is cut into windows of `n_ctx` (512 there) that do not overlap; what is left at the end is dropped; `bos`
/// replaces each window's first token. Positions `n_ctx/2 + 1 ..` are scored: 255 predictions for 512. At most `most`
/// windows are given, from the beginning (its option `--chunks`). Unlike the tool, one window is enough.
///
/// # Errors
/// A text shorter than one window; `n_ctx` under 4.
pub fn llama_cpp_windows(
    text: &[u32],
    n_ctx: usize,
    bos: Option<u32>,
    most: Option<usize>,
) -> Result<Vec<Window>, EvalError> {
    const LEAST: usize = 4;
    if n_ctx < LEAST {
        return Err(EvalError::WindowTooShort { n_ctx, least: LEAST });
    }
    let shift = usize::from(bos.is_some());
    if text.len() + shift < n_ctx {
        return Err(EvalError::TextTooShort { tokens: text.len(), needed: n_ctx - shift });
    }
    let stream: Vec<u32> = bos.into_iter().chain(text.iter().copied()).collect();
    let first = n_ctx / 2 + 1;
    let windows = stream.chunks_exact(n_ctx).enumerate().map(|(w, chunk)| {
        let start = w * n_ctx;
        Window {
            tokens: with_bos(chunk, bos),
            scored: first..n_ctx,
            document: 0,
            source: start + first - shift..start + n_ctx - shift,
        }
    });
    Ok(windows.take(most.unwrap_or(usize::MAX)).collect())
}

/// Windows over short documents that score every token exactly once: after `n_ctx/2` tokens of context at least, or
/// all there is from the document's beginning.
///
/// A document's first token is scored only after a `bos`; without one it is context. Windows of `n_ctx` tokens begin
/// every `n_ctx/2` tokens, `bos` in place of the first token of the later ones (which is context there). Documents never
/// see each other; those with nothing to score give no window.
///
/// # Errors
/// No document with a token to score; `n_ctx` under 4.
pub fn strided_windows<D: AsRef<[u32]>>(
    documents: &[D],
    n_ctx: usize,
    bos: Option<u32>,
) -> Result<Vec<Window>, EvalError> {
    const LEAST: usize = 4;
    if n_ctx < LEAST {
        return Err(EvalError::WindowTooShort { n_ctx, least: LEAST });
    }
    let shift = usize::from(bos.is_some());
    let stride = n_ctx / 2;
    let mut windows = Vec::new();
    for (document, text) in documents.iter().enumerate() {
        let stream: Vec<u32> = bos.into_iter().chain(text.as_ref().iter().copied()).collect();
        let (mut start, mut next) = (0, 1);
        while next < stream.len() {
            let end = (start + n_ctx).min(stream.len());
            windows.push(Window {
                tokens: with_bos(&stream[start..end], bos),
                scored: next - start..end - start,
                document,
                source: next - shift..end - shift,
            });
            next = end;
            start += stride;
        }
    }
    if windows.is_empty() {
        let longest = documents.iter().map(|d| d.as_ref().len()).max().unwrap_or(0);
        return Err(EvalError::TextTooShort { tokens: longest, needed: 2 - shift });
    }
    Ok(windows)
}

/// The tokens with `bos`, if any, in place of the first.
fn with_bos(tokens: &[u32], bos: Option<u32>) -> Vec<u32> {
    let mut tokens = tokens.to_vec();
    if let (Some(first), Some(bos)) = (tokens.first_mut(), bos) {
        *first = bos;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOS: u32 = 9999;

    fn text(n: u32) -> Vec<u32> {
        (0..n).collect()
    }

    #[test]
    fn llama_cpp_scores_255_of_512() {
        let w = llama_cpp_windows(&text(1500), 512, None, None).unwrap();
        assert_eq!(w.len(), 2);
        assert_eq!(w[1].tokens, (512..1024).collect::<Vec<_>>());
        assert_eq!(w[1].scored, 257..512);
        assert_eq!(w[1].scored.len(), 255);
        assert_eq!(w[1].source, 769..1024);
    }

    #[test]
    fn llama_cpp_shifts_the_text_by_its_bos_and_repeats_it() {
        let w = llama_cpp_windows(&text(1023), 512, Some(BOS), None).unwrap();
        assert_eq!(w.len(), 2);
        // BOS, 0, 1 … 510 | BOS instead of 511, 512 …
        assert_eq!((w[0].tokens[0], w[0].tokens[1], w[0].tokens[511]), (BOS, 0, 510));
        assert_eq!((w[1].tokens[0], w[1].tokens[1], w[1].tokens[511]), (BOS, 512, 1022));
        assert_eq!(w[1].source, 768..1023);
        assert_eq!(llama_cpp_windows(&text(1022), 512, Some(BOS), None).unwrap().len(), 1);
        assert_eq!(llama_cpp_windows(&text(5000), 512, None, Some(3)).unwrap().len(), 3);
    }

    #[test]
    fn too_short_texts_are_refused_with_the_counts() {
        assert_eq!(
            llama_cpp_windows(&text(511), 512, None, None),
            Err(EvalError::TextTooShort { tokens: 511, needed: 512 })
        );
        assert!(llama_cpp_windows(&text(511), 512, Some(BOS), None).is_ok());
        assert_eq!(
            strided_windows(&[text(1), text(0)], 8, None),
            Err(EvalError::TextTooShort { tokens: 1, needed: 2 })
        );
        assert_eq!(
            strided_windows(&[text(0)], 8, Some(BOS)),
            Err(EvalError::TextTooShort { tokens: 0, needed: 1 })
        );
        assert!(matches!(llama_cpp_windows(&text(9), 3, None, None), Err(EvalError::WindowTooShort { .. })));
        assert!(matches!(strided_windows(&[text(9)], 0, None), Err(EvalError::WindowTooShort { .. })));
    }

    #[test]
    fn a_short_document_is_one_window() {
        let w = strided_windows(&[text(5)], 8, None).unwrap();
        assert_eq!(w, [Window { tokens: text(5), scored: 1..5, document: 0, source: 1..5 }]);
        let w = strided_windows(&[text(3)], 8, Some(BOS)).unwrap();
        assert_eq!(w, [Window { tokens: vec![BOS, 0, 1, 2], scored: 1..4, document: 0, source: 0..3 }]);
    }

    #[test]
    fn strides_by_hand() {
        let w = strided_windows(&[text(10)], 4, None).unwrap();
        let seen: Vec<_> = w.iter().map(|w| (w.tokens[0], w.tokens.len(), w.source.clone())).collect();
        assert_eq!(seen, [(0, 4, 1..4), (2, 4, 4..6), (4, 4, 6..8), (6, 4, 8..10)]);
    }

    proptest::proptest! {
        #[test]
        fn every_token_is_scored_once_with_context(
            lengths in proptest::collection::vec(0u32..70, 1..5), n_ctx in 4usize..24, bos: bool,
        ) {
            let documents: Vec<Vec<u32>> = lengths.iter().map(|&n| text(n)).collect();
            let bos = bos.then_some(BOS);
            let windows = strided_windows(&documents, n_ctx, bos).unwrap_or_default();
            let mut times: Vec<Vec<usize>> = documents.iter().map(|d| vec![0; d.len()]).collect();
            for w in &windows {
                assert!(w.tokens.len() <= n_ctx && w.scored.start >= 1 && w.scored.end <= w.tokens.len());
                assert_eq!(w.scored.len(), w.source.len());
                for (i, j) in w.scored.clone().zip(w.source.clone()) {
                    assert_eq!(w.tokens[i], documents[w.document][j]);
                    assert!(i >= n_ctx / 2 || i >= j, "token {j} has a context of {i}");
                    times[w.document][j] += 1;
                }
            }
            for t in times {
                for (j, n) in t.into_iter().enumerate() {
                    assert_eq!(n, usize::from(j > 0 || bos.is_some()), "token {j}");
                }
            }
        }
    }
}
