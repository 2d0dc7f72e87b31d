//! The 36 indicators as chains of links.

use super::Bar;
use super::definition::Name;
use super::id::IndicatorId;
use super::leg::{Late, Leg, Step};
use super::own::{Delay, Kama, SessionVwap};
use ta_lib::*;

/// An indicator at work.
#[derive(Clone)]
#[rustfmt::skip]
pub(super) enum Engine {
    Rsi(Leg<RsiStream>),
    Stoch { raw: Leg<StochfStream>, k: Leg<SmaStream>, d: Leg<SmaStream> },
    StochRsi { rsi: Leg<RsiStream>, raw: Leg<StochfStream>, k: Leg<SmaStream>, d: Leg<SmaStream> },
    /// TA-Lib begins the fast average late, so that both are seeded on the same bar. Its own MACD says nothing of the
    /// line before the signal.
    Macd { fast: Late<EmaStream>, slow: Leg<EmaStream>, signal: Leg<EmaStream> },
    Cci(Leg<CciStream>),
    Mom(Leg<MomStream>),
    Roc(Leg<RocStream>),
    Tsi { line: Leg<TsiStream>, signal: Leg<EmaStream> },
    WillR(Leg<WillrStream>),
    Ao(Leg<AoStream>),
    Ppo { line: Leg<PpoStream>, signal: Leg<EmaStream> },
    Sma(Leg<SmaStream>),
    Ema(Leg<EmaStream>),
    Wma(Leg<WmaStream>),
    Hma(Leg<HmaStream>),
    Dema(Leg<DemaStream>),
    Tema(Leg<TemaStream>),
    Vwma(Leg<VwmaStream>),
    Zlema(Leg<ZlemaStream>),
    Kama(Leg<KamaStream>),
    OtherKama(Kama),
    Mama(Leg<MamaStream>),
    T3(Leg<T3Stream>),
    Atr(Leg<AtrStream>),
    Natr(Leg<NatrStream>),
    BBands(Leg<BbandsStream>),
    Kc { factor: f64, middle: Leg<EmaStream>, range: Leg<TrangeStream>, width: Leg<EmaStream> },
    WilderKc { factor: f64, middle: Leg<EmaStream>, width: Leg<AtrStream> },
    Dc(Leg<DonchianStream>),
    Obv(Leg<ObvStream>),
    Ad(Leg<AdStream>),
    Adx { adx: Leg<AdxStream>, plus: Leg<PlusDiStream>, minus: Leg<MinusDiStream> },
    Vwap(SessionVwap),
    Mfi(Leg<MfiStream>),
    Psar(Leg<SarStream>),
    SuperTrend(Leg<SupertrendStream>),
    Aroon(Leg<AroonStream>),
    Fisher { fisher: Leg<FisherStream>, signal: Delay },
}

/// The values of one bar, as many as the indicator has outputs.
pub(super) type Values = [Option<f64>; 3];

/// What an engine says of a bar. Through `&mut` each link commits, through `&` it looks: see [`Step`].
macro_rules! step {
    ($engine:expr, $bar:expr) => {{
        let bar: &Bar = $bar;
        let Bar { high, low, close, volume, .. } = *bar;
        match $engine {
            Self::Rsi(rsi) => one(rsi.step([close])),
            Self::Stoch { raw, k, d } => stochastic(raw.step([high, low, close]), k, d),
            Self::StochRsi { rsi, raw, k, d } => {
                let rsi = rsi.step([close]);
                stochastic(rsi.and_then(|rsi| raw.step([rsi; 3])), k, d)
            }
            Self::Macd { fast, slow, signal } => {
                let line = fast.step([close]).zip(slow.step([close])).map(|(fast, slow)| fast - slow);
                with_histogram(line, line.and_then(|line| signal.step([line])))
            }
            Self::Cci(cci) => one(cci.step([high, low, close])),
            Self::Mom(mom) => one(mom.step([close])),
            Self::Roc(roc) => one(roc.step([close])),
            Self::Tsi { line, signal } => {
                let line = line.step([close]);
                [line, line.and_then(|line| signal.step([line])), None]
            }
            Self::WillR(willr) => one(willr.step([high, low, close])),
            Self::Ao(ao) => one(ao.step([high, low])),
            Self::Ppo { line, signal } => {
                let line = line.step([close]);
                with_histogram(line, line.and_then(|line| signal.step([line])))
            }
            Self::Sma(average) => one(average.step([close])),
            Self::Ema(average) => one(average.step([close])),
            Self::Wma(average) => one(average.step([close])),
            Self::Hma(average) => one(average.step([close])),
            Self::Dema(average) => one(average.step([close])),
            Self::Tema(average) => one(average.step([close])),
            Self::Vwma(average) => one(average.step([close, volume])),
            Self::Zlema(average) => one(average.step([close])),
            Self::Kama(average) => one(average.step([close])),
            Self::OtherKama(average) => one(average.step(close)),
            Self::Mama(averages) => two(averages.step([close])),
            Self::T3(average) => one(average.step([close])),
            Self::Atr(atr) => one(atr.step([high, low, close])),
            Self::Natr(natr) => one(natr.step([high, low, close])),
            Self::BBands(bands) => three(bands.step([close])),
            Self::Kc { factor, middle, range, width } => {
                let width = range.step([high, low, close]).and_then(|range| width.step([range]));
                channel(middle.step([close]), width, *factor)
            }
            Self::WilderKc { factor, middle, width } => {
                channel(middle.step([close]), width.step([high, low, close]), *factor)
            }
            Self::Dc(bands) => three(bands.step([high, low])),
            Self::Obv(obv) => one(obv.step([close, volume])),
            Self::Ad(ad) => one(ad.step([high, low, close, volume])),
            Self::Adx { adx, plus, minus } => {
                let bar = [high, low, close];
                [adx.step(bar), plus.step(bar), minus.step(bar)]
            }
            Self::Vwap(vwap) => one(vwap.step(bar)),
            Self::Mfi(mfi) => one(mfi.step([high, low, close, volume])),
            Self::Psar(sar) => {
                let sar = sar.step([high, low]);
                [sar, sar.map(|sar| if sar < (high + low) / 2.0 { 1.0 } else { -1.0 }), None]
            }
            Self::SuperTrend(trend) => {
                two(trend.step([high, low, close]).map(|(line, direction)| (line, f64::from(direction))))
            }
            Self::Aroon(aroon) => three(aroon.step([high, low]).map(|(down, up)| (up, down, up - down))),
            Self::Fisher { fisher, signal } => {
                let fisher = fisher.step([high, low]).map(|(fisher, _)| fisher);
                [fisher, fisher.and_then(|fisher| signal.step(fisher)), None]
            }
        }
    }};
}

impl Engine {
    pub fn new(id: &IndicatorId) -> Self {
        // Periods are whole and at most 1000.
        let values = id.values();
        let decimal = |position: usize| values.get(position).copied().unwrap_or(0.0);
        let whole = |position: usize| decimal(position) as i32;
        let n = (whole(0),);
        match id.name() {
            Name::Rsi => Self::Rsi(Leg::new(n)),
            Name::Stoch => Self::Stoch { raw: Leg::new(n), k: Leg::new((whole(2),)), d: Leg::new((whole(1),)) },
            Name::StochRsi => Self::StochRsi {
                rsi: Leg::new((whole(1),)),
                raw: Leg::new(n),
                k: Leg::new((whole(2),)),
                d: Leg::new((whole(3),)),
            },
            Name::Macd => Self::Macd {
                fast: Late::new((whole(1) - whole(0)).max(0) as usize, n),
                slow: Leg::new((whole(1),)),
                signal: Leg::new((whole(2),)),
            },
            Name::Cci => Self::Cci(Leg::new(n)),
            Name::Mom => Self::Mom(Leg::new(n)),
            Name::Roc => Self::Roc(Leg::new(n)),
            Name::Tsi => Self::Tsi { line: Leg::new((whole(1), whole(0))), signal: Leg::new((whole(2),)) },
            Name::WillR => Self::WillR(Leg::new(n)),
            Name::Ao => Self::Ao(Leg::new((whole(0), whole(1)))),
            Name::Ppo => Self::Ppo { line: Leg::new((whole(0), whole(1))), signal: Leg::new((whole(2),)) },
            Name::Sma => Self::Sma(Leg::new(n)),
            Name::Ema => Self::Ema(Leg::new(n)),
            Name::Wma => Self::Wma(Leg::new(n)),
            Name::Hma => Self::Hma(Leg::new(n)),
            Name::Dema => Self::Dema(Leg::new(n)),
            Name::Tema => Self::Tema(Leg::new(n)),
            Name::Vwma => Self::Vwma(Leg::new(n)),
            Name::Zlema => Self::Zlema(Leg::new(n)),
            Name::Kama if (whole(1), whole(2)) == (2, 30) => Self::Kama(Leg::new(n)),
            Name::Kama => Self::OtherKama(Kama::new(whole(0) as usize, decimal(1), decimal(2))),
            Name::Mama => Self::Mama(Leg::new((decimal(0), decimal(1)))),
            Name::T3 => Self::T3(Leg::new((whole(0), decimal(1)))),
            Name::Atr => Self::Atr(Leg::new(n)),
            Name::Natr => Self::Natr(Leg::new(n)),
            Name::BBands => Self::BBands(Leg::new((whole(0), decimal(1), decimal(1)))),
            Name::Kc if values.len() > 2 => {
                Self::WilderKc { factor: decimal(1), middle: Leg::new(n), width: Leg::new((whole(2),)) }
            }
            Name::Kc => Self::Kc { factor: decimal(1), middle: Leg::new(n), range: Leg::new(()), width: Leg::new(n) },
            Name::Dc => Self::Dc(Leg::new(n)),
            Name::Obv => Self::Obv(Leg::new(())),
            Name::Ad => Self::Ad(Leg::new(())),
            Name::Adx => Self::Adx { adx: Leg::new(n), plus: Leg::new(n), minus: Leg::new(n) },
            Name::Vwap => Self::Vwap(SessionVwap::default()),
            Name::Mfi => Self::Mfi(Leg::new(n)),
            Name::Psar => Self::Psar(Leg::new((decimal(0), decimal(1)))),
            Name::SuperTrend => Self::SuperTrend(Leg::new((whole(0), decimal(1)))),
            Name::Aroon => Self::Aroon(Leg::new(n)),
            Name::Fisher => Self::Fisher { fisher: Leg::new(n), signal: Delay::new(whole(1) as usize) },
        }
    }

    /// Takes a closed bar.
    pub fn update(&mut self, bar: &Bar) -> Values {
        step!(self, bar)
    }

    /// What `update` would say.
    pub fn peek(&self, bar: &Bar) -> Values {
        step!(self, bar)
    }
}

const fn one(value: Option<f64>) -> Values {
    [value, None, None]
}

fn two(values: Option<(f64, f64)>) -> Values {
    [values.map(|(first, _)| first), values.map(|(_, second)| second), None]
}

fn three(values: Option<(f64, f64, f64)>) -> Values {
    [values.map(|(first, _, _)| first), values.map(|(_, second, _)| second), values.map(|(_, _, third)| third)]
}

/// A line, its average, and how far it is above that.
fn with_histogram(line: Option<f64>, signal: Option<f64>) -> Values {
    [line, signal, line.zip(signal).map(|(line, signal)| line - signal)]
}

fn channel(middle: Option<f64>, width: Option<f64>, factor: f64) -> Values {
    let half = width.map(|width| width * factor);
    let both = middle.zip(half);
    [both.map(|(middle, half)| middle + half), middle, both.map(|(middle, half)| middle - half)]
}

fn stochastic<A, B>(raw: Option<(f64, f64)>, k: A, d: B) -> Values
where
    A: Step<[f64; 1], Output = f64>,
    B: Step<[f64; 1], Output = f64>,
{
    let k = raw.and_then(|(raw, _)| k.step([raw]));
    [k, k.and_then(|k| d.step([k])), None]
}
