//! What `--json` prints, against the table in `docs/commands.md`.

use std::fs;
use std::path::Path;

use crate::{Outcome, ROOT, TestEnv, need_runtime};

/// The names in the row of a command.
fn described(command: &str) -> Vec<String> {
    let document = fs::read_to_string(Path::new(ROOT).join("docs/commands.md")).unwrap();
    let section = document.split("### What `--json` prints\n").nth(1).unwrap();
    let row = format!("| `{command}` | ");
    let row = section.lines().find_map(|line| line.strip_prefix(&row));
    let row = row.unwrap_or_else(|| panic!("docs/commands.md has no row for {command}"));
    row.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_is_described() {
    need_runtime!();
    let env = TestEnv::new();
    for seed in 0..3 {
        env.picture(&format!("x/{seed}.jpg"), seed);
    }
    env.list(&[]).exits(0);
    let check = |command: &str, outcome: Outcome| {
        let described = described(command);
        let json = outcome.exits(0).json();
        for key in json.as_object().unwrap().keys() {
            assert!(
                described.contains(key),
                "{command}: `{key}` is not described"
            );
        }
    };
    let features = ["--feature-dir", "features", "--json"];
    let run = |command: &[&str]| env.run(command.iter().chain(&features));
    let media = ["--media-dir", "media"];
    check("extract", env.extract("nhwc", &["--json"]));
    check("concat", run(&["concat"]));
    check("index", run(&["index"]));
    check("export", run(&["export", "--output", "out.parquet"]));
    check("status", run(&[&["status"][..], &media].concat()));
    check("verify", run(&[&["verify"][..], &media].concat()));
    check(
        "prune",
        run(&[&["prune", "--dry-run"][..], &media].concat()),
    );
    let mut doctor = env.command(["doctor", "--json", "--runtime"]);
    doctor.arg(crate::runtime().unwrap());
    check("doctor", crate::finish(doctor));
}
