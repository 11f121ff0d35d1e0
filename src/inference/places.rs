//! Where ONNX Runtime may be, and the runtime that is found there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Result;

use super::rewrite::Feed;
use super::runtime::{Runtime, SessionOptions};
use super::{default_model, library};
use crate::support::mutex::lock;

/// Where the library may be.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The library, or a folder that holds it. Default: searched for, see [`library::find`].
    pub named: Option<PathBuf>,
    /// This program's file.
    pub program: Option<PathBuf>,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
    /// How to try a library in a process of its own: a program, and its arguments before the library's path. Default: a
    /// library is not tried.
    pub trial: Option<(PathBuf, &'static str)>,
}

impl Places {
    /// Finds the library and checks it.
    pub fn find(&self) -> Result<PathBuf, library::LibraryError> {
        let library = library::find(
            self.named.as_deref(),
            self.program.as_deref(),
            self.library_path.as_deref(),
        )?;
        match &self.trial {
            // Bytes that `make setup` knows need no trial, which takes 0.05 s.
            Some((program, argument)) if !library::has_checksum(&library) => {
                library::try_apart(program, argument, &library)?;
            }
            _ => {}
        }
        Ok(library)
    }

    /// The folders in which the system looks for libraries.
    pub fn folders(&self) -> Vec<PathBuf> {
        library::library_folders(self.library_path.as_deref())
    }
}

/// ONNX Runtime, found and loaded when the first model needs it: a process may have one.
#[derive(Debug)]
pub struct LazyRuntime {
    places: Places,
    loaded: Mutex<Option<Runtime>>,
}

impl LazyRuntime {
    /// Nothing is looked for yet.
    pub fn new(places: Places) -> Self {
        LazyRuntime {
            places,
            loaded: Mutex::default(),
        }
    }

    /// The library.
    pub fn get(&self) -> Result<Runtime> {
        let mut loaded = lock(&self.loaded);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::load(&self.places.find()?)?;
        Ok(loaded.insert(runtime).clone())
    }

    /// The folders in which the system looks for libraries.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.places.folders()
    }
}

/// Loads a library and runs the model inside the program with it: what [`Places::trial`] is for.
pub fn try_library(library: &Path) -> Result<()> {
    let options = SessionOptions::default();
    Runtime::load(library)?.open(default_model::BYTES, &Feed::default(), &options, &[])?;
    Ok(())
}
