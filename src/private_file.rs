//! Files that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file to be read and appended to, or begins it. Blocks.
///
/// # Errors
/// What the operating system says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Replaces a file whole, and returns it to be appended to: whoever opens the path, also after a kill in the middle of it,
/// finds the old one or the new one. Blocks.
///
/// # Errors
/// What the operating system says; the old one stays then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // One that an earlier attempt left behind may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    // Or a loss of power could leave the new name with none of its content.
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_new_one_is_whole_is_appended_to_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, left) = (dir.path().join("a.txt"), dir.path().join("a.txt.new"));
        open(&path).unwrap().write_all(b"old").unwrap();
        fs::write(&left, "half of an earlier one").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new").unwrap().write_all(b", more").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new, more");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!left.exists());
    }
}
