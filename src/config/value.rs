//! The types of settings: how each reads from text and shows itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;

use crate::kite::instruments::without_secrets;
use crate::secret::Secret;

/// What a value may be; its `Display` is what the user reads.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// A whole number from the first to the second, both included.
    Range(u64, u64),
    /// 0, or a whole number from the first to the second.
    ZeroOr(u64, u64),
    /// A number, or one word.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
        /// The word.
        or: &'static str,
    },
    /// One of these words.
    Words(&'static [&'static str]),
    /// What these words describe; the type knows.
    Form(&'static str),
}

impl Allowed {
    /// Whether a whole number is one of those allowed.
    fn holds(&self, number: u64) -> bool {
        match *self {
            Self::Range(min, max) => (min..=max).contains(&number),
            Self::ZeroOr(min, max) => number == 0 || (min..=max).contains(&number),
            Self::Number { .. } | Self::Words(_) | Self::Form(_) => false,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(min, max) => write!(f, "{min}..={max}"),
            Self::ZeroOr(min, max) => write!(f, "0 or {min}..={max}"),
            Self::Number { min, max, or } => write!(f, "a number {min}..={max}, or {or}"),
            Self::Words(words) => f.write_str(&words.join(" | ")),
            Self::Form(form) => f.write_str(form),
        }
    }
}

/// What a setting can be a type of.
pub(super) trait Value: Sized {
    /// Whether it must never be shown.
    const SECRET: bool = false;
    /// Whether its flag needs no value.
    const SWITCH: bool = false;
    /// Whether it can be unset, which is what an empty text means then.
    const OPTIONAL: bool = false;

    /// The value a text stands for, `None` when it stands for nothing that is allowed.
    fn read(text: &str, allowed: &Allowed) -> Option<Self>;

    /// The text one would write; empty for unset. Never a secret.
    fn show(&self) -> String;
}

impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;
    const OPTIONAL: bool = true;

    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text, allowed).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

macro_rules! numbers {
    ($($type:ty),+) => { $(
        impl Value for $type {
            fn read(text: &str, allowed: &Allowed) -> Option<Self> {
                let number = text.parse().ok().filter(|&number| allowed.holds(number))?;
                Self::try_from(number).ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}

numbers!(u32, u64, usize);

impl Value for bool {
    const SWITCH: bool = true;

    fn read(text: &str, _: &Allowed) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        (!text.trim().is_empty()).then(|| text.into())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// Kite's root. User, query and fragment are refused: the program appends the query itself.
impl Value for Url {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let (scheme, _) = text.split_once("://")?;
        let url = Self::parse(text).ok()?;
        let known = scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss");
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (known && bare && url.password().is_none() && url.has_host()).then_some(url)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    /// Printable characters only: a key with a line break in it is a file pasted whole.
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Self::new(text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// One or more files, separated by commas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths(pub Vec<PathBuf>);

impl Value for Paths {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        text.split(',').map(|path| PathBuf::read(path.trim(), allowed)).collect::<Option<_>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")
    }
}

/// Where an issuer publishes its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysUrl(pub Url);

impl Value for KeysUrl {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        (url.username().is_empty() && url.password().is_none()).then_some(Self(url))
    }

    fn show(&self) -> String {
        without_secrets(self.0.as_str())
    }
}

/// A word of printable characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(pub String);

impl Value for Name {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let good = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Self(text.into()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Words with spaces or commas between.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct List(Vec<String>);

impl List {
    /// The words.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Value for List {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(str::to_owned).collect();
        (!words.is_empty() && !text.chars().any(char::is_control)).then_some(Self(words))
    }

    fn show(&self) -> String {
        self.0.join(" ")
    }
}

/// Where ticks come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedChoice {
    /// The embedded market.
    Market,
    /// Zerodha Kite.
    Kite,
    /// A recorded file.
    Tape(PathBuf),
}

impl Value for FeedChoice {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        match text {
            "market" => Some(Self::Market),
            "kite" => Some(Self::Kite),
            _ => PathBuf::read(text.strip_prefix("tape:")?, allowed).map(Self::Tape),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Market => "market".into(),
            Self::Kite => "kite".into(),
            Self::Tape(file) => format!("tape:{}", file.display()),
        }
    }
}

/// By which hours candles are formed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CalendarChoice {
    /// Those of the exchanges; the embedded market never closes.
    Auto,
    /// Trading never ends.
    AroundTheClock,
    /// A file of sessions.
    File(PathBuf),
}

impl Value for CalendarChoice {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "around-the-clock" => Some(Self::AroundTheClock),
            _ => PathBuf::read(text.strip_prefix("file:")?, allowed).map(Self::File),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::AroundTheClock => "around-the-clock".into(),
            Self::File(file) => format!("file:{}", file.display()),
        }
    }
}

/// How fast a tape is played.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum TapeSpeed {
    /// So many times faster than recorded.
    Times(f64),
    /// As fast as readers can take it.
    Max,
}

impl Value for TapeSpeed {
    fn read(text: &str, allowed: &Allowed) -> Option<Self> {
        let Allowed::Number { min, max, or } = *allowed else { return None };
        if text == or {
            return Some(Self::Max);
        }
        text.parse().ok().filter(|times| (min..=max).contains(times)).map(Self::Times)
    }

    fn show(&self) -> String {
        match self {
            Self::Times(times) => times.to_string(),
            Self::Max => "max".into(),
        }
    }
}

/// Path or URL of an instrument dump. Shown without the URL's user and query, where passwords and keys live.
#[derive(Clone, PartialEq, Eq)]
pub struct DumpSource(String);

impl DumpSource {
    /// The whole text, as [`crate::kite::instruments::load`] takes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DumpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DumpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl Value for DumpSource {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let good = match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
                Url::parse(text).is_ok()
            }
            Some(_) => false,
            None => !text.trim().is_empty(),
        };
        good.then(|| Self(text.into()))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// What is logged, in the words of `tracing_subscriber::EnvFilter`; known to be one of its filters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for LogFilter {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let known = !text.trim().is_empty() && tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
        known.then(|| Self(text.into()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

macro_rules! words {
    ($($(#[doc = $type_doc:literal])+ $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ })+) => { $(
        $(#[doc = $type_doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $type { $($(#[doc = $doc])+ $variant,)+ }

        impl $type {
            /// The word of each, in order.
            pub const WORDS: &[&str] = &[$($word),+];
        }

        impl Value for $type {
            fn read(text: &str, _: &Allowed) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => $word.into(),)+ }
            }
        }
    )+ };
}

words! {
    /// How the embedded market spreads its ticks over time.
    MarketShape {
        /// Evenly.
        Steady = "steady",
        /// In bursts, as after the opening bell.
        Open = "open",
    }
    /// When a silent upstream makes instruments stale.
    Hours {
        /// By the address of the upstream.
        Auto = "auto",
        /// While their market trades.
        Exchange = "exchange",
        /// At any time.
        Always = "always",
    }
    /// Who must show a token.
    AuthPolicy {
        /// Nobody, and everybody may do everything.
        Off = "off",
        /// Nobody; who shows none may do what the default permissions say.
        Optional = "optional",
        /// Everybody.
        Required = "required",
    }
    /// Who gets order updates.
    OrdersTo {
        /// Who has the permission account:owner.
        Owners = "owners",
        /// Every client of the Kite endpoint.
        Everybody = "everybody",
        /// Nobody.
        Nobody = "nobody",
    }
    /// When a tape starts to run.
    TapeStart {
        /// With the first subscription, so that nobody misses its beginning.
        FirstSubscriber = "first-subscriber",
        /// With the program.
        AtOnce = "at-once",
    }
    /// How work is laid out on threads.
    Threads {
        /// By the number of cores.
        Auto = "auto",
        /// Feed and writers on one thread.
        One = "one",
        /// Feed and writers on threads of their own.
        Split = "split",
    }
    /// What a thread does when there is nothing to do.
    Idle {
        /// By the number of cores.
        Auto = "auto",
        /// Sleeps until something arrives.
        Park = "park",
        /// Lets others run and looks again.
        Yield = "yield",
        /// Looks again at once.
        Spin = "spin",
    }
    /// Whether threads are pinned to cores.
    Pin {
        /// By the number of cores.
        Auto = "auto",
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }
    /// Shape of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines, one object a line.
        Json = "json",
    }
}
