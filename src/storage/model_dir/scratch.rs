//! Files that are not complete yet: where they are, and what becomes of those of killed processes. Among them is the
//! record of sources of a run, which is complete when the run ends, however it ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::lease::{Beating, is_left_over};
use super::locks::lock_byte;
use super::{DIRECTORY, ModelDir, has_no_name, not_opened};
use crate::storage::object_id::ObjectId;
use crate::support::fault;
use crate::support::mutex::lock;

/// The directory below a model's directory that holds the unfinished files of running processes.
pub(crate) const SCRATCH: &str = ".tmp";
/// The mode of new files, before the umask.
const READ_WRITE: Mode = Mode::from_bits_truncate(0o666);

impl ModelDir {
    /// Makes room for this process's unfinished files, and removes what killed processes left of theirs.
    pub fn scratch(&self) -> io::Result<Scratch> {
        loop {
            let made = fault::step("make the scratch directory", || {
                mkdirat(&self.root, SCRATCH, Mode::from_bits_truncate(0o777))
            });
            match made {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            match openat(&self.root, SCRATCH, DIRECTORY, Mode::empty()) {
                Ok(directory) => match Scratch::begin(self, directory)? {
                    Some(scratch) => return Ok(scratch),
                    None => continue,
                },
                // The last process before this one took the empty directory away just now.
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(not_opened(SCRATCH, error)),
            }
        }
    }

    /// Removes what killed processes left of their unfinished files.
    pub(crate) fn remove_leftovers(&self) -> io::Result<()> {
        match openat(&self.root, SCRATCH, DIRECTORY, Mode::empty()) {
            Ok(_) => self.scratch().map(drop),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(not_opened(SCRATCH, error)),
        }
    }
}

/// Room for the files of this process that are not complete yet, on the file system of the features: names in the
/// `.tmp` directory that begin with a prefix of its own.
///
/// The process holds a lock on `<prefix>.lock`, and gives signs of life in it. Where nobody holds it, and it does not
/// show that another machine lives whose locks are not seen here, the files with that prefix are leftovers of a killed
/// process, and the next [`ModelDir::scratch`] removes them.
#[derive(Debug)]
pub struct Scratch {
    /// The `.tmp` directory.
    directory: OwnedFd,
    /// The model's directory.
    root: OwnedFd,
    prefix: String,
    /// Keeps the threads apart that add to the record; whether its last line is cut off.
    record_is_cut: Mutex<bool>,
    /// Held as long as this process has unfinished files.
    _lock: File,
    _beating: Beating,
}

impl Scratch {
    /// `None` when the directory went away meanwhile.
    fn begin(of: &ModelDir, directory: OwnedFd) -> io::Result<Option<Self>> {
        loop {
            let prefix = format!("{:016x}", rand::random::<u64>());
            let name = format!("{prefix}{LOCK_SUFFIX}");
            let flags = OFlag::O_RDWR
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let made = fault::step("create the scratch lock", || {
                openat(&directory, name.as_str(), flags, READ_WRITE)
            });
            let lock = match made {
                Ok(lock) => File::from(lock),
                Err(Errno::EEXIST) => continue,
                Err(Errno::ENOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // Where the file system has no locks, nobody can take this for a leftover either. Where it does,
            // another process may have done so before the lock was taken: then the file has lost its name.
            let mine =
                lock_byte(&lock, 0, libc::F_WRLCK).unwrap_or(true) && lock.metadata()?.nlink() > 0;
            if mine {
                let path = of.path.join(SCRATCH).join(&name);
                let beating = Beating::in_file(directory.try_clone()?, path, name.clone())?;
                let root = of.root.try_clone()?;
                remove_leftovers(&directory, &root, &name)?;
                return Ok(Some(Scratch {
                    directory,
                    root,
                    prefix,
                    record_is_cut: Mutex::default(),
                    _lock: lock,
                    _beating: beating,
                }));
            }
        }
    }

    /// Writes the feature of an object, complete or not at all. `slot` tells the writers of one process apart;
    /// `bytes` is the whole file.
    ///
    /// The file is not made durable: a machine that loses power may lose it, and the next run recognises a torn
    /// one. (`fsync` for each small file costs a factor of 25.)
    pub fn write_feature(
        &self,
        directory: &ModelDir,
        id: &ObjectId,
        slot: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        let name = format!("{}.{slot}", self.prefix);
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        let mut file = fault::step("create a feature", || {
            openat(&self.directory, name.as_str(), flags, READ_WRITE).map(File::from)
        })?;
        fault::step("write a feature", || file.write_all(bytes))?;
        loop {
            let nested = directory.nested(id)?;
            let renamed = fault::step("rename a feature", || {
                renameat(
                    &self.directory,
                    name.as_str(),
                    &nested,
                    id.feature_name().as_str(),
                )
            });
            match renamed {
                // `concat` removed the nested directory while it was open: make it again.
                Err(Errno::ENOENT) if has_no_name(nested)? => continue,
                result => return Ok(result?),
            }
        }
    }

    /// Adds whole lines to the record of sources of this run, which no other process writes to.
    pub(crate) fn add_to_record(&self, lines: &[u8]) -> io::Result<()> {
        let mut is_cut = lock(&self.record_is_cut);
        let name = format!("{}{RECORD_SUFFIX}", self.prefix);
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_APPEND
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        // Opened each time: through s3fs the lines are safe when the file is closed.
        let mut file = fault::step("open the record of sources", || {
            openat(&self.directory, name.as_str(), flags, READ_WRITE).map(File::from)
        })?;
        if *is_cut {
            file.write_all(b"\n")?;
        }
        *is_cut = true;
        fault::step("record the sources", || file.write_all(lines))?;
        *is_cut = false;
        Ok(())
    }

    /// Makes the record durable and gives it its final name.
    pub(crate) fn finish_record(&self) -> io::Result<()> {
        let name = format!("{}{RECORD_SUFFIX}", self.prefix);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(
            &self.directory,
            name.as_str(),
            flags,
            Mode::empty(),
        )?);
        fault::step("sync the record of sources", || file.sync_all())?;
        Ok(finish_record(&self.directory, &self.root, &self.prefix)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed here is removed by the next process as a leftover.
        let _ = remove_with_prefix(&self.directory, &self.root, &self.prefix);
        // The directory goes with the last process.
        let _ = fault::step("remove the scratch directory", || {
            unlinkat(&self.root, SCRATCH, UnlinkatFlags::RemoveDir)
        });
    }
}

/// Ends the names of the files that tell whether a prefix is in use.
const LOCK_SUFFIX: &str = ".lock";
/// Ends those of the records of sources.
const RECORD_SUFFIX: &str = ".sources";
/// The final name of a record, where no other has it.
const RECORD: &str = "sources.jsonl";

/// Whether a file in the scratch directory is the record of sources of a run that has not ended, or was killed.
pub(crate) fn is_unfinished_record(name: &str) -> bool {
    name.ends_with(RECORD_SUFFIX)
}

/// Whether a file in a model's directory is a record of sources.
pub(crate) fn is_record(name: &str) -> bool {
    let middle = name.strip_prefix("sources.");
    let middle = middle.and_then(|rest| rest.strip_suffix(".jsonl"));
    let is_digits = |it: &str| it.len() == 16 && it.bytes().all(|byte| byte.is_ascii_hexdigit());
    name == RECORD || middle.is_some_and(is_digits)
}

/// Gives the record of sources of a run its final name.
fn finish_record(directory: &OwnedFd, root: &OwnedFd, prefix: &str) -> nix::Result<()> {
    let name = format!("{prefix}{RECORD_SUFFIX}");
    // Where that is taken, or the file system cannot tell in one step, as with NFS. Not after the run: of two processes
    // that took it for a leftover, one may have used that name.
    let other = format!("sources.{:016x}.jsonl", rand::random::<u64>());
    let (name, other) = (name.as_str(), other.as_str());
    let named = fault::step("name the record of sources", || {
        renameat2(directory, name, root, RECORD, RenameFlags::RENAME_NOREPLACE)
            .or_else(|_| renameat(directory, name, root, other))
    });
    match named {
        // Another process has done so.
        Err(Errno::ENOENT) => Ok(()),
        named => named,
    }
}

/// Removes the files of processes that have ended; `own` is the lock of this one.
fn remove_leftovers(directory: &OwnedFd, root: &OwnedFd, own: &str) -> io::Result<()> {
    for name in names_in(directory)? {
        let Some(prefix) = name.strip_suffix(LOCK_SUFFIX) else {
            continue;
        };
        if name == own {
            continue;
        }
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(lock) = openat(directory, name.as_str(), flags, Mode::empty()) else {
            continue;
        };
        // The lock is kept until the files are removed.
        let lock = File::from(lock);
        if let Ok(true) = lock_byte(&lock, 0, libc::F_WRLCK)
            && let Ok(true) = is_left_over(directory, &name, own)
        {
            remove_with_prefix(directory, root, prefix)?;
        }
    }
    Ok(())
}

/// Removes `<prefix>.*`, the lock last. The record of sources is kept, under its final name.
fn remove_with_prefix(directory: &OwnedFd, root: &OwnedFd, prefix: &str) -> io::Result<()> {
    let [lock, record] = [LOCK_SUFFIX, RECORD_SUFFIX].map(|suffix| format!("{prefix}{suffix}"));
    let mut names = names_in(directory)?;
    if names.contains(&record) {
        finish_record(directory, root, prefix)?;
    }
    names.retain(|name| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('.'))
            && ![&lock, &record].contains(&name)
    });
    for name in names.iter().chain([&lock]) {
        let removed = fault::step("remove a scratch file", || {
            unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir)
        });
        match removed {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The names in a directory, which is opened anew.
pub(super) fn names_in(directory: &impl AsFd) -> io::Result<Vec<String>> {
    let mut entries = nix::dir::Dir::openat(directory, ".", DIRECTORY, Mode::empty())?;
    let names = entries
        .iter()
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn unfinished_files_of_another_machine_go_when_it_is_silent_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let directory = ModelDir::create(root.path()).unwrap();
        let files = ["0123456789abcdef.lock", "0123456789abcdef.0"]
            .map(|name| root.path().join(SCRATCH).join(name));
        fs::create_dir(root.path().join(SCRATCH)).unwrap();
        let owner = r#"{"process":1,"host":"a","boot_id":"b","device":1,"pid_namespace":"","started":1,"beat":1}"#;
        for file in &files {
            fs::write(file, owner).unwrap();
        }
        // Its lock is free, as it would be where locks hold for one mount only.
        drop(directory.scratch().unwrap());
        assert!(files.iter().all(|file| file.exists()));
        let lock = File::options().write(true).open(&files[0]).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(120);
        lock.set_modified(long_ago).unwrap();
        drop(directory.scratch().unwrap());
        assert!(!root.path().join(SCRATCH).exists());
    }
}
