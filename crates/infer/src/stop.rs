//! Texts that end a text: found across the borders of tokens, never shown in part.
//!
//! The automaton of Aho and Corasick (1975): its depth after each byte is the length of the longest beginning of a stop text
//! that the text ends with, so exactly these bytes are held back.

/// What may be given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// bytes that belong to no stop text
    pub bytes: Vec<u8>,
    /// a stop text is complete: the text ends here
    pub stopped: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// `(byte, node)`, ascending
    next: Vec<(u8, usize)>,
    /// where the longest proper end of this node's text stands in the tree
    fail: usize,
    depth: usize,
    /// length of the longest stop text that ends here
    stop: usize,
}

/// Finds the first place where one of many texts is complete. A text is fed in pieces of any size, cut anywhere.
#[derive(Clone, Debug)]
pub struct StopTexts {
    nodes: Vec<Node>,
    at: usize,
    /// the last `depth` bytes
    held: Vec<u8>,
    stopped: bool,
}

impl StopTexts {
    /// Stops at any of these; empty ones are left out.
    pub fn new<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> StopTexts {
        let mut nodes = vec![Node::default()];
        for text in texts {
            let mut at = 0;
            for &byte in text.as_ref() {
                at = match nodes[at].next.binary_search_by_key(&byte, |n| n.0) {
                    Ok(i) => nodes[at].next[i].1,
                    Err(i) => {
                        let new = nodes.len();
                        nodes.push(Node { depth: nodes[at].depth + 1, ..Node::default() });
                        nodes[at].next.insert(i, (byte, new));
                        new
                    }
                };
            }
            nodes[at].stop = nodes[at].depth;
        }
        let mut this = StopTexts { nodes, at: 0, held: Vec::new(), stopped: false };
        // by depth: a node's shorter ends are known before it
        let mut line = vec![0];
        let mut done = 0;
        while done < line.len() {
            let node = line[done];
            done += 1;
            for (byte, child) in this.nodes[node].next.clone() {
                let fail = if node == 0 { 0 } else { this.step(this.nodes[node].fail, byte) };
                let longest = this.nodes[child].stop.max(this.nodes[fail].stop);
                this.nodes[child].fail = fail;
                this.nodes[child].stop = longest;
                line.push(child);
            }
        }
        this
    }

    /// Whether there is no text to stop at.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    fn step(&self, mut at: usize, byte: u8) -> usize {
        loop {
            match self.nodes[at].next.binary_search_by_key(&byte, |n| n.0) {
                Ok(i) => return self.nodes[at].next[i].1,
                Err(_) if at == 0 => return 0,
                Err(_) => at = self.nodes[at].fail,
            }
        }
    }

    /// Takes the next bytes. Of stop texts that are complete at the same byte the longest counts; after the end nothing more is
    /// given out.
    pub fn push(&mut self, bytes: &[u8]) -> Released {
        for (n, &byte) in bytes.iter().enumerate() {
            if self.stopped {
                break;
            }
            self.at = self.step(self.at, byte);
            let stop = self.nodes[self.at].stop;
            if stop > 0 {
                self.stopped = true;
                self.held.extend_from_slice(&bytes[..=n]);
                self.held.truncate(self.held.len().saturating_sub(stop));
                return Released { bytes: std::mem::take(&mut self.held), stopped: true };
            }
        }
        if self.stopped {
            return Released { bytes: Vec::new(), stopped: true };
        }
        self.held.extend_from_slice(bytes);
        let keep = self.held.split_off(self.held.len() - self.nodes[self.at].depth.min(self.held.len()));
        Released { bytes: std::mem::replace(&mut self.held, keep), stopped: false }
    }

    /// The text is at its end: what was held back is no stop text. Begins anew.
    pub fn finish(&mut self) -> Vec<u8> {
        self.at = 0;
        self.stopped = false;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nurture_kernels::Rng;

    /// The text before the first place at which a stop text is complete, by trying all of them at every byte.
    fn plain(stops: &[Vec<u8>], text: &[u8]) -> (Vec<u8>, bool) {
        for end in 1..=text.len() {
            let longest =
                stops.iter().filter(|s| !s.is_empty() && text[..end].ends_with(s)).map(Vec::len).max();
            if let Some(n) = longest {
                return (text[..end - n].to_vec(), true);
            }
        }
        (text.to_vec(), false)
    }

    #[test]
    fn pieces_of_any_size_stop_where_the_whole_text_does() {
        let mut rng = Rng::new(1);
        let mut word = |most: usize, letters: usize| -> Vec<u8> {
            (0..rng.below(most + 1)).map(|_| b'a' + rng.below(letters) as u8).collect()
        };
        let mut cuts = Rng::new(2);
        let mut stopped = 0;
        for round in 0..4000 {
            let letters = 2 + round % 3;
            let stops: Vec<Vec<u8>> = (0..round % 5).map(|_| word(5, letters)).collect();
            let text = word(40, letters);
            let mut matcher = StopTexts::new(&stops);
            let (mut out, mut at, mut end) = (Vec::new(), 0, false);
            while at < text.len() {
                let n = (1 + cuts.below(4)).min(text.len() - at);
                let step = matcher.push(&text[at..at + n]);
                out.extend(step.bytes);
                end = step.stopped;
                at += n;
                // nothing is held back that cannot become a stop text
                if !end {
                    let held = &text[out.len()..at];
                    assert!(
                        held.is_empty() || stops.iter().any(|s| s.starts_with(held) && s.len() > held.len())
                    );
                }
            }
            out.extend(matcher.finish());
            assert_eq!((out, end), plain(&stops, &text), "{stops:?} in {text:?}");
            stopped += usize::from(end);
        }
        assert!((1000..3500).contains(&stopped), "{stopped}");
    }

    #[test]
    fn characters_are_whole_where_the_pieces_were() {
        let mut m = StopTexts::new(["。终", "終わり"]);
        assert!(!m.is_empty());
        assert_eq!(m.push("完了。".as_bytes()), Released { bytes: "完了".into(), stopped: false });
        assert_eq!(m.push("終".as_bytes()), Released { bytes: "。".into(), stopped: false });
        assert_eq!(m.push("わりです".as_bytes()), Released { bytes: vec![], stopped: true });
        assert_eq!(m.push(b"more"), Released { bytes: vec![], stopped: true });
        let mut none = StopTexts::new(Vec::<String>::new());
        assert!(none.is_empty());
        assert_eq!(none.push(b"abc").bytes, b"abc");
    }
}
