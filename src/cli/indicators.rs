//! `tickfan indicators`.

use super::Failure;
use crate::indicators::{self, IndicatorsError};
use crate::market::indicator::IndicatorId;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Its command line.
pub(super) fn command() -> Command {
    Command::new("indicators")
        .about("Computes indicators over a csv file of bars and prints them as JSON")
        .arg(
            Arg::new("ohlcv")
                .long("ohlcv")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Columns timestamp, open, high, low, close, and perhaps volume and session; - reads standard input",
                ),
        )
        .arg(
            Arg::new("id")
                .long("id")
                .value_name("ID")
                .action(ArgAction::Append)
                .value_parser(str::parse::<IndicatorId>)
                .required_unless_present("all")
                .help("An indicator, as in MACD_12_26_9; numbers left out have their defaults; may be repeated"),
        )
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All indicators with their defaults"))
}

/// Runs it.
///
/// # Errors
/// When the file cannot be read or is none of bars.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let mut ids = if matches.get_flag("all") { indicators::all() } else { Vec::new() };
    for id in matches.get_many::<IndicatorId>("id").into_iter().flatten() {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    let path = matches.get_one::<PathBuf>("ohlcv").ok_or("--ohlcv: missing")?;
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
    };
    match indicators::indicators(input, &ids, io::BufWriter::new(io::stdout().lock())) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(IndicatorsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}
