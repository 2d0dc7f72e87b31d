//! `/indicators/v2/stream` and `/indicators/stream`: requests in, replies out. A task on the control side per connection.

mod resume;

use super::ledger::Seat;
use super::problem::{Asked, Problem};
use super::reply::{self, now, success};
use super::subscriptions::{Inventory, MemberId, Subscriptions};
use crate::account::analytics::Topics;
use crate::account::audit::Event;
use crate::identity::permissions::Permissions;
use crate::identity::principal::{Principal, Proof};
use crate::identity::refusal::Refusal;
use crate::market::InstrumentToken;
use crate::resume::SessionState;
use crate::secret::Secret;
use crate::session::arrival::Arrival;
use crate::session::connection::{Connection, Heard};
use crate::session::context::Context;
use crate::session::door::Change;
use crate::session::tab::Delivery;
use crate::wire::close::Close;
use crate::wire::indicator_request::{IndicatorRequest, Unwanted, Wanted, parse};
use crate::wire::{Format, push};
use serde_json::{Value, json};
use std::sync::Arc;

/// Whose the subscriptions are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    /// The connection's.
    V2,
    /// Those of the API key's client, shared by its connections.
    Legacy,
}

/// What a known connection has.
struct Desk {
    subscriptions: Arc<Subscriptions>,
    member: MemberId,
    /// As whom it was connected.
    who: Arc<Principal>,
    _seat: Seat,
}

/// One connection's reading half.
struct Stream {
    connection: Connection,
    context: Arc<Context>,
    protocol: Protocol,
    /// `ws_` and 12 hex digits.
    id: String,
    /// `None` until it has told who it is.
    desk: Option<Desk>,
}

/// Serves a connection whose subscriptions are its own.
pub async fn serve(arrival: Box<Arrival>, context: Arc<Context>) {
    run(arrival, context, Protocol::V2).await;
}

/// Serves a connection that shares its subscriptions with the others of its client.
pub async fn serve_client(arrival: Box<Arrival>, context: Arc<Context>) {
    run(arrival, context, Protocol::Legacy).await;
}

async fn run(arrival: Box<Arrival>, context: Arc<Context>, protocol: Protocol) {
    let Some(mut stream) = Box::pin(Stream::open(arrival, context, protocol)).await else { return };
    let last = stream.listen().await;
    Box::pin(stream.end(last)).await;
}

/// The beginning of a connection's own id, which is random, so that operators find one by the other.
fn ws_conn_id(id: &str) -> String {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    format!("ws_{digits}")
}

fn frame(message: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let span = push::value_frame(&mut out, Format::Json, message);
    out.drain(..span.frame().start);
    out
}

impl Stream {
    async fn open(arrival: Box<Arrival>, context: Arc<Context>, protocol: Protocol) -> Option<Box<Self>> {
        let max_message = context.max_message;
        let delivery = Delivery { utc: true, ..Delivery::default() };
        let connection = Connection::open(arrival, Arc::clone(&context), delivery, max_message).await?;
        let id = ws_conn_id(&connection.info.id);
        Some(Box::new(Self { connection, context, protocol, id, desk: None }))
    }

    /// Takes requests until the connection ends; returns the frame to end it with.
    async fn listen(&mut self) -> Vec<u8> {
        if !self.connection.is_unproved()
            && let Err(close) = Box::pin(self.begin()).await
        {
            return self.connection.refused(close);
        }
        loop {
            match self.connection.hear().await {
                Heard::Request(text) => {
                    if let Err(close) = Box::pin(self.request(&text)).await {
                        return self.connection.refused(close);
                    }
                }
                Heard::Nothing => {}
                Heard::Bell => Box::pin(self.note()).await,
                Heard::End(last) => return last,
            }
        }
    }

    fn permissions(&self) -> Permissions {
        self.connection.watch.principal().permissions
    }

    async fn say(&self, message: &Value) {
        self.connection.reply(frame(message)).await;
    }

    /// It is known who it is: tells it so, and gives it what its client has already.
    async fn begin(&mut self) -> Result<(), Close> {
        let who = Arc::clone(self.connection.watch.principal());
        let mut data = json!({"ws_conn_id": self.id, "user_id": who.user, "session_id": who.session_id,
            "timestamp": now(&self.context.clock)});
        if self.protocol == Protocol::Legacy {
            data["client_id"] = json!(who.user);
        }
        let message = success(format!("Connected to indicator stream (session: {})", self.id), data);
        let inbox = self.connection.inbox();
        // The tab must know its inbox before anything is posted to it.
        self.connection
            .change(Change { inbox: Some(Arc::clone(&inbox)), reply: frame(&message), ..Change::default() })
            .await;
        let context = &self.context;
        let subscriptions = match self.protocol {
            Protocol::V2 => Arc::new(Subscriptions::new(context, &who.user)),
            Protocol::Legacy => context.indicators.clients.connect(context, &who),
        };
        let seat = context.indicators.ledger.seat(&who.user);
        match subscriptions.join(context, &who.permissions, (&inbox, &self.connection.bell), |_| None).await {
            Ok(joined) => {
                self.desk = Some(Desk { subscriptions, member: joined.id, who, _seat: seat });
                self.note().await;
                if let Some(request) = self.connection.asked_to_resume() {
                    self.resume(request).await?;
                }
                Ok(())
            }
            Err(problem) => {
                if self.protocol == Protocol::Legacy {
                    context.indicators.clients.disconnect(context, &who);
                }
                tracing::warn!(%problem, "a connection could not be given its client's indicators");
                Err(Close::Unavailable)
            }
        }
    }

    /// Carries a request out; an error ends the connection.
    async fn request(&mut self, text: &[u8]) -> Result<(), Close> {
        let request = parse(text);
        if self.desk.is_none() && !matches!(request, Ok(IndicatorRequest::Auth(_))) {
            return Err(self.context.gate.counters.refuse(Refusal::MissingJwt).close());
        }
        match request {
            Ok(IndicatorRequest::Auth(token)) => return self.authenticate(&token).await,
            Ok(IndicatorRequest::Refresh(token)) => self.refresh(&token).await,
            Ok(IndicatorRequest::Ping) => {
                self.say(&json!({"type": "pong", "timestamp": now(&self.context.clock)})).await;
            }
            Ok(IndicatorRequest::Resume(request)) => return self.resume(request).await,
            Ok(IndicatorRequest::Subscribe(wanted)) => self.subscribe(&wanted).await,
            Ok(IndicatorRequest::Unsubscribe(unwanted)) => self.unsubscribe(&unwanted).await,
            Err(fault) => self.say(&Problem::from(fault).message(Asked::Other)).await,
        }
        Ok(())
    }

    /// A bad token ends the connection, as it would have been refused at the handshake.
    async fn authenticate(&mut self, token: &Secret) -> Result<(), Close> {
        if self.desk.is_some() {
            let problem = Problem::token("this connection is known already; refresh takes a newer one");
            self.say(&problem.message(Asked::Other)).await;
            return Ok(());
        }
        self.connection.authenticate(token).await.map_err(Refusal::close)?;
        if self.connection.watch.principal().proof != Proof::Jwt {
            return Err(self.context.gate.counters.refuse(Refusal::Malformed).close());
        }
        self.begin().await
    }

    async fn refresh(&mut self, token: &Secret) {
        if let Err(refusal) = self.connection.refresh(token).await {
            // The token at hand goes on until its own end.
            return self.say(&Problem::token(refusal.close().reason()).message(Asked::Other)).await;
        }
        let principal = Arc::clone(self.connection.watch.principal());
        let Some(Desk { subscriptions, member, .. }) = &self.desk else { return };
        let removed = match self.protocol {
            Protocol::V2 => subscriptions.keep_only(&self.context, &principal.permissions).await,
            // What a client has may be another key's right.
            Protocol::Legacy => {
                subscriptions.narrow(&self.context, *member, &principal.permissions).await;
                Vec::new()
            }
        };
        self.note().await;
        let data = json!({"user_id": principal.user, "expires_at": principal.expires_at,
            "removed": reply::named(&removed)});
        self.say(&success("Token refreshed", data)).await;
    }

    async fn subscribe(&mut self, wanted: &Wanted) {
        let Some(desk) = &self.desk else { return };
        match desk.subscriptions.subscribe(&self.context, &self.permissions(), wanted).await {
            Ok(values) => {
                let Connection { watch, ticket, .. } = &mut self.connection;
                let resume_token = ticket.issue(watch.principal()).cloned();
                self.connection.heard();
                self.note().await;
                self.connection.record(&Event::Subscribe { tokens: 1, unknown: 0, mode: "indicators", all: false });
                self.connection.count_topics(Topics::Indicators, &wanted.indicators);
                let list = if self.protocol == Protocol::V2 { "indicators" } else { "subscriptions" };
                let mut reply = reply::subscribed(list, &wanted.indicators, values);
                if let Some(token) = resume_token {
                    reply["data"]["resume_token"] = token.reveal().into();
                }
                self.say(&reply).await;
            }
            Err(problem) => self.say(&problem.message(Asked::Subscribe)).await,
        }
    }

    async fn unsubscribe(&self, unwanted: &Unwanted) {
        let Some(desk) = &self.desk else { return };
        match desk.subscriptions.unsubscribe(&self.context, &self.permissions(), unwanted).await {
            Ok(removed) => {
                self.note().await;
                self.connection.record(&Event::Unsubscribe { tokens: removed.len() });
                let everything = unwanted.is_everything();
                self.say(&match self.protocol {
                    Protocol::V2 => reply::unsubscribed(&self.id, everything, &removed),
                    Protocol::Legacy => reply::client_unsubscribed(&removed),
                })
                .await;
            }
            Err(problem) => self.say(&problem.message(Asked::Unsubscribe)).await,
        }
    }

    /// Shows operators what it has, and notes it, so that it survives the connection.
    async fn note(&self) {
        let Some(desk) = &self.desk else { return };
        let (series, Inventory { groups, changed_at }) = desk.subscriptions.inventory().await;
        let connection = self.id.clone();
        self.connection.ticket.note(SessionState { connection, indicators: groups, changed_at, stream: None });
        let mut tokens: Vec<InstrumentToken> = series.iter().map(|(token, _)| *token).collect();
        tokens.dedup();
        let mut timeframes: Vec<_> = series.iter().map(|(_, timeframe)| *timeframe).collect();
        timeframes.sort_unstable();
        timeframes.dedup();
        self.connection.info.update_filter(|filter| {
            filter.set_tokens(tokens);
            filter.timeframes = timeframes.iter().map(|timeframe| timeframe.name().to_owned()).collect();
        });
    }

    /// Cleans up, however the connection ended.
    async fn end(self: Box<Self>, last: Vec<u8>) {
        if let Some(Desk { subscriptions, member, who, .. }) = self.desk {
            subscriptions.leave(&self.context, member).await;
            if self.protocol == Protocol::Legacy {
                self.context.indicators.clients.disconnect(&self.context, &who);
            }
        }
        self.connection.end(last).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_called_by_the_beginning_of_its_id() {
        assert_eq!(ws_conn_id("67e55044-10b1-426f-9247-bb680e5fe0c8"), "ws_67e5504410b1");
    }
}
