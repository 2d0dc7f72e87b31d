//! A folder of tapes, written: one a day and more when they grow.

use std::io;
use std::path::{Path, PathBuf};

use super::{TapeEnd, TapeError, TapeWriter};
use crate::market::calendar::Date;

/// Appends records to `YYYY-MM-DD-NNNN.tape` in a folder: the day is India's at the time of receipt, the number counts
/// from 1. A new tape is begun with a new day, and when one has its most bytes.
///
/// It goes on with the newest tape of the day that is there, cutting off a broken tail. A clock that is set back does not
/// bring back an earlier day.
#[derive(Debug)]
pub struct ReelWriter {
    folder: PathBuf,
    most_bytes: u64,
    /// Day and number of the open tape.
    open: Option<(Date, u32, TapeWriter)>,
}

impl ReelWriter {
    /// Writes into `folder`, which is made if it is not there; the first record opens a tape. A tape has at most
    /// `most_bytes` and one block.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(folder: &Path, most_bytes: u64) -> Result<Self, TapeError> {
        std::fs::create_dir_all(folder).map_err(|source| TapeError::Io { path: folder.into(), source })?;
        Ok(Self { folder: folder.into(), most_bytes, open: None })
    }

    /// Appends one message received at `time_ns` (nanoseconds since 1970).
    ///
    /// # Errors
    /// As [`TapeWriter::append`]; and when the tape to go on with is none.
    pub fn append(&mut self, time_ns: u64, message: &[u8]) -> Result<(), TapeError> {
        let today = Date::of((time_ns / 1_000_000_000) as i64);
        let next = match &mut self.open {
            None => Some((today, self.newest(today)?)),
            Some((day, ..)) if today > *day => Some((today, 1)),
            Some((day, number, tape)) if tape.bytes() >= self.most_bytes => Some((*day, *number + 1)),
            Some(_) => None,
        };
        if let Some((day, number)) = next {
            self.begin(day, number)?;
        }
        match &mut self.open {
            Some((.., tape)) => tape.append(time_ns, message),
            None => Ok(()),
        }
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn flush(&mut self) -> Result<(), TapeError> {
        self.open.as_mut().map_or(Ok(()), |(.., tape)| tape.flush())
    }

    /// The tape being written.
    pub fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|(.., tape)| tape.path())
    }

    /// Ends the open tape and goes on with the next, or with the one after it as long as they are full.
    fn begin(&mut self, day: Date, mut number: u32) -> Result<(), TapeError> {
        self.flush()?;
        loop {
            let path = self.folder.join(name(day, number));
            let (tape, end) = TapeWriter::resume(&path)?;
            if end != TapeEnd::Complete {
                tracing::warn!(tape = %path.display(), %end, "the tape was not whole; it goes on behind its good part");
            }
            if tape.records() == 0 || tape.bytes() < self.most_bytes {
                tracing::info!(tape = %path.display(), records = tape.records(), "recording");
                self.open = Some((day, number, tape));
                return Ok(());
            }
            number += 1;
        }
    }

    /// The highest number of a tape of that day, or 1.
    fn newest(&self, day: Date) -> Result<u32, TapeError> {
        let list = || -> io::Result<u32> {
            let mut newest = 1;
            for entry in std::fs::read_dir(&self.folder)? {
                let found = entry?.file_name();
                let number = found
                    .to_str()
                    .and_then(|found| found.strip_prefix(&format!("{day}-"))?.strip_suffix(".tape")?.parse().ok());
                newest = newest.max(number.unwrap_or(1));
            }
            Ok(newest)
        };
        list().map_err(|source| TapeError::Io { path: self.folder.clone(), source })
    }
}

/// Names sort by time.
fn name(day: Date, number: u32) -> String {
    format!("{day}-{number:04}.tape")
}
