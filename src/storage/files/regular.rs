//! Reading what must be a regular file, whatever is there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;

use crate::support::hints::NotRegular;

/// Opens a regular file for reading. Never waits for a pipe, and opens no device.
///
/// # Errors
/// [`NotRegular`] inside an [`io::Error`], and those of the system.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a device may do something already.
    check(&fs::metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file whole.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same for a file of the program's own, which is not read through a link: what is written in its place would leave
/// the file that the link leads to as it is.
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    match path.is_symlink() {
        true => Err(io::Error::other(NotRegular)),
        false => read(path),
    }
}

/// Refuses what is not a regular file.
pub fn check(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(NotRegular)),
    }
}
