//! Rows kept back from training, and the exam that they become.

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
    if r.train.method == Method::Pretrain || loaded.examples.iter().any(|e| e.text().is_some()) {
        bail!(said!(
            "data.hold_out makes an exam of questions and answers, and these rows are plain text; give a text of its own as an exam instead: eval.depth = [{{ path = …, kind = \"perplexity\" }}]",
            "data.hold_out 把问答行做成考试，而这些行是纯文本；请另给一份文本作考试：eval.depth = [{{ path = …, kind = \"perplexity\" }}]"
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

/// The exam of the held-out rows; `None` where there are none.
///
/// # Errors
/// Rows of different kinds of answers.
pub(super) fn paper(r: &Recipe, books: &Loaded, held: &[Example]) -> Result<Option<ExamPaper>> {
    let Some(h) = r.data.hold_out.as_ref().filter(|_| !held.is_empty()) else { return Ok(None) };
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
    };
    super::prepare::paper(&h.exam(), "data.hold_out".as_ref(), loaded, Vec::new()).map(Some)
}
