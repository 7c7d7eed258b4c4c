//! The engine on a thread of its own, and what others hold of it.

use super::adapters::{Loaded, Shelf};
use super::config::EngineConfig;
use super::gate::Gate;
use super::request::{Cancel, Event, Finish, Refused, Request, Sink, Usage};
use super::schedule::Engine;
use super::stats::Stats;
use nurture_model::{Adapter, Cpu, Decoder};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

enum Command {
    Submit(Box<Request>, Box<dyn Sink>, Cancel),
    Forget(Arc<Loaded>),
    ForgetAll,
    Stop,
}

struct Inner {
    model: Arc<Decoder>,
    gate: Arc<Gate>,
    shelf: Shelf,
    commands: Sender<Command>,
    stats: Mutex<Stats>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// An engine at work on its own thread. Cheap to clone; nothing here waits for a step, so that asynchronous code may call
/// it. When the last handle is gone the engine ends what it has and stops.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineHandle({:?})", self.stats())
    }
}

impl EngineHandle {
    /// Starts an engine.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(model: Arc<Decoder>, cpu: Arc<Cpu>, config: EngineConfig) -> std::io::Result<EngineHandle> {
        let engine = Engine::new(model.clone(), cpu, config);
        let (commands, inbox) = channel();
        let inner = Arc::new(Inner {
            gate: engine.gate(),
            model,
            shelf: Shelf::default(),
            commands,
            stats: Mutex::new(engine.stats()),
            thread: Mutex::new(None),
        });
        let publish = Arc::downgrade(&inner);
        let thread = std::thread::Builder::new().name("nurture-engine".into()).spawn(move || {
            work(engine, &inbox, |stats| {
                if let Some(inner) = publish.upgrade() {
                    *inner.stats.lock().unwrap_or_else(|e| e.into_inner()) = stats;
                }
            });
        })?;
        *inner.thread.lock().unwrap_or_else(|e| e.into_inner()) = Some(thread);
        Ok(EngineHandle(inner))
    }

    /// Hands in a request; its events come through the ticket. Dropping the ticket cancels it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn submit(&self, request: Request) -> Result<Ticket, Refused> {
        let (sender, events) = channel();
        let cancel = self.submit_with(request, move |event| sender.send(event).is_ok())?;
        Ok(Ticket { events, cancel })
    }

    /// Hands in a request whose events go to `sink`, on the engine's threads.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn submit_with(&self, request: Request, sink: impl Sink + 'static) -> Result<Cancel, Refused> {
        self.0.gate.enter(&request, self.0.model.config())?;
        let cancel = Cancel::default();
        let command = Command::Submit(Box::new(request), Box::new(sink), cancel.clone());
        if self.0.commands.send(command).is_err() {
            self.0.gate.leave();
            return Err(Refused::Gone);
        }
        Ok(cancel)
    }

    /// What the engine did until its last step.
    pub fn stats(&self) -> Stats {
        self.0.stats.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Most requests that may wait.
    pub fn queue(&self) -> usize {
        self.0.gate.most_waiting()
    }

    /// The network.
    pub fn model(&self) -> &Arc<Decoder> {
        &self.0.model
    }

    /// Takes an adapter into service under a name. One that had the name goes out of service: requests that use it end on
    /// it, its kept pages are dropped.
    ///
    /// # Errors
    /// An adapter of another base.
    pub fn load_adapter(&self, name: &str, adapter: Adapter) -> Result<Arc<Loaded>, Refused> {
        let loaded = Loaded::new(name, adapter);
        if let Some(problem) = loaded.misfit(self.0.model.config()) {
            return Err(Refused::Adapter { name: name.to_string(), problem });
        }
        if let Some(old) = self.0.shelf.put(loaded.clone()) {
            _ = self.0.commands.send(Command::Forget(old));
        }
        Ok(loaded)
    }

    /// Takes an adapter out of service; `false` where there is none of that name.
    pub fn unload_adapter(&self, name: &str) -> bool {
        let old = self.0.shelf.remove(name);
        old.map(|old| self.0.commands.send(Command::Forget(old))).is_some()
    }

    /// The adapter in service under a name.
    pub fn adapter(&self, name: &str) -> Option<Arc<Loaded>> {
        self.0.shelf.get(name)
    }

    /// All adapters in service, by name.
    pub fn adapters(&self) -> Vec<Arc<Loaded>> {
        self.0.shelf.list()
    }

    /// Drops all pages that were kept for later requests.
    pub fn forget_all(&self) {
        _ = self.0.commands.send(Command::ForgetAll);
    }

    /// Takes no more requests; what runs and waits goes on.
    pub fn close(&self) {
        self.0.gate.close();
    }

    /// Closes, ends what runs and waits, and returns when the engine has stopped. Cancel tickets first to be quick.
    pub fn drain(&self) {
        self.close();
        _ = self.0.commands.send(Command::Stop);
        let thread = self.0.thread.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(thread) = thread {
            _ = thread.join();
        }
    }
}

fn work(mut engine: Engine, inbox: &Receiver<Command>, publish: impl Fn(Stats)) {
    let mut open = true;
    loop {
        // without work: wait for some
        let mut command = match engine.idle() {
            true if !open => return,
            true => match inbox.recv() {
                Ok(command) => Some(command),
                Err(_) => return,
            },
            false => inbox.try_recv().ok(),
        };
        while let Some(c) = command {
            match c {
                Command::Submit(request, sink, cancel) => engine.accept(*request, sink, cancel),
                Command::Forget(adapter) => engine.forget(&adapter),
                Command::ForgetAll => engine.forget_all(),
                Command::Stop => open = false,
            }
            command = inbox.try_recv().ok();
        }
        if catch_unwind(AssertUnwindSafe(|| engine.step())).is_err() {
            engine.fail_all("the engine met a fault of its own and started anew");
        }
        publish(engine.stats());
    }
}

/// A request at work. Dropping it cancels the request.
#[derive(Debug)]
pub struct Ticket {
    events: Receiver<Event>,
    cancel: Cancel,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// the generated tokens
    pub tokens: Vec<u32>,
    /// why it ended
    pub finish: Finish,
    /// counts and times
    pub usage: Usage,
    /// other events, in their order
    pub others: Vec<Event>,
}

impl Ticket {
    /// The next event; `None` after the last one.
    pub fn next_event(&self) -> Option<Event> {
        self.events.recv().ok()
    }

    /// The next event, if it comes in time.
    ///
    /// # Errors
    /// The time is over, or there are no more events.
    pub fn next_within(&self, time: Duration) -> Result<Event, RecvTimeoutError> {
        self.events.recv_timeout(time)
    }

    /// Ends it early.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the whole answer.
    pub fn wait(self) -> Answer {
        let (mut tokens, mut others) = (Vec::new(), Vec::new());
        while let Some(event) = self.next_event() {
            match event {
                Event::Token(pick) => tokens.push(pick.token),
                Event::Done(finish, usage) => return Answer { tokens, finish, usage, others },
                other => others.push(other),
            }
        }
        let finish = Finish::Failed(Refused::Gone.to_string());
        Answer { tokens, finish, usage: Usage::default(), others }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
