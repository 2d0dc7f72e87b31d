//! The reading half of a socket, for tungstenite.
//!
//! One writer per socket, and tungstenite is not it: what it wants to write by itself (pongs, the answer to a close) is
//! collected here and handed to the tab's writer as finished frames. If both wrote, one's frame could cut the other's.

use super::fragments::{Abuse, Fragments};
use std::io::{self, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::time::Sleep;

/// See the module. Registered for reading with the control side's reactor; the writer uses the same socket directly.
#[derive(Debug)]
pub struct ReadHalf {
    socket: AsyncFd<Arc<TcpStream>>,
    /// Frames tungstenite wants sent. At most a pong and a close: see [`ReadHalf::write`].
    collected: Vec<u8>,
    fragments: Fragments,
    abuse: Option<Abuse>,
    /// When the message that has begun must have ended.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Most bytes read after the end: what was on its way then, and not what is sent on and on.
const DISCARDED: usize = 256 * 1_024;
/// How long a message may take from its first byte to its last.
const UNFINISHED: Duration = Duration::from_secs(5);
/// Most bytes collected: pongs of 125 bytes and their heads, and a close.
const COLLECTED: usize = 1_024;

impl ReadHalf {
    /// Registers a non-blocking socket. Must be called within the runtime.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(socket: Arc<TcpStream>) -> io::Result<Self> {
        // Its replacement is an unsafe function that asks for one thing: the descriptor stays the same and open as long as
        // the registration lives. An `Arc<TcpStream>` that the registration owns cannot do otherwise.
        #[expect(deprecated, reason = "sound for a socket that owns its descriptor, and needs no unsafe")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket, collected: Vec::new(), fragments: Fragments::default(), abuse: None, deadline: None })
    }

    /// Reads to the client's end and throws it away, at most [`DISCARDED`] bytes.
    pub async fn discard(&mut self) {
        // On the heap: every open connection would carry it in its task otherwise.
        let mut sink = vec![0; 2_048];
        let mut left = DISCARDED;
        while left > 0 {
            // Whatever it sends now is no abuse any more.
            (self.fragments, self.abuse, self.deadline) = (Fragments::default(), None, None);
            match self.read(&mut sink).await {
                Ok(read) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    }

    /// Takes in bytes of the client, on their way to tungstenite. After an [`Abuse`] nothing more is read: an error of
    /// kind `InvalidData` holds it.
    pub fn observe(&mut self, bytes: &[u8]) {
        let ended = match self.fragments.take(bytes) {
            Ok(ended) => ended,
            Err(abuse) => return self.abuse = Some(abuse),
        };
        if !self.fragments.is_unfinished() {
            self.deadline = None;
        } else if ended || self.deadline.is_none() {
            self.deadline = Some(Box::pin(tokio::time::sleep(UNFINISHED)));
        }
    }

    /// Takes the frames that tungstenite wanted sent.
    pub fn take_collected(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.collected)
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            self.abuse = Some(Abuse::Unfinished);
        }
        if let Some(abuse) = self.abuse {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, abuse)));
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            match ready.try_io(|socket| (&**socket.get_ref()).read(buffer.initialize_unfilled())) {
                Ok(Ok(read)) => {
                    drop(ready);
                    let before = buffer.filled().len();
                    buffer.advance(read);
                    self.observe(&buffer.filled()[before..]);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for ReadHalf {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A client that pings without reading the pongs would fill memory: beyond the limit its pongs are dropped, which
        // RFC 6455 allows for all but the newest.
        if self.collected.len() + bytes.len() <= COLLECTED {
            self.collected.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
