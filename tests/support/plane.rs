//! The data plane as one thread has it, stepped by hand, with tabs on real loopback sockets. For tests and benches.

use futures_util::FutureExt;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use tickfan::clock::Clock;
use tickfan::duty::{Congestion, Duty, DutyFrame, FeedDoor, FeedPart, Idle, Overload};
use tickfan::fanout::board::Board;
use tickfan::fanout::port::Port;
use tickfan::fanout::publisher::Publisher;
use tickfan::fanout::ring::Ring;
use tickfan::fanout::slot::Inbox;
use tickfan::feed::Feed;
use tickfan::market::InstrumentToken;
use tickfan::session::door::{Change, Command, Door};
use tickfan::session::lane::Lane;
use tickfan::session::tab::{Delivery, Tab};
use tickfan::session::writer::{Writer, WriterSettings};
use tickfan::stats::{Collector, DutyCounters, FeedCounters, WriterCounters};
use tickfan::wire::Encoding;

/// Updates a tab's ring holds: the program's default.
pub const RING: usize = 256;

/// See the module.
pub struct Plane {
    pub duty: Duty,
    pub feed_counters: Arc<FeedCounters>,
    pub writer_counters: Arc<WriterCounters>,
    board: Arc<Board>,
    door: Arc<Door>,
    /// The tabs' other ends, in the order of their opening.
    pub clients: Vec<TcpStream>,
    buffer: Box<[u8]>,
}

impl Plane {
    pub fn new(feed: Box<dyn Feed>, clock: &Clock) -> Self {
        let board = Arc::new(Board::new(|| {}));
        board.reserve(&feed.universe());
        let (poll, waker) = Duty::poll().unwrap();
        let door = Arc::new(Door::new(waker, 1_024));
        let (feed_counters, writer_counters) = (Arc::<FeedCounters>::default(), Arc::<WriterCounters>::default());
        let mut collector = Collector::default();
        // Heartbeats would be noise.
        let settings = WriterSettings {
            budget: 16 * 1_024,
            batch_delay_ns: 10_000_000,
            overload_wait_ns: Some(8_000_000),
            late_after_ns: Some(25_000_000),
            heartbeat_ns: u64::MAX / 4,
        };
        let writer = Writer::new(
            Arc::clone(&door),
            Arc::clone(&board),
            clock.clone(),
            settings,
            poll.registry().try_clone().unwrap(),
            Arc::clone(&writer_counters),
        );
        let overload = feed.patience().is_none().then(Overload::default);
        let publisher = Publisher::new(&board, clock.clone(), Arc::clone(&feed_counters), collector.recorder());
        let part = FeedPart::new(feed, publisher, Arc::new(FeedDoor::shared(Arc::clone(&door))), Vec::new());
        let frame = DutyFrame {
            poll,
            idle: Idle::Spin,
            clock: clock.clone(),
            recorder: collector.recorder(),
            counters: Arc::<DutyCounters>::default(),
            congestion: Arc::new(Congestion::new(1)),
            place: 0,
            overload,
            stop: Arc::default(),
        };
        let duty = Duty::new(frame, Some(part), Some(writer)).unwrap();
        let buffer = vec![0; 256 * 1_024].into_boxed_slice();
        Self { duty, feed_counters, writer_counters, board, door, clients: Vec::new(), buffer }
    }

    /// Connects a tab that wants `tokens`; it exists from the next cycle on.
    pub fn open(&mut self, tokens: &[InstrumentToken], encoding: Encoding, batch_size: u32) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        self.clients.push(client);
        let key = self.door.key().unwrap();
        let inbox = inbox(RING, key, &self.door.port);
        let slots = self.board.subscribe(&inbox, tokens, encoding);
        let delivery = Delivery { format: encoding.format, batch_size, ..Delivery::default() };
        let change = Change {
            add: slots.into_iter().map(|slot| Lane::new(slot, encoding.mode)).collect(),
            inbox: Some(inbox),
            delivery: Some(delivery),
            ..Change::default()
        };
        let tab = Box::new(Tab::new(Arc::new(socket), Arc::default(), delivery));
        for command in [Command::Open(tab), Command::Change(Box::new(change))] {
            self.door.send(key, command).now_or_never().expect("the queue has room");
        }
    }

    /// Reads whatever has arrived at the tabs' other ends; returns how many bytes.
    pub fn drain(&mut self) -> usize {
        let mut bytes = 0;
        for mut client in &self.clients {
            loop {
                match client.read(&mut self.buffer) {
                    Ok(read) => bytes += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        bytes
    }
}

/// An inbox for a subscriber with that number at a writer.
pub fn inbox(capacity: usize, key: u32, port: &Arc<Port>) -> Arc<Inbox> {
    Arc::new(Inbox::new(Ring::new(capacity), key, Arc::clone(port)))
}
