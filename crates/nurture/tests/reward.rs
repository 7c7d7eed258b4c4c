//! A reward model from pairs, and practice by it: the whole way with the real binary. Skipped, and said so, where the model is
//! not on this machine.

mod common;

use common::{Home, finish};
use std::fs;

const PAIRS: &str = r#"
[model]
base = "BASE"
[data]
train = ["pairs.jsonl"]
[train]
method = "reward"
epochs = 1
batch = 4
adapter = { rank = 2 }
[eval]
gate = "nothing"
depth = [{ path = "exam.jsonl", name = "manner", kind = "preference" }]
"#;

const PRACTICE: &str = r#"
[model]
base = "BASE"
[data]
train = [{ path = "questions.jsonl", kind = "question_answer" }]
[train]
method = "grpo"
epochs = 1
batch = 1
adapter = { rank = 2 }
keep = { share = 0.0 }
rewards = [{ kind = "model", path = "runs/judge" }]
practice = { loss = "ppo", samples = 2, max_tokens = 4, inner = 2, kl = 0.01 }
"#;

#[test]
fn a_reward_model_is_learnt_examined_and_practised_by() {
    let Some(home) = Home::new() else { return };
    let row = |n: usize| {
        format!(
            "{{\"prompt\": \"Where is parcel {n}?\", \"chosen\": \"Gladly: it is on its way, number {n}.\", \"rejected\": \"No idea about {n}.\"}}\n"
        )
    };
    home.write("pairs.jsonl", (0..8).map(row).collect::<String>());
    home.write("exam.jsonl", (20..24).map(row).collect::<String>());
    home.write("questions.jsonl", "{\"question\": \"Where is my parcel?\", \"answer\": \"On its way.\"}\n");
    let base = |recipe: &str| recipe.replace("BASE", &home.model().display().to_string());
    home.write("judge.toml", base(PAIRS));
    home.write("practice.toml", base(PRACTICE));
    let run = finish(home.command("run judge.toml --lang en"));
    assert_eq!(run.code, Some(0), "{run:?}");
    let config = fs::read_to_string(home.path("runs/judge/adapter/adapter_config.json")).unwrap();
    assert!(config.contains("\"SEQ_CLS\"") && config.contains("\"score\""), "{config}");
    let report = home.text("runs/judge/report.md");
    assert!(report.contains("finds the better answer worth more"), "{report}");
    assert!(report.contains("kind = \"model\"") && !report.contains("nurture chat"), "{report}");
    // it does not speak
    let chat = finish(home.command("generate runs/judge --prompt Hello --lang en"));
    assert!(chat.code == Some(1) && format!("{chat:?}").contains("never speaks"), "{chat:?}");
    // another run practises by it
    let practice = finish(home.command("train practice.toml --lang en"));
    assert_eq!(practice.code, Some(0), "{practice:?}");
    let rollouts = home.text("runs/practice/rollouts.jsonl");
    let rewards: Vec<f64> = rollouts
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["reward"].as_f64().unwrap())
        .collect();
    assert!(rewards.len() == 2 && rewards.iter().all(|r| (0.0..=1.0).contains(r)), "{rewards:?}");
    let metrics = home.text("runs/practice/metrics.jsonl");
    assert!(metrics.contains("\"value\":"), "{metrics}");
    // and what speaks is no judge
    home.write("odd.toml", base(PRACTICE).replace("runs/judge", "runs/practice"));
    let odd = finish(home.command("train odd.toml --lang en"));
    assert!(odd.code == Some(1) && format!("{odd:?}").contains("no head that scores"), "{odd:?}");
}
