//! The arguments of `verify`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::verify::{self, Report, VerifyOutcome};
use simsearch::support::progress::counted;

use super::print::{held_by, print, print_json};
use super::shared::{JsonArgument, ModelDirArguments, OptionalMediaArguments, QuietArgument};

#[derive(Debug, Args)]
#[command(mut_arg("media_dir", |argument| argument.help("Directory of the pictures, which are compared with what is recorded of their features")))]
pub struct VerifyArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    #[command(flatten)]
    media: OptionalMediaArguments,
    #[command(flatten)]
    json: JsonArgument,
    #[command(flatten)]
    quiet: QuietArgument,
}

pub fn run(arguments: VerifyArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let options = verify::Options {
        directory: arguments.model_dir.directory()?,
        media_dir: arguments.media.media_dir().map(Path::to_owned),
        objects: arguments.media.objects(),
    };
    let report = match verify::verify(&options)? {
        VerifyOutcome::Checked(report) => report,
        VerifyOutcome::HeldBy(holder) => {
            return Ok(held_by("packed", &holder, &options.directory, &progress));
        }
    };
    if arguments.json.json {
        print_json(&report)?;
    } else {
        for problem in &report.problems {
            print(format_args!("{}\n", problem.message))?;
        }
    }
    for note in &report.notes {
        progress.note(&note.message);
    }
    let Report {
        shards,
        rows,
        files,
        checksums,
        problems,
        ..
    } = &report;
    progress.note(&format!(
        "checked {} in {}, {} and {}: {}",
        counted(*rows, "row"),
        counted(*shards, "shard"),
        counted(*files, "per-object file"),
        counted(*checksums, "checksum"),
        match problems.len() {
            0 => "no problems".to_owned(),
            several => counted(several, "problem"),
        }
    ));
    Ok(match problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
