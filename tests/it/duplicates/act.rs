//! What `simsearch duplicates` does to pictures, and how it is undone.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::duplicates;
use crate::search::write_loose;
use crate::{Outcome, PROGRAM, TestEnv, feature_file, finish, ppm, skip};

use simsearch::storage::npy;

/// The first of two groups, in the order of their first members: a copy of the same bytes, and a smaller picture. The
/// second has a copy as well. One picture is in no group.
const PICTURES: [(&str, f32, usize); 6] = [
    ("a/one.ppm", 0.0, 40),
    ("a/copy.ppm", 0.0, 40),
    ("b/c/near.ppm", 1.0, 20),
    ("top.ppm", 10.0, 30),
    ("b/c/deep.ppm", 10.0, 30),
    ("alone.ppm", 50.0, 40),
];

/// Writes these pictures, their features, and from which files these were made.
pub fn collection() -> TestEnv {
    let env = TestEnv::new();
    let (mut features, mut record) = (Vec::new(), String::new());
    for (number, (entry, at, width)) in PICTURES.into_iter().enumerate() {
        let path = Path::new("media").join(entry);
        env.write(&path, ppm(width, 10, width));
        // Older ones are kept; and a time that a copy does not have by chance.
        let age = Duration::new(1_000_000_000 + 1000 * number as u64, 123_456_789);
        set_time(&env.path(&path), SystemTime::UNIX_EPOCH + age);
        let feature = vec![at, 1.0];
        let sum = crc32fast::hash(&feature_file(&feature)[npy::HEADER_LENGTH..]);
        let (size, mtime) = stamp(&env.path(&path));
        record += &format!(
            "{{\"path\":\"{entry}\",\"size\":{size},\"mtime_ns\":{mtime},\"feature_crc32\":{sum}}}\n"
        );
        let name = Path::new(entry).file_name().unwrap();
        features.push((name.to_str().unwrap().to_owned(), feature));
    }
    write_loose(&env, &features);
    env.write("features/model/sources.jsonl", record);
    env.objects(&PICTURES.map(|(entry, ..)| entry));
    env
}

fn set_time(path: &Path, time: SystemTime) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn stamp(path: &Path) -> (u64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (
        metadata.len(),
        metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
    )
}

/// A file: its bytes and the time of its last change. Or where a link leads.
type Found = (Vec<u8>, i64, Option<PathBuf>);

/// The files below a directory, but for the list.
pub fn files(directory: &Path) -> BTreeMap<String, Found> {
    let entries = walkdir::WalkDir::new(directory).into_iter();
    let files = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir());
    let files = files.map(|entry| {
        let path = entry.path();
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        let found = (
            fs::read(path).unwrap(),
            stamp(path).1,
            fs::read_link(path).ok(),
        );
        (name.to_owned(), found)
    });
    files.filter(|(name, _)| name != "objects.txt").collect()
}

/// What finds the groups, before what is done to them.
pub const FIND: [&str; 4] = ["--media-dir", "media", "--max-distance", "1"];

fn act(env: &TestEnv, more: &[&str]) -> Outcome {
    duplicates(env, &[&FIND, more].concat())
}

pub fn undo(env: &TestEnv) -> Outcome {
    env.run(["duplicates", "--undo", "features/model/undo-1.jsonl"])
}

/// A folder on another file system than that of the tests.
pub fn elsewhere() -> Option<tempfile::TempDir> {
    let device = |folder: &tempfile::TempDir| fs::metadata(folder.path()).unwrap().dev();
    let here = device(&tempfile::tempdir().unwrap());
    let folders = ["/dev/shm", env!("CARGO_TARGET_TMPDIR")].into_iter();
    let mut folders = folders.filter_map(|folder| tempfile::tempdir_in(folder).ok());
    folders.find(|folder| device(folder) != here)
}

#[test]
fn the_command_that_brings_pictures_back_can_be_pasted() {
    let env = collection();
    let before = files(&env.path("media"));
    fs::create_dir(env.path("it's here")).unwrap();
    fs::rename(env.path("features"), env.path("it's here/features")).unwrap();
    let find = ["duplicates", "--feature-dir", "it's here/features"];
    let done = env.run([&find[..], &FIND, &["--move-to", "found"]].concat());
    assert_ne!(files(&env.path("media")), before);
    let printed = done.exits(0).stderr.split('`').nth(1).unwrap();
    let pasted = printed.replacen("simsearch", PROGRAM, 1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &pasted]).current_dir(env.path(""));
    finish(shell)
        .exits(0)
        .says(&["3 pictures brought back, 0 in place"]);
    assert_eq!(files(&env.path("media")), before);
}

#[test]
fn what_people_have_decided_is_moved_and_nothing_else() {
    let env = collection();
    let before = files(&env.path("media"));
    let decided = |more: &[&str]| {
        let decided = ["--media-dir", "media", "--decided"];
        duplicates(&env, &[&decided, more].concat())
    };
    decided(&[]).exits(1).says(&[
        "nothing is decided yet",
        "features/model.decisions.jsonl",
        "simsearch serve --allow-changes",
    ]);
    let decisions = [
        r#"{"object_ids":["one.ppm","near.ppm"],"keep":"near.ppm"}"#,
        r#"{"object_ids":["top.ppm","deep.ppm"],"keep":null}"#,
        r#"{"object_ids":["alone.ppm","away.ppm"],"keep":"away.ppm"}"#,
    ];
    env.write("features/model.decisions.jsonl", decisions.join("\n"));
    let found = decided(&[]);
    found.exits(4).says(&[
        "1 object that decisions are about left out",
        "1 group of 2 objects, as decided",
    ]);
    let bytes = |width| ppm(width, 10, width).len();
    let expected = format!(
        "b/c/near.ppm 0 20x10 {}\na/one.ppm 1 40x10 {}\n",
        bytes(20),
        bytes(40)
    );
    assert_eq!(found.stdout, expected);
    // Without it the groups are others, and that is said.
    act(&env, &["--move-to", "found", "--dry-run"])
        .exits(0)
        .says(&["3 pictures would be moved", "is not followed; --decided"]);
    decided(&["--keep", "oldest"]).exits(2);
    let moved = decided(&["--move-to", "found"]);
    moved.exits(0).says(&["1 picture moved", "--undo"]);
    assert!(!moved.stderr.contains("is not followed"), "{moved}");
    let mut left = before.clone();
    left.remove("a/one.ppm").unwrap();
    assert!(files(&env.path("media")) == left);
    undo(&env).exits(0).says(&["1 picture brought back"]);
    assert!(files(&env.path("media")) == before);
}

/// Moves to a folder and back.
fn move_and_undo(folder: &Path) {
    let env = collection();
    let before = files(&env.path("media"));
    let folder = folder.join("found");
    let action = ["--move-to", folder.to_str().unwrap()];
    let tried = act(&env, &[&action[..], &["--dry-run"]].concat());
    tried.exits(0).says(&["3 pictures would be moved"]);
    assert!(files(&env.path("media")) == before && !folder.exists());
    assert!(!env.path("features/model/undo-1.jsonl").exists());
    let done = act(&env, &action);
    done.exits(0)
        .says(&["3 pictures moved", "--undo features/model/undo-1.jsonl"]);
    assert_eq!(done.stdout, tried.stdout);
    let media = fs::canonicalize(env.path("media")).unwrap();
    let lines: Vec<String> = ["a/copy.ppm", "b/c/near.ppm", "b/c/deep.ppm"]
        .map(|entry| {
            format!(
                "move {} to {}\n",
                media.join(entry).display(),
                folder.join(entry).display()
            )
        })
        .into();
    assert_eq!(done.stdout, lines.concat());
    let left = files(&env.path("media"));
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        ["a/one.ppm", "alone.ppm", "top.ppm"]
    );
    let moved = files(&folder);
    assert_eq!(left.len() + moved.len(), before.len());
    assert!(
        left.iter()
            .chain(&moved)
            .all(|(name, file)| before[name] == *file)
    );
    // Nothing is left to do.
    act(&env, &action)
        .exits(0)
        .says(&["3 of the files cannot be found", "0 pictures moved"]);
    // What is not an undo list, and other programs, find nothing wrong there.
    env.run(["verify", "--feature-dir", "features"]).exits(0);
    let undone = undo(&env);
    undone
        .exits(0)
        .says(&["3 pictures brought back, 0 in place already"]);
    assert_eq!(undone.stdout.lines().count(), 3);
    assert!(files(&env.path("media")) == before && files(&folder).is_empty());
    undo(&env)
        .exits(0)
        .says(&["0 pictures brought back, 3 in place already"]);
    assert!(files(&env.path("media")) == before);
    // The features are those of the pictures again.
    act(&env, &action)
        .exits(0)
        .says(&["3 pictures moved", "undo-2.jsonl"]);
}

#[test]
fn an_undo_is_refused_where_nothing_is_in_the_media_directory() {
    // Also where both folders have one name, and something is beside the media directory.
    for found in ["found", "other/media"] {
        let env = collection();
        let before = files(&env.path("media"));
        act(&env, &["--move-to", found]).exits(0);
        let media = env.path("media");
        fs::rename(&media, env.path("aside")).unwrap();
        for mount_point in [false, true] {
            if mount_point {
                fs::create_dir(&media).unwrap();
            }
            undo(&env)
                .exits(1)
                .says(&["there is nothing in ", "media, ", "is its disk mounted?"]);
            assert_eq!(media.exists(), mount_point);
            assert_eq!(files(&env.path(found)).len(), 3);
        }
        fs::remove_dir(&media).unwrap();
        fs::rename(env.path("aside"), &media).unwrap();
        undo(&env).exits(0).says(&["3 pictures brought back"]);
        assert!(files(&media) == before);
    }
}

#[test]
fn other_names_of_the_first_picture_are_left_and_counted() {
    let env = collection();
    let media = env.path("media");
    fs::remove_file(media.join("a/copy.ppm")).unwrap();
    fs::hard_link(media.join("a/one.ppm"), media.join("a/copy.ppm")).unwrap();
    for action in [
        &["--move-to", "found"][..],
        &["--hard-link"],
        &["--symlink"],
    ] {
        let outcome = act(&env, &[action, &["--dry-run"]].concat());
        outcome
            .exits(0)
            .says(&["1 picture left: the same file as the first in the group"]);
        let outcome = act(&env, &[action, &["--dry-run", "--json"]].concat());
        assert_eq!(outcome.json()["same_file"], 1, "{outcome}");
    }
}

#[test]
fn moved_pictures_keep_their_folders_and_an_undo_brings_them_back() {
    move_and_undo(tempfile::tempdir().unwrap().path());
}

#[test]
fn pictures_that_move_to_another_file_system_are_the_same_there_and_come_back() {
    match elsewhere() {
        Some(folder) => move_and_undo(folder.path()),
        None => skip!("neither /dev/shm nor target is on another file system"),
    }
}

#[test]
fn links_are_made_for_the_same_bytes_alone_and_an_undo_makes_files_of_them_again() {
    for action in ["--hard-link", "--symlink"] {
        let env = collection();
        let before = files(&env.path("media"));
        let inode = |entry: &str| {
            fs::symlink_metadata(env.path("media").join(entry))
                .unwrap()
                .ino()
        };
        let tried = act(&env, &[action, "--dry-run"]);
        tried.exits(0).says(&[
            "2 pictures would be linked",
            "1 picture left, since the bytes are others",
        ]);
        assert!(files(&env.path("media")) == before && inode("a/one.ppm") != inode("a/copy.ppm"));
        let done = act(&env, &[action]);
        done.exits(0).says(&[
            "2 pictures linked",
            "1 picture left, since the bytes are others",
        ]);
        assert_eq!(done.stdout, tried.stdout);
        let linked = files(&env.path("media"));
        assert!(linked.keys().eq(before.keys()));
        for (name, (bytes, mtime, leads_to)) in &linked {
            let kept = match name.as_str() {
                "a/copy.ppm" => ("a/one.ppm", "one.ppm"),
                "b/c/deep.ppm" => ("top.ppm", "../../top.ppm"),
                _ => (name.as_str(), ""),
            };
            assert_eq!(bytes, &before[name].0, "{name}");
            assert_eq!(mtime, &before[kept.0].1, "{name}");
            let is_link = action == "--symlink" && !kept.1.is_empty();
            assert_eq!(leads_to, &is_link.then(|| kept.1.into()), "{name}");
            assert!(is_link || inode(name) == inode(kept.0), "{name}");
        }
        // Nothing is left to do.
        act(&env, &[action]).exits(0).says(&["0 pictures linked"]);
        undo(&env).exits(0).says(&["2 pictures brought back"]);
        assert!(files(&env.path("media")) == before);
        let links = before
            .keys()
            .map(|name| fs::metadata(env.path("media").join(name)).unwrap().nlink());
        assert_eq!(links.collect::<Vec<_>>(), [1; 6]);
        undo(&env)
            .exits(0)
            .says(&["0 pictures brought back, 2 in place already"]);
        // A link that was removed since is made a file, too.
        act(&env, &[action]).exits(0);
        fs::remove_file(env.path("media/a/copy.ppm")).unwrap();
        env.run(["duplicates", "--undo", "features/model/undo-2.jsonl"])
            .exits(0);
        assert!(files(&env.path("media")) == before);
    }
}

/// What the three actions leave, and what they say of it.
#[track_caller]
fn is_left(env: &TestEnv, says: &[&str], still_done: usize) {
    let before = files(&env.path("media"));
    for action in [
        &["--move-to", "found"][..],
        &["--hard-link"],
        &["--symlink"],
    ] {
        let done = act(env, &[action, &["--dry-run", "--json"]].concat());
        done.exits(3).says(says);
        let changes = done.json()["changes"].as_array().unwrap().len();
        // The smaller picture of the first group moves, and gets no link.
        let nears = usize::from(action.len() == 2);
        assert_eq!(changes, still_done + nears, "{done}");
        let left = done.json()["left"].as_array().unwrap().len();
        assert_eq!(left, says.len(), "{done}");
    }
    assert!(files(&env.path("media")) == before);
}

#[test]
fn nothing_is_done_to_a_picture_that_is_not_as_it_was_when_its_feature_was_made() {
    let env = collection();
    env.write("media/b/c/deep.ppm", ppm(30, 10, 30));
    is_left(
        &env,
        &["b/c/deep.ppm: it has changed since its feature was made; run `simsearch extract`"],
        1,
    );
    let env = collection();
    env.write("media/top.ppm", ppm(30, 20, 1));
    is_left(
        &env,
        &["top.ppm: it has changed since its feature was made"],
        1,
    );
    let env = collection();
    let record = env.path("features/model/sources.jsonl");
    let lines = fs::read_to_string(&record).unwrap();
    let lines: Vec<&str> = lines
        .lines()
        .filter(|line| !line.contains("deep"))
        .collect();
    fs::write(&record, lines.join("\n") + "\n").unwrap();
    is_left(
        &env,
        &["b/c/deep.ppm: it is not recorded which file its feature was made from"],
        1,
    );
}

#[test]
fn the_page_does_not_show_a_file_that_is_another_one_than_was_compared() {
    let env = collection();
    let page = |env: &TestEnv| {
        duplicates(
            env,
            &[
                "--media-dir",
                "media",
                "--max-distance",
                "1.5",
                "--html",
                "page.html",
            ],
        )
        .exits(4);
        let page = fs::read_to_string(env.path("page.html")).unwrap();
        (
            page.matches("<img ").count(),
            page.matches("has changed since").count(),
        )
    };
    let (shown, changed) = page(&env);
    assert_eq!((shown > 2, changed), (true, 0));
    env.write("media/b/c/deep.ppm", ppm(30, 10, 30));
    assert_eq!(page(&env), (shown - 1, 1));
}

#[test]
fn links_and_what_is_behind_them_are_left() {
    let env = collection();
    let [deep, real] = ["media/b/c/deep.ppm", "real.ppm"].map(|name| env.path(name));
    fs::rename(&deep, &real).unwrap();
    symlink(&real, &deep).unwrap();
    is_left(&env, &["b/c/deep.ppm: it is a link, or no file"], 1);
    let env = collection();
    let [folder, real] = ["media/b", "real"].map(|name| env.path(name));
    fs::rename(&folder, &real).unwrap();
    symlink(&real, &folder).unwrap();
    let before = files(&env.path("real"));
    act(&env, &["--move-to", "found"]).exits(3).says(&[
        "b/c/near.ppm: a link leads to its folder",
        "b/c/deep.ppm: a link leads to its folder",
        "1 picture moved",
    ]);
    assert!(files(&env.path("real")) == before);
}

#[test]
fn two_paths_to_one_file_are_no_duplicates_to_act_on() {
    let env = collection();
    fs::remove_file(env.path("media/b/c/deep.ppm")).unwrap();
    symlink("../../top.ppm", env.path("media/b/c/deep.ppm")).unwrap();
    let done = act(&env, &["--move-to", "found"]);
    done.exits(0).says(&["2 pictures moved"]);
    assert!(env.path("media/top.ppm").is_file() && env.path("media/b/c/deep.ppm").is_symlink());
}

#[test]
fn a_picture_of_other_rights_gets_no_link_and_one_whose_place_is_taken_does_not_move() {
    let env = collection();
    let path = env.path("media/b/c/deep.ppm");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    env.write("found/b/c/deep.ppm", "another picture");
    for action in [
        &["--move-to", "found"][..],
        &["--hard-link"],
        &["--symlink"],
    ] {
        let why = match action.len() {
            2 => "found/b/c/deep.ppm is there already",
            _ => "its owner or mode is not that of",
        };
        act(&env, action).exits(3).says(&[why]);
        assert!(path.is_file());
        assert_eq!(
            fs::read(env.path("found/b/c/deep.ppm")).unwrap(),
            b"another picture"
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for list in ["features/model/undo-1.jsonl", "features/model/undo-2.jsonl"] {
            if env.path(list).exists() {
                env.run(["duplicates", "--undo", list]).exits(0);
            }
        }
    }
}

#[test]
fn a_mode_comes_back_with_its_picture() {
    let Some(folder) = elsewhere() else {
        skip!("neither /dev/shm nor target is on another file system");
    };
    for action in [
        &["--move-to", folder.path().to_str().unwrap()][..],
        &["--hard-link"],
    ] {
        let env = collection();
        for entry in ["a/one.ppm", "a/copy.ppm"] {
            let path = env.path("media").join(entry);
            fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
        }
        act(&env, action).exits(0);
        undo(&env).exits(0);
        let mode = fs::metadata(env.path("media/a/copy.ppm")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}

#[test]
fn a_hard_link_is_undone_also_when_its_first_has_another_name_or_none() {
    for is_renamed in [true, false] {
        let env = collection();
        let before = files(&env.path("media"));
        act(&env, &["--hard-link"]).exits(0);
        let inode = |name: &str| fs::metadata(env.path("media").join(name)).unwrap().ino();
        let linked = |name: &&String| inode(name) == inode("a/copy.ppm");
        let names: Vec<String> = before.keys().filter(linked).cloned().collect();
        let first = names.iter().find(|name| *name != "a/copy.ppm").unwrap();
        let firsts_path = env.path("media").join(first);
        match is_renamed {
            true => fs::rename(firsts_path, env.path("elsewhere")).unwrap(),
            false => fs::remove_file(firsts_path).unwrap(),
        }
        undo(&env);
        let after = files(&env.path("media"));
        assert!(after["a/copy.ppm"] == before["a/copy.ppm"], "{names:?}");
        let metadata = fs::metadata(env.path("media/a/copy.ppm")).unwrap();
        assert_eq!(metadata.nlink(), 1);
    }
}

#[test]
fn what_was_done_is_told_where_it_cannot_be_printed() {
    let env = collection();
    let mut command = env.command([
        "duplicates",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
        "--max-distance",
        "1",
        "--move-to",
        "found",
    ]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("pictures moved; `simsearch duplicates --undo"),
        "{said}"
    );
    assert!(said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn what_an_undo_cannot_bring_back_is_left_and_named() {
    let env = collection();
    act(&env, &["--move-to", "found"]).exits(0);
    env.write("found/a/copy.ppm", "somebody has drawn on it");
    fs::remove_file(env.path("found/b/c/near.ppm")).unwrap();
    env.write("media/b/c/deep.ppm", "another picture");
    let before = [files(&env.path("media")), files(&env.path("found"))];
    undo(&env).exits(3).says(&[
        "found/a/copy.ppm has changed since it was moved there",
        "found/b/c/near.ppm is there",
        "something else has its place now; what was moved is",
        "0 pictures brought back",
    ]);
    assert!([files(&env.path("media")), files(&env.path("found"))] == before);
    // Somebody has brought them back, and a file is where they were.
    let env = collection();
    act(&env, &["--move-to", "found"]).exits(0);
    for path in files(&env.path("found")).into_keys() {
        let (from, to) = (
            Path::new("found").join(&path),
            Path::new("media").join(&path),
        );
        fs::rename(env.path(from), env.path(to)).unwrap();
    }
    fs::remove_dir_all(env.path("found")).unwrap();
    env.write("found", "a file");
    undo(&env).exits(0).says(&["in place already"]);
    let env = collection();
    act(&env, &["--symlink"]).exits(0);
    env.write("media/a/one.ppm", ppm(40, 10, 1));
    fs::remove_file(env.path("media/top.ppm")).unwrap();
    undo(&env).exits(3).says(&[
        "a/one.ppm has changed since, and the bytes of this picture are no longer there",
        "cannot copy",
        "0 pictures brought back",
    ]);
    assert!(
        env.path("media/a/copy.ppm").is_symlink() && env.path("media/b/c/deep.ppm").is_symlink()
    );
    let names = files_in(&env.path("media/a"));
    assert_eq!(names, ["copy.ppm", "one.ppm"]);
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let env = collection();
    let before = files(&env.path("media"));
    for inside in ["media", "media/found", "media/a/../found", "./media/a"] {
        act(&env, &["--move-to", inside])
            .exits(1)
            .says(&["is inside the media directory", "name a directory outside"]);
    }
    for inside in ["features/model", "features/model/found"] {
        act(&env, &["--move-to", inside])
            .exits(1)
            .says(&["is inside the directory of features"]);
    }
    let keep = ["--against", "a", "--keep", "newest", "--move-to", "found"];
    act(&env, &keep).exits(2);
    env.write("file", "no folder");
    for file in ["file", "file/found"] {
        act(&env, &["--move-to", file])
            .exits(1)
            .says(&["/file is a file; name a directory"]);
    }
    act(&env, &["--move-to", "new/../media"])
        .exits(1)
        .says(&["name it without `..`"]);
    for wrong in [
        &["--move-to", "found", "--hard-link"][..],
        &["--hard-link", "--symlink"],
        &["--hard-link", "--linked"],
        &["--hard-link", "--csv"],
        &["--hard-link", "--histogram"],
        &["--dry-run"],
        &["--hard-link", "--undo", "list"],
    ] {
        act(&env, wrong).exits(2);
    }
    duplicates(&env, &["--max-distance", "1", "--hard-link"])
        .exits(2)
        .says(&["--media-dir"]);
    env.run(["duplicates", "--media-dir", "media"])
        .exits(2)
        .says(&["--feature-dir"]);
    env.run(["duplicates", "--undo", "none"])
        .exits(1)
        .says(&["cannot read the undo list none"]);
    env.write(
        "list",
        "{\"action\":\"remove\",\"path\":\"/a\",\"to\":\"/b\",\"size\":1,\"mtime_ns\":1}\n",
    );
    env.run(["duplicates", "--undo", "list"])
        .exits(1)
        .says(&["line 1 of list is not one of an undo list"]);
    assert!(files(&env.path("media")) == before && !env.path("found").exists());
}

#[test]
fn the_variables_of_other_commands_do_not_stand_in_the_way_of_an_undo() {
    let env = collection();
    act(&env, &["--hard-link"]).exits(0);
    let mut command = env.command([
        "duplicates",
        "--undo",
        "features/model/undo-1.jsonl",
        "--json",
    ]);
    command
        .env("MEDIA_DIR", "media")
        .env("FEATURE_DIR", "features");
    let undone = crate::finish(command);
    assert_eq!(
        undone.exits(0).json()["undone"].as_array().unwrap().len(),
        2
    );
}
