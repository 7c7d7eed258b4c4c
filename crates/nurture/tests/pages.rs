//! The pages of `nurture serve` as browsers meet them: what they wear, who gets in, what cannot act, and the chat's way.
//! What a reader sees and does is told by `tools/browser`.

#[path = "serve/http.rs"]
mod http;

use http::{Response, Server};
use serde_json::{Value, json};

const HTML: &str = "Accept: text/html\r\n";

/// The events of a question: name and data.
fn events(response: &Response) -> Vec<(String, Value)> {
    assert_eq!(response.status, 200, "{}", response.body);
    let field = |block: &str, name: &str| block.lines().find_map(|l| l.strip_prefix(name).map(String::from));
    let of = |b: &str| Some((field(b, "event: ")?, serde_json::from_str(&field(b, "data: ")?).unwrap()));
    response.body.split("\n\n").filter_map(of).collect()
}

fn named<'e>(events: &'e [(String, Value)], name: &str) -> &'e Value {
    &events.iter().rev().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}: {events:?}")).1
}

fn question(text: &str) -> Value {
    json!({ "text": text, "models": ["base"], "settings": { "temperature": 0, "max_tokens": 12 } })
}

#[test]
fn pages_wear_their_policy_in_both_languages() {
    let runs = tempfile::tempdir().unwrap();
    let evil = "x<img src=x onerror=alert(1)>";
    std::fs::create_dir(runs.path().join(evil)).unwrap();
    std::fs::write(
        runs.path().join(evil).join("recipe.lock.toml"),
        "[model]\nbase = \"<script>alert(2)</script>\"\n",
    )
    .unwrap();
    let Some(server) = Server::start(&["--runs", runs.path().to_str().unwrap()], &[]) else { return };
    let run = "/runs/x%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E";
    let data = run.replace("/runs/", "/data/");
    for path in ["/", "/runs", "/runs/new", run, "/data", &data, "/models", "/login"] {
        for (lang, word) in [("en", "Models"), ("zh-CN,zh;q=0.9", "模型")] {
            let page = server.ask("GET", path, &format!("{HTML}Accept-Language: {lang}\r\n"), "");
            assert_eq!(page.status, 200, "{path}: {}", page.body);
            let policy = page.header("content-security-policy").unwrap();
            assert!(
                policy.contains("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
                "{policy}"
            );
            assert_eq!(page.header("x-frame-options"), Some("DENY"));
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
            assert!(
                page.body.contains(word) && page.body.contains(&format!("<html lang=\"{}", &lang[..2])),
                "{path}"
            );
            for bad in ["<img", "<script>", "onerror=\"", "http://", "https://", " style=\""] {
                assert!(!page.body.contains(bad), "{path}: {bad} in {}", page.body);
            }
        }
    }
    assert!(server.get("/runs").body.contains("x&lt;img src=x onerror=alert(1)&gt;"));
    for path in
        ["/runs/..", "/runs/%2e%2e%2fetc", "/runs/.recipes", "/runs/nothing", "/data/%00", "/c/nothing"]
    {
        let page = server.ask("GET", path, HTML, "");
        assert_eq!(page.status, 404, "{path}");
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "a reader gets a page");
        assert!(server.get(path).json()["error"]["message"].is_string(), "a program gets an object");
    }
    // files are known by their content
    for name in ["style.css", "base.mjs", "chat.mjs"] {
        let path = format!("/page/{name}");
        let tag = server.get(&path).header("etag").unwrap().to_string();
        let again = server.ask("GET", &path, &format!("If-None-Match: {tag}\r\n"), "");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    // what a reader prefers, and nowhere else than here
    let set = server.get("/page/set?lang=zh&theme=dark&back=%2F%2Fevil.example");
    assert_eq!((set.status, set.header("location")), (303, Some("/")));
    let page = server.ask("GET", "/", "Cookie: nurture_lang=zh; nurture_theme=dark\r\n", "");
    assert!(page.body.contains("data-theme=\"dark\"") && page.body.contains("新对话"));
}

#[test]
fn recipes_from_the_form_are_checked_before_anything_begins() {
    let runs = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(&["--runs", runs.path().to_str().unwrap()], &[]) else { return };
    let values = json!({ "values": { "run.name": "a", "model.base": "m", "data.train": "t.jsonl", "train.adapter.rank": "8" } });
    let text = server.ok("/page/recipe", &values)["text"].as_str().unwrap().to_string();
    assert!(text.contains("[train.adapter]\nrank = 8") && text.contains("train = [\"t.jsonl\"]"), "{text}");
    let wrong = server.post("/page/runs", &json!({ "values": { "train.rate": "fast" } }));
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("train.rate")));
    for text in [
        "[model",
        "[modle]\nbase = \"x\"",
        "[model]\nbase = \"x\"",
        "[run]\nname = \"../x\"\n[model]\nbase=\"x\"\n[data]\ntrain=[\"t\"]",
    ] {
        let wrong = server.post("/page/runs", &json!({ "text": text }));
        assert_eq!(wrong.status, 400, "{text}: {}", wrong.body);
    }
    assert!(std::fs::read_dir(runs.path()).unwrap().next().is_none(), "nothing was written");
    // one that fails later says so on its page
    let begun = server.ok("/page/runs", &json!({ "text": text }));
    assert_eq!(begun["location"], "/runs/a");
    server.until("the run fails", |s| s.get("/runs").body.contains("state failed"));
    let page = server.get("/runs/a").body;
    assert!(page.contains("What the process says"), "{page}");
    assert_eq!(server.post("/page/runs/a/stop", &json!({})).status, 400, "it is at rest");
    assert_eq!(server.post("/page/runs/b/stop", &json!({})).status, 404);
}

#[test]
fn a_key_becomes_a_session_and_a_session_ends() {
    let keys = [("NURTURE_API_KEY", "one\ntwo"), ("NURTURE_ADMIN_KEY", "boss")];
    let runs = tempfile::tempdir().unwrap();
    let store = runs.path().join("s.sqlite");
    let args = ["--runs", runs.path().to_str().unwrap(), "--store", store.to_str().unwrap()];
    let Some(server) = Server::start(&args, &keys) else { return };
    let home = server.ask("GET", "/runs?x=1", HTML, "");
    assert_eq!((home.status, home.header("location")), (303, Some("/login?next=%2Fruns%3Fx%3D1")));
    assert_eq!(server.get("/page/history").status, 401);
    assert_eq!(server.get("/login").status, 200);
    let sign_in = |key: &str, more: &str| {
        server.ask("POST", "/login", &format!("{more}{HTML}"), &format!("key={key}&next=%2Fmodels"))
    };
    assert_eq!(sign_in("wrong", "").status, 401);
    assert_eq!(sign_in("one", "Origin: http://evil.example\r\n").status, 403);
    assert_eq!(sign_in("one", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    let session = |key: &str| {
        let signed = sign_in(key, "Sec-Fetch-Site: same-origin\r\n");
        assert_eq!((signed.status, signed.header("location")), (303, Some("/models")), "{}", signed.body);
        let cookie = signed.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
    };
    let (one, two, boss) = (session("one"), session("two"), session("boss"));
    let page = server.ask("GET", "/", &format!("{one}{HTML}"), "");
    assert!(page.status == 200 && page.body.contains("Sign out"));
    // the API takes keys alone: no page of another site, and no form, can use a session there
    assert_eq!(server.ask("GET", "/v1/models", &one, "").status, 401);
    assert_eq!(server.ask("GET", "/metrics", &boss, "").status, 401);
    // what one says nobody else sees
    let said = server.ask("POST", "/page/ask", &one, &question("Say hello.").to_string());
    let place = named(&events(&said), "begin")["location"].as_str().unwrap().to_string();
    assert_eq!(server.ask("GET", &place, &one, "").status, 200);
    for other in [&two, &boss] {
        assert_eq!(server.ask("GET", &place, other, "").status, 404);
        assert_eq!(server.ask("GET", &format!("{place}/export"), other, "").status, 404);
        assert_eq!(server.ask("DELETE", &format!("/page{place}"), other, "").status, 404);
        assert!(server.ask("GET", "/page/history", other, "").body.contains("empty"));
    }
    let foreign = format!("{one}Origin: http://evil.example\r\n");
    assert_eq!(server.ask("DELETE", &format!("/page{place}"), &foreign, "").status, 403);
    // clients look, administrators act
    for (path, body) in [
        ("/page/runs", "{\"text\":\"\"}"),
        ("/page/recipe", "{\"text\":\"\"}"),
        ("/page/models", "{}"),
        ("/page/models/x/unload", "{}"),
    ] {
        assert_eq!(server.ask("POST", path, &one, body).status, 403, "{path}");
        assert_ne!(server.ask("POST", path, &boss, body).status, 403, "{path}");
    }
    assert_eq!(server.ask("GET", "/runs/new", &one, "").status, 403);
    let adapter = runs.path().join("adapter");
    http::adapter(&adapter, 1);
    let load = json!({ "name": "x", "path": adapter.to_str().unwrap() }).to_string();
    for (path, body) in [("/page/models", &load[..]), ("/page/models/x/unload", "{}")] {
        let done = server.ask("POST", path, &boss, body);
        assert_eq!(done.status, 200, "{path}: {}", done.body);
    }
    let audit = nurture::serve::store::Store::open(&store).unwrap().audit(2).unwrap();
    let audit: Vec<_> = audit.iter().map(|e| (&e.actor[..], &e.action[..], &e.object[..])).collect();
    assert_eq!(audit, [("admin", "adapter unloaded", "x"), ("admin", "adapter loaded", "x")]);
    assert_eq!(server.ask("POST", "/logout", &one, "").status, 303);
    assert_eq!(server.ask("GET", "/page/history", &one, "").status, 401);
    assert_eq!(server.ask("GET", "/page/history", &two, "").status, 200);
}

#[test]
fn a_conversation_is_a_tree_that_is_kept() {
    let Some(server) = Server::start(&[], &[]) else { return };
    let hostile = "</p><script>alert(1)</script> ![x](https://evil.example/a.png) say hello";
    let first = events(&server.post("/page/ask", &question(hostile)));
    let begin = named(&first, "begin");
    let (id, user) = (begin["conversation"].as_str().unwrap(), begin["question"].as_i64().unwrap());
    let end = named(&first, "end");
    let answer = end["id"].as_i64().unwrap();
    assert_eq!(begin["leaf"], answer);
    assert!(end["used"].as_u64().unwrap() > 20 && end["error"].is_null(), "{end}");
    let place = begin["location"].as_str().unwrap();
    let page = server.get(place).body;
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"), "{page}");
    assert!(!page.contains("src=\"https://evil"));
    // the same greedy answer again is a second version, the same words as by the API
    let mut again = question("");
    again["conversation"] = json!(id);
    again["text"] = Value::Null;
    again["user"] = json!(user);
    let second = events(&server.post("/page/ask", &again));
    assert!(
        named(&second, "end")["html"].as_str().unwrap().contains("2 &#x2f; 2")
            || named(&second, "end")["html"].as_str().unwrap().contains("2 / 2")
    );
    let exported = server.get(&format!("{place}/export?as=json")).json();
    let api = server.ok("/v1/chat/completions", &http::chat(hostile, 12));
    assert_eq!(exported["messages"][1]["content"].as_str().unwrap(), http::content(&api));
    // a question after it, then the first one asked otherwise: two branches
    let mut next = question("And now?");
    (next["conversation"], next["parent"]) = (json!(id), json!(answer));
    let third = events(&server.post("/page/ask", &next));
    let mut edit = question("Say goodbye.");
    (edit["conversation"], edit["edit"]) = (json!(id), json!(user));
    events(&server.post("/page/ask", &edit));
    let said = |path: &str| server.get(path).body;
    assert!(said(place).contains("Say goodbye.") && !said(place).contains("And now?"));
    let at = named(&third, "begin")["question"].as_i64().unwrap();
    let other = said(&format!("{place}?at={at}"));
    assert!(other.contains("And now?") && !other.contains("Say goodbye."));
    assert!(said(place).contains("And now?"), "the branch that was looked at last is shown");
    // an answer that was cut goes on
    let cut = named(&third, "end")["id"].as_i64().unwrap();
    let before = server.get(&format!("{place}/export?as=json")).json()["messages"][3]["content"]
        .as_str()
        .unwrap()
        .to_string();
    let on = json!({ "conversation": id, "on": cut, "settings": { "temperature": 0, "max_tokens": 5 } });
    events(&server.post("/page/ask", &on));
    let after = server.get(&format!("{place}/export?as=json")).json()["messages"][3]["content"]
        .as_str()
        .unwrap()
        .to_string();
    assert!(after.starts_with(&before), "{before} → {after}");
    // feedback is kept and taken back
    let mark = |verdict: &str| json!({ "conversation": id, "message": cut, "verdict": verdict, "correction": "Better." });
    server.ok("/page/feedback", &mark("edited"));
    assert!(said(place).contains("data-do=\"correct\" aria-pressed=\"true\""));
    server.ok("/page/feedback", &mark("none"));
    assert!(!said(place).contains("aria-pressed=\"true\""));
    assert_eq!(server.post("/page/feedback", &mark("wonderful")).status, 400);
    // renamed, found, exported, deleted
    server.ok(&format!("/page{place}"), &json!({ "title": "A <b>lamp</b>" }));
    assert!(
        said("/page/history?q=LAMP").contains("A &lt;b&gt;lamp&lt;")
            && said("/page/history?q=zebra").contains("empty")
    );
    let md = server.get(&format!("{place}/export?as=md"));
    assert!(
        md.header("content-disposition").unwrap().starts_with("attachment")
            && md.body.starts_with("# A <b>lamp</b>")
    );
    assert_eq!(server.ask("DELETE", &format!("/page{place}"), "", "").status, 200);
    assert_eq!(server.get(place).status, 404);
}

#[test]
fn what_is_stopped_is_kept_as_far_as_it_came() {
    use std::io::Read as _;
    let Some(server) = Server::start(&[], &[]) else { return };
    let long = json!({ "text": "Tell a very long story.", "models": ["base"], "settings": { "temperature": 0, "max_tokens": 3000 } });
    let mut stream = server.send("POST", "/page/ask", "", &long.to_string());
    let mut seen = String::new();
    let mut piece = [0u8; 4096];
    while !seen.contains("event: text") || seen.matches("event: text").count() < 5 {
        let n = stream.read(&mut piece).unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    drop(stream);
    let place = seen.split("\"location\":\"").nth(1).unwrap().split('"').next().unwrap().to_string();
    server.until("it is written down", |s| {
        let exported = s.get(&format!("{place}/export?as=json")).json();
        exported["messages"][1]["finish_reason"] == "stopped"
            && exported["messages"][1]["content"].as_str().unwrap().len() > 20
    });
    // bad questions are refused before anything is written
    for body in [
        json!({}),
        json!({ "text": "x" }),
        json!({ "text": "x", "models": ["nobody"] }),
        json!({ "text": "x", "models": ["base"], "settings": { "temperature": 9 } }),
        json!({ "text": "x", "models": ["base"], "settings": { "colour": 1 } }),
        json!({ "text": "x", "user": 1, "models": ["base"] }),
        json!({ "text": "x", "models": ["base"], "conversation": "c-none" }),
        json!({ "text": "x", "models": ["base"], "parent": 99999 }),
    ] {
        let refused = server.post("/page/ask", &body);
        assert!((400..=404).contains(&refused.status), "{body}: {} {}", refused.status, refused.body);
    }
    let too_long =
        json!({ "text": "word ".repeat(20_000), "models": ["base"], "settings": { "max_tokens": 8 } });
    let refused = server.post("/page/ask", &too_long);
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(
        server.get("/page/history").body.matches("<li>").count(),
        1,
        "only the story was written down"
    );
}
