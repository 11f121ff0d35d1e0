//! Which output of a model is used, and what is done with it: `--pool` and `--normalize`.

use std::fs;

use crate::{Outcome, TestEnv, finish, need_python, need_runtime, python, read_feature, succeed};

/// Makes `models/NAME.onnx` of pictures of 4 x 4 pixels: `last_hidden_state`, whose tokens are the channels, and where
/// it is asked for `pooler_output`, the largest value of each. `view_1` and `amax` are the same under names that tell
/// nothing, as PyTorch's exporter gives them.
fn model(env: &TestEnv, name: &str, outputs: &str) {
    let script = "
import sys, onnx
from onnx import helper, TensorProto
value = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', *shape])
shapes = {'last_hidden_state': (3, 16), 'pooler_output': (3,), 'flat': (48,), 'view_1': (3, 16), 'amax': (3,)}
graph = helper.make_graph(
    [helper.make_node('Reshape', ['pixels', 'tokens'], ['last_hidden_state']),
     helper.make_node('ReduceMax', ['pixels'], ['pooler_output'], axes=[2, 3], keepdims=0),
     helper.make_node('Flatten', ['pixels'], ['flat']),
     helper.make_node('Identity', ['last_hidden_state'], ['view_1']),
     helper.make_node('Identity', ['pooler_output'], ['amax'])],
    'tokens', [value('pixels', 3, 4, 4)], [value(name, *shapes[name]) for name in sys.argv[2:]],
    [helper.make_tensor('tokens', TensorProto.INT64, [3], [0, 3, 16])])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), sys.argv[1])
";
    let path = env.path(format!("models/{name}.onnx"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut python = python(&["onnx"]).unwrap();
    succeed(
        python
            .args(["-c", script])
            .arg(path)
            .args(outputs.split(' ')),
    );
}

fn run(env: &TestEnv, command: &[&str], model: &str, features: &str) -> Outcome {
    let mut command = env.command(command);
    command.args(["--media-dir", "media", "--feature-dir", features]);
    command
        .arg("--model")
        .arg(env.path(format!("models/{model}.onnx")));
    if let Some(runtime) = crate::runtime() {
        command.arg("--runtime").arg(runtime);
    }
    finish(command)
}

fn extract(env: &TestEnv, model: &str, features: &str, more: &[&str]) -> Outcome {
    let command = [&["extract", "--provider", "cpu"], more].concat();
    run(env, &command, model, features)
}

#[test]
fn tokens_are_pooled_and_features_normalized_as_asked_and_as_recorded() {
    let runtime = need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    env.picture("a/one.ppm", 1);
    env.picture("a/two.ppm", 2);
    env.objects(&["a/one.ppm", "a/two.ppm"]);
    model(&env, "both", "last_hidden_state pooler_output");
    model(&env, "tokens", "last_hidden_state");
    model(&env, "flat", "flat");
    model(&env, "unnamed", "view_1 amax");
    model(&env, "ambiguous", "amax view_1 flat");
    let feature = |features: &str| read_feature(&env.path(format!("{features}/on/e./one.ppm.npy")));
    extract(&env, "flat", "flat", &[]).exits(0);
    let pixels = feature("flat/flat");
    let channels: Vec<&[f32]> = pixels.chunks(16).collect();
    assert_eq!(channels.len(), 3);

    // Without a word it is the output that has one vector for each picture.
    extract(&env, "both", "plain", &[]).exits(0);
    let largest = |channel: &&[f32]| channel.iter().copied().fold(0.0, f32::max);
    let largest: Vec<f32> = channels.iter().map(largest).collect();
    assert_eq!(feature("plain/both"), largest);
    // And with --pool the one that has tokens.
    extract(&env, "both", "cls", &["--pool", "cls"]).exits(0);
    assert_eq!(feature("cls/both"), channels[0]);
    // Where no name tells, the shape does.
    extract(&env, "unnamed", "plain", &[]).exits(0);
    assert_eq!(feature("plain/unnamed"), largest);
    extract(&env, "unnamed", "cls", &["--pool", "cls"]).exits(0);
    assert_eq!(feature("cls/unnamed"), channels[0]);
    extract(&env, "ambiguous", "plain", &[])
        .exits(1)
        .says(&["`amax`", "`flat`", "--output-name"]);
    let absent = ["--output-name", "nope"];
    extract(&env, "ambiguous", "plain", &absent)
        .exits(1)
        .says(&["no output `nope`", "gives `amax`"]);
    extract(&env, "tokens", "mean", &["--pool", "mean", "--normalize"]).exits(0);
    let mean = |at: usize| {
        channels
            .iter()
            .map(|channel| f64::from(channel[at]))
            .sum::<f64>()
            / 3.0
    };
    let means: Vec<f64> = (0..16).map(mean).collect();
    let length = means.iter().map(|mean| mean * mean).sum::<f64>().sqrt();
    for (found, mean) in feature("mean/tokens").into_iter().zip(means) {
        assert!((f64::from(found) - mean / length).abs() < 1e-7, "{found}");
    }

    // A query that is a picture becomes a feature in the same way.
    let found = run(
        &env,
        &["search", "media/a/one.ppm", "-k", "1"],
        "tokens",
        "mean",
    );
    assert_eq!(found.stdout, "one.ppm 0\n", "{found}");
    // In another way nothing goes on.
    for (more, says) in [
        (&["--pool", "cls", "--normalize"][..], "--pool mean"),
        (&["--pool", "mean"], "--normalize true"),
    ] {
        extract(&env, "tokens", "mean", more)
            .exits(1)
            .says(&["another --feature-dir", says]);
    }
    // What has tokens is refused where nothing says what to do with them.
    extract(&env, "tokens", "refused", &[]).exits(1).says(&[
        "last_hidden_state",
        "[1, 3, 16]",
        "--pool",
    ]);
    // And so is the other way round: a recipe that names what was not done would keep the same features apart.
    extract(&env, "flat", "refused", &["--pool", "mean"])
        .exits(1)
        .says(&["`flat`", "[1, 48]", "leave out --pool"]);
    assert!(!env.path("refused").exists());

    // `doctor` finds that a model works with the options that it needs.
    let doctor = |more: &[&str]| {
        let mut command = env.command(["doctor"]);
        command
            .arg("--model")
            .arg(env.path("models/tokens.onnx"))
            .arg("--runtime")
            .arg(&runtime)
            .args(more);
        finish(command)
    };
    let without = doctor(&[]);
    assert!(without.exits(1).stdout.contains("with --pool"), "{without}");
    let with = doctor(&["--pool", "cls"]);
    let output = "output       `last_hidden_state` [n, tokens, 16]";
    assert!(with.exits(0).stdout.contains(output), "{with}");
    assert_eq!(
        doctor(&["--pool", "cls", "--json"]).json()["model"]["pool"],
        "cls"
    );
}
