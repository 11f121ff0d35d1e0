//! Object ids, and where the feature of an object is.

use std::fmt;
use std::path::PathBuf;

use memchr::memrchr;
use thiserror::Error;

/// The key of an object: its file name, extension included (`0000bada…d3.jpg`).
///
/// An `ObjectId` is always a plain file name of at least three characters and at most 251 bytes whose nested path
/// `<id[0:2]>/<id[2:4]>/<id>.npy` (slices of characters) stays where it belongs: no `/`, no NUL, no newline,
/// and neither the name nor a slice is `.` or `..`, nor does the name begin with `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(Box<str>);

/// Why a name cannot be an object id, or a line of `objects.txt` cannot be an object.
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
        "the file name is longer than {MAX_ID_BYTES} bytes, which leaves no room for the ending .npy"
    )]
    TooLong,
}

/// The most bytes in an object id: Linux allows 255 in a file name, and the feature's ends in `.npy`.
const MAX_ID_BYTES: usize = 255 - ".npy".len();

impl ObjectId {
    /// Checks that `name` can be an object id.
    pub fn new(name: &str) -> Result<Self, BadEntry> {
        check_name(name).map(|()| ObjectId(name.into()))
    }

    /// The object id of one line of `objects.txt`: its file name.
    pub fn from_entry(entry: &str) -> Result<Self, BadEntry> {
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
        Self::new(name)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The two nested directories of the feature, `<id[0:2]>` and `<id[2:4]>`; slices of characters.
    pub fn directories(&self) -> (&str, &str) {
        let (first, rest) = split_at_character(&self.0, 2);
        (first, split_at_character(rest, 2).0)
    }

    /// The file name of the feature, `<id>.npy`.
    pub fn feature_name(&self) -> String {
        format!("{}.npy", self.0)
    }

    /// The path of the feature below a model's directory: `<id[0:2]>/<id[2:4]>/<id>.npy`.
    pub fn feature_path(&self) -> PathBuf {
        let (first, second) = self.directories();
        [first, second, &self.feature_name()].iter().collect()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name at the end of a path.
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}

/// The name at the end of an entry of `objects.txt`: the object id, where it can be one.
pub(crate) fn entry_name(entry: &str) -> &str {
    &entry[entry.len() - file_name(entry.as_bytes()).len()..]
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
    if name.len() > MAX_ID_BYTES {
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
            let id = ObjectId::new(name).unwrap();
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
            assert_eq!(ObjectId::from_entry(entry), Err(expected), "{entry:?}");
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
        let mut random = rand::rngs::StdRng::seed_from_u64(4);
        let mut id_of = std::collections::HashMap::new();
        let mut refused = 0;
        for _ in 0..100_000 {
            let line = hostile_line(&mut random);
            let Ok(id) = ObjectId::from_entry(&line) else {
                refused += 1;
                continue;
            };
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
