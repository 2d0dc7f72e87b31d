//! Writing a tape.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::pack::Packer;
use super::{FILE_HEADER, MAGIC, MAX_MESSAGE, PACKED, PLAIN, RECORD_HEADER, TapeEnd, TapeError, TapeReader, checksum};

/// Writes are gathered up to this many bytes.
const WRITE_BUFFER: usize = 1 << 18;

/// Appends records to a tape.
///
/// What was flushed survives a crash of the program (not one of the machine); what was not may be torn, and the next [`TapeWriter::resume`]
/// cuts it off. Dropping the writer flushes, but only [`TapeWriter::flush`] tells whether that worked.
#[derive(Debug)]
pub struct TapeWriter {
    output: BufWriter<File>,
    /// Of a packed tape.
    packer: Option<Packer>,
    path: PathBuf,
    /// In the file and on the way there.
    bytes: u64,
    records: u64,
}

impl TapeWriter {
    /// Begins a new plain tape at `path`, replacing whatever is there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(path: &Path) -> Result<Self, TapeError> {
        Self::begin(path, None)
    }

    /// Begins a new packed tape at `path`, replacing whatever is there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create_packed(path: &Path) -> Result<Self, TapeError> {
        Self::begin(path, Some(Packer::new()))
    }

    fn begin(path: &Path, packer: Option<Packer>) -> Result<Self, TapeError> {
        let version = if packer.is_some() { PACKED } else { PLAIN };
        let begin = || {
            let mut file = File::create(path)?;
            file.write_all(&file_header(version))?;
            Ok(file)
        };
        Ok(Self::over(begin().map_err(io_error(path))?, path, packer, (0, FILE_HEADER as u64)))
    }

    /// Goes on behind the last good record of the tape at `path`, packed if it is, or begins a packed one when there is
    /// no such file. Returns also how the tape ended before; whatever stood behind its good records is gone now.
    ///
    /// # Errors
    /// What the operating system says, and a file that is no tape, which is left alone.
    pub fn resume(path: &Path) -> Result<(Self, TapeEnd), TapeError> {
        if died_within_header(path).map_err(io_error(path))? {
            return Ok((Self::create_packed(path)?, TapeEnd::Complete));
        }
        let mut reader = TapeReader::open(path)?;
        while reader.advance()? {}
        let (good, records, end) = (reader.offset, reader.records, reader.end.unwrap_or(TapeEnd::Complete));
        let cut = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.set_len(good)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let packer = reader.is_packed().then(Packer::new);
        Ok((Self::over(cut().map_err(io_error(path))?, path, packer, (records, good)), end))
    }

    fn over(file: File, path: &Path, packer: Option<Packer>, (records, bytes): (u64, u64)) -> Self {
        Self { output: BufWriter::with_capacity(WRITE_BUFFER, file), packer, path: path.into(), bytes, records }
    }

    /// Appends one message received at `time_ns` (nanoseconds since 1970).
    ///
    /// # Errors
    /// What the operating system says, and [`TapeError::TooLong`].
    pub fn append(&mut self, time_ns: u64, message: &[u8]) -> Result<(), TapeError> {
        if message.len() > MAX_MESSAGE {
            return Err(TapeError::TooLong { path: self.path.clone(), bytes: message.len() });
        }
        self.records += 1;
        if let Some(packer) = &mut self.packer {
            return if packer.push(time_ns, message) { self.write_block() } else { Ok(()) };
        }
        let mut header = [0; RECORD_HEADER];
        header[..8].copy_from_slice(&time_ns.to_be_bytes());
        header[8..12].copy_from_slice(&(message.len() as u32).to_be_bytes());
        let sum = checksum(&header[..12], message);
        header[12..].copy_from_slice(&sum.to_be_bytes());
        let written = self.output.write_all(&header).and_then(|()| self.output.write_all(message));
        self.bytes += (RECORD_HEADER + message.len()) as u64;
        written.map_err(io_error(&self.path))
    }

    /// Ends the block of a packed tape.
    fn write_block(&mut self) -> Result<(), TapeError> {
        let Some(packer) = &mut self.packer else { return Ok(()) };
        self.bytes += packer.write_block(&mut self.output).map_err(io_error(&self.path))?;
        Ok(())
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// What the operating system says; a full disk, most likely.
    pub fn flush(&mut self) -> Result<(), TapeError> {
        self.write_block()?;
        self.output.flush().map_err(io_error(&self.path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the tape, as far as they are written or packed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records on the tape, those of earlier sessions included.
    pub fn records(&self) -> u64 {
        self.records
    }
}

impl Drop for TapeWriter {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TapeError + '_ {
    |source| TapeError::Io { path: path.into(), source }
}

fn file_header(version: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&version.to_be_bytes());
    header
}

/// Whether `path` is absent or holds but the first bytes of a header: nothing that could be lost.
fn died_within_header(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(known) if known.is_file() && known.len() < FILE_HEADER as u64 => {
            // Either version: they differ in the last byte only, which is not there.
            Ok(file_header(PLAIN).starts_with(&std::fs::read(path)?))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
