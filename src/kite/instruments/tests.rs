//! Hand-made rows, the recorded dumps when the shared folder is there, and an address served by this process.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::source::{self, Reason};
use super::*;

/// The header in another order than Kite's, with a column that means nothing to us.
const HEADER: &str = "exchange,Remark,tradingsymbol,instrument_token,name,expiry,strike,tick_size,lot_size,\
                      instrument_type,segment,exchange_token";

const DUMP: &str = "NSE,x,INFY,408065,INFOSYS,,0.0,0.05,1,EQ,NSE,1594
BSE,x,INFY,128053508,INFOSYS LTD.,,0,0.05,1,EQ,BSE,500209
BSE,x,ONLYBSE,128000004,\"Only, on \"\"BSE\"\"\",,0,0.05,1,EQ,BSE,500000
NFO,x,NIFTY24APR22500CE,10000002,NIFTY,25-04-2024,22500,0.05,50.0,CE,NFO-OPT,39062
NFO,x,FINNIFTY24APR22500CE,10000770,FINNIFTY,2024-04-24,22500,0.05,50,CE,NFO-OPT,39065
NFO,x,NIFTY24MAY22500CE,10000258,NIFTY,2024-05-30,22500,0.05,50,CE,NFO-OPT,39063
NFO,x,NIFTY24APRFUT,10000514,NIFTY,2024-04-25,0,0.05,50,FUT,NFO-FUT,39064
NSE,x,NIFTYBEES,2707457,NIPPON INDIA ETF NIFTY BEES,,0,0.01,1,EQ,NSE,10576
NSE,x,FOOBAR,257,FOO BAR,,0,0.05,1,EQ,NSE,
";

fn dump(rows: &str) -> Instruments {
    Instruments::from_dump(format!("{HEADER}\n{rows}").as_bytes()).unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn symbols<'a>(found: impl IntoIterator<Item = &'a Instrument>) -> Vec<&'a str> {
    found.into_iter().map(|instrument| &*instrument.symbol).collect()
}

#[test]
fn columns_are_found_by_name_and_dates_turned_round() {
    let table = dump(DUMP);
    assert_eq!(table.skipped(), &Skipped::default());
    let option = table.by_token(10000002).unwrap();
    assert_eq!((&*option.symbol, &*option.expiry, option.strike), ("NIFTY24APR22500CE", "2024-04-25", 22500.0));
    assert_eq!((option.lot_size, option.tick_size, option.exchange_token), (50, 0.05, 39062));
    assert_eq!((&*option.instrument_type, &*option.segment, &*option.exchange), ("CE", "NFO-OPT", "NFO"));
    assert_eq!(&*table.by_token(128000004).unwrap().name, "Only, on \"BSE\"");
    assert_eq!(table.by_token(257).unwrap().exchange_token, 1);
    assert!(table.by_token(1).is_none());
    assert_eq!(table.by_symbol("bse", "infy").unwrap().token.0, 128053508);
    assert!(table.by_symbol("MCX", "INFY").is_none());
}

#[test]
fn line_ends_byte_order_marks_and_gzip_make_no_difference() {
    let plain = dump(DUMP);
    let text = format!("\u{feff}{HEADER}\n{DUMP}").replace('\n', "\r\n");
    for bytes in [text.clone().into_bytes(), gzip(&text)] {
        assert!(Instruments::from_dump(&bytes).unwrap().iter().eq(plain.iter()));
    }
}

#[test]
fn odd_rows_are_skipped_counted_and_named() {
    let odd = "NSE,x,A,abc,,,,,,,,\nNSE,x,,512,,,,,,,,\n,x,A,513,,,,,,,,\nNSE,x,A,514,,31/12/2024,,,,,,\n\
               NSE,x,A,515,,,x,,,,,\nNSE,x,A,0,,,,,,,,\nNSE,x,B,257,,,,,,,,\nNSE\nNSE,x,A,516,,2024-13-01,,,,,,\n";
    let table = dump(&format!("{DUMP}{odd}NSE,x,SHORT,770\n"));
    assert_eq!(table.skipped().count, 9);
    assert_eq!(
        table.skipped().first,
        [
            "line 11: instrument_token \"abc\" is not a whole number",
            "line 12: no tradingsymbol",
            "line 13: no exchange",
            "line 14: expiry \"31/12/2024\" is not a date",
            "line 15: strike \"x\" is not a number",
        ]
    );
    assert_eq!(&*table.by_token(257).unwrap().symbol, "FOOBAR");
    assert_eq!(&*table.by_token(770).unwrap().symbol, "SHORT");
}

#[test]
fn what_is_not_a_dump_is_refused_by_name() {
    let error = |bytes: &[u8]| Instruments::from_dump(bytes).unwrap_err().to_string();
    assert_eq!(
        error(b"tradingsymbol,amc\nA,B\n"),
        "not an instrument dump: no column instrument_token, exchange; the file has tradingsymbol, amc"
    );
    assert!(error(b"").contains("no column instrument_token, tradingsymbol, exchange"));
    assert!(error(b"<html>\x00<body>").contains("the file has <html><body>"));
    assert_eq!(error(HEADER.as_bytes()), "no usable row (0 skipped)");
    assert_eq!(error(format!("{HEADER}\nx\n").as_bytes()), "no usable row (1 skipped)");
    let packed = gzip(DUMP);
    assert!(error(&packed[..packed.len() / 2]).starts_with("broken gzip: "));
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    (0..65).for_each(|_| bomb.write_all(&zeros).unwrap());
    assert_eq!(error(&bomb.finish().unwrap()), "larger than 64 MiB");
}

#[test]
fn well_known_indices_are_there_unless_the_dump_has_its_own() {
    let table = dump(DUMP);
    for (token, symbol, exchange) in [(256265, "NIFTY 50", "NSE"), (265, "SENSEX", "BSE"), (259849, "NIFTY IT", "NSE")]
    {
        let index = table.by_token(token).unwrap();
        assert_eq!((&*index.symbol, &*index.exchange, index.is_index()), (symbol, exchange, true));
    }
    let table = dump("NSE,x,NIFTY 50,256265,own,,0,0,0,EQ,INDICES,1001\nNSE,x,NIFTY IT,521,own,,0,0,0,EQ,INDICES,2\n");
    assert_eq!(&*table.by_token(256265).unwrap().name, "own");
    assert!(table.by_token(259849).is_none());
    assert_eq!(table.len(), 9);
}

#[test]
fn a_text_means_one_instrument() {
    let table = dump(DUMP);
    for (text, token) in [
        ("INFY", 408065),
        (" infy ", 408065),
        ("NSE:INFY", 408065),
        ("bse:infy", 128053508),
        ("ONLYBSE", 128000004),
        ("nifty24apr22500ce", 10000002),
        ("NIFTY 50", 256265),
        ("nse:nifty 50", 256265),
        ("NIFTY50", 256265),
        ("NSE:NIFTY50", 256265),
        ("NIFTY", 256265),
        ("BANKNIFTY", 260105),
        ("Bank Nifty", 260105),
        ("NIFTYBANK", 260105),
        ("FINNIFTY", 257801),
        ("NIFTYNXT50", 270857),
        ("MIDCPNIFTY", 288009),
        ("INDIAVIX", 264969),
        ("SENSEX", 265),
        ("BSE:SENSEX", 265),
        ("NIFTYDIVOPPS50", 257033),
        ("FOO BAR", 257),
    ] {
        assert_eq!(table.resolve(text).map(|instrument| instrument.token.0), Some(token), "{text}");
    }
    for text in ["", ":", "NSE:", "NSE:SENSEX", "NSE:ONLYBSE", "BANKEX", "NOPE"] {
        assert_eq!(table.resolve(text), None, "{text}");
    }
}

#[test]
fn an_exact_symbol_comes_before_an_alias_and_an_index_before_other_exchanges() {
    let rows =
        "MCX,x,NIFTY,778,,,0,0,0,FUT,MCX-FUT,3\nBSE,x,SAME,772,,,0,0,0,EQ,BSE,3\nBSE,x,SAME,777,,,0,0,0,EQ,INDICES,3\n";
    let table = dump(rows);
    assert_eq!(table.resolve("NIFTY").unwrap().token.0, 778);
    assert_eq!(table.resolve("SAME").unwrap().token.0, 777);
    let table = dump(&format!("{rows}NSE,x,SAME,769,,,0,0,0,EQ,NSE,3\n"));
    assert_eq!(table.resolve("same").unwrap().token.0, 769);
}

#[test]
fn a_search_ranks_its_answers() {
    let table = dump(DUMP);
    assert_eq!(symbols(table.search("infy", None, 10)), ["INFY", "INFY"]);
    assert_eq!(symbols(table.search("INFY", Some("bse"), 10)), ["INFY"]);
    // Symbols that begin so (indices, shares, futures, options by expiry), words of names, anything.
    assert_eq!(
        symbols(table.search("nifty", None, 20)),
        [
            "NIFTY 50",
            "NIFTY IT",
            "NIFTY BANK",
            "NIFTY NEXT 50",
            "NIFTY MID SELECT",
            "NIFTY DIV OPPS 50",
            "NIFTY FIN SERVICE",
            "NIFTYBEES",
            "NIFTY24APRFUT",
            "NIFTY24APR22500CE",
            "NIFTY24MAY22500CE",
            "FINNIFTY24APR22500CE"
        ]
    );
    assert_eq!(symbols(table.search("nifty", None, 2)), ["NIFTY 50", "NIFTY IT"]);
    assert_eq!(symbols(table.search("bees", None, 10)), ["NIFTYBEES"]);
    assert_eq!(symbols(table.search("ndia", None, 10)), ["INDIA VIX", "NIFTYBEES"]);
    assert_eq!(
        symbols(table.search("nifty 22500 ce", None, 10)),
        ["NIFTY24APR22500CE", "NIFTY24MAY22500CE", "FINNIFTY24APR22500CE"]
    );
    assert_eq!(symbols(table.search("  nifty   50 ", None, 1)), ["NIFTY 50"]);
    for (query, limit) in [("", 10), (" \t", 10), ("zzz", 10), ("infy", 0)] {
        assert!(table.search(query, None, limit).is_empty(), "{query:?}");
    }
    assert!(Instruments::default().search("A", None, 1).is_empty());
}

#[test]
fn letters_beyond_ascii_do_no_harm() {
    let table =
        Instruments::from_rows([Row {
            token: 1, symbol: "É\u{1F600}x", name: "ßa", exchange: "X", ..Row::default()
        }]);
    assert_eq!(symbols(table.search("\u{1F600}X", None, 1)).len(), 1);
    assert_eq!(symbols(table.search("a", None, 1)).len(), 1);
    assert!(table.resolve("x:É\u{1F600}X").is_some());
}

#[test]
fn rows_of_the_program_stay_as_they_are() {
    let row = Row { token: 7, symbol: "DEMO", exchange: "NSE", ..Row::default() };
    let table = Instruments::from_rows([row, Row { symbol: "OTHER", ..row }]);
    assert_eq!(symbols(table.iter()), ["DEMO"]);
    assert!(table.resolve("NIFTY50").is_none());
}

/// Serves one answer to one request at a free port, and says where.
fn serve(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/dump.csv?api_key=hunter2", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&answer).unwrap();
    });
    address
}

/// An answer with a status, further headers and a body.
fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn an_address_gives_a_table() {
    let text = format!("{HEADER}\n{DUMP}");
    for answer in [
        answer("200 OK", "", text.as_bytes()),
        answer("200 OK", "", &gzip(&text)),
        answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(&text)),
    ] {
        assert_eq!(load(&serve(answer)).unwrap().len(), 18);
    }
}

#[test]
fn a_failed_download_is_named_without_its_query() {
    let text = "not a dump";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_vec();
    for (answer, reason) in [
        (answer("403 Forbidden", "", b""), "the server answers 403 Forbidden"),
        (answer("200 OK", "", text.as_bytes()), "no column instrument_token"),
        (cut, "error"),
        (b"nonsense\r\n\r\n".to_vec(), "error sending request: "),
    ] {
        let error = load(&serve(answer)).unwrap_err().to_string();
        assert!(error.starts_with("instruments from http://127.0.0.1:") && error.contains(reason), "{error}");
        assert!(error.contains("/dump.csv: ") && !error.contains("hunter2"), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/?hunter2", listener.local_addr().unwrap());
    let client = source::client(Duration::from_millis(100)).unwrap();
    let error = source::fetch(&client, &silent).unwrap_err();
    assert!(matches!(&error, Reason::Http(text) if text.contains("timed out") && !text.contains("hunter2")), "{error}");
}

#[test]
fn what_is_shown_of_a_source() {
    for (source, shown) in [
        ("data/dump.csv?x", "data/dump.csv?x"),
        ("https://me:pw@host:1/a/b?key=1#c", "https://host:1/a/b"),
        ("https://host/@a", "https://host/@a"),
        ("http://me:p/w@host/", "http://…"),
    ] {
        assert_eq!(without_secrets(source), shown);
    }
    let error = load("/nowhere/dump.csv").unwrap_err().to_string();
    assert!(error.starts_with("instruments from /nowhere/dump.csv: "), "{error}");
}

/// A file of the shared folder, or `None`, told, when it is not there.
fn shared(name: &str) -> Option<String> {
    let folder = std::env::var_os("TICKFAN_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let path = folder.join("data/instruments").join(name);
    if !path.exists() {
        println!("skipped: no {}", path.display());
        return None;
    }
    path.to_str().map(str::to_owned)
}

#[test]
fn zerodha_s_mock_dumps() {
    for (name, rows) in [("mock_instruments_all.csv", 99), ("mock_instruments_nse.csv", 99)] {
        let Some(path) = shared(name) else { return };
        let table = load(&path).unwrap();
        assert_eq!((table.iter().filter(|row| !row.is_index()).count(), table.skipped().count), (rows, 0), "{name}");
    }
    let Some(path) = shared("mock_mf_instruments.csv") else { return };
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("no column instrument_token, exchange"), "{error}");
}

#[test]
fn a_real_dump() {
    let Some(path) = shared("nse-bse-nfo-2024-04.csv.gz") else { return };
    let start = Instant::now();
    let table = load(&path).unwrap();
    println!("loaded {} instruments in {:?}", table.len(), start.elapsed());
    assert_eq!((table.len(), table.skipped().count), (31_373 + 9, 0));
    assert_eq!(&*table.by_symbol("NFO", "AARTIIND24APRFUT").unwrap().expiry, "2024-04-25");
    assert_eq!(table.resolve("INFY").unwrap().token.0, 408065);
    assert_eq!(table.resolve("MIDCPNIFTY").unwrap().token.0, 288009);
    for instrument in table.iter() {
        assert!(std::ptr::eq(table.by_token(instrument.token.0).unwrap(), instrument));
        assert!(std::ptr::eq(table.by_symbol(&instrument.exchange, &instrument.symbol).unwrap(), instrument));
    }
    for query in ["n", "e", "2", "nifty", "reliance", "nifty 22500 ce", "zzzz"] {
        let start = Instant::now();
        let found = table.search(query, None, 20);
        println!(
            "search {query:?}: {} found in {:?}: {:?}",
            found.len(),
            start.elapsed(),
            symbols(found.into_iter().take(5))
        );
    }
    let start = Instant::now();
    (0..1000).for_each(|_| assert!(std::hint::black_box(&table).resolve("NIFTYDIVOPPS50").is_some()));
    println!("resolve, its last resort: {:?}", start.elapsed() / 1000);
}
