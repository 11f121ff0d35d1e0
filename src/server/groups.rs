//! The groups of duplicates, without what people have decided already.

use std::sync::{Arc, Weak};

use serde::Serialize;
use utoipa::ToSchema;

use super::live::{Features, Live};
use crate::similarity::scan::Metric;
use crate::similarity::scan::pairs::TooManyPairs;
use crate::storage::beneath::MediaDir;
use crate::storage::decisions::{DecisionFile, Decisions};

/// Pairs that are looked for, at most: they take 160 MB, and more while groups are made of them. A client chooses the
/// distance.
pub const MAX_PAIRS: usize = 10_000_000;

/// A picture of a group.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its object id.
    pub object_id: String,
    /// Below the media directory.
    pub path: Option<String>,
    /// How far it is from the first of its group.
    pub distance: f64,
    /// Pixels in a row, as the picture is stored; null where its file cannot be read.
    pub width: Option<usize>,
    /// Rows.
    pub height: Option<usize>,
    /// Length of its file.
    pub bytes: Option<u64>,
}

/// All groups of a collection.
#[derive(Clone, Debug)]
pub struct Found {
    /// The largest distance of duplicates.
    pub max_distance: f64,
    /// The members of each group, the one to keep first.
    pub groups: Vec<Vec<Member>>,
}

/// Why there are no groups.
#[derive(Clone, Debug)]
pub enum NoGroups {
    /// No distance is asked for, and none is known for the model.
    UnknownLimit,
    /// The distance is so large that there are more pairs than [`MAX_PAIRS`].
    TooManyPairs(TooManyPairs),
    /// Something is wrong with the features, the list, or the machine.
    Failed(Arc<anyhow::Error>),
}

/// Finds the groups, up to a distance, or to what is known for the model. Of files it looks at those that are inside of
/// the media directory.
pub type Find = Box<dyn Fn(Option<f64>, &MediaDir) -> Result<Found, NoGroups> + Send + Sync>;

/// What finds groups, and what it found last.
pub struct Groups {
    find: Find,
    /// One search at a time: it takes all processors.
    pub turn: Arc<tokio::sync::Mutex<Option<Last>>>,
    pub decisions: DecisionFile,
}

/// The last search.
pub struct Last {
    /// Not kept in memory where others have taken their place.
    features: Weak<Features>,
    asked: Option<f64>,
    found: Result<Arc<Found>, NoGroups>,
}

impl Groups {
    pub fn new(find: Find, decisions: DecisionFile) -> Self {
        Groups {
            find,
            turn: Arc::default(),
            decisions,
        }
    }

    /// All groups, found anew where the features are others than those of the last search, or the distance is, or it
    /// failed.
    pub fn found(
        &self,
        last: &mut Option<Last>,
        live: &Live,
        media: &MediaDir,
        asked: Option<f64>,
    ) -> Result<Arc<Found>, NoGroups> {
        let features = live.features();
        if let Some(last) = last
            && last.asked == asked
            && last.features.ptr_eq(&Arc::downgrade(&features))
            && !matches!(last.found, Err(NoGroups::Failed(_)))
        {
            return last.found.clone();
        }
        let found = (self.find)(asked, media).map(Arc::new);
        *last = Some(Last {
            features: Arc::downgrade(&features),
            asked,
            found: found.clone(),
        });
        found
    }
}

/// The groups about which nothing is decided. Members that are no duplicates of the first of their group may still be
/// of each other, since all of a group are within the distance: they make a group of their own.
pub fn undecided(found: &Found, decisions: &Decisions, features: &Features) -> Vec<Vec<Member>> {
    let mut undecided = Vec::new();
    for members in &found.groups {
        let mut parts: Vec<Vec<Member>> = Vec::new();
        for member in members {
            let is_ruled_out =
                |other: &Member| decisions.rules_out(&member.object_id, &other.object_id);
            match parts.iter_mut().find(|part| !part.iter().any(is_ruled_out)) {
                Some(part) => part.push(member.clone()),
                None => parts.push(vec![member.clone()]),
            }
        }
        parts.retain(|part| {
            let ids: Vec<&str> = part
                .iter()
                .map(|member| member.object_id.as_str())
                .collect();
            ids.len() > 1 && !decisions.settles(&ids)
        });
        for part in &mut parts {
            measure_from_first(part, features);
        }
        undecided.extend(parts);
    }
    undecided
}

fn measure_from_first(part: &mut [Member], features: &Features) {
    let Some((first, others)) = part.split_first_mut() else {
        return;
    };
    if first.distance == 0.0 {
        return;
    }
    first.distance = 0.0;
    let Some((_, from)) = features.find(&first.object_id) else {
        return;
    };
    for other in others {
        if let Some((_, to)) = features.find(&other.object_id) {
            other.distance = Metric::Euclidean.between(from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::anyhow;

    use crate::server::scans::tests::live;

    #[test]
    fn what_was_found_is_not_looked_for_again_and_what_failed_is() {
        let root = tempfile::tempdir().unwrap();
        let live = live(root.path(), 4);
        let media = MediaDir::open(root.path()).unwrap();
        let searches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&searches);
        let find: Find = Box::new(move |asked, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            match asked {
                None => Err(NoGroups::UnknownLimit),
                Some(limit) if limit > 1.0 => {
                    Err(NoGroups::TooManyPairs(TooManyPairs { most: 1, limit }))
                }
                Some(limit) if limit > 0.0 => Err(NoGroups::Failed(Arc::new(anyhow!("a disk")))),
                Some(max_distance) => Ok(Found {
                    max_distance,
                    groups: Vec::new(),
                }),
            }
        });
        let groups = Groups::new(find, DecisionFile::of(&root.path().join("model")));
        let mut last = None;
        for (asked, expected) in [(None, 1), (Some(9.0), 1), (Some(0.5), 3), (Some(0.0), 1)] {
            let before = searches.load(Ordering::Relaxed);
            for _ in 0..3 {
                let found = groups.found(&mut last, &live, &media, asked);
                assert_eq!(found.is_ok(), asked == Some(0.0));
            }
            assert_eq!(
                searches.load(Ordering::Relaxed) - before,
                expected,
                "{asked:?}"
            );
        }
    }
}
