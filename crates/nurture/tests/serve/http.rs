//! The real binary at work, and a client that writes its own bytes.

#![allow(unreachable_pub, dead_code)] // shared by test binaries

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Patience with a machine that may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    /// lines of stderr
    pub log: Arc<Mutex<Vec<String>>>,
    pub key: Option<&'static str>,
    _home: tempfile::TempDir,
}

pub fn model() -> Option<String> {
    nurture_testing::model(nurture_testing::SMOLLM2).map(|p| p.display().to_string())
}

pub fn nurture() -> (Command, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nurture"));
    command.env_clear().env("NURTURE_HOME", home.path()).stdin(Stdio::null());
    (command, home)
}

impl Server {
    /// Serves SmolLM2 under the name `base`, on a free port.
    pub fn start(args: &[&str], vars: &[(&str, &str)]) -> Option<Server> {
        let model = model()?;
        let (mut command, home) = nurture();
        command.args(["serve", "--model", &model, "--name", "base", "--port", "0"]).args(args);
        command.envs(vars.iter().copied());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut first = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("no server: {first:?}")).unwrap();
            if let Some((_, rest)) = line.split_once(" at http").and_then(|(_, r)| r.split_once("://")) {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
            first.push(line);
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| sink.lock().unwrap().push(l)));
        Some(Server { child, address, log, key: None, _home: home })
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends the head and body of a request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = self.connect();
        let key = self.key.map_or(String::new(), |k| format!("Authorization: Bearer {k}\r\n"));
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{host}{key}{json}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // a server that refuses early may close before all is written
        _ = stream.write_all((head + body).as_bytes());
        stream
    }

    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        Response::read(self.send(method, path, headers, body))
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.ask("POST", path, "", &body.to_string())
    }

    /// Posts and expects success.
    pub fn ok(&self, path: &str, body: &Value) -> Value {
        self.ok_status(path, body, 200)
    }

    /// Posts and expects a status.
    pub fn ok_status(&self, path: &str, body: &Value, status: u16) -> Value {
        let r = self.post(path, body);
        assert_eq!(r.status, status, "{path} {body}: {}", r.body);
        r.json()
    }

    /// A value of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").body;
        let line = page.lines().find(|l| l.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name}: {page}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub fn until(&self, what: &str, mut f: impl FnMut(&Server) -> bool) -> Duration {
        let begin = Instant::now();
        while !f(self) {
            assert!(begin.elapsed() < PATIENCE, "{what}: {:?}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        begin.elapsed()
    }

    #[cfg(unix)]
    pub fn terminate(&self) {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn read(mut stream: TcpStream) -> Response {
        let mut bytes = Vec::new();
        // a reset behind a whole answer is fine: the server had not read all that was sent
        _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { dechunked(body) } else { body.to_string() };
        Response { status, head: head.to_string(), body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self))
    }

    /// The objects of a stream of events, which must end as it should.
    pub fn events(&self) -> Vec<Value> {
        let events: Vec<&str> = self.body.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
        assert_eq!(events.last(), Some(&"[DONE]"), "{}", self.body);
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect()
    }
}

fn dechunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or("");
    }
    out
}

/// A greedy chat request.
pub fn chat(text: &str, most: usize) -> Value {
    json!({
        "model": "base", "messages": [{ "role": "user", "content": text }], "temperature": 0, "max_tokens": most,
    })
}

/// The text of a whole chat answer.
pub fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The text of a streamed chat answer's choice.
pub fn streamed(events: &[Value], choice: u64) -> String {
    let own = events.iter().flat_map(|e| e["choices"].as_array().unwrap()).filter(|c| c["index"] == choice);
    own.filter_map(|c| c["delta"]["content"].as_str()).collect()
}

/// Saves a random adapter for SmolLM2.
pub fn adapter(dir: &std::path::Path, seed: u64) {
    use nurture::formats::ModelFile;
    use nurture::kernels::Rng;
    use nurture::model::{Adapter, Cpu, Decoder, LoraSpec, PROJECTIONS};
    let cpu = Cpu::new(1);
    let file = ModelFile::open(std::path::Path::new(&model().unwrap())).unwrap();
    let decoder = Decoder::load(&file, cpu.pool()).unwrap();
    let spec = LoraSpec { rank: 4, alpha: 4.0, rslora: false, targets: PROJECTIONS.to_vec() };
    let mut rng = Rng::stream(seed, 7);
    let adapter = Adapter::build(decoder.config(), |_, p| {
        let (d, n) = p.shape(decoder.config());
        let mut floats = |n: usize| (0..n).map(|_| 0.2 * (rng.uniform() - 0.5) as f32).collect::<Vec<_>>();
        Some((4, 1.0, floats(4 * d), floats(n * 4)))
    });
    let extra = json!({ "system": "You answer in one word.", "user": "Q: {text}" });
    nurture::formats::save_adapter(dir, &spec.peft_config(None), &adapter.tensors(), Some(&extra)).unwrap();
}
