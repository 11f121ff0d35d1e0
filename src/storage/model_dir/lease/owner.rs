//! What a lease says of the process that it belongs to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::{Lease, Purpose};
use crate::storage::files::FileStamp;
use crate::storage::model_dir::scratch::names_in;

/// The length of a lease's file: every sign of life writes over the whole of the one before. The system's names of a
/// host and of a boot are short.
const LENGTH: usize = 1024;

/// What a process says about itself in its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) process: u32,
    pub(super) host: String,
    /// Which boot of which machine it is.
    pub(super) boot_id: String,
    /// The file system as it is mounted there.
    pub(super) device: u64,
    /// In which its number holds; containers have their own.
    pub(super) pid_namespace: String,
    /// When it was started, in the ticks of that boot.
    pub(super) started: u64,
    /// Counts its signs of life.
    pub(super) beat: u64,
}

impl Owner {
    /// This process, in a directory.
    pub(super) fn this(directory: &OwnedFd) -> io::Result<Self> {
        let process = std::process::id();
        let host = nix::unistd::gethostname()?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid_namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Ok(Owner {
            process,
            host: host.to_string_lossy().into_owned(),
            boot_id: boot_id.trim().to_owned(),
            device: File::from(directory.try_clone()?).metadata()?.dev(),
            pid_namespace: pid_namespace.to_string_lossy().into_owned(),
            started: start_of(process).unwrap_or_default(),
            beat: 0,
        })
    }

    pub(super) fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = serde_json::to_vec(self)?;
        // Spaces after JSON are nothing.
        content.resize(content.len().max(LENGTH - 1), b' ');
        content.push(b'\n');
        Ok(content)
    }

    /// Whether a process that is seen from `this` one has certainly ended. Where `is_locked`, this one has a lock that
    /// the other would have.
    pub(super) fn has_ended(&self, this: &Owner, is_locked: bool) -> bool {
        if this.boot_id.is_empty() || self.boot_id != this.boot_id {
            return false;
        }
        let is_gone = self.pid_namespace == this.pid_namespace
            // Where processes of others are hidden, that one is not seen says nothing.
            && start_of(1).is_some()
            && start_of(self.process) != Some(self.started);
        is_gone || (is_locked && self.device == this.device)
    }
}

/// When a running process was started; none where there is no such process.
fn start_of(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program comes first, in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    // A zombie has ended.
    (!["Z", "X"].contains(&state)).then_some(())?;
    // The 22nd field of proc(5), where the state is the third.
    fields.nth(18)?.parse().ok()
}

/// A lease as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: String,
    /// None where its process was killed before it wrote anything, or has not come to it.
    pub(super) owner: Option<Owner>,
    pub(super) stamp: FileStamp,
}

impl Seen {
    /// Looks at a lease; none where it is gone.
    pub(super) fn read(root: &OwnedFd, name: &str) -> io::Result<Option<Self>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let in_the_way = || io::Error::other(format!("{name} is not a regular file; move it away"));
        let file = match openat(root, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(in_the_way()),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(in_the_way());
        }
        let mut content = Vec::new();
        file.take(LENGTH as u64).read_to_end(&mut content)?;
        Ok(Some(Seen {
            name: name.to_owned(),
            owner: serde_json::from_slice(&content).ok(),
            stamp: FileStamp::of(&metadata),
        }))
    }

    pub(super) fn has_ended(&self, this: &Owner, is_locked: bool) -> bool {
        (self.owner.as_ref()).is_some_and(|owner| owner.has_ended(this, is_locked))
    }

    /// How far the time of the last sign of life is away from `now`, by the clock of the file system. One that lies
    /// ahead is no newer than one that is as old: the clock was set back since, or it is another machine's.
    pub(super) fn age(&self, now: i64) -> Duration {
        Duration::from_nanos(now.abs_diff(self.stamp.modified))
    }

    pub(super) fn name_of_owner(&self) -> String {
        match &self.owner {
            Some(owner) => format!("process {} on {}", owner.process, owner.host),
            None => "a process that has not named itself".to_owned(),
        }
    }

    /// Whether its process, if it has come at this moment, leaves: that whose name is the greater one.
    pub(super) fn gives_way_to(&self, lease: &Lease) -> bool {
        self.name > lease.beating.heart.name
            && self.owner.as_ref().is_none_or(|owner| owner.beat == 0)
    }
}

/// The names of all leases for a purpose. The directory is opened anew.
pub(super) fn names_of_leases(root: &impl AsFd, purpose: Purpose) -> io::Result<Vec<String>> {
    let mut names = names_in(root)?;
    let prefix = format!(".{}.", purpose.name());
    names.retain(|name| {
        let random = name.strip_prefix(&prefix);
        let random = random.and_then(|name| name.strip_suffix(".lease"));
        random.is_some_and(|random| random.len() == 16)
    });
    names.sort_unstable();
    Ok(names)
}
