//! What a model is, and why it may not run.

use std::path::PathBuf;

use thiserror::Error;

use super::provider::Provider;
use super::rewrite::Layout;

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
        /// Why.
        #[source]
        source: ort::LoadDynamicError,
    },
    /// The library loads and does not start.
    #[error("ONNX Runtime does not start")]
    Start(#[source] ort::Error),
    /// The runtime refuses the model.
    #[error("ONNX Runtime cannot load the model on the {} provider", provider.name())]
    Open {
        /// The provider that was asked for.
        provider: Provider,
        /// Why.
        #[source]
        source: ort::Error,
    },
    /// The provider cannot run here.
    #[error("the {} provider cannot run here: {missing}; {way_out}", provider.name())]
    Provider {
        /// The provider that was asked for.
        provider: Provider,
        /// What is missing.
        missing: String,
        /// What to do about it.
        way_out: &'static str,
        /// What the runtime said, where it was asked.
        #[source]
        source: Option<ort::Error>,
    },
    /// The model is none for pictures.
    #[error("{found}; needed: {needed}")]
    Unfit {
        /// What the model has.
        found: String,
        /// What the program can work with.
        needed: &'static str,
    },
    /// A batch fails.
    #[error("the model fails on a batch")]
    Run(#[source] ort::Error),
}
