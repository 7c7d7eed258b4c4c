//! Several stages in one recipe with the real binary: each begins with what the one before left, all sit the same exams, one
//! report tells of all, a kill anywhere changes no byte, and the last stage is what the run's folder stands for.

mod common;

use common::{Home, Said, finish, lines, sample, spawn, until};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const ROAD: &str = r#"
[model.new]
text = ["en.txt"]
depth = 2
width = 48
heads = 2
kv_heads = 1
ffn = 96
vocab = 800
context = 256
tokens = 60000
batch_tokens = 2000
rate = 0.01

[data]
train = ["train.jsonl", "sums.csv"]

[train]
epochs = 1
batch = 8
checkpoint_every = 3
keep = { share = 0 }

[[then]]
name = "manner"
data = { train = ["pairs.jsonl"] }
train = { method = "dpo", epochs = 1, batch = 4, checkpoint_every = 2 }

[[then]]
data = { train = ["practice.csv"] }
[then.train]
method = "grpo"
rewards = [{ kind = "pattern", pattern = "[0-9 ]+" }]
practice = { samples = 4, max_tokens = 4 }
batch = 4
epochs = 0.5
checkpoint_every = 2

[eval]
depth = [{ path = "exam.jsonl", kind = "label" }, { path = "pairs_exam.jsonl", name = "manner", kind = "preference" }]
breadth = []
"#;

fn rows(name: &str, count: usize) -> String {
    let text = fs::read_to_string(nurture_testing::repository("samples/addition").join(name)).unwrap();
    text.lines().take(1 + count).map(|l| format!("{l}\n")).collect()
}

fn home() -> Home {
    let home = Home::bare();
    home.write("en.txt", fs::read(nurture_testing::repository("samples/keep/en.txt")).unwrap());
    let train = sample("lumen-desk/train.jsonl", 60, 24);
    let category = |row: &str| serde_json::from_str::<Value>(row).unwrap()["category"].to_string();
    let labels: Vec<String> = train.iter().map(|row| category(row)).collect();
    let exam = sample("lumen-desk/exam.jsonl", 160, 160).into_iter();
    let exam: Vec<String> = exam.filter(|row| labels.contains(&category(row))).take(8).collect();
    assert_eq!(exam.len(), 8, "the sample has changed");
    home.write("train.jsonl", lines(&train));
    home.write("exam.jsonl", lines(&exam));
    home.write("pairs.jsonl", lines(&sample("lumen-desk/preference.jsonl", 80, 16)));
    home.write("pairs_exam.jsonl", lines(&sample("lumen-desk/preference_exam.jsonl", 32, 6)));
    home.write("sums.csv", rows("two_lessons.csv", 24));
    home.write("practice.csv", rows("two_practice.csv", 32));
    home.write("road.toml", ROAD);
    home
}

/// Every file of the run that its result consists of.
fn results(home: &Home, run: &str) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for stage in ["01-sft", "02-manner", "03-grpo"] {
        for file in
            ["model/model.safetensors", "model/nurture.json", "ledger.json", "eval/manner.tuned.jsonl"]
        {
            let name = format!("stages/{stage}/{file}");
            out.push((name.clone(), home.read(&format!("runs/{run}/{name}"))));
        }
    }
    out
}

#[test]
fn a_road_is_one_run_with_one_report() {
    let home = home();
    let said = home.nurture("run road.toml --lang en");
    let Said { out, err, .. } = said.done();
    let all = format!("{out}{err}");
    for part in ["Forecast of 02-manner", "Forecast of all 3 stages", "Stage 3 of 3: 03-grpo", "VERDICT"] {
        assert!(all.contains(part), "no {part:?} in {all}");
    }
    // the base sits once, each stage after it
    assert!(home.exists("runs/road/stages/01-sft/eval/manner.base.json"));
    assert!(!home.exists("runs/road/stages/02-manner/eval/manner.base.json"));
    let report = home.json("runs/road/report.json");
    let stages = report["stages"].as_array().unwrap();
    let words: Vec<&str> = stages.iter().map(|s| s["method"].as_str().unwrap()).collect();
    assert_eq!(words, ["sft", "dpo", "grpo"]);
    // the last stage's figures are the whole's, and each stage begins where the one before ended
    assert_eq!(report["exams"], home.json("runs/road/stages/03-grpo/report.json")["exams"]);
    assert!(stages[0]["since"][1].is_null() && stages[1]["since"][1]["diff"].is_number());
    let hash = |stage: &str| {
        let name = format!("runs/road/stages/{stage}/report.json");
        home.json(&name)["adapter"]["sha256"].as_str().unwrap().to_string()
    };
    for (stage, before) in [("02-manner", "01-sft"), ("03-grpo", "02-manner")] {
        let lock = home.text(&format!("runs/road/stages/{stage}/recipe.lock.toml"));
        assert!(lock.contains(&hash(before)) && lock.contains(&format!("\"../{before}\"")), "{lock}");
        assert_ne!(hash(stage), hash(before), "{stage} has learnt nothing");
    }
    let page = home.text("runs/road/report.md");
    assert!(page.contains("The road, stage by stage") && page.contains("02-manner: dpo"), "{page}");
    // a word of the second stage that the first one gives is taken over, one that it does not give is derived
    let lock = home.text("runs/road/recipe.lock.toml");
    assert!(lock.contains("[[then]]") && lock.contains("name = \"manner\""), "{lock}");

    // what the run's folder stands for is the last stage
    home.nurture("generate runs/road --max-tokens 4 --prompt Hello").done();
    let watch = home.nurture("watch runs/road --once --lang en");
    assert!(watch.out.contains("03-grpo"), "{watch:?}");
    home.nurture("export runs/road out --to hf --lang en").done();
    // for Ollama: the file carries its template, the Modelfile says what ends an answer and how much room there is
    home.nurture("export runs/road ollama --to ollama --verify --lang en").done();
    let told = home.text("ollama/Modelfile");
    assert!(told.starts_with("FROM ./model.gguf\n") && told.contains("\nPARAMETER num_ctx 256\n"), "{told}");
    assert!(told.contains("\nPARAMETER stop \"<"), "{told}");
    home.nurture("generate ollama/model.gguf --max-tokens 4 --prompt Hello").done();

    // again: nothing is done twice
    let again = home.nurture("run runs/road/recipe.lock.toml --lang en");
    let Said { out, err, .. } = again.done();
    let text = format!("{out}{err}");
    assert_eq!(text.matches("done before").count(), 3, "{text}");
    // another last stage is refused there, and says where
    home.nurture("run road.toml --lang en --set then[1].train.rate=0.5").refused(&["03-grpo", "train.rate"]);
    // a run of another kind in the same folder is refused, either way
    home.write("plain.toml", ROAD.split("[[then]]").next().unwrap().to_string() + "[eval]\nbreadth = []\n");
    home.nurture("run plain.toml --lang en --set run.name=road").refused(&["runs/road", "holds another run"]);
    home.nurture("run plain.toml --lang en --set run.name=plain").done();
    home.nurture("run road.toml --lang en --set run.name=plain").refused(&["belongs to no stage", "--fresh"]);
}

#[test]
fn a_road_that_is_killed_comes_to_the_same_bytes() {
    let home = home();
    home.nurture("run road.toml --set run.name=alone --set train.threads=2").done();
    let killed = |threads: u64| {
        home.command(&format!("run road.toml --set run.name=killed --set train.threads={threads}"))
    };
    let at = |stage: &str, file: &str| home.path(&format!("runs/killed/stages/{stage}/{file}")).exists();
    // between two stages; behind a checkpoint of the second; in the midst of practice
    let moments: [&dyn Fn() -> bool; 3] = [
        &|| at("01-sft", "model/config.json"),
        &|| at("02-manner", "checkpoints/step-000002.safetensors"),
        &|| at("03-grpo", "rollouts.jsonl"),
    ];
    for (i, moment) in moments.iter().enumerate() {
        let mut child = spawn(&mut killed(1 + i as u64 % 2));
        assert!(until(|| moment() || child.try_wait().unwrap().is_some()));
        let _ = child.kill();
        let _ = child.wait();
    }
    assert!(!at("03-grpo", "model/config.json"), "it was killed too late");
    assert!(matches!(finish(killed(2)).code, Some(0 | 3)));
    for ((name, a), (_, b)) in results(&home, "alone").iter().zip(&results(&home, "killed")) {
        assert!(a == b, "{name}: other bytes");
    }
    assert_eq!(home.litter(), [""; 0].map(PathBuf::from));
}

#[test]
fn an_adapter_is_merged_before_the_next_stage() {
    let Some(home) = Home::new() else { return };
    home.write("pairs.jsonl", lines(&sample("lumen-desk/preference.jsonl", 80, 4)));
    let small = home.text("small.toml");
    home.write(
        "two.toml",
        small + "\n[[then]]\nname = \"manner\"\ndata = { train = [\"pairs.jsonl\"] }\ntrain = { method = \"dpo\", epochs = 1, batch = 4 }\n",
    );
    home.nurture("run two.toml --lang en --set train.keep.share=0").done();
    let lock = home.text("runs/two/stages/02-manner/recipe.lock.toml");
    assert!(lock.contains("../01-sft/merged") && lock.contains("rank = 2"), "{lock}");
    assert!(home.exists("runs/two/stages/01-sft/merged/model.safetensors"));
    // the last adapter finds the network that it stands on, wherever the run lies
    fs::rename(home.path("runs/two"), home.path("runs/moved")).unwrap();
    home.nurture("generate runs/moved --max-tokens 4 --prompt Hello").done();
}

/// Each seed goes the whole road by itself, and each stage of it with a seed of its own; the first run's report speaks of all,
/// and a run that is repeated from its lock file comes to the same bytes.
#[test]
fn seeds_repeat_the_whole_road() {
    let home = home();
    let road =
        ROAD.replace("batch = 4, checkpoint_every = 2 }", "batch = 4, seed = 40, checkpoint_every = 2 }");
    assert_ne!(road, ROAD);
    home.write("road.toml", road);
    home.nurture("run road.toml --lang en --set eval.seeds=2").done();
    let report = home.json("runs/road/report.json");
    let seeds = &report["seeds"];
    assert_eq!(seeds["runs"], serde_json::json!(["road", "road-seed2"]));
    let mean = |run: &str| {
        let report = home.json(&format!("runs/{run}/report.json"));
        let gains: Vec<f64> = report["exams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["paired"]["diff"].as_f64().unwrap())
            .collect();
        assert_eq!(gains.len(), 2, "both exams");
        gains.iter().sum::<f64>() / 2.0
    };
    let gains = seeds["gains"].as_array().unwrap();
    for (gain, run) in gains.iter().zip(["road", "road-seed2"]) {
        assert!((gain.as_f64().unwrap() - mean(run)).abs() < 1e-12, "{seeds:#}");
    }
    assert!(home.text("runs/road/report.md").contains("Over 2 runs with different seeds"));
    assert!(home.json("runs/road-seed2/report.json").get("seeds").is_none());
    // the stage with a seed of its own moves on from that one
    for (run, want) in [
        ("road", ["seed = 1", "seed = 40", "seed = 1"]),
        ("road-seed2", ["seed = 2", "seed = 41", "seed = 2"]),
    ] {
        for (stage, want) in ["01-sft", "02-manner", "03-grpo"].iter().zip(want) {
            let lock = home.text(&format!("runs/{run}/stages/{stage}/recipe.lock.toml"));
            assert!(lock.lines().any(|line| line == want), "{run} {stage}: {lock}");
        }
    }
    for ((name, a), (_, b)) in results(&home, "road").iter().zip(&results(&home, "road-seed2")) {
        if name.contains("safetensors") {
            assert!(a != b, "{name}: another seed has taught the same");
        } else if name.contains("ledger") {
            assert!(a == b, "{name}: the rows are the same");
        }
    }
    // again: nothing is trained twice, and the same is said
    let again = home.nurture("run road.toml --lang en --set eval.seeds=2");
    let Said { out, err, .. } = again.done();
    let text = format!("{out}{err}");
    assert_eq!(text.matches("done before").count(), 6, "{text}");
    assert_eq!(home.json("runs/road/report.json")["seeds"], *seeds);
    // the second run, from its lock file
    home.nurture("run runs/road-seed2/recipe.lock.toml --set run.name=again").done();
    for ((name, a), (_, b)) in results(&home, "road-seed2").iter().zip(&results(&home, "again")) {
        assert!(a == b, "{name}: other bytes");
    }
    // compared, they are the same road with other seeds, exam by exam
    let said = home.nurture("eval compare runs/road runs/road-seed2 --lang en");
    said.done();
    let page = home.text("runs/compare.html");
    for part in ["differ in their seed alone", "Exam by exam", "All runs sat the same"] {
        assert!(page.contains(part), "no {part:?}: {}", said.out);
    }
}
