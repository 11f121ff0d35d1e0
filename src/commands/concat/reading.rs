//! The per-object files: which of them are to be packed, and what is in them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, ensure};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::Refusals;
use crate::storage::model_dir::{ModelDir, PerObjectFile};
use crate::storage::name_filter::NameFilter;
use crate::storage::npy;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, ShardFile, ShardNumber};

/// Drops the files whose ids are in shards: removes those that are equal to their row, and refuses the others. Of
/// several files with one id, refuses all but the first. Returns how many were removed.
pub fn leave_out_packed(
    directory: &ModelDir,
    files: &mut Vec<PerObjectFile<'_>>,
    pairs: &[ShardNumber],
    refusals: &mut Refusals<'_>,
) -> Result<usize> {
    let path = directory.path();
    let names = NameFilter::of(files.par_iter().map(|file| file.object_id().as_bytes()));
    let mut packed: HashMap<String, (ShardNumber, usize)> = HashMap::new();
    if !files.is_empty() {
        for &number in pairs {
            for (row, id) in shard::object_ids(path, number)?.into_iter().enumerate() {
                if names.may_hold(id.as_bytes()) {
                    packed.insert(id, (number, row));
                }
            }
        }
    }
    let mut seen = HashSet::new();
    let mut removed = 0;
    let mut left = 0;
    for index in 0..files.len() {
        let file = files[index];
        let id = file.object_id();
        let is_first = !names.may_hold_twice(id.as_bytes()) || seen.insert(id);
        if let Some(&(number, row)) = packed.get(id) {
            if is_equal_to_row(directory, file, number, row)? {
                (directory.remove_features(&[file])).context("cannot remove what is packed")?;
                removed += 1;
            } else {
                let shard = number.file_name(ShardFile::Features);
                refusals.refuse(
                    file.path(),
                    &anyhow!("differs from row {row} of {shard}, which has the same id"),
                );
            }
        } else if id.is_empty() {
            refusals.refuse(
                file.path(),
                &anyhow!("its name does not contain an object id"),
            );
        } else if !is_first {
            refusals.refuse(file.path(), &anyhow!("another file has the same object id"));
        } else {
            files[left] = file;
            left += 1;
        }
    }
    files.truncate(left);
    Ok(removed)
}

fn is_equal_to_row(
    directory: &ModelDir,
    file: PerObjectFile<'_>,
    number: ShardNumber,
    row: usize,
) -> Result<bool> {
    let path = directory.path().join(number.file_name(ShardFile::Features));
    let (_, dimension, offset) = shard::features_shape(&path)?;
    let mut stored = vec![0; dimension * 4];
    File::open(&path)
        .and_then(|shard| shard.read_exact_at(&mut stored, (offset + row * dimension * 4) as u64))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(read_feature(directory, file, None, &mut Vec::new()).is_ok_and(|data| data == stored))
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

/// Reads a per-object file into a buffer, and returns the `4 d` bytes of its numbers, checked to be one finite feature,
/// of this dimension where it is known.
pub fn read_feature<'b>(
    directory: &ModelDir,
    file: PerObjectFile<'_>,
    dimension: Option<usize>,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8]> {
    directory.read_into(file, buffer)?;
    let data = npy::feature_data(buffer)?;
    if let Some(dimension) = dimension {
        check_dimension(data, dimension)?;
    }
    Ok(data)
}

pub fn check_dimension(data: &[u8], dimension: usize) -> Result<()> {
    ensure!(
        data.len() == dimension * 4,
        "has {} numbers, the others here have {dimension}",
        data.len() / 4
    );
    Ok(())
}
