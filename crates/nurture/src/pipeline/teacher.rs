//! Questions about documents by a model behind an endpoint, passage by passage. What it proposes is held to the rules' own
//! promise by the reader of the data: the answer stands in the passage.
//!
//! Each reply is on the disk (`teacher.jsonl` in the run's folder) before it is used, under the hash of what was asked: a run
//! that was killed, or that follows `nurture prepare`, pays for nothing twice and ends with the same rows. The file outlives
//! `--fresh`, because its replies depend on model and passage alone.

use super::{Event, Watch, sha256};
use crate::endpoint::Endpoint;
use crate::json_lines::JsonLines;
use crate::recipe::Recipe;
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_data::{LoadOptions, Proposed, SourceSpec, passages};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The journal in a run's folder.
pub(super) const JOURNAL: &str = "teacher.jsonl";
/// Characters of a passage, about.
const PASSAGE: usize = 1200;
/// Passages that are asked about at the same time: servers batch, and a wait hides behind the others.
const AT_ONCE: usize = 4;
/// Bytes of a reply that are kept; the pairs of one passage need far fewer.
const MOST: usize = 64 << 10;

const SYSTEM: &str = "You write exam questions about a passage. Use the language of the passage. Each question must be \
    understood without seeing the passage, and must have one short answer that is copied from the passage word by word: a \
    name, a number, a few words, no whole sentence. Write nothing else than pairs of lines. For the passage \
    \u{201c}The relief valve of the pump opens at 3 bar.\u{201d} they could be:\n\
    Q: At which pressure does the relief valve of the pump open?\nA: 3 bar";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reply {
    /// hash of model, system text, question and limit
    asked: String,
    reply: String,
}

/// Has the documents of `options.questions` asked about, and puts what was proposed there.
///
/// # Errors
/// No documents to ask about, an endpoint that does not answer, a variable that is not set, the disk.
pub(super) fn ask(
    r: &Recipe,
    sources: &[SourceSpec],
    options: &mut LoadOptions,
    watch: &mut dyn Watch,
) -> Result<()> {
    let Some(teacher) = &r.data.questions.teacher else { return Ok(()) };
    if options.questions.is_empty() {
        bail!(said!(
            "data.questions.teacher asks about documents, and no source has kind = \"questions\"",
            "data.questions.teacher 针对文档提问，但没有来源写了 kind = \"questions\""
        ));
    }
    let (name, by) = (teacher.key_env.as_deref(), "data.questions.teacher.key_env");
    let endpoint = Endpoint::with_key_of(&teacher.url, &teacher.model, name, by, |v| watch.variable(v))?;
    let documents = passages(sources, options, PASSAGE)?;
    // (source, document, passage), thinned out evenly where there are more than asked for
    let mut all: Vec<(usize, &str, &str)> = Vec::new();
    for (at, source) in documents.iter().enumerate() {
        for (id, found) in source {
            all.extend(found.iter().map(|passage| (at, id.as_str(), passage.as_str())));
        }
    }
    let (of, most) = (all.len(), teacher.passages.unwrap_or(usize::MAX));
    if of > most {
        all = (0..most).filter_map(|n| all.get(n * of / most).copied()).collect();
        watch.event(Event::Warning(&said!(
            "data.questions.teacher.passages: {most} of {of} passages are asked about",
            "data.questions.teacher.passages：{of} 段中只问 {most} 段"
        )));
    }
    let user = |passage: &str| format!("Passage:\n{passage}\n\nWrite {} questions.", teacher.count);
    let hash = |passage: &str| {
        sha256(format!("{:?}", (endpoint.model(), SYSTEM, user(passage), teacher.max_tokens)).as_bytes())
    };
    let (mut journal, mut known) = journal(&r.run_dir())?;
    let mut todo: Vec<(String, &str)> = Vec::new();
    for (_, _, passage) in &all {
        let key = hash(passage);
        if !known.contains_key(&key) && !todo.iter().any(|(k, _)| *k == key) {
            todo.push((key, passage));
        }
    }
    let what = said!("passages asked about", "段落已提问");
    let (done, total) = (all.len() - todo.len(), all.len());
    for (n, chunk) in todo.chunks(AT_ONCE).enumerate() {
        if watch.stopped() {
            return Err(super::Stopped.into());
        }
        let replies: Vec<Result<String>> = std::thread::scope(|scope| {
            let ask = |passage: &str| endpoint.ask(SYSTEM, &user(passage), teacher.max_tokens);
            let workers: Vec<_> =
                chunk.iter().map(|(_, passage)| scope.spawn(move || ask(passage))).collect();
            let lost = || Err(said!("a thread of the teacher ended early", "提问线程提前结束").into());
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| lost())).collect()
        });
        // what came is kept, also where a neighbour failed
        let mut failed = None;
        for ((key, _), reply) in chunk.iter().zip(replies) {
            match reply {
                Ok(reply) => {
                    let end = reply.floor_char_boundary(MOST);
                    let line = Reply { asked: key.clone(), reply: reply[..end].to_string() };
                    journal.append(&[&line]).context(JOURNAL)?;
                    known.insert(line.asked, line.reply);
                }
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        if let Some(e) = failed {
            return Err(e);
        }
        watch.event(Event::Progress(&what, done + n * AT_ONCE + chunk.len(), total));
    }
    for (at, document, passage) in all {
        let reply = known.get(&hash(passage)).map(String::as_str).unwrap_or_default();
        let mut found: Vec<(String, String)> = pairs(reply);
        found.truncate(teacher.count);
        if found.is_empty() {
            found.push(Default::default());
        }
        if let Some(source) = options.questions.get_mut(at) {
            source.proposed.extend(found.into_iter().map(|(question, answer)| Proposed {
                document: document.to_string(),
                passage: passage.to_string(),
                question,
                answer,
            }));
        }
    }
    Ok(())
}

/// The pairs of a reply: lines `Q: …` each with the next line `A: …`, numbered or marked up as models like to; in Chinese
/// `问：`, `答：`. Anything else is passed over.
fn pairs(reply: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open: Option<String> = None;
    for line in reply.lines() {
        let line = line.trim().trim_start_matches(|c: char| c.is_ascii_digit() || "*#-.)( \t>".contains(c));
        let after = |marks: &[&str]| {
            marks.iter().find_map(|mark| {
                let rest =
                    line.strip_prefix(mark)?.trim_start_matches(|c: char| c.is_ascii_digit() || c == '*');
                let rest = rest.strip_prefix([':', '：'])?;
                Some(rest.trim().trim_start_matches("**").trim().to_string())
            })
        };
        if let Some(question) = after(&["Question", "Q", "问题", "问"]) {
            open = Some(question);
        } else if let Some(answer) = after(&["Answer", "A", "答案", "答"])
            && let Some(question) = open.take()
        {
            out.push((question, answer));
        }
    }
    out
}

/// Opens the journal with the replies that stand in it.
fn journal(dir: &Path) -> Result<(JsonLines, HashMap<String, String>)> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let (journal, known) = JsonLines::open::<Reply>(&dir.join(JOURNAL))?;
    Ok((journal, known.into_iter().map(|r| (r.asked, r.reply)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_in_many_dresses() {
        let check = |reply: &str, want: &[(&str, &str)]| {
            let found = pairs(reply);
            let found: Vec<(&str, &str)> = found.iter().map(|(q, a)| (q.as_str(), a.as_str())).collect();
            assert_eq!(found, want, "{reply:?}");
        };
        check(
            "Q: What is it?\nA: A pump.\n\nQ: Who?\nA: Ann",
            &[("What is it?", "A pump."), ("Who?", "Ann")],
        );
        check("Sure!\n1. **Q1:** What?\n   **A1:** that\n", &[("What?", "that")]);
        check("问：什么是泵？\n答：加压的设备", &[("什么是泵？", "加压的设备")]);
        check("问题1：几月？\n答案1：三月\n", &[("几月？", "三月")]);
        check("- Question: a?\n- Answer: b", &[("a?", "b")]);
        for none in ["", "A: no question", "Q: no answer", "[]", "Q no colon\nA no colon", "\u{0}\u{202e}Q"] {
            check(none, &[]);
        }
        // a question asked again before an answer came: the later one counts
        check("Q: a\nQ: b\nA: c\nA: d", &[("b", "c")]);
    }
}
