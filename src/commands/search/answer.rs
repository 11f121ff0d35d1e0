//! An answer, as it is printed.

use std::fmt;
use std::io;

use serde::Serialize;

/// A query and the objects nearest to it.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What was asked.
    pub query: String,
    /// Its object id; `None` for a picture file.
    pub object_id: Option<String>,
    /// Nearest first; those of one distance by object id, the query itself first.
    pub neighbours: Vec<Neighbour>,
    /// Seconds that the pass over the data took, for all queries that were answered with this one.
    pub seconds: f64,
}

/// An object that is near to a query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// Its object id.
    pub object_id: String,
    /// Its path below the media directory, where paths are asked for; empty for an object that is not in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its distance, 0 or more.
    pub distance: f64,
}

impl Answer {
    /// Writes a row for each neighbour: the query, the object id, the path and the distance.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_rows(&self, to: &mut csv::Writer<impl io::Write>) -> csv::Result<()> {
        for neighbour in &self.neighbours {
            to.serialize((
                &self.query,
                &neighbour.object_id,
                &neighbour.path,
                neighbour.distance,
            ))?;
        }
        Ok(to.flush()?)
    }
}

/// The columns of [`Answer::write_rows`].
pub const COLUMNS: [&str; 4] = ["query", "object_id", "path", "distance"];

/// A line for each neighbour: its path, where paths are asked for, or its object id, a space, its distance. A name may hold
/// spaces, a distance does not.
impl fmt::Display for Answer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for neighbour in &self.neighbours {
            // As few digits as tell 32-bit numbers apart, which is what features are.
            let distance = neighbour.distance as f32;
            let name = neighbour.path.as_deref().filter(|path| !path.is_empty());
            writeln!(to, "{} {distance}", name.unwrap_or(&neighbour.object_id))?;
        }
        Ok(())
    }
}
