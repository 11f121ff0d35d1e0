//! Object ids, and where the feature of an object is.

use std::fmt;
use std::path::PathBuf;

use memchr::memrchr;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::storage::checksum;

/// What the object ids of a directory are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// The names of the files.
    #[default]
    Name,
    /// Their paths below the media directory: two files of one name are two objects.
    Path,
}

impl IdKind {
    /// The name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            IdKind::Name => "name",
            IdKind::Path => "path",
        }
    }

    /// The part of a listed path that is the object id, where it can be one: the name at the end, or all of it but for
    /// a `./` at its beginning, as `find .` writes it.
    pub fn of_entry(self, entry: &str) -> &str {
        match self {
            IdKind::Name => &entry[entry.len() - file_name(entry.as_bytes()).len()..],
            IdKind::Path => entry.trim_start_matches("./"),
        }
    }

    /// The object id of one line of `objects.txt`, checked: see [`ObjectId::from_entry`].
    pub(crate) fn check_entry(self, entry: &str) -> Result<&str, BadEntry> {
        if entry.starts_with('/') {
            return Err(BadEntry::Absolute);
        }
        let mut components = entry.split('/');
        let name = components.next_back().unwrap_or_default();
        if components.any(|component| component == "..") {
            return Err(BadEntry::ParentComponent);
        }
        if entry.contains('\0') {
            return Err(BadEntry::ControlCharacter);
        }
        match self {
            IdKind::Name => check_name(name).map(|()| name),
            IdKind::Path => {
                let path = self.of_entry(entry);
                check_path(path).map(|()| path)
            }
        }
    }
}

/// The key of an object: the name of its file, extension included (`0000bada…d3.jpg`), or its path below the media
/// directory (`2021/IMG_0001.jpg`).
///
/// A name is always a plain file name of at least three characters and at most 251 bytes whose nested path
/// `<id[0:2]>/<id[2:4]>/<id>.npy` (slices of characters) stays where it belongs: no `/`, no NUL, no newline,
/// and neither the name nor a slice is `.` or `..`, nor does the name begin with `..`.
///
/// A path is always relative, of at most 4095 bytes, and without NUL, newline, and components that are empty, `.` or
/// `..`. The nested path is made of its SHA-256 in hexadecimal: `<sum[0:2]>/<sum[2:4]>/<sum>.npy`. So it is as long for
/// every path, holds nothing of it that could lead elsewhere, and differs where disks do not tell upper from lower
/// case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    text: Box<str>,
    /// The SHA-256 of a path; none of a name.
    sum: Option<Box<str>>,
}

/// Why a name or path cannot be an object id, or a line of `objects.txt` cannot be an object.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadEntry {
    /// The line begins at the root of the file system.
    #[error("the path is absolute; it must be relative to the media directory")]
    Absolute,
    /// The line climbs out of the media directory.
    #[error("the path holds a `..` component")]
    ParentComponent,
    /// The path ends in `/`, or holds no name at all.
    #[error("the path has no file name")]
    NoName,
    /// The path holds NUL or a newline.
    #[error("the path holds a NUL or a newline")]
    ControlCharacter,
    /// The name begins with two dots, or its nested directories would be `.` or `..`.
    #[error("the file name would not make a nested path inside the feature directory")]
    Escapes,
    /// Fewer than three characters leave the second nested directory without a name.
    #[error("the file name is shorter than three characters")]
    TooShort,
    /// The name of the feature, `<id>.npy`, would be longer than file systems allow.
    #[error(
        "the file name is longer than {MAX_NAME_BYTES} bytes, which leaves no room for the ending .npy"
    )]
    TooLong,
    /// The same file has another path that is shorter, which would be another object.
    #[error("the path holds `//` or a `.` component; list it without")]
    NotPlain,
    /// No file can have that path.
    #[error("the path is longer than {MAX_PATH_BYTES} bytes, the most that the system opens")]
    PathTooLong,
}

/// The most bytes in a name: Linux allows 255 in a file name, and the feature's ends in `.npy`.
const MAX_NAME_BYTES: usize = 255 - ".npy".len();

/// The most bytes in a path: Linux allows 4096, with the NUL at its end.
const MAX_PATH_BYTES: usize = 4095;

impl ObjectId {
    /// Checks that `text` can be an object id of that kind.
    pub fn new(kind: IdKind, text: &str) -> Result<Self, BadEntry> {
        match kind {
            IdKind::Name => check_name(text)?,
            IdKind::Path => check_path(text)?,
        }
        Ok(Self::unchecked(kind, text))
    }

    /// The object id of one line of `objects.txt`: its file name, or the path.
    pub fn from_entry(kind: IdKind, entry: &str) -> Result<Self, BadEntry> {
        let text = kind.check_entry(entry)?;
        Ok(Self::unchecked(kind, text))
    }

    fn unchecked(kind: IdKind, text: &str) -> Self {
        ObjectId {
            text: text.into(),
            sum: match kind {
                IdKind::Name => None,
                IdKind::Path => Some(stem_of_path(text).into()),
            },
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the feature without `.npy`.
    fn stem(&self) -> &str {
        self.sum.as_deref().unwrap_or(&self.text)
    }

    /// The two nested directories of the feature, `<stem[0:2]>` and `<stem[2:4]>`; slices of characters.
    pub fn directories(&self) -> (&str, &str) {
        let (first, rest) = split_at_character(self.stem(), 2);
        (first, split_at_character(rest, 2).0)
    }

    /// The file name of the feature, `<stem>.npy`; the stem is the id where that is a name.
    pub fn feature_name(&self) -> String {
        format!("{}.npy", self.stem())
    }

    /// The path of the feature below a model's directory: `<stem[0:2]>/<stem[2:4]>/<stem>.npy`.
    pub fn feature_path(&self) -> PathBuf {
        let (first, second) = self.directories();
        [first, second, &self.feature_name()].iter().collect()
    }
}

/// The name, without `.npy`, of the feature of an object whose id is a path.
pub(crate) fn stem_of_path(id: &str) -> String {
    checksum::of_bytes(id.as_bytes())
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The name at the end of a path.
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}

fn check_name(name: &str) -> Result<(), BadEntry> {
    if name.is_empty() || name == "." {
        return Err(BadEntry::NoName);
    }
    if name.contains(['\0', '\n']) {
        return Err(BadEntry::ControlCharacter);
    }
    if name.starts_with("..") || name.contains('/') {
        return Err(BadEntry::Escapes);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(BadEntry::TooLong);
    }
    let (_, rest) = split_at_character(name, 2);
    let (second, _) = split_at_character(rest, 2);
    match second {
        "" => Err(BadEntry::TooShort),
        "." | ".." => Err(BadEntry::Escapes),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), BadEntry> {
    if path.starts_with('/') {
        return Err(BadEntry::Absolute);
    }
    if path.contains(['\0', '\n']) {
        return Err(BadEntry::ControlCharacter);
    }
    let mut components = path.split('/');
    match components.next_back() {
        None | Some("" | ".") => return Err(BadEntry::NoName),
        Some("..") => return Err(BadEntry::ParentComponent),
        Some(_) => {}
    }
    for component in components {
        match component {
            "" | "." => return Err(BadEntry::NotPlain),
            ".." => return Err(BadEntry::ParentComponent),
            _ => {}
        }
    }
    match path.len() {
        ..=MAX_PATH_BYTES => Ok(()),
        _ => Err(BadEntry::PathTooLong),
    }
}

fn split_at_character(text: &str, count: usize) -> (&str, &str) {
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn nested_paths_slice_by_characters() {
        for (name, expected) in [
            ("0000bada.jpg", "00/00/0000bada.jpg.npy"),
            ("a.b", "a./b/a.b.npy"),
            (".jpg", ".j/pg/.jpg.npy"),
            ("äöüß.jpg", "äö/üß/äöüß.jpg.npy"),
            ("日本.jpg", "日本/.j/日本.jpg.npy"),
            ("a b c.jpg", "a /b /a b c.jpg.npy"),
        ] {
            let id = ObjectId::new(IdKind::Name, name).unwrap();
            assert_eq!(id.feature_path(), Path::new(expected), "{name}");
        }
    }

    #[test]
    fn entries_that_leave_the_feature_directory_are_refused() {
        for (entry, expected) in [
            ("/etc/passwd", BadEntry::Absolute),
            ("object/../../x.jpg", BadEntry::ParentComponent),
            ("object/..", BadEntry::Escapes),
            ("..jpg", BadEntry::Escapes),
            ("...", BadEntry::Escapes),
            ("object/..x.jpg", BadEntry::Escapes),
            ("ab..jpg", BadEntry::Escapes),
            ("ab.", BadEntry::Escapes),
            ("object/", BadEntry::NoName),
            (".", BadEntry::NoName),
            ("ab", BadEntry::TooShort),
            ("a", BadEntry::TooShort),
            ("object/a\0.jpg", BadEntry::ControlCharacter),
            ("obj\0ect/a.jpg", BadEntry::ControlCharacter),
            ("object/a\n.jpg", BadEntry::ControlCharacter),
            (&format!("object/{}", "a".repeat(252)), BadEntry::TooLong),
            (&"é".repeat(126), BadEntry::TooLong),
            (&"a".repeat(1 << 20), BadEntry::TooLong),
        ] {
            let found = ObjectId::from_entry(IdKind::Name, entry);
            assert_eq!(found, Err(expected), "{entry:?}");
        }
    }

    /// Lines put together from what has ever led a program astray.
    fn hostile_line(random: &mut impl rand::RngExt) -> String {
        const PIECES: [&str; 26] = [
            "",
            ".",
            "..",
            "...",
            "/",
            "//",
            "../",
            "/..",
            "a",
            "ab",
            "abc",
            ".npy",
            ".tmp",
            ".lock",
            ".jpg",
            "\0",
            "\n",
            "\r",
            " ",
            "\u{feff}",
            "\u{301}",
            "e\u{301}",
            "é",
            "日本",
            "😀",
            "0000.features",
        ];
        let mut line = String::new();
        for _ in 0..random.random_range(1..7) {
            line.push_str(PIECES[random.random_range(0..PIECES.len())]);
        }
        if random.random_range(0..20) == 0 {
            line.push_str(&"é".repeat(random.random_range(115..135)));
        }
        line
    }

    #[test]
    fn whatever_the_line_says_an_id_has_one_place_of_its_own_inside() {
        use rand::SeedableRng;
        for kind in [IdKind::Name, IdKind::Path] {
            let mut random = rand::rngs::StdRng::seed_from_u64(4);
            let mut id_of = std::collections::HashMap::new();
            let mut refused = 0;
            for _ in 0..100_000 {
                let line = hostile_line(&mut random);
                let Ok(id) = ObjectId::from_entry(kind, &line) else {
                    refused += 1;
                    continue;
                };
                assert_eq!(id.as_str(), kind.of_entry(&line));
                assert_eq!(ObjectId::new(kind, id.as_str()).as_ref(), Ok(&id));
                let path = id.feature_path();
                let text = path.to_str().unwrap();
                let components: Vec<&str> = text.split('/').collect();
                assert_eq!(components.len(), 3, "{line:?} makes {path:?}");
                for component in &components {
                    assert!(
                        !["", ".", ".."].contains(component),
                        "{line:?} makes {path:?}"
                    );
                    assert!(component.len() <= 255, "{line:?} makes {path:?}");
                }
                assert!(!text.contains(['\0', '\n']), "{line:?} makes {path:?}");
                // No nested directory has a name that this program gives to something else.
                assert!(
                    components[0].chars().count() == 2,
                    "{line:?} makes {path:?}"
                );
                let first = id_of.entry(path.clone()).or_insert_with(|| id.clone());
                assert_eq!(*first, id, "two ids have the place {path:?}");
            }
            assert!(
                refused > 10_000 && id_of.len() > 10_000,
                "{refused}, {}",
                id_of.len()
            );
        }
    }

    #[test]
    fn the_place_of_a_path_is_its_checksum_whatever_it_holds() {
        // What `printf %s 2021/IMG_0001.jpg | sha256sum` prints.
        let id = ObjectId::new(IdKind::Path, "2021/IMG_0001.jpg").unwrap();
        let sum = "190dd438f33d1f11e6e55b22a16ca1bc9620510bc7d62b05fcd03343fd3d757b";
        let expected = format!("{}/{}/{sum}.npy", &sum[..2], &sum[2..4]);
        assert_eq!(id.feature_path(), Path::new(&expected));
        let long = format!("{}{}.jpg", "long/".repeat(760), "é".repeat(125));
        let mut places = std::collections::HashSet::new();
        let paths = [
            "a.jpg",
            "A.jpg",
            "a/b.jpg",
            "a--b.jpg",
            "a",
            "..jpg",
            "a..b/...",
            "...",
            "é.jpg",
            "e\u{301}.jpg",
            " ",
            &long,
        ];
        for path in paths {
            let id = ObjectId::from_entry(IdKind::Path, path).unwrap();
            assert_eq!(id.as_str(), path);
            let place = id.feature_path().into_os_string().into_string().unwrap();
            let (folders, name) = place.split_at(6);
            let sum = name.strip_suffix(".npy").unwrap();
            assert_eq!(folders, format!("{}/{}/", &sum[..2], &sum[2..4]));
            let is_digit = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
            assert!(sum.len() == 64 && sum.chars().all(is_digit), "{place}");
            assert!(places.insert(place), "{path}");
        }
        let longest = "a".repeat(MAX_PATH_BYTES);
        assert!(ObjectId::new(IdKind::Path, &longest).is_ok());
        for (entry, expected) in [
            ("/etc/passwd", BadEntry::Absolute),
            (".//etc/passwd", BadEntry::Absolute),
            ("a/../b.jpg", BadEntry::ParentComponent),
            ("../b.jpg", BadEntry::ParentComponent),
            ("a/..", BadEntry::ParentComponent),
            ("..", BadEntry::ParentComponent),
            ("a//b.jpg", BadEntry::NotPlain),
            ("a/./b.jpg", BadEntry::NotPlain),
            ("a/", BadEntry::NoName),
            ("a/.", BadEntry::NoName),
            ("./", BadEntry::NoName),
            (".", BadEntry::NoName),
            ("a\0/b.jpg", BadEntry::ControlCharacter),
            ("a/b\n.jpg", BadEntry::ControlCharacter),
            (&(longest + "a"), BadEntry::PathTooLong),
            (&"a/".repeat(1 << 20), BadEntry::NoName),
        ] {
            let found = ObjectId::from_entry(IdKind::Path, entry);
            assert_eq!(found, Err(expected), "{entry:?}");
        }
        // As `find .` writes it.
        let id = ObjectId::from_entry(IdKind::Path, "./a/b.jpg").unwrap();
        assert_eq!(id.as_str(), "a/b.jpg");
        assert!(ObjectId::new(IdKind::Path, "./a/b.jpg").is_err());
    }
}
