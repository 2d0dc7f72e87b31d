use super::*;

#[test]
fn who_joins_at_11_07_has_one_partial_bar_per_timeframe() {
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min1, Timeframe::Min5]);
    desk.tick(full(at("11:07:20"), 10_000, 500_000));
    assert_eq!(desk.forming(), None);
    desk.tick(full(at("11:07:40"), 10_010, 500_030));
    desk.tick(full(at("11:08:10"), 10_020, 500_040));
    desk.tick(full(at("11:10:10"), 10_030, 500_050));
    desk.wait_until(at("11:15:01"));
    let bars = |timeframe| {
        let bars = desk.closed.iter().filter(move |(of, _)| *of == timeframe);
        bars.map(|(_, bar)| (bar.start, bar.volume, bar.partial)).collect::<Vec<_>>()
    };
    let minutes = [(at("11:07:00"), 30, true), (at("11:08:00"), 10, false), (at("11:10:00"), 10, false)];
    assert_eq!(bars(Timeframe::Min1), minutes);
    assert_eq!(bars(Timeframe::Min5), [(at("11:05:00"), 40, true), (at("11:10:00"), 10, false)]);
}

#[test]
fn who_joins_an_untraded_contract_misses_nothing() {
    let mut desk = Desk::new(SegmentKind::EquityDerivatives, &[Timeframe::Min1]);
    // Both times 0, price 0.05: what Kite sends for it.
    desk.tick_at(full(0, 5, 0), ns(at("11:07:20")));
    desk.tick(full(at("11:07:40"), 700, 75));
    assert_eq!(desk.forming().map(|bar| (bar.volume, bar.partial)), Some((75, false)));
    // The last packet of an earlier day is a baseline of that day.
    let mut desk = Desk::new(SegmentKind::Cash, &[Timeframe::Min1, Timeframe::Day]);
    desk.tick_at(full(on("2026-07-23", "15:12:00"), 500, 9_000), ns(at("11:07:20")));
    assert!(desk.bars.due().is_none());
    desk.tick(full(at("11:07:40"), 510, 75));
    assert_eq!(desk.forming().map(|bar| (bar.volume, bar.partial)), Some((75, false)));
}
