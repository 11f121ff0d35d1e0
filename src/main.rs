//! The `simsearch` program: parse, dispatch, print the error chain, exit.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("simsearch: {error:#}");
            ExitCode::FAILURE
        }
    }
}
