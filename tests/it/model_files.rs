//! Models as people have them on their disks: with weights in files of their own, in folders, behind links, and files
//! that are no models.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::hostile_pictures::finish_measured;
use crate::{
    Outcome, TestEnv, files_ending, finish, model_file, need_python, need_runtime, python, succeed,
};

/// Two pictures with their list.
fn env() -> TestEnv {
    let env = TestEnv::new();
    env.picture("a/first.ppm", 1);
    env.picture("a/second.ppm", 2);
    env.objects(&["a/first.ppm", "a/second.ppm"]);
    env
}

/// Extracts below `features` with the model at `model`, started in `folder`.
fn extract(env: &TestEnv, model: &Path, features: &str, folder: &Path) -> Outcome {
    let mut command = env.command(["extract", "--provider", "cpu"]);
    command.arg("--media-dir").arg(env.path("media"));
    command.arg("--feature-dir").arg(env.path(features));
    command.arg("--model").arg(model).current_dir(folder);
    if let Some(runtime) = crate::runtime() {
        command.arg("--runtime").arg(runtime);
    }
    finish(command)
}

/// Makes `folder/model.onnx` of the test model `nhwc`, with its weights in `folder/weights.data`, all of them times
/// `factor`.
fn split(env: &TestEnv, folder: &str, factor: f32) {
    fs::create_dir_all(env.path(folder)).unwrap();
    let script = "
import sys, onnx
from onnx import numpy_helper
model = onnx.load(sys.argv[1])
for weight in model.graph.initializer:
    if weight.data_type == onnx.TensorProto.FLOAT:
        values = (numpy_helper.to_array(weight) * float(sys.argv[3])).astype('f4')
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
onnx.save_model(model, sys.argv[2], save_as_external_data=True, location='weights.data', size_threshold=0)
";
    let mut python = python(&["onnx"]).unwrap();
    let (from, to) = (model_file("nhwc"), env.path(folder).join("model.onnx"));
    succeed(
        python
            .arg("-c")
            .arg(script)
            .arg(from)
            .arg(to)
            .arg(factor.to_string()),
    );
    assert!(
        env.path(folder)
            .join("weights.data")
            .metadata()
            .unwrap()
            .len()
            > 0
    );
}

fn features(env: &TestEnv, of: &str) -> Vec<Vec<u8>> {
    ["first.ppm", "second.ppm"]
        .map(|id| fs::read(env.path(format!("{of}/{}/{}/{id}.npy", &id[..2], &id[2..4]))).unwrap())
        .into()
}

#[test]
fn weights_beside_the_model_are_found_from_everywhere_and_never_elsewhere() {
    need_runtime!();
    need_python!("onnx");
    let env = env();
    extract(&env, &model_file("nhwc"), "whole", &env.path("")).exits(0);
    let whole = features(&env, "whole/nhwc");
    split(&env, "hub/blobs", 1.0);
    split(&env, "other", 2.0);

    // From the model's folder, from another one that has a file of that name, and with relative paths.
    let (here, other) = (env.path("hub/blobs"), env.path("other"));
    extract(&env, Path::new("model.onnx"), "one", &here).exits(0);
    extract(&env, &here.join("model.onnx"), "two", &other).exits(0);
    // Behind links: of the model alone, and of both under other names of the content, as in a cache of Hugging Face's.
    fs::create_dir_all(env.path("links")).unwrap();
    symlink(here.join("model.onnx"), env.path("links/model.onnx")).unwrap();
    extract(&env, &env.path("links/model.onnx"), "three", &other).exits(0);
    fs::create_dir_all(env.path("hub/snapshot/onnx")).unwrap();
    for (name, blob) in [("model.onnx", "0123"), ("weights.data", "4567")] {
        fs::rename(here.join(name), here.join(blob)).unwrap();
        symlink(
            Path::new("../../blobs").join(blob),
            env.path("hub/snapshot/onnx").join(name),
        )
        .unwrap();
    }
    extract(&env, &env.path("hub/snapshot"), "four", &other).exits(0);
    for made in ["one/model", "two/model", "three/model", "four/snapshot"] {
        assert!(features(&env, made) == whole, "{made}");
    }

    // Without its own, those of the current directory are not taken.
    fs::remove_file(here.join("4567")).unwrap();
    extract(&env, &env.path("hub/snapshot"), "five", &other)
        .exits(1)
        .says(&["weights.data is not there", "beside the model"]);
}

#[test]
fn other_weights_are_another_model() {
    need_runtime!();
    need_python!("onnx");
    let env = env();
    split(&env, "hub", 1.0);
    let model = env.path("hub/model.onnx");
    extract(&env, &model, "features", &env.path("")).exits(0);
    let graph = fs::read(&model).unwrap();
    // `onnx` would write the new weights behind the old ones.
    fs::remove_file(env.path("hub/weights.data")).unwrap();
    split(&env, "hub", 2.0);
    fs::write(&model, graph).unwrap();
    fs::remove_file(env.path("features/model/fi/rs/first.ppm.npy")).unwrap();
    extract(&env, &model, "features", &env.path(""))
        .exits(1)
        .says(&["another --feature-dir", "SHA-256"]);
}

#[test]
fn weights_that_are_cut_off_or_lead_out_of_the_folder_are_errors() {
    need_python!("onnx");
    let env = env();
    split(&env, "hub", 1.0);
    let model = env.path("hub/model.onnx");
    let weights = env.path("hub/weights.data");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    extract(&env, &model, "features", &env.path(""))
        .exits(1)
        .says(&["weights.data", "cut off"]);
    // A name of the same length that leads elsewhere.
    let graph = fs::read(&model).unwrap();
    let at = graph
        .windows(12)
        .position(|name| name == b"weights.data")
        .unwrap();
    let mut elsewhere = graph.clone();
    for at in (at..graph.len() - 11).filter(|at| graph[*at..].starts_with(b"weights.data")) {
        elsewhere[at..at + 12].copy_from_slice(b"../s/us.data");
    }
    fs::write(&model, elsewhere).unwrap();
    extract(&env, &model, "features", &env.path(""))
        .exits(1)
        .says(&["../s/us.data", "no file beside it"]);
}

#[test]
fn files_that_are_no_models_are_named() {
    let env = env();
    let onnx = fs::read(model_file("nhwc")).unwrap();
    let safetensors = [&12_u64.to_le_bytes()[..], b"{\"a\":{}}    ", &[0; 8]].concat();
    for (name, content, says) in [
        ("empty", &b""[..], "it is empty"),
        (
            "pointer",
            b"version https://git-lfs.example/spec/v1\noid sha256:ab\nsize 9\n",
            "git lfs pull",
        ),
        (
            "page",
            b"\n<!DOCTYPE html><html>not found</html>",
            "web page",
        ),
        ("weights", &safetensors, "safetensors"),
        ("lite", b"\x1c\0\0\0TFL3\0\0\0\0", "TensorFlow Lite"),
        ("zip", b"PK\x03\x04\0\0\0\0", "ZIP"),
        ("cut", &onnx[..onnx.len() / 2], "cut off"),
        ("noise", b"no model at all", "no whole ONNX model"),
    ] {
        env.write(format!("models/{name}.onnx"), content);
        let path = env.path(format!("models/{name}.onnx"));
        extract(&env, &path, "features", &env.path(""))
            .exits(1)
            .says(&[says, &path.display().to_string()]);
        assert!(!env.path("features").join(name).exists(), "{name}");
    }
    extract(&env, &env.path("media"), "features", &env.path(""))
        .exits(1)
        .says(&["no model in the folder", "onnx/model.onnx"]);
}

/// Runs a Python script that makes `models/<name>.onnx`, whose path it gets.
fn make_model(env: &TestEnv, name: &str, script: &str) {
    fs::create_dir_all(env.path("models")).unwrap();
    let head = "
import sys, onnx
from onnx import helper, TensorProto
FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
value = helper.make_tensor_value_info
def save(nodes, inputs, outputs):
    graph = helper.make_graph([helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
                              'graph', inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), sys.argv[1])
pixels = ['n', 3, 4, 4]
";
    let mut python = python(&["onnx"]).unwrap();
    let path = env.path(format!("models/{name}.onnx"));
    succeed(python.arg("-c").arg(format!("{head}{script}")).arg(path));
}

#[test]
fn what_the_output_does_not_need_is_cut_off_and_half_precision_stays_inside() {
    need_runtime!();
    need_python!("onnx");
    let env = env();
    let plain = "save([('Flatten', ['x'], ['feature_vector'])], [value('x', FLOAT, pixels)],
        [value('feature_vector', FLOAT, ['n', 'd'])])";
    make_model(&env, "plain", plain);
    let two_towers =
        "save([('Flatten', ['x'], ['feature_vector']), ('Cast', ['words'], ['w'], {'to': FLOAT}),
        ('MatMul', ['w', 'feature_vector'], ['similar'])],
        [value('words', INT64, ['m', 48]), value('x', FLOAT, pixels)],
        [value('similar', FLOAT, ['m', 'd']), value('feature_vector', FLOAT, ['n', 'd'])])";
    make_model(&env, "two_towers", two_towers);
    let half = "save([('Flatten', ['x'], ['feature_vector'])], [value('x', FLOAT16, pixels)],
        [value('feature_vector', FLOAT16, ['n', 'd'])])";
    make_model(&env, "half", half);
    for name in ["plain", "two_towers", "half"] {
        let model = env.path(format!("models/{name}.onnx"));
        let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
        command.args([
            "--feature-dir",
            "features",
            "--output-name",
            "feature_vector",
        ]);
        command.arg("--model").arg(model);
        if let Some(runtime) = crate::runtime() {
            command.arg("--runtime").arg(runtime);
        }
        finish(command).exits(0);
    }
    let plain = features(&env, "features/plain");
    assert!(features(&env, "features/two_towers") == plain);
    let [floats, halves] = ["plain", "half"].map(|model| {
        let path = format!("features/{model}/fi/rs/first.ppm.npy");
        crate::read_feature(&env.path(path))
    });
    for (float, half) in floats.iter().zip(&halves) {
        assert!(
            (float - half).abs() <= float.abs() / 2048.0,
            "{float} became {half}"
        );
    }
    assert_ne!(floats, halves, "f16 has fewer bits");
}

#[test]
fn a_model_that_mixes_the_pictures_of_a_batch_gets_one_at_a_time() {
    need_runtime!();
    need_python!("onnx");
    let env = env();
    // As dynamic quantisation does, this takes its scale from all that is in the batch.
    let mixing =
        "save([('ReduceMax', ['x'], ['most'], {'keepdims': 1}), ('Div', ['x', 'most'], ['scaled']),
        ('Flatten', ['scaled'], ['feature_vector'])], [value('x', FLOAT, pixels)],
        [value('feature_vector', FLOAT, ['n', 'd'])])";
    make_model(&env, "mixing", mixing);
    let model = env.path("models/mixing.onnx");
    let run = |features: &str, batch: &str| {
        let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
        command.args([
            "--feature-dir",
            features,
            "--workers",
            "1",
            "--batch-size",
            batch,
        ]);
        command.arg("--model").arg(&model);
        if let Some(runtime) = crate::runtime() {
            command.arg("--runtime").arg(runtime);
        }
        finish(command)
    };
    run("alone", "1").exits(0);
    run("together", "2")
        .exits(0)
        .says(&["one picture a call instead of 2", "--batch-size 1"]);
    assert!(features(&env, "alone/mixing") == features(&env, "together/mixing"));
}

#[test]
fn weights_are_in_memory_once_for_all_workers() {
    need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    let names: Vec<String> = (0..64).map(|number| format!("{number}.ppm")).collect();
    for (name, seed) in names.iter().zip(1..) {
        env.picture(name, seed);
    }
    env.objects(&names);
    // 64 MiB, of which the runtime makes a copy in its own order.
    let heavy = "
def weights(name, *shape):
    size = shape[0] * shape[1]
    return ('Constant', [], [name], {'value': helper.make_tensor(name, FLOAT, shape, bytes([0, 0, 0, 0x3a]) * size, raw=True)})
save([weights('wide', 48, 4096), weights('square', 4096, 4096), ('Flatten', ['x'], ['flat']),
        ('MatMul', ['flat', 'wide'], ['some']), ('MatMul', ['some', 'square'], ['feature_vector'])],
    [value('x', FLOAT, pixels)], [value('feature_vector', FLOAT, ['n', 4096])])";
    make_model(&env, "heavy", heavy);
    let peak = |features: &str, workers: &str| {
        let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
        command.args(["--feature-dir", features, "--workers", workers]);
        command.arg("--model").arg(env.path("models/heavy.onnx"));
        command.args(
            crate::runtime()
                .iter()
                .flat_map(|path| ["--runtime".as_ref(), path.as_os_str()]),
        );
        let (outcome, peak) = finish_measured(command);
        outcome.exits(0);
        peak
    };
    let (one, eight) = (peak("one", "1"), peak("eight", "8"));
    let grown = eight.saturating_sub(one) >> 20;
    assert!(grown < 64, "seven more workers take {grown} MiB");
    let features = |of: &str| files_ending(&env.tree(of), ".npy");
    assert!(features("one/heavy") == features("eight/heavy"));
    assert_eq!(features("one/heavy").len(), names.len());
}
