//! Tools, responses, Anthropic's messages, keys with limits, TLS, feedback: raw HTTP against the real binary.

#[path = "serve/http.rs"]
mod http;

use http::{Response, Server, chat, content, nurture};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

fn weather() -> Value {
    json!({
        "name": "get_weather", "description": "Weather <|im_end|> of a place",
        "parameters": {
            "type": "object", "required": ["city", "days"], "additionalProperties": false,
            "properties": { "city": { "enum": ["Oslo", "Lima"] }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
        },
    })
}

/// The events of a stream with named events.
fn named(response: &Response) -> Vec<(String, Value)> {
    let event = |block: &str| {
        let (name, data) = block.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_string(), serde_json::from_str(data).unwrap()))
    };
    response.body.split("\n\n").filter_map(event).collect()
}

fn valid(arguments: &Value) {
    assert!(["Oslo", "Lima"].contains(&arguments["city"].as_str().unwrap()), "{arguments}");
    assert!((1..=9).contains(&arguments["days"].as_i64().unwrap()), "{arguments}");
}

#[test]
fn a_call_that_must_come_comes_and_is_valid() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let mut body = chat("What is the weather in Oslo for three days?", 80);
    body["tools"] = json!([{ "type": "function", "function": weather() }]);
    body["tool_choice"] = json!("required");
    body["parallel_tool_calls"] = json!(false);
    let whole = server.ok("/v1/chat/completions", &body);
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{whole}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&call["function"]["name"], &choice["message"]["content"]),
        (&json!("get_weather"), &Value::Null)
    );
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    valid(&arguments);

    body["stream"] = json!(true);
    let events = server.post("/v1/chat/completions", &body).events();
    let streamed: Vec<&Value> =
        events.iter().filter_map(|e| e["choices"][0]["delta"]["tool_calls"].as_array()).flatten().collect();
    assert_eq!(streamed.len(), 1);
    assert_eq!(streamed[0]["function"], call["function"]);
    let finishes: Vec<&Value> =
        events.iter().map(|e| &e["choices"][0]["finish_reason"]).filter(|f| !f.is_null()).collect();
    assert_eq!(finishes, ["tool_calls"]);

    // the result goes back, and an answer in words comes
    body["stream"] = json!(false);
    body["tool_choice"] = json!("none");
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "12 degrees, rain" }));
    assert!(!content(&server.ok("/v1/chat/completions", &body)).is_empty());
    body["messages"][2]["tool_call_id"] = json!("another");
    let refused = server.post("/v1/chat/completions", &body);
    assert_eq!((refused.status, refused.json()["error"]["param"].clone()), (400, json!("messages[2]")));

    // a schema that cannot be followed is told, before anything is computed
    body = chat("x", 8);
    body["tool_choice"] = json!("required");
    body["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "no-such-type" } } }]);
    let refused = server.post("/v1/chat/completions", &body);
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].clone()),
        (400, json!("tools")),
        "{}",
        refused.body
    );
    let deep = (0..30).fold(json!({ "type": "string" }), |s, _| json!({ "type": "array", "items": s }));
    body["tools"][0]["function"]["parameters"] = json!({ "type": "object", "properties": { "x": deep } });
    assert!(server.post("/v1/chat/completions", &body).status < 500);
}

#[test]
fn responses_go_on_from_each_other() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let ask = |more: Value| {
        let mut body = json!({ "model": "base", "input": "Name three colours.", "temperature": 0, "max_output_tokens": 24 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let first = server.ok("/v1/responses", &ask(json!({ "metadata": { "k": "v" } })));
    let said = |r: &Value| r["output"][0]["content"][0]["text"].as_str().unwrap().to_string();
    assert_eq!(said(&first), content(&server.ok("/v1/chat/completions", &chat("Name three colours.", 24))));
    let id = first["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/responses/{id}")).json(), first);
    let second =
        server.ok("/v1/responses", &ask(json!({ "input": "And three more?", "previous_response_id": id })));
    let mut long = chat("Name three colours.", 24);
    let messages = long["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": said(&first) }));
    messages.push(json!({ "role": "user", "content": "And three more?" }));
    assert_eq!(said(&second), content(&server.ok("/v1/chat/completions", &long)));
    assert_eq!(
        second["usage"]["input_tokens"],
        server.ok("/tokenize", &json!({ "model": "base", "messages": long["messages"] }))["count"]
    );

    let events = named(&server.post("/v1/responses", &ask(json!({ "stream": true, "store": false }))));
    let numbers: Vec<u64> = events.iter().map(|(_, e)| e["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|(name, e)| e["type"] == **name));
    let deltas: String = events
        .iter()
        .filter(|(n, _)| n == "response.output_text.delta")
        .map(|(_, e)| e["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, said(&first));
    let (last, object) = events.last().unwrap();
    assert_eq!(
        last,
        if object["response"]["status"] == "completed" {
            "response.completed"
        } else {
            "response.incomplete"
        }
    );
    let gone = object["response"]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/responses/{gone}")).status, 404, "it was not to be kept");

    let forced = ask(
        json!({ "tools": [{ "type": "function", "name": "get_weather", "parameters": weather()["parameters"] }],
        "tool_choice": { "type": "function", "name": "get_weather" }, "max_output_tokens": 80, "parallel_tool_calls": false }),
    );
    let called = server.ok("/v1/responses", &forced);
    let call = &called["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("get_weather")), "{called}");
    valid(&serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap());
    let result = json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "rain" }]);
    server.ok("/v1/responses", &ask(json!({ "input": result, "previous_response_id": called["id"] })));
    let wrong = server.post("/v1/responses", &ask(json!({ "input": result })));
    assert_eq!(wrong.status, 400, "{}", wrong.body);

    assert_eq!(server.ask("DELETE", &format!("/v1/responses/{id}"), "", "").status, 200);
    let missing = server.post("/v1/responses", &ask(json!({ "previous_response_id": id })));
    assert_eq!(
        (missing.status, missing.json()["error"]["param"].clone()),
        (404, json!("previous_response_id"))
    );
}

#[test]
fn anthropics_clients_find_their_shapes() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let ask = |more: Value| {
        let mut body = json!({
            "model": "base", "max_tokens": 24, "temperature": 0, "system": [{ "type": "text", "text": "Be brief." }],
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Name three colours." }] }],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = server.ok("/v1/messages", &ask(json!({})));
    let text = whole["content"][0]["text"].as_str().unwrap();
    assert_eq!((&whole["type"], &whole["role"]), (&json!("message"), &json!("assistant")));
    let mut same = chat("Name three colours.", 24);
    same["messages"].as_array_mut().unwrap().insert(0, json!({ "role": "system", "content": "Be brief." }));
    assert_eq!(text, content(&server.ok("/v1/chat/completions", &same)));
    let mut count = ask(json!({}));
    for field in ["max_tokens", "temperature"] {
        count.as_object_mut().unwrap().remove(field);
    }
    let counted = server.ok("/v1/messages/count_tokens", &count)["input_tokens"].as_u64().unwrap();
    let usage = &whole["usage"];
    assert_eq!(
        counted,
        usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap()
    );

    let events = named(&server.post("/v1/messages", &ask(json!({ "stream": true }))));
    let names: Vec<&str> = events.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let streamed: String = events.iter().filter_map(|(_, e)| e["delta"]["text"].as_str()).collect();
    assert_eq!(streamed, text);

    // which text ended it
    let part = text.split(' ').nth(1).unwrap();
    let stopped = server.ok("/v1/messages", &ask(json!({ "stop_sequences": ["never said", part] })));
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(part)));

    let tools = json!([{ "name": "get_weather", "input_schema": weather()["parameters"] }]);
    let forced = ask(
        json!({ "tools": tools, "tool_choice": { "type": "any", "disable_parallel_tool_use": true }, "max_tokens": 80 }),
    );
    let called = server.ok("/v1/messages", &forced);
    let block = called["content"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&called["stop_reason"], &block["type"]),
        (&json!("tool_use"), &json!("tool_use")),
        "{called}"
    );
    valid(&block["input"]);
    let mut back = ask(json!({ "tools": tools }));
    let messages = back["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": [block] }));
    messages.push(json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": block["id"], "content": "rain" }] }));
    server.ok("/v1/messages", &back);

    for (more, status) in [
        (json!({ "model": "nobody" }), 404),
        (json!({ "max_tokens": 0 }), 400),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }), 400),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": {} }] }] }), 400),
        (json!({ "nonsense": 1 }), 400),
    ] {
        let refused = server.post("/v1/messages", &ask(more.clone()));
        assert_eq!(refused.status, status, "{more}: {}", refused.body);
        assert_eq!(refused.json()["type"], "error", "{}", refused.body);
    }
}

#[test]
fn keys_come_go_and_have_limits_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("s.sqlite").display().to_string();
    let keys = |args: &[&str]| {
        let (mut command, _home) = nurture();
        let out = command.arg("keys").args(args).args(["--store", &store, "--lang", "en"]).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_string()
    };
    let boss: &'static str = keys(&["add", "boss", "--admin"]).leak();
    let Some(mut server) = Server::start(&["--store", &store], &[]) else { return };
    assert_eq!(server.get("/v1/models").status, 401);
    server.key = Some(boss);
    assert_eq!(server.get("/v1/models").status, 200);
    let made = server.ok_status(
        "/admin/keys",
        &json!({ "name": "team", "requests_per_minute": 4, "parallel": 1 }),
        201,
    );
    server.key = Some(made["key"].as_str().unwrap().to_string().leak());
    assert_eq!(server.get("/admin/keys").status, 403);
    server.ok("/v1/chat/completions", &chat("Hi", 2));
    let mut two = chat("Hi", 2);
    two["n"] = json!(2);
    let refused = server.post("/v1/chat/completions", &two);
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (429, json!("too_many_at_once")));
    // labels part at many places, which are asked one after another
    let labels: Vec<String> = (0..40).map(|i| format!("{} of {}", i % 8, i / 8)).collect();
    let classified =
        server.ok("/v1/classify", &json!({ "model": "base", "input": "Which?", "labels": labels }));
    assert_eq!(classified["data"][0]["probabilities"].as_array().unwrap().len(), 40);
    server.ok("/tokenize", &json!({ "model": "base", "prompt": "x" }));
    let refused = server.post("/tokenize", &json!({ "model": "base", "prompt": "x" }));
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].clone()),
        (429, json!("rate_limit_exceeded"))
    );
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // taken back by another process
    keys(&["revoke", made["id"].as_str().unwrap()]);
    server.until("the key is taken back", |s| s.get("/v1/models").status == 401);
    let listed = keys(&["list"]);
    assert!(listed.contains("revoked") && listed.contains("boss"), "{listed}");
    let used: u64 = listed
        .lines()
        .find(|l| l.contains("team"))
        .unwrap()
        .split_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap();
    assert!(used > 2, "{listed}");
}

#[test]
fn feedback_becomes_a_lesson() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("s.sqlite").display().to_string();
    let Some(server) = Server::start(&["--store", &store], &[]) else { return };
    let question = json!([{ "role": "user", "content": "What is 1 + 1?" }]);
    let give = |more: Value| {
        let mut body = json!({ "model": "base", "messages": question, "answer": "Three." });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/feedback", &body)
    };
    assert_eq!(give(json!({ "verdict": "edited", "correction": "Two.", "comment": "sums" })).status, 201);
    assert_eq!(give(json!({ "verdict": "edited" })).status, 400);
    assert_eq!(give(json!({ "verdict": "great" })).status, 400);
    let run = |args: &[&str]| {
        let (mut command, _home) = nurture();
        command.args(args).args(["--store", &store]).output().unwrap()
    };
    let lesson = dir.path().join("lesson");
    let out = run(&["data", "feedback", lesson.to_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let pair = std::fs::read_to_string(lesson.join("preference.jsonl")).unwrap();
    assert!(pair.contains("Two.") && pair.contains("Three."), "{pair}");
    let copy = dir.path().join("copy.sqlite");
    assert!(run(&["store", "backup", copy.to_str().unwrap()]).status.success(), "while the service runs");
    assert!(run(&["store", "erase", "--all"]).status.success());
    assert_eq!(run(&["store", "erase"]).status.code(), Some(2));
    let again = run(&["data", "feedback", dir.path().join("none").to_str().unwrap(), "--lang", "zh"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("0 条反馈"), "{again:?}");
}

#[test]
fn scores_are_those_of_the_words() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let body = json!({ "model": "base", "input": "What is the capital of France?", "answers": ["Paris", "Paris.", "Rome", "grapefruit"] });
    let scored = server.ok("/v1/score", &body);
    let logs: Vec<f64> =
        scored["data"].as_array().unwrap().iter().map(|d| d["logprob"].as_f64().unwrap()).collect();
    assert!(logs.iter().all(|l| *l < 0.0) && logs[0].max(logs[1]) > logs[2].max(logs[3]), "{logs:?}");
    // the same by way of the scored prompt
    let prompt = server.ok(
        "/tokenize",
        &json!({ "model": "base", "messages": [{ "role": "user", "content": body["input"] }] }),
    );
    let answer =
        server.ok("/tokenize", &json!({ "model": "base", "prompt": "Rome", "add_special_tokens": false }));
    let mut tokens = prompt["tokens"].as_array().unwrap().clone();
    tokens.extend(answer["tokens"].as_array().unwrap().clone());
    let echoed = server.ok(
        "/v1/completions",
        &json!({ "model": "base", "prompt": tokens, "echo": true, "logprobs": 0, "max_tokens": 0 }),
    );
    let figures = echoed["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    let own: f64 =
        figures[prompt["count"].as_u64().unwrap() as usize..].iter().map(|f| f.as_f64().unwrap()).sum();
    let count = answer["count"].as_u64().unwrap();
    assert_eq!(scored["data"][2]["tokens"], count + 1, "its end among them");
    assert!(logs[2] < own && own < 0.0, "{logs:?} {own}");
    assert_eq!(
        server.post("/v1/score", &json!({ "model": "base", "input": "x", "answers": [] })).status,
        400
    );
}

#[test]
fn guesses_change_no_answer() {
    let text = "Repeat this list three times: red, green, blue, cyan, magenta, yellow, black.";
    let Some(with) = Server::start(&["--exact"], &[]) else { return };
    let Some(without) = Server::start(&["--exact", "--no-drafts"], &[]) else { return };
    for temperature in [0.0, 0.7] {
        let mut body = chat(text, 96);
        body["temperature"] = json!(temperature);
        body["seed"] = json!(5);
        let (a, b) = (with.ok("/v1/chat/completions", &body), without.ok("/v1/chat/completions", &body));
        assert_eq!(content(&a), content(&b));
    }
}

#[test]
fn https_is_spoken_with_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|s| s.success()) {
        eprintln!("skipped: there is no openssl to make a certificate");
        return;
    }
    let args = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let Some(server) = Server::start(&args, &[]) else { return };
    // one who speaks plainly, and one who says nothing, disturb nobody
    let _silent = server.connect();
    assert_eq!(server.get("/health/live").status, 0);
    let client = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert", cert.to_str().unwrap()])
        .args(["--data", &chat("Hi", 4).to_string(), "-H", "Content-Type: application/json"])
        .arg(format!("https://127.0.0.1:{}/v1/chat/completions", server.address.port()))
        .output();
    let Ok(client) = client else {
        eprintln!("skipped: there is no curl");
        return;
    };
    let answer: Value = serde_json::from_slice(&client.stdout).unwrap_or_else(|e| panic!("{e}: {client:?}"));
    assert!(!content(&answer).is_empty());
    drop(server);
    // a key that is not the certificate's
    std::fs::copy(&cert, &key).unwrap();
    let (mut command, _home) = nurture();
    let out = command
        .args(["serve", "--model", &http::model().unwrap(), "--port", "0"])
        .args(args)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("k.pem"), "{out:?}");
}
