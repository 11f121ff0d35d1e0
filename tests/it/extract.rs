//! `simsearch extract`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use simsearch::pictures::{PictureReader, PixelOptions};
use simsearch::storage::checksum;

use crate::crash::need_fault_points;
use crate::{
    PROGRAM, ROOT, TestEnv, Tree, assert_same_tree, feature_file, files_ending, finish, model_file,
    need_python, need_runtime, plain_ppm, ppm, read_feature, skip, stored_picture, succeed, tree,
    until, wait,
};

/// Picture size of the models in `tests/data/models`.
const WIDTH: usize = 12;
const HEIGHT: usize = 10;

/// The feature that the models of `tests/data/make_models.py` compute, written out a second time.
fn feature_of(picture: &[u8]) -> Vec<f32> {
    let mut pixels = vec![0; WIDTH * HEIGHT * 3];
    PictureReader::new(PixelOptions::default())
        .read(picture, WIDTH, HEIGHT, &mut pixels)
        .unwrap();
    let mut cells = [0.0; 18];
    for (index, level) in pixels.iter().enumerate() {
        let (pixel, channel) = (index / 3, index % 3);
        let (y, x) = (pixel / WIDTH, pixel % WIDTH);
        cells[channel * 6 + y / 5 * 3 + x / 4] += f64::from(*level) / 255.0 / 20.0;
    }
    let weight = |index: usize| ((index * 37 + 11) % 64) as f64 / 16.0 - 2.0;
    let sum = |feature: usize| {
        let terms = cells
            .iter()
            .enumerate()
            .map(|(cell, mean)| mean * weight(feature * 18 + cell));
        terms.sum::<f64>() as f32
    };
    (0..8).map(sum).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (one, other) in found.iter().zip(expected) {
        assert!(
            (one - other).abs() < 1e-5,
            "{name}: {found:?}, expected {expected:?}"
        );
    }
}

/// Lists and writes this many different pictures.
pub(crate) fn pictures(env: &TestEnv, count: usize) -> Vec<String> {
    let entries: Vec<String> = (0..count)
        .map(|seed| format!("object/{seed:04}.jpg"))
        .collect();
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    entries
}

/// The features in `features/<model>`.
pub(crate) fn features(env: &TestEnv, model: &str) -> Tree {
    files_ending(&env.tree(&format!("features/{model}")), ".npy")
}

/// The lines of the failure report.
pub(crate) fn failures(env: &TestEnv, model: &str) -> Vec<Value> {
    let path = env.path(format!("features/{model}/failures.jsonl"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `id stage class` of each failure, sorted.
pub(crate) fn kinds(env: &TestEnv, model: &str) -> Vec<String> {
    let field = |failure: &Value, name: &str| failure[name].as_str().unwrap().to_owned();
    let mut kinds: Vec<String> = failures(env, model)
        .iter()
        .map(|failure| ["id", "stage", "class"].map(|name| field(failure, name)))
        .map(|fields| fields.join(" "))
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn features_lie_in_nested_directories_under_the_object_id() {
    need_runtime!();
    let env = TestEnv::new();
    let expected = [
        ("object/ab/cd/abcd12.jpg", "ab/cd/abcd12.jpg.npy"),
        ("object/äöüß.jpg", "äö/üß/äöüß.jpg.npy"),
        ("日本.jpg", "日本/.j/日本.jpg.npy"),
        ("object/.jpg", ".j/pg/.jpg.npy"),
        ("object/a b c.png", "a /b /a b c.png.npy"),
        ("object/x.y", "x./y/x.y.npy"),
    ];
    for (seed, (entry, _)) in expected.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&expected.map(|(entry, _)| entry));
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [6, 0, 0, 0]);
    let found: BTreeSet<String> = features(&env, "nhwc").into_keys().collect();
    assert_eq!(
        found,
        expected
            .map(|(_, feature)| feature.to_owned())
            .into_iter()
            .collect()
    );
    for (seed, (_, feature)) in expected.iter().enumerate() {
        let path = env.path("features/nhwc").join(feature);
        assert_close(
            &read_feature(&path),
            &feature_of(&ppm(30, 20, seed)),
            feature,
        );
    }
}

#[test]
fn the_content_decides_and_not_the_extension() {
    need_runtime!();
    let env = TestEnv::new();
    let stored = [
        "jpeg_named_as_png.png",
        "png_rgb_8.png",
        "gif_plain.gif",
        "webp_lossless.webp",
        "tiff_RGB_raw.tif",
        "jpeg_cmyk.jpg",
        "png_rgba_16.png",
    ];
    let entries = stored.map(|name| format!("object/{}.jpg", name.split('.').next().unwrap()));
    for (entry, name) in entries.iter().zip(stored) {
        env.write(Path::new("media").join(entry), stored_picture(name));
    }
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    for (path, bytes) in features(&env, "nhwc") {
        let name = stored
            .into_iter()
            .find(|name| path.contains(name.split('.').next().unwrap()));
        let expected = feature_of(&stored_picture(name.unwrap()));
        assert_eq!(bytes.len(), 128 + 8 * 4);
        assert_close(
            &read_feature(&env.path("features/nhwc").join(&path)),
            &expected,
            &path,
        );
    }
    assert_eq!(features(&env, "nhwc").len(), stored.len());
}

#[test]
fn feature_files_are_what_numpy_saves() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("object/abcd.jpg", 5);
    env.objects(&["object/abcd.jpg"]);
    env.extract("nhwc", &[]).exits(0);
    let path = env.path("features/nhwc/ab/cd/abcd.jpg.npy");
    let found = fs::read(&path).unwrap();
    let mut header =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }"
            .to_vec();
    header.resize(127, b' ');
    header.push(b'\n');
    assert_eq!(found[..128], header);
    assert_eq!(found.len(), 128 + 8 * 4);
    let mut python = need_python!("numpy");
    let script = "import numpy, sys; numpy.save(sys.argv[2], numpy.load(sys.argv[1]))";
    let again = env.path("again.npy");
    succeed(python.args(["-c", script]).args([&path, &again]));
    assert_eq!(found, fs::read(again).unwrap());
}

#[test]
fn features_are_those_of_pillow_and_onnxruntime_in_python() {
    need_runtime!();
    let mut python = need_python!("numpy", "PIL.Image", "onnxruntime");
    let env = TestEnv::new();
    let names = [
        "jpeg_420.jpg",
        "png_palette_8_trns.png",
        "jpeg_230x340.jpg",
        "jpeg_gray.jpg",
    ];
    let names = if cfg!(feature = "turbojpeg") {
        &names[..]
    } else {
        &names[1..2]
    };
    for name in names {
        env.write(format!("media/object/{name}"), stored_picture(name));
    }
    env.write("media/object/plain.ppm", ppm(30, 20, 3));
    let entries = names.iter().chain(&["plain.ppm"]);
    env.objects(
        &entries
            .map(|name| format!("object/{name}"))
            .collect::<Vec<_>>(),
    );
    env.extract("nhwc", &[]).exits(0);
    let script = "
import pathlib, sys, numpy, onnxruntime, PIL.Image
media, out, model = map(pathlib.Path, sys.argv[1:])
session = onnxruntime.InferenceSession(str(model), providers=['CPUExecutionProvider'])
for line in (media / 'objects.txt').open():
    path = media / line.rstrip('\\n')
    image = PIL.Image.open(path).convert('RGB').resize((12, 10))
    pixels = numpy.asarray(image, dtype=numpy.float32)[numpy.newaxis] / 255
    to = out / path.name[0:2] / path.name[2:4] / (path.name + '.npy')
    to.parent.mkdir(parents=True, exist_ok=True)
    numpy.save(to, session.run(['feature_vector'], {'inputs:0': pixels})[0][0])
";
    python
        .args(["-c", script])
        .args([env.path("media"), env.path("python"), model_file("nhwc")]);
    succeed(&mut python);
    assert_same_tree(
        &features(&env, "nhwc"),
        &files_ending(&env.tree("python"), ".npy"),
    );
}

/// As where another program has made the features.
fn forget_sources(env: &TestEnv) {
    for name in env.tree("features/nhwc").keys() {
        if name.starts_with("sources") {
            fs::remove_file(env.path("features/nhwc").join(name)).unwrap();
        }
    }
}

#[test]
fn what_exists_is_skipped_and_what_is_torn_is_made_again() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 5);
    env.extract("nhwc", &[]).exits(0);
    let whole = features(&env, "nhwc");
    assert_eq!(whole.len(), 5);
    // A feature of another program, that nothing but a skip leaves as it is: it is not recorded what it was made from.
    forget_sources(&env);
    let kept = env.path("features/nhwc/00/00/0000.jpg.npy");
    fs::write(&kept, feature_file(&[7.0; 8])).unwrap();
    let torn = [
        ("0001", &b""[..]),
        ("0002", &whole["00/02/0002.jpg.npy"][..100]),
        ("0003", b"other"),
    ];
    for (stem, bytes) in torn {
        fs::write(
            env.path(format!("features/nhwc/00/{}/{stem}.jpg.npy", &stem[2..])),
            bytes,
        )
        .unwrap();
    }
    // Of another length: the model's directory knows how long features are.
    let longer = env.path("features/nhwc/00/04/0004.jpg.npy");
    fs::write(longer, feature_file(&[1.0; 9])).unwrap();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [4, 1, 0, 0]);
    assert_eq!(read_feature(&kept), [7.0; 8]);
    let mut expected = whole;
    expected.insert("00/00/0000.jpg.npy".into(), feature_file(&[7.0; 8]));
    assert_same_tree(&features(&env, "nhwc"), &expected);
}

#[test]
fn a_feature_in_a_shard_counts_and_no_model_is_loaded() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 5);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&["--rows", "2"]).exits(0);
    let packed = env.tree("features");
    assert_eq!(files_ending(&packed, ".features.npy").len(), 3);
    // A run that wanted the runtime would fail.
    let outcome = env.extract("nhwc", &["--json", "--runtime", "nowhere.so"]);
    assert_eq!(outcome.exits(0).counts(), [0, 5, 0, 0]);
    assert_same_tree(&env.tree("features"), &packed);

    env.picture("object/0005.jpg", 5);
    entries.push("object/0005.jpg".into());
    env.objects(&entries);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 5, 0, 0]);
}

#[test]
fn ids_that_would_leave_the_feature_directory_are_refused() {
    need_runtime!();
    let env = TestEnv::new();
    let absolute = env.argument("media/object/good.jpg");
    for name in [
        "object/good.jpg",
        "object/..jpg",
        "object/..x.jpg",
        "object/ab..jpg",
        "object/a",
        "..jpg",
    ] {
        env.picture(name, 1);
    }
    env.write("x.jpg", ppm(30, 20, 1));
    let refused = [
        "object/..jpg",
        "..jpg",
        "object/..x.jpg",
        "object/ab..jpg",
        "object/../../x.jpg",
        absolute.as_str(),
        "object/a",
        "object/",
        "object/..",
    ];
    env.objects(&[&["object/good.jpg"], &refused[..]].concat());
    let mut before: BTreeSet<String> = env.tree("").into_keys().collect();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, refused.len() as u64, 0]);
    let reported: BTreeSet<String> = failures(&env, "nhwc")
        .iter()
        .map(|failure| {
            assert_eq!(failure["class"], "bad-entry", "{failure}");
            assert_eq!(failure["stage"], "list", "{failure}");
            failure["path"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(reported, refused.map(str::to_owned).into());
    before.extend(
        [
            "features/",
            "features/nhwc/",
            "features/nhwc/failures.jsonl",
            "features/nhwc/recipe.json",
            "features/nhwc/sources.jsonl",
            "features/nhwc/go/",
            "features/nhwc/go/od/",
            "features/nhwc/go/od/good.jpg.npy",
        ]
        .map(str::to_owned),
    );
    assert_eq!(
        env.tree("").into_keys().collect::<BTreeSet<String>>(),
        before
    );
}

#[test]
fn links_inside_the_feature_directory_lead_nowhere() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    fs::create_dir_all(env.path("features/nhwc/00")).unwrap();
    fs::create_dir(env.path("outside")).unwrap();
    symlink(env.path("outside"), env.path("features/nhwc/00/01")).unwrap();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 1, 0]);
    assert_eq!(failures(&env, "nhwc")[0]["stage"], "write");
    assert_same_tree(&env.tree("outside"), &Tree::new());
}

#[test]
fn two_entries_of_one_object_id_are_reported() {
    need_runtime!();
    let env = TestEnv::new();
    env.picture("a/same.jpg", 1);
    env.picture("b/same.jpg", 2);
    env.objects(&["a/same.jpg", "b/same.jpg", "a/same.jpg"]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 1, 1, 0]);
    let [failure] = &failures(&env, "nhwc")[..] else {
        panic!("not one failure\n{outcome}")
    };
    assert_eq!(failure["path"], "b/same.jpg");
    assert!(
        failure["message"].as_str().unwrap().contains("a/same.jpg"),
        "{failure}"
    );
    let kept = read_feature(&env.path("features/nhwc/sa/me/same.jpg.npy"));
    assert_close(&kept, &feature_of(&ppm(30, 20, 1)), "same.jpg");
}

#[test]
fn an_object_is_done_although_another_line_is_its_object_id() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = ["a/x.jpg", "a/y.jpg", "x.jpg"];
    for (seed, entry) in entries.iter().enumerate() {
        env.picture(entry, seed);
    }
    env.objects(&entries);
    // The run ends when it has reported the bad line and before it has done an object.
    let outcome = env.extract("nhwc", &["--json", "--limit", "0"]);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 1, 2]);
    let where_from = [
        "--feature-dir",
        "features",
        "--media-dir",
        "media",
        "--model",
        "nhwc",
    ];
    let look = |command| env.run([&[command], &where_from[..]].concat());
    let is_pending = |count| {
        let status = look("status");
        for line in [
            "failed     1: 1 bad-entry".to_owned(),
            format!("pending    {count}\n"),
        ] {
            assert!(status.stdout.contains(&line), "{line}{status}");
        }
    };
    is_pending(2);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [2, 0, 1, 0]);
    is_pending(0);
    look("verify").exits(0);
}

#[test]
fn a_line_that_is_corrected_leaves_no_failure_behind() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let [corrected, with_bad_lines] = [
        &["object/0000.jpg", "object/0001.jpg"][..],
        &["object/0000.jpg", "/object/0001.jpg", "../x.jpg"],
    ];
    env.objects(with_bad_lines);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 2, 0]);
    assert_eq!(failures(&env, "nhwc").len(), 2);
    for counts in [[1, 1, 0, 0], [0, 2, 0, 0]] {
        env.objects(corrected);
        let outcome = env.extract("nhwc", &["--json"]);
        assert_eq!(outcome.exits(0).counts(), counts);
        assert!(!env.path("features/nhwc/failures.jsonl").exists());
        // Another list's bad lines are reported whenever that list is used, also where nothing is to be done.
        env.objects(with_bad_lines);
        let outcome = env.extract("nhwc", &["--json"]);
        assert_eq!(outcome.exits(3).counts(), [0, 1, 2, 0]);
        assert_eq!(failures(&env, "nhwc").len(), 2);
    }
}

/// A media directory with one object of every kind that fails, and two good ones; the kinds that must be reported.
fn every_failure(env: &TestEnv) -> Vec<&'static str> {
    let mut entries = pictures(env, 2);
    for (name, content) in [
        ("empty.jpg", Vec::new()),
        ("truncated.jpg", stored_picture("jpeg_truncated.jpg")),
        ("truncated.png", stored_picture("png_truncated.png")),
        ("text.jpg", stored_picture("text.jpg")),
        ("large.jpg", ppm(200, 100, 1)),
        ("inside.jpg", b"a file where a directory is listed".to_vec()),
    ] {
        env.write(format!("media/object/{name}"), content);
    }
    nix::unistd::mkfifo(
        &env.path("media/object/fifo.jpg"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    fs::create_dir(env.path("media/object/directory.jpg")).unwrap();
    symlink("nowhere", env.path("media/object/broken.jpg")).unwrap();
    entries.extend(
        [
            "missing.jpg",
            "empty.jpg",
            "truncated.jpg",
            "truncated.png",
            "text.jpg",
            "large.jpg",
            "inside.jpg/deeper.jpg",
            "fifo.jpg",
            "directory.jpg",
            "broken.jpg",
        ]
        .map(|name| format!("object/{name}")),
    );
    env.objects(&entries);
    vec![
        "broken.jpg read missing",
        "deeper.jpg read missing",
        "directory.jpg read not-a-file",
        "empty.jpg decode empty",
        "fifo.jpg read not-a-file",
        "large.jpg decode too-large",
        "missing.jpg read missing",
        "text.jpg decode not-a-picture",
        "truncated.jpg decode truncated",
        "truncated.png decode truncated",
    ]
}

#[test]
fn objects_that_fail_are_reported_and_do_not_stop_the_run() {
    need_runtime!();
    let env = TestEnv::new();
    let expected = every_failure(&env);
    let limits = ["--json", "--max-pixels", "19999"];
    let outcome = env.extract("nhwc", &limits);
    assert_eq!(outcome.exits(3).counts(), [2, 0, 10, 0]);
    outcome.says(&["10 objects failed", "features/nhwc/failures.jsonl says why"]);
    assert_eq!(
        outcome.json()["failures"],
        "features/nhwc/failures.jsonl",
        "{outcome}"
    );
    assert_eq!(kinds(&env, "nhwc"), expected);
    for failure in failures(&env, "nhwc") {
        let [id, path, message] = ["id", "path", "message"].map(|name| {
            failure[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name}: {failure}"))
        });
        assert!(
            path.starts_with("object/") && path.ends_with(id),
            "{failure}"
        );
        assert!(!message.is_empty(), "{failure}");
        assert_eq!(
            message.contains("--max-pixels"),
            id == "large.jpg",
            "{failure}"
        );
    }
    assert_eq!(features(&env, "nhwc").len(), 2);

    // The same again: the same report, line for line, and the same numbers.
    let report = fs::read(env.path("features/nhwc/failures.jsonl")).unwrap();
    let outcome = env.extract("nhwc", &limits);
    assert_eq!(outcome.exits(3).counts(), [0, 2, 10, 0]);
    assert_eq!(
        fs::read(env.path("features/nhwc/failures.jsonl")).unwrap(),
        report
    );

    // The way out of one of them.
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 2, 9, 0]);
    let left: Vec<_> = expected
        .iter()
        .filter(|kind| !kind.starts_with("large"))
        .collect();
    assert_eq!(kinds(&env, "nhwc").iter().collect::<Vec<_>>(), left);
}

#[test]
fn a_file_that_may_not_be_read_is_reported() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let program = env.path("simsearch");
    fs::copy(PROGRAM, &program).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(env.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(env.path("features")).unwrap();
    fs::copy(model_file("nhwc"), env.path("nhwc.onnx")).unwrap();
    mode("", 0o755);
    mode("features", 0o777);
    mode("media/object/0001.jpg", 0o000);
    let mut command = Command::new(&program);
    command
        .args([
            "extract",
            "--media-dir",
            "media",
            "--feature-dir",
            "features",
            "--json",
        ])
        .args(["--provider", "cpu", "--model", "nhwc.onnx", "--runtime"])
        .arg(&runtime)
        .current_dir(env.path(""));
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
        // The library may lie where only root gets at it.
        let mut tried = Command::new("test");
        tried.arg("-r").arg(&runtime).uid(65534).gid(65534);
        if !tried.status().is_ok_and(|status| status.success()) {
            skip!("another user than root cannot read ONNX Runtime here");
        }
    }
    let outcome = finish(command);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 1, 0]);
    assert_eq!(kinds(&env, "nhwc"), ["0001.jpg read denied"]);
}

#[test]
fn a_run_in_which_everything_fails_ends_with_1() {
    need_runtime!();
    let env = TestEnv::new();
    for name in ["aaa.jpg", "bbb.jpg"] {
        env.write(format!("media/object/{name}"), "no picture");
    }
    env.objects(&["object/aaa.jpg", "object/bbb.jpg"]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 2, 0]);
    // Nothing to try is no success either.
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 2, 0]);
}

#[test]
fn a_media_directory_that_is_gone_is_no_reason_to_report_every_object() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 70);
    fs::rename(env.path("media/object"), env.path("away")).unwrap();
    env.extract("nhwc", &[]).exits(1).says(&["mounted"]);
    assert_eq!(failures(&env, "nhwc"), Vec::<Value>::new());
    env.objects(&entries[..3]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(1).counts(), [0, 0, 3, 0]);
    fs::remove_dir_all(env.path("media")).unwrap();
    env.extract(
        "nhwc",
        &["--objects", env.argument("media/objects.txt").as_str()],
    )
    .exits(1);
}

#[test]
fn a_run_stops_after_as_many_failures_as_allowed() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    env.extract("nhwc", &[]).exits(0);
    let mut entries = vec!["object/0000.jpg".to_owned()];
    for index in 0..10 {
        entries.push(format!("object/bad{index}.jpg"));
        env.write(format!("media/object/bad{index}.jpg"), "no picture");
    }
    env.objects(&entries);
    let few = [
        "--json",
        "--workers",
        "1",
        "--batch-size",
        "1",
        "--max-errors",
        "2",
    ];
    let outcome = env.extract("nhwc", &few);
    assert_eq!(outcome.exits(3).counts(), [0, 1, 2, 8]);
    assert_eq!(failures(&env, "nhwc").len(), 2);
    // What failed before does not count against the limit.
    let outcome = env.extract("nhwc", &few);
    assert_eq!(outcome.exits(3).counts(), [0, 1, 4, 6]);
    env.extract("nhwc", &["--max-errors", "0"]).exits(2);
}

#[test]
fn permanent_failures_are_tried_again_when_asked_or_when_the_file_changed() {
    need_runtime!();
    let env = TestEnv::new();
    let good = ppm(30, 20, 1);
    let bad = vec![b'x'; good.len()];
    for name in ["same.jpg", "mended.jpg", "still.jpg"] {
        env.write(format!("media/object/{name}"), &bad);
    }
    env.objects(&["same.jpg", "mended.jpg", "still.jpg"].map(|name| format!("object/{name}")));
    env.extract("nhwc", &[]).exits(1);
    assert_eq!(failures(&env, "nhwc").len(), 3);

    // A file that looks like the one that failed, size and time, is believed to be it.
    let same = env.path("media/object/same.jpg");
    let time = fs::metadata(&same).unwrap().modified().unwrap();
    fs::write(&same, &good).unwrap();
    fs::File::options()
        .write(true)
        .open(&same)
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::write(env.path("media/object/mended.jpg"), ppm(31, 20, 2)).unwrap();
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 2, 0]);
    assert_eq!(
        kinds(&env, "nhwc"),
        [
            "same.jpg decode not-a-picture",
            "still.jpg decode not-a-picture"
        ]
    );

    // `--retry-failed` tries those, and only those.
    env.picture("object/fresh.jpg", 3);
    env.objects(
        &["same.jpg", "mended.jpg", "still.jpg", "fresh.jpg"].map(|name| format!("object/{name}")),
    );
    let outcome = env.extract("nhwc", &["--json", "--retry-failed"]);
    assert_eq!(outcome.exits(3).counts(), [1, 1, 1, 1]);
    assert_eq!(kinds(&env, "nhwc"), ["still.jpg decode not-a-picture"]);
    assert!(
        !env.path("features/nhwc/fr/es/fresh.jpg.npy").exists(),
        "{outcome}"
    );

    // With the last failure goes the report.
    fs::write(env.path("media/object/still.jpg"), &good[..]).unwrap();
    let outcome = env.extract("nhwc", &["--json", "--retry-failed"]);
    assert_eq!(outcome.exits(0).counts(), [1, 2, 0, 1]);
    assert!(!env.path("features/nhwc/failures.jsonl").exists());
}

#[test]
fn features_that_are_not_finite_are_failures() {
    need_runtime!();
    let env = TestEnv::new();
    for (name, level) in [("bright.jpg", 250), ("darker.jpg", 20)] {
        env.write(format!("media/object/{name}"), plain_ppm(level));
    }
    env.objects(&["object/bright.jpg", "object/darker.jpg"]);
    let outcome = env.extract("nan_where_bright", &["--json"]);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 1, 0]);
    assert_eq!(kinds(&env, "nan_where_bright"), ["bright.jpg run model"]);
    let found = features(&env, "nan_where_bright");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["da/rk/darker.jpg.npy"]);
}

#[test]
fn the_summary_in_json_tells_all_that_was_done() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 5);
    let outcome = env.extract(
        "nhwc",
        &["--json", "--quiet", "--workers", "2", "--batch-size", "3"],
    );
    assert_eq!(outcome.exits(0).stderr, "");
    let json = outcome.json();
    for (name, value) in [
        ("listed", 5),
        ("done", 5),
        ("skipped", 0),
        ("failed", 0),
        ("left", 0),
        ("batch", 3),
        ("workers", 2),
    ] {
        assert_eq!(json[name], value, "{name}\n{outcome}");
    }
    assert_eq!(json["provider"], "cpu");
    assert_eq!(json["failures"], Value::Null);
    let seconds = json["seconds"].as_f64().unwrap();
    let rate = json["images_per_second"].as_f64().unwrap();
    assert!((seconds * rate - 5.0).abs() < 1e-6, "{outcome}");
}

#[test]
fn quiet_leaves_warnings_and_errors_only() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let outcome = env.extract("nhwc", &[]);
    outcome.exits(0).says(&[
        "model: nhwc",
        "provider: cpu, ONNX Runtime ",
        "2 done, 0 skipped, 0 failed of 2 objects",
    ]);
    assert_eq!(outcome.stdout, "");
    let outcome = env.extract("nhwc", &["--quiet"]);
    assert_eq!(outcome.exits(0).stderr, "");
    fs::write(env.path("media/object/0000.jpg"), "broken").unwrap();
    fs::remove_dir_all(env.path("features")).unwrap();
    env.extract("nhwc", &["--quiet"])
        .exits(3)
        .says(&["warning: 1 object failed"]);
}

#[test]
fn a_limit_takes_the_objects_of_the_seed() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 20);
    let mut taken = Vec::new();
    for seed in ["1", "1", "2"] {
        let outcome = env.extract("nhwc", &["--json", "--limit", "5", "--seed", seed]);
        assert_eq!(outcome.exits(0).counts(), [5, 0, 0, 15]);
        taken.push(features(&env, "nhwc"));
        fs::remove_dir_all(env.path("features")).unwrap();
    }
    assert_same_tree(&taken[1], &taken[0]);
    assert!(taken[2].keys().ne(taken[0].keys()), "the order is no order");

    let outcome = env.extract("nhwc", &["--json", "--limit", "0"]);
    assert_eq!(outcome.exits(0).counts(), [0, 0, 0, 20]);
    env.extract("nhwc", &["--limit", "15"]).exits(0);
    let outcome = env.extract("nhwc", &["--json", "--limit", "15"]);
    assert_eq!(outcome.exits(0).counts(), [5, 15, 0, 0]);
}

#[test]
fn batch_size_workers_and_form_of_the_model_do_not_change_a_byte() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 11);
    env.extract("nhwc", &["--workers", "1", "--batch-size", "1"])
        .exits(0);
    let expected = features(&env, "nhwc");
    for (seed, entry) in entries.iter().enumerate() {
        let name = entry.strip_prefix("object/").unwrap();
        let path = format!("{}/{}/{name}.npy", &name[..2], &name[2..4]);
        let found = read_feature(&env.path("features/nhwc").join(&path));
        assert_close(&found, &feature_of(&ppm(30, 20, seed)), name);
    }
    for batch in ["1", "3", "64"] {
        for workers in ["1", "2"] {
            for model in ["nhwc", "nchw", "fixed_1", "fixed_4", "two_outputs"] {
                if batch != "3" && model != "nhwc" && model != "fixed_4" {
                    continue;
                }
                fs::remove_dir_all(env.path("features")).unwrap();
                env.extract(model, &["--batch-size", batch, "--workers", workers])
                    .exits(0);
                assert_same_tree(&features(&env, model), &expected);
            }
        }
    }
}

#[test]
fn the_output_can_be_named() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    env.extract("nhwc", &[]).exits(0);
    let expected = features(&env, "nhwc");
    env.extract("no_feature_vector", &[]).exits(1).says(&[
        "`flat`",
        "`sums_of_cells`",
        "needed",
        "--output-name",
    ]);
    assert_same_tree(&features(&env, "no_feature_vector"), &Tree::new());
    env.extract("no_feature_vector", &["--output-name", "sums_of_cells"])
        .exits(0);
    assert_same_tree(&features(&env, "no_feature_vector"), &expected);
    env.extract("two_outputs", &["--output-name", "flat"])
        .exits(0);
    assert_eq!(
        read_feature(&env.path("features/two_outputs/00/00/0000.jpg.npy")).len(),
        18
    );
    env.extract("nhwc", &["--output-name", "nothing"])
        .exits(1)
        .says(&["output feature_vector", "output nothing"]);
    fs::remove_dir_all(env.path("features/nhwc")).unwrap();
    env.extract("nhwc", &["--output-name", "nothing"])
        .exits(1)
        .says(&["`feature_vector`", "--output-name"]);
}

#[test]
fn unfit_models_are_refused_with_what_was_found_and_what_is_needed() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let input = "needed: one float32 or uint8 input of shape [n, height, width, 3] or [n, 3, height, width]";
    let output = "needed: a float32 output of shape [n, d]";
    env.write("garbage.onnx", "this is no model");
    env.write("empty.onnx", "");
    env.write("cut.onnx", &fs::read(model_file("nhwc")).unwrap()[..600]);
    let [garbage, empty, cut, missing] =
        ["garbage", "empty", "cut", "missing"].map(|name| env.argument(format!("{name}.onnx")));
    for (model, says) in [
        ("unfit_integers", ["`inputs:0`", "i64", input]),
        ("unfit_dynamic_height", ["`inputs:0`", "f32", input]),
        ("unfit_four_channels", ["`inputs:0`", "4", input]),
        ("unfit_rank_3", ["`feature_vector`", "10", output]),
        (garbage.as_str(), [&garbage, "is no whole ONNX model", ""]),
        (empty.as_str(), [&empty, "is no ONNX model", "it is empty"]),
        (cut.as_str(), [&cut, "is no whole ONNX model", "cut off"]),
        (missing.as_str(), ["cannot read the model", &missing, ""]),
    ] {
        env.extract(model, &[]).exits(1).says(&says);
        let stem = Path::new(model).file_stem().unwrap().to_str().unwrap();
        assert_same_tree(&features(&env, stem), &Tree::new());
    }
}

#[test]
fn decoding_on_a_gpu_needs_a_model_that_runs_there_and_is_never_exact() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    env.extract("nhwc", &["--provider", "cpu", "--decode", "gpu"])
        .exits(1)
        .says(&["--decode gpu needs a GPU", "runs on cpu"]);
    assert!(!env.path("features/nhwc").exists());
    env.extract("nhwc", &["--exact", "--decode", "gpu"])
        .exits(2)
        .says(&["--exact", "--decode"]);
}

/// Whether the runtime was built with CUDA; then the machine decides what the tests on providers would see.
fn has_cuda(runtime: &Path) -> bool {
    let library = fs::canonicalize(runtime).unwrap();
    library
        .with_file_name("libonnxruntime_providers_cuda.so")
        .exists()
}

#[test]
fn a_gpu_provider_that_cannot_run_is_an_error_and_auto_says_why_not() {
    let runtime = need_runtime!();
    if has_cuda(&runtime) {
        skip!("{} is built with CUDA", runtime.display());
    }
    let env = TestEnv::new();
    pictures(&env, 2);
    for provider in ["cuda", "tensorrt"] {
        env.extract("nhwc", &["--provider", provider])
            .exits(1)
            .says(&[
                &format!("the {provider} provider cannot run here"),
                "was built without it",
                "make setup",
            ]);
        assert_same_tree(&features(&env, "nhwc"), &Tree::new());
    }
    let outcome = env.extract("nhwc", &["--provider", "auto", "--json"]);
    outcome
        .exits(0)
        .says(&["provider: cpu (no CUDA: ONNX Runtime"]);
    assert_eq!(outcome.json()["provider"], "cpu");
}

/// The C library, which every process has, and which is no ONNX Runtime.
fn another_library() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.contains("libc.so"))?;
    Some(PathBuf::from(line.split_whitespace().last()?))
}

#[test]
fn a_runtime_that_cannot_be_loaded_is_an_error_with_the_way_out() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    let whole = fs::read(&runtime).unwrap();
    env.write("cut.so", &whole[..whole.len() / 2]);
    env.write("beginning.so", &whole[..4096]);
    env.write("empty.so", "");
    env.write("text.so", "this is no library");
    fs::create_dir(env.path("empty_folder")).unwrap();
    for (library, says) in [
        ("missing.so", "cannot read ONNX Runtime at missing.so"),
        ("cut.so", "cut.so is not a complete shared library"),
        ("beginning.so", "is not a complete shared library"),
        ("empty.so", "is not a complete shared library"),
        ("text.so", "is not a complete shared library"),
        ("empty_folder", "ONNX Runtime was not found in empty_folder"),
    ] {
        env.extract("nhwc", &["--runtime", library])
            .exits(1)
            .says(&[says, "make setup"]);
    }
    let Some(library) = another_library() else {
        skip!("no libc.so to try in /proc/self/maps");
    };
    fs::copy(library, env.path("libonnxruntime.so")).unwrap();
    for named in ["libonnxruntime.so", "."] {
        env.extract("nhwc", &["--runtime", named])
            .exits(1)
            .says(&["does not load", "make setup"]);
    }
    assert_same_tree(&features(&env, "nhwc"), &Tree::new());
}

#[test]
fn the_model_inside_the_program_runs_where_none_is_named() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let mut command = env.command(["extract", "--provider", "cpu"]);
    command
        .env("MEDIA_DIR", "media")
        .env("FEATURE_DIR", "features")
        .env("ORT_DYLIB_PATH", runtime);
    finish(command)
        .exits(0)
        .says(&["which ships with the program", "MobileNetV3", "--model"]);
    let found = files_ending(&env.tree("features"), ".jpg.npy");
    let sizes: Vec<_> = found.values().map(Vec::len).collect();
    assert_eq!(sizes, [128 + 1280 * 4; 2]);
    assert_eq!(fs::read_dir(env.path("features")).unwrap().count(), 1);
}

#[test]
fn the_model_may_come_from_the_environment() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    let mut command = env.command(["extract", "--quiet", "--provider", "cpu"]);
    command
        .args(["--media-dir", "media", "--feature-dir", "features"])
        .env("ONNX_MODEL_PATH", model_file("nchw"))
        .env("ORT_DYLIB_PATH", runtime);
    finish(command).exits(0);
    assert_eq!(features(&env, "nchw").len(), 2);
}

#[test]
fn another_model_of_the_same_name_is_refused() {
    need_runtime!();
    let env = TestEnv::new();
    let entries = pictures(&env, 4);
    env.objects(&entries[..3]);
    env.extract("nhwc", &[]).exits(0);
    env.objects(&entries);
    let before = env.tree("features");
    let (one, other) = (model_file("nhwc"), env.path("nhwc.onnx"));
    fs::copy(model_file("nchw"), &other).unwrap();
    env.extract(&env.argument("nhwc.onnx"), &[])
        .exits(1)
        .says(&[
            "features/nhwc was made with the model with SHA-256",
            &checksum::of_file(&one).unwrap(),
            &checksum::of_file(&other).unwrap(),
            "--feature-dir",
        ]);
    assert_same_tree(&env.tree("features"), &before);
    // So is another output of the same model.
    env.extract("two_outputs", &[]).exits(0);
    let before = env.tree("features");
    fs::remove_file(env.path("features/two_outputs/00/00/0000.jpg.npy")).unwrap();
    env.extract("two_outputs", &["--output-name", "flat"])
        .exits(1)
        .says(&["output feature_vector", "output flat"]);
    env.extract("two_outputs", &[]).exits(0);
    assert_same_tree(&env.tree("features"), &before);
}

#[test]
fn another_recipe_is_refused_also_where_all_is_done() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    env.extract("nhwc", &[]).exits(0);
    env.extract("nhwc", &["--exact"]).exits(1).says(&[
        "--exact false",
        "--exact true",
        "another --feature-dir",
    ]);
    env.extract("nhwc", &["--scaled-decode"])
        .exits(1)
        .says(&["JPEG scaled while decoding"]);
    env.extract("nhwc", &["--pillow", "12"]).exits(1).says(&[
        "as Pillow 13",
        "as Pillow 12",
        "another --feature-dir",
    ]);
    env.extract("nhwc", &["--exif-orientation", "apply"])
        .exits(1)
        .says(&["EXIF orientation applied", "another --feature-dir"]);
    env.extract("nhwc", &["--output-name", "another"])
        .exits(1)
        .says(&["output feature_vector", "output another"]);
    for refused in ["--scaled-decode", "--precision"] {
        env.extract("nhwc", &["--exact", refused, "bf16"]).exits(2);
    }
    let other = env.argument("nhwc.onnx");
    fs::copy(model_file("nchw"), &other).unwrap();
    env.extract(&other, &[])
        .exits(1)
        .says(&["the model with SHA-256"]);
    let outcome = env.extract("nhwc", &["--json"]);
    assert_eq!(outcome.exits(0).counts(), [0, 2, 0, 0]);
    let json = outcome.json();
    for name in ["provider", "precision", "batch", "workers", "rewrites"] {
        assert!(
            json.get(name).is_some_and(Value::is_null),
            "`{name}` is there, and nothing\n{outcome}"
        );
    }
}

/// Black and white noise that loses more rows than columns on its way to the model's 12 x 10 pixels: Pillow 12 and 13
/// make other pixels of it.
fn tall_pictures(env: &TestEnv, count: usize) {
    let entries: Vec<String> = (0..count)
        .map(|number| format!("tall{number}.ppm"))
        .collect();
    for (number, entry) in entries.iter().enumerate() {
        // Those of before have features.
        if env.path("media").join(entry).exists() {
            continue;
        }
        let mut picture = b"P6\n20 90\n255\n".to_vec();
        // Knuth's MMIX constants.
        let mut state = number as u64;
        picture.extend((0..20 * 90 * 3).map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            if state >> 63 == 0 { 0 } else { 255 }
        }));
        env.write(Path::new("media").join(entry), picture);
    }
    env.objects(&entries);
}

const RECIPE: &str = "features/nhwc/recipe.json";

#[test]
fn features_of_pillow_12_that_have_no_recipe_are_continued_with_pillow_12_alone() {
    need_runtime!();
    if !cfg!(feature = "turbojpeg") {
        skip!("built without libjpeg-turbo: there is no --exact");
    }
    for packed in [false, true] {
        let env = TestEnv::new();
        tall_pictures(&env, 3);
        env.extract("nhwc", &["--exact", "--pillow", "12"]).exits(0);
        if packed {
            env.concat(&[]).exits(0);
        }
        // As the Python scripts leave it, and with another object to be done.
        fs::remove_file(env.path(RECIPE)).unwrap();
        tall_pictures(&env, 4);
        let before = env.tree("features");
        let refused = env.extract("nhwc", &["--exact"]);
        refused.exits(1).says(&[
            "of Pillow 12, not 13",
            "3 of 3",
            "go on with --pillow 12",
            "another --feature-dir",
        ]);
        assert_same_tree(&env.tree("features"), &before);
        let outcome = env.extract("nhwc", &["--exact", "--pillow", "12", "--json"]);
        outcome.does_not_say("made again");
        assert_eq!(outcome.exits(0).counts(), [1, 3, 0, 0]);
        let recipe = fs::read_to_string(env.path(RECIPE)).unwrap();
        assert!(recipe.contains("12x10 as Pillow 12, "), "{recipe}");
    }
}

#[test]
fn features_of_which_nothing_says_the_pillow_are_continued_as_asked_and_that_is_said() {
    need_runtime!();
    if !cfg!(feature = "turbojpeg") {
        skip!("built without libjpeg-turbo: there is no --exact");
    }
    let env = TestEnv::new();
    tall_pictures(&env, 2);
    env.extract("nhwc", &["--exact", "--pillow", "12"]).exits(0);
    let [first, second] = ["0", "1"].map(|number| {
        let id = format!("tall{number}.ppm");
        env.path(format!("features/nhwc/ta/ll/{id}.npy"))
    });
    let of_pillow_12 = fs::read(&first).unwrap();
    fs::remove_dir_all(env.path("features")).unwrap();
    env.extract("nhwc", &["--exact"]).exits(0);
    assert_ne!(fs::read(&first).unwrap(), of_pillow_12);

    let goes_on = |says: &[&str]| {
        fs::remove_file(env.path(RECIPE)).unwrap();
        forget_sources(&env);
        tall_pictures(&env, 3);
        let _ = fs::remove_file(env.path("features/nhwc/ta/ll/tall2.ppm.npy"));
        env.extract("nhwc", &["--exact"]).exits(0).says(says);
    };
    fs::write(&first, of_pillow_12).unwrap();
    goes_on(&[
        "1 are of Pillow 13 and 1 of Pillow 12",
        "goes on with --pillow 13",
    ]);
    // Another processor or runtime may round in another way.
    for path in [first, second] {
        let slightly_off: Vec<f32> = read_feature(&path)
            .iter()
            .map(|value| value * 1.000_001)
            .collect();
        fs::write(path, feature_file(&slightly_off)).unwrap();
    }
    goes_on(&[
        "of 2 features",
        "none came out the same",
        "goes on with --pillow 13",
    ]);
}

#[test]
fn a_rewritten_graph_that_gives_other_features_is_not_used_and_that_is_said() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 3);
    let outcome = env.extract("sensitive", &["--json"]);
    outcome
        .exits(0)
        .says(&["the graph runs as it is: rewritten, its feature of a probe picture differs by"]);
    assert!(outcome.json()["rewrites"].is_null(), "{outcome}");
    let found = features(&env, "sensitive");
    fs::remove_dir_all(env.path("features")).unwrap();
    env.extract("sensitive", &["--exact"])
        .exits(0)
        .does_not_say("the graph runs as it is");
    assert_same_tree(&features(&env, "sensitive"), &found);
}

#[test]
fn a_run_that_cannot_start_leaves_no_directory() {
    let runtime = need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    env.extract("unfit_rank_3", &[]).exits(1);
    env.extract("nhwc", &["--runtime", "nowhere.so"]).exits(1);
    if !has_cuda(&runtime) {
        env.extract("nhwc", &["--provider", "cuda"]).exits(1);
    }
    assert!(!env.path("features").exists());
}

#[test]
fn leftovers_of_a_killed_run_go_also_where_nothing_is_to_be_done() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    env.extract("nhwc", &[]).exits(0);
    let plant = || {
        env.write("features/nhwc/.tmp/0123456789abcdef.lock", "");
        env.write("features/nhwc/.tmp/0123456789abcdef.0", "half a feature");
    };
    plant();
    env.extract("nhwc", &[]).exits(0);
    assert!(!env.path("features/nhwc/.tmp").exists());
    plant();
    env.concat(&[]).exits(0);
    assert!(!env.path("features/nhwc/.tmp").exists());
}

#[test]
fn a_reader_that_goes_away_does_not_change_the_exit_code() {
    need_runtime!();
    let env = TestEnv::new();
    env.write("media/no-picture.jpg", "no picture");
    env.picture("a-picture.jpg", 1);
    env.objects(&["no-picture.jpg", "a-picture.jpg"]);
    let mut command = env.extract_command("nhwc", &["--json"]);
    // A pipe whose reading end is closed already.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(3));
}

#[test]
fn variables_that_are_set_to_nothing_are_as_good_as_not_set() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    let mut command = env.command([
        "extract",
        "--media-dir",
        "media",
        "--feature-dir",
        "features",
    ]);
    command.env("ONNX_MODEL_PATH", "").env("ORT_DYLIB_PATH", "");
    finish(command).exits(0).says(&["model: descriptor_v1"]);
}

#[test]
fn the_model_inside_the_program_has_a_name_which_a_file_may_take() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    // No model is beside the program's own: what is in the current directory says nothing of its pictures.
    env.write("preprocessor_config.json", "{}");
    let extract = |features: &str| {
        let command = ["extract", "--provider", "cpu", "--media-dir", "media"];
        let mut command = env.command(command);
        command.args(["--feature-dir", features, "--model", "descriptor_v1"]);
        finish(command)
    };
    extract("features")
        .exits(0)
        .says(&["model: descriptor_v1, which ships with the program"]);
    env.write("descriptor_v1", fs::read(model_file("nhwc")).unwrap());
    fs::remove_file(env.path("preprocessor_config.json")).unwrap();
    extract("elsewhere")
        .exits(0)
        .says(&["model: descriptor_v1\n"]);
}

#[test]
fn a_list_that_cannot_be_used_is_an_error() {
    let env = TestEnv::new();
    env.extract("nhwc", &[]).exits(1).says(&[
        "there is no list of objects at media/objects.txt",
        "`simsearch list`",
    ]);
    env.write("media/objects.txt", b"good.jpg\n\xff.jpg\n");
    env.extract("nhwc", &[])
        .exits(1)
        .says(&["line 2 is not UTF-8"]);
    env.objects(&["object/a.jpg"]);
    let mut command = env.command(["extract", "--feature-dir", "features"]);
    command.args(["--media-dir", "nowhere", "--objects", "media/objects.txt"]);
    finish(command)
        .exits(1)
        .says(&["the media directory nowhere does not exist"]);
    env.extract("nhwc", &["--batch-size", "0"]).exits(2);
    env.extract("nhwc", &["--workers", "none"]).exits(2);
}

#[test]
fn an_empty_list_is_done_at_once() {
    let env = TestEnv::new();
    env.objects(&[] as &[&str]);
    let outcome = env.extract("nhwc", &["--json", "--runtime", "nowhere.so"]);
    assert_eq!(outcome.exits(0).counts(), [0, 0, 0, 0]);
    // Who names a list expects something in it.
    let named = ["--json", "--objects", "media/objects.txt"];
    let outcome = env.extract("nhwc", &named);
    outcome.exits(3).says(&["media/objects.txt is empty"]);
    assert_eq!(outcome.counts(), [0, 0, 0, 0]);
}

#[test]
fn the_parts_of_a_list_make_together_what_a_run_without_them_makes() {
    need_runtime!();
    let env = TestEnv::new();
    let mut entries = pictures(&env, 12);
    entries.extend(["../above.jpg", "/absolute.jpg", "object/no"].map(str::to_owned));
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(3);
    let expected = features(&env, "nhwc");
    let all_failed = failures(&env, "nhwc").len();
    fs::remove_dir_all(env.path("features")).unwrap();

    let (mut listed, mut done) = (0, 0);
    for part in ["0/3", "1/3", "2/3"] {
        let outcome = env.extract("nhwc", &["--json", "--part", part]);
        outcome.says(&[&format!("part {part}: "), " of 15 listed objects"]);
        let [made, skipped, failed, left] = outcome.counts();
        assert_eq!([skipped, left], [0, 0], "{outcome}");
        assert_eq!(outcome.json()["listed"], made + failed, "{outcome}");
        assert!(made < 12, "{outcome}");
        listed += made + failed;
        done += made;
    }
    assert_eq!([listed, done], [15, 12]);
    assert_same_tree(&features(&env, "nhwc"), &expected);
    // A part leaves the failures of the others in the report.
    assert_eq!(failures(&env, "nhwc").len(), all_failed);

    for malformed in ["3/3", "3", "-1/3", "0/0", "1/3/5", ""] {
        let outcome = env.extract("nhwc", &[&format!("--part={malformed}")]);
        outcome.exits(2).says(&["I/N", "--part"]);
    }
    let outcome = env.extract("nhwc", &["--part", "0/4"]);
    outcome
        .exits(1)
        .says(&["features/nhwc/parts.json", "3 parts", "--part I/3"]);
    // No scheduler is asked.
    let mut command = env.extract_command("nhwc", &["--json"]);
    command
        .env("SLURM_ARRAY_TASK_ID", "1")
        .env("SLURM_ARRAY_TASK_COUNT", "3");
    assert_eq!(finish(command).exits(3).counts()[1], 12);
}

#[test]
fn a_part_without_objects_is_done_and_an_empty_list_is_none() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 1);
    let mut codes = BTreeSet::new();
    for index in 0..8 {
        let part = format!("{index}/8");
        let named = ["--json", "--objects", "media/objects.txt", "--part", &part];
        codes.insert(env.extract("nhwc", &named).exits(0).counts()[0]);
    }
    assert_eq!(codes, BTreeSet::from([0, 1]));
    env.objects(&[""; 0]);
    let named = ["--objects", "media/objects.txt", "--part", "0/8"];
    env.extract("nhwc", &named)
        .exits(3)
        .says(&["media/objects.txt is empty"]);
}

#[test]
fn a_list_comes_from_standard_input_and_an_empty_one_there_is_an_error() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    for stdin in ["-", "/dev/stdin"] {
        let given = |list: &str| {
            let mut command = env.extract_command("nhwc", &["--json", "--objects", stdin]);
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(list.as_bytes())
                .unwrap();
            crate::wait(stdin.into(), child)
        };
        given("")
            .exits(1)
            .says(&[stdin, "is empty", "may have failed"]);
        let outcome = given("object/0001.jpg\n");
        assert_eq!(outcome.exits(0).json()["listed"], 1);
    }
}

#[test]
fn a_list_elsewhere_and_with_windows_line_ends_is_read() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 2);
    env.write(
        "lists/some.txt",
        "\u{feff}object/0000.jpg\r\n\r\nobject/0001.jpg",
    );
    fs::remove_file(env.path("media/objects.txt")).unwrap();
    let outcome = env.extract("nhwc", &["--json", "--objects", "lists/some.txt"]);
    assert_eq!(outcome.exits(0).counts(), [2, 0, 0, 0]);
}

/// A media directory whose pictures take long enough to interrupt the run: names in one file system for few files.
pub(crate) fn long_run(env: &TestEnv) -> usize {
    for seed in 0..4 {
        env.write(format!("media/large{seed}.ppm"), ppm(900, 700, seed));
    }
    fs::create_dir(env.path("media/object")).unwrap();
    let entries: Vec<String> = (0..160)
        .map(|index| format!("object/{index:04}.jpg"))
        .collect();
    for (index, entry) in entries.iter().enumerate() {
        let large = env.path(format!("media/large{}.ppm", index % 4));
        fs::hard_link(large, env.path("media").join(entry)).unwrap();
    }
    env.objects(&entries);
    entries.len()
}

fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn an_interrupted_run_leaves_nothing_half_done_and_goes_on_from_there() {
    need_runtime!();
    let env = TestEnv::new();
    let all = long_run(&env);
    let slowly = ["--json", "--workers", "1", "--batch-size", "2"];
    env.extract("nhwc", &["--batch-size", "64"]).exits(0);
    let undisturbed = env.tree("features/nhwc");
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        fs::remove_dir_all(env.path("features")).unwrap();
        let child = start(env.extract_command("nhwc", &slowly));
        let begun = until(|| !features(&env, "nhwc").is_empty());
        send(&child, signal);
        let outcome = wait(format!("extract and {signal}"), child);
        assert!(begun, "no feature appeared\n{outcome}");
        outcome
            .exits(code)
            .says(&["interrupted", "the same command goes on from here"]);
        let [done, skipped, failed, left] = outcome.counts();
        assert!(done > 0 && left > 0, "it was not interrupted\n{outcome}");
        assert_eq!([skipped, failed, done + left], [0, 0, all as u64]);
        let found = env.tree("features/nhwc");
        assert_eq!(files_ending(&found, ".npy").len() as u64, done);
        for (name, content) in &found {
            let whole = &undisturbed[name];
            // Of the record of sources, the lines that are there so far.
            let lines = |content: &[u8]| -> BTreeSet<Vec<u8>> {
                content
                    .split(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect()
            };
            let is_part = name == "sources.jsonl" && lines(content).is_subset(&lines(whole));
            assert!(whole == content || is_part, "{name}\n{outcome}");
        }
    }
    let outcome = env.extract("nhwc", &["--json"]);
    let [done, skipped, failed, left] = outcome.exits(0).counts();
    assert!(done > 0 && skipped > 0);
    assert_eq!([done + skipped, failed, left], [all as u64, 0, 0]);
    assert_same_tree(&env.tree("features/nhwc"), &undisturbed);
}

#[test]
fn a_hang_up_under_nohup_is_not_heeded() {
    need_runtime!();
    let env = TestEnv::new();
    let all = long_run(&env);
    let slowly = ["--json", "--workers", "1", "--batch-size", "2"];
    let plain = env.extract_command("nhwc", &slowly);
    let mut command = Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args());
    command.current_dir(env.path("")).stdin(Stdio::null());
    let child = start(command);
    assert!(until(|| !features(&env, "nhwc").is_empty()));
    send(&child, Signal::SIGHUP);
    let outcome = wait("extract under nohup".into(), child);
    assert_eq!(outcome.exits(0).counts(), [all as u64, 0, 0, 0]);
}

#[test]
fn a_killed_run_is_made_good_by_the_next() {
    need_runtime!();
    let env = TestEnv::new();
    let all = long_run(&env);
    let mut child = start(env.extract_command("nhwc", &["--workers", "1", "--batch-size", "2"]));
    let begun = until(|| !features(&env, "nhwc").is_empty());
    child.kill().unwrap();
    let outcome = wait("extract and SIGKILL".into(), child);
    assert!(begun, "no feature appeared\n{outcome}");
    env.extract("nhwc", &[]).exits(0);
    let found = env.tree("features/nhwc");
    assert_eq!(files_ending(&found, ".npy").len(), all);
    assert!(
        found.keys().all(|name| !name.contains("tmp")),
        "{:?}",
        found.keys()
    );
}

#[test]
fn a_signal_ends_a_run_that_waits_for_its_list() {
    let env = TestEnv::new();
    // Reading the list from a pipe that nobody writes to takes for ever.
    nix::unistd::mkfifo(&env.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let child = start(env.extract_command("nhwc", &["--objects", "fifo"]));
    // Opening returns when the program opens the other end, which it does after it began to catch signals.
    let writer = fs::File::options()
        .write(true)
        .open(env.path("fifo"))
        .unwrap();
    send(&child, Signal::SIGTERM);
    wait("extract and a signal".into(), child).exits(143);
    drop(writer);
    assert!(!env.path("features").exists());
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    need_runtime!();
    need_fault_points!();
    let env = TestEnv::new();
    env.picture("a.ppm", 1);
    env.objects(&["a.ppm"]);
    let mut command = env.extract_command("nhwc", &[]);
    command
        .env("SIMSEARCH_FAULT", "hang 1")
        .env("SIMSEARCH_RELEASE", env.path("release"))
        .env("SIMSEARCH_STEPS", env.path("steps"));
    let child = start(command);
    let steps = || fs::read_to_string(env.path("steps")).unwrap_or_default();
    assert!(until(|| steps().contains("hang")), "{}", steps());
    send(&child, Signal::SIGTERM);
    send(&child, Signal::SIGINT);
    let outcome = wait("extract and two signals".into(), child);
    // Both may arrive before the program looks at either.
    let code = if outcome.to_string().contains("exited with 143") {
        143
    } else {
        130
    };
    outcome.exits(code).does_not_say("interrupted");
}

#[test]
fn two_copies_share_the_work() {
    need_runtime!();
    let env = TestEnv::new();
    pictures(&env, 300);
    // The same order in both, so that they would meet at every object.
    let few = [
        "--json",
        "--workers",
        "2",
        "--batch-size",
        "3",
        "--seed",
        "1",
    ];
    let children = [0, 1].map(|_| start(env.extract_command("nhwc", &few)));
    let outcomes = children.map(|child| wait("one of two".into(), child));
    let counts = outcomes.each_ref().map(|outcome| outcome.exits(0).counts());
    assert_eq!(
        counts[0][0] + counts[1][0],
        300,
        "{}\n{}",
        outcomes[0],
        outcomes[1]
    );
    for [done, skipped, failed, left] in counts {
        assert_eq!([done + skipped, failed, left], [300, 0, 0]);
    }
    let found = env.tree("features/nhwc");
    assert_eq!(files_ending(&found, ".npy").len(), 300);
    let others: Vec<_> = found
        .keys()
        .filter(|name| !name.ends_with('/') && !name.ends_with(".npy"))
        .collect();
    assert_eq!(others, ["recipe.json", "sources.jsonl"]);
    assert!(!found.contains_key(".tmp/"));
}

#[test]
fn what_is_packed_during_a_run_is_neither_lost_nor_made_twice() {
    need_runtime!();
    let env = TestEnv::new();
    let count = long_run(&env);
    let mut runs: Vec<Child> = (0..2)
        .map(|_| start(env.extract_command("nhwc", &["--json", "--workers", "1"])))
        .collect();
    let mut concats = 0;
    while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
        if env.path("features/nhwc").exists() {
            // By its name: until the first feature is there, it is not known for a model's directory.
            env.concat(&["--rows", "7", "--model", "nhwc"]).exits(0);
            concats += 1;
        }
    }
    let outcomes = runs.into_iter().map(|run| wait("extract".into(), run));
    let counts: Vec<_> = outcomes.map(|outcome| outcome.exits(0).counts()).collect();
    assert_eq!(
        counts.iter().map(|[done, ..]| *done).sum::<u64>(),
        count as u64,
        "each object once: {counts:?}"
    );
    let outcome = env.concat(&["--json"]);
    assert_eq!(outcome.exits(0).json()["already_packed"], 0, "{outcome}");
    assert!(concats > 1, "the run was over too soon to show anything");
    let ids = files_ending(&env.tree("features/nhwc"), ".object_ids.npy");
    let ids: Vec<String> = ids
        .values()
        .flat_map(|file| simsearch::storage::npy::object_ids(file).unwrap())
        .collect();
    assert_eq!(ids.len(), count);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), count);
    let unpacked = |name: &String| name.contains('/');
    assert!(!features(&env, "nhwc").keys().any(unpacked));
}

#[test]
fn the_runtime_is_found_in_the_projects_folder() {
    let project = Path::new(ROOT).join("runtime/libonnxruntime.so");
    if !project.exists() || !Path::new(PROGRAM).starts_with(ROOT) {
        skip!("`make setup` has not filled the project's folder, or the program is not below it");
    }
    let env = TestEnv::new();
    pictures(&env, 1);
    let mut command = env.command(["extract", "--media-dir", "media", "--feature-dir", "f"]);
    command.args(["--provider", "cpu", "--model"]);
    command
        .arg(model_file("nhwc"))
        .env_remove("LD_LIBRARY_PATH");
    finish(command).exits(0);
    assert_eq!(
        files_ending(&tree(&env.path("f/nhwc")), ".jpg.npy").len(),
        1
    );
}
