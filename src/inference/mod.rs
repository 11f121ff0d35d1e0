//! From a picture to its feature: ONNX Runtime, and what it is given to run. The only folder that names `ort`.

mod default_model;
pub mod embed;
#[cfg(test)]
pub mod fake;
pub mod library;
mod loader;
mod message;
mod model;
mod model_file;
pub mod pool;
mod probe;
mod provider;
pub mod rewrite;
mod runtime;
mod session;

pub use loader::{Engine, Execution, OnnxEngine, Options, Places, Wanted, try_library};
pub use message::DeviceFailure;
pub use model::{Form, Model, ModelError};
pub use model_file::ModelFile;
pub use provider::{Precision, Provider};
pub use rewrite::{Feed, Layout};
pub use runtime::{ConvolutionSearch, CudaOptions, Runtime, SessionOptions};
pub use session::OnnxModel;
