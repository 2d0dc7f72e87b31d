//! One attempt to connect: name look-up, TCP, TLS, WebSocket handshake. Runs on the control side and may take seconds.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::time::Duration;

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::InvalidUri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, HandshakeError, client_tls_with_config};

use super::inlet::Inlet;
use super::link::Socket;
use super::{Credentials, Waits};

/// Bytes that the WebSocket library takes at once from the [`Inlet`].
const READ_BUFFER: usize = 4 * 1024;
/// Largest message taken. The largest Kite can send, 3,000 instruments in full mode, has 558,002 bytes.
const MAX_MESSAGE: usize = 4 << 20;

/// Why an attempt failed. Holds no URL and no credentials, except what a server may have repeated in `Http`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the root must be ws://host or wss://host, without a query")]
    Root,
    #[error("network: cannot resolve {host}: {kind}")]
    Resolve { host: String, kind: io::ErrorKind },
    #[error("network: cannot connect to {host}: {kind}")]
    Connect { host: String, kind: io::ErrorKind },
    #[error("network: no answer to the handshake in time")]
    Timeout,
    #[error("network: {0}")]
    Io(io::ErrorKind),
    #[error("{0}")]
    Handshake(String),
    #[error("HTTP {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Http { status: u16, body: String },
}

/// The address, and the URL to ask for.
struct Target {
    host: String,
    port: u16,
    url: Uri,
}

/// `root` with the credentials. There is always a path: Kite's balancer answers `GET ?api_key=…` with 400.
fn target(root: &str, credentials: &Credentials) -> Result<Target, DialError> {
    let root: Uri = root.parse().map_err(|_: InvalidUri| DialError::Root)?;
    let (Some(scheme), Some(authority), None) = (root.scheme_str(), root.authority(), root.query()) else {
        return Err(DialError::Root);
    };
    let port = match scheme {
        "ws" => 80,
        "wss" => 443,
        _ => return Err(DialError::Root),
    };
    let path = if root.path().is_empty() { "/" } else { root.path() };
    let url = format!("{scheme}://{authority}{path}?{}", credentials.query());
    let url = url.parse().map_err(|_: InvalidUri| DialError::Root)?;
    Ok(Target { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(port), url })
}

/// Opens a connection. The socket that comes back is non-blocking; bytes that came with the 101 are in it.
pub(super) async fn dial(root: &str, credentials: &Credentials, waits: &Waits) -> Result<(Socket, RawFd), DialError> {
    let Target { host, port, url } = target(root, credentials)?;
    let tcp = connect(&host, port, waits.connect).await?;
    let fd = tcp.as_raw_fd();
    let io = |error: io::Error| DialError::Io(error.kind());
    let limit = Some(waits.handshake);
    tcp.set_read_timeout(limit).and_then(|()| tcp.set_write_timeout(limit)).map_err(io)?;
    let cord = Cord(Some(tcp.try_clone().map_err(io)?));
    let handshake = tokio::task::spawn_blocking(move || handshake(url, tcp));
    let socket = match timeout(waits.handshake, handshake).await {
        Ok(Ok(result)) => result?,
        Ok(Err(_)) => return Err(DialError::Handshake("the handshake task died".to_owned())),
        Err(_) => return Err(DialError::Timeout),
    };
    cord.release().map_err(io)?;
    Ok((socket, fd))
}

/// Tries each address in turn.
async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, DialError> {
    let unresolved = |kind| DialError::Resolve { host: host.to_owned(), kind };
    let addresses = timeout(limit, tokio::net::lookup_host(format!("{host}:{port}")))
        .await
        .map_err(|_| unresolved(io::ErrorKind::TimedOut))?
        .map_err(|error| unresolved(error.kind()))?;
    let mut kind = io::ErrorKind::AddrNotAvailable;
    for address in addresses {
        match timeout(limit, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return prepare(tcp).map_err(|error| DialError::Io(error.kind())),
            Ok(Err(error)) => kind = error.kind(),
            Err(_) => kind = io::ErrorKind::TimedOut,
        }
    }
    Err(DialError::Connect { host: host.to_owned(), kind })
}

/// A blocking socket for the handshake.
fn prepare(tcp: tokio::net::TcpStream) -> io::Result<TcpStream> {
    tcp.set_nodelay(true)?;
    let tcp = tcp.into_std()?;
    tcp.set_nonblocking(false)?;
    Ok(tcp)
}

/// TLS and WebSocket; blocks.
fn handshake(url: Uri, tcp: TcpStream) -> Result<Socket, DialError> {
    install_crypto();
    let request = ClientRequestBuilder::new(url)
        .with_header("X-Kite-Version", "3")
        .with_header("User-Agent", concat!("tickfan/", env!("CARGO_PKG_VERSION")));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match client_tls_with_config(request, Inlet::new(tcp), Some(config), None) {
        Ok((mut socket, _)) => {
            if let MaybeTlsStream::Rustls(tls) = socket.get_mut() {
                // A full TLS buffer takes no bytes, which the WebSocket layer would mistake for a reset. What we have
                // to say is bounded by the number of tokens.
                tls.conn.set_buffer_limit(None);
            }
            Ok(socket)
        }
        Err(HandshakeError::Interrupted(_)) => Err(DialError::Timeout),
        Err(HandshakeError::Failure(error)) => Err(failure(error)),
    }
}

fn failure(error: Error) -> DialError {
    match error {
        Error::Http(response) => {
            // Only what came along with the headers is here. A part is left out: it might end within a secret, which
            // could then not be recognised.
            let length = response.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
            let body = response.body().as_ref().filter(|body| Some(body.len()) == length);
            let body = body.map_or_else(String::new, |body| String::from_utf8_lossy(body).into_owned());
            DialError::Http { status: response.status().as_u16(), body }
        }
        Error::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            DialError::Timeout
        }
        // rustls reports a certificate it does not trust this way; the kind alone would say nothing.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => DialError::Handshake(format!("TLS: {error}")),
        Error::Io(error) => DialError::Io(error.kind()),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => DialError::Io(io::ErrorKind::UnexpectedEof),
        other => DialError::Handshake(other.to_string()),
    }
}

/// rustls wants one provider for the process. Whoever was first is as good.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// A second handle on the socket while a handshake blocks on it: dropping it hangs up, so that neither a timeout nor
/// the end of the program has to wait for the blocked thread.
struct Cord(Option<TcpStream>);

impl Cord {
    /// The handshake is done: no timeouts and no blocking from here on. Both are properties of the socket itself.
    fn release(mut self) -> io::Result<()> {
        let Some(tcp) = self.0.take() else { return Ok(()) };
        tcp.set_read_timeout(None)?;
        tcp.set_write_timeout(None)?;
        tcp.set_nonblocking(true)
    }
}

impl Drop for Cord {
    fn drop(&mut self) {
        if let Some(tcp) = &self.0 {
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_has_a_path_and_encoded_values() {
        let credentials = Credentials::new("k", "t+t");
        let url = |root| target(root, &credentials).map(|target| target.url.to_string());
        assert_eq!(url("wss://ws.kite.trade").unwrap(), "wss://ws.kite.trade/?api_key=k&access_token=t%2Bt");
        assert_eq!(url("ws://h:1/p").unwrap(), "ws://h:1/p?api_key=k&access_token=t%2Bt");
        assert_eq!(target("wss://h", &credentials).unwrap().port, 443);
        for root in ["", "ws.kite.trade", "https://h", "wss://h/?a=b", "wss://"] {
            assert_eq!(url(root).unwrap_err(), DialError::Root, "{root}");
        }
    }
}
