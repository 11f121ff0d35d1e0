//! How near duplicates are, where nobody says it.

use std::path::PathBuf;

use anyhow::Result;

use super::Options;
use crate::inference::ModelFile;
use crate::similarity::scan::Metric;
use crate::storage::recipe::Recipe;

/// Euclidean distance of features of the model inside the program, up to which two pictures count as one: of 1,710
/// pictures, 190 photographs and eight changed versions of each, no two different ones are so near, and 62 % of the
/// versions are so near to their original. `models/README.md` has the table.
const INSIDE: f64 = 0.15;

/// Nobody says how near duplicates are, and for the model of this directory it is not known.
#[derive(Debug, thiserror::Error)]
#[error(
    "how near duplicates are is not known for the model of {}; give --max-distance, and --histogram shows how many pairs \
     each distance would give",
    .0.display()
)]
pub struct UnknownLimit(PathBuf);

/// The limit of a run.
///
/// # Errors
/// [`UnknownLimit`], and when the recipe cannot be read.
pub fn choose(options: &Options) -> Result<f64> {
    if let Some(limit) = options.max_distance {
        return Ok(limit);
    }
    let recipe = Recipe::read(&options.directory)?;
    let is_known = recipe.is_some_and(|recipe| recipe.model_sha256 == ModelFile::inside().sha256);
    match options.metric {
        Metric::Euclidean if is_known => Ok(INSIDE),
        // The features have a norm of 1: then the square of their distance is twice the cosine's.
        Metric::Cosine if is_known => Ok(INSIDE * INSIDE / 2.0),
        _ => Err(UnknownLimit(options.directory.clone()).into()),
    }
}
