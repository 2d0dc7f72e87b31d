//! A browser tab, and a client that keeps to no protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, client};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::{PATIENCE, msgpack};

/// A tab that reads when the test says so.
pub struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// One whose system takes in little (`SO_RCVBUF`) while it does not read.
    #[track_caller]
    pub fn with_receive_buffer(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    /// `None` when the handshake is refused.
    #[track_caller]
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        Self::shake_hands(TcpStream::connect(address).unwrap())
    }

    #[track_caller]
    fn over(tcp: TcpStream) -> Self {
        Self::shake_hands(tcp).expect("a handshake that succeeds")
    }

    fn shake_hands(tcp: TcpStream) -> Option<Self> {
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{}/ws/stream", tcp.peer_addr().unwrap());
        let (socket, _) = client(url, tcp).ok()?;
        Some(Self { socket })
    }

    /// A handshake with that path and query and further headers; the status when it is refused.
    #[track_caller]
    pub fn knock(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match client(request, tcp) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("neither welcome nor refused: {error}"),
        }
    }

    /// The socket below, for what a WebSocket would not do.
    pub fn tcp(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// The socket alone; what was read of it and not given out is lost.
    pub fn into_tcp(self) -> TcpStream {
        self.socket.get_ref().try_clone().unwrap()
    }

    #[track_caller]
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }

    #[track_caller]
    pub fn say(&mut self, request: &Value) {
        self.send(Message::text(request.to_string()));
    }

    /// The next message of any kind.
    #[track_caller]
    pub fn next_message(&mut self) -> Message {
        match self.socket.read() {
            Ok(message) => message,
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// The next message of the protocol, in whichever format it comes.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        loop {
            // Reading has answered a ping.
            match self.next_message() {
                Message::Ping(_) => {}
                message => return decode(&message),
            }
        }
    }

    /// The next one; `None` once the connection was lost, which is not the same as closed.
    #[track_caller]
    pub fn next_unless_lost(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                Ok(message) => return Some(decode(&message)),
                Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return None,
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    /// The next one, if it comes within `time`.
    #[track_caller]
    pub fn next_within(&mut self, time: Duration) -> Option<Value> {
        self.tcp().set_read_timeout(Some(time)).unwrap();
        let message = self.socket.read();
        self.tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        match message {
            Ok(Message::Ping(_)) => None,
            Ok(message) => Some(decode(&message)),
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// Says something and gets the very next message.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.say(request);
        self.next()
    }

    /// Passes over messages until one of that type.
    #[track_caller]
    pub fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Subscribes, with further fields of the request.
    #[track_caller]
    pub fn subscribe(&mut self, tokens: &[u32], more: Value) -> Value {
        let mut request = json!({"action": "subscribe", "tokens": tokens});
        if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
            request.extend(more);
        }
        let reply = self.ask(&request);
        assert_eq!(reply["type"], "subscribed", "{reply}");
        reply
    }

    /// Sees that nothing is on its way: what the server has said so far comes before the pong.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        let reply = self.ask(&json!({"action": "ping"}));
        assert_eq!(reply["type"], "pong", "{reply}");
    }

    /// The code and reason the server ends the connection with; messages before it are passed over.
    #[track_caller]
    pub fn until_closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code.into(), frame.reason.to_string()),
                Ok(Message::Close(None)) => return (CloseCode::Status.into(), String::new()),
                Ok(_) => {}
                Err(error) => panic!("ended without a word: {error}"),
            }
        }
    }

    /// Closes in order and waits for the answer.
    #[track_caller]
    pub fn close(mut self) {
        self.socket.close(None).unwrap();
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return,
                Err(error) => panic!("the close was not answered: {error}"),
            }
        }
    }

    /// Vanishes: the system sends a reset, as when a machine is switched off behind a proxy.
    pub fn vanish(self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// What a message of the protocol says.
#[track_caller]
pub fn decode(message: &Message) -> Value {
    match message {
        Message::Text(text) => serde_json::from_str(text).unwrap(),
        Message::Binary(bytes) => msgpack::decode(bytes),
        other => panic!("neither text nor binary: {other:?}"),
    }
}

/// A connection from another address of this machine.
#[track_caller]
pub fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(address.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Bytes over TCP, nothing else.
pub struct Raw(TcpStream);

impl Raw {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(tcp)
    }

    /// Connects and shakes hands, with `early` in the segment of the request.
    #[track_caller]
    pub fn stream(address: SocketAddr, early: &[u8]) -> Self {
        let mut raw = Self::connect(address);
        raw.send(&[HANDSHAKE.as_bytes(), early].concat());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// No more will be sent.
    pub fn finish(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// The head of an answer, to its empty line.
    #[track_caller]
    pub fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.take(1));
        }
        String::from_utf8(head).unwrap()
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything up to the end. A reset is an end too: the server need not read what it refuses.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("no end: {error}"),
            }
        }
    }

    /// A server frame: its first byte and its body.
    #[track_caller]
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes([self.take(1)[0], self.take(1)[0]])),
            127 => panic!("longer than any frame expected here"),
            short => usize::from(short),
        };
        (head[0], self.take(length))
    }
}

/// A handshake as a browser's.
pub const HANDSHAKE: &str = "GET /ws/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client frame below 126 bytes. The mask is zero, which masks nothing but is one.
pub fn client_frame(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 126);
    [&[first, 0x80 | body.len() as u8, 0, 0, 0, 0], body].concat()
}

/// An answer over plain HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// `GET path`.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// `POST path`, with further header lines.
#[track_caller]
pub fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    request(address, &format!("{head}{headers}\r\n{body}"))
}

/// Any request; the server must end the connection after it.
#[track_caller]
pub fn request(address: SocketAddr, head: &str) -> Answer {
    let mut raw = Raw::connect(address);
    raw.send(head.as_bytes());
    let text = String::from_utf8(raw.rest()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
