//! From what the user asked for to models that run: finds and loads ONNX Runtime, and chooses the provider.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::default_model;
use crate::graph::{self, InputForm, Rewrites};
use crate::model::{Model, ModelError, OnnxModel, Provider, Runtime, SessionOptions};
use crate::object::model_stem;
use crate::runtime;

/// Loads models; the program's is [`OnnxEngine`], tests have a fake.
pub trait Engine: Sync {
    /// The provider that the models run on.
    fn provider(&self) -> Provider;

    /// What was done to the graph to run it faster; none where it runs as it is.
    fn rewrites(&self) -> Option<Rewrites>;

    /// Loads the model for one more session.
    fn open(&self) -> Result<Box<dyn Model>>;
}

/// Where the library may be.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The library, or a folder that holds it. Default: searched for, see [`runtime::find`].
    pub named: Option<PathBuf>,
    /// This program's file.
    pub program: Option<PathBuf>,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
}

impl Places {
    /// Finds the library and checks it.
    pub fn find(&self) -> Result<PathBuf, runtime::RuntimeError> {
        runtime::find(
            self.named.as_deref(),
            self.program.as_deref(),
            self.library_path.as_deref(),
        )
    }

    /// The folders in which the system looks for libraries.
    pub fn folders(&self) -> Vec<PathBuf> {
        runtime::library_folders(self.library_path.as_deref())
    }
}

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
            let stem = default_model::STEM.to_owned();
            return Ok(ModelFile {
                stem,
                bytes: default_model::BYTES.into(),
                is_default: true,
            });
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

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> String {
        runtime::sha256_of(&self.bytes)
    }
}

/// Which provider the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// CUDA where it runs, else the CPU.
    Auto,
    /// This one, or an error.
    Only(Provider),
}

/// The most that a rewritten graph may differ from the model on the probe picture, relative to the length of the
/// feature. What rounding alone makes of it is 1e-6 for real weights, and up to 1e-3 for random ones.
const MAX_DIFFERENCE: f64 = 1e-3;

/// ONNX Runtime with a model and a provider.
pub struct OnnxEngine {
    runtime: Runtime,
    /// The graph that runs: the model's own, or the rewritten one.
    graph: Cow<'static, [u8]>,
    input: Option<InputForm>,
    rewrites: Option<Rewrites>,
    options: SessionOptions,
    folders: Vec<PathBuf>,
    /// The session that showed that the provider works.
    first: Mutex<Option<OnnxModel>>,
}

impl OnnxEngine {
    /// Loads the library and one session. On the CPU the graph is rewritten to run faster, unless `exact`. `note`
    /// gets a line on what was chosen and why.
    pub fn start(
        places: &Places,
        model: ModelFile,
        wanted: Wanted,
        options: SessionOptions,
        exact: bool,
        note: &dyn Fn(&str),
    ) -> Result<Self> {
        let runtime = Runtime::load(&places.find()?)?;
        let folders = places.folders();
        let open = |provider| {
            let options = SessionOptions {
                provider,
                ..options.clone()
            };
            runtime.open(&model.bytes, None, &options, &folders)
        };
        let (provider, first, why) = match wanted {
            Wanted::Only(provider) => (provider, open(provider)?, "as asked".to_owned()),
            Wanted::Auto => match open(Provider::Cuda) {
                Ok(first) => (Provider::Cuda, first, "a CUDA device answers".to_owned()),
                Err(ModelError::Provider {
                    missing, source, ..
                }) => {
                    let why = source.map_or(missing, |source| source.to_string());
                    (
                        Provider::Cpu,
                        open(Provider::Cpu)?,
                        format!("no CUDA: {why}"),
                    )
                }
                Err(error) => return Err(error.into()),
            },
        };
        note(&format!(
            "provider: {} ({why}), ONNX Runtime {}",
            provider.name(),
            runtime.version()
        ));
        if let Some(placement) = first.placement() {
            note(&format!("the graph runs on {placement}"));
        }
        let options = SessionOptions {
            provider,
            ..options
        };
        let mut engine = OnnxEngine {
            runtime,
            graph: model.bytes,
            input: None,
            rewrites: None,
            options,
            folders,
            first: Mutex::new(Some(first)),
        };
        if provider == Provider::Cpu && !exact {
            engine.rewrite(note)?;
        }
        Ok(engine)
    }

    /// Puts the rewritten graph in the place of the model's own, where there is one that gives the same features.
    fn rewrite(&mut self, note: &dyn Fn(&str)) -> Result<()> {
        let rewritten = match graph::rewrite(&self.graph) {
            Ok(Some(rewritten)) => rewritten,
            Ok(None) => return Ok(()),
            Err(error) => {
                note(&format!("the graph runs as it is: {error}"));
                return Ok(());
            }
        };
        let table = rewritten.input.as_ref().map(|input| &*input.table);
        let mut faster =
            match self
                .runtime
                .open(&rewritten.model, table, &self.options, &self.folders)
            {
                Ok(faster) => faster,
                Err(error) => {
                    note(&format!(
                        "the graph runs as it is: rewritten, it does not load: {error}"
                    ));
                    return Ok(());
                }
            };
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(original) = first.as_mut() else {
            return Ok(());
        };
        let difference = difference(original, &mut faster)?;
        if difference > MAX_DIFFERENCE || difference.is_nan() {
            note(&format!(
                "the graph runs as it is: rewritten, its feature of a probe picture differs by {difference:.1e}"
            ));
            return Ok(());
        }
        *first = Some(faster);
        drop(first);
        self.graph = rewritten.model.into();
        self.input = rewritten.input;
        self.rewrites = Some(rewritten.report);
        Ok(())
    }
}

/// How far two models' features of one picture are apart, relative to the length of the first.
fn difference(one: &mut OnnxModel, other: &mut OnnxModel) -> Result<f64> {
    let pixels = probe_picture(one.form().width, one.form().height);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    one.run(&pixels, &mut ours)?;
    other.run(&pixels, &mut theirs)?;
    if ours.len() != theirs.len() {
        return Ok(f64::INFINITY);
    }
    let squares =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = squares(
        &mut ours
            .iter()
            .zip(&theirs)
            .map(|(one, other)| f64::from(one - other)),
    );
    let length = squares(&mut ours.iter().map(|value| f64::from(*value)));
    Ok(if apart == 0.0 {
        0.0
    } else {
        (apart / length).sqrt()
    })
}

/// A picture with colours, slopes and edges, `[height, width, 3]`.
fn probe_picture(width: usize, height: usize) -> Vec<u8> {
    let pixel = |index: usize| {
        let (x, y) = (
            (index % width) as f32 / width as f32,
            (index / width) as f32 / height as f32,
        );
        let disc = if (x - 0.4).hypot(y - 0.6) < 0.25 {
            70.0
        } else {
            0.0
        };
        let level = |phase: f32| (120.0 + 60.0 * (6.0 * x + 9.0 * y + phase).sin() + disc) as u8;
        [level(0.0), level(1.0), level(2.5)]
    };
    (0..width * height).flat_map(pixel).collect()
}

impl Engine for OnnxEngine {
    fn provider(&self) -> Provider {
        self.options.provider
    }

    fn rewrites(&self) -> Option<Rewrites> {
        self.rewrites
    }

    fn open(&self) -> Result<Box<dyn Model>> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let table = self.input.as_ref().map(|input| &*input.table);
        Ok(Box::new(match first {
            Some(model) => model,
            None => self
                .runtime
                .open(&self.graph, table, &self.options, &self.folders)?,
        }))
    }
}
