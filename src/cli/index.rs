//! The arguments of `index`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use simsearch::commands::index;
use simsearch::similarity::hnsw::Storage;
use simsearch::storage::model_dir::model_directory;
use simsearch::support::progress::{Progress, duration};

use super::search::MetricArgument;
use super::{given, path_or_nothing, print_json};

#[derive(Debug, Args)]
pub struct IndexArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features to index: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// Which distances the index is for [default: those of the index that is there, or euclidean].
    #[arg(long, value_enum)]
    metric: Option<MetricArgument>,
    /// Type of the numbers in the index; i8 takes half the space of f16 [default: that of the index that is there, or f16].
    #[arg(long, value_enum)]
    storage: Option<StorageArgument>,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Print warnings and errors only.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StorageArgument {
    F16,
    I8,
}

pub fn run(arguments: IndexArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let options = index::Options {
        directory: model_directory(&arguments.feature_dir, given(arguments.model).as_deref())?,
        metric: arguments.metric.map(Into::into),
        storage: arguments.storage.map(|storage| match storage {
            StorageArgument::F16 => Storage::F16,
            StorageArgument::I8 => Storage::I8,
        }),
    };
    let summary = index::index(&options, &progress)?;
    progress.note(&format!(
        "added {} features, {} of {} shards are in the index now, in {}; of the 10 nearest it finds {:.1} % \
         ({} objects, {} candidates)",
        summary.added,
        summary.vectors,
        summary.shards,
        duration(summary.seconds),
        summary.recall_at_10 * 100.0,
        summary.queries,
        summary.expansion
    ));
    if !summary.is_good() {
        progress.warn("that is few; the exact search, without --approximate, finds all of them");
    }
    if arguments.json {
        print_json(&summary)?;
    }
    Ok(ExitCode::SUCCESS)
}
