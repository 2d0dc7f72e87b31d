//! Sessions survive a lost connection, a killed gateway and a lost Redis; and nobody gets another's.
//!
//! `TICKFAN_RESUME_SESSIONS` and `TICKFAN_RESUME_RATE` set the size of the test that kills the program (50 sessions,
//! 500 ticks/s).

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::client::{Client, get};
use support::gateway::{Running, settings, start_behind_with};
use support::keys::claims;
use support::redis::RedisServer;
use support::script::Script;
use support::ticks::{INFY, NIFTY_50, RELIANCE, full};
use support::{PATIENCE, eventually_true};
use tickfan::clock::Clock;
use tickfan::gateway::{Keeping, Past, SessionStore};
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::key::Key;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::principal::Principal;
use tickfan::identity::revocation::Revocation;
use tickfan::resume::counters::Refused;
use tickfan::resume::vault::{self, Vault, VaultSettings};
use tickfan::resume::{IndicatorState, SessionState, Sessions, SessionsSettings, Ticket};
use tickfan::secret::Secret;

const SECRET: &str = "a-shared-secret-of-more-than-32-bytes";

fn gate() -> GateSettings {
    let second = Duration::from_secs(1);
    let issuer = IssuerSettings {
        issuer: "user_service".into(),
        audience: "trading_platform".into(),
        secret: Some(Key::shared(SECRET.as_bytes())),
        keys: None,
        refresh: second,
        cool_down: second,
        stale: second,
        lifetime: Duration::from_secs(86_400),
    };
    GateSettings { policy: Policy::Required, issuers: vec![issuer], ..GateSettings::default() }
}

fn jwt(user: &str, changes: Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(user, changes), &key).unwrap()
}

fn gateway(store: SessionStore) -> (Running, Script) {
    let script = Script::default();
    let past = Past { sessions: Keeping { store, expiry_s: 3_600 }, ..Past::default() };
    (start_behind_with(gate(), settings(), script.source(&[]), past), script)
}

fn tab_at(address: SocketAddr, jwt: &str) -> Client {
    Client::knock(address, &format!("/ws/stream?token={jwt}"), &[]).unwrap()
}

fn tab(gateway: &Running, user: &str) -> Client {
    tab_at(gateway.address, &jwt(user, json!({})))
}

fn resume(tab: &mut Client, token: &str) -> Value {
    tab.ask(&json!({"action": "resume", "token": token}))
}

fn token_of(reply: &Value) -> String {
    reply["resume_token"].as_str().unwrap_or_else(|| panic!("no resume token: {reply}")).to_owned()
}

fn refused(gateway: &Running, reason: Refused) -> u64 {
    gateway.app.context.sessions.counters.refused[reason as usize].load(Ordering::Relaxed)
}

#[track_caller]
fn is_refused(reply: &Value) {
    assert_eq!(
        *reply,
        json!({"type": "error", "error": "resume: unknown or expired; subscribe anew", "field": "token",
        "code": "resume_refused"})
    );
}

// ---- On one gateway --------------------------------------------------------------------------------------------------

#[test]
fn a_tab_that_comes_back_has_what_it_had() {
    let (gateway, script) = gateway(SessionStore::Memory);
    let mut first = tab(&gateway, "ann@x");
    let more = json!({"timeframes": ["5m"], "throttle_ms": 1, "mode": "full", "when": {"above": 1.0}});
    let token = token_of(&first.subscribe(&[INFY, RELIANCE], more));
    assert_eq!(token_of(&first.subscribe(&[INFY, RELIANCE, NIFTY_50], json!({"mode": "full"}))), token);
    first.say(&json!({"action": "unsubscribe", "tokens": [RELIANCE]}));
    first.until("unsubscribed");
    first.vanish();
    gateway.until_empty_but_for_the_linger();

    let mut second = tab(&gateway, "ann@x");
    let reply = resume(&mut second, &token);
    assert_eq!((&reply["type"], &reply["mode"], &reply["gap"]), (&json!("resumed"), &json!("full"), &json!(false)));
    assert_eq!(reply["tokens"], json!([NIFTY_50.to_string(), INFY.to_string()]));
    script.push(&[full(INFY, 1), full(RELIANCE, 1)]);
    assert_eq!(second.until("tick")["token"], INFY.to_string());
    // The token holds once.
    let mut third = tab(&gateway, "ann@x");
    is_refused(&resume(&mut third, &token));
    assert_eq!(refused(&gateway, Refused::Spent), 1);
    // And by the query, with the token that was given instead.
    let jwt = jwt("ann@x", json!({}));
    let path = format!("/ws/stream?token={jwt}&resume={}", token_of(&reply));
    let mut fourth = Client::knock(gateway.address, &path, &[]).unwrap();
    assert_eq!(fourth.next()["type"], "resumed");
    assert_eq!(second.until_closed().0, 4409, "one live owner");
}

#[test]
fn clients_that_know_nothing_of_it_see_nothing_of_it() {
    let script = Script::default();
    let open = GateSettings::default();
    let gateway = start_behind_with(open, settings(), script.source(&[]), Past::default());
    let mut tab = gateway.client();
    assert!(tab.subscribe(&[INFY], json!({})).get("resume_token").is_none());
    let token = token_of(&tab.subscribe(&[INFY], json!({"resume": true})));
    assert_eq!(resume(&mut tab, &token)["type"], "error", "only on a new connection");
    tab.close();
    // Without authentication the token alone opens it.
    assert_eq!(resume(&mut gateway.client(), &token)["type"], "resumed");
    is_refused(&resume(&mut gateway.client(), "rs_nonsense"));
}

#[test]
fn a_stolen_token_is_worth_nothing_and_is_told() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let mut ann = tab(&gateway, "ann@x");
    let token = token_of(&ann.subscribe(&[INFY], json!({})));
    is_refused(&resume(&mut tab(&gateway, "eve@x"), &token));
    assert_eq!(refused(&gateway, Refused::Foreign), 1);
    assert!(get(gateway.address, "/metrics").body.contains("tickfan_resume_refused_total{reason=\"foreign\"} 1"));
    ann.expect_silence();
    drop(ann);
    assert_eq!(resume(&mut tab(&gateway, "ann@x"), &token)["type"], "resumed", "its owner has lost nothing");
}

#[test]
fn of_many_who_resume_at_once_one_wins() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let mut first = tab(&gateway, "ann@x");
    let token = token_of(&first.subscribe(&[INFY], json!({})));
    let mut tabs: Vec<_> = (0..8).map(|_| tab(&gateway, "ann@x")).collect();
    tabs.iter_mut().for_each(|tab| tab.say(&json!({"action": "resume", "token": token})));
    let won = tabs.iter_mut().filter_map(|tab| (tab.next()["type"] == "resumed").then_some(())).count();
    assert_eq!((won, first.until_closed().0), (1, 4409));
}

#[test]
fn entitlements_are_checked_again() {
    let (gateway, _script) = gateway(SessionStore::Memory);
    let all = json!({"permissions": ["stream:all", "segment:*", "mode:full"]});
    let mut wide = tab_at(gateway.address, &jwt("ann@x", all));
    let reply = wide.subscribe(&[INFY, NIFTY_50], json!({"mode": "full"}));
    assert_eq!(wide.ask(&json!({"action": "set_all", "all": true}))["all"], true);
    let token = token_of(&reply);
    wide.vanish();
    let mut narrow = tab_at(gateway.address, &jwt("ann@x", json!({"permissions": ["segment:INDICES", "mode:ltp"]})));
    let reply = resume(&mut narrow, &token);
    assert_eq!((&reply["mode"], &reply["all"]), (&json!("ltp"), &json!(false)));
    assert_eq!(reply["tokens"], json!([NIFTY_50.to_string()]));
    assert_eq!(reply["unknown_tokens"], json!([INFY.to_string()]));
    // A revoked token opens nothing at all.
    let gate = &gateway.app.context.gate;
    gate.revoke(&[Revocation::Token { jti: "jti-ann@x".into() }]).unwrap();
    assert_eq!(narrow.until_closed().0, 4403);
    let path = format!("/ws/stream?token={}&resume={}", jwt("ann@x", json!({})), token_of(&reply));
    assert_eq!(Client::knock(gateway.address, &path, &[]).unwrap().until_closed().0, 4403);
}

#[test]
fn sessions_end_in_time_and_make_room() {
    let clock = Clock::manual(1_000_000_000_000);
    let settings = SessionsSettings { on: true, expiry_s: 60.0, most: 2 };
    let sessions = Arc::new(Sessions::new(settings, clock.clone(), Vec::new(), None, "memory"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ann = Principal::anonymous(Permissions::ALL);
    let begin = || {
        let mut ticket = Ticket::new(Arc::clone(&sessions));
        ticket.issue(&ann).cloned().map(|token| (token, ticket))
    };
    let resume = |token: &Secret| runtime.block_on(Ticket::new(Arc::clone(&sessions)).restore(token, &ann)).map(|_| ());
    let (one, ticket) = begin().unwrap();
    clock.advance(Duration::from_secs(100));
    drop(ticket);
    clock.advance(Duration::from_secs(59));
    assert_eq!(resume(&one), Ok(()), "counted from the end of its connection");
    let (two, ticket) = begin().unwrap();
    drop(ticket);
    let (_three, _ticket) = begin().unwrap();
    assert_eq!(sessions.counters.evicted.load(Ordering::Relaxed), 1);
    let (_four, _ticket) = begin().unwrap();
    assert!(begin().is_none(), "nobody is put out who is connected");
    assert_eq!(resume(&two), Err(Refused::Unknown));
}

// ---- Redis -----------------------------------------------------------------------------------------------------------

fn in_redis(server: &RedisServer) -> SessionStore {
    let (address, key) = (Secret::new(server.address()), Secret::new("0123456789abcdef0123456789abcdef"));
    SessionStore::Redis(VaultSettings { address, key, expiry_s: 3_600 })
}

fn until_kept(gateway: &Running) {
    let sessions = &gateway.app.context.sessions;
    eventually_true("all is written", || sessions.is_up() && sessions.sizes().1 == 0);
}

#[test]
fn gateways_share_sessions_through_redis_and_one_has_it() {
    let Some(server) = RedisServer::start() else { return };
    let ((a, _a), (b, _b)) = (gateway(in_redis(&server)), gateway(in_redis(&server)));
    until_kept(&b);
    let mut first = tab(&a, "ann@x");
    let token = token_of(&first.subscribe(&[INFY], json!({})));
    until_kept(&a);
    is_refused(&resume(&mut tab(&b, "eve@x"), &token));
    let mut second = tab(&b, "ann@x");
    let reply = resume(&mut second, &token);
    assert_eq!(reply["tokens"], json!([INFY.to_string()]), "{reply}");
    assert_eq!(first.until_closed().0, 4409);
    // Nobody who can write to Redis can make a session, or change one.
    drop(second);
    until_kept(&b);
    let [key] = &server.until_keys("tickfan:session:*", 1)[..] else { panic!() };
    assert!(server.ask::<i64>(&["TTL", key]) > 3_000);
    let _: i64 = server.ask(&["HSET", key, "fence", "99", "value", "{\"version\":1}"]);
    let (c, _c) = gateway(in_redis(&server));
    until_kept(&c);
    is_refused(&resume(&mut tab(&c, "ann@x"), &token_of(&reply)));
    assert_eq!(c.app.context.sessions.counters.ignored.load(Ordering::Relaxed), 1);
}

#[test]
fn without_redis_streaming_goes_on_and_afterwards_all_is_written_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let (gateway, script) = gateway(in_redis(&server));
    until_kept(&gateway);
    let health = || get(gateway.address, "/health").json()["sessions"]["state"].clone();
    let mut one = tab(&gateway, "ann@x");
    let first = token_of(&one.subscribe(&[INFY], json!({})));
    until_kept(&gateway);
    for (round, outage) in ["killed", "frozen"].into_iter().enumerate() {
        let price = 100 + round as u32;
        if outage == "killed" {
            server.kill()
        } else {
            server.signal("STOP")
        }
        eventually_true("the outage is told", || health() == "down");
        let mut two = tab(&gateway, "bob@x");
        let token = token_of(&two.subscribe(&[RELIANCE], json!({})));
        script.push(&[full(INFY, price), full(RELIANCE, price)]);
        assert_eq!(two.until("tick")["token"], RELIANCE.to_string());
        assert_eq!(one.until("tick")["token"], INFY.to_string());
        two.vanish();
        let mut again = tab(&gateway, "bob@x");
        let reply = again.ask(&json!({"action": "resume", "token": token}));
        assert_eq!(reply["type"], "resumed", "from memory, {outage}");
        if outage == "killed" {
            assert!(server.begin())
        } else {
            server.signal("CONT")
        }
        eventually_true("its return is told", || health() == "ok");
        until_kept(&gateway);
    }
    // The server came back empty, and has everything all the same.
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "tickfan:session:*"]).len(), 3);
    let (other, _script) = self::gateway(in_redis(&server));
    until_kept(&other);
    assert_eq!(resume(&mut tab(&other, "ann@x"), &first)["type"], "resumed");
}

#[test]
fn operators_find_connections_by_indicator() {
    let Some(server) = RedisServer::start() else { return };
    let SessionStore::Redis(settings) = in_redis(&server) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sessions = runtime.block_on(async {
        let vault = Arc::new(Vault::new(&settings).unwrap());
        let settings = SessionsSettings { on: true, expiry_s: 3_600.0, most: 10 };
        let sessions =
            Arc::new(Sessions::new(settings, Clock::system(), Vec::new(), Some(Arc::clone(&vault)), "redis"));
        tokio::spawn(vault::keep(vault, Arc::clone(&sessions)));
        sessions
    });
    let state = |connection: &str, ids: &[&str]| SessionState {
        connection: connection.into(),
        indicators: vec![IndicatorState {
            symbol: "NIFTY50".into(),
            timeframe: "5min".into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }],
        ..SessionState::default()
    };
    let (rsi, sma) = ("indicator_subscribers:NIFTY50:5min:RSI_14", "indicator_subscribers:NIFTY50:5min:SMA_20");
    let members = |key: &str| {
        let mut members: Vec<String> = server.ask(&["SMEMBERS", key]);
        members.sort();
        members
    };
    // A ghost of a program that was killed.
    let _: i64 = server.ask(&["SADD", rsi, "ws_ghost"]);
    let mut one = Ticket::new(Arc::clone(&sessions));
    let mut two = Ticket::new(Arc::clone(&sessions));
    for ticket in [&mut one, &mut two] {
        ticket.issue(&Principal::anonymous(Permissions::ALL)).unwrap();
    }
    one.note(state("ws_one", &["RSI_14", "SMA_20"]));
    two.note(state("ws_two", &["RSI_14"]));
    eventually_true("both stand there, and no ghost", || members(rsi) == ["ws_one", "ws_two"]);
    assert_eq!(members(sma), ["ws_one"]);
    assert!(server.ask::<i64>(&["TTL", rsi]) > 0);
    one.note(state("ws_one", &["RSI_14"]));
    eventually_true("what is unsubscribed is gone", || members(sma).is_empty());
    drop(two);
    eventually_true("who has left is gone", || members(rsi) == ["ws_one"]);
}

// ---- The program is killed -------------------------------------------------------------------------------------------

/// The real program; killed when it is dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// What stands for Kite, and outlives the gateway.
    fn upstream(rate: usize) -> Self {
        Self::launch(&["market".into(), format!("--market-rate={rate}")], "listening on ws://")
    }

    fn start(data_dir: &Path, upstream: &Self, more: &[String]) -> Self {
        let mut args: Vec<String> =
            ["--feed=kite", "--kite-api-key=k", "--kite-access-token=t", "--calendar=around-the-clock"]
                .map(str::to_owned)
                .into();
        args.push(format!("--kite-root=ws://{}/", upstream.address));
        args.push(format!("--data-dir={}", data_dir.display()));
        args.extend(["--auth=required".to_owned(), "--message-rate=0".to_owned()]);
        args.extend_from_slice(more);
        Self::launch(&args, "listening on http://")
    }

    fn launch(args: &[String], announced: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickfan"))
            .args(args)
            .args(["--listen=127.0.0.1:0", "--log=warn"])
            .env_remove("TICKFAN_RESUME_SESSIONS")
            .env_remove("TICKFAN_RESUME_RATE")
            .env("TICKFAN_JWT_SECRET", SECRET)
            .env("TICKFAN_SESSION_KEY", "0123456789abcdef0123456789abcdef")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix(announced).unwrap();
        let address = address.split(['/', ' ']).next().unwrap().parse().unwrap();
        Self { child, address }
    }

    fn until_kept(&self) {
        eventually_true("all sessions are written", || {
            let sessions = get(self.address, "/health").json()["sessions"].clone();
            sessions["state"] == "ok" && sessions["unwritten"] == 0
        });
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// One tab and the closed candles it has seen.
struct Seen {
    user: String,
    token: String,
    candles: Vec<i64>,
}

impl Seen {
    /// Reads until a closed candle that began at `start` or later; none comes twice or out of order.
    fn until_bar(&mut self, tab: &mut Client, start: i64) {
        let began = Instant::now();
        while self.candles.last().is_none_or(|last| *last < start) {
            assert!(began.elapsed() < 4 * PATIENCE, "{}: no candle of {start}, only {:?}", self.user, self.candles);
            let message = tab.next();
            if message["type"] == "candle" && message["closed"] == true {
                let start = message["data"]["start"].as_i64().unwrap();
                assert!(self.candles.last().is_none_or(|last| *last < start), "{}: {start} again", self.user);
                self.candles.push(start);
            }
        }
    }
}

/// Kills the program a few seconds before the end of a minute, brings it back, lets the minute end, and has everybody
/// resume: each has the bar of before, the one in which the program was killed, and the next.
fn everybody_resumes_after_a_kill(more: &[String], mut meanwhile: impl FnMut()) {
    let (count, rate) = (number("TICKFAN_RESUME_SESSIONS", 50), number("TICKFAN_RESUME_RATE", 500));
    let dir = tempfile::tempdir().unwrap();
    let upstream = Program::upstream(rate);
    let program = Program::start(dir.path(), &upstream, more);
    let mut tabs: Vec<(Seen, Client)> = (0..count)
        .map(|at| {
            let user = format!("user{at}@x");
            let mut tab = tab_at(program.address, &jwt(&user, json!({})));
            let token = [INFY, RELIANCE][at % 2];
            let reply = tab.subscribe(&[token], json!({"timeframes": ["1min"], "mode": "ltp"}));
            (Seen { user, token: token_of(&reply), candles: Vec::new() }, tab)
        })
        .collect();
    // One bar is seen to close; then the program has been up for long enough to have kept its states.
    let minute = (unix() as i64 / 60) * 60;
    tabs.iter_mut().for_each(|(seen, tab)| seen.until_bar(tab, minute));
    let killed_in = tabs[0].0.candles[0] + 60;
    meanwhile();
    while unix() < killed_in as f64 + 55.0 {
        // Somebody has to read, or the sockets fill up.
        std::thread::sleep(Duration::from_millis(100));
    }
    program.until_kept();
    program.kill();
    drop_all(&mut tabs);
    let program = Program::start(dir.path(), &upstream, more);
    program.until_kept();
    while unix() < (killed_in + 62) as f64 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let began = Instant::now();
    let mut gaps = 0;
    let mut tabs: Vec<(Seen, Client)> = tabs
        .into_iter()
        .map(|(mut seen, _)| {
            let mut tab = tab_at(program.address, &jwt(&seen.user, json!({})));
            let bar = [INFY, RELIANCE][seen.user[4..seen.user.len() - 2].parse::<usize>().unwrap() % 2];
            let cursor = json!({"bars": {format!("{bar}:1min"): seen.candles.last()}});
            let reply = tab.ask(&json!({"action": "resume", "token": seen.token, "cursor": cursor}));
            assert_eq!(reply["type"], "resumed", "{}: {reply}", seen.user);
            assert_eq!(reply["tokens"], json!([bar.to_string()]));
            gaps += usize::from(reply["gap"] == true);
            seen.token = token_of(&reply);
            (seen, tab)
        })
        .collect();
    let resumed = began.elapsed();
    tabs.iter_mut().for_each(|(seen, tab)| seen.until_bar(tab, killed_in));
    let complete = began.elapsed();
    // And goes on without a seam.
    tabs.iter_mut().for_each(|(seen, tab)| seen.until_bar(tab, killed_in + 60));
    for (seen, _) in &tabs {
        let expected: Vec<_> = (0..seen.candles.len() as i64).map(|at| seen.candles[0] + 60 * at).collect();
        assert_eq!(seen.candles, expected, "{}: a closed bar is missing", seen.user);
        assert!(seen.candles.contains(&killed_in));
    }
    assert_eq!(gaps, 0, "nothing was missing, and nobody is told so");
    println!(
        "{count} sessions at {rate} ticks/s: all resumed after {resumed:?} (one by one), the last had its missed bar \
         after {complete:?}; no closed bar lost or told twice"
    );
}

fn drop_all(tabs: &mut [(Seen, Client)]) {
    tabs.iter_mut().for_each(|(_, tab)| tab.tcp().shutdown(std::net::Shutdown::Both).unwrap_or_default());
}

#[test]
fn everybody_resumes_after_a_kill_from_a_file() {
    everybody_resumes_after_a_kill(&[], || {});
}

#[test]
fn everybody_resumes_after_a_kill_from_redis_which_was_killed_too() {
    let Some(mut server) = RedisServer::start() else { return };
    everybody_resumes_after_a_kill(&[format!("--session-store={}", server.address())], || {
        server.kill();
        assert!(server.begin());
    });
}
