//! The list of objects, `objects.txt`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use thiserror::Error;

use crate::storage::object_id::{BadEntry, IdKind, ObjectId};

/// The lines of an `objects.txt`, in the order of the file.
///
/// The text is held once; each line costs 16 bytes more.
#[derive(Debug, Default)]
pub struct ObjectList {
    id_kind: IdKind,
    text: String,
    lines: Vec<Range<usize>>,
}

/// What a line of a list is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// An object, by its object id.
    Object(&'a str),
    /// The same path as in a line before: nothing to do, and nothing wrong.
    Repeated,
    /// No object, for a reason that is for people: no usable path or name, or an id that another path has as well.
    Bad(String),
}

/// What to do about two files of one name.
const KEEP_BOTH: &str = "`extract --ids path` takes both, into a --feature-dir of its own";

/// Why the bytes are not a list of objects.
#[derive(Debug, Error)]
#[error("line {line} is not UTF-8 text; make the list again with `simsearch list`")]
pub struct NotText {
    /// The number of the offending line, counted from 1.
    pub line: usize,
}

impl ObjectList {
    /// The path that stands for standard input.
    pub const STDIN: &str = "-";

    /// Reads the list in a file, or on standard input, whose objects have ids of that kind.
    pub fn read(path: &Path, id_kind: IdKind) -> Result<Self> {
        let read = match path.as_os_str() == Self::STDIN {
            true => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes).map(|_| bytes)
            }
            false => fs::read(path),
        };
        let bytes = read.with_context(|| match path.exists() {
            true => format!("cannot read the list of objects {}", path.display()),
            false => format!(
                "there is no list of objects at {}; `simsearch list` makes it",
                path.display()
            ),
        })?;
        Self::parse(bytes, id_kind)
            .with_context(|| format!("cannot read the list of objects {}", path.display()))
    }

    /// Reads a list: one path per line. A byte order mark, blank lines, a missing final newline and (where the
    /// first line ends so) CRLF line ends are all accepted. Lines are not checked here: see
    /// [`ObjectId::from_entry`].
    pub fn parse(bytes: Vec<u8>, id_kind: IdKind) -> Result<Self, NotText> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..valid]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            NotText { line }
        })?;
        let start = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        let crlf = text[start..]
            .split('\n')
            .next()
            .is_some_and(|first| first.ends_with('\r'));
        let mut lines = Vec::new();
        let mut at = start;
        for line in text[start..].split('\n') {
            let shown = if crlf {
                line.strip_suffix('\r').unwrap_or(line)
            } else {
                line
            };
            if !shown.is_empty() {
                lines.push(at..at + shown.len());
            }
            at += line.len() + 1;
        }
        lines.shrink_to_fit();
        Ok(ObjectList {
            id_kind,
            text,
            lines,
        })
    }

    /// How many objects are listed.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The path of object `index`, relative to the media directory.
    pub fn entry(&self, index: usize) -> &str {
        &self.text[self.lines[index].clone()]
    }

    /// The id of object `index`, where its path can have one.
    pub fn id(&self, index: usize) -> &str {
        self.id_kind.of_entry(self.entry(index))
    }

    /// The same, checked.
    pub fn object_id(&self, index: usize) -> Result<ObjectId, BadEntry> {
        ObjectId::from_entry(self.id_kind, self.entry(index))
    }

    /// What the ids are.
    pub fn id_kind(&self) -> IdKind {
        self.id_kind
    }

    /// All paths in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.entry(index))
    }

    /// What each line is, in the order of the file.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut first_of: HashMap<&str, &str> = HashMap::with_capacity(self.len());
        self.entries().map(move |entry| {
            let id = match self.id_kind.check_entry(entry) {
                Ok(id) => id,
                Err(error) => return Line::Bad(error.to_string()),
            };
            match *first_of.entry(id).or_insert(entry) {
                first if std::ptr::eq(first, entry) => Line::Object(id),
                // Another spelling of a path is the same file.
                first if first == entry || self.id_kind == IdKind::Path => Line::Repeated,
                first => Line::Bad(format!(
                    "{first} has the same object id and comes first; {KEEP_BOTH}"
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_however_its_lines_end() {
        for (bytes, expected) in [
            ("a.jpg\nb.jpg\n", vec!["a.jpg", "b.jpg"]),
            ("a.jpg\nb.jpg", vec!["a.jpg", "b.jpg"]),
            ("\u{feff}a.jpg\r\n\r\nb.jpg\r\n", vec!["a.jpg", "b.jpg"]),
            ("\n\na.jpg\n\n", vec!["a.jpg"]),
            ("", vec![]),
            ("\u{feff}", vec![]),
            ("a.jpg\nodd\r\n", vec!["a.jpg", "odd\r"]),
        ] {
            let list = ObjectList::parse(bytes.into(), IdKind::Name).unwrap();
            assert_eq!(list.entries().collect::<Vec<_>>(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn of_lines_with_one_object_id_the_first_is_the_object() {
        let lines = b"a/x.jpg\nb/x.jpg\na/x.jpg\n../y.jpg\nx.jpg.jpg\n";
        let list = ObjectList::parse(lines.into(), IdKind::Name).unwrap();
        let lines: Vec<Line<'_>> = list.lines().collect();
        let twice = format!("a/x.jpg has the same object id and comes first; {KEEP_BOTH}");
        let outside = BadEntry::ParentComponent.to_string();
        assert_eq!(
            lines,
            [
                Line::Object("x.jpg"),
                Line::Bad(twice),
                Line::Repeated,
                Line::Bad(outside),
                Line::Object("x.jpg.jpg"),
            ]
        );
    }

    #[test]
    fn a_list_that_is_not_text_names_the_line() {
        let lines = b"a.jpg\nb.jpg\n\xff.jpg\n".to_vec();
        let error = ObjectList::parse(lines, IdKind::Name).unwrap_err();
        assert_eq!(error.line, 3);
    }
}
