//! The names in a directory of shards, and those in its SHA256SUMS.

use std::fs;

use anyhow::{Context, Result};

use super::Report;
use super::report::{Finding, compare};
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{Listing, ShardError, ShardFile, ShardNumber};
use crate::storage::{checksum, merging, part_dir};

impl Report {
    /// Names halves of pairs, and what killed runs have left.
    pub(super) fn check_names(&mut self, listing: &Listing) -> Result<()> {
        let Listing {
            directory: path,
            files,
        } = listing;
        for half in files.half_pairs(path) {
            if let ShardError::Half { found, .. } = &half {
                let (file, message) = (found.clone(), half.to_string());
                self.problems.push(Finding { file, message });
            }
        }
        let reading = || format!("cannot read {}", path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(path).with_context(reading)? {
            names.push(entry.with_context(reading)?.file_name());
        }
        names.sort();
        for name in names {
            let bytes = name.as_encoded_bytes();
            let of_merge = name.to_str().is_some_and(merging::is_mark);
            if of_merge {
                let what = "a merge of parts was interrupted; the same `simsearch concat --merge` goes on from there";
                self.notes.push(Finding::new(&path.join(&name), what));
            } else if bytes.starts_with(b"part-")
                && path.join(&name).is_dir()
                && name
                    .to_str()
                    .is_none_or(|name| part_dir::parse(name).is_none())
            {
                let what = "is not read: a part's directory has a name such as part-00003-of-00064";
                self.notes.push(Finding::new(&path.join(&name), what));
            } else if bytes.starts_with(b".") && bytes.ends_with(b".tmp") {
                let what = "is temporary: an `extract` is running, or a run was killed and the next one will finish or \
                            remove it";
                self.notes.push(Finding::new(&path.join(&name), what));
            }
        }
        Ok(())
    }

    /// Compares the names in SHA256SUMS with those in the directory, and the recipe with its checksum.
    pub(super) fn check_sums(&mut self, sums: &Sha256Sums, listing: &Listing) -> Result<()> {
        let Listing {
            directory: path,
            files,
        } = listing;
        let sums_path = path.join(Sha256Sums::FILE_NAME);
        self.checksums += sums.file_names().count();
        if sums.is_empty() && files.complete_pairs().next().is_some() {
            let what = "there are no checksums, so damage to the shards would go unnoticed; `simsearch concat` \
                        records them";
            self.problem(&sums_path, what);
        }
        for name in sums.file_names() {
            let is_known = match ShardNumber::parse(name) {
                // What has its temporary name yet will be put in place.
                Some((number, file)) => {
                    let finished = files.finished.get(&number);
                    files.is_being_merged(number)
                        || files.temporary.contains_key(&number)
                        || files.replacements.contains_key(&number)
                        || finished.is_some_and(|there| match file {
                            ShardFile::Sources => there[file as usize],
                            // A single half is a problem already.
                            _ => true,
                        })
                }
                None => path.join(name).exists(),
            };
            if !is_known {
                let what = "is missing but has a line in SHA256SUMS; put it back, or remove the line if the file was \
                            removed on purpose";
                self.problem(&path.join(name), what);
            }
        }
        let recipe = path.join(Recipe::FILE_NAME);
        // A recipe without a line is one that `extract` has recorded since.
        if sums.sum(Recipe::FILE_NAME).is_some() && recipe.exists() {
            let sum = checksum::of_file(&recipe)
                .with_context(|| format!("cannot read {}", recipe.display()))?;
            let hint = "put back a copy of it; it must say what made these features";
            self.problems
                .extend(compare(Some(sums), &recipe, &sum, hint));
        }
        Ok(())
    }
}
