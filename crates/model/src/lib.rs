//! The network: configuration, linear layers with LoRA, the decoder and its KV cache; forward and backward.
//!
//! One decoder serves every family; a family is a small file that maps the names and keys that
//! `nurture-formats` hands out to [`Config`] and [`families::Names`]. This crate knows neither text nor
//! optimisers nor where files lie, and it never indexes a raw slice: it calls the operations of
//! `nurture-kernels` on buffers.
//!
//! Shape letters: `T` tokens of a batch, `D` width, `H` heads, `K` key/value heads, `F` width of the MLP,
//! `V` vocabulary, `R` LoRA rank.

mod adapter;
mod batch;
#[cfg(test)]
mod company_tests;
mod config;
mod decoder;
mod dora;
mod error;
pub mod families;
mod keep;
mod load;
mod loss;
mod memory;
mod merge;
mod moe;
mod newborn;
mod norm;
mod own;
mod parameters;
mod pissa;
mod product;
pub mod seq2seq;
mod shape;
mod sink;
mod training;

pub use adapter::{Adapter, AdapterGrads, LoraSpec, PROJECTIONS, Projection};
pub use batch::{Batch, KvCache};
pub use config::{Config, Experts, Family, MlpKind, NormKind, Positions, RopeScaling};
pub use decoder::{AdapterRows, Block, Buffers, Decoder, Mlp, Projected};
pub use dora::Magnitude;
pub use error::ModelError;
pub use keep::KeepRows;
pub use loss::{Deferred, Objective, ScoreOptions, Scores, ValueHead};
pub use memory::{Learning, MemoryRow, TrainingShape, keep_memory, memory_table};
pub use moe::{Expert, Mixture};
pub use norm::NormWeights;
pub use nurture_kernels::{Activation, Cpu, KvType, Softening, Span};
pub use own::TokenRows;
pub use parameters::{Freeze, ModelGrads, Norm, Parameter, Slot};
pub use product::Mode;
pub use shape::{Form, Shape};
pub use training::{LossRow, Noise, PassOptions, TrainBatch, TrainBuffers, Trainee};
