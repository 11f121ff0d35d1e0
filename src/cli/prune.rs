//! The arguments of `prune`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use simsearch::commands::prune::{self, PruneOutcome};
use simsearch::support::progress::{counted, duration};

use super::print::{held_by, print};
use super::shared::{JsonArgument, MediaArguments, ModelDirArguments, QuietArgument};

#[derive(Debug, Args)]
pub struct PruneArguments {
    #[command(flatten)]
    media: MediaArguments,
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// Print the object ids of what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove it even if it looks like a mistake: it is more than half of all features, or pictures are still there or
    /// cannot be looked for.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

pub fn run(arguments: PruneArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let (media_dir, objects) = arguments.media.media_and_objects();
    let options = prune::Options {
        new: 0,
        directory: arguments.model_dir.directory()?,
        media_dir,
        objects,
        dry_run: arguments.dry_run,
        yes: arguments.yes,
    };
    let summary = match prune::prune(&options, &progress)? {
        PruneOutcome::Pruned(summary) => summary,
        PruneOutcome::HeldBy(directory, holder) => {
            return Ok(held_by("packed", &holder, &directory, &progress));
        }
        PruneOutcome::Refused(why) => bail!(why),
    };
    if options.dry_run && !arguments.json.json {
        for id in &summary.object_ids {
            print(format_args!("{id}\n"))?;
        }
    }
    progress.note(&format!(
        "{} {} with {} in shards and {}, and {}, in {}",
        if options.dry_run {
            "would remove"
        } else {
            "removed"
        },
        counted(summary.object_ids.len(), "object"),
        counted(summary.rows, "row"),
        counted(summary.files, "per-object file"),
        counted(summary.failures, "failure"),
        duration(summary.seconds)
    ));
    match summary.still_there {
        0 => {}
        1 => progress.note("one of these pictures is still there, and not listed"),
        there => progress.note(&format!(
            "{there} of these pictures are still there, and not listed"
        )),
    }
    if let Some(why) = &summary.refused {
        progress.warn(&format!("without --dry-run it would be refused: {why}"));
    }
    arguments.json.print(&summary)?;
    Ok(ExitCode::SUCCESS)
}
