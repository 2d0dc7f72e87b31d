//! Instruments and tracks come and go.

use super::{Core, EVERYTHING, NOWHERE};
use crate::engine::command::WantedHistory;
use crate::engine::instrument::Instrument;
use crate::engine::track::seconds;
use crate::market::{InstrumentToken, Timeframe};
use crate::store::{Entry, Snapshot};
use std::sync::Arc;

impl Core {
    pub(super) fn at(&mut self, place: u32) -> Option<&mut Instrument> {
        self.instruments.get_mut(place as usize).and_then(Option::as_deref_mut)
    }

    /// The place of an instrument, begun if there is none.
    pub(super) fn instrument(&mut self, token: InstrumentToken) -> u32 {
        if let Some(place) = self.by_token.get(&token) {
            return *place;
        }
        let slots = self.wiring.board.subscribe(&self.inbox, &[token], EVERYTHING);
        let kind = (self.wiring.kind)(token);
        // A state by other hours is of no use: the instrument list has changed.
        let mut kept = self.shelf.take_state(token).filter(|bars| bars.trades().kind() == kind);
        if let Some(bars) = &mut kept {
            // What ended while nobody wanted it, or the program was down, is closed before the first tick closes it for
            // nobody.
            let at_ns = self.market_ns();
            let (shelf, wiring, counters) = (&mut self.shelf, &self.wiring, &self.counters);
            bars.close_due(at_ns, |timeframe, candle| {
                if shelf.add_bar(token, timeframe, candle) {
                    wiring.keep(token, timeframe, &candle, counters);
                }
            });
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.instruments.push(None);
            self.instruments.len() as u32 - 1
        });
        // The board makes a slot for any token.
        if let Some(slot) = slots.into_iter().next() {
            if self.by_slot.len() <= slot.id as usize {
                self.by_slot.resize(slot.id as usize + 1, NOWHERE);
            }
            self.by_slot[slot.id as usize] = place;
            self.instruments[place as usize] =
                Some(Box::new(Instrument::new(Arc::clone(&slot), kind, kept, &self.settings)));
            self.by_token.insert(token, place);
            self.counters.instruments.set(self.by_token.len() as u64);
            // What the market last said is where volume is counted from.
            self.tick_of(&slot);
        }
        place
    }

    /// The place of the instrument whose track it is, begun if there is none.
    pub(super) fn track(&mut self, token: InstrumentToken, timeframe: Timeframe) -> u32 {
        let place = self.instrument(token);
        let at_ns = self.market_ns();
        let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { return place };
        if instrument.track_mut(timeframe).is_none() {
            let kept = self.shelf.take_bars(token, timeframe);
            instrument.begin(timeframe, kept, seconds(at_ns), &self.settings);
            self.counters.tracks.add(1);
            self.ask_history(place, timeframe, false, at_ns);
        }
        place
    }

    /// Asks the history for bars that were closed and lack something.
    pub(super) fn mend(&mut self, place: u32, lacking: [bool; Timeframe::ALL.len()], at_ns: u64) {
        for timeframe in Timeframe::ALL.into_iter().filter(|timeframe| lacking[*timeframe as usize]) {
            self.ask_history(place, timeframe, true, at_ns);
        }
    }

    pub(super) fn ask_history(&mut self, place: u32, timeframe: Timeframe, mends: bool, at_ns: u64) {
        let kept = self.settings.kept_bars;
        let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { return };
        let token = instrument.token();
        let Some(track) = instrument.track_mut(timeframe) else { return };
        let bars = track.wanted_bars(kept);
        if !self.settings.history || track.loading || !(track.ask(bars) || mends) {
            return;
        }
        // What is mended goes on meanwhile; what was never loaded has nothing to say until it is.
        track.loading = !mends;
        (self.wiring.want_history)(WantedHistory { token, timeframe, bars, until: seconds(at_ns), mends });
    }

    /// Once a second: ends what nobody has wanted for the whole linger, and serves firehoses with new instruments.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if !self.firehoses.is_empty() && self.wiring.board.table().load().len() != self.served_slots {
            let firehoses = std::mem::take(&mut self.firehoses);
            firehoses.iter().for_each(|wish| _ = self.serve_firehose(wish));
            self.firehoses = firehoses;
        }
        let linger_ns = self.settings.linger_ns;
        let idle = |wanted: bool, since_ns: &mut u64| {
            *since_ns = match (wanted, *since_ns) {
                (true, _) => 0,
                (false, 0) => now_ns.max(1),
                (false, since_ns) => since_ns,
            };
            *since_ns != 0 && now_ns.saturating_sub(*since_ns) >= linger_ns
        };
        let (mut tracks, mut computations) = (0, 0);
        for place in 0..self.instruments.len() {
            let Some(instrument) = self.instruments[place].as_deref_mut() else { continue };
            let mut over = Vec::new();
            for track in instrument.tracks_mut() {
                let before = track.computations.len();
                track.computations.retain_mut(|computation| {
                    let wanted = computation.is_wanted();
                    !idle(wanted, &mut computation.idle_since_ns)
                });
                self.counters.ended.add((before - track.computations.len()) as u64);
                computations += track.computations.len() as u64;
                let wanted = track.is_wanted();
                if idle(wanted, &mut track.idle_since_ns) {
                    over.push(track.timeframe());
                } else {
                    tracks += 1;
                }
            }
            for timeframe in over {
                let bars = instrument.end(timeframe);
                self.shelf.put_bars(instrument.token(), timeframe, bars);
            }
            let wanted = instrument.is_wanted();
            if idle(wanted, &mut instrument.idle_since_ns) {
                self.forget(place as u32);
            }
        }
        self.counters.tracks.set(tracks);
        self.counters.computations.set(computations);
    }

    fn forget(&mut self, place: u32) {
        let at = seconds(self.market_ns());
        let Some(instrument) = self.instruments[place as usize].take() else { return };
        self.wiring.board.unsubscribe(&self.inbox, std::slice::from_ref(&instrument.slot));
        self.by_slot[instrument.slot.id as usize] = NOWHERE;
        self.by_token.remove(&instrument.token());
        self.free.push(place);
        self.counters.instruments.set(self.by_token.len() as u64);
        self.shelf.put_state(instrument.token(), instrument.into_state(at));
    }

    /// Hands the states of all builders to the keeper.
    pub(in crate::engine) fn keep_states(&self) {
        let Some(keeper) = &self.wiring.keeper else { return };
        let working = self.instruments.iter().flatten().map(|it| (it.token(), it.state().clone()));
        let states: Vec<_> = working.chain(self.shelf.states().map(|(token, bars)| (token, bars.clone()))).collect();
        let snapshot = Snapshot { at: seconds(self.market_ns()), states };
        if !snapshot.states.is_empty() && !keeper.try_send(Entry::Snapshot(Box::new(snapshot))) {
            self.counters.unkept.add(1);
        }
    }
}
