//! The arguments of `export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::export;
use simsearch::storage::model_dir::model_directory;
use simsearch::support::progress::{Progress, duration};

use super::{SOME_FAILED, given, path_or_nothing, print_json};

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features to export: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// The Parquet file to write; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Print warnings and errors only.
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: ExportArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let options = export::Options {
        directory: model_directory(&arguments.feature_dir, given(arguments.model).as_deref())?,
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
    if arguments.json {
        print_json(&summary)?;
    }
    Ok(match summary.left_out[..] {
        [] => ExitCode::SUCCESS,
        _ => SOME_FAILED.into(),
    })
}
