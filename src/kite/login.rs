//! The daily login: a request token, which Kite's login page gives to the browser, becomes an access token.
//!
//! `POST /session/token` with the API key, the request token, and the SHA-256 of key, request token and API secret in a
//! row; the secret itself never leaves the machine.

use crate::private_file;
use crate::secret::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use reqwest::Url;
use serde_json::Value;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Kite's REST interface is.
pub const ROOT: &str = "https://api.kite.trade";

/// What a login is made of.
#[derive(Clone, Debug)]
pub struct Login {
    /// `https://host[:port][/path]` of the REST interface.
    pub root: Url,
    /// Of the registered app.
    pub api_key: Secret,
    /// Of the registered app.
    pub api_secret: Secret,
    /// What the login page gave; good once, for a few minutes.
    pub request_token: Secret,
}

/// Why there is no access token. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The root is no address of a web server.
    #[error("--root: must be http:// or https://, without query")]
    Root,
    /// The network.
    #[error("no answer: {0}")]
    Network(String),
    /// Kite's own words.
    #[error("Kite refuses (HTTP {status}): {message}{}", if *status == 403 { "; a request token is good once and for a few minutes, log in again for another" } else { "" })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says, on one line.
        message: String,
    },
    /// Something that is not Kite.
    #[error("the answer (HTTP {0}) has no access token")]
    NotKite(u16),
    /// The file.
    #[error("cannot write {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// The page to log in at; it ends at the app's redirect address with `request_token=…` in the query.
pub fn page(api_key: &Secret) -> String {
    let query = encoded(&[("v", "3"), ("api_key", api_key.reveal())]);
    format!("https://kite.zerodha.com/connect/login?{query}")
}

/// The request token in what a person pasted: itself, or the whole address the browser was sent to.
pub fn request_token(pasted: &str) -> Secret {
    let pasted = pasted.trim();
    let in_url = Url::parse(pasted).ok().and_then(|url| {
        url.query_pairs().find(|(name, _)| name == "request_token").map(|(_, token)| token.into_owned())
    });
    Secret::new(in_url.unwrap_or_else(|| pasted.to_owned()))
}

impl Login {
    /// The access token. Blocks for as long as Kite takes, at most 20 s.
    ///
    /// # Errors
    /// When there is none.
    pub fn exchange(&self) -> Result<Secret, LoginError> {
        if !matches!(self.root.scheme(), "http" | "https") || self.root.query().is_some() {
            return Err(LoginError::Root);
        }
        let url = format!("{}/session/token", self.root.as_str().trim_end_matches('/'));
        let body = encoded(&[
            ("api_key", self.api_key.reveal()),
            ("request_token", self.request_token.reveal()),
            ("checksum", &self.checksum()),
        ]);
        let network = |error: reqwest::Error| LoginError::Network(error.without_url().to_string());
        let client = reqwest::blocking::Client::builder()
            .timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(network)?;
        let answer = client
            .post(url)
            .header("X-Kite-Version", "3")
            .header("User-Agent", concat!("tickfan/", env!("CARGO_PKG_VERSION")))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .map_err(network)?;
        let status = answer.status().as_u16();
        let answer: Value = serde_json::from_str(&answer.text().map_err(network)?).unwrap_or_default();
        if let Some(token) = answer["data"]["access_token"].as_str().filter(|token| !token.is_empty()) {
            return Ok(Secret::new(token));
        }
        match answer["message"].as_str() {
            Some(message) => Err(LoginError::Refused { status, message: self.spoken(message) }),
            None => Err(LoginError::NotKite(status)),
        }
    }

    /// Hexadecimal, lower case.
    fn checksum(&self) -> String {
        let all = [self.api_key.reveal(), self.request_token.reveal(), self.api_secret.reveal()].concat();
        digest(&SHA256, all.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The other side's words: without our secrets, on one line, and no longer than 300 characters.
    fn spoken(&self, text: &str) -> String {
        let secrets = [&self.api_secret, &self.request_token, &self.api_key];
        let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"));
        text.chars().filter(|letter| !letter.is_control()).take(300).collect()
    }
}

/// Writes the credentials file as a whole, readable by its owner only: a running gateway finds the old one or the new one.
///
/// # Errors
/// What the operating system says.
pub fn save(path: &Path, api_key: &Secret, access_token: &Secret) -> Result<(), LoginError> {
    // JSON's escapes are TOML's.
    let quoted = |secret: &Secret| Value::from(secret.reveal());
    let text = format!("api_key = {}\naccess_token = {}\n", quoted(api_key), quoted(access_token));
    let written = private_file::replace(path, text.as_bytes());
    written.map(drop).map_err(|error| LoginError::File { path: path.to_owned(), error })
}

/// As a form sends it.
fn encoded(fields: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("http://localhost/", fields);
    url.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn login() -> Login {
        let secret = Secret::new;
        Login {
            root: Url::parse("http://localhost:1/").unwrap(),
            api_key: secret("key"),
            api_secret: secret("s3cret"),
            request_token: secret("once"),
        }
    }

    #[test]
    fn the_checksum_is_of_key_token_and_secret_in_a_row() {
        // printf keyonces3cret | sha256sum
        assert_eq!(login().checksum(), "23e4975d9e1bef3ab432366d2353864c702c5ced7f8b4ea4439ea831f2ae1b47");
        assert_eq!(login().spoken("once\nwith s3cret"), "***with ***");
        assert!(!format!("{:?}", login()).contains("s3cret"));
    }

    #[test]
    fn a_pasted_address_gives_its_token() {
        let pasted = " https://app.example/done?action=login&request_token=a%2Bb&status=success\n";
        assert_eq!(request_token(pasted).reveal(), "a+b");
        assert_eq!(request_token("abc\n").reveal(), "abc");
        assert_eq!(page(&Secret::new("a b")), "https://kite.zerodha.com/connect/login?v=3&api_key=a+b");
    }

    #[test]
    fn the_file_is_the_owner_s_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kite.toml");
        for token in ["one", "t\"wo"] {
            save(&path, &Secret::new("k"), &Secret::new(token)).unwrap();
            let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
            assert_eq!(table["access_token"].as_str(), Some(token));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(matches!(save(Path::new("/"), &Secret::new("k"), &Secret::new("t")), Err(LoginError::File { .. })));
    }
}
