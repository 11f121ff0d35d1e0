//! The arguments of `concat`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::concat::{self, Ended};
use simsearch::storage::model_dir::model_directory;
use simsearch::support::progress::{Progress, duration};

use super::{SOME_FAILED, at_least_one, counted, given, held_by, path_or_nothing, print_json};

#[derive(Debug, Args)]
pub struct ConcatArguments {
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

pub fn run(arguments: ConcatArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let directory = model_directory(&arguments.feature_dir, given(arguments.model).as_deref())?;
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
