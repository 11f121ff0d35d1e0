//! The loaded library, and how it is told to run a graph.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ort::environment::Environment;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{
    self, ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy, ExecutionProvider,
    ExecutionProviderDispatch,
};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use super::library;
use super::model::ModelError;
use super::provider::{Precision, Provider};
use super::rewrite::Feed;
use super::session::OnnxModel;
use crate::storage::recipe::Finish;
use crate::support::mutex::lock;

/// What the providers for NVIDIA's GPUs load by themselves: the driver, and cuDNN.
const LOADED_LATER: [&str; 2] = ["libcuda.so.1", "libcudnn.so.9"];

/// The loaded library. One per process.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

impl Runtime {
    /// Loads the library at `path`, which [`library::find`] has checked.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::Load {
            path: path.to_owned(),
            source,
        };
        // A bare file name would be looked for in the system's folders.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let builder = ort::init_from(absolute).map_err(failed)?;
        // The program never talks to the network, and neither does the library.
        let environment = builder
            .with_telemetry(false)
            .build()
            .map_err(|error| ModelError::Start(error.into()))?;
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
        let mut providers = Provider::ALL.to_vec();
        providers.retain(|one| is_compiled_in(*one));
        providers
    }

    /// Loads a model that wants its pictures by `feed`. `folders` are where the system looks for libraries, to name
    /// those that are missing. On a GPU it has not been called yet, and its dimension is not known.
    pub fn open(
        &self,
        model: &[u8],
        feed: &Feed,
        options: &SessionOptions,
        folders: &[PathBuf],
    ) -> Result<OnnxModel, ModelError> {
        let provider = options.provider;
        if let Some((missing, hint)) = self.missing_for(options, folders) {
            let source = None;
            return Err(ModelError::Provider {
                provider,
                missing,
                hint,
                source,
            });
        }
        let (session, placement) =
            self.session(model, options)
                .map_err(|source| match provider {
                    Provider::Cpu | Provider::OpenVino => ModelError::Open {
                        provider,
                        source: source.into(),
                    },
                    Provider::Cuda | Provider::TensorRt => ModelError::Provider {
                        provider,
                        missing: "no session can be made on the device".into(),
                        hint: "see what nvidia-smi says, and --device",
                        source: Some(source.into()),
                    },
                })?;
        let mut model = OnnxModel::new(session, placement, options, feed.clone())?;
        // On a GPU that takes seconds, in which others can work: see `OnnxEngine::open`.
        if !provider.is_gpu() {
            model.warm_up()?;
        }
        Ok(model)
    }

    /// What a provider needs and does not find, and what to do about it.
    fn missing_for(
        &self,
        options: &SessionOptions,
        folders: &[PathBuf],
    ) -> Option<(String, &'static str)> {
        let provider = options.provider;
        let fetch = match provider {
            Provider::OpenVino => {
                "`make setup RUNTIME=openvino` fetches an ONNX Runtime that has it"
            }
            _ => "`make setup RUNTIME=cuda` fetches an ONNX Runtime that has it",
        };
        if !is_compiled_in(provider) {
            let runtime = format!("ONNX Runtime {} was built without it", self.version);
            return Some((runtime, fetch));
        }
        let library = self.path.parent()?.join(library(provider)?);
        if !library.exists() {
            return Some((format!("{} is not there", library.display()), fetch));
        }
        if options.precision == Precision::Bf16 && !processor_has_bf16() {
            let missing = "the processor has no instructions for bf16 (AVX512_BF16)".into();
            return Some((missing, "leave out --precision"));
        }
        let mut missing = library::missing_libraries(&library, folders);
        let is_driver = |name: &String| name.starts_with("libcuda.so");
        for name in LOADED_LATER {
            let is_there = || folders.iter().any(|folder| folder.join(name).exists());
            if provider.is_gpu() && !missing.iter().any(|other| other == name) && !is_there() {
                missing.push(name.into());
            }
        }
        let hint = match missing.iter().any(is_driver) {
            true => {
                "libcuda.so.1 comes with the NVIDIA driver; folders of other libraries belong on LD_LIBRARY_PATH"
            }
            false => "put their folders on LD_LIBRARY_PATH",
        };
        (!missing.is_empty()).then(|| (format!("not found: {}", missing.join(", ")), hint))
    }

    pub(super) fn session(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> ort::Result<(Session, Placement)> {
        let placement = Placement::default();
        // `All` is what onnxruntime's Python package does; other levels give other last bits.
        let mut builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?;
        if let Some(provider) = dispatch(options) {
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

fn is_compiled_in(provider: Provider) -> bool {
    match provider {
        Provider::Cpu => Ok(true),
        Provider::OpenVino => ep::OpenVINO::is_available(),
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::TensorRt => ep::TensorRT::is_available(),
    }
    .unwrap_or(false)
}

/// The file that holds the provider, beside the library.
fn library(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Cpu => None,
        Provider::OpenVino => Some("libonnxruntime_providers_openvino.so"),
        Provider::Cuda => Some("libonnxruntime_providers_cuda.so"),
        Provider::TensorRt => Some("libonnxruntime_providers_tensorrt.so"),
    }
}

fn processor_has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The provider as the runtime is to have it; none where that needs not be told.
fn dispatch(options: &SessionOptions) -> Option<ExecutionProviderDispatch> {
    let (device, precision) = (options.device, options.precision);
    let dispatch = match options.provider {
        Provider::Cpu => return None,
        Provider::OpenVino => {
            // One thread a session, as on the CPU provider. Left to itself, OpenVINO computes in bf16 wherever the
            // processor can, and pins the threads of all sessions to the same cores.
            let precision = match precision {
                Precision::Bf16 => "bf16",
                Precision::Fp32 | Precision::Tf32 | Precision::Fp16 => "f32",
            };
            let properties = serde_json::json!({"CPU": {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": "1",
                "NUM_STREAMS": "1",
                "ENABLE_CPU_PINNING": "NO",
            }});
            ep::OpenVINO::default()
                .with_device_type("CPU")
                .with_arbitrary_config("load_config", properties)
                .build()
        }
        // Other programs may share the device: memory as it is needed. fp32 promises more bits than TF32 has.
        Provider::Cuda => ep::CUDA::default()
            .with_device_id(device)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_conv_algorithm_search(match options.cuda.search {
                ConvolutionSearch::Heuristic => ConvAlgorithmSearch::Heuristic,
                ConvolutionSearch::Exhaustive => ConvAlgorithmSearch::Exhaustive,
            })
            .with_conv_max_workspace(options.cuda.max_workspace)
            .with_prefer_nhwc(options.cuda.prefer_nhwc)
            .with_tf32(precision != Precision::Fp32)
            .build(),
        Provider::TensorRt => ep::TensorRT::default()
            .with_device_id(device)
            .with_fp16(precision == Precision::Fp16)
            .build(),
    };
    // Else a provider that cannot run is dropped silently.
    Some(dispatch.error_on_failure())
}

/// The version in the name of the library's file, or what the library says of itself.
fn version_of(path: &Path) -> Option<String> {
    library::version(path).or_else(|| ort::info().split_whitespace().next().map(str::to_owned))
}

/// How a model is to be run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Default: the CPU.
    pub provider: Provider,
    /// Number of the device, from 0. Default: 0.
    pub device: i32,
    /// What the graph computes with. Default: f32.
    pub precision: Precision,
    /// The output to use. Default: [`feature_output`](super::rewrite::feature_output) chooses one.
    pub output_name: Option<String>,
    /// What is done with that. Default: nothing.
    pub finish: Finish,
    /// Width and height of the pictures, where the graph leaves them open. Default: then the model does not fit.
    pub size: Option<[usize; 2]>,
    /// Pictures in every call on a GPU, where the graph leaves that open. Default: as many as a call is given.
    pub batch: Option<usize>,
    /// How convolutions run on CUDA.
    pub cuda: CudaOptions,
}

/// How convolutions run on CUDA. The choices that are not taken are there to be measured (`benches/gpu.sh`). The
/// figures are of one H100 with ONNX Runtime 1.31.1 and MobileNetV3-Large in batches of 64, without the copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// How cuDNN chooses its algorithms. Default: [`ConvolutionSearch::Heuristic`].
    pub search: ConvolutionSearch,
    /// Whether an algorithm may take as much memory as it likes. Default: no. (10,690 pictures a second in fp32 instead
    /// of 10,664.)
    pub max_workspace: bool,
    /// Whether the provider turns the graph to NHWC, for which tensor cores are made. Default: no.
    /// [`CudaOptions::for_precision`] knows where it gains something.
    pub prefer_nhwc: bool,
}

impl CudaOptions {
    /// The choices that run fastest. In NHWC fp32 runs 10,287 pictures a second instead of 10,690, and its first call
    /// takes 3.6 s instead of 1.1 s; fp16 runs 23,185 instead of 18,888.
    pub fn for_precision(precision: Precision) -> Self {
        CudaOptions {
            prefer_nhwc: precision == Precision::Fp16,
            ..Self::default()
        }
    }
}

/// How cuDNN chooses the algorithm of each convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvolutionSearch {
    /// By rules: the same for every run. (10,690 pictures a second in fp32, 23,185 in fp16; the first call takes 1.1 s
    /// in fp32 and 2.5 s in fp16.)
    #[default]
    Heuristic,
    /// By trying all of them, at the first call of each batch size. (11,799 and 23,021; 1.1 s and 4.7 s.)
    Exhaustive,
}

/// Where the runtime put the nodes of the graph: lines such as `CUDAExecutionProvider: 153 nodes`.
#[derive(Clone, Debug, Default)]
pub struct Placement(Arc<Mutex<Vec<String>>>);

impl Placement {
    /// Reads messages such as ` All nodes placed on [CUDAExecutionProvider]. Number of nodes: 153`.
    fn read(&self, message: &str) {
        let found = message.split_once("placed on [").and_then(|(_, rest)| {
            let (provider, rest) = rest.split_once(']')?;
            let count = rest.rsplit_once("Number of nodes: ")?.1.trim();
            Some(format!("{provider}: {count} nodes"))
        });
        if let Some(line) = found {
            lock(&self.0).push(line);
        }
    }

    /// All of it in one line.
    pub fn describe(&self) -> Option<String> {
        let lines = lock(&self.0);
        (!lines.is_empty()).then(|| lines.join(", "))
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
