//! What all commands print and exit with.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use simsearch::support::progress::Progress;

/// Exit code: finished, but some objects failed.
pub const SOME_FAILED: u8 = 3;
/// Exit code: there are duplicates.
pub const FOUND_DUPLICATES: u8 = 4;
/// Exit code: another process works on the same directory.
const LOCKED: u8 = 11;

/// Says that the directory is being `packed`, or indexed, by another process.
pub fn held_by(packed: &str, holder: &str, directory: &Path, progress: &Progress) -> ExitCode {
    let directory = directory.display();
    progress.error(&format!(
        "{directory} is being {packed} by {holder}; try again later"
    ));
    LOCKED.into()
}

pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_string(value)
        .context("the result cannot be told as JSON; leave out --json")?;
    print(format_args!("{json}\n"))
}

/// Prints to standard output. A reader that has gone is not an error: the exit code is what it would have been.
pub fn print(text: std::fmt::Arguments<'_>) -> Result<()> {
    survives_a_closed_pipe(io::stdout().write_fmt(text))
}

/// The same for bytes that need not be text.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    // What comes after the last line break waits else, and nobody is told where it cannot be written.
    survives_a_closed_pipe(out.write_all(bytes).and_then(|()| out.flush()))
}

fn survives_a_closed_pipe(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
