//! The approximate search: a graph of the features of all shards (usearch's HNSW) finds candidates, and their exact
//! distances are computed. What is not in the graph yet, new shards and per-object files, is searched exactly.
//!
//! The graph has vectors of its own: features that were multiplied with one number, and then stored in fewer bits. For the
//! cosine they are first made to have length 1, so that the graph always works with Euclidean distances.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the index: adding shards, searching |
//! | `file.rs` | its file, `index.usearch` beside the shards |

mod file;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::similarity::collection::{Collection, MappedShard, Part, Position};
use crate::similarity::kernels;
use crate::similarity::scan::{Metric, Neighbour, nearest, nearest_of};
use crate::storage::files::regular;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Manifest;
use crate::storage::shard;
use file::IndexFile;
pub use file::{Covered, Description, FILE_NAME, Recall};

/// Candidates for each neighbour that is asked for: the graph's distances are those of rounded vectors.
const CANDIDATES: usize = 4;

/// Edges of a vector. (100,000 x 1280 between real features: with 32 the graph finds 98 % of the ten nearest with 256
/// candidates, and answers 1,448 queries a second; with usearch's default of 16 it takes 512 and answers 901.)
const CONNECTIVITY: usize = 32;
/// Candidates that are kept while a vector gets its edges; usearch's default.
const EXPANSION_ADD: usize = 128;

/// The type of the numbers in an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 16 bits, half the size of the features.
    #[default]
    F16,
    /// 8 bits, a quarter.
    I8,
}

impl Storage {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F16 => 2,
            Storage::I8 => 1,
        }
    }

    /// The largest number of a vector.
    fn largest(self) -> f32 {
        match self {
            Storage::F16 => 1.0,
            Storage::I8 => 127.0,
        }
    }
}

/// An index of some shards of a collection.
pub struct ApproximateIndex {
    /// Before the file, whose pages it may look at, so that it goes first.
    index: Index,
    description: Description,
    /// The parts of the collection by the numbers of the shards that the index holds.
    parts: HashMap<u32, u32>,
    file: Option<IndexFile>,
}

/// What stands where an index belongs.
pub enum Opened {
    /// An index of shards of the collection.
    Index(Box<ApproximateIndex>),
    /// Nothing.
    Missing,
    /// A file that cannot be used; the text says why.
    Unusable(String),
}

impl ApproximateIndex {
    /// An index of nothing yet, for the shards of a collection.
    pub fn new(
        directory: &Path,
        collection: &Collection,
        metric: Metric,
        storage: Storage,
    ) -> Result<Self> {
        let description = Description {
            metric,
            storage,
            length: collection.length(),
            vectors: 0,
            scale: scale(collection, metric, storage),
            expansion: 0,
            recall: Recall::default(),
            recipe: Recipe::read(directory)?,
            shards: Vec::new(),
        };
        Ok(ApproximateIndex {
            index: described(&description)?,
            description,
            parts: HashMap::new(),
            file: None,
        })
    }

    /// Maps the index of a directory, to be searched.
    pub fn open(directory: &Path, collection: &Collection) -> Result<Opened> {
        Self::open_in(directory, collection, true)
    }

    /// Reads the index of a directory into memory, to be added to.
    pub fn load(directory: &Path, collection: &Collection) -> Result<Opened> {
        Self::open_in(directory, collection, false)
    }

    fn open_in(directory: &Path, collection: &Collection, mapped: bool) -> Result<Opened> {
        let path = directory.join(FILE_NAME);
        let reading = || format!("cannot read {}", path.display());
        let file = match regular::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
            file => file.with_context(reading)?,
        };
        let file = match IndexFile::open(&file).with_context(reading)? {
            Ok(file) => file,
            Err(why) => return Ok(Opened::Unusable(why)),
        };
        let description = file.description().clone();
        let Some(parts) = parts(&description, directory, collection)? else {
            let why = "it is of shards that are no longer there, or were made anew";
            return Ok(Opened::Unusable(why.into()));
        };
        if !mapped && !file.are_vectors_whole() {
            return Ok(Opened::Unusable("it is damaged".into()));
        }
        let mut index = described(&description)?;
        let taken = match mapped {
            // SAFETY: The bytes outlive the index: both are fields of one structure, and the index goes first.
            #[expect(unsafe_code)]
            true => unsafe { index.view_from_buffer(file.content()) },
            false => index.load_from_buffer(file.content()),
        };
        if let Err(error) = taken {
            return Ok(Opened::Unusable(format!("usearch: {error}")));
        }
        if index.size() != description.vectors || index.dimensions() != description.length {
            return Ok(Opened::Unusable("it is not what it says".into()));
        }
        set_metric(&mut index, &description);
        index.change_expansion_search(description.expansion);
        Ok(Opened::Index(Box::new(ApproximateIndex {
            index,
            description,
            parts,
            file: mapped.then_some(file),
        })))
    }

    /// What it holds, and how.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Adds the rows of all shards that it does not hold yet, by all threads; returns how many. Those that hold a number
    /// that is not finite are nobody's neighbours. `progress` hears of each shard's rows when they are added.
    pub fn add_missing(
        &mut self,
        directory: &Path,
        collection: &Collection,
        progress: &dyn Fn(usize),
    ) -> Result<usize> {
        assert!(self.file.is_none(), "a mapped index does not grow");
        let before = self.description.vectors;
        let missing: Vec<_> = shards(directory, collection)?
            .into_iter()
            .filter(|(_, covered, _)| !self.parts.contains_key(&covered.number))
            .collect();
        let rows: usize = missing.iter().map(|(_, covered, _)| covered.rows).sum();
        (self.index)
            .reserve_capacity_and_threads(before + rows, threads())
            .context("usearch cannot reserve memory")?;
        for (part, covered, shard) in missing {
            self.add(covered.number, shard)?;
            progress(covered.rows);
            self.parts.insert(covered.number, part);
            self.description.shards.push(covered);
        }
        self.description.vectors = self.index.size();
        Ok(self.description.vectors - before)
    }

    fn add(&self, number: u32, shard: &MappedShard) -> Result<()> {
        let rows = shard.features().par_chunks_exact(self.description.length);
        rows.enumerate().try_for_each(|(row, feature)| {
            if feature.iter().all(|number| number.is_finite()) {
                let key = u64::from(number) << 32 | row as u64;
                match self.stored(feature) {
                    Stored::F16(vector) => self.index.add(key, usearch::f16::from_i16s(&vector)),
                    Stored::I8(vector) => self.index.add(key, &vector),
                }
                .context("usearch cannot add a vector")?;
            }
            Ok(())
        })
    }

    /// Sets how many candidates a search keeps on its way, at least, and what was measured with it.
    pub fn set_expansion(&mut self, expansion: usize, recall: Recall) {
        self.index.change_expansion_search(expansion);
        self.description.expansion = expansion;
        self.description.recall = recall;
    }

    /// Writes it to its file, which is complete or stays as it was; returns the length in bytes.
    pub fn save(&self, directory: &Path) -> Result<u64> {
        file::write(directory, &self.index, &self.description)
            .with_context(|| format!("cannot write {}", directory.join(FILE_NAME).display()))
    }

    /// Whether it holds the rows of a part of the collection.
    pub fn holds(&self, part: u32) -> bool {
        self.parts.values().any(|held| *held == part)
    }

    /// The `k` nearest objects to each query, as [`nearest`] gives them but for those that the
    /// graph misses. The distances are exact.
    pub fn nearest(
        &self,
        collection: &Collection,
        queries: &[f32],
        k: usize,
    ) -> Vec<Vec<Neighbour>> {
        let metric = self.description.metric;
        if k.saturating_mul(CANDIDATES) >= self.description.vectors {
            return nearest(collection, queries, k, metric);
        }
        let candidates = self.candidates(queries, k);
        let is_new = |part| !self.holds(part);
        nearest_of(collection, queries, k, metric, &is_new, &candidates)
    }

    /// Where the candidates for the `k` nearest to each query stand.
    pub fn candidates(&self, queries: &[f32], k: usize) -> Vec<Vec<Position>> {
        let wanted = k.saturating_mul(CANDIDATES).min(self.description.vectors);
        let queries = queries.par_chunks_exact(self.description.length);
        queries
            .map(|query| {
                let found = match self.stored(query) {
                    Stored::F16(vector) => {
                        (self.index).search(usearch::f16::from_i16s(&vector), wanted)
                    }
                    Stored::I8(vector) => self.index.search(&vector, wanted),
                };
                // It can fail for want of memory alone, where Rust's own collections end the process too.
                let keys = found.expect("usearch searches").keys;
                let position = |key: u64| {
                    let part = *self.parts.get(&((key >> 32) as u32))?;
                    let row = key as u32;
                    Some(Position { part, row })
                };
                keys.into_iter().filter_map(position).collect()
            })
            .collect()
    }

    fn stored(&self, feature: &[f32]) -> Stored {
        let Description {
            metric,
            storage,
            scale,
            ..
        } = self.description;
        let factor = scale / norm(feature, metric);
        let numbers = feature.iter().map(|number| number * factor);
        match storage {
            Storage::F16 => {
                let bits = numbers.map(|number| f16::from_f32(number).to_bits().cast_signed());
                Stored::F16(bits.collect())
            }
            // A conversion to fewer bits keeps to their range.
            Storage::I8 => Stored::I8(numbers.map(|number| number.round() as i8).collect()),
        }
    }
}

/// A feature as the graph takes it.
enum Stored {
    /// The bits.
    F16(Vec<i16>),
    I8(Vec<i8>),
}

/// What a feature is divided by.
fn norm(feature: &[f32], metric: Metric) -> f32 {
    match metric {
        Metric::Euclidean => 1.0,
        Metric::Cosine => match kernels::dot(feature, feature).sqrt() as f32 {
            0.0 => 1.0,
            norm => norm,
        },
    }
}

/// What makes the largest number of all shards the largest of a vector.
fn scale(collection: &Collection, metric: Metric, storage: Storage) -> f32 {
    let shards = collection
        .parts()
        .par_iter()
        .filter(|part| matches!(part, Part::Shard(_)));
    let largest = shards
        .flat_map(|part| part.features().par_chunks_exact(collection.length()))
        .map(|feature| {
            let largest = feature
                .iter()
                .fold(0f32, |most, number| most.max(number.abs()));
            largest / norm(feature, metric)
        })
        .filter(|number| number.is_finite())
        .reduce(|| 0.0, f32::max);
    match storage.largest() / largest {
        scale if scale.is_normal() => scale,
        _ => 1.0,
    }
}

/// The shards of a collection: part, what an index would say of it, and the shard.
fn shards<'a>(
    directory: &Path,
    collection: &'a Collection,
) -> Result<Vec<(u32, Covered, &'a MappedShard)>> {
    let manifest = Manifest::read(directory)?;
    let mut shards = Vec::new();
    for (part, rows) in (0..).zip(collection.parts()) {
        if let Part::Shard(shard) = rows {
            let number = shard.number();
            let covered = Covered {
                number: u32::try_from(number.0)?,
                rows: shard.rows(),
                sha256: (manifest.sum(&number.file_name(shard::Part::Features))).map(str::to_owned),
            };
            shards.push((part, covered, &**shard));
        }
    }
    Ok(shards)
}

/// The parts of a collection by the numbers of the shards that an index holds; `None` where they are not these any more.
fn parts(
    description: &Description,
    directory: &Path,
    collection: &Collection,
) -> Result<Option<HashMap<u32, u32>>> {
    let is_of_this =
        description.length == collection.length() && description.recipe == Recipe::read(directory)?;
    let there = shards(directory, collection)?;
    let mut there: HashMap<u32, (u32, Covered)> = (there.into_iter())
        .map(|(part, covered, _)| (covered.number, (part, covered)))
        .collect();
    let parts = description.shards.iter().map(|covered| {
        let (part, found) = there.remove(&covered.number)?;
        (found == *covered).then_some((covered.number, part))
    });
    Ok(parts.collect::<Option<_>>().filter(|_| is_of_this))
}

/// usearch's index of no vectors.
fn described(description: &Description) -> Result<Index> {
    ensure!(
        description.length > 0,
        "features of no numbers cannot be indexed"
    );
    let mut index = Index::new(&IndexOptions {
        dimensions: description.length,
        metric: MetricKind::L2sq,
        quantization: match description.storage {
            Storage::F16 => ScalarKind::F16,
            Storage::I8 => ScalarKind::I8,
        },
        connectivity: CONNECTIVITY,
        expansion_add: EXPANSION_ADD,
        expansion_search: description.expansion,
        multi: false,
    })
    .context("usearch cannot make an index")?;
    index
        .reserve_capacity_and_threads(0, threads())
        .context("usearch cannot reserve memory")?;
    set_metric(&mut index, description);
    Ok(index)
}

/// Threads that may use an index at a time.
fn threads() -> usize {
    rayon::current_num_threads().max(16)
}

/// Lets usearch measure distances with this program's functions; opening a file makes it use its own again.
fn set_metric(index: &mut Index, description: &Description) {
    let length = description.length;
    match description.storage {
        Storage::F16 => index.change_metric::<usearch::f16>(Box::new(move |one, other| {
            // SAFETY: usearch passes vectors of the index, or one of them and a query: `length` numbers of 16 bits each.
            #[expect(unsafe_code)]
            let [one, other] = [one, other]
                .map(|vector| unsafe { std::slice::from_raw_parts(vector.cast::<f16>(), length) });
            kernels::squared_distance_f16(one, other)
        })),
        Storage::I8 => index.change_metric::<i8>(Box::new(move |one, other| {
            // SAFETY: usearch passes vectors of the index, or one of them and a query: `length` bytes each.
            #[expect(unsafe_code)]
            let [one, other] =
                [one, other].map(|vector| unsafe { std::slice::from_raw_parts(vector, length) });
            kernels::squared_distance_i8(one, other)
        })),
    }
}
