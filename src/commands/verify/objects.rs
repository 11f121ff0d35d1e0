//! The features of objects, in files of their own and in shards.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rayon::prelude::*;

use super::Report;
use super::shards::Shard;
use crate::storage::model_dir::{ModelDir, PerObjectFile};
use crate::storage::npy;
use crate::storage::shard::ShardFile;
use crate::storage::sources::feature_sum;
use crate::support::hints::hint;

/// A feature in a file of its own.
pub struct Feature {
    pub dimension: usize,
    /// See [`feature_sum`].
    pub sum: u32,
}

/// Where the feature of an object is.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Row(&'a Shard, usize),
    File(PerObjectFile<'a>),
}

impl Report {
    /// Reads every per-object file; returns what the features are, `None` for files that are not features.
    pub(super) fn check_files(
        &mut self,
        directory: &ModelDir,
        nested: &[PerObjectFile<'_>],
    ) -> Vec<Option<Feature>> {
        self.files = nested.len();
        let read: Vec<Result<Feature>> = (nested.par_iter())
            .map(|file| {
                let bytes = directory.read(*file)?;
                let data = npy::feature_data(&bytes)?;
                Ok(Feature {
                    dimension: data.len() / 4,
                    sum: feature_sum(data),
                })
            })
            .collect();
        let mut features = Vec::with_capacity(read.len());
        for (file, read) in nested.iter().zip(read) {
            if let Err(error) = &read {
                let advice = hint(error.as_ref()).unwrap_or("`simsearch extract` makes it again");
                let what = format!("{error:#}; {advice}");
                self.problem(&directory.path().join(file.path()), what);
            }
            features.push(read.ok());
        }
        features
    }

    /// Names the features that have a different dimension than the recipe says, or than most have.
    pub(super) fn check_dimensions(
        &mut self,
        wanted: Option<usize>,
        shards: &[Shard],
        nested: &[PerObjectFile<'_>],
        features: &[Option<Feature>],
    ) {
        let of_shards = shards.iter().filter_map(|shard| {
            let (rows, dimension) = shard.shape?;
            Some((shard, dimension, rows))
        });
        let files = nested.iter().zip(features);
        let of_files = files.filter_map(|(file, read)| Some((file, read.as_ref()?.dimension)));
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, dimension, rows) in of_shards.clone() {
            *counts.entry(dimension).or_default() += rows;
        }
        for (_, dimension) in of_files.clone() {
            *counts.entry(dimension).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, rows)| *rows);
        let (wanted, whose) = match wanted {
            Some(wanted) => (wanted, "recipe.json says"),
            None => (most.unwrap_or_default().0, "most here have"),
        };
        let what = |dimension: usize| {
            format!(
                "has features of {dimension} numbers, {whose} {wanted}; move it away if it belongs to another model"
            )
        };
        for (shard, dimension, _) in of_shards.filter(|(_, dimension, _)| *dimension != wanted) {
            self.problem(&shard.path(ShardFile::Features), what(dimension));
        }
        let path = self.directory.clone();
        for (file, dimension) in of_files.filter(|(_, dimension)| *dimension != wanted) {
            self.problem(&path.join(file.path()), what(dimension));
        }
    }

    /// Names every object that has more than one feature, unless the other one is a file that is newer than a row;
    /// returns where each has its first.
    pub(super) fn check_ids<'a>(
        &mut self,
        shards: &'a [Shard],
        nested: &[PerObjectFile<'a>],
        is_newer: &dyn Fn(PerObjectFile<'a>) -> bool,
    ) -> HashMap<&'a str, Place<'a>> {
        let mut places: HashMap<&'a str, Place<'a>> = HashMap::new();
        let rows = shards.iter().flat_map(|shard| {
            let ids = shard.ids.iter().enumerate();
            ids.map(move |(row, id)| (&**id, Place::Row(shard, row)))
        });
        let files = nested
            .iter()
            .map(|file| (file.object_id(), Place::File(*file)));
        for (id, place) in rows.chain(files) {
            let Some(&first) = places.get(id) else {
                places.insert(id, place);
                continue;
            };
            if let (Place::Row(..), Place::File(file)) = (first, place)
                && is_newer(file)
            {
                continue;
            }
            let first = match first {
                Place::Row(shard, row) => {
                    let ids = shard.path(ShardFile::ObjectIds);
                    format!("row {row} of {}", self.below(&ids).display())
                }
                Place::File(file) => file.path().display().to_string(),
            };
            let (file, what) = match place {
                Place::Row(shard, row) => (
                    shard.path(ShardFile::ObjectIds),
                    format!(
                        "row {row} is of {id}, and so is {first}; move the files of one shard that has it away, remove \
                         their lines from SHA256SUMS, and run `simsearch extract` and `simsearch concat`"
                    ),
                ),
                Place::File(file) => (
                    self.directory.join(file.path()),
                    format!(
                        "{id} has another feature in {first}; `simsearch concat` removes this one if both are \
                         equal; otherwise move one of the two away"
                    ),
                ),
            };
            self.problem(&file, what);
        }
        places
    }
}
