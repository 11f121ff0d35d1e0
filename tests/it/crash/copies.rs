//! Several copies of `extract` on one directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use simsearch::storage::model_dir::ModelDir;
use simsearch::storage::object_id::{IdKind, ObjectId};

use super::{kill, need_fault_points, pictures_and_broken_ones, start, state};
use crate::{TestEnv, files_ending, need_runtime, until, wait};

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

/// As on NFS, where what a machine has found absent in a folder stays so until the folder is opened anew.
#[test]
fn what_another_machine_made_meanwhile_is_not_made_again_in_folders_whose_look_ups_are_stale() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let entries: Vec<String> = (0..4).map(|at| format!("object/{at:04}.jpg")).collect();
    (0..)
        .zip(&entries)
        .for_each(|(at, entry)| env.picture(entry, at));
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    let path = env.path("features/nhwc");
    let ids: Vec<ObjectId> = (entries.iter())
        .map(|entry| ObjectId::from_entry(IdKind::Name, entry).unwrap())
        .collect();
    // The nested folders stay.
    let features = ids.iter().map(|id| path.join(id.feature_path()));
    let features: Vec<(PathBuf, Vec<u8>)> = features
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    features
        .iter()
        .for_each(|(path, _)| fs::remove_file(path).unwrap());

    // This is the other machine: it has claimed all, makes them, and gives them up.
    let directory = ModelDir::open(&path).unwrap();
    let claims = directory.claims().unwrap();
    assert!(ids.iter().all(|id| claims.claim(id).unwrap()));
    let steps = env.path("steps");
    let mut command = env.extract_command("nhwc", &["--json"]);
    command
        .env("SIMSEARCH_FAULT", "stale look-ups")
        .env("SIMSEARCH_STEPS", &steps)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let copy = command.spawn().unwrap();
    // It has looked at all of them by then.
    assert!(until(
        || fs::read_to_string(&steps).is_ok_and(|steps| steps.contains("create the scratch lock"))
    ));
    for (path, feature) in &features {
        fs::write(path, feature).unwrap();
    }
    drop(claims);
    let outcome = wait("a copy with stale look-ups".into(), copy);
    assert_eq!(outcome.exits(0).counts(), [0, 4, 0, 0], "{outcome}");
}
