//! From settings to what is known of the days before: histories, and what survives a restart.

use super::{AssemblyError, credentials};
use crate::clock::Clock;
use crate::config::{Config, FeedChoice, HistoryChoice, SessionChoice};
use crate::gateway::{Keeping, Past, SessionStore, Settings};
use crate::history::History;
use crate::history::kite::{Credentials as HistoryCredentials, KiteSettings};
use crate::identity::archive::Archive;
use crate::market::Calendar;
use crate::resume::vault::VaultSettings;
use crate::store::{BarStore, Limits};
use std::sync::Arc;

/// Where closed bars of the past come from. `calendar` has the hours by which bars are aligned.
///
/// # Errors
/// When the folder is not there, or credentials are missing.
pub fn history(config: &Config, calendar: Arc<Calendar>, clock: &Clock) -> Result<History, AssemblyError> {
    match &config.history {
        HistoryChoice::None => Ok(History::none()),
        HistoryChoice::Folder(folder) => Ok(History::folder(folder.clone(), calendar)?),
        HistoryChoice::Kite if config.feed == FeedChoice::Market => Err(AssemblyError::HistoryOfMarket),
        HistoryChoice::Kite => {
            // Any of the keys may ask for history: the first does.
            let source = credentials(config)?.into_iter().next().ok_or(AssemblyError::NoCredentials)?;
            let read = move || {
                let read = source.read().map_err(|error| error.to_string())?;
                Ok((read.api_key, read.access_token))
            };
            let mut settings = KiteSettings::new(config.history_root.0.clone(), HistoryCredentials::new(read));
            settings.per_second = config.history_per_second;
            settings.cache.clone_from(&config.history_cache);
            Ok(History::kite(settings, calendar, clock.clone())?)
        }
    }
}

/// What is known of the days before: the history, and what was kept over a restart.
///
/// # Errors
/// When the history or the folder cannot be used.
pub fn past(config: &Config, settings: &Settings, clock: &Clock) -> Result<Past, AssemblyError> {
    let history = history(config, Arc::new(settings.hours.clone()), clock)?;
    let store = match config.data_dir.of(&config.feed) {
        Some(dir) => {
            let limits = Limits { bars: config.kept_candles, ..Limits::default() };
            let (store, kept) = BarStore::open(&dir, limits, clock.clone())?;
            tracing::info!(dir = %dir.display(), series = kept.bars.len(), recovery = ?kept.recovery, "kept bars");
            Some((store, kept))
        }
        None => None,
    };
    let now = clock.unix_seconds() as u64;
    let revocations =
        config.data_dir.of(&config.feed).map(|dir| Archive::open(&dir.join(REVOCATIONS), now)).transpose();
    let revocations = revocations.map_err(AssemblyError::Revocations)?;
    Ok(Past { history, store, sessions: keeping(config)?, revocations })
}

/// Where in the `data_dir` revocations are.
const REVOCATIONS: &str = "revocations.jsonl";
/// Fewest characters of a key.
pub(super) const LEAST_KEY: usize = 32;

/// How sessions are kept.
fn keeping(config: &Config) -> Result<Keeping, AssemblyError> {
    let store = match &config.session_store {
        SessionChoice::None => SessionStore::None,
        SessionChoice::Auto => match config.data_dir.of(&config.feed) {
            Some(dir) => SessionStore::Folder(dir.join("sessions")),
            None => SessionStore::Memory,
        },
        SessionChoice::Redis(address) => {
            let key = config.session_key.clone().filter(|key| key.reveal().len() >= LEAST_KEY);
            let key = key.ok_or(AssemblyError::SessionKey)?;
            SessionStore::Redis(VaultSettings { address: address.clone(), key, expiry_s: config.session_expiry_s })
        }
    };
    Ok(Keeping { store, expiry_s: config.session_expiry_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Settings as flags say them.
    fn config(flags: &[&str]) -> Config {
        let args = clap::Command::new("tickfan").no_binary_name(true).args(config::args());
        Config::load(&args.try_get_matches_from(flags).unwrap(), [("", "")]).unwrap()
    }

    fn history_of(flags: &[&str]) -> Result<&'static str, String> {
        let config = config(flags);
        let calendar = Arc::new(Calendar::around_the_clock());
        history(&config, calendar, &Clock::manual(0)).map(|history| history.name()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_history_is_what_the_settings_say() {
        let dir = tempfile::tempdir().unwrap();
        let cache = format!("--history-cache={}", dir.path().join("cache").display());
        let kite = ["--history=kite", "--feed=kite", "--kite-api-key=k", "--kite-access-token=t", &cache];
        assert_eq!(history_of(&[]).as_deref(), Ok("none"));
        assert_eq!(history_of(&["--history", dir.path().to_str().unwrap()]).as_deref(), Ok("folder"));
        assert_eq!(history_of(&kite).as_deref(), Ok("kite"));
        assert!(dir.path().join("cache").is_dir());
        assert!(history_of(&kite[..3]).unwrap_err().contains("kite_access_token: missing"));
        assert!(history_of(&["--history=kite"]).unwrap_err().contains("setting history: kite does not go with"));
        assert!(history_of(&["--history=/nowhere/at/all"]).unwrap_err().contains("/nowhere/at/all"));
    }

    #[test]
    fn sessions_are_kept_where_the_settings_say() {
        let kept_in =
            |flags: &[&str]| keeping(&config(flags)).map(|keeping| keeping.store).map_err(|error| error.to_string());
        assert!(matches!(kept_in(&[]), Ok(SessionStore::Memory)));
        assert!(matches!(kept_in(&["--session-store=none"]), Ok(SessionStore::None)));
        let folder = kept_in(&["--data-dir=/d"]);
        assert!(matches!(folder, Ok(SessionStore::Folder(dir)) if dir == *"/d/market/sessions"));
        let redis = "--session-store=redis://:word@localhost:6379";
        let key = "--session-key=0123456789abcdef0123456789abcdef";
        assert!(matches!(kept_in(&[redis, key]), Ok(SessionStore::Redis(_))));
        for flags in [&[redis][..], &[redis, "--session-key=short"]] {
            let error = kept_in(flags).unwrap_err();
            assert!(error.starts_with("setting session_key: ") && !error.contains("word"), "{error}");
        }
    }
}
