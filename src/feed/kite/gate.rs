//! What of a message goes on: packets of instruments that have their place on its socket, and that are not older than
//! what is known.
//!
//! After an unclean end Kite may go on with instruments that were given up minutes before, and after a reconnect it begins
//! with the last packet that the server at hand has seen. Neither may reach a subscriber.

use rustc_hash::FxHashMap;

use super::mark::Mark;
use super::packing::Owner;
use crate::kite::packet;
use crate::market::InstrumentToken;

/// See the module. **Thread**: the feed's.
#[derive(Default)]
pub(super) struct Gate {
    /// A message of which a part was left out.
    rest: Vec<u8>,
    /// Instruments whose first packet has come since they were lost, and since when they were.
    pub(super) regained: Vec<(InstrumentToken, u64)>,
}

/// What a gate did with a message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Passed {
    /// Packets in the message.
    pub(super) packets: usize,
    /// Of these, left out because nobody wants the instrument, or not from this socket.
    pub(super) unwanted: u64,
    /// Left out because they may be older than what is known.
    pub(super) outdated: u64,
}

impl Gate {
    /// The message to pass on, whole or in part, and what was left out. What cannot be read is passed on as it is:
    /// counting it is the decoder's.
    pub(super) fn pass<'a>(
        &'a mut self,
        message: &'a [u8],
        line: usize,
        owners: &mut FxHashMap<InstrumentToken, Owner>,
        now_ns: u64,
    ) -> (Option<&'a [u8]>, Passed) {
        let mut passed = Passed::default();
        let Ok(packets) = packet::packets(message) else { return (Some(message), passed) };
        // Where the part begins that is not yet copied; nothing is copied before something is left out.
        let (mut at, mut kept_from) = (2, 2);
        self.rest.clear();
        for packet in packets {
            passed.packets += 1;
            let end = at + 2 + packet.len();
            let good = match judge(packet, line, owners, now_ns, &mut self.regained) {
                Verdict::Good => true,
                Verdict::Unwanted => {
                    passed.unwanted += 1;
                    false
                }
                Verdict::Outdated => {
                    passed.outdated += 1;
                    false
                }
            };
            if !good {
                if self.rest.is_empty() {
                    self.rest.extend_from_slice(&[0, 0]);
                }
                self.rest.extend_from_slice(&message[kept_from..at]);
                kept_from = end;
            }
            at = end;
        }
        let left_out = passed.unwanted + passed.outdated;
        if left_out == 0 {
            return (Some(message), passed);
        }
        let kept = passed.packets as u64 - left_out;
        if kept == 0 {
            return (None, passed);
        }
        self.rest.extend_from_slice(&message[kept_from..at]);
        self.rest[..2].copy_from_slice(&(kept as u16).to_be_bytes());
        (Some(&self.rest), passed)
    }
}

enum Verdict {
    Good,
    Unwanted,
    Outdated,
}

#[inline]
fn judge(
    packet: &[u8],
    line: usize,
    owners: &mut FxHashMap<InstrumentToken, Owner>,
    now_ns: u64,
    regained: &mut Vec<(InstrumentToken, u64)>,
) -> Verdict {
    if packet::shape(packet.len()).is_none() {
        // The decoder counts it. It says nothing of any instrument.
        return Verdict::Good;
    }
    let Some(token) = packet.first_chunk().map(|token| InstrumentToken(u32::from_be_bytes(*token))) else {
        return Verdict::Unwanted;
    };
    let Some(owner) = owners.get_mut(&token).filter(|owner| owner.line == line) else { return Verdict::Unwanted };
    let mark = Mark::of(packet);
    if owner.guard_ns != 0 {
        if now_ns < owner.guard_ns && mark.may_be_older(owner.mark, owner.mode) {
            return Verdict::Outdated;
        }
        owner.guard_ns = 0;
    }
    owner.mark.advance(mark);
    if owner.lost_ns != 0 {
        regained.push((token, owner.lost_ns));
        owner.lost_ns = 0;
    }
    Verdict::Good
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kite::packet::MessageBuilder;
    use crate::market::{Layout, Mode, Tick};

    const A: u32 = 257;
    const B: u32 = 513;

    fn owner(line: usize) -> Owner {
        Owner { line, mode: Mode::Full, mark: Mark::default(), guard_ns: 0, lost_ns: 0 }
    }

    fn message(ticks: &[(u32, u32)]) -> Vec<u8> {
        let mut builder = MessageBuilder::default();
        for (token, exchange_s) in ticks {
            let mut tick = Tick::ltp(InstrumentToken(*token), 100);
            (tick.mode, tick.layout, tick.exchange_timestamp) = (Mode::Full, Layout::Tradable, *exchange_s);
            assert!(builder.push(&tick));
        }
        builder.take().to_vec()
    }

    #[test]
    fn packets_of_others_and_of_the_past_are_left_out() {
        let mut gate = Gate::default();
        let mut owners: FxHashMap<_, _> =
            [(InstrumentToken(A), owner(0)), (InstrumentToken(B), owner(1))].into_iter().collect();
        let whole = message(&[(A, 5), (A, 6)]);
        assert_eq!(gate.pass(&whole, 0, &mut owners, 0), (Some(&*whole), Passed { packets: 2, ..Passed::default() }));
        let mixed = message(&[(B, 5), (A, 7), (769, 5), (A, 8), (B, 6)]);
        let passed = Passed { packets: 5, unwanted: 3, outdated: 0 };
        assert_eq!(gate.pass(&mixed, 0, &mut owners, 0), (Some(&*message(&[(A, 7), (A, 8)])), passed));
        owners.get_mut(&InstrumentToken(A)).unwrap().guard_ns = 10;
        let passed = Passed { packets: 1, unwanted: 0, outdated: 1 };
        assert_eq!(gate.pass(&message(&[(A, 7)]), 0, &mut owners, 1), (None, passed));
        let news = message(&[(A, 8)]);
        assert_eq!(gate.pass(&news, 0, &mut owners, 1).0, Some(&*news));
        let back = message(&[(A, 3)]);
        assert_eq!(gate.pass(&back, 0, &mut owners, 1).0, Some(&*back), "the exchange itself may correct its clock");
    }

    #[test]
    fn what_cannot_be_read_goes_on() {
        let mut gate = Gate::default();
        for bytes in [&[][..], &[0], &[0, 9, 1]] {
            assert_eq!(gate.pass(bytes, 0, &mut FxHashMap::default(), 0), (Some(bytes), Passed::default()));
        }
    }

    #[test]
    fn a_packet_of_unknown_length_goes_on_and_is_no_sign_of_service() {
        let mut gate = Gate::default();
        let lost = Owner { lost_ns: 9, ..owner(0) };
        let mut owners: FxHashMap<_, _> = [(InstrumentToken(A), lost)].into_iter().collect();
        let mut message = vec![0, 1, 0, 12];
        message.extend_from_slice(&A.to_be_bytes());
        message.extend_from_slice(&[0; 8]);
        let passed = Passed { packets: 1, ..Passed::default() };
        assert_eq!(gate.pass(&message, 0, &mut owners, 20), (Some(&*message), passed));
        assert!(gate.regained.is_empty() && owners[&InstrumentToken(A)].lost_ns == 9);
    }

    #[test]
    fn the_first_packet_after_a_loss_is_noted() {
        let mut gate = Gate::default();
        let lost = Owner { lost_ns: 9, ..owner(0) };
        let mut owners: FxHashMap<_, _> = [(InstrumentToken(A), lost)].into_iter().collect();
        gate.pass(&message(&[(A, 1), (A, 2)]), 0, &mut owners, 20);
        assert_eq!(gate.regained, [(InstrumentToken(A), 9)]);
    }
}
