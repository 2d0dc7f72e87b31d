//! How clients come in.

use crate::support::client::{Raw, get, request};
use crate::support::eventually_true;
use crate::support::gateway::{settings, start};
use crate::support::kite_bench::logged;
use crate::support::kite_client::{KiteClient, LOGIN};
use crate::support::script::Script;
use crate::support::ticks::INFY;
use crate::{gateway, handshake, until_wanted};
use tickfan::gateway::Settings;
use tickfan::market::Mode;

#[test]
fn clients_are_greeted_at_both_paths_whatever_else_their_query_says() {
    let (_script, gateway) = gateway();
    for target in
        [LOGIN, "/?uid=1795365179848&access_token=a+b/c%2B&api_key=key", "/kite?api_key=key&access_token=token&x"]
    {
        let mut client = KiteClient::connect_to(gateway.address, target);
        let meta = client.text();
        assert_eq!(meta["type"], "instruments_meta");
        assert!(meta["data"]["count"].as_u64() > Some(10) && meta["data"]["etag"].is_string(), "{meta}");
        let code = client.text();
        assert_eq!(code["type"], "app_code");
        assert!(code["timestamp"].as_str().is_some_and(|time| time.ends_with("+05:30")), "{code}");
    }
    gateway.until_empty();
}

#[test]
fn a_browser_still_gets_the_page() {
    let (_script, gateway) = gateway();
    let page = get(gateway.address, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(get(gateway.address, "/kite?api_key=key&access_token=token").status, 400);
}

#[test]
fn a_refusal_is_plain_http_and_ends_the_connection() {
    let script = Script::default();
    let gateway = start(Settings { max_connections: 1, ..settings() }, script.source(&[]));
    for target in ["/", "/?api_key=key", "/kite?access_token=token"] {
        // It would wait in vain if the server left the connection open.
        let answer = request(gateway.address, &handshake(target));
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{answer:?}");
        assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains("missing")), "{answer:?}");
    }
    let _only = KiteClient::connect(gateway.address);
    let answer = request(gateway.address, &handshake(LOGIN));
    assert_eq!((answer.status, answer.header("connection")), (429, Some("close")), "{answer:?}");
}

#[test]
fn compression_is_declined_and_requests_in_the_segment_of_the_handshake_are_heard() {
    let (script, gateway) = gateway();
    let mut raw = Raw::connect(gateway.address);
    let early = crate::support::client::client_frame(0x81, br#"{"a": "subscribe", "v": [408065]}"#);
    raw.send(&[handshake(LOGIN).as_bytes(), &early].concat());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.to_ascii_lowercase().contains("permessage"), "{head}");
    until_wanted(&script, &[(INFY, Mode::Quote)]);
}

#[test]
fn no_query_ever_reaches_the_log_or_an_operator() {
    let _ = logged();
    let (_script, gateway) = gateway();
    let _client = KiteClient::connect_to(gateway.address, "/?api_key=s3cretkey&access_token=s3crettoken");
    request(gateway.address, &handshake("/?api_key=s3cretkey&access_token="));
    let bad = "GET /kite?api_key=s3cretkey&access_token=s3crettoken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Upgrade: websocket\r\n\r\n";
    assert_eq!(request(gateway.address, bad).status, 400);
    eventually_true("the session is known", || gateway.connections().len() == 1);
    let shown = [
        get(gateway.address, "/ws/connections").body,
        get(gateway.address, "/metrics").body,
        get(gateway.address, "/health").body,
    ];
    assert!(shown[0].contains(r#""format":"kite""#), "{}", shown[0]);
    assert!(shown[1].contains("tickfan_writer_kite_tabs 1"), "{}", shown[1]);
    gateway.stop();
    tracing::info!("the log is heard");
    let log = logged();
    assert!(log.contains("the log is heard"));
    assert!(!log.contains("s3cret") && shown.iter().all(|text| !text.contains("s3cret")), "{log}");
}
