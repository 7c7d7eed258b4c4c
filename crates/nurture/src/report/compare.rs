//! Several runs in one report: who goes how deep at what price, and what sets them apart.
use super::fmt;
use super::page::{Block, Cell, Lead, Page, Table, Tile, Tone, short};
use super::plots::figure;
use super::svg::{Anchor, Scale, Svg, standalone, ticks};
use super::verdict::word;
use super::{html, markdown};
use crate::compare::{Compared, RunLine};
use crate::lang::Lang;
use crate::say;
use nurture_eval::VerdictKind;

/// The comparison as one HTML file.
pub fn compared_html(data: &Compared, lang: Lang) -> String {
    html::render(lang, &page(lang, data))
}

/// The comparison as markdown.
pub fn compared_markdown(data: &Compared, lang: Lang) -> String {
    markdown::render(&page(lang, data))
}

/// Depth against breadth as a picture of its own; `None` with fewer than two runs that have both.
pub fn compared_svg(data: &Compared, lang: Lang) -> Option<String> {
    match front(lang, &data.runs) {
        Some(Block::Figure { wide, .. }) => Some(standalone(&wide)),
        _ => None,
    }
}

fn page(lang: Lang, data: &Compared) -> Page {
    let lead = lead(lang, data);
    let mut blocks = Vec::new();
    blocks.extend(front(lang, &data.runs));
    if !data.warnings.is_empty() {
        blocks.push(Block::List(data.warnings.iter().map(|w| w.get(lang).to_string()).collect()));
    }
    blocks.push(Block::Section("runs", lang.pick("The runs", "各次运行").into()));
    blocks.push(runs(lang, &data.runs));
    if !data.exams.is_empty() {
        blocks.push(Block::Section("exams", lang.pick("Exam by exam", "逐场考试").into()));
        for exam in &data.exams {
            blocks.push(Block::Sub(short(&exam.name, 80)));
            let (items, base) = (fmt::count(exam.items), fmt::percent(lang, exam.base));
            blocks.push(Block::Para(say!(
                lang,
                "All runs sat the same {items} items; the base of the first scores {base}. Differences are against the first run, item by item.",
                "所有运行考的是同样的 {items} 题；第一次运行的基座得分 {base}。差值均与第一次运行逐题比较。"
            )));
            let head = vec![
                (lang.pick("run", "运行").into(), false),
                (lang.pick("score", "得分").into(), true),
                (lang.pick("against the first, points", "与第一次之差，百分点").into(), true),
                (lang.pick("95\u{202f}% interval", "95% 区间").into(), true),
                ("p".into(), true),
            ];
            let rows = exam.runs.iter().zip(&data.runs).enumerate().map(|(i, (s, run))| {
                let own = |text: String| if i == 0 { "–".to_string() } else { text };
                let tone = match (s.ci[0] > 0.0 && s.p < 0.05, s.ci[1] < 0.0) {
                    (true, _) => Tone::Good,
                    (_, true) => Tone::Bad,
                    _ => Tone::Plain,
                };
                vec![
                    Cell::Text(short(&run.name, 40)),
                    Cell::Text(fmt::percent(lang, s.score)),
                    Cell::Toned(if i == 0 { Tone::Plain } else { tone }, own(fmt::points(s.diff))),
                    Cell::Text(own(fmt::point_range(lang, s.ci))),
                    Cell::Text(own(fmt::p_value(s.p))),
                ]
            });
            let rows = rows.collect();
            blocks.push(Block::Table(Table { head, rows }));
        }
    }
    for seeds in &data.seeds {
        let (n, names) = (seeds.runs.len(), short(&seeds.runs.join(", "), 200));
        let (mean, deviation) = (fmt::points(seeds.mean), fmt::fixed(100.0 * seeds.deviation, 1));
        let [low, high] = seeds.range.map(fmt::points);
        blocks.push(Block::Para(say!(
            lang,
            "{n} runs differ in their seed alone ({names}): their gains are {mean} points on average, from {low} to {high}, with a standard deviation of {deviation}. Differences smaller than that between other runs may be the seed's.",
            "有 {n} 次运行只是种子不同（{names}）：增益平均 {mean} 个百分点，从 {low} 到 {high}，标准差 {deviation}。其他运行之间小于它的差别可能只是种子造成的。"
        )));
    }
    if !data.differ.is_empty() {
        blocks.push(Block::Section("differ", lang.pick("What sets them apart", "有何不同").into()));
        let head = std::iter::once((lang.pick("key", "键").to_string(), false))
            .chain(data.runs.iter().map(|r| (short(&r.name, 24), false)))
            .collect();
        let rows = data
            .differ
            .iter()
            .map(|(key, values)| {
                std::iter::once(Cell::Mono(key.clone()))
                    .chain(values.iter().map(|v| Cell::Mono(short(v, 60))))
                    .collect()
            })
            .collect();
        blocks.push(Block::Table(Table { head, rows }));
    }
    let foot = lang.pick(
        "Written by Nurture from the reports and answers in the runs' folders.",
        "由 Nurture 根据各运行文件夹里的报告和答案写出。",
    );
    Page { title: lead.title.clone(), lead, blocks, foot: foot.into() }
}

/// The run with the greatest gain among those whose verdict is best.
fn best(runs: &[RunLine]) -> Option<&RunLine> {
    let rank = |v: VerdictKind| match v {
        VerdictKind::Deeper => 3,
        VerdictKind::DeeperButNarrower => 2,
        VerdictKind::NotShown => 1,
        VerdictKind::Worse => 0,
    };
    let gain = |r: &RunLine| r.gain.unwrap_or(f64::NEG_INFINITY);
    runs.iter().max_by(|a, b| rank(a.verdict).cmp(&rank(b.verdict)).then(gain(a).total_cmp(&gain(b))))
}

fn lead(lang: Lang, data: &Compared) -> Lead {
    let n = data.runs.len();
    let (verdict, tone, sentence) = match best(&data.runs) {
        None => (String::new(), Tone::Plain, String::new()),
        Some(run) => {
            let (name, deeper) = (short(&run.name, 60), run.verdict == VerdictKind::Deeper);
            let gain = fmt::maybe(run.gain, fmt::points);
            let price = price(lang, run);
            let text = say!(
                lang,
                "goes deepest of those with the best verdict (“{}”): {gain} points in its field, {price} in bits per byte on general text.",
                "在结论最好（“{}”）的运行中最深：本领域 {gain} 个百分点，通用文本每字节比特数 {price}。",
                word(run.verdict).get(lang)
            );
            (name, if deeper { Tone::Good } else { Tone::Caution }, text)
        }
    };
    let tiles = data
        .runs
        .iter()
        .take(6)
        .map(|run| Tile {
            label: short(&run.name, 40),
            value: fmt::maybe(run.gain, fmt::points),
            note: say!(lang, "{}; breadth {}", "{}；广度 {}", word(run.verdict).get(lang), price(lang, run)),
            tone: match run.verdict {
                VerdictKind::Deeper => Tone::Good,
                VerdictKind::Worse => Tone::Bad,
                _ => Tone::Caution,
            },
        })
        .collect();
    Lead {
        eyebrow: lang.pick("Runs compared", "运行比较").into(),
        title: say!(lang, "{n} runs side by side", "{n} 次运行并排"),
        verdict,
        tone,
        sentence,
        tiles,
    }
}

fn price(lang: Lang, run: &RunLine) -> String {
    match run.rise {
        Some(rise) => fmt::change(lang, rise),
        None => lang.pick("not measured", "未测").into(),
    }
}

fn runs(lang: Lang, runs: &[RunLine]) -> Block {
    let head = vec![
        (lang.pick("run", "运行").into(), false),
        (lang.pick("verdict", "结论").into(), false),
        (lang.pick("base", "基座").into(), false),
        (lang.pick("gain, points", "增益，百分点").into(), true),
        (lang.pick("bits per byte, general", "通用每字节比特数").into(), true),
        (lang.pick("divergence, nats a token", "差异，每词元奈特").into(), true),
        (lang.pick("training", "训练").into(), true),
    ];
    let rows = runs
        .iter()
        .map(|r| {
            vec![
                Cell::Text(short(&r.name, 40)),
                Cell::Text(word(r.verdict).get(lang).into()),
                Cell::Text(short(&r.base, 40)),
                Cell::Text(fmt::maybe(r.gain, fmt::points)),
                Cell::Text(price(lang, r)),
                Cell::Text(fmt::maybe(r.divergence, |d| fmt::fixed(d, 4))),
                Cell::Text(fmt::maybe(r.seconds, |s| fmt::duration(lang, s))),
            ]
        })
        .collect();
    Block::Table(Table { head, rows })
}

/// Runs that no other beats in both depth and breadth, by rising price.
fn unbeaten(points: &[[f64; 2]]) -> Vec<usize> {
    let beats = |a: &[f64; 2], b: &[f64; 2]| a[0] <= b[0] && a[1] >= b[1] && a != b;
    let mut out: Vec<usize> =
        (0..points.len()).filter(|&i| !points.iter().any(|p| beats(p, &points[i]))).collect();
    out.sort_by(|&a, &b| points[a][0].total_cmp(&points[b][0]));
    out
}

/// Depth against breadth: to the left is cheaper, upwards is deeper. `None` with fewer than two runs that have both.
fn front(lang: Lang, runs: &[RunLine]) -> Option<Block> {
    let known: Vec<(&RunLine, [f64; 2])> = runs
        .iter()
        .filter_map(|r| Some((r, [100.0 * r.rise?, 100.0 * r.gain?])))
        .filter(|(_, p)| p.iter().all(|v| v.is_finite()))
        .collect();
    if known.len() < 2 {
        return None;
    }
    let points: Vec<[f64; 2]> = known.iter().map(|k| k.1).collect();
    let best = unbeaten(&points);
    let span = |axis: usize| {
        let low = points.iter().map(|p| p[axis]).fold(0.0, f64::min);
        let high = points.iter().map(|p| p[axis]).fold(0.0, f64::max);
        ticks(low, high.max(low + 0.1), 4)
    };
    let (xs, ys) = (span(0), span(1));
    let axes = lang.pick(
        "Depth (upwards: gain in the own field, points) against breadth (to the right: rise of bits per byte on general text, %). ",
        "深度（纵轴：本领域增益，百分点）与广度（横轴：通用文本每字节比特数的升幅，%）。",
    );
    let joined = match best.len() {
        1 => lang
            .pick("The green run is beaten by no other in either", "绿色的运行在两方面都没有被其他运行超过"),
        _ => lang.pick(
            "The line joins the runs that no other beats in both",
            "连线是没有被其他运行在两方面都超过的运行",
        ),
    };
    let caption = format!("{axes}{joined}");
    let ends = |t: &[f64]| [t.first().copied().unwrap_or(0.0), t.last().copied().unwrap_or(1.0)];
    let digits = |t: &[f64]| if ends(t)[1] - ends(t)[0] < 3.0 { 1 } else { 0 };
    let draw = |width: f64| {
        let (height, left, right, top, bottom) = (width.min(460.0) * 0.62, 48.0, width - 16.0, 18.0, 44.0);
        let mut svg = Svg::new(width, height);
        let x = Scale { from: ends(&xs), to: [left, right] };
        let y = Scale { from: ends(&ys), to: [height - bottom, top] };
        for &tick in &ys {
            svg.line("grid", [left, y.at(tick)], [right, y.at(tick)]);
            svg.text("tick", [left - 8.0, y.at(tick) + 4.0], Anchor::End, &fmt::signed(tick, digits(&ys)));
        }
        for &tick in &xs {
            svg.line("axis", [x.at(tick), height - bottom], [x.at(tick), height - bottom + 4.0]);
            let label = format!("{}{}", fmt::signed(tick, digits(&xs)), lang.pick("\u{202f}%", "%"));
            // the last one would stand out of the picture
            let end = x.at(tick) + 24.0 > width;
            let (at, anchor) = if end { (width, Anchor::End) } else { (x.at(tick), Anchor::Middle) };
            svg.text("tick", [at, height - bottom + 18.0], anchor, &label);
        }
        svg.line("axis", [left, height - bottom], [right, height - bottom]);
        let place = |i: usize| [x.at(points[i][0]), y.at(points[i][1])];
        svg.polyline("mean", &best.iter().map(|&i| place(i)).collect::<Vec<_>>());
        for (i, (run, _)) in known.iter().enumerate() {
            let at = place(i);
            svg.dot(if best.contains(&i) { "point" } else { "pale" }, at);
            let end = at[0] > (left + right) / 2.0;
            let (shift, anchor) = if end { (-8.0, Anchor::End) } else { (8.0, Anchor::Start) };
            svg.text("value", [at[0] + shift, at[1] - 7.0], anchor, &short(&run.name, 24));
        }
        svg.text("tick", [right, height - 6.0], Anchor::End, lang.pick("dearer in breadth →", "广度代价 →"));
        svg
    };
    let text = known
        .iter()
        .enumerate()
        .map(|(i, (run, p))| {
            let mark = if best.contains(&i) { "*" } else { " " };
            format!("{mark} {}  {} / {} %\n", run.name, fmt::signed(p[1], 1), fmt::signed(p[0], 2))
        })
        .collect();
    Some(figure(caption, text, draw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{ExamLine, Score, Seeds};

    /// Invented figures, for tests of the form only.
    fn sample() -> Compared {
        let run = |name: &str, verdict, gain, rise| RunLine {
            name: name.into(),
            verdict,
            base: "smollm2".into(),
            gain: Some(gain),
            rise,
            divergence: Some(0.04),
            seconds: Some(300.0),
        };
        Compared {
            runs: vec![
                run("plain", VerdictKind::DeeperButNarrower, 0.21, Some(0.09)),
                run("keep", VerdictKind::Deeper, 0.20, Some(0.01)),
                run("small <b>", VerdictKind::NotShown, 0.02, Some(0.03)),
            ],
            exams: vec![ExamLine {
                name: "desk".into(),
                items: 400,
                base: 0.3,
                runs: vec![
                    Score { score: 0.51, diff: 0.0, ci: [0.0, 0.0], p: 1.0 },
                    Score { score: 0.50, diff: -0.01, ci: [-0.03, 0.01], p: 0.4 },
                    Score { score: 0.32, diff: -0.19, ci: [-0.24, -0.14], p: 1e-9 },
                ],
            }],
            differ: vec![("train.keep.share".into(), vec!["0".into(), "0.25".into(), "0.25".into()])],
            seeds: vec![Seeds {
                runs: vec!["a".into(), "b".into()],
                mean: 0.2,
                deviation: 0.012,
                range: [0.19, 0.21],
            }],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_front_holds_what_nothing_beats() {
        assert_eq!(unbeaten(&[[9.0, 21.0], [1.0, 20.0], [3.0, 2.0]]), [1, 0]);
        assert_eq!(unbeaten(&[[1.0, 1.0], [1.0, 1.0]]), [0, 1]);
        assert_eq!(best(&sample().runs).unwrap().name, "keep");
    }

    #[test]
    fn both_languages_and_both_forms() {
        for lang in Lang::ALL {
            let (page, text) = (compared_html(&sample(), lang), compared_markdown(&sample(), lang));
            assert!(page.contains("<svg") && !page.contains("small <b>"), "{page}");
            for part in ["keep", "train.keep.share", "400"] {
                assert!(page.contains(part) && text.contains(part), "{part}");
            }
        }
        let picture = compared_svg(&sample(), Lang::En).unwrap();
        assert!(picture.starts_with("<svg xmlns=") && picture.contains("prefers-color-scheme"));
        assert!(picture.contains("small &lt;b&gt;"), "{picture}");
        let bare = Compared { runs: vec![RunLine::default(); 2], ..Compared::default() };
        assert!(!compared_html(&bare, Lang::En).contains("<svg"));
        assert_eq!(compared_svg(&bare, Lang::En), None);
    }
}
