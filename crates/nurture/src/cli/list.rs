//! `nurture list`: what the catalogue knows and what is here.

use nurture::hub::{self, Listed, State};
use nurture::lang::Text;
use nurture::say;

use super::args::Args;
use super::output::{size, table};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "list",
    about: Text::new(
        "Show the models and data sets that are known or here",
        "列出已知的和本机已有的模型与数据集",
    ),
    more: Text::new("", ""),
    args: &[],
    run,
};

fn run(cli: &Cli, _: Args<'_>) -> anyhow::Result<Exit> {
    let store = cli.store()?;
    let listed = hub::list(&store, &cli.pull_options())?;
    let lang = cli.lang;
    let head = match lang {
        nurture::lang::Lang::En => ["name", "kind", "size", "here", "licence", "languages"],
        nurture::lang::Lang::Zh => ["名称", "种类", "大小", "本机", "许可", "语言"],
    };
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(listed.iter().map(|l| row(cli, l)));
    cli.out.piece(&table(&rows, &[2]));
    let root = store.root().display();
    cli.out.note(&say!(
        lang,
        "\nstore: {root}\n`nurture show NAME` tells more; `nurture pull NAME` brings it; any .gguf file or hub id works too",
        "\n仓库：{root}\n`nurture show 名称` 看详情；`nurture pull 名称` 取到本机；任何 .gguf 文件或 hub 标识也可用"
    ));
    Ok(Exit::Done)
}

fn row(cli: &Cli, l: &Listed) -> Vec<String> {
    let lang = cli.lang;
    let here = match &l.state {
        State::Here { .. } => lang.pick("yes", "有").to_string(),
        State::Partial { bytes } => {
            let share = 100 * bytes / l.bytes.max(1);
            say!(lang, "{share} % of it", "{share}%")
        }
        State::Absent => lang.pick("no", "无").to_string(),
    };
    let entry = l.entry.as_ref();
    let kind = match entry.map(|e| e.kind) {
        Some(hub::Kind::Data) => lang.pick("data", "数据"),
        Some(hub::Kind::Model) => lang.pick("model", "模型"),
        None => "hub",
    };
    vec![
        l.name.clone(),
        kind.to_string(),
        size(l.bytes),
        here,
        entry.map_or_else(|| "?".into(), |e| e.licence.clone()),
        entry.map_or_else(|| "?".into(), |e| e.languages.join(" ")),
    ]
}
