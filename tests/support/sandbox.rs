//! A sandbox with a gateway in front of it, and a tab in front of that.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tickfan::clock::Clock;
use tickfan::feed::kite::{self, KiteState, KiteStatus, Source};
use tickfan::feed::market::MarketOptions;
use tickfan::gateway::FeedSource;
use tickfan::sandbox::{Fault, Injection, Observation, Sandbox, SandboxHandle, SandboxSettings};
use tickfan::server::app::FeedStatus;
use tokio::runtime::Runtime;

use super::client::Client;
use super::eventually_true;
use super::gateway::{Running, settings, start};
use super::ticks::{INFY, RELIANCE};

/// A sandbox on a runtime of its own.
pub struct Stand {
    pub sandbox: Sandbox,
    pub handle: SandboxHandle,
    runtime: Runtime,
}

impl Stand {
    pub fn new(adjust: impl FnOnce(&mut SandboxSettings)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut market = MarketOptions::new(1_762_257_900);
        market.rate = 2_000;
        let mut settings = SandboxSettings::new(([127, 0, 0, 1], 0).into(), market);
        adjust(&mut settings);
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        Self { handle: sandbox.handle(), sandbox, runtime }
    }

    /// The fault is in force when this returns.
    pub fn inject(&self, fault: Fault) -> usize {
        self.runtime.block_on(self.handle.inject(Injection::new(fault))).unwrap()
    }

    pub fn heal(&self) {
        self.runtime.block_on(self.handle.heal()).unwrap();
    }

    pub fn observe(&self) -> Observation {
        self.runtime.block_on(self.handle.observe()).unwrap()
    }
}

/// Everything, with a tab that has ticks of two shares in mode full.
pub struct Stage {
    pub stand: Stand,
    pub gateway: Running,
    pub status: Arc<KiteStatus>,
    pub tab: Client,
    /// The last volume of each token that the tab saw.
    pub volumes: HashMap<String, u64>,
    folder: tempfile::TempDir,
}

/// The watchdog of the gateway: much longer than from one heartbeat to the next, since both share a busy machine.
const WATCHDOG: Duration = Duration::from_secs(6);

impl Stage {
    pub fn new() -> Self {
        let stand = Stand::new(|_| {});
        let folder = tempfile::tempdir().unwrap();
        write_token(folder.path(), "first");
        let (source, status) = upstream(stand.sandbox.root(), folder.path());
        let gateway = start(settings(), source);
        let mut tab = gateway.client();
        tab.subscribe(&[RELIANCE, INFY], json!({"mode": "full"}));
        let mut stage = Self { stand, gateway, status, tab, volumes: HashMap::new(), folder };
        stage.until_ticks(10);
        stage
    }

    /// One tick; its volume must not be below the one before.
    #[track_caller]
    pub fn tick(&mut self) -> Value {
        let tick = self.any_tick();
        let volume = tick["volume_traded"].as_u64().unwrap();
        let before = self.volumes.insert(tick["token"].as_str().unwrap().to_owned(), volume);
        assert!(before.is_none_or(|before| before <= volume), "went back from {before:?}: {tick}");
        tick
    }

    /// One tick, whatever its value.
    #[track_caller]
    pub fn any_tick(&mut self) -> Value {
        loop {
            let message = self.tab.next();
            match message["type"].as_str() {
                Some("tick") => return message,
                Some("conflated") => {}
                _ => panic!("neither a tick nor a count: {message}"),
            }
        }
    }

    #[track_caller]
    pub fn until_ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// Ticks go on, with trades that were not there before.
    #[track_caller]
    pub fn resumes(&mut self) {
        let sum = |volumes: &HashMap<String, u64>| volumes.values().sum::<u64>();
        let before = sum(&self.volumes);
        while sum(&self.volumes) <= before {
            self.tick();
        }
    }

    #[track_caller]
    pub fn until_state(&self, state: KiteState) {
        eventually_true(&format!("{state:?}"), || self.status.snapshot().state == state);
    }

    #[track_caller]
    pub fn until_reconnects(&self, at_least: u64) {
        eventually_true("reconnected", || self.status.snapshot().reconnects >= at_least);
    }

    /// What the gateway counted under a name.
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.gateway.app.feed_counters.list();
        counters.iter().find(|counter| counter.name == name).unwrap().value
    }

    /// Gives the gateway another access token.
    pub fn new_token(&self) {
        write_token(self.folder.path(), "second");
    }
}

fn write_token(folder: &Path, token: &str) {
    std::fs::write(folder.join("kite.toml"), format!("api_key = \"key\"\naccess_token = \"{token}\"\n")).unwrap();
}

/// The Kite feed as the program has it, but for short waits.
fn upstream(root: String, folder: &Path) -> (FeedSource, Arc<KiteStatus>) {
    let mut settings = kite::Settings::new(vec![Source::File(folder.join("kite.toml"))]);
    settings.root = root;
    settings.watchdog = WATCHDOG;
    settings.waits.backoff_first = Duration::from_millis(10);
    settings.waits.rate_limited = Duration::from_millis(50);
    settings.waits.credentials = Duration::from_millis(20);
    let clock = Clock::system();
    let bell: Arc<OnceLock<Arc<dyn Fn() + Send + Sync>>> = Arc::default();
    let wake = Arc::clone(&bell);
    let wake = move || wake.get().into_iter().for_each(|ring| ring());
    let (feed, connector) = kite::feed(settings, move || clock.now_ns(), wake);
    let status = connector.status();
    let control = Box::new(move |ring: Arc<dyn Fn() + Send + Sync>| {
        let _ = bell.set(ring);
        tokio::spawn(async move {
            let (_running, stop) = tokio::sync::watch::channel(false);
            connector.connect_forever(stop).await;
        });
    });
    let told = FeedStatus(Arc::new(|| json!({"name": "kite"})));
    (FeedSource { feed: Box::new(feed), status: told, control: Some(control), upstream: None }, status)
}
