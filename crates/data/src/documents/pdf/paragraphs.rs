//! Regions to blocks: headings by their size, paragraphs by gaps, indents and short last lines, list items by their
//! bullets, tables by aligned rows.

use crate::document::Block;

use super::columns::regions;
use super::layout::{Page, Row, is_wide};
use crate::documents::blocks::Blocks;

/// From this many times the size of the body text on, a line is a heading.
const HEADING: f32 = 1.15;
/// A heading is no longer than this, in characters.
const HEADING_CHARS: usize = 160;
const BULLETS: [char; 14] = ['•', '●', '○', '■', '□', '◆', '◇', '▪', '▫', '‣', '➢', '✓', '·', '\u{2219}'];

enum Part {
    Heading { size: i64, text: String },
    Paragraph(String),
    Item(String),
    Table(Vec<Vec<String>>),
}

/// Text that the next row may go on with.
struct Open {
    text: String,
    size: f32,
    item: bool,
    /// Whether its last row reaches the right edge, or would not have held the next word.
    full: bool,
    /// Where the rows behind its first one begin, once there is one.
    x: f32,
    rows: usize,
}

pub(super) fn blocks(pages: &[Page], body: f32) -> Vec<Block> {
    let mut parts: Vec<Part> = Vec::new();
    let mut open: Option<Open> = None;
    for flow in pages.iter().flat_map(|p| &p.flows) {
        for region in regions(flow.clone()) {
            read(&region, body, &mut open, &mut parts);
        }
    }
    close(&mut open, &mut parts);
    let mut sizes: Vec<i64> = parts
        .iter()
        .filter_map(|p| if let Part::Heading { size, .. } = p { Some(*size) } else { None })
        .collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(*size));
    sizes.dedup();
    let mut out = Blocks::default();
    for part in parts {
        match part {
            Part::Heading { size, text } => {
                let level = sizes.iter().position(|s| *s == size).unwrap_or(0);
                out.heading(level.min(5) as u8 + 1, &text);
            }
            Part::Paragraph(text) => out.paragraph(&text),
            Part::Item(text) => out.item(&text),
            Part::Table(rows) => out.table(rows),
        }
    }
    out.done()
}

fn close(open: &mut Option<Open>, parts: &mut Vec<Part>) {
    if let Some(open) = open.take() {
        parts.push(if open.item { Part::Item(open.text) } else { Part::Paragraph(open.text) });
    }
}

/// The value below which this share of the numbers lies.
fn share(mut numbers: Vec<f32>, share: f32) -> f32 {
    numbers.sort_by(f32::total_cmp);
    let at = (numbers.len() as f32 * share) as usize;
    numbers.get(at.min(numbers.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn read(rows: &[Row], body: f32, open: &mut Option<Open>, parts: &mut Vec<Part>) {
    let left = share(rows.iter().map(|r| r.x().0).collect(), 0.1);
    let right = share(rows.iter().map(|r| r.x().1).collect(), 0.9);
    let steps = rows.windows(2).filter_map(|w| match w {
        [a, b] => Some(b.y - a.y),
        _ => None,
    });
    let pitch = share(steps.collect(), 0.5);
    let mut at = 0;
    while let Some(row) = rows.get(at) {
        if let Some((table, taken)) = table(rows.get(at..).unwrap_or_default()) {
            close(open, parts);
            parts.push(Part::Table(table));
            at += taken;
            continue;
        }
        let before = at.checked_sub(1).and_then(|b| rows.get(b));
        let gap = before.map(|b| row.y - b.y);
        one(row, gap, (left, right, pitch), body, open, parts);
        // whether the next row may go on: did this one have room for the next word?
        if let Some(open) = open {
            let left_over = right - row.x().1;
            open.full = match rows.get(at + 1) {
                Some(next) => left_over <= first_word(&next.text()) * row.size + 0.6 * row.size,
                // the next word stands on another page or column
                None => left_over <= 0.25 * (right - left),
            };
        }
        at += 1;
    }
}

/// The width of the first word, in sizes, about.
fn first_word(text: &str) -> f32 {
    match text.chars().next() {
        Some(c) if is_wide(c) => 1.0,
        _ => 0.5 * text.split_whitespace().next().map_or(0, |w| w.chars().count().min(20)) as f32 + 0.3,
    }
}

fn one(
    row: &Row,
    gap: Option<f32>,
    (left, _right, pitch): (f32, f32, f32),
    body: f32,
    open: &mut Option<Open>,
    parts: &mut Vec<Part>,
) {
    let text = row.text();
    let near = |limit: f32| gap.is_some_and(|gap| gap <= limit);
    if row.size >= HEADING * body
        && text.chars().count() <= HEADING_CHARS
        && text.chars().any(char::is_alphabetic)
    {
        close(open, parts);
        let size = (row.size * 2.0).round() as i64;
        match parts.last_mut() {
            Some(Part::Heading { size: before, text: head }) if *before == size && near(1.5 * row.size) => {
                join(head, &text);
            }
            _ => parts.push(Part::Heading { size, text }),
        }
        return;
    }
    let bullet = text.strip_prefix(BULLETS).filter(|rest| !rest.trim().is_empty());
    let indented = row.x().0 - left > 0.8 * row.size;
    let goes_on = match open {
        _ if bullet.is_some() => false,
        None => false,
        Some(o) if (row.size / o.size - 1.0).abs() > 0.12 => false,
        Some(o) => match gap {
            // in one region: by distance, by indent against the rows before, by the room that was left
            Some(gap) => {
                let close_by = gap <= (1.45 * pitch).clamp(1.3 * row.size, 2.6 * row.size);
                // the second row begins where the first did or further left; under an item also further right
                let second = o.item || row.x().0 - o.x < 0.8 * row.size;
                let as_before = if o.rows > 1 { (row.x().0 - o.x).abs() < 0.8 * row.size } else { second };
                close_by && as_before && o.full
            }
            // on the next page or column: where the sentence has not ended
            None => o.full && !indented && !ends(&o.text),
        },
    };
    match open {
        Some(o) if goes_on => {
            join(&mut o.text, &text);
            o.x = row.x().0;
            o.rows += 1;
        }
        _ => {
            close(open, parts);
            let text = bullet.map_or(text.as_str(), str::trim).to_string();
            let item = bullet.is_some();
            *open = Some(Open { text, size: row.size, item, full: false, x: row.x().0, rows: 1 });
        }
    }
}

fn ends(text: &str) -> bool {
    text.ends_with(['。', '！', '？', '.', '!', '?', '：', ':', '；', ';', '”', '"'])
}

/// Puts a row behind the text: words that were parted are joined, and between Chinese characters there is no space.
fn join(text: &mut String, next: &str) {
    let (last, first) = (text.chars().next_back(), next.chars().next());
    let (Some(last), Some(first)) = (last, first) else {
        return text.push_str(next);
    };
    let before = text.chars().rev().nth(1);
    if last == '-' && first.is_lowercase() && before.is_some_and(char::is_alphabetic) {
        text.pop();
    } else if !(is_wide(last) && is_wide(first)) {
        text.push(' ');
    }
    text.push_str(next);
}

/// A table at the front of the rows, and how many rows it takes: rows of several segments whose places make columns.
fn table(rows: &[Row]) -> Option<(Vec<Vec<String>>, usize)> {
    let mut taken = 0;
    let mut full = 0;
    for (n, row) in rows.iter().enumerate() {
        let before = n.checked_sub(1).and_then(|b| rows.get(b));
        if before.is_some_and(|b| row.y - b.y > 3.5 * row.size) {
            break;
        }
        match row.segments.len() {
            0 | 1 if n == 0 => return None,
            // a cell of several lines
            0 | 1 if rows.get(n + 1).is_some_and(|next| next.segments.len() > 1) => {}
            0 | 1 => break,
            _ => {
                full += 1;
                taken = n + 1;
            }
        }
    }
    let rows = rows.get(..taken)?;
    let widest = rows.iter().map(|r| r.segments.len()).max()?;
    if full < 2 || full == 2 && widest < 3 {
        return None;
    }
    let mut columns: Vec<(f32, f32)> = Vec::new();
    let mut spans: Vec<(f32, f32)> = rows.iter().flat_map(|r| &r.segments).map(|s| s.x).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    for span in spans {
        match columns.last_mut() {
            Some(last) if span.0 < last.1 => last.1 = last.1.max(span.1),
            _ => columns.push(span),
        }
    }
    let column = |x: f32| columns.iter().position(|c| x < c.1).unwrap_or(columns.len().saturating_sub(1));
    let several = rows.iter().filter(|r| r.segments.len() > 1);
    let apart = several.filter(|r| {
        let places: std::collections::BTreeSet<usize> = r.segments.iter().map(|s| column(s.x.0)).collect();
        places.len() == r.segments.len()
    });
    if columns.len() < 2 || apart.count() * 5 < full * 4 {
        return None;
    }
    let mut out: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let mut cells = vec![String::new(); columns.len()];
        for segment in &row.segments {
            if let Some(cell) = cells.get_mut(column(segment.x.0)) {
                if !cell.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(&segment.text);
            }
        }
        match out.last_mut() {
            // the second line of a cell
            Some(above) if row.segments.len() == 1 && column(row.x().0) > 0 => {
                for (cell, more) in above.iter_mut().zip(&cells).filter(|(_, more)| !more.is_empty()) {
                    join(cell, more);
                }
            }
            _ => out.push(cells),
        }
    }
    Some((out, taken))
}

#[cfg(test)]
mod tests {
    use super::super::layout::{body_size, tests::typed};
    use super::*;

    fn shown(pages: Vec<Vec<super::super::content::Glyph>>) -> String {
        let pages: Vec<Page> = pages.into_iter().map(Page::new).collect();
        let blocks = blocks(&pages, body_size(&pages));
        crate::document::Document { blocks, ..Default::default() }.plain_text()
    }

    #[test]
    fn paragraphs_headings_items_and_tables() {
        let mut page = typed(50.0, 760.0, 18.0, "第一章 总则");
        for (y, x, text) in [
            (720.0, 70.0, "为了规范水泵的使用，保障人身安全，根据国家有关规定，"),
            (705.0, 50.0, "制定本办法。本办法适用于本公司的全部生产车间。"),
            (690.0, 70.0, "操作人员应当持证上岗，并且每年参加一次安全培训，逾期"),
            (675.0, 50.0, "不得上岗。"),
            (655.0, 50.0, "Words are hyphen-"),
            (640.0, 50.0, "ated here and a sentence goes on until it is done as they do."),
            (620.0, 50.0, "• open the valve"),
            (605.0, 50.0, "• wait"),
        ] {
            page.extend(typed(x, y, 10.0, text));
        }
        for (n, cells) in [("型号", "功率"), ("甲", "3 kW"), ("乙", "5 kW")].iter().enumerate() {
            page.extend(typed(50.0, 570.0 - 15.0 * n as f32, 10.0, cells.0));
            page.extend(typed(200.0, 570.0 - 15.0 * n as f32, 10.0, cells.1));
        }
        assert_eq!(
            shown(vec![page]),
            "# 第一章 总则\n\n为了规范水泵的使用，保障人身安全，根据国家有关规定，制定本办法。本办法适用于本公司的全部生产车间。\n\n\
             操作人员应当持证上岗，并且每年参加一次安全培训，逾期不得上岗。\n\n\
             Words are hyphen-\n\nated here and a sentence goes on until it is done as they do.\n\n\
             - open the valve\n- wait\n\n| 型号 | 功率 |\n| 甲 | 3 kW |\n| 乙 | 5 kW |"
        );
    }

    #[test]
    fn a_paragraph_goes_on_over_the_page_and_words_are_joined() {
        let line = |y, text: &str| typed(50.0, y, 10.0, text);
        let one = [line(700.0, "This long line of text goes on to the next page where it is com-")].concat();
        let two = [
            line(700.0, "pleted by a line that has about the same length as the other did"),
            line(688.0, "and ends."),
        ]
        .concat();
        assert_eq!(
            shown(vec![one, two]),
            "This long line of text goes on to the next page where it is completed by a line that has about the same length \
             as the other did and ends."
        );
    }
}
