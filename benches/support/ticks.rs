//! Ticks as a busy market sends them.

use tickfan::feed::Feed;
use tickfan::feed::market::{MAX_RATE, MarketFeed, MarketOptions};
use tickfan::kite::packet::{MessageBuilder, decode, packets};
use tickfan::market::{InstrumentToken, Layout, Mode, Tick};

/// A share and an index, both in the list that everybody knows.
pub const SHARE: InstrumentToken = InstrumentToken(408_065);
pub const INDEX: InstrumentToken = InstrumentToken(256_265);

/// That many ticks of the embedded market, which is always the same. Changed so that all are of `token`, if given.
pub fn ticks(count: usize, token: Option<InstrumentToken>) -> Vec<Tick> {
    let mut feed = MarketFeed::new(MarketOptions { rate: MAX_RATE, ..MarketOptions::new(1_762_257_900) }).unwrap();
    let (mut ticks, mut now_ns) = (Vec::new(), 0);
    while ticks.len() < count {
        feed.poll(now_ns, usize::MAX, &mut |message| {
            let decoded = packets(message).unwrap().map(|packet| decode(packet).unwrap());
            ticks.extend(decoded.filter(|tick| tick.layout == Layout::Tradable));
        });
        now_ns += 1_000_000;
    }
    ticks.truncate(count);
    if let Some(token) = token {
        ticks.iter_mut().for_each(|tick| tick.token = token);
    }
    ticks
}

/// A tick cut down to a mode, in a layout.
pub fn shaped(mut tick: Tick, mode: Mode, layout: Layout) -> Tick {
    (tick.mode, tick.layout) = (mode, layout);
    tick
}

/// One message of those ticks.
pub fn message(ticks: &[Tick]) -> Vec<u8> {
    let mut builder = MessageBuilder::default();
    for tick in ticks {
        assert!(builder.push(tick));
    }
    builder.take().to_vec()
}
