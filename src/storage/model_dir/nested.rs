//! Which per-object files there are, and the nested directories that they are in.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rayon::prelude::*;

use super::scratch::SCRATCH;
use super::{AtPath, DIRECTORY, ModelDir, read_whole};
use crate::storage::files::FileStamp;
use crate::storage::object_id::IdKind;
use crate::storage::part_dir;
use crate::storage::sources::Made;
use crate::support::fault;
use crate::support::hints::NotRegular;

/// A per-object file, by its path `<first>/<second>/<name>.npy` below a model's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerObjectFile<'a> {
    path: &'a str,
    /// What says whose it is, where its own name does not.
    made: Option<&'a Made>,
}

impl<'a> PerObjectFile<'a> {
    /// A file that is named after its object.
    pub fn named(path: &'a str) -> Self {
        PerObjectFile { path, made: None }
    }

    /// The feature of an object whose id is a path; what is recorded of it has that path.
    pub fn of_path(path: &'a str, made: &'a Made) -> Self {
        PerObjectFile {
            path,
            made: Some(made),
        }
    }

    /// The path below the model's directory.
    pub fn path(&self) -> &'a Path {
        Path::new(self.path)
    }

    /// The two directories and the file name.
    pub fn components(&self) -> (&'a str, &'a str, &'a str) {
        let mut components = self.path.splitn(3, '/');
        let mut next = || components.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The file name without `.npy`.
    pub fn stem(&self) -> &'a str {
        let (_, _, name) = self.components();
        name.strip_suffix(".npy").unwrap_or(name)
    }

    /// The object id: the stem, or the path that is recorded.
    pub fn object_id(&self) -> &'a str {
        match self.made {
            None => self.stem(),
            Some(made) => IdKind::Path.of_entry(&made.source.path),
        }
    }
}

/// A per-object file that was read: the very file, and not one that `extract` has put in its place since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadFile<'a> {
    /// Its name.
    pub file: PerObjectFile<'a>,
    /// Tells it from others of that name: its inode, which a later one may be given again, size and time.
    pub stamp: (u64, FileStamp),
}

/// What a model's directory holds below its nested directories.
#[derive(Debug, Default)]
pub(crate) struct NestedFiles {
    /// The paths of the per-object files, a line each, in order.
    lists: Vec<String>,
    /// Files whose names cannot hold object ids: they are not UTF-8, or hold a newline.
    pub misnamed: Vec<PathBuf>,
    /// Directories that look as if they had held such files, and are empty; each before the one that holds it.
    pub empty: Vec<PathBuf>,
}

impl NestedFiles {
    /// The paths of the per-object files, in order. [`RecordedSources::identify`] says whose they are.
    ///
    /// [`RecordedSources::identify`]: crate::storage::sources::RecordedSources::identify
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let lists = self.lists.iter();
        lists.flat_map(|list| list.split_terminator('\n'))
    }
}

impl ModelDir {
    /// All per-object files, `*/*/*.npy`, in the order of Python's `sorted(Path.glob("*/*/*.npy"))`: by the bytes of
    /// each component.
    pub(crate) fn nested_files(&self) -> Result<NestedFiles, AtPath> {
        let mut firsts = self.sorted_entries(Path::new(""))?;
        firsts.retain(|(name, is_directory)| *is_directory && may_be_nested(name));
        let parts: Vec<_> = (firsts.par_iter())
            .map(|(first, _)| self.nested_files_below(Path::new(first)))
            .collect();
        let mut found = NestedFiles::default();
        for part in parts {
            let NestedFiles {
                lists,
                misnamed,
                empty,
            } = part?;
            found.lists.extend(lists);
            found.misnamed.extend(misnamed);
            found.empty.extend(empty);
        }
        Ok(found)
    }

    /// Whether there may be per-object files.
    pub(crate) fn has_nested(&self) -> Result<bool, AtPath> {
        let mut entries = self.sorted_entries(Path::new(""))?.into_iter();
        Ok(entries.any(|(name, is_directory)| {
            is_directory && looks_like_a_nested_directory(Path::new(&name))
        }))
    }

    fn nested_files_below(&self, first: &Path) -> Result<NestedFiles, AtPath> {
        let mut found = NestedFiles::default();
        let mut list = String::new();
        let mut is_empty = true;
        for (second, is_directory) in self.sorted_entries(first)? {
            let directory = first.join(second);
            if !is_directory {
                is_empty = false;
                continue;
            }
            let entries = self.sorted_entries(&directory)?;
            if entries.is_empty() && looks_like_a_nested_directory(&directory) {
                found.empty.push(directory);
                continue;
            }
            is_empty = false;
            for (name, is_directory) in entries {
                if is_directory || !name.as_encoded_bytes().ends_with(b".npy") {
                    continue;
                }
                let path = directory.join(name);
                match path.to_str() {
                    Some(path) if !path.contains('\n') => {
                        list.push_str(path);
                        list.push('\n');
                    }
                    _ => found.misnamed.push(path),
                }
            }
        }
        if is_empty && looks_like_a_nested_directory(first) {
            found.empty.push(first.to_owned());
        }
        list.shrink_to_fit();
        found.lists.push(list);
        Ok(found)
    }

    /// The names in a directory below, in the order of their bytes, and whether each is a directory (and no link to
    /// one). None where another process removed it.
    fn sorted_entries(&self, below: &Path) -> Result<Vec<(OsString, bool)>, AtPath> {
        let path = self.path.join(below);
        let read = || -> io::Result<Vec<(OsString, bool)>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                match entry.file_type() {
                    Ok(kind) => entries.push((entry.file_name(), kind.is_dir())),
                    // It has gone since the listing, such as the lease of a `concat` that has left: no reason to take
                    // the directory for one that is gone. sshfs says no types, and shows listings of twenty seconds
                    // ago.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(entries)
        };
        match read() {
            Ok(mut entries) => {
                entries.sort_unstable();
                Ok(entries)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(AtPath { path, source }),
        }
    }

    /// Reads a per-object file whole.
    pub(crate) fn read(&self, file: PerObjectFile<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(file, &mut bytes)?;
        Ok(bytes)
    }

    /// The same into a buffer, in the place of what it holds. Returns which file that was.
    pub(crate) fn read_into<'a>(
        &self,
        file: PerObjectFile<'a>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<ReadFile<'a>> {
        match self.open_feature(file.path()) {
            Ok(mut open) => {
                let read = read_whole(&mut open, buffer)?;
                let stamp = (read.ino(), FileStamp::of(&read));
                Ok(ReadFile { file, stamp })
            }
            Err(Errno::ELOOP) => Err(io::Error::other(NotRegular)),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes per-object files, and their directories where that leaves them empty. A directory
    /// that is a link leads nowhere: what it leads to stays.
    pub(crate) fn remove_features(&self, files: &[PerObjectFile<'_>]) -> Result<(), AtPath> {
        let files = files.iter().map(|file| (*file, None));
        self.remove_in_groups(files.collect())
    }

    /// The same for files that were read: those in whose place there is another file by now stay.
    pub(crate) fn remove_read(&self, files: &[ReadFile<'_>]) -> Result<(), AtPath> {
        let files = files.iter().map(|read| (read.file, Some(read.stamp)));
        self.remove_in_groups(files.collect())
    }

    fn remove_in_groups(
        &self,
        mut files: Vec<(PerObjectFile<'_>, Option<(u64, FileStamp)>)>,
    ) -> Result<(), AtPath> {
        // Features of paths come in the order of these, which is another one.
        files.sort_by_key(|(file, _)| file.path);
        // A thread for each outer directory, since two would only wait for each other in one.
        let groups: Vec<_> = files
            .chunk_by(|one, other| one.0.components().0 == other.0.components().0)
            .collect();
        groups
            .into_par_iter()
            .try_for_each(|files| self.remove_features_below(files[0].0.components().0, files))
    }

    /// Removes per-object files of one outer directory, where they are the ones with these stamps.
    fn remove_features_below(
        &self,
        first: &str,
        files: &[(PerObjectFile<'_>, Option<(u64, FileStamp)>)],
    ) -> Result<(), AtPath> {
        let at = |path: &str| {
            let path = self.path.join(path);
            move |error: Errno| AtPath {
                path,
                source: error.into(),
            }
        };
        let Some(outer) =
            if_there(openat(&self.root, first, DIRECTORY, Mode::empty())).map_err(at(first))?
        else {
            return Ok(());
        };
        for files in files.chunk_by(|one, other| one.0.components().1 == other.0.components().1) {
            let at_first = files[0].0.path;
            let (_, second, _) = files[0].0.components();
            let Some(inner) =
                if_there(openat(&outer, second, DIRECTORY, Mode::empty())).map_err(at(at_first))?
            else {
                continue;
            };
            for (file, stamp) in files {
                let (_, _, name) = file.components();
                if let Some(stamp) = stamp {
                    let there = fstatat(&inner, name, AtFlags::AT_SYMLINK_NOFOLLOW);
                    let there = if_there(there).map_err(at(file.path))?;
                    let stamp_there = |there: FileStat| (there.st_ino, FileStamp::of_stat(&there));
                    if there.map(stamp_there) != Some(*stamp) {
                        continue;
                    }
                }
                let removed = fault::step("remove a feature", || {
                    unlinkat(&inner, name, UnlinkatFlags::NoRemoveDir)
                });
                if_there(removed).map_err(at(file.path))?;
            }
            remove_directory(&outer, second).map_err(at(at_first))?;
        }
        remove_directory(&self.root, first).map_err(at(first))
    }

    /// Removes a nested directory, `<first>` or `<first>/<second>`, where it is empty, and then `<first>` likewise.
    pub(crate) fn remove_if_empty(&self, nested: &Path) -> Result<(), AtPath> {
        let at = |error: Errno| AtPath {
            path: self.path.join(nested),
            source: error.into(),
        };
        let mut components = nested.iter();
        let Some(first) = components.next() else {
            return Ok(());
        };
        if let Some(second) = components.next() {
            let outer = openat(&self.root, first, DIRECTORY, Mode::empty());
            if let Some(outer) = if_there(outer).map_err(at)? {
                remove_directory(&outer, second).map_err(at)?;
            }
        }
        remove_directory(&self.root, first).map_err(at)
    }
}

/// What another process removed is not an error.
fn if_there<T>(result: nix::Result<T>) -> nix::Result<Option<T>> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a directory; one that is not empty, or is gone, is not an error.
fn remove_directory(above: &OwnedFd, name: impl AsRef<Path>) -> nix::Result<()> {
    let removed = fault::step("remove a nested directory", || {
        unlinkat(above, name.as_ref(), UnlinkatFlags::RemoveDir)
    });
    match removed {
        Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

/// Whether a directory in that of a model can hold per-object files: the scratch directory and those of parts do not.
fn may_be_nested(name: &OsStr) -> bool {
    name != SCRATCH
        && name
            .to_str()
            .is_none_or(|name| part_dir::parse(name).is_none())
}

fn looks_like_a_nested_directory(path: &Path) -> bool {
    path.iter()
        .all(|name| name.to_str().is_some_and(|name| name.chars().count() <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::npy;
    use crate::storage::object_id::ObjectId;

    #[test]
    fn a_file_that_was_written_again_since_it_was_read_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = ModelDir::create(root.path()).unwrap();
        let scratch = directory.scratch().unwrap();
        let ids =
            ["abcd.jpg", "abce.jpg", "abcf.jpg"].map(|id| ObjectId::new(IdKind::Name, id).unwrap());
        let write = |id: &ObjectId, number: f32| {
            let mut bytes = Vec::new();
            npy::append_feature(&[number], &mut bytes);
            scratch.write_feature(&directory, id, 0, &bytes).unwrap();
        };
        ids.iter().for_each(|id| write(id, 1.0));
        let nested = directory.nested_files().unwrap();
        let read = nested.paths().map(PerObjectFile::named);
        let read = read.map(|file| directory.read_into(file, &mut Vec::new()).unwrap());
        let read: Vec<ReadFile<'_>> = read.collect();
        write(&ids[1], 2.0);
        fs::remove_file(root.path().join(ids[2].feature_path())).unwrap();
        directory.remove_read(&read).unwrap();
        let nested = directory.nested_files().unwrap();
        let left: Vec<_> = nested.paths().map(PerObjectFile::named).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].path(), ids[1].feature_path());
        directory.remove_features(&left).unwrap();
        assert_eq!(directory.nested_files().unwrap().paths().count(), 0);
    }
}
