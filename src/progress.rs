//! What a run tells the person who started it, on stderr: a bar on a terminal, plain lines now and then elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines where stderr is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How far a run of `extract` is.
#[derive(Debug, Default)]
pub struct Counts {
    /// Features written.
    pub done: AtomicU64,
    /// Objects whose feature existed, or that another process did meanwhile.
    pub skipped: AtomicU64,
    /// Objects that failed.
    pub failed: AtomicU64,
}

/// Shows how a run goes, and prints its messages without disturbing the bar.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    plain: bool,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Chooses by what stderr is; `quiet` leaves only warnings and errors.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if terminal && !quiet {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Progress {
            bar,
            quiet,
            plain: !terminal && !quiet,
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// Begins to count up to `total`.
    pub fn begin(&self, total: u64) {
        self.bar.set_length(total);
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.reset();
    }

    /// Counts on where no more than a number is to be shown.
    pub fn advance(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Shows how far `extract` is: `pending` objects were to be done, `started` is when the first batch began.
    pub fn show(&self, counts: &Counts, pending: u64, started: Instant) {
        if self.quiet {
            return;
        }
        let [done, skipped, failed] = [&counts.done, &counts.skipped, &counts.failed]
            .map(|count| count.load(Ordering::Relaxed));
        let finished = done + skipped + failed;
        let to_do = pending.saturating_sub(finished);
        let seconds = started.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(1e-3);
        let mut message = format!("done {done}, skipped {skipped}, failed {failed}, to do {to_do}");
        let _ = write!(message, ", {rate:.0} images/s");
        if finished > 0 && seconds > 1.0 {
            let left = seconds * to_do as f64 / finished as f64;
            let _ = write!(message, ", {} left", duration(left));
        }
        self.bar.set_position(finished);
        if self.plain {
            let mut last = self
                .last_line
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= PLAIN_INTERVAL {
                *last = Instant::now();
                self.line(&message);
            }
        }
        self.bar.set_message(message);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Says something that a person may want to know; not with `--quiet`.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.line(message);
        }
    }

    /// Says something that a person must know.
    pub fn warn(&self, message: &str) {
        self.line(&format!("warning: {message}"));
    }

    fn line(&self, message: &str) {
        // Nothing can be done about a stderr that is gone, and it is no reason to stop.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{message}");
        });
    }
}

/// A length of time for people: `4.2 s`, `42 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    if (0.0..9.95).contains(&seconds) {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in [
            (0.24, "0.2 s"),
            (9.96, "10 s"),
            (59.4, "59 s"),
            (61.0, "1 min 01 s"),
            (7620.0, "2 h 07 min"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
