//! Which trading hours an instrument has.

use crate::market::{InstrumentToken, Segment};

/// A group of instruments that trade at the same hours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentKind {
    /// Shares on NSE and BSE that have futures and options; a closing auction ends their day since August 2026.
    CashFno,
    /// All other shares, funds and bonds on NSE and BSE.
    Cash,
    /// Futures and options on shares and their indices: NFO and BFO.
    EquityDerivatives,
    /// Indices of NSE and BSE.
    Index,
    /// Currency and interest rate derivatives: CDS and BCD.
    Currency,
    /// Metals, energy and their indices on MCX.
    McxNonAgri,
    /// Farm produce on MCX that closes in the afternoon.
    McxAgri,
    /// Farm produce on MCX whose price is made abroad (cotton, kapas, crude palm oil); it closes in the evening.
    McxAgriLate,
    /// Commodities on NSE.
    Nco,
}

/// What is known of an instrument when its hours are asked for; the texts are those of Kite's dump and may be empty.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Its number.
    pub token: InstrumentToken,
    /// `NSE`, `MCX` …; needed for indices only.
    pub exchange: &'a str,
    /// The underlying; needed on MCX only.
    pub name: &'a str,
    /// Whether there are futures on this share.
    pub has_derivatives: bool,
}

impl SegmentKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::CashFno,
        Self::Cash,
        Self::EquityDerivatives,
        Self::Index,
        Self::Currency,
        Self::McxNonAgri,
        Self::McxAgri,
        Self::McxAgriLate,
        Self::Nco,
    ];

    /// The name in files and replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CashFno => "cash-fno",
            Self::Cash => "cash",
            Self::EquityDerivatives => "equity-derivatives",
            Self::Index => "index",
            Self::Currency => "currency",
            Self::McxNonAgri => "mcx-non-agri",
            Self::McxAgri => "mcx-agri",
            Self::McxAgriLate => "mcx-agri-late",
            Self::Nco => "nco",
        }
    }

    /// The market whose holidays the kind keeps. NSE and BSE publish the same ones, so they are one market.
    pub const fn market(self) -> Market {
        match self {
            Self::CashFno | Self::Cash | Self::EquityDerivatives | Self::Index => Market::Equity,
            Self::Currency => Market::Currency,
            Self::McxNonAgri | Self::McxAgri | Self::McxAgriLate => Market::Mcx,
            Self::Nco => Market::Nco,
        }
    }

    /// The kind of an instrument. The token's lowest byte decides first, since it is there even without a dump; what it
    /// cannot tell comes from the listing. An unlisted segment counts as cash, as all official clients treat it as NSE.
    pub fn of(listing: &Listing<'_>) -> Self {
        match listing.token.segment() {
            Segment(2 | 5) => Self::EquityDerivatives,
            // 8 is MCX-SX, gone since 2015, which traded currencies.
            Segment::CDS | Segment::BCD | Segment(8) => Self::Currency,
            Segment::NCO => Self::Nco,
            Segment(7) => Self::of_commodity(listing.name),
            Segment::INDICES if listing.exchange.eq_ignore_ascii_case("MCX") => Self::McxNonAgri,
            Segment::INDICES => Self::Index,
            _ if listing.has_derivatives => Self::CashFno,
            _ => Self::Cash,
        }
    }

    /// By the underlying as Kite writes it; what is not farm produce is metal, energy or an index of those.
    fn of_commodity(name: &str) -> Self {
        const LATE: [&str; 6] = ["COTTON", "COTTONCNDY", "COTTONOIL", "KAPAS", "CPO", "COTTONSEEDOIL"];
        const EARLY: [&str; 6] = ["CARDAMOM", "MENTHAOIL", "CASTORSEED", "RUBBER", "PEPPER", "BLACKPEPPER"];
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is(&LATE) {
            Self::McxAgriLate
        } else if is(&EARLY) {
            Self::McxAgri
        } else {
            Self::McxNonAgri
        }
    }
}

/// Who decides on a holiday.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// NSE, BSE and their derivatives on shares and indices.
    Equity,
    /// CDS and BCD.
    Currency,
    /// MCX.
    Mcx,
    /// Commodities on NSE.
    Nco,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_token_exchange_and_underlying() {
        let kind = |token, exchange, name, has_derivatives| {
            SegmentKind::of(&Listing { token: InstrumentToken(token), exchange, name, has_derivatives })
        };
        assert_eq!(kind(408_065, "NSE", "INFOSYS", true), SegmentKind::CashFno);
        assert_eq!(kind(408_065, "NSE", "INFOSYS", false), SegmentKind::Cash);
        assert_eq!(kind(0x104, "BSE", "", true), SegmentKind::CashFno);
        assert_eq!(kind(13_369_090, "NFO", "AARTIIND", false), SegmentKind::EquityDerivatives);
        assert_eq!(kind(0x105, "BFO", "SENSEX", true), SegmentKind::EquityDerivatives);
        assert_eq!(kind(256_265, "NSE", "NIFTY 50", false), SegmentKind::Index);
        assert_eq!(kind(0x109, "MCX", "MCXBULLDEX", false), SegmentKind::McxNonAgri);
        assert_eq!(kind(0x103, "CDS", "USDINR", false), SegmentKind::Currency);
        assert_eq!(kind(0x106, "BCD", "USDINR", false), SegmentKind::Currency);
        assert_eq!(kind(0x107, "MCX", "CRUDEOIL", false), SegmentKind::McxNonAgri);
        assert_eq!(kind(0x107, "MCX", "MENTHAOIL", false), SegmentKind::McxAgri);
        assert_eq!(kind(0x107, "MCX", "cotton", false), SegmentKind::McxAgriLate);
        assert_eq!(kind(0x10c, "NCO", "CRUDEOILM", false), SegmentKind::Nco);
    }
}
