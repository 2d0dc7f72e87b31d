//! `tickfan market`.

use super::{Failure, interrupted, load, start_log};
use crate::assembly;
use crate::clock::Clock;
use crate::config;
use crate::sandbox::{HELP, Sandbox};
use clap::{ArgMatches, Command};
use std::io::{self, Write};
use std::process::ExitCode;

/// Its arguments.
pub(super) fn command() -> Command {
    Command::new("market")
        .about("Serves the embedded market as Kite's ticker does, with faults on demand: a sandbox without an account")
        .long_about(
            "Serves the embedded market over a WebSocket that speaks as Kite's ticker does, so that Kite clients, and a \
             gateway with --feed kite --kite-root ws://HOST:PORT/, work without an account. GET /instruments is the list \
             of instruments as Kite's csv; POST /session/token gives an access token to whoever asks.\n\n\
             It goes by the settings listen, market_*, sandbox_* and log; kite_api_key and kite_access_token, when \
             set, are the only credentials let in.",
        )
        .after_long_help(HELP)
        .args(config::args())
}

/// Runs it.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = load(matches)?;
    start_log(&config)?;
    let settings = assembly::sandbox(&config, &Clock::system())?;
    // One thread carries it all: the exchange is one task, and its sockets wait most of the time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sandbox =
            Sandbox::start(settings).await.map_err(|error| format!("setting listen ({}): {error}", config.listen))?;
        println!("listening on ws://{}/ and http://{}/instruments", sandbox.address, sandbox.address);
        io::stdout().flush()?;
        interrupted().await?;
        tracing::info!("stopping");
        Ok::<_, Failure>(())
    })?;
    Ok(ExitCode::SUCCESS)
}
