//! What the GGUF writer writes, the reader reads back.

use nurture_formats::{
    Array, FormatError, GgufFile, Metadata, ModelFile, Strings, TensorSource, TensorSpec, Value, gguf,
};
use nurture_kernels::DType;

fn every_kind_of_value() -> Metadata {
    let mut meta = Metadata::new("x");
    let strings: Strings = ["", "a", "养成", "\n"].into_iter().collect();
    for (key, value) in [
        ("u8", Value::U8(u8::MAX)),
        ("i8", Value::I8(i8::MIN)),
        ("u16", Value::U16(u16::MAX)),
        ("i16", Value::I16(i16::MIN)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(-1.5e-30)),
        ("f64", Value::F64(2.5e300)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("深模型".into())),
        ("[u8]", Value::Array(Array::U8(vec![1, 2, 3]))),
        ("[i8]", Value::Array(Array::I8(vec![-1]))),
        ("[u16]", Value::Array(Array::U16(vec![1, 65535]))),
        ("[i16]", Value::Array(Array::I16(vec![-2, 5]))),
        ("[u32]", Value::Array(Array::U32(vec![7; 1000]))),
        ("[i32]", Value::Array(Array::I32(vec![-7]))),
        ("[u64]", Value::Array(Array::U64(vec![u64::MAX]))),
        ("[i64]", Value::Array(Array::I64(vec![i64::MIN]))),
        ("[f32]", Value::Array(Array::F32((0..40_000).map(|i| i as f32).collect()))),
        ("[f64]", Value::Array(Array::F64(vec![0.1]))),
        ("[bool]", Value::Array(Array::Bool(vec![true, false]))),
        ("[string]", Value::Array(Array::Strings(strings.clone()))),
        ("[]", Value::Array(Array::U8(vec![]))),
        ("[[]]", Value::Array(Array::Arrays(vec![Array::I32(vec![1, 2]), Array::Strings(strings)]))),
    ] {
        meta.set(key, value);
    }
    meta
}

#[test]
fn every_kind_of_value_and_tensor_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let meta = every_kind_of_value();
    let specs: Vec<TensorSpec> =
        DType::all().map(|dtype| TensorSpec::new(format!("t.{dtype}"), dtype, [3, 512])).collect();
    let data: Vec<Vec<u8>> = DType::all()
        .map(|dtype| (0..dtype.bytes_of(3 * 512).unwrap()).map(|i| (i * 7 + dtype as usize) as u8).collect())
        .collect();
    let mut writer = gguf::create(&path, &meta, &specs).unwrap();
    // Last tensor first, in pieces: order must not matter.
    for (spec, bytes) in specs.iter().zip(&data).rev() {
        for piece in bytes.chunks(999) {
            writer.append(&spec.name, piece).unwrap();
        }
    }
    writer.finish().unwrap();

    let file = ModelFile::open(&path).unwrap();
    let ModelFile::Gguf(gguf) = &file else { panic!("a GGUF file was written") };
    assert_eq!(gguf.version(), 3);
    assert!(gguf.metadata().iter().eq(meta.iter()));
    assert_eq!(file.tensors().len(), specs.len());
    for (spec, bytes) in specs.iter().zip(&data) {
        let info = file.tensor(&spec.name).unwrap();
        assert_eq!((info.dtype, &info.shape, info.bytes), (spec.dtype, &spec.shape, bytes.len() as u64));
        assert_eq!(info.offset % 32, 0);
        let mut buf = vec![0; bytes.len()];
        file.read_into(info, 0, &mut buf).unwrap();
        assert_eq!(&buf, bytes);
        file.read_into(info, 10, &mut buf[..5]).unwrap();
        assert_eq!(buf[..5], bytes[10..15]);
        assert!(file.read_into(info, 1, &mut buf).is_err(), "a read past the end of the tensor");
        assert!(file.read_into(info, u64::MAX, &mut buf[..1]).is_err());
    }
}

#[test]
fn the_alignment_key_is_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let mut meta = Metadata::new(&path);
    meta.set("general.alignment", Value::U32(256));
    let specs = [TensorSpec::new("a", DType::F32, [1]), TensorSpec::new("b", DType::F32, [1])];
    let mut writer = gguf::create(&path, &meta, &specs).unwrap();
    writer.append_f32("a", &[1.0]).unwrap();
    writer.append_f32("b", &[2.0]).unwrap();
    writer.finish().unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.alignment(), 256);
    assert!(file.tensors().iter().all(|t| t.offset % 256 == 0));
    assert_eq!(file.tensors()[1].offset - file.tensors()[0].offset, 256);
    meta.set("general.alignment", Value::U32(48));
    assert!(gguf::create(&path, &meta, &[]).is_err());
}

#[test]
fn wrong_use_of_the_writer_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let meta = Metadata::new(&path);
    let create = |specs: &[TensorSpec]| gguf::create(&path, &meta, specs);
    let f32s = |name: &str, shape: &[usize]| TensorSpec::new(name, DType::F32, shape);
    for specs in [
        vec![f32s("a", &[1]), f32s("a", &[1])],
        vec![f32s("a", &[1, 1, 1, 1, 1])],
        vec![f32s("a", &[0])],
        vec![f32s("a", &[usize::MAX, 2])],
        vec![TensorSpec::new("a", DType::Q4_1, [32, 16])],
        vec![f32s(&"n".repeat(2000), &[1])],
    ] {
        assert!(matches!(create(&specs), Err(FormatError::Request { .. })), "{specs:?}");
    }
    let mut writer = create(&[f32s("a", &[2]), TensorSpec::new("h", DType::F16, [2])]).unwrap();
    assert!(writer.append("b", &[0]).is_err());
    assert!(writer.append_f32("h", &[1.0]).is_err());
    assert!(writer.append_f32("a", &[1.0, 2.0, 3.0]).is_err());
    writer.append_f32("a", &[1.0]).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("not filled"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
