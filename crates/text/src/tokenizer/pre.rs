//! How byte-level vocabularies split a text into words, by the names of `tokenizer.ggml.pre`.
//!
//! The name is llama.cpp's; the splitting is that of the model's own `tokenizer.json`. Where both differ (Qwen
//! composes characters, NFC, and llama.cpp does not) the model's own is right: it was trained so.

use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::error::{Result, TextError};

/// cl100k's pattern as Llama 3 uses it: numbers in groups of three.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with combining marks inside words.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// DeepSeek V3's three, one after the other: numbers in groups of three, runs of Chinese or Japanese, and all else.
const DEEPSEEK3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥\u{3040}-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
];

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// GPT-2's pattern.
    Gpt2,
    /// Each digit alone, then GPT-2's pattern.
    DigitsGpt2,
    /// Patterns of its own, one after the other.
    Patterns(&'static [&'static str]),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
struct Row {
    names: &'static [&'static str],
    way: Way,
    nfc: bool,
    /// Words that are pieces are taken whole.
    ignore_merges: bool,
    /// The family's tokenizer puts BOS before every text unless the file says otherwise.
    adds_bos: bool,
}

const TABLE: [Row; 6] = [
    Row {
        names: &["default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo"],
        way: Way::Gpt2,
        nfc: false,
        ignore_merges: false,
        adds_bos: false,
    },
    Row {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        way: Way::DigitsGpt2,
        nfc: false,
        ignore_merges: false,
        adds_bos: false,
    },
    Row {
        names: &["llama-bpe", "llama3", "llama-v3"],
        way: Way::Patterns(&[LLAMA3]),
        nfc: false,
        ignore_merges: true,
        adds_bos: true,
    },
    Row { names: &["qwen2"], way: Way::Patterns(&[QWEN2]), nfc: true, ignore_merges: false, adds_bos: false },
    Row {
        names: &["qwen35"],
        way: Way::Patterns(&[QWEN35]),
        nfc: true,
        ignore_merges: false,
        adds_bos: false,
    },
    Row {
        names: &["deepseek-v3", "hunyuan-dense"],
        way: Way::Patterns(&DEEPSEEK3),
        nfc: false,
        ignore_merges: false,
        adds_bos: true,
    },
];

/// One name of each row, as llama.cpp has it.
pub(super) const NAMES: [&str; 6] = ["gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "deepseek-v3"];

/// The components for a name of `tokenizer.ggml.pre`.
pub(super) struct Pre {
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    pub(super) ignore_merges: bool,
    pub(super) adds_bos: bool,
}

/// Looks a name up. A file without the key is older than the key and gets GPT-2's pattern, as `transformers` does.
pub(super) fn named(name: Option<&str>) -> Result<Pre> {
    let name = name.unwrap_or("default");
    let row =
        TABLE.iter().find(|row| row.names.contains(&name)).ok_or_else(|| TextError::UnknownPreTokenizer {
            found: name.to_owned(),
            known: TABLE.iter().flat_map(|row| row.names).copied().collect::<Vec<_>>().join(", "),
        })?;
    let gpt2 = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
    let pre_tokenizer = match row.way {
        Way::Gpt2 => gpt2,
        Way::DigitsGpt2 => sequence(vec![PreTokenizerWrapper::Digits(Digits::new(true)), gpt2]),
        Way::Patterns(patterns) => {
            let split = |pattern: &&str| {
                Split::new(
                    SplitPattern::Regex((*pattern).to_owned()),
                    SplitDelimiterBehavior::Isolated,
                    false,
                )
                .map(PreTokenizerWrapper::Split)
                .map_err(|e| TextError::Encode(e.to_string()))
            };
            let mut parts = patterns.iter().map(split).collect::<Result<Vec<_>>>()?;
            parts.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
            sequence(parts)
        }
    };
    Ok(Pre {
        normalizer: row.nfc.then_some(NormalizerWrapper::NFC(NFC)),
        pre_tokenizer,
        ignore_merges: row.ignore_merges,
        adds_bos: row.adds_bos,
    })
}

/// What splits words, by a name of the table.
pub(crate) fn splitting(name: &str) -> Result<PreTokenizerWrapper> {
    Ok(named(Some(name))?.pre_tokenizer)
}

fn sequence(parts: Vec<PreTokenizerWrapper>) -> PreTokenizerWrapper {
    PreTokenizerWrapper::Sequence(Sequence::new(parts))
}
