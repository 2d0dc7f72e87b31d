//! More than the machine can send: what waits upstream is taken in before it grows old, old values make way for newer ones,
//! at every tab alike, and nothing is lost as long as a tab's ring and socket have room.

#[path = "support/plane.rs"]
mod plane;

use plane::{Plane, RING};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tickfan::clock::Clock;
use tickfan::feed::Feed;
use tickfan::kite::packet;
use tickfan::market::{InstrumentToken, Mode, Tick};
use tickfan::wire::{Encoding, Format};

/// How long what was sent may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: InstrumentToken = InstrumentToken(408_065);
/// Has one value and no other.
const QUIET: InstrumentToken = InstrumentToken(738_561);

/// Messages that have been waiting upstream, one packet each, with a price of their own.
struct Backlog {
    messages: VecDeque<Vec<u8>>,
    patience: Option<Duration>,
}

impl Backlog {
    fn of(count: i32, patience: Option<Duration>) -> Self {
        Self { messages: (1..=count).map(|price| message(TOKEN, price)).collect(), patience }
    }
}

fn message(token: InstrumentToken, price: i32) -> Vec<u8> {
    let tick = Tick { mode: Mode::Full, ..Tick::ltp(token, price) };
    let mut body = Vec::new();
    packet::encode(&tick, &mut body);
    [&1_u16.to_be_bytes()[..], &(body.len() as u16).to_be_bytes()[..], &body[..]].concat()
}

impl Feed for Backlog {
    fn name(&self) -> &'static str {
        "backlog"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        vec![TOKEN]
    }

    fn poll(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let now = budget.min(self.messages.len());
        self.messages.drain(..now).for_each(|message| sink(&message));
        now
    }

    fn due_ns(&self) -> Option<u64> {
        (!self.messages.is_empty()).then_some(0)
    }

    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

fn plane(feed: Backlog, clock: &Clock) -> Plane {
    let mut plane = Plane::new(Box::new(feed), clock);
    plane.open(&[TOKEN], Encoding { format: Format::Json, mode: Mode::Full }, 0);
    plane
}

#[test]
fn a_burst_reaches_a_tab_that_reads_whole() {
    let clock = Clock::manual(0);
    let mut plane = plane(Backlog::of(5_000, None), &clock);
    while plane.duty.cycle() {
        plane.drain();
    }
    let counters = &plane.writer_counters;
    assert_eq!((counters.delivered.get(), plane.feed_counters.conflated.get()), (5_000, 0));
}

#[test]
fn what_goes_on_waiting_upstream_is_taken_in_at_once() {
    for patience in [None, Some(Duration::from_secs(1))] {
        let clock = Clock::manual(0);
        let mut plane = plane(Backlog::of(5_000, patience), &clock);
        let mut taken = 0;
        for pause in [0, 200, 20, 20, 20, 20] {
            clock.advance(Duration::from_millis(pause));
            plane.duty.cycle();
            plane.drain();
            let more = plane.feed_counters.messages.get() - taken;
            assert!((1..1_000).contains(&more), "{more}: the writers have their turn in between");
            taken += more;
        }
        plane.duty.cycle();
        let (more, conflated) = (plane.feed_counters.messages.get() - taken, plane.feed_counters.conflated.get());
        if patience.is_some() {
            assert_eq!((more, conflated), (taken / 6, 0), "a tape waits, and nothing of it may be lost");
        } else {
            assert_eq!(more, 5_000 - taken);
            assert_eq!(conflated, more - RING as u64);
            let told = plane.writer_counters.delivered.get() + plane.writer_counters.skipped.get();
            assert_eq!(told, 5_000, "each value was sent or made way for a newer one, and the newest was sent");
        }
    }
}

/// A feed that has a message at every poll until it ends.
struct Steady {
    price: Arc<AtomicI32>,
    until: i32,
}

impl Feed for Steady {
    fn name(&self) -> &'static str {
        "steady"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        vec![TOKEN, QUIET]
    }

    fn poll(&mut self, _: u64, _: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if self.price.load(Ordering::Relaxed) == self.until {
            return 0;
        }
        let price = self.price.fetch_add(1, Ordering::Relaxed) + 1;
        if price == 1 {
            sink(&message(QUIET, price));
        }
        sink(&message(TOKEN, price));
        1
    }

    fn due_ns(&self) -> Option<u64> {
        Some(0)
    }
}

/// What came to each tab since the last time: all that was sent, `received` bytes of it before.
fn read_all(plane: &Plane, received: &mut u64) -> Vec<Vec<u8>> {
    let (mut came, mut buffer) = (vec![Vec::new(); plane.clients.len()], vec![0; 64 * 1_024]);
    let began = Instant::now();
    while *received < plane.writer_counters.bytes.get() {
        assert!(began.elapsed() < PATIENCE, "not all that was sent has come");
        for (came, mut client) in came.iter_mut().zip(&plane.clients) {
            if let Ok(read) = client.read(&mut buffer) {
                came.extend_from_slice(&buffer[..read]);
                *received += read as u64;
            }
        }
    }
    came
}

/// The prices in it, of each token.
fn prices(bytes: &[u8]) -> [Vec<i32>; 2] {
    let mut prices = [Vec::new(), Vec::new()];
    for tick in String::from_utf8_lossy(bytes).split("{\"type\":\"tick\"").skip(1) {
        let text = |name: &str| tick.split(name).nth(1).unwrap().split([',', '"']).next().unwrap().to_owned();
        let price: f64 = text("\"last_price\":").parse().unwrap();
        let of = [TOKEN, QUIET].iter().position(|token| token.to_string() == text("\"token\":\"")).unwrap();
        prices[of].push((price * 100.0).round() as i32);
    }
    prices
}

#[test]
fn under_overload_every_tab_gets_what_is_new_and_the_newest_of_each_token() {
    const TABS: usize = 300;
    // Whatever is done takes 50 us, so a value to all tabs more than 15 ms.
    let clock = Clock::stepping(0, Duration::from_micros(50));
    let price = Arc::new(AtomicI32::new(0));
    let mut plane = Plane::new(Box::new(Steady { price: Arc::clone(&price), until: 60 }), &clock);
    let encoding = Encoding { format: Format::Json, mode: Mode::Full };
    (0..TABS).for_each(|_| plane.open(&[TOKEN, QUIET], encoding, 0));
    let (mut sent, mut received) = (vec![[Vec::new(), Vec::new()]; TABS], 0);
    // Each cycle brings one value, so the newest one is the number of the cycle.
    while plane.duty.cycle() {
        let newest = price.load(Ordering::Relaxed);
        for (tab, bytes) in read_all(&plane, &mut received).iter().enumerate() {
            let [token, quiet] = prices(bytes);
            if newest > 20
                && let Some(oldest) = token.first()
            {
                // Two short turns; one that began before the value came is in the third.
                assert!(newest - oldest < 4, "tab {tab}: {token:?} while {newest} is known");
            }
            sent[tab][0].extend(token);
            sent[tab][1].extend(quiet);
        }
    }
    for [token, quiet] in &sent {
        assert!(token.is_sorted_by(|one, next| one < next) && token.last() == Some(&60), "{token:?}");
        assert_eq!(*quiet, [1]);
    }
    let counts: Vec<_> = sent.iter().map(|[token, _]| token.len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    // How many are new at a turn depends on when the feed had its own.
    assert!(*most < 60 && least * 2 > *most, "{least} to {most}");
    let counters = &plane.writer_counters;
    assert!(counters.skipped.get() > 0);
    assert_eq!(counters.delivered.get() + counters.skipped.get(), (TABS * 61) as u64);
}

/// A feed that always has another message, and a socket that only tells what it has by edges.
struct Endless {
    price: i32,
    socket: mio::net::TcpStream,
    edges: Arc<AtomicUsize>,
}

impl Feed for Endless {
    fn name(&self) -> &'static str {
        "endless"
    }

    fn register(&mut self, registry: &mio::Registry, first: mio::Token) -> std::io::Result<()> {
        registry.register(&mut self.socket, first, mio::Interest::READABLE)
    }

    fn edge(&mut self, event: &mio::event::Event) {
        self.edges.fetch_add(usize::from(event.is_readable()), Ordering::Relaxed);
    }

    fn poll(&mut self, _: u64, _: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.price += 1;
        sink(&message(TOKEN, self.price));
        1
    }

    fn due_ns(&self) -> Option<u64> {
        Some(0)
    }
}

#[test]
fn a_thread_that_never_sleeps_hears_of_its_sockets_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let here = listener.accept().unwrap().0;
    here.set_nonblocking(true).unwrap();
    let arrived = here.try_clone().unwrap();
    let edges = Arc::new(AtomicUsize::new(0));
    let feed = Endless { price: 0, socket: mio::net::TcpStream::from_std(here), edges: Arc::clone(&edges) };
    let clock = Clock::manual(0);
    let mut plane = Plane::new(Box::new(feed), &clock);
    let told = || edges.load(Ordering::Relaxed);
    for round in 0..3 {
        clock.advance(Duration::from_micros(200));
        assert!(plane.duty.cycle());
        assert_eq!(told(), round);
        there.write_all(b"x").unwrap();
        // Even on the loopback it may come a moment later.
        let began = Instant::now();
        while arrived.peek(&mut [0; 4]).unwrap_or(0) <= round {
            assert!(began.elapsed() < PATIENCE, "it has not come");
        }
        // To ask at each turn would cost more than the turn.
        assert!(plane.duty.cycle());
        assert_eq!(told(), round);
        clock.advance(Duration::from_micros(200));
        assert!(plane.duty.cycle());
        assert_eq!(told(), round + 1);
    }
}
