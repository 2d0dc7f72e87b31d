//! A stand-in for Kite's ticker server: real sockets on a port of the system's choice, with the test in command.
//!
//! The handshake is written by hand, so that a test decides what shares a segment with the 101.
#![expect(clippy::disallowed_types, reason = "a test's own record, met by no hot path that is measured")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// How to answer one connection.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Open the WebSocket.
    Accept,
    /// Open it, and send these messages in the same segment as the 101.
    AcceptWith(Vec<Message>),
    /// Open it, but read nothing until [`Peer::listen`].
    AcceptDeaf,
    /// Refuse with this HTTP status and body.
    Refuse(u16, String),
    /// Never answer.
    Hang,
}

/// The server. Dropping it leaves its thread waiting for a last connection, which the end of the process ends.
pub struct KiteServer {
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Answer>>>,
    /// Every connection, in order.
    calls: Receiver<Call>,
    down: Arc<AtomicBool>,
    dead_token: Arc<Mutex<Option<String>>>,
}

/// One connection made to the server.
pub struct Call {
    /// Request line and headers, as they came.
    pub head: String,
    /// The open WebSocket, if the answer was to accept.
    pub peer: Option<Peer>,
    /// Kept open for as long as the call is kept.
    _tcp: TcpStream,
}

impl KiteServer {
    /// Accepts everything that [`KiteServer::answer`] does not say otherwise about.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, calls) = channel();
        let answers = script.clone();
        let down = Arc::new(AtomicBool::new(false));
        let is_down = down.clone();
        let dead_token = Arc::new(Mutex::new(None));
        let dead: Arc<Mutex<Option<String>>> = dead_token.clone();
        thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                let answer = |head: &str| {
                    if dead.lock().unwrap().as_ref().is_some_and(|token| head.contains(token)) {
                        return Answer::Refuse(403, String::new());
                    }
                    answers.lock().unwrap().pop_front().unwrap_or(Answer::Accept)
                };
                if is_down.load(Ordering::SeqCst) {
                    drop(tcp);
                    continue;
                }
                let Some(call) = serve(tcp, answer) else { continue };
                if sender.send(call).is_err() {
                    break;
                }
            }
        });
        Self { address, script, calls, down, dead_token }
    }

    /// The root to connect to, without a slash at the end.
    pub fn root(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Answers the next connection not yet spoken about in this way.
    pub fn answer(&self, answer: Answer) {
        self.script.lock().unwrap().push_back(answer);
    }

    /// From now on 403 to every connection with this access token.
    pub fn expire(&self, token: &str) {
        *self.dead_token.lock().unwrap() = Some(format!("access_token={token}"));
    }

    /// Whether the server is down: connections are dropped before a word is said. Open ones are the test's to drop.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// The next connection, if there was one.
    pub fn call(&self) -> Option<Call> {
        self.calls.try_recv().ok()
    }
}

fn serve(mut tcp: TcpStream, answer: impl FnOnce(&str) -> Answer) -> Option<Call> {
    tcp.set_nodelay(true).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        tcp.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let (early, deaf) = match answer(&head) {
        Answer::Accept => (Vec::new(), false),
        Answer::AcceptWith(messages) => (messages, false),
        Answer::AcceptDeaf => (Vec::new(), true),
        Answer::Refuse(status, body) => {
            let length = body.len();
            // In one segment, as servers send a short refusal.
            let reply = format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            tcp.write_all((reply + &body).as_bytes()).ok()?;
            tcp.shutdown(Shutdown::Write).ok()?;
            return Some(Call { head, peer: None, _tcp: tcp });
        }
        Answer::Hang => return Some(Call { head, peer: None, _tcp: tcp }),
    };
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = derive_accept_key(key.as_bytes());
    let mut reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    for message in early {
        frame(&message, &mut reply);
    }
    tcp.write_all(&reply).ok()?;
    let (sender, heard) = channel();
    let reader = tcp.try_clone().ok()?;
    let mut peer = Peer { writer: socket(tcp.try_clone().ok()?), unheard: Some((reader, sender)), heard };
    if !deaf {
        peer.listen();
    }
    Some(Call { head, peer: Some(peer), _tcp: tcp })
}

/// Appends `message` as the server sends it.
fn frame(message: &Message, out: &mut Vec<u8>) {
    let mut memory = WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Server, None);
    memory.send(message.clone()).unwrap();
    out.extend_from_slice(memory.get_ref().get_ref());
}

fn socket(tcp: TcpStream) -> WebSocket<TcpStream> {
    let config = WebSocketConfig::default().max_message_size(Some(4 << 20)).write_buffer_size(0);
    WebSocket::from_raw_socket(tcp, Role::Server, Some(config))
}

/// The server's side of one open WebSocket: the test writes, a thread reads.
pub struct Peer {
    writer: WebSocket<TcpStream>,
    unheard: Option<(TcpStream, Sender<Message>)>,
    heard: Receiver<Message>,
}

impl Peer {
    /// Starts reading.
    pub fn listen(&mut self) {
        let Some((tcp, sender)) = self.unheard.take() else { return };
        thread::spawn(move || {
            let mut reader = socket(tcp);
            while let Ok(message) = reader.read() {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
    }

    /// Sends a binary message.
    pub fn send(&mut self, bytes: &[u8]) {
        self.say(Message::binary(bytes.to_vec()));
    }

    /// Sends a binary message, unless the socket has failed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.writer.send(Message::binary(bytes.to_vec())).is_ok()
    }

    /// Sends any message.
    pub fn say(&mut self, message: Message) {
        self.writer.send(message).unwrap();
    }

    /// Closes in order.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.writer.close(Some(CloseFrame { code: code.into(), reason: reason.to_owned().into() })).unwrap();
    }

    /// Hangs up without a word.
    pub fn drop_tcp(&mut self) {
        self.writer.get_ref().shutdown(Shutdown::Both).unwrap();
    }

    /// The same, if it is still open.
    pub fn hang_up(&mut self) {
        let _ = self.writer.get_ref().shutdown(Shutdown::Both);
    }

    /// The next message from the client, if one has come.
    pub fn heard(&self) -> Option<Message> {
        self.heard.try_recv().ok()
    }
}
