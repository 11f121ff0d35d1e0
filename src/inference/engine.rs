//! What opens models, and how they run.

use anyhow::Result;

use super::model::{Form, Model};
use super::provider::{Precision, Provider};
use super::rewrite::Rewrites;

/// Loads models; the program's is [`OnnxEngine`](super::OnnxEngine), tests have a fake.
pub trait Engine: Send + Sync {
    /// How the models run.
    fn execution(&self) -> Execution;

    /// What the model takes and gives, as its file says; rewritten it may take something else.
    fn form(&self) -> &Form;

    /// Loads the model for one more session. The first one on a GPU takes seconds.
    fn open(&self) -> Result<Box<dyn Model>>;

    /// Loads the model as it is, in fp32 on the CPU, to compare with.
    fn reference(&self) -> Result<Box<dyn Model>>;
}

/// How models run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Execution {
    /// The execution provider.
    pub provider: Provider,
    /// What the graph computes with.
    pub precision: Precision,
    /// Pictures in a call of the model.
    pub batch: usize,
    /// What was done to the graph to run it faster; none where it runs as it is.
    pub rewrites: Option<Rewrites>,
}
