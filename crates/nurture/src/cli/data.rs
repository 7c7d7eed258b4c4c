//! `nurture data`: data that comes out of the service.

use std::path::Path;

use nurture::feedback;
use nurture::lang::Text;
use nurture::say;
use nurture::serve::store::Store;

use super::args::{Arg, Args};
use super::serve::{STORE, store_path};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "data",
    about: Text::new("Turn feedback from the service into training data", "把服务收到的反馈变成训练数据"),
    more: Text::new(
        "`feedback FOLDER` writes sft.jsonl (answers to imitate), preference.jsonl (better and worse answers),\n\
         judged.jsonl (single answers, good or bad) and ledger.json (what became of each piece of feedback).\n\
         Example:\n  nurture data feedback lessons/monday",
        "`feedback 目录` 写出 sft.jsonl（供模仿的回答）、preference.jsonl（较好与较差的回答）、\n\
         judged.jsonl（单个回答，好或坏）和 ledger.json（每条反馈的下落）。\n\
         例：\n  nurture data feedback lessons/monday",
    ),
    args: &[
        Arg::place("WHAT", Text::new("feedback", "feedback（反馈）")).needed().of(&["feedback"]),
        Arg::place("OUT", Text::new("Folder to write to", "写入的目录")).needed(),
        Arg::text(
            "model",
            "NAME",
            Text::new("Only feedback on this model; may be repeated", "只取对该模型的反馈；可重复"),
        )
        .many(),
        Arg::switch("force", Text::new("Replaces files that are there", "替换已有的文件")),
        STORE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let path = store_path(cli, args)?;
    if !path.is_file() {
        let path = path.display();
        anyhow::bail!(say!(lang, "{path}: there is no store", "{path}：没有服务库"));
    }
    let store = Store::open(&path)?;
    let (lesson, ledger) = feedback::lesson(&store, &args.texts("model"))?;
    let out = Path::new(args.text("OUT").unwrap_or_default());
    for file in feedback::write(&lesson, &ledger, out, args.switch("force"))? {
        cli.out.line(&file.display().to_string());
    }
    let total = ledger.total();
    let (sft, pairs, judged) = (lesson.sft.len(), lesson.preference.len(), lesson.judged.len());
    let dropped: u64 = total.dropped.values().sum();
    let (rows, used, twice) = (total.rows, total.used, total.duplicate);
    cli.out.note(&say!(
        lang,
        "{rows} pieces of feedback: {used} used, {twice} repeated, {dropped} dropped; \
         {sft} examples, {pairs} pairs, {judged} judged answers",
        "{rows} 条反馈：使用 {used}，重复 {twice}，舍弃 {dropped}；得到 {sft} 个样例、{pairs} 对回答、{judged} 个评判"
    ));
    Ok(Exit::Done)
}
