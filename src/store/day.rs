//! The file of one trading day: a header and records, only ever appended to.

use super::record::{self, Entry, LENGTH};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// What a file begins with; the number is the version of the records.
pub(super) const HEADER: &[u8; 16] = b"tickfan bars v1\n";

/// What a file held apart from its bars.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Findings {
    /// Damaged records between good ones, skipped.
    pub damaged: u64,
    /// Bytes behind the last good record, cut off.
    pub cut: u64,
}

/// Reads all good records and cuts off what stands behind the last of them. `None` when the file is of another version
/// or none of ours; it is left alone then.
pub(super) fn recover(path: &Path, mut each: impl FnMut(Entry)) -> io::Result<Option<Findings>> {
    let mut input = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut header = [0; HEADER.len()];
    let read = fill(&mut input, &mut header)?;
    if header[..read] != HEADER[..read] {
        return Ok(None);
    }
    let (mut good, mut damaged, mut length) = (0, 0, read as u64);
    if read == HEADER.len() {
        good = length;
        let (mut record, mut bad) = ([0; LENGTH], 0);
        loop {
            let read = fill(&mut input, &mut record)?;
            length += read as u64;
            if read < LENGTH {
                break;
            }
            match record::decode(&record) {
                Some(entry) => {
                    each(entry);
                    damaged += bad;
                    (good, bad) = (length, 0);
                }
                None => bad += 1,
            }
        }
    }
    if good < length {
        OpenOptions::new().write(true).open(path)?.set_len(good)?;
    }
    Ok(Some(Findings { damaged, cut: length - good }))
}

/// Reads until the buffer is full or the file at its end.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match input.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// A day's file to append to, with what is not written yet.
#[derive(Debug, Default)]
pub(super) struct Day {
    file: Option<File>,
    pending: Vec<u8>,
}

impl Day {
    /// Queues a record.
    pub fn push(&mut self, entry: &Entry) {
        self.pending.extend_from_slice(&record::encode(entry));
    }

    /// Bytes not written yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes what is pending. What the disk has not taken stays pending, so that the next call goes on behind it.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).create(true).open(path)?;
                if file.metadata()?.len() == 0 {
                    self.pending.splice(..0, HEADER.iter().copied());
                }
                self.file.insert(file)
            }
        };
        let mut written = 0;
        let result = loop {
            match file.write(&self.pending[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if written == self.pending.len() {
                break Ok(());
            }
        };
        self.pending.drain(..written);
        result
    }

    /// Has the disk keep what was written, against a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Closes the file, unless something is pending.
    pub fn close(&mut self) {
        if self.pending.is_empty() {
            self.file = None;
        }
    }
}
