//! Unigram vocabularies, token for token equal to Hugging Face: T5's pipeline, mT5's, and one where bytes stand in for what is
//! unknown, on 12,000 strings and 3,000 lists of ids each.

mod common;

use common::strings::{hashes, id_bytes, id_lists, strings};
use common::{golden, golden_json};
use nurture_text::{HfTokenizerFiles, StreamDecoder, Tokenizer};
use serde_json::{Value, json};

const CONFIG: &str = r#"{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}"#;

/// `tokenizer.json` of one of the pipelines.
fn file(name: &str) -> String {
    let mut file = golden_json("tiny-unigram.json");
    if name != "t5" {
        let table = file["normalizer"].clone();
        let parts = &golden_json("unigram.json")[name]["parts"];
        for key in ["normalizer", "pre_tokenizer", "decoder"] {
            file[key] = parts[key].clone();
        }
        file["normalizer"]["normalizers"][0] = table;
        file["model"]["byte_fallback"] = json!(name == "bytes");
    }
    file.to_string()
}

fn read(json: &str) -> Tokenizer {
    let files = HfTokenizerFiles { tokenizer: json, config: Some(CONFIG), ..HfTokenizerFiles::default() };
    Tokenizer::from_hf(files).unwrap()
}

fn check(tokenizer: &Tokenizer, name: &str) {
    let golden = golden_json("unigram.json");
    let number = |key: &str| golden[key].as_u64().unwrap() as usize;
    let (block, record) = (number("block"), &golden[name]);
    let texts = strings(number("strings"));
    let same = |found: Vec<String>, key: &str| {
        let want: Vec<String> = serde_json::from_value(record[key].clone()).unwrap();
        let differing: Vec<usize> = (0..want.len()).filter(|&i| found[i] != want[i]).collect();
        assert!(
            found.len() == want.len() && differing.is_empty(),
            "{name}: {key}: blocks {differing:?} differ"
        );
    };
    let encode = |special: bool| -> Vec<Vec<u32>> {
        texts.iter().map(|t| tokenizer.encode(t, special).unwrap()).collect()
    };
    let (parsed, split) = (encode(true), encode(false));
    for case in record["full"].as_array().unwrap() {
        let i = case[0].as_u64().unwrap() as usize;
        assert_eq!(json!(parsed[i]), case[1], "{name}: {:?}", texts[i]);
    }
    same(hashes(&parsed, block, |ids| id_bytes(ids)), "parsed");
    same(hashes(&split, block, |ids| id_bytes(ids)), "split");
    for (text, ids) in texts.iter().zip(&split) {
        let special = |&&id: &&u32| tokenizer.is_special(id) && tokenizer.token(id) != Some("<unk>");
        assert_eq!(ids.iter().find(special), None, "{text:?}");
    }
    let lists = id_lists(number("decodings"), record["vocab_size"].as_u64().unwrap() as usize);
    let decoded: Vec<String> = lists.iter().map(|ids| tokenizer.decode(ids)).collect();
    same(hashes(&decoded, block, |t| t.clone().into_bytes()), "decoded");
    let plain: Vec<String> = lists.iter().map(|ids| tokenizer.decode_plain(ids)).collect();
    same(hashes(&plain, block, |t| t.clone().into_bytes()), "plain");
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

#[test]
fn t5() {
    let json = file("t5");
    let tokenizer = read(&json);
    check(&tokenizer, "t5");
    assert_eq!((tokenizer.eos(), tokenizer.pad(), tokenizer.bos()), (Some(1), Some(0), None));
    assert!(tokenizer.adds_eos(), "the post-processor adds it");
    assert_eq!(tokenizer.token(1400), Some("<extra_id_0>"));
}

#[test]
fn mt5() {
    check(&read(&file("mt5")), "mt5");
}

#[test]
fn bytes_stand_in() {
    let tokenizer = read(&file("bytes"));
    check(&tokenizer, "bytes");
    // nothing is lost but what the normaliser takes away
    for text in ["龘𠮷", "养成 🫠🤷🏻‍♀️ ok", "ሰላም, x²"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, false).unwrap()), text);
    }
}

#[test]
fn what_is_written_is_read_again() {
    for name in ["t5", "bytes"] {
        let files = read(&file(name)).to_hf(None, 512).unwrap();
        let again = HfTokenizerFiles {
            tokenizer: &files.tokenizer,
            config: Some(&files.config),
            generation: Some(&files.generation),
            ..HfTokenizerFiles::default()
        };
        check(&Tokenizer::from_hf(again).unwrap(), name);
    }
    // a GGUF file of these is another matter
    assert!(read(&file("t5")).to_gguf(0).unwrap_err().to_string().contains("Unigram"));
}

#[test]
fn no_text_becomes_a_special_token() {
    let tokenizer = read(&golden("tiny-unigram.json"));
    // full width is made narrow by the normaliser, behind the place where special tokens are cut out
    for text in ["</s>", "＜/s＞", "a<pad>b", "<extra_id_0>", "▁</s>"] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert!(ids.iter().all(|&id| !tokenizer.is_special(id)), "{text}: {ids:?}");
    }
    assert!(tokenizer.encode("a</s>", true).unwrap().contains(&1));
}

#[test]
fn broken_files_are_refused() {
    let message = |change: &dyn Fn(&mut Value)| {
        let mut file = golden_json("tiny-unigram.json");
        change(&mut file);
        let json = file.to_string();
        let files = HfTokenizerFiles { tokenizer: &json, ..HfTokenizerFiles::default() };
        Tokenizer::from_hf(files).unwrap_err().to_string()
    };
    assert!(message(&|f| f["model"]["vocab"] = json!([])).contains("0 scored pieces"));
    assert!(message(&|f| f["model"]["vocab"] = json!({ "a": 0 })).contains("0 scored pieces"));
    assert!(message(&|f| f["model"]["type"] = json!("WordPiece")).contains("BPE, Unigram"));
    assert!(message(&|f| f["added_tokens"][0]["id"] = json!(4_000_000_000u32)).contains("ids below"));
    assert!(message(&|f| f["normalizer"]["precompiled_charsmap"] = json!("AAAA")).contains("tokenizer.json"));
}
