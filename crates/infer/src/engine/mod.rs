//! Many at once: sequences of different length, adapter and owner in one forward pass a step.
//!
//! A [`Request`] joins and leaves at any step. Keys and values stand in pages of [`PAGE`] tokens; prompts are read in parts
//! beside those who generate; beginnings that were computed once are used again, within one adapter's generation and
//! one tenant. Because a token's bits do not depend on what is computed beside it, none of this changes an answer: the same
//! request gives the same tokens alone and among others, and after its pages were taken away and made again.
//!
//! ```no_run
//! use nurture_infer::engine::{EngineConfig, EngineHandle, Event, Request};
//! # fn f(model: std::sync::Arc<nurture_model::Decoder>, cpu: std::sync::Arc<nurture_model::Cpu>) -> Result<(), Box<dyn std::error::Error>> {
//! let engine = EngineHandle::start(model, cpu, EngineConfig::default())?;
//! let ticket = engine.submit(Request::new(vec![1, 2, 3], 16, &[2]))?;
//! while let Some(event) = ticket.next_event() {
//!     if let Event::Token(pick) = event {
//!         print!("{} ", pick.token);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod adapters;
mod compute;
mod config;
mod gate;
mod handle;
mod pages;
mod picker;
mod radix;
mod request;
mod schedule;
mod sequence;
mod stats;

pub use adapters::{Loaded, Shelf};
pub use config::EngineConfig;
pub use handle::{Answer, EngineHandle, Ticket};
pub use pages::PAGE;
pub use picker::{Forced, Past, Picked, Picker, Sampled};
pub use request::{Cancel, Event, Finish, Pooling, Refused, Request, Sink, Usage, unit};
pub use schedule::Engine;
pub use stats::Stats;
