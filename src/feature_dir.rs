//! One model's directory of features: nested per-object files, and what keeps several processes in it apart.
//!
//! A file under a final name is complete: it is written to a scratch directory of this process and renamed. Paths
//! below the directory are opened one component at a time without following symbolic links, so that nothing is
//! written or removed outside, whatever stands inside.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat, renameat};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use walkdir::WalkDir;

use crate::npy::{self, NpyError};
use crate::object::ObjectId;

/// The directory below a model's directory that holds the unfinished files of running processes.
const SCRATCH: &str = ".tmp";
/// How directories are opened: never through a symbolic link.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// The file below a model's directory whose locks tell processes what others have in hand.
const LOCK: &str = ".lock";

/// A model's directory, `FEATURE_DIR/<model stem>`.
#[derive(Debug)]
pub struct FeatureDir {
    path: PathBuf,
    root: OwnedFd,
}

/// A per-object file, by its path `<first>/<second>/<name>.npy` below a model's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedFile {
    path: Box<str>,
}

impl NestedFile {
    /// The path below the model's directory.
    pub fn path(&self) -> &Path {
        Path::new(&*self.path)
    }

    /// The two directories and the file name.
    pub fn components(&self) -> (&str, &str, &str) {
        let mut components = self.path.splitn(3, '/');
        let mut next = || components.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The object id: the file name without `.npy`.
    pub fn object_id(&self) -> &str {
        let (_, _, name) = self.components();
        name.strip_suffix(".npy").unwrap_or(name)
    }
}

/// What a model's directory holds below its nested directories.
#[derive(Debug, Default)]
pub struct NestedFiles {
    /// The per-object files, in order.
    pub files: Vec<NestedFile>,
    /// Files that cannot be object ids because their names are not UTF-8.
    pub not_text: Vec<PathBuf>,
    /// The nested directories, `<first>` and `<first>/<second>`, each before what it holds.
    pub directories: Vec<PathBuf>,
}

/// What stands where the feature of an object belongs.
#[derive(Debug)]
pub enum FeatureState {
    /// Nothing.
    Absent,
    /// A complete feature of this many numbers.
    Complete(usize),
    /// A file that is no complete feature: torn by a power loss, or written by something else.
    Torn(NpyError),
}

impl FeatureDir {
    /// Opens the directory, making it where it does not exist.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a directory that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = File::open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(FeatureDir {
            path: path.to_owned(),
            root: root.into(),
        })
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the feature of an object; `buffer` is room to read it into.
    pub fn feature_state(&self, id: &ObjectId, buffer: &mut Vec<u8>) -> io::Result<FeatureState> {
        // Non-blocking, so that a FIFO under the name of a feature does not hold up the run.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = match openat(&self.root, &id.feature_path(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(FeatureState::Absent),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(
                "something that is no regular file stands in the feature's place",
            ));
        }
        buffer.clear();
        file.read_to_end(buffer)?;
        Ok(match npy::feature_data(buffer) {
            Ok(data) => FeatureState::Complete(data.len() / 4),
            Err(error) => FeatureState::Torn(error),
        })
    }

    /// Opens the nested directory of an object, making it where it does not exist.
    fn nested(&self, id: &ObjectId) -> io::Result<OwnedFd> {
        let (first, second) = id.directories();
        loop {
            match self.open_nested(first, second) {
                Err(Errno::ENOENT) => {}
                result => return Ok(result?),
            }
            // `concat` may remove an empty directory between the two calls: then make it again.
            self.make_nested(first, second)?;
        }
    }

    fn open_nested(&self, first: &str, second: &str) -> nix::Result<OwnedFd> {
        let outer = openat(&self.root, first, DIRECTORY, Mode::empty())?;
        openat(&outer, second, DIRECTORY, Mode::empty())
    }

    fn make_nested(&self, first: &str, second: &str) -> nix::Result<()> {
        let ignore_existing = |result| match result {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        };
        ignore_existing(mkdirat(&self.root, first, Mode::from_bits_truncate(0o777)))?;
        match openat(&self.root, first, DIRECTORY, Mode::empty()) {
            Ok(outer) => {
                match ignore_existing(mkdirat(&outer, second, Mode::from_bits_truncate(0o777))) {
                    Err(Errno::ENOENT) => Ok(()), // removed again by `concat`: the caller tries once more
                    other => other,
                }
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the per-object file `<first>/<second>/<name>`.
    pub fn remove_feature(&self, file: &NestedFile) -> io::Result<()> {
        let (first, second, name) = file.components();
        let removed = self
            .open_nested(first, second)
            .and_then(|nested| unlinkat(&nested, name, UnlinkatFlags::NoRemoveDir));
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All per-object files, `*/*/*.npy`, in the order of Python's `sorted(Path.glob("*/*/*.npy"))`: by the bytes of
    /// each component.
    pub fn nested_files(&self) -> walkdir::Result<NestedFiles> {
        let mut found = NestedFiles::default();
        let walk = WalkDir::new(&self.path)
            .min_depth(1)
            .max_depth(3)
            .sort_by_file_name()
            .into_iter();
        let nested = walk.filter_entry(|entry| match entry.depth() {
            3 => {
                !entry.file_type().is_dir()
                    && entry.file_name().as_encoded_bytes().ends_with(b".npy")
            }
            depth => entry.file_type().is_dir() && !(depth == 1 && entry.file_name() == SCRATCH),
        });
        for entry in nested {
            let entry = match entry {
                // A directory that another process removed since it was listed.
                Err(error)
                    if error
                        .io_error()
                        .is_some_and(|io| io.kind() == io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                entry => entry?,
            };
            let relative = entry
                .path()
                .strip_prefix(&self.path)
                .unwrap_or(entry.path());
            match (entry.depth(), relative.to_str()) {
                (1 | 2, Some(path)) if is_nested_directory(path) => {
                    found.directories.push(relative.to_owned());
                }
                (1 | 2, _) => {}
                (_, Some(path)) => found.files.push(NestedFile { path: path.into() }),
                (_, None) => found.not_text.push(relative.to_owned()),
            }
        }
        Ok(found)
    }

    /// Removes a nested directory, `<first>` or `<first>/<second>`, where it is empty.
    pub fn remove_if_empty(&self, nested: &Path) -> io::Result<()> {
        let parent = match nested.parent() {
            Some(first) if first != Path::new("") => {
                openat(&self.root, first, DIRECTORY, Mode::empty())
            }
            _ => Ok(self.root.try_clone()?),
        };
        let name = nested.file_name().unwrap_or_default();
        match parent.and_then(|parent| unlinkat(&parent, name, UnlinkatFlags::RemoveDir)) {
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what was renamed or made in the directory itself durable.
    pub fn sync(&self) -> io::Result<()> {
        File::from(self.root.try_clone()?).sync_all()
    }

    /// Makes room for this process's unfinished files, and removes what killed processes left of theirs.
    pub fn scratch(&self) -> io::Result<Scratch> {
        loop {
            match mkdirat(&self.root, SCRATCH, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            match openat(&self.root, SCRATCH, DIRECTORY, Mode::empty()) {
                Ok(directory) => match Scratch::begin(directory, self.root.try_clone()?)? {
                    Some(scratch) => return Ok(scratch),
                    None => continue,
                },
                // The last process before this one took the empty directory away just now.
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the file whose locks tell other processes which objects this one has in hand.
    pub fn claims(&self) -> io::Result<Claims> {
        Ok(Claims {
            file: self.lock_file()?,
        })
    }

    /// Takes the lock that lets one `concat` at a time work here.
    pub fn lock_packing(&self) -> io::Result<Packing> {
        let mut file = self.lock_file()?;
        if lock_byte(&file, PACKING_OFFSET, libc::F_WRLCK)? {
            let host = nix::unistd::gethostname()?;
            file.set_len(0)?;
            writeln!(
                file,
                "process {} on {}",
                std::process::id(),
                host.to_string_lossy()
            )?;
            Ok(Packing::Locked(PackingLock { file }))
        } else {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            Ok(Packing::HeldBy(holder.trim().to_owned()))
        }
    }

    /// Opens the lock that keeps the writers of the failure report apart.
    pub fn report_lock(&self) -> io::Result<ReportLock> {
        Ok(ReportLock {
            file: self.lock_file()?,
        })
    }

    fn lock_file(&self) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.root, LOCK, flags, Mode::from_bits_truncate(0o666))?.into())
    }
}

/// The answer to [`FeatureDir::lock_packing`].
#[derive(Debug)]
pub enum Packing {
    /// This process may pack, as long as it keeps the lock.
    Locked(PackingLock),
    /// Another process packs; the text is what it wrote about itself.
    HeldBy(String),
}

/// The lock of a running `concat`; given up when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct PackingLock {
    file: File,
}

impl Drop for PackingLock {
    fn drop(&mut self) {
        // Nothing depends on the text: it only names the holder.
        let _ = self.file.set_len(0);
    }
}

/// Room for the files of this process that are not complete yet, on the file system of the features: names in the
/// `.tmp` directory that begin with a prefix of its own.
///
/// The process holds a lock on `<prefix>.lock`. Where nobody holds it, the files with that prefix are leftovers of a
/// killed process, and the next [`FeatureDir::scratch`] removes them.
#[derive(Debug)]
pub struct Scratch {
    /// The `.tmp` directory.
    directory: OwnedFd,
    /// The model's directory.
    root: OwnedFd,
    prefix: String,
    /// Held as long as this process has unfinished files.
    _lock: File,
}

impl Scratch {
    /// `None` when the directory went away meanwhile.
    fn begin(directory: OwnedFd, root: OwnedFd) -> io::Result<Option<Self>> {
        remove_leftovers(&directory)?;
        loop {
            let prefix = format!("{:016x}", rand::random::<u64>());
            let name = format!("{prefix}{LOCK_SUFFIX}");
            let flags = OFlag::O_RDWR
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let lock = match openat(
                &directory,
                name.as_str(),
                flags,
                Mode::from_bits_truncate(0o666),
            ) {
                Ok(lock) => File::from(lock),
                Err(Errno::EEXIST) => continue,
                Err(Errno::ENOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // Where the file system knows no locks, nobody can take this for a leftover either. Where it does,
            // another process may have done so before the lock was taken: then the file has lost its name.
            let mine =
                lock_byte(&lock, 0, libc::F_WRLCK).unwrap_or(true) && lock.metadata()?.nlink() > 0;
            if mine {
                return Ok(Some(Scratch {
                    directory,
                    root,
                    prefix,
                    _lock: lock,
                }));
            }
        }
    }

    /// Writes the feature of an object, complete or not at all. `slot` tells the writers of one process apart;
    /// `bytes` is the whole file.
    ///
    /// The file is not made durable: a machine that loses power may lose it, and [`FeatureDir::feature_state`] tells
    /// a torn one. (`fsync` for each small file costs a factor of 25.)
    pub fn write_feature(
        &self,
        directory: &FeatureDir,
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
        let file = openat(
            &self.directory,
            name.as_str(),
            flags,
            Mode::from_bits_truncate(0o666),
        )?;
        File::from(file).write_all(bytes)?;
        loop {
            let nested = directory.nested(id)?;
            match renameat(
                &self.directory,
                name.as_str(),
                &nested,
                id.feature_name().as_str(),
            ) {
                // `concat` removed the nested directory while it was open: make it again.
                Err(Errno::ENOENT) if has_no_name(nested)? => continue,
                result => return Ok(result?),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed here is removed by the next process as a leftover.
        let _ = remove_with_prefix(&self.directory, &self.prefix);
        // The directory goes with the last process.
        let _ = unlinkat(&self.root, SCRATCH, UnlinkatFlags::RemoveDir);
    }
}

/// Ends the names of the files that tell whether a prefix is in use.
const LOCK_SUFFIX: &str = ".lock";

/// Removes the files of processes that are no more.
fn remove_leftovers(directory: &OwnedFd) -> io::Result<()> {
    for name in names_in(directory)? {
        let Some(prefix) = name.strip_suffix(LOCK_SUFFIX) else {
            continue;
        };
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(lock) = openat(directory, name.as_str(), flags, Mode::empty()) else {
            continue;
        };
        if let Ok(true) = lock_byte(&lock.into(), 0, libc::F_WRLCK) {
            remove_with_prefix(directory, prefix)?;
        }
    }
    Ok(())
}

/// Removes `<prefix>.*`, the lock last.
fn remove_with_prefix(directory: &OwnedFd, prefix: &str) -> io::Result<()> {
    let lock = format!("{prefix}{LOCK_SUFFIX}");
    let mut names = names_in(directory)?;
    names.retain(|name| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('.'))
            && *name != lock
    });
    for name in names.iter().chain([&lock]) {
        match unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut entries = nix::dir::Dir::openat(directory, ".", DIRECTORY, Mode::empty())?;
    let names = entries
        .iter()
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Whether a path of one or two components can be that of a nested directory: they are slices of two characters.
fn is_nested_directory(path: &str) -> bool {
    path.split('/').all(|name| name.chars().count() <= 2)
}

/// Whether an open directory was removed.
fn has_no_name(directory: OwnedFd) -> io::Result<bool> {
    Ok(File::from(directory).metadata()?.nlink() == 0)
}

/// Tells the processes that share a directory which objects they have in hand.
///
/// A claim is a lock on one byte of a file, at an offset made from the object id. The system gives it up when the
/// process ends, however it ends, so there are no stale claims.
#[derive(Debug)]
pub struct Claims {
    file: File,
}

impl Claims {
    /// Claims an object for this process; `false` when another process has it.
    ///
    /// # Errors
    /// The file system may not know such locks (`ENOLCK`, `EOPNOTSUPP`).
    pub fn claim(&self, id: &ObjectId) -> io::Result<bool> {
        lock_byte(&self.file, claim_offset(id), libc::F_WRLCK)
    }

    /// Gives up a claim.
    pub fn release(&self, id: &ObjectId) {
        // Cannot fail on a file that could be locked; and if it did, the claim would end with the process.
        let _ = lock_byte(&self.file, claim_offset(id), libc::F_UNLCK);
    }
}

/// The lock under which the failure report is written.
#[derive(Debug)]
pub struct ReportLock {
    file: File,
}

impl ReportLock {
    /// Waits until no other process holds the lock, and holds it until the answer is dropped.
    pub fn hold(&self) -> io::Result<impl Drop> {
        struct Held<'a>(&'a File);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                let _ = lock_byte(self.0, REPORT_OFFSET, libc::F_UNLCK);
            }
        }
        // The lock is held for a few system calls, so that waiting is short.
        while !lock_byte(&self.file, REPORT_OFFSET, libc::F_WRLCK)? {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Held(&self.file))
    }
}

/// Offsets of locks, above every one that [`claim_offset`] makes.
const PACKING_OFFSET: i64 = 1 << 62;
const REPORT_OFFSET: i64 = PACKING_OFFSET + 1;

/// An offset that is the same in every process, below 2^62: FNV-1a of the id. Two ids that share one are merely
/// never worked on by two processes at the same moment.
fn claim_offset(id: &ObjectId) -> i64 {
    let hash = id
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash >> 2) as i64
}

/// Sets or clears the lock on one byte of a file; `false` when another process holds it. The lock belongs to the
/// open file, not to the process, so that closing another handle of the same file does not lose it.
fn lock_byte(file: &File, offset: i64, kind: libc::c_int) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: kind as _,
        l_whence: libc::SEEK_SET as _,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
