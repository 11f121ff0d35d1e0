//! A model for tests that takes no runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use super::engine::{Engine, Execution};
use super::model::{Form, Model, ModelError};
use super::provider::{Precision, Provider};
use super::rewrite::Layout;
use crate::pictures::preprocessing::Numbers;

/// Pictures of one pixel, whose three bytes are the feature.
static FORM: Form = Form {
    input: String::new(),
    output: String::new(),
    height: 1,
    width: 1,
    layout: Layout::Nhwc,
    numbers: Numbers::Over255,
    fixed_batch: None,
    dimension: 3,
};

/// Gives each picture's three bytes as its feature.
struct FakeModel {
    calls: Arc<AtomicUsize>,
    fails: Option<(usize, fn() -> ModelError)>,
}

impl Model for FakeModel {
    fn form(&self) -> &Form {
        &FORM
    }

    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((first, error)) = self.fails
            && call >= first
        {
            return Err(error());
        }
        features.extend(pixels.iter().map(|byte| f32::from(*byte)));
        Ok(())
    }
}

/// An engine of such models, whatever it is said to compute with.
pub struct FakeEngine {
    /// Where it is said to run. Default: OpenVINO.
    pub provider: Provider,
    /// What it is said to compute with. Default: fp32.
    pub precision: Precision,
    /// Pictures in a call. Default: 1.
    pub batch: usize,
    /// From which call on its models fail, counted over all of them, and with what. Default: never.
    pub fails: Option<(usize, fn() -> ModelError)>,
    /// Models opened.
    pub opened: Arc<AtomicUsize>,
    /// Calls of all models.
    pub calls: Arc<AtomicUsize>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        FakeEngine {
            provider: Provider::OpenVino,
            precision: Precision::Fp32,
            batch: 1,
            fails: None,
            opened: Arc::default(),
            calls: Arc::default(),
        }
    }
}

impl Engine for FakeEngine {
    fn execution(&self) -> Execution {
        Execution {
            provider: self.provider,
            precision: self.precision,
            batch: self.batch,
            rewrites: None,
        }
    }

    fn form(&self) -> &Form {
        &FORM
    }

    fn open(&self) -> Result<Box<dyn Model>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.reference()
    }

    fn reference(&self) -> Result<Box<dyn Model>> {
        Ok(Box::new(FakeModel {
            calls: self.calls.clone(),
            fails: self.fails,
        }))
    }
}

/// What a GPU that has no memory left makes of a batch of two pictures.
pub fn out_of_memory() -> ModelError {
    let said = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 void onnxruntime::CudaCall() CUDA \
                failure 2: out of memory ; GPU=0 ; hostname=node ; expr=cudaMalloc((void**)&p, size);";
    ModelError::of_run(Provider::Cuda, 2, said)
}
