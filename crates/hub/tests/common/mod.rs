//! A small HTTP server on 127.0.0.1, a catalogue around it, and a fake pip.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nurture_hub::{Catalogue, HubError, Progress, PullOptions, Pulled, Store, pull};
use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes that do not compress and differ for each seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

pub struct Request {
    pub path: String,
    /// First byte asked for.
    pub from: Option<usize>,
    pub headers: Vec<(String, String)>,
    /// How many requests came before this one.
    pub number: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

pub struct Server {
    pub url: String,
    /// `path` or `path from N` of each request.
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request with `answer` on a thread of its own.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, shared, count) = (Arc::new(answer), Arc::clone(&log), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, shared, count) = (Arc::clone(&answer), Arc::clone(&shared), Arc::clone(&count));
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let Some(mut request) = read_request(&stream) else { return };
                    request.number = count.fetch_add(1, Ordering::SeqCst);
                    let line = match request.from {
                        Some(from) => format!("{} from {from}", request.path),
                        None => request.path.clone(),
                    };
                    shared.lock().unwrap().push(line);
                    answer(&request, &mut stream);
                });
            }
        });
        Self { url, log }
    }

    pub fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(':')?;
        headers.push((key.to_lowercase(), value.trim().to_owned()));
    }
    let range = headers.iter().find(|(k, _)| k == "range").map(|(_, v)| v.clone());
    let from = range.and_then(|v| v.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    Some(Request { path, from, headers, number: 0 })
}

/// Sends `body`, or its end from the byte asked for; closes after `cut` bytes of it.
pub fn send_file(request: &Request, stream: &mut TcpStream, body: &[u8], cut: Option<usize>) {
    let from = request.from.unwrap_or(0);
    let rest = &body[from.min(body.len())..];
    let head = match request.from {
        Some(from) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
            body.len() - 1,
            body.len()
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let _ =
        write!(stream, "{head}Content-Length: {}\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n", rest.len());
    let _ = stream.write_all(&rest[..cut.unwrap_or(rest.len()).min(rest.len())]);
    let _ = stream.flush();
    // Lets the other side read what was sent before the connection is reset.
    std::thread::sleep(Duration::from_millis(30));
}

pub fn send_status(stream: &mut TcpStream, status: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

pub const HUGGINGFACE: &str = "kind = \"huggingface\"\nrepo = \"o/r\"\nfile = \"m.gguf\"";
pub const MODELSCOPE: &str = "kind = \"modelscope\"\nrepo = \"o/r\"\nfile = \"m.gguf\"";

/// A catalogue with the one entry `tiny` for these bytes.
pub fn catalogue(body: &[u8], sources: &[&str]) -> Catalogue {
    let mut text = format!(
        "[[entry]]\nname = \"tiny\"\nkind = \"model\"\nfile = \"m.gguf\"\nsha256 = \"{}\"\nbytes = {}\n\
         licence = \"MIT\"\nlanguages = [\"en\"]\ndescription = {{ en = \"t\", zh = \"t\" }}\n",
        sha256(body),
        body.len()
    );
    for source in sources {
        text.push_str(&format!("[[entry.source]]\n{source}\n"));
    }
    Catalogue::parse(&text).unwrap()
}

/// Options around a catalogue whose hubs both lie at `endpoint`.
pub fn options(catalogue: Catalogue, endpoint: &str) -> PullOptions {
    PullOptions {
        catalogue: Some(catalogue),
        hf_endpoint: endpoint.into(),
        modelscope_endpoint: endpoint.into(),
        stall_timeout: Duration::from_secs(20),
        ..PullOptions::default()
    }
}

/// Pulls `tiny` and collects the steps, without the byte counts, as text.
pub fn pull_tiny(store: &Store, options: &PullOptions) -> (Result<Pulled, HubError>, Vec<String>) {
    let mut steps = Vec::new();
    let result = pull("tiny", store, options, &mut |step| match step {
        Progress::Bytes { done, total } => assert!(total.is_none_or(|t| done <= t), "{done} of {total:?}"),
        Progress::Hashing { .. } => {}
        Progress::Failed { attempt } => steps.push(format!("Failed {:?}: {}", attempt.kind, attempt.reason)),
        Progress::Licence { entry } => steps.push(format!("Licence {}", entry.licence)),
        other => steps.push(format!("{other:?}")),
    });
    (result, steps)
}

/// All files below a folder, relative, sorted.
pub fn files(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

/// Asserts that the store shows exactly these bytes as `tiny` and keeps no leftovers.
pub fn assert_pulled(pulled: &Pulled, store: &Store, body: &[u8]) {
    assert_eq!(std::fs::read(&pulled.path).unwrap(), body);
    assert_eq!(pulled.sha256, sha256(body));
    assert_eq!(pulled.bytes, body.len() as u64);
    assert!(pulled.path.ends_with("models/m.gguf"), "{}", pulled.path.display());
    assert!(store.blob_path(&pulled.sha256).is_file());
    let leftovers: Vec<_> = files(store.root())
        .into_iter()
        .filter(|f| f.starts_with("parts/") || f.starts_with("tmp/"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}
