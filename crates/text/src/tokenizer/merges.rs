//! The merges of a SentencePiece BPE vocabulary that lists none.
//!
//! Every way of cutting a piece into two pieces of the vocabulary is a merge; the better the whole, the earlier.
//! Among the cuts of one whole the longest left part comes first, as `transformers` orders them.

use super::lookup::Lookup;

/// Merges as (left, right, whole) in order of rank.
///
/// A BPE vocabulary's scores fall with the id. Where they do, the id is the order: it also places the user-defined
/// pieces (runs of spaces and line breaks), whose score is a mark and not a rank. Otherwise the scores decide.
pub(super) fn derive(
    pieces: &[String],
    lookup: &Lookup,
    scores: Option<&[f32]>,
    is_normal: impl Fn(usize) -> bool,
) -> Vec<(u32, u32, u32)> {
    let mut merges = Vec::with_capacity(pieces.len() * 2);
    for whole in order(pieces.len(), scores, is_normal) {
        let Some(piece) = pieces.get(whole as usize) else { continue };
        // The later of two equal spellings counts.
        if lookup.get(pieces, piece) != Some(whole) {
            continue;
        }
        for (cut, _) in piece.char_indices().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let Some((left, right)) = piece.split_at_checked(cut) else { continue };
            // The right part first: it is the rarer one, so most cuts cost one look.
            if let Some(right) = lookup.get(pieces, right)
                && let Some(left) = lookup.get(pieces, left)
            {
                merges.push((left, right, whole));
            }
        }
    }
    merges
}

fn order(count: usize, scores: Option<&[f32]>, is_normal: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..count as u32).collect();
    let Some(scores) = scores else { return ids };
    let score = |id: u32| scores.get(id as usize).copied().unwrap_or(f32::MIN);
    let normal: Vec<f32> = ids.iter().filter(|&&id| is_normal(id as usize)).map(|&id| score(id)).collect();
    if !normal.is_sorted_by(|a, b| a >= b) {
        ids.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f32], expect: &[(&str, &str)]) {
        let pieces: Vec<String> = ["ab", "abc", "bc", "a", "b", "c"].map(str::to_owned).to_vec();
        let merges = derive(&pieces, &Lookup::new(&pieces), Some(scores), |_| true);
        let text = |id: u32| pieces.get(id as usize).map(String::as_str).unwrap_or("?");
        let found: Vec<_> = merges.iter().map(|&(l, r, _)| (text(l), text(r))).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn best_whole_first_then_longest_left() {
        check(&[0., -1., -2., -3., -4., -5.], &[("a", "b"), ("ab", "c"), ("a", "bc"), ("b", "c")]);
        check(&[-9., -1., -2., -3., -4., -5.], &[("ab", "c"), ("a", "bc"), ("b", "c"), ("a", "b")]);
    }
}
