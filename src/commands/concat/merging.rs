//! The merge of parts: their shards become those of one directory, by hard links where the file system has them.
//!
//! Everything is checked before anything is written. `storage::merging` has what readers see meanwhile. A merge that was killed
//! goes on where it was: shards whose checksums are those of a part's are there already.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use rayon::prelude::*;

use crate::storage::checksum::Checksum;
use crate::storage::failures::FailureReport;
use crate::storage::files::{FileStamp, regular};
use crate::storage::merging::{self, MergeOf, Merging};
use crate::storage::model_dir::{ModelDir, Packing, PackingLock};
use crate::storage::name_filter::NameFilter;
use crate::storage::part::Part;
use crate::storage::part_dir::{self, CompletePart};
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFile, ShardFiles, ShardNumber};
use crate::storage::shard_changes::{finish_what_a_merge_left, put_in_place, remove_shard};
use crate::storage::sources::RecordedSources;
use crate::support::fault;
use crate::support::progress::Progress;

/// How many shards get their names together: the checksums of a directory are written anew for each time, and for 100,000
/// shards these are 15 MB.
const TOGETHER: usize = 256;

/// How many wrong parts are named.
const NAMED: usize = 10;

/// What to merge, and where.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// The model's directory that all parts go into, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The directories of parts, or directories that hold such. Default: the parts in `directory`.
    pub parts: Vec<PathBuf>,
    /// Whether to give up a merge that was interrupted, instead of going on with it. Default: no.
    pub give_up: bool,
}

/// What a merge did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct MergeSummary {
    /// Parts of the list.
    pub parts: u32,
    /// Shards that were put in place.
    pub shards: usize,
    /// Rows in them.
    pub rows: usize,
    /// Shards that were there, of an earlier merge of the same parts.
    pub already_merged: usize,
    /// Those of the new shards that had to be copied.
    pub copied: usize,
    /// Objects of the parts that failed when they were last tried.
    pub failed: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// How a merge ended.
#[derive(Debug)]
pub enum MergeOutcome {
    /// All parts are in the directory.
    Merged(MergeSummary),
    /// Another process writes to one of the directories; the text names it.
    HeldBy(PathBuf, String),
}

/// A part that is complete.
struct PartToMerge {
    directory: PathBuf,
    part: Part,
    complete: CompletePart,
    /// Tells its record from one that is written later.
    stamp: (u64, FileStamp),
    recipe: Option<Recipe>,
    sums: Sha256Sums,
    shards: Vec<ShardNumber>,
}

/// A shard of a part, and the number that it gets.
struct NewShard<'a> {
    part: &'a PartToMerge,
    from: ShardNumber,
    /// Its files, and their checksums.
    files: Vec<(ShardFile, String)>,
    rows: usize,
}

/// Makes one directory of the parts of a list.
///
/// # Errors
/// When a part is missing, incomplete, there twice, of another list or recipe than the others, or an object is there twice; and
/// when a file cannot be read or written. Nothing has changed then, or the same call goes on.
pub fn merge(options: &MergeOptions, progress: &Progress) -> Result<MergeOutcome> {
    let started = Instant::now();
    let path = &options.directory;
    if options.give_up {
        return give_up(path, progress);
    }
    if let Some(outcome) = finish_what_was_done(options, progress)? {
        return Ok(outcome);
    }
    let found = find_parts(options)?;
    if found.is_empty() {
        progress.note(&format!("{} holds no parts to merge", path.display()));
        return Ok(MergeOutcome::Merged(MergeSummary::default()));
    }
    let directories = || found.iter().map(|(_, directory)| &**directory);
    if let Some((part, holder)) = writer_of(directories())? {
        return Ok(MergeOutcome::HeldBy(part, holder));
    }
    let parts = check_parts(&found)?;
    let recipe = parts.iter().find_map(|part| part.recipe.as_ref());
    if let (Some(recipe), Some(there)) = (recipe, Recipe::read(path)?) {
        check_recipe(recipe, &parts[0].directory, &there, path)?;
    }
    let target = ModelDir::create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let packing = match lock(&target, progress)? {
        Packing::Locked(packing) => packing,
        Packing::HeldBy(holder) => return Ok(MergeOutcome::HeldBy(path.clone(), holder)),
    };
    let mut sums = finish_what_a_merge_left(&target)?;
    let inside = parts_inside(path, &parts)?;
    let of = MergeOf {
        parts: parts[0].part.of(),
        list: parts[0].complete.list.clone(),
    };
    let all = NewShard::of_all(&parts)?;
    go_on(&target, &mut sums, &of, &all)?;
    let there = ShardFiles::list_with_merged(path)?;
    let in_parts = all.len();
    let new = without_those_there(all, &there, &sums);
    check_ids(&target, &there, &new)?;
    if let Some(recipe) = recipe {
        recipe.agree(path)?;
    }
    let mut summary = MergeSummary {
        parts: of.parts,
        already_merged: in_parts - new.len(),
        ..MergeSummary::default()
    };
    let first = there.next_number();
    if there.merging.is_none() {
        merging::begin(&target, first, &of)?;
    }
    let merged = (|| {
        // Who takes up a part from now on sees that it is being merged, and who did so before is seen.
        if let Some(held) = writer_of(directories())? {
            return Ok(Some(held));
        }
        parts_inside(path, &parts)?;
        place_all(
            &target,
            &packing,
            &mut sums,
            first,
            &new,
            &mut summary,
            progress,
        )?;
        summary.failed = take_failures(&target, &parts)?;
        if let Some(held) = writer_of(directories())? {
            return Ok(Some(held));
        }
        for part in &parts {
            ensure!(
                stamp_of(&part.directory)? == Some(part.stamp),
                "part {} in {} was changed meanwhile; run the same command again",
                part.part,
                part.directory.display()
            );
        }
        packing.check()?;
        merging::done(&target, &inside)?;
        Ok(None)
    })();
    if !matches!(merged, Ok(None)) && packing.check().is_ok() {
        // What a full disk cut short would keep it full. (Where another process has taken over, what is there is its own.)
        let _ = take_back(&target, &mut sums);
    }
    if let Some((part, holder)) = merged? {
        return Ok(MergeOutcome::HeldBy(part, holder));
    }
    merging::finish(&target)?;
    say_what_stays(path, &inside, progress);
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(MergeOutcome::Merged(summary))
}

fn lock(target: &ModelDir, progress: &Progress) -> Result<Packing> {
    let locked = target.lock_packing(&|line| progress.note(line));
    locked.with_context(|| format!("cannot lock {}", target.path().display()))
}

/// Removes what a merge that was interrupted has put into a directory.
fn give_up(path: &Path, progress: &Progress) -> Result<MergeOutcome> {
    let target = ModelDir::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let _packing = match lock(&target, progress)? {
        Packing::Locked(packing) => packing,
        Packing::HeldBy(holder) => return Ok(MergeOutcome::HeldBy(path.to_owned(), holder)),
    };
    match ShardFiles::list(path)?.merging {
        Some(Merging {
            first: Some(first),
            is_done: false,
        }) => {
            let mut sums = finish_what_a_merge_left(&target)?;
            merging::give_up(&target, &mut sums, first)?;
            progress.note(&format!(
                "{}: gave up a merge that was interrupted; its parts are as they were",
                path.display()
            ));
        }
        // All that is left of it is to remove the parts.
        Some(_) => merging::finish(&target)?,
        None => progress.note(&format!("{}: there is no merge to give up", path.display())),
    }
    Ok(MergeOutcome::Merged(MergeSummary::default()))
}

/// After a merge that has failed: removes what is half there, and where no shard was put in place, all of it.
fn take_back(target: &ModelDir, sums: &mut Sha256Sums) -> Result<()> {
    *sums = finish_what_a_merge_left(target)?;
    let there = ShardFiles::list_with_merged(target.path())?;
    match there.merging.and_then(|merging| merging.first) {
        Some(first) if there.finished.range(first..).next().is_none() => {
            merging::give_up(target, sums, first)
        }
        _ => Ok(()),
    }
}

/// Goes on where an earlier merge was interrupted: shards that no part has any more go, since a part was changed.
fn go_on(
    target: &ModelDir,
    sums: &mut Sha256Sums,
    of: &MergeOf,
    all: &[NewShard<'_>],
) -> Result<()> {
    let path = target.path();
    let there = ShardFiles::list_with_merged(path)?;
    let Some(first) = there.merging.and_then(|merging| merging.first) else {
        return Ok(());
    };
    let begun = merging::read_begun(target, first)?;
    ensure!(
        begun == *of,
        "another merge into {} was interrupted: of {} parts of a list of {} lines; merge these, or give that up with \
         `simsearch concat --merge --give-up`",
        path.display(),
        begun.parts,
        begun.list.lines
    );
    let of_parts: HashSet<[Option<&str>; 2]> = all.iter().map(NewShard::pair).collect();
    for number in there.finished.range(first..).map(|(number, _)| *number) {
        if !of_parts.contains(&pair(sums, number)) {
            remove_shard(target, sums, number)?;
        }
    }
    Ok(())
}

/// Takes the failures of the parts into the report of the directory, but for objects that have a row; returns how many stay.
fn take_failures(target: &ModelDir, parts: &[PartToMerge]) -> Result<usize> {
    let path = target.path();
    let writing = || {
        format!(
            "cannot write {}",
            path.join(FailureReport::FILE_NAME).display()
        )
    };
    let report = FailureReport::open(target).with_context(writing)?;
    let mut of_parts = Vec::new();
    for part in parts {
        let failures = FailureReport::read(&part.directory);
        let failures =
            failures.with_context(|| format!("cannot read {}", part.directory.display()))?;
        of_parts.extend(failures.into_values());
    }
    let there = report.failures().with_context(writing)?;
    if of_parts.is_empty() && there.is_empty() {
        return Ok(0);
    }
    let failed = of_parts.iter().map(|failure| &*failure.id);
    let failed: HashSet<&str> = failed.chain(there.keys().map(String::as_str)).collect();
    let mut made = HashSet::new();
    for number in ShardFiles::list_with_merged(path)?.complete_pairs() {
        let ids = shard::object_ids(path, number)?.into_iter();
        made.extend(ids.filter(|id| failed.contains(id.as_str())));
    }
    of_parts.retain(|failure| !made.contains(&failure.id));
    for failure in &of_parts {
        report.record(failure).with_context(writing)?;
    }
    report
        .tidy(|failure| made.contains(&failure.id))
        .with_context(writing)?;
    Ok(of_parts.len())
}

/// Who writes to one of the parts, and to which.
fn writer_of<'d>(mut parts: impl Iterator<Item = &'d Path>) -> Result<Option<(PathBuf, String)>> {
    parts.try_fold(None, |found, directory| {
        let holder = ModelDir::open(directory).and_then(|part| part.packing_holder());
        let holder = holder.with_context(|| format!("cannot read {}", directory.display()))?;
        Ok(found.or(holder.map(|holder| (directory.to_owned(), holder))))
    })
}

/// Puts the new shards in place, from the number `first` on.
fn place_all(
    target: &ModelDir,
    packing: &PackingLock,
    sums: &mut Sha256Sums,
    first: ShardNumber,
    new: &[NewShard<'_>],
    summary: &mut MergeSummary,
    progress: &Progress,
) -> Result<()> {
    let mut number = first;
    progress.begin(new.len() as u64);
    for shards in new.chunks(TOGETHER) {
        let numbers = (number.0..).map(ShardNumber);
        let numbered: Vec<(ShardNumber, &NewShard<'_>)> = numbers.zip(shards).collect();
        let placed = numbered.par_iter().map(|(number, shard)| {
            let placed = shard.place(target.path(), *number);
            progress.advance(1);
            placed.with_context(|| format!("cannot merge {}", shard.part.directory.display()))
        });
        let copied: Vec<bool> = placed.collect::<Result<_>>()?;
        summary.copied += copied.into_iter().filter(|is_copied| *is_copied).count();
        packing.check()?;
        sums.record_all(
            numbered
                .iter()
                .map(|(number, shard)| (*number, &*shard.files)),
        )?;
        for (number, shard) in &numbered {
            for (file, _) in &shard.files {
                put_in_place(target, *number, *file)?;
            }
        }
        summary.shards += shards.len();
        summary.rows += shards.iter().map(|shard| shard.rows).sum::<usize>();
        number = ShardNumber(number.0 + shards.len() as u64);
    }
    progress.end();
    Ok(())
}

/// Goes on with a merge that was killed after its shards were all in place. Where its parts were in the directory itself, that
/// is all there is to do.
fn finish_what_was_done(
    options: &MergeOptions,
    progress: &Progress,
) -> Result<Option<MergeOutcome>> {
    let path = &options.directory;
    if !path.is_dir() {
        return Ok(None);
    }
    let merging = ShardFiles::list(path)?.merging;
    if !merging.is_some_and(|merging| merging.is_done) {
        return Ok(None);
    }
    let target = ModelDir::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let _packing = match lock(&target, progress)? {
        Packing::Locked(packing) => packing,
        Packing::HeldBy(holder) => {
            return Ok(Some(MergeOutcome::HeldBy(path.clone(), holder)));
        }
    };
    merging::finish(&target)?;
    progress.note(&format!(
        "{}: finished a merge that was interrupted",
        path.display()
    ));
    let is_in_it = |part: &PathBuf| !part.exists() || holds(path, part);
    let was_all = options.parts.iter().all(is_in_it);
    Ok(was_all.then(|| MergeOutcome::Merged(MergeSummary::default())))
}

fn say_what_stays(path: &Path, merged: &[String], progress: &Progress) {
    for part in merged.iter().map(|name| path.join(name)) {
        if part.exists() {
            progress.note(&format!(
                "{} stays: it holds files that are not of this program",
                part.display()
            ));
        }
    }
}

/// Whether a directory is the other one, or in it.
fn holds(directory: &Path, other: &Path) -> bool {
    match (fs::canonicalize(directory), fs::canonicalize(other)) {
        (Ok(directory), Ok(other)) => other.starts_with(directory),
        _ => false,
    }
}

/// The directories of the parts that are meant, in order.
fn find_parts(options: &MergeOptions) -> Result<Vec<(Part, PathBuf)>> {
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
    let parts = ShardFiles::list(path)?.parts.into_iter();
    let parts = parts.map(|part| (part, part_dir::directory(path, part)));
    Ok(parts.filter(|(_, part)| part_dir::is_begun(part)).collect())
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
fn check_parts(found: &[(Part, PathBuf)]) -> Result<Vec<PartToMerge>> {
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
    let mut parts: Vec<PartToMerge> = Vec::new();
    for (part, directory) in found {
        if parts.last().is_some_and(|last| last.part == *part) {
            continue;
        }
        let stamp = stamp_of(directory)?;
        let (Some(complete), Some(stamp)) = (part_dir::read(directory)?, stamp) else {
            wrong.push(format!(
                "part {part} is not complete: {}; `simsearch extract --pack --part {part}` goes on with it",
                directory.display()
            ));
            continue;
        };
        let is_of_this = (complete.part, complete.parts) == (part.index(), part.of());
        if !is_of_this {
            let at = directory.display();
            wrong.push(format!(
                "{at} was made as part {}/{}",
                complete.part, complete.parts
            ));
        }
        let listed = ShardFiles::list(directory)?;
        let part = PartToMerge {
            directory: directory.clone(),
            part: *part,
            complete,
            stamp,
            recipe: Recipe::read(directory)?,
            sums: Sha256Sums::read(directory)?,
            shards: listed.pairs(directory)?,
        };
        wrong.extend(part.what_is_lost(&listed)?);
        parts.push(part);
    }
    if let Some(first) = parts.first() {
        for other in &parts {
            if other.complete.list != first.complete.list {
                wrong.push(format!(
                    "part {} is of another list than part {}: of {} lines, and of {}; run it again with the same list",
                    other.part, first.part, other.complete.list.lines, first.complete.list.lines
                ));
            }
        }
        let with_recipe = parts.iter().find(|part| part.recipe.is_some());
        if let Some((first, recipe)) = with_recipe.and_then(|it| Some((it, it.recipe.as_ref()?))) {
            for other in &parts {
                let Some(of_other) = &other.recipe else {
                    continue;
                };
                if let Err(error) =
                    check_recipe(of_other, &other.directory, recipe, &first.directory)
                {
                    wrong.push(error.to_string());
                }
            }
        }
    }
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

fn check_recipe(recipe: &Recipe, at: &Path, there: &Recipe, at_there: &Path) -> Result<()> {
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
    /// What the checksums, or the record, say that there was, and is not there.
    fn what_is_lost(&self, listed: &ShardFiles) -> Result<Option<String>> {
        let at = self.directory.display();
        let (number_of, mut lost) = (self.part, None);
        for name in self.sums.file_names() {
            let is_there = match ShardNumber::parse(name) {
                Some((number, file)) => {
                    (listed.finished.get(&number)).is_some_and(|files| files[file as usize])
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
        for (number, files) in &listed.finished {
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

/// The names of those parts that are in the directory itself. They are removed at the end, so that all that are there have to be
/// among those that are merged.
fn parts_inside(path: &Path, parts: &[PartToMerge]) -> Result<Vec<String>> {
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

/// The checksums that tell a shard of the directory from others: see [`NewShard::pair`].
fn pair(sums: &Sha256Sums, number: ShardNumber) -> [Option<&str>; 2] {
    ShardFile::PAIR.map(|file| sums.sum(&number.file_name(file)))
}

/// The shards that are not in the directory yet.
fn without_those_there<'a>(
    mut shards: Vec<NewShard<'a>>,
    there: &ShardFiles,
    sums: &Sha256Sums,
) -> Vec<NewShard<'a>> {
    let there: HashSet<[Option<&str>; 2]> = (there.complete_pairs())
        .map(|number| pair(sums, number))
        .collect();
    shards.retain(|shard| !there.contains(&shard.pair()));
    shards
}

/// Fails where an object is in two of the new shards, or in one and in a shard or in a file of its own that is there.
fn check_ids(target: &ModelDir, there: &ShardFiles, new: &[NewShard<'_>]) -> Result<()> {
    let path = target.path();
    let reading = || format!("cannot read {}", path.display());
    let of_there = there.complete_pairs().map(|number| (path, number));
    let of_new = new.iter().map(|shard| (&*shard.part.directory, shard.from));
    let shards: Vec<(&Path, ShardNumber)> = of_there.chain(of_new).collect();
    let ids = |(directory, number): &(&Path, ShardNumber)| shard::object_ids(directory, *number);
    let nested = target.nested_files().with_context(reading)?;
    let recorded = RecordedSources::read(path, Recipe::id_kind(path)?).with_context(reading)?;
    let files = recorded.identify(&nested).known;
    let of_files = files
        .iter()
        .map(|file| file.object_id().to_owned())
        .collect();
    let of_shards = shards.par_iter().map(ids);
    let filter = NameFilter::of_all(of_shards.chain([Ok(of_files)]))?;
    if !filter.has_twins() {
        return Ok(());
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        seen.insert(file.object_id().to_owned(), path.join(file.path()));
    }
    for shard in &shards {
        let at = shard.0.join(shard.1.file_name(ShardFile::ObjectIds));
        for id in ids(shard)? {
            if !filter.may_hold_twice(id.as_bytes()) {
                continue;
            }
            if let Some(first) = seen.insert(id.clone(), at.clone()) {
                bail!(
                    "{id} is there twice, in {} and in {}; nothing has changed. Merge into another --feature-dir, or remove what is \
                     not wanted there",
                    first.display(),
                    at.display()
                );
            }
        }
    }
    Ok(())
}

impl<'a> NewShard<'a> {
    /// Those of the parts, in order.
    fn of_all(parts: &'a [PartToMerge]) -> Result<Vec<Self>> {
        let all = parts
            .iter()
            .flat_map(|part| part.shards.iter().map(move |from| (part, *from)));
        let all: Vec<(&PartToMerge, ShardNumber)> = all.collect();
        let shards = all.into_par_iter();
        shards.map(|(part, from)| Self::read(part, from)).collect()
    }

    /// The checksums of its features and its object ids, which tell it from others.
    fn pair(&self) -> [Option<&str>; 2] {
        ShardFile::PAIR.map(|file| {
            let mut files = self.files.iter();
            files.find(|(it, _)| *it == file).map(|(_, sum)| &**sum)
        })
    }

    /// Reads the sizes and the checksums of a part's shard.
    fn read(part: &'a PartToMerge, from: ShardNumber) -> Result<Self> {
        let rows =
            shard::features_shape(&part.directory.join(from.file_name(ShardFile::Features)))?.0;
        let mut files = Vec::new();
        for file in ShardFile::ALL {
            let name = from.file_name(file);
            let path = part.directory.join(&name);
            if file == ShardFile::Sources && !path.exists() {
                continue;
            }
            let sum = part.sums.sum(&name).with_context(|| {
                let path = path.display();
                format!("{path} has no line in SHA256SUMS")
            })?;
            files.push((file, sum.to_owned()));
        }
        Ok(NewShard {
            part,
            from,
            files,
            rows,
        })
    }

    /// Puts its files beside those of a directory, under their temporary names; returns whether they were copied.
    fn place(&self, directory: &Path, number: ShardNumber) -> Result<bool> {
        let mut is_copied = false;
        for (file, sum) in &self.files {
            let from = self.part.directory.join(self.from.file_name(*file));
            let to = directory.join(number.temporary_name(*file));
            let reading = || format!("cannot read {}", from.display());
            let mut there = regular::open(&from).with_context(reading)?;
            let linked = fault::step("link a shard's file", || fs::hard_link(&from, &to));
            match linked {
                Ok(()) => {}
                Err(error) if cannot_link(&error) => {
                    is_copied = true;
                    let copied = copy(&mut there, &to);
                    let copied = copied.with_context(|| {
                        format!("cannot copy {} to {}", from.display(), to.display())
                    })?;
                    ensure!(
                        copied.eq_ignore_ascii_case(sum),
                        "{} has another SHA-256 than SHA256SUMS says there, so it was changed; put back a copy of it",
                        from.display()
                    );
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot link {} to {}", from.display(), to.display())
                    });
                }
            }
        }
        Ok(is_copied)
    }
}

/// Whether a file system does not make hard links, or not to this file.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EXDEV | libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
    )
}

/// Copies a file, and makes that durable; returns its checksum.
fn copy(from: &mut File, to: &Path) -> io::Result<String> {
    let mut file = fault::step("create a temporary file", || File::create_new(to))?;
    let mut sum = Checksum::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sum.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
    fault::step("sync a copied file", || file.sync_all())?;
    Ok(sum.finish())
}
