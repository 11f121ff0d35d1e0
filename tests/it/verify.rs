//! `simsearch verify`, and the checksums that `concat` records for it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use simsearch::storage::model_dir::{ModelDir, Packing};
use simsearch::storage::npy;

use crate::concat::{feature, nested, numbered, write_features};
use crate::{TestEnv, Tree, assert_same_tree, feature_file, need_runtime, skip};

/// A recipe of features of five numbers.
const RECIPE: &str = r#"{"format": 1, "model_sha256": "00", "output": "o", "preprocessing": "p", "feature_length": 5,
    "dtype": "<f4", "exact": false}"#;

/// A directory of three shards of 4, 4 and 2 rows, all in order; returns what is in it.
fn three_shards(env: &TestEnv) -> Tree {
    write_features(env, &numbered(0..10));
    env.write("features/model/recipe.json", RECIPE);
    env.concat(&["--rows", "4"]).exits(0);
    verify(env, &[]).exits(0);
    env.tree("features/model")
}

fn verify(env: &TestEnv, more: &[&str]) -> crate::Outcome {
    env.run(
        ["verify", "--feature-dir", "features", "--json"]
            .iter()
            .chain(more),
    )
}

/// Makes `features/model` hold this and nothing else.
fn restore(env: &TestEnv, tree: &Tree) {
    fs::remove_dir_all(env.path("features/model")).unwrap();
    for (name, content) in tree.iter().filter(|(name, _)| !name.ends_with('/')) {
        env.write(Path::new("features/model").join(name), content);
    }
}

/// Fails unless these are all problems: of each the file, and a part of the message.
#[track_caller]
fn assert_problems(outcome: &crate::Outcome, expected: &[(&str, &str)]) {
    let found = problems(outcome, "problems");
    let fits = |((file, message), (name, text)): (&(String, String), &(&str, &str))| {
        file.ends_with(name) && message.contains(name) && message.contains(text)
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(fits),
        "expected {expected:#?}\n{outcome}"
    );
    outcome.exits(i32::from(!expected.is_empty()));
}

/// File and message of each problem or note.
fn problems(outcome: &crate::Outcome, kind: &str) -> Vec<(String, String)> {
    let text = |problem: &serde_json::Value, name: &str| problem[name].as_str().unwrap().to_owned();
    let json = outcome.json();
    let problems = json[kind].as_array().unwrap().iter();
    problems
        .map(|problem| (text(problem, "file"), text(problem, "message")))
        .collect()
}

/// A shard's file of these object ids.
fn ids_file(ids: &[&str]) -> Vec<u8> {
    let mut bytes = npy::object_ids_header(ids.len(), 9);
    ids.iter()
        .for_each(|id| npy::append_object_id(id, 9, &mut bytes));
    bytes
}

#[test]
fn every_kind_of_damage_is_named() {
    const FEATURES: &str = "0001.features.npy";
    const IDS: &str = "0001.object_ids.npy";
    const SUMS: &str = "SHA256SUMS";
    let env = TestEnv::new();
    let whole = three_shards(&env);
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = whole[name].clone();
        change(&mut content);
        env.write(Path::new("features/model").join(name), content);
    };
    let put = |name: &str, content: &[u8]| {
        env.write(Path::new("features/model").join(name), content);
    };
    let remove = |name: &str| fs::remove_file(env.path("features/model").join(name)).unwrap();
    // As if the damage had been there when the checksums were recorded.
    let record = || {
        remove(SUMS);
        env.concat(&[]).exits(0);
    };
    let not_recorded = "its SHA-256 is not the one in SHA256SUMS";
    let float_at = |row: usize, column: usize| npy::HEADER_LENGTH + (row * 5 + column) * 4;
    let torn = &feature_file(&feature(7))[..140];
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a [(&'a str, &'a str)]);
    let damages: &[Damage<'_>] = &[
        ("nothing", &|| {}, &[]),
        (
            "a bit of a feature",
            &|| change(FEATURES, &|bytes| bytes[float_at(1, 2)] ^= 1),
            &[(FEATURES, not_recorded)],
        ),
        (
            "a character of an object id",
            &|| change(IDS, &|bytes| bytes[npy::HEADER_LENGTH] ^= 1),
            &[(IDS, not_recorded)],
        ),
        (
            "NaN, packed so",
            &|| {
                change(FEATURES, &|bytes| {
                    bytes[float_at(2, 3)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
                });
                record();
            },
            &[(FEATURES, "row 2 holds a number that is not finite")],
        ),
        (
            "no object ids",
            &|| remove(IDS),
            &[(
                FEATURES,
                "its other half features/model/0001.object_ids.npy is missing",
            )],
        ),
        (
            "no features",
            &|| remove(FEATURES),
            &[(
                IDS,
                "its other half features/model/0001.features.npy is missing",
            )],
        ),
        (
            "no shard",
            &|| {
                [FEATURES, IDS].into_iter().for_each(remove);
                // Nothing that packs meanwhile forgets it.
                env.concat(&[]).exits(0);
            },
            &[
                (FEATURES, "is missing but has a line"),
                (IDS, "is missing but has a line"),
            ],
        ),
        (
            "another type",
            &|| {
                change(FEATURES, &|bytes| {
                    let at = bytes.windows(3).position(|text| text == b"<f4").unwrap();
                    bytes[at..at + 3].copy_from_slice(b"<i4");
                });
            },
            &[(FEATURES, "holds <i4 [4, 5], expected float32 features")],
        ),
        (
            "features cut off",
            &|| change(FEATURES, &|bytes| bytes.truncate(200)),
            &[(FEATURES, "is 200 bytes long, its header calls for 208")],
        ),
        (
            "another length of the features",
            &|| {
                put(
                    FEATURES,
                    &[&npy::features_header(&[4, 3])[..], &[0; 48]].concat(),
                );
                record();
            },
            &[(FEATURES, "has features of 3 numbers, recipe.json says 5")],
        ),
        (
            "fewer object ids than features",
            &|| {
                put(IDS, &ids_file(&["00004.jpg", "00005.jpg", "00006.jpg"]));
                record();
            },
            &[(IDS, "has 3 rows, 0001.features.npy has 4")],
        ),
        (
            "an object id in two shards",
            &|| {
                put(
                    IDS,
                    &ids_file(&["00004.jpg", "00003.jpg", "00006.jpg", "00007.jpg"]),
                );
                record();
            },
            &[(
                IDS,
                "row 1 is of 00003.jpg, and so is row 3 of 0000.object_ids.npy",
            )],
        ),
        (
            "a directory in the place of a file",
            &|| {
                remove(IDS);
                fs::create_dir(env.path("features/model").join(IDS)).unwrap();
            },
            &[(IDS, "not a regular file")],
        ),
        (
            "a file of a packed object",
            &|| write_features(&env, &["00000.jpg"]),
            &[(
                "00/00/00000.jpg.npy",
                "00000.jpg has another feature in row 0 of 0000.object_ids.npy",
            )],
        ),
        (
            "two files of an object",
            &|| {
                put("ab/cd/abcd.jpg.npy", &feature_file(&feature(0)));
                put("xx/cd/abcd.jpg.npy", &feature_file(&feature(0)));
            },
            &[(
                "xx/cd/abcd.jpg.npy",
                "has another feature in ab/cd/abcd.jpg.npy",
            )],
        ),
        (
            "files torn, emptied and zeroed",
            &|| {
                put("ab/cd/abcd1.jpg.npy", torn);
                put("ab/cd/abcd2.jpg.npy", &[]);
                put("ab/cd/abcd3.jpg.npy", &vec![0; torn.len()]);
            },
            &[
                ("abcd1.jpg.npy", "is 140 bytes long"),
                ("abcd2.jpg.npy", "no .npy header"),
                ("abcd3.jpg.npy", "no .npy header"),
            ],
        ),
        (
            "files that are not finite, or of another length",
            &|| {
                put(
                    "ab/cd/abcd1.jpg.npy",
                    &feature_file(&[1.0, 2.0, f32::INFINITY, 4.0, 5.0]),
                );
                put("ab/cd/abcd2.jpg.npy", &feature_file(&[1.0, 2.0]));
            },
            &[
                ("abcd1.jpg.npy", "not finite (at index 2)"),
                (
                    "abcd2.jpg.npy",
                    "has features of 2 numbers, recipe.json says 5",
                ),
            ],
        ),
        (
            "no checksums",
            &|| remove(SUMS),
            &[(SUMS, "there are no checksums")],
        ),
        (
            "a line of the checksums lost",
            &|| {
                let text = String::from_utf8(whole[SUMS].clone()).unwrap();
                let lines = text
                    .split_inclusive('\n')
                    .filter(|line| !line.contains(IDS));
                put(SUMS, lines.collect::<String>().as_bytes());
            },
            &[(
                IDS,
                "has no line in SHA256SUMS; `simsearch concat` adds one",
            )],
        ),
        (
            "a recipe that was recorded after the shards",
            &|| {
                let text = String::from_utf8(whole[SUMS].clone()).unwrap();
                let lines = text
                    .split_inclusive('\n')
                    .filter(|line| !line.contains("recipe"));
                put(SUMS, lines.collect::<String>().as_bytes());
            },
            &[],
        ),
        (
            "a line of the checksums torn",
            &|| change(SUMS, &|bytes| bytes.truncate(bytes.len() - 70)),
            &[(SUMS, "line 7 is not the checksum")],
        ),
        (
            "the recipe changed",
            &|| put("recipe.json", RECIPE.replace("00", "01").as_bytes()),
            &[("recipe.json", not_recorded)],
        ),
        (
            "no recipe",
            &|| remove("recipe.json"),
            &[("recipe.json", "is missing but has a line")],
        ),
        (
            "the recipe damaged",
            &|| put("recipe.json", b"{"),
            &[("recipe.json", "is damaged"), ("recipe.json", not_recorded)],
        ),
    ];
    for (name, damage, expected) in damages {
        restore(&env, &whole);
        damage();
        eprintln!("{name}");
        let before = env.tree("features/model");
        let outcome = verify(&env, &[]);
        assert_problems(&outcome, expected);
        assert_same_tree(&env.tree("features/model"), &before);
    }
}

#[test]
fn listed_objects_need_a_feature_or_a_failure() {
    let env = TestEnv::new();
    three_shards(&env);
    write_features(&env, &["more.jpg"]);
    let failure = r#"{"id": "broken.jpg", "path": "b/broken.jpg", "stage": "decode", "class": "corrupt", "message": "m"}"#;
    env.write("features/model/failures.jsonl", format!("{failure}\n"));
    let mut entries = numbered(0..10);
    entries.extend(["a/more.jpg", "b/broken.jpg", "a/more.jpg"].map(str::to_owned));
    env.objects(&entries);
    let list = ["--objects", "media/objects.txt"];
    assert_problems(&verify(&env, &list), &[]);
    entries.extend(["c/lost.jpg", "../x.jpg"].map(str::to_owned));
    env.objects(&entries);
    let neither = "has neither a feature nor a failure";
    let missed = [("c/lost.jpg", neither), ("../x.jpg", neither)];
    for list in [list, ["--media-dir", "media"]] {
        let outcome = verify(&env, &list);
        assert_problems(&outcome, &missed);
        for (name, value) in [("listed", 15), ("rows", 10), ("files", 1), ("failed", 1)] {
            assert_eq!(outcome.json()[name], value, "{name}\n{outcome}");
        }
    }
    // Without a list nobody misses them.
    assert_problems(&verify(&env, &[]), &[]);
    verify(&env, &["--objects", "nowhere.txt"])
        .exits(1)
        .says(&["there is no list of objects at nowhere.txt"]);
}

#[test]
fn problems_are_lines_on_stdout() {
    let env = TestEnv::new();
    three_shards(&env);
    fs::remove_file(env.path("features/model/0002.features.npy")).unwrap();
    env.write("features/model/.0003.features.npy.tmp", "half");
    let outcome = env.run(["verify", "--feature-dir", "features"]);
    outcome.exits(1).says(&[
        ".0003.features.npy.tmp: is temporary",
        "checked 8 rows in 2 shards",
        "1 problem",
    ]);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert!(
        outcome
            .stdout
            .starts_with("features/model/0002.object_ids.npy is alone"),
        "{outcome}"
    );
}

#[test]
fn the_checksums_are_those_of_sha256sum() {
    let check = |env: &TestEnv| {
        let mut command = Command::new("sha256sum");
        command.args(["-c", "--strict", "SHA256SUMS"]);
        command.current_dir(env.path("features/model")).output()
    };
    let env = TestEnv::new();
    let whole = three_shards(&env);
    let output = match check(&env) {
        Ok(output) => output,
        Err(error) => skip!("sha256sum cannot be started: {error}"),
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let mut expected: Vec<String> = whole.keys().cloned().collect();
    expected.retain(|name| name != "SHA256SUMS");
    let checked: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_suffix(": OK"))
        .collect();
    assert_eq!(checked, expected);
    let mut damaged = whole["0002.features.npy"].clone();
    damaged[130] ^= 0x10;
    env.write("features/model/0002.features.npy", damaged);
    assert!(!check(&env).unwrap().status.success());
}

#[test]
fn checksums_that_are_missing_are_recorded_by_the_next_concat() {
    let env = TestEnv::new();
    let whole = three_shards(&env);
    let text = String::from_utf8(whole["SHA256SUMS"].clone()).unwrap();
    let half: String = text.split_inclusive('\n').step_by(2).collect();
    for left in [None, Some(half)] {
        restore(&env, &whole);
        match &left {
            Some(left) => env.write("features/model/SHA256SUMS", left),
            None => fs::remove_file(env.path("features/model/SHA256SUMS")).unwrap(),
        }
        env.concat(&[]).exits(0);
        assert_same_tree(&env.tree("features/model"), &whole);
    }
    // Those that are there are never made up anew, or damage would be taken for good.
    let mut damaged = whole["0002.features.npy"].clone();
    damaged[130] ^= 0x10;
    env.write("features/model/0002.features.npy", damaged);
    env.concat(&[]).exits(0);
    assert_problems(&verify(&env, &[]), &[("0002.features.npy", "its SHA-256")]);
}

#[test]
fn whatever_a_killed_concat_leaves_is_no_damage() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..4));
    env.write("features/model/recipe.json", RECIPE);
    let before = env.tree("features/model");
    env.concat(&[]).exits(0);
    let after = env.tree("features/model");
    let [features, ids] = ["0000.features.npy", "0000.object_ids.npy"];
    let temporary = |name: &str| format!(".{name}.tmp");
    for (name, files) in [
        ("recorded", [temporary(features), temporary(ids)]),
        ("half in place", [features.to_owned(), temporary(ids)]),
    ] {
        eprintln!("{name}");
        restore(&env, &before);
        for (from, to) in [features, ids].into_iter().zip(&files) {
            env.write(Path::new("features/model").join(to), &after[from]);
        }
        env.write("features/model/SHA256SUMS", &after["SHA256SUMS"]);
        env.write("features/model/.SHA256SUMS.tmp", "half a line");
        let outcome = verify(&env, &[]);
        assert_problems(&outcome, &[]);
        assert_eq!(outcome.json()["rows"], 0);
        assert!(problems(&outcome, "notes").len() >= 2, "{outcome}");
        // What is not put in place after all must not be missed either.
        env.concat(&["--full-only"]).exits(0);
        let outcome = verify(&env, &[]);
        assert_problems(&outcome, &[]);
        assert!(problems(&outcome, "notes").is_empty(), "{outcome}");
        env.concat(&[]).exits(0);
        assert_same_tree(&env.tree("features/model"), &after);
    }
}

#[test]
fn a_shard_that_takes_the_number_of_a_lost_one_takes_its_checksums() {
    let env = TestEnv::new();
    three_shards(&env);
    for part in ["features", "object_ids"] {
        fs::remove_file(env.path(format!("features/model/0002.{part}.npy"))).unwrap();
    }
    for (index, id) in ["later1.jpg", "later2.jpg"].iter().enumerate() {
        let path = Path::new("features/model").join(nested(id));
        env.write(path, feature_file(&feature(20 + index)));
    }
    env.concat(&[]).exits(0);
    assert_problems(&verify(&env, &[]), &[]);
}

#[test]
fn a_directory_that_is_being_packed_is_left_alone() {
    let env = TestEnv::new();
    three_shards(&env);
    let directory = ModelDir::open(&env.path("features/model")).unwrap();
    let Packing::Locked(lock) = directory.lock_packing(&|_| {}).unwrap() else {
        panic!("nobody else holds the lock");
    };
    let holder = format!("is being packed by process {} on ", std::process::id());
    verify(&env, &[])
        .exits(11)
        .says(&["features/model", &holder]);
    drop(lock);
    verify(&env, &[]).exits(0);
}

#[test]
fn that_a_directory_was_packed_meanwhile_can_be_told() {
    let env = TestEnv::new();
    three_shards(&env);
    let directory = ModelDir::open(&env.path("features/model")).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let lock = fs::File::options()
        .write(true)
        .open(env.path("features/model/.lock"));
    lock.unwrap().set_modified(long_ago).unwrap();
    assert_eq!(directory.last_packed().unwrap(), Some(long_ago));
    verify(&env, &[]).exits(0);
    assert_eq!(directory.last_packed().unwrap(), Some(long_ago));
    env.concat(&[]).exits(0);
    assert_ne!(directory.last_packed().unwrap(), Some(long_ago));
}

/// As `extract` leaves it that is killed between the record of a source and its feature.
#[test]
fn a_picture_has_changed_though_a_killed_run_has_recorded_it_as_it_is_now() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = crate::extract::pictures(&env, 2);
    env.extract("nhwc", &[]).exits(0);
    env.picture(&entries[0], 7);
    let file = fs::metadata(env.path("media").join(&entries[0])).unwrap();
    let modified = file.mtime() * 1_000_000_000 + file.mtime_nsec();
    let line = serde_json::json!({
        "path": entries[0], "size": file.len(), "mtime_ns": modified, "feature_crc32": 1,
    });
    env.write(
        "features/nhwc/sources.0123456789abcdef.jsonl",
        format!("{line}\n"),
    );
    let sourced = env.run(["status", "--feature-dir", "features", "--json"]);
    assert_eq!(sourced.json()["sourced"], 2, "{sourced}");
    for packed in [false, true] {
        if packed {
            env.concat(&[]).exits(0);
        }
        let said = verify(&env, &["--media-dir", "media"]);
        let problems = said.exits(1).json()["problems"].clone();
        let message = problems[0]["message"].as_str().unwrap();
        assert!(
            message.contains(&entries[0]) && message.contains("has changed"),
            "{said}"
        );
    }
}

#[test]
fn damaged_records_of_parts_are_problems_and_those_of_sources_are_noted() {
    need_runtime!();
    let env = TestEnv::new();
    crate::extract::pictures(&env, 3);
    env.extract("nhwc", &["--pack", "--part", "0/1"]).exits(0);
    let verified = || verify(&env, &[]);
    verified().exits(0);
    for file in ["parts.json", "part-00000-of-00001/part.json"] {
        let path = Path::new("features/nhwc").join(file);
        let whole = fs::read(env.path(&path)).unwrap();
        env.write(&path, "x");
        let said = verified();
        let problems = said.exits(1).json()["problems"].clone();
        assert_eq!(problems.as_array().unwrap().len(), 1, "{said}");
        assert!(
            problems[0]["message"]
                .as_str()
                .unwrap()
                .contains("remove it"),
            "{said}"
        );
        env.write(&path, whole);
    }
    env.write("features/nhwc/sources.jsonl", "x\ny\nz");
    let said = verified();
    let note = said.exits(0).json()["notes"][0]["message"].clone();
    assert!(
        note.as_str()
            .unwrap()
            .contains("2 lines in the records of sources"),
        "{said}"
    );
}

/// As on a disk that loses bits.
#[test]
fn a_feature_that_is_not_the_recorded_one_is_named_left_unpacked_and_made_again() {
    need_runtime!();
    let env = TestEnv::new();
    crate::extract::pictures(&env, 3);
    env.extract("nhwc", &[]).exits(0);
    let whole = env.tree("features/nhwc");
    let damaged = Path::new("features/nhwc").join(nested("0001.jpg"));
    let mut bytes = fs::read(env.path(&damaged)).unwrap();
    bytes[npy::HEADER_LENGTH] ^= 1;
    env.write(&damaged, &bytes);
    let others = "it is not the feature that was recorded";
    let said = verify(&env, &[]);
    let problems = said.exits(1).json()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 1, "{said}");
    let message = problems[0]["message"].as_str().unwrap();
    assert!(
        message.contains("0001.jpg.npy") && message.contains(others),
        "{said}"
    );
    // Again and again, until it is made again.
    for packed in [2, 0] {
        let packing = env.concat(&["--json"]);
        packing
            .exits(3)
            .says(&["left unpacked: ", "0001.jpg.npy", others]);
        assert_eq!(packing.json()["rows"], packed, "{packing}");
    }
    let extracted = env.extract("nhwc", &["--json"]);
    assert_eq!(extracted.exits(0).counts(), [1, 2, 0, 0], "{extracted}");
    let made_again = fs::read(env.path(&damaged)).unwrap();
    assert!(whole.values().any(|file| *file == made_again));
    env.concat(&[]).exits(0);
    verify(&env, &["--media-dir", "media"]).exits(0);
}

#[test]
fn a_blank_line_among_the_checksums_is_no_damage() {
    let env = TestEnv::new();
    let whole = three_shards(&env);
    let sums = [b"\n", &whole["SHA256SUMS"][..], b" \n"].concat();
    env.write("features/model/SHA256SUMS", sums);
    verify(&env, &[]).exits(0);
    env.concat(&[]).exits(0);
}
