//! Builds and wires the parts, names and pins the threads, shuts down in order. The only module that knows all others.
//!
//! Building may fail and says why; once built, the gateway runs until it is told to stop.

mod engine;
mod sessions;

pub use engine::Past;
pub use sessions::{Keeping, SessionStore};

use crate::account::Account;
use crate::account::audit::{Audit, Event, Outcome};
use crate::account::journal::Journal;
use crate::clock::Clock;
use crate::demand::{self, DemandSettings, Ledger};
use crate::duty::{Congestion, Duty, DutyCounters, DutyFrame, FeedDoor, FeedPart, Idle};
use crate::engine::{Engine, EngineSettings};
use crate::fanout::board::Board;
use crate::fanout::publisher::Publisher;
use crate::fanout::slot::Inbox;
use crate::feed::kite::{Keys, Notice};
use crate::feed::{Feed, Outage};
use crate::freshness::Freshness;
use crate::identity::gate::Gate;
use crate::identity::rate::Rate;
use crate::kite::instruments::Instruments;
use crate::market::{Calendar, Demand};
use crate::resume::journal::Scribe;
use crate::server::accept::{self, AcceptSettings, Edge, Entrance};
use crate::server::admin::AdminSettings;
use crate::server::app::{App, FeedStatus};
use crate::server::http;
use crate::server::tls::Tls;
use crate::session::admission::{Admission, Limits};
use crate::session::connection::Context;
use crate::session::door::Door;
use crate::session::indicators::{IndicatorLimits, Indicators};
use crate::session::orders::{Audience, Orders};
use crate::session::outage::StaleTokens;
use crate::session::registry::Registry;
use crate::session::vigil::{Vigil, VigilSettings};
use crate::session::writer::{Writer, WriterSettings};
use crate::stats::{Collector, FeedCounters, WriterCounters};
use crate::store::Keeper;
use crate::wire::close::Close;
use arc_swap::ArcSwap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// Which threads the data plane has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threads {
    /// Feed and writers as one duty cycle: no hand-over between threads.
    One,
    /// A thread for the feed and one for each of so many writers.
    Split(usize),
}

/// Everything the gateway is built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Data-plane threads.
    pub threads: Threads,
    /// What they do when idle.
    pub idle: Idle,
    /// Whether they are pinned to cores.
    pub pin: bool,
    /// Most connections.
    pub max_connections: usize,
    /// What a connection may have and how it is served.
    pub ring_capacity: usize,
    /// Most tokens a connection may have.
    pub max_tokens: usize,
    /// The same, of Kite's protocol.
    pub max_kite_tokens: usize,
    /// Most different tokens a user may have over all its connections.
    pub max_tokens_per_user: usize,
    /// Bounds of indicators.
    pub indicators: IndicatorLimits,
    /// Who gets the account's order updates.
    pub orders_to: Audience,
    /// Places upstream that are kept for users with few tokens; see [`Limits::reserve`].
    pub upstream_reserve: usize,
    /// Largest message from a client, bytes.
    pub max_message: usize,
    /// How many messages a client may send.
    pub message_rate: Rate,
    /// How writers write.
    pub writer: WriterSettings,
    /// How demand reaches the feed.
    pub demand: DemandSettings,
    /// How connections are accepted.
    pub accept: AcceptSettings,
    /// When connections are ended.
    pub vigil: VigilSettings,
    /// The certificate of the public listener, where that speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// What guards operators' pages.
    pub admin: AdminSettings,
    /// Where they are, if on a listener of their own.
    pub admin_listen: Option<SocketAddr>,
    /// Where events are written down.
    pub journal: Option<Journal>,
    /// Candles and indicators.
    pub engine: EngineSettings,
    /// The hours of the exchanges, for those who ask.
    pub hours: Calendar,
}

/// A feed, ready to be polled, and how its state is told.
pub struct FeedSource {
    /// The duty half.
    pub feed: Box<dyn Feed>,
    /// For `GET /ws/test`.
    pub status: FeedStatus,
    /// The control half, spawned on the runtime once the thread can be woken; the callback wakes it.
    #[expect(clippy::type_complexity, reason = "named nowhere else")]
    pub control: Option<Box<dyn FnOnce(Arc<dyn Fn() + Send + Sync>) + Send>>,
    /// What a feed has that gets its ticks from elsewhere.
    pub upstream: Option<Upstream>,
}

/// What a feed with an upstream has beside it.
#[derive(Debug)]
pub struct Upstream {
    /// Different instruments it can have at a time.
    pub capacity: usize,
    /// When it does not serve which of them.
    pub outages: mpsc::Receiver<Outage>,
    /// When anything is to be expected of them.
    pub calendar: Calendar,
    /// Its API keys, whose access tokens can be swapped.
    pub keys: Option<Arc<Keys>>,
    /// What it says in words.
    pub notices: Option<mpsc::Receiver<Notice>>,
}

impl std::fmt::Debug for FeedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedSource").field("feed", &self.feed.name()).finish_non_exhaustive()
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where operators' pages are, if on a listener of their own.
    pub admin_address: Option<SocketAddr>,
    /// What its pages are made from.
    pub app: Arc<App>,
    stop: Arc<AtomicBool>,
    doors: Vec<Arc<Door>>,
    feed_door: Arc<FeedDoor>,
    engine: Arc<Engine>,
    keeper: Option<Keeper>,
    scribe: Option<Scribe>,
    threads: Vec<std::thread::JoinHandle<()>>,
    accepting: tokio::task::JoinHandle<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Gateway {
    /// Builds the gateway and starts it. Must be called within the control runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the operating system refuses a thread or a poll.
    pub async fn start(
        settings: Settings,
        source: FeedSource,
        instruments: Arc<ArcSwap<Instruments>>,
        gate: Arc<Gate>,
        clock: Clock,
        past: Past,
    ) -> io::Result<Self> {
        let (listener, address) = bind("listen", settings.listen).await?;
        let admin_listener = match settings.admin_listen {
            Some(address) => Some(bind("admin_listen", address).await?),
            None => None,
        };
        let admin_address = admin_listener.as_ref().map(|(_, address)| *address);
        let demand_bell = Arc::new(Notify::new());
        let bell = Arc::clone(&demand_bell);
        let board = Arc::new(Board::new(move || bell.notify_one()));
        let universe = source.feed.universe();
        board.reserve(&universe);
        // Such a feed sends on whether anybody listens or not, so its values never grow old.
        let obeys = universe.is_empty();

        let capacity = source.upstream.as_ref().map(|upstream| upstream.capacity);
        let limits = Limits { capacity, reserve: settings.upstream_reserve, per_user: settings.max_tokens_per_user };
        let stale = Arc::new(StaleTokens::default());
        let market_time = source.feed.market_time();
        let engine::Built { core, engine, doors, wanted, keeper } =
            engine::build(&settings, &board, &clock, market_time, &instruments, past.store)?;
        let mut built = DataPlane::build(&settings, &board, &clock, source.feed, core.inbox())?;
        doors.hang(&built.doors);
        let fetching = engine::fetch(wanted, past.history, Arc::clone(&engine), Arc::clone(&instruments));
        let registry = Arc::new(Registry::default());
        let orders = Arc::new(Orders::new(settings.orders_to, Arc::clone(&registry), built.doors.clone()));
        let sessions::Built { sessions, scribe, mut tasks } =
            sessions::build(past.sessions, settings.max_connections, &clock)?;
        let context = Arc::new(Context {
            board: Arc::clone(&board),
            doors: built.doors.clone(),
            instruments: Arc::clone(&instruments),
            registry,
            engine: Arc::clone(&engine),
            admission: Arc::new(Admission::new(limits)),
            indicators: Indicators::new(settings.indicators),
            stale: Arc::clone(&stale),
            orders: Arc::clone(&orders),
            clock: clock.clone(),
            ring_capacity: settings.ring_capacity,
            max_tokens: settings.max_tokens,
            max_kite_tokens: settings.max_kite_tokens,
            max_message: settings.max_message,
            message_rate: settings.message_rate,
            gate: Arc::clone(&gate),
            vigil: Arc::new(Vigil::new(settings.vigil, clock.clone())),
            account: Arc::new(Account::new(Audit::new(settings.journal, clock.clone()), clock.clone())),
            sessions,
        });
        context.account.audit.record("", "", &Event::Start, Outcome::Done);
        let edge = Arc::new(Edge::new(settings.accept, clock.clone()));
        let app = Arc::new(App::new(
            context,
            source.status,
            built.feed_counters,
            built.writer_counters,
            built.duty_counters,
            built.collector,
            settings.hours,
            settings.admin,
            Arc::clone(&edge),
            source.upstream.as_ref().and_then(|upstream| upstream.keys.clone()),
        ));
        let mut threads = built
            .duties
            .drain(..)
            .enumerate()
            .map(|(at, (name, duty))| spawn(name, at, settings.pin, duty))
            .collect::<io::Result<Vec<_>>>()?;
        threads.push(engine::spawn(core, threads.len(), settings.pin, Arc::clone(&built.stop))?);
        if let Some(control) = source.control {
            let door = Arc::clone(&built.feed_door);
            control(Arc::new(move || door.wake()));
        }
        if let Some(upstream) = source.upstream {
            let freshness = Freshness {
                calendar: upstream.calendar,
                instruments,
                board: Arc::clone(&board),
                doors: built.doors.clone(),
                clock: clock.clone(),
                stale,
                engine: Arc::clone(&engine),
            };
            tasks.push(tokio::spawn(freshness.watch(upstream.outages)));
            tasks.extend(upstream.notices.map(|notices| tokio::spawn(relay_orders(notices, orders))));
        }
        if let Some((listener, _)) = admin_listener {
            let router = http::admin_router(Arc::clone(&app));
            let entrance = Entrance { listener, router, limits: false, tls: None };
            tasks.push(tokio::spawn(accept::serve(entrance, Arc::clone(&edge))));
        }
        if let Some(tls) = settings.tls.clone() {
            tasks.push(tokio::spawn(tls.follow(Arc::clone(&edge.counters))));
        }
        let router = http::router(Arc::clone(&app));
        let entrance = Entrance { listener, router, limits: true, tls: settings.tls };
        let accepting = tokio::spawn(accept::serve(entrance, edge));
        tasks.extend([
            tokio::spawn(tell_demand(
                board,
                Arc::clone(&built.feed_door),
                demand_bell,
                settings.demand,
                obeys,
                capacity.unwrap_or(usize::MAX),
                clock.clone(),
            )),
            tokio::spawn(collect(Arc::clone(&app), clock)),
            tokio::spawn(fetching),
        ]);
        tasks.extend(
            gate.issuers().iter().cloned().map(|issuer| tokio::spawn(async move { issuer.refresh_forever().await })),
        );
        Ok(Self {
            address,
            admin_address,
            app,
            stop: built.stop,
            doors: built.doors,
            feed_door: built.feed_door,
            engine,
            keeper,
            scribe,
            threads,
            accepting,
            tasks,
        })
    }

    /// Lets the clients go: no more connections; each tab is told at a random moment, and when to come back. Returns when
    /// all have gone, or after `within`.
    pub async fn drain(&self, within: Duration) {
        self.accepting.abort();
        let context = &self.app.context;
        let tabs = u32::try_from(context.registry.len()).unwrap_or(u32::MAX);
        context.vigil.drain(SPREAD_PER_TAB.saturating_mul(tabs).min(within / 2));
        let gone = async {
            while !context.registry.is_empty() || context.doors.iter().any(|door| door.tabs() > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(within, gone).await.is_err() {
            tracing::warn!(left = context.registry.len(), "connections are cut off");
        }
    }

    /// Stops: no more connections, every tab closed with 1001, threads joined.
    pub fn stop(self) {
        self.accepting.abort();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.stop.store(true, Ordering::Relaxed);
        self.doors.iter().for_each(|door| door.wake());
        self.feed_door.wake();
        self.engine.wake();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a data-plane thread had panicked");
            }
        }
        // After the engine, whose last states it writes.
        drop(self.keeper);
        drop(self.scribe);
        let audit = &self.app.context.account.audit;
        audit.record("", "", &Event::Stop, Outcome::Done);
        audit.flush();
    }
}

/// Time between the ends of two tabs when the gateway drains: so many come back to another one, or to this, in a second.
const SPREAD_PER_TAB: Duration = Duration::from_millis(2);

/// Listens; an error names the setting.
async fn bind(setting: &str, address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await;
    let named = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) =
        named.map_err(|error| io::Error::new(error.kind(), format!("setting {setting} ({address}): {error}")))?;
    Ok((listener, address))
}

/// The data plane before its threads run.
struct DataPlane {
    duties: Vec<(String, Duty)>,
    doors: Vec<Arc<Door>>,
    feed_door: Arc<FeedDoor>,
    feed_counters: Arc<FeedCounters>,
    writer_counters: Vec<Arc<WriterCounters>>,
    duty_counters: Vec<Arc<DutyCounters>>,
    collector: Collector,
    stop: Arc<AtomicBool>,
}

impl DataPlane {
    fn build(
        settings: &Settings,
        board: &Arc<Board>,
        clock: &Clock,
        feed: Box<dyn Feed>,
        engine: &Arc<Inbox>,
    ) -> io::Result<Self> {
        let writers = match settings.threads {
            Threads::One => 1,
            Threads::Split(writers) => writers.max(1),
        };
        let mut collector = Collector::default();
        let stop = Arc::new(AtomicBool::new(false));
        let congestion = Arc::new(Congestion::new(writers));
        let mut duty_counters = Vec::new();
        let mut writer_counters = Vec::new();
        let mut doors = Vec::new();
        // Each writer has its poll; in one-thread mode the feed shares the only one.
        let mut parts = Vec::new();
        let tabs_each = settings.max_connections.div_ceil(writers);
        for place in 0..writers {
            let (poll, waker) = Duty::poll()?;
            let door = Arc::new(Door::new(waker, tabs_each));
            let counters = Arc::new(WriterCounters::default());
            let registry = poll.registry().try_clone()?;
            let writer = Writer::new(
                Arc::clone(&door),
                Arc::clone(board),
                clock.clone(),
                settings.writer,
                registry,
                Arc::clone(&counters),
            );
            doors.push(door);
            writer_counters.push(counters);
            parts.push((poll, place, writer));
        }
        let mut frame = |poll, place| {
            let counters = Arc::new(DutyCounters::default());
            duty_counters.push(Arc::clone(&counters));
            DutyFrame {
                poll,
                idle: settings.idle,
                clock: clock.clone(),
                recorder: collector.recorder(),
                counters,
                congestion: Arc::clone(&congestion),
                place,
                stop: Arc::clone(&stop),
            }
        };
        let frames: Vec<_> = parts.into_iter().map(|(poll, place, writer)| (frame(poll, place), writer)).collect();
        let feed_counters = Arc::new(FeedCounters::default());
        let mut duties = Vec::new();
        let feed_door;
        match settings.threads {
            Threads::One => {
                // A second waker of the same poll would replace the first: the feed is woken through the writer's.
                let (frame, writer) = frames.into_iter().next().ok_or_else(|| io::Error::other("no writer"))?;
                feed_door = Arc::new(FeedDoor::shared(Arc::clone(&doors[0])));
                let publisher = Publisher::new(board, clock.clone(), Arc::clone(&feed_counters), collector.recorder())
                    .follow(feed.market_time());
                let part =
                    FeedPart::new(feed, publisher, Arc::clone(&feed_door), Vec::new()).with_engine(Arc::clone(engine));
                duties.push(("tickfan-duty".to_owned(), Duty::new(frame, Some(part), Some(writer))?));
            }
            Threads::Split(_) => {
                let (poll, waker) = Duty::poll()?;
                feed_door = Arc::new(FeedDoor::own(waker));
                let feed_frame = frame(poll, writers);
                let publisher = Publisher::new(board, clock.clone(), Arc::clone(&feed_counters), collector.recorder())
                    .follow(feed.market_time());
                let part = FeedPart::new(feed, publisher, Arc::clone(&feed_door), doors.clone())
                    .with_engine(Arc::clone(engine));
                duties.push(("tickfan-feed".to_owned(), Duty::new(feed_frame, Some(part), None)?));
                for (at, (frame, writer)) in frames.into_iter().enumerate() {
                    duties.push((format!("tickfan-wr-{at}"), Duty::new(frame, None, Some(writer))?));
                }
            }
        }
        Ok(Self { duties, doors, feed_door, feed_counters, writer_counters, duty_counters, collector, stop })
    }
}

/// Starts a data-plane thread. A pin that fails is told and changes nothing else.
fn spawn(name: String, at: usize, pin: bool, duty: Duty) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        if pin {
            pin_to_core(&name, at);
        }
        duty.run(&Close::GoingAway.frame());
    })
}

/// Pins the calling thread to the core at that place from the end: the first cores serve interrupts on most machines.
fn pin_to_core(name: &str, at: usize) {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.into_iter().rev().nth(at));
    match core {
        Some(core) if core_affinity::set_for_current(core) => {
            tracing::info!(thread = name, core = core.id, "pinned");
        }
        _ => tracing::warn!(thread = name, "cannot be pinned to a core; runs unpinned"),
    }
}

/// Hands order updates on until the feed is gone.
async fn relay_orders(mut notices: mpsc::Receiver<Notice>, orders: Arc<Orders>) {
    while let Some(notice) = notices.recv().await {
        if let Notice::Order(text) = notice {
            orders.relay(&text);
        }
    }
}

/// Tells the feed, which `obeys` or sends everything anyway, what the subscribers want, at most `capacity` instruments
/// at a time. See [`crate::demand`].
async fn tell_demand(
    board: Arc<Board>,
    door: Arc<FeedDoor>,
    bell: Arc<Notify>,
    settings: DemandSettings,
    obeys: bool,
    capacity: usize,
    clock: Clock,
) {
    let linger_ns = settings.linger.as_nanos() as u64;
    let mut ledger = Ledger::default();
    loop {
        let wait = ledger
            .due_ns(linger_ns)
            .map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(clock.now_ns())).max(Duration::from_millis(1)));
        tokio::select! {
            () = bell.notified() => tokio::time::sleep(settings.debounce).await,
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
        }
        let now_ns = clock.now_ns();
        let more = ledger.note(&board.take_demand(), now_ns);
        let mut tell = ledger.settle(now_ns, linger_ns);
        tell.extend(ledger.evict(capacity));
        tell.extend(more);
        if obeys {
            demand::cool(&board, &tell);
        }
        send(&door, tell).await;
    }
}

async fn send(door: &FeedDoor, mut changes: Vec<Demand>) {
    while !changes.is_empty() {
        match door.tell(changes) {
            Ok(()) => return,
            Err(refused) => changes = refused,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Once a second: takes the histograms, and a wall clock that was set; says when the upstream's state is another.
async fn collect(app: Arc<App>, clock: Clock) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut known = String::new();
    loop {
        second.tick().await;
        clock.sync();
        app.collect();
        let state = (app.feed.0)();
        if let Some(diagnosis) = state["diagnosis"].as_str().filter(|diagnosis| *diagnosis != known) {
            tracing::info!(diagnosis, "upstream");
            known = diagnosis.to_owned();
        }
    }
}
