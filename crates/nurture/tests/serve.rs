//! `nurture serve` as clients meet it: raw HTTP against the real binary.

#[path = "serve/http.rs"]
mod http;

use http::{Server, chat, content, model, nurture, streamed};
use serde_json::{Value, json};

/// What `nurture generate` says.
fn generate(args: &[&str]) -> Value {
    let (mut command, _home) = nurture();
    let out = command.arg("generate").arg(model().unwrap()).args(args).arg("--json").output().unwrap();
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn chats_say_what_generate_says_whole_and_streamed() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let question = "Name three colours of the rainbow, 用中文也行.";
    let want = generate(&["--prompt", question, "--max-tokens", "40", "--logprobs", "2"]);
    let whole = server.ok("/v1/chat/completions", &chat(question, 40));
    assert_eq!(content(&whole), want["text"].as_str().unwrap());
    assert_eq!(whole["usage"]["prompt_tokens"], want["prompt_tokens"]);
    assert_eq!(whole["usage"]["completion_tokens"], want["tokens"]);
    assert_eq!(whole["choices"][0]["finish_reason"], want["finish"]);
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("base")));

    let mut body = chat(question, 40);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    let response = server.post("/v1/chat/completions", &body);
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = response.events();
    assert_eq!(streamed(&events, 0), content(&whole));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let last = events.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &want["tokens"]));
    let (ids, finishes): (Vec<_>, Vec<_>) = events[..events.len() - 1]
        .iter()
        .map(|e| (e["id"].clone(), e["choices"][0]["finish_reason"].clone()))
        .unzip();
    assert!(ids.iter().all(|id| *id == events[0]["id"]));
    assert_eq!(finishes.iter().filter(|f| !f.is_null()).collect::<Vec<_>>(), [&want["finish"]]);
    let figures: Vec<&Value> =
        events.iter().filter_map(|e| e["choices"][0]["logprobs"]["content"].as_array()).flatten().collect();
    let wanted = want["logprobs"]["content"].as_array().unwrap();
    assert_eq!(figures.len(), wanted.len());
    for (got, want) in figures.iter().zip(wanted) {
        assert_eq!((&got["token"], &got["logprob"]), (&want["token"], &want["logprob"]));
        assert_eq!(got["top_logprobs"][1]["logprob"], want["top_logprobs"][1]["logprob"]);
    }
}

#[test]
fn completions_echo_and_score_as_harnesses_ask() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let text = "The capital of France is Paris. 首都";
    let want =
        generate(&["--raw", "--prompt", text, "--max-tokens", "1", "--logprobs", "1", "--prompt-logprobs"]);
    let tokens = server.ok("/tokenize", &json!({ "model": "base", "prompt": text }))["tokens"].clone();
    let ask = |prompt: Value| {
        json!({
            "model": "base", "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": true, "seed": 1234,
        })
    };
    // text and tokens, alone and in a batch, are the same
    let one = server.ok("/v1/completions", &ask(json!(text)));
    let batch = server.ok("/v1/completions", &ask(json!([tokens.clone(), [1, 2, 3], tokens.clone()])));
    assert_eq!(batch["choices"].as_array().unwrap().len(), 3);
    assert_eq!(one["choices"][0]["logprobs"], batch["choices"][2]["logprobs"]);
    assert_eq!(
        one["choices"][0]["logprobs"],
        server.ok("/v1/completions", &ask(tokens.clone()))["choices"][0]["logprobs"]
    );
    let figures = &one["choices"][0]["logprobs"];
    let got: Vec<Option<f64>> =
        figures["token_logprobs"].as_array().unwrap().iter().map(Value::as_f64).collect();
    let count = tokens.as_array().unwrap().len();
    assert_eq!((got.len(), got[0]), (count + 1, None), "one token behind the echo, none before it");
    let wanted = want["prompt_logprobs"]["content"].as_array().unwrap();
    for (got, want) in got[1..count].iter().zip(wanted) {
        assert!((got.unwrap() - want["logprob"].as_f64().unwrap()).abs() < 1e-3, "{got:?} {want}");
    }
    // a harness reads off these whether greedy decoding says the same
    let tops = figures["top_logprobs"].as_array().unwrap();
    assert!(
        tops[0].is_null()
            && tops[1..].iter().all(|t| t.as_object().is_some_and(|t| (1..=2).contains(&t.len())))
    );
    let offsets: Vec<u64> =
        figures["text_offset"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert!(offsets.len() == count + 1 && offsets.is_sorted());
    assert!(one["choices"][0]["text"].as_str().unwrap().starts_with(text));
    assert_eq!(one["usage"]["prompt_tokens"], count);

    // scores alone
    let mut none = ask(json!(text));
    none["max_tokens"] = json!(0);
    let none = server.ok("/v1/completions", &none);
    assert_eq!(none["choices"][0]["text"], text);
    assert_eq!(
        none["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap()[..],
        figures["token_logprobs"].as_array().unwrap()[..count]
    );

    // a stream of the same
    let mut body = ask(json!(text));
    body["stream"] = json!(true);
    let events = server.post("/v1/completions", &body).events();
    let said: String = events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, one["choices"][0]["text"].as_str().unwrap());
    let streamed: Vec<Value> = events
        .iter()
        .filter_map(|e| e["choices"][0]["logprobs"]["token_logprobs"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(Value::from(streamed), figures["token_logprobs"]);
}

#[test]
fn settings_do_what_they_say() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let ask = |more: Value| {
        let mut body = json!({ "model": "base", "prompt": "One, two, three, four,", "max_tokens": 12, "temperature": 0 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.ok("/v1/completions", &body)
    };
    let text = |v: &Value, i: usize| v["choices"][i]["text"].as_str().unwrap().to_string();
    let plain = text(&ask(json!({})), 0);
    assert!(plain.contains("six"), "{plain}");
    // the stop text is cut off, wherever tokens part
    let stopped = ask(json!({ "stop": ["ix", "nothing"] }));
    assert_eq!(text(&stopped, 0), plain.split("ix").next().unwrap());
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    // the same seed gives the same texts, other choices other texts
    let free = json!({ "temperature": 1.5, "seed": 7, "n": 3 });
    let (a, b) = (ask(free.clone()), ask(free));
    assert_eq!(a["choices"], b["choices"]);
    assert!(text(&a, 0) != text(&a, 1) && text(&a, 1) != text(&a, 2));
    assert_ne!(text(&a, 0), text(&ask(json!({ "temperature": 1.5, "seed": 8 })), 0));
    // one token allowed: it comes; the first of the likeliest forbidden: another comes
    let id = server.ok("/tokenize", &json!({ "model": "base", "prompt": " dog" }))["tokens"][0].clone();
    let biased = ask(json!({ "logit_bias": { id.to_string(): 100 }, "max_tokens": 2 }));
    assert_eq!(text(&biased, 0), " dog dog");
    assert_eq!(text(&ask(json!({ "temperature": 1.8, "top_k": 1 })), 0), plain);
    assert_eq!(text(&ask(json!({ "temperature": 1.8, "min_p": 1.0 })), 0), plain);
    assert_ne!(
        text(&ask(json!({ "frequency_penalty": 2.0, "presence_penalty": 2.0, "max_tokens": 40 })), 0),
        text(&ask(json!({ "max_tokens": 40 })), 0)
    );
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let Some(server) = Server::start(&["--context", "256"], &[]) else { return };
    let check = |path: &str, body: Value, status: u16, code: &str, param: Value, said: &str| {
        let r = server.post(path, &body);
        let e = &r.json()["error"];
        assert_eq!((r.status, &e["code"], &e["param"]), (status, &json!(code), &param), "{body}: {}", r.body);
        let message = e["message"].as_str().unwrap();
        assert!(message.contains(said) && !e["type"].as_str().unwrap().is_empty(), "{body}: {message}");
    };
    let to_chat = |more: Value| {
        let mut body = chat("Hi", 4);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let path = "/v1/chat/completions";
    for (more, code, param, said) in [
        (json!({ "temprature": 1 }), "unknown_parameter", "temprature", "Unrecognized request argument"),
        (json!({ "temperature": -1 }), "invalid_value", "temperature", "from 0 to 2"),
        (json!({ "temperature": "1" }), "invalid_value", "temperature", "a number"),
        (json!({ "n": 1_000_000 }), "invalid_value", "n", "from 1 to 8"),
        (json!({ "max_tokens": -5 }), "invalid_value", "max_tokens", "whole number"),
        (json!({ "max_completion_tokens": 5 }), "invalid_value", "max_tokens", "only one"),
        (json!({ "stop": [""] }), "invalid_value", "stop", "1 to 256"),
        (json!({ "logit_bias": { "999999": 1 } }), "invalid_value", "logit_bias", "999999"),
        (json!({ "top_logprobs": 2 }), "invalid_value", "top_logprobs", "logprobs"),
        (
            json!({ "tools": [{ "type": "function" }] }),
            "missing_required_parameter",
            "tools[0].function",
            "must provide",
        ),
        (json!({ "stream_options": {} }), "invalid_value", "stream_options", "stream"),
        (json!({ "messages": [] }), "invalid_value", "messages", "empty"),
        (
            json!({ "messages": [{ "role": "robot", "content": "" }] }),
            "invalid_value",
            "messages[0].role",
            "robot",
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "missing_required_parameter",
            "messages[0].content",
            "provide",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "unsupported_parameter",
            "messages[0].content[0]",
            "text",
        ),
    ] {
        check(path, to_chat(more), 400, code, json!(param), said);
    }
    check(path, to_chat(json!({ "model": "gpt-9" })), 404, "model_not_found", json!("model"), "gpt-9");
    check(path, json!({ "messages": [] }), 400, "missing_required_parameter", json!("model"), "model");
    let long = to_chat(json!({ "messages": [{ "role": "user", "content": "word ".repeat(400) }] }));
    check(path, long, 400, "context_length_exceeded", json!("messages"), "256 tokens");
    check(
        path,
        to_chat(json!({ "max_tokens": 250 })),
        400,
        "context_length_exceeded",
        json!("messages"),
        "250 for the answer",
    );
    check(
        "/v1/completions",
        json!({ "model": "base", "prompt": [1, 999_999] }),
        400,
        "invalid_value",
        json!("prompt"),
        "999999",
    );
    let empty = server.post("/v1/completions", &json!({ "model": "base", "prompt": [] }));
    assert_eq!(empty.status, 400);
}

#[test]
fn the_door_keeps_out_what_it_must() {
    let Some(mut server) =
        Server::start(&[], &[("NURTURE_API_KEY", "one\ntwo"), ("NURTURE_ADMIN_KEY", "chief")])
    else {
        return;
    };
    let body = chat("Hi", 2).to_string();
    let ask = |headers: &str| server.ask("POST", "/v1/chat/completions", headers, &body);
    for wrong in [
        "",
        "Authorization: Bearer three\r\n",
        "Authorization: one\r\n",
        "X-Api-Key: tw\r\n",
        "Authorization: Bearer \r\n",
    ] {
        let r = ask(wrong);
        assert_eq!((r.status, r.header("www-authenticate")), (401, Some("Bearer")), "{wrong:?} {}", r.body);
    }
    for right in ["Authorization: Bearer one\r\n", "authorization: bearer two\r\n", "x-api-key: two\r\n"] {
        assert_eq!(ask(right).status, 200, "{right}");
    }
    for path in [
        "/v1/models",
        "/metrics",
        "/tokenize",
        "/v1//models",
        "/health/../v1/models",
        "/nowhere",
        "/admin/adapters",
    ] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    assert_eq!((server.get("/health/live").status, server.get("/health/ready").status), (200, 200));
    // another site's page must not get here by a name of its own
    let r = server.ask("GET", "/health/live", "Host: evil.example:80\r\n", "");
    assert_eq!((r.status, r.json()["error"]["code"].as_str()), (403, Some("host_not_allowed")));
    assert_eq!(server.ask("GET", "/health/live", "Host: localhost:1\r\n", "").status, 200);
    assert_eq!(
        server
            .ask("OPTIONS", "/v1/chat/completions", "Origin: http://evil.example\r\nX-Api-Key: one\r\n", "")
            .status,
        405
    );
    assert_eq!(
        ask("X-Api-Key: one\r\nOrigin: http://evil.example\r\n").header("access-control-allow-origin"),
        None
    );

    server.key = Some("one");
    let r = server.ask("POST", "/tokenize", "X-Request-Id: my-own.1\r\n", "{}");
    assert_eq!((r.status, r.header("x-request-id")), (400, Some("my-own.1")));
    let r = server.ask("POST", "/tokenize", "X-Request-Id: no\"t\r\n", "{");
    assert!(r.status == 400 && r.header("x-request-id").unwrap().starts_with("req-"));
    assert_eq!(
        server.ask("POST", "/tokenize", &format!("X-Long: {}\r\n", "x".repeat(40_000)), "{}").status,
        431
    );
    assert_eq!(server.ask("POST", "/tokenize", &"X-Many: x\r\n".repeat(120), "{}").status, 431);
    assert_eq!(server.get(&format!("/{}", "x".repeat(9000))).status, 414);
    let r = server.ask("POST", "/tokenize", "", &format!("{{\"prompt\": \"{}\"}}", "x".repeat(9 << 20)));
    assert_eq!((r.status, r.json()["error"]["code"].as_str()), (413, Some("body_too_large")));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert_eq!(server.ask("POST", "/tokenize", "", &deep).status, 400);
    assert_eq!(server.ask("PUT", "/tokenize", "", "{}").status, 405);
    assert_eq!(server.get("/nowhere").status, 404);
    // ordinary keys may not touch the adapters
    assert_eq!(server.get("/admin/adapters").status, 403);
    server.key = Some("chief");
    assert_eq!(server.get("/admin/adapters").status, 200);
    // no prompt and no key in the log
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("\"route\":\"/v1/chat/completions\"") && log.contains("my-own.1"), "{log}");
    assert!(!log.contains("Hi") && !log.contains("chief") && !log.contains("two"), "{log}");

    let (mut command, _home) = nurture();
    let out = command
        .args(["serve", "--model", &model().unwrap(), "--host", "0.0.0.0", "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("needs an API key"));
}

#[test]
fn adapters_come_and_go_while_others_answer() {
    if model().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    http::adapter(&dir.path().join("one"), 1);
    http::adapter(&dir.path().join("two"), 2);
    let first = format!("deep={}", path("one"));
    let Some(mut server) = Server::start(&["--adapter", &first], &[("NURTURE_ADMIN_KEY", "chief")]) else {
        return;
    };
    server.key = Some("chief");
    let names = |s: &Server| -> Vec<String> {
        let list = s.get("/v1/models").json();
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names(&server), ["base", "deep"]);
    let say = |s: &Server, model: &str| {
        let mut body = chat("What is water?", 24);
        body["model"] = json!(model);
        content(&s.ok("/v1/chat/completions", &body)).to_string()
    };
    let (base, deep) = (say(&server, "base"), say(&server, "deep"));
    assert_ne!(base, deep);
    // as the command line says it, which takes system text and pattern from the adapter's folder too
    let question = ["--prompt", "What is water?", "--max-tokens", "24"];
    let want = generate(&[&question[..], &["--adapter", &path("one")]].concat());
    assert_eq!(deep, want["text"].as_str().unwrap());

    // a request at work ends on the generation that it began with
    let mut long = chat("What is water?", 24);
    long["model"] = json!("deep");
    long["stream"] = json!(true);
    let stream = server.send("POST", "/v1/chat/completions", "", &long.to_string());
    server.until("the stream runs", |s| s.metric("nurture_running") > 0.0);
    let put = server.post("/admin/adapters", &json!({ "name": "deep", "path": path("two") }));
    assert_eq!(put.status, 201, "{}", put.body);
    let other = say(&server, "deep");
    assert_eq!(streamed(&http::Response::read(stream).events(), 0), deep);
    assert_ne!(other, deep);
    let put = server.ok_status("/admin/adapters", &json!({ "name": "third", "path": path("one") }), 201);
    assert_eq!(put["generation"], 3);
    assert_eq!(
        (names(&server), say(&server, "third")),
        (vec!["base".into(), "deep".into(), "third".into()], deep)
    );
    assert_eq!(server.ask("DELETE", "/admin/adapters/third", "", "").status, 200);
    assert_eq!(server.ask("DELETE", "/admin/adapters/third", "", "").status, 404);
    let gone = server.post("/v1/completions", &json!({ "model": "third", "prompt": "x" }));
    assert_eq!(gone.status, 404);
    for wrong in [
        json!({ "name": "base", "path": path("one") }),
        json!({ "name": "x", "path": path("none") }),
        json!({ "name": "a b", "path": path("one") }),
    ] {
        assert_eq!(server.post("/admin/adapters", &wrong).status, 400, "{wrong}");
    }
    assert_eq!(say(&server, "base"), base);
}

#[test]
fn labels_embeddings_and_tokens() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let tokens = server
        .ok("/tokenize", &json!({ "model": "base", "prompt": "Hello 世界", "return_token_strs": true }));
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), tokens["token_strs"].as_array().unwrap().len());
    let back = server.ok("/detokenize", &json!({ "model": "base", "tokens": tokens["tokens"] }));
    assert_eq!(back["prompt"], "Hello 世界");

    let texts = json!(["A cat sat on the mat.", "A kitten sat on the rug.", "Interest rates rose again."]);
    let got = server.ok("/v1/embeddings", &json!({ "model": "base", "input": texts }));
    let vector = |v: &Value| -> Vec<f64> { v.as_array().unwrap().iter().filter_map(Value::as_f64).collect() };
    let v: Vec<Vec<f64>> = (0..3).map(|i| vector(&got["data"][i]["embedding"])).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    assert!(v.iter().all(|v| v.len() == 576 && (dot(v, v) - 1.0).abs() < 1e-5));
    assert!(dot(&v[0], &v[1]) > dot(&v[0], &v[2]));
    let packed = server
        .ok("/v1/embeddings", &json!({ "model": "base", "input": texts[1], "encoding_format": "base64" }));
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), (576 * 4usize).div_ceil(3) * 4);

    // probabilities: those of the labels' first different tokens, as the model's own log-probabilities say
    let ask =
        json!({ "model": "base", "input": "Is fire hot?", "labels": ["yes, sure", "yes, maybe", "no"] });
    let got = server.ok("/v1/classify", &ask);
    let ranking = got["data"][0]["probabilities"].as_array().unwrap();
    let p =
        |label: &str| ranking.iter().find(|r| r["label"] == label).unwrap()["probability"].as_f64().unwrap();
    assert!((ranking.iter().map(|r| r["probability"].as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-9);
    assert_eq!(got["data"][0]["label"], ranking[0]["label"]);
    let prompt = server.ok(
        "/tokenize",
        &json!({ "model": "base", "messages": [{ "role": "user", "content": "Is fire hot?" }] }),
    );
    let ids = |text: &str| -> Vec<Value> {
        server.ok("/tokenize", &json!({ "model": "base", "prompt": text }))["tokens"]
            .as_array()
            .unwrap()
            .clone()
    };
    // the log-probability of the last of these tokens behind the prompt
    let last = |more: &[Value]| {
        let all = [prompt["tokens"].as_array().unwrap(), more].concat();
        let body = json!({ "model": "base", "prompt": all, "max_tokens": 0, "echo": true, "logprobs": 0 });
        server.ok("/v1/completions", &body)["choices"][0]["logprobs"]["token_logprobs"][all.len() - 1]
            .as_f64()
            .unwrap()
    };
    let (yes, no) = (last(&ids("yes")[..1]), last(&ids("no")[..1]));
    let share = |a: f64, b: f64| 1.0 / (1.0 + (b - a).exp());
    assert!((p("no") - share(no, yes)).abs() < 1e-3, "{ranking:?}");
    let (sure, maybe) = (ids("yes, sure"), ids("yes, maybe"));
    let part = sure.iter().zip(&maybe).take_while(|(a, b)| a == b).count();
    let within = share(last(&sure[..=part]), last(&maybe[..=part]));
    assert!((p("yes, sure") - share(yes, no) * within).abs() < 1e-3, "{ranking:?}");
    let same = server.post("/v1/classify", &json!({ "model": "base", "input": "x", "labels": ["a", "a"] }));
    assert_eq!((same.status, same.json()["error"]["param"].as_str()), (400, Some("labels")));
}

#[test]
fn answers_keep_to_their_schema() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let schema = json!({
        "type": "object", "required": ["colour", "count"], "additionalProperties": false,
        "properties": { "colour": { "enum": ["red", "green"] }, "count": { "type": "integer", "minimum": 0, "maximum": 9 } },
    });
    let mut body = chat("How many apples, and which?", 60);
    body["response_format"] =
        json!({ "type": "json_schema", "json_schema": { "name": "a", "strict": true, "schema": schema } });
    body["temperature"] = json!(1.3);
    body["n"] = json!(3);
    let whole = server.ok("/v1/chat/completions", &body);
    for choice in whole["choices"].as_array().unwrap() {
        let said: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(said["colour"] == "red" || said["colour"] == "green", "{said}");
        assert!(
            said["count"].as_u64().is_some_and(|n| n <= 9) && choice["finish_reason"] == "stop",
            "{choice}"
        );
    }
    // any object, brought to its end within its tokens
    let mut body = chat("Describe a cat in JSON.", 48);
    body["response_format"] = json!({ "type": "json_object" });
    let any: Value = serde_json::from_str(content(&server.ok("/v1/chat/completions", &body))).unwrap();
    assert!(any.is_object());
    for wrong in [
        json!({ "type": "json_schema", "json_schema": { "schema": { "type": "nothing" } } }),
        json!({ "type": "json_schema", "json_schema": { "schema": { "type": "string", "pattern": "(" } } }),
        json!({ "type": "xml" }),
    ] {
        body["response_format"] = wrong.clone();
        let r = server.post("/v1/chat/completions", &body);
        assert!(r.status == 400 && r.body.contains("response_format"), "{wrong}: {}", r.body);
    }
}
