//! The endpoint that Kite's own clients speak to: requests in, calls on the board. A task on the control side per
//! connection. There are no replies, as with Kite: a subscription shows in its first packet.

use super::arrival::Arrival;
use super::connection::{Connection, Heard};
use super::context::Context;
use super::door::Change;
use super::lane::Lane;
use super::tab::Delivery;
use crate::account::analytics::Topics;
use crate::account::audit::Event;
use crate::clock::Clock;
use crate::fanout::slot::Slot;
use crate::kite::instruments::Instruments;
use crate::market::calendar::Ist;
use crate::market::{InstrumentToken, Mode};
use crate::wire::kite_request::{self, KiteRequest};
use crate::wire::{Encoding, Format, push};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::sync::Arc;

/// The mode of a token that is subscribed without one.
const DEFAULT_MODE: Mode = Mode::Quote;
/// Bytes of the longest token in a list, with quotes, comma and space.
const TOKEN_BYTES: usize = 14;
/// Most requests that are taken together.
const TOGETHER: usize = 64;

/// One connection's reading half.
struct KiteSession {
    connection: Connection,
    tokens: FxHashMap<InstrumentToken, (Arc<Slot>, Mode)>,
    /// What the writing half has not been told, by slot: wanted in that mode, with its last value, or not any more.
    untold: FxHashMap<u32, Option<(Arc<Slot>, Mode)>>,
}

/// Serves a connection until it ends.
pub async fn serve(arrival: Box<Arrival>, context: Arc<Context>) {
    let Some(mut session) = Box::pin(KiteSession::open(arrival, context)).await else { return };
    let last = session.listen().await;
    Box::pin(session.end(last)).await;
}

/// The size and the version of the instrument list, as Kite tells them first.
fn instruments_meta(instruments: &Instruments) -> Value {
    let etag = format!("W/\"{:08x}\"", instruments.fingerprint());
    json!({"type": "instruments_meta", "data": {"count": instruments.len(), "etag": etag}})
}

/// What Kite tells second; the time is India's.
fn app_code(clock: &Clock) -> Value {
    json!({"type": "app_code", "timestamp": Ist(clock.unix_seconds() as i64).to_string()})
}

fn frame(message: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let span = push::value_frame(&mut out, Format::Kite, message);
    out.drain(..span.frame().start);
    out
}

impl KiteSession {
    async fn open(arrival: Box<Arrival>, context: Arc<Context>) -> Option<Box<Self>> {
        // A list of as many tokens as allowed must get through.
        let max_message = context.max_message.max(1_024 + context.max_kite_tokens * TOKEN_BYTES);
        let delivery = Delivery { format: Format::Kite, ..Delivery::default() };
        let mut connection = Connection::open(arrival, Arc::clone(&context), delivery, max_message).await?;
        for text in [instruments_meta(&context.instruments.load()), app_code(&context.clock)] {
            connection.reply(frame(&text)).await;
        }
        if context.orders.are_for(&connection.watch.principal().permissions) {
            // Orders come without a subscription.
            let inbox = Some(connection.inbox());
            connection.change(Change { inbox, ..Change::default() }).await;
        }
        Some(Box::new(Self { connection, tokens: FxHashMap::default(), untold: FxHashMap::default() }))
    }

    /// Takes requests until the connection ends; returns the frame to end it with.
    async fn listen(&mut self) -> Vec<u8> {
        loop {
            let mut heard = Some(self.connection.hear().await);
            // A client says `subscribe` and then `mode`: what has come already is taken before the last values are sent,
            // so that they are sent in the mode that is meant.
            for _ in 0..TOGETHER {
                match heard {
                    Some(Heard::Request(text)) => Box::pin(self.request(&text)).await,
                    Some(Heard::Nothing | Heard::Bell) => {}
                    Some(Heard::End(last)) => return last,
                    None => break,
                }
                heard = self.connection.hear_more().await;
            }
            Box::pin(self.tell()).await;
        }
    }

    async fn request(&mut self, text: &[u8]) {
        match kite_request::parse(text) {
            Ok(KiteRequest::Subscribe(tokens)) => self.want(tokens, None).await,
            Ok(KiteRequest::Mode(mode, tokens)) => self.want(tokens, Some(mode)).await,
            Ok(KiteRequest::Unsubscribe(tokens)) => self.unsubscribe(&tokens),
            Err(error) => self.refuse(&error.to_string()).await,
        }
    }

    /// An error's `data` is a text and nothing else: Go's client panics otherwise. What was asked before comes before it.
    async fn refuse(&mut self, text: &str) {
        self.tell().await;
        self.connection.reply(frame(&json!({"type": "error", "data": text}))).await;
    }

    /// Subscribes `tokens`, as far as there is room, in `mode`; without one they keep theirs. Each is owed its last value.
    async fn want(&mut self, mut tokens: Vec<InstrumentToken>, mode: Option<Mode>) {
        let permissions = self.connection.watch.principal().permissions;
        let most = self.connection.context.max_kite_tokens.min(permissions.max_tokens);
        // What may not be had is passed over like what does not exist.
        tokens.retain(|token| permissions.allows(*token));
        let asked = tokens.len();
        let mut room = most.saturating_sub(self.tokens.len());
        tokens.retain(|token| {
            let known = self.tokens.contains_key(token);
            let fits = known || room > 0;
            room -= usize::from(fits && !known);
            fits
        });
        if let Err(refusal) = self.connection.holding.add(&tokens) {
            return self.refuse(&refusal.to_string()).await;
        }
        for wanted in Mode::ALL {
            let in_mode = |token: &InstrumentToken| {
                let own = self.tokens.get(token).map_or(DEFAULT_MODE, |(_, mode)| *mode);
                mode.unwrap_or(own) == wanted
            };
            let of_mode: Vec<_> = tokens.iter().copied().filter(in_mode).collect();
            if !of_mode.is_empty() {
                self.subscribe(&of_mode, wanted.min(permissions.mode));
            }
        }
        let unknown = asked - tokens.len();
        let named = mode.unwrap_or(DEFAULT_MODE).name();
        self.connection.record(&Event::Subscribe { tokens: tokens.len(), unknown, mode: named, all: false });
        self.connection.count_topics(Topics::Instruments, &tokens);
        if tokens.len() < asked {
            self.refuse(&format!("Can't subscribe to more than {most} instruments.")).await;
        }
    }

    /// First the board, then the writer: the last value is taken when updates already flow, so there is no gap.
    fn subscribe(&mut self, tokens: &[InstrumentToken], mode: Mode) {
        let inbox = self.connection.inbox();
        let encoding = Encoding { format: Format::Kite, mode };
        for slot in self.connection.context.board.subscribe(&inbox, tokens, encoding) {
            self.tokens.insert(slot.token, (Arc::clone(&slot), mode));
            self.untold.insert(slot.id, Some((slot, mode)));
        }
    }

    fn unsubscribe(&mut self, tokens: &[InstrumentToken]) {
        self.connection.holding.remove(tokens);
        let slots: Vec<_> = tokens.iter().filter_map(|token| self.tokens.remove(token)).map(|(slot, _)| slot).collect();
        if let Some(inbox) = self.connection.opened_inbox() {
            self.connection.context.board.unsubscribe(inbox, &slots);
        }
        self.connection.record(&Event::Unsubscribe { tokens: slots.len() });
        self.untold.extend(slots.iter().map(|slot| (slot.id, None)));
    }

    /// Tells the writing half what has changed.
    async fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let mut change = Change { inbox: Some(self.connection.inbox()), ..Change::default() };
        for (id, wanted) in self.untold.drain() {
            match wanted {
                Some((slot, mode)) => change.add.push(Lane::new(slot, mode).from_now()),
                None => change.remove.push(id),
            }
        }
        let modes = Mode::ALL.map(|mode| self.tokens.values().any(|(_, own)| *own == mode));
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(self.tokens.keys().copied());
            filter.mode = match modes {
                [true, false, false] => Mode::Ltp.name(),
                [false, true | false, false] => Mode::Quote.name(),
                [false, false, true] => Mode::Full.name(),
                _ => "mixed",
            };
        });
        self.connection.change(change).await;
    }

    /// Cleans up, however the connection ended.
    async fn end(self: Box<Self>, last: Vec<u8>) {
        if let Some(inbox) = self.connection.opened_inbox() {
            let slots: Vec<_> = self.tokens.values().map(|(slot, _)| Arc::clone(slot)).collect();
            self.connection.context.board.unsubscribe(inbox, &slots);
        }
        self.connection.end(last).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_kite_s_shape_and_india_s_time() {
        let clock = Clock::manual(1_785_124_500_000_000_000);
        assert_eq!(app_code(&clock), json!({"type": "app_code", "timestamp": "2026-07-27T09:25:00+05:30"}));
        let meta = instruments_meta(&Instruments::default());
        assert_eq!((&meta["type"], &meta["data"]["count"]), (&json!("instruments_meta"), &json!(0)));
        assert!(meta["data"]["etag"].as_str().is_some_and(|etag| etag.starts_with("W/\"")));
    }
}
