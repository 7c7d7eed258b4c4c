//! What was raised, in other people's forms: GGUF of any type, a Hugging Face folder, a PEFT or GGUF adapter, and the proof
//! that what was written answers as the trainer did.

mod card;
mod gguf;
mod hf;
mod keys;
mod lora;
mod verify;

pub use card::{Card, TAGS, card};
pub use gguf::{Written, quantise, write_model};
pub use hf::{ConfigDialect, HfOptions, write_hf};
pub use lora::{peft_config, read_gguf_lora, write_gguf_lora};
pub use verify::{Parity, Reference, compare, reference};
