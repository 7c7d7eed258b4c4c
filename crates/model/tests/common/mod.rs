//! What tests against goldens share.

use nurture_formats::{SafetensorsFile, TensorSource as _};

/// The values of an F32 tensor.
pub(crate) fn floats(file: &SafetensorsFile, name: &str) -> Vec<f32> {
    let info = file.tensor(name).unwrap();
    let mut bytes = vec![0; info.bytes as usize];
    file.read_into(info, 0, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The same within `bound` of the largest entry.
#[track_caller]
pub(crate) fn close(got: &[f32], want: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let top = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(worst <= bound * top, "{what}: differs by {worst}, largest entry {top}");
}
