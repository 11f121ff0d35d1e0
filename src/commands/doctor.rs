//! Command: says what the program finds on this machine, what works, and what to do about what does not.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::inference::{
    self, CudaOptions, Engine, Finish, Form, ModelFile, OnnxEngine, Places, Pool, Precision,
    Preprocess, Provider, Runtime, Wanted,
};
use crate::pictures::JPEG_DECODER;
use crate::support::{child, fault, processors};

/// What to look at.
#[derive(Debug)]
pub struct Options {
    /// Where the library may be.
    pub places: Places,
    /// The model. Default: the one inside the program.
    pub model: Option<PathBuf>,
    /// How pictures become its input, or why that is not known. Default: the bytes over 255, in the model's size.
    pub preprocess: Result<Option<Preprocess>>,
    /// What is done with its output. Default: nothing.
    pub finish: Finish,
    /// The output to use. Default: the only one, or one of a known name.
    pub output_name: Option<String>,
    /// Number of the GPU, from 0. Default: 0.
    pub device: i32,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// Version of this program.
    pub simsearch: &'static str,
    /// What decodes JPEG.
    pub jpeg_decoder: &'static str,
    /// Processors that this process may use.
    pub processors: usize,
    /// The library.
    pub runtime: Option<RuntimeFound>,
    /// The providers, and whether they work here.
    pub providers: Vec<ProviderFound>,
    /// What `nvidia-smi` says of each GPU: name, driver version, memory.
    pub gpus: Vec<String>,
    /// The model.
    pub model: Option<ModelFound>,
    /// What is wrong, each with what to do about it. Empty: `extract` can run.
    pub problems: Vec<String>,
    /// What would be better otherwise.
    pub hints: Vec<String>,
}

/// The library that was found.
#[derive(Debug, Serialize)]
pub struct RuntimeFound {
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
}

/// A provider.
#[derive(Debug, Serialize)]
pub struct ProviderFound {
    /// Its name.
    pub provider: Provider,
    /// Whether a session was made and ran twice.
    pub works: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How long its calls took, where it works.
    pub calls: Option<Calls>,
}

/// Two calls of the model on a provider.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Calls {
    /// Pictures in the second call, and on a GPU in the first one too; elsewhere there is one in it.
    pub pictures: usize,
    /// Milliseconds of the first call, with all that the provider plans for it.
    pub first_ms: f64,
    /// Milliseconds of the second call.
    pub second_ms: f64,
}

/// The model that was looked at.
#[derive(Debug, Serialize)]
pub struct ModelFound {
    /// The name of its directory of features.
    pub stem: String,
    /// Whether it is the one inside the program.
    pub is_default: bool,
    /// SHA-256 of the file.
    pub sha256: String,
    /// How the tokens of its output become one vector, where that was asked for.
    pub pool: Option<Pool>,
    /// Inputs and outputs, when it could be loaded.
    pub form: Option<Form>,
}

/// Looks at everything that a run needs.
pub fn examine(options: Options) -> Findings {
    let mut findings = Findings {
        simsearch: env!("CARGO_PKG_VERSION"),
        jpeg_decoder: JPEG_DECODER,
        processors: processors(),
        ..Findings::default()
    };
    match gpus() {
        Ok(gpus) => findings.gpus = gpus,
        Err(why) => findings.hints.push(why),
    }
    if !cfg!(feature = "turbojpeg") {
        findings.hints.push(
            "built without libjpeg-turbo: JPEG pictures are not exactly those of Pillow, and slower; install cmake and \
             nasm and build with the default features"
                .into(),
        );
    }
    let read = ModelFile::read(options.model.as_deref());
    let (model, engine_options) = match read.and_then(|model| Ok((model, options.preprocess?))) {
        Ok((model, preprocess)) => {
            findings.model = Some(ModelFound {
                stem: model.stem.clone(),
                is_default: model.is_default,
                sha256: model.sha256.clone(),
                pool: options.finish.pool,
                form: None,
            });
            let given = inference::Options {
                output_name: options.output_name,
                finish: options.finish,
                preprocess,
                ..as_it_is(options.device)
            };
            (model, given)
        }
        // Without its model, the rest is looked at with the one inside the program.
        Err(error) => {
            findings.problems.push(format!("{error:#}"));
            (ModelFile::inside(), as_it_is(options.device))
        }
    };
    let loaded = options
        .places
        .find()
        .map_err(anyhow::Error::from)
        .and_then(|path| Ok(Runtime::load(&path)?));
    let runtime = match loaded {
        Ok(runtime) => runtime,
        Err(error) => {
            findings.problems.push(format!("{error:#}"));
            return findings;
        }
    };
    findings.runtime = Some(RuntimeFound {
        path: runtime.path().to_owned(),
        version: runtime.version().to_owned(),
    });
    for provider in Provider::ALL {
        let engine_options = inference::Options {
            wanted: Wanted::Only(provider),
            ..engine_options.clone()
        };
        let tried = try_provider(&runtime, &options.places, model.clone(), &engine_options);
        let (form, calls, reason) = match tried {
            Ok((form, calls)) => (Some(form), Some(calls), None),
            Err(error) => (None, None, Some(format!("{error:#}"))),
        };
        if let (Some(found), Some(form)) = (&mut findings.model, form) {
            found.form.get_or_insert(form);
        }
        findings.providers.push(ProviderFound {
            provider,
            works: reason.is_none(),
            reason,
            calls,
        });
    }
    let works = |provider| {
        findings
            .providers
            .iter()
            .any(|found| found.provider == provider && found.works)
    };
    if !works(Provider::Cpu) {
        let reason = findings.providers[0].reason.clone().unwrap_or_default();
        findings.problems.push(reason);
    }
    if !findings.gpus.is_empty() && !works(Provider::Cuda) {
        findings
            .hints
            .push("there is a GPU that is not used; see the line on cuda".into());
    }
    findings
}

/// A model as it is, on a GPU or the CPU.
fn as_it_is(device: i32) -> inference::Options {
    inference::Options {
        wanted: Wanted::Auto,
        precision: Precision::Fp32,
        device,
        output_name: None,
        finish: Finish::default(),
        batch_size: None,
        exact: false,
        preprocess: None,
        cuda: CudaOptions::default(),
    }
}

/// Makes a session as `extract` does, and calls the model twice: a provider may fail at the second call alone.
fn try_provider(
    runtime: &Runtime,
    places: &Places,
    model: ModelFile,
    options: &inference::Options,
) -> Result<(Form, Calls)> {
    let folders = places.folders();
    let engine = OnnxEngine::start_with(runtime.clone(), folders, model, options, &|_| {})?;
    let batch = engine.execution().batch;
    let mut model = engine.open()?;
    let first = engine.first_call().unwrap_or_default();
    let form = engine.form().clone();
    let pixels = vec![0; batch * form.height * form.width * 3];
    let started = Instant::now();
    model.run(&pixels, &mut Vec::new())?;
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
    let calls = Calls {
        pictures: batch,
        first_ms: milliseconds(first),
        second_ms: milliseconds(started.elapsed()),
    };
    Ok((form, calls))
}

/// What `nvidia-smi` says, which is nothing where it is not there, or why it says nothing.
fn gpus() -> Result<Vec<String>, String> {
    /// It takes a second or two, and does not end where a device is lost.
    const PATIENCE: Duration = Duration::from_secs(20);
    let query = [
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ];
    let started = Command::new("nvidia-smi")
        .args(query)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut tool) = started else {
        return Ok(Vec::new());
    };
    let mut said = String::new();
    match child::wait_within(&mut tool, fault::patience(PATIENCE)) {
        Ok(Some(status)) if status.success() => {
            if let Some(stdout) = &mut tool.stdout {
                (stdout.read_to_string(&mut said)).map_err(|error| error.to_string())?;
            }
        }
        Ok(None) => {
            return Err(format!(
                "nvidia-smi does not answer within {} s: a GPU or its driver is stuck, and `dmesg` may tell more; a restart \
                 of the machine mends that",
                PATIENCE.as_secs()
            ));
        }
        _ => {}
    }
    Ok(said.lines().map(str::to_owned).collect())
}

impl std::fmt::Display for Findings {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            to,
            "simsearch    {}, JPEG by {}, {} processors",
            self.simsearch, self.jpeg_decoder, self.processors
        )?;
        match &self.runtime {
            Some(runtime) => writeln!(
                to,
                "runtime      ONNX Runtime {}, {}",
                runtime.version,
                runtime.path.display()
            )?,
            None => writeln!(to, "runtime      none")?,
        }
        for found in &self.providers {
            write!(to, "provider     {}: ", found.provider.name())?;
            match (&found.reason, found.calls) {
                (Some(reason), _) => writeln!(to, "{reason}")?,
                (None, None) => writeln!(to, "works")?,
                (None, Some(calls)) => {
                    let Calls {
                        pictures,
                        first_ms,
                        second_ms,
                    } = calls;
                    let pictures = match pictures {
                        1 => "1 picture".to_owned(),
                        count => format!("{count} pictures"),
                    };
                    writeln!(
                        to,
                        "works; the first call took {first_ms} ms, the second {second_ms} ms ({pictures})"
                    )?;
                }
            }
        }
        match &self.gpus[..] {
            [] => writeln!(to, "GPU          none that nvidia-smi tells of")?,
            gpus => gpus
                .iter()
                .try_for_each(|gpu| writeln!(to, "GPU          {gpu}"))?,
        }
        if let Some(model) = &self.model {
            let origin = if model.is_default {
                " (inside the program)"
            } else {
                ""
            };
            writeln!(
                to,
                "model        {}{origin}, SHA-256 {}",
                model.stem, model.sha256
            )?;
            if let Some(form) = &model.form {
                let Form {
                    input,
                    output,
                    width,
                    height,
                    dimension,
                    ..
                } = form;
                let layout = match form.layout {
                    crate::inference::Layout::Nhwc => "[n, height, width, 3]",
                    crate::inference::Layout::Nchw => "[n, 3, height, width]",
                };
                writeln!(
                    to,
                    "input        `{input}` {layout}, {width} x {height} pixels"
                )?;
                let tokens = if model.pool.is_some() { "tokens, " } else { "" };
                writeln!(to, "output       `{output}` [n, {tokens}{dimension}]")?;
            }
        }
        self.hints
            .iter()
            .try_for_each(|hint| writeln!(to, "hint         {hint}"))?;
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(to, "PROBLEM      {problem}"))?;
        if self.problems.is_empty() {
            writeln!(to, "all that `simsearch extract` needs is here")?;
        }
        Ok(())
    }
}
