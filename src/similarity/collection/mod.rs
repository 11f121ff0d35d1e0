//! All features of a model's directory, to be searched: shards, mapped, and the per-object files that are not packed
//! yet.

mod id_lookup;
mod mapped;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, ensure};
use rayon::prelude::*;

pub(crate) use id_lookup::IdLookup;
pub use mapped::MappedShard;

use crate::storage::files::FileStamp;
use crate::storage::media::Media;
use crate::storage::model_dir::{ModelDir, PerObjectFile};
use crate::storage::npy;
use crate::storage::object_id::IdKind;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, ShardError, ShardFiles, ShardNumber};
use crate::storage::sources::{RecordedSources, Source, UNKNOWN_OBJECT, feature_sum};

/// The features of a directory and their object ids.
#[derive(Debug, Default)]
pub struct Collection {
    id_kind: IdKind,
    parts: Vec<Part>,
    /// Rows of shards of which there is a newer feature in a per-object file, and those that
    /// [`Collection::keep_listed`] leaves out: they take part in nothing.
    hidden: HashSet<Position>,
    /// Where the files are now that were moved since their shard was written.
    moved: HashMap<Position, Source>,
    dimension: usize,
    /// Per-object files that were left out: they are torn, of another dimension, or nobody knows of which object.
    pub left_out: Vec<String>,
}

/// Rows that lie side by side in memory.
#[derive(Clone, Debug)]
pub enum Part {
    /// A shard.
    Shard(Arc<MappedShard>),
    /// The per-object files, read.
    PerObject(Arc<PerObject>),
}

/// Per-object files, read into memory.
#[derive(Debug, Default)]
pub struct PerObject {
    ids: Vec<Box<str>>,
    /// Tell each file from another that was written under its name since.
    stamps: Vec<FileStamp>,
    /// `[n, dimension]`.
    features: Vec<f32>,
    /// The files that they were made from, where that is recorded.
    sources: Vec<Option<Source>>,
}

/// Where the feature of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index of the part.
    pub part: u32,
    /// Row in it.
    pub row: u32,
}

impl Part {
    /// The features, `[rows, dimension]`.
    pub fn features(&self) -> &[f32] {
        match self {
            Part::Shard(shard) => shard.features(),
            Part::PerObject(per_object) => &per_object.features,
        }
    }

    /// The object id of a row.
    pub fn id(&self, row: usize) -> String {
        match self {
            Part::Shard(shard) => shard.id(row),
            Part::PerObject(per_object) => per_object.ids[row].to_string(),
        }
    }

    /// How many features it has.
    pub fn rows(&self) -> usize {
        match self {
            Part::Shard(shard) => shard.rows(),
            Part::PerObject(per_object) => per_object.ids.len(),
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        match self {
            Part::Shard(shard) => shard.find(id),
            Part::PerObject(per_object) => per_object.ids.iter().position(|there| **there == *id),
        }
    }

    /// Indices into `ids`, and the row of each that is here.
    fn find_all(&self, ids: &[&str]) -> Vec<(usize, usize)> {
        match self {
            Part::Shard(shard) => shard.find_all(ids),
            Part::PerObject(per_object) => {
                let rows = per_object.ids.iter().enumerate();
                let rows: HashMap<&str, usize> = rows.map(|(row, id)| (&**id, row)).collect();
                let found = ids.iter().enumerate();
                let found = found.filter_map(|(index, id)| Some((index, *rows.get(id)?)));
                found.collect()
            }
        }
    }
}

impl Collection {
    /// Maps the shards of a model's directory and reads the per-object files. Of an object with a row and a newer file,
    /// the row is hidden. `concat` may pack at the same time: it removes files after their shard is in place, so that
    /// files which are gone when they are read are in the shards that are listed after that.
    ///
    /// # Errors
    /// When a shard is damaged, or of another dimension than the others.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::default().reopen(directory)
    }

    /// The same where there is to be something to look at.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when there are no features.
    pub(crate) fn open_filled(directory: &Path) -> Result<Self> {
        let collection = Self::open(directory)?;
        ensure!(
            !collection.is_empty(),
            "{} holds no features yet; `simsearch extract` makes them",
            directory.display()
        );
        Ok(collection)
    }

    /// What the directory holds now: maps the shards and reads the per-object files that are new or were written again,
    /// and takes the others from this collection, which stays as it is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn reopen(&self, directory: &Path) -> Result<Self> {
        let reading = || format!("cannot read {}", directory.display());
        let open = ModelDir::open(directory).with_context(reading)?;
        let nested = open.nested_files().with_context(reading)?;
        let id_kind = Recipe::id_kind(directory)?;
        let recorded = RecordedSources::read(directory, id_kind).with_context(reading)?;
        let files = recorded.identify(&nested);
        let mut shards = BTreeMap::new();
        let dimension = match self.map_new_shards(directory, &mut shards)? {
            0 => Recipe::dimension(directory)?,
            dimension => dimension,
        };
        let (mut per_object, mut left_out) = self.read_per_object(&open, &files.known, dimension);
        // Those that are gone were packed since they were listed, and so was the record.
        let unknown = files.unknown.iter().map(|file| directory.join(file));
        let unknown = unknown.filter(|file| file.symlink_metadata().is_ok());
        left_out.extend(unknown.map(|file| format!("{}: {UNKNOWN_OBJECT}", file.display())));
        let dimension = match self.map_new_shards(directory, &mut shards)? {
            0 => per_object
                .features
                .len()
                .checked_div(per_object.ids.len())
                .unwrap_or(0),
            dimension => dimension,
        };
        ensure!(
            per_object.features.len() == per_object.ids.len() * dimension,
            "{} has features of several lengths; `simsearch verify` says more",
            directory.display()
        );
        let shards = shards.into_values().filter(|shard| shard.rows() > 0);
        let shards: Vec<Arc<MappedShard>> = shards.collect();
        let (hidden, moved) = per_object.keep_unpacked(&shards, dimension, &recorded);
        let mut parts: Vec<Part> = shards.into_iter().map(Part::Shard).collect();
        if !per_object.ids.is_empty() {
            parts.push(Part::PerObject(Arc::new(per_object)));
        }
        Ok(Collection {
            id_kind,
            parts,
            hidden,
            moved,
            dimension,
            left_out,
        })
    }

    /// Maps the shards that are not among these yet, and leaves out those that are no longer there; returns the
    /// dimension of the features in all of them, 0 where there is none.
    fn map_new_shards(
        &self,
        directory: &Path,
        shards: &mut BTreeMap<ShardPlace, Arc<MappedShard>>,
    ) -> Result<usize> {
        let mut missing = None;
        loop {
            let places = settled_pairs(directory)?;
            shards.retain(|place, _| places.contains(place));
            let mapped = places
                .iter()
                .try_for_each(|place| self.map_new_shard(place, shards));
            match mapped {
                // `concat` may have replaced a shard since they were listed. One that is still missing then is lost.
                Err(error) if shard::is_gone(&error) && missing.as_ref() != Some(&places) => {
                    missing = Some(places);
                }
                mapped => {
                    mapped.map_err(with_hint)?;
                    break;
                }
            }
        }
        let mut dimension = 0;
        for shard in shards.values().filter(|shard| shard.rows() > 0) {
            ensure!(
                shard.dimension() > 0 && (dimension == 0 || dimension == shard.dimension()),
                "shard {:04} of {} has features of {} numbers, those before have {dimension}; `simsearch verify` says more",
                shard.number().0,
                shard.directory().display(),
                shard.dimension(),
            );
            dimension = shard.dimension();
        }
        Ok(dimension)
    }

    fn map_new_shard(
        &self,
        place: &ShardPlace,
        shards: &mut BTreeMap<ShardPlace, Arc<MappedShard>>,
    ) -> Result<(), ShardError> {
        if let Entry::Vacant(vacant) = shards.entry(place.clone()) {
            let (directory, number) = place;
            let known = self.shards().find(|shard| shard.is_at(directory, *number));
            vacant.insert(match known {
                Some(shard) => Arc::clone(shard),
                None => Arc::new(MappedShard::open(directory, *number)?),
            });
        }
        Ok(())
    }

    /// Reads per-object files of a dimension, or of that of the first where it is 0; and says which are damaged. What
    /// is gone was packed or removed since it was listed.
    fn read_per_object(
        &self,
        directory: &ModelDir,
        files: &[PerObjectFile<'_>],
        mut dimension: usize,
    ) -> (PerObject, Vec<String>) {
        let known = self.known_features();
        let (mut per_object, mut left_out) = (PerObject::default(), Vec::new());
        // Some at a time, so that no more than these are in memory twice.
        for files in files.chunks(4096) {
            let read = files
                .par_iter()
                .map(|file| -> Result<(FileStamp, Vec<f32>)> {
                    // Before it is read: one that is written meanwhile has another, and is read again the next time.
                    let stamp = fs::symlink_metadata(directory.path().join(file.path()))?;
                    let stamp = FileStamp::of(&stamp);
                    match known.get(file.object_id()) {
                        Some((known, feature)) if *known == stamp => Ok((stamp, feature.to_vec())),
                        _ => {
                            let bytes = directory.read(*file)?;
                            let feature = npy::floats(npy::feature_data(&bytes)?).collect();
                            Ok((stamp, feature))
                        }
                    }
                });
            for (file, read) in files.iter().zip(read.collect::<Vec<_>>()) {
                let why = match read {
                    Ok((stamp, feature))
                        if !feature.is_empty() && [0, feature.len()].contains(&dimension) =>
                    {
                        dimension = feature.len();
                        per_object.ids.push(file.object_id().into());
                        per_object.stamps.push(stamp);
                        per_object.features.extend(feature);
                        continue;
                    }
                    Ok((_, feature)) => format!(
                        "has {} numbers, the others here have {dimension}",
                        feature.len()
                    ),
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => format!("{error:#}"),
                };
                let path = directory.path().join(file.path());
                left_out.push(format!("{}: {why}", path.display()));
            }
        }
        (per_object, left_out)
    }

    /// The per-object files that are here, by their object ids.
    fn known_features(&self) -> HashMap<&str, (FileStamp, &[f32])> {
        let per_object = self.parts.iter().filter_map(|part| match part {
            Part::PerObject(per_object) => Some(per_object),
            Part::Shard(_) => None,
        });
        let rows = per_object.flat_map(|per_object| {
            let ids = per_object.ids.iter().map(|id| &**id);
            let features = per_object.features.chunks_exact(self.dimension.max(1));
            ids.zip(per_object.stamps.iter().copied().zip(features))
        });
        rows.collect()
    }

    /// The shards that have rows.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Arc<MappedShard>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Shard(shard) => Some(shard),
            Part::PerObject(_) => None,
        })
    }

    /// Whether another collection has the same shards and the same per-object files, of which none was written again.
    pub(crate) fn is_same_as(&self, other: &Collection) -> bool {
        let same = |(one, other): (&Part, &Part)| match (one, other) {
            (Part::Shard(one), Part::Shard(other)) => Arc::ptr_eq(one, other),
            (Part::PerObject(one), Part::PerObject(other)) => {
                (&one.ids, &one.stamps, &one.sources) == (&other.ids, &other.stamps, &other.sources)
            }
            _ => false,
        };
        self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(same)
            && self.hidden == other.hidden
            && self.moved == other.moved
    }

    /// The object id at a place among all [`rows`](Self::rows), counted over the parts in turn; none where that row is
    /// hidden.
    pub(crate) fn nth_id(&self, mut place: usize) -> Option<String> {
        for (part, rows) in (0..).zip(&self.parts) {
            if place < rows.rows() {
                let row = place as u32;
                return (!self.is_hidden(Position { part, row })).then(|| rows.id(place));
            }
            place -= rows.rows();
        }
        None
    }

    /// All rows, with those that are hidden.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        let parts = (0..).zip(&self.parts);
        parts
            .flat_map(|(part, rows)| (0..rows.rows() as u32).map(move |row| Position { part, row }))
    }

    /// Number of rows, with those that are hidden.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(Part::rows).sum()
    }

    /// Whether a row takes part in nothing, since there is a newer feature of its object.
    pub(crate) fn is_hidden(&self, at: Position) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&at)
    }

    /// The file that a feature was made from, where it is recorded.
    pub(crate) fn source(&self, at: Position) -> Option<Source> {
        let moved = self.moved.get(&at).cloned();
        moved.or_else(|| match &self.parts[at.part as usize] {
            Part::Shard(shard) => shard.source(at.row as usize),
            Part::PerObject(files) => files.sources[at.row as usize].clone(),
        })
    }

    /// The path of that file below the media directory.
    pub fn path(&self, at: Position) -> Option<String> {
        Some(self.source(at)?.path.into())
    }

    /// What the object ids are.
    pub(crate) fn id_kind(&self) -> IdKind {
        self.id_kind
    }

    /// The listed path of an object. One that its feature was not made from is that of another picture, perhaps, and
    /// does not count.
    pub(crate) fn listed<'a>(&self, at: Position, media: &'a Media) -> Option<&'a str> {
        let entry = media.entry(&self.id(at))?;
        (self.path(at).is_none_or(|path| path == entry)).then_some(entry)
    }

    /// Hides the objects that are not listed, and those whose feature was made from a file at another path than the
    /// listed one. Returns how many these are.
    pub(crate) fn keep_listed(&mut self, media: &Media) -> usize {
        let before = self.hidden.len();
        let rows: Vec<Position> = self.positions().collect();
        let unlisted = rows
            .into_par_iter()
            .filter(|at| self.listed(*at, media).is_none());
        let unlisted: Vec<Position> = unlisted.collect();
        self.hidden.extend(unlisted);
        self.hidden.len() - before
    }

    /// Where the features of the objects are whose path in the list is asked for, in rising order.
    pub(crate) fn listed_where(
        &self,
        media: &Media,
        is_asked_for: impl Fn(&str) -> bool + Sync,
    ) -> Vec<Position> {
        let rows: Vec<Position> = self.positions().collect();
        let asked_for = rows.into_par_iter().filter(|position| {
            let entry = media.entry(&self.id(*position));
            entry.is_some_and(&is_asked_for) && !self.is_hidden(*position)
        });
        asked_for.collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.rows() - self.hidden.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in a feature; 0 where there is none.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The rows that lie side by side.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where the feature of an object is.
    pub fn find(&self, id: &str) -> Option<Position> {
        self.parts
            .par_iter()
            .enumerate()
            .find_map_first(|(part, rows)| {
                let (part, row) = (part as u32, rows.find(id)? as u32);
                Some(Position { part, row }).filter(|position| !self.is_hidden(*position))
            })
    }

    /// Whether an object that [`find`](Self::find) does not find has a feature: it is not listed.
    pub(crate) fn has_hidden(&self, id: &str) -> bool {
        (self.parts.par_iter()).any(|rows| rows.find(id).is_some())
    }

    /// Where the features of several objects are: one look at every id for all of them.
    pub(crate) fn find_all(&self, ids: &[&str]) -> Vec<Option<Position>> {
        if let [id] = ids {
            return vec![self.find(id)];
        }
        let mut found = vec![None; ids.len()];
        let parts = self.parts.par_iter().map(|part| part.find_all(ids));
        for (part, rows) in parts.collect::<Vec<_>>().into_iter().enumerate() {
            for (index, row) in rows {
                let (part, row) = (part as u32, row as u32);
                let position = Position { part, row };
                if !self.is_hidden(position) {
                    found[index].get_or_insert(position);
                }
            }
        }
        found
    }

    /// The feature at a position, `[dimension]`.
    pub fn feature(&self, at: Position) -> &[f32] {
        let rows = self.parts[at.part as usize].features();
        &rows[at.row as usize * self.dimension..][..self.dimension]
    }

    /// The object id at a position.
    pub fn id(&self, at: Position) -> String {
        self.parts[at.part as usize].id(at.row as usize)
    }
}

fn with_hint(error: ShardError) -> Error {
    match error {
        ShardError::Npy { .. } | ShardError::Rows { .. } => {
            Error::new(error).context("a shard is damaged; `simsearch verify` says more")
        }
        _ => error.into(),
    }
}

/// The directory of a shard, a model's or that of a part in it, and its number there.
type ShardPlace = (PathBuf, ShardNumber);

/// Where the shards are. A listing that meets `concat` while it puts the two files of a pair in place may miss one of
/// them: a half pair is one when the next listing says so too.
fn settled_pairs(directory: &Path) -> Result<BTreeSet<ShardPlace>, ShardError> {
    let mut half: Option<PathBuf> = None;
    loop {
        let mut places = BTreeSet::new();
        let listed = ShardFiles::list_all(directory)?;
        let settled = listed.iter().try_for_each(|listing| {
            let numbers = listing.pairs()?.into_iter();
            places.extend(numbers.map(|number| (listing.directory.clone(), number)));
            Ok(())
        });
        match settled {
            Err(ShardError::Half { found, .. }) if half.as_ref() != Some(&found) => {
                half = Some(found);
            }
            settled => return settled.map(|()| places),
        }
    }
}

impl PerObject {
    /// Drops what is in shards, unless it is another feature of which it is recorded what it was made from: that is
    /// newer. Both have features of `dimension` numbers. Returns the rows of the shards of which there is a newer
    /// feature; the shards have rows, and are the first parts of a collection. Also returns where the files of rows are
    /// that were moved since.
    fn keep_unpacked(
        &mut self,
        shards: &[Arc<MappedShard>],
        dimension: usize,
        recorded: &RecordedSources,
    ) -> (HashSet<Position>, HashMap<Position, Source>) {
        let source = |id: &str, feature: &[f32]| {
            (recorded.find(id, feature_sum(bytemuck::cast_slice(feature)))).cloned()
        };
        let rows = self
            .ids
            .iter()
            .zip(self.features.chunks_exact(dimension.max(1)));
        self.sources = rows.map(|(id, feature)| source(id, feature)).collect();
        let names: HashSet<&str> = self.ids.iter().map(|id| &**id).collect();
        let (mut hidden, mut moved) = (HashSet::new(), HashMap::new());
        if names.is_empty() && recorded.made().is_empty() {
            return (hidden, moved);
        }
        let packed: HashMap<String, Position> = (shards.par_iter().enumerate())
            .flat_map_iter(|(part, shard)| {
                (0..shard.rows()).map(move |row| {
                    let (part, at) = (part as u32, row as u32);
                    (shard.id(row), Position { part, row: at })
                })
            })
            .filter(|(id, _)| names.contains(id.as_str()) || recorded.names(id))
            .collect();
        for (id, at) in &packed {
            let shard = &shards[at.part as usize];
            let feature = &shard.features()[at.row as usize * dimension..][..dimension];
            let source = source(id, feature);
            if source.is_some() && source != shard.source(at.row as usize) {
                moved.extend(source.map(|source| (*at, source)));
            }
        }
        let mut kept = 0;
        for row in 0..self.ids.len() {
            let at = packed.get(&*self.ids[row]).copied();
            let is_newer = |at: Position| {
                let feature = &self.features[row * dimension..][..dimension];
                let there = shards[at.part as usize].features();
                let there = &there[at.row as usize * dimension..][..dimension];
                let data: &[u8] = bytemuck::cast_slice(feature);
                data != bytemuck::cast_slice::<f32, u8>(there) && self.sources[row].is_some()
            };
            if at.is_none_or(is_newer) {
                hidden.extend(at);
                self.ids.swap(kept, row);
                self.stamps.swap(kept, row);
                self.sources.swap(kept, row);
                let from = row * dimension..(row + 1) * dimension;
                self.features.copy_within(from, kept * dimension);
                kept += 1;
            }
        }
        self.ids.truncate(kept);
        self.stamps.truncate(kept);
        self.sources.truncate(kept);
        self.features.truncate(kept * dimension);
        (hidden, moved)
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
