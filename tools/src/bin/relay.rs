//! The least that is still a gateway: one ticker connection fanned out to tabs by token, one instrument set a tab.
//!
//! A reference to measure the real one against, and a stand-in that can be told to do wrong, so that the load client's
//! checks are themselves checked. It knows `subscribe` once a connection, JSON, and nothing else of the protocol.

use clap::{Arg, Command};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;
use tickfan::kite::packet::{decode, packets};
use tickfan::market::{InstrumentToken, Mode, Tick};
use tickfan_tools::load::frame;

/// What it does wrong, every so many ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Leak,
    Drop,
    Backwards,
    Twice,
}

/// The kernel's send buffer of a tab, bytes.
const SEND_BUFFER: usize = 64 << 10;

/// How many ticks pass between two faults.
const FAULT_EVERY: u64 = 97;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Command::new("relay")
        .about("The least that is still a gateway: a reference, and a check of the load client")
        .arg(Arg::new("listen").long("listen").value_name("HOST:PORT").default_value("127.0.0.1:0"))
        .arg(Arg::new("kite").long("kite").value_name("HOST:PORT").required(true).help("The Kite ticker server"))
        .arg(
            Arg::new("fault")
                .long("fault")
                .help("Do this wrong now and then")
                .value_parser(["none", "leak", "drop", "backwards", "twice"])
                .default_value("none"),
        )
        .get_matches();
    let text = |name: &str| options.get_one::<String>(name).map_or("", String::as_str);
    let fault = match text("fault") {
        "leak" => Fault::Leak,
        "drop" => Fault::Drop,
        "backwards" => Fault::Backwards,
        "twice" => Fault::Twice,
        _ => Fault::None,
    };
    let mut kite = TcpStream::connect(text("kite"))?;
    kite.set_nodelay(true)?;
    let rest = shake_hands(&mut kite, "/?api_key=relay&access_token=relay")?;
    let listener = TcpListener::bind(text("listen"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let (arrivals, inbox) = mpsc::channel();
    thread::spawn(move || accept(&listener, &arrivals));
    relay(kite, rest, &inbox, fault)
}

/// A client's upgrade; returns what came behind the reply.
fn shake_hands(stream: &mut TcpStream, path: &str) -> io::Result<Vec<u8>> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: kite\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(read_head(stream)?.1)
}

/// An HTTP head and what came behind it.
fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}

/// A tab and what it asked for.
type Arrival = (TcpStream, Mode, Vec<u32>);

fn accept(listener: &TcpListener, arrivals: &Sender<Arrival>) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        match welcome(&mut stream) {
            Ok((mode, tokens)) => drop(arrivals.send((stream, mode, tokens))),
            Err(error) => eprintln!("relay: {error}"),
        }
    }
}

/// Upgrades a tab and answers its subscription.
fn welcome(stream: &mut TcpStream) -> io::Result<(Mode, Vec<u32>)> {
    // The system's would take megabytes of a tab that does not read before this side feels it.
    socket2::SockRef::from(&*stream).set_send_buffer_size(SEND_BUFFER)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (head, mut bytes) = read_head(stream)?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(reply.as_bytes())?;
    let mut chunk = [0; 4096];
    let request: Value = loop {
        if let Some((frame, _)) = frame::first(&mut bytes).map_err(io::Error::other)? {
            break serde_json::from_slice(frame.payload)?;
        }
        // `first` unmasks only a whole frame, so an incomplete one can be looked at again.
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    };
    let tokens = request["tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let tokens: Vec<u32> = tokens.iter().filter_map(|token| token.as_str()?.parse().ok()).collect();
    let mode = request["mode"].as_str().and_then(Mode::parse).unwrap_or(Mode::Quote);
    let mut reply = Vec::new();
    let text = format!(r#"{{"type":"subscribed","symbols":[],"tokens":{},"format":"json"}}"#, request["tokens"]);
    frame::put(&mut reply, frame::TEXT, text.as_bytes(), None);
    stream.write_all(&reply)?;
    stream.set_nonblocking(true)?;
    Ok((mode, tokens))
}

struct Tab {
    stream: TcpStream,
    /// What the socket has not taken yet; while there is any, updates are merged instead of queued.
    pending: Vec<u8>,
    /// Instruments whose latest value this tab lacks, and how many updates were merged.
    missed: FxHashSet<u32>,
    merged: u64,
}

impl Tab {
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.pending.clear(),
            }
        }
    }
}

/// Every tab, and who wants what.
#[derive(Default)]
struct Relay {
    tabs: Vec<Tab>,
    subscribers: FxHashMap<u32, Vec<(usize, Mode)>>,
    latest: FxHashMap<u32, Tick>,
    ticks: u64,
}

fn relay(
    mut kite: TcpStream,
    mut bytes: Vec<u8>,
    inbox: &Receiver<Arrival>,
    fault: Fault,
) -> Result<(), Box<dyn Error>> {
    kite.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut relay = Relay::default();
    let mut chunk = vec![0; 256 << 10];
    loop {
        while let Ok(arrival) = inbox.try_recv() {
            let mut requests = Vec::new();
            for request in relay.admit(arrival) {
                frame::put(&mut requests, frame::TEXT, request.as_bytes(), Some([1, 2, 3, 4]));
            }
            kite.write_all(&requests)?;
        }
        match kite.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        while let Some((frame, used)) = frame::first(&mut bytes[at..])? {
            at += used;
            for tick in packets(frame.payload)?.filter_map(|packet| decode(packet).ok()) {
                relay.offer(&tick, fault);
            }
        }
        bytes.drain(..at);
        relay.catch_up();
    }
}

impl Relay {
    /// Takes a tab in and returns the requests for upstream.
    fn admit(&mut self, (stream, mode, tokens): Arrival) -> [String; 2] {
        for &token in &tokens {
            self.subscribers.entry(token).or_default().push((self.tabs.len(), mode));
        }
        self.tabs.push(Tab { stream, pending: Vec::new(), missed: FxHashSet::default(), merged: 0 });
        let subscribe = format!(r#"{{"a":"subscribe","v":{tokens:?}}}"#);
        [subscribe, format!(r#"{{"a":"mode","v":["{}",{tokens:?}]}}"#, mode.name())]
    }

    fn offer(&mut self, tick: &Tick, fault: Fault) {
        self.ticks += 1;
        let fault = if self.ticks.is_multiple_of(FAULT_EVERY) { fault } else { Fault::None };
        let older = self.latest.insert(tick.token.0, *tick).unwrap_or(*tick);
        let ticks: &[Tick] = match fault {
            Fault::None => &[*tick],
            Fault::Leak => &[*tick, Tick { token: InstrumentToken(1), ..*tick }],
            Fault::Drop => &[],
            Fault::Backwards => &[*tick, older],
            Fault::Twice => &[*tick, *tick],
        };
        let subscribers = self.subscribers.get(&tick.token.0).map_or(&[][..], Vec::as_slice);
        let [mut quote, mut ltp] = [Vec::new(), Vec::new()];
        for tick in ticks {
            frame::put(&mut quote, frame::TEXT, json(tick, false).as_bytes(), None);
            frame::put(&mut ltp, frame::TEXT, json(tick, true).as_bytes(), None);
        }
        for &(tab, mode) in subscribers {
            let tab = &mut self.tabs[tab];
            if tab.missed.is_empty() && tab.pending.len() < 1 << 16 {
                tab.pending.extend_from_slice(if mode == Mode::Ltp { &ltp } else { &quote });
            } else {
                tab.missed.insert(tick.token.0);
                tab.merged += 1;
            }
        }
    }

    /// Writes what waits, and gives tabs that read again the latest of what they missed.
    fn catch_up(&mut self) {
        for tab in &mut self.tabs {
            tab.flush();
            if tab.pending.is_empty() && !tab.missed.is_empty() {
                let notice = format!(r#"{{"type":"conflated","count":{},"timestamp":0}}"#, tab.merged);
                frame::put(&mut tab.pending, frame::TEXT, notice.as_bytes(), None);
                for token in tab.missed.drain() {
                    if let Some(tick) = self.latest.get(&token) {
                        frame::put(&mut tab.pending, frame::TEXT, json(tick, false).as_bytes(), None);
                    }
                }
                tab.merged = 0;
                tab.flush();
            }
        }
    }
}

fn json(tick: &Tick, ltp: bool) -> String {
    let Tick { token, last_price, volume_traded, .. } = tick;
    let (rupees, paise) = (last_price / 100, last_price % 100);
    let head = format!(r#"{{"type":"tick","token":"{token}","price":{rupees}.{paise:02},"timestamp":0"#);
    if ltp {
        return head + r#","volume_traded":0}"#;
    }
    format!(
        r#"{head},"volume_traded":{volume_traded},"last_traded_quantity":{},"total_buy_quantity":{},"total_sell_quantity":{},"mode":"{}"}}"#,
        tick.last_traded_quantity,
        tick.total_buy_quantity,
        tick.total_sell_quantity,
        tick.mode.name()
    )
}
