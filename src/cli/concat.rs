//! The arguments of `concat`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::concat::{self, ConcatOutcome, MergeOptions, MergeOutcome};
use simsearch::support::progress::{Progress, counted, duration};

use super::print::{SOME_FAILED, held_by};
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
    /// Make one directory of the shards of parts that `extract --pack` has made. Each DIR is a part, or holds parts,
    /// and stays; with none named, they are those in the model's own directory, which are gone then. All parts of the
    /// list must be there and complete. Files are linked where the file system does that, and copied elsewhere.
    #[arg(long, value_name = "DIR", num_args = 0.., conflicts_with_all = ["rows", "full_only"])]
    merge: Option<Vec<PathBuf>>,
    /// With --merge, undo what a merge that was interrupted has put there, rather than going on with it.
    #[arg(long, requires = "merge")]
    give_up: bool,
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
    if let Some(parts) = arguments.merge {
        let options = MergeOptions {
            directory: arguments.model_dir.merged_directory(&parts)?,
            parts,
            give_up: arguments.give_up,
        };
        return merge(&options, &arguments.json, &progress);
    }
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
        counted(summary.rows, "feature"),
        counted(summary.shards, "shard"),
        duration(summary.seconds)
    ));
    if summary.replaced > 0 {
        progress.note(&format!(
            "removed {} of pictures that have changed from the shards",
            counted(summary.replaced, "older row")
        ));
    }
    if summary.left > 0 {
        progress.note(&format!(
            "left {} for a full shard",
            counted(summary.left, "feature")
        ));
    }
    if summary.parts > 0 {
        progress.note(&format!(
            "left {} as they are, which have shards of their own; `simsearch concat --merge` makes one directory of all",
            counted(summary.parts, "part")
        ));
    }
    arguments.json.print(&summary)?;
    Ok(if summary.refused > 0 {
        SOME_FAILED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn merge(options: &MergeOptions, json: &JsonArgument, progress: &Progress) -> Result<ExitCode> {
    let summary = match concat::merge(options, progress)? {
        MergeOutcome::Merged(summary) => summary,
        MergeOutcome::HeldBy(directory, holder) => {
            return Ok(held_by("written to", &holder, &directory, progress));
        }
    };
    if summary.parts > 0 {
        progress.note(&format!(
            "merged {} of {} with {} into {} in {}",
            counted(summary.shards, "shard"),
            counted(summary.parts, "part"),
            counted(summary.rows, "feature"),
            options.directory.display(),
            duration(summary.seconds)
        ));
    }
    if summary.already_merged > 0 {
        let shards = counted(summary.already_merged, "shard");
        progress.note(&format!("there already: {shards}"));
    }
    if summary.copied > 0 {
        let shards = counted(summary.copied, "shard");
        progress.note(&format!(
            "copied, since files cannot be linked there: {shards}"
        ));
    }
    if summary.failed > 0 {
        progress.note(&format!(
            "{} had failed in the parts; {} says why",
            counted(summary.failed, "object"),
            options.directory.join("failures.jsonl").display()
        ));
    }
    json.print(&summary)?;
    Ok(ExitCode::SUCCESS)
}
