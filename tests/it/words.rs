//! Pictures found by words: `search --text` and the server, with a small model whose words are colours.

use std::fs;
use std::path::Path;

use crate::serve::client::Server;
use crate::{Outcome, TestEnv, finish, need_python, need_runtime, python, succeed};

/// Makes `models/NAME` as exporters lay out CLIP (`clip`) and SigLIP (`siglip`, without a mask: all texts are filled up
/// to six tokens). The feature of a picture is the mean of each channel; that of a text the sum of the features of its
/// words.
fn model(env: &TestEnv, name: &str) {
    let script = "
import json, pathlib, sys
import onnx
from onnx import helper, TensorProto
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
folder, has_mask = pathlib.Path(sys.argv[1]), sys.argv[2] == 'clip'
(folder / 'onnx').mkdir(parents=True)
value = helper.make_tensor_value_info
save = lambda graph, name: onnx.save(
    helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), folder / 'onnx' / name)
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
save(helper.make_graph(
    [helper.make_node('ReduceMean', ['pixel_values'], ['image_embeds'], axes=[2, 3], keepdims=0),
     helper.make_node('Flatten', ['pixel_values'], ['last_hidden_state'])], 'pictures',
    [value('pixel_values', FLOAT, ['n', 3, 4, 4])],
    [value('last_hidden_state', FLOAT, ['n', 48]), value('image_embeds', FLOAT, ['n', 3])]), 'vision_model.onnx')
words = {'[PAD]': (0, 0, 2), '[UNK]': (0, 0, 0), 'red': (1, 0, 0), 'green': (0, 1, 0), 'blue': (0, 0, 1),
         'a': (0.125, 0.125, 0.125)}
table = helper.make_tensor('table', FLOAT, [len(words), 3], [x for word in words.values() for x in word])
axes = lambda name, at: helper.make_tensor(name, INT, [1], [at])
nodes = [helper.make_node('Gather', ['table', 'input_ids'], ['tokens'])]
inputs = [value('input_ids', INT, ['n', 't'])]
if has_mask:
    nodes += [helper.make_node('Cast', ['attention_mask'], ['mask'], to=FLOAT),
              helper.make_node('Unsqueeze', ['mask', 'last'], ['column']),
              helper.make_node('Mul', ['tokens', 'column'], ['counted'])]
    inputs.append(value('attention_mask', INT, ['n', 't']))
nodes.append(helper.make_node('ReduceSum', ['counted' if has_mask else 'tokens', 'second'], ['text_embeds'], keepdims=0))
save(helper.make_graph(nodes, 'words', inputs, [value('text_embeds', FLOAT, ['n', 3])],
                       [table, axes('last', 2), axes('second', 1)]), 'text_model.onnx')
tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token='[UNK]'))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.save(str(folder / 'tokenizer.json'))
(folder / 'tokenizer_config.json').write_text(json.dumps({'model_max_length': 6, 'pad_token': '[PAD]'}))
size = {'height': 4, 'width': 4}
(folder / 'preprocessor_config.json').write_text(json.dumps({
    'image_processor_type': 'SiglipImageProcessor', 'size': size, 'resample': 3, 'do_normalize': False}))
";
    let mut python = python(&["onnx", "tokenizers"]).unwrap();
    let folder = env.path("models").join(name);
    fs::create_dir_all(env.path("models")).unwrap();
    succeed(python.args(["-c", script]).arg(folder).arg(name));
}

const COLOURS: [(&str, [u8; 3]); 3] = [
    ("red.ppm", [200, 10, 20]),
    ("green.ppm", [10, 220, 10]),
    ("blue.ppm", [30, 10, 180]),
];

/// A picture of each colour, with features of the model.
pub fn environment(name: &str) -> TestEnv {
    let env = TestEnv::new();
    for (entry, colour) in COLOURS {
        let pixels = colour.repeat(16);
        env.write(
            Path::new("media").join(entry),
            [b"P6\n4 4\n255\n", &pixels[..]].concat(),
        );
    }
    env.objects(&COLOURS.map(|(entry, _)| entry));
    model(&env, name);
    let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
    command.args(["--feature-dir", "features"]);
    run(&env, command, name).exits(0);
    env
}

fn run(env: &TestEnv, mut command: std::process::Command, name: &str) -> Outcome {
    command.arg("--model").arg(env.path("models").join(name));
    if let Some(runtime) = crate::runtime() {
        command.arg("--runtime").arg(runtime);
    }
    finish(command)
}

fn search(env: &TestEnv, name: &str, arguments: &[&str]) -> Outcome {
    let fixed = ["search", "--feature-dir", "features"];
    run(env, env.command([&fixed, arguments].concat()), name)
}

/// How far each picture is from a vector, by the cosine.
fn expected(of: [f64; 3]) -> Vec<(String, f64)> {
    let length = |of: [f64; 3]| of.iter().map(|one| one * one).sum::<f64>().sqrt();
    let mut expected = COLOURS.map(|(entry, colour)| {
        let colour = colour.map(|level| f64::from(level) / 255.0);
        let product: f64 = of.iter().zip(colour).map(|(one, other)| one * other).sum();
        (
            entry.to_owned(),
            1.0 - product / (length(of) * length(colour)),
        )
    });
    expected.sort_by(|one, other| one.1.total_cmp(&other.1));
    expected.into()
}

#[track_caller]
fn assert_found(found: &serde_json::Value, of: [f64; 3], [id, distance]: [&str; 2]) {
    let expected = expected(of);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found[id], expected.0);
        let found = found[distance].as_f64().unwrap();
        assert!((found - expected.1).abs() < 1e-6, "{found} {expected:?}");
    }
}

#[test]
fn words_find_the_pictures_that_they_are_nearest_to() {
    need_runtime!();
    need_python!("onnx", "tokenizers");
    let env = environment("clip");
    for (words, of) in [
        ("red", [1.0, 0.0, 0.0]),
        ("  A Blue\n", [0.125, 0.125, 1.125]),
        ("green red green", [1.0, 2.0, 0.0]),
    ] {
        let found = search(&env, "clip", &["--text", words, "--json"]);
        let found = found.exits(0).json();
        assert_found(&found["neighbours"], of, ["object_id", "distance"]);
        assert_eq!(found["query"], words);
        assert!(found["object_id"].is_null());
    }
    // By the lengths of features as well, where that is asked for.
    let found = search(
        &env,
        "clip",
        &["--text", "red", "-k", "1", "--metric", "euclidean"],
    );
    let colour = COLOURS[0].1.map(|level| f64::from(level) / 255.0);
    let apart = (colour[0] - 1.0).hypot(colour[1].hypot(colour[2]));
    let distance = found.stdout.trim().strip_prefix("red.ppm ").unwrap();
    assert!(
        (distance.parse::<f64>().unwrap() - apart).abs() < 1e-6,
        "{found}"
    );
    // One fails, the others do not.
    search(
        &env,
        "clip",
        &["--text", "red", " ", "a a a a a a a", "blue", "-k", "1"],
    )
    .exits(3)
    .says(&["\" \": there are no words", "7 tokens", "takes 6"]);
    // A page says that there is no picture of them.
    let page = [
        "--text",
        "red",
        "--html",
        "page.html",
        "--media-dir",
        "media",
    ];
    search(&env, "clip", &page).exits(0);
    let page = fs::read_to_string(env.path("page.html")).unwrap();
    assert!(page.contains("no picture: these are words"), "{page}");
    // Without --text these are no words.
    search(&env, "clip", &["red"])
        .exits(1)
        .says(&["neither an object"]);
}

#[test]
fn texts_are_filled_up_where_the_graph_is_not_told_which_tokens_count() {
    need_runtime!();
    need_python!("onnx", "tokenizers");
    let env = environment("siglip");
    let found = search(&env, "siglip", &["--text", "red", "--json"]);
    let found = found.exits(0).json();
    // Five tokens of what fills up.
    assert_found(
        &found["neighbours"],
        [1.0, 0.0, 10.0],
        ["object_id", "distance"],
    );
}

#[test]
fn the_server_answers_words_and_says_whether_it_can() {
    need_runtime!();
    need_python!("onnx", "tokenizers");
    let env = environment("clip");
    let folder = env.path("models/clip");
    let server = Server::start(&env, &["--model", folder.to_str().unwrap()]);
    assert_eq!(server.get("/healthz").json()["words"], true);
    let answer = server.get("/similar?text=a+blue&limit=3").json();
    let columns = ["objectId", "distance"];
    assert_found(&answer["similarImages"], [0.125, 0.125, 1.125], columns);
    assert!(answer["queryObjectId"].is_null());
    for (wrong, says) in [
        ("text=+", "no words"),
        ("text=a+a+a+a+a+a+a", "7 tokens"),
        ("text=red&limit=0", "limit"),
        ("", "text"),
        ("text=red&colour=blue", "colour"),
    ] {
        let reply = server.get(&format!("/similar?{wrong}"));
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.error().contains(says), "{wrong}: {}", reply.error());
    }
}

#[test]
fn models_without_words_say_so() {
    need_runtime!();
    need_python!("onnx", "tokenizers");
    let env = environment("clip");
    let (folder, elsewhere) = (env.path("models/clip"), env.path("elsewhere"));
    // The text half is not there.
    fs::rename(folder.join("onnx/text_model.onnx"), &elsewhere).unwrap();
    search(&env, "clip", &["--text", "red"]).exits(1).says(&[
        "onnx/vision_model.onnx: there is no text_model.onnx beside it",
        "input_ids",
    ]);
    fs::rename(&elsewhere, folder.join("onnx/text_model.onnx")).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    search(&env, "clip", &["--text", "red"])
        .exits(1)
        .says(&["tokenizer.json is no tokenizer"]);
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    // It is missing where exporters put it.
    let tokenizer = format!("there is no {}/tokenizer.json", folder.display());
    search(&env, "clip", &["--text", "red"])
        .exits(1)
        .says(&["knows no words", &tokenizer]);
    let server = Server::start(&env, &["--model", folder.to_str().unwrap()]);
    assert_eq!(server.get("/healthz").json()["words"], false);
    let reply = server.get("/similar?text=red");
    assert_eq!(reply.status, 501);
    assert!(reply.error().contains("words"), "{}", reply.error());
}
