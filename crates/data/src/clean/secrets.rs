//! Keys, tokens and passwords: forms that their makers document, private keys, and values that a word such as
//! `password =` announces.

use super::personal::{Found, Sensitive};

/// First letters of a token, and the least letters behind them.
const PREFIXES: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AKID", 28),
    ("LTAI", 12),
    ("AIza", 35),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghu_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxs-", 20),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("sk-ant-", 30),
    ("sk-proj-", 30),
    ("sk-", 32),
    ("hf_", 30),
    ("npm_", 36),
    ("pypi-", 50),
    ("dop_v1_", 60),
    ("SG.", 40),
];
/// Words that announce a secret.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "accesskey",
    "auth_key",
    "密码",
    "口令",
    "密钥",
    "令牌",
];
const BEGIN: &str = "-----BEGIN ";
const PRIVATE: &str = "PRIVATE KEY-----";
const SHORTEST_VALUE: usize = 8;
const LONGEST_VALUE: usize = 200;
/// Bits a character below which a value is a word, not a secret.
const LEAST_ENTROPY: f64 = 2.75;

/// Finds everything, in order, without overlaps.
pub(crate) fn find(text: &str, out: &mut Vec<Found>) {
    let mut all: Vec<std::ops::Range<usize>> = Vec::new();
    private_keys(text, &mut all);
    tokens(text, &mut all);
    announced(text, &mut all);
    all.sort_by_key(|r| (r.start, std::cmp::Reverse(r.end)));
    let mut end = 0;
    for at in all {
        if at.start >= end {
            end = at.end;
            out.push(Found { what: Sensitive::Secret, at });
        }
    }
}

fn private_keys(text: &str, out: &mut Vec<std::ops::Range<usize>>) {
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|t| t.find(BEGIN)).map(|at| from + at) {
        from = start + BEGIN.len();
        // the longest name of a kind is far shorter than this
        let line = text[from..].char_indices().take(40).take_while(|(_, c)| *c != '\n');
        let end = line.last().map_or(from, |(at, c)| from + at + c.len_utf8());
        if let Some(at) = text[from..end].find(PRIVATE) {
            let body = from + at + PRIVATE.len();
            let end = text[body..].find(PRIVATE).map_or(text.len(), |at| body + at + PRIVATE.len());
            out.push(start..end);
            from = end;
        }
    }
}

fn in_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

/// Tokens that are known by how they begin.
fn tokens(text: &str, out: &mut Vec<std::ops::Range<usize>>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes.get(at..).and_then(|b| b.iter().position(|b| in_token(*b))).map(|n| at + n)
    {
        let mut end = start + bytes[start..].iter().take_while(|b| in_token(**b)).count();
        at = end;
        while end > start && matches!(bytes[end - 1], b'.' | b'-') {
            end -= 1;
        }
        let token = &text[start..end];
        let known = PREFIXES.iter().any(|(prefix, least)| {
            token.strip_prefix(prefix).is_some_and(|rest| rest.len() >= *least && mixed(rest))
        });
        if known || is_web_token(token) {
            out.push(start..end);
        }
    }
}

/// JSON Web Token (RFC 7519): three parts, the first two of them JSON in base64.
fn is_web_token(token: &str) -> bool {
    let mut parts = token.split('.');
    let mut json = || parts.next().is_some_and(|p| p.starts_with("eyJ") && p.len() >= 12);
    json() && json() && parts.next().is_some_and(|p| p.len() >= 16) && parts.next().is_none()
}

/// `password: value`, `"api_key" = "value"`, `密码：value`, and `scheme://user:value@host`.
fn announced(text: &str, out: &mut Vec<std::ops::Range<usize>>) {
    let lower = text.to_ascii_lowercase();
    for word in WORDS {
        for (at, _) in lower.match_indices(word) {
            let rest = &text[at + word.len()..];
            let longer = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            let longer =
                if rest.starts_with('_') { rest.bytes().take(24).take_while(longer).count() } else { 0 };
            let rest = &rest[longer..];
            let skipped = rest.trim_start_matches(['"', '\'', '`', ' ', '*']);
            let skipped = skipped
                .strip_prefix("是")
                .or_else(|| skipped.strip_prefix([':', '=', '：']))
                .unwrap_or_default();
            let value = skipped.trim_start_matches(['=', '>', ' ', '"', '\'', '`', '*']);
            let start = text.len() - value.len();
            // what was skipped stands close by, or it belongs to something else
            if value.is_empty() || start - at - word.len() > 32 {
                continue;
            }
            let len = value
                .bytes()
                .take(LONGEST_VALUE + 1)
                .take_while(|b| b.is_ascii_graphic() && !b"\"'`,;<>()[]{}\\".contains(b));
            let value = value[..len.count()].trim_end_matches(['.', '?', ':', '*']);
            if (SHORTEST_VALUE..=LONGEST_VALUE).contains(&value.len())
                && mixed(value)
                && entropy(value) >= LEAST_ENTROPY
            {
                out.push(start..start + value.len());
            }
        }
    }
    for (at, _) in text.match_indices("://") {
        let rest = &text[at + 3..];
        let authority = &rest
            [..rest.bytes().take(LONGEST_VALUE).take_while(|b| b.is_ascii_graphic() && *b != b'/').count()];
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((name, password)) = user.split_once(':')
            && !password.is_empty()
            && !password.starts_with(['$', '{', '<'])
        {
            let start = at + 3 + name.len() + 1;
            out.push(start..start + password.len());
        }
    }
}

/// Letters and digits, and not what stands for a secret in an example.
fn mixed(value: &str) -> bool {
    let has = |is: fn(&u8) -> bool| value.as_bytes().iter().any(is);
    let sample = ["$", "{", "%", "xxxx", "XXXX", "****", "...", "://"];
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && !sample.iter().any(|s| value.contains(s))
}

/// Bits a character, from how often each byte occurs (Shannon).
fn entropy(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    value.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let n = value.len() as f64;
    counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / n).map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        find(text, &mut out);
        out.into_iter().map(|f| &text[f.at]).collect()
    }

    #[test]
    fn what_is_found() {
        let check = |text: &str, want: &[&str]| assert_eq!(found(text), want, "{text}");
        // put together here, so that no scanner takes this file for a leak
        let key = ["AK", "IA", "Q3EGFB7ZLWX2M5NA"].concat();
        check(&format!("key={key}."), &[&key]);
        let hub = ["gh", "p_", "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8"].concat();
        check(&format!("export T={hub}\n"), &[&hub]);
        let web = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dBjftJeZ4CVPmB92K27uhb"].join(".");
        check(&format!("Bearer {web}"), &[&web]);
        let pem = format!("{BEGIN}RSA {PRIVATE}\nMIIE1234\n-----END RSA {PRIVATE}");
        check(&format!("a\n{pem}\nb"), &[&pem]);
        check("password: hunter2hunter!", &["hunter2hunter!"]);
        check("{\"api_key\": \"9f8e7d6c5b4a\"}", &["9f8e7d6c5b4a"]);
        check("client_secret_id = 'a1b2c3d4e5f6'", &["a1b2c3d4e5f6"]);
        check("密码是Qw3rty!98，请改", &["Qw3rty!98"]);
        check("postgres://app:s3cr3t@db:5432/x", &["s3cr3t"]);
    }

    #[test]
    fn what_is_not() {
        for text in [
            "",
            "The password must be changed.",
            "password: your_password",
            "token = <TOKEN>",
            "token: ${GITHUB_TOKEN_1}",
            "api_key = \"xxxx1234xxxx\"",
            "sk-learn and hf_hub_download",
            "AKIA is a prefix",
            "密码：请输入您的密码",
            "secretary: Smith2",
            "https://example.com/@name:1",
            "-----BEGIN CERTIFICATE-----\nMIIE",
        ] {
            assert_eq!(found(text), [] as [&str; 0], "{text}");
        }
        let long = "password ".repeat(20_000) + &"token=".repeat(20_000) + &BEGIN.repeat(20_000);
        assert_eq!(found(&long), [] as [&str; 0]);
    }
}
