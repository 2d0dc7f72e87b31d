//! The blocks of a packed tape.

use std::fmt;
use std::io::{self, Read, Write};

use zstd::stream::write::{Decoder, Encoder};

use super::{MAX_MESSAGE, RECORD_HEADER, TapeEnd, checksum, fill, u32_at};

/// Records are gathered up to about this many bytes; a flush ends a block earlier.
pub(super) const BLOCK: usize = 1 << 20;
/// Time and length of a record.
const HEAD: usize = 12;
/// The longest block: one that had room for one more message.
const MAX_BLOCK: usize = BLOCK + HEAD + MAX_MESSAGE;
/// Zstandard's own default: twice as dense as 1 on ticks, and still hundreds of megabytes per second.
const LEVEL: i32 = 3;
/// Flag of a block with which the stream begins anew.
const FRESH: u32 = 1;

/// Gathers records and packs them.
pub(super) struct Packer {
    /// `None` before the first block, which begins the stream.
    encoder: Option<Encoder<'static, Vec<u8>>>,
    plain: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("plain", &self.plain.len()).finish_non_exhaustive()
    }
}

impl Packer {
    /// Begins a stream.
    pub(super) fn new() -> Self {
        Self { encoder: None, plain: Vec::with_capacity(BLOCK) }
    }

    /// Takes a record; true when a block is full.
    pub(super) fn push(&mut self, time_ns: u64, message: &[u8]) -> bool {
        self.plain.extend_from_slice(&time_ns.to_be_bytes());
        self.plain.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.plain.extend_from_slice(message);
        self.plain.len() >= BLOCK
    }

    /// Writes what was gathered as one block and returns its bytes; 0 when there is nothing.
    pub(super) fn write_block(&mut self, output: &mut impl Write) -> io::Result<u64> {
        if self.plain.is_empty() {
            return Ok(0);
        }
        let flags = if self.encoder.is_none() { FRESH } else { 0 };
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(Vec::new(), LEVEL)?),
        };
        encoder.write_all(&self.plain)?;
        encoder.flush()?;
        let packed = encoder.get_mut();
        let mut header = [0; RECORD_HEADER];
        header[..4].copy_from_slice(&(packed.len() as u32).to_be_bytes());
        header[4..8].copy_from_slice(&(self.plain.len() as u32).to_be_bytes());
        header[8..12].copy_from_slice(&flags.to_be_bytes());
        let sum = checksum(&header[..12], packed);
        header[12..].copy_from_slice(&sum.to_be_bytes());
        output.write_all(&header)?;
        output.write_all(packed)?;
        let bytes = RECORD_HEADER + packed.len();
        packed.clear();
        self.plain.clear();
        Ok(bytes as u64)
    }
}

/// A buffer that takes no more than a block announces, whatever is packed in it.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unpacks block by block.
#[derive(Default)]
pub(super) struct Unpacker {
    decoder: Option<Decoder<'static, Bounded>>,
    packed: Vec<u8>,
    /// What the current block unpacked to, and how far it was handed out.
    plain: Vec<u8>,
    at: usize,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").field("at", &self.at).field("of", &self.plain.len()).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// The next record of the current block.
    pub(super) fn next_record(&mut self) -> Option<(u64, &[u8])> {
        let rest = self.plain.get(self.at..)?;
        let (time, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let message = rest.get(..u32::from_be_bytes(*length) as usize)?;
        self.at += HEAD + message.len();
        Some((u64::from_be_bytes(*time), message))
    }

    /// Reads the block at `offset` and returns its bytes, or how the tape ends there.
    pub(super) fn read_block(&mut self, input: &mut impl Read, offset: u64) -> io::Result<Result<u64, TapeEnd>> {
        self.start_over_block();
        let mut header = [0; RECORD_HEADER];
        match fill(input, &mut header)? {
            RECORD_HEADER => {}
            0 => return Ok(Err(TapeEnd::Complete)),
            _ => return Ok(Err(TapeEnd::Torn { offset })),
        }
        let (packed, plain) = (u32_at(&header, 0) as usize, u32_at(&header, 4) as usize);
        // What does not shrink grows by a few bytes in a thousand.
        if plain == 0 || plain > MAX_BLOCK || packed > MAX_BLOCK + MAX_BLOCK / 64 {
            return Ok(Err(TapeEnd::Damaged { offset }));
        }
        self.packed.clear();
        if input.take(packed as u64).read_to_end(&mut self.packed)? < packed {
            return Ok(Err(TapeEnd::Torn { offset }));
        }
        let good = checksum(&header[..12], &self.packed) == u32_at(&header, 12)
            && self.unpack(u32_at(&header, 8) & FRESH != 0, plain).is_ok();
        Ok(if good { Ok((RECORD_HEADER + packed) as u64) } else { Err(TapeEnd::Damaged { offset }) })
    }

    /// Unpacks what was read, which must give `length` bytes of whole records.
    fn unpack(&mut self, fresh: bool, length: usize) -> io::Result<()> {
        if fresh {
            self.decoder = Some(Decoder::new(Bounded::default())?);
        }
        let decoder = self.decoder.as_mut().ok_or(io::ErrorKind::InvalidData)?;
        decoder.get_mut().bytes = std::mem::take(&mut self.plain);
        decoder.get_mut().most = length;
        let unpacked = decoder.write_all(&self.packed).and_then(|()| decoder.flush());
        self.plain = std::mem::take(&mut decoder.get_mut().bytes);
        unpacked?;
        while self.next_record().is_some() {}
        let whole = self.at == length && self.plain.len() == length;
        self.at = 0;
        if whole { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn start_over_block(&mut self) {
        self.plain.clear();
        self.at = 0;
    }

    /// Forgets everything, for a tape that is read from its start again.
    pub(super) fn start_over(&mut self) {
        self.start_over_block();
        self.decoder = None;
    }
}
