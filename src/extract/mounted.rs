//! Whether the disk of the pictures is mounted: where it is not, thousands of objects are missing, and none is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::failure::Class;
use crate::object::ObjectList;

/// How many listed objects, evenly over the list, are looked for before a run believes that the media is gone; and how
/// many must be listed below an empty directory before it is taken for one that nothing is mounted on.
const MANY: usize = 64;

/// Stops a run whose pictures are all gone.
pub fn check_sample(media_dir: &Path, list: &ObjectList, objects: &Path) -> Result<()> {
    let is_missing = |index: usize| {
        let found = fs::metadata(media_dir.join(list.entry(index)));
        found.is_err_and(|error| Class::of_io(&error) == Class::Missing)
    };
    if list.len() >= MANY && (0..MANY).all(|part| is_missing(part * list.len() / MANY)) {
        bail!(
            "none of {MANY} listed objects is below {}; is its disk mounted, and does {} belong to it?",
            media_dir.display(),
            objects.display()
        );
    }
    Ok(())
}

/// Looks around where an object is missing. Stops a run where the media directory is gone or empty, or where the place
/// of many objects is an empty directory.
pub fn check_around(media_dir: &Path, list: &ObjectList, entry: &str) -> Result<()> {
    for below in Path::new(entry).ancestors().skip(1) {
        let directory = media_dir.join(below);
        match fs::read_dir(&directory).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Ok(()),
            Ok(false) if below.as_os_str().is_empty() => break,
            Ok(false) => {
                // As text, since the whole list is looked through for each object that is missing here.
                let below = format!("{}/", below.display());
                let listed = list.entries().filter(|entry| entry.starts_with(&below));
                if listed.take(MANY).count() == MANY {
                    bail!(
                        "{} is empty, and {MANY} listed objects or more should be below it: mount its disk and run the \
                         same command again, or list again if they are gone",
                        directory.display()
                    );
                }
                return Ok(());
            }
            Err(error) if Class::of_io(&error) == Class::Missing => {}
            Err(error) if below.as_os_str().is_empty() => {
                return Err(error).with_context(|| is_gone(media_dir));
            }
            // That may be this directory alone; its objects are reported.
            Err(_) => return Ok(()),
        }
    }
    bail!("{}", is_gone(media_dir))
}

fn is_gone(media_dir: &Path) -> String {
    format!(
        "the media directory {} is gone or empty; mount it and run the same command again",
        media_dir.display()
    )
}
