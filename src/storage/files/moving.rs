//! Moving, copying and linking files so that none is ever written over, and each has a whole name at every moment.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::storage::checksum;
use crate::storage::files::{FileStamp, folder_of, is_missing, regular};
use crate::support::fault;

/// Moves a file to a name that nothing has yet. On another file system it is copied, made durable and compared, and
/// only then removed; the copy has its mode, its owner and `modified` as the time of its last change.
///
/// # Errors
/// `AlreadyExists` where something has that name, and those of the system. Then the file is where it was.
pub fn move_to_new(from: &Path, to: &Path, modified: SystemTime) -> io::Result<()> {
    make_folders(folder_of(to))?;
    match rename_to_new(from, to) {
        Err(error) if error.raw_os_error() == Some(Errno::EXDEV as i32) => {}
        moved => return moved,
    }
    let before = FileStamp::of(&fs::symlink_metadata(from)?);
    let copy = TemporaryCopy::make(from, to, modified)?;
    let is_whole = copy.checksum()? == checksum::of_file(from)?;
    if !is_whole || FileStamp::of(&fs::symlink_metadata(from)?) != before {
        return Err(io::Error::other("it was changed while it was copied"));
    }
    copy.put_in_new_place()?;
    remove_moved(from)
}

/// Removes a file whose bytes are safe under another name.
pub fn remove_moved(path: &Path) -> io::Result<()> {
    fault::step("remove what was moved", || fs::remove_file(path))
}

/// Renames a file, but not to a name that something has.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = fault::step("move", || {
        renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
    });
    match renamed {
        // File systems that cannot do this in one step, such as NFS, refuse a second link to a name that is there.
        Err(Errno::EINVAL) => {
            fault::step("link the new name", || fs::hard_link(from, to))?;
            fault::step("remove the old name", || fs::remove_file(from))
        }
        renamed => Ok(renamed?),
    }
}

/// A copy under a temporary name beside its place, complete and durable. It is removed if it is not put there.
#[derive(Debug)]
pub struct TemporaryCopy<'a> {
    path: PathBuf,
    place: &'a Path,
}

impl<'a> TemporaryCopy<'a> {
    /// Copies a file with its mode and its owner, for a place whose folder exists.
    pub fn make(from: &Path, place: &'a Path, modified: SystemTime) -> io::Result<Self> {
        remove_leftover(place)?;
        let copy = TemporaryCopy {
            path: temporary(place)?,
            place,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = fault::step("create a copy", || options.open(&copy.path))?;
        let mut original = regular::open(from)?;
        fault::step("write a copy", || io::copy(&mut original, &mut file))?;
        let (original, made) = (original.metadata()?, file.metadata()?);
        if (original.uid(), original.gid()) != (made.uid(), made.gid()) {
            fchown(&file, Some(original.uid()), Some(original.gid()))?;
        }
        file.set_permissions(original.permissions())?;
        file.set_modified(modified)?;
        fault::step("sync a copy", || file.sync_all())?;
        Ok(copy)
    }

    /// The SHA-256 of what it holds.
    pub fn checksum(&self) -> io::Result<String> {
        checksum::of_file(&self.path)
    }

    /// Gives it its name, which nothing may have.
    pub fn put_in_new_place(self) -> io::Result<()> {
        rename_to_new(&self.path, self.place)?;
        sync(folder_of(self.place))
    }

    /// Gives it its name, in place of what has that now.
    pub fn replace(self) -> io::Result<()> {
        fault::step("put a copy in place", || fs::rename(&self.path, self.place))?;
        sync(folder_of(self.place))
    }
}

impl Drop for TemporaryCopy<'_> {
    fn drop(&mut self) {
        // It is not there where it got its name. If it stays, the next run removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Puts a link in place of a file, in one step: `make` makes it under a temporary name, `is_still_wanted` is asked just
/// before.
pub fn replace_by_link(
    path: &Path,
    make: impl FnOnce(&Path) -> io::Result<()>,
    is_still_wanted: impl FnOnce() -> io::Result<bool>,
) -> io::Result<()> {
    remove_leftover(path)?;
    let temporary = temporary(path)?;
    fault::step("make a link", || make(&temporary))?;
    let replaced = is_still_wanted().and_then(|is_wanted| match is_wanted {
        true => fault::step("put a link in place", || fs::rename(&temporary, path)),
        false => Err(io::Error::other("it has changed meanwhile")),
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// Removes the copy or the link that a killed process did not put in its place.
pub fn remove_leftover(place: &Path) -> io::Result<()> {
    match fs::remove_file(temporary(place)?) {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// `.<checksum of the name>.simsearch` beside it: pictures are other people's, and so may be files with a name as
/// common as `.<name>.tmp`; and a name may be as long as a file system allows.
fn temporary(place: &Path) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let checksum = crc32fast::hash(name.as_bytes());
    Ok(place.with_file_name(format!(".{checksum:08x}.simsearch")))
}

/// Makes a folder and those above it that are missing, and makes them durable.
pub fn make_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    make_folders(above)?;
    match fault::step("make a folder", || fs::create_dir(path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync(above),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    fault::step("sync a folder", || File::open(folder)?.sync_all())
}

/// A time of nanoseconds since 1970, which may be before that.
pub fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH - distance,
        false => SystemTime::UNIX_EPOCH + distance,
    }
}
