//! The text of a newborn: documents, what is held out of them, and which language they are in.

use super::super::{Event, Watch, sha256, texts::parts};
use crate::recipe::{InputHash, looks_like_path};
use crate::said;
use anyhow::{Result, bail};
use nurture_data::{LoadOptions, Mapping, SchemaKind, SourceSpec, load_training};
use nurture_hub::{Catalogue, Kind, PullOptions, Store};
use std::path::PathBuf;

/// Documents longer than this are parted at the ends of lines, so that a part of them can be held out.
const PART: usize = 4 << 10;
/// One part of so many is held out.
const HELD_OUT: usize = 20;

/// A document, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// file and line, and the part
    pub(super) id: String,
    pub(super) source: usize,
    /// number of the document that it is (a part of)
    whole: usize,
    pub(super) text: String,
}

/// Documents of one language.
#[derive(Debug, Default)]
pub(super) struct Language {
    /// `zh`, or `other` for all that is not mostly Chinese
    pub(super) name: &'static str,
    /// what is learnt from
    pub(super) train: Vec<Document>,
    /// what is measured by
    pub(super) held: Vec<Document>,
}

impl Language {
    pub(super) fn bytes(documents: &[Document]) -> usize {
        documents.iter().map(|d| d.text.len()).sum()
    }
}

/// Everything that a newborn reads.
#[derive(Debug)]
pub(super) struct Texts {
    /// languages that occur, Chinese first
    pub(super) languages: Vec<Language>,
    /// hashes of the files
    pub(super) inputs: Vec<InputHash>,
}

impl Texts {
    /// Bytes that are learnt from.
    pub(super) fn bytes(&self) -> usize {
        self.languages.iter().map(|l| Language::bytes(&l.train)).sum()
    }

    /// What is learnt from, in the order of languages and files.
    pub(super) fn train(&self) -> impl Iterator<Item = &Document> {
        self.languages.iter().flat_map(|l| &l.train)
    }
}

/// Whether a text is mostly Chinese: three in ten of its letters.
fn is_chinese(text: &str) -> bool {
    let letters = || text.chars().filter(|c| c.is_alphabetic());
    let han = letters().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count();
    han * 10 > letters().count() * 3
}

/// Parts of at most about `PART` bytes that end where a line ends; together they are the document.
fn part(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if out.last().is_some_and(|last| !last.is_empty() && last.len() + line.len() > PART) {
            out.push(String::new());
        }
        if let Some(last) = out.last_mut() {
            last.push_str(line);
        }
    }
    out
}

/// Each twentieth part is held out; of few parts the last, and of one nothing. Parts that are left and follow each other
/// in one document are joined again.
fn hold_out(parts: Vec<Document>) -> (Vec<Document>, Vec<Document>) {
    let every = HELD_OUT.min(parts.len().max(2));
    let (mut train, mut held): (Vec<Document>, Vec<Document>) = (Vec::new(), Vec::new());
    let mut gap = true;
    for (i, part) in parts.into_iter().enumerate() {
        if (i + 1).is_multiple_of(every) {
            held.push(part);
            gap = true;
            continue;
        }
        match train.last_mut().filter(|last| !gap && last.whole == part.whole) {
            Some(last) => last.text.push_str(&part.text),
            None => train.push(part),
        }
        gap = false;
    }
    (train, held)
}

/// The files of these texts: paths as they are, names of the catalogue pulled, their licences told.
///
/// # Errors
/// A name that is no text of the catalogue; a text that cannot be brought.
pub(super) fn files(
    names: &[String],
    store: &Store,
    options: &PullOptions,
    watch: &mut dyn Watch,
) -> Result<Vec<PathBuf>> {
    let known = options.catalogue.clone().map_or_else(Catalogue::embedded, Ok)?;
    let mut out = Vec::new();
    for name in names {
        let path = PathBuf::from(name);
        if looks_like_path(name) || path.is_file() {
            out.push(path);
            continue;
        }
        let Some(entry) = known.find(name).filter(|e| e.kind == Kind::Data) else {
            let all: Vec<&str> =
                known.entries().iter().filter(|e| e.kind == Kind::Data).map(|e| e.name.as_str()).collect();
            let all = all.join(", ");
            bail!(said!(
                "model.new.text: \"{name}\" is no text of the catalogue ({all}); a file of that name is written \"./{name}\"",
                "model.new.text：目录里没有文本 \"{name}\"（有 {all}）；若是文件，请写成 \"./{name}\""
            ));
        };
        let licence = &entry.licence;
        watch.event(Event::Stage(said!("Text {name}, licence {licence}", "文本 {name}，许可 {licence}")));
        let pulled = nurture_hub::pull(name, store, options, &mut |p| watch.event(Event::Pull(p)))?;
        out.push(pulled.path);
    }
    Ok(out)
}

/// Reads the text files of a newborn. Documents that stand there twice count once.
///
/// # Errors
/// A file that cannot be read or holds no plain text; nothing to learn from.
pub(super) fn read(files: &[PathBuf], watch: &mut dyn Watch) -> Result<Texts> {
    let spec = |path: &PathBuf| {
        let mut spec = SourceSpec::new(path);
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if ["jsonl", "json", "csv", "tsv"].contains(&ending.as_str()) {
            let mut mapping = Mapping::new(SchemaKind::Text);
            mapping.text = Some("text".to_string());
            spec.mapping = Some(mapping);
        }
        spec
    };
    let specs: Vec<SourceSpec> = files.iter().map(spec).collect();
    let loaded = load_training(&specs, &LoadOptions::default())?;
    loaded.sources.iter().for_each(|s| watch.event(Event::Source(s)));
    let mut inputs = Vec::new();
    for path in files {
        let (sha256, bytes) = super::super::inputs::input_hash(path)?;
        inputs.push(InputHash { role: "birth".to_string(), path: path.display().to_string(), sha256, bytes });
    }
    let (mut chinese, mut other) = (Vec::new(), Vec::new());
    let mut seen = std::collections::HashSet::new();
    for example in &loaded.examples {
        for document in parts(example.text().unwrap_or_default()) {
            if !seen.insert(sha256(document.as_bytes())) {
                continue;
            }
            let whole = seen.len();
            for text in part(&document) {
                let list = if is_chinese(&text) { &mut chinese } else { &mut other };
                let id = format!("{} ({})", example.id, list.len() + 1);
                list.push(Document { id, source: example.source, whole, text });
            }
        }
    }
    let mut languages = Vec::new();
    for (name, documents) in [("zh", chinese), ("other", other)] {
        let (train, held) = hold_out(documents);
        if !train.is_empty() {
            languages.push(Language { name, train, held });
        }
    }
    if languages.iter().all(|l| l.held.is_empty()) {
        bail!(said!(
            "model.new.text: too little text: it takes two documents, or one of more than {PART} bytes, to learn from one part and be measured by another",
            "model.new.text：文本太少：至少两篇文档，或一篇超过 {PART} 字节的，才能用一部分学、另一部分测"
        ));
    }
    Ok(Texts { languages, inputs })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Quiet;

    impl Watch for Quiet {
        fn event(&mut self, _: Event<'_>) {}
        fn stopped(&self) -> bool {
            false
        }
    }

    #[test]
    fn names_are_texts_of_the_catalogue_or_paths() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("store"));
        let options = PullOptions::default();
        let paths = vec!["a/b.txt".to_string(), "./moby-dick".to_string()];
        let found = files(&paths, &store, &options, &mut Quiet).unwrap();
        assert_eq!(found, [PathBuf::from("a/b.txt"), PathBuf::from("./moby-dick")]);
        for strange in ["moby-duck", "smollm2-135m-instruct"] {
            let e = files(&[strange.to_string()], &store, &options, &mut Quiet).unwrap_err().to_string();
            assert!(e.contains("moby-dick, sotu, tang-poems") && e.contains("./"), "{e}");
        }
    }

    #[test]
    fn parts_are_the_document_and_end_with_lines() {
        let text: String = (0..4000).map(|i| format!("line {i}\n")).collect();
        let parts = part(&text);
        assert_eq!(parts.concat(), text);
        assert!(parts.len() > 3 && parts.iter().all(|p| p.len() <= PART && p.ends_with('\n')));
        // a line of its own is never torn
        assert_eq!(part(&"x".repeat(3 * PART)).len(), 1);
    }

    #[test]
    fn a_twentieth_is_held_out_and_the_rest_is_whole_again() {
        let part =
            |i: usize, whole: usize| Document { id: i.to_string(), source: 0, whole, text: format!("{i} ") };
        let texts = |all: &[Document]| all.iter().map(|d| d.text.clone()).collect::<Vec<_>>();
        for (n, held) in [(1, 0), (2, 1), (7, 1), (20, 1), (45, 2), (400, 20)] {
            // each a document of its own
            let (train, out) = hold_out((0..n).map(|i| part(i, i)).collect());
            assert_eq!((train.len(), out.len()), (n - held, held), "{n}");
        }
        // 0 to 18 | 19 held | 20, 21 and another document
        let (train, out) = hold_out((0..23).map(|i| part(i, i / 22)).collect());
        let first: String = (0..19).map(|i| format!("{i} ")).collect();
        assert_eq!(
            (texts(&train), texts(&out)),
            (vec![first, "20 21 ".into(), "22 ".into()], vec!["19 ".into()])
        );
    }

    #[test]
    fn languages_are_told_apart() {
        assert!(is_chinese("今天 weather 很好，我们去公园散步。"));
        assert!(!is_chinese("The word 养成 means to raise a child with patience."));
        assert!(!is_chinese("12345"));
    }
}
