//! A tick as the official Python client has it.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::market::{Layout, Level, Mode, Ohlc, Tick};

/// Serializes a tick with the names, nesting, order and values of pykiteconnect: only the fields of its mode and
/// layout, prices in rupees, times in epoch seconds.
#[derive(Clone, Copy, Debug)]
pub struct PythonTick<'a>(pub &'a Tick);

/// The tick as a JSON value, for comparing; its keys are in no particular order. See [`PythonTick`].
pub fn tick_json(tick: &Tick) -> serde_json::Value {
    // A map of numbers, strings and booleans always has a JSON form.
    serde_json::to_value(PythonTick(tick)).unwrap_or_default()
}

impl Serialize for PythonTick<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tick = self.0;
        let segment = tick.token.segment();
        let rupees = Rupees { divisor: segment.divisor() as f64 };
        let tradable = tick.layout == Layout::Tradable;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tradable", &segment.tradable())?;
        map.serialize_entry("mode", tick.mode.name())?;
        map.serialize_entry("instrument_token", &tick.token.0)?;
        map.serialize_entry("last_price", &rupees.of(tick.last_price))?;
        if tick.mode >= Mode::Quote {
            if tradable {
                map.serialize_entry("last_traded_quantity", &tick.last_traded_quantity)?;
                map.serialize_entry("average_traded_price", &rupees.of(tick.average_traded_price))?;
                map.serialize_entry("volume_traded", &tick.volume_traded)?;
                map.serialize_entry("total_buy_quantity", &tick.total_buy_quantity)?;
                map.serialize_entry("total_sell_quantity", &tick.total_sell_quantity)?;
            }
            map.serialize_entry("ohlc", &PythonOhlc { ohlc: tick.ohlc, layout: tick.layout, rupees })?;
            if tick.ohlc.close == 0 {
                // Python's initial value, an integer.
                map.serialize_entry("change", &0)?;
            } else {
                map.serialize_entry("change", &tick.change_percent())?;
            }
        }
        if tick.mode == Mode::Full {
            if tradable {
                map.serialize_entry("last_trade_time", &tick.last_trade_time)?;
                map.serialize_entry("oi", &tick.oi)?;
                map.serialize_entry("oi_day_high", &tick.oi_day_high)?;
                map.serialize_entry("oi_day_low", &tick.oi_day_low)?;
            }
            map.serialize_entry("exchange_timestamp", &tick.exchange_timestamp)?;
            if tradable {
                map.serialize_entry("depth", &PythonDepth { tick, rupees })?;
            }
        }
        map.end()
    }
}

/// The division at the edge.
#[derive(Clone, Copy)]
struct Rupees {
    divisor: f64,
}

impl Rupees {
    fn of(self, raw: i32) -> f64 {
        f64::from(raw) / self.divisor
    }
}

struct PythonOhlc {
    ohlc: Ohlc,
    layout: Layout,
    rupees: Rupees,
}

impl Serialize for PythonOhlc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ohlc { open, high, low, close } = self.ohlc;
        // Python builds both in the order of the wire, which differs.
        let fields = match self.layout {
            Layout::Tradable => [("open", open), ("high", high), ("low", low), ("close", close)],
            Layout::Index => [("high", high), ("low", low), ("open", open), ("close", close)],
        };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, raw) in fields {
            map.serialize_entry(name, &self.rupees.of(raw))?;
        }
        map.end()
    }
}

struct PythonDepth<'a> {
    tick: &'a Tick,
    rupees: Rupees,
}

impl Serialize for PythonDepth<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let depth = &self.tick.depth;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("buy", &PythonSide { rows: &depth.buy, rupees: self.rupees })?;
        map.serialize_entry("sell", &PythonSide { rows: &depth.sell, rupees: self.rupees })?;
        map.end()
    }
}

struct PythonSide<'a> {
    rows: &'a [Level; 5],
    rupees: Rupees,
}

impl Serialize for PythonSide<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Row {
            quantity: u32,
            price: f64,
            orders: u16,
        }
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for &Level { quantity, price, orders } in self.rows {
            rows.serialize_element(&Row { quantity, price: self.rupees.of(price), orders })?;
        }
        rows.end()
    }
}
