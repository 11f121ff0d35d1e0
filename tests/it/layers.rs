//! Which room of `src` may use which, as the map in `src/lib.rs` says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ROOT;

/// From the bottom up; rooms of one level do not use each other.
const LEVELS: [&[&str]; 4] = [
    &["support"],
    &["storage", "pictures"],
    &["inference", "similarity"],
    &["commands", "server"],
];

fn level(room: &str) -> usize {
    let found = LEVELS.iter().position(|rooms| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("`{room}` is not on the map"))
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.flat_map(|path| match path.is_dir() {
        true => source_files(&path),
        false => vec![path],
    });
    files
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

#[test]
fn rooms_use_only_rooms_below_them_and_commands_never_each_other() {
    let mut wrong = Vec::new();
    for room in LEVELS.concat() {
        let folder = Path::new(ROOT).join("src").join(room);
        for file in source_files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            // The name of the command, where the file belongs to one.
            let own = file.strip_prefix(&folder).unwrap().iter().next().unwrap();
            let own = Path::new(own).file_stem().unwrap().to_str().unwrap();
            for used in text.split("crate::").skip(1) {
                let mut path = used.split(|end: char| !end.is_alphanumeric() && end != '_');
                let (other, command) = (path.next().unwrap(), path.nth(1));
                let allowed = match other == room {
                    true => room != "commands" || command == Some(own),
                    false => level(other) < level(room),
                };
                if !allowed {
                    wrong.push(format!("{}: crate::{other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
