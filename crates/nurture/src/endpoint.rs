//! A client of any OpenAI-compatible endpoint: one question, one answer. For judges and teachers outside this process.
//!
//! The key is the value of an environment variable that the recipe names; it never stands in a recipe, a lock file or a
//! message. Answers are bounded, waits too, and a server that is busy is asked again.

use crate::said;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::Duration;

/// Tries for one answer.
const TRIES: u32 = 4;
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of an answer at most.
const MOST: u64 = 4 << 20;

/// Where a model answers.
#[derive(Clone)]
pub struct Endpoint {
    url: String,
    model: String,
    key: Option<String>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Endpoint {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `url` is what clients call the base URL, with or without `/v1`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(url: &str, model: &str, key: Option<String>) -> Result<Endpoint> {
        let base = url.trim().trim_end_matches('/');
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            bail!(said!(
                "{url}: an address begins with http:// or https://",
                "{url}：地址应以 http:// 或 https:// 开头"
            ));
        }
        let base = base.trim_end_matches("/chat/completions").trim_end_matches("/v1");
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(
                ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build(),
            )
            .build();
        Ok(Endpoint {
            url: format!("{base}/v1/chat/completions"),
            model: model.to_string(),
            key,
            agent: ureq::Agent::new_with_config(config),
        })
    }

    /// As [`Endpoint::new`], with the key that stands in the environment variable `name`, if one is named; `by` says by what.
    ///
    /// # Errors
    /// An address that is none, a variable that is not set.
    pub fn with_key_of(
        url: &str,
        model: &str,
        name: Option<&str>,
        by: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Endpoint> {
        let value = |name: &str| match variable(name).filter(|v| !v.is_empty()) {
            Some(key) => Ok(key),
            None => bail!(said!(
                "the environment variable {name} ({by}) is not set",
                "没有设置环境变量 {name}（{by}）"
            )),
        };
        Endpoint::new(url, model, name.map(value).transpose()?)
    }

    /// The address that is asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name of the model that answers.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// One answer at temperature 0.
    ///
    /// # Errors
    /// Nobody there, a refusal, or an answer that is none; with the address.
    pub fn ask(&self, system: &str, user: &str, max_tokens: usize) -> Result<String> {
        let body = json!({
            "model": self.model,
            "messages": [{ "role": "system", "content": system }, { "role": "user", "content": user }],
            "temperature": 0,
            "max_tokens": max_tokens,
        });
        let mut trouble = String::new();
        for round in 0..TRIES {
            if round > 0 {
                std::thread::sleep(Duration::from_millis(500 << (2 * round)));
            }
            match self.once(&body) {
                Ok((200, text)) => return self.answer(&text),
                Ok((status, text)) => {
                    let said: Option<String> = serde_json::from_str::<Value>(&text)
                        .ok()
                        .and_then(|v| v["error"]["message"].as_str().map(String::from));
                    let said = said.unwrap_or_else(|| text.chars().take(200).collect());
                    trouble = format!("HTTP {status}: {said}");
                    if !(status == 429 || status >= 500) {
                        break;
                    }
                }
                Err(e) => trouble = e.to_string(),
            }
        }
        let url = &self.url;
        bail!(said!(
            "{url} gives no answer: {trouble}. Answers that came are kept; the same command goes on from there",
            "{url} 没有给出回答：{trouble}。已得到的回答都保留；同一命令会从此继续"
        ))
    }

    fn once(&self, body: &Value) -> Result<(u16, String), ureq::Error> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", &format!("Bearer {key}"));
        }
        let response = request.send(body.to_string().as_bytes())?;
        let status = response.status().as_u16();
        let mut text = String::new();
        response.into_body().into_reader().take(MOST).read_to_string(&mut text)?;
        Ok((status, text))
    }

    fn answer(&self, text: &str) -> Result<String> {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        match value["choices"][0]["message"]["content"].as_str() {
            Some(content) => Ok(content.to_string()),
            None => {
                let (url, head) = (&self.url, text.chars().take(200).collect::<String>());
                bail!(said!(
                    "{url} answers in another form than OpenAI's: {head}",
                    "{url} 的回答不是 OpenAI 的形式：{head}"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_spelling() {
        for url in
            ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/", "http://a:1/v1/chat/completions"]
        {
            let e = Endpoint::new(url, "m", Some("secret".into())).unwrap();
            assert_eq!(e.url, "http://a:1/v1/chat/completions", "{url}");
            assert!(!format!("{e:?}").contains("secret"));
        }
        assert!(Endpoint::new("a:1", "m", None).is_err());
    }

    #[test]
    fn answers_in_other_forms_are_refused() {
        let e = Endpoint::new("http://a:1", "m", None).unwrap();
        assert_eq!(e.answer(r#"{"choices": [{"message": {"content": "yes"}}]}"#).unwrap(), "yes");
        for text in ["", "{}", "[]", r#"{"choices": []}"#, "<html>"] {
            assert!(e.answer(text).unwrap_err().to_string().contains("another form"), "{text}");
        }
    }
}
