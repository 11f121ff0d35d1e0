//! The arguments of `status` and `verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::{status, verify};
use simsearch::storage::model_dir::model_directory;
use simsearch::support::progress::Progress;

use super::{counted, given, held_by, path_or_nothing, print, print_json};

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Directory of the features, the same as for `extract`.
    #[arg(long, env = "FEATURE_DIR", value_name = "DIR")]
    feature_dir: PathBuf,
    /// Model whose features are meant: its file, or the name of its directory [default: the only one there].
    #[arg(long, env = "ONNX_MODEL_PATH", value_name = "MODEL", value_parser = path_or_nothing())]
    model: Option<PathBuf>,
    /// List of objects [default: MEDIA_DIR/objects.txt where there is a media directory, or else none].
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// Directory of the pictures; only its list is read.
    #[arg(long, env = "MEDIA_DIR", value_name = "DIR", value_parser = path_or_nothing())]
    media_dir: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    check: CheckArguments,
    /// Print problems and errors only.
    #[arg(long)]
    quiet: bool,
}

/// The model's directory and the list, where one is named.
fn what_to_check(arguments: CheckArguments) -> Result<(PathBuf, Option<PathBuf>)> {
    let directory = model_directory(&arguments.feature_dir, given(arguments.model).as_deref())?;
    let media_dir = given(arguments.media_dir);
    let default = media_dir.map(|media_dir| media_dir.join("objects.txt"));
    Ok((directory, arguments.objects.or(default)))
}

pub fn run_status(arguments: CheckArguments) -> Result<ExitCode> {
    let json = arguments.json;
    let (directory, objects) = what_to_check(arguments)?;
    let status = status::status(&status::Options { directory, objects })?;
    match json {
        true => print_json(&status)?,
        false => print(format_args!("{status}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn run_verify(arguments: VerifyArguments) -> Result<ExitCode> {
    let progress = Progress::new(arguments.quiet);
    let json = arguments.check.json;
    let (directory, objects) = what_to_check(arguments.check)?;
    let options = verify::Options { directory, objects };
    let report = match verify::verify(&options)? {
        verify::Ended::Checked(report) => report,
        verify::Ended::HeldBy(holder) => {
            return Ok(held_by(&holder, &options.directory, &progress));
        }
    };
    if json {
        print_json(&report)?;
    } else {
        for problem in &report.problems {
            print(format_args!("{}\n", problem.message))?;
        }
    }
    for note in &report.notes {
        progress.note(&note.message);
    }
    let verify::Report {
        shards,
        rows,
        files,
        checksums,
        problems,
        ..
    } = &report;
    progress.note(&format!(
        "checked {} in {}, {} and {}: {}",
        counted(*rows as u64, "row"),
        counted(*shards as u64, "shard"),
        counted(*files as u64, "per-object file"),
        counted(*checksums as u64, "checksum"),
        match problems.len() {
            0 => "all is well".to_owned(),
            several => counted(several as u64, "problem"),
        }
    ));
    Ok(match problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
