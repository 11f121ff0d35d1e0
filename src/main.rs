//! The `simsearch` program: parse, dispatch, print the error chain, exit.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use simsearch::support::hints::hint;

fn main() -> ExitCode {
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
            ExitCode::FAILURE
        }
    }
}
