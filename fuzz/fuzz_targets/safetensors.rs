//! Any bytes as a safetensors file: an error or a file whose every tensor can be read.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run safetensors -- -max_total_time=600`

#![no_main]

use libfuzzer_sys::fuzz_target;
use nurture_formats::{SafetensorsFile, TensorSource};

fuzz_target!(|bytes: &[u8]| {
    match SafetensorsFile::from_source("fuzz.safetensors", bytes.to_vec()) {
        Ok(file) => {
            for info in file.tensors() {
                let mut buf = vec![0; info.bytes as usize];
                file.read_into(info, 0, &mut buf).expect("a checked tensor can be read");
                assert_eq!(info.dtype.bytes_of(info.len()), Some(buf.len()));
            }
            let _ = file.tensor("no such tensor").unwrap_err().to_string();
        }
        Err(error) => assert!(error.to_string().len() < 4000, "a message of sensible length"),
    }
});
