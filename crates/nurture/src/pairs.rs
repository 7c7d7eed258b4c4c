//! An encoder-decoder as a folder: network, vocabulary, and what it writes for a text.
//!
//! ```no_run
//! let model = nurture::pairs::PairModel::open("runs/pinyin/model".as_ref(), 0)?;
//! let best = model.write(&["zhong1 guo2"], &model.beams(), model.longest())?;
//! println!("{}", best[0][0].text);
//! # anyhow::Ok(())
//! ```

use crate::network::WEIGHTS;
use crate::pipeline::{sha256, sha256_of};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_formats::{adapter, save_folder, write_atomic};
use nurture_infer::{Beams, MAX_BEAMS, Sampling, Written, beam_search, write_targets};
use nurture_model::Cpu;
use nurture_model::seq2seq::Seq2Seq;
use nurture_text::{HfTokenizerFiles, Tokenizer};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The vocabulary of sources, where it is another than that of targets.
const SOURCE_TOKENIZER: &str = "source_tokenizer.json";
/// Sources that are read at once.
const AT_ONCE: usize = 64;
/// Longest target, where the folder does not say.
const LONGEST: usize = 128;

/// The vocabularies of an encoder-decoder.
#[derive(Debug)]
pub struct Vocabularies {
    /// of targets, and of sources where they share it
    pub target: Tokenizer,
    /// of sources, where they have their own
    pub source: Option<Tokenizer>,
}

impl Vocabularies {
    /// A source as tokens, with its end.
    ///
    /// # Errors
    /// A text that the vocabulary cannot take.
    pub fn source(&self, text: &str, eos: u32) -> Result<Vec<u32>> {
        let tokenizer = self.source.as_ref().unwrap_or(&self.target);
        let mut tokens = tokenizer.encode(text, false)?;
        tokens.push(eos);
        Ok(tokens)
    }

    /// A target as tokens, with its end.
    ///
    /// # Errors
    /// As [`Vocabularies::source`].
    pub fn target(&self, text: &str, eos: u32) -> Result<Vec<u32>> {
        let mut tokens = self.target.encode(text, false)?;
        tokens.push(eos);
        Ok(tokens)
    }
}

/// A text that was written, and how likely: as [`Written::score`].
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// the text
    pub text: String,
    /// its score
    pub score: f64,
    /// whether it was cut at the longest that was asked for
    pub cut: bool,
}

/// An encoder-decoder with its vocabulary.
#[derive(Debug)]
pub struct PairModel {
    cpu: Cpu,
    network: Seq2Seq,
    words: Vocabularies,
    notes: Value,
    folder: PathBuf,
    /// in place of the model's own
    count: Option<usize>,
}

/// Whether a path is the folder of an encoder-decoder, or of a run that raised one.
pub fn is_one(path: &Path) -> bool {
    folder(path).is_some()
}

fn folder(path: &Path) -> Option<std::path::PathBuf> {
    let kind = |p: &Path| -> Option<String> {
        let config = p.join(CONFIG);
        // a configuration is small
        let small = config.metadata().is_ok_and(|m| m.is_file() && m.len() < 1 << 20);
        let text = std::fs::read(config).ok().filter(|_| small)?;
        let json: Value = serde_json::from_slice(&text).ok()?;
        Some(json["model_type"].as_str()?.to_string())
    };
    let one = |p: &Path| kind(p).is_some_and(|k| ["t5", "mt5", "marian"].contains(&k.as_str()));
    [path.join("model"), path.to_path_buf()].into_iter().find(|p| one(p))
}

impl PairModel {
    /// Opens a folder, or that of a run; `threads` of 0: as many as there are processors.
    ///
    /// # Errors
    /// No such model; a vocabulary of a kind that is not read (`tokenizer.json` must be BPE or Unigram).
    pub fn open(path: &Path, threads: usize) -> Result<PairModel> {
        let Some(dir) = folder(path) else {
            let path = path.display();
            bail!(said!(
                "{path}: no encoder-decoder lies here (config.json with model_type t5, mt5 or marian)",
                "{path}：这里没有编码器–解码器（config.json 的 model_type 应为 t5、mt5 或 marian）"
            ));
        };
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = Cpu::new(if threads == 0 { all() } else { threads });
        let network = Seq2Seq::open(&dir, cpu.pool())?;
        let target = Tokenizer::from_dir(&dir).with_context(|| dir.display().to_string())?;
        let own = dir.join(SOURCE_TOKENIZER);
        let source = match own.is_file() {
            false => None,
            true => {
                let read = |p: &Path| std::fs::read_to_string(p).with_context(|| p.display().to_string());
                let (tokenizer, config) = (read(&own)?, read(&dir.join(TOKENIZER_CONFIG))?);
                let files = HfTokenizerFiles {
                    tokenizer: &tokenizer,
                    config: Some(&config),
                    chat_template: None,
                    generation: None,
                };
                Some(Tokenizer::from_hf(files).with_context(|| own.display().to_string())?)
            }
        };
        let notes = std::fs::read(dir.join(adapter::EXTRA_NAME))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        PairModel::new(cpu, network, Vocabularies { target, source }, notes, &dir)
    }

    fn new(cpu: Cpu, network: Seq2Seq, words: Vocabularies, notes: Value, dir: &Path) -> Result<PairModel> {
        let c = network.config();
        let sizes = [
            (words.source.as_ref().unwrap_or(&words.target).vocab_size(), c.source_vocab),
            (words.target.vocab_size(), c.target_vocab),
        ];
        if let Some((has, room)) = sizes.iter().find(|(has, room)| has > room) {
            let dir = dir.display();
            bail!(said!(
                "{dir}: its tokenizer has {has} tokens, its network only {room}",
                "{dir}：分词器有 {has} 个词元，网络只有 {room} 个"
            ));
        }
        Ok(PairModel { cpu, network, words, notes, folder: dir.to_path_buf(), count: None })
    }

    /// The network.
    pub fn network(&self) -> &Seq2Seq {
        &self.network
    }

    /// The processor that it computes on.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// With so many beams, at most [`MAX_BEAMS`], in place of its own.
    #[must_use]
    pub fn with_beams(self, count: usize) -> PairModel {
        PairModel { count: Some(count.clamp(1, MAX_BEAMS)), ..self }
    }

    /// Hash of all that its texts depend on: the files of its folder, and the beams.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(&self) -> Result<String> {
        let at = || self.folder.display().to_string();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(at)? {
            let path = entry.with_context(at)?.path();
            if path.extension().is_some_and(|e| e == "json" || e == "safetensors") {
                files.push((path.file_name().map(|n| n.to_string_lossy().into_owned()), sha256_of(&path)?));
            }
        }
        files.sort();
        Ok(sha256(json!([files, self.beams().count]).to_string().as_bytes()))
    }

    /// The beams that it was raised with, or [`PairModel::with_beams`] gave it.
    pub fn beams(&self) -> Beams {
        let of = |key: &str| self.notes["seq2seq"].get(key).and_then(Value::as_f64);
        let own = of("beams").map_or(Beams::default().count, |n| (n as usize).clamp(1, MAX_BEAMS));
        let count = self.count.unwrap_or(own);
        let length_penalty = of("length_penalty").filter(|p| p.is_finite()).unwrap_or(1.0);
        Beams { count, length_penalty }
    }

    /// The longest target that it was raised with, tokens.
    pub fn longest(&self) -> usize {
        let given = self.notes["seq2seq"]["max_tokens"].as_u64().map(|n| n as usize);
        given.unwrap_or(LONGEST).clamp(1, self.network.config().context)
    }

    /// The best targets of each text, best first: of one beam the greedy one.
    ///
    /// # Errors
    /// A text that the network cannot take, such as one beyond its positions.
    pub fn write(&self, texts: &[&str], how: &Beams, longest: usize) -> Result<Vec<Vec<Answer>>> {
        let mut out = Vec::with_capacity(texts.len());
        write_all(&self.cpu, &self.network, &self.words, texts, how, longest, |_, answers| {
            out.push(answers);
            true
        })?;
        Ok(out)
    }
}

/// [`PairModel::write`] with a model in parts; `each` hears of every text in order and may break off by `false`.
pub(crate) fn write_all(
    cpu: &Cpu,
    network: &Seq2Seq,
    words: &Vocabularies,
    texts: &[&str],
    how: &Beams,
    longest: usize,
    mut each: impl FnMut(usize, Vec<Answer>) -> bool,
) -> Result<()> {
    let eos = network.config().eos;
    let mut number = 0;
    for some in texts.chunks(AT_ONCE) {
        let tokens: Vec<Vec<u32>> = some.iter().map(|t| words.source(t, eos)).collect::<Result<_>>()?;
        let sources: Vec<&[u32]> = tokens.iter().map(|t| &t[..]).collect();
        let all: Vec<Vec<Written>> = match how.count {
            1 => {
                let greedy = write_targets(cpu, network, &sources, &Sampling::default(), longest)?;
                greedy.into_iter().map(|w| vec![w]).collect()
            }
            _ => beam_search(cpu, network, &sources, how, longest)?,
        };
        for written in all {
            let text = |w: Written| Answer {
                text: words.target.decode_plain(&w.tokens),
                score: w.score,
                cut: !w.ended,
            };
            if !each(number, written.into_iter().map(text).collect()) {
                return Ok(());
            }
            number += 1;
        }
    }
    Ok(())
}

/// Saves a network with its vocabularies as folder `dir`, whole or not at all; `notes` go to `nurture.json`. Equal networks give
/// equal bytes, and transformers loads it.
pub(crate) fn save(
    dir: &Path,
    network: &Seq2Seq,
    words: &Vocabularies,
    notes: &Map<String, Value>,
) -> Result<()> {
    let context = network.config().context.min(1 << 20);
    let files = words.target.to_hf(None, context)?;
    let mut all = vec![
        (CONFIG, format!("{:#}\n", network.config().to_json())),
        (TOKENIZER, files.tokenizer),
        (TOKENIZER_CONFIG, files.config),
        (adapter::EXTRA_NAME, format!("{:#}\n", json!(notes))),
    ];
    if let Some(source) = &words.source {
        all.push((SOURCE_TOKENIZER, source.to_hf(None, context)?.tokenizer));
    }
    let known: Vec<&str> = all.iter().map(|f| f.0).chain([WEIGHTS, SOURCE_TOKENIZER]).collect();
    save_folder(dir, "model", &known, |folder| {
        network.save_weights(&folder.join(WEIGHTS))?;
        for (name, text) in &all {
            write_atomic(folder.join(name), text.as_bytes())?;
        }
        Ok::<(), anyhow::Error>(())
    })
}
