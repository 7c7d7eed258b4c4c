//! From text to token ids and back.
//!
//! The pipeline is Hugging Face's: added tokens are cut out first, the rest is normalized, split into words by the
//! pre-tokenizer, and each word is merged by [BPE](https://arxiv.org/abs/1508.07909) or cut by Unigram. Normalizers, pre-tokenizers
//! and decoders are those of the `tokenizers` crate; [`bpe`] and [`unigram`] are written here, where no text becomes a special token.
//! Two sources make one: the keys of a GGUF file ([`gguf`]) and a Hugging Face folder ([`json`]).
//!
//! Left out on purpose: WordPiece models, truncation, padding. Vocabularies are made in `train_bpe`.

mod added;
mod bpe;
mod bytes;
mod charsmap;
mod gguf;
mod hash;
mod json;
mod lookup;
mod merges;
mod model;
mod pre;
mod save;
mod specials;
mod stream;
mod to_gguf;
mod unigram;

use std::ops::Range;

use tokenizers::normalizer::Range as At;
use tokenizers::{
    Decoder, DecoderWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetType, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, Token,
};

use crate::error::{Result, TextError};
use added::{Added, Hit, Matcher};
use model::Model;

pub(crate) use bytes::char_of;
pub use gguf::GgufTokenizerKeys;
pub(crate) use hash::Seed;
pub use json::HfTokenizerFiles;
pub(crate) use pre::splitting;
pub use save::TokenizerFiles;
pub(crate) use specials::Specials;
pub use stream::StreamDecoder;
pub use to_gguf::GgufVocabulary;

/// Special tokens that end an assistant's turn in the common templates. Where the vocabulary has one as a special
/// token, generation stops at it.
const END_OF_TURN: [&str; 14] = [
    "<|im_end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
];

/// Turn markers that are special whatever the file says: some converters write them as ordinary user-defined tokens,
/// and then a user's text could open a turn.
const TURN_MARKERS: [&str; 8] = [
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
];

/// The texts of the tokens that chat templates ask for by role (`bos_token`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialNames {
    /// Beginning of sequence.
    pub bos: Option<String>,
    /// End of sequence.
    pub eos: Option<String>,
    /// Unknown.
    pub unk: Option<String>,
    /// Padding.
    pub pad: Option<String>,
}

/// The ids of the tokens with a role.
#[derive(Clone, Copy, Debug, Default)]
struct Roles {
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    pad: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

/// A token and the bytes of the text it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each token its byte range in the text. Tokens that are parts of one character carry that whole
    /// character's range; ranges never run backwards.
    pub offsets: Vec<Range<usize>>,
}

/// How pieces spell bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// Every byte is one character of GPT-2's alphabet.
    ByteLevel,
    /// `▁` is a space, `<0xNN>` a byte, all else itself.
    SentencePiece,
    /// `▁` is a space, all else itself: no bytes stand in.
    Words,
}

/// What a loader hands over.
struct Parts {
    model: Model,
    added: Vec<Added>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    decoder: Option<DecoderWrapper>,
    spelling: Spelling,
    roles: Roles,
    extra_stops: Vec<u32>,
    chat_template: Option<String>,
}

/// A tokenizer: immutable, to be shared by threads.
pub struct Tokenizer {
    model: Model,
    added: Vec<Added>,
    /// Ids of added tokens to their index, in order of id.
    added_by_id: Vec<(u32, usize)>,
    raw: Matcher,
    normalized: Matcher,
    specials: Specials,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    decoder: Option<DecoderWrapper>,
    spelling: Spelling,
    roles: Roles,
    stops: Vec<u32>,
    chat_template: Option<String>,
    vocab_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("spelling", &self.spelling)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    fn from_parts(parts: Parts) -> Result<Self> {
        let Parts {
            model,
            mut added,
            normalizer,
            pre_tokenizer,
            decoder,
            spelling,
            roles,
            extra_stops,
            chat_template,
        } = parts;
        for token in &mut added {
            token.special |= TURN_MARKERS.contains(&token.content.as_str());
        }
        let normal_form = |text: &str| -> Result<String> {
            let mut s = NormalizedString::from(text);
            if let Some(n) = &normalizer {
                n.normalize(&mut s).map_err(encode_error)?;
            }
            Ok(s.get().to_owned())
        };
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        for (index, token) in added.iter().enumerate() {
            if token.normalized {
                normalized.push((normal_form(&token.content)?, index));
            } else {
                raw.push((token.content.clone(), index));
            }
        }
        let mut added_by_id: Vec<(u32, usize)> = added.iter().enumerate().map(|(i, a)| (a.id, i)).collect();
        added_by_id.sort_unstable();
        let vocab_size = model.pieces().len().max(added_by_id.last().map_or(0, |&(id, _)| id as usize + 1));
        let mut stops: Vec<u32> =
            [roles.eos, roles.eot, roles.eom].into_iter().flatten().chain(extra_stops).collect();
        let is_end = |a: &&Added| a.special && END_OF_TURN.contains(&a.content.as_str());
        stops.extend(added.iter().filter(is_end).map(|a| a.id));
        stops.sort_unstable();
        stops.dedup();
        Ok(Tokenizer {
            raw: Matcher::new(raw.into_iter()),
            normalized: Matcher::new(normalized.into_iter()),
            specials: Specials::new(&added),
            model,
            added,
            added_by_id,
            normalizer,
            pre_tokenizer,
            decoder,
            spelling,
            roles,
            stops,
            chat_template,
            vocab_size,
        })
    }

    /// Token ids of `text`; no beginning-of-sequence token is added (see [`Tokenizer::bos`]).
    ///
    /// With `parse_special` the texts of special tokens (`<|im_end|>`) become those tokens, as Hugging Face's
    /// tokenizers do by default. Without it they stay ordinary text, and no text whatsoever yields a special token:
    /// this is how anything a user wrote must be encoded (Hugging Face's `split_special_tokens=True`).
    ///
    /// Bytes for which a vocabulary has neither piece nor unknown token vanish, as they do in Hugging Face's
    /// tokenizers (SmolLM2 lacks a few control bytes and bytes of unassigned planes).
    ///
    /// # Errors
    /// Only if a component that came with the file fails.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        let encoding = self.run(text, OffsetType::None, |_, _| parse_special)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with each token's place in the text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str, parse_special: bool) -> Result<Encoded> {
        self.encode_guarded(text, |_| parse_special)
    }

    /// Encodes with special tokens only where `allow` (byte range of the match) says so.
    pub(crate) fn encode_guarded(&self, text: &str, allow: impl Fn(Range<usize>) -> bool) -> Result<Encoded> {
        let encoding = self.run(text, OffsetType::Byte, |_, range| allow(range))?;
        let ids = encoding.get_ids().to_vec();
        let offsets =
            encoding.get_offsets().iter().map(|&(a, b)| a.min(text.len())..b.clamp(a, text.len())).collect();
        Ok(Encoded { ids, offsets })
    }

    fn run(
        &self,
        text: &str,
        offsets: OffsetType,
        allow_special: impl Fn(&Added, Range<usize>) -> bool,
    ) -> Result<tokenizers::Encoding> {
        let allow = |token: &Added, range: Range<usize>| !token.special || allow_special(token, range);
        let mut string = PreTokenizedString::from(text);
        string
            .split(|_, whole| Ok(self.cut(&whole, &self.raw.find(text, &self.added, allow))))
            .map_err(encode_error)?;
        string
            .split(|_, mut part| {
                let from = part.offsets_original().0;
                if let Some(normalizer) = &self.normalizer {
                    normalizer.normalize(&mut part)?;
                }
                let hits = self.normalized.find(part.get(), &self.added, |token, range| {
                    let original = part.convert_offsets(At::Normalized(range)).unwrap_or(0..0);
                    allow(token, from + original.start..from + original.end)
                });
                Ok(self.cut(&part, &hits))
            })
            .map_err(encode_error)?;
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut string).map_err(encode_error)?;
        }
        string
            .tokenize(|word| {
                let pieces = self.model.encode(word.get());
                Ok(pieces.iter().map(|p| Token::new(p.id, String::new(), (p.start, p.end))).collect())
            })
            .map_err(encode_error)?;
        string.into_encoding(None, 0, offsets).map_err(encode_error)
    }

    /// Cuts a string at the hits; the parts between stay to be tokenized.
    fn cut(&self, part: &NormalizedString, hits: &[Hit]) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        if hits.is_empty() {
            return vec![(part.clone(), None)];
        }
        let mut parts = Vec::with_capacity(hits.len() * 2 + 1);
        let mut at = 0;
        for hit in hits {
            if at < hit.start {
                parts.extend(part.slice(At::Normalized(at..hit.start)).map(|p| (p, None)));
            }
            if let (Some(p), Some(token)) =
                (part.slice(At::Normalized(hit.start..hit.end)), self.added.get(hit.index))
            {
                parts.push((p, Some(vec![Token::new(token.id, String::new(), (0, hit.end - hit.start))])));
            }
            at = hit.end;
        }
        if at < part.get().len() {
            parts.extend(part.slice(At::Normalized(at..part.get().len())).map(|p| (p, None)));
        }
        parts
    }

    /// The text of the ids, special tokens spelt out, broken UTF-8 replaced by U+FFFD; ids beyond the vocabulary are
    /// left out. Equal to Hugging Face's `decode(ids, clean_up_tokenization_spaces=False)`.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_where(ids, |_| true)
    }

    /// As [`Tokenizer::decode`] without the special tokens (Hugging Face's `skip_special_tokens=True`).
    pub fn decode_plain(&self, ids: &[u32]) -> String {
        self.decode_where(ids, |id| !self.is_special(id))
    }

    fn decode_where(&self, ids: &[u32], keep: impl Fn(u32) -> bool) -> String {
        let tokens: Vec<String> =
            ids.iter().filter(|&&id| keep(id)).filter_map(|&id| self.token(id)).map(str::to_owned).collect();
        match &self.decoder {
            // The decoders in use cannot fail on strings; a foreign one that does leaves the pieces as they are.
            Some(decoder) => decoder.decode(tokens.clone()).unwrap_or_else(|_| tokens.concat()),
            None => tokens.join(" "),
        }
    }

    /// The piece as the vocabulary spells it (`Ġthe`, `▁the`, `<0x0A>`).
    pub fn token(&self, id: u32) -> Option<&str> {
        match self.added_token(id) {
            Some(token) => Some(&token.content),
            None => self.model.pieces().get(id as usize).map(String::as_str),
        }
    }

    /// The raw bytes a token stands for; they need not be UTF-8 by themselves.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if let Some(token) = self.added_token(id) {
            return Some(token.content.as_bytes().to_vec());
        }
        let piece = self.model.pieces().get(id as usize)?;
        Some(match self.spelling {
            Spelling::ByteLevel => bytes::byte_level(piece),
            Spelling::SentencePiece => bytes::sentence_piece(piece),
            Spelling::Words => piece.replace('▁', " ").into_bytes(),
        })
    }

    /// The id of a piece spelt as in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.added.iter().find(|a| a.content == token).map(|a| a.id).or_else(|| self.model.id(token))
    }

    fn added_token(&self, id: u32) -> Option<&Added> {
        let at = self.added_by_id.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.added.get(self.added_by_id.get(at)?.1)
    }

    /// The beginning-of-sequence token, if this vocabulary wants one before every text.
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos.filter(|_| self.roles.add_bos)
    }

    /// The end-of-sequence token, whether or not the vocabulary wants it appended.
    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// Whether the vocabulary wants the end-of-sequence token after every text (rare: encoder models).
    pub fn adds_eos(&self) -> bool {
        self.roles.add_eos
    }

    /// The padding token.
    pub fn pad(&self) -> Option<u32> {
        self.roles.pad
    }

    /// Number of ids: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether the id is a special token: one that no user's text may become.
    pub fn is_special(&self, id: u32) -> bool {
        self.added_token(id).is_some_and(|a| a.special)
    }

    /// The tokens at which generation stops, in order of id: end of sequence, of turn, of message, and the known
    /// end-of-turn markers that the vocabulary has as special tokens.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stops
    }

    /// The texts of the tokens that templates ask for.
    pub fn special_names(&self) -> SpecialNames {
        let name = |id: Option<u32>| id.and_then(|id| self.token(id)).map(str::to_owned);
        let Roles { bos, eos, unk, pad, .. } = self.roles;
        SpecialNames { bos: name(bos), eos: name(eos), unk: name(unk), pad: name(pad) }
    }

    /// The chat template that came with the vocabulary.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The special tokens' texts, to keep messages clear of them.
    pub(crate) fn specials(&self) -> &Specials {
        &self.specials
    }
}

fn encode_error(e: tokenizers::Error) -> TextError {
    TextError::Encode(e.to_string())
}
