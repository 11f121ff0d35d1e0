//! ONNX Runtime libraries that cannot be used.

use std::fs;
use std::process::Command;

use crate::{TestEnv, need_runtime, skip};

/// A shared library that calls itself ONNX Runtime 1.2.3 and knows no version of the interface.
const OLD_RUNTIME: &str = r#"
static const void *get_api(unsigned version) { (void)version; return 0; }
static const char *get_version(void) { return "1.2.3"; }
static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { get_api, get_version };
const void *OrtGetApiBase(void) { return &base; }
"#;

#[test]
fn a_library_of_another_version_is_an_error_with_the_way_out() {
    let env = TestEnv::new();
    env.picture("a-picture.ppm", 1);
    env.objects(&["a-picture.ppm"]);
    env.write("old.c", OLD_RUNTIME);
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "libonnxruntime.so", "old.c"])
        .current_dir(env.path(""))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        skip!("cc makes no shared library here");
    }
    let outcome = env.extract("nhwc", &["--runtime", "libonnxruntime.so"]);
    outcome.exits(1).says(&["1.2.3", "make setup"]);
}

#[test]
fn a_library_that_is_damaged_inside_is_an_error_and_no_crash() {
    let runtime = fs::canonicalize(need_runtime!()).unwrap();
    let env = TestEnv::new();
    env.picture("a-picture.ppm", 1);
    env.objects(&["a-picture.ppm"]);
    // Whole by its headers, and with no checksum beside it, as a library from elsewhere.
    let mut bytes = fs::read(&runtime).unwrap();
    let length = bytes.len();
    bytes[length / 7..length * 5 / 7].fill(0);
    env.write("libonnxruntime.so", &bytes);
    let outcome = env.extract("nhwc", &["--runtime", "libonnxruntime.so"]);
    outcome
        .exits(1)
        .says(&["libonnxruntime.so is not a complete shared library: it crashes"]);
    let outcome = env.run(["doctor", "--runtime", "libonnxruntime.so"]);
    assert!(outcome.exits(1).stdout.contains("it crashes"), "{outcome}");
    // The same library undamaged passes the same trial.
    fs::copy(&runtime, env.path("libonnxruntime.so")).unwrap();
    env.extract("nhwc", &["--runtime", "libonnxruntime.so"])
        .exits(0);
}
