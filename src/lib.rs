//! tickfan brings one Kite market-data feed to thousands of browser tabs, each of which gets exactly what it subscribed
//! to and nothing else.
//!
//! # The route of a tick
//!
//! Eight stops, named alike in code, metrics and histograms ([`stats::Stop`]):
//!
//! 1. **feed** ([`feed`]) yields one binary message and stamps it, once. The feed is Kite's socket, the embedded
//!    [market](feed::market), or a recorded [tape](feed::tape): all go the same way from here.
//! 2. **packet** ([`kite::packet`]) cuts it into packets and decodes each into a [`market::Tick`], a plain value whose
//!    prices stay the integers of the wire.
//! 3. **board** ([`fanout::board`]) finds the slot of the instrument token, in a table that is replaced whole.
//! 4. **slot** ([`fanout::slot`]) keeps the tick as its newest value and loads its list of subscribers, once.
//! 5. **wire** ([`wire::push`]) writes the message, once in each encoding that a subscriber wants.
//! 6. **ring** ([`fanout::ring`]) of each subscriber is offered the update: queued, or, when it is full, conflated.
//! 7. **writer** ([`session::writer`]) takes what waits for a tab: throttles it, batches it, puts it into one buffer.
//! 8. **socket** ([`session::tab`]): one write. What the socket does not take waits until it says that it has room.
//!
//! The trade-off behind the ring: a tab that keeps up gets every tick; one that does not gets, of each token, the newest
//! value at the moment its socket can take it, and is told how many it missed. It never delays another, and the last
//! value always arrives. When it is the machine that cannot keep up ([`duty::Overload`]), all tabs skip what has grown old
//! in favour of what is newer: more than can be sent costs values, evenly, and not their age.
//!
//! # Threads
//!
//! The *data plane* is a [duty cycle](duty): poll the feed, give the writer its turn, sleep when neither had work. A
//! wake-up of a sleeping thread costs as much as ten sends (33 to 70 us where this was written), so by default feed and
//! writer are parts of **one** thread, and a tick is never handed over. With cores to burn they run on threads of their
//! own that spin or yield (`threads = split`). The parts are the same, and each is owned by one thread.
//!
//! The *engine* ([`engine`]) is a thread beside the data plane and one more subscriber of its board: it computes candles
//! and indicators, once for all who want them, and delivers them through [series](fanout::series). It polls, and is never
//! waited for.
//!
//! The *control side* is a small tokio runtime: accepting, HTTP, handshakes, the clients' requests, connecting to Kite,
//! all that waits. It reaches the data plane through bounded queues only ([`session::door`], [`duty::FeedDoor`]), and the
//! data plane reaches it through atomics and bounded channels. Between stops 2 and 8 there is no lock, no log line, no
//! await, and, when warm, no allocation.
//!
//! A socket is read by the control side (tungstenite) and written by its writer alone.
//!
//! # Who may know whom
//!
//! Each line knows only what stands below it, which `tests/layers.rs` checks.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cli`] | the commands |
//! | [`assembly`] | settings to parts; with `cli` the only one that sees [`config`] |
//! | [`gateway`] | builds, wires, starts and stops the parts |
//! | [`freshness`] | tells tabs when what they see grows old |
//! | [`duty`], [`server`], [`record`] | the data plane's loop; HTTP and upgrades; a feed onto a tape |
//! | [`session`] | one browser tab: its reading and its writing half, of ticks, of indicators, of Kite's protocol |
//! | [`engine`] | candles, indicators and alerts, computed once on a thread of their own |
//! | [`sandbox`] | the embedded market behind a socket like Kite's, with faults on demand |
//! | [`feed`], [`demand`] | sources of messages; what the subscribers together want of them |
//! | [`fanout`] | the lock-free middle: slots, rings, the board, the publisher |
//! | [`decode`], [`candles`], [`indicators`] | at the desk: a tape's ticks and candles, indicators over a file of bars |
//! | [`history`], [`store`] | closed bars of the past, from Kite or from files; bars that survive a restart |
//! | [`resume`] | what sessions have, kept over a lost connection and a restart |
//! | [`identity`] | who a client is and what it may do: tokens, keys, revocations |
//! | [`wire`], [`kite`], [`tape`] | messages to clients, Kite's bytes, recorded files |
//! | [`market`] | what a market is: ticks, sessions, candles, indicators; values and arithmetic |
//! | [`account`] | what happened to whom, what is wanted most |
//!
//! [`clock`], [`stats`], [`secret`], [`room`] and [`private_file`] serve all but `market`. Data flows down through slots;
//! demand flows up from the board as events, so sessions drive Kite without knowing that it exists.
//!
//! To read on: [`fanout::slot`], then [`fanout::publisher`] and [`session::tab`].

pub mod account;
pub mod assembly;
pub mod candles;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod demand;
pub mod duty;
pub mod engine;
pub mod fanout;
pub mod feed;
pub mod freshness;
pub mod gateway;
pub mod history;
pub mod identity;
pub mod indicators;
pub mod kite;
pub mod market;
pub mod private_file;
pub mod record;
pub mod resume;
pub mod room;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod session;
pub mod stats;
pub mod store;
pub mod tape;
pub mod wire;
