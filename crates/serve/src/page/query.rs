//! Names and values as browsers send them: query strings, form bodies, cookies.

use axum::http::{HeaderMap, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most pairs that are looked at.
const PAIRS: usize = 64;

/// All but letters, digits and `-._~`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The pairs of a query string or of a form's body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(crate) fn parse(text: &str) -> Pairs {
        let decode = |s: &str| percent_decode_str(&s.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|p| !p.is_empty()).take(PAIRS);
        Pairs(
            pairs
                .map(|p| p.split_once('=').unwrap_or((p, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

/// A text as one part of an address.
pub(crate) fn in_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// The value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(';')).find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
}

/// An address of this site alone: nobody is led elsewhere by a link to us.
pub(crate) fn local(address: Option<&str>) -> &str {
    let own = |a: &&str| {
        a.starts_with('/')
            && !a.starts_with("//")
            && !a.contains('\\')
            && a.bytes().all(|b| b.is_ascii_graphic())
    };
    address.filter(own).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let p = Pairs::parse("q=a+b%26%E4%BD%A0&x&n=12&q=later");
        assert_eq!(
            (p.get("q"), p.get("x"), p.number("n"), p.get("z")),
            (Some("a b&你"), Some(""), Some(12), None)
        );
        assert_eq!(in_path("a b/你"), "a%20b%2F%E4%BD%A0");
    }

    #[test]
    fn nobody_is_led_elsewhere() {
        for (given, want) in [
            ("/runs?x=1", "/runs?x=1"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https:evil", "/"),
            ("/a\nb", "/"),
        ] {
            assert_eq!(local(Some(given)), want);
        }
        assert_eq!(local(None), "/");
    }

    #[test]
    fn cookies_are_whole_names() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "xa=1; a=2; ab=3".parse().unwrap());
        assert_eq!((cookie(&headers, "a"), cookie(&headers, "b")), (Some("2"), None));
    }
}
