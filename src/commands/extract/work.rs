//! The workers: each carries groups of pictures from end to end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use super::Options;
use super::cause::Cause;
use super::comparison::Comparison;
use super::group::{Group, Waiting, group_size};
use super::mounted::Mounted;
use super::packed::Packed;
use super::packing::{PartWriter, Row};
use super::plan::Plan;
use super::queue::Queue;
use super::reads::Reads;
use crate::inference::model_pool::ModelPool;
use crate::inference::{Form, Model};
use crate::pictures::{GpuReader, Memory, OWN_MEMORY, PictureError, PictureReader};
use crate::storage::failures::{Class, Failure, FailureReport};
use crate::storage::files::{FileStamp, regular};
use crate::storage::media::read_file;
use crate::storage::model_dir::{FeatureState, ModelDir, Scratch};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::storage::object_list::ObjectList;
use crate::storage::sources::{self, Made, Source, feature_sum};
use crate::storage::tar::{self, Members};
use crate::support::hints::{concerns_all_writing, concerns_the_run};
use crate::support::interrupt::Interrupt;
use crate::support::mutex::lock;
use crate::support::progress::{Counts, Progress};

/// How long a group of pictures may take, as far as it can be told before: what a signal waits for, and what a kill
/// costs.
const GROUP_TIME: Duration = Duration::from_millis(250);

/// How many bytes of decoded pictures may wait for the model, of all workers together. One H100 gets ready in 1 to 4 s;
/// meanwhile 16 processors decode 700 MB of 224 x 224 pixels a second.
const MOST_DECODED: usize = 2 << 30;

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
    /// Where the features go into shards, rather than into a file for each object.
    pub packing: Option<&'a PartWriter>,
    pub pool: &'a ModelPool,
    /// Where JPEG pictures are decoded on a GPU.
    pub gpu: Option<&'a GpuReader>,
    pub form: &'a Form,
    /// Where the features are not those of fp32.
    pub comparison: Option<&'a Comparison<'a>>,
    pub counts: &'a Counts,
    pub progress: &'a Progress,
    pub interrupt: &'a Interrupt,
}

/// What the workers share while they run: the next object, and whether to stop.
pub(super) struct Shared<'a> {
    output: Output<'a>,
    queue: Queue<'a>,
    packed: Mutex<Packed<'a>>,
    memory: Memory,
    reads: Reads,
    pub(super) decoded_on_gpu: AtomicU64,
    failures: AtomicUsize,
    stop: AtomicBool,
    /// Whether another process was seen to do objects that this one has claimed.
    is_not_alone: AtomicBool,
    /// Why the run cannot go on.
    error: Mutex<Option<Error>>,
    started: Instant,
}

/// Where the features go.
enum Output<'a> {
    /// A file for each object, which is written here first.
    Files(Scratch),
    Shards(&'a PartWriter),
}

/// How a run ended.
pub struct WorkOutcome {
    /// The signal that stopped it.
    pub signal: Option<i32>,
    /// Whether it stopped because too many objects failed.
    pub too_many_errors: bool,
    /// Objects that another process still held when this one gave up waiting.
    pub claimed_elsewhere: usize,
    /// Pictures that a GPU decoded, where it was to.
    pub decoded_on_gpu: Option<u64>,
}

/// One worker's own things; its buffers are used again for every object.
pub(super) struct Worker {
    slot: usize,
    pub(super) reader: PictureReader,
    bytes: Vec<u8>,
    pub(super) group: Group,
    /// How many pictures the next group may have for [`GROUP_TIME`]; none is known to begin with.
    affordable: usize,
}

impl Work<'_> {
    /// Extracts the pending objects.
    pub fn run(&self) -> Result<WorkOutcome> {
        let path = self.directory.path();
        let preparing = || format!("cannot prepare {}", path.display());
        let output = match self.packing {
            Some(packing) => Output::Shards(packing),
            None => Output::Files(self.directory.scratch().with_context(preparing)?),
        };
        let shared = Shared {
            output,
            queue: Queue::new(
                self.list,
                self.directory,
                &self.plan.pending,
                self.options.patience,
                self.packing.is_none(),
            )
            .with_context(preparing)?,
            packed: Mutex::new(Packed::new(path, self.plan.next_shard, &self.plan.stale)),
            memory: Memory::new(self.workers),
            reads: Reads::new(self.workers),
            decoded_on_gpu: AtomicU64::new(0),
            failures: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            is_not_alone: AtomicBool::new(false),
            error: Mutex::default(),
            started: Instant::now(),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.workers)
            .build()
            .with_context(|| format!("cannot start {} threads", self.workers))?;
        let end_with = |work: &dyn Fn() -> Result<()>| {
            // The other workers would go on after a panic, and what is said of reads that hang would never end.
            let ended = catch_unwind(AssertUnwindSafe(work));
            let bug = |_| {
                Err(anyhow!(
                    "this is a bug of simsearch, which the lines above describe; what is done is kept"
                ))
            };
            if let Err(error) = ended.unwrap_or_else(bug) {
                shared.stop.store(true, Ordering::Relaxed);
                // The first error is the cause; those of the others follow from the same.
                lock(&shared.error).get_or_insert(error);
            }
        };
        self.progress.begin(self.plan.pending.len() as u64);
        std::thread::scope(|scope| {
            // The first call on a GPU takes seconds. The workers decode meanwhile.
            if self.is_on_gpu() {
                scope.spawn(|| end_with(&|| self.pool.with(|_| Ok(()))));
            }
            scope.spawn(|| shared.reads.watch(self.progress));
            pool.broadcast(|context| end_with(&|| self.work(&shared, context.index())));
            shared.reads.end();
        });
        if let Some(packing) = self.packing {
            // Also where the run cannot go on: what is made is kept.
            end_with(&|| packing.finish_last());
            if lock(&shared.error).is_some() {
                packing.give_up();
            }
        }
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
                decoded_on_gpu: self.gpu.map(|_| shared.decoded_on_gpu.into_inner()),
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
            worker.group.clear();
            let size = self.group_size(shared, worker.affordable);
            let is_over = self.fill(shared, &mut worker, size, started)?;
            if worker.group.ids.is_empty() {
                match is_over {
                    true => return Ok(()),
                    // All of them were damaged.
                    false => continue,
                }
            }
            self.run_model(shared, &mut worker)?;
            match &shared.output {
                Output::Files(scratch) => self.write(shared, scratch, &mut worker)?,
                Output::Shards(packing) => self.pack(shared, packing, &worker.group)?,
            }
            self.show(shared);
            let each = started.elapsed().as_nanos() / worker.group.ids.len() as u128;
            worker.affordable = (GROUP_TIME.as_nanos() / each.max(1)) as usize;
        }
    }

    /// Runs the model on the group. While the others have the model, or a GPU gets ready for it, the group grows. When
    /// the run is stopped meanwhile, those pictures leave the group whose turn has not come.
    fn run_model(&self, shared: &Shared<'_>, worker: &mut Worker) -> Result<()> {
        let size = self.form.width * self.form.height * 3;
        let most = MOST_DECODED / self.workers / size;
        let mut may_grow = true;
        loop {
            let Group {
                ids,
                pixels,
                features,
                ..
            } = &mut worker.group;
            let run = |model: &mut dyn Model| {
                for (number, pixels) in pixels.chunks(self.batch * size).enumerate() {
                    if number > 0 && self.stopped(shared) {
                        break;
                    }
                    model.run(pixels, features)?;
                }
                Ok(())
            };
            let before = ids.len();
            if !may_grow || before + self.batch > most {
                self.pool.with(run)?;
                break;
            }
            if self.pool.try_with(run)?.is_some() {
                break;
            }
            self.fill(shared, worker, before + self.batch, Instant::now())?;
            may_grow = worker.group.ids.len() > before;
        }
        let run = worker.group.features.len() / self.form.dimension;
        for id in worker.group.ids.drain(run..) {
            shared.queue.release(&id);
        }
        worker.group.indices.truncate(run);
        worker.group.files.truncate(run);
        worker.group.pixels.truncate(run * size);
        // After that, since others wait for the session.
        if let Some(comparison) = self.comparison
            && comparison.wants_more()
        {
            let exact = self.exact_pixels(worker);
            let Group {
                pixels, features, ..
            } = &worker.group;
            let pixels = exact.as_ref().unwrap_or(pixels);
            let features = features.chunks(self.batch * self.form.dimension);
            for (pixels, features) in pixels.chunks(self.batch * size).zip(features) {
                if comparison.wants_more() {
                    comparison.compare(pixels, features)?;
                }
            }
        }
        Ok(())
    }

    /// Reads and decodes objects until the group has `size`, or took its time, or nothing is left: then it is over.
    fn fill(
        &self,
        shared: &Shared<'_>,
        worker: &mut Worker,
        size: usize,
        started: Instant,
    ) -> Result<bool> {
        let mut is_over = false;
        let is_full = |count: usize| {
            let took_its_time = started.elapsed() >= GROUP_TIME;
            count >= size || (took_its_time && count > 0 && count.is_multiple_of(self.batch))
        };
        while !is_full(worker.group.ids.len()) {
            let next = match self.stopped(shared) {
                true => None,
                false => self.next(shared, worker.slot, worker.group.ids.is_empty())?,
            };
            let Some((index, id)) = next else {
                is_over = true;
                break;
            };
            let entry = self.list.entry(index as usize);
            let meanwhile = if self.packing.is_some() {
                None
            } else if self.is_done_meanwhile(shared, &id, &mut worker.bytes)? {
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
                Err(cause) => self.give_up(shared, &id, entry, cause)?,
            }
        }
        self.decode_on_gpu(shared, worker)?;
        Ok(is_over)
    }

    /// Reports a failed object, and lets others have it.
    pub(super) fn give_up(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        entry: &str,
        cause: Cause,
    ) -> Result<()> {
        self.fail(shared, id, entry, cause)?;
        shared.queue.release(id);
        self.show(shared);
        Ok(())
    }

    fn is_on_gpu(&self) -> bool {
        self.pool.engine().execution().provider.is_gpu()
    }

    /// How many pictures the next group is to have, of which a worker can afford as many as `affordable`.
    fn group_size(&self, shared: &Shared<'_>, affordable: usize) -> usize {
        // On a GPU a batch that is not full takes as long as a full one, and one processor decodes half of one in 0.1
        // s.
        let least = match self.is_on_gpu() && self.gpu.is_none() {
            true => self.batch.div_ceil(2),
            false => self.batch,
        };
        group_size(
            self.batch,
            least,
            affordable,
            shared.queue.left() / self.workers,
        )
    }

    /// Whether another process has made the feature since this run began, and perhaps packed it.
    fn is_done_meanwhile(
        &self,
        shared: &Shared<'_>,
        id: &ObjectId,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.directory.newest_feature_state(id, buffer) {
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
    fn next(
        &self,
        shared: &Shared<'_>,
        slot: usize,
        may_wait: bool,
    ) -> Result<Option<(u32, ObjectId)>> {
        let sort = |members: &mut [u32]| self.sort_members(shared, slot, members);
        match shared.queue.next(sort)? {
            None if may_wait => shared.queue.wait(self.progress, || self.stopped(shared)),
            next => Ok(next),
        }
    }

    /// Puts members of one tar into the order in which it has them. One that it does not have comes last, and fails
    /// when it is read; so do all where the tar cannot be read.
    fn sort_members(&self, shared: &Shared<'_>, slot: usize, members: &mut [u32]) {
        let split = |index: u32| tar::split(self.list.entry(index as usize));
        let Some((tar, _)) = members.first().and_then(|first| split(*first)) else {
            return;
        };
        let path = self.options.media_dir.join(tar);
        let read = || Members::of(&regular::open(&path)?);
        if let Ok(found) = shared.reads.read(slot, &path, read) {
            let offset = |name: &str| found.find(name).ok().map(|place| place.offset);
            members.sort_by_cached_key(|index| {
                let offset = split(*index).and_then(|(_, name)| offset(name));
                offset.unwrap_or(u64::MAX)
            });
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
        let Worker { slot, bytes, .. } = worker;
        let read = (shared.reads).read(*slot, &path, || read_file(&path, bytes));
        let file = match read {
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
                return Ok(Err(Cause::read(error, &path)));
            }
        };
        let Form { width, height, .. } = *self.form;
        let pixels = &mut worker.group.pixels;
        let before = pixels.len();
        pixels.resize(before + width * height * 3, 0);
        if self.gpu.is_some_and(|gpu| gpu.takes(&worker.bytes)) {
            worker.group.waiting.push(Waiting {
                position: worker.group.ids.len(),
                bytes: std::mem::take(&mut worker.bytes),
            });
            return Ok(Ok(file));
        }
        let out = &mut pixels[before..];
        let result = self.decode(shared, &mut worker.reader, &worker.bytes, out);
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

    /// The features of a group that are ones, and which files they are made from.
    fn rows<'g>(&self, group: &'g Group) -> Vec<Row<'g>> {
        let rows = group.features.chunks_exact(self.form.dimension);
        let pictures = group.ids.iter().zip(&group.indices).zip(&group.files);
        let rows = pictures
            .zip(rows)
            .filter_map(|(((id, &index), &file), feature)| {
                let data: &[u8] = bytemuck::cast_slice(feature);
                let path = self.list.entry(index as usize).into();
                let feature_sum = feature_sum(data);
                Cause::of_feature(feature).is_none().then(|| Row {
                    id: id.as_str(),
                    made: Made {
                        source: Source { path, file },
                        feature_sum,
                    },
                    data,
                })
            });
        rows.collect()
    }

    /// Records which files the features of a group are made from; this comes before they are written.
    fn record_sources(&self, scratch: &Scratch, group: &Group) -> Result<()> {
        let made: Vec<Made> = self.rows(group).into_iter().map(|row| row.made).collect();
        sources::record(scratch, &made).with_context(|| {
            let path = self.directory.path();
            format!("cannot record sources in {}", path.display())
        })
    }

    /// From the bytes of a file to pixels, on the CPU.
    pub(super) fn decode(
        &self,
        shared: &Shared<'_>,
        reader: &mut PictureReader,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<(), PictureError> {
        let Form { width, height, .. } = *self.form;
        let memory = &shared.memory;
        memory.within(|memory| reader.read_within(memory, bytes, width, height, out))
    }

    /// Adds the features of a group to the shard in hand.
    fn pack(&self, shared: &Shared<'_>, packing: &PartWriter, group: &Group) -> Result<()> {
        let rows = group.features.chunks_exact(self.form.dimension);
        for ((id, &index), feature) in group.ids.iter().zip(&group.indices).zip(rows) {
            if let Some(cause) = Cause::of_feature(feature) {
                self.fail(shared, id, self.list.entry(index as usize), cause)?;
            }
        }
        let rows = self.rows(group);
        packing.push(&rows, self.plan)?;
        let done = rows.len() as u64;
        self.counts.done.fetch_add(done, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the features of a group, a file for each, and gives its objects up.
    fn write(&self, shared: &Shared<'_>, scratch: &Scratch, worker: &mut Worker) -> Result<()> {
        let Worker {
            slot, bytes, group, ..
        } = worker;
        self.record_sources(scratch, group)?;
        let rows = group.features.chunks_exact(self.form.dimension);
        for ((id, &index), feature) in group.ids.iter().zip(&group.indices).zip(rows) {
            let entry = self.list.entry(index as usize);
            if let Some(cause) = Cause::of_feature(feature) {
                self.fail(shared, id, entry, cause)?;
            } else {
                self.look_for_another(shared, id, bytes);
                bytes.clear();
                npy::append_feature(feature, bytes);
                match scratch.write_feature(self.directory, id, *slot, bytes) {
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

    /// Says so, once, where another process has made the feature of an object that this one has claimed.
    fn look_for_another(&self, shared: &Shared<'_>, id: &ObjectId, buffer: &mut Vec<u8>) {
        if shared.is_not_alone.load(Ordering::Relaxed) {
            return;
        }
        let there = self.directory.feature_state(id, buffer);
        if matches!(there, Ok(FeatureState::Complete(dimension)) if dimension == self.form.dimension)
            && !self.plan.is_still_stale(self.directory, id)
            && !shared.is_not_alone.swap(true, Ordering::Relaxed)
        {
            self.progress.warn(
                "another process makes objects that this one has claimed: locks do not hold between them here, so that \
                 some objects are done twice; nothing is lost",
            );
        }
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
