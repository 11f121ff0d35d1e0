//! One model's directory of features: nested per-object files, and what keeps several processes in it apart.
//!
//! A file under a final name is complete: it is written to a scratch directory of this process and renamed. To write
//! or remove, paths below the directory are opened one component at a time without following symbolic links, so that
//! nothing is written or removed outside, whatever is inside.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the directory, and the feature of one object |
//! | `nested.rs` | all per-object files, and their directories |
//! | `scratch.rs` | writing a feature aside, the record of sources of a run, and the leftovers of killed processes |
//! | `claims.rs` | which objects each process has claimed |
//! | `locks.rs` | the locks of `concat` and of what processes record together |
//! | `lease/` | what keeps processes apart that change shards, where locks prove nothing |
//! | `choose.rs` | which model's directory is meant |

mod choose;
mod claims;
mod lease;
mod locks;
mod nested;
pub(crate) mod scratch;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use thiserror::Error;

pub(crate) use choose::model_stem;
pub use choose::{merged_directory, model_directory, written_directory};
pub(crate) use claims::CLAIMS;
pub use claims::Claims;
pub use lease::{Lease, Leased, Say};
pub(crate) use locks::RecordLock;
pub use locks::{Packing, PackingLock};
pub(crate) use nested::{NestedFiles, PerObjectFile, ReadFile};
pub use scratch::Scratch;

use crate::storage::files::{FileStamp, regular};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::support::fault;

/// How directories are opened: never through a symbolic link.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// How per-object files are opened. Non-blocking, so that a FIFO under the name of a feature does not hold up the run.
const FEATURE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// A model's directory, `FEATURE_DIR/<model stem>`.
#[derive(Debug)]
pub struct ModelDir {
    path: PathBuf,
    root: OwnedFd,
}

/// What is in the place of an object's feature.
#[derive(Debug)]
pub(crate) enum FeatureState {
    Absent,
    /// A complete feature of this many numbers.
    Complete(usize),
    /// A file that is not a complete feature: torn by a power loss, or written by something else.
    Torn,
}

impl ModelDir {
    /// The file of the index for the approximate search.
    pub(crate) const INDEX: &str = "index.usearch";

    /// Opens the directory, making it where it does not exist.
    pub fn create(path: &Path) -> io::Result<Self> {
        fault::step("make the directory", || fs::create_dir_all(path))?;
        Self::open(path)
    }

    /// Opens a directory that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = File::open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(ModelDir {
            path: path.to_owned(),
            root: root.into(),
        })
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a per-object file, by its path below the directory.
    fn open_feature(&self, path: &Path) -> nix::Result<File> {
        fault::look_up(path, || {
            openat(&self.root, path, FEATURE, Mode::empty()).map(File::from)
        })
    }

    /// The same, with every folder on the way opened anew: only then does NFS ask its server. Looked up from a folder
    /// that is open already, a name stays absent for as long as the client keeps what it knows of the folders, and two
    /// machines did most of their work twice (1,781 features for 1,000 objects). On a local disk it is a few more
    /// calls, and decoding takes milliseconds.
    fn open_feature_anew(&self, id: &ObjectId) -> nix::Result<File> {
        let (first, second) = id.directories();
        let root = openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        let outer = openat(&root, first, DIRECTORY, Mode::empty())?;
        let inner = openat(&outer, second, DIRECTORY, Mode::empty())?;
        openat(&inner, id.feature_name().as_str(), FEATURE, Mode::empty()).map(File::from)
    }

    /// Looks at the feature of an object; `buffer` is room to read it into. One that another machine has just made may
    /// still be absent here: see [`ModelDir::newest_feature_state`].
    pub(crate) fn feature_state(
        &self,
        id: &ObjectId,
        buffer: &mut Vec<u8>,
    ) -> io::Result<FeatureState> {
        state_of(self.open_feature(&id.feature_path()), buffer)
    }

    /// The same for an object that this process has claimed: what another machine made before it gave up its claim is
    /// seen. The entries of the directory itself are as new after that.
    pub(crate) fn newest_feature_state(
        &self,
        id: &ObjectId,
        buffer: &mut Vec<u8>,
    ) -> io::Result<FeatureState> {
        match self.feature_state(id, buffer)? {
            FeatureState::Absent => state_of(self.open_feature_anew(id), buffer),
            there => Ok(there),
        }
    }

    /// Tells the file of an object's feature from any other that was there, or will be: its inode, size and time. None
    /// where it cannot be seen.
    pub(crate) fn feature_stamp(&self, id: &ObjectId) -> Option<(u64, FileStamp)> {
        let metadata = fs::symlink_metadata(self.path.join(id.feature_path())).ok()?;
        Some((metadata.ino(), FileStamp::of(&metadata)))
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
        let make = |above: &OwnedFd, name: &str| {
            let made = fault::step("make a nested directory", || {
                mkdirat(above, name, Mode::from_bits_truncate(0o777))
            });
            ignore_existing(made)
        };
        make(&self.root, first)?;
        match openat(&self.root, first, DIRECTORY, Mode::empty()) {
            Ok(outer) => {
                match make(&outer, second) {
                    Err(Errno::ENOENT) => Ok(()), // removed again by `concat`: the caller tries once more
                    other => other,
                }
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes what was renamed or made in the directory itself durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let root = File::from(self.root.try_clone()?);
        fault::step("sync the directory", || root.sync_all())
    }
}

/// What an opened feature is.
fn state_of(opened: nix::Result<File>, buffer: &mut Vec<u8>) -> io::Result<FeatureState> {
    match opened {
        Ok(mut file) => _ = read_whole(&mut file, buffer)?,
        Err(Errno::ENOENT) => return Ok(FeatureState::Absent),
        Err(error) => return Err(error.into()),
    }
    Ok(match npy::feature_data(buffer) {
        Ok(data) => FeatureState::Complete(data.len() / 4),
        Err(_) => FeatureState::Torn,
    })
}

/// Files longer than this hold no feature, and are not read into memory. 64 MiB: 16 million numbers.
const MAX_FEATURE_BYTES: u64 = 64 << 20;

/// Reads a regular file into `buffer`, with as few system calls as it takes; returns what it was when that began.
fn read_whole(file: &mut File, buffer: &mut Vec<u8>) -> io::Result<fs::Metadata> {
    let metadata = file.metadata()?;
    regular::check(&metadata)?;
    if metadata.len() > MAX_FEATURE_BYTES {
        return Err(io::Error::other(format!(
            "{} bytes are more than the limit of {MAX_FEATURE_BYTES} for one feature",
            metadata.len()
        )));
    }
    buffer.clear();
    // One more than there should be, so that a file which grows meanwhile comes out too long.
    buffer.resize(
        usize::try_from(metadata.len()).map_or(0, |length| length + 1),
        0,
    );
    let mut read = 0;
    loop {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if read == metadata.len() as usize {
            break;
        }
    }
    buffer.truncate(read);
    Ok(metadata)
}

/// What went wrong with a file or directory, and with which.
#[derive(Debug, Error)]
#[error("{}", path.display())]
pub(crate) struct AtPath {
    /// The file or directory.
    pub path: PathBuf,
    /// What went wrong.
    #[source]
    pub source: io::Error,
}

/// Why a directory of the program's own could not be opened.
fn not_opened(name: &str, error: Errno) -> io::Error {
    match error {
        Errno::ENOTDIR | Errno::ELOOP => {
            io::Error::other(format!("{name} is not a directory; move it away"))
        }
        error => error.into(),
    }
}

/// Whether an open directory was removed.
fn has_no_name(directory: OwnedFd) -> io::Result<bool> {
    Ok(File::from(directory).metadata()?.nlink() == 0)
}
