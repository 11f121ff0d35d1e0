//! How shards get into a directory, change there and leave it, each in one durable step; and what a killed process has
//! left of that is finished or removed.
//!
//! A shard that changes is written anew under the next number, and a marker `.NNNN.replaces.MMMM.tmp` says which one it
//! replaces. The moment in which the new one is complete is the one in which the old one is gone: whoever lists the
//! directory then leaves it out ([`ShardFiles::list`]). Only one process at a time changes shards: it holds the lock of
//! [`ModelDir::lock_packing`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::storage::checksum;
use crate::storage::files::regular;
use crate::storage::merging::{self, Merging};
use crate::storage::model_dir::{ModelDir, PackingLock};
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, FeatureRows, ShardFile, ShardFiles, ShardNumber, ShardWriter};
use crate::storage::sources::{RecordedSources, Source, feature_sum};
use crate::support::fault;

/// Brings a directory in order in which a process was killed that changed shards; returns the checksums that it has
/// then.
///
/// # Errors
/// Among others, when parts were being merged there: only a merge can go on from there.
pub fn finish_what_was_killed(directory: &ModelDir) -> Result<Sha256Sums> {
    let path = directory.path();
    let files = ShardFiles::list(path)?;
    match files.merging {
        Some(Merging { is_done: true, .. }) => merging::finish(directory)?,
        Some(Merging { is_done: false, .. }) => bail!(
            "parts were being merged in {}, and that was interrupted; the same `simsearch concat --merge` goes on from there",
            path.display()
        ),
        None => {}
    }
    finish_files(directory, &files)
}

/// The same for a merge that was killed, and goes on.
pub fn finish_what_a_merge_left(directory: &ModelDir) -> Result<Sha256Sums> {
    finish_files(directory, &ShardFiles::list_with_merged(directory.path())?)
}

fn finish_files(directory: &ModelDir, files: &ShardFiles) -> Result<Sha256Sums> {
    let path = directory.path();
    let mut sums = Sha256Sums::read(path)?;
    sums.forget_unfinished(files)?;
    for (&number, &[features, object_ids, sources]) in &files.temporary {
        let finished = files.finished.get(&number).copied().unwrap_or_default();
        if object_ids && matches!(finished, [true, false, _]) {
            // All were durable before the first rename, so that they need only their names.
            let temporary = path.join(number.temporary_name(ShardFile::ObjectIds));
            let features_path = path.join(number.file_name(ShardFile::Features));
            let ids = shard::read_object_ids(&temporary).with_context(|| {
                format!(
                    "{} has lost its object ids; the per-object files of its rows are still there, so move it away and \
                     run the same command again",
                    features_path.display()
                )
            })?;
            let (rows, _, _) = shard::features_shape(&features_path)?;
            ensure!(
                ids.len() == rows,
                "{} has {} rows, {} has {rows}: they do not belong together; move both away",
                temporary.display(),
                ids.len(),
                features_path.display()
            );
            if sources {
                put_in_place(directory, number, ShardFile::Sources)?;
            }
            put_in_place(directory, number, ShardFile::ObjectIds)?;
        } else {
            if sources {
                finish_sources(directory, &sums, number, finished)?;
            }
            if object_ids {
                if matches!(finished, [false, false, true]) {
                    // The last of a shard that was being removed.
                    remove(directory, number, ShardFile::Sources)?;
                }
                remove_temporary(directory, number, ShardFile::ObjectIds)?;
            }
        }
        if features {
            remove_temporary(directory, number, ShardFile::Features)?;
        }
    }
    // What it put in place may not be durable yet, and what that replaces is removed next.
    sync(directory)?;
    if !files.replacements.is_empty() {
        // One that is complete by now hides the shard that it replaces.
        let files = ShardFiles::list(path)?;
        for (&old, &new) in &files.replacements {
            match files.is_complete(new) {
                true => {
                    check_sums(directory, &sums, new)?;
                    remove_replaced(directory, &mut sums, old, new)?;
                }
                false => remove_marker(directory, old, new)?,
            }
        }
    }
    Ok(sums)
}

/// Fails where a file of a shard is not the one whose checksum is recorded.
fn check_sums(directory: &ModelDir, sums: &Sha256Sums, number: ShardNumber) -> Result<()> {
    for file in ShardFile::PAIR {
        let name = number.file_name(file);
        let path = directory.path().join(&name);
        let sum = checksum::of_file(&path);
        let sum = sum.with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            sums.sum(&name) == Some(&sum),
            "{} has another checksum than {} says, so that the shard which it replaces stays; look with `simsearch verify`",
            path.display(),
            Sha256Sums::FILE_NAME
        );
    }
    Ok(())
}

/// Puts new sources of a shard that is there in place, where their checksum is recorded: then they are whole. Removes
/// them otherwise.
fn finish_sources(
    directory: &ModelDir,
    sums: &Sha256Sums,
    number: ShardNumber,
    finished: [bool; 3],
) -> Result<()> {
    let file = ShardFile::Sources;
    let path = directory.path().join(number.temporary_name(file));
    if matches!(finished, [true, true, _]) {
        let sum = checksum::of_file(&path);
        let sum = sum.with_context(|| format!("cannot read {}", path.display()))?;
        if sums.sum(&number.file_name(file)) == Some(&sum) {
            return put_in_place(directory, number, file);
        }
    }
    remove_temporary(directory, number, file)
}

/// Gives a temporary file of a shard its final name, and makes that durable.
pub fn put_in_place(directory: &ModelDir, number: ShardNumber, file: ShardFile) -> Result<()> {
    let path = directory.path();
    shard::put_in_place(path, number, file)
        .and_then(|()| directory.sync())
        .with_context(|| {
            let path = path.join(number.file_name(file));
            format!("cannot put {} in place", path.display())
        })
}

/// Removes a temporary file of a shard.
pub fn remove_temporary(directory: &ModelDir, number: ShardNumber, file: ShardFile) -> Result<()> {
    let path = directory.path().join(number.temporary_name(file));
    fault::step("remove a temporary file", || fs::remove_file(&path))
        .with_context(|| format!("cannot remove {}", path.display()))
}

/// A shard under its temporary names, whole and durable, with the checksums of its files.
pub struct NewShard {
    number: ShardNumber,
    files: Vec<(ShardFile, String)>,
}

/// Makes a shard durable whose rows are all written. `ids` are those of the rows, `sources` say what they were made
/// from.
pub fn write<'i>(
    writer: ShardWriter,
    ids: impl ExactSizeIterator<Item = &'i str> + Clone,
    sources: &[Option<&Source>],
) -> Result<NewShard> {
    let number = writer.number();
    let files = writer.finish(ids, sources)?;
    Ok(NewShard { number, files })
}

/// Puts a new shard in place, and reads it back. `ids` are those of its rows, and `row_sums` their checksums.
pub fn add<'i>(
    directory: &ModelDir,
    packing: &PackingLock,
    sums: &mut Sha256Sums,
    new: NewShard,
    ids: impl Iterator<Item = &'i str>,
    row_sums: &[u32],
) -> Result<()> {
    let NewShard { number, files } = new;
    packing.check()?;
    // This makes the temporary files' names durable as well.
    sums.record(number, &files)?;
    let of_all = ShardFile::ALL.into_iter();
    of_all
        .filter(|file| files.iter().any(|(written, _)| written == file))
        .try_for_each(|file| put_in_place(directory, number, file))?;
    fault::overwritten(&directory.path().join(number.file_name(ShardFile::Features)))?;
    shard::read_back(directory.path(), number, ids, row_sums)?;
    Ok(packing.check()?)
}

/// What changes in a shard that is there.
#[derive(Debug)]
pub struct Change {
    /// Rows that leave it.
    pub leaving: BTreeSet<usize>,
    /// The files that all its rows were made from.
    pub sources: Vec<Option<Source>>,
}

/// Changes a shard in one durable step. Where no row leaves it, it gets new sources; otherwise the rows that stay get
/// the number `next`, and the shard goes, without being replaced where none stays. Returns whether `next` is taken.
///
/// # Errors
/// Also when another process has taken over: see [`PackingLock::check`].
pub fn change(
    directory: &ModelDir,
    packing: &PackingLock,
    sums: &mut Sha256Sums,
    number: ShardNumber,
    next: ShardNumber,
    change: &Change,
) -> Result<bool> {
    packing.check()?;
    let Change { leaving, sources } = change;
    let path = directory.path();
    let changing = || {
        let path = path.join(number.file_name(ShardFile::Features));
        format!("cannot change the shard of {}", path.display())
    };
    if leaving.is_empty() {
        let sources: Vec<_> = sources.iter().map(Option::as_ref).collect();
        let sum = shard::write_sources(path, number, &sources).with_context(changing)?;
        // This makes the name of the temporary file durable as well.
        sums.record(number, &[(ShardFile::Sources, sum)])?;
        put_in_place(directory, number, ShardFile::Sources)?;
        return Ok(false);
    }
    let ids = shard::object_ids(path, number)?;
    if leaving.len() == ids.len() {
        remove_shard(directory, sums, number)?;
        return Ok(false);
    }
    let Written {
        files: of_shard,
        rows,
    } = write_staying(path, number, next, &ids, change).with_context(changing)?;
    let marker = path.join(number.replacement_marker(next));
    fault::step("say which shard is replaced", || File::create_new(&marker))
        .with_context(changing)?;
    // This makes the names of the temporary files durable as well, and of the marker.
    sums.record(next, &of_shard)?;
    for file in ShardFile::ALL {
        if of_shard.iter().any(|(written, _)| *written == file) {
            put_in_place(directory, next, file)?;
        }
    }
    let staying = ids.iter().enumerate();
    let staying = staying.filter(|(row, _)| !leaving.contains(row));
    let staying = staying.map(|(_, id)| id.as_str());
    shard::read_back(path, next, staying, &rows)?;
    remove_replaced(directory, sums, number, next)?;
    Ok(true)
}

/// The sources of a shard as they are now, where the record knows of a row that it has another one than the shard says.
pub fn new_sources(
    directory: &Path,
    number: ShardNumber,
    ids: &[String],
    recorded: &RecordedSources,
) -> Result<Option<Vec<Option<Source>>>> {
    let rows = ids.iter().enumerate();
    let mut rows = rows.filter(|(_, id)| recorded.names(id)).peekable();
    if rows.peek().is_none() {
        return Ok(None);
    }
    let mut sources = shard::sources(directory, number, ids.len())?;
    let features = FeatureRows::open(directory, number)?;
    let mut is_new = false;
    for (row, id) in rows {
        let source = recorded.find(id, feature_sum(&features.read(row)?));
        if source.is_some() && sources[row].as_ref() != source {
            sources[row] = source.cloned();
            is_new = true;
        }
    }
    Ok(is_new.then_some(sources))
}

/// The checksums of a shard that was written.
struct Written {
    files: Vec<(ShardFile, String)>,
    rows: Vec<u32>,
}

/// Writes the rows that stay under the temporary names of a new shard.
fn write_staying(
    path: &Path,
    number: ShardNumber,
    next: ShardNumber,
    ids: &[String],
    change: &Change,
) -> Result<Written> {
    let features_path = path.join(number.file_name(ShardFile::Features));
    let (_, dimension, offset) = shard::features_shape(&features_path)?;
    let mut features = BufReader::with_capacity(1 << 18, regular::open(&features_path)?);
    features.seek(SeekFrom::Start(offset as u64))?;
    let mut writer = ShardWriter::create(path, next, dimension)?;
    let mut feature = vec![0; dimension * 4];
    let (mut staying, mut rows) = (Vec::new(), Vec::new());
    for row in 0..ids.len() {
        features.read_exact(&mut feature)?;
        if !change.leaving.contains(&row) {
            writer.push(&feature)?;
            staying.push(row);
            rows.push(feature_sum(&feature));
        }
    }
    let sources: Vec<_> = (staying.iter())
        .map(|row| change.sources[*row].as_ref())
        .collect();
    let ids = staying.iter().map(|row| ids[*row].as_str());
    let files = writer.finish(ids, &sources)?;
    Ok(Written { files, rows })
}

/// Removes a shard that another one replaces, which is in place.
fn remove_replaced(
    directory: &ModelDir,
    sums: &mut Sha256Sums,
    old: ShardNumber,
    new: ShardNumber,
) -> Result<()> {
    for file in ShardFile::ALL {
        remove(directory, old, file)?;
    }
    // Before the marker goes, which hides them.
    sync(directory)?;
    sums.forget(old)?;
    remove_marker(directory, old, new)
}

fn remove_marker(directory: &ModelDir, old: ShardNumber, new: ShardNumber) -> Result<()> {
    let path = directory.path().join(old.replacement_marker(new));
    fault::step("remove a marker", || fs::remove_file(&path))
        .with_context(|| format!("cannot remove {}", path.display()))
}

/// Removes a shard. It is gone once its object ids have their temporary name: then it is one that was never put in
/// place. Killed after that, the next call puts it back, and whoever removes it does so again.
pub fn remove_shard(
    directory: &ModelDir,
    sums: &mut Sha256Sums,
    number: ShardNumber,
) -> Result<()> {
    let path = directory.path();
    let [from, to] = [
        number.file_name(ShardFile::ObjectIds),
        number.temporary_name(ShardFile::ObjectIds),
    ]
    .map(|name| path.join(name));
    fault::step("hide a shard", || fs::rename(&from, &to))
        .with_context(|| format!("cannot rename {}", from.display()))?;
    sync(directory)?;
    remove(directory, number, ShardFile::Features)?;
    remove(directory, number, ShardFile::Sources)?;
    sync(directory)?;
    sums.forget(number)?;
    remove_temporary(directory, number, ShardFile::ObjectIds)
}

/// Removes a file of a shard, where it is there.
fn remove(directory: &ModelDir, number: ShardNumber, file: ShardFile) -> Result<()> {
    let path = directory.path().join(number.file_name(file));
    match fault::step("remove a file of a shard", || fs::remove_file(&path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub fn sync(directory: &ModelDir) -> Result<()> {
    (directory.sync()).with_context(|| format!("cannot sync {}", directory.path().display()))
}
