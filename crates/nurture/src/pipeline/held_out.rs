//! Rows kept back from training, and the exam that they become: questions, or of plain text the perplexity.

use super::prepare::ExamPaper;
use crate::recipe::{self, Method, Recipe};
use crate::said;
use anyhow::{Result, bail};
use nurture_data::{Example, Fate, HoldOutBy, HoldOutSize, Ledger, Loaded, hold_out};

/// Takes the held-out rows out of what was read.
///
/// # Errors
/// Nothing is left to train on; nothing was held out; documents without questions.
pub(super) fn part(r: &Recipe, loaded: &mut Loaded) -> Result<Vec<Example>> {
    let Some(h) = &r.data.hold_out else { return Ok(Vec::new()) };
    let texts = loaded.examples.iter().filter(|e| e.text().is_some()).count();
    let wanted = if r.train.method == Method::Pretrain { loaded.examples.len() } else { 0 };
    if texts != wanted {
        let rows = loaded.examples.len();
        bail!(said!(
            "data.hold_out makes one exam: of questions and answers, or with train.method = \"pretrain\" of plain text; {texts} of {rows} rows are plain text. Give an exam of its own instead: eval.depth",
            "data.hold_out 只做一种考试：问答，或 train.method = \"pretrain\" 时的纯文本；{rows} 行中有 {texts} 行是纯文本。请另给考试：eval.depth"
        ));
    }
    let size = h.count.map_or(HoldOutSize::Share(h.share), HoldOutSize::Count);
    let by = match h.by {
        recipe::HoldOutBy::Question => HoldOutBy::Question,
        recipe::HoldOutBy::Group => HoldOutBy::Group,
        recipe::HoldOutBy::Document => HoldOutBy::Document,
    };
    let rows = loaded.examples.len();
    let all = std::mem::take(&mut loaded.examples);
    let (kept, held) = hold_out(all, size, by, r.train.seed, &mut loaded.ledger);
    let by = h.by.word();
    if kept.is_empty() {
        bail!(said!(
            "data.hold_out keeps back all {rows} rows, because they are one {by}; set data.hold_out.by = \"question\", or hold out fewer",
            "data.hold_out 留出了全部 {rows} 行，因为它们同属一个 {by}；请设 data.hold_out.by = \"question\"，或少留一些"
        ));
    }
    if held.is_empty() {
        bail!(said!(
            "data.hold_out keeps back none of {rows} rows (by {by}): there are too few for this share; set data.hold_out.count",
            "data.hold_out 从 {rows} 行中一行也没留出（按 {by}）：按这个比例太少；请设 data.hold_out.count"
        ));
    }
    loaded.examples = kept;
    Ok(held)
}

/// The text of held-out documents, parted as [`super::texts`] parts them.
pub(super) fn text(held: &[Example]) -> String {
    held.iter().filter_map(Example::text).collect::<Vec<_>>().join(&format!("\n{}\n", super::texts::BETWEEN))
}

/// The exam of the held-out rows; `None` where there are none.
///
/// # Errors
/// Rows of different kinds of answers.
pub(super) fn paper(r: &Recipe, books: &Loaded, held: &[Example]) -> Result<ExamPaper> {
    let exam = r.data.hold_out.as_ref().map(|h| h.exam(r.train.method)).unwrap_or_default();
    let mut ledger =
        Ledger::new(books.sources.iter().map(|s| s.file.as_str()), books.ledger.examples_per_reason);
    held.iter().for_each(|e| ledger.count(e.source, &Fate::Used, &e.id));
    // files of which no row was held out say nothing here
    let loaded = Loaded {
        examples: held.to_vec(),
        sources: books.sources.clone(),
        labels: books.labels.clone(),
        ledger,
        conflicts: Default::default(),
        cleaning: Default::default(),
        tool_style: books.tool_style,
        asked: Default::default(),
    };
    let paper = super::prepare::paper(&exam, "data.hold_out".as_ref(), loaded, Vec::new())?;
    Ok(ExamPaper { held: true, ..paper })
}
