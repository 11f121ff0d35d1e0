//! The workers: each carries groups of pictures from end to end.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};

use super::Options;
use super::cause::Cause;
use super::comparison::Comparison;
use super::memory::Memory;
use super::mounted::Mounted;
use super::packed::Packed;
use super::plan::Plan;
use super::queue::Queue;
use crate::inference::Form;
use crate::inference::pool::Pool;
use crate::pictures::{OWN_MEMORY, PictureError, PictureReader};
use crate::storage::failures::{Class, Failure, FailureReport};
use crate::storage::files::FileStamp;
use crate::storage::media::read_file;
use crate::storage::model_dir::{FeatureState, ModelDir, Scratch};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::storage::object_list::ObjectList;
use crate::storage::sources::{Made, Source, SourceRecord, feature_sum};
use crate::support::hints::{concerns_all_writing, concerns_the_run};
use crate::support::interrupt::Interrupt;
use crate::support::mutex::lock;
use crate::support::progress::{Counts, Progress};

/// How many pictures a worker carries from stage to stage together, at most. While a stage does the same thing again and
/// again, its code and tables stay in the core's caches: 2 to 4 % faster than one by one, and more on a machine whose
/// caches others use too.
const MOST_TOGETHER: usize = 32;

/// How long a group of pictures may take, as far as it can be told before: what a signal waits for, and what a kill costs.
const GROUP_TIME: Duration = Duration::from_millis(250);

/// Everything that the workers share.
pub struct Work<'a> {
    pub options: &'a Options,
    /// Threads that carry groups.
    pub workers: usize,
    /// Pictures in a call of the model.
    pub batch: usize,
    pub list: &'a ObjectList,
    pub plan: &'a Plan,
    pub mounted: &'a Mounted<'a>,
    pub directory: &'a ModelDir,
    pub report: &'a FailureReport,
    pub sources: &'a SourceRecord,
    pub pool: &'a Pool,
    pub form: &'a Form,
    /// Where the features are not those of fp32.
    pub comparison: Option<&'a Comparison<'a>>,
    pub counts: &'a Counts,
    pub progress: &'a Progress,
    pub interrupt: &'a Interrupt,
}

/// What the workers share while they run: the next object, and whether to stop.
struct Shared<'a> {
    scratch: Scratch,
    queue: Queue<'a>,
    packed: Mutex<Packed<'a>>,
    memory: Memory,
    failures: AtomicUsize,
    stop: AtomicBool,
    /// Why the run cannot go on.
    error: Mutex<Option<Error>>,
    started: Instant,
}

/// How a run ended.
pub struct WorkOutcome {
    /// The signal that stopped it.
    pub signal: Option<i32>,
    /// Whether it stopped because too many objects failed.
    pub too_many_errors: bool,
    /// Objects that another process still held when this one gave up waiting.
    pub claimed_elsewhere: usize,
}

/// Pictures that go from stage to stage together, in one batch or several: those that could be read.
#[derive(Default)]
struct Group {
    ids: Vec<ObjectId>,
    /// Index into the list, for each picture.
    indices: Vec<u32>,
    /// The file that each was read from.
    files: Vec<FileStamp>,
    /// `[n, height, width, 3]`.
    pixels: Vec<u8>,
    /// `[n, d]`.
    features: Vec<f32>,
}

/// One worker's own things; its buffers are used again for every object.
struct Worker {
    slot: usize,
    reader: PictureReader,
    bytes: Vec<u8>,
    group: Group,
    /// How many pictures the next group may have for [`GROUP_TIME`]; none is known to begin with.
    affordable: usize,
}

impl Work<'_> {
    /// Extracts the pending objects.
    pub fn run(&self) -> Result<WorkOutcome> {
        let path = self.directory.path();
        let preparing = || format!("cannot prepare {}", path.display());
        let shared = Shared {
            scratch: self.directory.scratch().with_context(preparing)?,
            queue: Queue::new(
                self.list,
                self.directory,
                &self.plan.pending,
                self.options.patience,
            )
            .with_context(preparing)?,
            packed: Mutex::new(Packed::new(path, self.plan.next_shard, &self.plan.stale)),
            memory: Memory::new(self.workers),
            failures: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            error: Mutex::default(),
            started: Instant::now(),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.workers)
            .build()
            .with_context(|| format!("cannot start {} threads", self.workers))?;
        self.progress.begin(self.plan.pending.len() as u64);
        pool.broadcast(|context| {
            if let Err(error) = self.work(&shared, context.index()) {
                shared.stop.store(true, Ordering::Relaxed);
                // The first error is the cause; those of the others follow from the same.
                lock(&shared.error).get_or_insert(error);
            }
        });
        self.progress.end();
        let claimed_elsewhere = match self.stopped(&shared) {
            true => 0,
            false => shared.queue.deferred(),
        };
        match shared
            .error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => Ok(WorkOutcome {
                signal: self.interrupt.signal(),
                too_many_errors: shared.stop.into_inner(),
                claimed_elsewhere,
            }),
        }
    }

    /// One worker: fills a group, runs the model, writes the features, until nothing is left.
    fn work(&self, shared: &Shared<'_>, slot: usize) -> Result<()> {
        let reader = PictureReader::new(self.options.pixels);
        let mut worker = Worker {
            slot,
            reader,
            bytes: Vec::new(),
            group: Group::default(),
            affordable: 0,
        };
        loop {
            let started = Instant::now();
            if self.fill(shared, &mut worker, started)?.is_break() {
                return Ok(());
            }
            self.run_model(&mut worker.group)?;
            self.write(shared, &mut worker)?;
            self.show(shared);
            let each = started.elapsed().as_nanos() / worker.group.ids.len() as u128;
            worker.affordable = (GROUP_TIME.as_nanos() / each.max(1)) as usize;
        }
    }

    fn run_model(&self, group: &mut Group) -> Result<()> {
        let Group {
            pixels, features, ..
        } = group;
        let size = self.form.width * self.form.height * 3;
        self.pool.with(|model| {
            for pixels in pixels.chunks(self.batch * size) {
                model.run(pixels, features)?;
            }
            Ok(())
        })?;
        // After that, since others wait for the session.
        if let Some(comparison) = self.comparison {
            let features = features.chunks(self.batch * self.form.dimension);
            for (pixels, features) in pixels.chunks(self.batch * size).zip(features) {
                comparison.compare(pixels, features)?;
            }
        }
        Ok(())
    }

    /// Reads and decodes objects until the group is full, or took its time; breaks when there is nothing left to run.
    fn fill(
        &self,
        shared: &Shared<'_>,
        worker: &mut Worker,
        started: Instant,
    ) -> Result<ControlFlow<()>> {
        worker.group.clear();
        let share = shared.queue.left() / self.workers;
        let size = group_size(self.batch, worker.affordable, share);
        let is_full = |count: usize| {
            let took_its_time = started.elapsed() >= GROUP_TIME;
            count >= size || (took_its_time && count > 0 && count.is_multiple_of(self.batch))
        };
        while !is_full(worker.group.ids.len()) && !self.stopped(shared) {
            let Some((index, id)) = self.next(shared, worker.group.ids.is_empty())? else {
                break;
            };
            let entry = self.list.entry(index as usize);
            let meanwhile = if self.is_done_meanwhile(shared, &id, &mut worker.bytes)? {
                Some(&self.counts.skipped)
            } else if self.has_failed_meanwhile(&id, entry)? {
                Some(&self.counts.failed)
            } else {
                None
            };
            if let Some(count) = meanwhile {
                shared.queue.release(&id);
                count.fetch_add(1, Ordering::Relaxed);
                self.show(shared);
                continue;
            }
            match self.read(shared, entry, worker)? {
                Ok(file) => {
                    worker.group.ids.push(id);
                    worker.group.indices.push(index);
                    worker.group.files.push(file);
                }
                Err(cause) => {
                    self.fail(shared, &id, entry, cause)?;
                    shared.queue.release(&id);
                    self.show(shared);
                }
            }
        }
        Ok(if worker.group.ids.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Whether another process has made the feature since this run began, and perhaps packed it.
    fn is_done_meanwhile(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.directory.feature_state(id, buffer) {
            Ok(FeatureState::Complete(dimension)) => {
                Ok(dimension == self.form.dimension
                    && !self.plan.is_still_stale(self.directory, id))
            }
            Ok(FeatureState::Absent) => lock(&shared.packed).holds(id),
            _ => Ok(false),
        }
    }

    /// Whether another process has tried this picture since this run began, so that trying it again cannot help.
    fn has_failed_meanwhile(&self, id: &ObjectId, entry: &str) -> Result<bool> {
        let failure = self.report.new_failure(id);
        let failure =
            failure.with_context(|| format!("cannot read {}", self.report.path().display()))?;
        Ok(failure.is_some_and(|failure| failure.is_final(&self.options.media_dir.join(entry))))
    }

    fn show(&self, shared: &Shared<'_>) {
        let pending = self.plan.pending.len() as u64;
        self.progress.show(self.counts, pending, shared.started);
    }

    /// Claims the next object. Waits for objects that other processes have claimed only when `may_wait`.
    fn next(&self, shared: &Shared<'_>, may_wait: bool) -> Result<Option<(u32, ObjectId)>> {
        match shared.queue.next()? {
            None if may_wait => shared.queue.wait(self.progress, || self.stopped(shared)),
            next => Ok(next),
        }
    }

    /// From an entry to pixels at the end of the group. The inner error is this object's, the outer one the run's.
    fn read(
        &self,
        shared: &Shared<'_>,
        entry: &str,
        worker: &mut Worker,
    ) -> Result<Result<FileStamp, Cause>> {
        let path = self.options.media_dir.join(entry);
        let file = match read_file(&path, &mut worker.bytes) {
            Ok(file) => file,
            Err(error) if concerns_the_run(&error) => {
                return Err(Error::new(error).context(format!("cannot read {}", path.display())));
            }
            Err(error) => {
                if matches!(
                    Class::of_io(&error),
                    Class::Missing | Class::Denied | Class::Io
                ) {
                    self.mounted.check_around(entry)?;
                }
                return Ok(Err(Cause::read(error)));
            }
        };
        let Form { width, height, .. } = *self.form;
        let pixels = &mut worker.group.pixels;
        let before = pixels.len();
        pixels.resize(before + width * height * 3, 0);
        let (mut memory, mut held) = (OWN_MEMORY, None);
        let result = loop {
            let out = &mut pixels[before..];
            match (worker.reader).read_within(memory, &worker.bytes, width, height, out) {
                Err(PictureError::NeedsMemory { bytes }) => {
                    drop(held.take());
                    held = Some(shared.memory.take(bytes));
                    memory = bytes;
                }
                result => break result,
            }
        };
        drop(held);
        if worker.bytes.capacity() as u64 > OWN_MEMORY {
            worker.bytes = Vec::new();
        }
        if result.is_err() {
            pixels.truncate(before);
        }
        Ok(result
            .map(|()| file)
            .map_err(|error| Cause::decode(&error, file)))
    }

    /// Records which files the features of a group are made from; this comes before they are written.
    fn record_sources(&self, group: &Group) -> Result<()> {
        let rows = group.features.chunks_exact(self.form.dimension);
        let pictures = group.indices.iter().zip(&group.files).zip(rows);
        let made: Vec<Made> = pictures
            .filter(|(_, feature)| Cause::of_feature(feature).is_none())
            .map(|((&index, &file), feature)| Made {
                source: Source {
                    path: self.list.entry(index as usize).into(),
                    file,
                },
                feature_sum: feature_sum(bytemuck::cast_slice(feature)),
            })
            .collect();
        (self.sources.add(&made))
            .with_context(|| format!("cannot write {}", self.sources.path().display()))
    }

    /// Writes the features of a group and gives its objects up.
    fn write(&self, shared: &Shared<'_>, worker: &mut Worker) -> Result<()> {
        let Worker {
            slot, bytes, group, ..
        } = worker;
        self.record_sources(group)?;
        let rows = group.features.chunks_exact(self.form.dimension);
        for ((id, &index), feature) in group.ids.iter().zip(&group.indices).zip(rows) {
            let entry = self.list.entry(index as usize);
            if let Some(cause) = Cause::of_feature(feature) {
                self.fail(shared, id, entry, cause)?;
            } else {
                bytes.clear();
                npy::append_feature(feature, bytes);
                match shared
                    .scratch
                    .write_feature(self.directory, id, *slot, bytes)
                {
                    Ok(()) => {
                        self.counts.done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => self.fail_to_write(shared, id, entry, error)?,
                }
            }
            shared.queue.release(id);
        }
        Ok(())
    }

    fn fail_to_write(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        entry: &str,
        error: io::Error,
    ) -> Result<()> {
        let path = self.directory.path().join(id.feature_path());
        // What is left are things in the way of this feature.
        if concerns_all_writing(&error) {
            return Err(Error::new(error).context(format!("cannot write {}", path.display())));
        }
        self.fail(shared, id, entry, Cause::write(&path, error))
    }

    /// Reports an object's failure; an error when the run shall not go on.
    fn fail(&self, shared: &Shared<'_>, id: &ObjectId, entry: &str, cause: Cause) -> Result<()> {
        let Cause {
            stage,
            class,
            message,
            file,
        } = cause;
        let failure = Failure {
            id: id.as_str().into(),
            path: entry.into(),
            stage,
            class,
            message,
            file,
        };
        self.report
            .record(&failure)
            .with_context(|| format!("cannot write {}", self.report.path().display()))?;
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let failures = shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if self.options.max_errors.is_some_and(|most| failures >= most) {
            shared.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn stopped(&self, shared: &Shared<'_>) -> bool {
        shared.stop.load(Ordering::Relaxed) || self.interrupt.signal().is_some()
    }
}

impl Group {
    fn clear(&mut self) {
        self.ids.clear();
        self.indices.clear();
        self.files.clear();
        self.pixels.clear();
        self.features.clear();
    }
}

/// How many pictures a worker takes on together: whole batches, as many as it can afford, and no more than half of its
/// share of what is left, so that all workers end at about the same time.
fn group_size(batch: usize, affordable: usize, share: usize) -> usize {
    let most = MOST_TOGETHER.min(affordable).min(share / 2);
    (most - most % batch).max(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_whole_batches_and_shrinks_where_time_or_objects_run_out() {
        assert_eq!(group_size(1, usize::MAX, 1_000_000), MOST_TOGETHER);
        assert_eq!(group_size(8, usize::MAX, 1_000_000), MOST_TOGETHER);
        // Nothing is known of the time yet, or one picture takes longer than a group may.
        assert_eq!(group_size(1, 0, 1_000_000), 1);
        assert_eq!(group_size(8, 0, 1_000_000), 8);
        assert_eq!(group_size(8, 23, 1_000_000), 16);
        assert_eq!(group_size(1, usize::MAX, 10), 5);
        assert_eq!(group_size(1, usize::MAX, 0), 1);
        assert_eq!(group_size(64, usize::MAX, 1_000_000), 64);
    }
}
