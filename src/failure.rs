//! Why one object failed, and the report of all that did.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use nix::libc::{EISDIR, ELOOP, O_NOFOLLOW};
use serde::{Deserialize, Serialize};

use crate::complete_file;
use crate::fault;
use crate::feature_dir::{FeatureDir, ReportLock};
use crate::regular_file::{self, NotRegular, is_not_regular};

/// Where on its way an object failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its line in `objects.txt`.
    List,
    /// Reading the file.
    Read,
    /// From bytes to pixels.
    Decode,
    /// The model.
    Run,
    /// Writing the feature.
    Write,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The entry is no usable path or its name no usable object id.
    BadEntry,
    /// There is no such file.
    Missing,
    /// The file may not be read, or not be written.
    Denied,
    /// Something other than a regular file stands there.
    NotAFile,
    /// The file is empty.
    Empty,
    /// The content is of no known picture format.
    NotAPicture,
    /// The picture is of a kind that is not supported.
    Unsupported,
    /// The picture ends too early.
    Truncated,
    /// The picture is damaged.
    Corrupt,
    /// The picture has more pixels than the limit allows.
    TooLarge,
    /// There was too little memory to decode the picture.
    OutOfMemory,
    /// The model gave numbers that are not finite, or refused the input.
    Model,
    /// Any other error of the operating system.
    Io,
}

/// As it stands in the report.
impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl Class {
    /// Whether trying again cannot help as long as the file stays as it is. (A picture that is too large can be
    /// read with a higher limit, and is refused at no cost.)
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Class::BadEntry
                | Class::Empty
                | Class::NotAPicture
                | Class::Unsupported
                | Class::Truncated
                | Class::Corrupt
        )
    }

    /// The class of an error of the operating system.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            _ if is_not_regular(error) => Class::NotAFile,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Class::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Class::Denied,
            io::ErrorKind::IsADirectory => Class::NotAFile,
            io::ErrorKind::OutOfMemory => Class::OutOfMemory,
            _ => Class::Io,
        }
    }
}

/// One object's failure: a line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The object id, or the whole entry where that is no usable id.
    pub id: String,
    /// The entry of `objects.txt`.
    pub path: String,
    /// Where it failed.
    pub stage: Stage,
    /// What kind of failure it is.
    pub class: Class,
    /// For people.
    pub message: String,
    /// The file that failed, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStamp>,
}

/// Tells whether a file is still the one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified: i64,
}

impl FileStamp {
    /// The stamp of the file that `metadata` describes.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        FileStamp {
            size: metadata.len(),
            modified,
        }
    }
}

impl Failure {
    /// Whether trying again cannot help: the class is permanent and the file is the one that failed.
    pub fn stands(&self, media_file: &Path) -> bool {
        let now = fs::metadata(media_file)
            .ok()
            .map(|metadata| FileStamp::of(&metadata));
        self.class.is_permanent() && (self.class == Class::BadEntry || self.file == now)
    }

    fn says_the_same(&self, other: &Failure) -> bool {
        (self.class, self.stage, self.file) == (other.class, other.stage, other.file)
    }
}

/// The failures of a directory: `failures.jsonl`, one JSON object a line, shared by all processes that work there.
///
/// Lines are added one at a time under a lock; the last line of an id counts. [`FailureReport::tidy`] leaves one line
/// an object. A line that was cut off when a process was killed is dropped by the next that writes.
#[derive(Debug)]
pub struct FailureReport {
    path: PathBuf,
    lock: ReportLock,
    known: Mutex<Known>,
}

/// What this process has read of the file so far.
#[derive(Debug, Default)]
struct Known {
    /// Inode and length of what was read.
    file: Option<(u64, u64)>,
    failures: IndexMap<String, Failure>,
    /// Lines that a tidy report would not have.
    superfluous: bool,
}

impl FailureReport {
    /// The name of the report in a model's directory.
    pub const FILE_NAME: &str = "failures.jsonl";

    /// Opens the report of a model's directory; the file is made with the first failure.
    pub fn open(directory: &FeatureDir) -> io::Result<Self> {
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
        match regular_file::read(&directory.join(Self::FILE_NAME)) {
            // A last line that another process is just writing is not there yet.
            Ok(bytes) => {
                take_lines(&bytes, &mut failures);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(failures)
    }

    /// Where the report is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All failures, by object id, in the order in which they were first met.
    pub fn failures(&self) -> io::Result<IndexMap<String, Failure>> {
        let mut known = self.known();
        let _held = self.lock.hold()?;
        known.catch_up(&self.path)?;
        Ok(known.failures.clone())
    }

    /// Adds a failure, unless the same class stands there for the same object already.
    pub fn record(&self, failure: &Failure) -> io::Result<()> {
        let mut known = self.known();
        let _held = self.lock.hold()?;
        let mut file = known.catch_up(&self.path)?;
        if known
            .failures
            .get(&failure.id)
            .is_some_and(|there| there.says_the_same(failure))
        {
            return Ok(());
        }
        let mut line = serde_json::to_vec(failure)?;
        line.push(b'\n');
        if file.is_none() {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create_new(true)
                .custom_flags(O_NOFOLLOW);
            let made = fault::step("create the report", || options.open(&self.path))?;
            known.file = Some((made.metadata()?.ino(), 0));
            file = Some(made);
        }
        if let (Some(file), Some((_, length))) = (file, &mut known.file) {
            fault::step("add a failure", || file.write_all_at(&line, *length))?;
            *length += line.len() as u64;
        }
        known.superfluous |= known
            .failures
            .insert(failure.id.clone(), failure.clone())
            .is_some();
        Ok(())
    }

    /// Leaves one line for each object that failed last time, and none for those of which `resolved` is true.
    pub fn tidy(&self, resolved: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut known = self.known();
        let _held = self.lock.hold()?;
        known.catch_up(&self.path)?;
        let before = known.failures.len();
        known.failures.retain(|id, _| !resolved(id));
        if known.failures.is_empty() {
            // Also an empty one, of a process that was killed before it had written the first line.
            match fault::step("remove the report", || fs::remove_file(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            complete_file::remove_leftover(&self.path)?;
        } else if !known.superfluous && known.failures.len() == before {
            return complete_file::remove_leftover(&self.path);
        } else {
            complete_file::write(&self.path, |file| {
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

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Reads what others have added; returns the file, if there is one, with a cut-off last line removed.
    fn catch_up(&mut self, path: &Path) -> io::Result<Option<File>> {
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NOFOLLOW)
            .open(path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Known::default();
                return Ok(None);
            }
            Err(error) if matches!(error.raw_os_error(), Some(ELOOP | EISDIR)) => {
                return Err(io::Error::other(NotRegular));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        regular_file::check(&metadata)?;
        let read = match self.file {
            Some((inode, length)) if inode == metadata.ino() && length <= metadata.len() => length,
            _ => {
                *self = Known::default();
                0
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
        self.superfluous |= take_lines(&added[..whole], &mut self.failures);
        self.file = Some((metadata.ino(), read + whole as u64));
        Ok(Some(file))
    }
}

/// Takes failures from lines of a report; returns whether there are lines that a tidy one would not have.
fn take_lines(bytes: &[u8], failures: &mut IndexMap<String, Failure>) -> bool {
    let mut superfluous = false;
    let lines = bytes.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Failure>(line) {
            Ok(failure) => superfluous |= failures.insert(failure.id.clone(), failure).is_some(),
            // Torn by a power loss: the object has no feature, so that it is tried again.
            Err(_) => superfluous = true,
        }
    }
    superfluous
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn report() -> (tempfile::TempDir, FeatureDir) {
        let directory = tempfile::tempdir().unwrap();
        let features = FeatureDir::create(directory.path()).unwrap();
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
        report.tidy(|id| id == "b.jpg").unwrap();
        let text = fs::read_to_string(report.path()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"empty\""), "{text}");
        report.tidy(|_| true).unwrap();
        assert!(!report.path().exists());
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
