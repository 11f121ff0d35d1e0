//! The merge of parts: their shards become those of one directory, by hard links where the file system has them.
//!
//! Everything is checked before anything is written. `storage::merging` has what readers see meanwhile. A merge that
//! was killed goes on where it was: shards whose checksums are those of a part's are there already.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the merge, from what is named to one directory; going on with one that was interrupted, or giving it up |
//! | `parts.rs` | finding the parts, and what must be true of them |
//! | `new_shards.rs` | the shards that the directory gets: their files, and whether an object is twice in them |

mod new_shards;
mod parts;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::storage::failures::FailureReport;
use crate::storage::merging::{self, MergeOf, Merging};
use crate::storage::model_dir::{ModelDir, Packing};
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFiles};
use crate::storage::shard_changes::{finish_what_a_merge_left, remove_shard};
use crate::support::progress::{Progress, counted};
use new_shards::{NewShard, check_ids, pair, place_all, without_those_there};
use parts::{PartToMerge, check_parts, check_recipe, find_parts, parts_inside, writer_of};

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

/// Makes one directory of the parts of a list.
///
/// # Errors
/// When a part is missing, incomplete, there twice, of another list or recipe than the others, or an object is there
/// twice; and when a file cannot be read or written. Nothing has changed then, or the same call goes on.
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
    let packing = match target.lock_packing(&|line| progress.note(line))? {
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
    let merged = (|| -> Result<_> {
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
            part.ensure_is_unchanged()?;
        }
        packing.check()?;
        merging::done(&target, &inside)?;
        Ok(None)
    })();
    if !matches!(merged, Ok(None)) && packing.check().is_ok() {
        // What a full disk cut short would keep it full. (Where another process has taken over, what is there is its
        // own.)
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

/// Removes what a merge that was interrupted has put into a directory.
fn give_up(path: &Path, progress: &Progress) -> Result<MergeOutcome> {
    let target = ModelDir::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let _packing = match target.lock_packing(&|line| progress.note(line))? {
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
        "another merge into {} was interrupted: of {} of a list of {}; merge these, or give that up with \
         `simsearch concat --merge --give-up`",
        path.display(),
        counted(begun.parts, "part"),
        counted(begun.list.lines, "line")
    );
    let of_parts: HashSet<[Option<&str>; 2]> = all.iter().map(NewShard::pair).collect();
    for number in there.finished.range(first..).map(|(number, _)| *number) {
        if !of_parts.contains(&pair(sums, number)) {
            remove_shard(target, sums, number)?;
        }
    }
    Ok(())
}

/// Takes the failures of the parts into the report of the directory, but for objects that have a row; returns how many
/// stay.
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

/// Goes on with a merge that was killed after its shards were all in place. Where its parts were in the directory
/// itself, that is all there is to do.
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
    let _packing = match target.lock_packing(&|line| progress.note(line))? {
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
        let entries = fs::read_dir(&part).ok();
        if let Some(Ok(entry)) = entries.and_then(|mut entries| entries.next()) {
            progress.note(&format!(
                "{} stays: it holds more than a part does, such as {}",
                part.display(),
                entry.file_name().display()
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
