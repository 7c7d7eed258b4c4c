//! Characters to rows: what stands on one baseline, cut where wide gaps are.

use super::content::Glyph;

/// From this many font sizes on, a gap parts cells or columns: wider than a space between words of stretched lines, and
/// than the one wide space that Chinese puts between a number and its text.
const WIDE_GAP: f32 = 1.1;

/// Words on one baseline without a wide gap.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) text: String,
    /// From here to there, in points.
    pub(super) x: (f32, f32),
    /// The size of most of its characters.
    pub(super) size: f32,
    /// How much more of them than of others.
    lead: usize,
}

impl Segment {
    /// The size that most votes are for stays (Boyer and Moore's majority).
    fn vote(&mut self, size: f32) {
        if (size - self.size).abs() < 0.25 {
            self.lead += 1;
        } else if self.lead == 0 {
            self.size = size;
        } else {
            self.lead -= 1;
        }
    }

    pub(super) fn width(&self) -> f32 {
        self.x.1 - self.x.0
    }
}

/// A baseline with its segments from left to right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) segments: Vec<Segment>,
    /// Downwards, in points.
    pub(super) y: f32,
    /// The size of most of its characters.
    pub(super) size: f32,
}

impl Row {
    pub(super) fn x(&self) -> (f32, f32) {
        let first = self.segments.first().map_or(0.0, |s| s.x.0);
        (first, self.segments.last().map_or(first, |s| s.x.1))
    }

    pub(super) fn text(&self) -> String {
        self.segments.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn chars(&self) -> usize {
        self.segments.iter().map(|s| s.text.chars().count()).sum()
    }
}

/// The rows of a page; text of each direction by itself, that of most of the text first.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) flows: Vec<Vec<Row>>,
}

impl Page {
    pub(super) fn new(glyphs: Vec<Glyph>) -> Page {
        let mut turned: [Vec<Placed>; 4] = Default::default();
        for glyph in glyphs {
            // text that is written downwards is text that is turned, with its rows from right to left
            let turn = if glyph.vertical { (glyph.turn + 3) % 4 } else { glyph.turn };
            let (x, y) = match turn {
                0 => (glyph.x, -glyph.y),
                1 => (glyph.y, glyph.x),
                2 => (-glyph.x, glyph.y),
                _ => (-glyph.y, -glyph.x),
            };
            if let Some(list) = turned.get_mut(usize::from(turn)) {
                list.push(Placed { text: glyph.text, x, y, width: glyph.width, size: glyph.size });
            }
        }
        turned.sort_by_key(|list| std::cmp::Reverse(list.len()));
        Page { flows: turned.into_iter().filter(|list| !list.is_empty()).map(rows).collect() }
    }
}

/// The size of most characters of a file.
pub(super) fn body_size(pages: &[Page]) -> f32 {
    let mut sizes: std::collections::BTreeMap<i64, usize> = Default::default();
    for row in pages.iter().flat_map(|p| &p.flows).flatten() {
        *sizes.entry((row.size * 2.0).round() as i64).or_default() += row.chars();
    }
    sizes.into_iter().max_by_key(|(_, n)| *n).map_or(10.0, |(size, _)| size as f32 / 2.0)
}

struct Placed {
    text: String,
    x: f32,
    y: f32,
    width: f32,
    size: f32,
}

impl Placed {
    fn blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

fn rows(mut glyphs: Vec<Placed>) -> Vec<Row> {
    glyphs.sort_by(|a, b| a.y.total_cmp(&b.y));
    let mut lines: Vec<Vec<Placed>> = Vec::new();
    for glyph in glyphs {
        let near = |line: &Vec<Placed>| {
            line.first().is_some_and(|first| glyph.y - first.y <= 0.35 * glyph.size.max(first.size))
        };
        match lines.last_mut() {
            Some(line) if near(line) => line.push(glyph),
            _ => lines.push(vec![glyph]),
        }
    }
    raised(&mut lines);
    lines.into_iter().filter_map(row).collect()
}

/// Small characters a little above or below a line, such as the marks of notes, belong to it.
fn raised(lines: &mut Vec<Vec<Placed>>) {
    let largest = |line: &[Placed]| line.iter().map(|g| g.size).fold(0.0f32, f32::max);
    let reach = |line: &[Placed]| {
        line.iter().fold((f32::MAX, f32::MIN), |(a, b), g| (a.min(g.x), b.max(g.x + g.width)))
    };
    let mut at = 0;
    while at < lines.len() {
        let Some(line) = lines.get(at) else { break };
        let (size, y, (from, to)) = (largest(line), line.first().map_or(0.0, |g| g.y), reach(line));
        let host = [at + 1, at.wrapping_sub(1)].into_iter().find(|&other| {
            lines.get(other).is_some_and(|host| {
                let (host_size, host_y, (a, b)) =
                    (largest(host), host.first().map_or(0.0, |g| g.y), reach(host));
                let apart = if other > at { 0.6 } else { 0.35 };
                size <= 0.8 * host_size
                    && (host_y - y).abs() <= apart * host_size
                    && from >= a - host_size
                    && to <= b + host_size
            })
        });
        match host {
            Some(host) => {
                let small = lines.remove(at);
                let host = if host > at { host - 1 } else { host };
                if let Some(host) = lines.get_mut(host) {
                    host.extend(small);
                }
            }
            None => at += 1,
        }
    }
}

fn row(mut line: Vec<Placed>) -> Option<Row> {
    let y = line.first()?.y;
    line.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut sizes: Vec<f32> = line.iter().filter(|g| !g.blank()).map(|g| g.size).collect();
    sizes.sort_by(f32::total_cmp);
    let size = *sizes.get(sizes.len() / 2)?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut space = false;
    let mut last: Option<(String, f32)> = None;
    for glyph in line {
        if glyph.blank() {
            space = true;
            continue;
        }
        // bold by printing twice
        if last
            .as_ref()
            .is_some_and(|(text, x)| *text == glyph.text && (glyph.x - x).abs() < 0.12 * glyph.size)
        {
            continue;
        }
        last = Some((glyph.text.clone(), glyph.x));
        let end = glyph.x + glyph.width;
        match segments.last_mut() {
            Some(open) if glyph.x - open.x.1 <= WIDE_GAP * size => {
                let gap = (glyph.x - open.x.1) / size;
                let (left, right) = (open.text.chars().next_back(), glyph.text.chars().next());
                let wide = |c: Option<char>| c.is_some_and(is_wide);
                let least = match (wide(left), wide(right)) {
                    (true, true) => 0.9,
                    (false, false) => 0.18,
                    _ => 0.5,
                };
                if !open.text.ends_with(' ')
                    && (gap > least || space && !(wide(left) && wide(right) && gap < 0.2))
                {
                    open.text.push(' ');
                }
                open.text.push_str(&glyph.text);
                open.x.1 = open.x.1.max(end);
                open.vote(glyph.size);
            }
            _ => segments.push(Segment { text: glyph.text, x: (glyph.x, end), size: glyph.size, lead: 1 }),
        }
        space = false;
    }
    for segment in &mut segments {
        segment.text = segment.text.trim().to_string();
    }
    segments.retain(|s| !s.text.is_empty());
    (!segments.is_empty()).then_some(Row { segments, y, size })
}

/// Characters of Chinese, Japanese and Korean, and their punctuation: between them no space is written.
pub(super) fn is_wide(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}'
        | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}' | '“' | '”' | '‘' | '’' | '…' | '—')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Text at a place, half the size wide for Latin and the size for Chinese.
    pub(in super::super) fn typed(x: f32, y: f32, size: f32, text: &str) -> Vec<Glyph> {
        let mut at = x;
        let one = |c: char| {
            let width = if is_wide(c) { size } else { size / 2.0 };
            let glyph = Glyph { text: c.to_string(), x: at, y, width, size, turn: 0, vertical: false };
            at += width;
            glyph
        };
        text.chars().map(one).collect()
    }

    fn texts(glyphs: Vec<Glyph>) -> Vec<Vec<String>> {
        let page = Page::new(glyphs);
        page.flows.iter().flatten().map(|r| r.segments.iter().map(|s| s.text.clone()).collect()).collect()
    }

    #[test]
    fn rows_segments_and_spaces() {
        let mut all = typed(50.0, 700.0, 10.0, "Second row");
        all.extend(typed(50.0, 720.0, 10.0, "First"));
        all.extend(typed(78.0, 720.0, 10.0, "row")); // a gap of 0.3 em
        all.extend(typed(200.0, 720.0, 10.0, "apart"));
        all.extend(typed(101.0, 704.0, 6.0, "12")); // a note's mark
        all.extend(typed(50.0, 680.0, 10.0, "中文"));
        all.extend(typed(71.0, 680.0, 10.0, "连写")); // spread, no space
        all.extend(typed(71.5, 680.0, 10.0, "连写")); // printed twice
        assert_eq!(texts(all), [vec!["First row", "apart"], vec!["Second row12"], vec!["中文连写"]]);
    }

    #[test]
    fn turned_and_vertical_text_is_read_along_its_lines() {
        let mut all = typed(0.0, 100.0, 10.0, "up up");
        for g in &mut all {
            (g.x, g.y, g.turn) = (50.0, g.x, 1);
        }
        all.extend(typed(10.0, 10.0, 10.0, "f"));
        assert_eq!(texts(all), [vec!["up up"], vec!["f"]]);
        // two columns downwards, the right one first
        let mut down = Vec::new();
        for (x, text) in [(100.0, "天地"), (80.0, "玄黄")] {
            for (n, c) in text.chars().enumerate() {
                let y = 700.0 - 10.0 * n as f32;
                down.push(Glyph { text: c.into(), x, y, width: 10.0, size: 10.0, turn: 0, vertical: true });
            }
        }
        assert_eq!(texts(down), [vec!["天地"], vec!["玄黄"]]);
    }
}
