//! Exam items that the training data hold too: each with where it stands there.
use nurture_data::OverlapKind;

use super::data::ExamReport;
use super::fmt;
use super::page::{Block, Cell, Table};
use crate::lang::Lang;
use crate::say;

/// Items that are listed; the file `exam-overlap.json` has all.
const SHOWN: usize = 50;

/// The list to open; nothing where no item overlaps.
pub(super) fn overlap(lang: Lang, exam: &ExamReport) -> Option<Block> {
    if exam.overlap.is_empty() {
        return None;
    }
    let head = [("item", "考题"), ("training row", "训练行"), ("how", "怎样重叠"), ("share", "比例")];
    let head =
        head.iter().enumerate().map(|(at, (en, zh))| (lang.pick(en, zh).to_string(), at == 3)).collect();
    let rows = exam.overlap.iter().take(SHOWN).map(|o| {
        let how = match o.kind {
            OverlapKind::Same => lang.pick("the same question", "问题相同"),
            OverlapKind::Near => lang.pick("nearly the same question", "问题几乎相同"),
            OverlapKind::Copied => lang.pick("in runs of 13 words or characters", "连续 13 词（字）以上"),
        };
        vec![
            Cell::Mono(o.exam.clone()),
            Cell::Mono(o.training.clone()),
            Cell::Text(how.into()),
            Cell::Text(fmt::percent(lang, o.share)),
        ]
    });
    let n = fmt::count(exam.overlap.len() as u64);
    let title = match exam.overlap_left_out {
        true => say!(
            lang,
            "{n} items that stand in the training data too (left out)",
            "训练数据里也有的 {n} 题（已剔除）"
        ),
        false => say!(
            lang,
            "{n} items that stand in the training data too (counted)",
            "训练数据里也有的 {n} 题（仍计分）"
        ),
    };
    Some(Block::Fold(title, vec![Block::Table(Table { head, rows: rows.collect() })]))
}
