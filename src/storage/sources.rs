//! Which file each feature was made from.
//!
//! A feature is one file with numpy's bytes, so that its source has to be recorded beside it: in `sources.jsonl`, a line for
//! each feature that is made, which all processes of a directory share; and once the feature is packed, in the shard's
//! `NNNN.sources.npy`. A file beside each feature instead would double the files, and extended attributes are lost where
//! features are copied.
//!
//! The line comes before the feature gets its name, and has a checksum of the feature's numbers. It holds for the feature
//! that has this checksum and for no other, so that the two never come apart, whenever a process is killed: a line without
//! its feature says nothing. Where object ids are paths, it also says whose a per-object file is, since the file's name is only a
//! checksum of the path. Like features, lines are not made durable. A power loss can only lose them, and then the
//! source of a feature is not known; nor is its object, where that is a path, and `extract` makes it again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::libc::{EISDIR, ELOOP, O_NOFOLLOW, O_NONBLOCK};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::storage::files::{FileStamp, complete, regular};
use crate::storage::media;
use crate::storage::model_dir::{ModelDir, NestedFiles, PerObjectFile, RecordLock};
use crate::storage::object_id::{IdKind, stem_of_path};
use crate::support::fault;
use crate::support::hints::NotRegular;
use crate::support::mutex::lock;

/// The file that a feature was made from, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The path below the media directory.
    pub path: Box<str>,
    /// Its size and the time of its last change; of a member of a tar, those of the tar.
    pub file: FileStamp,
}

/// What became of the file that a feature was made from.
#[derive(Debug, PartialEq, Eq)]
pub enum FileState {
    /// Nothing.
    Same,
    /// It has another path now, and is otherwise as it was.
    Moved(Source),
    /// It is another one.
    Changed,
    /// It is not there, or cannot be looked at.
    Gone,
}

impl Source {
    /// Compares the file at a listed path with this.
    pub fn compare(&self, media_dir: &Path, entry: &str) -> FileState {
        let path = media_dir.join(entry);
        let Ok(file) = media::stamp(&path) else {
            return FileState::Gone;
        };
        if file != self.file {
            match media::is_gone_from_tar(&path) {
                true => FileState::Gone,
                false => FileState::Changed,
            }
        } else if *self.path != *entry {
            let path = entry.into();
            FileState::Moved(Source { path, file })
        } else {
            FileState::Same
        }
    }
}

/// A feature that was made, or was about to be when its process was killed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// Of which file.
    pub source: Source,
    /// Tells the feature from others of the same object: see [`feature_sum`].
    pub feature_sum: u32,
}

/// CRC-32 of the numbers of a feature as they are in a file, `4 d` bytes.
pub fn feature_sum(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

/// A line of the record.
#[derive(Serialize, Deserialize)]
struct Line {
    path: Box<str>,
    size: u64,
    mtime_ns: i64,
    feature_crc32: u32,
}

/// The record of a directory, `sources.jsonl`: one JSON object a line, added to under a lock.
#[derive(Debug)]
pub struct SourceRecord {
    path: PathBuf,
    /// Keeps processes apart.
    lock: RecordLock,
    /// Keeps the threads of this one apart.
    turn: Mutex<()>,
}

impl SourceRecord {
    /// The name of the record in a model's directory.
    pub const FILE_NAME: &str = "sources.jsonl";

    /// Opens the record of a model's directory; the file is made with the first feature.
    pub fn open(directory: &ModelDir) -> io::Result<Self> {
        Ok(SourceRecord {
            path: directory.path().join(Self::FILE_NAME),
            lock: directory.sources_lock()?,
            turn: Mutex::default(),
        })
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds features that are about to be written, all in one call.
    pub fn add(&self, made: &[Made]) -> io::Result<()> {
        if made.is_empty() {
            return Ok(());
        }
        let _turn = lock(&self.turn);
        let _held = self.lock.hold()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.custom_flags(O_NOFOLLOW | O_NONBLOCK);
        let file = fault::step("open the record of sources", || options.open(&self.path))
            .map_err(in_the_way)?;
        regular::check(&file.metadata()?)?;
        let length = file.metadata()?.len();
        // A line that was cut off when a process was killed is ended, and says nothing.
        let mut lines = match is_cut_off(&file, length)? {
            true => b"\n".to_vec(),
            false => Vec::new(),
        };
        for Made {
            source,
            feature_sum,
        } in made
        {
            let line = Line {
                path: source.path.clone(),
                size: source.file.size,
                mtime_ns: source.file.modified,
                feature_crc32: *feature_sum,
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        fault::step("record the sources", || file.write_all_at(&lines, length))
    }

    /// Removes the features of which `keep` is false from the record, as far as they were in it when `read` was read. Those
    /// that were added since stay.
    pub fn tidy(&self, read: &RecordedSources, keep: impl Fn(&Made) -> bool) -> io::Result<()> {
        let _turn = lock(&self.turn);
        let _held = self.lock.hold()?;
        complete::remove_leftover(&self.path)?;
        let Some(bytes) = read_file(&self.path)? else {
            return Ok(());
        };
        let (before, since) = bytes.split_at(read.length.min(bytes.len()));
        let kept = lines(before).filter(|(_, made)| keep(made));
        let kept = kept.chain(lines(since)).flat_map(|(line, _)| [line, b"\n"]);
        let kept = kept.collect::<Vec<_>>().concat();
        if kept.is_empty() {
            fault::step("remove the record of sources", || {
                fs::remove_file(&self.path)
            })
        } else if kept == bytes {
            Ok(())
        } else {
            complete::write(&self.path, |file| file.write_all(&kept))
        }
    }
}

fn in_the_way(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(ELOOP | EISDIR) => io::Error::other(NotRegular),
        _ => error,
    }
}

fn is_cut_off(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match regular::read_own(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The whole lines, and the feature of each. Lines that a kill or a power loss cut off are none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Made)> {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n');
    whole.filter_map(|line| {
        let line = line.strip_suffix(b"\n")?;
        let parsed: Line = serde_json::from_slice(line).ok()?;
        let file = FileStamp {
            size: parsed.size,
            modified: parsed.mtime_ns,
        };
        let (path, feature_sum) = (parsed.path, parsed.feature_crc32);
        let source = Source { path, file };
        Some((
            line,
            Made {
                source,
                feature_sum,
            },
        ))
    })
}

/// What a record holds: about 100 bytes for each feature, besides the path.
#[derive(Debug, Default)]
pub struct RecordedSources {
    id_kind: IdKind,
    /// In the order of the object ids; those of one object in the order in which they were recorded.
    made: Vec<Made>,
    /// How long the record was, in whole lines.
    length: usize,
}

impl RecordedSources {
    /// Reads the record of a directory whose objects have ids of that kind. Takes no lock.
    ///
    /// What is not packed has to be listed before, and what is packed after: `concat` puts the sources in a shard before it
    /// removes them here.
    pub fn read(directory: &Path, id_kind: IdKind) -> io::Result<Self> {
        let bytes = read_file(&directory.join(SourceRecord::FILE_NAME))?.unwrap_or_default();
        let mut made: Vec<Made> = lines(&bytes).map(|(_, made)| made).collect();
        made.par_sort_by(|one, other| object_id(id_kind, one).cmp(object_id(id_kind, other)));
        Ok(RecordedSources {
            id_kind,
            made,
            // Of a line that is being written there is only the beginning.
            length: memchr::memrchr(b'\n', &bytes).map_or(0, |last| last + 1),
        })
    }

    /// The index of what is recorded of an object's feature that has this checksum; of several, the last.
    pub fn find(&self, id: &str, feature_sum: u32) -> Option<usize> {
        let first = self.made.partition_point(|made| self.id(made) < id);
        let of_object = self.made[first..].iter();
        let of_object = of_object.take_while(|made| self.id(made) == id);
        let (index, _) = (of_object.enumerate())
            .filter(|(_, made)| made.feature_sum == feature_sum)
            .last()?;
        Some(first + index)
    }

    /// What was recorded of an object last, whatever its feature is.
    pub fn last(&self, id: &str) -> Option<&Source> {
        let end = self.made.partition_point(|made| self.id(made) <= id);
        let last = self.made[..end].last()?;
        (self.id(last) == id).then_some(&last.source)
    }

    /// Whether anything is recorded of an object.
    pub fn names(&self, id: &str) -> bool {
        let found = self.made.binary_search_by(|made| self.id(made).cmp(id));
        found.is_ok()
    }

    /// What the object ids are.
    pub fn id_kind(&self) -> IdKind {
        self.id_kind
    }

    /// What is recorded, in the order of the object ids.
    pub fn made(&self) -> &[Made] {
        &self.made
    }

    /// The object that a feature is of.
    fn id<'m>(&self, made: &'m Made) -> &'m str {
        object_id(self.id_kind, made)
    }

    /// Whose the per-object files are, which were listed before this was read.
    pub fn identify<'a>(&'a self, nested: &'a NestedFiles) -> ObjectFiles<'a> {
        let mut found = ObjectFiles::default();
        if self.id_kind == IdKind::Name {
            found.known = nested.paths().map(PerObjectFile::named).collect();
            return found;
        }
        let objects: Vec<&[Made]> = self
            .made
            .chunk_by(|one, other| self.id(one) == self.id(other))
            .collect();
        let by_stem = objects.par_iter();
        let by_stem: HashMap<String, &Made> = by_stem
            .map(|made| (stem_of_path(self.id(&made[0])), &made[0]))
            .collect();
        for path in nested.paths() {
            match by_stem.get(PerObjectFile::named(path).stem()) {
                Some(made) => found.known.push(PerObjectFile::of_path(path, made)),
                None => found.unknown.push(Path::new(path)),
            }
        }
        found.known.par_sort_by_key(PerObjectFile::object_id);
        found
    }
}

/// The per-object files of a directory.
#[derive(Debug, Default)]
pub(crate) struct ObjectFiles<'a> {
    /// In the order in which they are packed: that of their paths where object ids are names, and else that of the ids.
    pub known: Vec<PerObjectFile<'a>>,
    /// Files of which it is not recorded whose they are, where object ids are paths: a power loss has taken the record, or
    /// another program made them.
    pub unknown: Vec<&'a Path>,
}

/// What to say of [`ObjectFiles::unknown`].
pub(crate) const UNKNOWN_OBJECT: &str = "it is not recorded which object it is of; remove it, and `simsearch extract` makes it again if it is needed";

/// The object that a feature is of.
fn object_id(id_kind: IdKind, made: &Made) -> &str {
    id_kind.of_entry(&made.source.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(path: &str, size: u64, feature_sum: u32) -> Made {
        let file = FileStamp {
            size,
            modified: -1_500_000_000,
        };
        let source = Source {
            path: path.into(),
            file,
        };
        Made {
            source,
            feature_sum,
        }
    }

    /// The size of the file that a feature was made from.
    fn size_of(recorded: &RecordedSources, id: &str, feature_sum: u32) -> Option<u64> {
        let index = recorded.find(id, feature_sum)?;
        Some(recorded.made()[index].source.file.size)
    }

    #[test]
    fn a_source_is_that_of_the_feature_it_was_recorded_for_and_the_last_of_several() {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        let [one, other] = [0; 2].map(|_| SourceRecord::open(&features).unwrap());
        one.add(&[made("z/a.jpg", 1, 11), made("b.jpg", 2, 11)])
            .unwrap();
        other.add(&[made("a/a.jpg", 3, 12)]).unwrap();
        // Killed before the feature got its name, and made again.
        one.add(&[made("a/a.jpg", 4, 12)]).unwrap();
        let recorded = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
        for (id, sum, expected) in [
            ("a.jpg", 11, Some(1)),
            ("a.jpg", 12, Some(4)),
            ("a.jpg", 13, None),
            ("b.jpg", 11, Some(2)),
            ("b.jpg", 12, None),
            ("z/a.jpg", 11, None),
            ("c.jpg", 11, None),
        ] {
            assert_eq!(size_of(&recorded, id, sum), expected, "{id} {sum}");
        }
        assert!(recorded.names("a.jpg") && !recorded.names("c.jpg"));
    }

    #[test]
    fn a_line_cut_off_by_a_kill_says_nothing_and_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        let record = SourceRecord::open(&features).unwrap();
        record.add(&[made("a.jpg", 1, 11)]).unwrap();
        let whole = fs::read(record.path()).unwrap();
        for cut in 1..whole.len() {
            fs::write(record.path(), [&whole[..], &whole[..cut]].concat()).unwrap();
            let recorded = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
            assert_eq!(recorded.made().len(), 1);
            record.add(&[made("b.jpg", 2, 12)]).unwrap();
            let recorded = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
            assert_eq!(size_of(&recorded, "b.jpg", 12), Some(2), "{cut}");
            assert_eq!(size_of(&recorded, "a.jpg", 11), Some(1), "{cut}");
        }
        // What a power loss leaves.
        fs::write(record.path(), [&whole[..], &[0; 50]].concat()).unwrap();
        record.add(&[made("b.jpg", 2, 12)]).unwrap();
        let recorded = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
        assert_eq!(recorded.made().len(), 2);
    }

    #[test]
    fn what_was_added_since_it_was_read_stays_when_the_record_is_tidied() {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        let record = SourceRecord::open(&features).unwrap();
        record
            .add(&[made("a.jpg", 1, 11), made("b.jpg", 2, 12)])
            .unwrap();
        let read = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
        record.add(&[made("a.jpg", 3, 11)]).unwrap();
        record
            .tidy(&read, |made| &*made.source.path == "b.jpg")
            .unwrap();
        let left = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
        assert_eq!(size_of(&left, "a.jpg", 11), Some(3));
        assert_eq!(size_of(&left, "b.jpg", 12), Some(2));
        record.tidy(&left, |_| false).unwrap();
        assert!(!record.path().exists());
    }
}
