//! `nurture prepare`: the textbooks of a recipe up to the tokens, and where every row went. Nothing is trained.

use std::path::Path;

use anyhow::Context as _;
use nurture::data::{Example, Ledger};
use nurture::formats::write_atomic;
use nurture::lang::{Lang, Text};
use nurture::pipeline::{self, Textbooks, reason_text, write_examples};
use nurture::report::cleaning_rows;
use nurture::say;

use super::args::{Arg, Args};
use super::output::table;
use super::run::{SET, load};
use super::show::{Notes, print};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "prepare",
    about: Text::new(
        "Read and clean the textbooks of a recipe, and account for every row",
        "读取并清洗配方里的教材，交代每一行的下落",
    ),
    more: Text::new(
        "Does what a run does up to the tokens, and trains nothing. With --no-tokens no model is needed.\n\
         --out writes the examples after cleaning (train.jsonl, train-texts.jsonl, held-out.jsonl) and ledger.json.\n\
         Examples:\n  nurture prepare recipes/quickstart.toml --show 2\n  \
         nurture prepare recipes/quickstart.toml --no-tokens --out cleaned",
        "做一次运行里到词元为止的事，不训练。加 --no-tokens 就不需要模型。\n\
         --out 写出清洗后的样例（train.jsonl、train-texts.jsonl、held-out.jsonl）和 ledger.json。\n\
         例：\n  nurture prepare recipes/quickstart.toml --show 2\n  \
         nurture prepare recipes/quickstart.toml --no-tokens --out cleaned",
    ),
    args: &[
        Arg::place("RECIPE", Text::new("A recipe, or a run's folder", "配方，或某次运行的目录")).needed(),
        SET,
        Arg::count(
            "show",
            1,
            Text::new(
                "Show the first N examples of each file with tokens and mask (with --no-tokens: as text)",
                "显示每个文件前 N 条样例的词元和掩码（与 --no-tokens 连用时显示文本）",
            ),
        ),
        Arg::text(
            "out",
            "DIR",
            Text::new("Write the cleaned examples and the ledger here", "把清洗后的样例和账本写到这里"),
        ),
        Arg::switch(
            "no-tokens",
            Text::new("Stop before the tokens: no model is needed", "到词元之前为止：不需要模型"),
        ),
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let file = Path::new(args.text("RECIPE").unwrap_or_default());
    let file = if file.is_dir() { file.join("recipe.lock.toml") } else { file.to_path_buf() };
    let mut recipe = load(&file, &args.texts("set"))?.recipe;
    recipe.train.threads = Some(1); // nothing is computed
    let _working = cli.interrupt.working();
    let began = std::time::Instant::now();
    let mut notes = Notes::new(cli);
    let show = args.count("show").unwrap_or(0);
    let mut tokens = None;
    let (loaded, held) = if args.switch("no-tokens") {
        let Textbooks { loaded, held } = pipeline::textbooks(&recipe, &mut notes)?;
        for source in 0..loaded.sources.len() {
            loaded.examples.iter().filter(|e| e.source == source).take(show).for_each(|e| as_text(cli, e));
        }
        (loaded, held)
    } else {
        let prepared = pipeline::prepare(&recipe, &cli.store()?, &cli.pull_options(), &mut notes)?;
        let training = prepared.training;
        for source in 0..training.loaded.sources.len() {
            for example in training.tokens.iter().filter(|t| t.source == source).take(show) {
                print(cli, &prepared.model, example);
            }
        }
        tokens = Some(training.per_source);
        (training.loaded, training.held)
    };
    let overlaps = pipeline::overlaps(&recipe, &loaded, &held, &mut notes)?;
    if cli.interrupt.raised() {
        return Ok(Exit::Interrupted);
    }
    cli.out.piece(&ledger(lang, &loaded.ledger, tokens.as_deref()));
    let cleaning = cleaning_rows(lang, &loaded.cleaning);
    if !cleaning.is_empty() {
        cli.out.line("");
        cli.out.piece(&table(&cleaning.into_iter().map(Vec::from).collect::<Vec<_>>(), &[1]));
    }
    for (name, of, shared) in &overlaps {
        let n = shared.len();
        cli.out.line(&say!(
            lang,
            "exam {name}: {of} items, {n} of them also in the training data",
            "考试 {name}：{of} 题，其中 {n} 题也在训练数据里"
        ));
    }
    if let Some(dir) = args.text("out") {
        let dir = Path::new(dir);
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let mut files = write_examples(dir, "train", &loaded.examples)?;
        files.extend(write_examples(dir, "held-out", &held)?);
        let exams: Vec<_> = overlaps
            .iter()
            .map(|(exam, items, overlap)| serde_json::json!({ "exam": exam, "items": items, "overlap": overlap }))
            .collect();
        let page = serde_json::json!({ "train": loaded.ledger, "conflicts": loaded.conflicts, "cleaning": loaded.cleaning, "exams": exams });
        let file = dir.join("ledger.json");
        write_atomic(&file, format!("{page:#}\n").as_bytes())?;
        files.push(file);
        for file in files {
            cli.out.line(&say!(lang, "written: {}", "已写出：{}", file.display()));
        }
    }
    let (rows, seconds) = (loaded.ledger.total().rows, began.elapsed().as_secs_f64());
    let speed = rows as f64 / seconds.max(1e-9);
    cli.out.note(&say!(
        lang,
        "{rows} rows in {seconds:.1} s ({speed:.0} rows/s)",
        "{rows} 行，用时 {seconds:.1} 秒（{speed:.0} 行/秒）"
    ));
    Ok(Exit::Done)
}

/// An example as the model is shown it, turn by turn.
fn as_text(cli: &Cli, example: &Example) {
    cli.out.line(&format!("── {}", example.id));
    for turn in example.with_answer() {
        // data must not move the cursor
        let shown: String = turn
            .content
            .chars()
            .map(|c| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c })
            .collect();
        cli.out.line(&format!("[{}] {shown}", turn.role.escape_debug()));
    }
    cli.out.line("");
}

/// Where the rows of each file ended, and the reasons of those that were left out.
fn ledger(lang: Lang, ledger: &Ledger, tokens: Option<&[(u64, u64)]>) -> String {
    let heads = [
        ("file", "文件"),
        ("rows", "行"),
        ("used", "使用"),
        ("duplicate", "重复"),
        ("near", "几乎重复"),
        ("cut", "截短"),
        ("held out", "留出"),
        ("dropped", "舍弃"),
        ("redacted", "已替换"),
    ];
    let mut head: Vec<String> = heads.map(|(en, zh)| lang.pick(en, zh).to_string()).to_vec();
    if tokens.is_some() {
        head.extend(
            [("tokens", "词元"), ("trained", "参与训练")].map(|(en, zh)| lang.pick(en, zh).to_string()),
        );
    }
    let sum = |n: fn(&(u64, u64)) -> u64| tokens.unwrap_or_default().iter().map(n).sum::<u64>();
    let total = (lang.pick("all", "合计").to_string(), ledger.total(), (sum(|t| t.0), sum(|t| t.1)));
    let each = ledger.sources.iter().enumerate().map(|(at, s)| {
        let tokens = tokens.and_then(|t| t.get(at)).copied().unwrap_or_default();
        (s.source.clone(), s.clone(), tokens)
    });
    let mut rows = vec![head];
    let mut reasons = String::new();
    for (name, s, (all, trained)) in each.chain((ledger.sources.len() > 1).then_some(total)) {
        let dropped: u64 = s.dropped.values().sum();
        let counts = [s.rows, s.used, s.duplicate, s.near_duplicate, s.cut, s.held_out, dropped, s.redacted];
        let mut row = vec![name.clone()];
        row.extend(counts.iter().map(u64::to_string));
        if tokens.is_some() {
            row.extend([all, trained].map(|n| n.to_string()));
        }
        rows.push(row);
        for (reason, n) in &s.dropped {
            let ids = s.examples.get(reason).map(|ids| ids.join(" ")).unwrap_or_default();
            if !ids.is_empty() {
                let reason = reason_text(reason);
                reasons += &say!(
                    lang,
                    "{name}: {n} dropped, {}: {ids}\n",
                    "{name}：舍弃 {n} 行，{}：{ids}\n",
                    reason.get(lang)
                );
            }
        }
    }
    table(&rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) + &reasons
}
