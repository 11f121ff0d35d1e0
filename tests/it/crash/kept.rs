//! A search for duplicates that is killed, and goes on: what it keeps in `duplicates.partial`.

use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::need_fault_points;
use super::steps::{Faulty, run_with_fault};
use crate::TestEnv;
use crate::search::write_shard;

const FIND: [&str; 5] = [
    "duplicates",
    "--feature-dir",
    "features",
    "--max-distance",
    "0.05",
];
const PARTIAL: &str = "features/model/duplicates.partial";
const KEEP: &str = "keep a share of the pairs";
/// The rows of five shares.
const ROWS: usize = 1100;
const SHARES: usize = 5;

/// Points in a cube, of which a few hundred pairs are near.
fn points(seed: u64) -> TestEnv {
    let env = TestEnv::new();
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = (0..ROWS).map(|row| {
        let point = (0..3).map(|_| rng.random_range(0.0..1.0f32)).collect();
        (format!("{row:04}.jpg"), point)
    });
    write_shard(&env, 0, &rows.collect::<Vec<_>>());
    env
}

/// A run that keeps what it finds, as only long ones do without a fault.
fn search(env: &TestEnv, fault: &str, number: usize) -> Faulty {
    let mut command = env.command(FIND);
    command.env("SIMSEARCH_ENOUGH", "0");
    run_with_fault(env, command, fault, number)
}

fn undisturbed(env: &TestEnv) -> Faulty {
    search(env, "kill", usize::MAX)
}

fn kept_shares(run: &Faulty) -> usize {
    run.steps.iter().filter(|step| *step == KEEP).count()
}

/// What a search without a fault prints, which keeps nothing.
fn expected(env: &TestEnv) -> String {
    let found = env.run(FIND);
    found.exits(4);
    assert!(!env.path(PARTIAL).exists() && found.stdout.lines().count() > 200);
    found.stdout
}

#[test]
fn a_search_that_was_killed_finds_the_same_and_does_no_share_twice() {
    need_fault_points!();
    let env = points(1);
    let expected = expected(&env);
    for number in 1.. {
        let _ = fs::remove_file(env.path(PARTIAL));
        let run = search(&env, "kill", number);
        if !run.was_killed(4) {
            assert_eq!(kept_shares(&run), SHARES);
            assert!(run.outcome.stdout == expected && !env.path(PARTIAL).exists());
            break;
        }
        eprintln!("killed at step {number}: {:?}", run.at);
        let next = undisturbed(&env);
        next.outcome.exits(4);
        assert!(next.outcome.stdout == expected, "{}", next.outcome);
        assert_eq!(kept_shares(&run) + kept_shares(&next), SHARES);
        let goes_on = next
            .outcome
            .stderr
            .contains("goes on with what a run before has found");
        assert_eq!(goes_on, kept_shares(&run) > 0, "{}", next.outcome);
        assert!(!env.path(PARTIAL).exists());
    }
}

/// What a search leaves that is killed when it has kept all shares but the last.
fn all_but_the_last(env: &TestEnv) -> Vec<u8> {
    let steps = undisturbed(env).steps;
    let last = steps.iter().rposition(|step| step == KEEP).unwrap();
    assert!(search(env, "kill", last + 1).was_killed(4));
    fs::read(env.path(PARTIAL)).unwrap()
}

#[test]
fn what_is_kept_may_be_cut_off_or_damaged_anywhere() {
    need_fault_points!();
    let env = points(2);
    let expected = expected(&env);
    let whole = all_but_the_last(&env);
    assert!(whole.len() > 500);
    let mut states: Vec<Vec<u8>> = (0..whole.len())
        .step_by(83)
        .map(|cut| whole[..cut].to_vec())
        .collect();
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        states.push(damaged);
    }
    // A length that no memory has room for.
    let mut long = whole.clone();
    long[64..72].copy_from_slice(&(!15u64).to_le_bytes());
    states.push(long);
    states.push([&whole[..], &[0; 100]].concat());
    for state in states {
        env.write(PARTIAL, &state);
        let run = undisturbed(&env);
        assert!(run.outcome.exits(4).stdout == expected, "{}", run.outcome);
        assert!(!env.path(PARTIAL).exists());
    }
}

#[test]
fn what_another_search_has_kept_is_written_over() {
    need_fault_points!();
    let env = points(3);
    let expected = expected(&env);
    let whole = all_but_the_last(&env);
    let other = points(4);
    let cosine = |env: &TestEnv| env.command(FIND.iter().chain(&["--metric", "cosine"]));
    let farther = |env: &TestEnv| env.command(FIND[..4].iter().chain(&["0.06"]));
    let cases = [
        (&other, other.command(FIND)),
        (&env, cosine(&env)),
        (&env, farther(&env)),
    ];
    for (env, mut command) in cases {
        command.env("SIMSEARCH_ENOUGH", "0");
        env.write(PARTIAL, &whole);
        let run = run_with_fault(env, command, "kill", usize::MAX);
        run.outcome.exits(4).does_not_say("goes on");
        assert_eq!(kept_shares(&run), SHARES);
    }
    env.write(PARTIAL, &whole);
    let run = undisturbed(&env);
    run.outcome.exits(4).says(&["goes on"]);
    assert!(run.outcome.stdout == expected);
}

#[test]
fn a_search_that_cannot_keep_anything_says_so_and_goes_without() {
    need_fault_points!();
    let env = points(5);
    let expected = expected(&env);
    for number in 1.. {
        let _ = fs::remove_file(env.path(PARTIAL));
        let run = search(&env, "ENOSPC", number);
        assert!(run.outcome.exits(4).stdout == expected, "{}", run.outcome);
        match run.at.as_deref() {
            None => break,
            Some("remove what was kept") => {}
            Some(_) => drop(run.outcome.says(&[
                "cannot be kept in features/model/duplicates.partial: No space left on device",
                "the next one begins at the start",
            ])),
        }
    }
    let _ = fs::remove_file(env.path(PARTIAL));
    env.write("elsewhere", "somebody's file");
    std::os::unix::fs::symlink(env.path("elsewhere"), env.path(PARTIAL)).unwrap();
    let run = undisturbed(&env);
    run.outcome.exits(4).says(&["cannot be kept in"]);
    assert!(run.outcome.stdout == expected);
    assert_eq!(fs::read(env.path("elsewhere")).unwrap(), b"somebody's file");
}
