//! Loads a gateway with tabs, and with ticks, and tells how long each tick took and whether any went wrong.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::error::Error;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tickfan::market::Mode;
use tickfan_tools::load::clock::Clock;
use tickfan_tools::load::fleet::{Fleet, Plan};
use tickfan_tools::load::gateway::{Gateway, usage};
use tickfan_tools::load::percentiles::{at_us, write_distribution};
use tickfan_tools::load::report::{Class, Report, Resumed, Server};
use tickfan_tools::load::scan::Format;
use tickfan_tools::load::universe::Universe;
use tickfan_tools::load::upstream::Upstream;

/// Longest wait for subscriptions to be answered and to reach the upstream.
const SUBSCRIBE_LIMIT_NS: u64 = 30_000_000_000;
/// After the last tick, silence of this length means that everything has arrived.
const SILENCE: Duration = Duration::from_millis(500);
/// While a tab lacks a tick it takes so much of it: the gateway may have been held up.
const LONG_SILENCE: Duration = Duration::from_secs(5);
/// How long it is listened to at once.
const TURN: Duration = Duration::from_millis(20);
/// But no longer than this.
const DRAIN_LIMIT_NS: u64 = 15_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let count = |name: &'static str, default: &'static str, help: &'static str| {
        text(name, "N", help).value_parser(value_parser!(usize)).default_value(default)
    };
    let seconds = |name: &'static str, default: &'static str, help: &'static str| {
        text(name, "SECONDS", help).value_parser(value_parser!(f64)).default_value(default)
    };
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("fan-load")
        .about("Load client for a tick gateway: opens tabs, can be the Kite upstream, judges every tick")
        .after_help(
            "Latency is taken from the time a tick was DUE (open loop), so a stall counts for every tick it delayed.\n\
             It needs --kite-listen or --spawn with {kite}, and --mode quote or full: only those carry the stamps.\n\n\
             Exit code: 0 all well; 1 a tick leaked, went backwards or was lost by a healthy tab; 2 the run failed.\n\n\
             Example:\n  fan-load --tabs 200 --universe 200 --tokens-per-tab 20 --rate 1000 \\\n    \
             --spawn 'target/release/tickfan --listen 127.0.0.1:{ws} --feed kite --kite-root ws://127.0.0.1:{kite}/'",
        )
        .args_override_self(true)
        .next_help_heading("Gateway")
        .arg(
            text("url", "URL", "Stream to connect to; with --spawn only its path and query count")
                .default_value("ws://127.0.0.1:8081/ws/stream"),
        )
        .arg(text(
            "spawn",
            "COMMAND",
            "Start this gateway and kill it at the end; {kite} and {ws} become ports. Without {ws} its stdout must say \
             'listening on http://HOST:PORT'",
        ))
        .arg(text("pid", "PID", "Watch memory and processor time of this process").value_parser(value_parser!(u32)))
        .next_help_heading("Upstream")
        .arg(text(
            "kite-listen",
            "HOST:PORT",
            "Be the Kite ticker server at this address (port 0: any); implied by {kite} in --spawn",
        ))
        .arg(
            text("rate", "N", "Ticks published a second, over all instruments in turn")
                .value_parser(value_parser!(u64).range(1..=10_000_000))
                .default_value("1000"),
        )
        .next_help_heading("Tabs")
        .arg(count("tabs", "100", "Connections"))
        .arg(count(
            "tokens-per-tab",
            "20",
            "Instruments each tab subscribes; shares of the universe, one after another",
        ))
        .arg(count("universe", "200", "This many made-up NSE instruments: 256001, 256257, …"))
        .arg(
            text("tokens", "A,B,C", "These instruments instead of made-up ones")
                .value_delimiter(',')
                .value_parser(value_parser!(u32)),
        )
        .arg(
            text("mode", "MODE", "What each tab subscribes")
                .value_parser(["ltp", "quote", "full"])
                .default_value("quote"),
        )
        .arg(
            text(
                "format",
                "FORMAT",
                "How messages are written; kite also takes the Kite endpoint, unless --url says another",
            )
            .value_parser(["json", "msgpack", "kite"])
            .default_value("json"),
        )
        .arg(count("slow", "0", "This many of the tabs stop reading after the warm-up"))
        .arg(seconds("slow-seconds", "5", "For so long; 0 keeps them reading but reports them apart (control run)"))
        .arg(count(
            "slow-receive-buffer",
            "0",
            "Receive buffer of slow tabs in bytes, so that the server feels them sooner; 0: the system's",
        ))
        .next_help_heading("Run")
        .arg(seconds("warm-up", "2", "Ticks flow but are not measured"))
        .arg(seconds("seconds", "10", "Length of the measured window"))
        .arg(flag("spin", "Never sleep while waiting: takes a whole core and the wake-up out of the latency"))
        .arg(flag("allow-loss", "Do not fail when healthy tabs lose ticks or are closed"))
        .next_help_heading("Report")
        .arg(flag("json", "Print one JSON object instead of the table"))
        .arg(text("hgrm", "FILE", "Write the latency distribution of the healthy tabs for HdrHistogram's plotters"))
        .arg(flag("quiet", "No progress line each second"))
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fan-load: {error}");
            ExitCode::from(2)
        }
    }
}

/// The value of an option that has a default.
fn value<T: Clone + Send + Sync + 'static>(options: &ArgMatches, name: &str) -> T {
    let Some(value) = options.get_one::<T>(name) else { unreachable!("--{name} has a default") };
    value.clone()
}

/// Whether nothing went wrong that must not.
fn run(options: &ArgMatches) -> Outcome<bool> {
    let clock = Clock::start();
    let universe = Arc::new(match options.get_many::<u32>("tokens") {
        Some(tokens) => Universe::new(tokens.copied().collect()),
        None => Universe::made_up(value(options, "universe")),
    });
    let tabs: usize = value(options, "tabs");
    let slow: usize = value(options, "slow");
    if universe.is_empty() || tabs == 0 || slow > tabs {
        return Err("there must be a tab, an instrument, and no more slow tabs than tabs".into());
    }

    let spawn = options.get_one::<String>("spawn");
    let any_port = "127.0.0.1:0".to_owned();
    let implied = spawn.filter(|command| command.contains("{kite}")).map(|_| &any_port);
    let upstream = options.get_one::<String>("kite-listen").or(implied);
    let upstream =
        upstream.map(|address| Upstream::listen(address, Arc::clone(&universe), value(options, "rate"), clock));
    let upstream = upstream.transpose()?;
    if let Some(upstream) = &upstream {
        eprintln!("fan-load: Kite ticker on ws://{}/", upstream.address());
    }

    let (mut address, mut path) = split_url(&value::<String>(options, "url"))?;
    let format = match value::<String>(options, "format").as_str() {
        "kite" => Format::Kite,
        "msgpack" => Format::Msgpack,
        _ => Format::Json,
    };
    if format == Format::Kite && path == STREAM {
        path = "/kite?api_key=load&access_token=load".to_owned();
    }
    let mut gateway = None;
    if let Some(command) = spawn {
        let kite_port = upstream.as_ref().map_or(0, |upstream| upstream.address().port());
        let started = gateway.insert(Gateway::start(command, kite_port)?);
        address = started.address()?;
    }
    let pid = gateway.as_ref().map(Gateway::pid).or_else(|| options.get_one("pid").copied());
    let watch = || pid.map(usage).unwrap_or_default();
    let idle = watch();

    let mode = Mode::parse(&value::<String>(options, "mode")).ok_or("unknown mode")?;
    // Only quote and full carry the fields in which the stamps hide.
    let stamped = upstream.is_some() && mode != Mode::Ltp;
    let plan = Plan {
        address,
        path,
        tabs,
        tokens_per_tab: value(options, "tokens-per-tab"),
        slow,
        slow_receive_buffer: value(options, "slow-receive-buffer"),
        mode,
        format,
        stamped,
    };
    let fleet = Fleet::connect(&plan, Arc::clone(&universe), clock)?;
    let patience = if options.get_flag("spin") { Duration::ZERO } else { Duration::from_millis(20) };
    let mut run =
        Run { clock, fleet, upstream, patience, quiet: options.get_flag("quiet"), progress: Progress::default() };
    run.subscribe(&plan, &universe)?;
    let subscribed = watch();

    let start_ns = run.begin();
    let nanoseconds = |name| (value::<f64>(options, name) * 1e9) as u64;
    let window_start_ns = start_ns + nanoseconds("warm-up");
    let window_end_ns = window_start_ns + nanoseconds("seconds");
    let resume_ns = (window_start_ns + nanoseconds("slow-seconds")).min(window_end_ns);
    run.fleet.measure(window_start_ns..window_end_ns);
    run.turn_until(window_start_ns)?;
    let (cpu_before, busy_before) = (watch().cpu_ms, run.fleet.busy_ns);
    let stops = slow > 0 && resume_ns > window_start_ns;
    run.fleet.pause(stops);
    run.turn_until(resume_ns)?;
    let before_resume = (run.fleet.slow().delivered, run.fleet.slow().conflated);
    // When they stop for the whole window, their catching up must not fall into it.
    if resume_ns < window_end_ns {
        run.fleet.pause(false);
        run.turn_until(window_end_ns)?;
    }
    let (cpu_after, busy_after) = (watch().cpu_ms, run.fleet.busy_ns);
    run.drain()?;
    let after = watch();

    let published = run.upstream.as_ref().filter(|_| stamped).map(|upstream| |place| upstream.published(place));
    let standing = |slow| published.as_ref().map(|published| run.fleet.standing(slow, published));
    let class = |slow, tabs, tally| Class { tabs, tally, standing: standing(slow) };
    let (healthy, slow_class) = (class(false, tabs - slow, run.fleet.healthy()), class(true, slow, run.fleet.slow()));
    let report = Report {
        window_s: (window_end_ns - window_start_ns) as f64 / 1e9,
        healthy,
        slow: slow_class,
        resumed: stops.then(|| Resumed {
            ticks: run.fleet.slow().delivered - before_resume.0,
            conflated: run.fleet.slow().conflated - before_resume.1,
        }),
        published: run.upstream.map(|upstream| (upstream.sent(), upstream.finish())),
        server: pid.map(|_| Server { idle, subscribed, after, window_cpu_ms: cpu_after.saturating_sub(cpu_before) }),
        client_busy: (busy_after - busy_before) as f64 / (window_end_ns - window_start_ns) as f64,
        allow_loss: options.get_flag("allow-loss"),
    };
    if let Some(file) = options.get_one::<String>("hgrm") {
        let mut out = io::BufWriter::new(std::fs::File::create(file).map_err(|error| format!("{file}: {error}"))?);
        write_distribution(&report.healthy.tally.latency, &mut out)?;
        out.flush()?;
    }
    if options.get_flag("json") {
        println!("{}", report.json())
    } else {
        print!("{report}")
    }
    Ok(report.faults().is_empty())
}

/// The path of the stream that is not Kite's.
const STREAM: &str = "/ws/stream";

/// `ws://HOST:PORT/PATH` as an address and a path.
fn split_url(url: &str) -> Outcome<(SocketAddr, String)> {
    let rest = url.strip_prefix("ws://").ok_or("the URL must begin with ws://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.next();
    let path = if path.is_empty() { STREAM } else { path };
    Ok((address.ok_or_else(|| format!("{host}: no address"))?, path.to_owned()))
}

/// A run under way.
struct Run {
    clock: Clock,
    fleet: Fleet,
    upstream: Option<Upstream>,
    /// Longest sleep of one turn; zero spins.
    patience: Duration,
    quiet: bool,
    progress: Progress,
}

/// What the last progress line told.
#[derive(Default)]
struct Progress {
    next_ns: u64,
    delivered: u64,
    published: u64,
}

impl Run {
    /// Waits until every tab is answered and the upstream knows of every instrument that a tab wants.
    fn subscribe(&mut self, plan: &Plan, universe: &Universe) -> Outcome<()> {
        let wanted = (plan.tabs * plan.tokens_per_tab.min(universe.len())).min(universe.len());
        let limit_ns = self.clock.now_ns() + SUBSCRIBE_LIMIT_NS;
        loop {
            let known = self.upstream.as_ref().map_or(wanted, Upstream::wanted);
            if self.fleet.ready() == plan.tabs && known >= wanted {
                break;
            }
            if self.clock.now_ns() > limit_ns {
                return Err(format!(
                    "after {} s {} of {} tabs were answered and {known} of {wanted} instruments subscribed upstream",
                    SUBSCRIBE_LIMIT_NS / SECOND_NS,
                    self.fleet.ready(),
                    plan.tabs
                )
                .into());
            }
            self.fleet.turn(Duration::from_millis(20))?;
        }
        // Mode changes may still be on their way upstream; snapshots on theirs down.
        self.turn_until(self.clock.now_ns() + SECOND_NS / 2)
    }

    /// Lets the ticks flow; returns when the first is due.
    fn begin(&mut self) -> u64 {
        self.fleet.publishing();
        let start_ns = self.upstream.as_ref().map_or_else(|| self.clock.now_ns(), Upstream::begin);
        self.progress.next_ns = start_ns + SECOND_NS;
        start_ns
    }

    fn turn_until(&mut self, at_ns: u64) -> Outcome<()> {
        while self.clock.now_ns() < at_ns {
            self.fleet.turn(self.patience.min(self.clock.until(at_ns)))?;
            self.tell();
        }
        Ok(())
    }

    /// Ends the ticks and reads, slow tabs too, until nothing comes any more.
    fn drain(&mut self) -> Outcome<()> {
        let ours = self.upstream.is_some();
        if let Some(upstream) = &self.upstream {
            upstream.stop();
        }
        self.fleet.pause(false);
        let begin_ns = self.clock.now_ns();
        let mut silent = Duration::ZERO;
        // A foreign upstream never falls silent.
        let limit_ns = if ours { DRAIN_LIMIT_NS } else { SILENCE.as_nanos() as u64 };
        while self.clock.now_ns() < begin_ns + limit_ns {
            let heard = self.fleet.turn(TURN)? > 0;
            // Not by the clock: a client that was held up has not listened.
            silent = if heard { Duration::ZERO } else { silent + TURN };
            if silent >= LONG_SILENCE || silent >= SILENCE && !self.lacks() {
                break;
            }
        }
        Ok(())
    }

    /// Whether ticks that were published may still be on their way.
    fn lacks(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| self.fleet.lacks(|place| upstream.published(place)))
    }

    /// One line on stderr each second.
    fn tell(&mut self) {
        if self.quiet || self.progress.next_ns == 0 || self.clock.now_ns() < self.progress.next_ns {
            return;
        }
        let (healthy, slow) = (self.fleet.healthy(), self.fleet.slow());
        let delivered = healthy.delivered + slow.delivered;
        let published = self.upstream.as_ref().map_or(0, Upstream::sent);
        eprintln!(
            "published {:>8}/s  delivered {:>9}/s  p50 {:>8.1} us  p99 {:>8.1} us  lost {}  leaked {}",
            published - self.progress.published,
            delivered - self.progress.delivered,
            at_us(&healthy.latency, 0.5),
            at_us(&healthy.latency, 0.99),
            healthy.lost,
            healthy.leaked + slow.leaked,
        );
        self.progress = Progress { next_ns: self.progress.next_ns + SECOND_NS, delivered, published };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_url_is_an_address_and_a_path() {
        let (address, path) = split_url("ws://127.0.0.1:81/ws/stream?token=x").unwrap();
        assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:81", "/ws/stream?token=x"));
        assert_eq!(split_url("ws://127.0.0.1:81").unwrap().1, "/ws/stream");
        assert!(split_url("http://127.0.0.1").is_err());
    }
}
