//! From a picture to its feature: ONNX Runtime, and what it is given to run. The only folder that names `ort`.
//!
//! | module | what |
//! |---|---|
//! | [`library`] | finds the file of ONNX Runtime, and checks that it can be loaded without harm |
//! | `runtime` | the loaded library, and how it is told to run a graph |
//! | `engine` | what opens models; tests have a fake |
//! | `places` | where the runtime may be, and how it is loaded once |
//! | `session` | a loaded graph, and a call of it |
//! | `model`, `provider` | what a model is, what it runs on, and why it may not run |
//! | `message` | what the runtime says of an error, made readable |
//! | `finish` | from a model's output to features |
//! | [`rewrite`] | graphs that run faster and give the same |
//! | `loader`, `probe` | from what the user asked for to a session: chooses the provider, compares the rewritten graph |
//! | [`model_pool`] | the sessions that threads share |
//! | [`embed`] | a query's feature, made in the way of the recipe |
//! | [`text`] | the same for words, with models such as CLIP |
//! | `preprocess` | what a model was trained to see, from the configuration beside it or a preset |
//! | `model_file`, `default_model` | the file of a model, and the model inside the program |

mod default_model;
pub mod embed;
mod engine;
#[cfg(test)]
pub mod fake;
mod finish;
pub mod library;
mod loader;
mod message;
mod model;
mod model_file;
pub mod model_pool;
mod places;
mod preprocess;
mod probe;
mod provider;
pub mod rewrite;
mod runtime;
mod session;
#[cfg_attr(not(feature = "text"), path = "text_missing.rs")]
pub mod text;

pub use crate::storage::recipe::{Finish, Pool};
pub use engine::{Engine, Execution};
pub use loader::{OnnxEngine, Options, Wanted};
pub use message::DeviceFailure;
pub use model::{Form, Model, ModelError};
pub use model_file::ModelFile;
pub use places::{LazyRuntime, Places, try_library};
pub use preprocess::{Backend, PRESETS, Preprocess};
pub use provider::{Precision, Provider};
pub use rewrite::{Feed, Layout};
pub use runtime::{ConvolutionSearch, CudaOptions, Runtime, SessionOptions};
pub use session::OnnxModel;
