//! `nurture translate`: lines by an encoder-decoder, and training rows in another language by it or by an endpoint.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use nurture::endpoint::Endpoint;
use nurture::lang::Text;
use nurture::pairs::PairModel;
use nurture::say;
use nurture::translate::{Plan, Translator, translate};

use super::args::{Arg, Args};
use super::quantize::FORCE;
use super::{Cli, Command, Exit, WrongUse, env, models};

/// Most bytes of lines to translate.
const MOST: u64 = 64 << 20;

pub(crate) const COMMAND: Command = Command {
    name: "translate",
    about: Text::new(
        "Write texts in another language, or training rows with a check of the way back",
        "把文本译成另一种语言，或翻译训练数据并回译检查",
    ),
    more: Text::new(
        "A translator is the folder of an encoder-decoder (--model: T5, Marian, or a run of a recipe with model.seq2seq), or a model behind\n\
         an OpenAI-compatible address (--url, --name, --to).\n\
         Of a .jsonl file the fields named by --field are translated (messages: each message) and the rows go to --out with a key `translated`.\n\
         With a way back (--back, or --from at an address) each text is translated back; rows whose chrF against the source is below --least\n\
         are left out, and the ledger beside --out counts them. Of any other file each line is translated and printed, a blank one as a blank\n\
         line; `-` reads stdin.\n\
         Examples:\n  nurture translate words.txt --model runs/pinyin --beams 8\n  \
         nurture translate en.jsonl --out zh.jsonl --field question --field answer --model runs/en-zh --back runs/zh-en\n  \
         nurture translate en.jsonl --out zh.jsonl --field messages --url http://localhost:8000 --name qwen --to Chinese --from English",
        "译者可以是编码器–解码器的目录（--model：T5、Marian，或带 model.seq2seq 的配方的运行目录），\n\
         也可以是 OpenAI 兼容地址上的模型（--url、--name、--to）。\n\
         .jsonl 文件翻译 --field 指定的字段（messages：每条消息），各行带着 `translated` 键写到 --out。\n\
         有回程时（--back，或在地址上用 --from）逐条回译；与原文的 chrF 低于 --least 的行被舍弃，--out 旁的账本记数。\n\
         其他文件逐行翻译并打印，空行仍为空行；`-` 读标准输入。\n\
         例：\n  nurture translate words.txt --model runs/pinyin --beams 8\n  \
         nurture translate en.jsonl --out zh.jsonl --field question --field answer --model runs/en-zh --back runs/zh-en\n  \
         nurture translate en.jsonl --out zh.jsonl --field messages --url http://localhost:8000 --name qwen --to Chinese --from English",
    ),
    args: &[
        Arg::place(
            "FILE",
            Text::new("Lines, or rows (.jsonl); `-`: stdin", "文本行或数据行（.jsonl）；`-`：标准输入"),
        )
        .needed(),
        Arg::text("model", "DIR", Text::new("The folder of an encoder-decoder", "编码器–解码器的目录")),
        Arg::text("url", "URL", Text::new("Where a model translates", "翻译模型所在的地址")),
        Arg::text("name", "NAME", Text::new("With --url: its name there", "与 --url 同用：模型在那里的名字")),
        Arg::text(
            "key",
            "VARIABLE",
            Text::new(
                "With --url: the environment variable that holds the key",
                "与 --url 同用：存放密钥的环境变量名",
            ),
        ),
        Arg::text(
            "to",
            "LANGUAGE",
            Text::new("With --url: the language to write", "与 --url 同用：译成什么语言"),
        ),
        Arg::text(
            "from",
            "LANGUAGE",
            Text::new(
                "With --url: the language of the rows, for the way back",
                "与 --url 同用：原文的语言，用于回译",
            ),
        ),
        Arg::text(
            "back",
            "DIR",
            Text::new("The folder of an encoder-decoder that leads back", "负责回译的编码器–解码器的目录"),
        ),
        Arg::text("field", "KEY", Text::new("A key of the rows whose text is translated", "要翻译的字段"))
            .many(),
        Arg::number(
            "least",
            0.0,
            1.0,
            Text::new("Least chrF of the way back, 0 to 1 (0.4)", "回译 chrF 的下限，0 到 1（0.4）"),
        ),
        Arg::text("out", "PATH", Text::new("Where the rows go: *.jsonl", "译好的行写到哪里：*.jsonl")),
        Arg::count("beams", 1, Text::new("Beams, in place of the model's own", "束数，代替模型自带的")),
        FORCE,
        models::THREADS,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let file = args.text("FILE").unwrap_or_default();
    if args.count("beams").is_some() && args.text("url").is_some() && args.text("back").is_none() {
        return wrong(say!(
            cli.lang,
            "--beams counts for --model and --back: the server at --url searches as it is set",
            "--beams 只对 --model 和 --back 有用：--url 的服务器按自己的设置搜索"
        ));
    }
    match args.text("out") {
        Some(out) => rows(cli, &args, Path::new(file), Path::new(out)),
        None => lines(cli, &args, file),
    }
}

/// Refuses what was typed, with exit code 2.
fn wrong<T>(text: String) -> anyhow::Result<T> {
    Err(WrongUse(text).into())
}

/// The translator that was named.
fn translator(cli: &Cli, args: &Args<'_>) -> anyhow::Result<Translator> {
    let lang = cli.lang;
    match (args.text("model"), args.text("url")) {
        (Some(dir), None) => opened(args, dir),
        (None, Some(_)) => {
            let Some(to) = args.text("to") else {
                return wrong(say!(
                    lang,
                    "--url needs --to: the language to write",
                    "--url 需要 --to：译成什么语言"
                ));
            };
            Ok(Translator::Endpoint(endpoint(cli, args)?, to.to_string()))
        }
        _ => wrong(say!(
            lang,
            "name one translator: --model DIR, or --url with --name and --to",
            "请指定一个译者：--model 目录，或 --url 加 --name 和 --to"
        )),
    }
}

/// The translator in a folder, with the beams that were asked for.
fn opened(args: &Args<'_>, dir: &str) -> anyhow::Result<Translator> {
    let model = PairModel::open(Path::new(dir), args.count("threads").unwrap_or(0))?;
    let model = match args.count("beams") {
        Some(count) => model.with_beams(count),
        None => model,
    };
    Ok(Translator::Model(model, called(dir)))
}

/// The name of a folder, without the way to it.
fn called(dir: &str) -> String {
    let path = Path::new(dir);
    let last = path.components().rev().find_map(|c| match c {
        std::path::Component::Normal(name) if name != "model" => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    last.unwrap_or_else(|| dir.to_string())
}

fn endpoint(cli: &Cli, args: &Args<'_>) -> anyhow::Result<Endpoint> {
    let lang = cli.lang;
    let Some(name) = args.text("name") else {
        return wrong(say!(
            lang,
            "--url needs --name: the model's name there",
            "--url 需要 --name：模型在那里的名字"
        ));
    };
    Endpoint::with_key_of(args.text("url").unwrap_or_default(), name, args.text("key"), "--key", env)
}

fn rows(cli: &Cli, args: &Args<'_>, file: &Path, out: &Path) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let fields: Vec<String> = args.texts("field");
    if fields.is_empty() {
        return wrong(say!(
            lang,
            "--out needs --field: which keys of the rows are translated",
            "--out 需要 --field：翻译哪些字段"
        ));
    }
    let shown = out.display();
    if out.exists() && !args.switch("force") {
        bail!(say!(
            lang,
            "{shown} is there already; give another name, or --force",
            "{shown} 已存在；请换个名字，或用 --force"
        ));
    }
    let there = translator(cli, args)?;
    let back = match (args.text("back"), args.text("from")) {
        (Some(dir), None) => Some(opened(args, dir)?),
        (None, Some(from)) if args.text("url").is_some() => {
            Some(Translator::Endpoint(endpoint(cli, args)?, from.to_string()))
        }
        (None, None) => None,
        _ => {
            return wrong(say!(
                lang,
                "one way back: --back DIR, or --from at --url",
                "回程只要一个：--back 目录，或与 --url 同用的 --from"
            ));
        }
    };
    if back.is_none() {
        cli.out.note(&say!(
            lang,
            "no way back (--back or --from): nobody checks the translations",
            "没有回程（--back 或 --from）：译文无人检查"
        ));
    }
    let plan = Plan {
        input: file.to_path_buf(),
        output: out.to_path_buf(),
        fields,
        least: args.number("least").unwrap_or(0.4),
    };
    let _working = cli.interrupt.working();
    let done = translate(&plan, &there, back.as_ref(), |n| {
        if n.is_multiple_of(100) {
            cli.out.note(&say!(lang, "{n} rows", "{n} 行"));
        }
        !cli.interrupt.raised()
    })?;
    let Some(done) = done else {
        cli.out.note(&say!(
            lang,
            "stopped; the same command goes on from here",
            "已停止；同一命令会从此继续"
        ));
        return Ok(Exit::Interrupted);
    };
    let total = done.ledger.total();
    let (all, kept) = (total.rows, total.translated);
    cli.out.line(&say!(lang, "{kept} of {all} rows translated: {shown}", "{all} 行译出 {kept} 行：{shown}"));
    for (reason, n) in &total.dropped {
        let why = match reason.as_str() {
            "round_trip" => say!(lang, "the way back differs too much", "回译相差太大"),
            _ => say!(lang, "nothing came back", "没有译文"),
        };
        cli.out.line(&say!(lang, "  left out: {n} ({why})", "  舍弃：{n}（{why}）"));
    }
    if let Some(mean) = done.mean {
        let mean = format!("{:.1}", 100.0 * mean);
        cli.out.line(&say!(
            lang,
            "  mean chrF of the way back, rows that stayed: {mean}",
            "  留下各行的回译 chrF 平均：{mean}"
        ));
    }
    Ok(Exit::Done)
}

fn lines(cli: &Cli, args: &Args<'_>, file: &str) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    if file.ends_with(".jsonl") {
        return wrong(say!(
            lang,
            "rows of a .jsonl file go to a file: --out PATH, with --field",
            ".jsonl 的各行要写到文件：--out 路径，并用 --field"
        ));
    }
    let there = translator(cli, args)?;
    let reader: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| path.to_string())?),
    };
    let mut bytes = Vec::new();
    reader.take(MOST + 1).read_to_end(&mut bytes).with_context(|| file.to_string())?;
    if bytes.len() as u64 > MOST {
        let most = MOST >> 20;
        bail!(say!(
            lang,
            "{file}: more than {most} MB of lines; split them into several files",
            "{file}：超过 {most} MB；请拆成几个文件"
        ));
    }
    let text = String::from_utf8(bytes).with_context(|| file.to_string())?;
    let all: Vec<&str> = text.lines().map(str::trim).collect();
    let _working = cli.interrupt.working();
    for some in all.chunks(64) {
        if cli.interrupt.raised() {
            return Ok(Exit::Interrupted);
        }
        let full: Vec<&str> = some.iter().copied().filter(|line| !line.is_empty()).collect();
        let done = match (&there, args.count("beams")) {
            (Translator::Model(model, _), Some(_)) => {
                let written = model.write(&full, &model.beams(), model.longest())?;
                // all of them, best first, parted by tabs: whoever asks for beams wants to see them
                let joined = |a: Vec<nurture::pairs::Answer>| {
                    a.into_iter().map(|a| a.text.replace('\t', " ")).collect::<Vec<_>>().join("\t")
                };
                written.into_iter().map(joined).collect()
            }
            _ => there.translate(&full)?,
        };
        // a line for each line, so that both files can be laid side by side
        let mut done = done.into_iter();
        for line in some {
            let text = if line.is_empty() { String::new() } else { done.next().unwrap_or_default() };
            cli.out.line(&text.replace('\n', " "));
        }
    }
    Ok(Exit::Done)
}
