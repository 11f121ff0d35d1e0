//! The groups of duplicates, without what people have decided already.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::decisions::{DecisionFile, Decisions};
use super::live::{Features, Live};
use crate::similarity::scan::Metric;

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

/// Finds the groups, up to a distance, or to what is known for the model.
pub type Find = Box<dyn Fn(Option<f64>) -> Result<Found> + Send + Sync>;

/// What finds groups, and what it found last.
pub struct Groups {
    find: Find,
    last: Mutex<Option<Last>>,
    /// One search at a time: it takes all processors.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    pub decisions: DecisionFile,
}

struct Last {
    features: Arc<Features>,
    asked: Option<f64>,
    found: Arc<Found>,
}

impl Groups {
    pub fn new(find: Find, decisions: DecisionFile) -> Self {
        Groups {
            find,
            last: Mutex::new(None),
            turn: Arc::default(),
            decisions,
        }
    }

    /// All groups, found anew where the features are others, or the distance is.
    pub fn found(&self, live: &Live, asked: Option<f64>) -> Result<Arc<Found>> {
        let features = live.features();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.asked == asked
            && Arc::ptr_eq(&last.features, &features)
        {
            return Ok(Arc::clone(&last.found));
        }
        let found = Arc::new((self.find)(asked)?);
        *last = Some(Last {
            features,
            asked,
            found: Arc::clone(&found),
        });
        Ok(found)
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
