//! What changes in a media tree, as inotify tells it: the only file that names the crate `notify`.
//!
//! Each folder is watched by itself, so that those in which nothing matters are left out; and all of them again before each
//! pass. So it does not matter which of the changes of folders (made, moved, mounted, gone and there again) are heard:
//! after any of them there is a pass.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::support::mutex::lock;

/// The device and the inode of a folder; none where it is not there.
type Identity = Option<(u64, u64)>;

/// Listens in a set of folders.
pub struct Changes {
    watcher: RecommendedWatcher,
    folders: Arc<Mutex<HashMap<PathBuf, Identity>>>,
    heard: Receiver<()>,
}

impl Changes {
    /// Listens nowhere yet. `filter` tells whether a file (or a folder, where the second argument says so) matters.
    pub fn open(filter: impl Fn(&Path, bool) -> bool + Send + 'static) -> Result<Self> {
        let folders = Arc::<Mutex<HashMap<PathBuf, Identity>>>::default();
        // One change that has not been asked for says as much as many.
        let (sender, heard) = sync_channel(1);
        let watched = Arc::clone(&folders);
        let on_event = move |event: notify::Result<Event>| {
            let matters =
                |path: &PathBuf| lock(&watched).contains_key(path) || filter(path, path.is_dir());
            // Where inotify has lost events, any may have mattered.
            if event.map_or(true, |event| {
                event.need_rescan() || (changes(&event.kind) && event.paths.iter().any(matters))
            }) {
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event).context(
            "cannot listen for changes (there are limits: `ulimit -n`, `sysctl fs.inotify.max_user_instances`); --poll \
             SECONDS does without",
        )?;
        Ok(Changes {
            watcher,
            folders,
            heard,
        })
    }

    /// Listens in these folders, and no longer in others. One that is gone meanwhile, or may not be read, is left out.
    ///
    /// # Errors
    /// When that is not possible in all of them.
    pub fn listen(&mut self, folders: Vec<PathBuf>) -> Result<()> {
        let count = folders.len();
        let identities = folders.iter().map(|folder| identity(folder));
        let identities: Vec<Identity> = identities.collect();
        let wanted: HashSet<&PathBuf> = folders.iter().collect();
        let before = std::mem::take(&mut *lock(&self.folders));
        for folder in before.keys().filter(|folder| !wanted.contains(folder)) {
            // It may be gone, and then nothing is watched any more.
            let _ = self.watcher.unwatch(folder);
        }
        // Before they are watched: the first change is one of theirs.
        *lock(&self.folders) = folders.iter().cloned().zip(identities).collect();
        for folder in &folders {
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if !is_left_out(&error) => return Err(explain(error, folder, count)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits for a change, for so long at most.
    pub fn hears_one(&self, time: Duration) -> bool {
        self.heard.recv_timeout(time).is_ok()
    }

    /// Whether a folder is not the one that is watched, because a disk was mounted or unmounted: then inotify says nothing.
    pub fn has_other_folders(&self) -> bool {
        let folders = lock(&self.folders);
        (folders.iter()).any(|(folder, watched)| identity(folder) != *watched)
    }
}

fn identity(folder: &Path) -> Identity {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether something is another after it: to open, to read and to close a file changes nothing. (Who writes through a mapping
/// is heard when the file is closed.)
fn changes(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn is_left_out(error: &notify::Error) -> bool {
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => denied(error) || error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn explain(error: notify::Error, folder: &Path, count: usize) -> Error {
    match error.kind {
        ErrorKind::MaxFilesWatch => anyhow::anyhow!(
            "cannot watch {count} folders: that is more than the limit of inotify; raise it (`sysctl \
             fs.inotify.max_user_watches`), or use --poll SECONDS"
        ),
        _ => Error::new(error).context(format!(
            "cannot watch {}; --poll SECONDS does without",
            folder.display()
        )),
    }
}
