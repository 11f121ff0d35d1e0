//! The shards that a part writes itself, without a file for each object.
//!
//! The workers add their rows to the shard in hand, which has its temporary name. Once it is full, or nothing is left
//! to do, it is made durable and gets its name as those of `concat` do. So a run that is killed loses the shard in hand
//! and no other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::plan::Plan;
use crate::storage::model_dir::{ModelDir, Packing, PackingLock};
use crate::storage::object_id::IdKind;
use crate::storage::part::Part;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFiles, ShardNumber, ShardWriter};
use crate::storage::shard_changes::{self, Change, new_sources};
use crate::storage::sources::{Made, RecordedSources, Source};
use crate::support::fault;
use crate::support::mutex::lock;
use crate::support::progress::{Progress, duration};

/// How long a run waits before it asks again for a part that another process writes.
const POLL: Duration = Duration::from_secs(1);

/// A part's directory, which this process alone writes to.
pub struct PartWriter {
    directory: ModelDir,
    packing: PackingLock,
    sums: Mutex<Sha256Sums>,
    in_hand: Mutex<Option<InHand>>,
    /// The number of the next shard.
    next: AtomicU64,
    /// Rows of a full one.
    rows: usize,
    /// The shards that have the rows of pictures that have changed since, by their object ids.
    stale: Mutex<HashMap<String, ShardNumber>>,
    /// The objects that had failed before.
    made_again: Mutex<HashSet<String>>,
}

/// The shard in hand.
struct InHand {
    writer: ShardWriter,
    ids: Vec<String>,
    sources: Vec<Source>,
    /// The checksums of the rows.
    sums: Vec<u32>,
}

/// A feature that is to be packed.
pub struct Row<'a> {
    pub id: &'a str,
    pub made: Made,
    /// `4 d` bytes.
    pub data: &'a [u8],
}

impl PartWriter {
    /// Opens the directory of a part for writing: what a killed run has left there is finished or removed. The inner
    /// error is what another process says about itself that writes there, and goes on doing so for as long as
    /// `patience`.
    pub fn open(
        directory: ModelDir,
        part: Part,
        rows: usize,
        patience: Duration,
        progress: &Progress,
    ) -> Result<Result<Self, String>> {
        let packing = match take(&directory, part, patience, progress)? {
            Packing::Locked(packing) => packing,
            Packing::HeldBy(holder) => return Ok(Err(holder)),
        };
        let sums = shard_changes::finish_what_was_killed(&directory)?;
        let next = ShardFiles::list(directory.path())?.next_number();
        Ok(Ok(PartWriter {
            directory,
            packing,
            sums: Mutex::new(sums),
            in_hand: Mutex::default(),
            next: AtomicU64::new(next.0),
            rows,
            stale: Mutex::default(),
            made_again: Mutex::default(),
        }))
    }

    /// The part's directory.
    pub fn directory(&self) -> &ModelDir {
        &self.directory
    }

    /// Tells which rows are to be replaced by those that come.
    pub fn expect(&self, plan: &Plan) {
        let stale = plan.stale.iter();
        let stale = stale.filter_map(|(id, stale)| Some((id.clone(), stale.shard?)));
        lock(&self.stale).extend(stale);
    }

    /// Records where the files are now that were moved since their features were packed.
    pub fn record_moved(&self, moved: &[Made], id_kind: IdKind) -> Result<()> {
        if moved.is_empty() {
            return Ok(());
        }
        let path = self.directory.path();
        let recorded = RecordedSources::of(moved.to_vec(), id_kind);
        for number in ShardFiles::list(path)?.pairs(path)? {
            let ids = shard::object_ids(path, number)?;
            if let Some(sources) = new_sources(path, number, &ids, &recorded)? {
                let leaving = BTreeSet::new();
                let change = Change { leaving, sources };
                let next = ShardNumber(self.next.load(Ordering::Relaxed));
                let mut sums = lock(&self.sums);
                shard_changes::change(
                    &self.directory,
                    &self.packing,
                    &mut sums,
                    number,
                    next,
                    &change,
                )?;
            }
        }
        Ok(())
    }

    /// Adds rows to the shard in hand, and finishes it once it is full.
    pub fn push(&self, rows: &[Row<'_>], plan: &Plan) -> Result<()> {
        let mut in_hand = lock(&self.in_hand);
        for row in rows {
            let of_shard = match &mut *in_hand {
                Some(of_shard) => of_shard,
                none => none.insert(self.begin(row.data.len() / 4)?),
            };
            let number = of_shard.writer.number();
            if let Err(error) = of_shard.writer.push(row.data) {
                // It may hold a part of the row.
                in_hand.take();
                return Err(error).with_context(|| cannot_write(&self.directory, number));
            }
            of_shard.ids.push(row.id.to_owned());
            if plan.tried_again.contains(row.id) {
                lock(&self.made_again).insert(row.id.to_owned());
            }
            of_shard.sources.push(row.made.source.clone());
            of_shard.sums.push(row.made.feature_sum);
            if of_shard.ids.len() == self.rows
                && let Some(full) = in_hand.take()
            {
                // The others fill the next one meanwhile. Should that be full before this is done, they wait, so that
                // shards get their names in the order of their numbers.
                let mut sums = lock(&self.sums);
                drop(in_hand);
                self.finish(full, &mut sums)?;
                drop(sums);
                in_hand = lock(&self.in_hand);
            }
        }
        Ok(())
    }

    /// Whether an object that had failed before has a feature now.
    pub fn has_made_again(&self, id: &str) -> bool {
        lock(&self.made_again).contains(id)
    }

    /// Finishes the shard in hand, which need not be full.
    pub fn finish_last(&self) -> Result<()> {
        match lock(&self.in_hand).take() {
            Some(last) => self.finish(last, &mut lock(&self.sums)),
            None => Ok(()),
        }
    }

    /// Removes what an error has left of the shard in hand. The next run would do so too, but a full disk has room
    /// again now.
    pub fn give_up(&self) {
        lock(&self.in_hand).take();
        // Where another process has taken over, what is there is its own.
        if self.packing.check().is_ok() {
            let _ = shard_changes::finish_what_was_killed(&self.directory);
        }
    }

    fn begin(&self, dimension: usize) -> Result<InHand> {
        let number = self.next_number();
        let path = self.directory.path();
        let writer = ShardWriter::create(path, number, dimension)
            .with_context(|| cannot_write(&self.directory, number))?;
        Ok(InHand {
            writer,
            ids: Vec::new(),
            sources: Vec::new(),
            sums: Vec::new(),
        })
    }

    fn finish(&self, of_shard: InHand, sums: &mut Sha256Sums) -> Result<()> {
        let InHand {
            writer,
            ids,
            sources,
            sums: row_sums,
        } = of_shard;
        let (directory, number) = (&self.directory, writer.number());
        let of_rows: Vec<_> = sources.iter().map(Some).collect();
        let written = shard_changes::write(writer, ids.iter().map(String::as_str), &of_rows);
        let written = written.with_context(|| cannot_write(directory, number))?;
        self.remove_rows(&ids, sums)?;
        let ids = ids.iter().map(String::as_str);
        shard_changes::add(directory, &self.packing, sums, written, ids, &row_sums)
            .with_context(|| cannot_write(directory, number))
    }

    /// Removes the rows of pictures that have changed. Their new features are durable; a run that is killed before they
    /// are in place makes them again.
    fn remove_rows(&self, ids: &[String], sums: &mut Sha256Sums) -> Result<()> {
        let mut stale = lock(&self.stale);
        let replaced: HashMap<&str, ShardNumber> = (ids.iter())
            .filter_map(|id| Some((id.as_str(), stale.remove(id)?)))
            .collect();
        let numbers: BTreeSet<ShardNumber> = replaced.values().copied().collect();
        let path = self.directory.path();
        for number in numbers {
            let ids = shard::object_ids(path, number)?;
            let rows = ids.iter().enumerate();
            let (leaving, staying): (Vec<_>, Vec<_>) =
                rows.partition(|(_, id)| replaced.contains_key(id.as_str()));
            let leaving: BTreeSet<usize> = leaving.into_iter().map(|(row, _)| row).collect();
            let sources = shard::sources(path, number, ids.len())?;
            let next = self.next_number();
            let change = Change { leaving, sources };
            shard_changes::change(&self.directory, &self.packing, sums, number, next, &change)?;
            for (_, id) in staying {
                if let Some(number) = stale.get_mut(id) {
                    *number = next;
                }
            }
        }
        Ok(())
    }

    fn next_number(&self) -> ShardNumber {
        ShardNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Takes the part for this process. Another one that is at it may be about to end, or may have ended with its machine.
fn take(
    directory: &ModelDir,
    part: Part,
    patience: Duration,
    progress: &Progress,
) -> Result<Packing> {
    let patience = fault::patience(patience);
    let begun = Instant::now();
    let mut is_said = false;
    loop {
        let locked = directory.lock_packing(&|line| progress.note(line))?;
        match &locked {
            Packing::HeldBy(holder) if begun.elapsed() < patience => {
                if !is_said {
                    progress.warn(&format!(
                        "part {part} is being written by {holder}; waiting up to {} for that to end",
                        duration(patience.as_secs_f64())
                    ));
                    is_said = true;
                }
                thread::sleep(POLL.min(patience));
            }
            _ => return Ok(locked),
        }
    }
}

fn cannot_write(directory: &ModelDir, number: ShardNumber) -> String {
    let path = directory.path().display();
    format!("cannot write shard {:04} in {path}", number.0)
}
