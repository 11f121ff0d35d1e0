//! The list of objects, `objects.txt`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::storage::files::folder_of;
use crate::storage::object_id::{BadEntry, IdKind, ObjectId};
use crate::storage::part::{self, Part};

/// The lines of an `objects.txt`, in the order of the file.
///
/// The text is held once; each line costs 16 bytes more. Of a part of a list nothing else is held.
#[derive(Debug, Default)]
pub struct ObjectList {
    id_kind: IdKind,
    text: String,
    lines: Vec<Range<usize>>,
    /// Of the whole file, where this is a part of it: see [`ListStamp`].
    ids_sum: u64,
    /// How many lines the file has that are not blank.
    in_file: usize,
}

/// Tells a list from other lists, whatever the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStamp {
    /// How many lines it has.
    pub lines: usize,
    /// The sum of what divides them among parts ([`part::hash`]), modulo 2^64, in hexadecimal.
    pub sum: String,
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
        Self::read_part(path, id_kind, None)
    }

    /// The same for a part of it.
    pub fn read_part(path: &Path, id_kind: IdKind, part: Option<Part>) -> Result<Self> {
        let reading = || format!("cannot read the list of objects {}", path.display());
        if path.as_os_str() == Self::STDIN {
            return Self::parse(&mut io::stdin().lock(), id_kind, part).with_context(reading);
        }
        let file = File::open(path).with_context(|| match path.exists() {
            true => reading(),
            false if folder_of(path).is_dir() => format!(
                "there is no list of objects at {}; `simsearch list` makes it",
                path.display()
            ),
            false => format!(
                "there is no folder {}, where the list of objects is to be",
                folder_of(path).display()
            ),
        })?;
        Self::parse(&mut BufReader::with_capacity(1 << 18, file), id_kind, part)
            .with_context(reading)
    }

    /// Fails where the list came from a pipe, or another thing that is no file, and is empty.
    pub fn refuse_nothing_from_a_pipe(&self, path: &Path) -> Result<()> {
        let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        ensure!(
            is_file || self.in_file > 0,
            "the list of objects {} is empty; what was to write it may have failed",
            path.display()
        );
        Ok(())
    }

    /// Reads a list: one path per line. A byte order mark, blank lines, a missing final newline and (where the
    /// first line ends so) CRLF line ends are all accepted. Lines are not checked here: see
    /// [`ObjectId::from_entry`]. A line that is no object belongs to a part as if it were one.
    ///
    /// # Errors
    /// Those of the reader, and [`NotText`].
    pub fn parse(from: &mut impl BufRead, id_kind: IdKind, part: Option<Part>) -> Result<Self> {
        let mut list = ObjectList {
            id_kind,
            ..Self::default()
        };
        let mut bytes = Vec::new();
        let mut crlf = false;
        for number in 1.. {
            bytes.clear();
            if from.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let line = str::from_utf8(&bytes).map_err(|_| NotText { line: number })?;
            let line = line.strip_suffix('\n').unwrap_or(line);
            let line = match number {
                1 => line.strip_prefix('\u{feff}').unwrap_or(line),
                _ => line,
            };
            crlf |= number == 1 && line.ends_with('\r');
            let entry = match crlf {
                true => line.strip_suffix('\r').unwrap_or(line),
                false => line,
            };
            if entry.is_empty() {
                continue;
            }
            list.in_file += 1;
            let is_here = part.is_none_or(|part| {
                let hash = part::hash(id_kind, entry);
                list.ids_sum = list.ids_sum.wrapping_add(hash);
                part.holds_hash(hash)
            });
            if is_here {
                let start = list.text.len();
                list.text.push_str(entry);
                list.lines.push(start..list.text.len());
            }
        }
        list.text.shrink_to_fit();
        list.lines.shrink_to_fit();
        Ok(list)
    }

    /// How many objects are listed.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many lines the whole list has, where this may be a part of it.
    pub fn in_file(&self) -> usize {
        self.in_file
    }

    /// Tells the whole list from others, where this is a part of it.
    pub(crate) fn stamp(&self) -> ListStamp {
        ListStamp {
            lines: self.in_file,
            sum: format!("{:016x}", self.ids_sum),
        }
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

    fn parse(mut bytes: &[u8]) -> Result<ObjectList> {
        ObjectList::parse(&mut bytes, IdKind::Name, None)
    }

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
            let list = parse(bytes.as_bytes()).unwrap();
            assert_eq!(list.entries().collect::<Vec<_>>(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn of_lines_with_one_object_id_the_first_is_the_object() {
        let lines = b"a/x.jpg\nb/x.jpg\na/x.jpg\n../y.jpg\nx.jpg.jpg\n";
        let list = parse(lines).unwrap();
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
        let error = parse(b"a.jpg\nb.jpg\n\xff.jpg\n").unwrap_err();
        assert_eq!(error.downcast_ref::<NotText>().unwrap().line, 3);
    }

    #[test]
    fn every_line_is_in_one_part_and_those_of_one_object_id_are_in_the_same() {
        let lines: Vec<String> = (0..1000).map(|at| format!("a/{at}.jpg")).collect();
        let again = (0..1000).map(|at| format!("b/{at}.jpg"));
        let lines: Vec<String> = lines.into_iter().chain(again).collect();
        let text = lines.join("\n");
        let mut seen = Vec::new();
        for index in 0..7 {
            let part = format!("{index}/7").parse().unwrap();
            let list = ObjectList::parse(&mut text.as_bytes(), IdKind::Name, Some(part)).unwrap();
            assert_eq!(list.in_file(), lines.len());
            // By chance one in seven.
            assert!((200..400).contains(&list.len()), "{index}: {}", list.len());
            let (first, second) = (0..list.len())
                .partition::<Vec<usize>, _>(|line| list.entry(*line).starts_with('a'));
            let ids = |of: Vec<usize>| {
                of.into_iter()
                    .map(|line| list.id(line).to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(ids(first), ids(second), "{index}");
            seen.extend(list.entries().map(str::to_owned));
        }
        let mut lines = lines;
        lines.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, lines);
    }
}
