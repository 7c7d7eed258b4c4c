//! What pull promises over HTTP, against a server that misbehaves in every usual way.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::*;
use nurture_hub::{FailureKind, HubError, Store, list, pull, resolve, verify};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    (dir, store)
}

#[test]
fn a_file_comes_whole_and_the_second_pull_asks_nobody() {
    let body = noise(300_000, 1);
    let sent = body.clone();
    let server = Server::start(move |request, stream| send_file(request, stream, &sent, None));
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    assert_eq!(resolve("tiny", &store, &options), None);

    let (result, steps) = pull_tiny(&store, &options);
    let pulled = result.unwrap();
    assert_pulled(&pulled, &store, &body);
    assert!(!pulled.already);
    assert_eq!(pulled.source, "Hugging Face o/r/m.gguf (main)");
    assert_eq!(server.requests(), ["/o/r/resolve/main/m.gguf"]);
    assert_eq!(steps[0], "Licence MIT");

    let (again, _) = pull_tiny(&store, &options);
    let again = again.unwrap();
    assert!(again.already && again.path == pulled.path && again.source == pulled.source);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(resolve("tiny", &store, &options), Some(pulled.path));
    verify(&pulled.sha256, &store, &options, &mut |_| {}).unwrap();
    let listed = list(&store, &options).unwrap();
    assert!(
        matches!(&listed[0].state, nurture_hub::State::Here { source, .. } if source.contains("Hugging Face"))
    );
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let body = noise(400_000, 2);
    let sent = body.clone();
    let server = Server::start(move |request, stream| {
        send_file(request, stream, &sent, (request.number < 2).then_some(150_000));
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let (result, steps) = pull_tiny(&store, &options);
    assert_pulled(&result.unwrap(), &store, &body);
    let path = "/o/r/resolve/main/m.gguf";
    assert_eq!(
        server.requests(),
        [path.to_owned(), format!("{path} from 150000"), format!("{path} from 300000")]
    );
    assert_eq!(steps.iter().filter(|s| s.starts_with("Retrying")).count(), 2, "{steps:?}");
}

#[test]
fn a_later_pull_goes_on_from_what_an_earlier_one_left() {
    let body = noise(400_000, 3);
    let sent = body.clone();
    // 150,000 bytes, then no answer worth anything; the second pull gets the rest.
    let server = Server::start(move |request, stream| match request.number {
        0 => send_file(request, stream, &sent, Some(150_000)),
        1..=3 => send_status(stream, "503 Service Unavailable"),
        _ => send_file(request, stream, &sent, None),
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    let (first, _) = pull_tiny(&store, &options);
    let Err(HubError::AllSourcesFailed { attempts, .. }) = first else { panic!("{first:?}") };
    assert_eq!(attempts[0].kind, FailureKind::Interrupted);
    assert!(matches!(
        list(&store, &options).unwrap()[0].state,
        nurture_hub::State::Partial { bytes: 150_000 }
    ));

    let (second, steps) = pull_tiny(&store, &options);
    assert_pulled(&second.unwrap(), &store, &body);
    assert!(steps.contains(&"Resuming { from: 150000 }".to_owned()), "{steps:?}");
    assert!(server.requests().last().unwrap().ends_with("from 150000"));
}

#[test]
fn what_an_earlier_pull_left_damaged_is_thrown_away_once() {
    let body = noise(200_000, 4);
    let sent = body.clone();
    let server = Server::start(move |request, stream| match request.number {
        0 => send_file(request, stream, &sent, Some(100_000)),
        1..=3 => send_status(stream, "503 Service Unavailable"),
        _ => send_file(request, stream, &sent, None),
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    assert!(pull_tiny(&store, &options).0.is_err());
    let part = files(store.root()).into_iter().find(|f| f.ends_with(".part")).unwrap();
    std::fs::write(store.root().join(part), vec![0; 100_000]).unwrap();
    let (second, _) = pull_tiny(&store, &options);
    assert_pulled(&second.unwrap(), &store, &body);
}

#[test]
fn another_version_on_the_server_is_not_glued_to_the_old_one() {
    let (old, new) = (noise(200_000, 5), noise(200_000, 6));
    let sent = new.clone();
    let server = Server::start(move |request, stream| {
        if request.number == 0 {
            return send_file(request, stream, &old, Some(100_000));
        }
        let body = &sent[request.from.unwrap_or(0)..];
        let head = match request.from {
            Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-199999/200000"),
            None => "200 OK".to_owned(),
        };
        let _ = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nETag: \"v2\"\r\n\r\n", body.len());
        let _ = stream.write_all(body);
    });
    let (_dir, store) = store();
    let options = options(catalogue(&new, &[HUGGINGFACE]), &server.url);
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &new);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let body = noise(200_000, 7);
    let sent = body.clone();
    let server = Server::start(move |request, stream| {
        let whole = common::Request { from: None, path: String::new(), headers: Vec::new(), number: 0 };
        send_file(&whole, stream, &sent, (request.number == 0).then_some(90_000));
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);
}

#[test]
fn wrong_bytes_are_refused_aloud_and_the_next_source_is_tried() {
    let (right, wrong) = (noise(50_000, 8), noise(50_000, 9));
    let sent = right.clone();
    let server = Server::start(move |request, stream| {
        let body = if request.path.starts_with("/models/") { &sent } else { &wrong };
        send_file(request, stream, body, None);
    });
    let (_dir, store) = store();
    let options = options(catalogue(&right, &[HUGGINGFACE, MODELSCOPE]), &server.url);
    let (result, steps) = pull_tiny(&store, &options);
    let pulled = result.unwrap();
    assert_pulled(&pulled, &store, &right);
    assert_eq!(pulled.source, "ModelScope o/r/m.gguf (master)");
    assert_eq!(server.requests(), ["/o/r/resolve/main/m.gguf", "/models/o/r/resolve/master/m.gguf"]);
    let said = steps.iter().find(|s| s.starts_with("Failed Mismatch")).unwrap();
    assert!(said.contains(&sha256(&right)), "{said}");
}

#[test]
fn a_wrong_length_or_a_wrong_hash_by_the_hubs_word_costs_no_transfer() {
    let body = noise(50_000, 10);
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50001\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\nX-Linked-Etag: \"{}\"\r\n\r\n", "a".repeat(64)),
        "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\nContent-Type: text/html\r\n\r\n".to_owned(),
    ] {
        let server = Server::start(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            std::thread::sleep(Duration::from_secs(5));
        });
        let (_dir, store) = store();
        let options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
        let started = Instant::now();
        let (result, _) = pull_tiny(&store, &options);
        let Err(HubError::AllSourcesFailed { attempts, .. }) = result else { panic!("{result:?}") };
        assert!(matches!(attempts[0].kind, FailureKind::Mismatch | FailureKind::NotFound), "{attempts:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{attempts:?}");
    }
}

#[test]
fn each_source_that_fails_is_named_with_its_reason_and_the_ways_out() {
    let body = noise(1000, 11);
    let server = Server::start(|request, stream| {
        let status = if request.path.starts_with("/models/") { "404 Not Found" } else { "401 Unauthorized" };
        send_status(stream, status);
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[HUGGINGFACE, MODELSCOPE]), &server.url);
    let error = pull_tiny(&store, &options).0.unwrap_err();
    let HubError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error:?}") };
    let kinds: Vec<_> = attempts.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, [FailureKind::Denied, FailureKind::NotFound]);
    let text = error.to_string();
    for part in
        ["1. Hugging Face o/r/m.gguf", "HTTP 401", "2. ModelScope", "HTTP 404", "HF_TOKEN", "models/m.gguf"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_source_that_stands_still_is_left() {
    let body = noise(100_000, 12);
    let sent = body.clone();
    let server = Server::start(move |request, stream| {
        if request.path.starts_with("/models/") {
            return send_file(request, stream, &sent, None);
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        let _ = stream.write_all(&sent[..10]);
        std::thread::sleep(Duration::from_secs(30));
    });
    let (_dir, store) = store();
    let mut options = options(catalogue(&body, &[HUGGINGFACE, MODELSCOPE]), &server.url);
    options.stall_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let (result, steps) = pull_tiny(&store, &options);
    assert_pulled(&result.unwrap(), &store, &body);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(steps.iter().any(|s| s.starts_with("Failed Interrupted")), "{steps:?}");
}

#[test]
fn a_source_that_only_drips_is_left() {
    let body = noise(100_000, 13);
    let server = Server::start(move |request, stream| {
        let from = request.from.unwrap_or(0);
        let _ = write!(
            stream,
            "HTTP/1.1 {}\r\nContent-Range: bytes {from}-99999/100000\r\nContent-Length: {}\r\n\r\n",
            if request.from.is_some() { "206 Partial Content" } else { "200 OK" },
            100_000 - from
        );
        while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (_dir, store) = store();
    let mut options = options(catalogue(&body, &[HUGGINGFACE]), &server.url);
    options.stall_timeout = Duration::from_millis(300);
    let started = Instant::now();
    let result = pull_tiny(&store, &options).0;
    assert!(matches!(result, Err(HubError::AllSourcesFailed { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn hosts_that_cannot_be_reached_cost_little() {
    let body = noise(1000, 14);
    let (_dir, store) = store();
    // A closed port, a name that is reserved to not exist, and an address reserved for examples.
    for endpoint in ["http://127.0.0.1:1", "https://hub.invalid", "http://192.0.2.1"] {
        let options = options(catalogue(&body, &[HUGGINGFACE]), endpoint);
        let started = Instant::now();
        let (result, _) = pull_tiny(&store, &options);
        let Err(HubError::AllSourcesFailed { attempts, .. }) = result else { panic!("{result:?}") };
        assert_eq!(attempts[0].kind, FailureKind::Unreachable, "{attempts:?}");
        assert!(started.elapsed() < Duration::from_secs(6), "{endpoint}: {:?}", started.elapsed());
    }
}

#[test]
fn redirects_are_followed_and_the_token_stays_with_the_hub() {
    let body = noise(60_000, 15);
    let sent = body.clone();
    let files = Server::start(move |request, stream| {
        assert_eq!(request.header("authorization"), None, "the token left the hub");
        send_file(request, stream, &sent, None);
    });
    let (elsewhere, hash) = (files.url.clone(), sha256(&body));
    let hub = Server::start(move |request, stream| {
        if request.header("authorization") != Some("Bearer secret") {
            return send_status(stream, "401 Unauthorized");
        }
        if request.path.starts_with("/moved") {
            let _ =
                write!(stream, "HTTP/1.1 302 Found\r\nLocation: {elsewhere}/f\r\nContent-Length: 0\r\n\r\n");
        } else {
            let _ = write!(
                stream,
                "HTTP/1.1 307 Moved\r\nLocation: /moved?x=1\r\nX-Linked-Etag: \"{hash}\"\r\nContent-Length: 0\r\n\r\n"
            );
        }
    });
    let (_dir, store) = store();
    let mut options = options(catalogue(&body, &[HUGGINGFACE]), &hub.url);
    options.hf_token = Some(nurture_hub::Token("secret".into()));
    assert_pulled(&pull_tiny(&store, &options).0.unwrap(), &store, &body);
    assert_eq!(files.requests(), ["/f"]);
    assert!(!format!("{options:?}").contains("secret"));
}

#[test]
fn redirects_without_end_are_left() {
    let body = noise(10, 16);
    let server = Server::start(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    });
    let (_dir, store) = store();
    let (result, _) = pull_tiny(&store, &options(catalogue(&body, &[HUGGINGFACE]), &server.url));
    assert!(result.unwrap_err().to_string().contains("redirects"));
}

#[test]
fn a_hub_id_is_pinned_by_its_first_pull() {
    let body = noise(70_000, 17);
    let (sent, hash) = (body.clone(), sha256(&body));
    let server = Server::start(move |request, stream| {
        if request.path == "/api/models/o/r/revision/main" {
            let json = r#"{"siblings":[{"rfilename":"a-Q4_K_M.gguf"},{"rfilename":"a-Q8_0.gguf"},{"rfilename":"x.md"}]}"#;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len());
            return;
        }
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Linked-Etag: \"{hash}\"\r\n\r\n",
            sent.len()
        );
        let _ = stream.write_all(&sent);
    });
    let (_dir, store) = store();
    let options = options(catalogue(&body, &[]), &server.url);
    let first = pull("o/r:q8_0", &store, &options, &mut |_| {}).unwrap();
    assert_eq!(first.sha256, sha256(&body));
    assert!(first.path.ends_with("models/huggingface.co/o/r/a-Q8_0.gguf"), "{}", first.path.display());
    let asked = server.requests().len();
    assert!(pull("hf:o/r:Q8_0", &store, &options, &mut |_| {}).unwrap().already);
    assert_eq!(server.requests().len(), asked);
    assert_eq!(resolve("o/r:Q8_0", &store, &options), Some(first.path));
    assert_eq!(list(&store, &options).unwrap().last().unwrap().name, "hf:o/r:Q8_0");

    let many = pull("o/r", &store, &options, &mut |_| {}).unwrap_err();
    assert!(many.to_string().contains("a-Q4_K_M.gguf"), "{many}");
    let none = pull("o/r:Q2_K", &store, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(none, HubError::NoFittingFile { .. }), "{none:?}");
}

#[cfg(unix)]
#[test]
fn a_damaged_file_of_a_hub_id_is_brought_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let body = noise(7000, 19);
    let sent = body.clone();
    let server = Server::start(move |request, stream| send_file(request, stream, &sent, None));
    let (_dir, store) = store();
    let mut options = options(catalogue(b"x", &[]), &server.url);
    options.verify = true;
    let pulled = pull("o/r/m.gguf", &store, &options, &mut |_| {}).unwrap();
    let blob = store.blob_path(&pulled.sha256);
    let mut flipped = body.clone();
    flipped[100] ^= 1;
    for linked in [true, false] {
        if linked {
            // in place, under both names at once
            std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
            std::fs::write(&blob, &flipped).unwrap();
        } else {
            // the blob gone, and other bytes under the friendly name
            std::fs::remove_file(&blob).unwrap();
            std::fs::remove_file(&pulled.path).unwrap();
            std::fs::write(&pulled.path, &flipped).unwrap();
        }
        assert_eq!(std::fs::read(&pulled.path).unwrap(), flipped);
        let asked = server.requests().len();
        let again = pull("hf:o/r/m.gguf", &store, &options, &mut |_| {}).unwrap();
        assert_eq!((&again.sha256, &again.path), (&pulled.sha256, &pulled.path));
        assert_eq!(std::fs::read(&again.path).unwrap(), body);
        assert_eq!(server.requests().len(), asked + 1, "linked: {linked}");
    }
}

#[test]
fn the_file_of_one_hub_is_not_taken_for_that_of_the_other() {
    let (one, other) = (noise(7000, 20), noise(7000, 21));
    let (hf, ms) = (one.clone(), other.clone());
    let server = Server::start(move |request, stream| {
        let body = if request.path.starts_with("/models/") { &ms } else { &hf };
        send_file(request, stream, body, None);
    });
    let (_dir, store) = store();
    let options = options(catalogue(b"x", &[]), &server.url);
    // what an earlier version left, which named no hub
    let old = store.root().join("models/o/r/m.gguf");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, noise(7000, 22)).unwrap();
    for (id, body) in [("hf:o/r/m.gguf", &one), ("modelscope:o/r/m.gguf", &other), ("hf:o/r/m.gguf", &one)] {
        let pulled = pull(id, &store, &options, &mut |_| {}).unwrap();
        assert!(pulled.sha256 == sha256(body) && std::fs::read(&pulled.path).unwrap() == *body, "{id}");
    }
    assert_eq!(server.requests().len(), 2);
    assert_eq!(std::fs::read(&old).unwrap(), noise(7000, 22), "it is left alone");
}

#[test]
fn a_hub_id_whose_bytes_are_not_what_the_hub_says_is_refused() {
    let body = noise(7000, 18);
    let server = Server::start(move |_, stream| {
        let other = "b".repeat(64);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 7000\r\nX-Linked-Etag: {other}\r\n\r\n");
        let _ = stream.write_all(&body);
    });
    let (_dir, store) = store();
    let options = options(catalogue(b"x", &[]), &server.url);
    let error = pull("o/r/m.gguf", &store, &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("sha256"), "{error}");
    assert!(!files(store.root()).iter().any(|f| f.starts_with("blobs/") || f.starts_with("parts/")));
}
