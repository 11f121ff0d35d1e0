//! Features follow the pictures: replaced, touched, moved, added before another of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use simsearch::storage::npy;

use crate::{Outcome, TestEnv, Tree, crash, need_runtime, ppm};

/// The path, the size and the time of the file that a feature was made from, where that is recorded.
pub(crate) type Source = Option<(String, i64, i64)>;

/// What a row is: the bytes of its feature, and its source.
pub(crate) type Row = (Vec<u8>, Source);

/// The rows of all shards of a tree, by object id; fails where one is there twice.
#[track_caller]
pub(crate) fn rows(tree: &Tree) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (name, features) in tree {
        let Some(number) = name.strip_suffix(".features.npy") else {
            continue;
        };
        let ids = npy::object_ids(&tree[&format!("{number}.object_ids.npy")]).unwrap();
        let (count, length, offset) = npy::features_shape(features, features.len() as u64).unwrap();
        let sources = match tree.get(&format!("{number}.sources.npy")) {
            Some(bytes) => sources(bytes),
            None => vec![None; count],
        };
        assert_eq!([ids.len(), sources.len()], [count; 2], "{number}");
        let features = features[offset..].chunks_exact(length * 4);
        for ((id, feature), source) in ids.into_iter().zip(features).zip(sources) {
            let before = rows.insert(id.clone(), (feature.to_vec(), source));
            assert!(before.is_none(), "{id} is there twice");
        }
    }
    rows
}

/// The rows of a `sources.npy`.
fn sources(bytes: &[u8]) -> Vec<Source> {
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..header]).unwrap();
    let width = text.split("<U").nth(1).unwrap().split('\'').next().unwrap();
    let path_bytes = width.parse::<usize>().unwrap() * 4;
    let rows = bytes[header..].chunks_exact(path_bytes + 16);
    let row = |row: &[u8]| {
        let (path, numbers) = row.split_at(path_bytes);
        let points = path
            .chunks_exact(4)
            .map(|point| u32::from_le_bytes(point.try_into().unwrap()));
        let path: String = points
            .filter(|point| *point > 0)
            .map(|point| char::from_u32(point).unwrap())
            .collect();
        let number = |at: usize| i64::from_le_bytes(numbers[at..at + 8].try_into().unwrap());
        (!path.is_empty()).then(|| (path, number(0), number(8)))
    };
    rows.map(row).collect()
}

/// Sets the time of a file's last change, in nanoseconds after some moment.
fn set_time(env: &TestEnv, entry: &str, nanoseconds: u64) {
    let file = File::options()
        .write(true)
        .open(env.path("media").join(entry))
        .unwrap();
    let time = SystemTime::UNIX_EPOCH
        + Duration::from_secs(1_700_000_000)
        + Duration::from_nanos(nanoseconds);
    file.set_modified(time).unwrap();
}

/// The neighbours of a picture file: ids and distances.
#[track_caller]
fn neighbours(env: &TestEnv, picture: &str, more: &[&str]) -> Vec<(String, f64)> {
    let model = crate::model_file("nhwc");
    let mut arguments = vec!["search", "--feature-dir", "features", "--json", picture];
    arguments.extend(["--model", model.to_str().unwrap()]);
    let runtime = crate::runtime().unwrap();
    arguments.extend(["--runtime", runtime.to_str().unwrap()]);
    arguments.extend(more);
    let outcome = env.run(arguments);
    let json = outcome.exits(0).json();
    let neighbours = json["neighbours"].as_array().unwrap().iter();
    let pair = |it: &Value| {
        (
            it["object_id"].as_str().unwrap().to_owned(),
            it["distance"].as_f64().unwrap(),
        )
    };
    neighbours.map(pair).collect()
}

/// The ids at distance 0 from a picture file.
#[track_caller]
fn same(env: &TestEnv, picture: &str) -> Vec<String> {
    let found = neighbours(env, picture, &[]);
    found
        .into_iter()
        .filter(|(_, distance)| *distance == 0.0)
        .map(|(id, _)| id)
        .collect()
}

#[track_caller]
fn extract(env: &TestEnv) -> Outcome {
    extract_with(env, "name")
}

/// The same with these object ids.
#[track_caller]
fn extract_with(env: &TestEnv, ids: &str) -> Outcome {
    let outcome = env.extract("nhwc", &["--json", "--ids", ids]);
    outcome.exits(0);
    outcome
}

#[test]
fn a_picture_that_is_replaced_is_found_as_what_it_is_now_packed_or_not() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for (seed, name) in ["a", "b", "c"].iter().enumerate() {
            env.picture(&format!("object/{name}.jpg"), seed);
        }
        env.list(&[]).exits(0);
        extract(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        env.write("old.jpg", ppm(30, 20, 0));
        assert_eq!(same(&env, "old.jpg"), ["a.jpg"]);
        env.picture("object/a.jpg", 7);
        let skipping = env.extract("nhwc", &["--json", "--assume-unchanged"]);
        assert_eq!(skipping.exits(0).counts(), [0, 3, 0, 0]);
        let outcome = extract(&env);
        assert_eq!(outcome.counts(), [1, 2, 0, 0], "{outcome}");
        assert_eq!(outcome.json()["changed"], 1);
        outcome.says(&["1 picture had changed"]);
        // Before and after it is packed.
        for _ in 0..2 {
            assert_eq!(same(&env, "media/object/a.jpg"), ["a.jpg"]);
            assert_eq!(same(&env, "old.jpg"), [""; 0]);
            assert_eq!(neighbours(&env, "old.jpg", &["-k", "9"]).len(), 3);
            env.run(["verify", "--feature-dir", "features"]).exits(0);
            assert_eq!(extract(&env).counts(), [0, 3, 0, 0]);
            let outcome = env.concat(&["--json"]);
            let replaced = &outcome.exits(0).json()["replaced"];
            assert!(*replaced == 0 || packed, "{outcome}");
        }
        assert_eq!(rows(&env.tree("features/nhwc")).len(), 3);
    }
}

#[test]
fn of_two_files_of_one_name_the_one_that_is_listed_is_the_one_that_is_found() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("2021/IMG_0001.jpg", 1);
    env.list(&[]).exits(0);
    extract(&env);
    env.concat(&[]).exits(0);
    env.picture("2020/IMG_0001.jpg", 2);
    // The first in order is the object now.
    env.list(&[]).exits(3);
    assert_eq!(extract(&env).counts(), [1, 0, 0, 0]);
    env.concat(&[]).exits(0).says(&["removed 1 older row"]);
    assert_eq!(same(&env, "media/2020/IMG_0001.jpg"), ["IMG_0001.jpg"]);
    assert_eq!(same(&env, "media/2021/IMG_0001.jpg"), [""; 0]);
    let rows = rows(&env.tree("features/nhwc"));
    assert_eq!(
        rows["IMG_0001.jpg"].1.as_ref().unwrap().0,
        "2020/IMG_0001.jpg"
    );
}

#[test]
fn another_picture_of_the_same_name_size_and_time_has_not_moved() {
    need_runtime!();
    let env = TestEnv::new();
    // As frames are that were unpacked from an archive.
    for (folder, seed) in [("a", 1), ("b", 2)] {
        env.picture(&format!("{folder}/frame.jpg"), seed);
        set_time(&env, &format!("{folder}/frame.jpg"), 0);
    }
    env.list(&["a"]).exits(0);
    extract(&env);
    env.list(&["b"]).exits(0);
    let outcome = extract(&env);
    assert_eq!(outcome.counts(), [1, 0, 0, 0], "{outcome}");
    assert_eq!(outcome.json()["moved"], 0, "{outcome}");
    assert_eq!(same(&env, "media/b/frame.jpg"), ["frame.jpg"]);
    assert_eq!(same(&env, "media/a/frame.jpg"), [""; 0]);
    // Another name of the same file is no other picture.
    fs::create_dir(env.path("media/c")).unwrap();
    fs::hard_link(env.path("media/b/frame.jpg"), env.path("media/c/frame.jpg")).unwrap();
    env.list(&["c"]).exits(0);
    let outcome = extract(&env);
    assert_eq!(outcome.json()["moved"], 1, "{outcome}");
}

#[test]
fn what_is_not_listed_or_listed_elsewhere_is_left_out_of_a_search_with_a_list() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for (seed, entry) in ["x/a.jpg", "x/b.jpg", "x/c.jpg", "x/d.jpg"]
            .iter()
            .enumerate()
        {
            env.picture(entry, seed);
        }
        env.list(&[]).exits(0);
        extract(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        let ids = |more: &[&str]| {
            let arguments = ["search", "--feature-dir", "features", "d.jpg", "--json"];
            let outcome = env.run(arguments.iter().chain(more));
            let json = outcome.exits(0).json();
            let found = json["neighbours"].as_array().unwrap().clone();
            let id = |it: Value| it["object_id"].as_str().unwrap().to_owned();
            let ids: BTreeSet<String> = found.into_iter().map(id).collect();
            (ids.into_iter().collect::<Vec<_>>().join(" "), outcome)
        };
        let listed = ["--media-dir", "media"];
        assert_eq!(ids(&listed).0, "a.jpg b.jpg c.jpg d.jpg");
        // One is another file now, one is deleted.
        env.picture("w/a.jpg", 9);
        fs::remove_file(env.path("media/x/b.jpg")).unwrap();
        env.list(&[]).exits(3);
        let (found, outcome) = ids(&listed);
        assert_eq!(found, "c.jpg d.jpg");
        outcome.says(&["left out: 2 of 4 objects, which are not listed in media/objects.txt"]);
        // Without a list, all there is.
        assert_eq!(ids(&[]).0, "a.jpg b.jpg c.jpg d.jpg");
        extract(&env);
        assert_eq!(ids(&listed).0, "a.jpg c.jpg d.jpg");
        // One is moved, and known there before and after it is packed.
        fs::create_dir(env.path("media/y")).unwrap();
        fs::rename(env.path("media/x/c.jpg"), env.path("media/y/c.jpg")).unwrap();
        env.list(&[]).exits(3);
        assert_eq!(ids(&listed).0, "a.jpg d.jpg");
        extract(&env);
        for _ in 0..2 {
            assert_eq!(ids(&listed).0, "a.jpg c.jpg d.jpg");
            env.concat(&[]).exits(0);
        }
        fs::remove_file(env.path("media/objects.txt")).unwrap();
        assert_eq!(ids(&listed).0, "a.jpg b.jpg c.jpg d.jpg");
    }
}

#[test]
fn answers_have_the_paths_of_the_files_before_and_after_they_are_packed_and_moved() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("x y/a.jpg", 1);
    env.picture("x y/b.jpg", 1);
    env.list(&[]).exits(0);
    extract(&env);
    let search = |more: &[&str]| {
        let arguments = ["search", "--feature-dir", "features", "a.jpg"];
        env.run(arguments.iter().chain(more))
    };
    let assert_paths = |paths: [&str; 2]| {
        let json = search(&["--json"]).exits(0).json();
        let found = [0, 1].map(|at| json["neighbours"][at]["path"].clone());
        assert_eq!(found, paths);
        let outcome = search(&["--paths"]);
        let [one, other] = paths;
        assert_eq!(outcome.exits(0).stdout, format!("{one} 0\n{other} 0\n"));
        assert_eq!(outcome.stderr, "");
    };
    assert_paths(["x y/a.jpg", "x y/b.jpg"]);
    env.concat(&[]).exits(0);
    assert_paths(["x y/a.jpg", "x y/b.jpg"]);
    fs::rename(env.path("media/x y"), env.path("media/z")).unwrap();
    env.list(&[]).exits(0);
    extract(&env);
    for _ in 0..2 {
        assert_paths(["z/a.jpg", "z/b.jpg"]);
        env.concat(&[]).exits(0);
    }
    // As an earlier version left them.
    fs::remove_file(env.path("features/nhwc/0000.sources.npy")).unwrap();
    assert_eq!(
        search(&["--json"]).json()["neighbours"][0]["path"],
        Value::Null
    );
    let outcome = search(&["--paths"]);
    outcome
        .exits(0)
        .says(&["no path is recorded of 2 neighbours"]);
    assert_eq!(outcome.stdout, "a.jpg 0\nb.jpg 0\n");
}

#[test]
fn status_and_verify_name_what_has_changed_or_moved_or_gone() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for (seed, name) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
            env.picture(&format!("x/{name}.jpg"), seed);
        }
        env.list(&[]).exits(0);
        extract(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        let status = |more: &[&str]| {
            let arguments = [
                "status",
                "--feature-dir",
                "features",
                "--media-dir",
                "media",
            ];
            env.run(arguments.iter().chain(more))
        };
        let named = || {
            let json = status(&["--json"]).exits(0).json();
            ["changed", "moved", "removed"].map(|name| {
                let ids = json[name].as_array().unwrap().iter();
                ids.map(|id| id.as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        let verify = [
            "verify",
            "--feature-dir",
            "features",
            "--media-dir",
            "media",
        ];
        assert_eq!(named(), ["", "", ""]);
        env.run(verify).exits(0);
        env.picture("x/a.jpg", 9);
        set_time(&env, "x/b.jpg", 1);
        fs::create_dir(env.path("media/y")).unwrap();
        fs::rename(env.path("media/x/c.jpg"), env.path("media/y/c.jpg")).unwrap();
        fs::remove_file(env.path("media/x/d.jpg")).unwrap();
        env.list(&[]).exits(0);
        fs::remove_file(env.path("media/x/e.jpg")).unwrap();
        assert_eq!(named(), ["a.jpg b.jpg", "c.jpg", "d.jpg e.jpg"]);
        let text = status(&[]).stdout;
        for line in [
            "changed    2: a.jpg, b.jpg\n",
            "moved      1: c.jpg\n",
            "removed    2: d.jpg, e.jpg\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let problems = env.run(verify);
        let problems = &problems.exits(1).stdout;
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), 2, "{problems}");
        for (line, entry) in lines.iter().zip(["x/a.jpg", "x/b.jpg"]) {
            assert!(line.starts_with(&format!("{entry}: has changed since its feature was made")));
        }
        extract(&env);
        assert_eq!(named(), ["", "", "d.jpg e.jpg"]);
        env.list(&[]).exits(0);
        prune(&env, &[]).exits(0);
        assert_eq!(named(), ["", "", ""]);
        env.concat(&[]).exits(0);
        assert_eq!(named(), ["", "", ""]);
        env.run(verify).exits(0);
    }
}

#[test]
fn a_picture_that_is_moved_gets_its_new_path_and_is_not_computed_again() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for (seed, name) in ["a", "b", "c"].iter().enumerate() {
            env.picture(&format!("old/{name}.jpg"), seed);
        }
        env.list(&[]).exits(0);
        extract(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        fs::rename(
            env.path("media/old"),
            env.path("media/a longer name than before"),
        )
        .unwrap();
        env.list(&[]).exits(0);
        let outcome = extract(&env);
        assert_eq!(outcome.counts(), [0, 3, 0, 0], "{outcome}");
        assert_eq!(outcome.json()["moved"], 3);
        let outcome = extract(&env);
        assert_eq!(outcome.json()["moved"], 0, "{outcome}");
        env.concat(&[]).exits(0);
        let outcome = extract(&env);
        assert_eq!(outcome.json()["moved"], 0, "{outcome}");
        for (id, (_, source)) in rows(&env.tree("features/nhwc")) {
            assert_eq!(source.unwrap().0, format!("a longer name than before/{id}"));
        }
        assert!(!env.path("features/nhwc/sources.jsonl").exists());
        env.run(["verify", "--feature-dir", "features"]).exits(0);
    }
}

#[test]
fn a_picture_that_changes_and_is_broken_keeps_its_feature_and_is_reported() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("object/a.jpg", 1);
    env.picture("object/b.jpg", 2);
    env.list(&[]).exits(0);
    extract(&env);
    env.write("media/object/a.jpg", "no picture at all");
    for _ in 0..2 {
        let outcome = env.extract("nhwc", &["--json"]);
        assert_eq!(outcome.exits(3).counts(), [0, 1, 1, 0], "{outcome}");
        let report = fs::read_to_string(env.path("features/nhwc/failures.jsonl")).unwrap();
        assert!(report.contains("not-a-picture"), "{report}");
    }
    let places = [
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
        "--json",
    ];
    let status = env.run(["status"].iter().chain(&places)).json();
    assert_eq!([&status["files"], &status["failed"]], [2, 1], "{status}");
    assert_eq!(status["changed"], serde_json::json!(["a.jpg"]));
    // Nothing that a run could mend.
    let verified = env.run(["verify"].iter().chain(&places));
    verified
        .exits(0)
        .says(&["object/a.jpg: has changed", "not-a-picture"]);
    env.picture("object/a.jpg", 3);
    assert_eq!(extract(&env).counts(), [1, 1, 0, 0]);
    assert!(!env.path("features/nhwc/failures.jsonl").exists());
    assert_eq!(same(&env, "media/object/a.jpg"), ["a.jpg"]);
}

#[test]
fn several_copies_make_a_changed_picture_again_once() {
    need_runtime!();
    let env = TestEnv::new();
    let entries: Vec<String> = (0..60).map(|at| format!("object/{at:04}.jpg")).collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    extract(&env);
    env.concat(&["--rows", "25"]).exits(0);
    for (number, entry) in entries.iter().enumerate() {
        set_time(&env, entry, number as u64);
    }
    let copies = [1, 2, 3].map(|seed: u8| {
        let seed = seed.to_string();
        let mut copy = env.extract_command("nhwc", &["--json", "--workers", "1", "--seed", &seed]);
        copy.stdout(std::process::Stdio::piped());
        copy.stderr(std::process::Stdio::piped());
        copy.spawn().unwrap()
    });
    let done = copies.map(|copy| {
        crate::wait("a copy of extract".into(), copy)
            .exits(0)
            .counts()[0]
    });
    let done: u64 = done.iter().sum();
    assert!((60..=62).contains(&done), "{done}");
    assert_eq!(extract(&env).counts(), [0, 60, 0, 0]);
    env.concat(&[]).exits(0);
    assert_eq!(extract(&env).counts(), [0, 60, 0, 0]);
}

#[test]
fn a_row_has_its_own_source_wherever_extract_is_killed_that_makes_it_again() {
    need_runtime!();
    if !cfg!(feature = "fault-points") {
        crate::skip!("the program is built without fault points; `make test` builds it with them");
    }
    for (first, packed, ids) in [
        (1, false, "name"),
        (2, true, "name"),
        (3, false, "path"),
        (4, true, "path"),
    ] {
        let env = TestEnv::new();
        env.picture("object/a.jpg", 1);
        env.picture("object/b.jpg", 2);
        env.list(&[]).exits(0);
        extract_with(&env, ids);
        // What a directory packs, without a change to it.
        let packed_rows = |env: &TestEnv| {
            let before = env.tree("features");
            env.concat(&[]).exits(0);
            let rows = rows(&env.tree("features/nhwc"));
            restore(env, &before);
            rows
        };
        let old = packed_rows(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        let before = env.tree("features");
        for entry in ["object/a.jpg", "object/b.jpg"] {
            env.write(
                Path::new("media").join(entry),
                ppm(40, 10, entry.len() + entry.as_bytes()[7] as usize),
            );
            set_time(&env, entry, 1);
        }
        extract_with(&env, ids);
        let new = packed_rows(&env);
        for (id, (feature, source)) in &new {
            assert!(*feature != old[id].0 && *source != old[id].1);
        }
        let mut seen = BTreeSet::new();
        let every = crash::every(4);
        for number in (1 + first % every..).step_by(every) {
            restore(&env, &before);
            let mut command = env.extract_command("nhwc", &["--workers", "1", "--seed", "1"]);
            command.env("SIMSEARCH_FAULT", format!("kill {number}"));
            let was_killed = crate::finish(command).was_killed();
            let found = packed_rows(&env);
            for (id, row) in &found {
                assert!(
                    *row == old[id] || *row == new[id],
                    "{number}: {id}: {:?}",
                    row.1
                );
            }
            seen.insert(found.iter().filter(|(id, row)| **row == new[*id]).count());
            if !was_killed {
                break;
            }
            extract_with(&env, ids);
            assert!(packed_rows(&env) == new);
        }
        assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    }
}

/// Makes `features` hold this and nothing else.
fn restore(env: &TestEnv, tree: &Tree) {
    fs::remove_dir_all(env.path("features")).unwrap();
    for (name, content) in tree.iter().filter(|(name, _)| !name.ends_with('/')) {
        env.write(Path::new("features").join(name), content);
    }
}

fn prune(env: &TestEnv, more: &[&str]) -> Outcome {
    let arguments = ["prune", "--media-dir", "media", "--feature-dir", "features"];
    env.run(arguments.iter().chain(more))
}

#[test]
fn what_is_no_longer_listed_is_pruned_packed_or_not() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for (seed, name) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
            env.picture(&format!("object/{name}.jpg"), seed);
        }
        env.write("media/object/broken.jpg", "no picture");
        env.list(&[]).exits(0);
        env.extract("nhwc", &[]).exits(3);
        if packed {
            env.concat(&["--rows", "2"]).exits(0);
        }
        fs::remove_file(env.path("media/object/broken.jpg")).unwrap();
        fs::remove_file(env.path("media/object/a.jpg")).unwrap();
        fs::rename(
            env.path("media/object/b.jpg"),
            env.path("media/object/bb.jpg"),
        )
        .unwrap();
        env.list(&[]).exits(0);
        env.extract("nhwc", &[]).exits(0);
        let before = env.tree("features");
        let outcome = prune(&env, &["--dry-run"]);
        outcome.exits(0).says(&["would remove 2 objects"]);
        assert_eq!(outcome.stdout, "a.jpg\nb.jpg\n");
        crate::assert_same_tree(&env.tree("features"), &before);
        let outcome = prune(&env, &["--json"]);
        let json = outcome.exits(0).json();
        assert_eq!(json["object_ids"], serde_json::json!(["a.jpg", "b.jpg"]));
        let counts = if packed { [2, 0] } else { [0, 2] };
        assert_eq!([&json["rows"], &json["files"]], counts);
        assert_eq!(json["failures"], 1);
        assert!(!env.path("features/nhwc/failures.jsonl").exists());
        let status = [
            "status",
            "--feature-dir",
            "features",
            "--media-dir",
            "media",
            "--json",
        ];
        let status = env.run(status).json();
        assert_eq!([&status["unlisted"], &status["pending"]], [0, 0]);
        env.concat(&[]).exits(0);
        let ids: Vec<String> = rows(&env.tree("features/nhwc")).into_keys().collect();
        assert_eq!(ids, ["bb.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]);
        assert_eq!(same(&env, "media/object/bb.jpg"), ["bb.jpg"]);
        assert!(!env.path("features/nhwc/sources.jsonl").exists());
        env.run(["verify", "--feature-dir", "features"]).exits(0);
    }
}

#[test]
fn what_is_extracted_while_prune_reads_the_list_stays_with_its_source() {
    need_runtime!();
    for more in [&[][..], &["--pack", "--part", "0/1", "--rows", "2"]] {
        let env = TestEnv::new();
        let mut entries = crate::extract::pictures(&env, 4);
        env.extract("nhwc", more).exits(0);
        let gone = entries.remove(0);
        fs::remove_file(env.path("media").join(gone)).unwrap();
        // A list of which each line takes its time.
        let list = env.path("list");
        nix::unistd::mkfifo(&list, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let arguments = ["prune", "--media-dir", "media", "--feature-dir", "features"];
        let mut prune = env.command(arguments);
        prune.args(["--objects", "list"]).stderr(Stdio::piped());
        let prune = prune.spawn().unwrap();
        let mut lines = File::options().write(true).open(&list).unwrap();
        entries.push("object/new.jpg".into());
        env.objects(&entries);
        env.picture("object/new.jpg", 9);
        env.extract("nhwc", more).exits(0);
        for entry in &entries[..3] {
            writeln!(lines, "{entry}").unwrap();
        }
        drop(lines);
        let pruned = crate::wait("prune".into(), prune);
        pruned.exits(0).says(&["removed 1 object"]);
        env.picture("object/new.jpg", 10);
        let outcome = env.extract("nhwc", &[more, &["--json"]].concat());
        assert_eq!(outcome.exits(0).json()["changed"], 1, "{outcome}");
    }
}

#[test]
fn what_looks_like_a_mistake_is_pruned_only_when_that_is_confirmed() {
    need_runtime!();
    let env = TestEnv::new();
    for (seed, name) in ["a", "b", "c", "d"].iter().enumerate() {
        env.picture(&format!("object/{name}.jpg"), seed);
    }
    env.list(&[]).exits(0);
    extract(&env);
    env.concat(&[]).exits(0);
    let before = env.tree("features");
    env.objects(&["object/a.jpg"]);
    prune(&env, &[])
        .exits(1)
        .says(&["3 of 4 features are not listed", "--dry-run", "--yes"]);
    prune(&env, &["--dry-run"]).exits(0).says(&[
        "would remove 3 objects",
        "it would be refused: 3 of 4 features are not listed",
    ]);
    // What was to write the list may have failed, whatever else is confirmed.
    prune(&env, &["--yes", "--objects", "/dev/null"])
        .exits(1)
        .says(&["the list of objects /dev/null is empty"]);
    env.objects(&["object/a.jpg", "object/b.jpg", "object/c.jpg"]);
    let unmounted = || fs::rename(env.path("media/object"), env.path("aside")).unwrap();
    unmounted();
    prune(&env, &[])
        .exits(1)
        .says(&["is its disk mounted?", "--yes"]);
    fs::rename(env.path("aside"), env.path("media/object")).unwrap();
    crate::assert_same_tree(&env.tree("features"), &before);
    // Its list may be cut off.
    prune(&env, &[]).exits(1).says(&[
        "media/object/d.jpg is still there, and not listed in media/objects.txt",
        "--yes",
    ]);
    crate::assert_same_tree(&env.tree("features"), &before);
    prune(&env, &["--yes"]).exits(0).says(&[
        "removed 1 object with 1 row",
        "one of these pictures is still there, and not listed",
    ]);
    unmounted();
    env.objects(&["object/a.jpg"]);
    prune(&env, &["--yes"])
        .exits(0)
        .says(&["removed 2 objects"]);
    // All of a shard.
    env.objects(&[""; 0]);
    prune(&env, &["--yes"]).exits(0);
    let left: Vec<String> = env.tree("features/nhwc").into_keys().collect();
    assert_eq!(left, ["SHA256SUMS", "recipe.json"]);
    env.run(["prune", "--feature-dir", "features"]).exits(2);
}

#[test]
fn what_cannot_be_looked_at_is_pruned_only_when_that_is_confirmed() {
    need_runtime!();
    let env = TestEnv::new();
    for (seed, name) in ["a/1", "a/2", "a/3", "b/4"].iter().enumerate() {
        env.picture(&format!("{name}.jpg"), seed);
    }
    let mut tar = tar::Builder::new(Vec::new());
    let (mut header, picture) = (tar::Header::new_gnu(), crate::ppm(30, 20, 9));
    header.set_size(picture.len() as u64);
    tar.append_data(&mut header, "5.jpg", &picture[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    env.write("media/c.tar", &tar);
    env.list(&[]).exits(0);
    extract(&env);
    let refused = |path: &str| {
        let before = env.tree("features");
        prune(&env, &[])
            .exits(1)
            .says(&[path, "cannot be looked at", "list again", "--yes"]);
        crate::assert_same_tree(&env.tree("features"), &before);
    };
    // A link to itself cannot be followed, whoever tries.
    fs::rename(env.path("media/b"), env.path("aside")).unwrap();
    symlink("b", env.path("media/b")).unwrap();
    env.list(&[]).exits(0);
    refused("media/b/4.jpg");
    fs::remove_file(env.path("media/b")).unwrap();
    prune(&env, &[]).exits(0).says(&["removed 1 object"]);
    env.write("media/c.tar", &tar[..600]);
    env.list(&[]).exits(3);
    refused("media/c.tar/5.jpg");
    // A whole one, without it.
    env.write("media/c.tar", [0; 1024]);
    env.list(&[]).exits(0);
    prune(&env, &[]).exits(0).says(&["removed 1 object"]);
}

#[test]
fn a_folder_of_many_pictures_that_is_empty_may_be_a_disk_that_is_not_mounted() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        for seed in 0..64 {
            env.picture(&format!("object/disk/{seed:04}.jpg"), seed);
        }
        for seed in 64..150 {
            env.picture(&format!("object/here/{seed:04}.jpg"), seed);
        }
        env.list(&[]).exits(0);
        extract(&env);
        if packed {
            env.concat(&[]).exits(0);
        }
        let before = env.tree("features");
        let disk = env.path("media/object/disk");
        fs::rename(&disk, env.path("aside")).unwrap();
        fs::create_dir(&disk).unwrap();
        env.list(&[]).exits(0);
        let refused = prune(&env, &[]);
        refused
            .exits(1)
            .says(&["media/object/disk is empty", "64 pictures", "--yes"]);
        crate::assert_same_tree(&env.tree("features"), &before);
        // Fewer are no such sign, and neither is a folder that is gone.
        fs::remove_dir(&disk).unwrap();
        prune(&env, &[]).exits(0).says(&["removed 64 objects"]);
    }
}

/// A tree of pictures that is edited at random.
pub(crate) struct Media<'a> {
    env: &'a TestEnv,
    /// Whether files in several folders may have one name.
    may_share_names: bool,
    random: StdRng,
    /// Counts everything that is to be new: pictures, times, names.
    count: u64,
    pub entries: BTreeSet<String>,
}

impl<'a> Media<'a> {
    /// No picture yet.
    pub fn new(env: &'a TestEnv, seed: u64) -> Self {
        Media {
            env,
            may_share_names: false,
            random: StdRng::seed_from_u64(seed),
            count: 0,
            entries: BTreeSet::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The name of a file, which no other has unless they may share names.
    fn new_name(&mut self) -> String {
        let number = self.next();
        match self.may_share_names {
            true => format!("{}.jpg", number % 4),
            false => format!("{number:04}.jpg"),
        }
    }

    /// Writes a picture that was never there, of this width, at this time.
    pub fn write(&mut self, entry: &str, width: usize, time: u64) {
        let seed = self.next() as usize;
        let path = Path::new("media").join(entry);
        self.env.write(path, ppm(width, 6, seed));
        set_time(self.env, entry, time);
        self.entries.insert(entry.to_owned());
    }

    fn any(&mut self) -> Option<String> {
        let count = self.entries.len();
        (count > 0)
            .then(|| self.random.random_range(0..count))
            .and_then(|at| self.entries.iter().nth(at).cloned())
    }

    fn rename(&mut self, from: &str, to: &str) {
        let [from_path, to_path] = [from, to].map(|entry| self.env.path("media").join(entry));
        fs::create_dir_all(to_path.parent().unwrap()).unwrap();
        fs::rename(from_path, to_path).unwrap();
        self.entries.remove(from);
        self.entries.insert(to.to_owned());
    }

    /// Does something to a picture; says what.
    pub fn edit(&mut self) -> String {
        let new = self.next();
        let folder = ["x", "y/z", "w"][self.random.random_range(0..3)];
        let new_entry = format!("{folder}/{}", self.new_name());
        let Some(entry) = self.any() else {
            self.write(&new_entry, 9, new);
            return "the first".into();
        };
        let path = self.env.path("media").join(&entry);
        let metadata = fs::metadata(&path).unwrap();
        let name = entry.rsplit('/').next().unwrap().to_owned();
        let what = match self.random.random_range(0..9) {
            0 => {
                self.write(&new_entry, 9, new);
                "another beside"
            }
            1 => {
                let width = 5 + new as usize % 7;
                self.write(&entry, width, new);
                "replaced"
            }
            2 => {
                set_time(self.env, &entry, new);
                "touched"
            }
            3 => {
                self.rename(&entry, &new_entry);
                "renamed"
            }
            4 => {
                self.rename(&entry, &format!("{folder}/{name}"));
                "moved"
            }
            5 => {
                fs::remove_file(&path).unwrap();
                self.entries.remove(&entry);
                "deleted"
            }
            6 => {
                let other = self.any().unwrap();
                let other_path = self.env.path("media").join(&other);
                let aside = self.env.path("aside");
                fs::rename(&path, &aside).unwrap();
                if other != entry {
                    fs::rename(&other_path, &path).unwrap();
                }
                fs::rename(&aside, &other_path).unwrap();
                "swapped"
            }
            7 => {
                // Of the same size.
                let bytes = fs::read(&path).unwrap();
                let at = bytes.len() - 1;
                let mut bytes = bytes;
                bytes[at] = bytes[at].wrapping_add(100);
                fs::write(&path, bytes).unwrap();
                set_time(self.env, &entry, new);
                "of the same size"
            }
            _ => {
                let width = 20 + new as usize;
                self.write(&entry, width, new);
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(metadata.modified().unwrap()).unwrap();
                "of the same time"
            }
        };
        format!("{entry}: {what}")
    }
}

#[test]
fn whatever_is_edited_the_rows_are_those_of_a_fresh_directory() {
    need_runtime!();
    let rounds = crate::seeds(6);
    let cases = (0..rounds).flat_map(|seed| [(seed, "name"), (seed, "path")]);
    for (seed, ids) in cases {
        let env = TestEnv::new();
        let mut media = Media::new(&env, seed);
        media.may_share_names = ids == "path";
        let mut story = Vec::new();
        for _ in 0..12 {
            for _ in 0..media.random.random_range(1..5) {
                story.push(media.edit());
            }
            if media.entries.is_empty() {
                continue;
            }
            for command in ["list", "extract", "concat", "prune"] {
                if media.random.random_range(0..4) == 0 {
                    break;
                }
                story.push(command.into());
                let outcome = match command {
                    "list" => env.list(&["--ids", ids]),
                    "extract" => env.extract("nhwc", &["--ids", ids]),
                    _ if !env.path("features/nhwc").exists() => continue,
                    "concat" => env.concat(&["--rows", "3"]),
                    _ => prune(&env, &["--yes"]),
                };
                // Where the list is not made anew, pictures are missing.
                let codes = [0, 1, 3].map(|code| outcome.exited_with(code));
                assert!(
                    codes.contains(&true) && (command == "extract" || codes[0]),
                    "{story:#?}\n{outcome}"
                );
            }
        }
        media.write("x/last.jpg", 9, 1);
        env.list(&["--ids", ids]).exits(0);
        env.extract("nhwc", &["--retry-failed", "--ids", ids]);
        extract_with(&env, ids);
        let mut last = ["concat", "prune"];
        if media.random.random() {
            last.reverse();
        }
        for command in last {
            match command {
                "concat" => env.concat(&["--rows", "3"]).exits(0),
                _ => prune(&env, &["--yes"]).exits(0),
            };
        }
        env.run([
            "verify",
            "--feature-dir",
            "features",
            "--media-dir",
            "media",
        ])
        .exits(0);
        let tree = env.tree("features/nhwc");
        let found = rows(&tree);
        let others: Vec<_> = tree.keys().filter(|name| !name.ends_with(".npy")).collect();
        assert_eq!(others, ["SHA256SUMS", "recipe.json"]);
        fs::rename(env.path("features"), env.path("before")).unwrap();
        extract_with(&env, ids);
        env.concat(&[]).exits(0);
        let fresh = rows(&env.tree("features/nhwc"));
        assert!(
            found == fresh,
            "seed {seed}, {ids}: {story:#?}\n{:#?}\n{:#?}",
            sources_of(&found),
            sources_of(&fresh)
        );
    }
}

pub(crate) fn sources_of(rows: &BTreeMap<String, Row>) -> Vec<(&String, &Source)> {
    rows.iter().map(|(id, (_, source))| (id, source)).collect()
}
