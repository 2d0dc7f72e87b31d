//! `tickfan decode`: Kite messages from a file, one JSON object per tick.
//!
//! The objects have the field names, nesting, order and values of the official Python client, so that the two can be
//! compared with `diff`; times are epoch seconds, as JSON has none. Good ticks go to one writer, everything wrong to
//! another, and one broken message never hides the next.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use crate::kite::packet::{self, packets};
use crate::tape::{MAGIC, TapeEnd, TapeError, TapeReader};

mod hex;
mod json;
#[cfg(test)]
mod tests;

pub use json::{PythonTick, tick_json};

/// How messages are laid out in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Text: one message per line in hex digits; white space within it, empty lines and `#` comments do not count.
    HexLines,
    /// A recorded tape.
    Tape,
    /// One message, as it came.
    Raw,
}

/// Why decoding stopped before the input's end. What is wrong within the input does not stop it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The input cannot be read.
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// The output cannot be written; a closed pipe, most likely.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// The tape cannot be read.
    #[error(transparent)]
    Tape(#[from] TapeError),
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Messages, broken ones included.
    pub messages: u64,
    /// Ticks written.
    pub ticks: u64,
    /// Messages without ticks, because their framing or their hex digits are wrong.
    pub broken: u64,
    /// Packets of a length version 3 does not know. That is no error: the rest of their message is good.
    pub skipped: u64,
    /// How the tape ended, when it was one.
    pub tape_end: Option<TapeEnd>,
}

impl Summary {
    /// Whether the program should end with an error.
    pub fn failed(&self) -> bool {
        self.broken > 0
    }
}

/// Decodes all of `input`: ticks as JSON lines to `out`, and to `errors` a JSON line for each broken message
/// (`{"error":text,"message":index from 1}`, or `"line"` for wrong hex), each skipped packet
/// (`{"skipped":text,"message":index}`) and a tape that is not whole (`{"tape":text}`).
///
/// `format` is found out when it is `None`. `name` stands for the input in errors. Both writers should be buffered;
/// they are flushed at the end.
///
/// # Errors
/// When `input` cannot be read or a writer fails. Wrong content is counted in the [`Summary`] instead.
pub fn decode(
    mut input: impl Read,
    name: &Path,
    format: Option<Format>,
    out: impl Write,
    errors: impl Write,
) -> Result<Summary, DecodeError> {
    let mut head = Vec::with_capacity(MAGIC.len());
    (&mut input).take(MAGIC.len() as u64).read_to_end(&mut head).map_err(DecodeError::Read)?;
    let format = format.unwrap_or_else(|| detect(&head));
    let input = BufReader::with_capacity(1 << 18, head.chain(input));
    let mut decoder = Decoder { out, errors, summary: Summary::default() };
    match format {
        Format::HexLines => decoder.lines(input)?,
        Format::Tape => decoder.tape(TapeReader::new(input, name)?)?,
        Format::Raw => decoder.raw(input)?,
    }
    decoder.out.flush().and_then(|()| decoder.errors.flush()).map_err(DecodeError::Write)?;
    Ok(decoder.summary)
}

/// What an input is that begins with `head`. A tape has its magic; a binary message has a control character in its
/// first four bytes unless it holds more than 8,000 packets; all else is text.
pub fn detect(head: &[u8]) -> Format {
    if head == MAGIC {
        Format::Tape
    } else if head.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
        Format::Raw
    } else {
        Format::HexLines
    }
}

struct Decoder<O, E> {
    out: O,
    errors: E,
    summary: Summary,
}

impl<O: Write, E: Write> Decoder<O, E> {
    fn lines(&mut self, mut input: impl BufRead) -> Result<(), DecodeError> {
        let (mut line, mut message) = (Vec::new(), Vec::new());
        for number in 1u64.. {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(DecodeError::Read)? == 0 {
                break;
            }
            match hex::decode_line(&line, &mut message) {
                Ok(false) => {}
                Ok(true) => self.message(&message)?,
                Err(error) => {
                    self.summary.messages += 1;
                    self.summary.broken += 1;
                    self.complain("error", &error, ("line", number))?;
                }
            }
        }
        Ok(())
    }

    fn tape(&mut self, mut tape: TapeReader<impl Read>) -> Result<(), DecodeError> {
        while let Some((_, message)) = tape.next()? {
            self.message(message)?;
        }
        self.summary.tape_end = tape.end();
        match tape.end() {
            None | Some(TapeEnd::Complete) => Ok(()),
            Some(end) => {
                let end = serde_json::Value::from(end.to_string());
                writeln!(self.errors, r#"{{"tape":{end}}}"#).map_err(DecodeError::Write)
            }
        }
    }

    fn raw(&mut self, mut input: impl Read) -> Result<(), DecodeError> {
        let mut message = Vec::new();
        input.read_to_end(&mut message).map_err(DecodeError::Read)?;
        self.message(&message)
    }

    fn message(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        self.summary.messages += 1;
        let index = self.summary.messages;
        let packets = match packets(message) {
            Ok(packets) => packets,
            Err(error) => {
                self.summary.broken += 1;
                return self.complain("error", &error, ("message", index));
            }
        };
        for packet in packets {
            match packet::decode(packet) {
                Ok(tick) => {
                    self.summary.ticks += 1;
                    serde_json::to_writer(&mut self.out, &PythonTick(&tick))
                        .map_err(io::Error::from)
                        .and_then(|()| self.out.write_all(b"\n"))
                        .map_err(DecodeError::Write)?;
                }
                Err(error) => {
                    self.summary.skipped += 1;
                    self.complain("skipped", &error, ("message", index))?;
                }
            }
        }
        Ok(())
    }

    /// One line on the error writer.
    fn complain(&mut self, kind: &str, error: &dyn std::error::Error, place: (&str, u64)) -> Result<(), DecodeError> {
        let text = serde_json::Value::from(error.to_string());
        writeln!(self.errors, r#"{{"{kind}":{text},"{}":{}}}"#, place.0, place.1).map_err(DecodeError::Write)
    }
}
