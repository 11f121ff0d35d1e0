//! Command: pending objects -> batches -> features -> files.

mod comparison;
mod plan;
mod sessions;
mod work;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::engine::{Engine, Execution};
use crate::failure::FailureReport;
use crate::feature_dir::FeatureDir;
use crate::interrupt::Interrupt;
use crate::model::{Form, Precision};
use crate::object::ObjectList;
use crate::pixels::PixelOptions;
use crate::progress::{Counts, Progress};
use crate::recipe::{self, Recipe};

pub use comparison::Agreement;
use comparison::Comparison;
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
    /// What it ran on.
    #[serde(flatten)]
    pub execution: Execution,
    /// Threads that carried batches.
    pub workers: usize,
    /// How far the features are from those of fp32, where they are not of fp32.
    pub agreement: Option<Agreement>,
}

impl Setup {
    fn new(options: &Options, execution: Execution) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Setup {
            execution,
            workers: options.workers.unwrap_or_else(processors),
            agreement: None,
        }
    }

    fn sessions(&self) -> usize {
        match self.execution.provider.is_gpu() {
            true => GPU_SESSIONS,
            false => self.workers,
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
        let setup = setup.insert(Setup::new(options, engine.execution()));
        let sessions = Sessions::new(setup.sessions(), engine.as_ref());
        let form = sessions.with(|model| Ok(model.form().clone()))?;
        let precision = setup.execution.precision;
        recipe(source, &form, precision, options).agree(path)?;
        let comparison = Comparison::new(engine.as_ref(), progress);
        let work = Work {
            options,
            setup,
            list: &list,
            plan: &plan,
            directory: &directory,
            report: &report,
            sessions: &sessions,
            form: &form,
            comparison: comparison.as_ref(),
            counts: &counts,
            progress,
            interrupt,
        };
        stopped = work.run()?;
        setup.agreement = comparison.and_then(Comparison::finish);
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

fn recipe(source: &Source<'_>, form: &Form, precision: Precision, options: &Options) -> Recipe {
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
        precision,
        exact: options.exact,
    }
}
