//! What is served beside the stream, and what is refused at the door.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, HANDSHAKE, Raw, client_frame, get, request};
use support::gateway::{Running, settings, start};
use support::script::Script;
use support::ticks::{INFY, RELIANCE, full};
use support::{eventually, eventually_true};
use tickfan::gateway::Settings;
use tokio_tungstenite::tungstenite::Message;

fn scripted() -> (Running, Script) {
    let script = Script::default();
    (start(settings(), script.source(&[])), script)
}

#[track_caller]
fn assert_now(gateway: &Running, time: &Value) {
    let now = gateway.app.context.clock.unix_seconds();
    let time = time.as_f64().unwrap_or_else(|| panic!("{time} is no time"));
    assert!((now - 20.0..=now + 0.1).contains(&time), "{time} is not now, {now}");
}

#[test]
fn health_tells_that_it_lives() {
    let (gateway, _script) = scripted();
    let answer = get(gateway.address, "/health");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let health = answer.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["feed"], json!({"name": "script", "state": "live"}));
    assert_now(&gateway, &health["timestamp"]);
}

#[test]
fn stream_health_counts_tokens_and_their_subscribers() {
    let (gateway, _script) = scripted();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.subscribe(&[INFY, RELIANCE], json!({}));
    two.subscribe(&[INFY], json!({}));
    let health = get(gateway.address, "/ws/health").json();
    assert_eq!(health["status"], "healthy");
    assert_now(&gateway, &health["timestamp"]);
    let expected = json!({"total_clients": 2, "connected_clients": 2, "total_tokens": 2,
        "subscribed_tokens": ["408065", "738561"], "token_subscribers": {"408065": 2, "738561": 1}});
    assert_eq!(health["websocket_stats"], expected);
}

#[test]
fn connections_are_listed_with_what_they_asked_for() {
    let (gateway, script) = scripted();
    let nobody = get(gateway.address, "/ws/connections").json();
    assert_eq!((&nobody["connections"], &nobody["total"]), (&json!([]), &json!(0)));
    let mut tab = gateway.client();
    let asked = json!({"timeframes": ["5min"], "throttle_ms": 1, "batch": true, "batch_size": 1, "format": "msgpack"});
    tab.subscribe(&[RELIANCE, INFY], asked);
    script.push(&[full(INFY, 1)]);
    tab.next();
    let listed = get(gateway.address, "/ws/connections").json();
    assert_eq!(listed["total"], 1);
    assert_now(&gateway, &listed["timestamp"]);
    let connection = &listed["connections"][0];
    assert_eq!(connection["connected"], true);
    assert_now(&gateway, &connection["last_heartbeat"]);
    assert!(connection["heartbeat_age"].as_f64().unwrap() >= 0.0);
    let filter = json!({"tokens": ["408065", "738561"], "timeframes": ["5min"], "all": false, "throttle_ms": 1,
        "batch": true, "batch_size": 1, "format": "msgpack", "mode": "quote"});
    assert_eq!(connection["filter"], filter);
    assert_eq!((&connection["queue_depth"], &connection["conflated"]), (&json!(0), &json!(0)));
    assert!(connection["bytes_sent"].as_u64().unwrap() > 0, "{connection}");
    assert_eq!(connection["user"].as_str().unwrap().len(), 36, "a fresh UUID: {connection}");
    tab.ask(&json!({"action": "set_all"}));
    let all = get(gateway.address, "/ws/connections").json();
    assert_eq!(all["connections"][0]["filter"]["all"], true);
}

#[test]
fn the_state_of_upstream_is_shown() {
    let (gateway, script) = scripted();
    script.push_bytes(vec![0]);
    eventually_true("the heartbeat is counted", || {
        let upstream = get(gateway.address, "/ws/test").json();
        upstream["feed"]["name"] == "script" && upstream["counters"]["heartbeats"] == 1
    });
}

#[test]
fn symbols_and_tokens_are_mapped_both_ways() {
    let (gateway, _script) = scripted();
    let ask = |path: &str| get(gateway.address, path);
    let found = ask("/mapping/symbol-to-token?symbol=RELIANCE&exchange=NSE").json();
    assert_eq!((&found["token"], &found["instrument_token"]), (&json!(738_561), &json!(738_561)));
    assert_eq!((&found["symbol"], &found["exchange"]), (&json!("RELIANCE"), &json!("NSE")));
    assert_eq!(ask("/mapping/symbol-to-token?symbol=infy").json()["token"], 408_065);
    assert_eq!(ask("/mapping/symbol-to-token?symbol=NIFTY%2050").json()["token"], 256_265);
    assert_eq!(ask("/mapping/token-to-symbol?token=738561").json()["symbol"], "RELIANCE");
    let refused = [
        ("/mapping/symbol-to-token", 400),
        ("/mapping/symbol-to-token?symbol=", 400),
        ("/mapping/symbol-to-token?symbol=NOPE", 404),
        ("/mapping/symbol-to-token?symbol=RELIANCE&exchange=MCX", 404),
        ("/mapping/token-to-symbol", 400),
        ("/mapping/token-to-symbol?token=x", 400),
        ("/mapping/token-to-symbol?token=4294967296", 400),
        ("/mapping/token-to-symbol?token=1", 404),
    ];
    for (path, status) in refused {
        let answer = ask(path);
        assert_eq!(answer.status, status, "{path}");
        let field = path.split('/').nth(2).unwrap().split('-').next().unwrap();
        assert!(answer.json()["error"].as_str().unwrap().starts_with(field), "{path}: {}", answer.body);
    }
}

#[test]
fn instruments_are_searched() {
    let (gateway, _script) = scripted();
    let found = get(gateway.address, "/instruments/search?q=relia&limit=1").json();
    assert_eq!(found["instruments"][0]["tradingsymbol"], "RELIANCE");
    assert_eq!(found["instruments"].as_array().unwrap().len(), 1);
    assert!(found["total"].as_u64().unwrap() > 50);
    let elsewhere = get(gateway.address, "/instruments/search?q=relia&exchange=MCX").json();
    assert_eq!(elsewhere["instruments"], json!([]));
    let first = get(gateway.address, "/instruments/search?limit=3").json();
    assert_eq!(first["instruments"].as_array().unwrap().len(), 3);
    assert_eq!(get(gateway.address, "/instruments/search?q=x&limit=many").status, 400);
}

#[test]
fn the_market_status_follows_the_clock() {
    let (gateway, _script) = scripted();
    let status = get(gateway.address, "/market/status").json();
    let states = ["closed", "pre-open", "open", "closing", "post-close"];
    assert!(states.contains(&status["status"].as_str().unwrap()), "{status}");
    assert_eq!(status["is_open"], status["status"] == "open");
    assert_now(&gateway, &status["timestamp"]);
}

#[test]
fn authentication_is_off_and_says_so() {
    let (gateway, _script) = scripted();
    let issued = request(gateway.address, "POST /auth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for answer in [issued, get(gateway.address, "/auth/verify?token=x")] {
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("authentication"), "{answer:?}");
    }
}

#[test]
fn the_page_may_load_nothing_but_itself() {
    let (gateway, _script) = scripted();
    let page = get(gateway.address, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.body.contains("/ws/stream"));
    assert_eq!(get(gateway.address, "/favicon.ico/../nothing").status, 404);
}

#[test]
fn metrics_are_prometheus_text() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    script.push(&[full(INFY, 1)]);
    tab.next();
    let answer = get(gateway.address, "/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = Vec::new();
    let mut samples: BTreeMap<&str, f64> = BTreeMap::new();
    for line in answer.body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty() && !helped.contains(&name), "{line}");
            helped.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind) && types.insert(name, kind).is_none(), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let family = parts.filter(|family| types.get(family) == Some(&"histogram")).unwrap_or(name);
            assert!(types.contains_key(family) && helped.contains(&family), "{line}");
            assert!(name.starts_with("tickfan_"), "{line}");
            if types[family] == "counter" {
                assert!(name.ends_with("_total"), "{line}");
            }
            assert!(samples.insert(series, value.parse().unwrap()).is_none(), "{line} stands twice");
        }
    }
    assert_eq!(samples["tickfan_feed_ticks_total"], 1.0);
    assert_eq!((samples["tickfan_writer_tabs"], samples["tickfan_sessions"]), (1.0, 1.0));
    assert_eq!(samples["tickfan_writer_delivered_total"], 1.0);
    assert!(samples.contains_key("tickfan_stop_seconds_bucket{stop=\"total\",le=\"+Inf\"}"));
}

#[test]
fn latencies_are_there_after_ticks() {
    let (gateway, script) = scripted();
    let mut tab = gateway.client();
    tab.subscribe(&[INFY], json!({}));
    let report = eventually("latencies were collected", || {
        // Histograms change hands once a second, and only by a thread that has something to do.
        for number in 1..=100 {
            script.push(&[full(INFY, number)]);
            tab.next();
        }
        let report = get(gateway.address, "/stats/latency").json();
        (report["since_start"]["total"]["count"].as_u64() > Some(0)).then_some(report)
    });
    assert_eq!(report["unit"], "us");
    for period in ["since_start", "recent"] {
        for stop in ["feed", "packet", "board", "slot", "wire", "ring", "writer", "socket", "total"] {
            let row = &report[period][stop];
            let at = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("no {name} of {stop}: {row}"));
            assert!(at("p50") <= at("p90") && at("p90") <= at("p99") && at("p99") <= at("p99.9"), "{stop}: {row}");
            assert!(at("p50") > 0.0 && at("max") > 0.0, "{stop}: {row}");
        }
    }
    let file = get(gateway.address, "/stats/latency/total.hgrm");
    assert_eq!(file.status, 200);
    let mut lines = file.body.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
    let rows: Vec<Vec<f64>> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect())
        .collect();
    assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{}", file.body);
    assert_eq!(rows.last().unwrap()[1], 1.0);
    assert!(file.body.contains("#[Mean") && file.body.contains("#[Max"));
    let unknown = get(gateway.address, "/stats/latency/nothing.hgrm");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("total.hgrm"), "{}", unknown.body);
}

#[test]
fn what_is_not_there_says_so() {
    let (gateway, _script) = scripted();
    let answer = get(gateway.address, "/nothing");
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("/ws/stream"));
    let posted = request(gateway.address, "POST /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(posted.status, 405);
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let (gateway, _script) = scripted();
    let send = |from: &str, to: &str| {
        let head = HANDSHAKE.replace("Connection: Upgrade", "Connection: Upgrade, close").replace(from, to);
        request(gateway.address, &head)
    };
    let wrong = [
        ("Upgrade: websocket\r\n", "", 400),
        ("Upgrade: websocket", "Upgrade: h2c", 400),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 400),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("GET ", "POST ", 405),
    ];
    for (from, to, status) in wrong {
        let answer = send(from, to);
        assert_eq!(answer.status, status, "{from} {to}: {answer:?}");
    }
    assert_eq!(get(gateway.address, "/ws/stream").status, 400);
    gateway.until_empty();
}

#[test]
fn a_handshake_is_answered_by_the_book() {
    let (gateway, _script) = scripted();
    let mut raw = Raw::connect(gateway.address);
    raw.send(HANDSHAKE.as_bytes());
    let head = raw.head().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "the example of RFC 6455: {head}");
}

#[test]
fn the_first_request_may_come_with_the_handshake() {
    let (gateway, _script) = scripted();
    let early =
        [client_frame(0x81, br#"{"action":"ping"}"#), client_frame(0x81, br#"{"action":"subscribe"}"#)].concat();
    let mut raw = Raw::stream(gateway.address, &early);
    let types: Vec<Value> = (0..2)
        .map(|_| raw.frame())
        .map(|(first, body)| (first, serde_json::from_slice::<Value>(&body).unwrap()))
        .map(|(first, reply)| if first == 0x81 { reply["type"].clone() } else { panic!("{first:#x}") })
        .collect();
    assert_eq!(types, [json!("pong"), json!("subscribed")]);
}

#[test]
fn no_more_connections_than_allowed_and_a_place_is_free_again() {
    let script = Script::default();
    let gateway = start(Settings { max_connections: 2, ..settings() }, script.source(&[]));
    let (first, second) = (gateway.client(), gateway.client());
    let refused = request(gateway.address, &HANDSHAKE.replace("Connection: Upgrade", "Connection: Upgrade, close"));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("max_connections"), "{refused:?}");
    // Pages are still served.
    eventually_true("both count", || get(gateway.address, "/health").json()["connections"] == 2);
    first.close();
    let tab = eventually("a place is free after a close", || Client::try_connect(gateway.address));
    second.vanish();
    let other = eventually("a place is free after a reset", || Client::try_connect(gateway.address));
    drop((tab, other));
    gateway.until_empty();
    let (mut third, mut fourth) = (gateway.client(), gateway.client());
    third.expect_silence();
    fourth.expect_silence();
}

#[test]
fn a_half_sent_head_is_not_waited_for() {
    let (gateway, _script) = scripted();
    let began = Instant::now();
    let mut raw = Raw::connect(gateway.address);
    raw.send(b"GET /health HTTP/1.1\r\nHost: loc");
    raw.rest();
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(2_900), "it was given {waited:?} only");
    assert!(waited < Duration::from_secs(15), "it was given {waited:?}");
}

#[test]
fn a_head_is_bounded() {
    let (gateway, _script) = scripted();
    let head = |lines: String| format!("GET /health HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n");
    let many: String = (0..100).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(request(gateway.address, &head(many)).status, 431);
    let few: String = (0..50).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(request(gateway.address, &head(few)).status, 200);
    assert_eq!(request(gateway.address, &head(format!("X: {}\r\n", "x".repeat(40_000)))).status, 431);
    assert_eq!(request(gateway.address, "nonsense\r\n\r\n").status, 400);
}

#[test]
fn a_message_over_the_limit_ends_the_connection() {
    let script = Script::default();
    let gateway = start(Settings { max_message: 1_024, ..settings() }, script.source(&[]));
    let mut tab = gateway.client();
    tab.send(Message::text(format!("{:<1024}", r#"{"action":"ping"}"#)));
    assert_eq!(tab.next()["type"], "pong", "the limit itself is allowed");
    tab.send(Message::text("x".repeat(1_025)));
    assert_eq!(tab.until_closed(), (1009, "message too big".to_owned()));
    // In pieces, each below it.
    let mut raw = Raw::stream(gateway.address, &[]);
    raw.send(&client_frame(0x01, &[b'x'; 100]));
    (0..10).for_each(|_| raw.send(&client_frame(0x00, &[b'x'; 100])));
    let (first, body) = raw.frame();
    assert_eq!((first, &body[..2]), (0x88, &1009_u16.to_be_bytes()[..]));
    gateway.until_empty();
}

#[test]
fn fragments_without_end_end_the_connection() {
    let script = Script::default();
    let gateway = start(Settings { max_message: 1_024, ..settings() }, script.source(&[]));
    let mut raw = Raw::stream(gateway.address, &client_frame(0x01, b"{"));
    // Empty continuations: the message never grows, and never ends. What is sent after the end is lost.
    raw.send(&client_frame(0x00, b"").repeat(2_000));
    let (first, body) = raw.frame();
    assert_eq!((first, u16::from_be_bytes([body[0], body[1]])), (0x88, 1008));
    gateway.until_empty();
    // A message in a few pieces is one.
    let mut raw = Raw::stream(gateway.address, &client_frame(0x01, br#"{"action""#));
    raw.send(&client_frame(0x00, b":"));
    raw.send(&client_frame(0x80, br#""ping"}"#));
    assert!(String::from_utf8(raw.frame().1).unwrap().contains("pong"));
}

#[test]
fn who_breaks_the_protocol_is_told_so() {
    let (gateway, _script) = scripted();
    let unmasked = [&[0x81, 17][..], br#"{"action":"ping"}"#].concat();
    let broken = [
        ("not masked", unmasked),
        ("a reserved bit", client_frame(0xc1, b"{}")),
        ("an unknown opcode", client_frame(0x83, b"{}")),
        ("a continuation of nothing", client_frame(0x80, b"{}")),
        ("a ping in pieces", client_frame(0x09, b"")),
    ];
    for (what, bytes) in broken {
        let mut raw = Raw::stream(gateway.address, &[]);
        raw.send(&bytes);
        let (first, body) = raw.frame();
        assert_eq!((first, &body[..2]), (0x88, &1002_u16.to_be_bytes()[..]), "{what}");
        assert_eq!(raw.rest(), b"", "{what}: nothing follows a close");
    }
    gateway.until_empty();
}

#[test]
fn a_ping_of_the_socket_is_answered_with_its_payload() {
    let (gateway, _script) = scripted();
    let mut tab = gateway.client();
    for payload in ["", "are you there?", &"x".repeat(125)] {
        tab.send(Message::Ping(payload.to_owned().into()));
        assert_eq!(tab.next_message(), Message::Pong(payload.to_owned().into()));
    }
    // A pong nobody asked for changes nothing.
    tab.send(Message::Pong("unasked".into()));
    tab.expect_silence();
}

#[test]
fn a_close_is_answered_with_its_code() {
    let (gateway, _script) = scripted();
    let mut raw = Raw::stream(gateway.address, &[]);
    raw.send(&client_frame(0x88, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()));
    let (first, body) = raw.frame();
    assert_eq!((first, &body[..2]), (0x88, &1000_u16.to_be_bytes()[..]));
    assert_eq!(raw.rest(), b"");
    gateway.client().close();
    gateway.until_empty();
}
