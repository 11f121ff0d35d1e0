//! The command line: the only place that names clap.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use simsearch::concat::{self, Ended};
use simsearch::doctor;
use simsearch::engine::{self, Engine, ModelFile, OnnxEngine, Places, Wanted};
use simsearch::extract;
use simsearch::interrupt::Interrupt;
use simsearch::list::{self, Output};
use simsearch::model::{Precision, Provider};
use simsearch::object::model_stem;
use simsearch::pixels::{DEFAULT_MAX_PIXELS, PixelOptions};
use simsearch::progress::{Progress, duration};

/// Exit code: finished, but some objects failed.
const SOME_FAILED: u8 = 3;
/// Exit code: another process works on the same directory.
const LOCKED: u8 = 11;

/// Turns a tree of pictures into feature vectors that can be searched for similar pictures.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all done; 1 nothing could be done, or every object failed; 2 wrong usage; 3 finished, but something \
failed or was left out; 11 another process packs the same directory; 129, 130, 143 interrupted: the same command \
goes on from there.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the media tree and write the sorted list of objects.
    List(ListArguments),
    /// Extract the features of all listed objects that have none yet.
    ///
    /// Several copies may run at once, on one machine or on many that share the directories. EXIF orientation is
    /// ignored, as the Python recipe does.
    Extract(Box<ExtractArguments>),
    /// Pack per-object features into shards that numpy reads as they are.
    Concat(ConcatArguments),
    /// Say what is found on this machine, what works, and what to do about the rest.
    Doctor(DoctorArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Directory of the pictures; the listed paths are relative to it.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR")]
    media_dir: PathBuf,
    /// Sub-directory to walk [default: `object` where it exists, else the whole tree].
    #[arg(value_name = "SUBDIRECTORY")]
    subdirectory: Option<PathBuf>,
    /// File name extension to list; may be repeated.
    #[arg(long = "ext", value_name = "EXT", default_value = "jpg")]
    extensions: Vec<String>,
    /// Match extensions in upper and lower case alike.
    #[arg(long)]
    ignore_case: bool,
    /// Follow symbolic links; a loop is an error.
    #[arg(long)]
    follow_links: bool,
    /// Where to write the list; `-` is standard output [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print warnings and errors only.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ExtractArguments {
    /// Directory of the pictures.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR")]
    media_dir: PathBuf,
    /// Directory of the features; each model has its own below it.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// List of objects [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Where the model runs; `auto` is CUDA where it works, else the CPU.
    #[arg(long, value_enum, default_value = "auto")]
    provider: ProviderArgument,
    /// What the model computes with; fewer bits are faster, and how far that is from fp32 is printed. bf16 runs on the
    /// CPU through OpenVINO, fp16 on a GPU.
    #[arg(long, value_enum, default_value = "fp32")]
    precision: PrecisionArgument,
    /// Run the graph as it is, slower: features equal to those of the Python recipe to the last bit.
    #[arg(long, conflicts_with = "precision")]
    exact: bool,
    /// Let the JPEG decoder shrink large pictures: faster, and no longer the exact pixels.
    #[arg(long)]
    scaled_decode: bool,
    /// Pictures in a call of the model [default: 8 on the CPU, 64 on a GPU].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch_size: Option<usize>,
    /// Threads that read, run and write [default: the processors that the process may use].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    workers: Option<usize>,
    /// Seed of the order in which objects are taken [default: random].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Extract at most this many objects.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Stop after this many failed objects [default: never].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_errors: Option<usize>,
    /// Refuse pictures of more pixels.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
    /// Try just the objects that failed before, those that are no pictures too.
    #[arg(long)]
    retry_failed: bool,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Print warnings and errors only.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ModelArguments {
    /// ONNX model [default: a small one inside the program].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "FILE")]
    model: Option<PathBuf>,
    /// Output of the model [default: `feature_vector`, or the only one].
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
    /// Number of the GPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: i32,
    /// ONNX Runtime: libonnxruntime.so, or its folder [default: searched for].
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    runtime: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConcatArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features to pack: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Rows of a full shard.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one)]
    rows: usize,
    /// Leave what does not fill a shard unpacked.
    #[arg(long)]
    full_only: bool,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Print warnings and errors only.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
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
    Fp16,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

/// Does what the command line asks for.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::List(arguments) => run_list(arguments),
        Command::Extract(arguments) => run_extract(*arguments),
        Command::Concat(arguments) => run_concat(&arguments),
        Command::Doctor(arguments) => run_doctor(arguments),
    }
}

fn run_list(arguments: ListArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let output = match arguments.output {
        Some(path) if path == Path::new("-") => Output::Stdout,
        Some(path) => Output::File(path),
        None => Output::File(arguments.media_dir.join("objects.txt")),
    };
    let options = list::Options {
        media_dir: arguments.media_dir,
        subdirectory: arguments.subdirectory,
        extensions: arguments.extensions,
        ignore_case: arguments.ignore_case,
        follow_links: arguments.follow_links,
        output,
    };
    let summary = list::list(&options, &progress)?;
    if let Output::File(path) = &options.output {
        progress.note(&format!(
            "listed {} objects in {}",
            summary.objects,
            path.display()
        ));
    }
    Ok(if summary.left_out > 0 {
        SOME_FAILED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn run_extract(arguments: ExtractArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    let model = ModelFile::read(arguments.model.model.as_deref())?;
    if model.is_default {
        progress.note(&format!(
            "model: {}, which ships with the program; `make model` fetches MobileNetV3, --model names it",
            model.stem
        ));
    } else {
        progress.note(&format!("model: {}", model.stem));
    }
    let objects = arguments
        .objects
        .unwrap_or_else(|| arguments.media_dir.join("objects.txt"));
    let options = extract::Options {
        objects,
        media_dir: arguments.media_dir,
        directory: arguments.feature_dir.join(&model.stem),
        workers: arguments.workers,
        seed: arguments.seed,
        limit: arguments.limit,
        max_errors: arguments.max_errors,
        retry_failed: arguments.retry_failed,
        exact: arguments.exact,
        pixels: PixelOptions {
            max_pixels: arguments.max_pixels,
            scaled_decode: arguments.scaled_decode,
        },
    };
    let sha256 = model.sha256();
    let places = places(arguments.model.runtime);
    let engine_options = engine::Options {
        wanted: match arguments.provider {
            ProviderArgument::Auto => Wanted::Auto,
            ProviderArgument::Cpu => Wanted::Only(Provider::Cpu),
            ProviderArgument::Openvino => Wanted::Only(Provider::OpenVino),
            ProviderArgument::Cuda => Wanted::Only(Provider::Cuda),
            ProviderArgument::Tensorrt => Wanted::Only(Provider::TensorRt),
        },
        precision: match arguments.precision {
            PrecisionArgument::Fp32 => Precision::Fp32,
            PrecisionArgument::Bf16 => Precision::Bf16,
            PrecisionArgument::Fp16 => Precision::Fp16,
        },
        device: arguments.model.device,
        output_name: arguments.model.output_name,
        batch_size: arguments.batch_size,
        exact: arguments.exact,
    };
    let note = |line: &str| progress.note(line);
    let start = || -> Result<Box<dyn Engine>> {
        Ok(Box::new(OnnxEngine::start(
            &places,
            model.clone(),
            &engine_options,
            &note,
        )?))
    };
    let source = extract::Source {
        sha256: &sha256,
        start: &start,
    };
    let summary = extract::extract(&options, &source, &progress, &interrupt)?;
    report_extract(&summary, &progress);
    if arguments.json {
        print_json(&summary)?;
    }
    Ok(match summary.signal {
        Some(signal) => u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from),
        None if summary.failed == 0 => ExitCode::SUCCESS,
        None if summary.done + summary.skipped == 0 => ExitCode::FAILURE,
        None => SOME_FAILED.into(),
    })
}

fn report_extract(summary: &extract::Summary, progress: &Progress) {
    progress.note(&format!(
        "{} done, {} skipped, {} failed of {} objects in {} ({:.1} images/s)",
        summary.done,
        summary.skipped,
        summary.failed,
        summary.listed,
        duration(summary.seconds),
        summary.images_per_second
    ));
    if let (failed @ 1.., Some(path)) = (summary.failed, &summary.failures) {
        let objects = if failed == 1 { "object" } else { "objects" };
        progress.warn(&format!(
            "{failed} {objects} failed; {} says why",
            path.display()
        ));
    }
    if summary.signal.is_some() {
        progress.warn(&format!(
            "interrupted, {} objects are left; the same command goes on from here",
            summary.left
        ));
    } else if summary.left > 0 {
        progress.note(&format!("{} objects are left", summary.left));
    }
}

fn run_concat(arguments: &ConcatArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let directory = model_directory(&arguments.feature_dir, arguments.model.as_deref())?;
    let options = concat::Options {
        directory,
        rows: arguments.rows,
        full_only: arguments.full_only,
    };
    let summary = match concat::concat(&options, &progress)? {
        Ended::Packed(summary) => summary,
        Ended::HeldBy(holder) => {
            eprintln!(
                "simsearch: {} is being packed by {holder}; try again later",
                options.directory.display()
            );
            return Ok(LOCKED.into());
        }
    };
    let shards = if summary.shards == 1 {
        "shard"
    } else {
        "shards"
    };
    progress.note(&format!(
        "packed {} features into {} {shards} in {}",
        summary.rows,
        summary.shards,
        duration(summary.seconds)
    ));
    if summary.left > 0 {
        progress.note(&format!("left {} features for a full shard", summary.left));
    }
    if arguments.json {
        print_json(&summary)?;
    }
    Ok(if summary.refused > 0 {
        SOME_FAILED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn run_doctor(arguments: DoctorArguments) -> Result<ExitCode> {
    let findings = doctor::examine(&doctor::Options {
        places: places(arguments.model.runtime),
        model: arguments.model.model,
        output_name: arguments.model.output_name,
        device: arguments.model.device,
    });
    if arguments.json {
        print_json(&findings)?;
    } else {
        write!(io::stdout(), "{findings}").context("cannot write to standard output")?;
    }
    Ok(if findings.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value)?)
        .context("cannot write to standard output")
}

fn places(named: Option<PathBuf>) -> Places {
    Places {
        named,
        program: std::env::current_exe().ok(),
        library_path: std::env::var_os("LD_LIBRARY_PATH"),
    }
}

/// The directory of a model's features: that of the named model, or the only one below `feature_dir`.
fn model_directory(feature_dir: &Path, model: Option<&Path>) -> Result<PathBuf> {
    let entries = std::fs::read_dir(feature_dir).with_context(|| {
        format!(
            "cannot read the feature directory {}",
            feature_dir.display()
        )
    })?;
    let mut stems: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    stems.sort();
    let known = || match &stems[..] {
        [] => "it holds none; `simsearch extract` makes one".to_owned(),
        stems => format!("it holds: {}", stems.join(", ")),
    };
    let Some(model) = model else {
        return match &stems[..] {
            [stem] => Ok(feature_dir.join(stem)),
            _ => bail!(
                "--model must say whose features below {}; {}",
                feature_dir.display(),
                known()
            ),
        };
    };
    // A stem may hold a dot: what is there under the whole name is meant rather than what is before the dot.
    let named = model
        .to_str()
        .filter(|name| stems.iter().any(|stem| stem == name))
        .map(str::to_owned);
    match named
        .or_else(|| model_stem(model))
        .filter(|stem| stems.contains(stem))
    {
        Some(stem) => Ok(feature_dir.join(stem)),
        None => bail!(
            "{} has no features of {}; {}",
            feature_dir.display(),
            model.display(),
            known()
        ),
    }
}
