//! WebSocket frames from the server: never masked (RFC 6455), so one frame's bytes serve every tab.

use std::ops::Range;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end, with a code and a reason.
    Close = 8,
    /// A sign of life that asks for a pong.
    Ping = 9,
}

/// Room kept before a body whose length is not known yet: the header of any frame below 64 KiB fits.
pub const RESERVED: usize = 4;

/// Where a frame lies in a buffer. Between two frames there may be unused bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    start: u32,
    body: u32,
    end: u32,
}

impl Span {
    /// The whole frame.
    pub const fn frame(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Its body alone.
    pub const fn body(self) -> Range<usize> {
        self.body as usize..self.end as usize
    }

    /// Whether there is no frame.
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }
}

/// Appends a frame whose body `write` appends. The span says where the frame begins, which may be a few bytes behind
/// the old end of `out`.
pub fn build(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Span {
    let body = open(out);
    write(out);
    close(out, opcode, body)
}

/// Begins a frame whose body is appended until [`close`]. Returns where the body begins, which is never 0.
pub fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; RESERVED]);
    out.len()
}

/// Ends the frame whose body begins at `body` and reaches to the end of `out`: see [`build`].
pub fn close(out: &mut Vec<u8>, opcode: Opcode, mut body: usize) -> Span {
    let reserved = body - RESERVED;
    let length = out.len() - body;
    let first = 0x80 | opcode as u8;
    let start = if length < 126 {
        out[body - 2] = first;
        out[body - 1] = length as u8;
        body - 2
    } else if let Ok(length) = u16::try_from(length) {
        let [high, low] = length.to_be_bytes();
        out[reserved..body].copy_from_slice(&[first, 126, high, low]);
        reserved
    } else {
        // Rare (a reply with thousands of tokens): make room for the eight-byte length.
        out.splice(body..body, [0; 6]);
        body += 6;
        out[reserved] = first;
        out[reserved + 1] = 127;
        out[reserved + 2..body].copy_from_slice(&(length as u64).to_be_bytes());
        reserved
    };
    Span { start: start as u32, body: body as u32, end: out.len() as u32 }
}

/// Appends what `write` appends as a body without a frame of its own.
pub fn bare(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Span {
    let start = out.len() as u32;
    write(out);
    Span { start, body: start, end: out.len() as u32 }
}

/// Appends a whole frame and nothing else.
pub fn append(out: &mut Vec<u8>, opcode: Opcode, body: &[u8]) {
    let first = 0x80 | opcode as u8;
    if body.len() < 126 {
        out.extend_from_slice(&[first, body.len() as u8]);
    } else if let Ok(length) = u16::try_from(body.len()) {
        out.extend_from_slice(&[first, 126]);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.extend_from_slice(&[first, 127]);
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_building_agree_at_every_header_size() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let body = vec![b'x'; length];
            let mut plain = Vec::new();
            append(&mut plain, Opcode::Text, &body);
            let mut out = b"before".to_vec();
            let span = build(&mut out, Opcode::Text, |out| out.extend_from_slice(&body));
            assert_eq!(out[span.frame()], plain[..], "{length}");
            assert_eq!(out[span.body()], body[..]);
        }
    }
}
