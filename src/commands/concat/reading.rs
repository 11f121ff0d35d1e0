//! The per-object files: which of them are to be packed, what is in them, and which rows of shards they replace.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::Refusals;
use crate::storage::model_dir::{ModelDir, PerObjectFile, ReadFile};
use crate::storage::name_filter::NameFilter;
use crate::storage::npy;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, FeatureRows, ShardError, ShardFile, ShardNumber};
use crate::storage::shard_changes::{Change, new_sources};
use crate::storage::sources::{RecordedSources, feature_sum};
use crate::support::hints::concerns_the_run;

/// What the per-object files and the record of sources say about the shards that are there.
#[derive(Debug, Default)]
pub struct Compared {
    /// Files that were removed, because they are equal to their row.
    pub already_packed: usize,
    /// Shards that are to change: rows of which there is a newer feature, and sources that are others now.
    pub changes: BTreeMap<ShardNumber, Change>,
}

/// A row of a shard.
struct Row {
    /// The directory of the part that the shard is in; none where that is the model's.
    part: Option<PathBuf>,
    number: ShardNumber,
    row: usize,
}

/// Compares the files whose ids are in shards with their rows. Those that are equal are removed, and dropped from
/// `files`. Those of which it is recorded what they were made from are newer than their row, which is to leave. Others
/// are refused and dropped, and so are all but the first of several files with one id.
pub fn compare_with_packed(
    directory: &ModelDir,
    files: &mut Vec<PerObjectFile<'_>>,
    pairs: &[ShardNumber],
    recorded: &RecordedSources,
    refusals: &mut Refusals<'_>,
) -> Result<Compared> {
    let path = directory.path();
    let names = NameFilter::of(files.par_iter().map(|file| file.object_id().as_bytes()));
    let mut packed = match files.is_empty() {
        true => HashMap::new(),
        false => rows_of_parts(path, &names)?,
    };
    let mut compared = Compared::default();
    if !files.is_empty() || !recorded.made().is_empty() {
        for &number in pairs {
            let ids = shard::object_ids(path, number)?;
            if let Some(sources) = new_sources(path, number, &ids, recorded)? {
                let leaving = BTreeSet::new();
                compared.changes.insert(number, Change { leaving, sources });
            }
            for (row, id) in ids.into_iter().enumerate() {
                if names.may_hold(id.as_bytes()) {
                    let part = None;
                    packed.insert(id, Row { part, number, row });
                }
            }
        }
    }
    let mut seen = HashSet::new();
    let mut left = 0;
    let mut buffer = Vec::new();
    for index in 0..files.len() {
        let file = files[index];
        let id = file.object_id();
        let is_first = !names.may_hold_twice(id.as_bytes()) || seen.insert(id);
        let checked = if id.is_empty() {
            Err(anyhow!("its name does not contain an object id"))
        } else if !is_first {
            Err(anyhow!("another file has the same object id"))
        } else if let Some(row) = packed.get(id) {
            compared.compare(directory, file, row, recorded, &mut buffer)
        } else {
            Ok(true)
        };
        match checked {
            Ok(is_to_be_packed) => {
                files[left] = file;
                left += usize::from(is_to_be_packed);
            }
            Err(error) if concerns_the_run(error.as_ref()) => {
                let file = path.join(file.path());
                return Err(error.context(format!("cannot compare {}", file.display())));
            }
            Err(reason) => refusals.refuse(file.path(), &reason),
        }
    }
    files.truncate(left);
    Ok(compared)
}

/// The rows of parts that have one of these names. Parts stay as they are, and may be written to meanwhile.
fn rows_of_parts(directory: &Path, names: &NameFilter) -> Result<HashMap<String, Row>, ShardError> {
    shard::read_listed(directory, |listed| {
        let mut rows = HashMap::new();
        for listing in &listed[1..] {
            for number in listing.pairs()? {
                let ids = shard::object_ids(&listing.directory, number)?;
                for (row, id) in ids.into_iter().enumerate() {
                    if names.may_hold(id.as_bytes()) {
                        let part = Some(listing.directory.clone());
                        rows.insert(id, Row { part, number, row });
                    }
                }
            }
        }
        Ok(rows)
    })
}

impl Compared {
    /// Compares a file with the row that has its id; returns whether it is to be packed. An error is why it is refused.
    fn compare(
        &mut self,
        directory: &ModelDir,
        file: PerObjectFile<'_>,
        Row { part, number, row }: &Row,
        recorded: &RecordedSources,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let path = directory.path();
        let there = part.as_deref().unwrap_or(path);
        let there = FeatureRows::open(there, *number)?.read(*row)?;
        let (read, data) = read_feature(directory, file, Some(there.len() / 4), buffer)?;
        if data == there {
            (directory.remove_read(&[read])).context("cannot remove what is packed")?;
            self.already_packed += 1;
            return Ok(false);
        }
        let is_newer = || recorded.find(file.object_id(), feature_sum(data)).is_some();
        if part.is_none() && is_newer() {
            self.leave(path, *number, *row)?;
            return Ok(true);
        }
        let of_part = part.as_ref().and_then(|part| part.file_name());
        let shard = Path::new(of_part.unwrap_or_default());
        let shard = shard.join(number.file_name(ShardFile::Features));
        let shard = shard.display();
        bail!("differs from row {row} of {shard}, which has the same id")
    }

    /// A row is to leave its shard.
    fn leave(&mut self, directory: &Path, number: ShardNumber, row: usize) -> Result<()> {
        let change = match self.changes.entry(number) {
            Entry::Occupied(change) => change.into_mut(),
            Entry::Vacant(vacant) => {
                let rows = shard::object_ids(directory, number)?.len();
                let sources = shard::sources(directory, number, rows)?;
                let leaving = BTreeSet::new();
                vacant.insert(Change { leaving, sources })
            }
        };
        change.leaving.insert(row);
        Ok(())
    }
}

/// Where nothing else tells the dimension, so many files, spread evenly over all, are read to find it.
const VOTERS: usize = 1000;

/// The dimension that all features of this directory have: that of the shards, or as recorded by `extract`, or else
/// that of most per-object files.
pub fn dimension(
    directory: &ModelDir,
    pairs: &[ShardNumber],
    files: &[PerObjectFile<'_>],
) -> Result<Option<usize>> {
    let path = directory.path();
    if let Some(last) = pairs.last() {
        let (_, dimension, _) =
            shard::features_shape(&path.join(last.file_name(ShardFile::Features)))?;
        return Ok(Some(dimension));
    }
    // A damaged one is for `extract` to refuse; here the files tell as well.
    if let Ok(Some(recipe)) = Recipe::read(path) {
        return Ok(Some(recipe.dimension));
    }
    let step = files.len().div_ceil(VOTERS).max(1);
    let voters: Vec<PerObjectFile<'_>> = files.iter().copied().step_by(step).collect();
    let size =
        |file: &PerObjectFile<'_>| fs::symlink_metadata(path.join(file.path())).map(|it| it.len());
    let sizes: Vec<Option<u64>> = voters.par_iter().map(|file| size(file).ok()).collect();
    // By how many files have them; the first in order among equals, so that every run decides alike.
    let mut counts: IndexMap<u64, usize> = IndexMap::new();
    for size in sizes.iter().flatten() {
        *counts.entry(*size).or_default() += 1;
    }
    counts.sort_by(|_, one, _, other| other.cmp(one));
    // Torn files may be the most.
    let dimension_of = |common: u64| {
        let mut candidates = voters
            .iter()
            .zip(&sizes)
            .filter(|(_, size)| **size == Some(common));
        candidates.find_map(|(file, _)| {
            let bytes = directory.read(*file).ok()?;
            npy::feature_data(&bytes).ok().map(|data| data.len() / 4)
        })
    };
    Ok(counts.into_keys().find_map(dimension_of))
}

/// Reads a per-object file into a buffer; returns which file that was, and the `4 d` bytes of its numbers, checked to
/// be one finite feature, of this dimension where it is known.
pub fn read_feature<'f, 'b>(
    directory: &ModelDir,
    file: PerObjectFile<'f>,
    dimension: Option<usize>,
    buffer: &'b mut Vec<u8>,
) -> Result<(ReadFile<'f>, &'b [u8])> {
    let read = directory.read_into(file, buffer)?;
    let data = npy::feature_data(buffer)?;
    if let Some(dimension) = dimension {
        check_dimension(data, dimension)?;
    }
    Ok((read, data))
}

pub fn check_dimension(data: &[u8], dimension: usize) -> Result<()> {
    ensure!(
        data.len() == dimension * 4,
        "has {} numbers, the others here have {dimension}",
        data.len() / 4
    );
    Ok(())
}
