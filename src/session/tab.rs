//! Stop 7 of a tick, for one tab: the writing half of a connection.
//!
//! A tab's messages leave in this order: replies, the mail (candles, indicators, alerts), what stood in the ring when lanes
//! were added, lanes whose newest value is owed (a snapshot, or after the ring ran over), then the ring. All of it is put
//! into one buffer, which leaves in one write through the [`Outlet`].

use super::alarm::Alarm;
use super::door::Change;
use super::envelope::Envelope;
use super::lane::Lane;
use super::missed::Missed;
use super::outlet::{Outlet, TabStats};
use super::probe::Probe;
use super::turn::{Stamp, Turn};
use crate::fanout::board::Board;
use crate::fanout::mail::Mailbox;
use crate::fanout::slot::Inbox;
use crate::fanout::update::Update;
use crate::market::Mode;
use crate::market::calendar::Utc;
use crate::stats::Stop;
use crate::wire::close::Close;
use crate::wire::frame::Span;
use crate::wire::{Encoding, Format, push};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::TcpStream;
use std::sync::Arc;

/// How a tab wants its messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivery {
    /// In which format.
    pub format: Format,
    /// Least time between two messages of one token, nanoseconds; 0 for none.
    pub throttle_ns: u64,
    /// How many messages make a batch; 0 for none.
    pub batch_size: u32,
    /// Whether it follows the protocol of indicators: a greeting comes first, and a heartbeat has its time as RFC 3339 in UTC
    /// and not as Unix seconds.
    pub utc: bool,
}

/// See the module. **Thread**: its writer's.
#[derive(Debug)]
pub struct Tab {
    /// The socket's side.
    pub outlet: Outlet,
    inbox: Option<Arc<Inbox>>,
    delivery: Delivery,
    lanes: FxHashMap<u32, Lane>,
    /// Slots without a lane are wanted too, in this mode.
    firehose: Option<Mode>,
    /// Lanes whose newest value must be sent, oldest first.
    owed: VecDeque<u32>,
    /// How many updates stood in the ring when lanes were added. They go before snapshots: the board is told of a
    /// subscription before the tab, and a tape that starts with it must not lose its beginning.
    early: u32,
    envelope: Envelope,
    missed: Missed,
    /// `None` before the first subscription.
    pub probe: Option<Box<Probe>>,
    /// When it wants a turn by itself.
    pub alarm: Alarm,
    /// Bytes of replies put together since the writer asked last.
    replies: u32,
    /// It was told that it is too slow: nothing follows.
    given_up: bool,
    /// Its last frame waits behind what the socket has not taken; until then, monotonic, it may leave. 0 while it stays.
    leaving_ns: u64,
}

impl Tab {
    /// A tab that has nothing yet.
    pub fn new(socket: Arc<TcpStream>, stats: Arc<TabStats>, delivery: Delivery) -> Self {
        Self {
            outlet: Outlet::new(socket, stats),
            inbox: None,
            delivery,
            lanes: FxHashMap::default(),
            firehose: None,
            owed: VecDeque::new(),
            early: 0,
            envelope: Envelope::new(delivery),
            missed: Missed::default(),
            probe: None,
            alarm: Alarm::default(),
            replies: 0,
            given_up: false,
            leaving_ns: 0,
        }
    }

    /// Takes over new settings and subscriptions, with the reply between what is removed and what is added.
    pub fn change(&mut self, change: Change, turn: &mut Turn<'_>) {
        // A batch that waits may hold ticks of what is given up: they belong before the reply, not behind it.
        self.envelope.flush(turn);
        if change.clear {
            self.lanes.clear();
            self.owed.clear();
        }
        for id in change.remove {
            self.lanes.remove(&id);
        }
        if let Some(delivery) = change.delivery {
            self.delivery = delivery;
            self.envelope = Envelope::new(delivery);
            self.lanes.values_mut().for_each(|lane| lane.due_ns = 0);
        }
        if change.inbox.is_some() {
            self.inbox = change.inbox;
        }
        self.firehose = change.firehose.unwrap_or(self.firehose);
        if self.given_up {
            self.outlet.let_go(change.reply.len() as u64);
        } else {
            turn.out.extend_from_slice(&change.reply);
            self.replies += change.reply.len() as u32;
        }
        if !change.add.is_empty() {
            self.early = self.inbox.as_ref().map_or(0, |inbox| inbox.ring.depth() as u32);
        }
        for lane in change.add {
            let id = lane.slot.id;
            self.lanes.insert(id, lane);
            self.owe(id);
        }
    }

    /// Puts a lane into the list of those whose newest value is owed.
    fn owe(&mut self, id: u32) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !std::mem::replace(&mut lane.owed, true)
        {
            self.owed.push_back(id);
        }
    }

    /// Appends a finished frame, behind the mail that was posted before it.
    pub fn send(&mut self, frame: &[u8], turn: &mut Turn<'_>) {
        if self.given_up {
            return self.outlet.let_go(frame.len() as u64);
        }
        if let Some(inbox) = self.inbox.take() {
            if !self.outlet.is_shut() {
                // All of it, beyond the budget too: it is bounded as a reply is.
                for _ in 0..=inbox.mail.depth() {
                    if !self.read_mail(&inbox.mail, turn) {
                        break;
                    }
                }
            }
            self.inbox = Some(inbox);
        }
        turn.out.extend_from_slice(frame);
        self.replies += frame.len() as u32;
        turn.counters.messages.add(1);
    }

    /// Whether something may have been offered to it before it knows its inbox: the change that brings it is under way.
    pub const fn lacks_inbox(&self) -> bool {
        self.inbox.is_none()
    }

    /// Reads what its turn will need.
    #[inline]
    pub fn touch(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.touch();
            black_box(self.lanes.contains_key(&0));
        }
    }

    /// It has another turn anyway: what is offered until then need not ask for one, which would be one more than others have.
    pub fn expect_turn(&self) {
        if let Some(inbox) = &self.inbox {
            let _ = inbox.ring.announce();
        }
    }

    /// Puts messages into `turn.out` until the budget is used; true when more waits. Nothing while the socket is full.
    pub fn fill(&mut self, turn: &mut Turn<'_>) -> bool {
        // Taken out for the time being: a clone would cost a locked instruction twice.
        let Some(inbox) = self.inbox.take() else { return false };
        let more = if self.given_up {
            false
        } else if self.outlet.is_shut() {
            inbox.ring.release();
            false
        } else {
            inbox.ring.begin();
            self.fill_in_time(&inbox, turn)
        };
        self.inbox = Some(inbox);
        more
    }

    /// The same for one whose socket has room, unless it has to read first.
    fn fill_in_time(&mut self, inbox: &Inbox, turn: &mut Turn<'_>) -> bool {
        // Boxed, and made with the first subscription: a tab that only idles needs none.
        let probe = self.probe.get_or_insert_default();
        let holds = probe.begin(&inbox.pong, &inbox.ring, turn);
        let begin = (turn.out.len(), turn.stamps.len());
        let more = if holds {
            self.alarm.arm(probe.until_ns());
            // What may not be lost cannot wait.
            self.read_mail(&inbox.mail, turn)
        } else {
            self.fill_from(inbox, turn)
        };
        if let Some(due_ns) = self.envelope.end_turn(turn) {
            self.alarm.arm(due_ns);
        }
        if let Some(probe) = &mut self.probe
            && !self.given_up
        {
            probe.end(begin, &inbox.pong, turn);
        }
        more
    }

    fn fill_from(&mut self, inbox: &Inbox, turn: &mut Turn<'_>) -> bool {
        if inbox.ring.take_behind() {
            turn.counters.overrun_rings.add(1);
            turn.shed |= !turn.late;
            while inbox.ring.take().is_some() {}
            self.early = 0;
            self.owe_all(turn.board);
        }
        let full = self.read_mail(&inbox.mail, turn);
        if full || self.given_up {
            return full;
        }
        while self.early > 0
            && let Some(update) = inbox.ring.take()
        {
            self.early -= 1;
            self.take(&update, turn);
            if turn.is_full() {
                return true;
            }
        }
        self.early = 0;
        while let Some(id) = self.owed.pop_front() {
            self.pay(id, turn);
            if turn.is_full() {
                return true;
            }
        }
        let mut oldest = true;
        while let Some(update) = inbox.ring.take() {
            if std::mem::take(&mut oldest) {
                turn.recorder.record(Stop::Writer, turn.now_ns.saturating_sub(update.received_ns));
            }
            self.take(&update, turn);
            if turn.is_full() {
                return true;
            }
        }
        self.tell(turn);
        false
    }

    /// Sends what waits beside the ring; true when the budget is used up. A tab whose mailbox has overrun has lost what
    /// may not be lost: it is told to come back.
    fn read_mail(&mut self, mail: &Mailbox, turn: &mut Turn<'_>) -> bool {
        if mail.is_overrun() {
            if !std::mem::replace(&mut self.given_up, true) {
                turn.counters.overrun_tabs.add(1);
                turn.out.extend_from_slice(&Close::TooSlow.frame());
            }
            while mail.take().is_some() {}
            return false;
        }
        while let Some(letter) = mail.take() {
            let Some(message) = letter.open() else { continue };
            let Some(message) = message.frame(self.delivery.format) else { continue };
            turn.counters.derived.add(1);
            self.envelope.put_other(message, turn);
            if turn.is_full() {
                return true;
            }
        }
        false
    }

    /// After the ring ran over: every lane may have missed something.
    fn owe_all(&mut self, board: &Board) {
        if let Some(mode) = self.firehose {
            for slot in board.table().load().values() {
                self.lanes.entry(slot.id).or_insert_with(|| Lane::new(Arc::clone(slot), mode));
            }
        }
        for (id, lane) in &mut self.lanes {
            if !lane.owed && !lane.held {
                lane.owed = true;
                self.owed.push_back(*id);
            }
        }
    }

    /// Sends what is owed to a lane, unless that was settled meanwhile.
    fn pay(&mut self, id: u32, turn: &mut Turn<'_>) {
        if self.lanes.get_mut(&id).is_some_and(|lane| std::mem::take(&mut lane.owed)) {
            self.send_newest(id, turn);
        }
    }

    /// Sends a lane's newest value if the tab does not have it yet: the value is chosen now, when it can leave, and not
    /// when the debt arose.
    fn send_newest(&mut self, id: u32, turn: &mut Turn<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(value) = lane.slot.value() else { return };
        let number = value.numbers.of(lane.mode);
        if number <= lane.sent && !lane.fresh {
            return;
        }
        if self.delivery.throttle_ns > 0 && turn.now_ns < lane.due_ns {
            lane.held = true;
            self.alarm.arm(lane.due_ns);
            return;
        }
        let skipped = lane.gap(number);
        lane.sent = number;
        if !lane.admits(&value.tick) {
            turn.counters.unmet.add(1);
            return self.skip(skipped, turn);
        }
        let (fresh, mode) = (lane.fresh, lane.mode);
        lane.fresh = false;
        lane.due_ns = turn.now_ns + self.delivery.throttle_ns;
        self.skip(skipped, turn);
        let encoding = Encoding { format: self.delivery.format, mode };
        let unix_ns = turn.clock.unix_ns(value.received_ns);
        if fresh {
            self.snapshot(turn, |out| push::tick_frame(out, encoding, &value.tick, &value.packet, unix_ns, true));
        } else {
            turn.counters.own_encodings.add(1);
            // Taken out for the time being: the envelope wants the rest of the turn.
            let mut own = std::mem::take(turn.own);
            self.envelope.put(own.frame(id, encoding, &value, unix_ns), Stamp::late(value.received_ns), turn);
            *turn.own = own;
        }
    }

    /// Counts values that the tab never gets.
    fn skip(&mut self, values: u64, turn: &Turn<'_>) {
        if self.delivery.throttle_ns > 0 {
            turn.counters.throttled.add(values);
        } else {
            turn.counters.skipped.add(values);
            self.outlet.stats().conflated.add(values);
            self.missed.note(values);
        }
    }

    /// Sends an update from the ring.
    fn take(&mut self, update: &Arc<Update>, turn: &mut Turn<'_>) {
        if let Some(mode) = self.firehose
            && !self.lanes.contains_key(&update.slot)
            && let Some(slot) = turn.board.table().load().get(&update.tick.token).cloned()
        {
            self.lanes.insert(update.slot, Lane::new(slot, mode));
        }
        let Some(lane) = self.lanes.get_mut(&update.slot) else {
            turn.counters.unsubscribed.add(1);
            return;
        };
        let number = update.numbers.of(lane.mode);
        if number <= lane.sent {
            turn.counters.outdated.add(1);
            return;
        }
        // The newer one stands in the ring behind it, is on its way, or has been refused by the ring, which owes it then.
        let is_old = turn.now_ns.saturating_sub(update.received_ns) > turn.max_wait_ns;
        if is_old && lane.slot.numbers().of(lane.mode) > number {
            turn.counters.stale_updates.add(1);
            turn.shed |= !turn.late;
            return;
        }
        if self.delivery.throttle_ns > 0 && turn.now_ns < lane.due_ns {
            if !std::mem::replace(&mut lane.held, true) {
                self.alarm.arm(lane.due_ns);
            }
            return;
        }
        let encoding = Encoding { format: self.delivery.format, mode: lane.mode };
        let Some(message) = update.frame(encoding) else {
            // Published before the tab changed its encoding.
            return self.send_newest(update.slot, turn);
        };
        let skipped = lane.gap(number);
        lane.sent = number;
        if !lane.admits(&update.tick) {
            turn.counters.unmet.add(1);
            return self.skip(skipped, turn);
        }
        let fresh = std::mem::replace(&mut lane.fresh, false);
        // The first of its updates is the snapshot; those after it are in the ring.
        lane.owed &= !fresh;
        lane.due_ns = turn.now_ns + self.delivery.throttle_ns;
        if skipped > 0 {
            self.skip(skipped, turn);
        }
        // Kite's packets have no mark of a snapshot.
        if fresh && encoding.format != Format::Kite {
            let Update { tick, received_unix_ns, .. } = &**update;
            self.snapshot(turn, |out| push::tick_frame(out, encoding, tick, &[], *received_unix_ns, true));
        } else {
            self.envelope.put(message, Stamp::straight(update.received_ns), turn);
        }
    }

    /// Sends the first message of a subscription. It is no latency: its value may be old.
    fn snapshot(&mut self, turn: &mut Turn<'_>, write: impl FnOnce(&mut Vec<u8>) -> Span) {
        turn.counters.snapshots.add(1);
        turn.counters.delivered.add(1);
        self.outlet.stats().delivered.add(1);
        self.envelope.put_new(turn, write);
    }

    /// Tells the tab how many values it missed. Kite's clients know no such message.
    fn tell(&mut self, turn: &mut Turn<'_>) {
        if !self.is_kite()
            && let Some(due_ns) = self.missed.tell(self.delivery.format, turn)
        {
            self.alarm.arm(due_ns);
        }
    }

    /// Has the tab leave with `frame` as soon as its full socket has taken everything, at the latest at `until_ns`. False
    /// when nothing waits: then it can be closed at once.
    pub fn leave(&mut self, frame: &[u8], now_ns: u64, until_ns: u64) -> bool {
        if !self.outlet.append_last(frame, now_ns) {
            return false;
        }
        self.given_up = true;
        self.leaving_ns = until_ns;
        true
    }

    /// Until when it may leave; 0 while it stays.
    pub const fn leaving_ns(&self) -> u64 {
        self.leaving_ns
    }

    /// How many bytes of what was put together since the last call are replies.
    pub fn take_replies(&mut self) -> u64 {
        std::mem::take(&mut self.replies).into()
    }

    /// A noted time has come: what the throttle held back is owed now, if it is due. False for a time that was meant for
    /// something else.
    pub fn ring_timer(&mut self, noted_ns: u64, now_ns: u64) -> bool {
        if !self.alarm.rings(noted_ns) {
            return false;
        }
        let mut next_ns = u64::MAX;
        for (id, lane) in &mut self.lanes {
            if lane.held && lane.due_ns <= now_ns {
                lane.held = false;
                if !std::mem::replace(&mut lane.owed, true) {
                    self.owed.push_back(*id);
                }
            } else if lane.held {
                next_ns = next_ns.min(lane.due_ns);
            }
        }
        if next_ns != u64::MAX {
            self.alarm.arm(next_ns);
        }
        true
    }

    /// Whether it speaks Kite's protocol.
    pub fn is_kite(&self) -> bool {
        self.delivery.format == Format::Kite
    }

    /// Appends a heartbeat in the tab's format, unless it has more to read than it can take anyway. One whose clients expect
    /// a greeting gets none before that, which brings its inbox.
    pub fn heartbeat(&self, turn: &mut Turn<'_>) {
        let greeted = !self.delivery.utc || !self.lacks_inbox();
        if self.outlet.is_shut() || self.given_up || !greeted {
            return;
        }
        turn.counters.messages.add(1);
        if self.is_kite() {
            turn.out.extend_from_slice(push::KITE_HEARTBEAT);
        } else {
            let now = turn.clock.unix_seconds();
            let timestamp =
                if self.delivery.utc { Utc(now as i64).to_string().into() } else { serde_json::Value::from(now) };
            let heartbeat = serde_json::json!({"type": "heartbeat", "timestamp": timestamp});
            let format = self.delivery.format;
            turn.append_frame(|out| push::value_frame(out, format, &heartbeat));
        }
    }
}
