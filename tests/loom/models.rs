//! The models: what must hold in every order of events. Each runs in the closure of a loom check.

use super::latest::Latest;
use super::pending::Pending;
use super::port::Port;
use super::ring::Ring;
use super::sync::{ArrayQueue, AtomicBool, AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

/// A slot with one subscriber whose ring has room for a single update, and its writer's door.
struct World {
    latest: Latest<1>,
    ring: Ring<u64>,
    port: Port,
}

/// The subscriber's number at its writer.
const KEY: u32 = 0;

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { latest: Latest::default(), ring: Ring::new(1), port: Port::new(1) })
    }

    /// `fanout::publisher::publish` for one subscriber.
    fn publish(&self, value: u64) {
        let number = self.latest.store(&[value]);
        let _ = self.ring.offer(number);
        if self.ring.announce() {
            assert!(self.port.push(KEY), "the list has a place for every session");
        }
    }

    /// Publishes values 1 to `last` as batches of their own; true when the caller has undertaken to wake the writer.
    fn publish_all(&self, last: u64) -> bool {
        let mut woken = false;
        for value in 1..=last {
            self.publish(value);
            woken |= self.port.must_wake();
        }
        woken
    }
}

/// `session::tab::Tab`, as far as rings are concerned, with one lane.
#[derive(Default)]
struct Tab {
    /// `Lane::sent`: the number of the last value the tab got.
    sent: u64,
    /// `Tab::is_blocked`.
    blocked: bool,
}

impl Tab {
    /// `Tab::serve` and `Tab::fill`.
    fn serve(&mut self, world: &World) {
        let ring = &world.ring;
        ring.begin();
        if self.blocked {
            // `Tab::release_ring`.
            if ring.is_behind() {
                while ring.take().is_some() {}
                let _ = ring.announce();
            }
            return;
        }
        if ring.take_behind() {
            while ring.take().is_some() {}
            // `Tab::owe_all`, then `Tab::pay`.
            let (number, [value]) = world.latest.load().expect("a refused update has a value");
            assert_eq!(number, value, "the value of another number");
            self.get(number);
        }
        while let Some(number) = ring.take() {
            self.get(number);
        }
    }

    /// What the tab has already is passed over, so what it gets never goes back.
    fn get(&mut self, number: u64) {
        self.sent = self.sent.max(number);
    }

    /// `Writer::turn` for announced sessions: only those that stand in the list now.
    fn turn(&mut self, world: &World) {
        if world.port.pop().is_some() {
            self.serve(world);
        }
    }

    /// Turns until nobody is announced any more.
    fn finish(&mut self, world: &World) {
        while world.port.pop().is_some() {
            self.serve(world);
        }
    }
}

/// A reader sees only values that were stored, whole, and never an older one after a newer.
pub fn no_torn_read() {
    let latest = Arc::new(Latest::<2>::default());
    let stored = Arc::clone(&latest);
    let owner = thread::spawn(move || {
        for value in 1..=2 {
            assert_eq!(stored.store(&[value, value * 10]), value);
        }
    });
    let mut last = 0;
    for _ in 0..2 {
        if let Some((number, words)) = latest.load() {
            assert_eq!(words, [number, number * 10], "torn");
            assert!(number >= last, "back from {last} to {number}");
            last = number;
        } else {
            assert_eq!(last, 0, "back to nothing");
        }
    }
    owner.join().unwrap();
    assert_eq!(latest.load(), Some((2, [2, 20])));
}

/// A writer that went to sleep has either got everything, or the publisher has undertaken to wake it; and once awake it
/// finds the rest.
pub fn no_lost_wake_up() {
    const LAST: u64 = 2;
    let world = World::new();
    let published = Arc::clone(&world);
    let publisher = thread::spawn(move || published.publish_all(LAST));
    let mut tab = Tab::default();
    loop {
        tab.finish(&world);
        if world.port.fall_asleep(|| true) {
            break;
        }
        world.port.wake_up();
    }
    let got = tab.sent;
    let woken = publisher.join().unwrap();
    assert!(woken || got == LAST, "asleep with {got} of {LAST} and nobody rings");
    world.port.wake_up();
    tab.finish(&world);
    assert_eq!(tab.sent, LAST, "the wake-up found nothing");
}

/// However often the ring ran over, in the end the tab has the last value.
pub fn no_lost_last_value(last: u64) {
    let world = World::new();
    let published = Arc::clone(&world);
    let publisher = thread::spawn(move || published.publish_all(last));
    let mut tab = Tab::default();
    for _ in 0..2 {
        tab.turn(&world);
    }
    publisher.join().unwrap();
    tab.finish(&world);
    assert_eq!(tab.sent, last);
}

/// A tab whose socket is full lets its ring run over and throws away what it holds; when the socket has room again it
/// gets the last value all the same.
pub fn no_lost_value_while_blocked() {
    const LAST: u64 = 3;
    let world = World::new();
    let published = Arc::clone(&world);
    let publisher = thread::spawn(move || published.publish_all(LAST));
    let mut tab = Tab { blocked: true, ..Tab::default() };
    for _ in 0..2 {
        tab.turn(&world);
    }
    // `Writer::writable`: the tab is served whether it is announced or not.
    tab.blocked = false;
    tab.serve(&world);
    publisher.join().unwrap();
    tab.finish(&world);
    assert_eq!(tab.sent, LAST);
}

/// After the reply to an unsubscription no update of the slot is delivered, although the publisher may still walk the
/// old list: the writer asks the lane, which is its own. `by_lane` false leaves that out.
pub fn no_update_after_unsubscribe(by_lane: bool) {
    /// What the tab has received.
    #[derive(PartialEq)]
    enum Got {
        Update,
        Reply,
    }
    /// The writer's side.
    struct Writer {
        lane: bool,
        got: Vec<Got>,
    }
    impl Writer {
        fn turn(&mut self, world: &World, commands: &ArrayQueue<()>, by_lane: bool) {
            if commands.pop().is_some() {
                self.lane = false;
                self.got.push(Got::Reply);
            }
            if world.port.pop().is_none() {
                return;
            }
            world.ring.begin();
            if world.ring.take_behind() {
                while world.ring.take().is_some() {}
                if self.lane {
                    self.got.push(Got::Update);
                }
            }
            while world.ring.take().is_some() {
                if self.lane || !by_lane {
                    self.got.push(Got::Update);
                }
            }
        }
    }
    let world = World::new();
    let listed = Arc::new(AtomicBool::new(true));
    let commands = Arc::new(ArrayQueue::new(1));

    let (published, list) = (Arc::clone(&world), Arc::clone(&listed));
    let publisher = thread::spawn(move || {
        for value in 1..=2 {
            // `Slot::subscribers`: one load per tick.
            if list.load(Ordering::Acquire) {
                published.publish(value);
            }
        }
    });
    let (asked, inbox) = (Arc::clone(&commands), Arc::clone(&world));
    let control = thread::spawn(move || {
        // `Board::unsubscribe`, then `Door::send`.
        listed.store(false, Ordering::Release);
        asked.push(()).unwrap();
        let _ = inbox.port.must_wake();
    });
    let mut writer = Writer { lane: true, got: Vec::new() };
    writer.turn(&world, &commands, by_lane);
    publisher.join().unwrap();
    control.join().unwrap();
    for _ in 0..2 {
        writer.turn(&world, &commands, by_lane);
    }
    assert!(writer.got.last() != Some(&Got::Update), "an update behind the reply");
    assert!(writer.got.iter().filter(|got| **got == Got::Reply).count() == 1);
}

/// `fanout::series`: of values that come faster than they are read the last one is read, whether its news was posted or
/// stood in the queue already.
pub fn no_news_is_lost() {
    struct Series {
        newest: AtomicU64,
        news: Pending,
        mail: ArrayQueue<()>,
    }
    const LAST: u64 = 2;
    let series =
        Arc::new(Series { newest: AtomicU64::new(0), news: Pending::new(), mail: ArrayQueue::new(LAST as usize) });
    let engine = {
        let series = Arc::clone(&series);
        thread::spawn(move || {
            for value in 1..=LAST {
                // `Series::store`, then `Listener::news`.
                series.newest.store(value, Ordering::Release);
                if series.news.post() {
                    assert!(series.mail.push(()).is_ok(), "at most one news a value");
                }
            }
        })
    };
    let mut sent = 0;
    let mut read = || {
        while series.mail.pop().is_some() {
            // `Interest::answer`.
            series.news.look();
            let newest = series.newest.load(Ordering::Acquire);
            assert!(newest >= sent, "a value went back");
            sent = newest;
        }
    };
    read();
    engine.join().unwrap();
    read();
    assert_eq!(sent, LAST, "the last value was never read");
}
