//! What is listed on the embedded market.

use std::borrow::Cow;

use super::table::{BSE, FUTURES, INDEX_UNDERLYINGS, INDICES, NSE, Row};
use crate::market::{InstrumentToken, Segment};

/// The most instruments three Kite sockets carry, and so the most the embedded market has.
pub const MAX_INSTRUMENTS: usize = 9_000;

/// Tick size of everything here, paise.
pub(super) const TICK_SIZE: i32 = 5;

/// Exchange tokens of made-up contracts begin here, far above any real one of NFO.
const FIRST_MADE_UP: u32 = 1_000_000;

/// The expiry of made-up contracts, as it stands in the list and in symbols.
const EXPIRY: (&str, &str) = ("2024-04-25", "24APR");

/// One instrument as Kite's list of instruments has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Its number.
    pub token: InstrumentToken,
    /// `tradingsymbol`.
    pub symbol: Cow<'static, str>,
    /// The company, the index, or the underlying.
    pub name: &'static str,
    /// `NSE`, `BSE` or `NFO`.
    pub exchange: &'static str,
    /// `NSE`, `BSE`, `NFO-FUT`, `NFO-OPT` or `INDICES`.
    pub segment: &'static str,
    /// `EQ`, `FUT`, `CE` or `PE`; an index is `EQ`.
    pub instrument_type: &'static str,
    /// Smallest step of its price, paise; 0 for an index.
    pub tick_size: i32,
    /// Smallest quantity that can be traded; 0 for an index.
    pub lot_size: u32,
    /// `yyyy-mm-dd`; `None` when it does not expire.
    pub expiry: Option<&'static str>,
    /// Strike price of an option, paise; 0 otherwise.
    pub strike: i32,
}

/// A listing with what the simulation wants to know about it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) listing: Listing,
    /// Where its price begins, paise.
    pub(super) base: i32,
    /// How much of all activity it has, in no particular unit.
    pub(super) weight: f64,
}

/// Every built-in instrument; what [`listings`] begins with.
pub fn built_in() -> Vec<Listing> {
    listings(built_in_count())
}

/// How many there are.
pub const fn built_in_count() -> usize {
    NSE.len() + INDICES.len() + FUTURES.len() + BSE.len()
}

/// The first `count` instruments of the embedded market: the built-in ones, then made-up options on them, near the
/// money first. The same `count` always gives the same list; a shorter list is a prefix of a longer one.
pub fn listings(count: usize) -> Vec<Listing> {
    members(count).into_iter().map(|member| member.listing).collect()
}

pub(super) fn members(count: usize) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::with_capacity(count.max(built_in_count()));
    members.extend(ranked(&NSE, 1.0).map(|(row, weight)| member(row, "NSE", "NSE", "EQ", 1, weight)));
    members.extend(ranked(&INDICES, 0.5).map(|(row, weight)| {
        let exchange = if row.symbol == "SENSEX" { "BSE" } else { "NSE" };
        member(row, exchange, "INDICES", "EQ", 0, weight)
    }));
    members.extend(ranked(&FUTURES, 0.8).map(|(row, weight)| member(row, "NFO", "NFO-FUT", "FUT", row.lot, weight)));
    members.extend(ranked(&BSE, 0.15).map(|(row, weight)| member(row, "BSE", "BSE", "EQ", 1, weight)));
    let made_up = count.saturating_sub(members.len());
    members.extend(options().take(made_up));
    members.truncate(count);
    members
}

/// Zipf's law within a group: the second is about half as busy as the first, the tenth a tenth.
fn ranked(rows: &'static [Row], share: f64) -> impl Iterator<Item = (&'static Row, f64)> {
    rows.iter().enumerate().map(move |(rank, row)| (row, share / (rank + 2) as f64))
}

fn member(
    row: &'static Row,
    exchange: &'static str,
    segment: &'static str,
    instrument_type: &'static str,
    lot_size: u32,
    weight: f64,
) -> Member {
    let listing = Listing {
        token: InstrumentToken(row.token),
        symbol: row.symbol.into(),
        name: row.name,
        exchange,
        segment,
        instrument_type,
        tick_size: if segment == "INDICES" { 0 } else { TICK_SIZE },
        lot_size,
        expiry: row.expiry,
        strike: 0,
    };
    Member { listing, base: row.base, weight }
}

/// Calls and puts on every index and share that has futures, ring by ring outwards from the money.
fn options() -> impl Iterator<Item = Member> {
    let underlyings = || INDEX_UNDERLYINGS.into_iter().chain(NSE.iter().map(|row| (row.symbol, row.base, row.lot)));
    let rings = (0i32..).map(|ring| if ring % 2 == 0 { -ring / 2 } else { ring / 2 + 1 });
    let contracts =
        rings.flat_map(move |steps| underlyings().flat_map(move |of| ["CE", "PE"].map(|kind| (of, kind, steps))));
    contracts.zip(0u32..).map(|(((name, spot, lot), kind, steps), number)| {
        let step = strike_step(spot);
        let strike = (spot / step + steps) * step;
        let intrinsic = if kind == "CE" { spot - strike } else { strike - spot }.max(0);
        let distance = f64::from(strike - spot) / f64::from(spot) / 0.06;
        let time_value = f64::from(spot) * 0.02 * (-distance * distance).exp();
        let base = (intrinsic + time_value as i32) / TICK_SIZE * TICK_SIZE;
        let rupees =
            if strike % 100 == 0 { (strike / 100).to_string() } else { format!("{:.1}", f64::from(strike) / 100.0) };
        let listing = Listing {
            token: InstrumentToken((FIRST_MADE_UP + number) << 8 | u32::from(NFO.0)),
            symbol: format!("{name}{}{rupees}{kind}", EXPIRY.1).into(),
            name,
            exchange: "NFO",
            segment: "NFO-OPT",
            instrument_type: kind,
            tick_size: TICK_SIZE,
            lot_size: lot,
            expiry: Some(EXPIRY.0),
            strike,
        };
        Member { listing, base: base.max(TICK_SIZE), weight: 0.6 / f64::from(number + 20) }
    })
}

const NFO: Segment = Segment(2);

/// About one percent of the price, less for an index, rounded as exchanges do; paise.
fn strike_step(spot: i32) -> i32 {
    const STEPS: [i32; 8] = [100, 250, 500, 1_000, 2_000, 2_500, 5_000, 10_000];
    STEPS.into_iter().rev().find(|&step| step <= spot / 100).unwrap_or(STEPS[0])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_token_and_symbol_is_there_once() {
        let all = listings(MAX_INSTRUMENTS);
        assert_eq!(all.len(), MAX_INSTRUMENTS);
        assert_eq!(all.iter().map(|listing| listing.token).collect::<HashSet<_>>().len(), MAX_INSTRUMENTS);
        let names: HashSet<_> = all.iter().map(|listing| (listing.exchange, &listing.symbol)).collect();
        assert_eq!(names.len(), MAX_INSTRUMENTS);
        assert!(built_in_count() >= 60 && all.starts_with(&built_in()));
        assert!(all.iter().all(|listing| (listing.segment == "NFO-OPT") == (listing.strike > 0)));
    }

    #[test]
    fn a_token_bears_its_segment() {
        for listing in listings(1_000) {
            let expected = match listing.segment {
                "NSE" => 1,
                "NFO-FUT" | "NFO-OPT" => 2,
                "BSE" => 4,
                _ => 9,
            };
            assert_eq!(listing.token.segment().0, expected, "{}", listing.symbol);
        }
    }

    #[test]
    fn made_up_options_look_like_options() {
        let option = &listings(built_in_count() + 1)[built_in_count()];
        assert_eq!((&*option.symbol, option.strike, option.lot_size), ("NIFTY24APR22500CE", 2_250_000, 50));
    }
}
