//! All features of a model's directory, to be searched: shards, mapped, and the per-object files that are not packed yet.

mod mapped;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

pub use mapped::MappedShard;

use crate::feature_dir::{FeatureDir, NestedFile};
use crate::npy;
use crate::shard::ShardFiles;

/// The features of a directory and their object ids.
#[derive(Debug, Default)]
pub struct Collection {
    parts: Vec<Part>,
    length: usize,
    /// Per-object files that were left out: they are torn, or of another length.
    pub left_out: Vec<String>,
}

/// Rows that lie side by side in memory.
#[derive(Clone, Debug)]
pub enum Part {
    /// A shard.
    Shard(Arc<MappedShard>),
    /// The per-object files, read.
    Loose(Arc<Loose>),
}

/// Per-object files, read into memory.
#[derive(Debug, Default)]
pub struct Loose {
    ids: Vec<Box<str>>,
    /// `[n, length]`.
    features: Vec<f32>,
}

/// Where the feature of an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index of the part.
    pub part: u32,
    /// Row in it.
    pub row: u32,
}

impl Part {
    /// The features, `[rows, length]`.
    pub fn features(&self) -> &[f32] {
        match self {
            Part::Shard(shard) => shard.features(),
            Part::Loose(loose) => &loose.features,
        }
    }

    /// The object id of a row.
    pub fn id(&self, row: usize) -> String {
        match self {
            Part::Shard(shard) => shard.id(row),
            Part::Loose(loose) => loose.ids[row].to_string(),
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        match self {
            Part::Shard(shard) => shard.rows(),
            Part::Loose(loose) => loose.ids.len(),
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        match self {
            Part::Shard(shard) => shard.find(id),
            Part::Loose(loose) => loose.ids.iter().position(|there| **there == *id),
        }
    }
}

impl Collection {
    /// Maps the shards of a model's directory and reads the per-object files.
    pub fn open(directory: &Path) -> Result<Self> {
        let reading = || format!("cannot read {}", directory.display());
        let open = FeatureDir::open(directory).with_context(reading)?;
        // Before the shards: what `concat` packs in between is then seen twice rather than not at all.
        let nested = open.nested_files().with_context(reading)?;
        let mut shards = Vec::new();
        for number in ShardFiles::list(directory)?.pairs(directory)? {
            shards.push(MappedShard::open(directory, number)?);
        }
        let mut collection = Collection::default();
        for shard in &shards {
            if shard.rows() == 0 {
                continue;
            }
            ensure!(
                collection.length == 0 || collection.length == shard.length(),
                "shard {:04} of {} has features of {} numbers, those before have {}; run `simsearch verify`",
                shard.number().0,
                directory.display(),
                shard.length(),
                collection.length
            );
            collection.length = shard.length();
        }
        let files: Vec<NestedFile<'_>> = nested.files().collect();
        let loose = collection.read_loose(&open, &files, &shards);
        let shards = shards.into_iter().map(|shard| Part::Shard(Arc::new(shard)));
        collection.parts = shards.collect();
        if !loose.ids.is_empty() {
            collection.parts.push(Part::Loose(Arc::new(loose)));
        }
        Ok(collection)
    }

    /// Reads the per-object files of ids that stand in no shard. The first tells the length where there is no shard.
    fn read_loose(
        &mut self,
        directory: &FeatureDir,
        files: &[NestedFile<'_>],
        shards: &[MappedShard],
    ) -> Loose {
        let mut loose = Loose::default();
        if files.is_empty() {
            return loose;
        }
        let names: HashSet<&str> = files.iter().map(NestedFile::object_id).collect();
        let packed: HashSet<String> = (shards.par_iter())
            .flat_map_iter(|shard| (0..shard.rows()).map(|row| shard.id(row)))
            .filter(|id| names.contains(id.as_str()))
            .collect();
        // Some at a time, so that no more than these are in memory twice.
        for files in files.chunks(4096) {
            let read: Vec<_> = files
                .par_iter()
                .map(|file| -> Result<Vec<f32>> {
                    let bytes = directory.read(*file)?;
                    Ok(npy::floats(npy::feature_data(&bytes)?).collect())
                })
                .collect();
            for (file, feature) in files.iter().zip(read) {
                let path = file.path().display();
                match feature {
                    _ if packed.contains(file.object_id()) => {}
                    // Packed or removed since it was listed.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => self.left_out.push(format!("{path}: {error:#}")),
                    Ok(feature) if self.length != 0 && feature.len() != self.length => {
                        self.left_out.push(format!(
                            "{path}: has {} numbers, the others here have {}",
                            feature.len(),
                            self.length
                        ));
                    }
                    Ok(feature) => {
                        self.length = feature.len();
                        loose.ids.push(file.object_id().into());
                        loose.features.extend(feature);
                    }
                }
            }
        }
        loose
    }

    /// Objects.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::rows).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in a feature; 0 where there is none.
    pub fn length(&self) -> usize {
        self.length
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
                let row = rows.find(id)?;
                Some(Position {
                    part: part as u32,
                    row: row as u32,
                })
            })
    }

    /// The feature at a position, `[length]`.
    pub fn feature(&self, at: Position) -> &[f32] {
        let rows = self.parts[at.part as usize].features();
        &rows[at.row as usize * self.length..][..self.length]
    }

    /// The object id at a position.
    pub fn id(&self, at: Position) -> String {
        self.parts[at.part as usize].id(at.row as usize)
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
