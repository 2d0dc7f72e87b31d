//! Where a dump is read from: a file or an address.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use reqwest::Url;
use reqwest::blocking::Client;

use super::dump::{DumpError, MAX_BYTES};
use super::table::Instruments;

/// Longest time a download may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no table from a source.
#[derive(Debug, thiserror::Error)]
#[error("instruments from {source_name}: {reason}")]
pub struct LoadError {
    /// The source, without what must not be shown.
    pub source_name: String,
    /// Why.
    pub reason: Reason,
}

/// What went wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The file cannot be read, or the connection broke.
    #[error("{0}")]
    Read(io::Error),
    /// There was no answer; the chain of causes in words.
    #[error("{0}")]
    Http(String),
    /// The answer is not 200.
    #[error("the server answers {0}")]
    Status(reqwest::StatusCode),
    /// What arrived is not a dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
}

/// Reads the dump at a path or an http(s) URL, of at most 64 MiB, within 30 seconds.
///
/// Blocks, and must not be called on a thread of an async runtime other than a blocking one.
///
/// # Errors
/// Named with the source, never with its query string.
pub fn load(source: &str) -> Result<Instruments, LoadError> {
    let failed = |reason| LoadError { source_name: without_secrets(source), reason };
    let bytes = if is_address(source) {
        client(TIMEOUT).and_then(|client| fetch(&client, source)).map_err(failed)?
    } else {
        File::open(source).and_then(all).map_err(Reason::Read).map_err(failed)?
    };
    Instruments::from_dump(&bytes).map_err(Reason::Dump).map_err(failed)
}

/// A source as it may be shown: an address without user, password, query and fragment; a path whole.
pub fn without_secrets(source: &str) -> String {
    let Some((scheme, _)) = source.split_once("://") else { return source.into() };
    // Where the parts of a broken address begin nobody knows, so none is shown.
    let Ok(mut address) = Url::parse(source) else { return format!("{scheme}://…") };
    address.set_query(None);
    address.set_fragment(None);
    // Only addresses that cannot have them refuse.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address.into()
}

/// Whether a source is an address and not a path.
fn is_address(source: &str) -> bool {
    source
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

/// What downloads.
pub(super) fn client(timeout: Duration) -> Result<Client, Reason> {
    Client::builder().timeout(timeout).build().map_err(|error| http(&error))
}

/// The body behind an address.
pub(super) fn fetch(client: &Client, address: &str) -> Result<Vec<u8>, Reason> {
    let answer = client.get(address).send().map_err(|error| http(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(Reason::Status(answer.status()));
    }
    all(answer).map_err(Reason::Read)
}

/// Everything a reader has, up to one byte more than is allowed, so that the dump's own check refuses it.
fn all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An error with its causes, each of which alone says too little.
fn http(error: &dyn std::error::Error) -> Reason {
    let causes = std::iter::successors(Some(error), |error| error.source());
    Reason::Http(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
