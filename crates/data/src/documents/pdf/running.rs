//! Running lines: titles and page numbers that stand at the same place of many pages and belong to none of them.

use std::collections::HashMap;

use crate::documents::Note;

use super::layout::{Page, Row};

/// Rows at each edge of a page that can be running lines.
const EDGE: usize = 3;
/// Heights that count as the same, in points.
const SAME: f32 = 6.0;

/// Removes them and says so.
pub(super) fn remove(pages: &mut [Page]) -> Option<Note> {
    let with_rows = pages.iter().filter(|p| !p.flows.is_empty()).count();
    // odd and even pages may have titles of their own
    let least = 3.max(with_rows * 2 / 5);
    let mut seen: HashMap<(String, i64), usize> = HashMap::new();
    for page in pages.iter() {
        if let Some(rows) = page.flows.first() {
            for at in edges(rows.len()) {
                if let Some(key) = rows.get(at).map(key) {
                    *seen.entry(key).or_default() += 1;
                }
            }
        }
    }
    let (mut lines, mut example) = (0, None);
    for page in pages.iter_mut() {
        let Some(rows) = page.flows.first_mut() else { continue };
        let edge = edges(rows.len());
        let mut at = 0;
        rows.retain(|row| {
            let running = edge.contains(&at) && seen.get(&key(row)).is_some_and(|n| *n >= least);
            at += 1;
            if running {
                lines += 1;
                example.get_or_insert_with(|| row.text());
            }
            !running
        });
    }
    example.map(|example| Note::RunningLines { lines, example })
}

fn edges(rows: usize) -> Vec<usize> {
    (0..rows).filter(|at| *at < EDGE || *at + EDGE >= rows).collect()
}

/// What makes two lines the same: their words with any number for a number, and their height.
fn key(row: &Row) -> (String, i64) {
    let mut text = String::new();
    for c in row.text().chars().filter(|c| !c.is_whitespace()) {
        match c.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(c),
        }
    }
    (text, (row.y / SAME).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::typed;
    use super::*;

    #[test]
    fn titles_and_page_numbers_go_text_stays() {
        let mut pages: Vec<Page> = (1..=12)
            .map(|n| {
                let mut all = typed(50.0, 800.0, 9.0, "Operating manual");
                for line in 0..8 {
                    all.extend(typed(
                        50.0,
                        700.0 - 20.0 * line as f32,
                        10.0,
                        &format!("words {n} {}", "x".repeat(n + line)),
                    ));
                }
                all.extend(typed(280.0, 30.0, 9.0, &format!("- {n} -")));
                Page::new(all)
            })
            .collect();
        let note = remove(&mut pages).unwrap();
        assert_eq!(note, Note::RunningLines { lines: 24, example: "Operating manual".into() });
        assert!(pages.iter().all(|p| p.flows[0].len() == 8));
        // two pages are too few to tell
        let mut two: Vec<Page> = (0..2).map(|_| Page::new(typed(0.0, 0.0, 9.0, "same"))).collect();
        assert_eq!(remove(&mut two), None);
    }
}
