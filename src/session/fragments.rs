//! Follows the frames in what a client sends, for the two abuses that the WebSocket library has no limit for: messages in
//! very many fragments, and messages that never end. Both cost memory and time that belong to others.

use std::fmt;

/// Most fragments of one message: honest clients send requests whole.
const MAX_FRAGMENTS: u32 = 16;
/// Two bytes, eight of a long length, four of a mask.
const LONGEST_HEAD: usize = 14;

/// What a client did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abuse {
    /// More fragments than a message may have.
    Fragments,
    /// A message was begun and not ended in time.
    Unfinished,
}

impl Abuse {
    /// What the client is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fragments => "too many fragments",
            Self::Unfinished => "unfinished message",
        }
    }
}

impl fmt::Display for Abuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Abuse {}

/// See the module. What breaks the protocol is left to the library, which sees the same bytes.
#[derive(Debug, Default)]
pub struct Fragments {
    head: [u8; LONGEST_HEAD],
    /// Bytes of `head` that have come.
    have: usize,
    /// Bytes of the frame's body that have not.
    body: u64,
    /// Fragments of a message whose last one has not begun.
    open: u32,
}

impl Fragments {
    /// Takes in what was read. Returns whether something ended in it: a message, or a frame between two.
    ///
    /// # Errors
    /// [`Abuse::Fragments`].
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Abuse> {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.body > 0 {
                let skip = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skip..];
                self.body -= skip as u64;
            } else {
                self.head[self.have] = bytes[0];
                bytes = &bytes[1..];
                self.have += 1;
                if self.have < self.head_length() {
                    continue;
                }
                self.body = self.body_length();
                self.have = 0;
                self.count()?;
            }
            ended |= !self.is_unfinished();
        }
        Ok(ended)
    }

    /// Whether a message, or a frame, has begun and not ended.
    pub const fn is_unfinished(&self) -> bool {
        self.have > 0 || self.body > 0 || self.open > 0
    }

    const fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn body_length(&self) -> u64 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match self.head[1] & 0x7F {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            short => u64::from(short),
        }
    }

    fn count(&mut self) -> Result<(), Abuse> {
        let (last, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0F);
        // Control frames come between fragments and are none.
        if opcode >= 8 {
            return Ok(());
        }
        self.open = if last { 0 } else { self.open + 1 };
        if self.open > MAX_FRAGMENTS { Err(Abuse::Fragments) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, body: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match body {
            0..126 => frame.push(0x80 | body as u8),
            126..65_536 => frame.extend([0xFE, (body >> 8) as u8, body as u8]),
            _ => {
                frame.push(0xFF);
                frame.extend((body as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        // A body that looks like the head of a first fragment.
        frame.resize(frame.len() + body, 0x01);
        frame
    }

    #[test]
    fn whole_messages_leave_nothing_however_they_are_cut() {
        let bytes: Vec<u8> =
            [0, 1, 125, 126, 300, 65_535, 65_536, 70_000].into_iter().flat_map(|n| frame(0x81, n)).collect();
        for step in [1, 2, 3, 7, 64, bytes.len()] {
            let mut fragments = Fragments::default();
            let ended = bytes.chunks(step).filter(|chunk| fragments.take(chunk).unwrap()).count();
            assert!(!fragments.is_unfinished());
            assert!(if step == bytes.len() { ended == 1 } else { ended > 1 }, "{step}: {ended}");
        }
    }

    #[test]
    fn a_frame_is_unfinished_from_its_first_byte_to_its_last() {
        let bytes = frame(0x82, 300);
        let mut fragments = Fragments::default();
        for byte in &bytes[..bytes.len() - 1] {
            assert_eq!(fragments.take(&[*byte]), Ok(false));
            assert!(fragments.is_unfinished());
        }
        assert_eq!(fragments.take(&[0]), Ok(true));
    }

    #[test]
    fn fragments_count_and_control_frames_between_them_do_not() {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.take(&frame(0x01, 1)), Ok(false));
        for _ in 1..MAX_FRAGMENTS {
            assert_eq!(fragments.take(&frame(0x89, 5)), Ok(false));
            assert_eq!(fragments.take(&frame(0x00, 1)), Ok(false));
        }
        let mut other = Fragments { open: fragments.open, ..Fragments::default() };
        assert_eq!(fragments.take(&frame(0x80, 1)), Ok(true));
        assert_eq!(other.take(&frame(0x00, 0)), Err(Abuse::Fragments));
    }

    #[test]
    fn the_longest_length_is_only_a_length() {
        let mut fragments = Fragments::default();
        let head = [[0x82, 0xFF].as_slice(), &u64::MAX.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(fragments.take(&head), Ok(false));
        assert_eq!(fragments.take(&[0; 1_000]), Ok(false));
        assert!(fragments.is_unfinished());
    }
}
