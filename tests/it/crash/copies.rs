//! Several copies of `extract` on one directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use simsearch::storage::model_dir::{ModelDir, Packing};
use simsearch::storage::object_id::{IdKind, ObjectId};

use super::{
    PACK, every, kill, need_fault_points, numbered, pictures_and_broken_ones, restore, start,
    state, write_features,
};
use crate::{TestEnv, Tree, assert_same_tree, files_ending, finish, need_runtime, until, wait};

#[test]
fn eight_copies_do_next_to_nothing_twice() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures_and_broken_ones(&env, 200, (300, 200));
    let opened = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    opened
        .add_watch(&env.path("media/object"), AddWatchFlags::IN_OPEN)
        .unwrap();
    // The same order in all, so that they would meet at every object.
    let more = [
        "--json",
        "--workers",
        "1",
        "--seed",
        "1",
        "--batch-size",
        "20",
    ];
    let command = || env.extract_command("nhwc", &more);
    let running: Vec<Child> = (0..8)
        .map(|_| {
            let mut command = command();
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let outcomes = running
        .into_iter()
        .map(|child| wait("one of 8 copies".into(), child));
    let counts: Vec<[u64; 4]> = outcomes.map(|outcome| outcome.exits(3).counts()).collect();
    let done: u64 = counts.iter().map(|[done, ..]| done).sum();
    let objects = files_ending(&state(&env, "nhwc"), ".npy").len() as u64;
    assert_eq!(objects as usize, entries.len() * 9 / 10);
    let twice = done - objects;
    assert!(
        twice * 50 < objects,
        "{twice} of {objects} objects were done twice: {counts:?}"
    );
    // Those that fail count for every copy, whoever tried them; but each picture is read by one.
    assert!(counts.iter().all(|[_, _, failed, _]| *failed == 20));
    let mut reads = BTreeMap::new();
    loop {
        match opened.read_events() {
            Ok(events) => {
                for name in events.into_iter().filter_map(|event| event.name) {
                    *reads.entry(name).or_insert(0) += 1;
                }
            }
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                break;
            }
        }
    }
    assert_eq!(reads.len(), entries.len());
    let twice = reads.values().sum::<usize>() - entries.len();
    assert!(
        twice * 50 < entries.len(),
        "{twice} of {} pictures were read twice: {reads:?}",
        entries.len()
    );
}

#[test]
fn a_killed_copy_leaves_no_claims_behind() {
    need_runtime!();
    let env = TestEnv::new();
    // A batch takes so long to read that its claims can be seen.
    let entries = pictures_and_broken_ones(&env, 120, (600, 400));
    let command = || env.extract_command("nhwc", &["--workers", "1", "--batch-size", "30"]);
    // An object that cannot be claimed is one that somebody else has in hand.
    let all_free = || {
        let claims = ModelDir::open(&env.path("features/nhwc"))?.claims()?;
        let claim =
            |entry: &String| claims.claim(&ObjectId::from_entry(IdKind::Name, entry).unwrap());
        let free = entries
            .iter()
            .map(claim)
            .collect::<std::io::Result<Vec<bool>>>()?;
        std::io::Result::Ok(free.iter().all(|free| *free))
    };
    // On a busy machine all copies may have ended before this one looks: then once more.
    let (mut claimed, mut killed) = (false, Vec::new());
    for _ in 0..20 {
        let _ = fs::remove_dir_all(env.path("features"));
        let mut running: Vec<Child> = (0..4).map(|_| start(command())).collect();
        until(|| {
            claimed = all_free().is_ok_and(|free| !free);
            claimed || (running.iter_mut()).all(|copy| copy.try_wait().unwrap().is_some())
        });
        killed = running.into_iter().map(kill).collect();
        if claimed && killed.contains(&true) {
            break;
        }
    }
    assert!(claimed && killed.iter().any(|killed| *killed), "{killed:?}");
    assert!(all_free().unwrap(), "claims of killed copies are left");
    let outcome = env.extract("nhwc", &["--json"]);
    let [done, skipped, failed, left] = outcome.exits(3).counts();
    assert_eq!(done + skipped, entries.len() as u64 * 9 / 10, "{outcome}");
    assert_eq!([failed, left], [entries.len() as u64 / 10, 0], "{outcome}");
}

/// Four pictures that were extracted: their object ids, and the file of each feature with its content.
fn four_extracted(env: &TestEnv) -> (Vec<ObjectId>, Vec<(PathBuf, Vec<u8>)>) {
    let entries: Vec<String> = (0..4).map(|at| format!("object/{at:04}.jpg")).collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    let ids = entries.iter();
    let ids = ids.map(|entry| ObjectId::from_entry(IdKind::Name, entry).unwrap());
    let ids: Vec<ObjectId> = ids.collect();
    let files = ids.iter().map(|id| {
        let path = env.path("features/nhwc").join(id.feature_path());
        let content = fs::read(&path).unwrap();
        (path, content)
    });
    let files = files.collect();
    (ids, files)
}

/// Starts a copy with a fault, and waits until it has taken this step.
fn start_until(env: &TestEnv, more: &[&str], fault: &str, step: &str) -> Child {
    let steps = env.path("steps");
    let mut command = env.extract_command("nhwc", &[&["--json"], more].concat());
    command
        .env("SIMSEARCH_FAULT", fault)
        .env("SIMSEARCH_STEPS", &steps)
        .env("SIMSEARCH_RELEASE", env.path("release"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let copy = command.spawn().unwrap();
    let is_taken = |steps: String| steps.lines().any(|taken| taken == step);
    assert!(until(|| fs::read_to_string(&steps).is_ok_and(is_taken)));
    copy
}

/// As on NFS, where what a machine has found absent in a folder stays so until the folder is opened anew.
#[test]
fn what_another_machine_made_meanwhile_is_not_made_again_in_folders_whose_look_ups_are_stale() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let (ids, features) = four_extracted(&env);
    // The nested folders stay.
    for (path, _) in &features {
        fs::remove_file(path).unwrap();
    }
    // This is the other machine: it has claimed all, makes them, and gives them up.
    let directory = ModelDir::open(&env.path("features/nhwc")).unwrap();
    let claims = directory.claims().unwrap();
    assert!(ids.iter().all(|id| claims.claim(id).unwrap()));
    // It has looked at all of them by then.
    let copy = start_until(&env, &[], "stale look-ups", "create the scratch lock");
    for (path, feature) in &features {
        fs::write(path, feature).unwrap();
    }
    drop(claims);
    let outcome = wait("a copy with stale look-ups".into(), copy);
    assert_eq!(outcome.exits(0).counts(), [0, 4, 0, 0], "{outcome}");
}

/// As through sshfs on two machines.
#[test]
fn an_object_that_is_done_twice_where_locks_prove_nothing_is_said_once_and_costs_nothing() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let (_, features) = four_extracted(&env);
    let expected = state(&env, "nhwc");
    for (path, _) in &features {
        fs::remove_file(path).unwrap();
    }
    let copy = start_until(&env, &[], "locks of one mount; hang 1", "hang");
    for (path, feature) in &features {
        fs::write(path, feature).unwrap();
    }
    env.write("release", "");
    let outcome = wait("a copy that is not alone".into(), copy);
    assert_eq!(outcome.exits(0).counts()[2..], [0, 0], "{outcome}");
    assert_eq!(outcome.stderr.matches("done twice").count(), 1, "{outcome}");
    assert_same_tree(&state(&env, "nhwc"), &expected);
}

/// As through sshfs or s3fs, where each waits for the other at the worst moment.
#[test]
fn no_source_is_lost_whatever_another_does_before_any_step_where_locks_prove_nothing() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let folders = ["first", "waiting", "meanwhile"];
    for (seed, folder) in folders.into_iter().enumerate() {
        let [whole, broken] = ["whole", "broken"].map(|name| format!("object/{folder}-{name}.jpg"));
        env.picture(&whole, seed);
        env.write(format!("media/{broken}"), "");
        env.write(folder, format!("{whole}\n{broken}\n"));
    }
    let extract = |list| env.extract_command("nhwc", &["--workers", "1", "--objects", list]);
    let concat = || env.command(["concat", "--feature-dir", "features"]);
    let do_meanwhile = |command: Command, code| {
        let mut command = command;
        command.env("SIMSEARCH_FAULT", "locks of one mount");
        finish(command).exits(code);
    };
    do_meanwhile(extract("first"), 3);
    let before = state(&env, "nhwc");
    type Waiting<'w> = (&'w dyn Fn() -> Command, u64);
    let roles: [Waiting<'_>; 2] = [(&|| extract("waiting"), 3), (&concat, 2)];
    for (waiting, features) in roles {
        for number in (1..).step_by(every(2)) {
            restore(&env, "nhwc", &before);
            let [steps, release] = ["steps", "release"].map(|name| env.path(name));
            let _ = (fs::remove_file(&steps), fs::remove_file(&release));
            let mut copy = waiting();
            copy.env(
                "SIMSEARCH_FAULT",
                format!("locks of one mount; wait {number}"),
            )
            .env("SIMSEARCH_STEPS", &steps)
            .env("SIMSEARCH_RELEASE", &release)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
            let mut copy = copy.spawn().unwrap();
            let steps = || fs::read_to_string(&steps).unwrap_or_default();
            let does_wait = || steps().lines().any(|line| line.starts_with("wait "));
            until(|| does_wait() || copy.try_wait().unwrap().is_some());
            let is_over = !does_wait();
            do_meanwhile(extract("meanwhile"), 3);
            env.write("release", "");
            let outcome = wait("a copy that waited".into(), copy);
            assert!(
                [0, 3].map(Some).contains(&outcome.status.code()),
                "{outcome}"
            );
            let status = env.run(["status", "--feature-dir", "features", "--json"]);
            let found = ["sourced", "files", "packed"].map(|name| status.json()[name].as_u64());
            let [sourced, files, packed] = found.map(Option::unwrap);
            assert_eq!(
                [sourced, files + packed],
                [features; 2],
                "{number}\n{}",
                steps()
            );
            if is_over {
                break;
            }
        }
    }
    do_meanwhile(concat(), 0);
    let tree = state(&env, "nhwc");
    let left = tree.keys().filter(|name| name.ends_with(".jsonl"));
    assert_eq!(left.collect::<Vec<_>>(), ["failures.jsonl"]);
}

/// What `concat` makes of twenty features in an undisturbed run; they are there again.
fn twenty_to_pack(env: &TestEnv) -> Tree {
    write_features(env, 0..20);
    env.run(PACK).exits(0);
    let packed = state(env, "model");
    restore(env, "model", &Tree::new());
    write_features(env, 0..20);
    packed
}

fn with_fault(env: &TestEnv, fault: &str) -> Command {
    let mut command = env.command(PACK);
    command.env("SIMSEARCH_FAULT", fault);
    command
}

#[test]
fn two_that_pack_at_once_lose_nothing_where_locks_prove_nothing() {
    need_fault_points!();
    let env = TestEnv::new();
    for _ in 0..5 {
        restore(&env, "model", &Tree::new());
        let packed = twenty_to_pack(&env);
        let at_once = [(); 2].map(|()| {
            let mut command = with_fault(&env, "locks of one mount");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        });
        let codes = at_once.map(|child| wait("one of two".into(), child).status.code());
        assert!(
            codes.contains(&Some(0)) && codes.iter().all(|code| [Some(0), Some(11)].contains(code)),
            "{codes:?}"
        );
        assert_same_tree(&state(&env, "model"), &packed);
    }
}

#[test]
fn who_comes_second_is_told_who_packs_where_locks_prove_nothing() {
    need_fault_points!();
    let env = TestEnv::new();
    twenty_to_pack(&env);
    let directory = ModelDir::open(&env.path("features/model")).unwrap();
    let Packing::Locked(lock) = directory.lock_packing(&|_| {}).unwrap() else {
        panic!("nobody else is here");
    };
    let before = state(&env, "model");
    let this = format!("is being packed by process {} on ", std::process::id());
    finish(with_fault(&env, "locks of one mount"))
        .exits(11)
        .says(&[&this]);
    env.objects(&[numbered(0, 0).0]);
    let prune = [
        "prune",
        "--yes",
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
    ];
    let mut prune = env.command(prune);
    prune.env("SIMSEARCH_FAULT", "locks of one mount");
    finish(prune).exits(11).says(&[&this]);
    assert_same_tree(&state(&env, "model"), &before);
    drop(lock);
    finish(with_fault(&env, "locks of one mount")).exits(0);
    // The index has a lease of its own: it may be made while others pack.
    let leased = directory.lease_index(&|_| {}).unwrap();
    let index = ["index", "--feature-dir", "features"];
    let this = format!("is being indexed by process {} on ", std::process::id());
    env.run(index).exits(11).says(&[&this]);
    drop(leased);
    env.run(index).exits(0);
}

#[test]
fn what_a_killed_process_held_is_taken_over_and_said() {
    need_fault_points!();
    let env = TestEnv::new();
    let packed = twenty_to_pack(&env);
    let mut killed = with_fault(&env, "kill 9");
    killed.stdout(Stdio::piped()).stderr(Stdio::piped());
    let killed = killed.spawn().unwrap();
    let holder = format!("process {} on ", killed.id());
    assert!(wait("a process and its fault".into(), killed).was_killed());
    let outcome = env.run(PACK);
    outcome
        .exits(0)
        .says(&[&holder, "has ended without finishing"]);
    assert_same_tree(&state(&env, "model"), &packed);
}

#[test]
fn features_stay_where_the_shard_that_was_written_is_another_one_when_it_is_read() {
    need_fault_points!();
    let env = TestEnv::new();
    twenty_to_pack(&env);
    let features = |tree: &Tree| -> Tree {
        let mut files = files_ending(tree, ".jpg.npy");
        files.retain(|name, _| name.contains('/'));
        files
    };
    let before = features(&state(&env, "model"));
    assert_eq!(before.len(), 20);
    let outcome = finish(with_fault(&env, "other shard"));
    outcome
        .exits(1)
        .says(&["0000.features.npy is not what this run has written"]);
    assert_same_tree(&features(&state(&env, "model")), &before);
}

/// As on a network disk whose server does not answer.
#[test]
fn a_read_that_hangs_is_named_again_and_again_and_the_run_goes_on_when_it_ends() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    env.picture("object/slow.jpg", 1);
    env.objects(&["object/slow.jpg"]);
    let mut copy = start_until(&env, &[], "hang 1", "hang");
    let lines = BufReader::new(copy.stderr.take().unwrap()).lines();
    let named = lines
        .map(Result::unwrap)
        .filter(|line| line.contains("reading media/object/slow.jpg has taken"));
    assert_eq!(named.take(2).count(), 2);
    env.write("release", "");
    let outcome = wait("a copy whose disk hangs".into(), copy);
    assert_eq!(outcome.exits(0).counts(), [1, 0, 0, 0], "{outcome}");
}

#[test]
fn with_a_grace_a_run_whose_disk_hangs_ends_all_the_same_and_the_next_goes_on() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    env.picture("object/slow.jpg", 1);
    env.objects(&["object/slow.jpg"]);
    let copy = start_until(&env, &["--grace", "1"], "hang 1", "hang");
    signal::kill(Pid::from_raw(copy.id() as i32), Signal::SIGTERM).unwrap();
    let outcome = wait("a copy whose disk hangs".into(), copy);
    outcome.exits(143).says(&["--grace"]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 0, 0, 0], "{outcome}");
    assert!(!env.path("features/nhwc/.tmp").exists());
}
