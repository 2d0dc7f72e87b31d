//! From settings to parts: which feed, which instruments, which threads. Everything here happens once, at the start,
//! and may fail with a message that names the setting.

use crate::clock::Clock;
use crate::config::{self, CalendarChoice, Config, FeedChoice, HistoryChoice, Hours, Paths, TapeSpeed, TapeStart};
use crate::demand::DemandSettings;
use crate::duty;
use crate::engine::EngineSettings;
use crate::feed::kite::{self, Credentials, Source};
use crate::feed::market::{self, MarketFeed, MarketOptions};
use crate::feed::tape::{Speed, Start, TapeFeed, TapeOptions};
use crate::freshness;
use crate::gateway::{FeedSource, Settings, Threads, Upstream};
use crate::history::HistoryError;
use crate::identity::rate::Rate;
use crate::kite::instruments::{self, Instruments, Row};
use crate::market::candle::TradesOptions;
use crate::market::{Calendar, SegmentKind};
use crate::sandbox::{SandboxSettings, Scenario};
use crate::server::accept::AcceptSettings;
use crate::server::app::FeedStatus;
use crate::server::peer::TrustedProxies;
use crate::session::indicators::IndicatorLimits;
use crate::session::orders::Audience;
use crate::session::vigil::VigilSettings;
use crate::session::writer::WriterSettings;
use crate::store::StoreError;
use edge::EdgeError;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub mod edge;
mod gate;
mod past;

pub use gate::{GateError, gate, signing_key};
pub use past::{history, past};

/// Why the parts cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// Half of the credentials.
    #[error("setting {0}: missing, although the other half of Kite's credentials is set")]
    HalfCredentials(&'static str),
    /// No credentials at all.
    #[error(
        "feed = kite needs credentials: set kite_api_key and kite_access_token (KITE_API_KEY and KITE_ACCESS_TOKEN in \
         the environment), or kite_credentials_file"
    )]
    NoCredentials,
    /// The credentials file.
    #[error("setting kite_credentials_file: {0}")]
    Credentials(#[from] kite::CredentialsError),
    /// Two files with one key: its sockets would be counted twice.
    #[error("setting kite_credentials_file: {} has the API key of another file", .0.display())]
    SameKey(PathBuf),
    /// The market.
    #[error("settings market_rate, market_instruments: {0}")]
    Market(#[from] market::MarketError),
    /// The tape.
    #[error("setting feed: {0}")]
    Tape(#[from] crate::tape::TapeError),
    /// The folder of what survives a restart.
    #[error("setting data_dir: {0}")]
    Store(#[from] StoreError),
    /// What was revoked.
    #[error("setting data_dir: revocations: {0}")]
    Revocations(std::io::Error),
    /// Sessions in Redis that nobody could tell from forged ones.
    #[error(
        "setting session_key: session_store = redis needs one of at least {least} printable characters",
        least = past::LEAST_KEY
    )]
    SessionKey,
    /// The calendar.
    #[error("setting calendar: {0}")]
    Calendar(String),
    /// The sandbox's faults.
    #[error("setting sandbox_scenario: {0}")]
    Scenario(#[from] crate::sandbox::ScenarioError),
    /// The instruments.
    #[error("setting instruments: {0}")]
    Instruments(#[from] instruments::LoadError),
    /// The history.
    #[error("settings history, history_cache: {0}")]
    History(#[from] HistoryError),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// Real bars behind prices that are made up.
    #[error(
        "setting history: kite does not go with feed = market, whose prices are made up; allowed is none or a folder"
    )]
    HistoryOfMarket,
}

/// Cores from which on the data plane gets threads of its own, if they may keep them busy.
const CORES_TO_SPLIT: usize = 4;
/// Cores that pinned threads leave to the rest.
const CORES_TO_SPARE: usize = 2;

/// The gateway's settings.
///
/// # Errors
/// When the calendar cannot be read.
pub fn settings(config: &Config) -> Result<Settings, AssemblyError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let idle = match config.idle {
        config::Idle::Auto | config::Idle::Park => duty::Idle::Park,
        config::Idle::Yield => duty::Idle::Yield,
        config::Idle::Spin => duty::Idle::Spin,
    };
    // A hand-over to a thread that sleeps costs more than everything else done to a tick, so threads are split only
    // where they do not sleep and where there are cores for it.
    let split = match config.threads {
        config::Threads::One => false,
        config::Threads::Split => true,
        config::Threads::Auto => idle != duty::Idle::Park && cores >= CORES_TO_SPLIT,
    };
    let writers = if config.writers > 0 { config.writers } else { (cores / 4).max(1) };
    let threads = if split { Threads::Split(writers) } else { Threads::One };
    let data_plane = if split { writers + 1 } else { 1 };
    let hours = hours(config)?;
    let vigil = VigilSettings {
        ping: Duration::from_secs(config.ping_s),
        stale: Duration::from_secs(config.stale_after_s),
        slow: (config.slow_after_s > 0).then(|| Duration::from_secs(config.slow_after_s)),
    };
    Ok(Settings {
        listen: config.listen,
        threads,
        idle,
        pin: match config.pin {
            config::Pin::On => true,
            config::Pin::Off => false,
            config::Pin::Auto => cores >= data_plane + CORES_TO_SPARE,
        },
        max_connections: config.max_connections,
        ring_capacity: config.ring_capacity,
        max_tokens: config.max_tokens_per_connection,
        max_kite_tokens: config.max_kite_tokens_per_connection,
        max_tokens_per_user: config.max_tokens_per_user,
        indicators: IndicatorLimits {
            per_connection: config.max_indicators_per_connection,
            per_user: config.max_indicators_per_user,
        },
        orders_to: match config.orders_to {
            config::OrdersTo::Owners => Audience::Owners,
            config::OrdersTo::Everybody => Audience::Everybody,
            config::OrdersTo::Nobody => Audience::Nobody,
        },
        upstream_reserve: config.upstream_reserve,
        max_message: config.max_message_bytes,
        // A page that subscribes a whole watchlist one by one, or comes back from sleep, sends a burst.
        message_rate: Rate::per_second(config.message_rate, config.message_rate.saturating_mul(10)),
        writer: WriterSettings {
            budget: config.write_budget_bytes,
            batch_delay_ns: config.batch_delay_ms * 1_000_000,
            overload_wait_ns: ns_unless_zero(config.overload_wait_ms),
            late_after_ns: ns_unless_zero(config.late_after_ms),
            heartbeat_ns: config.heartbeat_s * 1_000_000_000,
        },
        demand: DemandSettings {
            debounce: Duration::from_millis(config.demand_debounce_ms),
            linger: Duration::from_millis(config.demand_linger_ms),
        },
        accept: AcceptSettings {
            user_timeout: vigil.user_timeout(),
            waiting: config.max_waiting,
            waiting_each: config.max_waiting_per_address,
            handshakes: config.handshakes_per_s,
            proxies: TrustedProxies(
                config.trusted_proxies.as_ref().map(|networks| networks.0.clone()).unwrap_or_default(),
            ),
            send_buffer: (config.send_buffer_bytes > 0).then_some(config.send_buffer_bytes),
            unsent: u32::try_from(config.unsent_bytes).ok().filter(|bytes| *bytes > 0),
        },
        vigil,
        tls: edge::tls(config)?,
        admin: edge::admin(config)?,
        admin_listen: config.admin_listen,
        journal: edge::journal(config)?,
        engine: EngineSettings {
            calendar: match (&config.calendar, &config.feed) {
                (CalendarChoice::AroundTheClock, _) | (CalendarChoice::Auto, FeedChoice::Market) => {
                    Calendar::around_the_clock()
                }
                _ => hours.clone(),
            },
            grace_ns: config.candle_grace_ms * 1_000_000,
            trades: TradesOptions {
                day_extremes: config.candle_day_extremes,
                preopen_volume: config.candle_preopen_volume,
            },
            forming_ns: config.forming_ms * 1_000_000,
            linger_ns: config.indicator_linger_ms * 1_000_000,
            kept_bars: config.kept_candles,
            max_computations: config.max_indicators,
            history: config.history != HistoryChoice::None,
        },
        hours,
    })
}

/// A time in milliseconds, where 0 means that there is no limit.
fn ns_unless_zero(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms * 1_000_000)
}

/// The hours of the exchanges.
fn hours(config: &Config) -> Result<Calendar, AssemblyError> {
    let CalendarChoice::File(path) = &config.calendar else {
        return Calendar::built_in().map_err(|error| AssemblyError::Calendar(error.to_string()));
    };
    let named = |error: &dyn std::fmt::Display| AssemblyError::Calendar(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    Calendar::parse(&text).map_err(|error| named(&error))
}

/// The feed.
///
/// # Errors
/// When the tape cannot be read, or credentials are missing.
pub fn feed(config: &Config, clock: &Clock) -> Result<FeedSource, AssemblyError> {
    match &config.feed {
        FeedChoice::Market => market_feed(config, clock),
        FeedChoice::Tape(path) => {
            let mut options = TapeOptions::new(path);
            options.speed = match config.tape_speed {
                TapeSpeed::Times(times) => Speed::Times(times),
                TapeSpeed::Max => Speed::Max,
            };
            options.looped = config.tape_loop;
            options.start = match config.tape_start {
                TapeStart::FirstSubscriber => Start::OnFirstSubscriber,
                TapeStart::AtOnce => Start::AtOnce,
            };
            let feed = TapeFeed::open(options)?;
            let (progress, file) = (feed.progress(), path.display().to_string());
            let status = FeedStatus(Arc::new(move || {
                json!({"name": "tape", "file": file, "state": match (progress.started(), progress.finished()) {
                    (false, _) => "waiting for the first subscriber",
                    (true, false) => "playing",
                    (true, true) => "finished",
                }, "records": progress.records(), "total": progress.total(), "rounds": progress.rounds()})
            }));
            Ok(FeedSource { feed: Box::new(feed), status, control: None, upstream: None })
        }
        FeedChoice::Kite => kite_feed(config, clock),
    }
}

fn market_options(config: &Config, clock: &Clock) -> MarketOptions {
    let mut options = MarketOptions::new(clock.unix_seconds() as u32);
    options.rate = config.market_rate;
    options.instruments = market_instruments(config);
    options.seed = config.market_seed;
    options.shape = match config.market_shape {
        config::MarketShape::Steady => market::Shape::Steady,
        config::MarketShape::Open => market::Shape::Open,
    };
    options
}

/// The sandbox's settings: the market's, and Kite's credentials, when they are set, as the only ones let in.
///
/// # Errors
/// When the scenario cannot be read or is none.
pub fn sandbox(config: &Config, clock: &Clock) -> Result<SandboxSettings, AssemblyError> {
    let mut settings = SandboxSettings::new(config.listen, market_options(config, clock));
    settings.api_key = config.kite_api_key.clone();
    settings.access_token = config.kite_access_token.clone();
    settings.max_tokens = config.sandbox_max_tokens;
    settings.max_connections = config.sandbox_max_connections;
    if let Some(path) = &config.sandbox_scenario {
        settings.scenario = Scenario::load(path)?;
    }
    Ok(settings)
}

fn market_feed(config: &Config, clock: &Clock) -> Result<FeedSource, AssemblyError> {
    let feed = MarketFeed::new(market_options(config, clock))?;
    let (counters, rate) = (feed.counters(), config.market_rate);
    let status = FeedStatus(Arc::new(move || {
        json!({"name": "market", "state": "live", "rate": rate, "ticks": counters.ticks(),
            "skipped": counters.skipped()})
    }));
    Ok(FeedSource { feed: Box::new(feed), status, control: None, upstream: None })
}

fn market_instruments(config: &Config) -> usize {
    if config.market_instruments == 0 { market::built_in_count() } else { config.market_instruments }
}

fn kite_feed(config: &Config, clock: &Clock) -> Result<FeedSource, AssemblyError> {
    let mut settings = kite::Settings::new(credentials(config)?);
    settings.root = config.kite_root.to_string();
    settings.sockets = config.kite_sockets;
    settings.max_tokens = config.kite_max_tokens;
    settings.watchdog = Duration::from_millis(config.kite_watchdog_ms);
    settings.spill = Duration::from_millis(config.kite_spill_ms);
    settings.stale = Duration::from_millis(config.kite_stale_ms);
    let calendar = upstream_hours(config);
    let capacity = settings.capacity();
    // The thread to wake exists only after the feed: the bell is hung up when it does.
    let bell: Arc<OnceLock<Arc<dyn Fn() + Send + Sync>>> = Arc::default();
    let wake = Arc::clone(&bell);
    let now = clock.clone();
    let (feed, mut connector) = kite::feed(
        settings,
        move || now.now_ns(),
        move || {
            if let Some(ring) = wake.get() {
                ring();
            }
        },
    );
    let upstream = connector.outages().map(|outages| Upstream {
        capacity,
        outages,
        calendar: calendar.clone(),
        keys: Some(connector.keys()),
        notices: Some(connector.notices()),
    });
    let status = kite_status(connector.status(), calendar, clock.clone());
    let control = Box::new(move |ring: Arc<dyn Fn() + Send + Sync>| {
        let _ = bell.set(ring);
        tokio::spawn(async move {
            // Kept here so that the connector runs as long as the program.
            let (_running, stop) = tokio::sync::watch::channel(false);
            connector.connect_forever(stop).await;
        });
    });
    Ok(FeedSource { feed: Box::new(feed), status, control: Some(control), upstream })
}

/// What `GET /ws/test` shows: that a connected upstream is silent because no market trades is told apart from the rest.
fn kite_status(status: Arc<kite::KiteStatus>, calendar: Calendar, clock: Clock) -> FeedStatus {
    FeedStatus(Arc::new(move || {
        let snapshot = status.snapshot();
        let now_s = clock.unix_seconds() as i64;
        let trading = SegmentKind::ALL.into_iter().any(|kind| freshness::trades(&calendar, kind, now_s));
        let connected = snapshot.diagnosis == "connected";
        let mut state = serde_json::to_value(snapshot).unwrap_or_default();
        state["name"] = "kite".into();
        state["market_open"] = trading.into();
        if connected && !trading {
            state["diagnosis"] = "market closed".into();
        }
        state
    }))
}

/// When anything is to be expected of the upstream.
fn upstream_hours(config: &Config) -> Calendar {
    let kite_itself = config.kite_root.host_str().is_some_and(|host| {
        ["kite.trade", "zerodha.com"].iter().any(|own| host == *own || host.ends_with(&format!(".{own}")))
    });
    let exchange = match config.kite_hours {
        Hours::Auto => kite_itself,
        Hours::Exchange => true,
        Hours::Always => false,
    };
    // The built-in calendar parses, as its test shows.
    let built_in = exchange.then(|| Calendar::built_in().ok()).flatten();
    built_in.unwrap_or_else(Calendar::around_the_clock)
}

/// Where Kite's credentials come from, one a key: the two settings, or the files.
///
/// # Errors
/// When there are none, only half, a file cannot be read now, or two have the same key.
pub fn credentials(config: &Config) -> Result<Vec<Source>, AssemblyError> {
    match (&config.kite_api_key, &config.kite_access_token, &config.kite_credentials_file) {
        (Some(key), Some(token), _) => Ok(vec![Source::Fixed(Credentials::new(key.reveal(), token.reveal()))]),
        (Some(_), None, _) => Err(AssemblyError::HalfCredentials("kite_access_token")),
        (None, Some(_), _) => Err(AssemblyError::HalfCredentials("kite_api_key")),
        (None, None, Some(Paths(paths))) => {
            let mut keys = Vec::new();
            for path in paths {
                let key = Source::File(path.clone()).read()?.api_key;
                if keys.contains(&key) {
                    return Err(AssemblyError::SameKey(path.clone()));
                }
                keys.push(key);
            }
            Ok(paths.iter().cloned().map(Source::File).collect())
        }
        (None, None, None) => Err(AssemblyError::NoCredentials),
    }
}

/// The instruments: the dump that is configured, else what the embedded market knows. Blocks while it loads.
///
/// # Errors
/// When the dump cannot be read.
pub fn instruments(config: &Config) -> Result<Instruments, AssemblyError> {
    if let Some(source) = &config.instruments {
        return Ok(instruments::load(source.reveal())?);
    }
    Ok(market_names(match config.feed {
        FeedChoice::Market => market_instruments(config),
        _ => market::built_in_count(),
    }))
}

/// The instruments of an embedded market of that size.
pub fn market_names(count: usize) -> Instruments {
    let listings = market::listings(count);
    Instruments::from_rows(listings.iter().map(|listing| Row {
        token: listing.token.0,
        exchange_token: listing.token.0 >> 8,
        symbol: &listing.symbol,
        name: listing.name,
        exchange: listing.exchange,
        segment: listing.segment,
        instrument_type: listing.instrument_type,
        expiry: listing.expiry.unwrap_or_default(),
        strike: f64::from(listing.strike) / 100.0,
        tick_size: f64::from(listing.tick_size) / 100.0,
        lot_size: listing.lot_size,
    }))
}
