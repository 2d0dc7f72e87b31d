//! One value to deliver: a tick, numbered per slot, with each wanted encoding written once and shared by all who take it.

use super::slot::Numbers;
use crate::market::{InstrumentToken, Tick};
use crate::wire::encoding::{Encoding, EncodingSet};
use crate::wire::frame::Span;
use crate::wire::push;
use std::collections::VecDeque;
use std::sync::Arc;

/// See the module. Immutable once it is published.
#[derive(Debug)]
pub struct Update {
    /// The slot it belongs to.
    pub slot: u32,
    /// Its numbers in its slot.
    pub numbers: Numbers,
    /// When the message was read, monotonic.
    pub received_ns: u64,
    /// When the message was read, Unix time.
    pub received_unix_ns: u64,
    /// What time it was in the market then, Unix time: that of `received_unix_ns` but for a tape.
    pub market_ns: u64,
    /// The value.
    pub tick: Tick,
    /// The frames, one behind the other.
    bytes: Vec<u8>,
    /// Where each encoding's frame lies; empty for one that was not wanted.
    spans: [Span; Encoding::COUNT],
}

impl Default for Update {
    fn default() -> Self {
        Self {
            slot: 0,
            numbers: Numbers::default(),
            received_ns: 0,
            received_unix_ns: 0,
            market_ns: 0,
            tick: Tick::ltp(InstrumentToken(0), 0),
            bytes: Vec::new(),
            spans: [Span::default(); Encoding::COUNT],
        }
    }
}

impl Update {
    /// The frame in `encoding` and the part of it that is its body; `None` when it was not wanted at publication.
    #[inline]
    pub fn frame(&self, encoding: Encoding) -> Option<(&[u8], &[u8])> {
        let span = self.spans[encoding.index()];
        (!span.is_empty()).then(|| (&self.bytes[span.frame()], &self.bytes[span.body()]))
    }

    /// Writes the wanted encodings; returns how many. A mode above the tick's own shares the frame of the tick's mode.
    /// `packet` is what the tick was decoded from.
    pub fn encode(&mut self, wanted: EncodingSet, packet: &[u8]) -> u64 {
        self.bytes.clear();
        self.spans = [Span::default(); Encoding::COUNT];
        let mut written = 0;
        for encoding in Encoding::all().filter(|encoding| wanted.contains(*encoding)) {
            let effective = Encoding { mode: encoding.mode.min(self.tick.mode), ..encoding };
            if self.spans[effective.index()].is_empty() {
                self.spans[effective.index()] =
                    push::tick_frame(&mut self.bytes, effective, &self.tick, packet, self.received_unix_ns, false);
                written += 1;
            }
            self.spans[encoding.index()] = self.spans[effective.index()];
        }
        written
    }
}

/// Updates that are used again once nobody holds them, with their buffers, so that publishing allocates nothing when
/// warm. **Thread**: the publisher.
#[derive(Debug, Default)]
pub struct UpdatePool {
    /// Oldest first; most likely free again at the front.
    updates: VecDeque<Arc<Update>>,
    /// Those that were still held when it was their turn. Apart, so that what a slow tab holds for long does not stand
    /// in the way of what is free.
    held: VecDeque<Arc<Update>>,
}

/// Most updates kept: beyond it one that is still held is left to its holders.
const KEPT: usize = 16_384;

impl UpdatePool {
    /// An update nobody else holds, and whether it had to be allocated.
    pub fn take(&mut self) -> (Arc<Update>, bool) {
        // One of each a time: a bound on the work, and enough to find again all that were let go.
        for held in [true, false] {
            let from = if held { &mut self.held } else { &mut self.updates };
            let Some(mut update) = from.pop_front() else { continue };
            if Arc::get_mut(&mut update).is_some() {
                return (update, false);
            }
            self.held.push_back(update);
        }
        (Arc::default(), true)
    }

    /// Remembers an update that was published.
    pub fn keep(&mut self, update: Arc<Update>) {
        if self.updates.len() + self.held.len() < KEPT {
            self.updates.push_back(update);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_long_costs_no_new_updates() {
        let mut pool = UpdatePool::default();
        let mut publish = |holders: &mut VecDeque<Arc<Update>>| {
            let (update, allocated) = pool.take();
            holders.push_back(Arc::clone(&update));
            pool.keep(update);
            allocated
        };
        let (mut slow, mut quick) = (VecDeque::new(), VecDeque::new());
        for _ in 0..100 {
            publish(&mut slow);
        }
        let mut allocated = 0;
        for _ in 0..10_000 {
            allocated += u32::from(publish(&mut quick));
            if quick.len() > 10 {
                quick.pop_front();
            }
        }
        assert!(allocated <= 100 + 11, "{allocated}: each that is held must be replaced, but once");
        slow.clear();
        quick.clear();
        let again = (0..200).filter(|_| !publish(&mut slow)).count();
        assert_eq!(again, 200, "what was let go must be found again");
    }
}
