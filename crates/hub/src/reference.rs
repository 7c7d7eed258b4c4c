//! What the text that a user types means: a catalogue name, a hub id, or a path.

use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry};
use crate::error::HubError;

/// A hub with repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hub {
    /// Hugging Face or a mirror of it.
    HuggingFace,
    /// ModelScope or a mirror of it.
    ModelScope,
}

/// Which file of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubPick {
    /// This path in the repository.
    File(String),
    /// The one `.gguf` file with this quantisation in its name.
    Quant(String),
    /// The one `.gguf` file there is.
    Only,
}

/// A file of a repository: `owner/repo/file.gguf`, `owner/repo:Q4_K_M`, `owner/repo@revision/file.gguf`;
/// with `modelscope:` in front for ModelScope (`hf:` is the default), or the address of a file's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// Which hub.
    pub hub: Hub,
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// Which file.
    pub pick: HubPick,
}

impl HubId {
    /// The id in one canonical spelling; the key of its record in the store.
    pub fn canonical(&self) -> String {
        let hub = match self.hub {
            Hub::HuggingFace => "hf",
            Hub::ModelScope => "modelscope",
        };
        let revision = self.revision.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
        let pick = match &self.pick {
            HubPick::File(file) => format!("/{file}"),
            HubPick::Quant(tag) => format!(":{}", tag.to_uppercase()),
            HubPick::Only => String::new(),
        };
        format!("{hub}:{}{revision}{pick}", self.repo)
    }
}

/// What a text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A name of the catalogue.
    Entry(Box<Entry>),
    /// A file of a repository.
    Hub(HubId),
    /// A file or folder on this machine; it exists.
    Path(PathBuf),
}

impl Reference {
    /// Decides. A catalogue name comes before a file of that name in the working folder (write `./name` for
    /// the file); an existing path comes before a hub id.
    pub fn parse(text: &str, catalogue: &Catalogue) -> Result<Self, HubError> {
        let text = text.trim();
        if let Some(entry) = catalogue.find(text) {
            return Ok(Self::Entry(Box::new(entry.clone())));
        }
        let path = Path::new(text);
        if !text.is_empty() && path.exists() {
            return Ok(Self::Path(path.to_path_buf()));
        }
        let missing = || Err(HubError::PathMissing { path: path.to_path_buf() });
        if path.is_absolute() || text.starts_with(['.', '~']) || text.contains('\\') {
            return missing();
        }
        match parse_hub(text)? {
            // No repository is called `train.jsonl`; that is a file that is not there.
            Some(HubId { pick: HubPick::Only, repo, .. }) if has_file_extension(&repo) => return missing(),
            Some(id) => return Ok(Self::Hub(id)),
            None if text.contains('/') => return missing(),
            None => {}
        }
        Err(HubError::UnknownName {
            name: text.to_owned(),
            near: catalogue.nearest(text),
            known: catalogue.entries().iter().map(|e| e.name.clone()).collect(),
        })
    }
}

/// `None` when the text has not the form of a hub id at all.
fn parse_hub(text: &str) -> Result<Option<HubId>, HubError> {
    let bad = |reason: &str| HubError::BadReference { text: text.to_owned(), reason: reason.to_owned() };
    if let Some(rest) = text.strip_prefix("https://") {
        return parse_page(rest).map(Some).ok_or_else(|| {
            bad("of addresses only https://huggingface.co/OWNER/REPO/resolve/REVISION/FILE (or blob) is known")
        });
    }
    let (hub, rest, marked) = match text.split_once(':') {
        Some(("hf" | "huggingface", rest)) => (Hub::HuggingFace, rest, true),
        Some(("modelscope" | "ms", rest)) => (Hub::ModelScope, rest, true),
        _ => (Hub::HuggingFace, text, false),
    };
    let mut segments = rest.trim_start_matches('/').splitn(3, '/');
    let (Some(owner), Some(repo)) = (segments.next(), segments.next()) else {
        return if marked {
            Err(bad("write OWNER/REPO/FILE or OWNER/REPO:QUANT after it"))
        } else {
            Ok(None)
        };
    };
    let file = segments.next();
    let (repo, tag) = match (file, repo.split_once(':')) {
        (None, Some((repo, tag))) => (repo, Some(tag)),
        _ => (repo, None),
    };
    let (repo, revision) = match repo.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (repo, None),
    };
    if !is_repo_word(owner) || !is_repo_word(repo) {
        return if marked {
            Err(bad("owner and repository hold letters, digits, -, _ and ."))
        } else {
            Ok(None)
        };
    }
    if revision.is_some_and(|r| !is_repo_word(r)) {
        return Err(bad("the revision after @ must be a branch, tag or commit"));
    }
    let pick = match (file, tag) {
        (Some(file), _) if is_safe_repo_path(file) => HubPick::File(file.to_owned()),
        (Some(_), _) => return Err(bad("the file's path in the repository is not plain")),
        (None, Some(tag)) if is_repo_word(tag) => HubPick::Quant(tag.to_owned()),
        (None, Some(_)) => return Err(bad("after the colon comes a quantisation such as Q4_K_M")),
        (None, None) => HubPick::Only,
    };
    Ok(Some(HubId { hub, repo: format!("{owner}/{repo}"), revision: revision.map(str::to_owned), pick }))
}

/// The address of a file's page, without its scheme.
fn parse_page(rest: &str) -> Option<HubId> {
    let rest = rest.strip_prefix("huggingface.co/")?;
    let rest = rest.split(['?', '#']).next()?;
    let mut segments = rest.splitn(5, '/');
    let (owner, repo) = (segments.next()?, segments.next()?);
    let (verb, revision, file) = (segments.next()?, segments.next()?, segments.next()?);
    let sound =
        is_repo_word(owner) && is_repo_word(repo) && is_repo_word(revision) && is_safe_repo_path(file);
    (sound && matches!(verb, "resolve" | "blob")).then(|| HubId {
        hub: Hub::HuggingFace,
        repo: format!("{owner}/{repo}"),
        revision: (revision != "main").then(|| revision.to_owned()),
        pick: HubPick::File(file.to_owned()),
    })
}

fn has_file_extension(repo: &str) -> bool {
    const EXTENSIONS: [&str; 10] =
        ["gguf", "safetensors", "bin", "json", "jsonl", "csv", "tsv", "txt", "md", "parquet"];
    repo.rsplit_once('.').is_some_and(|(_, e)| EXTENSIONS.contains(&e.to_lowercase().as_str()))
}

fn is_repo_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A path of plain names, none of them hidden or a step upwards.
pub(crate) fn is_safe_repo_path(path: &str) -> bool {
    path.len() <= 512 && path.split('/').all(is_safe_file_name)
}

/// A name that means the same file on every system.
pub(crate) fn is_safe_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.ends_with(['.', ' '])
        && !name.chars().any(|c| c.is_control() || "/\\:*?\"<>|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reference, HubError> {
        Reference::parse(text, &Catalogue::embedded().unwrap())
    }

    fn hub(text: &str) -> String {
        match parse(text) {
            Ok(Reference::Hub(id)) => id.canonical(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn hub_ids_have_one_spelling() {
        assert_eq!(
            hub("Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"),
            "hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"
        );
        assert_eq!(hub("hf:Qwen/Qwen3-0.6B-GGUF:q8_0"), "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0");
        assert_eq!(hub("ms:Qwen/X@v1/sub/a.gguf"), "modelscope:Qwen/X@v1/sub/a.gguf");
        assert_eq!(hub("https://huggingface.co/a/b/blob/main/c.gguf?download=true"), "hf:a/b/c.gguf");
        assert_eq!(hub("a/b"), "hf:a/b");
    }

    #[test]
    fn what_could_leave_the_repository_or_the_store_is_refused() {
        for text in [
            "a/b/../c",
            "a/b/.hidden",
            "hf:a",
            "hf:../b/c",
            "https://example.org/a/b",
            "a/b:",
            "a/b@/c",
            "a/b/c\0d",
        ] {
            assert!(parse(text).is_err(), "{text:?} gave {:?}", parse(text));
        }
    }

    #[test]
    fn paths_that_are_missing_are_called_paths() {
        for text in
            ["./nothing.gguf", "/no/such/file", "~/models/x.gguf", "C:\\models\\x.gguf", "data/train.jsonl"]
        {
            assert!(matches!(parse(text), Err(HubError::PathMissing { .. })), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_and_examples() {
        let message = parse("smolm2").unwrap_err().to_string();
        for part in ["Did you mean `smollm2-135m-instruct`", "gemma-3-270m", "owner/repo:Q4_K_M", "./folder"]
        {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}
