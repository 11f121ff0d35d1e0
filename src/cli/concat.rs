//! The arguments of `concat`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::concat::{self, ConcatOutcome};
use simsearch::support::progress::duration;

use super::print::{SOME_FAILED, counted, held_by};
use super::shared::{JsonArgument, ModelDirArguments, QuietArgument, at_least_one};

#[derive(Debug, Args)]
pub struct ConcatArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    #[command(flatten)]
    rows: RowsArgument,
    /// Write full shards only; leave the rest unpacked.
    #[arg(long)]
    full_only: bool,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

/// How large shards are.
#[derive(Debug, Args)]
pub struct RowsArgument {
    /// Rows of a full shard.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one)]
    pub rows: usize,
}

pub fn run(arguments: ConcatArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let options = concat::Options {
        directory: arguments.model_dir.directory()?,
        rows: arguments.rows.rows,
        full_only: arguments.full_only,
    };
    let summary = match concat::concat(&options, &progress)? {
        ConcatOutcome::Packed(summary) => summary,
        ConcatOutcome::HeldBy(holder) => {
            return Ok(held_by("packed", &holder, &options.directory, &progress));
        }
    };
    progress.note(&format!(
        "packed {} into {} in {}",
        counted(summary.rows as u64, "feature"),
        counted(summary.shards as u64, "shard"),
        duration(summary.seconds)
    ));
    if summary.replaced > 0 {
        progress.note(&format!(
            "removed {} of pictures that have changed from the shards",
            counted(summary.replaced as u64, "older row")
        ));
    }
    if summary.left > 0 {
        progress.note(&format!(
            "left {} for a full shard",
            counted(summary.left as u64, "feature")
        ));
    }
    arguments.json.print(&summary)?;
    Ok(if summary.refused > 0 {
        SOME_FAILED.into()
    } else {
        ExitCode::SUCCESS
    })
}
