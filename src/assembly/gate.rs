//! From settings to the gate.

use crate::clock::Clock;
use crate::config::{AuthPolicy, Config, List};
use crate::identity::api_key::{ApiKeyEntry, ApiKeyError, ApiKeys};
use crate::identity::fetch::{FetchError, Fetcher};
use crate::identity::gate::{Gate, GateSettings, Policy};
use crate::identity::issue::SigningKey;
use crate::identity::issuer::IssuerSettings;
use crate::identity::key::Key;
use crate::identity::permissions::{Permissions, UnknownPermission};
use crate::identity::rate::Rate;
use crate::identity::roster::Caps;
use crate::identity::site::{Site, SiteError};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the gate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Tokens are asked for, and nothing could tell a good one.
    #[error("setting auth: needs something to check tokens with: set jwks_url, jwt_secret or api_keys_file")]
    NoKeys,
    /// A secret that can be guessed.
    #[error("setting jwt_secret: allowed is at least {LEAST_SECRET} printable characters")]
    ShortSecret,
    /// Tokens for development have no key.
    #[error("setting dev_tokens: needs jwt_secret to sign with")]
    NoDevSecret,
    /// The address of the keys.
    #[error("setting jwks_url: {0}")]
    Keys(#[from] FetchError),
    /// The default permissions.
    #[error("setting default_permissions: {0}")]
    Permissions(#[from] UnknownPermission),
    /// Everybody would get the account's orders.
    #[error(
        "setting default_permissions: account:owner is not for everybody; put it into a token or an API key's entry"
    )]
    OwnerByDefault,
    /// Origins or hosts.
    #[error("settings allowed_origins, allowed_hosts: {0}")]
    Site(#[from] SiteError),
    /// The file of API keys. Says nothing of its content but the place.
    #[error("setting api_keys_file: {}: {reason}", path.display())]
    ApiKeysFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An API key.
    #[error("setting api_keys_file: {0}")]
    ApiKey(#[from] ApiKeyError),
    /// An API key's permissions.
    #[error("setting api_keys_file: key {id}: {source}")]
    ApiKeyPermissions {
        /// Which key.
        id: String,
        /// What is wrong.
        source: UnknownPermission,
    },
}

/// Shortest shared secret: RFC 7518 asks for as many bits as the hash has.
const LEAST_SECRET: usize = 32;

/// The gate.
///
/// # Errors
/// Names the setting that cannot be.
pub fn gate(config: &Config, clock: &Clock) -> Result<Gate, GateError> {
    let secret = config.jwt_secret.as_ref();
    if secret.is_some_and(|secret| secret.reveal().len() < LEAST_SECRET) {
        return Err(GateError::ShortSecret);
    }
    if config.dev_tokens && secret.is_none() {
        return Err(GateError::NoDevSecret);
    }
    let trusted = config.jwks_trusted_host.as_ref().map(|host| host.0.as_str());
    let keys = config.jwks_url.as_ref().map(|url| Fetcher::new(url.0.clone(), trusted)).transpose()?;
    let mut issuers = Vec::new();
    if secret.is_some() || keys.is_some() {
        issuers.push(IssuerSettings {
            issuer: config.jwt_issuer.0.clone(),
            audience: config.jwt_audience.0.clone(),
            secret: secret.map(|secret| Key::shared(secret.reveal().as_bytes())),
            keys,
            refresh: Duration::from_secs(config.jwks_refresh_s),
            cool_down: Duration::from_secs(config.jwks_cool_down_s),
            stale: Duration::from_secs(config.jwks_stale_s),
            lifetime: Duration::from_secs(config.token_lifetime_s),
        });
    }
    let api_keys = config.api_keys_file.as_deref().map(api_keys).transpose()?.unwrap_or_default();
    let policy = match config.auth {
        AuthPolicy::Off => Policy::Off,
        AuthPolicy::Optional => Policy::Optional,
        AuthPolicy::Required => Policy::Required,
    };
    if policy != Policy::Off && issuers.is_empty() && api_keys.is_empty() {
        return Err(GateError::NoKeys);
    }
    let default: Vec<_> = config.default_permissions.iter().filter(|word| *word != "none").collect();
    let default = Permissions::parse(default)?;
    if default.owner {
        return Err(GateError::OwnerByDefault);
    }
    let settings = GateSettings {
        policy,
        issuers,
        api_keys,
        query_token: config.query_token,
        default,
        site: Site::new(words(&config.allowed_origins), words(&config.allowed_hosts))?,
        caps: Caps { user: config.max_connections_per_user, token: config.max_connections_per_token },
        // A house full of tabs whose tokens expired over night comes back at once.
        failures: Rate::per_second(config.failed_tokens_per_s, config.failed_tokens_per_s.saturating_mul(20)),
        signing: config.dev_tokens.then(|| signing_key(config)).flatten(),
    };
    Ok(Gate::new(settings, clock.clone()))
}

fn words(list: &Option<List>) -> impl Iterator<Item = &str> {
    list.iter().flat_map(List::iter)
}

/// The key of `jwt_secret`, to sign with.
pub fn signing_key(config: &Config) -> Option<SigningKey> {
    config.jwt_secret.as_ref().map(|secret| SigningKey::shared(secret.reveal().as_bytes()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<KeyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    id: String,
    client: String,
    hash: String,
    permissions: Option<Vec<String>>,
}

fn api_keys(path: &Path) -> Result<ApiKeys, GateError> {
    let failed = |reason: String| GateError::ApiKeysFile { path: path.into(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    // The error's own Display quotes the line, its message may quote a value: somebody's key may be there by mistake.
    let file: KeysFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let names_a_field = ["unknown field", "missing field"].iter().any(|start| error.message().starts_with(start));
        let fault = if names_a_field { error.message() } else { "not as expected" };
        failed(format!("line {line}: {fault}; allowed are [[key]] tables with id, client, hash and permissions"))
    })?;
    let entries = file.key.into_iter().map(|key| {
        let words = key.permissions.as_ref().map(|words| Permissions::parse(words.iter().map(String::as_str)));
        let permissions =
            words.transpose().map_err(|source| GateError::ApiKeyPermissions { id: key.id.clone(), source })?;
        Ok(ApiKeyEntry { id: key.id, client: key.client, hash: key.hash, permissions })
    });
    Ok(ApiKeys::new(entries.collect::<Result<Vec<_>, GateError>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::identity::api_key;

    fn config(flags: &[&str]) -> Config {
        let command = clap::Command::new("tickfan").args(config::args());
        let matches = command.get_matches_from(std::iter::once("tickfan").chain(flags.iter().copied()));
        Config::load(&matches, std::iter::empty::<(String, String)>()).unwrap()
    }

    #[track_caller]
    fn refused(flags: &[&str], words: &[&str]) {
        let error = gate(&config(flags), &Clock::manual(0)).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
    }

    #[test]
    fn what_cannot_be_names_its_setting() {
        let secret = "--jwt-secret=0123456789abcdef0123456789abcdef";
        refused(&["--auth=required"], &["auth", "jwks_url", "jwt_secret", "api_keys_file"]);
        refused(&["--jwt-secret=short"], &["jwt_secret", "32"]);
        refused(&["--dev-tokens"], &["dev_tokens", "jwt_secret"]);
        refused(&["--jwks-url=http://users/jwks"], &["jwks_url", "users", "jwks_trusted_host"]);
        refused(&["--default-permissions=mode:depth"], &["default_permissions", "mode:depth", "mode:full"]);
        refused(&["--default-permissions=segment:* account:owner"], &["default_permissions", "account:owner"]);
        refused(&["--allowed-origins=example.com"], &["allowed_origins", "example.com"]);
        refused(&["--api-keys-file=/nowhere"], &["api_keys_file", "/nowhere"]);
        let good = [secret, "--auth=required", "--jwks-url=http://users/jwks", "--jwks-trusted-host=users"];
        assert!(gate(&config(&good), &Clock::manual(0)).unwrap().is_configured());
        assert!(!gate(&config(&[]), &Clock::manual(0)).unwrap().is_configured());
    }

    #[test]
    fn api_keys_come_from_their_file_and_its_faults_do_not_quote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let flag = format!("--api-keys-file={}", path.display());
        let (key, hash) = api_key::generate();
        let id = api_key::id_of(&key).unwrap();
        let table = format!("[[key]]\nid = \"{id}\"\nclient = \"desk\"\nhash = \"{hash}\"\n");
        std::fs::write(&path, format!("{table}permissions = [\"segment:NSE\"]\n")).unwrap();
        assert!(gate(&config(&[&flag, "--auth=required"]), &Clock::manual(0)).unwrap().is_configured());
        for (wrong, words) in [
            (format!("{table}colour = \"red\"\n"), ["line 5", "colour"]),
            (format!("{table}permissions = [\"all\"]\n"), [id, "\"all\""]),
            (format!("{table}{table}"), [id, "twice"]),
            (format!("key = \"{key}\""), ["line 1", "keys.toml"]),
        ] {
            std::fs::write(&path, wrong).unwrap();
            refused(&[&flag], &words);
            let error = gate(&config(&[&flag]), &Clock::manual(0)).unwrap_err().to_string();
            assert!(!error.contains(&key[12..]), "{error}");
        }
    }
}
