//! Command: walks the media tree and writes the sorted list of objects.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the command, and what it shares with `watch` |
//! | `walk.rs` | the walk over a media tree, and over the tar files in it |
//! | `found.rs` | what a walk finds, and what it says of the rest |
//! | `paths.rs` | the paths of a list, in order |

mod found;
mod paths;
mod walk;

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::storage::object_id::{IdKind, file_name};
use crate::storage::output::{self, Kind, Output};
use crate::storage::tar::is_tar_name;
use crate::support::progress::Progress;
use paths::Paths;
use walk::{Walk, matches_extension};

/// The extension that is listed where none is chosen.
pub const DEFAULT_EXTENSION: &str = "jpg";

/// The folder that is walked alone where it is there and none is chosen.
const OBJECT_FOLDER: &str = "object";

/// What to list.
#[derive(Clone, Debug)]
pub struct Options {
    /// The media directory; the listed paths are relative to it.
    pub media_dir: PathBuf,
    /// The sub-directory to walk. Default: `object` where it exists, else the whole tree.
    pub subdirectory: Option<PathBuf>,
    /// File name extensions, without the dot. Default: [`DEFAULT_EXTENSION`].
    pub extensions: Vec<String>,
    /// Whether `JPG` matches `jpg` (ASCII letters only). Default: no.
    pub ignore_case: bool,
    /// Whether to follow symbolic links. Default: no.
    pub follow_links: bool,
    /// Whether to list hidden files, and what is in hidden folders: see [`is_hidden`]. Default: no.
    pub hidden: bool,
    /// What to leave out, by the rules of a `.gitignore` in the media directory. Default: nothing.
    pub exclude: Vec<String>,
    /// What object ids are. Default: [`IdKind::Name`], and of several files of one name the first is listed.
    pub ids: IdKind,
    /// Where the list goes. Default: `MEDIA_DIR/objects.txt`.
    pub output: Output,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Objects listed.
    pub objects: usize,
    /// Files and directories that cannot be listed; they were named on stderr.
    pub left_out: usize,
    /// Those of them that could not be read: what is in them may be listed the next time.
    pub unread: usize,
    /// Pictures, links and hidden ones that other options would have listed, in a line each.
    pub unasked: Vec<String>,
    /// Tar files that were walked as folders.
    pub tars: usize,
}

/// Lists the objects of a media tree.
///
/// Takes 20 bytes of memory per object beyond the paths themselves, which are in one piece, sorted through
/// their offsets: measured, 1,000,000 objects with paths of 58 bytes take 77 MB in all. What is known of tars comes on
/// top, 256 MiB at most.
pub fn list(options: &Options, progress: &Progress) -> Result<Summary> {
    let start = start(options)?;
    let mut found = Walk::new(options)?.below(&start)?;
    for message in &found.left_out {
        progress.warn(message);
    }
    if found.objects.len() == 0 {
        progress.warn(&found.describe_none(options, &options.media_dir.join(&start)));
        keep_what_was_listed(options)?;
    }
    found.objects.sort();
    let duplicates = match options.ids {
        IdKind::Name => found.objects.drop_duplicate_names(),
        IdKind::Path => Vec::new(),
    };
    for message in &duplicates {
        progress.warn(message);
    }
    if !duplicates.is_empty() {
        progress.warn(
            "--ids path, here and for a new directory of `extract`, takes all files of one name",
        );
    }
    write(&found.objects, &options.output)?;
    Ok(Summary {
        objects: found.objects.len(),
        left_out: found.left_out.len() + duplicates.len(),
        unread: found.unread,
        unasked: found.unasked.describe(options),
        tars: found.walked_tars,
    })
}

/// The folders that [`list`] looks into, in no order.
pub fn folders(options: &Options) -> Result<Vec<PathBuf>> {
    let mut walk = Walk::new(options)?;
    walk.notes_folders = true;
    Ok(walk.below(&start(options)?)?.folders)
}

/// Tells whether a file (or, where the second argument says so, a folder) in one of the [`folders`] has a part in the
/// list.
pub fn filter(options: &Options) -> Result<impl Fn(&Path, bool) -> bool + Send + 'static> {
    let (options, exclude) = (options.clone(), exclude(options)?);
    Ok(move |path: &Path, is_folder: bool| {
        let name = file_name(path.as_os_str().as_bytes());
        !exclude.matched(path, is_folder).is_ignore()
            && (options.hidden || !is_hidden(name))
            && (is_folder || matches_extension(&options, name) || is_tar_name(name))
    })
}

/// Where the walk begins, relative to the media directory.
///
/// # Errors
/// When the media directory cannot be read, or [`Options::subdirectory`] leads out of it.
pub fn start(options: &Options) -> Result<PathBuf> {
    let media_dir = options.media_dir.display();
    let metadata = fs::metadata(&options.media_dir)
        .with_context(|| format!("cannot read the media directory {media_dir}"))?;
    if !metadata.is_dir() {
        bail!("{media_dir} is not a directory; --media-dir names the tree of pictures");
    }
    match &options.subdirectory {
        Some(subdirectory) => below(subdirectory, &options.media_dir).with_context(|| {
            format!(
                "{} is not a plain path below the media directory {media_dir}; name the folder as it is from there, such as \
                 `2019/summer`",
                subdirectory.display()
            )
        }),
        None if has_object_folder(options) => Ok(PathBuf::from(OBJECT_FOLDER)),
        None => Ok(PathBuf::new()),
    }
}

fn has_object_folder(options: &Options) -> bool {
    options.media_dir.join(OBJECT_FOLDER).is_dir()
}

/// Says that there is more beside the folder that is walked because of its name; `None` where there is not.
pub fn more_beside(options: &Options) -> Option<String> {
    if options.subdirectory.is_some() || !has_object_folder(options) {
        return None;
    }
    let entries = fs::read_dir(&options.media_dir).ok()?;
    let is_more = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let name = name.as_bytes();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        name != OBJECT_FOLDER.as_bytes()
            && !is_hidden(name)
            && (is_folder || matches_extension(options, name))
    };
    let is_more = entries.flatten().any(is_more);
    is_more.then(|| {
        format!(
            "only {} is walked, and there is more beside it; `.` walks the whole tree",
            options.media_dir.join(OBJECT_FOLDER).display()
        )
    })
}

/// What is left out by [`Options::exclude`].
fn exclude(options: &Options) -> Result<Gitignore> {
    // With a slash after it, unless it has one or is empty.
    let mut exclude = GitignoreBuilder::new(options.media_dir.join(""));
    for glob in &options.exclude {
        exclude.add_line(None, glob)?;
    }
    Ok(exclude.build()?)
}

/// Whether a file or folder is one that people do not see: its name begins with a dot, or systems and devices put it
/// among pictures for themselves.
pub fn is_hidden(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] = [b"@eaDir", b"$RECYCLE.BIN", b"Thumbs.db"];
    name.starts_with(b".") || NAMES.contains(&name)
}

/// Checks a pattern of [`Options::exclude`].
///
/// # Errors
/// What is wrong with it.
pub fn check_glob(glob: &str) -> Result<String, String> {
    let mut builder = GitignoreBuilder::new("");
    let checked = builder.add_line(None, glob).map(|_| glob.to_owned());
    checked.map_err(|error| error.to_string())
}

/// The path of a folder below the media directory, which may also be named by its whole path.
fn below(folder: &Path, media_dir: &Path) -> Option<PathBuf> {
    if folder.is_relative() {
        return plain(folder);
    }
    let (folder, media_dir) = (folder.canonicalize().ok()?, media_dir.canonicalize().ok()?);
    Some(folder.strip_prefix(media_dir).ok()?.to_owned())
}

/// The path without `.` components; `None` when it leads elsewhere than down.
fn plain(path: &Path) -> Option<PathBuf> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| matches!(part, Component::Normal(_)).then_some(part))
        .collect()
}

/// Refuses to put an empty list in the place of one that is not: a disk that is not mounted looks like an empty tree.
fn keep_what_was_listed(options: &Options) -> Result<()> {
    let Output::File(path) = &options.output else {
        return Ok(());
    };
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        bail!(
            "no objects were found, and {} lists some: is the disk of {} mounted, and does --ext fit? Remove the list if \
             it should be empty",
            path.display(),
            options.media_dir.display()
        );
    }
    Ok(())
}

fn write(objects: &Paths, output: &Output) -> Result<()> {
    let lines = |writer: &mut dyn Write| -> io::Result<()> {
        let mut writer = io::BufWriter::with_capacity(1 << 18, writer);
        for line in objects.lines() {
            writer.write_all(line)?;
        }
        writer.flush()
    };
    match output {
        Output::Stdout => match lines(&mut io::stdout().lock()) {
            // `simsearch list --output - | head` is not an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output"),
        },
        // So that `serve`, which reads a list again that changes, need not.
        Output::File(path) if holds(path, objects) => Ok(()),
        Output::File(path) => output::write(path, Kind::List, lines).with_context(|| {
            format!(
                "cannot write {}; `list --output` or `watch --objects` puts the list elsewhere",
                path.display()
            )
        }),
    }
}

/// Whether a file has these lines and no others.
fn holds(path: &Path, objects: &Paths) -> bool {
    // Not a pipe, which would be waited for.
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let Some(bytes) = is_file.then(|| fs::read(path).ok()).flatten() else {
        return false;
    };
    let mut rest = &bytes[..];
    (objects.lines()).all(|line| {
        let after = rest.strip_prefix(line);
        rest = after.unwrap_or_default();
        after.is_some()
    }) && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All JPEG files of a tree, as the command lists them by itself.
    pub fn whole_tree(media_dir: &Path) -> Options {
        Options {
            media_dir: media_dir.to_owned(),
            subdirectory: None,
            extensions: vec!["jpg".into()],
            ignore_case: false,
            follow_links: false,
            hidden: false,
            exclude: Vec::new(),
            ids: IdKind::Name,
            output: Output::Stdout,
        }
    }

    #[test]
    fn folders_and_filter_are_those_of_the_list() {
        let media = tempfile::tempdir().unwrap();
        for folder in ["a/b", "a/.hidden/c", "out", "link"] {
            fs::create_dir_all(media.path().join(folder)).unwrap();
        }
        let mut options = Options {
            exclude: vec!["out".into(), "no*".into()],
            ..whole_tree(media.path())
        };
        let walked = |options: &Options| {
            let mut found = folders(options).unwrap();
            found.sort();
            found
        };
        let path = |name: &str| media.path().join(name);
        assert_eq!(
            walked(&options),
            ["", "a", "a/b", "link"].map(path),
            "the whole tree"
        );
        let matters = filter(&options).unwrap();
        for (name, is_folder, expected) in [
            ("a/x.jpg", false, true),
            ("a/x.JPG", false, false),
            ("a/x.txt", false, false),
            ("a/.x.jpg", false, false),
            ("a/no.jpg", false, false),
            ("a/new", true, true),
            ("a/.new", true, false),
            ("out", true, false),
            ("objects.txt", false, false),
            (".objects.txt.tmp", false, false),
        ] {
            assert_eq!(matters(&path(name), is_folder), expected, "{name}");
        }
        options.hidden = true;
        assert!(filter(&options).unwrap()(&path("a/.x.jpg"), false));
        options.subdirectory = Some("a".into());
        let with_hidden = ["a", "a/.hidden", "a/.hidden/c", "a/b"].map(path);
        assert_eq!(walked(&options), with_hidden);
    }
}
