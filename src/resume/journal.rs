//! The file in which sessions outlive the program, and the thread that writes it.
//!
//! A first line names the version; then a line for each record: the CRC-32 of the rest in hex, a space, the record in
//! JSON. Of several records of one session the last counts. It is only appended to, and replaced whole when most of it is
//! old: a kill at any moment loses what was not written, the last [`POLL`] and a bit, and a torn line is skipped. Its time
//! of modification is set every second: until then those sessions were served that have no end in it. Only its owner may
//! read it, since it says who watches what.

use super::record::{Record, VERSION};
use super::sessions::Sessions;
use crate::private_file;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NAME: &str = "journal";
const HEADER: &str = "tickfan sessions v1";
/// The thread looks this often for what has changed.
const POLL: Duration = Duration::from_millis(200);
/// How often the file says that the program is alive.
const ALIVE: Duration = Duration::from_secs(1);
/// The file is written anew when it has this many bytes, and four times as many as it needs.
const COMPACT: u64 = 1 << 20;

/// The folder of sessions cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {source}", path.display())]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// See the module. Owned by one thread, which it blocks.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
    /// What it had when it was written anew.
    base: u64,
    /// A line may have been cut: the next begins with a line's end.
    torn: bool,
}

impl Journal {
    /// Opens the folder, makes it if need be; returns the last record of each session in it, and how many lines were
    /// damaged or of another version. The caller sees to it that no other program has the folder.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(dir: &Path) -> Result<(Self, Vec<Record>, u64), JournalError> {
        let path = dir.join(NAME);
        let failed = |source| JournalError { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let (kept, ignored) = read(&path).map_err(failed)?;
        let mut journal = Self {
            dir: dir.to_owned(),
            file: private_file::open(&path).map_err(failed)?,
            bytes: 0,
            base: 0,
            torn: true,
        };
        // A file of another version, or one with a cut end, is not appended to.
        journal.rewrite(&kept).map_err(failed)?;
        Ok((journal, kept, ignored))
    }

    /// Appends records and hands them to the operating system.
    ///
    /// # Errors
    /// What the operating system says: they may be there in part, and are to be appended again.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut text = if self.torn { b"\n".to_vec() } else { Vec::new() };
        records.iter().for_each(|record| line(&mut text, record));
        self.torn = true;
        self.file.write_all(&text)?;
        self.torn = false;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Whether most of it is old.
    pub const fn is_long(&self) -> bool {
        self.bytes > COMPACT && self.bytes > 4 * self.base
    }

    /// Replaces it whole.
    ///
    /// # Errors
    /// What the operating system says; the old one stays then.
    pub fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let mut text = format!("{HEADER}\n").into_bytes();
        records.iter().for_each(|record| line(&mut text, record));
        self.file = private_file::replace(&self.dir.join(NAME), &text)?;
        self.bytes = text.len() as u64;
        self.base = self.bytes;
        self.torn = false;
        Ok(())
    }

    fn alive(&self) {
        // Without it a session looks older than it is: more is sent again.
        let _ = self.file.set_modified(SystemTime::now());
    }
}

fn line(out: &mut Vec<u8>, record: &Record) {
    let body = serde_json::to_string(record).unwrap_or_default();
    // Writing to memory does not fail.
    let _ = writeln!(out, "{:08x} {body}", crc32fast::hash(body.as_bytes()));
}

fn parse(line: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(line).ok()?;
    let (sum, body) = text.split_at_checked(8)?;
    let body = body.strip_prefix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(body.as_bytes())).then_some(())?;
    serde_json::from_str(body).ok().filter(|record: &Record| record.version == VERSION)
}

fn read(path: &Path) -> io::Result<(Vec<Record>, u64)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let alive = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut lines = BufReader::new(file).split(b'\n');
    match lines.next().transpose()? {
        Some(header) if header == HEADER.as_bytes() => {}
        Some(_) => return Ok((Vec::new(), 1)),
        None => return Ok((Vec::new(), 0)),
    }
    let (mut kept, mut ignored) = (HashMap::new(), 0);
    for line in lines {
        let line = line?;
        match parse(&line) {
            Some(mut record) => {
                // Its connection was there to the last.
                record.seen_at = Some(record.seen_at.unwrap_or(alive.max(record.written_at)));
                kept.insert(record.id, record);
            }
            None => ignored += u64::from(!line.is_empty()),
        }
    }
    Ok((kept.into_values().collect(), ignored))
}

/// The thread; dropping it writes what is marked and ends it.
#[derive(Debug)]
pub struct Scribe {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn start(journal: Journal, sessions: Arc<Sessions>) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let name = "tickfan-sessions".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || run(journal, &sessions, &stop))?;
        Ok(Self { stopping, thread: Some(thread) })
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }
}

fn run(mut journal: Journal, sessions: &Sessions, stop: &AtomicBool) {
    let mut alive = Instant::now();
    loop {
        // Read before the list: what was marked before the end is written.
        let stopping = stop.load(Ordering::Acquire);
        let records = sessions.take_dirty(usize::MAX);
        let written = if records.is_empty() { Ok(()) } else { journal.append(&records) };
        let written = written.and_then(|()| if journal.is_long() { journal.rewrite(&sessions.all()) } else { Ok(()) });
        match written {
            Ok(()) => {
                sessions.written();
                sessions.succeeded();
            }
            Err(error) => {
                sessions.not_written();
                sessions.failed(&error);
            }
        }
        if stopping || alive.elapsed() >= ALIVE {
            journal.alive();
            alive = Instant::now();
        }
        if stopping {
            return;
        }
        thread::park_timeout(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::SessionState;
    use super::super::token::{Fingerprint, SessionId};
    use super::*;

    fn record(id: u64, fence: u64) -> Record {
        let print = Fingerprint::of(b"x");
        let state = SessionState { connection: format!("ws_{id}"), ..SessionState::default() };
        let (id, seen_at, heard_at) = (SessionId(id), Some(5.0), None);
        Record { version: VERSION, id, secret: print, owner: print, fence, seen_at, heard_at, written_at: 1.0, state }
    }

    fn fences(dir: &Path) -> (Vec<(u64, u64)>, u64) {
        let (_, kept, ignored) = Journal::open(dir).unwrap();
        let mut fences: Vec<_> = kept.iter().map(|record| (record.id.0, record.fence)).collect();
        fences.sort_unstable();
        (fences, ignored)
    }

    #[test]
    fn the_last_record_of_each_session_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, kept, _) = Journal::open(dir.path()).unwrap();
        assert!(kept.is_empty());
        journal.append(&[record(1, 1), record(2, 1)]).unwrap();
        journal.append(&[record(1, 2)]).unwrap();
        assert_eq!(fences(dir.path()), (vec![(1, 2), (2, 1)], 0));
        assert_eq!(fences(dir.path()), (vec![(1, 2), (2, 1)], 0), "opening changes nothing");
    }

    #[test]
    fn what_is_cut_damaged_or_of_another_version_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let (mut journal, _, _) = Journal::open(dir.path()).unwrap();
        journal.append(&[record(1, 1), record(2, 1)]).unwrap();
        let mut later = record(3, 1);
        later.version = VERSION + 1;
        journal.append(&[later]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // Every cut leaves a beginning of what was there, and never anything else.
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (fences, _) = fences(dir.path());
            assert!([&[][..], &[(1, 1)], &[(1, 1), (2, 1)]].contains(&&fences[..]), "{end}: {fences:?}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(fences(dir.path()), (vec![(1, 1), (2, 1)], 1));
        let mut bent = std::fs::read(&path).unwrap();
        let at = HEADER.len() + 30;
        bent[at] ^= 1;
        std::fs::write(&path, &bent).unwrap();
        let (left, ignored) = fences(dir.path());
        assert_eq!((left.len(), ignored), (1, 1));
        std::fs::write(&path, "tickfan sessions v9\nwhatever\n").unwrap();
        assert_eq!(fences(dir.path()), (vec![], 1));
    }
}
