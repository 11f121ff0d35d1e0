//! `simsearch status`.

use std::process::Stdio;

use serde_json::json;

use crate::concat::{numbered, write_features};
use crate::{Outcome, TestEnv, assert_same_tree, need_runtime, wait};

fn status(env: &TestEnv, more: &[&str]) -> Outcome {
    env.run(
        ["status", "--feature-dir", "features", "--json"]
            .iter()
            .chain(more),
    )
}

#[track_caller]
fn number(outcome: &Outcome, name: &str) -> u64 {
    let value = &outcome.json()[name];
    value
        .as_u64()
        .unwrap_or_else(|| panic!("`{name}` is no number\n{outcome}"))
}

/// Three objects packed, two as files, and failures of three, one of which has a feature by now.
fn directory(env: &TestEnv) {
    write_features(env, &numbered(0..3));
    env.concat(&["--rows", "2"]).exits(0);
    write_features(env, &["file1.jpg", "file2.jpg"]);
    let failure = |id: &str, class: &str| {
        format!(
            r#"{{"id": "{id}", "path": "{id}", "stage": "read", "class": "{class}", "message": "m"}}"#
        )
    };
    let report = [
        failure("gone.jpg", "missing"),
        failure("text.jpg", "not-a-picture"),
        failure("file1.jpg", "truncated"),
        failure("cut-off.jpg", "truncated")[..40].to_owned(),
    ];
    env.write("features/model/failures.jsonl", report.join("\n"));
    env.write("features/model/.tmp/0123456789abcdef.0", "half a feature");
}

#[test]
fn every_listed_object_is_counted_once() {
    let env = TestEnv::new();
    directory(&env);
    env.objects(&[
        "a/00000.jpg",
        "a/00001.jpg",
        "b/00001.jpg",
        "a/00000.jpg",
        "file1.jpg",
        "gone.jpg",
        "text.jpg",
        "pending1.jpg",
        "pending2.jpg",
        "pending3.jpg",
    ]);
    let before = env.tree("features");
    let outcome = status(&env, &["--media-dir", "media"]);
    let expected = json!({
        "directory": "features/model",
        "recipe": null,
        "listed": 10,
        "repeated": 1,
        "files": 1,
        "packed": 2,
        "shards": 2, "parts": null, "merging": false,
        "sourced": 0,
        "failed": 3,
        "permanent": 2,
        "failures": {"bad-entry": 1, "missing": 1, "not-a-picture": 1},
        "pending": 3,
        "unlisted": 2,
        "changed": [],
        "moved": [],
        "removed": ["00002.jpg", "file2.jpg"],
    });
    assert_eq!(outcome.exits(0).json(), expected);
    assert_same_tree(&env.tree("features"), &before);
    let lines = env.run([
        "status",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
    ]);
    for line in [
        "done       3: 1 in files, 2 packed in 2 shards\n",
        "sources    not recorded of 3, which an earlier version or another program made\n",
        "failed     3: 1 bad-entry (permanent), 1 missing, 1 not-a-picture (permanent)\n",
        "pending    3\n",
    ] {
        assert!(lines.stdout.contains(line), "{line}{lines}");
    }
}

#[test]
fn a_run_in_which_no_line_was_an_object_is_counted() {
    let env = TestEnv::new();
    env.objects(&["/elsewhere/x.jpg", "../y.jpg"]);
    env.extract("nhwc", &[])
        .exits(1)
        .says(&["2 objects failed"]);
    let outcome = status(&env, &["--media-dir", "media"]);
    outcome.exits(0);
    assert_eq!(number(&outcome, "failed"), 2);
}

#[test]
fn without_a_list_it_says_what_the_directory_holds() {
    let env = TestEnv::new();
    directory(&env);
    let outcome = status(&env, &[]);
    let expected = json!({
        "directory": "features/model",
        "recipe": null,
        "listed": null,
        "repeated": 0,
        "files": 2,
        "packed": 3,
        "shards": 2, "parts": null, "merging": false,
        "sourced": 0,
        "failed": 2,
        "permanent": 1,
        "failures": {"missing": 1, "not-a-picture": 1},
        "pending": null,
        "unlisted": null,
        "changed": null,
        "moved": null,
        "removed": null,
    });
    assert_eq!(outcome.exits(0).json(), expected);
}

#[test]
fn its_counts_are_those_of_extract() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = Vec::new();
    for seed in 0..6 {
        entries.push(format!("object/{seed:04}.jpg"));
        env.picture(&entries[seed], seed);
    }
    env.write("media/object/text.jpg", "no picture at all, just text");
    let more = [
        "object/text.jpg",
        "object/gone.jpg",
        "../x.jpg",
        "object/0000.jpg",
    ];
    entries.extend(more.map(str::to_owned));
    env.objects(&entries);
    let list = ["--media-dir", "media"];
    let agree = |options: &[&str]| {
        let extract = env.extract("nhwc", &[&["--json", "--seed", "1"], options].concat());
        let [done, skipped, failed, left] = extract.counts();
        let status = status(&env, &list);
        let with_feature = ["files", "packed", "repeated"].map(|name| number(&status, name));
        assert_eq!(
            with_feature.iter().sum::<u64>(),
            done + skipped,
            "{extract}\n{status}"
        );
        assert_eq!(number(&status, "failed"), failed, "{extract}\n{status}");
        assert_eq!(number(&status, "pending"), left, "{extract}\n{status}");
        assert_eq!(status.json()["listed"], extract.json()["listed"]);
        status
    };
    let some = agree(&["--limit", "3"]);
    assert_eq!(number(&some, "pending"), 5);
    env.concat(&[]).exits(0);
    let all = agree(&[]);
    let found = ["files", "packed", "failed", "permanent"].map(|name| number(&all, name));
    assert_eq!(found.iter().take(2).sum::<u64>(), 6, "{all}");
    assert_eq!(found[2..], [3, 2], "{all}");
    let recorded = env.tree("features/nhwc")["recipe.json"].clone();
    let recorded: serde_json::Value = serde_json::from_slice(&recorded).unwrap();
    assert_eq!(all.json()["recipe"], recorded);
    // `verify` finds the same directory in order.
    let arguments = [
        "verify",
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
    ];
    env.run(arguments).exits(0).says(&["no problems"]);
}

#[test]
fn no_object_is_missed_or_counted_twice_while_concat_runs() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..400));
    let arguments = ["concat", "--feature-dir", "features", "--rows", "10"];
    let mut command = env.command(arguments);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        let is_over = child.try_wait().unwrap().is_some();
        let outcome = status(&env, &[]);
        let done = ["files", "packed"].map(|name| number(outcome.exits(0), name));
        assert_eq!(done.iter().sum::<u64>(), 400, "{outcome}");
        if is_over {
            assert_eq!(done, [0, 400]);
            break;
        }
    }
    wait("concat".to_owned(), child).exits(0);
}
