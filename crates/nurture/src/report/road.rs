//! Several stages: what each one was and what it changed, from the first base to the end.
use super::data::{ReportData, StageReport};
use super::page::{Block, Cell, Table, short};
use super::{fmt, plots, svg, training};
use crate::lang::Lang;
use crate::recipe::Method;
use crate::say;

/// The table of all stages, then each stage with its curve; nothing where there is one stage alone.
pub(crate) fn road(lang: Lang, data: &ReportData) -> Vec<Block> {
    if data.stages.is_empty() {
        return Vec::new();
    }
    let mut blocks =
        vec![Block::Section("road", lang.pick("The road, stage by stage", "一路走来的各个阶段").into())];
    blocks.push(overview(lang, data));
    blocks.push(Block::Note(
        lang.pick(
            "Every stage sat the same items. In brackets: points against the stage before, where the paired interval leaves no doubt of the direction they are marked *.",
            "各阶段考的是同样的题。括号内为相对前一阶段的百分点；配对区间能确定方向的标 *。",
        )
        .into(),
    ));
    for stage in &data.stages {
        blocks.extend(one(lang, stage));
    }
    blocks
}

/// The pictures of a run of several stages as files of their own, `(name, SVG)`: the birth, then each stage.
pub(crate) fn figures(lang: Lang, data: &ReportData) -> Vec<(String, String)> {
    let mut all: Vec<(String, Block)> = Vec::new();
    let birth = data.birth.iter().flat_map(|b| plots::curve(lang, &b.curve));
    all.extend(birth.map(|block| ("00-birth".to_string(), block)));
    for stage in &data.stages {
        let pictures = training::curves(lang, &stage.report).into_iter();
        let pictures = pictures.filter(|b| matches!(b, Block::Figure { .. }));
        all.extend(pictures.enumerate().map(|(i, block)| match i {
            0 => (stage.name.clone(), block),
            i => (format!("{}-{}", stage.name, i + 1), block),
        }));
    }
    all.extend(plots::accuracies(lang, &data.exams).map(|block| ("exams".to_string(), block)));
    all.into_iter()
        .filter_map(|(name, block)| match block {
            Block::Figure { wide, .. } => Some((name, svg::standalone(&wide))),
            _ => None,
        })
        .collect()
}

/// Exams and texts as rows, base and stages as columns.
fn overview(lang: Lang, data: &ReportData) -> Block {
    let mut head = vec![(String::new(), false), (lang.pick("base", "基座").to_string(), true)];
    head.extend(data.stages.iter().map(|s| (s.name.clone(), true)));
    let mut rows = Vec::new();
    for (i, exam) in data.exams.iter().enumerate() {
        let mut row =
            vec![Cell::Text(short(&exam.name, 60)), Cell::Text(fmt::percent(lang, exam.base.accuracy))];
        row.extend(data.stages.iter().map(|s| Cell::Text(reached(lang, s, i))));
        rows.push(row);
    }
    let texts = |d: &ReportData| -> Vec<(String, f64, f64)> {
        let all = d.depth_texts.iter().chain(&d.breadth);
        all.map(|t| (t.name.clone(), t.base_bpb, t.tuned_bpb)).collect()
    };
    for (i, (name, base, _)) in texts(data).into_iter().enumerate() {
        let name = short(&name, 60);
        let mut row = vec![
            Cell::Text(say!(lang, "{name}, bits per byte", "{name}，每字节比特数")),
            Cell::Text(fmt::fixed(base, 3)),
        ];
        row.extend(data.stages.iter().map(|s| {
            let at = texts(&s.report).get(i).map_or(f64::NAN, |t| t.2);
            Cell::Text(fmt::fixed(at, 3))
        }));
        rows.push(row);
    }
    Block::Table(Table { head, rows })
}

/// `91.5 % (+23.5*)`.
fn reached(lang: Lang, stage: &StageReport, exam: usize) -> String {
    let Some(e) = stage.report.exams.get(exam) else { return String::new() };
    let now = fmt::percent(lang, e.tuned.accuracy);
    match stage.since.get(exam).copied().flatten() {
        None => now,
        Some(s) => {
            let diff = fmt::points(s.diff);
            let sure = if s.ci[0] > 0.0 || s.ci[1] < 0.0 { "*" } else { "" };
            say!(lang, "{now} ({diff}{sure})", "{now}（{diff}{sure}）")
        }
    }
}

/// What a method is, for people.
fn meaning(lang: Lang, method: &str) -> String {
    let known = Method::CHOICES.iter().find(|c| c.name == method);
    known.map_or_else(|| method.to_string(), |c| c.doc.get(lang).to_string())
}

fn one(lang: Lang, stage: &StageReport) -> Vec<Block> {
    let d = &stage.report;
    let (name, method) = (&stage.name, &stage.method);
    let mut blocks = vec![Block::Sub(say!(lang, "{name}: {method}", "{name}：{method}"))];
    blocks.push(Block::Para(meaning(lang, method)));
    blocks.extend(training::curves(lang, d));
    let text = |text: String| Cell::Text(text);
    let mut facts = vec![
        (lang.pick("Examples", "样本").to_string(), text(fmt::count(d.train_examples))),
        (lang.pick("Steps", "步数").to_string(), text(fmt::count(d.curve.len() as u64))),
    ];
    let (before, took) = (d.forecast.seconds, d.outcome.seconds);
    let time = |seconds: Option<f64>| fmt::maybe(seconds, |s| fmt::duration(lang, s));
    let key = lang.pick("Training time, forecast and outcome", "训练时间，预测与实际").to_string();
    facts.push((key, text(format!("{} → {}", time(before), time(took)))));
    let result = if d.adapter.is_full() {
        lang.pick("the network itself", "网络本身").to_string()
    } else {
        let rank = d.adapter.rank;
        say!(lang, "LoRA, rank {rank}", "LoRA，秩 {rank}")
    };
    facts.push((lang.pick("What was trained", "训练的是").to_string(), text(result)));
    facts.push((
        lang.pick("Its folder", "目录").to_string(),
        Cell::Mono(format!("{}/{name}", crate::recipe::STAGES)),
    ));
    blocks.push(Block::Facts(facts));
    let values = vec![training::values(lang, &d.derived)];
    blocks.push(Block::Fold(lang.pick("Each value and its reason", "每个取值及其理由").into(), values));
    blocks
}
