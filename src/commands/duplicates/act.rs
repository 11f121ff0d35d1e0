//! What is done to the members of groups that are not the first: they are moved, or their names become links to the
//! first.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::undo::{Change, ChangeKind, Left, relative, write_list};
use super::{Duplicates, Group, Member, Options};
use crate::storage::checksum;
use crate::storage::files::moving::{self, move_to_new, replace_by_link};
use crate::storage::files::{FileStamp, is_same_file};
use crate::storage::media::is_in_tar;
use crate::support::hints::concerns_the_run;
use crate::support::progress::Progress;
use crate::support::usage::WrongUsage;

/// What to do to all members of a group but the first.
#[derive(Clone, Debug)]
pub enum Action {
    /// Move them below this directory, into the folders that they are in below the media directory.
    MoveTo(PathBuf),
    /// Make those that have the bytes of the first another name of its file.
    HardLink,
    /// Make those that have the bytes of the first a symbolic link to it.
    Symlink,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Acted {
    /// What was done, or would be.
    pub changes: Vec<Change>,
    /// What was left though it is a duplicate.
    pub left: Vec<Left>,
    /// Members that a link cannot stand for: their bytes are not those of the first.
    pub other_bytes: usize,
    /// Members that are other names of the first's own file, or links to it.
    pub same_file: usize,
    /// How to undo it; none where nothing was to be done, or nothing is done yet.
    pub undo_list: Option<PathBuf>,
}

/// Does something to all members of the groups but the first of each, or with `dry_run` says what that would be.
/// Nothing is done to a picture that is not as it was when its feature was made, nor to a group whose first is not. The
/// undo list is written to the model's directory before the first change. `options` are those that the groups were
/// found with.
///
/// # Errors
/// When the undo list cannot be written, and errors that concern all pictures. What is about one is told in the result.
pub fn act(
    found: &Duplicates,
    options: &Options,
    action: &Action,
    dry_run: bool,
    progress: &Progress,
) -> Result<Acted> {
    let (media_dir, _) = (options.media.as_ref()).ok_or_else(|| {
        WrongUsage(
            "what is done to pictures needs to know where they are: --media-dir must say it".into(),
        )
    })?;
    let mut plan = Plan::new(action, media_dir, &options.directory)?;
    progress.begin(found.groups.len() as u64);
    for group in &found.groups {
        plan.add(group);
        progress.advance(1);
    }
    progress.end();
    let Plan {
        planned, mut acted, ..
    } = plan;
    let changes = planned.iter().map(|planned| planned.change.clone());
    let changes: Vec<Change> = changes.collect();
    if dry_run || changes.is_empty() {
        acted.changes = changes;
        return Ok(acted);
    }
    let undo_list = write_list(&options.directory, &changes)?;
    progress.begin(planned.len() as u64);
    for planned in planned {
        let change = planned.change.clone();
        match planned.make() {
            Ok(()) => acted.changes.push(change),
            Err(error) if concerns_the_run(&error) => {
                progress.end();
                let (path, undo_list) = (change.path.display(), undo_list.display());
                return Err(error).with_context(|| {
                    format!(
                        "cannot {change}; {} before {path} are done, and `simsearch duplicates --undo {undo_list}` brings them back",
                        acted.changes.len()
                    )
                });
            }
            Err(error) => acted.leave(change.path, error.to_string()),
        }
        progress.advance(1);
    }
    progress.end();
    acted.undo_list = Some(undo_list);
    Ok(acted)
}

impl Acted {
    fn leave(&mut self, path: PathBuf, why: impl Into<String>) {
        let why = why.into();
        self.left.push(Left { path, why });
    }
}

/// A change, and what the file was that it leads to, where it is a link.
struct Planned {
    change: Change,
    kept: FileStamp,
}

struct Plan<'a> {
    action: &'a Action,
    /// The media directory, absolute and without links.
    media_dir: PathBuf,
    /// Where they move to, the same.
    move_to: PathBuf,
    planned: Vec<Planned>,
    acted: Acted,
}

impl<'a> Plan<'a> {
    fn new(action: &'a Action, media_dir: &Path, features: &Path) -> Result<Self> {
        let media_dir = fs::canonicalize(media_dir)
            .with_context(|| format!("cannot find the pictures in {}", media_dir.display()))?;
        let mut move_to = PathBuf::new();
        if let Action::MoveTo(directory) = action {
            move_to = without_links(directory)?;
            // What is there is seen here, before the undo list is written, or else a folder can be made.
            let there = move_to.ancestors().find(|above| above.exists());
            if let Some(file) = there.filter(|there| !there.is_dir()) {
                bail!(
                    "cannot move pictures to {}: {} is a file; name a directory, which is made where it is missing",
                    directory.display(),
                    file.display()
                );
            }
            ensure!(
                !move_to.starts_with(&media_dir),
                "{} is inside the media directory, where `simsearch list` would find the pictures again; name a directory outside of {}",
                directory.display(),
                media_dir.display()
            );
            let features = without_links(features)?;
            ensure!(
                !move_to.starts_with(&features),
                "{} is inside the directory of features, which people remove to begin anew; name a directory outside of {}",
                directory.display(),
                features.display()
            );
        }
        Ok(Plan {
            action,
            media_dir,
            move_to,
            planned: Vec::new(),
            acted: Acted::default(),
        })
    }

    /// Plans what becomes of a group.
    fn add(&mut self, group: &Group) {
        let mut kept = match self.kept(group) {
            Some(Ok(kept)) => kept,
            Some(Err((path, why))) => {
                let why = format!("{why}; nothing is done to the others of its group");
                return self.acted.leave(path, why);
            }
            None => return,
        };
        for member in &group.members {
            let Some(path) = self.path(member) else {
                continue;
            };
            // The first itself, a link that was made before, or another way to the same file.
            if fs::metadata(&path).is_ok_and(|metadata| is_same_file(&metadata, &kept.metadata)) {
                self.acted.same_file += usize::from(path != kept.path);
                continue;
            }
            let planned = match look(member, &path) {
                Ok(metadata) => self.change(&path, &metadata, &mut kept),
                Err(Some(why)) => Err(why.to_owned()),
                // It was moved before.
                Err(None) => continue,
            };
            match planned {
                Ok(Some(change)) => self.planned.push(Planned {
                    change,
                    kept: FileStamp::of(&kept.metadata),
                }),
                Ok(None) => self.acted.other_bytes += 1,
                Err(why) => self.acted.leave(path, why),
            }
        }
    }

    /// The first of a group, by the name under which its feature was made: what was linked to it before has its time
    /// and size, and may come first now. Or why it is left.
    fn kept(&self, group: &Group) -> Option<Result<Kept, (PathBuf, &'static str)>> {
        let members = group.members.iter();
        let mut members = members.filter_map(|member| Some((member, self.path(member)?)));
        let (best, path) = members.next()?;
        let why = match look(best, &path) {
            Ok(metadata) => return Some(Ok(Kept::new(path, metadata))),
            Err(why) => why.unwrap_or("it is gone"),
        };
        let file = fs::metadata(&path).ok();
        let other_name = members.find_map(|(member, path)| {
            let metadata = look(member, &path).ok()?;
            let is_same = is_same_file(&metadata, file.as_ref()?);
            is_same.then(|| Kept::new(path, metadata))
        });
        Some(other_name.ok_or((path, why)))
    }

    fn path(&self, member: &Member) -> Option<PathBuf> {
        // Collected from its parts, without `./`.
        let entry: PathBuf = Path::new(member.path.as_ref()?)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        Some(self.media_dir.join(entry))
    }

    /// What becomes of one picture; `None` where its bytes are others than those of the first. Or why it is left.
    fn change(
        &self,
        path: &Path,
        metadata: &Metadata,
        kept: &mut Kept,
    ) -> Result<Option<Change>, String> {
        let FileStamp { size, modified } = FileStamp::of(metadata);
        let change = |action, to: &Path, sha256| {
            Ok(Some(Change {
                action,
                path: path.to_owned(),
                to: to.to_owned(),
                media_dir: (action == ChangeKind::Move).then(|| self.media_dir.clone()),
                size,
                mtime_ns: modified,
                sha256,
            }))
        };
        let action = match self.action {
            Action::MoveTo(_) => {
                let below = path.strip_prefix(&self.media_dir);
                let to = self.move_to.join(below.map_err(|error| error.to_string())?);
                return match fs::symlink_metadata(&to) {
                    // A folder has the name of the media directory.
                    _ if to.starts_with(&self.media_dir) => {
                        Err(format!("{} is inside the media directory", to.display()))
                    }
                    Ok(_) => Err(format!("{} is there already", to.display())),
                    Err(_) => change(ChangeKind::Move, &to, None),
                };
            }
            Action::HardLink => ChangeKind::HardLink,
            Action::Symlink => ChangeKind::Symlink,
        };
        if size != kept.metadata.len() {
            return Ok(None);
        }
        let sum = checksum::of_file(path).map_err(|error| error.to_string())?;
        if sum != kept.checksum()? {
            return Ok(None);
        }
        let rights = |metadata: &Metadata| (metadata.uid(), metadata.gid(), metadata.mode());
        let first = kept.path.display();
        if rights(metadata) != rights(&kept.metadata) {
            return Err(format!(
                "its owner or mode is not that of {first}, which a link would give it"
            ));
        }
        if action == ChangeKind::HardLink && metadata.dev() != kept.metadata.dev() {
            return Err(format!(
                "{first} is on another file system; --symlink leads there"
            ));
        }
        change(action, &kept.path, Some(sum))
    }
}

/// The first member of a group.
struct Kept {
    path: PathBuf,
    metadata: Metadata,
    sha256: Option<String>,
}

impl Kept {
    fn new(path: PathBuf, metadata: Metadata) -> Self {
        Kept {
            path,
            metadata,
            sha256: None,
        }
    }

    fn checksum(&mut self) -> Result<&str, String> {
        if self.sha256.is_none() {
            let sum = checksum::of_file(&self.path);
            let sum = sum.map_err(|error| format!("{}: {error}", self.path.display()))?;
            self.sha256 = Some(sum);
        }
        Ok(self.sha256.as_deref().unwrap_or_default())
    }
}

/// Looks whether a picture is as it was when its feature was made.
///
/// # Errors
/// Why it is not to be touched; `None` where it is gone.
fn look(member: &Member, path: &Path) -> Result<Metadata, Option<&'static str>> {
    if is_in_tar(path) {
        return Err(Some(
            "it is a member of a tar, and tars are left as they are",
        ));
    }
    let metadata = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => None,
        _ => Some("it cannot be looked at"),
    })?;
    if !metadata.is_file() {
        return Err(Some("it is a link, or no file"));
    }
    if fs::canonicalize(path).ok().as_deref() != Some(path) {
        return Err(Some("a link leads to its folder"));
    }
    match member.made_from {
        None => Err(Some(
            "it is not recorded which file its feature was made from; extract into another --feature-dir",
        )),
        Some(stamp) if stamp != FileStamp::of(&metadata) => Err(Some(
            "it has changed since its feature was made; run `simsearch extract` and look again",
        )),
        Some(_) => Ok(metadata),
    }
}

impl Planned {
    /// Does it, if nothing has changed since it was planned.
    fn make(self) -> io::Result<()> {
        let Planned { change, kept } = self;
        let is = |path: &Path, stamp| {
            Ok::<_, io::Error>(FileStamp::of(&fs::symlink_metadata(path)?) == stamp)
        };
        let is_unchanged = || is(&change.path, change.stamp());
        if !is_unchanged()? {
            return Err(io::Error::other("it has changed meanwhile"));
        }
        if change.action == ChangeKind::Move {
            return move_to_new(&change.path, &change.to, moving::time(change.mtime_ns));
        }
        let make = |name: &Path| match change.action {
            ChangeKind::HardLink => fs::hard_link(&change.to, name),
            _ => symlink(relative(&change.path, &change.to), name),
        };
        replace_by_link(&change.path, make, || {
            Ok(is_unchanged()? && is(&change.to, kept)?)
        })
    }
}

/// An absolute path without links, of which the last folders need not be there.
fn without_links(directory: &Path) -> Result<PathBuf> {
    let directory = std::path::absolute(directory)?;
    for above in directory.ancestors() {
        if let Ok(found) = fs::canonicalize(above) {
            let missing = directory.strip_prefix(above)?;
            if missing
                .components()
                .any(|part| part == Component::ParentDir)
            {
                break;
            }
            return Ok(found.components().chain(missing.components()).collect());
        }
    }
    bail!(
        "cannot tell where {} is; name it without `..`",
        directory.display()
    )
}
