//! Which instrument a person means by a text: `NSE:INFY`, `INFY`, `nifty50`.

use super::table::{Instrument, Instruments, Row};

/// Indices that every table from a dump has, because everybody asks for them and some dumps are cut to what is traded.
const INDICES: [(u32, &str, &str); 9] = [
    (256265, "NIFTY 50", "NSE"),
    (260105, "NIFTY BANK", "NSE"),
    (257033, "NIFTY DIV OPPS 50", "NSE"),
    (264969, "INDIA VIX", "NSE"),
    (265, "SENSEX", "BSE"),
    (257801, "NIFTY FIN SERVICE", "NSE"),
    (270857, "NIFTY NEXT 50", "NSE"),
    (288009, "NIFTY MID SELECT", "NSE"),
    (259849, "NIFTY IT", "NSE"),
];

/// What people and other brokers call an index: alias, symbol, exchange. Those that differ from the symbol only by
/// spaces need no entry.
const ALIASES: [(&str, &str, &str); 10] = [
    ("NIFTY", "NIFTY 50", "NSE"),
    ("NIFTY50", "NIFTY 50", "NSE"),
    ("BANKNIFTY", "NIFTY BANK", "NSE"),
    ("NIFTYBANK", "NIFTY BANK", "NSE"),
    ("FINNIFTY", "NIFTY FIN SERVICE", "NSE"),
    ("NIFTYNXT50", "NIFTY NEXT 50", "NSE"),
    ("MIDCPNIFTY", "NIFTY MID SELECT", "NSE"),
    ("INDIAVIX", "INDIA VIX", "NSE"),
    ("SENSEX", "SENSEX", "BSE"),
    ("BANKEX", "BANKEX", "BSE"),
];

/// The rows of the well-known indices.
pub(super) fn indices() -> impl Iterator<Item = Row<'static>> {
    INDICES.into_iter().map(|(token, symbol, exchange)| Row {
        token,
        exchange_token: token >> 8,
        symbol,
        name: symbol,
        exchange,
        segment: "INDICES",
        instrument_type: "EQ",
        ..Row::default()
    })
}

impl Instruments {
    /// The instrument that a text means: `EXCHANGE:SYMBOL`, or a symbol alone, for which NSE's instruments come first,
    /// then the indices, then BSE, then all others in the order of the source. Case does not count.
    ///
    /// Only when no instrument is called exactly that, the common names of indices are tried, and at last the symbol
    /// without its spaces.
    pub fn resolve(&self, text: &str) -> Option<&Instrument> {
        let text = text.trim().to_ascii_uppercase();
        let (exchange, symbol) = match text.split_once(':') {
            Some((exchange, symbol)) => (Some(exchange.trim()), symbol.trim()),
            None => (None, text.as_str()),
        };
        if symbol.is_empty() {
            return None;
        }
        let meant =
            |instrument: &&Instrument| exchange.is_none_or(|name| instrument.exchange.eq_ignore_ascii_case(name));
        let best = |found: &mut dyn Iterator<Item = _>| found.filter(meant).min_by_key(preference);

        let spaceless = symbol.replace(' ', "");
        best(&mut self.with_symbol(symbol))
            .or_else(|| {
                let (_, symbol, exchange) = ALIASES.into_iter().find(|(alias, ..)| *alias == spaceless)?;
                self.by_symbol(exchange, symbol).filter(meant)
            })
            .or_else(|| best(&mut self.with_spaceless(&spaceless)))
            .or_else(|| best(&mut self.with_symbol(&spaceless)))
    }
}

/// Which of several instruments with one symbol is meant when nothing else is said; the lowest.
fn preference(instrument: &&Instrument) -> u8 {
    match &*instrument.exchange {
        _ if instrument.is_index() => 1,
        "NSE" => 0,
        "BSE" => 2,
        _ => 3,
    }
}
