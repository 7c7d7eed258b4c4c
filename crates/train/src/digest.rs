//! SHA-256 in hexadecimal.

use sha2::{Digest as _, Sha256};

#[derive(Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// Bytes with their length before them, so that no two lists of parts run together.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    pub(crate) fn count(&mut self, n: usize) {
        self.0.update((n as u64).to_le_bytes());
    }

    /// Bytes alone, as a part of something whose length was counted.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Values as little-endian bytes, with their number before them.
    pub(crate) fn words<const N: usize, T: Copy>(&mut self, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
        self.count(values.len());
        let mut buffer = Vec::with_capacity(values.len().min(16 * 1024) * N);
        for chunk in values.chunks(16 * 1024) {
            buffer.clear();
            buffer.extend(chunk.iter().flat_map(|&v| bytes(v)));
            self.0.update(&buffer);
        }
    }

    pub(crate) fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
