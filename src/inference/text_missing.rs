//! In the place of `text.rs` where the program is built without the feature `text`.

use std::path::Path;

use anyhow::{Result, bail};

use super::embed::QueryError;
use super::places::LazyRuntime;

/// There is none.
pub enum TextModel {}

impl TextModel {
    /// Refuses.
    pub fn open(_: &Path, _: usize, _: Option<&Path>, _: &LazyRuntime) -> Result<Self> {
        bail!("this program was built without the feature `text`, and knows no words")
    }

    /// Refuses.
    pub fn open_checked(_: &Path, _: usize, _: Option<&Path>, _: &LazyRuntime) -> Result<Self> {
        bail!("this program was built without the feature `text`, and knows no words")
    }

    /// Is never called.
    pub fn feature(&self, _: &str) -> Result<Vec<f32>, QueryError> {
        match *self {}
    }
}
