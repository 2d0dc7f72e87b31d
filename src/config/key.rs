//! The table of all settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::error::{ConfigError, Origin};
use super::net::Networks;
use super::place::{ApiRoot, DataDir, HistoryChoice, SessionChoice};
use super::value::{
    Allowed, AuthPolicy, CalendarChoice, DumpSource, FeedChoice, Hours, Idle, KeysUrl, List, LogFilter, LogFormat,
    MarketShape, Name, OrdersTo, Paths, Pin, TapeSpeed, TapeStart, Threads, Value,
};
use crate::secret::Secret;
use Allowed::{Form, Number, Range, Words, ZeroOr};

/// What the program knows of one setting apart from its value.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name in the file; the names of the variable and of the flag come from it.
    pub name: &'static str,
    /// The heading in `--help`.
    pub section: &'static str,
    /// The value when no layer gives one, as one would write it; empty for none.
    pub default: &'static str,
    /// The unit of a number; empty for what has none.
    pub unit: &'static str,
    /// What a value may be.
    pub allowed: Allowed,
    /// A second variable that is read when the first is not there.
    pub fallback: Option<&'static str>,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// Whether the flag alone means `true`.
    pub switch: bool,
    /// Whether it can be unset.
    pub optional: bool,
    /// Whether a text stands for an allowed value.
    pub(super) check: fn(&str, &Allowed) -> bool,
    /// The lines of its documentation, as written in the table.
    lines: &'static [&'static str],
}

impl Key {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("TICKFAN_{}", self.name.to_ascii_uppercase())
    }

    /// The flag, with its two dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// What it is for, in one line.
    pub fn doc(&self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// What the layers said about one key: the text of the last one that spoke.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The key.
    pub key: &'static Key,
    /// The text; empty for none.
    pub text: String,
    /// The layer.
    pub origin: Origin,
}

impl Said {
    /// The typed value, or the message that stops the start.
    pub fn read<T: Value>(&self) -> Result<T, ConfigError> {
        T::read(&self.text, &self.key.allowed)
            .ok_or_else(|| ConfigError::bad_value(self.key, self.origin.clone(), &self.text))
    }
}

/// Makes, of one line a setting, the struct, the list of keys, and the two ways between text and value.
macro_rules! settings {
    ($($section:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $default:literal, $allowed:expr
            $(, unit $unit:literal)? $(, fallback $fallback:literal)?;
    )+ })+) => {
        /// Every setting, typed and within its range. Immutable once loaded; share it in an `Arc`.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(
                $(#[doc = $doc])+
                pub $name: $type,
            )+)+
            /// Where each value came from, in the order of [`KEYS`].
            origins: Vec<Origin>,
        }

        /// Every setting there is, in the order of the table.
        pub const KEYS: &[Key] = &[$($(
            Key {
                name: stringify!($name),
                section: $section,
                default: $default,
                unit: concat!($($unit)?),
                allowed: $allowed,
                fallback: [$(Some($fallback),)? None][0],
                secret: <$type as Value>::SECRET,
                switch: <$type as Value>::SWITCH,
                optional: <$type as Value>::OPTIONAL,
                check: |text, allowed| <$type>::read(text, allowed).is_some(),
                lines: &[$($doc),+],
            },
        )+)+];

        impl Config {
            /// Types what was said; `said` is in the order of [`KEYS`].
            pub(super) fn typed(said: &[Said]) -> Result<Self, ConfigError> {
                let origins = said.iter().map(|said| said.origin.clone()).collect();
                let mut said = said.iter();
                $($( let $name = said.next().ok_or(ConfigError::Table)?.read::<$type>()?; )+)+
                Ok(Self { $($($name,)+)+ origins })
            }

            /// Every key with its value as one would write it (empty: not set; secrets redacted) and its origin.
            pub fn shown(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
                let values = [$($( self.$name.show(), )+)+];
                KEYS.iter().zip(values).zip(&self.origins).map(|((key, value), origin)| (key, value, origin))
            }
        }
    };
}

settings! {
    "Listening" {
        /// Address and port where browsers connect. Port 0 takes a free one.
        listen: SocketAddr = "127.0.0.1:8081", Form("an IP address with a port, such as 127.0.0.1:8081");
        /// Where ticks come from: the embedded market, Zerodha Kite, or recorded tapes: a file, a folder of *.tape by name, or
        /// several with commas between them.
        feed: FeedChoice = "market", Form("market, kite or tape:FILE");
    }
    "Kite" {
        /// Address of Kite's ticker.
        kite_root: Url = "wss://ws.kite.trade/", Form("a ws:// or wss:// address without user, query or fragment");
        /// Kite API key. A command line is visible to other users of the machine; prefer a variable or a file.
        kite_api_key: Option<Secret> = "", Form("Kite's api_key"), fallback "KITE_API_KEY";
        /// Kite access token of the day. A command line is visible to other users; prefer a variable or a file.
        kite_access_token: Option<Secret> = "", Form("Kite's access_token"), fallback "KITE_ACCESS_TOKEN";
        /// Files with api_key and access_token (TOML or lines KEY=VALUE), one a key, separated by commas; looked at every
        /// second and on SIGHUP. Used when the two settings above are not set.
        kite_credentials_file: Option<Paths> = "", Form("one or more paths, separated by commas");
        /// Silence after which an upstream connection counts as dead. Kite sends a heartbeat every second.
        kite_watchdog_ms: u64 = "5000", Range(1_000, 60_000), unit "ms";
        /// Most sockets of an API key; Kite refuses more than 3. Further ones are opened when those before are full.
        kite_sockets: usize = "3", Range(1, 3), unit "sockets";
        /// Most tokens on an upstream socket; Kite refuses more than 3,000.
        kite_max_tokens: usize = "3000", Range(1, 3_000), unit "tokens";
        /// How long an upstream socket may be closed before its tokens move to others, as far as these have room.
        kite_spill_ms: u64 = "15000", Range(100, 3_600_000), unit "ms";
        /// How long an upstream socket may be closed before tabs are told that its tokens are stale; for one that is open
        /// and silent half a second more, since an idle one speaks once a second.
        kite_stale_ms: u64 = "1000", Range(100, 60_000), unit "ms";
        /// When a silent upstream makes tokens stale: in the exchange's hours, or always; auto takes the exchange's for
        /// Kite's own servers and always for any other kite_root.
        kite_hours: Hours = "auto", Words(Hours::WORDS);
    }
    "Embedded market" {
        /// Ticks of the whole market together.
        market_rate: u32 = "500", Range(1, 100_000), unit "ticks/s";
        /// How many instruments the market has; 0 takes the built-in list.
        market_instruments: usize = "0", Range(0, 9_000), unit "instruments";
        /// Seed of the random walk; the same seed gives the same ticks.
        market_seed: u64 = "1", Range(0, u64::MAX);
        /// How ticks are spread over time: evenly, or in bursts as after the opening bell.
        market_shape: MarketShape = "steady", Words(MarketShape::WORDS);
    }
    "Sandbox" {
        /// For `tickfan market`: file of the faults to inject, in time; `tickfan market --help` describes it.
        sandbox_scenario: Option<PathBuf> = "", Form("a path");
        /// For `tickfan market`: most tokens of a connection; Kite's limit is the default.
        sandbox_max_tokens: usize = "3000", Range(1, 9_000), unit "tokens";
        /// For `tickfan market`: most connections of an API key; Kite's limit is the default.
        sandbox_max_connections: usize = "3", Range(1, 1_000), unit "connections";
    }
    "Tape" {
        /// How many times faster than recorded the tape is played; max waits only for readers.
        tape_speed: TapeSpeed = "1", Number { min: 0.01, max: 10_000.0, or: "max" };
        /// Whether the tape starts again at its end.
        tape_loop: bool = "false", Words(&["true", "false"]);
        /// When the tape starts to run.
        tape_start: TapeStart = "first-subscriber", Words(TapeStart::WORDS);
    }
    "Instruments" {
        /// Kite's instrument dump, csv or csv.gz. Without it names are those of the feed and the well-known indices.
        instruments: Option<DumpSource> = "", Form("a path or an http(s) URL");
    }
    "Candles and indicators" {
        /// Hours of trading: those of the exchanges (of the embedded market: around the clock), or a file of sessions.
        calendar: CalendarChoice = "auto", Form("auto, around-the-clock or file:FILE");
        /// How long a candle waits behind its end for packets that are under way.
        candle_grace_ms: u64 = "1000", Range(0, 60_000), unit "ms";
        /// Whether a candle takes over a high or low of the day that was reached between two packets.
        candle_day_extremes: bool = "true", Words(&["true", "false"]);
        /// Whether the volume of the opening auction counts in the first candle.
        candle_preopen_volume: bool = "false", Words(&["true", "false"]);
        /// Closed candles kept in memory of each instrument and timeframe, more where an indicator needs more.
        kept_candles: usize = "600", Range(10, 20_000), unit "candles";
        /// Least time between two values of a candle that forms.
        forming_ms: u64 = "250", Range(10, 60_000), unit "ms";
        /// How long an indicator that nobody wants any more goes on: a page that reloads finds it at work.
        indicator_linger_ms: u64 = "30000", Range(0, 3_600_000), unit "ms";
        /// Most indicators computed at a time, each once however many want it.
        max_indicators: usize = "100000", Range(1, 1_000_000), unit "indicators";
    }
    "History and restarts" {
        /// Where closed bars of the past come from, for candles and indicators: nowhere, Kite's historical API, or a
        /// folder of csv files such as NSE_INFY_5min.csv.
        history: HistoryChoice = "none", Form("none, kite or a folder");
        /// Address of Kite's historical API.
        history_root: ApiRoot = "https://api.kite.trade/", Form("an http:// or https:// address without user, query or fragment");
        /// Requests for history, all together; Kite refuses more than 3.
        history_per_second: u32 = "3", Range(1, 10), unit "requests/s";
        /// Folder in which Kite's bars are kept, so that a restart asks only for newer ones. One folder serves one program.
        history_cache: Option<PathBuf> = "", Form("a path");
        /// Folder for what must survive a restart: bars and the states that build them. auto is tickfan-data in the
        /// working directory with the kite feed, and none with the others, whose bars are not of this day.
        data_dir: DataDir = "auto", Form("auto, none or a path");
        /// Where sessions are kept so that clients can resume them: auto is the data_dir, or memory where there is none;
        /// Redis serves several gateways; with TLS as rediss://, by the system's certificates or those of SSL_CERT_FILE.
        session_store: SessionChoice = "auto", Form("auto, none or redis[s]://[user:password@]host[:port][/db]");
        /// Secret that authenticates sessions in Redis; the same for all gateways that share them. A command line is
        /// visible to other users; prefer a variable or a file.
        session_key: Option<Secret> = "", Form("at least 32 printable characters");
        /// How long a session can be resumed after its connection has ended.
        session_expiry_s: u64 = "3600", Range(1, 604_800), unit "s";
    }
    "Threads" {
        /// One thread for everything, or the feed and the writers on threads of their own; auto decides by cores.
        threads: Threads = "auto", Words(Threads::WORDS);
        /// Writer threads when split; 0 decides by cores.
        writers: usize = "0", Range(0, 64), unit "threads";
        /// What a thread does when it has nothing to do: sleep, give way, or burn the core for latency.
        idle: Idle = "auto", Words(Idle::WORDS);
        /// Whether threads are pinned to cores.
        pin: Pin = "auto", Words(Pin::WORDS);
    }
    "Limits" {
        /// Most connections at one time; further ones get HTTP 503.
        max_connections: usize = "10000", Range(1, 200_000), unit "connections";
        /// Most tokens one connection may subscribe to.
        max_tokens_per_connection: usize = "9000", Range(1, 9_000), unit "tokens";
        /// The same, at the Kite endpoint. The default is Kite's own limit.
        max_kite_tokens_per_connection: usize = "3000", Range(1, 9_000), unit "tokens";
        /// Most different tokens all connections of one user together may subscribe to. Without authentication every
        /// connection is a user of its own.
        max_tokens_per_user: usize = "9000", Range(1, 81_000), unit "tokens";
        /// Most indicators one connection may subscribe to; of an API key's client, all its connections together.
        max_indicators_per_connection: usize = "500", Range(1, 4_000), unit "indicators";
        /// Most different indicators all connections of one user together may subscribe to.
        max_indicators_per_user: usize = "1000", Range(1, 100_000), unit "indicators";
        /// Places upstream that are kept for users who have no more tokens than this, so that nobody can take all.
        upstream_reserve: usize = "500", Range(0, 9_000), unit "tokens";
        /// Updates a writer may lag behind before they are conflated.
        ring_capacity: usize = "256", Range(16, 65_536), unit "updates";
        /// How long an update may wait for its turn, while the machine has more to send than it can, before it makes way for
        /// a newer one of its token; likewise at a tab that is late all the time. 0 for as long as the ring has room.
        overload_wait_ms: u64 = "8", Range(0, 10_000), unit "ms";
        /// How much longer than its way over the network a tab may take to answer the ping behind what it was sent. One that
        /// takes longer for 100 ms is sent no more values before it has answered, for a second at most, and newer ones take
        /// the place of older ones meanwhile; after that it may have only so much unread as it reads in some 6 ms. 0: never.
        late_after_ms: u64 = "25", Range(0, 10_000), unit "ms";
        /// Most bytes one write to a socket takes.
        write_budget_bytes: usize = "16384", Range(1_024, 1_048_576), unit "bytes";
        /// Size of a socket's send buffer (SO_SNDBUF); 0 leaves it to the kernel.
        send_buffer_bytes: usize = "0", ZeroOr(4_096, 16_777_216), unit "bytes";
        /// Bytes of a connection that may wait unsent in the kernel (TCP_NOTSENT_LOWAT); 0 for as many as fit. Few keep what a
        /// slow tab gets fresh, since what waits there can no longer be replaced by a newer value.
        unsent_bytes: usize = "16384", ZeroOr(4_096, 16_777_216), unit "bytes";
        /// Largest message a client may send.
        max_message_bytes: usize = "16384", Range(1_024, 1_048_576), unit "bytes";
    }
    "Identity" {
        /// Who must show a token: nobody, nobody but then with the default permissions only, or everybody. A bad token is
        /// refused in every case, except with off where no key is configured either.
        auth: AuthPolicy = "off", Words(AuthPolicy::WORDS);
        /// Where the user service publishes its public keys (RS256, ES256, EdDSA), as a JSON Web Key Set.
        jwks_url: Option<KeysUrl> = "", Form("an https:// address, or http:// where jwks_trusted_host names its host");
        /// The one host that keys may be read from without TLS or at a private address.
        jwks_trusted_host: Option<Name> = "", Form("a host name or an IP address, without a port");
        /// Time between two readings of the keys, spread by a tenth.
        jwks_refresh_s: u64 = "300", Range(10, 86_400), unit "s";
        /// Shortest time between two readings of the keys that unknown ones in tokens cause.
        jwks_cool_down_s: u64 = "30", Range(1, 3_600), unit "s";
        /// How long known keys serve while they cannot be read again.
        jwks_stale_s: u64 = "86400", Range(60, 2_592_000), unit "s";
        /// The claim iss of the user service's tokens.
        jwt_issuer: Name = "user_service", Form("printable characters");
        /// What the claim aud of a token must contain.
        jwt_audience: Name = "trading_platform", Form("printable characters");
        /// Shared secret for HS256. A command line is visible to other users; prefer a variable or a file.
        jwt_secret: Option<Secret> = "", Form("at least 32 printable characters");
        /// Longest life of a token. One that ends further ahead is refused; withdrawn keys and revocations are kept as long.
        token_lifetime_s: u64 = "604800", Range(60, 31_536_000), unit "s";
        /// TOML file with API keys: [[key]] tables with id, client, hash and, if not the default, permissions, as
        /// tickfan hash-key prints them.
        api_keys_file: Option<PathBuf> = "", Form("a path");
        /// What those may do whose token or key does not say, and, with auth = optional, who shows none.
        default_permissions: List = "segment:* mode:full indicators",
            Form("words such as segment:NSE, segment:*, mode:full, stream:all, indicators, tokens:500, connections:5; or none");
        /// Who gets the Kite account's order updates, at the Kite endpoint: those with the permission account:owner, every Kite
        /// client, or nobody.
        orders_to: OrdersTo = "owners", Words(OrdersTo::WORDS);
        /// Whether a token may stand in the query. Queries end up in logs and histories: switch it off once clients can.
        query_token: bool = "true", Words(&["true", "false"]);
        /// Whether POST /auth/token makes tokens, signed with jwt_secret, for whoever asks. For development only.
        dev_tokens: bool = "false", Words(&["true", "false"]);
        /// Pages that may connect, by their origin; not set for all. With a list, a client without origin must show a token.
        allowed_origins: Option<List> = "", Form("origins such as https://app.example.com, with spaces between");
        /// Names the server may be called by (header Host); not set for all.
        allowed_hosts: Option<List> = "", Form("hosts such as ticks.example.com or localhost:8081, with spaces between");
        /// Most connections of one user; further ones are closed with 4429.
        max_connections_per_user: usize = "1000", Range(1, 200_000), unit "connections";
        /// Most connections with one token, by its jti; further ones are closed with 4429.
        max_connections_per_token: usize = "1000", Range(1, 200_000), unit "connections";
        /// Wrong tokens an address may try, after a burst of twenty seconds' worth; further ones get HTTP 429. 0 for no limit.
        /// Clients behind a proxy have its address, unless trusted_proxies names it.
        failed_tokens_per_s: u32 = "5", Range(0, 100_000), unit "tokens/s";
        /// Messages a connection may send, pings too, after a burst of ten seconds' worth; closed with 4429 beyond. 0 for
        /// no limit.
        message_rate: u32 = "200", Range(0, 100_000), unit "messages/s";
    }
    "Access" {
        /// Certificate for TLS, PEM, followed by those of its authorities. Read again when it changes, and on SIGHUP.
        tls_cert: Option<PathBuf> = "", Form("a path");
        /// Private key of the certificate, PEM.
        tls_key: Option<PathBuf> = "", Form("a path");
        /// Proxies whose X-Forwarded-For is believed; nobody else's is.
        trusted_proxies: Option<Networks> = "", Form("addresses and networks such as 10.0.0.0/8, with spaces between");
        /// Most connections that are not sessions yet: in a handshake, asking for pages, or silent. Further ones are closed.
        max_waiting: usize = "4000", Range(1, 200_000), unit "connections";
        /// Most of these from one address (IPv6: one /64); trusted proxies are exempt.
        max_waiting_per_address: usize = "1000", Range(1, 200_000), unit "connections";
        /// WebSocket handshakes in a second, all together; further ones get HTTP 503 and when to come back. 0 for no limit.
        handshakes_per_s: u32 = "5000", Range(0, 1_000_000), unit "handshakes/s";
        /// How old what a connection does not take may become before it is closed with 4408; 0 for no limit.
        slow_after_s: u64 = "60", ZeroOr(5, 86_400), unit "s";
        /// Time between two pings to a client.
        ping_s: u64 = "25", Range(1, 3_600), unit "s";
        /// How long a client may be silent, pongs included, before its connection is closed.
        stale_after_s: u64 = "300", Range(2, 86_400), unit "s";
        /// Longest time between the signal to stop and the end: clients are told one after the other. A second signal ends
        /// at once.
        drain_s: u64 = "10", Range(0, 3_600), unit "s";
    }
    "Operators" {
        /// Address for /metrics, /stats, /ws/connections and what changes something; these then leave the public address.
        /// Plain HTTP. Not set: they are on the public address if that is a loopback one, else refused.
        admin_listen: Option<SocketAddr> = "", Form("an IP address with a port, such as 127.0.0.1:9101");
        /// Key for operators (Authorization: Bearer KEY): for all of admin_listen, and everywhere for what changes something.
        /// A command line is visible to other users; prefer a variable or a file.
        admin_key: Option<Secret> = "", Form("at least 16 printable characters");
        /// Whether operators' pages are served on a public address that others can reach.
        public_stats: bool = "false", Words(&["true", "false"]);
        /// File for the audit log: who came, subscribed, was closed and why, as JSON lines.
        audit_log: Option<PathBuf> = "", Form("a path");
        /// Size at which the audit log is put aside and a new one begun.
        audit_log_bytes: u64 = "16777216", Range(65_536, 1_073_741_824), unit "bytes";
        /// How many audit logs that were put aside are kept.
        audit_log_files: usize = "8", Range(0, 1_000), unit "files";
    }
    "Timing" {
        /// How long changes of demand are collected before they go upstream.
        demand_debounce_ms: u64 = "20", Range(0, 10_000), unit "ms";
        /// How long a token nobody wants any more stays subscribed upstream.
        demand_linger_ms: u64 = "5000", Range(0, 3_600_000), unit "ms";
        /// Longest wait of an update for others to share a message with, for clients that asked for batches.
        batch_delay_ms: u64 = "50", Range(1, 10_000), unit "ms";
        /// Time between two heartbeats to a client.
        heartbeat_s: u64 = "30", Range(1, 3_600), unit "s";
    }
    "Observation" {
        /// What is logged: a level, or a filter such as info,tickfan::feed=debug.
        log: LogFilter = "info", Form("a tracing filter, such as info or warn,tickfan::feed=debug");
        /// Shape of a log line.
        log_format: LogFormat = "text", Words(LogFormat::WORDS);
    }
}
