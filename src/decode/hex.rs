//! Messages as text.

/// Why a line is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HexError {
    /// A character that is neither a hex digit nor white space.
    #[error("bad hex: character {column} is not a hex digit")]
    NotADigit {
        /// Its place in the line in bytes, from 1.
        column: usize,
    },
    /// Half a byte at the end.
    #[error("bad hex: an odd number of digits ({digits})")]
    Odd {
        /// How many there are.
        digits: usize,
    },
}

/// Reads the message of one line into `message`; false when the line holds none. `#` begins a comment, also behind a
/// message.
pub fn decode_line(line: &[u8], message: &mut Vec<u8>) -> Result<bool, HexError> {
    message.clear();
    let mut high = None;
    for (at, &byte) in line.iter().enumerate().take_while(|&(_, &byte)| byte != b'#') {
        if byte.is_ascii_whitespace() {
            continue;
        }
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(HexError::NotADigit { column: at + 1 });
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => message.push((high << 4 | digit) as u8),
        }
    }
    match high {
        Some(_) => Err(HexError::Odd { digits: message.len() * 2 + 1 }),
        None => Ok(!message.is_empty()),
    }
}
