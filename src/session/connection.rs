//! What the reading halves of all protocols have in common: the messages that come, and the way to the writing half.

use super::admission::{Admission, Holding};
use super::door::{Change, Command, Door};
use super::outage::StaleTokens;
use super::outlet::TabStats;
use super::registry::{Registry, SessionInfo, filter_of};
use super::socket::ReadHalf;
use super::tab::{Delivery, Tab};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::fanout::board::Board;
use crate::fanout::ring::Ring;
use crate::fanout::slot::Inbox;
use crate::identity::counters::Counters;
use crate::identity::gate::{GRACE, Gate};
use crate::identity::rate::{Meter, Rate};
use crate::identity::refusal::Refusal;
use crate::identity::watch::Watch;
use crate::kite::instruments::Instruments;
use crate::secret::Secret;
use crate::wire::Format;
use crate::wire::close::Close;
use arc_swap::ArcSwap;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// What all connections share.
#[derive(Debug)]
pub struct Context {
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
    /// Who may have how many instruments.
    pub admission: Arc<Admission>,
    /// Whose values grow old.
    pub stale: Arc<StaleTokens>,
    /// The program's clock.
    pub clock: Clock,
    /// Updates a tab's ring holds.
    pub ring_capacity: usize,
    /// Most tokens a connection may have.
    pub max_tokens: usize,
    /// The same, of Kite's protocol.
    pub max_kite_tokens: usize,
    /// Largest message a client may send, bytes.
    pub max_message: usize,
    /// How many messages a client may send, pings and pongs too.
    pub message_rate: Rate,
    /// Who may what.
    pub gate: Arc<Gate>,
}

impl Context {
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

/// A socket that has shaken hands, and what it needs to become a session.
#[derive(Debug)]
pub struct Arrival {
    /// The socket.
    pub socket: TcpStream,
    /// What came with the handshake.
    pub early: Bytes,
    /// Its place.
    pub place: Place,
    /// Whose it is.
    pub entrant: Entrant,
}

/// Whose connection it is.
#[derive(Debug)]
pub struct Entrant {
    /// Its place among the connections of its user.
    pub watch: Watch,
    /// It has yet to tell who it is, and occupies a place among those that do.
    pub unproved: Option<OwnedSemaphorePermit>,
    /// Where it comes from.
    pub peer: IpAddr,
}

/// Bytes of replies a client may leave unread before its next request is looked at.
const UNREAD_REPLIES: u64 = 16 * 1_024;
/// How long what a client still sends is read after the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is allocated per connection for reading. Requests are small; longer ones grow it.
const READ_BUFFER: usize = 512;

/// What a client has said.
#[derive(Debug)]
pub enum Heard {
    /// A text or binary message.
    Request(Bytes),
    /// Nothing that concerns the protocol above: a ping, say, which has been answered.
    Nothing,
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
    /// Where it comes from.
    peer: IpAddr,
    /// Until when it must have told who it is, and its place among those that have to.
    unproved: Option<(Instant, OwnedSemaphorePermit)>,
    meter: Meter,
    place: Place,
    socket: WebSocketStream<ReadHalf>,
    inbox: Option<Arc<Inbox>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.info.id).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens the session of a socket: from now on its writer has it. Messages of up to `max_message` bytes are read.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn open(arrival: Arrival, context: Arc<Context>, format: Format, max_message: usize) -> io::Result<Self> {
        let Arrival { socket, early, mut place, entrant } = arrival;
        let Entrant { watch, unproved, peer: address } = entrant;
        let peer = socket.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
        let socket = Arc::new(socket);
        let half = ReadHalf::new(Arc::clone(&socket), max_message)?;
        let holding = context.admission.holding(&watch.principal().user);
        let info = Arc::new(SessionInfo {
            id: uuid::Uuid::new_v4().to_string(),
            principal: Arc::clone(watch.principal()).into(),
            peer,
            connected_at: context.clock.unix_seconds(),
            last_seen_ns: AtomicU64::new(context.clock.now_ns()),
            filter: filter_of(format).into(),
            stats: Arc::new(TabStats::default()),
            inbox: std::sync::OnceLock::new(),
        });
        context.registry.insert(Arc::clone(&info));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let reading = WebSocketStream::from_partially_read(half, early.to_vec(), Role::Server, Some(config)).await;
        let delivery = Delivery { format, ..Delivery::default() };
        let tab = Box::new(Tab::new(socket, Arc::clone(&info.stats), delivery));
        place.opened = true;
        let connection = Self {
            context,
            info,
            holding,
            watch,
            peer: address,
            unproved: unproved.map(|permit| (Instant::now() + GRACE, permit)),
            meter: Meter::default(),
            place,
            socket: reading,
            inbox: None,
        };
        connection.send(Command::Open(tab)).await;
        Ok(connection)
    }

    async fn send(&self, command: Command) {
        self.place.door.send(self.place.key, command).await;
    }

    /// The next message. A client that asks without reading the answers is not heard further: its memory is bounded, and
    /// TCP tells it.
    pub async fn hear(&mut self) -> Heard {
        let stats = &self.info.stats;
        while stats.replies.load(Ordering::Relaxed) > UNREAD_REPLIES {
            // The writer rings when everything has left. It may have done so just now: then the bell is remembered.
            stats.replied.notified().await;
        }
        let message = tokio::select! {
            biased;
            close = ended(&self.context, &self.watch, self.unproved.as_ref()) => return Heard::End(close.frame()),
            message = self.socket.next() => message,
        };
        self.take(message).await
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
        Ok(())
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

    async fn take(&mut self, message: Option<Result<Message, Error>>) -> Heard {
        let now_ns = self.context.clock.now_ns();
        self.info.last_seen_ns.store(now_ns, Ordering::Relaxed);
        if message.is_some() && !self.meter.take(self.context.message_rate, now_ns) {
            Counters::count(&self.context.gate.counters.rate_limited);
            return Heard::End(Close::TooMany("Too many messages").frame());
        }
        if let Some(Ok(Message::Ping(_))) = message {
            // The library would write its pong with the next read that ends, that is with the client's next message.
            let _ = self.socket.flush().await;
        }
        self.socket.get_mut().finished();
        let collected = self.socket.get_mut().take_collected();
        match message {
            Some(Ok(Message::Text(text))) => Heard::Request(text.into()),
            Some(Ok(Message::Binary(bytes))) => Heard::Request(bytes),
            Some(Ok(Message::Close(_))) => {
                // The answer is in `collected`, or comes with the next read.
                let _ = self.socket.next().await;
                Heard::End([collected, self.socket.get_mut().take_collected()].concat())
            }
            Some(Ok(_)) => {
                self.reply(collected).await;
                Heard::Nothing
            }
            Some(Err(error)) => Heard::End(last_frame(&error, collected)),
            None => Heard::End(collected),
        }
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
        self.send(Command::Close(last)).await;
        // A socket that is closed over unread bytes is reset, and the reset overtakes the reason.
        let _ = tokio::time::timeout(FAREWELL, self.socket.get_mut().discard()).await;
    }
}

/// Until the connection must end, whatever the client does: its token has expired or was revoked, or never came.
async fn ended(context: &Context, watch: &Watch, unproved: Option<&(Instant, OwnedSemaphorePermit)>) -> Close {
    match unproved {
        None => watch.ended().await.close(),
        Some((deadline, _)) => {
            tokio::time::sleep_until(*deadline).await;
            context.gate.counters.refuse(Refusal::Late).close()
        }
    }
}

/// What to end a connection with after an error: tungstenite itself says nothing then.
fn last_frame(error: &Error, collected: Vec<u8>) -> Vec<u8> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Close::TooBig.frame(),
        // Fragments without end: see the reading half.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Close::TooBig.frame(),
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) => Close::Protocol.frame(),
        _ => collected,
    }
}
