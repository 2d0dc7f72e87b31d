//! `tickfan token` and `tickfan hash-key`.

use super::Failure;
use crate::assembly;
use crate::clock::Clock;
use crate::config;
use crate::identity::api_key;
use crate::identity::issue::{SigningKey, TokenRequest};
use crate::identity::permissions::Permissions;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;

/// `tickfan token`.
pub fn token_command() -> Command {
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("TEXT").help(help);
    Command::new("token")
        .about("Prints a token for development, signed with jwt_secret or a private key")
        .arg(text("sub", "The subject").required(true))
        .arg(text("email", "The user id, where it is not the subject"))
        .arg(text("session-id", "The session"))
        .arg(text("jti", "The token's id [default: a fresh UUID]"))
        .arg(text("permission", "Something it may do, such as segment:NSE; may be repeated").action(ArgAction::Append))
        .arg(
            Arg::new("expires-in")
                .long("expires-in")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=86_400))
                .help("How long it lives [default: 3600]"),
        )
        .arg(
            Arg::new("key-file")
                .long("key-file")
                .value_name("PEM")
                .value_parser(value_parser!(PathBuf))
                .help("A private key (RSA, P-256 or Ed25519) to sign with instead of jwt_secret"),
        )
        .arg(text("kid", "The name of that key in the user service's key set"))
        .args(config::args())
}

/// `tickfan hash-key`.
pub fn hash_key_command() -> Command {
    Command::new("hash-key")
        .about("Makes an API key and prints it on standard error, once; its entry for api_keys_file goes to standard output")
        .arg(
            Arg::new("client")
                .value_name("CLIENT")
                .required(true)
                .help("Whose key it is: the user id of its connections"),
        )
        .arg(
            Arg::new("permission")
                .long("permission")
                .value_name("TEXT")
                .action(ArgAction::Append)
                .help("Something it may do, such as segment:NSE; may be repeated [default: default_permissions]"),
        )
}

fn permissions(matches: &ArgMatches) -> Result<Option<Vec<String>>, Failure> {
    let words: Vec<String> = matches.get_many("permission").into_iter().flatten().cloned().collect();
    Permissions::parse(words.iter().map(String::as_str))?;
    Ok((!words.is_empty()).then_some(words))
}

pub(super) fn token(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = super::load(matches)?;
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let key = match matches.get_one::<PathBuf>("key-file") {
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("--key-file {}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| failed(&error))?;
            SigningKey::from_pem(&pem, text("kid")).map_err(|error| failed(&error))?
        }
        None => assembly::signing_key(&config).ok_or("nothing to sign with: set jwt_secret, or give --key-file")?,
    };
    let request = TokenRequest {
        sub: text("sub").ok_or("--sub: missing")?,
        email: text("email"),
        session_id: text("session-id"),
        permissions: permissions(matches)?,
        jti: text("jti"),
        expires_in: matches.get_one("expires-in").copied(),
        ..TokenRequest::default()
    };
    let now = Clock::system().unix_seconds() as u64;
    println!("{}", key.issue(request, &config.jwt_issuer.0, &config.jwt_audience.0, now)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn hash_key(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let client = matches.get_one::<String>("client").ok_or("CLIENT: missing")?;
    let words = permissions(matches)?;
    let (key, hash) = api_key::generate();
    let id = api_key::id_of(&key).ok_or("the key has no id")?;
    // Apart, so that the entry can be appended to the file and the key cannot get there.
    eprintln!("{key}\nThis is the key, for the client: it is kept nowhere and cannot be shown again.");
    // JSON's strings are TOML's.
    println!("[[key]]\nid = \"{id}\"\nclient = {}\nhash = \"{hash}\"", serde_json::Value::from(client.as_str()));
    if let Some(words) = words {
        println!("permissions = {}", serde_json::Value::from(words));
    }
    Ok(ExitCode::SUCCESS)
}
