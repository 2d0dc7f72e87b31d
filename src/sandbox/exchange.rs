//! The task behind all connections. Plain and stepped from outside: time is handed in, so that tests move it.

use super::fault::{Fault, Injection, Reach};
use super::frame::Packet;
use super::line::{Line, Troubles, WAITING_FRAMES, until};
use super::request::Request;
use super::throttle::Pace;
use super::timeline::Timeline;
use super::{Observation, SandboxSettings};
use crate::feed::Feed;
use crate::feed::market::MarketFeed;
use crate::kite::packet::packets;
use crate::market::Mode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustc_hash::FxHashMap;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Ticks are gathered for so long, so that a frame has several packets when the market is busy.
const GATHER_NS: u64 = 5_000_000;
/// Most ticks of one turn; the rest comes in the next, behind waiting commands.
const BUDGET: usize = 10_000;

/// What the exchange is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A handshake with good credentials.
    Admit { key: String, reply: oneshot::Sender<Result<Admitted, Refused>> },
    /// A handshake that was refused before it came here.
    Turn { status: u16 },
    /// A text of a connection.
    Said { line: u64, text: Vec<u8> },
    /// A connection has ended.
    Gone { line: u64 },
    /// See [`super::SandboxHandle::inject`].
    Inject { injection: Injection, reply: oneshot::Sender<usize> },
    /// See [`super::SandboxHandle::heal`].
    Heal { reply: oneshot::Sender<()> },
    /// See [`super::SandboxHandle::observe`].
    Observe { reply: oneshot::Sender<Observation> },
}

/// What a connection that was let in works with.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) line: u64,
    pub(super) outgoing: mpsc::Receiver<Message>,
    pub(super) pace: Arc<Pace>,
}

/// The HTTP status of a refusal, and words for it.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    market: MarketFeed,
    /// The newest value of each instrument.
    quotes: FxHashMap<u32, Packet>,
    /// By the order in which they were opened.
    lines: BTreeMap<u64, Line>,
    next_line: u64,
    max_tokens: usize,
    max_connections: usize,
    timeline: Timeline,
    /// Decides which connection a fault for one hits.
    random: StdRng,
    /// What connections opened from now on are troubled by.
    troubles: Troubles,
    refuse: Option<(u16, u64)>,
    gathered_ns: u64,
    /// Of the last turn.
    now_ns: u64,
    seen: Observation,
}

impl Exchange {
    pub(super) fn new(market: MarketFeed, settings: &SandboxSettings) -> Self {
        Self {
            market,
            quotes: FxHashMap::default(),
            lines: BTreeMap::new(),
            next_line: 1,
            max_tokens: settings.max_tokens,
            max_connections: settings.max_connections,
            timeline: Timeline::new(settings.scenario.begin, &settings.scenario.events),
            random: StdRng::seed_from_u64(settings.market.seed),
            troubles: Troubles::default(),
            refuse: None,
            gathered_ns: 0,
            now_ns: 0,
            seen: Observation::default(),
        }
    }

    /// Does everything that is due: faults, ticks, heartbeats.
    pub(super) fn advance(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.run_timeline(now_ns);
        if now_ns >= self.market_due_ns() {
            self.gathered_ns = now_ns + GATHER_NS;
            self.trade(now_ns);
        }
        self.seen.frames_lost += self.lines.values_mut().map(|line| line.beat(now_ns)).sum::<u64>();
    }

    /// When [`Exchange::advance`] has something to do.
    pub(super) fn due_ns(&self) -> u64 {
        let lines = self.lines.values().map(|line| line.due_ns(self.now_ns)).min();
        let others = [lines, self.timeline.due_ns()].into_iter().flatten();
        others.fold(self.market_due_ns(), u64::min)
    }

    /// What has happened, but for the open connections.
    #[cfg(test)]
    pub(super) fn seen(&self) -> &Observation {
        &self.seen
    }

    fn market_due_ns(&self) -> u64 {
        self.market.due_ns().unwrap_or(u64::MAX).max(self.gathered_ns)
    }

    fn run_timeline(&mut self, now_ns: u64) {
        while let Some(injection) = self.timeline.next(now_ns) {
            self.inject(&injection, now_ns);
        }
    }

    /// Lets the market go on and sends what it did.
    fn trade(&mut self, now_ns: u64) {
        let Self { market, quotes, lines, seen, .. } = self;
        market.poll(now_ns, BUDGET, &mut |message| {
            // The market's own messages are whole.
            for bytes in packets(message).into_iter().flatten() {
                let (Some(packet), Some(token)) = (Packet::new(bytes), bytes.first_chunk()) else { continue };
                let token = u32::from_be_bytes(*token);
                let before = quotes.insert(token, packet);
                for line in lines.values_mut() {
                    seen.packets += line.tick(token, &packet, before.as_ref(), now_ns);
                    seen.frames_lost += line.flush_full(now_ns);
                }
            }
        });
        seen.frames_lost += lines.values_mut().map(|line| line.flush(now_ns)).sum::<u64>();
    }

    pub(super) fn obey(&mut self, command: Command, now_ns: u64) {
        match command {
            Command::Admit { key, reply } => {
                self.timeline.handshake(now_ns);
                self.run_timeline(now_ns);
                let outcome = self.admit(key, now_ns);
                if let Err(refused) = &outcome {
                    self.turn_away(refused.status);
                }
                let line = outcome.as_ref().ok().map(|admitted| admitted.line);
                if reply.send(outcome).is_err() {
                    // Whoever asked has hung up.
                    line.map(|line| self.lines.remove(&line));
                }
            }
            Command::Turn { status } => {
                self.timeline.handshake(now_ns);
                self.turn_away(status);
            }
            Command::Said { line, text } => self.said(line, &text, now_ns),
            Command::Gone { line } => {
                if self.lines.remove(&line).is_some() {
                    tracing::info!(connection = line, open = self.lines.len(), "connection closed by the client");
                }
            }
            Command::Inject { injection, reply } => {
                let _ = reply.send(self.inject(&injection, now_ns));
            }
            Command::Heal { reply } => {
                self.heal(now_ns);
                let _ = reply.send(());
            }
            Command::Observe { reply } => {
                let connections =
                    self.lines.values().map(|line| line.wanted.iter().map(|(&token, &mode)| (token, mode)));
                let connections = connections.map(Iterator::collect).collect();
                let _ = reply.send(Observation { connections, ..self.seen.clone() });
            }
        }
    }

    fn turn_away(&mut self, status: u16) {
        *self.seen.refused.entry(status).or_default() += 1;
        tracing::info!(status, "handshake refused");
    }

    fn admit(&mut self, key: String, now_ns: u64) -> Result<Admitted, Refused> {
        if let Some((status, until_ns)) = self.refuse
            && now_ns < until_ns
        {
            return Err(Refused { status, reason: "refused by a fault of the sandbox" });
        }
        if self.lines.values().filter(|line| line.key == key).count() >= self.max_connections {
            return Err(Refused { status: 429, reason: "Too many connections of this api_key." });
        }
        let line = self.next_line;
        self.next_line += 1;
        let (frames, outgoing) = mpsc::channel(WAITING_FRAMES);
        let pace = Arc::<Pace>::default();
        let mut opened = Line::new(key, frames, Arc::clone(&pace), self.troubles, now_ns);
        let count = self.quotes.len();
        let greeting = json!({"type": "instruments_meta", "data": {"count": count, "etag": format!("W/\"{count}\"")}});
        self.seen.frames_lost += opened.send(Message::text(greeting.to_string()), now_ns);
        opened.beat(now_ns);
        self.lines.insert(line, opened);
        self.seen.admitted += 1;
        tracing::info!(connection = line, open = self.lines.len(), "connection opened");
        Ok(Admitted { line, outgoing, pace })
    }

    fn said(&mut self, line: u64, text: &[u8], now_ns: u64) {
        let Some(line) = self.lines.get_mut(&line) else { return };
        let complain = |line: &Line, data: &str| {
            line.send(Message::text(json!({"type": "error", "data": data}).to_string()), now_ns)
        };
        let (tokens, mode) = match Request::parse(text) {
            Ok(Request::Subscribe(tokens)) => (tokens, None),
            Ok(Request::Mode(mode, tokens)) => (tokens, Some(mode)),
            Ok(Request::Unsubscribe(tokens)) => {
                for token in &tokens {
                    line.wanted.remove(token);
                }
                return;
            }
            Err(complaint) => {
                self.seen.frames_lost += complain(line, &complaint);
                return;
            }
        };
        let mut over = false;
        for token in tokens {
            if !line.wanted.contains_key(&token) && line.wanted.len() >= self.max_tokens {
                over = true;
                continue;
            }
            // A subscription alone is in mode quote, and leaves the mode of one that is there.
            let entry = line.wanted.entry(token).or_insert(Mode::Quote);
            *entry = mode.unwrap_or(*entry);
            let shown = *entry;
            // The last value at once, however old; an instrument that nobody lists stays silent.
            if let Some(quote) = self.quotes.get(&token) {
                line.show(quote, shown);
                self.seen.packets += 1;
                self.seen.frames_lost += line.flush_full(now_ns);
            }
        }
        self.seen.frames_lost += line.flush(now_ns);
        if over {
            let complaint = format!("Can't subscribe to more than {} instruments.", self.max_tokens);
            self.seen.frames_lost += complain(line, &complaint);
        }
    }

    /// Whom an injection hits.
    fn reached(&mut self, injection: &Injection) -> Vec<u64> {
        let all: Vec<u64> = self.lines.keys().copied().collect();
        if injection.reach == Reach::All || !injection.fault.is_of_a_connection() || all.is_empty() {
            return all;
        }
        vec![all[self.random.random_range(0..all.len())]]
    }

    fn inject(&mut self, injection: &Injection, now_ns: u64) -> usize {
        let fault = &injection.fault;
        let reached = self.reached(injection);
        if fault.lasts() && injection.reach == Reach::All {
            self.troubles.note(injection, now_ns);
        }
        match fault {
            Fault::Refuse { status } => self.refuse = Some((*status, until(injection, now_ns))),
            Fault::DayRollover => self.market.begin_day(now_ns),
            Fault::Drop => reached.iter().for_each(|line| drop(self.lines.remove(line))),
            _ => {}
        }
        let Self { lines, quotes, seen, .. } = self;
        for line in &reached {
            let Some(line) = lines.get_mut(line) else { continue };
            match fault {
                Fault::Order { text } => seen.frames_lost += line.send(Message::text(text.clone()), now_ns),
                Fault::Malformed(how) => {
                    let token = line.wanted.iter().filter(|(token, _)| quotes.contains_key(token)).min();
                    let packet = token.map(|(token, mode)| (&quotes[token], *mode));
                    seen.frames_lost += line.spoil(*how, packet, now_ns);
                }
                _ => {
                    line.troubles.note(injection, now_ns);
                    seen.frames_lost += line.beat(now_ns);
                }
            }
        }
        *seen.injected.entry(fault.name()).or_default() += 1;
        let lasting_ms = injection.length.map(|length: Duration| length.as_millis() as u64);
        tracing::info!(fault = fault.name(), connections = reached.len(), lasting_ms, "fault injected");
        reached.len()
    }

    fn heal(&mut self, now_ns: u64) {
        self.refuse = None;
        self.troubles = Troubles::default();
        for line in self.lines.values_mut() {
            line.troubles = Troubles::default();
            line.beat(now_ns);
        }
        tracing::info!("faults end");
    }
}
