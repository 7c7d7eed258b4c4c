//! The picture of a training: loss by step, drawn here, so that the page needs no script for it.

use super::lang::PageLang;
use super::workshop::Point;
use std::fmt::Write as _;

/// Most points of a line: beyond it, neighbours are drawn as their mean.
const POINTS: usize = 300;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// A value of a point.
pub(crate) type Value = fn(&Point) -> f64;

/// A line over the steps of a run of `total` steps; `label` names it for who cannot see it.
pub(crate) fn svg(points: &[Point], total: u64, value: Value, label: &str, lang: PageLang) -> String {
    let good: Vec<(f64, f64)> =
        points.iter().map(|p| (p.step as f64, value(p))).filter(|(_, v)| v.is_finite()).collect();
    let (Some(first), Some(last)) = (good.first(), good.last()) else { return String::new() };
    let means: Vec<(f64, f64)> = good
        .chunks(good.len().div_ceil(POINTS).max(1))
        .map(|c| {
            let n = c.len() as f64;
            (c.iter().map(|p| p.0).sum::<f64>() / n, c.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect();
    let low = means.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = means.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = nice(low, high);
    let right = (total as f64).max(last.0).max(2.0);
    let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * (step - 1.0) / (right - 1.0);
    let y = |v: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - v) / (high - low);
    let said = match lang {
        PageLang::En => format!(
            "{label}: from {} at step {} to {} at step {}",
            short(first.1),
            first.0,
            short(last.1),
            last.0
        ),
        PageLang::Zh => format!(
            "{label}：从第 {} 步的 {} 到第 {} 步的 {}",
            first.0,
            short(first.1),
            last.0,
            short(last.1)
        ),
    };
    let mut out = format!(
        "<svg class=\"curve\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">",
        super::markdown::escape(&said)
    );
    for i in 0..=4 {
        let v = low + (high - low) * f64::from(i) / 4.0;
        let at = y(v);
        _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(v)
        );
    }
    for (i, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let step = (1.0 + (right - 1.0) * i).round();
        _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{step}</text>",
            x(step),
            HEIGHT - 10.0
        );
    }
    let line: Vec<String> = means.iter().map(|(s, v)| format!("{:.1},{:.1}", x(*s), y(*v))).collect();
    _ = write!(out, "<polyline class=\"line\" points=\"{}\"/>", line.join(" "));
    if let Some((s, v)) = means.last() {
        _ = write!(out, "<circle class=\"now\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", x(*s), y(*v));
    }
    out.push_str("</svg>");
    out
}

/// Round ends around what is drawn; never the same.
fn nice(low: f64, high: f64) -> (f64, f64) {
    let span = (high - low).max(high.abs() * 0.02).max(1e-9);
    let unit = 10f64.powf(span.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit / 5.0).find(|s| span / s <= 10.0).unwrap_or(unit);
    let (a, b) = ((low / step).floor() * step, (high / step).ceil() * step);
    if b > a { (a, b) } else { (a, a + step) }
}

/// A figure with about three digits.
pub(crate) fn short(v: f64) -> String {
    let a = v.abs();
    match () {
        () if a == 0.0 => "0".into(),
        () if a < 0.001 => format!("{v:.1e}"),
        () if a < 0.1 => format!("{v:.4}"),
        () if a < 10.0 => format!("{v:.2}"),
        () if a < 100.0 => format!("{v:.1}"),
        () => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: &[f64]) -> Vec<Point> {
        let of = |(i, &loss): (usize, &f64)| Point { step: i as u64 + 1, loss, ..Point::default() };
        losses.iter().enumerate().map(of).collect()
    }

    #[test]
    fn a_curve_falls_from_left_to_right_and_stays_inside() {
        let all = points(&(0..5000).map(|i| 5.0 - f64::from(i) * 0.0008).collect::<Vec<_>>());
        let svg = svg(&all, 10_000, |p| p.loss, "loss & <x>", PageLang::En);
        let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let at: Vec<(f64, f64)> = line
            .split(' ')
            .map(|p| p.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap())
            .collect();
        assert!(at.len() <= POINTS && at.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{at:?}");
        assert!(
            at.iter().all(|(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y))
        );
        assert!(at[at.len() - 1].0 < WIDTH / 1.8, "half of the run is done");
        assert!(svg.contains("loss &amp; &lt;x&gt;"));
    }

    #[test]
    fn odd_runs_have_a_picture_or_none() {
        assert_eq!(svg(&[], 10, |p| p.loss, "x", PageLang::Zh), "");
        assert_eq!(svg(&points(&[f64::NAN]), 10, |p| p.loss, "x", PageLang::En), "");
        for losses in [&[1.0][..], &[0.0, 0.0], &[2.0, 2.0, 2.0], &[-1.0, f64::INFINITY, 1e30]] {
            let svg = svg(&points(losses), 0, |p| p.loss, "x", PageLang::En);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
