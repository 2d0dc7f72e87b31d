//! The engine and its thread.

use super::plane::pin_to_core;
use super::{Keeping, Settings};
use crate::clock::{Clock, MarketTime};
use crate::engine::Engine;
use crate::engine::command::WantedHistory;
use crate::engine::core::{Core, Wiring};
use crate::fanout::board::Board;
use crate::history::History;
use crate::identity::archive::Archive;
use crate::kite::instruments::Instruments;
use crate::market::calendar::Listing;
use crate::market::{InstrumentToken, SegmentKind};
use crate::session::door::Door;
use crate::store::{BarStore, Keeper, Kept};
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// The writers' doors, which are built after the engine that wakes the writers behind them.
pub(super) struct Doors(Arc<OnceLock<Vec<Arc<Door>>>>);

impl Doors {
    pub(super) fn hang(self, doors: &[Arc<Door>]) {
        let _ = self.0.set(doors.to_vec());
    }
}

/// What is known of the days and minutes before.
pub struct Past {
    /// Where closed bars come from.
    pub history: History,
    /// Where bars and states are kept over a restart, and what was found there.
    pub store: Option<(BarStore, Kept)>,
    /// How sessions are kept over it.
    pub sessions: Keeping,
    /// Where what was revoked is kept over it.
    pub revocations: Option<Archive>,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("history", &self.history.name()).finish_non_exhaustive()
    }
}

impl Default for Past {
    fn default() -> Self {
        Self { history: History::none(), store: None, sessions: Keeping::default(), revocations: None }
    }
}

/// Entries that may wait for the disk: at a minute's end every instrument closes a bar of each timeframe.
const KEPT_ENTRIES: usize = 65_536;
/// How long after its end a bar is asked of the history that lacked something here: those have it a few seconds late.
const MEND_AFTER: Duration = Duration::from_secs(5);

/// The engine and what belongs to it, before its thread runs.
pub(super) struct Built {
    pub core: Core,
    pub engine: Arc<Engine>,
    pub doors: Doors,
    /// Histories that are wanted.
    pub wanted: mpsc::UnboundedReceiver<WantedHistory>,
    /// Writes to disk; ends with the engine.
    pub keeper: Option<Keeper>,
}

/// The engine before its thread runs.
///
/// # Errors
/// When the system has no thread for the keeper.
pub(super) fn build(
    settings: &Settings,
    board: &Arc<Board>,
    clock: &Clock,
    market_time: MarketTime,
    instruments: &Arc<ArcSwap<Instruments>>,
    store: Option<(BarStore, Kept)>,
) -> io::Result<Built> {
    let doors: Arc<OnceLock<Vec<Arc<Door>>>> = Arc::default();
    let hung = Arc::clone(&doors);
    // Bounded by the engine: one wish of each track at a time.
    let (want, wanted) = mpsc::unbounded_channel();
    let (store, kept) = store.unzip();
    let keeper = store.map(|store| Keeper::start(store, KEPT_ENTRIES)).transpose()?;
    let wiring = Wiring {
        board: Arc::clone(board),
        clock: clock.clone(),
        market_time,
        kind: kinds(Arc::clone(instruments)),
        wake_writers: Box::new(move || hung.get().into_iter().flatten().for_each(|door| door.wake())),
        want_history: Box::new(move |history| _ = want.send(history)),
        keeper: keeper.as_ref().map(Keeper::port),
    };
    let (core, engine) = Core::new(settings.engine.clone(), wiring, kept.unwrap_or_default());
    Ok(Built { core, engine, doors: Doors(doors), wanted, keeper })
}

/// Fetches the histories that the engine wants. A task on the control side.
pub(super) async fn fetch(
    mut wanted: mpsc::UnboundedReceiver<WantedHistory>,
    history: History,
    engine: Arc<Engine>,
    instruments: Arc<ArcSwap<Instruments>>,
) {
    let mut kind = kinds(Arc::clone(&instruments));
    while let Some(WantedHistory { token, timeframe, bars, until, mends }) = wanted.recv().await {
        let (history, engine) = (history.clone(), Arc::clone(&engine));
        let list = instruments.load_full();
        let kind = kind(token);
        // The history itself bounds how many it asks for at a time.
        tokio::spawn(async move {
            if mends {
                tokio::time::sleep(MEND_AFTER).await;
            }
            let found = match list.by_token(token.0) {
                Some(instrument) => history.bars(instrument, kind, timeframe, bars, until).await.map_err(Some),
                None => Err(None),
            };
            if let Err(Some(error)) = &found {
                tracing::warn!(%token, %timeframe, %error, "no history");
            }
            engine.loaded(token, timeframe, found.ok()).await;
        });
    }
}

/// Starts its thread. A pin that fails is told and changes nothing else.
pub(super) fn spawn(
    core: Core,
    at: usize,
    pin: bool,
    stop: Arc<AtomicBool>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let name = "tickfan-engine";
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if pin {
            pin_to_core(name, at);
        }
        core.run(&stop);
    })
}

/// Which hours an instrument follows. Which shares have derivatives is known from the whole list, so it is looked
/// through once for each list.
fn kinds(instruments: Arc<ArcSwap<Instruments>>) -> Box<dyn FnMut(InstrumentToken) -> SegmentKind + Send> {
    let mut known: (Arc<Instruments>, FxHashMap<u32, SegmentKind>) = Default::default();
    Box::new(move |token| {
        let list = instruments.load();
        if !Arc::ptr_eq(&known.0, &list) {
            let underlyings = list.derivative_underlyings();
            let kinds = list.iter().map(|it| (it.token.0, it.kind(&underlyings))).collect();
            known = (Arc::clone(&list), kinds);
        }
        let unlisted = || SegmentKind::of(&Listing { token, exchange: "", name: "", has_derivatives: false });
        known.1.get(&token.0).copied().unwrap_or_else(unlisted)
    })
}
