//! `/ws/stream`: requests in, calls on the board, replies out. A task on the control side per connection.

use super::charts::{Charts, Plan};
use super::door::{Change, Command, Door};
use super::lane::Lane;
use super::outlet::TabStats;
use super::registry::{Registry, SessionInfo, empty_filter};
use super::socket::ReadHalf;
use super::tab::{Delivery, Tab};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::fanout::board::Board;
use crate::fanout::ring::Ring;
use crate::fanout::slot::{Inbox, Slot};
use crate::kite::instruments::Instruments;
use crate::market::timeframe::UnknownTimeframe;
use crate::market::{InstrumentToken, Mode, Timeframe, When};
use crate::wire::close::Close;
use crate::wire::derived::candle_value;
use crate::wire::request::{HistoryRequest, Parser, RegisterAlert, Request, RequestError, Selection, Subscribe};
use crate::wire::{Encoding, Format, push};
use arc_swap::ArcSwap;
use futures_util::{SinkExt, StreamExt};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// What all connections share.
#[derive(Debug)]
pub struct StreamContext {
    /// Who has what.
    pub board: Arc<Board>,
    /// The writers; a new tab goes to the one with the fewest.
    pub doors: Vec<Arc<Door>>,
    /// Symbols and their tokens.
    pub instruments: Arc<ArcSwap<Instruments>>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Candles and alerts.
    pub engine: Arc<Engine>,
    /// The program's clock.
    pub clock: Clock,
    /// Updates a tab's ring holds.
    pub ring_capacity: usize,
    /// Most tokens a connection may have.
    pub max_tokens: usize,
    /// Largest message a client may send, bytes.
    pub max_message: usize,
}

impl StreamContext {
    /// A place for one more connection; `None` when all are taken.
    pub fn place(&self) -> Option<Place> {
        let mut doors: Vec<_> = self.doors.iter().collect();
        doors.sort_by_key(|door| door.tabs());
        doors.into_iter().find_map(|door| door.key().map(|key| Place { door: Arc::clone(door), key, opened: false }))
    }
}

/// A key at a writer, given back when it is dropped unused.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    key: u32,
    opened: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.opened {
            self.door.free(self.key);
        }
    }
}

/// How long a request for history waits for one that is being loaded.
const HISTORY_WAIT: Duration = Duration::from_secs(15);
const UNKNOWN_TOKEN: &str = "no instrument has this token";
/// Bytes of replies a client may leave unread before its next request is looked at.
const UNREAD_REPLIES: u64 = 16 * 1_024;
/// What is allocated per connection for reading. Requests are small; longer ones grow it.
const READ_BUFFER: usize = 512;

/// One connection's reading half.
struct Stream {
    context: Arc<StreamContext>,
    place: Place,
    info: Arc<SessionInfo>,
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
    inbox: Option<Arc<Inbox>>,
    format: Format,
    mode: Mode,
    all: bool,
}

/// Serves a connection until it ends. `early` is what came with the handshake.
pub async fn serve(socket: TcpStream, early: Bytes, place: Place, context: Arc<StreamContext>, user: String) {
    let peer = socket.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
    let socket = Arc::new(socket);
    let half = match ReadHalf::new(Arc::clone(&socket)) {
        Ok(half) => half,
        Err(error) => return tracing::warn!(%error, "a new connection cannot be read"),
    };
    let info = Arc::new(SessionInfo {
        id: uuid::Uuid::new_v4().to_string(),
        user,
        peer,
        connected_at: context.clock.unix_seconds(),
        last_seen_ns: AtomicU64::new(context.clock.now_ns()),
        filter: empty_filter().into(),
        stats: Arc::new(TabStats::default()),
        inbox: std::sync::OnceLock::new(),
    });
    context.registry.insert(Arc::clone(&info));
    let mut stream = Stream {
        place,
        info,
        parser: Parser::default(),
        slots: FxHashMap::default(),
        when: None,
        every: false,
        plan: Plan::none(),
        charts: Charts::new(Arc::clone(&context.engine)),
        inbox: None,
        format: Format::Json,
        mode: Mode::Quote,
        all: false,
        context,
    };
    let tab = Box::new(Tab::new(socket, Arc::clone(&stream.info.stats)));
    stream.place.opened = true;
    stream.send(Command::Open(tab)).await;
    let last = stream.read(half, early).await;
    stream.end(last).await;
}

impl Stream {
    async fn send(&self, command: Command) {
        self.place.door.send(self.place.key, command).await;
    }

    /// Reads until the connection ends; returns the frame to end it with.
    async fn read(&mut self, half: ReadHalf, early: Bytes) -> Vec<u8> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(self.context.max_message))
            .max_frame_size(Some(self.context.max_message));
        let mut socket = WebSocketStream::from_partially_read(half, early.to_vec(), Role::Server, Some(config)).await;
        loop {
            self.wait_for_reader().await;
            let message = socket.next().await;
            self.info.last_seen_ns.store(self.context.clock.now_ns(), Ordering::Relaxed);
            if let Some(Ok(Message::Ping(_))) = message {
                // The library would write its pong with the next read that ends, that is with the client's next message.
                let _ = socket.flush().await;
            }
            let collected = socket.get_mut().take_collected();
            match message {
                Some(Ok(Message::Text(text))) => self.request(text.as_bytes()).await,
                Some(Ok(Message::Binary(bytes))) => self.request(&bytes).await,
                Some(Ok(Message::Close(_))) => {
                    // The answer is in `collected`, or comes with the next read.
                    let _ = socket.next().await;
                    return [collected, socket.get_mut().take_collected()].concat();
                }
                Some(Ok(_)) => self.reply(collected).await,
                Some(Err(error)) => return last_frame(&error, collected),
                None => return collected,
            }
        }
    }

    /// A client that asks without reading the answers is not heard further: its memory is bounded, and TCP tells it.
    async fn wait_for_reader(&self) {
        let stats = &self.info.stats;
        while stats.replies.load(Ordering::Relaxed) > UNREAD_REPLIES {
            // The writer rings when everything has left. It may have done so just now: then the bell is remembered.
            stats.replied.notified().await;
        }
    }

    async fn reply(&self, frame: Vec<u8>) {
        if !frame.is_empty() {
            self.info.stats.replies.fetch_add(frame.len() as u64, Ordering::Relaxed);
            self.send(Command::Send(frame)).await;
        }
    }

    fn frame(&self, message: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let span = push::value_frame(&mut out, self.format, message);
        out.drain(..span.frame().start);
        out
    }

    async fn say(&self, message: &Value) {
        self.reply(self.frame(message)).await;
    }

    async fn request(&mut self, text: &[u8]) {
        match self.parser.parse(text) {
            Ok(Request::Subscribe(subscribe)) => self.subscribe(subscribe).await,
            Ok(Request::Unsubscribe(selection)) => self.unsubscribe(selection).await,
            Ok(Request::SetAll(all)) => self.set_all(all).await,
            Ok(Request::Ping) => {
                self.say(&json!({"type": "pong", "timestamp": self.context.clock.unix_seconds()})).await;
            }
            Ok(Request::History(request)) => self.history(request).await,
            Ok(Request::RegisterAlert(request)) => self.register_alert(request).await,
            Ok(Request::RemoveAlert(id)) => {
                if self.charts.unwatch(&id).await {
                    self.say(&json!({"type": "alert_removed", "alert_id": id})).await;
                } else {
                    self.refuse_field("alert_id", "no alert of this connection has this id").await;
                }
            }
            Err(error) => self.refuse(&error).await,
        }
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
        let instruments = self.context.instruments.load();
        let mut seen = FxHashSet::default();
        let mut tokens: Vec<_> = selection.tokens.iter().copied().filter(|token| seen.insert(*token)).collect();
        let mut unknown = Vec::new();
        for symbol in &selection.symbols {
            match instruments.resolve(symbol) {
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

    /// The inbox, made at the first subscription: a tab that only idles needs none.
    fn inbox(&mut self) -> Arc<Inbox> {
        let inbox = self.inbox.get_or_insert_with(|| {
            let ring = Ring::new(self.context.ring_capacity);
            Arc::new(Inbox::new(ring, self.place.key, Arc::clone(&self.place.door.port)))
        });
        let _ = self.info.inbox.set(Arc::clone(inbox));
        Arc::clone(inbox)
    }

    async fn subscribe(&mut self, subscribe: Subscribe) {
        let (tokens, unknown) = self.resolve(&subscribe.selection);
        let most = self.context.max_tokens;
        if tokens.len() > most {
            let text = format!("{} is too many; at most {most} for one connection", tokens.len());
            return self.refuse_field("tokens", &text).await;
        }
        let timeframes = match parse_timeframes(&subscribe.selection.timeframes) {
            Ok(timeframes) => timeframes,
            Err(error) => return self.refuse_field("timeframes", &error.to_string()).await,
        };
        // Timeframes and no token at all: those of every instrument.
        self.every = subscribe.selection.tokens.is_empty() && subscribe.selection.symbols.is_empty();
        self.plan = Plan {
            tokens: (!self.every).then(|| tokens.clone()),
            timeframes,
            live: subscribe.live_candles,
            format: subscribe.format,
        };
        self.charts.end_others(&self.plan).await;
        let encoding = Encoding { format: subscribe.format, mode: subscribe.mode };
        let inbox = self.inbox();
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
        if subscribe.live_candles {
            message["live_candles"] = json!(true);
        }
        self.when = subscribe.when.map(Arc::new);
        if let Some(when) = &subscribe.when {
            message["when"] = json!(when);
        }
        self.info.update_filter(|filter| {
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
        };
        self.change(Change {
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
    }

    async fn unsubscribe(&mut self, selection: Selection) {
        let everything = selection.is_empty();
        let (named, _) = self.resolve(&selection);
        let removed: Vec<_> = if everything { self.slots.keys().copied().collect() } else { named.clone() };
        let slots: Vec<_> = removed.iter().filter_map(|token| self.slots.remove(token)).collect();
        let ended = match parse_timeframes(&selection.timeframes) {
            Ok(_) if everything => std::mem::take(&mut self.plan.timeframes),
            Ok(ended) => ended,
            Err(error) => return self.refuse_field("timeframes", &error.to_string()).await,
        };
        self.plan.timeframes.retain(|(timeframe, _)| !ended.iter().any(|(other, _)| other == timeframe));
        self.every &= !everything;
        if let Some(tokens) = &mut self.plan.tokens {
            tokens.retain(|token| self.slots.contains_key(token));
        }
        self.charts.end_others(&self.plan).await;
        let timeframes: Vec<String> = ended.into_iter().map(|(_, text)| text).collect();
        if let Some(inbox) = &self.inbox {
            if self.all && everything {
                self.context.board.unsubscribe_all(inbox);
            } else if !self.all {
                self.context.board.unsubscribe(inbox, &slots);
            }
        }
        let ended_all = self.all && everything;
        self.all &= !everything;
        let mut tokens = removed;
        if everything {
            tokens.sort_unstable();
        }
        let message = json!({"type": "unsubscribed", "symbols": selection.symbols, "tokens": as_strings(&tokens),
            "timeframes": timeframes});
        let left_timeframes = self.plan.timeframes.iter().map(|(_, text)| text.clone()).collect();
        let (left, all) = (self.slots.keys().copied(), self.all);
        self.info.update_filter(|filter| {
            filter.set_tokens(left);
            filter.timeframes = left_timeframes;
            filter.all = all;
        });
        self.change(Change {
            remove: if self.all { Vec::new() } else { slots.iter().map(|slot| slot.id).collect() },
            clear: ended_all,
            firehose: ended_all.then_some(None),
            reply: self.frame(&message),
            ..Change::default()
        })
        .await;
    }

    async fn set_all(&mut self, all: bool) {
        let encoding = Encoding { format: self.format, mode: self.mode };
        let inbox = self.inbox();
        let slots: Vec<Arc<Slot>> = if all {
            self.context.board.subscribe_all(&inbox, encoding)
        } else {
            self.context.board.unsubscribe_all(&inbox);
            let tokens: Vec<_> = self.slots.keys().copied().collect();
            self.context.board.subscribe(&inbox, &tokens, encoding)
        };
        self.all = all;
        let when = self.when.as_ref().filter(|_| !all);
        // Candles follow: those of every instrument, or again of the subscribed ones.
        self.plan.tokens = (!all && !self.every).then(|| self.slots.keys().copied().collect());
        self.charts.end_others(&self.plan).await;
        self.info.update_filter(|filter| filter.all = all);
        self.change(Change {
            clear: true,
            add: slots.into_iter().map(|slot| Lane::new(slot, self.mode).with_condition(when)).collect(),
            firehose: Some(all.then_some(self.mode)),
            inbox: Some(Arc::clone(&inbox)),
            reply: self.frame(&json!({"type": "set_all", "all": all})),
            ..Change::default()
        })
        .await;
        self.charts.begin(&self.plan, &inbox).await;
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
        let bars = tokio::time::timeout(HISTORY_WAIT, self.context.engine.bars(token, timeframe, count)).await;
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
        let inbox = self.inbox();
        // The tab must know its inbox before anything is posted to it.
        self.change(Change { inbox: Some(Arc::clone(&inbox)), ..Change::default() }).await;
        match self.charts.watch(request, &inbox).await {
            Ok(reply) => self.say(&reply).await,
            Err((field, allowed)) => self.refuse_field(&field, &allowed).await,
        }
    }

    /// Whether a token is of an instrument: one that is listed, or that the feed has.
    fn is_known(&self, token: InstrumentToken) -> bool {
        self.context.instruments.load().by_token(token.0).is_some()
            || self.context.board.table().load().contains_key(&token)
    }

    async fn change(&self, change: Change) {
        self.info.stats.replies.fetch_add(change.reply.len() as u64, Ordering::Relaxed);
        self.send(Command::Change(Box::new(change))).await;
    }

    /// Cleans up, however the connection ended.
    async fn end(self, last: Vec<u8>) {
        if let Some(inbox) = &self.inbox {
            if self.all {
                self.context.board.unsubscribe_all(inbox);
            } else {
                let slots: Vec<_> = self.slots.values().cloned().collect();
                self.context.board.unsubscribe(inbox, &slots);
            }
        }
        self.context.registry.remove(&self.info.id);
        self.send(Command::Close(last)).await;
        self.charts.end().await;
    }
}

/// What to end a connection with after an error: tungstenite itself says nothing then.
fn last_frame(error: &Error, collected: Vec<u8>) -> Vec<u8> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Close::TooBig.frame(),
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) => Close::Protocol.frame(),
        _ => collected,
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
