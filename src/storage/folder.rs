//! A folder of the media directory, by the paths in the list of objects.

use std::path::{self, Component, Path};

use anyhow::{Context, Result};

use crate::storage::media::Media;

/// A folder below the media directory. It is compared with the paths of the list, and never opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Relative to the media directory, with a slash at the end; empty for the media directory itself.
    prefix: String,
}

impl Folder {
    /// The folder that a user names, below the media directory or with the media directory before it: the first that
    /// holds a listed object.
    ///
    /// # Errors
    /// When neither holds one.
    pub fn find(named: &Path, media: &Media) -> Result<Self> {
        let absolute = [named, media.directory()].map(path::absolute);
        let with_media_directory = match &absolute {
            [Ok(named), Ok(directory)] => named.strip_prefix(directory).ok(),
            _ => None,
        };
        let folders = [Some(named), with_media_directory].into_iter().flatten();
        let mut folders = folders.filter_map(|named| Folder::listed(named, media));
        folders.next().with_context(|| {
                format!(
                    "no listed object is below {}; name a folder as it is in the list, such as `2024/holiday`",
                    named.display()
                )
            })
    }

    /// The folder of this path below the media directory, where it holds a listed object.
    pub fn listed(named: &Path, media: &Media) -> Option<Self> {
        let folder = Folder::below(named)?;
        let is_there = media.entries().any(|entry| folder.holds(entry));
        is_there.then_some(folder)
    }

    /// `None` where a path does not lead below the media directory.
    fn below(path: &Path) -> Option<Self> {
        let mut prefix = String::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => {
                    prefix.push_str(name.to_str()?);
                    prefix.push('/');
                }
                Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
            }
        }
        Some(Folder { prefix })
    }

    /// Whether a path of the list is below it, at any depth.
    pub fn holds(&self, entry: &str) -> bool {
        entry
            .strip_prefix("./")
            .unwrap_or(entry)
            .starts_with(&self.prefix)
    }
}

/// The folder that an object of the list is in, with a slash at the end.
pub fn folder_of(entry: &str) -> &str {
    &entry[..entry.rfind('/').map_or(0, |slash| slash + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::object_id::IdKind;
    use std::fs;

    #[test]
    fn a_folder_is_named_from_the_media_directory_or_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let objects = directory.path().join("objects.txt");
        fs::write(
            &objects,
            "a/one.jpg\nab/two.jpg\n./c/d/three.jpg\nmedia/four.jpg\n",
        )
        .unwrap();
        let media = Media::open(Path::new("/srv/media"), &objects, IdKind::Name).unwrap();
        let found = |named: &str| {
            let folder = Folder::find(Path::new(named), &media).ok()?;
            let held = media.entries().filter(|entry| folder.holds(entry));
            let mut held: Vec<&str> = held.collect();
            held.sort_unstable();
            Some(held.join(" "))
        };
        for (named, expected) in [
            ("a", Some("a/one.jpg")),
            ("a/", Some("a/one.jpg")),
            ("./c", Some("./c/d/three.jpg")),
            ("c/d", Some("./c/d/three.jpg")),
            ("/srv/media/a", Some("a/one.jpg")),
            ("/srv/./media//a/", Some("a/one.jpg")),
            ("media", Some("media/four.jpg")),
            (
                ".",
                Some("./c/d/three.jpg a/one.jpg ab/two.jpg media/four.jpg"),
            ),
            (
                "/srv/media",
                Some("./c/d/three.jpg a/one.jpg ab/two.jpg media/four.jpg"),
            ),
            ("d", None),
            ("/srv", None),
            ("a/../c", None),
            ("a/one.jpg", None),
        ] {
            assert_eq!(found(named).as_deref(), expected, "{named}");
        }
        // However the media directory is named.
        let here = std::env::current_dir().unwrap();
        for directory in [
            Path::new("pictures"),
            Path::new("./pictures"),
            &here.join("pictures"),
        ] {
            let media = Media::open(directory, &objects, IdKind::Name).unwrap();
            let folder = Folder::find(Path::new("a"), &media).unwrap();
            for named in ["pictures/a", "./pictures/a"].map(Path::new) {
                assert_eq!(Folder::find(named, &media).unwrap(), folder);
            }
            assert_eq!(
                Folder::find(&here.join("pictures/a"), &media).unwrap(),
                folder
            );
        }
    }
}
