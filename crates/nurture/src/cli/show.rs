//! `nurture show`: what is inside a model, or what a model is shown of a data file.

use std::collections::BTreeMap;
use std::path::Path;

use nurture::data::{self, SourceSpec};
use nurture::engine::{LoadOptions, Model};
use nurture::formats::{GgufFile, ModelFile, TensorSource};
use nurture::lang::Text;
use nurture::model::families;
use nurture::pipeline::{self, Event, Watch};
use nurture::say;
use nurture::text::{StreamDecoder, Tokenizer};

use super::args::{Arg, Args};
use super::output::{many, size, table};
use super::run::{SET, load, source};
use super::{Cli, Command, Exit, WrongUse, models, pull};

pub(crate) const COMMAND: Command = Command {
    name: "show",
    about: Text::new(
        "Show what is inside a model, or the tokens of training examples",
        "显示模型的内容，或训练样例的词元",
    ),
    more: Text::new(
        "`show example FILE` prints each token of the first examples: its place, + if the model is trained to\n\
         produce it, its id and its text. FILE is data (rows, a document, a folder), or a recipe: then the examples are\n\
         those of each of its training files, just as the trainer will see them.\n\
         Examples:\n  nurture show smollm2-135m-instruct\n  nurture show example train.jsonl --n 1\n  \
         nurture show example recipes/quickstart.toml --n 1",
        "`show example 文件` 逐个打印前几条样例的词元：位置、是否参与训练（+）、编号与文本。\n\
         文件可以是数据（数据行、文档、文件夹），也可以是配方：这时显示配方里每个训练文件的样例，\n\
         与训练时所见完全相同。\n\
         例：\n  nurture show smollm2-135m-instruct\n  nurture show example train.jsonl --n 1\n  \
         nurture show example recipes/quickstart.toml --n 1",
    ),
    args: &[
        Arg::place(
            "WHAT",
            Text::new(
                "A name of `nurture list`, a .gguf file, a Hugging Face folder, or the word `example`",
                "`nurture list` 里的名字、.gguf 文件、Hugging Face 目录，或单词 `example`",
            ),
        )
        .needed(),
        Arg::place(
            "FILE",
            Text::new("With `example`: the data file or recipe", "与 `example` 连用：数据文件或配方"),
        ),
        Arg::text(
            "model",
            "MODEL",
            Text::new(
                "With `example`: whose tokens (smollm2-135m-instruct)",
                "与 `example` 连用：用哪个模型的词元（smollm2-135m-instruct）",
            ),
        ),
        Arg::count(
            "n",
            1,
            Text::new("With `example`: how many of a file (3)", "与 `example` 连用：每个文件显示几条（3）"),
        ),
        Arg::switch(
            "json",
            Text::new(
                "With `example`: one JSON object an example",
                "与 `example` 连用：每条样例一个 JSON 对象",
            ),
        ),
        SET,
        models::TEMPLATE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    match (args.text("WHAT").unwrap_or_default(), args.text("FILE")) {
        ("example", Some(file)) => example(cli, args, Path::new(file)),
        ("example", None) => Err(WrongUse(
            cli.lang
                .pick("`show example` needs a data file or a recipe", "`show example` 需要一个数据文件或配方")
                .into(),
        )
        .into()),
        (_, Some(extra)) => {
            Err(WrongUse(say!(cli.lang, "`{extra}` is one too many", "多了 `{extra}`")).into())
        }
        (what, None) => model(cli, what),
    }
}

fn model(cli: &Cli, what: &str) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let located = models::locate(cli, what)?;
    let file = ModelFile::open(&located.path)?;
    let (c, dialect) = families::read(&file)?;
    let tied = file.info(dialect.names.head).is_none();
    let bytes: u64 = file.tensors().iter().map(|t| t.bytes).sum();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |en: &str, zh: &str, value: String| rows.push(vec![lang.pick(en, zh).into(), value]);
    row("path", "路径", located.path.display().to_string());
    if located.path.is_file() {
        let sha = located.sha256.clone().map_or_else(|| pull::sha256(cli, &located.path), Ok)?;
        row("sha256", "sha256", sha);
    }
    let facts = facts(&file)?;
    let licence = located.entry.as_ref().map(|e| e.licence.clone()).or(facts.licence);
    row("licence", "许可", licence.unwrap_or_else(|| lang.pick("not stated", "未注明").into()));
    row("family", "系列", c.family.name().into());
    row("parameters", "参数", many(c.parameters(tied)));
    let (layers, width, ffn, heads, kv, dim) = (c.layers, c.width, c.ffn, c.heads, c.kv_heads, c.head_dim);
    row(
        "shape",
        "形状",
        say!(
            lang,
            "{layers} layers, width {width}, MLP {ffn}, {heads} heads of {dim} on {kv} key/value heads",
            "{layers} 层，宽 {width}，MLP {ffn}，{heads} 个头（每个 {dim}），{kv} 个键值头"
        ),
    );
    if let Some(e) = &c.experts {
        let (count, active, ffn) = (e.count, e.active, e.ffn);
        let (experts, in_use) = (many(c.parameters(tied)), many(c.active_parameters(tied)));
        row(
            "experts",
            "专家",
            say!(
                lang,
                "{active} of {count} work on each token, MLP {ffn}: {in_use} of {experts} parameters",
                "每个词元用 {count} 个中的 {active} 个，MLP {ffn}：{experts} 参数中的 {in_use}"
            ),
        );
    }
    let windows: Vec<usize> = c.windows.iter().flatten().copied().collect();
    if let Some(w) = windows.first() {
        let n = windows.len();
        row("windows", "滑动窗口", say!(lang, "{w} tokens in {n} layers", "{n} 层各 {w} 个词元"));
    }
    let (vocab, shared) =
        (c.vocab, if tied { lang.pick(", head tied to the embedding", "，输出层与嵌入共用") } else { "" });
    row("vocabulary", "词表", format!("{vocab}{shared}"));
    row("context", "上下文", say!(lang, "{} tokens", "{} 个词元", c.context));
    let own = lang.pick("its own", "自带").to_string();
    let named = located.entry.as_ref().and_then(|e| e.template.clone()).unwrap_or_else(|| "plain".into());
    let none = say!(lang, "none of its own; `{named}` is used", "不自带；使用 `{named}`");
    row("template", "对话模板", if facts.template { own } else { none });
    row("special", "特殊词元", facts.specials.join(" "));
    let kv_token = (c.layers * 2 * c.kv_width() * 4) as u64;
    let (weights, cache) = (size(bytes), size(kv_token * 1024));
    row(
        "memory",
        "内存",
        say!(
            lang,
            "{weights} of weights, {cache} for each 1,024 tokens of conversation",
            "权重 {weights}，对话每 1,024 个词元 {cache}"
        ),
    );
    let train = size(models::lora_memory(&c, bytes, &models::spec(16), models::threads(0), 512, 2048));
    row(
        "LoRA r16",
        "LoRA r16",
        say!(lang, "{train} at 2,048 tokens a micro-batch", "每微批 2,048 个词元时约 {train}"),
    );
    if let Some(entry) = &located.entry {
        row("about", "简介", lang.pick(&entry.description.en, &entry.description.zh).into());
        if let Some(notice) = &entry.notice {
            row("notice", "声明", lang.pick(&notice.en, &notice.zh).into());
        }
    }
    cli.out.piece(&table(&rows, &[]));
    cli.out.line("");
    cli.out.piece(&dtypes(cli, &file));
    Ok(Exit::Done)
}

/// Stored types with their share.
fn dtypes(cli: &Cli, file: &ModelFile) -> String {
    let mut by: BTreeMap<_, (usize, u64, u64)> = BTreeMap::new();
    for t in file.tensors() {
        let entry = by.entry(t.dtype).or_default();
        *entry = (entry.0 + 1, entry.1 + t.len() as u64, entry.2 + t.bytes);
    }
    let total: u64 = by.values().map(|e| e.2).sum();
    let heads =
        [("type", "类型"), ("tensors", "张量"), ("values", "数值"), ("bytes", "字节"), ("share", "占比")];
    let mut rows = vec![heads.map(|(en, zh)| cli.lang.pick(en, zh).to_string()).to_vec()];
    let mut sum = (0, 0);
    for (dtype, (n, values, bytes)) in by {
        sum = (sum.0 + n, sum.1 + values);
        let share = format!("{:.1} %", 100.0 * bytes as f64 / total.max(1) as f64);
        rows.push(vec![dtype.name().into(), n.to_string(), many(values), size(bytes), share]);
    }
    rows.push(vec![
        cli.lang.pick("all", "合计").into(),
        sum.0.to_string(),
        many(sum.1),
        size(total),
        String::new(),
    ]);
    table(&rows, &[1, 2, 3, 4])
}

#[derive(Default)]
struct Facts {
    licence: Option<String>,
    template: bool,
    specials: Vec<String>,
}

fn facts(file: &ModelFile) -> anyhow::Result<Facts> {
    match file {
        ModelFile::Gguf(f) => gguf_facts(f),
        ModelFile::Hf(f) if f.tokenizer().is_some() => {
            let tokenizer = Tokenizer::from_dir(f.path())?;
            let names = tokenizer.special_names();
            let named = [("bos", names.bos), ("eos", names.eos), ("pad", names.pad), ("unk", names.unk)];
            let specials = named.into_iter().filter_map(|(k, v)| Some(format!("{k}={}", v?))).collect();
            Ok(Facts { licence: None, template: tokenizer.chat_template().is_some(), specials })
        }
        ModelFile::Hf(_) => Ok(Facts::default()),
    }
}

/// Straight from the file's keys: the vocabulary itself need not be built for that.
fn gguf_facts(file: &GgufFile) -> anyhow::Result<Facts> {
    let meta = file.metadata();
    let tokens = meta.find::<&nurture::formats::Strings>("tokenizer.ggml.tokens")?;
    let mut specials = Vec::new();
    for (short, key) in
        [("bos", "bos"), ("eos", "eos"), ("eot", "eot"), ("pad", "padding"), ("unk", "unknown")]
    {
        if let Some(id) = meta.find::<u32>(&format!("tokenizer.ggml.{key}_token_id"))? {
            let text = tokens.and_then(|t| t.get(id as usize)).unwrap_or("?");
            specials.push(format!("{short}={text}"));
        }
    }
    let licence = meta.find::<&str>("general.license")?.map(String::from);
    Ok(Facts { licence, template: meta.contains("tokenizer.chat_template"), specials })
}

/// Rows as the trainer sees them: those of a data file with the model's own template, or those of a recipe.
fn example(cli: &Cli, args: Args<'_>, file: &Path) -> anyhow::Result<Exit> {
    // the folder of a run, or a folder of textbooks
    let lock = file.join("recipe.lock.toml");
    let file = if lock.exists() { lock } else { file.to_path_buf() };
    if file.extension().is_some_and(|e| e == "toml") {
        of_recipe(cli, args, &file)
    } else {
        of_data(cli, args, &file)
    }
}

fn of_data(cli: &Cli, args: Args<'_>, file: &Path) -> anyhow::Result<Exit> {
    let loaded = data::load_training(&[SourceSpec::new(file)], &data::LoadOptions::default())?;
    loaded.sources.iter().for_each(|s| cli.out.note(&source(cli.lang, s)));
    let base = models::locate(cli, args.text("model").unwrap_or("smollm2-135m-instruct"))?;
    let template = args.text("template").map(String::from);
    let template = template.or_else(|| base.entry.as_ref().and_then(|e| e.template.clone()));
    let options = LoadOptions { template, today: Some(models::today()), ..LoadOptions::default() };
    let model = Model::load(&base.path, &options)?;
    for example in loaded.examples.iter().take(shown(args)) {
        tell(cli, args, &model, &pipeline::render(&model, example)?);
    }
    let total = loaded.ledger.total();
    let (rows, used) = (total.rows, loaded.examples.len());
    cli.out.note(&say!(cli.lang, "{used} of {rows} rows are usable", "{rows} 行中有 {used} 行可用"));
    Ok(Exit::Done)
}

fn of_recipe(cli: &Cli, args: Args<'_>, file: &Path) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    for (name, key) in [("model", "model.base"), ("template", "model.template")] {
        if args.text(name).is_some() {
            return Err(WrongUse(say!(
                lang,
                "--{name} is for data files; with a recipe: --set {key}=…",
                "--{name} 用于数据文件；配方请用 --set {key}=…"
            ))
            .into());
        }
    }
    let mut recipe = load(file, &args.texts("set"))?.recipe;
    recipe.train.threads = Some(1); // nothing is computed
    let _working = cli.interrupt.working();
    let mut notes = Notes::new(cli);
    let prepared = pipeline::prepare(&recipe, &cli.store()?, &cli.pull_options(), &mut notes)?;
    let training = &prepared.training;
    for source in 0..training.loaded.sources.len() {
        for tokens in training.tokens.iter().filter(|t| t.source == source).take(shown(args)) {
            tell(cli, args, &prepared.model, tokens);
        }
    }
    let total = training.loaded.ledger.total();
    let (used, rows) = (total.used + total.cut, total.rows);
    let template = prepared.model.renderer().template().name();
    cli.out.note(&say!(
        lang,
        "{used} of {rows} rows are trained on; template: {template}",
        "{rows} 行中有 {used} 行用于训练；模板：{template}"
    ));
    Ok(Exit::Done)
}

fn shown(args: Args<'_>) -> usize {
    args.count("n").unwrap_or(3)
}

/// An example as it was asked for.
fn tell(cli: &Cli, args: Args<'_>, model: &Model, example: &data::TokenExample) {
    match args.switch("json") {
        true => cli.out.line(&json(model, example).to_string()),
        false => print(cli, model, example),
    }
}

/// Each token of an example: its place, whether it is trained, its id and text; in colour on a terminal.
pub(crate) fn print(cli: &Cli, model: &Model, example: &data::TokenExample) {
    let (id, all, trained) = (&example.id, example.tokens.len(), example.trained_tokens());
    cli.out.line(&say!(
        cli.lang,
        "── {id}: {all} tokens, {trained} trained",
        "── {id}：{all} 个词元，其中 {trained} 个参与训练"
    ));
    let (tokens, mask) = (&example.tokens, &example.trained);
    cli.out.line(&model.renderer().show(tokens, mask, cli.out.stdout_colour()));
}

/// `{"id", "tokens": [[id, text, trained], …]}`; a character of several tokens stands with the last of them.
fn json(model: &Model, example: &data::TokenExample) -> serde_json::Value {
    let mut decoder = StreamDecoder::plain(model.tokenizer());
    let mut tokens: Vec<(u32, String, bool)> = example
        .tokens
        .iter()
        .zip(&example.trained)
        .map(|(&id, &trained)| (id, decoder.push(id), trained))
        .collect();
    if let Some((_, text, _)) = tokens.last_mut() {
        text.push_str(&decoder.finish());
    }
    serde_json::json!({ "id": example.id, "tokens": tokens })
}

/// What happens before there is something to show, beside the result.
pub(crate) struct Notes<'a> {
    cli: &'a Cli,
    pull: pull::View,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(cli: &'a Cli) -> Notes<'a> {
        Notes { cli, pull: pull::View::new(cli.out) }
    }
}

impl Watch for Notes<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Pull(p) => self.pull.show(&p),
            Event::Source(s) => self.cli.out.note(&source(self.cli.lang, s)),
            Event::Warning(said) => self.cli.out.warn(said.get(self.cli.lang)),
            _ => {}
        }
    }

    fn stopped(&self) -> bool {
        self.cli.interrupt.raised()
    }
    fn variable(&self, name: &str) -> Option<String> {
        super::env(name).filter(|v| !v.is_empty())
    }
}
