//! The whole way on real pictures and models, against what Pillow and onnxruntime make of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use simsearch::storage::npy;

use crate::{
    TestEnv, assert_same_tree, files_ending, need_python, need_runtime, need_shared, read_feature,
    succeed,
};

/// Relative error that a feature may have. Where libjpeg-turbo decodes, there is none at all on the machine that made
/// the golden files; other processors round differently in the model.
const TOLERANCE: f64 = 1e-3;

const MODELS: [&str; 3] = [
    "mobilenet_v2_fv",
    "mobilenet_v3_large_minimalistic_fv",
    "mobilenet_v3_large_random",
];

/// Makes the shared pictures the media directory's own, and lists those of `entries`.
pub(crate) fn media(env: &TestEnv, shared: &Path, entries: &[&str]) {
    let shared = fs::canonicalize(shared).unwrap();
    symlink(shared.join("media/object"), env.path("media/object")).unwrap();
    env.objects(entries);
}

#[test]
fn the_list_of_the_shared_pictures_is_the_golden_one() {
    let shared = need_shared!();
    let env = TestEnv::new();
    let media = shared.join("media");
    let outcome = env.run([
        "list",
        "--output",
        "-",
        "--media-dir",
        media.to_str().unwrap(),
    ]);
    let expected = fs::read_to_string(shared.join("golden/objects.txt")).unwrap();
    assert_eq!(expected.lines().count(), 190);
    assert_eq!(outcome.exits(0).stdout, expected);
}

/// Extracts all shared pictures with a model and compares the features with the golden ones.
fn features_are_golden(model: &str) {
    need_runtime!();
    let shared = need_shared!();
    if !cfg!(feature = "turbojpeg") {
        crate::skip!("built without libjpeg-turbo: JPEG pictures are not exactly those of Pillow");
    }
    let env = TestEnv::new();
    let list = fs::read_to_string(shared.join("golden/objects.txt")).unwrap();
    media(&env, &shared, &list.lines().collect::<Vec<_>>());
    let file = shared.join("models").join(format!("{model}.onnx"));
    env.extract(file.to_str().unwrap(), &[]).exits(0);

    let golden = |name: &str| fs::read(shared.join("golden").join(name)).unwrap();
    let ids = npy::object_ids(&golden("object_ids.npy")).unwrap();
    let expected = golden(&format!("{model}.features.npy"));
    let (rows, length, offset) = npy::features_shape(&expected, expected.len() as u64).unwrap();
    assert_eq!((rows, length), (ids.len(), 1280));
    let expected: Vec<f32> = npy::floats(&expected[offset..]).collect();
    let (mut worst, mut exact) = (0.0f64, 0);
    for (id, expected) in ids.iter().zip(expected.chunks(length)) {
        let path = format!("features/{model}/{}/{}/{id}.npy", &id[..2], &id[2..4]);
        let found = read_feature(&env.path(path));
        assert_eq!(found.len(), length, "{id}");
        let norm = |values: &mut dyn Iterator<Item = f64>| {
            values.map(|value| value * value).sum::<f64>().sqrt()
        };
        let pairs = found.iter().zip(expected);
        let difference = norm(&mut pairs.map(|(one, other)| f64::from(*one) - f64::from(*other)));
        let error = difference / norm(&mut expected.iter().map(|value| f64::from(*value)));
        assert!(error <= TOLERANCE, "{id}: relative error {error}");
        worst = worst.max(error);
        exact += usize::from(found == expected);
    }
    eprintln!("{model}: {exact} of {rows} to the last bit, largest relative error {worst:.1e}");
}

#[test]
fn features_of_mobilenet_v2_are_golden() {
    features_are_golden(MODELS[0]);
}

#[test]
fn features_of_mobilenet_v3_minimalistic_are_golden() {
    features_are_golden(MODELS[1]);
}

#[test]
fn features_of_mobilenet_v3_with_random_weights_are_golden() {
    features_are_golden(MODELS[2]);
}

#[test]
fn feature_files_are_those_of_the_reference_to_the_last_byte() {
    need_runtime!();
    let shared = need_shared!();
    if !cfg!(feature = "turbojpeg") {
        crate::skip!("built without libjpeg-turbo: JPEG pictures are not exactly those of Pillow");
    }
    need_python!("numpy", "PIL.Image", "onnxruntime");
    let env = TestEnv::new();
    let list = fs::read_to_string(shared.join("golden/objects.txt")).unwrap();
    media(&env, &shared, &list.lines().step_by(17).collect::<Vec<_>>());
    for model in MODELS {
        let file = shared.join("models").join(format!("{model}.onnx"));
        let mut python = need_python!("numpy");
        python
            .arg(shared.join("reference/extract_reference.py"))
            .args([env.path("media"), env.path("expected"), file.clone()])
            .args(["--threads", "1"]);
        succeed(&mut python);
        let expected = files_ending(&env.tree(&format!("expected/{model}")), ".npy");
        assert_eq!(expected.len(), 12);
        for batch in [
            &[][..],
            &["--batch-size", "5", "--workers", "3"],
            &["--batch-size", "64", "--workers", "1"],
        ] {
            env.extract(file.to_str().unwrap(), &[&["--exact"], batch].concat())
                .exits(0);
            let found = files_ending(&env.tree(&format!("features/{model}")), ".npy");
            assert_same_tree(&found, &expected);
            fs::remove_dir_all(env.path("features")).unwrap();
        }
    }
}
