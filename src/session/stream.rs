//! `/ws/stream`: requests in, calls on the board, replies out. A task on the control side per connection.

mod alerts;
mod history;
mod identity;
mod resume;
mod subscription;

use super::admission::Refusal;
use super::arrival::Arrival;
use super::charts::{Charts, Plan};
use super::connection::{Connection, Heard};
use super::context::Context;
use super::door::Change;
use super::lane::Lane;
use super::outage;
use super::tab::Delivery;
use crate::account::analytics::Topics;
use crate::account::audit::Event;
use crate::fanout::slot::{Inbox, Slot};
use crate::identity::permissions::Permissions;
use crate::identity::refusal::Refusal as Refused;
use crate::market::timeframe::UnknownTimeframe;
use crate::market::{InstrumentToken, Mode, Timeframe, When};
use crate::wire::close::Close;
use crate::wire::request::{self, Request, RequestError, Selection};
use crate::wire::{Format, push};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Value, json};
use std::sync::Arc;

const UNKNOWN_TOKEN: &str = "no instrument has this token";

/// One connection's reading half.
struct Stream {
    connection: Connection,
    context: Arc<Context>,
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
}

/// Serves a connection until it ends. What happens at its ends or on request has its state on the heap meanwhile: an idle
/// connection is no larger than what it takes to listen.
pub async fn serve(arrival: Box<Arrival>, context: Arc<Context>) {
    let Some(mut stream) = Box::pin(Stream::open(arrival, context)).await else { return };
    let last = loop {
        match stream.connection.hear().await {
            Heard::Request(text) => {
                if let Err(close) = Box::pin(stream.request(&text)).await {
                    break stream.connection.refused(close);
                }
            }
            Heard::Nothing | Heard::Bell => {}
            Heard::End(last) => break last,
        }
    };
    Box::pin(stream.end(last)).await;
}

impl Stream {
    async fn open(arrival: Box<Arrival>, context: Arc<Context>) -> Option<Box<Self>> {
        let max_message = context.max_message;
        let connection = Connection::open(arrival, Arc::clone(&context), Delivery::default(), max_message).await?;
        let (unproved, most) = (connection.is_unproved(), connection.watch.principal().permissions.mode);
        let mut stream = Box::new(Self {
            connection,
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
            context,
        });
        if !unproved {
            stream.resume_from_query().await;
        }
        Some(stream)
    }

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
        let request = request::parse(text);
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
            Ok(Request::RemoveAlert(id)) => self.remove_alert(&id).await,
            Err(error) => self.refuse(&error).await,
        }
        Ok(())
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

    fn delivery(&self) -> Delivery {
        Delivery {
            format: self.format,
            throttle_ns: u64::from(self.throttle_ms) * 1_000_000,
            batch_size: if self.batch { self.batch_size } else { 0 },
            utc: false,
        }
    }

    /// The timeframes of its candles, as the client wrote them.
    fn timeframes(&self) -> Vec<String> {
        self.plan.timeframes.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Shows operators what it has.
    fn show_filter(&self) {
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(self.slots.keys().copied());
            filter.timeframes = self.timeframes();
            filter.all = self.all;
            filter.throttle_ms = self.throttle_ms;
            filter.batch = self.batch;
            filter.batch_size = self.batch_size;
            filter.format = self.format.name();
            filter.mode = self.mode.name();
        });
    }

    /// Gives the writing half these slots in place of what it had, with the reply that says so.
    async fn replace(&self, slots: Vec<Arc<Slot>>, inbox: &Arc<Inbox>, reply: &Value) {
        let when = self.when.as_ref().filter(|_| !self.all);
        self.connection
            .change(Change {
                clear: true,
                add: slots.into_iter().map(|slot| Lane::new(slot, self.mode).from_now().with_condition(when)).collect(),
                firehose: Some(self.all.then_some(self.mode)),
                inbox: Some(Arc::clone(inbox)),
                delivery: Some(self.delivery()),
                reply: self.frame(reply),
                ..Change::default()
            })
            .await;
    }

    fn note_subscription(&self, tokens: &[InstrumentToken], unknown: usize, all: bool) {
        let mode = self.mode.name();
        self.connection.record(&Event::Subscribe { tokens: tokens.len(), unknown, mode, all });
        self.connection.count_topics(Topics::Instruments, tokens);
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
    async fn end(self: Box<Self>, last: Vec<u8>) {
        if let Some(inbox) = self.connection.opened_inbox() {
            if self.all {
                self.context.board.unsubscribe_all(inbox);
            } else {
                let slots: Vec<_> = self.slots.values().cloned().collect();
                self.context.board.unsubscribe(inbox, &slots);
            }
        }
        // Before the farewell, which may take its time: nothing is computed for who is gone.
        self.charts.end().await;
        self.connection.end(last).await;
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
