//! What may well be a mistake: another list, or a disk that is not mounted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Listed, Options, Place};
use crate::storage::media;
use crate::storage::mounted::{MANY, count_below, sample};
use crate::storage::object_id::IdKind;
use crate::storage::object_list::ObjectList;
use crate::storage::sources::RecordedSources;

/// What is about to be removed.
pub struct Removed<'a> {
    pub features: usize,
    /// How many features there are.
    pub of: usize,
    /// The files that they were made from, as far as that is recorded.
    pub paths: Vec<&'a str>,
}

/// The files that what is about to be removed was made from.
pub fn removed_paths<'a>(
    id_kind: IdKind,
    places: &'a [Place],
    recorded: &'a RecordedSources,
    listed: &Listed<'_>,
) -> Vec<&'a str> {
    let unpacked = recorded.made().iter().map(|made| &made.source.path);
    let unpacked = unpacked.filter(|path| !listed.has(id_kind.of_entry(path)));
    let packed = places.iter().flat_map(|place| &place.unlisted.paths);
    unpacked.chain(packed).map(|path| &**path).collect()
}

/// Why it may well be a mistake to remove so much.
pub fn mistake(options: &Options, list: &ObjectList, removed: &Removed<'_>) -> Option<String> {
    let Removed {
        features,
        of,
        paths,
    } = removed;
    if *features == 0 {
        return None;
    }
    let (media_dir, objects) = (options.media_dir.display(), options.objects.display());
    let of = of.saturating_sub(options.new);
    if features * 2 > of {
        return Some(format!(
            "{features} of {of} features are not listed in {objects}: is that the right list? `simsearch prune --dry-run` \
             prints their object ids, and `simsearch prune --yes` removes them"
        ));
    }
    if looks_unmounted(&options.media_dir, list) {
        return Some(format!(
            "the pictures listed in {objects} cannot be found below {media_dir}: is its disk mounted? `simsearch prune --yes` \
             removes what is not listed all the same"
        ));
    }
    if let Some(folder) = emptied_folder(&options.media_dir, paths) {
        return Some(format!(
            "{} is empty, and {MANY} pictures or more were below it: is its disk mounted? `simsearch prune --yes` removes \
             what is not listed all the same",
            folder.display()
        ));
    }
    None
}

/// Which pictures that are not listed are there all the same.
pub struct Pictures<'a> {
    pub there: BTreeSet<&'a str>,
    /// One that cannot be looked at, and why.
    unknown: Option<(&'a str, io::Error)>,
}

impl<'a> Pictures<'a> {
    pub fn look(media_dir: &Path, paths: &[&'a str]) -> Self {
        let looked_at = paths.par_iter();
        let looked_at: Vec<_> = looked_at
            .map(|path| (*path, media::is_gone(&media_dir.join(path))))
            .collect();
        let mut pictures = Pictures {
            there: BTreeSet::new(),
            unknown: None,
        };
        for (path, is_gone) in looked_at {
            match is_gone {
                Ok(true) => {}
                Ok(false) => _ = pictures.there.insert(path),
                Err(error) => pictures.unknown = Some((path, error)),
            }
        }
        pictures
    }

    /// Why it may be a mistake to remove their features.
    pub fn not_gone(&self, options: &Options) -> Option<String> {
        let shown = |path: &str| options.media_dir.join(path).display().to_string();
        let objects = options.objects.display();
        if let Some((path, error)) = &self.unknown {
            return Some(format!(
                "{} is not listed in {objects} and cannot be looked at ({error}), so that it may still be there: list again \
                 once it can be read. `simsearch prune --yes` removes what is not listed all the same",
                shown(path)
            ));
        }
        let first = self.there.first()?;
        let are_there = match self.there.len() {
            1 => format!("{} is still there", shown(first)),
            count => format!(
                "{count} pictures, such as {}, are still there",
                shown(first)
            ),
        };
        Some(format!(
            "{are_there}, and not listed in {objects}: is that list whole, and made with the same options as before? \
             `simsearch prune --yes` removes what is not listed all the same"
        ))
    }
}

fn looks_unmounted(media_dir: &Path, list: &ObjectList) -> bool {
    let is_there = |index| media::stamp(&media_dir.join(list.entry(index))).is_ok();
    !sample(list.len()).any(is_there)
}

/// A folder that is empty, and below which many of these files were: a disk may have been mounted there.
fn emptied_folder(media_dir: &Path, paths: &[&str]) -> Option<PathBuf> {
    let below = count_below(paths.iter().copied());
    let many = below.into_iter().filter(|(_, files)| *files >= MANY);
    many.map(|(folder, _)| media_dir.join(folder))
        .find(|folder| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()))
}
