//! Documents and tables of every format become text and rows; what is hostile or cannot be read ends in an error that says
//! why. The files are made by `tools/fixtures/documents.py`.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Folder, shown};
use nurture_data::{
    DataError, DocumentFiles, DocumentFormat, DocumentProblem, DocumentRead, LoadOptions, Loaded, Note,
    OnBadRow, ReadLimits, SchemaKind, SourceSpec, load_training, read_document,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

fn read(name: &str) -> Result<DocumentRead, DocumentProblem> {
    let bytes = std::fs::read(file(name)).expect("the file is there");
    let format = DocumentFormat::of_name(Path::new(name)).expect("a document");
    read_document(format, name, &bytes, &ReadLimits::default())
}

fn load(path: impl Into<PathBuf>) -> Result<Loaded, DataError> {
    load_as(SourceSpec::new(path), OnBadRow::Error)
}

fn load_as(spec: SourceSpec, on_bad_row: OnBadRow) -> Result<Loaded, DataError> {
    let loaded = load_training(&[spec], &LoadOptions { on_bad_row, ..LoadOptions::default() });
    if let Ok(loaded) = &loaded {
        assert!(loaded.ledger.adds_up(), "{:?}", loaded.ledger);
    }
    loaded
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a member");
        zip.write_all(bytes).expect("its bytes");
    }
    zip.finish().expect("an archive").into_inner()
}

fn docx(body: &str, styles: &str) -> Vec<u8> {
    let document = format!("<w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>");
    let styles = format!("<w:styles xmlns:w=\"w\">{styles}</w:styles>");
    zip(&[("word/document.xml", document.as_bytes()), ("word/styles.xml", styles.as_bytes())])
}

#[test]
fn chinese_office_pdf_without_unicode_is_read_and_its_scanned_page_named() {
    let read = read("gbk.pdf").unwrap();
    assert_eq!(
        read.text,
        "# 数据安全管理办法\n\n第一条 为了规范数据处理活动，保障数据安全，制定本办法。\n\n\
         第二条 本办法所称数据，是指任何以电子方式对信息的记录。ABC 123"
    );
    assert_eq!(read.notes, [Note::Scanned { pages: vec![2], of: 2 }]);
    assert_eq!(self::read("scan.pdf").unwrap_err(), DocumentProblem::Scanned { pages: 1 });
    assert_eq!(self::read("locked.pdf").unwrap_err(), DocumentProblem::Encrypted);
}

#[test]
fn columns_headings_tables_and_running_lines_of_a_pdf() {
    let two = read("two.pdf").unwrap();
    let parts: Vec<&str> = two.text.split("\n\n").collect();
    assert_eq!(parts.first(), Some(&"# Starting the pump"));
    assert_eq!(parts.len(), 15, "{parts:#?}");
    for (n, part) in parts[1..].iter().enumerate() {
        assert!(
            part.starts_with(&format!("Part {n}. The pump moves")) && part.ends_with("within a minute."),
            "{part}"
        );
    }
    let book = read("handbook.pdf").unwrap();
    assert_eq!(book.document.title.as_deref(), Some("Pump handbook"));
    assert!(
        book.text.starts_with("# Pump handbook\n\n## Chapter 1: Starting\n\nThe pump moves"),
        "{}",
        book.text
    );
    assert_eq!(
        book.text.matches("| Type | Power | Weight |\n| A1 | 3 kW | 40 kg |\n| B2 | 5 kW | 55 kg |").count(),
        5
    );
    assert!(!book.text.contains("edition 3") && !book.text.contains("Page 1"), "{}", book.text);
    assert!(matches!(book.notes.as_slice(), [Note::RunningLines { .. }]), "{:?}", book.notes);
}

#[test]
fn word_documents_with_styles_tables_and_deleted_text() {
    let styles = "<w:style w:styleId=\"a\"><w:name w:val=\"heading 2\"/></w:style>\
                  <w:style w:styleId=\"b\"><w:basedOn w:val=\"a\"/></w:style>";
    let body = "<w:p><w:pPr><w:pStyle w:val=\"b\"/></w:pPr><w:r><w:t>安全</w:t></w:r></w:p>\
        <w:p><w:r><w:t xml:space=\"preserve\">A &amp; B </w:t></w:r><w:del><w:r><w:delText>x</w:delText><w:t>gone</w:t></w:r></w:del>\
        <w:ins><w:r><w:t>&#20013;</w:t></w:r></w:ins></w:p>\
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>k</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>v</w:t></w:r></w:p>\
        <w:p><w:r><w:t>w</w:t></w:r></w:p></w:tc></w:tr></w:tbl>";
    let limits = ReadLimits::default();
    let read = |bytes: &[u8]| read_document(DocumentFormat::Docx, "a.docx", bytes, &limits);
    assert_eq!(read(&docx(body, styles)).unwrap().text, "## 安全\n\nA & B 中\n\n| k | v w |");
    assert_eq!(read(&docx("", "")).unwrap_err(), DocumentProblem::NoText);
    assert!(matches!(read(b"%PDF-1.4"), Err(DocumentProblem::OtherFormat { found: Some("a pdf"), .. })));
    assert!(matches!(read(&zip(&[("a", b"b")])), Err(DocumentProblem::OtherFormat { .. })));
    assert!(matches!(read(&docx("<w:p>", "")), Err(DocumentProblem::Broken { .. })));
    // entities that would grow, and nesting without end
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><x>&b;</x>";
    assert_eq!(read(&zip(&[("word/document.xml", bomb.as_bytes())])).unwrap_err(), DocumentProblem::Doctype);
    let deep = docx(&"<w:p>".repeat(100_000), "");
    assert!(matches!(read(&deep), Err(DocumentProblem::TooMany { .. })));
    // a member that unpacks to more than is allowed
    let small = ReadLimits { document_bytes: 1 << 16, ..limits };
    let large = docx(&" ".repeat(1 << 20), "");
    assert!(large.len() < 1 << 14);
    let problem = read_document(DocumentFormat::Docx, "a.docx", &large, &small).unwrap_err();
    assert!(matches!(problem, DocumentProblem::TooLarge { .. }), "{problem}");
}

#[test]
fn a_folder_of_everything_is_one_source_of_documents_and_one_for_each_table() {
    let folder = Folder::new();
    let root = folder.file("a.md", "# Pump\n\nOpen it.").parent().unwrap().to_path_buf();
    std::fs::create_dir(root.join("sub")).unwrap();
    std::fs::copy(file("gbk.pdf"), root.join("sub/办法.pdf")).unwrap();
    folder.file("sub/b.html", "<p>A page.</p>");
    folder.file("sub/t.csv", "question,answer\nq?,a\n");
    folder.file("sub/photo.png", b"\x89PNG");
    folder.file("sub/.hidden.txt", "no");
    folder.file("~$a.docx", "no");
    let loaded = load(&root).unwrap();
    let name = root.file_name().unwrap().to_string_lossy().into_owned();
    let ids: Vec<String> = loaded.examples.iter().map(|e| e.id.replace(&name, "R")).collect();
    assert_eq!(ids, ["R/a.md", "R/sub/b.html", "R/sub/办法.pdf", "R/sub/t.csv:2"]);
    assert_eq!(shown(&loaded.examples[0]), ["text: # Pump\n\nOpen it."]);
    let [documents, table] = loaded.sources.as_slice() else { panic!("{:?}", loaded.sources) };
    let schema = documents.schema.as_ref().unwrap();
    assert_eq!(schema.why.to_string(), "3 documents (md, html, pdf) to learn the text of");
    assert_eq!(documents.notes.len(), 1);
    assert_eq!((table.spec, table.schema.as_ref().unwrap().kind), (0, SchemaKind::QuestionAnswer));
    assert_eq!(loaded.ledger.sources[0].dropped["not_read"], 1);
    // what cannot be read stops, or is counted
    std::fs::copy(file("scan.pdf"), root.join("z.pdf")).unwrap();
    let error = load(&root).unwrap_err().to_string();
    assert!(error.contains("z.pdf: 1 pages and no text") && error.contains("on_bad_row"), "{error}");
    let loaded = load_as(SourceSpec::new(&root), OnBadRow::Drop).unwrap();
    assert_eq!(loaded.ledger.sources[0].dropped["scanned"], 1);
    let documents = DocumentFiles::open(&SourceSpec::new(&root), "R", ReadLimits::default()).unwrap();
    assert_eq!(documents.map(Result::unwrap).filter(|(_, read)| read.is_ok()).count(), 3);
}

#[cfg(unix)]
#[test]
fn loops_of_links_and_pipes_end_with_an_error() {
    let folder = Folder::new();
    let root = folder.file("a.txt", "words").parent().unwrap().to_path_buf();
    std::os::unix::fs::symlink(&root, root.join("again")).unwrap();
    let error = load(&root).unwrap_err();
    assert!(matches!(error, DataError::FolderLoop { .. }), "{error}");
    std::fs::remove_file(root.join("again")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("b.txt")).unwrap();
    let error = load(&root).unwrap_err();
    assert!(matches!(error, DataError::BadDocument { problem: DocumentProblem::NotAFile, .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(load(empty.path()), Err(DataError::NoRows { .. })));
}

#[test]
fn archives_are_read_in_place_and_bounded() {
    let folder = Folder::new();
    let gb_name = encoding_rs::GB18030.encode("说明.txt").0.into_owned();
    let inner = zip(&[("x.txt", b"x")]);
    let bytes = zip(&[
        ("docs/a.txt", "养成".as_bytes()),
        ("docs/", b""),
        ("__MACOSX/a.txt", b"no"),
        ("rows.jsonl", b"{\"question\": \"q\", \"answer\": \"a\"}\n"),
    ]);
    let loaded = load(folder.file("pack.zip", &bytes)).unwrap();
    let ids: Vec<&str> = loaded.examples.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["pack.zip/docs/a.txt", "pack.zip/rows.jsonl:1"]);
    // the name in GBK, as Windows writes it: no flag says so
    let mut raw = zip(&[("AAAAAAAA", b"words")]);
    assert_eq!(gb_name.len(), 8);
    while let Some(at) = raw.windows(8).position(|w| w == b"AAAAAAAA") {
        raw[at..at + 8].copy_from_slice(&gb_name);
    }
    let loaded = load(folder.file("gbk.zip", raw)).unwrap();
    assert_eq!(loaded.examples[0].id, "gbk.zip/说明.txt");
    let error = load(folder.file("nested.zip", zip(&[("in.zip", &inner)]))).unwrap_err();
    assert!(
        matches!(error, DataError::BadDocument { problem: DocumentProblem::NestedArchive, .. }),
        "{error}"
    );
    let limits = ReadLimits { document_bytes: 1 << 16, archive_bytes: 1 << 17, ..ReadLimits::default() };
    let spaces = vec![b'x'; 40_000];
    let bomb = folder.file(
        "bomb.zip",
        zip(&[("a.txt", &spaces), ("b.txt", &spaces), ("c.txt", &spaces), ("d.txt", &spaces)]),
    );
    let options = LoadOptions { limits, ..LoadOptions::default() };
    let error = load_training(&[SourceSpec::new(bomb)], &options).unwrap_err();
    assert!(
        matches!(error, DataError::BadDocument { problem: DocumentProblem::TooLarge { .. }, .. }),
        "{error}"
    );
    let cut = folder.file("cut.zip", bytes.get(..bytes.len() - 30).unwrap());
    assert!(matches!(load(cut), Err(DataError::Document { .. })));
}

#[test]
fn workbooks_and_parquet_give_rows() {
    let loaded = load(file("qa.xlsx")).unwrap();
    let rows: Vec<Vec<String>> = loaded.examples.iter().map(shown).collect();
    assert_eq!(rows[0], ["user: 泵的功率是多少？", "assistant: 3 kW"]);
    assert_eq!((rows[1][1].as_str(), rows[2][1].as_str()), ("assistant: 40", "assistant: 2024-05-01"));
    assert_eq!((rows[3][1].as_str(), loaded.examples[3].line), ("assistant: 0.25", 6));
    let (_, note) = &loaded.sources[0].notes[0];
    assert_eq!(*note, Note::OtherSheets { read: "问答".into(), others: vec!["备注".into()] });
    let mut spec = SourceSpec::new(file("qa.xlsx"));
    spec.part = Some("没有".into());
    let error = load_as(spec, OnBadRow::Error).unwrap_err().to_string();
    assert!(error.contains("no sheet \"没有\"; it has \"问答\", \"备注\""), "{error}");
    // a cell at the far end of the sheet costs nothing; it has no column here
    let error = load(file("far.xlsx")).unwrap_err().to_string();
    assert!(
        error.contains("far.xlsx:1048576: the row has 16384 fields where the first row has 2"),
        "{error}"
    );

    let loaded = load(file("chat.parquet")).unwrap();
    assert_eq!(loaded.examples.len(), 50);
    assert_eq!(loaded.sources[0].schema.as_ref().unwrap().kind, SchemaKind::Messages);
    assert_eq!(shown(&loaded.examples[49]), ["user: How heavy is pump 49?", "assistant: 490 kg."]);
    let mut spec = SourceSpec::new(file("types.parquet"));
    spec.mapping =
        Some(serde_json::from_str(r#"{"kind": "label", "user": "text", "label": "label"}"#).unwrap());
    let loaded = load_as(spec, OnBadRow::Drop).unwrap();
    assert_eq!((loaded.examples.len(), loaded.ledger.total().dropped["missing_input"]), (3, 1));
    assert_eq!(loaded.sources[0].schema.as_ref().unwrap().unused, ["share", "when", "raw"]);
    // within an archive too, and without their endings
    let folder = Folder::new();
    let bytes = std::fs::read(file("chat.parquet")).unwrap();
    let book = std::fs::read(file("qa.xlsx")).unwrap();
    let packed = folder.file("p.zip", zip(&[("c.parquet", &bytes), ("q.xlsx", &book)]));
    assert_eq!(load(packed).unwrap().examples.len(), 54);
    assert_eq!(load(folder.file("data", &bytes)).unwrap().examples.len(), 50);
}

/// Damaged files: each byte string ends in a document, rows or an error, soon and without a panic that gets out.
#[test]
fn damaged_files_end_in_errors() {
    let mut seed = 1u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let folder = Folder::new();
    let limits = ReadLimits { document_bytes: 1 << 22, workbook_bytes: 1 << 22, ..ReadLimits::default() };
    let options = LoadOptions { limits, on_bad_row: OnBadRow::Drop, ..LoadOptions::default() };
    for name in ["gbk.pdf", "two.pdf", "locked.pdf", "qa.xlsx", "chat.parquet", "types.parquet"] {
        let whole = std::fs::read(file(name)).unwrap();
        for round in 0..40 {
            let mut bytes = whole.clone();
            match round % 4 {
                0 => bytes.truncate(next() % whole.len()),
                1 => {
                    for _ in 0..1 + next() % 8 {
                        let at = next() % bytes.len();
                        bytes[at] = next() as u8;
                    }
                }
                2 => {
                    let (from, to) = (next() % whole.len(), next() % whole.len());
                    bytes.drain(from.min(to)..from.max(to));
                }
                _ => {
                    let at = next() % bytes.len();
                    let part: Vec<u8> = bytes[at..].iter().take(next() % 200).copied().collect();
                    bytes.splice(at..at, part);
                }
            }
            let path = folder.file(name, &bytes);
            let began = std::time::Instant::now();
            drop(load_training(&[SourceSpec::new(path)], &options));
            assert!(began.elapsed().as_secs() < 20, "{name} {round}");
        }
    }
}
