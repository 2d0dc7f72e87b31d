//! One connection as the exchange sees it: what it subscribes to, what troubles it, what it is sent.

use super::fault::{Fault, Injection, Malformed};
use super::frame::{Frame, Packet};
use super::throttle::Pace;
use crate::kite::packet::visible_length;
use crate::market::Mode;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// Frames that may wait for the socket; further ones are lost, and counted.
pub(super) const WAITING_FRAMES: usize = 256;
/// Most packets of a frame: all that a connection may subscribe to.
const FRAME_PACKETS: u16 = 3_000;
/// Heartbeats come so often.
const HEARTBEAT_NS: u64 = 1_000_000_000;

/// Until when lasting faults last, on the exchange's clock; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Troubles {
    silence_ns: u64,
    no_heartbeat_ns: u64,
    duplicate_ns: u64,
    late_ns: u64,
    trickle_ns: u64,
    bytes_per_second: u32,
}

impl Troubles {
    /// Takes a lasting fault in.
    pub(super) fn note(&mut self, injection: &Injection, now_ns: u64) {
        let until_ns = until(injection, now_ns);
        match injection.fault {
            Fault::Silence => self.silence_ns = until_ns,
            Fault::NoHeartbeat => self.no_heartbeat_ns = until_ns,
            Fault::Duplicate => self.duplicate_ns = until_ns,
            Fault::Late => self.late_ns = until_ns,
            Fault::Trickle { bytes_per_second } => {
                self.trickle_ns = until_ns;
                self.bytes_per_second = bytes_per_second;
            }
            _ => {}
        }
    }
}

/// When an injection is over.
pub(super) fn until(injection: &Injection, now_ns: u64) -> u64 {
    injection.length.map_or(u64::MAX, |length| now_ns.saturating_add(length.as_nanos() as u64))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) wanted: FxHashMap<u32, Mode>,
    pub(super) troubles: Troubles,
    outgoing: mpsc::Sender<Message>,
    pace: Arc<Pace>,
    frame: Frame,
    /// Values that those in `frame` replaced.
    replaced: Frame,
    heartbeat_ns: u64,
}

impl Line {
    pub(super) fn new(
        key: String,
        outgoing: mpsc::Sender<Message>,
        pace: Arc<Pace>,
        troubles: Troubles,
        now_ns: u64,
    ) -> Self {
        let (frame, replaced) = Default::default();
        let heartbeat_ns = now_ns + HEARTBEAT_NS;
        Self { key, wanted: FxHashMap::default(), troubles, outgoing, pace, frame, replaced, heartbeat_ns }
    }

    /// Sends, unless there is silence. Returns how many frames were lost.
    pub(super) fn send(&self, message: Message, now_ns: u64) -> u64 {
        if now_ns < self.troubles.silence_ns {
            return 0;
        }
        u64::from(self.outgoing.try_send(message).is_err())
    }

    /// The newest value of an instrument it subscribes to, in that mode, for the next frame.
    pub(super) fn show(&mut self, packet: &Packet, mode: Mode) {
        let bytes = packet.bytes();
        self.frame.push(&bytes[..visible_length(bytes.len(), mode)]);
    }

    /// What the market sent, for the next frame if this connection sees a difference. Returns the packets it gave.
    pub(super) fn tick(&mut self, token: u32, packet: &Packet, before: Option<&Packet>, now_ns: u64) -> u64 {
        let Some(&mode) = self.wanted.get(&token) else { return 0 };
        let (bytes, old) = (packet.bytes(), before.map_or(&[][..], Packet::bytes));
        let seen = &bytes[..visible_length(bytes.len(), mode)];
        if old.starts_with(seen) {
            return 0;
        }
        let twice = now_ns < self.troubles.duplicate_ns;
        for _ in 0..=u8::from(twice) {
            self.frame.push(seen);
        }
        if now_ns < self.troubles.late_ns && !old.is_empty() {
            self.replaced.push(&old[..visible_length(old.len(), mode)]);
        }
        1 + u64::from(twice)
    }

    /// Sends what was gathered once it is enough. Returns how many frames were lost.
    pub(super) fn flush_full(&mut self, now_ns: u64) -> u64 {
        if self.frame.count() < FRAME_PACKETS { 0 } else { self.flush(now_ns) }
    }

    /// Sends what was gathered. Returns how many frames were lost.
    pub(super) fn flush(&mut self, now_ns: u64) -> u64 {
        let frames = [self.frame.take(), self.replaced.take()];
        frames.into_iter().flatten().map(|frame| self.send(frame, now_ns)).sum()
    }

    /// Sends a heartbeat when it is time, and lets the socket go on when a trickle is over. Returns frames lost.
    pub(super) fn beat(&mut self, now_ns: u64) -> u64 {
        let slow = now_ns < self.troubles.trickle_ns;
        self.pace.set(if slow { self.troubles.bytes_per_second } else { 0 });
        if now_ns < self.heartbeat_ns {
            return 0;
        }
        self.heartbeat_ns = now_ns + HEARTBEAT_NS;
        if now_ns < self.troubles.no_heartbeat_ns {
            return 0;
        }
        self.send(Message::binary(vec![0]), now_ns)
    }

    /// When [`Line::beat`] has something to do.
    pub(super) fn due_ns(&self, now_ns: u64) -> u64 {
        if self.troubles.trickle_ns > now_ns {
            self.heartbeat_ns.min(self.troubles.trickle_ns)
        } else {
            self.heartbeat_ns
        }
    }

    /// Sends a spoilt message made of `packet` in the mode in which it is subscribed to. Returns frames lost.
    pub(super) fn spoil(&self, how: Malformed, packet: Option<(&Packet, Mode)>, now_ns: u64) -> u64 {
        let mut frame = Frame::default();
        if let Some((packet, mode)) = packet {
            let bytes = packet.bytes();
            frame.push(&bytes[..visible_length(bytes.len(), mode)]);
        }
        self.send(frame.spoilt(how), now_ns)
    }
}
