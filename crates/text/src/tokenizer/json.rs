//! A tokenizer from a Hugging Face folder: `tokenizer.json` and the small files beside it.
//!
//! The chat template is taken in Hugging Face's order: `chat_template` of `tokenizer_config.json` (a string, or the
//! entry named `default` of a list), and above it the file `chat_template.jinja`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;
use tokenizers::{
    DecoderWrapper, Encoding, NormalizerWrapper, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::added::Added;
use super::bpe::{Bpe, BpeOptions};
use super::charsmap;
use super::lookup::Lookup;
use super::model::Model;
use super::unigram::Unigram;
use super::{Parts, Roles, Spelling, TURN_MARKERS, Tokenizer};
use crate::error::{Result, TextError};

const FILE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";

/// The contents of the files of a Hugging Face folder that concern text.
#[derive(Clone, Copy, Debug, Default)]
pub struct HfTokenizerFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a str,
    /// `tokenizer_config.json`: which tokens have roles, whether BOS is added, maybe the template.
    pub config: Option<&'a str>,
    /// `chat_template.jinja`, which goes before the template in the config.
    pub chat_template: Option<&'a str>,
    /// `generation_config.json`: further stop tokens.
    pub generation: Option<&'a str>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    added_tokens: Vec<AddedJson>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Option<PreTokenizerWrapper>,
    #[serde(default)]
    post_processor: Option<PostProcessorWrapper>,
    #[serde(default)]
    decoder: Option<DecoderWrapper>,
    model: ModelJson,
}

#[derive(Deserialize)]
struct AddedJson {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct ModelJson {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<u32>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

/// BPE's vocabulary is an object, Unigram's a list of pieces with scores; what is neither is refused by its model's name.
#[derive(Default)]
struct Vocab {
    ids: HashMap<String, u32>,
    scored: Vec<(String, f64)>,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Map(HashMap<String, u32>),
            Scored(Vec<(String, f64)>),
            Other(serde::de::IgnoredAny),
        }
        Ok(match Either::deserialize(d)? {
            Either::Map(ids) => Vocab { ids, ..Vocab::default() },
            Either::Scored(scored) => Vocab { scored, ..Vocab::default() },
            Either::Other(_) => Vocab::default(),
        })
    }
}

/// Written `"a b"` by older versions and `["a", "b"]` by newer ones.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Pair(String, String),
            Text(String),
        }
        match Either::deserialize(d)? {
            Either::Pair(a, b) => Ok(Merge(a, b)),
            Either::Text(text) => match text.split_once(' ') {
                Some((a, b)) => Ok(Merge(a.to_owned(), b.to_owned())),
                None => Err(D::Error::custom(format!("merge {text:?} has no space between two pieces"))),
            },
        }
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and where they exist `tokenizer_config.json`, `chat_template.jinja` and
    /// `generation_config.json`, of a folder.
    ///
    /// # Errors
    /// As [`Tokenizer::from_hf`], and files that cannot be read.
    pub fn from_dir(dir: &Path) -> Result<Tokenizer> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .map_err(|source| TextError::Io { path: path.display().to_string(), source })
        };
        let optional = |name: &str| match read(name) {
            Err(TextError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        Tokenizer::from_hf(HfTokenizerFiles {
            tokenizer: &read(FILE)?,
            config: optional(CONFIG)?.as_deref(),
            chat_template: optional("chat_template.jinja")?.as_deref(),
            generation: optional(GENERATION)?.as_deref(),
        })
    }

    /// Builds the tokenizer from the files' contents.
    ///
    /// # Errors
    /// Broken JSON; a model other than BPE and Unigram; ids that repeat or leave large gaps; merges whose parts or whole are not
    /// in the vocabulary.
    pub fn from_hf(files: HfTokenizerFiles<'_>) -> Result<Tokenizer> {
        let json: Json = serde_json::from_str(files.tokenizer).map_err(|e| broken(FILE, e.to_string()))?;
        let config = object(CONFIG, files.config)?;
        let generation = object(GENERATION, files.generation)?;
        let Json { added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } = json;
        if let Some(problem) = charsmap::problem(&normalizer) {
            return Err(broken(FILE, problem));
        }
        let normalizer: Option<NormalizerWrapper> =
            serde_json::from_value(normalizer).map_err(|e| broken(FILE, format!("normalizer: {e}")))?;
        let unigram = refuse_unsupported(&model)?;

        let mut added: Vec<Added> = added_tokens.into_iter().map(Added::from).collect();
        let pieces = if unigram {
            scored_pieces(&model.vocab.scored, &added)?
        } else {
            pieces(&model.vocab.ids, &added)?
        };
        let lookup = Lookup::new(&pieces);
        let merges = merges(&model.merges, &pieces, &lookup)?;
        let roles = roles(&config, &mut added, |t| lookup.get(&pieces, t), post_processor.as_ref());
        let mut barred = vec![false; pieces.len()];
        for token in added.iter().filter(|a| a.special || TURN_MARKERS.contains(&a.content.as_str())) {
            if let Some(slot) = barred.get_mut(token.id as usize) {
                *slot = true;
            }
        }
        let spelling = spelling(decoder.as_ref());
        let vocab_size = pieces.len() as u32;
        let model = if unigram {
            let scores: Vec<f64> = model.vocab.scored.iter().map(|(_, score)| *score).collect();
            let unk = model.unk_id;
            if let Some(id) = unk.filter(|&id| id as usize >= scores.len()) {
                return Err(broken(FILE, format!("model.unk_id {id} is beyond {} pieces", scores.len())));
            }
            if unk.is_none() && !model.byte_fallback {
                return Err(broken(
                    FILE,
                    "model.unk_id is missing, and no bytes stand in for what is unknown".into(),
                ));
            }
            if let Some(slot) = unk.and_then(|id| barred.get_mut(id as usize)) {
                *slot = true;
            }
            Model::Unigram(Unigram::new(pieces, lookup, scores, barred, unk, model.byte_fallback))
        } else {
            let options = BpeOptions {
                byte_fallback: model.byte_fallback,
                fuse_unk: model.fuse_unk,
                ignore_merges: model.ignore_merges,
                unk: model.unk_token.as_deref().and_then(|t| lookup.get(&pieces, t)),
            };
            Model::Bpe(Box::new(Bpe::new(pieces, lookup, merges.into_iter(), barred, options)))
        };
        Tokenizer::from_parts(Parts {
            model,
            added,
            normalizer,
            pre_tokenizer,
            decoder,
            spelling,
            roles,
            extra_stops: stops(&generation).filter(|&id| id < vocab_size).collect(),
            chat_template: files.chat_template.map(str::to_owned).or_else(|| template(&config)),
        })
    }
}

impl From<AddedJson> for Added {
    fn from(a: AddedJson) -> Self {
        let AddedJson { id, content, single_word, lstrip, rstrip, normalized, special } = a;
        Added { id, content, special, single_word, lstrip, rstrip, normalized }
    }
}

fn broken(file: &'static str, problem: String) -> TextError {
    TextError::Json { file, problem }
}

fn object(file: &'static str, text: Option<&str>) -> Result<Value> {
    match text.map(serde_json::from_str::<Value>) {
        None => Ok(Value::Null),
        Some(Ok(value)) if value.is_object() => Ok(value),
        Some(Ok(_)) => Err(broken(file, "is not a JSON object".into())),
        Some(Err(e)) => Err(broken(file, e.to_string())),
    }
}

/// Whether it is Unigram; otherwise it is BPE.
fn refuse_unsupported(model: &ModelJson) -> Result<bool> {
    let unigram = match model.kind.as_deref() {
        None | Some("BPE") => false,
        Some("Unigram") => true,
        Some(other) => {
            return Err(TextError::UnknownModel { found: other.to_owned(), known: "BPE, Unigram" });
        }
    };
    let set = |s: &Option<String>| s.as_deref().is_some_and(|s| !s.is_empty());
    for (field, used) in [
        ("continuing_subword_prefix", set(&model.continuing_subword_prefix)),
        ("end_of_word_suffix", set(&model.end_of_word_suffix)),
        ("dropout", model.dropout.is_some_and(|p| p != 0.0)),
    ] {
        if used {
            return Err(broken(FILE, format!("model.{field} is set, which is not supported")));
        }
    }
    if let Some((piece, score)) = model.vocab.scored.iter().find(|(_, score)| !score.is_finite()) {
        return Err(broken(FILE, format!("model.vocab: the score of {piece:?} is {score}")));
    }
    Ok(unigram)
}

/// Longest piece of Unigram in bytes: SentencePiece makes them of at most 16 characters, and from each place of a text pieces are
/// looked for so far.
const LONGEST_PIECE: usize = 256;

/// Pieces of Unigram by their place in the list, and behind them tokens that were added.
fn scored_pieces(vocab: &[(String, f64)], added: &[Added]) -> Result<Vec<String>> {
    if let Some((piece, _)) = vocab.iter().find(|(piece, _)| piece.len() > LONGEST_PIECE) {
        return Err(broken(
            FILE,
            format!("model.vocab: a piece of {} bytes, at most {LONGEST_PIECE} are taken", piece.len()),
        ));
    }
    let behind = added.iter().map(|a| a.id as usize + 1).max().unwrap_or(0);
    if vocab.is_empty() || behind > (vocab.len() + added.len()) * 4 + (1 << 16) {
        return Err(broken(FILE, format!("{} scored pieces and ids below {behind}", vocab.len())));
    }
    let mut pieces: Vec<String> = vocab.iter().map(|(piece, _)| piece.clone()).collect();
    pieces.resize(pieces.len().max(behind), String::new());
    for token in added.iter().filter(|a| a.id as usize >= vocab.len()) {
        if let Some(slot) = pieces.get_mut(token.id as usize) {
            token.content.clone_into(slot);
        }
    }
    Ok(pieces)
}

/// Pieces by id. Ids may have gaps (embedding rows without a token), but not so many that the list would explode.
fn pieces(vocab: &HashMap<String, u32>, added: &[Added]) -> Result<Vec<String>> {
    let count = vocab.len() + added.len();
    let top = vocab.values().copied().chain(added.iter().map(|a| a.id)).max().unwrap_or(0) as usize;
    if count == 0 || top > count * 4 + (1 << 16) {
        return Err(broken(FILE, format!("{count} tokens with ids up to {top}")));
    }
    let mut pieces = vec![String::new(); top + 1];
    let in_vocab = vocab.iter().map(|(piece, &id)| (piece, id));
    for (piece, id) in added.iter().map(|a| (&a.content, a.id)).chain(in_vocab) {
        let Some(slot) = pieces.get_mut(id as usize) else { continue };
        if !slot.is_empty() && slot != piece {
            // An added token may rename a piece; two pieces of the vocabulary must not share an id.
            if !added.iter().any(|a| a.id == id) {
                return Err(broken(FILE, format!("id {id} belongs to both {slot:?} and {piece:?}")));
            }
        }
        piece.clone_into(slot);
    }
    Ok(pieces)
}

fn merges(list: &[Merge], pieces: &[String], lookup: &Lookup) -> Result<Vec<(u32, u32, u32)>> {
    let mut joined = String::new();
    list.iter()
        .enumerate()
        .map(|(rank, Merge(left, right))| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let id = |piece: &str| {
                lookup.get(pieces, piece).ok_or_else(|| {
                    broken(
                        FILE,
                        format!("model.merges entry {rank} ({left:?}, {right:?}): {piece:?} is not a token"),
                    )
                })
            };
            Ok((id(left)?, id(right)?, id(&joined)?))
        })
        .collect()
}

/// Which tokens have roles. Such a token is special even if `added_tokens` does not say so.
fn roles(
    config: &Value,
    added: &mut Vec<Added>,
    id_of: impl Fn(&str) -> Option<u32>,
    post_processor: Option<&PostProcessorWrapper>,
) -> Roles {
    let mut role = |key: &str| -> Option<u32> {
        let entry = config.get(key)?;
        let text = entry.as_str().or_else(|| entry.get("content")?.as_str())?;
        if let Some(token) = added.iter_mut().find(|a| a.content == text) {
            token.special = true;
            return Some(token.id);
        }
        let id = id_of(text)?;
        added.push(Added::plain(id, text, true));
        Some(id)
    };
    let (mut bos, eos) = (role("bos_token"), role("eos_token"));
    let (unk, pad) = (role("unk_token"), role("pad_token"));
    // What the post-processor writes around nothing is what it writes around every text.
    let around = post_processor
        .and_then(|p| p.process(Encoding::default(), None, true).ok())
        .map(|e| e.get_ids().to_vec())
        .unwrap_or_default();
    let first = around.first().copied().filter(|&id| Some(id) != eos || Some(id) == bos);
    bos = bos.or(first);
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    Roles {
        bos,
        eos,
        unk,
        pad,
        eot: None,
        eom: None,
        add_bos: flag("add_bos_token").unwrap_or(first.is_some() && first == bos),
        add_eos: flag("add_eos_token").unwrap_or(eos.is_some() && around.last().copied() == eos),
    }
}

/// `eos_token_id` is one id or a list.
fn stops(generation: &Value) -> impl Iterator<Item = u32> {
    let ids: Vec<u32> = match generation.get("eos_token_id") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(one) => one.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    };
    ids.into_iter()
}

fn template(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let named = |t: &&Value| t.get("name").and_then(Value::as_str) == Some("default");
            Some(list.iter().find(named)?.get("template")?.as_str()?.to_owned())
        }
        _ => None,
    }
}

/// How pieces spell bytes: the decoder says so. Without one they are taken as SentencePiece's.
fn spelling(decoder: Option<&DecoderWrapper>) -> Spelling {
    let parts: &[DecoderWrapper] = match decoder {
        Some(DecoderWrapper::Sequence(s)) => s.get_decoders(),
        Some(one) => std::slice::from_ref(one),
        None => return Spelling::SentencePiece,
    };
    if parts.iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_))) {
        Spelling::ByteLevel
    } else if matches!(parts, [DecoderWrapper::Metaspace(_)]) {
        Spelling::Words
    } else {
        Spelling::SentencePiece
    }
}
