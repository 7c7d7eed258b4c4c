//! `adapter_config.json`: which keys are written, which are understood, and which are refused.
//!
//! Source: `LoraConfig` of PEFT 0.21 and its file format. Keys are sorted, the indent is two spaces.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::FormatError;
use crate::error::shown;

/// Largest accepted rank: far above any in use, small enough that products with it cannot overflow.
const MAX_RANK: u64 = 1 << 16;

/// The PEFT version whose file format is written.
const PEFT_VERSION: &str = "0.21.2";

/// Which modules carry an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Module names that the end of a module path must equal, e.g. `q_proj`.
    Names(Vec<String>),
    /// One regular expression for whole module paths, or `all-linear`.
    Pattern(String),
}

/// The settings of a LoRA adapter, as PEFT stores them.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Name or path of the base model.
    pub base_model_name_or_path: Option<String>,
    /// Revision of the base model.
    pub revision: Option<String>,
    /// What the model does; `CAUSAL_LM` for text models.
    pub task_type: Option<String>,
    /// Rank of every pair that [`AdapterConfig::rank_pattern`] does not name.
    pub r: usize,
    /// Alpha of every pair that [`AdapterConfig::alpha_pattern`] does not name.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input while training.
    pub lora_dropout: f64,
    /// Scale alpha/√r instead of alpha/r (rsLoRA).
    pub use_rslora: bool,
    /// Whether a vector of magnitudes stands beside each pair (DoRA).
    pub use_dora: bool,
    /// Which modules carry an adapter.
    pub target_modules: TargetModules,
    /// Which of them do not after all.
    pub exclude_modules: Option<TargetModules>,
    /// Only these layers, if given.
    pub layers_to_transform: Option<Vec<u32>>,
    /// Names of the layer list inside the model, if given.
    pub layers_pattern: Option<Vec<String>>,
    /// Ranks of single modules, by the end of their path.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of single modules, by the end of their path.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Tokens whose rows of the embedding (and of a head that is the embedding) are the adapter's own.
    pub trainable_token_indices: Vec<u32>,
    /// Modules that are saved whole: the head of a classifier or reward model (`score`; PEFT also lists `classifier`, which
    /// other networks call it), or nothing.
    pub modules_to_save: Vec<String>,
}

/// The modules that may be saved whole.
const WHOLE: [&str; 2] = ["score", "classifier"];

impl Default for AdapterConfig {
    /// PEFT's own defaults: rank 8, alpha 8, no dropout, no module yet.
    fn default() -> AdapterConfig {
        AdapterConfig {
            base_model_name_or_path: None,
            revision: None,
            task_type: Some("CAUSAL_LM".to_string()),
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_rslora: false,
            use_dora: false,
            target_modules: TargetModules::Names(Vec::new()),
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            trainable_token_indices: Vec::new(),
            modules_to_save: Vec::new(),
        }
    }
}

impl AdapterConfig {
    /// Rank of a module's pair. `module` is a path such as `model.layers.0.self_attn.q_proj`.
    pub fn rank(&self, module: &str) -> usize {
        by_module(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// The factor of B·A for a module: alpha/r, or alpha/√r with rsLoRA.
    pub fn scale(&self, module: &str) -> f64 {
        let alpha = by_module(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        let rank = self.rank(module) as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether a head that scores stands beside the pairs.
    pub fn scores(&self) -> bool {
        self.modules_to_save.iter().any(|m| m == "score")
    }

    /// The text of `adapter_config.json`.
    pub fn to_json(&self) -> String {
        let mut keys: BTreeMap<&str, Value> = BTreeMap::from([
            (
                "alpha_pattern",
                json!(self.alpha_pattern.iter().map(|(k, x)| (k.clone(), number(*x))).collect::<Map<_, _>>()),
            ),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("bias", json!("none")),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("layers_pattern", json!(self.layers_pattern)),
            ("layers_to_transform", json!(self.layers_to_transform)),
            ("lora_alpha", number(self.lora_alpha)),
            ("lora_dropout", json!(self.lora_dropout)),
            (
                "modules_to_save",
                if self.modules_to_save.is_empty() { Value::Null } else { json!(self.modules_to_save) },
            ),
            ("peft_type", json!("LORA")),
            ("peft_version", json!(PEFT_VERSION)),
            ("r", json!(self.r)),
            ("rank_pattern", json!(self.rank_pattern)),
            ("revision", json!(self.revision)),
            ("target_modules", modules_json(&self.target_modules)),
            ("task_type", json!(self.task_type)),
            ("use_dora", json!(self.use_dora)),
            ("use_rslora", json!(self.use_rslora)),
        ]);
        if let Some(modules) = &self.exclude_modules {
            keys.insert("exclude_modules", modules_json(modules));
        }
        if !self.trainable_token_indices.is_empty() {
            keys.insert("trainable_token_indices", json!(self.trainable_token_indices));
        }
        let object: Map<String, Value> =
            keys.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        format!("{:#}", Value::Object(object))
    }

    /// Reads the object of `adapter_config.json`; `file` is the name that errors give.
    ///
    /// Keys of newer PEFT versions are accepted while they are off (null, false, empty, or their idle default);
    /// where they are set, the adapter means something that is not computed here, and that is an error.
    pub fn from_json(file: &Path, object: &Map<String, Value>) -> Result<AdapterConfig, FormatError> {
        let keys = Keys { file, object };
        match keys.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(kind) => {
                return keys.fail(
                    "peft_type",
                    format!("\"{}\" adapters are not supported; only LORA is", shown(kind)),
                );
            }
            None => return keys.fail("peft_type", "missing; \"LORA\" is expected"),
        }
        keys.refuse_unsupported()?;
        let config = AdapterConfig {
            base_model_name_or_path: keys.text("base_model_name_or_path")?,
            revision: keys.text("revision")?,
            task_type: keys.text("task_type")?,
            r: match keys.get("r") {
                Some(value) => keys.rank("r", value)?,
                None => 8,
            },
            lora_alpha: match keys.get("lora_alpha") {
                Some(value) => keys.number("lora_alpha", value)?,
                None => 8.0,
            },
            lora_dropout: match keys.get("lora_dropout") {
                Some(value) => keys.number("lora_dropout", value)?,
                None => 0.0,
            },
            use_rslora: match keys.get("use_rslora") {
                Some(Value::Bool(on)) => *on,
                Some(_) => return keys.fail("use_rslora", "expected true or false"),
                None => false,
            },
            use_dora: match keys.get("use_dora") {
                Some(Value::Bool(on)) => *on,
                Some(_) => return keys.fail("use_dora", "expected true or false"),
                None => false,
            },
            target_modules: match keys.modules("target_modules")? {
                Some(modules) => modules,
                None => return keys.fail("target_modules", "missing: which modules carry the adapter?"),
            },
            exclude_modules: keys.modules("exclude_modules")?,
            layers_to_transform: keys.layers()?,
            layers_pattern: keys.texts("layers_pattern")?,
            rank_pattern: keys.pattern("rank_pattern", |value| keys.rank("rank_pattern", value))?,
            alpha_pattern: keys.pattern("alpha_pattern", |value| keys.number("alpha_pattern", value))?,
            trainable_token_indices: keys.tokens()?,
            modules_to_save: keys.texts("modules_to_save")?.unwrap_or_default(),
        };
        if let Some(other) = config.modules_to_save.iter().find(|m| !WHOLE.contains(&m.as_str())) {
            let problem = format!("\"{}\" is saved whole, which is not supported", shown(other));
            return keys.fail("modules_to_save", problem);
        }
        if !(0.0..1.0).contains(&config.lora_dropout) {
            return keys.fail("lora_dropout", format!("{} is not in 0..1", config.lora_dropout));
        }
        Ok(config)
    }
}

/// Integers without a point, as PEFT writes them.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// Sorted: PEFT keeps a set, whose order means nothing, and equal adapters shall have equal bytes.
fn modules_json(modules: &TargetModules) -> Value {
    match modules {
        TargetModules::Names(names) => {
            let mut names = names.clone();
            names.sort();
            names.dedup();
            json!(names)
        }
        TargetModules::Pattern(pattern) => json!(pattern),
    }
}

/// The entry whose key is the module's path or its end after a point.
fn by_module<T: Copy>(pattern: &BTreeMap<String, T>, module: &str) -> Option<T> {
    pattern
        .iter()
        .find(|(key, _)| {
            module.strip_suffix(key.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
        .map(|(_, x)| *x)
}

/// Keys with a meaning of their own in [`AdapterConfig`] or in [`Keys::refuse_unsupported`].
const KNOWN: [&str; 23] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "trainable_token_indices",
    "use_dora",
    "use_rslora",
    // Only mean something together with others that are refused.
    "megatron_core",
    "qalora_group_size",
    // Only says how B·A began, except for the kinds refused below.
    "init_lora_weights",
];

/// The object being read; null counts as missing.
struct Keys<'a> {
    file: &'a Path,
    object: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn fail<T>(&self, key: &str, problem: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError::key(self.file, &shown(key), problem))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn refuse_unsupported(&self) -> Result<(), FormatError> {
        for (key, value) in self.object {
            let idle = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                Value::String(text) => key == "bias" && text == "none",
                _ => false,
            };
            if !idle && !KNOWN.contains(&key.as_str()) {
                return self.fail(key, format!("is set to {}, which is not supported", brief(value)));
            }
        }
        match self.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(kind)) if matches!(kind.as_str(), "gaussian" | "eva" | "orthogonal") => Ok(()),
            Some(other) => {
                let problem = format!("{} changes the base weights, which is not supported", brief(other));
                self.fail("init_lora_weights", problem)
            }
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => self.fail(key, "expected a string or null"),
        }
    }

    /// Token ids: a list, or a list under the name of the embedding.
    fn tokens(&self) -> Result<Vec<u32>, FormatError> {
        const KEY: &str = "trainable_token_indices";
        let list = match self.get(KEY) {
            None => return Ok(Vec::new()),
            Some(Value::Object(of)) if of.keys().eq(["embed_tokens"]) => &of["embed_tokens"],
            Some(value) => value,
        };
        let id = |v: &Value| v.as_u64().and_then(|v| u32::try_from(v).ok());
        let ids: Option<Vec<u32>> = list.as_array().and_then(|list| list.iter().map(id).collect());
        let Some(ids) = ids else {
            let problem = format!("{}: token ids of `embed_tokens` are expected", brief(list));
            return self.fail(KEY, problem);
        };
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|w| w[0] == w[1]) {
            Some(twice) => self.fail(KEY, format!("token {} stands there twice", twice[0])),
            None => Ok(ids),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, FormatError> {
        match self.modules(key)? {
            None => Ok(None),
            Some(TargetModules::Names(names)) => Ok(Some(names)),
            Some(TargetModules::Pattern(name)) => Ok(Some(vec![name])),
        }
    }

    fn modules(&self, key: &str) -> Result<Option<TargetModules>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(pattern)) => Ok(Some(TargetModules::Pattern(pattern.clone()))),
            Some(Value::Array(items)) => {
                let names: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_string)).collect();
                match names {
                    Some(names) => Ok(Some(TargetModules::Names(names))),
                    None => self.fail(key, "expected a list of strings"),
                }
            }
            Some(_) => self.fail(key, "expected a string, a list of strings or null"),
        }
    }

    fn layers(&self) -> Result<Option<Vec<u32>>, FormatError> {
        let key = "layers_to_transform";
        let as_layer = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let layers = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.iter().map(as_layer).collect(),
            Some(value) => as_layer(value).map(|layer| vec![layer]),
        };
        match layers {
            Some(layers) => Ok(Some(layers)),
            None => self.fail(key, "expected a layer number, a list of them or null"),
        }
    }

    fn rank(&self, key: &str, value: &Value) -> Result<usize, FormatError> {
        match value.as_u64() {
            Some(rank @ 1..=MAX_RANK) => Ok(rank as usize),
            _ => self.fail(key, format!("{} is not a rank in 1..={MAX_RANK}", brief(value))),
        }
    }

    fn number(&self, key: &str, value: &Value) -> Result<f64, FormatError> {
        match value.as_f64().filter(|x| x.is_finite()) {
            Some(x) => Ok(x),
            None => self.fail(key, format!("{} is not a number", brief(value))),
        }
    }

    fn pattern<T>(
        &self,
        key: &str,
        read: impl Fn(&Value) -> Result<T, FormatError>,
    ) -> Result<BTreeMap<String, T>, FormatError> {
        let object = match self.get(key) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(object)) => object,
            Some(_) => return self.fail(key, "expected an object of module names"),
        };
        let mut out = BTreeMap::new();
        for (module, value) in object {
            // PEFT takes these as regular expressions; in practice they are plain module paths.
            if !module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
                let problem = format!(
                    "\"{}\" is a regular expression; only plain module names are supported",
                    shown(module)
                );
                return self.fail(key, problem);
            }
            out.insert(module.clone(), read(value)?);
        }
        Ok(out)
    }
}

fn brief(value: &Value) -> String {
    shown(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AdapterConfig, String> {
        let value: Map<String, Value> = serde_json::from_str(text).unwrap();
        AdapterConfig::from_json(Path::new("a.json"), &value).map_err(|error| error.to_string())
    }

    /// What PEFT 0.21.2 itself writes for `LoraConfig(target_modules=["q_proj"])`.
    const BY_PEFT: &str = r#"{
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false,
        "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
        "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
        "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
        "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 8,
        "rank_pattern": {}, "revision": null, "target_modules": ["q_proj"], "target_parameters": null,
        "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
        "use_qalora": false, "use_rslora": false, "velora_config": null }"#;

    #[test]
    fn what_peft_writes_by_default_is_our_default() {
        let want = AdapterConfig {
            target_modules: TargetModules::Names(vec!["q_proj".into()]),
            ..AdapterConfig::default()
        };
        assert_eq!(parse(BY_PEFT).unwrap(), want);
        assert_eq!(
            parse(r#"{"peft_type":"LORA","target_modules":["q_proj"],"task_type":"CAUSAL_LM"}"#).unwrap(),
            want
        );
    }

    #[test]
    fn a_config_comes_back_as_it_was_and_its_keys_are_sorted() {
        let config = AdapterConfig {
            base_model_name_or_path: Some("smollm2".into()),
            r: 16,
            lora_alpha: 24.5,
            lora_dropout: 0.05,
            use_rslora: true,
            target_modules: TargetModules::Names(vec!["down_proj".into(), "q_proj".into()]),
            exclude_modules: Some(TargetModules::Pattern("lm_head".into())),
            layers_to_transform: Some(vec![1, 2]),
            rank_pattern: BTreeMap::from([("layers.1.mlp.down_proj".into(), 4)]),
            alpha_pattern: BTreeMap::from([("q_proj".into(), 2.0)]),
            ..AdapterConfig::default()
        };
        let text = config.to_json();
        assert_eq!(parse(&text).unwrap(), config);
        assert!(
            text.starts_with("{\n  \"alpha_pattern\": {\n    \"q_proj\": 2\n  },\n  \"auto_mapping\": null,"),
            "{text}"
        );
        let keys: Vec<&str> = text.lines().filter(|l| l.starts_with("  \"")).collect();
        assert!(keys.is_sorted(), "{text}");
    }

    #[test]
    fn ranks_and_scales_follow_the_patterns() {
        let mut config = AdapterConfig { r: 16, lora_alpha: 32.0, ..AdapterConfig::default() };
        config.rank_pattern.insert("0.self_attn.q_proj".into(), 4);
        config.alpha_pattern.insert("down_proj".into(), 8.0);
        assert_eq!(config.rank("model.layers.0.self_attn.q_proj"), 4);
        assert_eq!(config.rank("model.layers.10.self_attn.q_proj"), 16);
        assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 8.0);
        assert_eq!(config.scale("model.layers.0.mlp.down_proj"), 0.5);
        assert_eq!(config.scale("model.layers.0.mlp.updown_proj"), 2.0);
        config.use_rslora = true;
        assert_eq!(config.scale("model.layers.0.mlp.down_proj"), 2.0);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (extra, want) in [
            (r#""use_dora": "yes""#, "key \"use_dora\": expected true or false"),
            (r#""bias": "all""#, "key \"bias\""),
            (r#""fan_in_fan_out": true"#, "key \"fan_in_fan_out\""),
            (
                r#""modules_to_save": ["score", "lm_head"]"#,
                "key \"modules_to_save\": \"lm_head\" is saved whole",
            ),
            (r#""layer_replication": [[0, 4], [2, 5]]"#, "key \"layer_replication\""),
            (r#""init_lora_weights": "pissa""#, "changes the base weights"),
            (r#""some_new_thing": 3"#, "key \"some_new_thing\""),
            (r#""lora_bias": true"#, "key \"lora_bias\""),
            (r#""use_qalora": true"#, "key \"use_qalora\""),
            (r#""target_parameters": ["experts.gate_up_proj"]"#, "key \"target_parameters\""),
            (r#""r": 0"#, "key \"r\": 0 is not a rank"),
            (r#""r": 99999999999"#, "is not a rank"),
            (r#""lora_alpha": "16""#, "is not a number"),
            (r#""lora_dropout": 1.5"#, "not in 0..1"),
            (r#""rank_pattern": {"layers\\.[01]\\.q": 4}"#, "regular expression"),
            (r#""layers_to_transform": [-1]"#, "layer number"),
        ] {
            let text = format!(r#"{{"peft_type": "LORA", "target_modules": ["q_proj"], {extra}}}"#);
            let error = parse(&text).unwrap_err();
            assert!(error.contains(want), "{extra}: {error}");
        }
        assert!(parse(r#"{"peft_type": "IA3"}"#).unwrap_err().contains("\"IA3\" adapters"));
        assert!(parse("{}").unwrap_err().contains("peft_type"));
        assert!(parse(r#"{"peft_type": "LORA"}"#).unwrap_err().contains("target_modules"));
    }
}
