//! A feed that costs nothing.

use crate::ticks;
use tickfan::feed::Feed;
use tickfan::market::InstrumentToken;

/// Fixed messages of one instrument, one a poll, round and round.
pub struct Round {
    messages: Vec<Vec<u8>>,
    at: usize,
}

impl Round {
    /// Messages of so many ticks.
    pub fn new(ticks_each: usize) -> Self {
        let ticks = ticks::ticks(64 * ticks_each, Some(ticks::SHARE));
        Self { messages: ticks.chunks(ticks_each).map(ticks::message).collect(), at: 0 }
    }
}

impl Feed for Round {
    fn name(&self) -> &'static str {
        "round"
    }

    fn universe(&self) -> Vec<InstrumentToken> {
        vec![ticks::SHARE]
    }

    fn poll(&mut self, _: u64, _: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        sink(&self.messages[self.at]);
        self.at = (self.at + 1) % self.messages.len();
        1
    }

    fn due_ns(&self) -> Option<u64> {
        Some(0)
    }
}
