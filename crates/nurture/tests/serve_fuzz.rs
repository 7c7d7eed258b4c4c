//! Requests that nobody would write, against the real binary: no fault of ours, always an answer in the API's shape, and a server that
//! works as before.

#[path = "serve/http.rs"]
mod http;

use http::{Response, Server, chat, content};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Longest that a refusal may take in a development build on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// xorshift64*: the same requests every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn pick<'v, T>(&mut self, from: &'v [T]) -> &'v T {
        &from[self.below(from.len())]
    }

    /// A value of any kind.
    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 3 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(*self.pick(&[0.0, -1.0, 1e308, -0.5, 0.1, 2.0, 4294967296.0])),
            3 => json!(*self.pick(&[0i64, 1, -1, 7, i64::MAX, i64::MIN, 4096])),
            4 => json!(self.pick(&[
                "",
                "base",
                "user",
                "\u{0}",
                "<|im_end|>",
                "\u{FDD0}",
                "🦙 灯",
                "function",
                "auto",
                "text",
                "{\"a\":"
            ])),
            5 => json!("x".repeat(self.below(3000))),
            6 => json!(u64::MAX),
            7 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => (0..self.below(4))
                .map(|_| {
                    (self.pick(&["role", "content", "type", "name", "a"]).to_string(), self.value(depth + 1))
                })
                .collect(),
        }
    }

    /// Changes something somewhere in a value.
    fn change(&mut self, value: &mut Value) {
        if self.below(4) == 0 {
            *value = self.value(0);
            return;
        }
        match value {
            Value::Array(list) if !list.is_empty() => {
                let i = self.below(list.len());
                match self.below(8) {
                    0 => drop(list.remove(i)),
                    1 => list.push(list[i].clone()),
                    _ => self.change(&mut list[i]),
                }
            }
            Value::Object(map) if !map.is_empty() => {
                let key = map.keys().nth(self.below(map.len())).cloned().unwrap_or_default();
                match self.below(8) {
                    0 => drop(map.remove(&key)),
                    1 => drop(map.insert("more".into(), self.value(1))),
                    _ => self.change(&mut map[&key]),
                }
            }
            other => *other = self.value(1),
        }
    }
}

fn good() -> Vec<(&'static str, Value)> {
    let message = json!([{ "role": "system", "content": "s" }, { "role": "user", "content": [{ "type": "text", "text": "hi" }] }]);
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^[a-c]+$" }, "b": { "anyOf": [{ "enum": [1, 2] }, { "type": "null" }] } }, "required": ["a"] });
    let call = json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let with_call = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": null, "tool_calls": [call] }, { "role": "tool", "tool_call_id": "c", "content": "1" }]);
    vec![
        (
            "/v1/chat/completions",
            json!({ "model": "base", "messages": message, "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "logit_bias": { "5": 3 }, "logprobs": true, "top_logprobs": 2, "n": 2, "seed": 3, "stream": false }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "base", "messages": message, "max_tokens": 3, "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema } } }),
        ),
        (
            "/v1/chat/completions",
            json!({ "model": "base", "messages": with_call, "max_tokens": 3, "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "parameters": schema } }], "tool_choice": "required", "parallel_tool_calls": true }),
        ),
        (
            "/v1/completions",
            json!({ "model": "base", "prompt": ["a", "b"], "max_tokens": 2, "echo": true, "logprobs": 2, "stream": true, "stream_options": { "include_usage": true } }),
        ),
        ("/v1/completions", json!({ "model": "base", "prompt": [[1, 2, 3]], "max_tokens": 1 })),
        (
            "/v1/responses",
            json!({ "model": "base", "input": [{ "role": "user", "content": "hi" }, { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" }, { "type": "function_call_output", "call_id": "c", "output": "1" }], "max_output_tokens": 2, "text": { "format": { "type": "json_object" } }, "metadata": { "a": "b" } }),
        ),
        (
            "/v1/messages",
            json!({ "model": "base", "max_tokens": 2, "system": "s", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }], "tools": [{ "name": "f", "input_schema": schema }], "tool_choice": { "type": "auto" }, "stop_sequences": ["x"] }),
        ),
        (
            "/v1/messages/count_tokens",
            json!({ "model": "base", "messages": [{ "role": "user", "content": "hi" }] }),
        ),
        (
            "/v1/embeddings",
            json!({ "model": "base", "input": ["a", "b"], "encoding_format": "base64", "pooling": "last" }),
        ),
        ("/v1/classify", json!({ "model": "base", "labels": ["a", "b", "c d"], "input": ["x", "y"] })),
        ("/v1/score", json!({ "model": "base", "answers": ["a", "b"], "messages": message })),
        (
            "/v1/feedback",
            json!({ "model": "base", "messages": message, "answer": "a", "verdict": "edited", "correction": "b" }),
        ),
        ("/tokenize", json!({ "model": "base", "messages": message })),
        ("/detokenize", json!({ "model": "base", "tokens": [1, 2, 3] })),
        (
            "/v1/completions",
            json!({ "model": "base", "prompt": "a", "max_tokens": 1, "grammar": null, "suffix": null, "best_of": 1, "user": "u" }),
        ),
        (
            "/page/ask",
            json!({ "text": "hi", "models": ["base"], "settings": { "max_tokens": 2, "temperature": 0 }, "system": "s" }),
        ),
        (
            "/page/feedback",
            json!({ "conversation": "c-1", "message": 1, "verdict": "up", "correction": "x" }),
        ),
        (
            "/admin/keys",
            json!({ "name": "n", "requests_per_minute": 5, "tokens_per_day": 7, "parallel": 2, "days": 3, "admin": false }),
        ),
        ("/admin/adapters", json!({ "name": "n", "path": "/no/such/folder" })),
    ]
}

/// A server on which everything may be asked, and whose answers can be compared.
fn open() -> Option<(Server, String)> {
    let mut server =
        Server::start(&["--context", "320", "--timeout", "60"], &[("NURTURE_ADMIN_KEY", "boss")])?;
    server.key = Some("boss");
    let before = content(&server.ok("/v1/chat/completions", &chat("Hello", 8))).to_string();
    Some((server, before))
}

/// As it was before: nothing waits, the same question has the same answer.
fn as_before(server: &Server, before: &str) {
    assert_eq!(content(&server.ok("/v1/chat/completions", &chat("Hello", 8))), before);
    server
        .until("all requests are gone", |s| s.metric("nurture_running") + s.metric("nurture_waiting") == 0.0);
}

/// A refusal in the API's shape.
fn is_error(answer: &Response, what: &str) {
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {answer:?}");
}

#[test]
fn no_request_makes_a_fault_of_ours() {
    let Some((server, before)) = open() else { return };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let good = good();
    for (path, body) in &good {
        let status = server.post(path, body).status;
        let refused = path.ends_with("feedback") || path.ends_with("adapters");
        assert!(
            [200, 201].contains(&status) || refused && (400..500).contains(&status),
            "{path} {body}: {status}"
        );
    }
    let mut refused = 0;
    for round in 0..240 {
        let (path, body) = &good[round % good.len()];
        let mut body = body.clone();
        for _ in 0..=random.below(3) {
            random.change(&mut body);
        }
        let answer = server.post(path, &body);
        assert!((200..500).contains(&answer.status), "{path} {body}: {answer:?}");
        if answer.status >= 400 {
            refused += 1;
            is_error(&answer, &format!("{path} {body}"));
        }
    }
    assert!(refused > 80, "the changes are wild enough: {refused}");
    as_before(&server, &before);
}

#[test]
fn bytes_that_are_no_json_and_no_http() {
    let Some((server, before)) = open() else { return };
    let mut random = Random(0x0123_4567_89AB_CDEF);
    let good = good();
    for round in 0..100 {
        let (path, body) = &good[round % good.len()];
        let mut bytes = body.to_string().into_bytes();
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.below(256) as u8,
            _ => bytes.splice(at..at, b"[[[[[[[[".repeat(40)).for_each(drop),
        }
        let mut stream = server.connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer boss\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        _ = stream.write_all(&[head.as_bytes(), &bytes].concat());
        let status = Response::read(stream).status;
        assert!((200..500).contains(&status), "{path} {}: {status}", String::from_utf8_lossy(&bytes));
        let mut stream = server.connect();
        let noise: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
        _ = stream.write_all(&noise);
        drop(stream);
    }
    // heads that are too large, in each of the ways in which they can be, and forms that two readers may take otherwise
    let many = "X-A: b\r\n".repeat(101);
    let large = format!("X-Large: {}\r\n", "x".repeat(33 << 10));
    let huge = format!("X-Huge: {}\r\n", "x".repeat(2 << 20));
    for (head, statuses) in [
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "a".repeat(9 << 10)), &[414u16][..]),
        (format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{many}\r\n"), &[431]),
        (format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{large}\r\n"), &[431]),
        // so much that the connection may be closed while it is still written
        (format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{huge}\r\n"), &[0, 431]),
        ("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".into(), &[400]),
        ("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: -1\r\n\r\n".into(), &[400]),
        ("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked, gzip\r\n\r\n".into(), &[400]),
        ("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".into(), &[400]),
        ("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(), &[403]),
        ("GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), &[400, 403]),
        ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(), &[400, 403]),
        ("GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &[400, 403]),
        ("GET /c/%00%ff%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), &[400, 404]),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), &[400, 404, 405]),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), &[400, 403, 404, 405]),
    ] {
        let mut stream = server.connect();
        _ = stream.write_all(head.as_bytes());
        let answer = Response::read(stream);
        let told: String = head.chars().take(120).collect();
        assert!(statuses.contains(&answer.status), "{told:?}: {} {}", answer.status, answer.head);
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{told:?}: {}", answer.head);
    }
    as_before(&server, &before);
}

/// Schemas that are made to cost: each is refused or followed, soon, and the server stays as it was.
#[test]
fn schemas_that_are_made_to_cost() {
    let Some((server, before)) = open() else { return };
    let nested = |n: usize, leaf: Value| {
        (0..n).fold(
            leaf,
            |inner, _| json!({ "type": "object", "properties": { "a": inner }, "required": ["a"] }),
        )
    };
    let wide: serde_json::Map<String, Value> = (0..5000)
        .map(|i| (format!("p{i}"), json!({ "type": "string", "pattern": format!("^a{{{i}}}$") })))
        .collect();
    let text = |extra: &str, value: Value| json!({ "type": "string", extra: value });
    for (name, schema) in [
        ("nested 15", nested(15, json!({ "type": "integer" }))),
        ("nested 300", nested(300, json!({ "type": "integer" }))),
        ("loop", json!({ "$ref": "#" })),
        (
            "loop of two",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        ),
        ("all of itself", json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] })),
        ("away", json!({ "$ref": "http://127.0.0.1:1/x" })),
        ("file", json!({ "$ref": "file:///etc/passwd" })),
        ("stars", text("pattern", json!("^(((a*)*)*)*b$"))),
        ("repeats", text("pattern", json!("^((a{1,1000}){1,1000}){1,1000}$"))),
        ("classes", text("pattern", json!(r"^(\p{L}|\p{N}|\p{P}){1,5000}$"))),
        ("look behind", text("pattern", json!("(?<=a)b"))),
        ("back", text("pattern", json!(r"^(a+)\1$"))),
        ("open", text("pattern", json!("((((((("))),
        ("long text", text("minLength", json!(1_000_000_000u64))),
        ("less than nothing", json!({ "type": "string", "minLength": -1, "maxLength": 1e300 })),
        (
            "many items",
            json!({ "type": "array", "items": { "type": "integer" }, "minItems": 4_000_000_000u64 }),
        ),
        ("many enums", json!({ "enum": (0..20_000).map(|i| format!("value {i}")).collect::<Vec<_>>() })),
        ("wide", json!({ "type": "object", "properties": wide, "additionalProperties": false })),
        (
            "all of many",
            json!({ "allOf": (0..200).map(|i| json!({ "anyOf": [{ "minimum": i }, { "maxLength": i }] })).collect::<Vec<_>>() }),
        ),
        ("multiple", json!({ "type": "number", "multipleOf": 1e-300, "minimum": -1e308, "maximum": 1e308 })),
        ("nobody", json!(false)),
        ("no schema", json!([1, 2, 3])),
    ] {
        let mut ask = chat("x", 3);
        ask["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
        let mut tool = chat("x", 3);
        tool["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": schema } }]);
        tool["tool_choice"] = json!("required");
        for body in [ask, tool] {
            let begin = Instant::now();
            let answer = server.post("/v1/chat/completions", &body);
            assert!((200..500).contains(&answer.status), "{name}: {answer:?}");
            assert!(begin.elapsed() < SOON, "{name}: {:?} {}", begin.elapsed(), answer.status);
            if answer.status >= 400 {
                is_error(&answer, name);
            }
            println!("{name}: {} {:?}", answer.status, begin.elapsed());
        }
    }
    as_before(&server, &before);
}

/// Bodies within their bounds that would take a hundred times their size: refused soon, with little memory, while others are served.
#[test]
fn bodies_that_are_made_to_weigh() {
    let Some((server, before)) = open() else { return };
    let most = (8 << 20) - 200;
    let said = |text: String| chat(&text, 1).to_string();
    let prompt = |values: String| format!(r#"{{"model":"base","max_tokens":1,"prompt":[{values}0]}}"#);
    let bodies = [
        ("one letter", "/v1/chat/completions", said("a".repeat(most))),
        ("blanks", "/v1/chat/completions", said(" ".repeat(most))),
        ("special tokens", "/tokenize", said("<|im_end|>".repeat(most / 10))),
        ("zeros", "/v1/completions", prompt("0,".repeat(most / 2 - 50))),
        ("empty lists", "/v1/completions", prompt("[],".repeat(most / 3 - 50))),
        ("objects", "/v1/completions", prompt(r#"{"":0},"#.repeat(most / 7 - 50))),
    ];
    for (name, path, body) in &bodies {
        let begin = Instant::now();
        let answer = server.ask("POST", path, "", body);
        assert!([400, 413].contains(&answer.status), "{name}: {answer:?}");
        assert!(begin.elapsed() < SOON, "{name}: {:?}", begin.elapsed());
        is_error(&answer, name);
    }
    // all at once, and an ordinary question among them
    std::thread::scope(|s| {
        let asked: Vec<_> = (0..24)
            .map(|i| {
                let (server, (name, path, body)) = (&server, &bodies[i % bodies.len()]);
                s.spawn(move || (name, server.ask("POST", path, "", body)))
            })
            .collect();
        assert_eq!(content(&server.ok("/v1/chat/completions", &chat("Hello", 8))), before);
        for thread in asked {
            let (name, answer) = thread.join().unwrap();
            assert!([400, 413, 503].contains(&answer.status), "{name}: {answer:?}");
            assert!(answer.status != 503 || answer.header("retry-after").is_some(), "{name}: {answer:?}");
        }
    });
    if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())) {
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = line.trim().split(' ').next().unwrap().parse().unwrap();
        assert!(peak < 700 << 10, "the server took {peak} kB at most");
    }
    as_before(&server, &before);
}
