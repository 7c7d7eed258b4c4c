//! The element types of stored tensors: names, block sizes and the ids that GGUF gives them.

/// Storage type of a tensor. Quantised types store blocks of [`DType::block_len`] consecutive values of a row.
///
/// Block layouts follow the GGUF specification; the ids are those of `ggml_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the field's own
pub enum DType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    Q2K,
    Q3K,
    IQ4NL,
}

/// name, ggml id, values a block, bytes a block
const TABLE: [(DType, &str, u32, usize, usize); 14] = [
    (DType::F32, "F32", 0, 1, 4),
    (DType::F16, "F16", 1, 1, 2),
    (DType::BF16, "BF16", 30, 1, 2),
    (DType::Q4_0, "Q4_0", 2, 32, 18),
    (DType::Q4_1, "Q4_1", 3, 32, 20),
    (DType::Q5_0, "Q5_0", 6, 32, 22),
    (DType::Q5_1, "Q5_1", 7, 32, 24),
    (DType::Q8_0, "Q8_0", 8, 32, 34),
    (DType::Q4K, "Q4_K", 12, 256, 144),
    (DType::Q5K, "Q5_K", 13, 256, 176),
    (DType::Q6K, "Q6_K", 14, 256, 210),
    (DType::Q2K, "Q2_K", 10, 256, 84),
    (DType::Q3K, "Q3_K", 11, 256, 110),
    (DType::IQ4NL, "IQ4_NL", 20, 32, 18),
];

impl DType {
    /// All types, in the order of declaration.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.0)
    }

    /// The type at place `n` of the declaration.
    pub(crate) const fn nth(n: usize) -> DType {
        TABLE[n].0
    }

    /// Whether quants are signed bytes (IQ4_NL: the bytes that its nibbles stand for).
    pub(crate) const fn signed(self) -> bool {
        matches!(self, DType::Q8_0 | DType::IQ4NL)
    }

    /// Whether a block has a minimum beside its scale.
    pub(crate) const fn has_min(self) -> bool {
        matches!(self, DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K | DType::Q2K)
    }

    /// Whether a run of 32 columns has two scales (and two minima, if any).
    pub(crate) const fn halves(self) -> bool {
        matches!(self, DType::Q6K | DType::Q2K | DType::Q3K)
    }

    /// Whether blocks are of 256 columns, with small scales of runs or halves of runs (K types).
    pub(crate) const fn has_blocks(self) -> bool {
        matches!(self, DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K)
    }

    fn row(self) -> &'static (DType, &'static str, u32, usize, usize) {
        &TABLE[self as usize]
    }

    /// The field's name of the type, e.g. `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The `ggml_type` number that GGUF files use.
    pub fn ggml_id(self) -> u32 {
        self.row().2
    }

    /// The type with this `ggml_type` number, or `None` where it is not supported.
    pub fn from_ggml_id(id: u32) -> Option<DType> {
        TABLE.iter().find(|row| row.2 == id).map(|row| row.0)
    }

    /// Values in one block (1 for plain floats).
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of `n` consecutive values, or `None` where `n` is not a whole number of blocks or overflows.
    pub fn bytes_of(self, n: usize) -> Option<usize> {
        if !n.is_multiple_of(self.block_len()) {
            return None;
        }
        (n / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether the type stores blocks with shared scales.
    pub fn is_quantised(self) -> bool {
        self.block_len() > 1
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A half float (IEEE 754 binary16, little-endian) widened.
pub fn f16_to_f32(bytes: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bytes).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_rows_stand_in_the_order_of_the_enum() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, i);
            assert_eq!(DType::from_ggml_id(row.2), Some(row.0));
        }
    }

    #[test]
    fn bytes_of_refuses_broken_blocks() {
        assert_eq!(DType::Q4K.bytes_of(512), Some(288));
        assert_eq!(DType::Q4K.bytes_of(100), None);
        assert_eq!(DType::F32.bytes_of(usize::MAX), None);
    }
}
