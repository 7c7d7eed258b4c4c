//! A model from birth with the real binary: it learns, is found again, survives `kill -9`, and talks.

mod common;

use common::{Home, Said, finish, lines, sample, spawn, until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A home with texts, a few rows and a recipe for a very small newborn.
fn home() -> Home {
    let home = Home::bare();
    for name in ["en", "zh"] {
        let text = nurture_testing::repository("samples/keep").join(format!("{name}.txt"));
        home.write(&format!("{name}.txt"), fs::read(text).unwrap());
    }
    home.write("train.jsonl", lines(&sample("lumen-desk/train.jsonl", 60, 16)));
    home.write(
        "born.toml",
        r#"
[model.new]
text = ["en.txt", "zh.txt"]
depth = 2
width = 48
heads = 2
kv_heads = 1
ffn = 96
vocab = 800
context = 256
tokens = 100000
batch_tokens = 2000
rate = 0.01

[data]
train = ["train.jsonl"]

[train]
epochs = 1
batch = 4
checkpoint_every = 5
keep = { share = 0 }

[eval]
breadth = []
"#,
    );
    home
}

/// The only newborn of a store.
fn newborn(store: &Path) -> PathBuf {
    let all: Vec<PathBuf> =
        fs::read_dir(store.join("newborns")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn model_files(newborn: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(newborn.join("model")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|p| (p.file_name().unwrap().to_string_lossy().into(), fs::read(&p).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_newborn_learns_is_found_again_and_talks() {
    let home = home();
    home.nurture("run born.toml --lang en").done();
    let born = newborn(&home.path("store"));
    for rest in ["first", "raised", "checkpoints"] {
        assert!(!born.join(rest).exists(), "{rest} is left");
    }
    let record: Value = serde_json::from_slice(&fs::read(born.join("birth.json")).unwrap()).unwrap();
    assert_eq!(record["vocab"], 800);
    let languages = record["languages"].as_array().unwrap();
    assert_eq!(languages.len(), 2);
    for language in languages {
        let bits = |key: &str| language[key].as_f64().unwrap();
        assert!(bits("after") < 0.9 * bits("before"), "{language}");
        assert!(bits("bytes_per_token") > 1.5, "{language}");
    }
    let report = home.text("runs/born/report.md");
    assert!(report.contains("Birth of the base model") && report.contains("model.new.width"), "{report}");
    assert!(home.text("runs/born/recipe.lock.toml").contains("[model.new]"));

    // the lock file is the recipe again, and the newborn is not born a second time
    let again = home.nurture("run runs/born/recipe.lock.toml --set run.name=again --lang en");
    let Said { out, err, .. } = again.done();
    assert!(format!("{out}{err}").contains("born before"), "{out}{err}");
    let weights = "model/model.safetensors";
    assert!(
        home.read(&format!("runs/born/{weights}")) == home.read(&format!("runs/again/{weights}")),
        "other bytes"
    );
    // both the newborn and what became of it are models like any other
    for model in [born.join("model"), home.path("runs/born")] {
        let said = home.nurture(&format!("generate {} --max-tokens 4 --prompt Hello", model.display()));
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

#[test]
fn a_newborn_that_is_killed_grows_up_to_the_same_bytes() {
    let home = home();
    let at = |store: &str, threads: u64| {
        let mut command = home.command(&format!("train born.toml --set train.threads={threads}"));
        command.arg("--set").arg(format!("run.name={store}")).env("NURTURE_HOME", home.path(store));
        command
    };
    assert_eq!(finish(at("alone", 2)).code, Some(0));
    let folder = home.path("killed/newborns");
    // once while there is no vocabulary yet or little more, then behind a checkpoint
    let checkpoints = |folder: &Path| {
        let entry = fs::read_dir(folder).ok()?.next()?.ok()?.path().join("checkpoints");
        Some(fs::read_dir(entry).ok()?.flatten().count())
    };
    let begun = || folder.exists();
    let learning = || checkpoints(&folder).is_some_and(|n| n > 1);
    for moment in [&begun as &dyn Fn() -> bool, &learning] {
        let mut child = spawn(&mut at("killed", 1));
        assert!(until(|| moment() || child.try_wait().unwrap().is_some()));
        let _ = child.kill();
        let _ = child.wait();
    }
    assert!(!newborn(&home.path("killed")).join("model").exists(), "it was killed too late");
    assert_eq!(finish(at("killed", 2)).code, Some(0));
    let (alone, killed) = (newborn(&home.path("alone")), newborn(&home.path("killed")));
    assert!(model_files(&alone) == model_files(&killed), "other bytes");
    assert_eq!(home.litter(), [""; 0].map(PathBuf::from));
}

#[test]
fn what_cannot_be_born_is_refused() {
    let home = home();
    home.write("short.txt", "One line.\n");
    home.nurture("run born.toml --lang en --set model.new.text=short.txt").refused(&["too little text"]);
    home.nurture("run born.toml --lang en --set model.new.heads=5").refused(&["model.new.heads", "5"]);
    home.nurture("run born.toml --lang en --set model.new.text=none.txt").refused(&["none.txt"]);
}

#[test]
fn a_model_reads_on_in_plain_text() {
    let home = home();
    let set = |data: &str| {
        let (tokens, base) = ("model.new.tokens=4000", "data.over_long=error");
        format!(
            "train born.toml --lang en --set {tokens} --set {base} --set train.method=pretrain --set data.train={data}"
        )
    };
    home.nurture(&set("train.jsonl")).refused(&["train.jsonl:1", "plain text"]);
    // longer than the context, and yet nothing is cut off or refused: it becomes sequences
    assert_eq!(home.nurture(&set("en.txt")).code, Some(0));
    let metrics = home.text("runs/born/metrics.jsonl");
    let sum = |key: &str| -> u64 {
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()[key].as_u64().unwrap();
        metrics.lines().map(of).sum()
    };
    let (tokens, trained) = (sum("tokens"), sum("trained_tokens"));
    // all but the first token of each sequence, and all of the text in one pass
    assert!(trained < tokens && trained * 100 > tokens * 98, "{trained} of {tokens}");
    assert!(trained > fs::metadata(home.path("en.txt")).unwrap().len() / 4, "{trained}");
}

#[test]
fn newborns_of_other_forms_leave_for_other_tools() {
    let home = home();
    let forms = [
        ("gpt2", "--set model.new.shape=gpt2 --set model.new.kv_heads=2"),
        ("experts", "--set model.new.shape=qwen3 --set model.new.experts=4"),
    ];
    for (name, form) in forms {
        let few = "--set model.new.tokens=8000 --set train.max_len=128";
        home.nurture(&format!("train born.toml --lang en --set run.name={name} {few} {form}")).done();
        for (to, file) in [("hf", ""), ("gguf", "/model.gguf")] {
            let out = format!("{name}-{to}");
            let said =
                home.nurture(&format!("export runs/{name} {out} --to {to} --type f32 --verify --lang en"));
            assert_eq!(said.code, Some(0), "{name} as {to}: {said:?}");
            // what was written is a model like any other, and continues as the run does
            let text = |model: String| {
                let said =
                    home.nurture(&format!("generate {model} --exact --max-tokens 8 --prompt Hello --json"));
                assert_eq!(said.code, Some(0), "{said:?}");
                serde_json::from_str::<Value>(&said.out).unwrap()["text"].clone()
            };
            assert_eq!(text(format!("{out}{file}")), text(format!("runs/{name}")), "{name} as {to}");
        }
    }
    // a form that is no family's has no words there, and says what to do
    let own = "--set run.name=own --set model.new.positions=none --set model.new.tokens=4000";
    home.nurture(&format!("train born.toml --lang en {own}")).done();
    home.nurture("export runs/own own-out --to gguf --lang en")
        .refused(&["Hugging Face folder", "model.new.shape"]);
}
