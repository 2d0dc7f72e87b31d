//! A publisher and the inboxes it publishes to.

use crate::plane::{RING, inbox};
use crate::ticks;
use std::sync::Arc;
use tickfan::clock::Clock;
use tickfan::fanout::board::Board;
use tickfan::fanout::port::Port;
use tickfan::fanout::publisher::Publisher;
use tickfan::fanout::slot::Inbox;
use tickfan::market::Mode;
use tickfan::stats::Collector;
use tickfan::wire::{Encoding, Format};

/// Ticks that fit a ring, so that nothing is conflated.
pub const ROUND: usize = RING / 2;

/// See the module.
pub struct Audience {
    publisher: Publisher,
    inboxes: Vec<Arc<Inbox>>,
    port: Arc<Port>,
    /// One full tick each, all of one instrument.
    messages: Vec<Vec<u8>>,
}

impl Audience {
    /// So many subscribers of one instrument in mode full.
    pub fn new(subscribers: usize, format: Format, clock: Clock) -> Self {
        let board = Board::new(|| {});
        let port = Arc::new(Port::new(subscribers));
        board.reserve(&[ticks::SHARE]);
        let encoding = Encoding { format, mode: Mode::Full };
        let inboxes: Vec<_> = (0..subscribers)
            .map(|key| {
                let inbox = inbox(RING, key as u32, &port);
                board.subscribe(&inbox, &[ticks::SHARE], encoding);
                inbox
            })
            .collect();
        let publisher = Publisher::new(&board, clock, Arc::default(), Collector::default().recorder());
        let ticks = ticks::ticks(ROUND, Some(ticks::SHARE));
        let messages = ticks.iter().map(|tick| ticks::message(std::slice::from_ref(tick))).collect();
        Self { publisher, inboxes, port, messages }
    }

    /// Publishes [`ROUND`] messages of one tick each.
    pub fn publish(&mut self) {
        for message in &self.messages {
            self.publisher.message(message, 0);
        }
    }

    /// What a writer does with the rings, without the writing.
    pub fn drain(&self) {
        while let Some(key) = self.port.pop() {
            let ring = &self.inboxes[key as usize].ring;
            ring.begin();
            assert!(!ring.take_behind());
            while ring.take().is_some() {}
        }
    }
}
