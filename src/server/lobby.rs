//! Connections that are not sessions yet, and how many there may be.

use crate::identity::door::network;
use std::collections::HashMap;
use std::net::IpAddr;
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
}
