//! Command: packs per-object files into shard pairs.
//!
//! Each shard is written under temporary names and made durable; then its checksums are recorded in the manifest; then
//! its features and its object ids get their final names, in this order; then the per-object files go. Killed at any
//! instant, the next call knows from the names alone how far it came: only temporary files, and the shard is written
//! again; features in place and ids still temporary, and the rename is made good; both in place, and the per-object
//! files of its ids are removed.
//!
//! The manifest is written first so that a file in place has its checksum at every instant, and the right one: that of
//! a file of the same name that was there before is replaced before the file is. Lines that a killed call has written
//! for files that still have their temporary names are dropped before these files are removed. A file that stands
//! there without a line, made by another program, gets one.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use indexmap::IndexMap;
use rayon::prelude::*;

use crate::storage::model_dir::{ModelDir, NestedFile, Packing};
use crate::storage::name_hashes::NameHashes;
use crate::storage::npy;
use crate::storage::recipe::Recipe;
use crate::storage::sha256sums::Manifest;
use crate::storage::shard::{self, Part, ShardFiles, ShardNumber, ShardWriter};
use crate::support::fault;
use crate::support::hints::concerns_the_run;
use crate::support::lock::lock;
use crate::support::progress::Progress;

/// How many per-object files are read ahead, by all threads, while a shard is written.
const READ_AHEAD: usize = 256;

/// How many of them a thread reads at least before it looks for more to do.
const FILES_A_JOB: usize = 8;

/// Threads that list, read and remove per-object files. They wait for the disk or the network more than they compute:
/// where removing a file means waiting until the disk has discarded its blocks, 100,381 features take 3.6 s with 16
/// threads, and 11 s with two.
const THREADS: usize = 16;

/// What to pack, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's directory, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Rows of a full shard. Default: 10,000.
    pub rows: usize,
    /// Whether to leave what does not fill a shard unpacked. Default: no.
    pub full_only: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Shards written.
    pub shards: usize,
    /// Rows in them.
    pub rows: usize,
    /// Per-object files that were left for a full shard.
    pub left: usize,
    /// Per-object files that were removed because their row stands in a shard already.
    pub already_packed: usize,
    /// Per-object files that cannot be packed; they were named on stderr, and are where they were.
    pub refused: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// It packed what there was.
    Packed(Summary),
    /// Another process is packing the same directory; the text names it.
    HeldBy(String),
}

/// Packs all per-object files of a model's directory.
pub fn concat(options: &Options, progress: &Progress) -> Result<Ended> {
    ensure!(options.rows > 0, "a shard needs at least one row");
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build()
        .with_context(|| format!("cannot start {THREADS} threads"))?;
    pool.install(|| pack_all(options, progress))
}

fn pack_all(options: &Options, progress: &Progress) -> Result<Ended> {
    let started = Instant::now();
    let path = &options.directory;
    let directory = ModelDir::open(path).with_context(|| {
        format!(
            "cannot open {}; `simsearch extract` makes it",
            path.display()
        )
    })?;
    let _lock = match directory
        .lock_packing()
        .with_context(|| format!("cannot lock {}", path.display()))?
    {
        Packing::Locked(lock) => lock,
        Packing::HeldBy(holder) => return Ok(Ended::HeldBy(holder)),
    };
    let mut manifest = finish_what_was_killed(&directory)?;
    let pairs = ShardFiles::list(path)?.pairs(path)?;
    manifest.add_missing(&pairs)?;

    let nested = directory
        .nested_files()
        .with_context(|| format!("cannot list {}", path.display()))?;
    let mut run = Run {
        directory: &directory,
        manifest,
        progress,
        summary: Summary::default(),
    };
    for file in &nested.misnamed {
        run.refuse(file, &anyhow!("its name is not one line of UTF-8 text"));
    }
    directory
        .remove_leftovers()
        .with_context(|| format!("cannot tidy {}", path.display()))?;
    let files = run.leave_out_packed(nested.files().collect(), &pairs)?;
    if !files.is_empty() {
        let length = dimension(&directory, &pairs, &files)?;
        let first = pairs.last().map_or(ShardNumber::FIRST, |last| last.next());
        let unpacked = Unpacked {
            directory: &directory,
            progress,
            files: &files,
            number: first,
            rows: options.rows,
            length,
            refused: 0,
        };
        let packed = run.pack(unpacked, options.full_only);
        if packed.is_err() {
            // What a full disk cut short would keep it full; the next call would remove it all the same.
            let _ = finish_what_was_killed(&directory);
        }
        packed?;
    }
    // A killed run may have left some.
    for nested in &nested.empty {
        directory
            .remove_if_empty(nested)
            .context("cannot remove an empty directory")?;
    }
    run.summary.seconds = started.elapsed().as_secs_f64();
    Ok(Ended::Packed(run.summary))
}

/// Brings a directory in order in which a `concat` was killed; returns the checksums that it has then.
fn finish_what_was_killed(directory: &ModelDir) -> Result<Manifest> {
    let path = directory.path();
    let files = ShardFiles::list(path)?;
    let mut manifest = Manifest::read(path)?;
    manifest.forget_unfinished(&files)?;
    for (&number, &[features, object_ids]) in &files.temporary {
        let finished = files.finished.get(&number).copied().unwrap_or_default();
        if object_ids && finished == [true, false] {
            // Both were durable before the first rename, so that the ids need only their name.
            let temporary = path.join(number.temporary_name(Part::ObjectIds));
            let features_path = path.join(number.file_name(Part::Features));
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
            put_in_place(directory, number, Part::ObjectIds)?;
        } else if object_ids {
            remove(&path.join(number.temporary_name(Part::ObjectIds)))?;
        }
        if features {
            remove(&path.join(number.temporary_name(Part::Features)))?;
        }
    }
    // What it put in place may not be durable yet, and what that replaces is removed next.
    directory
        .sync()
        .with_context(|| format!("cannot sync {}", path.display()))?;
    Ok(manifest)
}

fn remove(path: &Path) -> Result<()> {
    fault::step("remove a temporary file", || fs::remove_file(path))
        .with_context(|| format!("cannot remove {}", path.display()))
}

fn put_in_place(directory: &ModelDir, number: ShardNumber, part: Part) -> Result<()> {
    let path = directory.path();
    shard::put_in_place(path, number, part)
        .and_then(|()| directory.sync())
        .with_context(|| {
            format!(
                "cannot put {} in place",
                path.join(number.file_name(part)).display()
            )
        })
}

/// How many files, evenly over all, are asked for the length of their features where nothing else tells.
const VOTERS: usize = 1000;

/// The length that all features of this directory have: as recorded by `extract`, or that of the shards, or else that
/// of most per-object files.
fn dimension(
    directory: &ModelDir,
    pairs: &[ShardNumber],
    files: &[NestedFile<'_>],
) -> Result<Option<usize>> {
    let path = directory.path();
    if let Some(last) = pairs.last() {
        let (_, length, _) = shard::features_shape(&path.join(last.file_name(Part::Features)))?;
        return Ok(Some(length));
    }
    // A damaged one is for `extract` to refuse; here the files tell as well.
    if let Ok(Some(recipe)) = Recipe::read(path) {
        return Ok(Some(recipe.dimension));
    }
    let step = files.len().div_ceil(VOTERS).max(1);
    let voters: Vec<NestedFile<'_>> = files.iter().copied().step_by(step).collect();
    let size =
        |file: &NestedFile<'_>| fs::symlink_metadata(path.join(file.path())).map(|it| it.len());
    let sizes: Vec<Option<u64>> = voters.par_iter().map(|file| size(file).ok()).collect();
    // By how many files have them; the first in order among equals, so that every run decides alike.
    let mut counts: IndexMap<u64, usize> = IndexMap::new();
    for size in sizes.iter().flatten() {
        *counts.entry(*size).or_default() += 1;
    }
    counts.sort_by(|_, one, _, other| other.cmp(one));
    // Torn files may be the most.
    let length_of = |common: u64| {
        let mut candidates = voters
            .iter()
            .zip(&sizes)
            .filter(|(_, size)| **size == Some(common));
        candidates.find_map(|(file, _)| {
            let bytes = directory.read(*file).ok()?;
            npy::feature_data(&bytes).ok().map(|data| data.len() / 4)
        })
    };
    Ok(counts.into_keys().find_map(length_of))
}

/// Names a file that stays where it is.
fn refuse(directory: &ModelDir, progress: &Progress, file: &Path, reason: &anyhow::Error) {
    let path = directory.path().join(file);
    progress.warn(&format!("left unpacked: {}: {reason:#}", path.display()));
}

struct Run<'a> {
    directory: &'a ModelDir,
    manifest: Manifest,
    progress: &'a Progress,
    summary: Summary,
}

impl Run<'_> {
    /// Names a file that stays where it is.
    fn refuse(&mut self, file: &Path, reason: &anyhow::Error) {
        self.summary.refused += 1;
        refuse(self.directory, self.progress, file, reason);
    }

    /// Drops the files whose ids stand in shards: removes those that say the same as their row, refuses the others.
    /// Refuses all but the first of several files with one id.
    fn leave_out_packed<'f>(
        &mut self,
        mut files: Vec<NestedFile<'f>>,
        pairs: &[ShardNumber],
    ) -> Result<Vec<NestedFile<'f>>> {
        let path = self.directory.path();
        let names = NameHashes::of(files.par_iter().map(|file| file.object_id().as_bytes()));
        let mut packed: HashMap<String, (ShardNumber, usize)> = HashMap::new();
        if !files.is_empty() {
            for &number in pairs {
                for (row, id) in shard::object_ids(path, number)?.into_iter().enumerate() {
                    if names.may_hold(id.as_bytes()) {
                        packed.insert(id, (number, row));
                    }
                }
            }
        }
        let mut seen = HashSet::new();
        let mut left = 0;
        for index in 0..files.len() {
            let file = files[index];
            let id = file.object_id();
            let is_first = !names.may_hold_twice(id.as_bytes()) || seen.insert(id);
            if let Some(&(number, row)) = packed.get(id) {
                if same_as_row(self.directory, file, number, row)? {
                    (self.directory.remove_features(&[file]))
                        .context("cannot remove what is packed")?;
                    self.summary.already_packed += 1;
                } else {
                    let shard = number.file_name(Part::Features);
                    self.refuse(
                        file.path(),
                        &anyhow!("row {row} of {shard} says something else for its id"),
                    );
                }
            } else if id.is_empty() {
                self.refuse(file.path(), &anyhow!("its name holds no object id"));
            } else if !is_first {
                self.refuse(file.path(), &anyhow!("another file has the same object id"));
            } else {
                files[left] = file;
                left += 1;
            }
        }
        files.truncate(left);
        Ok(files)
    }

    /// Writes shards until the files are used up. While the files of one are read, the one before is made durable, and the
    /// files of those before that are removed.
    fn pack<'f>(&mut self, mut unpacked: Unpacked<'_, 'f>, full_only: bool) -> Result<()> {
        let directory = self.directory;
        let removed = Mutex::new(Ok(()));
        let mut buffers = vec![Vec::new(); READ_AHEAD];
        let packed = rayon::in_place_scope(|scope| {
            let mut written: Option<Written<'f>> = None;
            loop {
                // This thread makes all shards: the allocator keeps what a thread has given back for that thread alone.
                let (next, committed) = rayon::join(
                    || {
                        let next = unpacked.write_shard(&mut buffers);
                        if next.is_err() {
                            // Where the disk is full, the shard before may need this room to be finished.
                            let temporary = unpacked.number.temporary_name(Part::Features);
                            let _ = remove(&directory.path().join(temporary));
                        }
                        next
                    },
                    || written.map(|shard| self.commit(shard)).transpose(),
                );
                if let Some(files) = committed? {
                    let removed = &removed;
                    scope.spawn(move |_| {
                        if let Err(error) = directory.remove_features(&files) {
                            *lock(removed) = Err(error);
                        }
                    });
                }
                written = next?;
                let Some(shard) = &written else { return Ok(()) };
                if full_only && shard.files.len() < unpacked.rows {
                    self.summary.left = shard.files.len();
                    let temporary = shard.number.temporary_name(Part::Features);
                    return remove(&directory.path().join(temporary));
                }
            }
        });
        self.summary.refused += unpacked.refused;
        packed?;
        let removed = removed.into_inner().unwrap_or_else(PoisonError::into_inner);
        removed.context("cannot remove what is packed")
    }

    /// Makes a shard durable and visible; returns the files that are packed in it.
    fn commit<'f>(&mut self, shard: Written<'f>) -> Result<Vec<NestedFile<'f>>> {
        let Written {
            number,
            writer,
            files,
        } = shard;
        let commit = || {
            let sums = writer.finish(files.iter().map(NestedFile::object_id))?;
            // This makes the temporary files' names durable as well.
            self.manifest.record(number, sums)?;
            Part::ALL
                .into_iter()
                .try_for_each(|part| put_in_place(self.directory, number, part))
        };
        commit().with_context(|| cannot_write(self.directory, number))?;
        self.summary.shards += 1;
        self.summary.rows += files.len();
        Ok(files)
    }
}

fn cannot_write(directory: &ModelDir, number: ShardNumber) -> String {
    let path = directory.path().display();
    format!("cannot write shard {:04} in {path}", number.0)
}

/// The per-object files that stand in no shard yet, and what becomes of them.
struct Unpacked<'a, 'f> {
    directory: &'a ModelDir,
    progress: &'a Progress,
    files: &'a [NestedFile<'f>],
    /// The number of the next shard.
    number: ShardNumber,
    /// Rows of a full one.
    rows: usize,
    /// Numbers in a feature; where nothing tells it, the first one does.
    length: Option<usize>,
    /// Files that were named and left.
    refused: usize,
}

/// A shard under its temporary name, and the files of its rows.
struct Written<'f> {
    number: ShardNumber,
    writer: ShardWriter,
    files: Vec<NestedFile<'f>>,
}

impl<'f> Unpacked<'_, 'f> {
    /// Writes the next shard, full unless the files are used up before; `None` when there are none. Reads as many files
    /// ahead as there are buffers.
    fn write_shard(&mut self, buffers: &mut [Vec<u8>]) -> Result<Option<Written<'f>>> {
        let mut shard: Option<Written<'f>> = None;
        loop {
            let left = self.rows - shard.as_ref().map_or(0, |shard| shard.files.len());
            let count = left.min(buffers.len()).min(self.files.len());
            if count == 0 {
                self.number = self.number.next();
                return Ok(shard);
            }
            let (ahead, behind) = self.files.split_at(count);
            self.files = behind;
            let read: Vec<Result<&[u8]>> = (ahead.par_iter().zip(&mut *buffers))
                .with_min_len(FILES_A_JOB)
                .map(|(file, buffer)| read_feature(self.directory, *file, self.length, buffer))
                .collect();
            for (file, data) in ahead.iter().zip(read) {
                if let Some(data) = self.accept(*file, data)? {
                    self.append(&mut shard, *file, data)
                        .with_context(|| cannot_write(self.directory, self.number))?;
                }
            }
        }
    }

    /// What was read of a file, unless it is to be left: then it is named.
    fn accept<'d>(
        &mut self,
        file: NestedFile<'_>,
        read: Result<&'d [u8]>,
    ) -> Result<Option<&'d [u8]>> {
        let checked = read.and_then(|data| {
            let wanted = *self.length.get_or_insert(data.len() / 4);
            check_length(data, wanted)?;
            Ok(data)
        });
        match checked {
            Ok(data) => Ok(Some(data)),
            Err(error) if concerns_the_run(error.as_ref()) => {
                let file = self.directory.path().join(file.path());
                Err(error.context(format!("cannot read {}", file.display())))
            }
            Err(error) => {
                refuse(self.directory, self.progress, file.path(), &error);
                self.refused += 1;
                Ok(None)
            }
        }
    }

    fn append(
        &self,
        shard: &mut Option<Written<'f>>,
        file: NestedFile<'f>,
        data: &[u8],
    ) -> io::Result<()> {
        let shard = match shard {
            Some(shard) => shard,
            none => {
                let (path, number) = (self.directory.path(), self.number);
                none.insert(Written {
                    number,
                    writer: ShardWriter::create(path, number, data.len() / 4)?,
                    files: Vec::new(),
                })
            }
        };
        shard.writer.push(data)?;
        shard.files.push(file);
        Ok(())
    }
}

/// Reads a per-object file into a buffer, and returns the `4 d` bytes of its numbers, checked to be one finite feature of
/// `length` numbers.
fn read_feature<'b>(
    directory: &ModelDir,
    file: NestedFile<'_>,
    length: Option<usize>,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8]> {
    directory.read_into(file, buffer)?;
    let data = npy::feature_data(buffer)?;
    if let Some(length) = length {
        check_length(data, length)?;
    }
    Ok(data)
}

fn check_length(data: &[u8], length: usize) -> Result<()> {
    ensure!(
        data.len() == length * 4,
        "has {} numbers, the others here have {length}",
        data.len() / 4
    );
    Ok(())
}

fn same_as_row(
    directory: &ModelDir,
    file: NestedFile<'_>,
    number: ShardNumber,
    row: usize,
) -> Result<bool> {
    let path = directory.path().join(number.file_name(Part::Features));
    let (_, length, offset) = shard::features_shape(&path)?;
    let mut stored = vec![0; length * 4];
    File::open(&path)
        .and_then(|shard| shard.read_exact_at(&mut stored, (offset + row * length * 4) as u64))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(read_feature(directory, file, None, &mut Vec::new()).is_ok_and(|data| data == stored))
}
