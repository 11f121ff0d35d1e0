//! The arguments of `completions` and `man`: files for shells and for `man`, made from the definitions of the
//! arguments.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use super::print::print;

/// What the program is called on the command line.
const NAME: &str = env!("CARGO_PKG_NAME");

#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell to complete in.
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArguments {
    /// The folder to write the pages to; it is made where it is missing.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions of `program`.
pub fn run_completions(arguments: CompletionsArguments, program: &Command) -> Result<ExitCode> {
    // clap_complete offers hidden commands as well.
    let commands = program.get_subcommands();
    let commands = commands.filter(|command| !command.is_hide_set()).cloned();
    let mut program = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .subcommands(commands);
    // In memory first: clap_complete panics where standard output takes no more.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, NAME, &mut script);
    print(format_args!("{}", String::from_utf8(script)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for `program` and one for each of its commands.
pub fn run_man(arguments: ManArguments, program: Command) -> Result<ExitCode> {
    let directory = &arguments.directory;
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(program, directory))
        .with_context(|| format!("cannot write the man pages to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
