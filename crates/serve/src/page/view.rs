//! From a template and its values to a page. Templates escape whatever they are given; only [`safe`] says otherwise.

use super::lang::PageLang;
use super::markdown::escape;
use super::query::{Pairs, cookie};
use crate::error::ApiError;
use crate::http::Caller;
use crate::service::Service;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, header};
use minijinja::{Environment, State, UndefinedBehavior, Value, context};
use std::sync::LazyLock;

/// Cookies of what a reader prefers; scripts need not read them.
pub(crate) const LANG: &str = "nurture_lang";
pub(crate) const THEME: &str = "nurture_theme";

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        const TEMPLATES: &[(&str, &str)] = &[$(($name, include_str!(concat!("templates/", $name)))),+];
    };
}

templates!(
    "layout.html",
    "chat.html",
    "history.html",
    "turn.html",
    "answer.html",
    "earlier.html",
    "runs.html",
    "runs_list.html",
    "run.html",
    "run_live.html",
    "recipe.html",
    "data.html",
    "data_run.html",
    "examples.html",
    "models.html",
    "login.html",
    "error.html",
);

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // both languages stand side by side at the place where they are used
    env.add_function("say", |state: &State<'_, '_>, en: &str, zh: &str| -> String {
        let chinese = state.lookup("zh").is_some_and(|v| v.is_true());
        (if chinese { zh } else { en }).to_string()
    });
    env.add_filter("in_path", |text: &str| super::query::in_path(text));
    env.add_filter("code", |text: &str| safe(code(text)));
    env.add_filter("bytes", |n: u64| bytes(n));
    env.add_filter("date", |n: u64| date(n));
    for (name, text) in TEMPLATES {
        // a template that does not parse is one that does not exist; a test renders each
        _ = env.add_template(name, text);
    }
    env
});

/// A line of documentation as HTML: what stands between two backticks is code.
fn code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // the last backtick of an odd number stands for itself
    let pairs = (parts.len() - 1) / 2 * 2;
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        match i {
            _ if i > pairs => out.push_str(&format!("`{}", escape(part))),
            _ if i % 2 == 1 => out.push_str(&format!("<code>{}</code>", escape(part))),
            _ => out.push_str(&escape(part)),
        }
    }
    out
}

/// HTML that was made here, to be passed on as it is.
pub(crate) fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}

/// How a page is to look, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) lang: PageLang,
    theme: &'static str,
    /// whether there is a session to end
    signed_in: bool,
    pub(crate) caller: Caller,
    /// whose conversations are shown
    pub(crate) owner: String,
    /// whether there is a key to sign in with
    can_sign_in: bool,
    /// whether this caller may start runs and load adapters
    pub(crate) manage: bool,
    /// whether there are runs to be shown
    workshop: bool,
    /// where the reader is
    place: String,
}

impl View {
    pub(crate) fn of(service: &Service, parts: &Parts) -> View {
        let query = Pairs::parse(parts.uri.query().unwrap_or_default());
        let headers = &parts.headers;
        let accepted =
            || headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let lang = query.get("lang").or(cookie(headers, LANG)).unwrap_or_else(accepted);
        let caller = parts.extensions.get::<Caller>().copied().unwrap_or_default();
        View {
            lang: PageLang::of(lang),
            theme: match cookie(headers, THEME) {
                Some("dark") => "dark",
                Some("light") => "light",
                _ => "",
            },
            signed_in: cookie(headers, super::session::COOKIE).is_some()
                && service.pages().sessions.key(headers).is_some(),
            caller,
            owner: service.owner(caller),
            can_sign_in: service.access().any(),
            manage: service.may_manage(caller),
            workshop: service.pages().workshop().is_some(),
            place: super::query::local(parts.uri.path_and_query().map(|p| p.as_str())).to_string(),
        }
    }

    /// Part of a page.
    pub(crate) fn part(&self, template: &str, values: Value) -> Result<String, ApiError> {
        let own = context! {
            zh => self.lang == PageLang::Zh,
            tag => self.lang.tag(),
            theme => self.theme,
            signed_in => self.signed_in,
            can_sign_in => self.can_sign_in,
            manage => self.manage,
            workshop => self.workshop,
            place => &self.place,
        };
        let fault = |e: minijinja::Error| ApiError::internal(format!("a fault of ours in a page: {e:#}"));
        PAGES.get_template(template).map_err(fault)?.render(context! { ..values, ..own }).map_err(fault)
    }

    /// A whole page.
    pub(crate) fn page(&self, template: &str, values: Value) -> Result<Response<Body>, ApiError> {
        self.part(template, values).map(html)
    }
}

impl FromRequestParts<Service> for View {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<View, ApiError> {
        Ok(View::of(service, parts))
    }
}

/// A response of HTML.
pub(crate) fn html(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// A size for people.
pub(crate) fn bytes(n: u64) -> String {
    let f = n as f64;
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} KB", f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", f / 1e6),
        _ => format!("{:.2} GB", f / 1e9),
    }
}

/// `2026-11-29 08:15` (UTC) of seconds since 1970.
pub(crate) fn date(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400).min(2_000_000_000) as i64, seconds % 86_400);
    // civil date of a day number: years begin in March, so that the odd day is the last one
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_code_and_nothing_else_acts() {
        assert_eq!(code("a `b <c>` d & `e`"), "a <code>b &lt;c&gt;</code> d &amp; <code>e</code>");
        assert_eq!(
            (code("no"), code("one ` left"), code("`x` and `")),
            ("no".into(), "one ` left".into(), "<code>x</code> and `".into())
        );
    }

    #[test]
    fn every_template_parses() {
        for (name, text) in TEMPLATES {
            let mut env = Environment::new();
            env.add_function("say", |a: &str, _: &str| a.to_string());
            env.add_template(name, text).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert!(PAGES.get_template(name).is_ok(), "{name}");
            // nothing from elsewhere, and nothing that the policy would forbid
            for bad in
                ["http://", "https://", " style=", "<style", "onclick", "onload", "<script>", "javascript:"]
            {
                assert!(!text.contains(bad), "{name}: {bad}");
            }
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_795_939_200), "2026-11-29 08:00");
        date(u64::MAX);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [999, 1_500, 91_000_000, 4_600_000_000].map(bytes),
            ["999 B", "1.5 KB", "91.0 MB", "4.60 GB"]
        );
    }
}
