//! Command: walks the media tree and writes the sorted list of objects.

mod paths;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::pictures::is_picture_name;
use crate::storage::files::{complete, regular};
use crate::storage::object_id::{IdKind, file_name};
use crate::storage::tar::{self, Damage, Kind, Members, is_tar_name};
use crate::support::hints::concerns_the_run;
use crate::support::progress::Progress;
use paths::Paths;

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

/// Where a list goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file, written complete or not at all.
    File(PathBuf),
    /// Standard output.
    Stdout,
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
/// Takes less than 100 bytes of memory per object beyond the paths themselves, which are in one piece, sorted through
/// their offsets: measured, 1,000,000 objects with paths of 58 bytes take 77 MB in all. What is known of tars comes on top,
/// 256 MiB at most.
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

/// Tells whether a file (or, where the second argument says so, a folder) in one of the [`folders`] has a part in the list.
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
fn start(options: &Options) -> Result<PathBuf> {
    let media_dir = options.media_dir.display();
    let metadata = fs::metadata(&options.media_dir)
        .with_context(|| format!("cannot read the media directory {media_dir}"))?;
    if !metadata.is_dir() {
        bail!("{media_dir} is not a directory; --media-dir names the tree of pictures");
    }
    match &options.subdirectory {
        Some(subdirectory) => plain(subdirectory).with_context(|| {
            format!(
                "{} is not a plain path below the media directory",
                subdirectory.display()
            )
        }),
        None if options.media_dir.join("object").is_dir() => Ok(PathBuf::from("object")),
        None => Ok(PathBuf::new()),
    }
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

/// Whether a file or folder is one that people do not see: its name begins with a dot, or systems and devices put it among
/// pictures for themselves.
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

/// What the walk of a tree finds.
#[derive(Default)]
struct WalkResult {
    objects: Paths,
    /// Messages about what cannot be listed.
    left_out: Vec<String>,
    /// How many of them are about what cannot be read.
    unread: usize,
    /// The folders that were walked, where these are noted.
    folders: Vec<PathBuf>,
    /// Tar files, which are walked as folders.
    tars: Vec<PathBuf>,
    /// How many of them were.
    walked_tars: usize,
    unasked: Unasked,
    /// Other extensions, as long as no object was found, and how often they were seen.
    others: BTreeMap<String, usize>,
}

/// The extension that is listed where none is chosen.
pub const DEFAULT_EXTENSION: &str = "jpg";

/// How many different other extensions are counted.
const MOST_OTHERS: usize = 100;

impl WalkResult {
    /// Adds what another walk found.
    fn append(&mut self, other: WalkResult) {
        self.objects.append(other.objects);
        self.left_out.extend(other.left_out);
        self.unread += other.unread;
        self.folders.extend(other.folders);
        self.tars.extend(other.tars);
        self.walked_tars += other.walked_tars;
        self.unasked.append(other.unasked);
        for (extension, count) in other.others {
            *self.others.entry(extension).or_default() += count;
        }
    }

    /// Says why something that was asked for is not listed.
    fn leave_out(&mut self, path: &[u8], why: &str) {
        let path = Path::new(OsStr::from_bytes(path));
        self.left_out.push(format!("left out, {why}: {path:?}"));
    }

    /// Counts a file that was not asked for.
    fn note_other(&mut self, name: &[u8]) {
        let extension = Path::new(OsStr::from_bytes(name)).extension();
        let extension = extension.and_then(OsStr::to_str);
        if let (true, Some(extension)) = (is_picture_name(name), extension) {
            let pictures = &mut self.unasked.pictures;
            *pictures.entry(extension.to_owned()).or_default() += 1;
        }
        if let (0, Some(extension)) = (self.objects.len(), extension)
            && (self.others.len() < MOST_OTHERS || self.others.contains_key(extension))
        {
            *self.others.entry(extension.to_owned()).or_default() += 1;
        }
    }

    /// Says that nothing was found below `root`, and what else is there.
    fn describe_none(&self, options: &Options, root: &Path) -> String {
        let wanted = options.extensions.join(", .");
        let mut message = format!("no file below {} ends in .{wanted}", root.display());
        if !self.others.is_empty() {
            message += &format!(
                ", but {}; --ext, --ignore-case and --pictures choose others",
                most_frequent(&self.others, 3)
            );
        }
        message
    }
}

/// What is there and was not asked for.
#[derive(Default)]
struct Unasked {
    /// Pictures with other endings, by these.
    pictures: BTreeMap<String, usize>,
    /// Links to directories, and links with the name of a picture that was asked for.
    links: usize,
    /// Hidden files with such a name.
    hidden_files: usize,
    hidden_folders: usize,
}

impl Unasked {
    fn append(&mut self, other: Unasked) {
        for (extension, count) in other.pictures {
            *self.pictures.entry(extension).or_default() += count;
        }
        self.links += other.links;
        self.hidden_files += other.hidden_files;
        self.hidden_folders += other.hidden_folders;
    }

    /// A line for each kind. Who asked for other endings than the usual one has chosen them.
    fn describe(&self, options: &Options) -> Vec<String> {
        let counted = |count: usize, noun: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {noun}{plural}")
        };
        let mut lines = Vec::new();
        let pictures = self.pictures.values().sum();
        if pictures > 0 && options.extensions == [DEFAULT_EXTENSION] && !options.ignore_case {
            let most = most_frequent(&self.pictures, 5);
            let pictures = counted(pictures, "picture");
            lines.push(format!(
                "{pictures} left out ({most}); --pictures lists them"
            ));
        }
        if self.links > 0 {
            let links = counted(self.links, "link");
            lines.push(format!("{links} left out; --follow-links lists them"));
        }
        let hidden = [
            (self.hidden_files, "hidden picture"),
            (self.hidden_folders, "hidden folder"),
        ];
        let hidden = hidden.iter().filter(|(count, _)| *count > 0);
        let hidden: Vec<String> = hidden.map(|(count, noun)| counted(*count, noun)).collect();
        if !hidden.is_empty() {
            lines.push(format!(
                "{} left out; --hidden lists them",
                hidden.join(" and ")
            ));
        }
        lines
    }
}

/// The endings that were seen most often, and how often, for people.
fn most_frequent(endings: &BTreeMap<String, usize>, most: usize) -> String {
    let mut endings: Vec<_> = endings.iter().collect();
    endings.sort_by_key(|(_, count)| Reverse(**count));
    let endings: Vec<String> = (endings.iter().take(most))
        .map(|(extension, count)| format!("{count} in .{extension}"))
        .collect();
    endings.join(", ")
}

/// Walks a media tree.
struct Walk<'a> {
    options: &'a Options,
    exclude: Gitignore,
    /// How many bytes of a path are those of the media directory.
    prefix: usize,
    /// Whether to note the folders that are walked.
    notes_folders: bool,
}

impl<'a> Walk<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        Ok(Walk {
            options,
            exclude: exclude(options)?,
            // With a slash after it, unless it has one or is empty.
            prefix: options.media_dir.join("").as_os_str().len(),
            notes_folders: false,
        })
    }

    /// Walks the tree below `start`, a path relative to the media directory, and the tar files in it.
    fn below(&self, start: &Path) -> Result<WalkResult> {
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

    /// Whether a file or folder is left out for its name, or because it is a link; counts it where an option would list it.
    fn leaves_out(&self, path: &Path, kind: FileType, found: &mut WalkResult) -> bool {
        if self.exclude.matched(path, kind.is_dir()).is_ignore() {
            return true;
        }
        let name = file_name(path.as_os_str().as_bytes());
        let unasked = &mut found.unasked;
        let is_wanted = matches_extension(self.options, name);
        if is_hidden(name) && !self.options.hidden {
            unasked.hidden_folders += usize::from(kind.is_dir());
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

    /// Whether a member of a tar is left out for its name or for those of the folders that it is in; counts it where an option
    /// would list it.
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
fn matches_extension(options: &Options, name: &[u8]) -> bool {
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
        // Who reads it again when it changes, as `serve` does, need not.
        Output::File(path) if holds(path, objects) => Ok(()),
        Output::File(path) => complete::write_where_it_leads(path, lines).with_context(|| {
            format!(
                "cannot write {}; --output puts the list elsewhere",
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
        let options = Options {
            media_dir: media.path().to_owned(),
            subdirectory: None,
            extensions: vec!["jpg".into()],
            ignore_case: false,
            follow_links: false,
            hidden: false,
            exclude: Vec::new(),
            ids: IdKind::Name,
            output: Output::Stdout,
        };
        let found = Walk::new(&options)
            .unwrap()
            .one(&media.path().join("top"))
            .unwrap();
        let lines: Vec<_> = found.objects.lines().map(String::from_utf8_lossy).collect();
        assert_eq!(lines, expected);
    }

    /// All JPEG files of a tree, as the command lists them by itself.
    fn whole_tree(media_dir: &Path) -> Options {
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
