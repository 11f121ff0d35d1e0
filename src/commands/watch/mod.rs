//! Command: passes over a media tree, one whenever it has changed, or one after the other in equal steps.
//!
//! What a pass does, its caller says: `list`, `extract`, `concat` and `prune`, one after the other.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command: passes, and the time between them |
//! | `changes.rs` | what changes in the tree, as inotify tells it |
//! | `due.rs` | when the next pass is due |
//! | `far.rs` | file systems where inotify does not tell all |

mod changes;
mod due;
mod far;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::inference::ModelError;
use crate::support::fault;
use crate::support::hints::hint;
use crate::support::interrupt::Interrupt;
use crate::support::progress::Progress;
use changes::Changes;
use due::Due;

/// After a pass that failed, or left something that another process holds, the next is due in this time at the latest.
/// So often it is looked as well whether the folders are still those that are watched.
pub const AGAIN: Duration = Duration::from_secs(30);
/// Between two looks at whether a signal has come.
const SIGNAL_POLL: Duration = Duration::from_millis(100);

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The media directory.
    pub media_dir: PathBuf,
    /// The time between two passes. Default: there is one when something has changed, as inotify tells.
    pub poll: Option<Duration>,
}

/// Tells whether a file (or a folder, where the second argument says so) matters.
pub type Filter = Box<dyn Fn(&Path, bool) -> bool + Send>;

/// What of a media tree matters.
pub struct Tree<'a> {
    /// The folders in which a change matters, as they are now; their paths are absolute.
    pub folders: &'a dyn Fn() -> Result<Vec<PathBuf>>,
    /// Which changes in them do.
    pub filter: Filter,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All is done that can be done.
    Done,
    /// Something is left that another process holds.
    Again,
    /// A signal cut it short.
    CutShort,
}

/// When a signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After a pass that was done.
    Waiting,
    /// After a pass that failed.
    Behind,
    /// In a pass, which was cut short.
    InPass,
}

/// Makes passes until a signal comes.
///
/// # Errors
/// When the first pass fails, or the tree cannot be watched then; and when the model fails, since a GPU that is lost
/// comes back to no process that used it. Other errors are said, and the pass is made again.
pub fn watch(
    options: &Options,
    tree: Tree<'_>,
    pass: &mut dyn FnMut() -> Result<Pass>,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Ended> {
    let mut changes = match options.poll {
        Some(_) => None,
        None => Some(Changes::open(tree.filter)?),
    };
    let mut is_first = true;
    loop {
        progress.begin_pass();
        // Before the pass looks at the tree: what changes from then on is heard.
        let listening = match &mut changes {
            Some(changes) => (tree.folders)().and_then(|folders| changes.listen(folders)),
            None => Ok(()),
        };
        let made = match listening {
            Err(error) if is_first => return Err(error),
            Err(error) => pass().and(Err(error)),
            Ok(()) => pass(),
        };
        let mut due = Due::default();
        due.at_latest(options.poll.map(|time| Instant::now() + time));
        match &made {
            Ok(Pass::Done) => {}
            Ok(Pass::CutShort) => return Ok(Ended::InPass),
            Ok(Pass::Again) => due.at_latest(Some(Instant::now() + fault::patience(AGAIN))),
            Err(error) if is_first || error.is::<ModelError>() => {
                return made.map(|_| Ended::Behind);
            }
            Err(error) => {
                let hint = hint(error.as_ref()).map(|hint| format!("; {hint}"));
                let hint = hint.unwrap_or_default();
                let seconds = options.poll.unwrap_or(AGAIN).min(AGAIN).as_secs();
                progress.warn(&format!("{error:#}{hint}; tried again every {seconds} s"));
                due.at_latest(Some(Instant::now() + AGAIN));
            }
        }
        if is_first {
            progress.note(&describe(options));
            if let (None, Some(kind)) = (options.poll, far::kind(&options.media_dir)) {
                progress.warn(&format!(
                    "{} is on {kind}, where changes that are made elsewhere go unnoticed; --poll SECONDS finds them",
                    options.media_dir.display()
                ));
            }
            is_first = false;
        }
        if !wait(&mut due, changes.as_ref(), interrupt) {
            return Ok(match made {
                Ok(_) => Ended::Waiting,
                Err(_) => Ended::Behind,
            });
        }
    }
}

fn describe(options: &Options) -> String {
    let media_dir = options.media_dir.display();
    match options.poll {
        None => format!("watching {media_dir}; Ctrl-C ends it"),
        Some(time) => format!(
            "looking at {media_dir} every {} s; Ctrl-C ends it",
            time.as_secs()
        ),
    }
}

/// Waits for the next pass; false when a signal comes before.
fn wait(due: &mut Due, changes: Option<&Changes>, interrupt: &Interrupt) -> bool {
    let mut look = Instant::now() + AGAIN;
    while interrupt.signal().is_none() {
        let now = Instant::now();
        if due.at().is_some_and(|at| at <= now) {
            return true;
        }
        match changes {
            None => std::thread::sleep(SIGNAL_POLL),
            Some(changes) => {
                if now >= look {
                    look = now + AGAIN;
                    if changes.has_other_folders() {
                        due.changed(now);
                    }
                }
                if changes.hears_one(SIGNAL_POLL) {
                    due.changed(Instant::now());
                }
            }
        }
    }
    false
}
