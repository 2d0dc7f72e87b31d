//! What a session costs that only stands there: opens many, reads nothing, asks the system for the gateway's memory.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;
use tickfan_tools::load::gateway::{self, Gateway};
use tungstenite::{Message, WebSocket};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How long the gateway may take to come to rest after the last session.
const REST: Duration = Duration::from_secs(1);

fn command() -> Command {
    let text = |name: &'static str| Arg::new(name).long(name);
    Command::new("idle")
        .about("Opens idle sessions and prints what each takes of the gateway's memory")
        .arg(
            text("spawn")
                .value_name("COMMAND")
                .default_value("target/release/tickfan --listen 127.0.0.1:{ws} --log warn --data-dir none")
                .help("The gateway to start; {ws} becomes a port"),
        )
        .arg(
            text("sessions")
                .value_name("N")
                .value_parser(value_parser!(u32).range(2..))
                .default_value("2000")
                .help("How many are opened"),
        )
        .arg(text("path").value_name("PATH").default_value("/ws/stream").help("Path and query they connect to"))
        .arg(
            text("send")
                .value_name("TEXT")
                .action(ArgAction::Append)
                .help("What each sends at first, for sessions that have subscribed; may be given several times"),
        )
        .arg(
            text("at-most")
                .value_name("KIB")
                .value_parser(value_parser!(f64))
                .help("Fail when a session beyond the first takes more"),
        )
        .after_help(
            "Counted is memory that the process has written and that has no file behind it (Anonymous in smaps_rollup); \
             what the kernel keeps for sockets is not in it.\n\nExit code: 0 all well; 1 more than --at-most; 2 the run \
             failed.",
        )
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether a session takes no more than it may.
fn run(options: &ArgMatches) -> Outcome<bool> {
    let text = |name| options.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let sessions = options.get_one::<u32>("sessions").copied().unwrap_or(2);
    let send: Vec<&String> = options.get_many("send").into_iter().flatten().collect();
    let mut gateway = Gateway::start(text("spawn"), 0)?;
    let address = gateway.address()?;
    let mut open = Vec::new();
    let mut first_kib = 0;
    let mut each = 0.0;
    println!("{:>9} {:>12} {:>22}", "sessions", "memory KiB", "each beyond the first");
    for step in [1, sessions / 4, sessions / 2, sessions] {
        while (open.len() as u32) < step {
            open.push(connect(address, text("path"), &send)?);
        }
        std::thread::sleep(REST);
        let kib = gateway::anonymous_kib(gateway.pid())?;
        if step == 1 {
            first_kib = kib;
            println!("{step:>9} {kib:>12}");
        } else {
            each = kib.saturating_sub(first_kib) as f64 / f64::from(step - 1);
            println!("{step:>9} {kib:>12} {:>18.2} KiB", each);
        }
    }
    Ok(options.get_one::<f64>("at-most").is_none_or(|most| each <= *most))
}

fn connect(address: std::net::SocketAddr, path: &str, send: &[&String]) -> Outcome<WebSocket<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    let (mut session, _) = tungstenite::client(format!("ws://{address}{path}"), socket)
        .map_err(|error| format!("a session was not accepted: {error}"))?;
    for text in send {
        session.send(Message::text(text.as_str()))?;
        session.read()?;
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        command().debug_assert();
    }
}
