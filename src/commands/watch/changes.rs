//! What changes in a media tree, as inotify tells it: the only file that names the crate `notify`.
//!
//! Each folder is watched by itself, so that those in which nothing matters are left out; and all of them again before
//! each pass. So it does not matter which of the changes of folders (made, moved, mounted, gone and there again) are
//! heard: after any of them there is a pass.

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
            let is_ours =
                |path: &Path| lock(&watched).contains_key(path) || filter(path, path.is_dir());
            if matters(&event, is_ours) {
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

    /// Whether a folder is not the one that is watched, because a disk was mounted or unmounted: then inotify says
    /// nothing.
    pub fn has_other_folders(&self) -> bool {
        let folders = lock(&self.folders);
        (folders.iter()).any(|(folder, watched)| identity(folder) != *watched)
    }
}

fn identity(folder: &Path) -> Identity {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether there may be something to do after an event. To open, to read and to close a file changes nothing. (Who
/// writes through a mapping is heard when the file is closed.)
fn matters(event: &notify::Result<Event>, is_ours: impl Fn(&Path) -> bool) -> bool {
    let Ok(event) = event else {
        return true;
    };
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    // Where the queue of inotify has run over, any event may be lost.
    event.need_rescan() || (changes && event.paths.iter().any(|path| is_ours(path)))
}

fn is_left_out(error: &notify::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotFound, PermissionDenied};
    match &error.kind {
        ErrorKind::PathNotFound => true,
        // A path may also be too long.
        ErrorKind::Io(error) => {
            matches!(error.kind(), InvalidFilename | NotFound | PermissionDenied)
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag, MetadataKind, ModifyKind, RemoveKind, RenameMode};

    #[test]
    fn what_changes_a_picture_or_a_folder_matters_and_what_reads_it_does_not() {
        let is_ours = |path: &Path| path == Path::new("/photos/a.jpg");
        let heard = |kind, path: &str| {
            let event = Event::new(kind).add_path(path.into());
            matters(&Ok(event), is_ours)
        };
        for (kind, expected) in [
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Remove(RemoveKind::File), true),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                true,
            ),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), true),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                true,
            ),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (EventKind::Access(AccessKind::Read), false),
        ] {
            assert_eq!(heard(kind, "/photos/a.jpg"), expected, "{kind:?}");
            assert!(!heard(kind, "/photos/a.txt"), "{kind:?}");
        }
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(matters(&Ok(lost), is_ours));
        assert!(matters(&Err(notify::Error::generic("")), is_ours));
    }

    #[test]
    fn a_change_is_heard_in_the_folders_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| root.path().join(name));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&there).unwrap();
        fs::write(here.join("old"), "").unwrap();
        let asked = Arc::<Mutex<Vec<PathBuf>>>::default();
        let asked_there = Arc::clone(&asked);
        let mut changes = Changes::open(move |path, _| {
            lock(&asked_there).push(path.to_owned());
            path.ends_with("new")
        })
        .unwrap();
        changes
            .listen(vec![here.clone(), root.path().join("never there")])
            .unwrap();
        fs::write(there.join("new"), "").unwrap();
        fs::read(here.join("old")).unwrap();
        fs::write(here.join("other"), "").unwrap();
        fs::write(here.join("new"), "").unwrap();
        let patience = Duration::from_secs(60);
        assert!(changes.hears_one(patience));
        // In the order in which it was done.
        let seen = lock(&asked).clone();
        let expected = [here.join("other"), here.join("new")];
        assert!(seen.iter().all(|path| expected.contains(path)), "{seen:?}");
        assert!(seen.contains(&expected[0]), "{seen:?}");
        // A folder itself is one of its changes.
        changes.listen(vec![there.clone()]).unwrap();
        while changes.hears_one(Duration::ZERO) {}
        fs::remove_dir_all(&there).unwrap();
        assert!(changes.hears_one(patience));
    }

    #[test]
    fn a_folder_on_which_a_disk_was_mounted_is_another_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let mut changes = Changes::open(|_, _| false).unwrap();
        let folders = vec![root.path().to_owned(), folder.clone()];
        changes.listen(folders.clone()).unwrap();
        assert!(!changes.has_other_folders());
        // As a mount does, this gives the name to another folder.
        fs::rename(&folder, root.path().join("aside")).unwrap();
        assert!(changes.has_other_folders());
        fs::create_dir(&folder).unwrap();
        assert!(changes.has_other_folders());
        changes.listen(folders).unwrap();
        assert!(!changes.has_other_folders());
    }
}
