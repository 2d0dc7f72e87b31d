//! Frames made of packets that exist already.

use super::fault::Malformed;
use tokio_tungstenite::tungstenite::Message;

/// A packet as the market sent it, in full mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    length: u8,
    bytes: [u8; crate::kite::packet::MAX_PACKET],
}

impl Packet {
    /// `None` for what is longer than any packet.
    pub(super) fn new(packet: &[u8]) -> Option<Self> {
        let mut bytes = [0; crate::kite::packet::MAX_PACKET];
        bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(Self { length: packet.len() as u8, bytes })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A frame being filled; the count is kept right.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    count: u16,
}

impl Frame {
    pub(super) fn push(&mut self, packet: &[u8]) {
        if self.count == 0 {
            self.bytes.extend_from_slice(&[0, 0]);
        }
        self.count += 1;
        self.bytes.extend_from_slice(&(packet.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(packet);
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// The message, if there is anything in it; empty again afterwards.
    pub(super) fn take(&mut self) -> Option<Message> {
        if self.count == 0 {
            return None;
        }
        Some(Message::binary(self.take_bytes()))
    }

    fn take_bytes(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let Some(head) = bytes.first_chunk_mut::<2>() {
            *head = std::mem::take(&mut self.count).to_be_bytes();
        }
        bytes
    }

    /// The message, spoilt.
    pub(super) fn spoilt(mut self, how: Malformed) -> Message {
        match how {
            Malformed::Empty => return Message::binary(Vec::new()),
            Malformed::NotJson => return Message::text("{\"type\":\"order\",\"data\":"),
            Malformed::WrongCount => self.count += 5,
            Malformed::OddLength => self.push(&[0x01; 12]),
            Malformed::CutPacket => {}
        }
        let mut bytes = self.take_bytes();
        if how == Malformed::CutPacket {
            bytes.truncate(bytes.len().saturating_sub(3));
        }
        if bytes.is_empty() {
            // Nothing is subscribed: a message that announces what it does not have.
            bytes.extend_from_slice(&[0, 5, 0]);
        }
        Message::binary(bytes)
    }
}
