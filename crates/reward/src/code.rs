//! Programs that pass their tests.
//!
//! The answer's code, the tests that are the row's reference, and a last line that prints a mark only known after both ran:
//! a program that ends early with exit code 0 has not passed. Each answer runs in a folder of its own that goes afterwards.

use crate::answer::{Answer, Score};
use crate::error::{RewardError, short};
use crate::sandbox::{self, Limits, Walls};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How code is run.
#[derive(Clone, Debug)]
pub struct Code {
    /// the interpreter, with its arguments; the file's name comes last
    pub program: Vec<String>,
    /// the file's ending
    pub ending: String,
    /// the statement that prints a text, `{}` in its place
    pub print: String,
    /// bounds of each run
    pub limits: Limits,
    /// what holds it in
    pub walls: Walls,
    /// answers that run at once
    pub at_once: usize,
}

impl Code {
    /// Python by `python3`, isolated from the user's own packages and settings.
    pub fn python(walls: Walls) -> Code {
        Code {
            program: vec!["python3".into(), "-I".into()],
            ending: "py".into(),
            print: "print(\"{}\")".into(),
            limits: Limits::default(),
            walls,
            at_once: thread::available_parallelism().map_or(1, |n| n.get()),
        }
    }

    /// Strict: the answer is code, or one fenced block, and passes. Lenient: the first fenced block in other words passes.
    pub(crate) fn scores(&self, answers: &[Answer<'_>]) -> Result<Vec<Score>, RewardError> {
        if let Some(a) = answers.iter().find(|a| a.reference.is_empty()) {
            return Err(RewardError::NoReference { rule: "code", question: short(a.question) });
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(a) = answers.get(at) else { return done };
                done.push((at, self.score(a)));
            }
        };
        let threads = self.at_once.clamp(1, answers.len().max(1));
        let done = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut scores = vec![Score::default(); answers.len()];
        for thread in done {
            let lost = |_| RewardError::Nothing("a thread that ran programs broke off");
            for (at, score) in thread.map_err(lost)? {
                scores[at] = score?;
            }
        }
        Ok(scores)
    }

    fn score(&self, a: &Answer<'_>) -> Result<Score, RewardError> {
        let (code, plain) = code_of(a.text);
        if code.trim().is_empty() {
            return Ok(Score::default());
        }
        for tests in a.reference {
            if self.passes(code, tests)? {
                return Ok(Score::of(plain, true));
            }
        }
        Ok(Score::default())
    }

    fn passes(&self, code: &str, tests: &str) -> Result<bool, RewardError> {
        let folder = tempfile::tempdir().map_err(RewardError::io("making a folder for a program"))?;
        let mut hash = Sha256::new();
        [code, "\0", tests].iter().for_each(|part| hash.update(part));
        let sign: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let text = format!("{code}\n\n{tests}\n\n{}\n", self.print.replace("{}", &sign));
        let file = format!("answer.{}", self.ending);
        std::fs::write(folder.path().join(&file), text).map_err(RewardError::io("writing a program"))?;
        let Some((program, args)) = self.program.split_first() else {
            return Err(RewardError::Nothing("the rule `code` names no program"));
        };
        let args: Vec<PathBuf> = args.iter().chain([&file]).map(PathBuf::from).collect();
        let out = sandbox::run(self.walls, self.limits, Path::new(program), &args, folder.path())?;
        Ok(out.code == Some(0) && !out.late && out.stdout.lines().last() == Some(sign.as_str()))
    }
}

/// The code of an answer, and whether there is nothing else in it.
fn code_of(text: &str) -> (&str, bool) {
    let Some(open) = text.find("```") else { return (text, true) };
    let inner = &text[open + 3..];
    let Some(line) = inner.find('\n') else { return ("", false) };
    let inner = &inner[line + 1..];
    let (code, rest) = match inner.find("```") {
        Some(close) => (&inner[..close], &inner[close + 3..]),
        None => (inner, "unclosed"),
    };
    (code, text[..open].trim().is_empty() && rest.trim().is_empty())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn code() -> Option<Code> {
        let there = std::process::Command::new("python3").arg("--version").output().is_ok();
        if !there {
            eprintln!("skipped: no python3 here");
        }
        let mut code = Code::python(Walls::probe());
        code.limits.time = Duration::from_secs(4);
        there.then_some(code)
    }

    #[test]
    fn tests_decide() {
        let Some(code) = code() else { return };
        let tests = ["assert double(3) == 6\nassert double(-1) == -2".to_string()];
        let looks = |texts: &[&str]| {
            let answers: Vec<_> = texts
                .iter()
                .map(|text| Answer { question: "", text, reference: &tests, worth: &[] })
                .collect();
            let scores = code.scores(&answers).unwrap();
            scores.iter().map(|s| (s.strict, s.lenient)).collect::<Vec<_>>()
        };
        let found = looks(&[
            "def double(x):\n    return 2 * x",
            "```python\ndef double(x):\n    return 2 * x\n```",
            "Of course:\n```python\ndef double(x):\n    return 2 * x\n```\nDone.",
            "def double(x):\n    return x * x",
            "import sys\nsys.exit(0)",
            "import os\nos._exit(0)",
            "def double(x:",
            "while True: pass",
            "def double(x):\n    return 2 * x\nbig = bytearray(2 << 30)",
            "",
        ]);
        let (yes, part, no) = ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0));
        assert_eq!(found, [yes, yes, part, no, no, no, no, no, no, no]);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let walls = Walls { bounds: false, apart: false };
        let code = Code { program: vec!["no-such-program-here".into()], ..Code::python(walls) };
        let reference = ["1".to_string()];
        let error = code
            .scores(&[Answer { question: "", text: "x", reference: &reference, worth: &[] }])
            .unwrap_err();
        assert!(matches!(error, RewardError::Start { .. }), "{error}");
    }
}
