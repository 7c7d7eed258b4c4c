//! Adapters by name, and the generation that tells one from its successor of the same name.

use nurture_model::{Adapter, Config, PROJECTIONS};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Generations given so far in this process. 0 is the base.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// An adapter in service. Two never have the same generation, whatever their names.
#[derive(Debug)]
pub struct Loaded {
    name: String,
    generation: u64,
    adapter: Adapter,
}

impl Loaded {
    /// Takes an adapter into service.
    pub fn new(name: impl Into<String>, adapter: Adapter) -> Arc<Loaded> {
        let generation = GENERATIONS.fetch_add(1, Relaxed) + 1;
        Arc::new(Loaded { name: name.into(), generation, adapter })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What keys its cached pages.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The adapter itself.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Says what does not fit a network of this shape.
    pub(crate) fn misfit(&self, c: &Config) -> Option<String> {
        for l in 0..c.layers {
            for p in PROJECTIONS {
                let Some(pair) = self.adapter.pair(l, p) else { continue };
                let (d, n) = p.shape(c);
                let rank = pair.rank();
                if rank == 0 || pair.a().len() != rank * d || pair.b().len() != rank * n {
                    return Some(format!(
                        "module {} has {} and {} values at rank {rank}, the base asks for {} and {}",
                        p.module(l),
                        pair.a().len(),
                        pair.b().len(),
                        rank * d,
                        rank * n
                    ));
                }
            }
        }
        None
    }
}

/// The adapters in service by name. A name that is loaded again gets a new generation; requests that hold the old one end
/// on it.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<HashMap<String, Arc<Loaded>>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Loaded>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Puts an adapter in its place; gives the one that stood there.
    pub fn put(&self, adapter: Arc<Loaded>) -> Option<Arc<Loaded>> {
        self.lock().insert(adapter.name.clone(), adapter)
    }

    /// The adapter of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Loaded>> {
        self.lock().get(name).cloned()
    }

    /// Takes an adapter out of service.
    pub fn remove(&self, name: &str) -> Option<Arc<Loaded>> {
        self.lock().remove(name)
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Arc<Loaded>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
