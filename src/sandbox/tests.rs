use super::exchange::Admitted;
use super::*;
use crate::kite::packet::{decode, packets};
use crate::market::Tick;
use std::collections::HashMap;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const MS: u64 = 1_000_000;
/// Two busy shares of the built-in list.
const RELIANCE: u32 = 738_561;
const INFY: u32 = 408_065;

/// An exchange stepped by hand.
struct Floor {
    exchange: Exchange,
    now_ns: u64,
}

impl Floor {
    fn new(adjust: impl FnOnce(&mut SandboxSettings)) -> Self {
        let mut market = MarketOptions::new(1_700_000_000);
        market.rate = 5_000;
        let mut settings = SandboxSettings::new(([127, 0, 0, 1], 0).into(), market);
        adjust(&mut settings);
        let mut exchange = Exchange::new(MarketFeed::new(settings.market.clone()).unwrap(), &settings);
        exchange.advance(0);
        Self { exchange, now_ns: 0 }
    }

    fn admit(&mut self) -> Result<Admitted, u16> {
        let (reply, mut answer) = oneshot::channel();
        self.exchange.obey(Command::Admit { key: "key".into(), reply }, self.now_ns);
        answer.try_recv().unwrap().map_err(|refused| refused.status)
    }

    fn say(&mut self, of: &Admitted, text: &str) {
        self.exchange.obey(Command::Said { line: of.line, text: text.into() }, self.now_ns);
    }

    fn inject(&mut self, injection: Injection) -> usize {
        let (reply, mut answer) = oneshot::channel();
        self.exchange.obey(Command::Inject { injection, reply }, self.now_ns);
        answer.try_recv().unwrap()
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            self.now_ns += 5 * MS;
            self.exchange.advance(self.now_ns);
        }
        assert!(self.exchange.due_ns() > self.now_ns);
    }
}

/// Everything that waits for a socket.
fn sent(of: &mut Admitted) -> Vec<Message> {
    std::iter::from_fn(|| of.outgoing.try_recv().ok()).collect()
}

fn ticks(messages: &[Message]) -> Vec<Tick> {
    let binary = messages.iter().filter(|message| message.is_binary());
    let found =
        binary.flat_map(|message| packets(&message.clone().into_data()).unwrap().map(decode).collect::<Vec<_>>());
    found.map(Result::unwrap).collect()
}

fn heartbeats(messages: &[Message]) -> usize {
    messages.iter().filter(|message| message.is_binary() && message.len() == 1).count()
}

fn lasting(fault: Fault, seconds: u64) -> Injection {
    Injection { length: Some(Duration::from_secs(seconds)), ..Injection::new(fault) }
}

#[test]
fn a_connection_gets_what_it_asked_for_in_its_mode() {
    let mut floor = Floor::new(|_| {});
    let mut tab = floor.admit().unwrap();
    floor.pass(1_000);
    let greeting = sent(&mut tab);
    assert!(greeting[0].to_text().unwrap().starts_with(r#"{"type":"instruments_meta","data":{"count":78,"#));
    assert_eq!((ticks(&greeting).len(), heartbeats(&greeting)), (0, 1));

    floor.say(&tab, r#"{"a":"subscribe","v":[738561,408065,1]}"#);
    let first = ticks(&sent(&mut tab));
    assert_eq!(
        first.iter().map(|tick| (tick.token.0, tick.mode)).collect::<Vec<_>>(),
        [(RELIANCE, Mode::Quote), (INFY, Mode::Quote)]
    );
    floor.say(&tab, r#"{"a":"mode","v":["full",[738561]]}"#);
    floor.say(&tab, r#"{"a":"unsubscribe","v":[408065]}"#);
    // What waits for the socket fits its queue.
    floor.pass(1_000);
    let messages = sent(&mut tab);
    let then = ticks(&messages);
    assert!(then.len() > 20 && then.iter().all(|tick| (tick.token.0, tick.mode) == (RELIANCE, Mode::Full)));
    assert!(then.is_sorted_by_key(|tick| tick.volume_traded));
    assert_eq!(heartbeats(&messages), 1);
}

#[test]
fn ltp_is_sent_only_when_the_price_moves() {
    let mut floor = Floor::new(|_| {});
    let mut tab = floor.admit().unwrap();
    floor.say(&tab, r#"{"a":"mode","v":["ltp",[738561]]}"#);
    floor.pass(1_000);
    let prices: Vec<i32> = ticks(&sent(&mut tab)).iter().map(|tick| tick.last_price).collect();
    assert!(prices.len() > 5 && prices.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn limits_are_kites() {
    let mut floor = Floor::new(|settings| settings.max_tokens = 2);
    let mut lines: Vec<_> = (0..3).map(|_| floor.admit().unwrap()).collect();
    assert_eq!(floor.admit().unwrap_err(), 429);
    floor.say(&lines[0], r#"{"a":"subscribe","v":[738561,408065,738561,2953217]}"#);
    let texts = sent(&mut lines[0]);
    let last = texts.last().unwrap().to_text().unwrap();
    assert_eq!(last, r#"{"type":"error","data":"Can't subscribe to more than 2 instruments."}"#);
    floor.exchange.obey(Command::Gone { line: lines[1].line }, floor.now_ns);
    assert!(floor.admit().is_ok());
}

#[test]
fn the_same_seed_gives_the_same_course() {
    let course = |seed| {
        let mut floor = Floor::new(|settings| settings.market.seed = seed);
        let mut tabs = [floor.admit().unwrap(), floor.admit().unwrap(), floor.admit().unwrap()];
        for tab in &tabs {
            floor.say(tab, r#"{"a":"mode","v":["full",[738561,408065]]}"#);
        }
        floor.pass(500);
        floor.inject(Injection { reach: Reach::One, ..Injection::new(Fault::Drop) });
        floor.pass(500);
        tabs.each_mut().map(sent)
    };
    assert_eq!(course(7), course(7));
    assert_ne!(course(7), course(8));
}

#[test]
fn lasting_faults_begin_and_end() {
    let mut floor = Floor::new(|_| {});
    let mut tab = floor.admit().unwrap();
    floor.say(&tab, r#"{"a":"mode","v":["full",[738561]]}"#);
    sent(&mut tab);

    assert_eq!(floor.inject(lasting(Fault::Silence, 2)), 1);
    floor.pass(1_995);
    assert!(sent(&mut tab).is_empty());
    floor.pass(1_000);
    assert!(!sent(&mut tab).is_empty());

    floor.inject(lasting(Fault::NoHeartbeat, 2));
    floor.pass(1_995);
    let messages = sent(&mut tab);
    assert_eq!(heartbeats(&messages), 0);
    assert!(!messages.is_empty());

    floor.inject(lasting(Fault::Duplicate, 1));
    floor.pass(995);
    let twice = ticks(&sent(&mut tab));
    assert!(twice.len() > 10 && twice.chunks(2).all(|pair| pair[0] == pair[1]));

    floor.inject(lasting(Fault::Late, 1));
    floor.pass(995);
    let late = ticks(&sent(&mut tab));
    assert!(!late.is_sorted_by_key(|tick| tick.volume_traded), "an old value comes behind a new one");

    floor.inject(lasting(Fault::Refuse { status: 403 }, 1));
    assert_eq!(floor.admit().unwrap_err(), 403);
    floor.pass(1_000);
    assert!(floor.admit().is_ok());

    floor.inject(Injection::new(Fault::Silence));
    sent(&mut tab);
    floor.pass(5_000);
    assert!(sent(&mut tab).is_empty());
    let (reply, _) = oneshot::channel();
    floor.exchange.obey(Command::Heal { reply }, floor.now_ns);
    floor.pass(1_000);
    assert!(!sent(&mut tab).is_empty());
}

#[test]
fn malformed_messages_are_what_their_names_say() {
    let mut floor = Floor::new(|_| {});
    let mut tab = floor.admit().unwrap();
    floor.say(&tab, r#"{"a":"subscribe","v":[738561]}"#);
    sent(&mut tab);
    let mut one = |how| {
        floor.inject(Injection::new(Fault::Malformed(how)));
        sent(&mut tab).pop().unwrap()
    };
    assert!(packets(&one(Malformed::WrongCount).into_data()).is_err());
    for (how, lengths) in [(Malformed::CutPacket, &[41][..]), (Malformed::OddLength, &[44, 12])] {
        let message = one(how).into_data();
        assert_eq!(packets(&message).unwrap().map(<[u8]>::len).collect::<Vec<_>>(), lengths);
    }
    assert!(one(Malformed::Empty).is_empty());
    assert!(serde_json::from_str::<serde_json::Value>(one(Malformed::NotJson).to_text().unwrap()).is_err());
}

#[test]
fn a_new_day_starts_volumes_afresh_and_moves_dates_on() {
    let mut floor = Floor::new(|_| {});
    let mut tab = floor.admit().unwrap();
    floor.say(&tab, r#"{"a":"mode","v":["full",[738561]]}"#);
    floor.pass(1_000);
    let before = ticks(&sent(&mut tab)).pop().unwrap();
    floor.inject(Injection::new(Fault::DayRollover));
    floor.pass(5);
    let after = ticks(&sent(&mut tab)).remove(0);
    assert!(after.volume_traded < before.volume_traded, "{before:?} {after:?}");
    assert!((86_400..=86_402).contains(&(after.exchange_timestamp - before.exchange_timestamp)));
    assert_eq!((after.ohlc.open, after.ohlc.close, after.oi), (before.last_price, before.last_price, before.oi));
    floor.pass(1_000);
    assert!(ticks(&sent(&mut tab)).iter().all(|tick| tick.exchange_timestamp >= after.exchange_timestamp));
}

#[test]
fn a_scenario_runs_on_its_time_line() {
    let text = r#"
        begin = "first-connection"
        [[event]]
        at = 0
        fault = "refuse"
        status = 429
        for = "2s"
        [[event]]
        at = "3s"
        every = "500ms"
        repeat = 3
        fault = "order"
        text = "{}"
        [[event]]
        at = "4500ms"
        fault = "drop"
        connections = "all"
    "#;
    let mut floor = Floor::new(|settings| settings.scenario = Scenario::parse(text).unwrap());
    floor.pass(10_000);
    assert_eq!(floor.admit().unwrap_err(), 429);
    floor.pass(2_000);
    let mut tab = floor.admit().unwrap();
    floor.pass(2_400);
    let orders = sent(&mut tab).iter().filter(|message| **message == Message::text("{}")).count();
    assert_eq!(orders, 3);
    assert!(!tab.outgoing.is_closed());
    floor.pass(200);
    assert!(tab.outgoing.is_closed());
    let injected: HashMap<_, _> = floor.exchange.seen().injected.clone().into_iter().collect();
    assert_eq!(injected, HashMap::from([("refuse", 1), ("order", 3), ("drop", 1)]));
}

#[test]
fn a_bad_scenario_is_refused_by_key_with_what_is_allowed() {
    let refused = |text: &str| Scenario::parse(text).unwrap_err().to_string();
    for (text, told) in [
        ("begin = \"later\"", r#"top: begin = "later" is not allowed; allowed is at-once, first-connection"#),
        ("[[events]]", "top: events means nothing here; allowed are begin, event"),
        ("event = 1", "top: event = 1 is not allowed; allowed is tables, each under [[event]]"),
        (
            "[[event]]\nfault = \"drop\"",
            "event 1: at is missing; allowed is a time such as 1.5s, 200ms or 2m, at most 24h",
        ),
        ("[[event]]\nat = \"soon\"\nfault = \"drop\"", "event 1: at = \"soon\" is not allowed"),
        (
            "[[event]]\nat = 1\nfault = \"fire\"",
            "event 1: fault = \"fire\" is not allowed; allowed is drop, refuse, silence,",
        ),
        (
            "[[event]]\nat = 1\nfault = \"refuse\"\nstatus = 500",
            "event 1: status = 500 is not allowed; allowed is 403 or 429",
        ),
        (
            "[[event]]\nat = 1\nfault = \"trickle\"",
            "event 1: bytes_per_second is missing; allowed is a whole number 1 to 1000000",
        ),
        (
            "[[event]]\nat = 1\nfault = \"malformed\"\nkind = 3",
            "event 1: kind = 3 is not allowed; allowed is wrong-count, cut-packet,",
        ),
        (
            "[[event]]\nat = 1\nfault = \"drop\"\nfor = \"3s\"",
            "event 1: for means nothing here; allowed are at, every, fault, connections",
        ),
        ("[[event]]\nat = 1\nfault = \"drop\"\nrepeat = 3", "event 1: repeat means nothing here"),
        (
            "[[event]]\nat = 1\nevery = 0\nfault = \"drop\"",
            "event 1: every = 0 is not allowed; allowed is a time above 0",
        ),
        ("[[event]\nat", "line 1: "),
    ] {
        let found = refused(text);
        assert!(found.starts_with(told), "{text:?}: {found}");
    }
    assert!(Scenario::load(std::path::Path::new("absent.toml")).unwrap_err().to_string().starts_with("absent.toml: "));
}
