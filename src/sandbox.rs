//! The sandbox: the embedded market behind a WebSocket that speaks as Kite's does, with faults on demand.
//!
//! One task, the [exchange](self::exchange), owns the market, every subscription and the time-line of faults, so
//! nothing is locked and the same seed and commands give the same course. Each connection is a task of its own that
//! passes requests to the exchange and frames to the socket. None of it is on the gateway's hot path.
//!
//! What is served: the ticker at any path with `?api_key=…&access_token=…`; `GET /instruments` (and
//! `/instruments/EXCHANGE`), the list as Kite's csv; `POST /session/token`, which gives an access token to whoever asks.
//!
//! A test starts one in its own process with [`Sandbox::start`] on port 0, and injects faults through its
//! [`SandboxHandle`], which answers when the fault is in force.

mod connection;
mod exchange;
mod fault;
mod frame;
mod line;
mod request;
mod scenario;
mod serve;
#[cfg(test)]
mod tests;
mod throttle;
mod timeline;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::feed::market::{MarketError, MarketFeed, MarketOptions};
use crate::market::Mode;
use crate::secret::Secret;
use exchange::{Command, Exchange};
use serve::Door;

pub use fault::{Fault, Injection, Malformed, Reach};
pub use scenario::{HELP, Scenario, ScenarioError};
pub use timeline::{Begin, Event};

/// Requests and injections that may wait for the exchange; whoever sends more waits.
const COMMANDS: usize = 1_024;

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The market behind it. Its seed also decides which connection a fault for one connection hits.
    pub market: MarketOptions,
    /// The only API key let in; any that is not empty if `None`.
    pub api_key: Option<Secret>,
    /// The only access token let in; any that is not empty if `None`.
    pub access_token: Option<Secret>,
    /// Most instruments of a connection; Kite's limit is 3,000.
    pub max_tokens: usize,
    /// Most connections of an API key; Kite's limit is 3.
    pub max_connections: usize,
    /// Faults on a time-line.
    pub scenario: Scenario,
}

impl SandboxSettings {
    /// Kite's limits, any credentials, no faults.
    pub fn new(listen: SocketAddr, market: MarketOptions) -> Self {
        Self {
            listen,
            market,
            api_key: None,
            access_token: None,
            max_tokens: 3_000,
            max_connections: 3,
            scenario: Scenario::default(),
        }
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// There is no such market.
    #[error(transparent)]
    Market(#[from] MarketError),
}

/// A running sandbox. Dropping it ends it: the port is closed and every connection hung up.
#[derive(Debug)]
pub struct Sandbox {
    /// Where it listens.
    pub address: SocketAddr,
    handle: SandboxHandle,
    tasks: [JoinHandle<()>; 2],
}

impl Sandbox {
    /// Starts one on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the market's options are out of range.
    pub async fn start(settings: SandboxSettings) -> Result<Self, SandboxError> {
        let market = MarketFeed::new(settings.market.clone())?;
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let (commands, incoming) = mpsc::channel(COMMANDS);
        let exchange = Exchange::new(market, &settings);
        let door = Arc::new(Door::new(&settings, commands.clone()));
        let tasks = [tokio::spawn(run(exchange, incoming)), tokio::spawn(serve::serve(listener, door))];
        Ok(Self { address, handle: SandboxHandle { commands }, tasks })
    }

    /// What a `kite_root` setting wants.
    pub fn root(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// A handle for whoever injects faults.
    pub fn handle(&self) -> SandboxHandle {
        self.handle.clone()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // With the exchange go the queues of its connections, and with those the connections.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The exchange's life: a command, or what is due.
async fn run(mut exchange: Exchange, mut commands: mpsc::Receiver<Command>) {
    let start = Instant::now();
    let now_ns = || start.elapsed().as_nanos() as u64;
    exchange.advance(now_ns());
    loop {
        let due = start + std::time::Duration::from_nanos(exchange.due_ns());
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => exchange.obey(command, now_ns()),
                None => return,
            },
            () = tokio::time::sleep_until(due) => exchange.advance(now_ns()),
        }
    }
}

/// The sandbox has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sandbox has ended")]
pub struct Ended;

/// Injects faults and looks at what is there. Any thread; both calls answer in the order in which they were made.
#[derive(Clone, Debug)]
pub struct SandboxHandle {
    commands: mpsc::Sender<Command>,
}

impl SandboxHandle {
    /// Injects a fault and returns how many connections it reached; it is in force when this returns.
    ///
    /// # Errors
    /// When the sandbox has ended.
    pub async fn inject(&self, injection: Injection) -> Result<usize, Ended> {
        self.ask(|reply| Command::Inject { injection, reply }).await
    }

    /// Ends every fault that lasts.
    ///
    /// # Errors
    /// When the sandbox has ended.
    pub async fn heal(&self) -> Result<(), Ended> {
        self.ask(|reply| Command::Heal { reply }).await
    }

    /// What is there now.
    ///
    /// # Errors
    /// When the sandbox has ended.
    pub async fn observe(&self) -> Result<Observation, Ended> {
        self.ask(|reply| Command::Observe { reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}

/// One look at a sandbox.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Observation {
    /// What each open connection subscribes to, in the order in which they were opened.
    pub connections: Vec<BTreeMap<u32, Mode>>,
    /// Connections let in so far.
    pub admitted: u64,
    /// Handshakes refused so far, by HTTP status.
    pub refused: BTreeMap<u16, u64>,
    /// Faults injected so far, by name.
    pub injected: BTreeMap<&'static str, u64>,
    /// Packets put into frames so far.
    pub packets: u64,
    /// Frames lost because a connection did not take them.
    pub frames_lost: u64,
}
