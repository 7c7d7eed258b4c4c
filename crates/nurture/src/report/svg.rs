//! A small writer of SVG: lines, boxes, texts, scales. Colours are CSS classes, so a picture follows the page's
//! light or dark dress.
use std::fmt::Write as _;

use super::html::escape;

/// A picture that is being drawn; units are CSS pixels.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    pub(crate) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    pub(crate) fn bar(&mut self, class: &str, [x, y]: [f64; 2], width: f64, height: f64) {
        let width = width.max(0.0);
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#
        );
    }

    pub(crate) fn dot(&mut self, class: &str, [x, y]: [f64; 2]) {
        let _ = write!(self.body, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
    }

    /// A line through points; fewer than two draw nothing.
    pub(crate) fn polyline(&mut self, class: &str, points: &[[f64; 2]]) {
        if points.len() < 2 {
            return;
        }
        let _ = write!(self.body, r#"<polyline class="{class}" points=""#);
        for (index, [x, y]) in points.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let _ = write!(self.body, "{gap}{x:.1},{y:.1}");
        }
        self.body.push_str("\"/>");
    }

    pub(crate) fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    /// The element; `label` is what a screen reader says.
    pub(crate) fn finish(self, class: &str, label: &str) -> String {
        let (width, height, label) = (self.width, self.height, escape(label));
        format!(
            r#"<svg class="{class}" role="img" aria-label="{label}" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}">{}</svg>"#,
            self.body
        )
    }
}

/// The dress of a picture that stands alone, light and dark; on a page the page's style does this.
const DRESS: &str = "svg{background:#fbfaf6;font-family:system-ui,sans-serif}.grid{stroke:#dcd9cd}.axis{stroke:#66675e}\
.tick{fill:#66675e;font-size:12.5px}.value{fill:#23241f;font-size:13.5px}.mean{fill:none;stroke:#2f7355;stroke-width:2.25}\
circle.point{fill:#2f7355}circle.pale,rect.base{fill:#a3a698}.raw{fill:none;stroke:#b9d3c3;stroke-width:1.25}\
.second{fill:none;stroke:#a3a698;stroke-width:2;stroke-dasharray:5 4}.name{fill:#23241f;font-size:13.5px;font-weight:600}\
rect.track{fill:#f3f1ea}rect.tuned{fill:#2f7355}.whisker{stroke:#66675e}@media(prefers-color-scheme:dark){svg{background:#171814}\
.grid{stroke:#383a32}.axis{stroke:#a2a396}.tick{fill:#a2a396}.value{fill:#e8e6dc}.mean{stroke:#63b18c}\
circle.point,rect.tuned{fill:#63b18c}circle.pale,rect.base{fill:#6d7064}.raw{stroke:#345a49}.second{stroke:#6d7064}.name{fill:#e8e6dc}\
rect.track{fill:#20221d}.whisker{stroke:#a2a396}}";

/// A finished picture as a file of its own.
pub(crate) fn standalone(picture: &str) -> String {
    let open = "<svg ";
    let picture = picture.replacen(open, "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    picture.replacen('>', &format!("><style>{DRESS}</style>"), 1) + "\n"
}

/// Maps values of an axis to pixels.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) from: [f64; 2],
    pub(crate) to: [f64; 2],
}

impl Scale {
    /// The pixel of a value; what is outside, or no number, is held at the edge.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let span = self.from[1] - self.from[0];
        let share = if span > 0.0 { (value - self.from[0]) / span } else { 0.5 };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.to[0] + share * (self.to[1] - self.to[0])
    }
}

/// About `wanted` round values (1, 2 or 5 times a power of ten) that cover an interval, ends included.
pub(crate) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    if !(low.is_finite() && high.is_finite()) || high <= low {
        return vec![0.0, 1.0];
    }
    let rough = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|round| round * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.min(first.saturating_add(50))).map(|index| index as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover() {
        let check = |low, high, want: &[f64]| {
            let got = ticks(low, high, 4);
            assert!(
                got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9),
                "{got:?}"
            );
        };
        check(0.0, 1.0, &[0.0, 0.5, 1.0]);
        check(0.0, 4.0, &[0.0, 1.0, 2.0, 3.0, 4.0]);
        check(0.13, 3.2, &[0.0, 1.0, 2.0, 3.0, 4.0]);
        check(1.0, 1.0, &[0.0, 1.0]);
        check(f64::NAN, 1.0, &[0.0, 1.0]);
        assert!(ticks(-1e300, 1e300, 4).len() < 60);
    }

    #[test]
    fn a_scale_never_leaves_its_frame() {
        let scale = Scale { from: [0.0, 10.0], to: [100.0, 0.0] };
        for (value, want) in [(0.0, 100.0), (5.0, 50.0), (99.0, 0.0), (-1.0, 100.0), (f64::NAN, 100.0)] {
            assert_eq!(scale.at(value), want);
        }
        assert_eq!(Scale { from: [3.0, 3.0], to: [0.0, 8.0] }.at(3.0), 4.0);
    }

    #[test]
    fn texts_are_escaped() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text("t", [0.0, 0.0], Anchor::Start, "</text><script>");
        assert!(!svg.finish("x", "\"><script>").contains("<script>"));
    }
}
