//! The first screen: what was raised from what, how deep, what was lost, what it cost, what to beware of.
use super::data::{ExamReport, ReportData, TextReport};
use super::fmt;
use super::page::{Lead, Tile, Tone, short};
use super::verdict::word;
use crate::lang::Lang;
use crate::say;
use nurture_eval::{Finding, VerdictKind};

pub(crate) fn lead(lang: Lang, data: &ReportData) -> Lead {
    let title = if data.title.is_empty() { &data.run } else { &data.title };
    let tone = match data.verdict.kind {
        VerdictKind::Deeper => Tone::Good,
        VerdictKind::DeeperButNarrower | VerdictKind::NotShown => Tone::Caution,
        VerdictKind::Worse => Tone::Bad,
    };
    let mut eyebrow = vec![lang.pick("Deep model report", "深模型报告").to_string()];
    eyebrow.extend([&data.run, &data.created].into_iter().filter(|part| !part.is_empty()).cloned());
    Lead {
        eyebrow: eyebrow.join(" · "),
        title: title.clone(),
        verdict: word(data.verdict.kind).get(lang).into(),
        tone,
        sentence: sentence(lang, data),
        tiles: tiles(lang, data, tone),
    }
}

/// The exam that the first screen speaks of: the first one, unless a later one is what made the verdict.
fn main_exam(data: &ReportData) -> Option<&ExamReport> {
    let decisive = match data.verdict.kind {
        VerdictKind::Worse => Finding::Loss,
        VerdictKind::Deeper | VerdictKind::DeeperButNarrower => Finding::Gain,
        VerdictKind::NotShown => Finding::Neither,
    };
    let at = data.verdict.exams.iter().position(|&finding| finding == decisive).unwrap_or(0);
    data.exams.get(at)
}

/// The general text that suffered most.
fn main_breadth(data: &ReportData) -> Option<&TextReport> {
    data.breadth.iter().max_by(|a, b| a.rise().total_cmp(&b.rise()))
}

fn sentence(lang: Lang, data: &ReportData) -> String {
    let mut parts = Vec::new();
    match (main_exam(data), data.depth_texts.first()) {
        (Some(exam), _) => parts.push(on_exam(lang, data, exam)),
        (None, Some(text)) => parts.push(on_text(lang, text)),
        (None, None) => parts.push(
            lang.pick(
                "No exam was sat, so nothing is known about its depth.",
                "没有考试，因此深度无从知晓。",
            )
            .into(),
        ),
    }
    if let Some(seeds) = &data.seeds {
        let (n, mean, range) = (seeds.gains.len(), fmt::points(seeds.mean), fmt::point_range(lang, seeds.ci));
        parts.push(say!(
            lang,
            "Over {n} runs with different seeds the gain is {mean} points on average (95\u{202f}% interval {range}).",
            "{n} 次不同种子的运行，增益平均 {mean} 个百分点（95% 区间 {range}）。"
        ));
    }
    if let Some(text) = main_breadth(data) {
        parts.push(on_breadth(lang, data, text));
    } else {
        parts.push(lang.pick("Breadth was not measured.", "广度没有测量。").into());
    }
    parts.join(lang.pick(" ", ""))
}

fn on_exam(lang: Lang, data: &ReportData, exam: &ExamReport) -> String {
    let (name, items) = (short(&exam.name, 60), fmt::count(exam.items));
    let (base, tuned) = (fmt::percent(lang, exam.base.accuracy), fmt::percent(lang, exam.tuned.accuracy));
    let (diff, range) = (fmt::points(exam.paired.diff), fmt::point_range(lang, exam.paired.ci));
    let scores = say!(
        lang,
        "On the same {items} items of “{name}” the base scores {base} and the raised model {tuned}: {diff} points (95\u{202f}% interval {range}).",
        "在“{name}”的同样 {items} 题上，基座得分 {base}，养成后得分 {tuned}：{diff} 个百分点（95% 区间 {range}）。"
    );
    let facts = say!(
        lang,
        "On the same {items} items of “{name}” the base answers {base} right and the raised model {tuned}: {diff} points (95\u{202f}% interval {range}).",
        "在“{name}”的同样 {items} 题上，基座答对 {base}，养成后答对 {tuned}：{diff} 个百分点（95% 区间 {range}）。"
    );
    let judged = say!(
        lang,
        "On the same {items} items of “{name}” a judge prefers the base's answer in {base} and the raised model's in {tuned}, both in either order: {diff} points (95\u{202f}% interval {range}).",
        "在“{name}”的同样 {items} 题上，裁判在两种顺序下都选基座的占 {base}，都选养成后的占 {tuned}：{diff} 个百分点（95% 区间 {range}）。"
    );
    let asked = fmt::fixed(data.verdict.gate.min_gain * 100.0, 1);
    let more = match data.verdict.kind {
        VerdictKind::NotShown if exam.paired.ci[0] > data.verdict.gate.min_gain => {
            let p = fmt::p_value(exam.paired.p);
            match data.exams.len() + data.depth_texts.len() {
                1 => say!(
                    lang,
                    " Too few answers differ to be sure of it (p = {p}).",
                    "两者答案不同的题太少，不足以确认（p = {p}）。"
                ),
                n => say!(
                    lang,
                    " Too few answers differ to be sure of it (p = {p}, to be corrected for {n} exams).",
                    "两者答案不同的题太少，不足以确认（p = {p}，还须按 {n} 场考试校正）。"
                ),
            }
        }
        VerdictKind::NotShown if exam.paired.ci[0] > 0.0 => {
            say!(
                lang,
                " That is not surely the {asked} points that were asked for.",
                "不足以确认达到要求的 {asked} 个百分点。"
            )
        }
        VerdictKind::NotShown => {
            lang.pick(" Such a difference can be chance.", "这样的差别可能出于偶然。").into()
        }
        _ => String::new(),
    };
    match exam.scorer.as_str() {
        "judge" => judged + &more,
        _ if exam.graded => scores + &more,
        _ => facts + &more,
    }
}

fn on_text(lang: Lang, text: &TextReport) -> String {
    let name = short(&text.name, 60);
    let (base, tuned) = (fmt::fixed(text.base_ppl, 2), fmt::fixed(text.tuned_ppl, 2));
    let change = rise(lang, text);
    say!(
        lang,
        "On the field's text “{name}” perplexity goes from {base} to {tuned}: {change} bits per byte.",
        "在本领域文本“{name}”上，困惑度从 {base} 变为 {tuned}：每字节比特数 {change}。"
    )
}

fn on_breadth(lang: Lang, data: &ReportData, text: &TextReport) -> String {
    let (change, allowed) = (rise(lang, text), fmt::percent(lang, data.verdict.gate.max_breadth_loss));
    if !breadth_kept(data, text) {
        return say!(
            lang,
            "General text became harder for it: bits per byte changed by {change}, where {allowed} was allowed.",
            "通用文本对它变难了：每字节比特数 {change}，允许的上限是 {allowed}。"
        );
    }
    let [low, high] = text.rise_ci();
    if low > 0.0 {
        say!(
            lang,
            "It cost some breadth: bits per byte on general text changed by {change}, within the {allowed} allowed.",
            "广度有所损失：通用文本每字节比特数 {change}，在允许的 {allowed} 之内。"
        )
    } else if high < 0.0 {
        say!(
            lang,
            "General text even became easier: bits per byte changed by {change}.",
            "通用文本反而更容易了：每字节比特数 {change}。"
        )
    } else {
        say!(
            lang,
            "No loss of breadth was seen: bits per byte on general text changed by {change}.",
            "未见广度损失：通用文本每字节比特数 {change}。"
        )
    }
}

/// `+0.4 % (−0.1 to +0.9)`.
pub(crate) fn rise(lang: Lang, text: &TextReport) -> String {
    let [low, high] = text.rise_ci().map(fmt::points);
    let (change, range) = (fmt::change(lang, text.rise()), fmt::range(lang, low, high));
    say!(lang, "{change} ({range})", "{change}（{range}）")
}

pub(crate) fn breadth_kept(data: &ReportData, text: &TextReport) -> bool {
    text.rise() <= data.verdict.gate.max_breadth_loss
}

fn tiles(lang: Lang, data: &ReportData, tone: Tone) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(exam) = main_exam(data) {
        let (diff, range) = (fmt::points(exam.paired.diff), fmt::point_range(lang, exam.paired.ci));
        tiles.push(Tile {
            label: if exam.graded {
                lang.pick("Depth: score", "深度：得分").into()
            } else {
                lang.pick("Depth: right answers", "深度：答对的题").into()
            },
            value: format!(
                "{} → {}",
                fmt::percent(lang, exam.base.accuracy),
                fmt::percent(lang, exam.tuned.accuracy)
            ),
            note: say!(lang, "{diff} points ({range})", "{diff} 个百分点（{range}）"),
            // A loss of breadth is the next tile's colour.
            tone: if data.verdict.kind == VerdictKind::DeeperButNarrower { Tone::Good } else { tone },
        });
    } else if let Some(text) = data.depth_texts.first() {
        tiles.push(Tile {
            label: lang.pick("Depth: perplexity", "深度：困惑度").into(),
            value: format!("{} → {}", fmt::fixed(text.base_ppl, 2), fmt::fixed(text.tuned_ppl, 2)),
            note: rise(lang, text),
            tone,
        });
    }
    if let Some(text) = main_breadth(data) {
        let (base, tuned) = (fmt::fixed(text.base_ppl, 2), fmt::fixed(text.tuned_ppl, 2));
        tiles.push(Tile {
            label: lang.pick("Breadth: bits per byte, general text", "广度：通用文本每字节比特数").into(),
            value: fmt::change(lang, text.rise()),
            note: say!(
                lang,
                "less is better; perplexity {base}\u{a0}→\u{a0}{tuned}",
                "越小越好；困惑度 {base}\u{a0}→\u{a0}{tuned}"
            ),
            tone: if breadth_kept(data, text) { Tone::Plain } else { Tone::Caution },
        });
    }
    let (rank, params) = (data.adapter.rank, fmt::many(lang, data.base.params));
    let examples = taught_with(lang, data);
    tiles.push(Tile {
        label: lang.pick("Raised from", "基座").into(),
        value: short(&data.base.name, 40),
        note: match data.adapter.is_full() {
            true => say!(
                lang,
                "{params} parameters; taught with {examples} examples, full training",
                "{params}参数；用 {examples} 个样本教，全参数训练"
            ),
            false => say!(
                lang,
                "{params} parameters; taught with {examples} examples, LoRA rank {rank}",
                "{params}参数；用 {examples} 个样本教，LoRA 秩 {rank}"
            ),
        },
        tone: Tone::Plain,
    });
    let seconds = data.outcome.total_seconds.or(data.outcome.seconds);
    let memory = fmt::maybe(data.outcome.memory_bytes, fmt::bytes);
    let threads = data.machine.threads;
    tiles.push(Tile {
        label: lang.pick("Cost", "开销").into(),
        value: fmt::maybe(seconds, |seconds| fmt::duration(lang, seconds)),
        note: say!(
            lang,
            "{memory} of memory, {threads} threads, no GPU",
            "内存最多 {memory}，{threads} 个线程，不用 GPU"
        ),
        tone: Tone::Plain,
    });
    tiles
}

/// The examples that a run learnt from: of less than one pass a part of them.
fn taught_with(lang: Lang, data: &ReportData) -> String {
    let all = fmt::count(data.train_examples);
    let epochs =
        data.derived.iter().find(|d| d.key == "train.epochs").and_then(|d| d.value.parse::<f64>().ok());
    match epochs.filter(|e| (0.0..1.0).contains(e)) {
        Some(part) => {
            let seen = fmt::count((part * data.train_examples as f64).ceil() as u64);
            say!(lang, "about {seen} of {all}", "{all} 个中约 {seen}")
        }
        None => all,
    }
}

/// What a reader should not conclude from the figures.
pub(crate) fn limits(lang: Lang, data: &ReportData) -> Vec<String> {
    let mut out: Vec<String> = data.warnings.iter().map(|warning| warning.get(lang).to_string()).collect();
    for exam in &data.exams {
        // what stands in the training data too was left out before any were drawn, and is told elsewhere
        let gone = if exam.overlap_left_out { exam.overlap.len() as u64 } else { 0 };
        let left = exam.of.saturating_sub(gone);
        let (name, items, of) = (short(&exam.name, 60), fmt::count(exam.items), fmt::count(left));
        if exam.items < left {
            let how = if exam.stratified {
                lang.pick(", evenly from each label", "，按标签等比例")
            } else {
                ""
            };
            out.push(say!(
                lang,
                "“{name}”: {items} of {of} items were drawn{how}; the interval says how sure that makes the figure.",
                "“{name}”：从 {of} 题中抽了 {items} 题{how}；区间说明由此得到的数字有多可靠。"
            ));
        }
        let least = exam.paired.minimum_detectable.filter(|_| !exam.graded);
        if let Some(least) = least.filter(|least| exam.paired.diff.abs() < *least) {
            let least = fmt::fixed(least * 100.0, 1);
            out.push(say!(
                lang,
                "“{name}”: so many items find a gain reliably only from about {least} points on.",
                "“{name}”：这么多题，只有约 {least} 个百分点以上的增益才能可靠地看出来。"
            ));
        }
        if exam.scorer == "judge" {
            out.push(say!(
                lang,
                "“{name}” was judged by another model, which has preferences of its own: length, style, answers like its own.",
                "“{name}”由另一个模型评判，它有自己的偏好：长度、文风、与自己相像的回答。"
            ));
        }
        if exam.kind == "label" && exam.labels > 0 {
            let labels = exam.labels;
            out.push(say!(
                lang,
                "“{name}”: answers were limited to its {labels} labels. A question that fits none of them would still get one.",
                "“{name}”：答案限定为 {labels} 个标签之一。哪个都不合适的问题，也仍会得到一个。"
            ));
        }
    }
    if !data.exams.is_empty() {
        out.push(match &data.seeds {
            Some(_) => lang.pick(
                "The interval over seeds covers another start and order of the data; those of single exams cover the choice of items. Neither covers other training data, or users who ask differently.",
                "种子间的区间涵盖不同的初始化和数据顺序；单场考试的区间涵盖题目的抽样。两者都不涵盖换训练数据，或用户换一种问法。",
            ),
            None => lang.pick(
                "The intervals cover the choice of items, not another seed, other training data, or users who ask differently.",
                "区间只涵盖题目的抽样，不涵盖换种子、换训练数据，或用户换一种问法。",
            ),
        }
        .into());
    }
    if !data.breadth.is_empty() {
        let size = fmt::bytes(data.breadth.iter().map(|text| text.bytes as f64).sum());
        out.push(say!(
            lang,
            "Breadth was measured by perplexity on {size} of general text. That says little about conversation, facts or safety.",
            "广度以 {size} 通用文本的困惑度衡量，不能说明对话、事实和安全方面的表现。"
        ));
    }
    if let Some(drift) = data.drifts.iter().max_by(|a, b| a.kl.total_cmp(&b.kl)) {
        let (name, kl) = (short(&drift.name, 60), fmt::fixed(drift.kl, 2));
        let agree = fmt::percent(lang, drift.agree);
        out.push(say!(
            lang,
            "“{name}”: on the base's own answers to general prompts the raised model would have said the same token {agree} of the time ({kl} nats a token apart). That is how much its manner has changed, whatever perplexity says.",
            "“{name}”：读基座对通用提示的回答时，养成后的模型有 {agree} 的词元会说得相同（每词元相差 {kl} 奈特）。无论困惑度如何，这就是它的表达方式改变的程度。"
        ));
    }
    let (name, licence) = (&data.base.name, &data.base.licence);
    out.push(if licence.is_empty() {
        say!(
            lang,
            "The licence of {name} is not known to us: check it before use.",
            "{name} 的许可证未知：使用前请先查明。"
        )
    } else {
        say!(
            lang,
            "{name} is under {licence}; its terms apply to the raised model too.",
            "{name} 采用 {licence} 许可；由它养成的模型同样受其约束。"
        )
    });
    out
}
