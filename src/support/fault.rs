//! Steps that change files, so that a test can kill the program before each of them, or let each of them fail.
//!
//! Without the feature `fault-points`, which no program has that people install, a step is its call and nothing else.
//! With it, the environment may ask for a fault (the one place where a leaf reads it):
//!
//! | variable | what it does |
//! |---|---|
//! | `SIMSEARCH_FAULT="kill 7"` | the process ends by SIGKILL in place of its 7th step, counted over all threads |
//! | `SIMSEARCH_FAULT="EIO 7"`, `"ENOSPC 7"`, `"EINVAL 7"` | the 7th step is not taken, and fails with this error |
//! | `SIMSEARCH_FAULT="panic 7"` | the decoder of the 7th picture panics; no step has a fault |
//! | `SIMSEARCH_STEPS=FILE` | each step that was taken, and the fault, adds a line to this file |
//! | `SIMSEARCH_ENOUGH=0` | short runs do what else only long ones do |

use nix::errno::Errno;

/// Takes a step: one call that changes files, `name` in the words of the record.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn step<T, E: From<Errno>>(_name: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    call()
}

/// Takes a step, or the fault that was asked for in its place.
#[cfg(feature = "fault-points")]
pub fn step<T, E: From<Errno>>(name: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    let number = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = std::env::var("SIMSEARCH_FAULT").unwrap_or_default();
    if let Some((kind, at)) = fault.split_once(' ')
        && kind != PANIC
        && at == number.to_string()
    {
        record(&format!("{kind} in place of: {name}"));
        match kind {
            "kill" => nix::sys::signal::raise(nix::sys::signal::SIGKILL)?,
            "EIO" => return Err(Errno::EIO.into()),
            "ENOSPC" => return Err(Errno::ENOSPC.into()),
            "EINVAL" => return Err(Errno::EINVAL.into()),
            _ => panic!("SIMSEARCH_FAULT={fault}: no such fault"),
        }
    }
    let taken = call();
    if taken.is_ok() {
        record(name);
    }
    taken
}

/// How much work is enough for what pays only in long runs.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn enough(work: usize) -> usize {
    work
}

/// How much work is enough for what pays only in long runs, or as much as a test says.
#[cfg(feature = "fault-points")]
pub fn enough(work: usize) -> usize {
    let named = std::env::var("SIMSEARCH_ENOUGH");
    named.map_or(work, |named| named.parse().expect("a whole number"))
}

/// Decodes a picture, or panics in its place, as a decoder with a bug does.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn decoder<T>(decode: impl FnOnce() -> T) -> T {
    decode()
}

/// Decodes a picture, or panics in its place where that was asked for.
#[cfg(feature = "fault-points")]
pub fn decoder<T>(decode: impl FnOnce() -> T) -> T {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PICTURES: AtomicUsize = AtomicUsize::new(0);
    let number = PICTURES.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = std::env::var("SIMSEARCH_FAULT").unwrap_or_default();
    if fault == format!("{PANIC} {number}") {
        panic!("the fault that was asked for");
    }
    decode()
}

#[cfg(feature = "fault-points")]
const PANIC: &str = "panic";

#[cfg(feature = "fault-points")]
fn record(line: &str) {
    let Some(path) = std::env::var_os("SIMSEARCH_STEPS") else {
        return;
    };
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    // In one call, so that the lines of several threads do not mix.
    file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()))
        .expect("the steps can be recorded");
}
