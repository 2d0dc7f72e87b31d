//! The commands of the program.

mod indicators;
mod market;

use crate::assembly;
use crate::clock::Clock;
use crate::config::{self, Config, LogFormat};
use crate::decode;
use crate::duty::Duty;
use crate::gateway::Gateway;
use crate::market::InstrumentToken;
use crate::record::{self, Recorded, Recording};
use arc_swap::ArcSwap;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

mod candles;
mod identity;
mod login;
mod moderation;

/// Exit code for a start that was refused: a usage or configuration error (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;

/// Exit code after a second signal, as that of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// An error that ends the program, as text for a person.
type Failure = Box<dyn std::error::Error>;

/// The command line.
pub fn command() -> Command {
    Command::new("tickfan")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One Kite market-data feed for thousands of browser tabs, each of which gets exactly what it subscribed to")
        .long_about(
            "Serves live ticks of one market-data feed to WebSocket clients at /ws/stream and shows them at /.\n\n\
             Without arguments the feed is an embedded synthetic market, so that everything can be tried at once. Every \
             setting may also stand in a TOML file (--config) or in the environment (TICKFAN_ and its name in upper \
             case); a flag overrides both.",
        )
        .args(config::args())
        .args_conflicts_with_subcommands(true)
        .subcommand(
            Command::new("check-config")
                .about("Checks the settings and prints each with its value and where it came from")
                .args(config::args()),
        )
        .subcommand(
            Command::new("decode")
                .about("Prints the ticks in Kite messages, one JSON object a line, in the official Python client's names")
                .arg(
                    Arg::new("input")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("A tape, a file of hex lines (one message each), or one binary message; - or nothing reads standard input"),
                )
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_parser(["hex", "tape", "raw"])
                        .help("What the input is; found out by itself when left out"),
                ),
        )
        .subcommand(indicators::command())
        .subcommand(candles::command())
        .subcommand(login::command())
        .subcommand(identity::token_command())
        .subcommand(identity::hash_key_command())
        .subcommand(market::command())
        .subcommand(
            Command::new("record")
                .about("Writes what the feed yields to a tape, packed and safe against a crash, until interrupted")
                .arg(
                    Arg::new("output")
                        .value_name("TAPE")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help(
                            "The file; an existing tape is continued behind its last whole record. Or a folder (one that \
                             is there, or a path that ends in /), which gets a tape a day, named YYYY-MM-DD-NNNN.tape by \
                             the date in India",
                        ),
                )
                .arg(
                    Arg::new("max-mib")
                        .long("max-mib")
                        .value_name("N")
                        .default_value("1024")
                        .value_parser(value_parser!(u64).range(1..=1_048_576))
                        .help("In a folder, begin another tape when one has so many MiB, 1 to 1048576"),
                )
                .arg(
                    Arg::new("symbol")
                        .long("symbol")
                        .value_name("EXCHANGE:SYMBOL or TOKEN")
                        .action(ArgAction::Append)
                        .help("An instrument to subscribe to, in full mode; may be repeated (the kite feed sends nothing else)"),
                )
                .arg(
                    Arg::new("seconds")
                        .long("seconds")
                        .value_name("N")
                        .value_parser(value_parser!(u64).range(1..))
                        .help("Stop after so many seconds [default: until interrupted]"),
                )
                .args(config::args()),
        )
}

/// Runs the program.
pub fn run() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            if let Some(hint) = config::flag_hint(&error) {
                eprintln!("{hint}");
            }
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let outcome = match matches.subcommand() {
        Some(("check-config", matches)) => check_config(matches),
        Some(("decode", matches)) => decode_input(matches),
        Some(("indicators", matches)) => indicators::run(matches),
        Some(("candles", matches)) => candles::run(matches),
        Some(("login", matches)) => login::run(matches),
        Some(("token", matches)) => identity::token(matches),
        Some(("hash-key", matches)) => identity::hash_key(matches),
        Some(("market", matches)) => market::run(matches),
        Some(("record", matches)) => record_feed(matches),
        _ => serve(&matches),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tickfan: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn load(matches: &ArgMatches) -> Result<Config, Failure> {
    Ok(Config::load(matches, std::env::vars_os())?)
}

fn check_config(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = load(matches)?;
    if config.feed == config::FeedChoice::Kite {
        assembly::credentials(&config)?;
    }
    assembly::gate(&config, &Clock::system())?;
    assembly::edge::tls(&config)?;
    assembly::edge::admin(&config)?;
    print!("{}", config.describe());
    Ok(ExitCode::SUCCESS)
}

fn decode_input(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let format = matches.get_one::<String>("format").map(|name| match name.as_str() {
        "hex" => decode::Format::HexLines,
        "tape" => decode::Format::Tape,
        _ => decode::Format::Raw,
    });
    let path = matches.get_one::<PathBuf>("input").filter(|path| path.as_os_str() != "-");
    let (input, name): (Box<dyn Read>, &Path) = match path {
        Some(path) => {
            let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            (Box::new(file), path)
        }
        None => (Box::new(io::stdin().lock()), Path::new("standard input")),
    };
    let out = io::BufWriter::new(io::stdout().lock());
    match decode::decode(input, name, format, out, io::stderr().lock()) {
        Ok(summary) => Ok(ExitCode::from(u8::from(summary.failed()))),
        // Whoever reads our output has had enough: that is no failure.
        Err(decode::DecodeError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

fn start_log(config: &Config) -> Result<(), Failure> {
    // The WebSocket library would log its handshake with Kite, credentials and all, at level trace.
    let filter = tracing_subscriber::EnvFilter::try_new(config.log.as_str())?
        .add_directive("tungstenite=warn".parse()?)
        .add_directive("tokio_tungstenite=warn".parse()?);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The control side's runtime: few threads, since everything that is hot runs elsewhere.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / 2).clamp(1, 4))
        .thread_name("tickfan-control")
        .on_thread_park(moderation::before_sleep)
        .on_thread_unpark(moderation::after_sleep)
        .enable_all()
        .build()
}

fn serve(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = load(matches)?;
    start_log(&config)?;
    let clock = Clock::system();
    let feed = assembly::feed(&config, &clock)?;
    let name = feed.feed.name();
    let keys = feed.upstream.as_ref().and_then(|upstream| upstream.keys.clone());
    let gate = Arc::new(assembly::gate(&config, &clock)?);
    let instruments = assembly::instruments(&config)?;
    tracing::info!(feed = name, instruments = instruments.len(), "starting");
    let runtime = runtime()?;
    runtime.block_on(async {
        let settings = assembly::settings(&config)?;
        tracing::info!(threads = ?settings.threads, idle = ?settings.idle, pin = settings.pin, "data plane");
        let instruments = Arc::new(ArcSwap::from_pointee(instruments));
        let past = assembly::past(&config, &settings, &clock)?;
        // Before anything is said or done that somebody might answer with a signal.
        let mut signals = Signals::new()?;
        if let Some(keys) = keys {
            let mut hangup = signal(SignalKind::hangup())?;
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    keys.reread();
                }
            });
        }
        let gateway = Gateway::start(settings, feed, instruments, gate, clock, past).await?;
        let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
        println!("listening on {scheme}://{}", gateway.address);
        if let Some(address) = gateway.admin_address {
            println!("operators' pages on http://{address}");
        }
        io::stdout().flush()?;
        signals.next().await;
        tracing::info!("stopping");
        tokio::select! {
            () = gateway.drain(Duration::from_secs(config.drain_s)) => {}
            () = signals.next() => {
                tracing::warn!("stopping at once");
                std::process::exit(INTERRUPTED.into());
            }
        }
        tokio::task::block_in_place(|| gateway.stop());
        Ok::<_, Failure>(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Until the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Until Ctrl-C or SIGTERM.
async fn interrupted() -> io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

fn record_feed(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = load(matches)?;
    start_log(&config)?;
    let clock = Clock::system();
    let mut source = assembly::feed(&config, &clock)?;
    let tokens = wanted(matches, &config)?;
    if tokens.is_empty() && source.feed.universe().is_empty() {
        return Err("--symbol: at least one is needed, since this feed sends only what is subscribed".into());
    }
    let output = matches.get_one::<PathBuf>("output").ok_or("TAPE: missing")?;
    let length = matches.get_one::<u64>("seconds").copied().map(Duration::from_secs);
    let runtime = runtime()?;
    let (mut poll, waker) = Duty::poll()?;
    let stop = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(waker);
    let _guard = runtime.enter();
    if let Some(control) = source.control.take() {
        let waker = Arc::clone(&waker);
        control(Arc::new(move || drop(waker.wake())));
    }
    let stopping = Arc::clone(&stop);
    runtime.spawn(async move {
        let _ = interrupted().await;
        stopping.store(true, Ordering::Relaxed);
        let _ = waker.wake();
    });
    let shown = io::stderr().is_terminal();
    let progress = |so_far: Recorded| {
        if shown {
            eprint!("\r{} messages, {} bytes ", so_far.messages, so_far.bytes);
        }
    };
    let most_bytes = matches.get_one::<u64>("max-mib").copied().unwrap_or(1_024) << 20;
    let recording = Recording { tokens: &tokens, path: output, most_bytes, length, stop: &stop };
    let recorded = record::record(&mut *source.feed, &mut poll, &clock, recording, progress)?;
    if shown {
        eprintln!();
    }
    println!("{}: {} messages, {} bytes", output.display(), recorded.messages, recorded.bytes);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// The instruments named by `--symbol`: tokens or symbols.
fn wanted(matches: &ArgMatches, config: &Config) -> Result<Vec<InstrumentToken>, Failure> {
    let Some(names) = matches.get_many::<String>("symbol") else { return Ok(Vec::new()) };
    let instruments = assembly::instruments(config)?;
    names
        .map(|name| match name.parse() {
            Ok(token) => Ok(InstrumentToken(token)),
            Err(_) => instruments
                .resolve(name)
                .map(|found| found.token)
                .ok_or_else(|| format!("--symbol {name}: not in the instrument list").into()),
        })
        .collect()
}
