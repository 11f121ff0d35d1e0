//! Whether the disk of the pictures is mounted: where it is not, thousands of objects are missing, and none is gone.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::storage::failures::Class;
use crate::storage::media;
use crate::storage::mounted::{MANY, count_below, sample};
use crate::storage::object_list::ObjectList;

/// The media directory, and what the list says should be in it.
pub struct Mounted<'a> {
    media_dir: &'a Path,
    list: &'a ObjectList,
    /// Objects listed below each directory; counted when the first one is found empty.
    listed_below: OnceLock<HashMap<&'a str, usize>>,
}

impl<'a> Mounted<'a> {
    pub fn new(media_dir: &'a Path, list: &'a ObjectList) -> Self {
        Mounted {
            media_dir,
            list,
            listed_below: OnceLock::new(),
        }
    }

    /// Stops a run when nothing of a sample of the list can be found, and nothing of one of what is pending.
    /// (Pictures that have their features may be gone, and those that failed.)
    pub fn check_sample(&self, pending: &[u32], objects: &Path) -> Result<()> {
        let is_missing = |index: usize| {
            let path = self.media_dir.join(self.list.entry(index));
            media::stamp(&path).is_err()
        };
        let listed = self.list.len();
        if listed >= MANY
            && sample(listed).all(is_missing)
            && sample(pending.len()).all(|at| is_missing(pending[at] as usize))
        {
            bail!(
                "none of {MANY} listed objects can be found below {}; is its disk mounted, and does {} belong to it?",
                self.media_dir.display(),
                objects.display()
            );
        }
        Ok(())
    }

    /// Looks around where an object is missing. Stops a run where the media directory is gone or empty, or where the
    /// place of many objects is an empty directory.
    pub fn check_around(&self, entry: &str) -> Result<()> {
        let media_dir = self.media_dir;
        let mut below = entry;
        loop {
            below = below.rsplit_once('/').map_or("", |(below, _)| below);
            let directory = media_dir.join(below);
            match fs::read_dir(&directory).map(|mut entries| entries.next().is_some()) {
                Ok(true) => return Ok(()),
                Ok(false) if below.is_empty() => bail!(is_gone(media_dir)),
                Ok(false) => {
                    if self.listed_below(below) >= MANY {
                        bail!(
                            "{} is empty, and {MANY} listed objects or more should be below it: mount its disk and run \
                             the same command again, or list again if they are gone",
                            directory.display()
                        );
                    }
                    return Ok(());
                }
                Err(error) if below.is_empty() => {
                    return match Class::of_io(&error) {
                        Class::Missing => bail!(is_gone(media_dir)),
                        _ => Err(error).with_context(|| is_gone(media_dir)),
                    };
                }
                // What is above tells.
                Err(_) => {}
            }
        }
    }

    fn listed_below(&self, directory: &str) -> usize {
        let listed_below = (self.listed_below).get_or_init(|| count_below(self.list.entries()));
        listed_below.get(directory).copied().unwrap_or_default()
    }
}

fn is_gone(media_dir: &Path) -> String {
    format!(
        "the media directory {} is gone or empty; mount it and run the same command again",
        media_dir.display()
    )
}
