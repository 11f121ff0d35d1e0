//! The arguments of commands that make features: how, and with which model.

use std::cell::OnceCell;
use std::panic;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use simsearch::commands::extract;
use simsearch::inference::{
    self, Backend, CudaOptions, Engine, Finish, ModelFile, OnnxEngine, Places, Pool, Precision,
    Preprocess, Provider, Wanted,
};
use simsearch::pictures::{self, DEFAULT_MAX_PIXELS, PixelOptions, Resampling};
use simsearch::storage::model_dir::written_directory;
use simsearch::storage::object_id::IdKind;
use simsearch::support::progress::Progress;

use super::shared::{FeatureDirArgument, IdsArgument, ModelArguments, at_least_one};

/// The model, and how it makes features.
#[derive(Debug, Args)]
pub struct FeatureArguments {
    #[command(flatten)]
    features: FeatureDirArgument,
    #[command(flatten)]
    model: ModelArguments,
    /// What the object ids are: the file names, or the paths below the media directory, so that two files of one name
    /// are two objects. The first run in a directory decides, and `list` takes the same option [default: as recorded,
    /// else name].
    #[arg(long, value_enum, value_name = "WHAT")]
    ids: Option<IdsArgument>,
    /// Where the model runs; `auto` means CUDA if a device answers, else the CPU.
    #[arg(long, value_enum, default_value = "auto")]
    provider: ProviderArgument,
    /// Number format of the model's computation; fewer bits are faster, and the difference from fp32 is printed. bf16
    /// runs on the CPU through OpenVINO, tf32 and fp16 on a GPU.
    #[arg(long, value_enum, default_value = "fp32")]
    precision: PrecisionArgument,
    /// Bit-identical to onnxruntime in Python; disables graph rewriting, so slower.
    #[arg(long, conflicts_with_all = ["precision", "scaled_decode", "decode"])]
    exact: bool,
    /// Let the JPEG decoder shrink large pictures: faster, but the pixels are no longer exact.
    #[arg(long)]
    scaled_decode: bool,
    /// Where JPEG pictures are decoded. On a GPU (with nvJPEG, which comes with CUDA) that is faster, but the pixels
    /// are no longer exact; the difference is printed. Other pictures, and JPEG of unusual kinds, are decoded on the
    /// CPU.
    #[arg(long, value_enum, default_value = "cpu", value_name = "WHERE")]
    decode: DecodeArgument,
    /// Whether to turn pictures as their EXIF orientation says, like Pillow's `ImageOps.exif_transpose`, or to leave
    /// them as they are stored, as the Python recipe does.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "ignore")]
    exif_orientation: ExifOrientationArgument,
    #[command(flatten)]
    processing: ProcessingArguments,
    /// Whose pixels to make: Pillow 13 shrinks tall pictures in another order than Pillow 9.5 to 12. Use 12 to go on
    /// with features that were made with one of those.
    #[arg(
        long,
        value_enum,
        value_name = "VERSION",
        default_value = "13",
        conflicts_with = "backend"
    )]
    pillow: PillowArgument,
    /// Pictures per call of the model [default: 1 on the CPU, or 4 where that is faster, 8 with OpenVINO, 64 on a GPU].
    #[arg(long, value_name = "N", value_parser = up_to_4096)]
    batch_size: Option<usize>,
    /// Threads that read, run and write [default: one for each processor that the process may use].
    #[arg(long, value_name = "N", value_parser = up_to_4096)]
    workers: Option<usize>,
    /// Refuse pictures with more pixels. For decoding, all workers together use at most 576 MiB per worker, besides the
    /// files themselves; a picture that needs more than all of that is decoded alone (up to 40 bytes per pixel, 50 or
    /// more in JPEG 2000 and JPEG XL, and 600 bytes per byte of a lossless WebP file).
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
}

/// What goes into a model, and what becomes of what comes out of it.
#[derive(Debug, Args)]
pub struct ProcessingArguments {
    /// How pictures become the model's input: `auto` (the configuration beside the model: preprocessor_config.json of
    /// transformers, or timm's config.json; without one tf-hub), a preset (tf-hub, imagenet, clip, siglip, dinov2), or
    /// a file of one of these kinds.
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    preprocess: String,
    /// Whose pixels to make where --preprocess is of transformers: those of its processors with Pillow (`pil`), or with
    /// torchvision, which it takes by default where that is installed.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "pil")]
    backend: BackendArgument,
    /// What becomes of a model's output that has a vector for each token of the picture: the first one (`cls`), or the
    /// mean of all (`mean`). With `none` such an output is refused, and with the others any other output is.
    #[arg(long, value_enum, value_name = "HOW", default_value = "none")]
    pool: PoolArgument,
    /// Divide each feature by its length, so that Euclidean distances order pictures as cosine distances do.
    #[arg(long)]
    normalize: bool,
}

impl ProcessingArguments {
    /// How pictures become the input of a model, and where that was found; `None` is the program's own way.
    pub fn preprocess(&self, model: Option<&Path>) -> Result<Option<(Preprocess, PathBuf)>> {
        let found = Preprocess::find(&self.preprocess, model)?;
        if self.backend == BackendArgument::Pil {
            return Ok(found);
        }
        let (found, from) = found.context(
            "--backend torchvision is for models of transformers: their preprocessor_config.json belongs beside the \
             model, or --preprocess names clip, siglip or dinov2",
        )?;
        Ok(Some((found.with_backend(Backend::Torchvision)?, from)))
    }

    /// What becomes of the output.
    pub fn finish(&self) -> Finish {
        Finish {
            pool: match self.pool {
                PoolArgument::None => None,
                PoolArgument::Cls => Some(Pool::Cls),
                PoolArgument::Mean => Some(Pool::Mean),
            },
            normalize: self.normalize,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProviderArgument {
    Auto,
    Cpu,
    Openvino,
    Cuda,
    Tensorrt,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArgument {
    Fp32,
    Bf16,
    Tf32,
    Fp16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExifOrientationArgument {
    Apply,
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum DecodeArgument {
    Cpu,
    Gpu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendArgument {
    Pil,
    Torchvision,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PoolArgument {
    None,
    Cls,
    Mean,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PillowArgument {
    #[value(name = "12")]
    V12,
    #[value(name = "13")]
    V13,
}

/// A model that was read, and how it makes features.
pub struct Making {
    model: ModelFile,
    directory: PathBuf,
    ids: Option<IdKind>,
    workers: Option<usize>,
    pixels: PixelOptions,
    places: Places,
    engine: inference::Options,
}

/// Pictures a call, or threads: more than any device gains by would take memory, and more threads than any machine has
/// processors would keep it from all else.
fn up_to_4096(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number @ ..=4096 => Ok(number),
        _ => Err("must be 4096 or less".into()),
    }
}

impl FeatureArguments {
    /// Reads the model, and says which it is.
    pub fn read_model(self, progress: &Progress) -> Result<Making> {
        ensure!(
            !self.exact || cfg!(feature = "turbojpeg"),
            "this program was built without libjpeg-turbo, so that its pixels are not exact; leave out --exact"
        );
        let model = ModelFile::read(self.model.path())?;
        if model.is_default {
            progress.note(&format!(
                "model: {}, which ships with the program; `make model` fetches MobileNetV3, --model names it",
                model.stem
            ));
        } else {
            progress.note(&format!("model: {}", model.stem));
        }
        let found = self.processing.preprocess(self.model.path())?;
        if let Some((_, from)) = &found {
            progress.note(&format!("preprocessing: {}", from.display()));
        }
        let preprocess = found.map(|(preprocess, _)| preprocess);
        let pixels = PixelOptions {
            max_pixels: self.max_pixels,
            scaled_decode: self.scaled_decode,
            decode_on_gpu: self.decode == DecodeArgument::Gpu,
            apply_orientation: self.exif_orientation == ExifOrientationArgument::Apply,
            resampling: match self.pillow {
                PillowArgument::V12 => Resampling::Pillow12,
                PillowArgument::V13 => Resampling::Pillow13,
            },
            ..PixelOptions::default()
        };
        let precision = match self.precision {
            PrecisionArgument::Fp32 => Precision::Fp32,
            PrecisionArgument::Bf16 => Precision::Bf16,
            PrecisionArgument::Tf32 => Precision::Tf32,
            PrecisionArgument::Fp16 => Precision::Fp16,
        };
        let runtime = self.model.runtime;
        Ok(Making {
            directory: written_directory(&self.features.feature_dir, &model.stem)?,
            model,
            ids: self.ids.map(IdKind::from),
            workers: self.workers,
            pixels: match &preprocess {
                Some(preprocess) => preprocess.pixels(pixels),
                None => pixels,
            },
            places: runtime.places(),
            engine: inference::Options {
                wanted: match self.provider {
                    ProviderArgument::Auto => Wanted::Auto,
                    ProviderArgument::Cpu => Wanted::Only(Provider::Cpu),
                    ProviderArgument::Openvino => Wanted::Only(Provider::OpenVino),
                    ProviderArgument::Cuda => Wanted::Only(Provider::Cuda),
                    ProviderArgument::Tensorrt => Wanted::Only(Provider::TensorRt),
                },
                precision,
                device: runtime.device,
                output_name: runtime.output_name,
                finish: self.processing.finish(),
                batch_size: self.batch_size,
                exact: self.exact,
                preprocess,
                cuda: CudaOptions::for_precision(precision),
            },
        })
    }
}

impl Making {
    /// To extract the pending objects of a list, all of them.
    pub fn options(&self, media_dir: PathBuf, objects: PathBuf) -> extract::Options {
        extract::Options {
            media_dir,
            objects,
            part: None,
            directory: self.directory.clone(),
            pack: None,
            ids: self.ids,
            workers: self.workers,
            seed: None,
            limit: None,
            max_errors: None,
            retry_failed: false,
            assume_unchanged: false,
            patience: extract::PATIENCE,
            exact: self.engine.exact,
            pixels: self.pixels,
        }
    }

    /// Starts the runtime.
    pub fn start(&self, progress: &Progress) -> Result<Box<dyn Engine>> {
        let note = |line: &str| progress.note(line);
        let (model, options) = (self.model.clone(), &self.engine);
        let engine = OnnxEngine::start(&self.places, model, options, &note)?;
        Ok(Box::new(engine))
    }

    /// The model, which `start` starts.
    pub fn source<'a>(
        &'a self,
        start: &'a dyn Fn() -> Result<Box<dyn Engine>>,
    ) -> extract::ModelSource<'a> {
        extract::ModelSource {
            sha256: &self.model.sha256,
            output: self.engine.output_name.as_deref(),
            precision: self.engine.precision,
            device: self.engine.device,
            preprocess: self.engine.preprocess,
            finish: self.engine.finish,
            start,
            running: OnceCell::new(),
            decoder: OnceCell::new(),
        }
    }
}

/// A bug of a decoder is a failure of its picture, and reported as such: the panic itself is not printed.
pub fn leave_panics_of_decoders_to_the_report() {
    let print_panic = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !pictures::becomes_an_error(panic) {
            print_panic(panic);
        }
    }));
}
