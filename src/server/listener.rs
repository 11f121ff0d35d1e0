//! Where clients connect: an address, a Unix socket, or a socket that was opened before the program began.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

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

    /// The socket that systemd passes on, where it started the program because of a client (`LISTEN_FDS`). To be called before
    /// there are threads, since it takes the variables out of the environment.
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

/// The file of a Unix socket; it goes with this.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and the number of the file, so that no other one is removed.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens at a path. A socket that a killed server left is replaced, and nothing else is.
    fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        let folder = path.parent().filter(|path| *path != Path::new(""));
        let folder = File::open(folder.unwrap_or(Path::new(".")))?;
        // Two servers that start at once would both see that nobody answers, and one would replace the other's.
        folder.lock()?;
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path)? => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let file = SocketFile {
            path: path.to_owned(),
            identity: identity(path)?,
        };
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // The next server replaces what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether it is a socket at which nobody listens.
fn is_left_over(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    // Without waiting for a server that is there and takes nobody.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let answer = connect(client.as_raw_fd(), &UnixAddr::new(path)?);
    Ok(answer == Err(Errno::ECONNREFUSED))
}
