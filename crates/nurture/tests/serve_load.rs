//! `nurture serve` under load and abuse: clients that leave, queues that are full, connections that stand still, the way down.

#[path = "serve/http.rs"]
mod http;

use http::{Response, Server, chat, content, streamed};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// A streaming request.
fn stream_of(text: &str, most: usize) -> String {
    let mut body = chat(text, most);
    body["stream"] = json!(true);
    body["ignore_eos"] = json!(true);
    body.to_string()
}

const PATH: &str = "/v1/chat/completions";

/// Whether the machine is too busy to hold it to its times.
fn slack() -> Duration {
    // a step of the engine may take so long where others use the cores too
    Duration::from_millis(1500)
}

#[test]
fn who_leaves_is_gone_at_once_in_any_phase() {
    let Some(server) = Server::start(&["--parallel", "2"], &[]) else { return };
    let long = "Tell me about the sea and the wind. ".repeat(150);
    let questions =
        [("while it generates", "Count to a thousand.".to_string(), true), ("while it reads", long, false)];
    for (phase, text, generates) in questions {
        let mut stream = server.send("POST", PATH, "", &stream_of(&text, 2000));
        if generates {
            let mut some = [0; 600];
            stream.read_exact(&mut some).unwrap();
        }
        server.until(phase, |s| s.metric("nurture_running") > 0.0);
        let begin = Instant::now();
        drop(stream);
        server.until(phase, |s| s.metric("nurture_running") == 0.0);
        let took = begin.elapsed();
        eprintln!("{phase}: gone after {took:?}");
        assert!(took < Duration::from_millis(250) + slack(), "{phase}: {took:?}");
    }
    // and while it waits, without touching those who run
    let want = content(&server.ok(PATH, &chat("What is rain?", 40))).to_string();
    let running: Vec<_> =
        (0..2).map(|_| server.send("POST", PATH, "", &chat("What is rain?", 40).to_string())).collect();
    server.until("two run", |s| s.metric("nurture_running") == 2.0);
    let waits = server.send("POST", PATH, "", &stream_of("What is snow?", 2000));
    server.until("one waits", |s| s.metric("nurture_waiting") == 1.0);
    drop(waits);
    server.until("nobody waits", |s| s.metric("nurture_waiting") == 0.0);
    for stream in running {
        assert_eq!(content(&Response::read(stream).json()), want);
    }
    // a whole answer that nobody waits for ends too
    let whole = server.send("POST", PATH, "", &json!({
        "model": "base", "messages": [{ "role": "user", "content": "Hi" }], "ignore_eos": true, "max_tokens": 2000,
    }).to_string());
    server.until("it runs", |s| s.metric("nurture_running") == 1.0);
    drop(whole);
    server.until("it is gone", |s| s.metric("nurture_running") == 0.0);
    assert_eq!(server.metric("nurture_cancelled_total"), 4.0);
}

#[test]
fn eight_stream_at_once_through_storms_and_memory_stays() {
    let Some(server) = Server::start(&["--cache-tokens", "4096"], &[]) else { return };
    let questions: Vec<String> =
        (0..8).map(|i| format!("Write one sentence about the number {i}.")).collect();
    let alone: Vec<String> =
        questions.iter().map(|q| content(&server.ok(PATH, &chat(q, 32))).to_string()).collect();
    let mut memory = Vec::new();
    for round in 0..6 {
        std::thread::scope(|scope| {
            for (i, (question, want)) in questions.iter().zip(&alone).enumerate() {
                let server = &server;
                scope.spawn(move || {
                    // those who leave: at once, in the middle of the head, after some text
                    for part in 0..3 {
                        let mut stream = server.send("POST", PATH, "", &stream_of(question, 400));
                        let mut some = vec![0; [0, 10, 900 + 50 * i][part]];
                        _ = stream.read_exact(&mut some);
                    }
                    let mut body = chat(question, 32);
                    body["stream"] = json!(true);
                    let events = server.post(PATH, &body).events();
                    assert_eq!(streamed(&events, 0), *want, "round {round}, client {i}");
                });
            }
        });
        server.until("all are gone", |s| s.metric("nurture_running") + s.metric("nurture_waiting") == 0.0);
        memory.push(server.metric("nurture_resident_bytes") / 1e6);
    }
    eprintln!("resident MB after each storm: {memory:.0?}");
    let (early, late) = (memory[1], memory[5]);
    assert!(late < early * 1.1 + 10.0, "{memory:?}");
    // nothing lost: each that was accepted ended
    let page = server.get("/metrics").body;
    let ended: f64 = page
        .lines()
        .filter(|l| l.starts_with("nurture_requests_total{"))
        .map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!(ended >= 8.0 * 7.0, "{page}");
    assert!(!page.contains("finish=\"failed\"") && !page.contains("status=\"500\""), "{page}");
    server.until("only this connection is left", |s| s.metric("nurture_connections") == 1.0);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let Some(server) = Server::start(&["--parallel", "1", "--queue", "1"], &[]) else { return };
    let first = server.send("POST", PATH, "", &stream_of("Count.", 2000));
    server.until("one runs", |s| s.metric("nurture_running") == 1.0);
    let second = server.send("POST", PATH, "", &stream_of("Count.", 2000));
    server.until("one waits", |s| s.metric("nurture_waiting") == 1.0);
    let begin = Instant::now();
    let r = server.post(PATH, &chat("Count.", 4));
    assert_eq!((r.status, r.json()["error"]["code"].as_str()), (429, Some("queue_full")), "{}", r.body);
    assert!(r.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1 && begin.elapsed() < slack());
    assert_eq!(server.get("/health/ready").status, 200);
    drop((first, second));
}

#[test]
fn rules_beyond_their_memory_come_again_later() {
    let Some(server) = Server::start(&["--rule-memory", "1"], &[]) else { return };
    // each choice has a rule of its own, and two fit
    let asked = |n: usize| {
        let mut body = chat("Sunny or rainy?", 24);
        body["n"] = json!(n);
        body["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "w", "strict": true, "schema": {
            "type": "object", "properties": { "weather": { "enum": ["sunny", "rainy"] } }, "required": ["weather"],
            "additionalProperties": false,
        }}});
        body
    };
    for _ in 0..2 {
        let r = server.post(PATH, &asked(3));
        assert_eq!(
            (r.status, r.json()["error"]["code"].as_str()),
            (503, Some("too_many_rules")),
            "{}",
            r.body
        );
        assert!(r.header("retry-after").is_some(), "{}", r.head);
        let answer = server.ok(PATH, &asked(2));
        let said: serde_json::Value = serde_json::from_str(content(&answer)).unwrap();
        assert!(said["weather"].is_string(), "{answer}");
        server.until("all is given back", |s| s.metric("nurture_rule_bytes") == 0.0);
    }
    server.ok(PATH, &asked(1));
}

#[test]
fn those_who_stand_still_stop_nobody() {
    let Some(server) = Server::start(&[], &[]) else { return };
    // heads that never end, bodies that never come, answers that nobody takes
    let mut still = Vec::new();
    for i in 0..60 {
        let mut stream = server.connect();
        let bytes: &[u8] = match i % 3 {
            0 => b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            1 => b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{",
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        };
        _ = stream.write_all(bytes);
        still.push(stream);
    }
    let unread = server.send("POST", PATH, "", &stream_of("Count.", 300));
    let begin = Instant::now();
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.ok(PATH, &chat("Hi", 3))["usage"]["completion_tokens"], 3);
    assert!(begin.elapsed() < Duration::from_secs(5) + slack());
    drop((still, unread));
    server.until("all are gone", |s| s.metric("nurture_connections") == 1.0);
}

#[cfg(unix)]
#[test]
fn on_the_way_down_nobody_is_lost() {
    let Some(mut server) = Server::start(&[], &[]) else { return };
    let want = content(&server.ok(PATH, &chat("What is rain?", 48))).to_string();
    let mut body = chat("What is rain?", 48);
    body["stream"] = json!(true);
    let streams: Vec<_> = (0..3).map(|_| server.send("POST", PATH, "", &body.to_string())).collect();
    server.until("they run", |s| s.metric("nurture_running") == 3.0);
    server.terminate();
    for stream in streams {
        assert_eq!(streamed(&Response::read(stream).events(), 0), want);
    }
    let code = server.child.wait().unwrap();
    assert_eq!(code.code(), Some(0));
    assert!(std::net::TcpStream::connect(server.address).is_err());

    // what does not end in time is ended
    let Some(mut server) = Server::start(&["--drain", "1"], &[]) else { return };
    let stream = server.send("POST", PATH, "", &stream_of("Count to a million.", 4000));
    server.until("it runs", |s| s.metric("nurture_running") == 1.0);
    let begin = Instant::now();
    server.terminate();
    drop(Response::read(stream));
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5) + slack());
}
