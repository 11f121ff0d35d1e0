//! The workers: each carries groups of pictures from end to end.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what the workers share; a group's way through the model |
//! | `taking.rs` | before that: from the queue to decoded pictures |
//! | `writing.rs` | after it: from features to files |

mod taking;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use super::Options;
use super::comparison::Comparison;
use super::group::{Group, group_size};
use super::mounted::Mounted;
use super::packed_meanwhile::Packed;
use super::packing::PartWriter;
use super::plan::Plan;
use super::queue::Queue;
use super::reads::Reads;
use crate::inference::model_pool::ModelPool;
use crate::inference::{Form, Model};
use crate::pictures::{GpuReader, Memory, PictureReader};
use crate::storage::failures::FailureReport;
use crate::storage::model_dir::{ModelDir, Scratch};
use crate::storage::object_list::ObjectList;
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

    fn show(&self, shared: &Shared<'_>) {
        let pending = self.plan.pending.len() as u64;
        self.progress.show(self.counts, pending, shared.started);
    }

    fn stopped(&self, shared: &Shared<'_>) -> bool {
        shared.stop.load(Ordering::Relaxed) || self.interrupt.signal().is_some()
    }
}
