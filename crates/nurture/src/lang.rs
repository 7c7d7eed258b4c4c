//! Every text for people, in English and Chinese side by side at the place of use.
//!
//! ```
//! use nurture::{lang::Lang, say};
//! let lang = Lang::choose(None, &[Some("zh_CN.UTF-8")]);
//! let rows = 3;
//! assert_eq!(lang.pick("Done", "完成"), "完成");
//! assert_eq!(say!(lang, "{rows} rows", "{rows} 行"), "3 行");
//! ```
use serde::{Deserialize, Serialize};

/// A language that the project speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

impl Lang {
    /// Both languages, for tests and for pages that are written in each.
    pub const ALL: [Lang; 2] = [Lang::En, Lang::Zh];

    /// The language that was asked for by name (`--lang`), or else the first locale that says something
    /// (pass `LC_ALL`, `LC_MESSAGES`, `LANG` in this order; the library itself reads no environment).
    ///
    /// An unknown name or locale means English.
    pub fn choose(flag: Option<&str>, locales: &[Option<&str>]) -> Self {
        let said = flag.or_else(|| locales.iter().copied().flatten().find(|locale| !locale.is_empty()));
        said.and_then(Self::parse).unwrap_or_default()
    }

    /// The language of a name or locale: `zh`, `zh-CN`, `zh_CN.UTF-8`, `chinese`, `en`, `C` …
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.split(['.', '@']).next().unwrap_or_default().to_ascii_lowercase();
        match stem.split(['_', '-']).next().unwrap_or_default() {
            "zh" | "cn" | "chinese" | "中文" => Some(Lang::Zh),
            "en" | "c" | "posix" | "english" => Some(Lang::En),
            _ => None,
        }
    }

    /// The text of this language.
    pub const fn pick<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Lang::En => en,
            Lang::Zh => zh,
        }
    }

    /// The tag for HTML's `lang` attribute.
    pub const fn tag(self) -> &'static str {
        self.pick("en", "zh-CN")
    }
}

/// A constant text in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// Chinese.
    pub zh: &'static str,
}

impl Text {
    /// Both texts.
    pub const fn new(en: &'static str, zh: &'static str) -> Self {
        Text { en, zh }
    }

    /// The text of one language.
    pub const fn get(self, lang: Lang) -> &'static str {
        lang.pick(self.en, self.zh)
    }
}

/// A text made at run time and kept in both languages, because the file it is saved in may be read in either.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Said {
    /// Both texts.
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Said { en: en.into(), zh: zh.into() }
    }

    /// The text of one language.
    pub fn get(&self, lang: Lang) -> &str {
        lang.pick(&self.en, &self.zh)
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.en)
    }
}

/// As an error it speaks English by `Display`, and either language through [`crate::messages`].
impl std::error::Error for Said {}

impl From<Text> for Said {
    fn from(text: Text) -> Self {
        Said::new(text.en, text.zh)
    }
}

/// Formats the text of one language: `say!(lang, "{n} rows", "{n} 行")`.
#[macro_export]
macro_rules! say {
    ($lang:expr, $en:literal, $zh:literal $(, $arg:expr)* $(,)?) => {
        match $lang {
            $crate::lang::Lang::En => format!($en $(, $arg)*),
            $crate::lang::Lang::Zh => format!($zh $(, $arg)*),
        }
    };
}

/// Formats both languages at once into a [`Said`](crate::lang::Said).
#[macro_export]
macro_rules! said {
    ($en:literal, $zh:literal $(,)?) => {
        $crate::lang::Said::new(format!($en), format!($zh))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locale_chooses() {
        let check = |flag, locales: &[Option<&str>], want| assert_eq!(Lang::choose(flag, locales), want);
        check(None, &[], Lang::En);
        check(None, &[None, Some("zh_CN.UTF-8")], Lang::Zh);
        check(None, &[Some(""), Some("zh_TW")], Lang::Zh);
        check(None, &[Some("C"), Some("zh_CN")], Lang::En); // the first that speaks wins, as in POSIX
        check(Some("en"), &[Some("zh_CN")], Lang::En);
        check(Some("zh"), &[Some("en_US.UTF-8")], Lang::Zh);
        check(Some("klingon"), &[Some("de_DE")], Lang::En);
    }
}
