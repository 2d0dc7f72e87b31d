//! A connection's hold on its session.

use super::counters::Refused;
use super::record::SessionState;
use super::sessions::{Restored, Sessions};
use super::token::SessionId;
use crate::identity::principal::Principal;
use crate::secret::Secret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// See the module. One for each connection that speaks a protocol with resumption; without a session until one is issued
/// or restored. Dropped with the connection: from then on the session waits to be resumed.
#[derive(Debug)]
pub struct Ticket {
    sessions: Arc<Sessions>,
    /// When anything came from the client last, monotonic.
    heard_ns: Arc<AtomicU64>,
    /// Boxed: most connections hold nothing.
    held: Option<Box<Held>>,
}

/// What a connection holds.
#[derive(Debug)]
pub(super) struct Held {
    pub id: SessionId,
    pub fence: u64,
    pub token: Secret,
    /// The connection, as the sessions know it.
    pub line: Line,
}

/// What sessions know of a connection.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Rung when somebody else has resumed the session.
    pub taken: Arc<Notify>,
    /// When anything came from the client last, monotonic.
    pub heard_ns: Arc<AtomicU64>,
}

impl Ticket {
    /// Without a session.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        let heard_ns = Arc::new(sessions.now_ns().into());
        Self { sessions, heard_ns, held: None }
    }

    /// Something came from the client just now: what was sent before has arrived, as far as can be known.
    pub fn heard(&self) {
        self.heard_ns.store(self.sessions.now_ns(), Ordering::Relaxed);
    }

    fn line(&self) -> Line {
        Line { taken: Arc::default(), heard_ns: Arc::clone(&self.heard_ns) }
    }

    /// The token by which the session can be resumed, issued if there is none; `None` where sessions are not kept.
    pub fn issue(&mut self, principal: &Principal) -> Option<&Secret> {
        if self.held.is_none() {
            self.held = self.sessions.begin(principal, self.line()).map(Box::new);
        }
        self.token()
    }

    /// The token, if one was issued.
    pub fn token(&self) -> Option<&Secret> {
        self.held.as_ref().map(|held| &held.token)
    }

    /// Notes what the session has now; nothing without a session. Never waits.
    pub fn note(&self, state: SessionState) {
        if let Some(held) = &self.held {
            self.sessions.note(held, state);
        }
    }

    /// Takes over the session of a token. The caller asks for everything anew in the client's name, so that entitlements
    /// are checked as ever.
    ///
    /// # Errors
    /// Counted; the ticket is as it was.
    pub async fn restore(&mut self, token: &Secret, principal: &Principal) -> Result<Restored, Refused> {
        let (held, restored) = self.sessions.resume(token, principal, self.line()).await?;
        self.held = Some(Box::new(held));
        Ok(restored)
    }

    /// Waits until somebody else has resumed the session: this connection must end. For ever without a session. May be
    /// dropped and called again.
    pub async fn taken(&self) {
        match &self.held {
            Some(held) => held.line.taken.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.sessions.leave(&held);
        }
    }
}
