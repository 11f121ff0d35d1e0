//! The command line: the only place that names clap.

mod export;
mod index;
mod search;
mod serve;

use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use simsearch::concat::{self, Ended};
use simsearch::doctor;
use simsearch::engine::{self, Engine, ModelFile, OnnxEngine, Places, Wanted};
use simsearch::extract;
use simsearch::feature_dir::model_directory;
use simsearch::interrupt::{self, Interrupt};
use simsearch::list::{self, Output};
use simsearch::model::{Precision, Provider};
use simsearch::pixels::{self, DEFAULT_MAX_PIXELS, PixelOptions};
use simsearch::progress::{Progress, duration};
use simsearch::{status, verify};

use export::ExportArguments;
use index::IndexArguments;
use search::SearchArguments;
use serve::ServeArguments;

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
Exit codes: 0 all done; 1 stopped by an error, every object failed, or a check found problems; 2 wrong usage; \
3 finished, but something failed or was left out; 11 another process packs the same directory; 129, 130, 143 interrupted: the same command \
goes on from there.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the media tree and write the sorted list of objects.
    ///
    /// Symbolic links are not followed. Of two files with one name the first is listed, since a file's name is its
    /// object id. Takes less than 100 bytes of memory an object beyond the paths.
    #[command(after_help = EXIT_CODES)]
    List(ListArguments),
    /// Extract the features of all listed objects that have none yet.
    ///
    /// Several copies may run at once, on one machine or on many that share the directories. Pictures become the pixels
    /// that Pillow makes with `Image.open(p).convert("RGB").resize((224, 224))`; EXIF orientation is ignored.
    #[command(after_help = EXIT_CODES)]
    Extract(Box<ExtractArguments>),
    /// Pack per-object features into shards that numpy reads as they are.
    #[command(after_help = EXIT_CODES)]
    Concat(ConcatArguments),
    /// Find the objects nearest to pictures, or to objects that are extracted.
    ///
    /// Prints a line for each neighbour, nearest first: its object id, a space, its distance. Exact: looks at every
    /// shard, and at the per-object files that are not packed yet. With several queries a line `# QUERY` is before the
    /// neighbours of each. A query that fails is named on standard error, and does not end the others.
    #[command(after_help = EXIT_CODES)]
    Search(Box<SearchArguments>),
    /// Look at similar pictures in a browser: a web server on this machine.
    ///
    /// GET /similar/OBJECT_ID?limit=100 answers JSON, POST /similar takes a picture, and / is a page. Shards, per-object
    /// files and the list are read again when they change. Ends with Ctrl-C or TERM, with exit code 0.
    Serve(Box<ServeArguments>),
    /// Say what is listed, done, packed, failed and pending.
    ///
    /// Goes by names alone: those of the per-object files, the object ids in shards, and the report of failures. What
    /// the files hold is for `verify` to check, and whether a picture that failed has changed since is for `extract` to
    /// see. May run beside `extract` and `concat`.
    #[command(after_help = EXIT_CODES)]
    Status(CheckArguments),
    /// Check that nothing is damaged, missing or there twice.
    ///
    /// Shards: pairs, shapes, types, finite numbers, one length, and the checksums that `concat` has recorded in
    /// SHA256SUMS. Per-object files: whole and finite. No object id twice. With a list: a feature or a failure for
    /// each object. Problems are lines on standard output. May run beside `extract`, and not beside `concat`.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArguments),
    /// Make the index for `search --approximate`, or add the new shards to it.
    ///
    /// How many of the ten nearest it finds is measured against the exact search, and printed. While it is made, it is in
    /// memory: 2 bytes a number (1 with `--storage i8`) and about 200 bytes a feature. Killed, it leaves the old index.
    #[command(after_help = EXIT_CODES)]
    Index(IndexArguments),
    /// Write all features to one Parquet file, which DuckDB, LanceDB, Milvus and Spark import as it is.
    ///
    /// Columns: `object_id`, a string, and `feature`, a list of float32 of fixed size. Features that are not packed yet
    /// are there too. Takes about 100 MB of memory, and the features that are not packed yet.
    #[command(after_help = EXIT_CODES)]
    Export(ExportArguments),
    /// Say what is found on this machine, what works, and what to do about the rest.
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorArguments),
    /// Load an ONNX Runtime library and run a model; see `engine::Places::trial`.
    #[command(hide = true, name = TRY_LIBRARY)]
    TryLibrary { library: PathBuf },
}

/// The name of the hidden command.
const TRY_LIBRARY: &str = "try-library";

#[derive(Debug, Args)]
struct ListArguments {
    /// Directory of the pictures; the listed paths are relative to it.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR")]
    media_dir: PathBuf,
    /// Sub-directory to walk, `.` for the whole tree [default: `object` where it exists, else the whole tree].
    #[arg(value_name = "SUBDIRECTORY")]
    subdirectory: Option<PathBuf>,
    /// File name extension to list; may be repeated.
    #[arg(long = "ext", value_name = "EXT", default_value = "jpg", value_parser = extension)]
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
    /// Features equal to those of onnxruntime in Python to the last bit: the graph is not rewritten, which is slower.
    #[arg(long, conflicts_with_all = ["precision", "scaled_decode"])]
    exact: bool,
    /// Let the JPEG decoder shrink large pictures: faster, and no longer the exact pixels.
    #[arg(long)]
    scaled_decode: bool,
    /// Pictures in a call of the model [default: 1 on the CPU, 8 with OpenVINO, 64 on a GPU].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch_size: Option<usize>,
    /// Threads that read, run and write [default: the processors that the process may use].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    workers: Option<usize>,
    /// Seed of the order in which objects are taken [default: random].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Take at most this many objects, those that fail included.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Stop after this many failed objects [default: never].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_errors: Option<usize>,
    /// Refuse pictures of more pixels. All workers together use at most 576 MiB for each of them to decode, besides the
    /// files themselves; a picture that needs more than that is decoded alone (5 to 23 bytes a pixel, and 600 bytes for
    /// each byte of a lossless WebP file).
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
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "FILE", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// Output of the model [default: `feature_vector`, or the only one].
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
    /// Number of the GPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: i32,
    /// ONNX Runtime: libonnxruntime.so, or its folder [default: searched for].
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE", value_parser = path_or_nothing())]
    runtime: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConcatArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features to pack: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
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

/// Of `status` and `verify`.
#[derive(Debug, Args)]
struct CheckArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features are meant: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// List of objects [default: MEDIA_DIR/objects.txt where there is a media directory, or else none].
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// Directory of the pictures; only its list is read.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR", value_parser = path_or_nothing())]
    media_dir: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    check: CheckArguments,
    /// Print problems and errors only.
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

/// A path that may be empty, as an unset variable in a Makefile is: [`given`] then takes it for left out.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn extension(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must be the end of a name, such as jpg".into()),
        _ if text.starts_with('.') || text.contains(['*', '/']) => {
            let bare = text.trim_start_matches(['*', '.']);
            Err(format!(
                "must be without dot, star or slash, such as `{bare}`"
            ))
        }
        _ => Ok(text.into()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

/// Does what the command line asks for.
pub fn run() -> Result<ExitCode> {
    interrupt::survive_the_limit_of_file_size().context("cannot catch signals")?;
    match Cli::parse().command {
        Command::List(arguments) => run_list(arguments),
        Command::Extract(arguments) => run_extract(*arguments),
        Command::Concat(arguments) => run_concat(&arguments),
        Command::Search(arguments) => search::run(*arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Status(arguments) => run_status(arguments),
        Command::Verify(arguments) => run_verify(arguments),
        Command::Index(arguments) => index::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Doctor(arguments) => run_doctor(arguments),
        Command::TryLibrary { library } => {
            engine::try_library(&library).map(|()| ExitCode::SUCCESS)
        }
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
    let print_panic = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // A bug of a decoder is a failure of its picture, and reported as such.
        if !pixels::catches_panics() {
            print_panic(panic);
        }
    }));
    let progress = Progress::new(arguments.quiet);
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    ensure!(
        !arguments.exact || cfg!(feature = "turbojpeg"),
        "this program was built without libjpeg-turbo, so that its pixels are not exact; leave out --exact"
    );
    let model = ModelFile::read(given(arguments.model.model).as_deref())?;
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
        patience: extract::PATIENCE,
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
        output: engine_options.output_name.as_deref(),
        precision: engine_options.precision,
        start: &start,
    };
    let summary = extract::extract(&options, &source, &progress, &interrupt)?;
    report_extract(&summary, &progress);
    if arguments.json {
        print_json(&summary)?;
    }
    Ok(exit_code(&summary).into())
}

fn exit_code(summary: &extract::Summary) -> u8 {
    match summary.signal {
        Some(signal) => u8::try_from(128 + signal).unwrap_or(1),
        None if summary.in_other_hands > 0 => SOME_FAILED,
        None if summary.failed == 0 => 0,
        None if summary.done + summary.skipped == 0 => 1,
        None => SOME_FAILED,
    }
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
        progress.warn(&format!(
            "{} failed; {} says why",
            counted(failed, "object"),
            path.display()
        ));
    }
    if summary.signal.is_some() {
        progress.warn(&format!(
            "interrupted, {} objects are left; the same command goes on from here",
            summary.left
        ));
    } else if summary.too_many_errors {
        progress.warn(&format!(
            "stopped after as many failures as --max-errors allows, {} objects are left",
            summary.left
        ));
    } else if summary.in_other_hands > 0 {
        progress.warn(&format!(
            "another process has {} in hand and does not go on; end it if it is stopped or stuck, and run the same \
             command again",
            counted(summary.in_other_hands as u64, "object")
        ));
    } else if summary.left > 0 {
        progress.note(&format!("{} objects are left", summary.left));
    }
}

fn run_concat(arguments: &ConcatArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let directory = model_directory(
        &arguments.feature_dir,
        given(arguments.model.clone()).as_deref(),
    )?;
    let options = concat::Options {
        directory,
        rows: arguments.rows,
        full_only: arguments.full_only,
    };
    let summary = match concat::concat(&options, &progress)? {
        Ended::Packed(summary) => summary,
        Ended::HeldBy(holder) => return Ok(held_by(&holder, &options.directory, &progress)),
    };
    progress.note(&format!(
        "packed {} into {} in {}",
        counted(summary.rows as u64, "feature"),
        counted(summary.shards as u64, "shard"),
        duration(summary.seconds)
    ));
    if summary.left > 0 {
        progress.note(&format!(
            "left {} for a full shard",
            counted(summary.left as u64, "feature")
        ));
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

/// Another process packs the directory.
fn held_by(holder: &str, directory: &Path, progress: &Progress) -> ExitCode {
    let directory = directory.display();
    progress.error(&format!(
        "{directory} is being packed by {holder}; try again later"
    ));
    LOCKED.into()
}

/// The model's directory and the list, where one is named.
fn what_to_check(arguments: CheckArguments) -> Result<(PathBuf, Option<PathBuf>)> {
    let directory = model_directory(&arguments.feature_dir, given(arguments.model).as_deref())?;
    let media_dir = given(arguments.media_dir);
    let default = media_dir.map(|media_dir| media_dir.join("objects.txt"));
    Ok((directory, arguments.objects.or(default)))
}

fn run_status(arguments: CheckArguments) -> Result<ExitCode> {
    let json = arguments.json;
    let (directory, objects) = what_to_check(arguments)?;
    let status = status::status(&status::Options { directory, objects })?;
    match json {
        true => print_json(&status)?,
        false => print(format_args!("{status}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_verify(arguments: VerifyArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let json = arguments.check.json;
    let (directory, objects) = what_to_check(arguments.check)?;
    let options = verify::Options { directory, objects };
    let report = match verify::verify(&options)? {
        verify::Ended::Checked(report) => report,
        verify::Ended::HeldBy(holder) => {
            return Ok(held_by(&holder, &options.directory, &progress));
        }
    };
    if json {
        print_json(&report)?;
    } else {
        for problem in &report.problems {
            print(format_args!("{}\n", problem.message))?;
        }
    }
    for note in &report.notes {
        progress.note(&note.message);
    }
    let verify::Report {
        shards,
        rows,
        files,
        checksums,
        problems,
        ..
    } = &report;
    progress.note(&format!(
        "checked {} in {}, {} and {}: {}",
        counted(*rows as u64, "row"),
        counted(*shards as u64, "shard"),
        counted(*files as u64, "per-object file"),
        counted(*checksums as u64, "checksum"),
        match problems.len() {
            0 => "all is well".to_owned(),
            several => counted(several as u64, "problem"),
        }
    ));
    Ok(match problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn run_doctor(arguments: DoctorArguments) -> Result<ExitCode> {
    let findings = doctor::examine(&doctor::Options {
        places: places(arguments.model.runtime),
        model: given(arguments.model.model),
        output_name: arguments.model.output_name,
        device: arguments.model.device,
    });
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(format_args!("{findings}"))?;
    }
    Ok(if findings.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `1 row`, `2 rows`.
fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(format_args!("{}\n", serde_json::to_string(value)?))
}

/// Prints to standard output. Who reads it may have gone: the exit code is what it would have been.
fn print(text: std::fmt::Arguments<'_>) -> Result<()> {
    match io::stdout().write_fmt(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

fn places(named: Option<PathBuf>) -> Places {
    let program = std::env::current_exe().ok();
    Places {
        named: given(named),
        trial: program.clone().map(|program| (program, TRY_LIBRARY)),
        program,
        library_path: std::env::var_os("LD_LIBRARY_PATH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_extract_says_how_complete_it_is() {
        let summary = |done, failed, in_other_hands, signal| extract::Summary {
            done,
            failed,
            in_other_hands,
            signal,
            ..extract::Summary::default()
        };
        for (summary, code) in [
            (summary(2, 0, 0, None), 0),
            (summary(0, 2, 0, None), 1),
            (summary(2, 2, 0, None), 3),
            (summary(2, 0, 1, None), 3),
            (summary(0, 2, 1, None), 3),
            (summary(2, 2, 0, Some(15)), 143),
        ] {
            assert_eq!(exit_code(&summary), code, "{summary:?}");
        }
    }
}
