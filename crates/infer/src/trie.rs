//! The answers that a decision may give, as a tree of tokens.

use crate::InferError;

/// A node: the tokens that may follow, and the answer that ends here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// `(token, node)` in ascending order of tokens
    pub(crate) next: Vec<(u32, usize)>,
    pub(crate) answer: Option<usize>,
}

/// Answers as token sequences. Each should end with a token that no answer continues after (the end of the turn), so
/// that one answer is never the beginning of another.
#[derive(Clone, Debug)]
pub struct Trie {
    pub(crate) nodes: Vec<Node>,
    answers: usize,
}

impl Trie {
    /// The tree of these answers; answer `i` is `answers[i]`.
    ///
    /// # Errors
    /// Two equal answers, one that begins another, or an empty one.
    pub fn new(answers: &[Vec<u32>]) -> Result<Trie, InferError> {
        Trie::of(answers, false)
    }

    /// The same where one answer may begin another: for [`Chooser::score`](crate::Chooser::score), which needs no end. A
    /// greedy walk would stop at the shorter one.
    ///
    /// # Errors
    /// Two equal answers, or an empty one.
    pub fn nested(answers: &[Vec<u32>]) -> Result<Trie, InferError> {
        Trie::of(answers, true)
    }

    fn of(answers: &[Vec<u32>], nested: bool) -> Result<Trie, InferError> {
        let mut nodes = vec![Node::default()];
        for (i, tokens) in answers.iter().enumerate() {
            if tokens.is_empty() {
                return Err(InferError::EmptyAnswer(i));
            }
            let mut at = 0;
            for &token in tokens {
                if let Some(first) = nodes[at].answer.filter(|_| !nested) {
                    return Err(InferError::SameAnswers { first, second: i });
                }
                at = match nodes[at].next.binary_search_by_key(&token, |n| n.0) {
                    Ok(k) => nodes[at].next[k].1,
                    Err(k) => {
                        let new = nodes.len();
                        nodes[at].next.insert(k, (token, new));
                        nodes.push(Node::default());
                        new
                    }
                };
            }
            if nodes[at].answer.is_some() || !(nested || nodes[at].next.is_empty()) {
                let first = nodes[at].answer.unwrap_or_else(|| first_below(&nodes, at));
                return Err(InferError::SameAnswers { first, second: i });
            }
            nodes[at].answer = Some(i);
        }
        Ok(Trie { nodes, answers: answers.len() })
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answers
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.answers == 0
    }

    /// Follows forced tokens from `node`: gives them and the node where a choice (or an answer) waits.
    pub(crate) fn forced(&self, mut node: usize) -> (Vec<u32>, usize) {
        let mut tokens = Vec::new();
        while let [(token, next)] = self.nodes[node].next[..] {
            tokens.push(token);
            node = next;
        }
        (tokens, node)
    }

    /// Most tokens from the root to an answer.
    pub(crate) fn depth(&self) -> usize {
        let mut depths = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for &(_, next) in &node.next {
                depths[next] = depths[i] + 1; // children come after their parent
            }
        }
        depths.into_iter().max().unwrap_or(0)
    }
}

fn first_below(nodes: &[Node], mut at: usize) -> usize {
    loop {
        match (nodes[at].answer, nodes[at].next.first()) {
            (Some(a), _) => return a,
            (None, Some(&(_, next))) => at = next,
            (None, None) => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_tokens_are_found() {
        let t = Trie::new(&[vec![1, 2, 3, 9], vec![1, 2, 4, 9], vec![5, 9]]).unwrap();
        assert_eq!(t.forced(0), (vec![], 0));
        let one = t.nodes[0].next[0].1;
        let (tokens, node) = t.forced(one);
        assert_eq!(tokens, [2]);
        assert_eq!(t.nodes[node].next.len(), 2);
        assert_eq!(t.depth(), 4);
    }

    #[test]
    fn answers_that_cannot_be_told_apart_are_refused() {
        assert!(matches!(
            Trie::new(&[vec![1], vec![1]]),
            Err(InferError::SameAnswers { first: 0, second: 1 })
        ));
        assert!(matches!(Trie::new(&[vec![1], vec![1, 2]]), Err(InferError::SameAnswers { .. })));
        assert!(matches!(
            Trie::new(&[vec![1, 2], vec![1]]),
            Err(InferError::SameAnswers { first: 0, second: 1 })
        ));
        assert!(matches!(Trie::new(&[vec![], vec![1]]), Err(InferError::EmptyAnswer(0))));
    }
}
