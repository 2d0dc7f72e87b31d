//! The tabs: one thread, one poll, every socket. Each tick is checked against what its tab asked for.

use super::clock::Clock;
use super::frame;
use super::ledger::{Ledger, Step};
use super::percentiles;
use super::scan::{Format, KITE_READY, Notice, Scanner, SeenTick};
use super::universe::{Share, Universe};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tickfan::market::Mode;

/// What one read may bring, bytes; a partial frame of the read before stands in front of it.
const READ_BYTES: usize = 256 << 10;
/// The mask of every frame; the protocol wants one, a load client need not be unpredictable.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How to build a fleet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the gateway serves.
    pub address: SocketAddr,
    /// The path and query of the stream.
    pub path: String,
    /// How many tabs.
    pub tabs: usize,
    /// Instruments a tab subscribes.
    pub tokens_per_tab: usize,
    /// How many of the tabs will stop reading.
    pub slow: usize,
    /// Receive buffer of those, bytes; 0 for what the system gives.
    pub slow_receive_buffer: usize,
    /// In which mode.
    pub mode: Mode,
    /// In which format.
    pub format: Format,
    /// Whether sequence numbers are ours; without them only the order of volumes can be judged.
    pub stamped: bool,
}

/// What one class of tabs has received.
#[derive(Debug)]
pub struct Tally {
    /// Due time to arrival, nanoseconds, of ticks due within the window.
    pub latency: Histogram<u64>,
    /// The same from the real write, without the publisher's own lateness.
    pub from_write: Histogram<u64>,
    /// Ticks since publishing began, snapshots not counted.
    pub delivered: u64,
    /// Those that arrived within the window.
    pub in_window: u64,
    /// Ticks marked as snapshots.
    pub snapshots: u64,
    /// Sequence numbers skipped.
    pub lost: u64,
    /// Ticks that came twice.
    pub duplicated: u64,
    /// Ticks older than one that came before.
    pub backwards: u64,
    /// Ticks nobody asked for on that connection.
    pub leaked: u64,
    /// Notices that updates were merged.
    pub conflated: u64,
    /// Error replies.
    pub errors: u64,
    /// Connections the server ended.
    pub closed: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            latency: percentiles::histogram(),
            from_write: percentiles::histogram(),
            delivered: 0,
            in_window: 0,
            snapshots: 0,
            lost: 0,
            duplicated: 0,
            backwards: 0,
            leaked: 0,
            conflated: 0,
            errors: 0,
            closed: 0,
        }
    }
}

/// How a class of tabs ended, compared with the last published sequence numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// Ticks published after the last one received.
    pub missing: u64,
    /// Subscriptions whose last received tick is not the last published one.
    pub outdated: u64,
    /// Subscriptions in all.
    pub subscriptions: u64,
}

struct Tab {
    socket: TcpStream,
    /// The beginning of a frame that is not complete yet.
    rest: Vec<u8>,
    /// Bytes the socket has not taken yet.
    out: Vec<u8>,
    share: Share,
    ledger: Ledger,
    slow: bool,
    paused: bool,
    ready: bool,
    closed: bool,
}

/// All tabs.
pub struct Fleet {
    poll: Poll,
    events: Events,
    tabs: Vec<Tab>,
    scratch: Vec<u8>,
    judge: Judge,
    ready: usize,
    /// Nanoseconds spent on anything but waiting; near the wall time this client is the bottleneck.
    pub busy_ns: u64,
}

/// What is needed to judge a tick, apart from its tab, so that both can be borrowed at once.
struct Judge {
    clock: Clock,
    universe: Arc<Universe>,
    scanner: Scanner,
    stamped: bool,
    publishing: bool,
    window_ns: Range<u64>,
    healthy: Tally,
    slow: Tally,
}

impl Fleet {
    /// Connects every tab and sends its subscription.
    ///
    /// # Errors
    /// The first connection that fails, and why.
    pub fn connect(plan: &Plan, universe: Arc<Universe>, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut tabs = Vec::with_capacity(plan.tabs);
        for number in 0..plan.tabs {
            // Spread, so that slow tabs are neither the first nor the last of any list in the server.
            let slow = (number + 1) * plan.slow / plan.tabs > number * plan.slow / plan.tabs;
            let tab = connect(plan, number, slow, &universe);
            let mut tab = tab.map_err(|error| io::Error::other(format!("tab {number}: {error}")))?;
            poll.registry().register(&mut tab.socket, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            tabs.push(tab);
        }
        let judge = Judge {
            clock,
            universe,
            scanner: Scanner::new(plan.format),
            stamped: plan.stamped,
            publishing: false,
            window_ns: 0..0,
            healthy: Tally::new(),
            slow: Tally::new(),
        };
        let mut fleet = Self {
            poll,
            events: Events::with_capacity(1024),
            tabs,
            scratch: vec![0; READ_BYTES * 2],
            judge,
            ready: 0,
            busy_ns: 0,
        };
        // What came together with the reply to the upgrade is not announced by the poll again.
        for tab in &mut fleet.tabs {
            let mut bytes = std::mem::take(&mut tab.rest);
            fleet.judge.take(tab, &mut bytes);
        }
        Ok(fleet)
    }

    /// Tabs whose subscription was answered.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// What the tabs that always read have received.
    pub fn healthy(&self) -> &Tally {
        &self.judge.healthy
    }

    /// What the tabs that stop reading have received.
    pub fn slow(&self) -> &Tally {
        &self.judge.slow
    }

    /// From now on ticks count; those before belong to no run.
    pub fn publishing(&mut self) {
        self.judge.publishing = true;
    }

    /// Latencies are taken of the ticks due within `window_ns`.
    pub fn measure(&mut self, window_ns: Range<u64>) {
        self.judge.window_ns = window_ns;
    }

    /// Stops reading the slow tabs, or reads them again.
    pub fn pause(&mut self, paused: bool) {
        for number in 0..self.tabs.len() {
            let tab = &mut self.tabs[number];
            if tab.slow && tab.paused != paused {
                tab.paused = paused;
                // Readiness is told once only, so what has piled up is read now.
                self.read(number);
            }
        }
    }

    /// Waits at most `patience` for something to arrive and handles it; returns how many sockets had news.
    ///
    /// # Errors
    /// What the poll says.
    pub fn turn(&mut self, patience: Duration) -> io::Result<usize> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let outcome = self.poll.poll(&mut events, Some(patience));
        let begin_ns = self.judge.clock.now_ns();
        let mut news = 0;
        for event in &events {
            if event.is_writable() {
                self.tabs[event.token().0].flush();
            }
            if event.is_readable() {
                news += 1;
                self.read(event.token().0);
            }
        }
        self.events = events;
        self.busy_ns += self.judge.clock.now_ns() - begin_ns;
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(news),
        }
    }

    /// How the tabs that are slow, or those that are not, stand against what was published.
    pub fn standing(&self, slow: bool, published: impl Fn(usize) -> u32) -> Standing {
        let mut standing = Standing::default();
        for tab in self.tabs.iter().filter(|tab| tab.slow == slow) {
            for (position, place) in tab.share.places().enumerate() {
                let missing = published(place).saturating_sub(tab.ledger.last(position));
                standing.missing += u64::from(missing);
                standing.outdated += u64::from(missing > 0);
                standing.subscriptions += 1;
            }
        }
        standing
    }

    /// Whether a tab that is open lacks what was published last. Never where sequence numbers are not ours.
    pub fn lacks(&self, published: impl Fn(usize) -> u32) -> bool {
        let lacks = |tab: &Tab| {
            tab.share.places().enumerate().any(|(position, place)| tab.ledger.last(position) < published(place))
        };
        self.judge.stamped && self.tabs.iter().any(|tab| !tab.closed && lacks(tab))
    }

    /// Reads a tab until its socket is empty.
    fn read(&mut self, number: usize) {
        let tab = &mut self.tabs[number];
        while !tab.paused && !tab.closed {
            let kept = tab.rest.len();
            if self.scratch.len() < kept + READ_BYTES {
                self.scratch.resize(kept + READ_BYTES, 0);
            }
            self.scratch[..kept].copy_from_slice(&tab.rest);
            let space = self.scratch.len() - kept;
            let length = match tab.socket.read(&mut self.scratch[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => {
                    self.judge.tally(tab.slow).closed += 1;
                    tab.closed = true;
                    return;
                }
                Ok(length) => length,
            };
            let ready = tab.ready;
            self.judge.take(tab, &mut self.scratch[..kept + length]);
            self.ready += usize::from(tab.ready && !ready);
            tab.flush();
            // A short read has emptied the socket; the poll tells when there is more.
            if length < space {
                return;
            }
        }
    }
}

impl Judge {
    fn tally(&mut self, slow: bool) -> &mut Tally {
        if slow { &mut self.slow } else { &mut self.healthy }
    }

    /// Handles every whole frame of `bytes` and leaves the beginning of the next in the tab.
    fn take(&mut self, tab: &mut Tab, bytes: &mut [u8]) {
        let arrival_ns = self.clock.now_ns();
        let mut at = 0;
        loop {
            match frame::first(&mut bytes[at..]) {
                Ok(Some((frame, used))) => {
                    at += used;
                    match frame.opcode {
                        frame::TEXT | frame::BINARY => self.message(tab, frame.payload, arrival_ns),
                        frame::PING => frame::put(&mut tab.out, frame::PONG, frame.payload, Some(MASK)),
                        frame::CLOSE => {
                            let (code, reason) = frame.payload.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
                            let (code, reason) = (u16::from_be_bytes(*code), String::from_utf8_lossy(reason));
                            eprintln!("fan-load: a tab was closed: {code} {reason}");
                        }
                        _ => {}
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    eprintln!("fan-load: a tab got what is no frame: {error}");
                    tab.closed = true;
                    self.tally(tab.slow).closed += 1;
                    break;
                }
            }
        }
        tab.rest.clear();
        tab.rest.extend_from_slice(&bytes[at..]);
    }

    fn message(&mut self, tab: &mut Tab, payload: &[u8], arrival_ns: u64) {
        let (stamped, publishing) = (self.stamped, self.publishing);
        let in_window = self.window_ns.contains(&arrival_ns);
        let tally = if tab.slow { &mut self.slow } else { &mut self.healthy };
        let count = self.scanner.ticks(payload, |seen| {
            let position = self.universe.place(seen.token).and_then(|place| tab.share.position(place));
            let Some(position) = position else {
                tally.leaked += 1;
                return;
            };
            if seen.snapshot {
                tally.snapshots += 1;
            }
            if !publishing {
                return;
            }
            if !seen.snapshot {
                tally.delivered += 1;
                tally.in_window += u64::from(in_window);
            }
            if let SeenTick { stamp: Some(stamp), snapshot, .. } = seen {
                match tab.ledger.enter(position, stamp.sequence) {
                    Step::Next => {}
                    Step::Gap(skipped) if stamped => tally.lost += u64::from(skipped),
                    Step::Duplicate if stamped => tally.duplicated += 1,
                    Step::Gap(_) | Step::Duplicate => {}
                    Step::Backwards => tally.backwards += 1,
                }
                if stamped && !snapshot && self.window_ns.contains(&stamp.due_ns) {
                    let latency_ns = arrival_ns.saturating_sub(stamp.due_ns);
                    tally.latency.saturating_record(latency_ns);
                    tally.from_write.saturating_record(latency_ns.saturating_sub(stamp.late_ns.into()));
                }
            }
        });
        if count > 0 {
            return;
        }
        match self.scanner.notice(payload) {
            Notice::Subscribed => tab.ready = true,
            Notice::Conflated => tally.conflated += 1,
            Notice::Error => {
                tally.errors += 1;
                if tally.errors == 1 {
                    eprintln!("fan-load: error reply: {}", String::from_utf8_lossy(payload));
                }
            }
            Notice::Other => {}
        }
    }
}

impl Tab {
    /// Writes what waits; what the socket does not take waits on.
    fn flush(&mut self) {
        while !self.out.is_empty() && !self.closed {
            match self.socket.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A broken socket shows when it is read.
                Err(_) => return,
            }
        }
    }
}

/// Connects and shakes hands, blocking: on loopback that is quicker than a state machine is to read.
fn connect(plan: &Plan, number: usize, slow: bool, universe: &Universe) -> io::Result<Tab> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(plan.address), socket2::Type::STREAM, None)?;
    if slow && plan.slow_receive_buffer > 0 {
        socket.set_recv_buffer_size(plan.slow_receive_buffer)?;
    }
    socket.connect(&plan.address.into())?;
    let mut socket = std::net::TcpStream::from(socket);
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        plan.path, plan.address
    );
    socket.write_all(head.as_bytes())?;
    let mut rest = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(at) = memchr::memmem::find(&rest, b"\r\n\r\n") {
            break at + 4;
        }
        match socket.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => rest.extend_from_slice(&chunk[..length]),
        }
    };
    if !rest.starts_with(b"HTTP/1.1 101") {
        let status = rest.split(|&byte| byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("no upgrade: {}", String::from_utf8_lossy(status))));
    }
    rest.drain(..end);
    let share = universe.share(number, plan.tokens_per_tab);
    let tokens: Vec<String> = share.places().map(|place| format!("\"{}\"", universe.tokens()[place])).collect();
    let (tokens, mode) = (tokens.join(","), plan.mode.name());
    let requests = match plan.format {
        Format::Json | Format::Msgpack => {
            let format = plan.format.name();
            vec![format!(r#"{{"action":"subscribe","tokens":[{tokens}],"mode":"{mode}","format":"{format}"}}"#)]
        }
        Format::Kite => {
            let tokens = tokens.replace('"', "");
            vec![
                format!(r#"{{"a":"subscribe","v":[{tokens}]}}"#),
                format!(r#"{{"a":"mode","v":["{mode}",[{tokens}]]}}"#),
                format!(r#"{{"a":"{KITE_READY}","v":[]}}"#),
            ]
        }
    };
    let mut out = Vec::new();
    for request in requests {
        frame::put(&mut out, frame::TEXT, request.as_bytes(), Some(MASK));
    }
    socket.write_all(&out)?;
    socket.set_nonblocking(true)?;
    Ok(Tab {
        socket: TcpStream::from_std(socket),
        rest,
        out: Vec::new(),
        share,
        ledger: Ledger::new(share.count()),
        slow,
        paused: false,
        ready: false,
        closed: false,
    })
}
