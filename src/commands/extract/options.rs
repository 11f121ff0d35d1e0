//! What a run is asked for, and the model that it runs.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::on_gpu;
use crate::inference::model_pool::ModelPool;
use crate::inference::{Engine, Precision, Preprocess};
use crate::pictures::{GpuReader, PixelOptions};
use crate::storage::object_id::IdKind;
use crate::storage::part::Part;
use crate::storage::part_dir;
use crate::storage::recipe::Finish;

/// What to extract, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The media directory; the listed paths are relative to it.
    pub media_dir: PathBuf,
    /// The list of objects, `-` for standard input. Default: `MEDIA_DIR/objects.txt`.
    pub objects: PathBuf,
    /// The part of the list that is to be extracted. Default: all of it.
    pub part: Option<Part>,
    /// The model's directory of features, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Rows of a full shard, where the run writes shards itself, into a directory of its part. Default: it writes a
    /// file for each object.
    pub pack: Option<usize>,
    /// What object ids are. Default: what they are in the directory, and names in a new one.
    pub ids: Option<IdKind>,
    /// Threads that read, run and write. Default: the processors that this process may use.
    pub workers: Option<usize>,
    /// Seed of the order. Default: a random one.
    pub seed: Option<u64>,
    /// The most objects to extract in this run. Default: all.
    pub limit: Option<usize>,
    /// Stop after this many failures. Default: never.
    pub max_errors: Option<usize>,
    /// Whether to try just the objects that failed before. Default: no; and failures that cannot change are not
    /// tried again.
    pub retry_failed: bool,
    /// Whether a feature is taken to be that of its file without a look at the file. Default: no, its size and the time
    /// of its last change are compared with what is recorded.
    pub assume_unchanged: bool,
    /// How long to wait, without progress, for objects that other processes have claimed. Default:
    /// [`PATIENCE`](super::PATIENCE).
    pub patience: Duration,
    /// Whether the graph runs as it is, for features equal to those of the Python recipe to the last bit. Default:
    /// no, it may be rewritten to run faster.
    pub exact: bool,
    /// How pictures are decoded and resampled.
    pub pixels: PixelOptions,
}

impl Options {
    /// The part of the list. A run that packs and names none has all of it.
    pub(super) fn part(&self) -> Option<Part> {
        self.part.or(self.pack.map(|_| Part::ALL))
    }

    /// Where the run writes features and failures: the model's directory, or that of a part in it.
    pub(super) fn own_directory(&self) -> PathBuf {
        match (self.part(), self.pack) {
            (Some(part), Some(_)) => part_dir::directory(&self.directory, part),
            _ => self.directory.clone(),
        }
    }
}

/// A model, and how to get it running.
pub struct ModelSource<'a> {
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: &'a str,
    /// The output that was asked for by name.
    pub output: Option<&'a str>,
    /// What the graph computes with.
    pub precision: Precision,
    /// Number of the GPU, from 0.
    pub device: i32,
    /// How a picture becomes the input, where that is not the program's own way.
    pub preprocess: Option<Preprocess>,
    /// What is done with the model's output.
    pub finish: Finish,
    /// Starts the runtime; called once, and only when there is something to do.
    pub start: &'a dyn Fn() -> Result<Box<dyn Engine>>,
    /// The model, once it runs; it stays for the next run with this source. Begins empty.
    pub running: OnceCell<ModelPool>,
    /// What decodes on the GPU, likewise.
    pub decoder: OnceCell<GpuReader>,
}

impl ModelSource<'_> {
    /// The model, in sessions for so many threads; starts it where it does not run yet.
    pub(super) fn run(&self, options: &Options, workers: usize) -> Result<&ModelPool> {
        if let Some(pool) = self.running.get() {
            return Ok(pool);
        }
        let engine = (self.start)()?;
        on_gpu::check(options, engine.as_ref())?;
        Ok(self.running.get_or_init(|| ModelPool::new(engine, workers)))
    }

    /// What decodes on the GPU that runs the model, where one shall.
    pub(super) fn decoder(
        &self,
        options: &Options,
        pool: &ModelPool,
    ) -> Result<Option<&GpuReader>> {
        if !options.pixels.decode_on_gpu {
            return Ok(None);
        }
        if let Some(decoder) = self.decoder.get() {
            return Ok(Some(decoder));
        }
        let decoder = on_gpu::open(options, self.device, pool)?;
        Ok(Some(self.decoder.get_or_init(|| decoder)))
    }
}
