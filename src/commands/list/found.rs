//! What a walk finds, and what it says of the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::paths::Paths;
use super::{DEFAULT_EXTENSION, Options};
use crate::pictures::{EXTENSIONS, is_name_of_unread, is_picture_name};
use crate::support::progress::counted;

/// What the walk of a tree finds.
#[derive(Default)]
pub struct WalkResult {
    pub objects: Paths,
    /// Messages about what cannot be listed.
    pub left_out: Vec<String>,
    /// How many of them are about what cannot be read.
    pub unread: usize,
    /// The folders that were walked, where these are noted.
    pub folders: Vec<PathBuf>,
    /// Tar files, which are walked as folders.
    pub tars: Vec<PathBuf>,
    /// How many of them were.
    pub walked_tars: usize,
    pub unasked: Unasked,
    /// Other extensions, as long as no object was found, and how often they were seen.
    pub others: BTreeMap<String, usize>,
}

/// How many different other extensions are counted.
const MOST_OTHERS: usize = 100;

impl WalkResult {
    /// Adds what another walk found.
    pub fn append(&mut self, other: WalkResult) {
        self.objects.append(other.objects);
        self.left_out.extend(other.left_out);
        self.unread += other.unread;
        self.folders.extend(other.folders);
        self.tars.extend(other.tars);
        self.walked_tars += other.walked_tars;
        self.unasked.append(other.unasked);
        add_up(&mut self.others, other.others);
    }

    /// Says why something that was asked for is not listed.
    pub fn leave_out(&mut self, path: &[u8], why: &str) {
        let path = Path::new(OsStr::from_bytes(path));
        self.left_out.push(format!("left out, {why}: {path:?}"));
    }

    /// Counts a file that was not asked for.
    pub fn note_other(&mut self, name: &[u8]) {
        let extension = Path::new(OsStr::from_bytes(name)).extension();
        let extension = extension.and_then(OsStr::to_str);
        if let (true, Some(extension)) = (is_picture_name(name), extension) {
            let pictures = &mut self.unasked.pictures;
            *pictures.entry(extension.to_owned()).or_default() += 1;
        }
        if let (true, Some(extension)) = (is_name_of_unread(name), extension) {
            let unread = &mut self.unasked.unread;
            *unread.entry(extension.to_ascii_lowercase()).or_default() += 1;
        }
        if let (0, Some(extension)) = (self.objects.len(), extension)
            && (self.others.len() < MOST_OTHERS || self.others.contains_key(extension))
        {
            *self.others.entry(extension.to_owned()).or_default() += 1;
        }
    }

    /// Says that nothing was found below `root`, and what else is there. Pictures with other endings need not be named
    /// once more then.
    pub fn describe_none(&mut self, options: &Options, root: &Path) -> String {
        let pictures = std::mem::take(&mut self.unasked.pictures);
        let others = match has_chosen(options) || pictures.is_empty() {
            true => &self.others,
            false => &pictures,
        };
        let wanted = options.extensions.join(", .");
        let mut message = format!("no file below {} ends in .{wanted}", root.display());
        if !others.is_empty() {
            message += &format!(
                ", but {}; --ext, --ignore-case and --pictures choose others",
                most_frequent(others, 3)
            );
        }
        message
    }
}

/// What is there and was not asked for.
#[derive(Default)]
pub struct Unasked {
    /// Pictures with other endings, by these.
    pub pictures: BTreeMap<String, usize>,
    /// Pictures and films that this build does not read, by their endings.
    pub unread: BTreeMap<String, usize>,
    /// Links to directories, and links with the name of a picture that was asked for.
    pub links: usize,
    /// Hidden files with such a name.
    pub hidden_files: usize,
    pub hidden_folders: usize,
}

impl Unasked {
    pub fn append(&mut self, other: Unasked) {
        add_up(&mut self.pictures, other.pictures);
        add_up(&mut self.unread, other.unread);
        self.links += other.links;
        self.hidden_files += other.hidden_files;
        self.hidden_folders += other.hidden_folders;
    }

    /// A line for each kind.
    pub fn describe(&self, options: &Options) -> Vec<String> {
        let mut lines = Vec::new();
        let pictures: usize = self.pictures.values().sum();
        if pictures > 0 && !has_chosen(options) {
            let most = most_frequent(&self.pictures, 5);
            let pictures = counted(pictures, "picture");
            lines.push(format!(
                "{pictures} left out ({most}); --pictures lists them"
            ));
        }
        let unread: usize = self.unread.values().sum();
        // Who names endings knows of the others.
        let are_all_asked_for = options.extensions == EXTENSIONS || !has_chosen(options);
        if unread > 0 && are_all_asked_for {
            let of_heic = ["heic", "heif", "hif"];
            let hint = match of_heic.iter().any(|it| self.unread.contains_key(*it)) {
                true => "; `make build FEATURES=heic` makes one that reads HEIC",
                false => "",
            };
            lines.push(format!(
                "{} left out, which this program does not read ({}){hint}",
                counted(unread, "file"),
                most_frequent(&self.unread, 5)
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

fn add_up(endings: &mut BTreeMap<String, usize>, more: BTreeMap<String, usize>) {
    for (extension, count) in more {
        *endings.entry(extension).or_default() += count;
    }
}

/// Whether someone asked for other endings than the usual one, and so has chosen them.
fn has_chosen(options: &Options) -> bool {
    options.extensions != [DEFAULT_EXTENSION] || options.ignore_case
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
