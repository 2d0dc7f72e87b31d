//! What a writer lends a tab for one turn.

use crate::clock::Clock;
use crate::fanout::board::Board;
use crate::fanout::slot::Value;
use crate::market::Mode;
use crate::stats::{Recorder, Stop, WriterCounters};
use crate::wire::frame::{self, Opcode, Span};
use crate::wire::{Encoding, push};
use rustc_hash::FxHashMap;

/// When the message with a tick was received, and how the tick comes to its tab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u64);

/// A clock of nanoseconds takes three centuries to get there.
const LATE: u64 = 1 << 63;

impl Stamp {
    /// Of a tick on the straight way: through the ring.
    #[inline]
    pub const fn straight(received_ns: u64) -> Self {
        Self(received_ns)
    }

    /// Of a value that was looked up when it could leave: what came while the tab was behind, or throttled, is in it.
    #[inline]
    pub const fn late(received_ns: u64) -> Self {
        Self(received_ns | LATE)
    }

    /// When the message was received, monotonic.
    #[inline]
    pub const fn received_ns(self) -> u64 {
        self.0 & !LATE
    }

    /// What its age at `now_ns` counts as, once it has left.
    #[inline]
    pub const fn stop(self) -> Stop {
        if self.0 & LATE == 0 { Stop::Total } else { Stop::Age }
    }
}

/// See the module.
pub struct Turn<'a> {
    /// The program's clock.
    pub clock: &'a Clock,
    /// Monotonic time of the turn, kept fresh by every write.
    pub now_ns: u64,
    /// Where messages are put together, behind those of the tabs before.
    pub out: &'a mut Vec<u8>,
    /// How old the messages in `out` are.
    pub stamps: &'a mut Vec<Stamp>,
    /// Encodings made for one tab, in case another wants the same.
    pub own: &'a mut OwnEncodings,
    /// The writer's counters.
    pub counters: &'a WriterCounters,
    /// The thread's histograms.
    pub recorder: &'a mut Recorder,
    /// For a firehose, which has no list of its own.
    pub board: &'a Board,
    /// Length of `out` at which the tab's budget is used up.
    pub limit: usize,
    /// How long a batch may wait, nanoseconds.
    pub batch_delay_ns: u64,
    /// How long an update may have waited before it is left out for a newer one, nanoseconds; [`u64::MAX`] but
    /// under overload, and for a tab that has been late for long.
    pub max_wait_ns: u64,
    /// What it is then; `None` for no limit.
    pub overload_wait_ns: Option<u64>,
    /// How much longer than its way a tab may take to read what it is sent, nanoseconds; `None` for as long as it likes.
    pub late_after_ns: Option<u64>,
    /// The tab does not read in time, or did not until now.
    pub late: bool,
    /// A value made way at one that does.
    pub shed: bool,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("now_ns", &self.now_ns).finish_non_exhaustive()
    }
}

impl Turn<'_> {
    /// Whether the tab has put together as much as may leave at once.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    /// Appends a frame built in place. A short frame begins two bytes behind the old end: the gap is closed.
    pub fn append_frame(&mut self, build: impl FnOnce(&mut Vec<u8>) -> Span) {
        let old_end = self.out.len();
        let span = build(self.out);
        self.out.drain(old_end..span.frame().start);
    }

    /// Ends a frame that was [opened](frame::open) in place, and closes the gap likewise.
    pub fn end_frame(&mut self, body: usize, opcode: Opcode) {
        let opened = body - frame::RESERVED;
        let span = frame::close(self.out, opcode, body);
        self.out.drain(opened..span.frame().start);
    }
}

/// Encodings of newest values, by slot and encoding: tabs that are behind at the same time share them.
#[derive(Debug, Default)]
pub struct OwnEncodings(FxHashMap<(u32, u8), OwnEncoding>);

#[derive(Debug, Default)]
struct OwnEncoding {
    number: u64,
    bytes: Vec<u8>,
    span: Span,
}

/// Most entries kept; beyond it all are forgotten.
const OWN_ENCODINGS: usize = 4_096;

impl OwnEncodings {
    /// The frame of a slot's newest value and the part of it that is its body.
    pub fn frame(&mut self, slot: u32, encoding: Encoding, value: &Value, unix_ns: u64) -> (&[u8], &[u8]) {
        if self.0.len() >= OWN_ENCODINGS {
            self.0.clear();
        }
        let own = self.0.entry((slot, encoding.index() as u8)).or_default();
        let number = value.numbers.of(Mode::Full);
        if own.number != number {
            own.number = number;
            own.bytes.clear();
            own.span = push::tick_frame(&mut own.bytes, encoding, &value.tick, &value.packet, unix_ns, false);
        }
        (&own.bytes[own.span.frame()], &own.bytes[own.span.body()])
    }
}
