//! A client of the Kite endpoint that looks at every byte.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::client;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::PATIENCE;

/// The path and the query of a client that names only its credentials.
pub const LOGIN: &str = "/?api_key=key&access_token=token";

/// See the module.
pub struct KiteClient {
    socket: WebSocket<TcpStream>,
}

impl KiteClient {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, LOGIN)
    }

    /// At another path, or with another query.
    #[track_caller]
    pub fn connect_to(address: SocketAddr, target: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), target)
    }

    /// Over a socket that was made in another way.
    #[track_caller]
    pub fn over(tcp: TcpStream, target: &str) -> Self {
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{}{target}", tcp.peer_addr().unwrap());
        let (socket, _) = client(url, tcp).expect("a handshake that succeeds");
        Self { socket }
    }

    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// `subscribe` or `unsubscribe`.
    #[track_caller]
    pub fn ask(&mut self, action: &str, tokens: &[u32]) {
        self.say(&json!({"a": action, "v": tokens}).to_string());
    }

    #[track_caller]
    pub fn mode(&mut self, mode: &str, tokens: &[u32]) {
        self.say(&json!({"a": "mode", "v": [mode, tokens]}).to_string());
    }

    /// Several requests in one segment.
    #[track_caller]
    pub fn say_together(&mut self, texts: &[&str]) {
        for text in texts {
            self.socket.write(Message::text(*text)).unwrap();
        }
        self.socket.flush().unwrap();
    }

    /// The next message, whatever it is.
    #[track_caller]
    pub fn next(&mut self) -> Message {
        match self.socket.read() {
            Ok(message) => message,
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// The packets of the next message that has any. Its count and lengths must be exact.
    #[track_caller]
    pub fn packets(&mut self) -> Vec<Vec<u8>> {
        let began = Instant::now();
        loop {
            // Heartbeats keep the socket from timing out.
            assert!(began.elapsed() < PATIENCE, "no packet came");
            match self.next() {
                Message::Binary(bytes) if *bytes == [0] => {}
                Message::Binary(bytes) => return cut(&bytes),
                Message::Text(_) => {}
                other => panic!("neither text nor binary: {other:?}"),
            }
        }
    }

    /// The next packet; the messages are expected to hold one each.
    #[track_caller]
    pub fn packet(&mut self) -> Vec<u8> {
        let mut packets = self.packets();
        assert_eq!(packets.len(), 1, "several packets");
        packets.remove(0)
    }

    /// The next packet of that token, whatever comes before it.
    #[track_caller]
    pub fn until_packet_of(&mut self, token: u32) -> Vec<u8> {
        loop {
            if let Some(found) = self.packets().into_iter().find(|packet| token_of(packet) == token) {
                return found;
            }
        }
    }

    /// Every packet before the next one of `sentinel`.
    #[track_caller]
    pub fn packets_before(&mut self, sentinel: u32) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        loop {
            for packet in self.packets() {
                if token_of(&packet) == sentinel {
                    return found;
                }
                found.push(packet);
            }
        }
    }

    /// The next text.
    #[track_caller]
    pub fn text(&mut self) -> Value {
        serde_json::from_str(&self.raw_text()).unwrap()
    }

    /// The next text as it came.
    #[track_caller]
    pub fn raw_text(&mut self) -> String {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "no text came");
            if let Message::Text(text) = self.next() {
                return text.to_string();
            }
        }
    }

    /// The types of all texts that have come, until what it asks now is answered.
    #[track_caller]
    pub fn texts_so_far(&mut self) -> Vec<String> {
        self.say("settled?");
        let mut types = Vec::new();
        loop {
            match self.text()["type"].as_str().expect("a type") {
                "error" => return types,
                other => types.push(other.to_owned()),
            }
        }
    }

    /// The `data` of the next error.
    #[track_caller]
    pub fn error(&mut self) -> String {
        loop {
            let text = self.text();
            if text["type"] == "error" {
                return text["data"].as_str().expect("an error's data is a text").to_owned();
            }
        }
    }

    /// Waits until all it has asked for is carried out: an error comes behind that.
    #[track_caller]
    pub fn settle(&mut self) {
        self.say("settled?");
        self.error();
    }

    /// The code the server ends the connection with.
    #[track_caller]
    pub fn until_closed(&mut self) -> u16 {
        loop {
            match self.next() {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => panic!("closed without a code"),
                _ => {}
            }
        }
    }
}

/// The packets of a message, which holds nothing else.
#[track_caller]
pub fn cut(message: &[u8]) -> Vec<Vec<u8>> {
    let (count, mut rest) = message.split_first_chunk::<2>().expect("a message with a count");
    let mut packets = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<2>().expect("a length");
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        packets.push(packet.to_vec());
        rest = after;
    }
    assert!(rest.is_empty() && !packets.is_empty(), "{message:?}");
    packets
}

pub fn token_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet.first_chunk().unwrap())
}

/// What a client must have in the end: the last packet of each token.
pub fn last_of(packets: &[Vec<u8>]) -> BTreeMap<u32, Vec<u8>> {
    packets.iter().map(|packet| (token_of(packet), packet.clone())).collect()
}
