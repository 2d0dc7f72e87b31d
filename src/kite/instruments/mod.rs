//! The list of instruments: what a token is called, and which token a name means.
//!
//! [`Instruments`] is built from Kite's daily dump ([`dump`]) or from rows the program makes itself, and does not
//! change afterwards: a new day's dump gives a new table, which its owner swaps in whole.

pub mod dump;
pub mod hours;
pub mod names;
pub mod search;
pub mod source;
pub mod table;

#[cfg(test)]
mod tests;

pub use dump::{DumpError, Skipped};
pub use source::{LoadError, load, without_secrets};
pub use table::{Instrument, Instruments, Row};
