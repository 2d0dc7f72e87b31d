//! From the table to the tape.

use std::io::{IsTerminal, Read};

use tickfan::kite::packet::MessageBuilder;
use tickfan::market::{InstrumentToken, Layout, Level, Mode, Ohlc, Tick};
use tickfan::tape::{TapeError, TapeWriter};

/// The instruments of the tape: made-up exchange tokens (900,001 to 900,004) in segment NSE (1), far above those of shares.
pub(crate) const INSTRUMENTS: [(&str, InstrumentToken); 4] =
    [("AIG", nse(900_001)), ("BAC", nse(900_002)), ("IBM", nse(900_003)), ("SPY", nse(900_004))];

const fn nse(exchange_token: u32) -> InstrumentToken {
    InstrumentToken(exchange_token << 8 | 1)
}

/// 09:30 in New York, milliseconds of the day: the open of the input.
pub(crate) const OPEN_NEW_YORK_MS: i64 = 34_200_000;

/// A word about progress each time so many events are done.
const PROGRESS_EVENTS: u64 = 250_000;

/// Why there is no tape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Open(#[from] std::io::Error),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("cannot read the table: {0}")]
    Table(#[from] csv::Error),
    #[error(transparent)]
    Tape(#[from] TapeError),
}

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    /// Quotes before a symbol's first trade: there is no last price to put into a packet.
    pub(crate) left_out: u64,
    pub(crate) messages: u64,
    first_ms: Option<i64>,
    last_ms: i64,
    /// Events of the second being read, and the fullest one so far: its begin and events.
    second: (i64, u64),
    pub(crate) busiest: (i64, u64),
}

impl Summary {
    fn count(&mut self, ms: i64) {
        self.events += 1;
        self.first_ms.get_or_insert(ms);
        self.last_ms = ms;
        let second = ms / 1000;
        if second != self.second.0 {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if self.second.1 > self.busiest.1 {
            self.busiest = self.second;
        }
    }

    pub(crate) fn duration_s(&self) -> f64 {
        (self.last_ms - self.first_ms.unwrap_or(self.last_ms)) as f64 / 1000.0
    }
}

/// One row of the table.
struct Event {
    ms: i64,
    instrument: usize,
    /// Trade: price and quantity. Quote: bid, its size, offer, its size. Prices are in ten-thousandths.
    kind: Kind,
}

enum Kind {
    Trade(u32, u32),
    Quote(u32, u32, u32, u32),
}

/// A symbol on its way through the day.
struct Day {
    tick: Tick,
    /// Sum of price in paise times quantity.
    turnover: u64,
}

impl Day {
    fn new(token: InstrumentToken) -> Self {
        let mut tick = Tick::ltp(token, 0);
        (tick.mode, tick.layout) = (Mode::Full, Layout::Tradable);
        Self { tick, turnover: 0 }
    }

    fn traded(&self) -> bool {
        self.tick.volume_traded > 0
    }

    fn apply(&mut self, kind: &Kind, epoch_s: u32) {
        let tick = &mut self.tick;
        tick.exchange_timestamp = epoch_s;
        match *kind {
            Kind::Trade(price, quantity) => {
                let price = paise(price);
                let Ohlc { open, high, low, close } = tick.ohlc;
                tick.ohlc = match tick.volume_traded {
                    0 => Ohlc { open: price, high: price, low: price, close },
                    _ => Ohlc { open, high: high.max(price), low: low.min(price), close },
                };
                tick.volume_traded = tick.volume_traded.saturating_add(quantity);
                self.turnover += u64::from(quantity) * u64::from(price.unsigned_abs());
                tick.average_traded_price =
                    self.turnover.checked_div(u64::from(tick.volume_traded)).unwrap_or_default() as i32;
                (tick.last_price, tick.last_traded_quantity, tick.last_trade_time) = (price, quantity, epoch_s);
            }
            Kind::Quote(bid, bid_size, offer, offer_size) => {
                tick.depth.buy[0] = Level { quantity: bid_size, price: paise(bid), orders: 0 };
                tick.depth.sell[0] = Level { quantity: offer_size, price: paise(offer), orders: 0 };
                (tick.total_buy_quantity, tick.total_sell_quantity) = (bid_size, offer_size);
            }
        }
    }
}

/// Ten-thousandths to hundredths, to the nearest. A cent stands for a paisa.
fn paise(e4: u32) -> i32 {
    (e4.saturating_add(50) / 100) as i32
}

fn event(row: &csv::StringRecord) -> Result<Event, String> {
    let number = |column: usize, name: &str| -> Result<u32, String> {
        let text = row.get(column).unwrap_or_default();
        text.parse().map_err(|_| format!("{name} {text:?} is not a number"))
    };
    let symbol = row.get(1).unwrap_or_default();
    let instrument = INSTRUMENTS.iter().position(|(known, _)| *known == symbol);
    let kind = match row.get(2) {
        Some("T") => Kind::Trade(number(3, "price")?, number(4, "quantity")?),
        Some("Q") => Kind::Quote(number(3, "bid")?, number(4, "bid size")?, number(5, "ask")?, number(6, "ask size")?),
        other => return Err(format!("kind {:?} is neither T nor Q", other.unwrap_or_default())),
    };
    Ok(Event {
        ms: number(0, "time")?.into(),
        instrument: instrument.ok_or_else(|| format!("symbol {symbol:?} is not one of AIG, BAC, IBM, SPY"))?,
        kind,
    })
}

/// Reads the table and writes the tape. `shift_ms` is added to a time of the table to get milliseconds since 1970.
pub(crate) fn convert(table: impl Read, tape: &mut TapeWriter, shift_ms: i64) -> Result<Summary, Failure> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(table);
    let mut days = INSTRUMENTS.map(|(_, token)| Day::new(token));
    let (mut message, mut message_ms) = (MessageBuilder::default(), 0);
    let mut summary = Summary::default();
    let mut row = csv::StringRecord::new();
    let show_progress = std::io::stderr().is_terminal();
    while rows.read_record(&mut row)? {
        let line = row.position().map_or(0, csv::Position::line);
        let Event { ms, instrument, kind } = event(&row).map_err(|what| Failure::Line { line, what })?;
        if ms < message_ms {
            return Err(Failure::Line { line, what: "its time lies before that of the line above".into() });
        }
        if ms > message_ms || message.count() == u16::MAX {
            summary.messages += write(&mut message, tape, message_ms + shift_ms)?;
            message_ms = ms;
        }
        let day = &mut days[instrument];
        if !day.traded() && matches!(kind, Kind::Quote(..)) {
            summary.left_out += 1;
            continue;
        }
        day.apply(&kind, ((ms + shift_ms) / 1000) as u32);
        message.push(&day.tick);
        summary.count(ms);
        if show_progress && summary.events % PROGRESS_EVENTS == 0 {
            eprint!("\r{} events", summary.events);
        }
    }
    summary.messages += write(&mut message, tape, message_ms + shift_ms)?;
    tape.flush()?;
    if show_progress && summary.events >= PROGRESS_EVENTS {
        eprintln!();
    }
    Ok(summary)
}

/// Puts the message on the tape unless it is empty; returns how many messages that were.
fn write(message: &mut MessageBuilder, tape: &mut TapeWriter, epoch_ms: i64) -> Result<u64, TapeError> {
    if message.count() == 0 {
        return Ok(0);
    }
    tape.append(epoch_ms.unsigned_abs() * 1_000_000, message.take())?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use tickfan::kite::packet::{decode, packets};
    use tickfan::tape::TapeReader;

    use super::*;

    const HEAD: &str = "ms_new_york,symbol,kind,price_or_bid_e4,qty_or_bidqty,ask_e4,askqty\n";

    /// Receive time and ticks of each message.
    type Messages = Vec<(u64, Vec<Tick>)>;

    fn convert_text(rows: &str) -> (Result<Summary, Failure>, Messages) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("us.tape");
        let mut tape = TapeWriter::create(&path).unwrap();
        let summary = convert(format!("{HEAD}{rows}").as_bytes(), &mut tape, 1_000_000_000 - OPEN_NEW_YORK_MS);
        drop(tape);
        let mut reader = TapeReader::open(&path).unwrap();
        let mut messages = Vec::new();
        while let Some((time_ns, message)) = reader.next().unwrap() {
            messages.push((time_ns, packets(message).unwrap().map(|packet| decode(packet).unwrap()).collect()));
        }
        (summary, messages)
    }

    #[test]
    fn events_of_a_millisecond_share_a_message_and_the_day_adds_up() {
        let rows = "34200000,SPY,Q,1674400,7,1674500,8\n\
                    34200000,SPY,T,1674400,100\n34200000,SPY,T,1674600,300\n\
                    34201001,SPY,Q,1674500,5,1674700,6\n34201001,AIG,T,490850,10\n";
        let (summary, messages) = convert_text(rows);
        let summary = summary.unwrap();
        assert_eq!((summary.events, summary.messages, summary.left_out, summary.busiest), (4, 2, 1, (34_200, 2)));
        assert!((summary.duration_s() - 1.001).abs() < 1e-9);
        assert_eq!(
            messages.iter().map(|(time_ns, ticks)| (*time_ns, ticks.len())).collect::<Vec<_>>(),
            [(1_000_000_000_000_000, 2), (1_000_001_001_000_000, 2)]
        );
        let traded = messages[0].1[1];
        assert_eq!((traded.last_price, traded.volume_traded, traded.average_traded_price), (16_746, 400, 16_745));
        assert_eq!(traded.ohlc, Ohlc { open: 16_744, high: 16_746, low: 16_744, close: 0 });
        assert_eq!((traded.last_trade_time, traded.exchange_timestamp), (1_000_000, 1_000_000));
        let [quoted, other] = messages[1].1[..] else { panic!("two ticks") };
        assert_eq!(quoted.depth.buy[0], Level { quantity: 5, price: 16_745, orders: 0 });
        assert_eq!(quoted.depth.sell[0], Level { quantity: 6, price: 16_747, orders: 0 });
        assert_eq!((quoted.total_buy_quantity, quoted.total_sell_quantity, quoted.volume_traded), (5, 6, 400));
        assert_eq!((quoted.last_trade_time, quoted.exchange_timestamp), (1_000_000, 1_000_001));
        assert_eq!((other.token, other.last_price), (nse(900_001), 4_909));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (row, expected) in [
            ("1,SPY,T,x,1", "line 2: price \"x\""),
            ("1,XYZ,T,1,1", "line 2: symbol \"XYZ\""),
            ("1,SPY,P,1,1", "line 2: kind \"P\""),
            ("2,SPY,T,1,1\n1,SPY,T,1,1", "line 3: its time"),
        ] {
            let text = convert_text(row).0.unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
