//! `simsearch search`.

mod answers;
mod numpy;
mod packing;
mod pages;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use simsearch::storage::npy;
use simsearch::storage::object_id::{IdKind, ObjectId};

use crate::{
    Outcome, TestEnv, feature_file, finish, model_file, need_runtime, runtime, stored_picture, wait,
};

/// Writes a shard of `features/model`.
pub fn write_shard(env: &TestEnv, number: usize, rows: &[(String, Vec<f32>)]) {
    let length = rows.first().map_or(0, |(_, feature)| feature.len());
    let mut features = npy::features_header(&[rows.len(), length]);
    for (_, feature) in rows {
        features.extend(feature.iter().flat_map(|value| value.to_le_bytes()));
    }
    let width = rows.iter().map(|(id, _)| id.chars().count()).max();
    let width = width.unwrap_or(1);
    let mut ids = npy::object_ids_header(rows.len(), width);
    for (id, _) in rows {
        npy::append_object_id(id, width, &mut ids);
    }
    env.write(format!("features/model/{number:04}.features.npy"), features);
    env.write(format!("features/model/{number:04}.object_ids.npy"), ids);
}

/// Writes per-object files of `features/model`.
pub fn write_loose(env: &TestEnv, rows: &[(String, Vec<f32>)]) {
    for (id, feature) in rows {
        let path = ObjectId::new(IdKind::Name, id).unwrap().feature_path();
        env.write(
            Path::new("features/model").join(path),
            feature_file(feature),
        );
    }
}

/// Objects on a line, at 0, 1, 2, ...
pub fn on_a_line(ids: &[&str]) -> Vec<(String, Vec<f32>)> {
    let rows = ids.iter().enumerate();
    rows.map(|(at, id)| ((*id).to_owned(), vec![at as f32, 1.0]))
        .collect()
}

fn search_command(env: &TestEnv, more: &[&str]) -> Command {
    env.command(["search", "--feature-dir", "features"].iter().chain(more))
}

pub fn search(env: &TestEnv, more: &[&str]) -> Outcome {
    finish(search_command(env, more))
}

/// The same with lines on standard input.
pub fn search_with_input(env: &TestEnv, more: &[&str], lines: &str) -> Outcome {
    let mut command = search_command(env, more);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    wait(format!("{command:?}"), child)
}

/// Pictures of the tests' data, listed, that every model of theirs reads.
fn with_pictures() -> TestEnv {
    let env = TestEnv::new();
    let names = [
        "jpeg_230x340.jpg",
        "jpeg_300x7.jpg",
        "jpeg_50x224.jpg",
        "jpeg_exif_orientation.jpg",
        "bmp_rgb.bmp",
        "gif_plain.gif",
    ];
    for name in names {
        env.write(Path::new("media").join(name), stored_picture(name));
    }
    env.objects(&names);
    env
}

/// The arguments that name a model of the tests and a runtime.
fn model_arguments(model: &str) -> Vec<String> {
    let mut arguments = vec![
        "--model".to_owned(),
        model_file(model).to_str().unwrap().to_owned(),
    ];
    if let Some(runtime) = runtime() {
        arguments.push("--runtime".to_owned());
        arguments.push(runtime.to_str().unwrap().to_owned());
    }
    arguments
}

fn search_pictures(env: &TestEnv, model: &str, more: &[&str]) -> Outcome {
    let model = model_arguments(model);
    let arguments: Vec<&str> = model
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    search(env, &arguments)
}

#[test]
fn neighbours_are_lines_nearest_first_and_ties_by_id() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["zero.jpg", "one one.jpg", "two.jpg", "three.jpg"]);
    rows.push(("a two.jpg".to_owned(), vec![2.0, 1.0]));
    write_shard(&env, 0, &rows[..3]);
    write_loose(&env, &rows[3..]);
    let outcome = search(&env, &["one one.jpg", "-k", "4"]);
    outcome.exits(0);
    assert_eq!(
        outcome.stdout,
        "one one.jpg 0\na two.jpg 1\ntwo.jpg 1\nzero.jpg 1\n"
    );
    // Itself first, although the id of the other one of its feature comes before.
    let outcome = search(&env, &["two.jpg", "-k", "2"]);
    assert_eq!(outcome.stdout, "two.jpg 0\na two.jpg 0\n");
    let outcome = search(&env, &["two.jpg", "-k", "1"]);
    assert_eq!(outcome.stdout, "two.jpg 0\n");
    let outcome = search(
        &env,
        &["zero.jpg", "-k", "1", "--metric", "cosine", "--json"],
    );
    let json = outcome.exits(0).json();
    assert_eq!(json["query"], "zero.jpg");
    assert_eq!(json["object_id"], "zero.jpg");
    assert_eq!(
        json["neighbours"],
        serde_json::json!([{"object_id": "zero.jpg", "distance": 0.0, "path": null}])
    );
    assert!(json["seconds"].is_number());
}

/// Other programs may write what they like as an id; without a recipe nothing says that these are paths.
#[test]
fn ids_of_other_programs_are_found_as_they_are() {
    let env = TestEnv::new();
    write_shard(&env, 0, &on_a_line(&["2021/x.jpg", "", "two.jpg"]));
    let found = search(&env, &["2021/x.jpg", "-k", "1"]);
    assert_eq!(found.exits(0).stdout, "2021/x.jpg 0\n");
    for no_id in ["./two.jpg", "2022/x.jpg"] {
        // It was all that was asked: no warning, but why nothing was done.
        search(&env, &[no_id])
            .exits(1)
            .says(&[&format!("simsearch: {no_id}: there is no such file")]);
    }
}

#[test]
fn of_several_queries_each_has_a_group_and_a_bad_one_stops_no_other() {
    let env = TestEnv::new();
    write_shard(&env, 0, &on_a_line(&["zero.jpg", "one.jpg", "two.jpg"]));
    env.write("text.txt", "no picture");
    let arguments = ["two.jpg", "unknown.jpg", "./zero.jpg", "-", "-k", "1"];
    let lines = "zero.jpg\n\nmissing/of/all\none.jpg";
    let outcome = search_with_input(&env, &arguments, lines);
    outcome.exits(3).says(&[
        "unknown.jpg: is neither an object that is extracted nor a file",
        "./zero.jpg: there is no such file",
        "missing/of/all: there is no such file",
    ]);
    assert_eq!(
        outcome.stdout,
        "# two.jpg\ntwo.jpg 0\n\n# zero.jpg\nzero.jpg 0\n\n# one.jpg\none.jpg 0\n"
    );
    let outcome = search(&env, &["unknown.jpg", "also.jpg"]);
    outcome
        .exits(1)
        .says(&["warning: unknown.jpg: ", "warning: also.jpg: "]);
    // What would not be seen is in quotes.
    search(&env, &["one.jpg", "", "\t"]).exits(3).says(&[
        "warning: \"\": there is no such file",
        "warning: \"\\t\": is neither",
    ]);
    assert_eq!(outcome.stdout, "");
    search(&env, &["one.jpg", "-k", "0"]).exits(2);
}

#[test]
fn a_program_may_write_a_query_and_read_its_answer() {
    let env = TestEnv::new();
    write_shard(&env, 0, &on_a_line(&["zero.jpg", "one.jpg", "two.jpg"]));
    let mut command = search_command(&env, &["-", "-k", "1", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for id in ["two.jpg", "zero.jpg", "two.jpg"] {
        stdin.write_all(format!("{id}\n").as_bytes()).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["neighbours"][0]["object_id"], id);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_thousand_queries_are_answered_in_their_order() {
    let env = TestEnv::new();
    let ids: Vec<String> = (0..1000).map(|index| format!("{index:04}.jpg")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    write_shard(&env, 0, &on_a_line(&ids[..600]));
    write_loose(&env, &on_a_line(&ids)[600..]);
    let mut arguments = vec!["-k", "1"];
    let backwards = ids.iter().rev().copied();
    arguments.extend(backwards.clone());
    let expected: Vec<String> = backwards.map(|id| format!("# {id}\n{id} 0\n")).collect();
    assert_eq!(
        search(&env, &arguments).exits(0).stdout,
        expected.join("\n")
    );
}

#[test]
fn a_picture_in_the_index_comes_back_at_distance_zero_however_it_was_made() {
    need_runtime!();
    for more in [
        &[][..],
        &["--exact"],
        &["--scaled-decode"],
        &["--pillow", "12"],
        &["--exif-orientation", "apply"],
    ] {
        if more.contains(&"--exact") && !cfg!(feature = "turbojpeg") {
            continue;
        }
        for model in ["nhwc", "fixed_4", "two_outputs"] {
            let output: &[&str] = match model {
                "two_outputs" => &["--output-name", "flat"],
                _ => &[],
            };
            let env = with_pictures();
            let mut options = more.to_vec();
            options.extend(output);
            env.extract(model, &options).exits(0);
            for name in [
                "jpeg_230x340.jpg",
                "jpeg_50x224.jpg",
                "jpeg_exif_orientation.jpg",
                "bmp_rgb.bmp",
            ] {
                let outcome =
                    search_pictures(&env, model, &[&format!("./media/{name}"), "-k", "1"]);
                outcome.exits(0);
                assert_eq!(outcome.stdout, format!("{name} 0\n"), "{more:?} {model}");
            }
        }
    }
}

#[test]
fn paths_of_pictures_come_on_standard_input_a_line_each() {
    need_runtime!();
    let env = with_pictures();
    env.extract("nhwc", &[]).exits(0);
    env.write("asked/a picture.bmp", stored_picture("bmp_rgb.bmp"));
    let model = model_arguments("nhwc");
    let arguments = model.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.chain(["-", "-k", "1"]).collect();
    let lines = "media/jpeg_50x224.jpg\nasked/a picture.bmp\n./media/gif_plain.gif\n";
    let outcome = search_with_input(&env, &arguments, lines);
    outcome.exits(0);
    assert_eq!(
        outcome.stdout,
        "# media/jpeg_50x224.jpg\njpeg_50x224.jpg 0\n\n\
         # asked/a picture.bmp\nbmp_rgb.bmp 0\n\n\
         # ./media/gif_plain.gif\ngif_plain.gif 0\n"
    );
}

#[test]
fn pictures_that_cannot_be_read_are_named() {
    need_runtime!();
    let env = with_pictures();
    env.extract("nhwc", &[]).exits(0);
    env.write("text.jpg", "no picture");
    env.write("empty.jpg", "");
    let queries = [
        "text.jpg",
        "empty.jpg",
        "./media",
        "media/bmp_rgb.bmp",
        "-k",
        "1",
    ];
    let outcome = search_pictures(&env, "nhwc", &queries);
    outcome.exits(3).says(&[
        "text.jpg: not a picture in a known format",
        "empty.jpg: file is empty",
        "./media: not a regular file",
    ]);
    assert_eq!(outcome.stdout, "# media/bmp_rgb.bmp\nbmp_rgb.bmp 0\n");
}

#[test]
fn another_model_than_the_one_that_made_the_features_is_refused() {
    need_runtime!();
    let env = with_pictures();
    env.extract("nhwc", &[]).exits(0);
    let sha256 = simsearch::storage::checksum::of_file(&model_file("nhwc")).unwrap();
    // The only directory there, and so the model inside the program.
    let outcome = search(&env, &["./media/bmp_rgb.bmp"]);
    outcome
        .exits(1)
        .says(&[&sha256, "--model must name its file"]);
    // Another file of the same stem.
    env.write("nhwc.onnx", std::fs::read(model_file("nchw")).unwrap());
    let outcome = search(&env, &["./media/bmp_rgb.bmp", "--model", "nhwc.onnx"]);
    outcome
        .exits(1)
        .says(&[&sha256, "--model must name its file"]);
    // Nothing of this matters to an object that is extracted.
    let outcome = search(&env, &["bmp_rgb.bmp", "-k", "1", "--runtime", "/nowhere"]);
    assert_eq!(outcome.exits(0).stdout, "bmp_rgb.bmp 0\n");
}

#[test]
fn features_of_the_python_scripts_are_searched_with_their_model() {
    need_runtime!();
    let env = with_pictures();
    env.extract("nhwc", &[]).exits(0);
    std::fs::remove_file(env.path("features/nhwc/recipe.json")).unwrap();
    let outcome = search_pictures(&env, "nhwc", &["./media/bmp_rgb.bmp", "-k", "1"]);
    assert_eq!(outcome.exits(0).stdout, "bmp_rgb.bmp 0\n");
    let outcome = search(&env, &["./media/bmp_rgb.bmp"]);
    outcome
        .exits(1)
        .says(&["another model", "--model must name its file"]);
}

#[test]
fn a_directory_without_features_says_so() {
    let env = TestEnv::new();
    env.write("features/model/recipe.json", "{}");
    let outcome = search(&env, &["00000.jpg"]);
    outcome
        .exits(1)
        .says(&["features/model holds no features yet", "simsearch extract"]);
    search(&TestEnv::new(), &["00000.jpg"])
        .exits(1)
        .says(&["there is no feature directory features"]);
}

#[test]
fn damaged_shards_and_files_are_errors_that_name_them() {
    let whole = TestEnv::new();
    write_shard(&whole, 0, &on_a_line(&["zero.jpg", "one.jpg"]));
    search(&whole, &["one.jpg"]).exits(0);
    let [features, ids] = ["features", "object_ids"]
        .map(|part| std::fs::read(whole.path(format!("features/model/0000.{part}.npy"))).unwrap());
    // A header of a length that leaves the numbers at an odd place.
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    let mut unaligned = b"\x93NUMPY\x01\x00".to_vec();
    unaligned.extend((text.len() as u16 + 2).to_le_bytes());
    unaligned.extend(text.as_bytes());
    unaligned.extend(b" \n");
    unaligned.extend([0; 16]);
    assert_ne!(unaligned.len() % 4, 0);
    let replaced = |from: &str, to: &str| {
        let text = features
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>();
        text.replacen(from, to, 1)
            .chars()
            .map(|one| one as u8)
            .collect::<Vec<u8>>()
    };
    let damages: Vec<(&str, Vec<u8>)> = vec![
        ("features", features[..features.len() - 1].to_vec()),
        ("features", features[..50].to_vec()),
        ("features", Vec::new()),
        ("features", [&features[..], b"more"].concat()),
        ("features", unaligned),
        ("features", replaced("<f4", ">f4")),
        ("features", replaced("<f4", "<f8")),
        ("features", replaced("(2, 2)", "(4, 1)")),
        ("object_ids", ids[..ids.len() - 1].to_vec()),
        ("object_ids", Vec::new()),
    ];
    for (part, bytes) in damages {
        let env = TestEnv::new();
        write_shard(&env, 0, &on_a_line(&["zero.jpg", "one.jpg"]));
        let name = format!("0000.{part}.npy");
        env.write(Path::new("features/model").join(&name), &bytes);
        let outcome = search(&env, &["one.jpg"]);
        outcome.exits(1).says(&[&name, "simsearch verify"]);
    }
    let env = TestEnv::new();
    write_shard(&env, 0, &on_a_line(&["zero.jpg", "one.jpg"]));
    write_shard(&env, 1, &[("long.jpg".to_owned(), vec![1.0; 3])]);
    search(&env, &["one.jpg"])
        .exits(1)
        .says(&["0001", "3 numbers", "2"]);
    // A half pair.
    std::fs::remove_file(env.path("features/model/0001.object_ids.npy")).unwrap();
    search(&env, &["one.jpg"])
        .exits(1)
        .says(&["0001.features.npy is alone"]);
}

#[test]
fn torn_per_object_files_are_left_out_and_named() {
    let env = TestEnv::new();
    write_loose(&env, &on_a_line(&["zero.jpg", "one.jpg"]));
    env.write("features/model/to/rn/torn.jpg.npy", "half");
    write_loose(&env, &[("zzz.jpg".to_owned(), vec![1.0; 3])]);
    let outcome = search(&env, &["one.jpg"]);
    outcome.exits(3).says(&[
        "left out features/model/to/rn/torn.jpg.npy",
        "zzz.jpg.npy: has 3 numbers",
    ]);
    assert_eq!(outcome.stdout, "one.jpg 0\nzero.jpg 1\n");
    // The first that is read says how long they are where no recipe does.
    env.write("features/model/recipe.json", r#"{"dimension": 2}"#);
    write_loose(&env, &[("0000.jpg".to_owned(), vec![1.0; 4])]);
    let outcome = search(&env, &["one.jpg"]);
    outcome.exits(3).says(&["0000.jpg.npy: has 4 numbers"]);
    assert_eq!(outcome.stdout, "one.jpg 0\nzero.jpg 1\n");
}

#[test]
fn a_query_whose_feature_is_not_finite_is_named() {
    let env = TestEnv::new();
    let mut rows = on_a_line(&["zero.jpg", "one.jpg"]);
    rows[0].1[1] = f32::NAN;
    write_shard(&env, 0, &rows);
    let outcome = search(&env, &["zero.jpg", "one.jpg"]);
    outcome
        .exits(3)
        .says(&["zero.jpg: its feature holds a number that is not finite"]);
    assert_eq!(outcome.stdout, "# one.jpg\none.jpg 0\n");
}
