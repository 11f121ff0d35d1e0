//! Other programs, which may hang.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Waits for a program to end. `None` where it takes longer than it may; it is killed then.
pub fn wait_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if started.elapsed() > patience => {
                child.kill()?;
                // One that waits for a device may not end before that answers.
                let _ = child.try_wait();
                return Ok(None);
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}
