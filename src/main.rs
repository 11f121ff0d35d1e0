//! The `simsearch` program: parse, dispatch, print the error chain, exit.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use simsearch::support::hints::hint;
use simsearch::support::usage::WrongUsage;

fn main() -> ExitCode {
    keep_the_runtime_quiet();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            let hint = hint(error.as_ref()).map(|hint| format!("; {hint}"));
            // Nothing can be done about a stderr that takes no line; the exit code tells.
            let _ = writeln!(
                io::stderr(),
                "simsearch: {error:#}{}",
                hint.unwrap_or_default()
            );
            match error.is::<WrongUsage>() {
                // As clap ends it.
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// ONNX Runtime 1.32 has telemetry on Linux too: from the moment that it is loaded, and before it can be told not to,
/// it writes an identifier of the machine and a database of events below `~/.cache`, from which it uploads later.
#[allow(unsafe_code, reason = "a variable of the environment")]
fn keep_the_runtime_quiet() {
    // SAFETY: this is the first thing that the program does, so that no other thread reads the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
