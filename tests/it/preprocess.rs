//! What the model sees with `--preprocess`, beside what Pillow and numpy make of the same picture and configuration,
//! and beside `transformers` where that is there.

use std::fs;
use std::path::Path;

use crate::{Outcome, TestEnv, finish, need_python, need_runtime, need_shared, python, succeed};

/// Makes `models/<name>.onnx`, whose feature is its input, of `[n, 3, height, width]`; the sides may be left open.
fn flat_model(env: &TestEnv, name: &str, sides: [&str; 2]) {
    let script = "
import sys, onnx
from onnx import helper, TensorProto
sides = [int(side) if side.isdigit() else side for side in sys.argv[2:]]
graph = helper.make_graph(
    [helper.make_node('Flatten', ['pixels'], ['feature_vector'])], 'flat',
    [helper.make_tensor_value_info('pixels', TensorProto.FLOAT, ['n', 3, *sides])],
    [helper.make_tensor_value_info('feature_vector', TensorProto.FLOAT, ['n', 'd'])])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), sys.argv[1])
";
    let path = env.path(format!("models/{name}.onnx"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut python = python(&["onnx"]).unwrap();
    succeed(python.args(["-c", script]).arg(path).args(sides));
}

fn extract(env: &TestEnv, model: &str, more: &[&str]) -> Outcome {
    let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
    command.args(["--feature-dir", "features"]);
    command.arg("--model").arg(env.path(model)).args(more);
    if let Some(runtime) = crate::runtime() {
        command.arg("--runtime").arg(runtime);
    }
    finish(command)
}

/// Some photographs of the shared ones, wide and tall, and one that is small.
fn photographs(env: &TestEnv, shared: &Path) -> Vec<String> {
    let list = fs::read_to_string(shared.join("golden/objects.txt")).unwrap();
    let mut entries: Vec<String> = Vec::new();
    for (number, entry) in list.lines().step_by(16).enumerate() {
        let name = format!("picture{number}.jpg");
        env.write(
            format!("media/{name}"),
            fs::read(shared.join("media").join(entry)).unwrap(),
        );
        entries.push(name);
    }
    env.picture("small.ppm", 3);
    entries.push("small.ppm".into());
    env.objects(&entries);
    entries
}

/// What Pillow and numpy make of a picture, by the configuration as this program reads it: written from the
/// documentation of Pillow, `transformers` and timm, not from this program.
const EXPECTED: &str = r#"
import json, sys, pathlib
import numpy as np
from PIL import Image
config = json.loads(sys.argv[1])
features, media = map(pathlib.Path, sys.argv[2:4])
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}

def by_torchvision(picture, whole):
    """Bicubic, with coefficients of 16 bits: along the rows first, then along the columns."""
    def cubic(x):
        x = np.abs(x)
        near, far = ((1.5 * x - 2.5) * x) * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))
    def along_rows(levels, length):
        before = levels.shape[1]
        scale = before / length
        wide = max(scale, 1.0)
        runs = []
        for position in range(length):
            center = scale * (position + 0.5)
            start = max(int(center - 2 * wide + 0.5), 0)
            end = min(int(center + 2 * wide + 0.5), before)
            weights = cubic((np.arange(start, end) - center + 0.5) / wide)
            runs.append((start, end, weights / sum(weights)))
        most = max(weights.max() for _, _, weights in runs)
        bits = next((bits for bits in range(22) if int(0.5 + most * 2 ** (bits + 1)) >= 2**15), 22)
        out = np.empty((levels.shape[0], length, 3), np.uint8)
        for position, (start, end, weights) in enumerate(runs):
            short = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int64)
            sums = (levels[:, start:end].astype(np.int64) * short[:, None]).sum(1)
            out[:, position] = np.clip((sums + 2 ** (bits - 1)) >> bits, 0, 255)
        return out
    levels = along_rows(np.asarray(picture), whole[0])
    return Image.fromarray(along_rows(levels.transpose(1, 0, 2), whole[1]).transpose(1, 0, 2))

size = (config["width"], config["height"])
for name in sys.argv[4:]:
    picture = Image.open(media / name).convert("RGB")
    resize = config["resize"]
    if resize == "squash":
        whole = size
    elif "exact" in resize:
        whole = tuple(resize["exact"])
    else:
        side, (width, height) = resize["shortest"], picture.size
        whole = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    is_of_torchvision = config.get("backend") == "torchvision"
    picture = by_torchvision(picture, whole) if is_of_torchvision else picture.resize(whole, FILTERS[config["filter"]])
    margins = [round((a - b) / 2) if config["rounding"] == "even" else (a - b) // 2 for a, b in zip(whole, size)]
    picture = picture.crop((*margins, margins[0] + size[0], margins[1] + size[1]))
    values = np.asarray(picture)
    if config["channels"] == "bgr":
        values = values[..., ::-1]
    mean, std = np.array(config["mean"], np.float32), np.array(config["std"], np.float32)
    if is_of_torchvision:
        levels = np.float32(1 / config["scale"]["times"])
        values, mean, std = values.astype(np.float32), mean * levels, std * levels
    elif config["scale"] == "/255":
        values = values.astype(np.float32) / np.float32(255)
    else:
        values = (values.astype(np.float64) * config["scale"]["times"]).astype(np.float32)
    values = (values - mean) / std
    expected = values.transpose(2, 0, 1).reshape(-1)
    found = np.load(features / name[:2] / name[2:4] / f"{name}.npy")
    assert found.dtype == np.float32 and found.shape == expected.shape, (name, found.shape, expected.shape)
    different = (found.view(np.uint32) != expected.view(np.uint32)).sum()
    assert different == 0, f"{name}: {different} of {found.size} values differ, by {abs(found - expected).max()} at most"
"#;

#[test]
fn the_input_is_that_of_pillow_and_numpy_to_the_last_bit() {
    need_runtime!();
    need_python!("onnx", "numpy", "PIL");
    let shared = need_shared!();
    let env = TestEnv::new();
    let entries = photographs(&env, &shared);
    let own = |changes: serde_json::Value| {
        let mut config = serde_json::json!({
            "width": 40, "height": 40, "resize": "squash", "rounding": "down", "filter": "bicubic", "scale": "/255",
            "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "channels": "rgb",
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    let imagenet = serde_json::json!([0.485, 0.456, 0.406]);
    let cases = [
        ("plain", own(serde_json::json!({}))),
        (
            "shortest",
            own(
                serde_json::json!({"resize": {"shortest": 45}, "mean": imagenet, "std": [0.229, 0.224, 0.225],
                "scale": {"times": 0.003_921_568_627_450_98}}),
            ),
        ),
        (
            "even",
            own(
                serde_json::json!({"resize": {"shortest": 51}, "rounding": "even", "filter": "bilinear",
                "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}),
            ),
        ),
        (
            "exact",
            own(
                serde_json::json!({"resize": {"exact": [61, 44]}, "filter": "lanczos", "width": 48}),
            ),
        ),
        (
            "torchvision",
            own(
                serde_json::json!({"backend": "torchvision", "mean": imagenet, "std": [0.229, 0.224, 0.225],
                "scale": {"times": 0.003_921_568_627_450_98}}),
            ),
        ),
        (
            "torchvision-shortest",
            own(
                serde_json::json!({"backend": "torchvision", "resize": {"shortest": 61}, "mean": imagenet,
                "scale": {"times": 0.003_921_568_627_450_98}}),
            ),
        ),
        (
            "nearest",
            own(
                serde_json::json!({"filter": "nearest", "channels": "bgr", "mean": imagenet, "height": 33}),
            ),
        ),
    ];
    for (name, config) in cases {
        let side = |key: &str| config[key].to_string();
        // The sides are the model's own, or those of the configuration.
        let sides = [side("height"), side("width")];
        let open = ["h".to_owned(), "w".to_owned()];
        let [height, width] = if name == "exact" { &open } else { &sides };
        flat_model(&env, name, [height, width]);
        env.write(format!("{name}.json"), config.to_string());
        let file = format!("{name}.json");
        for more in [
            &["--preprocess", &file][..],
            &["--preprocess", &file, "--exact"],
        ] {
            let features = format!("features/{name}");
            let _ = fs::remove_dir_all(env.path(&features));
            extract(&env, &format!("models/{name}.onnx"), more).exits(0);
            let mut python = python(&["numpy", "PIL"]).unwrap();
            python.args(["-c", EXPECTED, &config.to_string()]);
            succeed(
                python
                    .arg(env.path(features))
                    .arg(env.path("media"))
                    .args(&entries),
            );
        }
    }
}

#[test]
fn the_input_is_that_of_transformers() {
    need_runtime!();
    need_python!("onnx", "numpy", "PIL", "transformers");
    let shared = need_shared!();
    let env = TestEnv::new();
    let entries = photographs(&env, &shared);
    const KINDS: [&str; 16] = [
        "CLIP",
        "ViT",
        "Siglip",
        "Bit",
        "ConvNext",
        "Beit",
        "DeiT",
        "EfficientNet",
        "EfficientNet-offset",
        "EfficientNet-top",
        "Levit",
        "MobileNetV1",
        "MobileNetV2",
        "Pvt",
        "Blip",
        "ChineseCLIP",
    ];
    flat_model(&env, "flat", ["h", "w"]);
    let flat = fs::read(env.path("models/flat.onnx")).unwrap();
    for kind in KINDS {
        env.write(format!("models/{kind}/model.onnx"), &flat);
    }
    let save = r#"
import sys, transformers
changes = {"offset": {"rescale_offset": True, "include_top": False}, "top": {"do_normalize": False}}
for kind in sys.argv[2:]:
    name, _, change = kind.partition("-")
    processor = getattr(transformers, name + "ImageProcessorPil")(**changes.get(change, {}))
    processor.save_pretrained(f"{sys.argv[1]}/{kind}")
"#;
    let mut python = python(&["transformers"]).unwrap();
    succeed(
        python
            .args(["-c", save])
            .arg(env.path("models"))
            .args(KINDS),
    );
    for kind in KINDS {
        extract(&env, &format!("models/{kind}"), &[])
            .exits(0)
            .says(&["preprocessing: ", "preprocessor_config.json"]);
    }
    let compare = r#"
import sys, pathlib
import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
root, kinds = pathlib.Path(sys.argv[1]), sys.argv[2].split()
for kind in kinds:
    processor = AutoImageProcessor.from_pretrained(root / "models" / kind, backend="pil")
    for name in sys.argv[3:]:
        picture = Image.open(root / "media" / name).convert("RGB")
        expected = processor(picture, return_tensors="np")["pixel_values"][0].reshape(-1)
        found = np.load(root / "features" / kind / name[:2] / name[2:4] / f"{name}.npy")
        assert expected.dtype == found.dtype == np.float32 and found.shape == expected.shape, (kind, name)
        different = (found.view(np.uint32) != expected.view(np.uint32)).sum()
        assert different == 0, f"{kind}, {name}: {different} of {found.size} values differ"
"#;
    let mut python = crate::python(&["transformers"]).unwrap();
    python.args(["-c", compare]).arg(env.path(""));
    succeed(python.arg(KINDS.join(" ")).args(&entries));
}

#[test]
fn the_configuration_beside_the_model_is_used_recorded_and_never_mixed() {
    let runtime = need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    env.picture("first.ppm", 1);
    env.picture("second.ppm", 2);
    env.objects(&["first.ppm", "second.ppm"]);
    flat_model(&env, "flat", ["h", "w"]);
    extract(&env, "models/flat.onnx", &[])
        .exits(1)
        .says(&["where the height and width are open, --preprocess gives them"]);
    let doctor = |more: &[&str]| {
        let mut command = env.command(["doctor"]);
        command
            .arg("--model")
            .arg(env.path("models/flat.onnx"))
            .arg("--runtime")
            .arg(&runtime)
            .args(more);
        finish(command)
    };
    doctor(&[]).exits(1);
    doctor(&["--preprocess", "clip"]).exits(0);
    let timm = serde_json::json!({"pretrained_cfg": {"input_size": [3, 16, 16], "interpolation": "bicubic",
        "crop_pct": 0.9, "crop_mode": "center", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}});
    env.write("models/config.json", timm.to_string());
    let found = doctor(&[]);
    assert!(found.exits(0).stdout.contains("16 x 16"), "{found}");
    let found = doctor(&["--preprocess", "none.json"]);
    let problem = "PROBLEM      cannot preprocess as none.json says";
    assert!(found.exits(1).stdout.contains(problem), "{found}");
    extract(&env, "models/flat.onnx", &["--limit", "1"])
        .exits(0)
        .says(&["preprocessing: ", "config.json"]);
    let recipe = fs::read_to_string(env.path("features/flat/recipe.json")).unwrap();
    let recipe: serde_json::Value = serde_json::from_str(&recipe).unwrap();
    assert_eq!(recipe["preprocess"]["resize"]["shortest"], 17);
    assert_eq!(recipe["preprocess"]["mean"][0], 0.5);

    let mut other = timm;
    other["pretrained_cfg"]["mean"][2] = 0.25.into();
    env.write("models/config.json", other.to_string());
    extract(&env, "models/flat.onnx", &[])
        .exits(1)
        .says(&["another --feature-dir", "--preprocess"]);
    // The recipe itself is a configuration, and what made the features makes those of queries.
    let recipe = "features/flat/recipe.json";
    extract(&env, "models/flat.onnx", &["--preprocess", recipe]).exits(0);
    let mut search = env.command(["search", "--feature-dir", "features", "media/second.ppm"]);
    search.arg("--model").arg(env.path("models/flat.onnx"));
    if let Some(runtime) = crate::runtime() {
        search.arg("--runtime").arg(runtime);
    }
    let found = finish(search);
    found.exits(0);
    let nearest = found.stdout.lines().next().unwrap().split_whitespace();
    assert_eq!(nearest.collect::<Vec<_>>(), ["second.ppm", "0"], "{found}");
}

#[test]
fn a_preprocessing_that_does_not_fit_is_refused() {
    need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    env.picture("first.ppm", 1);
    env.objects(&["first.ppm"]);
    flat_model(&env, "flat", ["16", "16"]);
    env.write("text", "no JSON");
    env.write("unknown.json", r#"{"width": 16, "height": 16, "gamma": 2}"#);
    env.write(
        "small.json",
        r#"{"width": 16, "height": 16, "resize": {"shortest": 15}}"#,
    );
    for (preprocess, says) in [
        (
            "clip",
            "takes 16 x 16 pixels, and its preprocessing makes 224 x 224",
        ),
        ("text", "it is no JSON"),
        ("unknown.json", "gamma"),
        ("small.json", "less than the 16 x 16 pixels"),
        ("not_there.json", "cannot read it"),
    ] {
        extract(&env, "models/flat.onnx", &["--preprocess", preprocess])
            .exits(1)
            .says(&[says]);
        assert!(!env.path("features/flat").exists(), "{preprocess}");
    }
}

/// Makes `models/NAME.onnx`, whose input is uint8 and whose feature is that as floats.
fn model_of_bytes(env: &TestEnv, name: &str, shape: [&str; 4]) {
    let script = "
import sys, onnx
from onnx import helper, TensorProto
shape = [int(side) if side.isdigit() else side for side in sys.argv[2:]]
nodes = [helper.make_node('Cast', ['pixels'], ['floats'], to=TensorProto.FLOAT),
         helper.make_node('Flatten', ['floats'], ['feature_vector'])]
graph = helper.make_graph(
    nodes, 'bytes', [helper.make_tensor_value_info('pixels', TensorProto.UINT8, shape)],
    [helper.make_tensor_value_info('feature_vector', TensorProto.FLOAT, ['n', 'd'])])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), sys.argv[1])
";
    let path = env.path(format!("models/{name}.onnx"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut python = python(&["onnx"]).unwrap();
    succeed(python.args(["-c", script]).arg(path).args(shape));
}

#[test]
fn a_model_that_takes_bytes_gets_them_as_they_are() {
    need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    let pixels: Vec<u8> = (0..24).map(|at| at * 10).collect();
    env.write("media/first.ppm", [b"P6\n4 2\n255\n", &pixels[..]].concat());
    env.picture("second.ppm", 2);
    env.objects(&["first.ppm", "second.ppm"]);
    model_of_bytes(&env, "pixels", ["n", "2", "4", "3"]);
    model_of_bytes(&env, "planes", ["1", "3", "2", "4"]);
    model_of_bytes(&env, "open", ["n", "3", "h", "w"]);
    env.write(
        "bytes.json",
        r#"{"width": 4, "height": 2, "scale": {"times": 1}}"#,
    );
    env.write("floats.json", r#"{"width": 4, "height": 2}"#);
    let feature = |model: &str| {
        let file = fs::read(env.path(format!("features/{model}/fi/rs/first.ppm.npy"))).unwrap();
        let floats = file[file.len() - 24 * 4..].as_chunks().0.iter();
        floats
            .map(|four| f32::from_le_bytes(*four))
            .collect::<Vec<_>>()
    };
    let expected: Vec<f32> = pixels.iter().map(|level| f32::from(*level)).collect();
    let planes: Vec<f32> = (0..3)
        .flat_map(|channel| expected.iter().skip(channel).step_by(3).copied())
        .collect();
    extract(&env, "models/pixels.onnx", &[]).exits(0);
    extract(&env, "models/planes.onnx", &[]).exits(0);
    extract(&env, "models/open.onnx", &["--preprocess", "bytes.json"]).exits(0);
    assert_eq!(feature("pixels"), expected);
    assert_eq!(feature("planes"), planes);
    assert_eq!(feature("open"), planes);
    let recipe = fs::read_to_string(env.path("features/pixels/recipe.json")).unwrap();
    assert!(recipe.contains(", as bytes\""), "{recipe}");
    // Run again with nothing to do, and asked for a picture, it is the same recipe.
    extract(&env, "models/pixels.onnx", &[]).exits(0);
    let mut search = env.command(["search", "--feature-dir", "features", "media/first.ppm"]);
    search.arg("--model").arg(env.path("models/pixels.onnx"));
    if let Some(runtime) = crate::runtime() {
        search.arg("--runtime").arg(runtime);
    }
    let found = finish(search);
    found.exits(0);
    let nearest = found.stdout.lines().next().unwrap().split_whitespace();
    assert_eq!(nearest.collect::<Vec<_>>(), ["first.ppm", "0"], "{found}");
    assert!(!found.stderr.contains("differ"), "{found}");

    let other = ["--preprocess", "floats.json", "--feature-dir", "other"];
    let mut command = env.command(["extract", "--provider", "cpu", "--media-dir", "media"]);
    command
        .args(other)
        .arg("--model")
        .arg(env.path("models/pixels.onnx"));
    if let Some(runtime) = crate::runtime() {
        command.arg("--runtime").arg(runtime);
    }
    finish(command)
        .exits(1)
        .says(&["takes bytes (uint8)", "no mean, std or offset"]);
    assert!(!env.path("other/pixels").exists());
}

#[test]
fn a_processor_of_pictures_and_words_says_how_pictures_are_fed() {
    need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    env.picture("first.ppm", 1);
    env.objects(&["first.ppm"]);
    flat_model(&env, "clip/onnx/vision_model", ["h", "w"]);
    let pictures = serde_json::json!({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8},
        "crop_size": {"height": 8, "width": 8}, "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
    let both =
        serde_json::json!({"processor_class": "CLIPProcessor", "image_processor": &pictures});
    env.write("models/clip/processor_config.json", both.to_string());
    // transformers does not look at this one beside the other.
    let mut alone = pictures;
    alone["size"]["shortest_edge"] = 9.into();
    env.write("models/clip/preprocessor_config.json", alone.to_string());
    extract(&env, "models/clip", &[])
        .exits(0)
        .says(&["preprocessing: ", "/processor_config.json"]);
    let recipe = fs::read_to_string(env.path("features/clip/recipe.json")).unwrap();
    let recipe: serde_json::Value = serde_json::from_str(&recipe).unwrap();
    assert_eq!(recipe["preprocess"]["resize"]["shortest"], 8);
    assert_eq!(recipe["preprocess"]["mean"][0], 0.5);
    // One that cannot be read is not passed over, as if there were none.
    let whole = both.to_string();
    env.write(
        "models/clip/processor_config.json",
        &whole[..whole.len() / 2],
    );
    extract(&env, "models/clip", &[]).exits(1).says(&[
        "/processor_config.json says",
        "--preprocess names another file",
    ]);
}

#[test]
fn the_backend_of_transformers_can_be_chosen_where_the_configuration_is_of_transformers() {
    need_runtime!();
    need_python!("onnx");
    let env = TestEnv::new();
    env.picture("first.ppm", 1);
    env.objects(&["first.ppm"]);
    flat_model(&env, "flat", ["h", "w"]);
    let backend = ["--backend", "torchvision"];
    let extract = |more: &[&str]| extract(&env, "models/flat.onnx", &[&backend[..], more].concat());
    extract(&["--preprocess", "tf-hub"])
        .exits(1)
        .says(&["preprocessor_config.json", "clip, siglip or dinov2"]);
    extract(&["--preprocess", "imagenet"])
        .exits(1)
        .says(&["leave out --backend"]);
    extract(&["--preprocess", "clip", "--pillow", "12"]).exits(2);
    extract(&["--preprocess", "clip"]).exits(0);
    let recipe = fs::read_to_string(env.path("features/flat/recipe.json")).unwrap();
    let recipe: serde_json::Value = serde_json::from_str(&recipe).unwrap();
    assert_eq!(recipe["preprocess"]["backend"], "torchvision");
    let line = recipe["preprocessing"].as_str().unwrap();
    assert!(line.contains(" as torchvision, "), "{line}");
    // The other one would be mixed with it.
    crate::preprocess::extract(&env, "models/flat.onnx", &["--preprocess", "clip"])
        .exits(1)
        .says(&["another --feature-dir"]);
}
