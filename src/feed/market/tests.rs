use super::*;
use crate::kite::packet::{decode, packets};
use crate::market::{Layout, Mode, Tick};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const EPOCH_S: u32 = 1_700_000_000;

fn market(adjust: impl FnOnce(&mut MarketOptions)) -> MarketFeed {
    let mut options = MarketOptions::new(EPOCH_S);
    adjust(&mut options);
    MarketFeed::new(options).unwrap()
}

fn poll(feed: &mut MarketFeed, now_ns: u64, budget: usize) -> Vec<Tick> {
    let (mut ticks, mut messages) = (Vec::new(), 0);
    let told = feed.poll(now_ns, budget, &mut |message| {
        messages += 1;
        let before = ticks.len();
        ticks.extend(packets(message).unwrap().map(|packet| decode(packet).unwrap()));
        assert!((1..=200).contains(&(ticks.len() - before)));
    });
    assert_eq!(told, messages);
    ticks
}

/// All ticks of `seconds`, polled every 5 ms; the first poll included.
fn run(feed: &mut MarketFeed, seconds: u64) -> Vec<Tick> {
    (0..=seconds * 200).flat_map(|poll_number| poll(feed, 7 * SECOND + poll_number * 5 * MS, usize::MAX)).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let (mut feed, mut bytes) = (market(|options| options.seed = seed), Vec::new());
        for now_ns in [5, 40 * MS, 41 * MS, SECOND, 4 * SECOND, 4 * SECOND + 1] {
            feed.poll(now_ns, 700, &mut |message| bytes.extend_from_slice(message));
        }
        bytes
    };
    assert_eq!(bytes(3), bytes(3));
    assert_ne!(bytes(3), bytes(4));
}

#[test]
fn the_first_poll_covers_the_universe() {
    for instruments in [1, built_in_count(), MAX_INSTRUMENTS] {
        let mut feed = market(|options| options.instruments = instruments);
        assert_eq!(feed.due_ns(), Some(0));
        let first = poll(&mut feed, 9, 1);
        assert_eq!(first.iter().map(|tick| tick.token).collect::<Vec<_>>(), feed.universe());
        assert!(first.iter().all(|tick| tick.mode == Mode::Full && tick.last_price > 0 && tick.ohlc.close > 0));
        assert!(first.iter().all(|tick| tick.exchange_timestamp == EPOCH_S));
        assert!(feed.due_ns() > Some(9));
    }
}

#[test]
fn a_tick_follows_from_the_one_before() {
    let mut feed = market(|options| (options.instruments, options.rate) = (400, 5_000));
    let mut last = std::collections::HashMap::<_, Tick>::new();
    let (mut trades, mut book_only) = (0, 0);
    for tick in run(&mut feed, 20) {
        let ohlc = tick.ohlc;
        assert!(ohlc.low <= tick.last_price && tick.last_price <= ohlc.high, "{tick:?}");
        assert!(ohlc.low <= ohlc.open && ohlc.open <= ohlc.high);
        let prices = tick.depth.buy.iter().chain(&tick.depth.sell).map(|row| row.price);
        assert!(
            prices.chain([tick.last_price, ohlc.open, ohlc.high, ohlc.low]).all(|price| price >= 0 && price % 5 == 0)
        );
        if tick.layout == Layout::Tradable {
            let depth = &tick.depth;
            assert!(depth.buy[0].price < depth.sell[0].price && depth.buy[0].price > 0);
            assert!(depth.buy.windows(2).all(|rows| rows[0].price > rows[1].price || rows[1].price == 0));
            assert!(depth.sell.windows(2).all(|rows| rows[0].price < rows[1].price));
            assert!(ohlc.low <= tick.average_traded_price + 1 && tick.average_traded_price <= ohlc.high);
            assert!(tick.oi_day_low <= tick.oi && tick.oi <= tick.oi_day_high);
            assert!(tick.last_trade_time <= tick.exchange_timestamp);
        }
        if let Some(before) = last.insert(tick.token, tick)
            && tick.layout == Layout::Tradable
        {
            if tick.volume_traded == before.volume_traded {
                book_only += 1;
                assert_ne!(tick.depth, before.depth);
                assert_eq!((tick.last_price, tick.last_trade_time), (before.last_price, before.last_trade_time));
            } else {
                trades += 1;
                assert_eq!(tick.volume_traded, before.volume_traded + tick.last_traded_quantity);
                assert_eq!(tick.last_trade_time, tick.exchange_timestamp);
            }
        }
    }
    assert_eq!(last.len(), 400);
    assert!(trades > 30_000 && (f64::from(book_only) / f64::from(trades) - 1.0).abs() < 0.1, "{trades} {book_only}");
}

#[test]
fn the_rate_is_the_one_asked_for() {
    for rate in [500, 20_000] {
        let mut feed = market(|options| options.rate = rate);
        let ticks = run(&mut feed, 10).len() - built_in_count();
        let per_second = ticks as f64 / 10.0;
        assert!((per_second / f64::from(rate) - 1.0).abs() < 0.05, "{per_second} for {rate}");
        assert_eq!((feed.counters().ticks(), feed.counters().skipped()), ((ticks + built_in_count()) as u64, 0));
    }
}

#[test]
fn an_open_bursts_and_calms_down() {
    let mut feed = market(|options| (options.shape, options.rate) = (Shape::Open, 100));
    poll(&mut feed, 0, 1);
    let seconds: Vec<usize> = (1..=1800).map(|second| poll(&mut feed, second * SECOND, usize::MAX).len()).collect();
    let mean = seconds.iter().sum::<usize>() / seconds.len();
    assert!((95..105).contains(&mean), "{mean}");
    assert!((1_300..1_700).contains(&seconds[0]), "{}", seconds[0]);
    let first_minute = seconds[..60].iter().sum::<usize>() / 60;
    assert!((150..250).contains(&first_minute), "{first_minute}");
}

#[test]
fn liquid_names_tick_often_and_quiet_ones_now_and_then() {
    let mut feed = market(|options| options.rate = 1_000);
    let mut counts = std::collections::HashMap::<_, u32>::new();
    for tick in run(&mut feed, 60) {
        *counts.entry(tick.token).or_default() += 1;
    }
    let quietest = counts.values().min().unwrap();
    assert!(*quietest > 60 && counts[&InstrumentToken(738_561)] > 50 * 60, "{quietest}");
}

#[test]
fn a_late_poll_catches_up_by_two_seconds_and_no_more() {
    let mut feed = market(|options| options.rate = 10_000);
    poll(&mut feed, 0, 1);
    let now_ns = 10 * SECOND;
    assert_eq!(poll(&mut feed, now_ns, 300).len(), 300);
    assert!(feed.due_ns() < Some(now_ns));
    let rest = poll(&mut feed, now_ns, usize::MAX).len();
    assert!((19_000..20_500).contains(&rest), "{rest}");
    assert!((79_000..81_000).contains(&feed.counters().skipped()));
    assert_eq!(feed.due_ns(), Some(now_ns + MS));
}

#[test]
fn a_slow_market_names_its_next_tick_a_busy_one_naps() {
    let mut feed = market(|options| options.rate = 1);
    poll(&mut feed, 0, 1);
    let due_ns = feed.due_ns().unwrap();
    assert!(poll(&mut feed, due_ns - 1, 9).is_empty());
    assert_eq!(poll(&mut feed, due_ns, 9).len(), 1);
}

#[test]
fn options_out_of_range_are_refused() {
    let with = |rate, instruments| MarketFeed::new(MarketOptions { rate, instruments, ..MarketOptions::new(0) }).err();
    assert_eq!(with(0, 1), Some(MarketError::Rate(0)));
    assert_eq!(with(100_001, 1), Some(MarketError::Rate(100_001)));
    assert_eq!(with(1, 9_001), Some(MarketError::Instruments(9_001)));
    assert_eq!(with(100_000, 9_000), None);
}
