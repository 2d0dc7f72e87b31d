//! Carries a TLS session's bytes to and from a local socket pair, whose other end is what the session gets.
//!
//! So the data plane writes to a socket, as without TLS: shared frames stay shared, and sealing them, which is different
//! for each tab, is the control side's work. It costs two copies through the kernel and a wake-up of a control thread per
//! write, two more descriptors per tab, and buffers of bounded size: the pair's, one here, one of the TLS session's. When
//! the client does not read, they fill, the pair is full, and the tab is conflated like any other.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;

/// Bytes taken from the pair at a time: about one TLS record.
const BUFFER: usize = 16 * 1_024;
/// `SO_SNDBUF` of the session's end. The kernel counts its own overhead in it.
const PAIR: usize = 64 * 1_024;
/// How long a client may take to close its side after the session has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// The session's end of a new pair, and ours.
///
/// # Errors
/// When the system has no descriptors left.
pub fn pair() -> io::Result<(TcpStream, UnixStream)> {
    let (theirs, ours) = StdUnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    socket2::SockRef::from(&theirs).set_send_buffer_size(PAIR)?;
    // A stream socket is all that a session needs of its own: it reads, writes and shuts down.
    Ok((TcpStream::from(OwnedFd::from(theirs)), UnixStream::from_std(ours)?))
}

/// Carries until both sides have ended, or the session has and the client takes too long.
pub async fn carry(mut tls: TlsStream<tokio::net::TcpStream>, local: UnixStream) {
    tls.get_mut().1.set_buffer_limit(Some(BUFFER));
    let (mut from_client, mut to_client) = tokio::io::split(tls);
    let (mut from_session, mut to_session) = local.into_split();
    let upwards = async {
        let mut buffer = [0; 2_048];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(read) if read > 0 && to_session.write_all(&buffer[..read]).await.is_ok() => {}
                // The session sees the end of its socket, and ends.
                _ => break drop(to_session.shutdown().await),
            }
        }
    };
    let downwards = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = from_session.read(&mut buffer).await {
            if to_client.write_all(&buffer[..read]).await.is_err() || to_client.flush().await.is_err() {
                break;
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(upwards, downwards);
    tokio::select! {
        () = &mut upwards => downwards.await,
        () = &mut downwards => drop(tokio::time::timeout(FAREWELL, upwards).await),
    }
}
