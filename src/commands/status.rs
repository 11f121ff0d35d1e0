//! Command: says how far a model's directory is.
//!
//! It goes by names alone: those of the per-object files, the object ids in shards, and the report of failures. So it
//! takes well under a second for 100,000 objects, and may run beside `extract` and `concat`: it takes no lock and writes
//! nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::storage::failures::{Class, FailureReport};
use crate::storage::model_dir::ModelDir;
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, ShardFile, ShardFiles, ShardNumber};
use crate::storage::sources::RecordedSources;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// The list of objects. Default: none, and what the directory holds is counted.
    pub objects: Option<PathBuf>,
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
    /// Objects with a feature of which it is recorded what file that was made from.
    pub sourced: usize,
    /// Objects without a feature that failed when they were last tried, and lines that are not objects.
    pub failed: usize,
    /// Those of them that are not tried again until their file changes.
    pub permanent: usize,
    /// The failed ones by class.
    pub failures: BTreeMap<Class, usize>,
    /// Listed objects without a feature and without a failure.
    pub pending: Option<usize>,
    /// Objects that have a feature and are not listed.
    pub unlisted: Option<usize>,
}

/// What is known of an object.
#[derive(Clone, Copy)]
struct ObjectState {
    listed: bool,
    outcome: Outcome,
    /// Whether it is recorded what file its feature was made from.
    is_sourced: bool,
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
    let list = options.objects.as_deref().map(ObjectList::read);
    let list = list.transpose()?;
    let directory = ModelDir::open(path).with_context(reading)?;
    let failures = FailureReport::read(path).with_context(reading)?;
    // Files before shards: what `concat` packs meanwhile is in one of the two, or in both.
    let nested = directory.nested_files().with_context(reading)?;
    let recorded = RecordedSources::read(path).with_context(reading)?;
    let shards = ShardFiles::list(path)?;
    // Of the two halves the ids get their name last. A shard whose other half is lost is for `verify` to name.
    let numbers = shards
        .finished
        .iter()
        .filter(|(_, halves)| halves[ShardFile::ObjectIds as usize]);
    let rows = numbers
        .map(|(number, _)| rows(path, *number))
        .collect::<Result<Vec<_>, _>>()?;

    let mut status = Status {
        directory: path.clone(),
        recipe: Recipe::read(path)?,
        listed: list.as_ref().map(ObjectList::len),
        shards: rows.len(),
        ..Status::default()
    };
    let mut objects: HashMap<&str, ObjectState> = HashMap::new();
    for line in list.iter().flat_map(ObjectList::lines) {
        match line {
            Line::Object(id) => {
                let state = ObjectState {
                    listed: true,
                    outcome: Outcome::None,
                    is_sourced: false,
                };
                objects.insert(id, state);
            }
            Line::Repeated => status.repeated += 1,
            Line::Bad(_) => status.count_failed(Class::BadEntry),
        }
    }
    let failed = failures
        .iter()
        .map(|(id, failure)| (&**id, Outcome::Failed(failure.class), false));
    let files = nested.files().map(|file| {
        let id = file.object_id();
        (id, Outcome::File, recorded.names(id))
    });
    let packed = rows.iter().flatten();
    let packed = packed.map(|(id, is_sourced)| (&**id, Outcome::Shard, *is_sourced));
    // What comes later says more.
    for (id, outcome, is_sourced) in failed.chain(files).chain(packed) {
        let unknown = ObjectState {
            listed: false,
            outcome,
            is_sourced,
        };
        let state = objects.entry(id).or_insert(unknown);
        (state.outcome, state.is_sourced) = (outcome, is_sourced);
    }
    let (mut pending, mut unlisted) = (0, 0);
    for state in objects.into_values() {
        let ObjectState {
            listed,
            outcome,
            is_sourced,
        } = state;
        match outcome {
            Outcome::Failed(_) if !listed && list.is_some() => {}
            _ if !listed && list.is_some() => unlisted += 1,
            Outcome::None => pending += 1,
            Outcome::Failed(class) => status.count_failed(class),
            Outcome::File => status.files += 1,
            Outcome::Shard => status.packed += 1,
        }
        let is_counted = listed || list.is_none();
        status.sourced += usize::from(is_counted && is_sourced);
    }
    if list.is_some() {
        (status.pending, status.unlisted) = (Some(pending), Some(unlisted));
    }
    Ok(status)
}

/// The object ids of a shard, and of each whether it is known what file its feature was made from.
fn rows(directory: &Path, number: ShardNumber) -> Result<Vec<(String, bool)>> {
    let ids = shard::read_object_ids(&directory.join(number.file_name(ShardFile::ObjectIds)))?;
    let sources = shard::sources(directory, number, ids.len())?;
    let is_sourced = sources.iter().map(Option::is_some);
    Ok(ids.into_iter().zip(is_sourced).collect())
}

impl Status {
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
        let s = if shards == 1 { "" } else { "s" };
        writeln!(
            to,
            "done       {done}: {files} in files, {packed} packed in {shards} shard{s}"
        )?;
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
        match self.unlisted {
            Some(unlisted @ 1..) => writeln!(to, "unlisted   {unlisted} features of other objects"),
            _ => Ok(()),
        }
    }
}
