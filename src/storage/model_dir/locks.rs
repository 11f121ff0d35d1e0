//! What keeps several processes apart that work in one directory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstat, major, minor};

use super::ModelDir;
use super::lease::{Lease, Leased, Purpose, Say};
use crate::support::fault;

/// The file below a model's directory whose locks tell processes who packs, makes the index, or adds to the report of
/// failures. (The files in `.claims` tell what is claimed.)
const LOCK: &str = ".lock";

impl ModelDir {
    /// The name of that file.
    pub(crate) const LOCK: &str = LOCK;

    /// Takes the lock that lets one process at a time change shards here, and then the lease, since a lock that succeeds proves
    /// nothing. `say` gets a line for each process that was killed here.
    ///
    /// # Errors
    /// When the lock or the lease cannot be taken for another reason than that somebody holds it; the error names the
    /// directory.
    pub fn lock_packing(&self, say: Say<'_>) -> Result<Packing> {
        let locked = self.lock_and_lease(say);
        locked.with_context(|| format!("cannot lock {}", self.path.display()))
    }

    fn lock_and_lease(&self, say: Say<'_>) -> io::Result<Packing> {
        let mut file = match self.lock_to_pack()? {
            Locked::Here(file) => file,
            Locked::HeldBy(holder) => return Ok(Packing::HeldBy(holder)),
        };
        if self.is_shown_late()? {
            say(&format!(
                "{} is an rclone mount, which shows to other machines what is written here after seconds or minutes: nothing \
                 keeps two that pack apart, and they would lose features; pack on one machine alone",
                self.path.display()
            ));
        }
        let lease = match self.lease(Purpose::Packing, say)? {
            Leased::Taken(lease) => lease,
            Leased::HeldBy(holder) => return Ok(Packing::HeldBy(holder)),
        };
        let host = nix::unistd::gethostname()?;
        let holder = format!(
            "process {} on {}\n",
            std::process::id(),
            host.to_string_lossy()
        );
        fault::step("empty the lock file", || file.set_len(0))?;
        fault::step("name the holder", || file.write_all(holder.as_bytes()))?;
        Ok(Packing::Locked(PackingLock { lease, file }))
    }

    /// Whether the directory is on a mount where not even a lease is seen in time. (By default rclone 1.60 gives a file
    /// to its store after five seconds, and looks at a folder again after five minutes: two `concat` lost 12 of 60
    /// features.)
    fn is_shown_late(&self) -> io::Result<bool> {
        let device = fstat(&self.root)?.st_dev;
        let device = format!("{}:{}", major(device), minor(device));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Ok(file_system(&mounts, &device) == Some("fuse.rclone"))
    }

    /// Takes the lease for the one `index` at a time that writes here. It may be made while another process packs.
    pub fn lease_index(&self, say: Say<'_>) -> io::Result<Leased> {
        let file = self.lock_file()?;
        if !lock_byte(&file, INDEXING_OFFSET, libc::F_WRLCK)? {
            let holder = self.lease_holder(Purpose::Indexing, true)?;
            return Ok(Leased::HeldBy(
                holder.unwrap_or_else(|| "another process".to_owned()),
            ));
        }
        let mut leased = self.lease(Purpose::Indexing, say)?;
        if let Leased::Taken(lease) = &mut leased {
            lease.lock = Some(file);
        }
        Ok(leased)
    }

    fn lock_to_pack(&self) -> io::Result<Locked> {
        for _ in 0..HOLDER_POLLS {
            let mut file = self.lock_file()?;
            if lock_byte(&file, PACKING_OFFSET, libc::F_WRLCK)? {
                return Ok(Locked::Here(file));
            }
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            if holder.ends_with('\n') {
                return Ok(Locked::HeldBy(holder.trim().to_owned()));
            }
            // It has just begun and not named itself yet, or is about to end.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Locked::HeldBy(self.name_of_packer()?))
    }

    /// The name of the process that has the lock, where the lock file does not tell: on NFS its machine keeps that for
    /// a while, and the lease does.
    fn name_of_packer(&self) -> io::Result<String> {
        let holder = self.lease_holder(Purpose::Packing, true)?;
        Ok(holder.unwrap_or_else(|| "another process".to_owned()))
    }

    /// What the process that packs here at this moment says about itself. Takes no lock and writes nothing.
    pub(crate) fn packing_holder(&self) -> io::Result<Option<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = match openat(&self.root, LOCK, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut lock = byte_lock(PACKING_OFFSET, libc::F_WRLCK);
        let asked = fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock));
        if asked.is_err() || lock.l_type == libc::F_UNLCK as libc::c_short {
            return self.lease_holder(Purpose::Packing, false);
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        Ok(Some(match holder.trim() {
            "" => self.name_of_packer()?,
            holder => holder.to_owned(),
        }))
    }

    /// When a process last began or ended to pack here.
    pub fn last_packed(&self) -> io::Result<Option<SystemTime>> {
        match fs::symlink_metadata(self.path.join(LOCK)) {
            Ok(metadata) => metadata.modified().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the lock that keeps the writers of the failure report apart.
    pub(crate) fn report_lock(&self) -> io::Result<RecordLock> {
        Ok(RecordLock {
            file: self.lock_file()?,
            offset: REPORT_OFFSET,
        })
    }

    pub(super) fn lock_file(&self) -> io::Result<File> {
        let file = open_lock(&self.root, LOCK)?;
        probe(&file)?;
        Ok(file)
    }
}

/// Opens a file for its locks, and makes it where it does not exist.
pub(super) fn open_lock(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = fault::step("create the lock file", || {
        openat(directory, name, flags, Mode::from_bits_truncate(0o666))
    });
    let in_the_way = || io::Error::other(format!("{name} is not a regular file; move it away"));
    let file: File = match opened {
        Ok(file) => file.into(),
        Err(Errno::ELOOP | Errno::EISDIR) => return Err(in_the_way()),
        Err(error) => return Err(error.into()),
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(in_the_way()),
    }
}

/// Fails where there are no locks. Asks with the call that is used later: 9p has no F_OFD_GETLK, and has locks.
fn probe(file: &File) -> io::Result<()> {
    let set = |kind| {
        let lock = byte_lock(PROBE_OFFSET, kind);
        fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock))
    };
    match set(libc::F_WRLCK) {
        // Another process tries at this moment.
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(()),
        Err(error) => Err(without_locks(error)),
        Ok(_) => {
            set(libc::F_UNLCK)?;
            Ok(())
        }
    }
}

/// How many times, a millisecond apart, a process that holds the lock is asked for its name.
const HOLDER_POLLS: usize = 1000;

/// The answer to [`ModelDir::lock_packing`].
#[derive(Debug)]
pub enum Packing {
    /// This process may pack, as long as it keeps the lock.
    Locked(PackingLock),
    /// Another process packs; the text is what it wrote about itself.
    HeldBy(String),
}

/// Whether this process has the lock.
enum Locked {
    Here(File),
    HeldBy(String),
}

/// The lock of a process that changes shards; given up when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct PackingLock {
    /// Given back before the lock: who has the lock and finds a lease takes its process for a killed one.
    lease: Lease,
    file: File,
}

impl PackingLock {
    /// Fails where another process has taken over, since this one seemed to have ended. Called before each step that
    /// removes something or puts it in place.
    pub fn check(&self) -> io::Result<()> {
        self.lease.check()
    }
}

impl Drop for PackingLock {
    fn drop(&mut self) {
        // Nothing depends on the text: it only names the holder.
        let _ = fault::step("empty the lock file", || self.file.set_len(0));
    }
}

/// The lock under which processes add to a file that they share.
#[derive(Debug)]
pub(crate) struct RecordLock {
    file: File,
    offset: i64,
}

impl RecordLock {
    /// Waits until no other process holds the lock, and holds it until the answer is dropped.
    ///
    /// # Errors
    /// Those of the system, and when another process has held it for two minutes.
    pub fn hold(&self) -> io::Result<impl Drop> {
        self.hold_within(RECORD_PATIENCE)
    }

    fn hold_within(&self, patience: Duration) -> io::Result<impl Drop> {
        struct Held<'a>(&'a RecordLock);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                let RecordLock { file, offset } = self.0;
                let _ = lock_byte(file, *offset, libc::F_UNLCK);
            }
        }
        // It is held for a few system calls, so that waiting is short, unless the other process is stopped or stuck.
        let begun = Instant::now();
        while !lock_byte(&self.file, self.offset, libc::F_WRLCK)? {
            if begun.elapsed() > patience {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another process holds its lock, and is stopped or stuck; end that one, or let it go on",
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Held(self))
    }
}

/// How long another process may add to a file that is shared: as long as it may hold what it has claimed.
const RECORD_PATIENCE: Duration = Duration::from_secs(120);

/// Offsets of locks. (The one after that of the report was taken once, for the record of sources.)
const PACKING_OFFSET: i64 = 1 << 62;
const REPORT_OFFSET: i64 = PACKING_OFFSET + 1;
const PROBE_OFFSET: i64 = PACKING_OFFSET + 3;
const INDEXING_OFFSET: i64 = PACKING_OFFSET + 4;

/// Why the lock file is of no use, by what the system says when it is asked for a lock. Without locks, several copies
/// would lose each other's failures; and a copy cannot know that it is alone.
fn without_locks(error: Errno) -> io::Error {
    match error {
        Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL => {
            io::Error::other(format!(
                "its file system does not support locks ({}); name a --feature-dir on another one, or have it mounted with locks \
             (NFS: version 4; or version 3 with rpc.statd, or with the option `nolock` where only this machine works \
             there)",
                error.desc()
            ))
        }
        error => error.into(),
    }
}

/// Sets or clears the lock on one byte of a file; `false` when another process holds it. The lock belongs to the
/// open file, not to the process, so that closing another handle of the same file does not lose it.
pub(super) fn lock_byte(file: &File, offset: i64, kind: libc::c_int) -> io::Result<bool> {
    if fault::locks_prove_nothing() {
        return Ok(true);
    }
    match fcntl(
        file.as_fd(),
        FcntlArg::F_OFD_SETLK(&byte_lock(offset, kind)),
    ) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn byte_lock(offset: i64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as _,
        l_whence: libc::SEEK_SET as _,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

/// The type of the file system with a device number, in the words of proc_pid_mountinfo(5).
fn file_system<'m>(mounts: &'m str, device: &str) -> Option<&'m str> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_it = mount.split(' ').nth(2) == Some(device);
        file_system.split(' ').next().filter(|_| is_it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_process_keeps_is_an_error_and_else_it_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let directory = ModelDir::create(root.path()).unwrap();
        let [one, other] = [(); 2].map(|()| directory.report_lock().unwrap());
        let held = one.hold().unwrap();
        let refused = other.hold_within(Duration::ZERO).map(drop);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(held);
        drop(other.hold().unwrap());
    }

    #[test]
    fn the_type_of_a_mount_is_found_by_its_device() {
        let mounts = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      90 27 0:51 / /mnt/a\\040b rw shared:3 - fuse.rclone store:photos rw,user_id=0\n";
        for (device, expected) in [
            ("254:0", Some("ext4")),
            ("0:51", Some("fuse.rclone")),
            ("0:5", None),
        ] {
            assert_eq!(file_system(mounts, device), expected, "{device}");
        }
    }

    #[test]
    fn a_file_system_without_locks_is_an_error_with_a_hint() {
        for error in [
            Errno::ENOLCK,
            Errno::EOPNOTSUPP,
            Errno::ENOSYS,
            Errno::EINVAL,
        ] {
            let message = without_locks(error).to_string();
            for part in ["does not support locks", error.desc(), "--feature-dir"] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
        assert_eq!(without_locks(Errno::EIO).raw_os_error(), Some(libc::EIO));
    }
}
