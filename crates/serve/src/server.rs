//! Listening: connections within their bounds, and a way out that loses nobody.

use crate::error::ApiError;
use crate::health;
use crate::http::Peer;
use crate::routes::router;
use crate::service::Service;
use crate::slow::WriteLimit;
use crate::store::StoreError;
use crate::tls;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

/// Most headers and bytes of a request's head.
const HEADERS: usize = 100;
const HEAD_BYTES: usize = 32 << 10;

/// Why a service cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could reach it, and nothing would keep them out.
    #[error("{0} can be reached from other machines: that needs an API key (or listen to 127.0.0.1)")]
    OpenWithoutKey(SocketAddr),
    /// The address cannot be listened to.
    #[error("cannot listen to {address}: {source}")]
    Listen {
        /// the address
        address: SocketAddr,
        /// why
        source: std::io::Error,
    },
    /// The store's keys cannot be read.
    #[error(transparent)]
    Store(StoreError),
    /// The certificate or its key cannot be used.
    #[error("{}: {why}", path.display())]
    Tls {
        /// the file
        path: PathBuf,
        /// why
        why: String,
    },
    /// No threads.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
}

/// A service that listens and is not yet at work.
pub struct Server {
    service: Service,
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({:?}, tls: {})", self.listener, self.tls.is_some())
    }
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// An address that is taken, or open to others without a key.
    pub fn bind(service: Service) -> Result<Server, ServeError> {
        let config = service.config();
        let address = config.address;
        service.sync().map_err(ServeError::Store)?;
        if !address.ip().is_loopback() && !service.is_closed() {
            return Err(ServeError::OpenWithoutKey(address));
        }
        let tls = config.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key)).transpose()?;
        let failed = |source| ServeError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Server { service, listener, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` says so (it is asked ten times a second), then takes nothing new, lets what runs end within the
    /// time for that, and returns when the engine has stopped.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn run(self, stop: impl Fn() -> bool) -> Result<(), ServeError> {
        // two threads: a long text on one does not stop health checks on the other; products have their own threads
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .thread_name("nurture-http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServeError::Start)?;
        let service = self.service.clone();
        let result = runtime.block_on(self.serve(stop));
        // what is left is cancelled with its tasks
        runtime.shutdown_timeout(Duration::from_secs(1));
        service.engine().drain();
        // what was used since the last second
        if let Err(e) = service.sync() {
            service.log(&json!({ "event": "store failed", "why": e.to_string() }));
        }
        result
    }

    async fn serve(self, stop: impl Fn() -> bool) -> Result<(), ServeError> {
        let Server { service, listener, tls } = self;
        let listener = TcpListener::from_std(listener).map_err(ServeError::Start)?;
        let app = router(service.clone());
        let graceful = GracefulShutdown::new();
        let open = Arc::new(PerAddress::default());
        tokio::spawn(health::watch(service.clone()));
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            let accepted = tokio::select! {
                _ = tick.tick() => {
                    if stop() {
                        break;
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => connect(&service, &app, &graceful, &open, &tls, stream, peer.ip()),
                // too many open files: others must end first
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        drop(listener);
        let stats = service.engine().stats();
        service.log(&json!({ "event": "closing", "running": stats.running, "waiting": stats.waiting }));
        service.close();
        let ended = tokio::time::timeout(service.config().drain, graceful.shutdown()).await.is_ok();
        service.log(&json!({ "event": "closed", "all_ended": ended }));
        Ok(())
    }
}

fn connect(
    service: &Service,
    app: &axum::Router,
    graceful: &GracefulShutdown,
    open: &Arc<PerAddress>,
    tls: &Option<TlsAcceptor>,
    stream: TcpStream,
    peer: IpAddr,
) {
    let config = service.config();
    let (all, one) = config.connections;
    let full = service.connections() >= all;
    // beyond the bounds the connection is simply closed: an answer would need the same means
    let Some(place) = open.enter(peer, if peer.is_loopback() { all } else { one }).filter(|_| !full) else {
        return;
    };
    let counted = service.connected();
    _ = stream.set_nodelay(true);
    let stream = WriteLimit::new(stream, config.write_time);
    let (app, guard) = (app.clone(), (place, counted));
    let handler = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let mut app = app.clone();
        async move {
            // a fault of ours ends one request with an answer, not the connection of others
            let answer = tokio::spawn(async move { app.call(request.map(Body::new)).await });
            let mut own = Abort(answer);
            let answer = (&mut own.0).await;
            match answer {
                Ok(response) => response,
                Err(_) => Ok(ApiError::internal("a fault of ours; please report it").into_response()),
            }
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.head_time)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let (watcher, tls, head_time) = (graceful.watcher(), tls.clone(), config.head_time);
    tokio::spawn(async move {
        // what a client does wrong here ends its own connection
        match tls {
            None => _ = watcher.watch(http.serve_connection(TokioIo::new(stream), handler)).await,
            Some(tls) => {
                // a handshake that stands still is a head that does not come
                if let Ok(Ok(stream)) = tokio::time::timeout(head_time, tls.accept(stream)).await {
                    _ = watcher.watch(http.serve_connection(TokioIo::new(stream), handler)).await;
                }
            }
        }
        drop(guard);
    });
}

/// A task that ends with the one who waits for it: a client that goes away ends its request.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Open connections by address.
#[derive(Debug, Default)]
struct PerAddress(Mutex<HashMap<IpAddr, usize>>);

impl PerAddress {
    fn enter(self: &Arc<PerAddress>, peer: IpAddr, most: usize) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let count = open.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), peer))
    }
}

struct Place(Arc<PerAddress>, IpAddr);

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}
