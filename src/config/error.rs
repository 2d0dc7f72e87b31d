//! Why the settings do not load, told so that the reader can put it right at once.

use std::fmt;
use std::path::PathBuf;

use super::key::Key;
use crate::kite::instruments::without_secrets;
use crate::secret::REDACTED;

/// The layer a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// No layer spoke.
    Default,
    /// The file.
    File(PathBuf),
    /// This environment variable.
    Variable(String),
    /// This flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// What stops the start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or is not TOML. The reason quotes nothing of it: there may be secrets in it.
    #[error("settings file {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key that does not exist, in the spelling of its layer.
    #[error("unknown setting {key} ({origin}){hint}")]
    Unknown {
        /// What was written.
        key: String,
        /// Where.
        origin: Origin,
        /// `; did you mean …?`, or empty.
        hint: String,
    },
    /// A value that is not allowed.
    #[error("setting {key} ({origin}): {value} is not allowed; allowed is {allowed}")]
    Bad {
        /// Which setting.
        key: &'static str,
        /// Where.
        origin: Origin,
        /// The value in quotes, without what must not be shown.
        value: String,
        /// What it may be, with its unit.
        allowed: String,
    },
    /// The table of settings contradicts itself, which is a mistake of the program.
    #[error("the table of settings is incomplete")]
    Table,
}

impl ConfigError {
    /// A value that does not read as its key's type or is out of range.
    pub(super) fn bad_value(key: &'static Key, origin: Origin, text: &str) -> Self {
        // A key in a query is no less secret for the address being wrong, nor a password for its scheme being forgotten.
        let mut shown = without_secrets(text);
        if let Some((_, host)) = text.rsplit_once('@').filter(|_| !text.contains("://")) {
            shown = format!("…@{host}");
        }
        let value = match shown.split_once('?') {
            _ if key.secret => REDACTED.into(),
            Some((address, _)) => format!("{address:?}"),
            None => format!("{shown:?}"),
        };
        let unit = if key.unit.is_empty() { String::new() } else { format!(" {}", key.unit) };
        Self::Bad { key: key.name, origin, value, allowed: format!("{}{unit}", key.allowed) }
    }
}
