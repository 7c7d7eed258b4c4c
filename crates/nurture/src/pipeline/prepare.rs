//! Prepare: files to examples to token sequences, every row accounted for.

use super::exams::Names;
use super::{Event, Watch};
use crate::engine::Model;
use crate::recipe::{self, DataFacts, Method, Recipe};
use crate::said;
use anyhow::{Context, Result, bail};
use nurture_data::{
    Answer, ChoiceStyle, Example, Fields, LabelForm, LengthPolicy, LoadOptions, Loaded, Mapping, OnBadRow,
    OverLong, PrefixTree, PromptTemplate, QuestionSource, SchemaKind, SourceSpec, TokenExample, ToolStyle,
    document_sequences, fit_groups, fit_lengths, load_exam, load_training, repeat_by_weight,
    sample_by_weight, without_copy,
};
use nurture_eval::{ExamKind, Item, Manner, score::Scorer};
use nurture_text::Message;
use std::collections::HashMap;
use std::path::Path;

/// Training data, ready for the network.
#[derive(Debug)]
pub struct Training {
    /// what was read
    pub loaded: Loaded,
    /// rows kept back for an exam
    pub held: Vec<Example>,
    /// token sequences with their loss masks; of pairs two for each, the better answer first
    pub tokens: Vec<TokenExample>,
    /// of each sequence whether it is a good answer, where answers are judged one by one
    pub judged: Vec<bool>,
    /// tokens and trained tokens of each source
    pub per_source: Vec<(u64, u64)>,
}

/// An exam, before its items are drawn.
#[derive(Debug)]
pub struct ExamPaper {
    /// its name
    pub name: String,
    /// how it is answered
    pub kind: ExamKind,
    /// how free answers are compared
    pub scorer: Option<Scorer>,
    /// longest free answer
    pub max_tokens: usize,
    /// how it is put to the model
    pub manner: Manner,
    /// whether it examines breadth
    pub general: bool,
    /// whether its rows were held out of the textbooks
    pub held: bool,
    /// worked examples to choose from
    pub shots: Vec<Example>,
    /// what was read
    pub loaded: Loaded,
}

pub(super) fn word<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_string())).ok()
}

/// How the recipe wants data to be read.
pub(super) fn load_options(r: &Recipe) -> LoadOptions {
    LoadOptions {
        on_bad_row: word(r.data.on_bad_row.word()).unwrap_or(OnBadRow::Error),
        on_unknown_label: word(r.data.on_bad_row.word()).unwrap_or(OnBadRow::Error),
        labels: word(r.data.labels.word()).unwrap_or(LabelForm::AsIs),
        template: PromptTemplate {
            system: r.data.system.clone(),
            user: r.data.user.clone(),
            choices: ChoiceStyle::default(),
        },
        clean: super::clean::options(r),
        preference: r.train.method.compares(),
        ..LoadOptions::default()
    }
}

struct Columns<'a> {
    kind: Option<SchemaKind>,
    user: &'a Option<String>,
    answer: &'a Option<String>,
    rejected: &'a Option<String>,
    good: &'a Option<String>,
    options: &'a [String],
    context: &'a [String],
    system: &'a Option<String>,
    tools: Option<&'a String>,
    encoding: Option<recipe::Encoding>,
    header: Option<bool>,
    group: &'a Option<String>,
}

/// The textbooks before they are tokens.
#[derive(Debug)]
pub struct Textbooks {
    /// what was read, cleaned, without the rows held out
    pub loaded: Loaded,
    /// rows kept back for an exam
    pub held: Vec<Example>,
}

fn spec(path: &Path, c: Columns<'_>) -> Result<SourceSpec> {
    let mut spec = SourceSpec::new(path);
    spec.encoding = c.encoding.and_then(|e| word(e.word()));
    spec.header = c.header;
    let many = |names: &[String]| match names {
        [] => None,
        [one] => Some(Fields::One(one.clone())),
        more => Some(Fields::Many(more.to_vec())),
    };
    let worse = c.rejected.is_some() || c.good.is_some();
    let named = worse
        || c.user.is_some()
        || c.answer.is_some()
        || !c.options.is_empty()
        || !c.context.is_empty()
        || c.system.is_some()
        || c.tools.is_some()
        || c.group.is_some();
    if named || c.kind.is_some() {
        let kind = match c.kind {
            Some(kind) => kind,
            None if !c.options.is_empty() => SchemaKind::Choice,
            None if c.rejected.is_some() => SchemaKind::Preference,
            None if c.good.is_some() => SchemaKind::Judged,
            None => {
                let path = path.display();
                bail!(said!(
                    "{path}: columns are named but not what a row is: add kind = \"label\" (or question_answer, choice, messages …)",
                    "{path}：写了列名，却没说一行是什么：请加 kind = \"label\"（或 question_answer、choice、messages 等）"
                ))
            }
        };
        let mut m = Mapping::new(kind);
        match kind {
            // whatever the model reads is `user` in a recipe
            SchemaKind::Text => m.text = c.user.clone(),
            SchemaKind::Messages | SchemaKind::Sharegpt => m.messages = c.user.clone(),
            _ => m.user = c.user.clone(),
        }
        m.rejected = c.rejected.clone();
        m.good = c.good.clone();
        m.system = c.system.clone();
        m.group = c.group.clone();
        m.tools = c.tools.cloned();
        m.options = many(c.options);
        m.context = many(c.context);
        match kind {
            SchemaKind::Label => m.label = c.answer.clone(),
            _ => m.answer = c.answer.clone(),
        }
        // a kind alone says how to look, not where: the columns are then still found by looking
        if named {
            spec.mapping = Some(m);
        }
    }
    Ok(spec)
}

/// Reads and cleans the training files: everything before the tokens.
///
/// # Errors
/// Whatever a file or a row says; see the recipe's policies.
pub fn textbooks(r: &Recipe, watch: &mut dyn Watch) -> Result<Textbooks> {
    read(r, ToolStyle::default(), watch)
}

fn read(r: &Recipe, tool_style: ToolStyle, watch: &mut dyn Watch) -> Result<Textbooks> {
    let mut options = LoadOptions { tool_style, ..load_options(r) };
    // the trainer knows sources by their place in the recipe
    let (mut specs, mut order, mut asking) = (Vec::new(), Vec::new(), Vec::new());
    for (at, s) in r.data.train.iter().enumerate() {
        if s.kind == Some(recipe::SourceKind::Questions) {
            asking.push(at);
            let spec =
                SourceSpec { encoding: s.encoding.and_then(|e| word(e.word())), ..SourceSpec::new(&s.path) };
            let rules = r.data.questions.rules.iter().filter_map(|rule| word(rule.word())).collect();
            let passage = r.data.questions.passage;
            options.questions.push(QuestionSource { spec, rules, passage, proposed: Vec::new() });
            continue;
        }
        order.push(at);
        let columns = Columns {
            kind: s.kind.and_then(|k| word(k.word())),
            user: &s.user,
            answer: &s.answer,
            rejected: &s.rejected,
            good: &s.good,
            options: &s.options,
            context: &s.context,
            system: &s.system,
            tools: s.tools.as_ref(),
            encoding: s.encoding,
            header: s.header,
            group: &s.group,
        };
        let mut spec = spec(&s.path, columns)?;
        spec.part.clone_from(&s.part);
        specs.push(spec);
    }
    order.extend(asking);
    super::teacher::ask(r, &specs, &mut options, watch)?;
    let mut loaded = load_training(&specs, &options)?;
    for source in &mut loaded.sources {
        source.spec = order.get(source.spec).copied().unwrap_or(source.spec);
    }
    for s in &loaded.sources {
        watch.event(Event::Source(s));
    }
    documents_are_read(r, &loaded)?;
    sample_by_weight(&mut loaded, &weights(r), r.train.seed);
    for warning in super::clean::warnings(r, &loaded.cleaning) {
        watch.event(Event::Warning(&warning));
    }
    let held = super::held_out::part(r, &mut loaded)?;
    Ok(Textbooks { loaded, held })
}

/// Reads, cleans and renders the training files.
///
/// # Errors
/// Whatever a file, a row or the template says; see the recipe's policies.
pub(super) fn training(r: &Recipe, model: &Model, max_len: usize, watch: &mut dyn Watch) -> Result<Training> {
    let style = ToolStyle::of_template(model.renderer().template().source());
    let Textbooks { mut loaded, held } = read(r, style, watch)?;
    // of practice the answer is still to come
    let answer = if r.train.method == Method::Grpo { r.train.practice.max_tokens } else { 0 };
    let policy = LengthPolicy {
        max_tokens: max_len.saturating_sub(answer).max(1),
        over_long: word(r.data.over_long.word()).unwrap_or(OverLong::Error),
        allow_untrained: false,
    };
    let again = |tokens, together, loaded: &mut Loaded| {
        repeat_by_weight(tokens, together, loaded, &weights(r), r.train.seed)
    };
    let mut judged = Vec::new();
    let examples = &loaded.examples;
    let tokens = match r.train.method {
        Method::Sft => {
            let rows = examples.iter().map(|e| render(model, e)).collect::<Result<_>>()?;
            again(fit_lengths(rows, policy, &mut loaded.ledger)?, 1, &mut loaded)
        }
        Method::Grpo => {
            let rows = examples.iter().map(|e| question(model, e)).collect::<Result<_>>()?;
            again(fit_lengths(rows, policy, &mut loaded.ledger)?, 1, &mut loaded)
        }
        Method::Pretrain => {
            let mut rows = Vec::with_capacity(examples.len());
            for e in examples {
                rows.extend(documents(model, e, max_len)?);
            }
            again(fit_lengths(rows, policy, &mut loaded.ledger)?, 1, &mut loaded)
        }
        Method::Dpo | Method::Orpo | Method::Simpo | Method::Reward => {
            let rows = examples.iter().map(|e| pair(model, e)).collect::<Result<_>>()?;
            again(fit_groups(rows, policy, &mut loaded.ledger)?, 2, &mut loaded)
        }
        Method::Kto => {
            // a pair is a good and a bad answer; together they stay one row of the ledger
            let (mut pairs, mut ones, mut good) = (Vec::new(), Vec::new(), HashMap::new());
            for e in examples {
                match &e.answer {
                    Answer::Judged { good: mark, .. } => {
                        good.insert(e.id.clone(), *mark);
                        ones.push(answered(model, e, &e.with_answer())?);
                    }
                    _ => pairs.push(pair(model, e)?),
                }
            }
            let pairs = match pairs.is_empty() {
                true => Vec::new(),
                false => again(fit_groups(pairs, policy, &mut loaded.ledger)?, 2, &mut loaded),
            };
            let ones = match ones.is_empty() {
                true => Vec::new(),
                false => again(fit_lengths(ones, policy, &mut loaded.ledger)?, 1, &mut loaded),
            };
            judged = (0..pairs.len()).map(|i| i % 2 == 0).collect();
            judged.extend(ones.iter().map(|e| good.get(without_copy(&e.id)) == Some(&true)));
            [pairs, ones].concat()
        }
    };
    if tokens.is_empty() {
        let reasons = reasons(&loaded);
        bail!(said!(
            "no training example is left; the ledger says why: {reasons}",
            "没有剩下可训练的样本；账本里的原因：{reasons}"
        ));
    }
    let mut per_source = vec![(0, 0); loaded.sources.len()];
    for t in &tokens {
        if let Some(s) = per_source.get_mut(t.source) {
            s.0 += t.tokens.len() as u64;
            s.1 += t.trained_tokens() as u64;
        }
    }
    Ok(Training { loaded, held, tokens, judged, per_source })
}

pub(super) fn weights(r: &Recipe) -> Vec<f64> {
    r.data.train.iter().map(|s| s.weight).collect()
}

/// Documents have no answers: only pre-training learns from them as they are.
fn documents_are_read(r: &Recipe, loaded: &Loaded) -> Result<()> {
    let asked = |s: &nurture_data::SourceFound| {
        s.schema.as_ref().is_some_and(|schema| schema.kind == SchemaKind::QuestionAnswer)
    };
    let documents = loaded.sources.iter().find(|s| s.found.documents.is_some_and(|n| n > 0) && !asked(s));
    if let (Some(source), false) = (documents, r.train.method == Method::Pretrain) {
        let (file, method) = (&source.file, r.train.method.word());
        bail!(said!(
            "{file}: documents hold no questions and answers, which train.method = \"{method}\" learns from; set train.method = \"pretrain\" to learn their text, or kind = \"questions\" at this source to have questions made of them",
            "{file}：文档里没有问答，而 train.method = \"{method}\" 要从问答学；请设 train.method = \"pretrain\" 学习其文本，或在该来源写 kind = \"questions\"，由规则从文档得出问题"
        ));
    }
    Ok(())
}

fn reasons(loaded: &Loaded) -> String {
    let dropped = loaded.ledger.total().dropped;
    dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", ")
}

/// One example as tokens with their mask.
///
/// # Errors
/// What the template raises, with the example's place.
pub fn render(model: &Model, e: &Example) -> Result<TokenExample> {
    let rendered = match e.text() {
        Some(text) => model.renderer().completion(text),
        None => model.renderer().example(&e.with_answer()),
    }
    .with_context(|| e.id.clone())?;
    Ok(TokenExample {
        id: e.id.clone(),
        source: e.source,
        tokens: rendered.tokens,
        trained: rendered.trained,
    })
}

/// A conversation of which the last answer alone is learnt from.
fn answered(model: &Model, e: &Example, messages: &[Message]) -> Result<TokenExample> {
    let mut rendered = model.renderer().example(messages).with_context(|| e.id.clone())?;
    let begin = rendered.turns.last().map_or(0, |turn| turn.tokens.start);
    rendered.trained.iter_mut().take(begin).for_each(|t| *t = false);
    Ok(TokenExample {
        id: e.id.clone(),
        source: e.source,
        tokens: rendered.tokens,
        trained: rendered.trained,
    })
}

/// Better and worse answer of a row.
fn pair(model: &Model, e: &Example) -> Result<[TokenExample; 2]> {
    let Some(rejected) = e.with_rejected() else {
        let id = &e.id;
        bail!(said!(
            "{id}: this method learns from pairs of a better and a worse answer (chosen, rejected), this row is something else; answers that are marked good or bad are learnt from with train.method = \"kto\", plain answers with \"sft\"",
            "{id}：这种方法从一好一坏的答案对（chosen、rejected）学习，这一行不是；标了好坏的答案用 train.method = \"kto\"，普通答案用 \"sft\""
        ))
    };
    let mut pair = [answered(model, e, &e.with_answer())?, answered(model, e, &rejected)?];
    // an answer is over with the token that ends it, where a reward model reads; what a template writes after that is nobody's
    for answer in &mut pair {
        let end = answer.trained.iter().rposition(|t| *t).map_or(0, |at| at + 1);
        answer.tokens.truncate(end);
        answer.trained.truncate(end);
    }
    Ok(pair)
}

/// A question to practise on: the turns before the answer, up to where it begins. The last token stands for what is to come.
fn question(model: &Model, e: &Example) -> Result<TokenExample> {
    if e.text().is_some() {
        let id = &e.id;
        bail!(said!(
            "{id}: train.method = \"grpo\" practises on questions, this row is plain text",
            "{id}：train.method = \"grpo\" 用问题来练习，这一行是纯文本"
        ))
    }
    let tokens = model.renderer().prompt(e.prompt()).with_context(|| e.id.clone())?.tokens;
    let trained = (0..tokens.len()).map(|i| i + 1 == tokens.len()).collect();
    Ok(TokenExample { id: e.id.clone(), source: e.source, tokens, trained })
}

/// The documents of a text as sequences in which every token is learnt.
fn documents(model: &Model, e: &Example, max_len: usize) -> Result<Vec<TokenExample>> {
    let Some(text) = e.text() else {
        let id = &e.id;
        bail!(said!(
            "{id}: train.method = \"pretrain\" learns from plain text (txt, md, or jsonl with kind = \"text\"), this row is something else; sft learns from it",
            "{id}：train.method = \"pretrain\" 从纯文本学习（txt、md，或 kind = \"text\" 的 jsonl），这一行不是；请用 sft"
        ))
    };
    let tokenizer = model.tokenizer();
    let mut out = Vec::new();
    for (n, document) in super::texts::parts(text).into_iter().enumerate() {
        let tokens = tokenizer.encode(&document, false).with_context(|| e.id.clone())?;
        let id = if n == 0 { e.id.clone() } else { format!("{} ({})", e.id, n + 1) };
        out.extend(document_sequences(&id, e.source, &tokens, tokenizer.bos(), tokenizer.eos(), max_len));
    }
    Ok(out)
}

/// Sequences of a row that are never parted.
pub(super) fn group(r: &Recipe) -> usize {
    if r.train.method.compares() && r.train.method != Method::Kto { 2 } else { 1 }
}

/// What the dial needs to know of the data.
pub(super) fn facts(r: &Recipe, t: &Training, exams: &[ExamPaper]) -> DataFacts {
    let group = group(r);
    let widest = |pair: &[TokenExample]| PrefixTree::new(&pair.iter().collect::<Vec<_>>(), true).rows();
    DataFacts {
        train_examples: t.tokens.len() / group,
        widest_tokens: if group > 1 { t.tokens.chunks(group).map(widest).max().unwrap_or(0) } else { 0 },
        train_tokens: t.tokens.iter().map(|e| e.tokens.len()).sum(),
        trained_tokens: t.tokens.iter().map(TokenExample::trained_tokens).sum(),
        longest_tokens: t.tokens.iter().map(|e| e.tokens.len()).max().unwrap_or(0),
        labels: t.loaded.labels.as_ref().map_or(0, |l| l.len()),
        // texts that are read for their perplexity are no papers; rows that the first stage holds out are none of a later one
        exam_items: exams
            .iter()
            .filter(|e| r.data.hold_out.is_some() || !e.held)
            .map(|e| e.loaded.examples.len())
            .collect(),
    }
}

/// Reads the exams of the recipe.
///
/// # Errors
/// Whatever a file or row says; an exam whose rows are of different kinds.
pub(super) fn exams(
    r: &Recipe,
    books: &Loaded,
    held: &[Example],
    names: &mut Names,
    watch: &mut dyn Watch,
) -> Result<Vec<ExamPaper>> {
    let labels = books.labels.as_ref();
    let mut out: Vec<ExamPaper> = Vec::new();
    for (key, exam, general) in r.exams().iter().filter(|(_, e, _)| e.has_items()) {
        if key == "data.hold_out" {
            out.push(super::held_out::paper(r, books, held)?);
            continue;
        }
        let kind = match exam.kind {
            Some(recipe::ExamKind::Label) => Some(SchemaKind::Label),
            Some(recipe::ExamKind::Preference) => Some(SchemaKind::Preference),
            Some(recipe::ExamKind::Choice) if !exam.options.is_empty() => Some(SchemaKind::Choice),
            Some(recipe::ExamKind::Free) if exam.user.is_some() => Some(SchemaKind::QuestionAnswer),
            _ => None,
        };
        let columns = || Columns {
            kind,
            user: &exam.user,
            answer: &exam.answer,
            rejected: &exam.rejected,
            good: &None,
            options: &exam.options,
            context: &exam.context,
            system: &exam.system,
            tools: None,
            encoding: exam.encoding,
            header: None,
            group: &None,
        };
        let mut options = load_options(r);
        options.template.choices = word(exam.options_as.word()).unwrap_or_default();
        options.tool_style = books.tool_style;
        let loaded = load_exam(&[spec(&exam.path, columns())?], &options, labels)?;
        let shots = match &exam.shots_from {
            Some(path) if exam.shots > 0 => load_exam(&[spec(path, columns())?], &options, labels)?.examples,
            _ => Vec::new(),
        };
        loaded.sources.iter().for_each(|s| watch.event(Event::Source(s)));
        out.push(ExamPaper { general: *general, ..paper(exam, &exam.path, loaded, shots)? });
    }
    if r.train.method == Method::Reward
        && let Some(exam) = out.iter().find(|e| e.kind != ExamKind::Preference)
    {
        let name = &exam.name;
        bail!(said!(
            "{name}: a reward model only tells answers apart: give exams of pairs (kind = \"preference\"), or data.hold_out",
            "{name}：奖励模型只会比较答案：请用成对答案的考试（kind = \"preference\"），或 data.hold_out"
        ));
    }
    for exam in &mut out {
        exam.name = names.take(&exam.name);
    }
    Ok(out)
}

/// An exam as the recipe wants its rows to be answered.
///
/// # Errors
/// Rows of different kinds, or of another kind than the recipe says.
pub(super) fn paper(
    exam: &recipe::Exam,
    path: &Path,
    loaded: Loaded,
    shots: Vec<Example>,
) -> Result<ExamPaper> {
    let found = kind_of(path, &loaded.examples)?;
    let wanted = match exam.kind {
        None => found,
        Some(recipe::ExamKind::Preference) if found != ExamKind::Preference => {
            let path = path.display();
            bail!(said!(
                "{path}: the recipe calls it a preference exam, but its rows have no better and worse answer; name the columns (answer, rejected) or another kind",
                "{path}：配方说它是 preference 考试，但各行没有一好一坏两个答案；请写明列名（answer、rejected），或改用别的 kind"
            ))
        }
        // the better answers of pairs are free answers too
        Some(recipe::ExamKind::Free) => ExamKind::Free,
        // a set of labels is a choice whose options are the same for all
        Some(kind) if found == ExamKind::Free => {
            let (path, kind) = (path.display(), kind.word());
            bail!(said!(
                "{path}: the recipe calls it a {kind} exam, but its rows hold free answers; set kind = \"free\" or name the columns",
                "{path}：配方说它是 {kind} 考试，但各行是自由作答；请设 kind = \"free\"，或写明列名"
            ))
        }
        Some(_) => found,
    };
    let name = exam.name.clone().unwrap_or_else(|| stem(path));
    let scorer = (wanted == ExamKind::Free).then(|| exam.score.scorer());
    if !shots.is_empty() && kind_of(path, &shots)? != found {
        let path = exam.shots_from.as_deref().unwrap_or(path).display();
        bail!(said!(
            "{path}: the worked examples ask for another kind of answer than the exam",
            "{path}：示例要的答案与考题种类不同"
        ));
    }
    let manner = Manner {
        ask: word(exam.ask.word()).unwrap_or_default(),
        pick: match wanted {
            ExamKind::Free => nurture_eval::Pick::default(),
            _ => word(exam.pick.word()).unwrap_or_default(),
        },
        shots: exam.shots,
    };
    Ok(ExamPaper {
        name,
        kind: wanted,
        scorer,
        max_tokens: exam.max_tokens,
        manner,
        shots,
        held: false,
        general: false,
        loaded,
    })
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "exam".into(), |s| s.to_string_lossy().into_owned())
}

fn kind_of(path: &Path, examples: &[Example]) -> Result<ExamKind> {
    let path = path.display();
    let kind = |e: &Example| match &e.answer {
        Answer::Label(_) => Ok(ExamKind::Label),
        Answer::Choice { .. } => Ok(ExamKind::Choice),
        Answer::Free(_) => Ok(ExamKind::Free),
        Answer::Pair { .. } => Ok(ExamKind::Preference),
        Answer::Chat if e.expected().is_some() => Ok(ExamKind::Free),
        _ => {
            let id = &e.id;
            bail!(said!(
                "{path}: item {id} has no answer to compare with",
                "{path}：题目 {id} 没有可对照的答案"
            ))
        }
    };
    let first = examples.first().map_or(Ok(ExamKind::Free), kind)?;
    for e in examples {
        if kind(e)? != first {
            let id = &e.id;
            bail!(said!(
                "{path}: item {id} asks for another kind of answer than the first item",
                "{path}：题目 {id} 要的答案与第一题种类不同"
            ));
        }
    }
    Ok(first)
}

/// Items as they are put to the model.
pub fn items(examples: &[Example], kind: ExamKind) -> Vec<Item> {
    examples
        .iter()
        .map(|e| {
            let messages = e.prompt().to_vec();
            let question = messages.iter().rev().find(|m| m.role == "user").map(|m| m.content.clone());
            let gold = match &e.answer {
                Answer::Free(all) => all.clone(),
                _ => e.expected().map(String::from).into_iter().collect(),
            };
            let options = match &e.answer {
                Answer::Choice { options, .. } if kind == ExamKind::Choice => options.clone(),
                Answer::Pair { chosen, rejected } if kind == ExamKind::Preference => {
                    vec![chosen.clone(), rejected.clone()]
                }
                _ => Vec::new(),
            };
            Item { id: e.id.clone(), question: question.unwrap_or_default(), messages, gold, options }
        })
        .collect()
}
