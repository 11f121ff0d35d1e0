//! The `simsearch` program: parse, dispatch, print the error chain, exit.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use simsearch::support::hints::way_out;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            let way_out = way_out(error.as_ref()).map(|way_out| format!("; {way_out}"));
            // Nothing can be done about a stderr that takes no line; the exit code tells.
            let _ = writeln!(
                io::stderr(),
                "simsearch: {error:#}{}",
                way_out.unwrap_or_default()
            );
            ExitCode::FAILURE
        }
    }
}
