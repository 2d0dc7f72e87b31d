//! A socket whose writing side can be slowed down to bytes per second.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How many bytes per second may pass; 0 for as many as there are. Set by the exchange, read by the connection.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    pub(super) fn set(&self, bytes_per_second: u32) {
        self.0.store(bytes_per_second, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Throttled {
    socket: TcpStream,
    pace: Arc<Pace>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Throttled {
    pub(super) fn new(socket: TcpStream, pace: Arc<Pace>) -> Self {
        Self { socket, pace, rest: None }
    }
}

impl AsyncRead for Throttled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Throttled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        let pace = self.pace.get();
        if pace == 0 {
            return Pin::new(&mut self.socket).poll_write(cx, bytes);
        }
        // Ten pieces a second, or a byte at a time.
        let piece = (pace as usize / 10).clamp(1, bytes.len().max(1));
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &bytes[..piece.min(bytes.len())]))?;
        self.rest = Some(Box::pin(sleep(Duration::from_secs_f64(written as f64 / f64::from(pace)))));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
