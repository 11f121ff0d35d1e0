//! Which file each feature was made from.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use crate::{TestEnv, need_python, need_runtime, succeed, wait};

/// Paths of every kind, and their pictures.
fn pictures(env: &TestEnv) -> Vec<String> {
    let entries = [
        "object/a.jpg",
        "top.jpg",
        "a b/日本/😀 é.jpg",
        "\"q\"\\/tab\there.jpg",
    ];
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    entries.map(str::to_owned).into()
}

#[test]
fn a_shard_has_the_path_the_size_and_the_time_of_each_file_in_the_form_of_numpy() {
    need_runtime!();
    let mut python = need_python!("numpy");
    let env = TestEnv::new();
    pictures(&env);
    env.extract("nhwc", &[]).exits(0);
    // Not packed yet, the sources are lines of JSON.
    let record = fs::read_to_string(env.path("features/nhwc/sources.jsonl")).unwrap();
    for line in record.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let file = env.path("media").join(line["path"].as_str().unwrap());
        let file = fs::metadata(file).unwrap();
        assert_eq!(line["size"], file.size());
        let modified = file.mtime() * 1_000_000_000 + file.mtime_nsec();
        assert_eq!(line["mtime_ns"], modified);
    }
    assert_eq!(record.lines().count(), 4);
    env.concat(&["--rows", "3"]).exits(0);
    assert!(!env.path("features/nhwc/sources.jsonl").exists());
    python.current_dir(env.path("")).args([
        "-c",
        r"
import io, os, numpy as np
for number in ['0000', '0001']:
    path = f'features/nhwc/{number}.sources.npy'
    sources = np.load(path)
    ids = np.load(f'features/nhwc/{number}.object_ids.npy')
    for source, id in zip(sources, ids, strict=True):
        assert os.path.basename(source['path']) == id, (source, id)
        file = os.stat('media/' + source['path'])
        assert source['size'] == file.st_size and source['mtime_ns'] == file.st_mtime_ns
        print(source['path'])
    saved = io.BytesIO()
    np.save(saved, sources)
    assert saved.getvalue() == open(path, 'rb').read()
",
    ]);
    assert_eq!(succeed(&mut python).lines().count(), 4);
    let outcome = env.run(["verify", "--feature-dir", "features", "--json"]);
    assert_eq!(outcome.exits(0).json()["checksums"], 7, "{outcome}");
}

#[test]
fn features_whose_sources_nobody_recorded_go_on_without() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env);
    env.objects(&entries[..2]);
    env.extract("nhwc", &[]).exits(0);
    // As the version before left them.
    fs::remove_file(env.path("features/nhwc/sources.jsonl")).unwrap();
    let status = ["status", "--feature-dir", "features", "--json"];
    assert_eq!(env.run(status).json()["sourced"], 0);
    env.concat(&[]).exits(0);
    assert!(!env.path("features/nhwc/0000.sources.npy").exists());
    env.objects(&entries);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [2, 2, 0, 0], "{outcome}");
    assert_eq!(env.run(status).json()["sourced"], 2);
    env.concat(&[]).exits(0);
    assert_eq!(env.run(status).json()["sourced"], 2);
    env.run(&status[..3]).exits(0);
    let text = env.run(&status[..3]).stdout;
    assert!(text.contains("sources    not recorded of 2"), "{text}");
    env.run(["verify", "--feature-dir", "features"]).exits(0);
}

#[test]
fn several_copies_record_every_source() {
    need_runtime!();
    let env = TestEnv::new();
    let entries: Vec<String> = (0..60).map(|at| format!("object/{at:04}.jpg")).collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    let copies = [1, 2, 3, 4].map(|seed: u8| {
        let seed = seed.to_string();
        let mut copy = env.extract_command("nhwc", &["--workers", "2", "--seed", &seed]);
        copy.stdout(Stdio::null()).stderr(Stdio::null());
        copy.spawn().unwrap()
    });
    for copy in copies {
        wait("a copy of extract".into(), copy).exits(0);
    }
    let status = || env.run(["status", "--feature-dir", "features", "--json"]);
    assert_eq!(status().json()["sourced"], 60);
    env.concat(&["--rows", "25"]).exits(0);
    let outcome = status();
    assert_eq!(
        [&outcome.json()["sourced"], &outcome.json()["packed"]],
        [60, 60]
    );
    assert!(!env.path("features/nhwc/sources.jsonl").exists());
}

#[test]
fn damage_of_the_sources_is_found() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let path = env.path("features/nhwc/0000.sources.npy");
    let whole = fs::read(&path).unwrap();
    let verify = || env.run(["verify", "--feature-dir", "features"]);
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (content, says) in [
        (changed(whole.len() - 1), "its SHA-256 is not the one"),
        (changed(100), "0000.sources.npy"),
        // The first letter of the first path's name; the checksum finds it too.
        (changed(192 + 4 * "object/".len()), "is not of a file named"),
        (whole[..whole.len() - 1].to_vec(), "not a shard's file"),
        (Vec::new(), "not a shard's file"),
    ] {
        fs::write(&path, content).unwrap();
        let outcome = verify();
        outcome.exits(1);
        assert!(outcome.stdout.contains(says), "{says}\n{outcome}");
    }
    fs::remove_file(&path).unwrap();
    let outcome = verify();
    outcome.exits(1);
    let says = "0000.sources.npy: is missing but has a line in SHA256SUMS";
    assert!(outcome.stdout.contains(says), "{outcome}");
    fs::write(&path, whole).unwrap();
    verify().exits(0);
}
