//! `nurture export`: what was raised, for other people's tools.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use nurture::engine::{self, LoadOptions, Model};
use nurture::export::{
    Card, ConfigDialect, HfOptions, Parity, Written, card, compare, peft_config, reference, write_gguf_lora,
    write_hf, write_model,
};
use nurture::formats::{load_adapter, save_adapter, save_folder, write_atomic};
use nurture::lang::{Lang, Text};
use nurture::model::Adapter;
use nurture::{network, say};
use serde_json::{Value, json};

use super::args::{Arg, Args};
use super::models::Opened;
use super::output::size;
use super::{Cli, Command, Exit, WrongUse, models, quantize};

pub(crate) const COMMAND: Command = Command {
    name: "export",
    about: Text::new("Write what was raised for other tools", "把养成的模型导出给其他工具"),
    more: Text::new(
        "peft       adapter folder for peft\nhf         merged Hugging Face folder (--type f32, f16, bf16; --dialect; --shard)\n\
         gguf       merged GGUF file in any --type\ngguf-lora  GGUF adapter, to be used beside the base's own file\n\
         ollama     merged GGUF with a Modelfile\nOUT is a folder; a model card (README.md) is always written.\n\
         --verify reads back what was written and compares it with the trainer.\n\
         Examples:\n  nurture export runs/quickstart --to gguf --type q8_0 --verify out/quickstart\n  \
         nurture export runs/quickstart --to hf --type bf16 --dialect v5 out/hf",
        "peft       peft 的适配器目录\nhf         合并后的 Hugging Face 目录（--type f32、f16、bf16；--dialect；--shard）\n\
         gguf       合并后的 GGUF 文件，任意 --type\ngguf-lora  GGUF 适配器，与基座文件一起使用\n\
         ollama     合并后的 GGUF 与 Modelfile\nOUT 是目录；总会写出模型说明卡（README.md）。\n\
         --verify 从磁盘读回并与训练器比较。\n\
         例：\n  nurture export runs/quickstart --to gguf --type q8_0 --verify out/quickstart\n  \
         nurture export runs/quickstart --to hf --type bf16 --dialect v5 out/hf",
    ),
    args: &[
        models::MODEL.needed(),
        Arg::place("OUT", Text::new("The folder to write", "要写的目录")).needed(),
        Arg::word(
            "to",
            "FORM",
            &["peft", "hf", "gguf", "gguf-lora", "ollama"],
            Text::new(
                "The form: peft, hf, gguf, gguf-lora, ollama",
                "形式：peft、hf、gguf、gguf-lora、ollama",
            ),
        )
        .needed(),
        models::ADAPTER,
        quantize::TYPE,
        Arg::word(
            "dialect",
            "V",
            &["v4", "v5"],
            Text::new(
                "Words of config.json: transformers v4 (default) or v5",
                "config.json 的写法：transformers v4（默认）或 v5",
            ),
        ),
        Arg::number(
            "shard",
            0.001,
            f64::INFINITY,
            Text::new(
                "Most gigabytes of a file of an hf folder (5)",
                "hf 目录中单个权重文件的上限（GB，默认 5）",
            ),
        ),
        Arg::switch(
            "verify",
            Text::new("Read back and compare with the trainer", "从磁盘读回并与训练器比较"),
        ),
        quantize::FORCE,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

/// Files that an earlier export may have left in OUT.
const KNOWN: [&str; 15] = [
    "README.md",
    "verify.json",
    "model.gguf",
    "adapter.gguf",
    "Modelfile",
    "adapter_config.json",
    "adapter_model.safetensors",
    "nurture.json",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
];

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let to = args.text("to").unwrap_or_default();
    let out = Path::new(args.text("OUT").unwrap_or_default());
    let merged = matches!(to, "hf" | "gguf" | "ollama");
    let opened = models::open(cli, args)?;
    if !merged && opened.adapter.is_none() {
        return Err(WrongUse(say!(
            lang,
            "--to {to} needs an adapter: the folder of a run, or a base with --adapter",
            "--to {to} 需要适配器：某次运行的目录，或基座加 --adapter"
        ))
        .into());
    }
    let own: Vec<&Path> = std::iter::once(opened.model.path()).chain(opened.adapter_dir.as_deref()).collect();
    free(lang, out, &own, args.switch("force"))?;
    let mut known: Vec<String> = KNOWN.iter().map(ToString::to_string).collect();
    if let Ok(entries) = std::fs::read_dir(out) {
        // shards of an earlier export
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        known.extend(names.filter(|n| n.starts_with("model-0") && n.ends_with(".safetensors")));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let begin = Instant::now();
    let mut made = None;
    save_folder(out, "export", &known, |dir| -> anyhow::Result<()> {
        let written = write(to, args, &opened, dir)?;
        let parity = match args.switch("verify") {
            false => None,
            true => Some(verify(to, args, &opened, dir)?),
        };
        if let Some(p) = &parity {
            let result = json!({ "form": to, "parity": p, "weights_rms_error": written.error });
            write_atomic(dir.join("verify.json"), format!("{result:#}\n").as_bytes())?;
        }
        let text = card(&facts(to, args, &opened, out, &written, parity));
        write_atomic(dir.join("README.md"), text.as_bytes())?;
        made = Some((written, parity));
        Ok(())
    })?;
    let Some((written, parity)) = made else { return Ok(Exit::Done) };
    match written.types.is_empty() {
        false => quantize::report(cli, out, &written, None, begin.elapsed().as_secs_f64()),
        true => cli.out.line(&format!("{}: {}", out.display(), size(written.bytes))),
    }
    if let Some(p) = parity {
        let (same, all, mean, largest) = (p.same_tokens, p.tokens, p.mean, p.largest);
        let [before, after] = p.perplexity;
        cli.out.line(&say!(
            lang,
            "read back: {same} of {all} tokens as the trainer chose; log-probabilities differ by {mean:.2e} on average, {largest:.2e} at most; perplexity {before:.4} → {after:.4}",
            "读回核对：{all} 个词元中 {same} 个与训练器相同；对数概率平均相差 {mean:.2e}，最大 {largest:.2e}；困惑度 {before:.4} → {after:.4}"
        ));
        if !p.largest.is_finite() {
            bail!(say!(lang, "what was written does not compute", "写出的模型无法计算"));
        }
    }
    Ok(Exit::Done)
}

/// Sees that nothing is lost by writing the folder `out`: neither model nor adapter, which lie in `own`, nor, without
/// `force`, what something else than an export put there.
fn free(lang: Lang, out: &Path, own: &[&Path], force: bool) -> anyhow::Result<()> {
    let shown = out.display();
    // where it will lie, whether or not it is there
    let absolute = std::path::absolute(out)?;
    let real = absolute.ancestors().find_map(|there| {
        let rest = absolute.strip_prefix(there).ok()?;
        Some(there.canonicalize().ok()?.join(rest))
    });
    let real = real.unwrap_or(absolute);
    for own in own.iter().filter_map(|own| own.canonicalize().ok()) {
        if real.starts_with(&own) || own.starts_with(&real) {
            let own = own.display();
            bail!(say!(
                lang,
                "{shown} would replace what is exported ({own}); give another folder",
                "{shown} 会覆盖被导出的模型本身（{own}）；请换个目录"
            ));
        }
    }
    let mut inside = out.read_dir().into_iter().flatten();
    if inside.next().is_some() && !force && !exported(out) {
        bail!(say!(
            lang,
            "{shown} is there already and was not written by nurture export; give another folder, or --force",
            "{shown} 已存在，且不是 nurture export 写的；请换个目录，或用 --force"
        ));
    }
    Ok(())
}

/// Whether an export lies in a folder: its card says so.
fn exported(dir: &Path) -> bool {
    let card = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
    card.starts_with("---\n") && card.lines().any(|line| line == nurture::export::TAGS)
}

fn write(to: &str, args: Args<'_>, opened: &Opened, dir: &Path) -> anyhow::Result<Written> {
    let (model, adapter) = (&opened.model, opened.adapter.as_ref());
    let nothing = Written::default();
    let plain = |bytes| {
        let mut written = nothing.clone();
        written.bytes = bytes;
        written
    };
    Ok(match (to, adapter) {
        ("peft", Some(adapter)) => plain(peft(opened, adapter, dir)?),
        ("gguf-lora", Some(adapter)) => plain(write_gguf_lora(model, adapter, &dir.join("adapter.gguf"))?),
        ("hf", _) => {
            let mix = match args.text("type") {
                None => nurture::quantise::Mix::F32,
                Some(_) => quantize::mix(args)?,
            };
            let dialect =
                if args.text("dialect") == Some("v5") { ConfigDialect::V5 } else { ConfigDialect::V4 };
            let shard_bytes = (args.number("shard").unwrap_or(5.0) * 1e9) as u64;
            plain(write_hf(model, adapter, HfOptions { dtype: mix.dtype(), dialect, shard_bytes }, dir)?)
        }
        _ => {
            let written = write_model(model, adapter, quantize::mix(args)?, &dir.join("model.gguf"))?;
            if to == "ollama" {
                write_atomic(dir.join("Modelfile"), modelfile(opened).as_bytes())?;
            }
            written
        }
    })
}

/// PEFT's files: as they are where they were read from such, else made anew.
fn peft(opened: &Opened, adapter: &Adapter, dir: &Path) -> anyhow::Result<u64> {
    let model = &opened.model;
    let source = opened.adapter_dir.as_deref().filter(|d| d.is_dir()).map(load_adapter).transpose()?;
    let (mut config, extra) = match source {
        Some(a) => (a.config, a.extra),
        None => (peft_config(adapter, None), None),
    };
    config.base_model_name_or_path.get_or_insert_with(|| model.path().display().to_string());
    let temp = dir.join("peft");
    save_adapter(&temp, &config, &adapter.tensors(), extra.as_ref())?;
    for entry in std::fs::read_dir(&temp).with_context(|| temp.display().to_string())? {
        let entry = entry?;
        std::fs::rename(entry.path(), dir.join(entry.file_name()))?;
    }
    std::fs::remove_dir(&temp)?;
    Ok(adapter.parameters() as u64 * 4)
}

/// What Ollama needs beside the file, which carries the template itself: stop tokens, the system text, the room.
fn modelfile(opened: &Opened) -> String {
    let model = &opened.model;
    let mut out = String::from("FROM ./model.gguf\n");
    for id in model.tokenizer().stop_ids() {
        if let Some(token) = model.tokenizer().token(*id) {
            out += &format!("PARAMETER stop {}\n", Value::String(token.to_string()));
        }
    }
    out += &format!("PARAMETER num_ctx {}\n", model.decoder().config().context.min(8192));
    if let Some(system) = &opened.system {
        out += &format!("SYSTEM \"\"\"{}\"\"\"\n", system.replace("\"\"\"", "\"\"\\\""));
    }
    out
}

/// Opens what lies in `dir` and compares it with what was raised.
fn verify(to: &str, args: Args<'_>, opened: &Opened, dir: &Path) -> anyhow::Result<Parity> {
    let reference = reference(&opened.model, opened.adapter.as_ref(), opened.system.as_deref())?;
    let again: Option<PathBuf> = match to {
        "peft" => Some(dir.to_path_buf()),
        "gguf-lora" => Some(dir.join("adapter.gguf")),
        _ => None,
    };
    if let Some(adapter) = again {
        let adapter = opened.model.adapter(&adapter)?;
        return compare(&reference, &opened.model, Some(&adapter));
    }
    let path = if to == "hf" { dir.to_path_buf() } else { dir.join("model.gguf") };
    let threads = args.count("threads").unwrap_or(0);
    let today = Some(models::today());
    let model = Model::load(&path, &LoadOptions { threads, today, ..LoadOptions::default() })?;
    compare(&reference, &model, None)
}

fn facts(
    to: &str,
    args: Args<'_>,
    opened: &Opened,
    out: &Path,
    written: &Written,
    parity: Option<Parity>,
) -> Card {
    let text = args.text("MODEL").unwrap_or_default();
    let given = args.text("adapter").unwrap_or(text);
    let run = [Path::new(given).to_path_buf(), Path::new("runs").join(given)];
    // an adapter's folder lies in its run's
    let places = run.iter().flat_map(|p| [Some(p.as_path()), p.parent()]).flatten();
    let report = places.into_iter().find_map(|p| {
        let bytes = std::fs::read(p.join("report.json")).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let dir = opened.adapter_dir.clone().or_else(|| network::network_dir(Path::new(text)));
    let recorded = dir.as_deref().and_then(engine::recorded);
    let base = recorded
        .as_ref()
        .and_then(|e| e.get("base")?.get("name")?.as_str().map(String::from))
        .or_else(|| Some(opened.model.path().file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let kind = args.text("type").map(str::to_uppercase);
    let form = match to {
        "peft" => "Adapter in PEFT's format.".to_string(),
        "gguf-lora" => "Adapter in GGUF's format, to be used beside the base's own GGUF file.".to_string(),
        "hf" => format!("Merged Hugging Face folder, {}.", kind.as_deref().unwrap_or("F32")),
        "ollama" => format!("Merged GGUF file with a Modelfile, {}.", kind.as_deref().unwrap_or("Q8_0")),
        _ => format!("Merged GGUF file, {}.", kind.as_deref().unwrap_or("Q8_0")),
    };
    Card {
        name: out.file_name().map_or_else(|| "export".to_string(), |n| n.to_string_lossy().into_owned()),
        form,
        base,
        licence: opened.model.licence().map(String::from),
        report,
        parity,
        error: (!written.types.is_empty()).then_some(written.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_export_replaces_nothing_but_an_export() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["run/model", "run/adapter", "hf", "new", "old"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("hf/model.safetensors"), "weights").unwrap();
        fs::write(at("base.gguf"), "weights").unwrap();
        let (model, adapter, file) = (at("run/model"), at("run/adapter"), at("base.gguf"));
        let own = [model.as_path(), adapter.as_path(), file.as_path()];
        let check = |out: &Path, own: &[&Path], force, want: &[&str]| {
            let said = free(Lang::En, out, own, force).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(said.is_empty() == want.is_empty() && want.iter().all(|w| said.contains(w)), "{said}");
        };
        // itself, by whatever name, what is in it, and what it is in
        for out in ["run/model", "run/../run/adapter", "run/model/out", "run", "base.gguf", ""] {
            check(&at(out), &own, true, &["would replace", "another folder"]);
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("run/model"), at("link")).unwrap();
            check(&at("link"), &own, true, &["would replace"]);
        }
        check(&at("run/out"), &own, false, &[]);
        check(&at("none/yet"), &own, false, &[]);
        check(&at("new"), &own, false, &[]);
        // a model that somebody else put there
        check(&at("hf"), &own, false, &["hf", "--force"]);
        check(&at("hf"), &own, true, &[]);
        fs::write(at("hf/README.md"), "# A model\n").unwrap();
        check(&at("hf"), &own, false, &["--force"]);
        let card = card(&Card { name: "old".into(), base: "b".into(), ..Card::default() });
        fs::write(at("old/README.md"), card).unwrap();
        check(&at("old"), &own, false, &[]);
        check(&at("old"), &[&at("old")], true, &["would replace"]);
    }
}
