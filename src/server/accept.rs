//! Accepting connections: bounded numbers, bounded heads, a deadline for each, and the socket taken over after an upgrade.

use super::counters::{EdgeCounters, count};
use super::lobby::{Full, Lobby, Seat};
use super::peer::TrustedProxies;
use super::tls::Tls;
use crate::clock::Clock;
use crate::identity::rate::{Rate, SharedMeter};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rand::Rng;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How connections are accepted.
#[derive(Clone, Debug)]
pub struct AcceptSettings {
    /// `SO_SNDBUF` of every connection, bytes; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// `TCP_NOTSENT_LOWAT` of every connection, bytes; `None` leaves it to the kernel.
    pub unsent: Option<u32>,
    /// How long the system waits for a peer to take data (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// Most connections that are not sessions yet.
    pub waiting: usize,
    /// Most of them from one address.
    pub waiting_each: usize,
    /// Most handshakes a second; 0 for no limit.
    pub handshakes: u32,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        Self {
            send_buffer: None,
            unsent: None,
            user_timeout: Duration::from_secs(90),
            waiting: 4_000,
            waiting_each: 1_000,
            handshakes: 0,
            proxies: TrustedProxies::default(),
        }
    }
}

/// A TLS handshake must be complete within this time.
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// A head must be complete within this time: half-sent ones would hold memory and descriptors for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// From accept to the first answer or the upgrade.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// A connection that was answered may ask and read for so long.
const LIFE: Duration = Duration::from_secs(60);
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes of a head.
const MAX_HEAD: usize = 16 * 1_024;
/// Pause after a failed accept: with no descriptors left the loop would otherwise spin.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// New connections are shed from so many percent of the descriptors on: the rest is for upstream, files and operators.
const SHED_PERCENT: u64 = 95;
/// When a client that is shed is asked to come back, seconds: spread, so that they do not all come at once.
const RETRY_AFTER: std::ops::RangeInclusive<u32> = 1..=8;

/// What the limits are kept with. One for the public listener.
#[derive(Debug)]
pub struct Edge {
    settings: AcceptSettings,
    /// Connections that are not sessions yet.
    pub lobby: Arc<Lobby>,
    /// Handshakes, a second's worth of them at once.
    pace: Rate,
    paced: SharedMeter,
    clock: Clock,
    /// What came of connections.
    pub counters: Arc<EdgeCounters>,
}

impl Edge {
    /// An edge by these settings.
    pub fn new(settings: AcceptSettings, clock: Clock) -> Self {
        let lobby = Lobby::new(settings.waiting, settings.waiting_each);
        let pace = Rate::per_second(settings.handshakes, settings.handshakes);
        Self { settings, lobby, pace, paced: SharedMeter::default(), clock, counters: Arc::default() }
    }

    /// A place in the lobby; that there is none is counted.
    fn enter(&self, address: SocketAddr) -> Result<Seat, Full> {
        let ip = Some(address.ip()).filter(|ip| !self.settings.proxies.contains(*ip));
        self.lobby.enter(ip).inspect_err(|full| {
            count(match full {
                Full::All => &self.counters.lobby_full,
                Full::Address => &self.counters.address_full,
            });
        })
    }
}

/// A listener, and what is behind it.
#[derive(Debug)]
pub struct Entrance {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What they may ask for.
    pub router: Router,
    /// Whether the limits count: not for operators, who must get in when nobody else does.
    pub limits: bool,
    /// The certificate, where TLS is spoken.
    pub tls: Option<Arc<Tls>>,
}

/// Accepts until the task is ended.
pub async fn serve(entrance: Entrance, edge: Arc<Edge>) {
    let Entrance { listener, router, limits, tls } = entrance;
    // The system gives out the lowest free number, so a new descriptor's number tells how many are in use.
    let shed_at = if limits { shed_at() } else { i32::MAX };
    let mut failing = false;
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                count(&edge.counters.accept_errors);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        failing = false;
        count(&edge.counters.accepted);
        if stream.as_raw_fd() >= shed_at {
            count(&edge.counters.shed);
            shed(&stream, tls.is_some());
            continue;
        }
        let Ok(seat) = limits.then(|| edge.enter(address)).transpose() else { continue };
        if let Err(error) = prepare(&stream, &edge.settings) {
            tracing::debug!(%error, "a connection ended before it began");
            continue;
        }
        let (edge, router, tls) = (Arc::clone(&edge), router.clone(), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return converse(stream, address, router, &edge, seat).await };
            match tokio::time::timeout(TLS_TIMEOUT, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, address, router, &edge, seat).await,
                Ok(Err(error)) => {
                    count(&edge.counters.tls_failed);
                    tracing::debug!(%error, "a TLS handshake failed");
                }
                Err(_) => count(&edge.counters.tls_failed),
            }
        });
    }
}

fn shed_at() -> i32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    i32::try_from(limit.saturating_mul(SHED_PERCENT) / 100).unwrap_or(i32::MAX)
}

fn retry_after() -> u32 {
    rand::rng().random_range(RETRY_AFTER)
}

/// Says so, as far as that goes without a task and a wait: the descriptor is needed.
fn shed(stream: &TcpStream, tls: bool) {
    if !tls {
        let retry = retry_after();
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {retry}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let _ = stream.try_write(answer.as_bytes());
    }
}

fn prepare(stream: &TcpStream, settings: &AcceptSettings) -> std::io::Result<()> {
    // Small frames must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    if let Some(bytes) = settings.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.unsent {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}

/// Speaks HTTP on a connection until it ends, is upgraded, or has taken too long. The seat is kept as long.
async fn converse<S>(stream: S, address: SocketAddr, router: Router, edge: &Arc<Edge>, seat: Option<Seat>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    TokioIo<S>: Read + Write,
{
    let answered = Arc::new(AtomicBool::new(false));
    let limits = seat.is_some();
    let router = TowerToHyperService::new(router);
    let service = service_fn({
        let (answered, edge) = (Arc::clone(&answered), Arc::clone(edge));
        move |mut request: Request<Incoming>| {
            let peer = edge.settings.proxies.client(address, request.headers());
            request.extensions_mut().insert(peer);
            let handshake = request.headers().contains_key(header::UPGRADE);
            let welcome = !limits || !handshake || edge.paced.take(edge.pace, edge.clock.now_ns());
            let answer = welcome.then(|| router.call(request));
            let (answered, edge) = (Arc::clone(&answered), Arc::clone(&edge));
            async move {
                let response = match answer {
                    Some(answer) => answer.await,
                    None => Ok(paced(&edge)),
                };
                answered.store(true, Ordering::Relaxed);
                response
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = tokio::time::sleep(FIRST_ANSWER) => None,
    };
    let ended = match ended {
        None if answered.load(Ordering::Relaxed) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LIFE, connection).await.ok()
        }
        ended => ended,
    };
    match ended {
        None => count(&edge.counters.late),
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Some(Ok(())) => {}
    }
    drop(seat);
}

/// Too many handshakes in this second.
fn paced(edge: &Edge) -> Response<Body> {
    count(&edge.counters.paced);
    let mut answer = (StatusCode::SERVICE_UNAVAILABLE, "too many handshakes at a time; come back\n").into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after().into());
    answer
}
