//! The language of a page.

/// English or Chinese.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageLang {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

impl PageLang {
    /// The text of this language.
    pub const fn pick<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            PageLang::En => en,
            PageLang::Zh => zh,
        }
    }

    /// The tag for HTML's `lang`.
    pub const fn tag(self) -> &'static str {
        self.pick("en", "zh-CN")
    }

    /// The language that a tag or a list of them (`Accept-Language`) names first.
    pub(crate) fn of(tags: &str) -> PageLang {
        match tags.trim_start().get(..2) {
            Some(zh) if zh.eq_ignore_ascii_case("zh") => PageLang::Zh,
            _ => PageLang::En,
        }
    }
}

/// A text in both languages, made outside this crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Told {
    /// Both texts.
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Told {
        Told { en: en.into(), zh: zh.into() }
    }

    /// The text of one language.
    pub fn get(&self, lang: PageLang) -> &str {
        lang.pick(&self.en, &self.zh)
    }
}
