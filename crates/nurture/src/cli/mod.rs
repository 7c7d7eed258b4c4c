//! The command line: the only part that prints, reads the environment or exits.
//!
//! [`COMMANDS`] is the one table: a command is a file with a `COMMAND`, one line here, and nothing else.
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use, 3 the verdict is
//! negative, 130 stopped by Ctrl-C.

mod args;
mod bench;
mod chat;
mod data;
mod doctor;
mod embed;
mod export;
mod generate;
mod help;
mod interrupt;
mod keys;
mod list;
mod models;
mod output;
mod prepare;
mod pull;
mod quantize;
mod report;
mod run;
mod serve;
mod show;
mod store;
#[cfg(test)]
mod tests;
mod translate;
mod watch;

use std::process::ExitCode;

use nurture::hub::{PullOptions, Store, default_root};
use nurture::lang::{Lang, Text};
use nurture::say;

use args::{Arg, Args};
use interrupt::Interrupt;
use output::Output;

/// One command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// one line
    pub(crate) about: Text,
    /// what its help says below the options; may be empty
    pub(crate) more: Text,
    pub(crate) args: &'static [Arg],
    pub(crate) run: fn(&Cli, Args<'_>) -> anyhow::Result<Exit>,
}

/// All commands, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    run::RUN,
    prepare::COMMAND,
    run::TRAIN,
    run::EVAL,
    report::COMMAND,
    watch::COMMAND,
    chat::COMMAND,
    generate::COMMAND,
    serve::COMMAND,
    keys::COMMAND,
    store::COMMAND,
    data::COMMAND,
    embed::COMMAND,
    translate::COMMAND,
    export::COMMAND,
    quantize::COMMAND,
    pull::COMMAND,
    list::COMMAND,
    show::COMMAND,
    bench::COMMAND,
    doctor::COMMAND,
    help::COMMAND,
];

/// How a command ends when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It is done, and the answer is no.
    Negative,
    /// Ctrl-C stopped it.
    Interrupted,
}

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Cli {
    pub(crate) lang: Lang,
    pub(crate) out: Output,
    pub(crate) interrupt: Interrupt,
}

impl Cli {
    /// The store of models and data.
    ///
    /// # Errors
    /// No variable says where it could lie.
    pub(crate) fn store(&self) -> anyhow::Result<Store> {
        let root = default_root(env).ok_or_else(|| {
            anyhow::anyhow!(self.lang.pick(
                "no folder for models and data: set NURTURE_HOME (or HOME)",
                "没有存放模型和数据的目录：请设置 NURTURE_HOME（或 HOME）",
            ))
        })?;
        Ok(Store::new(std::path::absolute(root)?))
    }

    /// The settings of pulls, which Ctrl-C cancels.
    pub(crate) fn pull_options(&self) -> PullOptions {
        PullOptions { cancel: Some(self.interrupt.flag()), ..PullOptions::from_env(env) }
    }
}

/// A variable of the environment, if it is text.
pub(crate) fn env(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Wrong use found after parsing: exit code 2.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) String);

impl std::fmt::Display for WrongUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let lang = language(&words);
    let out = Output::new(lang, env("NO_COLOR").is_some_and(|v| !v.is_empty()));
    report_panics(lang);
    interrupt::block_file_size_signal();
    let code = std::panic::catch_unwind(|| run(words, lang, out));
    ExitCode::from(code.unwrap_or(1))
}

fn run(words: Vec<std::ffi::OsString>, lang: Lang, out: Output) -> u8 {
    let meant = words.iter().skip(1).find_map(|w| COMMANDS.iter().find(|c| w.to_str() == Some(c.name)));
    let matches = match args::build(lang).try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(e) if !e.use_stderr() => {
            out.piece(&e.to_string());
            return 0;
        }
        Err(e) => {
            // a command's name behind a word that is none is not what is meant
            let meant = meant.filter(|_| e.kind() != clap::error::ErrorKind::InvalidSubcommand);
            out.error(&anyhow::Error::new(WrongUse(args::wrong_use(lang, meant, &e))));
            out.note(&match meant.map(|c| c.name) {
                Some(name) => say!(lang, "See `nurture {name} --help`.", "请看 `nurture {name} --help`。"),
                None => lang
                    .pick(
                        "See `nurture help` or `nurture COMMAND --help`.",
                        "请看 `nurture help` 或 `nurture 命令 --help`。",
                    )
                    .to_string(),
            });
            return 2;
        }
    };
    let Some((name, matches)) = matches.subcommand() else {
        out.piece(&args::overview(lang));
        return 0;
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else { return 2 };
    let cli = Cli { lang, out, interrupt: Interrupt::install() };
    match (command.run)(&cli, Args(matches)) {
        Ok(Exit::Done) => 0,
        Ok(Exit::Negative) => 3,
        Ok(Exit::Interrupted) => interrupt::EXIT_CODE,
        Err(e) if e.is::<nurture::pipeline::Stopped>() => {
            out.note(
                lang.pick("stopped; the same command goes on from here", "已停下；再次运行同一命令即可继续"),
            );
            interrupt::EXIT_CODE
        }
        Err(e) if e.downcast_ref::<nurture::hub::HubError>().is_some_and(cancelled) => {
            out.note(&nurture::messages::lines(lang, &e).join("\n"));
            interrupt::EXIT_CODE
        }
        Err(e) => {
            out.error(&e);
            if e.is::<WrongUse>() { 2 } else { 1 }
        }
    }
}

fn cancelled(error: &nurture::hub::HubError) -> bool {
    matches!(error, nurture::hub::HubError::Cancelled)
}

/// `--lang` before anything is parsed, because parsing already speaks; else the locale.
fn language(words: &[std::ffi::OsString]) -> Lang {
    let mut words = words.iter().filter_map(|w| w.to_str()).take_while(|w| *w != "--");
    let mut flag = None;
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix("--lang=") {
            flag = Some(value);
        } else if word == "--lang" {
            flag = words.next();
        }
    }
    let locales = ["LC_ALL", "LC_MESSAGES", "LANG"].map(env);
    Lang::choose(flag, &locales.each_ref().map(Option::as_deref))
}

/// A panic is our mistake: it is said in one line, once, however many threads it takes along.
fn report_panics(lang: Lang) {
    static SAID: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |info| {
        if SAID.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        let what = info.payload_as_str().unwrap_or("panic");
        let place = info.location().map_or_else(String::new, |l| format!(" ({}:{})", l.file(), l.line()));
        let version = env!("CARGO_PKG_VERSION");
        let text = say!(
            lang,
            "error: this is a bug in Nurture {version}, please report it: {what}{place}",
            "错误：这是 Nurture {version} 自身的缺陷，请报告：{what}{place}"
        );
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{text}");
    }));
}
