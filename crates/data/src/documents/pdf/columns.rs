//! Rows to regions in the order of reading: columns of text are read one after the other, tables row by row.
//!
//! A gutter is a place that few rows cross and that has text on both sides. Rows that cross it (titles, wide figures) part
//! the page into bands; within a band the left side comes first. Short words on both sides are cells of a table, not text.

use super::layout::{Row, Segment};

/// Deepest split: three gutters make eight columns.
const DEPTH: usize = 3;
/// Rows on each side that make a column.
const ROWS: usize = 4;
/// Places that are tried.
const PLACES: usize = 160;

/// The regions of a flow, each a list of rows from top to bottom.
pub(super) fn regions(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut out = Vec::new();
    split(rows, 0, &mut out);
    out
}

fn split(rows: Vec<Row>, depth: usize, out: &mut Vec<Vec<Row>>) {
    let gutter = if depth < DEPTH { gutter(&rows) } else { None };
    let Some(gutter) = gutter else {
        if !rows.is_empty() {
            out.push(rows);
        }
        return;
    };
    let crosses = |row: &Row| row.segments.iter().any(|s| s.x.0 < gutter && gutter < s.x.1);
    let mut band: Vec<Row> = Vec::new();
    let mut wide: Vec<Row> = Vec::new();
    for row in rows {
        if crosses(&row) {
            both_sides(std::mem::take(&mut band), gutter, depth, out);
            wide.push(row);
        } else {
            if !wide.is_empty() {
                out.push(std::mem::take(&mut wide));
            }
            band.push(row);
        }
    }
    both_sides(band, gutter, depth, out);
    if !wide.is_empty() {
        out.push(wide);
    }
}

fn both_sides(band: Vec<Row>, gutter: f32, depth: usize, out: &mut Vec<Vec<Row>>) {
    if band.is_empty() {
        return;
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for row in &band {
        let (a, b): (Vec<Segment>, Vec<Segment>) =
            row.segments.iter().cloned().partition(|s| s.x.1 <= gutter);
        for (side, segments) in [(&mut left, a), (&mut right, b)] {
            // a title of one column may stand beside text of the other
            let widest = segments.iter().max_by(|a, b| a.width().total_cmp(&b.width())).map(|s| s.size);
            if let Some(size) = widest {
                side.push(Row { segments, y: row.y, size });
            }
        }
    }
    if left.len() < 2 || right.len() < 2 {
        return out.push(band);
    }
    split(left, depth + 1, out);
    split(right, depth + 1, out);
}

/// The middle of the gutter, if there is one.
fn gutter(rows: &[Row]) -> Option<f32> {
    let segments = || rows.iter().flat_map(|r| &r.segments);
    let from = segments().map(|s| s.x.0).fold(f32::MAX, f32::min);
    let to = segments().map(|s| s.x.1).fold(f32::MIN, f32::max);
    let size = rows.get(rows.len() / 2)?.size;
    let width = to - from;
    if rows.len() < 2 * ROWS && rows.iter().all(|r| r.segments.len() < 2) || width < 12.0 * size {
        return None;
    }
    let place = |n: usize| from + width * (0.12 + 0.76 * n as f32 / PLACES as f32);
    let crossing = |x: f32| rows.iter().filter(|r| r.segments.iter().any(|s| s.x.0 < x && x < s.x.1)).count();
    let counts: Vec<usize> = (0..=PLACES).map(|n| crossing(place(n))).collect();
    let fits = |x: f32| {
        let (left, right) = (side(rows, x, true), side(rows, x, false));
        left.is_text(x - from) && right.is_text(to - x)
    };
    // the widest run of places with the fewest crossings
    let mut best: Option<(usize, usize, f32)> = None;
    let mut at = 0;
    while at <= PLACES {
        let count = counts.get(at).copied()?;
        let run = counts.get(at..)?.iter().take_while(|c| **c == count).count();
        let (a, b) = (place(at), place(at + run - 1));
        let middle = (a + b) / 2.0;
        let better =
            best.is_none_or(|(fewest, longest, _)| count < fewest || count == fewest && run > longest);
        if better && count * 3 <= rows.len() && fits(middle) {
            best = Some((count, run, middle));
        }
        at += run;
    }
    best.map(|(.., middle)| middle)
}

#[derive(Default)]
struct Side {
    rows: usize,
    width: f32,
    chars: usize,
}

fn side(rows: &[Row], x: f32, left: bool) -> Side {
    let mut out = Side::default();
    for row in rows {
        let mine = row.segments.iter().filter(|s| if left { s.x.1 <= x } else { s.x.0 >= x });
        let mut any = false;
        for segment in mine {
            any = true;
            out.width += segment.width();
            out.chars += segment.text.chars().count();
        }
        out.rows += usize::from(any);
    }
    out
}

impl Side {
    /// Whether these are lines of text: enough of them, filling their column, with words in them.
    fn is_text(&self, width: f32) -> bool {
        self.rows >= ROWS && self.width / self.rows as f32 >= 0.5 * width && self.chars / self.rows >= 8
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Page, tests::typed};
    use super::*;

    fn read(glyphs: Vec<super::super::content::Glyph>) -> Vec<Vec<String>> {
        let mut page = Page::new(glyphs);
        let rows = page.flows.remove(0);
        regions(rows).iter().map(|region| region.iter().map(Row::text).collect()).collect()
    }

    #[test]
    fn two_columns_under_a_title_are_read_one_after_the_other() {
        let mut all = typed(60.0, 760.0, 16.0, "A title that is as wide as both of the columns");
        for n in 0..6 {
            let y = 720.0 - 12.0 * n as f32;
            all.extend(typed(50.0, y, 10.0, &format!("left line number {n} with some words")));
            all.extend(typed(
                300.0,
                y - 3.0 * (n % 2) as f32,
                10.0,
                &format!("right line number {n} with words"),
            ));
        }
        let found = read(all);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 6, 6]);
        assert!(found[1].iter().all(|t| t.starts_with("left")), "{found:?}");
    }

    #[test]
    fn a_table_stays_in_its_rows() {
        let mut all = Vec::new();
        for n in 0..8 {
            let y = 720.0 - 14.0 * n as f32;
            all.extend(typed(50.0, y, 10.0, &format!("项目{n}")));
            all.extend(typed(250.0, y, 10.0, "12.5"));
            all.extend(typed(420.0, y, 10.0, "千克"));
        }
        let found = read(all);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0][3], "项目3 12.5 千克");
    }
}
