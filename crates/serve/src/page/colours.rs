//! Code in colours: syntect finds what a piece is, and ten short classes are all that the page needs to know of it.

use super::markdown::escape;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxSet};
use syntect::util::LinesWithEndings;

/// More than this is shown without colours.
const BYTES: usize = 64 << 10;
const LINE: usize = 2 << 10;
/// Patterns may be slow on hostile text: then the rest stays without colours.
const TIME: Duration = Duration::from_millis(150);

/// Classes: comment, string, number, keyword, name of a function, type, constant, tag or key, deleted, inserted.
pub(crate) const CLASSES: &[&str] = &["o", "s", "n", "k", "f", "t", "c", "g", "d", "i"];

/// What a scope begins with, and its class; the first that fits counts.
const SCOPES: &[(&str, &str)] = &[
    ("comment", "o"),
    ("markup.deleted", "d"),
    ("markup.inserted", "i"),
    ("constant.character.escape", "c"),
    ("string", "s"),
    ("constant.numeric", "n"),
    ("constant", "c"),
    ("entity.name.tag", "g"),
    ("entity.other.attribute-name", "f"),
    ("entity.name.function", "f"),
    ("support.function", "f"),
    ("variable.function", "f"),
    ("entity.name", "t"),
    ("support.type", "t"),
    ("support.class", "t"),
    ("storage.type", "k"),
    ("storage", "k"),
    ("keyword.operator", ""),
    ("keyword", "k"),
    ("variable.language", "c"),
];

struct Known {
    set: SyntaxSet,
    scopes: Vec<(Scope, &'static str)>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    set: SyntaxSet::load_defaults_newlines(),
    scopes: SCOPES.iter().filter_map(|(name, class)| Some((Scope::new(name).ok()?, *class))).collect(),
});

/// Code of a language as HTML; of an unknown one without colours.
pub(crate) fn html(lang: &str, code: &str) -> String {
    let lang = match lang.to_ascii_lowercase().as_str() {
        "python3" | "py3" => "python".to_string(),
        "shell" | "console" | "zsh" => "bash".to_string(),
        // near enough for colours
        "toml" | "ini" | "conf" => "yaml".to_string(),
        "typescript" | "ts" | "tsx" | "jsx" | "mjs" => "javascript".to_string(),
        "c++" => "cpp".to_string(),
        other => other.to_string(),
    };
    let known =
        if code.len() > BYTES || lang.is_empty() { None } else { KNOWN.set.find_syntax_by_token(&lang) };
    let Some(syntax) = known else { return escape(code) };
    let (mut state, mut stack, begin) = (ParseState::new(syntax), ScopeStack::new(), Instant::now());
    let mut out = String::with_capacity(code.len() * 2);
    let mut plain = false;
    for line in LinesWithEndings::from(code) {
        plain |= line.len() > LINE || begin.elapsed() > TIME;
        let ops = if plain { Err(()) } else { state.parse_line(line, &KNOWN.set).map_err(|_| ()) };
        let Ok(ops) = ops else {
            plain = true;
            out.push_str(&escape(line));
            continue;
        };
        let mut at = 0;
        for (place, op) in ops {
            push(&mut out, line.get(at..place).unwrap_or_default(), &stack);
            at = place.max(at);
            plain |= stack.apply(&op).is_err();
        }
        push(&mut out, line.get(at..).unwrap_or_default(), &stack);
    }
    out
}

fn push(out: &mut String, text: &str, stack: &ScopeStack) {
    if text.is_empty() {
        return;
    }
    let class = stack.as_slice().iter().rev().find_map(|scope| {
        KNOWN.scopes.iter().find(|(prefix, _)| prefix.is_prefix_of(*scope)).map(|(_, class)| *class)
    });
    match class {
        Some(class) if !class.is_empty() => {
            out.push_str("<span class=\"");
            out.push_str(class);
            out.push_str("\">");
            out.push_str(&escape(text));
            out.push_str("</span>");
        }
        _ => out.push_str(&escape(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_one_that_the_page_allows() {
        assert!(SCOPES.iter().all(|(_, class)| class.is_empty() || CLASSES.contains(class)));
        assert_eq!(KNOWN.scopes.len(), SCOPES.len());
    }

    #[test]
    fn text_is_kept_and_escaped_whatever_the_language() {
        let code = "fn main() { let s = \"<b>\"; } // &\n";
        for lang in ["rust", "python", "json", "html", "sql", "nonsense", ""] {
            let html = html(lang, code);
            let mut text = html.clone();
            while let (Some(a), Some(b)) = (text.find('<'), text.find('>')) {
                text.replace_range(a..=b, "");
            }
            assert_eq!(text, escape(code), "{lang}");
        }
        assert!(html("rust", code).contains("<span class=\"k\">fn</span>"), "{}", html("rust", code));
    }
}
