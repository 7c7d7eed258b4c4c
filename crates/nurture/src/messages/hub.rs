//! Pulling models.
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use nurture_hub::{Attempt, FailureKind, HubError};

use super::system;
use crate::lang::Lang;

/// Why one source gave nothing.
pub fn attempt(lang: Lang, attempt: &Attempt) -> String {
    let reason = &attempt.reason;
    match lang {
        Lang::En => reason.clone(),
        Lang::Zh => format!("{}（{reason}）", kind(attempt.kind)),
    }
}

const fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "连不上",
        FailureKind::NotFound => "那里没有这个文件",
        FailureKind::Denied => "需要令牌或先接受许可",
        FailureKind::Mismatch => "那里的文件不是这一个",
        FailureKind::Interrupted => "传输中断，已到的部分会保留",
        FailureKind::Tool => "取包的工具缺失或失败",
    }
}

pub(super) fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match error.downcast_ref::<HubError>()? {
        HubError::UnknownName { name, near, known } => {
            let near = match near.as_slice() {
                [] => String::new(),
                near => format!(
                    "是不是 {}？",
                    near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" 或 ")
                ),
            };
            let known = known.join("、");
            format!(
                "`{name}` 不在目录里，这里也没有这个名字的文件。{near}\n  目录里的名字：{known}\n  hub 标识：owner/repo/file.gguf、owner/repo:Q4_K_M\n  路径：./folder/model.gguf"
            )
        }
        HubError::BadReference { text, reason } => format!("`{text}` 不能用作模型或数据的标识：{reason}"),
        HubError::PathMissing { path } => {
            format!("{} 没有文件；请给出现有文件的路径，或目录里的名字", path.display())
        }
        HubError::AllSourcesFailed { name, place, attempts } => all_failed(name, place.as_deref(), attempts),
        HubError::DiskFull { path, needed, reason } => {
            let whole = needed.map_or_else(String::new, |n| format!("；整个文件 {:.1} MB", n as f64 / 1e6));
            format!(
                "写 {} 时没有空间了（{reason}{whole}）；没写完的文件已删除。请腾出空间，或把 NURTURE_HOME 设到更大的磁盘上，再取一次",
                path.display()
            )
        }
        HubError::Io { path, source, .. } => format!("{}：{}", path.display(), system(source)),
        HubError::Corrupt { path, expected, found } => {
            format!("{} 的 sha256 是 {found}，应当是 {expected}；请删掉它再取一次", path.display())
        }
        HubError::Cancelled => "已停止；到了的部分会保留，下次接着取".into(),
        _ => return None,
    })
}

fn all_failed(name: &str, place: Option<&Path>, attempts: &[Attempt]) -> String {
    let mut text = format!("取不到 `{name}`。依次尝试了：");
    if attempts.is_empty() {
        text += "\n  什么也没有：设置不允许任何来源";
    }
    for (at, one) in attempts.iter().enumerate() {
        let reason = attempt(Lang::Zh, one).replace('\n', "\n     ");
        let _ = write!(text, "\n  {}. {}：{reason}", at + 1, one.source);
    }
    text += "\n可以这样办：\n  - 用手头的文件：把名字换成它的路径";
    if let Some(place) = place {
        let _ = write!(text, "，或把它放到 {}", place.display());
    }
    let any = |kind| attempts.iter().any(|a| a.kind == kind);
    if any(FailureKind::Unreachable) {
        text += "\n  - 用 hub 的镜像：把 HF_ENDPOINT（或 MODELSCOPE_ENDPOINT）设为它的地址\n  - 在代理之后：设 HTTPS_PROXY";
    }
    if attempts.iter().any(|a| a.source.starts_with("pip ")) {
        text += "\n  - 用软件包索引的镜像：pip config set global.index-url 地址";
    }
    if attempts.iter().any(|a| a.source.starts_with("npm ")) {
        text += "\n  - 用 npm 仓库的镜像：npm config set registry 地址";
    }
    if let Some(path) = name.strip_prefix("hf:") {
        let _ = write!(text, "\n  - 若指的是本机文件：{path} 处没有文件");
    }
    if any(FailureKind::Denied) {
        text += "\n  - 在模型页面接受许可，并设 HF_TOKEN";
    }
    text
}
