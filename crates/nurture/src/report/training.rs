//! The training: curve, derived values with their reasons, forecast against outcome, the ledger of rows.
use super::data::{CurvePoint, ReportData};
use super::page::{Block, Cell, Table};
use super::{fmt, plots};
use crate::lang::Lang;
use crate::say;

pub(crate) fn training(lang: Lang, data: &ReportData) -> Vec<Block> {
    // each of several stages has told of its own
    if !data.stages.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Section("training", lang.pick("Training", "训练过程").into())];
    blocks.extend(curves(lang, data));
    if !data.curve.is_empty() {
        blocks.push(Block::Facts(summary(lang, data)));
    }
    if !data.derived.is_empty() {
        blocks.push(Block::Sub(lang.pick("Each value and its reason", "每个取值及其理由").into()));
        blocks.push(values(lang, &data.derived));
    }
    blocks
}

/// The pictures of a training.
pub(crate) fn curves(lang: Lang, data: &ReportData) -> Vec<Block> {
    let mut blocks = Vec::new();
    let practice = super::practice::practice(lang, &data.curve);
    // of practice the value of the objective says nothing
    match practice.is_empty() {
        true => blocks.extend(plots::curve(lang, &data.curve)),
        false => blocks.extend(practice),
    }
    blocks.extend(plots::margins(lang, &data.curve));
    blocks
}

/// Values with their reasons.
pub(crate) fn values(lang: Lang, derived: &[crate::recipe::Derived]) -> Block {
    let head = vec![
        (lang.pick("value", "取值").into(), false),
        (String::new(), true),
        (lang.pick("reason", "理由").into(), false),
    ];
    let row = |value: &crate::recipe::Derived| {
        vec![
            Cell::Mono(value.key.clone()),
            Cell::Text(value.value.clone()),
            Cell::Text(value.reason.get(lang).into()),
        ]
    };
    Block::Table(Table { head, rows: derived.iter().map(row).collect() })
}

fn summary(lang: Lang, data: &ReportData) -> Vec<(String, Cell)> {
    let tenth = data.curve.len().div_ceil(10);
    let loss = |points: &[CurvePoint]| mean(points.iter().map(|p| p.loss));
    let start = fmt::fixed(loss(&data.curve[..tenth]), 3);
    let end = fmt::fixed(loss(&data.curve[data.curve.len() - tenth..]), 3);
    let norms = median(data.curve.iter().map(|p| p.grad_norm));
    let largest = data.curve.iter().map(|p| p.grad_norm).filter(|n| n.is_finite()).fold(f64::NAN, f64::max);
    let speed = median(data.curve.iter().map(|p| p.tok_s));
    let steps = data.curve.iter().map(|p| p.step).max().unwrap_or(0);
    let (norm, top) = (fmt::short(norms), fmt::short(largest));
    let practised = data.curve.iter().any(|p| p.rewards.is_some());
    let mut facts: Vec<(&str, String)> = vec![
        (lang.pick("Steps", "步数"), fmt::count(steps)),
        (lang.pick("Loss, first and last tenth", "损失，最初与最后十分之一"), format!("{start} → {end}")),
        (
            lang.pick("Gradient norm", "梯度范数"),
            say!(lang, "median {norm}, largest {top}", "中位数 {norm}，最大 {top}"),
        ),
        (
            lang.pick("Speed", "速度"),
            say!(lang, "{} tokens a second (median)", "每秒 {} 个词元（中位数）", fmt::fixed(speed, 0)),
        ),
        (lang.pick("Tokens processed", "处理的词元"), fmt::count(data.trained_tokens)),
    ];
    let rewards = |points: &[CurvePoint], of: fn(&nurture_train::Rewards) -> f64| {
        mean(points.iter().filter_map(|p| p.preferred.as_ref().map(of)))
    };
    let (first, last) = (&data.curve[..tenth], &data.curve[data.curve.len() - tenth..]);
    if data.curve.iter().any(|p| p.preferred.is_some()) {
        let [a, b] = [first, last].map(|p| fmt::fixed(rewards(p, |r| r.margins), 3));
        let margins = lang.pick("Reward margin, first and last tenth", "奖励差距，最初与最后十分之一");
        facts.push((margins, format!("{a} → {b}")));
        let [a, b] = [first, last].map(|p| fmt::percent(lang, rewards(p, |r| r.accuracies)));
        let right =
            lang.pick("Better answer ahead, first and last tenth", "较好答案领先，最初与最后十分之一");
        facts.push((right, format!("{a} → {b}")));
    }
    let loss = lang.pick("Loss", "损失");
    let said = facts.into_iter().filter(|(name, _)| !practised || !name.starts_with(loss));
    said.map(|(name, value)| (name.to_string(), Cell::Text(value))).collect()
}

pub(crate) fn costs(lang: Lang, data: &ReportData) -> Vec<Block> {
    let Some(figure) = plots::costs(lang, &data.forecast, &data.outcome) else { return Vec::new() };
    vec![Block::Section("forecast", lang.pick("Forecast and outcome", "预测与结果").into()), figure]
}

pub(crate) fn ledger(lang: Lang, data: &ReportData) -> Vec<Block> {
    if data.ledger.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Section(
        "ledger",
        lang.pick("The ledger: every row accounted for", "账本：每一行都有下落").into(),
    )];
    let head = vec![
        (lang.pick("file", "文件").into(), false),
        (lang.pick("rows", "行").into(), true),
        (lang.pick("fate", "下落").into(), false),
        (lang.pick("reason", "原因").into(), false),
    ];
    let mut rows = Vec::new();
    for source in &data.ledger {
        for (index, bucket) in source.buckets.iter().enumerate() {
            let name = if index == 0 { Cell::Mono(source.path.clone()) } else { Cell::Text(String::new()) };
            rows.push(vec![
                name,
                Cell::Text(fmt::count(bucket.count)),
                Cell::Text(bucket.fate.get(lang).into()),
                Cell::Text(bucket.reason.get(lang).into()),
            ]);
        }
        let sum: u64 = source.buckets.iter().map(|bucket| bucket.count).sum();
        if source.rows != sum {
            let (path, read, sum) = (&source.path, fmt::count(source.rows), fmt::count(sum));
            blocks.push(Block::Para(say!(
                lang,
                "The ledger of {path} does not add up: {read} rows read, {sum} accounted for. This is a defect; please report it.",
                "{path} 的账不平：读了 {read} 行，记了 {sum} 行。这是程序缺陷，请报告。"
            )));
        }
    }
    blocks.push(Block::Table(Table { head, rows }));
    let sum = |of: fn(&super::data::LedgerSource) -> u64| {
        fmt::count(data.ledger.iter().filter(|source| source.role == "train").map(of).sum())
    };
    let (rows, tokens, trained) = (sum(|s| s.rows), sum(|s| s.tokens), sum(|s| s.trained_tokens));
    blocks.push(Block::Note(say!(
        lang,
        "Training files: {rows} rows read; the used ones hold {tokens} tokens, {trained} of which carry loss.",
        "训练文件：共读 {rows} 行；用到的含 {tokens} 个词元，其中 {trained} 个计入损失。"
    )));
    blocks.extend(super::cleaning::cleaning(lang, &data.cleaning));
    blocks
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|v| v.is_finite()).fold((0.0, 0u64), |(sum, count), v| (sum + v, count + 1));
    sum / count as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
