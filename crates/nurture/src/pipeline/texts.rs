//! Texts whose perplexity is measured: general ones that ship with the project, and the user's own.

use crate::engine::Model;
use crate::recipe::{InputHash, Recipe, Resolved};
use crate::said;
use anyhow::{Context, Result, bail};
use nurture_eval::{Window, WindowScheme, strided_windows};
use nurture_text::Tokenizer;
use std::path::Path;

/// The general text that ships with the project, by language.
const GENERAL: [(&str, &str); 2] = [
    ("general-en", include_str!("../../../../samples/general/en.txt")),
    ("general-zh", include_str!("../../../../samples/general/zh.txt")),
];

/// The general text on which breadth is kept, by language. It shares nothing with [`GENERAL`], which examines it.
const KEEP: [(&str, &str); 2] = [
    ("keep-en", include_str!("../../../../samples/keep/en.txt")),
    ("keep-zh", include_str!("../../../../samples/keep/zh.txt")),
];

/// Parts documents in the general texts.
pub(super) const BETWEEN: &str = "=====";

/// Tokens of a window.
const WINDOW: usize = 256;

/// A text, cut into windows for one tokenizer.
#[derive(Debug)]
pub struct Text {
    /// its name
    pub name: String,
    /// where it comes from, for the lock file: path (or name) and bytes
    pub origin: (String, Vec<u8>),
    /// tokens of each document
    documents: Vec<Vec<u32>>,
    /// its windows
    pub windows: Vec<Window>,
    /// how it was cut
    pub scheme: WindowScheme,
}

impl Text {
    pub(super) fn new(
        name: &str,
        origin: String,
        content: &str,
        tokenizer: &Tokenizer,
        most: Option<usize>,
    ) -> Result<Text> {
        let documents = documents(content, tokenizer).with_context(|| origin.clone())?;
        let bos = tokenizer.bos();
        let mut windows = strided_windows(&documents, WINDOW, bos).with_context(|| origin.clone())?;
        if let Some(most) = most.filter(|&m| m < windows.len()) {
            // spread over the whole text, so that every kind of document is in it
            let n = windows.len();
            let keep: Vec<usize> = (0..most).map(|i| i * n / most).collect();
            let mut at = 0;
            windows.retain(|_| {
                at += 1;
                keep.binary_search(&(at - 1)).is_ok()
            });
        }
        let scheme = WindowScheme::Strided { n_ctx: WINDOW };
        let origin = (origin, content.as_bytes().to_vec());
        Ok(Text { name: name.to_string(), origin, documents, windows, scheme })
    }

    /// Bytes of the text of a window's scored tokens.
    pub fn bytes(&self, tokenizer: &Tokenizer, w: &Window) -> usize {
        let tokens = self.documents.get(w.document).and_then(|d| d.get(w.source.clone())).unwrap_or(&[]);
        tokens.iter().filter_map(|&t| tokenizer.token_bytes(t)).map(|b| b.len()).sum()
    }

    /// Tokens that go through the network to read it once.
    pub fn tokens(&self) -> usize {
        self.windows.iter().map(|w| w.tokens.len()).sum()
    }
}

/// The texts that a name or path of the recipe stands for: `general-mini` is both general texts. `most`: at most so
/// many windows of each.
///
/// # Errors
/// An unknown name, a file that cannot be read or is not UTF-8, a text that is too short.
pub(super) fn open(name: &str, tokenizer: &Tokenizer, most: Option<usize>) -> Result<Vec<Text>> {
    if name == "general-mini" {
        return GENERAL
            .iter()
            .map(|(n, text)| Text::new(n, format!("general-mini/{n}"), text, tokenizer, most))
            .collect();
    }
    Ok(vec![file(name, tokenizer, most)?])
}

/// The text of a file of the user.
///
/// # Errors
/// As [`open`].
pub(super) fn file(path: &str, tokenizer: &Tokenizer, most: Option<usize>) -> Result<Text> {
    let content = read(path, "general-mini")?;
    Text::new(&super::prepare::stem(Path::new(path)), path.to_string(), &content, tokenizer, most)
}

/// The documents of a text.
pub(super) fn parts(content: &str) -> Vec<String> {
    content
        .split('\n')
        .collect::<Vec<_>>()
        .split(|line| line.trim_end() == BETWEEN)
        .map(|lines| lines.join("\n").trim().to_string())
        .filter(|d| !d.is_empty())
        .collect()
}

/// Tokens of the documents of a text.
fn documents(content: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, nurture_text::TextError> {
    parts(content).iter().map(|d| tokenizer.encode(d, false)).collect()
}

/// Windows of the texts of `train.keep` with what they were cut from; none where it is off. A text that examines
/// breadth is refused.
///
/// # Errors
/// As [`open`].
pub(super) fn keep(
    r: &Recipe,
    resolved: &Resolved,
    model: &Model,
) -> Result<(Vec<Vec<u32>>, Vec<InputHash>)> {
    const SHORTEST: usize = 16;
    let (count, len) = resolved.keep_windows;
    let (mut windows, mut inputs) = (Vec::new(), Vec::new());
    if count == 0 {
        return Ok((windows, inputs));
    }
    let bos = model.tokenizer().bos();
    let fresh = len - usize::from(bos.is_some());
    let mut add = |name: &str, content: &str| -> Result<()> {
        for document in documents(content, model.tokenizer()).with_context(|| name.to_string())? {
            let parts = document.chunks(fresh.max(1)).filter(|part| part.len() >= SHORTEST.min(fresh));
            windows
                .extend(parts.map(|part| bos.into_iter().chain(part.iter().copied()).collect::<Vec<u32>>()));
        }
        inputs.push(InputHash {
            role: "keep".to_string(),
            path: name.to_string(),
            sha256: super::sha256(content.as_bytes()),
            bytes: content.len() as u64,
        });
        Ok(())
    };
    for name in &r.train.keep.text {
        if r.eval.breadth.contains(name) {
            bail!(said!(
                "{name}: stands in train.keep.text and in eval.breadth; what examines breadth must not be trained on",
                "{name}：既在 train.keep.text 又在 eval.breadth 里；考广度用的文本不能拿来训练"
            ));
        }
        match name.as_str() {
            "general" => {
                KEEP.iter().try_for_each(|(name, content)| add(&format!("general/{name}"), content))?
            }
            path => add(path, &read(path, "general")?)?,
        }
    }
    if windows.is_empty() {
        bail!(said!(
            "train.keep.text: no text of at least {SHORTEST} tokens",
            "train.keep.text：没有一个文本达到 {SHORTEST} 个词元"
        ));
    }
    Ok((windows, inputs))
}

/// A text file of the user.
fn read(name: &str, shipped: &str) -> Result<String> {
    let path = Path::new(name);
    if !path.exists() {
        bail!(said!(
            "{name}: no such text; give the path of a UTF-8 text file, or {shipped}",
            "{name}：没有这个文本；请给出 UTF-8 文本文件的路径，或 {shipped}"
        ));
    }
    let bytes = std::fs::read(path).with_context(|| name.to_string())?;
    String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to();
        said!(
            "{name}: not UTF-8 (byte {byte}); convert it, e.g. iconv -f gb18030 -t utf-8",
            "{name}：不是 UTF-8（第 {byte} 字节）；请转换，例如 iconv -f gb18030 -t utf-8"
        )
        .into()
    })
}
