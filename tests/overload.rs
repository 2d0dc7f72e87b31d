//! More than the machine can send: what waits upstream is taken in before it grows old, rings conflate, and nothing is
//! lost as long as a tab's ring and socket have room.

#[path = "support/plane.rs"]
mod plane;

use plane::Plane;
use std::collections::VecDeque;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tickfan::clock::Clock;
use tickfan::feed::Feed;
use tickfan::kite::packet;
use tickfan::market::{InstrumentToken, Mode, Tick};
use tickfan::wire::{Encoding, Format};

const TOKEN: InstrumentToken = InstrumentToken(408_065);

/// Messages that have been waiting upstream, one packet each, with a price of their own.
struct Backlog {
    messages: VecDeque<Vec<u8>>,
    patience: Option<Duration>,
}

impl Backlog {
    fn of(count: i32, patience: Option<Duration>) -> Self {
        Self { messages: (1..=count).map(message).collect(), patience }
    }
}

fn message(price: i32) -> Vec<u8> {
    let tick = Tick { mode: Mode::Full, ..Tick::ltp(TOKEN, price) };
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
fn what_has_waited_upstream_is_taken_in_at_once() {
    for patience in [None, Some(Duration::from_secs(1))] {
        let clock = Clock::manual(0);
        let mut plane = plane(Backlog::of(5_000, patience), &clock);
        plane.duty.cycle();
        let taken = plane.feed_counters.messages.get();
        assert!((1..1_000).contains(&taken), "{taken}: the writers have their turn in between");
        clock.advance(Duration::from_millis(21));
        plane.duty.cycle();
        let (more, conflated) = (plane.feed_counters.messages.get() - taken, plane.feed_counters.conflated.get());
        if patience.is_some() {
            assert_eq!((more, conflated), (taken, 0), "a tape waits, and nothing of it may be lost");
        } else {
            assert_eq!(more, 5_000 - taken);
            assert!(conflated > 4_000, "{conflated}");
            let told = plane.writer_counters.delivered.get() + plane.writer_counters.skipped.get();
            assert_eq!(told, 5_000, "each value was sent or made way for a newer one, and the newest was sent");
        }
    }
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
        sink(&message(self.price));
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
        // To ask at each turn would cost more than the turn.
        assert!(plane.duty.cycle());
        assert_eq!(told(), round);
        clock.advance(Duration::from_micros(200));
        assert!(plane.duty.cycle());
        assert_eq!(told(), round + 1);
    }
}
