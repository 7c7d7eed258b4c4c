//! Raise a deep model: one binary and one library from data to a tuned, examined model.
//!
//! [`engine`] is the way in for Rust programs; the `nurture` command is in `main.rs` and `cli`.
//! Nothing in this library prints, reads the environment or exits.

pub mod compare;
pub mod date;
pub mod embed;
pub mod endpoint;
pub mod engine;
pub mod export;
pub mod feedback;
mod json_lines;
pub mod lang;
pub mod messages;
pub mod network;
pub mod pairs;
pub mod pipeline;
pub mod recipe;
pub mod report;
pub mod seeds;
pub mod translate;
pub mod workshop;

pub use nurture_data as data;
pub use nurture_eval as eval;
pub use nurture_formats as formats;
pub use nurture_hub as hub;
pub use nurture_infer as infer;
pub use nurture_kernels as kernels;
pub use nurture_model as model;
pub use nurture_quantise as quantise;
pub use nurture_reward as reward;
pub use nurture_serve as serve;
pub use nurture_text as text;
pub use nurture_train as train;
