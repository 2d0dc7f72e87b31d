//! Connections that are not sessions yet: how many there may be, and how fast they may become some.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

#[expect(clippy::disallowed_types, reason = "control side: met once by each new connection")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// See the module. Control side.
#[derive(Debug)]
pub struct Lobby {
    most: usize,
    most_each: usize,
    waiting: ColdMutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// As many wait as may.
    All,
    /// As many wait from this address as may.
    Address,
}

impl Lobby {
    /// A lobby for so many, and for so many from one address.
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, waiting: Waiting::default().into() })
    }

    /// Lets one in; without an address only the number of all counts.
    ///
    /// # Errors
    /// When as many wait as may.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Full> {
        let address = address.map(network);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.all >= self.most {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let each = waiting.by_address.entry(address).or_default();
            if *each >= self.most_each {
                return Err(Full::Address);
            }
            *each += 1;
        }
        waiting.all += 1;
        Ok(Seat { lobby: Arc::clone(self), address })
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one user has of the address space: an IPv6 user has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// A connection's place in the lobby, given up when dropped.
#[derive(Debug)]
pub struct Seat {
    lobby: Arc<Lobby>,
    address: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut waiting = self.lobby.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all -= 1;
        if let Some(address) = self.address
            && let Some(each) = waiting.by_address.get_mut(&address)
        {
            *each -= 1;
            if *each == 0 {
                waiting.by_address.remove(&address);
            }
        }
    }
}

/// So many a second, and as many at once (the generic cell rate algorithm). Any thread.
#[derive(Debug)]
pub struct Pace {
    interval_ns: u64,
    burst_ns: u64,
    /// Up to when everything has been spent.
    spent_until_ns: AtomicU64,
}

impl Pace {
    /// 0 is no limit.
    pub const fn per_second(rate: u32) -> Self {
        let interval_ns = if rate == 0 { 0 } else { 1_000_000_000 / rate as u64 };
        Self { interval_ns, burst_ns: interval_ns * rate as u64, spent_until_ns: AtomicU64::new(0) }
    }

    /// Takes one if there is one left.
    pub fn take(&self, now_ns: u64) -> bool {
        let spend = |until: u64| {
            let next = until.max(now_ns) + self.interval_ns;
            (next - now_ns <= self.burst_ns).then_some(next)
        };
        self.interval_ns == 0 || self.spent_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn seats_are_limited_and_given_back() {
        let lobby = Lobby::new(3, 2);
        let one = lobby.enter(address("10.0.0.1")).unwrap();
        let _two = lobby.enter(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(lobby.enter(address("10.0.0.1")).unwrap_err(), Full::Address);
        let _three = lobby.enter(address("10.0.0.2")).unwrap();
        assert_eq!(lobby.enter(address("10.0.0.3")).unwrap_err(), Full::All);
        assert_eq!(lobby.enter(None).unwrap_err(), Full::All);
        drop(one);
        assert_eq!(lobby.len(), 2);
        let again = lobby.enter(address("10.0.0.1")).unwrap();
        drop((again, _two, _three));
        assert!(lobby.is_empty() && lobby.waiting.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn a_user_of_ipv6_has_one_network() {
        let lobby = Lobby::new(9, 1);
        let _one = lobby.enter(address("2001:db8:0:1::1")).unwrap();
        assert_eq!(lobby.enter(address("2001:db8:0:1:ffff::2")).unwrap_err(), Full::Address);
        assert!(lobby.enter(address("2001:db8:0:2::1")).is_ok());
        assert!(lobby.enter(None).is_ok(), "behind a proxy addresses say nothing");
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_the_pace() {
        let (pace, now) = (Pace::per_second(10), 5_000_000_000);
        assert_eq!((0..100).filter(|_| pace.take(now)).count(), 10);
        assert!(!pace.take(now + 99_999_999));
        assert!(pace.take(now + 100_000_000));
        assert!(!pace.take(now + 100_000_000));
        assert_eq!((0..100).filter(|_| pace.take(now + 60_000_000_000)).count(), 10);
        assert_eq!((0..100).filter(|_| Pace::per_second(0).take(now)).count(), 100);
    }
}
