//! `GET /openapi.json`: the API as OpenAPI 3.1, made here from tables beside the bounds that the code enforces. A test compares it
//! with the router. Pages for people are left out.

use crate::error::json_response;
use crate::service::Service;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Map, Value, json};

pub(crate) async fn openapi(State(service): State<Service>) -> Response<Body> {
    json_response(&document(&service.model_names(), service.config().prompts, service.config().choices))
}

/// One operation.
struct Operation {
    path: &'static str,
    method: &'static str,
    about: &'static str,
    /// the body's schema
    body: Option<Value>,
    /// statuses beside those that every operation may have
    statuses: &'static [&'static str],
    /// what success says
    success: (&'static str, &'static str, Value),
    /// whether it can also be a stream of events
    stream: bool,
}

const JSON: &str = "application/json";

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// A request's body: nothing but these fields.
fn body(fields: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number(from: f64, to: f64) -> Value {
    json!({ "type": ["number", "null"], "minimum": from, "maximum": to })
}

fn count(from: u64, to: u64) -> Value {
    json!({ "type": ["integer", "null"], "minimum": from, "maximum": to })
}

fn switch() -> Value {
    json!({ "type": ["boolean", "null"] })
}

fn any(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn list_of(item: Value, most: usize) -> Value {
    json!({ "type": "array", "items": item, "minItems": 1, "maxItems": most })
}

/// How tokens are chosen, and how the answer comes: fields that several operations share.
fn sampling(choices: usize) -> Vec<(&'static str, Value)> {
    let stop = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
    vec![
        ("temperature", number(0.0, 2.0)),
        ("top_p", number(0.0, 1.0)),
        (
            "top_k",
            json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 1024, "description": "beyond OpenAI's fields" }),
        ),
        ("min_p", number(0.0, 1.0)),
        ("repetition_penalty", number(0.01, 100.0)),
        ("presence_penalty", number(-2.0, 2.0)),
        ("frequency_penalty", number(-2.0, 2.0)),
        ("logit_bias", any("object")),
        ("seed", any("integer")),
        ("stop", json!({ "oneOf": [stop, list_of(stop.clone(), 16), { "type": "null" }] })),
        ("n", count(1, choices as u64)),
        ("stream", switch()),
        ("stream_options", any("object")),
        ("ignore_eos", switch()),
        ("user", json!({})),
        ("metadata", any("object")),
        ("store", switch()),
    ]
}

fn operations(models: &[String], prompts: usize, choices: usize) -> Vec<Operation> {
    let model = || ("model", json!({ "type": "string", "enum": models }));
    let most = |name: &'static str, least: u64| (name, count(least, u32::MAX.into()));
    let message = json!({
        "type": "object", "required": ["role"], "properties": {
            "role": { "enum": ["system", "developer", "user", "assistant", "tool"] },
            "content": { "oneOf": [text(), { "type": "array" }, { "type": "null" }] },
            "tool_calls": any("array"), "tool_call_id": any("string"),
        },
    });
    let messages = || ("messages", list_of(message.clone(), 2048));
    let tools = || {
        [
            ("tools", json!({ "type": ["array", "null"], "maxItems": 128 })),
            ("tool_choice", json!({ "type": ["string", "object", "null"] })),
            ("parallel_tool_calls", switch()),
        ]
    };
    let token_ids = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1 });
    let texts = json!({ "oneOf": [text(), list_of(text(), prompts), token_ids, list_of(token_ids.clone(), prompts)] });
    let list =
        || object(json!({ "object": { "const": "list" }, "data": { "type": "array" } }), &["object", "data"]);
    let whole = |kind: &str, rest: &str| {
        object(json!({ "id": text(), kind: text(), rest: { "type": "array" } }), &["id", kind, rest])
    };
    let op = |path, method, about, body, success: Value| Operation {
        path,
        method,
        about,
        body,
        statuses: &[],
        success: ("200", JSON, success),
        stream: false,
    };
    let generating: &[&str] = &["404", "429", "500", "503", "504"];
    let kept: &[&str] = &["404", "501"];
    let administrator: &[&str] = &["403", "404", "501"];

    let mut chat = vec![model(), messages(), most("max_tokens", 1), most("max_completion_tokens", 1)];
    chat.extend([("logprobs", switch()), ("top_logprobs", count(0, 20)), ("response_format", any("object"))]);
    chat.extend(tools());
    chat.extend(sampling(choices));
    let mut completion = vec![model(), ("prompt", texts.clone()), most("max_tokens", 0), ("echo", switch())];
    completion
        .push(("logprobs", json!({ "type": ["integer", "boolean", "null"], "minimum": 0, "maximum": 20 })));
    completion.extend(sampling(choices));
    let mut response = vec![
        model(),
        ("input", json!({ "oneOf": [text(), { "type": "array", "minItems": 1, "maxItems": 2048 }] })),
        ("instructions", any("string")),
        ("previous_response_id", any("string")),
        most("max_output_tokens", 1),
        ("text", any("object")),
        ("truncation", json!({ "enum": ["disabled", null] })),
    ];
    response.extend(tools());
    response.extend(sampling(1));
    let claude_message = json!({
        "type": "object", "required": ["role", "content"], "properties": {
            "role": { "enum": ["user", "assistant"] }, "content": { "oneOf": [text(), { "type": "array" }] },
        },
    });
    let asked = vec![
        model(),
        ("messages", list_of(claude_message, 2048)),
        ("system", json!({ "type": ["string", "array", "null"] })),
        ("tools", json!({ "type": ["array", "null"], "maxItems": 128 })),
        ("tool_choice", any("object")),
        ("thinking", any("object")),
    ];
    let mut claude = asked.clone();
    claude.extend([most("max_tokens", 1), ("stop_sequences", any("array"))]);
    claude.extend(sampling(1));
    let labels = list_of(text(), 1024);
    let one_or_many = json!({ "oneOf": [text(), list_of(text(), prompts)] });
    let optional_messages =
        ("messages", json!({ "type": ["array", "null"], "items": message, "maxItems": 2048 }));
    let named = |name: &'static str, value: Value| (name, value);

    vec![
        Operation {
            statuses: generating,
            stream: true,
            ..op(
                "/v1/chat/completions",
                "post",
                "Answers a conversation",
                Some(body(&chat, &["model", "messages"])),
                whole("object", "choices"),
            )
        },
        Operation {
            statuses: generating,
            stream: true,
            ..op(
                "/v1/completions",
                "post",
                "Goes on with texts",
                Some(body(&completion, &["model", "prompt"])),
                whole("object", "choices"),
            )
        },
        Operation {
            statuses: &["404", "429", "500", "501", "503", "504"],
            stream: true,
            ..op(
                "/v1/responses",
                "post",
                "Answers, and keeps the answer for later ones",
                Some(body(&response, &["model", "input"])),
                whole("object", "output"),
            )
        },
        Operation {
            statuses: kept,
            ..op("/v1/responses/{id}", "get", "A response that was kept", None, whole("object", "output"))
        },
        Operation {
            statuses: kept,
            ..op("/v1/responses/{id}", "delete", "Deletes a response", None, whole_deleted())
        },
        Operation {
            statuses: generating,
            stream: true,
            ..op(
                "/v1/messages",
                "post",
                "Answers a conversation, in Anthropic's shape",
                Some(body(&claude, &["model", "messages", "max_tokens"])),
                whole("type", "content"),
            )
        },
        Operation {
            statuses: &["404"],
            ..op(
                "/v1/messages/count_tokens",
                "post",
                "Tokens of a conversation",
                Some(body(&asked, &["model", "messages"])),
                object(json!({ "input_tokens": { "type": "integer" } }), &["input_tokens"]),
            )
        },
        Operation {
            statuses: generating,
            ..op(
                "/v1/embeddings",
                "post",
                "Vectors of texts",
                Some(body(
                    &[
                        model(),
                        named("input", texts),
                        named("encoding_format", json!({ "enum": ["float", "base64", null] })),
                        named("dimensions", any("integer")),
                        named("pooling", json!({ "enum": ["mean", "last", null] })),
                        named("user", json!({})),
                    ],
                    &["model", "input"],
                )),
                list(),
            )
        },
        Operation {
            statuses: generating,
            ..op(
                "/v1/classify",
                "post",
                "Probabilities of labels",
                Some(body(
                    &[
                        model(),
                        named("labels", labels),
                        named("input", one_or_many),
                        named("system", any("string")),
                        optional_messages.clone(),
                    ],
                    &["model", "labels"],
                )),
                list(),
            )
        },
        Operation {
            statuses: generating,
            ..op(
                "/v1/score",
                "post",
                "Log-probabilities of given answers",
                Some(body(
                    &[
                        model(),
                        named("answers", list_of(text(), 64)),
                        named("input", any("string")),
                        named("system", any("string")),
                        optional_messages,
                    ],
                    &["model", "answers"],
                )),
                list(),
            )
        },
        Operation {
            statuses: &["404", "501"],
            success: ("201", JSON, object(json!({ "id": { "type": "integer" } }), &["id"])),
            ..op(
                "/v1/feedback",
                "post",
                "Keeps what somebody thinks of an answer",
                Some(body(
                    &[
                        model(),
                        messages(),
                        named("answer", text()),
                        named("verdict", json!({ "enum": ["up", "down", "edited", "right"] })),
                        named("correction", any("string")),
                        named("comment", any("string")),
                    ],
                    &["model", "messages", "answer", "verdict"],
                )),
                json!({}),
            )
        },
        op("/v1/models", "get", "What is served", None, list()),
        Operation {
            statuses: &["404"],
            ..op("/v1/models/{name}", "get", "One model", None, object(json!({ "id": text() }), &["id"]))
        },
        Operation {
            statuses: &["404"],
            ..op(
                "/tokenize",
                "post",
                "Tokens of a text or a conversation",
                Some(json!({
                    "type": "object", "required": ["model"], "properties": {
                        "model": { "type": "string", "enum": models }, "prompt": any("string"), "messages": any("array"),
                        "add_special_tokens": switch(), "return_token_strs": switch(),
                    },
                })),
                object(
                    json!({ "tokens": { "type": "array" }, "count": { "type": "integer" } }),
                    &["tokens", "count"],
                ),
            )
        },
        Operation {
            statuses: &["404"],
            ..op(
                "/detokenize",
                "post",
                "The text of tokens",
                Some(body(
                    &[
                        model(),
                        named(
                            "tokens",
                            json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }),
                        ),
                    ],
                    &["model", "tokens"],
                )),
                object(json!({ "prompt": text() }), &["prompt"]),
            )
        },
        op("/health/live", "get", "Whether it lives", None, object(json!({ "status": text() }), &["status"])),
        Operation {
            statuses: &["503"],
            ..op(
                "/health/ready",
                "get",
                "Whether it takes requests",
                None,
                object(json!({ "status": text() }), &["status"]),
            )
        },
        Operation {
            success: ("200", "text/plain", json!({ "type": "string" })),
            ..op("/metrics", "get", "Figures for Prometheus", None, json!({}))
        },
        op("/openapi.json", "get", "This document", None, object(json!({ "openapi": text() }), &["openapi"])),
        Operation { statuses: &["403"], ..op("/admin/adapters", "get", "Adapters in service", None, list()) },
        Operation {
            statuses: administrator,
            success: ("201", JSON, object(json!({ "name": text() }), &["name"])),
            ..op(
                "/admin/adapters",
                "post",
                "Loads or replaces an adapter",
                Some(body(&[named("name", text()), named("path", text())], &["name", "path"])),
                json!({}),
            )
        },
        Operation {
            statuses: administrator,
            ..op(
                "/admin/adapters/{name}",
                "delete",
                "Unloads an adapter",
                None,
                object(json!({ "name": text() }), &["name"]),
            )
        },
        Operation {
            statuses: administrator,
            ..op("/admin/keys", "get", "Keys and what they used", None, list())
        },
        Operation {
            statuses: administrator,
            success: ("201", JSON, object(json!({ "id": text(), "key": text() }), &["id", "key"])),
            ..op(
                "/admin/keys",
                "post",
                "Makes a key",
                Some(body(
                    &[
                        named("name", json!({ "type": "string", "minLength": 1, "maxLength": 64 })),
                        named("admin", switch()),
                        named("requests_per_minute", count(1, u32::MAX.into())),
                        named("tokens_per_day", count(1, i64::MAX as u64)),
                        named("parallel", count(1, u32::MAX.into())),
                        named("days", count(1, 36_500)),
                    ],
                    &["name"],
                )),
                json!({}),
            )
        },
        Operation {
            statuses: administrator,
            ..op(
                "/admin/keys/{id}",
                "delete",
                "Takes a key back",
                None,
                object(json!({ "id": text() }), &["id"]),
            )
        },
    ]
}

fn whole_deleted() -> Value {
    object(json!({ "id": text(), "deleted": { "const": true } }), &["id", "deleted"])
}

/// What each status means.
fn meaning(status: &str) -> &'static str {
    match status {
        "400" => "the request is wrong; `param` names the field",
        "401" => "no key, or a wrong one",
        "403" => "not for this key, or not by this host name",
        "404" => "there is no such thing",
        "405" => "not by this method",
        "408" => "the body did not arrive in time",
        "413" => "the body is too large",
        "414" => "the address is too long",
        "415" => "the body is not JSON by its Content-Type",
        "429" => "too many at once, or the key's limits are reached; Retry-After tells when to come again",
        "431" => "the headers are too large",
        "500" => "a fault of ours",
        "501" => "this server keeps nothing",
        "503" => "going down, stuck, or too many large bodies or schemas at once",
        _ => "it took longer than this server allows",
    }
}

fn document(models: &[String], prompts: usize, choices: usize) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for op in operations(models, prompts, choices) {
        let anthropic = op.path.starts_with("/v1/messages");
        let error =
            if anthropic { "#/components/schemas/AnthropicError" } else { "#/components/schemas/Error" };
        let (status, kind, schema) = op.success;
        let mut content = Map::new();
        content.insert(kind.into(), json!({ "schema": schema }));
        if op.stream {
            // readers of the document differ on whether this is the text or an event: no type is told
            let about = "server-sent events; the data of each is a JSON object";
            content.insert("text/event-stream".into(), json!({ "schema": { "description": about } }));
        }
        let mut responses = Map::new();
        responses.insert(status.into(), json!({ "description": op.about, "content": content }));
        let always: &[&str] = match op.body {
            Some(_) => &["400", "401", "403", "405", "408", "413", "414", "415", "429", "431", "503"],
            None => &["401", "403", "405", "414", "431"],
        };
        for status in always.iter().chain(op.statuses) {
            // readiness tells its own state
            let schema = match (op.path, *status) {
                ("/health/ready", "503") => object(json!({ "status": text() }), &["status"]),
                _ => json!({ "$ref": error }),
            };
            let entry = json!({ "description": meaning(status), "content": { JSON: { "schema": schema } } });
            responses.insert(status.to_string(), entry);
        }
        let name: String = op.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut operation = json!({
            "operationId": format!("{}{name}", op.method), "summary": op.about, "responses": responses,
        });
        if let Some(body) = op.body {
            operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": body } } });
        }
        if let Some(parameter) = op.path.split('{').nth(1).and_then(|p| p.split('}').next()) {
            operation["parameters"] = json!([{ "name": parameter, "in": "path", "required": true, "schema": { "type": "string" } }]);
        }
        if op.path.starts_with("/health/") {
            operation["security"] = json!([]);
        }
        paths.entry(op.path).or_insert_with(|| json!({}))[op.method] = operation;
    }
    let field = json!({ "type": ["string", "null"] });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Nurture", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT OR Apache-2.0" } },
        "security": [{ "bearer": [] }, { "header": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "header": { "type": "apiKey", "in": "header", "name": "X-Api-Key" },
            },
            "schemas": {
                "Error": object(json!({ "error": object(
                    json!({ "message": text(), "type": text(), "param": field, "code": field }), &["message", "type"],
                ) }), &["error"]),
                "AnthropicError": object(json!({ "type": { "const": "error" }, "error": object(
                    json!({ "message": text(), "type": text() }), &["message", "type"],
                ) }), &["type", "error"]),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route of the router is described with its methods, and nothing else is.
    #[test]
    fn it_describes_the_router() {
        let document = document(&["base".into()], 128, 8);
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            described.extend(operations.as_object().unwrap().keys().map(|m| (path.clone(), m.clone())));
        }
        described.sort();
        let source = include_str!("routes.rs");
        let mut routed: Vec<(String, String)> = Vec::new();
        for line in source.split(".route(\"").skip(1) {
            let (path, rest) = line.split_once('"').unwrap();
            let rest = rest.split(".route(").next().unwrap().lines().next().unwrap();
            for method in ["get", "post", "delete"] {
                if rest.contains(&format!(" {method}(")) || rest.contains(&format!(".{method}(")) {
                    routed.push((path.to_string(), method.to_string()));
                }
            }
        }
        routed.sort();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_is_there() {
        let document = document(&["base".into()], 128, 8);
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        assert!(text.contains("\"enum\":[\"base\"]"));
    }
}
