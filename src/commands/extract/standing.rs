//! What is known of each listed object before the run: which have a feature, and whether that is of the file as it is
//! now.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::Options;
use crate::storage::model_dir::{FeatureState, ModelDir};
use crate::storage::npy;
use crate::storage::object_id::IdKind;
use crate::storage::object_list::ObjectList;
use crate::storage::shard::{self, FeatureRows, ShardError, ShardNumber};
use crate::storage::sources::{FileState, Made, RecordedSources, Source, feature_sum};

/// What is known of a listed object before the run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Pending,
    Exists,
    /// It has a feature, of a file that is another one now.
    Stale,
    Failed,
    /// The same path is in the list before: nothing to do, and nothing wrong.
    Repeated,
    /// Pending, but not wanted in this run.
    NotNow,
}

/// What the shards and the record of sources say of the listed objects.
pub struct KnownFeatures<'a> {
    options: &'a Options,
    list: &'a ObjectList,
    /// Of the features that are not packed; `None` where nothing is compared.
    recorded: Option<RecordedSources>,
    /// The number that the next shard of the model's directory has.
    next_shard: ShardNumber,
    /// Objects whose file is another one than their feature was made from, where that is in a shard which this run does
    /// not change.
    changed_elsewhere: usize,
    /// What its row says of an object, by its index in the list, where there may be a feature that is newer. Nothing is
    /// marked of these yet.
    may_be_newer: HashMap<usize, Standing>,
    /// The rows that are of other files now, by the index in the list: their shards, and their sources.
    stale: HashMap<usize, (ShardNumber, Source)>,
    /// Features whose file has another path now.
    moved: Vec<Made>,
}

impl<'a> KnownFeatures<'a> {
    /// Marks the objects that are in shards. Holds the ids and the sources of one shard at a time. Where the run packs,
    /// the shards of other parts are not looked at, which have other objects.
    pub fn mark(
        options: &'a Options,
        list: &'a ObjectList,
        directory: &ModelDir,
        standings: &mut [Standing],
    ) -> Result<Self> {
        let path = directory.path();
        let recorded = match options.assume_unchanged {
            true => None,
            false => Some(read_record(options, path, list.id_kind())?),
        };
        let mut features = KnownFeatures {
            options,
            list,
            recorded,
            next_shard: ShardNumber::FIRST,
            changed_elsewhere: 0,
            may_be_newer: HashMap::new(),
            stale: HashMap::new(),
            moved: Vec::new(),
        };
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        let own = options.own_directory();
        shard::read_listed(path, |listed| {
            features.next_shard = listed[0].files.next_number();
            features.changed_elsewhere = 0;
            features.moved.clear();
            let places = listed.iter().filter(|listing| {
                options.pack.is_none() || [path, &*own].contains(&&*listing.directory)
            });
            let places = places.map(|listing| Ok((&*listing.directory, listing.pairs()?)));
            let places: Vec<(&Path, Vec<ShardNumber>)> =
                places.collect::<Result<_, ShardError>>()?;
            if by_id.is_empty() && places.iter().any(|(_, numbers)| !numbers.is_empty()) {
                let objects = 0..list.len();
                let objects = objects.filter(|index| standings[*index] == Standing::Pending);
                by_id.reserve(list.len());
                by_id.extend(objects.map(|index| (list.id(index), index)));
            }
            let mut shards = places.into_iter().flat_map(|(place, numbers)| {
                numbers.into_iter().map(move |number| (place, number))
            });
            shards.try_for_each(|(place, number)| {
                features.mark_shard(place, number, *place == *own, &by_id, standings)
            })
        })?;
        Ok(features)
    }

    fn mark_shard(
        &mut self,
        directory: &Path,
        number: ShardNumber,
        is_own: bool,
        by_id: &HashMap<&str, usize>,
        standings: &mut [Standing],
    ) -> Result<(), ShardError> {
        let ids = shard::object_ids(directory, number)?;
        let rows = ids.iter().enumerate();
        let rows: Vec<(usize, usize)> = rows
            .filter_map(|(row, id)| Some((row, *by_id.get(id.as_str())?)))
            .collect();
        let Some(recorded) = &self.recorded else {
            for (_, index) in rows {
                standings[index] = Standing::Exists;
            }
            return Ok(());
        };
        let mut sources = shard::sources(directory, number, ids.len())?;
        let features = FeatureRows::open(directory, number)?;
        let sum = |row: usize| Ok(feature_sum(&features.read(row)?));
        for &(row, index) in &rows {
            if recorded.names(&ids[row]) {
                if let Some(source) = recorded.find(&ids[row], sum(row)?) {
                    sources[row] = Some(source.clone());
                }
                self.may_be_newer.insert(index, Standing::Exists);
            }
        }
        let compared = rows.par_iter().map(|&(row, index)| {
            let source = sources[row].as_ref();
            let file = source.map(|source| self.compare(source, index));
            (row, index, file.unwrap_or(FileState::Same))
        });
        for (row, index, file) in compared.collect::<Vec<_>>() {
            let standing = match file {
                FileState::Same | FileState::Gone | FileState::Unknown => Standing::Exists,
                FileState::Moved(_) if !is_own => Standing::Exists,
                FileState::Changed if !is_own => {
                    self.changed_elsewhere += 1;
                    Standing::Exists
                }
                FileState::Moved(source) => {
                    let feature_sum = sum(row)?;
                    self.moved.push(Made {
                        source,
                        feature_sum,
                    });
                    Standing::Exists
                }
                FileState::Changed => {
                    self.stale
                        .extend(sources[row].take().map(|source| (index, (number, source))));
                    Standing::Stale
                }
            };
            match self.may_be_newer.get_mut(&index) {
                Some(of_row) => *of_row = standing,
                None => standings[index] = standing,
            }
        }
        Ok(())
    }

    /// Looks at the per-object files of the objects that are pending, and of those whose row may not be the newest
    /// feature. Returns those whose file has another path now.
    pub fn look(
        &self,
        standings: &mut [Standing],
        directory: &ModelDir,
        dimension: Option<usize>,
    ) -> Vec<Made> {
        let pending = standings.par_iter_mut().enumerate();
        let moved = pending.fold(
            || (Vec::new(), Vec::new()),
            |(mut buffer, mut moved), (index, standing)| {
                if *standing == Standing::Pending {
                    let of_row = self.may_be_newer.get(&index).copied();
                    let mut look = Look {
                        directory,
                        dimension,
                        buffer: &mut buffer,
                        moved: &mut moved,
                    };
                    *standing = self.look_at(index, of_row, &mut look);
                }
                (buffer, moved)
            },
        );
        moved.flat_map_iter(|(_, moved)| moved).collect()
    }

    /// The features in shards whose file has another path now.
    pub fn take_moved(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.moved)
    }

    /// Looks again at the files of objects that are stale, with what is recorded by now: another process may have made
    /// them since the record was read. Returns those that are not stale any more.
    pub fn look_again(
        &mut self,
        stale: &[usize],
        directory: &ModelDir,
        dimension: Option<usize>,
    ) -> Result<Vec<usize>> {
        let recorded = read_record(self.options, directory.path(), self.list.id_kind())?;
        self.recorded = Some(recorded);
        let (mut buffer, mut moved) = (Vec::new(), Vec::new());
        let mut look = Look {
            directory,
            dimension,
            buffer: &mut buffer,
            moved: &mut moved,
        };
        let mut made = stale.to_vec();
        made.retain(|index| {
            self.look_at(*index, Some(Standing::Stale), &mut look) == Standing::Exists
        });
        Ok(made)
    }

    /// Looks at the file of an object. `of_row` is what its row says, where that counts unless the file is known to be
    /// newer.
    fn look_at(&self, index: usize, of_row: Option<Standing>, look: &mut Look<'_>) -> Standing {
        let Ok(id) = self.list.object_id(index) else {
            return Standing::Failed;
        };
        let state = look.directory.feature_state(&id, look.buffer);
        let is_whole = matches!(state, Ok(FeatureState::Complete(found))
            if look.dimension.is_none_or(|dimension| dimension == found));
        if !is_whole {
            return of_row.unwrap_or(Standing::Pending);
        }
        let source = self.recorded.as_ref().and_then(|recorded| {
            let sum = feature_sum(npy::feature_data(look.buffer).ok()?);
            Some((recorded.find(id.as_str(), sum)?, sum))
        });
        let Some((source, feature_sum)) = source else {
            return of_row.unwrap_or(match self.is_made_elsewhere(id.as_str()) {
                true => Standing::Exists,
                false => Standing::Stale,
            });
        };
        match self.compare(source, index) {
            FileState::Same | FileState::Gone | FileState::Unknown => Standing::Exists,
            FileState::Changed => Standing::Stale,
            FileState::Moved(source) => {
                look.moved.push(Made {
                    source,
                    feature_sum,
                });
                Standing::Exists
            }
        }
    }

    /// Whether a feature that is not recorded is as good as one that is: an earlier version or another program made it.
    /// Not where others of its object are recorded, since it is damaged then; nor where it could not be told whose it
    /// is, since the record has lost it in a power loss.
    fn is_made_elsewhere(&self, id: &str) -> bool {
        match &self.recorded {
            Some(recorded) => self.list.id_kind() == IdKind::Name && !recorded.names(id),
            None => true,
        }
    }

    /// Compares a listed object's file with the one that its feature was made from. One that is gone, or cannot be
    /// looked at, keeps its feature, which is all that there is of it.
    fn compare(&self, source: &Source, index: usize) -> FileState {
        source.compare(&self.options.media_dir, self.list.entry(index))
    }

    /// The number that the next shard of the model's directory has.
    pub fn next_shard(&self) -> ShardNumber {
        self.next_shard
    }

    /// Objects whose file is another one than their feature was made from, where that is in a shard which this run does
    /// not change.
    pub fn changed_elsewhere(&self) -> usize {
        self.changed_elsewhere
    }

    /// The shard of an object's row, and what that was made from, where it is another file now.
    pub fn stale_row(&self, index: usize) -> Option<&(ShardNumber, Source)> {
        self.stale.get(&index)
    }
}

/// How per-object files are looked at.
struct Look<'l> {
    directory: &'l ModelDir,
    /// Numbers in a feature, where that is known.
    dimension: Option<usize>,
    /// Room for a file.
    buffer: &'l mut Vec<u8>,
    /// Gets the features whose file has another path now.
    moved: &'l mut Vec<Made>,
}

/// Of a part what belongs to it: 64 parts of a million objects each held what is recorded of all, 200 MB at the end.
fn read_record(options: &Options, directory: &Path, id_kind: IdKind) -> Result<RecordedSources> {
    let is_wanted = |made: &Made| {
        let path = &made.source.path;
        options.part().is_none_or(|part| part.holds(id_kind, path))
    };
    RecordedSources::read_some(directory, id_kind, is_wanted)
        .with_context(|| format!("cannot read the sources in {}", directory.display()))
}
