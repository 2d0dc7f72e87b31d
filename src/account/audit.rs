//! The audit log: what happened to whom, when, and how it ended; one JSON object a line.
//!
//! A line has `time` (Unix seconds), `event`, `user` and `session` where there is one, `result`, and what the event adds.
//! No line holds a secret: events have no field for one. Text from outside is cut and escaped by [`clean`].

use super::journal::Journal;
use crate::clock::Clock;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// What can happen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// The program begins to serve.
    Start,
    /// The program stops serving.
    Stop,
    /// A connection became a session.
    Connect {
        /// Where it comes from.
        peer: &'a str,
    },
    /// Somebody was not let in.
    AuthRefused {
        /// Where he comes from.
        peer: &'a str,
        /// Why; never the credential.
        reason: &'a str,
    },
    /// A token was made for development, or a ticket.
    Issue {
        /// Where the one who asked for it comes from.
        peer: &'a str,
    },
    /// Subscriptions were made, replacing those before.
    Subscribe {
        /// Instruments asked for and found.
        tokens: usize,
        /// Names nobody knows.
        unknown: usize,
        /// How much of each: `ltp`, `quote`, `full`.
        mode: &'a str,
        /// Everything there is.
        all: bool,
    },
    /// Subscriptions ended.
    Unsubscribe {
        /// Instruments given up.
        tokens: usize,
    },
    /// The gateway ends a session.
    Evict {
        /// Why.
        reason: &'a str,
    },
    /// A session is over.
    Close {
        /// The close code; 1006 for an end without one.
        code: u16,
        /// What ended it.
        reason: &'a str,
        /// How long it lasted, seconds.
        seconds: f64,
        /// Tick messages it got.
        delivered: u64,
    },
    /// An operator did something.
    Admin {
        /// What.
        action: &'a str,
        /// To what.
        target: &'a str,
        /// Where he comes from.
        peer: &'a str,
    },
}

/// How an event ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As asked.
    Done,
    /// Refused.
    Refused,
}

impl Event<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Connect { .. } => "connect",
            Self::AuthRefused { .. } => "auth_refused",
            Self::Issue { .. } => "issue",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Evict { .. } => "evict",
            Self::Close { .. } => "close",
            Self::Admin { .. } => "admin",
        }
    }

    fn details(&self) -> Value {
        match *self {
            Self::Start | Self::Stop => json!({}),
            Self::Connect { peer } | Self::Issue { peer } => json!({"peer": clean(peer)}),
            Self::AuthRefused { peer, reason } => json!({"peer": clean(peer), "reason": clean(reason)}),
            Self::Subscribe { tokens, unknown, mode, all } => {
                json!({"tokens": tokens, "unknown": unknown, "mode": clean(mode), "all": all})
            }
            Self::Unsubscribe { tokens } => json!({"tokens": tokens}),
            Self::Evict { reason } => json!({"reason": clean(reason)}),
            Self::Close { code, reason, seconds, delivered } => {
                let seconds = (seconds * 1e3).round() / 1e3;
                json!({"code": code, "reason": clean(reason), "seconds": seconds, "delivered": delivered})
            }
            Self::Admin { action, target, peer } => {
                json!({"action": clean(action), "target": clean(target), "peer": clean(peer)})
            }
        }
    }
}

/// The handle everybody writes through. Control side; never waits.
#[derive(Debug)]
pub struct Audit {
    journal: Option<Journal>,
    clock: Clock,
    lost: AtomicU64,
}

impl Audit {
    /// Writes to a journal; to nowhere without one.
    pub const fn new(journal: Option<Journal>, clock: Clock) -> Self {
        Self { journal, clock, lost: AtomicU64::new(0) }
    }

    /// Writes an event down. `user` and `session` are empty where there is none.
    pub fn record(&self, user: &str, session: &str, event: &Event<'_>, outcome: Outcome) {
        let Some(journal) = &self.journal else { return };
        let line = self.line(user, session, event, outcome);
        if !journal.write(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn line(&self, user: &str, session: &str, event: &Event<'_>, outcome: Outcome) -> String {
        let mut line = Map::new();
        line.insert("time".into(), json!((self.clock.unix_seconds() * 1e3).round() / 1e3));
        line.insert("event".into(), event.name().into());
        for (name, text) in [("user", user), ("session", session)] {
            if !text.is_empty() {
                line.insert(name.into(), clean(text).into());
            }
        }
        let result = match outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
        };
        line.insert("result".into(), result.into());
        if let Value::Object(details) = event.details() {
            line.extend(details);
        }
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        line
    }

    /// Events that were lost because the disk did not keep up, or refused.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) + self.journal.as_ref().map_or(0, Journal::failed)
    }

    /// Until everything recorded so far lies in the file. Blocks; for the end of the program.
    pub fn flush(&self) {
        if let Some(journal) = &self.journal {
            journal.flush();
        }
    }
}

/// Longest text from outside in a log, bytes.
pub const LONGEST: usize = 64;

/// Text from outside, fit for a log: cut to [`LONGEST`] bytes, and without characters that move the cursor, end a line or
/// turn the direction of reading.
pub fn clean(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    let mut out = String::with_capacity(end);
    for letter in text[..end].chars() {
        if letter.is_control() || is_invisible(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    if end < text.len() {
        out.push('…');
    }
    out
}

/// Marks of direction, separators of lines, and what has no width.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{061C}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_cut_and_escaped() {
        assert_eq!(clean("plain ü"), "plain ü");
        assert_eq!(clean("a\nb\r\x1b[31mred\x07"), "a\\u{a}b\\u{d}\\u{1b}[31mred\\u{7}");
        assert_eq!(clean("abc\u{202E}gpj\u{2066}\u{200F}"), "abc\\u{202e}gpj\\u{2066}\\u{200f}");
        assert_eq!(clean(&"x".repeat(1 << 20)), format!("{}…", "x".repeat(64)));
        // The cut falls between characters.
        assert_eq!(clean(&"ü".repeat(40)), format!("{}…", "ü".repeat(32)));
        assert_eq!(clean(&format!("x{}", "ü".repeat(40))), format!("x{}…", "ü".repeat(31)));
    }

    #[test]
    fn a_line_is_one_object_whatever_is_in_it() {
        let clock = Clock::manual(1_700_000_000_500_000_000);
        let audit = Audit::new(None, clock);
        let evil = "x\n{\"event\":\"forged\"}";
        let events = [
            Event::Start,
            Event::Connect { peer: evil },
            Event::AuthRefused { peer: evil, reason: evil },
            Event::Subscribe { tokens: 3, unknown: 1, mode: evil, all: false },
            Event::Unsubscribe { tokens: 3 },
            Event::Evict { reason: evil },
            Event::Close { code: 1006, reason: evil, seconds: 1.23456, delivered: 7 },
            Event::Admin { action: evil, target: evil, peer: evil },
            Event::Stop,
        ];
        for event in events {
            let line = audit.line(evil, evil, &event, Outcome::Refused);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["time"], 1_700_000_000.5);
            assert_eq!(value["event"], event.name());
            assert_eq!(value["result"], "refused");
            assert!(!value["user"].as_str().unwrap().contains('\n'));
        }
        audit.record("u", "s", &Event::Start, Outcome::Done);
        assert_eq!(audit.lost(), 0, "no journal, nothing to lose");
    }
}
