//! `nurture bench`: what this machine can do, and what the engine gets out of it.

mod ceilings;
mod crowd;
mod infer;
mod train;

use anyhow::bail;
use nurture::kernels::{Isa, force_isa};
use nurture::lang::Text;
use nurture::say;
use serde_json::{Map, Value, json};

use super::args::{Arg, Args};
use super::output::table;
use super::{Cli, Command, Exit, models};

pub(crate) use ceilings::measure;

pub(crate) const COMMAND: Command = Command {
    name: "bench",
    about: Text::new("Measure the machine, inference or training", "测量机器、推理或训练的速度"),
    more: Text::new(
        "Each figure is the median of repeated runs; *_min and *_max in the JSON show the spread.\n\
         Examples:\n  nurture bench ceilings\n  nurture bench infer --model smollm2-135m-instruct --json\n  \
         nurture bench infer --parallel 1,4,8,16,32 --adapters 4\n  nurture bench train --model smollm2-135m-instruct --rank 16 --batch 4 --seq 512",
        "每个数字都是多次运行的中位数；JSON 里的 *_min 与 *_max 给出波动范围。\n\
         例：\n  nurture bench ceilings\n  nurture bench infer --model smollm2-135m-instruct --json\n  \
         nurture bench infer --parallel 1,4,8,16,32 --adapters 4\n  nurture bench train --model smollm2-135m-instruct --rank 16 --batch 4 --seq 512",
    ),
    args: &[
        Arg::place(
            "WHAT",
            Text::new(
                "ceilings (the machine itself), infer, or train",
                "ceilings（机器本身）、infer（推理）或 train（训练）",
            ),
        )
        .of(&["ceilings", "infer", "train"])
        .needed(),
        Arg::text(
            "model",
            "MODEL",
            Text::new("The model (smollm2-135m-instruct)", "模型（smollm2-135m-instruct）"),
        ),
        Arg::count("prompt", 1, Text::new("infer: tokens of the prompt (512)", "infer：提示的词元数（512）")),
        Arg::count("gen", 2, Text::new("infer: tokens generated (128)", "infer：生成的词元数（128）")),
        Arg::word(
            "mode",
            "MODE",
            &["fast", "exact"],
            Text::new(
                "infer: activations as bytes, as chat uses them, or float32, as exams do (fast)",
                "infer：激活值用 8 位整数（如 chat），或 float32（如考试）（fast）",
            ),
        ),
        Arg::text(
            "parallel",
            "LIST",
            Text::new(
                "infer: sequences at once, e.g. 1,4,8,16,32, with prompts of 128 tokens and 64 new ones each",
                "infer：同时进行的序列数，如 1,4,8,16,32；每条提示 128 个词元，生成 64 个",
            ),
        ),
        Arg::count(
            "adapters",
            0,
            Text::new(
                "infer --parallel: LoRA adapters that the sequences use by turns (0)",
                "infer --parallel：各序列轮流使用的 LoRA 适配器数（0）",
            ),
        ),
        Arg::word(
            "kv",
            "TYPE",
            &["f32", "f16", "q8"],
            Text::new(
                "infer: how keys and values are stored (fast: q16, exact: f32)",
                "infer：键和值的存储类型（fast：q16，exact：f32）",
            ),
        ),
        Arg::word(
            "method",
            "METHOD",
            &["lora", "full"],
            Text::new("train: what is trained (lora)", "train：训练什么（lora）"),
        ),
        Arg::word(
            "optimiser",
            "NAME",
            &["adamw", "adamw8bit", "muon", "schedule_free"],
            Text::new("train: how gradients become steps (adamw)", "train：梯度怎样变成更新（adamw）"),
        ),
        Arg::switch(
            "recompute",
            Text::new("train: compute each layer again on the way back", "train：反向时重算每层"),
        ),
        Arg::count("rank", 1, Text::new("train: LoRA rank (16)", "train：LoRA 的秩（16）")),
        Arg::count("batch", 1, Text::new("train: sequences of a step (4)", "train：每步的序列数（4）")),
        Arg::count(
            "micro",
            1,
            Text::new("train: sequences computed at once (1)", "train：一次计算的序列数（1）"),
        ),
        Arg::count(
            "seq",
            2,
            Text::new("train: tokens of a sequence (512)", "train：每条序列的词元数（512）"),
        ),
        Arg::count(
            "repeat",
            1,
            Text::new("Runs whose median is taken (5; with --quick 2)", "取中位数的次数（5；--quick 时 2）"),
        ),
        Arg::switch("quick", Text::new("A first impression in a short time", "用较短时间得到初步印象")),
        models::THREADS,
        Arg::word(
            "isa",
            "NAME",
            &["scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx"],
            Text::new(
                "Measure as on a processor with no more than this (otherwise the best that is here)",
                "按只有这种指令集的处理器来测（否则用本机最好的）",
            ),
        ),
        Arg::switch("json", Text::new("One JSON object on stdout", "在标准输出给出一个 JSON 对象")),
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let _working = cli.interrupt.working();
    if let Some(name) = args.text("isa")
        && !Isa::named(name).is_some_and(force_isa)
    {
        bail!(say!(cli.lang, "this processor has no {name}", "本机处理器没有 {name}"));
    }
    let figures = match args.text("WHAT").unwrap_or_default() {
        "infer" if args.text("parallel").is_some() => crowd::run(cli, args)?,
        "infer" => infer::run(cli, args)?,
        "train" => train::run(cli, args)?,
        _ => ceilings::run(cli, args),
    };
    let Some(figures) = figures else { return Ok(Exit::Interrupted) };
    if args.switch("json") {
        cli.out.line(&serde_json::to_string(&figures.json())?);
    } else {
        cli.out.piece(&figures.table(cli));
    }
    Ok(Exit::Done)
}

/// How often a measurement is repeated.
fn repeats(args: Args<'_>) -> usize {
    args.count("repeat").unwrap_or(if args.switch("quick") { 2 } else { 5 })
}

/// Named results in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(String, Figure)>);

#[derive(Debug)]
enum Figure {
    Fact(Value),
    /// repeated runs and how many digits are worth showing
    Runs(Vec<f64>, usize),
}

impl Figures {
    /// Something that does not vary.
    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_string(), Figure::Fact(value.into())));
    }

    /// Repeated measurements.
    fn runs(&mut self, name: impl Into<String>, runs: Vec<f64>, digits: usize) {
        self.0.push((name.into(), Figure::Runs(runs, digits)));
    }

    /// The median of a repeated measurement.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.0.iter().find_map(|(n, figure)| match figure {
            Figure::Runs(runs, _) if n == name => Some(spread(runs).1),
            _ => None,
        })
    }

    fn json(&self) -> Value {
        let mut out = Map::new();
        for (name, figure) in &self.0 {
            match figure {
                Figure::Fact(value) => _ = out.insert(name.clone(), value.clone()),
                Figure::Runs(runs, _) => {
                    let (low, middle, high) = spread(runs);
                    out.insert(name.clone(), json!(middle));
                    out.insert(format!("{name}_min"), json!(low));
                    out.insert(format!("{name}_max"), json!(high));
                }
            }
        }
        Value::Object(out)
    }

    fn table(&self, cli: &Cli) -> String {
        let heads = [("", ""), ("median", "中位数"), ("min", "最小"), ("max", "最大")];
        let mut runs = vec![heads.map(|(en, zh)| cli.lang.pick(en, zh).to_string()).to_vec()];
        let mut facts = Vec::new();
        for (name, figure) in &self.0 {
            let name = name.clone();
            match figure {
                Figure::Fact(Value::String(text)) => facts.push(vec![name, text.clone()]),
                Figure::Fact(value) => facts.push(vec![name, value.to_string()]),
                Figure::Runs(each, digits) => {
                    let (low, middle, high) = spread(each);
                    runs.push(
                        [vec![name], [middle, low, high].map(|x| format!("{x:.digits$}")).to_vec()].concat(),
                    );
                }
            }
        }
        format!("{}\n{}", table(&facts, &[]), table(&runs, &[1, 2, 3]))
    }
}

/// Smallest, median and largest.
fn spread(runs: &[f64]) -> (f64, f64, f64) {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    let n = sorted.len();
    let middle = (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0;
    (at(0), middle, at(n.saturating_sub(1)))
}

/// Largest resident memory of this process so far, in bytes, where the system tells it.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0]), (1.0, 2.5, 4.0));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
    }
}
