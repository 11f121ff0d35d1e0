//! A kill, or an error, at every step that changes files, in turn; see `src/support/fault.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{
    PACK, assert_readable, every, need_fault_points, numbered, record_of, restore, state,
    states_to_pack, write_feature, write_features,
};
use crate::extract::pictures;
use crate::{
    Outcome, TestEnv, Tree, assert_same_tree, files_ending, finish, need_runtime, stored_picture,
};

/// What became of a run that was to meet a fault.
pub(super) struct Faulty {
    pub outcome: Outcome,
    /// The steps that it took, by their names, and the fault.
    pub steps: Vec<String>,
    /// The step in place of which the fault came; none where the run takes fewer steps.
    pub at: Option<String>,
}

/// Runs a command with a fault in place of its step `number`, counted from one.
pub(super) fn run_with_fault(
    env: &TestEnv,
    mut command: Command,
    fault: &str,
    number: usize,
) -> Faulty {
    let record = env.path("steps");
    let _ = fs::remove_file(&record);
    command
        .env("SIMSEARCH_FAULT", format!("{fault} {number}"))
        .env("SIMSEARCH_STEPS", &record);
    let outcome = finish(command);
    let text = fs::read_to_string(&record).unwrap_or_default();
    let steps: Vec<String> = text.lines().map(str::to_owned).collect();
    let fault = format!("{fault} in place of: ");
    let at = steps.iter().find_map(|step| step.strip_prefix(&fault));
    let at = at.map(str::to_owned);
    assert!(
        at.is_some() || steps.len() < number,
        "step {number} of {steps:?} should have met the fault\n{outcome}"
    );
    Faulty { outcome, steps, at }
}

impl Faulty {
    /// Whether the run was killed. One that was not has ended by itself, with this exit code.
    #[track_caller]
    pub fn was_killed(&self, code: i32) -> bool {
        if self.at.is_some() {
            assert!(self.outcome.was_killed(), "{}", self.outcome);
        } else {
            self.outcome.exits(code);
        }
        self.at.is_some()
    }
}

/// What a run ends with that has done its work: an error there costs nothing, and the next run tidies.
const LAST_STEPS: [&str; 4] = [
    "empty the lock file",
    "give a lease back",
    "remove a scratch file",
    "remove the scratch directory",
];

/// The errors that are injected: as a failing disk gives them, and a full one.
const ERRORS: [(&str, &str); 2] = [
    ("EIO", "Input/output error"),
    ("ENOSPC", "No space left on device"),
];

#[test]
fn concat_killed_at_any_step_is_finished_to_the_same_bytes() {
    need_fault_points!();
    let env = TestEnv::new();
    for (before, after) in states_to_pack(&env) {
        for number in 1.. {
            restore(&env, "model", &before);
            let run = run_with_fault(&env, env.command(PACK), "kill", number);
            if !run.was_killed(0) {
                break;
            }
            eprintln!("killed at step {number}: {:?}", run.at);
            assert_readable(&state(&env, "model"), "killed");
            env.run(PACK).exits(0);
            assert_same_tree(&state(&env, "model"), &after);
        }
    }
}

#[test]
fn concat_killed_again_while_it_makes_good_is_finished_to_the_same_bytes() {
    need_fault_points!();
    let env = TestEnv::new();
    let (before, after) = states_to_pack(&env).remove(0);
    // Each second step with some first one.
    let stride = every(29);
    let mut pairs = 0;
    for first in 1.. {
        restore(&env, "model", &before);
        if !run_with_fault(&env, env.command(PACK), "kill", first).was_killed(0) {
            break;
        }
        let between = state(&env, "model");
        for second in (1 + first % stride..).step_by(stride) {
            restore(&env, "model", &between);
            let run = run_with_fault(&env, env.command(PACK), "kill", second);
            if !run.was_killed(0) {
                break;
            }
            pairs += 1;
            eprintln!(
                "killed at step {first}, then at step {second}: {:?}",
                run.at
            );
            env.run(PACK).exits(0);
            assert_same_tree(&state(&env, "model"), &after);
        }
    }
    eprintln!("concat: {pairs} pairs of kills");
}

#[test]
fn an_error_at_any_step_of_concat_is_told_and_loses_nothing() {
    need_fault_points!();
    let env = TestEnv::new();
    for ((before, after), (fault, message)) in states_to_pack(&env).iter().zip(ERRORS) {
        for number in 1.. {
            restore(&env, "model", before);
            let run = run_with_fault(&env, env.command(PACK), fault, number);
            let Some(at) = &run.at else {
                run.outcome.exits(0);
                break;
            };
            eprintln!("{fault} at step {number}: {at}");
            assert_readable(&state(&env, "model"), "after an error");
            if number > 3 && LAST_STEPS.contains(&at.as_str()) {
                // The last thing that a run does, and nothing depends on it.
                run.outcome.exits(0);
                let mut found = state(&env, "model");
                found.retain(|name, _| !name.ends_with(".lease"));
                assert_same_tree(&found, after);
            } else {
                (run.outcome.exits(1)).says(&["cannot ", "features/model", message]);
            }
            env.run(PACK).exits(0);
            assert_same_tree(&state(&env, "model"), after);
        }
    }
}

/// States of `features/model` with shards that are to change, and what an undisturbed run makes of each. In the first,
/// one row of a shard and both of another have newer features, and a picture was moved; in the second there is only
/// that.
fn states_to_change(env: &TestEnv) -> Vec<(Tree, Tree)> {
    let mut states = Vec::new();
    for replaced in [&[1, 2, 3][..], &[]] {
        restore(env, "model", &Tree::new());
        write_features(env, 0..4);
        env.run(PACK).exits(0);
        let mut record = record_of("another/folder", &numbered(0, 0));
        for &number in replaced {
            let newer = numbered(number, 1);
            record += &record_of("object", &newer);
            write_feature(env, &newer);
        }
        env.write("features/model/sources.jsonl", record);
        let before = state(env, "model");
        env.run(PACK).exits(0);
        let after = state(env, "model");
        assert!(
            !after
                .keys()
                .any(|name| name.contains('/') || name.starts_with('.'))
        );
        let features = files_ending(&after, ".features.npy").into_keys();
        let expected = match replaced {
            [] => vec!["0000.features.npy", "0001.features.npy"],
            _ => vec![
                "0002.features.npy",
                "0003.features.npy",
                "0004.features.npy",
            ],
        };
        assert_eq!(features.collect::<Vec<_>>(), expected);
        assert!(!after.contains_key("sources.jsonl"));
        states.push((before, after));
    }
    states
}

/// What a search finds, but for the time that it takes.
fn all_neighbours(env: &TestEnv) -> String {
    let search = [
        "search",
        "--feature-dir",
        "features",
        "-k",
        "99",
        "00000.jpg",
    ];
    let outcome = env.run(search);
    outcome.exits(0);
    assert_eq!(outcome.stdout.lines().count(), 4, "{outcome}");
    outcome.stdout
}

#[test]
fn a_shard_that_changes_does_so_in_one_step_wherever_concat_is_killed() {
    need_fault_points!();
    let env = TestEnv::new();
    for (before, after) in states_to_change(&env) {
        restore(&env, "model", &after);
        let expected = all_neighbours(&env);
        restore(&env, "model", &before);
        assert_eq!(all_neighbours(&env), expected);
        for number in (1..).step_by(every(2)) {
            restore(&env, "model", &before);
            let run = run_with_fault(&env, env.command(PACK), "kill", number);
            if !run.was_killed(0) {
                break;
            }
            eprintln!("killed at step {number}: {:?}", run.at);
            let between = state(&env, "model");
            assert_readable(&between, "killed");
            assert_eq!(all_neighbours(&env), expected, "{:?}", between.keys());
            let verify = env.run(["verify", "--feature-dir", "features"]);
            assert_eq!(verify.exits(0).stdout, "");
            // Killed once more, while it makes that good: at every so many steps, others each time.
            let stride = 10 * every(3);
            for second in (1 + number % stride..).step_by(stride) {
                restore(&env, "model", &between);
                let run = run_with_fault(&env, env.command(PACK), "kill", second);
                if !run.was_killed(0) {
                    break;
                }
                assert_eq!(all_neighbours(&env), expected, "{number}, {:?}", run.at);
                env.run(PACK).exits(0);
                assert_same_tree(&state(&env, "model"), &after);
            }
            assert_same_tree(&state(&env, "model"), &after);
        }
    }
}

const PRUNE: [&str; 5] = ["prune", "--media-dir", "media", "--feature-dir", "features"];

#[test]
fn prune_killed_at_any_step_loses_nothing_that_is_listed_and_goes_on() {
    need_fault_points!();
    let env = TestEnv::new();
    write_features(&env, 0..6);
    env.run(PACK).exits(0);
    let mut record = String::new();
    for number in 6..10 {
        let object = numbered(number, 0);
        record += &record_of("object", &object);
        write_feature(&env, &object);
    }
    env.write("features/model/sources.jsonl", record);
    let line = |id: &str| {
        format!(r#"{{"id":"{id}","path":"{id}","stage":"read","class":"missing","message":"m"}}"#)
            + "\n"
    };
    let failures = line("listed.jpg") + &line("gone.jpg");
    env.write("features/model/failures.jsonl", failures);
    // Of the three shards one loses a row, and one both.
    let stays = [0, 1, 4, 6, 7, 8].map(|number| numbered(number, 0).0);
    env.objects(&[&stays[..], &["listed.jpg".to_owned()]].concat());
    env.write(format!("media/{}", stays[0]), "it is mounted");
    let before = state(&env, "model");
    env.run(PRUNE)
        .exits(0)
        .says(&["removed 4 objects with 3 rows"]);
    let after = state(&env, "model");
    let left = |env: &TestEnv| {
        let search = [
            "search",
            "--feature-dir",
            "features",
            "-k",
            "99",
            "00000.jpg",
        ];
        let outcome = env.run(search);
        let lines = outcome.exits(0).stdout.lines();
        let ids = lines.map(|line| line.split(' ').next().unwrap().to_owned());
        let ids: Vec<String> = ids.collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        stays.iter().filter(|id| ids.contains(id)).count()
    };
    for fault in ["kill", "EIO"] {
        for number in 1.. {
            restore(&env, "model", &before);
            let run = run_with_fault(&env, env.command(PRUNE), fault, number);
            let Some(at) = &run.at else {
                run.outcome.exits(0);
                break;
            };
            eprintln!("{fault} at step {number}: {at}");
            if fault != "kill" && !LAST_STEPS.contains(&at.as_str()) {
                (run.outcome.exits(1)).says(&["cannot ", "features/model", "Input/output error"]);
            }
            assert_readable(&state(&env, "model"), "killed");
            assert_eq!(left(&env), stays.len(), "{at}");
            env.run(PRUNE).exits(0);
            assert_same_tree(&state(&env, "model"), &after);
        }
    }
}

#[test]
fn an_error_at_any_step_of_a_change_is_told_and_loses_nothing() {
    need_fault_points!();
    let env = TestEnv::new();
    for ((before, after), (fault, message)) in states_to_change(&env).iter().zip(ERRORS) {
        restore(&env, "model", before);
        let expected = all_neighbours(&env);
        for number in 1.. {
            restore(&env, "model", before);
            let run = run_with_fault(&env, env.command(PACK), fault, number);
            let Some(at) = &run.at else {
                run.outcome.exits(0);
                break;
            };
            eprintln!("{fault} at step {number}: {at}");
            if number > 3 && LAST_STEPS.contains(&at.as_str()) {
                run.outcome.exits(0);
            } else {
                (run.outcome.exits(1)).says(&["cannot ", "features/model", message]);
            }
            assert_eq!(all_neighbours(&env), expected);
            env.run(PACK).exits(0);
            assert_same_tree(&state(&env, "model"), after);
        }
    }
}

/// Fails unless these steps come in this order, before the first one that removes a feature.
#[track_caller]
fn assert_durable_first(steps: &[String], order: &[&str]) {
    let end = steps.iter().position(|step| step == "remove a feature");
    let mut before = steps[..end.expect("a feature is removed")].iter();
    for wanted in order {
        assert!(
            before.any(|step| step == wanted),
            "`{wanted}` is not in its place before a feature is removed: {steps:?}"
        );
    }
}

#[test]
fn a_shard_is_durable_before_the_features_in_it_are_removed() {
    need_fault_points!();
    let env = TestEnv::new();
    write_features(&env, 0..2);
    let before = state(&env, "model");
    let pack = |number| run_with_fault(&env, env.command(PACK), "kill", number);
    let order = [
        "write the features",
        "sync the features",
        "write the object ids",
        "sync the object ids",
        "sync the directory",
        "put in place",
        "sync the directory",
        "put in place",
        "sync the directory",
    ];
    let undisturbed = pack(usize::MAX);
    assert!(!undisturbed.was_killed(0));
    assert_durable_first(&undisturbed.steps, &order);
    // Killed before the last of these: who makes that good has to sync the directory as well.
    for number in 1.. {
        restore(&env, "model", &before);
        let run = pack(number);
        assert!(
            run.was_killed(0),
            "a whole shard beside its features was never seen"
        );
        if state(&env, "model").contains_key("0000.object_ids.npy") {
            assert_eq!(run.at.as_deref(), Some("sync the directory"));
            break;
        }
    }
    let recovery = pack(usize::MAX);
    assert!(!recovery.was_killed(0));
    assert_durable_first(&recovery.steps, &["sync the directory"]);
}

const LIST: [&str; 3] = ["list", "--media-dir", "media"];

#[test]
fn list_leaves_the_old_list_or_the_whole_new_one_at_any_step() {
    need_fault_points!();
    let env = TestEnv::new();
    let list = env.path("media/objects.txt");
    env.picture("object/a.jpg", 1);
    env.run(LIST).exits(0);
    let old = fs::read(&list).unwrap();
    env.picture("object/b.jpg", 2);
    env.run(LIST).exits(0);
    let new = env.tree("media");
    let mut lists = BTreeSet::new();
    for fault in ["kill", "EIO", "ENOSPC"] {
        for number in 1.. {
            fs::write(&list, &old).unwrap();
            let run = run_with_fault(&env, env.command(LIST), fault, number);
            let found = fs::read(&list).unwrap();
            assert!(found == old || found == new["objects.txt"]);
            lists.insert(found);
            if run.at.is_none() {
                let order = ["write the content", "sync the temporary file", "rename"];
                let order = [
                    &["create the temporary file", "empty the temporary file"],
                    &order[..],
                ];
                assert_eq!(
                    run.steps,
                    [&order.concat()[..], &["sync the directory"]].concat()
                );
                break;
            }
            if fault != "kill" {
                (run.outcome.exits(1)).says(&["cannot write media/objects.txt", "--output"]);
                assert!(!env.path("media/.objects.txt.tmp").exists());
            }
            env.run(LIST).exits(0);
            assert_same_tree(&env.tree("media"), &new);
        }
    }
    assert_eq!(lists.len(), 2);
}

const INDEX: [&str; 3] = ["index", "--feature-dir", "features"];
const EXPORT: [&str; 5] = [
    "export",
    "--feature-dir",
    "features",
    "--output",
    "table.parquet",
];

#[test]
fn index_and_export_leave_the_old_file_or_the_whole_new_one_at_any_step() {
    need_fault_points!();
    let (index, table) = (("features/model", "index.usearch"), (".", "table.parquet"));
    for (command, (directory, name)) in [(&INDEX[..], index), (&EXPORT, table)] {
        let env = TestEnv::new();
        let path = env.path(directory).join(name);
        let temporary = env.path(directory).join(format!(".{name}.tmp"));
        write_features(&env, 0..2);
        env.run(PACK).exits(0);
        env.run(command).exits(0);
        let old = fs::read(&path).unwrap();
        write_features(&env, 2..6);
        env.run(PACK).exits(0);
        env.run(command).exits(0);
        let new = fs::read(&path).unwrap();
        let assert_whole = || match name {
            // A graph is another each time.
            "index.usearch" => assert_covers_six(&env),
            _ => assert!(fs::read(&path).unwrap() == new, "not the whole table"),
        };
        let mut seen = BTreeSet::new();
        for fault in ["kill", "EIO", "ENOSPC"] {
            for number in 1.. {
                fs::write(&path, &old).unwrap();
                let run = run_with_fault(&env, env.command(command), fault, number);
                let is_new = fs::read(&path).unwrap() != old;
                seen.insert(is_new);
                if is_new {
                    assert_whole();
                }
                if run.at.is_none() {
                    run.outcome.exits(0);
                    assert!(is_new);
                    break;
                }
                eprintln!("{fault} at step {number} of {}: {:?}", command[0], run.at);
                let at = run.at.as_deref().unwrap_or_default();
                match at {
                    _ if fault == "kill" => {}
                    "give a lease back" => _ = run.outcome.exits(0),
                    "create the lock file" | "take a lease" => {
                        run.outcome.exits(1).says(&["cannot lock", directory]);
                    }
                    _ => {
                        run.outcome.exits(1).says(&["cannot write", name]);
                        assert!(!temporary.exists());
                    }
                }
                env.run(command).exits(0);
                assert_whole();
                assert!(!temporary.exists());
            }
        }
        assert_eq!(seen, BTreeSet::from([false, true]));
        // A leftover goes with the next run, whether it has anything to write or not.
        fs::write(&temporary, "half a file").unwrap();
        env.run(command).exits(0);
        assert!(!temporary.exists());
    }
}

/// Fails unless the index is a whole one of six objects: it opens, and there is nothing to add to it.
#[track_caller]
fn assert_covers_six(env: &TestEnv) {
    let outcome = env.run(INDEX.iter().chain(&["--json"]));
    outcome.exits(0).does_not_say("rebuilt");
    let summary = outcome.json();
    assert_eq!([&summary["added"], &summary["vectors"]], [0, 6]);
}

/// Three pictures and a text, and a directory of features in which one of them failed before, without a recipe: a run
/// there takes steps of every kind. The state before, and what an undisturbed run makes of it.
fn state_to_extract(env: &TestEnv) -> (Tree, Tree) {
    env.objects(&["object/gone.jpg"]);
    env.extract("nhwc", &[]).exits(1);
    let mut before = state(env, "nhwc");
    before.remove("recipe.json").unwrap();
    for (seed, name) in ["a", "b", "gone"].iter().enumerate() {
        env.picture(&format!("object/{name}.jpg"), seed);
    }
    env.write("media/object/text.jpg", stored_picture("text.jpg"));
    env.list(&[]).exits(0);
    finish(extract_alone(env)).exits(3);
    let after = state(env, "nhwc");
    assert_eq!(files_ending(&after, ".npy").len(), 3);
    let report = String::from_utf8_lossy(&after["failures.jsonl"]);
    assert!(report.contains("text.jpg") && !report.contains("gone.jpg"));
    (before, after)
}

fn extract_alone(env: &TestEnv) -> Command {
    env.extract_command("nhwc", &["--workers", "1", "--seed", "1"])
}

#[test]
fn extract_killed_at_any_step_is_finished_to_the_same_bytes() {
    need_fault_points!();
    need_runtime!();
    let env = TestEnv::new();
    let (before, after) = state_to_extract(&env);
    for number in 1.. {
        restore(&env, "nhwc", &before);
        let run = run_with_fault(&env, extract_alone(&env), "kill", number);
        if !run.was_killed(3) {
            break;
        }
        eprintln!("killed at step {number}: {:?}", run.at);
        assert_readable(&state(&env, "nhwc"), "killed");
        finish(extract_alone(&env)).exits(3);
        assert_same_tree(&state(&env, "nhwc"), &after);
    }
}

#[test]
fn an_error_at_any_step_of_extract_is_told_and_loses_nothing() {
    need_fault_points!();
    need_runtime!();
    let env = TestEnv::new();
    let (before, after) = state_to_extract(&env);
    for number in 1.. {
        restore(&env, "nhwc", &before);
        // As a failing disk gives it, and a full one, in turn.
        let (fault, message) = ERRORS[number % 2];
        let run = run_with_fault(&env, extract_alone(&env), fault, number);
        let Some(at) = &run.at else {
            run.outcome.exits(3);
            break;
        };
        eprintln!("{fault} at step {number}: {at}");
        let found = state(&env, "nhwc");
        assert_readable(&found, "after an error");
        if run.outcome.exited_with(3) {
            // Of one object alone, and reported; or of something that the next run tidies.
            let report = String::from_utf8_lossy(&found["failures.jsonl"]);
            let is_told = report.contains(message);
            assert!(
                is_told || at.starts_with("remove ") || at == "name the record of sources",
                "{at}: {report}"
            );
        } else {
            (run.outcome.exits(1)).says(&["cannot ", "features/nhwc", message]);
        }
        finish(extract_alone(&env)).exits(3);
        assert_same_tree(&state(&env, "nhwc"), &after);
    }
}

#[test]
fn a_bug_in_a_worker_ends_the_run_and_what_is_done_is_kept() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    pictures(&env, 6);
    let options = ["--workers", "2", "--batch-size", "1", "--json"];
    let extract = || env.extract_command("nhwc", &options);
    let is_of_worker = |step: &str| step.ends_with("a feature") || step == "record the sources";
    let undisturbed = run_with_fault(&env, extract(), "bug", usize::MAX);
    let first = (undisturbed.steps.iter()).position(|step| is_of_worker(step));
    let mut met = 0;
    for number in (first.unwrap()..undisturbed.steps.len()).step_by(every(2)) {
        let _ = fs::remove_dir_all(env.path("features"));
        let run = run_with_fault(&env, extract(), "bug", number + 1);
        if run.at.is_some_and(|at| is_of_worker(&at)) {
            met += 1;
            (run.outcome.exits(1))
                .says(&["the bug that was asked for", "this is a bug of simsearch"]);
            let outcome = finish(extract());
            assert_eq!(outcome.exits(0).counts()[2], 0, "{outcome}");
        }
    }
    eprintln!("{met} bugs in workers");
    assert!(met * every(2) > 6 * 2, "{met}");
}
