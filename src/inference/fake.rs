//! A model for tests that takes no runtime.

use anyhow::Result;

use super::{Engine, Execution};
use crate::inference::rewrite::Layout;
use crate::inference::{Form, Model, ModelError, Precision, Provider};

/// Gives each picture's three bytes as its feature.
struct FakeModel(Form);

impl Model for FakeModel {
    fn form(&self) -> &Form {
        &self.0
    }

    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError> {
        features.extend(pixels.iter().map(|byte| f32::from(*byte)));
        Ok(())
    }
}

/// An engine of such models, whatever it is said to compute with.
pub struct FakeEngine(pub Precision);

impl Engine for FakeEngine {
    fn execution(&self) -> Execution {
        Execution {
            provider: Provider::OpenVino,
            precision: self.0,
            batch: 1,
            rewrites: None,
        }
    }

    fn open(&self) -> Result<Box<dyn Model>> {
        self.reference()
    }

    fn reference(&self) -> Result<Box<dyn Model>> {
        Ok(Box::new(FakeModel(Form {
            input: String::new(),
            output: String::new(),
            height: 1,
            width: 1,
            layout: Layout::Nhwc,
            fixed_batch: None,
            dimension: 3,
        })))
    }
}
