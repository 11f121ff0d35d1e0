//! Which folder of `src` may use which, as the map in `src/lib.rs` says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ROOT;

/// From the bottom up; folders of one level do not use each other.
const LEVELS: [&[&str]; 4] = [
    &["support"],
    &["storage", "pictures"],
    &["inference", "similarity"],
    &["commands", "server"],
];

/// Where in `src` a library is used, and nowhere else.
const HOMES: [(&str, &str); 5] = [
    ("clap", "cli"),
    ("ort", "inference"),
    ("axum", "server"),
    ("tokio", "server"),
    ("notify", "commands/watch"),
];

fn level(folder_name: &str) -> usize {
    let found = LEVELS
        .iter()
        .position(|folders| folders.contains(&folder_name));
    found.unwrap_or_else(|| panic!("`{folder_name}` is not on the map"))
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
fn folders_use_only_those_below_them_and_commands_never_each_other() {
    let mut wrong = Vec::new();
    for folder_name in LEVELS.concat() {
        let folder = Path::new(ROOT).join("src").join(folder_name);
        for file in source_files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            // A module may end in `_crate`.
            let text = text.replace("_crate::", "");
            // The name of the command, where the file belongs to one.
            let own = file.strip_prefix(&folder).unwrap().iter().next().unwrap();
            let own = Path::new(own).file_stem().unwrap().to_str().unwrap();
            for used in text.split("crate::").skip(1) {
                let mut path = used.split(|end: char| !end.is_alphanumeric() && end != '_');
                let (other, command) = (path.next().unwrap(), path.nth(1));
                let allowed = match other == folder_name {
                    true => folder_name != "commands" || command == Some(own),
                    false => level(other) < level(folder_name),
                };
                if !allowed {
                    wrong.push(format!("{}: crate::{other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_library_is_used_in_its_home_alone() {
    let sources = Path::new(ROOT).join("src");
    let mut wrong = Vec::new();
    let mut at_home = BTreeSet::new();
    for file in source_files(&sources) {
        let text = fs::read_to_string(&file).unwrap();
        for (library, home) in HOMES {
            let used = format!("{library}::");
            let is_name = |end: char| end.is_alphanumeric() || end == '_';
            let mut before = text.match_indices(&used).map(|(at, _)| &text[..at]);
            if before.all(|before| before.ends_with(is_name)) {
                continue;
            }
            match file.starts_with(sources.join(home)) {
                true => _ = at_home.insert(library),
                false => wrong.push(format!("{}: {library}", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(at_home.len(), HOMES.len(), "{at_home:?}");
}
