//! The streams of TA-Lib that indicators are made of, behind one trait.
//!
//! TA-Lib (crate `ta-lib`, pinned to one version) is the norm: pandas-ta with TA-Lib installed prints the same numbers.

use ta_lib::{self as ta, Core, MAType};

/// A TA-Lib function that takes one bar at a time.
pub(super) trait Stream: Sized {
    /// What it is opened with: periods and factors.
    type Parameters: Copy;
    /// What it reads of a bar.
    type Input: Copy;
    /// What it says of a bar.
    type Output;

    /// How many bars stand before the first with an output; `None` for parameters that TA-Lib rejects.
    fn lookback(parameters: Self::Parameters) -> Option<usize>;

    /// Begins with a history of one bar more than the lookback, and says what the last of them gives.
    fn open(parameters: Self::Parameters, history: &[Self::Input]) -> Option<(Self, Self::Output)>;

    /// A closed bar. `None` for one that is not finite, which changes nothing.
    fn update(&mut self, input: Self::Input) -> Option<Self::Output>;

    /// What `update` would say.
    fn peek(&self, input: Self::Input) -> Option<Self::Output>;
}

/// Rows to columns.
fn columns<const N: usize>(rows: &[[f64; N]]) -> [Vec<f64>; N] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column]).collect())
}

/// `stream!(Type, lookback, open: (inputs) (parameters) [constants] -> output)`
macro_rules! stream {
    ($stream:ident, $lookback:ident, $open:ident: ($($input:ident),+) ($($parameter:ident: $type:ty),*) [$($constant:expr),*] -> $output:ty) => {
        impl Stream for ta::$stream {
            type Parameters = ($($type,)*);
            type Input = [f64; [$(stringify!($input)),+].len()];
            type Output = $output;

            fn lookback(($($parameter,)*): Self::Parameters) -> Option<usize> {
                Core::new().$lookback($($parameter,)* $($constant),*).ok()
            }

            fn open(($($parameter,)*): Self::Parameters, history: &[Self::Input]) -> Option<(Self, $output)> {
                let [$($input),+] = columns(history);
                Core::new().$open($(&$input,)+ $($parameter,)* $($constant),*).ok()
            }

            fn update(&mut self, [$($input),+]: Self::Input) -> Option<$output> {
                ta::$stream::update(self, $($input),+).ok()
            }

            fn peek(&self, [$($input),+]: Self::Input) -> Option<$output> {
                ta::$stream::peek(self, $($input),+).ok()
            }
        }
    };
}

stream!(RsiStream, rsi_lookback, rsi_open: (close) (length: i32) [] -> f64);
// Unsmoothed %K, for STOCH and STOCHRSI: TA-Lib's own STOCH says nothing of %K before %D.
stream!(StochfStream, stochf_lookback, stochf_open: (high, low, close) (k: i32) [1, MAType::SMA] -> (f64, f64));
stream!(PpoStream, ppo_lookback, ppo_open: (close) (fast: i32, slow: i32) [MAType::EMA] -> f64);
stream!(CciStream, cci_lookback, cci_open: (high, low, close) (length: i32) [] -> f64);
stream!(MomStream, mom_lookback, mom_open: (close) (length: i32) [] -> f64);
stream!(RocStream, roc_lookback, roc_open: (close) (length: i32) [] -> f64);
stream!(TsiStream, tsi_lookback, tsi_open: (close) (slow: i32, fast: i32) [] -> f64);
stream!(WillrStream, willr_lookback, willr_open: (high, low, close) (length: i32) [] -> f64);
stream!(AoStream, ao_lookback, ao_open: (high, low) (fast: i32, slow: i32) [] -> f64);

stream!(SmaStream, sma_lookback, sma_open: (value) (length: i32) [] -> f64);
stream!(EmaStream, ema_lookback, ema_open: (value) (length: i32) [] -> f64);
stream!(WmaStream, wma_lookback, wma_open: (close) (length: i32) [] -> f64);
stream!(HmaStream, hma_lookback, hma_open: (close) (length: i32) [] -> f64);
stream!(DemaStream, dema_lookback, dema_open: (close) (length: i32) [] -> f64);
stream!(TemaStream, tema_lookback, tema_open: (close) (length: i32) [] -> f64);
stream!(VwmaStream, vwma_lookback, vwma_open: (close, volume) (length: i32) [] -> f64);
stream!(ZlemaStream, zlema_lookback, zlema_open: (close) (length: i32) [] -> f64);
stream!(KamaStream, kama_lookback, kama_open: (close) (length: i32) [] -> f64);
stream!(MamaStream, mama_lookback, mama_open: (close) (fast: f64, slow: f64) [] -> (f64, f64));
stream!(T3Stream, t3_lookback, t3_open: (close) (length: i32, factor: f64) [] -> f64);

stream!(TrangeStream, trange_lookback, trange_open: (high, low, close) () [] -> f64);
stream!(AtrStream, atr_lookback, atr_open: (high, low, close) (length: i32) [] -> f64);
stream!(NatrStream, natr_lookback, natr_open: (high, low, close) (length: i32) [] -> f64);
stream!(BbandsStream, bbands_lookback, bbands_open: (close) (length: i32, up: f64, down: f64) [MAType::SMA] -> (f64, f64, f64));
stream!(DonchianStream, donchian_lookback, donchian_open: (high, low) (length: i32) [] -> (f64, f64, f64));

stream!(ObvStream, obv_lookback, obv_open: (close, volume) () [] -> f64);
stream!(AdStream, ad_lookback, ad_open: (high, low, close, volume) () [] -> f64);
stream!(AdxStream, adx_lookback, adx_open: (high, low, close) (length: i32) [] -> f64);
stream!(PlusDiStream, plus_di_lookback, plus_di_open: (high, low, close) (length: i32) [] -> f64);
stream!(MinusDiStream, minus_di_lookback, minus_di_open: (high, low, close) (length: i32) [] -> f64);
stream!(MfiStream, mfi_lookback, mfi_open: (high, low, close, volume) (length: i32) [] -> f64);

stream!(SarStream, sar_lookback, sar_open: (high, low) (acceleration: f64, maximum: f64) [] -> f64);
stream!(SupertrendStream, supertrend_lookback, supertrend_open: (high, low, close) (length: i32, factor: f64) [] -> (f64, i32));
stream!(AroonStream, aroon_lookback, aroon_open: (high, low) (length: i32) [] -> (f64, f64));
stream!(FisherStream, fisher_lookback, fisher_open: (high, low) (length: i32) [] -> (f64, f64));
