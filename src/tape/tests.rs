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

/// A tape of three records in a fresh folder.
fn three() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let mut writer = TapeWriter::create(&path).unwrap();
    writer.append(10, &message(&[5, 1])).unwrap();
    writer.append(20, &[0]).unwrap();
    writer.append(30, &message(&[5])).unwrap();
    writer.flush().unwrap();
    (folder, path)
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
    for bytes in [&b""[..], b"TICK", b"instrument_token,exchange_token", b"TICKTAPE\0\0\0\x02"] {
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
