//! The bounds of a service.

use crate::keys::Keys;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a service listens and what it bears.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// where it listens
    pub address: SocketAddr,
    /// keys of the API; needed where `address` is not of this machine alone
    pub keys: Keys,
    /// keys that may load and unload adapters; without any, nobody may
    pub admin: Keys,
    /// names under which browsers may reach it, beside those of this machine (`Host` header, without port)
    pub hosts: Vec<String>,
    /// certificate chain and private key (PEM files): then only HTTPS is spoken
    pub tls: Option<(PathBuf, PathBuf)>,
    /// longest time of a request
    pub timeout: Duration,
    /// time that requests get to end when the service goes down
    pub drain: Duration,
    /// most bytes of a body
    pub body: usize,
    /// time to send a request's head, and to begin the next one on the same connection
    pub head_time: Duration,
    /// time to send a body
    pub body_time: Duration,
    /// time in which a client must take something of what is sent to it
    pub write_time: Duration,
    /// most connections, in all and from one address that is not of this machine
    pub connections: (usize, usize),
    /// most choices for one prompt (`n`)
    pub choices: usize,
    /// most prompts in one request
    pub prompts: usize,
    /// bytes that the rules (schemas, forced tools) of all requests may take together
    pub rules: usize,
    /// whether guesses of the next tokens may save steps; answers are the same with them and without
    pub drafts: bool,
}

impl ServeConfig {
    /// The usual bounds.
    pub fn new(address: SocketAddr) -> ServeConfig {
        let seconds = Duration::from_secs;
        ServeConfig {
            address,
            keys: Keys::default(),
            admin: Keys::default(),
            hosts: Vec::new(),
            tls: None,
            timeout: seconds(600),
            drain: seconds(30),
            body: 8 << 20,
            head_time: seconds(30),
            body_time: seconds(30),
            write_time: seconds(60),
            connections: (256, 32),
            choices: 8,
            prompts: 128,
            rules: 256 << 20,
            drafts: true,
        }
    }
}
