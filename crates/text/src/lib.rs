//! Tokenizer, chat template, and the one renderer from messages to tokens with loss mask.
//! Knows nothing of tensors.
//!
//! ```text
//! Message ─ ChatTemplate ─> text ─ Tokenizer ─> ids        Renderer does both, guards the contents, finds the mask
//! ```

mod error;
mod guard;
mod message;
mod render;
mod show;
mod template;
mod tokenizer;
mod tool_style;
mod train_bpe;

pub use error::{Result, TextError};
pub use message::Message;
pub use render::{Rendered, Renderer, TrainedTurn};
pub use template::{ChatTemplate, Clock, MAX_SOURCE_BYTES, RenderOptions};
pub use tokenizer::{
    Encoded, GgufTokenizerKeys, GgufVocabulary, HfTokenizerFiles, SpecialNames, StreamDecoder, Tokenizer,
    TokenizerFiles,
};
pub use tool_style::ToolStyle;
pub use train_bpe::{TrainBpe, WordCounts};
