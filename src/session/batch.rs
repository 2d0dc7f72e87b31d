//! Messages of one tab that wait to leave together.

use super::turn::{Stamp, Turn};
use crate::wire::{Format, push};

/// See the module. **Thread**: the writer's.
#[derive(Debug)]
pub struct Batch {
    format: Format,
    /// How many messages make a batch.
    size: u32,
    /// The bodies, in JSON with a comma between.
    bodies: Vec<u8>,
    count: u32,
    /// When it must leave even if it is not full, monotonic.
    due_ns: u64,
    /// How old each message is whose age counts.
    stamps: Vec<Stamp>,
}

impl Batch {
    /// Batches of `size` messages, at least one.
    pub const fn new(format: Format, size: u32) -> Self {
        Self { format, size, bodies: Vec::new(), count: 0, due_ns: 0, stamps: Vec::new() }
    }

    /// Adds a message; sends the batch when it is full.
    pub fn push(&mut self, body: &[u8], stamp: Option<Stamp>, turn: &mut Turn<'_>) {
        if self.count == 0 {
            self.due_ns = turn.now_ns + turn.batch_delay_ns;
        } else if self.format == Format::Json {
            self.bodies.push(b',');
        }
        self.bodies.extend_from_slice(body);
        self.stamps.extend(stamp);
        self.count += 1;
        if self.count >= self.size {
            self.flush(turn);
        }
    }

    /// Sends what waits.
    pub fn flush(&mut self, turn: &mut Turn<'_>) {
        if self.count > 0 {
            turn.append_frame(|out| push::batch_frame(out, self.format, self.count as usize, &self.bodies));
            turn.stamps.append(&mut self.stamps);
            self.bodies.clear();
            self.count = 0;
        }
    }

    /// When it must leave; `None` when nothing waits.
    pub fn due_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.due_ns)
    }
}
