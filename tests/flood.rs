//! Floods at the door: what operators revoke by the thousand, and wrong tokens as fast as they can be sent. Connected tabs
//! lose nothing, and how late they are is printed, before and during.
//!
//! `TICKFAN_DOOR_TABS` (10), `TICKFAN_DOOR_RATE` (100 messages/s, each with a tick of every instrument) and
//! `TICKFAN_DOOR_MS` (1,500, for each part) set the size.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use support::client::{Client, HANDSHAKE, connect_from, decode, post};
use support::gateway::{Running, settings, start_behind};
use support::keys::{by_secret, claims, now, shared};
use support::script::Script;
use support::ticks::{INFY, RELIANCE, TCS, full};
use support::{PATIENCE, eventually_true, size};
use tickfan::gateway::Settings;
use tickfan::identity::gate::{CHECKS, Policy, WAITING};
use tickfan::identity::refusal::Refusal;
use tickfan::secret::Secret;
use tickfan::server::admin::{AdminSettings, Place};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

const KEY: &str = "an-admin-key-of-some-length";
const TOKENS: [u32; 3] = [INFY, RELIANCE, TCS];

// ---- The tabs --------------------------------------------------------------------------------------------------------

/// What all tabs are sent, and how late it came.
struct Show {
    began: Instant,
    /// When each number was sent, nanoseconds after the beginning.
    sent: Vec<AtomicU64>,
    last: AtomicU32,
    /// How late ticks came in the part that runs, ns.
    late: crossbeam::queue::SegQueue<u64>,
    over: AtomicBool,
}

/// Most numbers of a show.
const NUMBERS: usize = 1 << 17;

impl Show {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            sent: (0..NUMBERS).map(|_| AtomicU64::new(0)).collect(),
            last: AtomicU32::new(0),
            late: crossbeam::queue::SegQueue::new(),
            over: AtomicBool::new(false),
        })
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Sends at an even pace until the show is over.
    fn play(&self, script: &Script, rate: u32) {
        let step = Duration::from_secs(1) / rate;
        let mut due = Instant::now();
        for number in 1..NUMBERS as u32 {
            // Whoever waits then waits for one more.
            let over = self.over.load(Ordering::Acquire);
            due += step;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.sent[number as usize].store(self.now_ns(), Ordering::Release);
            self.last.store(number, Ordering::Release);
            script.push(&TOKENS.map(|token| full(token, number)));
            if over {
                return;
            }
        }
    }

    /// Reads a tab until it has the last number: every number of each of its instruments, in order and once.
    async fn watch(&self, tab: &mut WebSocketStream<tokio::net::TcpStream>) {
        let mut seen = [0; TOKENS.len()];
        loop {
            let over = self.over.load(Ordering::Acquire) && seen == [self.last.load(Ordering::Acquire); TOKENS.len()];
            if over {
                return;
            }
            let message = tokio::time::timeout(PATIENCE, tab.next()).await.expect("something comes").unwrap().unwrap();
            let now_ns = self.now_ns();
            if message.is_ping() {
                continue;
            }
            let message: Value = decode(&message);
            if message["type"] == "heartbeat" {
                continue;
            }
            assert_eq!(message["type"], "tick", "{message}");
            let token: u32 = message["token"].as_str().unwrap().parse().unwrap();
            let number = message["volume_traded"].as_u64().unwrap() as u32;
            let at = TOKENS.iter().position(|other| *other == token).unwrap();
            assert_eq!(number, seen[at] + 1, "a tick of {token} is missing");
            seen[at] = number;
            self.late.push(now_ns - self.sent[number as usize].load(Ordering::Acquire));
        }
    }

    /// How late ticks were since the last look, ns.
    fn late(&self) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        while let Some(late) = self.late.pop() {
            histogram.record(late).unwrap();
        }
        histogram
    }
}

fn told(late: &Histogram<u64>) -> String {
    let ms = |quantile| late.value_at_quantile(quantile) as f64 / 1e6;
    format!("p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms, {} ticks", ms(0.5), ms(0.99), ms(1.0), late.len())
}

// ---- The stage -------------------------------------------------------------------------------------------------------

fn gateway() -> (Running, Script) {
    let script = Script::default();
    let settings = Settings {
        admin: AdminSettings { place: Place::Own, key: Some(Secret::new(KEY)) },
        admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        // A machine that halts for seconds must not look like a tick that got lost.
        ring_capacity: 4_096,
        ..settings()
    };
    (start_behind(by_secret(Policy::Required), settings, script.source(&[])), script)
}

#[track_caller]
fn tab(gateway: &Running, user: &str, jti: &str) -> Client {
    let token = shared(user, json!({"jti": jti}));
    Client::knock(gateway.address, &format!("/ws/stream?token={token}"), &[]).unwrap()
}

/// Has tabs watch while a flood runs: first without it, then with it, then until everybody has everything.
fn disturbed_by<T>(gateway: &Running, script: &Script, what: &str, flood: impl FnOnce(Duration) -> T) -> T {
    let (tabs, rate) = (size("TICKFAN_DOOR_TABS", 10), size("TICKFAN_DOOR_RATE", 100) as u32);
    let time = Duration::from_millis(size("TICKFAN_DOOR_MS", 1_500));
    let tabs: Vec<_> = (0..tabs)
        .map(|at| {
            let mut tab = tab(gateway, &format!("watcher{at}"), &format!("w{at}"));
            tab.subscribe(&TOKENS, json!({}));
            tab.expect_silence();
            tab.into_tcp()
        })
        .collect();
    let show = Show::new();
    let (before, during, outcome) = std::thread::scope(|scope| {
        scope.spawn(|| show.play(script, rate));
        let watchers = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(futures_util::future::join_all(tabs.into_iter().map(async |tcp| {
                tcp.set_nonblocking(true).unwrap();
                let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
                let mut tab = WebSocketStream::from_raw_socket(tcp, Role::Client, None).await;
                show.watch(&mut tab).await;
            })));
        });
        // What is met for the first time is not how it goes on.
        std::thread::sleep(time / 3);
        show.late();
        std::thread::sleep(time);
        let before = show.late();
        let outcome = flood(time);
        show.over.store(true, Ordering::Release);
        watchers.join().unwrap();
        (before, show.late(), outcome)
    });
    println!("{what}:\n  before {}\n  during {}", told(&before), told(&during));
    assert!(!during.is_empty(), "there was something to measure");
    outcome
}

// ---- The floods ------------------------------------------------------------------------------------------------------

fn revoke(gateway: &Running, revocations: &[Value]) -> Value {
    let body = json!({"revocations": revocations}).to_string();
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let answer = post(gateway.admin_address.unwrap(), "/auth/revocations", &key, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn ten_thousand_revocations_at_once_disturb_nobody_else() {
    let (gateway, script) = gateway();
    let mut ended: Vec<_> = (0..20).map(|at| tab(&gateway, &format!("ann{at}"), &format!("a{at}"))).collect();
    ended.iter_mut().for_each(Client::expect_silence);
    let answered = disturbed_by(&gateway, &script, "10,000 revocations in one request, then 200 one by one", |_| {
        // Every tab that is to end, and many that are not here.
        let names = (0..9_990).map(|at| json!({"jti": format!("x{at}")}));
        let users = (10..20).map(|at| json!({"user": format!("ann{at}")}));
        let all: Vec<_> = names.chain(users).collect();
        let began = Instant::now();
        assert_eq!(revoke(&gateway, &all), json!({"revoked": 10_000, "ended": 10}));
        let answered = began.elapsed();
        for at in 0..200 {
            let known = usize::from(at < 10);
            assert_eq!(revoke(&gateway, &[json!({"jti": format!("a{at}")})]), json!({"revoked": 1, "ended": known}));
        }
        answered
    });
    println!("  the 10,000 were answered after {answered:?}");
    assert!(ended.iter_mut().all(|tab| tab.until_closed() == (4403, "Token revoked".to_owned())));
    assert_eq!(gateway.app.context.gate.sizes().1, 10_000 + 200);
}

/// A token whose signature must be checked to be refused.
fn forged() -> String {
    let other = jsonwebtoken::EncodingKey::from_secret(b"another secret of more than 32 bytes");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    jsonwebtoken::encode(&header, &claims("eve", json!({"exp": now() + 600})), &other).unwrap()
}

/// Asks on one connection so many times, once at least, or until the server ends it; how many were answered. Does not wait
/// for all answers before it asks again.
fn ask_on(mut tcp: TcpStream, requests: &[u8], times: u32, until: Instant) -> u64 {
    let mut answers = 0;
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..times {
        if tcp.write_all(requests).is_err() {
            break;
        }
        match tcp.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => answers += buffer[..count].windows(9).filter(|window| window == b"HTTP/1.1 ").count() as u64,
        }
        if Instant::now() > until {
            break;
        }
    }
    answers
}

/// Wrong tokens for `time`, each connection from the next address: with requests, so many times 16 on one connection, and
/// with handshakes. Returns how many were answered.
fn wrong_tokens(to: SocketAddr, time: Duration, times: u32, address: impl Fn(u32) -> Ipv4Addr + Sync) -> u64 {
    let until = Instant::now() + time;
    let token = forged();
    let verify = format!("GET /auth/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n").repeat(16);
    let handshake = HANDSHAKE.replacen("/ws/stream", &format!("/ws/stream?token={token}"), 1);
    let next = AtomicU32::new(0);
    let connect = || connect_from(&address(next.fetch_add(1, Ordering::Relaxed)).to_string(), to);
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..4)
            .map(|at| {
                let requests = if at % 2 == 0 { verify.as_bytes() } else { handshake.as_bytes() };
                scope.spawn(move || {
                    let mut answers = 0;
                    // At least once, however late it begins.
                    loop {
                        answers += ask_on(connect(), requests, times, until);
                        if Instant::now() >= until {
                            return answers;
                        }
                    }
                })
            })
            .collect();
        attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum()
    })
}

/// Signatures that were checked and found wrong.
fn checked(gateway: &Running) -> u64 {
    gateway.app.context.gate.counters.refused[Refusal::Signature.index()].load(Ordering::Relaxed)
}

/// Those that were let in before the first of them was found wrong.
const UNDERWAY: u64 = (CHECKS + WAITING) as u64;

#[test]
fn wrong_tokens_from_one_address_are_bounded_and_disturb_nobody() {
    let (gateway, script) = gateway();
    let (answered, time) = disturbed_by(&gateway, &script, "wrong tokens from one address", |time| {
        let began = Instant::now();
        (wrong_tokens(gateway.address, time, u32::MAX, |_| Ipv4Addr::new(127, 0, 0, 2)), began.elapsed())
    });
    let bound = 100 + 5 * (time.as_secs() + 1) + UNDERWAY;
    println!("  {answered} answered in {time:?}, {} checked, at most {bound}", checked(&gateway));
    assert!((1..=bound).contains(&checked(&gateway)));
    // From elsewhere one gets in all the while.
    tab(&gateway, "bob", "b").expect_silence();
}

#[test]
fn wrong_tokens_from_everywhere_are_bounded_and_disturb_nobody() {
    let (gateway, script) = gateway();
    let (answered, time) = disturbed_by(&gateway, &script, "wrong tokens from everywhere", |time| {
        let began = Instant::now();
        let address = |at: u32| Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + at % 0xff_ff);
        (wrong_tokens(gateway.address, time, 5, address), began.elapsed())
    });
    let bound = 5_000 + 1_000 * (time.as_secs() + 1) + UNDERWAY;
    println!("  {answered} answered in {time:?}, {} checked, at most {bound}", checked(&gateway));
    assert!((1..=bound).contains(&checked(&gateway)));
    eventually_true("the door lets in who has a good token", || {
        let path = format!("/ws/stream?token={}", shared("bob", json!({})));
        Client::knock(gateway.address, &path, &[]).is_ok()
    });
}
