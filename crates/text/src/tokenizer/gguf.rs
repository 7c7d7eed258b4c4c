//! A tokenizer from the keys of a GGUF file.
//!
//! The [GGUF specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) names the keys; what they mean
//! for the tokens is settled by the model's original tokenizer, which this rebuilds.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as NormalizerSequence;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{DecoderWrapper, NormalizerWrapper};

use super::added::Added;
use super::bpe::{Bpe, BpeOptions};
use super::lookup::Lookup;
use super::model::Model;
use super::{Parts, Roles, Spelling, TURN_MARKERS, Tokenizer, bytes, merges, pre};
use crate::error::{Result, TextError};

/// `tokenizer.ggml.token_type`.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const NORMAL: i32 = 1;

/// The `tokenizer.*` keys of a GGUF file as plain data. Lists are by token id.
#[derive(Clone, Debug, Default)]
pub struct GgufTokenizerKeys<'a> {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: how a byte-level vocabulary splits words.
    pub pre: Option<&'a str>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: &'a [String],
    /// `tokenizer.ggml.scores`.
    pub scores: Option<&'a [f32]>,
    /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Option<&'a [i32]>,
    /// `tokenizer.ggml.merges`: two pieces with a space between.
    pub merges: Option<&'a [String]>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<&'a str>,
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// SentencePiece vocabularies with a space prefix get it before the text and again after every special token, as
    /// Llama 2's own `tokenizer.json` and llama.cpp have it.
    ///
    /// # Errors
    /// Unknown model or pre-tokenizer names; lists of different lengths; ids outside the vocabulary; merges whose
    /// parts or whole are not in the vocabulary.
    pub fn from_gguf(keys: &GgufTokenizerKeys<'_>) -> Result<Tokenizer> {
        check(keys)?;
        match keys.model {
            "gpt2" => byte_level(keys),
            "llama" => sentence_piece(keys),
            other => Err(TextError::UnknownModel { found: other.to_owned(), known: "gpt2, llama" }),
        }
    }
}

fn wrong(field: &str, problem: String) -> TextError {
    TextError::Vocabulary { field: format!("tokenizer.ggml.{field}"), problem }
}

/// Lists of one length, ids in range.
fn check(keys: &GgufTokenizerKeys<'_>) -> Result<()> {
    let n = keys.tokens.len();
    if n == 0 || n > i32::MAX as usize {
        return Err(wrong("tokens", format!("has {n} entries")));
    }
    for (field, len) in
        [("scores", keys.scores.map(<[_]>::len)), ("token_type", keys.token_types.map(<[_]>::len))]
    {
        if let Some(len) = len.filter(|&len| len != n) {
            return Err(wrong(field, format!("has {len} entries, but there are {n} tokens")));
        }
    }
    let ids = [
        ("bos_token_id", keys.bos),
        ("eos_token_id", keys.eos),
        ("unknown_token_id", keys.unk),
        ("padding_token_id", keys.pad),
        ("eot_token_id", keys.eot),
        ("eom_token_id", keys.eom),
    ];
    for (field, id) in ids {
        if let Some(id) = id.filter(|&id| id as usize >= n) {
            return Err(wrong(field, format!("is {id}, but there are {n} tokens")));
        }
    }
    Ok(())
}

fn roles(keys: &GgufTokenizerKeys<'_>, adds_bos: bool) -> Roles {
    Roles {
        bos: keys.bos,
        eos: keys.eos,
        unk: keys.unk,
        pad: keys.pad,
        eot: keys.eot,
        eom: keys.eom,
        add_bos: keys.add_bos.unwrap_or(adds_bos),
        add_eos: keys.add_eos.unwrap_or(false),
    }
}

/// Control tokens are special; user-defined ones are matched whole but are text. `spelt` tells whether the vocabulary
/// still spells a user-defined token as the text has it.
fn added(keys: &GgufTokenizerKeys<'_>, spelt: impl Fn(&str) -> bool) -> Vec<Added> {
    let types = keys.token_types.unwrap_or_default();
    let mut added = Vec::new();
    for ((token, kind), id) in keys.tokens.iter().zip(types).zip(0u32..) {
        let marker = TURN_MARKERS.contains(&token.as_str());
        if *kind == CONTROL || marker {
            added.push(Added::plain(id, token, true));
        } else if *kind == USER_DEFINED && spelt(token) {
            added.push(Added::plain(id, token, false));
        }
    }
    added
}

fn barred(count: usize, added: &[Added]) -> Vec<bool> {
    let mut barred = vec![false; count];
    for token in added.iter().filter(|a| a.special) {
        if let Some(slot) = barred.get_mut(token.id as usize) {
            *slot = true;
        }
    }
    barred
}

/// Merges as ids. Each must have its parts and its whole in the vocabulary.
fn listed_merges(list: &[String], pieces: &[String], lookup: &Lookup) -> Result<Vec<(u32, u32, u32)>> {
    let mut merges = Vec::with_capacity(list.len());
    let mut joined = String::new();
    for (rank, merge) in list.iter().enumerate() {
        let bad = |problem: String| wrong("merges", format!("entry {rank}, {merge:?}: {problem}"));
        let (left, right) = merge.split_once(' ').ok_or_else(|| bad("no space between two pieces".into()))?;
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let id =
            |piece: &str| lookup.get(pieces, piece).ok_or_else(|| bad(format!("{piece:?} is not a token")));
        merges.push((id(left)?, id(right)?, id(&joined)?));
    }
    Ok(merges)
}

fn byte_level(keys: &GgufTokenizerKeys<'_>) -> Result<Tokenizer> {
    let pre = pre::named(keys.pre)?;
    let added = added(keys, |_| true);
    let barred = barred(keys.tokens.len(), &added);
    // A piece spelt with a character outside the byte alphabet could never be found; such pieces are respelt.
    let respell = |token: &String| {
        if token.chars().all(|c| bytes::byte_of(c).is_some()) {
            token.clone()
        } else {
            token.bytes().map(bytes::char_of).collect()
        }
    };
    let pieces: Vec<String> = keys.tokens.iter().map(respell).collect();
    let lookup = Lookup::new(&pieces);
    let list = keys.merges.ok_or_else(|| wrong("merges", "is missing; a gpt2 vocabulary needs it".into()))?;
    let merges = listed_merges(list, &pieces, &lookup)?;
    let options = BpeOptions { ignore_merges: pre.ignore_merges, ..BpeOptions::default() };
    Tokenizer::from_parts(Parts {
        model: Model::Bpe(Box::new(Bpe::new(pieces, lookup, merges.into_iter(), barred, options))),
        added,
        normalizer: pre.normalizer,
        pre_tokenizer: Some(pre.pre_tokenizer),
        decoder: Some(DecoderWrapper::ByteLevel(ByteLevel::new(true, true, true))),
        spelling: Spelling::ByteLevel,
        roles: roles(keys, pre.adds_bos),
        extra_stops: Vec::new(),
        chat_template: keys.chat_template.map(str::to_owned),
    })
}

fn sentence_piece(keys: &GgufTokenizerKeys<'_>) -> Result<Tokenizer> {
    // Gemma's runs of spaces stand in the file as spaces; in the normalized text they are ▁.
    let is_spaces = |t: &str| t.contains(' ') && t.trim().is_empty();
    let respell = |t: &String| if is_spaces(t) { "▁".repeat(t.chars().count()) } else { t.clone() };
    let pieces: Vec<String> = keys.tokens.iter().map(respell).collect();
    let added = added(keys, |t| !is_spaces(t));
    let barred = barred(pieces.len(), &added);
    let lookup = Lookup::new(&pieces);
    let merges = match keys.merges {
        Some(list) => listed_merges(list, &pieces, &lookup)?,
        None => {
            let types = keys.token_types.unwrap_or_default();
            merges::derive(&pieces, &lookup, keys.scores, |id| types.get(id).is_none_or(|&t| t == NORMAL))
        }
    };
    let options = BpeOptions { byte_fallback: true, fuse_unk: true, ignore_merges: false, unk: keys.unk };
    let prefix = keys.add_space_prefix.unwrap_or(true);
    let replace = |from: &str, to: &str| Replace::new(from, to).map_err(|e| TextError::Encode(e.to_string()));
    let spaces = NormalizerWrapper::Replace(replace(" ", "▁")?);
    let normalizer = if prefix {
        let prepend = NormalizerWrapper::Prepend(Prepend::new("▁".into()));
        NormalizerWrapper::Sequence(NormalizerSequence::new(vec![prepend, spaces]))
    } else {
        spaces
    };
    let mut decoders = vec![
        DecoderWrapper::Replace(replace("▁", " ")?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ];
    if prefix {
        decoders.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    Tokenizer::from_parts(Parts {
        model: Model::Bpe(Box::new(Bpe::new(pieces, lookup, merges.into_iter(), barred, options))),
        added,
        normalizer: Some(normalizer),
        pre_tokenizer: None,
        decoder: Some(DecoderWrapper::Sequence(DecoderSequence::new(decoders))),
        spelling: Spelling::SentencePiece,
        roles: roles(keys, true),
        extra_stops: Vec::new(),
        chat_template: keys.chat_template.map(str::to_owned),
    })
}
