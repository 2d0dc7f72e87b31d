//! `us-tape`: turns the open of a New York day into a tape, so that the gateway can be shown real bursts.
//!
//! Input is a gzipped table `ms_new_york,symbol,kind,price_or_bid_e4,qty_or_bidqty,ask_e4,askqty`, sorted by time, kind
//! `T` for a trade and `Q` for a change of the best bid and offer. Every event becomes a full packet; events of one
//! millisecond share a message. What the input does not know stays zero: the previous close, depth rows 2 to 5, orders.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use tickfan::tape::TapeWriter;

use convert::{Failure, INSTRUMENTS, OPEN_NEW_YORK_MS, Summary, convert};
use date::days_since_1970;

mod convert;
mod date;

/// 09:15 in India is 03:45 UTC, milliseconds of the day: the open of the tape.
const OPEN_INDIA_MS: i64 = 13_500_000;

const DAY_MS: i64 = 86_400_000;

fn run(input: &Path, output: &Path, day: i64) -> Result<Summary, Failure> {
    let table = flate2::read::MultiGzDecoder::new(BufReader::new(File::open(input)?));
    convert(table, &mut TapeWriter::create(output)?, day * DAY_MS + OPEN_INDIA_MS - OPEN_NEW_YORK_MS)
}

fn main() -> ExitCode {
    let matches = Command::new("us-tape")
        .about("Turns the open of a New York day into a tape whose market opens at 09:15 in India")
        .arg(file("input", "INPUT.csv.gz", "The gzipped table of trades and quotes"))
        .arg(file("output", "OUTPUT.tape", "The tape to write; an existing file is replaced"))
        .arg(
            Arg::new("date")
                .long("date")
                .value_name("YYYY-MM-DD")
                .default_value("2013-10-07")
                .value_parser(days_since_1970)
                .help("The day of the tape"),
        )
        .get_matches();
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let (input, output) = (path("input"), path("output"));
    match run(&input, &output, matches.get_one::<i64>("date").copied().unwrap_or_default()) {
        Ok(summary) => {
            print(&summary);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            match failure {
                // Names its own file.
                Failure::Tape(failure) => eprintln!("us-tape: {failure}"),
                failure => eprintln!("us-tape: {}: {failure}", input.display()),
            }
            ExitCode::FAILURE
        }
    }
}

fn file(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(name).help(help).required(true).value_parser(value_parser!(PathBuf))
}

fn print(summary: &Summary) {
    println!("{} events in {} messages, {:.3} s", summary.events, summary.messages, summary.duration_s());
    let after_open_s = summary.busiest.0 - OPEN_NEW_YORK_MS / 1000;
    println!("busiest second: {} events, {after_open_s} s after the open", summary.busiest.1);
    if summary.left_out > 0 {
        println!("{} quotes before the first trade of their symbol left out", summary.left_out);
    }
    for (symbol, token) in INSTRUMENTS {
        println!("{symbol} is instrument {token}");
    }
}
