//! Models: from a batch of pixels to features, through ONNX Runtime. The only folder that names `ort`.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what a model is, what it runs on, and why it may not |
//! | `session.rs` | the loaded library, and how it is told to run a graph |
//! | `onnx.rs` | a graph that is loaded: what it takes and gives, and a call of it |

mod onnx;
mod session;

use std::path::PathBuf;

use thiserror::Error;

pub use crate::graph::{Feed, Layout};
pub use onnx::OnnxModel;
pub use session::{Runtime, SessionOptions};

/// Turns batches of pixels into features. The program's is [`OnnxModel`]; tests have a fake.
pub trait Model: Send {
    /// Picture size and feature length.
    fn form(&self) -> &Form;

    /// Runs the model on `n` pictures. `pixels` are `[n, height, width, 3]`, RGB, 0 to 255; to `features`
    /// are added `[n, feature length]`, row after row.
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
    pub feature_length: usize,
}

/// ONNX Runtime's device back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// The processor, through OpenVINO.
    OpenVino,
    /// An NVIDIA GPU.
    Cuda,
    /// An NVIDIA GPU, through TensorRT.
    TensorRt,
}

impl Provider {
    /// All of them.
    pub const ALL: [Provider; 4] = [
        Provider::Cpu,
        Provider::OpenVino,
        Provider::Cuda,
        Provider::TensorRt,
    ];

    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::OpenVino => "openvino",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }

    /// Whether it runs on a GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Provider::Cuda | Provider::TensorRt)
    }

    /// Whether it can compute in a precision.
    pub fn computes_in(self, precision: Precision) -> bool {
        match precision {
            Precision::Fp32 => true,
            Precision::Bf16 => self == Provider::OpenVino,
            Precision::Fp16 => self.is_gpu(),
        }
    }
}

/// The numbers that a graph computes with. Its input and output are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 significant bits.
    #[default]
    Fp32,
    /// 8 significant bits, the exponents of f32; on processors that have instructions for it.
    Bf16,
    /// 11 significant bits, up to 65504; on a GPU.
    Fp16,
}

impl Precision {
    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
            Precision::Fp16 => "fp16",
        }
    }
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
