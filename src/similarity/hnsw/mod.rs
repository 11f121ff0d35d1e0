//! The approximate search: a graph of the features of all shards (usearch's HNSW) finds candidates, and their exact
//! distances are computed. What is not in the graph yet, new shards and per-object files, is searched exactly.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the index: making, opening, adding shards, searching |
//! | `quantize.rs` | from a feature to a vector of the graph |
//! | `graph.rs` | the graph: usearch with this program's distances |
//! | `file.rs` | its file, `index.usearch` beside the shards |

mod file;
mod graph;
mod quantize;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::similarity::collection::{Collection, MappedShard, Part, Position};
use crate::similarity::scan::{Metric, Neighbour, nearest, nearest_of};
use crate::storage::checksum::Checksum;
use crate::storage::files::regular;
use crate::storage::model_dir::ModelDir;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard;
pub(crate) use file::{Covered, Description, Recall};
use file::{DAMAGED, IndexFile};
use graph::Graph;
pub use quantize::Storage;
use quantize::{Quantizer, Vector};

/// Candidates for each neighbour that is asked for: the graph's distances are those of rounded vectors.
const CANDIDATES: usize = 4;

/// A graph is small below as many vectors. Of two threads that add to one of n, about one in n times the second loses
/// the way to its vector (see [`Graph::finds`]); in a small graph that may be the only way to many others too.
const SMALL: usize = 16_384;

/// Rows of a shard that tell it from another one where there is no checksum of the file, about.
const SAMPLED_ROWS: usize = 64;

/// An index of some shards of a collection.
pub(crate) struct ApproximateIndex {
    graph: Graph,
    description: Description,
    /// The parts of the collection by what the graph calls the shards that the index holds.
    parts: HashMap<u32, u32>,
}

/// What is found where an index belongs.
pub(crate) enum Opened {
    /// An index of shards of the collection.
    Index(Box<ApproximateIndex>),
    /// There is no index.
    Missing,
    /// A file that cannot be used, and what it says it holds, where that can be read.
    Unusable {
        why: String,
        description: Option<Box<Description>>,
    },
}

impl ApproximateIndex {
    /// An empty index, for the shards of a collection.
    pub fn new(
        directory: &Path,
        collection: &Collection,
        metric: Metric,
        storage: Storage,
    ) -> Result<Self> {
        let description = Description {
            metric,
            storage,
            dimension: collection.dimension(),
            vectors: 0,
            scale: Quantizer::of(collection, metric, storage).scale,
            expansion: 0,
            recall: Recall::default(),
            recipe: Recipe::read(directory)?,
            shards: Vec::new(),
        };
        Ok(ApproximateIndex {
            graph: Graph::empty(&description)?,
            description,
            parts: HashMap::new(),
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
        let file = match open_file(directory)? {
            None => return Ok(Opened::Missing),
            Some(Ok(file)) => file,
            Some(Err(why)) => {
                return Ok(Opened::Unusable {
                    why,
                    description: None,
                });
            }
        };
        let description = file.description().clone();
        let unusable = |why: String| Opened::Unusable {
            why,
            description: Some(Box::new(description.clone())),
        };
        let Some(parts) = parts(&description, directory, collection)? else {
            let why = "it is of shards that are no longer there, or were made anew";
            return Ok(unusable(why.into()));
        };
        if !mapped && !file.are_vectors_whole() {
            return Ok(unusable(DAMAGED.into()));
        }
        let graph = match mapped {
            true => Graph::map(file)?,
            false => Graph::load(&file)?,
        };
        Ok(match graph {
            Ok(graph) => Opened::Index(Box::new(ApproximateIndex {
                graph,
                description,
                parts,
            })),
            Err(why) => unusable(why),
        })
    }

    /// What it holds, and how.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Adds the rows of all shards that it does not hold yet, by all threads; returns how many. Rows that hold a number
    /// that is not finite are left out: they are nobody's neighbours. `progress` is told each shard's rows once they
    /// are added.
    pub fn add_missing(
        &mut self,
        directory: &Path,
        collection: &Collection,
        progress: &dyn Fn(usize),
    ) -> Result<usize> {
        let missing: Vec<_> = shards(directory, collection)?
            .into_iter()
            .filter(|(part, ..)| !self.holds(*part))
            .collect();
        let rows: usize = missing.iter().map(|(_, covered, _)| covered.rows).sum();
        self.graph.reserve(rows)?;
        let mut added_to_small = Vec::new();
        for (part, mut covered, shard) in missing {
            covered.slot = covered.part.as_ref().map(|_| self.next_slot());
            covered.sample_sha256 = sample_sha256(shard, self.description.dimension);
            let slot = covered.slot();
            if self.graph.len() < SMALL {
                added_to_small.push((slot, shard));
            }
            let rows = (0..covered.rows).into_par_iter();
            rows.try_for_each(|row| self.add(slot, shard, row))?;
            progress(covered.rows);
            self.parts.insert(slot, part);
            self.description.shards.push(covered);
        }
        // Adding one again may cost another one its only edge.
        for _ in 0..3 {
            let mut lost = 0;
            for (slot, shard) in &added_to_small {
                lost += self.add_lost_again(*slot, shard)?;
            }
            if lost == 0 {
                break;
            }
        }
        let before = std::mem::replace(&mut self.description.vectors, self.graph.len());
        Ok(self.description.vectors - before)
    }

    /// What the graph is to call the next shard of a part. These have the highest numbers, so that the shards of the
    /// model's directory can keep their own.
    fn next_slot(&self) -> u32 {
        let of_parts = self.description.shards.iter();
        let of_parts = of_parts.filter(|covered| covered.part.is_some()).count();
        u32::MAX - of_parts as u32
    }

    fn add(&self, slot: u32, shard: &MappedShard, row: usize) -> Result<()> {
        match self.vector(shard, row) {
            Some(vector) => self.graph.add(key(slot, row), &vector),
            None => Ok(()),
        }
    }

    /// Adds those rows of a shard again, one after the other, that no search finds; returns how many.
    fn add_lost_again(&self, slot: u32, shard: &MappedShard) -> Result<usize> {
        let is_lost = |row: &usize| {
            let vector = self.vector(shard, *row);
            vector.is_some_and(|vector| !self.graph.finds(key(slot, *row), &vector))
        };
        let rows = (0..shard.rows()).into_par_iter();
        let lost: Vec<_> = rows.filter(is_lost).collect();
        for row in &lost {
            self.graph.remove(key(slot, *row))?;
            self.add(slot, shard, *row)?;
        }
        Ok(lost.len())
    }

    /// The vector of a row in the graph; `None` where the feature holds a number that is not finite.
    fn vector(&self, shard: &MappedShard, row: usize) -> Option<Vector> {
        let dimension = self.description.dimension;
        let feature = &shard.features()[row * dimension..][..dimension];
        let is_finite = feature.iter().all(|number| number.is_finite());
        is_finite.then(|| self.description.quantizer().quantize(feature))
    }

    /// Sets how many candidates a search keeps on its way, at least, and what was measured with it.
    pub fn set_expansion(&mut self, expansion: usize, recall: Recall) {
        self.graph.set_expansion(expansion);
        self.description.expansion = expansion;
        self.description.recall = recall;
    }

    /// Writes it to its file, which is complete or stays as it was; returns its size in bytes.
    pub fn save(&self, directory: &Path) -> Result<u64> {
        file::write(directory, self.graph.usearch(), &self.description)
            .with_context(|| format!("cannot write {}", directory.join(ModelDir::INDEX).display()))
    }

    /// Whether it holds the rows of a part of the collection.
    pub fn holds(&self, part: u32) -> bool {
        self.parts.values().any(|held| *held == part)
    }

    /// The `k` nearest objects to each query, as [`nearest`] gives them but for those that the graph misses. The
    /// distances are exact.
    pub(super) fn nearest(
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
        let mut found = nearest_of(collection, queries, k, metric, &is_new, &candidates);
        // Where rows near a query are hidden, too few of its candidates may be left.
        let enough = k.min(collection.len());
        let too_few = (0..)
            .zip(&mut found)
            .filter(|(_, found)| found.len() < enough);
        let too_few: Vec<(usize, &mut Vec<Neighbour>)> = too_few.collect();
        let dimension = self.description.dimension;
        let queries: Vec<f32> = (too_few.iter())
            .flat_map(|(query, _)| &queries[query * dimension..][..dimension])
            .copied()
            .collect();
        let exact = nearest(collection, &queries, k, metric);
        for ((_, found), exact) in too_few.into_iter().zip(exact) {
            *found = exact;
        }
        found
    }

    /// Where the candidates for the `k` nearest to each query are.
    pub fn candidates(&self, queries: &[f32], k: usize) -> Vec<Vec<Position>> {
        let wanted = k.saturating_mul(CANDIDATES).min(self.description.vectors);
        let quantizer = self.description.quantizer();
        let queries = queries.par_chunks_exact(self.description.dimension);
        queries
            .map(|query| {
                let keys = self.graph.search(&quantizer.quantize(query), wanted);
                let keys = keys.into_iter();
                keys.filter_map(|key| self.position(key)).collect()
            })
            .collect()
    }

    /// Where the feature of a vector is.
    fn position(&self, key: u64) -> Option<Position> {
        let part = *self.parts.get(&((key >> 32) as u32))?;
        let row = key as u32;
        Some(Position { part, row })
    }
}

/// What is wrong with the file of an index, all of which is read; `None` where nothing is, or where there is no index.
pub(crate) fn damage(directory: &Path) -> Result<Option<String>> {
    Ok(match open_file(directory)? {
        Some(Ok(file)) if !file.are_vectors_whole() => Some(DAMAGED.into()),
        Some(Err(why)) => Some(why),
        _ => None,
    })
}

/// Opens the file of an index, where there is one; the inner error says what is wrong with it.
fn open_file(directory: &Path) -> Result<Option<Result<IndexFile, String>>> {
    let path = directory.join(ModelDir::INDEX);
    let reading = || format!("cannot read {}", path.display());
    let file = match regular::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(reading)?,
    };
    IndexFile::open(&file).map(Some).with_context(reading)
}

/// What the graph calls a row of a shard.
fn key(slot: u32, row: usize) -> u64 {
    u64::from(slot) << 32 | row as u64
}

/// The shards of a collection: part, what an index would say of it, and the shard.
fn shards<'a>(
    directory: &Path,
    collection: &'a Collection,
) -> Result<Vec<(u32, Covered, &'a MappedShard)>> {
    let mut sums = HashMap::new();
    let mut shards = Vec::new();
    for (part, rows) in (0..).zip(collection.parts()) {
        if let Part::Shard(shard) = rows {
            let (there, number) = (shard.directory(), shard.number());
            let sums = match sums.entry(there) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(Sha256Sums::read(there)?),
            };
            let of_part = there.file_name().filter(|_| there != directory);
            let covered = Covered {
                part: of_part.map(|name| name.to_string_lossy().into_owned()),
                number: u32::try_from(number.0)?,
                rows: shard.rows(),
                sha256: (sums.sum(&number.file_name(shard::ShardFile::Features)))
                    .map(str::to_owned),
                sample_sha256: String::new(),
                slot: None,
            };
            shards.push((part, covered, &**shard));
        }
    }
    Ok(shards)
}

/// SHA-256 of some rows of a shard, evenly over all of them.
fn sample_sha256(shard: &MappedShard, dimension: usize) -> String {
    let mut checksum = Checksum::default();
    let step = (shard.rows() / SAMPLED_ROWS).max(1);
    for feature in shard.features().chunks_exact(dimension).step_by(step) {
        for number in feature {
            checksum.update(&number.to_le_bytes());
        }
    }
    checksum.finish()
}

/// The parts of a collection by what the graph calls the shards that an index holds; `None` where they are not these
/// any more.
fn parts(
    description: &Description,
    directory: &Path,
    collection: &Collection,
) -> Result<Option<HashMap<u32, u32>>> {
    let is_of_this = description.dimension == collection.dimension()
        && description.recipe == Recipe::read(directory)?;
    let there = shards(directory, collection)?;
    let there: HashMap<_, _> = (there.iter())
        .map(|(part, covered, shard)| (covered.place(), (*part, covered, *shard)))
        .collect();
    let parts = description.shards.iter().map(|covered| {
        let (part, found, shard) = there.get(&covered.place())?;
        let is_same = found.rows == covered.rows
            && match (&found.sha256, &covered.sha256) {
                (Some(found), Some(covered)) => found == covered,
                // Not all that make shards write SHA256SUMS.
                _ => sample_sha256(shard, description.dimension) == covered.sample_sha256,
            };
        is_same.then_some((covered.slot(), *part))
    });
    Ok(parts.collect::<Option<_>>().filter(|_| is_of_this))
}
