//! The arguments of `status`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::status;

use super::print::{print, print_json};
use super::shared::{JsonArgument, ModelDirArguments, OptionalMediaArguments};

#[derive(Debug, Args)]
#[command(mut_arg("media_dir", |argument| argument.help("Directory of the pictures, which are compared with what is recorded of their features")))]
pub struct StatusArguments {
    #[command(flatten)]
    model_dir: ModelDirArguments,
    #[command(flatten)]
    media: OptionalMediaArguments,
    #[command(flatten)]
    json: JsonArgument,
}

pub fn run(arguments: StatusArguments) -> Result<ExitCode> {
    let status = status::status(&status::Options {
        directory: arguments.model_dir.directory()?,
        media_dir: arguments.media.media_dir().map(Path::to_owned),
        objects: arguments.media.objects(),
    })?;
    match arguments.json.json {
        true => print_json(&status)?,
        false => print(format_args!("{status}"))?,
    }
    Ok(ExitCode::SUCCESS)
}
