//! Lists and feature directories made to lead the program astray: nothing is written or removed outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use simsearch::storage::npy;

use crate::extract::{failures, features, kinds, pictures};
use crate::faults::limited;
use crate::{TestEnv, feature_file, files_ending, need_runtime, ppm};

/// Kind, length, times and content of all that is below a path.
fn snapshot(path: &Path) -> BTreeMap<String, String> {
    let entries = walkdir::WalkDir::new(path).into_iter().map(Result::unwrap);
    entries
        .map(|entry| {
            let it = entry.metadata().unwrap();
            let content = match it.is_file() {
                true => fs::read(entry.path()).unwrap(),
                false => Vec::new(),
            };
            let times = (it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec());
            let state = format!("{:o} {} {times:?} {content:?}", it.mode(), it.nlink());
            (entry.path().display().to_string(), state)
        })
        .collect()
}

/// What can stand where this program has a file or a directory of its own.
const TRAPS: [&str; 5] = [
    "link to a directory",
    "link to a file",
    "link to nothing",
    "pipe",
    "directory",
];

/// Every name below a model's directory that this program reads, writes or removes.
const NAMES: [&str; 24] = [
    ".0000.features.npy.tmp",
    ".0000.object_ids.npy.tmp",
    ".0000.sources.npy.tmp",
    ".failures.jsonl.tmp",
    ".claims",
    ".claims/0",
    ".lock",
    ".recipe.json.tmp",
    ".SHA256SUMS.tmp",
    ".tmp",
    ".tmp/0123456789abcdef.0",
    ".tmp/0123456789abcdef.lock",
    ".tmp/0123456789abcdef.sources",
    "00",
    "00/00",
    "00/00/0000.jpg.npy",
    "0000.features.npy",
    "0000.object_ids.npy",
    "0000.sources.npy",
    "SHA256SUMS",
    "failures.jsonl",
    "recipe.json",
    "sources.0123456789abcdef.jsonl",
    "sources.jsonl",
];

fn set(trap: &str, at: &Path, outside: &Path) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    match trap {
        "link to a directory" => symlink(outside.join("directory"), at).unwrap(),
        "link to a file" => symlink(outside.join("file"), at).unwrap(),
        "link to nothing" => symlink(outside.join("nothing"), at).unwrap(),
        "pipe" => nix::unistd::mkfifo(at, Mode::S_IRWXU).unwrap(),
        _ => fs::create_dir(at).unwrap(),
    }
}

/// One directory with a trap under one of the program's names, and a list of hostile lines; what must not change.
fn fall_for(trap: &str, name: &str) {
    let env = TestEnv::new();
    let outside = env.path("outside");
    env.write("outside/file", "a sentinel");
    env.write("outside/directory/0000.jpg.npy", "a sentinel");
    env.write("outside/directory/00/0000.jpg.npy", "a sentinel");
    env.write("outside/directory/0123456789abcdef.lock", "");
    env.write("outside/directory/0123456789abcdef.0", "a sentinel");
    let mut entries = pictures(&env, 2);
    env.write("media/object/text.jpg", "no picture");
    entries.push("object/text.jpg".into());
    entries.extend(
        [
            "../outside/file",
            "object/../../outside/file",
            "..",
            "object/..jpg",
        ]
        .map(str::to_owned),
    );
    entries.push(env.argument("outside/file"));
    // A file under the very name of a feature, in a directory that a link may lead to.
    set(trap, &env.path("features/nhwc").join(name), &outside);
    let before = snapshot(&outside);

    let said = |outcome: crate::Outcome| {
        let code = outcome.status.code();
        assert!(
            [0, 1, 3].map(Some).contains(&code),
            "{trap} at {name}\n{outcome}"
        );
        // Whoever is stopped is told by what, and every error of one of these is about a file that is named.
        let names = ["features/nhwc", "every", "0 done"];
        assert!(
            code != Some(1) || names.iter().any(|text| outcome.stderr.contains(text)),
            "{trap} at {name}\n{outcome}"
        );
    };
    env.objects(&entries);
    said(env.extract("nhwc", &["--workers", "1"]));
    said(env.extract("nhwc", &["--workers", "1", "--retry-failed"]));
    // Something to pack also where `extract` made nothing.
    if !name.starts_with("00") {
        let feature = feature_file(&[0.5; 8]);
        env.write("features/nhwc/aa/bb/aabb.jpg.npy", feature);
    }
    said(env.concat(&["--model", "nhwc"]));
    for check in ["status", "verify"] {
        let folders = ["--feature-dir", "features", "--model", "nhwc"];
        let code = env.run([&[check][..], &folders].concat()).status.code();
        assert!(
            [0, 1].map(Some).contains(&code),
            "{check}: {trap} at {name}: {code:?}"
        );
    }
    let after = snapshot(&outside);
    assert_eq!(after, before, "{trap} at {name}");
}

#[test]
fn nothing_outside_the_feature_directory_changes_whatever_stands_inside() {
    need_runtime!();
    // As many at once as there are processors, since each waits for many short processes.
    let cases: Vec<(&str, &str)> = TRAPS
        .iter()
        .flat_map(|trap| NAMES.map(|name| (*trap, name)))
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((trap, name)) =
                    cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    fall_for(trap, name);
                }
            });
        }
    });
}

#[test]
fn a_link_under_the_name_of_the_list_is_the_users_own() {
    let env = TestEnv::new();
    env.picture("object/a.jpg", 1);
    env.write("lists/of/objects.txt", "old\n");
    symlink(
        env.path("lists/of/objects.txt"),
        env.path("media/objects.txt"),
    )
    .unwrap();
    env.list(&[]).exits(0);
    assert!(env.path("media/objects.txt").is_symlink());
    assert_eq!(
        fs::read_to_string(env.path("lists/of/objects.txt")).unwrap(),
        "object/a.jpg\n"
    );
}

#[test]
fn ids_that_look_like_the_programs_own_files_are_ids_like_any_other() {
    need_runtime!();
    let env = TestEnv::new();
    let longest = "x".repeat(251);
    let mut ids = [
        ".tmp",
        ".lock",
        ".npy",
        ".x.jpg",
        "0000.features.npy",
        "0000.object_ids.npy",
        "SHA256SUMS",
        "a.b",
        "abc",
        "failures.jsonl",
        "nhwc",
        "recipe.json",
        "sources.jsonl",
        "0000.sources.npy",
        " .jpg",
        "日本語.jpg",
        "\r\t.jpg",
        "e\u{301}.jpg",
        "é.jpg",
        "\u{202e}gpj.jpg",
        &longest,
    ];
    ids.sort();
    for (seed, id) in ids.iter().enumerate() {
        env.write(Path::new("media/own").join(id), ppm(20, 10, seed));
    }
    // One that is too long for a feature, though not for a picture.
    let too_long = "y".repeat(252);
    env.write(Path::new("media/own").join(&too_long), ppm(20, 10, 1));
    let mut lines: Vec<String> = ids
        .iter()
        .chain([&too_long.as_str()])
        .map(|id| format!("own/{id}\n"))
        .collect();
    lines.insert(3, "\n\n".into());
    lines.push(format!("own/{}\n", "long/".repeat(200_000)));
    lines.push(format!("{}/nul\0.jpg\n", "deep".repeat(2000)));
    lines.push(format!("{}/nowhere.jpg", "deep".repeat(250_000)));
    env.write("media/objects.txt", lines.concat());
    let outcome = env.extract("nhwc", &["--json"]);
    let count = ids.len();
    assert_eq!(outcome.exits(3).counts(), [count as u64, 0, 4, 0]);
    let classes: Vec<_> = failures(&env, "nhwc")
        .iter()
        .map(|failure| failure["class"].clone())
        .collect();
    assert_eq!(
        classes.iter().filter(|class| *class == "bad-entry").count(),
        3,
        "{classes:?}"
    );
    let too_long = format!("./own/{too_long} list bad-entry");
    assert!(kinds(&env, "nhwc").contains(&too_long), "{too_long}");
    assert_eq!(features(&env, "nhwc").len(), count);
    env.concat(&[]).exits(0);
    let tree = env.tree("features/nhwc");
    assert_eq!(files_ending(&tree, ".npy").len(), 3);
    let mut packed = npy::object_ids(&tree["0000.object_ids.npy"]).unwrap();
    packed.sort();
    assert_eq!(packed, ids);
    assert!(tree.contains_key("0000.sources.npy") && !tree.contains_key("sources.jsonl"));
    // What is packed is known again.
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [0, count as u64, 4, 0]);
}

#[test]
fn files_that_promise_more_than_memory_holds_are_not_read_into_it() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    env.extract("nhwc", &[]).exits(0);
    // They hold nothing, and take no space.
    let grow = |path: &str| {
        let mut file = fs::File::options();
        file.write(true).create(true).truncate(false);
        file.open(env.path(path)).unwrap().set_len(1 << 43).unwrap();
    };
    let feature = "features/nhwc/00/01/0001.jpg.npy";
    grow(feature);
    env.concat(&[])
        .exits(3)
        .says(&[feature, "more than the limit", "for one feature"]);
    assert!(env.path(feature).exists());
    assert_eq!(
        env.extract("nhwc", &["--json"]).exits(0).counts(),
        [1, 2, 0, 0]
    );
    grow("features/nhwc/failures.jsonl");
    limited("-v 8000000", &env.extract_command("nhwc", &[]), &env)
        .exits(1)
        .says(&["features/nhwc/failures.jsonl", "memory"]);
    fs::remove_file(env.path("features/nhwc/failures.jsonl")).unwrap();
    env.concat(&[]).exits(0);
}
