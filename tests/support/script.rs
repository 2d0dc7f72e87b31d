//! A feed in which nothing happens but what the test says, when it says it.
#![expect(clippy::disallowed_types, reason = "a test's own record, met by no hot path that is measured")]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use crossbeam::queue::SegQueue;
use serde_json::json;
use tickfan::feed::{Demand, Feed};
use tickfan::gateway::FeedSource;
use tickfan::market::{InstrumentToken, Mode, Tick};
use tickfan::server::app::FeedStatus;

use super::{PATIENCE, ticks};

type Bell = Arc<dyn Fn() + Send + Sync>;

/// The test's half: pushes messages, sees what was wanted.
#[derive(Clone, Default)]
pub struct Script(Arc<Shared>);

#[derive(Default)]
struct Shared {
    messages: SegQueue<Vec<u8>>,
    /// Wakes the feed's thread; hung up when that thread runs.
    bell: OnceLock<Bell>,
    wanted: Mutex<BTreeMap<u32, Mode>>,
    told: Condvar,
}

impl Script {
    /// The source to start a gateway with. A feed with a `universe` sends those whether anybody wants them or not.
    pub fn source(&self, universe: &[u32]) -> FeedSource {
        let universe = universe.iter().copied().map(InstrumentToken).collect();
        let shared = Arc::clone(&self.0);
        FeedSource {
            feed: Box::new(ScriptFeed { shared: Arc::clone(&self.0), universe }),
            status: FeedStatus(Arc::new(|| json!({"name": "script", "state": "live"}))),
            control: Some(Box::new(move |bell| {
                let _ = shared.bell.set(bell);
                shared.ring();
            })),
            upstream: None,
        }
    }

    /// Sends one message with these ticks.
    pub fn push(&self, ticks: &[Tick]) {
        self.push_bytes(ticks::message(ticks));
    }

    /// Sends any bytes.
    pub fn push_bytes(&self, message: Vec<u8>) {
        self.0.messages.push(message);
        self.0.ring();
    }

    /// Messages the feed has not yet handed out.
    pub fn waiting(&self) -> usize {
        self.0.messages.len()
    }

    /// What upstream has been told to send.
    pub fn wanted(&self) -> BTreeMap<u32, Mode> {
        self.0.wanted.lock().unwrap().clone()
    }

    /// Waits until exactly this is wanted of upstream.
    #[track_caller]
    pub fn until_wanted(&self, expected: &BTreeMap<u32, Mode>) {
        let wanted = self.0.wanted.lock().unwrap();
        let (wanted, waited) = self.0.told.wait_timeout_while(wanted, PATIENCE, |wanted| *wanted != *expected).unwrap();
        assert!(!waited.timed_out(), "upstream is asked for {wanted:?}, not {expected:?}");
    }
}

impl Shared {
    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }
}

/// The duty thread's half.
struct ScriptFeed {
    shared: Arc<Shared>,
    universe: Vec<InstrumentToken>,
}

impl Feed for ScriptFeed {
    fn name(&self) -> &'static str {
        "script"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        self.universe.clone()
    }

    fn poll(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let (mut messages, mut packets) = (0, 0);
        while packets < budget
            && let Some(message) = self.shared.messages.pop()
        {
            sink(&message);
            messages += 1;
            packets += message.first_chunk().map_or(1, |count| usize::from(u16::from_be_bytes(*count)).max(1));
        }
        messages
    }

    fn due_ns(&self) -> Option<u64> {
        (!self.shared.messages.is_empty()).then_some(0)
    }

    fn demand(&mut self, changes: &[Demand]) {
        let mut wanted = self.shared.wanted.lock().unwrap();
        for change in changes {
            match change.mode {
                Some(mode) => wanted.insert(change.token.0, mode),
                None => wanted.remove(&change.token.0),
            };
        }
        self.shared.told.notify_all();
    }
}
