//! When the next pass is due.

use std::time::{Duration, Instant};

/// How long nothing must have changed. Who copies many files, or one slowly, makes changes at shorter intervals.
const QUIET: Duration = Duration::from_secs(2);
/// Where something changes all the time, how long after the first change a pass is made nevertheless.
const LONGEST: Duration = Duration::from_secs(30);

/// When the next pass is due; never, to begin with.
#[derive(Debug, Default)]
pub struct Due {
    /// When the first and the last change were heard.
    changes: Option<(Instant, Instant)>,
    latest: Option<Instant>,
}

impl Due {
    /// Something has changed.
    pub fn changed(&mut self, now: Instant) {
        let first = self.changes.map_or(now, |(first, _)| first);
        self.changes = Some((first, now));
    }

    /// It is due at this time, whether something changes or not, or earlier.
    pub fn at_latest(&mut self, time: Option<Instant>) {
        self.latest = self.latest.into_iter().chain(time).min();
    }

    /// When it is due, as far as is known.
    pub fn at(&self) -> Option<Instant> {
        let quiet = (self.changes).map(|(first, last)| (last + QUIET).min(first + LONGEST));
        self.latest.into_iter().chain(quiet).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_due_when_all_is_quiet_and_soon_where_it_never_is() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut due = Due::default();
        assert_eq!(due.at(), None);
        due.changed(at(0));
        assert_eq!(due.at(), Some(at(2)));
        for second in 1..=27 {
            due.changed(at(second));
            assert_eq!(due.at(), Some(at(second + 2)), "{second}");
        }
        due.changed(at(29));
        assert_eq!(due.at(), Some(at(30)));
        due.at_latest(Some(at(40)));
        due.at_latest(None);
        assert_eq!(due.at(), Some(at(30)));
        due.at_latest(Some(at(20)));
        due.at_latest(Some(at(40)));
        assert_eq!(due.at(), Some(at(20)));
    }
}
