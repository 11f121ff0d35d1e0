//! An answer, as it is printed.

use std::fmt;
use std::io;

use serde::Serialize;

use crate::similarity::scan::{Neighbour, Printed};

/// A query and the objects nearest to it.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What was asked.
    pub query: String,
    /// Its object id; `None` for anything but an object.
    pub object_id: Option<String>,
    /// What it was, where there is no picture of it.
    #[serde(skip)]
    pub without_picture: Option<&'static str>,
    /// Its feature, `[dimension]`, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<Vec<f32>>,
    /// Nearest first; those of one distance by object id, the query itself first.
    pub neighbours: Vec<Neighbour>,
    /// Seconds that the pass over the data took, for all queries that were answered with this one.
    pub seconds: f64,
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

    /// How many neighbours have no recorded path.
    pub fn without_path(&self) -> usize {
        let neighbours = self.neighbours.iter();
        neighbours
            .filter(|neighbour| neighbour.path.is_none())
            .count()
    }
}

/// The columns of [`Answer::write_rows`].
pub const COLUMNS: [&str; 4] = ["query", "object_id", "path", "distance"];

/// A line for each neighbour: its object id, a space, its distance. An id may hold spaces, a distance does not.
impl fmt::Display for Answer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for neighbour in &self.neighbours {
            let distance = Printed(neighbour.distance);
            writeln!(to, "{} {distance}", neighbour.object_id)?;
        }
        Ok(())
    }
}

/// An answer that is printed with paths: a line for each neighbour, its path below the media directory, a space, its
/// distance. Where no path is recorded, the object id stands in its place.
#[derive(Clone, Copy, Debug)]
pub struct WithPaths<'a>(pub &'a Answer);

impl fmt::Display for WithPaths<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for neighbour in &self.0.neighbours {
            let distance = Printed(neighbour.distance);
            let path = neighbour.path.as_ref().unwrap_or(&neighbour.object_id);
            writeln!(to, "{path} {distance}")?;
        }
        Ok(())
    }
}
