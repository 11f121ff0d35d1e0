//! The arguments of `export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::export;
use simsearch::support::progress::duration;

use super::print::SOME_FAILED;
use super::shared::{JsonArgument, ModelDirArguments, QuietArgument};

#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// The Parquet file to write; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

pub fn run(arguments: ExportArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let options = export::Options {
        directory: arguments.model_dir.directory()?,
        output: arguments.output,
    };
    let summary = export::export(&options)?;
    for file in &summary.left_out {
        progress.warn(&format!("left out: {file}"));
    }
    progress.note(&format!(
        "exported {} features of {} numbers to {} ({} MB) in {}",
        summary.rows,
        summary.dimension,
        options.output.display(),
        summary.bytes.div_ceil(1_000_000),
        duration(summary.seconds)
    ));
    arguments.json.print(&summary)?;
    Ok(match summary.left_out[..] {
        [] => ExitCode::SUCCESS,
        _ => SOME_FAILED.into(),
    })
}
