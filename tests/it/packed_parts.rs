//! `extract --pack` and `concat --merge`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use simsearch::storage::model_dir::ModelDir;
use simsearch::storage::npy;

use crate::crash::need_fault_points;
use crate::extract::{failures, features, pictures};
use crate::{
    Outcome, TestEnv, Tree, assert_same_tree, files_ending, finish, need_runtime, ppm, tree, until,
};

/// The bytes of rows, by the object ids.
pub type Rows = BTreeMap<String, Vec<u8>>;

/// The bytes of each object's row, in whatever shard below `features/<model>` it is.
pub fn rows(env: &TestEnv, model: &str) -> Rows {
    let found = env.tree(&format!("features/{model}"));
    let mut rows = Rows::new();
    for (name, content) in files_ending(&found, ".features.npy") {
        let ids = &found[&name.replace(".features.", ".object_ids.")];
        let ids = npy::object_ids(ids).unwrap();
        let (count, dimension, offset) =
            npy::features_shape(&content, content.len() as u64).unwrap();
        assert_eq!(count, ids.len(), "{name}");
        for (id, row) in ids.iter().zip(content[offset..].chunks(dimension * 4)) {
            let before = rows.insert(id.clone(), row.to_vec());
            assert!(before.is_none(), "{id} is there twice");
        }
    }
    rows
}

/// The rows that a run without parts makes, whose features are removed again.
fn rows_of_a_single_run(env: &TestEnv) -> Rows {
    env.extract("nhwc", &[]);
    env.concat(&["--rows", "4"]).exits(0);
    let expected = rows(env, "nhwc");
    fs::remove_dir_all(env.path("features")).unwrap();
    expected
}

fn pack(env: &TestEnv, part: &str) -> Outcome {
    env.extract("nhwc", &["--json", "--pack", "--rows", "2", "--part", part])
}

fn pack_all(env: &TestEnv, parts: usize) {
    for index in 0..parts {
        pack(env, &format!("{index}/{parts}")).exits(0);
    }
}

fn merge(env: &TestEnv, more: &[&str]) -> Outcome {
    let merge = ["concat", "--feature-dir", "features", "--json", "--merge"];
    env.run(merge.iter().chain(more))
}

/// What a command says of the features, and of the pictures that they were made from; it finds nothing wrong.
fn said(env: &TestEnv, command: &str) -> Value {
    let options = [
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
        "--json",
    ];
    let outcome = env.run([command].iter().chain(&options));
    outcome.exits(0).json()
}

fn verified(env: &TestEnv) -> Value {
    said(env, "verify")
}

fn status(env: &TestEnv) -> Value {
    said(env, "status")
}

/// What `search` prints for an object, without the time that it takes.
fn neighbours(env: &TestEnv, id: &str, more: &[&str]) -> String {
    let search = ["search", "--feature-dir", "features", "-k", "99", id];
    let outcome = env.run(search.iter().chain(more));
    outcome.exits(0);
    outcome.stdout
}

#[test]
fn parts_that_pack_have_the_rows_of_a_single_run_and_everything_that_reads_sees_them() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 12);
    env.extract("nhwc", &[]).exits(0);
    let expected_neighbours = neighbours(&env, "0003.jpg", &[]);
    fs::remove_dir_all(env.path("features")).unwrap();
    let expected = rows_of_a_single_run(&env);

    pack_all(&env, 3);
    assert_eq!(rows(&env, "nhwc"), expected);
    let found = env.tree("features/nhwc");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let parts: Vec<String> = (0..3).map(|at| format!("part-{at:05}-of-00003/")).collect();
    for name in &names {
        let is_of_part = parts.iter().any(|part| name.starts_with(part));
        let is_file_of_object = name.ends_with(".npy") && name.matches('/').count() > 1;
        assert!(
            is_of_part || ["recipe.json", "parts.json"].contains(name),
            "{names:?}"
        );
        assert!(!is_file_of_object && !name.contains(".tmp"), "{names:?}");
    }
    for part in &parts {
        for name in ["part.json", "recipe.json", "SHA256SUMS", "0000.sources.npy"] {
            assert!(
                found.contains_key(&format!("{part}{name}")),
                "{part}{name}: {names:?}"
            );
        }
    }
    for index in 0..3 {
        let outcome = pack(&env, &format!("{index}/3"));
        assert_eq!(outcome.exits(0).counts()[0], 0, "{outcome}");
    }
    assert_same_tree(&env.tree("features/nhwc"), &found);

    assert_eq!(neighbours(&env, "0003.jpg", &[]), expected_neighbours);
    let verified = verified(&env);
    assert_eq!(verified["rows"], 12);
    let status = status(&env);
    assert_eq!(
        [&status["packed"], &status["pending"], &status["sourced"]],
        [12, 0, 12]
    );
    let export = [
        "export",
        "--feature-dir",
        "features",
        "--json",
        "--output",
        "all.parquet",
    ];
    assert_eq!(env.run(export).exits(0).json()["rows"], 12);
    let index = ["index", "--feature-dir", "features", "--json"];
    assert_eq!(env.run(index).exits(0).json()["added"], 12);
    assert_eq!(env.run(index).exits(0).json()["added"], 0);
    assert_eq!(
        neighbours(&env, "0003.jpg", &["--approximate"]),
        expected_neighbours
    );
    // A run that writes files takes them for done.
    assert_eq!(
        env.extract("nhwc", &["--json"]).exits(0).counts(),
        [0, 12, 0, 0]
    );
    env.concat(&[]).exits(0).says(&["3 parts", "--merge"]);
    // A part by itself.
    let part = ["--feature-dir", "features/nhwc", "--model"];
    let verify = ["verify", "--json"].iter().chain(&part);
    let of_parts: Vec<u64> = (0..3)
        .map(|at| {
            let name = format!("part-{at:05}-of-00003");
            let outcome = env.run(verify.clone().copied().chain([name.as_str()]));
            outcome.exits(0).json()["rows"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(of_parts.iter().sum::<u64>(), 12, "{of_parts:?}");
}

#[test]
fn a_damaged_or_doubled_row_in_a_part_is_found_and_what_is_not_listed_leaves_it() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 6);
    pack_all(&env, 2);
    let verify = ["verify", "--feature-dir", "features"];
    env.run(verify).exits(0);
    let path = env.path("features/nhwc/part-00001-of-00002/0000.features.npy");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    let outcome = env.run(verify);
    outcome.exits(1);
    assert!(
        outcome
            .stdout
            .contains("part-00001-of-00002/0000.features.npy: its SHA-256"),
        "{outcome}"
    );
    fs::write(&path, whole).unwrap();
    let kept = entries.split_off(3);
    env.objects(&kept);
    let prune = [
        "prune",
        "--yes",
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
    ];
    env.run(prune).exits(0);
    let expected: Vec<&str> = kept.iter().map(|entry| &entry["object/".len()..]).collect();
    assert_eq!(rows(&env, "nhwc").into_keys().collect::<Vec<_>>(), expected);
    env.run(verify).exits(0);
    let [one, other] = [0, 1].map(|at| env.path(format!("features/nhwc/part-{at:05}-of-00002")));
    let shard = tree(&one);
    for (name, content) in shard.iter().filter(|(name, _)| name.ends_with(".npy")) {
        fs::write(other.join(name.replacen('0', "9", 1)), content).unwrap();
    }
    let outcome = env.run(verify);
    outcome.exits(1);
    assert!(
        outcome
            .stdout
            .contains(", and so is row 0 of part-00000-of-00002/"),
        "{outcome}"
    );
}

#[test]
fn a_picture_that_changed_or_moved_or_failed_is_made_good_in_its_part() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 5);
    env.write("media/object/0005.jpg", b"no picture");
    entries.push("object/0005.jpg".into());
    env.objects(&entries);
    let outcome = pack(&env, "0/1");
    assert_eq!(outcome.exits(3).counts(), [5, 0, 1, 0], "{outcome}");
    let part = "nhwc/part-00000-of-00001";
    assert_eq!(failures(&env, part).len(), 1);
    assert_eq!(failures(&env, "nhwc").len(), 0);
    assert_eq!(status(&env)["failed"], 1);
    let record =
        |env: &TestEnv| fs::read_to_string(env.path("features").join(part).join("part.json"));
    assert!(record(&env).unwrap().contains(r#""failed":1"#));

    env.picture("object/0001.jpg", 70);
    env.picture("object/0005.jpg", 75);
    fs::rename(
        env.path("media/object/0002.jpg"),
        env.path("media/0002.jpg"),
    )
    .unwrap();
    entries[2] = "0002.jpg".into();
    env.objects(&entries);
    let outcome = pack(&env, "0/1");
    assert_eq!(outcome.exits(0).counts(), [2, 4, 0, 0], "{outcome}");
    assert_eq!(outcome.json()["changed"], 1);
    assert_eq!(outcome.json()["moved"], 1);
    assert_eq!(failures(&env, part).len(), 0);
    assert!(record(&env).unwrap().contains(r#""failed":0"#));
    assert_eq!(verified(&env)["rows"], 6);
    let status = status(&env);
    assert_eq!(status["moved"], serde_json::json!([]), "{status}");
    let expected = rows_of_a_single_run_elsewhere(&env);
    assert_eq!(rows(&env, "nhwc"), expected);
}

/// What a run makes of the pictures as they are now, in a feature directory of its own.
fn rows_of_a_single_run_elsewhere(env: &TestEnv) -> Rows {
    fs::rename(env.path("features"), env.path("kept")).unwrap();
    let expected = rows_of_a_single_run(env);
    fs::rename(env.path("kept"), env.path("features")).unwrap();
    expected
}

#[test]
fn a_changed_picture_whose_feature_the_other_kind_of_run_has_packed_is_named() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 2);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    for seed in [3, 4] {
        env.picture(&format!("object/000{seed}.jpg"), seed);
        entries.push(format!("object/000{seed}.jpg"));
    }
    env.objects(&entries);
    env.picture("object/0000.jpg", 80);
    let outcome = pack(&env, "0/1");
    assert_eq!(outcome.exits(0).counts(), [2, 2, 0, 0], "{outcome}");
    outcome.says(&[
        "1 picture had changed too",
        "the model's directory",
        "without --pack",
    ]);
    env.picture("object/0003.jpg", 81);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 3, 0, 0], "{outcome}");
    outcome.says(&["1 picture had changed too", "a part", "with --pack"]);
    env.concat(&[]).exits(0);
    assert_eq!(pack(&env, "0/1").exits(0).counts(), [1, 3, 0, 0]);
    assert_eq!(rows(&env, "nhwc"), rows_of_a_single_run_elsewhere(&env));
    // A feature in a file of its own counts as well.
    env.picture("object/0005.jpg", 5);
    entries.push("object/0005.jpg".into());
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    assert_eq!(pack(&env, "0/1").exits(0).counts(), [0, 5, 0, 0]);
}

#[test]
fn status_says_which_parts_are_left() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 8);
    let status = |more: &[&str]| {
        let status = ["status", "--feature-dir", "features", "--model", "nhwc"];
        env.run(status.iter().chain(more)).exits(0).stdout.clone()
    };
    env.extract("nhwc", &["--part", "0/3", "--limit", "1"])
        .exits(0);
    assert!(!status(&[]).contains("parts"));
    for part in ["1/3", "0/3"] {
        pack(&env, part).exits(0);
    }
    let limited = ["--pack", "--part", "2/3", "--limit", "1"];
    env.extract("nhwc", &limited).exits(0);
    assert!(status(&[]).contains("parts      2 of 3 complete; left: 2/3\n"));
    let json: Value = serde_json::from_str(&status(&["--json"])).unwrap();
    let expected = serde_json::json!({"of": 3, "complete": 2, "left": [2]});
    assert_eq!(json["parts"], expected);
    pack(&env, "2/3").exits(0);
    assert!(status(&[]).contains("parts      3 of 3 complete\n"));
}

#[test]
fn of_two_numbers_of_parts_that_are_begun_at_once_one_is_refused_and_leaves_nothing_in_the_way() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    pictures(&env, 6);
    let part = |part| {
        let options = ["--pack", "--part", part, "--workers", "1"];
        env.extract_command("nhwc", &options)
    };
    let [steps, release] = ["steps", "release"].map(|name| env.path(name));
    let steps_of = || fs::read_to_string(&steps).unwrap_or_default();
    let mut undisturbed = part("0/3");
    undisturbed.env("SIMSEARCH_STEPS", &steps);
    finish(undisturbed).exits(0);
    // Up to the lock for the recipe, for which the other would wait.
    let taken = steps_of();
    let locks = taken
        .lines()
        .zip(1..)
        .filter(|(step, _)| *step == "create the lock file");
    let (_, last) = locks.collect::<Vec<_>>()[1];
    for number in 1..=last {
        fs::remove_dir_all(env.path("features")).unwrap();
        let _ = (fs::remove_file(&steps), fs::remove_file(&release));
        let mut waiting = part("0/3");
        waiting.env("SIMSEARCH_FAULT", format!("wait {number}"));
        waiting.env("SIMSEARCH_STEPS", &steps);
        waiting.env("SIMSEARCH_RELEASE", &release);
        waiting.stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = waiting.spawn().unwrap();
        until(|| steps_of().lines().any(|line| line.starts_with("wait ")));
        finish(part("0/2")).exits(0);
        env.write("release", "");
        let outcome = crate::wait("a part of three".into(), waiting);
        outcome
            .exits(1)
            .says(&["divided into 2 parts there, not into 3"]);
        finish(part("1/2")).exits(0);
        merge(&env, &[]).exits(0);
        assert_eq!(rows(&env, "nhwc").len(), 6, "{}", steps_of());
    }
}

#[test]
fn what_is_asked_of_a_part_has_to_fit_it() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    pack(&env, "0/2").exits(0);
    pack(&env, "0/3")
        .exits(1)
        .says(&["parts.json", "--part I/2"]);
    env.extract("nhwc", &["--rows", "2"])
        .exits(2)
        .says(&["--pack"]);
    env.extract("nhwc", &["--pack", "--seed", "1"])
        .exits(2)
        .says(&["--seed"]);
    env.extract("nhwc", &["--pack", "--part", "1/2", "--exact"])
        .exits(1)
        .says(&["--exact", "another --feature-dir"]);
    // A part that is not done has no record, and one that is done and empty has.
    let env = TestEnv::new();
    let path = env.path("features/nhwc/part-00000-of-00001/part.json");
    for listed in [3, 5] {
        pictures(&env, listed);
        env.extract("nhwc", &["--pack", "--limit", "1"]).exits(0);
        assert!(!path.exists());
        env.extract("nhwc", &["--pack"]).exits(0);
        assert!(path.exists());
    }
    env.objects(&[""; 0]);
    let outcome = env.extract("nhwc", &["--pack", "--json"]);
    assert_eq!(outcome.exits(0).counts(), [0, 0, 0, 0]);
}

#[test]
fn merged_parts_are_the_rows_of_a_single_run_and_the_parts_in_the_directory_are_gone() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 11);
    env.write("media/object/broken.jpg", b"no picture");
    entries.push("object/broken.jpg".into());
    env.objects(&entries);
    let expected = rows_of_a_single_run(&env);
    for index in 0..3 {
        pack(&env, &format!("{index}/3"));
    }
    let inodes = |tree: &str| {
        let walk = walkdir::WalkDir::new(env.path(tree)).into_iter();
        let files = walk.map(Result::unwrap);
        let files = files.filter(|entry| entry.path().to_string_lossy().ends_with(".features.npy"));
        let mut inodes: Vec<u64> = files.map(|file| file.metadata().unwrap().ino()).collect();
        inodes.sort_unstable();
        inodes
    };
    let before = inodes("features/nhwc");
    let sources: usize = sources(&env);
    let outcome = merge(&env, &[]);
    let json = outcome.exits(0).json();
    assert_eq!(
        [
            &json["parts"],
            &json["rows"],
            &json["copied"],
            &json["failed"]
        ],
        [3, 11, 0, 1]
    );
    assert_eq!(rows(&env, "nhwc"), expected);
    assert_eq!(inodes("features/nhwc"), before, "they are linked");
    let names: Vec<String> = env.tree("features/nhwc").into_keys().collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("part") || name.contains(".tmp")),
        "{names:?}"
    );
    assert_eq!(failures(&env, "nhwc").len(), 1);
    assert_eq!(self::sources(&env), sources);
    let verified = verified(&env);
    assert_eq!([&verified["rows"], &verified["failed"]], [11, 1]);
    assert_eq!(
        verified["checksums"],
        serde_json::json!(names.len() - 2),
        "{names:?}"
    );
    // What has failed is not tried again, and is no failure any more once a part has made it.
    assert_eq!(pack(&env, "0/1").exits(3).counts(), [0, 11, 1, 0]);
    env.picture("object/broken.jpg", 77);
    assert_eq!(pack(&env, "0/1").exits(0).counts(), [1, 11, 0, 0]);
    assert_eq!(merge(&env, &[]).exits(0).json()["failed"], 0);
    assert_eq!(failures(&env, "nhwc").len(), 0);
    // Runs of both kinds go on from there, and so does another merge.
    env.picture("object/new.jpg", 99);
    entries.push("object/new.jpg".into());
    env.objects(&entries);
    assert_eq!(pack(&env, "0/1").exits(0).counts(), [1, 12, 0, 0]);
    assert_eq!(merge(&env, &[]).exits(0).json()["rows"], 1);
    assert_eq!(rows(&env, "nhwc").len(), 13);
    assert_eq!(features(&env, "nhwc").len() % 3, 0);
}

/// How many rows say what they were made from.
fn sources(env: &TestEnv) -> usize {
    status(env)["sourced"].as_u64().unwrap() as usize
}

#[test]
fn parts_elsewhere_are_merged_and_stay_and_the_same_merge_again_does_nothing() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 7);
    let expected = rows_of_a_single_run(&env);
    pack_all(&env, 3);
    fs::create_dir(env.path("jobs")).unwrap();
    fs::rename(env.path("features/nhwc"), env.path("jobs/nhwc")).unwrap();
    fs::remove_dir(env.path("features")).unwrap();
    let parts = tree(&env.path("jobs"));
    // The directory is named like the one that the parts are in.
    let outcome = merge(&env, &["jobs/nhwc"]);
    outcome.exits(0).says(&["features/nhwc"]);
    assert_eq!(rows(&env, "nhwc"), expected);
    let merged = env.tree("features/nhwc");
    let named: Vec<String> = (0..3)
        .map(|at| format!("jobs/nhwc/part-{at:05}-of-00003"))
        .collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let again = merge(&env, &named).exits(0).json();
    assert_eq!([&again["rows"], &again["shards"]], [0, 0]);
    assert_ne!(again["already_merged"], 0);
    assert_same_tree(&env.tree("features/nhwc"), &merged);
    assert_same_tree(&tree(&env.path("jobs")), &parts);
    // Into a directory of another name.
    let mut other = named.clone();
    other.extend(["--model", "all.onnx"]);
    merge(&env, &other).exits(0);
    assert_eq!(rows(&env, "all"), expected);
}

#[test]
fn where_files_cannot_be_linked_they_are_copied_and_compared_with_their_checksums() {
    need_runtime!();
    let env = TestEnv::new();
    let Some(memory) = crate::duplicates::act::elsewhere() else {
        crate::skip!("neither /dev/shm nor target is on another file system");
    };
    pictures(&env, 5);
    let expected = rows_of_a_single_run(&env);
    pack_all(&env, 2);
    let feature_dir = memory.path().to_str().unwrap();
    let merge = [
        "concat",
        "--feature-dir",
        feature_dir,
        "--json",
        "--merge",
        "features/nhwc",
    ];
    let json = env.run(merge).exits(0).json();
    assert_eq!(json["copied"], json["shards"]);
    let verify = ["verify", "--feature-dir", feature_dir];
    env.run(verify).exits(0);
    fs::remove_dir_all(env.path("features")).unwrap();
    fs::create_dir(env.path("features")).unwrap();
    for (name, content) in tree(&memory.path().join("nhwc")) {
        env.write(Path::new("features/nhwc").join(name), content);
    }
    assert_eq!(rows(&env, "nhwc"), expected);

    fs::remove_dir_all(env.path("features")).unwrap();
    fs::remove_dir_all(memory.path().join("nhwc")).unwrap();
    pack_all(&env, 2);
    let path = env.path("features/nhwc/part-00001-of-00002/0000.features.npy");
    let mut damaged = fs::read(&path).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    let outcome = env.run(merge);
    outcome
        .exits(1)
        .says(&["part-00001-of-00002/0000.features.npy", "another SHA-256"]);
    let kept = tree(&memory.path().join("nhwc"));
    assert!(
        files_ending(&kept, ".npy.tmp").is_empty(),
        "{:?}",
        kept.keys()
    );
}

/// Each is refused by name, and nothing changes.
#[test]
fn parts_that_do_not_belong_together_are_not_merged() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 8);
    pack_all(&env, 3);
    let whole = env.tree("features/nhwc");
    let part = |at: usize| env.path(format!("features/nhwc/part-{at:05}-of-00003"));
    let refused = |more: &[&str], texts: &[&str]| {
        let before = env.tree("features");
        merge(&env, more).exits(1).says(texts);
        assert_same_tree(&env.tree("features"), &before);
    };
    fs::rename(part(1), env.path("away")).unwrap();
    refused(&[], &["part 1/3 is missing"]);
    fs::rename(env.path("away"), part(1)).unwrap();

    let record = fs::read(part(2).join("part.json")).unwrap();
    fs::remove_file(part(2).join("part.json")).unwrap();
    refused(&[], &["part 2/3 is not complete", "--pack --part 2/3"]);
    fs::write(part(2).join("part.json"), "{}").unwrap();
    refused(&[], &["part-00002-of-00003/part.json is damaged"]);
    fs::write(part(2).join("part.json"), record).unwrap();

    let recipe = fs::read_to_string(part(0).join("recipe.json")).unwrap();
    let other = recipe.replace(r#""exact": false"#, r#""exact": true"#);
    assert_ne!(other, recipe);
    fs::write(part(0).join("recipe.json"), other).unwrap();
    refused(
        &[],
        &["part-00000-of-00003", "--exact true", "mixed features"],
    );
    fs::write(part(0).join("recipe.json"), recipe).unwrap();

    // An object more, which is in one of the parts.
    let more: Vec<String> = entries
        .iter()
        .cloned()
        .chain(["object/more.jpg".into()])
        .collect();
    env.picture("object/more.jpg", 50);
    env.objects(&more);
    pack(&env, "1/3").exits(0);
    refused(
        &[],
        &["of another list", "of 9 lines, and of 8", "run it again"],
    );
    pack(&env, "0/3").exits(0);
    pack(&env, "2/3").exits(0);

    fs::create_dir(env.path("again")).unwrap();
    copy(&part(0), &env.path("again/part-00000-of-00003"));
    refused(
        &["features/nhwc", "again", "--model", "nhwc"],
        &["part 0/3 is there twice"],
    );
    copy(&part(0), &env.path("again/part-00000-of-00002"));
    refused(
        &[
            "features/nhwc",
            "again/part-00000-of-00002",
            "--model",
            "nhwc",
        ],
        &["part 0/2", "others are of 3"],
    );

    // The rows of a shard of another part.
    let one = part(1);
    let kept = tree(&one);
    let read = |name: &str| fs::read_to_string(one.join(name)).unwrap();
    let sums = fs::read_to_string(part(0).join("SHA256SUMS")).unwrap();
    let of_shard = sums.lines().filter(|line| line.contains("  0000."));
    let of_shard: Vec<String> = of_shard
        .map(|line| line.replace("  0000.", "  0077."))
        .collect();
    let ids = fs::read(part(0).join("0000.object_ids.npy")).unwrap();
    let more = npy::object_ids(&ids).unwrap().len();
    let mut record: Value = serde_json::from_str(&read("part.json")).unwrap();
    record["rows"] = (record["rows"].as_u64().unwrap() + more as u64).into();
    for name in ["features.npy", "object_ids.npy", "sources.npy"] {
        let from = part(0).join(format!("0000.{name}"));
        fs::copy(from, one.join(format!("0077.{name}"))).unwrap();
    }
    fs::write(one.join("part.json"), record.to_string()).unwrap();
    let sums = read("SHA256SUMS") + &of_shard.join("\n") + "\n";
    fs::write(one.join("SHA256SUMS"), sums).unwrap();
    refused(
        &[],
        &[
            ".jpg is there twice",
            "part-00000-of-00003/",
            "part-00001-of-00003/0077",
        ],
    );
    fs::remove_dir_all(&one).unwrap();
    fs::create_dir(&one).unwrap();
    for (name, content) in kept {
        fs::write(one.join(name), content).unwrap();
    }
    refused(&["media"], &["media is no part and holds none"]);
    refused(&["nowhere"], &["nowhere"]);
    let refuse_options = merge(&env, &["--rows", "3"]);
    refuse_options.exits(2).says(&["--rows"]);
    // Not all of those that are in the directory.
    let parts = [
        "features/nhwc/part-00000-of-00003",
        "features/nhwc/part-00001-of-00003",
    ];
    refused(&parts, &["part 2/3 is missing"]);
    assert_eq!(
        whole
            .keys()
            .filter(|name| name.ends_with("part.json"))
            .count(),
        3
    );
    merge(&env, &[]).exits(0);
    assert_eq!(rows(&env, "nhwc").len(), 9);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, content) in tree(from) {
        fs::write(to.join(name), content).unwrap();
    }
}

#[test]
fn a_part_that_has_lost_a_file_is_not_merged() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 8);
    pack_all(&env, 2);
    let part = env.path("features/nhwc/part-00001-of-00002");
    let whole = tree(&part);
    let shard = [
        "0000.features.npy",
        "0000.object_ids.npy",
        "0000.sources.npy",
    ];
    let sums = "SHA256SUMS";
    for (lost, says) in [
        (&shard[..], "part 1/2 has lost 0000."),
        (&shard[2..], "part 1/2 has lost 0000.sources.npy"),
        (&[sums], "part 1/2 has no checksum of 0000."),
    ] {
        for name in lost {
            fs::remove_file(part.join(name)).unwrap();
        }
        merge(&env, &[])
            .exits(1)
            .says(&[says, "nothing has changed"]);
        for name in lost {
            fs::write(part.join(name), &whole[*name]).unwrap();
        }
    }
    // With all that tells of it.
    for name in whole
        .keys()
        .filter(|name| name.ends_with(".npy") || *name == sums)
    {
        fs::remove_file(part.join(name)).unwrap();
    }
    merge(&env, &[])
        .exits(1)
        .says(&["has 0 features", "--pack --part 1/2"]);
    pack(&env, "1/2").exits(0);
    merge(&env, &[]).exits(0);
    assert_eq!(rows(&env, "nhwc").len(), 8);
}

#[test]
fn what_is_there_already_is_not_merged_beside_its_own_kind() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 4);
    env.extract("nhwc", &[]).exits(0);
    let files = env.tree("features/nhwc");
    fs::rename(env.path("features"), env.path("plain")).unwrap();
    // One worker, so that the rows are in the order of the list.
    let part = ["--pack", "--rows", "2", "--part", "0/1", "--workers", "1"];
    env.extract("nhwc", &part).exits(0);
    // Files of the same objects, as of a run that went on at the same time.
    for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".npy")) {
        env.write(Path::new("features/nhwc").join(name), content);
    }
    merge(&env, &[]).exits(1).says(&[
        "0000.jpg is there twice",
        "00/00/0000.jpg.npy",
        "part-00000-of-00001/",
    ]);
    let mut other = files["00/01/0001.jpg.npy"].clone();
    *other.last_mut().unwrap() ^= 1;
    env.write("features/nhwc/00/01/0001.jpg.npy", other);
    let outcome = env.concat(&["--json"]);
    outcome
        .exits(3)
        .says(&["0001.jpg.npy: differs from row", "part-00000-of-00001/000"]);
    assert_eq!(outcome.json()["already_packed"], 3, "{outcome}");
    fs::remove_file(env.path("features/nhwc/00/01/0001.jpg.npy")).unwrap();
    merge(&env, &[]).exits(0);
    assert_eq!(rows(&env, "nhwc").len(), 4);
}

#[test]
fn what_is_not_listed_leaves_its_part_also_while_another_one_is_written() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 8);
    pack_all(&env, 2);
    let ids_of = |part: usize| -> Vec<String> {
        let found = tree(&env.path(format!("features/nhwc/part-{part:05}-of-00002")));
        let ids = files_ending(&found, ".object_ids.npy").into_values();
        ids.flat_map(|ids| npy::object_ids(&ids).unwrap()).collect()
    };
    let gone = ids_of(0).swap_remove(0);
    let kept: Vec<&String> = entries
        .iter()
        .filter(|entry| !entry.ends_with(&gone))
        .collect();
    env.objects(&kept);
    let prune = [
        "prune",
        "--yes",
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
    ];
    let hold = |part: usize| {
        let path = env.path(format!("features/nhwc/part-{part:05}-of-00002"));
        let part = ModelDir::open(&path).unwrap();
        let held = part.lock_packing(&|_| {}).unwrap();
        (part, held)
    };
    let held = hold(0);
    env.run(prune)
        .exits(11)
        .says(&["part-00000-of-00002 is being"]);
    drop(held);
    let held = hold(1);
    env.run(prune).exits(0);
    drop(held);
    assert!(!rows(&env, "nhwc").contains_key(&gone));
    // The part is complete without it.
    merge(&env, &[]).exits(0);
    assert_eq!(rows(&env, "nhwc").len(), 7);
}

#[test]
fn a_part_that_another_process_writes_to_is_not_merged() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 4);
    pack_all(&env, 2);
    let before = env.tree("features");
    let part = ModelDir::open(&env.path("features/nhwc/part-00001-of-00002")).unwrap();
    let held = part.lock_packing(&|_| {}).unwrap();
    let this = format!("process {}", std::process::id());
    merge(&env, &[])
        .exits(11)
        .says(&["part-00001-of-00002 is being written to by", &this]);
    drop(held);
    assert_same_tree(&env.tree("features"), &before);
    merge(&env, &[]).exits(0);
}

#[test]
fn a_part_that_holds_files_of_others_stays_with_them() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    pack_all(&env, 1);
    env.write("features/nhwc/part-00000-of-00001/notes.txt", "mine");
    let part = [
        "--feature-dir",
        "features/nhwc",
        "--model",
        "part-00000-of-00001",
    ];
    env.run([&["index"], &part[..]].concat()).exits(0);
    merge(&env, &[])
        .exits(0)
        .says(&["part-00000-of-00001 stays", "such as notes.txt"]);
    // Its index is of shards that are gone.
    let left: Tree = tree(&env.path("features/nhwc/part-00000-of-00001"));
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["notes.txt"]);
    assert_eq!(rows(&env, "nhwc").len(), 3);
    assert_eq!(status(&env)["parts"], Value::Null);
    let packed = env.concat(&["--json"]);
    assert_eq!(packed.exits(0).json()["parts"], 0);
    // It is no part any more, and does not stand in the way of other parts.
    pictures(&env, 5);
    pack_all(&env, 2);
    merge(&env, &[]).exits(0);
    assert_eq!(rows(&env, "nhwc").len(), 5);
    env.run(["verify", "--feature-dir", "features"]).exits(0);
}

#[test]
fn a_link_in_the_place_of_a_part_is_not_followed() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    pack_all(&env, 1);
    let part = env.path("features/nhwc/part-00000-of-00001");
    fs::rename(&part, env.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(env.path("elsewhere"), &part).unwrap();
    let before = tree(&env.path("elsewhere"));
    pack(&env, "0/1")
        .exits(1)
        .says(&["part-00000-of-00001 is a link"]);
    assert_eq!(status(&env)["packed"], 0);
    merge(&env, &[]).exits(0).says(&["no parts"]);
    assert_same_tree(&tree(&env.path("elsewhere")), &before);
    fs::remove_file(&part).unwrap();
    fs::create_dir(env.path("features/nhwc/part-0-of-1")).unwrap();
    env.run(["verify", "--feature-dir", "features"])
        .exits(0)
        .says(&["part-0-of-1: is not read"]);
}

#[test]
fn a_list_of_its_own_ids_and_standard_input_make_parts_that_merge() {
    need_runtime!();
    let env = TestEnv::new();
    for (seed, entry) in ["a/1.jpg", "b/1.jpg", "c/1.jpg"].iter().enumerate() {
        env.write(Path::new("media").join(entry), ppm(20, 30, seed));
    }
    for part in ["0/2", "1/2"] {
        let options = ["--pack", "--part", part, "--ids", "path", "--objects", "-"];
        let mut command = env.extract_command("nhwc", &options);
        env.write("list", "c/1.jpg\nb/1.jpg\na/1.jpg\n");
        command.stdin(fs::File::open(env.path("list")).unwrap());
        finish(command).exits(0);
    }
    merge(&env, &[]).exits(0);
    let ids: Vec<String> = rows(&env, "nhwc").into_keys().collect();
    assert_eq!(ids, ["a/1.jpg", "b/1.jpg", "c/1.jpg"]);
}
