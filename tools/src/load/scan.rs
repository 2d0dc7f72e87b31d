//! Finds the few fields of a message that the load client judges, without parsing the rest.
//!
//! A message is searched for the exact bytes of its keys, as compact JSON or MessagePack writes them. Within one tick
//! `token` must stand before the other fields, which lets a batch be cut at its tokens.

use super::stamp::Stamp;
use memchr::memmem::Finder;
use tickfan::kite::packet::{decode, packets};
use tickfan::market::Mode;

/// An action that no Kite server knows. The error that names it is the only answer such a server gives: it comes when
/// what was asked before has been carried out.
pub const KITE_READY: &str = "are-you-ready";

/// How messages are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Compact JSON in text frames.
    Json,
    /// MessagePack maps in binary frames.
    Msgpack,
    /// Kite's packets.
    Kite,
}

impl Format {
    /// The name in a subscribe request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Kite => "kite",
        }
    }
}

/// What the load client wants to know of a tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenTick {
    /// Whose it is.
    pub token: u32,
    /// Marked as the state at the time of the subscription.
    pub snapshot: bool,
    /// The stamp of the upstream; `None` where the mode carries no quantities.
    pub stamp: Option<Stamp>,
}

/// A message that is no tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The reply to a subscribe request.
    Subscribed,
    /// Updates were merged because this tab was slow.
    Conflated,
    /// A request was refused.
    Error,
    /// Anything else: heartbeats, pongs, types to come.
    Other,
}

/// The searchers of one format, built once.
#[derive(Debug)]
pub struct Scanner {
    format: Format,
    token: Finder<'static>,
    volume: Finder<'static>,
    buy: Finder<'static>,
    sell: Finder<'static>,
    last_quantity: Finder<'static>,
    snapshot: Finder<'static>,
    notices: [(Finder<'static>, Notice); 3],
}

impl Scanner {
    /// The searchers for messages of `format`.
    pub fn new(format: Format) -> Self {
        let key = |name: &str| {
            let bytes = match format {
                Format::Json | Format::Kite => format!("\"{name}\":").into_bytes(),
                // A string of less than 32 bytes is its length in one byte, then its bytes.
                Format::Msgpack => [&[0xa0 | name.len() as u8], name.as_bytes()].concat(),
            };
            Finder::new(&bytes).into_owned()
        };
        let kind = |name: &str| {
            let bytes = match format {
                Format::Json | Format::Kite => format!("\"type\":\"{name}\"").into_bytes(),
                Format::Msgpack => [b"\xa4type".as_slice(), &[0xa0 | name.len() as u8], name.as_bytes()].concat(),
            };
            Finder::new(&bytes).into_owned()
        };
        let ready = match format {
            Format::Json | Format::Msgpack => kind("subscribed"),
            Format::Kite => Finder::new(KITE_READY).into_owned(),
        };
        Self {
            format,
            token: key("token"),
            volume: key("volume_traded"),
            buy: key("total_buy_quantity"),
            sell: key("total_sell_quantity"),
            last_quantity: key("last_traded_quantity"),
            snapshot: key("snapshot"),
            notices: [
                (ready, Notice::Subscribed),
                (kind("conflated"), Notice::Conflated),
                (kind("error"), Notice::Error),
            ],
        }
    }

    /// Hands every tick of `message` to `sink` and returns how many there were; 0 means it is a [`Scanner::notice`].
    pub fn ticks(&self, message: &[u8], mut sink: impl FnMut(SeenTick)) -> usize {
        if self.format == Format::Kite {
            return kite_ticks(message, sink);
        }
        let mut count = 0;
        let mut rest = self.token.find(message).map(|at| &message[at + self.token.needle().len()..]);
        while let Some(body) = rest {
            let end = self.token.find(body);
            let (tick, next) = end.map_or((body, None), |end| {
                let (tick, next) = body.split_at(end);
                (tick, Some(&next[self.token.needle().len()..]))
            });
            if let Some(token) = self.number(tick) {
                sink(self.seen(token as u32, tick));
                count += 1;
            }
            rest = next;
        }
        count
    }

    /// What a message without ticks is.
    pub fn notice(&self, message: &[u8]) -> Notice {
        let known = self.notices.iter().find(|(kind, _)| kind.find(message).is_some());
        known.map_or(Notice::Other, |&(_, notice)| notice)
    }

    fn seen(&self, token: u32, tick: &[u8]) -> SeenTick {
        let field = |key: &Finder| key.find(tick).and_then(|at| self.number(&tick[at + key.needle().len()..]));
        // Where one is missing, the mode has none of them.
        let stamp = field(&self.buy).and_then(|buy| {
            Some(Stamp::from_fields(field(&self.volume)?, buy, field(&self.sell)?, field(&self.last_quantity)?))
        });
        SeenTick { token, snapshot: self.snapshot.find(tick).is_some(), stamp }
    }

    /// The whole number at the start of `bytes`, which may be written as a string, as tokens are.
    fn number(&self, bytes: &[u8]) -> Option<u64> {
        match self.format {
            Format::Json | Format::Kite => decimal(bytes.strip_prefix(b"\"").unwrap_or(bytes)),
            Format::Msgpack => {
                let (&kind, body) = bytes.split_first()?;
                match kind {
                    0..0x80 => Some(kind.into()),
                    0xa0..0xc0 => decimal(body.get(..usize::from(kind & 0x1f))?),
                    0xcc | 0xd0 => big_endian(body, 1),
                    0xcd | 0xd1 => big_endian(body, 2),
                    0xce | 0xd2 => big_endian(body, 4),
                    0xcf | 0xd3 => big_endian(body, 8),
                    _ => None,
                }
            }
        }
    }
}

/// The same of Kite's packets, which have no mark of a snapshot.
fn kite_ticks(message: &[u8], mut sink: impl FnMut(SeenTick)) -> usize {
    let mut count = 0;
    for tick in packets(message).into_iter().flatten().filter_map(|packet| decode(packet).ok()) {
        let fields = [tick.volume_traded, tick.total_buy_quantity, tick.total_sell_quantity, tick.last_traded_quantity];
        let [volume, buy, sell, last] = fields.map(u64::from);
        let stamp = (tick.mode > Mode::Ltp).then(|| Stamp::from_fields(volume, buy, sell, last));
        sink(SeenTick { token: tick.token.0, snapshot: false, stamp });
        count += 1;
    }
    count
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |value: Option<u64>, digit| {
        Some(value.unwrap_or(0).wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}

fn big_endian(bytes: &[u8], length: usize) -> Option<u64> {
    Some(bytes.get(..length)?.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickfan::kite::packet::MessageBuilder;
    use tickfan::market::{InstrumentToken, Tick};

    fn all(format: Format, message: &[u8]) -> Vec<SeenTick> {
        let mut seen = Vec::new();
        Scanner::new(format).ticks(message, |tick| seen.push(tick));
        seen
    }

    #[test]
    fn a_json_tick_gives_token_and_stamp() {
        let message = br#"{"type":"tick","token":"256001","price":10.5,"timestamp":1.5,"volume_traded":3,
            "last_traded_quantity":17,"total_buy_quantity":1,"total_sell_quantity":5,"depth":{"buy":[{"quantity":9}]}}"#;
        let stamp = Stamp { sequence: 3, due_ns: (1 << 31) | 5, late_ns: 17 };
        assert_eq!(all(Format::Json, message), [SeenTick { token: 256_001, snapshot: false, stamp: Some(stamp) }]);
    }

    #[test]
    fn an_ltp_tick_has_no_stamp_and_a_snapshot_says_so() {
        let message = br#"{"type":"tick","token":"1","price":1,"timestamp":1,"volume_traded":0,"snapshot":true}"#;
        assert_eq!(all(Format::Json, message), [SeenTick { token: 1, snapshot: true, stamp: None }]);
    }

    #[test]
    fn a_batch_is_cut_at_its_tokens() {
        let message = br#"{"type":"batch","messages":[{"type":"tick","token":"1","snapshot":true},{"type":"tick","token":"2","volume_traded":8,"total_buy_quantity":0,"total_sell_quantity":2,"last_traded_quantity":1}]}"#;
        let stamp = Stamp { sequence: 8, due_ns: 2, late_ns: 1 };
        assert_eq!(
            all(Format::Json, message),
            [
                SeenTick { token: 1, snapshot: true, stamp: None },
                SeenTick { token: 2, snapshot: false, stamp: Some(stamp) }
            ]
        );
    }

    #[test]
    fn packets_of_kite_and_its_texts() {
        let stamp = Stamp { sequence: 7, due_ns: 3_600_000_000_123, late_ns: 17 };
        let mut tick = Tick::ltp(InstrumentToken(256_001), 100);
        tick.mode = Mode::Quote;
        stamp.hide(&mut tick);
        let mut builder = MessageBuilder::default();
        assert!(builder.push(&tick) && builder.push(&Tick::ltp(InstrumentToken(257), 1)));
        let quote = SeenTick { token: 256_001, snapshot: false, stamp: Some(stamp) };
        let ltp = SeenTick { token: 257, snapshot: false, stamp: None };
        assert_eq!(all(Format::Kite, builder.take()), [quote, ltp]);
        let kite = Scanner::new(Format::Kite);
        for (text, notice) in [
            (&b"\0"[..], Notice::Other),
            (br#"{"type":"app_code","timestamp":"2026-07-27T09:25:00+05:30"}"#, Notice::Other),
            (br#"{"type":"error","data":"Invalid action a: \"are-you-ready\""}"#, Notice::Subscribed),
            (br#"{"type":"error","data":"Error parsing instrument token"}"#, Notice::Error),
        ] {
            assert_eq!(kite.ticks(text, |_| panic!("a text was taken for a tick")), 0);
            assert_eq!(kite.notice(text), notice);
        }
    }

    #[test]
    fn replies_are_no_ticks() {
        let json = Scanner::new(Format::Json);
        let reply = br#"{"type":"subscribed","symbols":[],"tokens":["256001"],"timeframes":[]}"#;
        assert_eq!(json.ticks(reply, |_| panic!("a reply was taken for a tick")), 0);
        assert_eq!(json.notice(reply), Notice::Subscribed);
        assert_eq!(json.notice(br#"{"type":"conflated","count":3,"timestamp":1.0}"#), Notice::Conflated);
        assert_eq!(json.notice(br#"{"error":"Invalid JSON","type":"error"}"#), Notice::Error);
        assert_eq!(json.notice(br#"{"type":"heartbeat","timestamp":1.0}"#), Notice::Other);
    }

    #[test]
    fn msgpack_integers_of_every_width_and_string_tokens() {
        let mut message = b"\x87\xa4type\xa4tick\xa5token\xa6256001".to_vec();
        message.extend_from_slice(b"\xadvolume_traded\xcd\x01\x00\xb2total_buy_quantity\x02");
        message.extend_from_slice(b"\xb3total_sell_quantity\xce\x00\x01\x00\x00\xb4last_traded_quantity\xcc\xff");
        let stamp = Stamp { sequence: 256, due_ns: (2 << 31) | 65_536, late_ns: 255 };
        assert_eq!(all(Format::Msgpack, &message), [SeenTick { token: 256_001, snapshot: false, stamp: Some(stamp) }]);
        let notice = Scanner::new(Format::Msgpack).notice(b"\x83\xa4type\xa9conflated\xa5count\x03");
        assert_eq!(notice, Notice::Conflated);
    }
}
