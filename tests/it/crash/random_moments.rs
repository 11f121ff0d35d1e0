//! Kills at random moments.

use std::fs;
use std::process::Child;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{
    assert_readable, kill, kills, named, pictures_and_broken_ones, restore, start, state,
    with_sorted_report, write_features,
};
use crate::{TestEnv, assert_same_tree, files_ending, finish, need_runtime, python, succeed, wait};

/// A random order of events, the same again with the `SIMSEARCH_SEED` that a failing test prints.
fn dice() -> StdRng {
    let seed = named("SIMSEARCH_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    eprintln!("SIMSEARCH_SEED={seed}");
    StdRng::seed_from_u64(seed as u64)
}

/// Lets numpy read every finished file, where there is one.
fn check_with_numpy(env: &TestEnv) {
    const LOAD: &str = "import numpy, pathlib, sys\n\
        for path in pathlib.Path(sys.argv[1]).rglob('[!.]*.npy'): numpy.load(path)";
    if let Some(mut python) = python(&["numpy"]) {
        succeed(python.args(["-c", LOAD]).arg(env.path("features")));
    }
}

#[test]
fn copies_of_extract_killed_at_random_moments_end_like_an_undisturbed_run() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures_and_broken_ones(&env, 200, (600, 400));
    let command = || env.extract_command("nhwc", &["--workers", "1", "--batch-size", "2"]);
    finish(command()).exits(3);
    let after = with_sorted_report(state(&env, "nhwc"));
    let features = files_ending(&after, ".npy").len();
    let failures = after["failures.jsonl"].split(|byte| *byte == b'\n').count();
    assert_eq!(
        [features, failures],
        [entries.len() * 9 / 10, entries.len() / 10]
    );
    let mut dice = dice();
    for copies in [1, 4, 8] {
        let start_all = || {
            (0..copies)
                .map(|_| start(command()))
                .collect::<Vec<Child>>()
        };
        fs::remove_dir_all(env.path("features")).unwrap();
        let started = Instant::now();
        start_all()
            .into_iter()
            .for_each(|copy| drop(wait("a copy".into(), copy)));
        let undisturbed = started.elapsed();
        let (mut killed, mut finished) = (0, 0);
        while killed < kills() / 3 + 1 {
            if files_ending(&state(&env, "nhwc"), ".npy").len() == features {
                finish(command()).exits(3);
                assert_same_tree(&with_sorted_report(state(&env, "nhwc")), &after);
                finished += 1;
                fs::remove_dir_all(env.path("features")).unwrap();
            }
            let mut moments: Vec<f64> = (0..copies).map(|_| dice.random_range(0.0..1.0)).collect();
            moments.sort_by(f64::total_cmp);
            let started = Instant::now();
            for (copy, moment) in start_all().into_iter().zip(moments) {
                std::thread::sleep(
                    undisturbed
                        .mul_f64(moment)
                        .saturating_sub(started.elapsed()),
                );
                killed += usize::from(kill(copy));
            }
            assert_readable(
                &state(&env, "nhwc"),
                &format!("{copies} copies, {killed} killed"),
            );
            check_with_numpy(&env);
        }
        finish(command()).exits(3);
        assert_same_tree(&with_sorted_report(state(&env, "nhwc")), &after);
        eprintln!(
            "extract in {copies} copies: {killed} kills, {finished} times finished before the last"
        );
    }
}

#[test]
fn concat_killed_at_random_moments_ends_like_an_undisturbed_run() {
    let env = TestEnv::new();
    write_features(&env, 0..300);
    let before = state(&env, "model");
    let pack = ["concat", "--feature-dir", "features", "--rows", "20"];
    let started = Instant::now();
    env.run(pack).exits(0);
    let undisturbed = started.elapsed();
    let after = state(&env, "model");
    let mut dice = dice();
    let (mut killed, mut finished) = (0, 0);
    restore(&env, "model", &before);
    while killed < kills() {
        let child = start(env.command(pack));
        std::thread::sleep(undisturbed.mul_f64(dice.random_range(0.0..1.2)));
        if kill(child) {
            killed += 1;
            assert_readable(&state(&env, "model"), &format!("{killed} killed"));
        } else {
            assert_same_tree(&state(&env, "model"), &after);
            finished += 1;
            restore(&env, "model", &before);
        }
    }
    check_with_numpy(&env);
    env.run(pack).exits(0);
    assert_same_tree(&state(&env, "model"), &after);
    eprintln!("concat: {killed} kills, {finished} times finished before the last");
}
