//! The pictures themselves: which file belongs to an object id, and how a file, or a member of a tar, is read.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::storage::files::{FileStamp, is_missing, regular};
use crate::storage::object_id::IdKind;
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::tar::{self, Members, Place};
use crate::support::hints::is_not_regular;

/// Files longer than this are not pictures that belong here; it bounds what one worker reads. 512 MiB.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// The listed pictures by their object ids. An id is only ever looked up, never made a path of.
#[derive(Debug)]
pub struct Media {
    directory: PathBuf,
    list: ObjectList,
    /// Indices into the list, in the order of the object ids.
    by_id: Vec<u32>,
}

impl Media {
    /// Reads the list of objects, which have ids of that kind; its paths are relative to `directory`.
    pub fn open(directory: &Path, objects: &Path, id_kind: IdKind) -> Result<Self> {
        let list = ObjectList::read(objects, id_kind)?;
        let objects = list.lines().enumerate();
        let objects = objects.filter(|(_, line)| matches!(line, Line::Object(_)));
        let mut by_id: Vec<u32> = objects.map(|(index, _)| index as u32).collect();
        by_id.sort_unstable_by_key(|index| list.id(*index as usize));
        Ok(Media {
            directory: directory.to_owned(),
            list,
            by_id,
        })
    }

    /// What the object ids are.
    pub fn id_kind(&self) -> IdKind {
        self.list.id_kind()
    }

    /// The media directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The paths of the listed objects, relative to the media directory, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.by_id
            .iter()
            .map(|index| self.list.entry(*index as usize))
    }

    /// The file of a listed object; whether it is there is not looked at.
    pub fn path(&self, object_id: &str) -> Option<PathBuf> {
        Some(self.directory.join(self.entry(object_id)?))
    }

    /// The same below the media directory.
    pub fn entry(&self, object_id: &str) -> Option<&str> {
        let found =
            (self.by_id).binary_search_by_key(&object_id, |index| self.list.id(*index as usize));
        Some(self.list.entry(self.by_id[found.ok()?] as usize))
    }
}

/// A file is longer than pictures are.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are more than the limit of {MAX_FILE_BYTES} for one picture")]
pub struct TooLong(u64);

/// The bytes of a picture: those of a file of its own, or of a member of a tar.
#[derive(Debug)]
pub struct MediaFile {
    file: File,
    place: Place,
    /// Whether the file goes on behind it; one of its own is read to its end, wherever that is by then.
    is_in_tar: bool,
    /// How much was read.
    position: u64,
    stamp: FileStamp,
}

impl MediaFile {
    /// Opens the file that a path leads to, or the tar whose member it leads to.
    ///
    /// # Errors
    /// Those of [`regular::open`] and [`Members::find`].
    pub fn open(path: &Path) -> io::Result<Self> {
        match tar::within(path) {
            Some((tar, _, member)) => Self::in_tar(regular::open(tar)?, member),
            None => Self::of(regular::open(path)?),
        }
    }

    /// All of a file.
    pub fn of(file: File) -> io::Result<Self> {
        let stamp = FileStamp::of(&file.metadata()?);
        let place = Place {
            offset: 0,
            size: stamp.size,
        };
        Ok(MediaFile {
            file,
            place,
            is_in_tar: false,
            position: 0,
            stamp,
        })
    }

    /// A member of a tar.
    pub fn in_tar(tar: File, member: &str) -> io::Result<Self> {
        let stamp = FileStamp::of(&tar.metadata()?);
        let place = Members::of(&tar)?.find(member)?;
        Ok(MediaFile {
            file: tar,
            place,
            is_in_tar: true,
            position: 0,
            stamp,
        })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// What it was when it was opened: see [`stamp`].
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// Those of the system, and [`TooLong`] inside an [`io::Error`].
    pub fn read_whole(self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let size = self.size();
        if size > MAX_FILE_BYTES {
            return Err(io::Error::other(TooLong(size)));
        }
        (bytes.try_reserve(size as usize)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.take(MAX_FILE_BYTES).read_to_end(bytes)?;
        Ok(())
    }

    /// The open file, which stands where this would read on.
    pub fn into_file(mut self) -> io::Result<File> {
        (self.file).seek(SeekFrom::Start(self.place.offset + self.position))?;
        Ok(self.file)
    }
}

impl Read for MediaFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.is_in_tar {
            true => self.place.size.saturating_sub(self.position),
            false => u64::MAX,
        };
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let at = self.place.offset + self.position;
        let count = self.file.read_at(&mut buffer[..wanted], at)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for MediaFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.place.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// What tells whether a picture has changed: size and time of its file, and of a member of a tar those of the tar. So a
/// tar that was written anew is read anew, and of one that was not no more is looked at.
///
/// # Errors
/// When there is neither such a file nor such a tar. Whether a tar has the member is not looked at.
pub fn stamp(path: &Path) -> io::Result<FileStamp> {
    let metadata = match tar::within(path) {
        Some((_, metadata, _)) => metadata,
        None => fs::metadata(path)?,
    };
    Ok(FileStamp::of(&metadata))
}

/// Whether a path leads to a member of a tar.
pub fn is_in_tar(path: &Path) -> bool {
    tar::within(path).is_some()
}

/// Whether there is no such file, and no tar that has such a member.
///
/// # Errors
/// When that cannot be told: a folder may not be read, a disk fails, a tar is damaged.
pub fn is_gone(path: &Path) -> io::Result<bool> {
    let found = match is_in_tar(path) {
        true => MediaFile::open(path).map(|_| true),
        false => fs::metadata(path).map(|metadata| metadata.is_file()),
    };
    match found {
        Ok(is_there) => Ok(!is_there),
        Err(error) if is_missing(&error) || is_not_regular(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Reads a regular file whole, or a member of a tar; returns what it was when that began. (A file that is still being
/// written is another one when it is complete.)
///
/// # Errors
/// Those of [`MediaFile::open`], and [`TooLong`] inside an [`io::Error`].
pub fn read_file(path: &Path, bytes: &mut Vec<u8>) -> io::Result<FileStamp> {
    bytes.clear();
    let file = MediaFile::open(path)?;
    let stamp = file.stamp();
    file.read_whole(bytes)?;
    Ok(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_object_id_leads_to_the_first_path_that_has_it_and_to_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let objects = directory.path().join("objects.txt");
        let lines = "z/one.jpg\na/one.jpg\nb/two.jpg\n../out.jpg\n/etc/passwd\nthree.jpg\n";
        fs::write(&objects, lines).unwrap();
        let media = Media::open(Path::new("media"), &objects, IdKind::Name).unwrap();
        for (id, expected) in [
            ("one.jpg", Some("media/z/one.jpg")),
            ("two.jpg", Some("media/b/two.jpg")),
            ("three.jpg", Some("media/three.jpg")),
            ("four.jpg", None),
            ("b/two.jpg", None),
            ("out.jpg", None),
            ("../out.jpg", None),
            ("passwd", None),
            ("", None),
        ] {
            assert_eq!(media.path(id), expected.map(PathBuf::from), "{id}");
        }
    }
}
