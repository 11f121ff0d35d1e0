//! Command: says how far a model's directory is.
//!
//! It goes by names alone: those of the per-object files, the object ids in shards, the report of failures, and the
//! sizes and times of the pictures. So it takes less than a second for 100,000 objects, and may run beside `extract`
//! and `concat`: it takes no lock and writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::storage::failures::{Class, FailureReport};
use crate::storage::model_dir::ModelDir;
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::part::Part;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, Listing, ShardError, ShardFile, ShardFiles, ShardNumber};
use crate::storage::sources::{FileState, RecordedSources, Source};
use crate::support::progress::counted;

/// How many changed objects are named for people, and so on.
const NAMED: usize = 5;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The list of objects. Default: none, and what the directory holds is counted.
    pub objects: Option<PathBuf>,
    /// The media directory, whose pictures are compared with what is recorded. Default: none, and they are not.
    pub media_dir: Option<PathBuf>,
}

/// How far it is. With a list, `files`, `packed` and `failed` are of listed objects.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Status {
    /// The model's directory.
    pub directory: PathBuf,
    /// What made the features, where it is recorded.
    pub recipe: Option<Recipe>,
    /// Lines of the list.
    pub listed: Option<usize>,
    /// Lines that repeat one before.
    pub repeated: usize,
    /// Objects that have a file of their own, and no row in a shard.
    pub files: usize,
    /// Objects that have a row in a shard.
    pub packed: usize,
    /// Shards.
    pub shards: usize,
    /// The parts that pack; none where there are none.
    pub parts: Option<Parts>,
    /// Whether parts are being merged, or that was interrupted.
    pub merging: bool,
    /// Objects with a feature of which it is recorded what file that was made from.
    pub sourced: usize,
    /// Objects that failed when they were last tried, and have no feature or one of another file, and lines that are not
    /// objects.
    pub failed: usize,
    /// Those of them that are not tried again until their file changes.
    pub permanent: usize,
    /// The failed ones by class.
    pub failures: BTreeMap<Class, usize>,
    /// Listed objects without a feature and without a failure.
    pub pending: Option<usize>,
    /// Objects that have a feature and are not listed.
    pub unlisted: Option<usize>,
    /// The ids of the objects whose file is another one than their feature was made from, in order.
    pub changed: Option<Vec<String>>,
    /// Of those whose file has another path now, and is otherwise as it was.
    pub moved: Option<Vec<String>>,
    /// Of those whose file is gone, or that are not listed.
    pub removed: Option<Vec<String>>,
}

/// How far parts are that write their shards themselves.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Parts {
    /// Into how many the list is divided.
    pub of: u32,
    /// How many are complete.
    pub complete: usize,
    /// The numbers of the others, from 0.
    pub left: Vec<u32>,
}

/// What is known of an object.
#[derive(Clone, Copy)]
struct ObjectState<'a> {
    /// Its path in the list.
    entry: Option<&'a str>,
    outcome: Outcome,
    /// How it failed when it was last tried, also where it has a feature of before.
    failed: Option<Class>,
    /// What its feature was made from, where that is recorded.
    source: Option<&'a Source>,
}

/// What became of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    None,
    Failed(Class),
    File,
    Shard,
}

/// Counts what is listed, done, packed, failed and pending.
pub fn status(options: &Options) -> Result<Status> {
    let path = &options.directory;
    let reading = || format!("cannot read {}", path.display());
    let id_kind = Recipe::id_kind(path)?;
    let read_list = |objects| ObjectList::read(objects, id_kind);
    let list = options.objects.as_deref().map(read_list).transpose()?;
    let directory = ModelDir::open(path).with_context(reading)?;
    let listed = ShardFiles::list_all(path)?;
    let directories = listed.iter().map(|listing| &*listing.directory);
    let failures = FailureReport::read_all(directories).with_context(reading)?;
    // Files before shards: what `concat` packs meanwhile is in one of the two, or in both.
    let nested = directory.nested_files().with_context(reading)?;
    let recorded = RecordedSources::read(path, id_kind).with_context(reading)?;
    let object_files = recorded.identify(&nested).known;
    let rows = shard::read_listed(path, |listed| {
        let shards = listed.iter().flat_map(|Listing { directory, files }| {
            // Half of a pair is for `verify` to name.
            files
                .complete_pairs()
                .map(move |number| (directory, number))
        });
        let rows = shards.map(|(directory, number)| rows(directory, number));
        rows.collect::<Result<Vec<_>, _>>()
    })?;

    let mut status = Status {
        directory: path.clone(),
        recipe: Recipe::read(path)?,
        listed: list.as_ref().map(ObjectList::len),
        shards: rows.len(),
        parts: parts(path, &part_dir::begun(path, &listed[0].files))?,
        merging: listed[0].files.merging.is_some(),
        ..Status::default()
    };
    let mut objects: HashMap<&str, ObjectState<'_>> = HashMap::new();
    let lines = list.iter();
    for (line, entry) in lines.flat_map(|list| list.lines().zip(list.entries())) {
        match line {
            Line::Object(id) => {
                let state = ObjectState {
                    entry: Some(entry),
                    outcome: Outcome::None,
                    failed: None,
                    source: None,
                };
                objects.insert(id, state);
            }
            Line::Repeated => status.repeated += 1,
            Line::Bad(_) => status.count_failed(Class::BadEntry),
        }
    }
    let failed = failures
        .iter()
        .map(|(id, failure)| (&**id, Outcome::Failed(failure.class), None));
    let files = object_files.iter().map(|file| {
        let id = file.object_id();
        (id, Outcome::File, recorded.last(id))
    });
    let packed = rows.iter().flatten();
    // What is recorded and not packed is newer than what a shard says.
    let packed = packed.map(|(id, source)| {
        let source = recorded.last(id).or(source.as_ref());
        (&**id, Outcome::Shard, source)
    });
    // What comes later says more.
    for (id, outcome, source) in failed.chain(files).chain(packed) {
        let unknown = ObjectState {
            entry: None,
            outcome,
            failed: None,
            source,
        };
        let state = objects.entry(id).or_insert(unknown);
        (state.outcome, state.source) = (outcome, source);
        if let Outcome::Failed(class) = outcome {
            state.failed = Some(class);
        }
    }
    if let (Some(_), Some(media_dir)) = (&list, &options.media_dir) {
        status.compare(&objects, media_dir);
    }
    let (mut pending, mut unlisted) = (0, 0);
    for state in objects.into_values() {
        let ObjectState {
            entry,
            outcome,
            source,
            failed: _,
        } = state;
        let listed = entry.is_some();
        match outcome {
            Outcome::Failed(_) if !listed && list.is_some() => {}
            _ if !listed && list.is_some() => unlisted += 1,
            Outcome::None => pending += 1,
            Outcome::Failed(class) => status.count_failed(class),
            Outcome::File => status.files += 1,
            Outcome::Shard => status.packed += 1,
        }
        let is_counted = listed || list.is_none();
        status.sourced += usize::from(is_counted && source.is_some());
    }
    if list.is_some() {
        (status.pending, status.unlisted) = (Some(pending), Some(unlisted));
    }
    Ok(status)
}

/// How far the parts are, of which these are there.
fn parts(directory: &Path, there: &BTreeSet<Part>) -> Result<Option<Parts>> {
    // Directories of several numbers are of several attempts; the last has the greatest.
    let Some(of) = there.iter().map(|part| part.of()).max() else {
        return Ok(None);
    };
    let mut left: BTreeSet<u32> = (0..of).collect();
    for part in there.iter().filter(|part| part.of() == of) {
        if part_dir::read(&part_dir::directory(directory, *part))?.is_some() {
            left.remove(&part.index());
        }
    }
    Ok(Some(Parts {
        of,
        complete: of as usize - left.len(),
        left: left.into_iter().collect(),
    }))
}

/// The object ids of a shard, and what the feature of each was made from.
fn rows(
    directory: &Path,
    number: ShardNumber,
) -> Result<Vec<(String, Option<Source>)>, ShardError> {
    let ids = shard::read_object_ids(&directory.join(number.file_name(ShardFile::ObjectIds)))?;
    let sources = shard::sources(directory, number, ids.len())?;
    Ok(ids.into_iter().zip(sources).collect())
}

impl Status {
    /// Compares the files of the objects that have features with what is recorded of them.
    fn compare(&mut self, objects: &HashMap<&str, ObjectState<'_>>, media_dir: &Path) {
        let found = objects.par_iter().filter_map(|(id, object)| {
            if !matches!(object.outcome, Outcome::File | Outcome::Shard) {
                return None;
            }
            let file = match (object.entry, object.source) {
                (None, _) => FileState::Gone,
                (Some(entry), Some(source)) => source.compare(media_dir, entry),
                (Some(_), None) => FileState::Same,
            };
            Some(((*id).to_owned(), file, object.failed))
        });
        let mut found: Vec<(String, FileState, Option<Class>)> = found.collect();
        found.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let (mut changed, mut moved, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for (id, file, failed) in found {
            match file {
                FileState::Same | FileState::Unknown => {}
                FileState::Changed => {
                    changed.push(id);
                    if let Some(class) = failed {
                        self.count_failed(class);
                    }
                }
                FileState::Moved(_) => moved.push(id),
                FileState::Gone => removed.push(id),
            }
        }
        (self.changed, self.moved, self.removed) = (Some(changed), Some(moved), Some(removed));
    }

    fn count_failed(&mut self, class: Class) {
        self.failed += 1;
        self.permanent += usize::from(class.is_permanent());
        *self.failures.entry(class).or_default() += 1;
    }
}

/// For people: a line for each number.
impl fmt::Display for Status {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "directory  {}", self.directory.display())?;
        match &self.recipe {
            Some(recipe) => writeln!(to, "recipe     {recipe}")?,
            None => writeln!(to, "recipe     not recorded")?,
        }
        if let Some(listed) = self.listed {
            write!(to, "listed     {listed}")?;
            match self.repeated {
                0 => writeln!(to)?,
                repeated => writeln!(to, ", {repeated} of them twice")?,
            }
        }
        let done = self.files + self.packed;
        let (files, packed, shards) = (self.files, self.packed, self.shards);
        let shards = counted(shards, "shard");
        writeln!(
            to,
            "done       {done}: {files} in files, {packed} packed in {shards}"
        )?;
        if let Some(Parts { of, complete, left }) = &self.parts {
            write!(to, "parts      {complete} of {of} complete")?;
            let first = left.iter().take(NAMED).map(|index| format!("{index}/{of}"));
            let first: Vec<String> = first.collect();
            let more = if first.len() < left.len() {
                ", …"
            } else {
                ""
            };
            match left.is_empty() {
                true => writeln!(to)?,
                false => writeln!(to, "; left: {}{more}", first.join(", "))?,
            }
        }
        if self.merging {
            writeln!(
                to,
                "merging    parts are being merged, or that was interrupted: `simsearch concat --merge` goes on"
            )?;
        }
        match done - self.sourced.min(done) {
            0 => {}
            unknown => writeln!(
                to,
                "sources    not recorded of {unknown}, which an earlier version or another program made"
            )?,
        }
        write!(to, "failed     {}", self.failed)?;
        for (index, (class, count)) in self.failures.iter().enumerate() {
            let before = if index == 0 { ":" } else { "," };
            let kind = if class.is_permanent() {
                " (permanent)"
            } else {
                ""
            };
            write!(to, "{before} {count} {class}{kind}")?;
        }
        writeln!(to)?;
        if let Some(pending) = self.pending {
            writeln!(to, "pending    {pending}")?;
        }
        if let Some(unlisted @ 1..) = self.unlisted {
            let unlisted = counted(unlisted, "feature");
            writeln!(to, "unlisted   {unlisted} of other objects")?;
        }
        let ids = [&self.changed, &self.moved, &self.removed];
        for (name, ids) in ["changed", "moved", "removed"].iter().zip(ids) {
            if let Some(ids) = ids.as_ref().filter(|ids| !ids.is_empty()) {
                let first = &ids[..ids.len().min(NAMED)];
                let more = if first.len() < ids.len() { ", …" } else { "" };
                writeln!(to, "{name:<11}{}: {}{more}", ids.len(), first.join(", "))?;
            }
        }
        Ok(())
    }
}
