//! Reads that hang, as on a network disk whose server does not answer, are named.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::fault;
use crate::support::mutex::lock;
use crate::support::progress::{Progress, duration};

/// After how long a read is named. A picture takes milliseconds, and on a slow network disk seconds.
const NAMED_AFTER: Duration = Duration::from_secs(30);

/// After how long it is named again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What each worker reads at this moment.
pub struct Reads {
    workers: Vec<Mutex<Option<Read>>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

struct Read {
    path: PathBuf,
    since: Instant,
    /// How long it has to take to be named.
    due: Duration,
}

impl Reads {
    pub fn new(workers: usize) -> Self {
        Reads {
            workers: (0..workers).map(|_| Mutex::default()).collect(),
            is_over: Mutex::default(),
            over: Condvar::new(),
        }
    }

    /// Reads a file, for the worker of this number.
    pub fn read<T>(&self, worker: usize, path: &Path, read: impl FnOnce() -> T) -> T {
        *lock(&self.workers[worker]) = Some(Read {
            path: path.to_owned(),
            since: Instant::now(),
            due: fault::patience(NAMED_AFTER),
        });
        let read = fault::reader(read);
        *lock(&self.workers[worker]) = None;
        read
    }

    /// Names what hangs, until [`Reads::end`].
    pub fn watch(&self, progress: &Progress) {
        let every = fault::patience(Duration::from_secs(1));
        let mut is_over = lock(&self.is_over);
        while !*is_over {
            let waited = self.over.wait_timeout(is_over, every);
            (is_over, _) = waited.unwrap_or_else(PoisonError::into_inner);
            for line in self.hanging(Instant::now()) {
                progress.warn(&line);
            }
        }
    }

    /// Ends [`Reads::watch`].
    pub fn end(&self) {
        *lock(&self.is_over) = true;
        self.over.notify_all();
    }

    /// What is to be said of the reads that hang. `now` is when.
    fn hanging(&self, now: Instant) -> Vec<String> {
        let named = self.workers.iter().filter_map(|worker| {
            let mut read = lock(worker);
            let read = read.as_mut()?;
            let taken = now.saturating_duration_since(read.since);
            (taken >= read.due).then(|| {
                read.due = taken + fault::patience(AGAIN_AFTER);
                format!(
                    "reading {} has taken {} and is not done; the disk or the network that it is on does not answer",
                    read.path.display(),
                    duration(taken.as_secs_f64())
                )
            })
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_named_after_half_a_minute_and_then_every_minute_until_it_is_done() {
        let reads = Reads::new(2);
        let begin = Instant::now();
        let said_at = |second| reads.hanging(begin + Duration::from_secs(second));
        reads.read(1, Path::new("media/slow.jpg"), || {
            // It may have begun a moment after `begin`.
            for (second, is_named) in [
                (0, false),
                (29, false),
                (31, true),
                (60, false),
                (90, false),
                (92, true),
                (151, false),
                (153, true),
            ] {
                let said = said_at(second);
                assert_eq!(said.len(), usize::from(is_named), "{second}: {said:?}");
                for line in said {
                    assert!(line.contains("media/slow.jpg"), "{line}");
                }
            }
        });
        assert!(said_at(1000).is_empty());
    }
}
