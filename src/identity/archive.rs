//! What was revoked, on disk, so that a restart lets nobody in again: a line of JSON each, appended and synced.

use super::revocation::Revocation;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::PoisonError;

#[expect(clippy::disallowed_types, reason = "operators only, around a write to the disk")]
type ColdMutex<T> = std::sync::Mutex<T>;

/// See the module. Blocks; any thread.
#[derive(Debug)]
pub struct Archive {
    file: ColdMutex<File>,
    found: Vec<Kept>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What is revoked.
    #[serde(flatten)]
    pub revocation: Revocation,
    /// For how long, Unix seconds.
    pub until: u64,
}

impl Archive {
    /// Opens or begins a file that only its owner may read.
    ///
    /// # Errors
    /// When it cannot be used, or a line is none: to pass over one would let somebody in. Only of the last line a part may
    /// be missing, whose writer was killed before anybody was told that it holds.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        let lines = text[..whole].lines().enumerate();
        let found = lines.map(|(at, line)| {
            serde_json::from_str(line).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}, line {}: {problem}", path.display(), at + 1))
            })
        });
        let found = found.collect::<io::Result<_>>()?;
        Ok(Self { file: ColdMutex::new(file), found })
    }

    /// What was found at opening, once.
    pub fn take_found(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.found)
    }

    /// Appends; afterwards they are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn append(&self, revocations: &[Revocation], until: u64) -> io::Result<()> {
        let mut lines = Vec::new();
        for revocation in revocations {
            serde_json::to_writer(&mut lines, &Kept { revocation: revocation.clone(), until })?;
            lines.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&lines)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_found_again_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revocations.jsonl");
        let token = Revocation::Token { jti: "a".into() };
        let user = Revocation::User { user: "ann@x\n\"".into(), issued_before: 7 };
        Archive::open(&path).unwrap().append(&[token.clone(), user.clone()], u64::MAX).unwrap();
        std::fs::write(&path, [&std::fs::read(&path).unwrap()[..], b"{\"jti\":\"b"].concat()).unwrap();
        let mut archive = Archive::open(&path).unwrap();
        let found: Vec<_> = archive.take_found().into_iter().map(|kept| (kept.revocation, kept.until)).collect();
        assert_eq!(found, [(token.clone(), u64::MAX), (user, u64::MAX)]);
        archive.append(&[token], 5).unwrap();
        assert_eq!(Archive::open(&path).unwrap().take_found().len(), 3);
    }

    #[test]
    fn a_line_that_is_none_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revocations.jsonl");
        std::fs::write(&path, "{\"jti\":\"a\",\"until\":9}\n{\"jti\":7}\n").unwrap();
        assert!(Archive::open(&path).unwrap_err().to_string().contains("line 2"));
    }
}
