//! Tokens and loss mask side by side, for people.

use std::fmt::Write as _;

use crate::render::Renderer;

const TRAINED: &str = "\u{1b}[32m";
const QUIET: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

impl Renderer {
    /// One line a token: its place, `+` if it is trained, its id, its bytes as text. With `colour`, trained tokens are
    /// green and the others dim (ANSI).
    pub fn show(&self, tokens: &[u32], trained: &[bool], colour: bool) -> String {
        let width = tokens.len().saturating_sub(1).to_string().len();
        let id_width = self.tokenizer().vocab_size().saturating_sub(1).to_string().len();
        let mut out = String::new();
        for (i, (&id, &trained)) in tokens.iter().zip(trained).enumerate() {
            let (on, off) = match (colour, trained) {
                (false, _) => ("", ""),
                (true, true) => (TRAINED, RESET),
                (true, false) => (QUIET, RESET),
            };
            let mark = if trained { '+' } else { '·' };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{on}{i:width$} {mark} {id:id_width$} {}{off}", self.visible(id));
        }
        out
    }

    /// A token's bytes in quotes: control characters escaped, bytes that are no whole character in hex.
    fn visible(&self, id: u32) -> String {
        let Some(bytes) = self.tokenizer().token_bytes(id) else { return "(no such token)".to_owned() };
        match std::str::from_utf8(&bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => bytes.iter().map(|b| format!("<{b:02X}>")).collect(),
        }
    }
}
