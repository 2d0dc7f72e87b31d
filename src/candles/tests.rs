use super::*;
use crate::kite::packet::MessageBuilder;
use crate::market::calendar::Date;
use crate::market::{Mode, Tick};
use crate::tape::TapeReader;
use crate::tape::TapeWriter;

const TOKEN: InstrumentToken = InstrumentToken(408_065);

/// A tape of trades of one share: seconds since 09:00, milliseconds of delay, price, cumulative volume.
fn tape(trades: &[(i64, u64, i32, u32)], one_message_each: bool) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let nine = "2026-07-24".parse::<Date>().unwrap().midnight() + 9 * 3_600;
    let mut tape = TapeWriter::create(&path).unwrap();
    let mut message = MessageBuilder::default();
    for (at, &(second, delay_ms, price, volume)) in trades.iter().enumerate() {
        let time = nine + second;
        let stamp = time as u32;
        for token in [TOKEN, InstrumentToken(0x101)] {
            message.push(&Tick {
                mode: Mode::Full,
                volume_traded: volume,
                last_trade_time: stamp,
                exchange_timestamp: stamp,
                ..Tick::ltp(token, price)
            });
        }
        let same_time = trades.get(at + 1).is_some_and(|next| (next.0, next.1) == (second, delay_ms));
        if one_message_each || !same_time {
            tape.append(time.unsigned_abs() * 1_000_000_000 + delay_ms * 1_000_000, message.take()).unwrap();
        }
    }
    tape.flush().unwrap();
    (folder, path)
}

fn csv(path: &std::path::Path, timeframes: &[Timeframe], tokens: &[u32]) -> (Vec<String>, Summary) {
    let options = CandlesOptions {
        timeframes: timeframes.to_vec(),
        tokens: tokens.to_vec(),
        calendar: Calendar::built_in().unwrap(),
        grace_ns: crate::market::candle::DEFAULT_GRACE_NS,
    };
    let mut out = Vec::new();
    let summary = candles(TapeReader::open(path).unwrap(), &options, |_| SegmentKind::Cash, &mut out).unwrap();
    (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), summary)
}

const TRADES: [(i64, u64, i32, u32); 6] = [
    (600, 0, 241_200, 0),
    (900, 0, 241_235, 10),
    (900, 0, 241_300, 12),
    (959, 1_400, 241_100, 20),
    (1_100, 300, 241_205, 25),
    (1_130, 0, 241_210, 26),
];

#[test]
fn a_tape_s_bars_are_printed_as_they_close() {
    let (_folder, path) = tape(&TRADES, true);
    let (lines, summary) = csv(&path, &[Timeframe::Min1, Timeframe::Min3], &[TOKEN.0]);
    let day = "2026-07-24T";
    assert_eq!(
        lines,
        [
            "token,timeframe,start,end,open,high,low,close,volume,partial".to_owned(),
            format!("408065,1min,{day}09:15:00+05:30,{day}09:16:00+05:30,2412.35,2413.00,2411.00,2411.00,20,false"),
            format!("408065,3min,{day}09:15:00+05:30,{day}09:18:00+05:30,2412.35,2413.00,2411.00,2411.00,20,false"),
            // The tape ends within them.
            format!("408065,1min,{day}09:18:00+05:30,{day}09:19:00+05:30,2412.05,2412.10,2412.05,2412.10,6,true"),
            format!("408065,3min,{day}09:18:00+05:30,{day}09:21:00+05:30,2412.05,2412.10,2412.05,2412.10,6,true"),
        ]
    );
    assert_eq!((summary.ticks, summary.bars, summary.end), (6, 4, Some(TapeEnd::Complete)));
    let (lines, summary) = csv(&path, &[Timeframe::Min1], &[]);
    assert_eq!((lines.len(), summary.ticks), (5, 12));
    assert!(lines[1].starts_with("257,") && lines[2].starts_with("408065,"));
}

#[test]
fn bars_do_not_depend_on_how_packets_are_packed() {
    let (_one, each) = tape(&TRADES, true);
    let (_two, together) = tape(&TRADES, false);
    let bars = |path| csv(path, &Timeframe::ALL, &[]).0;
    assert_eq!(bars(&each), bars(&together));
}

#[test]
fn prices_are_exact() {
    let price = |raw, token| Price { raw, token: InstrumentToken(token) }.to_string();
    assert_eq!(price(241_235, 408_065), "2412.35");
    assert_eq!(price(-5, 0x107), "-0.05");
    assert_eq!(price(830_125_000, 0x103), "83.0125000");
    assert_eq!(price(84_940_000, 0x10c), "8494.0000");
    assert_eq!(price(i32::MIN, 0x101), "-21474836.48");
}
