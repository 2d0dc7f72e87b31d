//! Builds and wires the parts, names and pins the threads, shuts down in order. The only module that knows all others.
//!
//! Building may fail and says why; once built, the gateway runs until it is told to stop.

mod engine;
mod plane;
mod sessions;
mod wishes;

pub use engine::Past;
pub use sessions::{Keeping, SessionStore};

use crate::account::Account;
use crate::account::audit::{Audit, Event, Outcome};
use crate::account::journal::Journal;
use crate::clock::Clock;
use crate::demand::DemandSettings;
use crate::duty::{FeedDoor, Idle};
use crate::engine::{Engine, EngineSettings};
use crate::fanout::board::Board;
use crate::feed::kite::{Keys, Notice};
use crate::feed::{Feed, Outage};
use crate::freshness::Freshness;
use crate::identity::gate::Gate;
use crate::identity::rate::Rate;
use crate::kite::instruments::Instruments;
use crate::market::Calendar;
use crate::resume::journal::Scribe;
use crate::server::accept::{self, AcceptSettings, Edge, Entrance};
use crate::server::admin::AdminSettings;
use crate::server::app::{App, FeedStatus};
use crate::server::http;
use crate::server::tls::Tls;
use crate::session::admission::{Admission, Limits};
use crate::session::context::Context;
use crate::session::door::Door;
use crate::session::indicators::{IndicatorLimits, Indicators};
use crate::session::orders::{Audience, Orders};
use crate::session::outage::StaleTokens;
use crate::session::registry::Registry;
use crate::session::vigil::{Vigil, VigilSettings};
use crate::session::writer::WriterSettings;
use crate::store::Keeper;
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
        if let Some(archive) = past.revocations {
            gate.keep_in(archive).map_err(|full| io::Error::other(format!("setting data_dir: {full}")))?;
        }
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
        let mut built = plane::DataPlane::build(&settings, &board, &clock, source.feed, core.inbox())?;
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
            .map(|(at, (name, duty))| plane::spawn(name, at, settings.pin, duty))
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
            tokio::spawn(wishes::tell_demand(
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
        context.registry.dismiss_all();
        let gone = async {
            while !context.registry.is_empty() || context.doors.iter().any(|door| door.tabs() > 0) {
                // By the clock: it happens once, and what must end are keys that writers on other threads give back.
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

/// Hands order updates on until the feed is gone.
async fn relay_orders(mut notices: mpsc::Receiver<Notice>, orders: Arc<Orders>) {
    while let Some(notice) = notices.recv().await {
        if let Notice::Order(text) = notice {
            orders.relay(&text);
        }
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
