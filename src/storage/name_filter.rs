//! Whether a name is among many.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use rayon::prelude::*;

/// The hashes of many names: 8 bytes each. They tell for certain that a name is not among them, or not twice; what they
/// take to be there is for the caller to look up.
pub struct NameFilter {
    hasher: RandomState,
    hashes: Vec<u64>,
    twice: HashSet<u64>,
}

impl NameFilter {
    /// Filters by these names.
    pub fn of<'a>(names: impl IndexedParallelIterator<Item = &'a [u8]>) -> Self {
        let hasher = RandomState::new();
        let hashes = names.map(|name| hasher.hash_one(name)).collect();
        Self::of_hashes(hasher, hashes)
    }

    /// The same for names that are read a list at a time; none of them is kept.
    pub fn of_all<E: Send>(
        lists: impl ParallelIterator<Item = Result<Vec<String>, E>>,
    ) -> Result<Self, E> {
        let hasher = RandomState::new();
        let hashes = lists.try_fold(Vec::new, |mut hashes, names| {
            let of_names = names?.into_iter();
            hashes.extend(of_names.map(|name| hasher.hash_one(name.as_bytes())));
            Ok(hashes)
        });
        let hashes: Vec<Vec<u64>> = hashes.collect::<Result<_, E>>()?;
        Ok(Self::of_hashes(hasher, hashes.concat()))
    }

    fn of_hashes(hasher: RandomState, mut hashes: Vec<u64>) -> Self {
        hashes.par_sort_unstable();
        let twice = hashes.windows(2).filter(|pair| pair[0] == pair[1]);
        let twice = twice.map(|pair| pair[0]).collect();
        NameFilter {
            hasher,
            hashes,
            twice,
        }
    }

    /// Whether a name may be among them.
    pub fn may_hold(&self, name: &[u8]) -> bool {
        let hash = self.hasher.hash_one(name);
        self.hashes.binary_search(&hash).is_ok()
    }

    /// Whether any name may be among them more than once.
    pub fn has_twins(&self) -> bool {
        !self.twice.is_empty()
    }

    /// Whether a name may be among them more than once. (Few are, if any.)
    pub fn may_hold_twice(&self, name: &[u8]) -> bool {
        !self.twice.is_empty() && self.twice.contains(&self.hasher.hash_one(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_there_are_found_and_those_that_are_there_twice() {
        let names: [&[u8]; 4] = [b"a.jpg", b"b.jpg", b"c.jpg", b"b.jpg"];
        let found = NameFilter::of(names.into_par_iter());
        for (name, once, twice) in [
            ("a.jpg", true, false),
            ("b.jpg", true, true),
            ("d.jpg", false, false),
        ] {
            let name = name.as_bytes();
            assert_eq!(found.may_hold(name), once, "{name:?}");
            assert_eq!(found.may_hold_twice(name), twice, "{name:?}");
        }
    }
}
