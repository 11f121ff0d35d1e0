//! Command: packs per-object files into shard pairs.
//!
//! Each shard is written under temporary names and made durable; then its checksums are recorded in `SHA256SUMS`; then
//! its features, its sources and its object ids get their final names, in this order; then the shard is read back, and
//! the per-object files that are in it are removed. Killed at any instant, the next call knows from the names alone how
//! far this one came: where there are only temporary files, the shard is written again; where the features are in place
//! and the ids still temporary, the renames are made good; where both are in place, the per-object files of its ids are
//! removed.
//!
//! The checksums are written first so that a file in place has its checksum at every instant, and the right one: that
//! of an earlier file of the same name is replaced before the file is. Lines that a killed call has written for files
//! that still have their temporary names are dropped before these files are removed. A file that is there without a
//! line, made by another program, gets one.
//!
//! A row of which there is a newer feature leaves its shard before that feature is packed: see
//! `storage::shard_changes`.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command from its beginning to its end |
//! | `reading.rs` | the per-object files: which of them are to be packed, and what is in them; which rows they replace |
//! | `merge/` | `--merge`: one directory of the shards of many parts |
//! | `packing.rs` | the shards: written, made durable and put in place, while the next files are read |

mod merge;
mod packing;
mod reading;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, ensure};

use crate::storage::model_dir::{Claims, FeatureState, ModelDir, Packing};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::storage::part_dir;
use crate::storage::recipe::Recipe;
use crate::storage::shard::ShardFiles;
use crate::storage::shard_changes;
use crate::storage::sources::{self, Made, RecordedSources, UNKNOWN_OBJECT, feature_sum};
use crate::support::progress::Progress;
pub use merge::{MergeOptions, MergeOutcome, MergeSummary, merge};
use packing::Packer;

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
    /// Rows that left their shards, because there is a newer feature of the same object.
    pub replaced: usize,
    /// Per-object files that were left for a full shard.
    pub left: usize,
    /// Per-object files that were removed because their row is in a shard already.
    pub already_packed: usize,
    /// Parts in the directory that have shards of their own, which it leaves alone.
    pub parts: usize,
    /// Per-object files that cannot be packed; they were named on stderr, and are where they were.
    pub refused: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum ConcatOutcome {
    /// It packed what there was.
    Packed(Summary),
    /// Another process is packing the same directory; the text names it.
    HeldBy(String),
}

/// Packs all per-object files of a model's directory.
pub fn concat(options: &Options, progress: &Progress) -> Result<ConcatOutcome> {
    ensure!(options.rows > 0, "a shard needs at least one row");
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build()
        .with_context(|| format!("cannot start {THREADS} threads"))?;
    pool.install(|| pack_all(options, progress))
}

fn pack_all(options: &Options, progress: &Progress) -> Result<ConcatOutcome> {
    let started = Instant::now();
    let path = &options.directory;
    let directory = ModelDir::open(path).with_context(|| {
        format!(
            "cannot open {}; `simsearch extract` makes it",
            path.display()
        )
    })?;
    let lock = match directory.lock_packing(&|line| progress.note(line))? {
        Packing::Locked(lock) => lock,
        Packing::HeldBy(holder) => return Ok(ConcatOutcome::HeldBy(holder)),
    };
    let mut sums = shard_changes::finish_what_was_killed(&directory)?;
    let files = ShardFiles::list(path)?;
    let parts = part_dir::begun(path, &files).len();
    let pairs = files.pairs(path)?;
    sums.add_missing(&pairs)?;

    // The records of sources of runs that were killed get their final names.
    directory
        .remove_leftovers()
        .with_context(|| format!("cannot tidy {}", path.display()))?;
    let nested = directory
        .nested_files()
        .with_context(|| format!("cannot list {}", path.display()))?;
    // After the files: the source of each is recorded before it is there.
    let id_kind = Recipe::id_kind(path)?;
    let recorded = RecordedSources::read(path, id_kind).with_context(|| reading_record(path))?;
    let found = recorded.identify(&nested);
    let mut packed = vec![false; recorded.made().len()];
    let mut refusals = Refusals {
        directory: &directory,
        progress,
        count: 0,
    };
    for file in &nested.misnamed {
        refusals.refuse(file, &anyhow!("its name is not one line of UTF-8 text"));
    }
    for file in found.unknown {
        refusals.refuse(file, &anyhow!(UNKNOWN_OBJECT));
    }
    let mut summary = Summary {
        parts,
        ..Summary::default()
    };
    let mut files = found.known;
    let compared =
        reading::compare_with_packed(&directory, &mut files, &pairs, &recorded, &mut refusals)?;
    summary.already_packed = compared.already_packed;
    for (number, change) in &compared.changes {
        let next = ShardFiles::list(path)?.next_number();
        shard_changes::change(&directory, &lock, &mut sums, *number, next, change)?;
        summary.replaced += change.leaving.len();
    }
    let pairs = ShardFiles::list(path)?.pairs(path)?;
    if !files.is_empty() {
        let dimension = reading::dimension(&directory, &pairs, &files)?;
        let first = ShardFiles::list(path)?.next_number();
        let packer = Packer::new(
            options, &directory, &lock, &mut sums, first, dimension, &recorded,
        );
        let result = packer.pack(&files, &mut refusals, &mut summary, &mut packed);
        if result.is_err() && lock.check().is_ok() {
            // What a full disk cut short would keep it full; the next call would remove it anyway. (Where another
            // process has taken over, what is there is its own.)
            let _ = shard_changes::finish_what_was_killed(&directory);
        }
        result?;
    }
    tidy_sources(&directory, &recorded, &packed)?;
    // A killed run may have left some.
    for nested in &nested.empty {
        directory
            .remove_if_empty(nested)
            .context("cannot remove an empty directory")?;
    }
    summary.refused = refusals.count;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(ConcatOutcome::Packed(summary))
}

/// Removes from the record of sources what shards have now, and what no feature is there for.
fn tidy_sources(directory: &ModelDir, recorded: &RecordedSources, packed: &[bool]) -> Result<()> {
    let path = directory.path();
    if recorded.made().is_empty() {
        return Ok(());
    }
    let tidy = || -> io::Result<()> {
        let claims = directory.claims()?;
        let mut kept = HashSet::new();
        let mut buffer = Vec::new();
        let unpacked = recorded.made().iter().zip(packed).filter(|it| !it.1);
        for (made, _) in unpacked {
            if is_of_use(directory, recorded, &claims, made, &mut buffer)? {
                kept.insert(made);
            }
        }
        sources::tidy(directory, recorded, |made| kept.contains(made))
    };
    tidy().with_context(|| reading_record(path))
}

/// Whether a feature that is in the record is there, as far as that can be seen, or a process is about to write it.
fn is_of_use(
    directory: &ModelDir,
    recorded: &RecordedSources,
    claims: &Claims,
    made: &Made,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    let Ok(id) = ObjectId::from_entry(recorded.id_kind(), &made.source.path) else {
        return Ok(false);
    };
    if !claims.claim(&id)? {
        return Ok(true);
    }
    let state = directory.newest_feature_state(&id, buffer);
    claims.release(&id);
    Ok(match state {
        Ok(FeatureState::Complete(_)) => npy::feature_data(buffer).is_ok_and(|data| {
            let sum = feature_sum(data);
            // One of which others are recorded alone is damaged, which is to be seen again.
            sum == made.feature_sum || recorded.find(id.as_str(), sum).is_none()
        }),
        Ok(FeatureState::Absent | FeatureState::Torn) => false,
        // It is refused, and named.
        Err(_) => true,
    })
}

fn reading_record(directory: &Path) -> String {
    format!(
        "cannot read or write the sources in {}",
        directory.display()
    )
}

/// The per-object files that cannot be packed: each is named, and stays where it is.
struct Refusals<'a> {
    directory: &'a ModelDir,
    progress: &'a Progress,
    count: usize,
}

impl Refusals<'_> {
    fn refuse(&mut self, file: &Path, reason: &Error) {
        self.count += 1;
        let path = self.directory.path().join(file);
        self.progress
            .warn(&format!("left unpacked: {}: {reason:#}", path.display()));
    }
}
