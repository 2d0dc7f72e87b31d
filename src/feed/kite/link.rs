//! One open connection to Kite, as the duty half sees it: non-blocking reads, writes that may have to wait.

use std::io;
use std::os::fd::RawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::inlet::Inlet;

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Down {
    /// Not a byte came for the time of [`super::Settings::watchdog`].
    #[error("nothing heard for too long")]
    Watchdog,
    /// Kite closed it in order.
    #[error("closed by the server (code {}, {reason:?})", code.map_or("none".to_owned(), |code| code.to_string()))]
    Closed {
        /// The code, if any was given.
        code: Option<u16>,
        /// The words with it.
        reason: String,
    },
    /// The network failed, or the other side hung up without a word (`UnexpectedEof`).
    #[error("network: {0}")]
    Io(io::ErrorKind),
    /// The other side does not speak the protocol.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl From<Error> for Down {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed { code: None, reason: String::new() },
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Io(io::ErrorKind::UnexpectedEof),
            Error::Io(error) => Self::Io(error.kind()),
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// What the control half learns at the end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) down: Down,
    /// Whether any packet came, so that the token was good.
    pub(super) ticked: bool,
}

/// The WebSocket as it comes out of the handshake.
pub(super) type Socket = WebSocket<MaybeTlsStream<Inlet>>;

/// An open connection. Dropping it closes the socket; [`Link::end`] also says why.
pub(super) struct Link {
    socket: Socket,
    fd: RawFd,
    /// Where the socket is registered, and whether for writing too.
    registered: Option<(Token, bool)>,
    /// Something is in the write buffers that the kernel did not take.
    unsent: bool,
    ended: oneshot::Sender<Ended>,
    pub(super) ticked: bool,
}

impl Link {
    /// `socket` must be non-blocking, and `fd` the number of its TCP socket. The receiver learns the end, or gets an error if the link is dropped instead.
    pub(super) fn new(socket: Socket, fd: RawFd) -> (Self, oneshot::Receiver<Ended>) {
        let (ended, end) = oneshot::channel();
        (Self { socket, fd, registered: None, unsent: false, ended, ticked: false }, end)
    }

    /// Bytes read from the network so far.
    pub(super) fn received(&self) -> u64 {
        match self.socket.get_ref() {
            MaybeTlsStream::Plain(inlet) => inlet.received(),
            MaybeTlsStream::Rustls(tls) => tls.sock.received(),
            _ => 0,
        }
    }

    fn inlet(&mut self) -> Option<&mut Inlet> {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(inlet) => Some(inlet),
            MaybeTlsStream::Rustls(tls) => Some(&mut tls.sock),
            _ => None,
        }
    }

    /// See [`Inlet::edge`].
    pub(super) fn edge(&mut self, ending: bool) {
        if let Some(inlet) = self.inlet() {
            inlet.edge(ending);
        }
    }

    /// The next message; `None` when there is none yet. An edge of readiness follows only a `None`.
    pub(super) fn read(&mut self) -> Result<Option<Message>, Down> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let (code, reason) = frame
                        .map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()));
                    return Err(Down::Closed { code, reason });
                }
                Ok(message) => {
                    if message.is_ping() {
                        self.flush()?;
                    }
                    return Ok(Some(message));
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether earlier requests still wait for the kernel, so that new ones had better wait too.
    pub(super) fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// Sends requests; what the kernel does not take now stays in the write buffer for [`Link::flush`].
    pub(super) fn send(&mut self, requests: Vec<String>) -> Result<(), Down> {
        for request in requests {
            self.taken(|socket| socket.write(Message::text(request)))?;
        }
        self.flush()
    }

    /// Continues unfinished writes.
    pub(super) fn flush(&mut self) -> Result<(), Down> {
        self.unsent = false;
        self.taken(WebSocket::flush)
    }

    fn taken(&mut self, write: impl FnOnce(&mut Socket) -> Result<(), Error>) -> Result<(), Down> {
        match write(&mut self.socket) {
            Err(Error::Io(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.unsent = true;
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Registers the socket, or changes its registration: for reading always, for writing only while something waits.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let wanted = Some((token, self.unsent));
        if self.registered == wanted {
            return Ok(());
        }
        let interest = if self.unsent { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        match self.registered {
            None => registry.register(&mut SourceFd(&self.fd), token, interest)?,
            Some(_) => registry.reregister(&mut SourceFd(&self.fd), token, interest)?,
        }
        self.registered = wanted;
        if let Some(inlet) = self.inlet() {
            inlet.trust_edges();
        }
        Ok(())
    }

    /// Gives the connection up: says goodbye if that does not block (a socket that Kite believes open counts against
    /// the three of a key), closes, and tells the control half why.
    pub(super) fn end(mut self, registry: Option<&Registry>, down: Option<Down>) {
        let _ = self.socket.close(None);
        if let (Some(registry), Some(_)) = (registry, self.registered) {
            let _ = registry.deregister(&mut SourceFd(&self.fd));
        }
        let Self { socket, ended, ticked, .. } = self;
        drop(socket);
        if let Some(down) = down {
            let _ = ended.send(Ended { down, ticked });
        }
    }
}
