//! How the tick messages of a tab become frames.

use super::batch::Batch;
use super::packets::Packets;
use super::tab::Delivery;
use super::turn::{Stamp, Turn};
use crate::wire::Format;
use crate::wire::frame::Span;

/// See the module. **Thread**: the writer's.
#[derive(Debug)]
pub enum Envelope {
    /// Each is a frame.
    Single,
    /// So many of them share a frame, also across turns.
    Batch(Box<Batch>),
    /// Those of a turn share a frame: Kite's way.
    Packets(Packets),
}

impl Envelope {
    /// What `delivery` asks for.
    pub fn new(delivery: Delivery) -> Self {
        match (delivery.format, delivery.batch_size) {
            (Format::Kite, _) => Self::Packets(Packets::default()),
            (_, 0) => Self::Single,
            (format, size) => Self::Batch(Box::new(Batch::new(format, size))),
        }
    }

    /// Puts in a message that is written already, as a frame and as the body in it.
    #[inline]
    pub fn put(&mut self, (frame, body): (&[u8], &[u8]), stamp: Stamp, turn: &mut Turn<'_>) {
        match self {
            Self::Single => turn.out.extend_from_slice(frame),
            Self::Batch(batch) => return batch.push(body, Some(stamp), turn),
            Self::Packets(packets) => packets.push(turn, |out| out.extend_from_slice(body)),
        }
        turn.stamps.push(stamp);
    }

    /// Puts in a message that is to be written. It has no stamp: its value may be old.
    pub fn put_new(&mut self, turn: &mut Turn<'_>, write: impl FnOnce(&mut Vec<u8>) -> Span) {
        match self {
            Self::Single => turn.append_frame(write),
            Self::Batch(batch) => {
                let mut frame = Vec::new();
                let span = write(&mut frame);
                batch.push(&frame[span.body()], None, turn);
            }
            Self::Packets(packets) => packets.push(turn, write),
        }
    }

    /// Puts in a message that is no tick.
    pub fn put_other(&mut self, (frame, body): (&[u8], &[u8]), turn: &mut Turn<'_>) {
        if let Self::Batch(batch) = self {
            return batch.push(body, None, turn);
        }
        self.flush(turn);
        turn.out.extend_from_slice(frame);
    }

    /// Sends what is in it.
    pub fn flush(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::Single => {}
            Self::Batch(batch) => batch.flush(turn),
            Self::Packets(packets) => packets.close(turn),
        }
    }

    /// Ends a turn: sends what must not wait longer. Returns when the rest must leave, monotonic.
    pub fn end_turn(&mut self, turn: &mut Turn<'_>) -> Option<u64> {
        match self {
            Self::Batch(batch) if batch.due_ns()? > turn.now_ns => batch.due_ns(),
            _ => {
                self.flush(turn);
                None
            }
        }
    }
}
