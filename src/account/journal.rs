//! A file of lines that is replaced when it has become long, and the thread that writes it.
//!
//! Lines wait in a bounded queue: whoever writes one never waits for a disk. When the queue is full the line is lost, and
//! counted by who offered it.

use crate::private_file;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// How much of a journal is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// A file longer than this is put aside, bytes.
    pub bytes: u64,
    /// How many files that were put aside are kept: `audit.log.1` is the newest of them.
    pub files: usize,
}

/// See the module. Its thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: SyncSender<Message>,
    failed: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Most lines that wait.
const QUEUE: usize = 8_192;

impl Journal {
    /// Opens a file, continued behind its end, and starts the thread that writes it. Only its owner may read a new one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: PathBuf, keep: Keep) -> io::Result<Self> {
        let file = private_file::open(&path)?;
        let length = file.metadata()?.len();
        let (queue, lines) = sync_channel(QUEUE);
        let failed = Arc::new(AtomicU64::new(0));
        let writer = Writer { path, keep, file: BufWriter::new(file), length, failed: Arc::clone(&failed) };
        std::thread::Builder::new().name("tickfan-journal".into()).spawn(move || writer.run(&lines))?;
        Ok(Self { queue, failed })
    }

    /// Puts a line, with its line break, into the queue; false when that is full. Any thread; never waits.
    pub fn write(&self, line: String) -> bool {
        self.queue.try_send(Message::Line(line)).is_ok()
    }

    /// Lines the disk refused.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Until everything written so far lies in the file. Blocks.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// What the thread has.
struct Writer {
    path: PathBuf,
    keep: Keep,
    file: BufWriter<File>,
    length: u64,
    failed: Arc<AtomicU64>,
}

impl Writer {
    /// Until the journal is gone.
    fn run(mut self, lines: &Receiver<Message>) {
        while let Ok(mut message) = lines.recv() {
            loop {
                match message {
                    Message::Line(line) => self.line(&line),
                    Message::Flush(done) => {
                        self.flush();
                        let _ = done.send(());
                    }
                }
                match lines.try_recv() {
                    Ok(next) => message = next,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush() {
            self.fail(&error);
        }
    }

    fn line(&mut self, line: &str) {
        if self.length > 0 && self.length + line.len() as u64 > self.keep.bytes {
            self.rotate();
        }
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => self.length += line.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    /// Told once: a full disk would fill the log, too.
    fn fail(&self, error: &io::Error) {
        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(%error, file = %self.path.display(), "the audit log cannot be written; see tickfan_audit_lost_total");
        }
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) {
        self.flush();
        for number in (1..self.keep.files).rev() {
            // The file of that number may not be there yet.
            let _ = std::fs::rename(self.aside(number), self.aside(number + 1));
        }
        let moved = if self.keep.files == 0 {
            std::fs::remove_file(&self.path)
        } else {
            std::fs::rename(&self.path, self.aside(1))
        };
        match moved.and_then(|()| private_file::open(&self.path)) {
            Ok(file) => {
                self.file = BufWriter::new(file);
                self.length = 0;
            }
            // It goes on in the old one, and tries again after as many bytes.
            Err(error) => {
                self.length = 0;
                self.fail(&error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_put_aside_and_the_oldest_are_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let journal = Journal::open(path.clone(), Keep { bytes: 100, files: 2 }).unwrap();
        for number in 0..50 {
            assert!(journal.write(format!("line {number:02} ........\n")));
        }
        journal.flush();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let kept = [read("audit.log.2"), read("audit.log.1"), read("audit.log")];
        assert!(kept.iter().all(|text| !text.is_empty() && text.len() <= 100), "{kept:?}");
        let lines: Vec<_> = kept.iter().flat_map(|text| text.lines()).collect();
        let expected: Vec<_> = (50 - lines.len()..50).map(|number| format!("line {number:02} ........")).collect();
        assert_eq!(lines, expected, "the newest, in order, none cut");
        assert!(!dir.path().join("audit.log.3").exists());
        assert_eq!(journal.failed(), 0);

        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_journal_goes_on_behind_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for line in ["one\n", "two\n"] {
            let journal = Journal::open(path.clone(), Keep { bytes: 1_000, files: 1 }).unwrap();
            assert!(journal.write(line.into()));
            journal.flush();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
        assert!(Journal::open(dir.path().join("no/such/audit.log"), Keep { bytes: 1, files: 1 }).is_err());
    }
}
