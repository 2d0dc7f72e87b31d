//! WebSocket frames, read in place and written into a buffer. Both roles: tabs mask what they send, the upstream does not.
//!
//! Fragmented messages are refused: neither a gateway of ticks nor a ticker client has a reason to send them.

/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// The end of the conversation.
pub const CLOSE: u8 = 8;
/// Asks for a [`PONG`] with the same payload.
pub const PING: u8 = 9;
/// The answer to a [`PING`].
pub const PONG: u8 = 10;

/// Longest payload accepted, bytes: far above any reply, so that a broken length is noticed.
const MAX_PAYLOAD: u64 = 64 << 20;

/// Why bytes are not a frame this reader takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// FIN was not set, or a continuation came.
    #[error("fragmented message")]
    Fragmented,
    /// Reserved bits are set though no extension was negotiated.
    #[error("reserved bits {0:#x} are set")]
    Reserved(u8),
    /// Longer than any honest message.
    #[error("payload of {0} bytes")]
    TooLong(u64),
}

/// One frame; its payload is unmasked.
#[derive(PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// One of the constants of this module.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'a [u8],
}

/// The first frame of `bytes` and how many bytes it took; `None` when it is not complete yet.
///
/// # Errors
/// See [`FrameError`].
pub fn first(bytes: &mut [u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let &[first, second, ..] = &*bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved(first & 0x70));
    }
    let opcode = first & 0x0f;
    if first & 0x80 == 0 || opcode == 0 {
        return Err(FrameError::Fragmented);
    }
    let (length, mut at) = match second & 0x7f {
        126 => {
            let Some(length) = bytes.get(2..4).and_then(|length| length.try_into().ok()) else { return Ok(None) };
            (u64::from(u16::from_be_bytes(length)), 4)
        }
        127 => {
            let Some(length) = bytes.get(2..10).and_then(|length| length.try_into().ok()) else { return Ok(None) };
            (u64::from_be_bytes(length), 10)
        }
        short => (u64::from(short), 2),
    };
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    let mut mask = None;
    if second & 0x80 != 0 {
        let Some(key) = bytes.get(at..at + 4).and_then(|key| <[u8; 4]>::try_from(key).ok()) else { return Ok(None) };
        mask = Some(key);
        at += 4;
    }
    let end = at + length as usize;
    let Some(payload) = bytes.get_mut(at..end) else { return Ok(None) };
    if let Some(key) = mask {
        apply_mask(payload, key);
    }
    Ok(Some((Frame { opcode, payload }, end)))
}

/// Appends a frame to `out`; masked, as clients must, when there is a `mask`.
pub fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(mask_bit | length as u8),
        length @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |key| key));
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[at..], key);
    }
}

fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back_in_every_length_class() {
        for length in [0, 1, 125, 126, 0xffff, 0x10000] {
            for mask in [None, Some([1, 2, 3, 250])] {
                let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let mut bytes = Vec::new();
                put(&mut bytes, BINARY, &payload, mask);
                let total = bytes.len();
                let (frame, used) = first(&mut bytes).unwrap().unwrap();
                assert_eq!((frame.opcode, frame.payload, used), (BINARY, &payload[..], total));
            }
        }
    }

    #[test]
    fn several_frames_of_one_read_and_a_partial_one() {
        let mut bytes = Vec::new();
        put(&mut bytes, TEXT, b"one", None);
        put(&mut bytes, PING, b"two", None);
        put(&mut bytes, TEXT, &[b'x'; 300], None);
        let whole = bytes.len();
        let mut seen = Vec::new();
        let mut at = 0;
        while let Some((frame, used)) = first(&mut bytes[at..whole - 1]).unwrap() {
            seen.push((frame.opcode, frame.payload.len()));
            at += used;
        }
        assert_eq!(seen, [(TEXT, 3), (PING, 3)]);
        assert_eq!(first(&mut bytes[at..]).unwrap().unwrap().0.payload.len(), 300);
    }

    #[test]
    fn every_cut_of_a_frame_waits_for_more() {
        let mut bytes = Vec::new();
        put(&mut bytes, BINARY, &[7; 200], Some([9; 4]));
        for cut in 0..bytes.len() {
            assert_eq!(first(&mut bytes.clone()[..cut]), Ok(None));
        }
    }

    #[test]
    fn what_no_honest_server_sends_is_refused() {
        assert_eq!(first(&mut [0x01, 0]), Err(FrameError::Fragmented));
        assert_eq!(first(&mut [0x80, 0]), Err(FrameError::Fragmented));
        assert_eq!(first(&mut [0xc1, 0]), Err(FrameError::Reserved(0x40)));
        assert!(first(&mut [0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
