use super::*;
use crate::market::candle::{CandleBuilder, Trades, TradesOptions};
use crate::market::{Calendar, SegmentKind, Tick};
use proptest::prelude::*;

const INFY: InstrumentToken = InstrumentToken(408_065);
/// 09:15 on 20 November 2026.
const OPEN: i64 = 1_795_146_300;

fn bar(minute: i64, close: i32) -> Candle {
    let start = OPEN + minute * 60;
    Candle { volume: 7, packets: 3, ..Candle::historical(start, start + 60, close, close + 5, close - 5, close) }
}

/// A folder opened on 24 November.
fn open_with(dir: &Path, limits: Limits) -> Result<(BarStore, Kept), StoreError> {
    let now = (OPEN + 4 * DAY_S).unsigned_abs() * 1_000_000_000;
    BarStore::open(dir, limits, Clock::manual(now))
}

fn open(dir: &Path) -> (BarStore, Kept) {
    open_with(dir, Limits::default()).unwrap()
}

/// The bars of one series after a restart.
fn kept(dir: &Path, limits: Limits) -> Vec<Candle> {
    let (_, mut kept) = open_with(dir, limits).unwrap();
    kept.bars.remove(&(INFY, Timeframe::Min1)).unwrap_or_default()
}

/// A folder with these bars.
fn with(bars: &[Candle], limits: Limits) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open_with(dir.path(), limits).unwrap();
    for bar in bars {
        store.append(INFY, Timeframe::Min1, bar);
    }
    store.flush().unwrap();
    dir
}

fn file(dir: &Path) -> PathBuf {
    dir.join("2026-11-20.bars")
}

#[test]
fn a_cut_at_any_byte_costs_only_what_it_cuts() {
    let bars: Vec<Candle> = (0..4).map(|minute| bar(minute, 100)).collect();
    let dir = with(&bars, Limits::default());
    let whole = std::fs::read(file(dir.path())).unwrap();
    assert_eq!(whole.len(), day::HEADER.len() + 4 * record::LENGTH);
    for length in 0..whole.len() {
        std::fs::write(file(dir.path()), &whole[..length]).unwrap();
        let records = length.saturating_sub(day::HEADER.len()) / record::LENGTH;
        let (mut store, kept) = open(dir.path());
        assert_eq!(kept.bars.get(&(INFY, Timeframe::Min1)).map_or(0, Vec::len), records, "{length}");
        let good = if length < day::HEADER.len() { 0 } else { day::HEADER.len() + records * record::LENGTH };
        assert_eq!(kept.recovery.cut, (length - good) as u64, "{length}");
        // It goes on behind the cut.
        store.append(INFY, Timeframe::Min1, &bar(9, 100));
        store.flush().unwrap();
        drop(store);
        let (_, kept) = open(dir.path());
        assert_eq!(kept.bars[&(INFY, Timeframe::Min1)].len(), records + 1, "{length}");
        assert_eq!(kept.recovery, Recovery::default(), "{length}");
    }
}

#[test]
fn a_damaged_record_costs_only_itself() {
    let dir = with(&[bar(0, 100), bar(1, 100), bar(2, 100)], Limits::default());
    let whole = std::fs::read(file(dir.path())).unwrap();
    for at in day::HEADER.len()..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(file(dir.path()), &damaged).unwrap();
        let (_, kept) = open(dir.path());
        assert_eq!(kept.bars[&(INFY, Timeframe::Min1)].len(), 2, "{at}");
        let last = at >= day::HEADER.len() + 2 * record::LENGTH;
        let cut = if last { record::LENGTH as u64 } else { 0 };
        assert_eq!(kept.recovery, Recovery { damaged: u64::from(!last), cut, ignored: 0 }, "{at}");
    }
}

#[test]
fn a_second_program_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = open_with(dir.path(), Limits::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Locked(locked) if locked == dir.path()), "{error}");
    drop(first);
    open(dir.path());
}

#[test]
fn only_the_newest_days_are_kept() {
    let limits = Limits { days: 2, ..Limits::default() };
    let day = |days: i64| bar(days * 24 * 60, 100);
    let dir = with(&[day(0), day(1), day(3)], limits);
    assert!(!file(dir.path()).exists());
    assert_eq!(kept(dir.path(), limits), [day(1), day(3)]);
    let (mut store, _) = open_with(dir.path(), limits).unwrap();
    store.append(INFY, Timeframe::Min1, &day(0));
    store.append(INFY, Timeframe::Min1, &Candle { start: i64::MIN, ..day(0) });
    store.append(INFY, Timeframe::Min1, &day(6));
    assert_eq!(store.lost(), 3);
    drop(store);
    assert_eq!(kept(dir.path(), Limits { days: 1, ..limits }), [day(3)]);
}

#[test]
fn another_version_is_put_aside() {
    let dir = with(&[bar(0, 100)], Limits::default());
    std::fs::write(file(dir.path()), b"tickfan bars v9\nwhatever").unwrap();
    std::fs::write(dir.path().join("states.json"), b"tickfan states v9 00000000\n{}").unwrap();
    let (mut store, kept_before) = open(dir.path());
    assert_eq!(kept_before.recovery, Recovery { ignored: 2, ..Recovery::default() });
    store.append(INFY, Timeframe::Min1, &bar(1, 100));
    store.flush().unwrap();
    drop(store);
    assert_eq!(kept(dir.path(), Limits::default()), [bar(1, 100)]);
    assert!(dir.path().join("2026-11-20.bars.ignored").exists());
}

#[test]
fn a_disk_that_fails_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.append(INFY, Timeframe::Min1, &bar(0, 100));
    std::fs::create_dir(file(dir.path())).unwrap();
    store.flush().unwrap_err();
    store.append(INFY, Timeframe::Min1, &bar(1, 100));
    std::fs::remove_dir(file(dir.path())).unwrap();
    store.flush().unwrap();
    drop(store);
    assert_eq!(kept(dir.path(), Limits::default()), [bar(0, 100), bar(1, 100)]);
}

#[test]
fn a_whole_bar_is_not_given_up_for_a_partial_one() {
    let partial = Candle { partial: true, ..bar(0, 90) };
    let revised = Candle { revised: true, ..bar(0, 110) };
    assert_eq!(kept(with(&[bar(0, 100), partial], Limits::default()).path(), Limits::default()), [bar(0, 100)]);
    assert_eq!(kept(with(&[partial, revised], Limits::default()).path(), Limits::default()), [revised]);
}

fn states() -> Vec<(InstrumentToken, Bars)> {
    let mut bars = Bars::new(Trades::new(SegmentKind::Cash, TradesOptions::default()));
    bars.add(CandleBuilder::new(Timeframe::Min5));
    let mut tick = Tick { mode: crate::market::Mode::Quote, ..Tick::ltp(INFY, 10_000) };
    for volume in [100, 150] {
        (tick.volume_traded, tick.exchange_timestamp) = (volume, OPEN as u32 + volume);
        let received = u64::from(tick.exchange_timestamp) * 1_000_000_000;
        bars.on_tick(&tick, received, &Calendar::built_in().unwrap(), |_, _| {});
    }
    assert!(bars.builders()[0].forming().is_some());
    vec![(INFY, bars)]
}

#[test]
fn a_snapshot_comes_back_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, kept) = open(dir.path());
    assert!(kept.snapshot.is_none());
    store.append(INFY, Timeframe::Min1, &bar(0, 100));
    store.snapshot(OPEN, &states()).unwrap();
    drop(store);
    let (_, kept) = open(dir.path());
    let snapshot = kept.snapshot.unwrap();
    assert_eq!((snapshot.at, format!("{:?}", snapshot.states[0].1.builders())), {
        (OPEN, format!("{:?}", states()[0].1.builders()))
    });
    // The bars went before it.
    assert_eq!(kept.bars.len(), 1);
    let path = dir.path().join("states.json");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(states::read(dir.path()).is_err(), "{length}");
    }
}

#[test]
fn the_keeper_writes_everything_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(open(dir.path()).0, 1_000).unwrap();
    let port = keeper.port();
    for minute in 0..300 {
        assert!(port.try_send(Entry::Bar(INFY, Timeframe::Min1, bar(minute, 100))));
    }
    assert!(port.try_send(Entry::Snapshot(Box::new(Snapshot { at: OPEN, states: states() }))));
    keeper.stop();
    assert_eq!(port.stats(), KeeperStats { bars: 300, snapshots: 1, ..KeeperStats::default() });
    let (_, kept) = open(dir.path());
    assert_eq!(kept.bars[&(INFY, Timeframe::Min1)].len(), 300);
    assert_eq!(kept.snapshot.unwrap().at, OPEN);
}

/// Waits for what nobody announces.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed().as_secs() < 20, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn the_keeper_writes_while_it_runs_and_after_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(open(dir.path()).0, 10).unwrap();
    let port = keeper.port();
    std::fs::create_dir(file(dir.path())).unwrap();
    assert!(port.try_send(Entry::Bar(INFY, Timeframe::Min1, bar(0, 100))) && port.try_send(Entry::Flush));
    eventually("a failure", || port.stats().failures > 0);
    std::fs::remove_dir(file(dir.path())).unwrap();
    let length = || std::fs::metadata(file(dir.path())).map_or(0, |known| known.len() as usize);
    // Nobody asks it to: what a kill could cost is a second.
    eventually("the first bar", || length() == day::HEADER.len() + record::LENGTH);
    assert!(port.try_send(Entry::Bar(INFY, Timeframe::Min1, bar(1, 100))));
    eventually("the second bar", || length() == day::HEADER.len() + 2 * record::LENGTH);
}

prop_compose! {
    fn any_bar()(
        minute in 0..200_i64, prices in any::<[i32; 4]>(), volume: u64, oi: u32, packets: u32,
        flags in any::<[bool; 3]>(), sequence in 0..1_u64 << 60,
    ) -> Candle {
        let start = OPEN + minute * 60;
        let [open, high, low, close] = prices;
        let [partial, revised, by_receipt] = flags;
        Candle {
            volume, oi, packets, partial, revised, by_receipt, sequence,
            ..Candle::historical(start, start + 60, open, high, low, close)
        }
    }
}

proptest! {
    #[test]
    fn a_record_comes_back(bar in any_bar(), token: u32, timeframe in 0..Timeframe::ALL.len()) {
        let entry = (InstrumentToken(token), Timeframe::ALL[timeframe], bar);
        prop_assert_eq!(record::decode(&record::encode(&entry)), Some(entry));
    }

    #[test]
    fn the_last_word_on_each_bar_counts(bars in prop::collection::vec(any_bar(), 0..400), most in 1..50_usize) {
        let limits = Limits { bars: most, ..Limits::default() };
        let mut expected: BTreeMap<i64, Candle> = BTreeMap::new();
        for bar in &bars {
            let known = expected.get(&bar.start);
            if known.is_none_or(|known| known.partial || !bar.partial) {
                expected.insert(bar.start, *bar);
            }
        }
        let expected: Vec<Candle> = expected.into_values().collect();
        let newest = &expected[expected.len().saturating_sub(most)..];
        prop_assert_eq!(&kept(with(&bars, limits).path(), limits)[..], newest);
    }
}
