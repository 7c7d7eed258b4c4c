//! The owner's own program: answers go in as JSON lines, scores come out as JSON lines.
//!
//! In, one line an answer: `{"question": …, "answer": …, "reference": [ … ]}`. Out, one line an answer, in the same order: a
//! number from 0 to 1, or `{"strict": …, "lenient": …}` (`lenient` may be left out). The program is trusted, so it has no
//! walls; but it has a deadline, and what it says is bounded. Whoever uses its scores must write them down before: the same
//! question may get another score tomorrow.

use crate::answer::{Answer, Score};
use crate::error::RewardError;
use crate::process;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Most bytes of output that are read for each answer.
const LINE: usize = 4096;

/// A program that marks answers.
#[derive(Clone, Debug)]
pub struct External {
    /// program and arguments
    pub command: Vec<String>,
    /// where it runs; the current folder if empty
    pub folder: PathBuf,
    /// time for one batch of answers
    pub time: Duration,
}

impl External {
    pub(crate) fn scores(&self, answers: &[Answer<'_>]) -> Result<Vec<Score>, RewardError> {
        let Some((program, args)) = self.command.split_first() else {
            return Err(RewardError::Nothing("the rule `command` names no program"));
        };
        if answers.is_empty() {
            return Ok(Vec::new());
        }
        let program = Path::new(program);
        let fail = |problem: String| RewardError::Command { program: program.to_path_buf(), problem };
        let mut input = Vec::new();
        for a in answers {
            let line = json!({ "question": a.question, "answer": a.text, "reference": a.reference });
            input.extend_from_slice(line.to_string().as_bytes());
            input.push(b'\n');
        }
        let mut command = Command::new(program);
        command.args(args);
        if !self.folder.as_os_str().is_empty() {
            command.current_dir(&self.folder);
        }
        let ended = process::run(command, program, input, self.time, LINE * answers.len())?;
        let tail = || {
            let text = String::from_utf8_lossy(&ended.stderr);
            let lines: Vec<&str> = text.lines().rev().take(3).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
        };
        if ended.late {
            let seconds = self.time.as_secs_f64();
            return Err(fail(format!(
                "not done with {} answers in {seconds} s; raise its time",
                answers.len()
            )));
        }
        if ended.code != Some(0) {
            let how = ended.code.map_or("a signal".to_string(), |code| format!("exit code {code}"));
            return Err(fail(format!("ended with {how}: {}", tail())));
        }
        let text = String::from_utf8(ended.stdout).map_err(|_| fail("its output is not UTF-8".into()))?;
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        if lines.len() != answers.len() {
            return Err(fail(format!(
                "gave {} lines for {} answers: {}",
                lines.len(),
                answers.len(),
                tail()
            )));
        }
        let read = |(i, line): (usize, &&str)| {
            score(line).ok_or_else(|| {
                let line: String = line.chars().take(80).collect();
                fail(format!(
                    "line {}: {line:?} is no score; a number from 0 to 1 is expected, or {{\"strict\": …, \"lenient\": …}}",
                    i + 1
                ))
            })
        };
        lines.iter().enumerate().map(read).collect()
    }
}

fn score(line: &str) -> Option<Score> {
    let value: Value = serde_json::from_str(line).ok()?;
    let number = |v: &Value| v.as_f64().filter(|n| (0.0..=1.0).contains(n));
    match &value {
        Value::Object(object) => {
            let strict = number(object.get("strict")?)?;
            let lenient = object.get("lenient").map_or(Some(strict), number)?;
            Some(Score { strict, lenient })
        }
        v => number(v).map(Score::both),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn ask(script: &str) -> Result<Vec<Score>, String> {
        let command = ["sh", "-c", script].map(String::from).to_vec();
        let external = External { command, folder: PathBuf::new(), time: Duration::from_secs(2) };
        let reference = ["1".to_string()];
        let answers =
            ["a", "b"].map(|text| Answer { question: "q", text, reference: &reference, worth: &[] });
        external.scores(&answers).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_in_lines_out() {
        let scores =
            ask(r#"grep -c '"answer":"[ab]"' >/dev/null; echo 0.25; echo '{"strict":0,"lenient":1}'"#);
        assert_eq!(scores.unwrap(), [Score::both(0.25), Score { strict: 0.0, lenient: 1.0 }]);
        // it may end without reading
        assert!(ask("echo 1; echo 1").is_ok());
    }

    #[test]
    fn what_it_does_wrong_is_told() {
        for (script, word) in [
            ("echo 1", "gave 1 lines for 2"),
            ("echo oh >&2; exit 4", "exit code 4: oh"),
            ("echo 1; echo 2", "line 2"),
            ("echo 1; echo NaN", "line 2"),
            ("sleep 30", "not done with 2"),
        ] {
            let error = ask(script).unwrap_err();
            assert!(error.contains(word), "{script}: {error}");
        }
    }
}
