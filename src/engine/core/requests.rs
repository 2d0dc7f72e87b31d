//! What the control side asks, carried out.

use super::{Core, Whereabouts};
use crate::engine::alert::{Alert, Condition};
use crate::engine::command::{Command, Full, Granted, Known, Topic, Wish};
use crate::engine::instrument::Desk;
use crate::engine::track::{bar, seconds};
use crate::fanout::mail::Mailbox;
use crate::fanout::series::Subscription;
use crate::fanout::slot::Inbox;
use crate::market::indicator::{IndicatorId, Outputs};
use crate::market::{Candle, InstrumentToken, Timeframe};
use rustc_hash::FxHashSet;
use serde_json::{Map, Value};
use std::sync::Arc;

impl Core {
    pub(super) fn carry_out(&mut self, command: Command) {
        match command {
            Command::Begin(wishes, reply) => {
                let granted: Vec<Granted> = wishes.into_iter().map(|wish| self.begin(wish)).collect();
                let _ = reply.send(granted);
            }
            Command::End(subscriptions) => subscriptions.iter().for_each(|subscription| self.end(subscription)),
            Command::Bars { token, timeframe, count, reply } => {
                let place = self.track(token, timeframe);
                let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { return };
                if let Some((track, forming)) = instrument.track_and_forming(timeframe) {
                    track.waiting.push((count, reply));
                    if !track.loading {
                        track.answer(forming);
                    }
                }
            }
            Command::Watch(alert, reply) => {
                let _ = reply.send(self.watch(alert));
            }
            Command::Unwatch { token, id } => {
                if let Some(instrument) = self.by_token.get(&token).copied().and_then(|place| self.at(place))
                    && instrument.unwatch(&id)
                {
                    self.counters.alerts.sub(1);
                }
            }
            Command::Loaded { token, timeframe, bars } => self.load(token, timeframe, bars),
            Command::Interrupted { at, tokens } => {
                for instrument in self.instruments.iter_mut().flatten() {
                    if tokens.as_ref().is_none_or(|tokens| tokens.binary_search(&instrument.token()).is_ok()) {
                        instrument.interrupt(at);
                    }
                }
            }
        }
    }

    fn begin(&mut self, wish: Wish) -> Granted {
        match wish.topic {
            Topic::Candles { token, timeframe, live } => {
                Ok(Known { gap: self.begin_candles(&wish, token, timeframe, live), ..Known::default() })
            }
            Topic::AllCandles { .. } => {
                // Instruments that nobody has had since a restart are not on the board, and so not among them.
                let gap = self.serve_firehose(&wish) || wish.since.is_some();
                // Of those that come later everything is new.
                self.firehoses.push(Wish { since: None, ..wish });
                Ok(Known { gap, ..Known::default() })
            }
            Topic::Indicator { token, timeframe, .. } => self.begin_indicator(&wish, token, timeframe),
        }
    }

    /// Begins candles; returns whether closed ones may be missing from those that were asked for.
    fn begin_candles(&mut self, wish: &Wish, token: InstrumentToken, timeframe: Timeframe, live: bool) -> bool {
        let place = self.track(token, timeframe);
        let (at_ns, grace_ns) = (self.market_ns(), self.settings.grace_ns);
        let Some(instrument) = self.at(place) else { return true };
        let Some((track, forming)) = instrument.track_and_forming(timeframe) else { return true };
        let forming = forming.copied();
        let views = if live { &mut track.live } else { &mut track.candles };
        views.worded(&wish.wording).add(&wish.subscriber);
        let room = room(&wish.subscriber.inbox);
        let gap = wish.since.is_some_and(|since| track.catch_up(live, &wish.wording, since, grace_ns, room));
        if live && let Some(forming) = forming {
            track.greet(&wish.wording, &forming, at_ns);
        }
        self.note_subscription(&wish.subscriber.of, place, timeframe);
        gap
    }

    fn begin_indicator(&mut self, wish: &Wish, token: InstrumentToken, timeframe: Timeframe) -> Granted {
        let Topic::Indicator { id, .. } = wish.topic else { return Ok(Known::default()) };
        let (at_ns, grace_ns) = (self.market_ns(), self.settings.grace_ns);
        let place = self.compute(token, timeframe, &id, at_ns)?;
        let counters = Arc::clone(&self.counters);
        let Some((track, forming)) = self.at(place).and_then(|it| it.track_and_forming(timeframe)) else {
            return Ok(Known::default());
        };
        let forming = forming.filter(|_| !track.loading).map(|forming| bar(token, forming));
        let (computation, _) = track.computation(&id, seconds(at_ns));
        if let Some(forming) = forming {
            computation.form(&forming, seconds(at_ns), &counters);
        }
        computation.views.worded(&wish.wording).add(&wish.subscriber);
        let room = room(&wish.subscriber.inbox);
        let gap = wish.since.is_some_and(|since| track.catch_up_on(&id, &wish.wording, since, grace_ns, room));
        let (computation, _) = track.computation(&id, seconds(at_ns));
        computation.greet(&wish.wording);
        let value = computation.current().map_or(Value::Null, |current| value(&current.outputs));
        self.note_subscription(&wish.subscriber.of, place, timeframe);
        Ok(Known { value, gap })
    }

    /// Sees to it that an indicator is computed; returns the place of its instrument.
    fn compute(
        &mut self,
        token: InstrumentToken,
        timeframe: Timeframe,
        id: &IndicatorId,
        at_ns: u64,
    ) -> Result<u32, Full> {
        let place = self.track(token, timeframe);
        let most = self.settings.max_computations;
        let full = self.counters.computations.get() as usize >= most;
        let counters = Arc::clone(&self.counters);
        let Some(track) = self.at(place).and_then(|instrument| instrument.track_mut(timeframe)) else {
            return Ok(place);
        };
        let known = track.computations.iter().any(|computation| computation.id() == id);
        if full && !known {
            return Err(Full(most));
        }
        let (_, begun) = track.computation(id, seconds(at_ns));
        if begun {
            counters.started.add(1);
            counters.computations.add(1);
        } else {
            counters.shared.add(1);
        }
        // It may want more bars than were loaded.
        self.ask_history(place, timeframe, false, at_ns);
        Ok(place)
    }

    fn watch(&mut self, alert: Alert) -> Result<(), Full> {
        let token = alert.token;
        let Some((timeframe, _)) = alert.timeframe else {
            let place = self.instrument(token);
            if let Some(instrument) = self.at(place) {
                instrument.watch(alert);
                self.counters.alerts.add(1);
            }
            return Ok(());
        };
        let at_ns = self.market_ns();
        let place = match &alert.condition {
            Condition::Indicator { id, .. } => self.compute(token, timeframe, id, at_ns)?,
            _ => self.track(token, timeframe),
        };
        let Some(track) = self.at(place).and_then(|instrument| instrument.track_mut(timeframe)) else { return Ok(()) };
        if let Condition::Indicator { id, .. } = &alert.condition {
            track.computation(id, seconds(at_ns)).0.alerts += 1;
        }
        track.alerts.push(alert);
        self.counters.alerts.add(1);
        Ok(())
    }

    fn load(&mut self, token: InstrumentToken, timeframe: Timeframe, bars: Option<Vec<Candle>>) {
        if bars.is_none() {
            self.counters.history_failures.add(1);
        }
        let at_ns = self.market_ns();
        let Some(place) = self.by_token.get(&token).copied() else { return };
        let Some(instrument) = self.instruments[place as usize].as_deref_mut() else { return };
        let (wiring, counters) = (&self.wiring, &self.counters);
        let desk = Desk { settings: &self.settings, counters };
        instrument.load(timeframe, &bars.unwrap_or_default(), at_ns, desk, |timeframe, candle| {
            wiring.keep(token, timeframe, candle, counters);
        });
        self.note_due(place);
    }

    fn note_subscription(&mut self, of: &Arc<Subscription>, place: u32, timeframe: Timeframe) {
        self.counters.listeners.add(1);
        let entry = self.subscriptions.entry(address(of)).or_insert_with(|| (Arc::clone(of), Vec::new()));
        entry.1.push(Whereabouts { place, timeframe });
    }

    fn end(&mut self, of: &Arc<Subscription>) {
        self.firehoses.retain(|wish| !Arc::ptr_eq(&wish.subscriber.of, of));
        let Some((_, whereabouts)) = self.subscriptions.remove(&address(of)) else { return };
        let mut removed = 0;
        for Whereabouts { place, timeframe } in whereabouts {
            if let Some(track) = self.at(place).and_then(|instrument| instrument.track_mut(timeframe)) {
                removed += track.remove(of);
            }
        }
        self.counters.listeners.sub(removed);
    }

    /// Subscribes a firehose to every instrument on the board that it does not listen to yet; returns whether closed
    /// candles may be missing from those it asked for.
    pub(super) fn serve_firehose(&mut self, wish: &Wish) -> bool {
        let Topic::AllCandles { timeframe, live } = wish.topic else { return false };
        let mut gap = false;
        let tokens: Vec<InstrumentToken> = self.wiring.board.table().load().keys().copied().collect();
        self.served_slots = tokens.len();
        let known: FxHashSet<u32> = self
            .subscriptions
            .get(&address(&wish.subscriber.of))
            .map(|(_, places)| places.iter().map(|whereabouts| whereabouts.place).collect())
            .unwrap_or_default();
        for token in tokens {
            if self.by_token.get(&token).is_none_or(|place| !known.contains(place)) {
                gap |= self.begin_candles(wish, token, timeframe, live);
            }
        }
        gap
    }
}

/// Closed bars that may be posted to a tab at once: half of what may wait, so that what happens meanwhile fits.
fn room(inbox: &Inbox) -> usize {
    (Mailbox::LIMIT / 2).saturating_sub(inbox.mail.depth())
}

fn address(of: &Arc<Subscription>) -> usize {
    Arc::as_ptr(of) as usize
}

/// What an indicator says, as clients read it: a number, an object of numbers, or null.
pub fn value(outputs: &Outputs) -> Value {
    match outputs.values() {
        [value] => Value::from(*value),
        values if values.iter().all(Option::is_none) => Value::Null,
        _ => outputs.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into(),
    }
}
