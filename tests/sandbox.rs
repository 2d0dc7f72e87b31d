//! A gateway on the sandbox under each of its faults: no tab is closed, each fault is counted, values never go back,
//! and the service resumes. And the sandbox itself, over real sockets.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use support::client::{get, request};
use support::eventually_true;
use support::sandbox::{Stage, Stand};
use support::ticks::RELIANCE;
use tickfan::feed::kite::KiteState;
use tickfan::kite::instruments;
use tickfan::kite::packet::{decode, packets};
use tickfan::sandbox::{Fault, Malformed, Scenario};
use tickfan::secret::Secret;
use tokio_tungstenite::tungstenite::client::client;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

#[test]
fn a_dropped_connection_is_opened_again_and_subscribes_as_before() {
    let mut stage = Stage::new();
    let before = stage.stand.observe();
    assert_eq!(stage.stand.inject(Fault::Drop), 1);
    stage.until_reconnects(1);
    stage.resumes();
    let after = stage.stand.observe();
    assert_eq!((after.connections, after.admitted), (before.connections, before.admitted + 1));
}

#[test]
fn a_refused_token_is_told_and_another_one_helps() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::Refuse { status: 403 });
    stage.stand.inject(Fault::Drop);
    stage.until_state(KiteState::TokenRefused);
    stage.stand.heal();
    stage.new_token();
    stage.until_state(KiteState::Live);
    stage.resumes();
    assert_eq!(stage.stand.observe().refused[&403], 1, "one attempt with a token that is refused, and no more");
}

#[test]
fn a_rate_limit_is_waited_out() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::Refuse { status: 429 });
    stage.stand.inject(Fault::Drop);
    stage.until_state(KiteState::RateLimited);
    eventually_true("it tries again", || stage.stand.observe().refused.get(&429) >= Some(&2));
    stage.stand.heal();
    stage.until_state(KiteState::Live);
    stage.resumes();
}

#[test]
fn a_silent_connection_is_given_up() {
    let mut stage = Stage::new();
    assert_eq!(stage.stand.inject(Fault::Silence), 1);
    stage.until_reconnects(1);
    stage.stand.heal();
    stage.resumes();
    assert_eq!(stage.stand.observe().injected["silence"], 1);
}

#[test]
fn ticks_are_a_sign_of_life_when_heartbeats_stop() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::NoHeartbeat);
    // What was on its way when the fault came, heartbeats among it.
    let sent = stage.stand.observe().packets;
    eventually_true("what was on its way has come", || stage.counter("ticks") >= sent);
    let heartbeats = stage.counter("heartbeats");
    stage.until_ticks(1_500);
    assert_eq!((stage.counter("heartbeats"), stage.status.snapshot().reconnects), (heartbeats, 0));
    stage.stand.heal();
    eventually_true("heartbeats come again", || stage.counter("heartbeats") > heartbeats);
}

#[test]
fn malformed_messages_are_counted_and_cost_nothing_else() {
    let mut stage = Stage::new();
    let cases = [
        (Malformed::WrongCount, "malformed_messages"),
        (Malformed::CutPacket, "unknown_packets"),
        (Malformed::OddLength, "unknown_packets"),
        (Malformed::Empty, "heartbeats"),
    ];
    for (how, counter) in cases {
        let before = stage.counter(counter);
        assert_eq!(stage.stand.inject(Fault::Malformed(how)), 1);
        eventually_true(&format!("{how:?} is counted"), || stage.counter(counter) > before);
        stage.resumes();
    }
    let texts = stage.status.snapshot().texts;
    stage.stand.inject(Fault::Malformed(Malformed::NotJson));
    eventually_true("the text is counted", || stage.status.snapshot().texts > texts);
    stage.resumes();
    assert_eq!(stage.status.snapshot().reconnects, 0);
}

#[test]
fn a_trickle_does_not_end_the_connection_and_what_comes_after_it_is_in_order() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::Trickle { bytes_per_second: 2_000 });
    stage.until_ticks(10);
    stage.stand.heal();
    stage.resumes();
    stage.until_ticks(500);
    assert_eq!(stage.status.snapshot().reconnects, 0);
}

#[test]
fn duplicates_do_no_harm() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::Duplicate);
    stage.until_ticks(500);
    stage.stand.heal();
    stage.resumes();
    assert_eq!(stage.status.snapshot().reconnects, 0);
}

#[test]
fn late_packets_close_nothing_and_the_newest_value_arrives_in_the_end() {
    let mut stage = Stage::new();
    stage.stand.inject(Fault::Late);
    for _ in 0..500 {
        stage.any_tick();
    }
    stage.stand.heal();
    stage.resumes();
    assert_eq!(stage.status.snapshot().reconnects, 0);
}

#[test]
fn a_new_day_goes_through() {
    let mut stage = Stage::new();
    let date = |tick: &Value| tick["exchange_timestamp"].as_u64().unwrap() / 86_400;
    let before = date(&stage.tick());
    stage.stand.inject(Fault::DayRollover);
    let first = loop {
        let tick = stage.any_tick();
        if date(&tick) > before {
            break tick;
        }
    };
    assert_eq!(date(&first), before + 1);
    stage.volumes.clear();
    // The other share may still have a value of the day before on its way.
    loop {
        let tick = stage.any_tick();
        if tick["token"] != first["token"] && date(&tick) == before + 1 {
            break;
        }
    }
    stage.until_ticks(200);
    assert_eq!(stage.status.snapshot().reconnects, 0);
}

#[test]
fn orders_are_counted_and_reach_no_tab() {
    let mut stage = Stage::new();
    let texts = stage.status.snapshot().texts;
    let text = r#"{"type":"order","data":{"order_id":"1"}}"#;
    stage.stand.inject(Fault::Order { text: text.to_owned() });
    eventually_true("the order is counted", || stage.status.snapshot().texts > texts);
    // `tick` takes nothing but ticks.
    stage.resumes();
}

#[test]
fn a_scenario_drives_the_gateway() {
    let scenario = "[[event]]\nat = 0\nevery = \"100ms\"\nrepeat = 3\nfault = \"malformed\"\nkind = \"not-json\"";
    let stand = Stand::new(|settings| settings.scenario = Scenario::parse(scenario).unwrap());
    eventually_true("all three", || stand.observe().injected.get("malformed") == Some(&3));
}

// ---- the sandbox itself ------------------------------------------------------------------------------------------------

/// A client of Kite's, as far as it goes; the status when the handshake is refused.
fn kite_client(stand: &Stand, query: &str) -> Result<WebSocket<TcpStream>, u16> {
    let tcp = TcpStream::connect(stand.sandbox.address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match client(format!("{}{query}", stand.sandbox.root()), tcp) {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::HandshakeError::Failure(Error::Http(answer))) => {
            assert_eq!(answer.headers()["connection"], "close");
            Err(answer.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn handshakes_are_answered_as_kite_does() {
    let stand = Stand::new(|settings| {
        settings.api_key = Some(Secret::new("k"));
        settings.access_token = Some(Secret::new("t+t"));
    });
    let good = "?access_token=t+t&uid=1&api_key=k";
    let sockets: Vec<_> = (0..3).map(|_| kite_client(&stand, good).unwrap()).collect();
    assert_eq!(kite_client(&stand, good).unwrap_err(), 429);
    assert_eq!(kite_client(&stand, "?api_key=k&access_token=old").unwrap_err(), 403);
    assert_eq!(kite_client(&stand, "?api_key=&access_token=").unwrap_err(), 400);
    drop(sockets);
    eventually_true("their places are free", || stand.observe().connections.is_empty());
    assert!(kite_client(&stand, "kite?api_key=k&access_token=t%2Bt").is_ok());
    let refused = stand.observe().refused;
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [(400, 1), (403, 1), (429, 1)]);
    assert_eq!(get(stand.sandbox.address, "/").status, 400);
}

/// The next message that is no heartbeat.
fn read(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        let message = socket.read().unwrap();
        if message.len() != 1 {
            return message;
        }
    }
}

#[test]
fn a_client_is_greeted_and_gets_quote_first() {
    let stand = Stand::new(|_| {});
    let mut socket = kite_client(&stand, "?api_key=k&access_token=t").unwrap();
    socket.send(Message::text(format!(r#"{{"a": "subscribe", "v": [{RELIANCE}]}}"#))).unwrap();
    let greeting: Value = serde_json::from_str(read(&mut socket).to_text().unwrap()).unwrap();
    assert_eq!(greeting["type"], "instruments_meta");
    let lengths = |message: Message| packets(&message.into_data()).unwrap().map(<[u8]>::len).collect::<Vec<_>>();
    assert_eq!(lengths(read(&mut socket)), [44]);
    socket.send(Message::text(format!(r#"{{"a":"mode","v":["full",[{RELIANCE}]]}}"#))).unwrap();
    let full = loop {
        let message = read(&mut socket);
        if lengths(message.clone()) == [184] {
            break message;
        }
    };
    let tick = packets(&full.into_data()).unwrap().map(decode).next().unwrap().unwrap();
    assert_eq!(tick.token.0, RELIANCE);
}

#[test]
fn the_instrument_list_is_one_that_the_gateway_takes() {
    let stand = Stand::new(|settings| settings.market.instruments = 500);
    let address = stand.sandbox.address;
    let list = instruments::load(&format!("http://{address}/instruments")).unwrap();
    assert_eq!(list.resolve("NSE:RELIANCE").unwrap().token.0, RELIANCE);
    assert!(list.len() >= 500);
    let bse = get(address, "/instruments/BSE");
    assert!(bse.body.lines().skip(1).all(|line| line.trim_end().ends_with(",BSE")) && bse.body.lines().count() > 2);
}

#[test]
fn a_session_is_given_to_whoever_asks() {
    let stand = Stand::new(|_| {});
    let session = |body: &str| {
        let head = "POST /session/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        request(stand.sandbox.address, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let answer = session("api_key=k&request_token=r&checksum=c");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &Value::from("success")));
    let token = answer.json()["data"]["access_token"].as_str().unwrap().to_owned();
    assert!(kite_client(&stand, &format!("?api_key=k&access_token={token}")).is_ok());
    let refused = session("api_key=k");
    assert_eq!((refused.status, &refused.json()["error_type"]), (400, &Value::from("InputException")));
}
