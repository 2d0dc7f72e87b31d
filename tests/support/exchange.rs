//! A Kite ticker server that acts by itself: it answers subscriptions and lets every subscribed instrument tick, until it
//! is killed, and again when it is restarted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{Mode, Tick};

use super::eventually_true;
use super::kite_server::{KiteServer, Peer};
use super::ticks;

/// Packets in one message; 200 full ones are 37 KiB.
const MESSAGE: usize = 200;
/// Exchange time of round 0.
const EPOCH: u32 = 1_700_000_000;

/// A running exchange; ends when it is dropped.
pub struct Exchange {
    /// Where to connect.
    pub root: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    down: AtomicBool,
    ticking: AtomicBool,
    /// The round that ticks now. Its number is price and volume of all its ticks.
    round: AtomicU32,
    /// Sockets open now.
    sockets: AtomicUsize,
    /// Instruments subscribed now, counted on each socket.
    subscribed: AtomicUsize,
    /// Subscriptions of an instrument that a socket already had.
    doubled: AtomicUsize,
    /// Packets sent.
    packets: AtomicU64,
    /// Connections so far.
    connections: AtomicUsize,
}

impl Exchange {
    /// Every subscribed instrument ticks once a `period`, after the first subscription.
    pub fn start(period: Duration) -> Self {
        let server = KiteServer::start();
        let root = server.root();
        let shared = Arc::new(Shared::default());
        shared.ticking.store(true, SeqCst);
        shared.round.store(10, SeqCst);
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || Floor { server, shared: own, peers: Vec::new() }.run(period));
        Self { root, shared, thread: Some(thread) }
    }

    /// Drops all connections and refuses further ones; has done so when it returns.
    #[track_caller]
    pub fn kill(&self) {
        self.shared.down.store(true, SeqCst);
        eventually_true("all connections are dropped", || self.sockets() == 0);
    }

    /// Answers again.
    pub fn restart(&self) {
        self.shared.down.store(false, SeqCst);
    }

    /// Ticks no more, but lives.
    pub fn halt(&self) {
        self.shared.ticking.store(false, SeqCst);
    }

    /// The round that ticks now.
    pub fn round(&self) -> u32 {
        self.shared.round.load(SeqCst)
    }

    /// Sockets open now.
    pub fn sockets(&self) -> usize {
        self.shared.sockets.load(SeqCst)
    }

    /// Instruments subscribed now, over all sockets.
    pub fn subscribed(&self) -> usize {
        self.shared.subscribed.load(SeqCst)
    }

    /// How often an instrument was subscribed twice on a socket.
    pub fn doubled(&self) -> usize {
        self.shared.doubled.load(SeqCst)
    }

    /// Packets sent so far.
    pub fn packets(&self) -> u64 {
        self.shared.packets.load(SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "the exchange has failed");
    }
}

/// One connection, and what it subscribed to.
struct Member {
    peer: Peer,
    modes: BTreeMap<u32, Mode>,
}

/// What the exchange's thread has.
struct Floor {
    server: KiteServer,
    shared: Arc<Shared>,
    peers: Vec<Member>,
}

impl Floor {
    fn run(mut self, period: Duration) {
        let (mut due, mut heartbeat) = (Instant::now(), Instant::now());
        while !self.shared.stop.load(SeqCst) {
            let down = self.shared.down.load(SeqCst);
            self.server.set_down(down);
            if down {
                self.peers.drain(..).for_each(|mut member| member.peer.hang_up());
            }
            while let Some(call) = self.server.call() {
                if let Some(peer) = call.peer.filter(|_| !down) {
                    self.peers.push(Member { peer, modes: BTreeMap::new() });
                    self.shared.connections.fetch_add(1, SeqCst);
                }
            }
            self.listen();
            let now = Instant::now();
            if now >= heartbeat {
                heartbeat = now + Duration::from_secs(1);
                self.peers.retain_mut(|member| member.peer.try_send(&[0]));
            }
            if now >= due && self.shared.ticking.load(SeqCst) {
                due += period;
                self.tick();
            }
            self.shared.sockets.store(self.peers.len(), SeqCst);
            self.shared.subscribed.store(self.peers.iter().map(|member| member.modes.len()).sum(), SeqCst);
            let nap = due.saturating_duration_since(Instant::now()).min(Duration::from_millis(5));
            std::thread::sleep(nap.max(Duration::from_micros(200)));
        }
    }

    fn listen(&mut self) {
        let round = self.shared.round.load(SeqCst);
        for member in &mut self.peers {
            while let Some(message) = member.peer.heard() {
                let Ok(request) = serde_json::from_str::<Value>(&message.to_string()) else { continue };
                let tokens = |list: &Value| -> Vec<u32> {
                    list.as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
                };
                match request["a"].as_str() {
                    Some("subscribe") => {
                        for token in tokens(&request["v"]) {
                            if member.modes.insert(token, Mode::Quote).is_some() {
                                self.shared.doubled.fetch_add(1, SeqCst);
                            }
                        }
                    }
                    Some("unsubscribe") => tokens(&request["v"]).iter().for_each(|token| {
                        member.modes.remove(token);
                    }),
                    Some("mode") => {
                        let mode = Mode::parse(request["v"][0].as_str().unwrap()).unwrap();
                        let tokens = tokens(&request["v"][1]);
                        member.modes.extend(tokens.iter().map(|token| (*token, mode)));
                        // The last packet that this server has seen: a little older than what others had.
                        let old: Vec<(u32, Mode)> = tokens.iter().map(|token| (*token, mode)).collect();
                        send(member, &old, round - 3, &self.shared);
                    }
                    _ => {}
                }
            }
        }
    }

    /// While nobody listens time stands still, so that what the server has seen last is older than what others had.
    fn tick(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let round = self.shared.round.load(SeqCst) + 1;
        for member in &mut self.peers {
            let all: Vec<(u32, Mode)> = member.modes.iter().map(|(token, mode)| (*token, *mode)).collect();
            send(member, &all, round, &self.shared);
        }
        self.shared.round.store(round, SeqCst);
    }
}

fn send(member: &mut Member, tokens: &[(u32, Mode)], round: u32, shared: &Shared) {
    for part in tokens.chunks(MESSAGE) {
        let mut builder = MessageBuilder::default();
        for (token, mode) in part {
            let tick = Tick {
                mode: *mode,
                last_price: round.cast_signed(),
                exchange_timestamp: EPOCH + round,
                ..ticks::full(*token, round)
            };
            assert!(builder.push(&tick));
        }
        if member.peer.try_send(builder.take()) {
            shared.packets.fetch_add(part.len() as u64, SeqCst);
        }
    }
}
