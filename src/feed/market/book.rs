//! One instrument of the embedded market: its price, its order book, its day.

use super::random::Random;
use super::universe::{Member, TICK_SIZE};
use crate::market::{Layout, Level, Mode, Ohlc, Tick};

/// One move of the price, as a part of it.
const MOVE: f64 = 2e-5;

/// How strongly the price is drawn back to its base: enough to stay within a few percent of it for days.
const PULL: f64 = 0.05;

/// The price never leaves this part of its base; a circuit limit.
const LIMIT: f64 = 0.1;

/// Per cent of packets of a tradable instrument that only change its book.
const BOOK_ONLY_PERCENT: u32 = 50;

/// The state of one instrument, kept as the tick that was sent last.
#[derive(Clone, Debug)]
pub(super) struct Book {
    tick: Tick,
    /// The middle of the walk and its bounds, paise.
    base: i32,
    lowest: i32,
    highest: i32,
    /// Best bid, paise; for an index its value.
    bid: i32,
    /// Best offer above best bid, steps of the tick size.
    spread: i32,
    /// A move of the price is 1 to this many steps.
    stride: i32,
    /// Quantities are multiples of it.
    unit: u32,
    /// Bids and offers beyond the five rows.
    hidden: (u32, u32),
    /// Sum of price times quantity of the day; `u64` holds it as long as `u32` holds the volume.
    turnover: u64,
    has_oi: bool,
}

impl Book {
    pub(super) fn new(member: &Member, epoch_s: u32, random: &mut Random) -> Self {
        let (listing, base) = (&member.listing, member.base);
        let mut tick = Tick::ltp(listing.token, base);
        tick.mode = Mode::Full;
        tick.layout = if listing.segment == "INDICES" { Layout::Index } else { Layout::Tradable };
        let close = base + (random.unit() * 0.02 * f64::from(base) - 0.01 * f64::from(base)) as i32;
        tick.ohlc = Ohlc { open: base, high: base, low: base, close: on_grid(close) };
        tick.exchange_timestamp = epoch_s;
        // Shares are dealt in parcels of about Rs 20,000.
        let unit = if listing.lot_size > 1 { listing.lot_size } else { (2_000_000 / base).max(1) as u32 };
        let reach = (f64::from(base) * LIMIT) as i32;
        let mut book = Self {
            tick,
            base,
            lowest: on_grid(base - reach),
            highest: on_grid(base + reach).max(base + 20 * TICK_SIZE),
            bid: base,
            spread: 1,
            stride: ((f64::from(base) * MOVE) as i32 / TICK_SIZE).max(1),
            unit,
            hidden: (unit * (500 + random.below(500)), unit * (500 + random.below(500))),
            turnover: 0,
            has_oi: listing.expiry.is_some(),
        };
        if book.tick.layout == Layout::Tradable {
            book.open(epoch_s, random);
        }
        book
    }

    /// The state the first packet shows: some trades have happened at the base price.
    fn open(&mut self, epoch_s: u32, random: &mut Random) {
        let tick = &mut self.tick;
        tick.last_trade_time = epoch_s;
        tick.last_traded_quantity = self.unit;
        tick.volume_traded = self.unit * (100 + random.below(900));
        tick.average_traded_price = tick.last_price;
        self.turnover = u64::from(tick.volume_traded) * u64::from(tick.last_price.unsigned_abs());
        if self.has_oi {
            tick.oi = self.unit * (5_000 + random.below(20_000));
            (tick.oi_day_high, tick.oi_day_low) = (tick.oi, tick.oi);
        }
        self.lay_out(random);
    }

    /// The next day's first state: it opens where it closed.
    pub(super) fn begin_day(&mut self, epoch_s: u32, random: &mut Random) {
        let price = self.tick.last_price;
        self.tick.ohlc = Ohlc { open: price, high: price, low: price, close: price };
        self.tick.exchange_timestamp = epoch_s;
        if self.tick.layout == Layout::Tradable {
            let oi = self.tick.oi;
            self.open(epoch_s, random);
            // Open interest is what stays from day to day.
            (self.tick.oi, self.tick.oi_day_high, self.tick.oi_day_low) = (oi, oi, oi);
        }
    }

    /// As it is now.
    pub(super) fn tick(&self) -> &Tick {
        &self.tick
    }

    /// Lets one thing happen and returns what the exchange would send about it at `epoch_s`.
    #[inline]
    pub(super) fn next(&mut self, epoch_s: u32, random: &mut Random) -> &Tick {
        self.tick.exchange_timestamp = epoch_s;
        if self.tick.layout == Layout::Index {
            self.walk(random);
            self.tick.last_price = self.bid;
            self.tick.ohlc.high = self.tick.ohlc.high.max(self.bid);
            self.tick.ohlc.low = self.tick.ohlc.low.min(self.bid);
        } else if random.below(100) < BOOK_ONLY_PERCENT {
            self.requote(random);
        } else {
            self.trade(epoch_s, random);
        }
        &self.tick
    }

    /// Moves the best bid by a few steps, rather towards the base than away from it.
    fn walk(&mut self, random: &mut Random) {
        let away = f64::from(self.bid - self.base) / f64::from(self.base);
        let steps = 1 + random.below(self.stride.unsigned_abs()).cast_signed();
        let up = random.unit() < 0.5 - PULL * away;
        let moved = self.bid + if up { steps } else { -steps } * TICK_SIZE;
        self.bid = moved.clamp(self.lowest, self.highest);
    }

    /// The book changes, nothing is traded.
    fn requote(&mut self, random: &mut Random) {
        let chance = random.next();
        if chance & 7 == 0 {
            self.spread = 1 + random.below(1 + 2 * self.stride.unsigned_abs()).cast_signed();
            self.lay_out(random);
            return;
        }
        let depth = &mut self.tick.depth;
        let side = if chance & 8 == 0 { &mut depth.buy } else { &mut depth.sell };
        // The first row always exists.
        let mut row = &mut side[0];
        if chance & 0x30 != 0 {
            let other = 1 + (chance >> 8 & 3) as usize;
            if side[other].price != 0 {
                row = &mut side[other];
            } else {
                row = &mut side[0];
            }
        }
        let before = row.quantity;
        *row = level(row.price, self.unit, chance);
        if row.quantity == before {
            row.quantity += self.unit;
        }
        self.add_up();
    }

    /// Somebody takes the best bid or the best offer; half of the time the price moves on.
    fn trade(&mut self, epoch_s: u32, random: &mut Random) {
        let chance = random.next();
        let price = if chance & 1 == 0 { self.bid } else { self.bid + self.spread * TICK_SIZE };
        let quantity = self.unit * (1 + (chance >> 1 & 15) as u32);
        self.add_trade(price, quantity, epoch_s);
        if self.has_oi && chance >> 8 & 3 == 0 {
            self.add_interest(chance >> 10 & 1 == 0, quantity);
        }
        if chance >> 11 & 1 == 0 {
            self.walk(random);
            self.lay_out(random);
        } else {
            let depth = &mut self.tick.depth;
            let row = if chance & 1 == 0 { &mut depth.buy[0] } else { &mut depth.sell[0] };
            *row = level(row.price, self.unit, chance);
            self.add_up();
        }
    }

    fn add_trade(&mut self, price: i32, quantity: u32, epoch_s: u32) {
        let tick = &mut self.tick;
        let ohlc = &mut tick.ohlc;
        match tick.volume_traded.checked_add(quantity) {
            Some(volume) => tick.volume_traded = volume,
            None => {
                // Days of heavy trading do not fit into the wire's 32 bits: a new day begins.
                *ohlc = Ohlc { open: price, high: price, low: price, close: tick.last_price };
                (tick.volume_traded, self.turnover) = (quantity, 0);
                (tick.oi_day_high, tick.oi_day_low) = (tick.oi, tick.oi);
            }
        }
        self.turnover += u64::from(quantity) * u64::from(price.unsigned_abs());
        tick.average_traded_price = (self.turnover / u64::from(tick.volume_traded)) as i32;
        tick.last_price = price;
        tick.last_traded_quantity = quantity;
        tick.last_trade_time = epoch_s;
        ohlc.high = ohlc.high.max(price);
        ohlc.low = ohlc.low.min(price);
    }

    /// Open interest grows or shrinks by a trade that opens or closes positions.
    fn add_interest(&mut self, opens: bool, quantity: u32) {
        let tick = &mut self.tick;
        tick.oi = if opens { tick.oi.saturating_add(quantity) } else { tick.oi.saturating_sub(quantity) };
        tick.oi_day_high = tick.oi_day_high.max(tick.oi);
        tick.oi_day_low = tick.oi_day_low.min(tick.oi);
    }

    /// Writes all ten rows around the best bid.
    fn lay_out(&mut self, random: &mut Random) {
        let (bid, offer) = (self.bid, self.bid + self.spread * TICK_SIZE);
        for row in 0..5 {
            let chance = random.next();
            let step = row as i32 * self.stride * TICK_SIZE;
            let (below, above) = (bid - step, offer + step);
            self.tick.depth.buy[row] = if below > 0 { level(below, self.unit, chance) } else { Level::default() };
            self.tick.depth.sell[row] = level(above, self.unit, chance >> 32);
        }
        self.add_up();
    }

    fn add_up(&mut self) {
        let tick = &mut self.tick;
        let sum = |rows: &[Level; 5]| rows.iter().map(|row| row.quantity).sum::<u32>();
        tick.total_buy_quantity = self.hidden.0 + sum(&tick.depth.buy);
        tick.total_sell_quantity = self.hidden.1 + sum(&tick.depth.sell);
    }
}

/// A row at `price`; its quantity and orders come from bits 16 to 31 of `chance`.
fn level(price: i32, unit: u32, chance: u64) -> Level {
    let lots = 1 + (chance >> 16 & 63) as u32;
    let orders = 1 + (chance >> 22 & 31) as u16;
    Level { quantity: unit * lots, price, orders: orders.min(lots as u16) }
}

/// The nearest price that can be, at least one step.
fn on_grid(price: i32) -> i32 {
    (price / TICK_SIZE * TICK_SIZE).max(TICK_SIZE)
}
