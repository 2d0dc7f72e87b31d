//! Tapes: a session recorded as the bytes that came from Kite, each message with its time of receipt.
//!
//! A file is a header (`TICKTAPE`, then the version as `u32`), then, by version:
//!
//! 1. *plain*: records, each `u64` receive time in nanoseconds since 1970, `u32` length, `u32` CRC-32 over time, length
//!    and message, then the message.
//! 2. *packed*: blocks, each `u32` packed length, `u32` plain length, `u32` flags, `u32` CRC-32 over these and the packed
//!    bytes, then these. The packed bytes of all blocks are one Zstandard stream, flushed at the end of each, which
//!    begins anew where flag 1 is set. Unpacked they are records without checksums: time, length, message.
//!
//! All integers are big endian, as Kite's own. A record, or a block, stands for itself, so a tape whose recorder was
//! killed is good up to its last whole one: [`TapeReader`] stops there and says why ([`TapeEnd`]),
//! [`TapeWriter::resume`] cuts the rest off and goes on.
//!
//! A folder of tapes is written by [`ReelWriter`] and read, in order, by [`Reel`].

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

mod pack;
mod reel;
mod roll;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use pack::Unpacker;
pub use reel::{Reel, tapes_at};
pub use roll::ReelWriter;
pub use scan::{TapeScan, scan};
pub use writer::TapeWriter;

/// The first bytes of every tape.
pub const MAGIC: [u8; 8] = *b"TICKTAPE";

/// The version of a plain tape.
pub const PLAIN: u32 = 1;

/// The version of a packed tape.
pub const PACKED: u32 = 2;

/// The longest message a tape takes, 64 MiB: a hundred times Kite's largest. A longer length in a file is damage.
pub const MAX_MESSAGE: usize = 64 << 20;

const FILE_HEADER: usize = 12;
/// Of a plain record, and of a block.
const RECORD_HEADER: usize = 16;

/// Reads ahead this much, so that a replay costs few system calls.
const READ_BUFFER: usize = 1 << 18;

/// Why a tape cannot be read or written at all. Damage behind the header is not an error but a [`TapeEnd`].
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// What the operating system says.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The file does not begin like a tape.
    #[error("{} is not a tape: it does not begin with TICKTAPE", path.display())]
    NotATape {
        /// The file.
        path: PathBuf,
    },
    /// A tape of another version.
    #[error("{} is a tape of version {found}; this program reads {PLAIN} and {PACKED}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A folder without a tape.
    #[error("{} holds no file whose name ends in .tape", path.display())]
    NoTapes {
        /// The folder.
        path: PathBuf,
    },
    /// A message longer than [`MAX_MESSAGE`]; it was not written.
    #[error("a message of {bytes} bytes does not fit on {}, the limit is {MAX_MESSAGE}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The message's length.
        bytes: usize,
    },
}

/// How a tape ended. Everything before `offset` (bytes from the start of the file) is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TapeEnd {
    /// With its last record.
    Complete,
    /// Within a record: the recorder was killed, or the copy is not whole.
    Torn {
        /// Where the unfinished record begins.
        offset: u64,
    },
    /// At a record whose checksum or length is wrong.
    Damaged {
        /// Where the damaged record begins.
        offset: u64,
    },
}

impl std::fmt::Display for TapeEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Torn { offset } => write!(f, "torn: ends within the record or block at byte {offset}"),
            Self::Damaged { offset } => {
                write!(f, "damaged: the record or block at byte {offset} has a wrong checksum or length")
            }
        }
    }
}

/// Records in the order in which they came: a tape's, or a folder's.
pub trait Records {
    /// The next record as receive time (nanoseconds since 1970) and message; `None` at the end, whatever the reason.
    ///
    /// # Errors
    /// When a file can no longer be read.
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, TapeError>;

    /// How it ended; `None` while it goes on.
    fn end(&self) -> Option<TapeEnd>;
}

impl<R: Read> Records for TapeReader<R> {
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, TapeError> {
        Self::next(self)
    }

    fn end(&self) -> Option<TapeEnd> {
        self.end
    }
}

/// Reads a tape record by record, reusing its buffers.
#[derive(Debug)]
pub struct TapeReader<R> {
    input: R,
    /// Of a packed tape.
    unpacker: Option<Unpacker>,
    /// For errors only.
    path: PathBuf,
    /// Where the next record, or block, begins.
    offset: u64,
    records: u64,
    time_ns: u64,
    message: Vec<u8>,
    end: Option<TapeEnd>,
}

impl TapeReader<BufReader<File>> {
    /// Opens the tape at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is no tape, or is of another version.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        let file = File::open(path).map_err(|source| TapeError::Io { path: path.into(), source })?;
        Self::new(BufReader::with_capacity(READ_BUFFER, file), path)
    }
}

impl<R: Read> TapeReader<R> {
    /// Reads a tape from anything; `path` names it in errors. `input` should be buffered.
    ///
    /// # Errors
    /// As [`TapeReader::open`].
    pub fn new(mut input: R, path: &Path) -> Result<Self, TapeError> {
        let mut header = [0; FILE_HEADER];
        let got = fill(&mut input, &mut header).map_err(|source| TapeError::Io { path: path.into(), source })?;
        if got < FILE_HEADER || header[..MAGIC.len()] != MAGIC {
            return Err(TapeError::NotATape { path: path.into() });
        }
        let found = u32_at(&header, 8);
        let unpacker = match found {
            PLAIN => None,
            PACKED => Some(Unpacker::default()),
            _ => return Err(TapeError::Version { path: path.into(), found }),
        };
        let (offset, message) = (FILE_HEADER as u64, Vec::new());
        Ok(Self { input, unpacker, path: path.into(), offset, records: 0, time_ns: 0, message, end: None })
    }

    /// The next record as receive time (nanoseconds since 1970) and message; `None` at the tape's end, for whatever
    /// reason it ends: see [`TapeReader::end`].
    ///
    /// # Errors
    /// When the file can no longer be read.
    #[expect(clippy::should_implement_trait, reason = "the message is lent, which Iterator cannot express")]
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>, TapeError> {
        Ok(if self.advance()? { Some((self.time_ns, &self.message)) } else { None })
    }

    /// As [`TapeReader::next`], but the record stays readable through [`TapeReader::time_ns`] and
    /// [`TapeReader::message`], for who must look at its time before wanting it.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn advance(&mut self) -> Result<bool, TapeError> {
        if self.end.is_none() {
            let end = if self.unpacker.is_some() { self.unpack_record() } else { self.read_record() };
            self.end = end.map_err(|source| TapeError::Io { path: self.path.clone(), source })?;
        }
        Ok(self.end.is_none())
    }

    /// Receive time of the current record, nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Message of the current record; of no meaning before the first and behind the last one.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// How many good records were read so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How the tape ended; `None` while it goes on.
    pub fn end(&self) -> Option<TapeEnd> {
        self.end
    }

    /// Whether it is a packed tape.
    pub fn is_packed(&self) -> bool {
        self.unpacker.is_some()
    }

    /// Takes the next record of the current block, or of the next one; `Some` when there is no further one.
    fn unpack_record(&mut self) -> io::Result<Option<TapeEnd>> {
        let Some(unpacker) = &mut self.unpacker else { return Ok(None) };
        loop {
            if let Some((time_ns, message)) = unpacker.next_record() {
                self.time_ns = time_ns;
                self.message.clear();
                self.message.extend_from_slice(message);
                self.records += 1;
                return Ok(None);
            }
            match unpacker.read_block(&mut self.input, self.offset)? {
                Ok(bytes) => self.offset += bytes,
                Err(end) => return Ok(Some(end)),
            }
        }
    }

    /// Reads one record into the buffer; `Some` when there is no further one.
    fn read_record(&mut self) -> io::Result<Option<TapeEnd>> {
        let offset = self.offset;
        let mut header = [0; RECORD_HEADER];
        match fill(&mut self.input, &mut header)? {
            RECORD_HEADER => {}
            0 => return Ok(Some(TapeEnd::Complete)),
            _ => return Ok(Some(TapeEnd::Torn { offset })),
        }
        let length = u32_at(&header, 8) as usize;
        if length > MAX_MESSAGE {
            return Ok(Some(TapeEnd::Damaged { offset }));
        }
        self.message.clear();
        // Grows with what is there, not with what a damaged length promises.
        if (&mut self.input).take(length as u64).read_to_end(&mut self.message)? < length {
            return Ok(Some(TapeEnd::Torn { offset }));
        }
        if checksum(&header[..12], &self.message) != u32_at(&header, 12) {
            return Ok(Some(TapeEnd::Damaged { offset }));
        }
        self.time_ns = u64::from(u32_at(&header, 0)) << 32 | u64::from(u32_at(&header, 4));
        self.offset += (RECORD_HEADER + length) as u64;
        self.records += 1;
        Ok(None)
    }
}

impl<R: Read + Seek> TapeReader<R> {
    /// Goes back to before the first record.
    ///
    /// # Errors
    /// When the input cannot seek.
    pub fn rewind(&mut self) -> Result<(), TapeError> {
        let start = FILE_HEADER as u64;
        self.input.seek(SeekFrom::Start(start)).map_err(|source| TapeError::Io { path: self.path.clone(), source })?;
        (self.offset, self.records, self.end) = (start, 0, None);
        if let Some(unpacker) = &mut self.unpacker {
            unpacker.start_over();
        }
        Ok(())
    }
}

/// The checksum of a record.
fn checksum(time_and_length: &[u8], message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(time_and_length);
    hasher.update(message);
    hasher.finalize()
}

/// Fills `buffer` as far as the input goes and returns how far that was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}
