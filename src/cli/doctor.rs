//! The arguments of `doctor`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::doctor;

use super::{ModelArguments, given, places, print, print_json};

#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: DoctorArguments) -> Result<ExitCode> {
    let findings = doctor::examine(&doctor::Options {
        places: places(arguments.model.runtime),
        model: given(arguments.model.model),
        output_name: arguments.model.output_name,
        device: arguments.model.device,
    });
    if arguments.json {
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
