//! The birth of the base model, where this program made it: languages, curve, sizes with their reasons.
use super::data::{BirthReport, LadderReport, LanguageReport, ReportData, RungReport};
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
    blocks.extend(birth.ladder.iter().flat_map(|l| ladder(lang, birth, l)));
    blocks.extend(plots::curve(lang, &birth.curve));
    blocks.push(training::values(lang, &birth.derived));
    blocks
}

/// The rungs, the law, and the prediction beside what came.
fn ladder(lang: Lang, birth: &BirthReport, l: &LadderReport) -> Vec<Block> {
    let head = vec![
        (lang.pick("ladder: depth", "阶梯：层数").into(), true),
        (lang.pick("parameters", "参数").into(), true),
        (lang.pick("tokens learnt from", "学习的词元").into(), true),
        (lang.pick("operations, TFLOP", "计算量，TFLOP").into(), true),
        (lang.pick("bits per byte, held out", "每字节比特，留出文本").into(), true),
    ];
    let tera = |flop: f64| fmt::fixed(flop / 1e12, 2);
    let rung = |r: &RungReport| -> Vec<Cell> {
        let bits = fmt::fixed(r.bits_per_byte, 3);
        [r.depth.to_string(), fmt::count(r.parameters), fmt::count(r.tokens), tera(r.flop), bits]
            .map(Cell::Text)
            .into()
    };
    let mut rows: Vec<Vec<Cell>> = l.rungs.iter().map(rung).collect();
    let last = |name: &str, bits: Option<f64>| -> Vec<Cell> {
        let bits = bits.map_or_else(|| "–".to_string(), |b| fmt::fixed(b, 3));
        [name.to_string(), fmt::count(birth.parameters), fmt::count(birth.tokens), tera(l.flop), bits]
            .map(Cell::Text)
            .into()
    };
    rows.push(last(lang.pick("this model, predicted", "本模型，预测"), Some(l.predicted)));
    rows.push(last(lang.pick("this model, came", "本模型，实际"), l.came));
    let exponent = fmt::fixed(l.exponent, 3);
    let law = match l.floor.map(|f| fmt::fixed(f, 3)) {
        Some(floor) => say!(
            lang,
            "The law of the rungs: bits per byte = {floor} + a · C^-{exponent}, C the operations.",
            "各级的规律：每字节比特 = {floor} + a · C^-{exponent}，C 为计算量。"
        ),
        None => say!(
            lang,
            "The law of the rungs: bits per byte = a · C^-{exponent}, C the operations; they do not tell a part that would stay.",
            "各级的规律：每字节比特 = a · C^-{exponent}，C 为计算量；从这几级看不出有降不下去的部分。"
        ),
    };
    let off = l.came.map(|came| {
        let percent = fmt::fixed(100.0 * (came / l.predicted - 1.0), 1);
        say!(lang, " What came differs from it by {percent} %.", "实际与预测相差 {percent}%。")
    });
    let interval = match l.interval.map(|(a, b)| (fmt::fixed(a, 3), fmt::fixed(b, 3))) {
        Some((low, high)) => say!(lang, " 95 % interval: {low} to {high}.", "95% 区间：{low} 到 {high}。"),
        None => lang.pick(" So few rungs give no interval.", "级数太少，给不出区间。").to_string(),
    };
    vec![
        Block::Table(Table { head, rows }),
        Block::Note(format!("{law}{interval}{}", off.unwrap_or_default())),
    ]
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
