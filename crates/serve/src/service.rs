//! What all routes share: the engine, the models, the counters.

use crate::access::Access;
use crate::ask::Rule;
use crate::body::Budget;
use crate::config::ServeConfig;
use crate::error::ApiError;
use crate::http::Caller;
use crate::metrics::Metrics;
use crate::models::{Manner, Models};
use crate::page::{Pages, Workshop};
use crate::store::{Store, StoreError};
use nurture_infer::engine::EngineHandle;
use nurture_infer::{Constraint, Grammars, InferError};
use nurture_model::Cpu;
use nurture_text::Renderer;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Receives the log: one JSON object an event, never with text of prompts or answers. It must be quick.
pub type LogSink = Box<dyn Fn(&Value) + Send + Sync>;

/// The parts of a service.
pub struct Parts {
    /// the engine at work
    pub engine: EngineHandle,
    /// threads that adapters are made ready with
    pub cpu: Arc<Cpu>,
    /// the base's name
    pub name: String,
    /// messages to tokens
    pub renderer: Renderer,
    /// how the base wants its conversations
    pub manner: Manner,
    /// longest sequence that the engine takes, prompt and answer
    pub context: usize,
    /// makes rules for this vocabulary, where answers may be bound to schemas
    pub grammars: Option<Grammars>,
    /// bounds
    pub config: ServeConfig,
    /// where conversations, feedback and keys are kept, if anywhere
    pub store: Option<Store>,
    /// where the log goes
    pub log: LogSink,
}

/// A service: cheap to clone, shared by all requests.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    engine: EngineHandle,
    models: Models,
    context: usize,
    config: ServeConfig,
    metrics: Metrics,
    grammars: Option<Grammars>,
    access: Arc<Access>,
    store: Option<Arc<Store>>,
    log: LogSink,
    begun: Instant,
    closing: AtomicBool,
    /// when the engine's step was last seen to go on; milliseconds since `begun`
    alive: AtomicU64,
    connections: AtomicUsize,
    ids: AtomicU64,
    random: RandomState,
    pages: Pages,
    bodies: Budget,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({:?})", self.0.engine)
    }
}

impl Service {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Service {
        let Parts { engine, cpu, name, renderer, manner, context, grammars, config, store, log } = parts;
        let access = Access::new(config.keys.clone(), config.admin.clone());
        Service(Arc::new(Inner {
            models: Models::new(engine.clone(), cpu, name, renderer, manner, context),
            engine,
            context,
            grammars: grammars.map(|g| g.within(config.rules)),
            config,
            metrics: Metrics::default(),
            access: Arc::new(access),
            store: store.map(Arc::new),
            log,
            begun: Instant::now(),
            closing: AtomicBool::new(false),
            alive: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
            random: RandomState::new(),
            pages: Pages::default(),
            bodies: Budget::default(),
        }))
    }

    /// Takes the adapter in a folder (or in a run's folder) into service under a name.
    ///
    /// # Errors
    /// Anything wrong with it; another base; a name that cannot be.
    pub fn load_adapter(&self, name: &str, dir: &Path) -> Result<(), ApiError> {
        self.0.models.load(name, dir).map(|_| ())
    }

    /// Opens the pages of runs and data; only the first call counts.
    pub fn open_workshop(&self, workshop: Arc<dyn Workshop>) {
        self.0.pages.open(workshop);
    }

    /// Its bounds.
    pub fn config(&self) -> &ServeConfig {
        &self.0.config
    }

    /// The names of all models, the base first.
    pub fn model_names(&self) -> Vec<String> {
        self.0.models.list().iter().map(|m| m.name.clone()).collect()
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// Whether a caller may start runs and load adapters on the pages: with an admin key, or where nobody has any key
    /// and only this machine is listened to.
    pub(crate) fn may_manage(&self, caller: Caller) -> bool {
        caller.admin || (!self.access().any() && self.config().address.ip().is_loopback())
    }

    /// Whether browsers come by TLS, so that cookies are for it alone.
    pub(crate) fn secure(&self) -> bool {
        self.config().tls.is_some()
    }

    /// A rule for one answer.
    pub(crate) fn rule(&self, rule: &Rule) -> Result<Box<dyn Constraint + Send>, ApiError> {
        let (rule, param) = match rule {
            Rule::Schema(schema) => (nurture_infer::Rule::JsonSchema(schema), "response_format"),
            Rule::Lark(lark) => (nurture_infer::Rule::Lark(lark), "tools"),
        };
        let Some(grammars) = &self.0.grammars else {
            let message =
                "this model's vocabulary knows no end of a text, so answers cannot be bound to a schema";
            return Err(ApiError::unsupported(param, message));
        };
        match grammars.rule(rule) {
            Ok(rule) => Ok(Box::new(rule)),
            Err(InferError::RuleMemory { .. }) => Err(ApiError::crowded()),
            Err(e) => Err(ApiError::invalid(param, e.to_string())),
        }
    }

    /// Bytes that the rules of all requests hold.
    pub(crate) fn rule_bytes(&self) -> usize {
        self.0.grammars.as_ref().map_or(0, Grammars::memory)
    }

    /// What it remembers, if it does. In a request use [`Service::with_store`].
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.0.store.as_ref()
    }

    /// Asks the store, on a thread that may wait for the disk.
    pub(crate) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Some(store) = self.0.store.clone() else { return Err(ApiError::no_store()) };
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(|_| ApiError::internal("a fault of ours in the store"))??)
    }

    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.0.access
    }

    /// Whose conversations a caller sees.
    pub(crate) fn owner(&self, caller: Caller) -> String {
        self.0.access.owner(caller)
    }

    /// Whether nobody comes in without a key.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.access.closed()
    }

    /// Reads the store's keys if they changed, and saves what was used. Waits for the disk.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sync(&self) -> Result<(), StoreError> {
        match &self.0.store {
            Some(store) => self.0.access.sync(store),
            None => Ok(()),
        }
    }

    /// [`Service::sync`] in a request.
    pub(crate) async fn sync_aside(&self) -> Result<(), ApiError> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || own.sync()).await;
        Ok(done.map_err(|_| ApiError::internal("a fault of ours in the store"))??)
    }

    /// Notes what an administrator did, where there is a store.
    pub(crate) async fn note(
        &self,
        caller: Caller,
        action: &'static str,
        object: &str,
    ) -> Result<(), ApiError> {
        if self.0.store.is_none() {
            return Ok(());
        }
        let (actor, object) = (self.owner(caller), object.to_string());
        self.with_store(move |s| s.note(&actor, action, &object)).await
    }

    /// Longest sequence, prompt and answer.
    pub(crate) fn context(&self) -> usize {
        self.0.context
    }

    pub(crate) fn engine(&self) -> &EngineHandle {
        &self.0.engine
    }

    pub(crate) fn models(&self) -> &Models {
        &self.0.models
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn log(&self, line: &Value) {
        (self.0.log)(line);
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.begun.elapsed()
    }

    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(SeqCst)
    }

    /// What bodies take.
    pub(crate) fn bodies(&self) -> &Budget {
        &self.0.bodies
    }

    /// Counts a connection while the guard lives.
    pub(crate) fn connected(&self) -> Connected {
        self.0.connections.fetch_add(1, SeqCst);
        Connected(self.0.clone())
    }

    /// A new number that nobody can guess and no other request has.
    pub(crate) fn random(&self) -> u64 {
        self.0.random.hash_one((self.0.ids.fetch_add(1, SeqCst), Instant::now()))
    }

    /// No more requests; what runs goes on.
    pub(crate) fn close(&self) {
        self.0.closing.store(true, SeqCst);
        self.0.engine.close();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.load(SeqCst)
    }

    /// Notes that the engine goes on, or has nothing to do.
    pub(crate) fn note_alive(&self) {
        self.0.alive.store(self.uptime().as_millis() as u64, SeqCst);
    }

    /// How long the engine has not been seen to go on.
    pub(crate) fn stalled(&self) -> Duration {
        self.uptime().saturating_sub(Duration::from_millis(self.0.alive.load(SeqCst)))
    }
}

/// A connection that is counted.
pub(crate) struct Connected(Arc<Inner>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, SeqCst);
    }
}
