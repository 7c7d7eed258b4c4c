//! A tokenizer as the files of a Hugging Face folder, whatever it was made from.

use serde_json::{Map, Value, json};

use super::Tokenizer;
use super::model::Model;
use crate::error::{Result, TextError};

/// The files' contents, to be written beside a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: String,
    /// `tokenizer_config.json`.
    pub config: String,
    /// `generation_config.json`: the stop tokens.
    pub generation: String,
}

impl Tokenizer {
    /// The contents of `tokenizer.json`, `tokenizer_config.json` (with `template` as the chat template) and
    /// `generation_config.json`. [`Tokenizer::from_hf`] makes a tokenizer of the same tokens from them, and so does
    /// Hugging Face's `tokenizers`. `context` is the longest sequence that the model takes.
    ///
    /// # Errors
    /// A component that cannot be written as JSON.
    pub fn to_hf(&self, template: Option<&str>, context: usize) -> Result<TokenizerFiles> {
        let part = |value: serde_json::Result<Value>| {
            value.map_err(|e| TextError::Json { file: "tokenizer.json", problem: e.to_string() })
        };
        let model = match &self.model {
            Model::Bpe(bpe) => {
                let (vocab, merges, options) = bpe.parts(|id| self.token(id));
                json!({
                    "type": "BPE",
                    "dropout": null,
                    "unk_token": options.unk.and_then(|id| self.token(id)),
                    "continuing_subword_prefix": null,
                    "end_of_word_suffix": null,
                    "fuse_unk": options.fuse_unk,
                    "byte_fallback": options.byte_fallback,
                    "ignore_merges": options.ignore_merges,
                    "vocab": vocab,
                    "merges": merges,
                })
            }
            Model::Unigram(unigram) => {
                let (vocab, unk, byte_fallback) = unigram.parts();
                json!({ "type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": byte_fallback })
            }
        };
        let added: Vec<Value> = self
            .added_by_id
            .iter()
            .filter_map(|&(_, at)| self.added.get(at))
            .map(|a| {
                json!({
                    "id": a.id, "content": a.content, "single_word": a.single_word, "lstrip": a.lstrip,
                    "rstrip": a.rstrip, "normalized": a.normalized, "special": a.special,
                })
            })
            .collect();
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": part(serde_json::to_value(&self.normalizer))?,
            "pre_tokenizer": part(serde_json::to_value(&self.pre_tokenizer))?,
            "post_processor": self.post_processor(),
            "decoder": part(serde_json::to_value(&self.decoder))?,
            "model": model,
        });
        let names = self.special_names();
        let mut config = Map::new();
        for (key, name) in [
            ("bos_token", names.bos),
            ("eos_token", names.eos),
            ("unk_token", names.unk),
            ("pad_token", names.pad),
        ] {
            config.extend(name.map(|name| (key.to_string(), json!(name))));
        }
        config.extend(template.map(|t| ("chat_template".to_string(), json!(t))));
        for (key, value) in [
            ("add_bos_token", json!(self.roles.add_bos)),
            ("add_eos_token", json!(self.roles.add_eos)),
            ("clean_up_tokenization_spaces", json!(false)),
            ("model_max_length", json!(context)),
            ("tokenizer_class", json!("PreTrainedTokenizerFast")),
        ] {
            config.insert(key.to_string(), value);
        }
        let mut generation = Map::new();
        generation.extend(self.roles.bos.map(|id| ("bos_token_id".to_string(), json!(id))));
        generation.insert("eos_token_id".to_string(), json!(self.stop_ids()));
        generation.extend(self.roles.pad.map(|id| ("pad_token_id".to_string(), json!(id))));
        Ok(TokenizerFiles {
            tokenizer: format!("{json}\n"),
            config: format!("{:#}\n", Value::Object(config)),
            generation: format!("{:#}\n", Value::Object(generation)),
        })
    }

    /// What puts the beginning (and the end) of a sequence around a text.
    fn post_processor(&self) -> Value {
        let role = |id: Option<u32>, on: bool| {
            let id = id.filter(|_| on)?;
            Some((id, self.token(id)?))
        };
        let bos = role(self.roles.bos, self.roles.add_bos);
        let eos = role(self.roles.eos, self.roles.add_eos);
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let special = |s: &Option<(u32, &str)>, n: u32| {
            s.map(|(_, text)| json!({ "SpecialToken": { "id": text, "type_id": n } }))
        };
        let around = |name: &str, n: u32| {
            let own = Some(json!({ "Sequence": { "id": name, "type_id": n } }));
            [special(&bos, n), own, special(&eos, n)].into_iter().flatten().collect::<Vec<_>>()
        };
        let mut tokens = Map::new();
        for (id, text) in [bos, eos].into_iter().flatten() {
            tokens.insert(text.to_string(), json!({ "id": text, "ids": [id], "tokens": [text] }));
        }
        let pair: Vec<Value> = around("A", 0).into_iter().chain(around("B", 1)).collect();
        json!({ "type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": tokens })
    }
}
