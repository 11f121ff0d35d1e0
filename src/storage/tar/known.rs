//! The tars that this process has looked into, so that the headers of each are read once.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock, Mutex};

use super::{Damage, Members};
use crate::storage::files::FileStamp;
use crate::support::mutex::lock;

/// How many bytes what is known of tars takes that are not in use, at most: 256 MiB, or five million members.
const MOST_KNOWN: usize = 256 << 20;

/// The members of an open tar; `read` reads them where this process does not know them, from its so many bytes.
pub fn members(
    file: &File,
    read: impl FnOnce(u64) -> io::Result<Members>,
) -> io::Result<Arc<Members>> {
    let identity = Identity::of(file)?;
    let slot = lock(&KNOWN).slot(identity);
    let mut known = lock(&slot);
    if let Some(members) = &*known {
        return Ok(Arc::clone(members));
    }
    let members = Arc::new(read(identity.stamp.size)?);
    // One that is being written has others in a moment.
    if Identity::of(file)? == identity {
        *known = Some(Arc::clone(&members));
        lock(&KNOWN).note(identity, members.bytes());
    }
    Ok(members)
}

/// Forgets the tars that could not be read to their ends, so that whoever asks next reads their headers again: the disk
/// or the network may be well by then.
pub fn forget_unreadable() {
    let mut known = lock(&KNOWN);
    let is_unreadable = |tar: &KnownTar| {
        // One whose headers are being read is as good as new.
        let members = tar.slot.try_lock().ok();
        let members = members.as_ref().and_then(|members| members.as_ref());
        let damage = members.and_then(|members| members.damage());
        matches!(damage, Some(Damage::Unreadable { .. }))
    };
    let unreadable = known.tars.iter().filter(|(_, tar)| is_unreadable(tar));
    let unreadable: Vec<Identity> = unreadable.map(|(identity, _)| *identity).collect();
    for identity in unreadable {
        known.forget(identity);
    }
}

/// Tells a tar from all others, and from what it was before it was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    stamp: FileStamp,
    /// Time of the last change of anything, which nobody can set.
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            stamp: FileStamp::of(&metadata),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The members of the tars that this process has looked into.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// The members of one tar; who reads its headers holds the lock.
type Slot = Arc<Mutex<Option<Arc<Members>>>>;

#[derive(Default)]
struct Known {
    tars: HashMap<Identity, KnownTar>,
    /// How much memory they take.
    bytes: usize,
    /// Counts what is asked for.
    now: u64,
}

#[derive(Default)]
struct KnownTar {
    slot: Slot,
    bytes: usize,
    /// When it was asked for last.
    used: u64,
}

impl Known {
    /// What each tar takes besides its members.
    const EACH: usize = size_of::<(Identity, KnownTar)>() + size_of::<Members>();

    fn slot(&mut self, identity: Identity) -> Slot {
        self.now += 1;
        let tar = self.tars.entry(identity).or_insert_with(|| {
            self.bytes += Self::EACH;
            KnownTar::default()
        });
        tar.used = self.now;
        Arc::clone(&tar.slot)
    }

    /// Notes how much memory a tar takes; forgets those that were not asked for the longest where it is too much.
    fn note(&mut self, identity: Identity, bytes: usize) {
        if let Some(tar) = self.tars.get_mut(&identity) {
            self.bytes = self.bytes - tar.bytes + bytes;
            tar.bytes = bytes;
        }
        while self.bytes > MOST_KNOWN {
            let others = self.tars.iter().filter(|(other, _)| **other != identity);
            let Some((&oldest, _)) = others.min_by_key(|(_, tar)| tar.used) else {
                break;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, identity: Identity) {
        if let Some(tar) = self.tars.remove(&identity) {
            self.bytes -= Self::EACH + tar.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_tars_is_forgotten_where_it_takes_too_much() {
        let identity = |inode| Identity {
            device: 1,
            inode,
            stamp: FileStamp {
                size: 1,
                modified: 1,
            },
            changed: (0, 0),
        };
        let mut known = Known::default();
        for inode in 0..3 {
            known.slot(identity(inode));
            known.note(identity(inode), MOST_KNOWN / 4);
        }
        known.slot(identity(0));
        known.slot(identity(3));
        known.note(identity(3), MOST_KNOWN / 2);
        let mut left: Vec<u64> = known.tars.keys().map(|tar| tar.inode).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 3]);
        // One that is larger than all is known as long as it is used.
        known.note(identity(3), 2 * MOST_KNOWN);
        assert_eq!(known.tars.len(), 1);
        known.forget(identity(3));
        assert_eq!(known.bytes, 0);
    }
}
