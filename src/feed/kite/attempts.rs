//! The attempts to keep one socket open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::backoff::{Backoff, at_least};
use super::dial::{DialError, dial};
use super::keys::Keys;
use super::link::{Down, Ended, Link};
use super::status::{KiteState, SocketStatus};
use super::{Credentials, Settings};

/// The endless series of attempts for one socket. Control side.
pub(super) struct Attempts {
    /// The number of the socket.
    number: usize,
    settings: Arc<Settings>,
    keys: Arc<Keys>,
    handover: Arc<ArrayQueue<Link>>,
    status: Arc<SocketStatus>,
    wake: Arc<dyn Fn() + Send + Sync>,
    backoff: Backoff,
    /// Connections in a row that were closed early and without a tick.
    suspicions: u32,
}

impl Attempts {
    pub(super) fn new(
        number: usize,
        settings: Arc<Settings>,
        keys: Arc<Keys>,
        handover: Arc<ArrayQueue<Link>>,
        status: Arc<SocketStatus>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let backoff = Backoff::new(settings.waits.backoff_first, settings.waits.backoff_most);
        Self { number, settings, keys, handover, status, wake, backoff, suspicions: 0 }
    }

    /// Begins when the socket is `needed`; returns when the duty half is gone.
    pub(super) async fn run(mut self, needed: Arc<Notify>) {
        self.status.set(KiteState::Idle, "not needed so far".to_owned(), None);
        needed.notified().await;
        loop {
            let credentials = match self.keys.credentials(self.status.key).await {
                Ok(credentials) => credentials,
                Err(error) => {
                    self.wait(KiteState::BackingOff, format!("credentials: {error}"), self.settings.waits.credentials)
                        .await;
                    continue;
                }
            };
            if self.keys.refuses(self.status.key, &credentials) {
                self.refused("token rejected on another socket of the key".to_owned(), &credentials, None).await;
                continue;
            }
            self.status.set(KiteState::Connecting, "connecting".to_owned(), None);
            match dial(&self.settings.root, &credentials, &self.settings.waits).await {
                Err(error) => self.failed(error, &credentials).await,
                Ok((socket, fd)) => {
                    let opened = Instant::now();
                    let (link, end) = Link::new(socket, fd);
                    self.handover.force_push(link);
                    tracing::info!(socket = self.number, "upstream connection open");
                    self.status.set_live();
                    (self.wake)();
                    let Ok(ended) = end.await else { return };
                    self.ended(ended, opened.elapsed(), &credentials).await;
                }
            }
        }
    }

    async fn failed(&mut self, error: DialError, credentials: &Credentials) {
        let reason = spoken(credentials, &error.to_string());
        match error {
            DialError::Http { status: 403, .. } => {
                self.keys.refuse(self.status.key, credentials);
                self.refused(format!("token rejected ({reason})"), credentials, None).await;
            }
            DialError::Http { status: 429, .. } => {
                let wait = at_least(self.settings.waits.rate_limited);
                self.wait(KiteState::RateLimited, format!("rate limited ({reason})"), wait).await;
            }
            DialError::Http { status: 400, .. } => {
                let wait = self.backoff.next();
                self.wait(KiteState::BackingOff, format!("malformed request ({reason})"), wait).await;
            }
            // A server that restarts, and the balancer before it.
            DialError::Connect { .. }
            | DialError::Resolve { .. }
            | DialError::Io(_)
            | DialError::Http { status: 502..=504, .. } => {
                let wait = self.backoff.next_unreached();
                self.wait(KiteState::BackingOff, reason, wait).await;
            }
            _ => {
                let wait = self.backoff.next();
                self.wait(KiteState::BackingOff, reason, wait).await;
            }
        }
    }

    async fn ended(&mut self, Ended { down, ticked }: Ended, lasted: Duration, credentials: &Credentials) {
        let reason = spoken(credentials, &down.to_string());
        if ticked || lasted >= self.settings.waits.healthy {
            self.backoff.reset();
            self.suspicions = 0;
        } else if suspicious(&down) {
            self.suspicions += 1;
        } else {
            self.suspicions = 0;
        }
        if self.suspicions >= 2 {
            self.suspicions = 0;
            let reason = format!("token rejected, it seems: closed early twice without a tick ({reason})");
            self.refused(reason, credentials, Some(self.settings.waits.suspicion)).await;
        } else {
            let wait = self.backoff.next();
            self.wait(KiteState::BackingOff, reason, wait).await;
        }
    }

    async fn wait(&self, state: KiteState, reason: String, wait: Duration) {
        tracing::warn!(socket = self.number, reason, wait_ms = wait.as_millis() as u64, "no upstream connection");
        self.status.set(state, reason, Some(wait));
        sleep(wait).await;
    }

    /// Waits until the credentials are others than the `refused` ones, or for `at_most`.
    async fn refused(&mut self, reason: String, refused: &Credentials, at_most: Option<Duration>) {
        let key = self.status.key;
        let (advice, expiry) = (self.keys.advice(key), self.keys.expiry(key));
        tracing::error!(
            socket = self.number,
            reason,
            expiry,
            advice,
            "Kite refuses the access token; there are no ticks until it has another one"
        );
        self.status.set(KiteState::TokenRefused, format!("{reason}, {expiry}; {advice}"), at_most);
        let changed = self.keys.changed_from(key, refused);
        match at_most {
            None => changed.await,
            Some(at_most) => {
                let _ = tokio::time::timeout(at_most, changed).await;
            }
        }
        self.backoff.reset();
    }
}

/// Whether an early end may mean a dead token, which some of Kite's servers accept and drop seconds later. A server
/// that says it restarts or is overloaded means that, and silence is the network's.
fn suspicious(down: &Down) -> bool {
    match down {
        Down::Closed { code, .. } => !matches!(code, Some(1001 | 1012 | 1013)),
        Down::Io(kind) => matches!(kind, std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
        Down::Watchdog | Down::Protocol(_) => false,
    }
}

/// The other side's words, fit for the log: without our secrets, on one line, and no longer than 300 characters.
fn spoken(secrets: &Credentials, text: &str) -> String {
    one_line(&secrets.redact(text))
}

/// At most 300 characters, none of which ends the line or does anything else to a terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}
