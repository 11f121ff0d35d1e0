//! Kills and errors at every step that changes files, kills at random moments, what a power loss leaves, and several
//! copies at once.

mod acting;
mod copies;
mod kept;
mod parts;
mod power_loss;
mod random_moments;
mod steps;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use simsearch::storage::npy;

use crate::{TestEnv, Tree, feature_file, files_ending, ppm, stored_picture, wait};

/// Ends the test where the program was built without its fault points.
macro_rules! need_fault_points {
    () => {
        if !cfg!(feature = "fault-points") {
            crate::skip!(
                "the program is built without fault points; `make test` builds it with them"
            );
        }
    };
}

pub(crate) use need_fault_points;
pub(crate) use parts::waiting_in_a_part;

/// How many kills at random moments: a few in CI, `SIMSEARCH_KILLS` in `make crash-test`.
fn kills() -> usize {
    named("SIMSEARCH_KILLS").unwrap_or(6)
}

/// Every so many steps meet a fault in CI, where all of them would take minutes; all do in `make crash-test`.
pub(crate) fn every(steps_in_ci: usize) -> usize {
    if kills() < 100 { steps_in_ci } else { 1 }
}

fn named(variable: &str) -> Option<usize> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a whole number"))
}

/// What of `features/<model>` makes up its state: the lock file, which stays, is left out.
fn state(env: &TestEnv, model: &str) -> Tree {
    env.tree(&format!("features/{model}"))
}

/// Fails unless everything under the name of a finished `.npy` file is one.
#[track_caller]
fn assert_readable(tree: &Tree, when: &str) {
    for (name, content) in files_ending(tree, ".npy") {
        let read = if name.ends_with(".object_ids.npy") {
            npy::object_ids(&content).map(drop)
        } else if name.ends_with(".sources.npy") {
            Ok(())
        } else if name.ends_with(".features.npy") {
            npy::features_shape(&content, content.len() as u64).map(drop)
        } else {
            npy::feature_data(&content).map(drop)
        };
        assert!(read.is_ok(), "{when}: {name}: {read:?}");
    }
}

/// Makes `features/<model>` hold this and nothing else.
fn restore(env: &TestEnv, model: &str, tree: &Tree) {
    let path = Path::new("features").join(model);
    let _ = fs::remove_dir_all(env.path(&path));
    for (name, content) in tree {
        match name.ends_with('/') {
            true => fs::create_dir_all(env.path(path.join(name))).unwrap(),
            false => env.write(path.join(name), content),
        }
    }
}

/// Packs `features/model` into small shards.
const PACK: [&str; 5] = ["concat", "--feature-dir", "features", "--rows", "2"];

/// The id and the feature of a numbered object. No two features are alike.
fn numbered(number: usize, version: usize) -> (String, Vec<u8>) {
    let id = format!("{:02}{number:03}.jpg", number % 2);
    let number = |at: usize| (number * 5 + at + version * 1000) as f32 / 3.0;
    let feature: Vec<f32> = (0..5).map(number).collect();
    (id, feature_file(&feature))
}

/// The line that records that a feature was made from a file in this folder.
fn record_of(folder: &str, (id, file): &(String, Vec<u8>)) -> String {
    let sum = crc32fast::hash(&file[npy::HEADER_LENGTH..]);
    let size = file.len();
    format!(r#"{{"path":"{folder}/{id}","size":{size},"mtime_ns":-5,"feature_crc32":{sum}}}"#)
        + "\n"
}

/// Writes an object's feature to `features/model`.
fn write_feature(env: &TestEnv, (id, file): &(String, Vec<u8>)) {
    let path = format!("features/model/{}/{}/{id}.npy", &id[..2], &id[2..4]);
    env.write(path, file);
}

/// Writes the features of numbered objects to `features/model`, and records of all but every third what it was made
/// from.
fn write_features(env: &TestEnv, numbers: std::ops::Range<usize>) {
    let mut record = String::new();
    for number in numbers {
        let object = numbered(number, 0);
        if number % 3 != 2 {
            record += &record_of("object", &object);
        }
        write_feature(env, &object);
    }
    env.write("features/model/sources.jsonl", record);
}

/// States of `features/model` to pack, and what an undisturbed run makes of each: three shards, with and without one
/// from before.
fn states_to_pack(env: &TestEnv) -> Vec<(Tree, Tree)> {
    let mut states = Vec::new();
    for earlier in [0, 2] {
        restore(env, "model", &Tree::new());
        if earlier > 0 {
            write_features(env, 0..earlier);
            env.run(PACK).exits(0);
        }
        write_features(env, earlier..earlier + 5);
        let before = state(env, "model");
        env.run(PACK).exits(0);
        let after = state(env, "model");
        let shards = files_ending(&after, ".features.npy").len();
        assert_eq!(shards, 3 + earlier / 2, "{:?}", after.keys());
        assert!(!after.keys().any(|name| name.contains('/')));
        states.push((before, after));
    }
    states
}

/// Lists pictures of this width and height, every tenth of which is broken in one way or another; the entries.
fn pictures_and_broken_ones(
    env: &TestEnv,
    count: usize,
    (width, height): (usize, usize),
) -> Vec<String> {
    let broken = ["text.jpg", "empty.jpg", "jpeg_truncated.jpg"].map(stored_picture);
    let entries: Vec<String> = (0..count).map(|at| format!("object/{at:04}.jpg")).collect();
    for (at, entry) in entries.iter().enumerate() {
        let picture = match at % 10 {
            9 => broken[at / 10 % 3].clone(),
            _ => ppm(width, height, at),
        };
        env.write(Path::new("media").join(entry), picture);
    }
    env.objects(&entries);
    entries
}

/// The report of failures without the order of its lines, which is by chance.
fn with_sorted_report(mut tree: Tree) -> Tree {
    if let Some(report) = tree.get_mut("failures.jsonl") {
        let text = String::from_utf8(std::mem::take(report)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        *report = lines.join("\n").into_bytes();
    }
    tree
}

/// Starts a command whose output nobody reads.
fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a process; whether it was still running.
fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    wait("a process and SIGKILL".into(), child).was_killed()
}
