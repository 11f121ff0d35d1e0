//! What a model is, and why it may not run.

use std::path::PathBuf;

use thiserror::Error;

use super::message::{DeviceFailure, RuntimeMessage};
use super::provider::Provider;
use super::rewrite::Layout;
use crate::pictures::preprocessing::Numbers;
use crate::support::progress::counted;

/// Turns batches of pixels into features. The program's is [`OnnxModel`](super::OnnxModel); tests have a fake.
pub trait Model: Send {
    /// Picture size and dimension.
    fn form(&self) -> &Form;

    /// Runs the model on `n` pictures. `pixels` are `[n, height, width, 3]`, RGB, 0 to 255; to `features`
    /// are added `[n, dimension]`, row after row.
    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError>;
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Form {
    /// Name of the input.
    pub input: String,
    /// Name of the output.
    pub output: String,
    /// Height of the pictures, in pixels.
    pub height: usize,
    /// Width of the pictures, in pixels.
    pub width: usize,
    /// Order of the input's axes.
    pub layout: Layout,
    /// What the numbers of the input are.
    #[serde(skip)]
    pub numbers: Numbers,
    /// Pictures in a call where the model's batch axis is fixed.
    pub fixed_batch: Option<usize>,
    /// Numbers in a feature.
    #[serde(rename = "feature_length")]
    pub dimension: usize,
}

/// Why a model cannot be loaded or run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The library does not load.
    #[error("ONNX Runtime at {} does not load; `make setup` fetches one that does", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader of libraries said.
        #[source]
        source: ort::LoadDynamicError,
    },
    /// The library loads and does not start.
    #[error("ONNX Runtime does not start")]
    Start(#[source] RuntimeMessage),
    /// The runtime refuses the model.
    #[error("ONNX Runtime cannot load the model on the {} provider", provider.name())]
    Open {
        /// The provider that was asked for.
        provider: Provider,
        /// What the runtime said.
        #[source]
        source: RuntimeMessage,
    },
    /// The provider cannot run here.
    #[error("the {} provider cannot run here: {missing}; {hint}", provider.name())]
    Provider {
        /// The provider that was asked for.
        provider: Provider,
        /// What is missing.
        missing: String,
        /// What to do about it.
        hint: &'static str,
        /// What the runtime said, where it was asked.
        #[source]
        source: Option<RuntimeMessage>,
    },
    /// The model is none for pictures.
    #[error("{found}; needed: {needed}")]
    Unfit {
        /// What the model has.
        found: String,
        /// What the program can work with.
        needed: &'static str,
    },
    /// A GPU gives other features than the CPU. Two lines: what happened, and what to do.
    #[error(
        "the {} device gives other features than the CPU: that of a probe picture differs by {difference:.1e}\nrun with \
         --provider cpu, and try a newer driver or ONNX Runtime",
        provider.name()
    )]
    Differs {
        /// The provider that ran.
        provider: Provider,
        /// How far the features are apart, relative to the norm of the CPU's.
        difference: f64,
    },
    /// A batch fails.
    #[error("the model fails on a batch of {}; try a smaller --batch-size", counted(*batch, "picture"))]
    Run {
        /// Pictures in the batch.
        batch: usize,
        /// What the runtime said.
        #[source]
        source: RuntimeMessage,
    },
    /// The device fails while a batch runs on it. Two lines: what happened, and what to do.
    #[error("{}", device_failed(*provider, *batch, *failure, said))]
    Device {
        /// The provider that ran.
        provider: Provider,
        /// Pictures in the batch.
        batch: usize,
        /// What happened.
        failure: DeviceFailure,
        /// What the runtime said.
        said: RuntimeMessage,
    },
}

fn device_failed(
    provider: Provider,
    batch: usize,
    failure: DeviceFailure,
    said: &RuntimeMessage,
) -> String {
    let (happened, hint) = match failure {
        DeviceFailure::OutOfMemory => (
            "has no memory left",
            "`nvidia-smi` lists what else uses it; free some, or give a smaller --batch-size, and run the same command \
             again",
        ),
        DeviceFailure::Lost => (
            "failed",
            "`nvidia-smi` and `dmesg` tell more; run the same command again when the device answers, or with \
             --provider cpu and another --feature-dir",
        ),
    };
    format!(
        "the {} device {happened} while it ran {}: {said}\nfeatures that were written are kept; {hint}",
        provider.name(),
        counted(batch, "picture")
    )
}

impl ModelError {
    /// An error of the runtime while `batch` pictures ran.
    pub(super) fn of_run(
        provider: Provider,
        batch: usize,
        said: impl Into<RuntimeMessage>,
    ) -> Self {
        let said = said.into();
        match said.device_failure().filter(|_| provider.is_gpu()) {
            Some(failure) => ModelError::Device {
                provider,
                batch,
                failure,
                said,
            },
            None => ModelError::Run {
                batch,
                source: said,
            },
        }
    }
}
