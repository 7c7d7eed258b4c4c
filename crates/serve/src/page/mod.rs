//! The chat page: one document, one style sheet, one script of our own, in the binary.

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::routing::get;

use crate::service::Service;
use serde_json::json;

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("app.mjs");

/// Nothing but this page's own files, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Words of the page: place, English, Chinese.
const WORDS: &[[&str; 3]] = &[
    ["lang", "en", "zh-CN"],
    ["title", "chat", "对话"],
    ["skip", "To the question", "跳到输入框"],
    ["model", "Model", "模型"],
    ["beside", "Beside it", "并排比较"],
    ["nobody", "nobody", "无"],
    ["language", "Language", "语言"],
    [
        "empty",
        "Ask something. With a second model chosen, both answer side by side.",
        "请提问。选了第二个模型时，两个模型并排回答。",
    ],
    ["key", "API key", "API 密钥"],
    ["question", "Question", "问题"],
    ["placeholder", "Your question", "输入问题"],
    ["send", "Send", "发送"],
    ["stop", "Stop", "停止"],
    ["hint", "Enter sends, Shift+Enter breaks the line, Esc stops.", "回车发送，Shift+回车换行，Esc 停止。"],
    ["settings", "Settings", "设置"],
    ["system", "System text", "系统提示"],
    ["temperature", "Temperature (0: always the likeliest)", "温度（0：总取最可能的）"],
    ["most", "Most tokens of an answer", "每个回答最多的词元数"],
    ["anew", "New conversation", "新对话"],
    ["noscript", "This page needs JavaScript.", "本页需要 JavaScript。"],
];

/// Words that the script uses.
const SCRIPT_WORDS: &[[&str; 3]] = &[
    ["tokens", "tokens", "个词元"],
    ["rate", "tokens/s", "词元/秒"],
    ["cut", "cut at the limit", "达到上限，已截断"],
    ["stopped", "stopped", "已停止"],
    ["copy", "Copy", "复制"],
    ["copied", "Copied", "已复制"],
];

/// Routes of the page.
pub(crate) fn routes() -> Router<Service> {
    Router::new()
        .route("/", get(index))
        .route("/page/style.css", get(|| async { file(STYLE, "text/css; charset=utf-8") }))
        .route("/page/app.mjs", get(|| async { file(SCRIPT, "text/javascript; charset=utf-8") }))
}

async fn index(RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    let asked = query.as_deref().and_then(|q| q.split('&').find_map(|p| p.strip_prefix("lang=")));
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let chinese = asked.map_or_else(|| accepted.trim_start().starts_with("zh"), |l| l.starts_with("zh"));
    file(&page(chinese), "text/html; charset=utf-8")
}

fn page(chinese: bool) -> String {
    let column = if chinese { 2 } else { 1 };
    let words: serde_json::Map<_, _> =
        SCRIPT_WORDS.iter().map(|w| (w[0].to_string(), w[column].into())).collect();
    let words = json!(words).to_string();
    let filled =
        WORDS.iter().fold(PAGE.to_string(), |page, w| page.replace(&format!("{{{{{}}}}}", w[0]), w[column]));
    filled.replace("{{words}}", &words)
}

fn file(text: &str, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_filled_in_both_languages() {
        for chinese in [false, true] {
            let page = page(chinese);
            assert!(!page.contains("{{") && page.contains(if chinese { "发送" } else { "Send" }), "{page}");
        }
        for [word, ..] in SCRIPT_WORDS {
            assert!(SCRIPT.contains(&format!("words.{word}")), "{word}");
        }
        // nothing from elsewhere
        assert!(![PAGE, STYLE, SCRIPT].iter().any(|f| f.contains("http://") || f.contains("https://")));
    }
}
