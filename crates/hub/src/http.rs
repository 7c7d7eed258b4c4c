//! HTTP sources: one file from an address, resumable, with limits on every wait.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};

use crate::error::{FailureKind, HubError, Stop};
use crate::options::PullOptions;
use crate::part::Part;
use crate::progress::{Progress, Tell};

/// Tries in a row that bring next to nothing before a source that has been reached is given up.
const FRUITLESS_TRIES: u32 = 3;
/// A transfer that brings fewer bytes than this within the stall limit stands still.
const CRAWL_BYTES: u64 = 4096;
const MAX_REDIRECTS: usize = 8;
/// Upper limit for an answer that is read into memory (a repository's list of files).
const MAX_LISTING: u64 = 16 << 20;

/// A client with the pull's limits, system certificates, and redirects followed by ourselves.
pub(crate) struct Client<'a> {
    options: &'a PullOptions,
    proxy: Option<ureq::Proxy>,
}

/// An answer with status 2xx, 416, or an error status that the caller judges.
struct Answer {
    status: StatusCode,
    /// Of the last answer.
    headers: HeaderMap,
    /// sha256 that the hub names for the file, from any answer on the way.
    linked_sha256: Option<String>,
    body: ureq::Body,
}

/// What a hub says about a file while sending it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Meta {
    /// sha256 of the file by the hub's own word.
    pub(crate) sha256: Option<String>,
}

impl<'a> Client<'a> {
    /// Checks the proxy settings.
    pub(crate) fn new(options: &'a PullOptions) -> Result<Self, HubError> {
        let proxy =
            options.proxy.as_ref().map(|settings| proxy(settings.url.as_str(), settings)).transpose()?;
        Ok(Self { options, proxy })
    }

    /// Brings the file at `url` into `part`. `expected` is the sha256 known beforehand.
    pub(crate) fn fetch(
        &self,
        url: &str,
        token: bool,
        expected: Option<&str>,
        part: &mut Part,
        tell: &mut Tell<'_>,
    ) -> Result<Meta, Stop> {
        let mut fruitless = 0;
        let mut reached = false;
        loop {
            let before = part.len();
            let (reason, pause) = match self.once(url, token, expected, part, &mut reached, tell) {
                Ok(meta) => return Ok(meta),
                Err(Once::Final(stop)) => return Err(stop),
                Err(Once::Again(reason, pause)) => (reason, pause),
            };
            fruitless = if part.len() >= before + CRAWL_BYTES { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS_TRIES || !reached {
                let kind = if reached { FailureKind::Interrupted } else { FailureKind::Unreachable };
                return Err(Stop::Source(kind, reason));
            }
            tell(Progress::Retrying { reason: &reason });
            self.pause(pause)?;
        }
    }

    /// The body of a small answer, for example a repository's list of files.
    pub(crate) fn get_text(&self, url: &str, token: bool) -> Result<String, Stop> {
        let answer = self.get(url, token, 0).map_err(|once| match once {
            Once::Final(stop) => stop,
            Once::Again(reason, _) => Stop::Source(FailureKind::Unreachable, reason),
        })?;
        if !answer.status.is_success() {
            return Err(refused(answer.status));
        }
        let mut text = String::new();
        let read = answer.body.into_reader().take(MAX_LISTING).read_to_string(&mut text);
        read.map_err(|e| Stop::Source(FailureKind::Interrupted, e.to_string()))?;
        Ok(text)
    }

    fn once(
        &self,
        url: &str,
        token: bool,
        expected: Option<&str>,
        part: &mut Part,
        reached: &mut bool,
        tell: &mut Tell<'_>,
    ) -> Result<Meta, Once> {
        if part.needed().is_some_and(|n| n == part.len()) && part.len() > 0 && expected.is_some() {
            return Ok(Meta::default());
        }
        let answer = self.get(url, token, part.len())?;
        *reached = true;
        let Answer { status, headers, linked_sha256, body } = answer;
        if let (Some(expected), Some(linked)) = (expected, linked_sha256.as_deref())
            && expected != linked
        {
            let reason = format!("the file there has sha256 {linked}, but {expected} is expected");
            return Err(Once::source(FailureKind::Mismatch, reason));
        }
        let etag = text_of(&headers, "etag").map(str::to_owned);
        let start = match status {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart()?;
                return Err(Once::Again("the server cannot go on from what is here".into(), 0));
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = text_of(&headers, "content-range").and_then(content_range);
                let same = part.state.etag.is_none() || part.state.etag == etag;
                let (Some((start, total)), true) = (range, same) else {
                    part.restart()?;
                    return Err(Once::Again("the file there has changed since the last try".into(), 0));
                };
                if start != part.len() {
                    part.restart()?;
                    return Err(Once::Again("the server sends another range than asked for".into(), 0));
                }
                self.check_total(total, expected, part)?;
                start
            }
            s if s.is_success() => {
                if text_of(&headers, "content-type").is_some_and(|t| t.starts_with("text/html")) {
                    let reason = "a web page came instead of the file (a login page of the network?)";
                    return Err(Once::source(FailureKind::NotFound, reason.into()));
                }
                part.restart()?;
                let total = text_of(&headers, "content-length").and_then(|v| v.trim().parse().ok());
                self.check_total(total, expected, part)?;
                0
            }
            s if s == StatusCode::TOO_MANY_REQUESTS || s.is_server_error() => {
                let wait = text_of(&headers, "retry-after").and_then(|v| v.trim().parse().ok()).unwrap_or(1);
                return Err(Once::Again(format!("the server answers {s}"), wait));
            }
            s => return Err(Once::Final(refused(s))),
        };
        if part.state.etag != etag {
            part.state.etag = etag;
            part.save_state()?;
        }
        self.stream(body, part, tell)?;
        match part.needed() {
            Some(total) if part.len() < total => {
                Err(Once::Again(format!("the transfer ended at byte {} of {total}", part.len()), 0))
            }
            None if part.len() == start => Err(Once::source(FailureKind::Interrupted, "no byte came".into())),
            _ => Ok(Meta { sha256: linked_sha256 }),
        }
    }

    /// A wrong length is known before the transfer; a file pinned by hash has one length only.
    fn check_total(&self, total: Option<u64>, expected: Option<&str>, part: &mut Part) -> Result<(), Once> {
        let Some(total) = total else { return Ok(()) };
        if let (Some(needed), Some(_)) = (part.needed(), expected)
            && needed != total
        {
            let reason = format!("the file there has {total} bytes, but {needed} are expected");
            return Err(Once::source(FailureKind::Mismatch, reason));
        }
        Ok(part.expect_bytes(total)?)
    }

    fn stream(&self, body: ureq::Body, part: &mut Part, tell: &mut Tell<'_>) -> Result<(), Once> {
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 17];
        let (mut window, mut window_start) = (Instant::now(), part.len());
        loop {
            self.options.check_cancel()?;
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => part.write(buffer.get(..n).unwrap_or_default())?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let reason = format!("the transfer broke off at byte {}: {}", part.len(), plain(&e));
                    return Err(Once::Again(reason, 0));
                }
            }
            tell(Progress::Bytes { done: part.len(), total: part.needed() });
            if window.elapsed() > self.options.stall_timeout {
                if part.len() - window_start < CRAWL_BYTES {
                    return Err(Once::Again(format!("the transfer stands still at byte {}", part.len()), 0));
                }
                (window, window_start) = (Instant::now(), part.len());
            }
        }
    }

    /// One request, with redirects. The token goes to the first host alone.
    fn get(&self, url: &str, token: bool, from: u64) -> Result<Answer, Once> {
        let bad = |reason: String| Once::source(FailureKind::Unreachable, reason);
        let mut url = url.to_owned();
        let first_host = authority(&url).map(str::to_owned);
        let mut linked_sha256 = None;
        let started = Instant::now();
        for _ in 0..=MAX_REDIRECTS {
            self.options.check_cancel()?;
            // One limit for the whole way; but the host behind a redirect gets half of it at least.
            let reach = self.options.reach_timeout;
            let agent = self.agent(reach.saturating_sub(started.elapsed()).max(reach / 2));
            let mut request = agent.get(&url).header("accept-encoding", "identity");
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            if let (Some(t), true) =
                (&self.options.hf_token, token && authority(&url) == first_host.as_deref())
            {
                request = request.header("authorization", format!("Bearer {}", t.0));
            }
            let response = request.call().map_err(|e| self.failed(&url, e))?;
            let (parts, body) = response.into_parts();
            if linked_sha256.is_none() {
                let linked =
                    text_of(&parts.headers, "x-linked-etag").map(|v| v.trim_matches('"').to_lowercase());
                linked_sha256 = linked.filter(|v| crate::hash::is_sha256(v));
            }
            let location = text_of(&parts.headers, "location").filter(|_| parts.status.is_redirection());
            let Some(location) = location else {
                return Ok(Answer { status: parts.status, headers: parts.headers, linked_sha256, body });
            };
            let next = join_url(&url, location).ok_or_else(|| bad(format!("a redirect to `{location}`")))?;
            if url.starts_with("https://") && !next.starts_with("https://") {
                return Err(bad("a redirect from https to an unprotected address was refused".into()));
            }
            url = next;
        }
        Err(bad(format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn agent(&self, reach: Duration) -> ureq::Agent {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("nurture/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .proxy(self.proxy.clone())
            // Both together are the limit for a host that cannot be reached.
            .timeout_resolve(Some(reach * 2 / 5))
            .timeout_connect(Some(reach * 3 / 5))
            .timeout_recv_response(Some(self.options.stall_timeout / 2))
            .timeout_per_read(Some(self.options.stall_timeout))
            .timeout_per_write(Some(self.options.stall_timeout))
            .build()
            .new_agent()
    }

    fn failed(&self, url: &str, error: ureq::Error) -> Once {
        let host = authority(url).unwrap_or(url);
        let seconds = |d: Duration| format!("{:.0} s", d.as_secs_f64().max(1.0));
        let reason = match error {
            ureq::Error::HostNotFound => format!("the host {host} is not known (no network, or no DNS)"),
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                format!("no connection to {host} within {}", seconds(self.options.reach_timeout))
            }
            ureq::Error::Timeout(_) => {
                format!("{host} does not answer within {}", seconds(self.options.stall_timeout / 2))
            }
            ureq::Error::Io(e) => format!("{host}: {}", plain(&e)),
            ureq::Error::BadUri(e) => format!("`{}` is no address: {e}", without_credentials(url)),
            other => format!("{host}: {other}"),
        };
        Once::Again(reason, 0)
    }

    /// Sleeps between tries, at most five seconds, and wakes for a cancel.
    fn pause(&self, seconds: u64) -> Result<(), HubError> {
        let until = Instant::now() + Duration::from_millis(200) + Duration::from_secs(seconds.min(5));
        while Instant::now() < until {
            self.options.check_cancel()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// How one request ended.
enum Once {
    /// Worth another try after so many seconds.
    Again(String, u64),
    Final(Stop),
}

impl Once {
    fn source(kind: FailureKind, reason: String) -> Self {
        Self::Final(Stop::Source(kind, reason))
    }
}

impl From<Stop> for Once {
    fn from(stop: Stop) -> Self {
        Self::Final(stop)
    }
}

impl From<HubError> for Once {
    fn from(error: HubError) -> Self {
        Self::Final(Stop::Fatal(error))
    }
}

fn refused(status: StatusCode) -> Stop {
    let (kind, what) = match status.as_u16() {
        401 | 403 => (FailureKind::Denied, "access denied: a token or the acceptance of a licence is needed"),
        404 | 410 => (FailureKind::NotFound, "no such file there"),
        _ => (FailureKind::NotFound, "the server refuses"),
    };
    Stop::Source(kind, format!("{what} (HTTP {})", status.as_u16()))
}

fn proxy(url: &str, settings: &crate::options::ProxySettings) -> Result<ureq::Proxy, HubError> {
    let bad =
        |reason: String| HubError::BadSetting { setting: "proxy", value: without_credentials(url), reason };
    let plain = ureq::Proxy::new(url).map_err(|e| bad(e.to_string()))?;
    let Some(no_proxy) = &settings.no_proxy else { return Ok(plain) };
    let mut builder = ureq::Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in no_proxy.split(',').map(str::trim).filter(|h| !h.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map_err(|e| bad(e.to_string()))
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// `bytes 100-199/200` as (100, Some(200)); the total may be `*`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn authority(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// The address that a `Location` header means, seen from `base`.
fn join_url(base: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let host = rest.split(['/', '?', '#']).next()?;
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    let folder = base.split(['?', '#']).next()?.rsplit_once('/')?.0;
    (!location.is_empty() && !location.contains("://")).then(|| format!("{folder}/{location}"))
}

/// An address without user name and password; other text comes back as it is.
pub(crate) fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{tail}"),
        None => text.to_owned(),
    }
}

/// An I/O error in few words; ureq wraps its own errors into it.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "no byte came in time".into(),
        std::io::ErrorKind::UnexpectedEof => "the connection ended early".into(),
        _ => error.to_string(),
    }
}

/// Percent-encodes a path, except for its slashes.
pub(crate) fn encode_path(path: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    path.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let join = |location| join_url("https://h.org/a/b?x=1", location);
        assert_eq!(join("https://o.org/c").as_deref(), Some("https://o.org/c"));
        assert_eq!(join("//o.org/c").as_deref(), Some("https://o.org/c"));
        assert_eq!(join("/c").as_deref(), Some("https://h.org/c"));
        assert_eq!(join("c").as_deref(), Some("https://h.org/a/c"));
        assert_eq!(join("ftp://o.org/c"), None);
    }

    #[test]
    fn credentials_never_show() {
        assert_eq!(without_credentials("http://me:secret@proxy:3128/x"), "http://…@proxy:3128/x");
        assert_eq!(without_credentials("plain words"), "plain words");
        assert_eq!(authority("https://me@h.org:1/x@y"), Some("h.org:1"));
    }

    #[test]
    fn ranges_and_paths() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("items 5"), None);
        assert_eq!(encode_path("a b/ü#.gguf"), "a%20b/%C3%BC%23.gguf");
    }
}
