//! How many wrong tokens an address, and all together, may try.

use super::rate::{Meter, Rate};
use super::refusal::Refusal;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::PoisonError;

#[expect(clippy::disallowed_types, reason = "control side, at a handshake or a refused token only")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// Tokens of all addresses that were refused only after their signature was checked: 5,000 at once, then 1,000 a second.
/// That is some 6 % of a core; while a flood goes beyond it, new connections with a token have to come back, and open
/// ones feel nothing.
const OF_ALL: Rate = Rate::per_second(1_000, 5_000);
/// Addresses remembered. Beyond them only the limit of all holds.
const ADDRESSES: usize = 4_096;
/// Time between two searches for addresses to forget.
const SEARCH_NS: u64 = 1_000_000_000;

/// See the module. Any thread of the control side.
#[derive(Debug)]
pub struct FailureDoor {
    /// What an address may try (a /64 where it is IPv6).
    of_address: Rate,
    failures: ColdMutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    all: Meter,
    /// The standard hasher is keyed: addresses chosen to collide do not.
    addresses: HashMap<IpAddr, Meter>,
    searched_ns: u64,
}

impl FailureDoor {
    /// A door with that many wrong tokens for each address.
    pub fn new(of_address: Rate) -> Self {
        Self { of_address, failures: ColdMutex::default() }
    }

    /// Whether the address may try now.
    pub fn is_open(&self, address: IpAddr, now_ns: u64) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = |meter: &Meter| meter.is_spent(self.of_address, now_ns);
        !failures.all.is_spent(OF_ALL, now_ns) && !failures.addresses.get(&network(address)).is_some_and(spent)
    }

    /// Notes a refusal. Forgeries that were let in together are all counted, also beyond what may be tried: else each moment
    /// in which the door is open would let in a whole queue for the price of one. Who comes with a token that was good
    /// once is not kept out beyond that: the tabs of an office come back together when their tokens have ended.
    pub fn failed(&self, address: IpAddr, refusal: Refusal, now_ns: u64) {
        if !refusal.is_failure() {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.was_checked() {
            failures.all.charge(OF_ALL, now_ns);
        }
        let address = network(address);
        if failures.addresses.len() >= ADDRESSES && !failures.addresses.contains_key(&address) {
            if now_ns.saturating_sub(failures.searched_ns) < SEARCH_NS {
                return;
            }
            failures.searched_ns = now_ns;
            failures.addresses.retain(|_, meter| !meter.is_full(now_ns));
            if failures.addresses.len() >= ADDRESSES {
                return;
            }
        }
        let meter = failures.addresses.entry(address).or_default();
        if matches!(refusal, Refusal::Expired | Refusal::Revoked) {
            let _ = meter.take(self.of_address, now_ns);
        } else {
            meter.charge(self.of_address, now_ns);
        }
    }
}

/// What one client has many of counts as one: of IPv6 a whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(1, 20);

    #[test]
    fn an_address_is_shut_out_for_a_while_and_others_are_not() {
        let door = FailureDoor::new(RATE);
        let (bad, good): (IpAddr, IpAddr) = ([9, 9, 9, 9].into(), [8, 8, 8, 8].into());
        for _ in 0..20 {
            assert!(door.is_open(bad, 0));
            door.failed(bad, Refusal::Malformed, 0);
            door.failed(good, Refusal::Busy, 0);
        }
        assert!(!door.is_open(bad, 0) && door.is_open(good, 0));
        assert!(door.is_open(bad, 1_000_000_000));
        let six = |text: &str| text.parse::<IpAddr>().unwrap();
        (0..20).for_each(|at| door.failed(six(&format!("2001:db8::{at}")), Refusal::Signature, 0));
        assert!(!door.is_open(six("2001:db8::ffff"), 0) && door.is_open(six("2001:db8:0:1::1"), 0));
        assert!(!door.is_open(six("::ffff:9.9.9.9"), 0));
        // Behind a proxy all have one address: then none is limited by it.
        let proxied = FailureDoor::new(Rate::per_second(0, 0));
        (0..1_000).for_each(|_| proxied.failed(bad, Refusal::Signature, 0));
        assert!(proxied.is_open(bad, 0));
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_in_number_and_memory() {
        let door = FailureDoor::new(RATE);
        let flood = |refusal, now_ns| {
            let addresses = (0..100_000u32).map(|at| IpAddr::V4(at.into()));
            let tried = addresses.filter(|address| {
                let open = door.is_open(*address, now_ns);
                if open {
                    door.failed(*address, refusal, now_ns);
                }
                open
            });
            tried.count()
        };
        // A queue that was let in before the first of it had failed is paid for.
        let queue = FailureDoor::new(RATE);
        (0..6_000u32).for_each(|at| queue.failed(IpAddr::V4(at.into()), Refusal::Signature, 0));
        assert!(
            !queue.is_open([9, 9, 9, 9].into(), 1_000_000_000) && queue.is_open([9, 9, 9, 9].into(), 1_001_000_000)
        );
        // What costs no arithmetic shuts nobody else out.
        assert_eq!(flood(Refusal::Malformed, 0), 100_000);
        assert_eq!(flood(Refusal::Signature, 0), 5_000);
        assert_eq!(flood(Refusal::Signature, 1_000_000_000), 1_000);
        assert!(door.failures.lock().unwrap().addresses.len() <= ADDRESSES);
        let now_ns = 100_000_000_000;
        door.failed([9, 9, 9, 9].into(), Refusal::Malformed, now_ns);
        assert_eq!(door.failures.lock().unwrap().addresses.len(), 1, "what is over is forgotten");
    }
}
