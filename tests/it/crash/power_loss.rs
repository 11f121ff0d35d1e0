//! What a power loss leaves: files that are cut off, or hold zeros.

use std::fs;
use std::path::Path;

use super::{PACK, pictures_and_broken_ones, restore, state, states_to_pack, with_sorted_report};
use crate::{TestEnv, assert_same_tree, files_ending, need_runtime};

/// What a power loss can make of a file: cut off, or with nothing where its bytes were.
fn torn(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut torn: Vec<Vec<u8>> = [0, 1, whole.len() / 2, whole.len() - 1]
        .map(|length| whole[..length].to_vec())
        .into();
    torn.push(vec![0; whole.len()]);
    torn
}

#[test]
fn a_torn_feature_is_left_by_concat_and_made_again_by_extract() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("object/abcd.jpg", 1);
    env.picture("object/other.jpg", 2);
    env.objects(&["object/abcd.jpg", "object/other.jpg"]);
    env.extract("nhwc", &[]).exits(0);
    let before = state(&env, "nhwc");
    env.concat(&[]).exits(0);
    let after = state(&env, "nhwc");
    let name = "ab/cd/abcd.jpg.npy";
    for content in torn(&before[name]) {
        restore(&env, "nhwc", &before);
        env.write(Path::new("features/nhwc").join(name), &content);
        env.concat(&["--full-only"]).exits(3).says(&[name]);
        assert_eq!(state(&env, "nhwc")[name], content);
        env.extract("nhwc", &[]).exits(0);
        assert_same_tree(&state(&env, "nhwc"), &before);
        env.concat(&[]).exits(0);
        assert_same_tree(&state(&env, "nhwc"), &after);
    }
}

#[test]
fn a_torn_report_of_failures_is_made_again() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures_and_broken_ones(&env, 40, (30, 20));
    env.extract("nhwc", &[]).exits(3);
    let after = with_sorted_report(state(&env, "nhwc"));
    let whole = fs::read(env.path("features/nhwc/failures.jsonl")).unwrap();
    let mut torn = torn(&whole);
    // In its middle.
    let mut zeroed = whole.clone();
    zeroed[10..whole.len() / 2].fill(0);
    torn.push(zeroed);
    for content in torn {
        env.write("features/nhwc/failures.jsonl", content);
        let outcome = env.extract("nhwc", &["--json"]);
        let [done, skipped, failed, left] = outcome.exits(3).counts();
        assert_eq!([done, left], [0, 0], "{outcome}");
        assert_eq!((skipped + failed) as usize, entries.len(), "{outcome}");
        assert_same_tree(&with_sorted_report(state(&env, "nhwc")), &after);
    }
    // A run without failures leaves no report, not even an empty one.
    env.write("features/nhwc/failures.jsonl", "");
    env.objects(&entries[..9]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert!(outcome.exits(0).json()["failures"].is_null(), "{outcome}");
    assert!(!env.path("features/nhwc/failures.jsonl").exists());
}

#[test]
fn a_torn_recipe_stops_the_run_and_nothing_is_changed() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("object/a.jpg", 1);
    env.objects(&["object/a.jpg"]);
    env.extract("nhwc", &[]).exits(0);
    let after = state(&env, "nhwc");
    env.picture("object/b.jpg", 2);
    env.objects(&["object/a.jpg", "object/b.jpg"]);
    for content in torn(&after["recipe.json"]) {
        // Without its last byte, a line feed, it says the same.
        if serde_json::from_slice::<serde_json::Value>(&content).is_ok() {
            continue;
        }
        env.write("features/nhwc/recipe.json", content);
        let before = state(&env, "nhwc");
        env.extract("nhwc", &[])
            .exits(1)
            .says(&["features/nhwc/recipe.json is damaged", "move it away"]);
        assert_same_tree(&state(&env, "nhwc"), &before);
    }
}

#[test]
fn what_killed_writers_left_beside_a_whole_file_goes() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures_and_broken_ones(&env, 10, (30, 20));
    env.extract("nhwc", &[]).exits(3);
    let after = state(&env, "nhwc");
    env.write("features/nhwc/.recipe.json.tmp", "half");
    env.write("features/nhwc/.failures.jsonl.tmp", "half");
    env.extract("nhwc", &[]).exits(3);
    assert_same_tree(&state(&env, "nhwc"), &after);
    // The report itself goes, and so does what was left beside it.
    env.write("features/nhwc/.failures.jsonl.tmp", "half");
    env.picture(&entries[9], 9);
    env.extract("nhwc", &[]).exits(0);
    assert!(!env.path("features/nhwc/.failures.jsonl.tmp").exists());
}

#[test]
fn a_torn_list_costs_nothing_that_is_done() {
    need_runtime!();
    let env = TestEnv::new();
    for name in ["a", "b", "c"] {
        env.picture(&format!("object/{name}.jpg"), name.len());
    }
    env.list(&[]).exits(0);
    env.extract("nhwc", &[]).exits(0);
    let done = files_ending(&state(&env, "nhwc"), ".npy");
    let whole = fs::read(env.path("media/objects.txt")).unwrap();
    for content in torn(&whole) {
        env.write("media/objects.txt", content);
        env.extract("nhwc", &[]);
        assert_same_tree(&files_ending(&state(&env, "nhwc"), ".npy"), &done);
        env.list(&[]).exits(0);
        assert_eq!(fs::read(env.path("media/objects.txt")).unwrap(), whole);
        env.extract("nhwc", &[]).exits(0);
    }
}

#[test]
fn torn_temporary_files_of_a_shard_are_written_again_or_named() {
    let env = TestEnv::new();
    let (before, after) = states_to_pack(&env).remove(0);
    let parts = ["features", "object_ids", "sources"];
    let [features, ids, sources] = parts.map(|part| format!("0000.{part}.npy"));
    let temporary = |name: &str| format!("features/model/.{name}.tmp");
    for name in [&features, &ids, &sources] {
        for content in torn(&after[name]) {
            restore(&env, "model", &before);
            env.write(temporary(name), content);
            env.run(PACK).exits(0);
            assert_same_tree(&state(&env, "model"), &after);
        }
    }
    // Where the other half is in place already, both were durable: a disk that lies. Nothing is lost even then.
    for content in torn(&after[&ids]) {
        restore(&env, "model", &before);
        env.write(format!("features/model/{features}"), &after[&features]);
        env.write(temporary(&ids), content);
        let damaged = state(&env, "model");
        env.run(PACK).exits(1).says(&[
            &format!("features/model/{features} has lost its object ids"),
            "move it away and run the same command again",
        ]);
        assert_same_tree(&state(&env, "model"), &damaged);
        fs::remove_file(env.path(format!("features/model/{features}"))).unwrap();
        env.run(PACK).exits(0);
        assert_same_tree(&state(&env, "model"), &after);
    }
}
