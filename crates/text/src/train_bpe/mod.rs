//! A vocabulary from text: byte-level BPE (Sennrich et al. 2016; bytes: Radford et al. 2019), for Chinese and English alike.
//!
//! ```text
//! texts ─ split ─> words ─ WordCounts ─> each word once, with its count ─ merge ─> merges ─> Tokenizer
//! ```
//!
//! Words are split in the way that llama.cpp names `deepseek-v3`, so that every tool that knows it reads the vocabulary. It
//! keeps Chinese runs, numbers, Latin words and punctuation apart. Chinese has no spaces: a run is a whole clause, and
//! merges would grow into set phrases and whole sentences of the training text, each a token that is hardly seen again. So
//! a Chinese piece ends at [`TrainBpe::longest_han`] bytes: four characters, the length of an idiom.
//!
//! The merges are those of the `tokenizers` crate's trainer (the most frequent pair first; of equals the one of lower ids),
//! and nothing depends on the order of texts, on hashing or on threads.

mod merge;
mod split;
mod words;

use serde_json::{Map, json};

use crate::error::{Result, TextError};
use crate::tokenizer::{HfTokenizerFiles, Tokenizer, char_of, splitting};
pub use words::WordCounts;

/// How words are split, by llama.cpp's name.
const SPLITTING: &str = "deepseek-v3";
/// A byte each, and one merge at least.
const SMALLEST: usize = 257;
/// The largest vocabulary that is trained.
const LARGEST: usize = 1 << 17;

/// How to make a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainBpe {
    /// Tokens, special ones and the 256 bytes among them: the vocabulary ends here, or where no pair is frequent enough.
    pub vocab_size: usize,
    /// Special tokens; they take the first ids. The first of them begins and ends every text.
    pub specials: Vec<String>,
    /// Pairs seen more rarely are not merged.
    pub min_count: u64,
    /// Longest piece in bytes.
    pub longest: usize,
    /// Longest piece in bytes of those that begin with a Chinese or Japanese character, or inside a character.
    pub longest_han: usize,
}

impl Default for TrainBpe {
    fn default() -> Self {
        TrainBpe {
            vocab_size: 8192,
            specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from).to_vec(),
            min_count: 2,
            longest: 32,
            longest_han: 12,
        }
    }
}

impl TrainBpe {
    /// Learns the merges of the counted words. `progress` hears of the tokens made and wanted, now and then, and may break
    /// off by `false`.
    ///
    /// # Errors
    /// Sizes that cannot be; special tokens that are empty or stand twice; [`TextError::Stopped`] where `progress` wanted it.
    pub fn train(
        &self,
        words: WordCounts,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Tokenizer> {
        let wrong =
            |field: &str, problem: String| Err(TextError::Vocabulary { field: field.to_string(), problem });
        let least = SMALLEST + self.specials.len();
        if !(least..=LARGEST).contains(&self.vocab_size) {
            return wrong("vocab_size", format!("{} is not in {least}..{LARGEST}", self.vocab_size));
        }
        let Some(text) = self.specials.first() else {
            return wrong(
                "specials",
                "none: a vocabulary needs one token that begins and ends a text".to_string(),
            );
        };
        for (i, special) in self.specials.iter().enumerate() {
            if special.is_empty() || self.specials.iter().take(i).any(|s| s == special) {
                return wrong("specials", format!("{special:?} is empty or stands there twice"));
            }
        }
        let bytes = byte_ids(self.specials.len());
        let found = merge::merges(words.into_words(), &bytes, self, progress)?;
        self.build(text, &bytes, &found)
    }

    /// The files of a Hugging Face folder, read again: what we hand on is what we have tested.
    fn build(&self, text: &str, bytes: &[u32; 256], merges: &[merge::Merge]) -> Result<Tokenizer> {
        let mut pieces: Vec<String> = self.specials.clone();
        pieces.resize(self.specials.len() + 256, String::new());
        for (byte, &id) in (0..=255u8).zip(bytes) {
            if let Some(piece) = pieces.get_mut(id as usize) {
                *piece = char_of(byte).to_string();
            }
        }
        let mut pairs = Vec::with_capacity(merges.len());
        for m in merges {
            let piece = |id: u32| pieces.get(id as usize).cloned().unwrap_or_default();
            let (left, right) = (piece(m.left), piece(m.right));
            if m.whole as usize == pieces.len() {
                pieces.push(format!("{left}{right}"));
            }
            pairs.push([left, right]);
        }
        let vocab: Map<String, serde_json::Value> =
            pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), json!(id))).collect();
        let special = |(id, content): (usize, &String)| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        };
        let added: Vec<_> = self.specials.iter().enumerate().map(special).collect();
        let pre_tokenizer = splitting(SPLITTING)?;
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": pre_tokenizer, "post_processor": null,
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": pairs,
            },
        });
        let config =
            json!({ "bos_token": text, "eos_token": text, "pad_token": text, "add_bos_token": true });
        Tokenizer::from_hf(HfTokenizerFiles {
            tokenizer: &json.to_string(),
            config: Some(&config.to_string()),
            ..HfTokenizerFiles::default()
        })
    }
}

/// The ids of single bytes: after the special tokens, in the order of the characters that stand for them.
fn byte_ids(first: usize) -> [u32; 256] {
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|&b| char_of(b));
    let mut ids = [0; 256];
    for (rank, byte) in order.into_iter().enumerate() {
        if let Some(id) = ids.get_mut(usize::from(byte)) {
            *id = (first + rank) as u32;
        }
    }
    ids
}
