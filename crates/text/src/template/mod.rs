//! Chat templates: the model's own Jinja source, run in a sandbox.
//!
//! Rendering equals Hugging Face's `apply_chat_template`: its whitespace rules, loop controls, `raise_exception`,
//! `tojson`, `strftime_now`, Python's string and dictionary methods. A template comes out of a file from anywhere, so
//! its source, its steps, its recursion and its output are limited, and it can load nothing.

mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde_json::Map;

use crate::error::{Result, TextError};
use crate::message::Message;
use crate::tokenizer::SpecialNames;

pub use python::Clock;

/// Largest source accepted, in bytes. The longest in common use have about 20 thousand.
pub const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Steps of one rendering before the allowance for the messages themselves.
const FUEL: u64 = 2_000_000;
const FUEL_PER_MESSAGE: u64 = 5_000;
/// Output may be this much, and this many times the messages.
const OUTPUT_BYTES: u64 = 1 << 20;
const OUTPUT_TIMES: u64 = 16;
const RECURSION: usize = 100;

const NAME_IN_ENVIRONMENT: &str = "chat";

/// The built-in templates by name.
const NAMED: [(&str, &str); 2] =
    [("plain", include_str!("plain.jinja")), ("chatml", include_str!("chatml.jinja"))];

/// What a template is given besides the messages.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// The time that `strftime_now` tells. Without it the function is not defined: a template that asks first
    /// (Llama 3.2) falls back to its own date, one that does not is an error. Nothing here reads a clock.
    pub now: Option<Clock>,
    /// Further variables, such as `enable_thinking` or `tools`; they go before the usual ones.
    pub variables: Map<String, serde_json::Value>,
}

/// A compiled chat template: immutable, to be shared by threads.
pub struct ChatTemplate {
    name: String,
    source: String,
    environment: Environment<'static>,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("name", &self.name)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Clone for ChatTemplate {
    fn clone(&self) -> Self {
        ChatTemplate {
            name: self.name.clone(),
            source: self.source.clone(),
            environment: self.environment.clone(),
        }
    }
}

impl ChatTemplate {
    /// A built-in template. There is `plain`, for base models that bring none: questions after `Q:`, answers after
    /// `A:`, each answer ended by the end-of-sequence token.
    ///
    /// # Errors
    /// An unknown name.
    pub fn named(name: &str) -> Result<ChatTemplate> {
        match NAMED.iter().find(|(known, _)| *known == name) {
            Some((name, source)) => ChatTemplate::new(*name, *source),
            None => Err(TextError::UnknownTemplate { found: name.to_owned(), known: "plain, chatml" }),
        }
    }

    /// Compiles a template. The name is only for messages and records.
    ///
    /// # Errors
    /// A source that is too long or does not parse.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Result<ChatTemplate> {
        let (name, source) = (name.into(), source.into());
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TextError::TemplateLimit {
                name,
                what: "its source",
                limit: MAX_SOURCE_BYTES as u64,
            });
        }
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let mut environment = Environment::new();
        environment.set_syntax(syntax.map_err(|e| syntax_error(&name, &e))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_recursion_limit(RECURSION);
        environment.set_debug(false);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::print);
        environment.add_function("raise_exception", python::raise_exception);
        environment.add_filter("tojson", python::to_json);
        environment
            .add_template_owned(NAME_IN_ENVIRONMENT, without_generation_tags(&source))
            .map_err(|e| syntax_error(&name, &e))?;
        Ok(ChatTemplate { name, source, environment })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source as it was given, for records and exports.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders messages to text, as `apply_chat_template(messages, tokenize=False)` does.
    ///
    /// # Errors
    /// What the template raises, names it misses, and the sandbox's limits.
    pub fn render(
        &self,
        messages: &[Message],
        names: &SpecialNames,
        options: &RenderOptions,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let content: u64 = messages.iter().map(|m| (m.role.len() + m.content.len()) as u64).sum();
        let fuel = FUEL + content + FUEL_PER_MESSAGE * messages.len() as u64;
        let limit = OUTPUT_BYTES + OUTPUT_TIMES * content;
        // The allowance depends on the messages, and the environment holds it: a clone shares the compiled template.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template =
            environment.get_template(NAME_IN_ENVIRONMENT).map_err(|e| syntax_error(&self.name, &e))?;
        let mut out = Limited { text: Vec::new(), limit: limit as usize, exceeded: false };
        let outcome =
            template.render_captured_to(variables(messages, names, options, add_generation_prompt), &mut out);
        match outcome.map(drop) {
            _ if out.exceeded => Err(self.limit("its output in bytes", limit)),
            Err(e) if e.kind() == ErrorKind::OutOfFuel => Err(self.limit("its number of steps", fuel)),
            Err(e) => Err(TextError::TemplateRender {
                name: self.name.clone(),
                line: e.line().unwrap_or(0),
                problem: describe(&e),
            }),
            Ok(()) => Ok(String::from_utf8_lossy(&out.text).into_owned()),
        }
    }

    fn limit(&self, what: &'static str, limit: u64) -> TextError {
        TextError::TemplateLimit { name: self.name.clone(), what, limit }
    }
}

fn variables(messages: &[Message], names: &SpecialNames, options: &RenderOptions, prompt: bool) -> Value {
    let messages: Vec<Value> = messages
        .iter()
        .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
        .collect();
    let mut all = vec![
        ("messages".to_owned(), Value::from(messages)),
        ("tools".to_owned(), Value::from(())),
        ("documents".to_owned(), Value::from(())),
        ("add_generation_prompt".to_owned(), Value::from(prompt)),
    ];
    let SpecialNames { bos, eos, unk, pad } = names;
    for (key, text) in [("bos_token", bos), ("eos_token", eos), ("unk_token", unk), ("pad_token", pad)] {
        all.extend(text.as_deref().map(|text| (key.to_owned(), Value::from(text))));
    }
    if let Some(now) = options.now {
        all.push((
            "strftime_now".to_owned(),
            Value::from_function(move |format: &str| python::strftime(now, format)),
        ));
    }
    all.extend(options.variables.iter().map(|(key, value)| (key.clone(), python::from_json(value))));
    Value::from_pairs(all)
}

/// Hugging Face marks what the assistant writes with `{% generation %}`; here the renderer finds it by itself, and the
/// tag becomes one that does nothing, with the same effect on white space.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else { break };
        let (tag, after) = tag.split_at(end + 2);
        let word = tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\n', '\t', '\r']);
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn syntax_error(name: &str, e: &minijinja::Error) -> TextError {
    TextError::TemplateSyntax { name: name.to_owned(), line: e.line().unwrap_or(0), problem: describe(e) }
}

fn describe(e: &minijinja::Error) -> String {
    match e.detail() {
        Some(detail) if detail.contains("strftime_now") => {
            format!("{detail}: the template asks for the date; give one in the options")
        }
        Some(detail) => format!("{}: {detail}", e.kind()),
        None => e.kind().to_string(),
    }
}

/// Collects output up to a limit.
struct Limited {
    text: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl std::io::Write for &mut Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            self.exceeded = true;
            return Err(std::io::Error::other("output limit"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        let message = Message::new("user", "hi");
        ChatTemplate::new("t", source)?.render(
            &[message],
            &SpecialNames::default(),
            &RenderOptions::default(),
            false,
        )
    }

    #[test]
    fn generation_tags_do_nothing() {
        let source = "a\n{% generation %}\n  b\n  {%- endgeneration -%}\n c";
        assert_eq!(render(source).unwrap(), "a\n  bc");
    }

    #[test]
    fn limits_hold() {
        let limit = |source: &str| match render(source) {
            Err(TextError::TemplateLimit { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            limit("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
            "its number of steps"
        );
        assert_eq!(
            limit("{% for i in range(9999) %}{{ 'xxxxxxxxxx' * 1000 }}{% endfor %}"),
            "its output in bytes"
        );
        assert_eq!(limit(&"x".repeat(MAX_SOURCE_BYTES + 1)), "its source");
        let deep = render("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}").unwrap_err().to_string();
        assert!(deep.contains("recursion"), "{deep}");
        let nested = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
        assert!(matches!(render(&nested), Err(TextError::TemplateSyntax { .. })));
        assert!(render("{{ 'x' * 10 ** 12 }}").is_err());
        assert!(render("{% include 'other' %}").is_err());
    }

    #[test]
    fn errors_carry_line_and_reason() {
        let raised = render("\n\n{{ raise_exception('no system role') }}").unwrap_err().to_string();
        assert_eq!(raised, "chat template \"t\" line 3: invalid operation: no system role");
        let broken = render("\n{% for %}").unwrap_err().to_string();
        assert!(broken.contains("line 2"), "{broken}");
        let date = render("{{ strftime_now('%Y') }}").unwrap_err().to_string();
        assert!(date.contains("give one in the options"), "{date}");
        assert_eq!(render("{% if strftime_now is defined %}x{% else %}y{% endif %}").unwrap(), "y");
    }
}
