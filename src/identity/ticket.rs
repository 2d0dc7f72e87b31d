//! Tickets: a credential that holds once, for ten seconds, and may therefore be seen afterwards.
//!
//! A page exchanges its token for one and opens its WebSocket with it, so that the token itself stands in no URL and no
//! header that a proxy may write down. A ticket is as good as the token it was made of: it says who the client is, ends
//! when that does, and is refused when that was revoked meanwhile.

use super::principal::Principal;
use super::refusal::Refusal;
use crate::secret::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use rand::distr::{Alphanumeric, SampleString};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "control side, when a ticket is made or shown")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// How long a ticket holds.
pub const LIFE: Duration = Duration::from_secs(10);
/// Tickets that may be waiting to be used, all together.
const MOST: usize = 16_384;
/// And of one user.
const MOST_EACH: usize = 32;
/// Time between two searches for tickets that have ended, which make room.
const SEARCH_NS: u64 = 1_000_000_000;
/// Letters behind the prefix: 190 bits.
const LETTERS: usize = 32;
const PREFIX: &str = "tk_";

/// Whether a text means to be a ticket.
pub fn is_ticket(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Those that were made and not used. Control side; kept by the SHA-256 of their text, so that memory shows none.
#[derive(Debug, Default)]
pub struct Tickets(ColdMutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    tickets: HashMap<[u8; 32], Entry>,
    /// How many of a user.
    users: HashMap<Arc<str>, usize>,
    searched_ns: u64,
}

#[derive(Debug)]
struct Entry {
    principal: Principal,
    until_ns: u64,
}

impl Tickets {
    /// A ticket for a principal, at a monotonic time.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when as many wait as may.
    pub fn issue(&self, principal: Principal, now_ns: u64) -> Result<Secret, Refusal> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.has_no_room(&principal.user) {
            waiting.make_room(now_ns);
        }
        if waiting.has_no_room(&principal.user) {
            return Err(Refusal::Busy);
        }
        let text = format!("{PREFIX}{}", Alphanumeric.sample_string(&mut rand::rng(), LETTERS));
        *waiting.users.entry(principal.user.clone()).or_default() += 1;
        waiting.tickets.insert(key(&text), Entry { principal, until_ns: now_ns + LIFE.as_nanos() as u64 });
        Ok(Secret::new(text))
    }

    /// Whose it is; a second time, or too late, nobody's.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn redeem(&self, ticket: &str, now_ns: u64) -> Result<Principal, Refusal> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = waiting.tickets.remove(&key(ticket)).ok_or(Refusal::Malformed)?;
        waiting.used(&entry.principal.user);
        if entry.until_ns > now_ns { Ok(entry.principal) } else { Err(Refusal::Malformed) }
    }
}

impl Waiting {
    fn has_no_room(&self, user: &str) -> bool {
        self.tickets.len() >= MOST || self.users.get(user).is_some_and(|count| *count >= MOST_EACH)
    }

    fn make_room(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.searched_ns) < SEARCH_NS {
            return;
        }
        self.searched_ns = now_ns;
        let ended: Vec<_> = self.tickets.extract_if(|_, entry| entry.until_ns <= now_ns).collect();
        ended.iter().for_each(|(_, entry)| self.used(&entry.principal.user));
    }

    fn used(&mut self, user: &str) {
        if let Some(count) = self.users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }
}

fn key(ticket: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, ticket.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::super::permissions::Permissions;
    use super::*;

    const END: u64 = LIFE.as_nanos() as u64;

    fn named(user: &str) -> Principal {
        Principal { user: user.into(), ..Principal::anonymous(Permissions::ALL) }
    }

    #[test]
    fn a_ticket_holds_once_and_not_for_long() {
        let tickets = Tickets::default();
        let (one, two) = (tickets.issue(named("ann"), 0).unwrap(), tickets.issue(named("bob"), 0).unwrap());
        assert_eq!(&*tickets.redeem(one.reveal(), END - 1).unwrap().user, "ann");
        for (ticket, now_ns) in [(one.reveal(), 1), (two.reveal(), END), (two.reveal(), 1), ("tk_", 1)] {
            assert_eq!(tickets.redeem(ticket, now_ns), Err(Refusal::Malformed));
        }
        let waiting = tickets.0.lock().unwrap();
        assert!(waiting.tickets.is_empty() && waiting.users.is_empty());
    }

    #[test]
    fn a_user_takes_no_more_than_a_share_and_what_has_ended_makes_room() {
        let tickets = Tickets::default();
        let made = |user: &str, now_ns| (0..100).filter(|_| tickets.issue(named(user), now_ns).is_ok()).count();
        assert_eq!((made("ann", 0), made("bob", 0), made("ann", END - 1)), (MOST_EACH, MOST_EACH, 0));
        assert_eq!(made("ann", END + SEARCH_NS), MOST_EACH);
        let others = (0..MOST).filter(|at| tickets.issue(named(&at.to_string()), END + SEARCH_NS).is_ok());
        assert_eq!(others.count(), MOST - MOST_EACH);
    }
}
