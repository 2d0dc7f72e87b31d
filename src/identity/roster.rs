//! Who is connected by name, and what is revoked: one lock for both, so that no connection slips in between.

use super::principal::{Principal, Proof};
use super::refusal::Refusal;
use super::revocation::{Full, Revocation, Revocations};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

#[expect(clippy::disallowed_types, reason = "control side, when a connection begins or ends or something is revoked")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// Most connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Of one user.
    pub user: usize,
    /// With one token (`jti`).
    pub token: usize,
}

/// One connection of a known principal.
#[derive(Debug)]
pub struct Entry {
    /// Who.
    pub principal: Arc<Principal>,
    /// When it ends, monotonic.
    pub deadline_ns: Option<u64>,
    revoked: AtomicBool,
    /// Rung when it was revoked.
    pub bell: Notify,
}

impl Entry {
    /// Whether it was revoked.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.bell.notify_one();
    }
}

/// See the module. Anonymous connections are not in it: nobody can name them.
#[derive(Debug)]
pub struct Roster {
    caps: Caps,
    books: ColdMutex<Books>,
}

/// The standard hasher is keyed: names chosen to collide do not.
#[derive(Debug, Default)]
struct Books {
    revocations: Revocations,
    users: HashMap<Arc<str>, Vec<Arc<Entry>>>,
    /// By subject too where that is not the user id, since either may be revoked.
    subjects: HashMap<Arc<str>, Vec<Arc<Entry>>>,
    tokens: HashMap<Arc<str>, Vec<Arc<Entry>>>,
}

impl Roster {
    /// An empty one.
    pub fn new(caps: Caps) -> Self {
        Self { caps, books: ColdMutex::default() }
    }

    /// Enters a connection, in the place of another of the same user if it replaces one.
    ///
    /// # Errors
    /// When the principal is revoked, or has as many connections as allowed; the one to be replaced stays.
    pub fn enter(
        &self,
        principal: Arc<Principal>,
        deadline_ns: Option<u64>,
        now: u64,
        replaced: Option<&Arc<Entry>>,
    ) -> Result<Arc<Entry>, Refusal> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if books.revocations.hold(&principal, now) {
            return Err(Refusal::Revoked);
        }
        let entry = Arc::new(Entry { principal, deadline_ns, revoked: AtomicBool::new(false), bell: Notify::new() });
        let principal = &entry.principal;
        if principal.proof != Proof::Anonymous {
            let others = |list: Option<&Vec<Arc<Entry>>>| {
                let is_other = |entry: &&Arc<Entry>| replaced.is_none_or(|replaced| !Arc::ptr_eq(entry, replaced));
                list.map_or(0, |list| list.iter().filter(is_other).count())
            };
            if others(books.users.get(&principal.user)) >= self.caps.user.min(principal.permissions.max_connections) {
                return Err(Refusal::UserConnections);
            }
            if let Some(jti) = &principal.jti
                && others(books.tokens.get(jti)) >= self.caps.token
            {
                return Err(Refusal::TokenConnections);
            }
            books.insert(&entry);
        }
        if let Some(replaced) = replaced {
            books.remove(replaced);
        }
        Ok(entry)
    }

    /// Takes a connection out.
    pub fn leave(&self, entry: &Arc<Entry>) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).remove(entry);
    }

    /// Whether a principal is revoked now.
    pub fn is_revoked(&self, principal: &Principal, now: u64) -> bool {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).revocations.hold(principal, now)
    }

    /// Revokes, and wakes the connections it concerns; costs a look-up each. Returns how many it ends.
    ///
    /// # Errors
    /// [`Full`]: those before the first that found no place are in force.
    pub fn revoke(&self, revocations: &[Revocation], until: u64, now: u64) -> Result<usize, Full> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = 0;
        for revocation in revocations {
            books.revocations.add(revocation, until, now)?;
            let lists = match revocation {
                Revocation::Token { jti } => [books.tokens.get(&**jti), None],
                Revocation::User { user, .. } => [books.users.get(&**user), books.subjects.get(&**user)],
            };
            for entry in lists.into_iter().flatten().flatten() {
                if !entry.is_revoked() && books.revocations.hold(&entry.principal, now) {
                    entry.revoke();
                    ended += 1;
                }
            }
        }
        Ok(ended)
    }

    /// Connections by name, and revocations in force.
    pub fn sizes(&self) -> (usize, usize) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        (books.users.values().map(Vec::len).sum(), books.revocations.len())
    }
}

impl Books {
    fn insert(&mut self, entry: &Arc<Entry>) {
        let principal = &entry.principal;
        self.users.entry(principal.user.clone()).or_default().push(Arc::clone(entry));
        if principal.sub != principal.user {
            self.subjects.entry(principal.sub.clone()).or_default().push(Arc::clone(entry));
        }
        if let Some(jti) = &principal.jti {
            self.tokens.entry(jti.clone()).or_default().push(Arc::clone(entry));
        }
    }

    fn remove(&mut self, entry: &Arc<Entry>) {
        let principal = &entry.principal;
        let keys = [
            (&mut self.users, Some(&principal.user)),
            (&mut self.subjects, Some(&principal.sub)),
            (&mut self.tokens, principal.jti.as_ref()),
        ];
        for (book, key) in keys {
            let Some(key) = key else { continue };
            if let Some(list) = book.get_mut(key) {
                list.retain(|other| !Arc::ptr_eq(other, entry));
                if list.is_empty() {
                    book.remove(key);
                }
            }
        }
    }
}
