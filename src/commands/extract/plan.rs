//! Which of the listed objects are to be extracted.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

use super::Options;
use crate::storage::failures::{Class, Failure, FailureReport, Stage, id_of_bad_line};
use crate::storage::model_dir::{FeatureState, ModelDir};
use crate::storage::object_id::{ObjectId, entry_name};
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, ShardFiles, ShardNumber};

/// How many objects whose feature exists are named.
const SAMPLE: usize = 64;

/// The objects of a run.
pub struct Plan {
    /// Indices into the list, shuffled.
    pub pending: Vec<u32>,
    /// Objects whose feature exists.
    pub existing: usize,
    /// At most [`SAMPLE`] of the objects whose feature exists, evenly over the list: indices into it.
    pub sample: Vec<u32>,
    /// Objects that failed before and are not tried again, and lines that are not objects.
    pub failed: usize,
    /// The number that the next shard has.
    pub next_shard: ShardNumber,
    /// Ids that are in the report of failures although they have a feature.
    resolved: HashSet<String>,
    /// The lines that are not objects, by the id under which they are reported.
    bad_lines: HashSet<String>,
}

/// What is known of a listed object before the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pending,
    Exists,
    Failed,
    /// The same path is in the list before: nothing to do, and nothing wrong.
    Repeated,
    /// Pending, but not wanted in this run.
    NotNow,
}

impl Plan {
    /// Looks at every listed object: its line, the shards, its feature file, and the report of failures.
    pub fn make(
        options: &Options,
        list: &ObjectList,
        directory: &ModelDir,
        recipe: Option<&Recipe>,
        report: &FailureReport,
    ) -> Result<Plan> {
        let reading = || format!("cannot read {}", report.path().display());
        let known = report.failures().with_context(reading)?;
        let (mut standings, bad_lines) = check_lines(list, report)?;
        let next_shard = mark_packed(&mut standings, list, directory.path())?;
        let dimension = recipe.map(|recipe| recipe.dimension);
        standings.par_iter_mut().enumerate().for_each_init(
            Vec::new,
            |buffer, (index, standing)| {
                if *standing == Standing::Pending {
                    *standing = look(
                        options,
                        list.entry(index),
                        directory,
                        dimension,
                        &known,
                        buffer,
                    );
                }
            },
        );
        let count = |wanted| {
            standings
                .iter()
                .filter(|standing| **standing == wanted)
                .count()
        };
        let indices = |wanted| {
            standings
                .iter()
                .enumerate()
                .filter(move |(_, standing)| **standing == wanted)
                .map(|(index, _)| index)
        };
        let mut pending: Vec<u32> = indices(Standing::Pending)
            .map(|index| index as u32)
            .collect();
        let seed = options.seed.unwrap_or_else(|| rand::rng().random());
        pending.shuffle(&mut StdRng::seed_from_u64(seed));
        pending.truncate(options.limit.unwrap_or(usize::MAX));
        let resolved = match known.is_empty() {
            true => HashSet::new(),
            false => indices(Standing::Exists)
                .filter_map(|index| ObjectId::from_entry(list.entry(index)).ok())
                .filter(|id| known.contains_key(id.as_str()))
                .map(|id| id.as_str().to_owned())
                .collect(),
        };
        let exist = count(Standing::Exists);
        let sample = indices(Standing::Exists)
            .step_by(exist.div_ceil(SAMPLE).max(1))
            .map(|index| index as u32)
            .collect();
        Ok(Plan {
            pending,
            existing: exist + count(Standing::Repeated),
            sample,
            failed: count(Standing::Failed),
            next_shard,
            resolved,
            bad_lines,
        })
    }

    /// Whether a failure in the report is overtaken: by a feature, or because the bad line is not in the list. (A run
    /// with another list reports that list's bad lines anew, so that none goes unseen.)
    pub fn is_resolved(&self, directory: &ModelDir, failure: &Failure) -> bool {
        let id = &*failure.id;
        if failure.class == Class::BadEntry {
            return !self.bad_lines.contains(id);
        }
        self.resolved.contains(id)
            || ObjectId::new(id).is_ok_and(|id| {
                matches!(
                    directory.feature_state(&id, &mut Vec::new()),
                    Ok(FeatureState::Complete(_))
                )
            })
    }
}

/// Finds the lines that are not objects, or whose object id is in the list before; reports them, and returns under
/// which ids.
fn check_lines(
    list: &ObjectList,
    report: &FailureReport,
) -> Result<(Vec<Standing>, HashSet<String>)> {
    let mut bad_lines = HashSet::new();
    let standings = list.lines().zip(list.entries()).map(|(line, entry)| {
        let message = match line {
            Line::Object(_) => return Ok(Standing::Pending),
            Line::Repeated => return Ok(Standing::Repeated),
            Line::Bad(message) => message,
        };
        let (id, path) = (id_of_bad_line(entry), entry.to_owned());
        let failure = Failure {
            id,
            path,
            stage: Stage::List,
            class: Class::BadEntry,
            message,
            file: None,
        };
        report
            .record(&failure)
            .with_context(|| format!("cannot write {}", report.path().display()))?;
        bad_lines.insert(failure.id);
        Ok(Standing::Failed)
    });
    let standings = standings.collect::<Result<_>>()?;
    Ok((standings, bad_lines))
}

/// Marks the objects that are in shards, and returns the number that the next shard has. Holds the ids of one at a
/// time.
fn mark_packed(
    standings: &mut [Standing],
    list: &ObjectList,
    directory: &Path,
) -> Result<ShardNumber> {
    let pairs = ShardFiles::list(directory)?.pairs(directory)?;
    let Some(last) = pairs.last() else {
        return Ok(ShardNumber::FIRST);
    };
    let next = last.next();
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(list.len());
    for (index, entry) in list
        .entries()
        .enumerate()
        .filter(|(index, _)| standings[*index] == Standing::Pending)
    {
        by_name.insert(entry_name(entry), index);
    }
    for number in pairs {
        for id in shard::object_ids(directory, number)? {
            if let Some(&index) = by_name.get(id.as_str()) {
                standings[index] = Standing::Exists;
            }
        }
    }
    Ok(next)
}

/// Looks at one object's feature file and its failure, if it has one.
fn look(
    options: &Options,
    entry: &str,
    directory: &ModelDir,
    dimension: Option<usize>,
    known: &IndexMap<String, Failure>,
    buffer: &mut Vec<u8>,
) -> Standing {
    let Ok(id) = ObjectId::from_entry(entry) else {
        return Standing::Failed;
    };
    if let Ok(FeatureState::Complete(found)) = directory.feature_state(&id, buffer)
        && dimension.is_none_or(|dimension| dimension == found)
    {
        return Standing::Exists;
    }
    match known.get(id.as_str()) {
        Some(_) if options.retry_failed => Standing::Pending,
        Some(failure) if failure.is_final(&options.media_dir.join(entry)) => Standing::Failed,
        None if options.retry_failed => Standing::NotNow,
        _ => Standing::Pending,
    }
}
