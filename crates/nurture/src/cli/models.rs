//! From what the user typed to a model that is ready: name, hub id, path, or the folder of a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nurture::engine::{self, LoadOptions, Model};
use nurture::formats::adapter as peft;
use nurture::hub::{Catalogue, Entry, Reference};
use nurture::lang::Text;
use nurture::model::{Adapter, Config, LoraSpec, PROJECTIONS, TrainingShape, memory_table};
use nurture::network::network_dir;
use nurture::say;
use serde_json::Value;

use super::args::{Arg, Args};
use super::{Cli, pull};

/// `MODEL`, as every command that needs one takes it.
pub(crate) const MODEL: Arg = Arg::place(
    "MODEL",
    Text::new(
        "A name of `nurture list` (pulled if needed), a hub id, a .gguf file, a Hugging Face folder, or a run's folder",
        "`nurture list` 里的名字（需要时自动取）、hub 标识、.gguf 文件、Hugging Face 目录，或某次运行的目录",
    ),
);
/// `--adapter`
pub(crate) const ADAPTER: Arg = Arg::text(
    "adapter",
    "RUN",
    Text::new(
        "What was taught: the folder of a run, a folder in PEFT's format, or a GGUF adapter",
        "教出来的部分：某次运行的目录、PEFT 格式的目录，或 GGUF 适配器文件",
    ),
);
/// `--threads`
pub(crate) const THREADS: Arg = Arg::count(
    "threads",
    1,
    Text::new("Threads that compute (otherwise one a core)", "计算线程数（不写时每核一个）"),
);
/// `--template`
pub(crate) const TEMPLATE: Arg = Arg::text(
    "template",
    "NAME",
    Text::new(
        "Chat template: `plain`, `chatml`, or a Jinja file (otherwise the adapter's or the model's own)",
        "对话模板：`plain`、`chatml`，或一个 Jinja 文件（不写时用适配器或模型自带的）",
    ),
);

/// A file that is here.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) path: PathBuf,
    /// of the whole file, where it is known without reading it
    pub(crate) sha256: Option<String>,
    pub(crate) entry: Option<Box<Entry>>,
}

/// Finds what `text` names; what is not here is pulled.
///
/// # Errors
/// An unknown name, or a pull that failed.
pub(crate) fn locate(cli: &Cli, text: &str) -> anyhow::Result<Located> {
    if let Reference::Path(path) = Reference::parse(text, &Catalogue::embedded()?)? {
        return Ok(Located { path, sha256: None, entry: None });
    }
    let pulled = pull::bring(cli, text, false)?;
    Ok(Located { path: pulled.path, sha256: Some(pulled.sha256), entry: pulled.entry })
}

/// A model with what was taught to it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) adapter: Option<Adapter>,
    /// folder of the adapter
    pub(crate) adapter_dir: Option<PathBuf>,
    /// system text that the adapter was trained with
    pub(crate) system: Option<String>,
    /// what was written around each question in training, with `{text}` in its place
    pub(crate) user: Option<String>,
}

impl Opened {
    /// A question as the model knows them from its training.
    pub(crate) fn question(&self, text: &str) -> String {
        self.user.as_ref().map_or_else(|| text.to_string(), |around| around.replace("{text}", text))
    }
}

/// Opens `MODEL` with `--adapter`, `--template` and `--threads`.
///
/// # Errors
/// Anything that is missing, damaged or does not fit together.
pub(crate) fn open(cli: &Cli, args: Args<'_>) -> anyhow::Result<Opened> {
    let lang = cli.lang;
    let text = args.text("MODEL").unwrap_or_default();
    let given = args.text("adapter").map(|run| run_folder(cli, run)).transpose()?;
    let as_run = taught(Path::new(text)).filter(|_| given.is_none());
    // a network that was trained itself needs no base
    let network = network_dir(Path::new(text)).filter(|_| as_run.is_none());
    let dir = given.clone().or_else(|| as_run.clone());
    let record = dir.as_deref().or(network.as_deref());
    let extra = record.and_then(engine::recorded).unwrap_or(Value::Null);
    let base = match &as_run {
        None if network.is_some() => Located { path: network.unwrap_or_default(), sha256: None, entry: None },
        Some(dir) => recorded_base(cli, dir, &extra)?,
        None if is_unfinished_run(Path::new(text)) => bail!(say!(
            lang,
            "{text} is a run without a result: it is not finished. Go on with `nurture run {text}/recipe.lock.toml`",
            "{text} 是一次还没有结果的运行：尚未完成。可用 `nurture run {text}/recipe.lock.toml` 继续"
        )),
        None => locate(cli, text)?,
    };
    if let Some(dir) = &dir {
        warn_of_other_base(cli, dir, &extra, &base)?;
    }
    let own = |key: &str| extra.get(key).and_then(Value::as_str).map(String::from);
    let recorded_template = engine::recorded_template(&extra);
    let catalogued =
        base.entry.as_ref().and_then(|e| e.template.clone()).filter(|_| recorded_template.is_none());
    let options = LoadOptions {
        threads: args.count("threads").unwrap_or(0),
        template: args.text("template").map(String::from).or(catalogued),
        recorded_template,
        today: Some(today()),
    };
    let model = Model::load(&base.path, &options)?;
    let adapter = dir.as_deref().map(|dir| model.adapter(dir)).transpose()?;
    if let (Some(dir), true) = (&dir, adapter.as_ref().is_some_and(|a| a.score().is_some())) {
        let dir = dir.display();
        bail!(say!(
            lang,
            "{dir} is a reward model: it scores answers and never speaks. A recipe practises by it: train.rewards = [{{ kind = \"model\", path = \"{dir}\" }}]",
            "{dir} 是奖励模型：只给答案评分，从不作答。配方可以用它来练习：train.rewards = [{{ kind = \"model\", path = \"{dir}\" }}]"
        ));
    }
    // with fields other than {text} the pattern belongs to rows of data, not to a conversation
    let user = own("user").filter(|p| p.contains("{text}") && p.matches('{').count() == 1);
    Ok(Opened { model, adapter, adapter_dir: dir, system: own("system"), user })
}

/// Threads that compute: as many as asked for, or one for each core that this process may use.
pub(crate) fn threads(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, |n| n.get()) }
}

/// A LoRA of this rank on all projections, alpha twice the rank.
pub(crate) fn spec(rank: usize) -> LoraSpec {
    LoraSpec { rank, alpha: 2.0 * rank as f64, rslora: false, targets: PROJECTIONS.to_vec() }
}

/// Peak memory of LoRA training in bytes by the memory table, for sequences of `longest` tokens in micro-batches of
/// `tokens`, with a loss at every position.
pub(crate) fn lora_memory(
    c: &Config,
    base_bytes: u64,
    lora: &LoraSpec,
    threads: usize,
    longest: usize,
    tokens: usize,
) -> u64 {
    let shape = TrainingShape { tokens, loss_rows: tokens, longest, threads, base_bytes };
    memory_table(c, lora, &shape).iter().map(|row| row.bytes).sum()
}

/// The adapter's folder, if `path` is a finished run or such a folder.
pub(crate) fn taught(path: &Path) -> Option<PathBuf> {
    let dir = engine::adapter_dir(path);
    dir.join(peft::CONFIG_NAME).is_file().then_some(dir)
}

fn is_unfinished_run(path: &Path) -> bool {
    path.join("recipe.lock.toml").is_file() && taught(path).is_none() && network_dir(path).is_none()
}

/// What `--adapter` names: a folder, or the name of a run in `runs`.
pub(crate) fn run_folder(cli: &Cli, text: &str) -> anyhow::Result<PathBuf> {
    // an adapter in GGUF's form is one file
    if Path::new(text).is_file() {
        return Ok(PathBuf::from(text));
    }
    let places = [PathBuf::from(text), Path::new("runs").join(text)];
    if let Some(dir) = places.iter().find_map(|p| taught(p)) {
        return Ok(dir);
    }
    let name = peft::CONFIG_NAME;
    bail!(say!(
        cli.lang,
        "no adapter in {text}: neither {name} nor a folder adapter/ with it lies there; give the folder of a finished run",
        "{text} 里没有适配器：既没有 {name}，也没有含它的 adapter/ 目录；请给出一次已完成运行的目录"
    ))
}

/// The base that an adapter's record names: its path if that is still there, else its name.
pub(crate) fn recorded_base(cli: &Cli, dir: &Path, extra: &Value) -> anyhow::Result<Located> {
    let lang = cli.lang;
    let base = |key: &str| extra.get("base")?.get(key)?.as_str().map(String::from);
    if let Some(path) = base("path").map(PathBuf::from).filter(|p| p.exists()) {
        return Ok(Located { path, sha256: None, entry: None });
    }
    let shown = dir.display();
    // a later stage lies beside what it began with
    let beside = base("name").filter(|n| n.starts_with("../")).and_then(|n| Some(dir.parent()?.join(n)));
    if let Some(path) = beside.filter(|p| p.exists()) {
        return Ok(Located { path, sha256: None, entry: None });
    }
    match base("name") {
        Some(name) => locate(cli, &name).with_context(|| {
            say!(
                lang,
                "{shown} was trained on `{name}`, which is not where it was; give the base: nurture chat BASE --adapter {shown}",
                "{shown} 以 `{name}` 为基座训练，而它已不在原处；请给出基座：nurture chat 基座 --adapter {shown}"
            )
        }),
        None => bail!(say!(
            lang,
            "{shown} does not say which base it was trained on; give it: nurture chat BASE --adapter {shown}",
            "{shown} 没有记录它的基座；请给出：nurture chat 基座 --adapter {shown}"
        )),
    }
}

pub(crate) fn warn_of_other_base(cli: &Cli, dir: &Path, extra: &Value, base: &Located) -> anyhow::Result<()> {
    let Some(wanted) = extra.get("base").and_then(|b| b.get("sha256")).and_then(Value::as_str) else {
        return Ok(());
    };
    if !base.path.is_file() {
        return Ok(());
    }
    let found = match &base.sha256 {
        Some(known) => known.clone(),
        None => pull::sha256(cli, &base.path)?,
    };
    if found != wanted {
        let (dir, path) = (dir.display(), base.path.display());
        let (found, wanted) = (found.get(..12).unwrap_or(&found), wanted.get(..12).unwrap_or(wanted));
        cli.out.warn(&say!(
            cli.lang,
            "{dir} was trained on another file (sha256 {wanted}…) than {path} ({found}…); answers may be worse than examined",
            "{dir} 训练时的基座文件（sha256 {wanted}…）与 {path}（{found}…）不同；回答可能不如考试时"
        ));
    }
    Ok(())
}

/// The date in UTC, for templates that write it.
pub(crate) fn today() -> (u16, u8, u8) {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    nurture::date::civil(seconds / 86_400)
}
