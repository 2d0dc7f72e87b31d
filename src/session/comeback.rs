//! What a client that comes back has already.

use crate::engine::command::Since;
use crate::wire::resume::Cursor;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Comeback {
    cursor: Cursor,
    had_until: f64,
}

impl Comeback {
    /// By its own words, and else everything up to a time, Unix seconds.
    pub const fn new(cursor: Cursor, had_until: f64) -> Self {
        Self { cursor, had_until }
    }

    /// Up to when it has everything, unless it names a bar, Unix seconds.
    pub fn had_until(&self) -> f64 {
        self.cursor.since.unwrap_or(self.had_until)
    }

    /// What it has of a timeframe of an instrument, both as it wrote them.
    pub fn since(&self, instrument: &str, timeframe: &str) -> Since {
        let bar = self.cursor.bars.get(&format!("{instrument}:{timeframe}"));
        bar.map_or(Since::Time(self.had_until()), |start| Since::Bar(*start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_more_than_a_time_and_the_client_more_than_the_session() {
        let mut cursor = Cursor { since: None, bars: [("NSE:INFY:5min".to_owned(), 600)].into() };
        let comeback = Comeback::new(cursor.clone(), 700.5);
        assert_eq!(comeback.since("NSE:INFY", "5min"), Since::Bar(600));
        assert_eq!(comeback.since("NSE:INFY", "1min"), Since::Time(700.5));
        cursor.since = Some(650.0);
        assert_eq!(Comeback::new(cursor, 700.5).since("INFY", "5min"), Since::Time(650.0));
    }
}
