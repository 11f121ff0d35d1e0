//! The arguments of `export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use simsearch::commands::export;
use simsearch::storage::output::Output;
use simsearch::support::progress::{counted, duration};
use simsearch::support::usage::WrongUsage;

use super::print::SOME_FAILED;
use super::shared::{JsonArgument, ModelDirArguments, QuietArgument, at_least_one};

#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    /// The Parquet file to write, `-` for standard output; an existing one is replaced. With --rows-per-file the folder
    /// for several.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Write files of N rows each, `<model>-00000.parquet` and so on, the last with what is left.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    rows_per_file: Option<usize>,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

pub fn run(arguments: ExportArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let output = Output::from(arguments.output);
    ensure!(
        output != Output::Stdout || !arguments.json.json,
        WrongUsage(
            "standard output cannot take the table and --json; name a file, or leave out --json"
                .into()
        )
    );
    let options = export::Options {
        directory: arguments.model_dir.directory()?,
        output,
        rows_per_file: arguments.rows_per_file,
    };
    let summary = export::export(&options)?;
    for file in &summary.left_out {
        progress.warn(&format!("left out: {file}"));
    }
    progress.note(&format!(
        "exported {} of {} to {}{} ({} MB) in {}",
        counted(summary.rows, "feature"),
        counted(summary.dimension, "number"),
        match summary.files {
            1 => String::new(),
            files => format!("{files} files in "),
        },
        match &options.output {
            Output::File(path) => path.display().to_string(),
            Output::Stdout => "standard output".to_owned(),
        },
        summary.bytes.div_ceil(1_000_000),
        duration(summary.seconds)
    ));
    arguments.json.print(&summary)?;
    Ok(match summary.left_out[..] {
        [] => ExitCode::SUCCESS,
        _ => SOME_FAILED.into(),
    })
}
