//! Kite's message of several packets, put together in place.
//!
//! Python's client pays per frame, so what waits for a connection leaves in one. The frame is open from the first packet
//! of a turn to the turn's end; its header and count are written when it is closed.

use super::turn::Turn;
use crate::wire::frame::{self, Opcode};

/// See the module. **Thread**: the writer's.
#[derive(Debug, Default)]
pub struct Packets {
    /// Where in the turn's buffer the open frame's body begins; 0 for none.
    body: usize,
    /// How many packets are in it.
    count: u16,
}

/// Bytes from which on a frame is full: below 64 KiB with any packet behind them, so that its header fits the room kept
/// for it, and far below what the clients can take.
const FULL: usize = 32 * 1_024;

impl Packets {
    /// Adds a packet behind its length, which `write` appends.
    pub fn push<T>(&mut self, turn: &mut Turn<'_>, write: impl FnOnce(&mut Vec<u8>) -> T) {
        if self.body != 0 && turn.out.len() - self.body >= FULL {
            self.close(turn);
        }
        if self.body == 0 {
            self.body = frame::open(turn.out);
            turn.out.extend_from_slice(&[0; 2]);
        }
        write(turn.out);
        self.count += 1;
    }

    /// Closes the frame, if one is open.
    pub fn close(&mut self, turn: &mut Turn<'_>) {
        let Self { body, count } = std::mem::take(self);
        if body != 0 {
            turn.out[body..body + 2].copy_from_slice(&count.to_be_bytes());
            turn.end_frame(body, Opcode::Binary);
        }
    }
}
