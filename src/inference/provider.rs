//! What a model runs on, and the numbers that it computes with.

pub use crate::storage::recipe::Precision;

/// ONNX Runtime's device back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    #[default]
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
            // TensorRT computes fp32 that way where it likes.
            Precision::Tf32 => self == Provider::Cuda,
            Precision::Fp16 => self.is_gpu(),
        }
    }
}
