//! `--ids path`: two files of one name are two objects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use simsearch::storage::npy;
use simsearch::storage::object_id::{IdKind, ObjectId};

use crate::crash::every;
use crate::{
    Outcome, TestEnv, Tree, assert_same_tree, files_ending, need_python, need_runtime, ppm, skip,
};

/// Pictures of which three have one name.
const ENTRIES: [&str; 4] = [
    "2020/IMG_0001.jpg",
    "2021/IMG_0001.jpg",
    "2021/trip/IMG_0001.jpg",
    "a.jpg",
];

fn with_pictures() -> TestEnv {
    let env = TestEnv::new();
    for (seed, entry) in ENTRIES.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.list(&["--ids", "path"]).exits(0);
    env
}

fn extract(env: &TestEnv) -> Outcome {
    env.extract("nhwc", &["--json", "--ids", "path"])
}

/// A command on the feature directory.
fn run(env: &TestEnv, command: &str, more: &[&str]) -> Outcome {
    let arguments = [command, "--feature-dir", "features"];
    env.run(arguments.iter().chain(more))
}

/// The object ids of the shards, in the order of these and of their rows.
fn packed_ids(env: &TestEnv) -> Vec<String> {
    let shards = files_ending(&env.tree("features/nhwc"), ".object_ids.npy");
    let ids = shards.values().map(|ids| npy::object_ids(ids).unwrap());
    ids.flatten().collect()
}

/// The objects at distance 0 from a query, and their paths.
#[track_caller]
fn same(env: &TestEnv, query: &str, more: &[&str]) -> Vec<(String, Value)> {
    let json = run(env, "search", &[&[query, "--json"], more].concat())
        .exits(0)
        .json();
    let neighbours = json["neighbours"].as_array().unwrap().iter();
    let same = neighbours.filter(|it| it["distance"] == 0.0);
    same.map(|it| {
        (
            it["object_id"].as_str().unwrap().to_owned(),
            it["path"].clone(),
        )
    })
    .collect()
}

#[test]
fn files_of_one_name_are_objects_of_their_own_packed_or_not() {
    let runtime = need_runtime!();
    let env = with_pictures();
    assert_eq!(extract(&env).exits(0).counts(), [4, 0, 0, 0]);
    let features = env.path("features/nhwc");
    for entry in ENTRIES {
        let id = ObjectId::new(IdKind::Path, entry).unwrap();
        assert!(features.join(id.feature_path()).exists(), "{entry}");
    }
    let model = crate::model_file("nhwc");
    let [model, runtime] = [&model, &runtime].map(|path| path.to_str().unwrap());
    for packed in [false, true] {
        for (seed, entry) in ENTRIES.iter().enumerate() {
            let itself = vec![((*entry).to_owned(), Value::from(*entry))];
            assert_eq!(same(&env, entry, &[]), itself);
            assert_eq!(same(&env, entry, &["--media-dir", "media"]), itself);
            env.write("aside.ppm", ppm(30, 20, seed));
            let of_file = ["--model", model, "--runtime", runtime];
            assert_eq!(same(&env, "./aside.ppm", &of_file), itself);
        }
        let status = run(&env, "status", &["--json", "--media-dir", "media"]).json();
        let counts = [
            "listed", "files", "packed", "sourced", "pending", "unlisted",
        ];
        let counts = counts.map(|name| status[name].as_u64().unwrap());
        let in_files = if packed { 0 } else { 4 };
        assert_eq!(counts, [4, in_files, 4 - in_files, 4, 0, 0]);
        assert_eq!(status["recipe"]["ids"], "path");
        let verified = run(&env, "verify", &["--media-dir", "media"]);
        assert_eq!(verified.exits(0).stdout, "");
        let pairs = run(
            &env,
            "duplicates",
            &["--media-dir", "media", "--json", "--max-distance", "1e9"],
        );
        let pairs = pairs.exits(4).json();
        assert_eq!([&pairs["objects"], &pairs["pairs"]], [4, 6]);
        let members = pairs["groups"][0]["members"].as_array().unwrap();
        assert!(members.iter().all(|it| it["object_id"] == it["path"]));
        let below = run(
            &env,
            "search",
            &[
                "a.jpg",
                "--within",
                "2021",
                "--media-dir",
                "media",
                "--paths",
            ],
        );
        let below: BTreeSet<&str> = (below.exits(0).stdout.lines())
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(below, BTreeSet::from([ENTRIES[1], ENTRIES[2]]));
        assert_eq!(extract(&env).exits(0).counts(), [0, 4, 0, 0]);
        if !packed {
            env.concat(&["--rows", "3"]).exits(0);
        }
    }
    assert_eq!(packed_ids(&env), ENTRIES);
    let left: Vec<String> = env.tree("features/nhwc").into_keys().collect();
    assert!(
        !left
            .iter()
            .any(|name| name.contains('/') || name == "sources.jsonl")
    );
    // An approximate index goes by rows.
    run(&env, "index", &[]).exits(0);
    let found = same(&env, ENTRIES[1], &["--approximate"]);
    assert_eq!(found, [(ENTRIES[1].to_owned(), Value::from(ENTRIES[1]))]);
}

#[test]
fn the_table_of_export_has_the_paths_as_object_ids() {
    need_runtime!();
    let mut python = need_python!("pyarrow");
    let env = with_pictures();
    env.objects(&ENTRIES[..2]);
    extract(&env).exits(0);
    env.concat(&[]).exits(0);
    env.objects(&ENTRIES);
    extract(&env).exits(0);
    run(&env, "export", &["--output", "out.parquet"]).exits(0);
    python.current_dir(env.path("")).args([
        "-c",
        "import pyarrow.parquet as pq\n\
         table = pq.read_table('out.parquet')\n\
         assert table['object_id'] == table['path']\n\
         print('\\n'.join(table['object_id'].to_pylist()))",
    ]);
    let ids = crate::succeed(&mut python);
    assert_eq!(ids.lines().collect::<Vec<_>>(), ENTRIES);
}

#[test]
fn a_page_shows_each_picture_as_itself_and_none_that_was_replaced_since() {
    need_runtime!();
    for ids in ["name", "path"] {
        let env = TestEnv::new();
        for (seed, entry) in ["x/a.jpg", "x/b.jpg", "y/c.jpg"].iter().enumerate() {
            env.picture(entry, seed);
        }
        env.list(&[]).exits(0);
        env.extract("nhwc", &["--ids", ids]).exits(0);
        env.picture("x/b.jpg", 9);
        let query = if ids == "path" { "x/a.jpg" } else { "a.jpg" };
        for packed in [false, true] {
            if packed {
                env.concat(&[]).exits(0);
            }
            let page = ["--html", "page.html", "--media-dir", "media"];
            run(&env, "search", &[&[query], &page[..]].concat()).exits(0);
            let page = fs::read_to_string(env.path("page.html")).unwrap();
            // The query, and it and another as neighbours.
            assert_eq!(page.matches("src=\"data:").count(), 3, "{page}");
            let why = "no picture: the file has changed since its feature was made";
            assert_eq!(page.matches(why).count(), 1, "{page}");
        }
    }
}

#[test]
fn an_id_that_is_not_there_is_named_with_the_nearest_path() {
    need_runtime!();
    let env = with_pictures();
    extract(&env).exits(0);
    for (query, meant) in [
        ("2020/IMG_001.jpg", "2020/IMG_0001.jpg"),
        ("2021/trip/img_0001", "2021/trip/IMG_0001.jpg"),
        // Without its folders, the first that has the name.
        ("IMG_0001.jpg", "2020/IMG_0001.jpg"),
        ("trip/IMG_0001.jpg", "2021/trip/IMG_0001.jpg"),
    ] {
        let meant = format!(
            "{query}: is neither an object that is extracted nor a file; did you mean {meant}?"
        );
        run(&env, "search", &[query]).exits(1).says(&[&meant]);
    }
    run(&env, "search", &["./2020/IMG_0001.jpg"])
        .exits(1)
        .says(&["there is no such file"]);
}

#[test]
fn the_first_extract_chooses_the_ids_of_a_directory_and_others_are_refused() {
    need_runtime!();
    for (chosen, other) in [("path", "name"), ("name", "path")] {
        let env = TestEnv::new();
        env.picture("x/a.jpg", 1);
        env.list(&[]).exits(0);
        env.extract("nhwc", &["--ids", chosen]).exits(0);
        let recipe = fs::read(env.path("features/nhwc/recipe.json")).unwrap();
        let recipe: Value = serde_json::from_slice(&recipe).unwrap();
        assert_eq!(recipe["ids"], chosen);
        env.picture("x/b.jpg", 2);
        env.list(&[]).exits(0);
        let before = env.tree("features");
        env.extract("nhwc", &["--ids", other]).exits(1).says(&[
            &format!("features/nhwc are those of --ids {chosen}, and --ids {other} was asked for"),
            "another --feature-dir",
        ]);
        assert_same_tree(&env.tree("features"), &before);
        // Who does not say it goes on as recorded.
        let outcome = env.extract("nhwc", &["--json"]);
        assert_eq!(outcome.exits(0).counts(), [1, 1, 0, 0]);
        env.concat(&[]).exits(0);
        let expected = match chosen {
            "path" => ["x/a.jpg", "x/b.jpg"],
            _ => ["a.jpg", "b.jpg"],
        };
        assert_eq!(packed_ids(&env), expected);
    }
}

#[test]
fn a_directory_of_which_nothing_says_what_the_ids_are_has_names() {
    need_runtime!();
    for packed in [false, true] {
        let env = TestEnv::new();
        env.picture("x/a.jpg", 1);
        env.list(&[]).exits(0);
        env.extract("nhwc", &[]).exits(0);
        if packed {
            env.concat(&[]).exits(0);
            fs::remove_file(env.path("features/nhwc/SHA256SUMS")).unwrap();
        }
        let recipe = env.path("features/nhwc/recipe.json");
        let mut older: Value = serde_json::from_slice(&fs::read(&recipe).unwrap()).unwrap();
        older.as_object_mut().unwrap().remove("ids").unwrap();
        let refused = || {
            let before = env.tree("features");
            env.extract("nhwc", &["--ids", "path"])
                .exits(1)
                .says(&["are those of --ids name, and --ids path was asked for"]);
            assert_same_tree(&env.tree("features"), &before);
            let outcome = env.extract("nhwc", &["--json"]);
            assert_eq!(outcome.exits(0).counts(), [0, 1, 0, 0]);
        };
        // As the version before leaves it, and as other scripts do.
        fs::write(&recipe, older.to_string()).unwrap();
        refused();
        fs::remove_file(&recipe).unwrap();
        refused();
    }
    // One without features may become either.
    let env = with_pictures();
    fs::create_dir_all(env.path("features/nhwc")).unwrap();
    assert_eq!(extract(&env).exits(0).counts(), [4, 0, 0, 0]);
}

#[test]
fn a_damaged_recipe_stops_whoever_must_know_what_the_ids_are() {
    need_runtime!();
    let env = with_pictures();
    extract(&env).exits(0);
    env.write("features/nhwc/recipe.json", "{");
    let before = env.tree("features");
    for arguments in [
        &["concat"][..],
        &["search", "a.jpg"],
        &["status"],
        &["prune", "--media-dir", "media"],
    ] {
        run(&env, arguments[0], &arguments[1..])
            .exits(1)
            .says(&["features/nhwc/recipe.json is damaged"]);
    }
    assert_same_tree(&env.tree("features"), &before);
}

#[test]
fn with_names_the_other_file_is_named_and_so_is_the_way_out() {
    need_runtime!();
    let env = with_pictures();
    env.list(&[]).exits(3).says(&[
        "left out: 2021/IMG_0001.jpg has the same object id as 2020/IMG_0001.jpg",
        "left out: 2021/trip/IMG_0001.jpg has the same object id as 2020/IMG_0001.jpg",
        "--ids path",
    ]);
    // A list with all of them.
    env.objects(&ENTRIES);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [2, 0, 2, 0]);
    let failures = fs::read_to_string(env.path("features/nhwc/failures.jsonl")).unwrap();
    let lines: Vec<&str> = failures.lines().collect();
    assert_eq!(lines.len(), 2, "{failures}");
    for (line, entry) in lines.iter().zip(&ENTRIES[1..]) {
        for part in [
            entry,
            &"2020/IMG_0001.jpg has the same object id",
            &"--ids path",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn paths_of_every_length_and_spelling_are_objects() {
    need_runtime!();
    let env = TestEnv::new();
    let long_name = "n".repeat(255);
    // Deeper than any name is long, and no longer than the system opens.
    let long_path = format!("{}{}", "deep/".repeat(700), "m".repeat(250));
    let mut entries = vec![
        "..jpg",
        "...",
        "a",
        "A",
        "a..b/c..d",
        "ab",
        "x/.y",
        "x/a.npy",
        "x/é.jpg",
        "x/e\u{301}.jpg",
        "x/ .jpg",
        "x/a b#?%2F&c.jpg",
        "x--a.jpg",
        "0000.features.npy",
        "recipe.json",
        ".lock",
        &long_name,
        &long_path,
    ];
    entries.sort_unstable();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    let same_file = "./a";
    let refused = [
        "x//a.npy",
        "x/./a.npy",
        "x/../a",
        "/etc/passwd",
        "x/",
        &"p/".repeat(2048),
        &format!("{}q", "p/".repeat(2048)),
    ];
    env.objects(&[&entries[..], &[same_file], &refused].concat());
    let outcome = extract(&env);
    let counts = [entries.len() as u64, 1, refused.len() as u64, 0];
    assert_eq!(outcome.exits(3).counts(), counts);
    let tree = env.tree("features/nhwc");
    let features = files_ending(&tree, ".npy");
    assert_eq!(features.len(), entries.len());
    // Whatever the paths hold.
    let is_of_sum = |name: &String| name.len() == "ab/cd/.npy".len() + 64;
    assert!(features.keys().all(is_of_sum), "{:?}", features.keys());
    let others = tree.keys().filter(|name| !name.contains('/'));
    let expected = ["failures.jsonl", "recipe.json", "sources.jsonl"];
    assert_eq!(others.collect::<Vec<_>>(), expected);
    let status = run(&env, "status", &["--json", "--media-dir", "media"]).json();
    let found =
        ["files", "failed", "repeated", "pending"].map(|name| status[name].as_u64().unwrap());
    let expected = [entries.len() as u64, refused.len() as u64, 1, 0];
    assert_eq!(found, expected);
    env.concat(&[]).exits(0);
    assert_eq!(packed_ids(&env), entries);
    let outcome = extract(&env);
    let counts = [0, entries.len() as u64 + 1, refused.len() as u64, 0];
    assert_eq!(outcome.exits(3).counts(), counts);
    run(&env, "verify", &["--media-dir", "media"]).exits(0);
    for entry in &entries {
        assert_eq!(same(&env, entry, &[])[0].0, *entry);
    }
}

#[test]
fn a_file_of_which_nobody_knows_the_path_is_named_and_made_again() {
    need_runtime!();
    let env = with_pictures();
    extract(&env).exits(0);
    let whole = env.tree("features/nhwc");
    // As a power loss leaves it: the line of one of them is gone.
    let record = env.path("features/nhwc/sources.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let lines = text.lines().filter(|line| !line.contains(ENTRIES[1]));
    let left: String = lines.map(|line| line.to_owned() + "\n").collect();
    assert_ne!(left, text);
    fs::write(&record, left).unwrap();
    let id = ObjectId::new(IdKind::Path, ENTRIES[1]).unwrap();
    let path = id.feature_path();
    let says = [path.to_str().unwrap(), "not recorded which object"];
    run(&env, "search", &["a.jpg"]).exits(3).says(&says);
    let verified = run(&env, "verify", &[]);
    assert!(
        says.iter()
            .all(|text| verified.exits(1).stdout.contains(text))
    );
    env.concat(&["--full-only", "--rows", "9"])
        .exits(3)
        .says(&says);
    let outcome = extract(&env);
    assert_eq!(outcome.exits(0).counts(), [1, 3, 0, 0]);
    assert_same_tree(&env.tree("features/nhwc"), &whole);
    env.concat(&[]).exits(0);
    assert_eq!(packed_ids(&env), ENTRIES);
}

#[test]
fn what_is_moved_is_another_object_and_the_old_one_is_pruned() {
    need_runtime!();
    for packed in [false, true] {
        let env = with_pictures();
        extract(&env).exits(0);
        if packed {
            env.concat(&[]).exits(0);
        }
        fs::rename(env.path("media/2020"), env.path("media/2022")).unwrap();
        fs::remove_file(env.path("media/2021/IMG_0001.jpg")).unwrap();
        env.list(&["--ids", "path"]).exits(0);
        let outcome = extract(&env);
        assert_eq!(outcome.exits(0).counts(), [1, 2, 0, 0]);
        assert_eq!(outcome.json()["moved"], 0);
        let prune = |more: &[&str]| run(&env, "prune", &[&["--media-dir", "media"], more].concat());
        let dry = prune(&["--dry-run"]);
        assert_eq!(
            dry.exits(0).stdout,
            "2020/IMG_0001.jpg\n2021/IMG_0001.jpg\n"
        );
        prune(&[]).exits(0);
        env.concat(&[]).exits(0);
        let mut left = packed_ids(&env);
        left.sort_unstable();
        assert_eq!(
            left,
            ["2021/trip/IMG_0001.jpg", "2022/IMG_0001.jpg", "a.jpg"]
        );
        assert!(!env.path("features/nhwc/sources.jsonl").exists());
        run(&env, "verify", &["--media-dir", "media"]).exits(0);
    }
}

/// Makes `features` hold this and nothing else.
fn restore(env: &TestEnv, tree: &Tree) {
    fs::remove_dir_all(env.path("features")).unwrap();
    for (name, content) in tree.iter().filter(|(name, _)| !name.ends_with('/')) {
        env.write(Path::new("features").join(name), content);
    }
}

#[test]
fn wherever_concat_or_prune_is_killed_each_feature_keeps_its_path() {
    need_runtime!();
    if !cfg!(feature = "fault-points") {
        skip!("the program is built without fault points; `make test` builds it with them");
    }
    let env = with_pictures();
    env.objects(&ENTRIES[..2]);
    extract(&env).exits(0);
    env.concat(&["--rows", "2"]).exits(0);
    // One row has a newer feature, and two objects have only that.
    env.picture(ENTRIES[0], 9);
    env.objects(&ENTRIES);
    extract(&env).exits(0);
    let all = env.tree("features");
    // For `prune`, one row and one file are of pictures that are gone.
    let listed = [ENTRIES[0], ENTRIES[3]];
    let prune = [
        "prune",
        "--yes",
        "--media-dir=media",
        "--feature-dir",
        "features",
    ];
    let concat = ["concat", "--feature-dir", "features", "--rows", "2"];
    let neighbours = |more: &[&str]| {
        let outcome = run(&env, "search", &[&["a.jpg", "--paths"], more].concat());
        outcome.exits(0).stdout.clone()
    };
    for (command, entries) in [(concat, &ENTRIES[..]), (prune, &listed)] {
        restore(&env, &all);
        env.objects(entries);
        let expected = neighbours(&["--media-dir", "media"]);
        assert_eq!(expected.lines().count(), entries.len());
        env.run(command).exits(0);
        let after = env.tree("features");
        assert_eq!(neighbours(&["--media-dir", "media"]), expected);
        let mut kills = 0;
        for number in (1..).step_by(every(3)) {
            restore(&env, &all);
            let mut killed = env.command(command);
            killed.env("SIMSEARCH_FAULT", format!("kill {number}"));
            if !crate::finish(killed).was_killed() {
                break;
            }
            kills += 1;
            assert_eq!(neighbours(&["--media-dir", "media"]), expected, "{number}");
            let verified = run(&env, "verify", &[]);
            assert_eq!(verified.exits(0).stdout, "", "{number}");
            env.run(command).exits(0);
            assert_same_tree(&env.tree("features"), &after);
        }
        assert!(kills * every(3) > 10, "{kills}");
    }
}
