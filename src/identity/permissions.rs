//! What a principal may do, and the words that say so.
//!
//! A permission is one word in the claim `permissions` of a token, in an API key's entry, or in the setting
//! `default_permissions`:
//!
//! | word | grants |
//! | --- | --- |
//! | `segment:NSE` | instruments of that segment: NSE, NFO, CDS, BSE, BFO, BCD, MCX, MCXSX, INDICES, NCO |
//! | `segment:*` | instruments of every segment |
//! | `mode:quote` | ticks up to that mode: ltp, quote, full; without any: ltp |
//! | `stream:all` | the firehose (`set_all`), and with it every segment |
//! | `indicators` | indicators |
//! | `account:owner` | the Kite account's order updates, at the Kite endpoint; for the account's owner alone |
//! | `tokens:500` | no more than so many tokens on one connection |
//! | `connections:5` | no more than so many connections of the user |
//!
//! What is not granted is refused. Words of other services are passed over. A list with no word of this table at all
//! gives the default set; a word that begins like one of the table and goes on wrongly (`mode:depth`) grants nothing, but
//! does count, so a slip of the pen never widens.

use crate::market::{InstrumentToken, Mode};

/// See the module. A value; the same for every token of the same words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permissions {
    /// A bit for each segment number; the last stands for all numbers from 63 on.
    segments: u64,
    /// The highest mode.
    pub mode: Mode,
    /// Whether `set_all` is allowed.
    pub firehose: bool,
    /// Whether indicators are allowed.
    pub indicators: bool,
    /// Whether it is the owner of the Kite account, who gets its order updates. Never by default.
    pub owner: bool,
    /// Most tokens on one connection, where the program's own limit is not lower.
    pub max_tokens: usize,
    /// Most connections of the user, where the program's own limit is not lower.
    pub max_connections: usize,
}

/// Names of segments and their numbers in instrument tokens, as in Kite's official clients.
const SEGMENTS: [(&str, u8); 10] = [
    ("NSE", 1),
    ("NFO", 2),
    ("CDS", 3),
    ("BSE", 4),
    ("BFO", 5),
    ("BCD", 6),
    ("MCX", 7),
    ("MCXSX", 8),
    ("INDICES", 9),
    ("NCO", 12),
];

/// A word that is not in the table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "permission {0:?} is not known; allowed are segment:NAME (NSE, NFO, CDS, BSE, BFO, BCD, MCX, MCXSX, INDICES, NCO or *), \
     mode:ltp, mode:quote, mode:full, stream:all, indicators, account:owner, tokens:N, connections:N"
)]
pub struct UnknownPermission(pub String);

impl Permissions {
    /// Everything, as where authentication is off; but nobody who has not proved it is the account's owner.
    pub const ALL: Self = Self {
        segments: u64::MAX,
        mode: Mode::Full,
        firehose: true,
        indicators: true,
        owner: false,
        max_tokens: usize::MAX,
        max_connections: usize::MAX,
    };

    /// Nothing but an open connection.
    pub const NONE: Self = Self { segments: 0, mode: Mode::Ltp, firehose: false, indicators: false, ..Self::ALL };

    /// Reads the words of a configuration, where each must be known.
    ///
    /// # Errors
    /// Names the first word that is not.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownPermission> {
        let mut permissions = Self::NONE;
        for word in words {
            if permissions.grant(word) != Some(true) {
                return Err(UnknownPermission(word.chars().take(64).collect()));
            }
        }
        Ok(permissions)
    }

    /// Reads the words of a token; `None` when none of them is of the table.
    pub fn claimed<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut permissions = Self::NONE;
        let ours = words.into_iter().filter(|word| permissions.grant(word).is_some()).count();
        (ours > 0).then_some(permissions)
    }

    /// Adds what a word grants: `Some(true)`; `Some(false)` when it is of the table but wrong, `None` when it is not.
    fn grant(&mut self, word: &str) -> Option<bool> {
        let (kind, value) = word.split_once(':').unwrap_or((word, ""));
        let granted = match (kind, value) {
            ("stream", "all") => {
                self.firehose = true;
                self.segments = u64::MAX;
                true
            }
            // `stream:` has other meanings elsewhere.
            ("stream", _) => return None,
            ("indicators", "") => {
                self.indicators = true;
                true
            }
            ("account", "owner") => {
                self.owner = true;
                true
            }
            // Others have accounts too.
            ("account", _) => return None,
            ("segment", "*") => {
                self.segments = u64::MAX;
                true
            }
            ("segment", name) => {
                let number =
                    SEGMENTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number);
                self.segments |= number.map_or(0, |number| 1 << number);
                number.is_some()
            }
            ("mode", name) => {
                let mode = Mode::parse(name);
                self.mode = self.mode.max(mode.unwrap_or(Mode::Ltp));
                mode.is_some()
            }
            ("tokens", number) => limit(&mut self.max_tokens, number),
            ("connections", number) => limit(&mut self.max_connections, number),
            _ => return None,
        };
        Some(granted)
    }

    /// Whether an instrument may be subscribed. The token's own segment number decides, so the answer tells nobody which
    /// instruments exist.
    pub const fn allows(&self, token: InstrumentToken) -> bool {
        let number = token.segment().0;
        self.segments >> (if number < 63 { number } else { 63 }) & 1 == 1
    }

    /// Only what both allow.
    #[must_use]
    pub fn narrowed(&self, other: &Self) -> Self {
        Self {
            segments: self.segments & other.segments,
            mode: self.mode.min(other.mode),
            firehose: self.firehose && other.firehose,
            indicators: self.indicators && other.indicators,
            owner: self.owner && other.owner,
            max_tokens: self.max_tokens.min(other.max_tokens),
            max_connections: self.max_connections.min(other.max_connections),
        }
    }
}

/// Takes a limit from a word; one that is no number allows none.
fn limit(limit: &mut usize, number: &str) -> bool {
    let read = number.parse().ok();
    *limit = read.unwrap_or(0).min(*limit);
    read.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(segment: u8) -> InstrumentToken {
        InstrumentToken(77 << 8 | u32::from(segment))
    }

    #[test]
    fn words_grant_and_nothing_else_does() {
        let some = Permissions::parse(["segment:nse", "segment:INDICES", "mode:quote", "tokens:5"]).unwrap();
        let allowed: Vec<_> = (0..=255).filter(|number| some.allows(token(*number))).collect();
        assert_eq!(allowed, [1, 9]);
        assert_eq!((some.mode, some.firehose, some.indicators, some.max_tokens), (Mode::Quote, false, false, 5));
        let firehose = Permissions::parse(["stream:all"]).unwrap();
        assert!(firehose.firehose && (0..=255).all(|number| firehose.allows(token(number))));
        assert_eq!(Permissions::parse([]).unwrap(), Permissions::NONE);
        for wrong in ["segment:XYZ", "mode:depth", "orders", "tokens:-1", "stream:some", "indicators:rsi"] {
            assert_eq!(Permissions::parse([wrong]), Err(UnknownPermission(wrong.into())));
        }
    }

    #[test]
    fn a_token_with_words_of_others_only_gets_the_default() {
        assert_eq!(Permissions::claimed(["orders:read", "admin", "stream:video"]), None);
        assert_eq!(Permissions::claimed([]), None);
        // A slip counts and grants nothing.
        assert_eq!(Permissions::claimed(["mode:depth"]), Some(Permissions::NONE));
        assert_eq!(Permissions::claimed(["tokens:many"]).unwrap().max_tokens, 0);
        assert!(Permissions::claimed(["x", "indicators"]).unwrap().indicators);
    }

    #[test]
    fn only_its_own_word_makes_an_owner() {
        let owner = Permissions::parse(["segment:*", "account:owner"]).unwrap();
        assert!(owner.owner && !Permissions::ALL.owner && !Permissions::NONE.owner);
        assert!(!owner.narrowed(&Permissions::ALL).owner, "a refresh cannot make one");
        assert!(!Permissions::parse(["stream:all", "indicators", "mode:full"]).unwrap().owner);
        assert_eq!(Permissions::claimed(["account:read"]), None);
    }

    #[test]
    fn narrowing_never_widens() {
        let wide = Permissions::ALL;
        let nse = Permissions::parse(["segment:NSE", "mode:quote", "tokens:9"]).unwrap();
        let nfo = Permissions::parse(["segment:NFO", "mode:full"]).unwrap();
        assert_eq!(wide.narrowed(&nse), nse);
        let both = nse.narrowed(&nfo);
        assert!(!both.allows(token(1)) && !both.allows(token(2)));
        assert_eq!((both.mode, both.max_tokens), (Mode::Quote, 9));
    }
}
