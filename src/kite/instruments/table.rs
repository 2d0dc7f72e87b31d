//! The table and its exact look-ups.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::dump::Skipped;
use crate::market::InstrumentToken;

/// One instrument, lent: what a table is built from.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Row<'a> {
    /// Kite's number.
    pub token: u32,
    /// The exchange's number.
    pub exchange_token: u32,
    /// Kite's `tradingsymbol`, unique on its exchange.
    pub symbol: &'a str,
    /// The company, or the underlying of a derivative; may be empty.
    pub name: &'a str,
    /// `NSE`, `BSE`, `NFO` …
    pub exchange: &'a str,
    /// `NSE`, `NFO-OPT`, `INDICES` …
    pub segment: &'a str,
    /// `EQ`, `FUT`, `CE` or `PE`.
    pub instrument_type: &'a str,
    /// Last day, `yyyy-mm-dd`; empty for what does not expire.
    pub expiry: &'a str,
    /// Strike of an option in rupees, otherwise 0.
    pub strike: f64,
    /// Smallest step of the price in rupees; 0 for an index.
    pub tick_size: f64,
    /// Smallest quantity that is traded; 0 for an index.
    pub lot_size: u32,
}

/// One instrument of a table. The fields are those of [`Row`]; texts that many rows share are stored once.
#[derive(Clone, PartialEq, Debug)]
pub struct Instrument {
    /// Kite's number.
    pub token: InstrumentToken,
    /// The exchange's number.
    pub exchange_token: u32,
    /// Kite's `tradingsymbol`, unique on its exchange.
    pub symbol: Box<str>,
    /// The company, or the underlying of a derivative; may be empty.
    pub name: Arc<str>,
    /// `NSE`, `BSE`, `NFO` …
    pub exchange: Arc<str>,
    /// `NSE`, `NFO-OPT`, `INDICES` …
    pub segment: Arc<str>,
    /// `EQ`, `FUT`, `CE` or `PE`.
    pub instrument_type: Arc<str>,
    /// Last day, `yyyy-mm-dd`; empty for what does not expire.
    pub expiry: Arc<str>,
    /// Strike of an option in rupees, otherwise 0.
    pub strike: f64,
    /// Smallest step of the price in rupees; 0 for an index.
    pub tick_size: f64,
    /// Smallest quantity that is traded; 0 for an index.
    pub lot_size: u32,
}

impl Instrument {
    /// Whether it is an index, which is quoted but not traded.
    pub fn is_index(&self) -> bool {
        &*self.segment == "INDICES"
    }
}

/// All instruments of a day. Immutable; any thread may read it.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// In the order of the source.
    pub(super) rows: Vec<Instrument>,
    /// Row of a token.
    by_token: FxHashMap<u32, u32>,
    /// Rows by symbol in upper case, then in the order of the source.
    by_symbol: Vec<u32>,
    /// Rows whose symbol has spaces, by the symbol in upper case without them.
    spaceless: FxHashMap<Box<str>, Vec<u32>>,
    /// For each row its symbol, a tab, its name and a line feed, in ASCII upper case: one text, because a search runs
    /// over it at the speed of memory.
    pub(super) folded: String,
    /// Where each row begins in `folded`.
    pub(super) starts: Vec<usize>,
    /// See [`Instruments::fingerprint`].
    fingerprint: u32,
    /// What the source had that is not here.
    pub(super) skipped: Skipped,
}

impl Instruments {
    /// A table of rows the program makes itself, such as the embedded market's list. Nothing is added to it; of two
    /// rows with one token the first stays.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Self {
        let mut builder = Builder::default();
        for row in rows {
            builder.push(&row);
        }
        builder.finish(Skipped::default())
    }

    /// How many instruments there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All instruments, in the order of the source.
    pub fn iter(&self) -> std::slice::Iter<'_, Instrument> {
        self.rows.iter()
    }

    /// A number that is another one when the names or their order are others.
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// Which rows of the source could not be used.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The instrument of a token, as clients send it.
    pub fn by_token(&self, token: u32) -> Option<&Instrument> {
        self.by_token.get(&token).map(|&row| &self.rows[row as usize])
    }

    /// The instrument of an exchange and a symbol; case does not count.
    pub fn by_symbol(&self, exchange: &str, symbol: &str) -> Option<&Instrument> {
        let folded = symbol.to_ascii_uppercase();
        self.with_symbol(&folded).find(|instrument| instrument.exchange.eq_ignore_ascii_case(exchange))
    }

    /// Every instrument with a symbol, given in upper case, in the order of the source.
    pub(super) fn with_symbol(&self, folded: &str) -> impl Iterator<Item = &Instrument> {
        let first = self.by_symbol.partition_point(|&row| self.folded_symbol(row) < folded);
        self.by_symbol[first..]
            .iter()
            .take_while(move |&&row| self.folded_symbol(row) == folded)
            .map(|&row| &self.rows[row as usize])
    }

    /// Every instrument whose symbol has spaces and is this, in upper case, without them.
    pub(super) fn with_spaceless(&self, folded: &str) -> impl Iterator<Item = &Instrument> {
        self.spaceless.get(folded).into_iter().flatten().map(|&row| &self.rows[row as usize])
    }

    /// A row's symbol in upper case.
    pub(super) fn folded_symbol(&self, row: u32) -> &str {
        let row = row as usize;
        &self.folded[self.starts[row]..][..self.rows[row].symbol.len()]
    }
}

/// A table in the making.
#[derive(Default)]
pub(super) struct Builder {
    table: Instruments,
    shared: FxHashSet<Arc<str>>,
}

impl Builder {
    /// Adds a row unless its token is there already; says whether it did.
    pub fn push(&mut self, row: &Row<'_>) -> bool {
        let Ok(number) = u32::try_from(self.table.rows.len()) else { return false };
        if self.table.by_token.contains_key(&row.token) {
            return false;
        }
        self.table.by_token.insert(row.token, number);
        self.table.starts.push(self.table.folded.len());
        for part in [row.symbol, "\t", row.name, "\n"] {
            self.table.folded.push_str(part);
        }
        let instrument = Instrument {
            token: InstrumentToken(row.token),
            exchange_token: row.exchange_token,
            symbol: row.symbol.into(),
            name: self.shared(row.name),
            exchange: self.shared(row.exchange),
            segment: self.shared(row.segment),
            instrument_type: self.shared(row.instrument_type),
            expiry: self.shared(row.expiry),
            strike: row.strike,
            tick_size: row.tick_size,
            lot_size: row.lot_size,
        };
        self.table.rows.push(instrument);
        true
    }

    /// Adds those rows that are there neither by token nor by exchange and symbol.
    pub fn complete<'a>(&mut self, rows: impl Iterator<Item = Row<'a>>) {
        let missing = rows.filter(|row| {
            !self.table.rows.iter().any(|known| &*known.exchange == row.exchange && &*known.symbol == row.symbol)
        });
        // `push` refuses the tokens that are there.
        for row in missing.collect::<Vec<_>>() {
            self.push(&row);
        }
    }

    /// The table, with its orders and indices made.
    pub fn finish(self, skipped: Skipped) -> Instruments {
        let mut table = self.table;
        table.skipped = skipped;
        table.folded.make_ascii_uppercase();
        // The count fits: `push` has numbered every row.
        let mut order: Vec<u32> = (0..table.rows.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| table.folded_symbol(a).cmp(table.folded_symbol(b)).then(a.cmp(&b)));
        for &row in &order {
            let symbol = table.folded_symbol(row);
            if symbol.contains(' ') {
                let key = symbol.replace(' ', "").into_boxed_str();
                table.spaceless.entry(key).or_default().push(row);
            }
        }
        table.by_symbol = order;
        table.rows.shrink_to_fit();
        table.folded.shrink_to_fit();
        table.fingerprint = crc32fast::hash(table.folded.as_bytes());
        table
    }

    /// The one stored copy of a text.
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.shared.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.shared.insert(text.clone());
        text
    }
}
