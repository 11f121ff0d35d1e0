//! Leases: what keeps two processes apart that change shards, where a lock that succeeds proves nothing.
//!
//! Through sshfs, s3fs, rclone, or NFS without locks, a lock holds for one mount only, and two `concat` on two machines
//! lost features. So a process that is about to change shards first makes a file of its own, `.packing.<random>.lease`,
//! and then lists the directory. Of two that do so at once at least one sees the other, and leaves; whether the file
//! system makes files exclusively does not matter. The file names its process, and while this lives it writes the file
//! again and again.
//!
//! A lease that a process has left behind goes when it is certain that it has ended. On this machine the lock tells,
//! which holds between all who see the same mounted file system; where that is another mount, the number of the process
//! does, since the lease has the boot and the time of its start. On another machine it must have been silent for
//! [`Times::silent`], by the clock of the file system, and then for [`Times::watch`] while it is looked at, whatever
//! the clocks say.

mod beating;
mod owner;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::ModelDir;
use crate::support::fault;
use crate::support::mutex::lock;
use crate::support::progress::duration;
pub(super) use beating::Beating;
use beating::Heart;
use owner::{Owner, Seen, names_of_leases};

/// How a process is told what has become of others.
pub type Say<'a> = &'a dyn Fn(&str);

/// What the holder of a lease does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It changes shards.
    Packing,
    /// It writes the index.
    Indexing,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Packing => "packing",
            Purpose::Indexing => "indexing",
        }
    }
}

/// The answer to [`ModelDir::lease_index`].
#[derive(Debug)]
pub enum Leased {
    /// This process may go on, as long as it keeps the lease.
    Taken(Lease),
    /// Another process has one; the text is what it says about itself.
    HeldBy(String),
}

/// The intervals of leases.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Between two signs of life. Ten seconds: a small write.
    beat: Duration,
    /// How old the last sign of a process on another machine is when it may have ended. Sixty seconds: NFS keeps what
    /// it knows of a file for as long, unless it is opened anew.
    silent: Duration,
    /// How long a silent one is watched before its lease is removed. Thirty seconds: sshfs keeps what it knows for
    /// twenty.
    watch: Duration,
    /// How long one is watched that is empty, where this process has a lock that its process would have. Two seconds:
    /// it is written with the next call, before its process looks for the leases of others.
    naming: Duration,
}

const TIMES: Times = Times {
    beat: Duration::from_secs(10),
    silent: Duration::from_secs(60),
    watch: Duration::from_secs(30),
    naming: Duration::from_secs(2),
};

/// How long a process waits for another one that came at the same moment to leave. It takes two calls.
const CONTENTION: Duration = Duration::from_secs(2);
/// How often it looks.
const POLL: Duration = Duration::from_millis(20);

/// A lease; given back when dropped. The next process removes one that was not.
#[derive(Debug)]
pub struct Lease {
    beating: Beating,
    /// Where a lock goes with it.
    pub(super) lock: Option<File>,
}

impl ModelDir {
    /// Takes the lease for a purpose, whose lock this process has. `say` gets a line for each process that has left one
    /// behind.
    pub(super) fn lease(&self, purpose: Purpose, say: Say<'_>) -> io::Result<Leased> {
        self.lease_within(purpose, TIMES, !fault::locks_prove_nothing(), say)
    }

    /// The same with the intervals given, and whether the lock proves anything.
    fn lease_within(
        &self,
        purpose: Purpose,
        times: Times,
        is_locked: bool,
        say: Say<'_>,
    ) -> io::Result<Leased> {
        let this = Owner::this(&self.root)?;
        let lease = Lease::begin(self, purpose, times, this.clone())?;
        let begun = Instant::now();
        loop {
            match lease.find_other(purpose, &this, is_locked, say)? {
                None => {
                    // Who comes now need not wait for this one to give way.
                    lease.beating.heart.beat()?;
                    return Ok(Leased::Taken(lease));
                }
                Some(other) if other.gives_way_to(&lease) && begun.elapsed() < CONTENTION => {
                    thread::sleep(POLL);
                }
                Some(other) => return Ok(Leased::HeldBy(other.name_of_owner())),
            }
        }
    }

    /// Who has a lease, as far as that can be told by looking once; `is_locked` says whether somebody has the lock for
    /// that purpose. Takes none and writes nothing.
    pub(super) fn lease_holder(
        &self,
        purpose: Purpose,
        is_locked: bool,
    ) -> io::Result<Option<String>> {
        let this = Owner::this(&self.root)?;
        for name in names_of_leases(&self.root, purpose)? {
            let Some(other) = Seen::read(&self.root, &name)? else {
                continue;
            };
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.map_or(0, |now| now.as_nanos() as i64);
            let is_silent = other.age(now) > TIMES.silent + TIMES.watch;
            let is_free = !is_locked && !fault::locks_prove_nothing();
            if !other.has_ended(&this, is_free) && !is_silent {
                return Ok(Some(other.name_of_owner()));
            }
        }
        Ok(None)
    }
}

impl Lease {
    fn begin(
        directory: &ModelDir,
        purpose: Purpose,
        times: Times,
        owner: Owner,
    ) -> io::Result<Self> {
        let name = format!(".{}.{:016x}.lease", purpose.name(), rand::random::<u64>());
        let content = owner.content()?;
        let root = directory.root.try_clone()?;
        let written = fault::step("take a lease", || {
            let flags = OFlag::O_WRONLY
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let mode = Mode::from_bits_truncate(0o666);
            let file = File::from(openat(&root, name.as_str(), flags, mode)?);
            file.write_all_at(&content, 0)
        });
        if let Err(error) = written {
            let _ = unlinkat(&root, name.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(error);
        }
        let path = directory.path.join(&name);
        let beating = Beating::begin(root, path, name, times, owner)?;
        Ok(Lease {
            beating,
            lock: None,
        })
    }

    /// Fails where another process has taken the lease away: this one was stopped for so long that it counted as ended.
    /// What it is about to change may be changed by the other one.
    pub fn check(&self) -> io::Result<()> {
        let heart = &self.beating.heart;
        let last = *lock(&heart.last);
        // Where the machine slept, or its clock was turned back, the lease is looked for.
        match last.elapsed() {
            Ok(elapsed) if elapsed < heart.times.silent / 2 => Ok(()),
            _ => heart.beat(),
        }
    }

    /// The lease of another process that counts. Those of processes that have ended are removed.
    fn find_other(
        &self,
        purpose: Purpose,
        this: &Owner,
        is_locked: bool,
        say: Say<'_>,
    ) -> io::Result<Option<Seen>> {
        let Heart {
            directory: root,
            name,
            ..
        } = &*self.beating.heart;
        let names = names_of_leases(root, purpose)?;
        for other in names.iter().filter(|other| *other != name) {
            let Some(seen) = Seen::read(root, other)? else {
                continue;
            };
            match self.watch(&seen, this, is_locked, say)? {
                Watched::Lives(now) => return Ok(Some(now)),
                Watched::GivenBack => continue,
                Watched::LeftOver => {}
            }
            say(&format!(
                "{} has ended without finishing what it did here; this run takes over",
                seen.name_of_owner()
            ));
            let removed = fault::step("remove the lease of a process that has ended", || {
                unlinkat(root, other.as_str(), UnlinkatFlags::NoRemoveDir)
            });
            match removed {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Watches the lease of another process until it is certain what becomes of it.
    fn watch(
        &self,
        seen: &Seen,
        this: &Owner,
        is_locked: bool,
        say: Say<'_>,
    ) -> io::Result<Watched> {
        if seen.has_ended(this, is_locked) {
            return Ok(Watched::LeftOver);
        }
        let heart = &*self.beating.heart;
        let (root, times) = (&heart.directory, heart.times);
        // Both times are of the clock of the file system.
        let now = Seen::read(root, &heart.name)?.map_or(0, |own| own.stamp.modified);
        let age = seen.age(now);
        let watch = if seen.owner.is_none() && is_locked {
            times.naming
        } else if age < times.silent {
            return Ok(Watched::Lives(seen.clone()));
        } else {
            let age = duration(age.as_secs_f64());
            let last = match seen.stamp.modified > now {
                true => format!("its last sign of life has a time {age} ahead"),
                false => format!("has given no sign of life for {age}"),
            };
            say(&format!(
                "{} has a lease here and {last}; waiting {} for one",
                seen.name_of_owner(),
                duration(times.watch.as_secs_f64())
            ));
            times.watch
        };
        let begun = Instant::now();
        while begun.elapsed() < watch {
            thread::sleep(POLL.min(watch));
            match Seen::read(root, &seen.name)? {
                None => return Ok(Watched::GivenBack),
                Some(now) if now != *seen => return Ok(Watched::Lives(now)),
                Some(_) => {}
            }
        }
        Ok(Watched::LeftOver)
    }
}

/// What becomes of a lease that is watched.
enum Watched {
    /// Its process lives, and says this by now.
    Lives(Seen),
    /// It is not there any more.
    GivenBack,
    /// Its process has ended.
    LeftOver,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.beating.stop();
        let heart = &self.beating.heart;
        // Where it cannot be removed, the next process sees that this one has ended.
        let _ = fault::step("give a lease back", || {
            let name = heart.name.as_str();
            unlinkat(&heart.directory, name, UnlinkatFlags::NoRemoveDir)
        });
    }
}

/// Whether a file that belonged to another process is left over: nobody has its lock, which this process has taken, and
/// it has given no sign of life for long, or has certainly ended. One that says nothing yet is watched for a moment: its
/// process may just have made it, where locks prove nothing. `own` is a file that was just written.
pub(super) fn is_left_over(directory: &OwnedFd, name: &str, own: &str) -> io::Result<bool> {
    let this = Owner::this(directory)?;
    let begun = Instant::now();
    let seen = loop {
        match Seen::read(directory, name)? {
            None => return Ok(false),
            Some(seen) if seen.owner.is_some() => break seen,
            Some(_) if begun.elapsed() > TIMES.naming => return Ok(true),
            Some(_) => thread::sleep(POLL),
        }
    };
    let Some(own) = Seen::read(directory, own)? else {
        return Ok(false);
    };
    Ok(seen.has_ended(&this, !fault::locks_prove_nothing())
        || seen.age(own.stamp.modified) >= TIMES.silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::Mutex;

    const SHORT: Times = Times {
        beat: Duration::from_secs(3600),
        silent: Duration::from_secs(60),
        watch: Duration::from_millis(60),
        naming: Duration::from_millis(60),
    };

    /// A model's directory, and what was said.
    struct Place {
        _root: tempfile::TempDir,
        directory: ModelDir,
        said: Mutex<Vec<String>>,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            Place {
                directory: ModelDir::create(root.path()).unwrap(),
                _root: root,
                said: Mutex::default(),
            }
        }

        fn lease(&self) -> Leased {
            let say = |line: &str| lock(&self.said).push(line.to_owned());
            (self
                .directory
                .lease_within(Purpose::Packing, SHORT, false, &say))
            .unwrap()
        }

        fn this(&self) -> Owner {
            Owner::this(&self.directory.root).unwrap()
        }

        fn elsewhere(&self) -> Owner {
            Owner {
                host: "elsewhere".into(),
                boot_id: "another".into(),
                ..self.this()
            }
        }

        /// Leaves the lease of a process, whose last sign of life is so old.
        fn leave(&self, owner: &Owner, age: Duration) -> PathBuf {
            let path = self
                .directory
                .path()
                .join(".packing.0123456789abcdef.lease");
            fs::write(&path, owner.content().unwrap()).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        }

        fn said(&self) -> String {
            lock(&self.said).join("\n")
        }
    }

    fn held(leased: Leased) -> Option<String> {
        match leased {
            Leased::HeldBy(holder) => Some(holder),
            Leased::Taken(_) => None,
        }
    }

    #[test]
    fn a_lease_keeps_others_out_until_it_is_given_back_and_leaves_nothing() {
        let place = Place::new();
        let Leased::Taken(lease) = place.lease() else {
            panic!("nobody else is here");
        };
        let this = format!("process {} on ", std::process::id());
        assert!(held(place.lease()).unwrap().starts_with(&this));
        let holder = |purpose, is_locked| {
            let holder = place.directory.lease_holder(purpose, is_locked);
            holder.unwrap()
        };
        assert!(holder(Purpose::Packing, true).unwrap().starts_with(&this));
        assert_eq!(holder(Purpose::Indexing, true), None);
        // One of this mount without a lock was left over.
        assert_eq!(holder(Purpose::Packing, false), None);
        lease.check().unwrap();
        drop(lease);
        assert_eq!(held(place.lease()), None);
        assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
        assert_eq!(place.said(), "");
    }

    #[test]
    fn the_lease_of_a_process_that_has_ended_on_this_machine_is_taken_over_at_once() {
        let place = Place::new();
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let ended = Owner {
            process: child.id(),
            ..place.this()
        };
        // Another one may have its number by now.
        let renumbered = Owner {
            started: 1,
            ..place.this()
        };
        for owner in [ended, renumbered] {
            place.leave(&owner, Duration::ZERO);
            assert!(
                place
                    .directory
                    .lease_holder(Purpose::Packing, true)
                    .unwrap()
                    .is_none()
            );
            assert_eq!(held(place.lease()), None);
            let named = format!("process {} on {} has ended", owner.process, owner.host);
            assert!(place.said().contains(&named), "{}", place.said());
        }
    }

    #[test]
    fn a_lease_of_this_mount_is_left_over_where_this_process_has_the_lock() {
        let place = Place::new();
        let elsewhere = Owner {
            pid_namespace: "of a container".into(),
            ..place.this()
        };
        place.leave(&elsewhere, Duration::ZERO);
        let lease = |is_locked| {
            place
                .directory
                .lease_within(Purpose::Packing, SHORT, is_locked, &|_| {})
                .unwrap()
        };
        assert!(held(lease(false)).is_some());
        let other_mount = Owner {
            device: elsewhere.device + 1,
            ..elsewhere.clone()
        };
        place.leave(&other_mount, Duration::ZERO);
        assert!(held(lease(true)).is_some());
        place.leave(&elsewhere, Duration::ZERO);
        assert_eq!(held(lease(true)), None);
    }

    #[test]
    fn an_empty_lease_is_left_over_where_this_process_has_the_lock() {
        let place = Place::new();
        let path = place.leave(&place.elsewhere(), Duration::ZERO);
        let empty = || File::create(&path).unwrap();
        let lease = |say: Say<'_>| {
            place
                .directory
                .lease_within(Purpose::Packing, SHORT, true, say)
                .unwrap()
        };
        empty();
        assert_eq!(held(lease(&|_| {})), None);
        assert!(!path.exists());
        // One that is written while it is watched is that of a process that lives.
        empty();
        let patient = Times {
            naming: Duration::from_secs(3600),
            ..SHORT
        };
        let leased = thread::scope(|scope| {
            let lease = scope.spawn(|| {
                place
                    .directory
                    .lease_within(Purpose::Packing, patient, true, &|_| {})
            });
            place.leave(&place.elsewhere(), Duration::ZERO);
            lease.join().unwrap().unwrap()
        });
        assert!(held(leased).unwrap().contains("elsewhere"));
    }

    #[test]
    fn what_is_named_in_a_moment_is_not_left_over() {
        let place = Place::new();
        let path = place.leave(&place.elsewhere(), Duration::ZERO);
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::write(place.directory.path().join("own"), "").unwrap();
        File::create(&path).unwrap();
        let is_left_over = thread::scope(|scope| {
            let asked = scope.spawn(|| is_left_over(&place.directory.root, name, "own"));
            place.leave(&place.elsewhere(), Duration::ZERO);
            asked.join().unwrap().unwrap()
        });
        assert!(!is_left_over);
    }

    #[test]
    fn the_lease_of_another_machine_is_taken_over_when_it_stays_silent_and_not_before() {
        let place = Place::new();
        let path = place.leave(&place.elsewhere(), SHORT.silent / 2);
        assert!(held(place.lease()).unwrap().contains("elsewhere"));
        assert_eq!(place.said(), "");
        place.leave(&place.elsewhere(), SHORT.silent * 5);
        assert_eq!(held(place.lease()), None);
        let said = place.said();
        assert!(
            said.contains("elsewhere has a lease here and has given no sign of life for 5 min"),
            "{said}"
        );
        assert!(said.contains("elsewhere has ended"), "{said}");
        assert!(!path.exists());
        // One that was killed before it wrote anything.
        place.leave(&place.elsewhere(), Duration::ZERO);
        let file = File::create(&path).unwrap();
        assert!(
            held(place.lease())
                .unwrap()
                .contains("has not named itself")
        );
        file.set_modified(SystemTime::now() - SHORT.silent * 2)
            .unwrap();
        assert_eq!(held(place.lease()), None);
    }

    #[test]
    fn a_lease_whose_clock_is_behind_is_kept_when_it_gives_a_sign_while_it_is_watched() {
        let place = Place::new();
        place.leave(&place.elsewhere(), SHORT.silent * 5);
        let say = |_: &str| {
            // It is watched from now on.
            let signed = Owner {
                beat: 1,
                ..place.elsewhere()
            };
            place.leave(&signed, SHORT.silent * 5);
        };
        let leased = place
            .directory
            .lease_within(Purpose::Packing, SHORT, false, &say)
            .unwrap();
        assert!(held(leased).unwrap().contains("elsewhere"));
    }

    #[test]
    fn a_lease_of_a_time_to_come_is_watched_like_an_old_one() {
        let place = Place::new();
        let path = place.leave(&place.elsewhere(), Duration::ZERO);
        let ahead = |by: Duration| {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() + by).unwrap();
        };
        let holder = || {
            place
                .directory
                .lease_holder(Purpose::Packing, true)
                .unwrap()
        };
        ahead(SHORT.silent / 2);
        assert!(held(place.lease()).unwrap().contains("elsewhere"));
        assert!(holder().is_some());
        ahead(SHORT.silent * 1000);
        assert_eq!(holder(), None);
        assert_eq!(held(place.lease()), None);
        let said = place.said();
        assert!(said.contains("elsewhere has ended"), "{said}");
        assert!(said.contains("has a time 16 h 40 min ahead"), "{said}");
    }

    #[test]
    fn a_process_whose_lease_was_taken_away_changes_nothing_more() {
        let place = Place::new();
        let never = Times {
            silent: Duration::ZERO,
            ..SHORT
        };
        let leased = place
            .directory
            .lease_within(Purpose::Packing, never, false, &|_| {});
        let Ok(Leased::Taken(lease)) = leased else {
            panic!("nobody else is here");
        };
        lease.check().unwrap();
        fs::remove_file(&lease.beating.heart.path).unwrap();
        let error = lease.check().unwrap_err();
        assert!(error.to_string().contains("taken over"), "{error}");
    }

    #[test]
    fn of_processes_that_come_at_once_one_at_most_has_the_lease() {
        let place = Place::new();
        for _ in 0..20 {
            let taken = thread::scope(|scope| {
                let at_once: Vec<_> = (0..4)
                    .map(|_| {
                        let directory = &place.directory;
                        scope.spawn(|| {
                            directory.lease_within(Purpose::Packing, SHORT, false, &|_| {})
                        })
                    })
                    .collect();
                // All are kept until the last has its answer.
                let at_once: Vec<_> = at_once
                    .into_iter()
                    .map(|one| one.join().unwrap().unwrap())
                    .collect();
                at_once
                    .into_iter()
                    .filter(|one| matches!(one, Leased::Taken(_)))
                    .count()
            });
            assert!(taken <= 1, "{taken}");
        }
        assert_eq!(held(place.lease()), None);
    }
}
