//! safetensors: what is written comes back; what is broken ends in an error with file, offset and tensor.

mod common;

use std::collections::BTreeMap;

use common::{SMALL_HEADER, open_safetensors, read_all, safetensors};
use nurture_formats::{FormatError, SafetensorsFile, TensorSource, TensorSpec};
use nurture_kernels::DType;
use proptest::prelude::*;

#[test]
fn a_file_comes_back_with_aligned_tensors_and_the_format_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let specs = [
        TensorSpec::new("half", DType::BF16, [3]),
        TensorSpec::new("z", DType::F32, [2, 2]),
        TensorSpec::new("a \"quoted\" name", DType::F32, []),
        TensorSpec::new("empty", DType::F16, [0, 4]),
    ];
    let metadata = BTreeMap::from([("by".to_string(), "nurture".to_string())]);
    let mut writer = nurture_formats::safetensors::create(&path, &metadata, &specs).unwrap();
    writer.append("half", &[1, 2, 3, 4, 5, 6]).unwrap();
    writer.append_f32("z", &[1.0, 2.0]).unwrap();
    writer.append_f32("a \"quoted\" name", &[5.0]).unwrap();
    writer.append_f32("z", &[3.0, 4.0]).unwrap();
    writer.finish().unwrap();

    let file = SafetensorsFile::open(&path).unwrap();
    assert_eq!(file.metadata().get("format").map(String::as_str), Some("pt"));
    assert_eq!(file.metadata().get("by").map(String::as_str), Some("nurture"));
    assert!(file.tensors().iter().all(|t| t.offset % t.dtype.block_bytes() as u64 == 0));
    let names: Vec<&str> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a \"quoted\" name", "z", "empty", "half"]);
    let mut buf = [0; 16];
    file.read_into(file.tensor("z").unwrap(), 0, &mut buf).unwrap();
    let want: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(buf[..], want);
    read_all(&file);
}

#[test]
fn the_writer_refuses_what_the_format_cannot_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    for specs in [
        vec![TensorSpec::new("q", DType::Q4_1, [32])],
        vec![TensorSpec::new("a", DType::F32, [1]), TensorSpec::new("a", DType::F16, [1])],
        vec![TensorSpec::new("__metadata__", DType::F32, [1])],
        vec![TensorSpec::new("a", DType::F32, vec![1; 9])],
    ] {
        assert!(nurture_formats::safetensors::create(&path, &BTreeMap::new(), &specs).is_err(), "{specs:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_small_file_is_fine_and_its_odd_type_fails_only_when_asked_for() {
    let file = open_safetensors(safetensors(SMALL_HEADER, 34)).unwrap();
    assert_eq!(file.tensors().len(), 2);
    assert_eq!(file.tensor("b").unwrap().shape, [0usize; 0]);
    read_all(&file);
    assert!(matches!(file.tensor("c"), Err(FormatError::UnsupportedType { dtype, .. }) if dtype == "I64"));
}

#[test]
fn cut_at_any_byte_it_is_an_error() {
    let whole = safetensors(SMALL_HEADER, 34);
    for len in 0..whole.len() {
        let error = open_safetensors(whole[..len].to_vec()).expect_err("a cut file opened").to_string();
        assert!(error.contains("m.safetensors: byte "), "{error}");
    }
}

#[test]
fn every_kind_of_damage_has_its_message() {
    let entry = |text: &str| format!(r#"{{"t":{text}}}"#);
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{b}}}}}"#
        )
    };
    for (header, data, want) in [
        (entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,9]}"#), 8, "tensor \"t\": data_offsets [0, 9] do not lie"),
        (entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), 8, "do not lie"),
        (entry(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), 8, "does not fit its 8 bytes"),
        (entry(r#"{"dtype":"I64","shape":[3],"data_offsets":[0,8]}"#), 8, "does not fit its 8 bytes"),
        (entry(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#), 8, "overflows"),
        (entry(r#"{"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]}"#), 8, "does not fit"),
        (entry(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), 8, "header: invalid value"),
        (entry(r#"{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}"#), 8, "header: invalid type"),
        (entry(r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}"#), 8, "9 dimensions"),
        (entry(r#"{"dtype":"F32","shape":[2]}"#), 8, "data_offsets"),
        (entry(r#"{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), 8, "duplicate field"),
        (entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), 9, "9 bytes of data follow"),
        (entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#), 12, "leaves a gap"),
        (two("[0,8]", "[4,12]"), 12, "tensor \"b\": its data begins at 4, but the tensors before it end at 8: it shares"),
        (two("[0,8]", "[0,8]"), 8, "shares bytes"),
        (two("[0,8]", "[12,20]"), 20, "leaves a gap"),
        (r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}"#.into(), 8, "\"a\" stands twice"),
        (r#"{"__metadata__":{"x":"1","x":"2"}}"#.into(), 0, "\"x\" stands twice"),
        (r#"{"__metadata__":{"x":1}}"#.into(), 0, "invalid type"),
        (format!(r#"{{"t":{}"#, "[".repeat(100_000)), 0, "header"),
        ("[]".into(), 0, "does not begin"),
        ("{} x".into(), 0, "trailing"),
    ] {
        let error = open_safetensors(safetensors(&header, data)).expect_err(&header).to_string();
        assert!(error.contains(want), "{header}: {error}");
        assert!(error.starts_with("m.safetensors: byte "), "{error}");
    }
    for (length, want) in [(u64::MAX, "at most"), (99_999_999, "in a file of"), (100_000_001, "at most")] {
        let error = open_safetensors([&length.to_le_bytes()[..], b"{}"].concat()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    // The offset given is that of the name in the header.
    let error = open_safetensors(safetensors(&two("[0,8]", "[4,12]"), 12)).unwrap_err();
    let place = two("", "").find("\"b\"").unwrap() as u64 + "[0,8]".len() as u64 + 8;
    assert!(matches!(error, FormatError::Malformed { offset, .. } if offset == place), "{error}");
}

#[test]
fn messages_stay_short_whatever_the_file_says() {
    let long = "x".repeat(1 << 20);
    for header in [
        format!(r#"{{"{long}":{{"dtype":"F32","shape":"{long}","data_offsets":[0,4]}}}}"#),
        format!(r#"{{"{long}":{{"dtype":"{long}","shape":[1],"data_offsets":[0,5]}}}}"#),
        format!(r#"{{"{long}":1,"{long}":2}}"#),
    ] {
        let error = open_safetensors(safetensors(&header, 4)).unwrap_err().to_string();
        assert!(error.len() < 1000, "{} bytes", error.len());
    }
}

#[test]
fn type_names_nobody_knows_still_open() {
    let header = r#"{"t":{"dtype":"F4","shape":[16],"data_offsets":[0,8]},"u":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let file = open_safetensors(safetensors(header, 12)).unwrap();
    assert!(file.tensor("t").unwrap_err().to_string().contains("stored as F4"));
    assert!(file.tensor("u").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = safetensors(SMALL_HEADER, 34);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(file) = open_safetensors(bytes) {
            read_all(&file);
        }
    }

    #[test]
    fn changed_digits_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..10), 1..8)) {
        let mut bytes = safetensors(SMALL_HEADER, 34);
        let digits: Vec<usize> = (8..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        for (at, digit) in flips {
            bytes[digits[at.index(digits.len())]] = b'0' + digit;
        }
        if let Ok(file) = open_safetensors(bytes) {
            read_all(&file);
        }
    }
}
