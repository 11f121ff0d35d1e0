//! The groups as people have decided, in the page of `serve`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::member::Ranked;
use super::{Compared, Group, Options, member};
use crate::similarity::collection::Collection;
use crate::similarity::scan::pairs::Pair;
use crate::storage::decisions::{Decision, DecisionFile, in_common};
use crate::support::progress::{Progress, counted};

/// Where decisions about the features of a model's directory are, if there are any.
pub fn decisions(directory: &Path) -> Option<PathBuf> {
    let file = DecisionFile::of(directory);
    let is_there = file.all().is_ok_and(|decisions| !decisions.is_empty());
    is_there.then(|| file.path().to_owned())
}

/// Groups of objects that are here, the one to keep first, and the pairs of it and each of the others.
pub fn groups(
    collection: &Collection,
    compared: &Compared<'_>,
    options: &Options,
    progress: &Progress,
) -> Result<(Vec<Group>, Vec<Pair>)> {
    let file = DecisionFile::of(&options.directory);
    let decisions = file.all()?;
    ensure!(
        !decisions.is_empty(),
        "nothing is decided yet: {} is not there, or empty; `simsearch serve --allow-changes` takes decisions in its page",
        file.path().display()
    );
    let decided = kept_and_others(&decisions);
    let ids = decided
        .iter()
        .flat_map(|(keep, others)| others.iter().chain([keep]));
    let mut places: HashMap<&str, Option<u32>> = ids.map(|id| (*id, None)).collect();
    for (place, position) in (0..).zip(&compared.objects) {
        if let Some(found) = places.get_mut(&*collection.id(*position)) {
            *found = Some(place);
        }
    }
    let absent = places.values().filter(|place| place.is_none()).count();
    if absent > 0 {
        progress.note(&format!(
            "{} that decisions are about left out: without a feature here, or not listed",
            counted(absent, "object")
        ));
    }
    let mut pairs = Vec::new();
    for (keep, others) in &decided {
        let Some(keep) = places[keep] else { continue };
        for other in others.iter().filter_map(|other| places[other]) {
            let [one, two] = [keep, other].map(|place| compared.feature(collection, place));
            pairs.push(Pair {
                first: keep,
                second: other,
                distance: options.metric.between(one, two),
            });
        }
    }
    let members = member::ranked(collection, compared, &pairs, options, progress);
    Ok((in_groups(&members, &pairs), pairs))
}

/// The groups of pairs whose first are to be kept; those of each follow each other.
fn in_groups(members: &Ranked, pairs: &[Pair]) -> Vec<Group> {
    let ranks = 0..members.len();
    let ranks: HashMap<u32, usize> = ranks.map(|rank| (members.place(rank), rank)).collect();
    let member = |place: u32, distance| members.member(ranks[&place], distance);
    let groups = pairs.chunk_by(|one, other| one.first == other.first);
    groups
        .map(|group| {
            let mut others: Vec<&Pair> = group.iter().collect();
            others.sort_by(|one, other| one.distance.total_cmp(&other.distance));
            let others = others.iter().map(|pair| member(pair.second, pair.distance));
            Group {
                members: [member(group[0].first, 0.0)]
                    .into_iter()
                    .chain(others)
                    .collect(),
            }
        })
        .collect()
}

/// By the object to keep, those that it is kept instead of. What was said last about an object counts; and where the one
/// that is kept instead is itself given up for another later, that other one is kept.
fn kept_and_others(decisions: &[Decision]) -> BTreeMap<&str, Vec<&str>> {
    // By object, the last decision with one to keep.
    let mut last: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut apart: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, decision) in decisions.iter().enumerate() {
        for id in &decision.object_ids {
            match &decision.keep {
                Some(keep) => _ = last.insert(id, (number, keep)),
                None => apart.entry(id).or_default().push(number),
            }
        }
    }
    let is_taken_back = |id: &str, keep: &str, number: usize| {
        let [of_id, of_keep] = [id, keep].map(|id| apart.get(id).map_or(&[][..], Vec::as_slice));
        in_common(of_id, of_keep).any(|later| later > number)
    };
    last.retain(|id, (number, keep)| id != keep && !is_taken_back(id, keep, *number));
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, (_, keep)) in &last {
        let mut keep = *keep;
        // This ends: who is given up in a decision is named in that one last, so that each step leads to a later one.
        while let Some((_, later)) = last.get(keep) {
            keep = later;
        }
        groups.entry(keep).or_default().push(id);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_last_counts_and_leads_to_one_that_is_kept() {
        let decision = |ids: &str, keep: &str| Decision {
            object_ids: ids.split(' ').map(str::to_owned).collect(),
            keep: Some(keep)
                .filter(|keep| !keep.is_empty())
                .map(str::to_owned),
        };
        for (decided, expected) in [
            (&[("a b c", "b")][..], "b: a c"),
            // Another one is kept after all.
            (&[("a b", "a"), ("a b", "b")], "b: a"),
            // The one that was kept is given up for a third.
            (&[("a b c", "a"), ("a d", "d")], "d: a b c"),
            (&[("a d", "d"), ("a b c", "a")], "a: b c"),
            // They are no duplicates after all; or they were none before.
            (&[("a b c", "a"), ("b a", "")], "a: c"),
            (&[("b a", ""), ("a b c", "a")], "a: b c"),
            (&[("a b c", "a"), ("b c", "")], "a: b c"),
            (&[("a b", "")], ""),
        ] {
            let decisions: Vec<Decision> = (decided.iter())
                .map(|(ids, keep)| decision(ids, keep))
                .collect();
            let groups = kept_and_others(&decisions);
            let groups = groups
                .iter()
                .map(|(keep, others)| format!("{keep}: {}", others.join(" ")));
            let groups: Vec<String> = groups.collect();
            assert_eq!(groups.join(", "), expected, "{decided:?}");
        }
    }
}
