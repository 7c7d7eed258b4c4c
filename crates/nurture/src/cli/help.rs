//! `nurture help`: the overview, one command, or the recipe's keys.

use nurture::lang::Text;
use nurture::{recipe, say};

use super::args::{self, Arg, Args};
use super::{Cli, Command, Exit, WrongUse};

pub(crate) const COMMAND: Command = Command {
    name: "help",
    about: Text::new("Explain a command, or the keys of a recipe", "说明某个命令，或配方的各个键"),
    more: Text::new(
        "Examples:\n  nurture help chat\n  nurture help recipe\n  nurture help recipe train.adapter",
        "例：\n  nurture help chat\n  nurture help recipe\n  nurture help recipe train.adapter",
    ),
    args: &[
        Arg::place("TOPIC", Text::new("A command, or `recipe`", "命令名，或 `recipe`")),
        Arg::place(
            "KEY",
            Text::new("With `recipe`: only this section or key", "与 `recipe` 连用：只看这一节或这个键"),
        ),
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let text = match (args.text("TOPIC"), args.text("KEY")) {
        (None, _) => args::overview(lang),
        (Some("recipe"), key) => {
            let key = key.unwrap_or_default();
            recipe::help(lang, key).ok_or_else(|| {
                WrongUse(say!(
                    lang,
                    "a recipe has no key `{key}`; `nurture help recipe` shows all",
                    "配方里没有键 `{key}`；`nurture help recipe` 列出全部"
                ))
            })?
        }
        (Some(name), _) => args::help_of(lang, name).ok_or_else(|| {
            WrongUse(say!(
                lang,
                "there is no command `{name}`; `nurture help` shows all",
                "没有命令 `{name}`；`nurture help` 列出全部"
            ))
        })?,
    };
    cli.out.piece(&text);
    if !text.ends_with('\n') {
        cli.out.piece("\n");
    }
    Ok(Exit::Done)
}
