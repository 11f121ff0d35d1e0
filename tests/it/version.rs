//! `simsearch --version` and `-V`.

use crate::{TestEnv, finish, need_runtime};

#[test]
fn the_short_version_is_one_line() {
    let outcome = TestEnv::new().run(["-V"]);
    outcome.exits(0);
    assert_eq!(
        outcome.stdout,
        concat!("simsearch ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn the_long_version_says_what_is_built_in_and_what_is_found() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    let mut command = env.command(["--version"]);
    command.env("ORT_DYLIB_PATH", &runtime);
    let outcome = finish(command);
    outcome.exits(0);
    let (heic, lines): (Vec<&str>, Vec<&str>) =
        (outcome.stdout.lines()).partition(|line| line.starts_with("HEIC: libde265 1."));
    assert_eq!(heic.len(), usize::from(cfg!(feature = "heic")), "{outcome}");
    let [version, revision, jpeg, simd, found] = lines[..] else {
        panic!("five lines\n{outcome}");
    };
    assert_eq!(version, concat!("simsearch ", env!("CARGO_PKG_VERSION")));
    assert!(revision.starts_with("revision: "), "{outcome}");
    let decoder = simsearch::pictures::JPEG_DECODER;
    assert_eq!(jpeg, format!("JPEG: {decoder}"));
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    for (flag, name) in [("avx2", "AVX2"), ("avx512f", "AVX-512")] {
        let has_it = processor.split_whitespace().any(|word| word == flag);
        assert_eq!(simd.contains(name), has_it, "{outcome}");
    }
    assert!(found.starts_with("ONNX Runtime: 1."), "{outcome}");
    assert!(found.ends_with(runtime.to_str().unwrap()), "{outcome}");
}

#[test]
fn the_long_version_tells_that_onnx_runtime_is_missing_or_broken() {
    let env = TestEnv::new();
    env.write("empty/file", "");
    env.write("libonnxruntime.so", "no library");
    for (named, told) in [
        ("empty", "not found"),
        ("libonnxruntime.so", "is not a complete shared library"),
    ] {
        let mut command = env.command(["--version"]);
        command.env("ORT_DYLIB_PATH", env.path(named));
        let outcome = finish(command);
        outcome.exits(0);
        let last = outcome.stdout.lines().last().unwrap();
        assert!(last.starts_with("ONNX Runtime: "), "{outcome}");
        assert!(last.contains(told), "{outcome}");
    }
}
