//! Command: removes what is no longer listed from a model's directory: rows of shards, per-object files, failures, and
//! what is recorded of their sources.
//!
//! Each shard changes in one durable step (`storage::shard_changes`), and a file is gone or not: killed at any step,
//! what is listed is all there, and the same command goes on from there.

mod mistake;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::storage::failures::{Class, Failure, FailureReport, id_of_bad_line};
use crate::storage::model_dir::{ModelDir, Packing, PackingLock, PerObjectFile};
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::part_dir::{self, CompletePart};
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, Listing, ShardError, ShardFiles};
use crate::storage::shard_changes::{self, Change};
use crate::storage::sources::{self, RecordedSources};
use crate::support::progress::Progress;
use mistake::{Pictures, Removed, mistake, removed_paths};

/// What to remove, and from where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The media directory.
    pub media_dir: PathBuf,
    /// The list of objects, which stay.
    pub objects: PathBuf,
    /// Whether to say what would be removed, and to remove nothing. Default: no.
    pub dry_run: bool,
    /// Whether to remove more than half of all features, those of pictures that are still there, or without a look
    /// whether the disk of the pictures is mounted. Default: no.
    pub yes: bool,
    /// How many features are so new that they do not count when it is more than half that would be removed. Default:
    /// none.
    pub new: usize,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// The objects that had features, in order.
    pub object_ids: BTreeSet<String>,
    /// Rows of shards.
    pub rows: usize,
    /// Per-object files.
    pub files: usize,
    /// Failures.
    pub failures: usize,
    /// How many of the files that the features were made from are where they were, and just not listed.
    pub still_there: usize,
    /// Whether nothing was removed yet.
    pub dry_run: bool,
    /// Why it would be refused to remove that without [`Options::yes`], where nothing was removed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Seconds it took.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum PruneOutcome {
    /// It removed what there was.
    Pruned(Summary),
    /// Another process is packing or pruning this directory, or writes to this part in it; the text names it.
    HeldBy(PathBuf, String),
    /// It removed nothing, since it may well be a mistake; the text says why.
    Refused(String),
}

/// Removes what is no longer listed.
///
/// Refuses that where it would be more than half of all features, or the disk of the pictures looks as if it were not
/// mounted, unless [`Options::yes`] is set.
///
/// # Errors
/// When a file cannot be read or written.
pub fn prune(options: &Options, progress: &Progress) -> Result<PruneOutcome> {
    let started = Instant::now();
    let path = &options.directory;
    let reading = || format!("cannot read {}", path.display());
    let id_kind = Recipe::id_kind(path)?;
    let directory = ModelDir::open(path).with_context(reading)?;
    let mut lock = None;
    if !options.dry_run {
        match directory.lock_packing(&|line| progress.note(line))? {
            Packing::HeldBy(holder) => return Ok(PruneOutcome::HeldBy(path.clone(), holder)),
            Packing::Locked(taken) => lock = Some(taken),
        }
        shard_changes::finish_what_was_killed(&directory)?;
        let tidying = || format!("cannot tidy {}", path.display());
        directory.remove_leftovers().with_context(tidying)?;
    }
    let nested = directory.nested_files().with_context(reading)?;
    let recorded = RecordedSources::read(path, id_kind).with_context(reading)?;
    let listings = ShardFiles::list_all(path)?;
    // After them: what another process has listed and extracted meanwhile, also in a part, is in the list.
    let list = ObjectList::read(&options.objects, id_kind)?;
    list.refuse_nothing_from_a_pipe(&options.objects)?;
    let listed = Listed::of(&list);
    let (files, kept): (Vec<PerObjectFile<'_>>, Vec<_>) =
        (recorded.identify(&nested).known.into_iter())
            .partition(|file| !listed.has(file.object_id()));
    let mut summary = Summary {
        object_ids: files
            .iter()
            .map(|file| file.object_id().to_owned())
            .collect(),
        files: files.len(),
        dry_run: options.dry_run,
        ..Summary::default()
    };
    let mut rows = 0;
    let mut places = Vec::new();
    for Listing { directory, files } in listings {
        let mut place = Place {
            directory,
            unlisted: Unlisted::default(),
            failures: 0,
            is_unfinished: false,
        };
        let found = Unlisted::find(&place.directory, &files, &listed);
        if place.directory != *path {
            place.is_unfinished = match &found {
                Ok((_, rows)) => is_unfinished(&place.directory, &files, *rows)?,
                Err(_) => true,
            };
        }
        if place.is_unfinished {
            let part = ModelDir::open(&place.directory).with_context(reading)?;
            if let Some(holder) = part.packing_holder().with_context(reading)? {
                if found.is_err() {
                    return Ok(PruneOutcome::HeldBy(place.directory, holder));
                }
                // It is at it now.
                place.is_unfinished = false;
            }
        }
        let (unlisted, rows_here) = found?;
        rows += rows_here;
        summary.rows += unlisted.rows;
        summary.object_ids.extend(unlisted.ids.iter().cloned());
        place.unlisted = unlisted;
        let failures = FailureReport::read(&place.directory).with_context(reading)?;
        let unlisted = failures.values().filter(|it| !listed.has_failed(it));
        place.failures = unlisted.count();
        summary.failures += place.failures;
        places.push(place);
    }
    let removed = Removed {
        features: summary.rows + summary.files,
        of: rows + files.len() + kept.len(),
        paths: removed_paths(id_kind, &places, &recorded, &listed),
    };
    let mut why = match options.yes {
        true => None,
        false => mistake(options, &list, &removed),
    };
    if removed.features > 0 && (why.is_none() || options.dry_run) {
        let pictures = Pictures::look(&options.media_dir, &removed.paths);
        summary.still_there = pictures.there.len();
        if !options.yes {
            why = why.or_else(|| pictures.not_gone(options));
        }
    }
    match (why, options.dry_run) {
        (Some(why), false) => return Ok(PruneOutcome::Refused(why)),
        (why, _) => summary.refused = why,
    }
    if let Some(lock) = &lock {
        let to_change = places.iter().filter(|place| place.is_to_change());
        let of_parts = |place: &&Place| place.directory != *path;
        for place in to_change.clone().filter(of_parts) {
            let part = ModelDir::open(&place.directory).with_context(reading)?;
            if let Some(holder) = part.packing_holder().with_context(reading)? {
                return Ok(PruneOutcome::HeldBy(place.directory.clone(), holder));
            }
        }
        for place in to_change {
            if place.directory == *path {
                place.remove_unlisted(lock, &listed)?;
            } else {
                // One at a time: there may be thousands.
                let part = ModelDir::open(&place.directory).with_context(reading)?;
                match part.lock_packing(&|line| progress.note(line))? {
                    Packing::Locked(lock) => place.remove_unlisted(&lock, &listed)?,
                    Packing::HeldBy(holder) => {
                        return Ok(PruneOutcome::HeldBy(place.directory.clone(), holder));
                    }
                }
            }
        }
        lock.check()?;
        (directory.remove_features(&files)).context("cannot remove what is not listed")?;
        // A killed run may have left some.
        for nested in &nested.empty {
            let removed = directory.remove_if_empty(nested);
            removed.context("cannot remove an empty directory")?;
        }
        let tidy = || -> io::Result<()> {
            if recorded.made().is_empty() {
                return Ok(());
            }
            let is_listed = |path: &str| listed.has(id_kind.of_entry(path));
            sources::tidy(&directory, &recorded, |made| is_listed(&made.source.path))
        };
        tidy().with_context(|| format!("cannot tidy {}", path.display()))?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(PruneOutcome::Pruned(summary))
}

/// The objects that stay.
struct Listed<'a> {
    ids: HashSet<&'a str>,
    /// Under which ids the lines that are not objects are reported.
    bad_lines: HashSet<String>,
}

impl<'a> Listed<'a> {
    fn of(list: &'a ObjectList) -> Self {
        let mut listed = Listed {
            ids: HashSet::with_capacity(list.len()),
            bad_lines: HashSet::new(),
        };
        for (line, entry) in list.lines().zip(list.entries()) {
            match line {
                Line::Object(id) => _ = listed.ids.insert(id),
                Line::Bad(_) => _ = listed.bad_lines.insert(id_of_bad_line(entry)),
                Line::Repeated => {}
            }
        }
        listed
    }

    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn has_failed(&self, failure: &Failure) -> bool {
        match failure.class {
            Class::BadEntry => self.bad_lines.contains(&failure.id),
            _ => self.has(&failure.id),
        }
    }
}

/// A directory with shards: the model's, or that of a part in it.
struct Place {
    directory: PathBuf,
    unlisted: Unlisted,
    /// How many failures are not listed.
    failures: usize,
    /// Whether a run was killed while it changed shards here, which nobody is doing now.
    is_unfinished: bool,
}

impl Place {
    fn is_to_change(&self) -> bool {
        self.unlisted.rows > 0 || self.failures > 0 || self.is_unfinished
    }

    /// Removes them, and the failures; looks again at the shards, which were not locked before. What came meanwhile
    /// stays: the list that was read may not know it.
    fn remove_unlisted(&self, lock: &PackingLock, listed: &Listed<'_>) -> Result<()> {
        let path = &self.directory;
        let directory =
            ModelDir::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut sums = shard_changes::finish_what_was_killed(&directory)?;
        for number in ShardFiles::list(path)?.pairs(path)? {
            let ids = shard::object_ids(path, number)?;
            let leaving = rows_of(&ids, |id| self.unlisted.ids.contains(id));
            if !leaving.is_empty() {
                let sources = shard::sources(path, number, ids.len())?;
                let next = ShardFiles::list(path)?.next_number();
                let change = Change { leaving, sources };
                shard_changes::change(&directory, lock, &mut sums, number, next, &change)?;
            }
        }
        if let Some(complete) = part_dir::read(path)? {
            let rows = part_dir::rows(path)?;
            if rows != complete.rows {
                part_dir::write(path, &CompletePart { rows, ..complete })?;
            }
        }
        if self.failures > 0 {
            (FailureReport::open(&directory))
                .and_then(|report| report.tidy(|failure| !listed.has_failed(failure)))
                .with_context(|| format!("cannot tidy {}", path.display()))?;
        }
        Ok(())
    }
}

/// The rows of a directory's shards that are not listed.
#[derive(Default)]
struct Unlisted {
    rows: usize,
    /// Their objects.
    ids: BTreeSet<String>,
    /// The files that their features were made from, as far as that is recorded.
    paths: Vec<Box<str>>,
}

impl Unlisted {
    /// Finds them in these shards; also returns how many rows there are in all.
    fn find(
        directory: &Path,
        files: &ShardFiles,
        listed: &Listed<'_>,
    ) -> Result<(Self, usize), ShardError> {
        let mut found = Unlisted::default();
        let mut all = 0;
        for number in files.pairs(directory)? {
            let ids = match shard::object_ids(directory, number) {
                // Another process has replaced it meanwhile; what of it is still not listed then, the next run finds.
                Err(error) if shard::is_gone(&error) => continue,
                read => read?,
            };
            all += ids.len();
            let leaving = rows_of(&ids, |id| !listed.has(id));
            if leaving.is_empty() {
                continue;
            }
            let sources = shard::sources(directory, number, ids.len())?;
            found.rows += leaving.len();
            for row in leaving {
                found.ids.insert(ids[row].clone());
                found
                    .paths
                    .extend(sources[row].as_ref().map(|source| source.path.clone()));
            }
        }
        Ok((found, all))
    }
}

/// The rows of a shard whose objects are meant.
fn rows_of(ids: &[String], is_meant: impl Fn(&str) -> bool) -> BTreeSet<usize> {
    let rows = ids.iter().enumerate();
    let meant = rows.filter(|(_, id)| is_meant(id));
    meant.map(|(row, _)| row).collect()
}

/// Whether the shards of a part are being changed, or a run was killed at that, or before it recorded how many `rows` they
/// have now.
fn is_unfinished(part: &Path, files: &ShardFiles, rows: usize) -> Result<bool> {
    let is_whole = files.temporary.is_empty() && files.replacements.is_empty();
    Ok(!is_whole || part_dir::read(part)?.is_some_and(|complete| complete.rows != rows))
}
