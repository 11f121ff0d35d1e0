//! What a run tells the person who started it, on stderr: a bar on a terminal, plain lines now and then elsewhere.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::support::mutex::lock;

/// Time between two plain lines where stderr is not a terminal. After ten minutes it is a 60th of the time that the run
/// has taken, so that the log of a day has some hundreds of lines.
fn plain_interval(elapsed: Duration) -> Duration {
    Duration::from_secs(10).max(elapsed / 60)
}

/// How far a run of `extract` is.
#[derive(Debug, Default)]
pub struct Counts {
    /// What is true of the list before the run.
    before: Total,
    /// Features written.
    pub done: AtomicU64,
    /// Objects that another process did meanwhile.
    pub skipped: AtomicU64,
    /// Objects that failed in this run.
    pub failed: AtomicU64,
}

/// Objects of the list, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Features written in this run.
    pub done: u64,
    /// Objects whose feature existed, or that another process did meanwhile.
    pub skipped: u64,
    /// Objects that failed, in this run or before.
    pub failed: u64,
}

impl Counts {
    /// Begins with the objects whose feature exists, and those that failed and are not tried again.
    pub fn new(existing: usize, failed: usize) -> Self {
        Counts {
            before: Total {
                done: 0,
                skipped: existing as u64,
                failed: failed as u64,
            },
            ..Counts::default()
        }
    }

    /// What is true of the whole list now.
    pub fn total(&self) -> Total {
        let [done, skipped, failed] =
            [&self.done, &self.skipped, &self.failed].map(|count| count.load(Ordering::Relaxed));
        Total {
            done,
            skipped: self.before.skipped + skipped,
            failed: self.before.failed + failed,
        }
    }

    /// Objects that this run is through with.
    fn finished(&self) -> u64 {
        [&self.done, &self.skipped, &self.failed]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// Shows how a run goes, and prints its messages without disturbing the bar.
#[derive(Debug)]
pub struct Progress {
    /// Hidden but between [`Progress::begin`] and [`Progress::end`].
    bar: ProgressBar,
    quiet: bool,
    terminal: bool,
    plain: bool,
    last_line: Mutex<Instant>,
    /// What of the bar an earlier run has done.
    done_before: AtomicU64,
    /// The warnings of this pass and of the one before, where there are passes.
    warnings: Mutex<Option<[HashSet<String>; 2]>>,
}

impl Progress {
    /// Chooses by what stderr is; `quiet` leaves only warnings and errors.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Progress {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            quiet,
            terminal,
            plain: !terminal && !quiet,
            last_line: Mutex::new(Instant::now()),
            done_before: AtomicU64::new(0),
            warnings: Mutex::default(),
        }
    }

    /// Begins a pass over what passes before have been over: a warning that the last one gave is not given again.
    pub fn begin_pass(&self) {
        let mut warnings = lock(&self.warnings);
        let [this, _] = warnings.take().unwrap_or_default();
        *warnings = Some([HashSet::new(), this]);
        *lock(&self.last_line) = Instant::now();
    }

    /// Begins to count up to `total`.
    pub fn begin(&self, total: u64) {
        self.bar.set_length(total);
        self.done_before.store(0, Ordering::Relaxed);
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.reset();
        if self.terminal && !self.quiet {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Goes on with what an earlier run has done so many of; they do not count for the time that the rest will take.
    pub fn go_on(&self, done: u64) {
        self.bar.inc(done);
        self.done_before.store(done, Ordering::Relaxed);
    }

    /// Shows how far `extract` is: `pending` objects were to be done, `started` is when the first was taken.
    pub fn show(&self, counts: &Counts, pending: u64, started: Instant) {
        if self.quiet || !(self.terminal || self.is_time_for_a_line()) {
            return;
        }
        let message = describe(counts, pending, started.elapsed().as_secs_f64());
        if self.plain {
            self.line(&message);
        }
        self.bar.set_position(counts.finished());
        self.bar.set_message(message);
    }

    /// Counts so many more. The bar and plain lines say how far that is, and how long the rest will take.
    pub fn advance(&self, more: u64) {
        self.bar.inc(more);
        if self.quiet {
            return;
        }
        let (position, length) = (self.bar.position(), self.bar.length());
        let length = length.unwrap_or(position);
        let seconds = self.bar.elapsed().as_secs_f64();
        let done = position.saturating_sub(self.done_before.load(Ordering::Relaxed));
        let left = match seconds > 1.0 && done > 0 && position < length {
            true => {
                let left = seconds * (length - position) as f64 / done as f64;
                format!("{} left", duration(left))
            }
            false => String::new(),
        };
        if self.plain && self.is_time_for_a_line() {
            let comma = if left.is_empty() { "" } else { ", " };
            self.line(&format!("{position} of {length}{comma}{left}"));
        }
        if self.terminal {
            self.bar.set_message(left);
        }
    }

    /// Whether the last line is long enough ago; then there is to be one now.
    fn is_time_for_a_line(&self) -> bool {
        let mut last = lock(&self.last_line);
        let is_time = last.elapsed() >= plain_interval(self.bar.elapsed());
        if is_time {
            *last = Instant::now();
        }
        is_time
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Says something that a person may want to know; not with `--quiet`.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.line(message);
        }
    }

    /// Says something that a person must know.
    pub fn warn(&self, message: &str) {
        if self.is_new(message) {
            self.line(&format!("warning: {message}"));
        }
    }

    /// Whether a warning was not given yet in this pass and in the one before.
    fn is_new(&self, message: &str) -> bool {
        match &mut *lock(&self.warnings) {
            Some([this, last]) => this.insert(message.to_owned()) && !last.contains(message),
            None => true,
        }
    }

    /// Says why nothing could be done.
    pub fn error(&self, message: &str) {
        self.line(&format!("simsearch: {message}"));
    }

    fn line(&self, message: &str) {
        // Nothing can be done about a stderr that is gone, and it is not a reason to stop.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{message}");
        });
    }
}

/// How far `extract` is, `seconds` after the first of `pending` objects was taken.
fn describe(counts: &Counts, pending: u64, seconds: f64) -> String {
    let finished = counts.finished();
    let to_do = pending.saturating_sub(finished);
    let rate = counts.done.load(Ordering::Relaxed) as f64 / seconds.max(1e-3);
    let Total {
        done,
        skipped,
        failed,
    } = counts.total();
    let mut message = format!(
        "done {done}, skipped {skipped}, failed {failed}, to do {to_do}, {rate:.0} images/s"
    );
    if finished > 0 && seconds > 1.0 {
        let left = seconds * to_do as f64 / finished as f64;
        let _ = write!(message, ", {} left", duration(left));
    }
    message
}

/// `1 row`, `2 rows`.
pub fn counted<N: PartialEq + From<u8> + std::fmt::Display>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
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
    fn what_was_before_the_run_counts_for_the_list_and_not_for_the_time_left() {
        let counts = Counts::new(1000, 100);
        counts.done.store(30, Ordering::Relaxed);
        counts.skipped.store(5, Ordering::Relaxed);
        counts.failed.store(15, Ordering::Relaxed);
        assert_eq!(
            describe(&counts, 200, 10.0),
            "done 30, skipped 1005, failed 115, to do 150, 3 images/s, 30 s left"
        );
        let total = Total {
            done: 30,
            skipped: 1005,
            failed: 115,
        };
        assert_eq!(counts.total(), total);
    }

    #[test]
    fn a_warning_is_not_given_again_until_a_pass_was_without_it() {
        let progress = Progress::new(true);
        assert!(progress.is_new("a") && progress.is_new("a"));
        progress.begin_pass();
        assert!(progress.is_new("a") && progress.is_new("b"));
        assert!(!progress.is_new("a"));
        progress.begin_pass();
        assert!(!progress.is_new("a"));
        progress.begin_pass();
        assert!(!progress.is_new("a") && progress.is_new("b"));
        progress.begin_pass();
        progress.begin_pass();
        assert!(progress.is_new("a"));
    }

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
