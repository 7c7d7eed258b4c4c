//! `POST /tokenize` and `POST /detokenize`.

use crate::ask::model;
use crate::body::Json;
use crate::chat::messages;
use crate::error::{ApiError, json_response};
use crate::fields::token_ids;
use crate::http::aside;
use crate::service::Service;
use crate::tools::Tools;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::json;

type Result<T> = std::result::Result<T, ApiError>;

/// Largest text in bytes, and most tokens.
const TEXT: usize = 1 << 20;
const IDS: usize = 1 << 18;

/// Texts (`prompt`, special tokens in it are ordinary text) or conversations (`messages`) to tokens.
pub(crate) async fn tokenize(
    State(service): State<Service>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = model(&service, &mut fields)?;
    let spelled = fields.switch("return_token_strs")?.unwrap_or(false);
    let text = fields.text("prompt")?;
    let asked = model.clone();
    let tokens = match text {
        Some(text) => {
            let begin = fields.switch("add_special_tokens")?.unwrap_or(true);
            fields.done()?;
            if text.len() > TEXT {
                let message = format!("\"prompt\" has {} bytes; at most {TEXT} are read at once", text.len());
                return Err(ApiError::invalid("prompt", message));
            }
            let work = move || match begin {
                true => asked.renderer.completion(&text).map(|r| r.tokens),
                false => asked.renderer.tokenizer().encode(&text, false),
            };
            aside(usize::MAX, work).await?.map_err(|e| ApiError::invalid("prompt", e.to_string()))?
        }
        None => {
            let turns = messages(&mut fields)?;
            let tools = Tools::chat(&mut fields)?;
            fields.done()?;
            aside(usize::MAX, move || asked.prompt(turns, tools.as_ref())).await??
        }
    };
    let mut object = json!({ "count": tokens.len(), "max_model_len": service.context(), "tokens": tokens });
    if spelled {
        let piece = |&id: &u32| model.renderer.tokenizer().token(id).unwrap_or_default().to_string();
        object["token_strs"] = tokens.iter().map(piece).collect();
    }
    Ok(json_response(&object))
}

/// Tokens to text; special tokens are spelt out.
pub(crate) async fn detokenize(
    State(service): State<Service>,
    Json(mut fields): Json,
) -> Result<Response<Body>> {
    let model = model(&service, &mut fields)?;
    let vocab = service.engine().model().config().vocab;
    let list = fields.list("tokens", IDS)?.ok_or_else(|| ApiError::missing("tokens"))?;
    fields.done()?;
    let ids = token_ids(&list).filter(|ids| ids.iter().all(|&id| (id as usize) < vocab));
    let wrong =
        || ApiError::invalid("tokens", format!("\"tokens\" must be a list of token ids below {vocab}"));
    let ids = ids.ok_or_else(wrong)?;
    let text = aside(ids.len(), move || model.renderer.tokenizer().decode(&ids)).await?;
    Ok(json_response(&json!({ "prompt": text })))
}
