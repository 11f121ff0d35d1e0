//! The paths of a list: in one piece of memory, in order, and each file name once.

use std::collections::HashMap;

use memchr::memchr;
use rayon::prelude::*;

use crate::storage::name_filter::NameFilter;
use crate::storage::object_id::file_name;

/// Many paths in one piece of memory: 8 bytes each beyond the lines.
#[derive(Default)]
pub struct Paths {
    /// Each path with a newline after it.
    text: String,
    /// Where each begins.
    starts: Vec<u64>,
}

impl Paths {
    /// Adds a path, which holds no newline.
    pub fn push(&mut self, path: &str) {
        self.starts.push(self.text.len() as u64);
        self.text.push_str(path);
        self.text.push('\n');
    }

    /// Adds the paths of another.
    pub fn append(&mut self, other: Paths) {
        if self.len() == 0 {
            *self = other;
            return;
        }
        let offset = self.text.len() as u64;
        self.text.push_str(&other.text);
        self.starts
            .extend(other.starts.into_iter().map(|start| start + offset));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// The path that begins there, and the newline after it.
    fn line(&self, start: u64) -> &[u8] {
        let rest = &self.text.as_bytes()[start as usize..];
        let end = memchr(b'\n', rest);
        end.map_or(rest, |end| &rest[..=end])
    }

    /// The path that begins there.
    fn path(&self, start: u64) -> &[u8] {
        self.line(start).strip_suffix(b"\n").unwrap_or_default()
    }

    /// The name of the file whose path begins there.
    fn name(&self, start: u64) -> &[u8] {
        file_name(self.path(start))
    }

    /// The paths, each with a newline after it.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|&start| self.line(start))
    }

    /// Sorts by bytes.
    pub fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        // The trees below several directories, in the order of these, are so already.
        if !starts.is_sorted_by_key(|&start| self.path(start)) {
            starts.par_sort_unstable_by_key(|&start| self.path(start));
        }
        self.starts = starts;
    }

    /// Keeps the first of all paths with the same file name; a message for each of the others. The paths are sorted.
    pub fn drop_duplicate_names(&mut self) -> Vec<String> {
        let names = NameFilter::of(self.starts.par_iter().map(|&start| self.name(start)));
        let mut first_of: HashMap<&[u8], u64> = HashMap::new();
        let (mut dropped, mut messages) = (Vec::new(), Vec::new());
        for (index, start) in self.starts.iter().enumerate() {
            if !names.may_hold_twice(self.name(*start)) {
                continue;
            }
            let first = *first_of.entry(self.name(*start)).or_insert(*start);
            if first != *start {
                dropped.push(index);
                let [other, one] =
                    [*start, first].map(|start| String::from_utf8_lossy(self.path(start)));
                messages.push(format!("left out: {other} has the same object id as {one}"));
            }
        }
        let mut left_out = dropped.into_iter().peekable();
        let mut index = 0;
        self.starts.retain(|_| {
            let drop = left_out.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
        messages
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

    fn lines(paths: &Paths) -> String {
        let lines = paths.lines().flatten().copied().collect();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn the_first_of_equal_names_is_kept() {
        let mut found = paths(&["c/x.jpg", "b/y.jpg", "b/x.jpg", "a/x.jpg", "x.jpg"]);
        found.sort();
        let messages = found.drop_duplicate_names();
        assert_eq!(lines(&found), "a/x.jpg\nb/y.jpg\n");
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
        assert_eq!(lines(&found), "B.jpg\na-b.jpg\na.jpg\na/b.jpg\nä.jpg\n");
    }
}
