//! Command: makes the index of a model's directory for the approximate search, or adds the new shards to it, and
//! measures how much it finds.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::similarity::collection::{Collection, Part, Position};
use crate::similarity::hnsw::{ApproximateIndex, Description, Opened, Recall, Storage};
use crate::similarity::scan::{Metric, Neighbour, nearest_of};
use crate::storage::files::complete;
use crate::storage::model_dir::{Leased, ModelDir};
use crate::support::progress::Progress;

/// What an index is to find of the ten nearest.
const GOAL: f64 = 0.98;

/// How many candidates a search keeps on the way, at least: the first of these that reaches the goal.
const EXPANSIONS: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];

/// Objects whose neighbours are looked for to measure that.
const QUERIES: usize = 256;
/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// What to index, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Which distances the index is for. Default: those of the index that is there, or else [`Metric::Euclidean`].
    pub metric: Option<Metric>,
    /// The type of its numbers. Default: that of the index that is there, or else [`Storage::F16`].
    pub storage: Option<Storage>,
}

/// What a run did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// Features in the index.
    pub vectors: usize,
    /// Those that were added.
    pub added: usize,
    /// Shards in it.
    pub shards: usize,
    /// Which distances it is for.
    pub metric: Metric,
    /// The type of its numbers.
    pub storage: Storage,
    /// Of the ten nearest, the share that is found, in the mean over `queries` objects.
    pub recall_at_10: f64,
    /// Over how many objects that was measured.
    pub queries: usize,
    /// Candidates that a search keeps on the way.
    pub expansion: usize,
    /// Length of the file in bytes; `None` where it stayed as it was.
    pub bytes: Option<u64>,
    /// Seconds it took.
    pub seconds: f64,
}

impl Summary {
    /// Whether it finds what an index is to find.
    pub fn is_good(&self) -> bool {
        self.recall_at_10 >= GOAL
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum IndexOutcome {
    /// The index holds all shards.
    Indexed(Summary),
    /// Another process is writing the index; the text names it.
    HeldBy(String),
}

/// Makes the index of all shards, or adds those that it does not hold yet. An index that cannot be used, or is for
/// other distances or of another type than asked for, is rebuilt.
///
/// # Errors
/// When there are no shards, or a file cannot be read or written. Then the old index stays.
pub fn index(options: &Options, progress: &Progress) -> Result<IndexOutcome> {
    let started = Instant::now();
    let directory = &options.directory;
    let collection = Collection::open(directory)?;
    let mut rows = 0;
    for part in collection.parts() {
        if let Part::Shard(shard) = part {
            rows += shard.rows();
        }
    }
    ensure!(
        rows > 0,
        "{} holds no shards; `simsearch concat` makes them",
        directory.display()
    );
    let lease = ModelDir::open(directory)
        .and_then(|opened| opened.lease_index(&|line| progress.note(line)));
    let lease = match lease.with_context(|| format!("cannot lock {}", directory.display()))? {
        Leased::Taken(lease) => lease,
        Leased::HeldBy(holder) => return Ok(IndexOutcome::HeldBy(holder)),
    };
    complete::remove_leftover(&directory.join(ModelDir::INDEX))?;
    let mut index = index_to_add_to(options, &collection, progress)?;
    let is_new = index.description().shards.is_empty();
    let missing = rows
        - index
            .description()
            .shards
            .iter()
            .map(|shard| shard.rows)
            .sum::<usize>();
    progress.begin(missing as u64);
    let added = index.add_missing(directory, &collection, &|rows| {
        progress.advance(rows as u64)
    });
    progress.end();
    let added = added?;
    let mut bytes = None;
    if is_new || missing > 0 {
        measure(&mut index, &collection);
        lease.check()?;
        bytes = Some(index.save(directory)?);
    }
    let Description {
        metric,
        storage,
        vectors,
        expansion,
        recall,
        ref shards,
        ..
    } = *index.description();
    Ok(IndexOutcome::Indexed(Summary {
        vectors,
        added,
        shards: shards.len(),
        metric,
        storage,
        recall_at_10: recall.at_10,
        queries: recall.queries,
        expansion,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
    }))
}

/// The index that is there, or where that cannot be added to, an empty one.
fn index_to_add_to(
    options: &Options,
    collection: &Collection,
    progress: &Progress,
) -> Result<ApproximateIndex> {
    let directory = &options.directory;
    let (why, there) = match ApproximateIndex::load(directory, collection)? {
        Opened::Missing => (None, None),
        Opened::Unusable { why, description } => (Some(why), description),
        Opened::Index(index) => {
            let there = index.description().clone();
            let why = if options.metric.is_some_and(|wanted| wanted != there.metric) {
                "it is for another metric"
            } else if options
                .storage
                .is_some_and(|wanted| wanted != there.storage)
            {
                "its numbers are of another type"
            } else {
                return Ok(*index);
            };
            (Some(why.to_owned()), Some(Box::new(there)))
        }
    };
    if let Some(why) = why {
        let path = directory.join(ModelDir::INDEX);
        progress.note(&format!("{} is rebuilt: {why}", path.display()));
    }
    let there = there.map(|there| (there.metric, there.storage));
    let (metric, storage) = there.unwrap_or_default();
    let metric = options.metric.unwrap_or(metric);
    let storage = options.storage.unwrap_or(storage);
    ApproximateIndex::new(directory, collection, metric, storage)
}

/// Measures the recall, and lets the index keep as many candidates as it takes to reach the goal.
fn measure(index: &mut ApproximateIndex, collection: &Collection) {
    let metric = index.description().metric;
    let sample = sample(index, collection);
    let queries: Vec<f32> = (sample.iter())
        .flat_map(|at| collection.feature(*at))
        .copied()
        .collect();
    // One more, since each finds itself.
    let k = NEIGHBOURS + 1;
    let held = |part| index.holds(part);
    let exact = nearest_of(collection, &queries, k, metric, &held, &[]);
    for expansion in EXPANSIONS {
        index.set_expansion(expansion, Recall::default());
        let candidates = index.candidates(&queries, k);
        let found = nearest_of(collection, &queries, k, metric, &|_| false, &candidates);
        let recall = Recall {
            at_10: recall(&sample, &exact, &found),
            queries: sample.len(),
        };
        index.set_expansion(expansion, recall);
        if recall.at_10 >= GOAL {
            break;
        }
    }
}

/// Objects that are in the index, evenly over all of them.
fn sample(index: &ApproximateIndex, collection: &Collection) -> Vec<Position> {
    let step = (index.description().vectors / QUERIES).max(1);
    let rows = collection.positions();
    let rows = rows.filter(|position| index.holds(position.part));
    rows.step_by(step).take(QUERIES).collect()
}

/// The share of the true neighbours that was found. What is as near as the last of them is one too.
fn recall(sample: &[Position], exact: &[Vec<Neighbour>], found: &[Vec<Neighbour>]) -> f64 {
    let others = |of: &Position, neighbours: &[Neighbour]| -> Vec<f64> {
        let others = neighbours.iter().filter(|there| there.position != *of);
        others
            .map(|there| there.distance)
            .take(NEIGHBOURS)
            .collect()
    };
    let (mut hits, mut all) = (0, 0);
    for (of, (exact, found)) in sample.iter().zip(exact.iter().zip(found)) {
        let exact = others(of, exact);
        let Some(last) = exact.last() else { continue };
        all += exact.len();
        hits += others(of, found)
            .iter()
            .filter(|distance| *distance <= last)
            .count();
    }
    match all {
        0 => 1.0,
        all => hits as f64 / all as f64,
    }
}
