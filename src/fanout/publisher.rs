//! Stops 2 to 6 of a tick, in one place: a message is cut into packets, each decoded, its slot found, stored, encoded
//! as its subscribers want it, and offered to each of their rings.

use super::board::{Board, Table};
use super::port::Port;
use super::ring::Offer;
use super::slot::{PacketWords, Slot, Subscriber, TOGETHER};
use super::update::UpdatePool;
use crate::clock::{Clock, MarketTime};
use crate::kite::packet;
use crate::market::Tick;
use crate::stats::{FeedCounters, Recorder, Stop};
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
        let packet = Packet { bytes, tick, arrival };
        publish(slot, packet, &mut self.pool, &self.counters, &mut lap);
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

/// When a message came, nanoseconds: monotonic, and since 1970 by the wall clock and by that of the market.
#[derive(Clone, Copy)]
struct Arrival {
    received_ns: u64,
    received_unix_ns: u64,
    market_ns: u64,
}

/// A packet and what it says.
struct Packet<'a> {
    bytes: &'a [u8],
    tick: Tick,
    arrival: Arrival,
}

/// Stops 4 to 6 for one tick.
#[inline]
fn publish(
    slot: &Slot,
    Packet { bytes, tick, arrival }: Packet<'_>,
    pool: &mut UpdatePool,
    counters: &FeedCounters,
    lap: &mut Lap<'_>,
) {
    // The value first, then the list: a subscriber who is not in the list yet finds the value in its snapshot.
    let (numbers, shown_from) = slot.store(&mut PacketWords::new(bytes, arrival.received_ns), tick.mode);
    counters.ticks.add(1);
    let subscribers = slot.subscribers();
    lap.ends(Stop::Slot);
    if subscribers.list.is_empty() {
        counters.unsubscribed_ticks.add(1);
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
    update.tick = tick;
    counters.encodings.add(update.encode(subscribers.encodings, bytes));
    counters.updates.add(1);
    lap.ends(Stop::Wire);
    let (mut queued, mut conflated) = (0, 0);
    // A packet that is cut down to the subscriber's mode is left out when the part he sees is what it was.
    let is_shown = |subscriber: &&Subscriber| subscriber.encoding.mode >= shown_from;
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
    counters.unchanged.add(subscribers.list.len() as u64 - queued - conflated);
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
