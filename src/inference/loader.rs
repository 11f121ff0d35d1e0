//! From what the user asked for to models that run: finds and loads ONNX Runtime, and chooses the provider.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use prost::bytes::Bytes;

use super::engine::{Engine, Execution};
use super::model::{Form, Model, ModelError};
use super::model_file::ModelFile;
use super::places::Places;
use super::preprocess::{self, Preprocess};
use super::probe::{batch_difference, call_time, difference, probe_feature};
use super::provider::{Precision, Provider};
use super::rewrite::{self, Feed, Output, Rewrites, Rewritten, Target};
use super::runtime::{CudaOptions, Runtime, SessionOptions};
use super::session::OnnxModel;
use crate::pictures::preprocessing::Numbers;
use crate::storage::recipe::Finish;
use crate::support::mutex::lock;

/// Which provider the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// CUDA where it runs, else the CPU.
    Auto,
    /// This one, or an error.
    Only(Provider),
}

/// How models are to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where. Default: [`Wanted::Auto`].
    pub wanted: Wanted,
    /// What the graph computes with. Default: f32.
    pub precision: Precision,
    /// Number of the GPU, from 0. Default: 0.
    pub device: i32,
    /// The output to use. Default: [`rewrite::feature_output`] chooses one.
    pub output_name: Option<String>,
    /// What is done with that. Default: nothing.
    pub finish: Finish,
    /// Pictures in a call of the model. Default: 1 on the CPU, or 4 where reading the weights takes most of the time, 8
    /// with OpenVINO, 64 on a GPU.
    pub batch_size: Option<usize>,
    /// How a picture becomes the input. Default: the bytes over 255, in the model's size.
    pub preprocess: Option<Preprocess>,
    /// Whether features are those of the graph as it is on the CPU, to the last bit. Default: no, it may be rewritten
    /// to run faster.
    pub exact: bool,
    /// How convolutions run on CUDA.
    pub cuda: CudaOptions,
}

/// Pictures in a call of the model, on the CPU: what one picture needs on its way through the graph stays in the
/// core's own cache. (MobileNetV3-Large minimalistic: 4.33 ms a picture, in batches of eight 4.76 ms.)
const CPU_BATCH: usize = 1;
/// The same where most of a call's time goes into reading the weights from memory, which several pictures then share.
/// (CLIP ViT-B/32, 350 MB of weights for 50 tokens: 23 ms a picture on two cores, in batches of four 18 ms. ViT-B/16,
/// as much for 197 tokens: 103 and 115 ms.)
const CPU_BATCH_OF_WEIGHTS: usize = 4;
/// Weights that are larger than what processors keep beside their cores.
const LARGE_WEIGHTS: usize = 64 << 20;
/// How many bytes a core reads from memory in a second, about.
const READ_PER_SECOND: f64 = 10e9;
/// Pictures in a call of the model, with OpenVINO. (MobileNetV3-Large in bf16: 2.73 ms a picture, one by one 2.87 ms.)
const OPENVINO_BATCH: usize = 8;
/// Pictures in a call of the model, on a GPU.
const GPU_BATCH: usize = 64;

/// The most that a rewritten graph may differ from the model on the probe picture, relative to the norm of the feature.
/// What rounding alone makes of it is 1e-6 for real weights, and up to 1e-3 for random ones.
const MAX_DIFFERENCE: f64 = 1e-3;
/// The same where another device computes. In fp32 on one H100 the features of 190 photographs differed from the CPU's
/// by 1.6e-6 at most with real weights, and by 7.7e-4 with random ones; a wrong graph is far beyond this.
const MAX_DIFFERENCE_ON_GPU: f64 = 5e-3;
/// The same for TensorRT, which computes an f32 graph in TF32 (11 significant bits) where it likes.
const MAX_DIFFERENCE_ON_TENSORRT: f64 = 5e-2;

/// The most that a feature may differ with other pictures in its batch, where it has 8 or 11 significant bits.
const MAX_DIFFERENCE_IN_HALF: f64 = 5e-2;

/// ONNX Runtime with a model and a provider.
pub struct OnnxEngine {
    runtime: Runtime,
    /// The model's own graph.
    original: Bytes,
    /// What that takes and gives.
    form: Form,
    /// How it wants its pictures.
    feed: Feed,
    /// The graph that runs in its place, as long as more sessions are made of it.
    rewritten: Option<Rewritten>,
    /// What was done to it.
    rewrites: Option<Rewrites>,
    session: SessionOptions,
    batch: usize,
    folders: Vec<PathBuf>,
    /// The session that showed that the provider is there; on the CPU it stays, for all threads.
    first: Mutex<Option<OnnxModel>>,
    /// How long its first call took.
    first_call: Mutex<Option<Duration>>,
    /// The feature that the model as it is on the CPU makes of the probe picture.
    expected: Vec<f32>,
    /// That model itself, where the first features of a run are compared with its own.
    reference: Mutex<Option<OnnxModel>>,
}

impl OnnxEngine {
    /// Finds and loads the library, and one session. `note` gets a line on what was chosen and why.
    pub fn start(
        places: &Places,
        model: ModelFile,
        options: &Options,
        note: &dyn Fn(&str),
    ) -> Result<Self> {
        let runtime = Runtime::load(&places.find()?)?;
        Self::start_with(runtime, places.folders(), model, options, note)
    }

    /// The same with a library that is loaded. `folders` are where the system looks for others.
    pub fn start_with(
        runtime: Runtime,
        folders: Vec<PathBuf>,
        model: ModelFile,
        options: &Options,
        note: &dyn Fn(&str),
    ) -> Result<Self> {
        let wanted = provider_for(options)?;
        let session = |provider, precision| SessionOptions {
            provider,
            device: options.device,
            precision,
            output_name: options.output_name.clone(),
            finish: options.finish,
            size: (options.preprocess.as_ref())
                .map(|preprocess| [preprocess.width, preprocess.height]),
            batch: None,
            cuda: options.cuda,
        };
        let on_cpu = session(Provider::Cpu, Precision::Fp32);
        // The CPU tells what the model takes and gives, whatever is to run it: nowhere else is a session made as fast.
        let output = options.output_name.as_deref();
        let pooled = options.finish.pool.is_some();
        let choose = |outputs: &[Output<'_>]| rewrite::feature_output(outputs, output, pooled);
        let (original, numbers) = match rewrite::meet(&model.bytes, &choose).ok().flatten() {
            Some(met) if met.takes_bytes => (met.model, Numbers::Bytes),
            Some(met) => (met.model, Numbers::Over255),
            None => (model.bytes, Numbers::Over255),
        };
        let feed = Feed::Floats(preprocess::table(options.preprocess.as_ref(), numbers)?);
        let mut reference = runtime.open(&original, &feed, &on_cpu, &folders)?;
        let Form { width, height, .. } = *reference.form();
        let fixed = reference.form().fixed_batch;
        if let Some(preprocess) = &options.preprocess {
            ensure!(
                (preprocess.width, preprocess.height) == (width, height),
                "the model takes {width} x {height} pixels, and its preprocessing makes {} x {}; --preprocess names \
                 another one",
                preprocess.width,
                preprocess.height
            );
        }
        let mut engine = OnnxEngine {
            expected: probe_feature(&mut reference)?,
            session: on_cpu,
            original,
            feed,
            form: Form {
                numbers,
                ..reference.form().clone()
            },
            rewritten: None,
            rewrites: None,
            first: Mutex::default(),
            first_call: Mutex::default(),
            reference: Mutex::default(),
            runtime,
            batch: 0,
            folders,
        };
        let mut reference = Some(reference);
        let mut lines = Vec::new();
        let mut open = |engine: &mut OnnxEngine, provider| {
            engine.batch = options.batch_size.or(fixed).unwrap_or(match provider {
                Provider::Cpu => CPU_BATCH,
                Provider::OpenVino => OPENVINO_BATCH,
                Provider::Cuda | Provider::TensorRt => GPU_BATCH,
            });
            engine.session = SessionOptions {
                batch: Some(engine.batch),
                ..session(provider, options.precision)
            };
            lines.clear();
            engine.open_first(&mut reference, options.exact, &mut lines)
        };
        let (mut first, why) = match wanted {
            Wanted::Only(provider) => (open(&mut engine, provider)?, String::new()),
            Wanted::Auto => match open(&mut engine, Provider::Cuda) {
                Ok(first) => (first, " (a CUDA device answers)".to_owned()),
                Err(error) => (
                    open(&mut engine, Provider::Cpu)?,
                    format!(" (no CUDA: {})", reason(&error)),
                ),
            },
        };
        let may_choose = options.batch_size.is_none() && fixed.is_none() && !options.exact;
        if may_choose && engine.session.provider == Provider::Cpu {
            engine.batch = engine.cpu_batch(&mut first)?;
        } else if engine.batch > 1
            && !engine.session.provider.is_gpu()
            && let Err(error) = engine.check_batch(&mut first, options.exact)
        {
            // Where the graph leaves the batch open, one picture a call gives each its own feature.
            ensure!(first.form().fixed_batch.is_none(), error);
            lines.push(format!(
                "one picture a call instead of {}: {error}",
                engine.batch
            ));
            engine.batch = 1;
        }
        note(&format!(
            "provider: {}{why}, ONNX Runtime {}",
            engine.session.provider.name(),
            engine.runtime.version()
        ));
        lines.iter().for_each(|line| note(line));
        if let Some(placement) = first.placement() {
            note(&format!("the graph runs on {placement}"));
        }
        *lock(&engine.first) = Some(first);
        if options.precision != Precision::Fp32 {
            *lock(&engine.reference) = reference;
        }
        Ok(engine)
    }

    /// A session on the engine's provider: of a rewritten graph, where there is one that gives the expected feature, or
    /// else of the model as it is; on the CPU that is `reference`, which is taken. `notes` gets lines on why the graph
    /// was not rewritten.
    fn open_first(
        &mut self,
        reference: &mut Option<OnnxModel>,
        exact: bool,
        notes: &mut Vec<String>,
    ) -> Result<OnnxModel> {
        let SessionOptions {
            provider,
            precision,
            ..
        } = self.session;
        let batch = self.batch;
        // TensorRT makes what it likes of an f32 graph; the CUDA provider runs what it is given.
        let half = provider == Provider::Cuda && precision == Precision::Fp16;
        let target = match provider {
            Provider::Cpu => Target::Cpu { exact },
            Provider::OpenVino => Target::OpenVino { batch },
            Provider::Cuda | Provider::TensorRt => Target::Gpu { batch, half },
        };
        let mut as_it_is = |reference: &mut Option<OnnxModel>, why: Option<String>| {
            if half {
                let why = why.unwrap_or_else(|| "its graph is out of the ordinary".into());
                bail!("the model cannot run in fp16: {why}");
            }
            notes.extend(why.map(|why| format!("the graph runs as it is: {why}")));
            if provider == Provider::Cpu
                && let Some(reference) = reference.take()
            {
                return Ok(reference);
            }
            let mut original = self.load_original(&self.session)?;
            // OpenVINO gets some graphs wrong without a word, also those that nobody has rewritten: see `findings/`.
            if precision == Precision::Fp32 && !provider.is_gpu() {
                let difference = difference(&self.expected, &mut original)?;
                ensure!(
                    difference <= MAX_DIFFERENCE,
                    "the {} provider does not compute what this model says: the feature of a probe picture differs by {difference:.1e} from \
                     the CPU provider's; leave out --provider, or use --provider cpu",
                    provider.name()
                );
            }
            Ok(original)
        };
        let Feed::Floats(table) = &self.feed else {
            bail!("a model's own graph takes floats");
        };
        let rewritten = match rewrite::rewrite(&self.original, target, table) {
            Ok(Some(rewritten)) => rewritten,
            Ok(None) => return as_it_is(reference, None),
            Err(error) => return as_it_is(reference, Some(error.to_string())),
        };
        // On the CPU it has told all that it is needed for: one session less in memory while the next one is made.
        if provider == Provider::Cpu {
            *reference = None;
        }
        let mut faster = match self.load(&rewritten) {
            Ok(faster) => faster,
            // What the provider lacks, it lacks for every graph.
            Err(error @ ModelError::Provider { source: None, .. }) => return Err(error.into()),
            Err(error) => {
                let error = anyhow::Error::from(error);
                return as_it_is(
                    reference,
                    Some(format!("rewritten, it does not load: {error:#}")),
                );
            }
        };
        // Fewer bits give other features in any case: how far off is seen on the first pictures of the run. A session
        // on a GPU is compared when it has had its first call.
        if precision == Precision::Fp32 && !provider.is_gpu() {
            let most = if exact { 0.0 } else { MAX_DIFFERENCE };
            let difference = difference(&self.expected, &mut faster)?;
            if difference > most || difference.is_nan() {
                drop(faster);
                let why = format!(
                    "rewritten, its feature of a probe picture differs by {difference:.1e}"
                );
                return as_it_is(reference, Some(why));
            }
        }
        self.rewrites = Some(rewritten.report);
        // On the CPU all threads share this session.
        self.rewritten = (provider != Provider::Cpu).then_some(rewritten);
        Ok(faster)
    }

    /// How long the first call of the first session took, with all that was planned for it; `None` before it is opened.
    pub fn first_call(&self) -> Option<Duration> {
        *lock(&self.first_call)
    }

    /// How many pictures a call on the CPU takes: several where that is faster, and the features are the same to the
    /// bit.
    fn cpu_batch(&self, model: &mut OnnxModel) -> Result<usize> {
        let weights = self.original.len();
        if weights < LARGE_WEIGHTS {
            return Ok(CPU_BATCH);
        }
        let reading = weights as f64 / READ_PER_SECOND;
        let is_most = call_time(model)?.as_secs_f64() < 3.0 * reading;
        Ok(
            match is_most && batch_difference(model, CPU_BATCH_OF_WEIGHTS)? == 0.0 {
                true => CPU_BATCH_OF_WEIGHTS,
                false => CPU_BATCH,
            },
        )
    }

    /// Checks that the feature of a picture does not depend on the others in its batch. (It does where a model was
    /// quantised dynamically: its scale is that of the brightest.)
    fn check_batch(&self, model: &mut OnnxModel, exact: bool) -> Result<()> {
        let difference = batch_difference(model, self.batch)?;
        let most = match self.session.precision {
            Precision::Fp32 if exact => 0.0,
            Precision::Fp32 => MAX_DIFFERENCE,
            Precision::Bf16 | Precision::Tf32 | Precision::Fp16 => MAX_DIFFERENCE_IN_HALF,
        };
        ensure!(
            difference <= most,
            "with other pictures in its batch, a picture's feature differs by {difference:.1e}; --batch-size 1 gives each \
             its own"
        );
        Ok(())
    }

    /// Calls a session on a GPU for the first time, and in fp32 compares the feature of a probe picture with the CPU's.
    fn prove(&self, model: &mut OnnxModel) -> Result<()> {
        let name = self.session.provider.name();
        model.warm_up().with_context(|| {
            format!(
                "the first call of the model on the {name} device fails; `nvidia-smi` tells what else uses the device, and \
                 --provider cpu does without"
            )
        })?;
        if self.batch > 1 {
            self.check_batch(model, false)?;
        }
        if self.session.precision != Precision::Fp32 {
            return Ok(());
        }
        let difference = difference(&self.expected, model)?;
        let provider = self.session.provider;
        let most = match provider {
            Provider::TensorRt => MAX_DIFFERENCE_ON_TENSORRT,
            _ => MAX_DIFFERENCE_ON_GPU,
        };
        if difference > most || difference.is_nan() {
            return Err(ModelError::Differs {
                provider,
                difference,
            }
            .into());
        }
        Ok(())
    }

    fn load(&self, rewritten: &Rewritten) -> Result<OnnxModel, ModelError> {
        let feed = rewritten.feed.as_ref().unwrap_or(&self.feed);
        self.runtime
            .open(&rewritten.model, feed, &self.session, &self.folders)
    }

    fn load_original(&self, options: &SessionOptions) -> Result<OnnxModel, ModelError> {
        self.runtime
            .open(&self.original, &self.feed, options, &self.folders)
    }
}

/// The provider that the options come down to.
fn provider_for(options: &Options) -> Result<Wanted> {
    let precision = options.precision;
    Ok(match (options.wanted, precision) {
        (Wanted::Auto, _) if options.exact => Wanted::Only(Provider::Cpu),
        (Wanted::Only(provider), _) if options.exact && provider != Provider::Cpu => bail!(
            "--exact needs the cpu provider: the last bits of {} are others",
            provider.name()
        ),
        (Wanted::Auto, Precision::Bf16) => Wanted::Only(Provider::OpenVino),
        (Wanted::Auto, Precision::Tf32 | Precision::Fp16) => Wanted::Only(Provider::Cuda),
        (Wanted::Only(provider), _) if !provider.computes_in(precision) => bail!(
            "the {} provider does not compute in {}; {}",
            provider.name(),
            precision.name(),
            match precision {
                Precision::Bf16 => "--provider openvino does",
                _ => "--provider cuda and tensorrt do",
            }
        ),
        (wanted, _) => wanted,
    })
}

/// Why CUDA is not used, in a few words.
fn reason(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(ModelError::Provider {
            missing,
            source: None,
            ..
        }) => missing.clone(),
        _ => error.root_cause().to_string(),
    }
}

impl Engine for OnnxEngine {
    fn execution(&self) -> Execution {
        Execution {
            provider: self.session.provider,
            precision: self.session.precision,
            batch: self.batch,
            rewrites: self.rewrites,
        }
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn open(&self) -> Result<Box<dyn Model>> {
        let mut first = lock(&self.first);
        let shared = first.as_ref().and_then(OnnxModel::shared);
        let opened = shared.or_else(|| first.take());
        drop(first);
        let mut model = match (opened, &self.rewritten) {
            (Some(model), _) => model,
            (None, Some(rewritten)) => self.load(rewritten)?,
            (None, None) => self.load_original(&self.session)?,
        };
        if self.session.provider.is_gpu() {
            self.prove(&mut model)?;
        }
        lock(&self.first_call).get_or_insert(model.first_call());
        Ok(Box::new(model))
    }

    fn reference(&self) -> Result<Box<dyn Model>> {
        if let Some(reference) = lock(&self.reference).take() {
            return Ok(Box::new(reference));
        }
        let options = SessionOptions {
            provider: Provider::Cpu,
            precision: Precision::Fp32,
            ..self.session.clone()
        };
        Ok(Box::new(self.load_original(&options)?))
    }
}
