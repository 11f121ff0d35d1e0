//! The undo list: what was about to be done to each picture, written before the first is touched, and how it is undone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::storage::checksum;
use crate::storage::files::moving::{self, TemporaryCopy, move_to_new};
use crate::storage::files::{FileStamp, complete, is_missing, is_same_file, regular};
use crate::support::hints::concerns_the_run;
use crate::support::progress::Progress;

/// FAT keeps times to two seconds.
const COARSEST_TIME: u64 = 2_000_000_000;

/// What becomes of a picture; a line of the undo list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What is done.
    pub action: ChangeKind,
    /// The picture; absolute, as is the other path.
    pub path: PathBuf,
    /// Where it moves to, or which file of the same bytes its name leads to then.
    pub to: PathBuf,
    /// The media directory that a picture is moved from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_dir: Option<PathBuf>,
    /// Its length in bytes.
    pub size: u64,
    /// The time of its last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// SHA-256 of its bytes, where another file is to stand for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What is done to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It gets another place.
    Move,
    /// Its name becomes another name of a file with the same bytes.
    HardLink,
    /// Its name becomes a symbolic link to a file with the same bytes.
    Symlink,
}

/// A picture that was left as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// What an undo did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Undone {
    /// What was brought back.
    pub undone: Vec<Change>,
    /// How many were in their place already.
    pub in_place: usize,
    /// What could not be brought back.
    pub left: Vec<Left>,
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            ChangeKind::Move => "move",
            ChangeKind::HardLink => "hard-link",
            ChangeKind::Symlink => "symlink",
        };
        write!(
            to,
            "{action} {} to {}",
            self.path.display(),
            self.to.display()
        )
    }
}

impl fmt::Display for Left {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.path.display(), self.why)
    }
}

/// Writes the undo list, complete and durable, as the first of `undo-1.jsonl`, `undo-2.jsonl`, ... that is not there.
pub fn write_list(directory: &Path, changes: &[Change]) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for change in changes {
        serde_json::to_writer(&mut lines, change).with_context(|| {
            // A path that is not UTF-8 text is none of JSON.
            format!("cannot write '{change}' to the undo list; nothing was changed")
        })?;
        lines.push(b'\n');
    }
    let mut number = 1;
    loop {
        let path = directory.join(format!("undo-{number}.jsonl"));
        match complete::create(&path, |file| file.write_all(&lines)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            written => {
                written.with_context(|| {
                    let path = path.display();
                    format!("cannot write the undo list {path}; nothing was changed")
                })?;
                return Ok(path);
            }
        }
    }
}

fn read_list(path: &Path) -> Result<Vec<Change>> {
    let shown = path.display();
    let bytes =
        regular::read(path).with_context(|| format!("cannot read the undo list {shown}"))?;
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty());
    lines
        .map(|(line, number)| {
            serde_json::from_slice(line).with_context(|| {
                format!("line {number} of {shown} is not one of an undo list; nothing was changed")
            })
        })
        .collect()
}

/// Undoes the changes of an undo list, the last first. What is in its place stays as it is, so that it may be done
/// again.
///
/// # Errors
/// When the list cannot be read, and errors that concern the whole run.
pub fn undo(list: &Path, progress: &Progress) -> Result<Undone> {
    let changes = read_list(list)?;
    refuse_without_media_dir(&changes)?;
    let mut done = Undone::default();
    progress.begin(changes.len() as u64);
    for change in changes.into_iter().rev() {
        match change.undo() {
            Ok(true) => done.undone.push(change),
            Ok(false) => done.in_place += 1,
            Err(error) if concerns_the_run(error.as_ref()) => {
                progress.end();
                let path = change.path.display();
                return Err(error.context(format!("cannot bring back {path}")));
            }
            Err(error) => done.left.push(Left {
                path: change.path,
                why: format!("{error:#}"),
            }),
        }
        progress.advance(1);
    }
    progress.end();
    Ok(done)
}

/// The firsts of the groups have stayed in the media directory. Where nothing is there, its disk may not be mounted, and
/// what is brought back would be below the empty folder.
fn refuse_without_media_dir(changes: &[Change]) -> Result<()> {
    let directories = changes
        .iter()
        .filter_map(|change| change.media_dir.as_deref());
    for directory in directories.collect::<BTreeSet<&Path>>() {
        let is_empty = match fs::read_dir(directory) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => is_missing(&error),
        };
        ensure!(
            !is_empty,
            "there is nothing in {}, from where the pictures were moved: is its disk mounted? Nothing was changed; put any \
             file there to bring them back all the same",
            directory.display()
        );
    }
    Ok(())
}

impl Change {
    /// What the picture was before.
    pub fn stamp(&self) -> FileStamp {
        FileStamp {
            size: self.size,
            modified: self.mtime_ns,
        }
    }

    /// Whether there was something to do.
    fn undo(&self) -> Result<bool> {
        moving::remove_leftover(&self.path)?;
        match self.action {
            ChangeKind::Move => self.move_back(),
            ChangeKind::HardLink | ChangeKind::Symlink => self.unlink(),
        }
    }

    fn move_back(&self) -> Result<bool> {
        moving::remove_leftover(&self.to)?;
        let (path, to) = (self.path.display(), self.to.display());
        match (is_there(&self.path)?, is_there(&self.to)?) {
            (true, false) => Ok(false),
            (false, true) if self.is_as_it_was(&self.to)? => {
                move_to_new(&self.to, &self.path, moving::time(self.mtime_ns))?;
                Ok(true)
            }
            (false, true) => bail!(
                "{to} has changed since it was moved there; move it back yourself if you want it"
            ),
            // A kill between the two steps of a move.
            (true, true) if self.is_there_twice()? => {
                moving::remove_moved(&self.to)?;
                Ok(true)
            }
            (true, true) => bail!("something else has its place now; what was moved is {to}"),
            (false, false) => bail!("neither {path} nor {to} is there"),
        }
    }

    /// Puts a file of its own in the place of a link.
    fn unlink(&self) -> Result<bool> {
        let is_there = is_there(&self.path)?;
        // The first of the group may have another name now, or none: a hard link leads to its file all the same.
        let mut from = &self.to;
        if is_there && !self.is_linked()? {
            if self.action == ChangeKind::Symlink || !self.has_time_of_another()? {
                return Ok(false);
            }
            from = &self.path;
        }
        let to = from.display();
        if let Some(folder) = self.path.parent() {
            moving::make_folders(folder)?;
        }
        let copy = TemporaryCopy::make(from, &self.path, moving::time(self.mtime_ns))
            .with_context(|| format!("cannot copy {to}"))?;
        if Some(copy.checksum()?) != self.sha256 {
            bail!("{to} has changed since, and the bytes of this picture are no longer there");
        }
        match is_there {
            true => copy.replace()?,
            false => copy.put_in_new_place()?,
        }
        Ok(true)
    }

    /// Whether the picture has its bytes, and a time that is not its own.
    fn has_time_of_another(&self) -> io::Result<bool> {
        Ok(!self.is_as_it_was(&self.path)? && Some(checksum::of_file(&self.path)?) == self.sha256)
    }

    fn is_as_it_was(&self, path: &Path) -> io::Result<bool> {
        let found = FileStamp::of(&fs::symlink_metadata(path)?);
        let apart = found.modified.abs_diff(self.mtime_ns);
        Ok(found.size == self.size && apart <= COARSEST_TIME)
    }

    /// Whether both names lead to what was moved, and not by one name being the other.
    fn is_there_twice(&self) -> io::Result<bool> {
        Ok(fs::canonicalize(&self.path)? != fs::canonicalize(&self.to)?
            && self.is_as_it_was(&self.path)?
            && self.is_as_it_was(&self.to)?
            && checksum::of_file(&self.path)? == checksum::of_file(&self.to)?)
    }

    /// Whether the picture's name is the link that this change makes.
    fn is_linked(&self) -> io::Result<bool> {
        if self.action == ChangeKind::Symlink {
            let target = fs::read_link(&self.path).ok();
            return Ok(target == Some(relative(&self.path, &self.to)));
        }
        let files = [&self.path, &self.to].map(fs::symlink_metadata);
        let [Ok(one), Ok(other)] = files else {
            return Ok(false);
        };
        Ok(is_same_file(&one, &other)
            && fs::canonicalize(&self.path)? != fs::canonicalize(&self.to)?)
    }
}

fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path from the folder of one file to another one, both absolute: it holds also where the tree above both is
/// moved.
pub fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (from.components().collect(), to.components().collect());
    let pairs = from.iter().zip(&to);
    let common = pairs.take_while(|(one, other)| one == other).count();
    let up = from[common..].iter().skip(1).map(|_| Component::ParentDir);
    up.chain(to[common..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_up_to_what_both_have_in_common_and_down_from_there() {
        for (from, to, expected) in [
            ("/m/a/x", "/m/a/y", "y"),
            ("/m/a/x", "/m/b/y", "../b/y"),
            ("/m/x", "/m/b/c/y", "b/c/y"),
            ("/m/a/b/x", "/m/y", "../../y"),
            ("/m/a/b/x", "/m/a/bc/y", "../bc/y"),
        ] {
            let found = relative(Path::new(from), Path::new(to));
            assert_eq!(found, Path::new(expected), "{from} {to}");
        }
    }
}
