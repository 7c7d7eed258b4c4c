//! Exams whose answers another model compares, through its endpoint. Each judgement is on the disk before the next is asked for.

use super::exams::Depth;
use super::{Event, Watch, sha256};
use crate::endpoint::Endpoint;
use crate::json_lines::JsonLines;
use crate::lang::Said;
use crate::recipe::Recipe;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_eval::judge::{self, Judged, Vote};
use nurture_eval::score::Scorer;
use std::path::Path;

/// Opens the endpoint of the recipe; `variable` gives the value of an environment variable.
///
/// # Errors
/// No judge named, an address that is none, a variable that is not set.
pub(super) fn endpoint(r: &Recipe, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Endpoint>> {
    if !r.exams().iter().any(|(_, e, _)| e.score == crate::recipe::Score::Judge) {
        return Ok(None);
    }
    let Some(j) = &r.eval.judge else {
        bail!(said!(
            "an exam has score = \"judge\", but eval.judge names no endpoint",
            "有考试写了 score = \"judge\"，但 eval.judge 没有给出端点"
        ))
    };
    let name = j.key_env.as_deref();
    Endpoint::with_key_of(&j.url, &j.model, name, "eval.judge.key_env", variable).map(Some)
}

impl Depth {
    /// Has the answers of judged exams compared, and marks them.
    pub(super) fn judge(
        &mut self,
        dir: &Path,
        judge: &Endpoint,
        max_tokens: usize,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        for exam in self.exams.iter_mut().filter(|e| e.info.scorer == Some(Scorer::Judge)) {
            let [Some(base), Some(tuned)] = &exam.results else { continue };
            let path = dir.join("eval").join(format!("{}.judged.jsonl", exam.info.name));
            let (mut journal, done) = JsonLines::open::<Judged>(&path)?;
            let what = Said::new(&exam.info.name, &exam.info.name);
            let mut all = Vec::with_capacity(base.items.len());
            for (i, (b, t)) in base.items.iter().zip(&tuned.items).enumerate() {
                let reference = b.gold.first().map(String::as_str);
                let asked = (judge.model(), &b.question, reference, &b.answer, &t.answer);
                let asked = sha256(format!("{asked:?}").as_bytes());
                let judged = match done.iter().find(|j| j.id == b.id && j.asked == asked) {
                    Some(old) => old.clone(),
                    None => {
                        let ask = |first: &str, second: &str| -> Result<Option<Vote>> {
                            let question = judge::question(&b.question, reference, first, second);
                            Ok(judge::vote(&judge.ask(judge::SYSTEM, &question, max_tokens)?))
                        };
                        // the same words need no judge
                        let (base_first, tuned_first) = match b.answer == t.answer {
                            true => (Some(Vote::Tie), Some(Vote::Tie)),
                            false => (ask(&b.answer, &t.answer)?, ask(&t.answer, &b.answer)?),
                        };
                        let judged = Judged { id: b.id.clone(), asked, base_first, tuned_first };
                        journal.append(&[&judged]).with_context(|| path.display().to_string())?;
                        judged
                    }
                };
                all.push(judged);
                watch.event(Event::Progress(&what, i + 1, base.items.len()));
                if watch.stopped() {
                    return Err(super::Stopped.into());
                }
            }
            let unread = all.iter().filter(|j| j.base_first.is_none() || j.tuned_first.is_none()).count();
            let by_place = all.iter().filter(|j| j.by_place()).count();
            let (n, name) = (all.len(), &exam.info.name);
            if unread > 0 {
                watch.event(Event::Warning(&said!(
                    "{name}: {unread} of {n} items have a judgement that cannot be read; they count as ties",
                    "{name}：{n} 题中有 {unread} 题的评判读不出来，按平局计"
                )));
            }
            if by_place * 3 > n {
                watch.event(Event::Warning(&said!(
                    "{name}: in {by_place} of {n} items the judge chose the same place in both orders; it hardly tells the answers apart",
                    "{name}：{n} 题中有 {by_place} 题裁判两次都选了同一位置，几乎分不出好坏"
                )));
            }
            let (base, tuned) = judge::mark(base, tuned, &all)?;
            exam.results = [Some(base), Some(tuned)];
        }
        Ok(())
    }
}
