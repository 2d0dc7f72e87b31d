//! What each stop executes. `perf/instructions.sh` runs this under callgrind, which counts what happens inside
//! [`counted`] and writes its counts down at each [`told`]. By itself it says only what it has done.
//!
//! A count does not depend on the machine's speed or on who else uses it, so a regression can fail the test command. It
//! tells nothing of caches, of locked instructions and of the kernel: that is what the timed benches are for.

#[path = "support/audience.rs"]
mod audience;
#[path = "support/bars.rs"]
mod bars;
#[path = "../tests/support/plane.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod plane;
#[path = "support/round.rs"]
mod round;
#[path = "support/ticks.rs"]
#[expect(dead_code, reason = "other benches take the rest")]
mod ticks;
#[path = "support/trades.rs"]
mod trades;

use audience::{Audience, ROUND};
use plane::Plane;
use round::Round;
use std::hint::black_box;
use std::sync::Arc;
use tickfan::clock::Clock;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::update::Update;
use tickfan::kite::packet::{decode, encode};
use tickfan::market::calendar::{Calendar, SegmentKind};
use tickfan::market::candle::{Bars, CandleBuilder, Trades, TradesOptions};
use tickfan::market::indicator::{DEFINITIONS, Indicator, IndicatorId};
use tickfan::market::{Mode, Timeframe};
use tickfan::wire::{Encoding, Format, push};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The time of arrival.
const UNIX_NS: u64 = 1_762_257_930_120_000_000;
/// Operations of a kind, where one is small.
const TIMES: usize = 1_024;
/// Tabs of the whole route, and the cycles counted.
const TABS: u64 = 100;
const CYCLES: u32 = 20;

/// The profiler counts what is executed in here, and nothing else.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// So many operations of that name have been counted since the last call.
#[inline(never)]
fn told(operation: &str, times: u64) {
    println!("{times}\t{operation}");
}

/// Counts an operation on each of some inputs, [`TIMES`] in all, after a round that warms it up.
fn each<T>(name: &str, inputs: &[T], mut operation: impl FnMut(&T)) {
    inputs.iter().for_each(&mut operation);
    counted(&mut || inputs.iter().cycle().take(TIMES).for_each(&mut operation));
    told(name, TIMES as u64);
}

fn packets() {
    let bytes = |tick| {
        let mut bytes = Vec::new();
        encode(&tick, &mut bytes);
        bytes
    };
    let packets: Vec<Vec<u8>> = ticks::ticks(ROUND, None).into_iter().map(bytes).collect();
    each("packet: decode full", &packets, |packet| {
        let _ = black_box(decode(black_box(packet)));
    });
}

fn encodings() {
    let tick = ticks::ticks(1, None)[0];
    let mut packet = Vec::new();
    encode(&tick, &mut packet);
    let mut out = Vec::with_capacity(4_096);
    for encoding in Encoding::all() {
        let name = format!("wire: {} {}", encoding.format.name(), encoding.mode.name());
        each(&name, &[tick], |tick| {
            out.clear();
            black_box(push::tick_frame(&mut out, encoding, black_box(tick), black_box(&packet), UNIX_NS, false));
        });
    }
}

fn rings() {
    let update = Arc::new(Update::default());
    let ring = Ring::new(plane::RING);
    each("ring: offer, announce, begin, take", &[update], |update| {
        let _ = black_box(ring.offer(Arc::clone(update)));
        black_box(ring.announce());
        ring.begin();
        black_box(ring.take());
    });
}

/// Stops 2 to 6, and 7 as far as it is the same for every tab.
fn publishing() {
    for subscribers in [0, 1, 100] {
        let mut audience = Audience::new(subscribers, Format::Json, Clock::manual(UNIX_NS));
        for _ in 0..4 {
            audience.publish();
            audience.drain();
        }
        counted(&mut || audience.publish());
        told(&format!("packet to ring: json full to {subscribers}"), ROUND as u64);
        audience.drain();
    }
}

/// All stops, with tabs on real sockets. What the kernel executes is not counted.
fn deliveries() {
    for (ticks_each, format, mode) in
        [(1, Format::Json, Mode::Quote), (16, Format::Json, Mode::Quote), (16, Format::Kite, Mode::Full)]
    {
        let mut plane = Plane::new(Box::new(Round::new(ticks_each)), &Clock::manual(UNIX_NS));
        for _ in 0..TABS {
            plane.open(&[ticks::SHARE], Encoding { format, mode }, 0);
        }
        let mut delivered = 0;
        for cycle in 0..64 + CYCLES {
            if cycle < 64 {
                plane.duty.cycle();
                delivered = plane.writer_counters.delivered.get();
            } else {
                counted(&mut || {
                    plane.duty.cycle();
                });
            }
            plane.drain();
        }
        assert_eq!(plane.writer_counters.blocked_writes.get(), 0, "the other ends were read too slowly");
        let name = format!("all: one of {ticks_each} {} {} to {TABS} tabs", format.name(), mode.name());
        told(&name, plane.writer_counters.delivered.get() - delivered);
    }
}

fn candles() {
    let Ok(calendar) = Calendar::built_in() else { return };
    let mut bars = Bars::new(Trades::new(SegmentKind::Cash, TradesOptions::default()));
    for timeframe in [Timeframe::Min1, Timeframe::Min5, Timeframe::Day] {
        bars.add(CandleBuilder::new(timeframe));
    }
    let trades = trades::trades(2 * TIMES as u32);
    let mut operation = |(tick, received_ns): &_| {
        bars.on_tick(black_box(tick), *received_ns, &calendar, |builder, _| {
            black_box(builder.forming());
        });
    };
    let (before, after) = trades.split_at(TIMES);
    before.iter().for_each(&mut operation);
    counted(&mut || after.iter().for_each(&mut operation));
    told("candle: tick into 3 bars", TIMES as u64);
}

fn indicators() {
    let bars = bars::bars();
    let mut all: Vec<_> =
        DEFINITIONS.iter().map(|definition| Indicator::new(&IndicatorId::of(definition.name))).collect();
    let Ok(id) = "RSI_14".parse::<IndicatorId>() else { return };
    let mut one = Indicator::new(&id);
    each("indicator: update RSI_14", &bars, |bar| {
        one.update(black_box(bar));
    });
    each("indicator: peek RSI_14", &bars, |bar| {
        black_box(one.peek(black_box(bar)));
    });
    each("indicator: update each of all once", &bars, |bar| {
        all.iter_mut().for_each(|indicator| {
            indicator.update(black_box(bar));
        });
    });
}

fn main() {
    packets();
    encodings();
    rings();
    publishing();
    deliveries();
    candles();
    indicators();
}
