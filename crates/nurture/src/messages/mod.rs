//! What the libraries say, for people: each library speaks English by `Display`; here is the Chinese, made from the
//! facts in the error, never from its English text.
//!
//! A message without a translation stays English: half a sentence in either language is worse than one in one.
mod data;
mod formats;
mod hub;
mod serve;
mod train;

use std::error::Error;
use std::io::{self, ErrorKind};

pub use data::{note, why};
pub use hub::attempt;
pub use train::warning;

use crate::lang::{Lang, Said};
use crate::recipe::RecipeError;

/// An error and its causes, outermost first; a cause that the message before it holds already is left out.
pub fn lines(lang: Lang, error: &anyhow::Error) -> Vec<String> {
    let (mut english, mut lines): (Vec<String>, Vec<String>) = Default::default();
    for cause in error.chain() {
        let text = cause.to_string();
        if !english.iter().any(|said| said.contains(&text)) {
            lines.push(one(lang, cause));
        }
        english.push(text);
    }
    lines
}

/// One error, without its causes.
pub fn one(lang: Lang, error: &(dyn Error + 'static)) -> String {
    let chinese = match lang {
        Lang::En => None,
        Lang::Zh => zh(error),
    };
    chinese.unwrap_or_else(|| error.to_string())
}

fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(said) = error.downcast_ref::<Said>() {
        return Some(said.zh.clone());
    }
    if let Some(e) = error.downcast_ref::<RecipeError>() {
        return Some(e.message(Lang::Zh));
    }
    if let Some(e) = error.downcast_ref::<io::Error>() {
        return Some(system(e));
    }
    data::zh(error)
        .or_else(|| formats::zh(error))
        .or_else(|| hub::zh(error))
        .or_else(|| serve::zh(error))
        .or_else(|| train::zh(error))
}

/// What the system said.
pub(crate) fn system(e: &io::Error) -> String {
    match e.kind() {
        ErrorKind::NotFound => "没有这个文件或目录",
        ErrorKind::PermissionDenied => "没有权限",
        ErrorKind::AlreadyExists => "已经存在",
        ErrorKind::IsADirectory => "这是目录，不是文件",
        ErrorKind::NotADirectory => "路径中有一段不是目录",
        ErrorKind::StorageFull => "磁盘已满",
        ErrorKind::QuotaExceeded => "磁盘配额已用完",
        ErrorKind::FileTooLarge => "超出文件大小限制",
        ErrorKind::ReadOnlyFilesystem => "文件系统只读",
        ErrorKind::UnexpectedEof => "文件在中途结束",
        _ => return e.to_string(),
    }
    .to_string()
}

/// As `Display` of a system error, in both languages.
pub(crate) fn system_said(e: &io::Error) -> Said {
    Said::new(e.to_string(), system(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use nurture_data::{DataError, RowProblem};

    #[test]
    fn causes_are_said_once_in_either_language() {
        let gone = || io::Error::from_raw_os_error(2);
        let error = anyhow::Error::new(DataError::Io { path: "a.jsonl".into(), source: gone() });
        assert_eq!(
            lines(Lang::En, &error),
            ["a.jsonl: cannot be read: No such file or directory (os error 2)"]
        );
        assert_eq!(lines(Lang::Zh, &error), ["a.jsonl：读不了：没有这个文件或目录"]);
        let error = Err::<(), _>(gone()).context("runs/x").unwrap_err();
        assert_eq!(lines(Lang::Zh, &error), ["runs/x", "没有这个文件或目录"]);
    }

    #[test]
    fn facts_survive_the_translation() {
        let label = RowProblem::UnknownLabel { label: "refnd".into(), nearest: Some("refund".into()) };
        let error =
            anyhow::Error::new(DataError::BadRow { file: "exam.jsonl".into(), line: 7, problem: label });
        for lang in Lang::ALL {
            let said = lines(lang, &error).join("\n");
            for fact in ["exam.jsonl", "7", "\"refnd\"", "\"refund\"", "data.on_bad_row = \"drop\""] {
                assert!(said.contains(fact), "{said}");
            }
        }
        let told = anyhow::Error::new(Said::new("no", "不"));
        assert_eq!((lines(Lang::En, &told), lines(Lang::Zh, &told)), (vec!["no".into()], vec!["不".into()]));
    }
}
