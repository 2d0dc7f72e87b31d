//! `/ws/stream`: requests in, calls on the board, replies out. A task on the control side per connection.

use super::admission::Refusal;
use super::charts::{Charts, Plan};
use super::connection::{Arrival, Connection, Context, Heard};
use super::door::Change;
use super::lane::Lane;
use super::outage;
use super::tab::Delivery;
use crate::account::audit::Event;
use crate::fanout::slot::Slot;
use crate::identity::permissions::Permissions;
use crate::identity::principal::Proof;
use crate::identity::refusal::Refusal as Refused;
use crate::market::timeframe::UnknownTimeframe;
use crate::market::{InstrumentToken, Mode, Timeframe, When};
use crate::resume::Ticket;
use crate::secret::Secret;
use crate::wire::close::Close;
use crate::wire::derived::candle_value;
use crate::wire::request::{HistoryRequest, Parser, RegisterAlert, Request, RequestError, Selection, Subscribe};
use crate::wire::{Encoding, Format, push};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a request for history waits for one that is being loaded.
const HISTORY_WAIT: Duration = Duration::from_secs(15);
mod resume;

const UNKNOWN_TOKEN: &str = "no instrument has this token";

/// One connection's reading half.
struct Stream {
    connection: Connection,
    context: Arc<Context>,
    parser: Parser,
    /// What it subscribed to. With `all`, what it returns to afterwards.
    slots: FxHashMap<InstrumentToken, Arc<Slot>>,
    /// Which ticks of its tokens are worth sending, if not all are.
    when: Option<Arc<When>>,
    /// It subscribed to timeframes and to no token: to those of every instrument.
    every: bool,
    /// What candles it wants.
    plan: Plan,
    charts: Charts,
    format: Format,
    mode: Mode,
    all: bool,
    /// How messages are delivered, as the client said it.
    throttle_ms: u32,
    batch: bool,
    batch_size: u32,
    /// Its hold on what survives it.
    ticket: Ticket,
    /// What it wants to resume once it has told who it is.
    resuming: Option<Secret>,
}

/// Serves a connection until it ends.
pub async fn serve(arrival: Arrival, context: Arc<Context>) {
    let max_message = context.max_message;
    let resuming = arrival.resume.clone();
    let connection = match Connection::open(arrival, Arc::clone(&context), Format::Json, max_message).await {
        Ok(connection) => connection,
        Err(error) => return tracing::warn!(%error, "a new connection cannot be read"),
    };
    let (unproved, most) = (connection.is_unproved(), connection.watch.principal().permissions.mode);
    let mut stream = Stream {
        connection,
        parser: Parser::default(),
        slots: FxHashMap::default(),
        when: None,
        every: false,
        plan: Plan::none(),
        charts: Charts::new(Arc::clone(&context.engine)),
        format: Format::Json,
        // Who has yet to tell its name has it lowered then.
        mode: if unproved { Mode::Quote } else { Mode::Quote.min(most) },
        all: false,
        throttle_ms: 0,
        batch: false,
        batch_size: 1,
        ticket: Ticket::new(Arc::clone(&context.sessions)),
        resuming,
        context,
    };
    if !unproved {
        stream.resume_from_query().await;
    }
    let last = loop {
        let heard = tokio::select! {
            () = stream.ticket.taken() => break Close::Superseded.frame(),
            heard = stream.connection.hear() => heard,
        };
        match heard {
            Heard::Request(text) => {
                if let Err(close) = stream.request(&text).await {
                    break close.frame();
                }
            }
            Heard::Nothing => {}
            Heard::End(last) => break last,
        }
    };
    stream.end(last).await;
}

impl Stream {
    fn permissions(&self) -> Permissions {
        self.connection.watch.principal().permissions
    }

    fn frame(&self, message: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let span = push::value_frame(&mut out, self.format, message);
        out.drain(..span.frame().start);
        out
    }

    async fn say(&self, message: &Value) {
        self.connection.reply(self.frame(message)).await;
    }

    /// Carries a request out; an error ends the connection.
    async fn request(&mut self, text: &[u8]) -> Result<(), Close> {
        let request = self.parser.parse(text);
        if self.connection.is_unproved() && !matches!(request, Ok(Request::Auth(_))) {
            return Err(self.context.gate.counters.refuse(Refused::Missing).close());
        }
        match request {
            Ok(Request::Auth(token)) => return self.authenticate(&token).await,
            Ok(Request::Refresh(token)) => self.refresh(&token).await,
            Ok(Request::Resume(request)) => self.resume(request).await,
            Ok(Request::Subscribe(subscribe)) => self.subscribe(subscribe).await,
            Ok(Request::Unsubscribe(selection)) => self.unsubscribe(selection).await,
            Ok(Request::SetAll(all)) => self.set_all(all).await,
            Ok(Request::Ping) => {
                self.say(&json!({"type": "pong", "timestamp": self.context.clock.unix_seconds()})).await;
            }
            Ok(Request::History(request)) => self.history(request).await,
            Ok(Request::RegisterAlert(request)) => self.register_alert(request).await,
            Ok(Request::RemoveAlert(id)) => {
                if let Some(token) = self.charts.unwatch(&id).await {
                    self.connection.holding.no_longer(token);
                    self.say(&json!({"type": "alert_removed", "alert_id": id})).await;
                } else {
                    self.refuse_field("alert_id", "no alert of this connection has this id").await;
                }
            }
            Err(error) => self.refuse(&error).await,
        }
        Ok(())
    }

    /// A bad token ends the connection: it is refused at the handshake, and this is the handshake of clients that cannot
    /// put one there.
    async fn authenticate(&mut self, token: &Secret) -> Result<(), Close> {
        if !self.context.gate.is_configured() {
            self.refuse_field("action", "auth: no authentication is configured; everybody is anonymous").await;
        } else if self.connection.watch.principal().proof != Proof::Anonymous {
            self.refuse_field("action", "auth: this connection is known already; refresh takes a newer token").await;
        } else {
            self.connection.authenticate(token).await.map_err(Refused::close)?;
            // What it had as nobody is not to be found under its name.
            self.ticket = Ticket::new(Arc::clone(&self.context.sessions));
            self.settle("authenticated").await;
            self.resume_from_query().await;
        }
        Ok(())
    }

    async fn refresh(&mut self, token: &Secret) {
        if self.connection.watch.principal().proof == Proof::Anonymous {
            return self.refuse_field("action", "refresh: there is no token to replace; auth takes the first").await;
        }
        match self.connection.refresh(token).await {
            Ok(()) => self.settle("refreshed").await,
            // The token at hand goes on until its own end.
            Err(refusal) => self.refuse_field("token", refusal.close().reason()).await,
        }
    }

    /// Takes over what the principal may do now, and tells what that has taken away.
    async fn settle(&mut self, kind: &str) {
        let principal = Arc::clone(self.connection.watch.principal());
        let permissions = principal.permissions;
        let mut kept: Vec<_> = self.slots.keys().copied().filter(|token| permissions.allows(*token)).collect();
        kept.sort_unstable();
        kept.truncate(permissions.max_tokens);
        let dropped: Vec<_> = {
            let kept: FxHashSet<_> = kept.iter().collect();
            self.slots.values().filter(|slot| !kept.contains(&slot.token)).cloned().collect()
        };
        let (mode, all) = (self.mode.min(permissions.mode), self.all && permissions.firehose);
        let every = self.every && permissions.firehose;
        let changed = !dropped.is_empty() || mode != self.mode || all != self.all || every != self.every;
        let alerts = self.charts.unwatch_others(|token| permissions.allows(token)).await;
        alerts.iter().for_each(|(_, token)| self.connection.holding.no_longer(*token));
        let mut gone: Vec<_> = dropped.iter().map(|slot| slot.token).collect();
        gone.sort_unstable();
        let mut message = json!({"type": kind, "user": principal.user, "expires_at": principal.expires_at,
            "unsubscribed": as_strings(&gone), "mode": mode.name(), "all": all});
        if !alerts.is_empty() {
            message["alerts_removed"] = alerts.iter().map(|(id, _)| &**id).collect();
        }
        if !changed {
            return self.say(&message).await;
        }
        let (inbox, encoding) = (self.connection.inbox(), Encoding { format: self.format, mode });
        if self.all && !all {
            self.context.board.unsubscribe_all(&inbox);
        } else if !all {
            self.context.board.unsubscribe(&inbox, &dropped);
        }
        dropped.iter().for_each(|slot| drop(self.slots.remove(&slot.token)));
        let slots = if all {
            self.context.board.subscribe_all(&inbox, encoding)
        } else {
            self.context.board.subscribe(&inbox, &kept, encoding)
        };
        if self.every && !every {
            self.plan.timeframes.clear();
        }
        (self.mode, self.all, self.every) = (mode, all, every);
        let when = self.when.clone().filter(|_| !all);
        // What is left is no more than what it had, so there is room for it.
        if !self.wants_everything() {
            self.connection.holding.end_everything();
        }
        let _ = self.connection.holding.replace(&kept);
        self.plan.tokens = (!all && !every).then(|| kept.clone());
        self.charts.end_others(&self.plan).await;
        let timeframes = self.plan.timeframes.iter().map(|(_, text)| text.clone()).collect();
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(kept);
            filter.timeframes = timeframes;
            filter.all = all;
            filter.mode = mode.name();
        });
        self.connection
            .change(Change {
                clear: true,
                add: slots.into_iter().map(|slot| Lane::new(slot, mode).with_condition(when.as_ref())).collect(),
                firehose: Some(all.then_some(mode)),
                inbox: Some(Arc::clone(&inbox)),
                reply: self.frame(&message),
                ..Change::default()
            })
            .await;
        self.charts.begin(&self.plan, &inbox).await;
        self.remember();
    }

    /// Refuses what stands in a field.
    async fn refuse_field(&self, field: &str, problem: &str) {
        self.say(&json!({"type": "error", "error": format!("{field}: {problem}"), "field": field})).await;
    }

    async fn refuse(&self, error: &RequestError) {
        let mut message = json!({"type": "error", "error": error.to_string()});
        if let Some(field) = error.field() {
            message["field"] = Value::from(field);
        }
        self.say(&message).await;
    }

    /// The tokens of a selection, each once, in order, and the symbols that nobody knows.
    fn resolve(&self, selection: &Selection) -> (Vec<InstrumentToken>, Vec<String>) {
        let (instruments, permissions) = (self.context.instruments.load(), self.permissions());
        let mut seen = FxHashSet::default();
        let mut tokens: Vec<_> = selection.tokens.iter().copied().filter(|token| seen.insert(*token)).collect();
        let mut unknown = Vec::new();
        for symbol in &selection.symbols {
            // One that may not be had is as unknown as one that is not there.
            match instruments.resolve(symbol).filter(|found| permissions.allows(found.token)) {
                Some(found) => {
                    let token = found.token;
                    if seen.insert(token) {
                        tokens.push(token);
                    }
                }
                None => unknown.push(symbol.clone()),
            }
        }
        (tokens, unknown)
    }

    async fn subscribe(&mut self, mut subscribe: Subscribe) {
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
        let principal = self.connection.watch.principal();
        if (subscribe.resume || principal.proof == Proof::Jwt)
            && let Some(token) = self.ticket.issue(principal)
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
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(tokens.iter().copied());
            filter.timeframes = subscribe.selection.timeframes;
            filter.all = false;
            filter.throttle_ms = subscribe.throttle_ms;
            filter.batch = subscribe.batch;
            filter.batch_size = subscribe.batch_size;
            filter.format = subscribe.format.name();
            filter.mode = subscribe.mode.name();
        });
        let delivery = Delivery {
            format: subscribe.format,
            throttle_ns: u64::from(subscribe.throttle_ms) * 1_000_000,
            batch_size: if subscribe.batch { subscribe.batch_size } else { 0 },
            utc: false,
        };
        self.connection
            .change(Change {
                clear: true,
                add: slots
                    .into_iter()
                    .map(|slot| Lane::new(slot, subscribe.mode).with_condition(self.when.as_ref()))
                    .collect(),
                firehose: Some(None),
                inbox: Some(Arc::clone(&inbox)),
                delivery: Some(delivery),
                reply: self.frame(&message),
                ..Change::default()
            })
            .await;
        self.charts.begin(&self.plan, &inbox).await;
        self.note_subscription(&tokens, unknown.len(), false);
        self.tell_stale(&tokens).await;
        self.remember();
    }

    fn note_subscription(&self, tokens: &[InstrumentToken], unknown: usize, all: bool) {
        let mode = self.mode.name();
        self.connection.record(&Event::Subscribe { tokens: tokens.len(), unknown, mode, all });
        self.connection.count_topics(tokens);
    }

    /// Whether it has a share in every instrument there is: its ticks, or its candles.
    fn wants_everything(&self) -> bool {
        self.all || self.every && !self.plan.timeframes.is_empty()
    }

    /// Has `tokens`, and a share in every instrument or none, or what it had before.
    fn hold(&mut self, tokens: &[InstrumentToken], everything: bool) -> Result<(), Refusal> {
        let holding = &mut self.connection.holding;
        if everything {
            let known: Vec<_> = self.context.board.table().load().keys().copied().collect();
            holding.everything(&known)?;
        }
        holding.replace(tokens)?;
        if !everything {
            holding.end_everything();
        }
        Ok(())
    }

    /// There is no room for what a field asks for. Nothing of the request is done.
    async fn refuse_room(&self, field: &str, refusal: Refusal) {
        let text = format!("{field}: {refusal}");
        self.say(&json!({"type": "error", "error": text, "field": field, "limit": refusal.limit()})).await;
    }

    /// Whoever subscribes while an instrument is stale missed the notice.
    async fn tell_stale(&self, tokens: &[InstrumentToken]) {
        for (since_ns, tokens) in self.context.stale.among(tokens) {
            let since = self.context.clock.unix_ns(since_ns) as f64 / 1e9;
            self.say(&outage::stale(&tokens, since)).await;
        }
    }

    async fn unsubscribe(&mut self, selection: Selection) {
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
        let left_timeframes = self.plan.timeframes.iter().map(|(_, text)| text.clone()).collect();
        let (left, all) = (self.slots.keys().copied(), self.all);
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(left);
            filter.timeframes = left_timeframes;
            filter.all = all;
        });
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

    async fn set_all(&mut self, all: bool) {
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
        let when = self.when.as_ref().filter(|_| !all);
        // Candles follow: those of every instrument, or again of the subscribed ones.
        self.plan.tokens = (!all && !self.every).then(|| self.slots.keys().copied().collect());
        self.charts.end_others(&self.plan).await;
        self.connection.info.update_filter(|filter| filter.all = all);
        let tokens: Vec<_> = slots.iter().map(|slot| slot.token).collect();
        self.connection
            .change(Change {
                clear: true,
                add: slots.into_iter().map(|slot| Lane::new(slot, self.mode).with_condition(when)).collect(),
                firehose: Some(all.then_some(self.mode)),
                inbox: Some(Arc::clone(&inbox)),
                reply: self.frame(&json!({"type": "set_all", "all": all})),
                ..Change::default()
            })
            .await;
        self.charts.begin(&self.plan, &inbox).await;
        if all {
            self.note_subscription(&[], 0, true);
        } else {
            self.connection.record(&Event::Unsubscribe { tokens: 0 });
        }
        self.tell_stale(&tokens).await;
        self.remember();
    }

    async fn history(&mut self, request: HistoryRequest) {
        let HistoryRequest { token, timeframe: text, count } = request;
        let timeframe = match text.parse::<Timeframe>() {
            Ok(timeframe) => timeframe,
            Err(error) => return self.refuse_field("timeframe", &error.to_string()).await,
        };
        if !self.is_known(token) {
            return self.refuse_field("token", UNKNOWN_TOKEN).await;
        }
        // While it is asked for, the engine has the instrument for it.
        if let Err(refusal) = self.connection.holding.also(token) {
            return self.refuse_room("token", refusal).await;
        }
        let bars = tokio::time::timeout(HISTORY_WAIT, self.context.engine.bars(token, timeframe, count));
        let bars = tokio::select! {
            bars = bars => bars,
            // The reading loop tells it.
            _ = self.connection.watch.over() => return,
        };
        self.connection.holding.no_longer(token);
        let closed = match bars {
            Ok(Ok(bars)) => bars.closed,
            Ok(Err(error)) => return self.refuse_field("action", &error.to_string()).await,
            Err(_) => return self.refuse_field("action", "the history takes too long; ask again").await,
        };
        let candles: Vec<Value> = closed.iter().map(|candle| candle_value(token, candle)).collect();
        self.say(&json!({"type": "history", "token": token.to_string(), "timeframe": text, "count": candles.len(),
            "candles": candles}))
            .await;
    }

    async fn register_alert(&mut self, request: RegisterAlert) {
        if !self.is_known(request.token) {
            return self.refuse_field("alert.token", UNKNOWN_TOKEN).await;
        }
        let token = request.token;
        if let Err(refusal) = self.connection.holding.also(token) {
            return self.refuse_room("alert.token", refusal).await;
        }
        let inbox = self.connection.inbox();
        // The tab must know its inbox before anything is posted to it.
        self.connection.change(Change { inbox: Some(Arc::clone(&inbox)), ..Change::default() }).await;
        match self.charts.watch(request, &inbox).await {
            Ok(reply) => self.say(&reply).await,
            Err((field, allowed)) => {
                self.connection.holding.no_longer(token);
                self.refuse_field(&field, &allowed).await;
            }
        }
    }

    /// Whether a token is of an instrument, one that is listed or that the feed has, and may be had: what may not is as
    /// unknown as what is not there.
    fn is_known(&self, token: InstrumentToken) -> bool {
        if !self.permissions().allows(token) {
            return false;
        }
        self.context.instruments.load().by_token(token.0).is_some()
            || self.context.board.table().load().contains_key(&token)
    }

    /// Cleans up, however the connection ended.
    async fn end(self, last: Vec<u8>) {
        if let Some(inbox) = self.connection.opened_inbox() {
            if self.all {
                self.context.board.unsubscribe_all(inbox);
            } else {
                let slots: Vec<_> = self.slots.values().cloned().collect();
                self.context.board.unsubscribe(inbox, &slots);
            }
        }
        self.connection.end(last).await;
        self.charts.end().await;
    }
}

/// Timeframes and how they were written, each once.
fn parse_timeframes(texts: &[String]) -> Result<Vec<(Timeframe, String)>, UnknownTimeframe> {
    let mut found: Vec<(Timeframe, String)> = Vec::new();
    for text in texts {
        let timeframe = text.parse()?;
        if found.iter().all(|(other, _)| *other != timeframe) {
            found.push((timeframe, text.clone()));
        }
    }
    Ok(found)
}

fn as_strings(tokens: &[InstrumentToken]) -> Vec<String> {
    tokens.iter().map(InstrumentToken::to_string).collect()
}
