//! Objects that a `concat` packs while the run goes on.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Result;

use super::plan::Stale;
use crate::storage::object_id::ObjectId;
use crate::storage::shard::{self, ShardError, ShardFile, ShardNumber};
use crate::storage::sources::Source;

/// The objects in the shards of a model's directory that are new since a run was planned.
pub struct Packed<'a> {
    directory: &'a Path,
    /// The number that the next new shard has: `concat` counts on from the highest.
    next: ShardNumber,
    ids: HashSet<Box<str>>,
    /// Objects whose rows are of files that are others now: `concat` may put such a row in a new shard as it is.
    stale: &'a HashMap<String, Stale>,
}

impl<'a> Packed<'a> {
    /// `next` is the number after that of the last shard that the plan has seen.
    pub fn new(directory: &'a Path, next: ShardNumber, stale: &'a HashMap<String, Stale>) -> Self {
        Packed {
            directory,
            next,
            ids: HashSet::new(),
            stale,
        }
    }

    /// Whether an object whose own file is not there is in a new shard. The directory was opened anew for that file, so
    /// that shards of other machines are seen.
    pub fn holds(&mut self, id: &ObjectId) -> Result<bool> {
        // The ids are the part of a shard that is put in place last, and before any of its objects' own files go.
        let ids = |number: ShardNumber| self.directory.join(number.file_name(ShardFile::ObjectIds));
        while ids(self.next).exists() {
            match self.read(self.next) {
                // `concat` has replaced it just now.
                Err(error) if shard::is_gone(&error) => {}
                read => read?,
            }
            self.next = self.next.next();
        }
        Ok(self.ids.contains(id.as_str()))
    }

    fn read(&mut self, number: ShardNumber) -> Result<(), ShardError> {
        let ids = shard::object_ids(self.directory, number)?;
        let sources = match ids.iter().any(|id| self.stale.contains_key(id)) {
            true => shard::sources(self.directory, number, ids.len())?,
            false => vec![None; ids.len()],
        };
        let is_new = |(id, source): &(String, Option<Source>)| {
            let stale = self.stale.get(id);
            stale.is_none_or(|stale| stale.row != *source)
        };
        let new = ids.into_iter().zip(sources).filter(is_new);
        (self.ids).extend(new.map(|(id, _)| id.into_boxed_str()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::object_id::IdKind;
    use crate::storage::shard::{ShardWriter, put_in_place};

    fn pack(directory: &Path, number: ShardNumber, id: &str) {
        let mut shard = ShardWriter::create(directory, number, 1).unwrap();
        shard.push(&[0; 4]).unwrap();
        shard.finish([id].into_iter(), &[None]).unwrap();
        for file in ShardFile::PAIR {
            put_in_place(directory, number, file).unwrap();
        }
    }

    #[test]
    fn shards_that_appear_meanwhile_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let ids = ["first.jpg", "second.jpg", "third.jpg"]
            .map(|id| ObjectId::new(IdKind::Name, id).unwrap());
        pack(path, ShardNumber::FIRST, "first.jpg");
        let stale = HashMap::new();
        let mut packed = Packed::new(path, ShardNumber::FIRST.next(), &stale);
        assert!(!packed.holds(&ids[0]).unwrap(), "the plan has seen that");
        assert!(!packed.holds(&ids[1]).unwrap());
        pack(path, ShardNumber(1), "second.jpg");
        pack(path, ShardNumber(2), "third.jpg");
        assert!(packed.holds(&ids[2]).unwrap());
        assert!(packed.holds(&ids[1]).unwrap());
    }
}
