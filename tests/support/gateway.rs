//! A whole gateway within the test's process, on a port of the system's choice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tickfan::assembly;
use tickfan::clock::Clock;
use tickfan::demand::DemandSettings;
use tickfan::duty::Idle;
use tickfan::engine::EngineSettings;
use tickfan::feed::market;
use tickfan::gateway::{FeedSource, Gateway, Past, Settings, Threads};
use tickfan::identity::gate::{Gate, GateSettings};
use tickfan::identity::rate::Rate;
use tickfan::server::accept::AcceptSettings;
use tickfan::server::app::App;
use tickfan::session::indicators::IndicatorLimits;
use tickfan::session::orders::Audience;
use tickfan::session::writer::WriterSettings;
use tokio::runtime::Runtime;

use super::client::Client;
use super::eventually_true;

/// Every way of running the data plane.
pub const WAYS: [(Threads, Idle); 6] = [
    (Threads::One, Idle::Park),
    (Threads::One, Idle::Yield),
    (Threads::One, Idle::Spin),
    (Threads::Split(2), Idle::Park),
    (Threads::Split(2), Idle::Yield),
    (Threads::Split(1), Idle::Spin),
];

/// The program's defaults, but for one thread, no heartbeats that a test did not ask for, and demand told soon.
pub fn settings() -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        threads: Threads::One,
        idle: Idle::Park,
        pin: false,
        max_connections: 2_000,
        ring_capacity: 256,
        max_tokens: 9_000,
        max_kite_tokens: 3_000,
        max_tokens_per_user: 9_000,
        indicators: IndicatorLimits { per_connection: 500, per_user: 1_000 },
        orders_to: Audience::Owners,
        upstream_reserve: 0,
        max_message: 65_536,
        message_rate: Rate::per_second(0, 0),
        writer: WriterSettings {
            budget: 16_384,
            batch_delay_ns: 50_000_000,
            // A development build on a busy machine is overloaded now and then.
            overload_wait_ns: None,
            late_after_ns: None,
            heartbeat_ns: 3_600_000_000_000,
        },
        demand: DemandSettings { debounce: Duration::from_millis(5), linger: Duration::from_millis(50) },
        accept: AcceptSettings::default(),
        vigil: tickfan::session::vigil::VigilSettings::default(),
        tls: None,
        admin: tickfan::server::admin::AdminSettings::default(),
        admin_listen: None,
        journal: None,
        engine: EngineSettings { linger_ns: 50_000_000, ..EngineSettings::default() },
        hours: tickfan::market::Calendar::built_in().unwrap(),
    }
}

/// A running gateway; stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    /// Where operators' pages are, if on a listener of their own.
    pub admin_address: Option<SocketAddr>,
    pub app: Arc<App>,
    gateway: Option<Gateway>,
    runtime: Option<Runtime>,
}

/// Starts a gateway whose instruments are those of the embedded market.
pub fn start(settings: Settings, source: FeedSource) -> Running {
    start_with(settings, source, Past::default())
}

/// [`start`], with a past.
pub fn start_with(settings: Settings, source: FeedSource, past: Past) -> Running {
    launch(GateSettings::default(), settings, source, Clock::system(), past)
}

/// [`start`], for a source that goes by `clock`.
pub fn start_by(settings: Settings, source: FeedSource, clock: Clock) -> Running {
    launch(GateSettings::default(), settings, source, clock, Past::default())
}

/// Starts a gateway that asks who its clients are.
pub fn start_behind(gate: GateSettings, settings: Settings, source: FeedSource) -> Running {
    launch(gate, settings, source, Clock::system(), Past::default())
}

/// [`start_behind`], with a past.
pub fn start_behind_with(gate: GateSettings, settings: Settings, source: FeedSource, past: Past) -> Running {
    launch(gate, settings, source, Clock::system(), past)
}

/// Starts a gateway with everything that can be chosen.
pub fn launch(gate: GateSettings, settings: Settings, source: FeedSource, clock: Clock, past: Past) -> Running {
    let gate = Arc::new(Gate::new(gate, clock.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let instruments = Arc::new(ArcSwap::from_pointee(assembly::market_names(market::built_in_count())));
    let gateway = runtime.block_on(Gateway::start(settings, source, instruments, gate, clock, past)).unwrap();
    Running {
        address: gateway.address,
        admin_address: gateway.admin_address,
        app: Arc::clone(&gateway.app),
        gateway: Some(gateway),
        runtime: Some(runtime),
    }
}

impl Running {
    /// A tab.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// What operators see of all connections.
    pub fn connections(&self) -> Vec<Value> {
        self.app.context.registry.describe(&self.app.context.clock)
    }

    /// Waits until nothing is left of any connection: no session, no demand, no key.
    #[track_caller]
    pub fn until_empty(&self) {
        let context = &self.app.context;
        eventually_true("no session is left", || context.registry.is_empty());
        eventually_true("nothing is wanted any more", || context.board.demand().is_empty());
        eventually_true("all keys are free", || context.doors.iter().all(|door| door.tabs() == 0));
    }

    /// Waits until nothing is left of any connection but what the engine keeps for a while.
    #[track_caller]
    pub fn until_empty_but_for_the_linger(&self) {
        let context = &self.app.context;
        eventually_true("no session is left", || context.registry.is_empty());
        eventually_true("nobody listens to the engine", || context.engine.counters().listeners.get() == 0);
        eventually_true("all keys are free", || context.doors.iter().all(|door| door.tabs() == 0));
    }

    /// Waits until its store answers and has all sessions.
    #[track_caller]
    pub fn until_kept(&self) {
        let sessions = &self.app.context.sessions;
        eventually_true("all sessions are written", || sessions.is_up() && sessions.sizes().1 == 0);
    }

    /// Lets its clients go, as the program does before it stops.
    pub fn drain(&self, within: Duration) {
        if let (Some(gateway), Some(runtime)) = (&self.gateway, &self.runtime) {
            runtime.block_on(gateway.drain(within));
        }
    }

    /// Stops it as the program does: tabs are told, threads joined.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
