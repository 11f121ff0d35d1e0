//! The arguments of `doctor`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::doctor;

use super::features::ProcessingArguments;
use super::print::{print, print_json};
use super::shared::{JsonArgument, ModelArguments};

#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    processing: ProcessingArguments,
    #[command(flatten)]
    json: JsonArgument,
}

pub fn run(arguments: DoctorArguments) -> Result<ExitCode> {
    let preprocess = arguments.processing.preprocess(arguments.model.path());
    let findings = doctor::examine(doctor::Options {
        places: arguments.model.runtime.places(),
        model: arguments.model.path().map(Into::into),
        preprocess: preprocess.map(|found| found.map(|(preprocess, _)| preprocess)),
        finish: arguments.processing.finish(),
        output_name: arguments.model.runtime.output_name,
        device: arguments.model.runtime.device,
    });
    if arguments.json.json {
        print_json(&findings)?;
    } else {
        print(format_args!("{findings}"))?;
    }
    Ok(if findings.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
