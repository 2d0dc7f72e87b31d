//! The engine and its thread.

use super::{Settings, pin_to_core};
use crate::clock::{Clock, MarketTime};
use crate::engine::Engine;
use crate::engine::core::{Core, Wiring};
use crate::fanout::board::Board;
use crate::kite::instruments::Instruments;
use crate::market::calendar::Listing;
use crate::market::{InstrumentToken, SegmentKind};
use crate::session::door::Door;
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// The writers' doors, which are built after the engine that wakes the writers behind them.
pub(super) struct Doors(Arc<OnceLock<Vec<Arc<Door>>>>);

impl Doors {
    pub(super) fn hang(self, doors: &[Arc<Door>]) {
        let _ = self.0.set(doors.to_vec());
    }
}

/// The engine before its thread runs.
pub(super) fn build(
    settings: &Settings,
    board: &Arc<Board>,
    clock: &Clock,
    market_time: MarketTime,
    instruments: &Arc<ArcSwap<Instruments>>,
) -> (Core, Arc<Engine>, Doors) {
    let doors: Arc<OnceLock<Vec<Arc<Door>>>> = Arc::default();
    let hung = Arc::clone(&doors);
    let wiring = Wiring {
        board: Arc::clone(board),
        clock: clock.clone(),
        market_time,
        kind: kinds(Arc::clone(instruments)),
        wake_writers: Box::new(move || hung.get().into_iter().flatten().for_each(|door| door.wake())),
        want_history: Box::new(|_| {}),
    };
    let (core, engine) = Core::new(settings.engine.clone(), wiring);
    (core, engine, Doors(doors))
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
