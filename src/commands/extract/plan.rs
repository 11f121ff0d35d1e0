//! Which of the listed objects are to be extracted.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::Options;
use super::standing::{KnownFeatures, Standing};
use crate::storage::failures::{Class, Failure, FailureReport, Stage, id_of_bad_line};
use crate::storage::files::FileStamp;
use crate::storage::model_dir::{FeatureState, ModelDir};
use crate::storage::object_id::{IdKind, ObjectId};
use crate::storage::object_list::{Line, ObjectList};
use crate::storage::part::Part;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{ShardFiles, ShardNumber};
use crate::storage::sources::{Made, Source};
use crate::storage::tar;

/// How many objects whose feature exists are named.
const SAMPLE: usize = 64;

/// The objects of a run.
pub struct Plan {
    /// Indices into the list, shuffled, but that the members of each tar are together, in the order of the list.
    pub pending: Vec<u32>,
    /// Objects whose feature exists.
    pub existing: usize,
    /// At most [`SAMPLE`] of the objects whose feature exists, evenly over the list: indices into it.
    pub sample: Vec<u32>,
    /// How many of those pending have a feature, of a file that is another one now.
    pub changed: usize,
    /// How many more there are, whose feature this run does not change: it is packed where the run writes files, or the
    /// other way round.
    pub changed_elsewhere: usize,
    /// How many belong to parts that other processes write at this moment.
    pub left_to_parts: usize,
    /// Features whose file has another path now, and is otherwise as it was: what to record of them.
    pub moved: Vec<Made>,
    /// Objects that failed before and are not tried again, and lines that are not objects.
    pub failed: usize,
    /// The number that the next shard has.
    pub next_shard: ShardNumber,
    /// The objects whose feature is of a file that is another one now, by their ids.
    pub stale: HashMap<String, Stale>,
    /// Ids that are in the report of failures although they have a feature.
    resolved: HashSet<String>,
    /// Those that are in it and are tried again.
    pub tried_again: HashSet<String>,
    /// The lines that are not objects, by the id under which they are reported.
    bad_lines: HashSet<String>,
    id_kind: IdKind,
    part: Option<Part>,
}

/// The feature of an object whose file is another one now.
#[derive(Debug, Default)]
pub struct Stale {
    /// Its own file, where it has one; another process may write a new one in its place.
    file: Option<(u64, FileStamp)>,
    /// The source of its row in a shard, where it has one; `concat` may put the row in another shard.
    pub row: Option<Source>,
    /// The shard that has the row.
    pub shard: Option<ShardNumber>,
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
        let mut known = report.failures().with_context(reading)?;
        let own: HashSet<String> = known.keys().cloned().collect();
        if options.pack.is_some() {
            // What has failed without --pack fails again.
            let of_model = FailureReport::read(directory.path()).with_context(reading)?;
            for (id, failure) in of_model {
                known.entry(id).or_insert(failure);
            }
        }
        let (mut standings, bad_lines) = check_lines(list, report)?;
        let mut features = KnownFeatures::mark(options, list, directory, &mut standings)?;
        let dimension = recipe.map(|recipe| recipe.dimension);
        let mut left_to_parts = 0;
        let mut changed_elsewhere = features.changed_elsewhere();
        let mut moved = features.take_moved();
        if options.pack.is_none() {
            moved.extend(features.look(&mut standings, directory, dimension));
            left_to_parts = leave_to_parts(list, directory, &mut standings)?;
        } else if directory
            .has_nested()
            .with_context(|| cannot_read(directory))?
        {
            // These are for a run that does not pack.
            features.look(&mut standings, directory, dimension);
            for (index, standing) in standings.iter_mut().enumerate() {
                if *standing == Standing::Stale && features.stale_row(index).is_none() {
                    *standing = Standing::Exists;
                    changed_elsewhere += 1;
                }
            }
        }
        let stale = find_stale(&mut features, &mut standings, list, directory, dimension)?;
        let (mut changed, mut failed_elsewhere) = (0, Vec::new());
        for (index, standing) in standings.iter_mut().enumerate() {
            let is_stale = *standing == Standing::Stale;
            if is_stale || *standing == Standing::Pending {
                let entry = list.entry(index);
                let failure = known.get(list.id(index));
                *standing = to_try(options, entry, failure);
                if *standing == Standing::Failed {
                    failed_elsewhere.extend(failure.filter(|it| !own.contains(&it.id)));
                }
                changed += usize::from(is_stale && *standing == Standing::Pending);
            }
        }
        for failure in failed_elsewhere {
            report.record(failure).with_context(reading)?;
        }
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
        let pending = indices(Standing::Pending).map(|index| index as u32);
        let seed = options.seed.unwrap_or_else(|| rand::rng().random());
        // Nobody else does the objects of a part that packs.
        let mut pending = match options.pack {
            Some(_) => pending.collect(),
            None => shuffled(list, pending.collect(), seed),
        };
        pending.truncate(options.limit.unwrap_or(usize::MAX));
        let resolved = match known.is_empty() {
            true => HashSet::new(),
            false => indices(Standing::Exists)
                .filter_map(|index| list.object_id(index).ok())
                .filter(|id| known.contains_key(id.as_str()))
                .map(|id| id.as_str().to_owned())
                .collect(),
        };
        let tried_again = (pending.iter())
            .map(|index| list.id(*index as usize))
            .filter(|id| known.contains_key(*id))
            .map(str::to_owned)
            .collect();
        let exist = count(Standing::Exists);
        let sample = indices(Standing::Exists)
            .step_by(exist.div_ceil(SAMPLE).max(1))
            .map(|index| index as u32)
            .collect();
        Ok(Plan {
            changed: changed.min(pending.len()),
            changed_elsewhere,
            left_to_parts,
            moved,
            stale,
            pending,
            existing: exist + count(Standing::Repeated),
            sample,
            failed: count(Standing::Failed),
            next_shard: features.next_shard(),
            resolved,
            tried_again,
            bad_lines,
            id_kind: list.id_kind(),
            part: options.part(),
        })
    }

    /// Whether a failure in the report is overtaken: by a feature, or because the bad line is not in the list. (A run
    /// with another list reports that list's bad lines anew, so that none goes unseen. Those of other parts stay.)
    pub fn is_resolved(&self, directory: &ModelDir, failure: &Failure) -> bool {
        let id = &*failure.id;
        if failure.class == Class::BadEntry {
            let is_here = (self.part).is_none_or(|part| part.holds(self.id_kind, &failure.path));
            return is_here && !self.bad_lines.contains(id);
        }
        self.resolved.contains(id)
            || ObjectId::new(self.id_kind, id).is_ok_and(|id| {
                matches!(
                    directory.feature_state(&id, &mut Vec::new()),
                    Ok(FeatureState::Complete(_))
                ) && !self.is_still_stale(directory, &id)
            })
    }

    /// Whether the file of an object's feature is the one that is of another picture.
    pub fn is_still_stale(&self, directory: &ModelDir, id: &ObjectId) -> bool {
        let stale = self.stale.get(id.as_str());
        stale.is_some_and(|stale| directory.feature_stamp(id) == stale.file)
    }
}

/// Leaves the pending objects alone that belong to parts which other processes write: these have features that nobody
/// sees yet. Returns how many they are.
fn leave_to_parts(
    list: &ObjectList,
    directory: &ModelDir,
    standings: &mut [Standing],
) -> Result<usize> {
    let path = directory.path();
    let mut held = Vec::new();
    for part in ShardFiles::list(path)?.parts {
        let part_dir = ModelDir::open(&part_dir::directory(path, part));
        let holder = part_dir.and_then(|part| part.packing_holder());
        held.extend(
            holder
                .with_context(|| cannot_read(directory))?
                .map(|_| part),
        );
    }
    let mut left = 0;
    if !held.is_empty() {
        for (index, standing) in standings.iter_mut().enumerate() {
            let holds = |part: &Part| part.holds(list.id_kind(), list.entry(index));
            if *standing == Standing::Pending && held.iter().any(holds) {
                *standing = Standing::NotNow;
                left += 1;
            }
        }
    }
    Ok(left)
}

fn cannot_read(directory: &ModelDir) -> String {
    format!("cannot read {}", directory.path().display())
}

/// Shuffles plain files and tars among each other, so that several copies share the work. The members of a tar stay
/// together: disks and networks give a file from its beginning to its end faster than piece by piece.
fn shuffled(list: &ObjectList, pending: Vec<u32>, seed: u64) -> Vec<u32> {
    let tar = |index: u32| tar::split(list.entry(index as usize)).map(|(tar, _)| tar);
    let mut members: HashMap<&str, Vec<u32>> = HashMap::new();
    // Of each tar the first member stands for all of them.
    let mut first = pending;
    first.retain(|&index| {
        let Some(tar) = tar(index) else { return true };
        let members = members.entry(tar).or_default();
        members.push(index);
        members.len() == 1
    });
    first.shuffle(&mut StdRng::seed_from_u64(seed));
    if members.is_empty() {
        return first;
    }
    let together = first.into_iter().flat_map(|index| {
        let members = tar(index).and_then(|tar| members.remove(tar));
        members.unwrap_or_else(|| vec![index])
    });
    together.collect()
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

/// The stale objects by their ids.
fn find_stale(
    features: &mut KnownFeatures<'_>,
    standings: &mut [Standing],
    list: &ObjectList,
    directory: &ModelDir,
    dimension: Option<usize>,
) -> Result<HashMap<String, Stale>> {
    let stale = standings.iter().enumerate();
    let stale = stale.filter(|(_, standing)| **standing == Standing::Stale);
    let stale: Vec<usize> = stale.map(|(index, _)| index).collect();
    let mut found = HashMap::new();
    let mut with_file = Vec::new();
    for index in stale {
        let Ok(id) = list.object_id(index) else {
            continue;
        };
        let file = directory.feature_stamp(&id);
        with_file.extend(file.map(|_| index));
        let (shard, row) = features.stale_row(index).cloned().unzip();
        found.insert(id.as_str().to_owned(), Stale { file, row, shard });
    }
    if !with_file.is_empty() {
        for index in features.look_again(&with_file, directory, dimension)? {
            standings[index] = Standing::Exists;
            found.remove(list.id(index));
        }
    }
    Ok(found)
}

/// Whether an object without a feature of its file as it is now is to be tried in this run.
fn to_try(options: &Options, entry: &str, known: Option<&Failure>) -> Standing {
    match known {
        Some(_) if options.retry_failed => Standing::Pending,
        Some(failure) if failure.is_final(&options.media_dir.join(entry)) => Standing::Failed,
        None if options.retry_failed => Standing::NotNow,
        _ => Standing::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_tars_are_shuffled_and_the_members_of_a_tar_stay_together() {
        let mut lines = String::new();
        for number in 0..20 {
            // Lists need not be in order.
            for tar in ["a.tar", "b/c.TAR", "d.tar/e.tar"] {
                lines += &format!("{tar}/{number}.jpg\n");
            }
            lines += &format!("plain/{number}.jpg\n");
        }
        let list = ObjectList::parse(&mut lines.as_bytes(), IdKind::Path, None).unwrap();
        let pending: Vec<u32> = (0..list.len() as u32).filter(|index| *index != 4).collect();
        let order = |seed| shuffled(&list, pending.clone(), seed);
        let (one, other) = (order(1), order(2));
        assert_ne!(one, other);
        for order in [one, other] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, pending);
            let tar = |index: &u32| tar::split(list.entry(*index as usize)).map(|(tar, _)| tar);
            let runs = order.chunk_by(|one, other| tar(one).is_some() && tar(one) == tar(other));
            let mut lengths: Vec<usize> = runs
                .inspect(|run| assert!(run.is_sorted(), "{run:?}"))
                .map(<[u32]>::len)
                .collect();
            assert_ne!(lengths.iter().position(|length| *length > 1), Some(20));
            lengths.sort_unstable();
            assert_eq!(lengths[20..], [19, 20, 20]);
        }
    }
}
