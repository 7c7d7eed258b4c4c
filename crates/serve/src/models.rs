//! The models by name: the base, and each adapter beside it.

use crate::error::ApiError;
use crate::tools::{self, Tools, Turn};
use nurture_infer::engine::{EngineHandle, Loaded};
use nurture_model::{Adapter, Cpu};
use nurture_text::{ChatTemplate, Message, Renderer, ToolStyle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest name of a model.
const NAME_BYTES: usize = 128;

/// How a model wants its conversations: what an adapter was trained with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    /// system text where a conversation brings none
    pub system: Option<String>,
    /// what is written around each question, with `{text}` in its place
    pub user: Option<String>,
    /// chat template `(name, source)`
    pub template: Option<(String, String)>,
}

impl Manner {
    /// What Nurture recorded beside an adapter, in the folder's `nurture.json`.
    pub fn recorded(extra: &serde_json::Value) -> Manner {
        let own = |key: &str| extra.get(key).and_then(|v| v.as_str()).map(String::from);
        let template = |key: &str| extra.get("template")?.get(key)?.as_str().map(String::from);
        Manner {
            system: own("system"),
            // with fields other than {text} the pattern belongs to rows of data, not to a conversation
            user: own("user").filter(|p| p.contains("{text}") && p.matches('{').count() == 1),
            template: template("name").zip(template("source")),
        }
    }
}

/// A model in service. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) adapter: Option<Arc<Loaded>>,
    pub(crate) renderer: Renderer,
    pub(crate) manner: Manner,
    pub(crate) path: Option<PathBuf>,
    /// seconds since 1970
    pub(crate) created: u64,
    /// longest sequence in tokens
    pub(crate) context: usize,
}

/// No token has more bytes of text than this, save a few of nothing but blanks: a longer text cannot fit.
const TOKEN_BYTES: usize = 64;

impl Served {
    /// The generation of its adapter; 0 is the base.
    pub(crate) fn generation(&self) -> u64 {
        self.adapter.as_ref().map_or(0, |a| a.generation())
    }

    /// The tokens of a conversation up to the answer, with the tools that are offered.
    pub(crate) fn prompt(&self, turns: Vec<Turn>, tools: Option<&Tools>) -> Result<Vec<u32>, ApiError> {
        let messages = self.spelled(turns, tools);
        self.bears("messages", messages.iter().map(|m| m.content.len()).sum())?;
        let rendered = self.renderer.prompt(&messages);
        Ok(rendered.map_err(|e| ApiError::invalid("messages", e.to_string()))?.tokens)
    }

    /// The tokens of a plain text, the beginning-of-sequence token before them where the vocabulary wants one.
    pub(crate) fn tokens(&self, text: &str, param: &str) -> Result<Vec<u32>, ApiError> {
        self.bears(param, text.len())?;
        Ok(self.renderer.completion(text).map_err(|e| ApiError::invalid(param, e.to_string()))?.tokens)
    }

    /// Refuses a text of which not even the bytes fit, before it takes time and memory to be read token by token.
    pub(crate) fn bears(&self, param: &str, bytes: usize) -> Result<(), ApiError> {
        match bytes.div_ceil(TOKEN_BYTES) {
            tokens if tokens > self.context => Err(ApiError::too_many_bytes(param, self.context, bytes)),
            _ => Ok(()),
        }
    }

    /// How this model's family writes calls of tools.
    pub(crate) fn style(&self) -> ToolStyle {
        ToolStyle::of_template(self.renderer.template().source())
    }

    /// A conversation as the template takes it, with what the adapter was trained with.
    pub(crate) fn spelled(&self, mut turns: Vec<Turn>, tools: Option<&Tools>) -> Vec<Message> {
        if let Some(around) = &self.manner.user {
            for turn in turns.iter_mut().filter(|t| t.role == "user") {
                turn.content = around.replace("{text}", &turn.content);
            }
        }
        if let Some(system) = &self.manner.system
            && !turns.iter().any(|t| t.role == "system")
        {
            turns.insert(0, Turn::new("system", system));
        }
        tools::spell(turns, self.style(), tools)
    }
}

/// All models in service.
#[derive(Debug)]
pub(crate) struct Models {
    engine: EngineHandle,
    cpu: Arc<Cpu>,
    base: Arc<Served>,
    adapters: RwLock<BTreeMap<String, Arc<Served>>>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Models {
    pub(crate) fn new(
        engine: EngineHandle,
        cpu: Arc<Cpu>,
        name: String,
        renderer: Renderer,
        manner: Manner,
        context: usize,
    ) -> Models {
        let base = Served { name, adapter: None, renderer, manner, path: None, created: now(), context };
        Models { engine, cpu, base: Arc::new(base), adapters: RwLock::default() }
    }

    pub(crate) fn base(&self) -> &Arc<Served> {
        &self.base
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Served>, ApiError> {
        if name == self.base.name {
            return Ok(self.base.clone());
        }
        let adapters = self.adapters.read().unwrap_or_else(|e| e.into_inner());
        adapters.get(name).cloned().ok_or_else(|| ApiError::no_model(name))
    }

    /// The base, then adapters by name.
    pub(crate) fn list(&self) -> Vec<Arc<Served>> {
        let adapters = self.adapters.read().unwrap_or_else(|e| e.into_inner());
        std::iter::once(&self.base).chain(adapters.values()).cloned().collect()
    }

    /// Takes the adapter of a folder into service; one of that name goes out of service. Reads files.
    pub(crate) fn load(&self, name: &str, dir: &Path) -> Result<Arc<Served>, ApiError> {
        let visible = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
        if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(visible) {
            let message = format!("a name has 1 to {NAME_BYTES} bytes and no blanks");
            return Err(ApiError::invalid("name", message));
        }
        if name == self.base.name {
            return Err(ApiError::invalid("name", format!("`{name}` is the base itself")));
        }
        let wrong = |e: &dyn std::fmt::Display| ApiError::invalid("path", e.to_string());
        let dir = match dir.join("adapter") {
            inner if inner.join(nurture_formats::adapter::CONFIG_NAME).is_file() => inner,
            _ => dir.to_path_buf(),
        };
        let file = nurture_formats::load_adapter(&dir).map_err(|e| wrong(&e))?;
        let adapter = Adapter::load_for(&self.cpu, self.engine.model(), &file).map_err(|e| wrong(&e))?;
        if adapter.score().is_some() {
            let message = "a reward model: it scores answers and never speaks".to_string();
            return Err(ApiError::invalid("path", message));
        }
        let extra = std::fs::read(dir.join(nurture_formats::adapter::EXTRA_NAME)).ok();
        let extra = extra.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        self.put(name, adapter, Manner::recorded(&extra), Some(dir))
    }

    fn put(
        &self,
        name: &str,
        adapter: Adapter,
        manner: Manner,
        path: Option<PathBuf>,
    ) -> Result<Arc<Served>, ApiError> {
        let renderer = match &manner.template {
            None => self.base.renderer.clone(),
            Some((template, source)) => {
                let template = ChatTemplate::new(template, source.as_str());
                let template = template.map_err(|e| ApiError::invalid("path", e.to_string()))?;
                self.base.renderer.clone().with_template(template)
            }
        };
        // one load at a time, so that both registers agree
        let mut adapters = self.adapters.write().unwrap_or_else(|e| e.into_inner());
        let loaded = self.engine.load_adapter(name, adapter).map_err(|e| ApiError::refused("path", &e))?;
        let (name, context) = (name.to_string(), self.base.context);
        let (adapter, created) = (Some(loaded), now());
        let served = Served { name: name.clone(), adapter, renderer, manner, path, created, context };
        let served = Arc::new(served);
        adapters.insert(name, served.clone());
        Ok(served)
    }

    /// Takes an adapter out of service; requests that use it end on it.
    pub(crate) fn unload(&self, name: &str) -> Result<(), ApiError> {
        let mut adapters = self.adapters.write().unwrap_or_else(|e| e.into_inner());
        adapters.remove(name).ok_or_else(|| ApiError::no_model(name))?;
        self.engine.unload_adapter(name);
        Ok(())
    }
}
