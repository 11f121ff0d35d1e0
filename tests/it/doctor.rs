//! `simsearch doctor`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use simsearch::storage::checksum;

use crate::crash::need_fault_points;
use crate::{Outcome, TestEnv, finish, model_file, need_runtime};

fn doctor(env: &TestEnv, runtime: &Path, more: &[&str]) -> Outcome {
    let runtime = runtime.to_str().unwrap();
    env.run(["doctor", "--runtime", runtime].iter().chain(more))
}

#[test]
fn people_read_what_is_here_and_what_works() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    let outcome = doctor(&env, &runtime, &[]);
    outcome.exits(0);
    for text in [
        "simsearch    ",
        "JPEG by ",
        "runtime      ONNX Runtime 1.",
        runtime.to_str().unwrap(),
        "provider     cpu: works",
        "provider     cuda: ",
        "provider     tensorrt: ",
        "GPU          ",
        "(inside the program)",
        "input        `inputs:0` [n, height, width, 3], 224 x 224 pixels",
        "output       `feature_vector` [n, 1280]",
        "all that `simsearch extract` needs is here",
    ] {
        assert!(
            outcome.stdout.contains(text),
            "stdout should hold `{text}`\n{outcome}"
        );
    }
    let outcome = doctor(
        &env,
        &runtime,
        &["--model", model_file("nchw").to_str().unwrap()],
    );
    let input = "input        `inputs:0` [n, 3, height, width], 12 x 10 pixels";
    assert!(outcome.exits(0).stdout.contains(input), "{outcome}");
}

#[test]
fn a_tool_of_the_driver_that_hangs_is_named_and_not_waited_for() {
    let runtime = need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    let script = env.path("nvidia-smi");
    env.write("nvidia-smi", "#!/bin/sh\nexec sleep 3600\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = env.command(["doctor", "--runtime", runtime.to_str().unwrap()]);
    // Waiting for what hangs takes milliseconds.
    command.env("SIMSEARCH_FAULT", "hang 999");
    command.env("PATH", format!("{}:/usr/bin:/bin", env.argument("")));
    let outcome = finish(command);
    let stdout = &outcome.exits(0).stdout;
    assert!(stdout.contains("nvidia-smi does not answer"), "{outcome}");
}

#[test]
fn machines_read_the_same() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    let model = model_file("fixed_4");
    let outcome = doctor(
        &env,
        &runtime,
        &["--json", "--model", model.to_str().unwrap()],
    );
    let json = outcome.exits(0).json();
    assert_eq!(json["runtime"]["path"], runtime.to_str().unwrap());
    assert!(
        json["runtime"]["version"]
            .as_str()
            .unwrap()
            .starts_with("1."),
        "{outcome}"
    );
    assert_eq!(json["model"]["stem"], "fixed_4");
    assert_eq!(json["model"]["is_default"], false);
    assert_eq!(json["model"]["sha256"], checksum::of_file(&model).unwrap());
    let form = serde_json::json!({
        "input": "inputs:0", "output": "feature_vector", "height": 10, "width": 12, "layout": "NHWC",
        "fixed_batch": 4, "feature_length": 8
    });
    assert_eq!(json["model"]["form"], form);
    assert_eq!(json["problems"], serde_json::json!([]));
    let providers = json["providers"].as_array().unwrap();
    let names: Vec<_> = providers
        .iter()
        .map(|found| found["provider"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cpu", "openvino", "cuda", "tensorrt"]);
    for found in providers {
        assert_eq!(
            found["works"],
            found["reason"].is_null(),
            "a provider works or has a reason why not\n{outcome}"
        );
    }
    assert_eq!(providers[0]["works"], true);
}

#[test]
fn a_missing_runtime_is_a_problem_with_the_way_out() {
    let env = TestEnv::new();
    for runtime in ["nowhere.so", "media"] {
        let outcome = doctor(&env, Path::new(runtime), &[]);
        outcome.exits(1);
        for text in ["runtime      none", "PROBLEM ", runtime, "`make setup`"] {
            assert!(
                outcome.stdout.contains(text),
                "stdout should hold `{text}`\n{outcome}"
            );
        }
        assert!(!outcome.stdout.contains("needs is here"), "{outcome}");
        let outcome = doctor(&env, Path::new(runtime), &["--json"]);
        let json = outcome.exits(1).json();
        assert!(json["runtime"].is_null(), "{outcome}");
        let [problem] = &json["problems"].as_array().unwrap()[..] else {
            panic!("not one problem\n{outcome}")
        };
        assert!(
            problem.as_str().unwrap().contains("make setup"),
            "{outcome}"
        );
    }
}

#[test]
fn a_model_that_cannot_be_used_is_a_problem() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    env.write("garbage.onnx", "no model");
    let unfit = model_file("unfit_four_channels");
    for (model, says) in [
        ("missing.onnx", "cannot read the model missing.onnx"),
        ("garbage.onnx", "garbage.onnx is no whole ONNX model"),
        (
            unfit.to_str().unwrap(),
            "needed: one float32 or uint8 input",
        ),
    ] {
        let outcome = doctor(&env, &runtime, &["--model", model]);
        assert!(
            outcome.exits(1).stdout.contains(says),
            "stdout should hold `{says}`\n{outcome}"
        );
    }
    let outcome = doctor(&env, &runtime, &["--model", "missing.onnx"]);
    for text in ["runtime      ONNX Runtime 1.", "provider     cpu: works"] {
        assert!(
            outcome.stdout.contains(text),
            "the rest is looked at all the same\n{outcome}"
        );
    }
    let model = model_file("no_feature_vector");
    let model = model.to_str().unwrap();
    let outcome = doctor(&env, &runtime, &["--model", model]);
    assert!(
        outcome.exits(1).stdout.contains("--output-name"),
        "{outcome}"
    );
    doctor(
        &env,
        &runtime,
        &["--model", model, "--output-name", "sums_of_cells"],
    )
    .exits(0);
}
