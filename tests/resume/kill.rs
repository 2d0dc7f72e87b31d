//! The program is killed while everybody is connected, and everybody comes back: most of them at once, the rest
//! when the bar in which it was killed has closed.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{Client, decode};
use crate::support::keys::shared;
use crate::support::program::{gateway, stand_in};
use crate::support::redis::RedisServer;
use crate::support::ticks::{INFY, RELIANCE};
use crate::support::{PATIENCE, size};
use crate::token_of;

fn until(unix_s: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    std::thread::sleep(Duration::from_secs(unix_s as u64).saturating_sub(now));
}

/// One tab, and the closed candles it has seen.
struct Tab {
    user: String,
    instrument: u32,
    token: String,
    candles: Vec<i64>,
}

/// When a tab had what, from the moment it began to come back.
struct Return {
    resumed: Duration,
    /// It has the bar in which the program was killed.
    complete: Duration,
    /// How often it was told to come back later.
    refused: usize,
}

impl Tab {
    fn new(at: usize) -> Self {
        let user = format!("user{at}@x");
        Self { user, instrument: [INFY, RELIANCE][at % 2], token: String::new(), candles: Vec::new() }
    }

    /// A connection that was let in, what it answered, and how often it was told to come back before.
    fn ask(&self, address: SocketAddr, request: &Value) -> (Client, Value, usize) {
        let path = format!("/ws/stream?token={}", shared(&self.user, json!({})));
        let began = Instant::now();
        for refused in 0.. {
            if let Ok(mut client) = Client::knock(address, &path, &[]) {
                client.say(request);
                loop {
                    match client.next_message() {
                        Message::Close(Some(frame)) => {
                            assert_eq!(u16::from(frame.code), 4503, "{frame}");
                            break;
                        }
                        message if decode(&message)["type"] == "heartbeat" => {}
                        answer => return (client, decode(&answer), refused),
                    }
                }
            }
            assert!(began.elapsed() < PATIENCE, "{} is not let in", self.user);
            std::thread::sleep(Duration::from_millis(50));
        }
        unreachable!("there are enough numbers")
    }

    /// Subscribes and reads until the program is gone; tells of the first bar it sees close.
    fn watch(&mut self, address: SocketAddr, first_bar: &Sender<i64>) {
        let subscribe =
            json!({"action": "subscribe", "tokens": [self.instrument], "timeframes": ["1min"], "mode": "ltp"});
        let (mut client, reply, _) = self.ask(address, &subscribe);
        self.token = token_of(&reply);
        while let Some(message) = client.next_unless_lost() {
            if self.note(&message) && self.candles.len() == 1 {
                first_bar.send(self.candles[0]).unwrap();
            }
        }
    }

    /// Resumes and reads until the bar after the one in which the program was killed.
    fn come_back(&mut self, address: SocketAddr, killed_in: i64) -> Return {
        let began = Instant::now();
        let cursor = json!({"bars": {format!("{}:1min", self.instrument): self.candles.last()}});
        let resume = json!({"action": "resume", "token": self.token, "cursor": cursor});
        let (mut client, reply, refused) = self.ask(address, &resume);
        let resumed = began.elapsed();
        assert_eq!((&reply["type"], &reply["gap"]), (&json!("resumed"), &json!(false)), "{}: {reply}", self.user);
        assert_eq!(reply["tokens"], json!([self.instrument.to_string()]));
        self.until_bar(&mut client, killed_in);
        let complete = began.elapsed();
        self.until_bar(&mut client, killed_in + 60);
        Return { resumed, complete, refused }
    }

    fn until_bar(&mut self, client: &mut Client, start: i64) {
        let began = Instant::now();
        while self.candles.last().is_none_or(|last| *last < start) {
            assert!(began.elapsed() < 6 * PATIENCE, "{}: no candle of {start}, only {:?}", self.user, self.candles);
            self.note(&client.next());
        }
    }

    /// Whether a message is a closed candle; none comes twice or out of order.
    fn note(&mut self, message: &Value) -> bool {
        let closed = message["type"] == "candle" && message["closed"] == true;
        if closed {
            let start = message["data"]["start"].as_i64().unwrap();
            assert!(self.candles.last().is_none_or(|last| *last < start), "{}: {start} again", self.user);
            self.candles.push(start);
        }
        closed
    }
}

/// All these come back at the same time, each on a thread of its own that does nothing but read.
fn all_come_back(tabs: &mut [Tab], address: SocketAddr, killed_in: i64) -> Vec<Return> {
    std::thread::scope(|scope| {
        let back: Vec<_> = tabs.iter_mut().map(|tab| scope.spawn(move || tab.come_back(address, killed_in))).collect();
        back.into_iter().map(|back| back.join().unwrap()).collect()
    })
}

/// When the last had what it waited for.
fn last(returns: &[Return], had: impl Fn(&Return) -> Duration) -> Duration {
    returns.iter().map(had).max().unwrap_or_default()
}

/// Kills the program ten seconds before the end of a minute and brings it back. Everybody has the bar of before, the one
/// in which the program was killed, and the next.
fn everybody_resumes_after_a_kill(more: &[String], meanwhile: impl FnOnce()) {
    let (count, rate) = (size("TICKFAN_RESUME_SESSIONS", 50) as usize, size("TICKFAN_RESUME_RATE", 500));
    let dir = tempfile::tempdir().unwrap();
    let upstream = stand_in(rate);
    let program = gateway(dir.path(), &upstream, more);
    let mut tabs: Vec<Tab> = (0..count).map(Tab::new).collect();
    let (first_bar, first_bars) = channel();
    let killed_in = std::thread::scope(|scope| {
        for tab in &mut tabs {
            let (address, first_bar) = (program.address, first_bar.clone());
            scope.spawn(move || tab.watch(address, &first_bar));
        }
        // When a bar was seen to close the program has been up for long enough to have kept its states.
        let first = (0..count).map(|_| first_bars.recv_timeout(6 * PATIENCE).unwrap()).max().unwrap();
        meanwhile();
        until(first + 60 + 50);
        program.until_kept();
        // Killed, and gone when this returns: the next one finds its folder free.
        drop(program);
        first + 60
    });
    let killed = Instant::now();
    let program = gateway(dir.path(), &upstream, more);
    let restarted = killed.elapsed();
    let (at_once, later) = tabs.split_at_mut(count * 4 / 5);
    let (at_once, later) = std::thread::scope(|scope| {
        let address = program.address;
        let at_once = scope.spawn(move || all_come_back(at_once, address, killed_in));
        until(killed_in + 62);
        let later = all_come_back(later, address, killed_in);
        (at_once.join().unwrap(), later)
    });
    for tab in &tabs {
        let expected: Vec<_> = (0..tab.candles.len() as i64).map(|at| tab.candles[0] + 60 * at).collect();
        assert_eq!(tab.candles, expected, "{}: a closed bar is missing", tab.user);
        assert!(tab.candles.contains(&killed_in));
    }
    let refused: usize = at_once.iter().chain(&later).map(|back| back.refused).sum();
    println!(
        "{count} sessions at {rate} ticks/s: up again {restarted:?} after the kill, and after {:?} more the last of {} had \
         resumed; of {} that came when the bar had closed the last had resumed after {:?} and had the bar after {:?}; \
         {refused} times one was told to come back; no closed bar lost or told twice",
        last(&at_once, |back| back.resumed),
        at_once.len(),
        later.len(),
        last(&later, |back| back.resumed),
        last(&later, |back| back.complete),
    );
}

#[test]
fn everybody_resumes_after_a_kill_from_a_file() {
    everybody_resumes_after_a_kill(&[], || {});
}

#[test]
fn everybody_resumes_after_a_kill_from_redis() {
    let Some(server) = RedisServer::start() else { return };
    everybody_resumes_after_a_kill(&[format!("--session-store={}", server.address())], || {});
}

#[test]
fn everybody_resumes_after_a_kill_from_redis_which_was_killed_too() {
    let Some(mut server) = RedisServer::start() else { return };
    everybody_resumes_after_a_kill(&[format!("--session-store={}", server.address())], || {
        server.kill();
        assert!(server.begin());
    });
}
