//! The types of settings that say where something lies.

use super::value::{Allowed, FeedChoice, Value};
use crate::kite::instruments::without_secrets;
use crate::secret::Secret;
use reqwest::Url;
use std::path::PathBuf;

/// Where the bars of the past come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HistoryChoice {
    /// Nowhere.
    None,
    /// Kite's historical API.
    Kite,
    /// A folder of csv files.
    Folder(PathBuf),
}

impl Value for HistoryChoice {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "kite" => Some(Self::Kite),
            _ => PathBuf::read(text, allowed).map(Self::Folder),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Kite => "kite".into(),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }
}

/// Where lies what must survive a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataDir {
    /// By the feed.
    Auto,
    /// Nowhere.
    None,
    /// In this folder.
    At(PathBuf),
}

impl DataDir {
    /// The folder for a feed. Each feed has a subfolder of its own, so that made-up bars never mix with real ones.
    pub fn of(&self, feed: &FeedChoice) -> Option<PathBuf> {
        let (name, real) = match feed {
            FeedChoice::Kite => ("kite", true),
            FeedChoice::Market => ("market", false),
            FeedChoice::Tape(_) => ("tape", false),
        };
        match self {
            Self::Auto => real.then(|| PathBuf::from("tickfan-data").join(name)),
            Self::None => None,
            Self::At(folder) => Some(folder.join(name)),
        }
    }
}

impl Value for DataDir {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => PathBuf::read(text, allowed).map(Self::At),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::None => "none".into(),
            Self::At(folder) => folder.display().to_string(),
        }
    }
}

/// What keeps sessions. Shown without user and password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionChoice {
    /// By the folder of what survives a restart.
    Auto,
    /// Nothing.
    None,
    /// The Redis server at this address; with TLS where it begins with `rediss`.
    Redis(Secret),
}

impl Value for SessionChoice {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => {
                let url =
                    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss") && url.has_host())?;
                (url.query().is_none() && url.fragment().is_none()).then(|| Self::Redis(Secret::new(text)))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::None => "none".into(),
            Self::Redis(address) => without_secrets(address.reveal()),
        }
    }
}

/// The root of an HTTP interface. User, query and fragment are refused: the program appends path and query itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiRoot(pub Url);

impl Value for ApiRoot {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let (scheme, _) = text.split_once("://")?;
        let url = Url::parse(text).ok()?;
        let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (known && bare && url.password().is_none() && url.has_host()).then_some(Self(url))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
