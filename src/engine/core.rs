//! The engine's thread: ticks in, bars, values and alerts out.

mod places;
mod requests;

pub use requests::value;

use super::EngineSettings;
use super::command::{WantedHistory, Wish};
use super::counters::EngineCounters;
use super::forming::FormingQueue;
use super::handle::Engine;
use super::instrument::{Desk, Instrument, Seen, lacks};
use super::shelf::Shelf;
#[cfg(test)]
use super::track::Track;
use crate::clock::{Clock, MarketTime};
use crate::fanout::board::Board;
use crate::fanout::port::Port;
use crate::fanout::ring::Ring;
use crate::fanout::series::Subscription;
use crate::fanout::slot::{Inbox, Slot};
use crate::fanout::update::Update;
use crate::market::{Candle, InstrumentToken, Mode, SegmentKind, Timeframe};
use crate::store::{Entry, KeeperPort, Kept};
use crate::wire::{Encoding, Format};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ticks that wait at most: 13 s of a busy market.
const QUEUE: usize = 65_536;
/// Ticks taken before everything else has its turn.
const TICKS_A_TURN: usize = 4_096;
/// Requests carried out before ticks have their turn.
const COMMANDS_A_TURN: usize = 64;
/// How long it sleeps when there was nothing to do: a tick waits for it half as long in the mean. It is never woken by
/// one, since that would cost the feed's thread more than the tick itself.
const NAP: Duration = Duration::from_millis(2);
/// How long it sleeps when nobody wants anything of it.
const LONG_NAP: Duration = Duration::from_secs(1);
/// How often it looks for what nobody wants any more.
const SWEEP_NS: u64 = 1_000_000_000;
/// How often the states of all builders go to disk: a program that is killed counts volume on from there.
const KEEP_NS: u64 = 5_000_000_000;
/// All ticks of an instrument: candles want the times that only this mode has.
const EVERYTHING: Encoding = Encoding { format: Format::Unwritten, mode: Mode::Full };

/// What the engine is connected to.
pub struct Wiring {
    /// Where it subscribes.
    pub board: Arc<Board>,
    /// The program's clock.
    pub clock: Clock,
    /// The market's.
    pub market_time: MarketTime,
    /// Which hours an instrument follows.
    pub kind: Box<dyn FnMut(InstrumentToken) -> SegmentKind + Send>,
    /// Wakes writers that have mail and sleep.
    pub wake_writers: Box<dyn Fn() + Send>,
    /// Asks for a history.
    pub want_history: Box<dyn Fn(WantedHistory) + Send>,
    /// Where bars and states are kept over a restart, if they are.
    pub keeper: Option<KeeperPort>,
}

impl Wiring {
    /// Keeps a bar that was closed or told again.
    fn keep(&self, token: InstrumentToken, timeframe: Timeframe, candle: &Candle, counters: &EngineCounters) {
        if let Some(keeper) = &self.keeper
            && !keeper.try_send(Entry::Bar(token, timeframe, *candle))
        {
            counters.unkept.add(1);
        }
    }
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring").finish_non_exhaustive()
    }
}

/// Where the listeners of a subscription are.
#[derive(Clone, Copy, Debug)]
struct Whereabouts {
    place: u32,
    timeframe: Timeframe,
}

/// See the module. **Thread**: the one that runs it.
#[derive(Debug)]
pub struct Core {
    settings: EngineSettings,
    wiring: Wiring,
    engine: Arc<Engine>,
    counters: Arc<EngineCounters>,
    inbox: Arc<Inbox>,
    /// Instruments by place; `None` where one has ended.
    instruments: Vec<Option<Box<Instrument>>>,
    free: Vec<u32>,
    by_token: FxHashMap<InstrumentToken, u32>,
    /// Places by number of the slot on the board: what a tick is found by.
    by_slot: Vec<u32>,
    /// Bars that are due, Unix nanoseconds in the market.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    forming: FormingQueue,
    /// Where each subscription listens, by its address, which stays its own as long as it stands here.
    subscriptions: FxHashMap<usize, (Arc<Subscription>, Vec<Whereabouts>)>,
    /// Those who want candles of every instrument.
    firehoses: Vec<Wish>,
    /// Slots on the board when the firehoses were served last.
    served_slots: usize,
    shelf: Shelf,
    swept_ns: u64,
    kept_ns: u64,
}

/// In [`Core::by_slot`]: nothing is done with the slot's ticks.
const NOWHERE: u32 = u32::MAX;

impl Core {
    /// An engine that has nothing to do yet but may go on from what was `kept`, and how the control side reaches it.
    pub fn new(settings: EngineSettings, wiring: Wiring, kept: Kept) -> (Self, Arc<Engine>) {
        let counters = Arc::new(EngineCounters::default());
        let engine = Arc::new(Engine::new(Arc::clone(&counters)));
        // Nobody waits at this port: the engine looks at its ring by itself.
        let inbox = Arc::new(Inbox::new(Ring::new(QUEUE), 0, Arc::new(Port::new(1))));
        let core = Self {
            settings,
            wiring,
            engine: Arc::clone(&engine),
            counters,
            inbox,
            instruments: Vec::new(),
            free: Vec::new(),
            by_token: FxHashMap::default(),
            by_slot: Vec::new(),
            due: BinaryHeap::new(),
            forming: FormingQueue::default(),
            subscriptions: FxHashMap::default(),
            firehoses: Vec::new(),
            served_slots: 0,
            shelf: Shelf::new(kept),
            swept_ns: 0,
            kept_ns: 0,
        };
        (core, engine)
    }

    /// Where ticks reach it, so that a patient feed can see how many wait.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Runs until `stop`.
    pub fn run(mut self, stop: &AtomicBool) {
        self.engine.runs_here();
        while !stop.load(Ordering::Relaxed) {
            let begun_ns = self.wiring.clock.now_ns();
            if self.turn() {
                self.counters.busy_ns.add(self.wiring.clock.now_ns() - begun_ns);
                continue;
            }
            std::thread::park_timeout(if self.by_token.is_empty() { LONG_NAP } else { NAP });
        }
        self.keep_states();
    }

    /// One turn: requests, ticks, what is due. True when there was work.
    pub fn turn(&mut self) -> bool {
        let mut work = 0;
        for _ in 0..COMMANDS_A_TURN {
            let Some(command) = self.engine.command() else { break };
            self.carry_out(command);
            work += 1;
        }
        // The time is read before the ticks: every tick from before it is in the queue, so once that is empty, the bars
        // that were due by then can be closed.
        let at_ns = self.market_ns();
        let (taken, empty) = self.take_ticks();
        work += taken;
        if empty {
            work += self.close_due(at_ns);
        }
        let now_ns = self.wiring.clock.now_ns();
        work += self.publish_forming(now_ns);
        if now_ns >= self.swept_ns + SWEEP_NS {
            self.swept_ns = now_ns;
            self.sweep(now_ns);
        }
        if now_ns >= self.kept_ns + KEEP_NS {
            self.kept_ns = now_ns;
            self.keep_states();
        }
        if work > 0 {
            (self.wiring.wake_writers)();
        }
        work > 0
    }

    /// The time in the market, Unix nanoseconds.
    fn market_ns(&self) -> u64 {
        let told = self.wiring.market_time.told();
        told.unwrap_or_else(|| self.wiring.clock.unix_ns(self.wiring.clock.now_ns()))
    }

    /// Takes ticks; returns how many, and whether none is left.
    fn take_ticks(&mut self) -> (usize, bool) {
        if self.inbox.ring.take_behind() {
            return (self.catch_up(), true);
        }
        let waiting = self.inbox.ring.depth() as u64;
        if waiting > self.counters.deepest.get() {
            self.counters.deepest.set(waiting);
        }
        for taken in 0..TICKS_A_TURN {
            let Some(update) = self.inbox.ring.take() else { return (taken, true) };
            let Update { received_unix_ns, market_ns, .. } = *update;
            self.tick(update.slot, update.received_ns, Seen { tick: &update.tick, received_unix_ns, market_ns });
        }
        (TICKS_A_TURN, false)
    }

    fn tick(&mut self, slot: u32, received_ns: u64, seen: Seen<'_>) {
        let place = self.by_slot.get(slot as usize).copied().unwrap_or(NOWHERE);
        let Some(instrument) = self.instruments.get_mut(place as usize).and_then(Option::as_deref_mut) else { return };
        self.counters.ticks.add(1);
        let (wiring, counters, token) = (&self.wiring, &self.counters, instrument.token());
        let desk = Desk { settings: &self.settings, counters };
        let mut changed = [None; Timeframe::ALL.len()];
        let mut mend = [false; Timeframe::ALL.len()];
        instrument.on_tick(
            seen,
            desk,
            |timeframe| changed[timeframe as usize] = Some(timeframe),
            |timeframe, candle| {
                mend[timeframe as usize] |= lacks(candle);
                wiring.keep(token, timeframe, candle, counters);
            },
        );
        for timeframe in changed.into_iter().flatten() {
            if let Some(track) = instrument.track_mut(timeframe).filter(|track| !track.queued) {
                track.queued = true;
                let due_ns = (track.formed_ns + self.settings.forming_ns).max(received_ns);
                self.forming.push(due_ns, (place, timeframe));
            }
        }
        self.note_due(place);
        self.mend(place, mend, seen.market_ns);
    }

    /// Puts an instrument into the list of those whose bars are due, if it does not stand there for that time.
    fn note_due(&mut self, place: u32) {
        let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { return };
        let due_ns = instrument.next_due_ns();
        if due_ns < instrument.due_ns {
            instrument.due_ns = due_ns;
            self.due.push(Reverse((due_ns, place)));
        }
    }

    /// The queue ran over: of every instrument the newest value takes the place of what was lost.
    fn catch_up(&mut self) -> usize {
        let mut lost = 0;
        while self.inbox.ring.take().is_some() {
            lost += 1;
        }
        self.counters.overruns.add(1);
        let slots: Vec<Arc<Slot>> = self.instruments.iter().flatten().map(|it| Arc::clone(&it.slot)).collect();
        for slot in slots {
            self.counters.conflated.add(1);
            self.tick_of(&slot);
        }
        lost
    }

    /// Takes the newest value of a slot as a tick.
    fn tick_of(&mut self, slot: &Slot) {
        let Some(value) = slot.value() else { return };
        let received_unix_ns = self.wiring.clock.unix_ns(value.received_ns);
        let seen = Seen { tick: &value.tick, received_unix_ns, market_ns: self.market_ns() };
        self.tick(slot.id, value.received_ns, seen);
    }

    /// Closes bars whose time has come.
    fn close_due(&mut self, at_ns: u64) -> usize {
        let mut work = 0;
        while let Some(Reverse((due_ns, place))) = self.due.peek().copied()
            && due_ns <= at_ns
        {
            self.due.pop();
            let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { continue };
            if instrument.due_ns != due_ns {
                continue;
            }
            instrument.due_ns = u64::MAX;
            let (wiring, counters, token) = (&self.wiring, &self.counters, instrument.token());
            let desk = Desk { settings: &self.settings, counters };
            let mut mend = [false; Timeframe::ALL.len()];
            instrument.close_due(at_ns, desk, |timeframe, candle| {
                mend[timeframe as usize] |= lacks(candle);
                wiring.keep(token, timeframe, candle, counters);
            });
            self.note_due(place);
            self.mend(place, mend, at_ns);
            work += 1;
        }
        work
    }

    fn publish_forming(&mut self, now_ns: u64) -> usize {
        let mut work = 0;
        let at_ns = self.market_ns();
        while let Some((place, timeframe)) = self.forming.pop(now_ns) {
            let desk = Desk { settings: &self.settings, counters: &self.counters };
            if let Some(instrument) = self.instruments[place as usize].as_deref_mut() {
                instrument.form(timeframe, at_ns, now_ns, desk);
            }
            work += 1;
        }
        work
    }
}

/// The track of a place, for tests.
#[cfg(test)]
impl Core {
    pub(super) fn track_of(&mut self, token: InstrumentToken, timeframe: Timeframe) -> Option<&mut Track> {
        let place = *self.by_token.get(&token)?;
        self.at(place)?.track_mut(timeframe)
    }
}
