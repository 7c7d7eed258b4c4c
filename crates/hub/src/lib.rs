//! The catalogue of models and data sets, pull, and the content-addressed cache.
//!
//! ```no_run
//! use nurture_hub::{PullOptions, Store, default_root, pull};
//!
//! let env = |key: &str| std::env::var(key).ok();
//! let root = default_root(env).ok_or("no home directory")?;
//! let store = Store::new(root);
//! let got = pull("smollm2-135m-instruct", &store, &PullOptions::from_env(env), &mut |_| {})?;
//! println!("{} from {}", got.path.display(), got.source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a name means is decided in [`Reference`]; where its bytes come from is tried in the order of the
//! catalogue; what arrives is hashed while it is written and becomes visible only when it is whole and right.
//! This crate does not know what is inside the files, never prints and never reads the environment.
//!
//! Reading order: `catalogue.toml`, `reference.rs`, `pull.rs`, `store.rs`, `part.rs`, `http.rs`, `pip.rs`, `npm.rs`.

mod catalogue;
mod child;
mod error;
mod fs;
mod hash;
mod http;
mod list;
mod listing;
mod npm;
mod options;
mod part;
mod pip;
mod progress;
mod pull;
mod reference;
mod store;

pub use catalogue::{Catalogue, Entry, Kind, NpmForm, NpmPackage, PipPackage, Source, SourceKind, Text};
pub use error::{Attempt, FailureKind, HubError};
pub use list::{Listed, State, list, resolve, verify};
pub use options::{ProxySettings, PullOptions, Token};
pub use progress::Progress;
pub use pull::{Pulled, pull};
pub use reference::{Hub, HubId, HubPick, Reference};
pub use store::{Store, default_root};
