//! The arguments of `extract`.

use std::cell::OnceCell;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

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
use simsearch::storage::part::Part;
use simsearch::support::interrupt::Interrupt;
use simsearch::support::progress::{Progress, counted, duration};

use super::print::{SOME_FAILED, held_by};
use super::shared::{
    FeatureDirArgument, IdsArgument, JsonArgument, MediaArguments, ModelArguments, QuietArgument,
    at_least_one, whole_number,
};

#[derive(Debug, Args)]
pub struct ExtractArguments {
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    features: FeatureArguments,
    /// Take one of N parts of the list: I from 0 to N - 1. An object belongs to the same part everywhere, by its id, so
    /// that machines or jobs without a common disk can divide the list; what is in one tar file is in one part. A
    /// feature directory keeps the N of its first part.
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    /// Write shards as `concat` does, instead of a file for each object, into a directory of the part in that of the
    /// model (part-00003-of-00064; with no --part, of the only one). Next to nothing waits for a shared disk then. One
    /// process at a time writes a part; killed, it loses the shard that it has in hand. `concat --merge` makes one
    /// directory of all parts.
    #[arg(long)]
    pack: bool,
    /// With --pack, rows of a full shard.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one, requires = "pack")]
    rows: usize,
    /// Seed of the order in which objects are taken [default: random].
    #[arg(long, value_name = "N", value_parser = whole_number, conflicts_with = "pack")]
    seed: Option<u64>,
    /// Take at most this many objects, including those that fail.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Stop after this many failed objects; those that were begun are finished, so that a few more may fail [default:
    /// never].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_errors: Option<usize>,
    /// Whether the exit code is 3 when some objects failed (`any`), or 0 all the same (`none`): for schedulers, which
    /// take anything else for a task that failed.
    #[arg(long, value_enum, default_value = "any", value_name = "WHEN")]
    fail_on: FailOnArgument,
    /// End within so many seconds of a Ctrl-C or a TERM, also where a disk or a GPU does not answer; what was begun is
    /// done again by the next run. For schedulers that kill after a while [default: as long as what was begun takes].
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one)]
    grace: Option<usize>,
    /// Retry only objects that failed before, including files that are not pictures.
    #[arg(long)]
    retry_failed: bool,
    /// Do not look whether pictures have changed since their features were made. Without this, a picture of another
    /// size, or with another time of its last change, is extracted again.
    #[arg(long)]
    assume_unchanged: bool,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

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
enum FailOnArgument {
    Any,
    None,
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

pub fn run(arguments: ExtractArguments) -> Result<ExitCode> {
    leave_panics_of_decoders_to_the_report();
    let progress = arguments.quiet.progress();
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    if let Some(grace) = arguments.grace {
        let progress = arguments.quiet.progress();
        let say = move || {
            progress.warn(&format!(
                "ended {grace} s after the signal, as --grace asks; the same command goes on from here"
            ));
        };
        (interrupt.end_within(Duration::from_secs(grace as u64), say))
            .context("cannot catch signals")?;
    }
    let making = arguments.features.read_model(&progress)?;
    let is_list_named = arguments.media.names_a_list();
    let (media_dir, objects) = arguments.media.media_and_objects();
    let options = extract::Options {
        part: arguments.part,
        pack: arguments.pack.then_some(arguments.rows),
        seed: arguments.seed,
        limit: arguments.limit,
        max_errors: arguments.max_errors,
        retry_failed: arguments.retry_failed,
        assume_unchanged: arguments.assume_unchanged,
        ..making.options(media_dir, objects)
    };
    let start = || making.start(&progress);
    let source = making.source(&start);
    let summary = extract::extract(&options, &source, &progress, &interrupt)?;
    // The system takes back what a GPU holds at once, when the program ends; piece by piece it takes 0.4 s.
    std::mem::forget(source);
    if let Some((directory, holder)) = &summary.held_by {
        return Ok(held_by("written to", holder, directory, &progress));
    }
    report_extract(&summary, options.pack.is_some(), &progress);
    arguments.json.print(&summary)?;
    if summary.in_file == 0 && is_list_named {
        progress.warn(&format!(
            "the list of objects {} is empty",
            options.objects.display()
        ));
        return Ok(SOME_FAILED.into());
    }
    Ok(exit_code(&summary, arguments.fail_on).into())
}

fn exit_code(summary: &extract::Summary, fail_on: FailOnArgument) -> u8 {
    match summary.signal {
        Some(signal) => u8::try_from(128 + signal).unwrap_or(1),
        None if summary.claimed_elsewhere + summary.left_to_parts > 0 => SOME_FAILED,
        None if summary.failed == 0 => 0,
        None if summary.too_many_errors => SOME_FAILED,
        None if fail_on == FailOnArgument::None => 0,
        None if summary.done + summary.skipped == 0 => 1,
        None => SOME_FAILED,
    }
}

fn report_extract(summary: &extract::Summary, pack: bool, progress: &Progress) {
    progress.note(&format!(
        "{} done, {} skipped, {} failed of {} in {} ({:.1} images/s)",
        summary.done,
        summary.skipped,
        summary.failed,
        counted(summary.listed, "object"),
        duration(summary.seconds),
        summary.images_per_second
    ));
    if summary.changed > 0 {
        progress.note(&format!(
            "{} had changed",
            counted(summary.changed, "picture")
        ));
    }
    if summary.changed_elsewhere > 0 {
        let (whose, how) = match pack {
            true => ("the model's directory", "a run without --pack"),
            false => ("a part", "a run with --pack for that part"),
        };
        progress.warn(&format!(
            "{} had changed too, whose features are packed in {whose}; {how} makes them again",
            counted(summary.changed_elsewhere, "picture")
        ));
    }
    if summary.moved > 0 {
        progress.note(&format!(
            "{} had moved; the new paths are recorded",
            counted(summary.moved, "picture")
        ));
    }
    if let Some(count) = summary.decoded_on_gpu {
        progress.note(&format!(
            "{} decoded on the GPU, the others on the CPU",
            counted(count, "picture")
        ));
    }
    if let (failed @ 1.., Some(path)) = (summary.failed, &summary.failures) {
        progress.warn(&format!(
            "{} failed; {} says why",
            counted(failed, "object"),
            path.display()
        ));
    }
    if summary.signal.is_some() {
        progress.warn(&format!(
            "interrupted, {}; the same command goes on from here",
            are_left(summary.left)
        ));
    } else if summary.too_many_errors {
        progress.warn(&format!(
            "as many objects failed as --max-errors allows; {}",
            are_left(summary.left)
        ));
    } else if summary.claimed_elsewhere > 0 {
        progress.warn(&format!(
            "another process holds {} and makes no progress; end it if it is stopped or stuck, and run the same command \
             again. If its machine has lost its power, the server of the disk gives them free by itself (NFS 4 after 90 \
             seconds; NFS 3 when that machine is up again)",
            counted(summary.claimed_elsewhere, "object")
        ));
    } else if summary.left > 0 {
        progress.note(&are_left(summary.left));
    }
}

fn are_left(count: u64) -> String {
    match count {
        0 => "none is left".to_owned(),
        1 => "1 object is left".to_owned(),
        _ => format!("{count} objects are left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_extract_says_how_complete_it_is() {
        let summary = |done, failed, claimed_elsewhere, signal| extract::Summary {
            done,
            failed,
            claimed_elsewhere,
            signal,
            ..extract::Summary::default()
        };
        let stopped = |summary| extract::Summary {
            too_many_errors: true,
            ..summary
        };
        let left_to_parts = |summary| extract::Summary {
            left_to_parts: 1,
            ..summary
        };
        for (summary, code) in [
            (summary(2, 0, 0, None), 0),
            (left_to_parts(summary(2, 0, 0, None)), 3),
            (summary(0, 2, 0, None), 1),
            (summary(2, 2, 0, None), 3),
            (summary(2, 0, 1, None), 3),
            (summary(0, 2, 1, None), 3),
            (summary(2, 2, 0, Some(15)), 143),
            (stopped(summary(0, 2, 0, None)), 3),
        ] {
            assert_eq!(
                exit_code(&summary, FailOnArgument::Any),
                code,
                "{summary:?}"
            );
        }
        for (summary, code) in [
            (summary(2, 2, 0, None), 0),
            // A part may well have one picture, and that be broken.
            (summary(0, 2, 0, None), 0),
            (summary(2, 0, 1, None), 3),
            (summary(2, 2, 0, Some(15)), 143),
            (stopped(summary(2, 2, 0, None)), 3),
        ] {
            assert_eq!(
                exit_code(&summary, FailOnArgument::None),
                code,
                "{summary:?}"
            );
        }
    }
}
