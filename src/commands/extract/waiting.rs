//! How long a run waits for objects that other processes have claimed.

use std::time::{Duration, Instant};

/// How long a run waits without progress. A group of pictures takes seconds at most, so that a process which gives up
/// none of its objects for a minute is stopped or stuck; and if it only is very slow, it does them all the same. Two
/// minutes, since a server of NFS 4 gives the locks of a machine that has lost its power free after 90 seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// After which part of its patience a run says that it waits: 10 seconds of two minutes.
const SAY_AFTER: u32 = 12;

/// What to do about objects that another process still holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Ask again.
    Wait,
    /// Say that the run waits, and ask again. Once a run.
    Say,
    /// Leave them.
    GiveUp,
}

/// Time since the last progress.
pub struct Waited {
    patience: Duration,
    since: Option<Instant>,
    is_said: bool,
}

impl Waited {
    pub fn new(patience: Duration) -> Self {
        Waited {
            patience,
            since: None,
            is_said: false,
        }
    }

    /// Another process has given up an object.
    pub fn progress(&mut self) {
        self.since = None;
    }

    /// No object could be had. `now` is when.
    pub fn nothing(&mut self, now: Instant) -> Waiting {
        let waited = now.duration_since(*self.since.get_or_insert(now));
        if waited >= self.patience {
            return Waiting::GiveUp;
        }
        if waited < self.patience / SAY_AFTER || self.is_said {
            return Waiting::Wait;
        }
        self.is_said = true;
        Waiting::Say
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_once_that_it_waits_and_gives_up_after_two_minutes_without_progress() {
        let begin = Instant::now();
        let mut waited = Waited::new(PATIENCE);
        let mut at = |second| waited.nothing(begin + Duration::from_secs(second));
        // The first time that nothing is to be had is when the wait begins.
        for (second, expected) in [
            (100, Waiting::Wait),
            (109, Waiting::Wait),
            (110, Waiting::Say),
            (111, Waiting::Wait),
            (219, Waiting::Wait),
        ] {
            assert_eq!(at(second), expected, "{second}");
        }
        waited.progress();
        let mut at = |second| waited.nothing(begin + Duration::from_secs(second));
        for (second, expected) in [
            (220, Waiting::Wait),
            (235, Waiting::Wait),
            (339, Waiting::Wait),
            (340, Waiting::GiveUp),
            (341, Waiting::GiveUp),
        ] {
            assert_eq!(at(second), expected, "{second}");
        }
    }
}
