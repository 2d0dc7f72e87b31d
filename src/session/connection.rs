//! What the reading halves of all protocols have in common: the messages that come, and the way to the writing half.

use super::admission::Holding;
use super::arrival::{Arrival, Entrant, Place};
use super::comeback::Comeback;
use super::context::Context;
use super::door::{Change, Command};
use super::fragments::Abuse;
use super::outlet::TabStats;
use super::registry::{SessionInfo, filter_of};
use super::socket::ReadHalf;
use super::tab::{Delivery, Tab};
use super::vigil::{self, End};
use crate::account::analytics::Topics;
use crate::account::audit::{Event, Outcome};
use crate::fanout::ring::Ring;
use crate::fanout::slot::Inbox;
use crate::identity::counters::Counters;
use crate::identity::gate::GRACE;
use crate::identity::rate::Meter;
use crate::identity::refusal::Refusal;
use crate::identity::watch::Watch;
use crate::resume::counters::Refused;
use crate::resume::{Restored, SessionState, Ticket};
use crate::secret::Secret;
use crate::wire::Format;
use crate::wire::close::Close;
use crate::wire::resume::{Cursor, ResumeRequest};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Bytes of replies a client may leave unread before its next request is looked at.
const UNREAD_REPLIES: u64 = 16 * 1_024;
/// How long what a client still sends is read after the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client that closes may take with its end of the connection.
const CLOSING: Duration = Duration::from_secs(5);
/// What is allocated per connection for reading. Requests are small; longer ones grow it.
const READ_BUFFER: usize = 128;

/// What is heard of a client.
#[derive(Debug)]
pub enum Heard {
    /// A text or binary message.
    Request(Bytes),
    /// Nothing that concerns the protocol above: a ping, say, which has been answered.
    Nothing,
    /// The bell was rung: others have changed what it shares with them.
    Bell,
    /// No more; the frame to end the connection with, possibly none.
    End(Vec<u8>),
}

/// One connection's reading half, below its protocol. Control side.
pub struct Connection {
    /// What all connections share.
    pub context: Arc<Context>,
    /// What operators see.
    pub info: Arc<SessionInfo>,
    /// The tokens it has, as it was allowed.
    pub holding: Holding,
    /// Who it is, and until when.
    pub watch: Watch,
    /// Its hold on what survives it.
    pub ticket: Ticket,
    /// Makes [`Connection::hear`] return. Anybody may ring it.
    pub bell: Arc<Notify>,
    /// The session that the handshake's query wants to resume.
    resuming: Option<Secret>,
    /// Where it comes from.
    peer: IpAddr,
    /// It has yet to tell who it is. Boxed: most need not.
    unproved: Option<Box<Unproved>>,
    meter: Meter,
    place: Place,
    socket: WebSocketStream<ReadHalf>,
    inbox: Option<Arc<Inbox>>,
    next_ping_ns: u64,
    /// How it has ended: the close code of whichever side closed, 1006 for an end without one, and what ended it.
    ending: (u16, &'static str),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.info.id).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens the session of a socket: from now on its writer has it. Messages of up to `max_message` bytes are read. `None`
    /// when the socket cannot be read, which is told in the log.
    pub async fn open(
        arrival: Box<Arrival>,
        context: Arc<Context>,
        delivery: Delivery,
        max_message: usize,
    ) -> Option<Self> {
        let Arrival { socket, early, mut place, entrant, resume: resuming } = *arrival;
        let Entrant { watch, unproved, peer: address, name: peer } = entrant;
        let socket = Arc::new(socket);
        let half = ReadHalf::new(Arc::clone(&socket));
        let mut half = half.inspect_err(|error| tracing::warn!(%error, "a new connection cannot be read")).ok()?;
        half.observe(&early);
        let holding = context.admission.holding(&watch.principal().user);
        let info = Arc::new(SessionInfo {
            id: uuid::Uuid::new_v4().to_string().into(),
            principal: Arc::clone(watch.principal()).into(),
            peer,
            connected_at: context.clock.unix_seconds(),
            last_seen_ns: AtomicU64::new(context.clock.now_ns()),
            filter: filter_of(delivery.format).into(),
            stats: Arc::new(TabStats::default()),
            kite: delivery.format == Format::Kite,
            inbox: std::sync::OnceLock::new(),
            dismissal: tokio::sync::Notify::new(),
        });
        context.registry.insert(Arc::clone(&info));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let reading = WebSocketStream::from_partially_read(half, early.to_vec(), Role::Server, Some(config)).await;
        let tab = Box::new(Tab::new(socket, Arc::clone(&info.stats), delivery));
        place.opened = true;
        let next_ping_ns = context.vigil.first_ping_ns();
        let ticket = Ticket::new(Arc::clone(&context.sessions));
        let connection = Self {
            context,
            info,
            holding,
            watch,
            ticket,
            bell: Arc::default(),
            resuming,
            peer: address,
            unproved: unproved.map(|permit| Box::new(Unproved { deadline: Instant::now() + GRACE, _permit: permit })),
            meter: Meter::default(),
            place,
            socket: reading,
            inbox: None,
            next_ping_ns,
            ending: (1_006, "connection lost"),
        };
        connection.record(&Event::Connect { peer: &connection.info.peer });
        connection.send(Command::Open(tab)).await;
        Some(connection)
    }

    /// Writes down what happened to this session.
    pub fn record(&self, event: &Event<'_>) {
        self.context.account.audit.record(&self.watch.principal().user, &self.info.id, event, Outcome::Done);
    }

    /// Counts a subscription to topics of a kind.
    pub fn count_topics<Topic: ToString>(&self, kind: Topics, topics: &[Topic]) {
        let (user, topics) = (&self.watch.principal().user, topics.iter().map(Topic::to_string).collect::<Vec<_>>());
        self.context.account.analytics.subscribed(user, kind, topics.iter().map(String::as_str));
    }

    async fn send(&self, command: Command) {
        self.place.door.send(self.place.key, command).await;
    }

    /// The next message. A client that asks without reading the answers is not heard further: its memory is bounded, and
    /// TCP tells it.
    pub async fn hear(&mut self) -> Heard {
        self.listen(Some(self.context.clock.now_ns()));
        let heard = self.hear_next().await;
        if matches!(heard, Heard::Request(_)) {
            self.listen(None);
        }
        heard
    }

    /// Pongs are heard from that time on, or not while a request is carried out.
    fn listen(&self, from_ns: Option<u64>) {
        if let Some(inbox) = &self.inbox {
            inbox.pong.listen(from_ns);
        }
    }

    async fn hear_next(&mut self) -> Heard {
        let Self { context, info, socket, next_ping_ns, watch, ticket, bell, unproved, .. } = self;
        let next = async {
            while info.stats.replies.load(Ordering::Relaxed) > UNREAD_REPLIES {
                // The writer rings when everything has left. It may have done so just now: then the bell is remembered.
                info.stats.replied.notified().await;
            }
            socket.next().await
        };
        let heard = tokio::select! {
            biased;
            close = ended(context, watch, unproved.as_deref()) => Err(Call::Close(close)),
            () = ticket.taken() => Err(Call::Close(Close::Superseded)),
            () = bell.notified() => Err(Call::Bell),
            end = context.vigil.call(info, next_ping_ns) => Err(end.map_or(Call::Ping, Call::End)),
            message = next => Ok(message),
        };
        match heard {
            Ok(message) => self.take(message).await,
            Err(Call::End(end)) => Heard::End(self.evicted(end)),
            Err(Call::Close(close)) => {
                self.ending = (close.code(), close.reason());
                self.record(&Event::Evict { reason: close.reason() });
                Heard::End(close.frame())
            }
            Err(Call::Bell) => Heard::Bell,
            Err(Call::Ping) => {
                self.reply(vigil::ping()).await;
                Heard::Nothing
            }
        }
    }

    /// The gateway ends it.
    fn evicted(&mut self, end: End) -> Vec<u8> {
        self.ending = (end.close().code(), end.name());
        if !matches!(end, End::Drained(_)) {
            let info = &self.info;
            tracing::info!(session = %info.id, peer = %info.peer, reason = end.name(), "a connection is ended");
            self.record(&Event::Evict { reason: end.name() });
        }
        end.frame()
    }

    /// Whether it has yet to tell who it is.
    pub const fn is_unproved(&self) -> bool {
        self.unproved.is_some()
    }

    /// It tells who it is.
    ///
    /// # Errors
    /// When the token is not good.
    pub async fn authenticate(&mut self, token: &Secret) -> Result<(), Refusal> {
        let gate = Arc::clone(&self.context.gate);
        gate.authenticate(&mut self.watch, token, self.peer).await?;
        self.unproved = None;
        self.info.principal.store(Arc::clone(self.watch.principal()));
        // Whatever it had as nobody counts for the user from now on.
        self.holding = self.context.admission.holding(&self.watch.principal().user);
        // And is not to be found under its name.
        self.ticket = Ticket::new(Arc::clone(&self.context.sessions));
        Ok(())
    }

    /// What the handshake's query wants to resume; once.
    pub fn asked_to_resume(&mut self) -> Option<ResumeRequest> {
        self.resuming.take().map(|token| ResumeRequest { token, cursor: Cursor::default() })
    }

    /// Takes over the session of a token: what it had, to be asked for anew, and what the client has of it. A refusal is
    /// written down.
    ///
    /// # Errors
    /// When the token opens nothing.
    pub async fn restore(&mut self, request: ResumeRequest) -> Result<(SessionState, Comeback), Refused> {
        let principal = Arc::clone(self.watch.principal());
        match self.ticket.restore(&request.token, &principal).await {
            Ok(Restored { state, had_until }) => Ok((state, Comeback::new(request.cursor, had_until))),
            Err(refused) => {
                let event = Event::AuthRefused { peer: &self.info.peer, reason: refused.audit() };
                self.context.account.audit.record(&principal.user, &self.info.id, &event, Outcome::Refused);
                Err(refused)
            }
        }
    }

    /// A newer token takes the place of the one at hand.
    ///
    /// # Errors
    /// When it is not good; the old one goes on.
    pub async fn refresh(&mut self, token: &Secret) -> Result<(), Refusal> {
        let gate = Arc::clone(&self.context.gate);
        gate.refresh(&mut self.watch, token, self.peer).await?;
        self.info.principal.store(Arc::clone(self.watch.principal()));
        Ok(())
    }

    /// The next message, if it has come already.
    pub async fn hear_more(&mut self) -> Option<Heard> {
        // The runtime looks at the sockets meanwhile.
        tokio::task::yield_now().await;
        let message = self.socket.next().now_or_never()?;
        Some(self.take(message).await)
    }

    /// Something came from the client: what was sent before has arrived, unless some of it waits or was let go.
    pub fn heard(&self) {
        let waits = self.inbox.as_ref().is_some_and(|inbox| inbox.mail.is_overrun() || inbox.mail.depth() > 0);
        if self.info.stats.blocked_since_ns.get() == 0 && !waits {
            self.ticket.heard();
        }
    }

    /// A request ends it, most often a token that is not good: how, and the frame to do it with.
    pub fn refused(&mut self, close: Close) -> Vec<u8> {
        self.ending = (close.code(), close.reason());
        // Where the gateway cannot go on, nobody was refused.
        if close != Close::Unavailable {
            let event = Event::AuthRefused { peer: &self.info.peer, reason: close.reason() };
            self.context.account.audit.record(&self.watch.principal().user, &self.info.id, &event, Outcome::Refused);
        }
        close.frame()
    }

    async fn take(&mut self, message: Option<Result<Message, Error>>) -> Heard {
        let now_ns = self.context.clock.now_ns();
        self.info.last_seen_ns.store(now_ns, Ordering::Relaxed);
        if matches!(message, Some(Ok(_))) {
            self.heard();
        }
        if let (Some(Ok(Message::Pong(body))), Some(inbox)) = (&message, &self.inbox)
            && inbox.pong.hear(body, now_ns)
        {
            inbox.announce();
            self.place.door.wake();
            // The gateway wanted it: it does not count as one that the client sends.
            return Heard::Nothing;
        }
        if message.is_some() && !self.meter.take(self.context.message_rate, now_ns) {
            Counters::count(&self.context.gate.counters.rate_limited);
            let close = Close::TooMany("Too many messages");
            self.ending = (close.code(), close.reason());
            return Heard::End(close.frame());
        }
        if let Some(Ok(Message::Ping(_))) = message {
            // The library would write its pong with the next read that ends, that is with the client's next message.
            let _ = self.socket.flush().await;
        }
        let collected = self.socket.get_mut().take_collected();
        match message {
            Some(Ok(Message::Text(text))) => Heard::Request(text.into()),
            Some(Ok(Message::Binary(bytes))) => Heard::Request(bytes),
            Some(Ok(Message::Close(close))) => {
                self.ending = (close.map_or(1_005, |close| close.code.into()), "client");
                // The answer is in `collected`, or comes with the next read.
                let _ = tokio::time::timeout(CLOSING, self.socket.next()).await;
                Heard::End([collected, self.socket.get_mut().take_collected()].concat())
            }
            Some(Ok(_)) => {
                self.reply(collected).await;
                Heard::Nothing
            }
            Some(Err(error)) => Heard::End(self.failed(&error, collected)),
            None => Heard::End(collected),
        }
    }

    /// It ended with an error: what to say, since tungstenite itself says nothing then.
    fn failed(&mut self, error: &Error, collected: Vec<u8>) -> Vec<u8> {
        let abuse = match error {
            Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<Abuse>()),
            _ => None,
        };
        let close = match (error, abuse) {
            (_, Some(abuse)) => {
                self.context.vigil.counters.abuses.fetch_add(1, Ordering::Relaxed);
                Close::Policy(abuse.name())
            }
            (Error::Capacity(CapacityError::MessageTooLong { .. }), _) => Close::TooBig,
            (Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_), _) => Close::Protocol,
            _ => return collected,
        };
        self.ending = (close.code(), close.reason());
        close.frame()
    }

    /// Sends a finished frame.
    pub async fn reply(&self, frame: Vec<u8>) {
        if !frame.is_empty() {
            self.info.stats.replies.fetch_add(frame.len() as u64, Ordering::Relaxed);
            self.send(Command::Send(frame)).await;
        }
    }

    /// Changes what the writing half has.
    pub async fn change(&self, change: Change) {
        self.info.stats.replies.fetch_add(change.reply.len() as u64, Ordering::Relaxed);
        self.send(Command::Change(Box::new(change))).await;
    }

    /// The inbox, made at the first subscription: a tab that only idles needs none.
    pub fn inbox(&mut self) -> Arc<Inbox> {
        let inbox = self.inbox.get_or_insert_with(|| {
            let ring = Ring::new(self.context.ring_capacity);
            Arc::new(Inbox::new(ring, self.place.key, Arc::clone(&self.place.door.port)))
        });
        let _ = self.info.inbox.set(Arc::clone(inbox));
        Arc::clone(inbox)
    }

    /// The inbox, if there was a subscription.
    pub const fn opened_inbox(&self) -> Option<&Arc<Inbox>> {
        self.inbox.as_ref()
    }

    /// Ends the session, however the connection ended. The board must have forgotten its inbox.
    pub async fn end(mut self, last: Vec<u8>) {
        self.context.registry.remove(&self.info.id);
        let seconds = (self.context.clock.unix_seconds() - self.info.connected_at).max(0.0);
        let (code, reason) = self.ending;
        self.record(&Event::Close { code, reason, seconds, delivered: self.info.stats.delivered.get() });
        self.context.account.analytics.ended(Duration::from_secs_f64(seconds));
        self.send(Command::Close(last)).await;
        // Its session waits from now on, however long the farewell takes.
        drop(self.ticket);
        // A socket that is closed over unread bytes is reset, and the reset overtakes the reason.
        let _ = tokio::time::timeout(FAREWELL, self.socket.get_mut().discard()).await;
    }
}

/// A connection that has yet to tell who it is.
#[derive(Debug)]
struct Unproved {
    /// Until when.
    deadline: Instant,
    /// Its place among those that have to.
    _permit: OwnedSemaphorePermit,
}

/// What interrupts the wait for a client's next message.
enum Call {
    /// The bell was rung.
    Bell,
    /// A ping is due.
    Ping,
    /// The gateway ends it.
    End(End),
    /// Who it is ends it.
    Close(Close),
}

/// Until the connection must end, whatever the client does: its token has expired or was revoked, or never came.
async fn ended(context: &Context, watch: &Watch, unproved: Option<&Unproved>) -> Close {
    match unproved {
        None => watch.ended().await.close(),
        Some(unproved) => {
            Box::pin(tokio::time::sleep_until(unproved.deadline)).await;
            context.gate.counters.refuse(Refusal::Late).close()
        }
    }
}
