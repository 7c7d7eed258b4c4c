//! Element types that GGUF files may hold and Nurture does not compute with: known well enough to name them and
//! to step over their data.

use nurture_kernels::DType;

/// id, name, values a block, bytes a block; from ggml's type table.
const FOREIGN: [(u32, &str, usize, usize); 18] = [
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
];

/// Values and bytes of one block, or `None` for an unknown id.
pub(super) fn block(id: u32) -> Option<(usize, usize)> {
    match DType::from_ggml_id(id) {
        Some(dtype) => Some((dtype.block_len(), dtype.block_bytes())),
        None => FOREIGN.iter().find(|row| row.0 == id).map(|row| (row.2, row.3)),
    }
}

/// The type's name, or its number where it is unknown.
pub(super) fn name(id: u32) -> String {
    match DType::from_ggml_id(id) {
        Some(dtype) => dtype.name().to_string(),
        None => FOREIGN
            .iter()
            .find(|row| row.0 == id)
            .map_or_else(|| format!("ggml type {id}"), |row| row.1.to_string()),
    }
}
