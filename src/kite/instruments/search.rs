//! Names for a search box: best first, fast enough for every keystroke.

use std::cmp::Ordering;

use super::table::{Instrument, Instruments};

/// How well a row answers, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The symbol is the query.
    Exact,
    /// The symbol begins with its first word: `nifty 22500 ce` means options of NIFTY before those of FINNIFTY.
    Prefix,
    /// A word of the name begins with it.
    Word,
    /// Its words stand somewhere in symbol and name.
    Within,
}

/// A row that answers.
#[derive(Clone, Copy)]
struct Hit {
    rank: Rank,
    kind: u8,
    row: u32,
}

impl Instruments {
    /// At most `limit` instruments for a query, of one exchange or of all, best first: the exact symbol, symbols that
    /// begin with its first word, names with a word that begins with it, then all in which each word of the query occurs. Among
    /// equals indices and shares come before futures and options, the next expiry before later ones, and short symbols
    /// before long ones. Case does not count; an empty query finds nothing.
    pub fn search(&self, query: &str, exchange: Option<&str>, limit: usize) -> Vec<&Instrument> {
        let query = query.to_ascii_uppercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        // The longest word is in the fewest rows, so it is the one that is looked for everywhere.
        let Some(longest) = words.iter().copied().max_by_key(|word| word.len()) else { return Vec::new() };
        let query = words.join(" ");
        let mut hits = Vec::new();
        let mut row = 0;
        for (position, _) in self.folded.match_indices(longest) {
            // `row` is the first one not yet judged; a further match within the one before it is nothing new.
            if self.starts.get(row).is_none_or(|start| position < *start) {
                continue;
            }
            row += self.starts[row..].partition_point(|start| *start <= position);
            if let Some(hit) = self.judge(row - 1, &query, &words, exchange) {
                hits.push(hit);
            }
        }
        if hits.len() > limit && limit > 0 {
            hits.select_nth_unstable_by(limit - 1, |a, b| self.better(*a, *b));
        }
        hits.truncate(limit);
        hits.sort_unstable_by(|a, b| self.better(*a, *b));
        hits.into_iter().map(|hit| &self.rows[hit.row as usize]).collect()
    }

    /// Whether and how well a row answers; the query's words in upper case, joined by single spaces.
    fn judge(&self, row: usize, query: &str, words: &[&str], exchange: Option<&str>) -> Option<Hit> {
        let instrument = &self.rows[row];
        if exchange.is_some_and(|name| !instrument.exchange.eq_ignore_ascii_case(name)) {
            return None;
        }
        let end = self.starts.get(row + 1).map_or(self.folded.len(), |next| *next);
        let text = &self.folded[self.starts[row]..end];
        if words.len() > 1 && !words.iter().all(|word| text.contains(word)) {
            return None;
        }
        let (symbol, name) = text.split_at(instrument.symbol.len());
        let rank = if symbol == query {
            Rank::Exact
        } else if words.first().is_some_and(|first| symbol.starts_with(first)) {
            Rank::Prefix
        } else if begins_a_word(name, query) {
            Rank::Word
        } else {
            Rank::Within
        };
        let kind = match &*instrument.instrument_type {
            _ if instrument.is_index() => 0,
            "EQ" => 1,
            "FUT" => 2,
            _ => 3,
        };
        // A row's number fits: the table numbers rows so.
        Some(Hit { rank, kind, row: row as u32 })
    }

    /// The order of answers.
    fn better(&self, a: Hit, b: Hit) -> Ordering {
        let (one, other) = (&self.rows[a.row as usize], &self.rows[b.row as usize]);
        (a.rank, a.kind)
            .cmp(&(b.rank, b.kind))
            .then_with(|| one.expiry.cmp(&other.expiry))
            .then_with(|| one.symbol.len().cmp(&other.symbol.len()))
            .then_with(|| self.folded_symbol(a.row).cmp(self.folded_symbol(b.row)))
            .then(a.row.cmp(&b.row))
    }
}

/// Whether the query stands in the name at the beginning of a word.
fn begins_a_word(name: &str, query: &str) -> bool {
    name.match_indices(query).any(|(at, _)| !name[..at].ends_with(char::is_alphanumeric))
}
