//! What a run did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Agreement;
use super::work::WorkOutcome;
use crate::inference::rewrite::Rewrites;
use crate::inference::{Execution, Precision, Provider};

/// What a run did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Objects in the list, or in the part of it.
    pub listed: usize,
    /// Objects in the whole list.
    #[serde(skip)]
    pub in_file: usize,
    /// Features written by this run.
    pub done: u64,
    /// Objects that had a feature, of a file that is another one now.
    pub changed: usize,
    /// Objects that still have such a feature, in a shard that the run does not change: one of the model's directory
    /// where it packs, or of a part where it does not.
    pub changed_elsewhere: usize,
    /// Objects whose file has another path than before, and is otherwise as it was.
    pub moved: usize,
    /// Objects whose feature was there, or that another process did.
    pub skipped: u64,
    /// Objects that failed, in this run or before.
    pub failed: u64,
    /// Objects that are left: the run was interrupted or limited, or another process has claimed them.
    pub left: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Features written a second.
    pub images_per_second: f64,
    /// The signal that stopped the run.
    #[serde(skip)]
    pub signal: Option<i32>,
    /// Whether the run stopped because of [`Options::max_errors`](super::Options::max_errors).
    #[serde(skip)]
    pub too_many_errors: bool,
    /// Those of the objects left that another process had claimed and made no progress with.
    #[serde(skip)]
    pub claimed_elsewhere: usize,
    /// Those of the objects left that belong to parts which other processes write.
    #[serde(skip)]
    pub left_to_parts: usize,
    /// The directory of a part that another process writes, and what that says about itself: then nothing was done.
    #[serde(skip)]
    pub held_by: Option<(PathBuf, String)>,
    /// Where the failures are reported.
    pub failures: Option<PathBuf>,
    /// How many are reported of each class.
    #[serde(skip)]
    pub reported: BTreeMap<String, usize>,
    /// The execution provider; this and what follows is none where there was nothing to do.
    pub provider: Option<Provider>,
    /// What the graph computed with.
    pub precision: Option<Precision>,
    /// Pictures in a call of the model.
    pub batch: Option<usize>,
    /// Pictures that a GPU decoded, where it was to.
    pub decoded_on_gpu: Option<u64>,
    /// Threads that read, ran and wrote.
    pub workers: Option<usize>,
    /// What was done to the graph to run it faster; none where it ran as it is.
    pub rewrites: Option<Rewrites>,
    /// How far the features are from those of fp32, where they are not of fp32.
    pub agreement: Option<Agreement>,
}

impl Summary {
    /// What the workers did, without the counts of objects.
    pub(super) fn of_work(ended: WorkOutcome, execution: Execution, workers: usize) -> Self {
        Summary {
            signal: ended.signal,
            too_many_errors: ended.too_many_errors,
            claimed_elsewhere: ended.claimed_elsewhere,
            provider: Some(execution.provider),
            precision: Some(execution.precision),
            batch: Some(execution.batch),
            decoded_on_gpu: ended.decoded_on_gpu,
            workers: Some(workers),
            rewrites: execution.rewrites,
            ..Summary::default()
        }
    }
}
