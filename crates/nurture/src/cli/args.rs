//! What can be written on the command line, as tables: one entry gives parsing, help in both languages and the
//! checks. `clap` does the parsing; its own English sentences are not used.

use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches};
use nurture::lang::{Lang, Text};
use nurture::say;

use super::COMMANDS;

/// What an argument takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// nothing: it is there or not
    Switch,
    /// any text
    Text,
    /// a whole number of at least this much
    Count(u64),
    /// a number between these two, both allowed
    Number(f64, f64),
    /// one of these words
    Word(&'static [&'static str]),
}

/// One argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    /// `--name`; of a positional argument the word that stands for it
    pub(crate) name: &'static str,
    /// the word that stands for its value in the help
    pub(crate) value_name: &'static str,
    pub(crate) value: Value,
    pub(crate) doc: Text,
    pub(crate) positional: bool,
    pub(crate) needed: bool,
    pub(crate) many: bool,
}

impl Arg {
    const fn new(name: &'static str, value_name: &'static str, value: Value, doc: Text) -> Arg {
        Arg { name, value_name, value, doc, positional: false, needed: false, many: false }
    }

    /// `--name`
    pub(crate) const fn switch(name: &'static str, doc: Text) -> Arg {
        Arg::new(name, "", Value::Switch, doc)
    }

    /// `--name TEXT`
    pub(crate) const fn text(name: &'static str, value_name: &'static str, doc: Text) -> Arg {
        Arg::new(name, value_name, Value::Text, doc)
    }

    /// `--name N`, a whole number
    pub(crate) const fn count(name: &'static str, least: u64, doc: Text) -> Arg {
        Arg::new(name, "N", Value::Count(least), doc)
    }

    /// `--name X`, a number in a range
    pub(crate) const fn number(name: &'static str, from: f64, to: f64, doc: Text) -> Arg {
        Arg::new(name, "X", Value::Number(from, to), doc)
    }

    /// `--name WORD`, one of a few
    pub(crate) const fn word(
        name: &'static str,
        value_name: &'static str,
        words: &'static [&'static str],
        doc: Text,
    ) -> Arg {
        Arg::new(name, value_name, Value::Word(words), doc)
    }

    /// An argument without `--`.
    pub(crate) const fn place(name: &'static str, doc: Text) -> Arg {
        Arg { positional: true, ..Arg::new(name, name, Value::Text, doc) }
    }

    /// It must be there.
    pub(crate) const fn needed(self) -> Arg {
        Arg { needed: true, ..self }
    }

    /// It may be there several times.
    pub(crate) const fn many(self) -> Arg {
        Arg { many: true, ..self }
    }

    /// A positional argument that is one of a few words.
    pub(crate) const fn of(self, words: &'static [&'static str]) -> Arg {
        Arg { value: Value::Word(words), ..self }
    }

    fn clap(&self, lang: Lang) -> clap::Arg {
        let mut arg = clap::Arg::new(self.name).help(self.doc.get(lang)).required(self.needed);
        if !self.positional {
            arg = arg.long(self.name);
        }
        arg = match self.value {
            Value::Switch => return arg.action(ArgAction::SetTrue),
            Value::Text => arg.value_parser(clap::builder::NonEmptyStringValueParser::new()),
            Value::Count(least) => arg.value_parser(move |text: &str| count(lang, text, least)),
            Value::Number(from, to) => {
                arg.allow_negative_numbers(true).value_parser(move |text: &str| number(lang, text, from, to))
            }
            Value::Word(words) => arg.value_parser(clap::builder::PossibleValuesParser::new(words)),
        };
        let action = if self.many { ArgAction::Append } else { ArgAction::Set };
        if self.positional && self.many {
            arg = arg.num_args(1..);
        }
        arg.value_name(self.value_name).action(action).hide_possible_values(true)
    }
}

/// Arguments that every command takes.
pub(crate) const COMMON: &[Arg] = &[Arg::word(
    "lang",
    "LANG",
    &["en", "zh"],
    Text::new(
        "Language of all messages: en, zh (otherwise by locale)",
        "所有消息的语言：en、zh（不写时按系统区域设置）",
    ),
)];

fn count(lang: Lang, text: &str, least: u64) -> Result<u64, String> {
    text.parse().ok().filter(|&n| n >= least).ok_or_else(|| {
        say!(lang, "a whole number of at least {least} is needed", "需要不小于 {least} 的整数")
    })
}

fn number(lang: Lang, text: &str, from: f64, to: f64) -> Result<f64, String> {
    let fits = |n: &f64| n.is_finite() && (from..=to).contains(n);
    text.parse().ok().filter(fits).ok_or_else(|| {
        if to.is_finite() {
            say!(lang, "a number between {from} and {to} is needed", "需要 {from} 到 {to} 之间的数")
        } else {
            say!(lang, "a number of at least {from} is needed", "需要不小于 {from} 的数")
        }
    })
}

/// The whole command line for `clap`.
pub(crate) fn build(lang: Lang) -> clap::Command {
    let head = lang.pick("Options", "选项");
    let mut root = clap::Command::new("nurture")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(COMMON.iter().map(|a| a.clap(lang).global(true).display_order(1000)))
        .arg(flag("help", 'h', ArgAction::HelpShort, lang.pick("Show this help", "显示本帮助")).global(true))
        .arg(flag("version", 'V', ArgAction::Version, lang.pick("Show the version", "显示版本")))
        .override_help(overview(lang));
    for command in COMMANDS {
        let (places, options): (Vec<&Arg>, Vec<&Arg>) = command.args.iter().partition(|a| a.positional);
        let places_head = lang.pick("Arguments", "参数");
        let mut template = format!("{{about-with-newline}}\n{}\n", usage(lang, command));
        if !places.is_empty() {
            let _ = write!(template, "\n{places_head}{}\n{{positionals}}\n", lang.pick(":", "："));
        }
        let _ = write!(template, "\n{head}{}\n{{options}}{{after-help}}", lang.pick(":", "："));
        root = root.subcommand(
            clap::Command::new(command.name)
                .about(command.about.get(lang))
                .after_help(command.more.get(lang))
                .help_template(template)
                .args(places.iter().chain(&options).map(|a| a.clap(lang))),
        );
    }
    root
}

fn flag(name: &'static str, short: char, action: ArgAction, doc: &'static str) -> clap::Arg {
    clap::Arg::new(name).long(name).short(short).action(action).help(doc).display_order(1001)
}

/// The usage line of a command.
fn usage(lang: Lang, command: &super::Command) -> String {
    let mut line = format!("{}nurture {}", lang.pick("Usage: ", "用法："), command.name);
    for arg in command.args.iter().filter(|a| a.positional || a.needed) {
        let name =
            if arg.positional { arg.name.to_string() } else { format!("--{} {}", arg.name, arg.value_name) };
        let _ = write!(line, " {}", if arg.needed { name } else { format!("[{name}]") });
    }
    line + lang.pick(" [OPTIONS]", " [选项]")
}

/// What `nurture` alone says.
pub(crate) fn overview(lang: Lang) -> String {
    let mut out = say!(
        lang,
        "Nurture raises a deep model: an open base model, taught one field, on this machine.\n\n\
         Usage: nurture COMMAND …\n\nCommands:\n",
        "Nurture（养成）：取一个开放基座模型，教它一个领域，就在这台机器上。\n\n\
         用法：nurture 命令 …\n\n命令：\n"
    );
    for command in COMMANDS {
        let _ = writeln!(out, "  {:<10} {}", command.name, command.about.get(lang));
    }
    out += &say!(
        lang,
        "\nFor all commands:\n  --lang en|zh  language of all messages\n  -h, --help    help of a command\n  \
         -V, --version\n\nA first look: nurture chat smollm2-135m-instruct\nHelp of one command: nurture help chat; \
         of the recipe's keys: nurture help recipe\n",
        "\n所有命令都可用：\n  --lang en|zh  所有消息的语言\n  -h, --help    某个命令的帮助\n  -V, --version\n\n\
         先看看：nurture chat smollm2-135m-instruct\n某个命令的帮助：nurture help chat；配方各键的帮助：nurture help recipe\n"
    );
    out
}

/// The help of one command; `None` if there is no such command.
pub(crate) fn help_of(lang: Lang, name: &str) -> Option<String> {
    // built first: global arguments reach the subcommands only then
    let mut root = build(lang);
    root.build();
    Some(root.find_subcommand_mut(name)?.render_help().to_string())
}

/// Says what is wrong with a command line, in the language of the user; `of` is the command that was meant, if one was.
pub(crate) fn wrong_use(lang: Lang, of: Option<&super::Command>, error: &clap::Error) -> String {
    let get = |kind: ContextKind| match error.get(kind)? {
        ContextValue::String(s) => Some(s.clone()),
        ContextValue::Strings(s) => Some(s.join(", ")),
        _ => None,
    };
    let arg = get(ContextKind::InvalidArg).unwrap_or_default();
    // `--threads <N>`: the placeholder says nothing here
    let arg = arg.split(" <").next().unwrap_or(&arg).trim_matches(['<', '>']);
    let value = get(ContextKind::InvalidValue).unwrap_or_default();
    let mut text = match error.kind() {
        ErrorKind::InvalidValue if value.is_empty() => {
            say!(lang, "{arg} needs a value", "{arg} 需要一个值")
        }
        ErrorKind::InvalidValue => say!(lang, "{arg}: `{value}` is not known", "{arg}：不认识 `{value}`"),
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            say!(lang, "{arg}: `{value}`: {why}", "{arg}：`{value}`：{why}")
        }
        ErrorKind::UnknownArgument => say!(lang, "`{arg}` is not known here", "这里没有 `{arg}`"),
        ErrorKind::InvalidSubcommand => {
            let name = get(ContextKind::InvalidSubcommand).unwrap_or_default();
            say!(lang, "there is no command `{name}`", "没有命令 `{name}`")
        }
        ErrorKind::MissingRequiredArgument => {
            let known = of.and_then(|c| c.args.iter().find(|a| a.name == arg));
            match known.map(|a| a.doc.get(lang)) {
                Some(doc) => say!(lang, "{arg} is missing: {doc}", "缺少 {arg}：{doc}"),
                None => say!(lang, "{arg} is missing", "缺少 {arg}"),
            }
        }
        ErrorKind::ArgumentConflict => {
            say!(lang, "{arg} can be given only once", "{arg} 只能写一次")
        }
        ErrorKind::TooManyValues => {
            say!(lang, "`{value}` is one value too many for {arg}", "{arg} 多了一个值 `{value}`")
        }
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_string(),
    };
    let near = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    if let Some(near) = near.into_iter().find_map(get).filter(|n| !n.is_empty()) {
        text += &say!(lang, "; did you mean {near}?", "；是否指 {near}？");
    } else if let Some(known) = get(ContextKind::ValidValue) {
        text += &say!(lang, "; it can be: {known}", "；可以是：{known}");
    }
    text
}

/// The values given to one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a>(pub(crate) &'a ArgMatches);

impl<'a> Args<'a> {
    /// A text or word.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get_one::<String>(name).map(String::as_str)
    }

    /// All texts of an argument that may be there several times.
    pub(crate) fn texts(self, name: &str) -> Vec<String> {
        self.0.get_many::<String>(name).into_iter().flatten().cloned().collect()
    }

    /// A whole number.
    pub(crate) fn count(self, name: &str) -> Option<usize> {
        self.0.get_one::<u64>(name).map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// A number.
    pub(crate) fn number(self, name: &str) -> Option<f64> {
        self.0.get_one::<f64>(name).copied()
    }

    /// Whether a switch is there.
    pub(crate) fn switch(self, name: &str) -> bool {
        self.0.get_flag(name)
    }
}
