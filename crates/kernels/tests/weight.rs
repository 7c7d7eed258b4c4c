//! Stored weights: reading in tiles, errors from the reader, and rows that are broken.

mod common;

use common::*;
use nurture_kernels::*;
use std::sync::Mutex;

/// Where a block keeps its half-float scales.
fn scales(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::F32 | DType::BF16 => &[],
        DType::F16 | DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4NL => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => &[0, 2],
        DType::Q6K => &[208],
        DType::Q2K => &[80, 82],
        DType::Q3K => &[108],
    }
}

fn read(dtype: DType, rows: usize, cols: usize, raw: &[u8]) -> Weight {
    let row = raw.len() / rows;
    let made: Result<Weight, ()> = Weight::read(&Pool::new(2), dtype, rows, cols, |first, out| {
        out.copy_from_slice(&raw[first * row..][..out.len()]);
        Ok(())
    });
    made.unwrap()
}

#[test]
fn the_first_broken_row_is_named() {
    let _guard = hold();
    let rows = 300; // more tiles than one task reads; the last is not full
    for dtype in DType::all() {
        let cols = if dtype.is_quantised() { 512 } else { 77 };
        let row = dtype.bytes_of(cols).unwrap();
        let whole: Vec<u8> = vec![0; rows * row];
        for threads in [1, 2] {
            assert_eq!(read(dtype, rows, cols, &whole).first_row_not_finite(&Pool::new(threads)), None);
        }
        let last = row - dtype.block_bytes();
        for &scale in if dtype.is_quantised() { scales(dtype) } else { &[0] } {
            for (nan, bad_row, block) in [(true, 0, 0), (false, 37, last), (true, 299, last), (false, 160, 0)]
            {
                let mut raw = whole.clone();
                let bad: &[u8] = match (dtype, nan) {
                    (DType::F32, true) => &f32::NAN.to_le_bytes(),
                    (DType::F32, false) => &f32::NEG_INFINITY.to_le_bytes(),
                    (DType::BF16, true) => &half::bf16::NAN.to_le_bytes(),
                    (DType::BF16, false) => &half::bf16::INFINITY.to_le_bytes(),
                    (_, true) => &half::f16::NAN.to_le_bytes(),
                    (_, false) => &half::f16::INFINITY.to_le_bytes(),
                };
                // a later row is broken too, in an earlier column
                for (r, at) in [(bad_row, block + scale), ((bad_row + 5).min(299), scale)] {
                    raw[r * row + at..][..bad.len()].copy_from_slice(bad);
                }
                for threads in [1, 2] {
                    let found = read(dtype, rows, cols, &raw).first_row_not_finite(&Pool::new(threads));
                    assert_eq!(found, Some(bad_row), "{dtype}, scale at {scale}, block at {block}");
                }
            }
        }
    }
}

#[test]
fn large_finite_values_are_not_called_broken() {
    let _guard = hold();
    let weight = Weight::from_f32(3, 40, &[f32::MAX; 120]);
    assert_eq!(weight.first_row_not_finite(&Pool::new(1)), None);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Bit for bit what the `gguf` package decodes (`tools/goldens/quants.py`); -0 counts as 0.
#[test]
fn every_quantised_type_is_decoded_as_the_format_defines() {
    let _guard = hold();
    let goldens: Vec<Vec<&str>> =
        include_str!("goldens/quants.txt").lines().map(|l| l.split(' ').collect()).collect();
    for dtype in DType::all().filter(|d| d.is_quantised()) {
        let line = goldens.iter().find(|l| l[0] == dtype.name()).expect("a golden for each type");
        let (raw, values) = (hex(line[1]), hex(line[2]));
        let want: Vec<f32> = values.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let weight = read(dtype, 1, want.len(), &raw);
        let mut got = vec![f32::NAN; want.len()];
        weight.row_into(0, &mut got);
        let same = |a: f32, b: f32| (a + 0.0).to_bits() == (b + 0.0).to_bits();
        let wrong = got.iter().zip(&want).position(|(a, b)| !same(*a, *b));
        assert_eq!(wrong, None, "{dtype}: {got:?} for {want:?}");
    }
}

#[test]
fn every_row_is_asked_for_once_and_kept_where_it_belongs() {
    let _guard = hold();
    let (rows, cols) = (333, 45);
    let asked = Mutex::new(Vec::new());
    let value = |row: usize, col: usize| (row * 100 + col) as f32;
    let made: Result<Weight, ()> = Weight::read(&Pool::new(3), DType::F32, rows, cols, |first, out| {
        asked.lock().unwrap().push((first, out.len() / (4 * cols)));
        for (i, b) in out.chunks_exact_mut(4).enumerate() {
            b.copy_from_slice(&value(first + i / cols, i % cols).to_le_bytes());
        }
        Ok(())
    });
    let weight = made.unwrap();
    let mut asked = asked.into_inner().unwrap();
    asked.sort();
    let want: Vec<(usize, usize)> = (0..21).map(|t| (t * 16, if t == 20 { 13 } else { 16 })).collect();
    assert_eq!(asked, want);
    assert_eq!((weight.rows(), weight.cols(), weight.dtype()), (rows, cols, DType::F32));
    let mut out = vec![f32::NAN; cols];
    for row in 0..rows {
        weight.row_into(row, &mut out);
        assert!(out.iter().enumerate().all(|(col, &v)| v == value(row, col)), "row {row}");
    }
}

#[test]
fn an_error_of_the_reader_is_the_error_of_the_weight() {
    let _guard = hold();
    for threads in [1, 3] {
        for bad in [0, 160, 496] {
            let made: Result<Weight, String> =
                Weight::read(&Pool::new(threads), DType::Q8_0, 500, 64, |first, out| {
                    out.fill(0);
                    if first == bad { Err(format!("row {first}: file ends")) } else { Ok(()) }
                });
            assert_eq!(made.err(), Some(format!("row {bad}: file ends")));
        }
        // where all fail, one of the errors comes back
        let made: Result<Weight, usize> =
            Weight::read(&Pool::new(threads), DType::F16, 500, 64, |first, _| Err(first));
        assert_eq!(made.err().map(|first| first % 16), Some(0));
    }
}

#[test]
fn empty_and_broken_shapes() {
    let _guard = hold();
    let none = Weight::from_f32(0, 8, &[]);
    assert_eq!((none.rows(), none.bytes(), none.first_row_not_finite(&Pool::new(2))), (0, 0, None));
    let half_a_block = || Weight::read(&Pool::new(1), DType::Q4_0, 16, 48, |_, _| Ok::<(), ()>(()));
    assert!(std::panic::catch_unwind(half_a_block).is_err());
}
