//! Steps that change files, so that a test can kill the program before each of them, or let each of them fail; and
//! other faults that a test cannot have otherwise.
//!
//! Without the feature `fault-points`, which no program has that people install, a step is its call and nothing else.
//! With it, the environment may ask for faults (the one place where a leaf reads it):
//!
//! | variable | what it does |
//! |---|---|
//! | `SIMSEARCH_FAULT="kill 7"` | the process ends by SIGKILL in place of its 7th step, counted over all threads |
//! | `SIMSEARCH_FAULT="EIO 7"`, `"ENOSPC 7"`, `"EINVAL 7"` | the 7th step is not taken, and fails with this error |
//! | `SIMSEARCH_FAULT="bug 7"` | a panic in place of the 7th step |
//! | `SIMSEARCH_FAULT="wait 7"` | the 7th step is taken once the file is there that `SIMSEARCH_RELEASE` names |
//! | `SIMSEARCH_FAULT="panic 7"` | the decoder of the 7th picture panics; no step has a fault |
//! | `SIMSEARCH_FAULT="hang 7"` | reading the 7th picture waits for the file that `SIMSEARCH_RELEASE` names; it counts as long waiting after milliseconds |
//! | `SIMSEARCH_FAULT="stale look-ups"` | a feature that was absent stays so, as with NFS, until its folders are opened anew |
//! | `SIMSEARCH_FAULT="locks of one mount"` | every lock succeeds at once, as with sshfs where another machine holds it |
//! | `SIMSEARCH_FAULT="other shard"` | the features of a shard are others than were written once it is in place |
//! | `SIMSEARCH_STEPS=FILE` | each step that was taken, and the fault, adds a line to this file |
//! | `SIMSEARCH_ENOUGH=0` | short runs do what else only long ones do |
//!
//! Several faults are separated by a semicolon and a space.

#[cfg(feature = "fault-points")]
pub use faults::*;
#[cfg(not(feature = "fault-points"))]
pub use no_faults::*;

#[cfg(not(feature = "fault-points"))]
mod no_faults {
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use nix::errno::Errno;

    /// Takes a step: one call that changes files, `name` in the words of the record.
    #[inline(always)]
    pub fn step<T, E: From<Errno>>(
        _name: &str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        call()
    }

    /// Decodes a picture, or panics in its place, as a decoder with a bug does.
    #[inline(always)]
    pub fn decoder<T>(decode: impl FnOnce() -> T) -> T {
        decode()
    }

    /// Reads a picture, or waits before that, as a disk does that hangs.
    #[inline(always)]
    pub fn reader<T>(read: impl FnOnce() -> T) -> T {
        read()
    }

    /// How long something is waited for.
    #[inline(always)]
    pub fn patience(patience: Duration) -> Duration {
        patience
    }

    /// Looks a path up from a folder that is open.
    #[inline(always)]
    pub fn look_up<T>(_path: &Path, look: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
        look()
    }

    /// How much work is enough for what pays only in long runs.
    #[inline(always)]
    pub fn enough(work: usize) -> usize {
        work
    }

    /// Whether locks always succeed.
    #[inline(always)]
    pub fn locks_prove_nothing() -> bool {
        false
    }

    /// Lets another process write in the place of a file that is in place.
    #[inline(always)]
    pub fn overwritten(_path: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "fault-points")]
#[allow(missing_docs, reason = "as above")]
mod faults {
    use std::collections::HashSet;
    use std::fs::File;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use nix::errno::Errno;

    /// The kinds of faults that are no steps.
    const PANIC: &str = "panic";
    const HANG: &str = "hang";

    /// The faults that were asked for.
    fn faults() -> Vec<String> {
        let faults = std::env::var("SIMSEARCH_FAULT").unwrap_or_default();
        faults.split("; ").map(str::to_owned).collect()
    }

    fn is_asked_for(fault: &str) -> bool {
        faults().iter().any(|asked| asked == fault)
    }

    pub fn step<T, E: From<Errno>>(
        name: &str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        fault_in_place_of(name)?;
        let taken = call();
        if taken.is_ok() {
            record(name);
        }
        taken
    }

    /// What is asked for in place of this step: an error, a panic, a wait or the end.
    fn fault_in_place_of(name: &str) -> nix::Result<()> {
        static STEPS: AtomicUsize = AtomicUsize::new(0);
        let number = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
        for fault in faults() {
            if let Some((kind, at)) = fault.split_once(' ')
                && ![PANIC, HANG].contains(&kind)
                && at == number.to_string()
            {
                record(&format!("{kind} in place of: {name}"));
                match kind {
                    "kill" => nix::sys::signal::raise(nix::sys::signal::SIGKILL)?,
                    "EIO" => return Err(Errno::EIO),
                    "ENOSPC" => return Err(Errno::ENOSPC),
                    "EINVAL" => return Err(Errno::EINVAL),
                    "bug" => panic!("the bug that was asked for"),
                    "wait" => wait_for_release(),
                    _ => panic!("SIMSEARCH_FAULT={fault}: no such fault"),
                }
            }
        }
        Ok(())
    }

    pub fn decoder<T>(decode: impl FnOnce() -> T) -> T {
        static PICTURES: AtomicUsize = AtomicUsize::new(0);
        let number = PICTURES.fetch_add(1, Ordering::SeqCst) + 1;
        if is_asked_for(&format!("{PANIC} {number}")) {
            panic!("the fault that was asked for");
        }
        decode()
    }

    pub fn reader<T>(read: impl FnOnce() -> T) -> T {
        static PICTURES: AtomicUsize = AtomicUsize::new(0);
        let number = PICTURES.fetch_add(1, Ordering::SeqCst) + 1;
        if is_asked_for(&format!("{HANG} {number}")) {
            record("hang");
            wait_for_release();
        }
        read()
    }

    fn wait_for_release() {
        let release = std::env::var_os("SIMSEARCH_RELEASE").map(PathBuf::from);
        let release = release.expect("SIMSEARCH_RELEASE names a file");
        while !release.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn patience(patience: Duration) -> Duration {
        match faults().iter().any(|fault| fault.starts_with(HANG)) {
            true => patience / 1000,
            false => patience,
        }
    }

    pub fn look_up<T>(path: &Path, look: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
        static ABSENT: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
        if !is_asked_for("stale look-ups") {
            return look();
        }
        let mut absent = ABSENT.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.contains(path) {
            return Err(Errno::ENOENT);
        }
        let found = look();
        if matches!(found, Err(Errno::ENOENT)) {
            absent.insert(path.to_owned());
        }
        found
    }

    pub fn enough(work: usize) -> usize {
        let named = std::env::var("SIMSEARCH_ENOUGH");
        named.map_or(work, |named| named.parse().expect("a whole number"))
    }

    pub fn locks_prove_nothing() -> bool {
        is_asked_for("locks of one mount")
    }

    pub fn overwritten(path: &Path) -> io::Result<()> {
        if is_asked_for("other shard") {
            let mut bytes = std::fs::read(path)?;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }

    fn record(line: &str) {
        let Some(path) = std::env::var_os("SIMSEARCH_STEPS") else {
            return;
        };
        let file = File::options().append(true).create(true).open(path);
        // In one call, so that the lines of several threads do not mix.
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .expect("the steps can be recorded");
    }
}
