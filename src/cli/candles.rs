//! `tickfan candles`.

use super::Failure;
use crate::candles::{CandlesError, CandlesOptions, candles};
use crate::kite::instruments;
use crate::market::calendar::{Calendar, Listing, SegmentKind};
use crate::market::candle::DEFAULT_GRACE_NS;
use crate::market::{InstrumentToken, Timeframe};
use crate::tape::{Reel, TapeEnd};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Its arguments.
pub(super) fn command() -> Command {
    Command::new("candles")
        .about(
            "Prints the candles of a tape as csv, formed as the gateway forms them, in the order in which they close",
        )
        .arg(
            Arg::new("tape")
                .long("tape")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The tape, or a folder of tapes; its times of receipt are the clock"),
        )
        .arg(
            Arg::new("timeframe")
                .long("timeframe")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(str::parse::<Timeframe>)
                .default_value("1min")
                .help("1min, 3min, 5min, 10min, 15min, 30min, 60min or 1day; may be repeated"),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .value_name("N")
                .action(ArgAction::Append)
                .value_parser(value_parser!(u32))
                .help("An instrument token; may be repeated [default: all on the tape]"),
        )
        .arg(
            Arg::new("dump").long("dump").value_name("FILE").help(
                "Kite's instrument dump, which tells shares with derivatives and farm produce, whose hours differ",
            ),
        )
        .arg(
            Arg::new("sessions")
                .long("sessions")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A calendar in place of the one that is built in"),
        )
        .arg(
            Arg::new("around-the-clock")
                .long("around-the-clock")
                .action(ArgAction::SetTrue)
                .conflicts_with("sessions")
                .help("Trading never ends, as in the embedded market"),
        )
}

/// Runs it.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let path = matches.get_one::<PathBuf>("tape").ok_or("--tape: missing")?;
    let calendar = match matches.get_one::<PathBuf>("sessions") {
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            Calendar::parse(&text).map_err(|error| named(&error))?
        }
        None if matches.get_flag("around-the-clock") => Calendar::around_the_clock(),
        None => Calendar::built_in()?,
    };
    let options = CandlesOptions {
        timeframes: matches.get_many("timeframe").into_iter().flatten().copied().collect(),
        tokens: matches.get_many("token").into_iter().flatten().copied().collect(),
        calendar,
        grace_ns: DEFAULT_GRACE_NS,
    };
    let dump =
        matches.get_one::<String>("dump").map(|source| instruments::load(source)).transpose()?.unwrap_or_default();
    let underlyings = dump.derivative_underlyings();
    let kind = |token: InstrumentToken| match dump.by_token(token.0) {
        Some(instrument) => instrument.kind(&underlyings),
        None => SegmentKind::of(&Listing { token, exchange: "", name: "", has_derivatives: false }),
    };
    let out = io::BufWriter::new(io::stdout().lock());
    match candles(Reel::open(path)?, &options, kind, out) {
        Ok(summary) => {
            if let Some(end) = summary.end.filter(|end| *end != TapeEnd::Complete) {
                eprintln!("{}: {end}", path.display());
            }
            if summary.broken > 0 {
                eprintln!("{}: {} messages or packets could not be decoded", path.display(), summary.broken);
            }
            Ok(ExitCode::from(u8::from(summary.broken > 0)))
        }
        Err(CandlesError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}
