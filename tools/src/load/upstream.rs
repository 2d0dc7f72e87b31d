//! A Kite ticker server that publishes on schedule, whatever happens downstream.
//!
//! Open loop: tick `i` is due at `start + i / rate`. When this thread wakes late, or the gateway stops reading, the ticks
//! keep their due times, so the delay shows in the latency that tabs measure instead of thinning the load.

use super::clock::Clock;
use super::frame;
use super::requests::{self, Request};
use super::stamp::Stamp;
use super::universe::Universe;
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{InstrumentToken, Layout, Mode, Ohlc, Tick};

/// Kite sends a one-byte message this often.
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// Most packets in one message when ticks have piled up; 200 full ones are 37 KiB.
const MAX_PACKETS: u16 = 200;
/// A gateway that takes nothing for this long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest sleep, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(20);

/// What the publisher tells the rest of the program.
#[derive(Debug)]
struct Shared {
    /// The last sequence number published of each place; 0 before the first.
    published: Vec<AtomicU32>,
    /// Ticks written so far.
    sent: AtomicU64,
    /// Instruments that some connection wants now.
    wanted: AtomicUsize,
    /// Tick 0 is due now, in nanoseconds of the clock; 0 while nothing is to be published.
    start_ns: AtomicU64,
    /// Publish no more.
    stop: AtomicBool,
}

/// The running server.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    clock: Clock,
    shared: Arc<Shared>,
    publisher: JoinHandle<Histogram<u64>>,
}

impl Upstream {
    /// Listens on `address` (port 0 for any) and answers ticker clients; publishes nothing before [`Upstream::begin`].
    ///
    /// # Errors
    /// What the operating system says of the address or a thread.
    pub fn listen(address: &str, universe: Arc<Universe>, rate: u64, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            published: universe.tokens().iter().map(|_| AtomicU32::new(0)).collect(),
            sent: AtomicU64::new(0),
            wanted: AtomicUsize::new(0),
            start_ns: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (events, inbox) = mpsc::channel();
        thread::Builder::new().name("kite-accept".into()).spawn(move || accept(&listener, &events))?;
        let publisher = Publisher { universe, rate, clock, shared: Arc::clone(&shared), clients: Vec::new() };
        let publisher = thread::Builder::new().name("publisher".into()).spawn(move || publisher.run(&inbox))?;
        Ok(Self { address, clock, shared, publisher })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many instruments are subscribed.
    pub fn wanted(&self) -> usize {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    /// How many ticks were published.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// The last sequence number published at `place`.
    pub fn published(&self, place: usize) -> u32 {
        self.shared.published[place].load(Ordering::Relaxed)
    }

    /// Lets the ticks flow and returns when the first is due.
    pub fn begin(&self) -> u64 {
        let start_ns = self.clock.now_ns() + NAP.as_nanos() as u64;
        self.shared.start_ns.store(start_ns, Ordering::Release);
        start_ns
    }

    /// Publishes no more; heartbeats go on.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Ends the server and returns how late its ticks were written, in nanoseconds.
    pub fn finish(self) -> Histogram<u64> {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.start_ns.store(u64::MAX, Ordering::Release);
        self.publisher.join().unwrap_or_else(|_| super::percentiles::histogram())
    }
}

/// What happens on the connections, in the order the publisher learns of it.
enum Event {
    Connected(usize, TcpStream),
    Asked(usize, Request),
    Pinged(usize, Vec<u8>),
    Gone(usize),
}

/// Accepts ticker clients until the program ends; each is read by a thread of its own, which blocks.
fn accept(listener: &TcpListener, events: &Sender<Event>) {
    for (number, stream) in listener.incoming().enumerate() {
        let (Ok(stream), events) = (stream, events.clone()) else { continue };
        let read = move || {
            let outcome = converse(number, stream, &events);
            if let Err(error) = outcome {
                eprintln!("fan-load: ticker client {number}: {error}");
            }
            let _ = events.send(Event::Gone(number));
        };
        if let Err(error) = thread::Builder::new().name("kite-requests".into()).spawn(read) {
            eprintln!("fan-load: ticker client {number}: {error}");
        }
    }
}

/// Shakes hands and passes on what the client asks, until it goes.
fn converse(number: usize, mut stream: TcpStream, events: &Sender<Event>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut bytes = shake_hands(&mut stream)?;
    let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
    events.send(Event::Connected(number, stream.try_clone()?)).map_err(gone)?;
    let mut chunk = [0; 16 << 10];
    loop {
        let mut at = 0;
        while let Some((frame, used)) = frame::first(&mut bytes[at..]).map_err(io::Error::other)? {
            at += used;
            match frame.opcode {
                frame::TEXT => {
                    if let Some(request) = requests::parse(frame.payload) {
                        events.send(Event::Asked(number, request)).map_err(gone)?;
                    }
                }
                frame::PING => events.send(Event::Pinged(number, frame.payload.to_vec())).map_err(gone)?,
                frame::CLOSE => return Ok(()),
                _ => {}
            }
        }
        bytes.drain(..at);
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The publisher has closed it, or the gateway was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Answers the upgrade request and returns what the client sent behind it.
fn shake_hands(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(at) = memchr::memmem::find(&head, b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length if head.len() < 16 << 10 => head.extend_from_slice(&chunk[..length]),
            _ => return Err(io::Error::other("endless request")),
        }
    };
    let text = String::from_utf8_lossy(&head[..end]);
    let key = text.lines().filter_map(|line| line.split_once(':'));
    let key = key.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = key.ok_or_else(|| io::Error::other("no WebSocket upgrade"))?;
    let accept = tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(reply.as_bytes())?;
    Ok(head.split_off(end))
}

/// A ticker client, as the publisher keeps it.
struct Client {
    number: usize,
    stream: TcpStream,
    /// The mode of each place; `None` where it is not subscribed.
    modes: Vec<Option<Mode>>,
    message: MessageBuilder,
}

impl Client {
    /// Whether it could be written.
    fn write(&mut self, opcode: u8, payload: &[u8]) -> bool {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        frame::put(&mut bytes, opcode, payload, None);
        self.stream.write_all(&bytes).is_ok()
    }

    fn flush(&mut self) -> bool {
        if self.message.count() == 0 {
            return true;
        }
        let mut bytes = Vec::new();
        frame::put(&mut bytes, frame::BINARY, self.message.take(), None);
        self.stream.write_all(&bytes).is_ok()
    }
}

struct Publisher {
    universe: Arc<Universe>,
    rate: u64,
    clock: Clock,
    shared: Arc<Shared>,
    clients: Vec<Client>,
}

impl Publisher {
    fn run(mut self, inbox: &Receiver<Event>) -> Histogram<u64> {
        sharpen_timers();
        let mut lateness = super::percentiles::histogram();
        let mut heartbeat_ns = self.clock.now_ns() + HEARTBEAT_NS;
        let mut next = 0;
        loop {
            let stopped = self.shared.stop.load(Ordering::Acquire);
            let start_ns = self.shared.start_ns.load(Ordering::Acquire);
            if stopped && start_ns == u64::MAX {
                return lateness;
            }
            let flowing = start_ns != 0 && !stopped;
            if flowing {
                next = self.publish(start_ns, next, &mut lateness);
            }
            if self.clock.now_ns() >= heartbeat_ns {
                heartbeat_ns += HEARTBEAT_NS;
                self.clients.retain_mut(|client| client.write(frame::BINARY, &[0]));
            }
            let until = if flowing { self.clock.until(self.due_ns(start_ns, next)) } else { NAP };
            if let Ok(event) = inbox.recv_timeout(until.min(NAP)) {
                self.learn(event);
                while let Ok(event) = inbox.try_recv() {
                    self.learn(event);
                }
            }
        }
    }

    fn due_ns(&self, start_ns: u64, tick: u64) -> u64 {
        start_ns + (u128::from(tick) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// Writes every tick from `next` that is due, at most one message to each client, and returns the next one.
    fn publish(&mut self, start_ns: u64, mut next: u64, lateness: &mut Histogram<u64>) -> u64 {
        let now_ns = self.clock.now_ns();
        for _ in 0..MAX_PACKETS {
            let due_ns = self.due_ns(start_ns, next);
            if due_ns > now_ns {
                break;
            }
            let place = (next % self.universe.len() as u64) as usize;
            next += 1;
            if self.clients.iter().all(|client| client.modes[place].is_none()) {
                continue;
            }
            let late_ns = u32::try_from(now_ns - due_ns).unwrap_or(u32::MAX);
            lateness.saturating_record(late_ns.into());
            let sequence = self.shared.published[place].fetch_add(1, Ordering::Relaxed) + 1;
            self.shared.sent.fetch_add(1, Ordering::Relaxed);
            let tick = tick(self.universe.tokens()[place], Stamp { sequence, due_ns, late_ns });
            for client in &mut self.clients {
                if let Some(mode) = client.modes[place] {
                    client.message.push(&Tick { mode, ..tick });
                }
            }
        }
        self.clients.retain_mut(Client::flush);
        next
    }

    fn learn(&mut self, event: Event) {
        let nobody = || vec![None; self.universe.len()];
        match event {
            Event::Connected(number, stream) => {
                let message = MessageBuilder::default();
                self.clients.push(Client { number, stream, modes: nobody(), message });
            }
            Event::Gone(number) => self.clients.retain(|client| client.number != number),
            Event::Pinged(number, payload) => {
                self.clients.retain_mut(|client| client.number != number || client.write(frame::PONG, &payload));
            }
            Event::Asked(number, request) => {
                let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else { return };
                let (mode, tokens) = match request {
                    Request::Subscribe(tokens) => (Some(Mode::Quote), tokens),
                    Request::SetMode(mode, tokens) => (Some(mode), tokens),
                    Request::Unsubscribe(tokens) => (None, tokens),
                };
                for place in tokens.into_iter().filter_map(|token| self.universe.place(token)) {
                    client.modes[place] = mode;
                }
            }
        }
        let wanted = |place: &usize| self.clients.iter().any(|client| client.modes[*place].is_some());
        let wanted = (0..self.universe.len()).filter(wanted).count();
        self.shared.wanted.store(wanted, Ordering::Relaxed);
    }
}

/// A plausible full tick with `stamp` in it; its price moves with the sequence number.
fn tick(token: u32, stamp: Stamp) -> Tick {
    let price = 100_000 + (stamp.sequence.wrapping_mul(7) % 4_000) as i32 * 5;
    let mut tick = Tick::ltp(InstrumentToken(token), price);
    tick.layout = Layout::Tradable;
    tick.average_traded_price = 110_000;
    tick.ohlc = Ohlc { open: 100_500, high: 120_000, low: 100_000, close: 101_000 };
    tick.exchange_timestamp = 1_762_257_900;
    tick.last_trade_time = tick.exchange_timestamp;
    for row in 0..5 {
        let step = row as i32 * 5 + 5;
        (tick.depth.buy[row].price, tick.depth.sell[row].price) = (price - step, price + step);
        (tick.depth.buy[row].quantity, tick.depth.sell[row].quantity) = (100, 100);
        (tick.depth.buy[row].orders, tick.depth.sell[row].orders) = (3, 4);
    }
    stamp.hide(&mut tick);
    tick
}

/// Asks Linux to wake this thread when its sleep ends, not up to 50 µs later. Where that cannot be set, the lateness
/// that the report tells is larger and nothing else changes.
fn sharpen_timers() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    if let Some(number) = thread.as_deref().and_then(|path| path.file_name()) {
        let _ = std::fs::write(std::path::Path::new("/proc").join(number).join("timerslack_ns"), "1000");
    }
}
