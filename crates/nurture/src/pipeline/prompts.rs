//! Breadth on general prompts: the base answers them, then both models read its answers.

use super::exams::{Names, Sitting, stop};
use super::{Event, Mark, Watch, sha256, write_json};
use crate::lang::Said;
use crate::recipe::{InputHash, Recipe};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_eval::{Drift, ExamInfo, ExamKind, Item, Manner, Mode, Paper, Role};
use nurture_text::Message;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The prompts that ship with the project, by language.
const GENERAL: [(&str, &str); 2] = [
    ("prompts-en", include_str!("../../../../samples/prompts/en.jsonl")),
    ("prompts-zh", include_str!("../../../../samples/prompts/zh.jsonl")),
];

/// Their name in a recipe.
const NAME: &str = "general-prompts";

/// Longest answer, tokens: enough to see how a model goes about it.
const ANSWER: usize = 48;

/// Prompts of each ability on the quick dial.
const QUICK: usize = 3;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: Option<String>,
    #[serde(default)]
    ability: String,
    prompt: String,
}

/// A set of prompts.
#[derive(Debug)]
pub struct Prompts {
    /// its name
    pub name: String,
    /// where it comes from: path (or name) and bytes
    origin: (String, Vec<u8>),
    items: Vec<Item>,
    /// the ability of each
    groups: Vec<String>,
    /// what came of it
    pub drift: Option<Drift>,
}

/// Whether a name of `eval.breadth` stands for prompts, not for a text.
pub(super) fn is_prompts(name: &str) -> bool {
    name == NAME || name.to_ascii_lowercase().ends_with(".jsonl")
}

/// The sets of prompts that the recipe names.
///
/// # Errors
/// A file that cannot be read, with the line.
pub(super) fn open(r: &Recipe, quick: bool, names: &mut Names) -> Result<Vec<Prompts>> {
    let mut out = Vec::new();
    for name in r.eval.breadth.iter().filter(|n| is_prompts(n)) {
        if name == NAME {
            for (name, text) in GENERAL {
                out.push(set(&names.take(name), &format!("{NAME}/{name}"), text, quick)?);
            }
            continue;
        }
        let text = std::fs::read_to_string(name).with_context(|| name.clone())?;
        let stem = super::prepare::stem(Path::new(name));
        out.push(set(&names.take(&stem), name, &text, quick)?);
    }
    Ok(out)
}

fn set(name: &str, origin: &str, text: &str, quick: bool) -> Result<Prompts> {
    let (mut items, mut groups) = (Vec::new(), Vec::new());
    let (mut ids, mut seen) = (HashSet::new(), BTreeMap::<String, usize>::new());
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let at = n + 1;
        let row: Row = match serde_json::from_str(line) {
            Ok(row) => row,
            Err(e) => bail!(said!(
                "{origin}, line {at}: {e}; each line is a JSON object with a prompt and, if wanted, ability and id",
                "{origin} 第 {at} 行：{e}；每行是一个 JSON 对象，含 prompt，另可有 ability 和 id"
            )),
        };
        if row.prompt.trim().is_empty() {
            bail!(said!("{origin}, line {at}: the prompt is empty", "{origin} 第 {at} 行：prompt 是空的"));
        }
        let count = seen.entry(row.ability.clone()).or_default();
        *count += 1;
        if quick && *count > QUICK {
            continue;
        }
        let id = row.id.unwrap_or_else(|| format!("{name}:{at}"));
        if !ids.insert(id.clone()) {
            bail!(said!(
                "{origin}, line {at}: the id {id} stands twice",
                "{origin} 第 {at} 行：id {id} 重复"
            ));
        }
        items.push(Item {
            id,
            question: row.prompt.clone(),
            messages: vec![Message::new("user", row.prompt)],
            gold: Vec::new(),
            options: Vec::new(),
        });
        groups.push(row.ability);
    }
    if items.is_empty() {
        bail!(said!("{origin}: no prompts in it", "{origin}：里面没有提示"));
    }
    let origin = (origin.to_string(), text.as_bytes().to_vec());
    Ok(Prompts { name: name.to_string(), origin, items, groups, drift: None })
}

impl Prompts {
    /// Lets the base answer and both read, or takes up what is there.
    pub(super) fn read(
        &mut self,
        base: &Sitting<'_>,
        raised: &Sitting<'_>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let info = ExamInfo {
            name: self.name.clone(),
            kind: ExamKind::Free,
            scorer: None,
            mode: Mode::Exact,
            manner: Manner::default(),
        };
        let paper = Paper { items: &self.items, labels: &[], max_tokens: ANSWER };
        let answers = base.one(&info, paper, watch)?;
        let file = raised.folder.join(format!("{}.drift.json", self.name));
        let old: Option<Drift> = super::read_json(&file);
        let same = |d: &Drift| {
            let read = d.items.iter().map(|i| (&i.id, &i.answer));
            d.base == base.who
                && d.tuned == raised.who
                && read.eq(answers.items.iter().map(|i| (&i.id, &i.answer)))
        };
        let drift = match old.filter(same) {
            Some(drift) => drift,
            None => {
                let what = Said::new(&self.name, &self.name);
                let items = base
                    .examinee
                    .drift(&raised.examinee, &self.items, &self.groups, &answers, |done, all| {
                        watch.event(Event::Progress(&what, done, all));
                        !watch.stopped()
                    })
                    .map_err(stop)?;
                debug_assert_eq!(raised.who.role, Role::Tuned);
                let drift = Drift::new(&self.name, base.who.clone(), raised.who.clone(), items)?;
                write_json(&file, &drift)?;
                drift
            }
        };
        watch.event(Event::Marked(&self.name, Mark::Divergence(drift.kl)));
        self.drift = Some(drift);
        Ok(())
    }

    pub(super) fn input(&self) -> InputHash {
        InputHash {
            role: "breadth".to_string(),
            path: self.origin.0.clone(),
            sha256: sha256(&self.origin.1),
            bytes: self.origin.1.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_prompts_are_even() {
        for (name, text) in GENERAL {
            let all = set(name, name, text, false).unwrap();
            let mut counts = BTreeMap::<&str, usize>::new();
            all.groups.iter().for_each(|g| *counts.entry(g).or_default() += 1);
            assert!(counts.len() == 8 && counts.values().all(|&n| n == 10), "{counts:?}");
            let questions: HashSet<_> = all.items.iter().map(|i| &i.question).collect();
            assert_eq!(questions.len(), 80);
            assert_eq!(set(name, name, text, true).unwrap().items.len(), 8 * QUICK);
        }
    }

    #[test]
    fn broken_prompts_name_their_line() {
        let error = |text: &str| set("p", "p.jsonl", text, false).unwrap_err().to_string();
        assert!(error("{\"prompt\": \"a\"}\n\n{\"prompt\": }").contains("line 3"));
        assert!(error("{\"prompt\": \" \"}").contains("empty"));
        assert!(error("{\"question\": \"a\"}").contains("question"));
        assert!(
            error("{\"prompt\": \"a\", \"id\": \"x\"}\n{\"prompt\": \"b\", \"id\": \"x\"}").contains("twice")
        );
        assert!(error("").contains("no prompts"));
    }
}
