//! A tokenizer as the keys of a GGUF file, whatever it was made from.

use tokenizers::PreTokenizerWrapper;

use super::model::Model;
use super::{Spelling, Tokenizer, pre};
use crate::error::{Result, TextError};

/// The `tokenizer.ggml.*` keys; lists are by token id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufVocabulary {
    /// `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: &'static str,
    /// How words are split, by llama.cpp's name.
    pub pre: &'static str,
    /// Texts of all ids.
    pub tokens: Vec<String>,
    /// Kinds of all ids: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Vec<i32>,
    /// Of a SentencePiece vocabulary: the earlier two pieces merge, the higher.
    pub scores: Option<Vec<f32>>,
    /// Of a byte-level vocabulary: pairs of pieces with a space between.
    pub merges: Option<Vec<String>>,
    /// Roles by the key's ending (`bos_token_id`, ...).
    pub ids: Vec<(&'static str, u32)>,
    /// Whether the beginning-of-sequence token stands before every text.
    pub add_bos: bool,
    /// Whether the end-of-sequence token stands after every text.
    pub add_eos: bool,
    /// Of a SentencePiece vocabulary: whether a space goes before the text.
    pub add_space_prefix: Option<bool>,
}

/// End-of-turn markers, the first that the vocabulary has becomes `eot_token_id`.
const END_OF_TURN: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

impl Tokenizer {
    /// The keys of a GGUF file for a network whose embedding has `rows` rows (tokens that the vocabulary lacks are
    /// named as unused). [`Tokenizer::from_gguf`] makes a tokenizer of the same tokens from them, and so does llama.cpp.
    ///
    /// # Errors
    /// A way of splitting words that GGUF has no name for.
    pub fn to_gguf(&self, rows: usize) -> Result<GgufVocabulary> {
        let n = rows.max(self.vocab_size());
        let sentence_piece = self.spelling == Spelling::SentencePiece;
        let (mut tokens, mut types) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for id in 0..n as u32 {
            let added = self.added_token(id);
            let kind = match (self.token(id), added) {
                (None, _) => 5,
                (Some(_), Some(a)) if a.special => 3,
                (Some(_), _) if self.roles.unk == Some(id) => 2,
                (Some(_), Some(_)) => 4,
                (Some(t), None) if sentence_piece && is_byte(t) => 6,
                (Some(_), None) => 1,
            };
            let text = self.token(id).map_or_else(|| format!("[PAD{id}]"), str::to_owned);
            // runs of spaces stand as spaces where they are matched whole
            tokens.push(if kind == 4 && sentence_piece { text.replace('▁', " ") } else { text });
            types.push(kind);
        }
        let Model::Bpe(bpe) = &self.model else {
            return Err(TextError::UnknownModel { found: "Unigram".into(), known: "BPE in GGUF files" });
        };
        let (_, merges, _) = bpe.parts(|id| self.token(id));
        let scores = sentence_piece.then(|| {
            let mut scores = vec![0f32; n];
            for (rank, [a, b]) in merges.iter().enumerate().rev() {
                if let Some(slot) =
                    self.model.id(&format!("{a}{b}")).and_then(|id| scores.get_mut(id as usize))
                {
                    *slot = -(rank as f32) - 1.0;
                }
            }
            scores
        });
        let roles = self.roles;
        let turn = |id: &u32| self.is_special(*id);
        let eot = roles.eot.or_else(|| END_OF_TURN.iter().find_map(|t| self.id(t).filter(turn)));
        let ids = [
            ("bos_token_id", roles.bos),
            ("eos_token_id", roles.eos),
            ("unknown_token_id", roles.unk),
            ("padding_token_id", roles.pad),
            ("eot_token_id", eot),
            ("eom_token_id", roles.eom),
        ];
        Ok(GgufVocabulary {
            model: if sentence_piece { "llama" } else { "gpt2" },
            pre: if sentence_piece { "default" } else { self.pre_name()? },
            tokens,
            types,
            scores,
            merges: (!sentence_piece).then(|| merges.iter().map(|[a, b]| format!("{a} {b}")).collect()),
            ids: ids.into_iter().filter_map(|(key, id)| Some((key, id?))).collect(),
            add_bos: roles.add_bos,
            add_eos: roles.add_eos,
            add_space_prefix: sentence_piece.then(|| self.prepends()),
        })
    }

    /// The name of the row whose components do what this tokenizer's do.
    fn pre_name(&self) -> Result<&'static str> {
        let own = outline(self.pre_tokenizer.as_ref());
        for name in pre::NAMES {
            if outline(Some(&pre::named(Some(name))?.pre_tokenizer)) == own {
                return Ok(name);
            }
        }
        Err(TextError::UnknownPreTokenizer { found: own, known: pre::NAMES.join(", ") })
    }

    fn prepends(&self) -> bool {
        let text = |v: serde_json::Result<String>| v.unwrap_or_default();
        let normalizer = text(serde_json::to_string(&self.normalizer));
        let pre = text(serde_json::to_string(&self.pre_tokenizer));
        normalizer.contains("\"Prepend\"")
            || pre.contains("\"prepend_scheme\":\"first\"")
            || pre.contains("\"prepend_scheme\":\"always\"")
    }
}

fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// What splits words, as text, without what does not change the words.
fn outline(pre: Option<&PreTokenizerWrapper>) -> String {
    let mut value = serde_json::to_value(pre).unwrap_or_default();
    fn strip(v: &mut serde_json::Value) {
        match v {
            serde_json::Value::Object(o) => {
                o.remove("trim_offsets");
                o.values_mut().for_each(strip);
            }
            serde_json::Value::Array(a) => a.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value.to_string()
}
