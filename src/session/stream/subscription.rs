//! What a client subscribes to and no longer.

use super::{Stream, as_strings, parse_timeframes};
use crate::account::audit::Event;
use crate::fanout::slot::Slot;
use crate::identity::principal::Proof;
use crate::session::charts::Plan;
use crate::session::connection::Connection;
use crate::session::door::Change;
use crate::wire::Encoding;
use crate::wire::request::{Selection, Subscribe};
use rustc_hash::FxHashSet;
use serde_json::json;
use std::sync::Arc;

impl Stream {
    pub(super) async fn subscribe(&mut self, mut subscribe: Subscribe) {
        let permissions = self.permissions();
        let (tokens, unknown) = self.resolve(&subscribe.selection);
        let (tokens, forbidden): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| permissions.allows(*token));
        let most = self.context.max_tokens.min(permissions.max_tokens);
        let asked = subscribe.mode;
        subscribe.mode = asked.min(permissions.mode);
        if tokens.len() > most {
            let text = format!("{} is too many; at most {most} for one connection", tokens.len());
            return self.refuse_field("tokens", &text).await;
        }
        let timeframes = match parse_timeframes(&subscribe.selection.timeframes) {
            Ok(timeframes) => timeframes,
            Err(error) => return self.refuse_field("timeframes", &error.to_string()).await,
        };
        // Timeframes and no token at all: those of every instrument.
        let every = subscribe.selection.tokens.is_empty() && subscribe.selection.symbols.is_empty();
        if every && !timeframes.is_empty() && !permissions.firehose {
            let text = "without tokens these are of every instrument, for which the permission stream:all is needed";
            return self.refuse_field("timeframes", text).await;
        }
        if let Err(refusal) = self.hold(&tokens, every && !timeframes.is_empty()) {
            return self.refuse_room("tokens", refusal).await;
        }
        self.every = every;
        self.plan = Plan {
            tokens: (!self.every).then(|| tokens.clone()),
            timeframes,
            live: subscribe.live_candles,
            format: subscribe.format,
        };
        self.charts.end_others(&self.plan).await;
        let encoding = Encoding { format: subscribe.format, mode: subscribe.mode };
        let inbox = self.connection.inbox();
        // First the board, then the writer: the snapshot is taken when updates already flow, so there is no gap.
        let dropped: Vec<_> = {
            let wanted: FxHashSet<_> = tokens.iter().collect();
            self.slots.values().filter(|slot| !wanted.contains(&slot.token)).cloned().collect()
        };
        if self.all {
            self.context.board.unsubscribe_all(&inbox);
            self.all = false;
        } else {
            self.context.board.unsubscribe(&inbox, &dropped);
        }
        let slots = self.context.board.subscribe(&inbox, &tokens, encoding);
        self.slots = slots.iter().map(|slot| (slot.token, Arc::clone(slot))).collect();
        self.format = subscribe.format;
        self.mode = subscribe.mode;
        let mut message = json!({
            "type": "subscribed",
            "symbols": subscribe.selection.symbols,
            "tokens": as_strings(&tokens),
            "timeframes": subscribe.selection.timeframes,
            "throttle_ms": subscribe.throttle_ms,
            "batch": subscribe.batch,
            "batch_size": subscribe.batch_size,
            "format": subscribe.format.name(),
            "mode": subscribe.mode.name(),
        });
        if !unknown.is_empty() {
            message["unknown_symbols"] = json!(unknown);
        }
        if !forbidden.is_empty() {
            message["unknown_tokens"] = json!(as_strings(&forbidden));
        }
        if subscribe.live_candles {
            message["live_candles"] = json!(true);
        }
        (self.throttle_ms, self.batch) = (subscribe.throttle_ms, subscribe.batch);
        self.batch_size = subscribe.batch_size;
        let Connection { watch, ticket, .. } = &mut self.connection;
        if (subscribe.resume || watch.principal().proof == Proof::Jwt)
            && let Some(token) = ticket.issue(watch.principal())
        {
            message["resume_token"] = token.reveal().into();
        }
        self.when = subscribe.when.map(Arc::new);
        if let Some(when) = &subscribe.when {
            message["when"] = json!(when);
        }
        if asked > subscribe.mode {
            let (asked, most) = (asked.name(), subscribe.mode.name());
            message["warning"] = json!(format!("mode: {asked} is not permitted; ticks are sent as {most}"));
        }
        self.show_filter();
        self.replace(slots, &inbox, &message).await;
        self.charts.begin(&self.plan, &inbox).await;
        self.note_subscription(&tokens, unknown.len(), false);
        self.tell_stale(&tokens).await;
        self.remember();
    }

    pub(super) async fn unsubscribe(&mut self, selection: Selection) {
        let everything = selection.is_empty();
        let ended = match parse_timeframes(&selection.timeframes) {
            Ok(_) if everything => std::mem::take(&mut self.plan.timeframes),
            Ok(ended) => ended,
            Err(error) => return self.refuse_field("timeframes", &error.to_string()).await,
        };
        let (named, _) = self.resolve(&selection);
        let removed: Vec<_> = if everything { self.slots.keys().copied().collect() } else { named.clone() };
        let slots: Vec<_> = removed.iter().filter_map(|token| self.slots.remove(token)).collect();
        self.plan.timeframes.retain(|(timeframe, _)| !ended.iter().any(|(other, _)| other == timeframe));
        self.every &= !everything;
        if let Some(tokens) = &mut self.plan.tokens {
            tokens.retain(|token| self.slots.contains_key(token));
        }
        self.charts.end_others(&self.plan).await;
        let timeframes: Vec<String> = ended.into_iter().map(|(_, text)| text).collect();
        if let Some(inbox) = self.connection.opened_inbox() {
            if self.all && everything {
                self.context.board.unsubscribe_all(inbox);
            } else if !self.all {
                self.context.board.unsubscribe(inbox, &slots);
            }
        }
        self.connection.holding.remove(&removed);
        let ended_all = self.all && everything;
        self.all &= !everything;
        if !self.wants_everything() {
            self.connection.holding.end_everything();
        }
        let mut tokens = removed;
        if everything {
            tokens.sort_unstable();
        }
        let message = json!({"type": "unsubscribed", "symbols": selection.symbols, "tokens": as_strings(&tokens),
            "timeframes": timeframes});
        self.show_filter();
        self.connection
            .change(Change {
                remove: if self.all { Vec::new() } else { slots.iter().map(|slot| slot.id).collect() },
                clear: ended_all,
                firehose: ended_all.then_some(None),
                reply: self.frame(&message),
                ..Change::default()
            })
            .await;
        self.remember();
        self.connection.record(&Event::Unsubscribe { tokens: tokens.len() });
    }

    pub(super) async fn set_all(&mut self, all: bool) {
        if all && !self.permissions().firehose {
            return self.refuse_field("all", "not permitted; the permission stream:all is needed").await;
        }
        let encoding = Encoding { format: self.format, mode: self.mode };
        let inbox = self.connection.inbox();
        if all {
            let known: Vec<_> = self.context.board.table().load().keys().copied().collect();
            if let Err(refusal) = self.connection.holding.everything(&known) {
                return self.refuse_room("all", refusal).await;
            }
        }
        self.all = all;
        if !self.wants_everything() {
            self.connection.holding.end_everything();
        }
        let slots: Vec<Arc<Slot>> = if all {
            self.context.board.subscribe_all(&inbox, encoding)
        } else {
            self.context.board.unsubscribe_all(&inbox);
            let tokens: Vec<_> = self.slots.keys().copied().collect();
            self.context.board.subscribe(&inbox, &tokens, encoding)
        };
        // Candles follow: those of every instrument, or again of the subscribed ones.
        self.plan.tokens = (!all && !self.every).then(|| self.slots.keys().copied().collect());
        self.charts.end_others(&self.plan).await;
        self.show_filter();
        let tokens: Vec<_> = slots.iter().map(|slot| slot.token).collect();
        self.replace(slots, &inbox, &json!({"type": "set_all", "all": all})).await;
        self.charts.begin(&self.plan, &inbox).await;
        if all {
            self.note_subscription(&[], 0, true);
        } else {
            self.connection.record(&Event::Unsubscribe { tokens: 0 });
        }
        self.tell_stale(&tokens).await;
        self.remember();
    }
}
