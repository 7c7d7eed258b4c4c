//! Broken GGUF files: each kind ends in an error that names the file, the offset and the key or tensor.

mod common;

use common::{Raw, read_all, small_gguf};
use nurture_formats::{FormatError, Metadata, TensorSource, TensorSpec, gguf};
use nurture_kernels::DType;
use proptest::prelude::*;

#[track_caller]
fn check(raw: &Raw, wants: &[&str]) {
    let error = raw.open().expect_err("a broken file opened").to_string();
    for want in wants.iter().chain(&["m.gguf"]) {
        assert!(error.contains(want), "\"{want}\" is not in: {error}");
    }
}

#[test]
fn the_small_file_is_fine() {
    for version in [2u32, 3] {
        let mut raw = small_gguf();
        raw.0[4..8].copy_from_slice(&version.to_le_bytes());
        let file = raw.open().unwrap();
        assert_eq!(file.version(), version);
        assert_eq!(file.metadata().u32("llama.block_count").unwrap(), 2);
        assert_eq!(file.metadata().strings("tokens").unwrap().get(2), Some("养"));
        // ggml gives the innermost dimension first, we the outermost.
        assert_eq!(file.tensor("a.weight").unwrap().shape, [2, 32]);
        read_all(&file);
    }
}

#[test]
fn cut_at_any_byte_it_is_an_error() {
    let whole = small_gguf();
    for len in 0..whole.0.len() {
        let raw = Raw(whole.0[..len].to_vec());
        let error = raw.open().expect_err("a cut file opened");
        assert!(error.to_string().contains("m.gguf"), "{error}");
    }
}

#[test]
fn other_files_are_told_apart() {
    check(&Raw(b"\x80\x02ctorch and more".to_vec()), &["not a GGUF file"]);
    check(&Raw(b"tjgg and more bytes".to_vec()), &["old GGML"]);
    check(&Raw::gguf(1, 0, 0), &["version 1"]);
    check(&Raw::gguf(4, 0, 0), &["version 4"]);
    check(&Raw::gguf(3u32.swap_bytes(), 0, 0), &["big-endian"]);
}

#[test]
fn huge_counts_take_no_memory() {
    check(&Raw::gguf(3, u64::MAX, 0), &["byte 8:", "18446744073709551615 tensors"]);
    check(&Raw::gguf(3, 0, u64::MAX), &["byte 16:", "keys"]);
    check(&Raw::gguf(3, 1 << 20, 0), &["byte 8:", "cannot stand"]);
    check(&Raw::gguf(3, 0, 1 << 16), &["byte 16:", "cannot stand"]);
    let rest = [0; 64];
    check(&Raw::gguf(3, 0, 1).u64(u64::MAX).bytes(&rest), &["byte 24:", "key number 0", "string"]);
    check(&Raw::gguf(3, 0, 1).u64(60_000).bytes(&rest), &["needs 60000 more bytes"]);
    check(&Raw::gguf(3, 0, 1).key("k", 8).u64(1 << 60).bytes(&rest), &["key \"k\"", "string"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(6).u64(u64::MAX).bytes(&rest), &["key \"k\"", "array"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(6).u64(1 << 26).bytes(&rest), &["key \"k\"", "an array needs"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(8).u64(1 << 26).bytes(&rest), &["key \"k\"", "an array needs"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(9).u64(1 << 26).bytes(&rest), &["key \"k\"", "an array needs"]);
}

#[test]
fn broken_metadata() {
    let rest = [0; 64];
    let twice = Raw::gguf(3, 0, 2).key("k", 0).bytes(&[1]).key("k", 0).bytes(&[1]).bytes(&rest);
    check(&twice, &["byte 38:", "key \"k\"", "twice"]);
    check(&Raw::gguf(3, 0, 1).key("k", 13).bytes(&rest), &["byte 33:", "unknown value type 13"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(99).u64(1).bytes(&rest), &["element type 99"]);
    check(&Raw::gguf(3, 0, 1).key("k", 7).bytes(&[2]).bytes(&rest), &["byte 37:", "bool"]);
    check(&Raw::gguf(3, 0, 1).key("k", 9).u32(7).u64(2).bytes(&[1, 9]).bytes(&rest), &["byte 50:", "bool"]);
    check(&Raw::gguf(3, 0, 1).u64(2).bytes(b"\xff\xfe").bytes(&rest), &["byte 32:", "UTF-8"]);
    check(&Raw::gguf(3, 0, 1).key("k", 8).u64(3).bytes(b"ab\xff").bytes(&rest), &["byte 47:", "UTF-8"]);
    let nested = (0..5).fold(Raw::gguf(3, 0, 1).key("k", 9), |raw, _| raw.u32(9).u64(1));
    check(&nested.bytes(&rest), &["key \"k\"", "nested deeper"]);
    for alignment in [0u32, 3, 48, 1 << 21] {
        let raw = Raw::gguf(3, 0, 1).key("general.alignment", 4).u32(alignment).bytes(&rest);
        check(&raw, &["general.alignment", "power of two"]);
    }
    check(&Raw::gguf(3, 0, 1).key("general.alignment", 8).string("32"), &["expected an integer"]);
}

#[test]
fn broken_tensor_entries() {
    let one = |dims: &[u64], kind, offset| Raw::gguf(3, 1, 0).tensor("t", dims, kind, offset).data(256);
    one(&[8], 0, 0).open().unwrap();
    check(&one(&[1, 1, 1, 1, 1], 0, 0), &["tensor \"t\"", "5 dimensions"]);
    check(&one(&[0], 0, 0), &["tensor \"t\"", "dimension of 0"]);
    check(&one(&[u64::MAX, 2], 0, 0), &["tensor \"t\"", "overflow"]);
    check(&one(&[1 << 32, 1 << 31], 0, 0), &["tensor \"t\"", "overflow"]);
    check(&one(&[33], 2, 0), &["tensor \"t\"", "Q4_0", "blocks"]);
    check(&one(&[16, 2], 2, 0), &["tensor \"t\"", "blocks"]);
    check(&one(&[8], 0, 8), &["tensor \"t\"", "alignment"]);
    check(&one(&[65], 0, 0), &["tensor \"t\"", "past the end"]);
    check(&one(&[8], 0, 256), &["tensor \"t\"", "past the end"]);
    check(&one(&[8], 0, u64::MAX - 31), &["tensor \"t\"", "past the end"]);
    let twice = Raw::gguf(3, 2, 0).tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 32).data(64);
    check(&twice, &["byte 57:", "tensor \"t\"", "twice"]);
    let overlap = Raw::gguf(3, 2, 0).tensor("a", &[16], 0, 0).tensor("b", &[1], 0, 32).data(256);
    check(&overlap, &["tensor \"b\"", "inside that of \"a\""]);
    let same = Raw::gguf(3, 2, 0).tensor("a", &[1], 0, 0).tensor("b", &[1], 0, 0).data(256);
    check(&same, &["inside that of"]);
    check(&Raw::gguf(3, 1, 0).u64(5000).bytes(&[b'x'; 6000]), &["tensor number 0", "string"]);
}

#[test]
fn unknown_types_fail_only_when_asked_for() {
    let raw = Raw::gguf(3, 3, 0)
        .tensor("old", &[256], 16, 0)
        .tensor("new", &[7], 4711, 96)
        .tensor("good", &[1], 0, 128)
        .data(132);
    let file = raw.open().unwrap();
    assert_eq!(file.tensors().len(), 1);
    assert!(file.tensor("good").is_ok() && file.info("old").is_none());
    for (name, dtype) in [("old", "IQ2_XXS"), ("new", "ggml type 4711")] {
        match file.tensor(name).unwrap_err() {
            FormatError::UnsupportedType { name: n, dtype: d, .. } => {
                assert_eq!((n.as_str(), d.as_str()), (name, dtype))
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        matches!(file.tensor("goood").unwrap_err(), FormatError::NoTensor { nearest, .. } if nearest[0] == "good")
    );
    // A foreign type of known size still may not overlap.
    let raw = Raw::gguf(3, 2, 0).tensor("old", &[256], 16, 0).tensor("good", &[1], 0, 64).data(128);
    check(&raw, &["tensor \"good\"", "inside that of \"old\""]);
}

#[test]
fn a_file_cut_after_opening_is_an_error_that_names_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let mut writer =
        gguf::create(&path, &Metadata::new(&path), &[TensorSpec::new("t", DType::F32, [1000])]).unwrap();
    writer.append_f32("t", &[1.0; 1000]).unwrap();
    writer.finish().unwrap();
    let file = nurture_formats::GgufFile::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let mut buf = [0; 4000];
    let error = file.read_into(file.tensor("t").unwrap(), 0, &mut buf).unwrap_err().to_string();
    assert!(error.contains("tensor \"t\""), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut raw = small_gguf();
        for (at, byte) in flips {
            let at = at.index(raw.0.len());
            raw.0[at] = byte;
        }
        if let Ok(file) = raw.open() {
            read_all(&file);
        }
    }

    #[test]
    fn inserted_numbers_never_panic(at in any::<prop::sample::Index>(), x in prop_oneof![
        Just(u64::MAX), Just(1 << 63), Just(1 << 32), Just(0), any::<u64>(),
    ]) {
        let mut raw = small_gguf();
        let at = at.index(raw.0.len() - 8);
        raw.0[at..at + 8].copy_from_slice(&x.to_le_bytes());
        if let Ok(file) = raw.open() {
            read_all(&file);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Raw(bytes.clone()).open();
        let _ = Raw::gguf(3, 2, 2).bytes(&bytes).open();
    }
}
