//! `tickfan login`: the access token of the day, into a file that a running gateway reads by itself.

use super::Failure;
use crate::kite::login::{self, Login};
use crate::secret::Secret;
use clap::{Arg, ArgMatches, Command, value_parser};
use reqwest::Url;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Its command line.
pub fn command() -> Command {
    Command::new("login")
        .about("Exchanges Kite's request token for the access token of the day and writes the credentials file")
        .long_about(
            "Exchanges Kite's request token for the access token of the day and writes the credentials file (mode 0600), \
             which a running gateway with --kite-credentials-file takes over within a second, without a restart.\n\n\
             The API key and the API secret come from KITE_API_KEY and KITE_API_SECRET in the environment. Without \
             REQUEST_TOKEN the address of the login page is printed, and the token, or the whole address the browser was \
             sent to afterwards, is read from standard input.",
        )
        .arg(
            Arg::new("request-token")
                .value_name("REQUEST_TOKEN")
                .help("What the login page gave, or the whole address the browser was sent to"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The credentials file; replaced as a whole"),
        )
        .arg(
            Arg::new("root")
                .long("root")
                .value_name("URL")
                .default_value(login::ROOT)
                .value_parser(value_parser!(Url))
                .help("Address of the REST interface"),
        )
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let secret = |name: &str| match std::env::var(name) {
        Ok(value) if !value.trim().is_empty() => Ok(Secret::new(value.trim())),
        _ => Err(format!("{name}: missing in the environment")),
    };
    let (api_key, api_secret) = (secret("KITE_API_KEY")?, secret("KITE_API_SECRET")?);
    let request_token = match matches.get_one::<String>("request-token") {
        Some(pasted) => login::request_token(pasted),
        None => {
            eprintln!("log in at {}", login::page(&api_key));
            eprint!("request token, or the address you were sent to: ");
            io::stderr().flush()?;
            let mut pasted = String::new();
            io::stdin().read_line(&mut pasted)?;
            login::request_token(&pasted)
        }
    };
    if request_token.reveal().is_empty() {
        return Err("REQUEST_TOKEN: missing".into());
    }
    let root = matches.get_one::<Url>("root").ok_or("--root: missing")?.clone();
    let output = matches.get_one::<PathBuf>("output").ok_or("--output: missing")?;
    let login = Login { root, api_key, api_secret, request_token };
    let access_token = login.exchange()?;
    login::save(output, &login.api_key, &access_token)?;
    println!("{}: written; the token's time ends at 06:00 IST", output.display());
    Ok(ExitCode::SUCCESS)
}
