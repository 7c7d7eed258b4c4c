//! `nurture watch`: a run as it goes on, from the files in its folder. It only reads, from any terminal, at any time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nurture::lang::{Lang, Text};
use nurture::pipeline::{SAMPLES, Sample, read_samples};
use nurture::say;
use nurture::train::{FORECAST, Forecast, METRICS, RewardMetrics, StepMetrics, read_metrics};

use super::args::{Arg, Args};
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "watch",
    about: Text::new(
        "Watch a run: loss, rate, speed, memory, time left",
        "观看一次运行：损失、学习率、速度、内存、剩余时间",
    ),
    more: Text::new(
        "It reads metrics.jsonl in the run's folder and ends when the training does. The same curve lies in the folder\n\
         `tensorboard` for boards that read event files. On a pipe, and with --once, it prints the state once.",
        "它读取运行目录里的 metrics.jsonl，训练结束它也结束。同样的曲线放在目录 `tensorboard` 里，\n\
         可用读取事件文件的面板查看。输出到管道或加 --once 时只打印一次当前状态。",
    ),
    args: &[
        Arg::place("RUN", Text::new("folder of a run", "运行的目录")).needed(),
        Arg::switch("once", Text::new("print the state once", "只打印一次当前状态")),
    ],
    run,
};

/// Steps whose mean is shown: one step's loss says little.
const RECENT: usize = 20;
/// Without a new step for so many times the usual one (and at least this long), the run counts as standing still.
const STILL: (f64, f64) = (10.0, 60.0);

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let folder = PathBuf::from(args.text("RUN").unwrap_or_default());
    if !folder.join("recipe.lock.toml").exists() && !folder.join(METRICS).exists() {
        let folder = folder.display();
        anyhow::bail!(say!(
            cli.lang,
            "{folder}: no run lies here (neither recipe.lock.toml nor {METRICS}); a run's folder is runs/NAME",
            "{folder}：这里没有运行（没有 recipe.lock.toml，也没有 {METRICS}）；运行目录是 runs/名称"
        ));
    }
    let live = cli.out.stdout_tty && !args.switch("once");
    let _working = cli.interrupt.working();
    loop {
        let state = State::read(&folder)?;
        let text = state.page(cli.lang, width());
        if live {
            // home, the page, and clear what an earlier page left behind
            let lines = text.replace('\n', "\u{1b}[K\n");
            cli.out.piece(&format!("\u{1b}[H{lines}\u{1b}[J"));
        } else {
            cli.out.piece(&text);
        }
        if !live || state.finished() {
            return Ok(Exit::Done);
        }
        for _ in 0..10 {
            if cli.interrupt.raised() {
                return Ok(Exit::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Columns of the curve.
fn width() -> usize {
    super::env("COLUMNS").and_then(|c| c.parse().ok()).unwrap_or(80usize).clamp(40, 160)
}

/// What the folder tells.
struct State {
    folder: PathBuf,
    steps: Vec<StepMetrics>,
    forecast: Option<Forecast>,
    /// answers of the last round
    samples: Vec<Sample>,
    /// seconds since the metrics last grew
    quiet: f64,
    /// stages that come after this one
    more: usize,
}

/// Further stages that a run's recipe has.
fn later(run: &Path) -> usize {
    let text = std::fs::read_to_string(run.join("recipe.lock.toml")).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table.get("then").and_then(|t| t.as_array()).map_or(0, Vec::len)
}

impl State {
    fn read(run: &Path) -> anyhow::Result<State> {
        // of several stages the last that has steps
        let stages = nurture::recipe::stage_dirs(run);
        let at = stages.iter().rposition(|s| s.join(METRICS).is_file());
        let folder = at.and_then(|at| stages.get(at)).map_or(run, |s| s.as_path());
        let more = at.map_or(0, |at| later(run).saturating_sub(at));
        let metrics = folder.join(METRICS);
        let quiet = std::fs::metadata(&metrics)
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| SystemTime::now().duration_since(t).ok())
            .map_or(0.0, |d| d.as_secs_f64());
        let forecast =
            std::fs::read(folder.join(FORECAST)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut samples = read_samples(&folder.join(SAMPLES))?;
        let newest = samples.last().map_or(0, |s| s.step);
        samples.retain(|s| s.step == newest);
        let (folder, steps) = (folder.to_path_buf(), read_metrics(&metrics)?);
        Ok(State { folder, steps, forecast, samples, quiet, more })
    }

    fn finished(&self) -> bool {
        self.more == 0 && self.steps.last().is_some_and(|m| m.step >= m.total_steps)
    }

    fn page(&self, lang: Lang, width: usize) -> String {
        let mut out = format!("{}\n\n", self.folder.display());
        let Some(last) = self.steps.last() else {
            out += lang
                .pick("no training step yet (the base is examined first)\n", "还没有训练步（先考基座）\n");
            return out;
        };
        let recent = &self.steps[self.steps.len().saturating_sub(RECENT)..];
        let mean = |f: &dyn Fn(&StepMetrics) -> f64| recent.iter().map(f).sum::<f64>() / recent.len() as f64;
        let (step, all) = (last.step, last.total_steps);
        let bar = 30;
        let full = (bar as u64 * step / all.max(1)) as usize;
        let _ =
            writeln!(out, "[{}{}] {step}/{all}", "=".repeat(full.min(bar)), " ".repeat(bar - full.min(bar)));
        let seconds = mean(&|m| m.seconds);
        let practises = last.rewards.is_some();
        let rewards = |f: &dyn Fn(&RewardMetrics) -> f64| {
            practises.then(|| format!("{:.3}", mean(&|m| m.rewards.as_ref().map_or(0.0, f))))
        };
        let rows: Vec<(&str, String)> = [
            (lang.pick("loss", "损失"), Some(format!("{:.4}", mean(&|m| m.loss))).filter(|_| !practises)),
            (lang.pick("reward", "奖励"), rewards(&|r| r.reward)),
            (lang.pick("strict", "严格分"), rewards(&|r| r.strict)),
            (lang.pick("lenient", "宽松分"), rewards(&|r| r.lenient)),
            (lang.pick("answer tokens", "每答词元"), rewards(&|r| r.length)),
            (lang.pick("entropy", "熵"), rewards(&|r| r.entropy)),
            (
                lang.pick("divergence", "与基座的散度"),
                last.keep.map(|_| format!("{:.4}", mean(&|m| m.keep.unwrap_or(0.0)))),
            ),
            (lang.pick("rate", "学习率"), Some(format!("{:.2e}", last.rate))),
            (lang.pick("gradient", "梯度范数"), Some(format!("{:.3}", mean(&|m| m.grad_norm)))),
            (lang.pick("speed", "速度"), Some(self.speed(lang, recent))),
            (lang.pick("arithmetic", "算力"), self.arithmetic(lang, recent)),
            (lang.pick("memory", "内存"), last.rss_bytes.map(|b| self.memory(lang, b))),
            (
                lang.pick("left", "剩余"),
                Some(if self.finished() {
                    lang.pick("done", "完成").to_string()
                } else {
                    super::run::minutes(seconds * (all - step) as f64)
                }),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        for (name, value) in rows {
            let pad = 14usize.saturating_sub(name.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum());
            let _ = writeln!(out, "{name}{}{value}", " ".repeat(pad));
        }
        let (title, values): (_, Vec<f64>) = match practises {
            true => {
                let rewards = self.steps.iter().filter_map(|m| m.rewards.map(|r| r.reward));
                (lang.pick("reward so far", "至今的奖励"), rewards.collect())
            }
            false => (lang.pick("loss so far", "至今的损失"), self.steps.iter().map(|m| m.loss).collect()),
        };
        let _ = writeln!(out, "\n{title}\n{}", curve(&values, width));
        for Sample { step, prompt, text } in &self.samples {
            let one = |text: &str| -> String {
                let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
                flat.chars().take(2 * width).collect()
            };
            let (prompt, text) = (one(prompt), one(text));
            let head = say!(lang, "after step {step}", "第 {step} 步之后");
            let _ = writeln!(out, "\n{head}  {prompt}\n  → {text}");
        }
        if last.diverging {
            out += lang.pick(
                "\nThe loss climbs: a lower train.rate would help.\n",
                "\n损失在上升：调低 train.rate 会有帮助。\n",
            );
        }
        if !self.finished() && self.quiet > (STILL.0 * seconds).max(STILL.1) {
            let _ = writeln!(
                out,
                "\n{}",
                say!(
                    lang,
                    "No new step for {:.0} s: stopped or killed? The same command goes on where it was.",
                    "已 {:.0} 秒没有新的一步：停了还是被杀了？用同一条命令可从原处继续。",
                    self.quiet
                )
            );
        }
        out
    }

    fn speed(&self, lang: Lang, recent: &[StepMetrics]) -> String {
        let seconds: f64 = recent.iter().map(|m| m.seconds).sum();
        let tokens: u64 = recent.iter().map(|m| m.tokens).sum();
        let now = tokens as f64 / seconds.max(1e-9);
        let expected = self.forecast.as_ref().and_then(|f| Some(f.tokens as f64 / f.seconds?));
        match expected {
            Some(expected) => say!(
                lang,
                "{now:.0} tokens/s ({:.0} % of the forecast)",
                "{now:.0} 词元/秒（预测的 {:.0}%）",
                100.0 * now / expected
            ),
            None => say!(lang, "{now:.0} tokens/s", "{now:.0} 词元/秒"),
        }
    }

    /// Useful operations a second, against what the machine's multiply-adds reach.
    fn arithmetic(&self, lang: Lang, recent: &[StepMetrics]) -> Option<String> {
        let f = self.forecast.as_ref()?;
        let seconds: f64 = recent.iter().map(|m| m.seconds).sum();
        let computed: u64 = recent.iter().map(|m| m.computed_tokens).sum();
        let rate = f.flop / f.computed_tokens.max(1) as f64 * computed as f64 * 1e-9 / seconds.max(1e-9);
        let share = 100.0 * rate / f.ceiling?;
        Some(say!(
            lang,
            "{rate:.0} GFLOP/s ({share:.0} % of the machine's {:.0})",
            "{rate:.0} GFLOP/s（本机上限 {:.0} 的 {share:.0}%）",
            f.ceiling?
        ))
    }

    fn memory(&self, lang: Lang, now: u64) -> String {
        let now = now as f64 / 1e9;
        match self.forecast.as_ref().map(|f| f.memory_bytes as f64 / 1e9) {
            Some(peak) => {
                say!(lang, "{now:.2} GB (forecast peak {peak:.2})", "{now:.2} GB（预测峰值 {peak:.2}）")
            }
            None => format!("{now:.2} GB"),
        }
    }
}

/// A curve in one line of eight heights: the mean of each column's steps, between the lowest and the highest.
fn curve(values: &[f64], width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = width.min(values.len()).max(1);
    let means: Vec<f64> = (0..columns)
        .map(|c| {
            let part = &values
                [c * values.len() / columns..((c + 1) * values.len() / columns).max(c + 1).min(values.len())];
            part.iter().sum::<f64>() / part.len().max(1) as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let line: String = means
        .iter()
        .map(|m| HEIGHTS[(((m - low) / (high - low).max(1e-12)) * 7.0).round().clamp(0.0, 7.0) as usize])
        .collect();
    format!("{line}  {low:.3} … {high:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_falls() {
        let values: Vec<f64> = (0..100).map(|i| 10.0 - 0.1 * f64::from(i)).collect();
        let line = curve(&values, 8);
        assert!(line.starts_with("█▇▆▅▄▃▂▁"), "{line}");
        assert!(curve(&[1.0], 8).starts_with('▁'));
    }

    #[test]
    fn a_run_without_steps_says_so() {
        let state = State {
            folder: "runs/x".into(),
            steps: Vec::new(),
            forecast: None,
            samples: Vec::new(),
            quiet: 0.0,
            more: 0,
        };
        assert!(state.page(Lang::En, 80).contains("no training step yet"));
        assert!(!state.finished());
    }
}
