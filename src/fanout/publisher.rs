//! Stops 2 to 6 of a tick, in one place: a message is cut into packets, each decoded, its slot found, stored, encoded
//! as its subscribers want it, and offered to each of their rings.

use super::board::{Board, Table};
use super::newest::{Arrival, Newest, Stored};
use super::port::Port;
use super::ring::Offer;
use super::slot::{PacketWords, Slot, Subscriber, TOGETHER};
use super::update::UpdatePool;
use crate::clock::{Clock, MarketTime};
use crate::kite::packet;
use crate::stats::{FeedCounters, Recorder, Stop};
use crate::wire::Format;
use crate::wire::encoding::EncodingSet;
use arc_swap::{ArcSwap, Cache};
use std::sync::Arc;

/// Takes messages and publishes them. **Thread**: the feed's, which owns it.
pub struct Publisher {
    table: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    pool: UpdatePool,
    clock: Clock,
    market_time: MarketTime,
    counters: Arc<FeedCounters>,
    recorder: Recorder,
    /// Tabs are offered the newest ticks only; see [`Self::conflate`].
    conflating: bool,
    /// What they have not been offered yet.
    newest: Newest,
    /// Packets until the next one whose stops are timed one by one.
    until_sample: u32,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// One packet in so many is timed stop by stop: a clock reading costs more than most stops.
const SAMPLE_EVERY: u32 = 64;

/// Times the stops of a sampled packet; does nothing for the others.
struct Lap<'a> {
    clock: &'a Clock,
    recorder: &'a mut Recorder,
    since: Option<u64>,
}

impl Lap<'_> {
    #[inline]
    fn ends(&mut self, stop: Stop) {
        if let Some(since) = self.since {
            let now = self.clock.now_ns();
            self.recorder.record(stop, now - since);
            self.since = Some(now);
        }
    }
}

impl Publisher {
    /// A publisher to the slots of `board`.
    pub fn new(board: &Board, clock: Clock, counters: Arc<FeedCounters>, recorder: Recorder) -> Self {
        Self {
            table: Cache::new(Arc::clone(board.table())),
            pool: UpdatePool::default(),
            clock,
            market_time: MarketTime::default(),
            counters,
            recorder,
            conflating: false,
            newest: Newest::default(),
            until_sample: 0,
        }
    }

    /// Stamps updates with the time of a feed that has its own.
    pub fn follow(mut self, market_time: MarketTime) -> Self {
        self.market_time = market_time;
        self
    }

    /// Publishes every packet of a message. `woken_ns` is when the thread last woke or finished other work.
    ///
    /// Broken messages and packets are counted and passed over. Afterwards, when the whole batch is through, whoever
    /// owns the writers must look at their doors (or [`wake`] them).
    pub fn message(&mut self, message: &[u8], woken_ns: u64) {
        let received_ns = self.clock.now_ns();
        self.recorder.record(Stop::Feed, received_ns.saturating_sub(woken_ns));
        let counters = &self.counters;
        counters.messages.add(1);
        counters.bytes.add(message.len() as u64);
        if message.len() < 2 {
            counters.heartbeats.add(1);
            return;
        }
        let Ok(packets) = packet::packets(message) else {
            counters.malformed_messages.add(1);
            return;
        };
        let received_unix_ns = self.clock.unix_ns(received_ns);
        let market_ns = self.market_time.told().unwrap_or(received_unix_ns);
        let arrival = Arrival { received_ns, received_unix_ns, market_ns };
        for packet in packets {
            self.packet(packet, arrival);
        }
    }

    #[inline]
    fn packet(&mut self, bytes: &[u8], arrival: Arrival) {
        let sampled = self.until_sample == 0;
        self.until_sample = if sampled { SAMPLE_EVERY - 1 } else { self.until_sample - 1 };
        let since = sampled.then(|| self.clock.now_ns());
        let mut lap = Lap { clock: &self.clock, recorder: &mut self.recorder, since };
        let Ok(tick) = packet::decode(bytes) else {
            self.counters.unknown_packets.add(1);
            return;
        };
        lap.ends(Stop::Packet);
        let Some(slot) = self.table.load().get(&tick.token) else {
            self.counters.unwanted_packets.add(1);
            return;
        };
        lap.ends(Stop::Board);
        // The value first, then the list: a subscriber who is not in the list yet finds the value in its snapshot.
        let (numbers, shown_from) = slot.store(&mut PacketWords::new(bytes, arrival.received_ns), tick.mode);
        self.counters.ticks.add(1);
        let stored = Stored { bytes, tick, arrival, numbers, shown_from };
        let audience = if self.conflating { Audience::Engine } else { Audience::All };
        offer(slot, &stored, audience, &mut self.pool, &self.counters, &mut lap);
        if self.conflating {
            self.counters.outrun_ticks.add(self.newest.put(slot, &stored).into());
        }
    }

    /// From now on tabs are offered only the newest tick of each instrument, and when [told](Self::offer_newest) so.
    pub const fn conflate(&mut self) {
        self.conflating = true;
    }

    /// Offers tabs the newest tick of each instrument that has come since [`Self::conflate`]; from now on they are offered
    /// every tick again.
    pub fn offer_newest(&mut self) {
        if !std::mem::take(&mut self.conflating) {
            return;
        }
        let Self { pool, clock, counters, recorder, newest, .. } = self;
        newest.take(|slot, stored| {
            let mut lap = Lap { clock, recorder, since: None };
            offer(slot, &stored, Audience::Tabs, pool, counters, &mut lap);
        });
    }

    /// Hands latencies over to the collector when it is time.
    pub fn exchange(&mut self, now_ns: u64) {
        self.recorder.exchange(now_ns);
    }

    /// When [`Self::exchange`] has something to hand over, monotonic; `None` when nothing was recorded.
    pub fn due_ns(&self) -> Option<u64> {
        self.recorder.due_ns()
    }
}

/// To whom a tick is offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    All,
    /// Those who read it as it is: the engine.
    Engine,
    /// Those to whom it is written.
    Tabs,
}

impl Audience {
    #[inline]
    fn has(self, subscriber: &Subscriber) -> bool {
        self == Self::All || (subscriber.encoding.format == Format::Unwritten) == (self == Self::Engine)
    }
}

/// Stops 5 and 6 for one tick.
#[inline(always)]
fn offer(
    slot: &Slot,
    stored: &Stored<'_>,
    audience: Audience,
    pool: &mut UpdatePool,
    counters: &FeedCounters,
    lap: &mut Lap<'_>,
) {
    let &Stored { bytes, ref tick, arrival, numbers, shown_from } = stored;
    let subscribers = slot.subscribers();
    lap.ends(Stop::Slot);
    let asked = match audience {
        Audience::All => subscribers.list.len(),
        _ => subscribers.list.iter().filter(|subscriber| audience.has(subscriber)).count(),
    };
    if asked == 0 {
        let unsubscribed = subscribers.list.is_empty() && audience != Audience::Tabs;
        counters.unsubscribed_ticks.add(unsubscribed.into());
        return;
    }
    let (mut shared, allocated) = pool.take();
    counters.updates_allocated.add(u64::from(allocated));
    // `take` gives one that nobody else holds, so it can be changed.
    let Some(update) = Arc::get_mut(&mut shared) else { return };
    update.slot = slot.id;
    update.numbers = numbers;
    update.received_ns = arrival.received_ns;
    update.received_unix_ns = arrival.received_unix_ns;
    update.market_ns = arrival.market_ns;
    update.tick = *tick;
    let encodings = if audience == Audience::Engine { EncodingSet::default() } else { subscribers.encodings };
    counters.encodings.add(update.encode(encodings, bytes));
    counters.updates.add(1);
    lap.ends(Stop::Wire);
    let (mut queued, mut conflated) = (0, 0);
    // A packet that is cut down to the subscriber's mode is left out when the part he sees is what it was.
    let is_shown = |subscriber: &&Subscriber| subscriber.encoding.mode >= shown_from && audience.has(subscriber);
    for subscribers in subscribers.list.chunks(TOGETHER) {
        subscribers.iter().filter(is_shown).for_each(|subscriber| subscriber.inbox.touch());
        for Subscriber { inbox, .. } in subscribers.iter().filter(is_shown) {
            match inbox.ring.offer(Arc::clone(&shared)) {
                Offer::Queued => queued += 1,
                Offer::Conflated => conflated += 1,
            }
            inbox.announce();
        }
    }
    lap.ends(Stop::Ring);
    counters.queued.add(queued);
    counters.conflated.add(conflated);
    counters.unchanged.add(asked as u64 - queued - conflated);
    pool.keep(shared);
}

/// Wakes the writers that sleep. After a whole batch, never per tick. **Thread**: any.
pub fn wake<'a>(doors: impl IntoIterator<Item = (&'a Port, &'a mio::Waker)>) {
    for (port, waker) in doors {
        if port.must_wake() {
            // Fails only when the eventfd is gone, that is at shutdown.
            let _ = waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::Ring;
    use super::super::slot::Inbox;
    use super::*;
    use crate::market::{InstrumentToken, Mode, Tick};
    use crate::stats::Collector;
    use crate::wire::Encoding;

    const TOKENS: [InstrumentToken; 2] = [InstrumentToken(257), InstrumentToken(513)];

    /// A message with one packet.
    fn message(token: InstrumentToken, price: i32, volume: u32) -> Vec<u8> {
        let tick = Tick { mode: Mode::Full, volume_traded: volume, ..Tick::ltp(token, price) };
        let mut body = Vec::new();
        packet::encode(&tick, &mut body);
        [&1_u16.to_be_bytes()[..], &(body.len() as u16).to_be_bytes()[..], &body[..]].concat()
    }

    #[test]
    fn under_overload_the_engine_is_offered_everything_and_tabs_the_newest_of_each_instrument() {
        let board = Board::new(|| {});
        let [engine, full, ltp] = [Format::Unwritten, Format::Json, Format::Json].map(|format| {
            let inbox = Arc::new(Inbox::new(Ring::new(16), 0, Arc::new(Port::new(4))));
            let mode = if format == Format::Unwritten { Mode::Full } else { Mode::Quote };
            board.subscribe(&inbox, &TOKENS, Encoding { format, mode });
            inbox
        });
        board.subscribe(&ltp, &TOKENS, Encoding { format: Format::Json, mode: Mode::Ltp });
        let (counters, recorder) = (Arc::<FeedCounters>::default(), Collector::default().recorder());
        let mut publisher = Publisher::new(&board, Clock::manual(1), Arc::clone(&counters), recorder);
        let [one, two] = TOKENS;
        let offered = |inbox: &Inbox| {
            let updates = std::iter::from_fn(|| inbox.ring.take());
            updates
                .map(|update| (update.tick.token, update.tick.last_price, update.tick.volume_traded))
                .collect::<Vec<_>>()
        };
        publisher.message(&message(one, 100, 1), 0);
        publisher.message(&message(two, 7, 7), 0);
        assert_eq!([&engine, &full, &ltp].map(|inbox| offered(inbox).len()), [2; 3]);

        publisher.conflate();
        let news = [(one, 100, 2), (one, 101, 2), (two, 7, 8), (one, 101, 3)];
        news.iter().for_each(|(token, price, volume)| publisher.message(&message(*token, *price, *volume), 0));
        assert_eq!([&full, &ltp].map(|inbox| inbox.ring.depth()), [0; 2]);
        publisher.offer_newest();
        assert_eq!(offered(&engine), news);
        assert_eq!(offered(&full), [(one, 101, 3), (two, 7, 8)]);
        // The price changed with one that made way.
        assert_eq!(offered(&ltp), [(one, 101, 3)]);
        assert_eq!((counters.ticks.get(), counters.outrun_ticks.get()), (6, 2));

        publisher.offer_newest();
        publisher.message(&message(two, 8, 9), 0);
        assert_eq!([&engine, &full, &ltp].map(|inbox| offered(inbox).len()), [1; 3]);
    }
}
