use super::*;

/// Stores and loads all state, as over a restart.
fn restarted(desk: &mut Desk, stored_at: i64) {
    let stored = serde_json::to_string(&desk.bars).unwrap();
    desk.bars = serde_json::from_str(&stored).unwrap();
    desk.bars.interrupt(stored_at);
}

#[test]
fn a_short_loss_keeps_the_volume_of_its_bar() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 100));
    restarted(&mut desk, at("09:15:20"));
    desk.tick(full(at("09:15:40"), 10_010, 160));
    desk.tick(full(at("09:16:10"), 10_020, 170));
    desk.wait_until(at("09:17:01"));
    let bars: Vec<_> = desk.closed.iter().map(|(_, bar)| (bar.volume, bar.partial, bar.sequence)).collect();
    assert_eq!(bars, [(160, true, 1), (10, false, 2)]);
}

#[test]
fn bars_that_close_while_the_feed_is_gone_are_partial() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 100));
    desk.wait_until(at("09:16:30"));
    desk.tick(full(at("09:16:30"), 10_000, 110));
    desk.bars.interrupt(at("09:16:31"));
    desk.wait_until(at("09:18:00"));
    // Back at 09:19:20: what was traded since 09:16:30 is in no bar.
    desk.tick(full(at("09:19:20"), 10_050, 500));
    desk.tick(full(at("09:19:30"), 10_060, 510));
    desk.tick(full(at("09:20:10"), 10_070, 520));
    desk.wait_until(at("09:21:01"));
    let bars: Vec<_> = desk.closed.iter().map(|(_, bar)| (bar.start, bar.volume, bar.partial)).collect();
    let expected = [
        (at("09:15:00"), 100, false),
        (at("09:16:00"), 10, true),
        (at("09:19:00"), 10, true),
        (at("09:20:00"), 10, false),
    ];
    assert_eq!(bars, expected);
    assert_eq!(desk.bars.builders()[0].tally().lost_volume, 390);

    // The history mends them, each once.
    let history = |start: &str, volume| Candle {
        volume,
        ..Candle::historical(at(start), at(start) + 60, 10_000, 10_100, 9_900, 10_050)
    };
    let history: Vec<Candle> = ["09:15:00", "09:16:00", "09:17:00", "09:18:00", "09:19:00", "09:20:00"]
        .map(|start| history(start, 77))
        .to_vec();
    let builder = desk.bars.builder_mut(Timeframe::Min1).unwrap();
    let revised = builder.replace(&history, ns(at("09:22:00")));
    let told: Vec<_> = revised.iter().map(|bar| (bar.start, bar.sequence)).collect();
    // The two that had been closed keep their numbers, those that were lost get new ones.
    assert_eq!(told, [(at("09:16:00"), 2), (at("09:17:00"), 5), (at("09:18:00"), 6), (at("09:19:00"), 3)]);
    assert!(revised.iter().all(|bar| bar.revised && bar.closed && !bar.partial && bar.volume == 77));
    assert!(builder.replace(&history, ns(at("09:22:00"))).is_empty());
    // Numbering goes on.
    desk.tick(full(at("09:22:10"), 10_070, 530));
    desk.wait_until(at("09:23:01"));
    assert_eq!(desk.closed.last().map(|(_, bar)| (bar.sequence, bar.partial)), Some((7, false)));
}

#[test]
fn a_backfill_completes_the_bar_that_forms_as_far_as_it_can() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min5]);
    desk.tick(full(at("11:07:20"), 10_000, 500_000));
    desk.tick(full(at("11:07:40"), 10_010, 500_030));
    let history = [
        Candle { volume: 9, ..Candle::historical(at("11:00:00"), at("11:05:00"), 1, 2, 1, 2) },
        Candle { volume: 900, ..Candle::historical(at("11:05:00"), at("11:10:00"), 9_990, 10_500, 9_900, 10_000) },
    ];
    let builder = desk.bars.builder_mut(Timeframe::Min5).unwrap();
    assert!(builder.replace(&history, ns(at("11:08:00"))).is_empty());
    let bar = desk.forming().unwrap();
    assert_eq!((bar.open, bar.high, bar.low, bar.close), (9_990, 10_500, 9_900, 10_010));
    assert_eq!((bar.volume, bar.partial), (900, true));
    desk.wait_until(at("11:10:01"));
    let builder = desk.bars.builder_mut(Timeframe::Min5).unwrap();
    let whole = Candle { volume: 1_500, ..history[1] };
    let revised = builder.replace(&[whole], ns(at("11:12:00")));
    assert_eq!(revised.iter().map(|bar| (bar.volume, bar.sequence)).collect::<Vec<_>>(), [(1_500, 1)]);
}

#[test]
fn a_restart_overnight_begins_like_the_first_connection() {
    for (time, joined, partial) in [("09:10:00", 700, false), ("11:07:00", 700, true)] {
        let mut desk = Desk::connected();
        desk.tick(full(at("15:29:10"), 10_000, 100));
        desk.wait_until(at("16:00:00"));
        restarted(&mut desk, at("16:00:00"));
        let monday = "2026-07-27";
        desk.tick(full(on(monday, time), 10_000, joined));
        desk.tick(full(on(monday, time) + 330, 10_000, joined + 5));
        desk.wait_until(on(monday, "16:00:00"));
        let last = desk.closed.last().unwrap().1;
        assert_eq!((last.volume, last.sequence), (5, 2));
        assert!(!last.partial);
        // The bar of the moment of joining would have been partial.
        let mut desk = Desk::connected();
        restarted(&mut desk, at("16:00:00"));
        desk.tick(full(on(monday, time), 10_000, joined));
        desk.tick(full(on(monday, time).max(on(monday, "09:15:00")) + 1, 10_000, joined + 5));
        assert_eq!(desk.forming().map(|bar| bar.partial), Some(partial), "{time}");
    }
}

#[test]
fn a_timeframe_wanted_later_begins_with_a_partial_bar() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:16:10"), 10_000, 100));
    let mut builder = CandleBuilder::new(Timeframe::Min5);
    builder.interrupt(at("09:17:00"));
    desk.bars.add(builder);
    desk.tick(full(at("09:17:10"), 10_000, 110));
    desk.tick(full(at("09:20:10"), 10_000, 120));
    desk.wait_until(at("09:25:01"));
    let bars: Vec<_> = desk.closed.iter().filter(|(timeframe, _)| *timeframe == Timeframe::Min5).collect();
    assert_eq!(bars.iter().map(|(_, bar)| (bar.volume, bar.partial)).collect::<Vec<_>>(), [(10, true), (10, false)]);
}

#[test]
fn a_bar_that_goes_on_is_mended_when_it_is_over() {
    let mut desk = Desk::connected();
    desk.tick(full(at("09:15:10"), 10_000, 100));
    desk.wait_until(at("09:16:30"));
    desk.bars.interrupt(at("09:16:30"));
    // Back with a packet that tells no trade: no bar is open.
    desk.tick(Tick { last_trade_time: at("09:15:10") as u32, ..full(at("09:19:20"), 10_000, 100) });
    let minute = |start: &str| Candle::historical(at(start), at(start) + 60, 1, 4, 1, 2);
    let history = ["09:15:00", "09:17:00", "09:18:00", "09:19:00"].map(minute);
    let mut replace = |now: &str| {
        let builder = desk.bars.builder_mut(Timeframe::Min1).unwrap();
        builder.replace(&history, ns(at(now))).iter().map(|bar| bar.start).collect::<Vec<_>>()
    };
    assert_eq!(replace("09:19:30"), [at("09:17:00"), at("09:18:00")]);
    assert!(replace("09:19:40").is_empty());
    assert_eq!(replace("09:20:10"), [at("09:19:00")]);
    assert!(replace("09:20:20").is_empty());
}
