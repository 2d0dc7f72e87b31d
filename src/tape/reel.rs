//! Tapes read one behind the other.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::{Records, TapeEnd, TapeError, TapeReader};

/// The tapes that a text names: the file itself; the tapes of a folder, by name, which is by time as
/// [`super::ReelWriter`] names them; or several of both with commas between them, in that order.
///
/// # Errors
/// When a folder cannot be read or has no tape. Whether a file is a tape shows when it is opened.
pub fn tapes_at(path: &Path) -> Result<Vec<PathBuf>, TapeError> {
    let names = path.to_str().filter(|names| names.contains(',') && !path.exists());
    let Some(names) = names else { return one(path) };
    let lists: Result<Vec<_>, _> = names.split(',').map(|name| one(Path::new(name.trim()))).collect();
    Ok(lists?.concat())
}

fn one(path: &Path) -> Result<Vec<PathBuf>, TapeError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut tapes: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        tapes.retain(|path| path.extension().is_some_and(|extension| extension == "tape"));
        tapes.sort();
        Ok(tapes)
    };
    let tapes = list().map_err(|source| TapeError::Io { path: path.into(), source })?;
    if tapes.is_empty() { Err(TapeError::NoTapes { path: path.into() }) } else { Ok(tapes) }
}

/// Several tapes as one. A tape that is not whole ends where its damage begins, and the next one follows.
#[derive(Debug)]
pub struct Reel {
    paths: Vec<PathBuf>,
    /// The one being read.
    at: usize,
    reader: TapeReader<BufReader<File>>,
    /// Records of the tapes before.
    before: u64,
    time_ns: u64,
    /// The first damage met, if any.
    damage: Option<TapeEnd>,
    over: bool,
}

impl Reel {
    /// Opens what [`tapes_at`] finds.
    ///
    /// # Errors
    /// As [`tapes_at`], and as [`TapeReader::open`] for the first tape.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        let paths = tapes_at(path)?;
        let reader = TapeReader::open(paths.first().map_or(path, PathBuf::as_path))?;
        Ok(Self { paths, at: 0, reader, before: 0, time_ns: 0, damage: None, over: false })
    }

    /// Moves on to the next record, of the next tape if need be; false at the end of the last.
    ///
    /// # Errors
    /// When a file can no longer be read, or a further one is no tape.
    pub fn advance(&mut self) -> Result<bool, TapeError> {
        while !self.over {
            if self.reader.advance()? {
                self.time_ns = self.reader.time_ns();
                return Ok(true);
            }
            let end = self.reader.end().filter(|end| *end != TapeEnd::Complete);
            self.damage = self.damage.or(end);
            match self.paths.get(self.at + 1) {
                Some(path) => {
                    let next = TapeReader::open(path)?;
                    self.before += self.reader.records();
                    self.reader = next;
                    self.at += 1;
                }
                None => self.over = true,
            }
        }
        Ok(false)
    }

    /// Receive time of the current record, nanoseconds since 1970; at the end that of the last one.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Message of the current record; of no meaning before the first and behind the last one.
    pub fn message(&self) -> &[u8] {
        self.reader.message()
    }

    /// How many good records were read so far.
    pub fn records(&self) -> u64 {
        self.before + self.reader.records()
    }

    /// The tape being read.
    pub fn path(&self) -> &Path {
        &self.reader.path
    }

    /// Goes back to before the first record.
    ///
    /// # Errors
    /// When the first tape cannot be opened any more.
    pub fn rewind(&mut self) -> Result<(), TapeError> {
        if self.at == 0 {
            self.reader.rewind()?;
        } else {
            self.reader = TapeReader::open(&self.paths[0])?;
        }
        (self.at, self.before, self.damage, self.over) = (0, 0, None, false);
        Ok(())
    }
}

impl Records for Reel {
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, TapeError> {
        Ok(if self.advance()? { Some((self.time_ns, self.reader.message())) } else { None })
    }

    /// The first damage in any of the tapes.
    fn end(&self) -> Option<TapeEnd> {
        self.over.then(|| self.damage.unwrap_or(TapeEnd::Complete))
    }
}
