//! Models: from a batch of pixels to features, through ONNX Runtime.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use thiserror::Error;

use crate::graph::InputForm;
pub use crate::graph::Layout;
use crate::runtime;

/// Turns batches of pixels into features. The program's is [`OnnxModel`]; tests have a fake.
pub trait Model: Send {
    /// Picture size and feature length.
    fn form(&self) -> &Form;

    /// Runs the model on `n` pictures. `pixels` are `[n, height, width, 3]`, RGB, 0 to 255; `features` becomes
    /// `[n, feature length]`, row after row.
    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError>;
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Form {
    /// Name of the input.
    pub input: String,
    /// Name of the output.
    pub output: String,
    /// Height of the pictures, in pixels.
    pub height: usize,
    /// Width of the pictures, in pixels.
    pub width: usize,
    /// Order of the input's axes.
    pub layout: Layout,
    /// Pictures in a call where the model's batch axis is fixed.
    pub fixed_batch: Option<usize>,
    /// Numbers in a feature.
    pub feature_length: usize,
}

/// ONNX Runtime's device back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An NVIDIA GPU, through TensorRT.
    TensorRt,
}

impl Provider {
    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }

    fn is_compiled_in(self) -> bool {
        match self {
            Provider::Cpu => Ok(true),
            Provider::Cuda => ep::CUDA::is_available(),
            Provider::TensorRt => ep::TensorRT::is_available(),
        }
        .unwrap_or(false)
    }

    fn library(self) -> Option<&'static str> {
        match self {
            Provider::Cpu => None,
            Provider::Cuda => Some("libonnxruntime_providers_cuda.so"),
            Provider::TensorRt => Some("libonnxruntime_providers_tensorrt.so"),
        }
    }

    fn dispatch(self, device: i32) -> Option<ExecutionProviderDispatch> {
        // Without `error_on_failure` a provider that cannot run is dropped silently.
        match self {
            Provider::Cpu => None,
            Provider::Cuda => Some(
                ep::CUDA::default()
                    .with_device_id(device)
                    .build()
                    .error_on_failure(),
            ),
            Provider::TensorRt => Some(
                ep::TensorRT::default()
                    .with_device_id(device)
                    .build()
                    .error_on_failure(),
            ),
        }
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The library does not load.
    #[error("ONNX Runtime at {} does not load; `make setup` fetches one that does", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// Why.
        #[source]
        source: ort::LoadDynamicError,
    },
    /// The library loads and does not start.
    #[error("ONNX Runtime does not start")]
    Start(#[source] ort::Error),
    /// The runtime refuses the model.
    #[error("ONNX Runtime cannot load the model on the {} provider", provider.name())]
    Open {
        /// The provider that was asked for.
        provider: Provider,
        /// Why.
        #[source]
        source: ort::Error,
    },
    /// The provider cannot run here.
    #[error("the {} provider cannot run here: {missing}; {way_out}", provider.name())]
    Provider {
        /// The provider that was asked for.
        provider: Provider,
        /// What is missing.
        missing: String,
        /// What to do about it.
        way_out: &'static str,
        /// What the runtime said, where it was asked.
        #[source]
        source: Option<ort::Error>,
    },
    /// The model is none for pictures.
    #[error("{found}; needed: {needed}")]
    Unfit {
        /// What the model has.
        found: String,
        /// What the program can work with.
        needed: &'static str,
    },
    /// A batch fails.
    #[error("the model fails on a batch")]
    Run(#[source] ort::Error),
}

const NEEDED_INPUT: &str = "one float32 input of shape [n, height, width, 3] or [n, 3, height, width] with a fixed \
                            height and width";
const NEEDED_OUTPUT: &str = "a float32 output of shape [n, d] that is named `feature_vector`, or is the only one, or that --output-name names";

/// The NVIDIA driver's library, which the provider loads by itself.
const DRIVER: &str = "libcuda.so.1";

/// The loaded library. One per process.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

impl Runtime {
    /// Loads the library at `path`, which [`runtime::find`] has checked.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let builder = ort::init_from(path).map_err(|source| ModelError::Load {
            path: path.to_owned(),
            source,
        })?;
        // The program never talks to the network, and neither does the library.
        let environment = builder
            .with_telemetry(false)
            .build()
            .map_err(ModelError::Start)?;
        let version = version_of(path).unwrap_or_else(|| "unknown version".into());
        Ok(Runtime {
            environment,
            path: path.to_owned(),
            version,
        })
    }

    /// The version of the library, such as `1.32.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the library is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The providers that the library was compiled with, of those that this program knows.
    pub fn providers(&self) -> Vec<Provider> {
        [Provider::TensorRt, Provider::Cuda, Provider::Cpu]
            .into_iter()
            .filter(|one| one.is_compiled_in())
            .collect()
    }

    /// Loads a model. Its input gets `table[channel][byte]` for each byte, or `byte / 255` where there is no table.
    /// `folders` are where the system looks for libraries, to name those that are missing.
    pub fn open(
        &self,
        model: &[u8],
        table: Option<&[[f32; 256]; 3]>,
        options: &SessionOptions,
        folders: &[PathBuf],
    ) -> Result<OnnxModel, ModelError> {
        let provider = options.provider;
        if let Some((missing, way_out)) = self.missing_for(provider, folders) {
            let source = None;
            return Err(ModelError::Provider {
                provider,
                missing,
                way_out,
                source,
            });
        }
        let (session, placement) =
            self.session(model, options)
                .map_err(|source| match provider {
                    Provider::Cpu => ModelError::Open { provider, source },
                    _ => ModelError::Provider {
                        provider,
                        missing: "the device does not answer".into(),
                        way_out: "see what nvidia-smi says, and --device",
                        source: Some(source),
                    },
                })?;
        OnnxModel::new(session, placement, options, table)
    }

    /// What a GPU provider needs and does not find, and what to do about it.
    fn missing_for(
        &self,
        provider: Provider,
        folders: &[PathBuf],
    ) -> Option<(String, &'static str)> {
        const FETCH: &str = "`make setup RUNTIME=cuda` fetches an ONNX Runtime that has it";
        if !provider.is_compiled_in() {
            let runtime = format!("ONNX Runtime {} was built without it", self.version);
            return Some((runtime, FETCH));
        }
        let library = self.path.parent()?.join(provider.library()?);
        if !library.exists() {
            return Some((format!("{} is not there", library.display()), FETCH));
        }
        let mut missing = runtime::missing_libraries(&library, folders);
        let is_driver = |name: &String| name.starts_with("libcuda.so");
        if !missing.iter().any(is_driver)
            && !folders.iter().any(|folder| folder.join(DRIVER).exists())
        {
            missing.push(DRIVER.into());
        }
        let way_out = match missing.iter().any(is_driver) {
            true => {
                "libcuda.so.1 comes with the NVIDIA driver; folders of other libraries belong on LD_LIBRARY_PATH"
            }
            false => "put their folders on LD_LIBRARY_PATH",
        };
        (!missing.is_empty()).then(|| (format!("not found: {}", missing.join(", ")), way_out))
    }

    fn session(&self, model: &[u8], options: &SessionOptions) -> ort::Result<(Session, Placement)> {
        let placement = Placement::default();
        // `All` is what onnxruntime's Python package does; other levels give other last bits.
        let mut builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?;
        if let Some(provider) = options.provider.dispatch(options.device) {
            // The runtime tells where it puts the nodes in a message, at the most talkative level only.
            let sink = placement.clone();
            builder = builder
                .with_execution_providers([provider])?
                .with_log_level(LogLevel::Verbose)?
                .with_logger(Arc::new(move |_, _, _, _, message: &str| {
                    sink.read(message)
                }))?;
        }
        Ok((builder.commit_from_memory(model)?, placement))
    }
}

/// The version in the name of the library file, such as `libonnxruntime.so.1.32.0`.
fn version_of(path: &Path) -> Option<String> {
    let build = ort::info();
    let real = std::fs::canonicalize(path).ok()?;
    let name = real.file_name()?.to_str()?.to_owned();
    let version = name.strip_prefix("libonnxruntime.so.").map(str::to_owned);
    version.or_else(|| build.split_whitespace().next().map(str::to_owned))
}

/// How a model is to be run.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Default: the CPU.
    pub provider: Provider,
    /// Number of the device, from 0. Default: 0.
    pub device: i32,
    /// The output to use. Default: `feature_vector`, or the only one.
    pub output_name: Option<String>,
}

/// Where the runtime put the nodes of the graph: lines such as `CUDAExecutionProvider: 153 nodes`.
#[derive(Clone, Debug, Default)]
struct Placement(Arc<Mutex<Vec<String>>>);

impl Placement {
    /// Reads messages such as ` All nodes placed on [CUDAExecutionProvider]. Number of nodes: 153`.
    fn read(&self, message: &str) {
        let found = message.split_once("placed on [").and_then(|(_, rest)| {
            let (provider, rest) = rest.split_once(']')?;
            let count = rest.rsplit_once("Number of nodes: ")?.1.trim();
            Some(format!("{provider}: {count} nodes"))
        });
        if let Some(line) = found {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    }

    fn describe(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// A model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxModel {
    session: Session,
    form: Form,
    placement: Placement,
    /// The input tensor's numbers, `[n, …]` in the model's layout.
    input: Vec<f32>,
    /// The floats of the 8-bit values.
    table: Box<[[f32; 256]; 3]>,
}

impl OnnxModel {
    fn new(
        session: Session,
        placement: Placement,
        options: &SessionOptions,
        table: Option<&[[f32; 256]; 3]>,
    ) -> Result<Self, ModelError> {
        let (input, height, width, layout, fixed_batch) = picture_input(session.inputs())?;
        let output = feature_output(session.outputs(), options.output_name.as_deref())?;
        let form = Form {
            input,
            output,
            height,
            width,
            layout,
            fixed_batch,
            feature_length: 0,
        };
        let table = table.map_or_else(|| InputForm::plain(layout).table, |table| Box::new(*table));
        let mut model = OnnxModel {
            session,
            form,
            placement,
            input: Vec::new(),
            table,
        };
        // The graph need not say how long its features are: one black picture tells, and warms the session up.
        let mut features = Vec::new();
        model.call(&vec![0; height * width * 3], 1, &mut features)?;
        model.form.feature_length = features.len();
        Ok(model)
    }

    /// Where the runtime put the nodes, for a GPU provider.
    pub fn placement(&self) -> Option<String> {
        self.placement.describe()
    }

    /// One call of the runtime on `count` pictures; where the batch axis is fixed, the rest of it is black.
    fn call(
        &mut self,
        pixels: &[u8],
        count: usize,
        features: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let Form {
            height,
            width,
            layout,
            ..
        } = self.form;
        let batch = self.form.fixed_batch.unwrap_or(count);
        let size = height * width;
        self.input.resize(batch * size * 3, 0.0);
        self.input[count * size * 3..].fill(0.0);
        let [reds, greens, blues] = &*self.table;
        let floats = self
            .input
            .chunks_exact_mut(size * 3)
            .zip(pixels.chunks_exact(size * 3));
        let shape = match layout {
            Layout::Nhwc => {
                for (to, from) in floats {
                    for (to, from) in to.chunks_exact_mut(3).zip(from.chunks_exact(3)) {
                        to[0] = reds[usize::from(from[0])];
                        to[1] = greens[usize::from(from[1])];
                        to[2] = blues[usize::from(from[2])];
                    }
                }
                [batch, height, width, 3]
            }
            Layout::Nchw => {
                for (to, from) in floats {
                    let (red, rest) = to.split_at_mut(size);
                    let (green, blue) = rest.split_at_mut(size);
                    let planes = red.iter_mut().zip(green).zip(blue);
                    for (((red, green), blue), from) in planes.zip(from.chunks_exact(3)) {
                        *red = reds[usize::from(from[0])];
                        *green = greens[usize::from(from[1])];
                        *blue = blues[usize::from(from[2])];
                    }
                }
                [batch, 3, height, width]
            }
        };
        let tensor =
            TensorRef::from_array_view((shape, &self.input[..])).map_err(ModelError::Run)?;
        let outputs = self
            .session
            .run(ort::inputs![self.form.input.as_str() => tensor])
            .map_err(ModelError::Run)?;
        let (shape, data) = outputs[self.form.output.as_str()]
            .try_extract_tensor::<f32>()
            .map_err(ModelError::Run)?;
        let rows = shape.first().copied().unwrap_or(0);
        if rows != batch as i64 || shape.iter().skip(2).any(|axis| *axis != 1) || data.is_empty() {
            let found = format!(
                "the output `{}` has the shape {shape:?} for {batch} pictures",
                self.form.output
            );
            return Err(ModelError::Unfit {
                found,
                needed: NEEDED_OUTPUT,
            });
        }
        features.extend_from_slice(&data[..data.len() / batch * count]);
        Ok(())
    }
}

impl Model for OnnxModel {
    fn form(&self) -> &Form {
        &self.form
    }

    fn run(&mut self, pixels: &[u8], features: &mut Vec<f32>) -> Result<(), ModelError> {
        features.clear();
        let size = self.form.height * self.form.width * 3;
        let count = pixels.len() / size;
        let batch = self.form.fixed_batch.unwrap_or(count).max(1);
        for pictures in pixels.chunks(batch * size) {
            self.call(pictures, pictures.len() / size, features)?;
        }
        Ok(())
    }
}

type PictureInput = (String, usize, usize, Layout, Option<usize>);

fn picture_input(inputs: &[Outlet]) -> Result<PictureInput, ModelError> {
    let unfit = || ModelError::Unfit {
        found: format!("the model takes {}", describe(inputs)),
        needed: NEEDED_INPUT,
    };
    let [input] = inputs else { return Err(unfit()) };
    let ValueType::Tensor {
        ty: TensorElementType::Float32,
        shape,
        ..
    } = input.dtype()
    else {
        return Err(unfit());
    };
    let (batch, height, width, layout) = match shape[..] {
        [batch, height, width, 3] if height > 0 && width > 0 => {
            (batch, height, width, Layout::Nhwc)
        }
        [batch, 3, height, width] if height > 0 && width > 0 => {
            (batch, height, width, Layout::Nchw)
        }
        _ => return Err(unfit()),
    };
    let fixed_batch = usize::try_from(batch).ok().filter(|batch| *batch > 0);
    Ok((
        input.name().to_owned(),
        height as usize,
        width as usize,
        layout,
        fixed_batch,
    ))
}

fn feature_output(outputs: &[Outlet], wanted: Option<&str>) -> Result<String, ModelError> {
    let unfit = || ModelError::Unfit {
        found: format!("the model gives {}", describe(outputs)),
        needed: NEEDED_OUTPUT,
    };
    let named = |name: &str| outputs.iter().find(|output| output.name() == name);
    let output = match (wanted, named("feature_vector"), outputs) {
        (Some(name), _, _) => named(name),
        (None, Some(output), _) => Some(output),
        (None, None, [output]) => Some(output),
        _ => None,
    };
    let output = output.ok_or_else(unfit)?;
    match output.dtype() {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape,
            ..
        } if shape.len() >= 2 || shape.is_empty() => Ok(output.name().to_owned()),
        _ => Err(unfit()),
    }
}

/// Names, types and shapes, for people.
fn describe(outlets: &[Outlet]) -> String {
    let one = |outlet: &Outlet| format!("`{}` {}", outlet.name(), outlet.dtype());
    match outlets {
        [] => "nothing".into(),
        _ => outlets.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_is_read_off_the_messages_of_the_runtime() {
        let placement = Placement::default();
        placement.read("Node placements");
        placement.read(" Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 151");
        placement.read(" Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2");
        assert_eq!(
            placement.describe().unwrap(),
            "CUDAExecutionProvider: 151 nodes, CPUExecutionProvider: 2 nodes"
        );
    }
}
