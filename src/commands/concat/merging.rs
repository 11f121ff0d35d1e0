//! The merge of parts: their shards become those of one directory, by hard links where the file system has them.
//!
//! Everything is checked before anything is written. `storage::merging` has what readers see meanwhile. A merge that was killed
//! goes on where it was: shards whose checksums are those of a part's are there already.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use rayon::prelude::*;

use crate::storage::checksum::{self, Checksum};
use crate::storage::failures::FailureReport;
use crate::storage::files::regular;
use crate::storage::merging;
use crate::storage::model_dir::{ModelDir, Packing, PackingLock};
use crate::storage::name_filter::NameFilter;
use crate::storage::part::Part;
use crate::storage::part_dir::{self, CompletePart};
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFile, ShardFiles, ShardNumber};
use crate::storage::shard_changes::{finish_what_a_merge_left, put_in_place};
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
    if let Some(summary) = finish_what_was_done(options, progress)? {
        return Ok(summary);
    }
    let found = find_parts(options)?;
    if found.is_empty() {
        progress.note(&format!("{} holds no parts to merge", path.display()));
        return Ok(MergeOutcome::Merged(MergeSummary::default()));
    }
    let parts = check_parts(&found)?;
    check_that_none_is_left_out(path, &parts)?;
    let recipe = parts.iter().find_map(|part| part.recipe.as_ref());
    if let (Some(recipe), Some(there)) = (recipe, Recipe::read(path)?) {
        check_recipe(recipe, &parts[0].directory, &there, path)?;
    }
    let target = ModelDir::create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let locked = target.lock_packing(&|line| progress.note(line));
    let packing = match locked.with_context(|| format!("cannot lock {}", path.display()))? {
        Packing::Locked(packing) => packing,
        Packing::HeldBy(holder) => return Ok(MergeOutcome::HeldBy(path.clone(), holder)),
    };
    let mut sums = finish_what_a_merge_left(&target)?;
    let there = ShardFiles::list_with_merged(path)?;
    let mut summary = MergeSummary {
        parts: parts[0].part.of(),
        ..MergeSummary::default()
    };
    let new = new_shards(&parts, &there, &sums, &mut summary)?;
    check_ids(path, &there, &new)?;
    if let Some(recipe) = recipe {
        recipe.agree(path)?;
    }
    if let Some((part, holder)) = holder(&parts)? {
        return Ok(MergeOutcome::HeldBy(part, holder));
    }
    let first = there.next_number();
    if there.merging.is_none() {
        merging::begin(&target, first)?;
    }
    // Who takes up a part from now on sees that it is being merged.
    if let Some((part, holder)) = holder(&parts)? {
        if there.merging.is_none() {
            merging::take_back(&target, first)?;
        }
        return Ok(MergeOutcome::HeldBy(part, holder));
    }
    let placed = place_all(
        &target,
        &packing,
        &mut sums,
        first,
        &new,
        &mut summary,
        progress,
    );
    if placed.is_err() && packing.check().is_ok() {
        // What a full disk cut short would keep it full. (Where another process has taken over, what is there is its own.)
        let _ = finish_what_a_merge_left(&target);
    }
    placed?;
    summary.failed = take_failures(&target, &parts)?;
    for part in &parts {
        ensure!(
            part_dir::read(&part.directory)?.as_ref() == Some(&part.complete),
            "part {} in {} was changed meanwhile; run the same command again",
            part.part,
            part.directory.display()
        );
    }
    packing.check()?;
    merging::done(&target)?;
    merging::finish(&target)?;
    say_what_stays(path, progress)?;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(MergeOutcome::Merged(summary))
}

/// Takes the failures of the parts into the report of the directory; returns how many there are.
fn take_failures(target: &ModelDir, parts: &[PartToMerge]) -> Result<usize> {
    let writing = || {
        let path = target.path().join(FailureReport::FILE_NAME);
        format!("cannot write {}", path.display())
    };
    let report = FailureReport::open(target).with_context(writing)?;
    let mut count = 0;
    for part in parts {
        let failures = FailureReport::read(&part.directory);
        let failures =
            failures.with_context(|| format!("cannot read {}", part.directory.display()))?;
        for failure in failures.values() {
            report.record(failure).with_context(writing)?;
        }
        count += failures.len();
    }
    Ok(count)
}

/// Who writes to one of the parts, and to which.
fn holder(parts: &[PartToMerge]) -> Result<Option<(PathBuf, String)>> {
    for part in parts {
        let holder = ModelDir::open(&part.directory).and_then(|part| part.packing_holder());
        let reading = || format!("cannot read {}", part.directory.display());
        if let Some(holder) = holder.with_context(reading)? {
            return Ok(Some((part.directory.clone(), holder)));
        }
    }
    Ok(None)
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
    let locked = target.lock_packing(&|line| progress.note(line));
    let _packing = match locked.with_context(|| format!("cannot lock {}", path.display()))? {
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
    say_what_stays(path, progress)?;
    let is_in_it = |part: &PathBuf| !part.exists() || holds(path, part);
    let was_all = options.parts.iter().all(is_in_it);
    Ok(was_all.then(|| MergeOutcome::Merged(MergeSummary::default())))
}

fn say_what_stays(path: &Path, progress: &Progress) -> Result<()> {
    for part in ShardFiles::list(path)?.parts {
        progress.note(&format!(
            "{} stays: it holds files that are not of this program",
            part_dir::directory(path, part).display()
        ));
    }
    Ok(())
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
        let inside = ShardFiles::list(path)?.parts;
        // Where they were in the directory itself, an earlier merge has come to its end.
        let is_target = fs::canonicalize(&options.directory).is_ok_and(|target| target == real);
        ensure!(
            !inside.is_empty() || is_target,
            "{} is no part and holds none; `simsearch extract --pack` makes parts, such as part-00003-of-00064",
            path.display()
        );
        let inside = inside.into_iter();
        parts.extend(inside.map(|part| (part, part_dir::directory(path, part))));
    }
    parts.sort();
    Ok(parts)
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
    for index in (0..of).filter(|index| !there.contains(index)) {
        wrong.push(format!("part {index}/{of} is missing"));
    }
    let mut parts: Vec<PartToMerge> = Vec::new();
    for (part, directory) in found {
        if parts.last().is_some_and(|last| last.part == *part) {
            continue;
        }
        let Some(complete) = part_dir::read(directory)? else {
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
        let recipe = Recipe::read(directory)?;
        let listed = ShardFiles::list(directory)?;
        parts.push(PartToMerge {
            directory: directory.clone(),
            part: *part,
            complete,
            recipe,
            sums: Sha256Sums::read(directory)?,
            shards: listed.pairs(directory)?,
        });
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

/// Parts that are in the directory itself are removed at the end, so that all of them have to be among those that are merged.
fn check_that_none_is_left_out(path: &Path, parts: &[PartToMerge]) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let merged: HashSet<PathBuf> = (parts.iter())
        .filter_map(|part| fs::canonicalize(&part.directory).ok())
        .collect();
    for part in ShardFiles::list(path)?.parts {
        let inside = part_dir::directory(path, part);
        let is_merged = fs::canonicalize(&inside).is_ok_and(|inside| merged.contains(&inside));
        ensure!(
            is_merged,
            "{} is not among the parts that are to be merged into {}; name it too, or another --feature-dir",
            inside.display(),
            path.display()
        );
    }
    Ok(())
}

/// The shards of the parts, in order, that are not in the directory yet.
fn new_shards<'a>(
    parts: &'a [PartToMerge],
    there: &ShardFiles,
    sums: &Sha256Sums,
    summary: &mut MergeSummary,
) -> Result<Vec<NewShard<'a>>> {
    let sum = |number: ShardNumber, file| sums.sum(&number.file_name(file));
    let there: HashSet<[Option<&str>; 2]> = (there.complete_pairs())
        .map(|number| ShardFile::PAIR.map(|file| sum(number, file)))
        .collect();
    let all = parts
        .iter()
        .flat_map(|part| part.shards.iter().map(move |from| (part, *from)));
    let all: Vec<(&PartToMerge, ShardNumber)> = all.collect();
    let shards = all
        .into_par_iter()
        .map(|(part, from)| NewShard::read(part, from));
    let mut shards: Vec<NewShard<'_>> = shards.collect::<Result<_>>()?;
    let before = shards.len();
    shards.retain(|shard| {
        let of_shard = |file| {
            let files = shard.files.iter();
            files
                .clone()
                .find(|(it, _)| *it == file)
                .map(|(_, sum)| &**sum)
        };
        !there.contains(&ShardFile::PAIR.map(of_shard))
    });
    summary.already_merged = before - shards.len();
    Ok(shards)
}

/// Fails where an object is in two of the new shards, or in one and in a shard that is there.
fn check_ids(path: &Path, there: &ShardFiles, new: &[NewShard<'_>]) -> Result<()> {
    let of_there = there.complete_pairs().map(|number| (path, number));
    let of_new = new.iter().map(|shard| (&*shard.part.directory, shard.from));
    let shards: Vec<(&Path, ShardNumber)> = of_there.chain(of_new).collect();
    let ids = |(directory, number): &(&Path, ShardNumber)| shard::object_ids(directory, *number);
    let filter = NameFilter::of_all(shards.par_iter().map(ids))?;
    if !filter.has_twins() {
        return Ok(());
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for shard in &shards {
        let at = shard.0.join(shard.1.file_name(ShardFile::ObjectIds));
        for id in ids(shard)? {
            if !filter.may_hold_twice(id.as_bytes()) {
                continue;
            }
            if let Some(first) = seen.insert(id.clone(), at.clone()) {
                bail!(
                    "{id} is there twice, in {} and in {}; nothing has changed",
                    first.display(),
                    at.display()
                );
            }
        }
    }
    Ok(())
}

impl<'a> NewShard<'a> {
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
            let sum = match part.sums.sum(&name) {
                Some(sum) => sum.to_owned(),
                None => checksum::of_file(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
            };
            files.push((file, sum));
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
