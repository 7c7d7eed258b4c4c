//! From data files to examples: the way through this crate. Every row ends in the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nurture_text::{Message, ToolStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clean::{CleanOptions, CleanReport, clean, tidy_only};
use crate::convert::{Draft, convert};
use crate::digest;
use crate::document_files::DocumentFiles;
use crate::documents::{DocumentProblem, Note, read_document};
use crate::error::{DataError, RowProblem};
use crate::example::{Answer, Example, TEXT_ROLE};
use crate::input::Place;
use crate::labels::{LabelForm, LabelSet};
use crate::ledger::{Fate, Ledger};
use crate::mapping::{Mapping, SchemaKind};
use crate::parts::{Member, PartKind, parts};
use crate::questions::{Asked, NO_QUESTIONS, Proposed, QuestionSource, document_passages, questions};
use crate::rows::{BadRow, FileFormat, FileFound, ReadLimits, Row, RowReader, SourceSpec};
use crate::schema::{SAMPLE_ROWS, SchemaFound, find_schema};
use crate::template::{PromptTemplate, UserTemplate, system_text};
use crate::why::Why;

/// The key of a row whose words a translator wrote.
pub const TRANSLATED: &str = "translated";

/// Sampling for the schema also stops at this many bytes.
const SAMPLE_BYTES: usize = 32 << 20;

/// What to do with a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// Stop, and name it.
    #[default]
    Error,
    /// Leave it out, and count it in the ledger.
    Drop,
}

/// How data are read.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// What to do with a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// What to do with an exam row whose label the training data do not have.
    pub on_unknown_label: OnBadRow,
    /// How labels are written for the model.
    pub labels: LabelForm,
    /// What is written around the fields.
    pub template: PromptTemplate,
    /// Whether exact repetitions are left out. `None`: in training yes, in exams no, so that an exam keeps its size.
    pub drop_duplicates: Option<bool>,
    /// What is cleaned. Of an exam only Unicode and white space are.
    pub clean: CleanOptions,
    /// How calls of tools are written: as the model's family does.
    pub tool_style: ToolStyle,
    /// Documents from which training questions are made, beside the sources.
    pub questions: Vec<QuestionSource>,
    /// Limits of reading.
    pub limits: ReadLimits,
    /// How many ids the ledger keeps for each reason and source.
    pub examples_per_reason: usize,
    /// Whether rows may hold worse answers too (pairs, judged answers). In training only where a preference is learnt: any
    /// other method would imitate them. Exams may always.
    pub preference: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            on_bad_row: OnBadRow::Error,
            on_unknown_label: OnBadRow::Error,
            labels: LabelForm::AsIs,
            template: PromptTemplate::default(),
            drop_duplicates: None,
            clean: CleanOptions::default(),
            tool_style: ToolStyle::default(),
            questions: Vec::new(),
            limits: ReadLimits::default(),
            examples_per_reason: 10,
            preference: false,
        }
    }
}

/// What was found out about one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFound {
    /// The file as it is named in ids: its name, or its whole path where two sources share the name; of a table in a folder
    /// or archive the path from there.
    pub file: String,
    /// Which source of the recipe it is, or is a part of.
    pub spec: usize,
    /// Format, encoding, delimiter, quotes, header.
    pub found: FileFound,
    /// What its columns mean; `None` if not one row could be read.
    pub schema: Option<SchemaFound>,
    /// What was left out although it may matter: the file, and what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(String, Note)>,
}

/// Rows that ask the same and answer differently. They stay in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// Rows whose question an earlier row answers differently.
    pub count: u64,
    /// The first of them: id of the earlier row, id of the later one.
    pub examples: Vec<(String, String)>,
}

/// Data that have been read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The examples in the order of the sources.
    pub examples: Vec<Example>,
    /// What was found out about each source.
    pub sources: Vec<SourceFound>,
    /// The labels, if any source has label data: of the training data, also in an exam.
    pub labels: Option<LabelSet>,
    /// Where every row ended.
    pub ledger: Ledger,
    /// Same question, different answers.
    pub conflicts: Conflicts,
    /// How calls of tools are written in them.
    pub tool_style: ToolStyle,
    /// What cleaning found and did; of an exam nothing.
    pub cleaning: CleanReport,
    /// The questions that were made of documents, by the id of their example.
    pub asked: BTreeMap<String, Asked>,
}

/// Reads training data; the label set is collected from them.
pub fn load_training(sources: &[SourceSpec], options: &LoadOptions) -> Result<Loaded, DataError> {
    load(sources, options, None, options.drop_duplicates.unwrap_or(true), false)
}

/// Reads an exam. `labels` is the label set of the training data; without one it is collected from the exam.
pub fn load_exam(
    sources: &[SourceSpec],
    options: &LoadOptions,
    labels: Option<&LabelSet>,
) -> Result<Loaded, DataError> {
    let options = LoadOptions { preference: true, ..options.clone() };
    load(sources, &options, labels, options.drop_duplicates.unwrap_or(false), true)
}

fn load(
    sources: &[SourceSpec],
    options: &LoadOptions,
    labels: Option<&LabelSet>,
    drop_duplicates: bool,
    exam: bool,
) -> Result<Loaded, DataError> {
    let asking = if exam { &[][..] } else { &options.questions };
    let all: Vec<SourceSpec> = sources.iter().chain(asking.iter().map(|q| &q.spec)).cloned().collect();
    let names = file_names(&all);
    let (plain, documents) = names.split_at(sources.len());
    let parts = parts(sources, plain)?;
    let mut files: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    files.extend(documents.iter().map(|name| format!("{name} (questions)")));
    let user_template = options.template.user.as_deref().map(UserTemplate::parse).transpose()?;
    let mut loader = Loader {
        options,
        user_template,
        drop_duplicates,
        examples: Vec::new(),
        ledger: Ledger::new(files.iter().map(String::as_str), options.examples_per_reason),
        seen: HashSet::new(),
        questions: HashMap::new(),
        conflicts: Conflicts::default(),
        asked: BTreeMap::new(),
    };
    let mut found = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut source = match &part.kind {
            PartKind::Table { spec, place } => loader.table(at, spec, place, &part.name)?,
            PartKind::Documents(members) => loader.documents(at, members, &part.name)?,
        };
        source.spec = part.spec;
        found.push(source);
    }
    for (n, (source, name)) in asking.iter().zip(documents).enumerate() {
        let (at, spec) = (parts.len() + n, sources.len() + n);
        let file = files.get(at).cloned().unwrap_or_default();
        found.push(SourceFound { spec, file, ..loader.questions(at, source, name)? });
    }
    let mut cleaning = CleanReport::default();
    match exam {
        false => cleaning = clean(&mut loader.examples, &options.clean, drop_duplicates, &mut loader.ledger),
        true if options.clean.tidy => tidy_only(&mut loader.examples),
        true => {}
    }
    let labels = loader.write_labels(&files, labels)?;
    loader.set_system(labels.as_ref())?;
    if loader.examples.is_empty() {
        let total = loader.ledger.total();
        let reasons: Vec<String> = total.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        return Err(DataError::NothingLeft {
            sources: files.join(", "),
            rows: total.rows,
            reasons: if reasons.is_empty() { "none".to_string() } else { reasons.join(", ") },
        });
    }
    let Loader { examples, ledger, conflicts, asked, .. } = loader;
    Ok(Loaded {
        tool_style: options.tool_style,
        examples,
        sources: found,
        labels,
        ledger,
        conflicts,
        cleaning,
        asked,
    })
}

/// Documents by their ids, each with its passages.
pub type DocumentPassages = Vec<(String, Vec<String>)>;

/// The passages of the documents that are asked about: of each source, the documents by the ids that they have in
/// [`load_training`], each with its passages ([`document_passages`]). What cannot be read is passed over here; reading says why.
///
/// # Errors
/// A source that cannot be opened or listed.
pub fn passages(
    sources: &[SourceSpec],
    options: &LoadOptions,
    longest: usize,
) -> Result<Vec<DocumentPassages>, DataError> {
    let all: Vec<SourceSpec> =
        sources.iter().chain(options.questions.iter().map(|q| &q.spec)).cloned().collect();
    let names = file_names(&all);
    options
        .questions
        .iter()
        .zip(names.iter().skip(sources.len()))
        .map(|(source, name)| {
            let mut documents = Vec::new();
            for item in DocumentFiles::open(&source.spec, name, options.limits)? {
                if let (id, Ok(read)) = item? {
                    documents.push((id, document_passages(&read.document, longest)));
                }
            }
            Ok(documents)
        })
        .collect()
}

/// File names, or whole paths (with `/`) where two sources share a name.
fn file_names(sources: &[SourceSpec]) -> Vec<String> {
    let short = |spec: &SourceSpec| match spec.path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => spec.path.to_string_lossy().into_owned(),
    };
    let names: Vec<String> = sources.iter().map(short).collect();
    let whole = |spec: &SourceSpec| spec.path.to_string_lossy().replace('\\', "/");
    let alone = |name: &String| names.iter().filter(|n| *n == name).count() == 1;
    sources
        .iter()
        .zip(&names)
        .map(|(spec, name)| if alone(name) { name.clone() } else { whole(spec) })
        .collect()
}

struct Loader<'a> {
    options: &'a LoadOptions,
    user_template: Option<UserTemplate>,
    drop_duplicates: bool,
    examples: Vec<Example>,
    ledger: Ledger,
    /// Messages and answer of every example.
    seen: HashSet<digest::Digest>,
    /// Question to its first answer and the index of its example.
    questions: HashMap<digest::Digest, (digest::Digest, usize)>,
    conflicts: Conflicts,
    /// By the id of the example.
    asked: BTreeMap<String, Asked>,
}

impl Loader<'_> {
    fn table(
        &mut self,
        source: usize,
        spec: &SourceSpec,
        place: &Place,
        file: &str,
    ) -> Result<SourceFound, DataError> {
        let limits = self.options.limits;
        let input = place
            .input(&limits)
            .map_err(|problem| DataError::Document { file: file.to_string(), problem })?;
        let mut reader = RowReader::of_input(spec, &input, file, limits)?;
        let found = reader.found().clone();
        let notes: Vec<(String, Note)> =
            reader.notes().iter().map(|note| (file.to_string(), note.clone())).collect();
        let (mut sample, mut bytes, mut rows) = (Vec::new(), 0, 0u64);
        while sample.len() < SAMPLE_ROWS && bytes < SAMPLE_BYTES {
            match reader.next().transpose()? {
                None => break,
                Some(Ok(row)) => {
                    bytes += row.fields.values().map(size).sum::<usize>();
                    sample.push(row);
                }
                Some(Err(bad)) => self.bad_row(source, file, bad)?,
            }
            rows += 1;
        }
        if rows == 0 {
            return Err(DataError::NoRows { file: file.to_string() });
        }
        if sample.is_empty() {
            return Ok(SourceFound { file: file.to_string(), spec: 0, found, schema: None, notes });
        }
        let mut schema = find_schema(file, &sample, spec.mapping.as_ref())?;
        if let (false, Some(column)) = (self.options.preference, schema.mapping.worse()) {
            return Err(DataError::Preference { file: file.to_string(), column: column.to_string() });
        }
        let templated =
            !matches!(schema.kind, SchemaKind::Messages | SchemaKind::Sharegpt | SchemaKind::Text);
        if let Some(template) = self.user_template.as_ref().filter(|_| templated) {
            let columns: BTreeSet<&str> =
                sample.iter().flat_map(|r| r.fields.keys().map(String::as_str)).collect();
            template.check(&columns.into_iter().collect::<Vec<_>>())?;
        }
        for row in sample {
            self.row(source, file, &schema, row)?;
        }
        for event in reader {
            match event? {
                Ok(row) => {
                    schema.note_late_columns(&row);
                    self.row(source, file, &schema, row)?;
                }
                Err(bad) => self.bad_row(source, file, bad)?,
            }
        }
        Ok(SourceFound { file: file.to_string(), spec: 0, found, schema: Some(schema), notes })
    }

    /// Documents, one at a time: held are the file and its text.
    fn documents(&mut self, source: usize, members: &[Member], file: &str) -> Result<SourceFound, DataError> {
        if members.is_empty() {
            return Err(DataError::NoRows { file: file.to_string() });
        }
        let limits = self.options.limits;
        let mut found = FileFound { documents: Some(0), ..FileFound::new(FileFormat::Documents) };
        let mut notes = Vec::new();
        let mut formats = BTreeSet::new();
        for member in members {
            let read = match &member.what {
                Err(problem) => Err(problem.clone()),
                Ok((format, place)) => place
                    .bytes(&limits)?
                    .and_then(|bytes| read_document(*format, &member.id, &bytes, &limits)),
            };
            match read {
                Ok(read) => {
                    formats.extend(member.what.as_ref().ok().map(|(format, _)| *format));
                    notes.extend(read.notes.into_iter().map(|note| (member.id.clone(), note)));
                    *found.documents.get_or_insert(0) += 1;
                    let messages = vec![Message::new(TEXT_ROLE, read.text)];
                    let draft = Draft { messages, answer: Answer::Text, group: Some(member.id.clone()) };
                    self.keep_as(source, member.id.clone(), 1, draft);
                }
                Err(problem) => self.bad_document(source, &member.id, problem)?,
            }
        }
        let schema = (!formats.is_empty()).then(|| {
            let mut mapping = Mapping::new(SchemaKind::Text);
            mapping.text = Some("text".into());
            let why = Why::Documents {
                count: found.documents.unwrap_or(0),
                formats: formats.iter().map(|format| format.name().to_string()).collect(),
            };
            SchemaFound { kind: SchemaKind::Text, why, mapping, unused: Vec::new() }
        });
        Ok(SourceFound { file: file.to_string(), spec: 0, found, schema, notes })
    }

    /// Questions about documents, made by rules or proposed by a model. Each is a row; so is a document that answers none.
    fn questions(
        &mut self,
        at: usize,
        source: &QuestionSource,
        name: &str,
    ) -> Result<SourceFound, DataError> {
        let (mut count, mut pairs, mut notes) = (0, 0, Vec::new());
        for item in DocumentFiles::open(&source.spec, name, self.options.limits)? {
            let (id, read) = item?;
            let read = match read {
                Ok(read) => read,
                Err(problem) => {
                    self.bad_document(at, &id, problem)?;
                    continue;
                }
            };
            count += 1;
            notes.extend(read.notes.into_iter().map(|note| (id.clone(), note)));
            let made = questions(&read.document).into_iter().filter(|a| source.rules.contains(&a.rule));
            let before = self.ledger.total().rows;
            let proposed = source.proposed.iter().filter(|p| p.document == id).map(Proposed::accept);
            for (n, asked) in made.map(Ok).chain(proposed).enumerate() {
                let asked = match asked {
                    Ok(asked) => asked,
                    Err(reason) => {
                        self.ledger.count(at, &Fate::Dropped(reason.into()), &format!("{id}:{}", n + 1));
                        continue;
                    }
                };
                pairs += 1;
                let user = match source.passage {
                    true => format!("{}\n\n{}", asked.passage, asked.question),
                    false => asked.question.clone(),
                };
                let draft = Draft {
                    messages: vec![Message::new("user", user)],
                    answer: Answer::Free(vec![asked.answer.clone()]),
                    group: Some(id.clone()),
                };
                let row = format!("{id}:{}", n + 1);
                let kept = self.examples.len();
                self.keep_as(at, row.clone(), n + 1, draft);
                if self.examples.len() > kept {
                    self.asked.insert(row, asked);
                }
            }
            if self.ledger.total().rows == before {
                self.ledger.count(at, &Fate::Dropped(NO_QUESTIONS.to_string()), &id);
            }
        }
        if count == 0 {
            return Err(DataError::NoRows { file: name.to_string() });
        }
        let mut mapping = Mapping::new(SchemaKind::QuestionAnswer);
        (mapping.user, mapping.answer) = (Some("question".into()), Some("answer".into()));
        let why = Why::Questions { count, pairs };
        let schema = SchemaFound { kind: SchemaKind::QuestionAnswer, why, mapping, unused: Vec::new() };
        let found = FileFound { documents: Some(count), ..FileFound::new(FileFormat::Documents) };
        Ok(SourceFound { file: name.to_string(), spec: 0, found, schema: Some(schema), notes })
    }

    /// Stops, or counts the document as left out. A file that no reader is for only counts.
    fn bad_document(&mut self, source: usize, id: &str, problem: DocumentProblem) -> Result<(), DataError> {
        let counts = matches!(problem, DocumentProblem::NotRead { .. });
        if self.options.on_bad_row == OnBadRow::Error && !counts {
            return Err(DataError::BadDocument { file: id.to_string(), problem });
        }
        self.ledger.count(source, &Fate::Dropped(problem.code().to_string()), id);
        Ok(())
    }

    fn row(&mut self, source: usize, file: &str, schema: &SchemaFound, row: Row) -> Result<(), DataError> {
        let line = row.line;
        if row.fields.contains_key(TRANSLATED) {
            self.ledger.note_translated(source);
        }
        match convert(
            &row.fields,
            &schema.mapping,
            self.user_template.as_ref(),
            self.options.template.choices,
            self.options.tool_style,
        ) {
            Ok(draft) => {
                self.keep(source, file, line, draft);
                Ok(())
            }
            Err(problem) => self.bad_row(source, file, BadRow { line, problem }),
        }
    }

    fn keep(&mut self, source: usize, file: &str, line: usize, draft: Draft) {
        self.keep_as(source, format!("{file}:{line}"), line, draft);
    }

    fn keep_as(&mut self, source: usize, id: String, line: usize, draft: Draft) {
        let (asked, answered) = (digest::of_messages(&draft.messages), digest::of_answer(&draft.answer));
        if self.drop_duplicates
            && !self.seen.insert(digest::Parts::default().add(&asked).add(&answered).finish())
        {
            self.ledger.count(source, &Fate::Duplicate, &id);
            return;
        }
        // Of a chat the messages hold the answer too, so that they only conflict when they are equal: never.
        match self.questions.get(&asked) {
            None => {
                self.questions.insert(asked, (answered, self.examples.len()));
            }
            // two pairs after one prompt are no contradiction
            Some(_) if matches!(draft.answer, Answer::Pair { .. } | Answer::Judged { .. }) => {}
            Some((first, at)) if *first != answered => {
                self.conflicts.count += 1;
                if self.conflicts.examples.len() < self.options.examples_per_reason
                    && let Some(earlier) = self.examples.get(*at)
                {
                    self.conflicts.examples.push((earlier.id.clone(), id.clone()));
                }
            }
            Some(_) => {}
        }
        self.ledger.count(source, &Fate::Used, &id);
        let Draft { messages, answer, group } = draft;
        self.examples.push(Example { id, source, line, messages, answer, group });
    }

    /// Stops, or counts the row as left out, as the policy says.
    fn bad_row(&mut self, source: usize, file: &str, bad: BadRow) -> Result<(), DataError> {
        match self.options.on_bad_row {
            OnBadRow::Error => {
                Err(DataError::BadRow { file: file.to_string(), line: bad.line, problem: bad.problem })
            }
            OnBadRow::Drop => {
                let id = format!("{file}:{}", bad.line);
                self.ledger.count(source, &Fate::Dropped(bad.problem.code().to_string()), &id);
                Ok(())
            }
        }
    }

    /// Writes labels in their form; in an exam, rows with a label that training does not have are refused or dropped.
    fn write_labels(
        &mut self,
        files: &[String],
        given: Option<&LabelSet>,
    ) -> Result<Option<LabelSet>, DataError> {
        let raw: BTreeSet<&str> = self
            .examples
            .iter()
            .filter_map(|e| if let Answer::Label(label) = &e.answer { Some(label.as_str()) } else { None })
            .collect();
        let labels = match given {
            Some(given) => given.clone(),
            None if raw.is_empty() => return Ok(None),
            None => LabelSet::new(raw, self.options.labels)?,
        };
        let mut unknown: Vec<(usize, RowProblem)> = Vec::new();
        for (at, example) in self.examples.iter_mut().enumerate() {
            if let Answer::Label(label) = &mut example.answer {
                match labels.write(label) {
                    Ok(written) => *label = written.to_string(),
                    Err(problem) => unknown.push((at, problem)),
                }
            }
        }
        for (at, problem) in &unknown {
            let Some(example) = self.examples.get(*at) else { continue };
            if self.options.on_unknown_label == OnBadRow::Error {
                return Err(DataError::BadRow {
                    file: files.get(example.source).cloned().unwrap_or_default(),
                    line: example.line,
                    problem: problem.clone(),
                });
            }
            // The row was counted as used above, so there is one to move.
            let _moved =
                self.ledger.move_used(example.source, &Fate::Dropped(problem.code().into()), &example.id);
        }
        let unknown: HashSet<usize> = unknown.into_iter().map(|(at, _)| at).collect();
        let mut at = 0;
        self.examples.retain(|_| {
            at += 1;
            !unknown.contains(&(at - 1))
        });
        Ok(Some(labels))
    }

    /// Puts the system text before every conversation that has none of its own.
    fn set_system(&mut self, labels: Option<&LabelSet>) -> Result<(), DataError> {
        let Some(template) = &self.options.template.system else { return Ok(()) };
        let text = system_text(template, labels.map(LabelSet::sorted))?;
        for example in &mut self.examples {
            let own = example.messages.first().is_some_and(|m| m.role == "system");
            if !own && example.answer != Answer::Text {
                example.messages.insert(0, Message::new("system", text.as_str()));
            }
        }
        Ok(())
    }
}

/// Roughly the bytes that a value holds.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(object) => object.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 8,
    }
}
