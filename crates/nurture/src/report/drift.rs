//! General prompts: how far the raised model would answer otherwise than its base, by ability.
use super::data::{DriftReport, ReportData};
use super::fmt;
use super::page::{Block, Case, Cell, Table, Tone, short};
use crate::lang::{Lang, Text};
use crate::say;

/// The abilities of the prompts that ship with the project.
fn ability(lang: Lang, group: &str) -> String {
    let text = match group {
        "knowledge" => Text::new("knowledge", "知识"),
        "reasoning" => Text::new("reasoning", "推理"),
        "arithmetic" => Text::new("arithmetic", "算术"),
        "writing" => Text::new("writing", "写作"),
        "rewriting" => Text::new("rewriting", "改写"),
        "format" => Text::new("format", "格式"),
        "code" => Text::new("code", "代码"),
        "conversation" => Text::new("conversation", "对话"),
        "" => Text::new("all", "全部"),
        other => return short(other, 60),
    };
    text.get(lang).to_string()
}

pub(crate) fn section(lang: Lang, data: &ReportData, drift: &DriftReport, blocks: &mut Vec<Block>) {
    blocks.push(Block::Sub(short(&drift.name, 60)));
    let (prompts, tokens) = (fmt::count(drift.prompts), fmt::count(drift.tokens));
    let kl = fmt::fixed(drift.kl, 4);
    let [low, high] = drift.ci.map(|end| fmt::fixed(end, 4));
    let agree = fmt::percent(lang, drift.agree);
    let [base, tuned] = [drift.base_ppl, drift.tuned_ppl].map(|p| fmt::fixed(p, 2));
    let mut text = say!(
        lang,
        "The base answered {prompts} general prompts, and both models read its answers ({tokens} tokens). The raised model diverges by {kl} nats a token (95\u{202f}% interval {low}–{high}), would have said the same token {agree} of the time, and finds the answers {base} → {tuned} surprising (perplexity).",
        "基座回答了 {prompts} 条通用提示，两个模型都读了这些回答（{tokens} 个词元）。养成后的模型平均每词元相差 {kl} 奈特（95% 区间 {low}–{high}），{agree} 的词元与基座会说的相同，读这些回答的困惑度为 {base} → {tuned}。"
    );
    if let Some(most) = data.verdict.gate.max_divergence {
        let most = fmt::fixed(most, 4);
        text += &say!(lang, " {most} was allowed.", "允许的上限是 {most}。");
    }
    blocks.push(Block::Para(text));
    let head = vec![
        (lang.pick("ability", "能力").into(), false),
        (lang.pick("prompts", "提示").into(), true),
        (lang.pick("divergence, nats a token", "差异，每词元奈特").into(), true),
        (lang.pick("same token", "相同词元").into(), true),
    ];
    let rows = drift
        .groups
        .iter()
        .map(|g| {
            let tone = if g.kl > 2.0 * drift.kl && drift.kl > 0.0 { Tone::Caution } else { Tone::Plain };
            vec![
                Cell::Text(ability(lang, &g.group)),
                Cell::Text(fmt::count(g.prompts as u64)),
                Cell::Toned(tone, fmt::fixed(g.kl, 4)),
                Cell::Text(fmt::percent(lang, g.agree)),
            ]
        })
        .collect();
    blocks.push(Block::Table(Table { head, rows }));
    let cases: Vec<Case> = drift
        .moved
        .iter()
        .map(|m| Case {
            question: short(&m.prompt, 600),
            answers: vec![
                (lang.pick("base", "基座").into(), short(&m.answer, 400), Tone::Plain),
                (lang.pick("nats", "奈特").into(), fmt::fixed(m.kl, 3), Tone::Plain),
            ],
        })
        .collect();
    if !cases.is_empty() {
        let title = lang.pick("Answers of the base that were moved most", "改动最大的基座回答");
        blocks.push(Block::Fold(title.into(), vec![Block::Cases(cases)]));
    }
}
