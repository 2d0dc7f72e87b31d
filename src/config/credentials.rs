//! What the program shows Kite to be let in.

use std::path::{Path, PathBuf};

use super::key::Config;
use super::value::Secret;

/// Key and token of one Kite session. A token lasts until the next morning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Kite's `api_key`.
    pub api_key: Secret,
    /// Kite's `access_token`.
    pub access_token: Secret,
}

/// Why there are none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("setting kite_credentials_file: {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// Neither a setting nor the file gives this one.
    #[error("no Kite {0}: set kite_{0} (TICKFAN_KITE_{upper}) or name a kite_credentials_file that has it", upper = .0.to_ascii_uppercase())]
    Missing(&'static str),
}

impl Config {
    /// The credentials of now: what the two settings say, and what the file says where they do not.
    ///
    /// Reads the file at every call, so that a new day's token is taken up without a restart. Blocks for that long.
    ///
    /// # Errors
    /// A file that cannot be read, or the name of what is missing.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let file = match &self.kite_credentials_file {
            Some(path) if self.kite_api_key.is_none() || self.kite_access_token.is_none() => read(path)?,
            _ => String::new(),
        };
        let find = |set: &Option<Secret>, name| {
            set.clone().or_else(|| value(&file, name)).ok_or(CredentialsError::Missing(name))
        };
        Ok(Credentials {
            api_key: find(&self.kite_api_key, "api_key")?,
            access_token: find(&self.kite_access_token, "access_token")?,
        })
    }
}

/// The file's text.
fn read(path: &Path) -> Result<String, CredentialsError> {
    std::fs::read_to_string(path)
        .map_err(|error| CredentialsError::File { path: path.into(), reason: error.to_string() })
}

/// The value of a name, with or without `KITE_` before it and in any case, in lines `NAME=VALUE`, as shells and TOML
/// both write them: spaces, quotes, comments and `export` are allowed, escapes are not known, other names are ignored.
fn value(text: &str, name: &str) -> Option<Secret> {
    text.lines().find_map(|line| {
        let (written, value) = line.split_once('=')?;
        let written = written.trim().trim_start_matches("export ").trim().to_ascii_lowercase();
        let found = written.strip_prefix("kite_").unwrap_or(&written) == name;
        found.then(|| unquoted(value.trim())).flatten().map(Secret::new)
    })
}

/// What is within quotes, or stands before a comment; `None` for nothing.
fn unquoted(value: &str) -> Option<&str> {
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split('#').next()?.trim(),
    };
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_file() {
        for text in [
            "api_key = \"k\" # mine\naccess_token = \"t\"\n",
            "# comment\nexport KITE_API_KEY=k\nKITE_ACCESS_TOKEN='t'\nOTHER=1",
            "api_key=k # c\r\naccess_token=t\r\n",
        ] {
            assert_eq!(value(text, "api_key"), Some(Secret::new("k")), "{text}");
            assert_eq!(value(text, "access_token"), Some(Secret::new("t")), "{text}");
        }
        assert_eq!(value("api_key=\n", "api_key"), None);
        assert_eq!(value("my_api_key=k\n", "api_key"), None);
    }

    #[test]
    fn settings_win_over_the_file_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kite.env");
        std::fs::write(&path, "api_key=file\n").unwrap();
        let mut config = Config::defaults().unwrap();
        assert_eq!(config.credentials(), Err(CredentialsError::Missing("api_key")));
        config.kite_credentials_file = Some(path.clone());
        let error = config.credentials().unwrap_err().to_string();
        assert!(error.contains("no Kite access_token") && error.contains("TICKFAN_KITE_ACCESS_TOKEN"), "{error}");
        config.kite_access_token = Some(Secret::new("set"));
        let found = config.credentials().unwrap();
        assert_eq!((found.api_key.reveal(), found.access_token.reveal()), ("file", "set"));
        // A new day's file is seen without a restart.
        std::fs::write(&path, "api_key=next\n").unwrap();
        assert_eq!(config.credentials().unwrap().api_key.reveal(), "next");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(config.credentials(), Err(CredentialsError::File { .. })));
    }
}
