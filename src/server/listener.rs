//! Where clients connect: an address, a Unix socket, or a socket that was opened before the program began.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::storage::files::complete::has_name;
use crate::storage::files::regular;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Port 0 is any that is free.
    Address(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Address(address) => write!(to, "{address}"),
            Listen::Unix(path) => write!(to, "unix:{}", path.display()),
        }
    }
}

/// A socket at which clients connect.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    /// Removes the file at the end; none where another program sees to it, or there is none.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the port or the file is in use, or may not be had.
    pub fn open(listen: &Listen) -> Result<Self> {
        let opened = match listen {
            Listen::Address(address) => TcpListener::bind(address).map(|listener| Listener {
                socket: Socket::Tcp(listener),
                _file: None,
            }),
            Listen::Unix(path) => SocketFile::listen(path).map(|(listener, file)| Listener {
                socket: Socket::Unix(listener),
                _file: Some(file),
            }),
        };
        opened.with_context(|| {
            format!(
                "cannot listen on {listen}; --listen names another address, and port 0 any port that is free"
            )
        })
    }

    /// The socket that systemd passes on, where it started the program because of a client (`LISTEN_FDS`). To be called
    /// before there are threads, since it takes the variables out of the environment.
    ///
    /// # Errors
    /// When there are several sockets, or it is none for streams.
    pub fn inherited() -> Result<Option<Self>> {
        let mut passed = ListenFd::from_env();
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            several => {
                bail!("systemd passes on {several} sockets, and serve takes one: a unit for each")
            }
        }
        let socket = match passed.take_tcp_listener(0) {
            Ok(tcp) => tcp.map(Socket::Tcp),
            // It stays there to be taken as what it is.
            Err(_) => (passed.take_unix_listener(0))
                .context("the socket that systemd passes on is neither of TCP nor a Unix socket for streams")?
                .map(Socket::Unix),
        };
        Ok(socket.map(|socket| Listener {
            socket,
            _file: None,
        }))
    }

    /// The address, where it is one.
    pub(super) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Some),
            Socket::Unix(_) => Ok(None),
        }
    }

    /// What a user is told about where it is.
    pub(super) fn shown(&self) -> io::Result<String> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => format!("http://{}", listener.local_addr()?),
            Socket::Unix(listener) => match listener.local_addr()?.as_pathname() {
                Some(path) => format!("unix:{}", path.display()),
                None => "a Unix socket without a name".to_owned(),
            },
        })
    }
}

/// The file of a Unix socket, and a lock beside it for as long as somebody listens; both go with this.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: String,
    /// Removed after the socket.
    lock: SocketLock,
}

impl SocketFile {
    /// Listens at a path. A socket that a killed server left is replaced, and nothing else is.
    fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        let lock = SocketLock::take(path)?;
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // To connect would tell as well; the program makes no connections.
                if fs::read_to_string(&lock.path)? != identity(path)? {
                    return Err(error);
                }
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        // Where the lock cannot be written, the socket goes again: no server would replace it.
        let file = SocketFile {
            path: path.to_owned(),
            identity: identity(path)?,
            lock,
        };
        fs::write(&file.lock.path, &file.identity)?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have put its own there.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // The next server replaces what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from all others that have been, or will be, at its path.
fn identity(path: &Path) -> io::Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    let (device, number) = (metadata.dev(), metadata.ino());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{device} {number} {seconds}.{nanoseconds:09}\n"))
}

/// A locked file beside a socket, `PATH.lock`, which says which socket its holder made. It is free once that has ended,
/// in whatever way.
#[derive(Debug)]
struct SocketLock {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl SocketLock {
    /// Takes the lock, unless somebody holds it.
    fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(O_NOFOLLOW | O_NONBLOCK)
                .open(&path)?;
            regular::check(&file.metadata()?)?;
            if is_locked(&file, &path)? {
                return Ok(SocketLock { path, _file: file });
            }
        }
    }
}

/// Locks a file, unless somebody holds it. False where it has lost its name by then: its holder removed it at the end,
/// and the next one to come would lock another file of that name.
fn is_locked(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => has_name(file, path),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::AddrInUse.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_that_its_holder_has_removed_locks_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let [socket, path] = ["socket", "socket.lock"].map(|name| directory.path().join(name));
        let first = SocketLock::take(&socket).unwrap();
        // A second server opens the file of the first, and locks it only when that has ended and a third has begun.
        let opened = File::open(&path).unwrap();
        let error = is_locked(&opened, &path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let third = SocketLock::take(&socket).unwrap();
        assert!(!is_locked(&opened, &path).unwrap());
        let error = SocketLock::take(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(third);
        assert!(!path.exists());
        drop(SocketLock::take(&socket).unwrap());
    }
}
