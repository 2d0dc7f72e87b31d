//! What was revoked, on disk, so that a restart lets nobody in again: a line of JSON each, appended and synced.

use super::revocation::Revocation;
use crate::private_file;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::PoisonError;

/// How much longer than needed a line is kept: a clock may be wrong when the program starts.
const LONGER_S: u64 = 7 * 86_400;

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
    /// Opens or begins a file that only its owner may read. What ended a week
    /// before `now`, Unix seconds, leaves it.
    ///
    /// # Errors
    /// When it cannot be used, or a line is none: to pass over one would let somebody in. Only of the last line a part may
    /// be missing, whose writer was killed before anybody was told that it holds.
    pub fn open(path: &Path, now: u64) -> io::Result<Self> {
        let mut file = private_file::open(path)?;
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
        let found: Vec<Kept> = found.collect::<io::Result<_>>()?;
        let (found, ended): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|kept| kept.until.saturating_add(LONGER_S) > now);
        if !ended.is_empty() {
            file = private_file::replace(path, &written(&found)?)?;
            // Or a loss of power could bring back the old one, without what will be appended.
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        }
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
        let kept: Vec<_> =
            revocations.iter().map(|revocation| Kept { revocation: revocation.clone(), until }).collect();
        let lines = written(&kept)?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&lines)?;
        file.sync_data()
    }
}

fn written(kept: &[Kept]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for kept in kept {
        serde_json::to_writer(&mut lines, kept)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_appended_is_found_again_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revocations.jsonl");
        let token = Revocation::Token { jti: "a".into() };
        let user = Revocation::User { user: "ann@x\n\"".into(), issued_before: 7 };
        Archive::open(&path, 1).unwrap().append(&[token.clone(), user.clone()], u64::MAX).unwrap();
        std::fs::write(&path, [&std::fs::read(&path).unwrap()[..], b"{\"jti\":\"b"].concat()).unwrap();
        let mut archive = Archive::open(&path, 1).unwrap();
        let found: Vec<_> = archive.take_found().into_iter().map(|kept| (kept.revocation, kept.until)).collect();
        assert_eq!(found, [(token.clone(), u64::MAX), (user, u64::MAX)]);
        archive.append(&[token], 5).unwrap();
        assert_eq!(Archive::open(&path, 1).unwrap().take_found().len(), 3);
    }

    #[test]
    fn what_has_ended_leaves_the_file_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revocations.jsonl");
        let revocation = |jti: &str| Revocation::Token { jti: jti.into() };
        let archive = Archive::open(&path, 1).unwrap();
        for (jti, until) in [("a", 10), ("b", 30), ("c", 20), ("d", u64::MAX)] {
            archive.append(&[revocation(jti)], until).unwrap();
        }
        // Killed in the middle of it.
        std::fs::write(dir.path().join("revocations.jsonl.new"), "half a li").unwrap();
        let mut archive = Archive::open(&path, LONGER_S + 20).unwrap();
        archive.append(&[revocation("e")], 40).unwrap();
        let found = archive.take_found();
        assert_eq!(found.iter().map(|kept| kept.until).collect::<Vec<_>>(), [30, u64::MAX]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().map(|line| &line[8..9]).collect::<String>(), "bde", "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_is_none_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revocations.jsonl");
        std::fs::write(&path, "{\"jti\":\"a\",\"until\":9}\n{\"jti\":7}\n").unwrap();
        assert!(Archive::open(&path, 1).unwrap_err().to_string().contains("line 2"));
    }
}
