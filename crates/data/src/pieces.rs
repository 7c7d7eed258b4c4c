//! Documents for learning a language: each cut into sequences, none of which sees another document.

use crate::tokens::TokenExample;

/// Cuts a document of tokens into sequences of at most `longest` tokens, in which every token of the document and the
/// `end` behind it is learnt exactly once.
///
/// Each sequence begins with `begin`, as do the windows on which a text's perplexity is measured; without one, with the
/// token before it, and the document's first token is then not learnt. Sequences become spans of their own in training, so
/// that nothing leaks from one document into another. Ids are `id`, or `id part N` from the second on. None where there is
/// nothing to learn.
pub fn document_sequences(
    id: &str,
    source: usize,
    tokens: &[u32],
    begin: Option<u32>,
    end: Option<u32>,
    longest: usize,
) -> Vec<TokenExample> {
    let mut stream: Vec<u32> = tokens.to_vec();
    if stream.is_empty() {
        return Vec::new();
    }
    stream.extend(end);
    let first = usize::from(begin.is_none());
    let fresh = longest.saturating_sub(1).max(1);
    let learnt = stream.get(first..).unwrap_or_default();
    let sequence = |(n, part): (usize, &[u32])| {
        let lead = begin.or_else(|| stream.get(n * fresh).copied());
        let tokens: Vec<u32> = lead.into_iter().chain(part.iter().copied()).collect();
        let mut trained = vec![true; tokens.len()];
        trained.iter_mut().take(1).for_each(|t| *t = false);
        let id = if n == 0 { id.to_string() } else { format!("{id} part {}", n + 1) };
        TokenExample { id, source, tokens, trained }
    };
    learnt.chunks(fresh).enumerate().map(sequence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each sequence learns, and what it begins with.
    fn cut(tokens: &[u32], begin: Option<u32>, end: Option<u32>, longest: usize) -> Vec<(u32, Vec<u32>)> {
        let one = |e: TokenExample| {
            assert!(e.tokens.len() <= longest && e.trained.len() == e.tokens.len());
            assert_eq!(e.trained_tokens(), e.tokens.len() - 1);
            assert!(!e.trained[0]);
            (e.tokens[0], e.tokens[1..].to_vec())
        };
        document_sequences("d", 0, tokens, begin, end, longest).into_iter().map(one).collect()
    }

    #[test]
    fn every_token_is_learnt_once() {
        let (begin, end) = (Some(90), Some(91));
        assert_eq!(cut(&[1, 2, 3, 4], begin, end, 4), [(90, vec![1, 2, 3]), (90, vec![4, 91])]);
        assert_eq!(cut(&[1, 2], begin, end, 8), [(90, vec![1, 2, 91])]);
        // without a beginning the token before takes its place
        assert_eq!(cut(&[1, 2, 3, 4], None, end, 3), [(1, vec![2, 3]), (3, vec![4, 91])]);
        assert_eq!(cut(&[1], None, None, 3), []);
        assert_eq!(cut(&[], begin, end, 3), []);
        let ids: Vec<String> =
            document_sequences("d", 0, &[1, 2, 3], begin, end, 3).into_iter().map(|e| e.id).collect();
        assert_eq!(ids, ["d", "d part 2"]);
    }
}
