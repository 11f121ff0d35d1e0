//! The report of failures that all processes of a directory share.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use indexmap::IndexMap;
use nix::libc::{EISDIR, ELOOP, O_NOFOLLOW};

use super::failure::Failure;
use crate::storage::files::complete;
use crate::storage::files::regular;
use crate::storage::model_dir::{ModelDir, RecordLock};
use crate::storage::object_id::ObjectId;
use crate::support::fault;
use crate::support::hints::NotRegular;
use crate::support::mutex::lock;

/// The failures of a directory: `failures.jsonl`, one JSON object a line, shared by all processes that work there.
///
/// Lines are added one at a time under a lock; the last line of an id counts. [`FailureReport::tidy`] leaves one line
/// an object. A line that was cut off when a process was killed is dropped by the next that writes.
#[derive(Debug)]
pub struct FailureReport {
    path: PathBuf,
    lock: RecordLock,
    known: Mutex<Known>,
}

/// What this process has read of the file so far.
#[derive(Debug, Default)]
struct Known {
    read: Option<ReadSoFar>,
    failures: IndexMap<String, Failure>,
    /// The ids that were recorded, by whichever process, since [`FailureReport::failures`] was asked.
    new: HashSet<String>,
    /// What this process has recorded itself.
    own: IndexMap<String, Failure>,
    /// The file is not that of a tidy report.
    untidy: bool,
}

/// The file, and how far it was read.
#[derive(Debug)]
struct ReadSoFar {
    /// Held open, so that no other file gets its inode number when it is removed or replaced.
    file: File,
    inode: u64,
    length: u64,
}

impl FailureReport {
    /// The name of the report in a model's directory.
    pub const FILE_NAME: &str = "failures.jsonl";

    /// Opens the report of a model's directory; the file is made with the first failure.
    pub fn open(directory: &ModelDir) -> io::Result<Self> {
        let path = directory.path().join(Self::FILE_NAME);
        Ok(FailureReport {
            path,
            lock: directory.report_lock()?,
            known: Mutex::default(),
        })
    }

    /// All failures of a model's directory, as [`FailureReport::failures`] has them. Takes no lock and writes nothing.
    pub fn read(directory: &Path) -> io::Result<IndexMap<String, Failure>> {
        let mut failures = IndexMap::new();
        match regular::read(&directory.join(Self::FILE_NAME)) {
            // A last line that another process is just writing is not there yet.
            Ok(bytes) => failures.extend(
                failures_in(&bytes)
                    .flatten()
                    .map(|failure| (failure.id.clone(), failure)),
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(failures)
    }

    /// The same for several directories together: a model's, and those of its parts.
    pub fn read_all<'d>(
        directories: impl Iterator<Item = &'d Path>,
    ) -> io::Result<IndexMap<String, Failure>> {
        let mut failures = IndexMap::new();
        for directory in directories {
            failures.extend(Self::read(directory)?);
        }
        Ok(failures)
    }

    /// Where the report is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All failures, by object id, in the order in which they were first met.
    pub fn failures(&self) -> io::Result<IndexMap<String, Failure>> {
        let mut known = lock(&self.known);
        let _held = self.lock.hold()?;
        known.catch_up(&self.path)?;
        known.new.clear();
        Ok(known.failures.clone())
    }

    /// The failure of an object that this or another process has recorded since [`FailureReport::failures`] was asked.
    /// Costs a look at the length of the file where nothing was added.
    pub fn new_failure(&self, id: &ObjectId) -> io::Result<Option<Failure>> {
        let mut known = lock(&self.known);
        if known.is_behind(&self.path)? {
            let _held = self.lock.hold()?;
            known.catch_up(&self.path)?;
        }
        let failure = known.failures.get(id.as_str());
        Ok(failure.filter(|_| known.new.contains(id.as_str())).cloned())
    }

    /// Adds a failure, unless the same class is recorded for the same object already. A picture that was tried once
    /// more gets another line all the same, which tells other processes that they need not.
    pub fn record(&self, failure: &Failure) -> io::Result<()> {
        let mut known = lock(&self.known);
        let _held = self.lock.hold()?;
        known.catch_up(&self.path)?;
        let there = known.failures.get(&failure.id);
        let is_told = failure.file.is_none() || known.new.contains(&failure.id);
        if is_told && there.is_some_and(|there| there.says_the_same(failure)) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(failure)?;
        line.push(b'\n');
        let ReadSoFar { file, length, .. } = match &mut known.read {
            Some(read) => read,
            none => {
                let mut options = OpenOptions::new();
                options
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .custom_flags(O_NOFOLLOW);
                let file = fault::step("create the report", || options.open(&self.path))?;
                let inode = file.metadata()?.ino();
                none.insert(ReadSoFar {
                    file,
                    inode,
                    length: 0,
                })
            }
        };
        fault::step("add a failure", || file.write_all_at(&line, *length))?;
        *length += line.len() as u64;
        known.new.insert(failure.id.clone());
        known.own.insert(failure.id.clone(), failure.clone());
        known.untidy |= known
            .failures
            .insert(failure.id.clone(), failure.clone())
            .is_some();
        Ok(())
    }

    /// Leaves one line for each object that failed last time, and none for those of which `resolved` is true.
    pub fn tidy(&self, resolved: impl Fn(&Failure) -> bool) -> io::Result<()> {
        let mut known = lock(&self.known);
        let _held = self.lock.hold()?;
        known.catch_up(&self.path)?;
        let before = known.failures.len();
        // Where locks prove nothing, another process may have written over them, or replaced the file meanwhile. What
        // is lost all the same is tried again by the next run.
        for (id, failure) in std::mem::take(&mut known.own) {
            known.untidy |= !known.failures.contains_key(&id);
            known.failures.entry(id).or_insert(failure);
        }
        known.failures.retain(|_, failure| !resolved(failure));
        if known.failures.is_empty() {
            // Also an empty one, of a process that was killed before it had written the first line.
            match fault::step("remove the report", || fs::remove_file(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            complete::remove_leftover(&self.path)?;
        } else if !known.untidy && known.failures.len() == before {
            return complete::remove_leftover(&self.path);
        } else {
            complete::write(&self.path, |file| {
                let mut file = io::BufWriter::new(file);
                for failure in known.failures.values() {
                    serde_json::to_writer(&mut file, failure)?;
                    file.write_all(b"\n")?;
                }
                file.flush()
            })?;
        }
        *known = Known::default();
        Ok(())
    }
}

impl Known {
    /// Whether the file is another one than was read, or has another length.
    fn is_behind(&self, path: &Path) -> io::Result<bool> {
        let read = self.read.as_ref().map(|read| (read.inode, read.length));
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(read != Some((metadata.ino(), metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(read.is_some()),
            Err(error) => Err(error),
        }
    }

    /// Reads what others have added, and removes a cut-off last line.
    fn catch_up(&mut self, path: &Path) -> io::Result<()> {
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NOFOLLOW)
            .open(path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Known {
                    own: std::mem::take(&mut self.own),
                    ..Known::default()
                };
                return Ok(());
            }
            Err(error) if matches!(error.raw_os_error(), Some(ELOOP | EISDIR)) => {
                return Err(io::Error::other(NotRegular));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        regular::check(&metadata)?;
        let inode = metadata.ino();
        let (read, before) = match &self.read {
            Some(read) if read.inode == inode && read.length <= metadata.len() => {
                (read.length, IndexMap::new())
            }
            // Another process has tidied it: what it kept is not new.
            _ => {
                self.read = None;
                self.untidy = false;
                (0, std::mem::take(&mut self.failures))
            }
        };
        let length = (metadata.len() - read) as usize;
        let mut added = Vec::new();
        added.try_reserve_exact(length)?;
        added.resize(length, 0);
        file.read_exact_at(&mut added, read)?;
        let whole = added
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole < added.len() {
            fault::step("cut the report", || file.set_len(read + whole as u64))?;
        }
        for failure in failures_in(&added[..whole]) {
            let Some(failure) = failure else {
                self.untidy = true;
                continue;
            };
            if before.get(&failure.id) != Some(&failure) {
                self.new.insert(failure.id.clone());
            }
            let replaced = self.failures.insert(failure.id.clone(), failure);
            self.untidy |= replaced.is_some();
        }
        let length = read + whole as u64;
        self.read = Some(ReadSoFar {
            file,
            inode,
            length,
        });
        Ok(())
    }
}

/// The lines of a report. One that was torn by a power loss is none: the object has no feature, so that it is tried
/// again.
fn failures_in(bytes: &[u8]) -> impl Iterator<Item = Option<Failure>> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::failures::{Class, Stage};
    use crate::storage::files::FileStamp;
    use crate::storage::object_id::IdKind;

    fn failure(id: &str, class: Class) -> Failure {
        let message = "for a test".to_owned();
        Failure {
            id: id.into(),
            path: format!("object/{id}"),
            stage: Stage::Read,
            class,
            message,
            file: None,
        }
    }

    fn report() -> (tempfile::TempDir, ModelDir) {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        (directory, features)
    }

    #[test]
    fn two_processes_record_an_object_once() {
        let (_directory, features) = report();
        let [one, other] = [0, 1].map(|_| FailureReport::open(&features).unwrap());
        one.record(&failure("a.jpg", Class::Missing)).unwrap();
        other.record(&failure("a.jpg", Class::Missing)).unwrap();
        other.record(&failure("b.jpg", Class::Empty)).unwrap();
        one.record(&failure("b.jpg", Class::Empty)).unwrap();
        assert_eq!(fs::read_to_string(one.path()).unwrap().lines().count(), 2);
    }

    #[test]
    fn the_last_line_of_an_object_counts_and_resolved_ones_go() {
        let (_directory, features) = report();
        let report = FailureReport::open(&features).unwrap();
        report.record(&failure("a.jpg", Class::Missing)).unwrap();
        report.record(&failure("b.jpg", Class::Missing)).unwrap();
        report.record(&failure("a.jpg", Class::Empty)).unwrap();
        assert_eq!(report.failures().unwrap()["a.jpg"].class, Class::Empty);
        report.tidy(|failure| failure.id == "b.jpg").unwrap();
        let text = fs::read_to_string(report.path()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"empty\""), "{text}");
        report.tidy(|_| true).unwrap();
        assert!(!report.path().exists());
    }

    #[test]
    fn what_other_processes_add_is_new_and_what_was_there_is_not() {
        let (_directory, features) = report();
        let picture = |id: &str| {
            let (size, modified) = (1, 2);
            let file = Some(FileStamp { size, modified });
            Failure {
                file,
                ..failure(id, Class::Truncated)
            }
        };
        let ids = ["a.jpg", "b.jpg", "c.jpg"];
        let first = FailureReport::open(&features).unwrap();
        for id in &ids[..2] {
            first.record(&picture(id)).unwrap();
        }
        let [one, other, third] = [0; 3].map(|_| FailureReport::open(&features).unwrap());
        for report in [&one, &other, &third] {
            assert_eq!(report.failures().unwrap().len(), 2);
        }
        let new = |report: &FailureReport| {
            ids.map(|id| {
                let failure = report
                    .new_failure(&ObjectId::new(IdKind::Name, id).unwrap())
                    .unwrap();
                failure.is_some_and(|failure| failure == picture(id))
            })
        };
        assert_eq!(new(&one), [false; 3]);
        // Tried once more, with the same outcome, and tried for the first time.
        other.record(&picture("a.jpg")).unwrap();
        other.record(&picture("c.jpg")).unwrap();
        assert_eq!(new(&one), [true, false, true]);
        assert_eq!(new(&other), [true, false, true]);
        let lines = || fs::read_to_string(one.path()).unwrap().lines().count();
        assert_eq!(lines(), 4);
        one.record(&picture("a.jpg")).unwrap();
        assert_eq!(lines(), 4, "that is told already");
        // A tidied report is read anew, and what it kept does not become new by that.
        other.tidy(|_| false).unwrap();
        assert_eq!(lines(), 3);
        assert_eq!(new(&one), [true, false, true]);
        assert_eq!(new(&third), [false, false, true]);
    }

    #[test]
    fn a_report_that_was_removed_and_made_anew_is_read_anew() {
        let (_directory, features) = report();
        let [one, other, third] = [0; 3].map(|_| FailureReport::open(&features).unwrap());
        one.record(&failure("a.jpg", Class::Missing)).unwrap();
        other.tidy(|_| true).unwrap();
        // Some file systems give it the inode number of the one before, if that is free; it is longer than that was.
        let long = failure(&"b".repeat(200), Class::Missing);
        third.record(&long).unwrap();
        one.record(&failure("c.jpg", Class::Missing)).unwrap();
        one.tidy(|failure| failure.id != long.id).unwrap();
        let left = FailureReport::read(features.path()).unwrap();
        assert_eq!(left.keys().collect::<Vec<_>>(), [&long.id]);
    }

    #[test]
    fn what_this_process_has_recorded_is_there_at_its_end_whatever_became_of_the_file() {
        let other = serde_json::to_string(&failure("b.jpg", Class::Missing)).unwrap() + "\n";
        for there in [None, Some("".to_owned()), Some(other)] {
            let (_directory, features) = report();
            let report = FailureReport::open(&features).unwrap();
            report.record(&failure("a.jpg", Class::Missing)).unwrap();
            report.record(&failure("c.jpg", Class::Missing)).unwrap();
            let mut expected = vec!["a.jpg"];
            match there {
                None => fs::remove_file(report.path()).unwrap(),
                Some(lines) => {
                    fs::write(report.path(), &lines).unwrap();
                    expected.extend((!lines.is_empty()).then_some("b.jpg"));
                }
            }
            report.tidy(|failure| failure.id == "c.jpg").unwrap();
            let mut left: Vec<String> = FailureReport::read(features.path())
                .unwrap()
                .into_keys()
                .collect();
            left.sort();
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_dropped() {
        let (_directory, features) = report();
        let report = FailureReport::open(&features).unwrap();
        report.record(&failure("a.jpg", Class::Missing)).unwrap();
        let whole = fs::read(report.path()).unwrap();
        fs::write(report.path(), [&whole[..], &whole[..20]].concat()).unwrap();
        report.record(&failure("b.jpg", Class::Missing)).unwrap();
        let again = FailureReport::open(&features).unwrap().failures().unwrap();
        assert_eq!(again.keys().collect::<Vec<_>>(), ["a.jpg", "b.jpg"]);
        assert_eq!(
            fs::read_to_string(report.path()).unwrap().lines().count(),
            2
        );
    }
}
