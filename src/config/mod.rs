//! Every setting of the program, read once at start.
//!
//! Four layers, a later one wins: the default, the TOML file (`--config FILE` or `TICKFAN_CONFIG`), the environment
//! (`TICKFAN_` and the key in upper case), the flag (`--` and the key with dashes). Whatever a layer says that the
//! program does not understand stops the start with a message that names the place: a gateway that runs with half its
//! settings ignored is found out only on the busiest day.
//!
//! The table in [`key`] is the only place that knows the settings; the struct, the flags with their help, the names of
//! the variables and the output of `tickfan check-config` all come from it.

pub mod error;
pub mod flag;
pub mod key;
pub mod load;
pub mod net;
pub mod place;
pub mod spelling;
pub mod value;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Origin};
pub use flag::{args, flag_hint};
pub use key::{Config, KEYS, Key};
pub use net::Networks;
pub use place::{ApiRoot, DataDir, HistoryChoice, SessionChoice};
pub use value::{
    Allowed, AuthPolicy, CalendarChoice, DumpSource, FeedChoice, Hours, Idle, KeysUrl, List, LogFilter, LogFormat,
    MarketShape, Name, OrdersTo, Paths, Pin, TapeSpeed, TapeStart, Threads,
};
