//! A client that comes back: see [`crate::resume`].

use super::{Stream, as_strings, parse_timeframes};
use crate::fanout::slot::Slot;
use crate::market::{InstrumentToken, Mode, Timeframe};
use crate::resume::{SessionState, StreamState};
use crate::session::charts::Plan;
use crate::session::comeback::Comeback;
use crate::wire::resume::ResumeRequest;
use crate::wire::{Encoding, Format};
use serde_json::json;
use std::sync::Arc;

impl Stream {
    /// What the handshake's query asked for.
    pub(super) async fn resume_from_query(&mut self) {
        if let Some(request) = self.connection.asked_to_resume() {
            self.resume(request).await;
        }
    }

    /// Gives a client that comes back what it had, as far as it may have it still, and what it missed.
    pub(super) async fn resume(&mut self, request: ResumeRequest) {
        // Missed bars wait in an inbox that the tab does not know yet: so they come behind the reply.
        if self.connection.opened_inbox().is_some() || self.connection.ticket.token().is_some() {
            return self.refuse_field("action", "resume: only on a new connection, before it subscribes").await;
        }
        match self.connection.restore(request).await {
            Ok((state, comeback)) => self.restore(state.stream.unwrap_or_default(), &comeback).await,
            Err(refused) => {
                let text = format!("resume: {refused}; subscribe anew");
                self.say(&json!({"type": "error", "error": text, "field": "token", "code": "resume_refused"})).await;
            }
        }
    }

    async fn restore(&mut self, state: StreamState, comeback: &Comeback) {
        let permissions = self.permissions();
        let (mut tokens, mut gone): (Vec<_>, Vec<_>) =
            state.tokens.iter().copied().map(InstrumentToken).partition(|token| permissions.allows(*token));
        gone.extend(tokens.split_off(tokens.len().min(self.context.max_tokens.min(permissions.max_tokens))));
        let all = state.all && permissions.firehose;
        let every = state.every && permissions.firehose;
        self.format = Format::parse(&state.format).unwrap_or(Format::Json);
        self.mode = Mode::parse(&state.mode).unwrap_or(Mode::Quote).min(permissions.mode);
        (self.throttle_ms, self.batch, self.batch_size) = (state.throttle_ms, state.batch, state.batch_size);
        let mut timeframes: Vec<(Timeframe, String)> = parse_timeframes(&state.timeframes).unwrap_or_default();
        if state.every && !every {
            timeframes.clear();
        }
        if let Err(refusal) = self.hold(&tokens, all || every && !timeframes.is_empty()) {
            return self.refuse_room("tokens", refusal).await;
        }
        self.when = state.when.map(Arc::new);
        (self.all, self.every) = (all, every);
        self.plan = Plan {
            tokens: (!all && !every).then(|| tokens.clone()),
            timeframes,
            live: state.live_candles,
            format: self.format,
        };
        let (encoding, inbox) = (Encoding { format: self.format, mode: self.mode }, self.connection.inbox());
        let subscribed: Vec<Arc<Slot>> = self.context.board.subscribe(&inbox, &tokens, encoding);
        self.slots = subscribed.iter().map(|slot| (slot.token, Arc::clone(slot))).collect();
        let slots = if all { self.context.board.subscribe_all(&inbox, encoding) } else { subscribed };
        let since = |token: Option<InstrumentToken>, timeframe: &str| {
            let instrument = token.map(|token| token.to_string()).unwrap_or_default();
            Some(comeback.since(&instrument, timeframe))
        };
        let gap = self.charts.begin_since(&self.plan, &inbox, since).await;
        let mut message = json!({"type": "resumed", "tokens": as_strings(&tokens), "timeframes": self.timeframes(),
            "throttle_ms": self.throttle_ms, "batch": self.batch, "batch_size": self.batch_size,
            "format": self.format.name(), "mode": self.mode.name(), "live_candles": self.plan.live, "all": all,
            "since": comeback.had_until(), "gap": gap});
        if let Some(token) = self.connection.ticket.token() {
            message["resume_token"] = token.reveal().into();
        }
        if let Some(when) = &self.when {
            message["when"] = json!(**when);
        }
        if !gone.is_empty() {
            message["unknown_tokens"] = json!(as_strings(&gone));
        }
        self.show_filter();
        self.replace(slots, &inbox, &message).await;
        self.note_subscription(&tokens, gone.len(), all);
        self.tell_stale(&tokens).await;
        self.remember();
    }

    /// Notes what the connection has, so that it survives it.
    pub(super) fn remember(&self) {
        if self.connection.ticket.token().is_none() {
            return;
        }
        let mut tokens: Vec<u32> = self.slots.keys().map(|token| token.0).collect();
        tokens.sort_unstable();
        let stream = StreamState {
            tokens,
            timeframes: self.timeframes(),
            every: self.every,
            all: self.all,
            throttle_ms: self.throttle_ms,
            batch: self.batch,
            batch_size: self.batch_size,
            format: self.format.name().to_owned(),
            mode: self.mode.name().to_owned(),
            live_candles: self.plan.live,
            when: self.when.as_deref().copied(),
        };
        self.connection.heard();
        self.connection.ticket.note(SessionState { stream: Some(stream), ..SessionState::default() });
    }
}
