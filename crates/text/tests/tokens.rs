//! Token for token equal to Hugging Face: 12,000 strings and 3,000 lists of ids, by hashes of a hundred each.

mod common;

use common::strings::{hashes, id_bytes, id_lists, strings};
use common::{gguf, golden, golden_json, model};
use nurture_text::{GgufTokenizerKeys, HfTokenizerFiles, StreamDecoder, TextError, Tokenizer};
use serde_json::Value;

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

/// Compares one vocabulary with what was recorded under its name.
fn check(tokenizer: &Tokenizer, name: &str) {
    let golden = golden_json("tokens.json");
    let number = |key: &str| golden[key].as_u64().unwrap() as usize;
    let (block, record) = (number("block"), &golden[name]);
    let texts = strings(number("strings"));
    assert_eq!(golden["samples"], serde_json::json!(texts[..3]), "the two generators of strings differ");

    let encode = |special: bool| -> Vec<Vec<u32>> {
        texts.iter().map(|t| tokenizer.encode(t, special).unwrap()).collect()
    };
    let parsed = encode(true);
    for case in record["full"].as_array().into_iter().flatten() {
        let i = case[0].as_u64().unwrap() as usize;
        assert_eq!(serde_json::json!(parsed[i]), case[1], "{name}: {:?}", texts[i]);
    }
    same(&hashes(&parsed, block, |ids| id_bytes(ids)), &record["parsed"], name, "encode with special tokens");
    if !record["split"].is_null() {
        let split = encode(false);
        same(&hashes(&split, block, |ids| id_bytes(ids)), &record["split"], name, "encode as plain text");
        for (text, ids) in texts.iter().zip(&split) {
            assert!(
                !ids.iter().any(|&id| tokenizer.is_special(id) && tokenizer.token(id) != Some("<unk>")),
                "{text:?}"
            );
        }
    }
    if !record["decoded"].is_null() {
        let lists = id_lists(number("decodings"), record["vocab_size"].as_u64().unwrap() as usize);
        let decoded: Vec<String> = lists.iter().map(|ids| tokenizer.decode(ids)).collect();
        same(&hashes(&decoded, block, |t| t.clone().into_bytes()), &record["decoded"], name, "decode");
        let plain: Vec<String> = lists.iter().map(|ids| tokenizer.decode_plain(ids)).collect();
        same(&hashes(&plain, block, |t| t.clone().into_bytes()), &record["plain"], name, "decode_plain");
    }
    // Streaming gives the same text as decoding at once, and offsets cover the text.
    for (text, ids) in texts.iter().zip(&parsed).step_by(7) {
        let mut stream = StreamDecoder::new(tokenizer);
        let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, tokenizer.decode(ids), "{name}: {text:?}");
        let offsets = tokenizer.encode_with_offsets(text, true).unwrap();
        assert_eq!(&offsets.ids, ids);
        assert!(offsets.offsets.iter().all(|r| text.get(r.clone()).is_some()), "{name}: {text:?}");
        assert!(offsets.offsets.windows(2).all(|w| w[0].start <= w[1].start), "{name}: {text:?}");
    }
}

fn same(found: &[String], expected: &Value, name: &str, what: &str) {
    let expected: Vec<&str> = expected.as_array().unwrap().iter().map(|h| h.as_str().unwrap()).collect();
    let differing: Vec<usize> = (0..expected.len()).filter(|&i| found[i] != expected[i]).collect();
    assert_eq!(found.len(), expected.len());
    assert!(
        differing.is_empty(),
        "{name}: {what}: {} of {} blocks differ: {differing:?}",
        differing.len(),
        found.len()
    );
}

#[test]
fn smollm2_from_gguf() {
    let Some(path) = model(SMOLLM2) else { return };
    let tokenizer = gguf::tokenizer(&path);
    check(&tokenizer, "smollm2");
    assert_eq!(tokenizer.bos(), None);
    assert_eq!(tokenizer.vocab_size(), 49152);
    let stops: Vec<_> = tokenizer.stop_ids().iter().map(|&id| tokenizer.token(id).unwrap()).collect();
    assert_eq!(stops, ["<|endoftext|>", "<|im_end|>"]);
    // A few bytes have no token in this vocabulary and vanish, in Hugging Face's tokenizer as in ours.
    let known: Vec<bool> = {
        let singles: std::collections::HashSet<Vec<u8>> =
            (0..49152).map(|id| tokenizer.token_bytes(id).unwrap()).filter(|b| b.len() == 1).collect();
        (0..=255u8).map(|b| singles.contains(&vec![b])).collect()
    };
    let texts: Vec<String> =
        strings(12_000).into_iter().filter(|t| t.bytes().all(|b| known[usize::from(b)])).collect();
    assert!(texts.len() > 10_000, "{}", texts.len());
    for text in texts {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()), text);
        let bytes: Vec<u8> = tokenizer
            .encode(&text, true)
            .unwrap()
            .iter()
            .flat_map(|&id| tokenizer.token_bytes(id).unwrap())
            .collect();
        assert_eq!(bytes, text.as_bytes());
    }
}

#[test]
fn other_ways_of_splitting() {
    let Some(path) = model(SMOLLM2) else { return };
    let keys = gguf::Keys::read(&path);
    for pre in ["gpt-2", "llama-bpe", "qwen2", "qwen35"] {
        let tokenizer =
            Tokenizer::from_gguf(&GgufTokenizerKeys { pre: Some(pre), ..keys.tokenizer_keys() }).unwrap();
        check(&tokenizer, pre);
    }
}

#[test]
fn gemma3_from_gguf() {
    let Some(path) = model(GEMMA3) else { return };
    let tokenizer = gguf::tokenizer(&path);
    check(&tokenizer, "gemma3");
    assert_eq!(tokenizer.bos(), Some(2));
    assert_eq!(tokenizer.stop_ids(), [1, 106]);
}

#[test]
fn tokenizer_json_of_llama3s_build() {
    let json = golden("tiny-byte-level.json");
    let config = r#"{"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"},
        "chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]}"#;
    let files = HfTokenizerFiles { tokenizer: &json, config: Some(config), ..HfTokenizerFiles::default() };
    let tokenizer = Tokenizer::from_hf(files).unwrap();
    check(&tokenizer, "tiny-byte-level");
    assert_eq!(tokenizer.bos(), Some(0), "the post-processor adds it");
    assert_eq!(tokenizer.eos(), Some(2));
    assert_eq!(tokenizer.chat_template(), Some("y"));
    let generation = Some(r#"{"eos_token_id": [1, 2, 3]}"#);
    let tokenizer =
        Tokenizer::from_hf(HfTokenizerFiles { chat_template: Some("z"), generation, ..files }).unwrap();
    assert_eq!(tokenizer.chat_template(), Some("z"), "the file goes before the config");
    assert_eq!(tokenizer.stop_ids(), [1, 2, 3, 4], "generation_config.json adds its own");
}

#[test]
fn sentence_piece_with_and_without_prefix() {
    let listed = golden_json("tiny-sentence-piece.json");
    let list = |key: &str| listed[key].as_array().unwrap();
    let tokens: Vec<String> = list("tokens").iter().map(|t| t.as_str().unwrap().to_owned()).collect();
    let scores: Vec<f32> = list("scores").iter().map(|s| s.as_f64().unwrap() as f32).collect();
    let types: Vec<i32> = list("types").iter().map(|t| t.as_i64().unwrap() as i32).collect();
    let keys = GgufTokenizerKeys {
        model: "llama",
        tokens: &tokens,
        scores: Some(&scores),
        token_types: Some(&types),
        unk: Some(0),
        bos: Some(1),
        eos: Some(2),
        ..GgufTokenizerKeys::default()
    };
    let with = Tokenizer::from_gguf(&keys).unwrap();
    check(&with, "tiny-prefix");
    assert_eq!(with.bos(), Some(1));
    check(
        &Tokenizer::from_gguf(&GgufTokenizerKeys { add_space_prefix: Some(false), ..keys }).unwrap(),
        "tiny-no-prefix",
    );

    let json = golden("tiny-prefix.json");
    let files = HfTokenizerFiles { tokenizer: &json, ..HfTokenizerFiles::default() };
    check(&Tokenizer::from_hf(files).unwrap(), "tiny-prefix");
}

#[test]
fn bad_keys_are_named() {
    let tokens: Vec<String> = ["a", "b", "ab"].map(str::to_owned).to_vec();
    let merges = ["a b".to_owned()];
    let good =
        GgufTokenizerKeys { model: "gpt2", tokens: &tokens, merges: Some(&merges), ..Default::default() };
    let message = |keys: &GgufTokenizerKeys<'_>| Tokenizer::from_gguf(keys).unwrap_err().to_string();
    assert_eq!(Tokenizer::from_gguf(&good).unwrap().encode("ab", false).unwrap(), [2]);

    let error =
        Tokenizer::from_gguf(&GgufTokenizerKeys { pre: Some("klingon"), ..good.clone() }).unwrap_err();
    assert!(
        matches!(&error, TextError::UnknownPreTokenizer { found, known } if found == "klingon" && known.contains("smollm"))
    );
    assert!(message(&GgufTokenizerKeys { model: "rwkv", ..good.clone() }).contains("gpt2, llama"));
    assert!(message(&GgufTokenizerKeys { eos: Some(3), ..good.clone() }).contains("eos_token_id: is 3"));
    assert!(
        message(&GgufTokenizerKeys { token_types: Some(&[1]), ..good.clone() }).contains("token_type: has 1")
    );
    assert!(message(&GgufTokenizerKeys { tokens: &[], ..good.clone() }).contains("tokens: has 0"));
    assert!(message(&GgufTokenizerKeys { merges: None, ..good.clone() }).contains("merges: is missing"));
    let beyond = ["ab b".to_owned()];
    assert!(
        message(&GgufTokenizerKeys { merges: Some(&beyond), ..good.clone() })
            .contains("\"abb\" is not a token")
    );
    let unsplit = ["ab".to_owned()];
    assert!(message(&GgufTokenizerKeys { merges: Some(&unsplit), ..good }).contains("no space"));
}

#[test]
fn bad_tokenizer_json_is_refused() {
    let message = |json: &str| {
        let files = HfTokenizerFiles { tokenizer: json, ..HfTokenizerFiles::default() };
        Tokenizer::from_hf(files).unwrap_err().to_string()
    };
    assert!(message("{").contains("tokenizer.json"));
    assert!(message(r#"{"model":{"type":"WordPiece","vocab":{"a":0}}}"#).contains("WordPiece"));
    assert!(
        message(r#"{"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}}"#).contains("ids up to")
    );
    assert!(
        message(r#"{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}"#).contains("belongs to both")
    );
    assert!(message(r#"{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#).contains("\"ab\""));
    assert!(message(r#"{"model":{"type":"BPE","vocab":{},"merges":[]}}"#).contains("0 tokens"));
    let dropout = r#"{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}"#;
    assert!(message(dropout).contains("dropout"));
}
