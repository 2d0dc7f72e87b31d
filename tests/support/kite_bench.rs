//! A Kite feed with both halves running against a [`KiteServer`], turned by the test.
#![expect(clippy::disallowed_types, reason = "a test's own record, met by no hot path that is measured")]

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tickfan::clock::Clock;
use tickfan::feed::kite::{self, Credentials, Keys, KiteFeed, KiteState, KiteStatus, Notice, Settings, Source};
use tickfan::feed::{Demand, Feed, Outage};
use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{InstrumentToken, Layout, Mode, Tick};
use tokio::sync::{mpsc, watch};

use super::kite_server::{Answer, Call, KiteServer, Peer};

const FEED: mio::Token = mio::Token(0);
const WAKE: mio::Token = mio::Token(1);
/// The API key of every bench, to be searched for where it must not be.
pub const KEY: &str = "s3cretkey";
/// The access token, with a character that a URL must encode.
pub const TOKEN: &str = "s3cret+token";

/// A duty loop around one feed, with its control half on a runtime of its own.
pub struct Bench {
    pub server: KiteServer,
    pub feed: Option<KiteFeed>,
    poll: mio::Poll,
    pub clock: Clock,
    pub budget: usize,
    /// Binary messages so far, and the number of the poll that brought each.
    pub received: Vec<(usize, Vec<u8>)>,
    pub polls: usize,
    pub status: Arc<KiteStatus>,
    pub keys: Arc<Keys>,
    pub outages: mpsc::Receiver<Outage>,
    pub notices: mpsc::Receiver<Notice>,
    pub stop: watch::Sender<bool>,
    pub task: tokio::task::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub fn new(answers: Vec<Answer>) -> Self {
        Self::with(answers, |_| {})
    }

    /// With answers for the first connections, and settings changed from quick ones.
    pub fn with(answers: Vec<Answer>, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_clock(Clock::system(), answers, change)
    }

    /// With a clock that the test moves, settings changed from quick ones.
    pub fn by_hand(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_clock(Clock::manual(0), Vec::new(), change)
    }

    fn with_clock(clock: Clock, answers: Vec<Answer>, change: impl FnOnce(&mut Settings)) -> Self {
        log();
        let server = KiteServer::start();
        answers.into_iter().for_each(|answer| server.answer(answer));
        let mut settings = Settings::new(vec![Source::Fixed(Credentials::new(KEY, TOKEN))]);
        settings.sockets = 1;
        settings.pace = Duration::ZERO;
        settings.root = server.root();
        settings.waits.backoff_first = Duration::from_millis(10);
        settings.waits.credentials = Duration::from_millis(20);
        change(&mut settings);
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), WAKE).unwrap();
        let feeds_clock = clock.clone();
        let (mut feed, mut connector) =
            kite::feed(settings, move || feeds_clock.now_ns(), move || waker.wake().unwrap());
        feed.register(poll.registry(), FEED).unwrap();
        let (status, notices) = (connector.status(), connector.notices());
        let (keys, outages) = (connector.keys(), connector.outages().unwrap());
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let task = runtime.spawn(connector.connect_forever(stopped));
        Self {
            server,
            feed: Some(feed),
            poll,
            clock,
            budget: 10_000,
            received: Vec::new(),
            polls: 0,
            status,
            keys,
            outages,
            notices,
            stop,
            task,
            _runtime: runtime,
        }
    }

    /// One turn of the duty cycle: the feed is polled only on an event or when it is due, so a lost edge shows.
    pub fn turn(&mut self) {
        let Some(feed) = &mut self.feed else { return std::thread::yield_now() };
        let now = || self.clock.now_ns();
        let most = Duration::from_millis(5);
        let wait = feed.due_ns().map_or(most, |due| Duration::from_nanos(due.saturating_sub(now())).min(most));
        let mut events = mio::Events::with_capacity(8);
        self.poll.poll(&mut events, Some(wait)).unwrap();
        if events.is_empty() && feed.due_ns().is_none_or(|due| due > now()) {
            return;
        }
        events.iter().for_each(|event| feed.edge(event));
        self.poll_at(self.clock.now_ns());
    }

    fn poll_at(&mut self, now_ns: u64) {
        let Some(feed) = &mut self.feed else { return };
        self.polls += 1;
        let (polls, received) = (self.polls, &mut self.received);
        feed.poll(now_ns, self.budget, &mut |bytes| received.push((polls, bytes.to_vec())));
    }

    /// Waits for an edge and does not tell the feed, as a thread that is held up; polls it so much later.
    pub fn held_up(&mut self, time: Duration) {
        let mut events = mio::Events::with_capacity(8);
        while !events.iter().any(|event| event.token() == FEED) {
            self.poll.poll(&mut events, None).unwrap();
        }
        self.poll_at(self.clock.now_ns() + time.as_nanos() as u64);
    }

    /// Turns until the feed has read something that `peer` sends now.
    #[track_caller]
    pub fn hear(&mut self, peer: &mut Peer, bytes: &[u8]) {
        let before = self.status.snapshot().bytes;
        peer.send(bytes);
        self.until(|bench| (bench.status.snapshot().bytes > before).then_some(()));
    }

    /// Turns until `done` gives something.
    #[track_caller]
    pub fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(result) = done(self) {
                return result;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "waited in vain; {:?}", self.status.snapshot());
            self.turn();
        }
    }

    /// Turns for a while: for what must *not* happen.
    pub fn idle(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn();
        }
    }

    #[track_caller]
    pub fn call(&mut self) -> Call {
        self.until(|bench| bench.server.call())
    }

    /// The next accepted connection, once it is live.
    #[track_caller]
    pub fn peer(&mut self) -> Peer {
        let peer = self.call().peer.unwrap();
        self.until_state(KiteState::Live);
        peer
    }

    #[track_caller]
    pub fn until_state(&mut self, state: KiteState) {
        self.until(|bench| (bench.status.snapshot().state == state).then_some(()));
    }

    #[track_caller]
    pub fn until_received(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.until(|bench| (bench.received.len() >= count).then_some(()));
        self.received.iter().map(|(_, bytes)| bytes.clone()).collect()
    }

    pub fn demand(&mut self, changes: &[(u32, Option<Mode>)]) {
        let changes: Vec<Demand> =
            changes.iter().map(|(token, mode)| Demand { token: InstrumentToken(*token), mode: *mode }).collect();
        self.feed.as_mut().unwrap().demand(&changes);
    }

    /// Wants the first `count` instruments of [`message`], as who waits for its ticks must, and passes over the requests.
    #[track_caller]
    pub fn want(&mut self, count: u32, peer: &Peer) {
        let all: Vec<_> = (1..=count).map(|token| (token << 8 | 1, Some(Mode::Full))).collect();
        self.demand(&all);
        self.until(|_| peer.heard().filter(|message| message.to_text().is_ok_and(|text| text.contains("full"))));
    }

    /// The next `count` requests, and that none follows.
    #[track_caller]
    pub fn requests(&mut self, peer: &Peer, count: usize) -> Vec<String> {
        let mut requests = Vec::new();
        self.until(|_| {
            requests.extend(peer.heard().map(|message| message.into_text().unwrap().to_string()));
            (requests.len() == count).then_some(())
        });
        self.idle(Duration::from_millis(30));
        assert_eq!(peer.heard(), None);
        requests
    }
}

/// A message of `count` packets in full mode.
pub fn message(count: u32) -> Vec<u8> {
    let mut builder = MessageBuilder::default();
    for token in 1..=count {
        let mut tick = Tick::ltp(InstrumentToken(token << 8 | 1), 100);
        (tick.mode, tick.layout) = (Mode::Full, Layout::Tradable);
        assert!(builder.push(&tick));
    }
    builder.take().to_vec()
}

/// Everything the whole test process logs, at every level, from the first call on.
pub fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();
    struct Writer(&'static Mutex<Vec<u8>>);
    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    LOG.get_or_init(|| {
        let lines: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Writer(lines))
            .finish();
        // Not `init`: where another dependency asks for the bridge to the `log` crate, that would also collect what
        // tungstenite says, which is every frame; the program has no such bridge.
        tracing::subscriber::set_global_default(log).unwrap();
        lines
    })
}

/// The log so far, of all tests of the process.
pub fn logged() -> String {
    String::from_utf8(log().lock().unwrap().clone()).unwrap()
}
