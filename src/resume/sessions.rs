//! All sessions of this program, and who may resume which.

use super::counters::{Counters, Refused};
use super::record::{Record, SessionState, VERSION, owner};
use super::ticket::{Held, Line};
use super::token::{self, SessionId};
use super::vault::Vault;
use crate::clock::Clock;
use crate::identity::principal::Principal;
use crate::secret::Secret;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side: never met by a writer or a publisher")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// How sessions are kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SessionsSettings {
    /// Whether at all.
    pub on: bool,
    /// How long after its connection has ended a session can be resumed, seconds.
    pub expiry_s: f64,
    /// Most sessions that are kept; of those without a connection the oldest make room.
    pub most: usize,
}

/// What a resumed session had.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its state.
    pub state: SessionState,
    /// Up to when the client has everything, as far as is known, Unix seconds.
    pub had_until: f64,
}

/// See the module. Control side; the lock is held for moments.
#[derive(Debug)]
pub struct Sessions {
    settings: SessionsSettings,
    clock: Clock,
    book: ColdMutex<Book>,
    vault: Option<Arc<Vault>>,
    /// What keeps them, for operators.
    store: &'static str,
    up: AtomicBool,
    /// For operators.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Book {
    /// Ids are ours, and a client that names others finds nothing; the hasher is keyed all the same.
    entries: HashMap<SessionId, Entry>,
    /// Those without a connection in the order in which they lost it, and their fencing numbers then.
    left: VecDeque<(SessionId, u64)>,
    /// What has changed since it was handed out for writing: each once.
    dirty: HashSet<SessionId>,
    /// What is on its way to the store, which may not have it yet.
    writing: HashSet<SessionId>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// The connection that has it.
    taken: Option<Line>,
}

impl Sessions {
    /// Sessions that were `kept` (their last record each), and where to ask for others.
    pub fn new(
        settings: SessionsSettings,
        clock: Clock,
        kept: Vec<Record>,
        vault: Option<Arc<Vault>>,
        store: &'static str,
    ) -> Self {
        let mut kept = kept;
        kept.sort_by(|a, b| a.last_seen().total_cmp(&b.last_seen()));
        let mut book = Book::default();
        for record in kept {
            book.left.push_back((record.id, record.fence));
            book.entries.insert(record.id, Entry { record, taken: None });
        }
        // A vault is asked until it fails: who comes back in the first moment after a restart finds his session there.
        let up = AtomicBool::new(true);
        Self { settings, clock, book: book.into(), vault, store, up, counters: Counters::default() }
    }

    /// None are kept.
    pub fn off(clock: Clock) -> Self {
        let settings = SessionsSettings { on: false, expiry_s: 0.0, most: 0 };
        Self::new(settings, clock, Vec::new(), None, "none")
    }

    /// Whether sessions are kept.
    pub const fn are_kept(&self) -> bool {
        self.settings.on
    }

    /// What keeps them: `none`, `memory`, `file` or `redis`.
    pub const fn store(&self) -> &'static str {
        self.store
    }

    /// The vault, if there is one.
    pub const fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// Whether the store answers.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Says whether the store answers; what was said before.
    pub fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed)
    }

    /// Sessions in memory, and of these those that the store does not have as they are.
    pub fn sizes(&self) -> (usize, usize) {
        let book = self.book();
        (book.entries.len(), book.unwritten())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.clock.unix_seconds()
    }

    /// The time now, monotonic.
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// When anything came from the client of a connection last, Unix seconds.
    fn heard_at(&self, line: &Line) -> f64 {
        self.clock.unix_ns(line.heard_ns.load(Ordering::Relaxed)) as f64 / 1e9
    }

    pub(super) fn begin(&self, principal: &Principal, line: Line) -> Option<Held> {
        if !self.settings.on {
            return None;
        }
        let id = token::new_id().ok()?;
        let (token, secret) = token::issue(id).ok()?;
        let record = Record {
            version: VERSION,
            id,
            secret,
            owner: owner(principal),
            fence: 1,
            seen_at: None,
            heard_at: None,
            written_at: self.now(),
            state: SessionState::default(),
        };
        let mut book = self.book();
        if !self.make_room(&mut book) {
            return None;
        }
        book.entries.insert(id, Entry { record, taken: Some(line.clone()) });
        book.dirty.insert(id);
        Some(Held { id, fence: 1, token, line })
    }

    pub(super) fn note(&self, held: &Held, state: SessionState) {
        let (mut book, now) = (self.book(), self.now());
        if let Some(entry) = book.entries.get_mut(&held.id).filter(|entry| entry.record.fence == held.fence)
            && entry.record.state != state
        {
            entry.record.state = state;
            entry.record.written_at = now;
            book.dirty.insert(held.id);
        }
    }

    pub(super) fn leave(&self, held: &Held) {
        let (mut book, now) = (self.book(), self.now());
        if let Some(entry) = book.entries.get_mut(&held.id).filter(|entry| entry.record.fence == held.fence) {
            entry.record.seen_at = Some(now);
            entry.record.heard_at = Some(self.heard_at(&held.line));
            entry.taken = None;
            book.left.push_back((held.id, held.fence));
            book.dirty.insert(held.id);
            if book.left.len() > 2 * book.entries.len() + 64 {
                // Clients that come and go leave old entries behind.
                let mut left = std::mem::take(&mut book.left);
                left.retain(|(id, fence)| book.is_left(*id, *fence));
                book.left = left;
            }
        }
    }

    pub(super) async fn resume(
        &self,
        token: &Secret,
        principal: &Principal,
        line: Line,
    ) -> Result<(Held, Restored), Refused> {
        if !self.settings.on {
            return Err(self.counters.refuse(Refused::Off));
        }
        let Some((id, secret)) = token::read(token) else { return Err(self.counters.refuse(Refused::Unknown)) };
        // Another gateway may have had it since. When the vault is silent, what is known here has to do.
        if let Some(vault) = self.vault.as_ref().filter(|_| self.is_up()) {
            match vault.fetch(id, &self.counters).await {
                Ok(Some(record)) => self.adopt(record),
                Ok(None) => {}
                Err(error) => self.failed(&error),
            }
        }
        let (held, restored, record) = self.claim(id, &secret, principal, line).map_err(|refused| {
            if refused == Refused::Foreign {
                tracing::warn!(session = %id, user = &*principal.user, "a resume token was shown by another user");
            }
            self.counters.refuse(refused)
        })?;
        if let Some(vault) = self.vault.as_ref().filter(|_| self.is_up()) {
            match vault.claim(&record).await {
                Ok(true) => {}
                Ok(false) => {
                    // Another gateway was faster.
                    self.forget(id, held.fence);
                    return Err(self.counters.refuse(Refused::Spent));
                }
                Err(error) => self.failed(&error),
            }
        }
        self.counters.resumed.fetch_add(1, Ordering::Relaxed);
        Ok((held, restored))
    }

    /// Decides, and makes the caller the owner.
    fn claim(
        &self,
        id: SessionId,
        secret: &token::Fingerprint,
        principal: &Principal,
        line: Line,
    ) -> Result<(Held, Restored, Record), Refused> {
        let (mut book, now) = (self.book(), self.now());
        let entry = book.entries.get_mut(&id).ok_or(Refused::Unknown)?;
        if !entry.record.secret.matches(secret) {
            return Err(Refused::Spent);
        }
        if !entry.record.owner.matches(&owner(principal)) {
            return Err(Refused::Foreign);
        }
        if entry.taken.is_none() && entry.record.last_seen() + self.settings.expiry_s < now {
            return Err(Refused::Unknown);
        }
        let (token, secret) = token::issue(id).map_err(|_| Refused::Unknown)?;
        let had_until = match entry.taken.replace(line.clone()) {
            Some(other) => {
                self.supersede(&other);
                // Its connection may be one that was lost and has not noticed.
                self.heard_at(&other)
            }
            None => entry.record.had_until(),
        };
        let record = &mut entry.record;
        record.secret = secret;
        record.fence += 1;
        (record.seen_at, record.heard_at) = (None, None);
        record.written_at = now;
        let held = Held { id, fence: record.fence, token, line };
        let restored = Restored { state: record.state.clone(), had_until };
        let record = record.clone();
        book.dirty.insert(id);
        Ok((held, restored, record))
    }

    /// Takes over a record of another gateway, if it is newer.
    fn adopt(&self, record: Record) {
        let mut book = self.book();
        if book.entries.get(&record.id).is_some_and(|entry| entry.record.fence >= record.fence) {
            return;
        }
        if !book.entries.contains_key(&record.id) && !self.make_room(&mut book) {
            return;
        }
        let id = record.id;
        book.left.push_back((id, record.fence));
        if let Some(Entry { taken: Some(other), .. }) = book.entries.insert(id, Entry { record, taken: None }) {
            self.supersede(&other);
        }
        book.dirty.remove(&id);
    }

    /// Another gateway has the session: the connection here must end. Nothing if it is newer here than that.
    pub(super) fn forget(&self, id: SessionId, fence: u64) {
        let mut book = self.book();
        if book.entries.get(&id).is_some_and(|entry| entry.record.fence <= fence) {
            book.dirty.remove(&id);
            if let Some(Entry { taken: Some(other), .. }) = book.entries.remove(&id) {
                self.supersede(&other);
            }
        }
    }

    /// Tells a connection that somebody else has its session.
    fn supersede(&self, other: &Line) {
        self.counters.superseded.fetch_add(1, Ordering::Relaxed);
        other.taken.notify_one();
    }

    /// Sees to it that one more session fits; false when all that are kept have connections.
    fn make_room(&self, book: &mut Book) -> bool {
        self.sweep(book);
        while book.entries.len() >= self.settings.most {
            let Some((id, fence)) = book.left.pop_front() else { return false };
            if book.is_left(id, fence) {
                book.entries.remove(&id);
                book.dirty.remove(&id);
                self.counters.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    /// Forgets what nobody may resume any more.
    fn sweep(&self, book: &mut Book) {
        let now = self.now();
        while let Some((id, fence)) = book.left.front().copied() {
            if book.is_left(id, fence) {
                let last_seen = book.entries.get(&id).map_or(0.0, |entry| entry.record.last_seen());
                if last_seen + self.settings.expiry_s >= now {
                    return;
                }
                book.entries.remove(&id);
                book.dirty.remove(&id);
            }
            book.left.pop_front();
        }
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        if self.set_up(false) {
            tracing::error!(%error, store = self.store, "sessions cannot be kept; streaming goes on, trying again");
        }
    }

    pub(super) fn succeeded(&self) {
        if !self.set_up(true) {
            tracing::info!(store = self.store, "sessions are kept");
        }
    }

    /// What has changed, at most so many, for the one who writes: who says afterwards whether it is
    /// [written](Self::written) or not.
    pub(super) fn take_dirty(&self, most: usize) -> Vec<Record> {
        let mut book = self.book();
        self.sweep(&mut book);
        let ids: Vec<_> = book.dirty.iter().copied().take(most).collect();
        ids.iter().for_each(|id| _ = book.dirty.remove(id));
        book.writing.extend(&ids);
        ids.iter().filter_map(|id| book.entries.get(id)).map(|entry| entry.record.clone()).collect()
    }

    /// The store has what was handed out for it.
    pub(super) fn written(&self) {
        let written = std::mem::take(&mut self.book().writing);
        self.counters.written.fetch_add(written.len() as u64, Ordering::Relaxed);
    }

    /// The store may not have it: it is handed out again.
    pub(super) fn not_written(&self) {
        let mut book = self.book();
        let ids = std::mem::take(&mut book.writing);
        let ids: Vec<_> = ids.into_iter().filter(|id| book.entries.contains_key(id)).collect();
        book.dirty.extend(ids);
    }

    /// Marks everything: the store may have lost it.
    pub(super) fn mark_all(&self) {
        let mut book = self.book();
        let ids: Vec<_> = book.entries.keys().copied().collect();
        book.dirty.extend(ids);
    }

    /// Marks those with a connection that were written longer ago than that, and sets their time.
    pub(super) fn touch(&self, older_s: f64) {
        let (mut book, now) = (self.book(), self.now());
        let mut old = Vec::new();
        for (id, entry) in &mut book.entries {
            if entry.taken.is_some() && entry.record.written_at + older_s < now {
                entry.record.written_at = now;
                old.push(*id);
            }
        }
        book.dirty.extend(old);
    }

    /// All records, for a new journal.
    pub(super) fn all(&self) -> Vec<Record> {
        let mut book = self.book();
        self.sweep(&mut book);
        book.entries.values().map(|entry| entry.record.clone()).collect()
    }
}

impl Book {
    /// Sessions that the store does not have as they are.
    fn unwritten(&self) -> usize {
        let writing = self.writing.iter().filter(|id| !self.dirty.contains(*id) && self.entries.contains_key(*id));
        self.dirty.len() + writing.count()
    }

    /// Whether the session has had no connection since it got into the list with that number.
    fn is_left(&self, id: SessionId, fence: u64) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.taken.is_none() && entry.record.fence == fence)
    }
}
