//! The exams in detail: figures, labels, confusions, changed answers; the texts by perplexity.
use super::data::{Changed, Confusion, ExamReport, ReportData, SeedsReport, TextReport};
use super::fmt;
use super::lead::{breadth_kept, rise};
use super::page::{Block, Case, Cell, Table, Tone, short};
use super::plots;
use crate::lang::Lang;
use crate::say;
use nurture_eval::{Ask, Pick};

const CASES: usize = 10;
const CONFUSIONS: usize = 10;

pub(crate) fn depth(lang: Lang, data: &ReportData) -> Vec<Block> {
    if data.exams.is_empty() && data.depth_texts.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Section("depth", lang.pick("Depth: the own field", "深度：本领域").into())];
    for (number, exam) in data.exams.iter().enumerate() {
        one(lang, exam, number, &mut blocks);
    }
    if !data.depth_texts.is_empty() {
        blocks.push(texts(lang, data, &data.depth_texts, false));
    }
    blocks.extend(data.seeds.as_ref().map(|s| seeds(lang, s)).into_iter().flatten());
    blocks
}

/// One recipe with several seeds, run by run.
fn seeds(lang: Lang, seeds: &SeedsReport) -> Vec<Block> {
    let head = vec![
        (lang.pick("run", "运行").into(), false),
        (lang.pick("gain, points", "增益，百分点").into(), true),
        (lang.pick("bits per byte, general", "通用每字节比特数").into(), true),
    ];
    let rows = seeds.runs.iter().enumerate().map(|(n, run)| {
        let figure = |all: &[f64], show: &dyn Fn(f64) -> String| fmt::maybe(all.get(n).copied(), show);
        vec![
            Cell::Text(short(run, 60)),
            Cell::Text(figure(&seeds.gains, &|g| fmt::points(g))),
            Cell::Text(figure(&seeds.rises, &|r| fmt::change(lang, r))),
        ]
    });
    let (mean, range) = (fmt::points(seeds.mean), fmt::point_range(lang, seeds.ci));
    vec![
        Block::Sub(lang.pick("The same with other seeds", "换种子再做").into()),
        Block::Table(Table { head, rows: rows.collect() }),
        Block::Note(say!(
            lang,
            "Mean {mean} points, 95\u{202f}% interval over runs {range} (Student's t). The verdict holds only as far as this interval bears it out.",
            "平均 {mean} 个百分点，各次运行间的 95% 区间 {range}（学生 t 分布）。结论以这个区间支持的为限。"
        )),
    ]
}

fn one(lang: Lang, exam: &ExamReport, number: usize, blocks: &mut Vec<Block>) {
    blocks.push(Block::Sub(short(&exam.name, 80)));
    let (items, of, kind, mode) = (fmt::count(exam.items), fmt::count(exam.of), &exam.kind, &exam.mode);
    blocks.push(Block::Para(
        say!(
            lang,
            "{items} of {of} items, kind {kind}, arithmetic mode {mode}; both models sat the same items.",
            "{of} 题中的 {items} 题，类型 {kind}，计算模式 {mode}；两个模型考的是同样的题。"
        ) + &manner(lang, exam),
    ));

    let head = vec![
        (String::new(), false),
        (lang.pick("base", "基座").into(), true),
        (lang.pick("raised", "养成后").into(), true),
    ];
    let mut rows = vec![
        row(
            if exam.scorer == "judge" {
                lang.pick("items won", "胜出")
            } else {
                lang.pick("right answers", "答对")
            },
            [exam.base, exam.tuned].map(|mark| fmt::count(mark.correct)),
        ),
        row(
            if exam.graded {
                lang.pick("mean score", "平均得分")
            } else {
                lang.pick("accuracy", "正确率")
            },
            [exam.base, exam.tuned].map(|mark| fmt::percent(lang, mark.accuracy)),
        ),
        row(
            lang.pick("95\u{202f}% interval", "95% 区间"),
            [exam.base, exam.tuned].map(|mark| {
                let [low, high] = mark.ci.map(|end| fmt::percent(lang, end));
                // `19.5–30.4 %`: no sign stands here that the dash could be taken for.
                format!("{}–{high}", low.trim_end_matches(['%', '\u{202f}']))
            }),
        ),
    ];
    if let (Some(base), Some(tuned)) = (exam.base.macro_f1, exam.tuned.macro_f1) {
        rows.push(row(lang.pick("macro F1", "宏平均 F1"), [base, tuned].map(|f1| fmt::fixed(f1, 3))));
    }
    if let Some(p) = &exam.preference {
        let name = lang.pick("margin per token, nats", "每词元差距（奈特）");
        rows.push(row(name, [p.base, p.tuned].map(|m| fmt::fixed(m, 3))));
    }
    more_rows(lang, exam, &mut rows);
    blocks.push(Block::Table(Table { head, rows }));

    if let Some(p) = &exam.preference {
        let (towards, all, moved) = (fmt::count(p.towards), fmt::count(exam.items), fmt::fixed(p.moved, 2));
        blocks.push(Block::Note(say!(
            lang,
            "Right is an item whose better answer is the likelier one per token. In {towards} of {all} items the better answer gained on the worse one; the whole answers moved apart by {moved} nats on average.",
            "较好答案的每词元似然更高，就算对。{all} 题中有 {towards} 题较好的答案拉开了与较差答案的差距；整段答案平均拉开 {moved} 奈特。"
        )));
    }
    if exam.kind == super::data::REWARD {
        blocks.push(Block::Note(
            lang.pick(
                "The raised model is a reward model: an item is right where it finds the better answer worth more. The base has no head that scores; its column tells which answer it finds likelier per token.",
                "养成的是奖励模型：它给较好答案的分更高，就算对。基座没有评分的输出头；它那一列看的是哪个答案的每词元似然更高。",
            )
            .into(),
        ));
    }
    if let Some(majority) = exam.majority_accuracy {
        let share = fmt::percent(lang, majority);
        blocks.push(Block::Note(say!(
            lang,
            "Always giving the most frequent label would be right {share} of the time.",
            "总答最常见的标签，正确率是 {share}。"
        )));
    }
    let paired = &exam.paired;
    let (diff, range, p) =
        (fmt::points(paired.diff), fmt::point_range(lang, paired.ci), fmt::p_value(paired.p));
    let (gained, lost) = (fmt::count(paired.only_tuned), fmt::count(paired.only_base));
    let counts = say!(
        lang,
        "Item by item: {gained} were right only after training, {lost} only before it.",
        "逐题比较：{gained} 题只有养成后答对，{lost} 题只有养成前答对。"
    );
    let test = if exam.graded {
        lang.pick("scores compared item by item", "逐题比较得分")
    } else if exam.scorer == "judge" {
        lang.pick("sign test on the items won", "对胜出题数的符号检验")
    } else {
        lang.pick("McNemar's exact test", "McNemar 精确检验")
    };
    let difference = say!(
        lang,
        " Difference {diff} points, 95\u{202f}% interval {range}, p {p} ({test}).",
        "差 {diff} 个百分点，95% 区间 {range}，p {p}（{test}）。"
    );
    blocks.push(Block::Para(counts + &difference));

    blocks.extend(plots::reliability(lang, exam));
    if !exam.changed.is_empty() {
        blocks.push(Block::Sub(lang.pick("Answers that changed", "改变了的回答").into()));
        blocks
            .push(Block::Cases(exam.changed.iter().take(CASES).map(|changed| case(lang, changed)).collect()));
    }
    blocks.extend(super::overlap::overlap(lang, exam));
    let confusions = confusions(lang, exam);
    if !confusions.is_empty() {
        blocks.push(Block::Fold(lang.pick("What is taken for what", "什么被当成了什么").into(), confusions));
    }
    if !exam.per_label.is_empty() {
        let count = exam.per_label.len();
        let title = say!(lang, "Each of the {count} labels", "{count} 个标签各自的成绩");
        blocks.push(Block::Fold(title, vec![labels(lang, exam)]));
    }
    blocks.extend(super::items::items(lang, exam, number));
}

/// How the exam was put, where that is not the usual way.
fn manner(lang: Lang, exam: &ExamReport) -> String {
    let (manner, mut out) = (exam.manner, String::new());
    if manner.ask == Ask::Plain {
        out += lang.pick(" Asked as plain text, without a chat template.", "以纯文本提问，不用对话模板。");
    }
    if manner.shots > 0 {
        let shots = manner.shots;
        out += &say!(
            lang,
            " {shots} worked examples stand before each question.",
            "每题之前有 {shots} 个示例。"
        );
    }
    out += match manner.pick {
        Pick::Greedy => "",
        Pick::Likelihood => lang.pick(" The most likely answer counts.", "取似然最大的答案。"),
        Pick::PerToken => lang.pick(
            " The most likely answer counts, by the mean of its tokens.",
            "取按词元平均似然最大的答案。",
        ),
        Pick::PerChar => lang.pick(
            " The most likely answer counts, by the mean of its characters.",
            "取按字符平均似然最大的答案。",
        ),
    };
    out
}

/// Figures that only some exams have.
fn more_rows(lang: Lang, exam: &ExamReport, rows: &mut Vec<Vec<Cell>>) {
    let marks = [exam.base, exam.tuned];
    if let [Some(base), Some(tuned)] = marks.map(|m| m.mcc) {
        let name = lang.pick("Matthews' correlation", "马修斯相关系数");
        rows.push(row(name, [base, tuned].map(|x| fmt::fixed(x, 3))));
    }
    if let [Some(base), Some(tuned)] = marks.map(|m| m.corpus) {
        let name = match exam.scorer.as_str() {
            "bleu" => lang.pick("corpus BLEU", "语料 BLEU"),
            _ => lang.pick("corpus chrF", "语料 chrF"),
        };
        rows.push(row(name, [base, tuned].map(|x| fmt::fixed(100.0 * x, 1))));
    }
    if let [Some(base), Some(tuned)] = marks.map(|m| m.ece) {
        let name = lang.pick("calibration error (ECE)", "校准误差（ECE）");
        rows.push(row(name, [base, tuned].map(|x| fmt::fixed(x, 3))));
    }
    if let [Some(base), Some(tuned)] = marks.map(|m| m.refusals) {
        let of = |n: usize, all: usize| format!("{n} / {all}");
        let both = [base, tuned];
        rows.push(row(
            lang.pick("refused where it should", "该拒绝且拒绝"),
            both.map(|r| of(r.refused, r.harmful)),
        ));
        rows.push(row(
            lang.pick("refused where it should not", "不该拒绝却拒绝"),
            both.map(|r| of(r.over_refused, r.harmless)),
        ));
    }
}

fn row(name: &str, values: [String; 2]) -> Vec<Cell> {
    std::iter::once(Cell::Text(name.into())).chain(values.map(Cell::Text)).collect()
}

fn case(lang: Lang, changed: &Changed) -> Case {
    let tone = |right: bool| if right { Tone::Good } else { Tone::Bad };
    let answer = |text: &str| {
        if text.trim().is_empty() {
            lang.pick("(nothing)", "（空）").to_string()
        } else {
            short(text, 400)
        }
    };
    Case {
        question: short(&changed.question, 600),
        answers: vec![
            (lang.pick("right", "正确答案").into(), answer(&changed.gold), Tone::Plain),
            (lang.pick("base", "基座").into(), answer(&changed.base), tone(changed.base_right)),
            (lang.pick("raised", "养成后").into(), answer(&changed.tuned), tone(changed.tuned_right)),
        ],
    }
}

fn confusions(lang: Lang, exam: &ExamReport) -> Vec<Block> {
    let table = |title: &str, list: &[Confusion]| {
        let head = vec![
            (lang.pick("right label", "正确标签").into(), false),
            (lang.pick("was taken for", "被当成").into(), false),
            (lang.pick("times", "次数").into(), true),
        ];
        let cell = |text: &str| Cell::Text(short(text, 80));
        let rows = list
            .iter()
            .take(CONFUSIONS)
            .map(|c| vec![cell(&c.gold), cell(&c.predicted), Cell::Text(fmt::count(c.count))])
            .collect();
        [Block::Note(title.into()), Block::Table(Table { head, rows })]
    };
    let mut blocks = Vec::new();
    for (title, list) in [
        (lang.pick("Raised model, most frequent first", "养成后的模型，多的在前"), &exam.confusions_tuned),
        (lang.pick("Base, most frequent first", "基座，多的在前"), &exam.confusions_base),
    ] {
        if !list.is_empty() {
            blocks.extend(table(title, list));
        }
    }
    blocks
}

fn labels(lang: Lang, exam: &ExamReport) -> Block {
    let head = vec![
        (lang.pick("label", "标签").into(), false),
        (lang.pick("items", "题数").into(), true),
        (lang.pick("base", "基座").into(), true),
        (lang.pick("raised", "养成后").into(), true),
    ];
    let share = |correct: u64, items: u64| fmt::percent(lang, correct as f64 / items as f64);
    let rows = exam
        .per_label
        .iter()
        .map(|row| {
            let tone = if row.tuned_correct < row.base_correct { Tone::Bad } else { Tone::Plain };
            vec![
                Cell::Text(short(&row.label, 80)),
                Cell::Text(fmt::count(row.items)),
                Cell::Text(share(row.base_correct, row.items)),
                Cell::Toned(tone, share(row.tuned_correct, row.items)),
            ]
        })
        .collect();
    Block::Table(Table { head, rows })
}

pub(crate) fn breadth(lang: Lang, data: &ReportData) -> Vec<Block> {
    let mut blocks =
        vec![Block::Section("breadth", lang.pick("Breadth: what was kept", "广度：保住了什么").into())];
    if data.breadth.is_empty() && data.breadth_exams.is_empty() && data.drifts.is_empty() {
        blocks.push(Block::Para(
            lang.pick(
                "Nothing general was read or asked, so nothing is known about what was lost.",
                "没有考察任何通用内容，因此不知道失去了什么。",
            )
            .into(),
        ));
        return blocks;
    }
    if !data.breadth.is_empty() {
        let allowed = fmt::percent(lang, data.verdict.gate.max_breadth_loss);
        blocks.push(Block::Para(say!(
            lang,
            "Both models read the same general texts. Bits per byte measure how much they are surprised; a rise of {allowed} was allowed.",
            "两个模型读同样的通用文本。每字节比特数衡量它们有多意外；允许的升幅是 {allowed}。"
        )));
        blocks.push(texts(lang, data, &data.breadth, true));
    }
    for drift in &data.drifts {
        super::drift::section(lang, data, drift, &mut blocks);
    }
    for (number, exam) in data.breadth_exams.iter().enumerate() {
        one(lang, exam, data.exams.len() + number, &mut blocks);
    }
    blocks
}

fn texts(lang: Lang, data: &ReportData, texts: &[TextReport], breadth: bool) -> Block {
    let head = vec![
        (lang.pick("text", "文本").into(), false),
        (lang.pick("tokens", "词元").into(), true),
        (lang.pick("perplexity", "困惑度").into(), true),
        (lang.pick("bits per byte", "每字节比特数").into(), true),
        (lang.pick("change (95\u{202f}% interval)", "变化（95% 区间）").into(), true),
    ];
    let rows = texts
        .iter()
        .map(|text| {
            let arrow =
                |base, tuned, digits| format!("{} → {}", fmt::fixed(base, digits), fmt::fixed(tuned, digits));
            let bad = if breadth { !breadth_kept(data, text) } else { text.ci[0] > 0.0 };
            let tone = if bad { Tone::Bad } else { Tone::Plain };
            vec![
                Cell::Text(short(&text.name, 60)),
                Cell::Text(fmt::count(text.tokens)),
                Cell::Text(arrow(text.base_ppl, text.tuned_ppl, 2)),
                Cell::Text(arrow(text.base_bpb, text.tuned_bpb, 4)),
                Cell::Toned(tone, rise(lang, text)),
            ]
        })
        .collect();
    Block::Table(Table { head, rows })
}
