//! The command line: the only place that names clap. Each command's arguments are in a file of its name below `cli/`.

mod check;
mod completions;
mod concat;
mod doctor;
mod export;
mod extract;
mod index;
mod list;
mod search;
mod serve;
mod version;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use simsearch::inference::{self, Places};
use simsearch::support::interrupt;
use simsearch::support::progress::Progress;

use check::{CheckArguments, VerifyArguments};
use completions::{CompletionsArguments, ManArguments};
use concat::ConcatArguments;
use doctor::DoctorArguments;
use export::ExportArguments;
use extract::ExtractArguments;
use index::IndexArguments;
use list::ListArguments;
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
    /// memory: 2 bytes a number (1 with `--storage i8`) and about 300 bytes a feature. Killed, it leaves the old index.
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
    /// Print what a shell needs to complete the commands and options of this program.
    ///
    /// For bash, `simsearch completions bash > ~/.local/share/bash-completion/completions/simsearch`; `make install` does
    /// this for bash, zsh and fish.
    #[command(after_help = EXIT_CODES)]
    Completions(CompletionsArguments),
    /// Write the man pages of this program and its commands; `make install` does this.
    #[command(after_help = EXIT_CODES)]
    Man(ManArguments),
    /// Load an ONNX Runtime library and run a model; see `inference::Places::trial`.
    #[command(hide = true, name = TRY_LIBRARY)]
    TryLibrary { library: PathBuf },
}

/// The name of the hidden command.
const TRY_LIBRARY: &str = "try-library";

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

/// A path that may be empty, as an unset variable in a Makefile is: [`given`] then takes it for left out.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
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
    let mut program = Cli::command();
    if std::env::args_os().any(|argument| argument == "--version") {
        // Text of clap's lives as long as the program.
        program = program.long_version(&*version::long().leak());
    }
    let matches = program.get_matches();
    let arguments = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Extract(arguments) => extract::run(*arguments),
        Command::Concat(arguments) => concat::run(arguments),
        Command::Search(arguments) => search::run(*arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Status(arguments) => check::run_status(arguments),
        Command::Verify(arguments) => check::run_verify(arguments),
        Command::Index(arguments) => index::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Completions(arguments) => completions::run_completions(arguments, &Cli::command()),
        Command::Man(arguments) => completions::run_man(arguments, Cli::command()),
        Command::TryLibrary { library } => {
            inference::try_library(&library).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Another process packs the directory.
fn held_by(holder: &str, directory: &Path, progress: &Progress) -> ExitCode {
    let directory = directory.display();
    progress.error(&format!(
        "{directory} is being packed by {holder}; try again later"
    ));
    LOCKED.into()
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
