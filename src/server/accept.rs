//! Accepting connections: bounded heads, a deadline for each, and the socket taken over after an upgrade.

use super::app::App;
use super::http;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How connections are accepted.
#[derive(Clone, Copy, Default, Debug)]
pub struct AcceptSettings {
    /// `SO_SNDBUF` of every connection, bytes; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// `TCP_NOTSENT_LOWAT` of every connection, bytes; `None` leaves it to the kernel.
    pub unsent: Option<u32>,
}

/// Where a request comes from; an extension of every one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub IpAddr);

/// A head must be complete within this time: half-sent ones would hold memory and descriptors for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes of a head.
const MAX_HEAD: usize = 16 * 1_024;
/// Pause after a failed accept: with no descriptors left the loop would otherwise spin.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Accepts until the task is ended.
pub async fn serve(listener: TcpListener, app: Arc<App>, settings: AcceptSettings) {
    let router = http::router(app);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, address)) => (stream, Peer(address.ip())),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        if let Err(error) = prepare(&stream, settings) {
            tracing::debug!(%error, "a connection ended before it began");
            continue;
        }
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

fn prepare(stream: &TcpStream, settings: AcceptSettings) -> std::io::Result<()> {
    // Small frames must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    if let Some(bytes) = settings.send_buffer {
        socket2::SockRef::from(stream).set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.unsent {
        socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}
