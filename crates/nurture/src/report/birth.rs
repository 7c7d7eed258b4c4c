//! The birth of the base model, where this program made it: languages, curve, sizes with their reasons.
use super::data::{LanguageReport, ReportData};
use super::page::{Block, Cell, Table};
use super::{fmt, plots, training};
use crate::lang::Lang;
use crate::say;

pub(crate) fn birth(lang: Lang, data: &ReportData) -> Vec<Block> {
    let Some(birth) = &data.birth else { return Vec::new() };
    let mut blocks = vec![Block::Section("birth", lang.pick("Birth of the base model", "基座的出生").into())];
    let (parameters, vocab) = (fmt::count(birth.parameters), fmt::count(birth.vocab));
    let (tokens, minutes) = (fmt::count(birth.tokens), fmt::fixed(birth.seconds / 60.0, 1));
    blocks.push(Block::Para(say!(
        lang,
        "The base model was born here: a vocabulary of {vocab} tokens and a network of {parameters} parameters, both from the texts of the recipe alone. It learnt from {tokens} tokens, repeated passes counted, in {minutes} minutes.",
        "基座在此出生：{vocab} 个词元的词表和 {parameters} 个参数的网络，都只来自配方给出的文本。共学习 {tokens} 个词元（重复的遍数也计入），用时 {minutes} 分钟。"
    )));
    let head = vec![
        (lang.pick("language", "语言").into(), false),
        (lang.pick("text learnt from, bytes", "学习的文本，字节").into(), true),
        (lang.pick("held out, bytes", "留出，字节").into(), true),
        (lang.pick("bytes per token", "每词元字节").into(), true),
        (lang.pick("bits per byte at birth", "每字节比特，出生时").into(), true),
        (lang.pick("after learning", "学习之后").into(), true),
    ];
    let rows = birth.languages.iter().map(|l| row(lang, l)).collect();
    blocks.push(Block::Table(Table { head, rows }));
    blocks.push(Block::Note(
        lang.pick(
            "Bytes per token and bits per byte are those of the held-out text, which neither vocabulary nor network has seen; it stands between the parts that were learnt from.",
            "每词元字节和每字节比特都在留出的文本上测得，词表和网络都没有见过；它夹在学习过的段落之间。",
        )
        .into(),
    ));
    blocks.extend(plots::curve(lang, &birth.curve));
    blocks.push(training::values(lang, &birth.derived));
    blocks
}

fn row(lang: Lang, l: &LanguageReport) -> Vec<Cell> {
    let name = match l.name.as_str() {
        "zh" => lang.pick("Chinese", "中文"),
        _ => lang.pick("other than Chinese", "非中文"),
    };
    let bits = |b: Option<f64>| b.map_or_else(|| "–".to_string(), |b| fmt::fixed(b, 3));
    let texts = [
        name.to_string(),
        fmt::count(l.train_bytes),
        fmt::count(l.held_bytes),
        fmt::fixed(l.bytes_per_token, 2),
        bits(l.before),
        bits(l.after),
    ];
    texts.map(Cell::Text).into()
}
