use super::*;

#[test]
fn preopen_packets_make_no_bar_and_set_the_baseline() {
    // 09:14:59 and 09:15:00.
    let mut desk = Desk::connected();
    desk.tick(full(at("09:07:30"), 10_010, 5_000));
    desk.tick(full(at("09:14:59"), 10_020, 5_500));
    assert_eq!(desk.forming(), None);
    desk.tick(full(at("09:15:00"), 10_030, 5_600));
    let bar = desk.forming().unwrap();
    assert_eq!((bar.start, bar.end), (at("09:15:00"), at("09:16:00")));
    assert_eq!((bar.open, bar.low, bar.volume, bar.partial), (10_030, 10_030, 100, false));
}

#[test]
fn the_auction_s_volume_is_in_the_first_bar_if_wanted() {
    for (preopen_volume, expected) in [(false, 100), (true, 5_600)] {
        let options = TradesOptions { preopen_volume, ..TradesOptions::default() };
        let mut desk = Desk::with(SegmentKind::Cash, &[Timeframe::Min1], options);
        desk.tick(full(on("2026-07-23", "15:29:00"), 10_000, 900_000));
        desk.tick(full(at("09:07:30"), 10_010, 5_000));
        desk.tick(full(at("09:08:00"), 10_010, 5_500));
        desk.tick(full(at("09:15:02"), 10_030, 5_600));
        assert_eq!(desk.forming().unwrap().volume, expected);
        desk.tick(full(at("09:16:02"), 10_030, 5_700));
        assert_eq!(desk.forming().unwrap().volume, 100);
    }
}

#[test]
fn each_segment_ends_at_its_own_time() {
    // 15:29:59 and 15:30:00, before and after the change of August 2026; likewise the other ends.
    for (kind, date, last, behind) in [
        (SegmentKind::Cash, "2026-07-24", "15:29:59", "15:30:00"),
        (SegmentKind::CashFno, "2026-07-24", "15:29:59", "15:30:00"),
        (SegmentKind::EquityDerivatives, "2026-07-24", "15:29:59", "15:30:00"),
        (SegmentKind::Cash, "2026-08-07", "15:29:59", "15:30:00"),
        (SegmentKind::CashFno, "2026-08-07", "15:14:59", "15:15:00"),
        (SegmentKind::EquityDerivatives, "2026-08-07", "15:39:59", "15:40:00"),
        (SegmentKind::Currency, "2026-08-07", "16:59:59", "17:00:00"),
        (SegmentKind::McxNonAgri, "2026-08-07", "23:29:59", "23:30:00"),
    ] {
        let mut desk = Desk::new(kind, &[Timeframe::Min1]);
        desk.tick(full(on(date, "08:59:00"), 100, 0));
        desk.tick(full(on(date, last), 101, 10));
        desk.tick(full(on(date, behind), 102, 30));
        desk.wait_until(on(date, "23:59:59"));
        assert_eq!(desk.closed(), [(on(date, last) - 59, [101; 4], 10)], "{kind:?} {date}");
        assert_eq!(desk.bars.trades().tally().outside, 1);
    }
}

#[test]
fn a_depth_only_packet_at_a_boundary_opens_nothing() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:59"), 10_000, 10));
    let depth = Tick { last_trade_time: at("09:15:59") as u32, ..full(at("09:16:00"), 10_000, 10) };
    desk.tick(depth);
    assert_eq!(desk.forming().unwrap().start, at("09:15:00"));
    desk.wait_until(at("09:17:02"));
    desk.tick(Tick { exchange_timestamp: at("09:17:05") as u32, ..depth });
    assert_eq!((desk.forming(), desk.closed.len()), (None, 1));
    assert_eq!(desk.closed[0].1.packets, 1);
}

#[test]
fn a_packet_within_the_grace_belongs_to_its_bar() {
    // Stamped 09:19:59, here at 09:20:00.4.
    let mut desk = Desk::connected();
    desk.tick(full(at("09:19:30"), 10_000, 10));
    desk.tick_after(full(at("09:19:59"), 10_050, 15), 1_400);
    desk.tick(full(at("09:20:01"), 10_020, 16));
    assert_eq!(desk.closed(), [(at("09:19:00"), [10_000, 10_050, 10_000, 10_050], 15)]);
    assert_eq!(desk.forming().unwrap().volume, 1);
}

#[test]
fn two_bars_are_open_during_the_grace() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:19:30"), 10_000, 10));
    // The exchange's clock may be ahead of ours.
    let now = ns(at("09:20:00"));
    desk.tick_at(full(at("09:20:00"), 10_020, 16), now);
    desk.tick_at(
        Tick { last_trade_time: at("09:19:59") as u32, ..full(at("09:20:00"), 10_050, 20) },
        now + 500_000_000,
    );
    assert!(desk.closed.is_empty());
    desk.wait_until(at("09:20:01"));
    assert_eq!(desk.closed(), [(at("09:19:00"), [10_000, 10_050, 10_000, 10_050], 14)]);
    let bar = desk.forming().unwrap();
    assert_eq!((bar.open, bar.close, bar.volume), (10_020, 10_020, 6));
}

#[test]
fn a_packet_behind_the_grace_gives_its_volume_to_the_bar_that_forms() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:19:30"), 10_000, 10));
    desk.tick_after(full(at("09:19:59"), 12_000, 25), 2_000);
    assert_eq!(desk.closed(), [(at("09:19:00"), [10_000; 4], 10)]);
    assert_eq!((desk.outcomes.last(), desk.bars.builders()[0].carried_volume()), (Some(&Outcome::Late), 15));
    desk.tick(full(at("09:20:05"), 10_010, 30));
    assert_eq!(desk.forming().map(|bar| (bar.high, bar.volume)), Some((10_010, 20)));
    // With a bar that forms, at once.
    desk.tick_at(
        Tick { last_trade_time: at("09:19:58") as u32, ..full(at("09:20:06"), 12_000, 37) },
        ns(at("09:20:06")),
    );
    assert_eq!(desk.forming().map(|bar| (bar.high, bar.volume)), Some((10_010, 27)));
    assert_eq!(desk.bars.builders()[0].tally(), Tally { late: 2, lost_volume: 0 });
}

#[test]
fn two_minutes_without_trades_make_no_bars_and_delay_no_close() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 10));
    assert_eq!(desk.bars.due(), Some(ns(at("09:16:01"))));
    desk.clock(ns(at("09:16:01")) - 1);
    assert!(desk.closed.is_empty());
    desk.clock(ns(at("09:16:01")));
    assert_eq!((desk.closed.len(), desk.bars.due()), (1, None));
    desk.wait_until(at("09:18:00"));
    desk.tick(full(at("09:18:10"), 10_100, 20));
    desk.wait_until(at("09:19:01"));
    assert_eq!(desk.closed(), [(at("09:15:00"), [10_000; 4], 10), (at("09:18:00"), [10_100; 4], 10)]);
    assert_eq!(desk.closed.iter().map(|(_, bar)| bar.sequence).collect::<Vec<_>>(), [1, 2]);
    assert!(desk.closed.iter().all(|(_, bar)| bar.closed && !bar.partial && !bar.revised));
}

#[test]
fn a_bar_is_closed_once() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 10));
    for _ in 0..3 {
        desk.wait_until(at("09:30:00"));
    }
    // Whatever comes for it later.
    desk.tick_at(full(at("09:15:20"), 10_100, 30), ns(at("09:30:01")));
    desk.wait_until(at("10:00:00"));
    assert_eq!(desk.closed.len(), 1);
}

#[test]
fn volume_begins_anew_overnight_without_restart() {
    let mut desk = Desk::connected();
    desk.tick(full(at("15:29:50"), 10_000, 1_000_000));
    // The first packet of Monday comes with continuous trading: no auction for this one.
    desk.tick(full(on("2026-07-27", "09:15:03"), 10_200, 40));
    let bar = desk.forming().unwrap();
    assert_eq!((bar.open, bar.volume, bar.partial), (10_200, 40, false));
    assert_eq!(desk.closed(), [(at("15:29:00"), [10_000; 4], 1_000_000)]);
}

#[test]
fn yesterday_s_volume_told_before_the_open_is_forgotten() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min1, Timeframe::Day]);
    // Subscribed at 08:50: a quote snapshot without time, then today's stamps with yesterday's volume.
    let stale = Tick { mode: Mode::Quote, exchange_timestamp: 0, last_trade_time: 0, ..full(0, 10_000, 1_000_000) };
    desk.tick_at(stale, ns(at("08:50:00")));
    desk.tick(Tick { last_trade_time: on("2026-07-23", "15:29:00") as u32, ..full(at("09:00:01"), 10_000, 1_000_000) });
    assert_eq!(desk.bars.builders()[1].forming(), None);
    desk.tick(full(at("09:07:30"), 10_010, 500));
    desk.tick(full(at("09:15:10"), 10_020, 530));
    assert_eq!(desk.forming().map(|bar| (bar.volume, bar.partial)), Some((30, false)));
    assert_eq!(desk.bars.builders()[1].forming().map(|bar| bar.volume), Some(530));
}

#[test]
fn a_fall_within_the_day_is_ignored() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 100));
    desk.tick(full(at("09:15:11"), 10_000, 90));
    desk.tick(full(at("09:15:12"), 10_000, 100));
    desk.tick(full(at("09:15:13"), 10_010, 130));
    assert_eq!(desk.forming().map(|bar| (bar.volume, bar.packets)), Some((130, 2)));
    assert_eq!(desk.bars.trades().tally().fallen, 1);
}

#[test]
fn volume_wraps_at_32_bits() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min1, Timeframe::Day]);
    desk.tick(full(at("09:10:00"), 10_000, u32::MAX - 9));
    desk.tick(full(at("09:15:10"), 10_000, 20));
    assert_eq!(desk.forming().unwrap().volume, 30);
    assert_eq!(desk.bars.builders()[1].forming().unwrap().volume, u64::from(u32::MAX) + 21);
}

#[test]
fn an_old_packet_after_a_reconnect_is_dropped() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 100));
    desk.tick_at(full(at("09:15:05"), 9_000, 80), ns(at("09:15:20")));
    desk.tick(full(at("09:15:21"), 10_010, 110));
    assert_eq!(desk.forming().map(|bar| (bar.low, bar.volume)), Some((10_000, 110)));
    assert_eq!(desk.bars.trades().tally().out_of_order, 1);
}

#[test]
fn an_extreme_between_two_packets_widens_the_bar() {
    let ohlc = |high, low| Ohlc { open: 10_000, high, low, close: 9_900 };
    for (day_extremes, high, low) in [(true, 10_090, 9_950), (false, 10_010, 10_000)] {
        let mut desk = Desk::with(
            SegmentKind::Cash,
            &[Timeframe::Min1],
            TradesOptions { day_extremes, ..TradesOptions::default() },
        );
        desk.tick(full(at("09:10:00"), 10_000, 0));
        desk.tick(Tick { ohlc: ohlc(10_050, 9_980), ..full(at("09:15:10"), 10_000, 100) });
        // What the first packet knows may be the auction's: nothing to compare it with.
        assert_eq!(desk.forming().map(|bar| (bar.high, bar.low)), Some((10_000, 10_000)));
        // Two trades: 10,090 and back.
        desk.tick(Tick { ohlc: ohlc(10_090, 9_950), ..full(at("09:15:11"), 10_010, 120) });
        assert_eq!(desk.forming().map(|bar| (bar.high, bar.low)), Some((high, low)));
        // The exchange restates the open, and with it the day's high: nobody traded there now.
        desk.tick(Tick { ohlc: Ohlc { open: 10_200, ..ohlc(10_200, 9_950) }, ..full(at("09:15:12"), 10_010, 130) });
        assert_eq!(desk.forming().map(|bar| bar.high), Some(high));
    }
}

#[test]
fn an_index_has_bars_by_every_packet_and_no_volume() {
    let mut desk = Desk::new(SegmentKind::Index, &[Timeframe::Min1]);
    desk.tick(index(at("09:07:00"), 2_400_000));
    desk.tick(index(at("09:15:00"), 2_400_100));
    desk.tick(index(at("09:15:01"), 2_400_050));
    desk.tick(index(at("09:15:59"), 2_400_075));
    desk.tick(index(at("09:16:00"), 2_400_080));
    desk.tick(index(at("15:30:00"), 2_400_085));
    desk.wait_until(at("16:00:00"));
    let expected =
        [(at("09:15:00"), [2_400_100, 2_400_100, 2_400_050, 2_400_075], 0), (at("09:16:00"), [2_400_080; 4], 0)];
    assert_eq!(desk.closed(), expected);
    assert!(desk.closed.iter().all(|(_, bar)| !bar.partial && !bar.by_receipt));
}

#[test]
fn packets_without_time_count_by_receipt_and_say_so() {
    let mut desk = Desk::connected();
    let quote = |price, volume| Tick { mode: Mode::Quote, exchange_timestamp: 0, ..full(0, price, volume) };
    desk.tick_at(quote(10_000, 10), ns(at("09:15:30")));
    assert_eq!(desk.forming().map(|bar| (bar.start, bar.by_receipt)), Some((at("09:15:00"), true)));
    // A price alone cannot be told from the one before.
    desk.tick_at(Tick::ltp(INFY, 10_500), ns(at("09:15:31")));
    assert_eq!(desk.forming().map(|bar| (bar.high, bar.volume)), Some((10_000, 10)));
    let mut desk = Desk::new(SegmentKind::Index, &[Timeframe::Min1]);
    desk.tick_at(Tick { mode: Mode::Quote, exchange_timestamp: 0, ..index(0, 5) }, ns(at("09:14:59")));
    desk.tick_at(Tick { mode: Mode::Quote, exchange_timestamp: 0, ..index(0, 7) }, ns(at("09:15:00")));
    assert_eq!(desk.forming().map(|bar| (bar.open, bar.low, bar.by_receipt)), Some((7, 7, true)));
}

#[test]
fn mcx_is_one_session_that_follows_new_york() {
    // The Friday before and the Monday after the change of the American clocks, in both directions.
    for (date, close, bars) in [
        ("2026-10-30", "23:30:00", 2),
        ("2026-11-02", "23:55:00", 3),
        ("2026-03-06", "23:55:00", 3),
        ("2026-03-09", "23:30:00", 2),
    ] {
        let mut desk = Desk::new(SegmentKind::McxNonAgri, &[Timeframe::Min60]);
        desk.tick(full(on(date, "08:59:30"), 100, 0));
        for (volume, time) in [(1, "16:59:59"), (2, "17:00:00"), (3, "23:29:59"), (5, "23:30:00"), (8, "23:55:00")] {
            desk.tick(full(on(date, time), 100, volume));
        }
        desk.wait_until(on(date, "23:59:59"));
        let last = desk.closed.last().unwrap().1;
        assert_eq!((last.start, last.end), (on(date, "23:00:00"), on(date, close)), "{date}");
        assert_eq!(desk.closed.iter().map(|(_, bar)| bar.volume).sum::<u64>(), if bars == 3 { 5 } else { 3 });
        assert_eq!(desk.closed[0].1.start, on(date, "16:00:00"));
    }
}

#[test]
fn a_date_without_session_makes_no_bars() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min1, Timeframe::Day]);
    for (time, volume) in [("09:14:00", 0), ("09:15:10", 10), ("11:00:00", 20)] {
        desk.tick(full(on("2026-11-24", time), 100, volume));
        desk.tick(full(on("2026-11-28", time), 100, volume));
    }
    assert_eq!((desk.bars.due(), desk.closed.len()), (None, 0));
}
