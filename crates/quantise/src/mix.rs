//! Which tensor of a model gets which type: the mixes that llama.cpp's names stand for, so that a file called Q4_K_M is
//! what everybody expects by that name.
//!
//! The head (or the embedding that serves as head) is the most sensitive tensor and gets Q6_K where the mix is below Q8_0.
//! "M" mixes spend Q6_K on values and on the way down of the MLP in the first and last eighth of the layers and in every
//! third between. Rows that are not whole blocks of 256 take the nearest type of blocks of 32.

use nurture_kernels::DType;
use std::fmt;
use std::str::FromStr;

/// A named mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)] // the names are the field's own
pub enum Mix {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q4_K_M,
    Q5_K_M,
    Q6_K,
}

/// name, type of most tensors, llama.cpp's number of the file type
const TABLE: [(Mix, &str, DType, u32); 9] = [
    (Mix::F32, "F32", DType::F32, 0),
    (Mix::F16, "F16", DType::F16, 1),
    (Mix::BF16, "BF16", DType::BF16, 32),
    (Mix::Q8_0, "Q8_0", DType::Q8_0, 7),
    (Mix::Q4_0, "Q4_0", DType::Q4_0, 2),
    (Mix::Q4_1, "Q4_1", DType::Q4_1, 3),
    (Mix::Q4_K_M, "Q4_K_M", DType::Q4K, 15),
    (Mix::Q5_K_M, "Q5_K_M", DType::Q5K, 17),
    (Mix::Q6_K, "Q6_K", DType::Q6K, 18),
];

/// What a tensor is, as far as mixes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// the head, or the embedding of a model without a head of its own
    Head,
    /// values of attention
    Value,
    /// the way down of the MLP
    Down,
    /// any other matrix
    Matrix,
    /// norms, biases, frequencies: always F32
    Vector,
}

/// A tensor's part in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorRole {
    /// what it is
    pub kind: Kind,
    /// its layer, and how many there are
    pub layer: (usize, usize),
    /// values a row
    pub cols: usize,
}

impl TensorRole {
    /// The role of a tensor by its GGUF name. `tied`: the model has no `output.weight`.
    pub fn of(name: &str, shape: &[usize], layers: usize, tied: bool) -> TensorRole {
        let mut parts = name.split('.');
        let layer = match (parts.next(), parts.next()) {
            (Some("blk"), Some(n)) => n.parse().unwrap_or(0),
            _ => 0,
        };
        let kind = match () {
            () if shape.len() < 2 || !name.ends_with(".weight") || name.contains("_norm.") => Kind::Vector,
            // what chooses experts, and what a position adds: small, and read as floats by others
            () if name.ends_with(".ffn_gate_inp.weight") || name == "position_embd.weight" => Kind::Vector,
            () if name == "output.weight" || (tied && name == "token_embd.weight") => Kind::Head,
            () if name.ends_with(".attn_v.weight") => Kind::Value,
            () if name.ends_with(".ffn_down.weight") || name.ends_with(".ffn_down_exps.weight") => Kind::Down,
            () => Kind::Matrix,
        };
        TensorRole { kind, layer: (layer, layers), cols: shape.last().copied().unwrap_or(1) }
    }
}

impl Mix {
    /// All mixes.
    pub fn all() -> impl Iterator<Item = Mix> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Mix, &'static str, DType, u32) {
        &TABLE[self as usize]
    }

    /// Its name, e.g. `Q4_K_M`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.row().3
    }

    /// The type of most tensors.
    pub fn dtype(self) -> DType {
        self.row().2
    }

    /// Whether it quantises.
    pub fn is_quantised(self) -> bool {
        self.dtype().is_quantised()
    }

    /// The type of a tensor.
    pub fn dtype_of(self, tensor: TensorRole) -> DType {
        let base = self.dtype();
        if tensor.kind == Kind::Vector {
            return DType::F32;
        }
        if !base.is_quantised() {
            return base;
        }
        let many = matches!(self, Mix::Q4_K_M | Mix::Q5_K_M) && more_bits(tensor.layer);
        let wanted = match tensor.kind {
            Kind::Head if base != DType::Q8_0 => DType::Q6K,
            Kind::Value | Kind::Down if many => DType::Q6K,
            _ => base,
        };
        fitting(wanted, tensor)
    }
}

/// Layers that get more bits in "M" mixes.
fn more_bits((layer, layers): (usize, usize)) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// The type itself, or the nearest one whose blocks the rows are.
fn fitting(wanted: DType, tensor: TensorRole) -> DType {
    if tensor.cols.is_multiple_of(wanted.block_len()) {
        return wanted;
    }
    let narrow = match wanted {
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        _ => DType::Q8_0,
    };
    if tensor.cols.is_multiple_of(narrow.block_len()) { narrow } else { DType::F16 }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let found = TABLE.iter().find(|row| row.1.eq_ignore_ascii_case(text));
        found.map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
            format!("\"{text}\" is no type of file; it can be {}", names.join(", "))
        })
    }
}
