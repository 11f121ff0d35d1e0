//! The file of a model, or the model inside the program.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};

use crate::inference::default_model;
use crate::storage::checksum;
use crate::storage::model_dir::model_stem;

/// A model's file, read.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The name of its directory of features.
    pub stem: String,
    /// The ONNX graph.
    pub bytes: Cow<'static, [u8]>,
    /// Whether it is the one inside the program.
    pub is_default: bool,
}

impl ModelFile {
    /// Reads a model, or takes the one inside the program where none is named.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(ModelFile::inside());
        };
        let stem = model_stem(path).with_context(|| {
            format!(
                "{} cannot name a directory of features; give the model a plain file name",
                path.display()
            )
        })?;
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the model {}", path.display()))?;
        Ok(ModelFile {
            stem,
            bytes: bytes.into(),
            is_default: false,
        })
    }

    /// The model inside the program.
    pub fn inside() -> Self {
        ModelFile {
            stem: default_model::STEM.to_owned(),
            bytes: default_model::BYTES.into(),
            is_default: true,
        }
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> String {
        checksum::of_bytes(&self.bytes)
    }
}
