use super::*;

fn with_day(time: i64, price: i32, cumulative: u32, [open, high, low, close]: [i32; 4]) -> Tick {
    Tick { ohlc: Ohlc { open, high, low, close }, ..full(time, price, cumulative) }
}

#[test]
fn the_day_s_bar_is_what_the_exchange_says() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Day, Timeframe::Min1]);
    // Joined late: the day is whole nevertheless.
    desk.tick(with_day(at("11:07:00"), 10_050, 400_000, [10_000, 10_200, 9_900, 9_950]));
    let bar = desk.forming().unwrap();
    assert_eq!((bar.open, bar.high, bar.low, bar.close), (10_000, 10_200, 9_900, 10_050));
    assert_eq!((bar.volume, bar.partial, bar.start), (400_000, false, at("00:00:00")));
    // The open is restated; the closing session trades at the closing price.
    desk.tick(with_day(at("11:08:00"), 10_060, 400_100, [10_020, 10_200, 9_900, 9_950]));
    desk.tick(with_day(at("15:45:00"), 10_070, 400_500, [10_020, 10_200, 9_900, 9_950]));
    desk.wait_until(at("16:00:00"));
    assert_eq!(desk.closed.iter().filter(|(timeframe, _)| *timeframe == Timeframe::Day).count(), 0);
    desk.wait_until(at("16:00:01"));
    let (timeframe, day) = *desk.closed.last().unwrap();
    assert_eq!((timeframe, day.open, day.close, day.volume), (Timeframe::Day, 10_020, 10_070, 400_500));
    assert!(day.closed && day.sequence == 1);
}

#[test]
fn the_official_close_comes_the_next_morning() {
    for (told, expected) in [(10_065, Some(10_065)), (10_070, None), (5_032, None)] {
        let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Day]);
        desk.tick(with_day(at("09:10:00"), 10_000, 0, [0; 4]));
        desk.tick(with_day(at("15:29:59"), 10_070, 1_000, [10_000, 10_200, 9_900, 9_950]));
        desk.wait_until(at("16:00:01"));
        // Before the open it may still be Thursday's.
        desk.tick(with_day(on("2026-07-27", "09:05:00"), 10_070, 0, [0, 0, 0, 9_950]));
        desk.tick(with_day(on("2026-07-27", "09:15:01"), 10_100, 10, [10_100, 10_100, 10_100, told]));
        desk.tick(with_day(on("2026-07-27", "09:15:02"), 10_100, 20, [10_100, 10_100, 10_100, told]));
        let settled: Vec<Candle> = desk
            .outcomes
            .iter()
            .filter_map(|outcome| if let Outcome::Settled(bar) = outcome { Some(*bar) } else { None })
            .collect();
        assert_eq!(settled.first().map(|bar| bar.close), expected, "{told}");
        assert!(settled.iter().all(|bar| bar.revised && bar.closed && bar.sequence == 1 && bar.volume == 1_000));
        assert!(settled.len() <= 1);
        assert_eq!(desk.forming().unwrap().volume, 20);
    }
}

#[test]
fn the_closing_auction_is_in_the_day_and_in_no_other_bar() {
    let date = "2026-08-07";
    let mut desk = Desk::new(SegmentKind::CashFno, &[Timeframe::Min1, Timeframe::Day]);
    desk.tick(full(on(date, "09:10:00"), 10_000, 0));
    desk.tick(full(on(date, "15:14:30"), 10_000, 100));
    desk.tick(full(on(date, "15:31:00"), 10_300, 900));
    desk.wait_until(on(date, "16:00:01"));
    let volumes: Vec<_> = desk.closed.iter().map(|(timeframe, bar)| (*timeframe, bar.volume, bar.close)).collect();
    assert_eq!(volumes, [(Timeframe::Min1, 100, 10_000), (Timeframe::Day, 900, 10_300)]);
}

#[test]
fn a_day_without_ohlc_is_built_from_trades() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Day]);
    desk.tick(full(at("09:10:00"), 10_000, 0));
    desk.tick(full(at("09:15:10"), 10_000, 10));
    desk.tick(full(at("12:00:00"), 10_100, 20));
    desk.tick(full(at("15:00:00"), 9_900, 30));
    desk.wait_until(at("16:30:00"));
    assert_eq!(desk.closed(), [(at("00:00:00"), [10_000, 10_100, 9_900, 9_900], 30)]);
    assert!(!desk.closed[0].1.partial);
}
