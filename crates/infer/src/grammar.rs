//! Texts that must follow a JSON schema, a regular expression or a Lark grammar. llguidance computes which tokens may come; what
//! it knows of the tokenizer are the bytes of each token.

use crate::rule_memory::{RuleMemory, Share};
use crate::{Constraint, InferError, TokenMask};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory, TokenParser};
use std::sync::Arc;

/// Largest source of a rule in bytes.
pub const MAX_GRAMMAR_BYTES: usize = 512 * 1024;

/// Bytes that a text is brought to its end with, the best first, outside of strings and inside, where whatever closes may also
/// be meant literally; then what divides an address, and digits for what must have a length.
const CLOSERS: [&[u8]; 2] = [b"}])\"01", b"\"@01"];

/// Bytes after which a text in some format (a date, an address) goes on to its next part.
const DIVIDERS: &[u8] = b".-:/TZ";

/// A byte that only strings have.
const IN_STRING: u8 = b'#';

/// Bytes after which the shortest way to the end of a JSON text may be much longer than before them.
const OPENERS: &[u8] = b"{[,";

/// Tokens left below which every token is looked at so.
const ALWAYS_LOOK: usize = 24;

/// The source of a rule.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// a JSON schema; what it allows is written on one line, `", "` and `": "` between its parts, unless its `x-guidance` says otherwise
    JsonSchema(&'a str),
    /// a regular expression that the whole text matches, in the syntax of the crate `regex`
    Regex(&'a str),
    /// a grammar in llguidance's variant of Lark
    Lark(&'a str),
}

/// Makes grammars for one vocabulary. Building it takes some milliseconds; it serves any number of requests.
pub struct Grammars {
    factory: ParserFactory,
    ends: Vec<u32>,
    memory: RuleMemory,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// What the tokens are to llguidance.
struct Tokens {
    trie: TokTrie,
    #[allow(clippy::type_complexity)]
    tokenize: Box<dyn Fn(&str) -> Vec<u32> + Send + Sync>,
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let tokens = self.trie.tokenize_with_greedy_fallback(bytes, |text| (self.tokenize)(text));
        // a vocabulary that adds a space or drops a byte does not spell what was asked for
        if self.trie.decode_raw(&tokens) == bytes { tokens } else { self.trie.greedy_tokenize(bytes) }
    }
}

fn refused(why: impl std::fmt::Display) -> InferError {
    InferError::Constraint { why: why.to_string() }
}

impl Grammars {
    /// For a vocabulary: `tokens[id]` are the bytes of a token, `None` for one that no text may have (special and unused ones);
    /// `ends` end a text; `tokenize` cuts a text as the model is used to.
    ///
    /// # Errors
    /// A vocabulary without an end or with an end beyond it.
    pub fn new(
        tokens: Vec<Option<Vec<u8>>>,
        ends: &[u32],
        tokenize: impl Fn(&str) -> Vec<u32> + Send + Sync + 'static,
    ) -> Result<Grammars, InferError> {
        let eos = match ends {
            [first, ..] if ends.iter().all(|&e| (e as usize) < tokens.len()) => *first,
            _ => return Err(refused("the vocabulary has no token that ends a text")),
        };
        let vocab_size = u32::try_from(tokens.len()).map_err(refused)?;
        let spelled = |(id, bytes): (usize, Option<Vec<u8>>)| match bytes {
            Some(bytes) => bytes,
            None => [&[TokTrie::SPECIAL_TOKEN_MARKER][..], format!("<{id}>").as_bytes()].concat(),
        };
        let words: Vec<Vec<u8>> = tokens.into_iter().enumerate().map(spelled).collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, eos), &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(Tokens { trie, tokenize: Box::new(tokenize) });
        let caps = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, caps, &slices).map_err(refused)?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        // about a kilobyte each
        limits.max_lexer_states = 50_000;
        Ok(Grammars { factory, ends: ends.to_vec(), memory: RuleMemory::new(usize::MAX) })
    }

    /// The same, whose rules take at most so many bytes together, of which each is given [`RULE_BYTES`](crate::RULE_BYTES).
    /// Counted are the machines' tables; beside them a rule holds a few kilobytes for each token of its text.
    #[must_use]
    pub fn within(self, bytes: usize) -> Grammars {
        Grammars { memory: RuleMemory::new(bytes), ..self }
    }

    /// Bytes that the rules at work hold.
    pub fn memory(&self) -> usize {
        self.memory.taken()
    }

    /// A rule for one text.
    ///
    /// # Errors
    /// A rule that is too large, malformed, contradicts itself or uses what llguidance does not know; no room beside the other
    /// rules ([`Grammars::within`]).
    pub fn rule(&self, rule: Rule<'_>) -> Result<Grammar, InferError> {
        let (Rule::JsonSchema(text) | Rule::Regex(text) | Rule::Lark(text)) = rule;
        if text.len() > MAX_GRAMMAR_BYTES {
            let bytes = text.len();
            return Err(refused(format!("{bytes} bytes, but at most {MAX_GRAMMAR_BYTES} are taken")));
        }
        let mut share = self.memory.share()?;
        let grammar = match rule {
            Rule::JsonSchema(text) => {
                let mut schema: serde_json::Value =
                    serde_json::from_str(text).map_err(|e| refused(format!("the schema is no JSON: {e}")))?;
                if let Some(object) = schema.as_object_mut() {
                    // a model that may put blanks anywhere can put them for ever
                    object.entry("x-guidance").or_insert_with(|| {
                        serde_json::json!({
                            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
                        })
                    });
                }
                TopLevelGrammar::from_json_schema(schema)
            }
            Rule::Regex(text) => TopLevelGrammar::from_regex(text),
            Rule::Lark(text) => TopLevelGrammar::from_lark(text.to_string()),
        };
        let parser = self.factory.create_parser(grammar).map_err(refused)?;
        let gauge = parser.clone();
        let mut matcher = Matcher::new(Ok(parser));
        if let Some(why) = matcher.get_error() {
            return Err(refused(why));
        }
        matcher.compute_mask().map_err(refused)?;
        share.grow(takes(&gauge))?;
        let env = self.factory.tok_env().clone();
        let trie = env.tok_trie();
        let closers = CLOSERS.map(|c| c.iter().filter_map(|&b| trie.token_id(&[b])).collect());
        let in_string = trie.token_id(&[IN_STRING]);
        let bytes = DIVIDERS.iter().copied().chain(b'!'..=b'~').chain([b' ', b'\n']);
        let bytes = bytes.filter_map(|b| trie.token_id(&[b])).collect();
        let mask = TokenMask::default();
        let (vocab, ends) = (trie.vocab_size(), self.ends.clone());
        Ok(Grammar { matcher, gauge, share, env, vocab, ends, closers, in_string, bytes, mask })
    }
}

/// Bytes of the tables that a parser shares with all its clones.
fn takes(parser: &TokenParser) -> usize {
    parser.parser.lexer_stats().num_bytes
}

/// A rule on its way through one text.
pub struct Grammar {
    matcher: Matcher,
    /// a clone that only tells how large the tables are
    gauge: TokenParser,
    share: Share,
    env: TokEnv,
    vocab: usize,
    ends: Vec<u32>,
    /// tokens of [`CLOSERS`], and of [`DIVIDERS`] and single printable characters
    closers: [Vec<u32>; 2],
    in_string: Option<u32>,
    bytes: Vec<u32>,
    mask: TokenMask,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Forced tokens; an error of the matcher comes with the next question.
fn forced(matcher: &mut Matcher) -> Vec<u32> {
    if matcher.is_stopped() { Vec::new() } else { matcher.compute_ff_tokens() }
}

/// Whether a token may come next.
fn may(matcher: &mut Matcher, token: u32) -> bool {
    matcher.validate_tokens(&[token]).is_ok_and(|valid| valid == 1)
}

impl Constraint for Grammar {
    fn forced(&mut self) -> Result<Vec<u32>, InferError> {
        Ok(forced(&mut self.matcher))
    }

    fn mask(&mut self) -> Result<&TokenMask, InferError> {
        let set = self.matcher.compute_mask_or_eos().map_err(refused)?;
        self.share.grow(takes(&self.gauge))?;
        self.mask = TokenMask::from_words(set.as_slice(), self.vocab);
        Ok(&self.mask)
    }

    fn accept(&mut self, token: u32) -> Result<(), InferError> {
        self.matcher.consume_token(token).map_err(refused)
    }

    fn done(&mut self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    fn fits(&mut self, token: u32, room: usize) -> bool {
        let bytes = self.env.tok_trie().token(token);
        let scarce = room <= ALWAYS_LOOK;
        if !scarce && !bytes.iter().any(|b| OPENERS.contains(b)) {
            return true;
        }
        let quotes = bytes.contains(&b'"');
        let mut matcher = self.matcher.clone();
        let within = |matcher: &mut Matcher| self.in_string.is_some_and(|t| may(matcher, t));
        let was_within = within(&mut matcher);
        if matcher.consume_token(token).is_err() {
            return false;
        }
        // inside of a string nothing opens
        (!scarce && !quotes && was_within && within(&mut matcher)) || self.way(matcher, room).is_some()
    }

    fn ending(&mut self, within: usize) -> Option<Vec<u32>> {
        self.way(self.matcher.clone(), within)
    }
}

impl Grammar {
    /// A way from a state to an end: what closes is taken first, and what was taken already last, so that a part of an address or of a date,
    /// which may be of any length, does not go on for ever.
    fn way(&self, mut matcher: Matcher, within: usize) -> Option<Vec<u32>> {
        let (mut path, mut taken) = (Vec::new(), Vec::new());
        while path.len() <= within {
            if matcher.is_stopped() {
                return (!matcher.is_error()).then_some(path);
            }
            let mut next = forced(&mut matcher);
            if next.is_empty() {
                if matcher.is_accepting().ok()? {
                    return Some(path);
                }
                // a few tokens are asked about one by one: much cheaper than a mask of all
                let inside = usize::from(self.in_string.is_some_and(|t| may(&mut matcher, t)));
                let likely = || self.closers[inside].iter().chain(&self.bytes).copied();
                let new = likely().find(|t| !taken.contains(t) && may(&mut matcher, *t));
                let token = match new.or_else(|| likely().find(|&t| may(&mut matcher, t))) {
                    Some(token) => token,
                    None => {
                        let mask = matcher.compute_mask().ok()?;
                        TokenMask::from_words(mask.as_slice(), self.vocab).tokens().next()?
                    }
                };
                match self.env.tok_trie().token(token) {
                    // another text begins
                    b"\"" => taken.clear(),
                    _ if taken.contains(&token) => {}
                    _ => taken.push(token),
                }
                next.push(token);
            }
            matcher.consume_tokens(&next).ok()?;
            path.extend(next);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte is a token, 256 ends a text.
    fn rule(schema: &str) -> Grammar {
        let tokens = (0..=255u8).map(|b| Some(vec![b])).chain([None]).collect();
        let grammars = Grammars::new(tokens, &[256], |text| text.bytes().map(u32::from).collect()).unwrap();
        grammars.rule(Rule::JsonSchema(schema)).unwrap()
    }

    fn read(rule: &mut Grammar, text: &str) {
        text.bytes().for_each(|b| rule.accept(b.into()).unwrap());
    }

    #[test]
    fn ways_are_short_and_lead_to_an_end() {
        let schema = r#"{"type": "object", "required": ["name", "when", "list"], "additionalProperties": false, "properties": {
            "name": {"type": "string", "minLength": 200}, "when": {"type": "string", "format": "date"},
            "list": {"type": "array", "minItems": 2, "items": {"enum": ["red", "blue"]}}}}"#;
        for (begun, longest) in [("", 270), ("{\"name\": \"a, b", 260), ("{\"name\": \"", 262)] {
            let mut rule = rule(schema);
            read(&mut rule, begun);
            let way = rule.ending(longest).unwrap();
            let text: Vec<u8> = way.iter().map(|&t| t as u8).collect();
            let text = begun.to_string() + std::str::from_utf8(&text).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["list"].as_array().unwrap().len(), 2, "{text}");
            assert_eq!(rule.ending(way.len() - 1), None, "no more tokens than are given");
            way.iter().for_each(|&t| rule.accept(t).unwrap());
            assert!(rule.mask().unwrap().allows(256));
        }
    }

    #[test]
    fn only_what_opens_something_needs_a_look() {
        let mut rule =
            rule(r#"{"type": "array", "items": {"type": "string", "maxLength": 500, "minLength": 100}}"#);
        read(&mut rule, "[\"a");
        assert!(rule.fits(b','.into(), 60), "inside of a string a comma opens nothing");
        read(&mut rule, &("b".repeat(120) + "\""));
        assert!(!rule.fits(b','.into(), 60), "between strings another one follows");
        assert!(rule.fits(b','.into(), 160));
    }
}
