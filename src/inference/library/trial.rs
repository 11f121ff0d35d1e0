//! Tries a library in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::libc::{SIGHUP, SIGINT, SIGTERM};

use super::LibraryError;
use crate::support::child;

/// How long a library may take to be tried; what takes longer hangs.
const TRIAL_PATIENCE: Duration = Duration::from_secs(60);

/// Lets a program try a library that cannot be checked otherwise, so that one which kills the process kills that one.
pub fn try_apart(program: &Path, argument: &str, library: &Path) -> Result<(), LibraryError> {
    let broken = |reason: String| LibraryError::Broken {
        path: library.to_owned(),
        reason,
    };
    let mut command = Command::new(program);
    command.arg(argument).arg(library);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A program that cannot be started again is no reason to stop.
    let Ok(mut child) = command.spawn() else {
        return Ok(());
    };
    match child::wait_within(&mut child, TRIAL_PATIENCE) {
        // An error that it ends with by itself comes up again, with its words.
        Ok(Some(status)) => match status.signal() {
            // Not the library's doing.
            Some(SIGHUP | SIGINT | SIGTERM) => Ok(()),
            Some(signal) => Err(broken(format!(
                "it crashes when it is used (signal {signal})"
            ))),
            None => Ok(()),
        },
        Ok(None) => Err(broken("it hangs when it is used".into())),
        Err(_) => Ok(()),
    }
}
