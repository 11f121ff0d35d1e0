//! A process's signs of life.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::owner::Owner;
use super::{TIMES, Times};
use crate::storage::model_dir::DIRECTORY;
use crate::support::mutex::lock;

/// A thread that gives signs of life in a file that is there, until this is dropped.
#[derive(Debug)]
pub struct Beating {
    pub(super) heart: Arc<Heart>,
    thread: Option<JoinHandle<()>>,
}

impl Beating {
    /// For a file in a directory that other machines look at.
    pub fn in_file(directory: OwnedFd, path: PathBuf, name: String) -> io::Result<Self> {
        let owner = Owner::this(&directory)?;
        let beating = Self::begin(directory, path, name, TIMES, owner)?;
        beating.heart.beat()?;
        Ok(beating)
    }

    pub(super) fn begin(
        directory: OwnedFd,
        path: PathBuf,
        name: String,
        times: Times,
        owner: Owner,
    ) -> io::Result<Self> {
        let heart = Arc::new(Heart {
            directory,
            path,
            name,
            times,
            owner: Mutex::new(owner),
            last: Mutex::new(SystemTime::now()),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        });
        let beating = Arc::clone(&heart);
        let thread = thread::Builder::new().spawn(move || beating.beat_until_stopped())?;
        Ok(Beating {
            heart,
            thread: Some(thread),
        })
    }

    pub(super) fn stop(&mut self) {
        *lock(&self.heart.stopped) = true;
        self.heart.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What gives signs of life.
#[derive(Debug)]
pub struct Heart {
    /// Where the file is.
    pub(super) directory: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) times: Times,
    owner: Mutex<Owner>,
    /// When the last sign was given.
    pub(super) last: Mutex<SystemTime>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Heart {
    fn beat_until_stopped(&self) {
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let waited = self.stop.wait_timeout(stopped, self.times.beat);
            (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !*stopped {
                // The next step that changes a shard finds out, where this stays so.
                let _ = self.beat();
            }
        }
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// When the lease is not there any more, or cannot be written.
    pub(super) fn beat(&self) -> io::Result<()> {
        let mut owner = lock(&self.owner);
        owner.beat += 1;
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // The directory is opened anew, so that NFS asks its server.
        let file = openat(&self.directory, ".", DIRECTORY, Mode::empty())
            .and_then(|root| openat(&root, self.name.as_str(), flags, Mode::empty()));
        let file = match file {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => {
                return Err(io::Error::other(format!(
                    "another process has taken over while this one was stopped or cut off ({} is gone); nothing more is \
                     changed, run the same command again",
                    self.path.display()
                )));
            }
            Err(error) => return Err(error.into()),
        };
        file.write_all_at(&owner.content()?, 0)?;
        drop(file);
        *lock(&self.last) = SystemTime::now();
        Ok(())
    }
}
