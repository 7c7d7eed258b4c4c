//! `nurture report`: the report of a run once more, in the reader's language, or cut for others to read.

use std::path::PathBuf;

use nurture::lang::Text;
use nurture::report::Saved;
use nurture::{said, say};

use super::args::{Arg, Args};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "report",
    about: Text::new(
        "Write a run's report again, or a copy to hand on",
        "重新写出一次运行的报告，或可转交他人的副本",
    ),
    more: Text::new(
        "It reads report.json in the run's folder and writes report.html and report.md in the language of --lang\n\
         (of an encoder-decoder report.md alone).\n\
         With --public (report-public.html, report-public.md) no row of the data and no folder of this machine is in it:\n\
         questions and answers are left out, paths become names of files. Labels, figures, hashes and the recipe stay: read it before you hand it on.",
        "它读取运行目录里的 report.json，按 --lang 的语言写出 report.html 和 report.md（编码器–解码器只有 report.md）。\n\
         加 --public（report-public.html、report-public.md）则不含数据行，也不含本机目录：略去题目和回答，路径只留文件名。\n\
         标签、数字、哈希和配方仍在其中：转交前请先看一遍。",
    ),
    args: &[
        Arg::place("RUN", Text::new("folder of a run", "运行的目录")).needed(),
        Arg::switch(
            "public",
            Text::new("without rows of the data and folders of this machine", "不含数据行和本机目录"),
        ),
        Arg::text(
            "to",
            "DIR",
            Text::new("folder to write to (otherwise the run's)", "写到哪个目录（不写则为运行目录）"),
        ),
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let folder = PathBuf::from(args.text("RUN").unwrap_or_default());
    let path = folder.join("report.json");
    let shown = path.display();
    let Ok(text) = std::fs::read_to_string(&path) else {
        anyhow::bail!(said!(
            "{shown}: no such file; nurture run (or eval) writes it",
            "{shown}：没有这个文件；先用 nurture run（或 eval）生成"
        ));
    };
    let unreadable = |e: serde_json::Error| {
        said!(
            "{shown}: not the report of this version of the program ({e}); nurture eval RUN writes it anew",
            "{shown}：不是本版本程序的报告（{e}）；用 nurture eval 运行目录 重新生成"
        )
    };
    let mut data = Saved::read(&text).map_err(unreadable)?;
    let public = args.switch("public");
    if public {
        data = data.public().map_err(unreadable)?;
    }
    let to = args.text("to").map_or(folder, PathBuf::from);
    std::fs::create_dir_all(&to).map_err(|e| {
        let to = to.display();
        said!("{to}: cannot be made a folder: {e}", "{to}：无法建立目录：{e}")
    })?;
    let stem = if public { "report-public" } else { "report" };
    for (ending, page) in data.pages(lang) {
        let file = to.join(format!("{stem}.{ending}"));
        nurture::formats::write_atomic(&file, page.as_bytes())?;
        cli.out.line(&say!(lang, "report   {}", "报告   {}", file.display()));
    }
    Ok(Exit::Done)
}
