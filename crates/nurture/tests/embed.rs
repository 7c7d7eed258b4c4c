//! `nurture embed` with the real binary and the real model.

use nurture_testing::{SMOLLM2, model};
use std::process::{Command, Output};

fn embed(args: &[&str]) -> Output {
    let home = std::env::temp_dir().join("nurture-embed-home");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nurture"));
    command.env("NURTURE_HOME", home).arg("embed").args(args).args(["--lang", "en"]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn vectors_do_not_depend_on_the_texts_beside_them() {
    let Some(path) = model(SMOLLM2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    };
    let path = path.to_str().unwrap();
    let lines: Vec<String> =
        (0..40).map(|i| format!("Sentence {i} is about {}.", ["苹果", "rain", "banks"][i % 3])).collect();
    let all = file("all.txt", &(lines.join("\n\n") + "\n"));
    let one = file("one.jsonl", &format!("{{\"q\": \"{}\"}}\n", lines[7]));
    let vectors = |out: Output| -> Vec<serde_json::Value> {
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let many = vectors(embed(&[path, &all]));
    let single = vectors(embed(&[path, &one, "--field", "q"]));
    assert_eq!((many.len(), single.len()), (40, 1));
    assert_eq!(many[7]["embedding"], single[0]["embedding"]);
    assert_eq!((&many[7]["line"], &many[7]["text"]), (&15.into(), &lines[7].clone().into()));
    let length: f64 =
        many[3]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5);

    let near = embed(&[path, &all, "--query", &lines[9], "--top", "2"]);
    let near = text(&near.stdout);
    assert!(near.starts_with("1.0000") && near.lines().next().unwrap().contains(&lines[9]), "{near}");
    assert_eq!(near.lines().count(), 2);

    let out = dir.path().join("v.npy");
    let out = out.to_str().unwrap();
    assert!(embed(&[path, &all, "--out", out]).status.success());
    let bytes = std::fs::read(out).unwrap();
    let header = text(&bytes[..128]);
    assert!(header.contains("'descr': '<f4', 'fortran_order': False, 'shape': (40, 576), }"), "{header}");
    let data = bytes.len() - 40 * 576 * 4;
    assert_eq!((&bytes[..8], data % 64, bytes[data - 1]), (&b"\x93NUMPY\x01\x00"[..], 0, b'\n'));
    let first = f32::from_le_bytes(bytes[data..data + 4].try_into().unwrap());
    assert_eq!(f64::from(first), f64::from(many[0]["embedding"][0].as_f64().unwrap() as f32));
    // nothing is overwritten unasked
    let again = embed(&[path, &all, "--out", out]);
    assert!(!again.status.success() && text(&again.stderr).contains("is there already"));
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let Some(path) = model(SMOLLM2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = path.to_str().unwrap();
    let long = "word ".repeat(500);
    for (name, content, args, wanted) in [
        (
            "a.jsonl",
            "{\"text\": \"x\"}\n{\"other\": \"y\"}\n".into(),
            &[][..],
            "a.jsonl:2 has no text under \"text\"",
        ),
        ("b.jsonl", "{\"text\": \"x\"}\n{broken\n".into(), &[], "b.jsonl:2"),
        ("c.txt", format!("short\n\n{long}\n"), &["--context", "64"], "c.txt:3"),
        ("d.txt", "\n\n".into(), &[], "there is no text in it"),
        ("e.txt", "x".into(), &["--out", "x.bin"], "a .jsonl or a .npy file"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        let mut all = vec![path, file.to_str().unwrap()];
        all.extend(args);
        let out = embed(&all);
        assert_eq!(out.status.code(), Some(1), "{name}");
        assert!(text(&out.stderr).contains(wanted), "{name}: {}", text(&out.stderr));
    }
}
