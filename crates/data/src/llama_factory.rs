//! LLaMA-Factory's `dataset_info.json`: names of data sets with their files, shapes and columns.
//!
//! One trap of that format is kept as it is, since its files are written for it: where `columns` stands, a column that it
//! does not name has no part, not even under its default name. A set that so loses answers which its file has is refused,
//! because nobody means that.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::input::Place;
use crate::mapping::{Mapping, SchemaKind, Tags};
use crate::parts::PartKind;
use crate::rows::{FileFormat, SourceSpec};
use crate::schema::nearest;

/// Its name.
pub(crate) const FILE: &str = "dataset_info.json";
/// Largest such file.
const BYTES: u64 = 16 << 20;

const KEYS: [&str; 14] = [
    "file_name",
    "formatting",
    "columns",
    "tags",
    "ranking",
    "split",
    "subset",
    "folder",
    "num_samples",
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
];
const COLUMNS: [&str; 13] = [
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos", "audios",
    "chosen", "rejected", "kto_tag",
];
const TAGS: [&str; 7] =
    ["role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"];

/// The data set that `spec.part` names; without one there must be only one.
pub(crate) fn parts(path: &Path, spec: &SourceSpec) -> Result<Vec<(String, PartKind)>, DataError> {
    let io = |source| DataError::Io { path: path.to_path_buf(), source };
    let file = path.display().to_string();
    let wrong = |problem: String| DataError::Setting { file: file.clone(), problem };
    if std::fs::metadata(path).map_err(io)?.len() > BYTES {
        return Err(wrong(format!("it is larger than {BYTES} bytes, which no list of data sets is")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let sets: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|e| wrong(format!("it is no JSON object of data sets: {e}")))?;
    let names: Vec<&str> = sets.keys().map(String::as_str).collect();
    let (name, set) = match (&spec.part, sets.iter().next()) {
        (Some(part), _) => match sets.get_key_value(part) {
            Some(found) => found,
            None => {
                let near = nearest(part, names.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
                return Err(wrong(format!("it has no set \"{part}\"{near}")));
            }
        },
        (None, Some(only)) if sets.len() == 1 => only,
        (None, _) => {
            let shown = names.iter().take(20).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
            return Err(wrong(format!(
                "it names {} data sets; say which with `part`, one source for each: {shown}",
                names.len()
            )));
        }
    };
    let Value::Object(set) = set else { return Err(wrong(format!("the set \"{name}\" is no object"))) };
    let wrong = |problem: String| wrong(format!("set \"{name}\": {problem}"));
    known(set, &KEYS).map_err(&wrong)?;
    let text = |key: &str| set.get(key).and_then(Value::as_str);
    if let Some(hub) = ["hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"]
        .into_iter()
        .find(|key| set.get(*key).is_some_and(|v| !v.is_null()))
    {
        return Err(wrong(format!(
            "`{hub}` points to another machine; download the set and give its file as `file_name`"
        )));
    }
    for key in ["num_samples", "subset", "folder"] {
        if set.get(key).is_some_and(|v| !v.is_null()) {
            return Err(wrong(format!(
                "`{key}` is not followed here; take it out, and use `weight` for a share of a set"
            )));
        }
    }
    let Some(file_name) = text("file_name") else { return Err(wrong("it has no `file_name`".into())) };
    let target = path.parent().unwrap_or(Path::new("")).join(file_name);
    if !target.is_file() {
        return Err(wrong(format!("its file {} is not there, or is no file", target.display())));
    }
    let mut own = spec.clone();
    own.part = None;
    own.path.clone_from(&target);
    if own.mapping.is_none() {
        own.mapping = mapping(set).map_err(wrong)?;
    }
    if own.format.is_none() && FileFormat::of_name(&target).is_none() {
        own.format = Some(FileFormat::Json);
    }
    Ok(vec![(file_name.to_string(), PartKind::Table { spec: Box::new(own), place: Place::File(target) })])
}

fn known(object: &Map<String, Value>, keys: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let near = if key == "format" { Some("formatting") } else { nearest(key, keys.iter().copied()) };
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(format!("the key `{key}` is unknown{near}"))
        }
    }
}

/// The columns of a set as a mapping; `None` where it leaves them to their usual names, which are found by looking.
fn mapping(set: &Map<String, Value>) -> Result<Option<Mapping>, String> {
    let object = |key: &'static str, keys: &[&str]| match set.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => {
            known(object, keys).map(|()| Some(object)).map_err(|e| format!("`{key}`: {e}"))
        }
        Some(_) => Err(format!("`{key}` is no object")),
    };
    let columns = object("columns", &COLUMNS)?;
    let tags = object("tags", &TAGS)?;
    let named = |key: &str| columns.and_then(|c| c.get(key)).and_then(Value::as_str).map(String::from);
    let or_default = |key: &str, default: &str| match columns {
        None => Some(default.to_string()),
        Some(_) => named(key),
    };
    if set.get("ranking") == Some(&Value::Bool(true))
        || ["chosen", "rejected", "kto_tag"].iter().any(|k| named(k).is_some())
    {
        return Err(
            "it is preference data, which supervised training would learn whole; take a set of answers"
                .into(),
        );
    }
    if let Some(media) = ["images", "videos", "audios"].into_iter().find(|key| named(key).is_some()) {
        return Err(format!("`columns.{media}`: pictures and sound are not read"));
    }
    let formatting = set.get("formatting").and_then(Value::as_str).unwrap_or("alpaca");
    if columns.is_none() && tags.is_none() && ["alpaca", "sharegpt", "openai"].contains(&formatting) {
        return Ok(None);
    }
    let mut mapping = match formatting {
        "alpaca" => {
            let prompt = or_default("prompt", "instruction").ok_or("`columns` names no `prompt`")?;
            match or_default("response", "output") {
                Some(response) => {
                    let mut m = Mapping::new(SchemaKind::Instruction);
                    m.user = Some(prompt);
                    m.input = or_default("query", "input");
                    m.answer = Some(response);
                    m.history = named("history");
                    m
                }
                None => {
                    let mut m = Mapping::new(SchemaKind::Text);
                    m.text = Some(prompt);
                    m.lost = Some("output".into());
                    return Ok(Some(m));
                }
            }
        }
        "sharegpt" | "openai" => {
            let openai = formatting == "openai";
            let tag = |key: &str, default: &str| {
                tags.and_then(|t| t.get(key)).and_then(Value::as_str).unwrap_or(default).to_string()
            };
            let mut m = Mapping::new(if openai { SchemaKind::Messages } else { SchemaKind::Sharegpt });
            m.messages =
                Some(or_default("messages", "conversations").ok_or("`columns` names no `messages`")?);
            if tags.is_some() {
                let pick = |a: &str, b: &str| if openai { a.to_string() } else { b.to_string() };
                m.tags = Some(Tags {
                    role: tag("role_tag", &pick("role", "from")),
                    content: tag("content_tag", &pick("content", "value")),
                    user: tag("user_tag", &pick("user", "human")),
                    assistant: tag("assistant_tag", &pick("assistant", "gpt")),
                    observation: tag("observation_tag", &pick("tool", "observation")),
                    function: tag("function_tag", "function_call"),
                    system: tag("system_tag", "system"),
                });
            }
            m
        }
        other => return Err(format!("formatting \"{other}\" is none of alpaca, sharegpt, openai")),
    };
    mapping.system = named("system");
    mapping.tools = named("tools");
    Ok(Some(mapping))
}
