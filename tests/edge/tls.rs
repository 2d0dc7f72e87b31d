//! Row 39: TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tickfan::server::tls::{Tls, TlsFiles};
use tokio_tungstenite::tungstenite::client::client;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::support::client::{HANDSHAKE, connect_from};
use crate::support::ticks::{INFY, full};
use crate::support::{PATIENCE, eventually_true};
use crate::{ends_unanswered, evict, quick, with};

fn pair(name: &str) -> TlsFiles {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    TlsFiles { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection that trusts only the certificate of that name.
fn secured(address: SocketAddr, trusted: &str, tcp: Option<TcpStream>) -> Result<Secured, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pair(trusted).cert).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tcp = tcp.unwrap_or_else(|| TcpStream::connect(address).unwrap());
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn tls_tab(address: SocketAddr, tcp: Option<TcpStream>) -> WebSocket<Secured> {
    let stream = secured(address, "a", tcp).unwrap();
    client("wss://localhost/ws/stream", stream).unwrap().0
}

fn read(tab: &mut WebSocket<Secured>) -> Value {
    loop {
        match tab.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn row_39_tabs_over_tls_get_what_others_get() {
    let (gateway, script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut tab = tls_tab(gateway.address, None);
    tab.send(Message::text(json!({"action": "subscribe", "tokens": [INFY], "mode": "full"}).to_string())).unwrap();
    assert_eq!(read(&mut tab)["type"], "subscribed");
    for number in 1..200 {
        script.push(&[full(INFY, number)]);
        assert_eq!(read(&mut tab)["volume_traded"], number);
    }
    assert!(gateway.connections()[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    tab.close(None).unwrap();
    while tab.read().is_ok() {}
    gateway.until_empty();
    // Gone without a word, and told when the server stops.
    drop(tls_tab(gateway.address, None));
    gateway.until_empty();
    let mut last = tls_tab(gateway.address, None);
    eventually_true("a session", || gateway.connections().len() == 1);
    gateway.drain(PATIENCE);
    let close = loop {
        if let Message::Close(close) = last.read().unwrap() {
            break close.unwrap();
        }
    };
    assert_eq!(u16::from(close.code), 1_001);
}

#[test]
fn row_39_what_is_no_tls_is_not_answered_and_pages_are_served() {
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut plain = TcpStream::connect(gateway.address).unwrap();
    plain.write_all(HANDSHAKE.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(secured(gateway.address, "b", None).is_err(), "another certificate is not trusted");
    let mut page = secured(gateway.address, "a", None).unwrap();
    page.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = page.read_to_end(&mut text);
    assert!(text.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&text));
    eventually_true("failures are counted", || gateway.app.edge.counters.tls_failed.load(Ordering::Relaxed) == 2);
}

#[test]
fn row_39_half_handshakes_keep_nobody_out() {
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let mut half: Vec<_> = (0..500).map(|_| connect_from("127.0.0.2", gateway.address)).collect();
    half.iter_mut().for_each(|stream| stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap());
    let accepted = &gateway.app.edge.counters.accepted;
    eventually_true("all are let in", || accepted.load(Ordering::Relaxed) == 500);
    let _tab = tls_tab(gateway.address, None);
    half.iter_mut().for_each(ends_unanswered);
    eventually_true("nobody waits", || gateway.app.edge.lobby.is_empty());
}

#[test]
fn row_39_a_slow_tab_over_tls_is_conflated_and_evicted() {
    let (gateway, script) = with(|settings| {
        quick(settings);
        settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap()));
    });
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let mut tab = tls_tab(gateway.address, Some(socket.into()));
    tab.send(Message::text(json!({"action": "subscribe", "tokens": [INFY], "mode": "full"}).to_string())).unwrap();
    assert_eq!(read(&mut tab)["type"], "subscribed");
    evict(&gateway, &script);
    gateway.until_empty();
}

#[test]
fn row_39_a_new_pair_is_taken_over_only_if_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let put = |cert: &str, key: &str| {
        std::fs::copy(pair(key).key, &files.key).unwrap();
        std::fs::copy(pair(cert).cert, &files.cert).unwrap();
    };
    put("a", "a");
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(files.clone()).unwrap())));
    let counters = &gateway.app.edge.counters;
    let _old = tls_tab(gateway.address, None);
    // Half a renewal: the key of another certificate.
    put("a", "b");
    eventually_true("it is looked at", || counters.tls_reload_failures.load(Ordering::Relaxed) > 0);
    assert!(secured(gateway.address, "a", None).is_ok());
    std::fs::write(&files.cert, "nonsense").unwrap();
    eventually_true("it is looked at", || counters.tls_reload_failures.load(Ordering::Relaxed) > 1);
    assert!(secured(gateway.address, "a", None).is_ok());
    put("b", "b");
    eventually_true("it is taken over", || counters.tls_reloads.load(Ordering::Relaxed) > 0);
    assert!(secured(gateway.address, "b", None).is_ok());
    assert!(secured(gateway.address, "a", None).is_err());
    assert_eq!(gateway.connections().len(), 1, "who is in stays in");
}

#[test]
fn row_39_a_second_client_finds_only_new_protocols() {
    if Command::new("openssl").arg("version").output().is_err() {
        return println!("skipped: no openssl here");
    }
    let (gateway, _script) = with(|settings| settings.tls = Some(Arc::new(Tls::open(pair("a")).unwrap())));
    let shake = |flags: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &gateway.address.to_string(), "-alpn", "h2,http/1.1"])
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let told = shake(&[flag]);
        assert!(told.contains(&format!("New, {version}, Cipher is ")), "{told}");
        assert!(told.contains("GCM") || told.contains("CHACHA20"), "{told}");
        assert!(told.contains("ALPN protocol: http/1.1"), "{told}");
    }
    for flags in
        [&["-tls1_1"][..], &["-tls1"], &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]]
    {
        let told = shake(flags);
        assert!(
            !told.contains("Cipher is ECDHE") && !told.contains("Cipher is AES") && !told.contains("Cipher is TLS_"),
            "{told}"
        );
    }
}
