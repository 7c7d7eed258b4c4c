//! `nurture quantize`: a model as a GGUF file of another type.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use nurture::engine::{LoadOptions, Model};
use nurture::export::{Written, quantise, write_model};
use nurture::formats::{ModelFile, TensorSource};
use nurture::kernels::Pool;
use nurture::lang::Text;
use nurture::quantise::Mix;
use nurture::say;

use super::args::{Arg, Args};
use super::output::size;
use super::{Cli, Command, Exit, WrongUse, models};

/// `--type`
pub(crate) const TYPE: Arg = Arg::word(
    "type",
    "TYPE",
    &["q8_0", "q4_0", "q4_1", "q4_k_m", "q5_k_m", "q6_k", "f16", "bf16", "f32"],
    Text::new(
        "Type of the file: q8_0, q4_0, q4_1, q4_k_m, q5_k_m, q6_k, f16, bf16, f32",
        "文件类型：q8_0、q4_0、q4_1、q4_k_m、q5_k_m、q6_k、f16、bf16、f32",
    ),
);
/// `--force`
pub(crate) const FORCE: Arg = Arg::switch("force", Text::new("Replace what is there", "替换已有的文件"));

pub(crate) const COMMAND: Command = Command {
    name: "quantize",
    about: Text::new("Store a model in fewer bits, as a GGUF file", "用更少的位数保存模型（GGUF 文件）"),
    more: Text::new(
        "The mixes of types are llama.cpp's; rows that are not whole blocks of 256 take blocks of 32.\n\
         Start from F32, F16 or BF16 where you can: what an earlier quantisation lost does not come back.\n\
         Examples:\n  nurture quantize Qwen3-0.6B --type q4_k_m qwen3.gguf\n  nurture quantize model-f16.gguf --type q8_0 model-q8.gguf",
        "各类型的混合方式与 llama.cpp 相同；行长不是 256 的整倍数时改用 32 一块的类型。\n\
         请尽量从 F32、F16 或 BF16 开始：之前量化丢掉的找不回来。\n\
         例：\n  nurture quantize Qwen3-0.6B --type q4_k_m qwen3.gguf\n  nurture quantize model-f16.gguf --type q8_0 model-q8.gguf",
    ),
    args: &[
        models::MODEL.needed(),
        Arg::place("OUT", Text::new("The file to write, *.gguf", "要写的文件，*.gguf")).needed(),
        TYPE.needed(),
        FORCE,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let mix = mix(args)?;
    let out = Path::new(args.text("OUT").unwrap_or_default());
    let located = models::locate(cli, args.text("MODEL").unwrap_or_default())?;
    free(cli, args, out, &located.path)?;
    let threads = models::threads(args.count("threads").unwrap_or(0));
    let begin = Instant::now();
    let file = ModelFile::open(&located.path)?;
    let from: u64 = file.tensors().iter().map(|t| t.bytes).sum();
    let written = match &file {
        ModelFile::Gguf(file) => quantise(&Pool::new(threads), file, mix, out)?,
        ModelFile::Hf(_) => {
            let template = args.text("template").map(String::from);
            let options = LoadOptions { threads, template, ..LoadOptions::default() };
            write_model(&Model::load(&located.path, &options)?, None, mix, out)?
        }
    };
    if written.requantised > 0 {
        let n = written.requantised;
        cli.out.warn(&say!(
            lang,
            "{n} tensors were quantised already and lost twice; start from F32, F16 or BF16 where you can",
            "{n} 个张量本已量化，会损失两次；请尽量从 F32、F16 或 BF16 开始"
        ));
    }
    report(cli, out, &written, Some(from), begin.elapsed().as_secs_f64());
    Ok(Exit::Done)
}

/// The type that was asked for.
pub(crate) fn mix(args: Args<'_>) -> anyhow::Result<Mix> {
    args.text("type").unwrap_or("q8_0").parse().map_err(|e: String| WrongUse(e).into())
}

/// Nothing of the user's is overwritten unasked, and never the source.
pub(crate) fn free(cli: &Cli, args: Args<'_>, out: &Path, source: &Path) -> anyhow::Result<()> {
    let shown = out.display();
    let same = out.canonicalize().ok().is_some_and(|o| source.canonicalize().is_ok_and(|s| s == o));
    if same {
        bail!(say!(cli.lang, "{shown} is the model itself", "{shown} 就是原模型"));
    }
    if out.exists() && !args.switch("force") {
        bail!(say!(
            cli.lang,
            "{shown} is there already; give another name, or --force",
            "{shown} 已存在；请换个名字，或用 --force"
        ));
    }
    if let Some(dir) = out.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

/// One line of what was written.
pub(crate) fn report(cli: &Cli, out: &Path, written: &Written, from: Option<u64>, seconds: f64) {
    let types: Vec<String> = written.types.iter().map(|(t, n)| format!("{t} ×{n}")).collect();
    let (path, bytes, types) = (out.display(), size(written.bytes), types.join(", "));
    let from = from.map_or_else(String::new, |f| format!("{} → ", size(f)));
    let error = written.error * 100.0;
    cli.out.line(&say!(
        cli.lang,
        "{path}: {from}{bytes} in {seconds:.1} s; {types}; weights changed by {error:.3} % (root mean square)",
        "{path}：{from}{bytes}，{seconds:.1} 秒；{types}；权重改变 {error:.3} %（均方根）"
    ));
}
