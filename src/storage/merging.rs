//! How far a merge of parts has come, by the names of two files in the directory that it merges into.
//!
//! Whoever lists the directory counts each row once at every moment. The merge begins with `.NNNN.merging.tmp`: the
//! shards from that number on do not count yet. With all of them in place it makes `.merged.tmp`: now they count, and
//! the parts in the directory do not any more. Then it removes the parts, and the two files in this order. In the first
//! file is which merge it is, in the second which parts are to go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::storage::failures::FailureReport;
use crate::storage::files::{complete, regular};
use crate::storage::model_dir::ModelDir;
use crate::storage::object_list::ListStamp;
use crate::storage::part;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{ShardFile, ShardFiles, ShardNumber};
use crate::storage::shard_changes::sync;
use crate::support::fault;

/// How far a merge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merging {
    /// The first new shard; none once the parts are gone.
    pub first: Option<ShardNumber>,
    /// Whether all new shards are in place, and the parts count no more.
    pub is_done: bool,
}

/// The name of the file that says that all new shards are in place.
pub const DONE: &str = ".merged.tmp";

/// The name of the file that says which is the first new shard.
pub fn begun(first: ShardNumber) -> String {
    format!(".{:04}.merging.tmp", first.0)
}

/// Reads that name.
pub fn parse_begun(file_name: &str) -> Option<ShardNumber> {
    let digits = file_name.strip_prefix('.')?.strip_suffix(".merging.tmp")?;
    let first = ShardNumber(digits.parse::<u32>().ok()?.into());
    (begun(first) == file_name).then_some(first)
}

/// Whether a file says how far a merge has come.
pub fn is_mark(file_name: &str) -> bool {
    file_name == DONE || parse_begun(file_name).is_some()
}

/// Which merge it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeOf {
    /// Into how many parts the list is divided.
    pub parts: u32,
    /// The list.
    pub list: ListStamp,
}

/// Says that the shards from `first` on do not count yet.
pub fn begin(directory: &ModelDir, first: ShardNumber, of: &MergeOf) -> Result<()> {
    let path = directory.path().join(begun(first));
    let of = serde_json::json!(of);
    complete::remove_leftover(&path)
        .and_then(|()| complete::create(&path, |file| writeln!(file, "{of}")))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Which merge has said so.
pub fn read_begun(directory: &ModelDir, first: ShardNumber) -> Result<MergeOf> {
    let path = directory.path().join(begun(first));
    let bytes =
        regular::read_own(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

/// Removes the shards from `first` on, which do not count yet, and what says so.
pub fn give_up(directory: &ModelDir, sums: &mut Sha256Sums, first: ShardNumber) -> Result<()> {
    let path = directory.path();
    let there = ShardFiles::list_with_merged(path)?;
    for number in there.finished.range(first..).map(|(number, _)| *number) {
        for file in ShardFile::ALL.into_iter().rev() {
            remove(&path.join(number.file_name(file)))?;
        }
        sums.forget(number)?;
    }
    sync(directory)?;
    remove(&path.join(begun(first)))
}

/// Says that they count, and that the parts in the directory do not any more. `parts` are the names of those that are
/// merged.
pub fn done(directory: &ModelDir, parts: &[String]) -> Result<()> {
    let path = directory.path().join(DONE);
    let names: String = parts.iter().flat_map(|name| [name, "\n"]).collect();
    complete::remove_leftover(&path)
        .and_then(|()| complete::create(&path, |file| file.write_all(names.as_bytes())))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the parts of a directory that are merged, and then what says so. Files in them that are not the program's
/// stay, with their directory.
pub fn finish(directory: &ModelDir) -> Result<()> {
    let path = directory.path();
    let done = path.join(DONE);
    let names =
        regular::read_own(&done).with_context(|| format!("cannot read {}", done.display()))?;
    let names = String::from_utf8_lossy(&names);
    let parts = names.lines().filter_map(part_dir::parse);
    let parts = parts.map(|part| part_dir::directory(path, part));
    // A link in the place of one would lead elsewhere.
    let parts = parts.filter(|part| part.symlink_metadata().is_ok_and(|it| it.is_dir()));
    let parts: Vec<PathBuf> = parts.collect();
    if !parts.is_empty() {
        // The next parts may be of another number.
        remove(&path.join(part::FILE_NAME))?;
    }
    for part in &parts {
        remove_part(part)?;
    }
    sync(directory)?;
    let merging = ShardFiles::list(path)?.merging;
    if let Some(first) = merging.and_then(|merging| merging.first) {
        remove(&path.join(begun(first)))?;
        sync(directory)?;
    }
    remove(&done)
}

/// Removes the files of a part's directory that this program makes, and the directory where it is empty then.
fn remove_part(directory: &Path) -> Result<()> {
    remove(&directory.join(part_dir::FILE_NAME))?;
    // In the order in which a shard is gone at once, as whoever goes on with a part sees it.
    for number in ShardFiles::list(directory)?.finished.keys() {
        for file in ShardFile::ALL.into_iter().rev() {
            remove(&directory.join(number.file_name(file)))?;
        }
    }
    let of_program = [
        Sha256Sums::FILE_NAME,
        FailureReport::FILE_NAME,
        Recipe::FILE_NAME,
        ModelDir::LOCK,
        ModelDir::INDEX,
    ];
    for name in of_program {
        remove(&directory.join(name))?;
    }
    // What was about to be written, and the leases of processes that have ended.
    let reading = || format!("cannot read {}", directory.display());
    for entry in fs::read_dir(directory).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_left_over = bytes.ends_with(b".tmp") || bytes.ends_with(b".lease");
        if bytes.starts_with(b".") && is_left_over {
            remove(&directory.join(&name))?;
        }
    }
    let removed = fault::step("remove the directory of a part", || {
        fs::remove_dir(directory)
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.with_context(|| format!("cannot sync {}", directory.display()))
        }
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound) => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fault::step("remove a file of a part", || fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
