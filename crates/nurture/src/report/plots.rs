//! The pictures of the report, each drawn at a given width so that its letters stay readable on a phone.
use super::data::{Cost, CurvePoint, ExamReport, Mark};
use super::fmt;
use super::page::{Block, short};
use super::svg::{Anchor, Scale, Svg, ticks};
use crate::lang::Lang;
use crate::say;

const WIDE: f64 = 720.0;
const NARROW: f64 = 340.0;

pub(crate) fn figure(caption: String, text: String, draw: impl Fn(f64) -> Svg) -> Block {
    let wide = draw(WIDE).finish("wide", &caption);
    let narrow = draw(NARROW).finish("narrow", &caption);
    Block::Figure { wide, narrow, text, caption }
}

/// Loss over steps, as it was (pale) and its running mean. `None` without a finite point.
pub(crate) fn curve(lang: Lang, points: &[CurvePoint]) -> Option<Block> {
    let caption = match points.iter().any(|p| p.preferred.is_some()) {
        false => lang.pick(
            "Training loss over steps: nats per trained token; pale as it was, dark its running mean",
            "训练损失随步数变化：每个受训词元的奈特；浅色为原值，深色为滑动平均",
        ),
        true => lang.pick(
            "Training loss over steps: mean of the answers that are compared; pale as it was, dark its running mean",
            "训练损失随步数变化：所比较答案的平均；浅色为原值，深色为滑动平均",
        ),
    };
    let points = points.iter().map(|p| [p.step as f64, p.loss]).collect();
    line(lang, points, caption)
}

/// Reward margins of a preference over steps. `None` for other methods.
pub(crate) fn margins(lang: Lang, points: &[CurvePoint]) -> Option<Block> {
    let points = points.iter().filter_map(|p| Some([p.step as f64, p.preferred?.margins])).collect();
    let caption = lang.pick(
        "Reward margin over steps: reward of the better answers less that of the worse ones",
        "奖励差距随步数变化：较好答案的奖励减去较差答案的奖励",
    );
    line(lang, points, caption)
}

/// A figure over steps, as it was (pale) and its running mean. `None` without a finite point.
pub(crate) fn line(lang: Lang, mut points: Vec<[f64; 2]>, caption: &str) -> Option<Block> {
    points.retain(|p| p[1].is_finite());
    let (first, last) = (points.first()?[0], points.last()?[0]);
    let smooth = running_mean(&points, points.len() / 16);
    let low = points.iter().map(|p| p[1]).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p[1]).fold(f64::NEG_INFINITY, f64::max);
    // From zero where that costs little room: a curve cut off below looks steeper than it is.
    let low = if low >= 0.0 && low < 0.5 * high { 0.0 } else { low };
    let steps = ticks(low, high.max(low + 1e-6), 4);

    let draw = |width: f64| {
        let (mut svg, x, y) = frame(lang, width, [first, last], &steps);
        let place = |line: &[[f64; 2]]| line.iter().map(|p| [x.at(p[0]), y.at(p[1])]).collect::<Vec<_>>();
        let room = (width / 2.0) as usize;
        svg.polyline("raw", &place(&thin(&points, room)));
        svg.polyline("mean", &place(&thin(&smooth, room)));
        if points.len() == 1 {
            svg.dot("point", [x.at(first), y.at(points[0][1])]);
        }
        svg
    };
    let losses: Vec<f64> = thin(&smooth, 48).iter().map(|p| p[1]).collect();
    Some(figure(caption.into(), sparkline(&losses), draw))
}

/// The frame of a curve over steps: grid, ticks, axes, and the two scales.
fn frame(lang: Lang, width: f64, [first, last]: [f64; 2], steps: &[f64]) -> (Svg, Scale, Scale) {
    let (height, left, right, top, bottom) = (width.min(460.0) * 0.52, 44.0, width - 12.0, 14.0, 40.0);
    let mut svg = Svg::new(width, height);
    let x = Scale { from: [first, last], to: [left, right] };
    let range = [steps.first().copied().unwrap_or(0.0), steps.last().copied().unwrap_or(1.0)];
    let y = Scale { from: range, to: [height - bottom, top] };
    let digits = if range[1] - range[0] < 0.5 { 2 } else { 1 };
    for &tick in steps {
        svg.line("grid", [left, y.at(tick)], [right, y.at(tick)]);
        svg.text("tick", [left - 8.0, y.at(tick) + 4.0], Anchor::End, &fmt::fixed(tick, digits));
    }
    let inside = |tick: &f64| (first..=last).contains(tick) && tick.fract() == 0.0;
    for tick in
        ticks(first, last.max(first + 1.0), if width > 500.0 { 6 } else { 4 }).into_iter().filter(inside)
    {
        svg.line("axis", [x.at(tick), height - bottom], [x.at(tick), height - bottom + 4.0]);
        svg.text("tick", [x.at(tick), height - bottom + 18.0], Anchor::Middle, &fmt::count(tick as u64));
    }
    svg.line("axis", [left, height - bottom], [right, height - bottom]);
    svg.text("tick", [right, height - 4.0], Anchor::End, lang.pick("step", "步"));
    (svg, x, y)
}

/// Strict and lenient scores of a model's own answers over steps, running means. `None` without a point.
pub(crate) fn rewards(lang: Lang, strict: &[[f64; 2]], lenient: &[[f64; 2]]) -> Option<Block> {
    let (first, last) = (strict.first()?[0], strict.last()?[0]);
    let smooth = |points: &[[f64; 2]]| running_mean(points, points.len() / 24);
    let (strict, lenient) = (smooth(strict), smooth(lenient));
    let caption = lang.pick(
        "Scores of the model's own answers over steps, running means: solid the strict one (right and in form), dashed the lenient one (right somewhere)",
        "模型自己的回答得分随步数变化，滑动平均：实线为严格分（内容对、形式也对），虚线为宽松分（其中有对的内容）",
    );
    let draw = |width: f64| {
        let (mut svg, x, y) = frame(lang, width, [first, last], &[0.0, 0.25, 0.5, 0.75, 1.0]);
        let room = (width / 2.0) as usize;
        for (class, line) in [("second", &lenient), ("mean", &strict)] {
            let place: Vec<[f64; 2]> = thin(line, room).iter().map(|p| [x.at(p[0]), y.at(p[1])]).collect();
            svg.polyline(class, &place);
            if let [only] = place[..] {
                svg.dot("point", only);
            }
        }
        svg
    };
    let scores: Vec<f64> = thin(&strict, 48).iter().map(|p| p[1]).collect();
    Some(figure(caption.into(), sparkline(&scores), draw))
}

/// Accuracy of base and tuned model on each exam, with 95 % intervals.
pub(crate) fn accuracies(lang: Lang, exams: &[ExamReport]) -> Option<Block> {
    if exams.is_empty() {
        return None;
    }
    let caption = lang.pick(
        "Right answers on the same items, base and raised model; the thin lines are 95 % intervals",
        "基座与养成后的模型在同一批题上的正确率；细线为 95% 区间",
    );
    let names = [lang.pick("base", "基座"), lang.pick("raised", "养成后")];
    let draw = |width: f64| {
        let (row, left, right) = (84.0, 56.0, width - 70.0);
        let height = row * exams.len() as f64 + 34.0;
        let mut svg = Svg::new(width, height);
        let x = Scale { from: [0.0, 1.0], to: [left, right] };
        for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
            svg.line("grid", [x.at(tick), 24.0], [x.at(tick), height - 28.0]);
            let label = format!("{:.0}{}", tick * 100.0, lang.pick("\u{202f}%", "%"));
            svg.text("tick", [x.at(tick), height - 10.0], Anchor::Middle, &label);
        }
        for (index, exam) in exams.iter().enumerate() {
            let top = index as f64 * row;
            let title = fit(&exam.name, width - left);
            svg.text("name", [left, top + 16.0], Anchor::Start, &title);
            for (line, (mark, class)) in
                [(&exam.base, "base"), (&exam.tuned, "tuned")].into_iter().enumerate()
            {
                let y = top + 28.0 + 26.0 * line as f64;
                svg.text("tick", [left - 8.0, y + 14.0], Anchor::End, names[line]);
                bar(&mut svg, &x, y, mark, class);
                svg.text(
                    "value",
                    [right + 10.0, y + 14.0],
                    Anchor::Start,
                    &fmt::percent(lang, mark.accuracy),
                );
            }
        }
        svg
    };
    let line = |name: &str, mark: &Mark| {
        let full = (mark.accuracy.clamp(0.0, 1.0) * 40.0).round() as usize;
        format!(
            "{name}  {}{}  {}\n",
            "█".repeat(full),
            "·".repeat(40 - full),
            fmt::percent(lang, mark.accuracy)
        )
    };
    let text = exams
        .iter()
        .map(|exam| format!("{}\n{}{}", exam.name, line(names[0], &exam.base), line(names[1], &exam.tuned)))
        .collect();
    Some(figure(caption.into(), text, draw))
}

/// How often answers are right, by how sure the model is of them: on the diagonal it can be believed. `None` without
/// probabilities.
pub(crate) fn reliability(lang: Lang, exam: &ExamReport) -> Option<Block> {
    let points = |side: usize| -> Vec<[f64; 2]> {
        let bins = exam.calibration.get(side).map(Vec::as_slice).unwrap_or_default();
        bins.iter().filter(|b| b.items > 0).map(|b| [b.confidence, b.accuracy]).collect()
    };
    let lines = [points(0), points(1)];
    if lines.iter().all(Vec::is_empty) {
        return None;
    }
    let caption = lang.pick(
        "Reliability: share of right answers (upwards) by the model's own probability; pale the base, dark the raised model. On the straight line the probability can be believed, below it the model is too sure",
        "可靠性：横轴为模型自己给出的概率，纵轴为实际正确率；浅色为基座，深色为养成后。落在直线上说明概率可信，线下表示过于自信",
    );
    let draw = |width: f64| {
        let side = width.min(320.0);
        let (left, right, top, bottom) = (52.0, side - 12.0, 12.0, side - 40.0);
        let mut svg = Svg::new(width, side);
        let (x, y) =
            (Scale { from: [0.0, 1.0], to: [left, right] }, Scale { from: [0.0, 1.0], to: [bottom, top] });
        for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let label = format!("{:.0}{}", tick * 100.0, lang.pick("\u{202f}%", "%"));
            svg.line("grid", [left, y.at(tick)], [right, y.at(tick)]);
            svg.text("tick", [left - 8.0, y.at(tick) + 4.0], Anchor::End, &label);
            svg.text("tick", [x.at(tick), bottom + 18.0], Anchor::Middle, &label);
        }
        svg.line("axis", [left, bottom], [right, top]);
        for (line, class) in lines.iter().zip(["was", "mean"]) {
            let place: Vec<[f64; 2]> = line.iter().map(|p| [x.at(p[0]), y.at(p[1])]).collect();
            svg.polyline(class, &place);
            place.iter().for_each(|p| svg.dot(if class == "was" { "pale" } else { "point" }, *p));
        }
        svg.text("tick", [right, side - 4.0], Anchor::End, lang.pick("probability", "概率"));
        svg
    };
    let names = [lang.pick("base", "基座"), lang.pick("raised", "养成后")];
    let mut text = String::new();
    for (name, side) in names.iter().zip(&exam.calibration) {
        for bin in side.iter().filter(|b| b.items > 0) {
            let (sure, right) = (fmt::percent(lang, bin.confidence), fmt::percent(lang, bin.accuracy));
            text += &format!("{name}  {sure} → {right}  ({})\n", bin.items);
        }
    }
    Some(figure(caption.into(), text, draw))
}

fn bar(svg: &mut Svg, x: &Scale, y: f64, mark: &Mark, class: &str) {
    svg.bar("track", [x.to[0], y], x.to[1] - x.to[0], 18.0);
    svg.bar(class, [x.to[0], y], x.at(mark.accuracy) - x.to[0], 18.0);
    if mark.ci.iter().all(|end| end.is_finite()) {
        let [low, high] = mark.ci.map(|end| x.at(end));
        svg.line("whisker", [low, y + 9.0], [high, y + 9.0]);
        for end in [low, high] {
            svg.line("whisker", [end, y + 4.0], [end, y + 14.0]);
        }
    }
}

/// What was predicted beside what it took; `None` where neither is known.
pub(crate) fn costs(lang: Lang, forecast: &Cost, outcome: &Cost) -> Option<Block> {
    type Show = Box<dyn Fn(f64) -> String>;
    let time = move |seconds| fmt::duration(lang, seconds);
    let rows: Vec<(&str, Option<f64>, Option<f64>, Show)> = vec![
        (
            lang.pick("Peak memory", "内存峰值"),
            forecast.memory_bytes,
            outcome.memory_bytes,
            Box::new(fmt::bytes),
        ),
        (lang.pick("Training time", "训练时间"), forecast.seconds, outcome.seconds, Box::new(time)),
        (lang.pick("Whole run", "整个运行"), forecast.total_seconds, outcome.total_seconds, Box::new(time)),
    ];
    let known = |value: Option<f64>| value.filter(|v| v.is_finite() && *v >= 0.0);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, before, after, show)| (name, known(before), known(after), show))
        .filter(|(_, before, after, _)| before.is_some() || after.is_some())
        .collect();
    if rows.is_empty() {
        return None;
    }
    let caption = lang.pick("Forecast before the run, and the outcome", "运行前的预测，与实际结果");
    let names = [lang.pick("forecast", "预测"), lang.pick("outcome", "实际")];
    let off = |before: Option<f64>, after: Option<f64>| match (before, after) {
        (Some(before), Some(after)) if before > 0.0 => {
            let change = fmt::change(lang, after / before - 1.0);
            say!(lang, " ({change})", "（{change}）")
        }
        _ => String::new(),
    };
    let draw = |width: f64| {
        let (row, left, right) = (76.0, 64.0, width - 92.0);
        let mut svg = Svg::new(width, row * rows.len() as f64);
        for (index, (name, before, after, show)) in rows.iter().enumerate() {
            let top = index as f64 * row;
            svg.text("name", [left, top + 14.0], Anchor::Start, &format!("{name}{}", off(*before, *after)));
            let widest = before.unwrap_or(0.0).max(after.unwrap_or(0.0));
            let x = Scale { from: [0.0, widest], to: [left, right] };
            for (line, (value, class)) in [(before, "base"), (after, "tuned")].into_iter().enumerate() {
                let y = top + 24.0 + 22.0 * line as f64;
                svg.text("tick", [left - 8.0, y + 12.0], Anchor::End, names[line]);
                if let Some(value) = value {
                    svg.bar(class, [left, y], x.at(*value) - left, 14.0);
                }
                let label = fmt::maybe(*value, show);
                svg.text("value", [right + 10.0, y + 12.0], Anchor::Start, &label);
            }
        }
        svg
    };
    let text = rows
        .iter()
        .map(|(name, before, after, show)| {
            let (was, is) = (fmt::maybe(*before, show), fmt::maybe(*after, show));
            format!("{name}: {} {was}, {} {is}{}\n", names[0], names[1], off(*before, *after))
        })
        .collect();
    Some(figure(caption.into(), text, draw))
}

/// As much of a name as fits into a width, by rough letter widths: a Chinese character is as wide as its height.
fn fit(name: &str, width: f64) -> String {
    let mut room = width;
    let letters = name.chars().take_while(|c| {
        room -= if *c >= '\u{2e80}' { 14.0 } else { 8.2 };
        room > 0.0
    });
    short(name, letters.count())
}

/// Mean over each point and up to `reach` neighbours, as many on either side, so that the ends are not bent.
fn running_mean(points: &[[f64; 2]], reach: usize) -> Vec<[f64; 2]> {
    (0..points.len())
        .map(|index| {
            let reach = reach.min(index).min(points.len() - 1 - index);
            let near = &points[index - reach..=index + reach];
            [points[index][0], near.iter().map(|p| p[1]).sum::<f64>() / near.len() as f64]
        })
        .collect()
}

/// At most `room` points, each the mean of a run of neighbours; the last point stays.
fn thin(points: &[[f64; 2]], room: usize) -> Vec<[f64; 2]> {
    let run = points.len().div_ceil(room.max(2)).max(1);
    let mut out: Vec<[f64; 2]> = points
        .chunks(run)
        .map(|chunk| {
            let mean = |axis: usize| chunk.iter().map(|p| p[axis]).sum::<f64>() / chunk.len() as f64;
            [mean(0), mean(1)]
        })
        .collect();
    if run > 1 {
        out.extend(points.last());
    }
    out
}

/// A curve in block characters.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let scale = Scale { from: [low, high], to: [0.0, 7.0] };
    let blocks: String = values.iter().map(|v| BLOCKS[(scale.at(*v).round() as usize).min(7)]).collect();
    let (first, last) =
        (values.first().copied().unwrap_or(f64::NAN), values.last().copied().unwrap_or(f64::NAN));
    format!("{}  {blocks}  {}", fmt::fixed(first, 3), fmt::fixed(last, 3))
}
