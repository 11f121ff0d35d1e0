//! A kill, or an error, at every step in which `duplicates` changes pictures, and in which that is undone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::need_fault_points;
use super::steps::run_with_fault;
use crate::TestEnv;
use crate::duplicates::act::{FIND, collection, elsewhere, files, undo};

/// The actions: to a folder beside the pictures, to one on another file system where there is one, and both kinds of
/// link.
fn actions(other: Option<&Path>) -> Vec<Vec<String>> {
    let mut actions = vec![
        vec!["--move-to".to_owned(), "found".to_owned()],
        vec!["--hard-link".to_owned()],
        vec!["--symlink".to_owned()],
    ];
    match other {
        Some(other) => actions.push(vec![
            "--move-to".to_owned(),
            other.to_str().unwrap().to_owned(),
        ]),
        None => eprintln!(
            "neither /dev/shm nor target is on another file system: moving between two is not tried"
        ),
    }
    actions
}

/// All bytes that there are, in pictures and in what was moved. What a kill left half done does not count.
fn contents(env: &TestEnv, other: Option<&Path>) -> BTreeSet<Vec<u8>> {
    let found = env.path("found");
    let folders = [Some(&*env.path("media")), Some(&*found), other];
    let found = folders.into_iter().flatten().flat_map(files);
    let whole = found.filter(|(name, _)| !name.ends_with(".simsearch"));
    whole.map(|(_, (bytes, ..))| bytes).collect()
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

/// Undoes what there is a list of.
fn undo_all(env: &TestEnv) {
    if env.path("features/model/undo-1.jsonl").exists() {
        undo(env).exits(0);
    }
}

/// `duplicates` with this action.
fn arguments(action: &[String]) -> Vec<&str> {
    let find = ["duplicates", "--feature-dir", "features"].into_iter();
    let action = action.iter().map(String::as_str);
    find.chain(FIND).chain(action).collect()
}

#[test]
fn pictures_are_all_there_wherever_duplicates_is_killed_and_an_undo_brings_them_back() {
    need_fault_points!();
    let other = elsewhere();
    let other = other.as_ref().map(|folder| folder.path());
    for action in actions(other) {
        let arguments = arguments(&action);
        for number in 1.. {
            let env = collection();
            other.into_iter().for_each(empty);
            let (before, bytes) = (files(&env.path("media")), contents(&env, other));
            let run = run_with_fault(&env, env.command(&arguments), "kill", number);
            let was_killed = run.was_killed(0);
            eprintln!("{action:?}: killed at step {number}: {:?}", run.at);
            assert!(contents(&env, other) == bytes, "{:?}", run.at);
            // Killed again, while it is undone.
            for second in 1.. {
                if !env.path("features/model/undo-1.jsonl").exists() {
                    break;
                }
                let command = env.command(["duplicates", "--undo", "features/model/undo-1.jsonl"]);
                let again = run_with_fault(&env, command, "kill", second);
                assert!(contents(&env, other) == bytes, "{:?}", again.at);
                if !again.was_killed(0) {
                    break;
                }
            }
            undo_all(&env);
            assert!(files(&env.path("media")) == before, "{:?}", run.at);
            assert!(files(&env.path("found")).is_empty());
            assert!(other.is_none_or(|other| files(other).is_empty()));
            if !was_killed {
                let steps = &run.steps;
                let first = steps
                    .iter()
                    .position(|step| ["move", "make a link", "make a folder"].contains(&&**step));
                let synced = steps.iter().position(|step| step == "sync the directory");
                assert!(
                    synced < first,
                    "the undo list is durable before anything changes: {steps:?}"
                );
                break;
            }
        }
    }
}

#[test]
fn an_error_at_any_step_that_changes_pictures_is_told_and_loses_nothing() {
    need_fault_points!();
    let other = elsewhere();
    let other = other.as_ref().map(|folder| folder.path());
    for action in actions(other) {
        let arguments = arguments(&action);
        for number in 1.. {
            let env = collection();
            other.into_iter().for_each(empty);
            let (before, bytes) = (files(&env.path("media")), contents(&env, other));
            let (fault, message, code) = match number % 2 {
                // Of one picture, which is left; of the whole disk.
                0 => ("EIO", "Input/output error", 3),
                _ => ("ENOSPC", "No space left on device", 1),
            };
            let run = run_with_fault(&env, env.command(&arguments), fault, number);
            let Some(at) = &run.at else {
                run.outcome.exits(0);
                break;
            };
            eprintln!("{action:?}: {fault} at step {number}: {at}");
            let list_is_there = env.path("features/model/undo-1.jsonl").exists();
            run.outcome.says(&[message]);
            match list_is_there && at != "sync the directory" {
                true => run.outcome.exits(code),
                false => run
                    .outcome
                    .exits(1)
                    .says(&["cannot write the undo list", "nothing was changed"]),
            };
            assert!(contents(&env, other) == bytes, "{at}");
            undo_all(&env);
            assert!(files(&env.path("media")) == before, "{at}");
            assert!(files(&env.path("found")).is_empty());
            assert!(other.is_none_or(|other| files(other).is_empty()));
        }
    }
}

#[test]
fn where_a_file_system_cannot_move_without_overwriting_a_link_does_it() {
    need_fault_points!();
    let arguments = [&["duplicates", "--feature-dir", "features"], &FIND[..]].concat();
    let arguments = [&arguments[..], &["--move-to", "found"]].concat();
    let mut tried = 0;
    for number in 1.. {
        let env = collection();
        let before = files(&env.path("media"));
        let run = run_with_fault(&env, env.command(&arguments), "EINVAL", number);
        match run.at.as_deref() {
            None => break,
            Some("move") => tried += 1,
            Some(_) => continue,
        }
        run.outcome.exits(0).says(&["3 pictures moved"]);
        assert!(run.steps.contains(&"remove the old name".to_owned()));
        assert_eq!(files(&env.path("found")).len(), 3);
        // As if it had been killed between the link and the removal.
        let [path, to] = ["media/a/copy.ppm", "found/a/copy.ppm"].map(|path| env.path(path));
        fs::hard_link(&to, &path).unwrap();
        undo(&env).exits(0).says(&["3 pictures brought back"]);
        assert!(files(&env.path("media")) == before && files(&env.path("found")).is_empty());
    }
    assert_eq!(tried, 3);
}
