//! `nurture run`, `train` and `eval`: a recipe, stage by stage, told as it happens.

use super::args::{Arg, Args};
use super::output::Output;
use super::pull::View;
use super::{Cli, Command, Exit, Interrupt};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use nurture::data::SourceFound;
use nurture::lang::{Lang, Text};
use nurture::messages;
use nurture::pipeline::{Context, Done, Event, Mark, Watch};
use nurture::recipe::{Derived, Loaded, Recipe};
use nurture::report::verdict;
use nurture::say;
use nurture::train::Forecast;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECIPE: Arg = Arg::place(
    "RECIPE",
    Text::new(
        "A recipe (`nurture help recipe` explains it), or a run's folder",
        "配方（见 `nurture help recipe`），或某次运行的目录",
    ),
)
.needed();
/// `--set`
pub(crate) const SET: Arg = Arg::text(
    "set",
    "KEY=VALUE",
    Text::new(
        "Override a key of the recipe, e.g. --set train.effort=normal; may be given several times",
        "改写配方里的一个键，如 --set train.effort=normal；可多次给出",
    ),
)
.many();
const RUNS: Arg =
    Arg::place("RUN", Text::new("With `compare`: the folders of the runs", "配合 `compare`：各次运行的目录"))
        .many();
const FRESH: Arg = Arg::switch(
    "fresh",
    Text::new("Throw away what an earlier run left in the folder", "丢弃之前的运行在该目录里留下的结果"),
);

/// The whole recipe.
pub(crate) const RUN: Command = Command {
    name: "run",
    about: Text::new(
        "Run a recipe: pull, examine, train, examine, report",
        "执行配方：拉取、考试、训练、再考、报告",
    ),
    more: Text::new(
        "What an earlier run of the same recipe has done is taken up; one that was stopped or killed goes on.\n\
         Exit code 3: the verdict is not what the recipe asks for.",
        "同一配方之前完成的部分会沿用；中断的运行会继续。\n退出码 3：结论没有达到配方的要求。",
    ),
    args: &[RECIPE, SET, FRESH],
    run: |cli, args| go(cli, args, true, true),
};

/// Training alone.
pub(crate) const TRAIN: Command = Command {
    name: "train",
    about: Text::new("Only the training of a recipe", "只做配方里的训练"),
    more: Text::new(
        "What an earlier run of the same recipe has done is taken up; one that was stopped or killed goes on.\n\
         It examines nothing, so there is no verdict: nurture eval RUN gives it.",
        "同一配方之前完成的部分会沿用；中断的运行会继续。\n它不考试，因此没有结论：结论由 nurture eval 运行目录 给出。",
    ),
    args: &[RECIPE, SET, FRESH],
    run: |cli, args| go(cli, args, true, false),
};

/// Examination alone.
pub(crate) const EVAL: Command = Command {
    name: "eval",
    about: Text::new(
        "Only the exams and the report of a recipe that was trained",
        "对已训练的配方只做考试和报告",
    ),
    more: Text::new(
        "What an earlier run of the same recipe has done is taken up; one that was stopped or killed goes on.\n\
         Exit code 3: the verdict is not what the recipe asks for.\n\n\
         Several runs in one report, with depth against breadth as a picture (compare.html, compare.md, compare.svg beside the first run):\n  \
         nurture eval compare runs/a runs/b",
        "同一配方之前完成的部分会沿用；中断的运行会继续。\n退出码 3：结论没有达到配方的要求。\n\n\
         把几次运行放进一份报告，深度对广度作图（compare.html、compare.md、compare.svg，写在第一次运行旁边）：\n  \
         nurture eval compare runs/a runs/b",
    ),
    args: &[RECIPE, RUNS, SET],
    run: |cli, args| match args.text("RECIPE") {
        Some("compare") => compare(cli, args),
        _ => go(cli, args, false, true),
    },
};

/// Several runs in one report.
fn compare(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let folders: Vec<PathBuf> = args.texts("RUN").into_iter().map(PathBuf::from).collect();
    let data = nurture::compare::compare(&folders)?;
    let beside = folders.first().and_then(|f| f.parent()).map(Path::to_path_buf).unwrap_or_default();
    let text = nurture::report::compared_markdown(&data, lang);
    let mut files =
        vec![("compare.html", nurture::report::compared_html(&data, lang)), ("compare.md", text.clone())];
    files.extend(nurture::report::compared_svg(&data, lang).map(|picture| ("compare.svg", picture)));
    for (name, text) in files {
        nurture::formats::write_atomic(beside.join(name), text.as_bytes())?;
    }
    cli.out.line(&text);
    let file = beside.join("compare.html");
    cli.out.note(&say!(lang, "report   {}", "报告   {}", shown(&file)));
    Ok(Exit::Done)
}

fn go(cli: &Cli, args: Args<'_>, train: bool, eval: bool) -> anyhow::Result<Exit> {
    let (began, lang) = (Instant::now(), cli.lang);
    if !train && !args.texts("RUN").is_empty() {
        anyhow::bail!(nurture::said!(
            "several runs are compared by: nurture eval compare RUN RUN…",
            "比较几次运行：nurture eval compare RUN RUN…"
        ));
    }
    let mut file = PathBuf::from(args.text("RECIPE").unwrap_or_default());
    if file.is_dir() {
        file = file.join("recipe.lock.toml");
    }
    let loaded = load(&file, &args.texts("set"))?;
    let ctx = Context {
        store: cli.store()?,
        pull: cli.pull_options(),
        lang,
        command: typed(),
        // an examination throws nothing away, and has no such switch
        fresh: train && args.switch("fresh"),
        train,
        eval,
        variable: |name| std::env::var(name).ok().filter(|v| !v.is_empty()),
    };
    let _working = cli.interrupt.working();
    let mut teller = Teller::new(cli.out, &cli.interrupt);
    let done = nurture::seeds::run(&loaded, &ctx, &mut teller);
    teller.close();
    let done = done?;
    let passed = finish(cli.out, &done);
    cli.out.note(&say!(lang, "took {}", "用时 {}", minutes(began.elapsed().as_secs_f64())));
    Ok(if passed { Exit::Done } else { Exit::Negative })
}

/// Reads a recipe as it was named here.
pub(crate) fn load(file: &Path, sets: &[String]) -> anyhow::Result<Loaded> {
    let cwd = std::env::current_dir().context("the current folder")?;
    Ok(Recipe::load(file, sets, &cwd)?)
}

/// A data file and what its columns were taken for.
pub(crate) fn source(lang: Lang, found: &SourceFound) -> String {
    let file = &found.file;
    let why = found.schema.as_ref().map(|s| messages::why(lang, &s.why)).unwrap_or_default();
    let mut text = say!(lang, "  {file}: {why}", "  {file}：{why}");
    for (document, note) in &found.notes {
        let note = messages::note(lang, note);
        text += &say!(lang, "\n    {document}: {note}", "\n    {document}：{note}");
    }
    text
}

/// The command as it was typed, fit to be typed again.
fn typed() -> String {
    let quoted = |a: String| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@".contains(c);
        if !a.is_empty() && a.chars().all(plain) { a } else { format!("'{}'", a.replace('\'', "'\\''")) }
    };
    let rest = std::env::args().skip(1).map(quoted);
    std::iter::once("nurture".to_string()).chain(rest).collect::<Vec<_>>().join(" ")
}

fn finish(out: Output, done: &Done) -> bool {
    let lang = out.lang;
    let dir = shown(&done.dir);
    out.line("");
    let Some(report) = &done.report else {
        let result = shown(&nurture::network::result_dir(&done.dir));
        match nurture::network::network_dir(&done.dir) {
            Some(_) => out.line(&say!(lang, "model: {result}/model", "模型：{result}/model")),
            None => out.line(&say!(lang, "adapter: {result}/adapter", "适配器：{result}/adapter")),
        }
        match done.dir.join("report.md").is_file() {
            true => out.line(&say!(lang, "report: {dir}/report.md", "报告：{dir}/report.md")),
            false => out.line(&say!(lang, "examine it: nurture eval {dir}", "考它：nurture eval {dir}")),
        }
        return true;
    };
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    for (i, e) in report.exams.iter().enumerate().filter(|_| !report.stages.is_empty()) {
        let mut way = vec![say!(lang, "base {}", "基座 {}", percent(e.base.accuracy))];
        way.extend(
            report.stages.iter().filter_map(|s| {
                Some(format!("{} {}", s.name, percent(s.report.exams.get(i)?.tuned.accuracy)))
            }),
        );
        out.line(&format!("{}: {}", e.name, way.join(" → ")));
    }
    let points = |x: f64| format!("{:+.1}", 100.0 * x);
    for e in &report.exams {
        let [low, high] = e.paired.ci.map(points);
        out.line(&say!(
            lang,
            "{}: base {} → tuned {} of {} items; gain {} points, 95 % interval {low} to {high}, p {}",
            "{}：基座 {} → 养成后 {}，共 {} 题；增益 {} 个百分点，95% 区间 {low} 到 {high}，p {}",
            e.name,
            percent(e.base.accuracy),
            percent(e.tuned.accuracy),
            e.items,
            points(e.paired.diff),
            small(e.paired.p),
        ));
    }
    for t in report.depth_texts.iter().chain(&report.breadth) {
        out.line(&say!(
            lang,
            "{}: perplexity {:.2} → {:.2} ({:.3} → {:.3} bits per byte)",
            "{}：困惑度 {:.2} → {:.2}（每字节 {:.3} → {:.3} 比特）",
            t.name,
            t.base_ppl,
            t.tuned_ppl,
            t.base_bpb,
            t.tuned_bpb,
        ));
    }
    out.line("");
    let kind = report.verdict.kind;
    let (word, means) = (verdict::word(kind).get(lang), verdict::meaning(kind).get(lang));
    out.line(&say!(lang, "VERDICT  {word}: {means}.", "结论  {word}：{means}。"));
    out.line("");
    out.line(&say!(
        lang,
        "report   {dir}/report.html  (also report.md)",
        "报告   {dir}/report.html（另有 report.md）"
    ));
    out.line(&say!(lang, "chat     nurture chat {dir}", "对话   nurture chat {dir}"));
    report.verdict.passed()
}

/// A p-value with its sign: `= 0.0312`, `= 3e-19`; one too small for a number is not 0.
fn small(p: f64) -> String {
    match p {
        p if p < 1e-99 => "< 1e-99".to_string(),
        p if p < 1e-4 => format!("= {p:.0e}"),
        p => format!("= {p:.4}"),
    }
}

pub(super) fn minutes(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// A path as a reader wants it: from the current folder where it lies below it.
fn shown(path: &Path) -> String {
    let cwd = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&cwd).unwrap_or(path).display().to_string()
}

/// Tells what happens: with a moving line on a terminal, in plain lines now and then on a pipe.
struct Teller<'a> {
    out: Output,
    interrupt: &'a Interrupt,
    bar: Option<ProgressBar>,
    pull: Option<View>,
    /// when a plain line was last written
    last: Option<Instant>,
    /// what the progress line is about
    about: String,
    began: Instant,
    /// steps, seconds and tokens seen, for speed and the time that is left
    seen: (u64, f64, u64),
}

impl<'a> Teller<'a> {
    fn new(out: Output, interrupt: &'a Interrupt) -> Teller<'a> {
        let began = Instant::now();
        Teller {
            out,
            interrupt,
            bar: None,
            pull: None,
            last: None,
            about: String::new(),
            began,
            seen: (0, 0.0, 0),
        }
    }

    fn close(&mut self) {
        if let Some(mut view) = self.pull.take() {
            view.end();
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.about.clear();
        self.last = None;
    }

    fn line(&mut self, text: &str) {
        self.close();
        self.out.line(text);
    }

    /// A moving bar on a terminal; on a pipe a line every 20 seconds.
    fn progress(&mut self, about: &str, done: u64, all: u64, note: &str) {
        if self.about != about {
            self.close();
            self.about = about.to_string();
            self.began = Instant::now();
            self.last = Some(Instant::now());
            if self.out.stderr_tty {
                let bar = ProgressBar::new(all);
                if let Ok(style) = ProgressStyle::with_template("  {prefix} [{bar:30}] {pos}/{len} {msg}") {
                    bar.set_style(style.progress_chars("━╸ "));
                }
                bar.set_prefix(about.to_string());
                self.bar = Some(bar);
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(note.to_string());
        } else if self.last.is_none_or(|l| l.elapsed() > Duration::from_secs(20)) {
            self.out.line(&format!("  {about} {done}/{all} {note}"));
            self.last = Some(Instant::now());
        }
    }

    fn values(&mut self, values: &[Derived]) {
        let lang = self.out.lang;
        for v in values {
            let reason = if v.given { lang.pick("(given)", "（给定）") } else { v.reason.get(lang) };
            self.line(&format!("  {:<24} {:>10}  {reason}", v.key, v.value));
        }
    }

    fn road(&mut self, r: nurture::pipeline::Road) {
        let lang = self.out.lang;
        let (stages, time, gb) = (r.stages, minutes(r.seconds), r.memory_bytes as f64 / 1e9);
        let beside = match r.practice {
            0 => String::new(),
            steps => say!(
                lang,
                "; beside it {steps} steps of practice, whose time the first of them tell",
                "；另有 {steps} 步练习，其时间由最初几步得知"
            ),
        };
        self.line(&say!(
            lang,
            "Forecast of all {stages} stages: memory {gb:.2} GB, training {time}{beside}",
            "全部 {stages} 个阶段的预测：内存 {gb:.2} GB，训练 {time}{beside}"
        ));
    }

    fn forecast(&mut self, stage: Option<&str>, f: &Forecast) {
        let lang = self.out.lang;
        let gb = f.memory_bytes as f64 / 1e9;
        let time = f.seconds.map_or_else(|| lang.pick("unknown", "未知").to_string(), minutes);
        let (steps, tokens) = (f.steps, f.tokens);
        let shared = if f.computed_tokens < tokens {
            let computed = f.computed_tokens;
            say!(
                lang,
                " ({computed} to compute: what examples share is computed once)",
                "（只需计算 {computed} 个：样本共有的开头只算一次）"
            )
        } else {
            String::new()
        };
        let of = stage.map_or_else(String::new, |name| say!(lang, " of {name}", "（{name}）"));
        let tried = f.tried.map_or_else(String::new, |t| {
            say!(
                lang,
                " if answers have about {:.0} tokens, as in a trial of {}, and the rules take no time",
                "（假定回答约 {:.0} 个词元，同试答的 {} 个一样，且规则不花时间）",
                t.length,
                t.answers
            )
        });
        self.line(&say!(
            lang,
            "Forecast{of}: {steps} steps, {tokens} tokens{shared}; memory {gb:.2} GB, training {time}{tried}",
            "预测{of}：{steps} 步，{tokens} 个词元{shared}；内存 {gb:.2} GB，训练 {time}{tried}"
        ));
    }

    fn step(&mut self, m: &nurture::train::StepMetrics) {
        let lang = self.out.lang;
        self.seen = (self.seen.0 + 1, self.seen.1 + m.seconds, self.seen.2 + m.tokens);
        let left = self.seen.1 / self.seen.0 as f64 * (m.total_steps - m.step) as f64;
        let note = match &m.rewards {
            Some(r) => say!(
                lang,
                "reward {:.3}  strict {:.3}  lenient {:.3}  {:.0} tokens an answer  {} left",
                "奖励 {:.3}  严格 {:.3}  宽松 {:.3}  每答 {:.0} 词元  还需 {}",
                r.reward,
                r.strict,
                r.lenient,
                r.length,
                minutes(left),
            ),
            None => say!(
                lang,
                "loss {:.3}  rate {:.1e}  {:.0} tok/s  {} left",
                "损失 {:.3}  学习率 {:.1e}  {:.0} 词元/秒  还需 {}",
                m.loss,
                m.rate,
                m.tok_s,
                minutes(left),
            ),
        };
        self.progress(lang.pick("step", "步"), m.step, m.total_steps, &note);
        if m.step == m.total_steps {
            self.line(&say!(
                lang,
                "  {} steps, last loss {:.3}, {:.0} tokens a second on average",
                "  共 {} 步，最后损失 {:.3}，平均每秒 {:.0} 个词元",
                m.step,
                m.loss,
                self.seen.2 as f64 / self.seen.1.max(1e-9),
            ));
            // the next stage has a pace of its own
            self.seen = (0, 0.0, 0);
        }
    }

    fn marked(&mut self, name: &str, mark: Mark) {
        let lang = self.out.lang;
        let text = match mark {
            Mark::Right(right, of) => {
                let share = 100.0 * right as f64 / of.max(1) as f64;
                say!(
                    lang,
                    "  {name}: {right} of {of} right ({share:.1} %)",
                    "  {name}：{of} 题对 {right} 题（{share:.1}%）"
                )
            }
            Mark::Score(score, of) => {
                say!(
                    lang,
                    "  {name}: mean score {score:.3} of {of} items",
                    "  {name}：{of} 题平均分 {score:.3}"
                )
            }
            Mark::Divergence(d) => say!(
                lang,
                "  {name}: {d:.4} nats a token away from the base",
                "  {name}：与基座相差每词元 {d:.4} 奈特"
            ),
            Mark::Perplexity(p) => say!(lang, "  {name}: perplexity {p:.2}", "  {name}：困惑度 {p:.2}"),
        };
        self.line(&text);
    }
}

impl Watch for Teller<'_> {
    fn event(&mut self, event: Event<'_>) {
        let lang = self.out.lang;
        match event {
            Event::Stage(said) => self.line(said.get(lang)),
            Event::Pull(p) => self.pull.get_or_insert_with(|| View::new(self.out)).show(&p),
            Event::Base(p) => {
                let sha = p.sha256.get(..12).unwrap_or_default();
                let mb = p.bytes as f64 / 1e6;
                self.line(&format!("  {} ({mb:.0} MB, sha256 {sha}…)", p.path.display()));
            }
            Event::Source(s) => self.line(&source(lang, s)),
            Event::Values(values) => self.values(values),
            Event::Forecast(f) => self.forecast(None, f),
            Event::Planned(name, f) => self.forecast(Some(name), f),
            Event::Road(road) => self.road(road),
            Event::Progress(what, done, all) => {
                let seconds = self.began.elapsed().as_secs_f64();
                let left = if done > 0 && self.about == what.get(lang) {
                    let left = seconds / done as f64 * (all - done) as f64;
                    say!(lang, "{} left", "还需 {}", minutes(left))
                } else {
                    String::new()
                };
                self.progress(what.get(lang), done as u64, all as u64, &left);
            }
            Event::Step(m) => self.step(m),
            Event::Reused(said) => self.line(&format!("  {}", said.get(lang))),
            Event::Marked(name, mark) => self.marked(name, mark),
            Event::Warning(said) => {
                self.close();
                self.out.warn(said.get(lang));
            }
            _ => {}
        }
    }

    fn stopped(&self) -> bool {
        self.interrupt.raised()
    }
    fn variable(&self, name: &str) -> Option<String> {
        super::env(name).filter(|v| !v.is_empty())
    }
}
