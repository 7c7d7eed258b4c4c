//! `nurture pull`, and the view of a pull for every command that needs a model.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nurture::hub::{self, Progress, Pulled};
use nurture::lang::Text;
use nurture::{messages, say};

use super::args::{Arg, Args};
use super::output::{Output, size};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "pull",
    about: Text::new("Bring a model or data set into the store", "把模型或数据集取到本机仓库"),
    more: Text::new(
        "Sources are tried in the catalogue's order; what arrived is kept when a pull is stopped.\n\
         Examples:\n  nurture pull smollm2-135m-instruct\n  nurture pull owner/repo:Q4_K_M\n  \
         nurture pull modelscope:owner/repo/file.gguf",
        "按目录里的顺序依次尝试各个来源；中途停下时已到的部分会保留。\n\
         例：\n  nurture pull smollm2-135m-instruct\n  nurture pull owner/repo:Q4_K_M\n  \
         nurture pull modelscope:owner/repo/file.gguf",
    ),
    args: &[
        Arg::place(
            "NAME",
            Text::new(
                "A name of `nurture list`, or a hub id: owner/repo/file.gguf, owner/repo:Q4_K_M",
                "`nurture list` 里的名字，或 hub 标识：owner/repo/file.gguf、owner/repo:Q4_K_M",
            ),
        )
        .needed(),
        Arg::switch(
            "verify",
            Text::new(
                "Hash what is already here instead of trusting its length",
                "对已有文件重新计算哈希，而不只看长度",
            ),
        ),
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let name = args.text("NAME").unwrap_or_default();
    let pulled = bring(cli, name, args.switch("verify"))?;
    let (bytes, source) = (size(pulled.bytes), &pulled.source);
    cli.out.note(&if pulled.already {
        say!(cli.lang, "already here: {bytes}, from {source}", "本机已有：{bytes}，来自 {source}")
    } else {
        say!(cli.lang, "done: {bytes}, from {source}", "完成：{bytes}，来自 {source}")
    });
    cli.out.note(&format!("sha256 {}", pulled.sha256));
    cli.out.line(&pulled.path.display().to_string());
    Ok(Exit::Done)
}

/// Pulls what `name` means and shows the steps.
///
/// # Errors
/// See [`hub::pull`].
pub(crate) fn bring(cli: &Cli, name: &str, verify: bool) -> anyhow::Result<Pulled> {
    let options = hub::PullOptions { verify, ..cli.pull_options() };
    let store = cli.store()?;
    let mut view = View::new(cli.out);
    let _working = cli.interrupt.working();
    let pulled = hub::pull(name, &store, &options, &mut |step| view.show(&step));
    view.end();
    Ok(pulled?)
}

/// sha256 of a file, shown while it takes long.
///
/// # Errors
/// An unreadable file.
pub(crate) fn sha256(cli: &Cli, path: &std::path::Path) -> anyhow::Result<String> {
    let mut view = View::new(cli.out);
    let _working = cli.interrupt.working();
    let sha = cli.store()?.sha256_of(path, &cli.pull_options(), &mut |step| view.show(&step));
    view.end();
    Ok(sha?)
}

/// A bar on a terminal; elsewhere a line every few seconds.
pub(crate) struct View {
    out: Output,
    bar: Option<ProgressBar>,
    /// what the bar counts: bytes that arrive, or bytes that are hashed
    counts: &'static str,
    said: Instant,
}

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

impl View {
    pub(crate) fn new(out: Output) -> View {
        View { out, bar: None, counts: "", said: Instant::now() }
    }

    pub(crate) fn show(&mut self, step: &Progress<'_>) {
        let lang = self.out.lang;
        match step {
            Progress::Bytes { done, total } => {
                self.count(lang.pick("pulling", "正在取"), *done, *total);
            }
            Progress::Hashing { done, total } => {
                self.count(lang.pick("checking", "正在校验"), *done, Some(*total));
            }
            Progress::Licence { entry } => {
                let licence = &entry.licence;
                self.line(&say!(lang, "licence: {licence}", "许可：{licence}"));
                if let Some(notice) = &entry.notice {
                    self.line(lang.pick(&notice.en, &notice.zh));
                }
            }
            Progress::Waiting => self.line(lang.pick(
                "another process pulls the same file; waiting for it …",
                "另一个进程正在取同一个文件；等它完成……",
            )),
            Progress::Trying { source } => self.line(&say!(lang, "trying {source}", "尝试 {source}")),
            Progress::Resuming { from } => {
                let from = size(*from);
                self.line(&say!(lang, "going on from {from}", "从 {from} 处继续"));
            }
            Progress::Retrying { reason } => {
                self.line(&say!(lang, "broke off ({reason}); trying again", "中断（{reason}）；重试"));
            }
            Progress::Failed { attempt } => {
                let reason = messages::attempt(lang, attempt);
                self.line(&say!(lang, "  failed: {reason}", "  失败：{reason}"));
            }
            Progress::Repaired { what } => self.line(&say!(lang, "repaired: {what}", "已修复：{what}")),
            _ => {}
        }
    }

    fn line(&mut self, text: &str) {
        self.end();
        self.out.note(text);
    }

    fn count(&mut self, what: &'static str, done: u64, total: Option<u64>) {
        if self.out.stderr_tty {
            if self.counts != what {
                self.end();
                self.counts = what;
            }
            let bar = self.bar.get_or_insert_with(|| bar(total));
            bar.set_message(what);
            bar.set_position(done);
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let of =
                total.map(|t| format!(" / {} ({:.0} %)", size(t), 100.0 * done as f64 / t.max(1) as f64));
            self.out.note(&format!("{what} {}{}", size(done), of.unwrap_or_default()));
        }
    }

    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let style = match total {
        Some(_) => "{msg} {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
