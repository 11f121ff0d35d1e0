//! Which per-object files there are, and the nested directories that they stand in.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use walkdir::WalkDir;

use super::scratch::SCRATCH;
use super::{DIRECTORY, FeatureDir};

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
    /// The nested directories, `<first>` and `<first>/<second>`, each before what it holds: those that hold files, and
    /// those that look as if they did.
    pub directories: Vec<PathBuf>,
}

impl FeatureDir {
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
                (1 | 2, Some(_)) => found.directories.push(relative.to_owned()),
                (1 | 2, None) => {}
                (_, Some(path)) => found.files.push(NestedFile { path: path.into() }),
                (_, None) => found.not_text.push(relative.to_owned()),
            }
        }
        let files = found.files.iter();
        let holding: HashSet<&Path> = files
            .flat_map(|file| file.path().ancestors().skip(1))
            .collect();
        found.directories.retain(|directory| {
            holding.contains(&**directory) || looks_like_a_nested_directory(directory)
        });
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
}

/// Whether a path of one or two components can be that of a nested directory of this program: they are slices of two
/// characters.
fn looks_like_a_nested_directory(path: &Path) -> bool {
    path.iter()
        .all(|name| name.to_str().is_some_and(|name| name.chars().count() <= 2))
}
