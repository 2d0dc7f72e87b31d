//! Sessions and what keeps them.

use crate::clock::Clock;
use crate::resume::journal::{Journal, Scribe};
use crate::resume::vault::{self, Vault, VaultSettings};
use crate::resume::{Sessions, SessionsSettings};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

/// What keeps sessions.
#[derive(Clone, Debug)]
pub enum SessionStore {
    /// Nothing, not even memory: there are no resume tokens.
    None,
    /// Memory: they survive a connection, and not the program.
    Memory,
    /// A folder.
    Folder(PathBuf),
    /// Redis.
    Redis(VaultSettings),
}

/// How sessions are kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// By what.
    pub store: SessionStore,
    /// How long after its connection has ended a session can be resumed, seconds.
    pub expiry_s: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { store: SessionStore::Memory, expiry_s: 3_600 }
    }
}

/// Sessions, and what runs beside them.
pub(super) struct Built {
    pub sessions: Arc<Sessions>,
    pub scribe: Option<Scribe>,
    pub tasks: Vec<JoinHandle<()>>,
}

/// Builds them for a gateway of so many connections. Must be called within the runtime.
///
/// # Errors
/// When the folder or the address cannot be used, or the system has no thread to give.
pub(super) fn build(keeping: Keeping, connections: usize, clock: &Clock) -> io::Result<Built> {
    // As many again as can be connected: all may come back after all had left.
    let most = connections.saturating_mul(2);
    let expiry_s = keeping.expiry_s as f64;
    let settings = SessionsSettings { on: true, expiry_s, most };
    let new = |kept, vault, store| Arc::new(Sessions::new(settings, clock.clone(), kept, vault, store));
    let plain = |sessions| Built { sessions, scribe: None, tasks: Vec::new() };
    match keeping.store {
        SessionStore::None => Ok(plain(Arc::new(Sessions::off(clock.clone())))),
        SessionStore::Memory => Ok(plain(new(Vec::new(), None, "memory"))),
        SessionStore::Folder(dir) => {
            let (journal, mut kept, ignored) = Journal::open(&dir).map_err(io::Error::other)?;
            let now = clock.unix_seconds();
            kept.retain(|record| record.last_seen() + expiry_s >= now);
            tracing::info!(sessions = kept.len(), ignored, "kept sessions");
            let sessions = new(kept, None, "file");
            sessions.counters.ignored.fetch_add(ignored, Ordering::Relaxed);
            let scribe = Scribe::start(journal, Arc::clone(&sessions))?;
            Ok(Built { sessions, scribe: Some(scribe), tasks: Vec::new() })
        }
        SessionStore::Redis(settings) => {
            // The error names the address and its password.
            let vault = Vault::new(&settings).map_err(|_| io::Error::other("session_store: not a Redis address"))?;
            let vault = Arc::new(vault);
            let sessions = new(Vec::new(), Some(Arc::clone(&vault)), "redis");
            let tasks = vec![
                tokio::spawn(vault::keep(Arc::clone(&vault), Arc::clone(&sessions))),
                tokio::spawn(vault::listen(vault, Arc::clone(&sessions))),
            ];
            Ok(Built { sessions, scribe: None, tasks })
        }
    }
}
