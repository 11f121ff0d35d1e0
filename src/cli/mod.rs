//! The command line: the only place that names clap. Each command's arguments are in a file of its name,
//! those that several have in `shared.rs`, and of how features are made in `features.rs`.

mod completions;
mod concat;
mod doctor;
mod duplicates;
mod export;
mod extract;
mod features;
mod index;
mod list;
mod print;
mod prune;
mod search;
mod serve;
mod shared;
mod status;
mod verify;
mod version;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use simsearch::inference;
use simsearch::support::interrupt;

use completions::{CompletionsArguments, ManArguments};
use concat::ConcatArguments;
use doctor::DoctorArguments;
use duplicates::DuplicatesArguments;
use export::ExportArguments;
use extract::ExtractArguments;
use index::IndexArguments;
use list::ListArguments;
use prune::PruneArguments;
use search::SearchArguments;
use serve::ServeArguments;
use status::StatusArguments;
use verify::VerifyArguments;
use watch::WatchArguments;

/// Turns a tree of pictures into feature vectors that can be searched for similar pictures.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all done; 1 stopped by an error, every object failed, or a check found problems; 2 wrong usage; \
3 finished, but something failed or was left out; 4 `duplicates` found some; 11 another process packs the same directory; 129, 130, 143 interrupted: the same command \
goes on from there.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the media tree and write the sorted list of objects.
    ///
    /// Symbolic links are not followed, and hidden files are left out; each is counted. Of several files with the same
    /// name, only the first is listed, since a file's name is its object id. Files that end in .tar are walked as
    /// folders; `--exclude '*.tar'` leaves them out. Needs 20 bytes of memory per object, besides the paths.
    #[command(after_help = EXIT_CODES)]
    List(ListArguments),
    /// Extract the features of all listed objects that have none yet, or have changed since.
    ///
    /// Several copies may run at once, on one machine or on many that share the directories. Pictures become the pixels
    /// that Pillow makes with `Image.open(p).convert("RGB").resize((224, 224))`; EXIF orientation is ignored, except in
    /// TIFF and with `--exif-orientation apply`. Pictures in tar files are read where they are, in the order of the
    /// tar; nothing is unpacked.
    #[command(after_help = EXIT_CODES)]
    Extract(Box<ExtractArguments>),
    /// Pack per-object features into shards that numpy reads as they are.
    #[command(after_help = EXIT_CODES)]
    Concat(ConcatArguments),
    /// Remove the features, failures and records of objects that are no longer listed.
    ///
    /// Run `simsearch list` before. Rows leave their shards as in `concat`. If killed, what is listed is all there, and
    /// the same command goes on. Without --yes it refuses what looks like a mistake: to remove more than half of all
    /// features, or those of pictures that are still there or cannot be looked for.
    #[command(after_help = EXIT_CODES)]
    Prune(PruneArguments),
    /// List, extract, concat and prune again whenever the media tree changes.
    ///
    /// There is a pass at the start, and one after each change, when nothing has changed for two seconds (or after half
    /// a minute of changes without a pause). With `simsearch serve` beside it, new pictures appear in the page within
    /// seconds: `simsearch watch --pictures & simsearch serve`. Says a line for each pass that found something to do.
    /// What `prune` would not remove without --yes stays, and is named. A pass that fails is made again; only the first
    /// one ends the command. Ctrl-C ends it, with exit code 0 where it waits for changes.
    #[command(after_help = EXIT_CODES)]
    Watch(Box<WatchArguments>),
    /// Find the objects nearest to pictures or to extracted objects.
    ///
    /// Prints a line for each neighbour, nearest first: its object id, a space, its distance. The search is exact: it
    /// covers every shard, and the per-object files that are not packed yet. With several queries, a line `# QUERY`
    /// comes before the neighbours of each. A query that fails is reported on standard error and does not stop the
    /// others.
    #[command(after_help = EXIT_CODES)]
    Search(Box<SearchArguments>),
    /// Find the duplicates among all objects, and the groups that they make.
    ///
    /// All pairs whose distance is at most --max-distance are found, exactly. The best picture of a group comes first,
    /// by default the one with the most pixels. Prints a paragraph for each group and a line for each picture in it:
    /// its path, its distance from the first, its size in pixels and in bytes. Needs, besides what is found, a byte of
    /// memory for each number of a feature. A run over 200,000 objects or more that is killed goes on where it was.
    ///
    /// --move-to, --hard-link and --symlink act on all but the first picture of each group. Nothing is deleted, nothing
    /// is overwritten, and nothing is done to a picture that has changed since its feature was made. Links are made for
    /// the same bytes alone, since a link in place of a near duplicate would lose it. An undo list is written before
    /// the first change, and --undo brings everything back, also after a kill.
    #[command(after_help = EXIT_CODES)]
    Duplicates(Box<DuplicatesArguments>),
    /// Look at similar pictures in a browser: a web server on this machine.
    ///
    /// GET /similar/OBJECT_ID?limit=100 returns JSON, POST /similar takes a picture, and / is a page. Shards,
    /// per-object files and the list are read again when they change. Stops on Ctrl-C or TERM, with exit code 0.
    Serve(Box<ServeArguments>),
    /// Show what is listed, done, packed, failed and pending.
    ///
    /// Looks at names only: those of the per-object files, the object ids in shards, and the report of failures; with
    /// --media-dir also at the sizes and times of the pictures. `verify` checks what is in the files, and `extract`
    /// sees whether a failed picture has changed since. May run at the same time as `extract` and `concat`.
    #[command(after_help = EXIT_CODES)]
    Status(StatusArguments),
    /// Check that nothing is damaged, missing or duplicated.
    ///
    /// Shards: pairs, shapes, types, finite numbers, one dimension, and the checksums that `concat` has recorded in
    /// SHA256SUMS. Per-object files: complete and finite. No object id twice. With a list: a feature or a failure for
    /// each object. With --media-dir: no picture that has changed since. Each problem is a line on standard output. May
    /// run at the same time as `extract`, but not `concat`.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArguments),
    /// Make the index for `search --approximate`, or add the new shards to it.
    ///
    /// How many of the ten nearest it finds is measured against the exact search, and printed. While the index is made,
    /// it is in memory: 2 bytes per number (1 with `--storage i8`) and about 300 bytes per feature. If killed, the
    /// command leaves the old index in place.
    #[command(after_help = EXIT_CODES)]
    Index(IndexArguments),
    /// Write all features to one Parquet file, which DuckDB, LanceDB, Milvus and Spark can import.
    ///
    /// Columns: `object_id`, a string; `path`, a string, null where it is not recorded which file the feature was made
    /// from; and `feature`, a list of float32 of fixed size. Features that are not packed yet are included. Needs about
    /// 100 MB of memory, plus the features that are not packed yet.
    #[command(after_help = EXIT_CODES)]
    Export(ExportArguments),
    /// Show what is found on this machine, what works, and what to do about the rest.
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorArguments),
    /// Print what a shell needs to complete the commands and options of this program.
    ///
    /// For bash, `simsearch completions bash > ~/.local/share/bash-completion/completions/simsearch`; `make install`
    /// does this for bash, zsh and fish.
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
        Command::Prune(arguments) => prune::run(arguments),
        Command::Watch(arguments) => watch::run(*arguments),
        Command::Search(arguments) => search::run(*arguments),
        Command::Duplicates(arguments) => duplicates::run(*arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
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
