use super::*;
use crate::kite::packet::{MessageBuilder, decode, packets};
use crate::market::{Mode, Tick};
use crate::tape::TapeWriter;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// Messages at 0, 10, 10 and 50 ms; the prices count packets from 1, the third message has two.
fn tape(adjust: impl FnOnce(&mut TapeOptions)) -> (tempfile::TempDir, TapeFeed) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made-up.tape");
    let mut writer = TapeWriter::create(&path).unwrap();
    let mut builder = MessageBuilder::default();
    for (at_ms, prices) in [(0, &[1][..]), (10, &[2]), (10, &[3, 4]), (50, &[5])] {
        for &price in prices {
            builder.push(&Tick::ltp(InstrumentToken(price as u32 % 2 + 1), price));
        }
        writer.append(1_381_117_500_000_000_000 + at_ms * MS, builder.take()).unwrap();
    }
    drop(writer);
    let mut options = TapeOptions::new(path);
    adjust(&mut options);
    let feed = TapeFeed::open(options).unwrap();
    (folder, feed)
}

fn prices(feed: &mut TapeFeed, now_ns: u64, budget: usize) -> Vec<i32> {
    let mut prices = Vec::new();
    let mut messages = 0;
    let told = feed.poll(now_ns, budget, &mut |message| {
        messages += 1;
        prices.extend(packets(message).unwrap().map(|packet| decode(packet).unwrap().last_price));
    });
    assert_eq!(told, messages);
    prices
}

fn wanted(token: u32, mode: Option<Mode>) -> Demand {
    Demand { token: InstrumentToken(token), mode }
}

#[test]
fn the_first_subscriber_starts_it_and_messages_come_when_due() {
    let (_folder, mut feed) = tape(|_| {});
    let progress = feed.progress();
    assert_eq!(feed.universe(), [InstrumentToken(1), InstrumentToken(2)]);
    assert_eq!((prices(&mut feed, 5 * MS, 9), feed.due_ns()), (vec![], None));
    feed.demand(&[wanted(1, None)]);
    assert_eq!(feed.due_ns(), None);
    feed.demand(&[wanted(2, Some(Mode::Ltp))]);
    assert_eq!(feed.due_ns(), Some(0));
    assert!(!progress.started());
    assert_eq!((prices(&mut feed, 100 * MS, 9), feed.due_ns()), (vec![1], Some(110 * MS)));
    assert_eq!(prices(&mut feed, 110 * MS - 1, 9), [0i32; 0]);
    assert_eq!((prices(&mut feed, 110 * MS, 9), feed.due_ns()), (vec![2, 3, 4], Some(150 * MS)));
    assert_eq!((progress.records(), progress.total(), progress.finished()), (3, 4, false));
    assert_eq!((prices(&mut feed, 151 * MS, 9), feed.due_ns()), (vec![5], None));
    assert!(progress.started() && progress.finished() && feed.patience().is_none());
    assert_eq!(prices(&mut feed, 999 * MS, 9), [0i32; 0]);
}

#[test]
fn a_late_poll_catches_up_within_its_budget() {
    let (_folder, mut feed) = tape(|options| options.start = Start::AtOnce);
    assert_eq!(feed.due_ns(), Some(0));
    assert_eq!(prices(&mut feed, 0, 9), [1]);
    assert_eq!(prices(&mut feed, 60 * MS, 1), [2]);
    assert_eq!(prices(&mut feed, 60 * MS, 2), [3, 4]);
    assert_eq!(prices(&mut feed, 60 * MS, 2), [5]);
}

#[test]
fn twice_the_speed_halves_the_offsets() {
    let (_folder, mut feed) = tape(|options| (options.start, options.speed) = (Start::AtOnce, Speed::Times(2.0)));
    assert_eq!(prices(&mut feed, 7, 9), [1]);
    assert_eq!(prices(&mut feed, 7 + 5 * MS, 9), [2, 3, 4]);
    assert_eq!(feed.due_ns(), Some(7 + 25 * MS));
}

#[test]
fn as_fast_as_possible_is_patient_and_bounded_by_the_budget() {
    let (_folder, mut feed) = tape(|options| (options.start, options.speed) = (Start::AtOnce, Speed::Max));
    assert_eq!(feed.patience(), Some(Duration::from_secs(1)));
    assert_eq!((prices(&mut feed, 0, 2), feed.due_ns()), (vec![1, 2], Some(0)));
    assert_eq!(prices(&mut feed, 0, 100), [3, 4, 5]);
    assert_eq!(feed.due_ns(), None);
}

#[test]
fn a_loop_begins_again_after_the_seam() {
    let (_folder, mut feed) = tape(|options| (options.start, options.looped) = (Start::AtOnce, true));
    let progress = feed.progress();
    assert_eq!(prices(&mut feed, 0, 9), [1]);
    assert_eq!(prices(&mut feed, 50 * MS, 9), [2, 3, 4, 5]);
    assert_eq!((progress.rounds(), progress.records()), (1, 0));
    assert_eq!(feed.due_ns(), Some(1050 * MS));
    assert_eq!(prices(&mut feed, 1060 * MS, 9), [1, 2, 3, 4]);
    assert_eq!((feed.due_ns(), progress.finished()), (Some(1100 * MS), false));

    let (_folder, mut feed) = tape(|options| {
        (options.start, options.looped, options.speed) = (Start::AtOnce, true, Speed::Max);
    });
    assert_eq!(prices(&mut feed, 0, 8), [1, 2, 3, 4, 5, 1, 2], "what would be too much together comes apart");
    assert_eq!(prices(&mut feed, 0, 8), [3, 4, 5, 1, 2, 3, 4, 5]);
}

#[test]
fn an_empty_tape_is_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.tape");
    drop(TapeWriter::create(&path).unwrap());
    let options = TapeOptions { looped: true, start: Start::AtOnce, ..TapeOptions::new(path) };
    let mut feed = TapeFeed::open(options).unwrap();
    assert_eq!((prices(&mut feed, 0, 9), feed.due_ns()), (vec![], None));
    assert!(feed.progress().finished());
}

#[test]
fn options_are_read_from_text() {
    assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
    assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
    assert_eq!("MAX".parse(), Ok(Speed::Max));
    for wrong in ["0", "-1", "nan", "inf", "fast", ""] {
        assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
    }
    assert_eq!("at-once".parse(), Ok(Start::AtOnce));
    assert!("later".parse::<Start>().unwrap_err().to_string().contains("on-first-subscriber"));
}
