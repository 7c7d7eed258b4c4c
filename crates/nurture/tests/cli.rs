//! The `nurture` binary as a person and a script meet it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The binary with a clean environment and a store of its own.
fn nurture(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nurture"));
    command.env_clear().env("NURTURE_HOME", home).env("RUST_BACKTRACE", "1");
    command.envs(std::env::var_os("PATH").map(|p| ("PATH", p)));
    command.stdin(Stdio::null());
    command
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn run(args: &[&str]) -> Said {
    let home = tempfile::tempdir().unwrap();
    said(nurture(home.path()).args(args).output().unwrap())
}

fn run_with_input(args: &[&str], input: &[u8]) -> Said {
    let home = tempfile::tempdir().unwrap();
    let mut command = nurture(home.path());
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    said(child.wait_with_output().unwrap())
}

fn smollm2() -> Option<String> {
    nurture_testing::model(nurture_testing::SMOLLM2).map(|p| p.display().to_string())
}

#[test]
fn help_speaks_both_languages() {
    for args in [&[][..], &["--help"], &["help"]] {
        let s = run(args);
        assert_eq!(s.code, Some(0), "{}", s.err);
        assert!(s.out.contains("Usage: nurture COMMAND") && s.out.contains("  chat "), "{}", s.out);
    }
    let home = tempfile::tempdir().unwrap();
    let s = said(nurture(home.path()).env("LANG", "zh_CN.UTF-8").output().unwrap());
    assert!(s.out.contains("用法：nurture 命令") && s.out.contains("与模型对话"), "{}", s.out);
    // the flag wins over the locale, and LC_ALL over LANG
    let s = said(nurture(home.path()).env("LANG", "zh_CN.UTF-8").args(["--lang", "en"]).output().unwrap());
    assert!(s.out.contains("Usage:"), "{}", s.out);
    let s = said(nurture(home.path()).env("LANG", "zh_CN.UTF-8").env("LC_ALL", "C").output().unwrap());
    assert!(s.out.contains("Usage:"), "{}", s.out);

    let s = run(&["help", "chat", "--lang", "zh"]);
    assert!(s.out.contains("用法：nurture chat MODEL") && s.out.contains("--temperature"), "{}", s.out);
    assert_eq!(s.out, run(&["chat", "--help", "--lang", "zh"]).out);
    let s = run(&["help", "recipe", "train.adapter"]);
    assert!(s.out.contains("train.adapter.rank") && !s.out.contains("eval.depth"), "{}", s.out);
    assert_eq!(run(&["--version"]).out, format!("nurture {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_use_is_exit_code_2_and_says_what_was_meant() {
    let check = |args: &[&str], want: &str| {
        let s = run(args);
        assert_eq!(s.code, Some(2), "{args:?}: {}", s.err);
        assert!(s.err.contains(want) && s.out.is_empty(), "{args:?}: {}", s.err);
    };
    check(&["chatt"], "error: there is no command `chatt`; did you mean chat?");
    check(&["chat"], "error: MODEL is missing");
    check(&["keys"], "error: WHAT is missing: add, list, limit or revoke");
    check(&["keys"], "See `nurture keys --help`");
    check(&["chat", "m", "--temprature", "1"], "did you mean --temperature?");
    check(&["chat", "m", "--temperature", "warm"], "--temperature: `warm`: a number between 0 and 100");
    check(&["chat", "m", "--top-k"], "--top-k needs a value");
    check(&["chat", "m", "n"], "`n` is not known here");
    check(&["bench", "speed"], "it can be: ceilings, infer, train");
    check(&["show", "example"], "`show example` needs a data file or a recipe");
    check(&["show", "a", "b"], "`b` is one too many");
    check(&["help", "recipe", "train.lr"], "a recipe has no key `train.lr`");
    check(&["--lang", "zh", "chatt"], "错误：没有命令 `chatt`；是否指 chat？");
    check(
        &["--lang", "zh", "chat", "m", "--max-tokens", "0"],
        "错误：--max-tokens：`0`：需要不小于 1 的整数",
    );
}

/// Whoever made a key for a name finds it by that name; whoever asks to forget somebody who is not there is told so.
#[test]
fn keys_are_found_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("s.sqlite").display().to_string();
    let at = |args: &str| {
        let words: Vec<&str> = args.split(' ').collect();
        run(&[&words[..], &["--store", &store, "--lang", "en"]].concat())
    };
    let done = |args: &str| {
        let s = at(args);
        assert_eq!(s.code, Some(0), "{args}: {}", s.err);
        s.out + &s.err
    };
    let refused = |args: &str, want: &str| {
        let s = at(args);
        assert!(s.code == Some(1) && s.err.contains(want), "{args}: {:?} {}", s.code, s.err);
    };
    done("keys add ann");
    done("keys add bob");
    let told = done("keys limit bob --per-minute 5");
    assert!(told.contains("bob") && !told.contains("ann"), "{told}");
    refused("keys limit bill --per-minute 5", "`nurture keys list`");
    // a second key of one name: then its id must say which, until one of both is taken back
    done("keys add bob");
    refused("keys revoke bob", "2 keys are called `bob`");
    let list = done("keys list");
    let id = list.lines().find(|l| l.contains("bob")).unwrap().split(' ').next().unwrap().to_string();
    assert!(done(&format!("keys revoke {id}")).contains("taken back: bob"));
    assert!(done("keys revoke bob").contains("taken back: bob"));
    assert_eq!(done("keys list").matches("revoked").count(), 2);
    assert!(done("store erase --owner ann").contains("erased: 0"));
    refused("store erase --owner anne", "there is no key `anne`");
    // a name that begins as an owner without a key does
    done("keys add admin-team");
    assert!(done("store erase --owner admin-team").contains("erased: 0"));
    refused("store erase --owner admin-tean", "there is no key `admin-tean`");
    assert!(done("store erase --owner admin").contains("erased: 0"));
    assert!(done("store retention").contains("for ever"));
    done("store retention 30");
    assert!(done("store retention").contains("30 days"));
}

#[test]
fn examples_of_a_recipe_are_what_the_trainer_sees() {
    let Some(model) = smollm2() else { return };
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("a.csv", "text,category\nIt is dark,power\nIt is late,shipping\n");
    write("b.jsonl", "{\"question\": \"Who?\", \"answer\": \"Me.\"}\n");
    write(
        "r.toml",
        &format!(
            "[model]\nbase = {model:?}\n[data]\ntrain = [\"a.csv\", \"b.jsonl\"]\nsystem = \"Choose: {{labels}}\"\n\
             [train]\nadapter = {{ kind = \"lora\", rank = 2 }}\n"
        ),
    );
    let file = dir.path().join("r.toml").display().to_string();
    let s = run(&["show", "example", &file, "--n", "1"]);
    assert_eq!(s.code, Some(0), "{}", s.err);
    let heads: Vec<&str> = s.out.lines().filter(|l| l.starts_with("── ")).collect();
    assert!(matches!(heads[..], [a, b] if a.contains("a.csv:2") && b.contains("b.jsonl:1")), "{heads:?}");
    // the recipe's system prompt, filled, is not trained; the answer and its end are
    for line in ["· 21197 \"Choose\"", "+  8857 \"power\"", "+     2 \"<|im_end|>\""] {
        assert!(s.out.contains(line), "{line}: {}", s.out);
    }
    assert!(!s.out.contains("helpful"), "the template's own system prompt gives way: {}", s.out);
    let zh = run(&["--lang", "zh", "show", "example", &file, "--n", "1", "--set", "data.system=Speak."]);
    assert!(zh.out.contains("Spe") && !zh.out.contains("Choose"), "{} {}", zh.out, zh.err);
    assert!(zh.out.contains("个词元，其中") && zh.err.contains("是问题"), "{} {}", zh.out, zh.err);
    assert_eq!(run(&["show", "example", &file, "--model", "x"]).code, Some(2));
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn failures_are_exit_code_1_with_the_way_out_and_no_backtrace() {
    let check = |args: &[&str], wants: &[&str]| {
        let s = run(args);
        assert_eq!(s.code, Some(1), "{args:?}: {}", s.err);
        assert!(s.err.starts_with("error: ") && !s.err.contains("backtrace"), "{}", s.err);
        assert!(wants.iter().all(|w| s.err.contains(w)), "{args:?}: {}", s.err);
    };
    check(&["chat", "smolm2"], &["not in the catalogue", "Did you mean `smollm2-135m-instruct`?"]);
    check(&["show", "./nothing.gguf"], &["no file at ./nothing.gguf"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.gguf");
    std::fs::write(&file, b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f").unwrap();
    check(&["chat", file.to_str().unwrap()], &["broken.gguf", "byte 16"]);
    check(&["generate", dir.path().to_str().unwrap(), "--prompt", "x"], &["config.json"]);
    check(&["chat", "m.gguf", "--adapter", dir.path().to_str().unwrap()], &["adapter_config.json"]);

    let s = said(nurture(dir.path()).env_remove("NURTURE_HOME").arg("list").output().unwrap());
    assert_eq!(s.code, Some(1));
    assert!(s.err.contains("set NURTURE_HOME"), "{}", s.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut command = nurture(home.path());
    let mut child =
        command.args(["help", "recipe"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let s = said(child.wait_with_output().unwrap());
    assert!(matches!(s.code, Some(0 | 141)), "{:?}", s.code);
    assert_eq!(s.err, "");
}

#[test]
fn the_list_shows_the_catalogue() {
    let s = run(&["list"]);
    assert_eq!(s.code, Some(0));
    let line = s.out.lines().find(|l| l.starts_with("smollm2-135m-instruct")).unwrap();
    assert!(line.contains("98.4 MB") && line.contains("Apache-2.0") && line.contains(" no "), "{line}");
}

#[test]
fn ceilings_are_one_json_object() {
    let s = run(&["bench", "ceilings", "--quick", "--json"]);
    assert_eq!(s.code, Some(0), "{}", s.err);
    let figures: Value = serde_json::from_str(&s.out).unwrap();
    assert!(figures["threads"].as_u64().unwrap() >= 1 && figures["isa"].is_string(), "{figures}");
    for name in ["f32_fma_gflops", "int8_gops", "read_gbps"] {
        let get = |end: &str| figures[format!("{name}{end}")].as_f64().unwrap();
        assert!(0.0 < get("_min") && get("_min") <= get("") && get("") <= get("_max"), "{figures}");
    }
}

#[test]
fn doctor_names_what_it_found() {
    let s = run(&["doctor"]);
    assert!(matches!(s.code, Some(0 | 3)), "{}", s.err);
    for word in ["version", "instructions", "memory", "store", "GFLOP/s", "GB/s", "smollm2-135m-instruct"] {
        assert!(s.out.contains(word), "{word}: {}", s.out);
    }
}

#[test]
fn a_pipe_gets_one_answer_for_each_line_and_nothing_else() {
    let Some(model) = smollm2() else { return };
    let ask = || {
        let turns = "What is the capital of France?\n\nSay hello.\n";
        run_with_input(&["chat", &model, "--max-tokens", "40"], turns.as_bytes())
    };
    let s = ask();
    assert_eq!(s.code, Some(0), "{}", s.err);
    // beside the answers only a word about a cut one
    assert!(s.err.lines().all(|l| l.contains("--max-tokens")), "{}", s.err);
    assert!(s.out.contains("Paris"), "{}", s.out);
    assert!(s.out.ends_with('\n') && s.out.lines().count() >= 2, "{}", s.out);
    let again = ask();
    assert_eq!(s.out, again.out, "the same seed gives the same text");
}

#[test]
fn a_conversation_that_is_too_long_is_refused_with_the_counts() {
    let Some(model) = smollm2() else { return };
    let s = run_with_input(&["chat", &model, "--context", "20"], b"What is the capital of France?\n");
    assert_eq!((s.code, s.out.as_str()), (Some(1), ""), "{}", s.err);
    assert!(s.err.contains("only 20 fit") && s.err.contains("--context"), "{}", s.err);
}

#[test]
fn generate_gives_text_or_json() {
    let Some(model) = smollm2() else { return };
    let prompt = "The capital of France is";
    let args = ["generate", &model, "--raw", "--max-tokens", "4", "--prompt", prompt];
    let plain = run(&args);
    assert_eq!(plain.code, Some(0), "{}", plain.err);
    assert!(plain.out.contains("Paris"), "{}", plain.out);
    let object = run(&[&args[..], &["--json"]].concat());
    let object: Value = serde_json::from_str(&object.out).unwrap();
    assert_eq!(format!("{}\n", object["text"].as_str().unwrap()), plain.out);
    assert_eq!((&object["tokens"], &object["finish"]), (&json!(4), &json!("length")));
    assert_eq!(object["prompt_tokens"], json!(5));
    let piped = ["generate", &model, "--raw", "--max-tokens", "4", "--prompt", "-"];
    assert_eq!(run_with_input(&piped, format!("{prompt}\n").as_bytes()).out, plain.out);
}

/// A finished run's folder: an adapter that changes nothing, with a record beside it.
fn run_folder(dir: &Path, model: &str, sha256: &str) -> PathBuf {
    let file = nurture::formats::ModelFile::open(model).unwrap();
    let (config, _) = nurture::model::families::read(&file).unwrap();
    let spec = nurture::model::LoraSpec {
        rank: 2,
        alpha: 4.0,
        rslora: false,
        targets: nurture::model::PROJECTIONS.to_vec(),
    };
    let adapter = nurture::model::Adapter::new(&config, &spec, 1);
    let extra = json!({
        "base": { "name": "none", "path": model, "sha256": sha256 },
        "template": { "name": "recorded", "source": "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}" },
        "system": "You only answer in capitals.",
        "user": "Question: {text}",
    });
    let run = dir.join("run");
    nurture::formats::save_adapter(
        run.join("adapter"),
        &spec.peft_config(None),
        &adapter.tensors(),
        Some(&extra),
    )
    .unwrap();
    run
}

#[test]
fn a_run_brings_its_base_template_and_texts() {
    let Some(model) = smollm2() else { return };
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_folder(dir.path(), &model, &"0".repeat(64));
    let run_dir = run_dir.to_str().unwrap();
    let tail = ["--max-tokens", "3", "--json", "--prompt", "Hi"];
    let prompt_tokens = |args: &[&str]| -> (u64, String) {
        let s = run(&[args, &tail[..]].concat());
        assert_eq!(s.code, Some(0), "{}", s.err);
        (serde_json::from_str::<Value>(&s.out).unwrap()["prompt_tokens"].as_u64().unwrap(), s.err)
    };
    let (as_run, warned) = prompt_tokens(&["generate", run_dir]);
    assert!(warned.contains("another file (sha256 000000000000"), "{warned}");
    assert_eq!(as_run, prompt_tokens(&["generate", &model, "--adapter", run_dir]).0);
    let (other_system, _) = prompt_tokens(&["generate", run_dir, "--system", "X"]);
    assert!(other_system < as_run, "{other_system} {as_run}");
    let (plain, _) = prompt_tokens(&["generate", &model, "--system", "X"]);
    assert_ne!(plain, other_system, "the recorded template is another one");
    let s = run(&[
        "generate",
        "smollm2-135m-instruct",
        "--adapter",
        dir.path().to_str().unwrap(),
        "--prompt",
        "x",
    ]);
    assert!(s.err.contains("no adapter in"), "{}", s.err);
}

#[test]
fn show_tells_a_model_and_an_example() {
    let Some(model) = smollm2() else { return };
    let s = run(&["show", &model]);
    assert_eq!(s.code, Some(0), "{}", s.err);
    for word in ["134.5 M", "30 layers", "8192 tokens", "eos=<|im_end|>", "Q4_1", "b179c9523d0e", "its own"] {
        assert!(s.out.contains(word), "{word}: {}", s.out);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.jsonl");
    std::fs::write(&file, "{\"prompt\": \"ping\", \"completion\": \"pong\"}\n".repeat(2)).unwrap();
    let s = run(&["show", "example", file.to_str().unwrap(), "--model", &model]);
    assert_eq!(s.code, Some(0), "{}", s.err);
    let trained: Vec<&str> = s.out.lines().filter(|l| l.contains(" + ")).collect();
    assert!(trained.last().unwrap().contains("<|im_end|>"), "{}", s.out);
    assert!(
        trained.iter().any(|l| l.contains("ong")) && !trained.iter().any(|l| l.contains("ing")),
        "{}",
        s.out
    );
    assert!(s.out.contains("data.jsonl:1"), "{}", s.out);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_with_a_whole_line() {
    let Some(model) = smollm2() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut command = nurture(home.path());
    // exact: its answer to this is known to be long
    let prompt = ["--exact", "--prompt", "Count from one to one thousand in words.", "--max-tokens", "4000"];
    let mut child = command
        .args(["generate", &model])
        .args(prompt)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0u8; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let s = said(child.wait_with_output().unwrap());
    assert_eq!(s.code, Some(130), "{}", s.err);
    assert!(s.out.ends_with('\n') && s.err.is_empty(), "{:?} {:?}", s.out, s.err);
}

#[test]
fn bench_gives_the_agreed_fields() {
    let Some(model) = smollm2() else { return };
    let infer =
        ["bench", "infer", "--quick", "--prompt", "32", "--gen", "4", "--repeat", "2", "--json", "--model"];
    let train =
        ["bench", "train", "--quick", "--batch", "1", "--seq", "16", "--repeat", "1", "--json", "--model"];
    for (args, fields) in [
        (&infer[..], "prefill_tok_s decode_tok_s load_s first_token_s weight_bytes peak_rss_bytes"),
        (&train[..], "tok_s gflops peak_rss_bytes loss"),
    ] {
        let s = run(&[args, &[&model]].concat());
        assert_eq!(s.code, Some(0), "{}", s.err);
        let figures: Value = serde_json::from_str(&s.out).unwrap();
        for field in fields.split(' ') {
            assert!(figures[field].as_f64().is_some_and(|x| x > 0.0), "{field}: {figures}");
        }
    }
}
