//! The walk over a media tree, and over the tar files in it.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use ignore::gitignore::Gitignore;
use rayon::prelude::*;
use walkdir::WalkDir;

use super::found::WalkResult;
use super::{Options, exclude, is_hidden};
use crate::storage::files::regular;
use crate::storage::model_dir::CLAIMS;
use crate::storage::object_id::file_name;
use crate::storage::output::Output;
use crate::storage::tar::{self, Damage, Kind, Members, is_tar_name};
use crate::support::hints::concerns_the_run;

/// Walks a media tree.
pub struct Walk<'a> {
    options: &'a Options,
    exclude: Gitignore,
    /// How many bytes of a path are those of the media directory.
    prefix: usize,
    /// Whether to note the folders that are walked.
    pub notes_folders: bool,
}

impl<'a> Walk<'a> {
    pub fn new(options: &'a Options) -> Result<Self> {
        Ok(Walk {
            options,
            exclude: exclude(options)?,
            // With a slash after it, unless it has one or is empty.
            prefix: options.media_dir.join("").as_os_str().len(),
            notes_folders: false,
        })
    }

    /// Walks the tree below `start`, a path relative to the media directory, and the tar files in it.
    pub fn below(&self, start: &Path) -> Result<WalkResult> {
        let mut found = self.tree(start)?;
        tar::forget_unreadable();
        // Those of one folder are as much work as many folders.
        let members: Vec<Result<WalkResult>> = (found.tars.par_iter())
            .map(|path| self.members(path))
            .collect();
        for members in members {
            found.append(members?);
        }
        Ok(found)
    }

    fn tree(&self, start: &Path) -> Result<WalkResult> {
        let options = self.options;
        let root = options.media_dir.join(start);
        if !start.as_os_str().is_empty() && root.is_symlink() && !options.follow_links {
            bail!(
                "{} is a symbolic link; --follow-links walks where it leads",
                root.display()
            );
        }
        // A `read_dir` of its own: the walk would take an unreadable root for one of many directories.
        let reading = || format!("cannot read {}", root.display());
        let top = fs::read_dir(&root).with_context(reading)?;
        if options.follow_links {
            // One walk from the top: only it sees every loop.
            return self.one(&root);
        }
        let mut found = WalkResult::default();
        if self.notes_folders {
            found.folders.push(root.clone());
        }
        let mut directories = Vec::new();
        for entry in top {
            let entry = entry.with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            if self.leaves_out(&entry.path(), kind, &mut found) {
                continue;
            }
            if kind.is_dir() {
                // With the slash that it has in paths, so that what is below it comes in the order of those.
                directories.push(entry.path().join(""));
            } else if kind.is_file() {
                self.visit(&entry.path(), &mut found);
            }
        }
        directories.par_sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
        let walks: Vec<Result<WalkResult>> = directories
            .into_par_iter()
            .map(|path| self.one(&path))
            .collect();
        for walk in walks {
            found.append(walk?);
        }
        Ok(found)
    }

    /// Walks one tree; what it finds is in the order of paths.
    fn one(&self, root: &Path) -> Result<WalkResult> {
        let mut found = WalkResult::default();
        let mut walk = WalkDir::new(root)
            .follow_links(self.options.follow_links)
            .follow_root_links(self.options.follow_links)
            .into_iter();
        while let Some(entry) = walk.next() {
            match entry {
                Ok(entry) => {
                    let (path, kind) = (entry.path(), entry.file_type());
                    // The root was chosen.
                    if entry.depth() > 0 && self.leaves_out(path, kind, &mut found) {
                        if kind.is_dir() {
                            walk.skip_current_dir();
                        }
                    } else if kind.is_file() {
                        self.visit(path, &mut found);
                    } else if kind.is_dir() && self.notes_folders {
                        found.folders.push(path.to_owned());
                    }
                }
                Err(error) => {
                    found.left_out.push(what_is_left_out(&error)?);
                    found.unread += 1;
                }
            }
        }
        found.objects.sort();
        Ok(found)
    }

    /// Whether a file or folder is left out for its name, or because it is a link; counts it where an option would list
    /// it.
    fn leaves_out(&self, path: &Path, kind: FileType, found: &mut WalkResult) -> bool {
        if self.exclude.matched(path, kind.is_dir()).is_ignore() {
            return true;
        }
        let name = file_name(path.as_os_str().as_bytes());
        let unasked = &mut found.unasked;
        let is_wanted = matches_extension(self.options, name);
        if is_hidden(name) && !self.options.hidden {
            let is_counted = kind.is_dir() && name != CLAIMS.as_bytes();
            unasked.hidden_folders += usize::from(is_counted);
            unasked.hidden_files += usize::from(!kind.is_dir() && is_wanted);
            return true;
        }
        if kind.is_symlink() && (is_wanted || is_tar_name(name) || path.is_dir()) {
            unasked.links += 1;
        }
        kind.is_symlink()
    }

    /// Lists a file, where it is one that was asked for.
    fn visit(&self, path: &Path, found: &mut WalkResult) {
        if matches!(&self.options.output, Output::File(list) if list == path) {
            return;
        }
        let path = path.as_os_str().as_bytes();
        let name = file_name(path);
        let is_wanted = matches_extension(self.options, name);
        if !is_wanted && is_tar_name(name) {
            // Who watches folders reads none.
            if !self.notes_folders {
                found.tars.push(PathBuf::from(OsStr::from_bytes(path)));
            }
        } else if !is_wanted {
            found.note_other(name);
        } else if let Some(text) = self.listed_path(path, found) {
            found.objects.push(text);
        }
    }

    /// A path as the list has it; where it cannot have it, that is said.
    fn listed_path<'p>(&self, path: &'p [u8], found: &mut WalkResult) -> Option<&'p str> {
        let path = &path[self.prefix..];
        let why = match str::from_utf8(path) {
            Err(_) => "not UTF-8",
            Ok(text) if text.contains('\n') => "its path holds a newline",
            // Who reads the list takes it for a mark of the encoding.
            Ok(text) if text.starts_with('\u{feff}') => "its path begins with a byte order mark",
            Ok(text) => return Some(text),
        };
        found.leave_out(path, why);
        None
    }

    /// Lists the members of a tar; what is whole of one that is damaged.
    fn members(&self, tar: &Path) -> Result<WalkResult> {
        let mut found = WalkResult::default();
        let bytes = tar.as_os_str().as_bytes();
        let listed = self.listed_path(bytes, &mut found);
        let (Some(listed), false) = (listed, self.exclude.matched(tar, true).is_ignore()) else {
            return Ok(found);
        };
        let members = match regular::open(tar).and_then(|file| Members::of(&file)) {
            Ok(members) => members,
            Err(error) if concerns_the_run(&error) => {
                return Err(Error::from(error).context(format!("cannot read {}", tar.display())));
            }
            Err(error) => {
                let why = format!("cannot be read: {tar:?}: {error}");
                found.left_out.push(format!("left out, {why}"));
                found.unread += 1;
                return Ok(found);
            }
        };
        let is_tar = members.damage() != Some(&Damage::NoTar);
        found.walked_tars += usize::from(is_tar);
        for (name, why) in members.unusable() {
            if matches_extension(self.options, file_name(name)) {
                found.leave_out(&[listed.as_bytes(), b"/", name].concat(), why);
            }
        }
        let mut path = String::new();
        for (name, kind) in members.iter() {
            let file = file_name(name.as_bytes());
            if self.leaves_member_out(tar, name, &mut found) {
                continue;
            }
            if !matches_extension(self.options, file) {
                found.note_other(file);
                continue;
            }
            path.clear();
            path.extend([listed, "/", name]);
            match kind {
                Kind::File => found.objects.push(&path),
                Kind::Link => found.leave_out(path.as_bytes(), "a link in a tar"),
                Kind::Sparse => found.leave_out(path.as_bytes(), "a sparse member of a tar"),
                Kind::Folder | Kind::Other => found.leave_out(path.as_bytes(), "no file in a tar"),
            }
        }
        if let Some(damage) = members.damage() {
            let listed = match is_tar {
                true => "; what is whole before that is listed",
                false => "",
            };
            found.left_out.push(format!("{tar:?}: {damage}{listed}"));
            found.unread += 1;
        }
        Ok(found)
    }

    /// Whether a member of a tar is left out for its name or for those of the folders that it is in; counts it where an
    /// option would list it.
    fn leaves_member_out(&self, tar: &Path, name: &str, found: &mut WalkResult) -> bool {
        let is_ignored = |(end, _): (usize, &str)| {
            let folder = tar.join(&name[..end]);
            self.exclude.matched(folder, true).is_ignore()
        };
        if !self.exclude.is_empty()
            && (name.match_indices('/').any(is_ignored)
                || self.exclude.matched(tar.join(name), false).is_ignore())
        {
            return true;
        }
        let mut components = name.split('/').map(str::as_bytes);
        let leaves_out = !self.options.hidden && components.any(is_hidden);
        if leaves_out && matches_extension(self.options, file_name(name.as_bytes())) {
            found.unasked.hidden_files += 1;
        }
        leaves_out
    }
}

/// What to say of something that cannot be walked.
///
/// # Errors
/// When it is a loop of links, or a fault of the whole run: then a list would lack what is there.
fn what_is_left_out(error: &walkdir::Error) -> Result<String> {
    if let (true, Some(cause)) = (concerns_the_run(error), error.io_error()) {
        let path = error.path().unwrap_or(Path::new(""));
        // A new error, since the walk lends its own.
        let cause = cause.raw_os_error().map(io::Error::from_raw_os_error);
        return Err(
            Error::from(cause.unwrap_or_else(|| io::ErrorKind::Other.into()))
                .context(format!("cannot read {}", path.display())),
        );
    }
    const HINT: &str = "a loop; remove the link, or list without --follow-links";
    Ok(match (error.loop_ancestor(), error.path()) {
        (Some(ancestor), Some(link)) => bail!(
            "{} leads back to {}: {HINT}",
            link.display(),
            ancestor.display()
        ),
        (None, Some(link)) if is_link_to_itself(error) => {
            bail!("{} leads back to itself: {HINT}", link.display())
        }
        (None, Some(path)) => {
            let why = error
                .io_error()
                .map_or_else(|| error.to_string(), io::Error::to_string);
            format!("left out, cannot be read: {path:?}: {why}")
        }
        (_, None) => error.to_string(),
    })
}

fn is_link_to_itself(error: &walkdir::Error) -> bool {
    error
        .io_error()
        .is_some_and(|error| error.raw_os_error() == Some(nix::libc::ELOOP))
}

/// Whether a name ends in `.` and one of the extensions, as `find -name '*.jpg'` matches.
pub fn matches_extension(options: &Options, name: &[u8]) -> bool {
    options.extensions.iter().any(|extension| {
        let Some(dot) = name.len().checked_sub(extension.len() + 1) else {
            return false;
        };
        let end = &name[dot + 1..];
        name[dot] == b'.'
            && if options.ignore_case {
                end.eq_ignore_ascii_case(extension.as_bytes())
            } else {
                end == extension.as_bytes()
            }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::whole_tree;
    use super::*;

    #[test]
    fn a_walk_gives_the_paths_in_their_order() {
        let media = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for directory in ["a", "a-b", "a.b", "ab", "a/b", "a/b-c", "b"] {
            fs::create_dir_all(media.path().join("top").join(directory)).unwrap();
            for name in ["a.jpg", "a-b.jpg", "b.jpg", "a.jpg.jpg", "ä.jpg"] {
                let path = format!("top/{directory}/{name}");
                fs::write(media.path().join(&path), "").unwrap();
                expected.push(path + "\n");
            }
        }
        expected.sort();
        let options = whole_tree(media.path());
        let found = Walk::new(&options)
            .unwrap()
            .one(&media.path().join("top"))
            .unwrap();
        let lines: Vec<_> = found.objects.lines().map(String::from_utf8_lossy).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn extensions_match_as_find_does() {
        let mut options = Options {
            extensions: vec!["jpg".into(), "tar.gz".into()],
            ..whole_tree(Path::new(""))
        };
        for (name, matches, matches_any_case) in [
            ("a.jpg", true, true),
            (".jpg", true, true),
            ("a.JPG", false, true),
            ("a.jpg.png", false, false),
            ("ajpg", false, false),
            ("jpg", false, false),
            ("a.tar.gz", true, true),
        ] {
            options.ignore_case = false;
            assert_eq!(
                matches_extension(&options, name.as_bytes()),
                matches,
                "{name}"
            );
            options.ignore_case = true;
            assert_eq!(
                matches_extension(&options, name.as_bytes()),
                matches_any_case,
                "{name}"
            );
        }
    }
}
