//! The built-in instruments: real tokens, symbols, lots and tick sizes as in Kite's list of April 2024; the base
//! prices are round numbers of that time. All tick sizes are 0.05.

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) token: u32,
    pub(super) symbol: &'static str,
    pub(super) name: &'static str,
    /// Where the walk of the price begins, in paise.
    pub(super) base: i32,
    /// Lot of its derivatives for a share, its own for a future, 0 for an index.
    pub(super) lot: u32,
    /// `yyyy-mm-dd`.
    pub(super) expiry: Option<&'static str>,
}

const fn row(token: u32, symbol: &'static str, name: &'static str, base: i32, lot: u32) -> Row {
    Row { token, symbol, name, base, lot, expiry: None }
}

const fn future(
    token: u32,
    symbol: &'static str,
    name: &'static str,
    base: i32,
    lot: u32,
    expiry: &'static str,
) -> Row {
    Row { token, symbol, name, base, lot, expiry: Some(expiry) }
}

/// Shares on NSE, the busiest first.
#[rustfmt::skip]
pub(super) const NSE: [Row; 50] = [
    row(738_561, "RELIANCE", "RELIANCE INDUSTRIES", 293_000, 250),
    row(341_249, "HDFCBANK", "HDFC BANK", 151_000, 550),
    row(1_270_529, "ICICIBANK", "ICICI BANK", 109_500, 700),
    row(408_065, "INFY", "INFOSYS", 148_000, 400),
    row(2_953_217, "TCS", "TATA CONSULTANCY SERV LT", 395_000, 175),
    row(779_521, "SBIN", "STATE BANK OF INDIA", 76_500, 1_500),
    row(1_510_401, "AXISBANK", "AXIS BANK", 106_000, 625),
    row(884_737, "TATAMOTORS", "TATA MOTORS", 100_500, 1_425),
    row(2_714_625, "BHARTIARTL", "BHARTI AIRTEL", 121_500, 950),
    row(424_961, "ITC", "ITC", 42_800, 1_600),
    row(492_033, "KOTAKBANK", "KOTAK MAHINDRA BANK", 179_000, 400),
    row(2_939_649, "LT", "LARSEN & TOUBRO", 377_000, 300),
    row(81_153, "BAJFINANCE", "BAJAJ FINANCE", 720_000, 125),
    row(895_745, "TATASTEEL", "TATA STEEL", 16_200, 5_500),
    row(6_401, "ADANIENT", "ADANI ENTERPRISES", 320_000, 300),
    row(2_815_745, "MARUTI", "MARUTI SUZUKI INDIA", 1_250_000, 50),
    row(857_857, "SUNPHARMA", "SUN PHARMACEUTICAL IND L", 160_000, 700),
    row(1_850_625, "HCLTECH", "HCL TECHNOLOGIES", 154_000, 700),
    row(2_977_281, "NTPC", "NTPC", 35_500, 3_000),
    row(519_937, "M&M", "MAHINDRA & MAHINDRA", 201_000, 350),
    row(356_865, "HINDUNILVR", "HINDUSTAN UNILEVER", 226_000, 300),
    row(897_537, "TITAN", "TITAN COMPANY", 375_000, 175),
    row(3_861_249, "ADANIPORTS", "ADANI PORT & SEZ", 137_000, 800),
    row(969_473, "WIPRO", "WIPRO", 48_000, 1_500),
    row(633_601, "ONGC", "OIL AND NATURAL GAS CORP", 27_000, 3_850),
    row(5_215_745, "COALINDIA", "COAL INDIA", 44_000, 2_100),
    row(3_834_113, "POWERGRID", "POWER GRID CORP", 27_800, 3_600),
    row(348_929, "HINDALCO", "HINDALCO INDUSTRIES", 59_000, 1_400),
    row(3_001_089, "JSWSTEEL", "JSW STEEL", 86_000, 675),
    row(1_346_049, "INDUSINDBK", "INDUSIND BANK", 154_000, 500),
    row(2_952_193, "ULTRACEMCO", "ULTRATECH CEMENT", 980_000, 100),
    row(60_417, "ASIANPAINT", "ASIAN PAINTS", 288_000, 200),
    row(4_268_801, "BAJAJFINSV", "BAJAJ FINSERV", 168_000, 500),
    row(784_129, "VEDL", "VEDANTA", 32_000, 2_300),
    row(3_771_393, "DLF", "DLF", 89_000, 1_650),
    row(3_465_729, "TECHM", "TECH MAHINDRA", 126_000, 600),
    row(4_267_265, "BAJAJ-AUTO", "BAJAJ AUTO", 905_000, 125),
    row(232_961, "EICHERMOT", "EICHER MOTORS", 400_000, 175),
    row(177_665, "CIPLA", "CIPLA", 144_000, 650),
    row(225_537, "DRREDDY", "DR. REDDY S LABORATORIES", 615_000, 125),
    row(315_393, "GRASIM", "GRASIM INDUSTRIES", 227_000, 477),
    row(134_657, "BPCL", "BHARAT PETROLEUM CORP LT", 60_000, 1_800),
    row(40_193, "APOLLOHOSP", "APOLLO HOSPITALS ENTER. L", 635_000, 125),
    row(345_089, "HEROMOTOCO", "HERO MOTOCORP", 455_000, 300),
    row(878_593, "TATACONSUM", "TATA CONSUMER PRODUCT", 112_000, 900),
    row(4_598_529, "NESTLEIND", "NESTLE INDIA", 256_000, 400),
    row(140_033, "BRITANNIA", "BRITANNIA INDUSTRIES", 483_000, 200),
    row(2_800_641, "DIVISLAB", "DIVI S LABORATORIES", 378_000, 200),
    row(5_582_849, "SBILIFE", "SBI LIFE INSURANCE CO", 150_000, 750),
    row(119_553, "HDFCLIFE", "HDFC LIFE INS CO", 63_000, 1_100),
];

/// Shares on BSE, which is quieter.
#[rustfmt::skip]
pub(super) const BSE: [Row; 6] = [
    row(128_083_204, "RELIANCE", "RELIANCE INDUSTRIES", 293_000, 1),
    row(128_046_084, "HDFCBANK", "HDFC BANK", 151_000, 1),
    row(128_053_508, "INFY", "INFOSYS", 148_000, 1),
    row(136_330_244, "TCS", "TATA CONSULTANCY SERVICES", 395_000, 1),
    row(128_028_676, "SBIN", "STATE BANK OF INDIA", 76_500, 1),
    row(128_145_924, "TATAMOTORS", "TATA MOTORS", 100_500, 1),
];

/// Futures on NFO.
#[rustfmt::skip]
pub(super) const FUTURES: [Row; 13] = [
    future(13_368_834, "NIFTY24APRFUT", "NIFTY", 2_259_000, 50, "2024-04-25"),
    future(13_368_322, "BANKNIFTY24APRFUT", "BANKNIFTY", 4_819_200, 15, "2024-04-24"),
    future(17_175_810, "RELIANCE24APRFUT", "RELIANCE", 294_170, 250, "2024-04-25"),
    future(15_083_010, "HDFCBANK24APRFUT", "HDFCBANK", 151_605, 550, "2024-04-25"),
    future(15_084_802, "ICICIBANK24APRFUT", "ICICIBANK", 109_940, 700, "2024-04-25"),
    future(17_176_834, "SBIN24APRFUT", "SBIN", 76_805, 1_500, "2024-04-25"),
    future(15_089_922, "INFY24APRFUT", "INFY", 148_590, 400, "2024-04-25"),
    future(17_179_650, "TATAMOTORS24APRFUT", "TATAMOTORS", 100_900, 1_425, "2024-04-25"),
    future(8_973_058, "FINNIFTY24APRFUT", "FINNIFTY", 2_138_520, 40, "2024-04-30"),
    future(12_014_082, "NIFTY24MAYFUT", "NIFTY", 2_272_500, 50, "2024-05-30"),
    future(17_180_418, "TCS24APRFUT", "TCS", 396_580, 175, "2024-04-25"),
    future(13_385_474, "AXISBANK24APRFUT", "AXISBANK", 106_425, 625, "2024-04-25"),
    future(12_012_290, "BANKNIFTY24MAYFUT", "BANKNIFTY", 4_848_000, 15, "2024-05-29"),
];

/// Indices; SENSEX is of BSE, the others are of NSE.
#[rustfmt::skip]
pub(super) const INDICES: [Row; 9] = [
    row(256_265, "NIFTY 50", "NIFTY 50", 2_250_000, 0),
    row(260_105, "NIFTY BANK", "NIFTY BANK", 4_800_000, 0),
    row(257_801, "NIFTY FIN SERVICE", "NIFTY FIN SERVICE", 2_130_000, 0),
    row(264_969, "INDIA VIX", "INDIA VIX", 1_250, 0),
    row(265, "SENSEX", "SENSEX", 7_420_000, 0),
    row(259_849, "NIFTY IT", "NIFTY IT", 3_500_000, 0),
    row(270_857, "NIFTY NEXT 50", "NIFTY NEXT 50", 6_200_000, 0),
    row(256_777, "NIFTY MIDCAP 100", "NIFTY MIDCAP 100", 4_950_000, 0),
    row(257_033, "NIFTY DIV OPPS 50", "NIFTY DIV OPPS 50", 560_000, 0),
];

/// Indices that have options, by the name their contracts bear: base in paise and lot.
#[rustfmt::skip]
pub(super) const INDEX_UNDERLYINGS: [(&str, i32, u32); 3] =
    [("NIFTY", 2_250_000, 50), ("BANKNIFTY", 4_800_000, 15), ("FINNIFTY", 2_130_000, 40)];
