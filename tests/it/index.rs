//! `simsearch index`, and `simsearch search --approximate`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use simsearch::storage::npy;

use crate::concat::{nested, numbered, write_features};
use crate::search::search_with_input;
use crate::{Outcome, TestEnv, feature_file, finish};

const INDEX: &str = "features/model/index.usearch";

/// Writes a shard of `features/model`, as numpy would. Its ids are `<number>-<row>.jpg`.
pub fn write_shard(env: &TestEnv, number: usize, rows: usize, length: usize, features: &[f32]) {
    assert_eq!(features.len(), rows * length);
    let numbers = features.iter().flat_map(|number| number.to_le_bytes());
    let mut bytes = npy::features_header(&[rows, length]);
    bytes.extend(numbers);
    env.write(format!("features/model/{number:04}.features.npy"), bytes);
    let mut bytes = npy::object_ids_header(rows, 12);
    for row in 0..rows {
        npy::append_object_id(&id(number, row), 12, &mut bytes);
    }
    env.write(format!("features/model/{number:04}.object_ids.npy"), bytes);
}

fn id(number: usize, row: usize) -> String {
    format!("{number:02}-{row:05}.jpg")
}

/// Features of 24 numbers in 40 clusters, as those of pictures are: the same for every seed.
fn clustered(seed: u64, rows: usize) -> Vec<f32> {
    let mut state = seed;
    let mut random = move || {
        state =
            (state.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut features = Vec::new();
    for row in 0..rows {
        let cluster = row % 40;
        for number in 0..24 {
            let centre = ((cluster * 31 + number * 17) as f32).sin() * 3.0;
            features.push(centre + random());
        }
    }
    features
}

fn index(env: &TestEnv, more: &[&str]) -> Outcome {
    let arguments = ["index", "--feature-dir", "features", "--json"];
    env.run(arguments.iter().chain(more))
}

fn search(env: &TestEnv, query: &str, more: &[&str]) -> Outcome {
    let arguments = ["search", "--feature-dir", "features", query];
    env.run(arguments.iter().chain(more))
}

/// The lines `object_id distance`.
#[track_caller]
fn neighbours(outcome: &Outcome) -> Vec<(String, String)> {
    let lines = outcome.exits(0).stdout.lines();
    let pair = |line: &str| {
        let (id, distance) = line.rsplit_once(' ').unwrap();
        (id.to_owned(), distance.to_owned())
    };
    lines.map(pair).collect()
}

#[test]
fn it_finds_nearly_all_that_the_exact_search_finds_and_at_the_same_distances() {
    for (metric, storage) in [
        ("euclidean", "f16"),
        ("cosine", "f16"),
        ("euclidean", "i8"),
        ("cosine", "i8"),
    ] {
        let env = TestEnv::new();
        write_shard(&env, 0, 3_000, 24, &clustered(1, 3_000));
        write_shard(&env, 1, 1_000, 24, &clustered(2, 1_000));
        let options = ["--metric", metric, "--storage", storage];
        let outcome = index(&env, &options);
        let summary = outcome.exits(0).json();
        assert_eq!(
            [&summary["added"], &summary["vectors"], &summary["shards"]],
            [4000, 4000, 2]
        );
        assert!(
            summary["recall_at_10"].as_f64().unwrap() >= 0.98,
            "{outcome}"
        );
        let (mut hits, queries) = (0, 20);
        for query in (0..queries).map(|query| id(query % 2, query * 49)) {
            let metric = ["--metric", metric];
            let all = search(&env, &query, &[&metric[..], &["-k", "4000"]].concat());
            let all = neighbours(&all);
            let distances: HashMap<_, _> = all.iter().cloned().collect();
            let found = search(&env, &query, &[&metric[..], &["--approximate"]].concat());
            let found = neighbours(&found);
            assert_eq!(found.len(), 10);
            assert_eq!(found[0], (query, "0".to_owned()));
            for (id, distance) in &found {
                assert_eq!(distances[id], *distance, "{id}");
            }
            hits += found
                .iter()
                .filter(|found| all[..10].contains(found))
                .count();
        }
        assert!(
            hits * 100 >= queries * 10 * 97,
            "{hits} of {}",
            queries * 10
        );
    }
}

/// usearch loses some when several threads add to a small graph: about one in 1,000 here, in nearly every index.
#[test]
fn each_object_finds_its_copy_however_many_threads_make_the_index() {
    let env = TestEnv::new();
    let rows = 2_000;
    let features = clustered(1, rows);
    write_shard(&env, 0, 2 * rows, 24, &[&features[..], &features].concat());
    let ids: Vec<_> = (0..2 * rows).map(|row| id(0, row)).collect();
    for _ in 0..4 {
        let mut command = env.command(["index", "--feature-dir", "features"]);
        command.env("RAYON_NUM_THREADS", "8");
        finish(command).exits(0);
        let options = ["-k", "2", "--approximate", "--json", "-"];
        let answers = search_with_input(&env, &options, &ids.join("\n"));
        let answers = answers.exits(0).stdout.lines();
        let lost = answers.zip(0..).filter(|(answer, row)| {
            let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
            let copy = id(0, (row + rows) % (2 * rows));
            let mut found = answer["neighbours"].as_array().unwrap().iter();
            !found.any(|found| found["object_id"] == copy)
        });
        assert_eq!(lost.count(), 0);
        fs::remove_file(env.path(INDEX)).unwrap();
    }
}

#[test]
fn what_is_not_listed_takes_nobodys_place() {
    let env = TestEnv::new();
    let rows = 1_000;
    write_shard(&env, 0, rows, 24, &clustered(1, rows));
    index(&env, &[]).exits(0);
    // Of those near the query, in its cluster and in two whose centres are the same but for little, no other one is
    // listed.
    let listed = (0..rows).filter(|row| row % 40 % 15 != 7 || *row == 7);
    env.objects(&listed.map(|row| id(0, row)).collect::<Vec<_>>());
    let found = |more: &[&str]| {
        let media = ["--media-dir", "media", "-k", "6"];
        neighbours(&search(&env, &id(0, 7), &[&media, more].concat()))
    };
    let exact = found(&[]);
    assert_eq!(exact.len(), 6);
    assert_eq!(found(&["--approximate"]), exact);
}

#[test]
fn fewer_bits_make_a_smaller_index() {
    let env = TestEnv::new();
    write_shard(&env, 0, 500, 24, &clustered(1, 500));
    let bytes = |outcome: &Outcome| outcome.exits(0).json()["bytes"].as_u64().unwrap();
    let halves = bytes(&index(&env, &[]));
    let anew = index(&env, &["--storage", "i8"]);
    anew.says(&["is rebuilt"]);
    // Each number takes a byte less. The rest, the graph, is not the same twice: which vectors stand in its upper
    // levels is drawn by chance, one of 32.
    let saved = 500 * 24;
    let difference = bytes(&anew).abs_diff(halves - saved);
    assert!(difference < saved / 2, "{halves}\n{anew}");
    assert_eq!(fs::metadata(env.path(INDEX)).unwrap().len(), bytes(&anew));
    // Without options it stays as it is.
    let again = index(&env, &[]);
    assert_eq!(again.exits(0).json()["storage"], "i8");
    assert_eq!(again.json()["bytes"], serde_json::Value::Null);
}

#[test]
fn what_is_new_is_found_before_and_after_it_is_added() {
    let env = TestEnv::new();
    let features = clustered(1, 2_000);
    write_shard(&env, 0, 1_000, 24, &features[..1_000 * 24]);
    index(&env, &[]).exits(0);
    write_shard(&env, 1, 1_000, 24, &features[1_000 * 24..]);
    let per_object: Vec<f32> = features[..24].iter().map(|number| number + 0.001).collect();
    let path = Path::new("features/model").join(nested("per_object.jpg"));
    env.write(path, feature_file(&per_object));
    // Nearly the same as the first row, and as itself.
    let exact = neighbours(&search(&env, "per_object.jpg", &[]));
    let found = neighbours(&search(&env, "per_object.jpg", &["--approximate"]));
    assert_eq!([&*found[0].0, &found[1].0], ["per_object.jpg", &id(0, 0)]);
    let new = |found: &[(String, String)]| -> Vec<(String, String)> {
        let new = found.iter().filter(|(id, _)| !id.starts_with("00-"));
        new.cloned().collect()
    };
    let expected = new(&exact);
    assert!(expected.len() > 1, "the new shard has neighbours");
    assert_eq!(new(&found)[..expected.len()], expected);
    let summary = index(&env, &[]).exits(0).json();
    assert_eq!(
        [&summary["added"], &summary["vectors"], &summary["shards"]],
        [1000, 2000, 2]
    );
    let found = neighbours(&search(&env, "per_object.jpg", &["--approximate"]));
    assert_eq!(found.len(), 10);
    assert_eq!([&*found[0].0, &found[1].0], ["per_object.jpg", &id(0, 0)]);
    let summary = index(&env, &[]).exits(0).json();
    assert_eq!(
        [&summary["added"], &summary["vectors"], &summary["shards"]],
        [0, 2000, 2]
    );
}

#[test]
fn without_an_index_or_for_another_metric_there_is_a_hint() {
    let env = TestEnv::new();
    index(&env, &[]).exits(1).says(&["features"]);
    write_features(&env, &numbered(0..20));
    index(&env, &[]).exits(1).says(&["simsearch concat"]);
    env.concat(&[]).exits(0);
    let approximate =
        |more: &[&str]| search(&env, "00003.jpg", &[&["--approximate"], more].concat());
    approximate(&[])
        .exits(1)
        .says(&["index.usearch", "`simsearch index`"]);
    index(&env, &[]).exits(0);
    assert_eq!(neighbours(&approximate(&[])).len(), 10);
    let other = approximate(&["--metric", "cosine"]);
    other.exits(1).says(&["`simsearch index --metric cosine`"]);
}

#[test]
fn a_damaged_index_is_refused_and_made_anew() {
    let env = TestEnv::new();
    write_shard(&env, 0, 400, 24, &clustered(1, 400));
    index(&env, &[]).exits(0);
    let verify = || {
        let outcome = env.run(["verify", "--feature-dir", "features"]);
        outcome.exits(1);
        outcome.stdout
    };
    assert!(!verify().contains("index"));
    let whole = fs::read(env.path(INDEX)).unwrap();
    let graph = 8 + 400 * 24 * 2;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let end = whole.len();
    let mut damaged = vec![
        Vec::new(),
        b"no index at all".to_vec(),
        vec![0; end],
        whole[..end / 2].to_vec(),
        whole[..end - 1].to_vec(),
        whole[1..].to_vec(),
        [&whole[..], b"x"].concat(),
        whole[..graph].to_vec(),
        // What usearch alone would write.
        whole[..end - 1000].to_vec(),
    ];
    // The head, everywhere in the graph, the description and the end.
    damaged.extend([0, 4].map(flipped));
    damaged.extend((graph..end).step_by((end - graph) / 12).map(flipped));
    damaged.extend([end - 1, end - 30, end - 85, end - 120].map(flipped));
    for bytes in damaged {
        env.write(INDEX, &bytes);
        let outcome = search(&env, &id(0, 7), &["--approximate"]);
        outcome
            .exits(1)
            .says(&["index.usearch", "`simsearch index`"]);
        assert!(verify().contains("damaged; `simsearch index`"));
    }
    // Damage in the vectors can cost neighbours only; whoever adds to the index looks at it.
    for bytes in [flipped(graph / 2), flipped(graph + 500)] {
        env.write(INDEX, &bytes);
        assert!(verify().contains("index.usearch: it is damaged"));
        index(&env, &[]).exits(0).says(&["is rebuilt", "damaged"]);
        assert_eq!(
            neighbours(&search(&env, &id(0, 7), &["--approximate"])).len(),
            10
        );
    }
    fs::remove_file(env.path(INDEX)).unwrap();
    fs::create_dir(env.path(INDEX)).unwrap();
    search(&env, &id(0, 7), &["--approximate"])
        .exits(1)
        .says(&["index.usearch"]);
    index(&env, &[]).exits(1).says(&["index.usearch"]);
}

#[test]
fn an_index_of_other_shards_is_refused_and_made_anew() {
    let env = TestEnv::new();
    write_features(&env, &numbered(0..30));
    env.concat(&["--rows", "20"]).exits(0);
    index(&env, &[]).exits(0);
    let foreign = fs::read(env.path(INDEX)).unwrap();
    // The same shape with other features; and a shard that is lost.
    let other = TestEnv::new();
    write_features(&other, &numbered(10..40));
    other.concat(&["--rows", "20"]).exits(0);
    search(&other, "00012.jpg", &[]).exits(0);
    let ids = numbered(10..40);
    other.write(INDEX, &foreign);
    let same = search(&other, &ids[0], &["--approximate"]);
    // Features are those of the place in the list, so that these shards hold the same; the ids do not matter.
    assert_eq!(neighbours(&same).len(), 10);
    let third = TestEnv::new();
    let mut ids = numbered(0..30);
    ids.reverse();
    write_features(&third, &ids);
    third.concat(&["--rows", "20"]).exits(0);
    third.write(INDEX, &foreign);
    let refused = search(&third, "00012.jpg", &["--approximate"]);
    refused
        .exits(1)
        .says(&["no longer there, or were made anew", "`simsearch index`"]);
    index(&third, &[]).exits(0).says(&["is rebuilt"]);
    search(&third, "00012.jpg", &["--approximate"]).exits(0);
    for half in ["features", "object_ids"] {
        fs::remove_file(env.path(format!("features/model/0001.{half}.npy"))).unwrap();
    }
    search(&env, "00003.jpg", &["--approximate"])
        .exits(1)
        .says(&["`simsearch index`"]);
}

#[test]
fn an_index_that_is_made_anew_keeps_its_metric_and_its_type() {
    let env = TestEnv::new();
    write_shard(&env, 0, 400, 24, &clustered(1, 400));
    index(&env, &["--metric", "cosine"]).exits(0);
    let made = |outcome: &Outcome| {
        let summary = outcome.exits(0).says(&["is rebuilt"]).json();
        ["metric", "storage"].map(|field| summary[field].as_str().unwrap().to_owned())
    };
    assert_eq!(made(&index(&env, &["--storage", "i8"])), ["cosine", "i8"]);
    // Another shard in the place of the one that it holds.
    write_shard(&env, 0, 300, 24, &clustered(2, 300));
    assert_eq!(made(&index(&env, &[])), ["cosine", "i8"]);
    assert_eq!(
        made(&index(&env, &["--metric", "euclidean"])),
        ["euclidean", "i8"]
    );
}

#[test]
fn shards_without_checksums_are_told_from_those_that_replace_them() {
    let env = TestEnv::new();
    write_shard(&env, 0, 400, 24, &clustered(1, 400));
    index(&env, &[]).exits(0);
    let approximate = || search(&env, &id(0, 7), &["--approximate"]);
    assert_eq!(neighbours(&approximate()).len(), 10);
    let holds_all = index(&env, &[]);
    assert_eq!(holds_all.exits(0).json()["added"], 0);
    // As many other features.
    write_shard(&env, 0, 400, 24, &clustered(2, 400));
    let refused = approximate();
    refused.exits(1).says(&["were made anew"]);
    index(&env, &[]).exits(0).says(&["is rebuilt"]);
    let exact = neighbours(&search(&env, &id(0, 7), &[]));
    assert_eq!(neighbours(&approximate()), exact);
}

#[test]
fn an_index_of_features_of_another_recipe_is_refused_and_made_anew() {
    let env = TestEnv::new();
    let recipe = |exact: bool| {
        let recipe = format!(
            r#"{{"format": 1, "model_sha256": "ab", "output": "o", "preprocessing": "p", "feature_length": 24,
            "dtype": "<f4", "precision": "fp32", "exact": {exact}}}"#
        );
        env.write("features/model/recipe.json", recipe);
    };
    write_shard(&env, 0, 400, 24, &clustered(1, 400));
    recipe(false);
    index(&env, &[]).exits(0);
    search(&env, &id(0, 7), &["--approximate"]).exits(0);
    recipe(true);
    search(&env, &id(0, 7), &["--approximate"])
        .exits(1)
        .says(&["index.usearch", "`simsearch index`"]);
    index(&env, &[]).exits(0).says(&["is rebuilt"]);
    search(&env, &id(0, 7), &["--approximate"]).exits(0);
}

#[test]
fn a_row_that_is_not_finite_is_nobodys_neighbour() {
    let env = TestEnv::new();
    let mut features = clustered(1, 100);
    features[5 * 24] = f32::NAN;
    features[6 * 24] = f32::INFINITY;
    write_shard(&env, 0, 100, 24, &features);
    let outcome = index(&env, &[]);
    assert_eq!(outcome.exits(0).json()["vectors"], 98);
    let found = neighbours(&search(&env, &id(0, 1), &["--approximate", "-k", "100"]));
    assert_eq!(found.len(), 98);
    // Those two are no reason to begin anew.
    let again = index(&env, &[]);
    again.exits(0).does_not_say("rebuilt");
    assert_eq!(again.json()["added"], 0);
}
