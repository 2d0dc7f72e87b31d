//! The program records the sandbox, is killed, and loses no more than what it had not flushed.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::eventually_true;
use support::sandbox::Stand;
use support::ticks::{INFY, full, message};
use tickfan::clock::Clock;
use tickfan::feed::Feed;
use tickfan::feed::tape::{Speed, Start, TapeFeed, TapeOptions};
use tickfan::record::{Recording, record};
use tickfan::tape::{Reel, TapeEnd, scan, tapes_at};

/// `tickfan record` of the sandbox; dies with the test.
struct Recorder(Child);

impl Recorder {
    fn start(stand: &Stand, output: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickfan"));
        command.arg("record").arg(output).args(["--feed", "kite", "--kite-root", &stand.sandbox.root()]);
        command.args(["--symbol", "RELIANCE", "--symbol", "INFY", "--log", "warn"]).args(more);
        command.env_clear().env("KITE_API_KEY", "key").env("KITE_ACCESS_TOKEN", "token");
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// kill -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Waits until several blocks are on the tape behind that time.
fn until_recorded(path: &Path, since_ns: u64) {
    let several_ns = 1_700_000_000;
    eventually_true("recorded", || {
        scan(path).is_ok_and(|found| found.messages > 0 && found.last_ns > since_ns.max(found.first_ns) + several_ns)
    });
}

/// Plays everything at once.
fn replay(path: &Path) -> u64 {
    let options = TapeOptions { speed: Speed::Max, start: Start::AtOnce, ..TapeOptions::new(path) };
    let mut feed = TapeFeed::open(options).unwrap();
    let mut messages = 0;
    while feed.poll(0, 1_000, &mut |_| messages += 1) > 0 {}
    assert!(feed.progress().finished());
    messages
}

#[test]
fn a_recorder_that_is_killed_loses_what_it_had_not_flushed() {
    let stand = Stand::new(|settings| settings.market.rate = 5_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let mut recorder = Recorder::start(&stand, &path, &[]);
    until_recorded(&path, 0);
    let flushed = scan(&path).unwrap().messages;
    let killed_ns = unix_ns();
    recorder.kill();
    let found = scan(&path).unwrap();
    // How much that may be by the recorder's own clock, see below: this machine's may have been busy with others.
    println!("killed: the last {:?} are lost", Duration::from_nanos(killed_ns.saturating_sub(found.last_ns)));
    assert!(found.messages >= flushed, "{flushed} were on the disk");
    assert_eq!((found.tokens.len(), found.broken), (2, 0));
    assert_eq!(replay(&path), found.messages);

    // Killed while it wrote: half of a block is at the end.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let torn = scan(&path).unwrap();
    assert!(matches!(torn.end, TapeEnd::Torn { .. }) && 0 < torn.messages && torn.messages < found.messages);
    let mut recorder = Recorder::start(&stand, &path, &[]);
    until_recorded(&path, killed_ns);
    recorder.kill();
    let longer = scan(&path).unwrap();
    assert_eq!((longer.first_ns, longer.end), (found.first_ns, TapeEnd::Complete));
    assert_eq!(replay(&path), longer.messages);
}

/// A feed with a message every 50 ms of a clock that it moves, which looks before each at what is on the disk.
struct Witness {
    clock: Clock,
    path: PathBuf,
    message: Vec<u8>,
    /// The most that a kill would have lost so far.
    worst: Duration,
}

impl Feed for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn poll(&mut self, now_ns: u64, _: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let kept_ns = scan(&self.path).ok().map(|found| found.last_ns).filter(|last_ns| *last_ns > 0);
        let lost_ns = self.clock.unix_ns(now_ns) - kept_ns.unwrap_or(self.clock.unix_ns(0));
        self.worst = self.worst.max(Duration::from_nanos(lost_ns));
        sink(&self.message);
        self.clock.advance(Duration::from_millis(50));
        1
    }

    fn due_ns(&self) -> Option<u64> {
        Some(0)
    }
}

#[test]
fn at_no_moment_would_a_kill_lose_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.tape");
    let clock = Clock::manual(1_762_257_900_000_000_000);
    let message = message(&[full(INFY, 1)]);
    let mut feed = Witness { clock: clock.clone(), path: path.clone(), message, worst: Duration::ZERO };
    let (stop, length) = (AtomicBool::new(false), Some(Duration::from_secs(10)));
    let recording = Recording { tokens: &[], path: &path, most_bytes: u64::MAX, length, stop: &stop };
    let recorded = record(&mut feed, &mut mio::Poll::new().unwrap(), &clock, recording, |_| {}).unwrap();
    assert_eq!((recorded.messages, scan(&path).unwrap().messages), (200, 200));
    println!("at most {:?} were not on the disk", feed.worst);
    assert!(feed.worst < Duration::from_secs(1), "{:?}", feed.worst);
}

#[test]
fn a_folder_gets_another_tape_when_one_is_full() {
    let stand = Stand::new(|settings| {
        settings.market.rate = 40_000;
        settings.market.instruments = 9;
    });
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(&stand, folder.path(), &["--max-mib", "1"]);
    eventually_true("a second tape", || {
        tapes_at(folder.path()).is_ok_and(|tapes| tapes.len() >= 2) && scan(folder.path()).is_ok()
    });
    recorder.kill();
    let tapes = tapes_at(folder.path()).unwrap();
    assert!(tapes[0].to_str().unwrap().ends_with("-0001.tape") && tapes[1].to_str().unwrap().ends_with("-0002.tape"));
    assert!(std::fs::metadata(&tapes[0]).unwrap().len() >= 1 << 20);
    let mut reel = Reel::open(folder.path()).unwrap();
    let mut before_ns = 0;
    while reel.advance().unwrap() {
        assert!(reel.time_ns() >= before_ns, "in order");
        before_ns = reel.time_ns();
    }
    assert_eq!(replay(folder.path()), reel.records());
}
