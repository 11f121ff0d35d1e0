//! Which object id was meant by one that is not there.

use rayon::prelude::*;
use strsim::osa_distance;

use crate::similarity::collection::{Collection, Position};
use crate::storage::object_id::IdKind;

/// Letters that may be wrong, at most; in short ids fewer, or everything would be near.
const MOST_WRONG: usize = 2;
const LETTERS_FOR_EACH: usize = 4;

/// The object id that is nearest in spelling, if one is near: upper and lower case do not count, nor does a missing
/// ending, nor do missing folders before it. Looks at every id once. (1,000,000 take about a second.)
pub fn nearest(collection: &Collection, wrong: &str) -> Option<String> {
    let wrong = match collection.id_kind() {
        // Of a path, its file name.
        IdKind::Name => wrong.rsplit('/').next()?,
        IdKind::Path => wrong,
    };
    let folders = wrong.matches('/').count();
    let wrong = wrong.to_lowercase();
    let letters = wrong.chars().count();
    let allowed = MOST_WRONG.min(letters / LETTERS_FOR_EACH);
    let wrongness = |id: &str| {
        // As many folders of it as are named.
        let before = id.rmatch_indices('/').nth(folders);
        let id = before
            .map_or(id, |(slash, _)| &id[slash + 1..])
            .to_lowercase();
        let has_no_ending = id
            .strip_prefix(&*wrong)
            .is_some_and(|rest| rest.starts_with('.'));
        if has_no_ending && !wrong.is_empty() {
            return Some(0);
        }
        let is_near = id.chars().count().abs_diff(letters) <= allowed;
        is_near
            .then(|| osa_distance(&id, &wrong))
            .filter(|wrong| *wrong <= allowed)
    };
    let rows: Vec<Position> = collection.positions().collect();
    let rows = rows.into_par_iter().filter(|at| !collection.is_hidden(*at));
    let near = rows.filter_map(|at| {
        let id = collection.id(at);
        Some((wrongness(&id)?, id))
    });
    near.min().map(|(_, id)| id)
}
