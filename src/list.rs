//! Command: walks the media tree and writes the sorted list of objects.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use crate::progress::Progress;

/// What to list.
#[derive(Clone, Debug)]
pub struct Options {
    /// The media directory; the listed paths are relative to it.
    pub media_dir: PathBuf,
    /// The sub-directory to walk. Default: `object` where it exists, else the whole tree.
    pub subdirectory: Option<PathBuf>,
    /// File name extensions, without the dot. Default: `jpg`.
    pub extensions: Vec<String>,
    /// Whether `JPG` matches `jpg` (ASCII letters only). Default: no.
    pub ignore_case: bool,
    /// Whether to follow symbolic links. Default: no.
    pub follow_links: bool,
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
    /// Files and directories that were left out; they were named on stderr.
    pub left_out: usize,
}

/// Lists the objects of a media tree.
///
/// Takes about 20 bytes of memory an object beyond the paths themselves: the paths stand in one piece, sorted through
/// their offsets.
pub fn list(options: &Options, progress: &Progress) -> Result<Summary> {
    let media_dir = &options.media_dir;
    let metadata = fs::metadata(media_dir)
        .with_context(|| format!("cannot read the media directory {}", media_dir.display()))?;
    if !metadata.is_dir() {
        bail!(
            "{} is not a directory; --media-dir names the tree of pictures",
            media_dir.display()
        );
    }
    let start = match &options.subdirectory {
        Some(subdirectory)
            if subdirectory
                .components()
                .any(|part| !matches!(part, Component::Normal(_))) =>
        {
            bail!(
                "{} is no plain path below the media directory",
                subdirectory.display()
            );
        }
        Some(subdirectory) => subdirectory.clone(),
        None if media_dir.join("object").is_dir() => PathBuf::from("object"),
        None => PathBuf::new(),
    };
    let mut found = walk(options, &start)?;
    found.objects.sort();
    let duplicates = found.objects.drop_duplicate_names();
    for message in found.left_out.iter().chain(&duplicates) {
        progress.warn(message);
    }
    write(&found.objects, &options.output)?;
    Ok(Summary {
        objects: found.objects.len(),
        left_out: found.left_out.len() + duplicates.len(),
    })
}

/// What the walk of a tree finds.
#[derive(Default)]
struct Found {
    objects: Paths,
    /// Messages about what was left out.
    left_out: Vec<String>,
}

impl Found {
    fn merge(mut self, other: Found) -> Found {
        self.objects.append(other.objects);
        self.left_out.extend(other.left_out);
        self
    }
}

/// Walks the tree below `start`, a path relative to the media directory.
fn walk(options: &Options, start: &Path) -> Result<Found> {
    let root = options.media_dir.join(start);
    // A `read_dir` of its own: the walk would take an unreadable root for one of many directories.
    let top = fs::read_dir(&root).with_context(|| format!("cannot read {}", root.display()))?;
    if options.follow_links {
        // One walk from the top: only it sees every loop.
        return walk_one(options, &root);
    }
    let tops: Vec<PathBuf> = top
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()
        .with_context(|| format!("cannot read {}", root.display()))?;
    tops.into_par_iter()
        .map(|path| walk_one(options, &path))
        .try_reduce(Found::default, |one, other| Ok(one.merge(other)))
}

fn walk_one(options: &Options, root: &Path) -> Result<Found> {
    let mut found = Found::default();
    let walk = WalkDir::new(root)
        .follow_links(options.follow_links)
        .follow_root_links(options.follow_links);
    for entry in walk {
        match entry {
            Ok(entry) => visit(options, &entry, &mut found),
            Err(error) => match (error.loop_ancestor(), error.path()) {
                (Some(ancestor), Some(link)) => bail!(
                    "{} leads back to {}: a loop; remove the link, or list without --follow-links",
                    link.display(),
                    ancestor.display()
                ),
                _ => found.left_out.push(error.to_string()),
            },
        }
    }
    Ok(found)
}

fn visit(options: &Options, entry: &DirEntry, found: &mut Found) {
    if !entry.file_type().is_file() || !matches_extension(options, entry.file_name()) {
        return;
    }
    let path = entry
        .path()
        .strip_prefix(&options.media_dir)
        .unwrap_or(entry.path());
    match path.to_str() {
        None => found
            .left_out
            .push(format!("left out, not UTF-8: {path:?}")),
        Some(text) if text.contains('\n') => {
            found
                .left_out
                .push(format!("left out, its path holds a newline: {path:?}"));
        }
        Some(text) => found.objects.push(text),
    }
}

/// Whether a name ends in `.` and one of the extensions, as `find -name '*.jpg'` matches.
fn matches_extension(options: &Options, name: &OsStr) -> bool {
    let name = name.as_bytes();
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

/// Many paths in one piece of memory: 16 bytes each beyond the text.
#[derive(Default)]
struct Paths {
    text: String,
    /// Beginning and end of each path in `text`.
    spans: Vec<(u64, u64)>,
}

impl Paths {
    fn push(&mut self, path: &str) {
        let start = self.text.len() as u64;
        self.text.push_str(path);
        self.spans.push((start, self.text.len() as u64));
    }

    fn append(&mut self, other: Paths) {
        let offset = self.text.len() as u64;
        self.text.push_str(&other.text);
        self.spans.extend(
            other
                .spans
                .into_iter()
                .map(|(start, end)| (start + offset, end + offset)),
        );
    }

    fn len(&self) -> usize {
        self.spans.len()
    }

    fn get(&self, span: (u64, u64)) -> &str {
        &self.text[span.0 as usize..span.1 as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().map(|&span| self.get(span))
    }

    /// Sorts by bytes.
    fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.par_sort_unstable_by(|&one, &other| self.get(one).cmp(self.get(other)));
        self.spans = spans;
    }

    /// Keeps the first of all paths with the same file name; a message for each of the others. The paths are sorted.
    fn drop_duplicate_names(&mut self) -> Vec<String> {
        let name = |span| {
            let path: &str = self.get(span);
            path.rsplit('/').next().unwrap_or(path)
        };
        let mut order: Vec<u32> = (0..self.spans.len() as u32).collect();
        order.par_sort_by_key(|&index| name(self.spans[index as usize]));
        let mut dropped: Vec<(u32, u32)> = Vec::new();
        let mut kept = 0;
        for index in 1..order.len() {
            let [one, other] = [order[kept], order[index]];
            if name(self.spans[one as usize]) == name(self.spans[other as usize]) {
                dropped.push((other, one));
            } else {
                kept = index;
            }
        }
        dropped.sort_unstable();
        let messages = dropped.iter().map(|&(other, one)| {
            let [other, one] = [other, one].map(|index| self.get(self.spans[index as usize]));
            format!("left out: {other} has the same object id as {one}")
        });
        let messages = messages.collect();
        let mut left_out = dropped.iter().map(|&(other, _)| other as usize).peekable();
        let mut index = 0;
        self.spans.retain(|_| {
            let drop = left_out.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
        messages
    }
}

fn write(objects: &Paths, output: &Output) -> Result<()> {
    let lines = |writer: &mut dyn Write| -> io::Result<()> {
        let mut writer = io::BufWriter::with_capacity(1 << 18, writer);
        for path in objects.iter() {
            writer.write_all(path.as_bytes())?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    };
    match output {
        Output::Stdout => {
            lines(&mut io::stdout().lock()).context("cannot write to standard output")
        }
        Output::File(path) => crate::complete_file::write(path, lines).with_context(|| {
            format!(
                "cannot write {}; --output puts the list elsewhere",
                path.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Paths {
        let mut paths = Paths::default();
        list.iter().for_each(|path| paths.push(path));
        paths
    }

    #[test]
    fn the_first_of_equal_names_is_kept() {
        let mut found = paths(&["c/x.jpg", "b/y.jpg", "b/x.jpg", "a/x.jpg", "x.jpg"]);
        found.sort();
        let messages = found.drop_duplicate_names();
        assert_eq!(found.iter().collect::<Vec<_>>(), ["a/x.jpg", "b/y.jpg"]);
        assert_eq!(messages.len(), 3);
        assert_eq!(
            messages[0],
            "left out: b/x.jpg has the same object id as a/x.jpg"
        );
    }

    #[test]
    fn paths_sort_by_bytes() {
        let mut found = paths(&["a/b.jpg", "a.jpg", "a-b.jpg", "B.jpg", "ä.jpg"]);
        found.sort();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            ["B.jpg", "a-b.jpg", "a.jpg", "a/b.jpg", "ä.jpg"]
        );
    }

    #[test]
    fn extensions_match_as_find_does() {
        let mut options = Options {
            media_dir: PathBuf::new(),
            subdirectory: None,
            extensions: vec!["jpg".into(), "tar.gz".into()],
            ignore_case: false,
            follow_links: false,
            output: Output::Stdout,
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
                matches_extension(&options, OsStr::new(name)),
                matches,
                "{name}"
            );
            options.ignore_case = true;
            assert_eq!(
                matches_extension(&options, OsStr::new(name)),
                matches_any_case,
                "{name}"
            );
        }
    }
}
