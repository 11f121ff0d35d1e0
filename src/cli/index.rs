//! The arguments of `index`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use simsearch::commands::index::{self, IndexOutcome};
use simsearch::similarity::hnsw::Storage;
use simsearch::support::progress::{counted, duration};

use super::print::held_by;
use super::shared::{JsonArgument, MetricArgument, ModelDirArguments, QuietArgument};

#[derive(Debug, Args)]
pub struct IndexArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// Which distances the index is for [default: those of the existing index, or euclidean].
    #[arg(long, value_enum)]
    metric: Option<MetricArgument>,
    /// Type of the numbers in the index; i8 takes half the space of f16 [default: that of the existing index, or f16].
    #[arg(long, value_enum)]
    storage: Option<StorageArgument>,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StorageArgument {
    F16,
    I8,
}

pub fn run(arguments: IndexArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let options = index::Options {
        directory: arguments.model_dir.directory()?,
        metric: arguments.metric.map(Into::into),
        storage: arguments.storage.map(|storage| match storage {
            StorageArgument::F16 => Storage::F16,
            StorageArgument::I8 => Storage::I8,
        }),
    };
    let summary = match index::index(&options, &progress)? {
        IndexOutcome::Indexed(summary) => summary,
        IndexOutcome::HeldBy(holder) => {
            return Ok(held_by("indexed", &holder, &options.directory, &progress));
        }
    };
    progress.note(&format!(
        "added {} in {}; the index now holds {} from {}, and finds {:.1} % of the 10 nearest ({}, {})",
        counted(summary.added, "feature"),
        duration(summary.seconds),
        counted(summary.vectors, "feature"),
        counted(summary.shards, "shard"),
        summary.recall_at_10 * 100.0,
        counted(summary.queries, "object"),
        counted(summary.expansion, "candidate")
    ));
    if !summary.is_good() {
        progress.warn("that is low; the exact search, without --approximate, finds all of them");
    }
    arguments.json.print(&summary)?;
    Ok(ExitCode::SUCCESS)
}
