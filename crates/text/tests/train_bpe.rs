//! Vocabularies equal those of Hugging Face's trainer: the same merges, the same tokens (`tools/goldens/bpe.py`).

mod common;

use common::strings::{id_bytes, strings};
use common::{golden, golden_json};
use nurture_text::{
    ChatTemplate, GgufTokenizerKeys, HfTokenizerFiles, Message, Renderer, TextError, Tokenizer, TrainBpe,
    WordCounts,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

/// A text of `samples/`.
fn sample(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    std::fs::read_to_string(root.join(name)).unwrap()
}

fn counts(files: &[&str]) -> WordCounts {
    let mut words = WordCounts::default();
    files.iter().for_each(|f| words.add(&sample(f)));
    words
}

const FILES: [&str; 4] = ["general/en.txt", "general/zh.txt", "keep/en.txt", "keep/zh.txt"];

fn trained(how: &TrainBpe, files: &[&str]) -> Tokenizer {
    how.train(counts(files), &mut |_, _| true).unwrap()
}

fn merges(tokenizer: &Tokenizer) -> Vec<String> {
    let json: Value = serde_json::from_str(&tokenizer.to_hf(None, 256).unwrap().tokenizer).unwrap();
    let pair = |m: &Value| format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap());
    json["model"]["merges"].as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn the_same_merges_and_tokens_as_the_tokenizers_trainer() {
    let golden = golden_json("bpe.json");
    let files: Vec<&str> = golden["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert_eq!(files, FILES);
    let texts = strings(golden["strings"].as_u64().unwrap() as usize);
    for case in golden["cases"].as_array().unwrap() {
        let longest = case["longest"].as_u64().map_or(usize::MAX, |n| n as usize);
        let vocab_size = case["vocab"].as_u64().unwrap() as usize;
        let how = TrainBpe { vocab_size, longest, longest_han: longest, ..TrainBpe::default() };
        let tokenizer = trained(&how, &files);
        assert_eq!(tokenizer.vocab_size() as u64, case["size"].as_u64().unwrap());
        let want: Vec<&str> =
            case["merges"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
        assert_eq!(merges(&tokenizer), want, "{vocab_size} {longest}");
        let mut hash = Sha256::new();
        texts.iter().for_each(|t| hash.update(id_bytes(&tokenizer.encode(t, true).unwrap())));
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, case["ids"].as_str().unwrap(), "{vocab_size} {longest}: tokens");
    }
}

#[test]
fn order_of_texts_changes_nothing_and_files_read_back() {
    let how = TrainBpe { vocab_size: 900, ..TrainBpe::default() };
    let tokenizer = trained(&how, &FILES);
    let mut turned = FILES;
    turned.reverse();
    let files = tokenizer.to_hf(None, 256).unwrap();
    assert_eq!(files, trained(&how, &turned).to_hf(None, 256).unwrap());

    let config = Some(&files.config[..]);
    let again = HfTokenizerFiles { tokenizer: &files.tokenizer, config, ..HfTokenizerFiles::default() };
    let again = Tokenizer::from_hf(again).unwrap();
    let gguf = tokenizer.to_gguf(900).unwrap();
    assert_eq!((gguf.model, gguf.pre, gguf.add_bos), ("gpt2", "deepseek-v3", true));
    let keys = GgufTokenizerKeys {
        model: gguf.model,
        pre: Some(gguf.pre),
        tokens: &gguf.tokens,
        token_types: Some(&gguf.types),
        merges: gguf.merges.as_deref(),
        bos: tokenizer.eos(),
        eos: tokenizer.eos(),
        ..GgufTokenizerKeys::default()
    };
    let from_gguf = Tokenizer::from_gguf(&keys).unwrap();
    for text in strings(500) {
        let ids = tokenizer.encode(&text, false).unwrap();
        assert_eq!(again.encode(&text, false).unwrap(), ids, "{text:?}");
        assert_eq!(from_gguf.encode(&text, false).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text, "every byte has its token");
    }
    assert_eq!(tokenizer.bos(), Some(0));
    assert!(!tokenizer.encode("<|im_end|>", false).unwrap().contains(&2), "no text becomes a special token");
    assert_eq!(tokenizer.encode("<|im_end|>", true).unwrap(), [2]);
}

#[test]
fn chinese_pieces_end_at_four_characters() {
    let sentence = "床前明月光疑是地上霜。";
    let mut words = WordCounts::default();
    (0..50).for_each(|_| words.add(sentence));
    (0..50).for_each(|_| words.add("刻舟求剑"));
    let how = TrainBpe { vocab_size: 400, ..TrainBpe::default() };
    let tokenizer = how.train(words, &mut |_, _| true).unwrap();
    let bytes = (3..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_bytes(id).unwrap().len());
    assert!((9..=12).contains(&bytes.max().unwrap()));
    // ten characters in a run: not one piece; an idiom is one
    assert!(tokenizer.encode(sentence, false).unwrap().len() >= 4);
    assert_eq!(tokenizer.encode("刻舟求剑", false).unwrap().len(), 1);
}

#[test]
fn a_new_vocabulary_holds_conversations() {
    let tokenizer = Arc::new(trained(&TrainBpe { vocab_size: 600, ..TrainBpe::default() }, &FILES));
    assert_eq!(tokenizer.stop_ids(), [0, 2], "the end of a text, and of a turn");
    let renderer = Renderer::new(tokenizer.clone(), ChatTemplate::named("chatml").unwrap());
    let messages = [Message::new("user", "你好?"), Message::new("assistant", "Hello!")];
    let all = renderer.example(&messages).unwrap();
    let learnt: Vec<u32> =
        all.tokens.iter().zip(&all.trained).filter(|(_, t)| **t).map(|(id, _)| *id).collect();
    let (answer, end) = learnt.split_at(learnt.len() - 1);
    assert_eq!((tokenizer.decode(answer), end), ("Hello!".to_string(), &[2][..]));
    let prompt = renderer.prompt(&messages[..1]).unwrap().tokens;
    assert!(all.tokens.starts_with(&prompt));
}

#[test]
fn odd_wishes_are_refused() {
    let error = |how: TrainBpe| how.train(WordCounts::default(), &mut |_, _| true).unwrap_err().to_string();
    assert!(error(TrainBpe { vocab_size: 258, ..TrainBpe::default() }).contains("260..131072"));
    assert!(error(TrainBpe { specials: vec![], ..TrainBpe::default() }).contains("specials"));
    let twice = vec!["<a>".to_string(), "<a>".to_string()];
    assert!(error(TrainBpe { specials: twice, ..TrainBpe::default() }).contains("twice"));
    // nothing to learn from: bytes alone
    let bytes = TrainBpe::default().train(WordCounts::default(), &mut |_, _| true).unwrap();
    assert_eq!(bytes.vocab_size(), 259);
    let stopped = TrainBpe::default().train(counts(&FILES), &mut |_, _| false).unwrap_err();
    assert!(matches!(stopped, TextError::Stopped));
    let _ = golden("bpe.json");
}
