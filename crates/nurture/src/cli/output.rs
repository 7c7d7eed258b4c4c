//! Everything that reaches the terminal goes through here: results to stdout, notes and progress to stderr.

use std::io::{ErrorKind, IsTerminal, Write};

use nurture::lang::Lang;
use nurture::{messages, say};

/// Exit code when the reader of our output has gone away, as a shell shows SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// Where output goes and what it can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) lang: Lang,
    /// stdin, stdout, stderr are a terminal
    pub(crate) stdin_tty: bool,
    pub(crate) stdout_tty: bool,
    pub(crate) stderr_tty: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(lang: Lang, no_colour: bool) -> Output {
        let stderr_tty = std::io::stderr().is_terminal();
        Output {
            lang,
            stdin_tty: std::io::stdin().is_terminal(),
            stdout_tty: std::io::stdout().is_terminal(),
            stderr_tty,
            colour: stderr_tty && !no_colour,
        }
    }

    /// A piece of the result, at once.
    pub(crate) fn piece(&self, text: &str) {
        deliver(&mut std::io::stdout().lock(), text);
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: &str) {
        self.piece(&format!("{text}\n"));
    }

    /// A line beside the result.
    pub(crate) fn note(&self, text: &str) {
        let text = if self.colour { format!("\u{1b}[2m{text}\u{1b}[0m\n") } else { format!("{text}\n") };
        deliver(&mut std::io::stderr().lock(), &text);
    }

    /// A piece beside the result (prompts).
    pub(crate) fn aside(&self, text: &str) {
        deliver(&mut std::io::stderr().lock(), text);
    }

    /// Something the user should know before trusting the result.
    pub(crate) fn warn(&self, text: &str) {
        let head = self.lang.pick("warning:", "注意：");
        let gap = self.lang.pick(" ", "");
        let line = if self.colour {
            format!("\u{1b}[33m{head}\u{1b}[0m{gap}{text}\n")
        } else {
            format!("{head}{gap}{text}\n")
        };
        deliver(&mut std::io::stderr().lock(), &line);
    }

    /// What went wrong, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let head = self.lang.pick("error:", "错误：");
        let gap = self.lang.pick(" ", "");
        let lines = messages::lines(self.lang, error);
        let (first, causes) = lines.split_first().map_or(("", &[][..]), |(f, c)| (f.as_str(), c));
        let mut text = if self.colour {
            format!("\u{1b}[31m{head}\u{1b}[0m{gap}{first}\n")
        } else {
            format!("{head}{gap}{first}\n")
        };
        for cause in causes {
            text += &say!(self.lang, "  because: {cause}\n", "  原因：{cause}\n");
        }
        deliver(&mut std::io::stderr().lock(), &text);
    }

    /// Whether colour may be used on stdout.
    pub(crate) fn stdout_colour(&self) -> bool {
        self.stdout_tty && self.colour
    }
}

/// Writes and flushes. A reader that has gone away ends the program quietly.
fn deliver(stream: &mut dyn Write, text: &str) {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "nurture: output: {e}");
            std::process::exit(1);
        }
    }
}

/// `98.4 MB`: decimal units, as disks are sold and the hub shows them.
pub(crate) fn size(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", b / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", b / 1e6),
        _ => format!("{:.2} GB", b / 1e9),
    }
}

/// `134.5 M`
pub(crate) fn many(n: u64) -> String {
    let x = n as f64;
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1} k", x / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", x / 1e6),
        _ => format!("{:.2} B", x / 1e9),
    }
}

/// Columns that a text takes on a terminal: Chinese, Japanese and Korean characters take two.
pub(crate) fn width(text: &str) -> usize {
    let wide = |c: char| matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x20000..=0x3fffd);
    text.chars().map(|c| 1 + usize::from(wide(c))).sum()
}

/// Rows as columns; `right` names the columns that are set to the right. The first row is the head.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| rows.iter().filter_map(|r| r.get(i)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, &w)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(w - width(cell).min(w));
            let gap = if i > 0 { "  " } else { "" };
            line += gap;
            line += &if right.contains(&i) { pad + cell } else { format!("{cell}{pad}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let want = [(999, "999 B"), (98_362_432, "98.4 MB"), (2_500_000_000, "2.50 GB")];
        for (bytes, text) in want {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn chinese_columns_line_up() {
        let rows = vec![vec!["名称".to_string(), "1".into()], vec!["abc".into(), "22".into()]];
        assert_eq!(table(&rows, &[1]), "名称   1\nabc   22\n");
    }
}
