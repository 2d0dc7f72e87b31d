//! The API key and the access token, and where they come from.
//!
//! An access token lives for a day at most, so a file is read anew before each attempt: whoever fetches the token in
//! the morning only has to write it there.

use crate::secret::Secret;
use std::path::PathBuf;

/// Who we are to Kite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Of the registered app; does not change.
    pub api_key: Secret,
    /// Of the day's login.
    pub access_token: Secret,
}

impl Credentials {
    /// Both values given.
    pub fn new(api_key: impl Into<String>, access_token: impl Into<String>) -> Self {
        Self { api_key: Secret::new(api_key), access_token: Secret::new(access_token) }
    }

    /// `api_key=K&access_token=T`, percent-encoded: a token with a `+` or `&` in it would otherwise arrive as another.
    pub(super) fn query(&self) -> String {
        let (key, token) = (encoded(self.api_key.reveal()), encoded(self.access_token.reveal()));
        format!("api_key={key}&access_token={token}")
    }

    /// `text` without the secrets, for what the other side said: servers like to repeat what they refuse.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [self.access_token.reveal(), self.api_key.reveal()] {
            for form in [secret, &encoded(secret)] {
                if !form.is_empty() {
                    text = text.replace(form, "***");
                }
            }
        }
        text
    }
}

/// Percent-encodes everything but the characters that mean themselves everywhere in a URL.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Fixed for the life of the process, such as environment variables.
    Fixed(Credentials),
    /// A file with `api_key` and `access_token`, as TOML (at the top or under `[kite]`) or as `KEY=VALUE` lines; names
    /// in any case, also with `KITE_` in front. Read before each attempt.
    File(PathBuf),
}

/// Why there are no credentials. Never holds any part of the file's text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The operating system's word.
    #[error("cannot read {}: {kind}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        kind: std::io::ErrorKind,
    },
    /// A value is missing or empty.
    #[error("no {name} in {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `api_key` or `access_token`.
        name: &'static str,
    },
    /// The program is stopping.
    #[error("reading was interrupted")]
    Interrupted,
}

impl Source {
    /// The credentials of this moment. Blocks for as long as the file takes to read.
    ///
    /// # Errors
    /// The file cannot be read or lacks a value; it may be in the middle of being written.
    pub fn read(&self) -> Result<Credentials, CredentialsError> {
        let path = match self {
            Self::Fixed(credentials) => return Ok(credentials.clone()),
            Self::File(path) => path,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CredentialsError::Unreadable { path: path.clone(), kind: error.kind() })?;
        let value = |name| value(&text, name).ok_or_else(|| CredentialsError::Missing { path: path.clone(), name });
        Ok(Credentials::new(value("api_key")?, value("access_token")?))
    }

    /// The credentials that never come from elsewhere.
    pub(super) fn fixed(&self) -> Option<&Credentials> {
        match self {
            Self::Fixed(credentials) => Some(credentials),
            Self::File(_) => None,
        }
    }

    /// What an operator has to do when the token is refused.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Fixed(_) => "log in to get a new access token and restart tickfan with it".to_owned(),
            Self::File(path) => {
                format!("get a new access token with `tickfan login` into {}; no restart needed", path.display())
            }
        }
    }
}

/// The value called `name`, from TOML if the text is TOML and else from its lines.
fn value(text: &str, name: &str) -> Option<String> {
    let found = match text.parse::<toml::Table>() {
        Ok(table) => in_table(&table, name)?,
        Err(_) => text.lines().filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
            let key = key.trim();
            let value = value.trim().trim_matches(['"', '\'']);
            called(key.strip_prefix("export ").unwrap_or(key), name).then(|| value.to_owned())
        })?,
    };
    (!found.is_empty()).then_some(found)
}

fn in_table(table: &toml::Table, name: &str) -> Option<String> {
    let here = table.iter().find(|(key, _)| called(key, name)).and_then(|(_, value)| value.as_str());
    match here {
        Some(value) => Some(value.trim().to_owned()),
        None => table.get("kite").and_then(toml::Value::as_table).and_then(|kite| in_table(kite, name)),
    }
}

fn called(key: &str, name: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    key.strip_prefix("kite_").unwrap_or(&key) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_file_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let texts = [
            "api_key = \"k\"\naccess_token = \"t\"\n",
            "[kite]\napi_key = \"k\"\naccess_token = \"t\"\n",
            "# today\napi_key=k\naccess_token=t\n",
            "export KITE_API_KEY='k'\nexport KITE_ACCESS_TOKEN=\"t\"\r\n",
        ];
        for text in texts {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Source::File(path.clone()).read(), Ok(Credentials::new("k", "t")), "{text}");
        }
    }

    #[test]
    fn errors_name_the_file_and_none_of_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let source = Source::File(path.clone());
        assert!(matches!(source.read(), Err(CredentialsError::Unreadable { .. })));
        for text in ["", "s3cret", "api_key = \"s3cret", "api_key = \"s3cret\"", "access_token=s3cret\napi_key="] {
            std::fs::write(&path, text).unwrap();
            let error = source.read().unwrap_err();
            assert!(matches!(error, CredentialsError::Missing { .. }), "{text}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn secrets_are_encoded_and_never_printed() {
        let credentials = Credentials::new("a key", "t&+=");
        assert_eq!(credentials.query(), "api_key=a%20key&access_token=t%26%2B%3D");
        assert_eq!(format!("{credentials:?}"), "Credentials { api_key: [redacted], access_token: [redacted] }");
        assert_eq!(credentials.redact("a key, t&+= and t%26%2B%3D"), "***, *** and ***");
    }
}
