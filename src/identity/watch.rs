//! What tells a connection's reading task that its time has come.

use super::counters::Counters;
use super::principal::Principal;
use super::refusal::Refusal;
use super::roster::{Entry, Roster};
use crate::clock::Clock;
use crate::wire::close::Close;
use std::sync::Arc;
use std::time::Duration;

/// Why an open connection must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Its token has expired.
    Expired,
    /// Its token or user was revoked.
    Revoked,
}

impl Ending {
    /// How it is told.
    pub const fn close(self) -> Close {
        match self {
            Self::Expired => Close::Expired,
            Self::Revoked => Close::Revoked,
        }
    }
}

/// A connection's place among those of its user, given back when dropped. Control side, one task.
#[derive(Debug)]
pub struct Watch {
    entry: Arc<Entry>,
    roster: Arc<Roster>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Watch {
    /// Enters a principal. See [`Roster::enter`].
    ///
    /// # Errors
    /// When it is revoked or has as many connections as allowed.
    pub fn enter(
        principal: Principal,
        roster: Arc<Roster>,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Result<Self, Refusal> {
        let deadline_ns = principal.deadline_ns(&clock);
        let now = clock.unix_seconds() as u64;
        let entry = roster.enter(Arc::new(principal), deadline_ns, now, None)?;
        Ok(Self { entry, roster, clock, counters })
    }

    /// Whose connection it is.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.entry.principal
    }

    /// Puts another principal in its place: an anonymous one that has told its name, or the same with a newer token.
    ///
    /// # Errors
    /// As at entering; everything stays as it was then.
    pub fn replace(&mut self, principal: Principal) -> Result<(), Refusal> {
        let deadline_ns = principal.deadline_ns(&self.clock);
        let now = self.clock.unix_seconds() as u64;
        self.entry = self.roster.enter(Arc::new(principal), deadline_ns, now, Some(&self.entry))?;
        Ok(())
    }

    /// Why it must end, if it must now.
    pub fn ending(&self) -> Option<Ending> {
        if self.entry.is_revoked() {
            return Some(Ending::Revoked);
        }
        self.entry.deadline_ns.is_some_and(|deadline| deadline <= self.clock.now_ns()).then_some(Ending::Expired)
    }

    /// Waits until it must end, by the monotonic clock, and counts it: the caller ends the connection.
    pub async fn ended(&self) -> Ending {
        let ending = self.over().await;
        Counters::count(match ending {
            Ending::Expired => &self.counters.expired,
            Ending::Revoked => &self.counters.revoked,
        });
        ending
    }

    /// Waits until it must end. May be dropped and called again at any time.
    pub async fn over(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending() {
                return ending;
            }
            match self.entry.deadline_ns {
                None => self.entry.bell.notified().await,
                Some(deadline_ns) => {
                    let left = Duration::from_nanos(deadline_ns.saturating_sub(self.clock.now_ns()));
                    tokio::select! {
                        () = self.entry.bell.notified() => {}
                        // A timer may go off early by less than this. On the heap: whoever has no deadline would carry it.
                        () = Box::pin(tokio::time::sleep(left + Duration::from_millis(1))) => {}
                    }
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.roster.leave(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::permissions::Permissions;
    use super::super::principal::Proof;
    use super::super::revocation::Revocation;
    use super::super::roster::Caps;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    struct Bench {
        roster: Arc<Roster>,
        clock: Clock,
        counters: Arc<Counters>,
    }

    fn bench() -> Bench {
        let roster = Arc::new(Roster::new(Caps { user: 3, token: 2 }));
        Bench { roster, clock: Clock::manual(NOW * 1_000_000_000), counters: Arc::default() }
    }

    impl Bench {
        fn enter(&self, principal: Principal) -> Result<Watch, Refusal> {
            Watch::enter(principal, Arc::clone(&self.roster), self.clock.clone(), Arc::clone(&self.counters))
        }
    }

    fn ann(jti: &str) -> Principal {
        Principal {
            user: "ann@example.com".into(),
            sub: "u1".into(),
            jti: Some(jti.into()),
            issued_at: Some(NOW - 10),
            expires_at: Some(NOW + 60),
            proof: Proof::Jwt,
            ..Principal::anonymous(Permissions::ALL)
        }
    }

    #[tokio::test]
    async fn expiry_is_monotonic_whatever_the_wall_clock_does() {
        let bench = bench();
        let watch = bench.enter(ann("j")).unwrap();
        for step_s in [3_600, -7_200, 3_600] {
            bench.clock.step_wall(step_s * 1_000_000_000);
            assert_eq!(watch.ending(), None);
        }
        bench.clock.advance(Duration::from_secs(64));
        assert_eq!(watch.ending(), None, "five seconds of leeway");
        bench.clock.step_wall(-3_600_000_000_000);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(watch.ended().await, Ending::Expired);
        assert_eq!(bench.counters.expired.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_revocation_wakes_those_it_names_and_keeps_them_out() {
        let bench = bench();
        let (first, second) = (bench.enter(ann("a")).unwrap(), bench.enter(ann("b")).unwrap());
        let waiting = tokio::spawn(async move { first.ended().await });
        tokio::task::yield_now().await;
        let revoke = |revocation| bench.roster.revoke(&[revocation], NOW + 99, NOW);
        assert_eq!(revoke(Revocation::Token { jti: "a".into() }), Ok(1));
        assert_eq!(waiting.await.unwrap(), Ending::Revoked);
        assert_eq!(second.ending(), None);
        assert_eq!(bench.enter(ann("a")).unwrap_err(), Refusal::Revoked);
        // By user, in either name, and only what was issued before.
        assert_eq!(revoke(Revocation::User { user: "u1".into(), issued_before: NOW - 10 }), Ok(0));
        assert_eq!(revoke(Revocation::User { user: "u1".into(), issued_before: NOW - 9 }), Ok(1));
        assert_eq!(second.ended().await, Ending::Revoked);
        assert_eq!(bench.enter(ann("c")).unwrap_err(), Refusal::Revoked);
        bench.enter(Principal { issued_at: Some(NOW), ..ann("d") }).unwrap();
    }

    #[test]
    fn caps_hold_and_places_are_given_back() {
        let bench = bench();
        let mut open = vec![bench.enter(ann("a")).unwrap(), bench.enter(ann("a")).unwrap()];
        assert_eq!(bench.enter(ann("a")).unwrap_err(), Refusal::TokenConnections);
        open.push(bench.enter(ann("b")).unwrap());
        assert_eq!(bench.enter(ann("c")).unwrap_err(), Refusal::UserConnections);
        // A newer token takes the place of the older, at the cap as well.
        open[0].replace(ann("c")).unwrap();
        assert_eq!(open[0].replace(Principal { user: "bob".into(), ..ann("a") }), Ok(()));
        assert_eq!(bench.roster.sizes().0, 3);
        bench.enter(ann("z")).unwrap();
        drop(open);
        assert_eq!(bench.roster.sizes().0, 0);
        let mut narrow = Permissions::ALL;
        narrow.max_connections = 1;
        let _one = bench.enter(Principal { permissions: narrow, ..ann("x") }).unwrap();
        let refused = bench.enter(Principal { permissions: narrow, ..ann("y") }).unwrap_err();
        assert_eq!(refused, Refusal::UserConnections);
        // Nobody is nobody's second connection.
        let crowd: Vec<_> = (0..50).map(|_| bench.enter(Principal::anonymous(Permissions::ALL)).unwrap()).collect();
        assert_eq!((crowd.len(), bench.roster.sizes().0), (50, 1));
    }

    #[test]
    fn ten_thousand_revocations_wake_nobody_they_do_not_name() {
        let bench = bench();
        let watch = bench.enter(ann("mine")).unwrap();
        let many: Vec<_> = (0..10_000).map(|at| Revocation::Token { jti: format!("other-{at}") }).collect();
        assert_eq!(bench.roster.revoke(&many, NOW + 99, NOW), Ok(0));
        assert_eq!((watch.ending(), bench.roster.sizes()), (None, (1, 10_000)));
    }
}
