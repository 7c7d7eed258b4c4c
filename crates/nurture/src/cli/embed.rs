//! `nurture embed`: texts as vectors, or the texts nearest to a question.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use nurture::embed::{EmbedError, Embedder, nearest};
use nurture::infer::engine::Pooling;
use nurture::lang::Text;
use nurture::say;
use serde_json::{Value, json};

use super::args::{Arg, Args};
use super::quantize::FORCE;
use super::{Cli, Command, Exit, chat, models};

pub(crate) const COMMAND: Command = Command {
    name: "embed",
    about: Text::new(
        "Turn texts into vectors, or find those nearest to a question",
        "把文本变成向量，或找出与问题最相近的文本",
    ),
    more: Text::new(
        "A text a line; of a .jsonl file the value of --field. Vectors are hidden states after the last norm, of length 1: their product\n\
         is the cosine. They go to stdout as JSON lines, or to --out: a .jsonl file, or a .npy file that numpy reads (float32, a row a text).\n\
         --query compares after taking each dimension relative to its mean and spread over the texts (from 32 texts on): a chat model's vectors need it.\n\
         Examples:\n  nurture embed smollm2-135m-instruct handbook.txt --out handbook.npy\n  \
         nurture embed smollm2-135m-instruct faq.jsonl --field question --query \"How do I change my PIN?\" --top 5",
        "一行一条文本；.jsonl 文件取 --field 的值。向量是最后一次归一化之后的隐藏状态，长度为 1，点积就是余弦。\n\
         结果以 JSON 行写到标准输出，或写到 --out：.jsonl 文件，或 numpy 能读的 .npy 文件（float32，每行一条文本）。\n\
         --query 比较前先按全部文本（32 条以上）对每一维做标准化：对话模型的向量需要这样处理。\n\
         例：\n  nurture embed smollm2-135m-instruct handbook.txt --out handbook.npy\n  \
         nurture embed smollm2-135m-instruct faq.jsonl --field question --query \"怎样修改密码？\" --top 5",
    ),
    args: &[
        models::MODEL.needed(),
        Arg::place(
            "FILE",
            Text::new(
                "The texts (.txt, .jsonl); `-` reads lines from stdin",
                "文本文件（.txt、.jsonl）；`-` 从标准输入按行读",
            ),
        )
        .needed(),
        Arg::text(
            "field",
            "KEY",
            Text::new(
                "The key of a .jsonl row that holds its text (text)",
                ".jsonl 每行里存放文本的键（text）",
            ),
        ),
        Arg::text(
            "query",
            "TEXT",
            Text::new(
                "Shows the texts nearest to this one instead of vectors",
                "不输出向量，而是给出与此文本最相近的文本",
            ),
        ),
        Arg::count("top", 1, Text::new("With --query: how many (5)", "与 --query 同用：给出几条（5）")),
        Arg::word(
            "pooling",
            "HOW",
            &["mean", "last"],
            Text::new(
                "What stands for a text: the mean over its tokens, or its last token (mean)",
                "用什么代表一条文本：各词元的平均，或最后一个词元（mean）",
            ),
        ),
        Arg::text(
            "out",
            "PATH",
            Text::new("Where the vectors go: *.jsonl or *.npy", "向量写到哪里：*.jsonl 或 *.npy"),
        ),
        FORCE,
        models::ADAPTER,
        chat::CONTEXT,
        chat::EXACT,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let file = args.text("FILE").unwrap_or_default();
    let out = args.text("out").map(Path::new);
    let numpy = out.is_some_and(|p| p.extension().is_some_and(|e| e == "npy"));
    if let Some(out) = out {
        let shown = out.display();
        if !numpy && out.extension().is_none_or(|e| e != "jsonl") {
            bail!(say!(
                lang,
                "{shown}: vectors go to a .jsonl or a .npy file",
                "{shown}：向量只能写到 .jsonl 或 .npy 文件"
            ));
        }
        if out.exists() && !args.switch("force") {
            bail!(say!(
                lang,
                "{shown} is there already; give another name, or --force",
                "{shown} 已存在；请换个名字，或用 --force"
            ));
        }
    }
    let (mut texts, lines) = texts(cli, file, args.text("field").unwrap_or("text"))?;
    if texts.is_empty() {
        bail!(say!(lang, "{file}: there is no text in it", "{file}：里面没有文本"));
    }
    let query = args.text("query");
    let count = texts.len();
    texts.extend(query.map(String::from));
    let opened = models::open(cli, args)?;
    let model = &opened.model;
    let context = args.count("context").unwrap_or_else(|| model.decoder().config().context.min(8192));
    let pooling = if args.text("pooling") == Some("last") { Pooling::Last } else { Pooling::Mean };
    let mut embedder = Embedder::new(model, opened.adapter, chat::mode(args), pooling, context);
    let _working = cli.interrupt.working();
    let begin = Instant::now();
    let vectors = match embedder.embed(&texts, || !cli.interrupt.raised()) {
        Ok(Some(vectors)) => vectors,
        Ok(None) => return Ok(Exit::Interrupted),
        Err(e) => {
            let (EmbedError::Text { text, .. } | EmbedError::Refused { text, .. }) = &e;
            let place =
                lines.get(*text).map_or_else(|| "--query".to_string(), |line| format!("{file}:{line}"));
            return Err(anyhow::Error::new(e).context(place));
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    if let (Some(_), Some((asked, vectors))) = (query, vectors.split_last()) {
        let near = nearest(asked, vectors);
        for (score, i) in near.iter().take(args.count("top").unwrap_or(5)) {
            cli.out.line(&format!("{score:.4}  {file}:{}  {}", lines[*i], texts[*i]));
        }
    }
    let rows = vectors.iter().zip(&texts).take(count);
    match out {
        Some(path) if numpy => save(path, |to| write_numpy(to, &vectors[..count], embedder.width()))?,
        Some(path) => save(path, |to| {
            for (i, (vector, text)) in rows.enumerate() {
                writeln!(to, "{}", row(lines[i], text, vector))?;
            }
            Ok(())
        })?,
        None if query.is_none() => {
            for (i, (vector, text)) in rows.enumerate() {
                cli.out.line(&row(lines[i], text, vector).to_string());
            }
        }
        None => {}
    }
    if let Some(out) = out {
        let (out, width, rate) = (out.display(), embedder.width(), count as f64 / seconds);
        cli.out.line(&say!(
            lang,
            "{out}: {count} vectors of {width} values in {seconds:.1} s ({rate:.0} texts/s)",
            "{out}：{count} 个 {width} 维向量，{seconds:.1} 秒（每秒 {rate:.0} 条）"
        ));
    }
    Ok(Exit::Done)
}

fn row(line: usize, text: &str, vector: &[f32]) -> Value {
    json!({ "line": line, "text": text, "embedding": vector })
}

/// The texts and the lines they stand in. Empty lines are passed over.
fn texts(cli: &Cli, file: &str, field: &str) -> anyhow::Result<(Vec<String>, Vec<usize>)> {
    let (mut texts, mut lines) = (Vec::new(), Vec::new());
    let json = Path::new(file).extension().is_some_and(|e| e == "jsonl");
    let source: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).with_context(|| path.to_string())?),
    };
    for (i, line) in std::io::BufReader::new(source).split(b'\n').enumerate() {
        let n = i + 1;
        let line = line.with_context(|| format!("{file}:{n}"))?;
        let Ok(line) = String::from_utf8(line) else {
            bail!(say!(
                cli.lang,
                "{file}:{n} is not UTF-8; convert the file",
                "{file}:{n} 不是 UTF-8，请先转换"
            ));
        };
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let text = if json {
            let value: Value = serde_json::from_str(line).with_context(|| format!("{file}:{n}"))?;
            match value.get(field).and_then(Value::as_str).filter(|t| !t.trim().is_empty()) {
                Some(text) => text.to_string(),
                None => bail!(say!(
                    cli.lang,
                    "{file}:{n} has no text under \"{field}\"; name another key with --field",
                    "{file}:{n} 的“{field}”下没有文本；用 --field 指定另一个键"
                )),
            }
        } else {
            line.to_string()
        };
        texts.push(text);
        lines.push(n);
    }
    Ok((texts, lines))
}

/// Writes a file that appears whole or not at all.
fn save(
    path: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<&mut std::fs::File>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let aside = path.with_added_extension("part");
    let result = (|| {
        let mut file = std::fs::File::create(&aside)?;
        let mut to = std::io::BufWriter::new(&mut file);
        write(&mut to)?;
        to.flush()?;
        drop(to);
        file.sync_all()?;
        std::fs::rename(&aside, path)
    })();
    if result.is_err() {
        _ = std::fs::remove_file(&aside);
    }
    result.with_context(|| path.display().to_string())
}

/// The format of `numpy.save`, version 1.0: float32, little endian, row by row.
fn write_numpy(to: &mut impl std::io::Write, rows: &[Vec<f32>], width: usize) -> std::io::Result<()> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {width}), }}", rows.len());
    // magic, version, length and header together are whole blocks of 64 bytes, the last of them a line's end
    let whole = (10 + header.len() + 1).next_multiple_of(64);
    to.write_all(b"\x93NUMPY\x01\x00")?;
    to.write_all(&((whole - 10) as u16).to_le_bytes())?;
    writeln!(to, "{header:<0$}", whole - 11)?;
    for value in rows.iter().flatten() {
        to.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}
