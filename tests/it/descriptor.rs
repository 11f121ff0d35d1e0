//! The model inside the program: that its script makes it, and that it finds near-duplicates.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::{ROOT, need_python, need_shared, succeed};

/// The row of the table with the share of near-duplicates that are found on average.
const AVERAGE: &str = "average of these eight";
/// The share of near-duplicates that must be found on average, in percent.
const ON_AVERAGE: f64 = 93.0;

fn script(name: &str) -> std::path::PathBuf {
    Path::new(ROOT).join("models").join(name)
}

#[test]
fn the_committed_model_is_what_its_script_makes() {
    let mut python = need_python!("numpy", "onnx");
    succeed(python.arg(script("make_descriptor.py")).arg("--check"));
}

#[test]
fn near_duplicates_find_their_original() {
    let shared = need_shared!();
    let mut python = need_python!("numpy", "PIL.Image", "onnxruntime");
    python.arg(script("evaluate_descriptor.py"));
    python.args([script("descriptor_v1.onnx"), shared.join("media")]);
    let mut evaluation = python.stdout(Stdio::piped()).spawn().unwrap();
    // What comes after the average takes as long again, and is not looked at here.
    let mut lines = BufReader::new(evaluation.stdout.take().unwrap()).lines();
    let mut table = String::new();
    while !table.contains(AVERAGE)
        && let Some(line) = lines.next()
    {
        table += &(line.unwrap() + "\n");
    }
    evaluation.kill().unwrap();
    evaluation.wait().unwrap();
    let cell = |row: &str| -> f64 {
        let line = table.lines().find(|line| line.contains(row));
        let line = line.unwrap_or_else(|| panic!("no row {row} in\n{table}"));
        let cell = line.trim_matches('|').split('|').nth(1).unwrap();
        cell.trim_matches([' ', '*']).parse().unwrap()
    };
    assert!(cell(AVERAGE) >= ON_AVERAGE, "{table}");
    // What the plain attempt before it found; the table in models/README.md has it beside.
    for (row, before) in [
        ("JPEG quality 30", 97.0),
        ("half size", 97.0),
        ("centre crop to 80 %", 97.0),
        ("centre crop to 60 %", 38.0),
        ("brightness x1.4", 97.0),
        ("saturation x0.3", 97.0),
        ("mirrored", 35.0),
        ("rotated by 5 degrees", 97.0),
    ] {
        assert!(cell(row) >= before, "{row} in\n{table}");
    }
    let readme = std::fs::read_to_string(script("README.md")).unwrap();
    let printed = format!("| **{AVERAGE}** | **{:.1}** |", cell(AVERAGE));
    assert!(
        readme.contains(&printed),
        "models/README.md does not say `{printed}`"
    );
}
