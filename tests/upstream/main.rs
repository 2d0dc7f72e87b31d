//! A whole gateway on an upstream that dies, returns, refuses and is full: what tabs and operators see of it.
//!
//! `TICKFAN_SOAK_SECONDS` and `TICKFAN_SOAK_TABS` make the soak longer (two kills, 50 tabs and as many Kite clients by
//! default; 120 and 200 are meant), `TICKFAN_FLOOD_SECONDS` and `TICKFAN_FLOOD_RATE` the flood (2 s of 4,500 ticks/s by
//! default; 60 and 45000, with `--release`).

#[path = "../support/mod.rs"]
mod support;

mod capacity;
mod chain;
mod order;
mod outage;
mod soak;

use serde_json::Value;
use std::sync::Arc;
use support::client::get;
use support::gateway::{Running, launch};
use support::script::Script;
use tickfan::assembly;
use tickfan::clock::Clock;
use tickfan::config::{self, Config};
use tickfan::feed::Outage;
use tickfan::feed::kite::Keys;
use tickfan::gateway::{FeedSource, Past, Settings, Upstream};
use tickfan::identity::gate::GateSettings;
use tickfan::market::Calendar;
use tokio::sync::mpsc;

const fn token(at: u32) -> u32 {
    (at + 1) << 8 | 1
}

/// A gateway as the program builds it, on an upstream at `root`, with further flags.
fn on_kite(settings: Settings, root: &str, flags: &[&str]) -> (Running, Arc<Keys>) {
    on_kite_behind(GateSettings::default(), settings, root, flags)
}

/// The same, which asks who its clients are.
fn on_kite_behind(gate: GateSettings, settings: Settings, root: &str, flags: &[&str]) -> (Running, Arc<Keys>) {
    let args = ["tickfan", "--feed", "kite", "--kite-root", root].into_iter().chain(flags.iter().copied());
    let matches = clap::Command::new("tickfan").args(config::args()).get_matches_from(args);
    let env = [("KITE_API_KEY", "key"), ("KITE_ACCESS_TOKEN", "token")];
    let env: &[(&str, &str)] = if flags.contains(&"--kite-credentials-file") { &[] } else { &env };
    let config = Config::load(&matches, env.iter().copied()).unwrap();
    let clock = Clock::system();
    let source = assembly::feed(&config, &clock).unwrap();
    let keys = source.upstream.as_ref().and_then(|upstream| upstream.keys.clone()).unwrap();
    (launch(gate, settings, source, clock, Past::default()), keys)
}

/// A scripted feed with room for so many instruments, and the end of its channel of outages.
fn with_room(script: &Script, capacity: usize) -> (FeedSource, mpsc::Sender<Outage>) {
    let (sender, outages) = mpsc::channel(8);
    let upstream = Upstream { capacity, outages, calendar: Calendar::around_the_clock(), keys: None, notices: None };
    (FeedSource { upstream: Some(upstream), ..script.source(&[]) }, sender)
}

fn upstream(gateway: &Running) -> Value {
    get(gateway.address, "/ws/test").json()["feed"].clone()
}
