//! Which file each feature was made from.
//!
//! A feature is one file with numpy's bytes, so that its source has to be recorded beside it: in a record of sources,
//! which has a line for each feature that is made; and once the feature is packed, in the shard's `NNNN.sources.npy`. A
//! file beside each feature instead would double the files, and extended attributes are lost where features are copied.
//!
//! Each run has a record of its own, so that none relies on locks: one that two machines add to, or that one of them
//! replaces meanwhile, loses lines through sshfs, s3fs, rclone, or NFS without locks. While the run lasts, its record
//! is an unfinished file (`Scratch::add_to_record`). At its end, or when the next run finds it left over, it gets a
//! final name, `sources.jsonl` or `sources.<16 digits>.jsonl`, and nobody changes it any more: [`tidy`] writes another
//! one of what is still of use, and removes it.
//!
//! The line comes before the feature gets its name, and has a checksum of the feature's numbers. It holds for the
//! feature that has this checksum and for no other, so that the two never come apart, whenever a process is killed: a
//! line without its feature says nothing. Where object ids are paths, it also says whose a per-object file is, since
//! the file's name is only a checksum of the path. Like features, lines are not made durable. A power loss can only
//! lose them, and then the source of a feature is not known; nor is its object, where that is a path, and `extract`
//! makes it again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::storage::files::{FileStamp, is_missing, is_same_file, regular};
use crate::storage::media;
use crate::storage::model_dir::scratch::{self, SCRATCH, Scratch};
use crate::storage::model_dir::{AtPath, ModelDir, NestedFiles, PerObjectFile};
use crate::storage::object_id::{IdKind, stem_of_path};
use crate::support::fault;

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
    /// It has another path now, is otherwise as it was, and is no longer where it was.
    Moved(Source),
    /// It is another one.
    Changed,
    /// It is not there.
    Gone,
    /// It cannot be looked at.
    Unknown,
}

impl Source {
    /// Compares the file at a listed path with this.
    pub fn compare(&self, media_dir: &Path, entry: &str) -> FileState {
        let path = media_dir.join(entry);
        let file = match media::stamp(&path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return FileState::Gone,
            Err(_) => return FileState::Unknown,
        };
        if file != self.file {
            match media::is_in_tar(&path) && media::is_gone(&path).unwrap_or(false) {
                true => FileState::Gone,
                false => FileState::Changed,
            }
        } else if *self.path == *entry {
            FileState::Same
        } else if has_left(&media_dir.join(&*self.path), &path) {
            let path = entry.into();
            FileState::Moved(Source { path, file })
        } else {
            FileState::Changed
        }
    }
}

/// Whether a file is no longer at its old path, or what is there is the same one: then it may be at the new path. Several
/// pictures of one name, size and time are not rare: frames that were unpacked from an archive, members of one tar.
fn has_left(old: &Path, new: &Path) -> bool {
    match media::is_gone(old) {
        Ok(true) => true,
        Ok(false) => match (fs::metadata(old), fs::metadata(new)) {
            (Ok(old), Ok(new)) => is_same_file(&old, &new),
            _ => false,
        },
        Err(_) => false,
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

/// Records features that this run is about to write.
pub fn record(scratch: &Scratch, made: &[Made]) -> io::Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
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
    scratch.add_to_record(&lines)
}

/// Removes the features of which `keep` is false from the finished records that were there when `read` was read, and
/// makes one of them. Only who packs does this.
pub fn tidy(
    directory: &ModelDir,
    read: &RecordedSources,
    keep: impl Fn(&Made) -> bool,
) -> io::Result<()> {
    let mut records = Vec::new();
    for path in &read.finished {
        let path = directory.path().join(path);
        if let Some(bytes) = read_file(&path)? {
            records.push((path, bytes));
        }
    }
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (line, made) in records.iter().flat_map(|(_, bytes)| lines(bytes)) {
        // A kill in the middle of what follows leaves lines twice.
        if keep(&made) && seen.insert(line) {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    if matches!(&records[..], [(_, bytes)] if *bytes == kept) {
        return Ok(());
    }
    if !kept.is_empty() {
        let scratch = directory.scratch()?;
        scratch.add_to_record(&kept)?;
        scratch.finish_record()?;
        directory.sync()?;
    }
    for (path, _) in records {
        match fault::step("remove a record of sources", || fs::remove_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The records of a directory, and what tells whether one has changed.
pub fn records(directory: &Path) -> io::Result<Vec<(PathBuf, FileStamp)>> {
    let mut records = list(directory, Stage::Unfinished)?;
    records.extend(list(directory, Stage::Finished)?);
    Ok(records)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unfinished,
    Finished,
}

/// The records of one kind, by their paths below the directory; the one that was changed last comes last.
fn list(directory: &Path, stage: Stage) -> io::Result<Vec<(PathBuf, FileStamp)>> {
    let (folder, is_one): (_, fn(&str) -> bool) = match stage {
        Stage::Unfinished => (SCRATCH, scratch::is_unfinished_record),
        Stage::Finished => ("", scratch::is_record),
    };
    let path = directory.join(folder);
    let mut records = Vec::new();
    // If something else is in its place, the next run that writes says so.
    if stage == Stage::Unfinished && !fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
        return Ok(records);
    }
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_one)
            && let Ok(metadata) = entry.metadata()
        {
            let path = Path::new(folder).join(entry.file_name());
            records.push((path, FileStamp::of(&metadata)));
        }
    }
    records.sort_by_key(|(_, stamp)| stamp.modified);
    Ok(records)
}

/// Gives the bytes of each record of one kind to `take`; returns their paths. None where one was removed meanwhile:
/// another one has its lines.
fn read_records(
    directory: &Path,
    stage: Stage,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<Option<Vec<PathBuf>>> {
    let mut paths = Vec::new();
    for (path, _) in list(directory, stage)? {
        match read_file(&directory.join(&path))? {
            Some(bytes) => take(&bytes),
            None => return Ok(None),
        }
        paths.push(path);
    }
    Ok(Some(paths))
}

/// How many whole lines of the finished records say nothing.
pub fn unreadable_lines(directory: &Path) -> io::Result<usize> {
    let mut unreadable = 0;
    let mut take = |bytes: &[u8]| {
        let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
        unreadable += whole - lines(bytes).count();
    };
    read_records(directory, Stage::Finished, &mut take)?;
    Ok(unreadable)
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match regular::read_own(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let path = path.to_owned();
            Err(io::Error::other(AtPath { path, source }))
        }
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
    /// The finished records that were read.
    finished: Vec<PathBuf>,
    /// The same, read once more where that was needed: not for each of a thousand features.
    again: OnceLock<Box<RecordedSources>>,
}

impl RecordedSources {
    /// Reads the records of a directory whose objects have ids of that kind. Takes no lock.
    ///
    /// What is not packed has to be listed before, and what is packed after: `concat` puts the sources in a shard
    /// before it removes them here.
    pub fn read(directory: &Path, id_kind: IdKind) -> io::Result<Self> {
        Self::read_some(directory, id_kind, |_| true)
    }

    /// The same of the features that are wanted.
    pub fn read_some(
        directory: &Path,
        id_kind: IdKind,
        is_wanted: impl Fn(&Made) -> bool,
    ) -> io::Result<Self> {
        let wanted = |bytes: &[u8], made: &mut Vec<Made>| {
            let recorded = lines(bytes).map(|(_, made)| made);
            made.extend(recorded.filter(|made| is_wanted(made)));
        };
        let (mut made, unfinished, finished) = loop {
            let (mut made, mut unfinished) = (Vec::new(), Vec::new());
            // In this order: a record that gets its final name meanwhile is read then.
            let mut take = |bytes: &[u8]| wanted(bytes, &mut unfinished);
            let is_read = read_records(directory, Stage::Unfinished, &mut take)?.is_some();
            let mut take = |bytes: &[u8]| wanted(bytes, &mut made);
            let finished = read_records(directory, Stage::Finished, &mut take)?;
            if let (true, Some(finished)) = (is_read, finished) {
                break (made, unfinished, finished);
            }
        };
        made.extend(unfinished);
        Ok(RecordedSources {
            finished,
            ..Self::of(made, id_kind)
        })
    }

    /// What is to be recorded of features whose objects have ids of that kind, and is in no file.
    pub fn of(mut made: Vec<Made>, id_kind: IdKind) -> Self {
        made.par_sort_by(|one, other| object_id(id_kind, one).cmp(object_id(id_kind, other)));
        RecordedSources {
            id_kind,
            made,
            finished: Vec::new(),
            again: OnceLock::new(),
        }
    }

    /// The file that an object's feature with this checksum was made from, where that is recorded.
    pub fn find(&self, id: &str, feature_sum: u32) -> Option<&Source> {
        let index = self.find_index(id, feature_sum)?;
        Some(&self.made[index].source)
    }

    /// The index of what is recorded of an object's feature that has this checksum; of several, the last.
    pub fn find_index(&self, id: &str, feature_sum: u32) -> Option<usize> {
        let first = self.made.partition_point(|made| self.id(made) < id);
        let of_object = self.made[first..].iter();
        let of_object = of_object.take_while(|made| self.id(made) == id);
        let (index, _) = (of_object.enumerate())
            .filter(|(_, made)| made.feature_sum == feature_sum)
            .last()?;
        Some(first + index)
    }

    /// Whether other features of an object are recorded, and not the one with this checksum, also by now: another
    /// process may have made it since this was read.
    pub(crate) fn rules_out(&self, directory: &ModelDir, id: &str, sum: u32) -> io::Result<bool> {
        if !self.names(id) || self.find(id, sum).is_some() {
            return Ok(false);
        }
        let again = match self.again.get() {
            Some(again) => again,
            None => {
                let again = Box::new(Self::read(directory.path(), self.id_kind)?);
                self.again.get_or_init(|| again)
            }
        };
        Ok(again.find(id, sum).is_none())
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
    /// Files of which it is not recorded whose they are, where object ids are paths: a power loss has taken the record,
    /// or another program made them.
    pub unknown: Vec<&'a Path>,
}

/// What to say of [`ObjectFiles::unknown`].
pub(crate) const UNKNOWN_OBJECT: &str = "it is not recorded which object it is of; remove it, and `simsearch extract` makes it again if it is needed";

/// What to say of a feature where others of its object are recorded, and it is not.
pub(crate) const NOT_RECORDED: &str = "it is not the feature that was recorded: it is damaged, or another program made it; `simsearch extract` makes it again";

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
        Some(recorded.find(id, feature_sum)?.file.size)
    }

    #[test]
    fn a_source_is_that_of_the_feature_it_was_recorded_for_and_the_last_of_several() {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        let [one, other] = [0; 2].map(|_| features.scratch().unwrap());
        record(&other, &[made("a/a.jpg", 3, 12)]).unwrap();
        // Killed before the feature got its name, and made again.
        drop(other);
        record(&one, &[made("z/a.jpg", 1, 11), made("b.jpg", 2, 11)]).unwrap();
        record(&one, &[made("a/a.jpg", 4, 12)]).unwrap();
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
        record(&features.scratch().unwrap(), &[made("a.jpg", 1, 11)]).unwrap();
        record(&features.scratch().unwrap(), &[made("b.jpg", 2, 12)]).unwrap();
        let path = directory.path().join("sources.jsonl");
        let whole = fs::read(&path).unwrap();
        // The last is what a power loss leaves.
        let cut = (1..whole.len()).map(|cut| whole[..cut].to_vec());
        for end in cut.chain([vec![0; 50]]) {
            fs::write(&path, [&whole[..], &end].concat()).unwrap();
            let recorded = RecordedSources::read(directory.path(), IdKind::Name).unwrap();
            assert_eq!(recorded.made().len(), 2, "{end:?}");
            assert_eq!(size_of(&recorded, "b.jpg", 12), Some(2), "{end:?}");
            assert_eq!(size_of(&recorded, "a.jpg", 11), Some(1), "{end:?}");
        }
        tidy(&features, &read(&features), |_| true).unwrap();
        let records = records(directory.path()).unwrap();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(read(&features).made().len(), 2);
    }

    fn read(features: &ModelDir) -> RecordedSources {
        RecordedSources::read(features.path(), IdKind::Name).unwrap()
    }

    #[test]
    fn what_was_added_since_it_was_read_stays_when_the_records_are_tidied() {
        let directory = tempfile::tempdir().unwrap();
        let features = ModelDir::create(directory.path()).unwrap();
        let [ended, goes_on, ends] = [0; 3].map(|_| features.scratch().unwrap());
        record(&ended, &[made("a.jpg", 1, 11), made("b.jpg", 2, 12)]).unwrap();
        drop(ended);
        record(&goes_on, &[made("c.jpg", 1, 13)]).unwrap();
        record(&ends, &[made("d.jpg", 1, 14)]).unwrap();
        let before = read(&features);
        record(&goes_on, &[made("e.jpg", 1, 15)]).unwrap();
        record(&ends, &[made("f.jpg", 1, 16)]).unwrap();
        drop(ends);
        tidy(&features, &before, |made| &*made.source.path == "b.jpg").unwrap();
        let left = |features| {
            let paths = read(features).made.into_iter();
            paths.map(|made| made.source.path).collect::<Vec<_>>()
        };
        let expected = ["b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"].map(Box::from);
        assert_eq!(left(&features), expected);
        let wanted = |made: &Made| ["b.jpg", "e.jpg"].contains(&&*made.source.path);
        let some = RecordedSources::read_some(features.path(), IdKind::Name, wanted).unwrap();
        let some = some.made.into_iter().map(|made| made.source.path);
        assert_eq!(some.collect::<Vec<_>>(), ["b.jpg", "e.jpg"].map(Box::from));
        drop(goes_on);
        assert_eq!(left(&features), expected);
        tidy(&features, &read(&features), |made| &*made.source.path > "d").unwrap();
        assert_eq!(left(&features), expected[2..]);
        tidy(&features, &read(&features), |_| false).unwrap();
        assert_eq!(records(directory.path()).unwrap(), []);
    }
}
