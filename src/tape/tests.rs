use std::path::PathBuf;

use super::*;
use crate::kite::packet::MessageBuilder;
use crate::market::{InstrumentToken, Tick};

fn message(tokens: &[u32]) -> Vec<u8> {
    let mut builder = MessageBuilder::default();
    for &token in tokens {
        builder.push(&Tick::ltp(InstrumentToken(token), 100));
    }
    builder.take().to_vec()
}

/// A plain tape of three records in a fresh folder.
fn three() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    write_three(TapeWriter::create(&path).unwrap());
    (folder, path)
}

fn write_three(mut writer: TapeWriter) {
    writer.append(10, &message(&[5, 1])).unwrap();
    writer.append(20, &[0]).unwrap();
    writer.append(30, &message(&[5])).unwrap();
    writer.flush().unwrap();
}

fn times(path: &Path) -> (Vec<u64>, TapeEnd) {
    let mut reader = TapeReader::open(path).unwrap();
    let mut times = Vec::new();
    while let Some((time_ns, _)) = reader.next().unwrap() {
        times.push(time_ns);
    }
    assert_eq!(reader.records(), times.len() as u64);
    (times, reader.end().unwrap())
}

#[test]
fn what_is_written_is_read() {
    let (_folder, path) = three();
    let mut reader = TapeReader::open(&path).unwrap();
    assert_eq!(reader.next().unwrap(), Some((10, &message(&[5, 1])[..])));
    assert_eq!(reader.next().unwrap(), Some((20, &[0][..])));
    assert_eq!(reader.next().unwrap(), Some((30, &message(&[5])[..])));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.end(), Some(TapeEnd::Complete));
    reader.rewind().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().0, 10);
}

#[test]
fn a_tape_cut_anywhere_is_good_up_to_its_last_whole_record() {
    let (_folder, path) = three();
    let whole = std::fs::read(&path).unwrap();
    let starts = [12, 12 + 16 + 22, 12 + 16 + 22 + 17, whole.len()];
    for length in 12..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let good = starts.iter().filter(|&&start| start <= length).count() - 1;
        let offset = starts[good] as u64;
        let end = if length as u64 == offset { TapeEnd::Complete } else { TapeEnd::Torn { offset } };
        assert_eq!(times(&path), ([10, 20, 30][..good].to_vec(), end), "cut to {length}");

        let (mut writer, found) = TapeWriter::resume(&path).unwrap();
        assert_eq!((found, writer.records()), (end, good as u64));
        writer.append(99, &[0]).unwrap();
        drop(writer);
        let (all, end) = times(&path);
        assert_eq!((all.len(), all.last(), end), (good + 1, Some(&99), TapeEnd::Complete));
    }
}

#[test]
fn a_flipped_bit_ends_the_tape_before_its_record() {
    let (_folder, path) = three();
    let whole = std::fs::read(&path).unwrap();
    for at in 50..67 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let (good, end) = times(&path);
        assert_eq!(good, [10], "bit in byte {at}");
        // A length that became longer than the file looks like a torn record.
        assert!(matches!(end, TapeEnd::Damaged { offset: 50 } | TapeEnd::Torn { offset: 50 }), "{end}");
    }
}

#[test]
fn a_file_that_is_no_tape_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for bytes in [&b""[..], b"TICK", b"instrument_token,exchange_token", b"TICKTAPE\0\0\0\x03"] {
        std::fs::write(&path, bytes).unwrap();
        let text = TapeReader::open(&path).unwrap_err().to_string();
        assert!(text.contains("notes.txt") && text.contains("tape"), "{text}");
        if bytes.len() > 4 {
            assert!(TapeWriter::resume(&path).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
    std::fs::write(&path, b"TICKTA").unwrap();
    drop(TapeWriter::resume(&path).unwrap());
    assert_eq!(times(&path), (Vec::new(), TapeEnd::Complete));
    assert!(TapeReader::open(&folder.path().join("absent")).unwrap_err().to_string().contains("absent"));
}

#[test]
fn a_packed_tape_cut_anywhere_is_good_up_to_its_last_whole_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    // Blocks of one, two and one records, and a session of its own behind them.
    let mut writer = TapeWriter::create_packed(&path).unwrap();
    let mut starts = vec![(writer.bytes(), 0)];
    for block in [&[10u64][..], &[20, 30], &[40]] {
        for &time_ns in block {
            writer.append(time_ns, &message(&[time_ns as u32, 7])).unwrap();
        }
        writer.flush().unwrap();
        starts.push((writer.bytes(), writer.records()));
    }
    drop(writer);
    let (mut writer, end) = TapeWriter::resume(&path).unwrap();
    assert_eq!((end, writer.records()), (TapeEnd::Complete, 4));
    writer.append(50, &[0, 0]).unwrap();
    writer.flush().unwrap();
    starts.push((writer.bytes(), 5));
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(starts.last(), Some(&(whole.len() as u64, 5)));
    for length in FILE_HEADER..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let &(offset, good) = starts.iter().rfind(|(start, _)| *start <= length as u64).unwrap();
        let end = if length as u64 == offset { TapeEnd::Complete } else { TapeEnd::Torn { offset } };
        let all = [10, 20, 30, 40, 50];
        assert_eq!(times(&path), (all[..good as usize].to_vec(), end), "cut to {length}");
        let (mut writer, found) = TapeWriter::resume(&path).unwrap();
        assert_eq!((found, writer.records()), (end, good));
        writer.append(99, &message(&[1])).unwrap();
        drop(writer);
        let (times, end) = times(&path);
        assert_eq!((times.len() as u64, times.last(), end), (good + 1, Some(&99), TapeEnd::Complete));
    }
}

#[test]
fn a_flipped_bit_ends_a_packed_tape_before_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let mut writer = TapeWriter::create_packed(&path).unwrap();
    writer.append(10, &message(&[1])).unwrap();
    writer.flush().unwrap();
    let offset = writer.bytes();
    writer.append(20, &message(&[2])).unwrap();
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    for at in offset as usize..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let (good, end) = times(&path);
        assert_eq!(good, [10], "bit in byte {at}");
        assert!(end == TapeEnd::Damaged { offset } || end == TapeEnd::Torn { offset }, "{end}");
    }
}

#[test]
fn a_block_that_unpacks_to_more_than_it_announces_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let mut writer = TapeWriter::create_packed(&path).unwrap();
    writer.append(10, &[7; 100_000]).unwrap();
    drop(writer);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[16..20].copy_from_slice(&50_000u32.to_be_bytes());
    let sum = checksum(&bytes[12..24], &bytes[28..]);
    bytes[24..28].copy_from_slice(&sum.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(times(&path), (vec![], TapeEnd::Damaged { offset: 12 }));
}

#[test]
fn tapes_of_a_folder_and_of_a_list_are_read_in_order() {
    let (folder, first) = three();
    let second = folder.path().join("day2.tape");
    write_three(TapeWriter::create_packed(&second).unwrap());
    std::fs::write(folder.path().join("notes.txt"), "no tape").unwrap();
    let read = |path: &Path| {
        let mut reel = Reel::open(path).unwrap();
        let mut all = || std::iter::from_fn(|| reel.advance().unwrap().then(|| reel.time_ns())).collect::<Vec<_>>();
        let once = all();
        reel.rewind().unwrap();
        let mut twice = Vec::new();
        while let Some((time_ns, _)) = Records::next(&mut reel).unwrap() {
            twice.push(time_ns);
        }
        assert_eq!((once, reel.records()), (twice.clone(), twice.len() as u64));
        (twice, reel.end().unwrap())
    };
    assert_eq!(read(folder.path()), (vec![10, 20, 30, 10, 20, 30], TapeEnd::Complete));
    assert_eq!(scan(folder.path()).unwrap().messages, 6);
    let whole = std::fs::read(&first).unwrap();
    std::fs::write(&first, &whole[..whole.len() - 1]).unwrap();
    let end = TapeEnd::Torn { offset: 12 + 16 + 22 + 17 };
    assert_eq!(read(folder.path()), (vec![10, 20, 10, 20, 30], end));
    let list = format!("{},{}", second.display(), first.display());
    assert_eq!(read(Path::new(&list)), (vec![10, 20, 30, 10, 20], end));
    let empty = tempfile::tempdir().unwrap();
    assert!(Reel::open(empty.path()).unwrap_err().to_string().ends_with("holds no file whose name ends in .tape"));
}

#[test]
fn a_reel_begins_a_tape_with_each_day_of_india_and_when_one_is_full() {
    const SECOND: u64 = 1_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let names = || {
        let tapes = tapes_at(folder.path()).unwrap();
        tapes.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // 23:59:59 on 3 November 2025 in India.
    let evening_ns = 1_762_194_599 * SECOND;
    let mut reel = ReelWriter::new(&folder.path().join("new"), u64::MAX).unwrap();
    reel.append(evening_ns, &[0, 0]).unwrap();
    assert!(reel.path().unwrap().ends_with("new/2025-11-03-0001.tape"));

    let mut reel = ReelWriter::new(folder.path(), u64::MAX).unwrap();
    for seconds in [0, 1, 0, 2] {
        reel.append(evening_ns + seconds * SECOND, &[0, 0]).unwrap();
    }
    drop(reel);
    assert_eq!(names(), ["2025-11-03-0001.tape", "2025-11-04-0001.tape"]);
    assert_eq!(scan(&folder.path().join(&names()[1])).unwrap().messages, 3, "a clock set back stays in the new day");

    // Every block is more than a tape may have.
    let mut reel = ReelWriter::new(folder.path(), 1).unwrap();
    for seconds in 1..=3 {
        reel.append(evening_ns + seconds * SECOND, &[0, 0]).unwrap();
        reel.flush().unwrap();
    }
    drop(reel);
    assert_eq!(
        names()[1..],
        ["2025-11-04-0001.tape", "2025-11-04-0002.tape", "2025-11-04-0003.tape", "2025-11-04-0004.tape"]
    );
    assert_eq!(scan(folder.path()).unwrap().messages, 7);

    // Goes on with the newest of the day, behind its good part.
    let newest = folder.path().join("2025-11-04-0004.tape");
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() - 1]).unwrap();
    let mut reel = ReelWriter::new(folder.path(), u64::MAX).unwrap();
    reel.append(evening_ns + 9 * SECOND, &[0, 0]).unwrap();
    drop(reel);
    let found = scan(folder.path()).unwrap();
    assert_eq!((names().len(), found.messages, found.end), (5, 7, TapeEnd::Complete));
}

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_read(
        records in proptest::collection::vec((0u64.., proptest::collection::vec(0u8.., 0..300), proptest::bool::ANY), 0..40),
        packed in proptest::bool::ANY,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.tape");
        let begin = if packed { TapeWriter::create_packed } else { TapeWriter::create };
        let mut writer = begin(&path).unwrap();
        for (time_ns, message, again) in &records {
            writer.append(*time_ns, message).unwrap();
            if *again {
                // Sessions one behind the other.
                drop(writer);
                writer = TapeWriter::resume(&path).unwrap().0;
            }
        }
        drop(writer);
        let mut reader = TapeReader::open(&path).unwrap();
        for (time_ns, message, _) in &records {
            proptest::prop_assert_eq!(reader.next().unwrap(), Some((*time_ns, &message[..])));
        }
        proptest::prop_assert_eq!(reader.next().unwrap(), None);
        proptest::prop_assert_eq!(reader.end(), Some(TapeEnd::Complete));
    }
}

#[test]
fn a_scan_counts_and_collects() {
    let (_folder, path) = three();
    let mut writer = TapeWriter::resume(&path).unwrap().0;
    writer.append(40, &[0, 1, 0]).unwrap();
    drop(writer);
    let found = scan(&path).unwrap();
    assert_eq!(found.tokens, [InstrumentToken(1), InstrumentToken(5)]);
    assert_eq!((found.messages, found.packets, found.broken), (4, 3, 1));
    assert_eq!((found.first_ns, found.last_ns, found.end), (10, 40, TapeEnd::Complete));
}
