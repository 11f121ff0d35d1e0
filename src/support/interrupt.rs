//! Ctrl-C and similar signals: the first asks a run to finish what it has begun, the second ends the process. The first
//! does so too where nothing is begun. What whoever started the process has it ignore stays ignored: `nohup` does that
//! with SIGHUP, and a shell's script with the Ctrl-C of what runs in its background.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::libc;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

/// Makes a write beyond the limit of file size (`ulimit -f`) an error that names the file; else the process would be
/// killed.
pub fn survive_the_limit_of_file_size() -> io::Result<()> {
    // A signal that is caught interrupts nothing here; what it sets, nobody reads.
    flag::register(libc::SIGXFSZ, Arc::default()).map(drop)
}

/// The signals that ask a run to stop.
fn heeded() -> impl Iterator<Item = libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: with no new action it only fills in the present one, which is read where it says that it did.
        #[allow(unsafe_code, reason = "C function")]
        unsafe {
            libc::sigaction(*signal, ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init_ref().sa_sigaction == libc::SIG_IGN
        }
    };
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter();
    signals.filter(move |signal| !is_ignored(signal))
}

/// Tells whether a signal asked the run to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
    /// Whether the next signal ends the process.
    ends: Arc<AtomicBool>,
    has_begun: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on, where they are not ignored. Until [`begin`](Self::begin) each ends the process: what a run
    /// waits for before, such as a list that comes from a pipe, knows of no signals.
    pub fn install() -> io::Result<Self> {
        let interrupt = Interrupt::default();
        interrupt.ends.store(true, Ordering::Relaxed);
        for signal in heeded() {
            // The order matters: the shutdown looks at the flag before the first signal sets it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.ends))?;
            flag::register(signal, Arc::clone(&interrupt.ends))?;
            flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)?;
        }
        Ok(interrupt)
    }

    /// From the first call on, the first signal is for [`signal`](Self::signal) to tell.
    pub fn begin(&self) {
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            self.ends.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the process when it is still there so long after the first signal, as a second signal would: what it has
    /// begun is left, as by a kill. `say` is called before that.
    pub fn end_within(
        &self,
        grace: Duration,
        say: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut signals = Signals::new(heeded())?;
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                thread::sleep(grace);
                say();
                exit(128 + signal);
            }
        };
        thread::Builder::new().spawn(wait).map(drop)
    }

    /// The signal that asked the run to stop.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}
