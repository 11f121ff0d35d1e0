//! The pictures themselves: which file belongs to an object id, and how a file is read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::storage::files::{FileStamp, regular};
use crate::storage::object_id::IdKind;
use crate::storage::object_list::{Line, ObjectList};

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

/// Reads a regular file whole; returns what it was when that began. (A file that is still being written is another one
/// when it is complete.)
///
/// # Errors
/// Those of [`regular::open`], and [`TooLong`] inside an [`io::Error`].
pub fn read_file(path: &Path, bytes: &mut Vec<u8>) -> io::Result<FileStamp> {
    bytes.clear();
    let mut file = regular::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(TooLong(metadata.len())));
    }
    (bytes.try_reserve(metadata.len() as usize)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.by_ref().take(MAX_FILE_BYTES).read_to_end(bytes)?;
    Ok(FileStamp::of(&metadata))
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
