//! Files of the media directory, and none outside, unless links are to be followed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::storage::files::regular;
use crate::storage::media::MediaFile;
use crate::storage::tar;

/// The call that opens files beneath a directory is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "openat2: {0}; this call needs Linux 5.6, and in a container a seccomp profile that lets it through"
)]
struct NoOpenat2(Errno);

/// The media directory. It is opened anew for each picture: while the server runs, another one may take its place, or a
/// disk be mounted again.
#[derive(Clone, Debug)]
pub struct MediaDir {
    path: PathBuf,
    resolve: ResolveFlag,
}

impl MediaDir {
    /// Files are opened that are inside. The kernel sees to it that no `..` and no symbolic link leads out, at whatever
    /// moment one is put there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, ResolveFlag::RESOLVE_BENEATH)
    }

    /// Files are opened wherever symbolic links lead: the caller has to know that each path is one that may be opened.
    pub fn open_following_links(path: &Path) -> io::Result<Self> {
        Self::open_with(path, ResolveFlag::empty())
    }

    fn open_with(path: &Path, resolve: ResolveFlag) -> io::Result<Self> {
        if !File::open(path)?.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(MediaDir {
            path: path.to_owned(),
            // Never the files of a process, such as /proc/self/fd/0.
            resolve: resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        })
    }

    /// Whether files can be opened like this at all: the kernel may not know the call, or a container not let it through.
    ///
    /// # Errors
    /// When they cannot.
    pub fn check(&self) -> io::Result<()> {
        let root = File::open(&self.path)?;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(self.resolve);
        match openat2(&root, ".", how) {
            Ok(_) => Ok(()),
            Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => Err(io::Error::other(NoOpenat2(errno))),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a picture by its path below the directory: a file, or a member of a tar.
    pub fn open_picture(&self, entry: &str) -> io::Result<MediaFile> {
        let root = File::open(&self.path)?;
        for (tar, member) in tar::splits(entry) {
            if let Ok(file) = self.open_file(&root, tar) {
                return MediaFile::in_tar(file, member);
            }
        }
        MediaFile::of(self.open_file(&root, entry)?)
    }

    /// Opens a regular file by its path below the directory.
    fn open_file(&self, root: &File, entry: &str) -> io::Result<File> {
        // Non-blocking, so that a FIFO does not hold up a thread.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(self.resolve);
        let file = File::from(openat2(root, entry, how)?);
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
        let tar = |path| {
            let mut tar = ::tar::Builder::new(File::create(path).unwrap());
            let mut header = ::tar::Header::new_gnu();
            header.set_size(6);
            tar.append_data(&mut header, "a.jpg", &b"member"[..])
                .unwrap();
            tar.finish().unwrap();
        };
        tar(media.join("in.tar"));
        tar(tree.path().join("secret.tar"));
        symlink("../secret.tar", media.join("out.tar")).unwrap();
        symlink("in.tar", media.join("same.tar")).unwrap();
        let directory = MediaDir::open(&media).unwrap();
        for entry in ["in.tar/a.jpg", "same.tar/a.jpg"] {
            let mut content = String::new();
            let mut member = directory.open_picture(entry).unwrap();
            member.read_to_string(&mut content).unwrap();
            assert_eq!(content, "member", "{entry}");
        }
        for entry in [
            "out.tar/a.jpg",
            "up/secret.tar/a.jpg",
            "in.tar/../secret",
            "in.tar/b.jpg",
        ] {
            assert!(directory.open_picture(entry).is_err(), "{entry}");
        }
        for entry in ["object/a.jpg", "in.jpg", "object/../in.jpg"] {
            let mut content = String::new();
            let mut file = directory.open_picture(entry).unwrap();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content, "inside", "{entry}");
        }
        // Another directory has taken its place.
        fs::rename(&media, tree.path().join("before")).unwrap();
        fs::create_dir(&media).unwrap();
        fs::write(media.join("new.jpg"), "new").unwrap();
        assert!(directory.open_picture("new.jpg").is_ok());
        assert!(directory.open_picture("object/a.jpg").is_err());
        fs::remove_dir_all(&media).unwrap();
        fs::rename(tree.path().join("before"), &media).unwrap();
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
            assert!(directory.open_picture(entry).is_err(), "{entry}");
        }
        // Where links are followed, they may lead out, and still to nothing but files.
        let directory = MediaDir::open_following_links(&media).unwrap();
        for entry in ["out.jpg", "up/secret"] {
            let mut content = String::new();
            let mut file = directory.open_picture(entry).unwrap();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content, "outside", "{entry}");
        }
        symlink("/proc/self/fd/0", media.join("magic.jpg")).unwrap();
        for entry in ["object", "fifo.jpg", "none.jpg", "magic.jpg", ""] {
            assert!(directory.open_picture(entry).is_err(), "{entry}");
        }
    }
}
