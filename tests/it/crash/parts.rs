//! Kills and errors at every step of `extract --pack` and `concat --merge`.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::steps::run_with_fault;
use super::{assert_readable, every, need_fault_points, restore, state};
use crate::extract::pictures;
use crate::packed_parts::rows;
use crate::{Outcome, TestEnv, Tree, assert_same_tree, finish, need_runtime, until, wait};

/// Packs the pictures into small shards, in the order of the list.
fn pack(env: &TestEnv) -> Command {
    let options = ["--json", "--pack", "--rows", "2", "--workers", "1"];
    env.extract_command("nhwc", &options)
}

fn merge(env: &TestEnv) -> Command {
    env.command(["concat", "--feature-dir", "features", "--json", "--merge"])
}

/// The state with nothing of processes that have ended.
fn tidy_state(env: &TestEnv) -> Tree {
    let mut found = state(env, "nhwc");
    found.retain(|name, _| !name.ends_with(".lease"));
    found
}

/// How many rows are in place.
fn packed(env: &TestEnv) -> u64 {
    if !env.path("features/nhwc").exists() {
        return 0;
    }
    let status = env.run([
        "status",
        "--feature-dir",
        "features",
        "--model",
        "nhwc",
        "--json",
    ]);
    status.exits(0).json()["packed"].as_u64().unwrap()
}

/// States to pack from, and what an undisturbed run makes of each: nothing is there; or features of which a row of one
/// shard, and all of another one, are of pictures that have changed, and one picture was moved.
fn states_to_pack(env: &TestEnv) -> Vec<(Tree, Tree)> {
    let mut entries = pictures(env, 7);
    finish(pack(env)).exits(0);
    let first = (Tree::new(), state(env, "nhwc"));
    for changed in [1, 2, 3] {
        env.picture(&format!("object/000{changed}.jpg"), 50 + changed);
    }
    fs::rename(
        env.path("media/object/0006.jpg"),
        env.path("media/0006.jpg"),
    )
    .unwrap();
    entries[6] = "0006.jpg".into();
    env.objects(&entries);
    let before = state(env, "nhwc");
    let outcome = finish(pack(env));
    assert_eq!(outcome.exits(0).counts(), [3, 4, 0, 0], "{outcome}");
    vec![first, (before, state(env, "nhwc"))]
}

#[test]
fn a_part_that_packs_loses_the_shard_in_hand_at_most_wherever_it_is_killed() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let states = states_to_pack(&env);
    let mut killed = 0;
    // The pictures are those of the second state: of the first, another run made the same shards.
    for (before, _) in &states {
        restore(&env, "nhwc", before);
        finish(pack(&env)).exits(0);
        let expected = rows(&env, "nhwc");
        for number in (1..).step_by(every(5)) {
            restore(&env, "nhwc", before);
            let run = run_with_fault(&env, pack(&env), "kill", number);
            if !run.was_killed(0) {
                break;
            }
            killed += 1;
            eprintln!("killed at step {number}: {:?}", run.at);
            assert_readable(&state(&env, "nhwc"), "killed");
            let in_place = packed(&env);
            let outcome = finish(pack(&env));
            let [done, skipped, ..] = outcome.exits(0).counts();
            assert_eq!(done + skipped, 7, "{outcome}");
            if before.is_empty() {
                let put_in_place = run.steps.iter().filter(|step| *step == "put in place");
                let whole = put_in_place.count() as u64 / 3;
                assert!(skipped >= in_place.max(whole * 2).min(7), "{outcome}");
            }
            assert_eq!(rows(&env, "nhwc"), expected);
            let found = state(&env, "nhwc");
            assert!(
                !found
                    .keys()
                    .any(|name| name.contains(".tmp") || name.ends_with(".lease"))
            );
            assert!(found.contains_key("part-00000-of-00001/part.json"));
            env.run([
                "verify",
                "--feature-dir",
                "features",
                "--media-dir",
                "media",
            ])
            .exits(0);
        }
    }
    assert!(killed * every(5) > 60, "{killed}");
}

#[test]
fn an_error_at_any_step_of_a_part_that_packs_is_told_and_the_next_run_goes_on() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let (before, _) = states_to_pack(&env).remove(1);
    restore(&env, "nhwc", &before);
    finish(pack(&env)).exits(0);
    let expected = rows(&env, "nhwc");
    for number in (1..).step_by(every(5)) {
        restore(&env, "nhwc", &before);
        let run = run_with_fault(&env, pack(&env), "ENOSPC", number);
        let Some(at) = &run.at else {
            run.outcome.exits(0);
            break;
        };
        eprintln!("ENOSPC at step {number}: {at}");
        assert_readable(&state(&env, "nhwc"), "after an error");
        let has_replaced = |step: &String| step.contains("replace") || step.contains("hide");
        if !run.steps.iter().any(has_replaced) {
            assert_eq!(packed(&env), 7, "{}", run.outcome);
        }
        if !run.outcome.exited_with(0) {
            (run.outcome.exits(1)).says(&["cannot ", "features/nhwc", "No space left"]);
            assert!(run.outcome.stderr.lines().count() < 20, "{}", run.outcome);
        }
        finish(pack(&env)).exits(0);
        assert_eq!(rows(&env, "nhwc"), expected);
    }
}

/// Three parts, and what an undisturbed merge makes of them.
fn three_parts(env: &TestEnv) -> (Tree, Tree) {
    pictures(env, 9);
    for part in ["0/3", "1/3", "2/3"] {
        let options = ["--pack", "--rows", "2", "--part", part, "--workers", "1"];
        env.extract("nhwc", &options).exits(0);
    }
    let before = state(env, "nhwc");
    finish(merge(env)).exits(0);
    let after = state(env, "nhwc");
    assert!(
        !after
            .keys()
            .any(|name| name.contains('/') || name.starts_with('.'))
    );
    (before, after)
}

/// Fails unless whoever reads finds each object once.
#[track_caller]
fn assert_each_once(env: &TestEnv, when: &str) {
    let search = [
        "search",
        "--feature-dir",
        "features",
        "-k",
        "99",
        "0003.jpg",
    ];
    let outcome = env.run(search);
    let found: Vec<&str> = outcome.exits(0).stdout.lines().collect();
    assert_eq!(found.len(), 9, "{when}\n{outcome}");
    let status: Outcome = env.run(["status", "--feature-dir", "features", "--json"]);
    assert_eq!(status.exits(0).json()["packed"], 9, "{when}\n{status}");
    let verify = env.run(["verify", "--feature-dir", "features", "--json"]);
    assert_eq!(verify.exits(0).json()["rows"], 9, "{when}\n{verify}");
}

#[test]
fn whoever_reads_finds_each_object_once_wherever_a_merge_is_killed() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let (before, after) = three_parts(&env);
    let mut killed = 0;
    for number in (1..).step_by(every(3)) {
        restore(&env, "nhwc", &before);
        let run = run_with_fault(&env, merge(&env), "kill", number);
        if !run.was_killed(0) {
            break;
        }
        killed += 1;
        eprintln!("killed at step {number}: {:?}", run.at);
        assert_each_once(&env, "killed");
        let is_begun = state(&env, "nhwc")
            .keys()
            .any(|name| name.ends_with(".merging.tmp"));
        let is_done = state(&env, "nhwc").contains_key(".merged.tmp");
        if is_begun && !is_done {
            // Nothing else changes shards until the merge is over.
            env.concat(&[])
                .exits(1)
                .says(&["were being merged", "--merge"]);
            finish(pack(&env)).exits(1);
            assert!(!env.path("features/nhwc/part-00000-of-00001").exists());
            let status = env.run(["status", "--feature-dir", "features"]);
            assert!(
                status.exits(0).stdout.contains("concat --merge"),
                "{status}"
            );
            let verify = env.run(["verify", "--feature-dir", "features"]);
            verify.exits(0).says(&["a merge of parts was interrupted"]);
        }
        finish(merge(&env)).exits(0);
        assert_same_tree(&tidy_state(&env), &after);
        assert_each_once(&env, "merged");
    }
    assert!(killed * every(3) > 40, "{killed}");
}

#[test]
fn an_error_at_any_step_of_a_merge_is_told_and_loses_nothing() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let (before, after) = three_parts(&env);
    for (first, fault, message) in [
        (1, "EIO", "Input/output error"),
        (2, "ENOSPC", "No space left"),
    ] {
        for number in (first..).step_by(every(3)) {
            restore(&env, "nhwc", &before);
            let run = run_with_fault(&env, merge(&env), fault, number);
            let Some(at) = &run.at else {
                run.outcome.exits(0);
                break;
            };
            eprintln!("{fault} at step {number}: {at}");
            assert_each_once(&env, "after an error");
            if !run.outcome.exited_with(0) {
                (run.outcome.exits(1)).says(&["cannot ", "features/nhwc", message]);
            }
            finish(merge(&env)).exits(0);
            assert_same_tree(&tidy_state(&env), &after);
        }
    }
}

#[test]
fn a_prune_killed_in_a_part_is_finished_by_the_next_and_the_parts_still_merge() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let entries = pictures(&env, 9);
    for part in ["0/2", "1/2"] {
        let options = ["--pack", "--rows", "2", "--part", part, "--workers", "1"];
        env.extract("nhwc", &options).exits(0);
    }
    let all = rows(&env, "nhwc");
    env.objects(&entries[2..]);
    let places = ["--media-dir", "media", "--feature-dir", "features"];
    let prune: Vec<&str> = ["prune", "--yes"].into_iter().chain(places).collect();
    let before = state(&env, "nhwc");
    env.run(&prune).exits(0).says(&["removed 2 objects"]);
    let after = tidy_state(&env);
    for number in 1.. {
        restore(&env, "nhwc", &before);
        let run = run_with_fault(&env, env.command(&prune), "kill", number);
        if !run.was_killed(0) {
            assert!(number > 15, "{number}");
            break;
        }
        eprintln!("killed at step {number}: {:?}", run.at);
        env.run(&prune).exits(0);
        assert_same_tree(&tidy_state(&env), &after);
    }
    finish(merge(&env)).exits(0);
    let left = rows(&env, "nhwc");
    assert_eq!(left.len(), 7);
    assert!(left.iter().all(|(id, row)| all.get(id) == Some(row)));
}

/// A merge of parts elsewhere that was killed when some of its shards were in place.
fn killed_merge(env: &TestEnv) -> Command {
    three_parts(env);
    let _ = fs::remove_dir_all(env.path("features"));
    for part in ["0/3", "1/3", "2/3"] {
        let options = ["--pack", "--rows", "2", "--part", part, "--workers", "1"];
        env.extract("nhwc", &options).exits(0);
    }
    fs::rename(env.path("features"), env.path("jobs")).unwrap();
    let merge = || {
        let elsewhere = [
            "concat",
            "--feature-dir",
            "features",
            "--merge",
            "jobs/nhwc",
        ];
        env.command(elsewhere)
    };
    let placed = |run: &[String]| run.iter().filter(|step| *step == "put in place").count();
    for number in 1.. {
        let _ = fs::remove_dir_all(env.path("features"));
        let run = run_with_fault(env, merge(), "kill", number);
        assert!(run.was_killed(0));
        if placed(&run.steps) == 9 {
            return merge();
        }
    }
    unreachable!("a merge puts shards in place");
}

#[test]
fn a_merge_that_was_interrupted_goes_on_although_a_part_has_changed_since() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let mut again = killed_merge(&env);
    env.picture("object/0001.jpg", 70);
    for part in ["0/3", "1/3", "2/3"] {
        let options = [
            "--pack",
            "--rows",
            "2",
            "--part",
            part,
            "--feature-dir",
            "jobs",
        ];
        let mut command = env.command(["extract", "--media-dir", "media", "--provider", "cpu"]);
        command.args(["--model", crate::model_file("nhwc").to_str().unwrap()]);
        command.args(["--runtime", crate::runtime().unwrap().to_str().unwrap()]);
        finish({
            command.args(options);
            command
        })
        .exits(0);
    }
    again.arg("--json");
    finish(again).exits(0);
    assert_each_once(&env, "merged");
    let merged = rows(&env, "nhwc");
    fs::remove_dir_all(env.path("features")).unwrap();
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    assert_eq!(rows(&env, "nhwc"), merged);
}

#[test]
fn a_merge_that_was_interrupted_is_given_up_and_another_one_is_not_mixed_with_it() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let again = killed_merge(&env);
    let jobs = crate::tree(&env.path("jobs"));
    // Other parts, of a list that has grown.
    let mut entries: Vec<String> = (0..9).map(|at| format!("object/{at:04}.jpg")).collect();
    entries.push("object/more.jpg".into());
    env.picture("object/more.jpg", 60);
    env.objects(&entries);
    fs::rename(env.path("features"), env.path("kept")).unwrap();
    env.extract("nhwc", &["--pack"]).exits(0);
    fs::rename(env.path("features"), env.path("grown")).unwrap();
    fs::rename(env.path("kept"), env.path("features")).unwrap();
    let before = state(&env, "nhwc");
    env.run([
        "concat",
        "--feature-dir",
        "features",
        "--merge",
        "grown/nhwc",
    ])
    .exits(1)
    .says(&[
        "another merge into features/nhwc",
        "of 3 parts",
        "--give-up",
    ]);
    let shards = |tree: &Tree| crate::files_ending(tree, ".npy");
    assert_same_tree(&shards(&state(&env, "nhwc")), &shards(&before));
    // A part that comes there at the same moment is not taken for a merged one.
    let part = "part-00000-of-00001";
    let copied = crate::tree(&env.path("grown/nhwc").join(part));
    for (name, content) in &copied {
        env.write(format!("features/nhwc/{part}/{name}"), content);
    }
    finish(again)
        .exits(1)
        .says(&[part, "is not among the parts"]);
    assert_eq!(packed(&env), 10);
    fs::remove_dir_all(env.path("features/nhwc").join(part)).unwrap();

    let give_up = [
        "concat",
        "--feature-dir",
        "features",
        "--model",
        "nhwc",
        "--merge",
        "--give-up",
    ];
    env.run(give_up).exits(0).says(&["gave up"]);
    let left = state(&env, "nhwc");
    assert!(shards(&left).is_empty(), "{:?}", left.keys());
    assert!(
        !left.keys().any(|name| name.contains(".tmp")),
        "{:?}",
        left.keys()
    );
    env.run(["verify", "--feature-dir", "features"]).exits(0);
    assert_same_tree(&crate::tree(&env.path("jobs")), &jobs);
    env.run(give_up).exits(0).says(&["no merge to give up"]);
    env.run([
        "concat",
        "--feature-dir",
        "features",
        "--merge",
        "grown/nhwc",
    ])
    .exits(0);
    assert_eq!(packed(&env), 10);
}

#[test]
fn what_has_features_is_not_left_to_a_part_that_is_being_written() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let entries = pictures(&env, 5);
    env.objects(&entries[..4]);
    env.extract("nhwc", &[]).exits(0);
    env.objects(&entries);
    let first = waiting_in_a_part(&env, "");
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [0, 4, 0, 1], "{outcome}");
    env.write("release", "");
    wait("the first".into(), first).exits(0);
}

/// A run that packs a part, and waits with the first of its pictures until there is the file `release`. `locks` is
/// nothing, or a fault that goes with it.
pub(crate) fn waiting_in_a_part(env: &TestEnv, locks: &str) -> Child {
    for name in ["release", "steps"] {
        let _ = fs::remove_file(env.path(name));
    }
    let mut packing = pack(env);
    packing
        .env("SIMSEARCH_FAULT", format!("{locks}hang 1"))
        .env("SIMSEARCH_RELEASE", env.path("release"))
        .env("SIMSEARCH_STEPS", env.path("steps"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let packing = packing.spawn().unwrap();
    let steps = || fs::read_to_string(env.path("steps")).unwrap_or_default();
    assert!(until(|| steps().contains("hang")), "{}", steps());
    packing
}

#[test]
fn a_second_writer_of_a_part_is_refused_also_where_locks_prove_nothing() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    pictures(&env, 4);
    for locks in ["", "locks of one mount; "] {
        restore(&env, "nhwc", &Tree::new());
        let first = waiting_in_a_part(&env, locks);
        let with_fault = |mut command: Command| {
            // Who waits for another one does so for milliseconds.
            command.env("SIMSEARCH_FAULT", format!("{locks}hang 1000"));
            finish(command)
        };
        let this = format!("by process {} on ", first.id());
        with_fault(pack(&env)).exits(11).says(&[
            "part 0/1 is being written",
            "part-00000-of-00001",
            &this,
        ]);
        // Nor does a run that writes files make its objects.
        let plain = env.extract_command("nhwc", &["--json"]);
        let outcome = with_fault(plain);
        assert_eq!(outcome.exits(3).counts(), [0, 0, 0, 4], "{outcome}");
        outcome.says(&["4 listed objects left to processes that write parts"]);
        // Nor is the part merged, or checked.
        with_fault(merge(&env))
            .exits(11)
            .says(&["part-00000-of-00001", &this]);
        let verify = env.command(["verify", "--feature-dir", "features"]);
        with_fault(verify).exits(11).says(&[&this]);
        env.write("release", "");
        let outcome = wait("the first".into(), first);
        assert_eq!(outcome.exits(0).counts(), [4, 0, 0, 0], "{outcome}");
        assert_eq!(packed(&env), 4);
    }
}
