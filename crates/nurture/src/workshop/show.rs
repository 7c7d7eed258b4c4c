//! Examples with their masks, by `nurture show example RUN --json`: a process of its own reads model and data, so that the
//! server holds neither.

use nurture_serve::{Masked, Told};
use serde::Deserialize;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time that it may take.
const TIME: Duration = Duration::from_secs(180);
/// Most bytes that it may say.
const BYTES: u64 = 64 << 20;

/// A line of `nurture show example --json`.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    tokens: Vec<(u32, String, bool)>,
}

pub(super) fn examples(program: &Path, run: &Path, of_each: usize) -> Result<Vec<Masked>, Told> {
    let failed = |e: std::io::Error| Told::new(e.to_string(), e.to_string());
    let mut command = Command::new(program);
    command.args(["show", "example"]).arg(run).args(["--json", "--n", &of_each.to_string()]);
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let reader = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(stream) = stream {
                _ = stream.take(BYTES).read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = reader(child.stdout.take().map(|s| Box::new(s) as _));
    let err = reader(child.stderr.take().map(|s| Box::new(s) as _));
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if begin.elapsed() > TIME => {
                _ = child.kill();
                _ = child.wait();
                let seconds = TIME.as_secs();
                return Err(Told::new(
                    format!("reading the examples took more than {seconds} s"),
                    format!("读取样例超过了 {seconds} 秒"),
                ));
            }
            None => std::thread::sleep(Duration::from_millis(30)),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !status.success() {
        let why = err.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().to_string();
        return Err(Told::new(format!("the examples cannot be read: {why}"), format!("无法读取样例：{why}")));
    }
    let lines = out.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok());
    Ok(lines
        .map(|l| Masked {
            id: l.id,
            tokens: l.tokens.into_iter().map(|(_, text, trained)| (text, trained)).collect(),
        })
        .collect())
}
