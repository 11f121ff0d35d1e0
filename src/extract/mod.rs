//! Command: pending objects -> batches -> features -> files.

mod plan;
mod sessions;
mod work;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::engine::Engine;
use crate::failure::FailureReport;
use crate::feature_dir::FeatureDir;
use crate::graph::Rewrites;
use crate::interrupt::Interrupt;
use crate::model::{Form, Provider};
use crate::object::ObjectList;
use crate::pixels::PixelOptions;
use crate::progress::{Counts, Progress};
use crate::recipe::{self, Recipe};

use plan::Plan;
use sessions::Sessions;
use work::Work;

/// What to extract, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The media directory; the listed paths are relative to it.
    pub media_dir: PathBuf,
    /// The list of objects. Default: `MEDIA_DIR/objects.txt`.
    pub objects: PathBuf,
    /// The model's directory of features, `FEATURE_DIR/<model stem>`.
    pub directory: PathBuf,
    /// Pictures in a call of the model. Default: 8 on the CPU, 64 on a GPU.
    pub batch_size: Option<usize>,
    /// Threads that carry batches. Default: the processors that this process may use.
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
    /// Whether the graph runs as it is, for features equal to those of the Python recipe to the last bit. Default:
    /// no, it may be rewritten to run faster.
    pub exact: bool,
    /// Limits of the decoder.
    pub pixels: PixelOptions,
}

/// A model, and how to get it running.
pub struct Source<'a> {
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: &'a str,
    /// Starts the runtime; called once, and only when there is something to do.
    pub start: &'a dyn Fn() -> Result<Box<dyn Engine>>,
}

/// Pictures in a call of the model, on the CPU: larger ones are no faster there.
const CPU_BATCH: usize = 8;
/// Pictures in a call of the model, on a GPU.
const GPU_BATCH: usize = 64;
/// Models loaded at once on a GPU: one batch is copied while the other runs.
const GPU_SESSIONS: usize = 2;

/// What a run did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Objects in the list.
    pub listed: usize,
    /// Features written by this run.
    pub done: u64,
    /// Objects whose feature was there, or that another process did.
    pub skipped: u64,
    /// Objects that failed, in this run or before.
    pub failed: u64,
    /// Objects that are left: the run was interrupted, or limited.
    pub left: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Features written a second.
    pub images_per_second: f64,
    /// The signal that stopped the run.
    #[serde(skip)]
    pub signal: Option<i32>,
    /// Where the failures are reported.
    pub failures: Option<PathBuf>,
    /// How the model ran; none where there was nothing to do.
    #[serde(flatten)]
    pub setup: Option<Setup>,
}

/// How the model of a run ran.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Setup {
    /// The execution provider.
    pub provider: Provider,
    /// Pictures in a call of the model.
    pub batch: usize,
    /// Threads that carried batches.
    pub workers: usize,
    /// What was done to the graph to run it faster; none where it ran as it is.
    pub rewrites: Option<Rewrites>,
}

impl Setup {
    fn new(options: &Options, engine: &dyn Engine) -> Self {
        let provider = engine.provider();
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Setup {
            provider,
            batch: options.batch_size.unwrap_or(if provider == Provider::Cpu {
                CPU_BATCH
            } else {
                GPU_BATCH
            }),
            workers: options.workers.unwrap_or_else(processors),
            rewrites: engine.rewrites(),
        }
    }

    fn sessions(&self) -> usize {
        if self.provider == Provider::Cpu {
            self.workers
        } else {
            GPU_SESSIONS
        }
    }
}

/// Extracts the features of all pending objects.
pub fn extract(
    options: &Options,
    source: &Source<'_>,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let started = Instant::now();
    let list = read_list(&options.objects)?;
    check_media_directory(&options.media_dir)?;
    let path = &options.directory;
    let directory = FeatureDir::create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let recorded = Recipe::read(path)?;
    let report = FailureReport::open(&directory)
        .with_context(|| format!("cannot lock {}", path.display()))?;

    let plan = Plan::make(options, &list, &directory, recorded.as_ref(), &report)?;
    plan.check_mounted(options, &list)?;
    let counts = Counts::default();
    counts.failed.store(plan.failed as u64, Ordering::Relaxed);
    let (mut stopped, mut setup) = (None, None);
    if !plan.pending.is_empty() {
        let engine = (source.start)()?;
        let setup = setup.insert(Setup::new(options, engine.as_ref()));
        let sessions = Sessions::new(setup.sessions(), engine.as_ref());
        let form = sessions.with(|model| Ok(model.form().clone()))?;
        recipe(source, &form, options).agree(path)?;
        let work = Work {
            options,
            setup,
            list: &list,
            plan: &plan,
            directory: &directory,
            report: &report,
            sessions: &sessions,
            form: &form,
            counts: &counts,
            progress,
            interrupt,
        };
        stopped = work.run()?;
    }
    let reporting = || format!("cannot write {}", report.path().display());
    report
        .tidy(|id| plan.is_resolved(&directory, id))
        .with_context(reporting)?;

    let [done, skipped, failed] =
        [&counts.done, &counts.skipped, &counts.failed].map(|count| count.load(Ordering::Relaxed));
    let seconds = started.elapsed().as_secs_f64();
    let skipped = skipped + plan.existing as u64;
    Ok(Summary {
        listed: list.len(),
        done,
        skipped,
        failed,
        left: (list.len() as u64).saturating_sub(done + skipped + failed),
        seconds,
        images_per_second: done as f64 / seconds,
        signal: stopped,
        failures: report.path().exists().then(|| report.path().to_owned()),
        setup,
    })
}

fn read_list(path: &Path) -> Result<ObjectList> {
    let bytes = fs::read(path).with_context(|| match path.exists() {
        true => format!("cannot read the list of objects {}", path.display()),
        false => format!(
            "there is no list of objects at {}; `simsearch list` makes it",
            path.display()
        ),
    })?;
    ObjectList::parse(bytes)
        .with_context(|| format!("cannot read the list of objects {}", path.display()))
}

fn check_media_directory(path: &Path) -> Result<()> {
    match fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "the media directory {} does not exist; is its disk mounted?",
                path.display()
            )
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot read the media directory {}", path.display())),
    }
}

fn recipe(source: &Source<'_>, form: &Form, options: &Options) -> Recipe {
    let Form { width, height, .. } = form;
    let scaled = if options.pixels.scaled_decode {
        ", JPEG scaled while decoding"
    } else {
        ""
    };
    let decoder = crate::pixels::JPEG_DECODER;
    Recipe {
        format: recipe::FORMAT,
        model_sha256: source.sha256.to_owned(),
        output: form.output.clone(),
        preprocessing: format!(
            "RGB, bicubic {width}x{height} as Pillow 13, JPEG by {decoder}{scaled}, / 255"
        ),
        feature_length: form.feature_length,
        dtype: "<f4".into(),
        exact: options.exact,
    }
}
