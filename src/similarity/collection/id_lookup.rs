//! From an object id to its row, without reading every id.

use std::hash::{DefaultHasher, Hash, Hasher};

use rayon::prelude::*;

use super::{Collection, Position};

/// Hashes of the object ids of a collection, in order. Takes 16 bytes an object, and one or two ids are compared for a
/// look-up.
#[derive(Debug, Default)]
pub struct IdLookup {
    rows: Vec<(u64, Position)>,
}

impl IdLookup {
    /// Reads all ids once. (1,000,000 in 0.2 s on two cores.)
    pub fn of(collection: &Collection) -> Self {
        let mut rows: Vec<(u64, Position)> = (collection.parts().par_iter().enumerate())
            .flat_map_iter(|(part, ids)| {
                (0..ids.rows()).map(move |row| {
                    let position = Position {
                        part: part as u32,
                        row: row as u32,
                    };
                    (hash(&ids.id(row)), position)
                })
            })
            .collect();
        rows.par_sort_unstable();
        IdLookup { rows }
    }

    /// Where the feature of an object is in the collection that this was made of; of several, the first.
    pub fn find(&self, collection: &Collection, id: &str) -> Option<Position> {
        let mut rows = self.rows(collection, id);
        rows.find(|position| !collection.is_hidden(*position))
    }

    /// Where a feature of an object is that takes part in nothing; of several, the last.
    pub fn find_hidden(&self, collection: &Collection, id: &str) -> Option<Position> {
        let rows = self.rows(collection, id);
        rows.filter(|position| collection.is_hidden(*position))
            .last()
    }

    fn rows(&self, collection: &Collection, id: &str) -> impl Iterator<Item = Position> {
        let hash = hash(id);
        let first = self.rows.partition_point(|(other, _)| *other < hash);
        (self.rows[first..].iter())
            .take_while(move |(other, _)| *other == hash)
            .map(|(_, position)| *position)
            .filter(move |position| collection.id(*position) == id)
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
