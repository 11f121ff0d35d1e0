//! The parts that are merged: where they are, and what must be true of them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::MergeOptions;
use crate::storage::files::FileStamp;
use crate::storage::model_dir::ModelDir;
use crate::storage::part::Part;
use crate::storage::part_dir::{self, CompletePart};
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{ShardFile, ShardFiles, ShardNumber};

/// How many wrong parts are named.
const NAMED: usize = 10;

/// A part that is complete.
pub(super) struct PartToMerge {
    pub(super) directory: PathBuf,
    pub(super) part: Part,
    pub(super) complete: CompletePart,
    /// Tells its record from one that is written later.
    stamp: (u64, FileStamp),
    pub(super) recipe: Option<Recipe>,
    pub(super) sums: Sha256Sums,
    /// The files of shards, and those shards that are complete.
    listed: ShardFiles,
    pub(super) shards: Vec<ShardNumber>,
}

/// The directories of the parts that are meant, in order.
pub(super) fn find_parts(options: &MergeOptions) -> Result<Vec<(Part, PathBuf)>> {
    let named = match &options.parts[..] {
        [] => std::slice::from_ref(&options.directory),
        named => named,
    };
    let mut parts = Vec::new();
    for path in named {
        // Its name may be hidden behind a `.` or a link.
        let real =
            fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = |path: &Path| part_dir::parse(path.file_name()?.to_str()?);
        if let Some(part) = name(path).or_else(|| name(&real)) {
            parts.push((part, path.clone()));
            continue;
        }
        let inside = parts_in(path)?;
        // Where they were in the directory itself, an earlier merge has come to its end.
        let is_target = fs::canonicalize(&options.directory).is_ok_and(|target| target == real);
        ensure!(
            !inside.is_empty() || is_target,
            "{} is no part and holds none; `simsearch extract --pack` makes parts, such as part-00003-of-00064",
            path.display()
        );
        parts.extend(inside);
    }
    parts.sort();
    Ok(parts)
}

/// The parts in a directory of which anything was made.
fn parts_in(path: &Path) -> Result<Vec<(Part, PathBuf)>> {
    let parts = part_dir::begun(path, &ShardFiles::list(path)?).into_iter();
    let parts = parts.map(|part| (part, part_dir::directory(path, part)));
    Ok(parts.collect())
}

/// Tells the record of a part from another one; none where there is none.
fn stamp_of(directory: &Path) -> Result<Option<(u64, FileStamp)>> {
    let path = directory.join(part_dir::FILE_NAME);
    match fs::symlink_metadata(&path) {
        Ok(metadata) => Ok(Some((metadata.ino(), FileStamp::of(&metadata)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads the parts; an error that names those with which something is wrong.
pub(super) fn check_parts(found: &[(Part, PathBuf)]) -> Result<Vec<PartToMerge>> {
    let mut wrong = what_does_not_make_a_whole(found);
    let mut parts: Vec<PartToMerge> = Vec::new();
    for (part, directory) in found {
        if parts.last().is_some_and(|last| last.part == *part) {
            continue;
        }
        match PartToMerge::read(*part, directory)? {
            Some(read) => {
                wrong.extend(read.what_is_wrong()?);
                parts.push(read);
            }
            None => wrong.push(format!(
                "part {part} is not complete: {}; `simsearch extract --pack --part {part}` goes on with it",
                directory.display()
            )),
        }
    }
    wrong.extend(what_does_not_agree(&parts));
    if !wrong.is_empty() {
        let more = match wrong.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("\nand {more} more"),
        };
        wrong.truncate(NAMED);
        bail!(
            "the parts cannot be merged; nothing has changed\n{}{more}",
            wrong.join("\n")
        );
    }
    Ok(parts)
}

/// Parts that are there twice, or of another number of parts than most, or missing.
fn what_does_not_make_a_whole(found: &[(Part, PathBuf)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for (part, _) in found {
        *numbers.entry(part.of()).or_default() += 1;
    }
    let most = numbers.into_iter().max_by_key(|(_, parts)| *parts);
    let of = most.map_or(1, |(of, _)| of);
    for pair in found.windows(2) {
        let [(one, at), (other, other_at)] = pair else {
            continue;
        };
        let same_place = || fs::canonicalize(at).ok() == fs::canonicalize(other_at).ok();
        if one == other && !same_place() {
            let (at, other_at) = (at.display(), other_at.display());
            wrong.push(format!("part {one} is there twice: {at} and {other_at}"));
        }
    }
    for (part, at) in found.iter().filter(|(part, _)| part.of() != of) {
        let at = at.display();
        wrong.push(format!("{at} is part {part}, and others are of {of} parts"));
    }
    let there = found.iter().filter(|(part, _)| part.of() == of);
    let there: HashSet<u32> = there.map(|(part, _)| part.index()).collect();
    let missing = (0..of).filter(|index| !there.contains(index));
    wrong.extend(missing.map(|index| format!("part {index}/{of} is missing")));
    wrong
}

/// Parts of another list or recipe than the first one.
fn what_does_not_agree(parts: &[PartToMerge]) -> Vec<String> {
    let Some(first) = parts.first() else {
        return Vec::new();
    };
    let lists = parts.iter().filter_map(|other| {
        let (of_other, of_first) = (&other.complete.list, &first.complete.list);
        (of_other != of_first).then(|| {
            format!(
                "part {} is of another list than part {}: of {} lines, and of {}; run it again with the same list",
                other.part, first.part, of_other.lines, of_first.lines
            )
        })
    });
    let mut with_recipe = parts
        .iter()
        .filter_map(|part| Some((part.recipe.as_ref()?, &*part.directory)));
    let first = with_recipe.next();
    let recipes = with_recipe.filter_map(|(recipe, at)| {
        let (there, at_there) = first?;
        let checked = check_recipe(recipe, at, there, at_there);
        checked.err().map(|error| error.to_string())
    });
    lists.chain(recipes).collect()
}

pub(super) fn check_recipe(
    recipe: &Recipe,
    at: &Path,
    there: &Recipe,
    at_there: &Path,
) -> Result<()> {
    if let Some((here, there)) = recipe.differences(there) {
        bail!(
            "{} was made with {here}, {} with {there}; mixed features cannot be compared",
            at.display(),
            at_there.display()
        );
    }
    Ok(())
}

impl PartToMerge {
    /// Reads a part; `None` where it is not complete.
    fn read(part: Part, directory: &Path) -> Result<Option<Self>> {
        let stamp = stamp_of(directory)?;
        let (Some(complete), Some(stamp)) = (part_dir::read(directory)?, stamp) else {
            return Ok(None);
        };
        let listed = ShardFiles::list(directory)?;
        Ok(Some(PartToMerge {
            directory: directory.to_owned(),
            part,
            complete,
            stamp,
            recipe: Recipe::read(directory)?,
            sums: Sha256Sums::read(directory)?,
            shards: listed.pairs(directory)?,
            listed,
        }))
    }

    /// Fails where it was written to since it was read.
    pub(super) fn ensure_is_unchanged(&self) -> Result<()> {
        ensure!(
            stamp_of(&self.directory)? == Some(self.stamp),
            "part {} in {} was changed meanwhile; run the same command again",
            self.part,
            self.directory.display()
        );
        Ok(())
    }

    /// What makes it another part than its directory says, and what it has lost.
    fn what_is_wrong(&self) -> Result<Vec<String>> {
        let (part, complete) = (self.part, &self.complete);
        let is_of_this = (complete.part, complete.parts) == (part.index(), part.of());
        let is_another = (!is_of_this).then(|| {
            let at = self.directory.display();
            format!("{at} was made as part {}/{}", complete.part, complete.parts)
        });
        Ok(is_another.into_iter().chain(self.what_is_lost()?).collect())
    }

    /// What the checksums, or the record, say that there was, and is not there.
    fn what_is_lost(&self) -> Result<Option<String>> {
        let at = self.directory.display();
        let (number_of, mut lost) = (self.part, None);
        for name in self.sums.file_names() {
            let is_there = match ShardNumber::parse(name) {
                Some((number, file)) => {
                    (self.listed.finished.get(&number)).is_some_and(|files| files[file as usize])
                }
                None => self.directory.join(name).exists(),
            };
            if !is_there && lost.is_none() {
                lost = Some(format!(
                    "part {number_of} has lost {name}, which SHA256SUMS in {at} names; put it back, or remove the line and the \
                     rest of the shard, and `simsearch extract --pack --part {number_of}` makes its features again"
                ));
            }
        }
        for (number, files) in &self.listed.finished {
            for file in ShardFile::ALL
                .into_iter()
                .filter(|file| files[*file as usize])
            {
                let name = number.file_name(file);
                if self.sums.sum(&name).is_none() && lost.is_none() {
                    lost = Some(format!(
                        "part {number_of} has no checksum of {name} in {at}/SHA256SUMS; put a copy of that back"
                    ));
                }
            }
        }
        if lost.is_none() {
            let (rows, wanted) = (part_dir::rows(&self.directory)?, self.complete.rows);
            lost = (rows != wanted).then(|| {
                format!(
                    "part {number_of} in {at} has {rows} features, and had {wanted} when it was complete; \
                     `simsearch extract --pack --part {number_of}` makes the others again"
                )
            });
        }
        Ok(lost)
    }
}

/// The names of those parts that are in the directory itself. They are removed at the end, so that all that are there
/// have to be among those that are merged.
pub(super) fn parts_inside(path: &Path, parts: &[PartToMerge]) -> Result<Vec<String>> {
    let merged: HashSet<PathBuf> = (parts.iter())
        .filter_map(|part| fs::canonicalize(&part.directory).ok())
        .collect();
    let mut names = Vec::new();
    for (_, inside) in parts_in(path)? {
        let is_merged = fs::canonicalize(&inside).is_ok_and(|inside| merged.contains(&inside));
        ensure!(
            is_merged,
            "{} is not among the parts that are to be merged into {}; merge it by itself first, or name another --feature-dir",
            inside.display(),
            path.display()
        );
        let name = inside.file_name().unwrap_or_default();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Who writes to one of the parts, and to which.
pub(super) fn writer_of<'d>(
    mut parts: impl Iterator<Item = &'d Path>,
) -> Result<Option<(PathBuf, String)>> {
    parts.try_fold(None, |found, directory| {
        let holder = ModelDir::open(directory).and_then(|part| part.packing_holder());
        let holder = holder.with_context(|| format!("cannot read {}", directory.display()))?;
        Ok(found.or(holder.map(|holder| (directory.to_owned(), holder))))
    })
}
