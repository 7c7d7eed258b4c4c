//! Objectives, optimisers, schedules, the training loop, checkpoints, forecast and metrics.
//!
//! The way through: [`TrainConfig`] says how to train; [`forecast()`] what it will take; a [`Trainer`] goes through the
//! steps of a plan, each one a [`Learner::update`] (all micro-batches, then one step of the optimiser), writes a line of
//! `metrics.jsonl` a step and a checkpoint now and then, and saves the adapter or the network ([`Subject`]). Killed anywhere and resumed, it ends
//! with the same bytes, whatever the number of threads: a step depends on the configuration, the examples and its
//! number, never on the clock.
//!
//! Left out on purpose: text and templates (examples come as tokens), HTTP, pages, and whatever prints.

mod checkpoint;
mod config;
mod deferred;
mod digest;
mod divergence;
mod error;
mod events;
mod examples;
mod flops;
mod forecast;
mod identity;
mod keep;
mod layout;
mod learner;
mod metrics;
mod muon;
mod optimiser;
pub mod pairs;
mod preference;
mod process;
mod pupil;
pub mod reinforce;
mod schedule;
mod schedule_free;
mod subject;
mod trainer;
mod writer;

pub use checkpoint::CHECKPOINTS;
pub use config::{Init, Optimiser, RunLength, TrainConfig};
pub use deferred::{Found, Objective, Reads};
pub use divergence::{Divergence, OnDivergence};
pub use error::{TrainError, Warning};
pub use events::EVENTS;
pub use flops::{FlopsPerToken, useful_flop, useful_gflop_per_token};
pub use forecast::{FORECAST, Forecast, ForecastRow, Tried, forecast, preference_flop};
pub use keep::{Keep, Lessons};
pub use layout::lay_out;
pub use learner::{Learner, Update};
pub use metrics::{METRICS, RewardMetrics, StepMetrics, read_metrics};
pub use preference::{
    Answer, DpoLoss, PairLoss, Preference, PreferenceMethod, Rewards, judged_loss, pair_loss, ranking_loss,
};
pub use process::{peak_rss, rss};
pub use schedule::Schedule;
pub use subject::Subject;
pub use trainer::{Outcome, RunFiles, Trainer};
