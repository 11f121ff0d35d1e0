//! Files of the media directory, and none outside.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::storage::files::regular;

/// The media directory, held open.
#[derive(Debug)]
pub struct MediaDir {
    root: OwnedFd,
}

impl MediaDir {
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = File::open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(MediaDir { root: root.into() })
    }

    /// Opens a regular file by its path below the directory. The kernel sees to it that no `..` and no symbolic link leads
    /// out, at whatever moment one is put there.
    pub fn open_file(&self, entry: &str) -> io::Result<File> {
        // Non-blocking, so that a FIFO does not hold up a thread.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        let file = File::from(openat2(&self.root, entry, how)?);
        regular::check(&file.metadata()?)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_is_opened_and_nothing_but_files() {
        let tree = tempfile::tempdir().unwrap();
        let media = tree.path().join("media");
        fs::create_dir_all(media.join("object")).unwrap();
        fs::write(media.join("object/a.jpg"), "inside").unwrap();
        fs::write(tree.path().join("secret"), "outside").unwrap();
        symlink("object/a.jpg", media.join("in.jpg")).unwrap();
        symlink("../secret", media.join("out.jpg")).unwrap();
        symlink(tree.path(), media.join("up")).unwrap();
        nix::unistd::mkfifo(
            &media.join("fifo.jpg"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        let directory = MediaDir::open(&media).unwrap();
        for entry in ["object/a.jpg", "in.jpg", "object/../in.jpg"] {
            let mut content = String::new();
            let mut file = directory.open_file(entry).unwrap();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content, "inside", "{entry}");
        }
        let absolute = tree.path().join("secret");
        for entry in [
            "out.jpg",
            "up/secret",
            "../secret",
            "object/../../secret",
            absolute.to_str().unwrap(),
            "object",
            "fifo.jpg",
            "none.jpg",
            "",
        ] {
            assert!(directory.open_file(entry).is_err(), "{entry}");
        }
    }
}
