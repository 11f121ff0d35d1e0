//! `simsearch concat`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use nix::sys::stat::Mode;
use simsearch::storage::model_dir::{ModelDir, Packing};
use simsearch::storage::npy;
use simsearch::storage::sha256sums::Sha256Sums;

use crate::{
    TestEnv, Tree, assert_same_tree, feature_file, files_ending, finish, need_python, need_shared,
    ppm, succeed, tree, until, wait,
};

/// Ids whose order differs between paths, names and stems, and whose characters are not bytes.
const IDS: [&str; 23] = [
    "a.jpg",
    "a-b.jpg",
    "a.jpg.jpg",
    "abcd.jpg",
    "abcd.png",
    "abcde.jpg",
    "ab c.jpg",
    "ab-d.jpg",
    "ABCD.jpg",
    "0000bada.jpg",
    "0000badb.jpg",
    "00000.jpg",
    "äöüß.jpg",
    "äöü.jpg",
    "日本語.jpg",
    "日本.jpg",
    "😀😀😀😀😀.jpg",
    "z.jpg",
    "zz.jpg",
    "zzz.jpg",
    "a b'\"c.jpg",
    "a\tb.jpg",
    ".jpg",
];

/// The nested path of an object's feature, as the issue defines it.
pub fn nested(id: &str) -> String {
    let slice = |from: usize| id.chars().skip(from).take(2).collect::<String>();
    format!("{}/{}/{id}.npy", slice(0), slice(2))
}

/// The feature of the object at `index`; no two are alike.
pub fn feature(index: usize) -> Vec<f32> {
    (0..5)
        .map(|number| (index * 5 + number) as f32 / 3.0 - 7.0)
        .collect()
}

/// Writes per-object files to `features/model`.
pub fn write_features(env: &TestEnv, ids: &[impl AsRef<str>]) {
    for (index, id) in ids.iter().enumerate() {
        let path = Path::new("features/model").join(nested(id.as_ref()));
        env.write(path, feature_file(&feature(index)));
    }
}

/// Ids that sort as they are numbered.
pub fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("{index:05}.jpg")).collect()
}

/// `(id, feature)` of every row of every shard, by number, and the names of the shards' files.
fn rows(env: &TestEnv) -> Vec<(String, Vec<f32>)> {
    let found = env.tree("features/model");
    let mut numbers: Vec<u64> = found
        .keys()
        .filter_map(|name| name.strip_suffix(".features.npy")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut rows = Vec::new();
    for number in numbers {
        let features = &found[&format!("{number:04}.features.npy")];
        let ids = npy::object_ids(&found[&format!("{number:04}.object_ids.npy")]).unwrap();
        let (count, length, offset) = npy::features_shape(features, features.len() as u64).unwrap();
        assert_eq!(count, ids.len());
        let numbers: Vec<f32> = npy::floats(&features[offset..]).collect();
        rows.extend(
            ids.into_iter()
                .zip(numbers.chunks(length).map(<[f32]>::to_vec)),
        );
    }
    rows
}

/// The names of everything below `features/model`.
fn names(env: &TestEnv) -> Vec<String> {
    env.tree("features/model").into_keys().collect()
}

/// The names of these shards' files, and of the checksums that stand beside them.
fn pairs(numbers: &[u64]) -> Vec<String> {
    let mut names: Vec<String> = numbers
        .iter()
        .flat_map(|number| ["features", "object_ids"].map(|part| format!("{number:04}.{part}.npy")))
        .collect();
    names.push(Sha256Sums::FILE_NAME.to_owned());
    names.sort();
    names
}

#[test]
fn shards_are_what_the_reference_writes() {
    let shared = need_shared!();
    let mut python = need_python!("numpy");
    let env = TestEnv::new();
    write_features(&env, &IDS);
    python
        .arg(shared.join("reference/concat_reference.py"))
        .args([env.path("features/model"), env.path("expected")])
        .args(["--rows", "7"]);
    assert_eq!(succeed(&mut python).trim(), "23 rows");
    let outcome = env.concat(&["--rows", "7", "--json"]);
    let json = outcome.exits(0).json();
    assert_eq!(
        (&json["shards"], &json["rows"]),
        (&4.into(), &23.into()),
        "{outcome}"
    );
    // With the per-object files go the directories: nothing else is left but the checksums.
    let mut found = env.tree("features/model");
    assert!(found.remove(Sha256Sums::FILE_NAME).is_some());
    assert_same_tree(&found, &env.tree("expected"));
}

#[test]
fn shards_hold_every_row_in_the_order_of_the_paths() {
    let env = TestEnv::new();
    write_features(&env, &IDS);
    let mut expected: Vec<_> = IDS
        .iter()
        .enumerate()
        .map(|(index, id)| (nested(id), id.to_string(), feature(index)))
        .collect();
    expected.sort_by(|one, other| {
        let components = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        components(&one.0).cmp(&components(&other.0))
    });
    env.concat(&["--rows", "7"])
        .exits(0)
        .says(&["packed 23 features into 4 shards"]);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(_, id, feature)| (id, feature))
        .collect();
    assert_eq!(rows(&env), expected);
    assert_eq!(names(&env), pairs(&[0, 1, 2, 3]));
}

#[test]
fn numbers_go_on_after_the_highest() {
    let env = TestEnv::new();
    let first = numbered(0..3);
    write_features(&env, &first);
    env.concat(&["--rows", "2"]).exits(0);
    assert_eq!(names(&env), pairs(&[0, 1]));
    let before = env.tree("features/model");
    // The short shard stays as it is.
    let more = numbered(0..8);
    for (index, id) in more.iter().enumerate().skip(3) {
        env.write(
            format!("features/model/{}", nested(id)),
            feature_file(&feature(index)),
        );
    }
    env.concat(&["--rows", "2"]).exits(0);
    assert_eq!(names(&env), pairs(&[0, 1, 2, 3, 4]));
    let after = env.tree("features/model");
    for (name, content) in &before {
        // The checksums of the shards that are new come behind.
        assert!(after[name].starts_with(content), "{name}");
    }
    let expected: Vec<_> = more
        .into_iter()
        .enumerate()
        .map(|(index, id)| (id, feature(index)))
        .collect();
    assert_eq!(rows(&env), expected);
    // Nothing to do is no error.
    env.concat(&["--rows", "2"]).exits(0);
    assert_eq!(names(&env), pairs(&[0, 1, 2, 3, 4]));
}

#[test]
fn numbers_go_on_past_four_digits() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..1));
    env.concat(&[]).exits(0);
    for part in ["features", "object_ids"] {
        let [from, to] =
            ["0000", "9998"].map(|number| env.path(format!("features/model/{number}.{part}.npy")));
        fs::rename(from, to).unwrap();
    }
    for (index, id) in numbered(0..5).iter().enumerate().skip(1) {
        env.write(
            format!("features/model/{}", nested(id)),
            feature_file(&feature(index)),
        );
        if index == 2 {
            env.concat(&["--rows", "1"]).exits(0);
            assert_eq!(names(&env), pairs(&[9998, 9999, 10000]));
        }
    }
    // 10000 sorts before 9999 by name: by number it is the higher one.
    env.concat(&["--rows", "1"]).exits(0);
    assert_eq!(names(&env), pairs(&[9998, 9999, 10000, 10001, 10002]));
    let ids: Vec<String> = rows(&env).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, numbered(0..5));
}

#[test]
fn what_fills_no_shard_can_be_left() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..7));
    let outcome = env.concat(&["--rows", "3", "--full-only", "--json"]);
    let json = outcome.exits(0).json();
    for (name, value) in [("shards", 2), ("rows", 6), ("left", 1), ("refused", 0)] {
        assert_eq!(json[name], value, "{name}\n{outcome}");
    }
    let mut expected = pairs(&[0, 1]);
    expected.extend(["00/", "00/00/", "00/00/00006.jpg.npy"].map(str::to_owned));
    expected.sort();
    assert_eq!(names(&env), expected);
    // Fewer than a shard's rows: nothing changes at all.
    env.concat(&["--rows", "3", "--full-only"])
        .exits(0)
        .says(&["left 1 feature for a full shard"]);
    assert_eq!(names(&env), expected);
    env.concat(&["--rows", "3"]).exits(0);
    assert_eq!(names(&env), pairs(&[0, 1, 2]));
    assert_eq!(rows(&env).len(), 7);
}

#[test]
fn files_that_cannot_be_packed_are_left_and_named() {
    let env = TestEnv::new();
    let good = numbered(0..4);
    write_features(&env, &good);
    let whole = feature_file(&feature(9));
    let double = {
        let mut bytes = whole.clone();
        let at = bytes.windows(3).position(|bytes| bytes == b"<f4").unwrap();
        bytes[at..at + 3].copy_from_slice(b"<i4");
        bytes
    };
    let two_axes = npy::features_header(&[1, 5]);
    let two_axes = [&two_axes[..], &whole[128..]].concat();
    let bad = [
        ("aa/aa/aaaa.jpg.npy", whole[..140].to_vec(), "bytes long"),
        ("aa/ab/aaab.jpg.npy", Vec::new(), "header"),
        (
            "aa/ac/aaac.jpg.npy",
            feature_file(&[1.0; 6]),
            "has 6 numbers, the others here have 5",
        ),
        ("aa/ad/aaad.jpg.npy", double, "<i4"),
        (
            "aa/ae/aaae.jpg.npy",
            feature_file(&[1.0, f32::NAN, 1.0, 1.0, 1.0]),
            "not finite (at index 1)",
        ),
        (
            "aa/af/aaaf.jpg.npy",
            feature_file(&[f32::INFINITY, 1.0, 1.0, 1.0, 1.0]),
            "not finite (at index 0)",
        ),
        ("aa/ag/aaag.jpg.npy", two_axes, "(d,)"),
        (
            "zz/zz/00001.jpg.npy",
            feature_file(&feature(17)),
            "another file has the same object id",
        ),
    ];
    for (path, content, _) in &bad {
        env.write(Path::new("features/model").join(path), content);
    }
    let model = env.path("features/model");
    nix::unistd::mkfifo(&model.join("aa/ah.npy"), Mode::S_IRWXU).unwrap();
    fs::create_dir_all(model.join("aa/ai")).unwrap();
    nix::unistd::mkfifo(&model.join("aa/ai/fifo.jpg.npy"), Mode::S_IRWXU).unwrap();
    symlink(
        "../../00/00/00000.jpg.npy",
        model.join("aa/ai/link.jpg.npy"),
    )
    .unwrap();
    // Whatever is not `*/*/*.npy` is none of its business.
    env.write("features/model/00/00/notes.txt", "");
    env.write("features/model/00/stray.npy", "");
    env.write("features/model/00/00/00/deep.npy", "");

    let before = env.tree("features/model");
    let outcome = env.concat(&["--json"]);
    outcome.exits(3);
    for (path, _, reason) in &bad {
        let line = outcome.stderr.lines().find(|line| line.contains(path));
        let line = line.unwrap_or_else(|| panic!("{path} is not named\n{outcome}"));
        assert!(line.contains(reason), "{line}\nshould hold `{reason}`");
    }
    outcome.says(&["fifo.jpg.npy", "link.jpg.npy", "not a regular file"]);
    let json = outcome.json();
    assert_eq!(json["refused"], bad.len() + 2, "{outcome}");
    assert_eq!(json["rows"], 4, "{outcome}");

    let mut expected = before;
    expected.retain(|name, _| !good.iter().any(|id| *name == nested(id)));
    let found = env.tree("features/model");
    for name in pairs(&[0]) {
        expected.insert(name.clone(), found[&name].clone());
    }
    assert_same_tree(&found, &expected);
    let ids: Vec<String> = rows(&env).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, good);
    // They are named every time, and packed never.
    env.concat(&[]).exits(3);
    assert_same_tree(&env.tree("features/model"), &expected);
}

#[test]
fn where_nothing_tells_the_length_the_first_feature_does() {
    let env = TestEnv::new();
    // More than are asked for their length: every third is, and torn.
    let ids = numbered(0..2001);
    for (index, id) in ids.iter().enumerate() {
        let content = match index % 3 {
            0 => b"torn".to_vec(),
            1 => feature_file(&[0.5; 5]),
            _ => feature_file(&[0.5; 6]),
        };
        env.write(Path::new("features/model").join(nested(id)), content);
    }
    env.concat(&[]).exits(3).says(&[
        "packed 667 features",
        "has 6 numbers, the others here have 5",
    ]);
    assert_eq!(rows(&env).len(), 667);
}

#[test]
fn features_that_do_not_fit_the_shards_are_left() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..2));
    env.concat(&[]).exits(0);
    for id in ["abcd.jpg", "abce.jpg", "abcf.jpg"] {
        env.write(
            format!("features/model/{}", nested(id)),
            feature_file(&[1.0; 6]),
        );
    }
    env.concat(&[])
        .exits(3)
        .says(&["has 6 numbers, the others here have 5"]);
    assert_eq!(rows(&env).len(), 2);
}

#[test]
fn a_file_whose_name_is_no_line_of_text_is_left() {
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"\xff\xfe.npy"[..], b"abcd\nx.jpg.npy"] {
        let env = TestEnv::new();
        write_features(&env, &numbered(0..2));
        let name = std::ffi::OsStr::from_bytes(name);
        let file = Path::new("features/model/xx/yy").join(name);
        env.write(&file, feature_file(&feature(5)));
        env.concat(&[])
            .exits(3)
            .says(&["xx/yy", "is not one line of UTF-8 text"]);
        assert!(env.path(&file).exists());
        assert_eq!(rows(&env).len(), 2);
    }
}

/// A directory with 10 per-object files, and what an undisturbed run makes of it with 4 rows a shard.
fn ten(env: &TestEnv) -> (Tree, Tree) {
    write_features(env, &numbered(0..10));
    let before = env.tree("features/model");
    env.concat(&["--rows", "4"]).exits(0);
    let after = env.tree("features/model");
    assert_eq!(after.len(), 7);
    (before, after)
}

/// Makes `features/model` hold this and nothing else.
fn restore(env: &TestEnv, tree: &Tree) {
    fs::remove_dir_all(env.path("features/model")).unwrap();
    for (name, content) in tree.iter().filter(|(name, _)| !name.ends_with('/')) {
        env.write(Path::new("features/model").join(name), content);
    }
}

#[test]
fn whatever_a_killed_run_leaves_is_finished_to_the_same_bytes() {
    let env = TestEnv::new();
    let (before, after) = ten(&env);
    let shard = |number: u64, part: &str| after[&format!("{number:04}.{part}.npy")].clone();
    let temporary = |number: u64, part: &str| format!(".{number:04}.{part}.npy.tmp");
    let finished = |number: u64, part: &str| format!("{number:04}.{part}.npy");
    let with = |base: &Tree, more: &[(String, Vec<u8>)]| -> Tree {
        let mut tree = base.clone();
        tree.extend(more.iter().cloned());
        tree
    };
    let without = |base: &Tree, range: std::ops::Range<usize>| -> Tree {
        let gone: Vec<String> = numbered(range).iter().map(|id| nested(id)).collect();
        let mut tree = base.clone();
        tree.retain(|name, _| !gone.contains(name));
        tree
    };
    let [features, ids] = ["features", "object_ids"];
    let first = [
        (finished(0, features), shard(0, features)),
        (finished(0, ids), shard(0, ids)),
    ];
    let second = without(&with(&before, &first), 0..4);
    for (name, state) in [
        (
            "features half written",
            with(
                &before,
                &[(temporary(0, features), shard(0, features)[..150].to_vec())],
            ),
        ),
        (
            "features written, ids half written",
            with(
                &before,
                &[
                    (temporary(0, features), shard(0, features)),
                    (temporary(0, ids), shard(0, ids)[..130].to_vec()),
                ],
            ),
        ),
        (
            "both durable",
            with(
                &before,
                &[
                    (temporary(0, features), shard(0, features)),
                    (temporary(0, ids), shard(0, ids)),
                ],
            ),
        ),
        (
            "features in place, ids temporary",
            with(
                &before,
                &[
                    (finished(0, features), shard(0, features)),
                    (temporary(0, ids), shard(0, ids)),
                ],
            ),
        ),
        ("both in place", with(&before, &first)),
        (
            "some per-object files removed",
            without(&with(&before, &first), 0..2),
        ),
        ("the first shard done", second.clone()),
        (
            "the second half in place",
            with(
                &second,
                &[
                    (finished(1, features), shard(1, features)),
                    (temporary(1, ids), shard(1, ids)),
                ],
            ),
        ),
        (
            "a longer temporary file of before",
            with(&before, &[(temporary(2, features), vec![1; 4000])]),
        ),
    ] {
        restore(&env, &state);
        let outcome = env.concat(&["--rows", "4"]);
        outcome.exits(0);
        eprintln!("{name}");
        assert_same_tree(&env.tree("features/model"), &after);
    }
}

#[test]
fn a_run_killed_at_any_moment_loses_and_doubles_nothing() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..400));
    let before = env.tree("features/model");
    env.concat(&["--rows", "30"]).exits(0);
    let after = env.tree("features/model");
    let exists = |name: &str| env.path("features/model").join(name).exists();
    let moments: [(&str, &dyn Fn() -> bool); 5] = [
        ("started", &|| true),
        ("writing", &|| exists(".0000.features.npy.tmp")),
        ("half in place", &|| exists("0001.features.npy")),
        ("in place", &|| exists("0003.object_ids.npy")),
        ("removing", &|| !exists(&nested("00200.jpg"))),
    ];
    for (name, moment) in moments {
        restore(&env, &before);
        let arguments = ["concat", "--feature-dir", "features", "--rows", "30"];
        let mut child = env
            .command(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(|| moment() || child.try_wait().unwrap().is_some());
        // It may have ended just now; then the next run has nothing to do.
        let _ = child.kill();
        wait(format!("concat killed when {name}"), child);
        env.concat(&["--rows", "30"]).exits(0);
        eprintln!("{name}");
        assert_same_tree(&env.tree("features/model"), &after);
    }
}

#[test]
fn files_that_differ_from_their_row_are_kept() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    env.concat(&[]).exits(0);
    let packed = env.tree("features/model");
    // One that is torn, one that says the same as its row, and one that does not.
    let torn = feature_file(&feature(0))[..100].to_vec();
    for (id, bytes) in [
        ("00000.jpg", torn.clone()),
        ("00001.jpg", feature_file(&feature(1))),
        ("00002.jpg", feature_file(&feature(8))),
    ] {
        env.write(format!("features/model/{}", nested(id)), bytes);
    }
    let outcome = env.concat(&["--json"]);
    outcome.exits(3).says(&[
        "00000.jpg.npy: no .npy header, or a damaged one",
        "00002.jpg.npy: differs from row 2 of 0000.features.npy",
    ]);
    assert_eq!(outcome.json()["already_packed"], 1, "{outcome}");
    let mut expected = packed;
    for directory in ["00/", "00/00/"] {
        expected.insert(directory.into(), Vec::new());
    }
    expected.insert(nested("00000.jpg"), torn);
    expected.insert(nested("00002.jpg"), feature_file(&feature(8)));
    assert_same_tree(&env.tree("features/model"), &expected);
}

#[test]
fn half_a_pair_is_an_error_with_a_hint() {
    let env = TestEnv::new();
    let (_, after) = ten(&env);
    for (gone, stays) in [
        ("0001.object_ids.npy", "0001.features.npy"),
        ("0001.features.npy", "0001.object_ids.npy"),
    ] {
        restore(&env, &after);
        fs::remove_file(env.path("features/model").join(gone)).unwrap();
        write_features(&env, &["later.jpg"]);
        let before = env.tree("features/model");
        env.concat(&[]).exits(1).says(&[
            stays,
            &format!("its other half features/model/{gone} is missing"),
            "put that back, or move this file away",
        ]);
        assert_same_tree(&env.tree("features/model"), &before);
    }
}

#[test]
fn damaged_shards_stop_the_run_before_anything_changes() {
    let env = TestEnv::new();
    let (_, after) = ten(&env);
    let cut = |name: &str| after[name][..after[name].len() - 4].to_vec();
    let fewer = {
        let ids = npy::object_ids(&after["0001.object_ids.npy"]).unwrap();
        let mut bytes = npy::object_ids_header(3, 9);
        ids[..3]
            .iter()
            .for_each(|id| npy::append_object_id(id, 9, &mut bytes));
        bytes
    };
    for (name, content, says) in [
        (
            "0001.features.npy",
            cut("0001.features.npy"),
            "not a shard's file",
        ),
        (
            "0001.object_ids.npy",
            cut("0001.object_ids.npy"),
            "not a shard's file",
        ),
        ("0001.object_ids.npy", fewer, "has 3"),
    ] {
        restore(&env, &after);
        env.write(Path::new("features/model").join(name), content);
        write_features(&env, &["later.jpg"]);
        let before = env.tree("features/model");
        env.concat(&[]).exits(1).says(&[name, says]);
        assert_same_tree(&env.tree("features/model"), &before);
    }
}

#[test]
fn the_second_of_two_says_who_holds_the_lock() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    let directory = ModelDir::open(&env.path("features/model")).unwrap();
    let Packing::Locked(lock) = directory.lock_packing(&|_| {}).unwrap() else {
        panic!("nobody else holds the lock");
    };
    let before = env.tree("features/model");
    let holder = format!("is being packed by process {} on ", std::process::id());
    for more in [&[][..], &["--quiet"]] {
        env.concat(more)
            .exits(11)
            .says(&["features/model", &holder]);
    }
    assert_same_tree(&env.tree("features/model"), &before);
    drop(lock);
    env.concat(&[]).exits(0);
    assert_eq!(names(&env), pairs(&[0]));
}

#[test]
fn the_model_is_named_by_its_file_or_its_stem_or_is_the_only_one() {
    let env = TestEnv::new();
    let write = |stem: &str| {
        env.write(
            format!("features/{stem}/ab/cd/abcd.jpg.npy"),
            feature_file(&feature(1)),
        );
    };
    let packed = |stem: &str| {
        env.path(format!("features/{stem}/0000.features.npy"))
            .exists()
    };
    env.concat(&[]).exits(1).says(&[
        "there is no feature directory features",
        "simsearch extract",
    ]);
    fs::create_dir(env.path("features")).unwrap();
    env.concat(&[])
        .exits(1)
        .says(&["it holds none", "`simsearch extract`"]);

    write("one");
    env.concat(&["--model", "two"])
        .exits(1)
        .says(&["no features of two", "it holds: one"]);
    env.concat(&[]).exits(0);
    assert!(packed("one"));

    write("two");
    write("v1.2");
    env.concat(&[])
        .exits(1)
        .says(&["--model", "it holds: one, two, v1.2"]);
    env.concat(&["--model", "some/where/two.onnx"]).exits(0);
    assert!(packed("two") && !packed("v1.2"));
    // A stem that looks as if it had an extension.
    env.concat(&["--model", "v1.2"]).exits(0);
    assert!(packed("v1.2"));

    write("three");
    let mut command = env.command(["concat", "--quiet"]);
    command
        .env("FEATURE_DIR", "features")
        .env("ONNX_MODEL_PATH", "three.onnx");
    assert_eq!(finish(command).exits(0).stderr, "");
    assert!(packed("three"));
    env.concat(&["--model", "one", "--rows", "0"]).exits(2);
}

#[test]
fn torn_files_that_are_the_most_do_not_decide_the_length() {
    let env = TestEnv::new();
    for (name, content) in [
        ("aaaa", Vec::new()),
        ("bbbb", Vec::new()),
        ("cccc", Vec::new()),
        ("dddd", feature_file(&[1.0; 4])),
        ("eeee", feature_file(&[1.0; 8])),
        ("ffff", feature_file(&[2.0; 8])),
    ] {
        let path = Path::new("features/model").join(nested(&format!("{name}.jpg")));
        env.write(path, content);
    }
    env.concat(&[]).exits(3).says(&[
        "packed 2 features",
        "dddd.jpg.npy: has 4 numbers, the others here have 8",
    ]);
}

#[test]
fn a_models_own_directory_is_not_taken_for_the_root() {
    let env = TestEnv::new();
    write_features(&env, &["scene01.jpg", "scene02.jpg"]);
    env.write("features/model/recipe.json", "{}");
    let own = ["concat", "--feature-dir", "features/model"];
    env.run(own)
        .exits(1)
        .says(&["--feature-dir features --model model"]);
    // Nor is another one made in it.
    let merge = ["--merge", "features/model"];
    for more in [&merge[..], &["--model", "model", "--merge"]] {
        env.run(own.iter().chain(more))
            .exits(1)
            .says(&["--feature-dir features --model model"]);
    }
    let extract = [
        "extract",
        "--media-dir",
        "media",
        "--feature-dir",
        "features/model",
    ];
    env.run(extract)
        .exits(1)
        .says(&["--feature-dir features --model model"]);
    // What is no model's directory does not make the choice unclear.
    fs::create_dir_all(env.path("features/lost+found/a/b")).unwrap();
    env.concat(&[]).exits(0).says(&["packed 2 features"]);
    env.run(own).exits(1);
}

#[test]
fn a_holder_that_the_lock_file_does_not_name_is_named_by_its_lease() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..1));
    let directory = ModelDir::open(&env.path("features/model")).unwrap();
    let Packing::Locked(_lock) = directory.lock_packing(&|_| {}).unwrap() else {
        panic!("nobody else is here");
    };
    fs::write(env.path("features/model/.lock"), "").unwrap();
    let holder = format!("is being packed by process {} on ", std::process::id());
    env.concat(&[]).exits(11).says(&[&holder]);
    // As an earlier version, which has none.
    for entry in fs::read_dir(env.path("features/model")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "lease") {
            fs::remove_file(path).unwrap();
        }
    }
    env.concat(&[])
        .exits(11)
        .says(&["is being packed by another process"]);
}

#[test]
fn directories_of_longer_names_go_when_they_are_emptied_and_only_then() {
    let env = TestEnv::new();
    env.write("features/model/long/longer/a.jpg.npy", feature_file(&[1.0]));
    env.write("features/model/ab/cd/.npy", feature_file(&[1.0]));
    fs::create_dir_all(env.path("features/model/somebody/elses")).unwrap();
    env.concat(&[]).exits(3).says(&[
        "packed 1 feature",
        "ab/cd/.npy: its name does not contain an object id",
    ]);
    assert!(!env.path("features/model/long").exists());
    assert!(env.path("features/model/somebody/elses").exists());
    assert!(env.path("features/model/ab/cd/.npy").exists());
}

#[test]
fn other_files_in_the_directory_stay() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..3));
    for name in [
        "failures.jsonl",
        "notes.txt",
        "00/readme",
        "1.features.npy",
        "00001.object_ids.npy",
    ] {
        env.write(Path::new("features/model").join(name), ppm(2, 2, 1));
    }
    env.concat(&[]).exits(0);
    let mut expected = pairs(&[0]);
    for name in [
        "00/",
        "00/readme",
        "00001.object_ids.npy",
        "1.features.npy",
        "failures.jsonl",
        "notes.txt",
    ] {
        expected.push(name.to_owned());
    }
    expected.sort();
    assert_eq!(names(&env), expected);
    let left = files_ending(&tree(&env.path("features/model")), "notes.txt");
    assert_eq!(left["notes.txt"], ppm(2, 2, 1));
}
