//! The settings as flags of the command line.

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction};

use super::key::{KEYS, Key};
use super::spelling::nearest;

/// One flag a setting, and `--config`. They hold text; [`super::Config::load`] checks it, so that all layers complain
/// alike.
///
/// They are not global: a caller with subcommands adds them where they are meant.
pub fn args() -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with settings, one flat key a line. Environment: TICKFAN_CONFIG");
    std::iter::once(config).chain(KEYS.iter().map(arg)).collect()
}

/// What `--help` and the parser know of one setting.
fn arg(key: &'static Key) -> Arg {
    let arg = Arg::new(key.name)
        .long(key.name.replace('_', "-"))
        .value_name("VALUE")
        .help(help(key))
        .help_heading(key.section)
        .action(ArgAction::Set)
        .allow_negative_numbers(true);
    if key.switch { arg.num_args(0..=1).require_equals(true).default_missing_value("true") } else { arg }
}

/// Documentation, unit, default, range and variable of a setting.
fn help(key: &Key) -> String {
    let mut help = format!("{} Allowed: {}", key.doc(), key.allowed);
    if !key.unit.is_empty() {
        help += &format!(" {}", key.unit);
    }
    help += &match key.default {
        "" => ". Default: not set".into(),
        default => format!(". Default: {default}"),
    };
    help += &format!(". Environment: {}", key.variable());
    if let Some(fallback) = key.fallback {
        help += &format!(" or {fallback}");
    }
    help
}

/// `; did you mean --…?` for a flag that clap does not know, to be printed behind clap's own message.
pub fn flag_hint(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let written = flag.strip_prefix("--")?;
    let written = written.split('=').next()?;
    nearest(written, KEYS.iter().map(|key| key.name).chain(["config"]))
        .map(|name| format!("did you mean --{}?", name.replace('_', "-")))
}
