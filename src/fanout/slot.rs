//! Stops 3 and 4 of a tick: the place of one instrument. It holds the newest tick and the published list of subscribers.

use super::latest::Latest;
use super::mail::Mailbox;
use super::pong::Pong;
use super::port::Port;
use super::ring::Ring;
use super::update::Update;
use crate::kite::packet::{self, MAX_PACKET};
use crate::market::{InstrumentToken, Mode, Tick};
use crate::wire::encoding::{Encoding, EncodingSet};
use arc_swap::ArcSwap;
use smallvec::SmallVec;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Words of a packet.
const PACKET_WORDS: usize = MAX_PACKET / 8;
/// Words before the packet: time of arrival, the packet's length, the numbers in mode ltp and quote. The number in mode
/// full is the count of [`Latest`] itself.
const HEAD: usize = 4;
const WORDS: usize = HEAD + PACKET_WORDS;

/// How many values of a slot each mode has shown so far: the number of the newest one. A gap between two numbers is
/// exactly what a subscriber in that mode missed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Numbers([u64; Mode::ALL.len()]);

impl Numbers {
    /// Those of what a [`Latest`] holds, which was stored `full` times.
    const fn kept(full: u64, words: &[u64; WORDS]) -> Self {
        Self([words[2], words[3], full])
    }

    /// The number in one mode; 0 before the first value.
    #[inline]
    pub const fn of(self, mode: Mode) -> u64 {
        self.0[mode as usize]
    }
}

/// How many sessions' memory is read before the first of them has its turn. What was sent before has driven it out of the
/// caches. Plain reads are fetched side by side; in its turn each line would be waited for, since every atomic change waits
/// for the one before.
pub const TOGETHER: usize = 16;

/// What a subscriber is to the data plane: where its updates go.
#[derive(Debug)]
pub struct Inbox {
    /// Its queue of ticks.
    pub ring: Ring<Arc<Update>>,
    /// What must not be conflated away, and news of candles and indicators.
    pub mail: Mailbox,
    /// How far its client has read.
    pub pong: Pong,
    /// Its number at its writer.
    pub key: u32,
    /// Its writer's door.
    pub port: Arc<Port>,
}

impl Inbox {
    /// An empty inbox of the session with that key at the writer behind `port`.
    pub fn new(ring: Ring<Arc<Update>>, key: u32, port: Arc<Port>) -> Self {
        Self { ring, mail: Mailbox::default(), pong: Pong::default(), key, port }
    }

    /// Reads what an offer or a turn of its writer will need. Any thread; see [`TOGETHER`].
    #[inline]
    pub fn touch(&self) {
        black_box((self.mail.depth(), self.ring.depth()));
    }

    /// Puts the session into its writer's list, if it does not stand there. Afterwards, when a whole batch is posted,
    /// the writer must be woken if it sleeps. Any thread.
    #[inline]
    pub fn announce(&self) {
        if self.ring.announce() {
            self.port.push(self.key);
        }
    }
}

/// One entry of a slot's list.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Where its updates go.
    pub inbox: Arc<Inbox>,
    /// How it wants them.
    pub encoding: Encoding,
}

/// A slot's list as it is published: replaced whole, never changed.
#[derive(Debug, Default)]
pub struct Subscribers {
    /// In order of arrival. Most instruments have few subscribers, which then need no memory of their own.
    pub list: SmallVec<[Subscriber; 2]>,
    /// The union of what they want.
    pub encodings: EncodingSet,
}

impl Subscribers {
    /// The list without `inbox`, and with `added` behind it.
    pub fn changed(&self, inbox: &Arc<Inbox>, added: Option<Encoding>) -> Self {
        let others = self.list.iter().filter(|subscriber| !Arc::ptr_eq(&subscriber.inbox, inbox)).cloned();
        let new = added.map(|encoding| Subscriber { inbox: Arc::clone(inbox), encoding });
        let list: SmallVec<[Subscriber; 2]> = others.chain(new).collect();
        let mut encodings = EncodingSet::default();
        list.iter().for_each(|subscriber| encodings.insert(subscriber.encoding));
        Self { list, encodings }
    }

    /// What `inbox` wants, if it is in the list.
    pub fn encoding_of(&self, inbox: &Arc<Inbox>) -> Option<Encoding> {
        self.list.iter().find(|subscriber| Arc::ptr_eq(&subscriber.inbox, inbox)).map(|found| found.encoding)
    }
}

/// A packet as words, so that it can be kept in a [`Latest`] and compared in few steps.
#[derive(Clone, Copy, Debug)]
pub struct PacketWords([u64; WORDS]);

impl PacketWords {
    /// Takes over a packet (at most [`MAX_PACKET`] bytes) that arrived at `received_ns`.
    #[inline]
    pub fn new(packet: &[u8], received_ns: u64) -> Self {
        let mut bytes = [0; MAX_PACKET];
        let length = packet.len().min(MAX_PACKET);
        bytes[..length].copy_from_slice(&packet[..length]);
        let mut words = [0; WORDS];
        words[0] = received_ns;
        words[1] = length as u64;
        for (word, bytes) in words[HEAD..].iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Self(words)
    }

    /// When it arrived, monotonic.
    pub const fn received_ns(&self) -> u64 {
        self.0[0]
    }

    fn packet(&self) -> Packet {
        let mut bytes = [0; MAX_PACKET];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0[HEAD..]) {
            *bytes = word.to_be_bytes();
        }
        Packet { bytes, length: (self.0[1] as usize).min(MAX_PACKET) }
    }
}

/// A packet's bytes, as they came.
#[derive(Clone, Debug)]
pub struct Packet {
    bytes: [u8; MAX_PACKET],
    length: usize,
}

impl Packet {
    /// Takes over a packet, at most [`MAX_PACKET`] bytes.
    pub fn new(packet: &[u8]) -> Self {
        let (mut bytes, length) = ([0; MAX_PACKET], packet.len().min(MAX_PACKET));
        bytes[..length].copy_from_slice(&packet[..length]);
        Self { bytes, length }
    }
}

impl std::ops::Deref for Packet {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The newest value of a slot, as a reader gets it.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its numbers.
    pub numbers: Numbers,
    /// When it arrived, monotonic.
    pub received_ns: u64,
    /// The tick.
    pub tick: Tick,
    /// What it was decoded from.
    pub packet: Packet,
}

/// See the module.
#[derive(Debug)]
pub struct Slot {
    /// Its number on the board.
    pub id: u32,
    /// Its instrument.
    pub token: InstrumentToken,
    /// Written by the feed's thread alone.
    latest: Latest<WORDS>,
    /// Replaced by the board under its lock; loaded once per tick.
    subscribers: ArcSwap<Subscribers>,
    /// The upstream subscription has ended, so the value grows old: not to be shown to a new subscriber. Set by the
    /// control side, cleared by the feed's thread with the next tick.
    cold: AtomicBool,
}

impl Slot {
    /// An empty slot.
    pub fn new(id: u32, token: InstrumentToken) -> Self {
        Self { id, token, latest: Latest::default(), subscribers: ArcSwap::default(), cold: AtomicBool::new(false) }
    }

    /// Stores a packet as the newest value. Returns its numbers and the lowest mode that is shown it: the lowest in which
    /// anything changed, but never above the packet's own mode, since a packet that is passed on whole is always sent.
    /// **Thread**: the feed's.
    #[inline]
    pub fn store(&self, packet: &mut PacketWords, packet_mode: Mode) -> (Numbers, Mode) {
        let shown_from = self.visible_change(packet).min(packet_mode);
        let quote = self.latest.own_word(3) + u64::from(shown_from <= Mode::Quote);
        let ltp = self.latest.own_word(2) + u64::from(shown_from == Mode::Ltp);
        (packet.0[2], packet.0[3]) = (ltp, quote);
        let full = self.latest.store(&packet.0);
        // Relaxed: a subscriber who sees it late waits for the next tick, as if it had come just before this one.
        if self.cold.load(Ordering::Relaxed) {
            self.cold.store(false, Ordering::Relaxed);
        }
        (Numbers([ltp, quote, full]), shown_from)
    }

    /// The lowest mode that shows a difference to the value before; `Ltp` when there is none to compare with.
    fn visible_change(&self, packet: &PacketWords) -> Mode {
        let length = packet.0[1] as usize;
        if self.latest.own_word(1) != packet.0[1] {
            return Mode::Ltp;
        }
        let differs = |range: std::ops::Range<usize>| range.clone().any(|at| self.latest.own_word(at) != packet.0[at]);
        // Token and price are the first eight bytes, one word.
        if differs(HEAD..HEAD + 1) {
            return Mode::Ltp;
        }
        let seen = packet::visible_length(length, Mode::Quote);
        let whole_words = HEAD + seen / 8;
        // Quote ends in the middle of a word: its upper half belongs to it (big endian).
        let half = !seen.is_multiple_of(8) && (self.latest.own_word(whole_words) ^ packet.0[whole_words]) >> 32 != 0;
        if differs(HEAD + 1..whole_words) || half { Mode::Quote } else { Mode::Full }
    }

    /// The newest value, unless there is none yet or it has grown cold. Any thread.
    pub fn value(&self) -> Option<Value> {
        if self.cold.load(Ordering::Relaxed) {
            return None;
        }
        let (full, words) = self.latest.load()?;
        let packet = PacketWords(words).packet();
        let tick = packet::decode(&packet).ok()?;
        Some(Value { numbers: Numbers::kept(full, &words), received_ns: words[0], tick, packet })
    }

    /// The numbers of the newest value, whether it has grown cold or not. Any thread.
    pub fn numbers(&self) -> Numbers {
        self.latest.load().map_or_else(Numbers::default, |(full, words)| Numbers::kept(full, &words))
    }

    /// The list. One load per unit of work; the guard must not be kept.
    #[inline]
    pub fn subscribers(&self) -> arc_swap::Guard<Arc<Subscribers>> {
        self.subscribers.load()
    }

    /// Publishes another list and returns the old one, to be freed where that disturbs nobody. **Thread**: the board,
    /// under its lock.
    pub(super) fn publish(&self, subscribers: Subscribers) -> Arc<Subscribers> {
        self.subscribers.swap(Arc::new(subscribers))
    }

    /// Marks the value as no longer kept up to date. Control side.
    pub fn cool(&self) {
        self.cold.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Layout;

    fn packet(change: impl FnOnce(&mut Tick)) -> Vec<u8> {
        let mut tick = Tick::ltp(InstrumentToken(408_065), 100);
        tick.mode = Mode::Full;
        change(&mut tick);
        let mut bytes = Vec::new();
        packet::encode(&tick, &mut bytes);
        bytes
    }

    #[test]
    fn a_slot_tells_in_which_mode_a_change_is_seen() {
        let slot = Slot::new(0, InstrumentToken(408_065));
        let store = |bytes: &[u8]| {
            let (numbers, shown_from) = slot.store(&mut PacketWords::new(bytes, 1), Mode::Full);
            (numbers.0, shown_from)
        };
        assert_eq!(store(&packet(|_| {})), ([1, 1, 1], Mode::Ltp));
        assert_eq!(store(&packet(|tick| tick.oi = 1)), ([1, 1, 2], Mode::Full));
        assert_eq!(store(&packet(|tick| tick.ohlc.close = 1)), ([1, 2, 3], Mode::Quote));
        assert_eq!(store(&packet(|tick| (tick.ohlc.close, tick.last_trade_time) = (1, 9))), ([1, 2, 4], Mode::Full));
        assert_eq!(store(&packet(|tick| tick.volume_traded = 1)), ([1, 3, 5], Mode::Quote));
        assert_eq!(store(&packet(|tick| tick.last_price = 101)), ([2, 4, 6], Mode::Ltp));
        assert_eq!(store(&packet(|tick| tick.layout = Layout::Index)), ([3, 5, 7], Mode::Ltp));
        let timed = packet(|tick| (tick.layout, tick.exchange_timestamp) = (Layout::Index, 5));
        assert_eq!(store(&timed), ([3, 5, 8], Mode::Full));
    }

    #[test]
    fn a_packet_that_is_passed_on_whole_is_always_shown() {
        let slot = Slot::new(0, InstrumentToken(408_065));
        let bytes = packet(|tick| tick.mode = Mode::Quote);
        slot.store(&mut PacketWords::new(&bytes, 1), Mode::Quote);
        let (numbers, shown_from) = slot.store(&mut PacketWords::new(&bytes, 2), Mode::Quote);
        assert_eq!((numbers.0, shown_from), ([1, 2, 2], Mode::Quote));
    }

    #[test]
    fn a_value_comes_back_as_it_was_until_the_slot_is_cold() {
        let slot = Slot::new(0, InstrumentToken(408_065));
        assert!(slot.value().is_none());
        let bytes = packet(|tick| tick.depth.sell[4].orders = 7);
        let mut words = PacketWords::new(&bytes, 42);
        slot.store(&mut words, Mode::Full);
        let value = slot.value().unwrap();
        assert_eq!((value.numbers, value.received_ns), (Numbers([1, 1, 1]), 42));
        assert_eq!(value.tick, packet::decode(&bytes).unwrap());
        assert_eq!(*value.packet, bytes);
        slot.cool();
        assert!(slot.value().is_none() && slot.numbers() == value.numbers);
        slot.store(&mut words, Mode::Full);
        assert!(slot.value().is_some());
    }
}
